"""Points and their displacement series: names, dates, coordinates, and displacement as floats."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_dims, shown
from cookbook_utils._conventions.nodata import mask_and_float

FIRST_DATE = date(1978, 6, 27)
"""Earliest date of a series: the launch of Seasat, the first satellite with an imaging radar."""

RESERVED_NAMES = ("displacement", "filled_fraction", "point", "regime", "time")
"""Names that no static feature may have, because points use them for other variables."""


def require_radar_date(when: date, what: str) -> None:
    """Raise ValueError unless a date lies between the first radar satellite and today."""
    last = datetime.now(UTC).date() + timedelta(days=1)  # it may be tomorrow in other time zones
    if not FIRST_DATE <= when <= last:
        raise ValueError(
            f"{what} must be a date from {FIRST_DATE}, the launch of the first imaging radar "
            f"satellite, to today, got {when}"
        )


def dates_of(names: Sequence[str], what: str) -> np.ndarray:
    """Return the dates of a series from names in ISO 8601, or raise.

    Parameters
    ----------
    names : sequence of str
        Names of the columns of displacement in shards, such as ``["2020-01-03", "2020-01-09"]``.
    what : str
        Name of these in error messages.

    Returns
    -------
    numpy.ndarray of datetime64[ns] (time,)
        The dates.

    Raises
    ------
    ValueError
        If a name is not a date, the dates are not strictly ascending, or a date is one that
        `require_radar_date` refuses.
    """
    for name in names:
        try:
            when = datetime.fromisoformat(name)
        except ValueError:
            raise ValueError(f"{what} must be dates such as 2020-01-03, got {name!r}") from None
        if when.tzinfo is not None:
            raise ValueError(f"{what} must be dates without a time zone, got {name!r}")
        require_radar_date(when.date(), what)
    times = pd.DatetimeIndex([datetime.fromisoformat(name) for name in names])
    if not (times.is_monotonic_increasing and times.is_unique):
        raise ValueError(f"{what} must be strictly increasing dates")
    return times.to_numpy("datetime64[ns]")


def require_coordinates(
    longitude: np.ndarray,
    latitude: np.ndarray,
    *,
    east: int = 180,
    prefix: str = "",
    points: np.ndarray | None = None,
) -> None:
    """Raise ValueError unless longitudes and latitudes are within their ranges.

    Parameters
    ----------
    longitude, latitude : numpy.ndarray of float (n,)
        Coordinates of points in degrees. NaN is out of range.
    east : {180, 360}, default 180
        Largest longitude; the least one is -180.
    prefix : str, default ""
        Beginning of error messages, such as the path of a file.
    points : numpy.ndarray (n,), optional
        Identifiers of the points for error messages.

    Raises
    ------
    ValueError
        If a coordinate is out of range. The message gives the first one.
    """
    for name, values, low, high in (
        ("latitude", latitude, -90, 90), ("longitude", longitude, -180, east)
    ):  # fmt: skip
        wrong = np.flatnonzero(~((low <= values) & (values <= high)))
        if not wrong.size:
            continue
        found = str(values[wrong[0]])
        if points is not None:
            found += f" at the point {points[wrong[0]]}"
        if values.size > 1:
            found = f"{wrong.size} of {values.size} points outside, such as {found}"
        remedy = ""
        if name == "longitude" and ((high < values[wrong]) & (values[wrong] <= 360)).any():
            remedy = ": convert 0 to 360 by (longitude + 180) % 360 - 180"
        elif np.isfinite(values[wrong]).any():
            remedy = ": are longitude and latitude swapped, or projected, in meters?"
        raise ValueError(
            f"{prefix}{name} must be from {low} to {high} degrees, got {found}{remedy}"
        )


def step_of(step: str | pd.Timedelta | None) -> pd.Timedelta | None:
    """Return the interval of regular dates, the `step` of `insar.fill_gaps`, or raise.

    Raises
    ------
    TypeError
        If `step` is neither text nor a timedelta; pandas would take a number for nanoseconds.
    ValueError
        If the text is not a timedelta, or the interval is not longer than 0.
    """
    if step is None:
        return None
    wanted = "step must be a timedelta such as '6D'"
    if not isinstance(step, str | timedelta | np.timedelta64):
        raise TypeError(f"{wanted}, got {shown(step)}")
    try:
        interval = pd.Timedelta(step)
    except ValueError:
        raise ValueError(f"{wanted}, got {shown(step)}") from None
    if not interval > pd.Timedelta(0):  # false for NaT
        raise ValueError(f"{wanted} and longer than 0, got {shown(step)}")
    return interval


def displacement_of(points: xr.Dataset) -> xr.DataArray:
    """Return ``displacement`` (point, time) of points in floats, NaN where it is missing, or raise.

    Raises
    ------
    TypeError
        If `points` is not a Dataset, or its displacements are not real numbers.
    ValueError
        If `points` has no displacement, or displacement with other dimensions.
    """
    if not isinstance(points, xr.Dataset):
        raise TypeError(f"points must be an xarray.Dataset, got {type(points).__name__}")
    if "displacement" not in points:
        raise ValueError(f"points must have displacement (point, time), got {list(points)}")
    require_dims(points.displacement, ("point", "time"), "displacement of points")
    return mask_and_float(points.displacement)
