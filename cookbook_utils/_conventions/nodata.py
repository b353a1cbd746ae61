"""Nodata: the values of an array that are missing, and the attributes that declare them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims, shown
from cookbook_utils._conventions.bands import SCALE_KEYS

NODATA_KEYS = ("_FillValue", "missing_value", "nodata")
"""Keys of attributes and encodings that declare a nodata value."""


def nodata_values(array: xr.DataArray) -> tuple[float, ...]:
    """Return the nodata values that `array` declares, NaN excluded: usually none or one.

    They are declared by `NODATA_KEYS` in the attributes or the encoding, or by rioxarray's
    accessor. An encoding with a scale or offset describes the packed numbers of the file, which the
    reader has decoded and masked, and is ignored.

    Raises
    ------
    ValueError
        If a declared nodata value is not a number.
    """
    found = [array.attrs.get(key) for key in NODATA_KEYS]
    encoding = array.encoding
    scaled = (
        set(numbers_in(encoding.get(key), f"the {key} of an array")) - {neutral}
        for key, neutral in SCALE_KEYS.items()
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
            pass  # several values, text, or one that the dtype cannot hold; all were read above
    return tuple(sorted(value for value in values if value == value))


def numbers_in(value: Any, what: str) -> list[float]:
    """Return the numbers in the value of an attribute as a list; integers stay exact.

    Raises
    ------
    ValueError
        If the value is not numeric. The message calls it `what`.
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


def without_nodata(attrs: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Return attributes without those that declare a nodata value."""
    return {key: value for key, value in attrs.items() if key not in NODATA_KEYS}


def equals_nodata(values: Any, nodata: Sequence[float]) -> Any:
    """Return a boolean array, True where `values` of any array library are NaN or in `nodata`."""
    missing = values != values
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite
            wanted = [values.dtype.type(value) for value in nodata]
            if values.dtype == np.float64:  # values read from float32 equal the rounded nodata
                wanted += [np.float64(np.float32(value)) for value in nodata]
    else:
        wanted = [int(value) for value in nodata if _holds(values.dtype, value)]
    for value in wanted:
        missing = missing | (values == value)
    return missing


def _holds(dtype: np.dtype, value: float) -> bool:
    """Return whether an integer `dtype` can represent `value`."""
    if dtype.kind not in "iu" or not (isinstance(value, int) or value.is_integer()):
        return False
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def is_missing(array: xr.DataArray) -> xr.DataArray:
    """Return a boolean array, True where `array` is NaN or nodata; lazy if `array` is."""
    nodata = nodata_values(array)
    missing = xr.apply_ufunc(
        lambda values: equals_nodata(values, nodata), array, dask="allowed", keep_attrs=False
    )
    return missing.rename(None)


def mask_and_float(array: xr.DataArray) -> xr.DataArray:
    """Return `array` as floats with NaN for nodata.

    Numbers of 8 and 16 bits become float32, which represents all of them; other integers become
    float64. Attributes are kept, except those that declare a nodata value.
    """
    values = array
    if array.dtype.itemsize <= 2:
        values = array.astype("float32")
    elif array.dtype.kind != "f":
        values = array.astype("float64")
    elif not nodata_values(array):
        return array
    values = values.where(~is_missing(array))
    values.attrs = without_nodata(array.attrs)
    values.encoding = {}
    return values


def valid_pixels(scene: xr.DataArray) -> xr.DataArray:
    """Return a boolean array, True where no band of `scene` is missing; lazy if `scene` is."""
    require_dims(scene, ["band"], "scene", allow_extra=True)
    return ~is_missing(scene).any("band")
