"""Decide the scale, offset, nodata value and date of bands: what the caller gives comes first."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cookbook_utils._checks import require_number, shown
from cookbook_utils.datasets._text import did_you_mean

LARGEST_SCALE = 0.1
"""Largest scale of integers."""

_LIMITS = {"scale": (1e-6, 1.0), "offset": (-1.0, 1.0)}
_KNOWN = (
    "2.75e-05 and -0.2 for Landsat Collection 2 Level-2, 0.0001 and -0.1 for Sentinel-2 Level-2A "
    "since baseline 04.00 (0.0001 and 0 before)"
)


class Given(NamedTuple):
    """What a caller says of the numbers in a file: one value, or one for each band by name."""

    scale: Any = None
    offset: Any = None
    nodata: Any = None

    def check(self, names: Sequence[str]) -> None:
        """Raise unless each is a number in its range, or a mapping of band names to such."""
        for fact, value in self._asdict().items():
            values = value.values() if isinstance(value, Mapping) else [value]
            for key in value if isinstance(value, Mapping) else ():
                if key not in names:
                    raise ValueError(
                        f"{fact} must be a number or one for each band by its name, got the band "
                        f"{shown(key)}{did_you_mean(str(key), names)}; there are {', '.join(names)}"
                    )
            for number in values:
                if number is None:
                    continue
                if fact != "nodata":
                    least, most = _LIMITS[fact]
                    require_number(number, fact, least=least, most=most)
                elif not (isinstance(number, float) and np.isnan(number)):
                    require_number(number, fact)

    def of(self, fact: str, name: str) -> float | None:
        """Return what was given for a band, or None."""
        value = getattr(self, fact)
        value = value.get(name) if isinstance(value, Mapping) else value
        return None if value is None else float(value)

    def decide(
        self, name: str, dtype: str, declared: tuple[float | None, float | None], place: str
    ) -> tuple[float, float]:
        """Return the scale and the offset of a band.

        Parameters
        ----------
        name : str
            Name of the band.
        dtype : str
            Its dtype.
        declared : tuple of float or None
            Scale and offset in the file or the catalog; None or 1 and 0 stand for none.
        place : str
            The file, for error messages.

        Raises
        ------
        ValueError
            If integers have no scale, or the scale or offset is not one of reflectance.
        """
        scale, offset = self.of("scale", name), self.of("offset", name)
        if scale is None:
            scale = declared[0]
            offset = declared[1] if offset is None else offset
        integers = np.dtype(dtype).kind in "iub"
        if (scale is None or scale == 1) and integers:
            raise ValueError(
                f"scale and offset to reflectance must be given, because {place} holds {dtype} "
                f"and declares none for the band {name}: {_KNOWN}"
            )
        found = {"scale": 1.0 if scale is None else scale, "offset": offset or 0.0}
        for fact, (least, most) in _LIMITS.items():
            greatest = LARGEST_SCALE if fact == "scale" and integers else most
            if not least <= found[fact] <= greatest:
                raise ValueError(
                    f"{fact} must be a number from {least:g} to {most:g}, at most "
                    f"{LARGEST_SCALE:g} for integers, got {found[fact]:g} for the band {name} of "
                    f"{place}: give that of the data, {_KNOWN}"
                )
        return float(found["scale"]), float(found["offset"])


def as_time(date: Any, name: str = "date") -> np.datetime64:
    """Return a date as datetime64[ns] in UTC.

    Raises
    ------
    TypeError
        If `date` is neither text nor a date.
    ValueError
        If the text is no date, or one outside 1678 to 2261.
    """
    if not isinstance(date, str | datetime.date | np.datetime64):
        raise TypeError(f"{name} must be a date such as '2025-06-01', got {shown(date)}")
    try:
        if isinstance(date, str) and not date[:4].isdigit():
            raise ValueError
        stamp = pd.Timestamp(date)
        stamp = stamp.tz_convert(None) if stamp.tz is not None else stamp
        if stamp is pd.NaT:
            raise ValueError
        return stamp.as_unit("ns").to_datetime64()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{name} must be a date (ISO 8601) from 1678 to 2261, got {shown(date)}"
        ) from None
