"""Parsing of deliveries of the European Ground Motion Service (EGMS), Level 2a and 2b.

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cookbook_utils._conventions.points import RESERVED_NAMES, require_radar_date

COLUMNS = {  # units and long name of each column; angles and heights as in the format specification
    "mp_type": ("1", "type of measurement point: 0 persistent, 1 distributed scatterer"),
    "easting": ("m", "easting, EPSG:3035"),
    "northing": ("m", "northing, EPSG:3035"),
    "height": ("m", "height above the geoid"),
    "height_ellipse": ("m", "height above the ellipsoid"),
    "line": ("1", "line in the radar image"),
    "pixel": ("1", "pixel in the radar image"),
    "rmse": ("mm", "root-mean-square error of the series"),
    "rmse_ts": ("mm", "root-mean-square error of the series"),
    "temporal_coherence": ("1", "temporal coherence"),
    "amplitude_dispersion": ("1", "amplitude dispersion"),
    "incidence_angle": ("degrees", "angle of incidence"),
    "track_angle": ("degrees", "angle of the track"),
    "los_east": ("1", "east component of the line of sight"),
    "los_north": ("1", "north component of the line of sight"),
    "los_up": ("1", "up component of the line of sight"),
    "mean_velocity": ("mm/yr", "mean velocity toward the satellite"),
    "mean_velocity_std": ("mm/yr", "standard deviation of the mean velocity"),
    "acceleration": ("mm/yr2", "acceleration toward the satellite"),
    "acceleration_std": ("mm/yr2", "standard deviation of the acceleration"),
    "seasonality": ("mm", "amplitude of the annual cycle"),
    "seasonality_std": ("mm", "standard deviation of the amplitude of the annual cycle"),
    "gnss_velocity": ("mm/yr", "velocity of the reference network toward the satellite"),
}
RENAMED = {"height_ortho": "height"}  # name in deliveries of 2018-2022 and 2020-2024

EXACT = ("longitude", "latitude", "easting", "northing")  # float64; all others are float32
REQUIRED = ("pid", "longitude", "latitude")
LONGEST_LINE = 1 << 17  # bytes; lines of deliveries have up to 4000
LARGEST_RATIO = 50  # of the size of a CSV to its compressed size; numbers in text have about 4
SMALL_CSV = 1 << 26  # bytes up to which any compression ratio is accepted
BYTES_PER_BATCH = 1 << 24  # bytes of the CSV that are parsed at a time


class Table(NamedTuple):
    """The content of a CSV."""

    dates: list[str]
    """Names of the columns of displacements, in the order of time."""
    displacement: np.ndarray
    """float32 (point, time), mm."""
    columns: dict[str, np.ndarray]
    """All other columns (point,): ``pid`` as text, numbers in float32 or float64."""


# -- reading ----------------------------------------------------------------------------------


def read_table(path: Path) -> Table:
    """Parse the CSV of a delivery, or raise an error that names the file and its first fault.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or the CSV has other columns than expected, cells that are not
        numbers, or no points.
    """
    import pyarrow as pa

    try:
        with _open_csv(path) as stream:
            names = _split(stream.readline().decode("utf-8-sig"))
        dates = _dates_of(path, names)
        return _parse(path, names, dates)
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


def parse_date(name: str) -> date:
    """Return the date that the name of a column such as 20200103 stands for."""
    return datetime.strptime(name, "%Y%m%d").date()


def _parse(path: Path, names: list[str], dates: list[str]) -> Table:
    """Parse all lines after the header."""
    import pyarrow as pa
    from pyarrow import csv as pa_csv

    types = dict.fromkeys(names, pa.float32()) | {"pid": pa.string()}
    types |= {name: pa.float64() for name in EXACT if name in names}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names if name not in dates}
    series: list[np.ndarray] = []
    with _open_csv(path) as stream:
        reader = pa_csv.open_csv(
            stream,
            pa_csv.ReadOptions(block_size=BYTES_PER_BATCH, column_names=names, skip_rows=1),
            convert_options=pa_csv.ConvertOptions(column_types=types),
        )
        for batch in reader:
            for name, parts in columns.items():
                parts.append(batch[name].to_numpy(zero_copy_only=False))
            block = [batch[name].to_numpy(zero_copy_only=False) for name in dates]
            series.append(np.stack(block, axis=1))
    if not series:
        raise ValueError(f"{path}: the CSV must hold points, got only a header")
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    # Spaces, and the byte order mark that editors put at the start of a file.
    joined["pid"] = np.char.strip(joined["pid"].astype(str), " \t\ufeff")
    return Table(dates, np.concatenate(series), joined)


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
    members = [member for member in archive.infolist() if not member.is_dir()]
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
    found = f"it has {', '.join(names[:12])}..."
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ValueError(
            f"{path}: the CSV lacks the columns {', '.join(missing)}; {found}, expected those of "
            "EGMS Level 2a or 2b, separated by commas"
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


# -- values -----------------------------------------------------------------------------------


def require_points(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Raise ValueError unless each point has a unique pid, coordinates and finite features."""
    pid = columns["pid"]
    names, counts = np.unique(pid, return_counts=True)
    if names[0] == "":
        raise ValueError(f"{path}: {counts[0]} of {len(pid)} points have an empty pid")
    if counts.max() > 1:
        raise ValueError(
            f"{path}: the column pid must hold each value once, got "
            f"{str(names[counts.argmax()])!r} {counts.max()} times"
        )
    for name, limit in (("longitude", 180), ("latitude", 90)):
        bad = np.flatnonzero(~(np.abs(columns[name]) <= limit))
        if bad.size:
            raise ValueError(
                f"{path}: {bad.size} of {len(pid)} points have no valid {name}, expected degrees "
                f"from {-limit} to {limit}, got {columns[name][bad[0]]} at the point {pid[bad[0]]}"
            )
    for name, values in columns.items():
        if name != "pid" and np.isinf(values).any():
            raise ValueError(
                f"{path}: the column {name} must hold finite numbers in {values.dtype}, got "
                f"{values[np.isinf(values)][0]} at the point {pid[np.isinf(values)][0]}"
            )


def require_displacement(
    path: Path, pid: np.ndarray, dates: Sequence[str], displacement: np.ndarray, largest: float
) -> None:
    """Raise ValueError unless every displacement is NaN or of at most `largest` mm."""
    for column, name in zip(displacement.T, dates, strict=True):
        bad = np.flatnonzero(np.abs(column) > largest)
        if bad.size:
            raise ValueError(
                f"{path}: the column {name} must hold displacements from {-largest:g} to "
                f"{largest:g} mm, got {column[bad[0]]} at the point {pid[bad[0]]}: leave a cell "
                "empty where there is none"
            )


def require_plausible_places(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Raise ValueError if longitude and latitude are swapped; warn if they are implausible."""
    longitude, latitude = columns["longitude"], columns["latitude"]
    if not {"easting", "northing"} <= set(columns):
        west, east, south, north = (
            longitude.min(), longitude.max(), latitude.min(), latitude.max()
        )  # fmt: skip
        if west < -65 or east > 60 or south < 20 or north > 85:  # with overseas territories
            warnings.warn(
                f"{path}: its points lie from longitude {west:g} to {east:g} and latitude "
                f"{south:g} to {north:g}, outside of Europe: are the two swapped?",
                stacklevel=3,
            )
        return
    projected = np.stack([columns["easting"], columns["northing"]])
    if not (n_bad := _count_apart(longitude, latitude, projected)):
        return
    if not _count_apart(latitude, longitude, projected):
        raise ValueError(
            f"{path}: longitude and latitude are swapped, as easting and northing show: rename the "
            "two columns"
        )
    warnings.warn(
        f"{path}: {n_bad} of {len(longitude)} points have a longitude and latitude more than 1 km "
        "from their easting and northing (EPSG:3035)",
        stacklevel=3,
    )


def _count_apart(longitude: np.ndarray, latitude: np.ndarray, projected: np.ndarray) -> int:
    """Return the number of points more than 1 km from their easting and northing (2, point)."""
    import pyproj

    to_meters = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)
    apart = np.hypot(*(np.stack(to_meters.transform(longitude, latitude)) - projected))
    return int(np.count_nonzero(apart > 1000))
