"""Kernels for threads, compiled by Numba: distance, label, change flag and sums in a fused pass.

A tile of pixels is converted to float32 once and stays in the first-level cache while one center
after another is scored. The compiler can therefore use SIMD instructions on 8 or 16 neighboring
pixels, and the processor prefetches the next tile meanwhile. The few pixels whose two best scores
are closer than their error bound get distances in float64. Sums are exact integers, so only pixels
whose label changed are added and subtracted; after the first pass these are few. Their positions
in the tile are listed first, which takes no branch for each pixel.

These kernels score all centers. With many clusters, `numba_bounds` takes over after the first pass.
"""

from __future__ import annotations

import functools

import numpy as np

from cookbook_utils._compiling import jit
from cookbook_utils.interimage.arithmetic import (
    NEVER,
    FixedPoint,
    Scores,
    center_index_bits,
)
from cookbook_utils.interimage.bounds import PixelBounds
from cookbook_utils.interimage.numba_bounds import reassign
from cookbook_utils.interimage.numba_scores import (
    CENTERS_AT_A_TIME,
    FEW_CENTERS,
    intrinsics,
    score_kernels,
)
from cookbook_utils.interimage.passes import Changes, Distances

# A tile of 6 bands has 256 pixels of integers or 512 pixels of floats. With the scratch arrays it
# fills a part of 32 KB of cache. Of the sizes 1536, 2304, 3072 and 4608 these were the fastest.
VALUES_PER_INTEGER_TILE = 1536
VALUES_PER_FLOAT_TILE = 3072
LEAST_COEFFICIENTS = 400  # of all centers, for which skipping some is faster even without bounds
MOST_NEIGHBORS = 4096  # centers whose distances to each other are kept; each takes 4 bytes


def threads() -> int:
    """Return the number of threads that should call these functions: ``NUMBA_NUM_THREADS``."""
    import numba

    return numba.config.NUMBA_NUM_THREADS


def uses_bounds(n_clusters: int, bands: int) -> bool:
    """Return whether `assign` is faster with bounds of distances, which cost 8 bytes a pixel."""
    is_worth_it = n_clusters * bands >= LEAST_COEFFICIENTS
    return is_worth_it and 4 * CENTERS_AT_A_TIME <= n_clusters <= MOST_NEIGHBORS


def assign(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    scores: Scores,
    first: bool,
    bounds: PixelBounds | None = None,
) -> Changes:
    """Label a part of a block of pixels, as `numpy_kernels.assign` does.

    Every center is scored in the first pass, and if there are few.
    """
    if not first and uses_bounds(*scores.centers.shape):
        return reassign(values, labels, part, fixed_point, scores, bounds)
    work = np.float64 if values.dtype == np.float64 else np.float32
    k, bands = scores.centers.shape
    sums, counts = np.zeros((k, bands), np.int64), np.zeros(k, np.int64)
    kernel = assign_kernel(bands, values.dtype.kind in "ui", k <= FEW_CENTERS)
    # Centers with the score NEVER fill the last group of CENTERS_AT_A_TIME.
    filled = -(-k // CENTERS_AT_A_TIME) * CENTERS_AT_A_TIME
    coefficients, errors = np.zeros((2, filled, bands + 1), np.float32)
    coefficients[:k], errors[:k] = scores.coefficients, scores.error_coefficients
    coefficients[k:, -1] = NEVER
    index_mask = np.int32((1 << center_index_bits(filled)) - 1)
    n_changed = kernel(
        values, labels, part.start, part.stop, scores.offset.astype(work),
        np.full(1, scores.scale, work), coefficients, errors, index_mask, scores.centers,
        first, fixed_point.offset, fixed_point.steps_per_unit, sums, counts,
    )  # fmt: skip
    return Changes(n_changed, sums, counts)


def sum_squared_distances(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    centers: np.ndarray,
) -> Distances:
    """Sum squared distances and find the farthest pixel, as the function of `numpy_kernels`."""
    coarse, fine, largest, at = _distance_kernel()(
        values, labels, part.start, part.stop, centers, fixed_point.steps_per_squared_unit,
        fixed_point.fine_steps_per_coarse,
    )  # fmt: skip
    farthest = np.zeros(len(values)) if largest < 0 else values[:, at].astype(np.float64)
    return Distances(fixed_point.in_fine_steps(coarse, fine), largest, farthest)


@functools.cache
def assign_kernel(bands: int, integer_pixels: bool, few_centers: bool):
    """Compile the pass that labels pixels.

    The number of bands is a constant, so that the compiler unrolls loops over them. Integer pixels
    are their own fixed point.
    """
    values_per_tile = VALUES_PER_INTEGER_TILE if integer_pixels else VALUES_PER_FLOAT_TILE
    tile = max(values_per_tile // bands // 64 * 64, 64)  # pixels
    stride = tile + 16  # rows a power of two apart would compete for the same cache sets
    convert = _convert_kernel(bands, tile)
    lower_scores, score, smallest_gap = score_kernels(bands, few_centers)
    decide_in_float64 = _float64_kernel(bands)
    relabel, list_changed, add_changed = _sum_kernels(bands, integer_pixels)

    @jit(cache=True, nogil=True)
    def kernel(
        values, labels, begin, end, offset, scale, coefficients, errors, index_mask, centers,
        first, fixed_offset, steps_per_unit, sums, counts,
    ):  # fmt: skip
        # Rows start at cache lines: a vector that spans two of them takes twice as long to load.
        scratch = np.empty((bands + 2) * stride + 16, np.float32)
        shift = (64 - scratch.ctypes.data % 64) // 4
        x = scratch[shift : shift + (bands + 2) * stride].reshape(bands + 2, stride)
        least, second = x[bands], x[bands + 1]
        peaks = np.empty(bands, np.float32)
        k = len(coefficients)
        lowered, error_widths = np.empty(k, np.float32), np.empty(k, np.float32)
        old, changed = np.empty(tile, labels.dtype), np.zeros(tile, np.uint8)
        words, positions = changed.view(np.uint64), np.empty(tile + 1, np.uint32)
        n_changed = 0
        for start in range(begin, end, tile):
            size = min(tile, end - start)
            label, part = labels[start : start + size], values[:, start : start + size]
            convert(values, start, size, label, offset, scale, x, peaks)
            widest = lower_scores(coefficients, errors, peaks, lowered, error_widths)
            score(x, size, coefficients, lowered, index_mask, least, second)
            if not smallest_gap(least[:size], second[:size]) > widest:
                decide_in_float64(part, label, index_mask, error_widths, centers, least, second)
            relabel(label, index_mask, least, first, old, changed)
            if size < tile:
                changed[size:] = 0
            n = list_changed(changed, words, positions)
            at = positions[:n]
            if first:  # compiled for either value, so that no pixel tests it: 6 % faster
                add_changed(part, label, old, at, True, fixed_offset, steps_per_unit, sums, counts)
            else:
                add_changed(part, label, old, at, False, fixed_offset, steps_per_unit, sums, counts)
            n_changed += n
        return n_changed

    return kernel


def _convert_kernel(bands: int, tile: int):
    """Compile the conversion of a tile to scaled float32, with the largest size in each band."""
    prefetch, with_tag, float_bits = intrinsics()
    without_sign = np.int32(0x7FFFFFFF)

    @jit
    def convert(values, start, size, label, offset, scale, x, peaks):
        work, nodata = offset.dtype.type, np.iinfo(label.dtype).max
        complete = True
        for p in range(size):
            complete &= label[p] != nodata
        for b in range(bands):
            band = values[b, start : start + size]
            ahead = band.ctypes.data + tile * values.itemsize
            for line in range(0, size * values.itemsize, 64):
                prefetch(ahead + line)
            largest = np.int32(0)  # bits of positive floats are ordered as the floats are
            for p in range(size):
                value = np.float32((work(band[p]) - offset[b]) * scale[0])
                x[b, p] = value
                bits = float_bits(value) & without_sign
                largest = bits if bits > largest else largest
            if not complete:  # values of invalid pixels must not count as far away
                largest = np.int32(0)
                for p in range(size):
                    value = np.float32(0) if label[p] == nodata else x[b, p]
                    x[b, p] = value
                    bits = float_bits(value) & without_sign
                    largest = bits if bits > largest else largest
            peaks[b] = with_tag(np.float32(0), np.int32(0), largest)  # the float with these bits

    return convert


def _float64_kernel(bands: int):
    """Compile the search for the nearest center in float64 where scores are too close."""
    _, with_tag, float_bits = intrinsics()

    @jit
    def nearest(part, p, centers):
        least, index = np.inf, 0
        for i in range(len(centers)):
            squared = 0.0
            for b in range(bands):
                difference = np.float64(part[b, p]) - centers[i, b]
                squared += difference * difference
            if squared < least:
                least, index = squared, i
        return index

    @jit
    def decide_in_float64(part, label, index_mask, error_widths, centers, least, second):
        nodata = np.iinfo(label.dtype).max
        for p in range(len(label)):
            width = error_widths[float_bits(least[p]) & index_mask]
            if label[p] != nodata and not second[p] - least[p] > width:
                index = np.int32(nearest(part, p, centers))
                least[p] = with_tag(np.float32(0), np.int32(0), index)

    return decide_in_float64


def _sum_kernels(bands: int, integer_pixels: bool):
    """Compile functions that label a tile, list the pixels that changed, and add them up."""
    _, _, float_bits = intrinsics()

    @jit
    def relabel(label, index_mask, least, first, old, changed):
        kind = label.dtype.type
        nodata = kind(np.iinfo(label.dtype).max)
        for p in range(len(label)):
            before = nodata if first else label[p]
            now = nodata if label[p] == nodata else kind(float_bits(least[p]) & index_mask)
            changed[p] = now != before
            old[p] = before
            label[p] = now

    @jit
    def list_changed(changed, words, positions):
        n = 0
        for word in range(len(words)):  # mostly, none of the eight pixels of a word changed
            if words[word]:
                for p in range(8 * word, 8 * word + 8):
                    positions[n] = p
                    n += changed[p]
        return n

    @jit
    def add_changed(tile, label, old, positions, first, fixed_offset, steps_per_unit, sums, counts):
        for p in positions:
            new, before = label[p], old[p]
            counts[new] += 1
            if not first:
                counts[before] -= 1
            for b in range(bands):
                if integer_pixels:
                    fixed = np.int64(tile[b, p])
                else:
                    fixed = np.int64(np.rint((tile[b, p] - fixed_offset[b]) * steps_per_unit[b]))
                sums[new, b] += fixed
                if not first:
                    sums[before, b] -= fixed

    return relabel, list_changed, add_changed


@functools.cache
def _distance_kernel():
    """Compile the pass that sums squared distances and finds the farthest pixel."""

    @jit(cache=True, nogil=True)
    def kernel(values, labels, begin, end, centers, steps_per_squared_unit, fine_steps_per_coarse):
        coarse, fine, largest, at = np.int64(0), np.int64(0), -1.0, begin
        nodata = np.iinfo(labels.dtype).max
        for p in range(begin, end):
            if labels[p] == nodata:
                continue
            squared = 0.0
            for b in range(len(values)):
                difference = np.float64(values[b, p]) - centers[labels[p], b]
                squared += difference * difference
            steps = np.rint(squared * steps_per_squared_unit)
            coarse += np.int64(steps)
            rest = squared * steps_per_squared_unit - steps
            fine += np.int64(np.rint(rest * fine_steps_per_coarse))
            if squared > largest:
                largest, at = squared, p
            elif squared == largest:
                for b in range(len(values)):
                    if values[b, p] != values[b, at]:
                        at = p if values[b, p] < values[b, at] else at
                        break
        return coarse, fine, largest, at

    return kernel
