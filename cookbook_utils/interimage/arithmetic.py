"""The arithmetic that every engine shares, so that all of them find the same labels and centers.

Labels come from distances in float32, each a fixed sequence of multiplications and additions, none
of them fused or reordered. Sums are exact: of integers as they are, and of floats rounded to a
fixed point. No order of adding, and no number of threads, chunks or workers, can change them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DTYPES = tuple(np.dtype(t) for t in ("uint8", "uint16", "int16", "float32", "float64"))
"""What the engines read in place; all else is converted to one of these."""


def native_dtype(dtype: np.dtype) -> np.dtype:
    """Return the first of `DTYPES` that holds every value of `dtype`, else float64."""
    if dtype.kind not in "buif":
        raise ValueError(f"pixels must be real numbers, found dtype {dtype}")
    safe = (native for native in DTYPES if np.can_cast(dtype, native, "safe"))
    return next(safe, np.dtype(np.float64))


@dataclass(frozen=True)
class Arithmetic:
    """How pixels become the numbers that are multiplied and summed."""

    offset: np.ndarray
    """(bands,) float64, about the middle of each band's range, exact in the dtype of the pixels."""
    gain: float
    """Power of two that brings centered pixels near 1, for distances: 1 for integers."""
    unit: np.ndarray
    """(bands,) float64, powers of two: fixed-point steps in one unit of the data; 1 for integers.
    A float is rounded to 2**-52 of half its band's range, or 2**-(62 - log2 n) of it if n pixels
    are so many that it is coarser: 2**-34 for 200 million."""
    square: float
    """Fixed-point steps in one unit of squared distance, a power of two."""

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, dtype: np.dtype, n: int) -> Arithmetic:
        """Return what suits `n` pixels of `dtype` whose bands range from `low` to `high`."""
        middle = low / 2 + high / 2
        bits = int(n).bit_length()
        if dtype.kind in "ui":
            offset, gain, unit = np.floor(middle), 1.0, np.ones(len(low))
        else:
            offset = middle.astype(dtype).astype(np.float64)
            reach = np.maximum(high - offset, offset - low)
            gain = _power(-np.clip(_exponent(reach.max()), -126, 126))
            unit = _power(min(52, 62 - bits) - _exponent(reach))
        largest = ((high - low) ** 2).sum()
        square = _power(61 - bits - _exponent(largest))
        return cls(offset, float(gain), unit, float(square))

    def centered(self, values: np.ndarray) -> np.ndarray:
        """Return pixels (bands, n) as they enter distances, float32."""
        work = np.float64 if values.dtype == np.float64 else np.float32
        shifted = values.astype(work) - self.offset.astype(work)[:, np.newaxis]
        return (shifted * work(self.gain)).astype(np.float32)

    def fixed_point(self, values: np.ndarray) -> np.ndarray:
        """Return pixels (bands, n) as they enter sums, int64."""
        shifted = values.astype(np.float64) - self.offset[:, np.newaxis]
        return np.rint(shifted * self.unit[:, np.newaxis]).astype(np.int64)

    def weights(self, centers: np.ndarray) -> np.ndarray:
        """Return (k, bands + 1) float32: for each center c its −c and, last, its ½|c|².

        The nearest center of x is the one with the least ½|c|² − x·c, half the arithmetic of
        |x − c|² and alike but for ½|x|². Centered pixels keep float32 exact enough for it.
        """
        scaled = ((centers - self.offset) * self.gain).astype(np.float32)
        half = (scaled.astype(np.float64) ** 2).sum(axis=1, keepdims=True) / 2
        return np.concatenate([-scaled, half.astype(np.float32)], axis=1)

    def means(self, sums: np.ndarray, counts: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """Return the mean of each cluster, and for an empty one its row of `centers`."""
        filled = counts > 0
        means = centers.copy()
        means[filled] = self.offset + sums[filled] / counts[filled, np.newaxis] / self.unit
        return means


def _exponent(value):
    """Return the least e with value <= 2**e, and 0 for 0."""
    mantissa, exponent = np.frexp(value)
    return np.where(mantissa == 0, 0, exponent - (mantissa == 0.5))


def _power(exponent):
    return np.ldexp(1.0, np.clip(exponent, -1000, 1000))
