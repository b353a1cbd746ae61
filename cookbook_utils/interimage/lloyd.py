"""The steps of Lloyd's algorithm, the same for all engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cookbook_utils.interimage.arithmetic import FixedPoint, Scores
from cookbook_utils.interimage.engines import Engine
from cookbook_utils.interimage.passes import Changes


class Step(NamedTuple):
    """The result of one step of Lloyd's algorithm."""

    n_changed: int
    """Number of pixels whose label changed."""
    counts: np.ndarray
    """(k,) int64, number of pixels of each cluster."""
    previous_centers: np.ndarray
    """(k, bands) float64, the centers that the labels refer to."""
    centers: np.ndarray
    """(k, bands) float64, the means of the clusters. The next step starts from this array, which
    may be changed in place before."""


def lloyd_steps(
    engine: Engine, fixed_point: FixedPoint, centers: np.ndarray, labeled: Changes | None = None
) -> Iterator[Step]:
    """Yield the steps of Lloyd's algorithm without end.

    Parameters
    ----------
    engine : Engine
        The pixels and their labels.
    fixed_point : FixedPoint
        Conversion of pixels to the integers that are summed.
    centers : numpy.ndarray of float64 (k, bands)
        Centers to start from.
    labeled : Changes, optional
        Sums and counts of the labels in `engine`; by default pixels have no labels yet.

    Yields
    ------
    Step
        The labels changed by `centers`, and the new centers.
    """
    sums, counts = (0, 0) if labeled is None else (labeled.sums, labeled.counts)
    while True:
        changes = engine.assign(fixed_point, Scores.of(centers, engine.dtype))
        sums, counts = sums + changes.sums, counts + changes.counts
        previous, centers = centers, fixed_point.means(sums, counts, centers)
        yield Step(changes.n_changed, counts, previous, centers)
