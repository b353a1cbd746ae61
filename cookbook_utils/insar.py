"""InSAR points as a Dataset: read from EGMS deliveries or from shards, with their gaps filled.

Points are an `xarray.Dataset` with ``displacement`` (point, time) in mm toward the satellite, NaN
where it is missing, static features (point,) with units, and the coordinates ``pid``,
``longitude``, ``latitude`` (point,) in degrees (EPSG:4326) and ``time``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils import _egms
from cookbook_utils._checks import require_choice, require_integer, require_rising_time, shown
from cookbook_utils._conventions.points import (
    RESERVED_NAMES,
    dates_of,
    displacement_of,
    step_of,
)
from cookbook_utils._files import as_path
from cookbook_utils._gaps import interpolate
from cookbook_utils.datasets import DataUnavailableError, fetch
from cookbook_utils.datasets._reader import CheckedReader, local_folder
from cookbook_utils.shards import PointShards

STATIC_FEATURES = ("height", "mean_velocity", "temporal_coherence", "amplitude_dispersion")
MAX_DISPLACEMENT = 5000.0
"""Largest displacement in mm that `read_egms` accepts.

Phase cannot measure more: between two images six days apart a point may move a quarter of a
wavelength, 14 mm, which adds up to 4.2 m in the five years of a delivery.
"""
MAX_DATES = 100_000
"""Largest number of regular dates that `fill_gaps` makes: one an hour for eleven years."""
_MAX_YEARS = 290  # from the first to the last date; timedelta64[ns] reaches 292


# -- reading ----------------------------------------------------------------------------------


def read_egms(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read points of the European Ground Motion Service, Level 2a or 2b, as delivered.

    Use it on a file as it was downloaded; `fill_gaps` then interpolates its missing values.

    Parameters
    ----------
    path : str or os.PathLike
        A CSV, or a zip that holds one CSV (and an XML); a zip is not unpacked to disk.

    Returns
    -------
    xarray.Dataset
        ``displacement`` (point, time) float32 in mm, and every other numeric column as a variable
        (point,), float32 except for easting and northing in float64; ``height_ortho`` is named
        ``height``. Coordinates ``pid`` (text), ``longitude``, ``latitude`` (float64) and ``time``,
        ascending. Empty cells are NaN.

    Raises
    ------
    TypeError
        If `path` is not a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the zip is damaged or does not hold exactly one CSV; if a column is missing, repeated or
        has a reserved name; if a date is invalid, before the first radar satellite or in the
        future; if a line has another number of cells than the header, or a cell is not a number; if
        a pid is empty or repeated; if a point has no valid coordinates, or they are swapped; or if
        a displacement exceeds `MAX_DISPLACEMENT`.

    Warns
    -----
    UserWarning
        If the coordinates contradict easting and northing, or lie outside of Europe.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "points.csv"
    ...     header = "pid,latitude,longitude,20200103,20200109"
    ...     _ = path.write_text(header + "\\na1,38.7,13.2,0.0,-1.5\\n")
    ...     read_egms(path).displacement.values
    array([[ 0. , -1.5]], dtype=float32)
    """
    path = as_path(path, "path")
    table = _egms.read_table(path)
    _egms.require_points(path, table.columns)
    _egms.require_plausible_places(path, table.columns)
    pid = table.columns["pid"]
    _egms.require_displacement(path, pid, table.dates, table.displacement, MAX_DISPLACEMENT)
    return _as_points(table, title=f"EGMS points, {path.stem}")


def _as_points(table: _egms.Table, *, title: str) -> xr.Dataset:
    """Return the content of a delivery as points."""
    columns = dict(table.columns)
    time = np.array([_egms.parse_date(name) for name in table.dates], "datetime64[D]")
    coords = {
        "pid": ("point", columns.pop("pid"), {"long_name": "identifier of the point"}),
        "longitude": ("point", columns.pop("longitude"), {"units": "degrees_east"}),
        "latitude": ("point", columns.pop("latitude"), {"units": "degrees_north"}),
        "time": time.astype("datetime64[ns]"),
    }
    attrs = {"units": "mm", "long_name": "displacement toward the satellite"}
    data: dict[str, Any] = {"displacement": (("point", "time"), table.displacement, attrs)}
    for column, values in columns.items():
        name = _egms.RENAMED.get(column, column)
        units, long_name = _egms.COLUMNS.get(name, (None, column))
        attrs = {"long_name": long_name} | ({"units": units} if units else {})
        data[name] = ("point", values, attrs)
    attrs = {
        "title": title,
        "source": "European Ground Motion Service, Copernicus Land Monitoring Service",
        "static_features": " ".join(name for name in STATIC_FEATURES if name in data),
        "crs": "EPSG:4326",
    }
    return xr.Dataset(data, coords, attrs)


class _Column:
    """Features of shards as an array from which Dask reads slices."""

    def __init__(self, shards: PointShards, name: str) -> None:
        self.shards, self.name = shards, name
        self.shape = (shards.n_points, len(shards.features[name]))
        self.dtype, self.ndim = np.dtype("f4"), 2

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        return self.shards.read(self.name, key[0])[:, key[1]]


def open_points(folder: str | os.PathLike[str], *, chunks: int = 65536) -> xr.Dataset:
    """Open displacement series in shards lazily.

    Use it for points that do not fit in memory; `fill_gaps` keeps them lazy.

    Parameters
    ----------
    folder : str or os.PathLike
        Shards with the features ``displacement``, named by date, and ``static``, as
        `simulate.write_site` writes them.
    chunks : int, default 65536
        Number of points in a chunk.

    Returns
    -------
    xarray.Dataset
        Points whose displacement and static features are Dask arrays. The coordinates are in
        memory, and so is ``regime`` (point,), uint8, if the shards have labels of that name.

    Raises
    ------
    TypeError
        If `folder` is not a path or `chunks` not an integer.
    FileNotFoundError
        If there are no shards in the folder.
    ValueError
        If `chunks` is less than 1, or the shards are damaged or incomplete, have no displacement or
        static features, or have dates that are invalid or not ascending.

    Examples
    --------
    >>> import tempfile
    >>> from cookbook_utils.simulate import write_site
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     points = open_points(write_site(folder, "insar_lyngen", n_points=100), chunks=50)
    ...     points.displacement.chunks[0], dict(points.compute().sizes)
    ((50, 50), {'point': 100, 'time': 201})
    """
    import dask.array as da

    chunks = require_integer(chunks, "chunks", least=1)
    shards = PointShards(folder)
    if missing := [kind for kind in ("displacement", "static") if kind not in shards.features]:
        raise ValueError(
            f"{shards.folder} has no features {', '.join(missing)}; it has "
            f"{', '.join(shards.features)}, expected displacement series of points"
        )
    time = dates_of(shards.features["displacement"], f"{shards.folder}: the names of displacement")
    statics = shards.features["static"]
    if taken := sorted({*RESERVED_NAMES, "pid", "longitude", "latitude"} & set(statics)):
        raise ValueError(
            f"{shards.folder} has static features named {', '.join(taken)}, names that are "
            "reserved for other variables of points"
        )
    lazy = {
        kind: da.from_array(_Column(shards, kind), chunks=(chunks, -1), name=False)
        for kind in ("displacement", "static")
    }
    attrs = dict(shards.attrs)
    variables = _variables_of(shards, attrs.pop("variables", {}))
    data: dict[str, Any] = {"displacement": (("point", "time"), lazy["displacement"])}
    for k, name in enumerate(statics):
        data[name] = ("point", lazy["static"][:, k])
    coords = {
        "pid": ("point", shards.read("point")),
        "longitude": ("point", shards.read("longitude"), {"units": "degrees_east"}),
        "latitude": ("point", shards.read("latitude"), {"units": "degrees_north"}),
        "time": time,
    }
    attrs |= {"static_features": " ".join(statics), "crs": "EPSG:4326"}
    points = xr.Dataset(data, coords, attrs)
    for name in data:
        points[name].attrs.update(variables.get(name, {}))
    try:
        points["regime"] = shards.read_labels("regime")
    except FileNotFoundError:
        pass  # only simulated points have known regimes
    return points


def _variables_of(shards: PointShards, variables: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return the attributes of each variable in the attrs of shards, or raise if invalid."""
    if not isinstance(variables, dict) or not all(isinstance(v, dict) for v in variables.values()):
        raise ValueError(
            f"{shards.folder}: variables in its attrs must map each name to a mapping of "
            f"attributes, got {variables!r:.60}"
        )
    return variables


# -- gaps -------------------------------------------------------------------------------------


def fill_gaps(
    points: xr.Dataset,
    *,
    method: Literal["linear", "pchip"] = "linear",
    step: str | pd.Timedelta | None = None,
) -> xr.Dataset:
    """Interpolate missing displacements, and optionally resample the series to regular dates.

    Use it before points are embedded or clustered. Between two observations the values follow a
    line or a monotone cubic [1]_ and never leave the range of the two. Before the first and after
    the last observation they are constant.

    Parameters
    ----------
    points : xarray.Dataset
        Points with ``displacement`` (point, time), in memory or lazy.
    method : {"linear", "pchip"}, default "linear"
        Interpolate with lines or with the monotone cubic.
    step : str or pandas.Timedelta, optional
        Interval of regular dates from the first date on, such as ``"6D"``; it must make at most
        `MAX_DATES` of them. By default the dates are kept.

    Returns
    -------
    xarray.Dataset
        The points with ``displacement`` filled, float32, lazy if it was lazy, and
        ``filled_fraction`` (point,) float32: the share of dates without an observation. A point
        without any observation stays missing and has the fraction NaN. Other variables along
        ``time`` are dropped. ``attrs["fill_method"]`` names the method. For data in memory
        ``attrs["filled_fraction"]`` is the mean over the filled points and
        ``attrs["n_missing_points"]`` the number of points that stay missing.

    Raises
    ------
    TypeError
        If `points` is not a Dataset, its displacements are not real numbers, its times are not
        dates, or an option has the wrong type.
    ValueError
        If there is no displacement (point, time), the dates are not ascending or span more than 290
        years, a displacement is infinite or too large for float32 (on compute, if it is lazy), or
        an option is invalid.

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
    interval = step_of(step)
    displacement = displacement_of(points)
    require_rising_time(points, "points")
    dates = points["time"].to_index()
    if dates[-1].year - dates[0].year > _MAX_YEARS:
        raise ValueError(
            f"the times of points must lie within {_MAX_YEARS} years, got {dates[0]} to {dates[-1]}"
        )
    new_dates = dates if interval is None else _regular_dates(dates, interval, step)
    values, fraction = _interpolated(displacement, dates, new_dates, method)

    filled = points.drop_dims("time").assign_attrs(fill_method=method)
    filled["displacement"] = values
    filled["filled_fraction"] = fraction
    if displacement.chunks is None:
        n_missing = int(fraction.isnull().sum())
        filled.attrs["n_missing_points"] = n_missing
        is_filled = n_missing < fraction.size
        filled.attrs["filled_fraction"] = float(fraction.mean()) if is_filled else float("nan")
    return filled.assign_coords(time=new_dates)


def _regular_dates(
    dates: pd.DatetimeIndex, interval: pd.Timedelta, step: str | pd.Timedelta
) -> pd.DatetimeIndex:
    """Return dates from the first to the last one at regular intervals, or raise ValueError."""
    n_dates = (dates[-1] - dates[0]) // interval + 1
    if n_dates > MAX_DATES:
        raise ValueError(
            f"step must be so long that it makes at most {MAX_DATES} dates, got {shown(step)}, "
            f"which makes {n_dates}"
        )
    return pd.date_range(dates[0], dates[-1], freq=interval, name="time")


def _interpolated(
    displacement: xr.DataArray, dates: pd.DatetimeIndex, new_dates: pd.DatetimeIndex, method: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return displacement (point, time) at `new_dates`, and the share of dates filled."""
    days = [np.asarray((t - dates[0]) / pd.Timedelta("1D"), float) for t in (dates, new_dates)]
    if displacement.chunks is not None:
        displacement = displacement.chunk(time=-1)
    values, fraction = xr.apply_ufunc(
        interpolate,
        displacement,
        kwargs={"dates": days[0], "new_dates": days[1], "cubic": method == "pchip"},
        input_core_dims=[["time"]],
        output_core_dims=[["new"], []],
        exclude_dims={"time"},
        dask="parallelized",
        output_dtypes=[np.float32, np.float32],
        dask_gufunc_kwargs={"output_sizes": {"new": len(new_dates)}},
        keep_attrs=True,
    )
    fraction.attrs = {"units": "1", "long_name": "share of dates without an observation"}
    return values.rename(new="time").transpose("point", "time"), fraction


# -- the catalog ------------------------------------------------------------------------------


class PointsReader(CheckedReader):
    """Reader of simulated points in shards in the data folder."""

    imports = {"pyarrow"}
    output_instance = "xarray:Dataset"

    def _read(self, *, name: str, folder: str, made_by: str, chunks: int = 65536) -> xr.Dataset:
        """Open points lazily with `open_points`.

        Parameters
        ----------
        name : str
            Folder of the shards in ``simulated`` of the data folder.
        folder : str
            The data folder.
        made_by : str
            Command that writes the shards.
        chunks : int
            Number of points in a chunk.

        Returns
        -------
        xarray.Dataset
            The points.

        Raises
        ------
        DataUnavailableError
            If there are no shards.
        ValueError
            If the shards are damaged.
        """
        path = local_folder(folder) / "simulated" / name
        if not (path / "manifest.json").is_file():
            raise DataUnavailableError(f"there are no points in {path}; run `{made_by}`")
        return open_points(path, chunks=chunks)


class EGMSReader(CheckedReader):
    """Reader of points of the European Ground Motion Service."""

    imports = {"pyarrow"}
    output_instance = "xarray:Dataset"

    def _read(self, *, dataset: str, file: str, folder: str) -> xr.Dataset:
        """Read a delivery with `read_egms`.

        Parameters
        ----------
        dataset, file : str
            Data set and name of the file in the registry of real files.
        folder : str
            The data folder.

        Returns
        -------
        xarray.Dataset
            The points.

        Raises
        ------
        DataUnavailableError
            If the file is absent and cannot be downloaded.
        ValueError
            If the file is damaged.
        """
        return read_egms(fetch(dataset, file, folder=local_folder(folder)))
