"""Scenes, label maps, points and fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401  registers the accessor
import xarray as xr

from cookbook_utils._conventions.labels import label_attrs
from cookbook_utils.datasets import open_catalog
from cookbook_utils.scaling import to_reflectance
from cookbook_utils.stacking import stack_pixels

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
WAVELENGTHS = (0.48, 0.56, 0.65, 0.86, 1.6, 2.2)


def make_grid(*, ny=5, nx=6, step=30.0, left=330_000.0, top=4_300_000.0, crs="EPSG:32611"):
    """Return a Dataset of pixel centers with y descending, and a CRS unless it is None."""
    grid = xr.Dataset(
        coords={
            "y": top - step * (np.arange(ny) + 0.5),
            "x": left + step * (np.arange(nx) + 0.5),
        }
    )
    return grid if crs is None else grid.rio.write_crs(crs)


def make_scene(values=None, *, bands=BANDS, seed=0, chunks=None, units="1", **grid):
    """Return a float32 scene (band, y, x) with the coordinates and attributes of the readers."""
    template = make_grid(**grid)
    shape = (len(bands), template.sizes["y"], template.sizes["x"])
    if values is None:
        values = np.random.default_rng(seed).uniform(0.01, 0.6, shape)
    values = np.broadcast_to(np.asarray(values, np.float32), shape).copy()
    if chunks is not None:
        values = da.from_array(values, chunks=chunks)
    return xr.DataArray(
        values,
        coords={
            "band": list(bands),
            "number": ("band", np.arange(len(bands)) + 2),
            "wavelength": ("band", list(WAVELENGTHS[: len(bands)]), {"units": "um"}),
            "y": template.y,
            "x": template.x,
            "time": np.datetime64("2017-10-22", "ns"),
        },
        dims=("band", "y", "x"),
        name="scene",
        attrs={"long_name": "surface reflectance", "units": units, "sensor": "Landsat 8 OLI"},
    ).assign_coords({k: v for k, v in template.coords.items() if k == "spatial_ref"})


def make_labels(values, **grid):
    """Return a uint8 label map of `values`, in which 255 is nodata."""
    values = np.asarray(values, np.uint8)
    template = make_grid(ny=values.shape[0], nx=values.shape[1], **grid)
    return xr.DataArray(
        values, coords=template.coords, dims=("y", "x"), name="label", attrs=label_attrs(np.uint8)
    )


def make_points(n_points=50, *, seed=0):
    """Return points with coordinates around Lyngen and without series."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        coords={
            "longitude": ("point", rng.uniform(20.1, 20.3, n_points)),
            "latitude": ("point", rng.uniform(69.5, 69.7, n_points)),
        }
    )


def walker_lake_pixels(bands=BANDS):
    """Return the reflectance of both published scenes of Walker Lake, shape (pixel, band)."""
    reader = open_catalog().walker_lake
    scenes = [to_reflectance(reader.read(year=year)).sel(band=list(bands)) for year in (1988, 2017)]
    return np.concatenate([stack_pixels(scene) for scene in scenes])


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return the bytes of every file below a folder by relative path, and None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(autouse=True, scope="module")
def without_fsync() -> Iterator[None]:
    """Skip fsync in the modules that import this fixture, which write many small files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
