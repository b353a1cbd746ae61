"""Blocks of points of a delivery, and what every kind of delivery provides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from cookbook_utils._conventions.points import require_coordinates

EXACT = ("longitude", "latitude", "easting", "northing")
"""Columns in float64; all others are float32."""

MAX_DISPLACEMENT = 5000.0
"""Largest displacement in mm that a delivery may hold.

Phase cannot measure more: between two images six days apart a point may move a quarter of a
wavelength, 14 mm, which adds up to 4.2 m in the five years of a delivery.
"""

COLUMNS = {  # units and long name of each column; angles and heights as in the format specification
    "mp_type": ("1", "type of measurement point: 0 persistent, 1 distributed scatterer"),
    "easting": ("m", "easting, EPSG:3035"),
    "northing": ("m", "northing, EPSG:3035"),
    "height": ("m", "height above the geoid"),
    "height_ellipse": ("m", "height above the ellipsoid"),
    "height_wgs84": ("m", "height above the ellipsoid"),
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
    "gnss_velocity_n": ("mm/yr", "velocity of the reference network toward the north"),
    "gnss_velocity_e": ("mm/yr", "velocity of the reference network toward the east"),
    "gnss_velocity_u": ("mm/yr", "velocity of the reference network upward"),
}


class Block(NamedTuple):
    """Consecutive points of a delivery."""

    pid: np.ndarray
    """Identifiers, text (point,)."""
    longitude: np.ndarray
    """Degrees, float64 (point,)."""
    latitude: np.ndarray
    """Degrees, float64 (point,)."""
    displacement: np.ndarray
    """mm, float32 (point, time), NaN where it is missing."""
    columns: dict[str, np.ndarray]
    """All other columns (point,), float32, or float64 if in `EXACT`."""

    @property
    def size(self) -> int:
        """Number of points."""
        return len(self.pid)

    def where(self, keep: np.ndarray) -> Block:
        """Return the points of which a mask (point,) or slice is true."""
        if isinstance(keep, np.ndarray) and keep.all():
            return self
        arrays = (array[keep] for array in self[:4])
        return Block(*arrays, {name: values[keep] for name, values in self.columns.items()})

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """Return all points of one or more blocks with the same dates and columns."""
        arrays = (np.concatenate([block[k] for block in blocks]) for k in range(4))
        names = blocks[0].columns
        return cls(
            *arrays, {n: np.concatenate([block.columns[n] for block in blocks]) for n in names}
        )


class Delivery(Protocol):
    """A file of points, whose header was read and whose points are read block by block."""

    path: Path
    dates: list[str]
    """Dates of the displacements in ISO 8601, ascending."""
    columns: list[str]
    """Names of the other columns."""
    source: str
    """Who made the points."""
    direction: str
    """What the displacements are measured along, such as ``toward the satellite``."""
    product: str | None
    """Level of processing and track of the satellite, if they are known."""

    def blocks(self, *, warn: bool = True) -> Iterator[Block]:
        """Yield all points, checked, in memory that does not depend on their number."""
        ...

    def files(self) -> list[Path]:
        """Return all files that the points come from."""
        ...


def require_displacement(path: Path, block: Block, dates: Sequence[str]) -> None:
    """Raise ValueError unless every displacement is NaN or at most `MAX_DISPLACEMENT`."""
    if not np.any(np.abs(block.displacement) > MAX_DISPLACEMENT):
        return
    for column, name in zip(block.displacement.T, dates, strict=True):
        bad = np.flatnonzero(np.abs(column) > MAX_DISPLACEMENT)
        if bad.size:
            raise ValueError(
                f"{path}: the column {name} must hold displacements from {-MAX_DISPLACEMENT:g} to "
                f"{MAX_DISPLACEMENT:g} mm, got {column[bad[0]]} at the point {block.pid[bad[0]]}: "
                "leave a cell empty where there is none"
            )


def require_finite(path: Path, block: Block) -> None:
    """Raise ValueError if a point has no valid coordinates or an infinite feature."""
    require_coordinates(block.longitude, block.latitude, prefix=f"{path}: ", points=block.pid)
    for name, values in block.columns.items():
        if (infinite := np.isinf(values)).any():
            raise ValueError(
                f"{path}: the column {name} must hold finite numbers in {values.dtype}, got "
                f"{values[infinite][0]} at the point {block.pid[infinite][0]}"
            )
