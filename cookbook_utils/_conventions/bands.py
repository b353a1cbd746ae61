"""Bands: their coordinates, units, scale and offset, and the test for reflectance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from cookbook_utils._checks import shown

SCALE_KEYS = {"scale_factor": 1, "add_offset": 0, "scales": 1, "offsets": 0}
"""Keys of attributes and encodings that hold a scale or offset, with their neutral values.

rioxarray writes ``scales`` and ``offsets``, one number for each band, where bands differ.
"""

REFLECTANCE_RANGE = (-0.25, 2.0)
"""Plausible range of reflectance. No product stores surface reflectance below −0.2; nearly all
bright clouds, sun glint and saturated pixels of top-of-atmosphere products are below 2."""

SHARE_BELOW, SHARE_ABOVE = 0.05, 0.5
"""Fractions of a band that may be below and above `REFLECTANCE_RANGE`. Half of a small scene may
be glint or saturated, but values far below 0 are undeclared nodata."""


def units_of(array: xr.DataArray) -> str | None:
    """Return the units in the attributes as a string, or None; a GeoTIFF stores "1" as a number."""
    units = array.attrs.get("units")
    return None if units is None else str(units)


def require_reflectance(scene: xr.DataArray, what: str, name: str = "scene") -> None:
    """Raise unless `scene` holds reflectance: units ``"1"``, neither standardized nor rescaled.

    Raises
    ------
    ValueError
        If `scene` holds digital numbers or scaled features. The message calls it `name` and says
        that `what` needs reflectance.
    """
    units, scaling = units_of(scene), scene.attrs.get("scaling")
    if scaling is not None:
        raise ValueError(
            f"{name} must hold reflectance for {what}, got {scaling} values: use the scene before "
            "scaling.standardize or scaling.rescale"
        )
    if units != "1":
        raise ValueError(
            f'{name} must hold reflectance (attrs["units"] == "1") for {what}, got units '
            f"{shown(units)}: call cookbook_utils.scaling.to_reflectance({name}) first"
        )


def positions_of(scene: xr.DataArray, bands: Sequence[Any], what: str = "scene") -> list[int]:
    """Return the positions of bands along ``band``, or raise unless each occurs once in `scene`."""
    known = scene.get_index("band").tolist()
    if any(known.count(band) != 1 for band in bands):
        raise ValueError(
            f"{what} must have each of the bands {', '.join(map(repr, bands))} once, got {known}"
        )
    return [known.index(band) for band in bands]


def band_coords(
    names: Sequence[str], numbers: Sequence[int], wavelengths: Sequence[float]
) -> dict[str, Any]:
    """Return coordinates along ``band``: names, numbers and center wavelengths in um."""
    micrometers = {"long_name": "center wavelength", "units": "um"}
    return {
        "band": list(names),
        "number": ("band", list(numbers)),
        "wavelength": ("band", list(wavelengths), micrometers),
    }
