"""Blocks of pixels that an engine takes, and what is drawn, measured and hashed of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from cookbook_utils._checks import LARGEST
from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils._conventions.nodata import equals_nodata
from cookbook_utils._hashing import GOLDEN, splitmix64
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores, native_dtype
from cookbook_utils.interimage.numpy_engine import distance_then_place

AT_ONCE = 2**16  # pixels drawn or hashed at a time: temporary arrays stay in the cache


class Scene(NamedTuple):
    """The pixels of one scene, or of a table."""

    values: Any
    """NumPy, CuPy or Dask array (bands, y, x) or (bands, n)."""
    nodata: tuple[float, ...] = ()
    """Values that mark missing pixels, beside NaN."""
    complete: bool = False
    """Whether missing pixels are an error."""


@dataclass(frozen=True)
class Sampling:
    """A choice of pixels by their position alone: the same whatever the chunks and the engine.

    References
    ----------
    Steele, G. L., Lea, D., Flood, C. H. (2014). Fast splittable pseudorandom number generators.
    OOPSLA 2014, 453-472 (the mixing function). doi:10.1145/2660193.2660195
    """

    share: float
    stratified: bool
    seed: int

    def positions(self, scene: int, start: int, stop: int) -> np.ndarray:
        """Return which of the flat positions from `start` to `stop` in a scene are drawn, int64.

        Stratified: a scene is cut into runs of 1 / share pixels, and one is drawn from each.
        """
        first, last = start, stop
        if self.stratified:  # strata are numbered instead of pixels: the work is that of the sample
            first, last = np.floor(start * self.share), np.floor((stop - 1) * self.share) + 1
        numbers = np.arange(first, last)
        drawn = [
            self._drawn(scene, numbers[at : at + AT_ONCE]) for at in range(0, len(numbers), AT_ONCE)
        ]
        position = np.concatenate([np.empty(0, np.int64), *drawn])
        return position[(start <= position) & (position < stop)]

    def _drawn(self, scene: int, number: np.ndarray) -> np.ndarray:
        if not self.stratified:
            return number[self._uniform(scene, number) < self.share]
        begin, end = self._first_of(number), self._first_of(number + 1)
        return (begin + np.floor(self._uniform(scene, number) * (end - begin))).astype(np.int64)

    def _first_of(self, stratum: np.ndarray) -> np.ndarray:
        """Return the least position whose ``floor(position * share)``, rounded, is `stratum`."""
        first = np.ceil(stratum / self.share)
        first += np.floor(first * self.share) < stratum
        first -= np.floor((first - 1) * self.share) >= stratum
        return first

    def _uniform(self, scene: int, number: np.ndarray) -> np.ndarray:
        z = number.astype(np.uint64)
        for key in (self.seed, scene):
            z = splitmix64((z + np.uint64(key + 1)) * GOLDEN)
        return (z >> np.uint64(11)) * 2.0**-53


def array_module(values: Any) -> ModuleType:
    """Return CuPy if `values` is an array of it, and NumPy for all others."""
    cupy = sys.modules.get("cupy")  # who has such an array has imported it
    return np if cupy is None or not isinstance(values, cupy.ndarray) else cupy


def to_host(values: Any) -> np.ndarray:
    """Return a NumPy or CuPy array as a NumPy array."""
    return values if array_module(values) is np else values.get()


def load(
    scene: Scene, dtype: np.dtype, chosen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels as an engine takes them, and their labels: 255 where missing, 0 elsewhere.

    Parameters
    ----------
    scene : Scene
        In memory, of the host or of a GPU. Floats are missing where NaN.
    dtype
        One of `arithmetic.DTYPES`.
    chosen : numpy.ndarray of int, optional
        Flat positions of the pixels to take; by default all.

    Returns
    -------
    values : array (bands, n)
        In `dtype`, each band contiguous: those of `scene` in place if they are like that.
    labels : array of uint8 (n,)
        A pixel is missing where one of its bands is.
    """
    values = scene.values.reshape(len(scene.values), -1)
    xp = array_module(values)
    if chosen is not None:
        values = values[:, xp.asarray(chosen)]
    labels = xp.zeros(values.shape[1], np.uint8)
    unusable = []
    for band in values:
        if scene.nodata:
            labels[equals_nodata(band, scene.nodata)] = NODATA_LABEL
        usable = _usable(band)
        if usable is not None and not usable.all():
            if band.dtype.kind == "f":
                labels[xp.isnan(band)] = NODATA_LABEL
            unusable.append((band, usable))
    for band, usable in unusable:  # when all bands have said which pixels are missing
        beyond = band[~usable & (labels != NODATA_LABEL)]
        if beyond.size and band.dtype.kind == "f":
            raise ValueError(
                "pixels of X must be finite numbers of at most 1e150 in size, NaN or nodata, "
                f"got {float(beyond[0])}"
            )
        if beyond.size:
            raise ValueError(
                "pixels must be integers that float64 holds, at most 2**53 in size, or nodata, "
                f"got {int(beyond[0])}: subtract an offset first"
            )
    if scene.complete and labels.any():
        raise ValueError("X contains NaN or nodata; a table must have all values")
    return xp.ascontiguousarray(values, dtype), labels


def _usable(band: Any) -> Any:
    """Return where float64 holds values and the squares of floats, or None if it does anyway."""
    if band.dtype.kind == "f":
        return (
            abs(band) <= LARGEST if band.dtype.itemsize >= 8 else array_module(band).isfinite(band)
        )
    if band.dtype.itemsize < 8:
        return None
    lowest = 0 if band.dtype.kind == "u" else -(2**53)
    return (band >= lowest) & (band <= 2**53)


def extent(values: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the least and the greatest value of each band, float64, and the number of pixels."""
    xp = array_module(values)
    valid = labels != NODATA_LABEL
    n = int(xp.count_nonzero(valid))
    if n == 0:
        return np.full(len(values), np.inf), np.full(len(values), -np.inf), 0
    ranges = []
    for band in values:
        row = band if n == valid.size else band[valid]
        ranges.append((float(row.min()), float(row.max())))
    low, high = np.array(ranges).T
    return low, high, n


def cluster_sizes(labels: Any) -> np.ndarray:
    """Return how many pixels have each label, up to 255 for those that are missing."""
    xp = array_module(labels)
    counts = np.zeros(NODATA_LABEL + 1, np.int64)
    for start in range(0, labels.size, 2**20):  # bincount wants integers of 8 bytes
        part = labels[start : start + 2**20].astype(np.int64)
        counts += to_host(xp.bincount(part, minlength=counts.size))
    return counts


def digest(values: Any, labels: Any, position: Any) -> int:
    """Return a number that tells pixels from others: any that changes or moves gives another one.

    It is a sum over pixels, mod 2**64. Those of parts add up to that of the whole, whatever the
    parts and their order. By chance, two sets of pixels have the same one with probability 2**-64.

    Parameters
    ----------
    values, labels : array
        As from `load`. Missing pixels count by their place alone, not by what stands there.
    position : array of int (n,)
        Where each pixel is, counted through all scenes.
    """
    xp = array_module(values)
    total = 0
    for start in range(0, labels.size, AT_ONCE):
        block = slice(start, start + AT_ONCE)
        words = [word for band in values[:, block] for word in _words(band)]
        # Factors are odd and words have at most 32 bits. Otherwise two changes could cancel before
        # they are mixed, such as those of the signs of two bands.
        factors = splitmix64(np.arange(1, len(words) + 1, dtype=np.uint64) * GOLDEN) | np.uint64(1)
        hashed = xp.asarray(position[block]).astype(np.uint64) * GOLDEN
        for word, factor in zip(words, factors, strict=True):
            hashed += word.astype(np.uint64) * factor
        total += int((splitmix64(hashed) * (labels[block] != NODATA_LABEL)).sum())
    return total % 2**64


def _words(band: Any) -> list:
    """Return the bits of the values of a band, as integers of at most 32 bits."""
    if band.itemsize <= 4:
        return [band.view(f"u{band.itemsize}")]
    halves = band.view("u4")
    return [halves[::2], halves[1::2]]


class Extent(NamedTuple):
    """The range of the bands over all scenes."""

    low: np.ndarray
    high: np.ndarray
    n_pixels: int


def joint_extent(parts: list[tuple[np.ndarray, np.ndarray, int]]) -> Extent:
    lows, highs, numbers = zip(*parts, strict=True)
    return Extent(np.min(lows, axis=0), np.max(highs, axis=0), int(sum(numbers)))


def add_changes(parts: list[tuple[int, np.ndarray, np.ndarray]]) -> tuple:
    """Return the sum of what ``assign`` returned for several parts."""
    return tuple(sum(numbers) for numbers in zip(*parts, strict=True))


def add_distances(parts: list[tuple[int, float, np.ndarray]]) -> tuple[int, float, np.ndarray]:
    """Return what ``measure`` would have returned for several parts together."""
    totals, *farthest = zip(*parts, strict=True)
    return sum(totals), *max(zip(*farthest, strict=True), key=distance_then_place)


class LocalBlocks:
    """Scenes in memory: each a block, worked on by threads."""

    def __init__(
        self, scenes: list[Scene], engine: ModuleType | None, sampling: Sampling | None = None
    ):
        self._engine, self._first = engine, True
        self._pool: ThreadPoolExecutor | None = None  # its threads end with the last use of it
        self._shapes = [scene.values.shape[1:] for scene in scenes]
        self.dtype = native_dtype(np.result_type(*(scene.values.dtype for scene in scenes)))
        self._blocks = []
        for number, (scene, shape) in enumerate(zip(scenes, self._shapes, strict=True)):
            chosen = None
            if sampling is not None:
                chosen = sampling.positions(number, 0, int(np.prod(shape)))
            self._blocks.append(self._load(scene, chosen))

    def _load(self, scene: Scene, chosen: np.ndarray | None) -> tuple[Any, Any]:
        return load(scene._replace(values=np.asarray(scene.values)), self.dtype, chosen)

    def extent(self) -> Extent:
        """Return the range of all valid pixels and their number."""
        return joint_extent([extent(*block) for block in self._blocks])

    def assign(self, fixed_point: FixedPoint, scores: Scores) -> tuple:
        """Label all pixels; return what that changed, as an engine's ``assign``."""
        first, self._first = self._first, False
        return add_changes(self._parts(self._engine.assign, fixed_point, scores, first))

    def measure(
        self, fixed_point: FixedPoint, centers: np.ndarray
    ) -> tuple[int, float, np.ndarray]:
        """Sum squared distances and find the farthest pixel, as an engine's ``measure``."""
        return add_distances(self._parts(self._engine.measure, fixed_point, centers))

    def digest(self) -> int:
        """Return a number that tells these pixels and their places from others, as `digest`."""
        parts = list(self._cut(-(-self._size() // AT_ONCE)))
        ends = np.cumsum([part.stop - part.start for *_, part in parts])

        def one(part: tuple, end: int) -> int:
            values, labels, at = part
            position = np.arange(end - (at.stop - at.start), end)
            return digest(values[:, at], labels[at], position)

        return sum(self._map(one, parts, ends)) % 2**64

    def counts(self, n_clusters: int) -> np.ndarray:
        """Return the pixels of each cluster in each scene, int64 (scenes, n_clusters)."""
        return np.stack([cluster_sizes(labels) for _, labels in self._blocks])[:, :n_clusters]

    def pixels(self) -> np.ndarray:
        """Return all valid pixels, (n, bands)."""
        return np.concatenate([v[:, k != NODATA_LABEL] for v, k in self._blocks], axis=1).T

    def labels(self) -> list[np.ndarray]:
        """Return the labels of each scene in its shape."""
        return [k.reshape(s) for (_, k), s in zip(self._blocks, self._shapes, strict=True)]

    def predict(self, fixed_point: FixedPoint, scores: Scores) -> list[np.ndarray]:
        """Label all pixels and return the labels of each scene in its shape."""
        self.assign(fixed_point, scores)
        return self.labels()

    def _parts(self, function: Callable, *args: Any) -> list:
        n_threads = self._engine.threads()
        parts = list(self._cut(4 * n_threads if n_threads > 1 else 1))
        return self._map(lambda part: function(*part, *args), parts)

    def _map(self, function: Callable, first: list, *others: Any) -> list:
        n_threads = self._engine.threads()
        if n_threads == 1 or len(first) == 1:
            return list(map(function, first, *others))
        if self._pool is None:  # kept: to start threads in each iteration takes 5 % of its time
            self._pool = ThreadPoolExecutor(n_threads)
        return list(self._pool.map(function, first, *others))

    def _size(self) -> int:
        return sum(labels.size for _, labels in self._blocks)

    def _cut(self, n_parts: int) -> Iterator[tuple[np.ndarray, np.ndarray, slice]]:
        """Yield the blocks in `n_parts` parts of about the same size, or some more."""
        size = max(2**14, -(-self._size() // max(n_parts, 1)))
        for values, labels in self._blocks:
            for start in range(0, max(labels.size, 1), size):
                yield values, labels, slice(start, min(start + size, labels.size))
