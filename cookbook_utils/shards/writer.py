"""Writing points and features to a folder of shards."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_utils import _files
from cookbook_utils._checks import (
    as_float32,
    as_real_array,
    require_bool,
    require_integer,
    shown,
)
from cookbook_utils._conventions.points import require_coordinates
from cookbook_utils._files import as_path
from cookbook_utils.shards import _manifest, _tables
from cookbook_utils.shards._parameters import (
    as_pids,
    as_point_numbers,
    attributes_as_json,
    check_features,
)


class ShardWriter:
    """Write points and features to a folder of shards, resuming where an earlier run ended.

    Use it for points that do not fit in memory. Each shard is written completely or not at all. If
    another process has written to the folder since this writer opened it, writing raises an error.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder to write to; it is created if it does not exist.
    features : mapping of str to sequence of str
        The kinds of features, and the feature names of each.
    shard_size : int, default 65536
        Points in a shard; the last one may have fewer.
    attrs : mapping of str, optional
        Attributes that say how the features were made (random seeds, sources), which JSON must be
        able to represent. A run is resumed only with the same `features`, `shard_size` and `attrs`.
    with_pids : bool, default False
        Whether the points have identifiers of up to 32 bytes beside their numbers.

    Attributes
    ----------
    folder : pathlib.Path
        The folder.
    features : dict of str to list of str
        The kinds of features, and the feature names of each.
    n_points : int
        Number of points in the shards on disk; the caller resumes after them.
    complete : bool
        Whether the folder has all its points. Nothing can be added to a complete folder.

    Raises
    ------
    TypeError
        If `folder` is not a path, `features` not a mapping of strings to sequences of strings,
        `shard_size` not an integer, or JSON cannot represent `attrs`.
    ValueError
        If `features` or `shard_size` is invalid, the folder holds shards with other `features`,
        `shard_size` or `attrs`, or a shard in it is damaged.
    FileExistsError
        If a file of another origin has the name of a shard.

    See Also
    --------
    PointShards : Read the points of a complete folder of shards.

    Examples
    --------
    >>> import tempfile
    >>> from cookbook_utils.shards import PointShards
    >>> longitude, embedding = np.linspace(20, 21, 10), np.zeros((10, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ShardWriter(folder, {"dynamic": ["a", "b"]}, shard_size=4) as writer:
    ...         at = np.arange(writer.n_points, 10)  # all ten, the first time
    ...         writer.append(at, longitude[at], longitude[at] + 49, dynamic=embedding[at])
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
        with_pids: bool = False,
    ) -> None:
        self.folder = as_path(folder, "folder")
        specification = {
            "version": _manifest.VERSION,
            "features": check_features(features),
            "shard_size": require_integer(shard_size, "shard_size", least=1),
            "attrs": json.loads(attributes_as_json(attrs)),
        }
        if require_bool(with_pids, "with_pids"):
            specification[_manifest.PIDS] = True
        self._path = self.folder / _manifest.MANIFEST
        _files.tidy(self._path)
        self._on_disk = _manifest.read_bytes(self._path)
        if self._on_disk is None:
            self._manifest = specification | {"shards": [], "complete": False}
        else:
            self._manifest = self._resumed(specification)
        self._require_no_foreign_files()
        shards = self._manifest["shards"]
        self._last_number = shards[-1]["last"] if shards else -math.inf
        # Columns of points that do not fill a shard yet, one mapping for each call of `append`.
        self._pending: list[dict[str, np.ndarray]] = []
        self._n_pending = 0

    @property
    def features(self) -> dict[str, list[str]]:
        """The kinds of features, and the feature names of each."""
        return self._manifest["features"]

    @property
    def n_points(self) -> int:
        """Number of points in the shards on disk; the caller resumes after them."""
        return sum(shard["points"] for shard in self._manifest["shards"])

    @property
    def complete(self) -> bool:
        """Whether the folder has all its points."""
        return self._manifest["complete"]

    def append(
        self, points: Any, longitude: Any, latitude: Any, *, pid: Any = None, **features: Any
    ) -> None:
        """Add points, and write every shard that they fill.

        Parameters
        ----------
        points : array_like of int (n,)
            Numbers of the points, strictly increasing within and between calls.
        longitude : array_like of float (n,)
            Longitude in degrees, EPSG:4326, from -180 to 360.
        latitude : array_like of float (n,)
            Latitude in degrees, EPSG:4326.
        pid : array_like of str (n,), optional
            Identifiers of the points, if the folder has them.
        **features : array_like of float (n, features)
            Features of each kind, stored as float32.

        Raises
        ------
        TypeError
            If an array does not hold real numbers, `points` does not hold integers, or `pid` does
            not hold text.
        ValueError
            If an array has the wrong shape, the numbers do not increase, coordinates are out of
            range, a feature is out of the range of float32, an identifier is too long, identifiers
            are given to a folder that has none or are missing, or the folder is complete.
        OSError
            If a shard cannot be written, or another process has written to the folder.
        """
        if self.complete:
            raise ValueError(
                f"{self.folder} is complete with {self.n_points} points, and no more can be "
                "added; delete the folder to write it again"
            )
        columns = self._checked_columns(points, longitude, latitude, pid, features)
        numbers = columns["point"]
        if not numbers.size:
            return
        self._last_number = int(numbers[-1])
        self._pending.append(columns)
        self._n_pending += numbers.size
        self._write_full_shards()

    def close(self) -> None:
        """Write the last, smaller shard and mark the folder as complete.

        Raises
        ------
        OSError
            If the shard cannot be written, or another process has written to the folder.
        """
        if self.complete:
            return
        self._write(self._joined() if self._n_pending else None, complete=True)
        self._pending, self._n_pending = [], 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self.close()

    def _resumed(self, specification: Mapping[str, Any]) -> dict[str, Any]:
        """Return the manifest of the folder, or raise if it or a shard does not match."""
        manifest = _manifest.read_manifest(self.folder)
        for key, value in ({_manifest.PIDS: None} | specification).items():
            if (found := manifest.get(key)) != value:
                raise ValueError(
                    f"{self.folder} already holds shards with other {key}: "
                    f"{_difference(value, found)}; delete the folder, or write to another one"
                )
        for number in range(len(manifest["shards"])):
            _tables.open_shard(self.folder, manifest, number).close()
        return manifest

    def _require_no_foreign_files(self) -> None:
        """Raise if a file that no writer has written would be replaced by a shard."""
        known = set(map(_tables.shard_name, range(len(self._manifest["shards"]))))
        for path in self.folder.glob("shard-*.parquet"):
            if path.name not in known:
                _tables.require_own(path)

    def _checked_columns(
        self, points: Any, longitude: Any, latitude: Any, pid: Any, features: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """Return new arrays of the columns of a shard, or raise if the values are not valid."""
        widths = {kind: len(names) for kind, names in self.features.items()}
        if set(features) != set(widths):
            raise ValueError(
                f"features must be of the kinds {sorted(widths)}, got {sorted(features)}"
            )
        has_pids = _manifest.PIDS in self._manifest
        pid = None if pid is None else as_pids(pid, "pid")
        if (pid is not None) != has_pids:
            needed = "be given" if has_pids else "be None, for a folder without identifiers"
            raise ValueError(f"pid must {needed}, got {shown(pid)}")
        columns = {
            "point": as_point_numbers(points, "points"),
            "longitude": np.array(as_real_array(longitude, "longitude"), np.float64),
            "latitude": np.array(as_real_array(latitude, "latitude"), np.float64),
            **({"pid": pid} if has_pids else {}),
            **{kind: as_float32(features[kind], kind) for kind in widths},
        }
        numbers = columns["point"]
        for name, values in columns.items():
            shape = (numbers.size, widths[name]) if name in widths else (numbers.size,)
            if values.shape != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {values.shape}")
        if not numbers.size:
            return columns
        require_coordinates(columns["longitude"], columns["latitude"], east=360)
        # Compared, not subtracted: a difference may overflow int64.
        if numbers[0] <= self._last_number or np.any(numbers[1:] <= numbers[:-1]):
            raise ValueError(
                "points must be strictly increasing numbers, within and between calls, got "
                f"{numbers[:3]}... after {self._last_number}"
            )
        return columns

    def _write_full_shards(self) -> None:
        """Write all shards that the pending points fill, and keep the remaining points."""
        size = self._manifest["shard_size"]
        if self._n_pending < size:
            return
        rest = self._joined()
        while self._n_pending >= size:
            self._write({name: values[:size] for name, values in rest.items()})
            rest = {name: values[size:] for name, values in rest.items()}
            self._pending, self._n_pending = [rest], self._n_pending - size
        # A view would keep the points in memory that are on disk now.
        self._pending = [{name: values.copy() for name, values in rest.items()}]

    def _joined(self) -> dict[str, np.ndarray]:
        """Return the columns of all pending points."""
        return {
            name: np.concatenate([columns[name] for columns in self._pending])
            for name in self._pending[0]
        }

    def _write(self, shard: Mapping[str, np.ndarray] | None, *, complete: bool = False) -> None:
        """Write a shard, if there is one, and then the manifest that lists it."""
        shards = self._manifest["shards"]
        path = self.folder / _tables.shard_name(len(shards))
        with _files.claim(self._path) as claim:
            if _manifest.read_bytes(self._path) != self._on_disk:
                raise OSError(
                    f"{self.folder} is being written by another process, which has changed its "
                    "manifest; open it again, or write to another folder"
                )
            if shard is not None:
                _tables.require_own(path)
                sums = _tables.checksums(shard)
                with claim.replacing(path) as temporary:
                    _tables.write_shard(temporary, self._manifest, len(shards), shard, sums)
                shards = [*shards, _tables.facts_of(path, shard["point"], sums)]
            changed = self._manifest | {"shards": shards, "complete": complete}
            content = _manifest.manifest_bytes(changed)
            try:
                with claim.replacing(self._path) as temporary:
                    temporary.write_bytes(content)
            except BaseException:
                if shard is not None:
                    path.unlink(missing_ok=True)
                raise
        self._manifest, self._on_disk = changed, content


def write_once(
    folder: Path,
    features: Mapping[str, Sequence[str]],
    write: Callable[[ShardWriter], None],
    *,
    shard_size: int,
    attrs: Mapping[str, Any],
    with_pids: bool = False,
) -> None:
    """Write a folder of shards, unless it is complete, in one process at a time.

    Parameters
    ----------
    folder : pathlib.Path
        Folder to write to.
    features : mapping of str to sequence of str
        As for `ShardWriter`.
    write : callable
        Function that gets a writer and appends the points that it does not have yet.
    shard_size : int
        As for `ShardWriter`.
    attrs : mapping of str
        As for `ShardWriter`.
    with_pids : bool, default False
        As for `ShardWriter`.

    Raises
    ------
    ValueError
        If the folder holds shards with other `features`, `shard_size` or `attrs`.
    OSError
        If the folder cannot be written, or another process is still writing it after two minutes.
    """

    def open_writer() -> ShardWriter:
        return ShardWriter(
            folder, features, shard_size=shard_size, attrs=attrs, with_pids=with_pids
        )

    if open_writer().complete:
        return
    with _files.claim(folder / _manifest.MANIFEST):
        writer = open_writer()
        if not writer.complete:  # another process may have completed it meanwhile
            with writer:
                write(writer)


def _difference(expected: Any, found: Any) -> str:
    """Describe the first entry in which two values differ, on one line of limited length."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in (*expected, *found):
            if expected.get(key) != found.get(key):
                return f"{key}, {_difference(expected.get(key), found.get(key))}"
    return f"it must be {shown(expected)}, got {shown(found)}"
