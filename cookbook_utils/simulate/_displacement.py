"""Simulate one block of points of an InSAR site: the ground they lie on, and their motion.

A block is a fixed range of points with random streams of its own. Positions are meters east and
north of the center of the site.

References
----------
.. [1] R. F. Hanssen (2001). Radar Interferometry: Data Interpretation and Error Analysis. Kluwer.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cookbook_utils.simulate._noise import fractal, ramp
from cookbook_utils.simulate._sites import REGIMES, SITES, WAVELENGTH, Site

# Random streams of a site; those of the points are drawn for each block.
DATES, _PLACES, _MOTION, _WINTERS, _ATMOSPHERE = range(5)

_DEGREE = 111_320.0  # m per degree of latitude
_LONGEST = 12_000  # m, longest wavelength of the phase screens of the atmosphere


def random_stream(name: str, seed: int, *stream: int) -> np.random.Generator:
    """Return the generator of one random stream of a site."""
    return np.random.default_rng([zlib.crc32(name.encode()), seed, *stream])


# -- ground -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Land:
    """The land at some places."""

    height: np.ndarray  # m, below 0 in the fjord
    slope: np.ndarray  # degrees
    rock: np.ndarray  # 0 vegetated, 1 bare rock
    town: np.ndarray  # 0 none, 1 buildings
    density: np.ndarray  # probability, 0 to 1, that a scatterer lies there


@dataclass(frozen=True)
class Ground:
    """Where points lie, and on what."""

    e: np.ndarray
    n: np.ndarray
    longitude: np.ndarray  # degrees
    latitude: np.ndarray  # degrees
    land: Land
    regime: np.ndarray  # number in REGIMES, uint8

    def in_regime(self, regime: str) -> np.ndarray:
        """Return a boolean array, True for the points of a regime."""
        return self.regime == REGIMES.index(regime)


def place_points(name: str, seed: int, number: int, n_points: int) -> Ground:
    """Draw places for the points of one block where scatterers are, and find their regimes."""
    site, world = SITES[name], _world(name, seed)
    e, n = _draw_places(site, world, random_stream(name, seed, _PLACES, number), n_points)
    land = _land(site, world, e, n)
    return Ground(
        e=e,
        n=n,
        longitude=site.longitude + e / (_DEGREE * np.cos(np.radians(site.latitude))),
        latitude=site.latitude + n / _DEGREE,
        land=land,
        regime=_regimes(world, e, n, land),
    )


def _world(name: str, seed: int) -> int:
    """Return a seed for noise that differs between sites and between their seeds."""
    return (zlib.crc32(name.encode()) + 7919 * seed) % 2**20


def _draw_places(
    site: Site, world: int, random: np.random.Generator, n_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw places by rejection sampling.

    A point that is never accepted gets the place of highest density that was drawn for it.
    """
    e, n = np.empty((2, n_points))
    density = np.full(n_points, -1.0)
    pending = np.arange(n_points)
    for _ in range(64):
        places = (random.random((2, n_points)) - 0.5) * site.size
        threshold = random.random(n_points)
        found = _land(site, world, *places[:, pending]).density
        rejected = found < threshold[pending]
        keep = ~rejected | (found > density[pending])
        e[pending[keep]], n[pending[keep]] = places[:, pending[keep]]
        density[pending[keep]] = found[keep]
        pending = pending[rejected]
        if not len(pending):
            break
    return e, n


def _land(site: Site, world: int, e: np.ndarray, n: np.ndarray) -> Land:
    step = 20.0  # m, over which slopes are measured
    height = _height(site, world, e, n)
    rise_e = _height(site, world, e + step, n) - height
    rise_n = _height(site, world, e, n + step) - height
    slope = np.degrees(np.arctan(np.hypot(rise_e, rise_n) / step))
    bare = fractal(e, n, world + 4, scale=1200, step=20, octaves=6)
    rock = ramp(bare + slope / 60 + height / 5000, 0.25, 0.75)
    town = ramp(fractal(e, n, world + 5, scale=1800, step=20, octaves=4), 0.1, 0.3)
    town = town * ramp(-height, -90, -50)
    ice = (height > site.glacier) & (slope < 22 + 25 * bare)
    density = np.where((height < 1) | ice, 0, np.maximum(0.06 + 0.9 * rock, 0.95 * town))
    return Land(height, slope, rock, town, density)


def _height(site: Site, world: int, e: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Compute the height of the terrain (m), which rises from a fjord to mountains."""
    azimuth = np.radians(site.inland)
    shore = site.shore + 500 * fractal(e, n, world + 1, scale=3000, step=20, octaves=5)
    inland = e * np.sin(azimuth) + n * np.cos(azimuth) + shore  # m from the shoreline
    crest = fractal(e, n, world + 2, scale=2600, step=20, ridged=True)
    rough = fractal(e, n, world + 3, scale=900, step=20)
    up = ramp(inland, 100, 0.95 * site.size)
    return 0.06 * inland + site.relief * up * (0.6 + 0.3 * crest) + (4 + 70 * up) * rough


def _regimes(world: int, e: np.ndarray, n: np.ndarray, land: Land) -> np.ndarray:
    """Return the regime that terrain and noise favor most at each place."""
    steep = ramp(land.slope, 14, 30)
    level = ramp(-land.slope, -16, -6)
    high = ramp(land.height, 200, 600)
    favor = {
        "stable": 0.20 + 0.15 * land.rock + 0.8 * land.town,
        "creep": 0.24 * steep - 0.05 * high,
        "accelerating": 0.22 * steep - 0.05 * high,
        "seasonal": 0.10 + 0.25 * level - 0.1 * high,
        "snow_gaps": -0.02 + 0.24 * high,
        "noise": 0.02 + 0.15 * (1 - land.rock),
    }
    zones = [
        favor[name] + 0.9 * fractal(e, n, world + 10 + k, scale=1900, step=60, octaves=4)
        for k, name in enumerate(REGIMES)
    ]
    return np.argmax(zones, axis=0).astype(np.uint8)


# -- motion -------------------------------------------------------------------------------------


class _Calendar:
    """Dates in years since the first one, as days of the year, and in winters since 2016."""

    def __init__(self, time: np.ndarray) -> None:
        index = pd.DatetimeIndex(time)
        self.years = (time - time[0]) / np.timedelta64(1, "D") / 365.25
        self.day = index.day_of_year.to_numpy()
        self.winter = index.year.to_numpy() - 2016


def move_points(
    name: str, seed: int, number: int, ground: Ground, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the motion of the points of one block.

    Returns
    -------
    displacement : numpy.ndarray
        Millimeters toward the satellite, (point, time) float32, NaN where missing.
    statics : numpy.ndarray
        Static features in the order of the site's ``statics``, (point, feature) float32.
    """
    site, world, calendar = SITES[name], _world(name, seed), _Calendar(time)
    random = random_stream(name, seed, _MOTION, number)  # each of the steps draws from it in turn
    slip_signs = random_stream(name, seed, _WINTERS).permutation([1, 1, -1, 1, -1])

    motion = _deform(site, world, ground, calendar, random)
    slips = _cycle_slips(ground, calendar, slip_signs, random)
    motion += slips
    motion += _decorrelation(ground, calendar, random)
    motion += _atmosphere(random_stream(name, seed, _ATMOSPHERE), ground, len(time))
    missing = _missing(site, ground, calendar, random)
    motion = np.where(missing, np.nan, motion).astype("f4")
    return motion, _static_features(site, ground, calendar, motion, slips, random)


def _deform(
    site: Site, world: int, ground: Ground, calendar: _Calendar, random: np.random.Generator
) -> np.ndarray:
    """Compute the true motion (mm): linear, exponential and seasonal parts, by regime."""

    def field(k: int) -> np.ndarray:
        """Compute a smooth field, 0 to 1."""
        noise = fractal(ground.e, ground.n, world + 30 + k, scale=1500, step=60)
        return np.clip(0.5 + 0.9 * noise, 0, 1)

    n_points, years = len(ground.e), calendar.years
    # Every point moves a little, and each point of a slide has a pace of its own.
    velocity = random.normal(0, 1.3, n_points)
    pace = np.exp(random.normal(0, 0.3, n_points))
    velocity -= ground.in_regime("creep") * np.clip(5 + 48 * field(0) * pace, 5, 60)
    total = ground.in_regime("accelerating") * (45 + 110 * field(1)) * pace
    onset = np.exp((years - years[-1]) / 1.3)
    amplitude = np.abs(random.normal(0, 0.8, n_points))
    amplitude += ground.in_regime("seasonal") * np.clip((3 + 12 * field(2)) * pace, 3, 15)
    peak = site.peak + 12 * (field(3) - 0.5) + random.normal(0, 8, n_points)
    wave = np.cos(2 * np.pi * (calendar.day - peak[:, None]) / 365.25)
    return velocity[:, None] * years - total[:, None] * onset + amplitude[:, None] * wave


def _cycle_slips(
    ground: Ground, calendar: _Calendar, signs: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Compute the errors (mm) of unwrapping: whole cycles lost or gained in winters.

    Most points of the regime ``snow_gaps`` slip in each winter, all in the same direction.
    """
    signs = np.append(0, signs)  # there is no winter before the first year
    slipped = random.random((len(ground.e), len(signs))) < 0.8
    level = np.cumsum(slipped * signs, axis=1) * (WAVELENGTH / 2)
    return np.where(ground.in_regime("snow_gaps")[:, None], level[:, calendar.winter], 0)


def _decorrelation(ground: Ground, calendar: _Calendar, random: np.random.Generator) -> np.ndarray:
    """Compute white noise plus a random walk (mm), larger on vegetation and for ``noise``."""
    n_points, years = len(ground.e), calendar.years
    size = np.exp(random.normal(0, 0.45, n_points)) * (1.25 - 0.35 * ground.land.rock)
    size *= np.where(ground.in_regime("noise"), 2.2, 1.0)
    white, steps = random.normal(0, 1, (2, n_points, len(years))).astype("f4")
    interval = np.sqrt(np.diff(years, prepend=years[0])).astype("f4")
    walk = np.cumsum(steps * interval, axis=1)
    return (2.6 * white + 3.2 * walk) * size[:, None]


def _atmosphere(random: np.random.Generator, ground: Ground, n_dates: int) -> np.ndarray:
    """Compute phase screens (mm), (point, time), and a delay that follows the height.

    A screen is a sum of plane waves. Their amplitudes fall with the wavenumber k so that the power
    spectrum in two dimensions is that of turbulence, k ** (-8 / 3), at the scale of a site [1].
    """
    n_waves = 48
    length = np.exp(random.uniform(np.log(700), np.log(_LONGEST), n_waves))
    angle, phase = random.uniform(0, 2 * np.pi, (2, n_waves))
    k = 2 * np.pi / length
    east, north = np.outer(ground.e, k * np.cos(angle)), np.outer(ground.n, k * np.sin(angle))
    modes = np.cos(east + north + phase)
    modes *= (length / _LONGEST) ** (1 / 3)
    screens = random.normal(0, 1.3 / np.sqrt(n_waves / 4), (n_waves, n_dates))
    delay = np.outer(ground.land.height / 1000, random.normal(0, 1.2, n_dates))
    return modes @ screens + delay


def _missing(
    site: Site, ground: Ground, calendar: _Calendar, random: np.random.Generator
) -> np.ndarray:
    """Return a boolean array (point, time), True where snow hides a value or it is lost.

    Snow lies longer on high ground.
    """
    snow = 5 + ground.land.height / 40 + 25 * ground.in_regime("snow_gaps")
    snow = snow + random.normal(0, 6, len(ground.e))  # days that snow lies beyond the winter
    last, first = site.winter
    missing = calendar.day > last - snow[:, None] / 2
    missing |= calendar.day < first + snow[:, None]
    lost = 0.02 + 0.05 * ground.in_regime("noise")[:, None]
    return missing | (random.random(missing.shape) < lost)


def _static_features(
    site: Site,
    ground: Ground,
    calendar: _Calendar,
    motion: np.ndarray,
    slips: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """Compute what a processor derives from the series and knows of the terrain."""
    n_points, land = len(ground.e), ground.land
    # A cycle slip does not change the phase, and therefore not the coherence either.
    coherence = _fit(motion - slips, calendar)["temporal_coherence"]
    features = _fit(motion, calendar) | {
        "temporal_coherence": coherence,
        "COHERENCE": coherence,
        "height": land.height,
        "ELEVATION": land.height + random.normal(0, 2, n_points),
        "SLOPE": land.slope,
        "DEMERR": random.normal(0, 1, n_points) * (1.5 + land.slope / 12),
    }
    dispersion = 0.58 - 0.32 * coherence + random.normal(0, 0.05, n_points)
    features["amplitude_dispersion"] = np.clip(dispersion, 0.05, None)
    return np.stack([features[name] for name in site.statics], axis=1).astype("f4")


def _fit(motion: np.ndarray, calendar: _Calendar) -> dict[str, np.ndarray]:
    """Fit a cubic and a yearly wave to series (point, time), and return features of the fit."""
    turn = 2 * np.pi * calendar.day / 365.25
    t = calendar.years - calendar.years.mean()
    design = np.stack([t**0, t, t**2, t**3, np.cos(turn), np.sin(turn)], axis=1)  # (time, 6)
    present = np.isfinite(motion)
    products = design[:, :, None] * design[:, None, :]
    normal = (present @ products.reshape(len(t), -1)).reshape(-1, 6, 6)
    normal += 0.5 * np.diag([0, 0, 0, 0, 1, 1])  # winters are missing: regularize the wave
    filled = np.where(present, motion, 0)
    found = np.linalg.solve(normal, (filled @ design)[:, :, None])[:, :, 0]  # (point, 6)
    model = found @ design.T
    phase = 4 * np.pi / WAVELENGTH * (motion - model)
    smooth = model - model.mean(axis=1, keepdims=True)
    return {
        "mean_velocity": model @ t / (t @ t),
        "temporal_coherence": np.abs(np.nanmean(np.exp(1j * phase), axis=1)),
        "MAXDISP": np.abs(smooth).max(axis=1),
        "DOYMAX": np.arctan2(found[:, 5], found[:, 4]) / (2 * np.pi) * 365.25 % 365.25,
    }
