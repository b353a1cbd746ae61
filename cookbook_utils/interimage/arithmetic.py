"""Arithmetic that all engines share, so that all of them find the same labels and centers.

A label is the index of the nearest center as float64 computes it: the squared differences of the
bands are added in the order of the bands, and of equally near centers the first one is taken. The
compiled kernels compare float32 scores, whose rounding error is bounded, and compute distances in
float64 only for the few pixels whose two best scores are closer than that bound.

Sums are exact: integers are added as they are, and floats are rounded to fixed point first.
Therefore the order of addition, and the number of threads, chunks or workers, cannot change them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from cookbook_utils._conventions.labels import label_dtype

DTYPES = tuple(np.dtype(t) for t in ("uint8", "uint16", "int16", "float32", "float64"))
"""Dtypes that kernels read without conversion; pixels of other dtypes are converted to one."""

FARTHEST = 1024.0
"""Largest sum of absolute scaled coordinates for which the error bound of scores holds.

The unit is the largest coordinate of a center. Pixels beyond it get their distances in float64."""

NEVER = 1e38
"""Score of an excluded center, larger than any score of a pixel within `FARTHEST`."""


def native_dtype(dtype: np.dtype) -> np.dtype:
    """Return the first of `DTYPES` that holds every value of `dtype`, else float64."""
    if dtype.kind not in "buif":
        raise TypeError(f"pixels must be real numbers, got dtype {dtype}")
    safe = (native for native in DTYPES if np.can_cast(dtype, native, "safe"))
    return next(safe, np.dtype(np.float64))


@dataclass(frozen=True)
class FixedPoint:
    """Conversion of pixels and squared distances to the integers that are summed."""

    offset: np.ndarray
    """(bands,) float64, subtracted from pixels: about the middle of the range of each band; 0 for
    integers."""
    steps_per_unit: np.ndarray
    """(bands,) float64, powers of two: fixed-point steps in one unit of the data; 1 for integers.

    A step is 2**-52 of half the range of the band. For n pixels it is at least 2**-(62 - log2 n) of
    half the range, so that the sum fits in 64 bits: 2**-34 for 200 million pixels."""
    steps_per_squared_unit: float
    """Coarse steps in one unit of squared distance, a power of two."""
    fine_steps_per_coarse: float
    """Fine steps in a coarse step, a power of two.

    A single outlier makes coarse steps large. Fine steps count what they round off."""

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, dtype: np.dtype, n: int) -> FixedPoint:
        """Return the conversion for `n` pixels of `dtype` with bands from `low` to `high`."""
        bits = int(n).bit_length()
        if dtype.kind in "ui":
            offset, steps_per_unit = np.zeros(len(low)), np.ones(len(low))
        else:
            offset = (low / 2 + high / 2).astype(dtype).astype(np.float64)
            half_range = np.maximum(high - offset, offset - low)
            steps_per_unit = _power_of_two(min(52, 62 - bits) - _exponent(half_range))
        largest = ((high - low) ** 2).sum()  # no squared distance of two pixels exceeds it
        steps_per_squared_unit = float(_power_of_two(61 - bits - _exponent(largest)))
        return cls(offset, steps_per_unit, steps_per_squared_unit, float(_power_of_two(62 - bits)))

    @classmethod
    def without_sums(cls, n_bands: int) -> FixedPoint:
        """Return a conversion that makes all sums 0, for passes of which only labels are used."""
        return cls(np.zeros(n_bands), np.zeros(n_bands), 0.0, 0.0)

    @property
    def is_rounded(self) -> bool:
        """Whether pixels are floats, which are rounded, and not integers."""
        return bool((self.steps_per_unit != 1).any() or self.offset.any())

    def require_resolved(self, pixels: np.ndarray) -> None:
        """Raise ValueError if the steps are too large for most of a sample of pixels (n, bands)."""
        if not self.is_rounded:
            return
        low, high = np.quantile(pixels.astype(np.float64), (0.25, 0.75), axis=0)
        too_few_steps = (high > low) & ((high - low) * self.steps_per_unit < 256)
        if too_few_steps.any():
            band = np.flatnonzero(too_few_steps)[0]
            raise ValueError(
                "pixels must be free of outliers so large that the other pixels are equal beside "
                f"them, got half of band {band} between {low[band]:g} and {high[band]:g}, and "
                f"values near {2 * self.offset[band]:g}: declare them as nodata, or mask them"
            )

    def of_pixels(self, values: np.ndarray) -> np.ndarray:
        """Return pixels (bands, n) in fixed point, int64."""
        shifted = values.astype(np.float64) - self.offset[:, np.newaxis]
        return np.rint(shifted * self.steps_per_unit[:, np.newaxis]).astype(np.int64)

    def sum_of_squares(self, squared: np.ndarray) -> int:
        """Return the sum of squared distances in fine steps."""
        steps = squared * self.steps_per_squared_unit
        coarse = np.rint(steps)
        fine = np.rint((steps - coarse) * self.fine_steps_per_coarse)
        return self.in_fine_steps(coarse.astype(np.int64).sum(), fine.astype(np.int64).sum())

    def in_fine_steps(self, coarse: int, fine: int) -> int:
        """Return a sum of coarse and fine steps in fine steps, exactly."""
        return int(coarse) * int(self.fine_steps_per_coarse) + int(fine)

    def squared_units(self, total: int) -> float:
        """Return a sum in fine steps in squared units of the data."""
        return total / int(self.fine_steps_per_coarse) / self.steps_per_squared_unit

    def means(self, sums: np.ndarray, counts: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """Return the mean of each cluster, and for an empty cluster its row of `centers`."""
        filled = counts > 0
        means = centers.copy()
        steps = sums[filled] / counts[filled, np.newaxis]
        means[filled] = self.offset + steps / self.steps_per_unit
        return means


@dataclass(frozen=True)
class Scores:
    """Float32 scores that order the centers by distance, and the bound of their error.

    Let `offset` be subtracted from pixels x and centers c, and let both be multiplied by `scale`.
    Half the squared distance is ½|x|² + ½|c|² − x·c, so the score s = ½|c|² − x·c orders the
    centers. In float32 its error is at most e(x) = a + Σ b |x|, with a = γ ½|c|² + 2**-80 and
    b = γ |c| + δ in each band. Each of the B + 1 products and sums, and the rounding of x, c, ½|c|²
    and a, changes the score by at most 2**-24 of ½|c|² + Σ |c| |x| (Higham 2002, section 3.1), and
    the last bits of the mantissa may hold the index of the center.
    γ = 1.1 ((B + 8) 2**-24 + 2**(bits - 23)) leaves room for second-order terms. δ covers the
    rounding of the float64 distances themselves for all Σ |x| ≤ `FARTHEST`, and 2**-80 covers
    underflow.

    The exact score lies between s − e and s + e. If s − e of the second center exceeds s − e of the
    first by more than 2 e of the first, the first center is the nearest.

    References
    ----------
    Higham, N. J. (2002). Accuracy and Stability of Numerical Algorithms, 2nd edition. SIAM.
    doi:10.1137/1.9780898718027
    """

    centers: np.ndarray
    """(k, bands) float64, in the units of the pixels."""
    offset: np.ndarray
    """(bands,) float64, the upper median of the centers, exact in the dtype of the pixels. An
    outlier does not move it, so that the other centers keep their significant digits."""
    scale: float
    """Power of two that brings the largest coordinate of a center close to 1."""

    @classmethod
    def of(cls, centers: np.ndarray, dtype: np.dtype) -> Scores:
        """Return the scores of `centers` for pixels of `dtype`."""
        k, bands = centers.shape
        offset = np.partition(centers, k // 2, axis=0)[k // 2]  # faster than np.median
        if dtype.kind in "ui":
            limits = np.iinfo(dtype)
            offset = np.clip(np.floor(offset), limits.min, limits.max)
        else:
            offset = offset.astype(dtype).astype(np.float64)
        shifted = centers - offset
        # A float32 pixel is multiplied by the scale in float32, whose largest power of two is
        # 2**127. In float64 the squares of distances below 2**-537 underflow; multiplied by the
        # scale, such distances must be below 2**-40, so that 2**-80 covers their squares.
        most = 490 if dtype == np.float64 else 126
        scale = _power_of_two(-np.clip(_exponent(np.abs(shifted).max()), -most, most))
        # Kernels are compiled for the order of the axes in memory.
        return cls(np.ascontiguousarray(centers), offset, float(scale))

    # Passes with bounds of most pixels need neither of these, and have many small parts.
    @functools.cached_property
    def coefficients(self) -> np.ndarray:
        """(k, bands + 1) float32: −c in each band, then ½|c|². The last one is `NEVER` for a center
        that equals an earlier one, which takes its pixels."""
        k = len(self.centers)
        rows = [row.tobytes() for row in self.centers + 0.0]  # -0 becomes 0
        index_of = dict(zip(rows[::-1], range(k - 1, -1, -1), strict=True))  # the first of equals
        first = list(index_of.values())
        result = np.column_stack([-self.scaled, np.full(k, NEVER)]).astype(np.float32)
        result[first, -1] = self._half_squares[first]
        return result

    @functools.cached_property
    def error_coefficients(self) -> np.ndarray:
        """(k, bands + 1) float32: b in each band, then a."""
        k, bands = self.centers.shape
        gamma = 1.1 * ((bands + 8) * 2.0**-24 + 2.0 ** (center_index_bits(k) - 23))
        delta = (bands + 3) * FARTHEST * 2.0**-53
        b, a = gamma * np.abs(self.scaled) + delta, gamma * self._half_squares + 2.0**-80
        return np.column_stack([b, a]).astype(np.float32)

    @functools.cached_property
    def scaled(self) -> np.ndarray:
        """(k, bands) float64, the centers c of the scores."""
        return (self.centers - self.offset) * self.scale

    @functools.cached_property
    def _half_squares(self) -> np.ndarray:
        return (self.scaled**2).sum(axis=1) / 2  # ½|c|², (k,)


def center_index_bits(n_clusters: int) -> int:
    """Return how many bits hold the index of a center, at least two.

    Kernels may fill centers up to a multiple of four, which takes no more bits.
    """
    return max(2, (n_clusters - 1).bit_length())


def nearest_centers(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the label of each of the pixels (bands, n), by definition in float64."""
    label = np.zeros(values.shape[1], label_dtype(len(centers)))
    least = np.full(values.shape[1], np.inf)
    for index, center in enumerate(centers):
        squared = np.zeros(values.shape[1])  # Σ (x − c)²
        for x, c in zip(values, center, strict=True):
            difference = x.astype(np.float64) - c
            squared += difference * difference
        nearer = squared < least
        label[nearer] = index
        least[nearer] = squared[nearer]
    return label


def _exponent(value):
    """Return the least e with value <= 2**e, and 0 for 0."""
    mantissa, exponent = np.frexp(value)
    return np.where(mantissa == 0, 0, exponent - (mantissa == 0.5))


def _power_of_two(exponent):
    return np.ldexp(1.0, np.clip(exponent, -1000, 1000))
