"""Label maps to be exported: dtype and nodata, grid, and their pixels block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.grids import crs_of, full_turn, grid_tolerance, regular_centers
from cookbook_utils._conventions.labels import as_labels, nodata_label, without_single_band
from cookbook_utils._conventions.nodata import equals_nodata, nodata_values

if TYPE_CHECKING:
    import pyproj
    from rasterio import Affine

NODATA_16 = 2**16 - 1
"""Nodata value of maps of uint16 that declare none."""

BLOCK_PIXELS = 2**22
"""Pixels to compute at a time, unless a chunk is larger."""


class LabelMap(NamedTuple):
    """A label map on its grid."""

    labels: xr.DataArray
    """(y, x) of uint8 or uint16, with one nodata value; lazy if the given map is."""
    nodata: int
    crs: pyproj.CRS
    transform: Affine

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges left, bottom, right and top, in CRS units."""
        height, width = self.labels.shape
        a, _, c, _, e, f, *_ = self.transform
        x, y = (c, c + a * width), (f, f + e * height)
        return min(x), min(y), max(x), max(y)


def as_label_map(labels: Any) -> LabelMap:
    """Return a label map that can be exported, or raise.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers.
    ValueError
        If it has other dimensions, several dates or no CRS, its grid is not regular, or a value is
        not a label (on compute if it is lazy).
    """
    labels = without_single_band(labels)
    if isinstance(labels, xr.DataArray) and "time" in labels.dims:
        if labels.sizes["time"] != 1:
            raise ValueError(
                f"labels must be a map of one date, got {labels.sizes['time']} along time: write "
                "each labels.isel(time=i) to a file of its own"
            )
        labels = labels.isel(time=0)
    if getattr(labels, "dtype", None) == np.uint16:
        require_dims(labels, ("y", "x"), "labels")
        labels, nodata = _with_one_nodata(labels)
    else:
        labels = as_labels(labels)
        nodata = nodata_label(labels.dtype)
    crs = crs_of(labels)
    if crs is None:
        raise ValueError("labels must have a CRS, got none: set it with rio.write_crs")
    labels = labels.transpose("y", "x")
    return LabelMap(labels, nodata, crs, _transform_of(labels, crs))


def _with_one_nodata(labels: xr.DataArray) -> tuple[xr.DataArray, int]:
    """Return labels of uint16 with the first of their nodata values for all of them."""
    found = [int(value) for value in nodata_values(labels) if 0 <= value <= NODATA_16]
    nodata = found[0] if found else NODATA_16
    if len(found) > 1:
        attrs = labels.attrs
        labels = xr.apply_ufunc(
            lambda values: np.where(equals_nodata(values, found), np.uint16(nodata), values),
            labels, dask="parallelized", output_dtypes=[np.uint16],
        ).assign_attrs(attrs)  # fmt: skip
    return labels.astype(np.uint16), nodata  # in the byte order of the machine


def _transform_of(labels: xr.DataArray, crs: pyproj.CRS) -> Affine:
    """Return the transform that the file of the map had if it still holds, else of its centers."""
    from rasterio import Affine

    names = [name for name in ("spatial_ref", labels.rio.grid_mapping) if name in labels.coords]
    for name in names:
        text = str(labels[name].attrs.get("GeoTransform", "")).split()
        try:
            stored = Affine.from_gdal(*map(float, text))
        except (TypeError, ValueError):
            continue
        if _holds(stored, labels):
            return stored
    turn = full_turn(crs)
    x, dx = regular_centers(labels, "x", "labels", turn)
    y, dy = regular_centers(labels, "y", "labels")
    return Affine(dx, 0, x[0] - dx / 2, 0, dy, y[0] - dy / 2)


def _holds(transform: Affine, labels: xr.DataArray) -> bool:
    """Return whether a transform gives the coordinates of a map."""
    a, b, c, d, e, f = tuple(transform)[:6]
    if b or d or not a or not e or not {"x", "y"} <= set(labels.coords):
        return False
    for dim, first, step in (("x", c, a), ("y", f, e)):
        given = labels[dim].values
        if given.ndim != 1 or given.dtype.kind not in "iuf":
            return False
        centers = first + step * (np.arange(given.size) + 0.5)
        if not (np.abs(centers - given) <= grid_tolerance(abs(step), given)).all():
            return False
    return True


def blocks(labels: xr.DataArray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield rows, columns and values of blocks, row by row; chunks are computed once each."""
    height, width = labels.shape
    if labels.chunks is None:
        rows = max(1, BLOCK_PIXELS // width)
        chunks = [min(rows, height - top) for top in range(0, height, rows)], [width]
    else:
        chunks = labels.chunks
    for rows in _slices(chunks[0]):
        most = max(1, BLOCK_PIXELS // (rows.stop - rows.start))
        for columns in _slices(chunks[1], most):
            yield rows, columns, labels[rows, columns].values


def _slices(sizes: Any, most: int = 0) -> Iterator[slice]:
    """Yield slices of consecutive sizes, which are joined as long as they have at most `most`."""
    start = stop = 0
    for size in sizes:
        if stop > start and stop + size - start > most:
            yield slice(start, stop)
            start = stop
        stop += size
    yield slice(start, stop)
