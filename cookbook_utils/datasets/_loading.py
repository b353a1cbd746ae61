"""Load the bands of scenes onto one grid by odc-stac, and convert them to reflectance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import needs, require_choice, require_number, shown
from cookbook_utils._conventions.grids import same_crs, transformer
from cookbook_utils.datasets._access import without_secrets
from cookbook_utils.datasets._bands import QUALITY_VALUES, BandSource, SceneSource
from cookbook_utils.datasets._driver import BlockAddress, BlockDriver, fuse
from cookbook_utils.datasets._geotiffs import MAX_SIDE, chunk_sizes

CHUNKS = {"y": 2048, "x": 2048}
"""Default sizes of the Dask chunks in pixels."""

RESAMPLINGS = ("nearest", "bilinear", "cubic", "average")
"""Methods by which pixels reach another grid."""


def load_scenes(
    scenes: Sequence[SceneSource],
    *,
    bbox: Any = None,
    crs: Any = None,
    resolution: Any = None,
    like: Any = None,
    resampling: str = "nearest",
    chunks: Any = None,
    options: Mapping[str, Any],
) -> xr.DataArray:
    """Load scenes lazily as reflectance (time, band, y, x); those of a day become one mosaic.

    Parameters
    ----------
    scenes : sequence of SceneSource
        The scenes, which have the same bands.
    bbox, crs, resolution, like, resampling, chunks
        As for `open_scenes`.
    options : mapping
        Options of S3.

    Returns
    -------
    xarray.DataArray
        Reflectance, float32, with NaN for nodata, and the quality band as coordinate ``quality``.

    Raises
    ------
    ValueError
        If the scenes are on grids that need a stated target, or do not share their bands.
    """
    require_choice(resampling, "resampling", RESAMPLINGS)
    names = _shared_bands(scenes)
    _require_one_quantity(scenes)
    sources = [source for scene in scenes for source in scene.bands.values()]
    for source in {source.geobox.crs: source for source in sources}.values():
        require_place(source.geobox.crs, without_secrets(source.address))
    grid = target_grid(scenes, bbox=bbox, crs=crs, resolution=resolution, like=like)
    for source in {source.geobox: source for source in sources}.values():
        require_longitudes(source.geobox, grid, without_secrets(source.address))
    height, width = grid.shape
    if max(height, width) > MAX_SIDE:
        raise ValueError(
            f"resolution must lead to at most {MAX_SIDE} pixels along a side, got "
            f"{width} x {height}"
        )
    sizes = chunk_sizes(CHUNKS if chunks is None else chunks, (1, height, width))
    how = {"grid": grid, "chunks": {"y": sizes[1][0], "x": sizes[2][0]}}
    driver = BlockDriver(options, any(scene.signed for scene in scenes))
    bands = {name: [scene.bands[name] for scene in scenes] for name in names}
    loaded = _load(
        scenes, bands, driver, dtype="float32", nodata=np.nan, resampling=resampling, **how
    )
    series = xr.concat(
        [loaded[name] for name in names],
        xr.DataArray(names, dims="band", name="band"),
        coords="minimal", compat="override", join="exact", combine_attrs="drop",
    )  # fmt: skip
    series = series.rename(dict(zip(grid.dimensions, ("y", "x"), strict=True)))
    series = series.transpose("time", "band", "y", "x").assign_attrs(scenes[0].attrs, units="1")
    coords = {"time": series["time"].astype("datetime64[ns]")}
    waves = [scenes[0].bands[name].wavelength for name in names]
    if not np.isnan(waves).all():
        coords["wavelength"] = ("band", waves, {"long_name": "center wavelength", "units": "um"})
    if (quality := _quality(scenes, driver, **how)) is not None:
        coords["quality"] = quality.assign_coords(time=coords["time"])
    return on_grid(series.assign_coords(coords), grid)


def on_grid(array: xr.DataArray, grid: Any) -> xr.DataArray:
    """Return an array with the pixel centers, the CRS and the transform of a GeoBox."""
    import rioxarray  # noqa: F401  registers the accessor
    from rioxarray.rioxarray import affine_to_coords

    centers = affine_to_coords(grid.affine, grid.width, grid.height)
    array = array.drop_vars("spatial_ref", errors="ignore").assign_coords(centers)
    return array.rio.write_crs(grid.crs.to_wkt()).rio.write_transform(grid.affine)


def require_place(crs: Any, place: str) -> None:
    """Raise ValueError if a CRS leads to no longitude and latitude of the Earth."""
    try:
        transformer(crs.proj, "EPSG:4326")
    except ValueError:
        raise ValueError(f"{place} must be in a CRS of the Earth, got {crs_name(crs)}") from None


def require_longitudes(grid: Any, target: Any, place: str) -> None:
    """Raise ValueError if longitudes are beyond 180 degrees and would be lost in another CRS."""
    west, east = grid.boundingbox.range_x
    beyond = grid.crs.geographic and (west < -180 - 1e-6 or east > 180 + 1e-6)
    if beyond and not same_crs(grid.crs.proj, target.crs.proj):
        raise ValueError(
            f"{place} must have longitudes from -180 to 180 to be brought to another CRS, got "
            f"{west:.6g} to {east:.6g}: open it in its own, or divide it at 180 degrees"
        )


def _quality(scenes: Sequence[SceneSource], driver: BlockDriver, **how: Any) -> Any:
    """Return the quality band (time, y, x), or None unless all scenes have one of one kind."""
    kinds = {scene.quality_kind for scene in scenes}
    if len(kinds) > 1 or None in kinds:
        return None
    (kind,) = kinds
    nodata, dtype = QUALITY_VALUES[kind]
    bands = {"quality": [scene.quality for scene in scenes]}
    loaded = _load(scenes, bands, driver, dtype=dtype, nodata=nodata, resampling="nearest", **how)
    quality = loaded["quality"].rename(dict(zip(how["grid"].dimensions, ("y", "x"), strict=True)))
    return quality.drop_vars("spatial_ref").drop_attrs().assign_attrs(quality_kind=kind)


def _shared_bands(scenes: Sequence[SceneSource]) -> list[str]:
    names = list(scenes[0].bands)
    for scene in scenes[1:]:
        if set(scene.bands) != set(names):
            raise ValueError(
                f"scenes must share their bands, got {', '.join(scene.bands)} in {scene.name} and "
                f"{', '.join(names)} in {scenes[0].name}: name those to open in bands"
            )
    return names


def _require_one_quantity(scenes: Sequence[SceneSource]) -> None:
    """Refuse scenes between which the atmosphere would pass for a change."""
    found = {scene.attrs.get("quantity"): scene.name for scene in scenes}
    found.pop(None, None)  # files do not say
    if len(found) > 1:
        listed = " and ".join(f"{quantity} of {name}" for quantity, name in found.items())
        raise ValueError(f"scenes must be of one quantity, got {listed}: open those of one level")


# -- grids --------------------------------------------------------------------------------------


def target_grid(
    scenes: Sequence[SceneSource],
    *,
    bbox: Any = None,
    crs: Any = None,
    resolution: Any = None,
    like: Any = None,
) -> Any:
    """Return the GeoBox that scenes are loaded onto.

    It is that of `like`; else the finest grid of the bands, extended over all scenes and cropped to
    `bbox`; or, with another `crs` or `resolution`, a new one over the same area.
    """
    grids = list(
        dict.fromkeys(source.geobox for scene in scenes for source in scene.bands.values())
    )
    if like is not None:
        return _grid_of(like, grids, bbox, crs, resolution)
    finest = min(grids, key=lambda grid: abs(grid.resolution.x * grid.resolution.y))
    target = None if crs is None else _as_crs(crs)
    found = _distinct_crs([grid.crs for grid in grids])
    if target is None and len(found) > 1:
        listed = " and ".join(crs_name(one) for one in found[:3])
        raise ValueError(
            f"scenes must be in one CRS, got {listed}: give the crs and resolution to open them in"
        )
    if resolution is None and (target is None or len(_distinct_crs([target, *found])) == 1):
        area = finest if len(grids) == 1 else _union(grids, finest)
    else:
        area = _new_grid(grids, target or finest.crs, resolution)
    return area if bbox is None else area[crop_of(area, bbox)]


def other_grid(grid: Any, *, crs: Any = None, resolution: Any = None, like: Any = None) -> Any:
    """Return the GeoBox of `like`, or one over the area of `grid` in another CRS or resolution."""
    if like is not None:
        return _grid_of(like, [grid], crs, resolution)
    return _new_grid([grid], grid.crs if crs is None else _as_crs(crs), resolution)


def _distinct_crs(found: Sequence[Any]) -> list[Any]:
    """Return CRSs without those that are the same under another name."""
    distinct: list[Any] = []
    for one in found:
        if not any(same_crs(one.proj, other.proj) for other in distinct):
            distinct.append(one)
    return distinct


def crs_name(crs: Any) -> str:
    """Return the EPSG code of a CRS, or its name."""
    return f"EPSG:{crs.epsg}" if crs.epsg else crs.proj.name


def _new_grid(grids: Sequence[Any], crs: Any, resolution: Any) -> Any:
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import BoundingBox

    if resolution is None:
        raise ValueError(
            f"resolution must be given with the crs {crs_name(crs)}, in its units, got none"
        )
    step = require_number(resolution, "resolution", above=0)
    boxes = np.array(
        [grid.extent.to_crs(crs, resolution="auto").boundingbox.bbox for grid in grids]
    )
    union = BoundingBox(*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0), crs=crs)
    own = all(same_crs(crs.proj, grid.crs.proj) for grid in grids)
    return GeoBox.from_bbox(union, resolution=step, anchor="floating" if own else "edge")


def _union(grids: Sequence[Any], finest: Any) -> Any:
    """Return the grid of `finest`, extended over all grids."""
    from odc.geo.geobox import GeoBox

    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf  # in pixels of `finest`
    for grid in grids:
        for corner in ((0, 0), (grid.width, grid.height)):
            x, y = ~finest.affine * (grid.affine * corner)
            left, right = min(left, x), max(right, x)
            top, bottom = min(top, y), max(bottom, y)
    left, top = np.floor(left + 1e-3), np.floor(top + 1e-3)
    right, bottom = np.ceil(right - 1e-3), np.ceil(bottom - 1e-3)
    moved = finest.translate_pix(int(left), int(top))
    return GeoBox((int(bottom - top), int(right - left)), moved.affine, finest.crs)


def crop_slices(grid: Any, bbox: Any) -> dict[str, slice]:
    """Return `crop_of` by dimension."""
    return dict(zip(("y", "x"), crop_of(grid, bbox), strict=True))


def crop_of(grid: Any, bbox: Any) -> tuple[slice, slice]:
    """Return rows and columns of the pixels that a box of longitudes and latitudes touches."""
    from odc.geo.geom import box

    west, south, east, north = require_bbox(bbox)
    region = box(west, south, east, north, "EPSG:4326")
    if grid.crs.epsg != 4326:
        region = region.to_crs(grid.crs, resolution=max(east - west, north - south) / 20)
    turn = _turn_of(grid, region) if grid.crs.geographic else 0
    corners = [~grid.affine * (x + turn, y) for x, y in region.exterior.points]
    columns, rows = zip(*corners, strict=True)
    slices = []
    for positions, size in ((rows, grid.height), (columns, grid.width)):
        first, last = np.floor(min(positions) + 1e-6), np.ceil(max(positions) - 1e-6)
        if not np.isfinite([first, last]).all() or max(0, first) >= min(size, last):
            extent = ", ".join(f"{edge:.4f}" for edge in grid.geographic_extent.boundingbox.bbox)
            raise ValueError(
                f"bbox must overlap the scenes, which cover {extent} degrees, got {tuple(bbox)}"
            )
        slices.append(slice(int(max(0, first)), int(min(size, last))))
    return slices[0], slices[1]


def _turn_of(grid: Any, region: Any) -> float:
    """Return what to add to longitudes of a box, as grids may have 350 or 181 for -10 or -179."""
    (west, east), (left, right) = grid.boundingbox.range_x, region.boundingbox.range_x
    pixel = abs(grid.resolution.x)
    turns = [turn for turn in (0, -360, 360) if left + turn < east - pixel
             and right + turn > west + pixel]  # fmt: skip
    if len(turns) > 1:
        raise ValueError(
            f"bbox must be on one side of the edge of the scenes, whose longitudes are {west:.6g} "
            f"to {east:.6g}, got {left:.6g} to {right:.6g}: open each side by itself"
        )
    return turns[0] if turns else 0


def require_bbox(bbox: Any) -> tuple[float, float, float, float]:
    """Return west, south, east and north in degrees, or raise unless they are a box."""
    if isinstance(bbox, str) or not hasattr(bbox, "__len__") or len(bbox) != 4:
        raise TypeError(f"bbox must be (west, south, east, north) in degrees, got {shown(bbox)}")
    west, south, east, north = (require_number(edge, "bbox") for edge in bbox)
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ValueError(
            "bbox must be west, south, east and north in degrees, with west below east and south "
            f"below north, got {tuple(bbox)}"
        )
    return west, south, east, north


def _as_crs(crs: Any) -> Any:
    from odc.geo import CRS

    plain = isinstance(crs, str | Integral) and not isinstance(crs, bool)
    if not plain and not hasattr(crs, "to_wkt"):
        raise TypeError(f"crs must be a CRS such as 'EPSG:32633', got {shown(crs)}")
    try:
        return CRS(crs if isinstance(crs, str) else int(crs) if plain else crs.to_wkt())
    except Exception as error:  # pyproj's errors and TypeError
        raise ValueError(f"crs must be a CRS such as 'EPSG:32633', got {shown(crs)}") from error


def _grid_of(like: Any, grids: Sequence[Any], *others: Any) -> Any:
    import odc.geo.xr  # noqa: F401  registers the accessor
    from odc.geo.overlap import compute_reproject_roi

    if any(other is not None for other in others):
        raise ValueError("like must be the only description of the grid, got another one beside it")
    if not isinstance(like, xr.DataArray | xr.Dataset):
        raise TypeError(f"like must be an xarray.DataArray, got {shown(like)}")
    grid = like.odc.geobox
    if grid is None or grid.crs is None:
        raise ValueError("like must be on a regular grid with a CRS, got none")
    parts = (compute_reproject_roi(one, grid).roi_dst for one in grids)
    if not any(rows.stop > rows.start and columns.stop > columns.start for rows, columns in parts):
        places = (one.geographic_extent.boundingbox.bbox for one in (grid, grids[0]))
        here, there = (", ".join(f"{edge:.4f}" for edge in place) for place in places)
        raise ValueError(
            f"scenes must overlap the grid that they are brought to, which covers {here} degrees, "
            f"got {there}"
        )
    return grid


# -- pixels -------------------------------------------------------------------------------------


def _load(
    scenes: Sequence[SceneSource],
    bands: Mapping[str, Sequence[BandSource]],
    driver: BlockDriver,
    *,
    grid: Any,
    chunks: Mapping[str, int],
    dtype: str,
    nodata: float,
    resampling: str,
) -> xr.Dataset:
    """Load bands by odc-stac as (time, y, x), from items that have what it needs and no more."""
    with needs("odc-stac"):
        import odc.stac

    items = [
        _item(scene, {name: of_band[k] for name, of_band in bands.items()}, dtype)
        for k, scene in enumerate(scenes)
    ]
    return odc.stac.load(
        items, list(bands), geobox=grid, chunks=dict(chunks), dtype=dtype, nodata=nodata,
        resampling=resampling, groupby="solar_day", driver=driver,
        fuse_func=f"{fuse.__module__}.{fuse.__name__}" if dtype == "float32" else None,
    )  # fmt: skip


def _item(scene: SceneSource, bands: Mapping[str, BandSource], dtype: str) -> Any:
    import pystac

    proj = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
    first = next(iter(bands.values())).geobox
    footprint = first.geographic_extent
    item = pystac.Item(
        scene.name,
        footprint.json,
        list(footprint.boundingbox.bbox),
        scene.time.astype("M8[us]").item(),
        {},
        stac_extensions=[proj],
    )
    for name, source in bands.items():
        facts = {"proj:shape": list(source.geobox.shape), "data_type": dtype,
                 "proj:transform": list(source.geobox.affine)[:6],
                 "proj:wkt2": source.geobox.crs.to_wkt()}  # fmt: skip
        href = str(BlockAddress.of(source))
        item.add_asset(name, pystac.Asset(href, None, None, "image/tiff", ["data"], facts))
    return item
