"""Features of millions of points on disk, in Parquet shards that are read batch by batch.

A folder holds ``manifest.json`` and ``shard-00000.parquet``, ``shard-00001.parquet`` and so on: the
columns ``point`` (int64, rising), ``longitude`` and ``latitude`` (float64, degrees) and one column
for each kind of feature, such as ``dynamic`` and ``static``. The features of a point are one cell
of fixed size, float32 in little-endian order: the same shards with lists of floats take about five
times as long to read. Parquet rather than Zarr, since one file holds points and features together,
and carries its schema, its number of rows and checksums of its values. The manifest and the labels
hold a digest of themselves. What is read is compared with them, and a damaged file ends in an error
that names it.

What is read in one piece, and shuffled in one piece, is counted in points and not in shards.
Batches, splits and labels are therefore the same whatever the shard size.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from cookbook_utils import _files
from cookbook_utils._checks import (
    as_real_array,
    require_choice,
    require_integer,
    require_number,
    require_random_state,
    shown,
)
from cookbook_utils._conventions.points import require_places
from cookbook_utils._files import as_path

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet as pq

VERSION = 1  # of the layout on disk
BLOCK = 8192  # points of a row group, which is the smallest piece read
WINDOW = 8  # blocks in memory at a time
COORDINATES = {"point": np.int64, "longitude": np.float64, "latitude": np.float64}
_MANIFEST = {"version", "features", "shard_size", "attrs", "shards", "complete"}
_TAKEN = (*COORDINATES, "points", "self")  # names that `ShardWriter.append` needs itself
_CURE = "delete the folder and write it again"
_SUMS = b"crc32"
_SHARDS = b"shards"  # of the metadata that says which values labels belong to
_KEY = b"cookbook_utils.shards"  # of the metadata that says which shard of which folder a file is


class Batch(NamedTuple):
    """Some points and their features."""

    points: np.ndarray
    """int64 (n,), the number of each point."""
    features: np.ndarray
    """float32 (n, features), read-only: mostly a view of a larger array."""


class ShardWriter:
    """Write points into shards, each whole or not there, going on where an earlier run ended.

    Use it for points that do not fit in memory. Several processes may not write one folder: who
    finds that another has written a shard since it opened the folder gets an error.

    Parameters
    ----------
    folder : path
        Where to write; made if need be.
    features : mapping of str to sequence of str
        The kinds of features and the names of the features of each.
    shard_size : int, default 65536
        Points in a shard; the last one may hold fewer.
    attrs : mapping, optional
        What the features were made from (seeds, sources), as JSON holds it. A folder that was begun
        is continued only with the same `features`, `shard_size` and `attrs`.

    Attributes
    ----------
    features : dict of str to list of str
        The kinds of features and the names of the features of each.
    n_points : int
        Points in whole shards on disk. The caller goes on behind them.
    complete : bool
        Whether the folder holds all its points; such a folder is left as it is.

    Raises
    ------
    TypeError
        If `folder` is no path, `features` no mapping of texts to sequences of texts, `shard_size`
        no integer or `attrs` cannot be written as JSON.
    ValueError
        If the folder holds shards of something else, or a shard in it is damaged.
    FileExistsError
        If a file that is no shard bears the name of one.

    Examples
    --------
    >>> import tempfile
    >>> position, embedding = np.linspace(20, 21, 10), np.zeros((10, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ShardWriter(folder, {"dynamic": ["a", "b"]}, shard_size=4) as writer:
    ...         at = np.arange(writer.n_points, 10)  # all ten, the first time
    ...         writer.append(at, position[at], position[at] + 49, dynamic=embedding[at])
    ...     [batch.points.tolist() for batch in PointShards(folder).batches(batch_size=5)]
    [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        features: Mapping[str, Sequence[str]],
        *,
        shard_size: int = 65536,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = as_path(folder, "folder")
        shard_size = require_integer(shard_size, "shard_size", least=1)
        spec = {"version": VERSION, "features": _kinds(features), "shard_size": shard_size}
        spec["attrs"] = json.loads(_as_json(attrs, "attrs"))
        self._manifest = spec | {"shards": [], "complete": False}
        self._path = self.folder / "manifest.json"
        _files.tidy(self._path)
        self._on_disk = _content(self._path)
        if self._on_disk is not None:
            found = _read_manifest(self.folder)
            for key, value in spec.items():
                if found[key] != value:
                    raise ValueError(
                        f"{self.folder} already holds shards with other {key}: it must be {value}, "
                        f"got {found[key]}; delete the folder or write to another"
                    )
            self._manifest = found
            for number in range(len(found["shards"])):
                _open_shard(self.folder, found, number)
        for path in self.folder.glob("shard-*.parquet"):
            if path.name not in map(_name, range(len(self._manifest["shards"]))):
                _require_own(path)
        self._pending: list[dict[str, np.ndarray]] = []
        self._n_pending = 0
        shards = self._manifest["shards"]
        self._last = shards[-1]["last"] if shards else -math.inf

    @property
    def features(self) -> dict[str, list[str]]:
        return self._manifest["features"]

    @property
    def n_points(self) -> int:
        return sum(shard["points"] for shard in self._manifest["shards"])

    @property
    def complete(self) -> bool:
        return self._manifest["complete"]

    def append(self, points: Any, longitude: Any, latitude: Any, **features: Any) -> None:
        """Add points; every full shard goes to disk at once, what is left over waits.

        Parameters
        ----------
        points : array of int (n,)
            Numbers that rise strictly, over all calls.
        longitude, latitude : array of float (n,)
            Degrees, EPSG:4326; longitude from -180 to 360.
        **features : array of float (n, width)
            One for each kind; stored as float32.

        Raises
        ------
        TypeError
            If an array does not hold real numbers, or `points` no integers.
        ValueError
            If an array has another shape than expected, the numbers do not rise, a place is not on
            the Earth, a feature is beyond the range of float32, or the folder is complete.
        OSError
            If a shard cannot be written, or another process has written to the folder.
        """
        if self.complete:
            raise ValueError(
                f"{self.folder} is complete with {self.n_points} points and takes no more; "
                "delete the folder to write it again"
            )
        widths = {kind: len(names) for kind, names in self.features.items()}
        if set(features) != set(widths):
            raise ValueError(f"features must be of {sorted(widths)}, got {sorted(features)}")
        block = {"point": _numbers(points, "points")}
        block |= {
            key: np.array(as_real_array(value, key), np.float64)
            for key, value in (("longitude", longitude), ("latitude", latitude))
        }
        block |= {kind: _as_float32(features[kind], kind) for kind in widths}
        n = block["point"].size
        for key, array in block.items():
            shape = (n, widths[key]) if key in widths else (n,)
            if array.shape != shape:
                raise ValueError(f"{key} must have the shape {shape}, got {array.shape}")
        if n == 0:
            return
        require_places(block["longitude"], block["latitude"])
        # A difference of numbers could be too large for their type.
        if block["point"][0] <= self._last or np.any(block["point"][1:] <= block["point"][:-1]):
            raise ValueError(
                "the numbers of the points must rise strictly, from call to call too, got "
                f"{block['point'][:3]}... after {self._last}"
            )
        self._last = int(block["point"][-1])
        self._pending.append(block)
        self._n_pending += n
        size = self._manifest["shard_size"]
        if self._n_pending >= size:
            rest = self._joined()
            while self._n_pending >= size:
                self._write({key: array[:size] for key, array in rest.items()})
                rest = {key: array[size:] for key, array in rest.items()}
                self._pending, self._n_pending = [rest], self._n_pending - size
            self._pending = [{key: array.copy() for key, array in rest.items()}]

    def close(self) -> None:
        """Write the last, shorter shard and mark the folder as complete."""
        if self.complete:
            return
        self._write(self._joined() if self._n_pending else None, complete=True)
        self._pending, self._n_pending = [], 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self.close()

    def _joined(self) -> dict[str, np.ndarray]:
        return {key: np.concatenate([b[key] for b in self._pending]) for key in self._pending[0]}

    def _write(self, shard: Mapping[str, np.ndarray] | None, *, complete: bool = False) -> None:
        """Write a shard, if there is one, and enter it in the manifest."""
        shards = self._manifest["shards"]
        path = self.folder / _name(len(shards))
        with _files.claim(self._path) as claim:
            if _content(self._path) != self._on_disk:
                raise OSError(
                    f"{self.folder} is being written by another process, which has changed its "
                    "manifest; open it again, or write to another folder"
                )
            if shard is not None:
                _require_own(path)
                with claim.replacing(path) as temporary:
                    _write_table(temporary, self._manifest, len(shards), shard)
                shards = [*shards, _facts(path, shard)]
            changed = self._manifest | {"shards": shards, "complete": complete}
            content = _as_bytes(changed)
            try:
                with claim.replacing(self._path) as temporary:
                    temporary.write_bytes(content)
            except BaseException:
                if shard is not None:
                    path.unlink(missing_ok=True)
                raise
        self._manifest, self._on_disk = changed, content


class PointShards:
    """The points of a folder that a `ShardWriter` completed, read piece by piece.

    Parameters
    ----------
    folder : path
        The folder.

    Attributes
    ----------
    n_points : int
        Number of points.
    features : dict of str to list of str
        The kinds of features and the names of the features of each.
    attrs : dict
        What the features were made from.

    Raises
    ------
    TypeError
        If `folder` is no path.
    FileNotFoundError
        If there is no manifest, or a shard is missing.
    ValueError
        If the folder is not complete, or a shard is damaged or belongs elsewhere; the shard is
        named. Sizes, schemas and numbers of rows are looked at; values are compared with their
        checksums when they are read, and all of them by `verify`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = as_path(folder, "folder")
        self._manifest = _read_manifest(self.folder)
        shards = self._manifest["shards"]
        points = [shard["points"] for shard in shards]
        if not self._manifest["complete"]:
            raise ValueError(
                f"{self.folder} is not complete: {len(shards)} shards with {sum(points)} points "
                "are there; run again what writes it, which goes on behind them"
            )
        for number in range(len(shards)):
            _open_shard(self.folder, self._manifest, number)
        self.features: dict[str, list[str]] = self._manifest["features"]
        self.attrs: dict[str, Any] = self._manifest["attrs"]
        self.n_points: int = sum(points)
        self._starts = np.cumsum([0, *points])
        self._first = np.array([shard["first"] for shard in shards], np.int64)
        self._last = np.array([shard["last"] for shard in shards], np.int64)
        self._remembered_points = functools.lru_cache(2 * WINDOW)(self._shard_points)

    def __reduce__(self) -> tuple:
        return PointShards, (self.folder,)  # a worker opens the folder itself

    def read(self, column: str, rows: slice = slice(None)) -> np.ndarray:
        """Return one column of consecutive points.

        Parameters
        ----------
        column : str
            ``"point"``, ``"longitude"``, ``"latitude"`` or a kind of features.
        rows : slice, default all
            Positions in the folder, from 0, with a step of 1.

        Returns
        -------
        numpy.ndarray
            int64 or float64 (n,), or float32 (n, width); read-only.

        Raises
        ------
        TypeError
            If `column` is no text or `rows` no slice of integers.
        ValueError
            If there is no such column, the step is not 1, or a shard is damaged.
        """
        require_choice(column, "column", [*COORDINATES, *self.features])
        wanted = "rows must be a slice of integers with a step of 1"
        try:
            start, stop, step = rows.indices(self.n_points)
        except (AttributeError, TypeError) as error:
            raise TypeError(f"{wanted}, got {shown(rows)}") from error
        except ValueError:  # a step of 0
            step = 0
        if step != 1:
            raise ValueError(f"{wanted}, got {shown(rows)}")
        return self._read([column], [range(start, max(start, stop))])[0]

    def batches(
        self,
        features: str = "dynamic",
        *,
        batch_size: int = 256,
        split: Literal["train", "test"] | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        shuffle: int | None = None,
    ) -> Iterator[Batch]:
        """Iterate over all points, or those of a split, each once, in batches.

        Every batch holds `batch_size` points but the last, which holds what is left. At most
        65 536 points are in memory at a time, whatever the number of points and the shard size.

        Parameters
        ----------
        features : str, default "dynamic"
            A kind of features, or several joined by ``+``, such as ``"dynamic+static"``.
        batch_size : int, default 256
            Points in a batch.
        split : {"train", "test"}, optional
            Only these points, as `is_test` divides them.
        test_fraction, seed
            As for `is_test`.
        shuffle : int, optional
            The seed of an order: blocks of 8192 points are drawn in random order, and the points
            of eight blocks are mixed. Without it points come in the order of the folder.

        Yields
        ------
        Batch
            ``points`` (n,) and ``features`` (n, total width).

        Raises
        ------
        TypeError
            If an option has another type than described.
        ValueError
            If an option is not as described; while iterating, if a shard is damaged.
        """
        kinds = _split(features, "features")
        if unknown := [kind for kind in kinds if kind not in self.features]:
            raise ValueError(
                f"{self.folder} has no features {', '.join(unknown)}; it has: "
                f"{', '.join(self.features)}, which + joins"
            )
        batch_size = require_integer(batch_size, "batch_size", least=1)
        if split is not None:
            require_choice(split, "split", ["train", "test"])
        require_number(test_fraction, "test_fraction", least=0, most=1)
        require_random_state(seed, "seed")
        if shuffle is not None:
            require_random_state(shuffle, "shuffle")
        return self._batches(kinds, batch_size, split, test_fraction, seed, shuffle)

    def _batches(self, kinds, batch_size, split, test_fraction, seed, shuffle) -> Iterator[Batch]:
        blocks = np.arange(-(-self.n_points // BLOCK))
        random = None if shuffle is None else np.random.default_rng(shuffle)
        if random:
            random.shuffle(blocks)
        rest: list[Batch] = []
        for i in range(0, len(blocks), WINDOW):
            starts = blocks[i : i + WINDOW] * BLOCK
            rows = [range(s, min(s + BLOCK, self.n_points)) for s in starts.tolist()]
            points, *columns = self._read(["point", *kinds], rows)
            values = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
            chosen = None
            if split:
                test = is_test(points, test_fraction=test_fraction, seed=seed)
                chosen = np.flatnonzero(test == (split == "test"))
            if random:
                chosen = random.permutation(len(points) if chosen is None else chosen)
            if chosen is not None:
                points, values = points[chosen], values[chosen]
            values.flags.writeable = False
            window = Batch(points, values)
            start = 0
            if rest:  # the tail of the last window is shorter than a batch: fill it up
                start = batch_size - sum(len(b.points) for b in rest)
                rest.append(Batch(points[:start], values[:start]))
                if start > len(points):
                    continue
                yield _join(rest)
            stop = start + (len(points) - start) // batch_size * batch_size
            for j in range(start, stop, batch_size):
                yield Batch(points[j : j + batch_size], values[j : j + batch_size])
            rest = [Batch(*(a[stop:] for a in window))] if stop < len(points) else []
        if rest:
            yield _join(rest)

    def verify(self) -> None:
        """Read every value of every shard and compare it with its checksums.

        Raises
        ------
        ValueError
            If a value was altered since it was written; the shard is named.
        """
        for number in range(len(self._manifest["shards"])):
            for column in (*COORDINATES, *self.features):
                self.read(column, slice(*self._starts[[number, number + 1]].tolist()))

    def _read(self, columns: Sequence[str], rows: Sequence[range]) -> list[np.ndarray]:
        """Return columns of several ranges of rows, joined."""
        pieces = []
        # Ranges that follow each other are read together.
        for start, stop in _merge(rows):
            first, last = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
            for number in range(first, last + 1) if stop > start else ():
                base = self._starts[number]
                low, high = max(start - base, 0), min(stop, self._starts[number + 1]) - base
                groups = range(low // BLOCK, -(-high // BLOCK))
                inside = slice(low - groups[0] * BLOCK, high - groups[0] * BLOCK)
                pieces.append([values[inside] for values in self._groups(number, groups, columns)])
        if not pieces:
            empty = _schema(self._manifest, 0).empty_table()
            pieces = [[self._to_numpy(empty.column(column), column) for column in columns]]
        joined = [
            parts[0] if len(parts) == 1 else np.concatenate(parts)
            for parts in zip(*pieces, strict=True)
        ]
        for values in joined:
            values.flags.writeable = False
        return joined

    def _groups(self, number: int, groups: range, columns: Sequence[str]) -> list[np.ndarray]:
        """Return columns of consecutive row groups of a shard, compared with their checksums."""
        import pyarrow as pa

        path = self.folder / _name(number)
        with _open_shard(self.folder, self._manifest, number) as file:
            try:
                table = file.read_row_groups(groups, columns, use_threads=False)
                # Shards written by earlier versions have checksums of their pages only.
                sums = json.loads(file.schema_arrow.metadata.get(_SUMS, b"null"))
            except (OSError, pa.ArrowException, ValueError) as error:
                raise ValueError(f"{path} was altered: {error}; {_CURE}") from None
        values = {column: self._to_numpy(table.column(column), column) for column in columns}
        if sums is not None:
            found = _sums(values)
            if found != {column: sums[column][groups.start : groups.stop] for column in columns}:
                raise ValueError(f"{path} was altered: it differs from its checksums; {_CURE}")
        return list(values.values())

    def _to_numpy(self, column: pyarrow.ChunkedArray, name: str) -> np.ndarray:
        width = len(self.features[name]) if name in self.features else 1
        dtype = "<f4" if name in self.features else COORDINATES[name]
        parts = [
            np.frombuffer(chunk.buffers()[1], dtype)[
                chunk.offset * width : (chunk.offset + len(chunk)) * width
            ]
            for chunk in column.chunks
            if len(chunk)
        ]
        values = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, dtype)])
        return values.reshape(-1, width) if name in self.features else values

    def _rows(self, points: np.ndarray) -> np.ndarray:
        """Return the positions of points in the folder, by their numbers."""
        if not self.n_points:
            raise ValueError(f"{self.folder} has no points, got the numbers of {len(points)}")
        shard = np.searchsorted(self._last, points).clip(max=len(self._last) - 1)
        rows = self._starts[shard] + points - self._first[shard]
        gaps = self._last - self._first + 1 != np.diff(self._starts)
        found = (points >= self._first[shard]) & (points <= self._last[shard])
        for number in np.unique(shard[gaps[shard]]):
            here = shard == number
            ids = self._remembered_points(number)
            at = np.searchsorted(ids, points[here]).clip(max=len(ids) - 1)
            found[here] &= ids[at] == points[here]
            rows[here] = self._starts[number] + at
        if not found.all():
            raise ValueError(
                f"batches must hold points of {self.folder}, which has no points "
                f"{points[~found][:3].tolist()} ({np.count_nonzero(~found)} of {len(points)} given)"
            )
        return rows

    def _shard_points(self, number: int) -> np.ndarray:
        return self.read("point", slice(*self._starts[[number, number + 1]]))


def is_test(points: Any, *, test_fraction: float = 0.2, seed: int = 0) -> np.ndarray:
    """Return which points are for testing, by a hash of their numbers and a seed.

    A point stays on its side whatever other points there are and however they are stored.

    Parameters
    ----------
    points : array of int
        Numbers of points.
    test_fraction : float, default 0.2
        Expected share of the points for testing, 0 to 1.
    seed : int, default 0
        Another seed gives another split.

    Returns
    -------
    numpy.ndarray
        bool, the shape of `points`.

    Raises
    ------
    TypeError
        If `points` or `seed` are no integers, or `test_fraction` is no number.
    ValueError
        If `test_fraction` or `seed` is out of range.

    References
    ----------
    The hash is the output function of SplitMix64: G. L. Steele, D. Lea, C. H. Flood (2014), Fast
    splittable pseudorandom number generators, doi:10.1145/2660193.2660195.

    Examples
    --------
    >>> round(float(is_test(np.arange(100_000), test_fraction=0.25).mean()), 2)
    0.25
    """
    require_number(test_fraction, "test_fraction", least=0, most=1)
    require_random_state(seed, "seed")
    with np.errstate(over="ignore"):
        h = _numbers(points, "points").astype(np.uint64)
        for word in (np.uint64(seed), np.uint64(0)):
            h = h + word * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x632BE59BD9B4E019)
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            h ^= h >> np.uint64(31)
    return (h >> np.uint64(11)) * 2.0**-53 < test_fraction


def _digest_of(shards: PointShards, kinds: Iterable[str]) -> str:
    """Return the SHA-256 of points and kinds of features, however many shards hold them."""
    kinds = list(kinds)
    totals = {column: hashlib.sha256() for column in (*COORDINATES, *kinds)}
    for start in range(0, shards.n_points, BLOCK):
        for column, total in totals.items():
            total.update(shards.read(column, slice(start, start + BLOCK)))
    facts = {column: total.hexdigest() for column, total in totals.items()}
    names = {kind: shards.features[kind] for kind in kinds}
    return hashlib.sha256(json.dumps([facts, names], sort_keys=True).encode()).hexdigest()


def write_labels(
    folder: str | os.PathLike[str],
    name: str,
    batches: Iterable[tuple[Any, Any]],
    *,
    attrs: Mapping[str, Any] | None = None,
) -> Path:
    """Store a label for every point of a folder beside the points, all or nothing.

    Parameters
    ----------
    folder : path
        A folder that `PointShards` opens.
    name : str
        A word; labels of that name are replaced.
    batches : iterable of (points, labels)
        Numbers of points and their labels, integers 0 to 255 with 255 for missing, in any order,
        every point once.
    attrs : mapping, optional
        Such as ``flag_values`` and ``flag_meanings``.

    Returns
    -------
    pathlib.Path
        The file, ``labels-<name>.parquet``: in the order of the folder, columns ``point`` and
        ``label``, with one row group for each shard.

    Raises
    ------
    TypeError
        If `batches` does not give pairs of points and labels, or `attrs` cannot be written as JSON.
    ValueError
        If a point is unknown or has no label or several, or a label is not 0 to 255.
    OSError
        If the labels cannot be written; those that were there stay.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    label_file = _labels_name(name)
    described = _as_json(attrs, "attrs").encode()
    batches = _pairs(batches)
    shards = PointShards(folder)
    path = shards.folder / label_file
    _require_own(path, damaged=True)
    with tempfile.TemporaryFile(dir=shards.folder) as scratch:
        # On disk, since the points may be many; 0 where there is no label yet.
        _files.allocate(scratch, 2 * max(shards.n_points, 1), shards.folder)
        kept = np.memmap(scratch, np.uint16, "r+", shape=max(shards.n_points, 1))
        for points, labels in batches:
            if labels.shape != points.shape or points.ndim != 1:
                raise ValueError(
                    "batches must have one label for each point, got the shapes "
                    f"{points.shape} of points and {labels.shape} of labels"
                )
            if labels.dtype.kind not in "iu" or np.any((labels < 0) | (labels > 255)):
                raise ValueError(
                    "labels in batches must be integers 0 to 255, got "
                    f"{labels.dtype} {np.unique(labels)[:5]}"
                )
            if len(points):
                rows = shards._rows(points)
                if np.any(kept[rows]) or len(np.unique(rows)) != len(rows):
                    raise ValueError(
                        "batches must have each point once, got one that has several labels"
                    )
                kept[rows] = labels.astype(np.uint16) + 1
        bounds = list(zip(shards._starts[:-1].tolist(), shards._starts[1:].tolist(), strict=True))
        missing, digest = 0, hashlib.sha256(described)
        for a, b in bounds:
            missing += int(np.count_nonzero(kept[a:b] == 0))
            digest.update((kept[a:b] - 1).astype(np.uint8))
        if missing:
            raise ValueError(
                f"batches must have a label for each of {shards.n_points} points, got none for "
                f"{missing} of them"
            )
        meta = {_KEY: _fingerprint(shards._manifest), b"attrs": described}
        meta[_SHARDS] = _digest_of_shards(shards._manifest)
        meta[b"digest"] = digest.hexdigest().encode()
        columns = [("point", pa.int64()), ("label", pa.uint8())]
        schema = pa.schema([pa.field(*c, nullable=False) for c in columns], metadata=meta)
        with (
            _files.replacing(path) as temporary,
            pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer,
        ):
            for a, b in bounds:
                label = (kept[a:b] - 1).astype(np.uint8)
                ids = shards.read("point", slice(a, b))
                writer.write_table(pa.table([pa.array(ids), pa.array(label)], schema=schema))
    return path


def read_labels(folder: str | os.PathLike[str], name: str) -> xr.DataArray:
    """Return the labels of all points of a folder.

    Parameters
    ----------
    folder : path
        A folder that `PointShards` opens.
    name : str
        What `write_labels` was given.

    Returns
    -------
    xarray.DataArray
        uint8 (point), in the order of the folder, with the attributes given and ``_FillValue``
        255.

    Raises
    ------
    FileNotFoundError
        If there are no labels of that name.
    ValueError
        If the file is damaged or belongs to other points, or to these with other features.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    label_file = _labels_name(name)
    shards = PointShards(folder)
    path = shards.folder / label_file
    if not path.is_file():
        names = sorted(p.stem.removeprefix("labels-") for p in shards.folder.glob("labels-*"))
        raise FileNotFoundError(
            f"{shards.folder} has no labels {name!r}; it has: {', '.join(names) or 'none'}"
        )
    cure = "write the labels again"
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            meta = file.schema_arrow.metadata or {}
            rows, own = file.metadata.num_rows, meta.get(_KEY)
            table = file.read(["point", "label"])
        points, labels = (column.to_numpy() for column in table.columns)
        attrs = json.loads(meta[b"attrs"])
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read: {error}; {cure}") from None
    same = (rows, own) == (shards.n_points, _fingerprint(shards._manifest))
    if _SHARDS in meta:
        same = same and meta[_SHARDS] == _digest_of_shards(shards._manifest)
    else:  # earlier versions did not write it
        same = same and np.array_equal(points, shards.read("point"))
    if not same:
        raise ValueError(
            f"{path} holds labels of other points, or of these with other features: {rows} of "
            f"them, expected the {shards.n_points} of this folder; {cure}"
        )
    digest = hashlib.sha256(meta[b"attrs"])
    digest.update(labels)
    # Labels written by earlier versions have no digest.
    if meta.get(b"digest", digest.hexdigest().encode()) != digest.hexdigest().encode():
        raise ValueError(f"{path} was altered: it differs from its digest; {cure}")
    return xr.DataArray(labels, dims="point", name=name, attrs=attrs | {"_FillValue": 255})


# -- parameters -------------------------------------------------------------------------------


def _kinds(features: Any) -> dict[str, list[str]]:
    """Return kinds of features with the names of each, or raise."""
    wanted = (
        f"features must have a word other than {', '.join(_TAKEN)} for each kind, with at least "
        "one name and none twice"
    )
    if not isinstance(features, Mapping):
        raise TypeError(f"{wanted}, got {type(features).__name__}")
    kinds = {}
    for kind, names in features.items():
        given = f"got {shown(kind)}: {shown(names)}"
        if not isinstance(kind, str) or isinstance(names, str):
            raise TypeError(f"{wanted}, {given}")
        try:
            kinds[kind] = list(map(str, names))
        except TypeError as error:
            raise TypeError(f"{wanted}, {given}") from error
        twice = len(set(kinds[kind])) < len(kinds[kind])
        if kind in _TAKEN or not kind.isidentifier() or not kinds[kind] or twice:
            raise ValueError(f"{wanted}, {given}")
    if not kinds:
        raise ValueError(f"{wanted}, got no kind")
    return kinds


def _split(features: Any, name: str) -> list[str]:
    """Return the kinds of features that a text joins by ``+``."""
    if not isinstance(features, str):
        raise TypeError(f"{name} must be text such as 'dynamic+static', got {shown(features)}")
    return features.split("+")


def _as_json(attrs: Any, name: str) -> str:
    wanted = f"{name} must be a mapping of what JSON holds"
    if attrs is not None and not isinstance(attrs, Mapping):
        raise TypeError(f"{wanted}, got {type(attrs).__name__}")
    try:
        return json.dumps(dict(attrs or {}), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{wanted}: {error}") from error


def _numbers(values: Any, name: str) -> np.ndarray:
    """Return a new array of the numbers of points, int64."""
    array = np.asarray(as_real_array(values, name))
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be at most 2**63 - 1, got {array.max()}")
    return np.array(array, np.int64)


def _as_float32(values: Any, name: str) -> np.ndarray:
    """Return a new array in float32; values that are finite stay finite."""
    array = np.asarray(as_real_array(values, name))
    with np.errstate(over="ignore"):
        result = np.array(array, "<f4", order="C")
    if array.dtype.kind == "f" and not np.array_equal(np.isfinite(array), np.isfinite(result)):
        raise ValueError(f"{name} must be in the range of float32, got {np.nanmax(np.abs(array))}")
    return result


def _pairs(batches: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    wanted = "batches must be an iterable of (points, labels)"
    if not isinstance(batches, Iterable):
        raise TypeError(f"{wanted}, got {type(batches).__name__}")

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in batches:
            if not isinstance(batch, Sequence) or len(batch) != 2:
                raise TypeError(f"{wanted}, got an item of type {type(batch).__name__}")
            points, labels = batch
            labels = as_real_array(labels, "labels in batches")
            yield _numbers(points, "points in batches"), np.asarray(labels)

    return pairs()


def _labels_name(name: Any) -> str:
    wanted = "name must be one word of letters, digits, _, + and -"
    if not isinstance(name, str):
        raise TypeError(f"{wanted}, got {shown(name)}")
    if not re.fullmatch(r"\w[\w+-]*", name):
        raise ValueError(f"{wanted}, got {shown(name)}")
    return f"labels-{name}.parquet"


# -- on disk ----------------------------------------------------------------------------------


def _name(number: int) -> str:
    return f"shard-{number:05}.parquet"


def _content(path: Path) -> bytes | None:
    """Return what is in a file, or None if there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    content = _content(path)
    if content is None:
        raise FileNotFoundError(f"{folder} is not a folder of shards: it has no manifest.json")
    cure = "write to another folder, or delete this one and write it again"
    try:
        manifest = json.loads(content)
        version = manifest["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is not the manifest of a folder of shards; {cure}") from None
    if version != VERSION:
        raise ValueError(f"{path} must have the version {VERSION}, got {version!r}; {cure}")
    # Manifests written by earlier versions have no digest.
    digest = manifest.pop("digest", None)
    if not _is_whole(manifest) or digest not in (None, _digest(manifest)):
        raise ValueError(f"{path} was altered: it differs from its digest; {cure}")
    return manifest


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest has all its parts, each of its type, and shards in order."""
    try:
        features, size, shards = (manifest[key] for key in ("features", "shard_size", "shards"))
        last = -math.inf
        for shard in shards:
            facts = [shard[key] for key in ("points", "first", "last", "bytes")]
            if any(type(fact) is not int for fact in facts) or facts[3] < 1:
                return False
            # As many different numbers as points lie from the first to the last.
            if not (last < facts[1] and 0 < facts[0] <= facts[2] - facts[1] + 1):
                return False
            last = facts[2]
        return (
            set(manifest) == _MANIFEST
            and _kinds(features) == features
            and require_integer(size, "shard_size", least=1) == size
            and isinstance(manifest["attrs"], dict)
            and isinstance(shards, list)
            and isinstance(manifest["complete"], bool)
            and -(2**63) <= (shards[0]["first"] if shards else 0)
            and last < 2**63
        )
    except (KeyError, TypeError, ValueError):
        return False


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _as_bytes(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest | {"digest": _digest(manifest)}, indent=1).encode()


def _digest_of_shards(manifest: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of the points and values of shards, however Parquet has stored them."""
    facts = [{key: shard[key] for key in shard if key != "bytes"} for shard in manifest["shards"]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest().encode()


def _fingerprint(manifest: Mapping[str, Any]) -> bytes:
    facts = {key: manifest[key] for key in ("version", "features", "shard_size", "attrs")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest().encode()


def _schema(
    manifest: Mapping[str, Any], number: int, sums: dict[str, list[int]] | None = None
) -> pyarrow.Schema:
    import pyarrow as pa

    types = {"point": pa.int64(), "longitude": pa.float64(), "latitude": pa.float64()}
    types |= {kind: pa.binary(4 * len(names)) for kind, names in manifest["features"].items()}
    return pa.schema(
        [pa.field(name, type_, nullable=False) for name, type_ in types.items()],
        metadata={
            _KEY: _fingerprint(manifest) + b"/%d" % number,
            _SUMS: json.dumps(sums).encode(),
        },
    )


def _write_table(
    path: Path, manifest: Mapping[str, Any], number: int, shard: Mapping[str, np.ndarray]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [
        pa.array(array)
        if array.ndim == 1
        else pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(4 * array.shape[1]),
            len(array),
            [None, pa.py_buffer(np.ascontiguousarray(array))],
        )
        for array in shard.values()
    ]
    pq.write_table(
        pa.Table.from_arrays(columns, schema=_schema(manifest, number, _sums(shard))),
        path,
        row_group_size=BLOCK,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )


def _facts(path: Path, shard: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return what the manifest says of a shard."""
    ids, sums = shard["point"], json.dumps(_sums(shard)).encode()
    facts = {"points": len(ids), "first": int(ids[0]), "last": int(ids[-1])}
    return facts | {"bytes": path.stat().st_size, "sums": hashlib.sha256(sums).hexdigest()}


def _sums(columns: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Return the CRC-32 of the values of each column in each row group."""
    return {
        name: [zlib.crc32(values[a : a + BLOCK]) for a in range(0, len(values), BLOCK)]
        for name, values in columns.items()
    }


def _require_own(path: Path, *, damaged: bool = False) -> None:
    """Raise if a file is there that was not written here; `damaged` ones may be allowed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return
    try:
        own = _KEY in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        own = damaged
    if not own:
        raise FileExistsError(
            f"{path} is there and was not written by cookbook_utils.shards; move it, or write to "
            "another folder"
        )


def _open_shard(folder: Path, manifest: Mapping[str, Any], number: int) -> pq.ParquetFile:
    """Open a shard after a look at its size and its schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, facts = folder / _name(number), manifest["shards"][number]
    if not path.is_file():
        raise FileNotFoundError(f"shard {path} is missing; {_CURE}")
    if (size := path.stat().st_size) < facts["bytes"]:
        raise ValueError(f"{path} is cut short: {size} bytes, expected {facts['bytes']}; {_CURE}")
    expected = _schema(manifest, number)
    try:
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        found = file.schema_arrow
        names = ", ".join(found.names)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ValueError(f"{path} is not a readable shard: {error}; {_CURE}") from None
    meta = found.metadata or {}
    place, sums = meta.get(_KEY), hashlib.sha256(meta.get(_SUMS, b"")).hexdigest()
    if not found.equals(expected) or place != expected.metadata[_KEY]:
        file.close()
        what = "another place" if found.equals(expected) else f"columns {names}"
        raise ValueError(
            f"{path} is a foreign file: it has {what}, expected shard {number} of this folder "
            f"with columns {', '.join(expected.names)}; {_CURE}"
        )
    if facts.get("sums", sums) != sums:  # which manifests of earlier versions do not have
        file.close()
        raise ValueError(
            f"{path} was altered: it holds values of another run, which differ from the checksums "
            f"in the manifest; {_CURE}"
        )
    if (rows := file.metadata.num_rows) != facts["points"] or size != facts["bytes"]:
        file.close()
        raise ValueError(
            f"{path} was altered: {rows} points in {size} bytes, expected {facts['points']} in "
            f"{facts['bytes']}; {_CURE}"
        )
    return file


def _merge(rows: Sequence[range]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for r in rows:
        if merged and merged[-1][1] == r.start:
            merged[-1] = (merged[-1][0], r.stop)
        else:
            merged.append((r.start, r.stop))
    return merged


def _join(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    points, features = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    features.flags.writeable = False
    return Batch(points, features)
