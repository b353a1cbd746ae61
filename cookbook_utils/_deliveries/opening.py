"""Points as a Dataset, from deliveries in memory or lazily from shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import shown
from cookbook_utils._conventions.points import RESERVED_NAMES, dates_of
from cookbook_utils._deliveries.sources import Deliveries
from cookbook_utils._deliveries.writing import read_all
from cookbook_utils.shards import PointShards
from cookbook_utils.shards._parameters import PID_BYTES

STATIC_FEATURES = ("height", "mean_velocity", "temporal_coherence", "amplitude_dispersion")
PID_ATTRS = {"long_name": "identifier of the point"}


def static_of(names: Any, deliveries: Deliveries) -> list[str]:
    """Return the names of the static features, or raise if one is no column."""
    columns = [name for name in deliveries.columns if name not in ("easting", "northing")]
    if names is None:
        return [name for name in STATIC_FEATURES if name in columns]
    expected = f"static_features must be distinct columns among {', '.join(columns)}"
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{expected}, got {shown(names)}")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{expected}, got {shown(names)}")
    if len(set(names)) < len(names) or not set(names) <= set(columns):
        raise ValueError(f"{expected}, got {shown(names)}")
    return list(map(str, names))


def read_points(deliveries: Deliveries, static: Sequence[str]) -> xr.Dataset:
    """Return the content of deliveries in memory."""
    block = read_all(deliveries)
    coords = {
        "pid": ("point", block.pid, PID_ATTRS),
        "longitude": ("point", block.longitude, {"units": "degrees_east"}),
        "latitude": ("point", block.latitude, {"units": "degrees_north"}),
        "time": np.array(deliveries.dates, "datetime64[ns]"),
    }
    data: dict[str, Any] = {"displacement": (("point", "time"), block.displacement)}
    data |= {name: ("point", values) for name, values in block.columns.items()}
    attrs = {
        "title": deliveries.title,
        "source": deliveries.source,
        "static_features": " ".join(static),
        "crs": "EPSG:4326",
    }
    points = xr.Dataset(data, coords, attrs)
    for name in data:
        points[name].attrs = deliveries.attributes_of(name)
    return points


class _Column:
    """A column of shards as an array from which Dask reads slices."""

    def __init__(self, shards: PointShards, name: str) -> None:
        self.shards, self.name = shards, name
        self.shape: tuple[int, ...] = (shards.n_points,)
        self.dtype = np.dtype(f"U{PID_BYTES}")
        if name in shards.features:
            self.shape += (len(shards.features[name]),)
            self.dtype = np.dtype("f4")
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        values = self.shards.read(self.name, key[0])
        return values[:, key[1]] if self.ndim == 2 else values.astype(self.dtype)


def open_shards(folder: Path, chunks: int) -> xr.Dataset:
    """Open points in shards lazily."""
    import dask.array as da

    def lazy(column: str) -> da.Array:
        array = _Column(shards, column)
        return da.from_array(array, chunks=(chunks, *array.shape[1:]), name=False)

    shards = PointShards(folder)
    if "displacement" not in shards.features:
        raise ValueError(
            f"{shards.folder} has no features displacement; it has {', '.join(shards.features)}, "
            "expected displacement series of points"
        )
    time = dates_of(shards.features["displacement"], f"{shards.folder}: the names of displacement")
    names = [name for kind in ("static", "other") for name in shards.features.get(kind, [])]
    if taken := sorted({*RESERVED_NAMES, "pid", "longitude", "latitude"} & set(names)):
        raise ValueError(
            f"{shards.folder} has static features named {', '.join(taken)}, names that are "
            "reserved for other variables of points"
        )
    attrs = dict(shards.attrs)
    attrs.pop("sources", None)
    variables = _variables_of(shards, attrs.pop("variables", {}))
    data: dict[str, Any] = {"displacement": (("point", "time"), lazy("displacement"))}
    for kind in ("static", "other"):
        if kind in shards.features:
            columns = lazy(kind)
            for k, name in enumerate(shards.features[kind]):
                data[name] = ("point", columns[:, k])
    pid = lazy("pid") if shards.has_pids else shards.read("point")
    coords = {
        "pid": ("point", pid, PID_ATTRS if shards.has_pids else {}),
        "longitude": ("point", shards.read("longitude"), {"units": "degrees_east"}),
        "latitude": ("point", shards.read("latitude"), {"units": "degrees_north"}),
        "time": time,
    }
    attrs |= {"static_features": " ".join(shards.features.get("static", [])), "crs": "EPSG:4326"}
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
