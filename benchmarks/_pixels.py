"""Pixels of classes that overlap, from memory and from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

BANDS, CLASSES, SEED = 6, 12, 0


def make_pixels(n: int, bands: int = BANDS, classes: int = CLASSES) -> np.ndarray:
    """Return pixels (bands, n) uint16 of overlapping classes, so that labels keep changing."""
    rng = np.random.default_rng(SEED)
    centers = rng.integers(7000, 25_000, (classes, bands))
    truth = rng.integers(0, classes, n)
    pixels = np.empty((bands, n), np.uint16)
    for band, center in zip(pixels, centers.T, strict=True):
        band[:] = (center[truth] + rng.normal(0, 2000, n)).clip(1, 65_535)
    return pixels


def draw_centers(k: int, bands: int = BANDS) -> np.ndarray:
    """Return the centers (k, bands) that all calls start from: pixels drawn at random."""
    return make_pixels(k, bands).T.astype(np.float64)


def as_scene(pixels: Any) -> xr.DataArray:
    """Return pixels (bands, n) as a scene of one row."""
    return xr.DataArray(pixels.reshape(len(pixels), 1, -1), dims=("band", "y", "x"))


def make_scene(n: int) -> xr.DataArray:
    """Return a square scene (band, y, x) of about `n` pixels, float32 reflectance, with a CRS."""
    import rioxarray  # noqa: F401  gives arrays their CRS

    side = side_of(n)
    values = make_pixels(side * side).reshape(BANDS, side, side)
    reflectance = values * np.float32(2.75e-5) - np.float32(0.2)
    at = 30 * np.arange(side, dtype=float)
    coords = {"band": list("bgrnst"), "y": 4.3e6 - at, "x": 3e5 + at}
    return xr.DataArray(reflectance, coords, ("band", "y", "x")).rio.write_crs("EPSG:32611")


def side_of(n: int) -> int:
    """Return the side of a square scene of about `n` pixels."""
    return round(n**0.5)


def write_geotiff(n: int, folder: Path, tile: int = 512, compress: str = "deflate") -> None:
    """Write a scene of about `n` pixels as one tiled GeoTIFF of uint16 for each band."""
    import rasterio

    side = side_of(n)
    transform = rasterio.transform.from_origin(3e5, 4.3e6, 30, 30)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint16",
               "nodata": 0, "crs": "EPSG:32611", "transform": transform, "tiled": True,
               "blockxsize": tile, "blockysize": tile, "compress": compress}  # fmt: skip
    for band, values in enumerate(make_pixels(side * side), start=1):
        with rasterio.open(folder / f"B{band}.tif", "w", **profile) as file:
            file.write(values.reshape(side, side), 1)
