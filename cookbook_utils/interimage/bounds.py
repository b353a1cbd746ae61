"""Bounds of distances, by which a pass skips centers, and pixels whose label cannot change.

Let a be the label of a pixel from the pass before, u an upper bound of the distance to its center,
and D the distance of another center to that one. By the triangle inequality the other center is at
least D − u away from the pixel, so it cannot be the nearest one if D ≥ 2 u (Elkan 2003). This needs
only the label. Bounds that are kept from pass to pass save even the distance to the own center: let
l be a lower bound of the distances to all other centers. When centers move, u grows by the movement
of the own center, l shrinks by the largest movement of the others, and the label stays while u < l
(Hamerly 2010). Movements far away need not count: l may shrink by the largest movement among the
centers near to a only, because the others are at least D − u away. Near are those within twice the
largest distance of a pixel to a that the last pass computed.

Lengths are in the scaled units of `arithmetic.Scores`. Bounds are rounded so that neither float32
nor the rounding of the float64 distances, which define the labels, can make a conclusion wrong.

References
----------
Elkan, C. (2003). Using the triangle inequality to accelerate k-means. ICML 2003, 147-153.

Hamerly, G. (2010). Making k-means even faster. SIAM International Conference on Data Mining 2010,
130-140. doi:10.1137/1.9781611972801.12
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cookbook_utils._conventions.labels import label_dtype, nodata_label
from cookbook_utils.interimage.arithmetic import Scores

RELATIVE, ABSOLUTE = 2.0**-20, 2.0**-39
"""Margins of lengths, far above the rounding of float32 and of float64 distances."""


class PixelBounds(NamedTuple):
    """The bounds of the pixels of one block before the centers moved, and the movements."""

    distances: np.ndarray
    """(k, k) float32, lower bounds of the distances of the centers that moved to each other."""
    upper: np.ndarray
    """(n,) float32, upper bounds of the distances to the own center; updated in place."""
    lower: np.ndarray
    """(n,) float32, lower bounds of the distances to all other centers; updated in place."""
    own: np.ndarray
    """(labels,) float32, upper bound of the movement of each center, and 0 for nodata."""
    others: np.ndarray
    """(labels,) float32, upper bound of the movements of the other ones near to it."""
    beyond: np.ndarray
    """(labels,) float32, lower bound of its distance to those that are not near."""
    seen: np.ndarray
    """(k,) float32, largest distance to the own center that the pass has found; updated in place.
    """

    @classmethod
    def none(cls, scores: Scores) -> PixelBounds:
        """Return bounds of no pixels, for a pass that does not keep them."""
        zeros, empty = np.zeros(len(scores.centers), np.float32), np.zeros(0, np.float32)
        distances, _, _ = near_movements(scores, zeros, zeros)
        return cls(distances, empty, empty, empty, empty, empty, zeros)


def near_movements(
    scores: Scores, moved: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find which movements count near to each center, and how far away the other centers are.

    Parameters
    ----------
    scores : Scores
        The centers after they moved.
    moved : numpy.ndarray of float32 (k,)
        Upper bounds of their movements.
    radius : numpy.ndarray of float32 (k,)
        Centers nearer than twice this are near to a center. Every number is safe; that of the
        farthest pixel of the center makes `beyond` useful.

    Returns
    -------
    distances : numpy.ndarray of float32 (k, k)
        As in `PixelBounds`, like the others.
    others, beyond : numpy.ndarray of float32 (labels,)
        Zero for labels that no pixel has.
    """
    from cookbook_utils.interimage.numba_bounds import movement_kernel

    k = len(scores.centers)
    # Entries of labels that no pixel has are 0, and that of nodata, too.
    others, beyond = np.zeros((2, nodata_label(label_dtype(k)) + 1), np.float32)
    distances = np.empty((k, k), np.float32)
    columns = np.ascontiguousarray(scores.scaled.T)
    movement_kernel()(columns, moved, radius, distances, others, beyond)
    return distances, others, beyond


class Bounds:
    """The bounds of all pixels of an engine, kept from pass to pass.

    Parameters
    ----------
    sizes : list of int
        Numbers of pixels of the blocks.
    """

    def __init__(self, sizes: list[int]):
        self._of_blocks = [
            (np.full(n, np.inf, np.float32), np.full(n, -np.inf, np.float32)) for n in sizes
        ]
        self._before: Scores | None = None
        self._radius = self._seen = np.zeros(0, np.float32)  # of each cluster

    def moved(self, scores: Scores) -> list[PixelBounds]:
        """Return the bounds of each block, with the movements since the last call."""
        k, before = len(scores.centers), self._before
        moved = np.full(k, np.inf, np.float32)  # bounds in another unit are of no use
        if before is not None and before.scale == scores.scale:
            steps = np.linalg.norm((scores.centers - before.centers) * scores.scale, axis=1)
            moved[:] = np.where(steps > 0, steps * (1 + RELATIVE) + ABSOLUTE, 0)
        radius = np.zeros(k, np.float32)
        if before is not None:
            radius[:] = np.where(self._seen > 0, self._seen, self._radius)
        self._before, self._radius, self._seen = scores, radius, np.zeros(k, np.float32)
        distances, others, beyond = near_movements(scores, moved, radius)
        own = np.zeros(len(others), np.float32)
        own[:k] = moved
        return [
            PixelBounds(distances, upper, lower, own, others, beyond, self._seen)
            for upper, lower in self._of_blocks
        ]
