"""The engine for scenes that do not fit in memory, or lie on many workers: Dask.

Each pass has one task for each piece of the scenes, a chunk or several small ones. The task reads
the chunks, unless their pixels are kept, and labels them by the kernels for threads or, if they are
CuPy arrays, on the GPU of the worker. In each iteration the centers are sent to the workers, and
k × (bands + 1) integers for each piece are added on their way back. Nothing that a pass computes
refers to an earlier pass: the number of tasks that the scheduler knows does not grow, and a piece
whose worker died is made again by one task. Without a `distributed` client, the threads of this
process are the workers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any
from uuid import uuid4

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL, label_dtype
from cookbook_utils.interimage import pieces
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores, native_dtype
from cookbook_utils.interimage.blocks import Scene
from cookbook_utils.interimage.chunks import Chunk, Chunks, read_chunks
from cookbook_utils.interimage.passes import (
    Changes,
    Distances,
    Extent,
    merge_changes,
    merge_distances,
    merge_extents,
)
from cookbook_utils.interimage.pieces import Piece
from cookbook_utils.interimage.sampling import Sampling
from cookbook_utils.interimage.workers import Tasks, Workers

BYTES_PER_PIECE = 2**26  # of pixels; smaller chunks share a task, which costs about a millisecond
PIECES_PER_THREAD = 4  # at least, so that a thread that ends early takes over from others
BYTES_WORTH_SENDING = 2**22  # of a persisted chunk: smaller ones are sent to one worker once
RESULTS_PER_MERGE = 16


class DaskEngine:
    """Engine for scenes in chunks; methods are described in `engines.Engine`.

    Parameters
    ----------
    scenes : list of Scene
        The pixels of each scene, Dask arrays; others are cut into chunks.
    sampling : Sampling, optional
        Which pixels to hold; by default all.
    persist : {"auto", True, False}
        Whether the pixels stay in the memory of the workers; a sample always does.
    n_clusters : int, default 255
        Number of centers, which determines the dtype of the labels.
    """

    def __init__(
        self,
        scenes: list[Scene],
        sampling: Sampling | None = None,
        persist: bool | str = "auto",
        n_clusters: int = NODATA_LABEL,
    ):
        self.dtype = native_dtype(np.result_type(*(scene.values.dtype for scene in scenes)))
        self._n_clusters = n_clusters
        self._scenes, self._sampling, self._persist = scenes, sampling, persist
        self._in_memory = all(not hasattr(scene.values, "dask") for scene in scenes)
        bands = scenes[0].values.shape[0]
        widest = max(self.dtype.itemsize, *(scene.values.dtype.itemsize for scene in scenes))
        self._bytes_per_pixel = bands * widest
        self._scores: Scores | None = None  # the centers that the labels refer to

    # -- pieces --------------------------------------------------------------------------------

    @cached_property
    def _chunks(self) -> Chunks:
        return read_chunks(self._scenes)

    @cached_property
    def _workers(self) -> Workers:
        return Workers()

    @cached_property
    def _pieces(self) -> list[Piece]:
        """The pieces, without pixels and labels: those that workers keep are `_persisted`."""
        self._workers.require_memory(self._chunks.chunks, self._bytes_per_pixel)
        return [
            Piece(
                [self._chunks.chunks[index] for index in group],
                self.dtype,
                self._n_clusters,
                self._sampling,
            )
            for group in self._groups
        ]

    @cached_property
    def _groups(self) -> list[list[int]]:
        """Indices of chunks that share a task; those that workers hold share it where they lie."""
        chunks = self._chunks.chunks
        total = sum(chunk.n_pixels for chunk in chunks) * self._bytes_per_pixel
        most = min(BYTES_PER_PIECE, total / (PIECES_PER_THREAD * self._workers.n_threads))
        holders = self._workers.holders(self._chunks.shared)
        groups: list[list[int]] = []
        last: dict[str | int, tuple[list[int], float]] = {}  # of each worker, and its room
        for index, chunk in enumerate(chunks):
            size = chunk.n_pixels * self._bytes_per_pixel
            place = holders.get(chunk.inputs[0], index) if self._is_in_place(chunk) else ""
            group, room = last.get(place, ([], 0.0))
            if not group or size > room:
                group, room = [], most
                groups.append(group)
            group.append(index)
            last[place] = group, room - size
        return groups

    @cached_property
    def _persisted(self) -> Tasks:
        """The pieces as the workers keep them."""
        from dask._task_spec import List, Task, TaskRef

        name = _unique("piece")
        graph = dict(self._chunks.shared)
        for index, piece in enumerate(self._pieces):
            key = (name, index)
            is_kept = self._is_kept(piece)
            make = pieces.with_pixels if is_kept else pieces.without_pixels
            # Pixels that stay in place are inputs, too, so that the piece is made beside them.
            is_beside = is_kept or all(map(self._is_in_place, piece.chunks))
            refs = List(*map(TaskRef, piece.inputs if is_beside else []))
            graph[key] = Task(key, make, piece, refs)
        return self._workers.persist(Tasks(graph, [(name, i) for i in range(len(self._pieces))]))

    def _is_kept(self, piece: Piece) -> bool:
        """Return whether a piece keeps its pixels."""
        if self._sampling is not None or self._in_memory:
            return True
        return self._pixels_stay and not all(map(self._is_in_place, piece.chunks))

    def _is_in_place(self, chunk: Chunk) -> bool:
        """Return whether a chunk is used where a worker holds it."""
        return chunk.persisted and chunk.n_pixels * self._bytes_per_pixel >= BYTES_WORTH_SENDING

    @cached_property
    def _pixels_stay(self) -> bool:
        if self._persist != "auto":
            return bool(self._persist)
        sizes = [sum(chunk.n_pixels for chunk in piece.chunks) for piece in self._pieces]
        n_bytes = sum(sizes) * (self._bytes_per_pixel + label_dtype(self._n_clusters).itemsize)
        return self._workers.have_room_for(n_bytes, max(sizes) * self._bytes_per_pixel)

    # -- passes --------------------------------------------------------------------------------

    def extent(self) -> Extent:
        return self._over_pieces(pieces.extent_of, merge_extents)

    def assign(self, fixed_point: FixedPoint, scores: Scores) -> Changes:
        before, self._scores = self._scores, scores
        return self._over_pieces(pieces.assign, merge_changes, fixed_point, before, scores)

    def label(self, scores: Scores) -> None:
        self._scores = scores

    def sum_squared_distances(self, fixed_point: FixedPoint, centers: np.ndarray) -> Distances:
        return self._over_pieces(
            pieces.distances, merge_distances, fixed_point, self._scores, centers
        )

    def digest(self) -> int:
        return self._over_pieces(pieces.digest_of, sum) % 2**64

    def cluster_sizes(self, n_clusters: int) -> np.ndarray:
        sizes = self._over_pieces(
            pieces.sizes_by_scene, pieces.merge_sizes, self._scores, n_clusters
        )
        return np.stack([sizes[scene] for scene in range(len(self._scenes))])

    def valid_pixels(self, sampling: Sampling | None = None) -> np.ndarray:
        parts = self._over_pieces(pieces.valid_pixels, pieces.join, sampling)
        place_of = np.argsort(np.concatenate(self._groups))  # of each chunk, among the parts
        return np.concatenate([parts[place] for place in place_of], axis=1).T

    def labels(self) -> list:
        """Return the labels of each scene as a Dask array with its shape and chunks."""
        from dask._task_spec import Task, TaskRef

        name, graph, keys = self._piece_tasks(pieces.label_maps, self._scores)
        wanted = [key for keys in self._label_keys(name) for key in keys]
        for key, group in zip(keys, self._groups, strict=True):
            for at, index in enumerate(group):
                chunk_key = wanted[index]
                graph[chunk_key] = Task(chunk_key, operator.getitem, TaskRef(key), at)
        return self._as_arrays(name, self._workers.persist(Tasks(graph, wanted)).graph, {})

    def predict(self, scores: Scores) -> list:
        from dask._task_spec import DataNode, List, Task, TaskRef

        name, graph = _unique("label"), {}
        wanted = [key for keys in self._label_keys(name) for key in keys]
        for key, chunk in zip(wanted, self._chunks.chunks, strict=True):
            piece = Piece([chunk], self.dtype, self._n_clusters)
            inputs = List(*map(TaskRef, piece.inputs))
            graph[key] = Task(key, pieces.label_chunk, piece, inputs, TaskRef(name))
        return self._as_arrays(name, graph, {**self._chunks.shared, name: DataNode(name, scores)})

    def close(self) -> None:
        if "_persisted" in vars(self):
            self._workers.release(self._persisted)

    def _over_pieces(self, function: Callable, merge: Callable, *args: Any) -> Any:
        """Call ``function(piece, inputs, *args)`` for each piece, and merge the results."""
        from dask._task_spec import List, Task, TaskRef

        name, graph, keys = self._piece_tasks(function, *args)
        level = 0
        while level == 0 or len(keys) > 1:
            level += 1
            groups = [
                keys[start : start + RESULTS_PER_MERGE]
                for start in range(0, len(keys), RESULTS_PER_MERGE)
            ]
            keys = [(f"{name}-merge-{level}", index) for index in range(len(groups))]
            for key, group in zip(keys, groups, strict=True):
                graph[key] = Task(key, merge, List(*map(TaskRef, group)))
        return self._workers.compute(graph, keys[0], lambda key: self._place_of(key, name))

    def _piece_tasks(self, function: Callable, *args: Any) -> tuple[str, dict, list]:
        """Return a name, a graph and the keys of ``function(piece, inputs, *args)`` in it."""
        from dask._task_spec import DataNode, List, Task, TaskRef

        name = _unique(function.__name__)
        graph = {**self._chunks.shared, **self._persisted.graph, name: DataNode(name, args)}
        keys = [(name, index) for index in range(len(self._pieces))]
        for key, piece, persisted in zip(keys, self._pieces, self._persisted.keys, strict=True):
            inputs = List(*map(TaskRef, [] if self._is_kept(piece) else piece.inputs))
            graph[key] = Task(key, pieces.call, function, TaskRef(persisted), inputs, TaskRef(name))
        return name, graph, keys

    def _place_of(self, key: Any, name: str) -> str | None:
        """Return which chunks a task works on in the pass of this name, or None."""
        for index, (piece, persisted) in enumerate(
            zip(self._pieces, self._persisted.keys, strict=True)
        ):
            if key in ((name, index), persisted, *piece.inputs):
                return str(piece)
        return None

    # -- labels --------------------------------------------------------------------------------

    def _label_keys(self, name: str) -> Iterator[list[tuple]]:
        """Yield the keys of the labels of the chunks of each scene."""
        for scene, grid in enumerate(self._chunks.grids):
            yield [(f"{name}-{scene}", *at) for at in np.ndindex(*map(len, grid))]

    def _as_arrays(self, name: str, labels: dict, inputs: dict) -> list:
        """Return the labels of each scene as a Dask array, from nodes of a graph."""
        import dask.array as da

        maps = []
        for keys, grid, meta in zip(
            self._label_keys(name), self._chunks.grids, self._chunks.metas, strict=True
        ):
            graph = {key: labels[key] for key in keys} | inputs
            meta = meta.astype(label_dtype(self._n_clusters))
            maps.append(da.Array(graph, keys[0][0], grid, meta=meta))
        return maps


def _unique(name: str) -> str:
    """Return a name for tasks that no other fit has."""
    return f"{name}-{uuid4().hex}"
