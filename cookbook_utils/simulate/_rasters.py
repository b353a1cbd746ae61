"""What simulated rasters share: blocks computed a few at a time, footprints, folders made whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from cookbook_utils import _files

T = TypeVar("T")
Window = tuple[slice, slice]

MOST_SEED = 2**24 - 1
"""The largest seed of a world: hashes of 32 bits take 6400 times the seed, and repeat beyond."""

MOST_BLOCK = 1024
"""Pixels on a side of a block: a pixel takes 0.5 kB while it is computed, four blocks at a time."""


def cut(size: int, window: Window | None) -> tuple[range, range]:
    """Rows and columns of a window of `size` x `size` pixels; all of them without a window."""
    wanted = "window must be two slices, of rows and of columns"
    parts = (slice(None), slice(None)) if window is None else window
    if not isinstance(parts, tuple | list) or not all(isinstance(s, slice) for s in parts):
        raise TypeError(f"{wanted}, got {window!r}")
    if len(parts) != 2:
        raise ValueError(f"{wanted}, got {window!r}")
    try:
        rows, cols = (range(size)[s] for s in parts)
    except TypeError as error:
        raise TypeError(f"{wanted}, with integers as bounds, got {window!r}") from error
    if not len(rows) or not len(cols) or rows.step != 1 or cols.step != 1:
        raise ValueError(
            f"window must cut a block of at least one pixel, in steps of one, out of "
            f"{size} x {size}, got {window!r}"
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
CHECKSUMS = "checksums.json"
"""Of every file of a folder, written last: its size and its CRC-32 (ISO 3309, as in zip files)."""


class RasterWriter:
    """GeoTIFF files of one folder, written window by window, then read back and compared.

    GDAL does not always say that a disk was full. What it has stored is therefore compared with
    what it was given, by checksums of the windows.

    Parameters
    ----------
    folder
        Where the files are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._windows: dict[str, list[tuple[Any, int]]] = {}

    def create(self, name: str, *, tags: dict[str, Any], bands: Sequence[str], **profile) -> Any:
        """Create a file and return its rasterio dataset; `bands` are the descriptions."""
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
        """Write one block, (layer, y, x), of a file."""
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
                self._compare(name)

    def _compare(self, name: str) -> None:
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
    """Let `write` fill a temporary folder whose files become those of `target` when complete.

    Nothing is done if `target` holds all `files` undamaged and with this signature. Otherwise they
    are replaced, and other files in `target` are left alone. One process at a time does so.

    Parameters
    ----------
    target
        The folder; it takes its name at once when it is new.
    files
        Names of the GeoTIFF files that `write` makes, each with the tag ``signature``.
    signature
        What the files were made from.
    write
        Is given the temporary folder.

    Raises
    ------
    FileExistsError
        If a file of one of these names was not written here.
    OSError
        If something cannot be written, or another process is at it; nothing is left then.
    """
    if _is_complete(target, files, signature):
        _files.tidy(target)
        return
    with _files.claim(target) as claimed:
        if _is_complete(target, files, signature):  # another process wrote it meanwhile
            return
        _require_own(target, files)
        with _reporting(target):
            temporary = claimed.temporary()
            temporary.mkdir()
            write(temporary)
            _describe(temporary, files, signature)
            _install(temporary, target, [*files, CHECKSUMS])


@contextmanager
def _reporting(target: Path) -> Iterator[None]:
    """Turn errors of GDAL and of the operating system into an OSError that names the folder."""
    from rasterio.errors import RasterioError

    try:
        yield
    except (OSError, RasterioError) as error:
        # GDAL tells what failed, but not why.
        full = target.parent.is_dir() and shutil.disk_usage(target.parent).free < 2**20
        reason = os.strerror(errno.ENOSPC) if full else getattr(error, "strerror", None) or error
        raise OSError(f"cannot write {target.name!r} in {target.parent}: {reason}") from error


def _describe(folder: Path, files: list[str], signature: str) -> None:
    """Write the checksums of files, when these are on the disk."""
    for name in files:
        _files.sync(folder / name)
    content = {"signature": signature, "files": {name: _measure(folder / name) for name in files}}
    (folder / CHECKSUMS).write_text(json.dumps(content, indent=1), encoding="utf-8")
    _files.sync(folder / CHECKSUMS)
    _files.sync(folder)


def _install(temporary: Path, target: Path, names: list[str]) -> None:
    if not target.exists():
        temporary.rename(target)
    else:
        # A reader finds no files for a moment, and never those of two scenes.
        for name in reversed(names):
            (target / name).unlink(missing_ok=True)
        for name in names:
            (temporary / name).rename(target / name)
    _files.sync(target.parent)


def _measure(path: Path) -> list[int]:
    """Return the size of a file and its CRC-32."""
    checksum = 0
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            checksum = zlib.crc32(piece, checksum)
    return [path.stat().st_size, checksum]


def _is_complete(target: Path, files: list[str], signature: str) -> bool:
    try:
        content = json.loads((target / CHECKSUMS).read_text(encoding="utf-8"))
        return content == {
            "signature": signature,
            "files": {name: _measure(target / name) for name in files},
        }
    except (OSError, ValueError):
        return False


def _require_own(target: Path, files: list[str]) -> None:
    """Raise if `target` holds a file under a name of ours that was not written here.

    One that bears no signature is foreign, and so is one that cannot be read, unless the checksums
    beside it say that the folder was written here and has been damaged since.
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
                f"{path} is there and bears no mark of having been simulated; move or delete it, "
                "or write to another folder"
            )
