"""Read deliveries into memory, or write them to shards; each point once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_utils import _files
from cookbook_utils._deliveries.blocks import EXACT, Block
from cookbook_utils._deliveries.duplicates import DuplicateFinder
from cookbook_utils._deliveries.sources import Deliveries
from cookbook_utils.shards import ShardWriter
from cookbook_utils.shards._manifest import MANIFEST
from cookbook_utils.shards._parameters import PID_BYTES
from cookbook_utils.shards.writer import write_once


def read_all(deliveries: Deliveries) -> Block:
    """Return all points in memory."""
    blocks = []
    with DuplicateFinder() as finder:
        for number, block in deliveries.blocks():
            finder.add(block, number)
            blocks.append(block)
        skipped = _rows_to_skip(finder, deliveries, stacklevel=4)
    points = Block.joined(blocks)
    if not skipped.size:
        return points
    keep = np.ones(points.size, bool)
    keep[skipped] = False
    return points.where(keep)


def write_all(
    folder: Path,
    deliveries: Deliveries,
    static: Sequence[str],
    *,
    shard_size: int,
    bar: Callable[..., Iterable],
) -> None:
    """Write all points to shards, in memory that does not depend on their number.

    The deliveries are read twice: the first pass checks every value and finds points that occur
    more than once, so that nothing is written of deliveries that are wrong.

    Parameters
    ----------
    folder
        Folder of the shards. If it already holds these points, it is unchanged.
    deliveries
        The points.
    static
        Columns that become the features ``static``; others become the features ``other``, except
        for easting and northing, which float32 cannot hold.
    shard_size
        Points in a shard.
    bar
        Progress bar, as from `_checks.progress_bar`.
    """
    others = [name for name in deliveries.columns if name not in {*static, *EXACT}]
    kinds = {"displacement": deliveries.dates, "static": list(static), "other": others}
    kinds = {kind: names for kind, names in kinds.items() if names}
    attrs = _attrs(deliveries, [name for names in list(kinds.values())[1:] for name in names])
    attrs["static_features"] = list(static)

    def write(writer: ShardWriter) -> None:
        with _files.reporting(folder / MANIFEST), DuplicateFinder(folder) as finder:
            for number, block in bar(deliveries.blocks(), desc="checking points", total=None):
                _require_short_pids(deliveries.items[number].path, block)
                finder.add(block, number)
            skipped = _rows_to_skip(finder, deliveries, stacklevel=6)
        _append(writer, deliveries, kinds, skipped, bar)

    write_once(folder, kinds, write, shard_size=shard_size, attrs=attrs, with_pids=True)


def _attrs(deliveries: Deliveries, names: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of shards, by which an interrupted run recognizes its sources."""
    files = [file for item in deliveries.items for file in item.files()]
    return {
        "title": deliveries.title,
        "source": deliveries.source,
        "crs": "EPSG:4326",
        "variables": {name: deliveries.attributes_of(name) for name in ("displacement", *names)},
        "sources": [[file.name, *_files.size_and_crc32(file)] for file in files],
    }


def _require_short_pids(path: Path, block: Block) -> None:
    """Raise ValueError if a pid has more bytes than shards can hold."""
    sizes = np.char.str_len(np.char.encode(block.pid, "utf-8"))
    if sizes.max() > PID_BYTES:
        raise ValueError(
            f"{path}: a pid must have at most {PID_BYTES} bytes in shards, got "
            f"{str(block.pid[sizes.argmax()])!r:.60}"
        )


def _append(
    writer: ShardWriter,
    deliveries: Deliveries,
    kinds: dict[str, list[str]],
    skipped: np.ndarray,
    bar: Callable[..., Iterable],
) -> None:
    """Append the points that the writer does not have yet, without those to skip."""
    n_read = n_kept = 0  # of the points of all blocks so far
    n_written = writer.n_points
    for _, block in bar(deliveries.blocks(warn=False), desc="writing points", total=None):
        low, high = np.searchsorted(skipped, [n_read, n_read + block.size])
        keep = np.ones(block.size, bool)
        keep[skipped[low:high] - n_read] = False
        n_read += block.size
        block = block.where(keep)
        number = np.arange(n_kept, n_kept + block.size)
        n_kept += block.size
        rest = slice(max(n_written - int(number[0]), 0) if block.size else 0, None)
        if number[rest].size:
            _append_block(writer, number[rest], block.where(rest), kinds)


def _append_block(
    writer: ShardWriter, number: np.ndarray, block: Block, kinds: dict[str, list[str]]
) -> None:
    """Append the points of a block."""
    features = {
        kind: np.stack([block.columns[name] for name in names], axis=1)
        for kind, names in kinds.items()
        if kind != "displacement"
    }
    place = block.longitude, block.latitude
    writer.append(number, *place, pid=block.pid, displacement=block.displacement, **features)


def _rows_to_skip(
    finder: DuplicateFinder, deliveries: Deliveries, *, stacklevel: int
) -> np.ndarray:
    """Return the rows of points that an earlier file has, ascending, or raise if they differ."""
    rows, pair = [], None
    for pair in finder.pairs():
        first, last = (deliveries.items[number].path for number in pair.sources)
        if first == last:
            raise ValueError(
                f"{first}: the column pid must hold each value once, got "
                f"{deliveries.name_of(pair.row)!r} more than once"
            )
        if not pair.is_same:
            raise ValueError(
                f"{first} and {last} must have the same values for points of the same pid, got "
                f"different ones for {deliveries.name_of(pair.row)!r}: leave one of the files out"
            )
        rows.append(pair.row)
    if pair is not None:
        warnings.warn(
            f"{len(rows)} points are in several files, among them {first} and {last}, with the "
            "same values, and are taken once",
            stacklevel=stacklevel,
        )
    return np.sort(np.array(rows, np.int64))
