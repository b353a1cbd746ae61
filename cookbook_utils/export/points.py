"""Labeled points with their coordinates and values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import as_real_array, require_dims, shown
from cookbook_utils._conventions.labels import as_labels, nodata_label
from cookbook_utils._conventions.points import require_coordinates
from cookbook_utils.export._classes import LabelClass, classes_of, names_and_colors
from cookbook_utils.export._install import checked_path, installing, need
from cookbook_utils.export._stac import Content, period_of, write_item
from cookbook_utils.export._tables import MEDIA_TYPES, ROWS, WRITERS
from cookbook_utils.shards import PointShards
from cookbook_utils.shards._parameters import check_kinds

SUFFIXES = (".parquet", ".geoparquet", ".csv", ".gpkg")
_FIRST = ("pid", "longitude", "latitude", "label", "class")
_TAKEN = (*_FIRST, "geometry", "geom", "fid")  # the last are columns of the formats
Columns = list[tuple[str, Any]]


class _Source(NamedTuple):
    """Points to export."""

    n_points: int
    place: Callable[[slice], dict[str, np.ndarray]]
    """Returns ``pid``, ``longitude`` and ``latitude`` of consecutive points."""
    values: Callable[[slice], Columns]
    """Returns the names and values of the other columns of consecutive points."""


def write_points(
    path: str | os.PathLike[str],
    points: PointShards | xr.Dataset,
    labels: Any,
    *,
    kinds: Sequence[str] | None = None,
    profiles: xr.Dataset | None = None,
    names: Mapping[int, str] | None = None,
    time: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write labeled points with their values to a GeoParquet, CSV or GeoPackage file.

    Use it to open clusters of InSAR points in a GIS or a spreadsheet. Points are read and written
    65 536 at a time. Beside the file is ``<name>.json``, a STAC item.

    Parameters
    ----------
    path : str or os.PathLike
        The file, which ends in ``.parquet``, ``.geoparquet``, ``.csv`` or ``.gpkg``.
    points : PointShards or xarray.Dataset
        Points in shards; or a Dataset with the coordinates ``longitude`` and ``latitude`` (point),
        perhaps ``pid``, and variables (point) or (point, time).
    labels : str or array_like of int (n,)
        Labels of the points in their order, from 0 to 254, 255 or NaN for nodata; from 0 to 65534
        in a DataArray that declares the nodata value 65535; or, for shards, the name that was given
        to `PointShards.write_labels`. ``flag_values`` and ``flag_meanings`` in the attributes name
        the classes.
    kinds : sequence of str, optional
        Kinds of features of shards to write; by default all. A Dataset has no kinds.
    profiles : xarray.Dataset, optional
        Profiles of the clusters, as `displacement_profiles` or `cluster_profiles` returns them.
        Every point gets the ``mean`` of its cluster, in columns ``profile_<date or band>``.
    names : mapping of int to str, optional
        Names of classes, which precede those of the attributes.
    time : date, str or pair of these, optional
        When the points were observed; by default the first and last date of the coordinate ``time``
        of `points`, or of feature names that are dates. Without any there is no STAC item.
    overwrite : bool, default False
        Whether to replace the file if it exists.

    Returns
    -------
    pathlib.Path
        The file. Its columns are ``pid`` (the number of the point where it has no identifier),
        ``longitude``, ``latitude``, ``label`` and ``class`` (both empty for nodata), then one for
        each feature, or variable and date. A variable with the name of one of these, or of a column
        that a format reserves, gets the prefix ``value_``, and a feature that of its kind.
        GeoParquet and GeoPackage have a geometry in longitude and latitude (OGC:CRS84), too.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If labels and points do not match, two columns would have the same name, coordinates are not
        degrees, there are no such kinds, or profiles lack a cluster.
    FileNotFoundError
        If the shards have no labels of that name.
    FileExistsError
        If the file exists, unless `overwrite` is true.
    ImportError
        If a package for the format is not installed.
    OSError
        If the file cannot be written. A file that was there is unchanged.

    Warns
    -----
    UserWarning
        If there is no STAC item, since the time is unknown.

    Examples
    --------
    >>> import tempfile
    >>> points = xr.Dataset(
    ...     {"height": ("point", [12.0, 15.5])},
    ...     coords={"longitude": ("point", [20.1, 20.2]), "latitude": ("point", [69.5, 69.6])},
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_points(
    ...         f"{folder}/points.csv", points, [1, 255], names={1: "creep"}, time="2020-01-03"
    ...     )
    ...     print(path.read_text())
    pid,longitude,latitude,label,class,height
    0,20.1,69.5,1,creep,12.0
    1,20.2,69.6,,,15.5
    """
    import pyproj

    path = checked_path(path, SUFFIXES, overwrite)
    if isinstance(points, PointShards):
        source, dated = _of_shards(points, kinds)
        labels = points.read_labels(labels) if isinstance(labels, str) else labels
    else:
        source, dated = _of_dataset(points, kinds), points
    labels = _labels_of(labels, source.n_points, points)
    named, colors = names_and_colors(labels, names)
    nodata = nodata_label(labels.dtype)
    found = [n for n in np.unique(labels.values).tolist() if n != nodata]
    classes = classes_of(found, named, colors, nodata)
    means = _means_of(profiles, found)
    period = period_of(dated, time)
    if path.suffix.lower() != ".csv":
        need("shapely")
    bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
    crs = pyproj.CRS.from_user_input("OGC:CRS84")
    with installing(path, overwrite) as target:
        batches = _batches(source, labels.values, classes, means)
        first = next(batches)
        columns = {name: _type_of(name, values) for name, values in first.items()}
        with WRITERS[path.suffix.lower()](target, crs, "Point", columns) as writer:
            while first is not None:
                table = pd.DataFrame(first)
                place = first["longitude"], first["latitude"]
                if len(table):
                    low, high = np.min(place, axis=1), np.max(place, axis=1)
                    bounds = np.r_[np.minimum(bounds[:2], low), np.maximum(bounds[2:], high)]
                writer.write(table, _geometry(path, *place))
                first = next(batches, None)
        if np.isfinite(bounds).all():
            media_type = MEDIA_TYPES[path.suffix.lower()]
            title = str(labels.attrs.get("long_name") or labels.name or path.stem)
            content = Content(media_type, title, crs, tuple(bounds.tolist()), period, classes)
            write_item(target, content)
    return path


# -- what to write ------------------------------------------------------------------------------


def _of_shards(points: PointShards, kinds: Any) -> tuple[_Source, xr.Dataset | None]:
    """Return the columns of shards, and their dates if the names of features are dates."""
    if kinds is None or (isinstance(kinds, list | tuple) and not kinds):
        kinds = list(points.features) if kinds is None else []
    else:
        kinds = check_kinds(kinds, points.features, points.folder)
    all_names = [name for kind in kinds for name in points.features[kind]]
    clash = {name for name in all_names if all_names.count(name) > 1} | set(_TAKEN)
    pid = "pid" if points.has_pids else "point"

    def place(rows: slice) -> dict[str, np.ndarray]:
        columns = {"pid": pid, "longitude": "longitude", "latitude": "latitude"}
        return {name: points.read(column, rows) for name, column in columns.items()}

    def values(rows: slice) -> Columns:
        found = []
        for kind in kinds:
            table = points.read(kind, rows)
            for name, column in zip(points.features[kind], table.T, strict=True):
                found.append((f"{kind}_{name}" if name in clash else name, column))
        return found

    dates = [pd.Timestamp(name) for name in all_names if _is_date(name)]
    dated = xr.Dataset(coords={"time": pd.DatetimeIndex(dates)}) if dates else None
    return _Source(points.n_points, place, values), dated


def _is_date(name: str) -> bool:
    try:
        return len(name) >= 8 and name[:4].isdigit() and bool(pd.Timestamp(name))
    except ValueError:
        return False


def _of_dataset(points: Any, kinds: Any) -> _Source:
    """Return the columns of a Dataset: each variable (point), and (point, time) date by date."""
    if not isinstance(points, xr.Dataset):
        raise TypeError(
            f"points must be a PointShards or an xarray.Dataset, got {type(points).__name__}"
        )
    if kinds is not None:
        raise TypeError(f"kinds must be None where points are a Dataset, got {shown(kinds)}")
    for name in ("longitude", "latitude"):
        if name not in points.coords or points[name].dims != ("point",):
            raise ValueError(
                "points must have the coordinates longitude (point) and latitude (point), got "
                f"{ {str(key): coord.dims for key, coord in points.coords.items()} }"
            )
    series = {}
    for name, variable in points.data_vars.items():
        if variable.dims not in (("point",), ("point", "time"), ("time", "point")):
            raise ValueError(
                "points must have variables with the dimensions (point) or (point, time), got "
                f"{shown(name)} with {variable.dims}"
            )
        series[str(name)] = variable

    def place(rows: slice) -> dict[str, np.ndarray]:
        n = rows.stop - rows.start
        pid = points["pid"][rows].values if "pid" in points.coords else rows.start + np.arange(n)
        return {"pid": pid} | {
            name: points[name][rows].values.astype(np.float64) for name in ("longitude", "latitude")
        }

    def values(rows: slice) -> Columns:
        found = []
        for name, variable in series.items():
            part = variable.isel(point=rows).transpose("point", ...).values
            if part.dtype.kind == "M":
                part = np.where(np.isnat(part), None, np.datetime_as_string(part, "s"))
            name = f"value_{name}" if name.lower() in _TAKEN else name
            if part.ndim == 1:
                found.append((name, part))
                continue
            for column, when in zip(part.T, _titles(variable, "time"), strict=True):
                found.append((f"{name}_{when}", column))
        return found

    return _Source(points.sizes["point"], place, values)


def _titles(array: xr.DataArray | xr.Dataset, dim: str) -> list[str]:
    """Return the names of the entries along a dimension; dates as in ISO 8601."""
    index = array.get_index(dim)
    if isinstance(index, pd.DatetimeIndex):
        whole = (index == index.normalize()).all()
        return index.strftime("%Y-%m-%d" if whole else "%Y-%m-%dT%H:%M:%S").tolist()
    return [str(value) for value in index]


def _labels_of(labels: Any, n_points: int, points: Any) -> xr.DataArray:
    """Return the labels of the points in memory, as `as_labels` does, or raise."""
    if not isinstance(labels, xr.DataArray):
        if isinstance(labels, str):
            raise TypeError("labels must be numbers where points are a Dataset, got text")
        labels = as_real_array(labels, "labels")
        if labels.ndim != 1:
            raise ValueError(f"labels must be 1-D, one for each point, got shape {labels.shape}")
        labels = xr.DataArray(labels, dims="point")
    require_dims(labels, ("point",), "labels")
    if labels.size != n_points:
        raise ValueError(f"labels must be one for each of {n_points} points, got {labels.size}")
    if isinstance(points, xr.Dataset):
        one, two = labels.indexes.get("point"), points.indexes.get("point")
        if one is not None and two is not None and not one.equals(two):
            raise ValueError(
                "labels must have the coordinate point of the points in the same order, got "
                "another: select them with labels.sel(point=points.point)"
            )
    return as_labels(labels, dims=("point",)).compute()


def _means_of(profiles: Any, found: list[int]) -> pd.DataFrame | None:
    """Return the mean of each cluster (rows) by date or band (columns), or None."""
    if profiles is None:
        return None
    if not isinstance(profiles, xr.Dataset):
        raise TypeError(f"profiles must be an xarray.Dataset, got {type(profiles).__name__}")
    mean = profiles.get("mean")
    if mean is None or mean.ndim != 2 or "cluster" not in mean.coords:
        raise ValueError(f"profiles must have mean (cluster, time or band), got {list(profiles)}")
    mean = mean.transpose("cluster", ...)
    names = [f"profile_{name}" for name in _titles(mean, str(mean.dims[1]))]
    table = pd.DataFrame(mean.values, mean["cluster"].values, names)
    if missing := sorted(set(found) - set(table.index)):
        raise ValueError(f"profiles must have every cluster of the labels, got none for {missing}")
    return table


# -- batches ------------------------------------------------------------------------------------


def _batches(
    source: _Source,
    labels: np.ndarray,
    classes: list[LabelClass],
    means: pd.DataFrame | None,
) -> Iterator[dict[str, Any]]:
    """Yield the columns of consecutive points; at least one batch, which may be empty."""
    nodata = nodata_label(labels.dtype)
    titles = np.full(nodata + 1, None, object)
    for one in classes:
        titles[one.number] = one.name or one.title
    for start in range(0, max(source.n_points, 1), ROWS):
        rows = slice(start, min(start + ROWS, source.n_points))
        place = source.place(rows)
        require_coordinates(place["longitude"], place["latitude"])
        here = labels[rows]
        columns = place | {
            "pid": _as_identifiers(place["pid"]),
            "label": pd.Series(here).astype(f"UInt{8 * here.itemsize}").mask(here == nodata),
            "class": pd.Series(titles[here], dtype=object),
        }
        named = [*columns.items(), *source.values(rows)]
        if means is not None:
            profile = means.reindex(here).to_numpy()
            named += zip(means.columns, profile.T, strict=True)
        columns = dict(named)
        if len(columns) < len(named):
            names = [name for name, _ in named]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                "points must have variables and dates that give each column a name of its own, got "
                f"several for {twice!r}: rename the variables"
            )
        yield columns


def _as_identifiers(pid: np.ndarray) -> np.ndarray:
    """Return identifiers as text, or as the integers that they are."""
    if pid.dtype.kind == "S":
        return np.char.decode(pid, "utf-8").astype(object)
    return pid if pid.dtype.kind in "iu" else pid.astype(str).astype(object)


def _type_of(name: str, values: Any) -> str:
    if name == "label":
        return values.dtype.name
    values = np.asarray(values)
    return "string" if values.dtype.kind in "OUS" else values.dtype.name


def _geometry(path: Path, longitude: np.ndarray, latitude: np.ndarray) -> Any:
    if path.suffix.lower() == ".csv":
        return None
    import shapely

    return shapely.points(longitude, latitude)
