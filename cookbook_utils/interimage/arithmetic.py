"""The arithmetic that every engine shares, so that all of them find the same labels and centers.

A label is the number of the nearest center as float64 computes it: the squared differences of the
bands are added in their order, and of equally near centers a pixel takes the first. The fast
engines compare float32 scores first, whose error is bounded, and compute the distances in float64
for the few pixels whose two best scores lie within the bound.

Sums are exact: of integers as they are, and of floats rounded to a fixed point. No order of adding,
and no number of threads, chunks or workers, can change them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DTYPES = tuple(np.dtype(t) for t in ("uint8", "uint16", "int16", "float32", "float64"))
"""What the engines read in place; all else is converted to one of these."""

FARTHEST = 1024.0
"""Pixels farther from the offset, in units of the farthest center, get distances in float64."""

NEVER = 1e38
"""Score of a center that no pixel takes."""


def native_dtype(dtype: np.dtype) -> np.dtype:
    """Return the first of `DTYPES` that holds every value of `dtype`, else float64."""
    if dtype.kind not in "buif":
        raise TypeError(f"pixels must be real numbers, got dtype {dtype}")
    safe = (native for native in DTYPES if np.can_cast(dtype, native, "safe"))
    return next(safe, np.dtype(np.float64))


@dataclass(frozen=True)
class FixedPoint:
    """How pixels and squared distances become the integers that are summed."""

    offset: np.ndarray
    """(bands,) float64, about the middle of the range of each band; 0 for integers."""
    unit: np.ndarray
    """(bands,) float64, powers of two: steps in one unit of the data; 1 for integers.
    A float is rounded to 2**-52 of half its band's range, or 2**-(62 - log2 n) of it if n pixels
    are so many that it is coarser: 2**-34 for 200 million."""
    square: float
    """Coarse steps in one unit of squared distance, a power of two."""
    fraction: float
    """Fine steps in a coarse one, a power of two: one outlier makes the coarse steps long."""

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, dtype: np.dtype, n: int) -> FixedPoint:
        """Return what suits `n` pixels of `dtype` whose bands range from `low` to `high`."""
        bits = int(n).bit_length()
        if dtype.kind in "ui":
            offset, unit = np.zeros(len(low)), np.ones(len(low))
        else:
            offset = (low / 2 + high / 2).astype(dtype).astype(np.float64)
            reach = np.maximum(high - offset, offset - low)
            unit = _power(min(52, 62 - bits) - _exponent(reach))
        largest = ((high - low) ** 2).sum()
        square = _power(61 - bits - _exponent(largest))
        return cls(offset, unit, float(square), float(_power(62 - bits)))

    def require_resolved(self, pixels: np.ndarray) -> None:
        """Raise ValueError if the steps are too long for most of a sample of pixels (n, bands)."""
        if (self.unit == 1).all() and not self.offset.any():  # integers
            return
        low, high = np.quantile(pixels.astype(np.float64), (0.25, 0.75), axis=0)
        coarse = np.flatnonzero((high > low) & ((high - low) * self.unit < 256))
        if coarse.size:
            band = coarse[0]
            raise ValueError(
                f"outliers must not be so large that other pixels vanish beside them, got half of "
                f"band {band} between {low[band]:g} and {high[band]:g}, and values near "
                f"{2 * self.offset[band]:g}: declare them as nodata, or mask them"
            )

    def of_pixels(self, values: np.ndarray) -> np.ndarray:
        """Return pixels (bands, n) as they enter sums, int64."""
        shifted = values.astype(np.float64) - self.offset[:, np.newaxis]
        return np.rint(shifted * self.unit[:, np.newaxis]).astype(np.int64)

    def sum_of_squares(self, squared: np.ndarray) -> int:
        """Return the sum of squared distances in fine steps."""
        coarse = np.rint(squared * self.square)
        fine = np.rint((squared * self.square - coarse) * self.fraction)
        return self.in_fine_steps(coarse.astype(np.int64).sum(), fine.astype(np.int64).sum())

    def in_fine_steps(self, coarse: int, fine: int) -> int:
        """Return a sum of coarse and fine steps in fine ones, exactly."""
        return int(coarse) * int(self.fraction) + int(fine)

    def squares(self, total: int) -> float:
        """Return a sum in fine steps in the square of the units of the data."""
        return total / int(self.fraction) / self.square

    def means(self, sums: np.ndarray, counts: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """Return the mean of each cluster, and for an empty one its row of `centers`."""
        filled = counts > 0
        means = centers.copy()
        means[filled] = self.offset + sums[filled] / counts[filled, np.newaxis] / self.unit
        return means


@dataclass(frozen=True)
class Scores:
    """Float32 scores of centers, and the bound of their error.

    With pixels x and centers c counted from `offset` and multiplied by `gain`, half the squared
    distance is ½|x|² + ½|c|² − x·c, and s = ½|c|² − x·c orders the centers. In float32 it has an
    error of at most e(x) = a + Σ b |x|, where a = γ ½|c|² + 2**-80 and b = γ |c| + δ for each band.
    Each of its B + 1 products and sums, and the rounding of x, c, ½|c|² and a, changes it by at
    most 2**-24 of ½|c|² + Σ |c| |x| (Higham 2002, section 3.1), and the last bits of the mantissa
    may hold the number of the center: γ = 1.1 ((B + 8) 2**-24 + 2**(bits - 23)) leaves room for
    second-order terms. δ covers the rounding of the float64 distances themselves for all
    Σ |x| ≤ `FARTHEST`, and 2**-80 what underflows.

    The true score is at least s − e. If that of the second center exceeds that of the first by more
    than 2 e of the first, the first is the nearest.

    References
    ----------
    Higham, N. J. (2002). Accuracy and Stability of Numerical Algorithms, 2nd edition. SIAM.
    doi:10.1137/1.9780898718027
    """

    centers: np.ndarray
    """(k, bands) float64, in the units of the pixels."""
    offset: np.ndarray
    """(bands,) float64, the median of the centers, exact in the dtype of the pixels: far from an
    outlier, so that its size does not take the digits of all others."""
    gain: float
    """Power of two that brings the farthest center near 1."""
    table: np.ndarray
    """(k, bands + 1) float32: −c, then ½|c|². A center that repeats an earlier one has `NEVER` in
    the last place: the earlier one takes its pixels."""
    slack: np.ndarray
    """(k, bands + 1) float32: b, then a."""

    @classmethod
    def of(cls, centers: np.ndarray, dtype: np.dtype) -> Scores:
        """Return the scores of `centers` for pixels of `dtype`."""
        k, bands = centers.shape
        offset = np.median(centers, axis=0)
        if dtype.kind in "ui":
            limits = np.iinfo(dtype)
            offset = np.clip(np.floor(offset), limits.min, limits.max)
        else:
            offset = offset.astype(dtype).astype(np.float64)
        shifted = centers - offset
        # A float32 pixel is multiplied by the gain in float32, which ends at 2**127. In float64 the
        # squares of distances underflow below 2**-537: times the gain they must stay below 2**-40.
        most = 490 if dtype == np.float64 else 126
        gain = _power(-np.clip(_exponent(np.abs(shifted).max()), -most, most))
        scaled = shifted * gain
        half = (scaled**2).sum(axis=1) / 2
        gamma = 1.1 * ((bands + 8) * 2.0**-24 + 2.0 ** (number_bits(k) - 23))
        delta = (bands + 3) * FARTHEST * 2.0**-53
        slack = np.column_stack([gamma * np.abs(scaled) + delta, gamma * half + 2.0**-80])
        _, first = np.unique(centers, axis=0, return_index=True)
        table = np.zeros((k, bands + 1), np.float32)
        table[:, -1] = NEVER
        table[first] = np.column_stack([-scaled, half])[first]
        return cls(centers, offset, float(gain), table, slack.astype(np.float32))


def number_bits(n_clusters: int) -> int:
    """Return how many bits hold the number of a center, at least one."""
    return max(1, (n_clusters - 1).bit_length())


def nearest_centers(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the nearest center of pixels (bands, n) by the definition of a label, uint8."""
    label = np.zeros(values.shape[1], np.uint8)
    least = np.full(values.shape[1], np.inf)
    for number, center in enumerate(centers):
        squared = np.zeros(values.shape[1])
        for band, at in zip(values, center, strict=True):
            away = band.astype(np.float64) - at
            squared += away * away
        nearer = squared < least
        label[nearer] = number
        least[nearer] = squared[nearer]
    return label


def _exponent(value):
    """Return the least e with value <= 2**e, and 0 for 0."""
    mantissa, exponent = np.frexp(value)
    return np.where(mantissa == 0, 0, exponent - (mantissa == 0.5))


def _power(exponent):
    return np.ldexp(1.0, np.clip(exponent, -1000, 1000))
