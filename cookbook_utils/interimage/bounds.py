"""Bounds of distances, by which a pass skips centers, and pixels whose label cannot change.

Let a be the label of a pixel from the pass before, u an upper bound of the distance to its center,
and D the distance of another center to that one. By the triangle inequality the other center is at
least D − u away from the pixel, so it cannot be the nearest one if D ≥ 2 u (Elkan 2003). This needs
only the label. Bounds that are kept from pass to pass save even the distance to the own center: let
l be a lower bound of the distances to all other centers. When centers move, u grows by the movement
of the own center, l shrinks by the largest movement of the others, and the label stays while u < l
(Hamerly 2010). Movements far away need not count: for each number of centers near to a, l may
shrink by the largest movement among these only, because the others are at least D − u away. Some
numbers are tried, and the largest of the bounds is kept.

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
    def none(cls, n_clusters: int) -> PixelBounds:
        """Return bounds of no pixels, for a pass that does not keep them."""
        empty = np.zeros(0, np.float32)
        return cls(empty, empty, empty, empty, empty, np.zeros(n_clusters, np.float32))


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
        self._radius: np.ndarray | None = None
        self._seen: np.ndarray | None = None

    def moved(self, scores: Scores) -> list[PixelBounds]:
        """Return the bounds of each block, with the movements since the last call."""
        from cookbook_utils.interimage.numba_bounds import movement_kernel

        k, before = len(scores.centers), self._before
        moved = np.full(k, np.inf)  # bounds in another unit are of no use
        if before is None:
            self._radius = np.zeros(k, np.float32)
        else:
            self._radius = np.where(self._seen > 0, self._seen, self._radius)
            if before.scale == scores.scale:
                moved = np.sqrt(np.square((scores.centers - before.centers) * scores.scale).sum(1))
                moved = np.where(moved > 0, moved * (1 + RELATIVE) + ABSOLUTE, 0)
        self._before, self._seen = scores, np.zeros(k, np.float32)
        # Entries of labels that no pixel has are 0, and that of nodata, too.
        n_labels = nodata_label(label_dtype(k)) + 1
        own, others, beyond = np.zeros((3, n_labels), np.float32)
        own[:k] = moved
        movement_kernel()(scores.columns(), own[:k], self._radius, others, beyond)
        return [
            PixelBounds(upper, lower, own, others, beyond, self._seen)
            for upper, lower in self._of_blocks
        ]
