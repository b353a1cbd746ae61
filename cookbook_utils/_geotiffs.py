"""GeoTIFFs opened lazily, after their headers have shown that they are whole and of a sane size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

MOST_SIDE = 1_000_000
"""Pixels along a side of a raster."""

MOST_BLOCK = 1 << 30
"""Bytes of a block of a file, which is the least that can be decoded, or of a chunk in float32."""

MOST_BLOCKS = 1_000_000
"""Blocks of a file: each is looked up before the file is read."""

MOST_CHUNKS = 20_000
"""Chunks of a file: each is a task of Dask, which takes about a kilobyte."""


class Kind(NamedTuple):
    """What the files of a data set hold."""

    n_bands: int
    dtypes: tuple[str, ...]
    nodata: float


class File(NamedTuple):
    """A file, and the command that makes it anew."""

    path: Path
    made_by: str

    @property
    def cure(self) -> str:
        return f"delete it and run `{self.made_by}`"


class _Header(NamedTuple):
    shape: tuple[int, int]
    transform: tuple[float, ...]
    crs: Any
    dtype: str
    tags: dict[str, str]


def open_geotiffs(files: Sequence[File], kind: Kind, chunks: Any) -> xr.DataArray:
    """Open GeoTIFFs that share one grid as one lazy array (band, y, x) of their own values.

    Raises
    ------
    ValueError
        If a file is of another kind, or its grid is not that of the first one.
    OSError
        If a file is damaged: at once where its header shows it, else on compute.
    """
    first: _Header | None = None
    opened = []
    for file in files:
        header = _read_header(file, kind)
        _require_one_grid(file.path, header, files[0].path, first or header)
        first = first or header
        opened.append(_open(file, header, kind.n_bands, chunks))
    return xr.concat(
        opened, "band", coords="minimal", compat="override", join="exact", combine_attrs="override"
    )


def _read_header(file: File, kind: Kind) -> _Header:
    """Return the grid of a file, or raise unless it is whole and of its kind."""
    import rasterio
    from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

    path = file.path
    try:
        size = path.stat().st_size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # an error of ours follows
            # Env sends GDAL's warnings to the log, not to stderr.
            with rasterio.Env(), rasterio.open(path, driver="GTiff") as source:
                header = _Header(
                    source.shape,
                    tuple(source.transform)[:6],
                    source.crs,
                    source.dtypes[0],
                    source.tags(),
                )
                _require_kind(path, source, header, kind)
                _require_whole(file, source, size)
    except (RasterioError, CRSError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, _DamagedError):
            raise OSError(str(error)) from None
        raise OSError(f"{path} is not a readable GeoTIFF ({error}); {file.cure}") from None
    return header


class _DamagedError(OSError):
    """A file is not whole."""


def _require_kind(path: Path, source: Any, header: _Header, kind: Kind) -> None:
    if source.count != kind.n_bands:
        raise ValueError(f"{path} must have {kind.n_bands} bands, got {source.count}")
    if wrong := [dtype for dtype in source.dtypes if dtype not in kind.dtypes]:
        raise ValueError(f"{path} must hold {' or '.join(kind.dtypes)}, got {wrong[0]}")
    for nodata in source.nodatavals:
        if nodata is not None and not math.isnan(nodata) and nodata != kind.nodata:
            raise ValueError(
                f"{path} must have the nodata value of the catalog, {kind.nodata:g}, got {nodata:g}"
            )
    a, b, _, d, e, _ = header.transform
    if source.crs is None or source.transform.is_identity or b or d or not (a > 0 and e):
        raise ValueError(
            f"{path} must be georeferenced, with a CRS and rows from west to east, got the CRS "
            f"{source.crs} and the transform {header.transform}"
        )
    for first, step, size in zip(header.transform[2::3], (a, e), source.shape[::-1], strict=True):
        last = first + step * size
        # Pixels that are too small have the same coordinates as their neighbors.
        if not np.isfinite([first, last]).all() or abs(step) <= np.spacing(
            max(map(abs, (first, last)))
        ):
            raise ValueError(
                f"{path} must have a grid of finite coordinates that differ from pixel to pixel, "
                f"got the transform {header.transform}"
            )
    _refuse_other_meanings(path, source)


def _refuse_other_meanings(path: Path, source: Any) -> None:
    """Raise ValueError if pixels are numbers of colors, or are missing by more than their value."""
    from rasterio.enums import ColorInterp, MaskFlags

    if ColorInterp.palette in source.colorinterp:
        raise ValueError(
            f"{path} must hold measured values or labels, got numbers of colors in a palette: "
            "convert it without the palette"
        )
    if any(
        {MaskFlags.per_dataset, MaskFlags.alpha} & set(enums) for enums in source.mask_flag_enums
    ):
        raise ValueError(
            f"{path} must mark missing pixels by the nodata value, got a mask or a band of "
            "transparency: write the nodata value where it says that pixels are missing"
        )


def _require_whole(file: File, source: Any, size: int) -> None:
    """Refuse a file that ends before its last block, or whose blocks cannot all be in it.

    GDAL tells where each block lies in a TIFF by the metadata items BLOCK_OFFSET and BLOCK_SIZE.
    """
    height, width = source.shape
    rows, columns = source.block_shapes[0]
    if max(height, width) > MOST_SIDE:
        raise ValueError(
            f"{file.path} must have at most {MOST_SIDE} pixels along a side, got {width} x {height}"
        )
    if (
        decoded := rows * columns * source.count * np.dtype(source.dtypes[0]).itemsize
    ) > MOST_BLOCK:
        raise ValueError(
            f"{file.path} must have blocks of at most {MOST_BLOCK} bytes, got {decoded}: store it "
            "in tiles"
        )
    n_blocks = math.ceil(height / rows) * math.ceil(width / columns) * source.count
    if n_blocks > MOST_BLOCKS:
        raise ValueError(
            f"{file.path} must have at most {MOST_BLOCKS} blocks, got {n_blocks} of {columns} x "
            f"{rows} pixels: store it in larger tiles"
        )
    end = 0
    for band in source.indexes:
        for (row, column), _ in source.block_windows(band):
            start, length = (
                int(source.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=band) or 0)
                for what in ("OFFSET", "SIZE")
            )
            if not start or not length:
                raise _DamagedError(
                    f"{file.path} is cut short: the block in row {row}, column {column} of band "
                    f"{band} was not written; {file.cure}"
                )
            end = max(end, start + length)
    if size < end:
        raise _DamagedError(
            f"{file.path} is cut short: it has {size} bytes, expected at least {end}; {file.cure}"
        )


def _require_one_grid(path: Path, header: _Header, first: Path, expected: _Header) -> None:
    if header.crs != expected.crs:
        raise ValueError(
            f"all files must share one CRS, but {path} is in {header.crs} and {first} in "
            f"{expected.crs}"
        )
    for what in ("shape", "transform", "dtype"):
        found, wanted = getattr(header, what), getattr(expected, what)
        if found != wanted:
            raise ValueError(
                f"all files must share one grid and dtype, but {path} has the {what} {found} and "
                f"{first} has {wanted}"
            )


def _open(file: File, header: _Header, n_bands: int, chunks: Any) -> xr.DataArray:
    """Return one file as a lazy array on its grid, with its tags as attributes.

    rioxarray would make coordinates and dimensions of some tags.
    """
    import dask.array as da
    from rasterio import Affine
    from rioxarray.rioxarray import affine_to_coords

    status = file.path.stat()
    dtype = np.dtype(header.dtype)
    transform = Affine(*header.transform)
    height, width = header.shape
    pixels = da.map_blocks(
        _read_block,
        file=file,
        status=(status.st_size, status.st_mtime_ns),
        chunks=_chunks(chunks, (n_bands, height, width), dtype),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
    )
    coords = {"band": np.arange(1, n_bands + 1), **affine_to_coords(transform, width, height)}
    array = xr.DataArray(pixels, coords, ("band", "y", "x"), attrs=header.tags)
    return array.rio.write_crs(header.crs).rio.write_transform(transform)


def _read_block(*, file: File, status: tuple[int, int], block_info: Any) -> np.ndarray:
    """Return the pixels of one chunk, or raise an OSError that names the file."""
    import rasterio
    from rasterio.windows import Window

    _, rows, columns = block_info[None]["array-location"]
    try:
        now = file.path.stat()
        with rasterio.Env(), rasterio.open(file.path, driver="GTiff") as source:
            pixels = source.read(window=Window.from_slices(rows, columns))
    except OSError as error:  # RasterioIOError is one
        raise OSError(
            f"{file.path} cannot be read in rows {rows[0]} to {rows[1]}, columns {columns[0]} to "
            f"{columns[1]} ({error.__cause__ or error}); {file.cure}"
        ) from None
    if (now.st_size, now.st_mtime_ns) != status:
        raise OSError(
            f"{file.path} must stay as it is while it is open, got a change since then: "
            "open the data set again"
        )
    return pixels


def _chunks(chunks: Any, shape: tuple[int, ...], dtype: np.dtype) -> tuple[tuple[int, ...], ...]:
    """Return the sizes of chunks of (band, y, x) that `chunks` asks for along y and x."""
    from dask.array.core import normalize_chunks

    asked = chunks if isinstance(chunks, dict) else {"y": chunks, "x": chunks}
    if unknown := [dim for dim in asked if dim not in ("y", "x")]:
        raise ValueError(f"chunks must be of y and x, got {unknown}")
    along = [asked.get(dim, -1) for dim in ("y", "x")]
    for k, number in enumerate(along):
        if isinstance(number, str) and number == "auto":
            continue
        if not isinstance(number, Integral) or isinstance(number, bool):
            raise TypeError(
                f'chunks must be numbers of pixels, -1 for all, or "auto", got {number!r}'
            )
        if number < 1 and number != -1:
            raise ValueError(f"chunks must be at least 1 pixel wide, or -1 for all, got {number}")
        along[k] = min(int(number), shape[1 + k])
    counts = [
        1 if number in (-1, "auto") else math.ceil(size / number)
        for number, size in zip(along, shape[1:], strict=True)
    ]
    if math.prod(counts) > MOST_CHUNKS:
        raise ValueError(
            f"chunks must be at most {MOST_CHUNKS} of a file, got {math.prod(counts)} of "
            f"{shape[1]} x {shape[2]} pixels: make them larger"
        )
    sizes = normalize_chunks((-1, *along), shape, dtype=np.dtype("f4"))
    if (largest := 4 * math.prod(max(part) for part in sizes)) > MOST_BLOCK:
        raise ValueError(
            f"chunks must have at most {MOST_BLOCK} bytes in float32, got {largest}: "
            "make them smaller"
        )
    return sizes
