"""Keep the files of this machine open between blocks: to open one can take longer than to read it.

A dataset of GDAL serves one thread at a time. Threads that read the same file at once each open it.
Only GeoTIFFs without further files stay open: of those, a look at the file shows that it changed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from cookbook_utils.datasets._access import gdal_name, is_remote

MAX_IDLE = 64
"""Most files that stay open while no thread reads them."""

_idle: list[tuple[Any, OpenRaster]] = []  # the last used ones at the end
_lock = threading.Lock()


class OpenRaster:
    """A raster that is open, with what each block of it needs.

    Parameters
    ----------
    name : str
        The name by which GDAL opens it.
    """

    def __init__(self, name: str) -> None:
        import rasterio
        from odc.geo.converters import rio_geobox
        from rasterio.enums import ColorInterp

        self.dataset = rasterio.open(name, sharing=False)
        self.grid, self.crs = rio_geobox(self.dataset), self.dataset.crs
        found = self.dataset.colorinterp
        self.alpha = found.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in found else None
        self.nodata_value = functools.cache(self._nodata_value)

    def _nodata_value(self, band: int) -> float | None:
        """Return the value that alone marks nodata, NaN without any, or None with another mask."""
        from rasterio.enums import MaskFlags

        flags = self.dataset.mask_flag_enums[band - 1]
        if flags == [MaskFlags.all_valid]:
            return np.nan
        dtype, nodata = np.dtype(self.dataset.dtypes[band - 1]), self.dataset.nodatavals[band - 1]
        if flags != [MaskFlags.nodata] or nodata is None:
            return None
        if dtype.kind == "f":  # GDAL also masks floats close to another nodata value
            return np.nan if np.isnan(nodata) else None
        is_value = nodata == np.rint(nodata) and np.can_cast(dtype, np.float64)
        limits = np.iinfo(dtype)
        return nodata if is_value and limits.min <= nodata <= limits.max else None


@contextlib.contextmanager
def opened(address: str) -> Iterator[OpenRaster]:
    """Open a raster for one thread, or take one that is open and has not changed since.

    Parameters
    ----------
    address : str
        Its path or address.

    Yields
    ------
    OpenRaster
        The raster. It is closed if the block raises an error.
    """
    key = None if is_remote(address) else _version(address)
    raster = _take(key) or OpenRaster(gdal_name(address))
    try:
        yield raster
    except BaseException:
        raster.dataset.close()
        raise
    is_alone = raster.dataset.driver == "GTiff" and len(raster.dataset.files) == 1
    _put(key if is_alone else None, raster)


def _version(address: str) -> tuple | None:
    """Return what identifies a file as it is now; a process has its own, as it may be a fork."""
    try:
        facts = os.stat(address)
    except OSError:  # in an archive, or absent
        return None
    return os.getpid(), address, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _take(key: tuple | None) -> OpenRaster | None:
    with _lock:
        for index in range(len(_idle) - 1, -1, -1):
            if key is not None and _idle[index][0] == key:
                return _idle.pop(index)[1]
    return None


def _put(key: tuple | None, raster: OpenRaster) -> None:
    """Keep a raster open, and close the one that was not used for the longest time."""
    closed = raster
    with _lock:
        if key is not None:
            _idle.append((key, raster))
            closed = _idle.pop(0)[1] if len(_idle) > MAX_IDLE else None
    if closed is not None:
        closed.dataset.close()
