"""The engine for threads: one pass over memory for distance, label, flag and sums, with Numba.

A tile of pixels is converted to float32 once and stays in the first-level cache while center after
center is scored, so that the compiler puts 8 or 16 neighboring pixels into each vector instruction;
the processor fetches the next tile meanwhile. The few pixels whose best scores lie within the bound
of their error get distances in float64. Sums are exact integers, and so only pixels that changed
are added and subtracted: after the first pass they are few. Their places in the tile are listed
first, without a branch for each pixel that could not be predicted.
"""

from __future__ import annotations

import functools

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.interimage.arithmetic import (
    FARTHEST,
    NEVER,
    FixedPoint,
    Scores,
    number_bits,
)

# Values in a tile, by whether they are whole numbers: 256 and 512 pixels of 6 bands. With the
# scratch they fill a part of 32 KB of cache; of 1536, 2304, 3072 and 4608 these were the fastest.
TILE = {True: 1536, False: 3072}
GROUP = 2  # centers scored at a time: each vector of pixels that is loaded serves both


def threads() -> int:
    """Return how many parts of a block to work on at a time: ``NUMBA_NUM_THREADS``."""
    import numba

    return numba.config.NUMBA_NUM_THREADS


def assign(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    scores: Scores,
    first: bool,
) -> tuple[int, np.ndarray, np.ndarray]:
    """Label a part of a block, and count what that changed: as `numpy_engine.assign`."""
    work = np.float64 if values.dtype == np.float64 else np.float32
    k, bands = scores.centers.shape
    sums, counts = np.zeros((k, bands), np.int64), np.zeros(k, np.int64)
    kernel = _assign_kernel(bands, values.dtype.kind in "ui")
    filled = -(-k // GROUP) * GROUP
    table, slack = np.zeros((2, filled, bands + 1), np.float32)
    table[:k], slack[:k], table[k:, -1] = scores.table, scores.slack, NEVER
    mask = np.int32((1 << number_bits(filled)) - 1)
    changed = kernel(
        values, labels, part.start, part.stop, scores.offset.astype(work),
        np.full(1, scores.gain, work), table, slack, mask, scores.centers,
        first, fixed_point.offset, fixed_point.unit, sums, counts,
    )  # fmt: skip
    return changed, sums, counts


def measure(
    values: np.ndarray,
    labels: np.ndarray,
    part: slice,
    fixed_point: FixedPoint,
    centers: np.ndarray,
) -> tuple[int, float, np.ndarray]:
    """Sum squared distances and find the farthest pixel: as `numpy_engine.measure`."""
    coarse, fine, squared, at = _measure_kernel()(
        values, labels, part.start, part.stop, centers, fixed_point.square, fixed_point.fraction
    )
    pixel = np.zeros(len(values)) if squared < 0 else values[:, at].astype(np.float64)
    return fixed_point.in_fine_steps(coarse, fine), squared, pixel


@functools.cache
def _assign_kernel(bands: int, whole: bool):
    """Compile for a number of bands, which lets loops over them be unrolled, and `whole` numbers.

    Whole numbers are their own fixed point.
    """
    import numba

    tile = max(TILE[whole] // bands // 64 * 64, 64)
    stride = tile + 16  # rows a power of two apart would compete for the same places in the cache
    convert, lower, score, smallest_gap = _score_kernels(bands, tile)
    settle = _settle_kernel(bands)
    relabel, list_moved, add_moved = _sum_kernels(bands, whole)

    @numba.njit(nogil=True)
    def kernel(
        values, labels, begin, end, offset, gain, table, slack, mask, centers, first, origin, unit,
        sums, counts,
    ):  # fmt: skip
        # Rows start at cache lines: a vector that lies in two of them takes twice as long to load.
        scratch = np.empty((bands + 2) * stride + 16, np.float32)
        shift = (64 - scratch.ctypes.data % 64) // 4
        x = scratch[shift : shift + (bands + 2) * stride].reshape(bands + 2, stride)
        least, second = x[bands], x[bands + 1]
        peak = np.empty(bands, np.float32)
        lowered, width = np.empty(len(table), np.float32), np.empty(len(table), np.float32)
        old, moved = np.empty(tile, np.uint8), np.zeros(tile, np.uint8)
        eights, places = moved.view(np.uint64), np.empty(tile + 1, np.uint32)
        changed = 0
        for start in range(begin, end, tile):
            size = min(tile, end - start)
            label, part = labels[start : start + size], values[:, start : start + size]
            convert(values, start, size, label, offset, gain, x, peak)
            widest = lower(table, slack, peak, lowered, width)
            score(x, size, table, lowered, mask, least, second)
            if not smallest_gap(least[:size], second[:size]) > widest:
                settle(part, label, mask, width, centers, least, second)
            relabel(label, mask, least, first, old, moved)
            if size < tile:
                moved[size:] = 0
            n = list_moved(moved, eights, places)
            here = places[:n]
            if first:  # compiled for each case, so that no pixel has to ask: 6 % faster
                add_moved(part, label, old, here, True, origin, unit, sums, counts)
            else:
                add_moved(part, label, old, here, False, origin, unit, sums, counts)
            changed += n
        return changed

    return kernel


def _score_kernels(bands: int, tile: int):
    """Return functions that convert a tile, bound its scores, and score all centers."""
    import numba

    prefetch, tagged, bits_of = _intrinsics()
    far, sign = np.float32(FARTHEST), np.int32(0x7FFFFFFF)

    @numba.njit
    def convert(values, start, size, label, offset, gain, x, peak):
        work = offset.dtype.type
        complete = True
        for p in range(size):
            complete &= label[p] != NODATA_LABEL
        for b in range(bands):
            band = values[b, start : start + size]
            ahead = band.ctypes.data + tile * values.itemsize
            for line in range(0, size * values.itemsize, 64):
                prefetch(ahead + line)
            largest = np.int32(0)  # bits of floats without sign are ordered as the floats are
            for p in range(size):
                value = np.float32((work(band[p]) - offset[b]) * gain[0])
                x[b, p] = value
                bits = bits_of(value) & sign
                largest = bits if bits > largest else largest
            if not complete:  # what a missing pixel holds must not count as far away
                largest = np.int32(0)
                for p in range(size):
                    value = np.float32(0) if label[p] == NODATA_LABEL else x[b, p]
                    x[b, p] = value
                    bits = bits_of(value) & sign
                    largest = bits if bits > largest else largest
            peak[b] = tagged(np.float32(0), np.int32(0), largest)

    @numba.njit
    def lower(table, slack, peak, lowered, width):
        """Lower each score by the bound of its error in a tile; return the widest bound, twice."""
        widest, near = np.float32(0), peak.sum() <= far  # not where the sum is NaN
        for i in range(len(table)):
            error = slack[i, bands]
            for b in range(bands):
                error += slack[i, b] * peak[b]
            lowered[i] = table[i, bands] - (error if near else np.float32(0))
            width[i] = 2 * error if near else np.float32(np.inf)
            widest = max(widest, width[i])
        return widest

    # The number of a center rides in the last bits of its score, so that the least score brings it
    # along. The bound of the error holds with and without fused multiply-add.
    @numba.njit(fastmath={"contract"})
    def score(x, size, table, lowered, mask, least, second):
        least[:size] = np.float32(3e38)
        second[:size] = np.float32(3e38)
        for group in range(0, len(table), GROUP):
            for p in range(size):
                lowest, next_lowest = least[p], second[p]
                for i in range(group, group + GROUP):
                    s = lowered[i]
                    for b in range(bands):
                        s += table[i, b] * x[b, p]
                    s = tagged(s, ~mask, np.int32(i))
                    larger = lowest if lowest > s else s
                    next_lowest = larger if larger < next_lowest else next_lowest
                    lowest = s if s < lowest else lowest
                least[p], second[p] = lowest, next_lowest

    @numba.njit
    def smallest_gap(least, second):
        smallest = sign  # bits of floats without sign are ordered as the floats are
        for p in range(len(least)):
            bits = bits_of(second[p] - least[p])
            smallest = bits if bits < smallest else smallest
        return tagged(np.float32(0), np.int32(0), smallest)

    return convert, lower, score, smallest_gap


def _settle_kernel(bands: int):
    """Return a function that finds the nearest center in float64 where scores are too close."""
    import numba

    _, tagged, bits_of = _intrinsics()

    @numba.njit
    def nearest(part, p, centers):
        shortest, number = np.inf, 0
        for i in range(len(centers)):
            squared = 0.0
            for b in range(bands):
                away = np.float64(part[b, p]) - centers[i, b]
                squared += away * away
            if squared < shortest:
                shortest, number = squared, i
        return number

    @numba.njit
    def settle(part, label, mask, width, centers, least, second):
        for p in range(len(label)):
            bound = width[bits_of(least[p]) & mask]
            if label[p] != NODATA_LABEL and not second[p] - least[p] > bound:
                least[p] = tagged(np.float32(0), np.int32(0), np.int32(nearest(part, p, centers)))

    return settle


def _sum_kernels(bands: int, whole: bool):
    """Return functions that label a tile, list the pixels that moved, and add them up."""
    import numba

    _, _, bits_of = _intrinsics()

    @numba.njit
    def relabel(label, mask, least, first, old, moved):
        none = np.uint8(NODATA_LABEL)
        for p in range(len(label)):
            before = none if first else label[p]
            now = none if label[p] == none else np.uint8(bits_of(least[p]) & mask)
            moved[p] = now != before
            old[p] = before
            label[p] = now

    @numba.njit
    def list_moved(moved, eights, places):
        n = 0
        for eight in range(len(eights)):  # most often none of eight pixels moved: one comparison
            if eights[eight]:
                for p in range(8 * eight, 8 * eight + 8):
                    places[n] = p
                    n += moved[p]
        return n

    @numba.njit
    def add_moved(tile, label, old, places, first, origin, unit, sums, counts):
        for p in places:
            new, before = label[p], old[p]
            counts[new] += 1
            if not first:
                counts[before] -= 1
            for b in range(bands):
                if whole:
                    fixed = np.int64(tile[b, p])
                else:
                    fixed = np.int64(np.rint((tile[b, p] - origin[b]) * unit[b]))
                sums[new, b] += fixed
                if not first:
                    sums[before, b] -= fixed

    return relabel, list_moved, add_moved


@functools.cache
def _intrinsics():
    """Return functions that prefetch an address, that tag the bits of a float, and that give them.

    An address may lie outside of an array. Loads alone would leave memory idle while a tile is
    scored: a third more time for float32.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic
    def prefetch(context, address):
        def generate(context, builder, signature, args):
            int32 = ir.IntType(32)
            pointer = builder.inttoptr(args[0], cgutils.voidptr_t)
            form = ir.FunctionType(ir.VoidType(), [pointer.type, int32, int32, int32])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], form)
            read, second_level, data = (int32(number) for number in (0, 2, 1))
            builder.call(function, [pointer, read, second_level, data])
            return context.get_dummy_value()

        return types.void(address), generate

    @intrinsic
    def tagged(context, value, kept, tag):
        def generate(context, builder, signature, args):
            bits = builder.bitcast(args[0], ir.IntType(32))
            bits = builder.or_(builder.and_(bits, args[1]), args[2])
            return builder.bitcast(bits, ir.FloatType())

        return types.float32(types.float32, types.int32, types.int32), generate

    @intrinsic
    def bits_of(context, value):
        def generate(context, builder, signature, args):
            return builder.bitcast(args[0], ir.IntType(32))

        return types.int32(types.float32), generate

    return prefetch, tagged, bits_of


@functools.cache
def _measure_kernel():
    import numba

    @numba.njit(nogil=True)
    def kernel(values, labels, begin, end, centers, square, fraction):
        coarse, fine, largest, at = np.int64(0), np.int64(0), -1.0, begin
        for p in range(begin, end):
            if labels[p] == NODATA_LABEL:
                continue
            squared = 0.0
            for b in range(len(values)):
                away = np.float64(values[b, p]) - centers[labels[p], b]
                squared += away * away
            steps = np.rint(squared * square)
            coarse += np.int64(steps)
            fine += np.int64(np.rint((squared * square - steps) * fraction))
            if squared > largest:
                largest, at = squared, p
            elif squared == largest:
                for b in range(len(values)):
                    if values[b, p] != values[b, at]:
                        at = p if values[b, p] < values[b, at] else at
                        break
        return coarse, fine, largest, at

    return kernel
