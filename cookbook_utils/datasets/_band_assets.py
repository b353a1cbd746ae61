"""Make STAC items of the band files of a delivery, with what a loader must know about each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from cookbook_utils._checks import shown

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
    """Import pystac, or raise ImportError that says how to install it."""
    try:
        import pystac
    except ImportError as error:
        raise ImportError(
            "pystac must be installed to open scenes of archives: "
            "pip install 'satellite-clustering-cookbook[archives]'"
        ) from error
    return pystac


def read_header(href: str) -> Header:
    """Return the header of a raster of one band.

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
            with rasterio.Env(**GDAL_OPTIONS), rasterio.open(href) as file:
                header = Header(
                    file.shape, tuple(file.transform)[:6], file.crs, str(file.dtypes[0])
                )
                count = file.count
    except (RasterioError, CRSError, OSError) as error:
        raise OSError(f"{href} must be a readable raster, got: {error}") from None
    if count != 1:
        raise ValueError(f"{href} must have one band, got {count}")
    if not header.crs or header.transform == (1, 0, 0, 0, 1, 0):
        raise ValueError(f"{href} must have a CRS and a transform, got none")
    return header


def band_asset(
    href: str, band: Band, *, scale: float, offset: float, quantity: str
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
    )


def quality_asset(href: str, *, title: str, nodata: int) -> pystac.Asset:
    """Return the asset of a quality band, which holds bits or classes."""
    return _asset(href, title=title, role="cloud", raster={"nodata": nodata})


def _asset(
    href: str, *, title: str, role: str, raster: dict[str, Any], eo: dict[str, Any] | None = None
) -> pystac.Asset:
    header = read_header(href)
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
    media = "image/jp2" if href.lower().endswith(".jp2") else "image/tiff; application=geotiff"
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
    from rasterio.crs import CRS
    from rasterio.warp import transform_geom

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
    crs = CRS.from_user_input(projection.get("proj:code") or projection["proj:wkt2"])
    geometry = transform_geom(
        crs,
        "EPSG:4326",
        {"type": "Polygon", "coordinates": [_ring(fields)]},
        antimeridian_cutting=True,
    )
    grid = {key: fields[key] for key in ("proj:shape", "proj:transform")}
    item = import_pystac().Item(
        name,
        geometry=geometry,
        bbox=_bbox(geometry),
        datetime=when,
        properties={**properties, **projection, **grid},
        stac_extensions=list(EXTENSIONS),
    )
    for key, asset in assets.items():
        item.add_asset(key, asset)
    return item


def _resolution(fields: Mapping[str, Any]) -> float:
    return fields["raster:bands"][0]["spatial_resolution"]


def _ring(fields: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return the outline of a grid in its CRS, with points along the sides, which bend."""
    (ny, nx), (a, b, c, d, e, f) = fields["proj:shape"], fields["proj:transform"]
    steps = [step / 8 for step in range(9)]
    corners = (
        [(s * nx, 0) for s in steps]
        + [(nx, s * ny) for s in steps[1:]]
        + [(nx - s * nx, ny) for s in steps[1:]]
        + [(0, ny - s * ny) for s in steps[1:]]
    )
    return [(a * x + b * y + c, d * x + e * y + f) for x, y in corners]


def _bbox(geometry: Mapping[str, Any]) -> list[float]:
    """Return west, south, east, north; west is greater than east across the antimeridian."""
    polygons = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    boxes = [_bounds(polygon[0]) for polygon in polygons]
    west, south, east, north = (
        pick(side)
        for pick, side in zip((min, min, max, max), zip(*boxes, strict=True), strict=True)
    )
    if len(boxes) > 1 and west <= -180 and east >= 180:
        west = min(box[0] for box in boxes if box[0] > -180)
        east = max(box[2] for box in boxes if box[2] < 180)
    return [west, south, east, north]


def _bounds(ring: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    x, y = zip(*(point[:2] for point in ring), strict=True)
    return min(x), min(y), max(x), max(y)


def require_names(bands: Any) -> None:
    """Raise TypeError unless `bands` is None or a sequence of names."""
    if bands is None or (
        isinstance(bands, list | tuple) and all(isinstance(name, str) for name in bands)
    ):
        return
    raise TypeError(f"bands must be a list of names, got {shown(bands)}")


def require_bands(
    found: Mapping[str, Any], wanted: Sequence[str], missing: Sequence[str], path: Any
) -> None:
    """Raise ValueError unless every band in `wanted` was found; `missing` names the files."""
    if absent := [name for name in wanted if name not in found]:
        files = f": the files {', '.join(missing)} are absent" if missing else ""
        raise ValueError(
            f"{path} must have the bands {', '.join(wanted)}, got no {', '.join(absent)}{files}. "
            "Name the bands that you have in `bands` to open those only"
        )
