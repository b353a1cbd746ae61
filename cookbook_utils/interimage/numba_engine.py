"""The engine for threads: one pass over memory for distance, label, flag and sums, with Numba.

A tile of pixels is converted to float32 once and stays in the first-level cache while center after
center is held against it, so that the compiler puts 8 or 16 neighboring pixels into each vector
instruction; memory fetches the next tile meanwhile. Sums are exact integers, and so need to be told
only of pixels that changed: after the first pass few do. Their places in the tile are listed first,
without a branch for each pixel that could not be predicted.
"""

from __future__ import annotations

import functools

import numpy as np

from cookbook_utils._conventions import MISSING_LABEL
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
    whole = values.dtype.kind in "ui"
    kernel = _assign_kernel(len(values), whole)
    changed = kernel(
        values, labels, part.start, part.stop, arithmetic.offset.astype(work),
        np.full(1, arithmetic.gain, work), weights, first, arithmetic.offset, arithmetic.unit,
        sums, counts,
    )  # fmt: skip
    if whole:
        sums -= counts[:, np.newaxis] * arithmetic.offset.astype(np.int64)
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

    Integers are their own fixed point; their sums are left for `assign` to center.
    """
    import numba

    tile = max(TILE // bands // 64 * 64, 64)
    stride = tile + 16  # rows a power of two apart would compete for the same places in the cache
    center, find_nearest = _nearest_kernels(bands, tile)
    list_moved, add_moved = _sum_kernels(bands, whole)

    @numba.njit
    def relabel(label, nearest, first, old, moved):
        none = np.uint8(MISSING_LABEL)
        for p in range(len(label)):
            before = none if first else label[p]
            now = none if label[p] == none else np.uint8(nearest[p])
            moved[p] = now != before
            old[p] = before
            label[p] = now

    @numba.njit(nogil=True)
    def kernel(
        values, labels, begin, end, offset, gain, weights, first, origin, unit, sums, counts
    ):
        # Rows start at cache lines: a vector that lies in two of them takes twice as long to load.
        scratch = np.empty((bands + 2) * stride + 16, np.float32)
        shift = (64 - scratch.ctypes.data % 64) // 4
        x = scratch[shift : shift + (bands + 2) * stride].reshape(bands + 2, stride)
        least, nearest = x[bands], x[bands + 1].view(np.int32)
        old, moved = np.empty(tile, np.uint8), np.zeros(tile, np.uint8)
        eights, places = moved.view(np.uint64), np.empty(tile + 1, np.uint32)
        changed = 0
        for start in range(begin, end, tile):
            size = min(tile, end - start)
            label = labels[start : start + size]
            center(values, start, size, offset, gain, x)
            find_nearest(x, size, weights, least, nearest)
            relabel(label, nearest, first, old, moved)
            if size < tile:
                moved[size:] = 0
            n = list_moved(moved, eights, places)
            part, here = values[:, start : start + size], places[:n]
            if first:  # compiled for each case, so that no pixel has to ask: 6 % faster
                add_moved(part, label, old, here, True, origin, unit, sums, counts)
            else:
                add_moved(part, label, old, here, False, origin, unit, sums, counts)
            changed += n
        return changed

    return kernel


def _nearest_kernels(bands: int, tile: int):
    """Return functions that convert a tile and that find the nearest centers of its pixels."""
    import numba

    prefetch = _prefetch()

    @numba.njit
    def center(values, start, size, offset, gain, x):
        work = offset.dtype.type
        for b in range(bands):
            band = values[b, start : start + size]
            ahead = band.ctypes.data + tile * values.itemsize
            for line in range(0, size * values.itemsize, 64):
                prefetch(ahead + line)
            for p in range(size):
                x[b, p] = np.float32((work(band[p]) - offset[b]) * gain[0])

    @numba.njit
    def find_nearest(x, size, weights, least, nearest):
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

    return center, find_nearest


def _sum_kernels(bands: int, whole: bool):
    """Return functions that list the pixels of a tile that moved, and that add them up."""
    import numba

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

    return list_moved, add_moved


@functools.cache
def _prefetch():
    """Return a function that has the processor fetch an address, which may lie outside an array.

    Loads alone would leave memory idle while a tile is scored: a third more time for float32.
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

    return prefetch


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
