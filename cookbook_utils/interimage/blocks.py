"""Blocks of pixels (bands, n) with a label for each pixel, and functions that work on one block."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from cookbook_utils._checks import LARGEST
from cookbook_utils._conventions.labels import nodata_label
from cookbook_utils._conventions.nodata import equals_nodata
from cookbook_utils._hashing import GOLDEN, splitmix64
from cookbook_utils.interimage.passes import Extent

PIXELS_PER_HASH = 2**16  # pixels hashed at a time, so that temporary arrays stay in the cache
LABELS_PER_COUNT = 2**20  # labels counted at a time, because `bincount` converts them to int64


class Scene(NamedTuple):
    """The pixels of one scene, or of a table, as an engine receives them."""

    values: Any
    """NumPy, CuPy or Dask array (bands, y, x) or (bands, n)."""
    nodata: tuple[float, ...] = ()
    """Nodata values; NaN is nodata in any case."""
    complete: bool = False
    """Whether nodata is an error, as in a table."""
    name: str = "X"
    """What errors call it."""


def array_module(values: Any) -> ModuleType:
    """Return CuPy if `values` is a CuPy array, otherwise NumPy."""
    cupy = sys.modules.get("cupy")  # without this import there are no CuPy arrays
    return np if cupy is None or not isinstance(values, cupy.ndarray) else cupy


def to_host(values: Any) -> np.ndarray:
    """Return a NumPy or CuPy array as a NumPy array."""
    return values if array_module(values) is np else values.get()


def load(
    scene: Scene, dtype: np.dtype, label_dtype: np.dtype, chosen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of a scene as a block, with labels 0, or `nodata_label` if invalid.

    Parameters
    ----------
    scene : Scene
        Pixels in memory of the host or of a GPU. NaN is nodata.
    dtype : numpy.dtype
        One of `arithmetic.DTYPES`.
    label_dtype : numpy.dtype
        Dtype of the labels, uint8 or uint16.
    chosen : numpy.ndarray of int, optional
        Flat positions of the pixels to take; by default all.

    Returns
    -------
    values : array (bands, n)
        In `dtype`, with contiguous bands; the array of `scene` itself if it has both.
    labels : array of uint8 or uint16 (n,)
        A pixel is invalid where one of its bands is nodata.

    Raises
    ------
    ValueError
        If a valid pixel is infinite or too large, or if the scene must be complete and is not.
    """
    values = _chosen_pixels(scene.values, chosen)
    xp = array_module(values)
    labels, nodata = xp.zeros(values.shape[1], label_dtype), nodata_label(label_dtype)
    suspects = []
    for band in values:
        if scene.nodata:
            labels[equals_nodata(band, scene.nodata)] = nodata
        usable = _usable(band)
        if usable is not None and not usable.all():
            if band.dtype.kind == "f":
                labels[xp.isnan(band)] = nodata
            suspects.append((band, usable))
    for band, usable in suspects:  # a second loop, because any band may make a pixel invalid
        _require_usable(band[~usable & (labels != nodata)], scene.name)
    if scene.complete and labels.any():
        raise ValueError("X must be a table without NaN and nodata, got a sample with one of them")
    return xp.ascontiguousarray(values, dtype), labels


def as_block(values: Any, dtype: np.dtype, chosen: np.ndarray | None = None) -> Any:
    """Return pixels (bands, ...) as `load` does, without looking for nodata."""
    values = _chosen_pixels(values, chosen)
    return array_module(values).ascontiguousarray(values, dtype)


def _chosen_pixels(values: Any, chosen: np.ndarray | None) -> Any:
    values = values.reshape(len(values), -1)
    return values if chosen is None else values[:, array_module(values).asarray(chosen)]


def _usable(band: Any) -> Any:
    """Return where values can be clustered, or None if all can.

    These are floats whose squares do not overflow, and integers that float64 represents exactly.
    """
    if band.dtype.kind == "f":
        return (
            abs(band) <= LARGEST if band.dtype.itemsize >= 8 else array_module(band).isfinite(band)
        )
    if band.dtype.itemsize < 8:
        return None
    lowest = 0 if band.dtype.kind == "u" else -(2**53)
    return (band >= lowest) & (band <= 2**53)


def _require_usable(unusable: Any, name: str) -> None:
    """Raise ValueError if there are values of valid pixels of a scene that are not usable."""
    if unusable.size and unusable.dtype.kind == "f":
        raise ValueError(
            f"pixels of {name} must be finite numbers of at most 1e150 in size, NaN or nodata, "
            f"got {float(unusable[0])}"
        )
    if unusable.size:
        raise ValueError(
            f"pixels of {name} must be integers that float64 holds, at most 2**53 in size, or "
            f"nodata, got {int(unusable[0])}: subtract an offset first"
        )


def extent(values: Any, labels: Any) -> Extent:
    """Return the range of each band over the valid pixels, and their number."""
    xp = array_module(values)
    valid = is_labeled(labels)
    n = int(xp.count_nonzero(valid))
    if n == 0:
        return Extent(np.zeros(len(values)), np.zeros(len(values)), 0)
    ranges = []
    for band in values:
        row = band if n == valid.size else band[valid]
        ranges.append((float(row.min()), float(row.max())))
    low, high = np.array(ranges).T
    return Extent(low, high, n)


def is_labeled(labels: Any) -> Any:
    """Return where labels are not nodata."""
    return labels != nodata_label(labels.dtype)


def label_counts(labels: Any) -> np.ndarray:
    """Return the number of pixels with each label that the dtype holds, nodata last, int64."""
    xp = array_module(labels)
    counts = np.zeros(nodata_label(labels.dtype) + 1, np.int64)
    for start in range(0, labels.size, LABELS_PER_COUNT):
        part = labels[start : start + LABELS_PER_COUNT].astype(np.int64)
        counts += to_host(xp.bincount(part, minlength=counts.size))
    return counts


def digest(values: Any, labels: Any, position: Any) -> int:
    """Return a hash of pixels that changes if a valid pixel changes or moves.

    It is a sum over pixels, modulo 2**64, so that the hashes of parts add up to that of the whole
    in any order. Two sets of pixels have the same hash with probability 2**-64.

    Parameters
    ----------
    values, labels : array
        As from `load`. The values of invalid pixels do not count.
    position : array of int (n,)
        Position of each pixel, counted through all scenes.

    Returns
    -------
    int
        From 0 to 2**64 - 1.
    """
    xp = array_module(values)
    total = 0
    for start in range(0, labels.size, PIXELS_PER_HASH):
        block = slice(start, start + PIXELS_PER_HASH)
        words = [word for band in values[:, block] for word in _words(band)]
        # Factors are odd, and words have at most 32 bits. Otherwise two changes, such as those of
        # the signs of two bands, could cancel before they are mixed.
        factors = splitmix64(np.arange(1, len(words) + 1, dtype=np.uint64) * GOLDEN) | np.uint64(1)
        hashed = xp.asarray(position[block]).astype(np.uint64) * GOLDEN
        for word, factor in zip(words, factors, strict=True):
            hashed += word.astype(np.uint64) * factor
        total += int((splitmix64(hashed) * is_labeled(labels[block])).sum())
    return total % 2**64


def _words(band: Any) -> list:
    """Return the bits of the values of a band as unsigned integers of at most 32 bits."""
    if band.itemsize <= 4:
        return [band.view(f"u{band.itemsize}")]
    halves = band.view("u4")
    return [halves[::2], halves[1::2]]
