"""The engine for threads: one pass over memory for distance, label, flag and sums, with Numba.

A tile of pixels is converted to float32 once and stays in the first-level cache while center after
center is held against it, so that the compiler puts 8 or 16 neighboring pixels into each vector
instruction. Sums are exact integers, and so need to be told only of pixels that changed: after the
first pass few do, and the tile is left without looking at its pixels again if none did.
"""

from __future__ import annotations

import functools

import numpy as np

from cookbook_utils._checks import MISSING_LABEL
from cookbook_utils.interimage.arithmetic import Arithmetic

TILE = 2304  # values, 384 pixels of 6 bands: scratch and what is read fill half of 32 KB of cache


def threads() -> int:
    """Return how many parts of a block to work on at a time: ``NUMBA_NUM_THREADS``."""
    import numba

    return numba.config.NUMBA_NUM_THREADS


def assign(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    arithmetic: Arithmetic,
    weights: np.ndarray,
    first: bool,
) -> tuple[int, np.ndarray, np.ndarray]:
    """Label a part of a block, and count what that changed: as `numpy_engine.assign`."""
    work = np.float64 if values.dtype == np.float64 else np.float32
    sums = np.zeros((len(weights), len(values)), np.int64)
    counts = np.zeros(len(weights), np.int64)
    kernel = _assign_kernel(len(values), values.dtype.kind in "ui")
    changed = kernel(
        values, labels, part.start, part.stop, arithmetic.offset.astype(work),
        np.full(1, arithmetic.gain, work), weights, first, arithmetic.offset, arithmetic.unit,
        sums, counts,
    )  # fmt: skip
    return changed, sums, counts


def measure(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    arithmetic: Arithmetic,
    centers: np.ndarray,
) -> tuple[int, float, np.ndarray]:
    """Sum squared distances and find the farthest pixel: as `numpy_engine.measure`."""
    total, squared, at = _measure_kernel()(
        values, labels, part.start, part.stop, arithmetic.offset, centers - arithmetic.offset,
        arithmetic.square,
    )  # fmt: skip
    pixel = np.zeros(len(values)) if squared < 0 else values[:, at].astype(np.float64)
    return total, squared, pixel


@functools.cache
def _assign_kernel(bands: int, whole: bool):
    """Compile for a number of bands, which lets loops over them be unrolled, and `whole` numbers.

    Integers are their own fixed point: a fifth of the time of the sums is saved by knowing it.
    """
    import numba

    tile = max(TILE // bands // 64 * 64, 64)
    stride = tile + 16  # rows a power of two apart would compete for the same places in the cache

    @numba.njit(nogil=True)
    def kernel(
        values, labels, begin, end, offset, gain, weights, first, origin, unit, sums, counts
    ):
        work = offset.dtype.type
        # Rows start at cache lines: a vector that lies in two of them takes twice as long to load.
        scratch = np.empty((bands + 2) * stride + 16, np.float32)
        shift = (64 - scratch.ctypes.data % 64) // 4
        x = scratch[shift : shift + (bands + 2) * stride].reshape(bands + 2, stride)
        least, nearest = x[bands], x[bands + 1].view(np.int32)
        changed = 0
        for start in range(begin, end, tile):
            size = min(tile, end - start)
            for b in range(bands):
                band = values[b, start : start + size]
                for p in range(size):
                    x[b, p] = np.float32((work(band[p]) - offset[b]) * gain[0])
            least[:size] = np.inf
            nearest[:size] = 0
            for i in range(len(weights)):
                for p in range(size):
                    score = weights[i, bands]
                    for b in range(bands):
                        score += weights[i, b] * x[b, p]
                    nearer = score < least[p]
                    nearest[p] = i if nearer else nearest[p]
                    least[p] = score if nearer else least[p]

            # From here on `nearest` holds the old label of pixels that change, and -1.
            moved = 0
            label = labels[start : start + size]
            for p in range(size):
                old, new = label[p], np.uint8(nearest[p])
                move = (old != MISSING_LABEL) & (first | (old != new))
                moved += move
                nearest[p] = np.int32(old) if move else np.int32(-1)
                label[p] = new if move else old
            if moved == 0:
                continue
            changed += moved
            for p in range(size):
                old = nearest[p]
                if old < 0:
                    continue
                new = label[p]
                counts[new] += 1
                for b in range(bands):
                    if whole:
                        fixed = np.int64(values[b, start + p]) - np.int64(origin[b])
                    else:
                        fixed = np.int64(np.rint((values[b, start + p] - origin[b]) * unit[b]))
                    sums[new, b] += fixed
                    if not first:
                        sums[old, b] -= fixed
                if not first:
                    counts[old] -= 1
        return changed

    return kernel


@functools.cache
def _measure_kernel():
    import numba

    @numba.njit(nogil=True)
    def kernel(values, labels, begin, end, origin, centers, square):
        total, largest, at = np.int64(0), -1.0, begin
        for p in range(begin, end):
            if labels[p] == MISSING_LABEL:
                continue
            squared = 0.0
            for b in range(len(values)):
                away = np.float64(values[b, p]) - origin[b] - centers[labels[p], b]
                squared += away * away
            total += np.int64(np.rint(squared * square))
            if squared > largest:
                largest, at = squared, p
            elif squared == largest:
                for b in range(len(values)):
                    if values[b, p] != values[b, at]:
                        at = p if values[b, p] < values[b, at] else at
                        break
        return total, largest, at

    return kernel
