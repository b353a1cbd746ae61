"""The reference: inter-image k-means on blocks of pixels, in NumPy."""

from __future__ import annotations

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores, nearest_centers

BLOCK = 2**16  # pixels at a time: temporary arrays stay in the cache


def threads() -> int:
    """Return how many parts of a block to work on at a time."""
    return 1


def assign(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    scores: Scores,
    first: bool,
) -> tuple[int, np.ndarray, np.ndarray]:
    """Label a part of a block, and count what that changed.

    Parameters
    ----------
    values : numpy.ndarray (bands, n)
        The pixels, of one of `arithmetic.DTYPES`.
    labels : numpy.ndarray of uint8 (n,)
        Updated in place, but for those that are 255: missing.
    part : slice
        The pixels to label.
    fixed_point : FixedPoint
        How pixels are rounded for the sums.
    scores : Scores
        Of the centers.
    first : bool
        Whether no pixel has a label yet: then all that are not missing change.

    Returns
    -------
    changed : int
        Pixels whose label changed.
    sums : numpy.ndarray of int64 (k, bands)
        What these pixels, in fixed point, add to the sum of their new cluster and take from that
        of their old one.
    counts : numpy.ndarray of int64 (k,)
        The same for the number of pixels.
    """
    k = len(scores.centers)
    sums = np.zeros((k, len(values)), np.int64)
    counts = np.zeros(k, np.int64)
    changed = 0
    for start in range(part.start, part.stop, BLOCK):
        block = slice(start, min(start + BLOCK, part.stop))
        old, new = labels[block], nearest_centers(values[:, block], scores.centers)
        moved = np.flatnonzero((old != NODATA_LABEL) & (first | (old != new)))
        fixed = fixed_point.of_pixels(values[:, block][:, moved])
        sides = [(1, new[moved])] if first else [(1, new[moved]), (-1, old[moved])]
        for sign, side in sides:
            counts += sign * np.bincount(side, minlength=k)
            for cluster in np.unique(side):
                sums[cluster] += sign * fixed[:, side == cluster].sum(axis=1)
        old[moved] = new[moved]
        changed += moved.size
    return changed, sums, counts


def measure(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    centers: np.ndarray,
) -> tuple[int, float, np.ndarray]:
    """Sum the squared distances of a part of a block, and find the pixel farthest from its center.

    Parameters
    ----------
    values, labels, part, fixed_point
        As for `assign`.
    centers : numpy.ndarray of float64 (k, bands)
        The centers, in the units of the pixels.

    Returns
    -------
    total : int
        Sum of the squared distances of pixels to the centers of their labels, in the fine steps of
        `fixed_point`.
    squared : float
        The largest of them; -1 if all pixels are missing.
    pixel : numpy.ndarray of float64 (bands,)
        Where it is; of several the first in order of the first band, then the second and so on.
    """
    total, farthest = 0, (-1.0, np.zeros(len(values)))
    for start in range(part.start, part.stop, BLOCK):
        block = slice(start, min(start + BLOCK, part.stop))
        valid = np.flatnonzero(labels[block] != NODATA_LABEL)
        if not valid.size:
            continue
        pixels, own = values[:, block][:, valid], labels[block][valid]
        squared = np.zeros(valid.size)
        for band, center in zip(pixels, centers.T, strict=True):
            squared += (band.astype(np.float64) - center[own]) ** 2
        total += fixed_point.sum_of_squares(squared)
        ties = pixels[:, squared == squared.max()].astype(np.float64)
        here = squared.max(), ties[:, np.lexsort(ties[::-1])[0]]
        farthest = max(farthest, here, key=distance_then_place)
    return total, *farthest


def distance_then_place(farthest: tuple[float, np.ndarray]) -> tuple:
    """Sort key: the larger distance, then the smaller value in the first band that differs."""
    squared, pixel = farthest
    return squared, tuple(-pixel)
