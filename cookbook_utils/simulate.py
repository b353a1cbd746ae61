"""A desert basin with a lake, seen by two Landsat sensors: scenes whose truth is known.

The world is a pure function of position (meters in EPSG:32611) and seed, so a scene may be computed
in blocks of any size, at any step, and always shows the same place. Elevation is fractal gradient
noise [1]_ on north-south ranges and basins; the central basin is closed and holds a lake whose
shoreline is a contour of the terrain. `SCENES` lists what can be simulated.

References
----------
.. [1] K. Perlin (2002). Improving noise. ACM Trans. Graphics 21(3), 681-682.
.. [2] Landsat 5 and Landsat 8 surface reflectance of path 42, row 33 (Walker Lake, Nevada),
   1988-10-22 and 2017-10-22, U.S. Geological Survey.
.. [3] D. B. Lobell and G. P. Asner (2002). Moisture effects on soil reflectance. Soil Science
   Society of America Journal 66(3), 722-727.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

GENERATOR = 1  # raised when the world changes, so that files written before are made again
CRS = "EPSG:32611"
CENTER = (351453.0, 4284227.0)  # of the lake basin: 118.7081 W, 38.6942 N
NODATA = -9999
MISSING = 255
BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
SENSORS = {  # band numbers and center wavelengths (micrometers)
    "Landsat 5 TM": ((1, 2, 3, 4, 5, 7), (0.485, 0.56, 0.66, 0.83, 1.65, 2.215)),
    "Landsat 8 OLI": ((2, 3, 4, 5, 6, 7), (0.482, 0.561, 0.655, 0.865, 1.609, 2.201)),
}

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


@dataclass(frozen=True)
class SceneSpec:
    """How one scene sees the world: its grid, its date and its sensor."""

    sensor: str
    date: str
    size: int  # pixels on a side
    step: float  # m
    corner: tuple[float, float]  # x, y of the upper-left corner, m
    level: float  # of the lake, m
    gain: float  # of the reflectance: calibration and haze that differ between dates
    offset: float
    noise: float  # standard deviation, reflectance
    sun: tuple[float, float]  # azimuth and elevation, degrees
    tilt: float  # of the footprint against the grid, degrees


_TM = dict(sensor="Landsat 5 TM", date="1988-10-22", level=1210.0, gain=1.05, offset=0.01)
_TM |= dict(noise=0.003, sun=(147.0, 33.0))
_OLI = dict(sensor="Landsat 8 OLI", date="2017-10-22", level=1201.0, gain=1.0, offset=0.0)
_OLI |= dict(noise=0.001, sun=(157.0, 38.0))
SCENES = {
    "landsat_5_small": SceneSpec(size=300, step=150, corner=(332325, 4309275), tilt=5, **_TM),
    "landsat_8_small": SceneSpec(size=300, step=160, corner=(330570, 4311435), tilt=5, **_OLI),
    "landsat_5": SceneSpec(size=7000, step=30, corner=(249825, 4391775), tilt=10.5, **_TM),
    "landsat_8": SceneSpec(size=7000, step=30, corner=(250260, 4391460), tilt=10.5, **_OLI),
}


# -- noise ------------------------------------------------------------------------------------


def _hash(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    """uint32, evenly spread, of two integer arrays and a seed."""
    h = i.astype("u4") * np.uint32(0x85EBCA6B) + j.astype("u4") * np.uint32(0xC2B2AE35)
    h ^= np.uint32(int(seed) * 0x9E3779B1 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    return h


def _uniform(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    return _hash(i, j, seed).astype("f4") / np.float32(2**32)


def _noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Gradient noise with a lattice of 1, about -0.7 to 0.7."""
    x, y = np.broadcast_arrays(x, y)
    i, j = np.floor(x).astype("i4"), np.floor(y).astype("i4")
    u, v = x - i, y - j
    i0, j0 = i.min(), j.min()
    width = i.max() - i0 + 2
    # Gradients are drawn once per node of the lattice, then looked up by every pixel.
    nodes = np.meshgrid(np.arange(i0, i0 + width), np.arange(j0, j.max() + 2))
    angle = _uniform(*nodes, seed).ravel() * np.float32(2 * np.pi)
    gx, gy = np.cos(angle), np.sin(angle)
    at = (j - j0) * width + (i - i0)

    def corner(di, dj):
        k = at + (di + dj * width)
        return gx[k] * (u - di) + gy[k] * (v - dj)

    su, sv = (t * t * t * (t * (t * 6 - 15) + 10) for t in (u, v))
    low, high = (corner(0, d) * (1 - su) + corner(1, d) * su for d in (0, 1))
    return low * (1 - sv) + high * sv


def _fractal(x, y, seed, *, scale, step, octaves=12, gain=0.5, ridged=False) -> np.ndarray:
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


def _ramp(value, low, high) -> np.ndarray:
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
        return _fractal(x, y, seed * 100 + number, scale=scale, step=step, **options)

    far = _ramp(np.hypot(e, n), 14e3, 50e3)
    east = (
        e
        + (2500 + 9000 * far) * noise(1, 35e3, octaves=3)
        + 1100 * noise(2, 5e3, octaves=6, gain=0.55)
    )
    north = n + 900 * noise(3, 12e3, octaves=4)
    across = 0.5 - 0.5 * np.cos(east * np.float32(2 * np.pi / _SPACING))  # 0 axis, 1 crest
    ragged = (0.15 + 0.75 * far) * noise(5, 28e3, octaves=3) + 0.25 * noise(9, 5e3, octaves=7)
    mountain = _ramp(across + ragged, 0.36, 1.05)
    height = 1050 + 700 * noise(4, 40e3, octaves=2)
    floor = np.interp(north, _AXIS, _FLOOR).astype("f4")
    closed = _ramp(-np.abs(east), -13.5e3, -9e3)
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
    apex = 0.5 + 0.5 * (_uniform(flank, fan, seed * 100 + 92) - 0.5)
    down = np.maximum(np.float32(_FRONT) - np.abs(side), -1200) + 1800
    angle = (along - fan - apex) * np.float32(3800) / down
    tone = _uniform(flank, fan, seed * 100 + 93) - 0.5
    streaks = _noise(9 * angle, fan * 7.3 + flank * 3.1 + down / 5000, seed * 100 + 94)
    fine = _noise(31 * angle, fan * 5.7 + flank * 2.3 + down / 2500, seed * 100 + 95)
    return (0.6 * tone + 0.7 * streaks + 0.35 * fine).astype("f4")


def _fields(e: np.ndarray, n: np.ndarray, seed: int) -> np.ndarray:
    """Vigor of crops, 0 to 1: square and center-pivot fields on the flats along the inflow."""
    side = np.float32(805)  # half a mile, as the land survey cuts it
    x, y = np.broadcast_arrays(e / side, n / side)
    i, j = np.floor(x).astype("i4"), np.floor(y).astype("i4")
    u, v = np.abs(x - i - 0.5), np.abs(y - j - 0.5)
    kind, vigor = _uniform(i, j, seed * 100 + 90), _uniform(i, j, seed * 100 + 91)
    shape = np.where(kind < 0.3, np.hypot(u, v) < 0.47, np.maximum(u, v) < 0.46)
    inside = kind < 0.9 - 0.8 * np.hypot((i + 0.5) * side / 4000, (j - 23.5) * side / 5500) ** 2
    return np.where(shape & inside, 0.35 + 0.65 * vigor, 0).astype("f4")


def _surface(spec: SceneSpec, e: np.ndarray, n: np.ndarray, seed: int):
    """Reflectance (band, y, x), cover and water of the ground; `e`, `n` have a margin of 1."""
    world = _terrain(e, n, spec.step, seed)
    z = world["elevation"]
    slope_e = (z[1:-1, 2:] - z[1:-1, :-2]) / np.float32(2 * spec.step)
    slope_n = (z[:-2, 1:-1] - z[2:, 1:-1]) / np.float32(2 * spec.step)
    e, n = e[:, 1:-1], n[1:-1]
    east, north, across, mountain, spurs = (
        world[k][1:-1, 1:-1] for k in ("east", "north", "across", "mountain", "spurs")
    )
    z = z[1:-1, 1:-1]
    steep = np.hypot(slope_e, slope_n)

    def noise(number, scale, x=e, y=n, **options):
        return _fractal(x, y, seed * 100 + number, scale=scale, step=spec.step, **options)

    # Every class is painted over the ones before, with its share of the pixel.
    classes = list(COVER)[2:]
    share = np.zeros((len(classes), *z.shape), dtype="f4")

    def paint(name, alpha):
        share[...] *= 1 - alpha
        share[classes.index(name)] += alpha

    paint("alluvium", np.float32(1))

    patches, lithology = noise(20, 2.5e3, octaves=6), noise(21, 12e3, octaves=6)
    paint("shrub", 0.85 * _ramp(patches + 0.6 * lithology + (z - 1420) / 500, -0.3, 0.9))
    outcrop = mountain * (0.7 + 0.4 * spurs) + 0.5 * mountain * noise(27, 7e3, octaves=7)
    paint("dark_rock", 0.95 * _ramp(outcrop + 0.15 * patches, 0.16, 0.26))
    paint("shrub", 0.75 * _ramp(z + 600 * patches, 1900, 2600))
    flat = _ramp(-steep, -0.035, -0.015)
    # Old shorelines stand 6 m apart; they fade where a pixel spans more than a quarter of that.
    strands = np.sin(z * np.float32(2 * np.pi / 6)) * _ramp(1260 - z, 0, 40)
    strands = strands * _ramp(-steep * np.float32(spec.step), -3.0, -1.0)
    crust = np.clip(0.5 + 0.12 * strands + 1.6 * np.abs(noise(26, 2500, octaves=7)), 0, 1)
    lakebed = _ramp(1215 + 5 * patches - z, 0, 3)
    playa = _ramp(0.4 * noise(22, 16e3, octaves=6) - across, 0.0, 0.06) * _ramp(z, 1255, 1265)
    paint("salt_flat", 0.95 * flat * crust * np.maximum(lakebed, playa))
    river = np.abs(east - 1200 * noise(23, 6e3, x=e * 0, octaves=6, gain=0.6))
    valley = _ramp(n, 8e3, 10e3) * _ramp(-n, -60e3, -40e3) * _ramp(1265 - z, -10, 0)
    paint("crops", valley * _ramp(-river, -330, -60) * np.clip(0.6 + patches, 0.2, 0.9))
    paint("crops", _fields(e, n, seed) * _ramp(-steep, -0.05, -0.03))

    # Land is not uniform: patches, streaks of fans, old shorelines, redder and grayer rock.
    fans = _fans(east, n + 250 * patches, seed) * _ramp(across, 0.01, 0.12) * (1 - mountain)
    i, j = np.floor(e / spec.step).astype("i4"), np.floor(n / spec.step).astype("i4")
    grain = _uniform(i, j, seed * 100 + 80) - 0.5
    bright = 1 + 0.25 * lithology + 0.15 * patches + 0.2 * fans + 0.04 * strands + 0.07 * grain
    azimuth, elevation = np.radians(spec.sun)
    cotangent = np.float32(1 / np.tan(elevation))
    light = 1 - cotangent * (
        slope_e * np.float32(np.sin(azimuth)) + slope_n * np.float32(np.cos(azimuth))
    )
    bright = bright * (0.5 + 0.5 * np.clip(light / np.sqrt(1 + steep * steep), 0.25, 2.0))
    red = 0.22 * noise(25, 9e3, octaves=5) * np.linspace(-1, 1, 6, dtype="f4")[:, None, None]
    depth = spec.level - z
    wet = 1 - WET[:, None, None] * _ramp(depth, -4, 0)
    spectra = np.array(list(COVER.values()), dtype="f4")
    land = np.einsum("cyx,cb->byx", share, spectra[2:]) * (bright * (1 + red) * wet)

    # A pixel on the shore mixes both, by the part of it that lies below the level of the lake.
    plume = np.exp(-((east / 2500) ** 2) - ((north - 9e3) / 5000) ** 2)
    mud = _ramp(6 * patches + 9 * plume + 4 - depth, -4, 9)
    clear, muddy = spectra[:2, :, None, None]
    water = (clear + mud * (muddy - clear)) * (1 + 0.1 * patches)
    part = np.clip(0.5 + depth / (np.maximum(steep, 2e-4) * np.float32(spec.step)), 0, 1)
    # Its class is that of its center.
    lake = (depth > 0).astype("u1")
    cover = np.where(lake == 1, mud > 0.5, 2 + share.argmax(axis=0)).astype("u1")
    return land + part * (water - land), cover, lake


def _clouds(spec: SceneSpec, e: np.ndarray, n: np.ndarray, seed: int) -> np.ndarray:
    """Opacity, 0 to 1, of scattered cloud, none within 17.5 km of the basin's center."""
    number = seed * 100 + 50 + int(spec.date[:4])
    field = _fractal(e, n, number, scale=5e3, step=spec.step, octaves=6, gain=0.55)
    group = _fractal(e, n, number + 1, scale=20e3, step=spec.step, octaves=2)
    clear = _ramp(np.hypot(e, n), 17.5e3, 21e3)
    return _ramp(field + 0.7 * group - 1.2 * (1 - clear), 0.4, 0.85)


def _block(spec: SceneSpec, rows: range, cols: range, seed: int):
    """Digital numbers (band, y, x) int16 and truth (cover, water, cloud; y, x) uint8."""
    left, top = spec.corner[0] - CENTER[0], spec.corner[1] - CENTER[1]
    e = (left + spec.step * (np.arange(cols.start - 1, cols.stop + 1) + 0.5))[None, :].astype("f4")
    n = (top - spec.step * (np.arange(rows.start - 1, rows.stop + 1) + 0.5))[:, None].astype("f4")
    value, cover, water = _surface(spec, e, n, seed)
    e, n = e[:, 1:-1], n[1:-1]

    azimuth, elevation = np.radians(spec.sun)
    reach = np.float32(1800 / np.tan(elevation))  # from a cloud 1800 m up to its shadow
    shift = reach * np.float32(np.sin(azimuth)), reach * np.float32(np.cos(azimuth))
    value *= 1 - 0.35 * _clouds(spec, e + shift[0], n + shift[1], seed)
    cloud = _clouds(spec, e, n, seed)
    value += cloud * (CLOUD[:, None, None] - value)

    value = spec.gain * value + spec.offset
    i, j = np.meshgrid(np.arange(cols.start, cols.stop), np.arange(rows.start, rows.stop))
    for band, plane in enumerate(value):
        u, v = (_uniform(i, j, seed * 100 + 60 + 2 * band + k + int(spec.date[:4])) for k in (0, 1))
        plane += np.float32(spec.noise * 6**0.5) * (u + v - 1)  # triangular
    numbers = np.clip(np.rint(value * 10000), 0, 16000).astype("i2")
    truth = np.stack([cover, water, (cloud > 0.1).astype("u1")])

    # The footprint is a square turned against the grid, as an orbit's ground track is.
    half = spec.size * spec.step / 2
    a = np.radians(spec.tilt)
    ce, cn = e - (left + half), n - (top - half)
    reach = half / (np.cos(a) + np.sin(a))
    outside = (
        np.maximum(np.abs(ce * np.cos(a) - cn * np.sin(a)), np.abs(ce * np.sin(a) + cn * np.cos(a)))
        > reach
    )
    numbers[:, outside], truth[:, outside] = NODATA, MISSING
    return numbers, truth


def _blocks(rows: range, cols: range, block: int):
    for i in range(rows.start, rows.stop, block):
        for j in range(cols.start, cols.stop, block):
            yield range(i, min(i + block, rows.stop)), range(j, min(j + block, cols.stop))


def _simulate(spec: SceneSpec, rows: range, cols: range, seed: int, block: int):
    """Yield (rows, cols, numbers, truth) of one block after another, a few computed at a time."""
    workers = min(4, os.cpu_count() or 1)
    todo = _blocks(rows, cols, block)
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(todo, workers)):
            done = pool.map(lambda where: _block(spec, *where, seed), batch)
            for (i, j), (numbers, truth) in zip(batch, done, strict=True):
                yield i, j, numbers, truth


def _spec(name: str, seed: int) -> SceneSpec:
    if name not in SCENES:
        raise ValueError(f"unknown scene {name!r}; expected one of {', '.join(SCENES)}")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer, 0 or more; found {seed!r}")
    return SCENES[name]


def simulate_scene(
    name: str, *, seed: int = 0, window: tuple[slice, slice] | None = None
) -> tuple[xr.DataArray, xr.Dataset]:
    """Simulate a scene and its truth in memory.

    Parameters
    ----------
    name : str
        A key of `SCENES`.
    seed : int
        Another seed is another world; both dates of one seed show the same one.
    window : (slice, slice), optional
        Rows and columns to simulate; all by default. A full scene of 7000 x 7000 pixels takes
        1.4 GB here: `write_scene` makes it on disk.

    Returns
    -------
    scene : xarray.DataArray
        Digital numbers (band, y, x), float32, NaN outside of the footprint; reflectance is
        ``DN * scale_factor + add_offset``. Coordinates are those of pixel centers, in meters.
    truth : xarray.Dataset
        ``cover`` (class, see its ``flag_meanings``), ``water`` (0 land, 1 water) and ``cloud``
        (0 clear, 1 cloud), each (y, x) uint8 with 255 outside of the footprint. Cover and water are
        those of the ground, also under cloud. Attribute ``lake_area_km2``: area of the water pixels
        returned.

    Raises
    ------
    ValueError
        Unknown name, bad seed, or a window with no pixel in it.

    Examples
    --------
    >>> scene, truth = simulate_scene("landsat_5_small", window=(slice(100, 110), slice(80, 120)))
    >>> dict(scene.sizes)
    {'band': 6, 'y': 10, 'x': 40}
    >>> truth.cover.flag_meanings
    'clear_water muddy_water salt_flat alluvium dark_rock shrub crops'
    """
    spec = _spec(name, seed)
    rows, cols = (range(spec.size)[s] for s in window or (slice(None), slice(None)))
    if not len(rows) or not len(cols) or rows.step != 1 or cols.step != 1:
        raise ValueError(
            f"window {window} must cut a block of at least one pixel, in steps of one, "
            f"out of {spec.size} x {spec.size}"
        )
    values = np.empty((len(BANDS), len(rows), len(cols)), dtype="f4")
    truth = np.empty((3, len(rows), len(cols)), dtype="u1")
    for i, j, numbers, layers in _simulate(spec, rows, cols, seed, 512):
        at = np.s_[
            :,
            i.start - rows.start : i.stop - rows.start,
            j.start - cols.start : j.stop - cols.start,
        ]
        values[at] = np.where(numbers == NODATA, np.float32(np.nan), numbers)
        truth[at] = layers
    return _as_scene(spec, values, rows, cols), _as_truth(spec, truth, rows, cols)


def _grid(spec: SceneSpec, rows: range, cols: range) -> dict:
    from rasterio.crs import CRS as RasterioCRS

    wkt = RasterioCRS.from_string(CRS).to_wkt()
    return {
        "y": ("y", spec.corner[1] - spec.step * (np.array(rows) + 0.5), {"units": "m"}),
        "x": ("x", spec.corner[0] + spec.step * (np.array(cols) + 0.5), {"units": "m"}),
        "time": pd.Timestamp(spec.date).to_datetime64().astype("M8[ns]"),
        "spatial_ref": ((), 0, {"crs_wkt": wkt, "spatial_ref": wkt}),
    }


def _as_scene(spec: SceneSpec, values: np.ndarray, rows: range, cols: range) -> xr.DataArray:
    numbers, wavelengths = SENSORS[spec.sensor]
    return xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={
            "band": list(BANDS),
            "number": ("band", list(numbers)),
            "wavelength": ("band", list(wavelengths), {"units": "um"}),
            **_grid(spec, rows, cols),
        },
        attrs={
            "long_name": "surface reflectance (simulated)",
            "units": "digital number",
            "scale_factor": 1e-4,
            "add_offset": 0.0,
            "sensor": spec.sensor,
            "date": spec.date,
        },
    )


def _as_truth(spec: SceneSpec, layers: np.ndarray, rows: range, cols: range) -> xr.Dataset:
    meanings = {"cover": " ".join(COVER), "water": "land water", "cloud": "clear cloud"}
    truth = xr.Dataset(coords=_grid(spec, rows, cols))
    for layer, (key, names) in zip(layers, meanings.items(), strict=True):
        flags = {"flag_values": list(range(len(names.split()))), "flag_meanings": names}
        truth[key] = (("y", "x"), layer, {"_FillValue": MISSING, **flags})
    area = float(np.count_nonzero(layers[1] == 1) * spec.step**2 / 1e6)
    return truth.assign_attrs(sensor=spec.sensor, date=spec.date, lake_area_km2=area)


def write_scene(
    name: str, folder: str | os.PathLike[str], *, seed: int = 0, block: int = 512
) -> Path:
    """Write a scene and its truth as GeoTIFF files, block by block; nothing if they are there.

    The files are made in a temporary folder that takes its name when they are complete.

    Parameters
    ----------
    name : str
        A key of `SCENES`.
    folder : path
        Where the folder `name` is made.
    seed : int
        Another seed is another world. A scene of another seed that is there is replaced.
    block : int
        Pixels on a side of what is computed at a time; changes memory and time, never a value.

    Returns
    -------
    pathlib.Path
        ``folder/name``, which holds ``B<number>.tif`` for each band of the sensor (int16, surface
        reflectance x 10000, nodata -9999) and ``truth.tif`` (uint8, layers cover, water and cloud,
        nodata 255; the area of the lake is its tag ``lake_area_km2``).

    Raises
    ------
    ValueError
        Unknown name, bad seed or block.
    OSError
        The folder cannot be written.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(file.name for file in write_scene("landsat_5_small", folder).iterdir())
    ['B1.tif', 'B2.tif', 'B3.tif', 'B4.tif', 'B5.tif', 'B7.tif', 'truth.tif']
    """
    spec = _spec(name, seed)
    if block < 1:
        raise ValueError(f"block must be 1 pixel or more; found {block}")
    target = Path(folder) / name
    signature = f"generator {GENERATOR}, seed {seed}"
    if _is_complete(target, spec, signature):
        return target
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        temporary.chmod(0o755)
        _write_files(temporary, spec, seed, block, signature)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except OSError as error:
        raise OSError(f"cannot write the scene {name!r} in {target.parent}: {error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _is_complete(target: Path, spec: SceneSpec, signature: str) -> bool:
    import rasterio

    files = [target / f"B{number}.tif" for number in SENSORS[spec.sensor][0]]
    if not all(file.is_file() for file in (*files, target / "truth.tif")):
        return False
    try:
        with rasterio.open(target / "truth.tif") as truth:
            return truth.tags().get("signature") == signature
    except rasterio.errors.RasterioIOError:
        return False


def _write_files(folder: Path, spec: SceneSpec, seed: int, block: int, signature: str) -> None:
    from contextlib import ExitStack

    import rasterio
    from rasterio.windows import Window

    profile = dict(
        driver="GTiff",
        width=spec.size,
        height=spec.size,
        crs=CRS,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2,
        bigtiff="if_safer",
        transform=rasterio.Affine(spec.step, 0, spec.corner[0], 0, -spec.step, spec.corner[1]),
    )
    tags = dict(sensor=spec.sensor, date=spec.date, signature=signature)
    with ExitStack() as stack:
        bands = []
        for name, number in zip(BANDS, SENSORS[spec.sensor][0], strict=True):
            file = rasterio.open(
                folder / f"B{number}.tif", "w", count=1, dtype="int16", nodata=NODATA, **profile
            )
            bands.append(stack.enter_context(file))
            file.set_band_description(1, name)
            file.scales, file.offsets = (1e-4,), (0.0,)
            file.update_tags(**tags)
        truth = stack.enter_context(
            rasterio.open(
                folder / "truth.tif", "w", count=3, dtype="uint8", nodata=MISSING, **profile
            )
        )
        truth.descriptions = ("cover", "water", "cloud")
        pixels = 0
        everything = range(spec.size)
        for i, j, numbers, layers in _simulate(spec, everything, everything, seed, block):
            window = Window(j.start, i.start, len(j), len(i))
            for file, plane in zip(bands, numbers, strict=True):
                file.write(plane, 1, window=window)
            truth.write(layers, window=window)
            pixels += np.count_nonzero(layers[1] == 1)
        area = pixels * spec.step**2 / 1e6
        truth.update_tags(**tags, cover=" ".join(COVER), lake_area_km2=f"{area:.4f}")


def main() -> None:
    """Write the small pair, or with ``--full`` the full one."""
    import argparse

    parser = argparse.ArgumentParser(description="Write the simulated scenes.")
    parser.add_argument("--full", action="store_true", help="7000 x 7000 pixels at 30 m")
    parser.add_argument("--folder", default="data/simulated", help="default: %(default)s")
    options = parser.parse_args()
    for name in (
        ("landsat_5", "landsat_8") if options.full else ("landsat_5_small", "landsat_8_small")
    ):
        print(write_scene(name, options.folder))


if __name__ == "__main__":
    main()
