"""What simulated rasters share: blocks computed a few at a time, footprints, folders made whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

T = TypeVar("T")
Window = tuple[slice, slice]


def require_seed(seed: Any) -> None:
    """Raise unless `seed` is an integer, 0 or more."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer, 0 or more; found {seed!r}")


def require_block(block: int) -> None:
    """Raise unless a block is 1 pixel wide or more."""
    if block < 1:
        raise ValueError(f"block must be 1 pixel or more; found {block}")


def cut(size: int, window: Window | None) -> tuple[range, range]:
    """Rows and columns of a window of `size` x `size` pixels; all of them without a window."""
    rows, cols = (range(size)[s] for s in window or (slice(None), slice(None)))
    if not len(rows) or not len(cols) or rows.step != 1 or cols.step != 1:
        raise ValueError(
            f"window {window} must cut a block of at least one pixel, in steps of one, "
            f"out of {size} x {size}"
        )
    return rows, cols


def blocks(rows: range, cols: range, block: int) -> Iterator[tuple[range, range]]:
    """Cut rows and columns into blocks of at most `block` x `block` pixels."""
    for i in range(rows.start, rows.stop, block):
        for j in range(cols.start, cols.stop, block):
            yield range(i, min(i + block, rows.stop)), range(j, min(j + block, cols.stop))


def compute_blocks(
    function: Callable[[range, range], T], rows: range, cols: range, block: int
) -> Iterator[tuple[range, range, T]]:
    """Yield (rows, cols, result) of one block after another, a few computed at a time."""
    workers = min(4, os.cpu_count() or 1)
    todo = blocks(rows, cols, block)
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(todo, workers)):
            done = pool.map(lambda where: function(*where), batch)
            for (i, j), result in zip(batch, done, strict=True):
                yield i, j, result


def assemble(
    function: Callable[[range, range], tuple[np.ndarray, ...]],
    rows: range,
    cols: range,
    block: int = 512,
) -> tuple[np.ndarray, ...]:
    """Compute blocks and put them together: arrays whose last dimensions are y, x."""
    whole: tuple[np.ndarray, ...] = ()
    for i, j, parts in compute_blocks(function, rows, cols, block):
        if not whole:
            shape = len(rows), len(cols)
            whole = tuple(np.empty((*part.shape[:-2], *shape), part.dtype) for part in parts)
        top, left = i.start - rows.start, j.start - cols.start
        for array, part in zip(whole, parts, strict=True):
            array[..., top : top + len(i), left : left + len(j)] = part
    return whole


def outside(
    rows: range, cols: range, *, size: int, step: float, corner: tuple[float, float], tilt: float
) -> np.ndarray:
    """Where pixels lie outside of the footprint: a square turned by `tilt` degrees in the grid.

    It is turned as an orbit's ground track is, and touches the borders of the grid. `corner` is the
    upper-left one, in meters from an origin of any choice.
    """
    e = (corner[0] + step * (np.arange(cols.start, cols.stop) + 0.5))[None, :].astype("f4")
    n = (corner[1] - step * (np.arange(rows.start, rows.stop) + 0.5))[:, None].astype("f4")
    half = size * step / 2
    a = np.radians(tilt)
    ce, cn = e - (corner[0] + half), n - (corner[1] - half)
    reach = half / (np.cos(a) + np.sin(a))
    along, across = ce * np.cos(a) - cn * np.sin(a), ce * np.sin(a) + cn * np.cos(a)
    return np.maximum(np.abs(along), np.abs(across)) > reach


def grid(
    rows: range, cols: range, *, step: float, corner: tuple[float, float], crs: str
) -> xr.Dataset:
    """Return the coordinates of pixel centers and the CRS."""
    import rioxarray  # noqa: F401  registers the accessor
    from rasterio import Affine

    left, top = corner[0] + step * cols.start, corner[1] - step * rows.start
    coords = {
        "y": corner[1] - step * (np.array(rows) + 0.5),
        "x": corner[0] + step * (np.array(cols) + 0.5),
    }
    return (
        xr.Dataset(coords=coords)
        .rio.write_crs(crs)
        .rio.write_transform(Affine(step, 0, left, 0, -step, top))
    )


def band_coords(names: Sequence, numbers: Sequence, wavelengths: Sequence) -> dict[str, Any]:
    """Return the coordinates of bands: their names, numbers and center wavelengths (um)."""
    micrometers = {"long_name": "center wavelength", "units": "um"}
    return {
        "band": list(names),
        "number": ("band", list(numbers)),
        "wavelength": ("band", list(wavelengths), micrometers),
    }


def tiled_profile(size: int, step: float, corner: tuple[float, float], crs: str) -> dict[str, Any]:
    """Return what rasterio is to make of a GeoTIFF: its grid, in tiles."""
    from rasterio import Affine

    return dict(
        driver="GTiff",
        width=size,
        height=size,
        crs=crs,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        bigtiff="if_safer",
        transform=Affine(step, 0, corner[0], 0, -step, corner[1]),
    )


DEFLATE = dict(compress="deflate", predictor=2)


def write_once(
    target: Path, files: list[str], signature: str, write: Callable[[Path], None]
) -> None:
    """Let `write` fill a temporary folder that becomes `target` when it is complete.

    Nothing is done if `target` has all `files` and the last of them, a GeoTIFF, bears the tag
    ``signature``; what else is there is replaced.
    """
    if _is_complete(target, files, signature):
        return
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        temporary.chmod(0o755)
        write(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except OSError as error:
        raise OSError(f"cannot write {target.name!r} in {target.parent}: {error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _is_complete(target: Path, files: list[str], signature: str) -> bool:
    import rasterio

    if not all((target / file).is_file() for file in files):
        return False
    try:
        with rasterio.open(target / files[-1]) as last:
            return last.tags().get("signature") == signature
    except rasterio.errors.RasterioIOError:
        return False
