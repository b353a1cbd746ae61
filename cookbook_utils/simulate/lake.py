"""A desert basin with a lake, seen by two Landsat sensors: scenes whose truth is known.

The world is a pure function of position (meters in EPSG:32611) and random state. A scene can
therefore be computed in blocks of any size and with pixels of any width, and always shows the same
place. Elevation is fractal gradient noise [1]_ on ranges and basins that run north; the central
basin is closed and holds a lake whose shoreline is a contour of the terrain. Spectra follow pixels
of the real place [2]_, and are darker where the shore is wet [3]_. `SCENES` lists the scenes.

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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_integer
from cookbook_utils._conventions.labels import NODATA_LABEL, flags
from cookbook_utils._files import as_path
from cookbook_utils.simulate import _rasters
from cookbook_utils.simulate._landsat import BANDS, SENSORS, scene_of
from cookbook_utils.simulate._noise import triangular
from cookbook_utils.simulate._terrain import CLOUD, SPECTRA, clouds, render_ground

GENERATOR = 1  # increased when values change: files with another number are made again
CRS = "EPSG:32611"
CENTER = (351453.0, 4284227.0)  # of the lake basin: 118.7081 W, 38.6942 N
SCALE = 1e-4  # reflectance = digital number x scale
NODATA = -9999
COVERS = tuple(SPECTRA)  # the classes of the truth
_CLOUD_HEIGHT = 1800  # m above the ground
_LEAST_OPACITY = 0.1  # from which on a cloud counts as one


@dataclass(frozen=True)
class SceneSpec:
    """The grid, the date and the sensor of a scene."""

    sensor: str
    date: str
    size: int  # pixels on a side
    step: float  # width of a pixel, m
    corner: tuple[float, float]  # x, y of the upper-left corner, m
    level: float  # elevation of the lake's surface, m
    gain: float  # of the reflectance: calibration and haze differ between dates
    offset: float
    noise: float  # standard deviation, reflectance
    sun: tuple[float, float]  # azimuth and elevation, degrees
    tilt: float  # of the footprint against the grid, degrees

    @property
    def grid(self) -> _rasters.Grid:
        return _rasters.Grid(CRS, CENTER, self.corner, self.size, self.step, self.tilt)


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
"""The scenes that can be simulated: name to grid, date and sensor."""


def simulate_scene(
    name: str, *, random_state: int = 0, window: tuple[slice, slice] | None = None
) -> tuple[xr.DataArray, xr.Dataset]:
    """Simulate a scene of the lake and its truth in memory.

    Use `write_scene` for scenes of 7000 x 7000 pixels, which take 1.4 GB of memory here.

    Parameters
    ----------
    name : str
        A key of `SCENES`.
    random_state : int, default 0
        Seed of the world, from 0 to 2**24 - 1. Scenes with the same seed show the same place.
    window : tuple of slice, optional
        Rows and columns to simulate; all of them by default.

    Returns
    -------
    scene : xarray.DataArray
        Digital numbers (band, y, x), float32, NaN outside of the footprint; reflectance is
        ``DN * scale_factor + add_offset``. Coordinates are those of pixel centers, in meters.
    truth : xarray.Dataset
        Classes ``cover`` (named by its ``flag_meanings``), ``water`` (0 land, 1 water) and
        ``cloud`` (0 clear, 1 cloud), (y, x) uint8 with nodata 255 outside of the footprint. Cover
        and water are those of the ground, under clouds too. The attribute ``lake_area_km2`` is the
        area of the water pixels.

    Raises
    ------
    TypeError
        If `name` is not a string, `random_state` not an integer or `window` not two slices.
    ValueError
        If there is no such scene, `random_state` is out of range or `window` holds no pixel.

    See Also
    --------
    write_scene : Write a scene to GeoTIFF files.

    Examples
    --------
    >>> scene, truth = simulate_scene("landsat_5_small", window=(slice(100, 110), slice(80, 120)))
    >>> dict(scene.sizes)
    {'band': 6, 'y': 10, 'x': 40}
    >>> truth.cover.flag_meanings
    'clear_water muddy_water salt_flat alluvium dark_rock shrub crops'
    """
    spec, seed = _rasters.require_world(SCENES, name, random_state)
    rows, cols = _rasters.cut(spec.size, window)
    numbers, layers = _rasters.assemble(lambda i, j: _block(spec, i, j, seed), rows, cols)
    grid = spec.grid.coords(rows, cols).assign_coords(time=np.datetime64(spec.date, "ns"))
    scene = scene_of(
        numbers,
        grid,
        name=name,
        nodata=NODATA,
        scale=SCALE,
        offset=0.0,
        sensor=spec.sensor,
        date=spec.date,
    )
    return scene, _truth_of(spec, layers, grid)


def write_scene(
    folder: str | os.PathLike[str], name: str, *, random_state: int = 0, block: int = 512
) -> Path:
    """Write a scene of the lake and its truth to GeoTIFF files, unless they are there.

    The scene is computed block by block, so that memory does not depend on its size. Files are
    written to a temporary folder, verified and then moved to their place; other files in the folder
    are kept. If several processes write the same scene, one does so and the others wait.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder in which the folder `name` is created.
    name : str
        A key of `SCENES`.
    random_state : int, default 0
        Seed of the world, from 0 to 2**24 - 1. A scene on disk that has another seed or a damaged
        file is replaced.
    block : int, default 512
        Side of a block in pixels, 32 to 1024. It changes memory and time, but no value.

    Returns
    -------
    pathlib.Path
        The folder ``folder/name``. It holds ``B<number>.tif`` for each band of the sensor (int16,
        surface reflectance x 10000, nodata -9999), ``truth.tif`` (uint8, bands cover, water and
        cloud, nodata 255; its tag ``lake_area_km2`` is the area of the lake) and
        ``checksums.json`` with the size and the CRC-32 checksum of each of these files.

    Raises
    ------
    TypeError
        If `folder` is not a path, `name` not a string, or `random_state` or `block` not an integer.
    ValueError
        If there is no such scene, or `random_state` or `block` is out of range.
    OSError
        If the folder cannot be written, which leaves no file behind; if it holds a file of one of
        these names that was not simulated; or if another process is still writing the scene after
        two minutes.

    See Also
    --------
    simulate_scene : Simulate a scene in memory.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(file.name for file in write_scene(folder, "landsat_5_small").glob("*.tif"))
    ['B1.tif', 'B2.tif', 'B3.tif', 'B4.tif', 'B5.tif', 'B7.tif', 'truth.tif']
    """
    spec, seed = _rasters.require_world(SCENES, name, random_state)
    require_integer(block, "block", least=_rasters.MIN_BLOCK, most=_rasters.MAX_BLOCK)
    target = as_path(folder, "folder") / name
    signature = f"generator {GENERATOR}, seed {seed}"
    write = partial(_write_files, spec=spec, seed=seed, block=block, signature=signature)
    _rasters.write_once(target, [*_band_files(spec), "truth.tif"], signature, write)
    return target


class Observation(NamedTuple):
    """What a sensor observes of a block of pixels, and the truth."""

    reflectance: np.ndarray  # (band, y, x)
    cover: np.ndarray  # (y, x), as the following
    water: np.ndarray
    cloud: np.ndarray  # whether there is one
    shadow: np.ndarray  # whether there is one of a cloud
    outside: np.ndarray  # of the footprint


def observe(spec: SceneSpec, rows: range, cols: range, seed: int) -> Observation:
    """Compute the reflectance that a sensor observes, and the truth."""
    margin = range(rows.start - 1, rows.stop + 1), range(cols.start - 1, cols.stop + 1)
    e, n = spec.grid.positions(*margin)
    reflectance, cover, water = render_ground(
        e, n, seed, step=spec.step, level=spec.level, sun=spec.sun
    )
    e, n = e[:, 1:-1], n[1:-1]
    cloud, shade = _add_clouds(reflectance, spec, e, n, seed)
    observed = spec.gain * reflectance + spec.offset
    _add_noise(observed, spec, rows, cols, seed)
    is_there = (opacity > _LEAST_OPACITY for opacity in (cloud, shade))
    return Observation(observed, cover, water, *is_there, spec.grid.outside(rows, cols))


def _block(spec: SceneSpec, rows: range, cols: range, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute digital numbers (band, y, x) int16 and truth (cover, water, cloud; y, x) uint8."""
    seen = observe(spec, rows, cols, seed)
    numbers = np.clip(np.rint(seen.reflectance * 10000), 0, 16000).astype("i2")
    truth = np.stack([seen.cover, seen.water, seen.cloud.astype("u1")])
    numbers[:, seen.outside], truth[:, seen.outside] = NODATA, NODATA_LABEL
    return numbers, truth


def _add_clouds(
    reflectance: np.ndarray, spec: SceneSpec, e: np.ndarray, n: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Add clouds and their shadows to the reflectance, in place, and return their opacities."""
    azimuth, elevation = np.radians(spec.sun)
    reach = np.float32(_CLOUD_HEIGHT / np.tan(elevation))  # from a shadow to its cloud
    sunward = e + reach * np.float32(np.sin(azimuth)), n + reach * np.float32(np.cos(azimuth))
    year = int(spec.date[:4])
    shade = clouds(*sunward, seed, step=spec.step, year=year)
    reflectance *= 1 - 0.35 * shade
    cloud = clouds(e, n, seed, step=spec.step, year=year)
    reflectance += cloud * (CLOUD[:, None, None] - reflectance)
    return cloud, shade


def _add_noise(observed: np.ndarray, spec: SceneSpec, rows: range, cols: range, seed: int) -> None:
    """Add the noise of the sensor, whose distribution is triangular, in place."""
    i, j = np.meshgrid(np.array(cols), np.array(rows))
    first = seed * 100 + 60 + int(spec.date[:4])
    for band, plane in enumerate(observed):
        plane += np.float32(spec.noise * 6**0.5) * triangular(i, j, first + 2 * band)


def _truth_of(spec: SceneSpec, layers: np.ndarray, grid: xr.Dataset) -> xr.Dataset:
    cover, water, cloud = layers
    return grid.assign(
        cover=(("y", "x"), cover, flags("land cover", COVERS)),
        water=(("y", "x"), water, flags("water", ["land", "water"])),
        cloud=(("y", "x"), cloud, flags("cloud", ["clear", "cloud"])),
    ).assign_attrs(
        sensor=spec.sensor,
        date=spec.date,
        lake_area_km2=float(np.count_nonzero(water == 1) * spec.step**2 / 1e6),
    )


def _band_files(spec: SceneSpec) -> list[str]:
    return [f"B{number}.tif" for number in SENSORS[spec.sensor].numbers]


def _write_files(folder: Path, spec: SceneSpec, seed: int, block: int, signature: str) -> None:
    """Compute a scene block by block and write its files into a folder."""
    profile = spec.grid.profile() | _rasters.DEFLATE
    tags = {"sensor": spec.sensor, "date": spec.date, "signature": signature}
    names = _band_files(spec)
    with _rasters.RasterWriter(folder) as files:
        for band, name in zip(BANDS, names, strict=True):
            options = profile | {"dtype": "int16", "nodata": NODATA}
            file = files.create(name, tags=tags, bands=[band], **options)
            file.scales, file.offsets = (SCALE,), (0.0,)
        options = profile | {"dtype": "uint8", "nodata": NODATA_LABEL}
        files.create("truth.tif", tags=tags, bands=["cover", "water", "cloud"], **options)
        n_water = 0
        everything = _rasters.cut(spec.size, None)
        done = _rasters.compute_blocks(lambda i, j: _block(spec, i, j, seed), *everything, block)
        for i, j, (numbers, layers) in done:
            for name, plane in zip(names, numbers, strict=True):
                files.write(name, i, j, plane[np.newaxis])
            files.write("truth.tif", i, j, layers)
            n_water += np.count_nonzero(layers[1] == 1)
        area = n_water * spec.step**2 / 1e6
        files.tag("truth.tif", cover=" ".join(COVERS), lake_area_km2=f"{area:.4f}")
