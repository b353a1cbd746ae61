"""The ground and the clouds of the simulated lake, as pure functions of position and seed.

Positions are meters east and north of the center of the basin; fields are float32 and broadcast to
(y, x).

References
----------
.. [1] Landsat 5 and Landsat 8 surface reflectance of path 42, row 33 (Walker Lake, Nevada),
   1988-10-22 and 2017-10-22, U.S. Geological Survey.
.. [2] D. B. Lobell and G. P. Asner (2002). Moisture effects on soil reflectance. Soil Science
   Society of America Journal 66(3), 722-727.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cookbook_utils.simulate._noise import NoiseFields, gradient_noise, ramp

SPECTRA = {
    "clear_water": (0.060, 0.055, 0.026, 0.010, 0.006, 0.004),
    "muddy_water": (0.090, 0.125, 0.102, 0.035, 0.012, 0.008),
    "salt_flat": (0.340, 0.410, 0.450, 0.485, 0.490, 0.400),
    "alluvium": (0.140, 0.185, 0.235, 0.290, 0.350, 0.300),
    "dark_rock": (0.090, 0.115, 0.145, 0.195, 0.240, 0.205),
    "shrub": (0.080, 0.110, 0.135, 0.215, 0.270, 0.205),
    "crops": (0.035, 0.070, 0.045, 0.420, 0.200, 0.090),
}
"""Reflectance of each cover in the order of `BANDS`, the same for both sensors.

Each spectrum differs from that of some pixel of the real place [1] by a root mean square over the
bands of at most 0.02.
"""

CLOUD = np.array((0.60, 0.60, 0.61, 0.65, 0.62, 0.47), dtype="f4")
"""Reflectance of an opaque cloud in each band."""

_WATERS, _LANDS = tuple(SPECTRA)[:2], tuple(SPECTRA)[2:]
_SPECTRA = np.array(list(SPECTRA.values()), dtype="f4")
# Fraction of each band's reflectance that soil loses when it is soaked: largest in the shortwave
# infrared, as in [2]; the values are set by hand.
_SOAKED = np.array((0.58, 0.58, 0.59, 0.63, 0.68, 0.68), dtype="f4")

_SPACING = 27e3  # m from the axis of one basin to that of the next
_FRONT = 5.5e3  # m from the axis of a basin to the foot of its mountains
# Height of the floor of the central basin along its axis (m), at meters north of the center.
_AXIS = (-60e3, -16e3, -12e3, -8e3, -4e3, 0, 4e3, 7e3, 10e3, 13e3, 17e3, 25e3, 60e3)
_FLOOR = (1330, 1250, 1211, 1186, 1170, 1166, 1178, 1190, 1201, 1212, 1224, 1242, 1330)


def render_ground(
    e: np.ndarray,
    n: np.ndarray,
    seed: int,
    *,
    step: float,
    level: float,
    sun: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute reflectance (band, y, x), and cover and water (y, x) uint8, of one block.

    Parameters
    ----------
    e, n : numpy.ndarray of float32 (1, x + 2) and (y + 2, 1)
        Pixel centers, with a margin of one pixel for the slopes.
    seed : int
        Random seed of the world.
    step : float
        Width of a pixel in meters.
    level : float
        Elevation of the lake's surface in meters.
    sun : tuple of float
        Azimuth and elevation of the sun in degrees.
    """
    terrain = _terrain(e, n, seed, step)
    noise = NoiseFields(terrain.e, terrain.n, seed, step)
    surface = _surface(terrain, noise, step)
    share = _cover_shares(terrain, surface, noise, step)
    depth = level - terrain.elevation

    moist = 1 - _SOAKED[:, None, None] * ramp(depth, -4, 0)
    tint = 0.22 * noise.fractal(25, 9e3, octaves=5)
    tint = tint * np.linspace(-1, 1, 6, dtype="f4")[:, None, None]  # redder or grayer rock
    bright = _brightness(terrain, surface, noise, step) * _illumination(terrain, sun)
    land = np.einsum("cyx,cb->byx", share, _SPECTRA[2:]) * (bright * (1 + tint) * moist)

    mud = _mud(terrain, surface, depth)
    clear, muddy = _SPECTRA[:2, :, None, None]
    water = (clear + mud * (muddy - clear)) * (1 + 0.1 * surface.patches)

    # A pixel on the shore mixes land and water by the area below the lake's level, for a plane of
    # the local slope. Its class is that of its center.
    submerged = 0.5 + depth / (np.maximum(terrain.steepness, 2e-4) * np.float32(step))
    reflectance = land + np.clip(submerged, 0, 1) * (water - land)
    lake = (depth > 0).astype("u1")
    cover = np.where(lake == 1, mud > 0.5, len(_WATERS) + share.argmax(axis=0)).astype("u1")
    return reflectance, cover, lake


def clouds(e: np.ndarray, n: np.ndarray, seed: int, *, step: float, year: int) -> np.ndarray:
    """Compute the opacity, 0 to 1, of scattered clouds; 0 within 17.5 km of the basin's center."""
    noise = NoiseFields(e, n, seed, step)
    field = noise.fractal(50 + year, 5e3, octaves=6, gain=0.55)
    group = noise.fractal(51 + year, 20e3, octaves=2)
    cloudy = ramp(np.hypot(e, n), 17.5e3, 21e3)
    return ramp(field + 0.7 * group - 1.2 * (1 - cloudy), 0.4, 0.85)


# -- terrain ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Terrain:
    """Elevation of a block of pixels, and the fields that it was made from."""

    e: np.ndarray  # meters east of the center, (1, x)
    n: np.ndarray  # meters north of the center, (y, 1)
    elevation: np.ndarray  # m
    slope_e: np.ndarray  # rise per meter eastward
    slope_n: np.ndarray  # rise per meter northward
    east: np.ndarray  # e and n, displaced by noise so that basins and ranges bend
    north: np.ndarray
    across: np.ndarray  # 0 on the axis of a basin, 1 on the crest of a range
    mountain: np.ndarray  # 0 on the floor of a basin, 1 in the mountains
    spurs: np.ndarray  # ridged noise of the mountains

    @cached_property
    def steepness(self) -> np.ndarray:
        return np.hypot(self.slope_e, self.slope_n)


def _terrain(e: np.ndarray, n: np.ndarray, seed: int, step: float) -> _Terrain:
    """Compute the terrain at pixel centers whose margin of one pixel is cut off."""
    fields = _relief(e, n, NoiseFields(e, n, seed, step))
    z = fields["elevation"]
    slope_e = (z[1:-1, 2:] - z[1:-1, :-2]) / np.float32(2 * step)
    slope_n = (z[:-2, 1:-1] - z[2:, 1:-1]) / np.float32(2 * step)
    inner = {name: field[1:-1, 1:-1] for name, field in fields.items()}
    return _Terrain(e=e[:, 1:-1], n=n[1:-1], slope_e=slope_e, slope_n=slope_n, **inner)


def _relief(e: np.ndarray, n: np.ndarray, noise: NoiseFields) -> dict[str, np.ndarray]:
    """Compute elevation (m) from basins and ranges that run north; the central basin is closed."""
    far = ramp(np.hypot(e, n), 14e3, 50e3)
    east = (
        e
        + (2500 + 9000 * far) * noise.fractal(1, 35e3, octaves=3)
        + 1100 * noise.fractal(2, 5e3, octaves=6, gain=0.55)
    )
    north = n + 900 * noise.fractal(3, 12e3, octaves=4)
    across = 0.5 - 0.5 * np.cos(east * np.float32(2 * np.pi / _SPACING))
    ragged = (0.15 + 0.75 * far) * noise.fractal(5, 28e3, octaves=3)
    ragged = ragged + 0.25 * noise.fractal(9, 5e3, octaves=7)
    mountain = ramp(across + ragged, 0.36, 1.05)
    height = 1050 + 700 * noise.fractal(4, 40e3, octaves=2)
    floor = np.interp(north, _AXIS, _FLOOR).astype("f4")
    closed = ramp(-np.abs(east), -13.5e3, -9e3)
    floor = floor * closed + (1345 + 60 * noise.fractal(6, 60e3, octaves=2)) * (1 - closed)
    spurs = noise.fractal(7, 4.5e3, x=east / 1.4, ridged=True, octaves=9)
    rough = noise.fractal(8, 4e3, gain=0.48)
    elevation = (
        floor + 150 * across + mountain * (height + 520 * spurs) + (12 + 60 * mountain) * rough
    )
    return {
        "elevation": elevation,
        "east": east,
        "north": north,
        "across": across,
        "mountain": mountain,
        "spurs": spurs,
    }


# -- land cover ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Surface:
    """Patterns of the surface that several covers and their brightness follow, about -1 to 1."""

    patches: np.ndarray
    lithology: np.ndarray
    strandlines: np.ndarray  # of former stands of the lake


def _surface(terrain: _Terrain, noise: NoiseFields, step: float) -> _Surface:
    patches = noise.fractal(20, 2.5e3, octaves=6)
    lithology = noise.fractal(21, 12e3, octaves=6)
    # Strandlines are 6 m of elevation apart and fade where a pixel spans more than 1 to 3 m.
    z = terrain.elevation
    strandlines = np.sin(z * np.float32(2 * np.pi / 6)) * ramp(1260 - z, 0, 40)
    strandlines = strandlines * ramp(-terrain.steepness * np.float32(step), -3.0, -1.0)
    return _Surface(patches, lithology, strandlines)


def _cover_shares(
    terrain: _Terrain, surface: _Surface, noise: NoiseFields, step: float
) -> np.ndarray:
    """Compute the share, 0 to 1, of each land cover in each pixel: (cover, y, x).

    Covers are painted in turn, each over the previous ones.
    """
    z, steep, patches = terrain.elevation, terrain.steepness, surface.patches
    share = np.zeros((len(_LANDS), *z.shape), dtype="f4")
    _paint(share, "alluvium", np.float32(1))

    cool = patches + 0.6 * surface.lithology + (z - 1420) / 500
    _paint(share, "shrub", 0.85 * ramp(cool, -0.3, 0.9))
    outcrop = terrain.mountain * (0.7 + 0.4 * terrain.spurs)
    outcrop = outcrop + 0.5 * terrain.mountain * noise.fractal(27, 7e3, octaves=7)
    _paint(share, "dark_rock", 0.95 * ramp(outcrop + 0.15 * patches, 0.16, 0.26))
    _paint(share, "shrub", 0.75 * ramp(z + 600 * patches, 1900, 2600))

    crust = 0.5 + 0.12 * surface.strandlines + 1.6 * np.abs(noise.fractal(26, 2500, octaves=7))
    crust = np.clip(crust, 0, 1)
    lakebed = ramp(1215 + 5 * patches - z, 0, 3)
    playa = ramp(0.4 * noise.fractal(22, 16e3, octaves=6) - terrain.across, 0.0, 0.06)
    playa = playa * ramp(z, 1255, 1265)
    flat = ramp(-steep, -0.035, -0.015)
    _paint(share, "salt_flat", 0.95 * flat * crust * np.maximum(lakebed, playa))

    bend = 1200 * noise.fractal(23, 6e3, x=terrain.e * 0, octaves=6, gain=0.6)
    river = np.abs(terrain.east - bend)  # m from the inflow
    valley = ramp(terrain.n, 8e3, 10e3) * ramp(-terrain.n, -60e3, -40e3) * ramp(1265 - z, -10, 0)
    _paint(share, "crops", valley * ramp(-river, -330, -60) * np.clip(0.6 + patches, 0.2, 0.9))
    fields = _fields(terrain.e, terrain.n, noise)
    _paint(share, "crops", fields * ramp(-steep, -0.05, -0.03))
    return share


def _paint(share: np.ndarray, cover: str, alpha: np.ndarray) -> None:
    """Paint one cover with the opacity `alpha` over all others, in place."""
    share *= 1 - alpha
    share[_LANDS.index(cover)] += alpha


def _fields(e: np.ndarray, n: np.ndarray, noise: NoiseFields) -> np.ndarray:
    """Compute the vigor, 0 to 1, of crops in square and center-pivot fields along the inflow."""
    side = np.float32(805)  # half a mile, the side of a quarter section of the land survey
    x, y = np.broadcast_arrays(e / side, n / side)
    i, j = np.floor(x).astype("i4"), np.floor(y).astype("i4")
    u, v = np.abs(x - i - 0.5), np.abs(y - j - 0.5)
    kind, vigor = noise.uniform(i, j, 90), noise.uniform(i, j, 91)
    shape = np.where(kind < 0.3, np.hypot(u, v) < 0.47, np.maximum(u, v) < 0.46)
    inside = kind < 0.9 - 0.8 * np.hypot((i + 0.5) * side / 4000, (j - 23.5) * side / 5500) ** 2
    return np.where(shape & inside, 0.35 + 0.65 * vigor, 0).astype("f4")


# -- light --------------------------------------------------------------------------------------


def _brightness(
    terrain: _Terrain, surface: _Surface, noise: NoiseFields, step: float
) -> np.ndarray:
    """Compute the factor by which the land of each pixel is brighter than its spectrum."""
    fans = _fans(terrain.east, terrain.n + 250 * surface.patches, noise)
    fans = fans * ramp(terrain.across, 0.01, 0.12) * (1 - terrain.mountain)
    i, j = np.floor(terrain.e / step).astype("i4"), np.floor(terrain.n / step).astype("i4")
    grain = noise.uniform(i, j, 80) - 0.5
    return (
        1
        + 0.25 * surface.lithology
        + 0.15 * surface.patches
        + 0.2 * fans
        + 0.04 * surface.strandlines
        + 0.07 * grain
    )


def _fans(east: np.ndarray, north: np.ndarray, noise: NoiseFields) -> np.ndarray:
    """Compute the brightness, about -1 to 1, of alluvial fans: streaks from canyon mouths."""
    turn = east / np.float32(_SPACING) + np.float32(0.5)
    basin = np.floor(turn)
    side = (turn - basin - np.float32(0.5)) * np.float32(_SPACING)  # m east of the axis
    flank = (2 * basin + (side > 0)).astype("i4")
    along = north / np.float32(3800) + 0.37 * flank
    fan = np.floor(along).astype("i4")
    apex = 0.5 + 0.5 * (noise.uniform(flank, fan, 92) - 0.5)
    down = np.maximum(np.float32(_FRONT) - np.abs(side), -1200) + 1800
    angle = (along - fan - apex) * np.float32(3800) / down
    tone = noise.uniform(flank, fan, 93) - 0.5
    streaks = gradient_noise(9 * angle, fan * 7.3 + flank * 3.1 + down / 5000, noise.seed_of(94))
    fine = gradient_noise(31 * angle, fan * 5.7 + flank * 2.3 + down / 2500, noise.seed_of(95))
    return (0.6 * tone + 0.7 * streaks + 0.35 * fine).astype("f4")


def _illumination(terrain: _Terrain, sun: tuple[float, float]) -> np.ndarray:
    """Compute the light on each slope, half of it direct, relative to that on level ground."""
    azimuth, elevation = np.radians(sun)
    cotangent = np.float32(1 / np.tan(elevation))
    direct = 1 - cotangent * (
        terrain.slope_e * np.float32(np.sin(azimuth))
        + terrain.slope_n * np.float32(np.cos(azimuth))
    )
    steep = terrain.steepness
    return 0.5 + 0.5 * np.clip(direct / np.sqrt(1 + steep * steep), 0.25, 2.0)


def _mud(terrain: _Terrain, surface: _Surface, depth: np.ndarray) -> np.ndarray:
    """Compute the share, 0 to 1, of muddy water: large where it is shallow or near the inflow."""
    plume = np.exp(-((terrain.east / 2500) ** 2) - ((terrain.north - 9e3) / 5000) ** 2)
    return ramp(6 * surface.patches + 9 * plume + 4 - depth, -4, 9)
