"""Decode stored pixels to reflectance in one pass, compiled by Numba.

Arrays of less than four megabytes get new pages of memory each time in workers of Dask, which give
free memory back to the system. To write such an array then takes ten times as long: one pass
without temporary arrays is worth more than its arithmetic.
"""

from __future__ import annotations

import functools

import numpy as np

from cookbook_utils._compiling import jit


def decode_pixels(
    values: np.ndarray,
    valid: np.ndarray | None,
    nodata: float,
    other_nodata: float,
    scale: float,
    offset: float,
    low: float,
    high: float,
    out: np.ndarray,
) -> tuple[int, int, int]:
    """Write ``values * scale + offset`` where they are valid and `out` is NaN.

    Parameters
    ----------
    values : numpy.ndarray (y, x)
        The pixels as stored.
    valid : numpy.ndarray of bool (y, x) or None
        Where pixels are valid, beside nodata; None is everywhere.
    nodata, other_nodata : float
        Values that are nodata; NaN is nodata in any case.
    scale, offset : float
        What pixels are multiplied by, and what is added, in the dtype of the arithmetic.
    low, high : float
        Limits of plausible results.
    out : numpy.ndarray of float (y, x)
        The array to write.

    Returns
    -------
    n, above, below : int
        Number of valid pixels, and of those above `high` and below `low`.
    """
    return _kernel()(values, valid, nodata, other_nodata, scale, offset, low, high, out)


@functools.cache
def _kernel():
    @jit(cache=True, nogil=True)
    def kernel(values, valid, nodata, other_nodata, scale, offset, low, high, out):
        n, above, below = 0, 0, 0
        work, result = type(scale), out.dtype.type
        nan = result(np.nan)
        for y in range(values.shape[0]):
            row, target = values[y], out[y]
            # Counters as wide as the pixels, and no branches: otherwise it takes 2.5 times as long.
            row_n, row_above, row_below = np.int32(0), np.int32(0), np.int32(0)
            for x in range(row.size):
                value = work(row[x])
                decoded = result(value * scale + offset)
                decoded = nan if (value == nodata) | (value == other_nodata) else decoded
                if valid is not None:
                    decoded = decoded if valid[y, x] else nan
                row_n = np.int32(row_n + (decoded == decoded))
                row_above = np.int32(row_above + (decoded > high))
                row_below = np.int32(row_below + (decoded < low))
                before = target[x]
                target[x] = before if before == before else decoded
            n += row_n
            above += row_above
            below += row_below
        return n, above, below

    return kernel
