"""Batches of equal size from shards, in the order of the folder or shuffled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cookbook_utils.shards import _tables

GROUPS_IN_MEMORY = 8
"""Row groups that are read, and shuffled, together."""


class Batch(NamedTuple):
    """A batch of points with their features, as `PointShards.batches` yields it.

    Parameters
    ----------
    points : numpy.ndarray of int64 (n,)
        Number of each point.
    features : numpy.ndarray of float32 (n, features)
        Features of each point, read-only; usually a view of a larger array.

    Examples
    --------
    >>> batch = Batch(np.array([7, 8]), np.zeros((2, 3), np.float32))
    >>> batch.points.tolist(), batch.features.shape
    ([7, 8], (2, 3))
    """

    points: np.ndarray
    features: np.ndarray


def stream(
    table: _tables.ShardTable,
    kinds: Sequence[str],
    batch_size: int,
    *,
    select: Callable[[np.ndarray], np.ndarray] | None = None,
    order: np.random.Generator | None = None,
) -> Iterator[Batch]:
    """Yield the points of a table in batches of `batch_size` points; the last one may be smaller.

    Parameters
    ----------
    table
        Table to read from.
    kinds
        Kinds of features, whose columns are concatenated.
    batch_size
        Points in a batch.
    select
        Function that takes the numbers of points and returns a boolean mask of those to yield; by
        default all are.
    order
        Random generator that shuffles the points; by default they come in the order of the folder.
    """
    rest: list[Batch] = []
    for window in _windows(table, kinds, select, order):
        start = 0
        if rest:  # complete the batch that the last window left unfinished
            start = batch_size - sum(len(batch.points) for batch in rest)
            rest.append(_rows_of(window, slice(start)))
            if start > len(window.points):
                continue
            yield _concatenated(rest)
        stop = start + (len(window.points) - start) // batch_size * batch_size
        for at in range(start, stop, batch_size):
            yield _rows_of(window, slice(at, at + batch_size))
        rest = [_rows_of(window, slice(stop, None))] if stop < len(window.points) else []
    if rest:
        yield _concatenated(rest)


def _windows(
    table: _tables.ShardTable,
    kinds: Sequence[str],
    select: Callable[[np.ndarray], np.ndarray] | None,
    order: np.random.Generator | None,
) -> Iterator[Batch]:
    """Yield the points of `GROUPS_IN_MEMORY` row groups at a time.

    If there is an `order`, it first permutes the row groups, then the points of each window.
    """
    size, n = _tables.POINTS_PER_GROUP, table.n_points
    groups = np.arange(-(-n // size))
    if order is not None:
        order.shuffle(groups)
    for at in range(0, len(groups), GROUPS_IN_MEMORY):
        starts = (groups[at : at + GROUPS_IN_MEMORY] * size).tolist()
        rows = [range(start, min(start + size, n)) for start in starts]
        points, *columns = table.read(["point", *kinds], rows)
        features = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        chosen = None if select is None else np.flatnonzero(select(points))
        if order is not None:
            chosen = order.permutation(len(points) if chosen is None else chosen)
        if chosen is not None:
            points, features = points[chosen], features[chosen]
        features.flags.writeable = False
        yield Batch(points, features)


def _rows_of(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.points[rows], batch.features[rows])


def _concatenated(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    points, features = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    features.flags.writeable = False
    return Batch(points, features)
