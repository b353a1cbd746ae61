"""A coastal city in one month, seen five times by Landsat 8 and 9: a series whose truth is known.

Sun and the bend of the coast are those of Karachi, Pakistan, in April; shore, creeks, fields and
city are invented. The world is a pure function of position (meters in EPSG:32642) and seed, so a
series may be computed in blocks of any size, at any step, and always shows the same place. From
date to date the tide floods sand flats, fields are harvested, soil is built up and mangrove is
cleared; the rest stays what it is and looks a little different: haze adds light, most in blue; a
higher sun leaves less shadow; metal roofs flash toward one view and not toward another; the gain is
off by up to 3 %; the sensor has noise. Reflectances are set by hand, no measurement of Karachi
stands behind them; the like occurs in another desert by the water [1]_. Digital numbers are those
of Landsat Collection 2 [2]_. `SERIES` lists what can be simulated.

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

from cookbook_utils import _rasters
from cookbook_utils._checks import require_choice, require_integer
from cookbook_utils._coast import GROUND, ROOFS, TEXTURE, Coast
from cookbook_utils._conventions import MISSING_LABEL, flags
from cookbook_utils._files import as_path
from cookbook_utils._world import uniform
from cookbook_utils.simulate import BANDS, SENSORS

GENERATOR = 1  # raised when the world changes, so that files written before are made again
CRS = "EPSG:32642"
CENTER = (299010.0, 2746980.0)  # of the city: 67.01 E, 24.82 N
SCALE, OFFSET = 2.75e-5, -0.2  # reflectance = digital number x scale + offset
NODATA = 0
SENSOR = "Landsat 8/9 OLI"
COVERS = ("sea", "mangrove", "cropland", "built_up", "bare_soil", "sand")
COVER_OF = np.array((0, 0, 1, 2, 2, 3, 3, 4, 5), dtype="u1")  # of each kind in GROUND
HAZE = np.array((1, 0.75, 0.5, 0.25, 0.08, 0.03), dtype="f4")  # in each band, blue is 1
NOISE = 0.0015  # standard deviation, reflectance
HIGH = np.float32(0.52)  # cotangent of the sun's elevation at which GROUND is given


@dataclass(frozen=True)
class Acquisition:
    """How the world looks on one date."""

    date: str
    haze: float  # reflectance in blue
    gain: float
    sun: float  # elevation, degrees
    glint: float  # part by which the brightest roof is brighter
    tide: float  # m


DATES = (
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
    step: float  # m
    tilt: float  # of the footprint against the grid, degrees
    storage: dict[str, str | int]

    @property
    def corner(self) -> tuple[float, float]:
        """x and y of the upper-left corner (m): the city lies in the middle."""
        half = self.size * self.step / 2
        return CENTER[0] - half, CENTER[1] + half


SERIES = {
    "coast_series_small": SeriesSpec(400, 120, tilt=5.936, storage=_rasters.DEFLATE),
    # Not compressed: k-means reads it anew in each iteration.
    "coast_series": SeriesSpec(7000, 30, tilt=5.936, storage={}),
}


def _block(spec: SeriesSpec, rows: range, cols: range, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digital numbers (time, band, y, x) uint16 and cover (time, y, x) uint8."""
    left, top = spec.corner[0] - CENTER[0], spec.corner[1] - CENTER[1]
    e = (left + spec.step * (np.array(cols) + 0.5))[None, :].astype("f4")
    n = (top - spec.step * (np.array(rows) + 0.5))[:, None].astype("f4")
    coast = Coast(*np.broadcast_arrays(e, n), seed, step=spec.step)
    i, j = np.meshgrid(np.array(rows), np.array(cols), indexing="ij")
    grain = 2 * uniform(i, j, seed * 100 + 90) - 1
    textures = {  # brightness: rock and dry valleys in the desert, plots in the city
        "bare_soil": coast.relief + grain,
        "built_up": 3 * coast.tone - 1.5 + 0.5 * grain,
    }
    spectra = np.array([spectrum for spectrum, _ in GROUND.values()], dtype="f4")
    shadow = np.array([shadow for _, shadow in GROUND.values()], dtype="f4")

    numbers = np.empty((len(DATES), len(BANDS), len(rows), len(cols)), dtype="u2")
    cover = np.empty((len(DATES), len(rows), len(cols)), dtype="u1")
    start, end = (np.datetime64(DATES[k].date) for k in (0, -1))
    for number, date in enumerate(DATES):
        progress = (np.datetime64(date.date) - start) / (end - start)
        kind = coast.at(tide=date.tide, progress=progress)
        cover[number] = COVER_OF[kind]
        texture = coast.patches + grain
        for name, other in textures.items():
            np.copyto(texture, other, where=cover[number] == COVERS.index(name))
        light = 1 + TEXTURE[kind] * texture
        light *= 1 - shadow[kind] * (np.float32(1 / np.tan(np.radians(date.sun))) - HIGH)
        light = np.where(kind == ROOFS, light * (1 + np.float32(date.glint) * coast.glint), light)
        for band in range(len(BANDS)):
            value = date.gain * spectra[kind, band] * light
            value += np.float32(date.haze) * HAZE[band] * coast.haze
            draw = seed * 100 + 200 + 12 * number + 2 * band
            triangle = uniform(i, j, draw) + uniform(i, j, draw + 1) - 1
            value += np.float32(NOISE * 6**0.5) * triangle
            stored = np.rint((value - np.float32(OFFSET)) / np.float32(SCALE))
            numbers[number, band] = np.clip(stored, 1, 65535)
    outside = _rasters.outside(
        rows, cols, size=spec.size, step=spec.step, corner=(left, top), tilt=spec.tilt
    )
    numbers[..., outside], cover[..., outside] = NODATA, MISSING_LABEL
    return numbers, cover


def _spec(name: str, seed: int) -> tuple[SeriesSpec, int]:
    seed = require_integer(seed, "seed", least=0, most=_rasters.MOST_SEED)
    return SERIES[require_choice(name, "name", list(SERIES))], seed


def simulate_coast(
    name: str = "coast_series_small", *, seed: int = 0, window: _rasters.Window | None = None
) -> tuple[xr.DataArray, xr.Dataset]:
    """Simulate a series of scenes and its truth in memory.

    Parameters
    ----------
    name : str, default "coast_series_small"
        A key of `SERIES`.
    seed : int
        Another seed is another world.
    window : (slice, slice), optional
        Rows and columns to simulate; all by default. The full series of 5 x 7000 x 7000 pixels
        takes 9 GB here: `write_coast` makes it on disk.

    Returns
    -------
    series : xarray.DataArray
        Digital numbers (time, band, y, x), float32, NaN outside of the footprint; reflectance is
        ``DN * scale_factor + add_offset``. Coordinates are those of pixel centers, in meters.
    truth : xarray.Dataset
        ``cover`` (class, see its ``flag_meanings``), (time, y, x) uint8 with 255 outside of the
        footprint.

    Raises
    ------
    TypeError
        If `name` is no text, `seed` no integer or `window` not two slices.
    ValueError
        If there is no such series, `seed` is out of range or the window has no pixel in it.

    Examples
    --------
    >>> series, truth = simulate_coast(window=(slice(180, 190), slice(80, 120)))
    >>> dict(series.sizes)
    {'time': 5, 'band': 6, 'y': 10, 'x': 40}
    >>> truth.cover.flag_meanings
    'sea mangrove cropland built_up bare_soil sand'
    """
    spec, seed = _spec(name, seed)
    rows, cols = _rasters.cut(spec.size, window)
    numbers, cover = _rasters.assemble(lambda i, j: _block(spec, i, j, seed), rows, cols)
    grid = _rasters.grid(rows, cols, step=spec.step, corner=spec.corner, crs=CRS)
    grid = grid.assign_coords(time=np.array([date.date for date in DATES], "datetime64[ns]"))
    series = xr.DataArray(
        np.where(numbers == NODATA, np.float32(np.nan), numbers),
        dims=("time", "band", "y", "x"),
        coords={**_rasters.band_coords(BANDS, *SENSORS["Landsat 8 OLI"]), **grid.coords},
        attrs={
            "long_name": "surface reflectance",
            "quantity": "surface reflectance",
            "units": "digital number",
            "scale_factor": SCALE,
            "add_offset": OFFSET,
            "sensor": SENSOR,
        },
        name=name,
    )
    attrs = flags("land cover", list(COVERS))
    truth = grid.assign(cover=(("time", "y", "x"), cover, attrs)).assign_attrs(sensor=SENSOR)
    return series, truth


def write_coast(
    name: str, folder: str | os.PathLike[str], *, seed: int = 0, block: int = 512
) -> Path:
    """Write a series and its truth as GeoTIFF files, block by block; nothing if they are there.

    The files are made in a temporary folder, read back, and then take their places. Other files
    in the folder are left alone. Of several processes that write the same series one does so, and
    the others wait for it.

    Parameters
    ----------
    name : str
        A key of `SERIES`.
    folder : path
        Where the folder `name` is made.
    seed : int
        Another seed is another world. A series of another seed that is there is replaced, and so
        is one with a damaged file.
    block : int
        Pixels on a side of what is computed at a time, at most 1024; changes memory and time,
        never a value.

    Returns
    -------
    pathlib.Path
        ``folder/name``, which holds ``<date>_B<number>.tif`` for each date and band (uint16,
        digital numbers, nodata 0), ``truth.tif`` (uint8, the cover, a layer for each date, nodata
        255) and ``checksums.json``, the sizes and CRC-32 checksums of these files.

    Raises
    ------
    TypeError
        If `name` or `folder` is no text or path, or `seed` or `block` no integer.
    ValueError
        If there is no such series, or `seed` or `block` is out of range.
    OSError
        If the folder cannot be written, which leaves nothing behind; if it holds a file of one of
        these names that was not written here; or if another process is still writing the series
        after two minutes.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     folder = write_coast("coast_series_small", folder)
    ...     files = sorted(file.name for file in folder.glob("*.tif"))
    >>> len(files), files[0], files[-1]
    (31, '2025-04-02_B2.tif', 'truth.tif')
    """
    spec, seed = _spec(name, seed)
    require_integer(block, "block", least=1, most=_rasters.MOST_BLOCK)
    target = as_path(folder, "folder") / name
    signature = f"generator {GENERATOR}, seed {seed}"
    write = partial(_write_files, spec=spec, seed=seed, block=block, signature=signature)
    _rasters.write_once(target, [*_names(), "truth.tif"], signature, write)
    return target


def _names() -> list[str]:
    numbers = SENSORS["Landsat 8 OLI"][0]
    return [f"{date.date}_B{number}.tif" for date in DATES for number in numbers]


def _write_files(folder: Path, spec: SeriesSpec, seed: int, block: int, signature: str) -> None:
    profile = _rasters.tiled_profile(spec.size, spec.step, spec.corner, CRS)
    with _rasters.RasterWriter(folder) as files:
        for number, name in enumerate(_names()):
            date, band = DATES[number // len(BANDS)].date, BANDS[number % len(BANDS)]
            tags = dict(sensor=SENSOR, date=date, signature=signature)
            options = profile | spec.storage | {"dtype": "uint16", "nodata": NODATA}
            file = files.create(name, tags=tags, bands=[band], **options)
            file.scales, file.offsets = (SCALE,), (OFFSET,)
        files.create(
            "truth.tif",
            tags=dict(sensor=SENSOR, signature=signature, cover=" ".join(COVERS)),
            bands=[date.date for date in DATES],
            dtype="uint8",
            nodata=MISSING_LABEL,
            **profile | _rasters.DEFLATE,
        )
        whole = _rasters.cut(spec.size, None)
        done = _rasters.compute_blocks(lambda i, j: _block(spec, i, j, seed), *whole, block)
        for i, j, (numbers, cover) in done:
            planes = numbers.reshape(-1, 1, *numbers.shape[2:])
            for name, plane in zip(_names(), planes, strict=True):
                files.write(name, i, j, plane)
            files.write("truth.tif", i, j, cover)


def main() -> None:
    """Write the small series, or with ``--full`` the full one."""
    import argparse

    parser = argparse.ArgumentParser(description="Write the simulated series.")
    parser.add_argument("--full", action="store_true", help="5 x 7000 x 7000 pixels at 30 m")
    parser.add_argument("--folder", default="data/simulated", help="default: %(default)s")
    options = parser.parse_args()
    name = "coast_series" if options.full else "coast_series_small"
    print(write_coast(name, options.folder))


if __name__ == "__main__":
    main()
