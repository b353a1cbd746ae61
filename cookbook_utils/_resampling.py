"""Resampling of rasters along y and x, window by window, so that memory does not grow with them.

A raster is resampled along each axis by itself: the result is Y · raster · Xᵀ, where row i of the
sparse matrix Y holds the shares that the rows of the raster have in row i of the result, and X does
so for its columns.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SIDE = 1024  # pixels of a window of a raster in memory, along y and x
LEAST_COVER = 0.5  # share of a pixel that must have data for an average


def linear_shares(along: np.ndarray, n: int) -> csr_array:
    """Return the shares of `n` pixels in values between them.

    Parameters
    ----------
    along : numpy.ndarray (m,)
        Positions from 0 to n − 1 in pixels; NaN gives an empty row. A position at the center of a
        pixel takes nothing from the next one, so that nodata there has no effect.
    n : int
        Number of pixels.

    Returns
    -------
    scipy.sparse.csr_array (m, n)
        One or two shares in each row, which add up to 1.
    """
    first = np.floor(np.nan_to_num(along)).astype(int)
    weight = np.nan_to_num(along) - first
    inside = np.isfinite(along)
    columns = np.stack([first, first + 1], axis=1)
    shares = np.stack([1 - weight, weight], axis=1) * inside[:, None]
    return _csr(columns, shares, n)


def average_shares(low: np.ndarray, high: np.ndarray, n: int) -> csr_array:
    """Return the share of each pixel of a result that each of `n` pixels covers.

    Parameters
    ----------
    low, high : numpy.ndarray (m,)
        Where each pixel of the result begins and ends; pixel i reaches from i − 0.5 to i + 0.5.
    n : int
        Number of pixels.

    Returns
    -------
    scipy.sparse.csr_array (m, n)
        Rows add up to 1, or less at the edge of the raster.
    """
    first = np.clip(np.floor(low + 0.5), 0, n).astype(int)
    last = np.clip(np.ceil(high + 0.5), 0, n).astype(int)
    columns = first[:, None] + np.arange(max(int((last - first).max()), 1))
    overlap = np.minimum(high[:, None], columns + 0.5) - np.maximum(low[:, None], columns - 0.5)
    shares = np.clip(overlap, 0, None) / (high - low)[:, None] * (columns < last[:, None])
    return _csr(columns, shares, n)


def _csr(columns: np.ndarray, shares: np.ndarray, n: int) -> csr_array:
    """Return a sparse matrix of n columns from those of each row, without shares of 0."""
    from scipy.sparse import csr_array

    used = shares > 0
    starts = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return csr_array((shares[used], columns[used], starts), shape=(len(shares), n))


def resample(
    data: Any, y: csr_array, x: csr_array, *, average: bool, nodata: float, dtype: np.dtype
) -> Any:
    """Resample the last two axes of an array, window by window.

    Parameters
    ----------
    data : numpy.ndarray or dask.array.Array (..., rows, columns)
        The raster. Floats, or integers where each pixel of the result has one share.
    y, x : scipy.sparse.csr_array
        Shares (rows of the result, rows), (columns of the result, columns).
    average : bool
        Whether the result is the average of the valid values, or NaN where one is NaN.
    nodata : float
        Value of the result where there is no data.
    dtype : numpy.dtype
        Its dtype.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        The result, lazy if `data` is.
    """
    how = {"average": average, "nodata": nodata, "dtype": dtype}
    lazy = hasattr(data, "dask")
    parts = [
        _parts(shares, max(data.chunks[axis]) if lazy else SIDE)
        for shares, axis in ((y, -2), (x, -1))
    ]
    if not lazy:
        result = np.empty((*data.shape[:-2], y.shape[0], x.shape[0]), dtype)
        for rows, source_rows, row_shares in parts[0]:
            for columns, source_columns, column_shares in parts[1]:
                window = data[..., source_rows, source_columns]
                result[..., rows, columns] = _window(window, row_shares, column_shares, **how)
        return result
    return _lazy(data, *parts, how)


def _lazy(data: Any, rows: list, columns: list, how: dict[str, Any]) -> Any:
    """Return the result for a Dask array: one task for each window and chunk of further axes."""
    import dask.array as da

    def block(source_rows: slice, y: csr_array, source_columns: slice, x: csr_array) -> Any:
        window = data[..., source_rows, source_columns]
        window = window.rechunk({window.ndim - 2: -1, window.ndim - 1: -1})
        return window.map_blocks(
            partial(_window, y=y, x=x, **how),
            chunks=(*window.chunks[:-2], (y.shape[0],), (x.shape[0],)),
            meta=np.empty((0,) * window.ndim, how["dtype"]),
        )

    return da.block([[block(at_y, y, at_x, x) for _, at_x, x in columns] for _, at_y, y in rows])


def _parts(shares: csr_array, side: int) -> list[tuple[slice, slice, csr_array]]:
    """Cut an axis of the result into parts that need at most about `side` pixels of the raster.

    Returns for each part its slice of the result, the slice of the raster that it needs, and the
    shares of the latter in the former.
    """
    n = shares.shape[0]
    needed = np.unique(shares.indices)
    span = int(np.ptp(needed)) + 1 if needed.size else 1
    step = max(1, int(side * min(1.0, n / span)))
    parts = []
    for start in range(0, n, step):
        part = shares[start : start + step]
        first, last = (part.indices.min(), part.indices.max()) if part.nnz else (0, 0)
        source = slice(int(first), int(last) + 1)
        parts.append((slice(start, start + part.shape[0]), source, part[:, source]))
    return parts


def _window(
    window: np.ndarray, y: csr_array, x: csr_array, *, average: bool, nodata: float, dtype: Any
) -> np.ndarray:
    """Return the result for one window of the raster."""
    covered = (np.diff(y.indptr) > 0)[:, None] & (np.diff(x.indptr) > 0)
    if average:
        valid = ~np.isnan(window)
        cover = _product(valid, y, x)
        covered = cover >= LEAST_COVER
        with np.errstate(invalid="ignore", divide="ignore"):
            result = _product(np.where(valid, window, 0), y, x) / cover
    elif np.issubdtype(window.dtype, np.integer):
        result = window[..., _only_column(y)[:, None], _only_column(x)]
    else:
        result = _product(window, y, x)
    return np.where(covered, result, nodata).astype(dtype)


def _product(window: np.ndarray, y: csr_array, x: csr_array) -> np.ndarray:
    """Return Y · window · Xᵀ in float64 for each raster of the further axes."""
    rasters = window.reshape(-1, *window.shape[-2:]).astype(np.float64)
    result = np.stack([(x @ (y @ raster).T).T for raster in rasters])
    return result.reshape(*window.shape[:-2], *result.shape[-2:])


def _only_column(shares: csr_array) -> np.ndarray:
    """Return the column of the one share in each row, or 0 for an empty row."""
    columns = np.zeros(shares.shape[0], int)
    columns[np.diff(shares.indptr) > 0] = shares.indices
    return columns
