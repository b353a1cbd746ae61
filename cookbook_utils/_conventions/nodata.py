"""Which values of an array are missing: nodata, attributes that declare it, and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims, shown
from cookbook_utils._conventions.bands import SCALE_KEYS

NODATA_KEYS = ("_FillValue", "missing_value", "nodata")
"""Attributes, or keys of the encoding, that name the value of a missing pixel."""


def nodata_values(array: xr.DataArray) -> tuple[float, ...]:
    """Return the values that mark missing pixels in `array`, beside NaN; often none or one.

    They are what ``_FillValue``, ``missing_value`` and ``nodata`` say in the attributes and in the
    encoding, and what rioxarray's accessor holds. An encoding with scale or offset describes the
    numbers of the file, whose missing values are NaN here, and is left out.

    Raises
    ------
    ValueError
        If one of them is not a number.
    """
    found = [array.attrs.get(key) for key in NODATA_KEYS]
    encoding = array.encoding
    scaled = (
        set(numbers_in(encoding.get(key), f"the {key} of an array")) - {plain}
        for key, plain in SCALE_KEYS.items()
    )
    if not any(scaled):
        found += [encoding.get(key) for key in NODATA_KEYS]
    what = "the nodata value of an array"
    values = {number for value in found for number in numbers_in(value, what)}
    if hasattr(array, "rio") and {"x", "y"} <= set(array.dims):  # rioxarray has been imported
        try:
            with np.errstate(over="ignore"):
                values.update(numbers_in(array.rio.nodata, what))
        except (TypeError, ValueError, OverflowError):
            pass  # several values, text, or one that the dtype cannot hold: they were read above
    return tuple(sorted(value for value in values if value == value))


def numbers_in(value: Any, what: str) -> list[float]:
    """Return the numbers that an attribute holds: none, one or several; integers stay exact.

    Raises
    ------
    ValueError
        If it is no number; `what` is its name in the message.
    """
    try:
        numbers = np.ravel([] if value is None else value)
        if numbers.dtype.kind == "c":
            raise TypeError("complex numbers have no order")
        return (numbers if numbers.dtype.kind in "biuf" else numbers.astype(np.float64)).tolist()
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{what} must be a number that float64 can hold, got {shown(value)} in its attributes "
            "or encoding"
        ) from error


def equals_nodata(values: Any, nodata: Sequence[float]) -> Any:
    """Return where `values`, of any array library, are NaN or one of `nodata`: bool."""
    missing = values != values
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what a float32 cannot hold is infinite there
            wanted = [values.dtype.type(value) for value in nodata]
            if values.dtype == np.float64:  # a file in float32 rounded its nodata value, too
                wanted += [np.float64(np.float32(value)) for value in nodata]
    else:
        wanted = [int(value) for value in nodata if _holds(values.dtype, value)]
    for value in wanted:
        missing = missing | (values == value)
    return missing


def _holds(dtype: np.dtype, value: float) -> bool:
    """Return whether an integer of `dtype` can have a value."""
    if dtype.kind not in "iu" or not (isinstance(value, int) or value.is_integer()):
        return False
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def is_missing(array: xr.DataArray) -> xr.DataArray:
    """Return where values of `array` are NaN or nodata: bool, lazy if `array` is."""
    nodata = nodata_values(array)
    missing = xr.apply_ufunc(
        lambda values: equals_nodata(values, nodata), array, dask="allowed", keep_attrs=False
    )
    return missing.rename(None)


def mask_and_float(array: xr.DataArray) -> xr.DataArray:
    """Return `array` in floats with NaN where it is missing.

    Numbers of 8 and 16 bits become float32, which holds all of them, other integers float64.
    Attributes are kept but for those that name a nodata value.
    """
    values = array
    if array.dtype.itemsize <= 2:
        values = array.astype("float32")
    elif array.dtype.kind != "f":
        values = array.astype("float64")
    elif not nodata_values(array):
        return array
    values = values.where(~is_missing(array))
    values.attrs = {key: value for key, value in array.attrs.items() if key not in NODATA_KEYS}
    values.encoding = {}
    return values


def valid_pixels(scene: xr.DataArray) -> xr.DataArray:
    """Return where every band of `scene` is present.

    Parameters
    ----------
    scene
        Array with a ``band`` dimension; `is_missing` says which of its values are missing.

    Returns
    -------
    xarray.DataArray
        bool, the dimensions of `scene` without ``band``; lazy if `scene` is.
    """
    require_dims(scene, ["band"], "scene", allow_extra=True)
    return ~is_missing(scene).any("band")
