"""The engine for scenes that do not fit in memory or lie on many workers: Dask.

Every chunk is labeled where it lies, by the engine for threads or, if it is a CuPy array, on the
GPU of its worker, and its labels stay there. Per iteration the centers travel to the workers and
k × (bands + 1) integers for each chunk come back. Without a client the threads of this process are
the workers. Chunks that are not persisted are read again in each iteration.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.interimage import cupy_engine, numba_engine
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores, native_dtype
from cookbook_utils.interimage.blocks import (
    Extent,
    Sampling,
    Scene,
    add_changes,
    add_distances,
    array_module,
    cluster_sizes,
    digest,
    extent,
    joint_extent,
    load,
    to_host,
)

PER_THREAD = 16  # chunks whose labels, before and after, are held at a time


class DaskBlocks:
    """Scenes in chunks: each a block, wherever it is. The methods are those of `LocalBlocks`."""

    def __init__(self, scenes: list[Scene], sampling: Sampling | None = None):
        import dask
        import dask.array as da

        self.dtype = native_dtype(np.result_type(*(scene.values.dtype for scene in scenes)))
        self._grids: list[np.ndarray] = []  # for each scene, the numbers of its chunks
        self._metas: list[Any] = []  # for each, an empty array of the kind that its labels are
        self._shapes: list[tuple[int, ...]] = []  # of each chunk
        self._places: list[tuple] = []  # of each: pixels before its scene, corner, scene's shape
        self._blocks, self._labels = [], None
        read, before = dask.delayed(_read), 0
        for number, scene in enumerate(scenes):
            values = scene.values
            if not isinstance(values, da.Array):
                values = da.from_array(values, chunks=(-1, *["auto"] * (values.ndim - 1)))
            values = values.rechunk({0: -1})
            raw = values.to_delayed()[0]
            grid = np.arange(raw.size).reshape(raw.shape) + len(self._blocks)
            self._grids.append(grid)
            self._metas.append(values._meta.astype(np.uint8))
            corners = [np.cumsum((0, *sizes[:-1])) for sizes in values.chunks[1:]]
            for at in np.ndindex(raw.shape):
                corner = [int(starts[i]) for starts, i in zip(corners, at, strict=True)]
                place = (number, corner, values.shape[1:])
                self._blocks.append(
                    read(raw[at], scene._replace(values=None), self.dtype, sampling, place)
                )
                sizes = zip(values.chunks[1:], at, strict=True)
                self._shapes.append(tuple(chunks[i] for chunks, i in sizes))
                self._places.append((before, corner, values.shape[1:]))
            before += int(np.prod(values.shape[1:]))
        if sampling is not None:
            self._blocks = list(dask.persist(*self._blocks))

    def extent(self) -> Extent:
        return joint_extent(self._gather(_extent, self._blocks))

    def assign(self, fixed_point: FixedPoint, scores: Scores) -> tuple:
        import dask
        import dask.system

        assign = dask.delayed(_assign, nout=2, pure=False)
        add = dask.delayed(add_changes)
        size = PER_THREAD * dask.system.CPU_COUNT
        self._labels = self._labels or [None] * len(self._blocks)
        totals = []
        for start in range(0, len(self._blocks), size):  # labels before go when those after come
            some = slice(start, start + size)
            pairs = zip(self._blocks[some], self._labels[some], strict=True)
            labels, changes = zip(
                *(assign(*pair, fixed_point, scores) for pair in pairs), strict=True
            )
            total, *self._labels[some] = dask.persist(add(list(changes)), *labels)
            totals.append(total)
        return add(totals).compute()

    def measure(
        self, fixed_point: FixedPoint, centers: np.ndarray
    ) -> tuple[int, float, np.ndarray]:
        return add_distances(
            self._gather(_measure, self._blocks, self._labels, fixed_point, centers)
        )

    def digest(self) -> int:
        places = list(zip(self._shapes, self._places, strict=True))
        return sum(self._gather(_digest, self._blocks, places)) % 2**64

    def counts(self, n_clusters: int) -> np.ndarray:
        counts = np.stack(self._gather(cluster_sizes, self._labels))[:, :n_clusters]
        return np.stack([counts[grid.ravel()].sum(axis=0) for grid in self._grids])

    def pixels(self) -> np.ndarray:
        return np.concatenate(self._gather(_pixels, self._blocks), axis=1).T

    def labels(self) -> list:
        """Return the labels of each scene as a Dask array in its shape and chunks."""
        return self._maps(self._labels)

    def predict(self, fixed_point: FixedPoint, scores: Scores) -> list:
        """Return labels that are computed when they are asked for."""
        import dask

        label = dask.delayed(_label)
        return self._maps([label(block, fixed_point, scores) for block in self._blocks])

    def _gather(self, function, first: list, second: list | None = None, *args: Any) -> list:
        import dask

        function = dask.delayed(function)
        pairs = zip(first, second, strict=True) if second else ((block,) for block in first)
        return list(dask.compute(*(function(*pair, *args) for pair in pairs)))

    def _maps(self, labels: list) -> list:
        import dask
        import dask.array as da

        reshape = dask.delayed(_reshape)
        maps = []
        for grid, meta in zip(self._grids, self._metas, strict=True):
            chunks = np.empty(grid.shape, object)
            for at in np.ndindex(grid.shape):
                shape = self._shapes[grid[at]]
                chunk = reshape(labels[grid[at]], shape)
                chunks[at] = da.from_delayed(chunk, shape, np.uint8, meta)
            maps.append(da.block(chunks.tolist()))
        return maps


# -- what a worker does with a chunk ----------------------------------------------------------


def _read(
    values: np.ndarray, scene: Scene, dtype: np.dtype, sampling: Sampling | None, place: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and labels of a chunk, only those drawn if there is a `sampling`."""
    chosen = None
    if sampling is not None:
        number, corner, shape = place
        chosen = _drawn_in_chunk(sampling, number, values.shape[1:], corner, shape)
    return load(scene._replace(values=values), dtype, chosen)


def _position(sizes: tuple[int, ...], corner: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """Return the flat positions, in a scene of `shape`, of a chunk of `sizes` that lies in it."""
    within = np.indices(sizes, sparse=True)
    at = [axis + start for axis, start in zip(within, corner, strict=True)]
    return np.ravel_multi_index(np.broadcast_arrays(*at), shape)


def _drawn_in_chunk(
    sampling: Sampling, scene: int, sizes: tuple[int, ...], corner: list[int], shape: tuple
) -> np.ndarray:
    """Return the flat positions within a chunk of the pixels that are drawn."""
    last = [start + size - 1 for start, size in zip(corner, sizes, strict=True)]
    first, last = (int(np.ravel_multi_index(at, shape)) for at in (corner, last))
    at = np.unravel_index(sampling.positions(scene, first, last + 1), shape)
    within = [axis - start for axis, start in zip(at, corner, strict=True)]
    inside = [(0 <= axis) & (axis < size) for axis, size in zip(within, sizes, strict=True)]
    inside = np.logical_and.reduce(inside)
    return np.ravel_multi_index([axis[inside] for axis in within], sizes)


def _engine(values) -> ModuleType:
    return numba_engine if array_module(values) is np else cupy_engine


def _assign(block, labels, fixed_point, scores) -> tuple[np.ndarray, tuple]:
    values, fresh = block
    first = labels is None
    labels = fresh.copy() if first else labels.copy()  # what Dask holds must never change
    part = slice(0, labels.size)
    change = _engine(values).assign(values, labels, part, fixed_point, scores, first)
    return labels, change


def _label(block, fixed_point, scores) -> np.ndarray:
    return _assign(block, None, fixed_point, scores)[0]


def _measure(block, labels, fixed_point, centers) -> tuple[int, float, np.ndarray]:
    values, part = block[0], slice(0, labels.size)
    return _engine(values).measure(values, labels, part, fixed_point, centers)


def _extent(block) -> tuple[np.ndarray, np.ndarray, int]:
    return extent(*block)


def _digest(block, place: tuple) -> int:
    sizes, (before, corner, shape) = place
    return digest(*block, before + _position(sizes, corner, shape).ravel())


def _pixels(block) -> np.ndarray:
    values, labels = block
    return to_host(values[:, labels != NODATA_LABEL])


def _reshape(labels, shape):
    return labels.reshape(shape)
