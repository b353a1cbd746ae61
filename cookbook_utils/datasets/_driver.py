"""Read blocks of rasters for odc-stac: every kind of nodata becomes NaN, errors name the file.

odc-stac's own driver ignores masks and alpha bands, and its errors name neither file nor place.
The classes here have the methods of its protocols; they inherit nothing, because odc-stac, which
imports rasterio, is imported only when scenes are opened. What they read stays as it is stored
until `fuse` decodes it into its place, so that no array is written twice.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cookbook_utils._checks import needs
from cookbook_utils._conventions.bands import REFLECTANCE_RANGE, SHARE_ABOVE, SHARE_BELOW
from cookbook_utils.datasets._access import (
    gdal_environment,
    is_remote,
    is_web,
    raster_error,
    unreachable,
    without_secrets,
)
from cookbook_utils.datasets._bands import BandSource
from cookbook_utils.datasets._contents import OtherPart, require_parts
from cookbook_utils.datasets._decoding import decode_pixels
from cookbook_utils.datasets._open_rasters import OpenRaster, opened

# rasterio hides it while it makes the arrays of a warp into datasets, but not from other threads.
warnings.filterwarnings("ignore", "Dataset has no geotransform", module=r"rasterio\.warp")

MIN_PIXELS = 100
"""Fewest valid pixels of a block from which a wrong scale is inferred."""

MEAN_PIXELS = 1 << 22
"""Pixels that are read at once for means of a coarser grid."""


_SCHEME = "gdal://"


class BlockAddress(NamedTuple):
    """The band of a raster that a block is read from, and what its numbers mean."""

    address: str
    band: int
    nodata: float | None
    scale: float
    offset: float

    @classmethod
    def of(cls, source: BandSource) -> BlockAddress:
        """Return the address of a band, which holds in any working directory."""
        address = source.address
        if not is_remote(address) and os.path.exists(address):
            address = os.path.abspath(address)
        return cls(address, source.band, source.nodata, source.scale, source.offset)

    def __str__(self) -> str:  # an item of STAC has one text for it, which must be absolute
        return _SCHEME + "#".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> BlockAddress:
        """Return the parts of what `str` makes."""
        address, band, nodata, scale, offset = text.removeprefix(_SCHEME).rsplit("#", 4)
        given = None if nodata == "None" else float(nodata)
        return cls(address, int(band), given, float(scale), float(offset))


class BlockDriver:
    """A driver of odc-stac."""

    md_parser = None
    aux_reader = None
    dask_reader = None

    def __init__(self, options: Mapping[str, Any], signed: bool = False) -> None:
        self.options = dict(options)
        self.signed = signed

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return type(self).__name__, sorted(self.options), self.signed

    def new_load(self, geobox: Any, *, chunks: Any = None) -> None:
        """Return no state: every block opens its file, so that blocks are read in parallel."""

    def finalise_load(self, load_state: Any) -> None:
        """Release nothing."""

    def capture_env(self) -> dict[str, Any]:
        """Return nothing: `gdal_environment` configures GDAL for each block."""
        return {}

    @contextlib.contextmanager
    def restore_env(self, env: Mapping[str, Any], load_state: Any) -> Iterator[None]:
        """Change nothing."""
        yield

    def open(self, src: Any, ctx: Any) -> BlockReader:
        """Return the reader of one band."""
        return BlockReader(BlockAddress.parse(src.uri), self.options, self.signed)


class BlockReader:
    """The reader of a band of one raster."""

    def __init__(self, source: BlockAddress, options: Mapping[str, Any], signed: bool) -> None:
        self.source, self.options, self.signed = source, options, signed

    def read(
        self, cfg: Any, dst_geobox: Any, *, dst: Any = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], Any]:
        """Return the part of `dst_geobox` that the raster covers, and its pixels for `fuse`."""
        from rasterio.errors import RasterioError

        address = sign(self.source.address) if self.signed else self.source.address
        failure = None
        try:
            with gdal_environment(address, self.options), opened(address) as file:
                roi, pixels = _read(file, self.source, cfg.resampling, dst_geobox)
            if is_web(address):
                require_parts(address)
        except OtherPart:
            raise
        except (RasterioError, OSError) as error:
            failure = raster_error(address, error, self.options)
        if failure is not None:  # without rasterio's as context, which cannot leave a process
            raise failure
        dtype = np.dtype(cfg.dtype)
        if dtype.kind == "f":
            return roi, pixels
        decoded = pixels.decoded()  # a quality band
        return roi, np.where(np.isnan(decoded), cfg.fill_value, decoded).astype(dtype)


def _read(
    file: OpenRaster, source: BlockAddress, resampling: str, wanted: Any
) -> tuple[tuple[slice, slice], StoredPixels]:
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    plan = _plan(file.grid, wanted)
    if 0 in _shape(plan.roi_src) or 0 in _shape(plan.roi_dst):
        nothing = np.empty((0, 0), np.float32)
        return (slice(0, 0), slice(0, 0)), StoredPixels(nothing, source)
    if plan.paste_ok and plan.read_shrink == 1:
        return plan.roi_dst, _stored(file, source, plan.roi_src, _shape(plan.roi_src))
    pixels, part = _shrunk(file, source, plan, resampling)
    target = wanted[plan.roi_dst]
    result = np.full(target.shape, np.nan, pixels.dtype)
    reproject(
        pixels, result, src_transform=part.transform, src_crs=file.crs, src_nodata=np.nan,
        dst_transform=target.transform, dst_crs=str(target.crs), dst_nodata=np.nan,
        resampling=Resampling[resampling], init_dest_nodata=True,
    )  # fmt: skip
    return plan.roi_dst, StoredPixels(result, source)


@functools.lru_cache(maxsize=1024)
def _plan(grid: Any, wanted: Any) -> Any:
    """Return which pixels of a raster a block takes; it takes longer than to read a small one."""
    from odc.geo.overlap import compute_reproject_roi

    return compute_reproject_roi(grid, wanted)


def _shrunk(
    file: OpenRaster, source: BlockAddress, plan: Any, resampling: str
) -> tuple[np.ndarray, Any]:
    """Return the pixels of a block and their grid, coarser where the target is that much coarser.

    For the nearest pixel GDAL takes the overview of the file that fits. Other methods get means of
    all valid pixels, as an overview may be made in any way.
    """
    height, width = _shape(plan.roi_src)
    shrink = min(plan.read_shrink, height, width)
    part = file.grid[plan.roi_src]
    if shrink == 1:
        return _valid_pixels(file, source, plan.roi_src, (height, width)), part
    shape = height // shrink, width // shrink
    if resampling == "nearest":
        return _valid_pixels(file, source, plan.roi_src, shape), part.zoom_to(shape)
    top, left = (along.start for along in plan.roi_src)
    means = np.empty(shape, np.float32)
    step = max(1, MEAN_PIXELS // (shape[1] * shrink**2))  # rows of means at once
    for first in range(0, shape[0], step):
        n = min(step, shape[0] - first)
        rows = slice(top + first * shrink, top + (first + n) * shrink)
        window = rows, slice(left, left + shape[1] * shrink)
        pixels = _valid_pixels(file, source, window, _shape(window))
        cells = pixels.reshape(n, shrink, shape[1], shrink)
        counts = np.count_nonzero(cells == cells, axis=(1, 3))
        sums = np.nansum(cells, axis=(1, 3), dtype=np.float64)
        means[first : first + n] = np.where(counts, sums / np.maximum(counts, 1), np.nan)
    return means, part[: shape[0] * shrink, : shape[1] * shrink].zoom_to(shape)


def _shape(roi: tuple[slice, slice]) -> tuple[int, int]:
    rows, columns = roi
    return max(0, rows.stop - rows.start), max(0, columns.stop - columns.start)


def _valid_pixels(
    file: OpenRaster, source: BlockAddress, roi: tuple[slice, slice], shape: tuple[int, int]
) -> np.ndarray:
    """Return pixels as floats that represent them, with NaN where the file or catalog has none."""
    return _stored(file, source, roi, shape).decoded()


def _stored(
    file: OpenRaster, source: BlockAddress, roi: tuple[slice, slice], shape: tuple[int, int]
) -> StoredPixels:
    """Return pixels as a file holds them, and which of them are valid."""
    from rasterio.windows import Window

    where = {"window": Window.from_slices(*roi), "out_shape": shape}
    values = file.dataset.read(source.band, **where)
    nodata, valid = file.nodata_value(source.band), None
    if nodata is None:
        valid = file.dataset.read_masks(source.band, **where) != 0
        declared = file.dataset.nodatavals[source.band - 1]
        if declared is not None:  # GDAL ignores it where there is a mask
            with np.errstate(over="ignore"):
                valid &= values != declared
    if file.alpha is not None:  # GDAL takes it for a mask in some formats only
        opaque = file.dataset.read(file.alpha, **where) != 0
        valid = opaque if valid is None else valid & opaque
    return StoredPixels(values, source, np.nan if nodata is None else nodata, valid)


class StoredPixels:
    """Pixels as a raster holds them, which `fuse` decodes into an array.

    Parameters
    ----------
    values : numpy.ndarray (y, x)
        The pixels; NaN is nodata in any case.
    source : BlockAddress
        Their band, with its scale, its offset and the nodata value of the catalog.
    nodata : float, optional
        The nodata value of the file.
    valid : numpy.ndarray of bool (y, x), optional
        Where the file has pixels.
    """

    def __init__(
        self,
        values: np.ndarray,
        source: BlockAddress,
        nodata: float = np.nan,
        valid: np.ndarray | None = None,
    ) -> None:
        self.values, self.source, self.valid = values, source, valid
        self.shape, self.ndim = values.shape, values.ndim
        self.exact = np.float32 if np.can_cast(values.dtype, np.float32) else np.float64
        given = np.nan if source.nodata is None else source.nodata
        self.nodata = self.exact(nodata), self.exact(given)

    def decoded(self) -> np.ndarray:
        """Return the pixels as floats that represent them, with NaN for those that are invalid."""
        out = np.full(self.shape, np.nan, self.exact)
        self.decode(out)
        return out

    def decode(
        self, out: np.ndarray, scale: float = 1.0, offset: float = 0.0
    ) -> tuple[int, int, int]:
        """Write the valid pixels, times `scale` plus `offset`, where `out` is NaN.

        Returns the counts of `decode_pixels`.
        """
        low, high = REFLECTANCE_RANGE
        return decode_pixels(
            self.values, self.valid, *self.nodata, self.exact(scale), self.exact(offset),
            np.float32(low), np.float32(high), out,
        )  # fmt: skip


def fuse(out: np.ndarray, pixels: StoredPixels) -> None:
    """Write the reflectance of pixels where `out` is NaN; odc-stac finds this by its name.

    Raises
    ------
    ValueError
        If the scale of the pixels cannot be right.
    """
    source = pixels.source
    _require_shares(*pixels.decode(out, source.scale, source.offset), source)


def require_possible(reflectance: np.ndarray, source: BandSource | BlockAddress) -> None:
    """Raise ValueError if a block has more implausible values than clouds and shadows make."""
    low, high = REFLECTANCE_RANGE
    n = np.count_nonzero(reflectance == reflectance)
    above, below = np.count_nonzero(reflectance > high), np.count_nonzero(reflectance < low)
    _require_shares(n, above, below, source)


def _require_shares(n: int, above: int, below: int, source: BandSource | BlockAddress) -> None:
    if n < MIN_PIXELS:
        return
    low, high = REFLECTANCE_RANGE
    for count, most, where in zip(
        (above, below), (SHARE_ABOVE, SHARE_BELOW), (f"above {high:g}", f"below {low:g}"),
        strict=True,
    ):  # fmt: skip
        if count / n > most:
            raise ValueError(
                f"scale, offset and nodata must lead to reflectance, got {count / n:.0%} of the "
                f"values in a block of {without_secrets(source.address)}, band {source.band}, "
                f"{where} with the scale {source.scale:g}, the offset {source.offset:g} and the "
                f"nodata value {source.nodata}: give those of the data"
            )


def sign(address: str) -> str:
    """Return an address of Planetary Computer with a signature that is valid for an hour."""
    with needs("planetary-computer"):
        import planetary_computer

    try:
        return planetary_computer.sign(address)
    except Exception as error:  # requests and pydantic have no common base class
        raise unreachable(address, error) from None
