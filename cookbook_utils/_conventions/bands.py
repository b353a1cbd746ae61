"""What a band is: its coordinates, units, scale and offset, and reflectance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from cookbook_utils._checks import shown

SCALE_KEYS = {"scale_factor": 1, "add_offset": 0, "scales": 1, "offsets": 0}
"""Attributes, or keys of the encoding, that give a scale or offset, and what does nothing there.

rioxarray writes the last two, one number for each band, where bands differ.
"""


def units_of(array: xr.DataArray) -> str | None:
    """Return the units in the attributes as text, or None; a GeoTIFF has 1 in place of "1"."""
    units = array.attrs.get("units")
    return None if units is None else str(units)


def require_reflectance(scene: xr.DataArray, what: str) -> None:
    """Raise unless `scene` holds reflectance: units ``"1"``, neither standardized nor rescaled.

    Raises
    ------
    ValueError
        If it holds digital numbers, display values or scaled features.
    """
    units, scaling = units_of(scene), scene.attrs.get("scaling")
    if scaling is not None:
        raise ValueError(
            f"scene must hold reflectance for {what}, got {scaling} values: give the scene as it "
            "was before scaling.standardize or scaling.rescale"
        )
    if units != "1":
        raise ValueError(
            f'scene must hold reflectance (attrs["units"] == "1") for {what}, got units '
            f"{shown(units)}: call cookbook_utils.scaling.to_reflectance(scene) first"
        )


def band_coords(
    names: Sequence[str], numbers: Sequence[int], wavelengths: Sequence[float]
) -> dict[str, Any]:
    """Return the coordinates of bands: their names, numbers and center wavelengths (um)."""
    micrometers = {"long_name": "center wavelength", "units": "um"}
    return {
        "band": list(names),
        "number": ("band", list(numbers)),
        "wavelength": ("band", list(wavelengths), micrometers),
    }
