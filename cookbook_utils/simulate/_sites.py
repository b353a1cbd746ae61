"""The simulated InSAR sites: their places, their ground, and the attributes of their variables."""

from __future__ import annotations

from dataclasses import dataclass

from cookbook_utils._conventions.labels import flags

WAVELENGTH = 55.466
"""Wavelength of Sentinel-1's radar in mm."""

REGIMES = ("stable", "creep", "accelerating", "seasonal", "snow_gaps", "noise")
"""Names of the deformation regimes, in the order of their numbers."""

ATTRIBUTES = {
    "displacement": {"units": "mm", "long_name": "displacement toward the satellite"},
    "height": {"units": "m", "long_name": "height above sea level"},
    "mean_velocity": {"units": "mm/yr", "long_name": "mean velocity toward the satellite"},
    "temporal_coherence": {"units": "1", "long_name": "temporal coherence"},
    "amplitude_dispersion": {"units": "1", "long_name": "amplitude dispersion"},
    "ELEVATION": {"units": "m", "long_name": "height above sea level"},
    "MAXDISP": {"units": "mm", "long_name": "largest displacement from the mean, fitted"},
    "COHERENCE": {"units": "1", "long_name": "temporal coherence"},
    "DEMERR": {"units": "m", "long_name": "error of the elevation model"},
    "SLOPE": {"units": "degrees", "long_name": "slope of the terrain"},
    "DOYMAX": {"units": "1", "long_name": "day of the year of the seasonal maximum, fitted"},
    "regime": flags("true deformation regime", REGIMES),
}
"""Attributes of each variable."""

_MAINLAND = ("height", "mean_velocity", "temporal_coherence", "amplitude_dispersion")
_SVALBARD = ("ELEVATION", "MAXDISP", "COHERENCE", "DEMERR", "SLOPE", "DOYMAX")


@dataclass(frozen=True)
class Site:
    """The place of a site, its ground and its winters."""

    title: str
    longitude: float  # of the center, degrees
    latitude: float  # of the center, degrees
    size: float  # m on a side
    inland: float  # azimuth from the fjord to the mountains, degrees
    shore: float  # m from the center to the shoreline, toward the fjord
    relief: float  # m
    glacier: float  # height above which level ground is ice, m
    winter: tuple[int, int]  # first and last day of the year without images
    peak: float  # day of the year on which frost heave is largest
    statics: tuple[str, ...]  # names of the static features
    n_points: int  # by default


SITES = {
    "insar_lyngen": Site(
        title="Lyngen",
        longitude=20.2,
        latitude=69.6,
        size=6500,
        inland=270,
        shore=2400,
        relief=1150,
        glacier=900,
        winter=(339, 112),
        peak=100,
        statics=_MAINLAND,
        n_points=10000,
    ),
    "insar_nordnes": Site(
        title="Nordnes",
        longitude=20.4,
        latitude=69.55,
        size=5000,
        inland=75,
        shore=1900,
        relief=850,
        glacier=1500,
        winter=(345, 105),
        peak=95,
        statics=_MAINLAND,
        n_points=7000,
    ),
    "insar_svalbard": Site(
        title="Longyearbyen, Svalbard",
        longitude=15.6,
        latitude=78.2,
        size=6000,
        inland=190,
        shore=2100,
        relief=620,
        glacier=480,
        winter=(318, 130),
        peak=140,
        statics=_SVALBARD,
        n_points=8000,
    ),
}
"""The sites by name."""
