"""Open GeoTIFFs lazily, after a check of their headers, their sizes and their grids."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from cookbook_utils._gdal import gdal_cache
from cookbook_utils.datasets._open_rasters import opened

MAX_SIDE = 1_000_000
"""Largest width and height of a raster in pixels."""

MAX_BLOCK_BYTES = 1 << 30
"""Largest decoded block of a file, which GDAL reads as a whole, and largest chunk in float32."""

MAX_BLOCKS = 1_000_000
"""Largest number of blocks of a file: the offset of each is looked up when the file is opened."""

MAX_CHUNKS = 20_000
"""Largest number of chunks of a file: each is a task of Dask, which takes about a kilobyte."""


class RasterSpec(NamedTuple):
    """Number of bands, dtypes and nodata value that the files of a data set must have."""

    n_bands: int
    dtypes: tuple[str, ...]
    nodata: float


class RasterFile(NamedTuple):
    """A file and the command that writes it."""

    path: Path
    made_by: str

    @property
    def remedy(self) -> str:
        """Advice for a damaged file, for error messages."""
        return f"delete it and run `{self.made_by}`"


class _Header(NamedTuple):
    shape: tuple[int, int]
    transform: tuple[float, ...]
    crs: Any
    dtype: str
    tags: dict[str, str]


class _DamagedError(OSError):
    """A file is cut short."""


def open_geotiffs(files: Sequence[RasterFile], spec: RasterSpec, chunks: Any) -> xr.DataArray:
    """Open GeoTIFFs that share one grid as one lazy array of their stored values.

    Parameters
    ----------
    files : sequence of RasterFile
        The files, whose bands are concatenated in this order.
    spec : RasterSpec
        What each file must hold.
    chunks : dict, "auto" or int
        Sizes of the Dask chunks along y and x in pixels; -1 is the whole side.

    Returns
    -------
    xarray.DataArray
        The bands (band, y, x) with the CRS and the transform, and the tags of the first file as
        attributes.

    Raises
    ------
    TypeError
        If `chunks` has a wrong type.
    ValueError
        If a file does not match `spec`, its grid is not that of the first file, or `chunks` are too
        small or too large.
    OSError
        If a file is damaged: now if its header shows it, otherwise when the array is computed.
    """
    first: _Header | None = None
    opened = []
    for file in files:
        header = _read_header(file, spec)
        _require_same_grid(file.path, header, files[0].path, first or header)
        first = first or header
        opened.append(_open(file, header, spec.n_bands, chunks))
    return xr.concat(
        opened, "band", coords="minimal", compat="override", join="exact", combine_attrs="override"
    )


# -- headers ------------------------------------------------------------------------------------


def _read_header(file: RasterFile, spec: RasterSpec) -> _Header:
    """Return the header of a file, or raise unless the file is complete and matches `spec`."""
    import rasterio
    from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

    path = file.path
    try:
        size = path.stat().st_size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # our own error follows
            # Env sends GDAL's warnings to the log, not to stderr.
            with rasterio.Env(), rasterio.open(path, driver="GTiff") as source:
                header = _Header(
                    source.shape,
                    tuple(source.transform)[:6],
                    source.crs,
                    source.dtypes[0],
                    source.tags(),
                )
                _require_spec(path, source, spec)
                require_georeference(path, source)
                _require_plain_pixels(path, source)
                require_sizes(path, source)
                _require_complete(file, source, size)
    except (RasterioError, CRSError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, _DamagedError):
            raise OSError(str(error)) from None
        raise OSError(f"{path} must be a readable GeoTIFF, got: {error}; {file.remedy}") from None
    return header


def _require_spec(path: Path, source: Any, spec: RasterSpec) -> None:
    if source.count != spec.n_bands:
        raise ValueError(f"{path} must have {spec.n_bands} bands, got {source.count}")
    if wrong := [dtype for dtype in source.dtypes if dtype not in spec.dtypes]:
        raise ValueError(f"{path} must hold {' or '.join(spec.dtypes)}, got {wrong[0]}")
    for nodata in source.nodatavals:
        if nodata is not None and not math.isnan(nodata) and nodata != spec.nodata:
            raise ValueError(
                f"{path} must have the nodata value of the catalog, {spec.nodata:g}, got {nodata:g}"
            )


def require_georeference(path: Path | str, source: Any) -> None:
    """Require a CRS and a transform whose columns run from west to east, without rotation."""
    transform = tuple(source.transform)[:6]
    a, b, _, d, e, _ = transform
    if source.crs is None or source.transform.is_identity or b or d or not (a > 0 and e):
        raise ValueError(
            f"{path} must be georeferenced, with a CRS and rows from west to east, got the CRS "
            f"{source.crs} and the transform {transform}"
        )
    for first, step, size in zip(transform[2::3], (a, e), source.shape[::-1], strict=True):
        last = first + step * size
        # A step below the float64 spacing gives neighboring pixels the same coordinate.
        if not np.isfinite([first, last]).all() or abs(step) <= np.spacing(
            max(map(abs, (first, last)))
        ):
            raise ValueError(
                f"{path} must have a grid of finite coordinates that differ from pixel to pixel, "
                f"got the transform {transform}"
            )


def _require_plain_pixels(path: Path, source: Any) -> None:
    """Refuse palettes, masks and alpha bands: the reader would ignore what they mean."""
    from rasterio.enums import ColorInterp, MaskFlags

    if ColorInterp.palette in source.colorinterp:
        raise ValueError(
            f"{path} must hold measured values or labels, got indices into a palette: convert it "
            "without the palette"
        )
    if any(
        {MaskFlags.per_dataset, MaskFlags.alpha} & set(enums) for enums in source.mask_flag_enums
    ):
        raise ValueError(
            f"{path} must mark missing pixels by the nodata value, got a mask or an alpha band: "
            "write the nodata value where it masks pixels"
        )


def require_sizes(path: Path | str, source: Any) -> None:
    """Refuse a raster whose size, blocks or number of blocks would exhaust memory or time."""
    height, width = source.shape
    rows, columns = source.block_shapes[0]
    if max(height, width) > MAX_SIDE:
        raise ValueError(
            f"{path} must have at most {MAX_SIDE} pixels along a side, got {width} x {height}"
        )
    decoded = rows * columns * source.count * np.dtype(source.dtypes[0]).itemsize
    if decoded > MAX_BLOCK_BYTES:
        raise ValueError(
            f"{path} must have blocks of at most {MAX_BLOCK_BYTES} bytes, got {decoded}: store it "
            "in tiles"
        )
    n_blocks = math.ceil(height / rows) * math.ceil(width / columns) * source.count
    if n_blocks > MAX_BLOCKS:
        raise ValueError(
            f"{path} must have at most {MAX_BLOCKS} blocks, got {n_blocks} of {columns} x {rows} "
            "pixels: store it in larger tiles"
        )


def _require_complete(file: RasterFile, source: Any, size: int) -> None:
    """Refuse a file with unwritten blocks, or that ends before its last block.

    GDAL returns the offset and length of each block of a TIFF as the metadata items BLOCK_OFFSET
    and BLOCK_SIZE.
    """
    end = 0
    for band in source.indexes:
        for (row, column), _ in source.block_windows(band):
            offset, length = (
                int(source.get_tag_item(f"BLOCK_{item}_{column}_{row}", "TIFF", bidx=band) or 0)
                for item in ("OFFSET", "SIZE")
            )
            if not offset or not length:
                raise _DamagedError(
                    f"{file.path} must hold all of its blocks, got none in row {row}, column "
                    f"{column} of band {band}; {file.remedy}"
                )
            end = max(end, offset + length)
    if size < end:
        raise _DamagedError(
            f"{file.path} must have at least {end} bytes, got {size}: it is cut short; "
            f"{file.remedy}"
        )


def _require_same_grid(path: Path, header: _Header, first: Path, expected: _Header) -> None:
    """Require the CRS, shape, transform and dtype of the first file."""
    if header.crs != expected.crs:
        raise ValueError(
            f"files must share one CRS, got {header.crs} in {path} and {expected.crs} in {first}"
        )
    for fact in ("shape", "transform", "dtype"):
        found, wanted = getattr(header, fact), getattr(expected, fact)
        if found != wanted:
            raise ValueError(
                f"files must share one grid and dtype, got the {fact} {found} in {path} and "
                f"{wanted} in {first}"
            )


# -- pixels -------------------------------------------------------------------------------------


def _open(file: RasterFile, header: _Header, n_bands: int, chunks: Any) -> xr.DataArray:
    """Return one file as a lazy array on its grid, with its tags as attributes.

    ``rioxarray.open_rasterio`` would turn some tags into coordinates and dimensions.
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
        chunks=chunk_sizes(chunks, (n_bands, height, width)),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
    )
    coords = {"band": np.arange(1, n_bands + 1), **affine_to_coords(transform, width, height)}
    array = xr.DataArray(pixels, coords, ("band", "y", "x"), attrs=header.tags)
    return array.rio.write_crs(header.crs).rio.write_transform(transform)


def _read_block(*, file: RasterFile, status: tuple[int, int], block_info: Any) -> np.ndarray:
    """Return the pixels of one chunk, or raise an OSError that names the file."""
    import rasterio
    from rasterio.windows import Window

    _, rows, columns = block_info[None]["array-location"]
    try:
        now = file.path.stat()
        with rasterio.Env(**gdal_cache()), opened(str(file.path)) as raster:
            pixels = raster.dataset.read(window=Window.from_slices(rows, columns))
    except OSError as error:  # RasterioIOError is a subclass
        raise OSError(
            f"{file.path} cannot be read in rows {rows[0]} to {rows[1]}, columns {columns[0]} to "
            f"{columns[1]} ({error.__cause__ or error}); {file.remedy}"
        ) from None
    if (now.st_size, now.st_mtime_ns) != status:
        raise OSError(
            f"{file.path} must not change while it is open, got another size or modification "
            "time: open the data set again"
        )
    return pixels


def chunk_sizes(chunks: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the sizes of the chunks of an array (band, y, x) along each dimension."""
    from dask.array.core import normalize_chunks

    requested = chunks if isinstance(chunks, dict) else {"y": chunks, "x": chunks}
    if unknown := [dim for dim in requested if dim not in ("y", "x")]:
        raise ValueError(f"chunks must be of y and x, got {unknown}")
    pixels = [_chunk_size(requested.get(dim, -1)) for dim in ("y", "x")]
    counts = [
        math.ceil(side / size) if isinstance(size, int) and size > 0 else 1
        for size, side in zip(pixels, shape[1:], strict=True)
    ]
    if math.prod(counts) > MAX_CHUNKS:
        raise ValueError(
            f"chunks must be at most {MAX_CHUNKS} of a file, got {math.prod(counts)} of "
            f"{shape[1]} x {shape[2]} pixels: make them larger"
        )
    along = [
        min(size, side) if isinstance(size, int) else size
        for size, side in zip(pixels, shape[1:], strict=True)
    ]
    sizes = normalize_chunks((-1, *along), shape, dtype=np.dtype("f4"))
    if (largest := 4 * math.prod(max(part) for part in sizes)) > MAX_BLOCK_BYTES:
        raise ValueError(
            f"chunks must have at most {MAX_BLOCK_BYTES} bytes in float32, got {largest}: "
            "make them smaller"
        )
    return sizes


def _chunk_size(size: Any) -> int | str:
    """Return the size of chunks along one dimension: pixels, -1 or "auto"."""
    if isinstance(size, str) and size == "auto":
        return size
    if not isinstance(size, Integral) or isinstance(size, bool):
        raise TypeError(f'chunks must be numbers of pixels, -1 for all, or "auto", got {size!r}')
    if size < 1 and size != -1:
        raise ValueError(f"chunks must be at least 1 pixel wide, or -1 for all, got {size}")
    return int(size)
