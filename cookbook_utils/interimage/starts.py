"""Compute the centers from which k-means starts."""

from __future__ import annotations

from typing import Any

import numpy as np

from cookbook_utils._checks import LARGEST, as_real_array
from cookbook_utils.interimage import numba_kernels, numpy_kernels
from cookbook_utils.interimage.arithmetic import FixedPoint
from cookbook_utils.interimage.blocks import Scene
from cookbook_utils.interimage.lloyd import lloyd_steps
from cookbook_utils.interimage.local_engine import LocalEngine

LEAST_PIXELS_PER_DRAW = 2**12  # part of the sample from which one start is drawn
MOST_REFINING_STEPS = 20  # Lloyd steps on the sample; fewer if at most 1 label in 1000 changes
PIXELS_WORTH_NUMBA = 2**14  # for smaller samples, all steps in NumPy take less than compilation


def midpoint_centers(low: np.ndarray, high: np.ndarray, k: int) -> np.ndarray:
    """Return the middles of `k` equal steps from the least to the greatest value of each band."""
    steps = (np.arange(k)[:, np.newaxis] + 0.5) / k
    return low + steps * (high - low)


def best_of_several(
    pixels: np.ndarray, k: int, n_init: int, random: np.random.RandomState
) -> np.ndarray:
    """Return the best of several starts by k-means++, each refined on the whole sample.

    Parameters
    ----------
    pixels : numpy.ndarray (n, bands)
        The sample, in any order and in one of `arithmetic.DTYPES`.
    k : int
        Number of centers.
    n_init : int
        Number of starts.
    random : numpy.random.RandomState
        Source of random numbers.

    Returns
    -------
    numpy.ndarray of float64 (k, bands)
        The centers with the least inertia on the sample.
    """
    pixels = pixels[np.lexsort(pixels.T)]  # an order that does not depend on chunks
    table = pixels.astype(np.float64)
    # Pixels are divided by their range: squares of very large or small numbers would overflow or
    # underflow.
    table = (table - np.median(table, axis=0)) / (np.ptp(table, axis=0).max() or 1.0)
    found = []
    for _ in range(n_init):
        some = random.permutation(len(table))[: max(LEAST_PIXELS_PER_DRAW, 16 * k)]
        chosen = some[_kmeans_plusplus(table[some], k, random)]
        found.append(_refined(pixels, pixels[chosen].astype(np.float64)))
    return min(found, key=lambda pair: pair[0])[1]


def _kmeans_plusplus(table: np.ndarray, k: int, random: np.random.RandomState) -> list[int]:
    """Return the rows that greedy k-means++ draws, as `sklearn.cluster.kmeans_plusplus` does.

    Distances are sums of squared differences. The expansion x² − 2xy + y², which scikit-learn uses,
    loses distances that are small relative to x and y to rounding, so that groups of pixels that
    are close together are not told apart.
    """
    from scipy.spatial.distance import cdist

    n_candidates = 2 + int(np.log(k))
    chosen = [int(random.random_sample() * len(table))]
    nearest = cdist(table[chosen], table, "sqeuclidean")[0]  # (n,)
    while len(chosen) < k:
        cumulative = np.cumsum(nearest)
        drawn = random.random_sample(n_candidates) * nearest.sum()
        candidates = np.minimum(np.searchsorted(cumulative, drawn), len(table) - 1)
        # (candidates, n): distances if the candidate becomes a center
        squared = np.minimum(nearest, cdist(table[candidates], table, "sqeuclidean"))
        best = np.argmin(squared.sum(axis=1))
        nearest = squared[best]
        chosen.append(int(candidates[best]))
    return chosen


def _refined(pixels: np.ndarray, centers: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the inertia, in fixed point, and the centers after Lloyd steps on a sample."""
    kernels = numpy_kernels if len(pixels) < PIXELS_WORTH_NUMBA else numba_kernels
    engine = LocalEngine([Scene(np.ascontiguousarray(pixels.T))], kernels, n_clusters=len(centers))
    low, high, n_pixels = engine.extent()
    fixed_point = FixedPoint.of(low, high, engine.dtype, n_pixels)
    for number, step in enumerate(lloyd_steps(engine, fixed_point, centers), start=1):
        if step.n_changed <= n_pixels / 1000 or number == MOST_REFINING_STEPS:
            break
    return engine.sum_squared_distances(fixed_point, step.centers).total, step.centers


def given_centers(init: Any, n_clusters: int, n_bands: int) -> np.ndarray:
    """Return centers that the user gives, float64 (n_clusters, n_bands).

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If their shape is another, or if one is not finite or too large.
    """
    centers = np.array(as_real_array(init, "init"), np.float64)
    if centers.shape != (n_clusters, n_bands) or not np.isfinite(centers).all():
        raise ValueError(
            f"init must be {n_clusters} centers of {n_bands} finite numbers each, got an array of "
            f"shape {centers.shape}"
        )
    largest = np.abs(centers).max()
    if largest > LARGEST:
        raise ValueError(f"init must hold numbers of at most {LARGEST:g} in size, got {largest:g}")
    return centers
