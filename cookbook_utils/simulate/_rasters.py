"""Simulated rasters: grids, blocks that are computed in parallel, and folders of GeoTIFF files."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from cookbook_utils import _files
from cookbook_utils._checks import require_choice, require_integer, shown
from cookbook_utils._files import CHECKSUMS, size_and_crc32

T = TypeVar("T")
Window = tuple[slice, slice]

MAX_WORLD_SEED = 2**24 - 1
"""Largest seed of a world; noise hashes 6400 times the seed modulo 2**32, so larger ones repeat."""

MIN_BLOCK = 32
"""Smallest side of a block in pixels: below it, most of the time is overhead of each block."""

MAX_BLOCK = 1024
"""Largest side of a block in pixels: a pixel takes 0.5 kB in each of up to four threads."""

DEFLATE = {"compress": "deflate", "predictor": 2}
"""Options of a GeoTIFF file that is compressed without loss."""


def require_world(specs: Mapping[str, T], name: str, random_state: int) -> tuple[T, int]:
    """Return the entry `name` of `specs` and the seed of a world, or raise if one is not valid."""
    seed = require_integer(random_state, "random_state", least=0, most=MAX_WORLD_SEED)
    return specs[require_choice(name, "name", list(specs))], seed


# -- grids --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """A square, north-up raster, and a square footprint inside that touches its borders."""

    crs: str
    center: tuple[float, float]  # x, y of the world's center, m
    corner: tuple[float, float]  # x, y of the upper-left corner, m
    size: int  # pixels on a side
    step: float  # width of a pixel, m
    tilt: float  # by which the footprint is turned, as an orbit's ground track is, degrees

    def positions(self, rows: range, cols: range) -> tuple[np.ndarray, np.ndarray]:
        """Return meters east (1, x) and north (y, 1) of the world's center, for pixel centers."""
        left, top = self._corner_from_center()
        e = (left + self.step * (np.array(cols) + 0.5))[None, :].astype("f4")
        n = (top - self.step * (np.array(rows) + 0.5))[:, None].astype("f4")
        return e, n

    def outside(self, rows: range, cols: range) -> np.ndarray:
        """Return which pixels (y, x) lie outside of the footprint."""
        left, top = self._corner_from_center()
        e, n = self.positions(rows, cols)
        half = self.size * self.step / 2
        a = np.radians(self.tilt)
        reach = half / (np.cos(a) + np.sin(a))
        ce, cn = e - (left + half), n - (top - half)
        along, across = ce * np.cos(a) - cn * np.sin(a), ce * np.sin(a) + cn * np.cos(a)
        return np.maximum(np.abs(along), np.abs(across)) > reach

    def coords(self, rows: range, cols: range) -> xr.Dataset:
        """Return a Dataset with the coordinates of pixel centers and the CRS."""
        import rioxarray  # noqa: F401  registers the accessor
        from rasterio import Affine

        x, y = self.corner
        left, top = x + self.step * cols.start, y - self.step * rows.start
        coords = {
            "y": y - self.step * (np.array(rows) + 0.5),
            "x": x + self.step * (np.array(cols) + 0.5),
        }
        return (
            xr.Dataset(coords=coords)
            .rio.write_crs(self.crs)
            .rio.write_transform(Affine(self.step, 0, left, 0, -self.step, top))
        )

    def profile(self) -> dict[str, Any]:
        """Return rasterio's options for a tiled GeoTIFF file on this grid."""
        from rasterio import Affine

        x, y = self.corner
        return {
            "driver": "GTiff",
            "width": self.size,
            "height": self.size,
            "crs": self.crs,
            "transform": Affine(self.step, 0, x, 0, -self.step, y),
            "tiled": True,
            "blockxsize": 256,
            "blockysize": 256,
            "bigtiff": "if_safer",
        }

    def _corner_from_center(self) -> tuple[float, float]:
        return self.corner[0] - self.center[0], self.corner[1] - self.center[1]


def cut(size: int, window: Window | None) -> tuple[range, range]:
    """Return the rows and columns of a window in `size` x `size` pixels; None stands for all."""
    wanted = "window must be two slices, of rows and of columns"
    parts = (slice(None), slice(None)) if window is None else window
    if not isinstance(parts, tuple | list) or not all(isinstance(s, slice) for s in parts):
        raise TypeError(f"{wanted}, got {shown(window)}")
    if len(parts) != 2:
        raise ValueError(f"{wanted}, got {shown(window)}")
    try:
        rows, cols = (range(size)[s] for s in parts)
    except TypeError as error:
        raise TypeError(f"{wanted}, with integers as bounds, got {shown(window)}") from error
    except ValueError as error:  # a step of 0
        raise ValueError(f"{wanted}, in steps of one, got {shown(window)}") from error
    if not len(rows) or not len(cols) or rows.step != 1 or cols.step != 1:
        raise ValueError(
            f"window must cut a block of at least one pixel, in steps of one, out of "
            f"{size} x {size}, got {shown(window)}"
        )
    return rows, cols


# -- blocks -------------------------------------------------------------------------------------


def blocks(rows: range, cols: range, block: int) -> Iterator[tuple[range, range]]:
    """Cut rows and columns into blocks of at most `block` x `block` pixels."""
    for i in range(rows.start, rows.stop, block):
        for j in range(cols.start, cols.stop, block):
            yield range(i, min(i + block, rows.stop)), range(j, min(j + block, cols.stop))


def compute_blocks(
    function: Callable[[range, range], T], rows: range, cols: range, block: int
) -> Iterator[tuple[range, range, T]]:
    """Yield the rows, columns and result of each block; up to four are computed in parallel."""
    workers = min(4, os.cpu_count() or 1)
    remaining = blocks(rows, cols, block)
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(remaining, workers)):
            results = pool.map(lambda where: function(*where), batch)
            for (i, j), result in zip(batch, results, strict=True):
                yield i, j, result


def assemble(
    function: Callable[[range, range], tuple[np.ndarray, ...]],
    rows: range,
    cols: range,
    block: int = 512,
) -> tuple[np.ndarray, ...]:
    """Compute all blocks and join them to arrays whose last dimensions are y and x."""
    joined: tuple[np.ndarray, ...] = ()
    for i, j, parts in compute_blocks(function, rows, cols, block):
        if not joined:
            shape = len(rows), len(cols)
            joined = tuple(np.empty((*part.shape[:-2], *shape), part.dtype) for part in parts)
        top, left = i.start - rows.start, j.start - cols.start
        for array, part in zip(joined, parts, strict=True):
            array[..., top : top + len(i), left : left + len(j)] = part
    return joined


# -- folders of GeoTIFF files -------------------------------------------------------------------


class RasterWriter:
    """Context manager that writes GeoTIFF files block by block and verifies them at the end.

    GDAL does not always report a full disk. The blocks are therefore read back, and their
    checksums are compared with those of the arrays that were written.

    Parameters
    ----------
    folder : pathlib.Path
        Folder in which the files are created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._windows: dict[str, list[tuple[Any, int]]] = {}

    def create(self, name: str, *, tags: dict[str, Any], bands: Sequence[str], **profile) -> Any:
        """Create a file and return its rasterio dataset; `bands` are the bands' descriptions."""
        import rasterio

        file = rasterio.open(self._folder / name, "w", count=len(bands), **profile)
        self._files[name], self._tags[name], self._windows[name] = file, {}, []
        file.descriptions = tuple(bands)
        self.tag(name, **tags)
        return file

    def tag(self, name: str, **tags: Any) -> None:
        """Add tags to a file."""
        self._files[name].update_tags(**tags)
        self._tags[name] |= {key: str(value) for key, value in tags.items()}

    def write(self, name: str, rows: range, cols: range, layers: np.ndarray) -> None:
        """Write one block, (band, y, x), of a file."""
        from rasterio.windows import Window

        window = Window(cols.start, rows.start, len(cols), len(rows))
        self._files[name].write(layers, window=window)
        self._windows[name].append((window, _checksum(layers)))

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        with ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)
        if error is None:
            for name in self._files:
                self._verify(name)

    def _verify(self, name: str) -> None:
        import rasterio

        try:
            with rasterio.open(self._folder / name) as file:
                same = self._tags[name].items() <= file.tags().items() and all(
                    _checksum(file.read(window=window)) == checksum
                    for window, checksum in self._windows[name]
                )
        except rasterio.errors.RasterioIOError:
            same = False
        if not same:
            raise OSError(f"{name} does not hold what was written to it: the disk may be full")


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array))


def write_once(
    target: Path, files: list[str], signature: str, write: Callable[[Path], None]
) -> None:
    """Write the files of a folder, unless they are there, undamaged and with this signature.

    The files are written into a temporary folder and moved when all of them are complete. Other
    files in the folder are kept. A lock makes other processes wait.

    Parameters
    ----------
    target : pathlib.Path
        The folder. A new one is created by one rename.
    files : list of str
        Names of the GeoTIFF files, each of which must have the tag ``signature``.
    signature : str
        Identifies what the files were made from.
    write : callable
        Function that writes the files into the folder that it is given.

    Raises
    ------
    FileExistsError
        If a file of one of these names bears no signature.
    OSError
        If a file cannot be written, or another process holds the lock for too long. The temporary
        folder is removed.
    """
    if _is_complete(target, files, signature):
        _files.tidy(target)
        return
    with _files.claim(target) as claimed:
        if _is_complete(target, files, signature):  # another process wrote it meanwhile
            return
        _require_own(target, files)
        with _files.reporting_gdal(target):
            temporary = claimed.temporary()
            temporary.mkdir()
            write(temporary)
            _describe(temporary, files, signature)
            _install(temporary, target, [*files, CHECKSUMS])


def _describe(folder: Path, files: list[str], signature: str) -> None:
    """Flush the files to the disk, then write their checksums."""
    for name in files:
        _files.sync(folder / name)
    content = {
        "signature": signature,
        "files": {name: size_and_crc32(folder / name) for name in files},
    }
    (folder / CHECKSUMS).write_text(json.dumps(content, indent=1), encoding="utf-8")
    _files.sync(folder / CHECKSUMS)
    _files.sync(folder)


def _install(temporary: Path, target: Path, names: list[str]) -> None:
    """Move the files of a temporary folder into `target`, or rename the folder if it is new."""
    if not target.exists():
        temporary.rename(target)
    else:
        # Old files are removed before the first new one is moved: a reader may find none, but
        # never files of two scenes.
        for name in reversed(names):
            (target / name).unlink(missing_ok=True)
        for name in names:
            (temporary / name).rename(target / name)
    _files.sync(target.parent)


def _is_complete(target: Path, files: list[str], signature: str) -> bool:
    """Return whether a folder holds the files, undamaged and with this signature."""
    try:
        content = json.loads((target / CHECKSUMS).read_text(encoding="utf-8"))
        return content == {
            "signature": signature,
            "files": {name: size_and_crc32(target / name) for name in files},
        }
    except (OSError, ValueError):
        return False


def _require_own(target: Path, files: list[str]) -> None:
    """Raise if `target` holds a file of one of these names that `write_once` did not write.

    Such a file has no signature. A file that cannot be read is taken for a damaged one of ours if
    there are checksums beside it.
    """
    import rasterio

    for path in (target / name for name in files if (target / name).exists()):
        try:
            with rasterio.open(path) as file:
                own = "signature" in file.tags()
        except rasterio.errors.RasterioIOError:
            own = (target / CHECKSUMS).is_file()
        if not own:
            raise FileExistsError(
                f"{path} must be a file that was simulated here, got one without a signature; "
                "move or delete it, or write to another folder"
            )
