"""Find points that occur more than once, in memory that does not depend on their number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cookbook_utils._deliveries.blocks import Block
from cookbook_utils._hashing import splitmix64

_FILES = 64  # scratch files, each of which is sorted in memory
_KEYS = ("0123456789abcdef", "fedcba9876543210")  # of two hashes of 64 bits, to exclude collisions
_RECORD = np.dtype([("pid", "u8", 2), ("content", "u8"), ("row", "i8"), ("source", "i4")])


class Pair(NamedTuple):
    """Two points of the same pid."""

    row: int
    """Position of the later one among all points."""
    sources: tuple[int, int]
    """Numbers of the deliveries that hold the earlier and the later one."""
    is_same: bool
    """Whether all their values are equal."""


class DuplicateFinder:
    """Hashes of the pid and the values of points, on disk.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where the scratch files lie; by default, in the system's folder for temporary files. They
        have no names, so that a killed process leaves none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._stack, self.n_points = ExitStack(), 0
        self._files = [
            self._stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(_FILES)
        ]

    def __enter__(self) -> DuplicateFinder:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, block: Block, source: int) -> None:
        """Add the next points, which belong to the delivery of this number."""
        records = np.empty(block.size, _RECORD)
        texts = block.pid.astype(object)
        for k, key in enumerate(_KEYS):
            records["pid"][:, k] = pd.util.hash_array(texts, hash_key=key, categorize=False)
        records["content"] = _hashed(block)
        records["row"] = np.arange(self.n_points, self.n_points + block.size)
        records["source"] = source
        self.n_points += block.size
        file_of = records["pid"][:, 0] % np.uint64(_FILES)
        records = records[np.argsort(file_of, kind="stable")]
        ends = np.cumsum(np.bincount(file_of.astype(int), minlength=_FILES)).tolist()
        for file, start, stop in zip(self._files, [0, *ends], ends, strict=False):
            file.write(records[start:stop].tobytes())

    def pairs(self) -> Iterator[Pair]:
        """Yield each point whose pid an earlier one has, with the first such point."""
        for file in self._files:
            file.seek(0)
            records = np.frombuffer(file.read(), _RECORD)
            order = np.lexsort((records["row"], *records["pid"].T))
            pids = records["pid"][order]
            same = np.flatnonzero((pids[1:] == pids[:-1]).all(axis=1)) + 1
            first = np.arange(len(order))
            for k in same.tolist():
                first[k] = first[k - 1]
                one, other = records[order[first[k]]], records[order[k]]
                sources = int(one["source"]), int(other["source"])
                yield Pair(int(other["row"]), sources, bool(one["content"] == other["content"]))


def _hashed(block: Block) -> np.ndarray:
    """Return a hash of 64 bits of all values of each point."""
    places = np.stack([block.longitude, block.latitude], axis=1).view(np.uint64)
    others = [values.astype(np.float32) for values in block.columns.values()]
    singles = np.column_stack([block.displacement, *others]).astype(np.float32) + np.float32(0)
    singles[np.isnan(singles)] = np.nan  # one NaN of many
    total = np.zeros(block.size, np.uint64)
    with np.errstate(over="ignore"):
        for values in (places, singles.view(np.uint32).astype(np.uint64)):
            for column in values.T:
                total = splitmix64(total + column)
    return total
