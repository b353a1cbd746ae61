"""Float32 scores of pixels, compiled by Numba, and the instructions that Numba has no name for."""

from __future__ import annotations

import functools

import numpy as np

from cookbook_utils._compiling import jit
from cookbook_utils.interimage.arithmetic import FARTHEST

LANES = 16  # pixels in a vector of 512 bits, or in two of 256
FEW_CENTERS = 8
CENTERS_AT_A_TIME = 4  # centers scored with each vector of pixels that is loaded


def score_kernels(bands: int, few_centers: bool = False):
    """Compile functions that lower the scores by their error, score a tile, and find its least gap.

    The gap of a pixel is the difference of its two least scores. For at most `FEW_CENTERS` centers,
    the loop that the compiler vectorizes is faster than vectors by hand.
    """
    _, with_tag, float_bits = intrinsics()
    score_vector = _score_intrinsic(bands)
    farthest, without_sign = np.float32(FARTHEST), np.int32(0x7FFFFFFF)

    @jit
    def lower_scores(coefficients, errors, peaks, lowered, error_widths):
        """Subtract the error bound of a tile from ½|c|²; return twice the largest bound."""
        widest, near = np.float32(0), peaks.sum() <= farthest  # False if the sum is NaN
        for i in range(len(coefficients)):
            error = errors[i, bands]  # e = a + Σ b |x|
            for b in range(bands):
                error += errors[i, b] * peaks[b]
            lowered[i] = coefficients[i, bands] - (error if near else np.float32(0))
            error_widths[i] = 2 * error if near else np.float32(np.inf)  # far away: no bound
            widest = max(widest, error_widths[i])
        return widest

    # The last bits of a score hold the index of its center, as those of `_score_intrinsic` do.
    @jit(fastmath={"contract"})
    def score_few(x, size, coefficients, lowered, index_mask, least, second):
        least[:size] = np.float32(3e38)
        second[:size] = np.float32(3e38)
        for group in range(0, len(coefficients), 2):
            for p in range(size):
                lowest, next_lowest = least[p], second[p]
                for i in range(group, group + 2):
                    s = lowered[i]  # s = ½|c|² − e − x·c
                    for b in range(bands):
                        s += coefficients[i, b] * x[b, p]
                    s = with_tag(s, ~index_mask, np.int32(i))
                    larger = lowest if lowest > s else s
                    next_lowest = larger if larger < next_lowest else next_lowest
                    lowest = s if s < lowest else lowest
                least[p], second[p] = lowest, next_lowest

    @jit
    def score(x, size, coefficients, lowered, index_mask, least, second):
        for p in range(0, size, LANES):
            score_vector(
                x[:, p:].ctypes.data, x.strides[0], coefficients.ctypes.data, lowered.ctypes.data,
                len(coefficients), index_mask, least[p:].ctypes.data, second[p:].ctypes.data,
            )  # fmt: skip

    @jit
    def smallest_gap(least, second):
        smallest = without_sign  # bits of positive floats are ordered as the floats are
        for p in range(len(least)):
            bits = float_bits(second[p] - least[p])
            smallest = bits if bits < smallest else smallest
        return with_tag(np.float32(0), np.int32(0), smallest)

    return lower_scores, score_few if few_centers else score, smallest_gap


@functools.cache
def intrinsics():
    """Return functions that prefetch an address, write tag bits into a float, and give its bits.

    The address to prefetch may lie outside of an array. Without prefetching, memory is idle while a
    tile is scored, and a pass over float32 pixels takes a third longer.
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
    def with_tag(context, value, kept, tag):
        def generate(context, builder, signature, args):
            bits = builder.bitcast(args[0], ir.IntType(32))
            bits = builder.or_(builder.and_(bits, args[1]), args[2])
            return builder.bitcast(bits, ir.FloatType())

        return types.float32(types.float32, types.int32, types.int32), generate

    @intrinsic
    def float_bits(context, value):
        def generate(context, builder, signature, args):
            return builder.bitcast(args[0], ir.IntType(32))

        return types.int32(types.float32), generate

    return prefetch, with_tag, float_bits


@functools.cache
def _score_intrinsic(bands: int):
    """Return a function that scores one vector of pixels, and keeps all that it needs in registers.

    Each loaded vector of pixels serves `CENTERS_AT_A_TIME` centers. The last bits of a score hold
    the index of its center, so that the minimum of the scores also yields the index. The error
    bound of scores holds with and without fused multiply-add.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    single, word, address = ir.FloatType(), ir.IntType(32), ir.IntType(64)
    floats, words = ir.VectorType(single, LANES), ir.VectorType(word, LANES)

    @intrinsic
    def score_vector(context, x, stride, coefficients, lowered, n, index_mask, least, second):
        def generate(context, builder, signature, args):
            x, stride, coefficients, lowered, n, index_mask, least, second = args

            def at(base, offset, kind):
                return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

            def splat(value, kind):
                one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, word(0))
                order = ir.Constant(words, [0] * LANES)
                return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), order)

            def lesser(one, two):
                return builder.select(builder.fcmp_ordered("<", one, two), one, two)

            form = ir.FunctionType(floats, [floats] * 3)
            name = f"llvm.fmuladd.v{LANES}f32"
            fused = cgutils.get_or_insert_function(builder.module, form, name)
            lowest = cgutils.alloca_once_value(builder, ir.Constant(floats, [3e38] * LANES))
            next_lowest = cgutils.alloca_once_value(builder, ir.Constant(floats, [3e38] * LANES))
            kept = splat(builder.not_(index_mask), words)
            with cgutils.for_range_slice(
                builder, address(0), n, address(CENTERS_AT_A_TIME), address
            ) as (first, _):
                rows, scores = [], []
                for i in range(CENTERS_AT_A_TIME):
                    index = builder.add(first, address(i))
                    rows.append(builder.mul(index, address(4 * (bands + 1))))
                    start = builder.load(at(lowered, builder.mul(index, address(4)), single))
                    scores.append(splat(start, floats))
                for b in range(bands):
                    values = builder.load(at(x, builder.mul(stride, address(b)), floats), align=64)
                    for i, row in enumerate(rows):
                        offset = builder.add(row, address(4 * b))
                        factor = splat(builder.load(at(coefficients, offset, single)), floats)
                        scores[i] = builder.call(fused, [factor, values, scores[i]])
                low, next_low = builder.load(lowest), builder.load(next_lowest)
                for i, score in enumerate(scores):
                    tag = builder.trunc(builder.add(first, address(i)), word)
                    bits = builder.and_(builder.bitcast(score, words), kept)
                    score = builder.bitcast(builder.or_(bits, splat(tag, words)), floats)
                    larger = builder.select(builder.fcmp_ordered(">", low, score), low, score)
                    next_low = lesser(larger, next_low)
                    low = lesser(score, low)
                builder.store(low, lowest)
                builder.store(next_low, next_lowest)
            builder.store(builder.load(lowest), at(least, address(0), floats), align=64)
            builder.store(builder.load(next_lowest), at(second, address(0), floats), align=64)
            return context.get_dummy_value()

        arguments = (x, stride, coefficients, lowered, n, index_mask, least, second)
        return types.void(*arguments), generate

    return score_vector
