"""Where k-means starts, and how it goes on: the steps that all engines share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cookbook_utils.interimage import numba_engine, numpy_engine
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores
from cookbook_utils.interimage.blocks import LocalBlocks, Scene

DRAWN_FROM = 2**12  # pixels of the sample, at least, that one start is drawn from
REFINEMENTS = 20  # steps on a sample, at most; they end when one pixel in 1000 or fewer moves
COMPILED = 2**14  # pixels below which a pass with NumPy takes less time than to compile one


class Step(NamedTuple):
    """What one step of Lloyd's algorithm did."""

    changed: int
    """Pixels whose label changed."""
    counts: np.ndarray
    """(k,) int64, pixels of each cluster."""
    before: np.ndarray
    """(k, bands) float64, the centers that the labels are of."""
    centers: np.ndarray
    """(k, bands) float64, the means of the clusters. The next step starts from this array, which
    may be changed in place before."""


def lloyd_steps(
    blocks, fixed_point: FixedPoint, centers: np.ndarray, sums: np.ndarray | int = 0,
    counts: np.ndarray | int = 0,
) -> Iterator[Step]:  # fmt: skip
    """Yield the steps of Lloyd's algorithm without end.

    Parameters
    ----------
    blocks : LocalBlocks, DaskBlocks or CupyBlocks
        The pixels and their labels.
    fixed_point : FixedPoint
        How pixels are summed.
    centers : numpy.ndarray of float64 (k, bands)
        Where to start.
    sums, counts : numpy.ndarray of int64 (k, bands) and (k,), optional
        Of the labels that `blocks` have already. By default they have none.
    """
    while True:
        changed, *changes = blocks.assign(fixed_point, Scores.of(centers, blocks.dtype))
        sums, counts = sums + changes[0], counts + changes[1]
        before, centers = centers, fixed_point.means(sums, counts, centers)
        yield Step(changed, counts, before, centers)


def midpoint_centers(low: np.ndarray, high: np.ndarray, k: int) -> np.ndarray:
    """Return the middles of `k` equal steps from the least to the greatest value of each band."""
    steps = (np.arange(k)[:, np.newaxis] + 0.5) / k
    return low + steps * (high - low)


def best_of_several(
    pixels: np.ndarray, k: int, n_init: int, random: np.random.RandomState
) -> np.ndarray:
    """Return the best of several starts by k-means++, each refined on the sample it is drawn from.

    Parameters
    ----------
    pixels : numpy.ndarray (n, bands)
        The sample, in any order and in one of `arithmetic.DTYPES`.
    k, n_init : int
        The number of centers and of starts.
    random : numpy.random.RandomState
        Where starts are drawn from.

    Returns
    -------
    numpy.ndarray of float64 (k, bands)
        The centers with the least inertia on the sample.
    """
    pixels = pixels[np.lexsort(pixels.T)]  # in an order that chunks do not change
    table = pixels.astype(np.float64)
    # In units of the range: squares of huge numbers overflow, and those of tiny ones vanish.
    table = (table - np.median(table, axis=0)) / (np.ptp(table, axis=0).max() or 1.0)
    found = []
    for _ in range(n_init):
        some = random.permutation(len(table))[: max(DRAWN_FROM, 16 * k)]
        chosen = some[_far_apart(table[some], k, random)]
        found.append(_refined(pixels, pixels[chosen].astype(np.float64)))
    return min(found, key=lambda pair: pair[0])[1]


def _far_apart(table: np.ndarray, k: int, random: np.random.RandomState) -> list[int]:
    """Return the rows that greedy k-means++ draws, as `sklearn.cluster.kmeans_plusplus` does.

    Distances are sums of squared differences. scikit-learn's x² − 2xy + y² loses small ones where
    others are large, and then draws no two centers from groups that lie close together.
    """
    from scipy.spatial.distance import cdist

    n_candidates = 2 + int(np.log(k))
    chosen = [int(random.random_sample() * len(table))]
    nearest = cdist(table[chosen], table, "sqeuclidean")[0]
    while len(chosen) < k:
        ladder = np.cumsum(nearest)
        steps = random.random_sample(n_candidates) * nearest.sum()
        candidates = np.minimum(np.searchsorted(ladder, steps), len(table) - 1)
        squared = np.minimum(nearest, cdist(table[candidates], table, "sqeuclidean"))
        best = np.argmin(squared.sum(axis=1))
        nearest = squared[best]
        chosen.append(int(candidates[best]))
    return chosen


def _refined(pixels: np.ndarray, centers: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the inertia, in fixed point, and the centers after some steps on a sample."""
    engine = numpy_engine if len(pixels) < COMPILED else numba_engine
    blocks = LocalBlocks([Scene(np.ascontiguousarray(pixels.T))], engine)
    extent = blocks.extent()
    fixed_point = FixedPoint.of(extent.low, extent.high, blocks.dtype, extent.n_pixels)
    for number, step in enumerate(lloyd_steps(blocks, fixed_point, centers), start=1):
        if step.changed <= extent.n_pixels / 1000 or number == REFINEMENTS:
            break
    total, *_ = blocks.measure(fixed_point, step.centers)
    return total, step.centers
