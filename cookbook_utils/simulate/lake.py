"""A desert basin with a lake, seen by two Landsat sensors: scenes whose truth is known.

The world is a pure function of position (meters in EPSG:32611) and seed, so a scene may be computed
in blocks of any size, at any step, and always shows the same place. Elevation is fractal gradient
noise [1]_ on north-south ranges and basins; the central basin is closed and holds a lake whose
shoreline is a contour of the terrain. Reflectances follow pixels of the real place [2]_, darker
where the shore is wet [3]_. `SCENES` lists what can be simulated.

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

import numpy as np
import xarray as xr

from cookbook_utils import _rasters
from cookbook_utils._checks import require_choice, require_integer
from cookbook_utils._conventions import MISSING_LABEL, flags
from cookbook_utils._files import as_path
from cookbook_utils._world import CLOUD, COVER, clouds, surface, uniform

GENERATOR = 1  # raised when the world changes, so that files written before are made again
CRS = "EPSG:32611"
CENTER = (351453.0, 4284227.0)  # of the lake basin: 118.7081 W, 38.6942 N
NODATA = -9999
BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
SENSORS = {  # band numbers and center wavelengths (micrometers)
    "Landsat 5 TM": ((1, 2, 3, 4, 5, 7), (0.485, 0.56, 0.66, 0.83, 1.65, 2.215)),
    "Landsat 8 OLI": ((2, 3, 4, 5, 6, 7), (0.482, 0.561, 0.655, 0.865, 1.609, 2.201)),
}


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


def _block(spec: SceneSpec, rows: range, cols: range, seed: int):
    """Digital numbers (band, y, x) int16 and truth (cover, water, cloud; y, x) uint8."""
    left, top = spec.corner[0] - CENTER[0], spec.corner[1] - CENTER[1]
    e = (left + spec.step * (np.arange(cols.start - 1, cols.stop + 1) + 0.5))[None, :].astype("f4")
    n = (top - spec.step * (np.arange(rows.start - 1, rows.stop + 1) + 0.5))[:, None].astype("f4")
    value, cover, water = surface(e, n, seed, step=spec.step, level=spec.level, sun=spec.sun)
    e, n = e[:, 1:-1], n[1:-1]

    azimuth, elevation = np.radians(spec.sun)
    reach = np.float32(1800 / np.tan(elevation))  # from a cloud 1800 m up to its shadow
    shift = reach * np.float32(np.sin(azimuth)), reach * np.float32(np.cos(azimuth))
    year = int(spec.date[:4])
    value *= 1 - 0.35 * clouds(e + shift[0], n + shift[1], seed, step=spec.step, year=year)
    cloud = clouds(e, n, seed, step=spec.step, year=year)
    value += cloud * (CLOUD[:, None, None] - value)

    value = spec.gain * value + spec.offset
    i, j = np.meshgrid(np.arange(cols.start, cols.stop), np.arange(rows.start, rows.stop))
    for band, plane in enumerate(value):
        u, v = (uniform(i, j, seed * 100 + 60 + 2 * band + k + year) for k in (0, 1))
        plane += np.float32(spec.noise * 6**0.5) * (u + v - 1)  # triangular
    numbers = np.clip(np.rint(value * 10000), 0, 16000).astype("i2")
    truth = np.stack([cover, water, (cloud > 0.1).astype("u1")])

    outside = _rasters.outside(
        rows, cols, size=spec.size, step=spec.step, corner=(left, top), tilt=spec.tilt
    )
    numbers[:, outside], truth[:, outside] = NODATA, MISSING_LABEL
    return numbers, truth


def _spec(name: str, seed: int) -> tuple[SceneSpec, int]:
    seed = require_integer(seed, "seed", least=0, most=_rasters.MOST_SEED)
    return SCENES[require_choice(name, "name", list(SCENES))], seed


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
    TypeError
        If `name` is no text, `seed` no integer or `window` not two slices.
    ValueError
        If there is no such scene, `seed` is out of range or the window has no pixel in it.

    Examples
    --------
    >>> scene, truth = simulate_scene("landsat_5_small", window=(slice(100, 110), slice(80, 120)))
    >>> dict(scene.sizes)
    {'band': 6, 'y': 10, 'x': 40}
    >>> truth.cover.flag_meanings
    'clear_water muddy_water salt_flat alluvium dark_rock shrub crops'
    """
    spec, seed = _spec(name, seed)
    rows, cols = _rasters.cut(spec.size, window)
    numbers, layers = _rasters.assemble(lambda i, j: _block(spec, i, j, seed), rows, cols)
    values = np.where(numbers == NODATA, np.float32(np.nan), numbers)
    grid = _rasters.grid(rows, cols, step=spec.step, corner=spec.corner, crs=CRS)
    grid = grid.assign_coords(time=np.datetime64(spec.date, "ns"))
    return _as_scene(spec, values, grid).rename(name), _as_truth(spec, layers, grid)


def _as_scene(spec: SceneSpec, values: np.ndarray, grid: xr.Dataset) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={**_rasters.band_coords(BANDS, *SENSORS[spec.sensor]), **grid.coords},
        attrs={
            "long_name": "surface reflectance",
            "quantity": "surface reflectance",
            "units": "digital number",
            "scale_factor": 1e-4,
            "add_offset": 0.0,
            "sensor": spec.sensor,
            "date": spec.date,
        },
    )


def _as_truth(spec: SceneSpec, layers: np.ndarray, grid: xr.Dataset) -> xr.Dataset:
    maps = {
        "cover": ("land cover", list(COVER)),
        "water": ("water", ["land", "water"]),
        "cloud": ("cloud", ["clear", "cloud"]),
    }
    truth = {
        key: (
            ("y", "x"),
            layer,
            flags(long_name, names),
        )
        for layer, (key, (long_name, names)) in zip(layers, maps.items(), strict=True)
    }
    area = float(np.count_nonzero(layers[1] == 1) * spec.step**2 / 1e6)
    return grid.assign(truth).assign_attrs(sensor=spec.sensor, date=spec.date, lake_area_km2=area)


def write_scene(
    name: str, folder: str | os.PathLike[str], *, seed: int = 0, block: int = 512
) -> Path:
    """Write a scene and its truth as GeoTIFF files, block by block; nothing if they are there.

    The files are made in a temporary folder, read back, and then take their places. Other files
    in the folder are left alone. Of several processes that write the same scene one does so, and
    the others wait for it.

    Parameters
    ----------
    name : str
        A key of `SCENES`.
    folder : path
        Where the folder `name` is made.
    seed : int
        Another seed is another world. A scene of another seed that is there is replaced, and so is
        one with a damaged file.
    block : int
        Pixels on a side of what is computed at a time, at most 1024; changes memory and time,
        never a value.

    Returns
    -------
    pathlib.Path
        ``folder/name``, which holds ``B<number>.tif`` for each band of the sensor (int16, surface
        reflectance x 10000, nodata -9999), ``truth.tif`` (uint8, layers cover, water and cloud,
        nodata 255; the area of the lake is its tag ``lake_area_km2``) and ``checksums.json``, the
        sizes and CRC-32 checksums of these files.

    Raises
    ------
    TypeError
        If `name` or `folder` is no text or path, or `seed` or `block` no integer.
    ValueError
        If there is no such scene, or `seed` or `block` is out of range.
    OSError
        If the folder cannot be written, which leaves nothing behind; if it holds a file of one of
        these names that was not written here; or if another process is still writing the scene
        after two minutes.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(file.name for file in write_scene("landsat_5_small", folder).glob("*.tif"))
    ['B1.tif', 'B2.tif', 'B3.tif', 'B4.tif', 'B5.tif', 'B7.tif', 'truth.tif']
    """
    spec, seed = _spec(name, seed)
    require_integer(block, "block", least=1, most=_rasters.MOST_BLOCK)
    target = as_path(folder, "folder") / name
    signature = f"generator {GENERATOR}, seed {seed}"
    files = [*(f"B{number}.tif" for number in SENSORS[spec.sensor][0]), "truth.tif"]
    write = partial(_write_files, spec=spec, seed=seed, block=block, signature=signature)
    _rasters.write_once(target, files, signature, write)
    return target


def _write_files(folder: Path, spec: SceneSpec, seed: int, block: int, signature: str) -> None:
    profile = _rasters.tiled_profile(spec.size, spec.step, spec.corner, CRS) | _rasters.DEFLATE
    tags = dict(sensor=spec.sensor, date=spec.date, signature=signature)
    names = [f"B{number}.tif" for number in SENSORS[spec.sensor][0]]
    with _rasters.RasterWriter(folder) as files:
        for band, name in zip(BANDS, names, strict=True):
            file = files.create(
                name, tags=tags, bands=[band], dtype="int16", nodata=NODATA, **profile
            )
            file.scales, file.offsets = (1e-4,), (0.0,)
        files.create(
            "truth.tif",
            tags=tags,
            bands=["cover", "water", "cloud"],
            dtype="uint8",
            nodata=MISSING_LABEL,
            **profile,
        )
        pixels = 0
        whole = _rasters.cut(spec.size, None)
        done = _rasters.compute_blocks(lambda i, j: _block(spec, i, j, seed), *whole, block)
        for i, j, (numbers, layers) in done:
            for name, plane in zip(names, numbers, strict=True):
                files.write(name, i, j, plane[np.newaxis])
            files.write("truth.tif", i, j, layers)
            pixels += np.count_nonzero(layers[1] == 1)
        area = pixels * spec.step**2 / 1e6
        files.tag("truth.tif", cover=" ".join(COVER), lake_area_km2=f"{area:.4f}")


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
