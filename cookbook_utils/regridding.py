"""Bring scenes of different grids onto a common one."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_choice, require_dims, require_number, shown
from cookbook_utils._conventions.bands import SCALE_KEYS
from cookbook_utils._conventions.grids import (
    GRID_TOLERANCE,
    crs_of,
    full_turn,
    grid_tolerance,
    pixel_centers,
    regular_centers,
    same_crs,
    transformer,
)
from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils._conventions.nodata import (
    NODATA_KEYS,
    is_missing,
    mask_and_float,
    nodata_values,
)

if TYPE_CHECKING:
    import pyproj

MAX_PIXELS = 500_000_000
"""Pixels of the largest grid: 2 GB for one band in float32."""

AREA_OF_USE_MARGIN = 6.0
"""Degrees around the area of use of a CRS; the width of a UTM zone."""


def common_grid(
    lon: float, lat: float, *, crs: str, buffer: float, resolution: float
) -> xr.Dataset:
    """Return a grid of square pixels around a point on the ground.

    Parameters
    ----------
    lon, lat
        The center, in degrees (WGS 84).
    crs
        Projected CRS of the grid, in any form that pyproj takes, such as ``"EPSG:32611"``. The
        center lies in its area of use, where pyproj knows it, or at most `AREA_OF_USE_MARGIN`
        degrees beside it, so that a scene across two UTM zones can take either. Northern and
        southern UTM zones serve both hemispheres, as in Landsat products.
    buffer
        Distance from the center to each side, in the units of `crs` (m for UTM).
    resolution
        Step between pixel centers, in the same units.

    Returns
    -------
    xarray.Dataset
        No variables; the coordinates ``x`` (from center − buffer up to, and without,
        center + buffer, ascending), ``y`` (the same, descending: north is up) and
        ``spatial_ref``. Along each side 2 · buffer / resolution pixels, rounded up.

    Raises
    ------
    TypeError
        If `lon`, `lat`, `buffer` or `resolution` is not a number, or `crs` is of another type.
    ValueError
        If `lon` or `lat` is out of range (as when they are swapped) or far from where `crs` is
        used, `crs` is not projected, `buffer` and `resolution` are not positive with
        resolution ≤ buffer, there were more than `MAX_PIXELS` pixels, or pixels are so small that
        float64 does not hold their coordinates.

    Examples
    --------
    >>> grid = common_grid(-118.7081, 38.6942, crs="EPSG:32611", buffer=15_000, resolution=200)
    >>> dict(grid.sizes)
    {'y': 150, 'x': 150}
    """
    import rioxarray  # noqa: F401  registers the accessor

    lon, lat = require_number(lon, "lon"), require_number(lat, "lat")
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(
            f"lon must be from -180 to 180 and lat from -90 to 90, got lon={lon}, lat={lat}: "
            "are they swapped?"
        )
    target = _projected(crs)
    buffer = require_number(buffer, "buffer", above=0)
    resolution = require_number(resolution, "resolution", above=0)
    if resolution > buffer:
        raise ValueError(
            f"resolution must be at most buffer, got resolution={resolution}, buffer={buffer}"
        )
    # Rounded, or else 2 * buffer / resolution = 150.00000000000003 would be 151 pixels.
    size = np.ceil(np.round(2 * (buffer / resolution), 6))
    _require_size(size, size, "the grid")
    _require_in_use(target, lon, lat)
    x, y = transformer("EPSG:4326", target).transform(lon, lat)
    if not np.isfinite([x, y]).all():
        raise ValueError(f"lon={lon}, lat={lat} must lie where {target.name} is defined, got {x}")
    finest = float(np.spacing(max(abs(x), abs(y)) + buffer)) / GRID_TOLERANCE
    if resolution < finest:
        raise ValueError(
            f"resolution must be at least {finest:.3g} here, below which float64 does not hold "
            f"regular coordinates, got {resolution}"
        )
    steps = resolution * np.arange(int(size))
    coords = {"y": (y - buffer + steps)[::-1], "x": x - buffer + steps}
    return xr.Dataset(coords=coords).rio.write_crs(target).rio.write_coordinate_system()


def _projected(crs: Any) -> pyproj.CRS:
    import pyproj

    wanted = "crs must be a projected CRS in a form that pyproj takes, such as 'EPSG:32611'"
    plain = isinstance(crs, str | Integral | Mapping | list | tuple) and not isinstance(crs, bool)
    if not plain and not hasattr(crs, "to_wkt"):
        raise TypeError(f"{wanted}, got {shown(crs)}")
    try:
        target = pyproj.CRS.from_user_input(int(crs) if isinstance(crs, Integral) else crs)
    except (pyproj.exceptions.CRSError, TypeError, ValueError) as error:
        raise ValueError(f"{wanted}, got {shown(crs)}") from error
    if not target.is_projected:
        raise ValueError(
            f"crs must be projected, since buffer and resolution are lengths in its units, "
            f"got {target.name}"
        )
    return target


def _require_in_use(crs: pyproj.CRS, lon: float, lat: float) -> None:
    """Raise ValueError if a point lies far outside of the area that a CRS is made for."""
    import pyproj

    area = crs.area_of_use
    if area is None and crs.to_epsg() is not None:  # WKT of a file often leaves it out
        area = pyproj.CRS.from_epsg(crs.to_epsg()).area_of_use
    if area is None:
        return
    south, north = (-84.0, 84.0) if crs.utm_zone else (area.south, area.north)
    width = (area.east - area.west) % 360 or 360.0
    beyond = (lon - area.west + AREA_OF_USE_MARGIN) % 360 - width - 2 * AREA_OF_USE_MARGIN
    if beyond > 0 or not south - AREA_OF_USE_MARGIN <= lat <= north + AREA_OF_USE_MARGIN:
        raise ValueError(
            f"lon and lat must lie within {AREA_OF_USE_MARGIN:g}° of where {crs.name} is used, "
            f"longitude {area.west:g} to {area.east:g} and latitude {south:g} to {north:g}, "
            f"got lon={lon}, lat={lat}: take the CRS of that place"
        )


def _require_size(height: float, width: float, what: str) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{what} must have at most {MAX_PIXELS} pixels, got {height:.0f} x {width:.0f}: "
            "take a coarser resolution or a smaller part"
        )


def regrid(
    scene: xr.DataArray, grid: xr.DataArray | xr.Dataset, *, method: str = "linear"
) -> xr.DataArray:
    """Interpolate a scene to the pixel centers of another grid in the same CRS.

    Parameters
    ----------
    scene
        Floats with dimensions ``y`` and ``x`` and any others; or, with ``method="nearest"``,
        integers that have a ``_FillValue``, such as a label map. Pixel centers are regular and
        may run either way. Longitudes may cross the antimeridian.
    grid
        From `common_grid`, or any array on the grid wanted.
    method
        "linear" (between the four pixels around; missing if one of them is missing) or "nearest"
        (the pixel whose center is nearest; the only one for labels, which have no mean).

    Returns
    -------
    xarray.DataArray
        On `grid`, with dtype, dimension order, attributes and other coordinates of `scene`, but
        those along y and x; lazy if `scene` is. Outside of `scene`, and where it is missing: NaN
        in floats, the ``_FillValue`` in integers (255 in label maps). A linear result ends at the
        outermost pixel centers, a nearest one at the edges of the outermost pixels. Centers that
        agree within a thousandth of a pixel count as equal.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray of real numbers or holds booleans, or `grid` is no DataArray
        of real numbers or Dataset.
    ValueError
        If the CRSs differ or are absent, the two do not overlap, the coordinates of `scene` are
        not regular or fewer than two along a side, integers or labels would be interpolated
        linearly, integers have no value for missing pixels, or `grid` has more than `MAX_PIXELS`
        pixels while `scene` is in memory.

    Examples
    --------
    >>> import rioxarray
    >>> coords = {"y": [100.0, 0.0], "x": [0.0, 100.0]}
    >>> scene = xr.DataArray([[1.0, 3.0], [5.0, 7.0]], coords=coords, dims=("y", "x"))
    >>> grid = xr.Dataset(coords={"y": [50.0], "x": [50.0, 75.0, 125.0]})
    >>> regrid(scene.rio.write_crs(32611), grid.rio.write_crs(32611)).values
    array([[4. , 4.5, nan]])
    """
    require_choice(method, "method", ("linear", "nearest"))
    require_dims(scene, ("y", "x"), "scene", allow_extra=True)
    if not isinstance(grid, xr.DataArray | xr.Dataset):
        raise TypeError(
            f"grid must be an xarray.DataArray or Dataset with x and y, got {type(grid).__name__}"
        )
    if isinstance(grid, xr.DataArray):
        require_dims(grid, ("y", "x"), "grid", allow_extra=True)
    fill = _fill_value(scene, method)
    margin = 0.5 if method == "nearest" else 0.0
    positions = _positions(scene, grid, margin)
    if scene.chunks is None:
        _require_size(*(along.size for along in positions.values()), "grid, for a scene in memory,")

    crs, beside = scene.rio.crs, {scene.rio.grid_mapping}
    beside |= {name for name, coord in scene.coords.items() if {"y", "x"} & set(coord.dims)}
    result = scene.where(~is_missing(scene), fill) if np.isfinite(fill) else mask_and_float(scene)
    attrs = {key: value for key, value in scene.attrs.items() if key not in NODATA_KEYS}
    if np.isfinite(fill):
        attrs["_FillValue"] = fill
    result = result.drop_vars(beside, errors="ignore")
    for dim, along in positions.items():
        result = _take(result, dim, along, method, fill)
    result = result.astype(scene.dtype).transpose(*scene.dims)
    result = result.assign_coords({dim: grid[dim].variable for dim in ("y", "x")})
    # The scene's own spatial_ref may carry its GeoTransform, which no longer holds.
    result.attrs, result.encoding = attrs, {}
    return result.rio.write_crs(crs).rename(scene.name)


def _fill_value(scene: xr.DataArray, method: str) -> float:
    """Return the value of missing pixels in the result: NaN in floats."""
    if scene.dtype == bool:
        raise TypeError(
            "scene must hold floats or integers, got bool, which has no value for missing pixels: "
            f"use scene.astype('uint8').assign_attrs(_FillValue={NODATA_LABEL})"
        )
    if np.issubdtype(scene.dtype, np.floating):
        if method == "linear" and _are_labels(scene):
            raise ValueError(
                "scene must hold quantities for method='linear', got labels, which have no mean: "
                "use method='nearest', or scene.drop_encoding() if they are none"
            )
        return np.nan
    if method != "nearest":
        raise ValueError(
            f"scene must hold floats for method='linear', got {scene.dtype}, which cannot be "
            "averaged if it holds labels or a fill value: use method='nearest', or "
            "scaling.to_reflectance first"
        )
    nodata, limits = nodata_values(scene), np.iinfo(scene.dtype)
    for value in nodata:
        if float(value).is_integer() and limits.min <= value <= limits.max:
            return int(value)
    raise ValueError(
        f"scene must have a _FillValue that {scene.dtype} can hold, to mark missing pixels, got "
        f"{list(nodata) or 'none'}: set attrs['_FillValue'] (label maps: uint8 and {NODATA_LABEL})"
    )


def _are_labels(scene: xr.DataArray) -> bool:
    """Return whether floats are the labels of one map, as a reader with a mask makes them."""
    encoding = scene.encoding
    stored_as_labels = (
        encoding.get("dtype") == np.uint8
        and encoding.get("_FillValue") == NODATA_LABEL
        and not any(key in encoding for key in SCALE_KEYS)
        and scene.sizes.get("band", 1) == 1
    )
    return "flag_meanings" in scene.attrs or "flag_values" in scene.attrs or stored_as_labels


def _positions(
    scene: xr.DataArray, grid: xr.DataArray | xr.Dataset, margin: float
) -> dict[str, np.ndarray]:
    """Return where the centers of `grid` lie in `scene`, in pixels from its first; NaN outside.

    Whole numbers are pixel centers, reached within `grid_tolerance`. The scene ends `margin`
    pixels beyond its outermost centers.
    """
    crs, other = crs_of(scene), crs_of(grid)
    for which, found in (("scene", crs), ("grid", other)):
        if found is None:
            raise ValueError(f"{which} must have a CRS, got none: set it with rio.write_crs")
    if not same_crs(crs, other):
        raise ValueError(
            f"scene and grid must have one CRS, got {crs.name} and {other.name}: reproject the "
            "scene with rioxarray (scene.rio.reproject) first"
        )
    positions = {}
    for dim in ("y", "x"):
        turn = full_turn(crs) if dim == "x" else None
        here, step = regular_centers(scene, dim, "scene", turn)
        there = pixel_centers(grid, dim, "grid")
        if turn is not None:  # the turn of each longitude that comes next to the scene
            there = there - turn * np.round((there - here[[0, -1]].mean()) / turn)
        tolerance = grid_tolerance(abs(step), scene[dim].values, grid[dim].values) / abs(step)
        along = (there - here[0]) / step
        along = np.where(np.abs(along - np.round(along)) <= tolerance, np.round(along), along)
        last = here.size - 1
        outside = (along < -margin - tolerance) | (along > last + margin + tolerance)
        if outside.all():
            raise ValueError(
                f"grid must overlap the scene, got {dim} from {there.min()} to {there.max()} "
                f"against {here.min()} to {here.max()}"
            )
        positions[dim] = np.where(outside, np.nan, np.clip(along, 0, last))
    return positions


def _take(
    scene: xr.DataArray, dim: str, along: np.ndarray, method: str, fill: float
) -> xr.DataArray:
    """Return `scene` at positions along a dimension, `fill` where they are NaN.

    A pixel of weight 0 does not count, also where it is missing; xarray's interp would let its NaN
    through to the pixels beside it.
    """
    inside = xr.DataArray(np.isfinite(along), dims=dim)
    along = np.where(inside, along, 0)
    if method == "nearest":
        # Halfway always up, within rounding, or else pixels would be skipped and doubled in turn.
        nearest = np.floor(along + 0.5 + GRID_TOLERANCE).astype(int)
        result = scene.isel({dim: np.minimum(nearest, scene.sizes[dim] - 1)})
    else:
        first = np.floor(along).astype(int)
        second = np.minimum(first + 1, scene.sizes[dim] - 1)
        weight = xr.DataArray(along - first, dims=dim)
        result, above = scene.isel({dim: first}), scene.isel({dim: second})
        # The difference of the two would overflow for large values of opposite sign.
        result = xr.where(weight > 0, result * (1 - weight) + above * weight, result)
    return result if inside.all() else result.where(inside, fill)
