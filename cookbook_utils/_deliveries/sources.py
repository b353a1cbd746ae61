"""Find the deliveries that a user names, and join those of one product to one set of points."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_utils._checks import require_choice, shown
from cookbook_utils._deliveries.blocks import COLUMNS, Block, Delivery
from cookbook_utils._deliveries.egms import EgmsTable, is_hidden
from cookbook_utils._deliveries.mintpy import SUFFIXES, MintPySeries
from cookbook_utils._files import as_path

DATES = ("same", "common", "all")


class Deliveries:
    """One or more deliveries with the same columns as one sequence of points.

    Parameters
    ----------
    items : sequence of Delivery
        The deliveries, one at least.
    dates : {"same", "common", "all"}
        Which dates the points have, as for `insar.open_points`.

    Raises
    ------
    ValueError
        If the deliveries do not belong together.
    """

    def __init__(self, items: Sequence[Delivery], dates: str) -> None:
        self.items = list(items)
        _require_one_product(self.items)
        self.columns = self.items[0].columns
        self.dates = _joined_dates(self.items, dates)

    def blocks(self, *, warn: bool = True) -> Iterator[tuple[int, Block]]:
        """Yield all points with the number of their delivery, on the dates of all."""
        looks: list[tuple[float, Path]] = []
        for number, item in enumerate(self.items):
            place = {date: k for k, date in enumerate(item.dates)}
            at = np.array([place.get(date, -1) for date in self.dates])
            is_whole = item.dates == self.dates
            for start, block in enumerate(item.blocks(warn=warn)):
                look = block.columns.get("los_east", np.empty(0))
                if start == 0 and np.isfinite(look).any():
                    looks.append((float(np.nanmedian(look)), item.path))
                    _require_one_look(looks)
                columns = {name: block.columns[name] for name in self.columns}
                series = block.displacement
                if not is_whole:
                    series = np.where(at < 0, np.float32(np.nan), series[:, at])
                yield number, block._replace(displacement=series, columns=columns)

    @property
    def title(self) -> str:
        """Title of the points."""
        kind = "MintPy" if isinstance(self.items[0], MintPySeries) else "EGMS"
        more = f" and {len(self.items) - 1} more" if len(self.items) > 1 else ""
        return f"{kind} points, {self.items[0].path.stem}{more}"

    @property
    def source(self) -> str:
        """Who made the points."""
        return self.items[0].source

    def folders(self) -> set[Path]:
        """Return the folders of all files."""
        return {file.resolve().parent for item in self.items for file in item.files()}

    def attributes_of(self, name: str) -> dict[str, str]:
        """Return the attributes of a variable."""
        direction = self.items[0].direction
        if name == "displacement":
            return {"units": "mm", "long_name": f"displacement {direction}"}
        units, long_name = COLUMNS.get(name, (None, name))
        long_name = long_name.replace("toward the satellite", direction)
        return {"long_name": long_name} | ({"units": units} if units else {})

    def name_of(self, row: int) -> str:
        """Return the pid of a point, which is read again."""
        for _, block in self.blocks(warn=False):
            if row < block.size:
                return str(block.pid[row])
            row -= block.size
        raise IndexError(row)


def find_deliveries(source: Any, layers: Any, dates: Any) -> Deliveries:
    """Open the deliveries of a path, a folder, or a sequence of paths; see `insar.open_points`."""
    dates = require_choice(dates, "dates", DATES)
    extra = None if layers is None else _paths_of(layers, "layers")
    items: list[Delivery] = []
    for path in _paths_of(source, "source"):
        for file in _files_in(path) if path.is_dir() else [path]:
            if file.suffix.lower() in SUFFIXES:
                items.append(MintPySeries(file, extra))
            else:
                items.append(EgmsTable(file))
    if extra is not None and not any(isinstance(item, MintPySeries) for item in items):
        raise ValueError("layers must be None for points of EGMS, which have columns instead")
    return Deliveries(items, dates)


def _paths_of(value: Any, name: str) -> list[Path]:
    """Return one path, or a sequence of paths, as distinct paths, or raise."""
    if isinstance(value, str | os.PathLike):
        return [as_path(value, name)]
    if isinstance(value, bytes) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a path or a sequence of paths, got {shown(value)}")
    paths = [as_path(item, f"{name}[{k}]") for k, item in enumerate(value)]
    if not paths:
        raise ValueError(f"{name} must hold at least one path, got none")
    whole = [path.resolve() for path in paths]
    if repeated := [str(p) for p, w in zip(paths, whole, strict=True) if whole.count(w) > 1]:
        raise ValueError(f"{name} must hold each path once, got {repeated[0]} more than once")
    return paths


def _files_in(folder: Path) -> list[Path]:
    """Return the deliveries of a folder, sorted by name, or raise if there are none."""
    found = sorted(p for p in folder.iterdir() if p.is_file() and not is_hidden(p.name))
    tables = [path for path in found if path.suffix.lower() in (".csv", ".zip")]
    series = [
        path for path in found
        if path.suffix.lower() == ".he5"
        or (path.suffix.lower() in SUFFIXES and "timeseries" in path.name.lower())
    ]  # fmt: skip
    if tables and not series:
        return tables
    if len(series) == 1 and not tables:
        return series
    if series:
        names = ", ".join(path.name for path in [*tables, *series][:12])
        raise ValueError(f"{folder} holds several deliveries, {names}: name one of them as source")
    raise FileNotFoundError(
        f"{folder} must be a folder of shards, or of points as .csv, .zip or timeseries.h5, got "
        "none of these in it"
    )


# -- what belongs together --------------------------------------------------------------------


def _require_one_product(items: Sequence[Delivery]) -> None:
    """Raise ValueError unless the deliveries hold the same columns, seen in one direction."""
    first = items[0]
    if len(items) > 1 and any(isinstance(item, MintPySeries) for item in items):
        raise ValueError(
            f"source must be one time series of MintPy, got {len(items)} files: open each by itself"
        )
    for item in items[1:]:
        if item.direction != first.direction:
            raise ValueError(
                f"{first.path} holds displacements {first.direction}, {item.path} displacements "
                f"{item.direction}: open each by itself"
            )
        if item.product != first.product:
            raise ValueError(
                f"{first.path} is of {first.product or 'no known product'}, {item.path} of "
                f"{item.product or 'none'}: displacements of different tracks and levels have "
                "different directions and references; open each by itself"
            )
        if set(item.columns) != set(first.columns):
            apart = sorted({*item.columns} ^ {*first.columns})
            raise ValueError(
                f"{item.path} must have the same columns as {first.path}, got {', '.join(apart)} "
                "in only one of them"
            )


def _joined_dates(items: Sequence[Delivery], dates: str) -> list[str]:
    """Return the dates of all deliveries, or raise ValueError if they differ and may not."""
    every = sorted({date for item in items for date in item.dates})
    common = [date for date in every if all(date in item.dates for item in items)]
    if dates == "same" and common != every:
        some = next(item for item in items if item.dates != every)
        lacks = sorted(set(every) - set(some.dates))
        raise ValueError(
            f"{some.path} must have the dates of the other files, got none for {lacks[0]} and "
            f"{len(lacks) - 1} more of {len(every)}: give dates='common' to keep the {len(common)} "
            "dates that all have, or dates='all' to leave gaps"
        )
    if dates == "all" and not common:
        warnings.warn(
            "the files have no date in common: their displacements begin at different times, and "
            "clusters may separate the files rather than the motion",
            stacklevel=5,
        )
    if dates != "common":
        return every
    if not common:
        raise ValueError("source must hold files with at least one common date, got none")
    return common


def _require_one_look(looks: Sequence[tuple[float, Path]]) -> None:
    """Raise ValueError if one delivery was seen from the east and another from the west."""
    (first, path), (last, other) = looks[0], looks[-1]
    if first * last < 0:
        raise ValueError(
            f"{path} and {other} are seen from opposite sides, as their los_east shows "
            f"({first:.2f} and {last:.2f}): open each by itself"
        )
