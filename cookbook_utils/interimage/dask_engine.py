"""The engine for scenes that do not fit in memory, or lie on many workers: Dask.

Each chunk is a block that is labeled where it lies: by the kernels for threads or, if it is a CuPy
array, on the GPU of its worker. Its labels stay there. In each iteration the centers are sent to
the workers, and k × (bands + 1) integers for each chunk come back. Without a `distributed` client,
the threads of this process are the workers. Chunks that are not persisted are read again in each
pass.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.interimage import cupy_kernels, numba_kernels
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores, native_dtype
from cookbook_utils.interimage.blocks import (
    Scene,
    array_module,
    digest,
    extent,
    label_counts,
    load,
    to_host,
)
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

CHUNKS_PER_THREAD = 16  # computed at a time, at most
BYTES_PER_THREAD = 2**26  # of the pixels of chunks that are computed at a time


class _Place(NamedTuple):
    """Where a chunk lies in its scene, without the band dimension."""

    scene: int
    """Index of the scene."""
    pixels_before: int
    """Number of pixels of all scenes before it."""
    corner: tuple[int, ...]
    """Index of the first pixel of the chunk along each dimension."""
    shape: tuple[int, ...]
    """Shape of the chunk."""
    scene_shape: tuple[int, ...]
    """Shape of the scene."""


class DaskEngine:
    """Engine for scenes in chunks; methods are described in `engines.Engine`.

    Parameters
    ----------
    scenes : list of Scene
        The pixels of each scene, Dask arrays; others are cut into chunks.
    sampling : Sampling, optional
        Which pixels to hold; by default all. A sample is persisted.
    """

    def __init__(self, scenes: list[Scene], sampling: Sampling | None = None):
        import dask

        self.dtype = native_dtype(np.result_type(*(scene.values.dtype for scene in scenes)))
        self._pixel_bytes = scenes[0].values.shape[0] * self.dtype.itemsize
        self._chunk_indices: list[np.ndarray] = []  # for each scene, in the grid of its chunks
        self._metas: list[Any] = []  # for each scene, an empty array of the kind of its labels
        self._places: list[_Place] = []  # of each chunk
        self._blocks: list[Any] = []  # of each chunk, delayed (values, labels)
        self._labels: list[Any] = []  # of each chunk, once they are assigned
        pixels_before = 0
        for index, scene in enumerate(scenes):
            self._add_scene(index, scene, sampling, pixels_before)
            pixels_before += int(np.prod(scene.values.shape[1:]))
        if sampling is not None:
            self._blocks = [
                block for some in self._steps() for block in dask.persist(*self._blocks[some])
            ]

    def _add_scene(
        self, index: int, scene: Scene, sampling: Sampling | None, pixels_before: int
    ) -> None:
        import dask
        import dask.array as da

        read, values = dask.delayed(_read), scene.values
        if not isinstance(values, da.Array):
            values = da.from_array(values, chunks=(-1, *["auto"] * (values.ndim - 1)))
        values = values.rechunk({0: -1})
        chunks = values.to_delayed()[0]
        self._chunk_indices.append(np.arange(chunks.size).reshape(chunks.shape) + len(self._blocks))
        self._metas.append(values._meta.astype(np.uint8))
        sizes = values.chunks[1:]
        starts = [np.cumsum((0, *along[:-1])).tolist() for along in sizes]
        for at in np.ndindex(chunks.shape):
            corner = tuple(along[i] for along, i in zip(starts, at, strict=True))
            shape = tuple(along[i] for along, i in zip(sizes, at, strict=True))
            place = _Place(index, pixels_before, corner, shape, values.shape[1:])
            without_values = scene._replace(values=None)
            self._blocks.append(read(chunks[at], without_values, self.dtype, sampling, place))
            self._places.append(place)

    def _steps(self) -> Iterator[slice]:
        """Yield slices of the chunks to compute at a time.

        Dask reads many chunks before it computes any, and old and new labels are both in memory.
        """
        largest = max(int(np.prod(place.shape)) for place in self._places) * self._pixel_bytes
        per_thread = min(max(BYTES_PER_THREAD // largest, 2), CHUNKS_PER_THREAD)
        size = int(per_thread) * _n_threads()
        for start in range(0, len(self._places), size):
            yield slice(start, start + size)

    def extent(self) -> Extent:
        return merge_extents(self._gather(_extent, self._blocks))

    def assign(self, fixed_point: FixedPoint, scores: Scores) -> Changes:
        import dask

        assign = dask.delayed(_assign, nout=2, pure=False)
        merge = dask.delayed(merge_changes)
        self._labels = self._labels or [None] * len(self._blocks)
        totals = []
        for some in self._steps():  # frees old labels after each
            pairs = zip(self._blocks[some], self._labels[some], strict=True)
            labels, changes = zip(
                *(assign(*pair, fixed_point, scores) for pair in pairs), strict=True
            )
            total, *self._labels[some] = dask.persist(merge(list(changes)), *labels)
            totals.append(total)
        return merge(totals).compute()

    def sum_squared_distances(self, fixed_point: FixedPoint, centers: np.ndarray) -> Distances:
        return merge_distances(
            self._gather(_distances, self._blocks, self._labels, fixed_point, centers)
        )

    def digest(self) -> int:
        return sum(self._gather(_digest, self._blocks, self._places)) % 2**64

    def cluster_sizes(self, n_clusters: int) -> np.ndarray:
        counts = np.stack(self._gather(label_counts, self._labels))[:, :n_clusters]
        return np.stack([counts[indices.ravel()].sum(axis=0) for indices in self._chunk_indices])

    def valid_pixels(self) -> np.ndarray:
        return np.concatenate(self._gather(_valid_pixels, self._blocks), axis=1).T

    def labels(self) -> list:
        """Return the labels of each scene as a Dask array with its shape and chunks."""
        return self._assemble(self._labels)

    def predict(self, fixed_point: FixedPoint, scores: Scores) -> list:
        import dask

        label = dask.delayed(_label)
        return self._assemble([label(block, fixed_point, scores) for block in self._blocks])

    def _gather(self, function, first: list, second: list | None = None, *args: Any) -> list:
        """Call ``function(first, second, *args)`` for each chunk on its worker."""
        import dask

        function = dask.delayed(function)
        tasks = [
            function(*pair, *args)
            for pair in (zip(first, second, strict=True) if second else ((one,) for one in first))
        ]
        return [result for some in self._steps() for result in dask.compute(*tasks[some])]

    def _assemble(self, labels: list) -> list:
        """Return the labels of all chunks as one Dask array for each scene."""
        import dask
        import dask.array as da

        reshape = dask.delayed(_reshape)
        maps = []
        for indices, meta in zip(self._chunk_indices, self._metas, strict=True):
            chunks = np.empty(indices.shape, object)
            for at in np.ndindex(indices.shape):
                shape = self._places[indices[at]].shape
                chunk = reshape(labels[indices[at]], shape)
                chunks[at] = da.from_delayed(chunk, shape, np.uint8, meta)
            maps.append(da.block(chunks.tolist()))
        return maps


def _n_threads() -> int:
    """Return the number of threads that compute chunks: those of the workers if there are some."""
    import dask.system

    distributed = sys.modules.get("distributed")  # without this import there is no client
    if distributed is not None:
        try:
            return max(1, sum(distributed.default_client().nthreads().values()))
        except (ValueError, AttributeError):  # no client, or one whose methods are coroutines
            pass
    return dask.system.CPU_COUNT


# -- what a worker does with a chunk --------------------------------------------------------


def _read(
    values: np.ndarray, scene: Scene, dtype: np.dtype, sampling: Sampling | None, place: _Place
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and labels of a chunk, or of its sample if there is a `sampling`."""
    chosen = None if sampling is None else _positions_in_chunk(sampling, place)
    return load(scene._replace(values=values), dtype, chosen)


def _positions_in_chunk(sampling: Sampling, place: _Place) -> np.ndarray:
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


def _positions(place: _Place) -> np.ndarray:
    """Return the position of each pixel of a chunk, counted through all scenes."""
    within = np.indices(place.shape, sparse=True)
    at = [axis + start for axis, start in zip(within, place.corner, strict=True)]
    flat = np.ravel_multi_index(np.broadcast_arrays(*at), place.scene_shape)
    return place.pixels_before + flat.ravel()


def _kernels(values) -> Kernels:
    return numba_kernels if array_module(values) is np else cupy_kernels


def _assign(block, labels, fixed_point, scores) -> tuple[np.ndarray, Changes]:
    values, unassigned = block
    first = labels is None
    labels = unassigned.copy() if first else labels.copy()  # results of Dask must never change
    part = slice(0, labels.size)
    changes = _kernels(values).assign(values, labels, part, fixed_point, scores, first)
    return labels, changes


def _label(block, fixed_point, scores) -> np.ndarray:
    return _assign(block, None, fixed_point, scores)[0]


def _distances(block, labels, fixed_point, centers) -> Distances:
    values, part = block[0], slice(0, labels.size)
    return _kernels(values).sum_squared_distances(values, labels, part, fixed_point, centers)


def _extent(block) -> Extent:
    return extent(*block)


def _digest(block, place: _Place) -> int:
    return digest(*block, _positions(place))


def _valid_pixels(block) -> np.ndarray:
    values, labels = block
    return to_host(values[:, labels != NODATA_LABEL])


def _reshape(labels, shape):
    return labels.reshape(shape)  # the method, because it works for CuPy arrays, too
