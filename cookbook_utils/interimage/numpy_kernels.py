"""Reference kernels in NumPy, which define what all other kernels return."""

from __future__ import annotations

import numpy as np

from cookbook_utils.interimage.arithmetic import FixedPoint, Scores, nearest_centers
from cookbook_utils.interimage.blocks import is_labeled
from cookbook_utils.interimage.bounds import PixelBounds
from cookbook_utils.interimage.passes import Changes, Distances, farthest_pixel

PIXELS_PER_PASS = 2**16  # so that temporary arrays stay in the processor's cache


def threads() -> int:
    """Return the number of threads that should call these functions at a time."""
    return 1


def uses_bounds(n_clusters: int, bands: int) -> bool:
    """Return False: every distance is computed."""
    return False


def assign(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    scores: Scores,
    first: bool,
    bounds: PixelBounds | None = None,
) -> Changes:
    """Label a part of a block of pixels, and return what that changed.

    Parameters
    ----------
    values : numpy.ndarray (bands, n)
        The pixels, of one of `arithmetic.DTYPES`.
    labels : numpy.ndarray of uint8 or uint16 (n,)
        Labels of all pixels, updated in place. Those that are `nodata_label` stay so.
    part : slice
        The pixels to label.
    fixed_point : FixedPoint
        Conversion of pixels to the integers that are summed.
    scores : Scores
        The centers and their scores.
    first : bool
        Whether no pixel has a label yet: then all valid pixels count as changed.
    bounds : PixelBounds, optional
        Not used by the reference, which computes all distances.

    Returns
    -------
    Changes
        The number of changed labels. Each changed pixel is added to the sum and count of its new
        cluster and subtracted from those of its old one.
    """
    k = len(scores.centers)
    n_changed, sums, counts = 0, np.zeros((k, len(values)), np.int64), np.zeros(k, np.int64)
    for start in range(part.start, part.stop, PIXELS_PER_PASS):
        block = slice(start, min(start + PIXELS_PER_PASS, part.stop))
        old, new = labels[block], nearest_centers(values[:, block], scores.centers)
        changed = np.flatnonzero(is_labeled(old) & (first | (old != new)))
        fixed = fixed_point.of_pixels(values[:, block][:, changed])
        _add(1, new[changed], fixed, sums, counts)
        if not first:
            _add(-1, old[changed], fixed, sums, counts)
        old[changed] = new[changed]
        n_changed += changed.size
    return Changes(n_changed, sums, counts)


def _add(
    sign: int, clusters: np.ndarray, fixed: np.ndarray, sums: np.ndarray, counts: np.ndarray
) -> None:
    """Add pixels in fixed point (bands, n) to `sums` and `counts`, or subtract them."""
    counts += sign * np.bincount(clusters, minlength=len(counts))
    for cluster in np.unique(clusters):
        sums[cluster] += sign * fixed[:, clusters == cluster].sum(axis=1)


def sum_squared_distances(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    centers: np.ndarray,
) -> Distances:
    """Sum the squared distances of a part of a block, and find its farthest pixel.

    Parameters
    ----------
    values, labels, part, fixed_point
        As for `assign`.
    centers : numpy.ndarray of float64 (k, bands)
        The centers, in the units of the pixels.

    Returns
    -------
    Distances
        Squared distances of the valid pixels to the centers of their labels.
    """
    total, farthest = 0, (-1.0, np.zeros(len(values)))
    for start in range(part.start, part.stop, PIXELS_PER_PASS):
        block = slice(start, min(start + PIXELS_PER_PASS, part.stop))
        valid = np.flatnonzero(is_labeled(labels[block]))
        if not valid.size:
            continue
        pixels, own = values[:, block][:, valid], labels[block][valid]
        squared = np.zeros(valid.size)
        for x, c in zip(pixels, centers.T, strict=True):
            squared += (x.astype(np.float64) - c[own]) ** 2
        total += fixed_point.sum_of_squares(squared)
        ties = pixels[:, squared == squared.max()].astype(np.float64)
        first_of_ties = ties[:, np.lexsort(ties[::-1])[0]]
        farthest = farthest_pixel([farthest, (squared.max(), first_of_ties)])
    return Distances(total, *farthest)
