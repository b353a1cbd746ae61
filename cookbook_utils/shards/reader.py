"""Reading points and features from a complete folder of shards, and labels beside them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from cookbook_utils._checks import (
    require_bool,
    require_choice,
    require_integer,
    require_number,
    require_random_state,
    shown,
)
from cookbook_utils._files import as_path
from cookbook_utils.shards import _batches, _labels, _tables
from cookbook_utils.shards._batches import Batch
from cookbook_utils.shards._manifest import PIDS, read_manifest
from cookbook_utils.shards._parameters import COORDINATES, attributes_as_json, check_kinds
from cookbook_utils.shards.split import is_test


class PointShards:
    """Read the points of a complete folder of shards, in slices or in batches.

    Use it for points that do not fit in memory. Opening a folder compares the size, the schema and
    the number of rows of each shard with the manifest. Values are compared with their checksums
    when they are read; `verify` reads and compares all of them.

    Parameters
    ----------
    folder : str or os.PathLike
        A folder that a `ShardWriter` completed.

    Attributes
    ----------
    folder : pathlib.Path
        The folder.
    n_points : int
        Number of points.
    features : dict of str to list of str
        The kinds of features, and the feature names of each.
    attrs : dict
        The attributes that were given to the writer.
    has_pids : bool
        Whether the points have identifiers beside their numbers.

    Raises
    ------
    TypeError
        If `folder` is not a path.
    FileNotFoundError
        If there is no manifest, or a shard is missing.
    ValueError
        If the folder is not complete, or a shard is damaged or belongs to another folder. The error
        names the shard.

    See Also
    --------
    ShardWriter : Write points and features to a folder of shards.

    Examples
    --------
    >>> import tempfile
    >>> from cookbook_utils.shards import ShardWriter
    >>> numbers = np.arange(5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ShardWriter(folder, {"dynamic": ["a"]}) as writer:
    ...         writer.append(numbers, numbers / 10, numbers / 10, dynamic=numbers[:, np.newaxis])
    ...     shards = PointShards(folder)
    ...     batches = [batch.points.tolist() for batch in shards.batches(batch_size=3)]
    ...     path = shards.write_labels("parity", [(numbers, numbers % 2)])
    ...     labels = shards.read_labels("parity")
    >>> batches, labels.values.tolist()
    ([[0, 1, 2], [3, 4]], [0, 1, 0, 1, 0])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder: Path = as_path(folder, "folder")
        manifest = read_manifest(self.folder)
        if not manifest["complete"]:
            points = [shard["points"] for shard in manifest["shards"]]
            raise ValueError(
                f"{self.folder} is not complete, it holds {len(points)} shards with {sum(points)} "
                "points: run the program that writes it again, which resumes after them"
            )
        self._table = _tables.ShardTable(self.folder, manifest)
        self.n_points: int = self._table.n_points
        self.features: dict[str, list[str]] = manifest["features"]
        self.attrs: dict[str, Any] = manifest["attrs"]
        self.has_pids: bool = PIDS in manifest
        pids = ["pid"] if self.has_pids else []
        self._columns = [*COORDINATES, *pids, *self.features]

    def __reduce__(self) -> tuple:
        return PointShards, (self.folder,)  # a worker process opens the folder itself

    def read(self, column: str, rows: slice = slice(None)) -> np.ndarray:
        """Read one column of consecutive points.

        Parameters
        ----------
        column : str
            ``"point"``, ``"longitude"``, ``"latitude"``, a kind of features, or ``"pid"`` if the
            points have identifiers.
        rows : slice, default slice(None)
            Positions in the folder, counted from 0, with a step of 1; by default all.

        Returns
        -------
        numpy.ndarray
            The column, read-only: int64, float64 or text (n,), or float32 (n, features).

        Raises
        ------
        TypeError
            If `column` is not a string or `rows` not a slice of integers.
        ValueError
            If there is no such column, the step is not 1, or a shard is damaged.
        """
        require_choice(column, "column", self._columns)
        expected = "rows must be a slice of integers with a step of 1"
        try:
            start, stop, step = rows.indices(self.n_points)
        except (AttributeError, TypeError) as error:
            raise TypeError(f"{expected}, got {shown(rows)}") from error
        except ValueError:  # a step of 0
            step = 0
        if step != 1:
            raise ValueError(f"{expected}, got {shown(rows)}")
        values = self._table.read([column], [range(start, max(start, stop))])[0]
        return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values

    def batches(
        self,
        kinds: Sequence[str] = ("dynamic",),
        *,
        batch_size: int = 256,
        split: Literal["train", "test"] | None = None,
        test_fraction: float = 0.2,
        shuffle: bool = False,
        random_state: int = 0,
        epoch: int = 0,
    ) -> Iterator[Batch]:
        """Iterate over all points, or those of a split, in batches, each point once.

        Every batch has `batch_size` points, except for the last one, which has the remaining
        points. Points are read 65 536 at a time.

        Parameters
        ----------
        kinds : sequence of str, default ("dynamic",)
            Kinds of features to read, for example ``("dynamic", "static")``. Their columns are
            concatenated in this order.
        batch_size : int, default 256
            Points in a batch.
        split : {"train", "test"}, optional
            Which points to read, as `is_test` splits them; by default all.
        test_fraction : float, default 0.2
            Expected fraction of test points, from 0 to 1.
        shuffle : bool, default False
            Whether to shuffle: the row groups of 8192 points are read in random order, and the
            points of eight row groups are permuted together. By default points come in the order of
            the folder.
        random_state : int, default 0
            Random seed of the split and of the order, from 0 to 2**32 - 1.
        epoch : int, default 0
            Number of the pass over the points. With `shuffle`, each epoch has another order; the
            split is the same.

        Returns
        -------
        iterator of Batch
            Batches with ``points`` (n,) and ``features`` (n, features).

        Raises
        ------
        TypeError
            If a parameter has the wrong type.
        ValueError
            If a parameter is out of range, there are no such features or, while iterating, a shard
            is damaged.

        See Also
        --------
        is_test : Return which points are test points.
        """
        batch_size = require_integer(batch_size, "batch_size", least=1)
        random_state = require_random_state(random_state)
        epoch = require_integer(epoch, "epoch", least=0)
        order = None
        if require_bool(shuffle, "shuffle"):
            order = np.random.default_rng([random_state, epoch])
        return stream_points(
            self,
            kinds,
            batch_size,
            split=split,
            test_fraction=test_fraction,
            random_state=random_state,
            order=order,
        )

    def write_labels(
        self,
        name: str,
        batches: Iterable[tuple[Any, Any]],
        *,
        attrs: Mapping[str, Any] | None = None,
    ) -> Path:
        """Store a label for every point beside the points.

        The file is replaced only once all labels are written.

        Parameters
        ----------
        name : str
            Name of the labels: one word of letters, digits, ``_``, ``+`` and ``-``. Labels of the
            same name are replaced.
        batches : iterable of (points, labels)
            Numbers of points and their labels, integers from 0 to 254 or 255 for nodata, in any
            order, every point once.
        attrs : mapping of str, optional
            Attributes of the labels, such as ``flag_values`` and ``flag_meanings``.

        Returns
        -------
        pathlib.Path
            The file ``labels-<name>.parquet``. It has the columns ``point`` and ``label`` in the
            order of the folder, and one row group for each shard.

        Raises
        ------
        TypeError
            If `name` is not a string, `batches` does not give pairs of points and labels, or JSON
            cannot represent `attrs`.
        ValueError
            If `name` is not a word, a point is unknown or has no label or several, or a label is
            out of range.
        OSError
            If the labels cannot be written. Earlier labels of the same name are kept.
        """
        return _labels.write_labels(self._table, name, batches, attributes_as_json(attrs))

    def read_labels(self, name: str) -> xr.DataArray:
        """Read the labels of all points.

        Parameters
        ----------
        name : str
            The name that was given to `write_labels`.

        Returns
        -------
        xarray.DataArray
            Labels (point,), uint8, in the order of the folder, with the attributes that were given
            to `write_labels` and ``_FillValue`` 255.

        Raises
        ------
        TypeError
            If `name` is not a string.
        FileNotFoundError
            If there are no labels of that name.
        ValueError
            If `name` is not a word, or the file is damaged or belongs to other points or features.
        """
        return _labels.read_labels(self._table, name)

    def verify(self) -> None:
        """Read every value of every shard and compare it with its checksum.

        Raises
        ------
        ValueError
            If a value was altered since it was written. The error names the shard.
        """
        for rows in self._table.shard_rows():
            for column in self._columns:
                self._table.read([column], [rows])

    def digest(self, kinds: Sequence[str]) -> str:
        """Return a digest of points and features that does not depend on the shard size.

        Parameters
        ----------
        kinds : sequence of str
            Kinds of features to include beside the numbers and coordinates of the points.

        Returns
        -------
        str
            SHA-256 in hexadecimal digits.

        Raises
        ------
        TypeError
            If `kinds` is not a sequence of strings.
        ValueError
            If there are no such features, or a shard is damaged.
        """
        kinds = check_kinds(kinds, self.features, self.folder)
        hashes = {column: hashlib.sha256() for column in (*COORDINATES, *kinds)}
        for start in range(0, self.n_points, _tables.POINTS_PER_GROUP):
            rows = slice(start, start + _tables.POINTS_PER_GROUP)
            for column, digest in hashes.items():
                digest.update(self.read(column, rows))
        facts = {column: digest.hexdigest() for column, digest in hashes.items()}
        names = {kind: self.features[kind] for kind in kinds}
        return hashlib.sha256(json.dumps([facts, names], sort_keys=True).encode()).hexdigest()


def stream_points(
    shards: PointShards,
    kinds: Sequence[str],
    batch_size: int,
    *,
    split: str | None,
    test_fraction: float,
    random_state: int,
    order: np.random.Generator | None,
) -> Iterator[Batch]:
    """Iterate as `PointShards.batches` does, in the order that a random generator draws.

    If `order` is None, points come in the order of the folder.
    """
    kinds = check_kinds(kinds, shards.features, shards.folder)
    require_number(test_fraction, "test_fraction", least=0, most=1)
    select = None
    if split is not None:
        is_wanted = require_choice(split, "split", ["train", "test"]) == "test"

        def select(points: np.ndarray) -> np.ndarray:
            options = {"test_fraction": test_fraction, "random_state": random_state}
            return is_test(points, **options) == is_wanted

    return _batches.stream(shards._table, kinds, batch_size, select=select, order=order)
