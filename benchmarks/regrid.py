"""Compare `regrid` with rasterio's reproject and scipy's map_coordinates, on bilinear weights.

A scene of six bands is brought to a grid of as many pixels, shifted by a third of a pixel. The lazy
call is computed into memory by as many threads as there are cores, and so does rasterio's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks._comparison import Call, Comparison
from benchmarks._pixels import make_scene

PACKAGES = ("dask", "numpy", "rasterio", "scipy", "xarray")
SHIFT = 1 / 3  # of a pixel


def make_input(n: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Return a scene, and an array on the grid to bring it to."""
    scene = make_scene(n)
    grid = scene.isel(band=0)
    return scene, grid.assign_coords(x=grid.x + 30 * SHIFT, y=grid.y - 30 * SHIFT)


def in_memory(n: int, folder: Path) -> Any:
    from cookbook_utils.regridding import regrid

    scene, grid = make_input(n)
    return lambda: {"result": inner(regrid(scene, grid).values)}


def lazily(n: int, folder: Path) -> Any:
    from cookbook_utils.regridding import regrid

    scene, grid = make_input(n)
    lazy = scene.chunk({"band": -1, "y": 1024, "x": 1024})
    return lambda: {"result": inner(regrid(lazy, grid).values)}


def reproject(n: int, folder: Path) -> Any:
    from rasterio.warp import Resampling, reproject

    scene, grid = make_input(n)
    source, crs = scene.values, scene.rio.crs
    transforms = {"src_transform": scene.rio.transform(), "dst_transform": grid.rio.transform()}
    options = {"resampling": Resampling.bilinear, "num_threads": os.cpu_count(),
               "src_crs": crs, "dst_crs": crs, "dst_nodata": np.nan}  # fmt: skip

    def call() -> dict:
        target = np.empty_like(source)
        reproject(source, target, **transforms, **options)
        return {"result": inner(target)}

    return call


def map_coordinates(n: int, folder: Path) -> Any:
    from scipy.ndimage import map_coordinates

    scene, _ = make_input(n)
    source = scene.values

    def call() -> dict:
        at = np.meshgrid(*(np.arange(s, dtype=np.float32) + np.float32(SHIFT)
                           for s in source.shape[1:]), indexing="ij")  # fmt: skip
        target = np.empty_like(source)
        for band, out in zip(source, target, strict=True):
            map_coordinates(band, at, output=out, order=1, cval=np.nan)
        return {"result": inner(target)}

    return call


def inner(values: np.ndarray) -> np.ndarray:
    """Leave out the border, where the calls treat missing neighbors differently."""
    return values[:, 1:-1, 1:-1]


COMPARISONS = [
    Comparison(
        "bilinear, shifted by a third of a pixel, 6 bands",
        unit="pixels",
        sizes=(250_000, 1_000_000, 4_000_000),
        full_sizes=(1_000_000, 4_000_000, 49_000_000),
        ours={"regrid": Call(in_memory), "regrid, lazy": lazily},
        peers={
            "rasterio.warp.reproject, all threads": reproject,
            "scipy.ndimage.map_coordinates": map_coordinates,
        },
        warm_up=10_000,
    )
]
