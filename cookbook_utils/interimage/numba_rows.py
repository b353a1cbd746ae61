"""Pixels as rows of all bands, compiled by Numba.

In scenes the values of a band lie together, so that the bands of a pixel are in as many lines of
the cache. Pixels that are far apart are gathered faster from rows, in which a pixel is one line.
SIMD instructions turn bands into rows and rows into bands: a table of 2**r rows and 2**c columns is
transposed by r steps that interleave its first half with its second half, because each step moves
the first bit of all indices to their end.
"""

from __future__ import annotations

import functools

from cookbook_utils._compiling import jit
from cookbook_utils.interimage.numba_scores import LANES


def row_length(bands: int) -> int:
    """Return the length of a row: a power of two up to `LANES`, or a multiple of `LANES`."""
    return -(-bands // LANES) * LANES if bands > LANES else 1 << (bands - 1).bit_length()


@functools.cache
def row_kernels(bands: int):
    """Compile functions that make rows of a span of pixels, and gather pixels from rows."""
    bands_to_rows, rows_to_bands = _intrinsics(bands)
    pitch = row_length(bands)

    @jit
    def make_rows(values, start, size, flags, rows):
        """Copy pixels from `start` on to rows, at least those with a flag."""
        whole = size // LANES * LANES
        for p in range(0, whole, LANES):
            if not flags[p : p + LANES].any():
                continue
            source, target = values[:, start + p :].ctypes.data, rows[p * pitch :].ctypes.data
            bands_to_rows(source, values.strides[0], target, rows.dtype.type(0))
        for p in range(whole, size):
            for b in range(bands):
                rows[p * pitch + b] = values[b, start + p]

    @jit
    def gather(rows, at, n, origin, scale, x):
        """Copy the rows `at` to x[b], less their origin, scaled; whole vectors are filled."""
        for q in range(0, n, LANES):
            rows_to_bands(
                rows.ctypes.data, at[q:].ctypes.data, origin.ctypes.data, scale[0],
                x[:, q:].ctypes.data, x.strides[0], rows.dtype.type(0),
            )  # fmt: skip

    return make_rows, gather


def _intrinsics(bands: int):
    """Return functions that transpose `LANES` pixels."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    word, address, single = ir.IntType(32), ir.IntType(64), ir.FloatType()
    pitch = row_length(bands)
    width = min(pitch, LANES)  # values of a row that are handled at a time

    def pointer(builder, base, offset, kind):
        return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

    def shuffle(builder, one, two, order):
        return builder.shuffle_vector(one, two, ir.Constant(ir.VectorType(word, len(order)), order))

    def interleave(builder, vectors):
        """Interleave the first half of a table with its second half."""
        middle, half = len(vectors) // 2, LANES // 2
        if middle == 0:
            order = [lane for i in range(half) for lane in (i, i + half)]
            return [shuffle(builder, vectors[0], vectors[0], order)]
        found = []
        for pair in zip(vectors[:middle], vectors[middle:], strict=True):
            for start in (0, half):
                order = [lane for i in range(start, start + half) for lane in (i, i + LANES)]
                found.append(shuffle(builder, *pair, order))
        return found

    def splat(builder, value, kind):
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, word(0))
        return shuffle(builder, one, one, [0] * LANES)

    @intrinsic
    def bands_to_rows(context, values, stride, rows, like):
        def generate(context, builder, signature, args):
            values, stride, rows, like = args
            kind = like.type
            size = signature.args[3].bitwidth // 8
            vector = ir.VectorType(kind, LANES)
            for first in range(0, bands, LANES):
                vectors = [ir.Constant(vector, ir.Undefined)] * width
                for b in range(first, min(first + LANES, bands)):
                    at = pointer(builder, values, builder.mul(stride, address(b)), vector)
                    vectors[b - first] = builder.load(at, align=size)
                for _ in range(width.bit_length() - 1):
                    vectors = interleave(builder, vectors)
                step = pitch if bands > LANES else LANES  # between vectors
                for i, each in enumerate(vectors):
                    at = pointer(builder, rows, address((i * step + first) * size), vector)
                    builder.store(each, at, align=size)
            return context.get_dummy_value()

        return types.void(values, stride, rows, like), generate

    @intrinsic
    def rows_to_bands(context, rows, at, origin, scale, x, stride, like):
        is_integer = isinstance(like, types.Integer)
        is_signed = is_integer and like.signed

        def generate(context, builder, signature, args):
            rows, at, origin, scale, x, stride, like = args
            kind, size = like.type, signature.args[6].bitwidth // 8
            work = scale.type
            floats, works = ir.VectorType(single, LANES), ir.VectorType(work, LANES)
            part = ir.VectorType(kind, width)
            starts = []
            for i in range(LANES):
                index = builder.load(pointer(builder, at, address(4 * i), word))
                starts.append(builder.mul(builder.zext(index, address), address(pitch * size)))
            scale = splat(builder, scale, works)
            for first in range(0, bands, LANES):
                vectors = []
                for i in range(LANES):
                    place = builder.add(starts[i], address(first * size))
                    vectors.append(builder.load(pointer(builder, rows, place, part), align=size))
                while len(vectors) > width:  # short rows: several in a vector
                    lanes = range(2 * vectors[0].type.count)
                    pairs = zip(vectors[::2], vectors[1::2], strict=True)
                    vectors = [shuffle(builder, *pair, list(lanes)) for pair in pairs]
                for _ in range(LANES.bit_length() - 1):
                    vectors = interleave(builder, vectors)
                for b in range(first, min(first + LANES, bands)):
                    value = vectors[b - first]
                    if is_integer:
                        value = (builder.sitofp if is_signed else builder.uitofp)(value, works)
                    wide = 8 if work == ir.DoubleType() else 4
                    middle = builder.load(pointer(builder, origin, address(wide * b), work))
                    value = builder.fsub(value, splat(builder, middle, works))
                    value = builder.fmul(value, scale)
                    if work == ir.DoubleType():
                        value = builder.fptrunc(value, floats)
                    place = builder.mul(stride, address(b))
                    builder.store(value, pointer(builder, x, place, floats), align=64)
            return context.get_dummy_value()

        return types.void(rows, at, origin, scale, x, stride, like), generate

    return bands_to_rows, rows_to_bands
