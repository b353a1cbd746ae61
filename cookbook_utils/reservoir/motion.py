"""Readout of the motion: a reservoir that the calendar drives, and one regression for each series.

The states are functions of time that all series share, and each series is regressed on those of its
observed dates. No date is interpolated: over a gap the reservoir runs on, and the regression has no
observation there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CLOCK_SCALING = (2.0, 0.5, 0.5, 1.0)
"""Largest weights from the trend, the cosine and sine of the year, and a constant to the units.

The states are functions of time as smooth as these weights make them. They were chosen by how well
the motion found on every other date predicts the dates between, without the true regimes. The error
hardly depends on them as long as the trend weighs at least twice as much as the season.
"""
COMPRESSION = {"motion": 0.225, "curve": 0.25}
"""Power of its variance by which a kind of motion, or a component of the curve, is divided."""
REST_WEIGHT = 0.25
"""Weight of what is neither trend, curvature nor annual cycle in "motion"."""
LINEAR_RANGE = 0.5
"""Part of the noise of a date up to which the spread of a kind of motion counts as it is in mm.

`ReservoirEmbedding` says how these were chosen.
"""
REST = 3  # the kind of motion that is neither trend, curvature nor annual cycle
N_FUNCTIONS = 32  # functions of time on which series are regressed, if there are enough dates
EM_STEPS = 6
SERIES_OF_EM = 1024
SERIES_PER_PRODUCT = 32  # series in a matrix product; products of one shape round all series alike
DAYS_PER_STEP = 6.0  # of the clock: the time between two passes of a pair of satellites
FEWEST_STEPS = 64
DAYS_PER_YEAR = 365.25


def draw_clock_weights(n_units: int, random_state: int) -> np.ndarray:
    """Return weights (unit, 4) from the calendar to the units: trend, annual cycle and constant."""
    return np.random.default_rng(random_state).uniform(-1, 1, (n_units, 4)) * CLOCK_SCALING


def run_clock(
    days: np.ndarray, period: np.ndarray, weights: np.ndarray, input_weights: np.ndarray
) -> np.ndarray:
    """Return the states (day, unit) of a reservoir that the calendar drives.

    Parameters
    ----------
    days : numpy.ndarray (day,)
        Days since 1970 within the period.
    period : numpy.ndarray (2,)
        First and last day. The reservoir runs over it in regular steps, whatever the dates of the
        observations; states between two steps are interpolated.
    weights, input_weights : numpy.ndarray (unit, unit) and (unit, 4)
        Weights between the units, and from the calendar to the units.
    """
    first, last = period
    n_steps = max(FEWEST_STEPS, int(np.ceil((last - first) / DAYS_PER_STEP)))
    clock = np.linspace(first, last, n_steps + 1)
    angle = 2 * np.pi * clock / DAYS_PER_YEAR
    trend = np.linspace(-1, 1, n_steps + 1)
    inputs = np.column_stack([trend, np.cos(angle), np.sin(angle), np.ones_like(trend)])
    drive = inputs @ input_weights.T
    state = np.zeros(len(weights))
    for _ in range(FEWEST_STEPS):  # forget the start from zero
        state = np.tanh(weights @ state + drive[0])
    states = np.empty_like(drive)
    for t, driven in enumerate(drive):
        state = states[t] = np.tanh(weights @ state + driven)
    at = (days - first) / max(last - first, 1e-9) * n_steps
    low = np.clip(at.astype(int), 0, n_steps - 1)
    share = (at - low)[:, np.newaxis]
    return (1 - share) * states[low] + share * states[low + 1]


class Motion(NamedTuple):
    """What the series of `fit` have in common: their components of motion and their noise."""

    mean_states: np.ndarray
    """Mean of the states over the dates (unit,)."""
    functions: np.ndarray
    """Weights (component, unit) from states to functions of time with a mean square of 1."""
    mean: np.ndarray
    """Mean of the coefficients of the components (component,), in mm."""
    variance: np.ndarray
    """Variance of the coefficients among the series (component,), in mm², descending."""
    noise: float
    """Variance of a single date about the motion, in mm²."""
    mixing: np.ndarray
    """Weights (component, feature) from the coefficients, minus their mean, to the features."""


def fit_motion(
    series: np.ndarray,
    states: np.ndarray,
    days: np.ndarray,
    n_features: int,
    representation: str,
) -> Motion:
    """Estimate means and variances of the coefficients, and the noise, by expectation maximization.

    Parameters
    ----------
    series : numpy.ndarray (series, time)
        Displacement in mm, NaN where it is missing.
    states : numpy.ndarray (time, unit)
        States of the reservoir at the dates.
    days : numpy.ndarray (time,)
        The dates, in days.
    n_features : int
        Number of features to which the coefficients are mixed.
    representation : {"motion", "curve"}
        As for `ReservoirEmbedding`.
    """
    mean_states = states.mean(axis=0)
    _, singular, vectors = np.linalg.svd(states - mean_states, full_matrices=False)
    n = min(max(N_FUNCTIONS, n_features), np.count_nonzero(singular > 1e-9 * singular[0]))
    functions = vectors[:n] * (np.sqrt(len(states)) / singular[:n])[:, np.newaxis]
    basis = (states - mean_states) @ functions.T

    series = series[np.isfinite(series).sum(axis=1) > 1]
    series = series[:: -(-len(series) // SERIES_OF_EM)]
    total = np.nanmean(np.nanvar(series, axis=1))
    mean, covariance, noise = np.zeros(n), np.eye(n) * total, total
    for _ in range(EM_STEPS):
        found = regress(series, basis, mean, covariance, noise)
        mean = found.coefficients.mean(axis=0)
        away = found.coefficients - mean
        covariance = away.T @ away / len(away) + found.spread + 1e-9 * total * np.eye(n)
        noise = max(float(np.median(found.noise)), 1e-6 * total)
    variance, axes = np.linalg.eigh(covariance)
    variance, axes = variance[::-1], axes[:, ::-1].T
    functions = axes @ functions
    signs = np.sign(functions[range(len(axes)), np.abs(functions).argmax(axis=1)])
    functions, mean = functions * signs[:, np.newaxis], axes @ mean * signs
    basis = (states - mean_states) @ functions.T
    found = regress(series, basis, mean, np.diag(variance), noise)
    if representation == "motion":
        axes, kinds = kinds_of_motion(basis, days)
        size = np.where(kinds == REST, REST_WEIGHT, 1)
    else:
        axes, kinds, size = np.eye(n), np.arange(n), 1
    spread = variance @ axes**2
    spread = np.array([spread[kinds == kind].sum() for kind in kinds])
    scaled = axes * size * (spread + LINEAR_RANGE**2 * noise) ** -COMPRESSION[representation]
    _, turn = np.linalg.eigh((scaled.T * variance) @ scaled)
    weights = scaled @ turn[:, ::-1][:, :n_features]
    weights *= np.sign(weights[np.abs(weights).argmax(axis=0), range(weights.shape[1])])
    among = np.cov(found.coefficients @ weights, rowvar=False).reshape(2 * weights.shape[1:])
    return Motion(
        mean_states, functions, mean, variance, noise, weights @ equal_variances(among, n_features)
    )


def kinds_of_motion(basis: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide the functions of time into trend, curvature, annual cycle and the rest.

    Parameters
    ----------
    basis : numpy.ndarray (time, component)
        Functions of time, uncorrelated and with a mean square of 1.
    days : numpy.ndarray (time,)
        The dates, in days.

    Returns
    -------
    axes : numpy.ndarray (component, component)
        Orthonormal columns, the weights from the components to functions of one kind each.
    kinds : numpy.ndarray (component,)
        Kind of each column: 0 trend, 1 curvature, 2 annual cycle, and `REST`. A kind is missing if
        the dates cannot tell it from those before it.
    """
    angle = 2 * np.pi * days / DAYS_PER_YEAR
    t = (days - days.mean()) / np.ptp(days)
    motions = np.stack([t, t**2, np.cos(angle), np.sin(angle)], axis=1)
    axes, sizes = np.linalg.qr(basis.T @ (motions - motions.mean(axis=0)), mode="complete")
    sizes = np.abs(sizes.diagonal())
    kinds = np.full(len(axes), REST)
    kinds[: len(sizes)] = np.where(sizes > 1e-6 * sizes[0], [0, 1, 2, 2][: len(sizes)], REST)
    return axes, kinds


class Regression(NamedTuple):
    """Series regressed on functions of time."""

    coefficients: np.ndarray
    """Expected coefficients (series, component)."""
    noise: np.ndarray
    """Variance of each series about its motion (series,)."""
    spread: np.ndarray
    """Covariance of the errors of the coefficients (component, component), mean of the series."""


def regress(
    series: np.ndarray, basis: np.ndarray, mean: np.ndarray, covariance: np.ndarray, noise: float
) -> Regression:
    """Regress series on functions of time at their observed dates.

    Each series has an intercept and the coefficients (B' B + noise covariance⁻¹)⁻¹ B' (y - B mean)
    + mean, with B and y centered on its observed dates: a ridge regression whose penalty is the
    ratio of the noise and of the spread of the coefficients.

    Parameters
    ----------
    series : numpy.ndarray (series, time)
        Displacement, NaN where it is missing.
    basis : numpy.ndarray (time, component)
        Functions of time.
    mean, covariance : numpy.ndarray (component,) and (component, component)
        Of the coefficients among all series.
    noise : float
        Variance of a single date.
    """
    n, n_components = len(series), basis.shape[1]
    penalty = noise * np.linalg.inv(covariance)
    i, j = np.triu_indices(n_components)
    products = basis[:, i] * basis[:, j]
    coefficients, variance = np.empty((n, n_components)), np.empty(n)
    spread = np.zeros((n_components, n_components))
    for start in range(0, n, SERIES_PER_PRODUCT):
        rows = slice(start, min(start + SERIES_PER_PRODUCT, n))
        size = rows.stop - start
        values = np.full((SERIES_PER_PRODUCT, series.shape[1]), np.nan)
        values[:size] = series[rows]
        seen = np.isfinite(values)
        values = np.where(seen, values - basis @ mean, 0)
        seen = seen.astype(float)
        count = np.maximum(seen.sum(axis=1), 1)[:, np.newaxis]
        values -= seen * (values.sum(axis=1, keepdims=True) / count)
        average = seen @ basis / count
        gram = np.empty((SERIES_PER_PRODUCT, n_components, n_components))
        gram[:, i, j] = gram[:, j, i] = seen @ products - count * average[:, i] * average[:, j]
        inverse = np.linalg.inv(gram + penalty)
        found = ((values @ basis)[:, np.newaxis] @ inverse)[:, 0]
        offset = np.einsum("nj,nj->n", found, average)[:, np.newaxis]
        left = values - seen * (found @ basis.T - offset)
        freedom = count[:, 0] - 1 - np.einsum("nij,nij->n", gram, inverse)
        squares = np.einsum("nt,nt->n", left, left) / np.maximum(freedom, 1)
        coefficients[rows], variance[rows] = found[:size] + mean, squares[:size]
        spread += noise * inverse[:size].sum(axis=0)
    return Regression(coefficients, variance, spread / max(n, 1))


def equal_variances(covariance: np.ndarray, n_features: int) -> np.ndarray:
    """Return a matrix (component, feature) that turns components to features of equal variance.

    Its rows are orthonormal, so that distances remain. It is a product of rotations of two
    features, each of which brings one of them to the mean variance.
    """
    rotation = np.eye(n_features)[: len(covariance)]
    for _ in range(n_features - 1):
        product = rotation.T @ covariance @ rotation
        spread = product.diagonal()
        target, low, high = spread.mean(), spread.argmin(), spread.argmax()
        below, above = target - spread[low], spread[high] - target
        if min(below, above) <= 1e-9 * target:
            break
        # The rotation by an angle with tangent x gives the first (low + 2 x both + x² high) /
        # (1 + x²), which is the target.
        both = product[low, high]
        x = (-both + np.sqrt(both**2 + below * above)) / above
        turn = np.array([[1, -x], [x, 1]]) / np.hypot(1, x)
        rotation[:, [low, high]] = rotation[:, [low, high]] @ turn
    return rotation
