"""Interpolation of scenes to a common grid."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_choice, require_dims, require_number, shown
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
from cookbook_utils._conventions.labels import NODATA_LABEL, holds_labels
from cookbook_utils._conventions.nodata import (
    is_missing,
    mask_and_float,
    nodata_values,
    without_nodata,
)
from cookbook_utils._conventions.points import require_coordinates
from cookbook_utils._resampling import average_shares, linear_shares, resample

if TYPE_CHECKING:
    import pyproj
    from scipy.sparse import csr_array

MAX_PIXELS = 500_000_000
"""Largest number of pixels of a grid: 2 GB for one band of float32."""

AREA_OF_USE_MARGIN = 6.0
"""Tolerance in degrees around the area of use of a CRS: the width of a UTM zone."""


def common_grid(
    longitude: float, latitude: float, *, crs: Any, buffer: float, resolution: float
) -> xr.Dataset:
    """Make a square grid around a point on the ground.

    Use it to define the region and resolution on which scenes of several dates are compared;
    `regrid` interpolates them to it.

    Parameters
    ----------
    longitude, latitude : float
        Center of the grid in degrees (WGS 84).
    crs : Any
        Projected CRS of the grid in any form that pyproj accepts, such as ``"EPSG:32611"``. If
        pyproj knows its area of use, the center must be inside or within `AREA_OF_USE_MARGIN`
        degrees of it, so that a scene across two UTM zones can have the CRS of either. Northern and
        southern UTM zones are valid in both hemispheres, as in Landsat products.
    buffer : float
        Distance from the center to each side, in the units of `crs` (m for UTM).
    resolution : float
        Distance between pixel centers, in the units of `crs`.

    Returns
    -------
    xarray.Dataset
        Dataset without variables and with the coordinates ``x``, ascending from center − buffer to
        center + buffer (exclusive), ``y``, the same in descending order, and ``spatial_ref``. The
        number of pixels along each side is 2 · buffer / resolution, rounded up.

    Raises
    ------
    TypeError
        If `longitude`, `latitude`, `buffer` or `resolution` is not a number, or `crs` has a type
        that pyproj does not accept.
    ValueError
        If `longitude` or `latitude` is out of range or far from the area of use of `crs`, `crs` is
        not projected, `buffer` or `resolution` is not positive, `resolution` exceeds `buffer` or
        the resolution of float64 coordinates, or the grid has more than `MAX_PIXELS` pixels.

    Examples
    --------
    >>> grid = common_grid(-118.7081, 38.6942, crs="EPSG:32611", buffer=15_000, resolution=200)
    >>> dict(grid.sizes)
    {'y': 150, 'x': 150}
    """
    import rioxarray  # noqa: F401  registers the accessor

    longitude = require_number(longitude, "longitude")
    latitude = require_number(latitude, "latitude")
    require_coordinates(np.array([longitude]), np.array([latitude]))
    target = _projected(crs)
    buffer = require_number(buffer, "buffer", above=0)
    resolution = require_number(resolution, "resolution", above=0)
    if resolution > buffer:
        raise ValueError(
            f"resolution must be at most buffer, got resolution={resolution}, buffer={buffer}"
        )
    # Rounded, since 2 * buffer / resolution = 150.00000000000003 should be 150 pixels.
    size = np.ceil(np.round(2 * (buffer / resolution), 6))
    _require_size(size, size, "the grid")
    _require_in_use(target, longitude, latitude)
    x, y = transformer("EPSG:4326", target).transform(longitude, latitude)
    if not np.isfinite([x, y]).all():
        raise ValueError(
            f"longitude and latitude must be inside the domain of {target.name}, got "
            f"longitude={longitude}, latitude={latitude}"
        )
    finest = float(np.spacing(max(abs(x), abs(y)) + buffer)) / GRID_TOLERANCE
    if resolution < finest:
        raise ValueError(
            f"resolution must be at least {finest:.3g} for float64 coordinates here, "
            f"got {resolution}"
        )
    steps = resolution * np.arange(int(size))
    coords = {"y": (y - buffer + steps)[::-1], "x": x - buffer + steps}
    return xr.Dataset(coords=coords).rio.write_crs(target).rio.write_coordinate_system()


def _projected(crs: Any) -> pyproj.CRS:
    """Return `crs` as a pyproj.CRS after checking that it is projected."""
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


def _require_in_use(crs: pyproj.CRS, longitude: float, latitude: float) -> None:
    """Raise ValueError if a point is farther than the margin from the area of use of a CRS."""
    import pyproj

    area = crs.area_of_use
    if area is None and crs.to_epsg() is not None:  # WKT in files often omits it
        area = pyproj.CRS.from_epsg(crs.to_epsg()).area_of_use
    if area is None:
        return
    south, north = (-84.0, 84.0) if crs.utm_zone else (area.south, area.north)
    width = (area.east - area.west) % 360 or 360.0
    beyond = (longitude - area.west + AREA_OF_USE_MARGIN) % 360 - width - 2 * AREA_OF_USE_MARGIN
    if beyond > 0 or not south - AREA_OF_USE_MARGIN <= latitude <= north + AREA_OF_USE_MARGIN:
        raise ValueError(
            f"longitude and latitude must be within {AREA_OF_USE_MARGIN:g}° of the area of use of "
            f"{crs.name}, longitude {area.west:g} to {area.east:g} and latitude {south:g} to "
            f"{north:g}, got longitude={longitude}, latitude={latitude}: choose a CRS of that place"
        )


def _require_size(height: float, width: float, what: str) -> None:
    """Raise ValueError if a grid has more than `MAX_PIXELS` pixels."""
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{what} must have at most {MAX_PIXELS} pixels, got {height:.0f} x {width:.0f}: "
            "choose a coarser resolution or a smaller region"
        )


def regrid(
    scene: xr.DataArray, grid: xr.DataArray | xr.Dataset, *, method: str = "linear"
) -> xr.DataArray:
    """Interpolate a scene to the pixel centers of another grid in the same CRS.

    Use it to bring scenes of several dates to one grid before they are compared. For a scene in
    another CRS call ``scene.rio.reproject`` first.

    Parameters
    ----------
    scene : xarray.DataArray
        Floats with dimensions ``y``, ``x`` and any others; or, with ``method="nearest"``, integers
        that have a ``_FillValue``, such as a label map. Pixel centers are regular, in ascending or
        descending order. Longitudes may cross the antimeridian.
    grid : xarray.DataArray or xarray.Dataset
        The result of `common_grid`, or any array on the target grid.
    method : {"linear", "nearest", "average"}, default "linear"
        "linear" interpolates between the four neighbors, and is nodata if one of them is. "nearest"
        takes the value of the nearest pixel; labels need it. "average" is the mean of all pixels
        that a pixel of `grid` covers, weighted by the area that each shares with it, and is nodata
        if less than half of that area has data; use it where `grid` is coarser than `scene`.

    Returns
    -------
    xarray.DataArray
        `scene` on `grid`, with its dtype, dimension order, attributes and coordinates other than
        those along y and x; lazy if `scene` is. Outside of `scene` and where it is nodata, floats
        are NaN and integers the ``_FillValue`` (255 in label maps). The linear result ends at the
        outermost pixel centers, the nearest one at the edges of the outermost pixels. Centers that
        agree to a thousandth of a pixel are equal. A lazy result has chunks as large as those of
        `scene`, each of which reads only the part of `scene` that it needs.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray of real numbers or is boolean, or `grid` is neither a
        DataArray of real numbers nor a Dataset.
    ValueError
        If the CRSs differ or are absent, scene and grid do not overlap, the coordinates of `scene`
        or, for "average", those of `grid` are irregular or fewer than two along a side, `method` is
        not "nearest" for integers or labels, integers have no nodata value, or `scene` is in memory
        and `grid` has more than `MAX_PIXELS` pixels.

    Examples
    --------
    >>> import rioxarray
    >>> coords = {"y": [100.0, 0.0], "x": [0.0, 100.0]}
    >>> scene = xr.DataArray([[1.0, 3.0], [5.0, 7.0]], coords=coords, dims=("y", "x"))
    >>> grid = xr.Dataset(coords={"y": [50.0], "x": [50.0, 75.0, 125.0]})
    >>> regrid(scene.rio.write_crs(32611), grid.rio.write_crs(32611)).values
    array([[4. , 4.5, nan]])
    """
    require_choice(method, "method", ("linear", "nearest", "average"))
    require_dims(scene, ("y", "x"), "scene", allow_extra=True)
    if not isinstance(grid, xr.DataArray | xr.Dataset):
        raise TypeError(
            f"grid must be an xarray.DataArray or Dataset with x and y, got {type(grid).__name__}"
        )
    if isinstance(grid, xr.DataArray):
        require_dims(grid, ("y", "x"), "grid", allow_extra=True)
    nodata = _nodata_of_result(scene, method)
    shares = {dim: _shares_along(scene, grid, dim, method) for dim in ("y", "x")}
    if scene.chunks is None:
        _require_size(*(each.shape[0] for each in shares.values()), "grid, for a scene in memory,")

    attrs = without_nodata(scene.attrs)
    if np.isnan(nodata):
        result = mask_and_float(scene)
    else:
        result = scene.where(~is_missing(scene), nodata)
        attrs["_FillValue"] = nodata
    # The spatial_ref of the scene may have a GeoTransform, which is that of the old grid.
    replaced = {scene.rio.grid_mapping}
    replaced |= {name for name, coord in scene.coords.items() if {"y", "x"} & set(coord.dims)}
    result = result.drop_vars(replaced, errors="ignore")
    result = result.transpose(..., "y", "x")
    data = resample(
        result.data, shares["y"], shares["x"],
        average=method == "average", nodata=nodata, dtype=scene.dtype,
    )  # fmt: skip
    result = xr.DataArray(data, result.coords, result.dims).transpose(*scene.dims)
    result = result.assign_coords({dim: grid[dim].variable for dim in ("y", "x")})
    result.attrs, result.encoding = attrs, {}
    return result.rio.write_crs(scene.rio.crs).rename(scene.name)


def _nodata_of_result(scene: xr.DataArray, method: str) -> float:
    """Return the nodata value of the result: NaN for floats, that of the scene for integers."""
    if scene.dtype == bool:
        raise TypeError(
            "scene must hold floats or integers, got bool, which has no nodata value: "
            f"use scene.astype('uint8').assign_attrs(_FillValue={NODATA_LABEL})"
        )
    if np.issubdtype(scene.dtype, np.floating):
        if method != "nearest" and holds_labels(scene):
            raise ValueError(
                f"scene must hold quantities for method={method!r}, got labels, which have no "
                "mean: use method='nearest', or scene.drop_encoding() if they are not labels"
            )
        return np.nan
    if method != "nearest":
        raise ValueError(
            f"scene must hold floats for method={method!r}, got {scene.dtype}, which may be labels "
            "or contain nodata: use method='nearest', or scaling.to_reflectance first"
        )
    declared, limits = nodata_values(scene), np.iinfo(scene.dtype)
    for value in declared:
        if float(value).is_integer() and limits.min <= value <= limits.max:
            return int(value)
    raise ValueError(
        f"scene must have a _FillValue that {scene.dtype} can hold as nodata value, got "
        f"{list(declared) or 'none'}: set attrs['_FillValue'] (label maps: uint8, {NODATA_LABEL})"
    )


def _shares_along(
    scene: xr.DataArray, grid: xr.DataArray | xr.Dataset, dim: str, method: str
) -> csr_array:
    """Return the shares of the pixels of `scene` in those of `grid` along a dimension.

    Centers that agree within `grid_tolerance` are equal. A pixel of `grid` that lies outside of
    `scene` has no shares.
    """
    crs = _shared_crs(scene, grid)
    turn = full_turn(crs) if dim == "x" else None
    here, step = regular_centers(scene, dim, "scene", turn)
    there = pixel_centers(grid, dim, "grid")
    if turn is not None:  # shift longitudes by full turns to be close to the scene
        there = there - turn * np.round((there - here[[0, -1]].mean()) / turn)
    tolerance = grid_tolerance(abs(step), scene[dim].values, grid[dim].values) / abs(step)
    along = (there - here[0]) / step
    along = np.where(np.abs(along - np.round(along)) <= tolerance, np.round(along), along)
    half = 0.0  # width of a pixel of the grid, for its area
    if method == "average":
        half = abs(regular_centers(grid, dim, "grid", turn)[1] / step) / 2
    last = here.size - 1
    margin = {"linear": 0.0, "nearest": 0.5, "average": 0.5 + half}[method]
    outside = (along < -margin - tolerance) | (along > last + margin + tolerance)
    if outside.all():
        raise ValueError(
            f"grid must overlap the scene, got {dim} from {there.min()} to {there.max()} "
            f"for a scene from {here.min()} to {here.max()}"
        )
    if method == "average":
        return average_shares(along - half, along + half, here.size)
    along = np.where(outside, np.nan, np.clip(along, 0, last))
    if method == "nearest":
        # Ties go up despite rounding errors, so that no pixel is skipped or repeated.
        along = np.minimum(np.floor(along + 0.5 + GRID_TOLERANCE), last)
    return linear_shares(along, here.size)


def _shared_crs(scene: xr.DataArray, grid: xr.DataArray | xr.Dataset) -> pyproj.CRS:
    """Return the CRS that scene and grid have in common."""
    crs, other = crs_of(scene), crs_of(grid)
    for which, found in (("scene", crs), ("grid", other)):
        if found is None:
            raise ValueError(f"{which} must have a CRS, got none: set it with rio.write_crs")
    if not same_crs(crs, other):
        raise ValueError(
            f"scene and grid must have one CRS, got {crs.name} and {other.name}: reproject the "
            "scene with rioxarray (scene.rio.reproject) first"
        )
    return crs
