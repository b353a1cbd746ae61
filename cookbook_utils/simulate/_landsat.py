"""The bands of Landsat's sensors, and scenes of their digital numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from cookbook_utils._conventions.bands import band_coords

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
"""Names of the bands of every simulated scene."""


class Sensor(NamedTuple):
    """How a sensor numbers the bands in `BANDS`, and their center wavelengths in micrometers."""

    numbers: tuple[int, ...]
    wavelengths: tuple[float, ...]


_OLI = Sensor((2, 3, 4, 5, 6, 7), (0.482, 0.561, 0.655, 0.865, 1.609, 2.201))
SENSORS = {
    "Landsat 5 TM": Sensor((1, 2, 3, 4, 5, 7), (0.485, 0.56, 0.66, 0.83, 1.65, 2.215)),
    "Landsat 8 OLI": _OLI,
    "Landsat 8/9 OLI": _OLI,
}
"""Sensors by the name that scenes have in their attributes."""


def scene_of(
    numbers: np.ndarray,
    grid: xr.Dataset,
    *,
    name: str,
    nodata: int,
    scale: float,
    offset: float,
    sensor: str,
    **attrs: Any,
) -> xr.DataArray:
    """Return digital numbers ([time,] band, y, x) as a float32 scene with NaN for `nodata`."""
    return xr.DataArray(
        np.where(numbers == nodata, np.float32(np.nan), numbers),
        dims=("time", "band", "y", "x")[-numbers.ndim :],
        coords={**band_coords(BANDS, *SENSORS[sensor]), **grid.coords},
        attrs={
            "long_name": "surface reflectance",
            "quantity": "surface reflectance",
            "units": "digital number",
            "scale_factor": scale,
            "add_offset": offset,
            "sensor": sensor,
            **attrs,
        },
        name=name,
    )
