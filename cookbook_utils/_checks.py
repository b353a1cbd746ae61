"""Validation of parameters and arrays, with error messages in one grammar.

A message reads "`name` must be <expected>, got <found>". TypeError stands for a wrong type or
dtype, ValueError for a wrong value or shape.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

MAX_RANDOM_STATE = 2**32 - 1
"""Largest seed that the random generators of NumPy and scikit-learn accept."""

LARGEST = 1e150
"""Largest absolute value whose square, summed over bands and pixels, fits into float64."""


def require_integer(
    value: Any, name: str, *, least: int | None = None, most: int | None = None
) -> int:
    """Return `value` as an int after checking that it is an integer from `least` to `most`.

    Raises
    ------
    TypeError
        If `value` is not an integer. Booleans and floats are not accepted.
    ValueError
        If `value` is below `least` or above `most`.
    """
    wanted = "an integer" + _limits(least, most)
    if not isinstance(value, Integral) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return int(value)


def require_number(
    value: Any,
    name: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
) -> float:
    """Return `value` as a float after checking that it is finite and within the limits.

    Raises
    ------
    TypeError
        If `value` is not a real number. Booleans and strings are not accepted.
    ValueError
        If `value` is NaN or infinite, below `least`, above `most`, or not greater than `above`.
    """
    wanted = "a finite number" + _limits(least, most, above)
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond float64
        number = np.inf
    if (
        not np.isfinite(number)
        or (least is not None and number < least)
        or (most is not None and number > most)
        or (above is not None and number <= above)
    ):
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return number


def require_random_state(value: Any, name: str = "random_state") -> int:
    """Return `value` as an int after checking that it is an integer from 0 to 2**32 - 1."""
    return require_integer(value, name, least=0, most=MAX_RANDOM_STATE)


def require_bool(value: Any, name: str) -> bool:
    """Return `value` as a bool, or raise TypeError unless it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def require_choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """Return `value` after checking that it is one of `choices`.

    Raises
    ------
    TypeError
        If `value` is not a string.
    ValueError
        If `value` is not one of `choices`.
    """
    wanted = "one of " + ", ".join(map(repr, choices))
    if not isinstance(value, str):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    if value not in choices:
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return value


def progress_bar(progress: Any) -> Callable[..., Iterable]:
    """Return `progress`, or if it is None a function that shows nothing.

    The function takes an iterable and the keyword arguments ``desc`` and ``total``, like tqdm.

    Raises
    ------
    TypeError
        If `progress` is neither None nor callable.
    """
    if progress is not None and not callable(progress):
        raise TypeError(
            f"progress must be a callable such as tqdm.auto.tqdm, got {shown(progress)}"
        )
    return progress or (lambda iterable, **_: iterable)


def require_real(array: Any, what: str) -> None:
    """Raise TypeError unless an array holds real numbers or booleans and has no mask.

    Functions that work on the values would silently drop the mask of a ``numpy.ma`` array.
    """
    dtype = getattr(array, "dtype", None)
    if getattr(dtype, "kind", "O") not in "buif":
        raise TypeError(f"{what} must hold real numbers, got dtype {dtype}")
    if _is_masked(array):
        raise TypeError(
            f"{what} must be an array without a mask, got a numpy.ma masked array: "
            "fill it first, floats with NaN and labels with their nodata value (`.filled`)"
        )


def as_real_array(values: Any, what: str) -> Any:
    """Return `values` as a NumPy array of real numbers, or unchanged if on Dask or CuPy.

    Raises
    ------
    TypeError
        If `values` are not real numbers or have a ``numpy.ma`` mask.
    ValueError
        If the rows have different lengths.
    """
    if isinstance(values, xr.DataArray):
        values = values.data
    if not hasattr(values, "__array_function__"):
        if isinstance(values, list | tuple):
            for row in filter(_is_masked, values):  # NumPy drops the masks of a list
                require_real(row, what)
        try:
            values = np.asarray(values)
        except (ValueError, TypeError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{what} must be an array of numbers, got {shown(values)}") from error
    require_real(values, what)
    return values


def as_float32(values: Any, name: str) -> np.ndarray:
    """Return a new float32 array, or raise ValueError if a finite value would overflow."""
    array = np.asarray(as_real_array(values, name))
    with np.errstate(over="ignore"):
        result = np.array(array, "<f4", order="C")
    if array.dtype.kind == "f" and not np.array_equal(np.isfinite(array), np.isfinite(result)):
        raise ValueError(f"{name} must be in the range of float32, got {np.nanmax(np.abs(array))}")
    return result


def require_dims(
    array: xr.DataArray, dims: Iterable[Hashable], what: str, *, allow_extra: bool = False
) -> None:
    """Raise unless `array` is a DataArray with the dimensions `dims`, in any order.

    Parameters
    ----------
    array : Any
        The argument to check.
    dims : iterable of hashable
        Required dimensions.
    what : str
        Name of the array in the error message, such as ``"scene"``.
    allow_extra : bool, default False
        Whether the array may have further dimensions, such as ``time``.

    Raises
    ------
    TypeError
        If `array` is not a DataArray of real numbers without a mask.
    ValueError
        If a dimension is absent, unexpected, empty or of unknown size.
    """
    dims = tuple(dims)
    if not isinstance(array, xr.DataArray):
        needed = f" with the dimensions {dims}" if dims else ""
        raise TypeError(f"{what} must be an xarray.DataArray{needed}, got {type(array).__name__}")
    missing = [dim for dim in dims if dim not in array.dims]
    extra = [] if allow_extra else [dim for dim in array.dims if dim not in dims]
    faults = []
    if missing:
        faults.append(f"lacks {missing}")
    if extra:
        faults.append(f"has unexpected {extra}")
    if faults:
        raise ValueError(
            f"{what} must have the dimensions {dims}, got {tuple(array.dims)}: "
            f"it {' and '.join(faults)}"
        )
    unknown = [dim for dim in array.dims if np.isnan(array.sizes[dim])]
    if unknown:
        raise ValueError(
            f"{what} must have a known size along each dimension, got none for {unknown}: call "
            "compute_chunk_sizes() on the Dask array that it is made of"
        )
    empty = [dim for dim in array.dims if array.sizes[dim] == 0]
    if empty:
        raise ValueError(
            f"{what} must have a size of at least 1 along each dimension, got {dict(array.sizes)}"
        )
    # xarray replaces the mask of an array in memory by NaN, so only Dask arrays can have a mask.
    # The `data` of other lazy arrays is not accessed, because that would load them from a file.
    require_real(array if array.chunks is None else array.data, what)


def require_rising_time(series: xr.DataArray | xr.Dataset, what: str) -> None:
    """Raise unless the coordinate ``time`` of `series` is strictly increasing.

    Raises
    ------
    TypeError
        If the times are not datetime64 (text or cftime, for example), or have a time zone.
    ValueError
        If the coordinate is absent, contains NaT or is not strictly increasing.
    """
    if "time" not in series.coords:
        raise ValueError(f"{what} must have the coordinate time, got {list(series.coords)}")
    times = series["time"].to_index()
    if not isinstance(times, pd.DatetimeIndex) or times.tz is not None:
        raise TypeError(
            f"the times of {what} must be datetime64 without a time zone, got dtype {times.dtype}"
        )
    if times.hasnans:
        raise ValueError(f"the times of {what} must be dates, got NaT among them")
    if not (times.is_monotonic_increasing and times.is_unique):
        raise ValueError(
            f"the times of {what} must be strictly increasing, got {_first_fall(times)}: call "
            "`.sortby('time').drop_duplicates('time')` on it first"
        )


def _first_fall(times: pd.DatetimeIndex) -> str:
    """Describe the first time that is not later than the one before it."""
    at = int(np.argmax(np.diff(times.asi8) <= 0))
    return f"{times[at + 1]} after {times[at]}"


def _is_masked(array: Any) -> bool:
    """Return whether a NumPy array, or a Dask array by its ``_meta``, has a mask."""
    return isinstance(array, np.ma.MaskedArray) or isinstance(
        getattr(array, "_meta", None), np.ma.MaskedArray
    )


def _limits(least: float | None, most: float | None, above: float | None = None) -> str:
    """Describe the limits of a number in words, with a leading space."""
    if above is not None:
        return f" greater than {above}" + (f" and at most {most}" if most is not None else "")
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return f" of at most {most}" if most is not None else ""


def reasons_of(error: BaseException) -> list[str]:
    """Return the distinct messages of an error and of those that led to it, the first one last."""
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(str(cause) or type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return list(dict.fromkeys(reasons))


def shown(value: Any) -> str:
    """Return a description of a value for an error message, on one line of limited length."""
    try:
        text = repr(value)
    except Exception:  # an integer with thousands of digits, or a faulty class of the caller
        return type(value).__name__
    if len(text) <= 60 and "\n" not in text:
        return text
    return f"{value[:40]!r}..." if isinstance(value, str) else type(value).__name__


@contextmanager
def needs(package: str, extra: str = "archives") -> Iterator[None]:
    """Say which extra of this package installs a package whose import fails in the block.

    Raises
    ------
    ImportError
        If the block raises one.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"the package {package} must be installed, got {error}: run "
            f"`pip install 'satellite-clustering-cookbook[{extra}]'`"
        ) from None
