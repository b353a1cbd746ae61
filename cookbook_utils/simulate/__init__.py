"""Simulated data whose truth is known: Landsat scenes of a lake and a coast, and InSAR points.

``python -m cookbook_utils.simulate`` writes them to disk.
"""

from cookbook_utils.simulate._landsat import BANDS, SENSORS
from cookbook_utils.simulate.coast import SERIES, simulate_coast, write_coast
from cookbook_utils.simulate.insar import (
    REGIMES,
    SITES,
    WAVELENGTH,
    simulate_site,
    site_dates,
    write_site,
)
from cookbook_utils.simulate.lake import SCENES, simulate_scene, write_scene

__all__ = [
    "BANDS",
    "REGIMES",
    "SCENES",
    "SENSORS",
    "SERIES",
    "SITES",
    "WAVELENGTH",
    "simulate_coast",
    "simulate_scene",
    "simulate_site",
    "site_dates",
    "write_coast",
    "write_scene",
    "write_site",
]
