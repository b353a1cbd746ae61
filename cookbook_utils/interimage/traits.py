"""Band names, units and dtype kind of pixels, which must be the same in all scenes of a model."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import xarray as xr

from cookbook_utils._conventions.bands import SCALE_KEYS, units_of
from cookbook_utils._conventions.nodata import numbers_in


class Traits(NamedTuple):
    """What the coordinates, attributes and dtype of an array say about its pixels."""

    bands: tuple | None
    """Names of the bands, in their order; None if they have none."""
    units: tuple[tuple[str, str], ...]
    """Names and values of the attributes that give units, scale and scaling."""
    kind: str | None = None
    """Whether values are "integers" or "floats"; None if unknown."""

    @classmethod
    def of(cls, array: xr.DataArray) -> Traits:
        """Return the traits of an array with a ``band`` dimension."""
        bands = tuple(array["band"].values.tolist()) if "band" in array.coords else None
        found = {"units": units_of(array), "scaling": array.attrs.get("scaling")}
        for name, default in SCALE_KEYS.items():  # readers set the default on every raster
            scales = set(numbers_in(array.attrs.get(name), f"the {name} of an array"))
            found[name] = sorted(scales) if scales - {default} else None
        units = ((name, str(value)) for name, value in found.items() if value is not None)
        return cls(bands, tuple(units), "floats" if array.dtype.kind == "f" else "integers")

    def require(self, expected: Traits, what: str, other: str) -> None:
        """Raise ValueError if bands or units differ from `expected` where both are known."""
        if None not in (self.bands, expected.bands) and self.bands != expected.bands:
            raise ValueError(
                f"{what} must have the bands of {other} in their order, {list(expected.bands)}, "
                f"got {list(self.bands)}"
            )
        if self.units and expected.units and self.units != expected.units:
            raise ValueError(
                f"{what} must hold values of the same kind as {other}, "
                f"{units_text(expected.units)}, got {units_text(self.units)}: bring both to "
                "reflectance with cookbook_utils.scaling.to_reflectance"
            )

    def warn_if_unknown(self, expected: Traits) -> None:
        """Warn if the pixels to predict lack what is known of those of `fit`.

        These are band names and units, or the kind of numbers if units are unknown in both.
        Integers that claim to be reflectance are warned of, too. Values are not looked at, because
        lazy pixels are read when labels are computed.
        """
        lacking = []
        if expected.bands is not None and self.bands is None:
            lacking.append(f"names of its bands (fitted: {list(expected.bands)})")
        if expected.units and not self.units:
            lacking.append(
                f"units or scale in its attributes (fitted: {units_text(expected.units)})"
            )
        if not expected.units and None not in (self.kind, expected.kind):
            if self.kind != expected.kind:
                lacking.append(f"units, and holds {self.kind} (fitted: {expected.kind})")
        claimed = expected.units == self.units == (("units", "1"),)
        if claimed and (self.kind, expected.kind) == ("integers", "floats"):
            warnings.warn(
                'X holds integers whose attrs["units"] is "1", and the pixels of fit are floats: '
                "digital numbers are no reflectance, whatever their units say",
                UserWarning,
                stacklevel=5,
            )
        if lacking:
            warnings.warn(
                f"X has no {' and no '.join(lacking)}: it is assumed to be like the pixels of fit",
                UserWarning,
                stacklevel=5,
            )


def units_text(units: tuple[tuple[str, str], ...]) -> str:
    """Return units for a message, such as "units=1, scale_factor=[0.0001]"."""
    return ", ".join(f"{name}={value}" for name, value in units)
