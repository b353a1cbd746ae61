"""Smoothing of features over a graph, from one folder of shards to another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from cookbook_utils import _files
from cookbook_utils._checks import require_integer
from cookbook_utils._files import as_path
from cookbook_utils.graph.neighbors import cartesian, check_links, neighbor_graph
from cookbook_utils.graph.smoothing import check_smoothing, factors, require_finite, smooth
from cookbook_utils.shards import PointShards, ShardWriter
from cookbook_utils.shards.writer import write_once

if TYPE_CHECKING:
    from scipy.sparse import csr_array

POINTS_PER_BLOCK = 65536  # points that are smoothed together


def smooth_shards(
    source_folder: str | os.PathLike[str],
    target_folder: str | os.PathLike[str],
    *,
    alpha: float,
    hops: int,
    kinds: Sequence[str] = ("dynamic",),
    n_neighbors: int = 8,
    bandwidth: float | None = None,
    weights: Literal["gaussian", "uniform"] = "gaussian",
    symmetric: bool = False,
    normalize: bool = True,
    shard_size: int = 65536,
) -> Path:
    """Smooth the features of a folder of shards into another folder.

    Use it in place of `neighbor_graph` and `smooth_features` for features that do not fit in
    memory. The result is equal to theirs, bit for bit, whatever the shard sizes. A complete target
    of the same source and parameters is left unchanged, and an interrupted run is resumed.

    Parameters
    ----------
    source_folder : str or os.PathLike
        A folder that `PointShards` opens.
    target_folder : str or os.PathLike
        Folder to write the points with their smoothed features to. Its attributes are those of the
        source and ``smoothing``, which holds the parameters and a digest of the source.
    alpha : float
        As for `smooth_features`.
    hops : int
        As for `smooth_features`.
    kinds : sequence of str, default ("dynamic",)
        Kinds of features to smooth, for example ``("dynamic", "static")``.
    n_neighbors : int, default 8
        As for `neighbor_graph`.
    bandwidth : float, optional
        As for `neighbor_graph`.
    weights : {"gaussian", "uniform"}, default "gaussian"
        As for `neighbor_graph`.
    symmetric : bool, default False
        As for `neighbor_graph`.
    normalize : bool, default True
        As for `smooth_features`.
    shard_size : int, default 65536
        Points in a shard of the target.

    Returns
    -------
    pathlib.Path
        The folder `target_folder`.

    Raises
    ------
    TypeError
        If a parameter has the wrong type.
    FileNotFoundError
        If the source is not a folder of shards.
    ValueError
        If a parameter is out of range, the source is damaged or has no such features, features are
        not finite, or the target holds other points.
    OSError
        If there is no space for the result or the scratch files, or another process is still
        writing the target after two minutes.

    See Also
    --------
    smooth_features : Smooth features in memory.

    Notes
    -----
    The coordinates and the graph of all points are in memory, at most about 130 bytes for each
    point with 8 neighbors, and so are the features of one block of nearby points and its halo: all
    points within `hops` links of it. The other features are on disk, in two scratch files in the
    target folder, each the size of the features. Their space is reserved before they are written,
    and they are removed even after an error. In the scratch files the points of a block are
    contiguous, because nearby points may be far apart in the shards.

    Examples
    --------
    >>> import tempfile
    >>> at, values = np.arange(3), np.array([[0.0], [1.0], [0.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ShardWriter(f"{folder}/raw", {"dynamic": ["a"]}) as writer:
    ...         writer.append(at, 20 + at / 1000, at * 0, dynamic=values)
    ...     options = {"alpha": 0.5, "hops": 1, "n_neighbors": 1, "weights": "uniform"}
    ...     target = smooth_shards(f"{folder}/raw", f"{folder}/smooth", **options)
    ...     PointShards(target).read("dynamic").ravel().tolist()
    [0.5, 0.5, 0.5]
    """
    smoothing = check_smoothing(alpha, hops, normalize)
    links = check_links(n_neighbors, bandwidth, weights, symmetric)
    require_integer(shard_size, "shard_size", least=1)
    target = as_path(target_folder, "target_folder")
    source = PointShards(as_path(source_folder, "source_folder"))
    # The digest prevents a run from resuming a target of other features.
    attrs = source.attrs | {"smoothing": smoothing | links | {"source": source.digest(kinds)}}
    features = {kind: source.features[kind] for kind in kinds}

    def write(writer: ShardWriter) -> None:
        graph = neighbor_graph(source.read("longitude"), source.read("latitude"), **links)
        _smooth_into(writer, source, graph, **smoothing)

    write_once(target, features, write, shard_size=shard_size, attrs=attrs)
    return target


def _smooth_into(
    writer: ShardWriter,
    source: PointShards,
    graph: csr_array,
    *,
    alpha: float,
    hops: int,
    normalize: bool,
) -> None:
    """Smooth the points of a folder, and write those that the target does not have yet."""
    order = _order_by_place(source)
    with (
        tempfile.TemporaryFile(dir=writer.folder) as raw_file,
        tempfile.TemporaryFile(dir=writer.folder) as smoothed_file,
    ):
        width = sum(map(len, writer.features.values()))
        raw, smoothed = (
            _Scratch(file, (source.n_points, width), writer.folder)
            for file in (raw_file, smoothed_file)
        )
        position = np.empty(len(order), np.intp)
        position[order] = np.arange(len(order))
        _copy_features(source, list(writer.features), raw, position)
        for rows in _blocks(0, len(order)):
            block = order[rows]
            halo = _with_halo(graph, block, hops)
            # Links that leave the halo are cut: within `hops` hops they do not reach the block.
            links = graph[halo]
            own, others = factors(links, alpha, normalize)
            x = smooth(raw.open()[position[halo]], links[:, halo], own, others, hops)
            smoothed.open()[rows] = x[np.searchsorted(halo, block)]
        _append_points(writer, source, smoothed, position)


class _Scratch:
    """A scratch file that holds an array of float32, whose space is reserved."""

    def __init__(self, file: IO[bytes], shape: tuple[int, int], folder: Path) -> None:
        _files.allocate(file, 4 * shape[0] * shape[1], folder)
        self._file, self._shape = file, shape

    def open(self) -> np.memmap:
        """Map the file. Pages of an earlier map no longer count as memory of the process."""
        return np.memmap(self._file, np.float32, "r+", shape=self._shape)


def _blocks(start: int, stop: int) -> list[slice]:
    """Return slices of `POINTS_PER_BLOCK` rows; the last one may be shorter."""
    size = POINTS_PER_BLOCK
    return [slice(at, min(at + size, stop)) for at in range(start, stop, size)]


def _order_by_place(source: PointShards) -> np.ndarray:
    """Return the rows of points in an order in which the points of each block are close together.

    It is the order of the leaves of a k-d tree. Within a block rows are sorted, so that those of
    one shard are contiguous in the scratch files, too.
    """
    from scipy.spatial import cKDTree

    positions = cartesian(source.read("longitude"), source.read("latitude"))
    order = cKDTree(positions, balanced_tree=False, copy_data=False).indices.copy()
    for rows in _blocks(0, len(order)):
        order[rows].sort()
    return order


def _copy_features(
    source: PointShards, kinds: list[str], raw: _Scratch, position: np.ndarray
) -> None:
    """Copy features to a scratch file, each point to its position, or raise if not all are finite.

    Parameters
    ----------
    source
        The points.
    kinds
        Kinds of features to copy.
    raw
        Scratch file to copy them to.
    position
        Row in the scratch file of each point.
    """
    n_wrong = 0
    for rows in _blocks(0, source.n_points):
        x = np.concatenate([source.read(kind, rows) for kind in kinds], axis=1)
        n_wrong += np.count_nonzero(~np.isfinite(x).all(axis=1))
        raw.open()[position[rows]] = x
    require_finite(n_wrong, source.n_points)


def _with_halo(graph: csr_array, block: np.ndarray, hops: int) -> np.ndarray:
    """Return the sorted rows of a block and of all points within `hops` links of it."""
    is_inside = np.zeros(graph.shape[0], bool)
    is_inside[block] = True
    for _ in range(hops):
        is_inside[graph[np.flatnonzero(is_inside)].indices] = True
    return np.flatnonzero(is_inside)


def _append_points(
    writer: ShardWriter, source: PointShards, smoothed: _Scratch, position: np.ndarray
) -> None:
    """Append points with their smoothed features, after those that the target already has."""
    ends = np.cumsum([len(names) for names in writer.features.values()])
    for rows in _blocks(writer.n_points, source.n_points):
        parts = np.split(smoothed.open()[position[rows]], ends[:-1], axis=1)
        columns: dict[str, Any] = dict(zip(writer.features, parts, strict=True))
        columns |= {name: source.read(name, rows) for name in ("longitude", "latitude")}
        writer.append(source.read("point", rows), **columns)
