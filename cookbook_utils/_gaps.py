"""Interpolation over the gaps of many time series at once, in NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SERIES_PER_BLOCK = 4096  # series that are filled at a time; bounds the temporary arrays

# Shapes below: p series of a block, t dates of the observations, s dates of the result.


def interpolate(
    series: np.ndarray, *, dates: np.ndarray, new_dates: np.ndarray, cubic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate series with gaps at other dates.

    Parameters
    ----------
    series : numpy.ndarray of float (..., t)
        Values, NaN in gaps.
    dates, new_dates : numpy.ndarray of float (t,) and (s,)
        Dates of the values and of the result, in days, ascending.
    cubic : bool
        Whether to interpolate with a monotone cubic instead of lines.

    Returns
    -------
    values : numpy.ndarray of float32 (..., s)
        The interpolated series; NaN for a series without observations.
    fraction : numpy.ndarray of float32 (...)
        Share of `new_dates` without an observation; NaN for a series without observations.
    """
    flat = series.reshape(-1, series.shape[-1])
    values = np.empty((len(flat), len(new_dates)), np.float32)
    fraction = np.empty(len(flat), np.float32)
    for start in range(0, len(flat), SERIES_PER_BLOCK):
        rows = slice(start, start + SERIES_PER_BLOCK)
        values[rows], fraction[rows] = _interpolate_block(flat[rows], dates, new_dates, cubic)
    return values.reshape(*series.shape[:-1], -1), fraction.reshape(series.shape[:-1])


class _Observations(NamedTuple):
    """Values of a block of series (p, t) and, at each date, the nearest dates with a value."""

    values: np.ndarray
    """Displacement, 0 in gaps."""
    present: np.ndarray
    """Whether there is an observation."""
    previous: np.ndarray
    """Index of the last observation up to and on each date, or -1."""
    following: np.ndarray
    """Index of the first observation on and after each date, or t."""

    @classmethod
    def of(cls, series: np.ndarray) -> _Observations:
        n = series.shape[1]
        present = np.isfinite(series)
        index = np.where(present, np.arange(n), -1)
        previous = np.maximum.accumulate(index, axis=1)
        index[~present] = n
        following = np.minimum.accumulate(index[:, ::-1], axis=1)[:, ::-1]
        return cls(np.where(present, series, 0).astype(float), present, previous, following)


def _interpolate_block(
    series: np.ndarray, dates: np.ndarray, new_dates: np.ndarray, cubic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate a block of series (p, t) to (p, s), and return the fractions (p,)."""
    if np.any(np.abs(series) > np.finfo(np.float32).max):
        raise ValueError("displacement must be finite in float32, or NaN where it is missing")
    observed = _Observations.of(series)
    at = np.searchsorted(dates, new_dates, side="right") - 1  # last date up to each new one, (s,)
    low, high = _brackets(observed, at)  # (p, s)

    y_low = np.take_along_axis(observed.values, low, axis=1)
    rise = np.take_along_axis(observed.values, high, axis=1) - y_low
    span = dates[high] - dates[low]
    # Position between the two observations, from 0 to 1.
    u = np.where(low == high, 0, (new_dates - dates[low]) / np.where(low == high, 1, span))
    if cubic:
        slopes = _slopes(observed, dates)
        d_low = span * np.take_along_axis(slopes, low, axis=1)
        d_high = span * np.take_along_axis(slopes, high, axis=1)
        # The cubic Hermite polynomial, in powers of u.
        square, cube = 3 * rise - 2 * d_low - d_high, d_low + d_high - 2 * rise
        values = y_low + u * (d_low + u * (square + u * cube))
    else:
        values = y_low + u * rise

    seen = observed.present[:, at] & (dates[at] == new_dates)
    is_empty = ~observed.present.any(axis=1)
    values[is_empty] = np.nan
    return values, np.where(is_empty, np.nan, 1 - seen.mean(axis=1))


def _brackets(observed: _Observations, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the observations (p, s) between which each new date lies.

    They are equal before the first and after the last observation, whose value is held there.
    """
    n = observed.values.shape[1]
    low = observed.previous[:, at]
    high = observed.following[:, np.minimum(at + 1, n - 1)]
    high[:, at + 1 == n] = n
    low, high = np.where(low < 0, high, low), np.where(high == n, low, high)
    return np.clip(low, 0, n - 1), np.clip(high, 0, n - 1)  # clips only series without observations


def _slopes(observed: _Observations, dates: np.ndarray) -> np.ndarray:
    """Return the derivative (p, t) of the monotone cubic at each observation; 0 in gaps.

    As in SciPy's PchipInterpolator: inside, the weighted harmonic mean of Fritsch and Butland
    (1984) of the slopes of the two neighboring intervals, or 0 where their signs differ; at the
    ends, the three-point formula of Moler (2004), Numerical Computing with MATLAB, section 3.6.
    """
    values, present = observed.values, observed.present
    p, n = values.shape
    own = np.broadcast_to(np.arange(n), values.shape)
    back = np.concatenate([np.full((p, 1), -1), observed.previous[:, :-1]], axis=1)
    ahead = np.concatenate([observed.following[:, 1:], np.full((p, 1), n)], axis=1)

    def interval(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return length and slope of the intervals from observations a to b, where both exist."""
        exists = present & (a >= 0) & (b < n)
        a, b = np.where(exists, a, 0), np.where(exists, b, 0)
        length = np.where(exists, dates[b] - dates[a], 1)
        rise = np.take_along_axis(values, b, axis=1) - np.take_along_axis(values, a, axis=1)
        return length, rise / length

    h0, s0 = interval(back, own)  # (p, t) each
    h1, s1 = interval(own, ahead)
    monotone = present & (back >= 0) & (ahead < n) & (s0 * s1 > 0)
    w0, w1 = 2 * h1 + h0, h1 + 2 * h0
    safe_s0, safe_s1 = np.where(monotone, s0, 1), np.where(monotone, s1, 1)
    slopes = np.where(monotone, (w0 + w1) / (w0 / safe_s0 + w1 / safe_s1), 0)

    rows = np.flatnonzero(present.sum(axis=1) >= 2)
    first = present.argmax(axis=1)[rows]
    last = n - 1 - present[:, ::-1].argmax(axis=1)[rows]
    second, second_last = ahead[rows, first], back[rows, last]
    is_line = second == last  # two observations
    for end, inner, h, s in ((first, second, h1, s1), (last, second_last, h0, s0)):
        near_s = s[rows, end]
        slope = _end_slope(h[rows, end], near_s, h[rows, inner], s[rows, inner])
        slopes[rows, end] = np.where(is_line, near_s, slope)
    return slopes


def _end_slope(h: np.ndarray, s: np.ndarray, next_h: np.ndarray, next_s: np.ndarray) -> np.ndarray:
    """Return the slope at the end of series from lengths and slopes of the last two intervals.

    It is that of a parabola through three observations, limited so that the curve is monotone.
    """
    d = ((2 * h + next_h) * s - h * next_s) / (h + next_h)
    d = np.where(np.sign(d) != np.sign(s), 0, d)
    return np.where((np.sign(s) != np.sign(next_s)) & (np.abs(d) > 3 * np.abs(s)), 3 * s, d)
