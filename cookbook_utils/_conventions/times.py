"""Times of two maps or scenes: which of them is earlier, in any calendar or notation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr


def require_in_order(before: xr.DataArray, after: xr.DataArray) -> None:
    """Raise ValueError if both arrays have a time and that of `before` is later.

    Dates of different calendars are compared by year, month, day and time of day.
    """
    times = [array.coords.get("time") for array in (before, after)]
    if any(time is None or time.ndim for time in times):
        return
    one, two = (time.values[()] for time in times)
    try:
        swapped = _moment(one) > _moment(two)
    except (ValueError, TypeError):
        raise ValueError(
            "before and after must have times that can be compared, dates, text of ISO 8601 or "
            f"numbers, got {one} and {two}: drop them with .drop_vars('time')"
        ) from None
    if swapped:
        raise ValueError(
            f"before must not be later than after, got {one} and {two}: are they swapped?"
        )


def _moment(time: Any) -> Any:
    """Return a time as a number or tuple that can be compared; NaT becomes a tuple of NaN."""
    if isinstance(time, str):
        time = pd.to_datetime(time, format="ISO8601", utc=True)
    elif isinstance(time, np.datetime64):
        time = pd.Timestamp(time)
    if not hasattr(time, "year"):
        return time.item() if isinstance(time, np.generic) else time
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return tuple(getattr(time, part, 0) for part in parts)
