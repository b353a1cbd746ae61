"""The pass over many clusters, compiled by Numba: it scores only centers that can be the nearest.

Pixels whose bounds show that their label stays are skipped. The others are grouped by label, so
that the centers near to that of the label are the candidates of a whole group. A group is scored as
`numba_kernels` scores a tile: SIMD instructions work on neighboring pixels of the group.
"""

from __future__ import annotations

import functools

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils._kernels import keep_on_disk
from cookbook_utils.interimage.arithmetic import NEVER, FixedPoint, Scores
from cookbook_utils.interimage.bounds import ABSOLUTE, NEAREST_SHARES, RELATIVE, PixelBounds
from cookbook_utils.interimage.numba_scores import (
    CENTERS_AT_A_TIME,
    LANES,
    intrinsics,
    score_kernels,
)
from cookbook_utils.interimage.passes import Changes

VALUES_PER_SPAN = 2**19  # of the pixels that are grouped at a time; they stay in the cache
VALUES_PER_GROUP = 2**12  # of the pixels that are scored at a time, at most


def reassign(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    scores: Scores,
    bounds: PixelBounds | None,
) -> Changes:
    """Label a part of a block of pixels that have labels, as `numpy_kernels.assign` does."""
    work = np.float64 if values.dtype == np.float64 else np.float32
    k, bands = scores.centers.shape
    sums, counts = np.zeros((k, bands), np.int64), np.zeros(k, np.int64)
    # Centers that equal an earlier one have scores, too, because bounds must hold for them.
    coefficients = np.column_stack([scores.coefficients[:, :-1], scores.half_squares])
    neighbors, *of_pixels = PixelBounds.none(scores) if bounds is None else bounds
    n_changed = reassign_kernel(bands, values.dtype.kind in "ui")(
        values, labels, part.start, part.stop, scores.offset.astype(work),
        np.full(1, scores.scale, work), coefficients, scores.error_coefficients, scores.centers,
        *neighbors, *of_pixels, fixed_point.offset, fixed_point.steps_per_unit, sums, counts,
    )  # fmt: skip
    return Changes(n_changed, sums, counts)


@functools.cache
def reassign_kernel(bands: int, integer_pixels: bool):
    """Compile the pass over pixels that have labels; the number of bands is a constant."""
    import numba

    span = max(VALUES_PER_SPAN // bands, 2**12)
    width = max(VALUES_PER_GROUP // bands // LANES * LANES, LANES)
    list_pixels, group_by_label = _list_kernels()
    load, keep_uncertain, find_peaks = _load_kernels(bands)
    choose, lower_scores, score = _candidate_kernels(bands)
    settle, lower_bounds = _settle_kernels(bands, integer_pixels)

    @keep_on_disk
    @numba.njit(nogil=True)
    def kernel(
        values, labels, begin, end, offset, scale, coefficients, errors, centers, order, distances,
        upper, lower, own, others, beyond, fixed_offset, steps_per_unit, sums, counts,
    ):  # fmt: skip
        k, kept = len(centers), len(upper) > 0
        flags, at = np.empty(span, np.bool_), np.empty(span + 1, np.int64)
        grouped, ends = np.empty(span, np.int64), np.empty(k + 2, np.int64)
        scratch = np.empty((bands + 4) * (width + LANES) + LANES, np.float32)
        shift = (64 - scratch.ctypes.data % 64) // 4
        x = scratch[shift : shift + (bands + 4) * (width + LANES)].reshape(bands + 4, -1)
        near, near_errors = np.empty((2, k + CENTERS_AT_A_TIME, bands + 1), np.float32)
        lowered, widths = np.empty((2, k + CENTERS_AT_A_TIME), np.float32)
        peaks, n_changed = np.empty(bands, np.float32), 0
        for start in range(begin, end, span):
            stop = min(start + span, end)
            n = list_pixels(labels, start, stop, upper, lower, own, others, beyond, flags, at)
            group_by_label(labels, at[:n], ends, grouped)
            for a in range(k):
                for first in range(ends[a], ends[a + 1], width):
                    group = grouped[first : min(first + width, ends[a + 1])]
                    load(values, group, offset, scale, coefficients, a, x)
                    m = len(group)
                    if kept:
                        m = keep_uncertain(group, distances[a, 1], upper, lower, x)
                        if m == 0:
                            continue
                    farthest = find_peaks(x, m, peaks)
                    n_near, n_scored, mask = choose(
                        order, distances, a, farthest, coefficients, errors, near, near_errors
                    )
                    lower_scores(near[:n_scored], near_errors[:n_scored], peaks, lowered, widths)
                    score(x, m, near[:n_scored], lowered, mask, x[bands], x[bands + 1])
                    n_changed += settle(
                        values, labels, a, group[:m], x, order[a, :n_near], mask, widths, centers,
                        fixed_offset, steps_per_unit, sums, counts,
                    )  # fmt: skip
                    if kept:
                        lower_bounds(x, group[:m], distances[a, n_near], lower)
        return n_changed

    return kernel


def _list_kernels():
    """Compile functions that list pixels whose label may change, and group them by label."""
    import numba

    shrink, grow = np.float32(1 - 2.0**-22), np.float32(1 + 2.0**-22)
    shares = len(NEAREST_SHARES)

    @numba.njit
    def move_bounds(labels, start, stop, upper, lower, own, others, beyond, flags):
        """Move the bounds with the centers, and flag the pixels that they leave uncertain."""
        for p in range(start, stop):
            a = labels[p]
            u = (upper[p] + own[a]) * grow
            bound = np.float32(-np.inf)
            for share in range(shares):
                inside, outside = (lower[p] - others[share, a]) * shrink, beyond[share, a] - u
                least = inside if inside < outside else outside
                bound = least if least > bound else bound
            upper[p], lower[p] = u, bound
            flags[p - start] = (not u < bound) & (a != NODATA_LABEL)

    @numba.njit
    def list_pixels(labels, start, stop, upper, lower, own, others, beyond, flags, at):
        if len(upper):
            move_bounds(labels, start, stop, upper, lower, own, others, beyond, flags)
        else:
            for p in range(start, stop):
                flags[p - start] = labels[p] != NODATA_LABEL
        n = 0
        for p in range(start, stop):
            at[n] = p
            n += flags[p - start]
        return n

    @numba.njit
    def group_by_label(labels, at, ends, grouped):
        """Sort pixels by label; those of label a lie from ``ends[a]`` to ``ends[a + 1]``."""
        ends[:] = 0
        for p in at:
            ends[labels[p] + 2] += 1
        for a in range(2, len(ends)):
            ends[a] += ends[a - 1]
        for p in at:
            a = labels[p] + 1
            grouped[ends[a]] = p
            ends[a] += 1

    return list_pixels, group_by_label


def _load_kernels(bands: int):
    """Compile functions that load a group with its distances, and drop pixels that they settle.

    Row `bands` + 3 of x is the upper bound of the distance of a pixel to its own center.
    """
    import numba

    _, with_tag, float_bits = intrinsics()
    # Rounding of the sum of squares, and of x and c to float32, which moves each by 2**-24 of it.
    relative, absolute = np.float32(1 + (bands + 16) * 2.0**-23), np.float32(ABSOLUTE)
    without_sign = np.int32(0x7FFFFFFF)

    @numba.njit(fastmath={"contract"})
    def load(values, group, offset, scale, coefficients, a, x):
        work, m = offset.dtype.type, len(group)
        uppers, length = x[bands + 3], np.float32(0)
        for b in range(bands):
            for q in range(m):
                x[b, q] = np.float32((work(values[b, group[q]]) - offset[b]) * scale[0])
            length += coefficients[a, b] * coefficients[a, b]
        rounding = np.sqrt(length) * np.float32(2.0**-21) + absolute
        for q in range(m):
            squared = np.float32(0)
            for b in range(bands):
                difference = x[b, q] + coefficients[a, b]  # coefficients are −c
                squared += difference * difference
            uppers[q] = np.sqrt(squared) * relative + rounding

    @numba.njit
    def keep_uncertain(group, nearest_other, upper, lower, x):
        """Move pixels that their bounds leave uncertain to the front; return how many."""
        uppers, n = x[bands + 3], 0
        for q in range(len(group)):
            p, u = group[q], uppers[q]
            bound = max(lower[p], nearest_other - u)
            upper[p], lower[p] = u, bound
            if not u < bound:
                group[n] = p
                if n < q:
                    uppers[n] = u
                    for b in range(bands):
                        x[b, n] = x[b, q]
                n += 1
        return n

    @numba.njit
    def largest_size(x, row, m):
        largest = np.int32(0)  # bits of positive floats are ordered as the floats are
        for q in range(m):
            bits = float_bits(x[row, q]) & without_sign
            largest = bits if bits > largest else largest
        return with_tag(np.float32(0), np.int32(0), largest)  # the float with these bits

    @numba.njit
    def find_peaks(x, m, peaks):
        """Find the largest size in each band, and return the largest upper bound."""
        for q in range(m, -(-m // LANES) * LANES):  # lanes without pixels
            for b in range(bands):
                x[b, q] = x[b, 0]
        for b in range(bands):
            peaks[b] = largest_size(x, b, m)
        return largest_size(x, bands + 3, m)

    return load, keep_uncertain, find_peaks


def _candidate_kernels(bands: int):
    """Compile functions that choose the candidates of a group, and score them."""
    import numba

    lower_scores, score, _ = score_kernels(bands)

    @numba.njit
    def choose(order, distances, a, farthest, coefficients, errors, near, near_errors):
        """Copy the coefficients of the candidates; return their number, also filled up, and a mask.

        The bits of the mask hold the index of a candidate.
        """
        k, n = len(order), 1
        while n < k and not distances[a, n] >= 2 * farthest:
            n += 1
        filled = -(-n // CENTERS_AT_A_TIME) * CENTERS_AT_A_TIME
        for i in range(filled):
            j = order[a, min(i, n - 1)]
            for b in range(bands + 1):
                near[i, b], near_errors[i, b] = coefficients[j, b], errors[j, b]
            if i >= n:
                near[i, bands] = NEVER
        mask = 1
        while mask < filled - 1:
            mask = 2 * mask + 1
        return n, filled, np.int32(mask)

    return choose, lower_scores, score


def _settle_kernels(bands: int, integer_pixels: bool):
    """Compile functions that give a group its labels and sums, and its lower bounds."""
    import numba

    _, _, float_bits = intrinsics()
    relative, absolute = np.float32(1 - RELATIVE), np.float32(ABSOLUTE)
    of_squares = np.float32(1 - (bands + 16) * 2.0**-23)  # rounding of x and of the sum

    @numba.njit
    def nearest(values, p, candidates, centers):
        least, index = np.inf, len(centers)
        for j in candidates:
            squared = 0.0
            for b in range(bands):
                difference = np.float64(values[b, p]) - centers[j, b]
                squared += difference * difference
            if squared < least or (squared == least and j < index):
                least, index = squared, j
        return index

    @numba.njit
    def settle(
        values, labels, a, group, x, candidates, mask, widths, centers, fixed_offset,
        steps_per_unit, sums, counts,
    ):  # fmt: skip
        least, second, n_changed = x[bands], x[bands + 1], 0
        for q in range(len(group)):
            p, tag = group[q], float_bits(least[q]) & mask
            now = candidates[tag]
            if not second[q] - least[q] > widths[tag]:
                now = nearest(values, p, candidates, centers)
                # The least score may be that of another center.
                second[q] = least[q] if widths[tag] < np.inf else np.float32(-np.inf)
            if now == a:
                continue
            labels[p] = now
            n_changed += 1
            counts[now] += 1
            counts[a] -= 1
            for b in range(bands):
                if integer_pixels:
                    fixed = np.int64(values[b, p])
                else:
                    fixed = np.int64(np.rint((values[b, p] - fixed_offset[b]) * steps_per_unit[b]))
                sums[now, b] += fixed
                sums[a, b] -= fixed
        return n_changed

    @numba.njit(fastmath={"contract"})
    def lower_bounds(x, group, beyond, lower):
        """Set lower bounds from the second scores, and from centers that were no candidates."""
        second, bounds, uppers = x[bands + 1], x[bands + 2], x[bands + 3]
        for q in range(len(group)):
            squared = np.float32(0)
            for b in range(bands):
                squared += x[b, q] * x[b, q]
            squared = squared * of_squares + 2 * second[q]  # of the distance to the second center
            squared = squared if squared > 0 else np.float32(0)
            inside, outside = np.sqrt(squared) * relative - absolute, beyond - uppers[q]
            bounds[q] = inside if inside < outside else outside
        for q in range(len(group)):
            lower[group[q]] = bounds[q]

    return settle, lower_bounds
