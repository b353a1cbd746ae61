"""Pieces: groups of chunks that one task works on, where they lie.

A piece stays with a worker from one pass over the pixels to the next. It keeps the labels of its
pixels together with the centers that they refer to and, if memory allows, the pixels. Whatever it
keeps can be computed again, from the files and the centers. A piece whose worker died is made again
by another one, which labels the pixels by the centers before it goes on.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from cookbook_utils._checks import reasons_of
from cookbook_utils._conventions.labels import label_dtype
from cookbook_utils._gdal import gdal_cache
from cookbook_utils.interimage import cupy_kernels, numba_kernels
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores
from cookbook_utils.interimage.blocks import (
    array_module,
    as_block,
    digest,
    extent,
    is_labeled,
    label_counts,
    load,
    to_host,
)
from cookbook_utils.interimage.chunks import Chunk, Place
from cookbook_utils.interimage.engines import Kernels
from cookbook_utils.interimage.passes import (
    Changes,
    Distances,
    Extent,
    merge_changes,
    merge_distances,
    merge_extents,
)
from cookbook_utils.interimage.sampling import Sampling


class Piece:
    """Chunks that one task works on.

    Parameters
    ----------
    chunks : list of Chunk
        The chunks.
    dtype : numpy.dtype
        The dtype of the pixels for the kernels.
    n_clusters : int
        Number of centers, which determines the dtype of the labels.
    sampling : Sampling, optional
        Which pixels to hold; by default all.
    """

    def __init__(
        self,
        chunks: list[Chunk],
        dtype: np.dtype,
        n_clusters: int,
        sampling: Sampling | None = None,
    ):
        self.chunks = chunks
        # Keys of the nodes that the chunks depend on.
        self.inputs = list(dict.fromkeys(key for chunk in chunks for key in chunk.inputs))
        self._dtype, self._label_dtype = dtype, label_dtype(n_clusters)
        self._sampling = sampling
        self._kept: list | None = None
        # Both change at once: a thread that copies the piece never sees labels of other centers.
        self._centers_and_labels: tuple[np.ndarray | None, list | None] = (None, None)

    def __sizeof__(self) -> int:
        """Return the bytes of the pixels that are kept and of the labels, present or to come."""
        kept = sum(values.nbytes for values in self._kept or ())
        return kept + self._label_dtype.itemsize * sum(chunk.n_pixels for chunk in self.chunks)

    def __str__(self) -> str:
        first = str(self.chunks[0].place)
        return first if len(self.chunks) == 1 else f"{len(self.chunks)} chunks from {first}"

    def keep(self, inputs: list) -> Piece:
        """Read the pixels, keep them from now on, and return the piece."""
        blocks = list(self.blocks(inputs, None))
        self._kept = [values for values, _ in blocks]
        return self

    def blocks(self, inputs: list, scores: Scores | None) -> Iterator[tuple[Any, Any]]:
        """Yield the pixels of each chunk and their labels, which must not be changed.

        Parameters
        ----------
        inputs : list
            Values of `inputs`; not used if the pixels are kept.
        scores : Scores or None
            The centers that the labels refer to; with None, labels are 0 or `nodata_label`.
        """
        values_of = dict(zip(self.inputs, inputs, strict=False))
        labels: list[Any] = []
        for index in range(len(self.chunks)):
            block = self._block(index, values_of, scores)
            labels.append(block[1])
            yield block
        if scores is not None or self._centers_and_labels[1] is None:
            self.remember(scores, labels)

    def labels(self, inputs: list, scores: Scores) -> list:
        """Return the labels of each chunk; the pixels are read only if they are not known."""
        if not self._knows(scores):
            for _ in self.blocks(inputs, scores):
                pass
        return self._centers_and_labels[1]

    def remember(self, scores: Scores | None, labels: list) -> None:
        """Keep the labels of each chunk, and the centers that they refer to."""
        self._centers_and_labels = (None if scores is None else scores.centers), labels

    def _knows(self, scores: Scores | None) -> bool:
        centers, labels = self._centers_and_labels
        if scores is None or centers is None:
            return labels is not None and scores is None and centers is None
        return np.array_equal(centers, scores.centers)

    def _block(self, index: int, values_of: dict, scores: Scores | None) -> tuple[Any, Any]:
        _, known = self._centers_and_labels
        if known is None:
            values, labels = self._load(index, values_of)
        else:
            values, labels = self._reload(index, values_of), known[index]
            if self._knows(scores):
                return values, labels
            labels = labels * ~is_labeled(labels)
        if scores is not None:
            everything, no_sums = slice(0, labels.size), FixedPoint.without_sums(len(values))
            kernels_for(values).assign(values, labels, everything, no_sums, scores, True)
        return values, labels

    def _load(self, index: int, values_of: dict) -> tuple[Any, Any]:
        """Return the pixels of a chunk, and labels that are 0, or `nodata_label` if invalid."""
        chunk = self.chunks[index]
        scene = chunk.scene._replace(values=_read(chunk, values_of))
        return load(scene, self._dtype, self._label_dtype, self._chosen(chunk))

    def _reload(self, index: int, values_of: dict) -> Any:
        """Return the pixels of a chunk once more, without looking for nodata."""
        if self._kept is not None:
            return self._kept[index]
        chunk = self.chunks[index]
        return as_block(_read(chunk, values_of), self._dtype, self._chosen(chunk))

    def _chosen(self, chunk: Chunk) -> np.ndarray | None:
        return None if self._sampling is None else positions_in_chunk(self._sampling, chunk.place)


def _read(chunk: Chunk, values_of: dict) -> Any:
    """Return the pixels of a chunk, or raise an error that says which chunk it is.

    Raises
    ------
    OSError
        If a file cannot be read. Errors of GDAL cannot be sent to another process.
    """
    try:
        with _small_gdal_cache():
            return chunk.read(values_of)
    except OSError as error:
        reasons = "; ".join(reasons_of(error))
    except Exception as error:
        error.add_note(f"{chunk.place} of X could not be computed")
        raise
    # Raised here, so that it does not refer to GDAL's errors.
    raise OSError(f"{chunk.place} of X cannot be read: {reasons}")


def _small_gdal_cache() -> AbstractContextManager:
    """Return a context in which GDAL caches few blocks in a worker."""
    rasterio, config = sys.modules.get("rasterio"), gdal_cache()
    return nullcontext() if rasterio is None or not config else rasterio.Env(**config)


def kernels_for(values: Any) -> Kernels:
    """Return the kernels for pixels in host memory or on a GPU."""
    return numba_kernels if array_module(values) is np else cupy_kernels


def positions_in_chunk(sampling: Sampling, place: Place) -> np.ndarray:
    """Return the flat positions within a chunk of the pixels that are drawn."""
    last = [start + size - 1 for start, size in zip(place.corner, place.shape, strict=True)]
    first, last = (int(np.ravel_multi_index(at, place.scene_shape)) for at in (place.corner, last))
    drawn = sampling.positions(place.scene, first, last + 1)
    at = np.unravel_index(drawn, place.scene_shape)
    within = [axis - start for axis, start in zip(at, place.corner, strict=True)]
    inside = np.logical_and.reduce(
        [(0 <= axis) & (axis < size) for axis, size in zip(within, place.shape, strict=True)]
    )
    return np.ravel_multi_index([axis[inside] for axis in within], place.shape)


def positions(place: Place) -> np.ndarray:
    """Return the position of each pixel of a chunk, counted through all scenes."""
    within = np.indices(place.shape, sparse=True)
    at = [axis + start for axis, start in zip(within, place.corner, strict=True)]
    flat = np.ravel_multi_index(np.broadcast_arrays(*at), place.scene_shape)
    return place.pixels_before + flat.ravel()


# -- what a task does with a piece ----------------------------------------------------------


def with_pixels(piece: Piece, inputs: list) -> Piece:
    """Return a piece that keeps its pixels."""
    return without_pixels(piece, inputs).keep(inputs)


def without_pixels(piece: Piece, inputs: list) -> Piece:
    """Return a copy: a worker holds the arguments of a task longer than its result."""
    return copy.copy(piece)


def call(function: Callable, piece: Piece, inputs: list, args: tuple) -> Any:
    return function(piece, inputs, *args)


def extent_of(piece: Piece, inputs: list) -> Extent:
    return merge_extents([extent(*block) for block in piece.blocks(inputs, None)])


def assign(
    piece: Piece, inputs: list, fixed_point: FixedPoint, before: Scores | None, now: Scores
) -> Changes:
    """Label the pixels by the centers `now`, and return what changes from those of `before`."""
    changes, labels = [], []
    for values, old in piece.blocks(inputs, before):
        new = old.copy()
        everything = slice(0, new.size)
        assign_block = kernels_for(values).assign
        changes.append(assign_block(values, new, everything, fixed_point, now, before is None))
        labels.append(new)
    piece.remember(now, labels)
    return merge_changes(changes)


def distances(
    piece: Piece, inputs: list, fixed_point: FixedPoint, scores: Scores, centers: np.ndarray
) -> Distances:
    """Sum the squared distances to `centers` of the pixels, labeled by `scores`."""
    return merge_distances(
        [
            kernels_for(values).sum_squared_distances(
                values, labels, slice(0, labels.size), fixed_point, centers
            )
            for values, labels in piece.blocks(inputs, scores)
        ]
    )


def digest_of(piece: Piece, inputs: list) -> int:
    blocks = zip(piece.blocks(inputs, None), piece.chunks, strict=True)
    return sum(digest(*block, positions(chunk.place)) for block, chunk in blocks) % 2**64


def sizes_by_scene(
    piece: Piece, inputs: list, scores: Scores, n_clusters: int
) -> dict[int, np.ndarray]:
    """Return the number of pixels of each cluster in each scene of the piece."""
    sizes: dict[int, np.ndarray] = {}
    for labels, chunk in zip(piece.labels(inputs, scores), piece.chunks, strict=True):
        counts = label_counts(labels)[:n_clusters]
        sizes[chunk.place.scene] = sizes.get(chunk.place.scene, 0) + counts
    return sizes


def valid_pixels(piece: Piece, inputs: list, sampling: Sampling | None) -> list[np.ndarray]:
    """Return the valid pixels, or a sample of them, of each chunk in host memory."""
    pixels = []
    for (values, labels), chunk in zip(piece.blocks(inputs, None), piece.chunks, strict=True):
        if sampling is not None:
            drawn = array_module(values).asarray(positions_in_chunk(sampling, chunk.place))
            values, labels = values[:, drawn], labels[drawn]
        pixels.append(to_host(values[:, is_labeled(labels)]))
    return pixels


def label_maps(piece: Piece, inputs: list, scores: Scores) -> list:
    """Return the labels of each chunk in its shape."""
    labels = piece.labels(inputs, scores)
    shapes = [chunk.place.shape for chunk in piece.chunks]
    return [each.reshape(shape) for each, shape in zip(labels, shapes, strict=True)]


def label_chunk(piece: Piece, inputs: list, scores: Scores) -> Any:
    """Return the labels of a piece of one chunk in its shape."""
    return label_maps(piece, inputs, scores)[0]


def join(parts: list[list]) -> list:
    """Return several lists as one."""
    return [each for part in parts for each in part]


def merge_sizes(parts: list[dict[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """Add the sizes of the clusters of several pieces."""
    total: dict[int, np.ndarray] = {}
    for part in parts:
        for scene, sizes in part.items():
            total[scene] = total.get(scene, 0) + sizes
    return total
