"""Checks of displacement series and of their dates."""

from __future__ import annotations

from typing import Any

import numpy as np

from cookbook_utils._checks import as_real_array

DAYS_WITHOUT_TIME = 6.0  # between the dates of series without time


def checked_series(X: Any, *, gaps: bool) -> np.ndarray:
    """Return series (series, time) in float64, or raise if they have gaps where none may be."""
    series = np.asarray(as_real_array(X, "X"), np.float64)
    if series.ndim != 2 or series.shape[1] < 2:
        raise ValueError(
            f"X must have the shape (series, time) with at least two dates, got {series.shape}"
        )
    present = ~np.isinf(series) if gaps else np.isfinite(series)
    if missing := np.count_nonzero(~present.all(axis=1)):
        if gaps:
            raise ValueError(
                f"X must be finite, or NaN in gaps, got {missing} of {len(series)} series with "
                "infinite displacement"
            )
        raise ValueError(
            f"X must hold series of displacement without gaps, got {missing} of {len(series)} with "
            "gaps: fill them with cookbook_utils.insar.fill_gaps, and leave out those without any "
            "observation"
        )
    if series.size and np.nanmax(np.abs(series), initial=0) > np.finfo(np.float32).max:
        raise ValueError(f"X must be finite in float32, got {np.nanmax(np.abs(series)):g}")
    return series


def means_of(series: np.ndarray) -> np.ndarray:
    """Return the means (series, 1) of the observed values of series; 0 without any."""
    seen = np.isfinite(series)
    total = np.where(seen, series, 0).sum(axis=1, keepdims=True)
    return total / np.maximum(seen.sum(axis=1, keepdims=True), 1)


def days_of(time: Any, n_dates: int) -> np.ndarray:
    """Return dates in days since 1970, or raise unless they are ascending and `n_dates`."""
    if time is None:
        return np.arange(n_dates) * DAYS_WITHOUT_TIME
    dates = np.asarray(time)
    if dates.dtype.kind != "M":
        raise TypeError(f"time must hold dates, datetime64 without a time zone, got {dates.dtype}")
    if dates.shape != (n_dates,):
        raise ValueError(f"time must have the shape ({n_dates},), got {dates.shape}")
    days = (dates - np.datetime64(0, "D")) / np.timedelta64(1, "D")
    if not (np.diff(days) > 0).all():
        raise ValueError("time must be strictly increasing, without NaT")
    return days


def as_date(day: float) -> np.datetime64:
    """Return the date of a number of days since 1970."""
    return np.datetime64(0, "D") + np.timedelta64(int(day), "D")
