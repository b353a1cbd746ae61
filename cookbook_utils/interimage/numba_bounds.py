"""The pass over many clusters, compiled by Numba: it scores only centers that can be the nearest.

Pixels whose bounds show that their label stays are skipped. The others are grouped by label, so
that the centers near to that of the label are the candidates of a whole group. Coordinates of a
group are relative to this center. Therefore they are short, and one error bound serves all scores:
with C the length of the farthest candidate and X that of the farthest pixel, both from the origin,
that of `arithmetic.Scores` is at most γ (½C² + C X) + 2**-80, since Σ |c| |x| ≤ |c| |x|. The
rounding of the float64 distances adds at most (B + 4) 2**-52 (C² + X²).
"""

from __future__ import annotations

import functools

import numpy as np

from cookbook_utils._compiling import jit
from cookbook_utils.interimage.arithmetic import NEVER, FixedPoint, Scores
from cookbook_utils.interimage.bounds import ABSOLUTE, RELATIVE, PixelBounds
from cookbook_utils.interimage.numba_rows import row_kernels, row_length
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
    farthest = np.zeros(k, np.float32)
    *of_pixels, seen = PixelBounds.none(scores) if bounds is None else bounds
    n_changed = reassign_kernel(bands, values.dtype.kind in "ui")(
        values, labels, part.start, part.stop, scores.centers, np.full(1, scores.scale, work),
        *of_pixels, farthest, fixed_point.offset, fixed_point.steps_per_unit, sums, counts,
    )  # fmt: skip
    np.maximum(seen, farthest, out=seen)
    return Changes(n_changed, sums, counts)


@functools.cache
def movement_kernel():
    """Compile the search for distances of centers, and for movements near to each of them."""
    shorter, absolute = np.float32(1 - RELATIVE), np.float32(ABSOLUTE)

    @jit(cache=True, nogil=True)
    def kernel(columns, moved, radius, distances, others, beyond):
        squares = np.empty(len(moved))
        for a in range(len(moved)):
            squares[:] = 0
            for b in range(len(columns)):
                column, middle = columns[b], columns[b, a]
                for j in range(len(column)):
                    difference = column[j] - middle
                    squares[j] += difference * difference
            near, farthest, nearest_other = 2 * radius[a], np.float32(0), np.float32(np.inf)
            for j in range(len(squares)):
                distances[a, j] = np.sqrt(np.float32(squares[j])) * shorter - absolute
            for j in range(len(squares)):
                if j == a:
                    continue
                if distances[a, j] < near:
                    farthest = max(farthest, moved[j])
                else:
                    nearest_other = min(nearest_other, distances[a, j])
            others[a], beyond[a] = farthest, nearest_other

    return kernel


@functools.cache
def reassign_kernel(bands: int, integer_pixels: bool):
    """Compile the pass over pixels that have labels; the number of bands is a constant."""
    span = max(VALUES_PER_SPAN // bands, 2**12)
    width = max(VALUES_PER_GROUP // bands // LANES * LANES, LANES)
    stride, pitch = width + LANES, row_length(bands)
    list_pixels, group_by_label = _list_kernels()
    make_rows, gather = row_kernels(bands)
    rounded_off, square, choose = _candidate_kernels(bands)
    _, score, _ = score_kernels(bands)
    bound, settle = _settle_kernels(bands, integer_pixels)

    @jit(cache=True, nogil=True)
    def kernel(
        values, labels, begin, end, centers, scale, distances, upper, lower, own, others, beyond,
        farthest, fixed_offset, steps_per_unit, sums, counts,
    ):  # fmt: skip
        k, kept, n_changed = len(centers), len(upper) > 0, 0
        size = min(span, end - begin)
        flags, at = np.empty(size, np.bool_), np.empty(size + 1, np.int32)
        grouped, ends = np.zeros(size + LANES, np.int32), np.empty(k + 2, np.int64)
        rows, origin = np.empty((size + LANES) * pitch, values.dtype), np.empty(bands, scale.dtype)
        scratch = np.empty((bands + 5) * stride + LANES, np.float32)
        shift = (64 - scratch.ctypes.data % 64) // 4
        x = scratch[shift : shift + (bands + 5) * stride].reshape(bands + 5, stride)
        candidates = np.empty(k, np.int64)
        near = np.zeros((k + CENTERS_AT_A_TIME, bands + 1), np.float32)
        halves = np.empty(k + CENTERS_AT_A_TIME, np.float32)
        for start in range(begin, end, span):
            stop = min(start + span, end)
            n = list_pixels(labels, start, stop, upper, lower, own, others, beyond, flags, at)
            if n == 0:
                continue
            group_by_label(labels[start:stop], at[:n], ends, grouped)
            make_rows(values, start, stop - start, flags, rows)
            for a in range(k):
                if ends[a] == ends[a + 1]:
                    continue
                origin[:] = centers[a]
                rounding = rounded_off(centers[a], origin, scale)
                for first in range(ends[a], ends[a + 1], width):
                    m = min(width, ends[a + 1] - first)
                    gather(rows, grouped[first:], m, origin, scale, x)
                    reach = square(x, m) + rounding
                    n_near, mine, excluded, mask, error = choose(
                        centers, a, origin, scale, distances[a], reach, candidates, near, halves
                    )
                    filled = -(-n_near // CENTERS_AT_A_TIME) * CENTERS_AT_A_TIME
                    score(x, m, near[:filled], halves, mask, x[bands + 1], x[bands + 2])
                    bound(x, m, mine, mask, error, excluded - rounding, flags)
                    group = grouped[first : first + m]
                    if kept:
                        for q in range(m):
                            p = start + group[q]
                            upper[p], lower[p] = x[bands + 3, q], x[bands + 4, q]
                    n_changed += settle(
                        rows, labels, start, group, flags, a, x, mask, error, candidates[:n_near],
                        centers, upper, lower, fixed_offset, steps_per_unit, sums, counts,
                    )  # fmt: skip
                    farthest[a] = max(farthest[a], reach)
        return n_changed

    return kernel


def _list_kernels():
    """Compile functions that list pixels whose label may change, and group them by label."""
    shrink, grow = np.float32(1 - 2.0**-22), np.float32(1 + 2.0**-22)

    @jit
    def move_bounds(labels, start, stop, upper, lower, own, others, beyond, flags):
        """Move the bounds with the centers, and flag the pixels that they leave uncertain."""
        nodata = np.iinfo(labels.dtype).max
        for p in range(start, stop):
            a = labels[p]
            u = (upper[p] + own[a]) * grow
            inside, outside = (lower[p] - others[a]) * shrink, beyond[a] - u
            bound = inside if inside < outside else outside
            upper[p], lower[p] = u, bound
            flags[p - start] = (not u < bound) & (a != nodata)

    @jit
    def list_pixels(labels, start, stop, upper, lower, own, others, beyond, flags, at):
        if len(upper):
            move_bounds(labels, start, stop, upper, lower, own, others, beyond, flags)
        else:
            nodata = np.iinfo(labels.dtype).max
            for p in range(start, stop):
                flags[p - start] = labels[p] != nodata
        n = 0
        for p in range(stop - start):
            at[n] = p
            n += flags[p]
        return n

    @jit
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


def _candidate_kernels(bands: int):
    """Compile functions that measure a group of pixels, and choose its candidates."""
    _, with_tag, float_bits = intrinsics()

    @jit
    def rounded_off(center, origin, scale):
        """Return an upper bound of the distance of a center to the origin, which is rounded."""
        squared = 0.0
        for b in range(bands):
            squared += ((center[b] - origin[b]) * scale[0]) ** 2
        return np.float32(np.sqrt(squared) * (1 + RELATIVE) + ABSOLUTE)

    @jit(fastmath={"contract"})
    def square(x, m):
        """Store |x|², and return an upper bound of the largest |x|."""
        largest = np.int32(0)  # bits of positive floats are ordered as the floats are
        for q in range(m):
            squared = np.float32(0)
            for b in range(bands):
                squared += x[b, q] * x[b, q]
            x[bands, q] = squared
            bits = float_bits(squared)
            largest = bits if bits > largest else largest
        longest = np.sqrt(with_tag(np.float32(0), np.int32(0), largest))
        return longest * np.float32(1 + (bands + 16) * 2.0**-23) + np.float32(ABSOLUTE)

    @jit
    def choose(centers, a, origin, scale, distances, reach, candidates, near, halves):
        """Choose the candidates of pixels within `reach` of the origin and center a, and copy them.

        Returns their number, which of them is center a, a lower bound of the distance of `a` to
        the others, the mask of the bits of a score that hold the index of a candidate, and the
        error bound of the scores.
        """
        n, mine, excluded = 0, 0, np.float32(np.inf)
        for j in range(len(distances)):
            if not distances[j] >= 2 * reach:
                mine = n if j == a else mine
                candidates[n] = j
                n += 1
            else:
                excluded = min(excluded, distances[j])
        longest = 0.0
        for i in range(n):
            squared, center = 0.0, centers[candidates[i]]
            for b in range(bands):
                c = (center[b] - origin[b]) * scale[0]
                near[i, b] = -c
                squared += c * c
            halves[i] = squared / 2
            longest = max(longest, squared)
        filled, bits = -(-n // CENTERS_AT_A_TIME) * CENTERS_AT_A_TIME, 2
        near[n:filled], halves[n:filled] = 0, NEVER
        while 1 << bits < filled:
            bits += 1
        gamma = 1.1 * ((bands + 8) * 2.0**-24 + 2.0 ** (bits - 23))
        error = gamma * (longest / 2 + np.sqrt(longest) * reach) + 2.0**-80
        error += (bands + 4) * 2.0**-52 * (longest + np.float64(reach) * reach)
        return n, mine, excluded, np.int32((1 << bits) - 1), np.float32(error * 1.001)

    return rounded_off, square, choose


def _settle_kernels(bands: int, integer_pixels: bool):
    """Compile functions that give a group its bounds, and its labels and sums."""
    _, _, float_bits = intrinsics()
    pitch = row_length(bands)
    rounding = np.float32((bands + 16) * 2.0**-23)  # of |x|²
    relative, absolute = np.float32(1 - RELATIVE), np.float32(ABSOLUTE)
    longer = np.float32(1 + RELATIVE)

    @jit(fastmath={"contract"})
    def bound(x, m, mine, mask, error, excluded, flags):
        """Find the bounds of a group, and flag pixels whose label changes or is uncertain."""
        squares, least, second = x[bands], x[bands + 1], x[bands + 2]
        uppers, lowers = x[bands + 3], x[bands + 4]
        for q in range(m):
            squared, low, next_low = squares[q], least[q], second[q]
            own = squared * (1 + rounding) + 2 * (low + error)
            uppers[q] = np.sqrt(own if own > 0 else np.float32(0)) * longer + absolute
            other = squared * (1 - rounding) + 2 * (next_low - error)
            inside = np.sqrt(other if other > 0 else np.float32(0)) * relative - absolute
            outside = excluded - (np.sqrt(squared * (1 + rounding)) * longer + absolute)
            lowers[q] = inside if inside < outside else outside
            changes = (float_bits(low) & mask) != mine
            flags[q] = changes | (not next_low - low > 2 * error)

    @jit
    def nearest(rows, at, candidates, centers):
        least, index = np.inf, 0
        for j in candidates:  # ascending: of equally near ones the first
            squared = 0.0
            for b in range(bands):
                difference = np.float64(rows[at + b]) - centers[j, b]
                squared += difference * difference
            if squared < least:
                least, index = squared, j
        return index

    @jit
    def settle(
        rows, labels, start, group, flags, a, x, mask, error, candidates, centers, upper, lower,
        fixed_offset, steps_per_unit, sums, counts,
    ):  # fmt: skip
        least, second, n_changed = x[bands + 1], x[bands + 2], 0
        for q in range(len(group)):
            if not flags[q]:
                continue
            p, at = start + group[q], group[q] * pitch
            if second[q] - least[q] > 2 * error:
                now = candidates[float_bits(least[q]) & mask]
            else:
                now = nearest(rows, at, candidates, centers)
                if len(upper):  # the bounds may be those of another label
                    upper[p], lower[p] = np.inf, -np.inf
            if now == a:
                continue
            labels[p] = now
            n_changed += 1
            counts[now] += 1
            counts[a] -= 1
            for b in range(bands):
                if integer_pixels:
                    fixed = np.int64(rows[at + b])
                else:
                    fixed = np.int64(np.rint((rows[at + b] - fixed_offset[b]) * steps_per_unit[b]))
                sums[now, b] += fixed
                sums[a, b] -= fixed
        return n_changed

    return bound, settle
