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

import io
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from ._catalog import local_folder
from ._checks import require_integer
from .datasets import CheckedReader, DataUnavailableError, fetch
from .shards import PointShards, read_labels

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
_RENAMED = {"height_ortho": "height"}  # as deliveries of 2018-2022 and 2020-2024 say it
_POINTS = 4096  # filled at a time
_MOST_HEADER = 1 << 17  # bytes of the line that names the columns; a delivery has 4000
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
        ``pid`` (text), ``longitude``, ``latitude`` (float64) and ``time``, in order of date.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the zip is damaged or does not hold exactly one CSV, or the CSV lacks the coordinates or
        dates, or a line of it is not whole.

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
    from pyarrow import csv

    path = Path(path)
    try:
        with _open_csv(path) as stream:
            header = stream.readline().decode("utf-8-sig").strip()
        names = [name.strip().strip('"') for name in header.split(",")]
        dates = _require_columns(path, names)
        attributes = [name for name in names if name not in dates and name != "pid"]
        exact = ("longitude", "latitude", "easting", "northing")
        types = dict.fromkeys(names, pa.float32()) | {"pid": pa.string()}
        types |= {name: pa.float64() for name in exact if name in names}
        columns: dict[str, list[np.ndarray]] = {name: [] for name in ["pid", *attributes]}
        series: list[np.ndarray] = []
        with _open_csv(path) as stream:
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(block_size=1 << 24, column_names=names, skip_rows=1),
                convert_options=csv.ConvertOptions(column_types=types),
            )
            for batch in reader:
                for name in columns:
                    columns[name].append(batch[name].to_numpy(zero_copy_only=False))
                block = [batch[name].to_numpy(zero_copy_only=False) for name in dates]
                series.append(np.stack(block, axis=1))
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged or not what its name says: {error}") from None
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: its CSV is not whole: {error}") from None
    if not series:
        raise ValueError(f"{path}: its CSV holds no points, only a header")
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    for name, limit in (("longitude", 180), ("latitude", 90)):
        if bad := np.count_nonzero(~(np.abs(joined[name]) <= limit)):
            raise ValueError(
                f"{path}: {bad} of {len(joined[name])} points have no valid {name}, expected "
                f"degrees from {-limit} to {limit}"
            )
    coords = {
        "pid": ("point", joined.pop("pid").astype(str), {"long_name": "identifier of the point"}),
        "longitude": ("point", joined.pop("longitude"), {"units": "degrees_east"}),
        "latitude": ("point", joined.pop("latitude"), {"units": "degrees_north"}),
        "time": pd.to_datetime(dates, format="%Y%m%d").to_numpy("datetime64[ns]"),
    }
    attrs = {"units": "mm", "long_name": "displacement toward the satellite"}
    data: dict[str, Any] = {"displacement": (("point", "time"), np.concatenate(series), attrs)}
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
            "static_features": [name for name in STATIC_FEATURES if name in data],
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


def _require_columns(path: Path, names: list[str]) -> list[str]:
    """Return the columns that are dates, in order of date."""
    missing = [name for name in ("pid", "longitude", "latitude") if name not in names]
    if missing:
        raise ValueError(
            f"{path}: its CSV lacks the columns {', '.join(missing)}; found "
            f"{', '.join(names[:12])}..., expected the columns of EGMS Level 2a or 2b"
        )
    dates = [name for name in names if re.fullmatch(r"\d{8}", name)]
    if not dates:
        raise ValueError(
            f"{path}: its CSV has no columns of dates such as 20200103; found "
            f"{', '.join(names[:12])}..."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: its CSV has the columns {', '.join(twice)} more than once")
    wrong = [d for d in dates if pd.isna(pd.to_datetime(d, format="%Y%m%d", errors="coerce"))]
    if wrong:
        raise ValueError(f"{path}: its CSV has columns that are no dates: {', '.join(wrong)}")
    return sorted(dates)


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
        `simulate_insar.write_site` writes them.
    chunk : int, default 65536
        Points in a chunk.

    Returns
    -------
    xarray.Dataset
        Points whose displacement and static features are dask arrays; the coordinates are in
        memory, and so is ``regime`` if there are labels of that name.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is not one of whole shards, as `PointShards` says, or holds no series.
    """
    import dask.array as da

    require_integer(chunk, "chunk", least=1)
    shards = PointShards(folder)
    if missing := [kind for kind in ("displacement", "static") if kind not in shards.features]:
        raise ValueError(
            f"{shards.folder} has no features {', '.join(missing)}: it has "
            f"{', '.join(shards.features)}, expected the raw series of points"
        )
    lazy = {
        kind: da.from_array(_Column(shards, kind), chunks=(chunk, -1), name=False)
        for kind in ("displacement", "static")
    }
    attrs = dict(shards.attrs)
    variables = attrs.pop("variables", {})
    data: dict[str, Any] = {"displacement": (("point", "time"), lazy["displacement"])}
    for k, name in enumerate(shards.features["static"]):
        data[name] = ("point", lazy["static"][:, k])
    points = xr.Dataset(
        data,
        {
            "pid": ("point", shards.read("point")),
            "longitude": ("point", shards.read("longitude"), {"units": "degrees_east"}),
            "latitude": ("point", shards.read("latitude"), {"units": "degrees_north"}),
            "time": np.array(shards.features["displacement"], "datetime64[ns]"),
        },
        attrs | {"static_features": shards.features["static"], "crs": "EPSG:4326"},
    )
    for name in data:
        points[name].attrs.update(variables.get(name, {}))
    try:
        points["regime"] = read_labels(folder, "regime")
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
        Regular dates from the first date on, such as ``"6D"``; by default the dates stay.

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
    ValueError
        If there is no displacement (point, time), the dates do not rise, or an option is unknown.

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
    if method not in ("linear", "pchip"):
        raise ValueError(f"method must be 'linear' or 'pchip', found {method!r}")
    if "displacement" not in points or set(points.displacement.dims) != {"point", "time"}:
        found = dict(points.displacement.sizes) if "displacement" in points else list(points)
        raise ValueError(f"points needs displacement (point, time), found {found}")
    before = points.indexes["time"]
    if before.hasnans or not (before.is_monotonic_increasing and before.is_unique):
        raise ValueError("the dates of points must rise, each once: sort them and drop doubles")
    after = before
    if step is not None:
        if not (every := pd.Timedelta(step)) > pd.Timedelta(0):
            raise ValueError(f"step must be longer than 0, found {step!r}")
        after = pd.date_range(before[0], before[-1], freq=every, name="time")
    days = [np.asarray((t - before[0]) / pd.Timedelta("1D"), float) for t in (before, after)]
    displacement = points.displacement
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
