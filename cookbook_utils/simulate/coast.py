"""A coastal city in one month, seen five times by Landsat 8 and 9: a series whose truth is known.

The elevation of the sun and the bend of the coast are those of Karachi, Pakistan, in April; shore,
creeks, fields and city are invented. The world is a pure function of position (meters in
EPSG:32642) and random state. A series can therefore be computed in blocks of any size and with
pixels of any width, and always shows the same place.

From date to date the tide floods sand flats, fields are harvested, soil is built up and mangrove is
cleared. Ground that does not change still looks a little different: haze adds light, most in the
blue band; a higher sun leaves less shadow; metal roofs reflect more light toward some views than
toward others; the gain is off by up to 3 %; the sensor has noise.

Reflectances are set by hand and follow no measurement of Karachi, but each is close to that of a
pixel in another desert by the water [1]_. Digital numbers are scaled as in Landsat Collection 2
[2]_. `SERIES` lists the series.

References
----------
.. [1] Landsat 5 and Landsat 8 surface reflectance of path 42, row 33 (Walker Lake, Nevada),
   1988-10-22 and 2017-10-22, U.S. Geological Survey.
.. [2] U.S. Geological Survey, Landsat Collection 2 Level-2 Science Product Guide.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_integer
from cookbook_utils._conventions.labels import NODATA_LABEL, flags
from cookbook_utils._files import as_path
from cookbook_utils.simulate import _rasters
from cookbook_utils.simulate._coastline import GROUND, ROOFS, Coast
from cookbook_utils.simulate._landsat import BANDS, SENSORS, scene_of
from cookbook_utils.simulate._noise import triangular, uniform

GENERATOR = 1  # increased when values change: files with another number are made again
CRS = "EPSG:32642"
CENTER = (299010.0, 2746980.0)  # of the city: 67.01 E, 24.82 N
SCALE, OFFSET = 2.75e-5, -0.2  # reflectance = digital number x scale + offset
NODATA = 0
SENSOR = "Landsat 8/9 OLI"
COVERS = ("sea", "mangrove", "cropland", "built_up", "bare_soil", "sand")  # classes of the truth
_COVER_OF = np.array((0, 0, 1, 2, 2, 3, 3, 4, 5), dtype="u1")  # of each kind in GROUND
_TEXTURE = np.array((0.03, 0.04, 0.05, 0.05, 0.05, 0.07, 0.08, 0.04, 0.04), dtype="f4")
_SPECTRA = np.array([spectrum for spectrum, _ in GROUND.values()], dtype="f4")
_SHADOW = np.array([loss for _, loss in GROUND.values()], dtype="f4")
_COTANGENT = np.float32(0.52)  # of the sun's elevation for which _SPECTRA are given
_HAZE = np.array((1, 0.75, 0.5, 0.25, 0.08, 0.03), dtype="f4")  # in each band, relative to blue
_NOISE = 0.0015  # standard deviation, reflectance


@dataclass(frozen=True)
class Acquisition:
    """The conditions on one date."""

    date: str
    haze: float  # reflectance in the blue band
    gain: float
    sun: float  # elevation, degrees
    glint: float  # increase in reflectance of the brightest roof, relative
    tide: float  # m


ACQUISITIONS = (
    Acquisition("2025-04-02", haze=0.006, gain=1.000, sun=59.6, glint=0.03, tide=-0.50),
    Acquisition("2025-04-10", haze=0.015, gain=0.985, sun=61.6, glint=0.24, tide=0.35),
    Acquisition("2025-04-17", haze=0.010, gain=1.015, sun=63.1, glint=0.09, tide=0.10),
    Acquisition("2025-04-18", haze=0.003, gain=1.020, sun=63.4, glint=0.15, tide=-0.20),
    Acquisition("2025-04-26", haze=0.018, gain=0.975, sun=65.1, glint=0.30, tide=0.60),
)


@dataclass(frozen=True)
class SeriesSpec:
    """The grid of a series, and how its files are stored."""

    size: int  # pixels on a side
    step: float  # width of a pixel, m
    tilt: float  # of the footprint against the grid, degrees
    storage: dict[str, str | int]

    @property
    def corner(self) -> tuple[float, float]:
        """x and y of the upper-left corner (m) of a grid with the city in its middle."""
        half = self.size * self.step / 2
        return CENTER[0] - half, CENTER[1] + half

    @property
    def grid(self) -> _rasters.Grid:
        return _rasters.Grid(CRS, CENTER, self.corner, self.size, self.step, self.tilt)


SERIES = {
    "coast_series_small": SeriesSpec(400, 120, tilt=5.936, storage=_rasters.DEFLATE),
    # Not compressed, because k-means reads the series in each iteration.
    "coast_series": SeriesSpec(7000, 30, tilt=5.936, storage={}),
}
"""The series that can be simulated: name to grid and storage."""


def simulate_coast(
    name: str = "coast_series_small",
    *,
    random_state: int = 0,
    window: tuple[slice, slice] | None = None,
) -> tuple[xr.DataArray, xr.Dataset]:
    """Simulate a series of scenes of the coast and its truth in memory.

    Use `write_coast` for the series of 5 x 7000 x 7000 pixels, which takes 9 GB of memory here.

    Parameters
    ----------
    name : str, default "coast_series_small"
        A key of `SERIES`.
    random_state : int, default 0
        Seed of the world, from 0 to 2**24 - 1. Series with the same seed show the same place.
    window : tuple of slice, optional
        Rows and columns to simulate; all of them by default.

    Returns
    -------
    series : xarray.DataArray
        Digital numbers (time, band, y, x), float32, NaN outside of the footprint; reflectance is
        ``DN * scale_factor + add_offset``. Coordinates are those of pixel centers, in meters.
    truth : xarray.Dataset
        Classes ``cover`` (named by its ``flag_meanings``), (time, y, x) uint8 with nodata 255
        outside of the footprint.

    Raises
    ------
    TypeError
        If `name` is not a string, `random_state` not an integer or `window` not two slices.
    ValueError
        If there is no such series, `random_state` is out of range or `window` holds no pixel.

    See Also
    --------
    write_coast : Write a series to GeoTIFF files.

    Examples
    --------
    >>> series, truth = simulate_coast(window=(slice(180, 190), slice(80, 120)))
    >>> dict(series.sizes)
    {'time': 5, 'band': 6, 'y': 10, 'x': 40}
    >>> truth.cover.flag_meanings
    'sea mangrove cropland built_up bare_soil sand'
    """
    spec, seed = _rasters.require_world(SERIES, name, random_state)
    rows, cols = _rasters.cut(spec.size, window)
    numbers, cover = _rasters.assemble(lambda i, j: _block(spec, i, j, seed), rows, cols)
    time = np.array([acquisition.date for acquisition in ACQUISITIONS], "datetime64[ns]")
    grid = spec.grid.coords(rows, cols).assign_coords(time=time)
    series = scene_of(
        numbers, grid, name=name, nodata=NODATA, scale=SCALE, offset=OFFSET, sensor=SENSOR
    )
    attrs = flags("land cover", COVERS)
    truth = grid.assign(cover=(("time", "y", "x"), cover, attrs)).assign_attrs(sensor=SENSOR)
    return series, truth


def write_coast(
    folder: str | os.PathLike[str], name: str, *, random_state: int = 0, block: int = 512
) -> Path:
    """Write a series of scenes of the coast and its truth to GeoTIFF files, unless they are there.

    The series is computed block by block, so that memory does not depend on its size. Files are
    written to a temporary folder, verified and then moved to their place; other files in the folder
    are kept. If several processes write the same series, one does so and the others wait.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder in which the folder `name` is created.
    name : str
        A key of `SERIES`.
    random_state : int, default 0
        Seed of the world, from 0 to 2**24 - 1. A series on disk that has another seed or a damaged
        file is replaced.
    block : int, default 512
        Side of a block in pixels, 32 to 1024. It changes memory and time, but no value.

    Returns
    -------
    pathlib.Path
        The folder ``folder/name``. It holds ``<date>_B<number>.tif`` for each date and band
        (uint16, digital numbers, nodata 0), ``truth.tif`` (uint8, the cover, a band for each date,
        nodata 255) and ``checksums.json`` with the size and the CRC-32 checksum of each of these
        files.

    Raises
    ------
    TypeError
        If `folder` is not a path, `name` not a string, or `random_state` or `block` not an integer.
    ValueError
        If there is no such series, or `random_state` or `block` is out of range.
    OSError
        If the folder cannot be written, which leaves no file behind; if it holds a file of one of
        these names that was not simulated; or if another process is still writing the series after
        two minutes.

    See Also
    --------
    simulate_coast : Simulate a series in memory.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     folder = write_coast(folder, "coast_series_small")
    ...     files = sorted(file.name for file in folder.glob("*.tif"))
    >>> len(files), files[0], files[-1]
    (31, '2025-04-02_B2.tif', 'truth.tif')
    """
    spec, seed = _rasters.require_world(SERIES, name, random_state)
    require_integer(block, "block", least=_rasters.MIN_BLOCK, most=_rasters.MAX_BLOCK)
    target = as_path(folder, "folder") / name
    signature = f"generator {GENERATOR}, seed {seed}"
    files = [*(file for file, _, _ in _band_files()), "truth.tif"]
    write = partial(_write_files, spec=spec, seed=seed, block=block, signature=signature)
    _rasters.write_once(target, files, signature, write)
    return target


def _block(spec: SeriesSpec, rows: range, cols: range, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute digital numbers (time, band, y, x) uint16 and cover (time, y, x) uint8."""
    e, n = spec.grid.positions(rows, cols)
    coast = Coast(*np.broadcast_arrays(e, n), seed, step=spec.step)
    i, j = np.meshgrid(np.array(rows), np.array(cols), indexing="ij")
    grain = 2 * uniform(i, j, seed * 100 + 90) - 1
    # The desert has rock and dry valleys, the city plots of different brightness.
    textures = coast.patches + grain, coast.relief + grain, 3 * coast.tone - 1.5 + 0.5 * grain

    numbers = np.empty((len(ACQUISITIONS), len(BANDS), len(rows), len(cols)), dtype="u2")
    cover = np.empty((len(ACQUISITIONS), len(rows), len(cols)), dtype="u1")
    start, end = (np.datetime64(ACQUISITIONS[k].date) for k in (0, -1))
    for number, acquisition in enumerate(ACQUISITIONS):
        progress = (np.datetime64(acquisition.date) - start) / (end - start)
        kind = coast.kinds_at(tide=acquisition.tide, progress=progress)
        cover[number] = _COVER_OF[kind]
        light = _light(coast, acquisition, kind, cover[number], textures)
        for band in range(len(BANDS)):
            value = acquisition.gain * _SPECTRA[kind, band] * light
            value += np.float32(acquisition.haze) * _HAZE[band] * coast.haze
            noise = triangular(i, j, seed * 100 + 200 + 12 * number + 2 * band)
            value += np.float32(_NOISE * 6**0.5) * noise
            stored = np.rint((value - np.float32(OFFSET)) / np.float32(SCALE))
            numbers[number, band] = np.clip(stored, 1, 65535)
    outside = spec.grid.outside(rows, cols)
    numbers[..., outside], cover[..., outside] = NODATA, NODATA_LABEL
    return numbers, cover


def _light(
    coast: Coast,
    acquisition: Acquisition,
    kind: np.ndarray,
    cover: np.ndarray,
    textures: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """Compute the factor by which each pixel is brighter than its spectrum on one date."""
    common, desert, city = textures
    texture = np.where(cover == COVERS.index("bare_soil"), desert, common)
    texture = np.where(cover == COVERS.index("built_up"), city, texture)
    light = 1 + _TEXTURE[kind] * texture
    light *= 1 - _SHADOW[kind] * (np.float32(1 / np.tan(np.radians(acquisition.sun))) - _COTANGENT)
    return np.where(kind == ROOFS, light * (1 + np.float32(acquisition.glint) * coast.glint), light)


def _band_files() -> list[tuple[str, str, str]]:
    """Return the file name, the date and the band of each image."""
    return [
        (f"{acquisition.date}_B{number}.tif", acquisition.date, band)
        for acquisition in ACQUISITIONS
        for number, band in zip(SENSORS[SENSOR].numbers, BANDS, strict=True)
    ]


def _write_files(folder: Path, spec: SeriesSpec, seed: int, block: int, signature: str) -> None:
    """Compute a series block by block and write its files into a folder."""
    profile = spec.grid.profile()
    with _rasters.RasterWriter(folder) as files:
        for name, date, band in _band_files():
            tags = {"sensor": SENSOR, "date": date, "signature": signature}
            options = profile | spec.storage | {"dtype": "uint16", "nodata": NODATA}
            file = files.create(name, tags=tags, bands=[band], **options)
            file.scales, file.offsets = (SCALE,), (OFFSET,)
        tags = {"sensor": SENSOR, "signature": signature, "cover": " ".join(COVERS)}
        options = profile | _rasters.DEFLATE | {"dtype": "uint8", "nodata": NODATA_LABEL}
        files.create(
            "truth.tif",
            tags=tags,
            bands=[acquisition.date for acquisition in ACQUISITIONS],
            **options,
        )
        everything = _rasters.cut(spec.size, None)
        done = _rasters.compute_blocks(lambda i, j: _block(spec, i, j, seed), *everything, block)
        for i, j, (numbers, cover) in done:
            planes = numbers.reshape(-1, 1, *numbers.shape[2:])
            for (name, _, _), plane in zip(_band_files(), planes, strict=True):
                files.write(name, i, j, plane)
            files.write("truth.tif", i, j, cover)
