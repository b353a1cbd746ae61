"""Make STAC items of the band files of a delivery, with what a loader must know about each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cookbook_utils._checks import needs, shown
from cookbook_utils._conventions.grids import transformer
from cookbook_utils.datasets._access import (
    gdal_environment,
    gdal_name,
    raster_error,
    without_secrets,
)

if TYPE_CHECKING:
    import pystac

EXTENSIONS = (
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
)
"""Extensions of STAC whose fields the items have."""


GDAL_OPTIONS = {"CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO"}
"""Options of GDAL for deliveries: it would write a file beside a tar.gz that it has read."""


class Band(NamedTuple):
    """A band of a sensor: its name in files, the package's name, and its wavelength in um."""

    number: str
    name: str
    wavelength: float


class Header(NamedTuple):
    """What the file of a band says about itself."""

    shape: tuple[int, int]
    transform: tuple[float, ...]
    crs: Any
    dtype: str


def import_pystac() -> ModuleType:
    """Import and return pystac, or raise ImportError that says how to install it."""
    with needs("pystac"):
        import pystac
    return pystac


def read_header(href: str, options: Mapping[str, Any]) -> Header:
    """Return the header of a raster of one band.

    Parameters
    ----------
    href : str
        Path, address, or name of GDAL.
    options : mapping
        Options of S3.

    Returns
    -------
    Header
        The header.

    Raises
    ------
    ValueError
        If the raster has more than one band or no georeference.
    OSError
        If it cannot be read.
    """
    import rasterio
    from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # our own error follows
            with (
                gdal_environment(href, options),
                rasterio.Env(**GDAL_OPTIONS),
                rasterio.open(gdal_name(href), sharing=False) as file,
            ):
                header = Header(
                    file.shape, tuple(file.transform)[:6], file.crs, str(file.dtypes[0])
                )
                count = file.count
    except (RasterioError, CRSError, OSError) as error:
        raise raster_error(href, error, options) from None
    place = without_secrets(href)
    if count != 1:
        raise ValueError(f"{place} must have one band, got {count}")
    if not header.crs or header.transform == (1, 0, 0, 0, 1, 0):
        raise ValueError(f"{place} must have a CRS and a transform, got none")
    return header


def band_asset(
    href: str,
    band: Band,
    *,
    scale: float,
    offset: float,
    quantity: str,
    options: Mapping[str, Any] | None = None,
) -> pystac.Asset:
    """Return the asset of a reflective band: reflectance = stored number x `scale` + `offset`.

    The stored number 0 is nodata, as in every product of Landsat Collection 2 and Sentinel-2.
    """
    return _asset(
        href,
        title=f"{quantity}, {band.name}",
        role="data",
        eo={
            "name": band.number,
            "common_name": band.name,
            "center_wavelength": band.wavelength,
        },
        raster={"nodata": 0, "scale": scale, "offset": offset, "unit": "1"},
        options=options,
    )


def quality_asset(
    href: str, *, title: str, nodata: int, options: Mapping[str, Any] | None = None
) -> pystac.Asset:
    """Return the asset of a quality band, which holds bits or classes."""
    return _asset(href, title=title, role="cloud", raster={"nodata": nodata}, options=options)


def _asset(
    href: str,
    *,
    title: str,
    role: str,
    raster: dict[str, Any],
    options: Mapping[str, Any] | None,
    eo: dict[str, Any] | None = None,
) -> pystac.Asset:
    header = read_header(href, options or {})
    fields: dict[str, Any] = {
        "raster:bands": [
            {
                **raster,
                "data_type": header.dtype,
                "spatial_resolution": abs(header.transform[0]),
            }
        ],
        "proj:shape": list(header.shape),
        "proj:transform": list(header.transform),
        **_projection(header),
    }
    if eo is not None:
        fields["eo:bands"] = [eo]
    jpeg = without_secrets(href).lower().endswith(".jp2")
    media = "image/jp2" if jpeg else "image/tiff; application=geotiff"
    return import_pystac().Asset(
        href, title=title, media_type=media, roles=[role], extra_fields=fields
    )


def _projection(header: Header) -> dict[str, Any]:
    epsg = header.crs.to_epsg()
    return {"proj:wkt2": header.crs.to_wkt()} if epsg is None else {"proj:code": f"EPSG:{epsg}"}


def make_item(
    name: str,
    when: datetime,
    assets: Mapping[str, pystac.Asset],
    properties: Mapping[str, Any],
) -> pystac.Item:
    """Return an item whose projection and footprint are those of its finest asset.

    Raises
    ------
    ValueError
        If the assets have several CRS.
    """
    found = {
        key: {k: v for k, v in asset.extra_fields.items() if k in ("proj:code", "proj:wkt2")}
        for key, asset in assets.items()
    }
    first, projection = next(iter(found.items()))
    for key, other in found.items():
        if other != projection:
            raise ValueError(
                f"the bands of {name} must have one CRS, got {shown(other)} for {key} and "
                f"{shown(projection)} for {first}"
            )
    fields = min((asset.extra_fields for asset in assets.values()), key=_resolution)
    crs = projection.get("proj:code") or projection["proj:wkt2"]
    geometry, bbox = _footprint(crs, _outline(fields))
    grid = {key: fields[key] for key in ("proj:shape", "proj:transform")}
    item = import_pystac().Item(
        name,
        geometry=geometry,
        bbox=bbox,
        datetime=when,
        properties={**properties, **projection, **grid},
        stac_extensions=list(EXTENSIONS),
    )
    for key, asset in assets.items():
        item.add_asset(key, asset)
    return item


def _resolution(fields: Mapping[str, Any]) -> float:
    return fields["raster:bands"][0]["spatial_resolution"]


def _outline(fields: Mapping[str, Any]) -> np.ndarray:
    """Return the outline of a grid in its CRS, with points along the sides, which may bend."""
    (ny, nx), (a, b, c, d, e, f) = fields["proj:shape"], fields["proj:transform"]
    along, start, end = np.linspace(0, 1, 9), np.zeros(9), np.ones(9)
    x = nx * np.concatenate([along, end, along[::-1], start])
    y = ny * np.concatenate([start, along, end, along[::-1]])
    return np.stack([a * x + b * y + c, d * x + e * y + f])


def _footprint(crs: str, outline: np.ndarray) -> tuple[dict[str, Any], list[float]]:
    """Return an outline in degrees, and its west, south, east and north.

    Across the antimeridian it is cut in two, and west is greater than east, as GeoJSON has it.
    """
    from shapely import Polygon, box, union_all
    from shapely.affinity import translate

    longitude, latitude = transformer(crs, "EPSG:4326").transform(*outline)
    if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
        raise ValueError(
            f"the transform of a band must be within its CRS, got x from {outline[0].min():g} to "
            f"{outline[0].max():g} and y from {outline[1].min():g} to {outline[1].max():g}"
        )
    longitude = np.unwrap(longitude, period=360)
    south, north = float(latitude.min()), float(latitude.max())
    if abs(longitude[-1] - longitude[0]) > 180:  # around a pole
        south, north = (south, 90.0) if latitude.mean() > 0 else (-90.0, north)
        return box(-180, south, 180, north).__geo_interface__, [-180.0, south, 180.0, north]
    longitude -= 360 * np.floor((longitude.min() + 180) / 360)
    west, east = float(longitude.min()), float(longitude.max())
    shape = Polygon(np.stack([longitude, latitude], axis=1))
    if east > 180:
        world = box(-180, -90, 180, 90)
        parts = [shape & world, translate(shape, -360) & world]
        shape, east = union_all(parts), east - 360
    return shape.__geo_interface__, [west, south, east, north]


def choose_bands(known: Sequence[Band], bands: Sequence[str] | None, path: Any) -> list[Band]:
    """Return the bands that a delivery must have: those named in `bands`, or all.

    Raises
    ------
    TypeError
        If `bands` is not a sequence of names.
    ValueError
        If a name is unknown, or there are no bands.
    """
    if bands is not None and not (
        isinstance(bands, list | tuple) and all(isinstance(name, str) for name in bands)
    ):
        raise TypeError(f"bands must be a list of names, got {shown(bands)}")
    names = [band.name for band in known]
    if not names:
        raise ValueError(f"{path} must have bands of reflectance, got none")
    if bands is None:
        return list(known)
    unknown = [name for name in bands if name not in names]
    if unknown or not bands:
        found = shown(unknown[0]) if unknown else "none"
        raise ValueError(f"bands must be among {', '.join(names)} of {path}, got {found}")
    return [band for band in known if band.name in bands]


def require_files(absent: Mapping[str, str], path: Any) -> None:
    """Raise ValueError if files are absent, given by the names of their bands."""
    if absent:
        files = ", ".join(" ".join(file.split())[:80] for file in absent.values())
        raise ValueError(
            f"{path} must have a file of each band, got none of {', '.join(absent)}: {files}. Name "
            "the bands that you have in `bands` to open those only"
        )
