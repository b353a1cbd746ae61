"""The ground of the simulated coast, a pure function of position and seed.

Positions are meters east and north of the city; fields are float32 (y, x). The shore, the rivers
and the fields along them follow lines set by hand, which noise bends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cookbook_utils.simulate._noise import NoiseFields, ramp

GROUND = {
    "clear_sea": ((0.050, 0.048, 0.026, 0.012, 0.008, 0.006), 0.0),
    "muddy_sea": ((0.077, 0.110, 0.106, 0.045, 0.011, 0.007), 0.0),
    "mangrove": ((0.028, 0.048, 0.032, 0.235, 0.095, 0.042), 0.40),
    "green_crops": ((0.037, 0.075, 0.048, 0.460, 0.209, 0.097), 0.15),
    "ripe_crops": ((0.061, 0.099, 0.118, 0.264, 0.255, 0.156), 0.15),
    "streets": ((0.174, 0.197, 0.214, 0.249, 0.260, 0.237), 0.45),
    "roofs": ((0.304, 0.331, 0.346, 0.365, 0.372, 0.353), 0.0),
    "bare_soil": ((0.139, 0.192, 0.245, 0.309, 0.394, 0.346), 0.12),
    "sand": ((0.195, 0.260, 0.320, 0.380, 0.445, 0.408), 0.08),
}
"""Reflectances of each kind of ground in the order of `BANDS`, and its loss of light to shadow.

The reflectances are set by hand; each spectrum differs from that of some pixel of Walker Lake by a
root mean square over the bands of at most 0.025. The loss is a fraction of the light for each unit
of the cotangent of the sun's elevation.
"""

CLEAR, MUDDY, MANGROVE, GREEN, RIPE, STREETS, ROOFS, SOIL, SAND = range(len(GROUND))

# The shore, and the line about which each river meanders, as points (m).
_SHORE = (  # east, north
    (-110e3, -80e3, -60e3, -34e3, -16e3, -10e3, -7500, -6e3, -2e3, 0, 3e3, 7e3, 15e3, 30e3, 60e3,
     110e3),
    (4e3, 13e3, 9e3, 1e3, -3e3, -3600, -6400, -2e3, -200, -3600, -6e3, -8e3, -13e3, -24e3, -58e3,
     -100e3),
)  # fmt: skip
_EASTERN_RIVER = ((4e3, 9e3, 16e3, 26e3, 110e3), (-9e3, -2e3, 5e3, 12e3, 45e3))  # east, north
_CITY_RIVER = ((-5e3, 2e3, 12e3, 40e3), (-5e3, -3500, 3e3, 6e3))  # north, east
_GREAT_RIVER = ((-110e3, -60e3, 0, 110e3), (65e3, 72e3, 80e3, 95e3))  # north, east

_BUILDABLE = 2.5  # least height of building land above the sea, m


class Coast:
    """One block of the coast: its ground on any date, and the patterns of its brightness.

    Parameters
    ----------
    e, n : numpy.ndarray of float32 (y, x)
        Pixel centers in meters east and north of the city.
    seed : int
        Random seed of the world.
    step : float
        Width of a pixel in meters.

    Attributes
    ----------
    patches, relief : numpy.ndarray of float32 (y, x)
        Patterns of brightness, -1.5 to 1.5, of all ground and of the desert.
    tone, glint : numpy.ndarray of float32 (y, x)
        Brightness, 0 to 1, of each plot of the city, and specular reflection, 0 to 1, of each roof.
    haze : numpy.ndarray of float32 (y, x)
        Density of the haze, 0.5 to 1.5.
    """

    def __init__(self, e: np.ndarray, n: np.ndarray, seed: int, *, step: float) -> None:
        noise = NoiseFields(e, n, seed, step)
        self._base = base = _Base(
            e, n, noise, noise.fractal(1, 9e3), noise.fractal(2, 2.5e3),
            noise.fractal(3, 40e3, octaves=3),
        )  # fmt: skip
        self.patches = np.clip(2 * base.fine + 1.5 * base.wave, -1.5, 1.5)
        relief = noise.fractal(12, 6e3, ridged=True, octaves=8)
        self.relief = np.clip(3 * relief - 2, -1.5, 1.5)
        self.haze = np.clip(1 + 0.5 * noise.fractal(4, 60e3, octaves=3), 0.5, 1.5)

        shore = _lay_shore(base)
        self._height, self._muddy = shore.height, shore.muddy
        riverbed, watered = _lay_rivers(base)
        fields = _lay_fields(base, watered)
        self._harvest = fields.harvest
        self._city = city = _lay_city(base)
        self.tone, self.glint = city.tone, city.glint
        self._kind = kind = _paint(base, shore, riverbed, fields, city)
        # The city grows on bare soil around it.
        self._lots = (
            (city.density > 0.24 + city.reserve) & (kind == SOIL) & (shore.height > _BUILDABLE)
        )

    def kinds_at(self, *, tide: float, progress: float) -> np.ndarray:
        """Return the kind of ground of each pixel, (y, x) uint8, on one date.

        Parameters
        ----------
        tide : float
            Height of the sea in meters.
        progress : float
            Fraction, 0 to 1, of the duration of the series that has passed. In its course ripe
            fields are harvested, lots are built up and mangrove is cleared.
        """
        base, city, kind = self._base, self._city, self._kind.copy()
        kind[(kind == RIPE) & (self._harvest < 0.68 * progress)] = SOIL
        ready = self._lots & (0.6 * city.district + 0.4 * city.tone < 0.36 * progress)
        kind[ready] = city.built[ready]
        clearing = np.hypot((base.e - 15500) / np.float32(1.6), base.n + 10200) + 900 * base.fine
        kind[(kind == MANGROVE) & (clearing < 1300 * progress)] = SOIL
        sea = self._height < tide
        kind[sea] = np.where(self._muddy, MUDDY, CLEAR)[sea]
        return kind


@dataclass(frozen=True)
class _Base:
    """Positions of one block, and the noise that bends most of its lines, by wavelength."""

    e: np.ndarray
    n: np.ndarray
    noise: NoiseFields
    wave: np.ndarray  # 9 km
    fine: np.ndarray  # 2.5 km
    swell: np.ndarray  # 40 km


@dataclass(frozen=True)
class _Shore:
    inland: np.ndarray  # m from the shore
    delta: np.ndarray  # 1 in the tidal delta, 0 far from it
    height: np.ndarray  # of the ground, m
    muddy: np.ndarray  # whether the sea would be muddy here


@dataclass(frozen=True)
class _Fields:
    inside: np.ndarray  # whether a pixel lies in a field
    crop: np.ndarray  # 0 to 1, for each field
    harvest: np.ndarray  # 0 to 1, for each field: when it is harvested


@dataclass(frozen=True)
class _City:
    density: np.ndarray  # of buildings, about 0 to 1
    reserve: np.ndarray  # 0 to 0.25, for each plot: density that building it requires in addition
    district: np.ndarray  # 0 to 1, for each district: when it grows
    tone: np.ndarray  # 0 to 1, for each plot
    built: np.ndarray  # kind of ground where the city is built
    glint: np.ndarray  # 0 to 1, for each roof


def _lay_shore(base: _Base) -> _Shore:
    """Lay out the shore and, east of the city, a flat delta that creeks cut."""
    e, n, wave, fine, noise = base.e, base.n, base.wave, base.fine, base.noise
    far = ramp(np.abs(e), 14e3, 50e3)
    inland = 0.85 * (n - _interpolate(e + 1500 * wave, _SHORE))
    inland = inland + (1800 + 1000 * far) * wave + 9000 * base.swell * far
    delta = ramp(e + 3000 * wave, 5e3, 9e3)
    creek = _creeks(base, inland, delta)
    flat = inland / 2600 + 0.7 + 0.8 * fine + 0.8 * wave
    plume = inland / 9e3 + 1.1 * noise.fractal(7, 12e3, octaves=6)
    plume = plume + 1.3 * ramp(e + 5000 * wave, -2e3, 12e3)
    height = inland / 180 * (1 - delta) + flat * delta - 9 * creek
    return _Shore(inland, delta, height, muddy=(plume > 0.36) | (creek > 0.05))


def _creeks(base: _Base, inland: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Compute the depth, 0 to 1, of the creeks of the delta."""
    e, n, noise = base.e, base.n, base.noise
    along, across = 0.8 * e + 0.6 * n, 0.48 * n - 0.36 * e
    large = 1 - 2 * np.abs(noise.fractal(5, 7e3, x=along, y=across, octaves=5, gain=0.45))
    large = ramp(large + 0.12 * ramp(-inland, -7e3, 0), 0.84, 1)
    small = 1 - 2 * np.abs(noise.fractal(6, 2.2e3, octaves=4))
    small = 0.5 * ramp(small, 0.88, 1) * ramp(-inland, -5e3, -3e3)
    tidal = delta * ramp(-inland, -9e3, -5e3) * ramp(inland, -7e3, -4e3)
    return tidal * np.maximum(large, small)


def _lay_rivers(base: _Base) -> tuple[np.ndarray, np.ndarray]:
    """Return where dry riverbeds are, and how well the land is watered, 0 to 1."""
    e, n, fine = base.e, base.n, base.fine
    bend = 2500 * base.noise.fractal(8, 8e3, octaves=6)
    # Distance from each river (m); where the river does not run, 100 km, which has no effect.
    eastern = np.abs(n - _interpolate(e, _EASTERN_RIVER) + bend)
    eastern = np.where(e > 5e3, eastern, np.float32(1e5))
    city = np.abs(e - _interpolate(n, _CITY_RIVER) + bend)
    city = np.where((n > -4e3) & (n < 40e3), city, 1e5)
    great = np.abs(e - _interpolate(n, _GREAT_RIVER) + 9000 * base.swell + bend)
    bed = (eastern < 260 + 300 * fine) | (city < 130 + 150 * fine) | (great < 900 + 900 * fine)
    watered = np.maximum(
        ramp(-eastern, -9.5e3, -2e3) * ramp(e, 7e3, 12e3), ramp(-great, -22e3, -6e3)
    )
    return bed, watered


def _lay_fields(base: _Base, watered: np.ndarray) -> _Fields:
    """Cut the watered land into fields of 640 m x 420 m, in rows that are offset."""
    x, y = 0.94 * base.e + 0.34 * base.n, 0.94 * base.n - 0.34 * base.e
    i, _ = _cells(x, y, 640, 420)
    x = x + 640 * base.noise.uniform(i, 0 * i, 20)
    i, j = _cells(x, y, 640, 420)
    border = np.minimum(
        320 - np.abs(x - 640 * (j + np.float32(0.5))), 210 - np.abs(y - 420 * (i + np.float32(0.5)))
    )  # m
    fertile = watered + 0.5 * base.wave + 0.35 * base.fine > 0.45
    crop, harvest = (base.noise.uniform(i, j, number) for number in (21, 22))
    return _Fields(fertile & (border > 18), crop, harvest)


def _lay_city(base: _Base) -> _City:
    """Lay out a city and towns: plots in districts, each with streets in its own direction."""
    e, n, wave, fine, noise = base.e, base.n, base.wave, base.fine, base.noise
    center = np.hypot((e - 1500) / np.float32(1.15), n - 5500)  # m
    town = ramp(noise.fractal(10, 22e3, octaves=2), 0.4, 0.55) * ramp(center, 14e3, 22e3)
    density = np.maximum(
        ramp(-center, -13.5e3, -4e3) + 0.75 * fine + 0.5 * wave, 0.9 * town + 0.8 * fine - 0.1
    )
    district = noise.uniform(*_cells(e + 1500 * fine, n + 1500 * wave, 2600, 2600), 30)
    turn = np.float32(1.5) * district
    x, y = e * np.cos(turn) + n * np.sin(turn), n * np.cos(turn) - e * np.sin(turn)
    i, j = _cells(x, y, 300, 200)
    reserve, tone = 0.25 * noise.uniform(i, j, 31), noise.uniform(i, j, 32)
    i, j = _cells(x, y, 120, 120)
    industry = 0.02 + 0.28 * ramp(noise.fractal(11, 5e3, octaves=4), 0.1, 0.3)
    built = np.where(noise.uniform(i, j, 33) < industry, ROOFS, STREETS).astype("u1")
    glint = noise.uniform(i, j, 34) ** 4
    return _City(density, reserve, district, tone, built, glint)


def _paint(
    base: _Base, shore: _Shore, riverbed: np.ndarray, fields: _Fields, city: _City
) -> np.ndarray:
    """Return the kind of ground before any change; each kind is painted over the previous ones."""
    height, fine = shore.height, base.fine
    x, y = 0.7 * (base.e - base.n), 1.54 * (base.e + base.n)
    dunes = base.noise.fractal(9, 9e3, x=x, y=y, octaves=6) + 0.5 * base.swell > 0.62
    kind = np.where(dunes & (height > 4), SAND, SOIL).astype("u1")
    field = fields.inside & (height > 3.2)
    kind[field & (fields.crop < 0.86)] = RIPE
    kind[field & (fields.crop < 0.5)] = GREEN
    urban = (city.density > 0.36 + city.reserve) & (height > _BUILDABLE)
    kind[urban] = city.built[urban]
    kind[riverbed | (height < 2.2)] = SAND
    wooded = (height > 0.85) & (height < 3.3 + 0.6 * fine)
    kind[wooded & (shore.delta > 0.4) & (shore.inland < 12e3)] = MANGROVE
    return kind


def _interpolate(
    position: np.ndarray, points: tuple[tuple[float, ...], tuple[float, ...]]
) -> np.ndarray:
    """Interpolate a line of points at positions along its first axis."""
    return np.interp(position, *points).astype("f4")


def _cells(
    x: np.ndarray, y: np.ndarray, width: float, height: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the column, int32, of the lattice cell of each position."""
    row = np.floor(y / np.float32(height)).astype("i4")
    column = np.floor(x / np.float32(width)).astype("i4")
    return row, column
