"""Time series of MintPy in HDF5, block by block.

References
----------
Z. Yunjun, H. Fattahi, F. Amelung (2019). Small baseline InSAR time series analysis: Unwrapping
error correction and noise reduction. Computers & Geosciences 133, 104331. The documentation of
MintPy, Data structure and Attributes, has the names and units of data sets and attributes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_utils._checks import needs
from cookbook_utils._conventions.points import require_radar_date
from cookbook_utils._deliveries.blocks import Block, require_displacement, require_finite

SUFFIXES = (".h5", ".hdf5", ".he5")
BYTES_PER_BLOCK = 1 << 25  # bytes of the series that are read at a time
MILLIMETERS = {"m": 1000.0, "cm": 10.0, "mm": 1.0}  # in each unit that a series may have
FOLDERS = (".", "inputs", "geo")  # where MintPy puts layers, seen from the time series
LAYER_FILES = (
    "geometryRadar.h5", "geometryGeo.h5", "maskTempCoh.h5", "temporalCoherence.h5", "velocity.h5"
)  # fmt: skip
LAYERS = (
    "height", "latitude", "longitude", "incidenceAngle", "azimuthAngle", "temporalCoherence",
    "mask", "velocity",
)  # fmt: skip
_EOS = "HDFEOS/GRIDS/timeseries"  # group of the files that MintPy writes for archives
_EOS_NAMES = {
    **{name: f"{_EOS}/geometry/{name}" for name in LAYERS[:5]},
    **{name: f"{_EOS}/quality/{name}" for name in ("temporalCoherence", "mask")},
    "timeseries": f"{_EOS}/observation/displacement",
    "date": f"{_EOS}/observation/date",
}


class MintPySeries:
    """A time series of MintPy and the layers that belong to it, whose headers were read.

    Attributes and methods are those of `blocks.Delivery`.

    Parameters
    ----------
    path : pathlib.Path
        The file with the data set ``timeseries``, or in HDF-EOS5.
    layers : sequence of pathlib.Path, optional
        Files with further layers on the same grid, by default those that lie where MintPy puts
        them: geometry, mask, temporal coherence and velocity.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If h5py is not installed.
    ValueError
        If a file is damaged, or does not hold what MintPy writes.
    """

    source = "processed with MintPy"
    direction = "toward the satellite"
    product = None

    def __init__(self, path: Path, layers: Sequence[Path] | None = None) -> None:
        self.path = path
        with _opened(path) as file:
            self._read_header(file)
        self._layers: dict[str, Path] = {}
        for layer in [path, *_beside(path)] if layers is None else [*layers, path]:
            self._add_layers(layer, required=layers is not None and layer != path)
        is_placed = {"latitude", "longitude"} <= set(self._layers)
        if self._grid is None and not is_placed:
            raise ValueError(
                f"{path} is in radar coordinates and has no latitude and longitude: name the file "
                "of its geometry in layers, or geocode it with MintPy"
            )
        self.columns = self._columns()

    def _read_header(self, file: Any) -> None:
        """Read shape, dates, units and grid, or raise ValueError."""
        series, dates = _dataset(file, "timeseries"), _dataset(file, "date")
        if getattr(series, "ndim", 0) != 3 or getattr(dates, "ndim", 0) != 1:
            raise ValueError(
                f"{self.path} must hold timeseries (date, y, x) and date, as MintPy writes them, "
                f"got {', '.join(list(file)[:12]) or 'nothing'}"
            )
        if series.dtype.kind != "f" or len(dates) != len(series) or not series.size:
            raise ValueError(
                f"{self.path} must hold a series in floats for each date, got {series.dtype} "
                f"{series.shape} and {len(dates)} dates"
            )
        attrs = {key: _as_text(value) for key, value in file.attrs.items()}
        unit = attrs.get("UNIT", "m").strip() or "m"
        if unit not in MILLIMETERS:
            raise ValueError(f"{self.path} must hold displacement in m, cm or mm, got {unit!r}")
        self._scale = MILLIMETERS[unit]
        self._shape = series.shape
        self._order, self.dates = _dates_of(self.path, [_as_text(name) for name in dates])
        self._nodata = _number(attrs, "NO_DATA_VALUE", self.path)
        reference = [_number(attrs, key, self.path) for key in ("REF_Y", "REF_X")]
        self._reference = None if None in reference else (int(reference[0]), int(reference[1]))
        self._grid = _grid_of(self.path, attrs)
        rows = series.chunks[1] if series.chunks else 1
        most = BYTES_PER_BLOCK // (4 * self._shape[0] * self._shape[2])
        self._rows = max(most // rows * rows, min(most, rows), 1)

    def _add_layers(self, path: Path, *, required: bool) -> None:
        """Note which layers a file holds; raise ValueError if it has none that fit."""
        with _opened(path) as file:
            shapes = {name: getattr(_dataset(file, name), "shape", None) for name in LAYERS}
            is_geocoded = "Y_FIRST" in file.attrs
        of_this_kind = is_geocoded == (self._grid is not None)
        fit = [name for name in LAYERS if of_this_kind and shapes[name] == self._shape[1:]]
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        if found and not fit and of_this_kind and not required:
            warnings.warn(
                f"{path} is not on the grid of {self.path}, (y, x) = {self._shape[1:]}, and is "
                f"left out: it has {found}",
                stacklevel=2,
            )
        if required and not fit:
            raise ValueError(
                f"{path} must hold layers on the grid of {self.path}, (y, x) = {self._shape[1:]}, "
                f"got {found or 'none of ' + ', '.join(LAYERS)}"
            )
        for name in fit:
            self._layers.setdefault(name, path)

    def _columns(self) -> list[str]:
        """Return the names of the features of a point."""
        names = {"height": "height", "velocity": "mean_velocity",
                 "temporalCoherence": "temporal_coherence",
                 "incidenceAngle": "incidence_angle"}  # fmt: skip
        columns = [column for layer, column in names.items() if layer in self._layers]
        if {"incidenceAngle", "azimuthAngle"} <= set(self._layers):
            columns += ["los_east", "los_north", "los_up"]
        return columns

    def files(self) -> list[Path]:
        """Return the time series and the files of its layers."""
        return [self.path, *sorted(set(self._layers.values()) - {self.path})]

    def blocks(self, *, warn: bool = True) -> Iterator[Block]:
        """Yield the pixels that have displacements, row by row; see `blocks.Delivery`.

        Raises
        ------
        ValueError
            If a file is damaged, a value is out of range, or no pixel has displacements.
        """
        n_points = 0
        for start in range(0, self._shape[1], self._rows):
            block = self._block(slice(start, min(start + self._rows, self._shape[1])))
            if block.size:
                require_finite(self.path, block)
                require_displacement(self.path, block, self.dates)
                n_points += block.size
                yield block
        if not n_points:
            raise ValueError(
                f"{self.path} must hold pixels with displacements and coordinates, got none"
            )

    def _block(self, rows: slice) -> Block:
        """Return the pixels of some rows that have displacements and coordinates."""
        with _opened(self.path) as file:
            values = _dataset(file, "timeseries")[:, rows].astype(np.float64)[self._order]
        values = values.reshape(len(values), -1).T * self._scale
        if self._nodata is not None:
            values[values == self._nodata * self._scale] = np.nan
        layers = {name: self._read(name, rows) for name in self._layers}
        places = np.divmod(np.arange(len(values)) + rows.start * self._shape[2], self._shape[2])
        if self._grid is None:
            longitude, latitude = layers["longitude"], layers["latitude"]
        else:
            longitude, latitude = _place_of(self._grid, *places)
        keep = np.isfinite(longitude) & np.isfinite(latitude) & ~np.isnan(values).all(axis=1)
        if self._grid is None:
            # Outside of the elevation model.
            keep &= ((longitude != 0) | (latitude != 0)) & (np.abs(latitude) != 90)
        if "mask" in layers:
            keep &= np.nan_to_num(layers["mask"]) != 0
        else:
            is_reference = np.zeros(len(values), bool)
            if self._reference is not None:  # whose displacements are 0
                is_reference = (places[0] == self._reference[0]) & (places[1] == self._reference[1])
            keep &= (values != 0).any(axis=1) | is_reference
        with np.errstate(over="ignore"):
            displacement = np.ascontiguousarray(values[keep].astype(np.float32))
        at = zip(*(place[keep].tolist() for place in places), strict=True)
        pid = np.array([f"y{y}x{x}" for y, x in at], np.str_)
        columns = self._features({name: layer[keep] for name, layer in layers.items()})
        return Block(pid, longitude[keep], latitude[keep], displacement, columns)

    def _read(self, name: str, rows: slice) -> np.ndarray:
        """Return some rows of a layer as float64 (pixel,)."""
        with _opened(self._layers[name]) as file:
            return _dataset(file, name)[rows].astype(np.float64).reshape(-1)

    def _features(self, layers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the features of pixels from their layers, in the units of EGMS."""
        features = {"height": layers.get("height")}
        features["temporal_coherence"] = layers.get("temporalCoherence")
        features["incidence_angle"] = layers.get("incidenceAngle")
        if "velocity" in layers:
            features["mean_velocity"] = 1000 * layers["velocity"]
        if "los_up" in self.columns:
            # Unit vector from the ground to the satellite. The azimuth is counted from the north,
            # anti-clockwise; as a vector it has no step at 360 degrees.
            incidence, azimuth = (
                np.deg2rad(layers[name]) for name in ("incidenceAngle", "azimuthAngle")
            )
            features["los_east"] = -np.sin(incidence) * np.sin(azimuth)
            features["los_north"] = np.sin(incidence) * np.cos(azimuth)
            features["los_up"] = np.cos(incidence)
        with np.errstate(over="ignore"):
            return {name: features[name].astype(np.float32) for name in self.columns}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file; raise ValueError if it is damaged."""
    with needs("h5py", "insar"):
        import h5py
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with h5py.File(path, "r", locking="best-effort") as file:  # network folders have no locks
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is damaged, or no HDF5 file of MintPy: {error}") from None


def _dataset(file: Any, name: str) -> Any:
    """Return a data set of MintPy, or None if the file has none of this name."""
    return file.get(name, file.get(_EOS_NAMES.get(name, name)))


def _beside(path: Path) -> list[Path]:
    """Return the files of layers that lie where MintPy puts them."""
    prefix = "geo_" if path.name.startswith("geo_") else ""
    names = [f"{prefix}{name}" for name in LAYER_FILES]
    places = [path.parent / folder / name for folder in FOLDERS for name in names]
    return [place for place in places if place.is_file()]


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _number(attrs: Mapping[str, str], key: str, path: Path) -> float | None:
    """Return an attribute as a number, None if there is none, or raise ValueError."""
    text = attrs.get(key, "").strip()
    if text.lower() in ("", "none", "no"):
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path}: its attribute {key} must be a number, got {text!r}") from None


def _dates_of(path: Path, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the order of dates such as 20200103 or 20200103T0512, and their names in ISO 8601."""
    dates = []
    for name in names:
        for form in ("%Y%m%d", "%Y%m%dT%H%M", "%Y%m%dT%H%M%S"):
            try:
                when = datetime.strptime(name, form)
            except ValueError:
                continue
            require_radar_date(when.date(), f"{path}: date")
            dates.append(when.date().isoformat() if form == "%Y%m%d" else when.isoformat())
            break
        else:
            raise ValueError(f"{path}: date must be dates such as 20200103, got {name!r}")
    if len(set(dates)) < len(dates):
        raise ValueError(f"{path}: date must hold each date once, got one more than once")
    order = np.argsort(dates)
    return order, [dates[k] for k in order]


def _grid_of(path: Path, attrs: Mapping[str, str]) -> dict[str, Any] | None:
    """Return origin, step and CRS of a geocoded time series; None in radar coordinates."""
    keys = ("Y_FIRST", "X_FIRST", "Y_STEP", "X_STEP")
    grid: dict[str, Any] = {key: _number(attrs, key, path) for key in keys}
    if grid["Y_FIRST"] is None:
        return None
    if missing := [key for key in keys if grid[key] is None]:
        raise ValueError(f"{path} must have the attributes {', '.join(keys)}, got no {missing[0]}")
    is_degrees = attrs.get("X_UNIT", "degrees").lower().startswith("deg")
    crs, zone = attrs.get("EPSG", "").strip(), attrs.get("UTM_ZONE", "").strip()
    if crs.isdigit():
        grid["crs"] = f"EPSG:{crs}"
    elif zone[:-1].isdigit() and zone[-1] in "NS":
        grid["crs"] = f"EPSG:{32600 + 100 * (zone[-1] == 'S') + int(zone[:-1])}"
    elif is_degrees and abs(grid["X_FIRST"]) <= 360 and abs(grid["Y_FIRST"]) <= 90:
        grid["crs"] = "EPSG:4326"
    else:
        raise ValueError(f"{path} is projected and must have the attribute EPSG or UTM_ZONE")
    return grid


def _place_of(
    grid: Mapping[str, Any], rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of the centers of pixels."""
    import pyproj

    x = grid["X_FIRST"] + (columns + 0.5) * grid["X_STEP"]
    y = grid["Y_FIRST"] + (rows + 0.5) * grid["Y_STEP"]
    if grid["crs"] != "EPSG:4326":
        to_degrees = pyproj.Transformer.from_crs(grid["crs"], "EPSG:4326", always_xy=True)
        x, y = map(np.asarray, to_degrees.transform(x, y))
    return np.where(x > 180, x - 360, x), y
