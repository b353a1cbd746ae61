"""Labels of points, stored in a Parquet file beside the shards."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils import _files
from cookbook_utils._checks import as_real_array
from cookbook_utils._conventions.labels import label_attrs, labels_of
from cookbook_utils.shards._manifest import digest_of_values, fingerprint
from cookbook_utils.shards._parameters import as_point_numbers, label_file_name
from cookbook_utils.shards._tables import OWNER, ShardTable, require_own

_SHARDS = b"shards"  # key of the digest of the points and features that the labels belong to
_REMEDY = "write the labels again"
_CACHED_SHARDS = 16  # shards whose point numbers are kept in memory to look up points


def write_labels(table: ShardTable, name: str, batches: Any, attrs: str) -> Path:
    """Write a label for every point; see `PointShards.write_labels`. `attrs` is JSON."""
    path = table.folder / label_file_name(name)
    pairs = _pairs(batches)
    require_own(path, allow_damaged=True)
    size = max(table.n_points, 1)
    with tempfile.TemporaryFile(dir=table.folder) as scratch:
        # On disk because there may be many points; holds label + 1, and 0 if there is none yet.
        _files.allocate(scratch, 2 * size, table.folder)
        kept = np.memmap(scratch, np.uint16, "r+", shape=size)
        _collect(table, pairs, kept)
        _write_table(table, path, kept, attrs.encode())
    return path


def _pairs(batches: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return an iterator over points, int64, and labels, uint8, or raise."""
    expected = "batches must be an iterable of pairs (points, labels)"
    if not isinstance(batches, Iterable):
        raise TypeError(f"{expected}, got {type(batches).__name__}")

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in batches:
            if not isinstance(batch, Sequence) or len(batch) != 2:
                raise TypeError(f"{expected}, got an item of type {type(batch).__name__}")
            points = as_point_numbers(batch[0], "points in batches")
            labels = np.asarray(as_real_array(batch[1], "labels in batches"))
            if labels.shape != points.shape or points.ndim != 1:
                raise ValueError(
                    "batches must have one label for each point, got the shapes "
                    f"{points.shape} of points and {labels.shape} of labels"
                )
            yield points, labels_of(labels, "labels in batches")

    return pairs()


def _collect(
    table: ShardTable, pairs: Iterable[tuple[np.ndarray, np.ndarray]], kept: np.ndarray
) -> None:
    """Put label + 1 of each point into its row of `kept`."""
    find = _PointFinder(table)
    for points, labels in pairs:
        if not len(points):
            continue
        rows = find(points)
        if np.any(kept[rows]) or len(np.unique(rows)) != len(rows):
            raise ValueError("batches must have each point once, got one that has several labels")
        kept[rows] = labels.astype(np.uint16) + 1


def _write_table(table: ShardTable, path: Path, kept: np.ndarray, attrs: bytes) -> None:
    """Write the collected labels with one row group for each shard, or raise if any is missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    bounds = [slice(rows.start, rows.stop) for rows in table.shard_rows()]
    n_unlabeled, digest = 0, hashlib.sha256(attrs)
    for rows in bounds:
        n_unlabeled += int(np.count_nonzero(kept[rows] == 0))
        digest.update((kept[rows] - 1).astype(np.uint8))
    if n_unlabeled:
        raise ValueError(
            f"batches must have a label for each of {table.n_points} points, got none for "
            f"{n_unlabeled} of them"
        )
    metadata = {
        OWNER: fingerprint(table.manifest),
        b"attrs": attrs,
        _SHARDS: digest_of_values(table.manifest),
        b"digest": digest.hexdigest().encode(),
    }
    columns = [("point", pa.int64()), ("label", pa.uint8())]
    schema = pa.schema([pa.field(*column, nullable=False) for column in columns], metadata=metadata)
    with (
        _files.replacing(path) as temporary,
        pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer,
    ):
        for rows in bounds:
            points = table.read(["point"], [range(rows.start, rows.stop)])[0]
            labels = (kept[rows] - 1).astype(np.uint8)
            arrays = [pa.array(points), pa.array(labels)]
            writer.write_table(pa.table(arrays, schema=schema))


class _PointFinder:
    """Look up the rows of points by their numbers; the numbers of a few shards are cached."""

    def __init__(self, table: ShardTable) -> None:
        self._table = table
        self._rows = table.shard_rows()
        # In a shard of consecutive numbers the row of a point follows from its number.
        self._has_gaps = table.last - table.first + 1 != np.diff(table.starts)
        self._numbers = functools.lru_cache(_CACHED_SHARDS)(self._read_numbers)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        table = self._table
        if not table.n_points:
            raise ValueError(
                f"batches must hold points of {table.folder}, which has no points, got "
                f"{len(points)} of them"
            )
        shard = np.searchsorted(table.last, points).clip(max=len(table.last) - 1)
        rows = table.starts[shard] + points - table.first[shard]
        found = (points >= table.first[shard]) & (points <= table.last[shard])
        for number in np.unique(shard[self._has_gaps[shard]]):
            here = shard == number
            numbers = self._numbers(number)
            at = np.searchsorted(numbers, points[here]).clip(max=len(numbers) - 1)
            found[here] &= numbers[at] == points[here]
            rows[here] = table.starts[number] + at
        if not found.all():
            raise ValueError(
                f"batches must hold points of {table.folder}, got {points[~found][:3].tolist()}, "
                f"which it does not have ({np.count_nonzero(~found)} of {len(points)} given)"
            )
        return rows

    def _read_numbers(self, number: int) -> np.ndarray:
        return self._table.read(["point"], [self._rows[number]])[0]


def read_labels(table: ShardTable, name: str) -> xr.DataArray:
    """Read the labels of all points; see `PointShards.read_labels`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = table.folder / label_file_name(name)
    if not path.is_file():
        names = sorted(p.stem.removeprefix("labels-") for p in table.folder.glob("labels-*"))
        raise FileNotFoundError(
            f"{table.folder} has no labels {name!r}; it has: {', '.join(names) or 'none'}"
        )
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            columns = file.read(["point", "label"]).columns
        points, labels = (column.to_numpy() for column in columns)
        attrs = json.loads(metadata[b"attrs"])
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read: {error}; {_REMEDY}") from None
    if not _belong(points, metadata, table):
        raise ValueError(
            f"{path} must hold labels of the {table.n_points} points of this folder, got those of "
            f"{len(points)} other points, or of these with other features; {_REMEDY}"
        )
    digest = hashlib.sha256(metadata[b"attrs"])
    digest.update(labels)
    if metadata.get(b"digest") != digest.hexdigest().encode():
        raise ValueError(f"{path} was altered: it differs from its digest; {_REMEDY}")
    return xr.DataArray(labels, dims="point", name=name, attrs=attrs | label_attrs(np.uint8))


def _belong(points: np.ndarray, metadata: dict[bytes, bytes], table: ShardTable) -> bool:
    """Return whether labels are those of the points and features of a table."""
    return (
        len(points) == table.n_points
        and metadata.get(OWNER) == fingerprint(table.manifest)
        and metadata.get(_SHARDS) == digest_of_values(table.manifest)
    )
