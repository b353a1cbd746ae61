"""Compare `open_scene`, which masks and scales, with rasterio's plain read of the same files.

A scene is one GeoTIFF for each of six bands, in tiles of 512 x 512 pixels, deflated. All calls end
with float32 reflectance in memory. The files were just written, so the disk takes no part.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._comparison import Comparison
from benchmarks._pixels import BANDS, write_geotiff

PACKAGES = ("dask", "odc-stac", "rasterio", "rioxarray", "xarray")
NAMES = ("blue", "green", "red", "nir", "swir1", "swir2")
SCALE, OFFSET = 2.75e-5, -0.2


def files(folder: Path) -> dict[str, str]:
    """Return the files of the scene by the name of their band."""
    return {name: str(folder / f"B{i}.tif") for i, name in enumerate(NAMES, start=1)}


def ours(n: int, folder: Path) -> Any:
    from cookbook_utils.datasets import open_scene

    def call() -> dict:
        scene = open_scene(files(folder), date="2020-06-01", scale=SCALE, offset=OFFSET)
        return {"result": scene.transpose("band", "y", "x").values}

    return call


def read_band(path: str) -> np.ndarray:
    import rasterio

    with rasterio.open(path) as file:
        values = file.read(1)
    return np.where(
        values == 0, np.float32(np.nan), values * np.float32(SCALE) + np.float32(OFFSET)
    )


def one_thread(n: int, folder: Path) -> Any:
    return lambda: {"result": np.stack([read_band(path) for path in files(folder).values()])}


def threads(n: int, folder: Path) -> Any:
    def call() -> dict:
        with ThreadPoolExecutor() as pool:
            return {"result": np.stack(list(pool.map(read_band, files(folder).values())))}

    return call


def with_rioxarray(n: int, folder: Path) -> Any:
    import rioxarray

    def call() -> dict:
        bands = [rioxarray.open_rasterio(path, masked=True) for path in files(folder).values()]
        values = np.concatenate([band.values for band in bands])
        return {"result": values * np.float32(SCALE) + np.float32(OFFSET)}

    return call


COMPARISONS = [
    Comparison(
        f"{BANDS} GeoTIFFs to reflectance in memory",
        unit="pixels",
        sizes=(250_000, 1_000_000, 4_000_000),
        full_sizes=(1_000_000, 4_000_000, 49_000_000),
        ours={"open_scene": ours},
        peers={
            "rasterio, read and scale, one thread": one_thread,
            "rasterio, read and scale, a thread for each core": threads,
            "rioxarray.open_rasterio, masked": with_rioxarray,
        },
        warm_up=10_000,
        write=write_geotiff,
    )
]
