"""Checks that every module makes of its input, each ending in one clear error."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    import pyproj

MISSING_LABEL = 255
"""Value of a missing pixel in every label map, mask and change map (uint8)."""


def require_dims(
    array: xr.DataArray, dims: Iterable[Hashable], what: str, *, allow_extra: bool = False
) -> None:
    """Raise unless `array` is a DataArray with the dimensions `dims`, in any order.

    Parameters
    ----------
    array
        What the caller was given.
    dims
        Dimensions that it must have.
    what
        Name for the array in the error message, such as ``"scene"``.
    allow_extra
        Whether further dimensions (several scenes) are welcome.

    Raises
    ------
    TypeError
        If `array` is not a DataArray.
    ValueError
        If a dimension is missing, or one is there that is not expected.
    """
    if not isinstance(array, xr.DataArray):
        raise TypeError(f"{what} must be an xarray.DataArray, found {type(array).__name__}")
    dims = tuple(dims)
    missing = [dim for dim in dims if dim not in array.dims]
    extra = [] if allow_extra else [dim for dim in array.dims if dim not in dims]
    if missing or extra:
        wrong = [f"lacks {missing}"] * bool(missing) + [f"has unexpected {extra}"] * bool(extra)
        raise ValueError(
            f"{what} {' and '.join(wrong)}: found dimensions {tuple(array.dims)}, expected {dims}"
        )


def fill_value(array: xr.DataArray) -> Any:
    """Return the ``_FillValue`` in attributes or encoding, or None."""
    return array.attrs.get("_FillValue", array.encoding.get("_FillValue"))


def mask_and_float(array: xr.DataArray) -> xr.DataArray:
    """Return `array` in floats, with NaN where integers held their fill value; attributes kept."""
    if np.issubdtype(array.dtype, np.floating):
        return array
    small = array.dtype.itemsize <= 2  # float32 holds every 16-bit integer exactly
    values = array.astype("float32" if small else "float64", keep_attrs=True)
    fill = fill_value(array)
    values.attrs.pop("_FillValue", None)
    values.encoding.pop("_FillValue", None)
    return values if fill is None else values.where(array != fill)


def valid_pixels(scene: xr.DataArray) -> xr.DataArray:
    """Return where every band of `scene` is present.

    Parameters
    ----------
    scene
        Array with a ``band`` dimension. Floats are missing where NaN, integers where equal to
        ``_FillValue`` (in attributes or encoding); integers without one are all present.

    Returns
    -------
    xarray.DataArray
        bool, the dimensions of `scene` without ``band``; lazy if `scene` is.
    """
    require_dims(scene, ["band"], "scene", allow_extra=True)
    fill = fill_value(scene)
    if np.issubdtype(scene.dtype, np.floating):
        present = scene.notnull()
    elif fill is None:
        present = xr.ones_like(scene, dtype=bool)
    else:
        present = scene != fill
    return present.all("band")


def crs_of(array: xr.DataArray | xr.Dataset) -> pyproj.CRS | None:
    """Return the coordinate reference system that rioxarray finds on `array`, or None."""
    import pyproj
    import rioxarray  # noqa: F401  registers the accessor

    crs = array.rio.crs
    return None if crs is None else pyproj.CRS.from_user_input(crs)


def require_same_grid(a: xr.DataArray | xr.Dataset, b: xr.DataArray | xr.Dataset) -> None:
    """Raise unless `a` and `b` have the same x, the same y and the same CRS.

    Raises
    ------
    ValueError
        If the grids differ; the message says in what, and to regrid first.
    """
    cure = "bring both onto one grid with cookbook_utils.regridding.regrid first"
    for dim in ("y", "x"):
        one, two = a.get_index(dim), b.get_index(dim)
        if not np.array_equal(one, two):
            raise ValueError(
                f"the grids differ in {dim}: {_describe(one)} against {_describe(two)}; {cure}"
            )
    if crs_of(a) != crs_of(b):
        names = [crs.name if crs else "none" for crs in (crs_of(a), crs_of(b))]
        raise ValueError(f"the grids differ in CRS: {names[0]} against {names[1]}; {cure}")


def _describe(coordinate) -> str:
    size = len(coordinate)
    return f"{size} from {coordinate[0]} to {coordinate[-1]}" if size else "none"


def require_reflectance(scene: xr.DataArray, what: str) -> None:
    """Raise unless `scene` holds reflectance: units ``"1"``, neither standardized nor rescaled.

    Raises
    ------
    ValueError
        If it holds digital numbers, display values or scaled features.
    """
    units, scaling = scene.attrs.get("units"), scene.attrs.get("scaling")
    if scaling is not None:
        raise ValueError(f"{what} needs reflectance, found {scaling} values: give it the scene "
                         "as it was before scaling.standardize or scaling.rescale")  # fmt: skip
    if units != "1":
        raise ValueError(
            f'{what} needs reflectance (attrs["units"] == "1"), found units {units!r}: '
            "call cookbook_utils.scaling.to_reflectance(scene) first"
        )
