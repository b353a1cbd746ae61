"""InSAR points as a Dataset: from EGMS deliveries and from shards, and with their gaps filled.

Points are an `xarray.Dataset` with ``displacement`` (point, time) in mm toward the satellite, NaN
where missing, static features (point) with units, and the coordinates ``pid``, ``longitude``,
``latitude`` (point; degrees, EPSG:4326) and ``time``.

References
----------
EGMS-D6, Product Description and Format Specification, European Ground Motion Service, Copernicus
Land Monitoring Service: names and units of the columns.
"""

from __future__ import annotations

import csv
import io
import lzma
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._conventions.points import dates_of, displacement_of, require_seen, step_of

from ._checks import require_choice, require_integer, require_rising_time, shown
from ._files import as_path
from .datasets import DataUnavailableError, fetch
from .datasets._reader import CheckedReader, local_folder
from .shards import PointShards

EGMS_COLUMNS = {  # units and long name, by column; the format gives angles and heights as here
    "mp_type": ("1", "type of measurement point: 0 persistent, 1 distributed scatterer"),
    "easting": ("m", "easting, EPSG:3035"),
    "northing": ("m", "northing, EPSG:3035"),
    "height": ("m", "height above the geoid"),
    "height_ellipse": ("m", "height above the ellipsoid"),
    "line": ("1", "line of the radar image"),
    "pixel": ("1", "pixel of the radar image"),
    "rmse": ("mm", "root-mean-square error of the series"),
    "rmse_ts": ("mm", "root-mean-square error of the series"),
    "temporal_coherence": ("1", "temporal coherence"),
    "amplitude_dispersion": ("1", "amplitude dispersion"),
    "incidence_angle": ("degrees", "angle of incidence"),
    "track_angle": ("degrees", "angle of the track"),
    "los_east": ("1", "line of sight, east"),
    "los_north": ("1", "line of sight, north"),
    "los_up": ("1", "line of sight, up"),
    "mean_velocity": ("mm/yr", "mean velocity toward the satellite"),
    "mean_velocity_std": ("mm/yr", "standard deviation of the mean velocity"),
    "acceleration": ("mm/yr2", "acceleration toward the satellite"),
    "acceleration_std": ("mm/yr2", "standard deviation of the acceleration"),
    "seasonality": ("mm", "amplitude of the yearly wave"),
    "seasonality_std": ("mm", "standard deviation of the amplitude of the yearly wave"),
    "gnss_velocity": ("mm/yr", "velocity of the reference network toward the satellite"),
}
STATIC_FEATURES = ("height", "mean_velocity", "temporal_coherence", "amplitude_dispersion")
MAX_DISPLACEMENT = 5000.0
"""mm: more cannot be told from phase. Between two images six days apart a point may move a quarter
of a wavelength, 14 mm, which makes 4.2 m in the five years of a delivery."""
MAX_DATES = 100_000
"""Dates of a series on regular dates, at most: every hour of eleven years."""
_MOST_YEARS = 290  # from first to last date; spans of time in nanoseconds have 292
_RENAMED = {"height_ortho": "height"}  # as deliveries of 2018-2022 and 2020-2024 say it
_RESERVED = ("displacement", "filled_fraction", "point", "regime", "time")  # have a meaning here
_POINTS = 4096  # filled at a time
_MOST_HEADER = 1 << 17  # bytes of a line, also of the one that names the columns; they have 4000
_MOST_RATIO = 50  # of a CSV to what it is packed to; numbers as text come to 4
_SMALL_CSV = 1 << 26  # bytes that may be packed to anything


# -- reading ----------------------------------------------------------------------------------


def read_egms(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read points of the European Ground Motion Service, Level 2a or 2b, as delivered.

    Parameters
    ----------
    path : path
        A CSV, or the zip that holds one (and an XML); the CSV is read where it is.

    Returns
    -------
    xarray.Dataset
        ``displacement`` (point, time) float32, and every other column of numbers as a float32
        variable (point), ``height_ortho`` as ``height``; easting and northing float64. Coordinates
        ``pid`` (text), ``longitude``, ``latitude`` (float64) and ``time``, in order of date. An
        empty cell is NaN.

    Raises
    ------
    TypeError
        If `path` is not a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the zip is damaged or does not hold exactly one CSV; if a column is missing, is there
        twice or has a name that this module gives to something else; if a date is none, or lies
        before the first radar satellite or in the future; if a line has another number of cells
        than the header, or a cell is no number; if a pid is empty or there twice; if a point has no
        valid coordinates, or they are swapped; or if a displacement is beyond `MAX_DISPLACEMENT`.

    Warns
    -----
    UserWarning
        If the coordinates do not fit easting and northing, or lie outside of Europe.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "points.csv"
    ...     header = "pid,latitude,longitude,20200103,20200109"
    ...     _ = path.write_text(header + "\\na1,38.7,13.2,0.0,-1.5\\n")
    ...     read_egms(path).displacement.values
    array([[ 0. , -1.5]], dtype=float32)
    """
    import pyarrow as pa
    from pyarrow import csv as pa_csv

    path = as_path(path, "path")
    try:
        with _open_csv(path) as stream:
            names = _split(stream.readline().decode("utf-8-sig"))
        dates = _require_columns(path, names)
        attributes = [name for name in names if name not in dates and name != "pid"]
        exact = ("longitude", "latitude", "easting", "northing")
        types = dict.fromkeys(names, pa.float32()) | {"pid": pa.string()}
        types |= {name: pa.float64() for name in exact if name in names}
        columns: dict[str, list[np.ndarray]] = {name: [] for name in ["pid", *attributes]}
        series: list[np.ndarray] = []
        with _open_csv(path) as stream:
            reader = pa_csv.open_csv(
                stream,
                pa_csv.ReadOptions(block_size=1 << 24, column_names=names, skip_rows=1),
                convert_options=pa_csv.ConvertOptions(column_types=types),
            )
            for batch in reader:
                for name in columns:
                    columns[name].append(batch[name].to_numpy(zero_copy_only=False))
                block = [batch[name].to_numpy(zero_copy_only=False) for name in dates]
                series.append(np.stack(block, axis=1))
    except FileNotFoundError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        UnicodeDecodeError,
        csv.Error,
    ) as error:
        raise ValueError(f"{path} is damaged or not what its name says: {error}") from None
    except pa.ArrowInvalid as error:
        found = _first_fault(path, names, str(error))
        raise ValueError(f"{path}: its CSV is not whole: {found}") from None
    if not series:
        raise ValueError(f"{path}: its CSV holds no points, only a header")
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    # As around the names of columns, and with the mark that editors put before a file's start.
    joined["pid"] = np.char.strip(joined["pid"].astype(str), " \t\ufeff")
    displacement = np.concatenate(series)
    _require_points(path, joined)
    _require_displacement(path, joined["pid"], dates, displacement)
    coords = {
        "pid": ("point", joined.pop("pid"), {"long_name": "identifier of the point"}),
        "longitude": ("point", joined.pop("longitude"), {"units": "degrees_east"}),
        "latitude": ("point", joined.pop("latitude"), {"units": "degrees_north"}),
        "time": np.array([_date(name) for name in dates], "datetime64[D]").astype("datetime64[ns]"),
    }
    attrs = {"units": "mm", "long_name": "displacement toward the satellite"}
    data: dict[str, Any] = {"displacement": (("point", "time"), displacement, attrs)}
    for column, values in joined.items():
        name = _RENAMED.get(column, column)
        units, long_name = EGMS_COLUMNS.get(name, (None, column))
        attrs = {"long_name": long_name} | ({"units": units} if units else {})
        data[name] = ("point", values, attrs)
    return xr.Dataset(
        data,
        coords,
        {
            "title": f"EGMS points, {path.stem}",
            "source": "European Ground Motion Service, Copernicus Land Monitoring Service",
            "static_features": " ".join(name for name in STATIC_FEATURES if name in data),
            "crs": "EPSG:4326",
        },
    )


@contextmanager
def _open_csv(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a CSV, or the only one of a zip, for reading bytes."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix.lower() != ".zip":
        with open(path, "rb") as stream:
            _require_header(path, stream)
            yield stream
        return
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_only_csv(path, archive)) as stream:
            _require_header(path, stream)
            yield stream
    except (RuntimeError, NotImplementedError, struct.error, lzma.LZMAError) as error:
        # What zipfile says of a password, of ways to compress that it lacks, and of damage.
        raise zipfile.BadZipFile(str(error)) from None


def _only_csv(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one CSV of a zip, or raise unless there is one and it unpacks to a sane size."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    found = [member for member in members if member.filename.lower().endswith(".csv")]
    if len(found) != 1:
        names = ", ".join(member.filename for member in (found or members)[:12]) or "nothing"
        raise ValueError(f"{path} must hold one CSV, found {len(found)}: it holds {names}")
    size, packed = found[0].file_size, found[0].compress_size
    if size > max(_SMALL_CSV, _MOST_RATIO * packed):
        raise ValueError(
            f"{path} must hold a CSV that was packed to no less than 1/{_MOST_RATIO} of its size, "
            f"got {packed} bytes for {size}"
        )
    return found[0]


def _require_header(path: Path, stream: io.BufferedIOBase) -> None:
    """Raise unless the first line of a CSV has an end within a sane length."""
    if len(stream.readline(_MOST_HEADER + 1)) > _MOST_HEADER:
        raise ValueError(
            f"{path}: its CSV must begin with a line of at most {_MOST_HEADER} bytes, which names "
            "the columns, got a longer one"
        )
    stream.seek(0)


def _split(line: str) -> list[str]:
    """Return the cells of a line of CSV, without the spaces around them."""
    line = line.rstrip("\r\n")
    if "\r" in line:
        raise csv.Error("a carriage return stands within a line")
    cells = next(csv.reader([line]), [])
    return [cell.strip() for cell in cells]


def _require_columns(path: Path, names: list[str]) -> list[str]:
    """Return the columns that are dates, in order of date."""
    found = f"found {', '.join(names[:12])}..."
    missing = [name for name in ("pid", "longitude", "latitude") if name not in names]
    if missing:
        raise ValueError(
            f"{path}: its CSV lacks the columns {', '.join(missing)}; {found}, expected those of "
            "EGMS Level 2a or 2b, separated by commas"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: its CSV has the columns {', '.join(twice)} more than once")
    both = [name for pair in _RENAMED.items() if set(pair) <= set(names) for name in pair]
    if taken := [*both, *(name for name in names if name in _RESERVED)]:
        raise ValueError(
            f"{path}: its CSV has the columns {', '.join(taken)}, names that the points returned "
            "need for something else; rename them"
        )
    dates = [name for name in names if re.fullmatch("[0-9]{8}", name)]
    # A date written in another way would become a feature of the points, and leave the series.
    odd = [
        name for name in set(names).difference(dates)
        if not name[:1].isalpha() or re.search(r"\d{6}|\d{4}[\W_]\d\d?[\W_]\d", name)
    ]  # fmt: skip
    if odd:
        raise ValueError(
            f"{path}: its CSV has columns whose names are neither words nor dates such as "
            f"20200103: {', '.join(map(repr, sorted(odd)[:12]))}"
        )
    if not dates:
        raise ValueError(f"{path}: its CSV has no columns of dates such as 20200103; {found}")
    for name in dates:
        try:
            when = _date(name)
        except ValueError:
            raise ValueError(f"{path}: its CSV has columns that are no dates: {name}") from None
        require_seen(when, f"{path}: the column {name}")
    return sorted(dates)


def _date(name: str) -> date:
    return datetime.strptime(name, "%Y%m%d").date()


def _first_fault(path: Path, names: list[str], message: str) -> str:
    """Return the first line and column of a CSV that the parser refused, or else its message.

    It says which cell it could not read, but not where, so the file is read again.
    """
    refused = re.search(r"column #(\d+): .*invalid value '(.*)'", message, re.DOTALL)
    with _open_csv(path) as stream:
        lines = iter(lambda: stream.readline(_MOST_HEADER + 1), b"")
        for number, line in enumerate(lines, start=1):
            if len(line) > _MOST_HEADER:
                return f"line {number} is longer than {_MOST_HEADER} bytes"
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


def _require_points(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Raise ValueError unless every point has a name of its own, a place and finite features."""
    pid = columns["pid"]
    names, counts = np.unique(pid, return_counts=True)
    if names[0] == "":
        raise ValueError(f"{path}: {counts[0]} of {len(pid)} points have an empty pid")
    if counts.max() > 1:
        raise ValueError(
            f"{path}: the column pid has {str(names[counts.argmax()])!r} {counts.max()} times, "
            "expected every point once"
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
    _require_places(path, columns)


def _require_places(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Raise ValueError if longitude and latitude are swapped; warn if they cannot be right."""
    import pyproj

    place = [columns["longitude"], columns["latitude"]]
    if not {"easting", "northing"} <= set(columns):
        (west, east), (south, north) = [(a.min(), a.max()) for a in place]
        if west < -65 or east > 60 or south < 20 or north > 85:  # with islands far out
            warnings.warn(
                f"{path}: its points lie from longitude {west:g} to {east:g} and latitude "
                f"{south:g} to {north:g}, outside of Europe: are the two swapped?",
                stacklevel=3,
            )
        return
    projected = np.stack([columns["easting"], columns["northing"]])
    to_meters = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)

    def n_apart(longitude: np.ndarray, latitude: np.ndarray) -> int:
        apart = np.hypot(*(np.stack(to_meters.transform(longitude, latitude)) - projected))
        return int(np.count_nonzero(apart > 1000))

    if not (n_bad := n_apart(*place)):
        return
    if not n_apart(*place[::-1]):
        raise ValueError(
            f"{path}: longitude and latitude are swapped, as easting and northing show: rename the "
            "two columns"
        )
    warnings.warn(
        f"{path}: {n_bad} of {len(place[0])} points have a longitude and latitude that lie more "
        "than 1 km from their easting and northing (EPSG:3035)",
        stacklevel=3,
    )


def _require_displacement(
    path: Path, pid: np.ndarray, dates: Sequence[str], displacement: np.ndarray
) -> None:
    """Raise ValueError unless every displacement is NaN or one that a radar can tell."""
    for column, name in zip(displacement.T, dates, strict=True):
        bad = np.flatnonzero(np.abs(column) > MAX_DISPLACEMENT)
        if bad.size:
            raise ValueError(
                f"{path}: the column {name} must hold displacements from {-MAX_DISPLACEMENT:g} to "
                f"{MAX_DISPLACEMENT:g} mm, got {column[bad[0]]} at the point {pid[bad[0]]}: leave "
                "a cell empty where there is none"
            )


class _Column:
    """A column of shards as an array that dask reads piece by piece."""

    def __init__(self, shards: PointShards, name: str) -> None:
        self.shards, self.name = shards, name
        self.shape = (shards.n_points, len(shards.features[name]))
        self.dtype, self.ndim = np.dtype("f4"), 2

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        return self.shards.read(self.name, key[0])[:, key[1]]


def open_points(folder: str | os.PathLike[str], *, chunk: int = 65536) -> xr.Dataset:
    """Open raw series in shards lazily.

    Parameters
    ----------
    folder : path
        Shards with the features ``displacement``, named by date, and ``static``, as
        `write_site` writes them.
    chunk : int, default 65536
        Points in a chunk.

    Returns
    -------
    xarray.Dataset
        Points whose displacement and static features are dask arrays; the coordinates are in
        memory, and so is ``regime`` if there are labels of that name.

    Raises
    ------
    TypeError
        If `chunk` is not an integer.
    FileNotFoundError, ValueError
        If the folder is not one of whole shards, as `PointShards` says, holds no series, or one
        whose dates do not rise or cannot be.
    """
    import dask.array as da

    chunk = require_integer(chunk, "chunk", least=1)
    shards = PointShards(folder)
    if missing := [kind for kind in ("displacement", "static") if kind not in shards.features]:
        raise ValueError(
            f"{shards.folder} has no features {', '.join(missing)}: it has "
            f"{', '.join(shards.features)}, expected the raw series of points"
        )
    time = dates_of(shards.features["displacement"], f"{shards.folder}: the names of displacement")
    statics = shards.features["static"]
    if taken := sorted({*_RESERVED, "pid", "longitude", "latitude"} & set(statics)):
        raise ValueError(
            f"{shards.folder} has static features named {', '.join(taken)}, names that points "
            "need for something else"
        )
    lazy = {
        kind: da.from_array(_Column(shards, kind), chunks=(chunk, -1), name=False)
        for kind in ("displacement", "static")
    }
    attrs = dict(shards.attrs)
    variables = attrs.pop("variables", {})
    if not isinstance(variables, dict) or not all(isinstance(v, dict) for v in variables.values()):
        raise ValueError(
            f"{shards.folder}: variables in its attrs must be a mapping of attributes for each "
            f"name, got {variables!r:.60}"
        )
    data: dict[str, Any] = {"displacement": (("point", "time"), lazy["displacement"])}
    for k, name in enumerate(statics):
        data[name] = ("point", lazy["static"][:, k])
    points = xr.Dataset(
        data,
        {
            "pid": ("point", shards.read("point")),
            "longitude": ("point", shards.read("longitude"), {"units": "degrees_east"}),
            "latitude": ("point", shards.read("latitude"), {"units": "degrees_north"}),
            "time": time,
        },
        attrs | {"static_features": " ".join(statics), "crs": "EPSG:4326"},
    )
    for name in data:
        points[name].attrs.update(variables.get(name, {}))
    try:
        points["regime"] = shards.read_labels("regime")
    except FileNotFoundError:
        pass  # only simulated points have known regimes
    return points


# -- gaps -------------------------------------------------------------------------------------


def fill_gaps(
    points: xr.Dataset,
    *,
    method: Literal["linear", "pchip"] = "linear",
    step: str | pd.Timedelta | None = None,
) -> xr.Dataset:
    """Fill missing displacements, and bring the series onto regular dates if asked to.

    Between two observations values follow a line or a monotone cubic [1]_, so that they never leave
    the range of the two; before the first and after the last observation they hold its value.

    Parameters
    ----------
    points : xarray.Dataset
        Points with ``displacement`` (point, time); in memory or lazy.
    method : {"linear", "pchip"}, default "linear"
        The line or the cubic.
    step : str or pandas.Timedelta, optional
        Regular dates from the first date on, such as ``"6D"``, at most `MAX_DATES` of them; by
        default the dates stay.

    Returns
    -------
    xarray.Dataset
        The points with ``displacement`` filled, as lazy as before, and ``filled_fraction`` (point)
        float32: the share of dates on which there was no observation. A point without any
        observation stays missing and has filled_fraction NaN. ``attrs["fill_method"]`` says how;
        if the data are in memory, ``attrs["filled_fraction"]`` is the mean over the filled points
        and ``attrs["n_missing_points"]`` counts those that stay missing.

    Raises
    ------
    TypeError
        If `points` is not a Dataset, or the displacements no real numbers or the times no dates.
    ValueError
        If there is no displacement (point, time), the dates do not rise or span more than 290
        years, a displacement is infinite or too large for float32 (on compute, if it is lazy), or
        an option is not as described.

    References
    ----------
    .. [1] F. N. Fritsch, J. Butland (1984). A method for constructing local monotone piecewise
       cubic interpolants. SIAM J. Sci. Stat. Comput. 5(2), 300-304.

    Examples
    --------
    >>> time = np.array(["2020-01-01", "2020-01-07", "2020-01-19"], "datetime64[ns]")
    >>> series = xr.DataArray([[1, np.nan, 4]], dims=("point", "time"), coords={"time": time})
    >>> filled = fill_gaps(series.to_dataset(name="displacement"), step="6D")
    >>> filled.displacement.values, filled.filled_fraction.values
    (array([[1., 2., 3., 4.]], dtype=float32), array([0.5], dtype=float32))
    """
    require_choice(method, "method", ("linear", "pchip"))
    every = step_of(step)
    displacement = displacement_of(points)
    require_rising_time(points, "points")
    before = points["time"].to_index()
    if before[-1].year - before[0].year > _MOST_YEARS:
        raise ValueError(
            f"the times of points must lie within {_MOST_YEARS} years, got {before[0]} to "
            f"{before[-1]}"
        )
    after = before
    if every is not None:
        if (n := (before[-1] - before[0]) // every + 1) > MAX_DATES:
            raise ValueError(
                f"step must be so long that it makes at most {MAX_DATES} dates, got "
                f"{shown(step)}, which makes {n}"
            )
        after = pd.date_range(before[0], before[-1], freq=every, name="time")
    days = [np.asarray((t - before[0]) / pd.Timedelta("1D"), float) for t in (before, after)]
    if displacement.chunks is not None:
        displacement = displacement.chunk(time=-1)
    values, fraction = xr.apply_ufunc(
        _fill,
        displacement,
        kwargs={"before": days[0], "after": days[1], "cubic": method == "pchip"},
        input_core_dims=[["time"]],
        output_core_dims=[["new"], []],
        exclude_dims={"time"},
        dask="parallelized",
        output_dtypes=[np.float32, np.float32],
        dask_gufunc_kwargs={"output_sizes": {"new": len(after)}},
        keep_attrs=True,
    )
    filled = points.drop_dims("time").assign_attrs(fill_method=method)
    filled["displacement"] = values.rename(new="time").transpose("point", "time")
    fraction.attrs = {"units": "1", "long_name": "share of dates that were filled"}
    filled["filled_fraction"] = fraction
    if displacement.chunks is None:
        missing = int(fraction.isnull().sum())
        filled.attrs["n_missing_points"] = missing
        some = missing < fraction.size
        filled.attrs["filled_fraction"] = float(fraction.mean()) if some else float("nan")
    return filled.assign_coords(time=after)


def _fill(
    series: np.ndarray, *, before: np.ndarray, after: np.ndarray, cubic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Fill series (..., time) at the days `after`; also return the share that was filled."""
    flat = series.reshape(-1, series.shape[-1])
    values = np.empty((len(flat), len(after)), np.float32)
    fraction = np.empty(len(flat), np.float32)
    for start in range(0, len(flat), _POINTS):  # keeps the temporary arrays small
        rows = slice(start, start + _POINTS)
        values[rows], fraction[rows] = _fill_block(flat[rows], before, after, cubic)
    return values.reshape(*series.shape[:-1], -1), fraction.reshape(series.shape[:-1])


def _fill_block(y: np.ndarray, before: np.ndarray, after: np.ndarray, cubic: bool):
    n = len(before)
    if np.any(np.abs(y) > np.finfo(np.float32).max):
        raise ValueError("displacement must be finite in float32, or NaN where it is missing")
    present = np.isfinite(y)
    y = np.where(present, y, 0).astype(float)
    place = np.where(present, np.arange(n), -1)
    left = np.maximum.accumulate(place, axis=1)  # the last observation so far, or -1
    place[~present] = n
    right = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]  # the next one, or n
    at = np.searchsorted(before, after, side="right") - 1
    seen = present[:, at] & (before[at] == after)
    lo = left[:, at]
    hi = right[:, np.minimum(at + 1, n - 1)]
    hi[:, at + 1 == n] = n
    lo, hi = np.where(lo < 0, hi, lo), np.where(hi == n, lo, hi)  # hold the value at the ends
    lo, hi = np.clip(lo, 0, n - 1), np.clip(hi, 0, n - 1)
    y_lo, y_hi = (np.take_along_axis(y, i, axis=1) for i in (lo, hi))
    span = before[hi] - before[lo]
    u = np.where(lo == hi, 0, (after - before[lo]) / np.where(lo == hi, 1, span))
    rise = y_hi - y_lo
    if cubic:
        slopes = _slopes(y, before, left, right, present)
        d_lo, d_hi = (span * np.take_along_axis(slopes, i, axis=1) for i in (lo, hi))
        # The Hermite cubic, in powers of u.
        values = y_lo + u * (d_lo + u * (3 * rise - 2 * d_lo - d_hi + u * (d_lo + d_hi - 2 * rise)))
    else:
        values = y_lo + u * rise
    nothing = ~present.any(axis=1)
    values[nothing] = np.nan
    return values, np.where(nothing, np.nan, 1 - seen.mean(axis=1))


def _slopes(y, before, left, right, present) -> np.ndarray:
    """Derivative at each observation, as SciPy's PchipInterpolator takes it; 0 elsewhere."""
    n = len(before)
    own = np.arange(n)
    back = np.concatenate([np.full((len(y), 1), -1), left[:, :-1]], axis=1)
    ahead = np.concatenate([right[:, 1:], np.full((len(y), 1), n)], axis=1)
    inner = present & (back >= 0) & (ahead < n)

    def chord(a, b):
        """Length and slope of the line from observation a to b, where both are there."""
        there = present & (a >= 0) & (b < n)
        a, b = np.where(there, a, 0), np.where(there, b, 0)
        h = np.where(there, before[b] - before[a], 1)
        return h, (np.take_along_axis(y, b, axis=1) - np.take_along_axis(y, a, axis=1)) / h

    own = np.broadcast_to(own, y.shape)
    h0, s0 = chord(back, own)
    h1, s1 = chord(own, ahead)
    same = inner & (s0 * s1 > 0)
    w0, w1 = 2 * h1 + h0, h1 + 2 * h0
    s0_safe, s1_safe = np.where(same, s0, 1), np.where(same, s1, 1)
    slopes = np.where(same, (w0 + w1) / (w0 / s0_safe + w1 / s1_safe), 0)

    def end(first, h, s, far_h, far_s):
        """A parabola through three observations, held back so that the curve stays monotone."""
        d = ((2 * h + far_h) * s - h * far_s) / (h + far_h)
        d = np.where(np.sign(d) != np.sign(s), 0, d)
        return np.where((np.sign(s) != np.sign(far_s)) & (np.abs(d) > 3 * np.abs(s)), 3 * s, d)

    rows = np.flatnonzero(present.sum(axis=1) >= 2)
    first, last = present.argmax(axis=1)[rows], n - 1 - present[:, ::-1].argmax(axis=1)[rows]
    second, before_last = ahead[rows, first], back[rows, last]
    two = second == last
    for ends, nexts, (h, s), (far_h, far_s) in (
        (first, second, (h1, s1), (h1, s1)),
        (last, before_last, (h0, s0), (h0, s0)),
    ):
        near = h[rows, ends], s[rows, ends]
        far = far_h[rows, nexts], far_s[rows, nexts]
        slopes[rows, ends] = np.where(two, near[1], end(ends, *near, *far))
    return slopes


# -- the catalog ------------------------------------------------------------------------------


class PointsReader(CheckedReader):
    """Simulated points from shards in the data folder."""

    imports = {"pyarrow"}
    output_instance = "xarray:Dataset"

    def _read(self, *, name: str, folder: str, made_by: str, chunk: int = 65536) -> xr.Dataset:
        """Open points lazily, as `open_points` does.

        Parameters
        ----------
        name : str
            Folder of the shards, in ``simulated`` of the data folder.
        folder : str
            The data folder.
        made_by : str
            The command that makes the shards.
        chunk : int
            Points in a chunk.

        Returns
        -------
        xarray.Dataset
            The points.

        Raises
        ------
        DataUnavailableError
            If the shards are not there.
        ValueError
            If they are damaged.
        """
        path = local_folder(folder) / "simulated" / name
        if not (path / "manifest.json").is_file():
            raise DataUnavailableError(f"there are no points in {path}; run `{made_by}`")
        return open_points(path, chunk=chunk)


class EGMSReader(CheckedReader):
    """Real points of the European Ground Motion Service."""

    imports = {"pyarrow"}
    output_instance = "xarray:Dataset"

    def _read(self, *, dataset: str, file: str, folder: str) -> xr.Dataset:
        """Read a delivery, as `read_egms` does.

        Parameters
        ----------
        dataset, file : str
            A row of the registry of real files.
        folder : str
            The data folder.

        Returns
        -------
        xarray.Dataset
            The points.

        Raises
        ------
        DataUnavailableError
            If the file is not here and cannot be downloaded.
        ValueError
            If the file is damaged.
        """
        return read_egms(fetch(dataset, file, folder=local_folder(folder)))
