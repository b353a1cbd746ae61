"""Grids: CRS, pixel centers, and the comparison of two grids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    import pyproj


_UNITS = {
    **dict.fromkeys(("m", "metre", "meter"), ("length", 1.0)),
    **dict.fromkeys(("km", "kilometre", "kilometer"), ("length", 1000.0)),
    **dict.fromkeys(("ft", "foot", "feet", "us survey foot", "us ft"), ("length", 0.3048)),
    **dict.fromkeys(("°", "degree", "degree east", "degree north"), ("angle", np.pi / 180)),
    **dict.fromkeys(("degrees east", "degrees north"), ("angle", np.pi / 180)),
    **dict.fromkeys(("grad", "gon"), ("angle", np.pi / 200)),
    **dict.fromkeys(("rad", "radian"), ("angle", 1.0)),
}
"""Kind and size (in meters or radians) of units of coordinates; other units are not checked."""

GRID_TOLERANCE = 1e-3
"""Fraction of a pixel by which the coordinates of equal grids may differ, since files round."""


def crs_of(array: xr.DataArray | xr.Dataset) -> pyproj.CRS | None:
    """Return the coordinate reference system that rioxarray finds on `array`, or None.

    Raises
    ------
    ValueError
        If the CRS cannot be parsed, or the attribute ``units`` of x or y contradicts the unit of
        the CRS, such as km, or rad for the scan angles of a geostationary satellite, where the CRS
        is in m.
    """
    import pyproj
    import rasterio.errors
    import rioxarray  # noqa: F401  registers the accessor

    try:
        crs = array.rio.crs
        crs = None if crs is None else pyproj.CRS.from_user_input(crs)
    except (pyproj.exceptions.CRSError, rasterio.errors.CRSError) as error:
        raise ValueError(
            "spatial_ref must hold a coordinate reference system, got one that cannot be read: "
            "set it with rio.write_crs"
        ) from error
    if crs is not None:
        _require_units_of(crs, array)
    return crs


def _require_units_of(crs: pyproj.CRS, array: xr.DataArray | xr.Dataset) -> None:
    """Raise ValueError if the attribute ``units`` of x or y contradicts the unit of `crs`."""
    axes = crs.axis_info
    kind = "angle" if crs.is_geographic else "length" if crs.is_projected else None
    for dim in ("x", "y") if axes and kind else ():
        units = str(array[dim].attrs.get("units", "")) if dim in array.coords else ""
        unit, size = _UNITS.get(units.lower().replace("_", " ").removesuffix("s"), (None, 0))
        # A file may name feet where its CRS has US survey feet, which are 2 ppm longer.
        same_size = abs(size / axes[0].unit_conversion_factor - 1) < 1e-4
        if unit and not (unit == kind and same_size):
            raise ValueError(
                f"the coordinate {dim} must be in the unit of its CRS, {axes[0].unit_name}, got "
                f"{units!r} in its attributes: convert it and set the new units"
            )


def transformer(source: Any, target: Any) -> pyproj.Transformer:
    """Return the transformer between two CRSs, with x before y.

    Raises
    ------
    ValueError
        If there is no transformation, as between CRSs of the Moon and the Earth.
    """
    import pyproj

    try:
        return pyproj.Transformer.from_crs(source, target, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        names = [pyproj.CRS.from_user_input(crs).name for crs in (source, target)]
        raise ValueError(
            f"crs must be a CRS of the Earth, got no transformation between {names[0]} and "
            f"{names[1]}"
        ) from error


def same_crs(one: pyproj.CRS | None, two: pyproj.CRS | None) -> bool:
    """Return whether two CRSs are the same horizontally, or both None.

    Axis order, names and a vertical component are ignored: they differ between an EPSG code and
    the CRS that a file stores for it.
    """
    if one is None or two is None:
        return one is two
    one, two = one.to_2d(), two.to_2d()
    if one.equals(two, ignore_axis_order=True):
        return True
    code = one.to_epsg()
    return code is not None and code == two.to_epsg()


def full_turn(crs: pyproj.CRS | None) -> float | None:
    """Return 360° in the unit of a geographic CRS, or None for any other CRS."""
    if crs is None or not crs.is_geographic:
        return None
    return round(2 * np.pi / crs.axis_info[0].unit_conversion_factor, 9)


def grid_tolerance(step: float, *coordinates: np.ndarray) -> float:
    """Return the largest difference between equal coordinates of pixels of size `step`.

    It is `GRID_TOLERANCE` of a pixel or the rounding error of the dtype of the coordinates
    (float32 resolves northings to half a meter), whichever is larger, and at most a tenth of a
    pixel.
    """
    rounding = [
        float(np.spacing(np.abs(coordinate).max()))
        for coordinate in coordinates
        if coordinate.dtype.kind == "f"
    ]
    return min(max(GRID_TOLERANCE * step, *rounding, 0), 0.1 * step)


def same_coordinate(one: np.ndarray, two: np.ndarray, *, step: float | None = None) -> bool:
    """Return whether two coordinates agree element by element within `grid_tolerance`.

    The pixel size is the smallest step of `one`. For a single pixel, `step` gives it; the default
    is a millionth of the distance from the origin.
    """
    one, two = np.asarray(one), np.asarray(two)
    if one.shape != two.shape:
        return False
    if one.size == 0 or one.dtype.kind not in "iuf" or two.dtype.kind not in "iuf":
        return np.array_equal(one, two)
    here, there = one.astype(np.float64), two.astype(np.float64)
    if not (np.isfinite(here).all() and np.isfinite(there).all()):
        return False
    if one.size > 1:
        step = np.abs(np.diff(here)).min()
    elif step is None:
        step = 1e-6 * np.abs(here).max()
    return bool((np.abs(here - there) <= grid_tolerance(step, one, two)).all())


def pixel_centers(array: xr.DataArray | xr.Dataset, dim: str, what: str) -> np.ndarray:
    """Return the pixel centers along `dim` as float64.

    Raises
    ------
    ValueError
        If the coordinate is absent, empty, not numeric, not 1-D, not finite, or has duplicates.
    """
    wanted = f"the coordinate {dim} of {what} must be 1-D, of finite numbers"
    if dim not in array.coords or dim not in array.dims:
        found = sorted(map(str, array.coords))
        raise ValueError(
            f"{wanted}, got none: it has the dimensions {tuple(array.sizes)} and the coordinates "
            f"{found}; rename those of its grid to y and x"
        )
    values = array[dim].values
    if values.size == 0 or values.dtype.kind not in "iuf":
        raise ValueError(f"{wanted}, got {values.size} of dtype {values.dtype}")
    centers = values.astype(np.float64)
    if not np.isfinite(centers).all():
        raise ValueError(f"{wanted}, got {centers[~np.isfinite(centers)][0]}")
    if np.unique(centers).size != centers.size:
        raise ValueError(f"{wanted} without duplicates, got {centers.size} with duplicates")
    return centers


def regular_centers(
    array: xr.DataArray | xr.Dataset, dim: str, what: str, turn: float | None = None
) -> tuple[np.ndarray, float]:
    """Return the pixel centers of a raster along `dim`, and the step between them.

    Parameters
    ----------
    array : xarray.DataArray or xarray.Dataset
        Array with the coordinate `dim`.
    dim : str
        ``"x"`` or ``"y"``.
    what : str
        Name of the array in error messages.
    turn : float, optional
        Where `dim` is a longitude, `full_turn` of the CRS: longitudes that jump from 180 to −180
        or from 360 to 0 at the antimeridian are unwrapped.

    Returns
    -------
    centers : numpy.ndarray
        float64, ascending or descending.
    step : float
        Negative if the centers descend.

    Raises
    ------
    ValueError
        If there are fewer than two centers, or they are not sorted and equally spaced.
    """
    centers = pixel_centers(array, dim, what)
    if centers.size < 2:
        raise ValueError(f"{what} must have at least 2 pixels along {dim}, got {centers.size}")
    if turn is not None:
        centers = np.unwrap(centers, period=turn)
    steps = np.diff(centers)
    step = float((centers[-1] - centers[0]) / steps.size)
    if step == 0 or np.abs(steps - step).max() > grid_tolerance(abs(step), array[dim].values):
        raise ValueError(
            f"the coordinate {dim} of {what} must be regular, sorted pixel centers, got steps from "
            f"{steps.min():.6g} to {steps.max():.6g}: sort it with sortby, and fill gaps with "
            "reindex"
        )
    return centers, step


def require_same_grid(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Return `b` with the x and y of `a` after checking that both are on the same grid.

    Coordinates may differ by `grid_tolerance`, as they do after an array was written to a file and
    opened again. The result has the coordinates of `a`, since xarray aligns only coordinates that
    are equal to the last bit.

    Raises
    ------
    ValueError
        If the grids or their CRSs differ.
    """
    remedy = "interpolate both to one grid with cookbook_utils.regridding.regrid first"
    steps = [_smallest_step(a.get_index(dim)) for dim in ("y", "x")]
    for dim, other_step in (("y", steps[1]), ("x", steps[0])):
        one, two = a.get_index(dim), b.get_index(dim)
        if not same_coordinate(one, two, step=other_step):
            raise ValueError(
                f"the grids must be equal, got different {dim}: {_describe(one)} and "
                f"{_describe(two)}; {remedy}"
            )
    crs = crs_of(a), crs_of(b)
    if not same_crs(*crs):
        names = [one.name if one else "none" for one in crs]
        raise ValueError(
            f"the grids must be equal, got different CRS: {names[0]} and {names[1]}; {remedy}"
        )
    # Variables, since a coordinate as DataArray would also assign the time of `a`.
    return b.assign_coords({dim: a[dim].variable for dim in ("y", "x") if dim in a.coords})


def _smallest_step(coordinate) -> float | None:
    """Return the smallest step of a numeric coordinate, or None if it has one element."""
    coordinate = np.asarray(coordinate)
    if coordinate.size < 2 or coordinate.dtype.kind not in "iuf":
        return None
    return float(np.abs(np.diff(coordinate.astype(np.float64))).min())


def _describe(coordinate) -> str:
    """Describe a coordinate for an error message: its size, first and last value."""
    size = len(coordinate)
    return f"{size} from {coordinate[0]} to {coordinate[-1]}" if size else "none"
