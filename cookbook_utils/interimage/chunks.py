"""Chunks of Dask arrays, and what reads them within one task.

A chunk of a series often has many tasks: its bands lie in several files, which are read, scaled and
put together. If each of them is planned by itself, planning takes longer than the work, and bands
travel between workers. Here all tasks that serve one chunk only are called one after the other,
band by band, in an order that is found once.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from cookbook_utils.interimage.blocks import Scene, array_module

MOST_EMBEDDED_BYTES = 2**20  # of an object, such as an open file, that is copied into many tasks


class Place(NamedTuple):
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

    def __str__(self) -> str:
        names = ("rows", "columns") if len(self.shape) == 2 else ("samples",)
        windows = [
            f"{name} {start} to {start + size - 1}"
            for name, start, size in zip(names, self.corner, self.shape, strict=True)
        ]
        return ", ".join([f"scene {self.scene}", *windows])


class Chunk(NamedTuple):
    """A chunk of a scene and the nodes of a Dask graph that read it."""

    parts: list[Any]
    """Nodes that return some bands (bands, ...) of the pixels each, in their order."""
    n_bands: tuple[int, ...]
    """Number of bands that each of them returns."""
    dtype: np.dtype
    """Dtype of the scene."""
    scene: Scene
    """The scene, without its values."""
    place: Place
    """Where it lies."""
    persisted: bool
    """Whether the pixels are in the memory of a worker already."""

    @property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.place.shape))

    @property
    def inputs(self) -> list:
        """Keys of the nodes that the parts depend on."""
        # Not a set: it would have another order in other processes.
        return list(dict.fromkeys(key for part in self.parts for key in part.dependencies))

    def read(self, inputs: dict) -> Any:
        """Return the pixels (bands, ...), from the values of the keys of `inputs`.

        Raises
        ------
        TypeError
            If they are no array, or of a dtype that the declared one cannot represent.
        ValueError
            If they have another shape than declared.
        """
        pixels, start = None, 0
        for part, n_bands in zip(self.parts, self.n_bands, strict=True):
            bands = _call(part, inputs)
            _require_declared(bands, (n_bands, *self.place.shape), self.dtype)
            if len(self.parts) == 1:
                return bands
            if pixels is None:
                shape = (sum(self.n_bands), *self.place.shape)
                pixels = array_module(bands).empty(shape, self.dtype)
            pixels[start : start + n_bands] = bands
            start += n_bands
        return pixels


class Chunks(NamedTuple):
    """The chunks of all scenes."""

    chunks: list[Chunk]
    """Those of one scene after the other, each in the order of its grid."""
    grids: list[tuple[tuple[int, ...], ...]]
    """For each scene, the sizes of its chunks along each dimension."""
    metas: list[Any]
    """For each scene, an empty array of the kind of its chunks."""
    shared: dict[Any, Any]
    """Nodes of the graph that the tasks of chunks depend on: persisted chunks, and tasks whose
    results serve several chunks."""


def read_chunks(scenes: list[Scene]) -> Chunks:
    """Return the chunks of scenes; arrays that are not Dask arrays are cut into some."""
    import dask

    arrays = [_in_chunks(scene.values) for scene in scenes]
    graph: dict[Any, Any] = {}
    for array in dask.optimize(*arrays):
        graph.update(array.__dask_graph__())
    keys = [of_chunk for array in arrays for of_chunk in _keys(array)]
    tasks, shared = _one_task_each([key for of_chunk in keys for key in of_chunk], graph)
    chunks = []
    for of_chunk, (scene, place) in zip(keys, _places(scenes, arrays), strict=True):
        persisted = all(_is_persisted(key, graph) for key in of_chunk)
        n_bands, dtype = arrays[place.scene].chunks[0], arrays[place.scene].dtype
        parts = [tasks[key] for key in of_chunk]
        chunks.append(Chunk(parts, n_bands, dtype, scene._replace(values=None), place, persisted))
    grids = [array.chunks[1:] for array in arrays]
    return Chunks(chunks, grids, [array._meta for array in arrays], shared)


def _in_chunks(values: Any):
    import dask.array as da

    if not isinstance(values, da.Array):
        values = da.from_array(values, chunks=(-1, *["auto"] * (values.ndim - 1)))
    return values


def _keys(array: Any) -> Iterator[list[tuple]]:
    """Yield the keys of all bands of each chunk of an array."""
    for at in np.ndindex(array.numblocks[1:]):
        yield [(array.name, bands, *at) for bands in range(array.numblocks[0])]


def _places(scenes: list[Scene], arrays: list) -> Iterator[tuple[Scene, Place]]:
    """Yield each chunk's scene and place, in the order of `_keys`."""
    pixels_before = 0
    for index, (scene, array) in enumerate(zip(scenes, arrays, strict=True)):
        sizes, shape = array.chunks[1:], array.shape[1:]
        starts = [np.cumsum((0, *along[:-1])).tolist() for along in sizes]
        for at in np.ndindex(array.numblocks[1:]):
            corner = tuple(along[i] for along, i in zip(starts, at, strict=True))
            extent = tuple(along[i] for along, i in zip(sizes, at, strict=True))
            yield scene, Place(index, pixels_before, corner, extent, shape)
        pixels_before += int(np.prod(shape))


def _one_task_each(keys: list, graph: dict) -> tuple[dict, dict]:
    """Return one task for each key, and the nodes that these tasks depend on."""
    from dask._task_spec import Alias, Task

    needed = {key: _with_ancestors([key], graph) for key in keys}
    users = Counter(node for nodes in needed.values() for node in nodes)
    shared = {key for key, n in users.items() if n > 1 and not _is_small(graph[key])}
    # Nodes get new keys: Dask may know others under theirs, fused in another way.
    name = f"shared-{uuid4().hex}"
    renamed = {key: (name, n) for n, key in enumerate(_with_ancestors(shared, graph))}
    tasks = {}
    for key in keys:
        if key in shared or key not in graph:
            tasks[key] = Alias(("chunk", key), renamed.get(key, key))
        else:
            own = _with_ancestors([key], graph, without=shared)
            nodes = [graph[node].substitute({k: renamed[k] for k in shared}) for node in own]
            tasks[key] = _in_order(Task.fuse(*nodes, key=("chunk", key)))
    nodes = {new: graph[key].substitute(renamed, key=new) for key, new in renamed.items()}
    return tasks, nodes | _futures([*tasks.values(), *nodes.values()], nodes)


def _in_order(node: Any) -> Any:
    """Return a node whose fused tasks are in order, which Dask finds anew in each call."""
    from dask._task_spec import Task
    from dask.core import toposort

    if not isinstance(node, Task) or not node.has_subgraph():
        return node
    graph, result, names, *inputs = node.args
    needed = {key: graph[key].dependencies for key in graph}
    order = toposort(graph, {key: needed[key] & graph.keys() for key in graph})
    steps, kept = [], {result}
    for key in reversed(order):
        steps.append((key, _in_order(graph[key]), list(needed[key] - kept)))
        kept |= needed[key]
    return Task(node.key, _run_in_order, steps[::-1], result, names, *inputs)


def _run_in_order(steps: list, result: Any, names: tuple, *inputs: Any) -> Any:
    """Call nodes one after the other, and drop each value after its last use."""
    values = dict(zip(names, inputs, strict=True))
    for key, node, last_uses in steps:
        values[key] = node(values)
        for other in last_uses:
            del values[other]
    return values[result]


def _call(node: Any, inputs: dict) -> Any:
    return node({key: inputs[key] for key in node.dependencies})


def _require_declared(values: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise unless values have the shape that their Dask array declares, and fit in its dtype.

    Floats of more bits are rounded as declared. Other conversions would change values silently.
    """
    found = getattr(values, "dtype", type(values).__name__)
    fits = isinstance(found, np.dtype) and (
        np.can_cast(found, dtype, "safe") or found.kind == dtype.kind == "f"
    )
    if not fits:
        raise TypeError(
            f"chunks of X must be arrays of the dtype that the Dask array declares, {dtype}, got "
            f"{found}: name the dtype that its function returns, for example in map_blocks"
        )
    if values.shape != shape:
        raise ValueError(
            f"chunks of X must have the shape that the Dask array declares, here {shape}, got "
            f"{values.shape}: name the shapes that its function returns, for example by the "
            "`chunks` of map_blocks"
        )


def _futures(nodes: list, graph: dict) -> dict:
    """Return the futures of persisted chunks that nodes depend on.

    An optimized graph does not have them.
    """
    absent = {key for node in nodes for key in node.dependencies if key not in graph}
    if not absent:
        return {}
    from distributed import Future

    return {key: Future(key) for key in absent}


def _with_ancestors(keys: Any, graph: dict, without: Any = frozenset()) -> list:
    """Return `keys` and everything in the graph that they are computed from."""
    found, todo = {}, [key for key in keys if key in graph]
    while todo:
        key = todo.pop()
        if key not in found:
            found[key] = None
            todo += [
                other
                for other in graph[key].dependencies
                if other in graph and other not in without
            ]
    return list(found)


def _is_small(node: Any) -> bool:
    """Return whether a node is an object that can be copied into several tasks."""
    from dask._task_spec import Alias, DataNode
    from dask.sizeof import sizeof

    if isinstance(node, DataNode):
        return sizeof(node.value) <= MOST_EMBEDDED_BYTES
    return isinstance(node, Alias)


def _is_persisted(key: Any, graph: dict) -> bool:
    """Return whether a chunk, or the array that it is a view of, is persisted by workers."""
    from dask._task_spec import Alias, Task
    from dask.array.chunk import getitem

    while key in graph:
        node = graph[key]
        is_view = isinstance(node, Alias) or (
            isinstance(node, Task) and node.func in (operator.getitem, getitem)
        )
        if not is_view or len(node.dependencies) != 1:
            return False
        (key,) = node.dependencies
    return True
