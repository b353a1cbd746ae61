"""Tables of the European Ground Motion Service (EGMS), Level 2a, 2b and 3, block by block.

References
----------
EGMS-D6, Product Description and Format Specification, European Ground Motion Service, Copernicus
Land Monitoring Service: names and units of the columns.
"""

from __future__ import annotations

import csv
import io
import lzma
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import numpy as np

from cookbook_utils._conventions.points import RESERVED_NAMES, require_radar_date
from cookbook_utils._deliveries.blocks import (
    COLUMNS,
    EXACT,
    Block,
    require_displacement,
    require_finite,
)

RENAMED = {"height_ortho": "height"}  # name in deliveries of 2018-2022 and 2020-2024
PLACES = ("longitude", "latitude"), ("easting", "northing")  # a table has one pair, or both
KNOWN = {"pid", "longitude", "latitude", *COLUMNS, *RENAMED}  # in any case
LONGEST_LINE = 1 << 17  # bytes; lines of deliveries have up to 4000
LARGEST_RATIO = 50  # of the size of a CSV to its compressed size; numbers in text have about 4
SMALL_CSV = 1 << 26  # bytes up to which any compression ratio is accepted
BYTES_PER_BATCH = 1 << 23  # bytes of the CSV that are parsed at a time
DIRECTIONS = {"U": "upward", "E": "toward the east"}  # of Level 3, by the letter in its file name


class EgmsTable:
    """A CSV, or the only CSV of a zip, whose header was read.

    Attributes and methods are those of `blocks.Delivery`.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or the header has other columns than expected.
    """

    source = "European Ground Motion Service, Copernicus Land Monitoring Service"

    def __init__(self, path: Path) -> None:
        self.path = path
        with _faults_of(path, []), _open_csv(path) as stream:
            names = _split(stream.readline().decode("utf-8-sig"))
        self._names = [name.lower() if name.lower() in KNOWN else name for name in names]
        self._dates = _dates_of(path, self._names)
        self.dates = [parse_date(name).isoformat() for name in self._dates]
        others = set(self._names) - {"pid", "longitude", "latitude", *self._dates}
        self.columns = [RENAMED.get(name, name) for name in self._names if name in others]
        self.product, self.direction = None, "toward the satellite"
        if found := re.search(r"EGMS_L(2[ab])_(\d{3})_", path.name, re.IGNORECASE):
            self.product = f"Level {found[1].lower()}, track {found[2]}"
        if found := re.search(r"EGMS_L3_\w*?_100km_([UE])_", path.name, re.IGNORECASE):
            self.direction = DIRECTIONS[found[1].upper()]
        elif "longitude" not in self._names:  # Level 3 in a file of another name
            self.direction = "in the direction of the product"

    def files(self) -> list[Path]:
        """Return the file."""
        return [self.path]

    def blocks(self, *, warn: bool = True) -> Iterator[Block]:
        """Yield all points; see `blocks.Delivery`.

        Raises
        ------
        ValueError
            If a line has another number of cells than the header, a cell is not a number, a pid is
            empty, a value is out of range, or there are no points.

        Warns
        -----
        UserWarning
            If the coordinates are implausible.
        """
        places, n_points = _Places(self.path), 0
        with _faults_of(self.path, self._names):
            for values, displacement in _batches(self.path, self._names, self._dates):
                block = self._block(values, displacement, places)
                require_displacement(self.path, block, self._dates)
                n_points += block.size
                yield block
        if not n_points:
            raise ValueError(f"{self.path}: the CSV must hold points, got only a header")
        places.conclude(warn=warn)

    def _block(
        self, values: dict[str, np.ndarray], displacement: np.ndarray, places: _Places
    ) -> Block:
        """Return the points of a batch, or raise if a value is wrong."""
        # Spaces, and the byte order mark that editors put at the start of a file.
        pid = np.char.strip(values.pop("pid").astype(str), " \t\ufeff")
        if n_empty := np.count_nonzero(pid == ""):
            raise ValueError(f"{self.path}: {n_empty} of {len(pid)} points have an empty pid")
        if set(PLACES[0]) <= set(values):
            place = values.pop("longitude"), values.pop("latitude")
        else:
            place = _degrees_of(values["easting"], values["northing"])
        columns = {RENAMED.get(name, name): array for name, array in values.items()}
        columns = {name: columns[name] for name in self.columns}
        block = Block(pid, *place, displacement, columns)
        require_finite(self.path, block)
        places.add(block)
        return block


def parse_date(name: str) -> date:
    """Return the date that the name of a column such as 20200103 stands for."""
    return datetime.strptime(name, "%Y%m%d").date()


# -- reading ----------------------------------------------------------------------------------


@contextmanager
def _faults_of(path: Path, names: list[str]) -> Iterator[None]:
    """Raise ValueError that names the file and its first fault in place of other errors."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, EOFError, OSError, UnicodeDecodeError, csv.Error
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} is damaged, or its content does not match its extension: {error}"
        ) from None
    except pa.ArrowInvalid as error:
        fault = _first_fault(path, names, str(error))
        raise ValueError(f"{path}: the CSV cannot be parsed: {fault}") from None


def _batches(
    path: Path, names: list[str], dates: list[str]
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Yield columns by name, and displacement (point, time), of the lines after the header."""
    import pyarrow as pa
    from pyarrow import csv as pa_csv

    types = dict.fromkeys(names, pa.float32()) | {"pid": pa.string()}
    types |= {name: pa.float64() for name in EXACT if name in names}
    others = [name for name in names if name not in dates]
    with _open_csv(path) as stream:
        reader = pa_csv.open_csv(
            stream,
            pa_csv.ReadOptions(block_size=BYTES_PER_BATCH, column_names=names, skip_rows=1),
            convert_options=pa_csv.ConvertOptions(column_types=types),
        )
        for batch in reader:
            if batch.num_rows:
                values = {name: batch[name].to_numpy(zero_copy_only=False) for name in others}
                series = [batch[name].to_numpy(zero_copy_only=False) for name in dates]
                yield values, np.stack(series, axis=1)


@contextmanager
def _open_csv(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a CSV, or the only CSV of a zip, for reading bytes."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix.lower() != ".zip":
        with open(path, "rb") as stream:
            _require_short_header(path, stream)
            yield stream
        return
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_only_csv(path, archive)) as stream:
            _require_short_header(path, stream)
            yield stream
    except (RuntimeError, NotImplementedError, struct.error, lzma.LZMAError) as error:
        # Raised by zipfile for passwords, unsupported compression methods and damage.
        raise zipfile.BadZipFile(str(error)) from None


def _only_csv(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one CSV of a zip, or raise if there are none or several or it is a zip bomb."""
    members = [
        member for member in archive.infolist()
        if not member.is_dir() and not is_hidden(member.filename)
    ]  # fmt: skip
    found = [member for member in members if member.filename.lower().endswith(".csv")]
    if len(found) != 1:
        names = ", ".join(member.filename for member in (found or members)[:12]) or "nothing"
        raise ValueError(f"{path} must hold one CSV, got {len(found)}: it holds {names}")
    size, packed = found[0].file_size, found[0].compress_size
    if size > max(SMALL_CSV, LARGEST_RATIO * packed):
        raise ValueError(
            f"{path} must hold a CSV with a compression ratio of at most {LARGEST_RATIO}, got "
            f"{packed} bytes for {size}"
        )
    return found[0]


def is_hidden(name: str) -> bool:
    """Return whether a file is one of those that file managers put beside the files of users."""
    *folders, last = name.split("/")
    return last.startswith(".") or "__MACOSX" in folders


def _require_short_header(path: Path, stream: io.BufferedIOBase) -> None:
    """Raise ValueError if the first line is too long; else rewind the stream."""
    if len(stream.readline(LONGEST_LINE + 1)) > LONGEST_LINE:
        raise ValueError(
            f"{path}: the first line of the CSV, which names the columns, must have at most "
            f"{LONGEST_LINE} bytes, got more"
        )
    stream.seek(0)


def _split(line: str) -> list[str]:
    """Return the cells of a line of CSV, without the spaces around them."""
    line = line.rstrip("\r\n")
    if "\r" in line:
        raise csv.Error("a line contains a carriage return")
    cells = next(csv.reader([line]), [])
    return [cell.strip() for cell in cells]


def _first_fault(path: Path, names: list[str], message: str) -> str:
    """Return the first line and column that cannot be parsed, or `message` if none is found.

    The message of pyarrow has the value of the cell but no line number, so the file is read again.
    """
    refused = re.search(r"column #(\d+): .*invalid value '(.*)'", message, re.DOTALL)
    with _open_csv(path) as stream:
        lines = iter(lambda: stream.readline(LONGEST_LINE + 1), b"")
        for number, line in enumerate(lines, start=1):
            if len(line) > LONGEST_LINE:
                return f"line {number} is longer than {LONGEST_LINE} bytes"
            try:
                cells = _split(line.decode("utf-8", "replace"))
            except csv.Error as error:
                return f"line {number} cannot be split into cells ({error})"
            if number == 1 or not any(cells):
                continue
            if len(cells) != len(names):
                return f"line {number} has {len(cells)} cells, expected {len(names)}"
            if refused and cells[int(refused[1])] == refused[2].strip():
                column = names[int(refused[1])]
                return f"line {number} has {refused[2]!r} in the column {column}, expected a number"
    return message


# -- columns ----------------------------------------------------------------------------------


def _dates_of(path: Path, names: list[str]) -> list[str]:
    """Return the columns that are dates, in the order of time, or raise if columns are invalid."""
    found = f"it has {', '.join(names[:12])[:200]}..."
    missing = [name for name in ("pid", *PLACES[0]) if name not in names]
    if set(PLACES[1]) <= set(names):  # Level 3 has no other coordinates
        missing = [name for name in missing if name == "pid"]
    if missing:
        raise ValueError(
            f"{path}: the CSV lacks the columns {', '.join(missing)}; {found}, expected those of "
            "EGMS Level 2a, 2b or 3, separated by commas"
        )
    _require_distinct_names(path, names)
    dates = [name for name in names if re.fullmatch("[0-9]{8}", name)]
    _require_no_other_dates(path, set(names).difference(dates))
    if not dates:
        raise ValueError(f"{path}: the CSV has no columns of dates such as 20200103; {found}")
    for name in dates:
        try:
            when = parse_date(name)
        except ValueError:
            raise ValueError(
                f"{path}: the CSV has columns of eight digits that are not dates: {name}"
            ) from None
        require_radar_date(when, f"{path}: the column {name}")
    return sorted(dates)


def _require_distinct_names(path: Path, names: list[str]) -> None:
    """Raise ValueError if a name occurs twice or is reserved for a variable of the result."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: the CSV has the columns {', '.join(repeated)} more than once")
    both = [name for pair in RENAMED.items() if set(pair) <= set(names) for name in pair]
    if taken := [*both, *(name for name in names if name in RESERVED_NAMES)]:
        raise ValueError(
            f"{path}: the CSV has the columns {', '.join(taken)}, names that are reserved for "
            "other variables of points; rename them"
        )


def _require_no_other_dates(path: Path, names: set[str]) -> None:
    """Raise ValueError if a name looks like a date in another format.

    Its column would become a static feature instead of a part of the series.
    """
    odd = [
        name for name in names
        if not name[:1].isalpha() or re.search(r"\d{6}|\d{4}[\W_]\d\d?[\W_]\d", name)
    ]  # fmt: skip
    if odd:
        raise ValueError(
            f"{path}: the CSV has columns whose names are neither words nor dates such as "
            f"20200103: {', '.join(map(repr, sorted(odd)[:12]))}"
        )


# -- coordinates ------------------------------------------------------------------------------


def _degrees_of(easting: np.ndarray, northing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude (EPSG:4326) of easting and northing (EPSG:3035)."""
    import pyproj

    to_degrees = pyproj.Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True)
    return tuple(map(np.asarray, to_degrees.transform(easting, northing)))


class _Places:
    """Statistics of the coordinates of a file, which show whether they are plausible."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_points = self.n_apart = 0
        self.n_unlike = 0  # points that are apart if longitude and latitude are swapped, too
        self.low, self.high = np.full(2, np.inf), np.full(2, -np.inf)
        self.is_projected = False

    def add(self, block: Block) -> None:
        """Add points."""
        place = np.stack([block.longitude, block.latitude])
        self.low = np.minimum(self.low, place.min(axis=1))
        self.high = np.maximum(self.high, place.max(axis=1))
        if self.is_projected or set(PLACES[1]) <= set(block.columns):
            self.is_projected = True
            projected = np.stack([block.columns[name] for name in PLACES[1]])
            self.n_points += block.size
            n_apart = _count_apart(*place, projected)
            self.n_apart += n_apart
            self.n_unlike += _count_apart(*place[::-1], projected) if n_apart else block.size

    def conclude(self, *, warn: bool) -> None:
        """Raise ValueError if longitude and latitude are swapped; warn if they are implausible."""
        if not self.is_projected:
            (west, south), (east, north) = self.low, self.high
            # Europe with its overseas territories.
            if warn and (west < -65 or east > 60 or south < 20 or north > 85):
                warnings.warn(
                    f"{self.path}: its points lie from longitude {west:g} to {east:g} and latitude "
                    f"{south:g} to {north:g}, outside of Europe: are the two swapped?",
                    stacklevel=2,
                )
        elif self.n_apart and not self.n_unlike:
            raise ValueError(
                f"{self.path}: longitude and latitude are swapped, as easting and northing show: "
                "rename the two columns"
            )
        elif self.n_apart and warn:
            warnings.warn(
                f"{self.path}: {self.n_apart} of {self.n_points} points have a longitude and "
                "latitude more than 1 km from their easting and northing (EPSG:3035)",
                stacklevel=2,
            )


def _count_apart(longitude: np.ndarray, latitude: np.ndarray, projected: np.ndarray) -> int:
    """Return the number of points more than 1 km from their easting and northing (2, point)."""
    import pyproj

    to_meters = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)
    apart = np.hypot(*(np.stack(to_meters.transform(longitude, latitude)) - projected))
    return int(np.count_nonzero(~(apart <= 1000)))
