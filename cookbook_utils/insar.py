"""InSAR points as a Dataset: opened from deliveries or from shards, with their gaps filled.

Points are an `xarray.Dataset` with ``displacement`` (point, time) in mm, NaN where it is missing,
features (point,) with units, and the coordinates ``pid``, ``longitude``, ``latitude`` (point,) in
degrees (EPSG:4326) and ``time``. Displacement is toward the satellite, except for EGMS Level 3,
where it is upward or toward the east.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import (
    progress_bar,
    require_choice,
    require_integer,
    require_rising_time,
    shown,
)
from cookbook_utils._conventions.points import (
    displacement_of,
    step_of,
)
from cookbook_utils._deliveries import opening
from cookbook_utils._deliveries.sources import DATES, find_deliveries
from cookbook_utils._deliveries.writing import write_all
from cookbook_utils._files import as_path
from cookbook_utils._gaps import interpolate
from cookbook_utils.datasets import DataUnavailableError, fetch
from cookbook_utils.datasets._reader import CheckedReader, local_folder
from cookbook_utils.shards._manifest import MANIFEST

STATIC_FEATURES = opening.STATIC_FEATURES
"""Columns of deliveries that become static features by default, as far as there are such."""
MAX_DATES = 100_000
"""Largest number of regular dates that `fill_gaps` makes: one an hour for eleven years."""
_MAX_YEARS = 290  # from the first to the last date; timedelta64[ns] reaches 292


# -- opening ----------------------------------------------------------------------------------


def open_points(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    folder: str | os.PathLike[str] | None = None,
    static_features: Sequence[str] | None = None,
    dates: Literal["same", "common", "all"] = "same",
    layers: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    chunks: int = 65536,
    shard_size: int = 65536,
    progress: Callable[..., Iterable] | None = None,
) -> xr.Dataset:
    """Open displacement series as a service or a processor delivers them, or in shards.

    Use it on files as they were downloaded. With a `folder`, the points are written to shards in
    memory that does not depend on their number, and opened lazily; `reservoir.embed_shards` and
    `minibatch.MiniBatchShardKMeans` take that folder. Without one, they are read into memory.
    `fill_gaps` interpolates missing values where a step needs complete series.

    Parameters
    ----------
    source : str, os.PathLike or sequence of these
        Deliveries of the European Ground Motion Service, Level 2a, 2b or 3: CSV files, or zip
        files that hold one CSV each, which are not unpacked to disk. Or a time series of MintPy
        in HDF5, such as ``timeseries.h5``, or in HDF-EOS5. Or a folder that holds one of these
        kinds. Or a folder of shards.
    folder : str or os.PathLike, optional
        Folder for the shards of the deliveries. An interrupted call is resumed by the next one; if
        the folder already holds the points of the same files, it is unchanged.
    static_features : sequence of str, optional
        Columns of the deliveries that become static features, by default those of
        `STATIC_FEATURES` that there are. The track angle is circular; ``los_east``, ``los_north``
        and ``los_up``, which hold it as a vector, are not.
    dates : {"same", "common", "all"}, default "same"
        What is done if the files have different dates: raise an error, keep the dates that all
        files have, or keep all dates and leave gaps.
    layers : str, os.PathLike or sequence of these, optional
        HDF5 files of MintPy with the geometry, mask, temporal coherence and velocity of a time
        series; by default those that lie where MintPy puts them.
    chunks : int, default 65536
        Number of points in a chunk of lazy points.
    shard_size : int, default 65536
        Number of points in a shard of `folder`.
    progress : callable, optional
        Progress bar such as ``tqdm.auto.tqdm``: it is called with an iterable and the keyword
        arguments ``desc`` and ``total``, and returns an iterable.

    Returns
    -------
    xarray.Dataset
        ``displacement`` (point, time) float32 in mm, NaN where it is missing, and every other
        numeric column as a variable (point,), float32 except for easting and northing in float64,
        which shards leave out; ``height_ortho`` is named ``height``. Coordinates ``pid``,
        ``longitude``, ``latitude`` (point,) float64 and ``time``, ascending. From shards,
        variables and text pids are Dask arrays, other coordinates are in memory, and so is
        ``regime`` (point,), uint8, if the shards have labels of that name. Of MintPy, pixels
        outside of the mask, without coordinates or without displacements are left out.

    Raises
    ------
    TypeError
        If a path is not a path, or an option has the wrong type.
    FileNotFoundError
        If there is no such file, or nothing to open in a folder.
    ImportError
        If h5py is needed and absent.
    ValueError
        If a file is damaged, or a zip does not hold exactly one CSV; if a column is missing,
        repeated or has a reserved name; if a date is invalid, before the first radar satellite or
        in the future; if a line has another number of cells than the header, or a cell is not a
        number; if a pid is empty, repeated in a file, or stands for different points in two files;
        if a point has no valid coordinates, or they are swapped; if a displacement exceeds 5 m; if
        files have other columns, dates, tracks or directions than the first one; if shards are
        damaged or incomplete or have no displacement; or if an option is invalid.
    OSError
        If the shards cannot be written, or another process is still writing them after two minutes.

    Warns
    -----
    UserWarning
        If coordinates contradict easting and northing, or lie outside of Europe; if points are in
        several files; or if the files have no date in common.

    References
    ----------
    EGMS-D6, Product Description and Format Specification, European Ground Motion Service. Z.
    Yunjun, H. Fattahi, F. Amelung (2019), doi:10.1016/j.cageo.2019.104331, for MintPy.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "points.csv"
    ...     header = "pid,latitude,longitude,height,20200103,20200109"
    ...     _ = path.write_text(header + "\\na1,38.7,13.2,5,0.0,-1.5\\n")
    ...     lazy = open_points(path, folder=Path(folder) / "shards")
    ...     open_points(path).displacement.values, lazy.displacement.values
    (array([[ 0. , -1.5]], dtype=float32), array([[ 0. , -1.5]], dtype=float32))
    """
    chunks = require_integer(chunks, "chunks", least=1)
    shard_size = require_integer(shard_size, "shard_size", least=1)
    require_choice(dates, "dates", DATES)
    bar = progress_bar(progress)
    if isinstance(source, str | os.PathLike) and (as_path(source, "source") / MANIFEST).is_file():
        options = {"folder": folder, "static_features": static_features, "layers": layers}
        if given := [name for name, value in options.items() if value is not None]:
            raise ValueError(f"{given[0]} must be None for a folder of shards, got {source}")
        return opening.open_shards(as_path(source, "source"), chunks)
    target = None if folder is None else as_path(folder, "folder")
    deliveries = find_deliveries(source, layers, dates)
    static = opening.static_of(static_features, deliveries)
    if target is not None and target.resolve() in deliveries.folders():
        raise ValueError(f"folder must be another one than that of the source, got {target}")
    if target is None:
        return opening.read_points(deliveries, static)
    write_all(target, deliveries, static, shard_size=shard_size, bar=bar)
    return opening.open_shards(target, chunks)


# -- gaps -------------------------------------------------------------------------------------


def fill_gaps(
    points: xr.Dataset,
    *,
    method: Literal["linear", "pchip"] = "linear",
    step: str | pd.Timedelta | None = None,
) -> xr.Dataset:
    """Interpolate missing displacements, and optionally resample the series to regular dates.

    Use it before plain series are clustered or drawn, or embedded by ``"readout"`` or ``"last"``;
    the default embedding takes series with gaps. Between two observations the values follow a line
    or a monotone cubic [1]_ and never leave the range of the two. Before the first and after the
    last observation they are constant.

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
        if not (path / MANIFEST).is_file():
            raise DataUnavailableError(f"there are no points in {path}; run `{made_by}`")
        return open_points(path, chunks=chunks)


class EGMSReader(CheckedReader):
    """Reader of points of the European Ground Motion Service."""

    imports = {"pyarrow"}
    output_instance = "xarray:Dataset"

    def _read(self, *, dataset: str, file: str, folder: str) -> xr.Dataset:
        """Read a delivery with `open_points`.

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
        return open_points(fetch(dataset, file, folder=local_folder(folder)))
