"""A desert coast with a city and a delta as a pure function of position and seed.

Positions are meters east and north of the city; fields are float32 (y, x), or broadcast to it. The
shore, the rivers and where the fields lie follow lines set by hand, bent by noise.
"""

from __future__ import annotations

import numpy as np

from cookbook_utils._world import fractal, ramp, uniform

# What the ground is made of: reflectances in the order blue, green, red, nir, swir1, swir2, set by
# hand; each lies within 0.025 (root mean square over the bands) of a pixel of Walker Lake. Last the
# part of the light that is lost to shadow for each unit of the cotangent of the sun's elevation.
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
CLEAR, MUDDY, MANGROVE, GREEN, RIPE, STREETS, ROOFS, SOIL, SAND = range(len(GROUND))
TEXTURE = np.array((0.03, 0.04, 0.05, 0.05, 0.05, 0.07, 0.08, 0.04, 0.04), dtype="f4")

# The shore, and the line that each river wanders about, as points east and north (m).
_SHORE = (
    (-110e3, -80e3, -60e3, -34e3, -16e3, -10e3, -7500, -6e3, -2e3, 0, 3e3, 7e3, 15e3, 30e3, 60e3,
     110e3),
    (4e3, 13e3, 9e3, 1e3, -3e3, -3600, -6400, -2e3, -200, -3600, -6e3, -8e3, -13e3, -24e3, -58e3,
     -100e3),
)  # fmt: skip
_EASTERN = ((4e3, 9e3, 16e3, 26e3, 110e3), (-9e3, -2e3, 5e3, 12e3, 45e3))  # north at east
_CITY = ((-5e3, 2e3, 12e3, 40e3), (-5e3, -3500, 3e3, 6e3))  # east at north
_GREAT = ((-110e3, -60e3, 0, 110e3), (65e3, 72e3, 80e3, 95e3))


def _line(at: np.ndarray, points: tuple[tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
    return np.interp(at, *points).astype("f4")


def _cells(x: np.ndarray, y: np.ndarray, width: float, height: float):
    """Number the cells of a lattice: row and column, int32."""
    return tuple(np.floor(v / np.float32(s)).astype("i4") for v, s in ((y, height), (x, width)))


class Coast:
    """What stays from date to date, at meters `e` east and `n` north, for pixels of `step` m."""

    def __init__(self, e: np.ndarray, n: np.ndarray, seed: int, *, step: float) -> None:
        def noise(number, scale, x=e, y=n, **options):
            return fractal(x, y, seed * 100 + number, scale=scale, step=step, **options)

        def chance(i, j, number):
            return uniform(i, j, seed * 100 + number)

        wave, fine, swell = noise(1, 9e3), noise(2, 2.5e3), noise(3, 40e3, octaves=3)
        far = ramp(np.abs(e), 14e3, 50e3)
        self.e, self.n, self.fine = e, n, fine
        self.patches = np.clip(2 * fine + 1.5 * wave, -1.5, 1.5)
        self.relief = np.clip(3 * noise(12, 6e3, ridged=True, octaves=8) - 2, -1.5, 1.5)
        self.haze = np.clip(1 + 0.5 * noise(4, 60e3, octaves=3), 0.5, 1.5)

        # The shore and, east of the city, a flat delta that creeks cut.
        inland = 0.85 * (n - _line(e + 1500 * wave, _SHORE))
        inland = inland + (1800 + 1000 * far) * wave + 9000 * swell * far
        delta = ramp(e + 3000 * wave, 5e3, 9e3)
        along, across = 0.8 * e + 0.6 * n, 0.48 * n - 0.36 * e
        large = 1 - 2 * np.abs(noise(5, 7e3, x=along, y=across, octaves=5, gain=0.45))
        large = ramp(large + 0.12 * ramp(-inland, -7e3, 0), 0.84, 1)
        small = 1 - 2 * np.abs(noise(6, 2.2e3, octaves=4))
        small = 0.5 * ramp(small, 0.88, 1) * ramp(-inland, -5e3, -3e3)
        tidal = delta * ramp(-inland, -9e3, -5e3) * ramp(inland, -7e3, -4e3)
        creek = tidal * np.maximum(large, small)
        flat = inland / 2600 + 0.7 + 0.8 * fine + 0.8 * wave
        self.height = inland / 180 * (1 - delta) + flat * delta - 9 * creek  # m
        plume = inland / 9e3 + 1.1 * noise(7, 12e3, octaves=6)
        plume = plume + 1.3 * ramp(e + 5000 * wave, -2e3, 12e3)
        self.muddy = (plume > 0.36) | (creek > 0.05)

        # Rivers, dry but for their sand, and the fields along them.
        bend = 2500 * noise(8, 8e3, octaves=6)
        eastern = np.where(e > 5e3, np.abs(n - _line(e, _EASTERN) + bend), np.float32(1e5))
        city = np.where((n > -4e3) & (n < 40e3), np.abs(e - _line(n, _CITY) + bend), 1e5)
        great = np.abs(e - _line(n, _GREAT) + 9000 * swell + bend)
        river = (
            (eastern < 260 + 300 * fine) | (city < 130 + 150 * fine) | (great < 900 + 900 * fine)
        )
        dunes = noise(9, 9e3, x=0.7 * (e - n), y=1.54 * (e + n), octaves=6) + 0.5 * swell > 0.62
        watered = np.maximum(ramp(-eastern, -9.5e3, -2e3) * ramp(e, 7e3, 12e3),
                             ramp(-great, -22e3, -6e3))  # fmt: skip
        x, y = 0.94 * e + 0.34 * n, 0.94 * n - 0.34 * e
        i, _ = _cells(x, y, 640, 420)
        x = x + 640 * chance(i, 0 * i, 20)  # rows of fields are offset, as bricks are
        i, j = _cells(x, y, 640, 420)
        inside = np.minimum(320 - np.abs(x - 640 * (j + np.float32(0.5))),
                            210 - np.abs(y - 420 * (i + np.float32(0.5))))  # fmt: skip
        field = (watered + 0.5 * wave + 0.35 * fine > 0.45) & (self.height > 3.2) & (inside > 18)
        crop, self.harvest = chance(i, j, 21), chance(i, j, 22)

        # A city, and towns; plots in districts whose streets run in directions of their own.
        center = np.hypot((e - 1500) / np.float32(1.15), n - 5500)
        town = ramp(noise(10, 22e3, octaves=2), 0.4, 0.55) * ramp(center, 14e3, 22e3)
        dense = np.maximum(ramp(-center, -13.5e3, -4e3) + 0.75 * fine + 0.5 * wave,
                           0.9 * town + 0.8 * fine - 0.1)  # fmt: skip
        self.district = chance(*_cells(e + 1500 * fine, n + 1500 * wave, 2600, 2600), 30)
        turn = np.float32(1.5) * self.district
        x, y = e * np.cos(turn) + n * np.sin(turn), n * np.cos(turn) - e * np.sin(turn)
        i, j = _cells(x, y, 300, 200)
        plot, self.tone = chance(i, j, 31), chance(i, j, 32)
        wanted = 0.25 * plot
        i, j = _cells(x, y, 120, 120)
        industry = 0.02 + 0.28 * ramp(noise(11, 5e3, octaves=4), 0.1, 0.3)
        self.built = np.where(chance(i, j, 33) < industry, ROOFS, STREETS).astype("u1")
        self.glint = chance(i, j, 34) ** 4

        # Every kind is painted over those before.
        kind = np.where(dunes & (self.height > 4), SAND, SOIL).astype("u1")
        kind[field & (crop < 0.86)] = RIPE
        kind[field & (crop < 0.5)] = GREEN
        city = (dense > 0.36 + wanted) & (self.height > 2.5)
        kind[city] = self.built[city]
        kind[river | (self.height < 2.2)] = SAND
        wooded = (self.height > 0.85) & (self.height < 3.3 + 0.6 * fine)
        kind[wooded & (delta > 0.4) & (inland < 12e3)] = MANGROVE
        self.kind = kind
        self.lots = (dense > 0.24 + wanted) & (kind == SOIL) & (self.height > 2.5)

    def at(self, *, tide: float, progress: float) -> np.ndarray:
        """Kinds of ground (y, x) uint8 with the sea at `tide` m and so much of the month gone."""
        kind = self.kind.copy()
        kind[(kind == RIPE) & (self.harvest < 0.68 * progress)] = SOIL
        ready = self.lots & (0.6 * self.district + 0.4 * self.tone < 0.36 * progress)
        kind[ready] = self.built[ready]
        clearing = np.hypot((self.e - 15500) / np.float32(1.6), self.n + 10200) + 900 * self.fine
        kind[(kind == MANGROVE) & (clearing < 1300 * progress)] = SOIL
        sea = self.height < tide
        kind[sea] = np.where(self.muddy, MUDDY, CLEAR)[sea]
        return kind
