"""The Parquet file of one shard: its schema, writing it, and reading it with all checks."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cookbook_utils.shards._manifest import PIDS, fingerprint
from cookbook_utils.shards._parameters import COORDINATES, PID_BYTES

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet as pq

POINTS_PER_GROUP = 8192
"""Points of a Parquet row group, which is the smallest piece that is read."""

OWNER = b"cookbook_utils.shards"
"""Key of the Parquet metadata that identifies the folder of a file and its place there."""

_CHECKSUMS = b"crc32"
_REMEDY = "delete the folder and write it again"


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05}.parquet"


def schema_of(
    manifest: Mapping[str, Any], number: int, sums: dict[str, list[int]] | None = None
) -> pyarrow.Schema:
    """Return the Parquet schema of a shard, with its checksums in the metadata."""
    import pyarrow as pa

    types = {"point": pa.int64(), "longitude": pa.float64(), "latitude": pa.float64()}
    types |= {"pid": pa.binary(PID_BYTES)} if PIDS in manifest else {}
    types |= {kind: pa.binary(4 * len(names)) for kind, names in manifest["features"].items()}
    return pa.schema(
        [pa.field(name, type_, nullable=False) for name, type_ in types.items()],
        metadata={
            OWNER: fingerprint(manifest) + b"/%d" % number,
            _CHECKSUMS: json.dumps(sums).encode(),
        },
    )


def checksums(columns: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Return the CRC-32 of the values of each column in each row group."""
    return {
        name: [
            zlib.crc32(values[start : start + POINTS_PER_GROUP])
            for start in range(0, len(values), POINTS_PER_GROUP)
        ]
        for name, values in columns.items()
    }


# -- writing ----------------------------------------------------------------------------------


def write_shard(
    path: Path,
    manifest: Mapping[str, Any],
    number: int,
    columns: Mapping[str, np.ndarray],
    sums: dict[str, list[int]],
) -> None:
    """Write the columns of a shard and their checksums to a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [
        pa.array(values) if values.dtype.kind in "if" and values.ndim == 1 else _as_binary(values)
        for values in columns.values()
    ]
    schema = schema_of(manifest, number, sums)
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        path,
        row_group_size=POINTS_PER_GROUP,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )


def _as_binary(features: np.ndarray) -> pyarrow.FixedSizeBinaryArray:
    """Return features (n, width), or text (n,), as n values that share the memory of the array."""
    import pyarrow as pa

    data = pa.py_buffer(np.ascontiguousarray(features))
    type_ = pa.binary(features.itemsize * math.prod(features.shape[1:]))
    return pa.FixedSizeBinaryArray.from_buffers(type_, len(features), [None, data])


def facts_of(path: Path, numbers: np.ndarray, sums: dict[str, list[int]]) -> dict[str, Any]:
    """Return the entry in the manifest of a shard of points with these numbers and checksums."""
    facts = {"points": len(numbers), "first": int(numbers[0]), "last": int(numbers[-1])}
    digest = hashlib.sha256(json.dumps(sums).encode()).hexdigest()
    return facts | {"bytes": path.stat().st_size, "sums": digest}


def require_own(path: Path, *, allow_damaged: bool = False) -> None:
    """Raise FileExistsError if a file exists that this package has not written.

    A file that Parquet cannot read counts as written by this package if `allow_damaged` is true.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return
    try:
        is_own = OWNER in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        is_own = allow_damaged
    if not is_own:
        raise FileExistsError(
            f"{path} exists and was not written by cookbook_utils.shards; move it, or write to "
            "another folder"
        )


# -- reading ----------------------------------------------------------------------------------


def open_shard(folder: Path, manifest: Mapping[str, Any], number: int) -> pq.ParquetFile:
    """Open a shard, and compare its size, schema and number of rows with the manifest.

    Raises
    ------
    FileNotFoundError
        If the shard is missing.
    ValueError
        If it is damaged, or belongs to another folder or another place in this one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, facts = folder / shard_name(number), manifest["shards"][number]
    if not path.is_file():
        raise FileNotFoundError(f"shard {path} is missing; {_REMEDY}")
    if (size := path.stat().st_size) < facts["bytes"]:
        raise ValueError(
            f"{path} is truncated: it must have {facts['bytes']} bytes, got {size}; {_REMEDY}"
        )
    try:
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        names = ", ".join(file.schema_arrow.names)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ValueError(f"{path} is not a readable shard: {error}; {_REMEDY}") from None
    try:
        _require_place(file, path, manifest, number, names)
        if (rows := file.metadata.num_rows) != facts["points"] or size != facts["bytes"]:
            raise ValueError(
                f"{path} was altered: it must have {facts['points']} points in {facts['bytes']} "
                f"bytes, got {rows} in {size}; {_REMEDY}"
            )
    except ValueError:
        file.close()
        raise
    return file


def _require_place(
    file: pq.ParquetFile, path: Path, manifest: Mapping[str, Any], number: int, names: str
) -> None:
    """Raise ValueError unless a file is the given shard of this folder, written by this run."""
    found, expected = file.schema_arrow, schema_of(manifest, number)
    meta = found.metadata or {}
    if not found.equals(expected):
        raise ValueError(
            f"{path} is a foreign file: it must have the columns {', '.join(expected.names)}, got "
            f"{names}; {_REMEDY}"
        )
    if meta.get(OWNER) != expected.metadata[OWNER]:
        raise ValueError(
            f"{path} is a foreign file: it must be shard {number} of this folder, got one of "
            f"another place or folder; {_REMEDY}"
        )
    sums = hashlib.sha256(meta.get(_CHECKSUMS, b"")).hexdigest()
    if manifest["shards"][number]["sums"] != sums:
        raise ValueError(
            f"{path} was altered: it holds values of another run, which differ from the checksums "
            f"in the manifest; {_REMEDY}"
        )


def read_groups(
    folder: Path, manifest: Mapping[str, Any], number: int, groups: range, columns: Sequence[str]
) -> list[np.ndarray]:
    """Read columns of consecutive row groups of a shard, and compare them with their checksums."""
    import pyarrow as pa

    path = folder / shard_name(number)
    with open_shard(folder, manifest, number) as file:
        try:
            table = file.read_row_groups(groups, columns, use_threads=False)
            sums = json.loads(file.schema_arrow.metadata[_CHECKSUMS])
        except (OSError, pa.ArrowException, ValueError) as error:
            raise ValueError(f"{path} was altered: {error}; {_REMEDY}") from None
    values = {column: to_numpy(table.column(column), column, manifest) for column in columns}
    if checksums(values) != {
        column: sums[column][groups.start : groups.stop] for column in columns
    }:
        raise ValueError(f"{path} was altered: it differs from its checksums; {_REMEDY}")
    return list(values.values())


def to_numpy(column: pyarrow.ChunkedArray, name: str, manifest: Mapping[str, Any]) -> np.ndarray:
    """Return a column as an array (n,), or features as (n, width), without a copy if possible."""
    is_features = name in manifest["features"]
    width = len(manifest["features"][name]) if is_features else 1
    dtype = "<f4" if is_features else {"pid": f"S{PID_BYTES}", **COORDINATES}[name]
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype)[
            chunk.offset * width : (chunk.offset + len(chunk)) * width
        ]
        for chunk in column.chunks
        if len(chunk)
    ]
    values = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, dtype)])
    return values.reshape(-1, width) if is_features else values


class ShardTable:
    """All shards of a complete folder as one table, of which any rows can be read.

    Attributes
    ----------
    folder : pathlib.Path
        The folder.
    manifest : dict
        Its manifest.
    starts : numpy.ndarray of int64 (shards + 1,)
        Row of the first point of each shard, followed by the number of points.
    first, last : numpy.ndarray of int64 (shards,)
        Number of the first and of the last point of each shard.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        shards = manifest["shards"]
        self.starts = np.cumsum([0, *(shard["points"] for shard in shards)])
        self.first = np.array([shard["first"] for shard in shards], np.int64)
        self.last = np.array([shard["last"] for shard in shards], np.int64)
        for number in range(len(shards)):
            open_shard(folder, manifest, number).close()

    @property
    def n_points(self) -> int:
        """Number of points."""
        return int(self.starts[-1])

    def shard_rows(self) -> list[range]:
        """Return the rows of each shard."""
        starts = self.starts.tolist()
        return list(map(range, starts[:-1], starts[1:]))

    def read(self, columns: Sequence[str], rows: Sequence[range]) -> list[np.ndarray]:
        """Read columns of several ranges of rows, concatenated; the arrays are read-only."""
        pieces = [
            values for start, stop in _merged(rows) for values in self._read(columns, start, stop)
        ]
        if not pieces:
            empty = schema_of(self.manifest, 0).empty_table()
            pieces = [[to_numpy(empty.column(name), name, self.manifest) for name in columns]]
        joined = [
            parts[0] if len(parts) == 1 else np.concatenate(parts)
            for parts in zip(*pieces, strict=True)
        ]
        for values in joined:
            values.flags.writeable = False
        return joined

    def _read(self, columns: Sequence[str], start: int, stop: int) -> list[list[np.ndarray]]:
        """Read columns of consecutive rows, as one piece for each shard."""
        if start >= stop:
            return []
        first, last = np.searchsorted(self.starts, [start, stop - 1], side="right") - 1
        pieces = []
        for number in range(first, last + 1):
            base = self.starts[number]
            low, high = max(start - base, 0), min(stop, self.starts[number + 1]) - base
            groups = range(low // POINTS_PER_GROUP, -(-high // POINTS_PER_GROUP))
            inside = slice(
                low - groups.start * POINTS_PER_GROUP, high - groups.start * POINTS_PER_GROUP
            )
            values = read_groups(self.folder, self.manifest, number, groups, columns)
            pieces.append([array[inside] for array in values])
        return pieces


def _merged(rows: Sequence[range]) -> list[tuple[int, int]]:
    """Return the bounds of ranges, joining those that follow each other."""
    merged: list[tuple[int, int]] = []
    for each in rows:
        if merged and merged[-1][1] == each.start:
            merged[-1] = (merged[-1][0], each.stop)
        else:
            merged.append((each.start, each.stop))
    return merged
