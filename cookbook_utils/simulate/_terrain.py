"""A desert basin with a lake as pure functions of position and seed: noise, terrain, cover, cloud.

Positions are meters east and north of the center of the basin; fields are float32 (y, x), or
broadcast to it. The references are those of `cookbook_utils.simulate`.
"""

from __future__ import annotations

import numpy as np

# Reflectances in the order of BANDS; the same for both sensors, whose bands nearly agree. They
# follow pixels of the published surface reflectance of this very place [2], rounded: each cover
# lies within 0.02 of a pixel (root mean square over the bands).
COVER = {
    "clear_water": (0.060, 0.055, 0.026, 0.010, 0.006, 0.004),
    "muddy_water": (0.090, 0.125, 0.102, 0.035, 0.012, 0.008),
    "salt_flat": (0.340, 0.410, 0.450, 0.485, 0.490, 0.400),
    "alluvium": (0.140, 0.185, 0.235, 0.290, 0.350, 0.300),
    "dark_rock": (0.090, 0.115, 0.145, 0.195, 0.240, 0.205),
    "shrub": (0.080, 0.110, 0.135, 0.215, 0.270, 0.205),
    "crops": (0.035, 0.070, 0.045, 0.420, 0.200, 0.090),
}
WET = np.array(
    (0.58, 0.58, 0.59, 0.63, 0.68, 0.68), dtype="f4"
)  # lost when soaked: most in SWIR, as in [3]; the size is set by hand
CLOUD = np.array((0.60, 0.60, 0.61, 0.65, 0.62, 0.47), dtype="f4")


# -- noise ------------------------------------------------------------------------------------


def _hash(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    """uint32, evenly spread, of two integer arrays and a seed."""
    h = i.astype("u4") * np.uint32(0x85EBCA6B) + j.astype("u4") * np.uint32(0xC2B2AE35)
    h ^= np.uint32(int(seed) * 0x9E3779B1 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    return h


def uniform(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    """Numbers evenly spread from 0 to 1, of two integer arrays and a seed."""
    return _hash(i, j, seed).astype("f4") / np.float32(2**32)


def _noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Gradient noise [1] with a lattice of 1, about -0.7 to 0.7."""
    x, y = np.broadcast_arrays(x, y)
    i, j = np.floor(x).astype("i4"), np.floor(y).astype("i4")
    u, v = x - i, y - j
    i0, j0 = i.min(), j.min()
    width = i.max() - i0 + 2
    # Gradients are drawn once per node of the lattice, then looked up by every pixel.
    nodes = np.meshgrid(np.arange(i0, i0 + width), np.arange(j0, j.max() + 2))
    angle = uniform(*nodes, seed).ravel() * np.float32(2 * np.pi)
    gx, gy = np.cos(angle), np.sin(angle)
    at = (j - j0) * width + (i - i0)

    def corner(di, dj):
        k = at + (di + dj * width)
        return gx[k] * (u - di) + gy[k] * (v - dj)

    su, sv = (t * t * t * (t * (t * 6 - 15) + 10) for t in (u, v))
    low, high = (corner(0, d) * (1 - su) + corner(1, d) * su for d in (0, 1))
    return low * (1 - sv) + high * sv


def fractal(x, y, seed, *, scale, step, octaves=12, gain=0.5, ridged=False) -> np.ndarray:
    """Octaves of noise from the wavelength `scale` (m) down to what a pixel of `step` resolves."""
    total, amplitude, weight = np.float32(0), np.float32(1), np.float32(1)
    for octave in range(octaves):
        if scale < 2 * step:
            break
        layer = _noise(x / np.float32(scale), y / np.float32(scale), seed * 64 + octave)
        if ridged:  # sharp crests; what is high stays rough, what is low is smooth
            layer = weight * (1 - 2 * np.abs(layer)) ** 2
            weight = np.clip(0.35 + 1.6 * layer, 0, 1)
        total = total + amplitude * layer
        scale, amplitude = scale / 2, amplitude * np.float32(gain)
    return total


def ramp(value, low, high) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


# -- the world --------------------------------------------------------------------------------

_SPACING = 27e3  # m from one basin to the next
_FRONT = 5.5e3  # m from the axis of a basin to the foot of its mountains
_AXIS = (-60e3, -16e3, -12e3, -8e3, -4e3, 0, 4e3, 7e3, 10e3, 13e3, 17e3, 25e3, 60e3)  # m, northward
_FLOOR = (1330, 1250, 1211, 1186, 1170, 1166, 1178, 1190, 1201, 1212, 1224, 1242, 1330)  # m


def _terrain(e: np.ndarray, n: np.ndarray, step: float, seed: int) -> dict[str, np.ndarray]:
    """Elevation (m) and what shaped it, at meters east and north of the center."""

    def noise(number, scale, x=e, y=n, **options):
        return fractal(x, y, seed * 100 + number, scale=scale, step=step, **options)

    far = ramp(np.hypot(e, n), 14e3, 50e3)
    east = (
        e
        + (2500 + 9000 * far) * noise(1, 35e3, octaves=3)
        + 1100 * noise(2, 5e3, octaves=6, gain=0.55)
    )
    north = n + 900 * noise(3, 12e3, octaves=4)
    across = 0.5 - 0.5 * np.cos(east * np.float32(2 * np.pi / _SPACING))  # 0 axis, 1 crest
    ragged = (0.15 + 0.75 * far) * noise(5, 28e3, octaves=3) + 0.25 * noise(9, 5e3, octaves=7)
    mountain = ramp(across + ragged, 0.36, 1.05)
    height = 1050 + 700 * noise(4, 40e3, octaves=2)
    floor = np.interp(north, _AXIS, _FLOOR).astype("f4")
    closed = ramp(-np.abs(east), -13.5e3, -9e3)
    floor = floor * closed + (1345 + 60 * noise(6, 60e3, octaves=2)) * (1 - closed)
    spurs = noise(7, 4.5e3, x=east / 1.4, ridged=True, octaves=9)
    rough = noise(8, 4e3, gain=0.48)
    elevation = (
        floor + 150 * across + mountain * (height + 520 * spurs) + (12 + 60 * mountain) * rough
    )
    return dict(
        elevation=elevation, east=east, north=north, across=across, mountain=mountain, spurs=spurs
    )


def _fans(east: np.ndarray, north: np.ndarray, seed: int) -> np.ndarray:
    """Brightness, about -1 to 1, of alluvial fans: streaks that spread from canyon mouths."""
    turn = east / np.float32(_SPACING) + np.float32(0.5)
    basin = np.floor(turn)
    side = (turn - basin - np.float32(0.5)) * np.float32(_SPACING)  # m east of the axis
    flank = (2 * basin + (side > 0)).astype("i4")
    along = north / np.float32(3800) + 0.37 * flank
    fan = np.floor(along).astype("i4")
    apex = 0.5 + 0.5 * (uniform(flank, fan, seed * 100 + 92) - 0.5)
    down = np.maximum(np.float32(_FRONT) - np.abs(side), -1200) + 1800
    angle = (along - fan - apex) * np.float32(3800) / down
    tone = uniform(flank, fan, seed * 100 + 93) - 0.5
    streaks = _noise(9 * angle, fan * 7.3 + flank * 3.1 + down / 5000, seed * 100 + 94)
    fine = _noise(31 * angle, fan * 5.7 + flank * 2.3 + down / 2500, seed * 100 + 95)
    return (0.6 * tone + 0.7 * streaks + 0.35 * fine).astype("f4")


def _fields(e: np.ndarray, n: np.ndarray, seed: int) -> np.ndarray:
    """Vigor of crops, 0 to 1: square and center-pivot fields on the flats along the inflow."""
    side = np.float32(805)  # half a mile, as the land survey cuts it
    x, y = np.broadcast_arrays(e / side, n / side)
    i, j = np.floor(x).astype("i4"), np.floor(y).astype("i4")
    u, v = np.abs(x - i - 0.5), np.abs(y - j - 0.5)
    kind, vigor = uniform(i, j, seed * 100 + 90), uniform(i, j, seed * 100 + 91)
    shape = np.where(kind < 0.3, np.hypot(u, v) < 0.47, np.maximum(u, v) < 0.46)
    inside = kind < 0.9 - 0.8 * np.hypot((i + 0.5) * side / 4000, (j - 23.5) * side / 5500) ** 2
    return np.where(shape & inside, 0.35 + 0.65 * vigor, 0).astype("f4")


def surface(
    e: np.ndarray,
    n: np.ndarray,
    seed: int,
    *,
    step: float,
    level: float,
    sun: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reflectance (band, y, x), cover and water of the ground; `e`, `n` have a margin of 1.

    Pixels are `step` meters wide, the lake stands at `level` meters, and `sun` is azimuth and
    elevation in degrees. Cover and water are uint8 (y, x).
    """
    world = _terrain(e, n, step, seed)
    z = world["elevation"]
    slope_e = (z[1:-1, 2:] - z[1:-1, :-2]) / np.float32(2 * step)
    slope_n = (z[:-2, 1:-1] - z[2:, 1:-1]) / np.float32(2 * step)
    e, n = e[:, 1:-1], n[1:-1]
    east, north, across, mountain, spurs = (
        world[k][1:-1, 1:-1] for k in ("east", "north", "across", "mountain", "spurs")
    )
    z = z[1:-1, 1:-1]
    steep = np.hypot(slope_e, slope_n)

    def noise(number, scale, x=e, y=n, **options):
        return fractal(x, y, seed * 100 + number, scale=scale, step=step, **options)

    # Every class is painted over the ones before, with its share of the pixel.
    classes = list(COVER)[2:]
    share = np.zeros((len(classes), *z.shape), dtype="f4")

    def paint(name, alpha):
        share[...] *= 1 - alpha
        share[classes.index(name)] += alpha

    paint("alluvium", np.float32(1))

    patches, lithology = noise(20, 2.5e3, octaves=6), noise(21, 12e3, octaves=6)
    paint("shrub", 0.85 * ramp(patches + 0.6 * lithology + (z - 1420) / 500, -0.3, 0.9))
    outcrop = mountain * (0.7 + 0.4 * spurs) + 0.5 * mountain * noise(27, 7e3, octaves=7)
    paint("dark_rock", 0.95 * ramp(outcrop + 0.15 * patches, 0.16, 0.26))
    paint("shrub", 0.75 * ramp(z + 600 * patches, 1900, 2600))
    flat = ramp(-steep, -0.035, -0.015)
    # Old shorelines stand 6 m apart; they fade where a pixel spans more than a quarter of that.
    strands = np.sin(z * np.float32(2 * np.pi / 6)) * ramp(1260 - z, 0, 40)
    strands = strands * ramp(-steep * np.float32(step), -3.0, -1.0)
    crust = np.clip(0.5 + 0.12 * strands + 1.6 * np.abs(noise(26, 2500, octaves=7)), 0, 1)
    lakebed = ramp(1215 + 5 * patches - z, 0, 3)
    playa = ramp(0.4 * noise(22, 16e3, octaves=6) - across, 0.0, 0.06) * ramp(z, 1255, 1265)
    paint("salt_flat", 0.95 * flat * crust * np.maximum(lakebed, playa))
    river = np.abs(east - 1200 * noise(23, 6e3, x=e * 0, octaves=6, gain=0.6))
    valley = ramp(n, 8e3, 10e3) * ramp(-n, -60e3, -40e3) * ramp(1265 - z, -10, 0)
    paint("crops", valley * ramp(-river, -330, -60) * np.clip(0.6 + patches, 0.2, 0.9))
    paint("crops", _fields(e, n, seed) * ramp(-steep, -0.05, -0.03))

    # Land is not uniform: patches, streaks of fans, old shorelines, redder and grayer rock.
    fans = _fans(east, n + 250 * patches, seed) * ramp(across, 0.01, 0.12) * (1 - mountain)
    i, j = np.floor(e / step).astype("i4"), np.floor(n / step).astype("i4")
    grain = uniform(i, j, seed * 100 + 80) - 0.5
    bright = 1 + 0.25 * lithology + 0.15 * patches + 0.2 * fans + 0.04 * strands + 0.07 * grain
    azimuth, elevation = np.radians(sun)
    cotangent = np.float32(1 / np.tan(elevation))
    light = 1 - cotangent * (
        slope_e * np.float32(np.sin(azimuth)) + slope_n * np.float32(np.cos(azimuth))
    )
    bright = bright * (0.5 + 0.5 * np.clip(light / np.sqrt(1 + steep * steep), 0.25, 2.0))
    red = 0.22 * noise(25, 9e3, octaves=5) * np.linspace(-1, 1, 6, dtype="f4")[:, None, None]
    depth = level - z
    wet = 1 - WET[:, None, None] * ramp(depth, -4, 0)
    spectra = np.array(list(COVER.values()), dtype="f4")
    land = np.einsum("cyx,cb->byx", share, spectra[2:]) * (bright * (1 + red) * wet)

    # A pixel on the shore mixes both, by the part of it that lies below the level of the lake.
    plume = np.exp(-((east / 2500) ** 2) - ((north - 9e3) / 5000) ** 2)
    mud = ramp(6 * patches + 9 * plume + 4 - depth, -4, 9)
    clear, muddy = spectra[:2, :, None, None]
    water = (clear + mud * (muddy - clear)) * (1 + 0.1 * patches)
    part = np.clip(0.5 + depth / (np.maximum(steep, 2e-4) * np.float32(step)), 0, 1)
    # Its class is that of its center.
    lake = (depth > 0).astype("u1")
    cover = np.where(lake == 1, mud > 0.5, 2 + share.argmax(axis=0)).astype("u1")
    return land + part * (water - land), cover, lake


def clouds(e: np.ndarray, n: np.ndarray, seed: int, *, step: float, year: int) -> np.ndarray:
    """Opacity, 0 to 1, of scattered cloud, none within 17.5 km of the basin's center."""
    number = seed * 100 + 50 + year
    field = fractal(e, n, number, scale=5e3, step=step, octaves=6, gain=0.55)
    group = fractal(e, n, number + 1, scale=20e3, step=step, octaves=2)
    clear = ramp(np.hypot(e, n), 17.5e3, 21e3)
    return ramp(field + 0.7 * group - 1.2 * (1 - clear), 0.4, 0.85)
