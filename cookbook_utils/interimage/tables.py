"""Tables (n_samples, n_features) of pixels: arrays, data frames and lists of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.sparse import issparse

from cookbook_utils._checks import as_real_array, require_dims, require_real
from cookbook_utils._conventions.nodata import nodata_values
from cookbook_utils.interimage.blocks import array_module
from cookbook_utils.interimage.traits import Traits

HOW_TO_NAME_DIMENSIONS = "xarray.DataArray(X, dims=('band', 'y', 'x')) makes it a scene"


def read_table(x: Any) -> tuple[Any, tuple[float, ...], Traits]:
    """Return a table as an array or data frame, with its nodata values and traits.

    Parameters
    ----------
    x : xarray.DataArray, array, pandas.DataFrame or list of rows
        The table; a DataArray may have its dimension ``band`` first.

    Returns
    -------
    table : array or pandas.DataFrame (n_samples, n_features)
        NumPy, CuPy or Dask array.
    nodata : tuple of float
        Nodata values.
    traits : Traits
        Names of the features, and units where there are attributes.

    Raises
    ------
    TypeError
        If `x` does not hold real numbers, is sparse, a matrix or a lazy data frame, or has columns
        of which only some are named by text.
    ValueError
        If `x` does not have two dimensions, has an unknown length, or holds complex numbers.
    """
    if isinstance(x, xr.DataArray):
        require_dims(x, x.dims, "X")
        nodata = nodata_values(x)
        x = x.transpose(..., "band") if "band" in x.dims else x
        return x.data, nodata, Traits.of(x)
    x = _as_table(x)
    columns = tuple(x.columns) if hasattr(x, "columns") else None
    return x, (), Traits(columns, ())


def _as_table(x: Any) -> Any:
    if issparse(x):
        raise TypeError("X must be a dense array, got a sparse array: give X.toarray()")
    if isinstance(x, np.matrix):
        raise TypeError("X must be a dense array, got a matrix: give X.A")
    if isinstance(x, np.ma.MaskedArray) or not (hasattr(x, "ndim") or hasattr(x, "__array__")):
        _require_rows(x)
        x = as_real_array(x, "X")
    lazy = hasattr(x, "dask")
    if lazy and hasattr(x, "to_dask_array"):
        raise TypeError(
            "X must be an array, a DataArray or a pandas.DataFrame, got a lazy "
            f"{type(x).__name__}: give X.to_dask_array(lengths=True)"
        )
    _require_two_dimensions(x)
    if lazy and np.isnan(x.shape).any():
        raise ValueError(
            f"X must have a known shape, got {x.shape}: call its compute_chunk_sizes() first"
        )
    if isinstance(x, pd.DataFrame):
        _require_numeric_columns(x)
    elif isinstance(x, np.ndarray):
        return _real(x)
    elif lazy or array_module(x) is not np:
        require_real(x, "X")
        _require_samples(x)
    return x


def _require_rows(x: Any) -> None:
    """Raise ValueError if `x` is a list of arrays of two or more dimensions."""
    if isinstance(x, list | tuple) and getattr(x[0], "ndim", 1) > 1:
        raise ValueError(
            "X must be a table (n_samples, n_features), a DataArray or a list of DataArrays, got a "
            f"list of {type(x[0]).__name__} with {x[0].ndim} dimensions: {HOW_TO_NAME_DIMENSIONS}"
        )


def _require_two_dimensions(x: Any) -> None:
    ndim = getattr(x, "ndim", 2)
    if ndim == 2:
        return
    advice = HOW_TO_NAME_DIMENSIONS
    if ndim == 1:
        advice = "Reshape your data with X.reshape(-1, 1) if each sample is one number"
    raise ValueError(
        "X must be a table (n_samples, n_features) or a DataArray with the dimensions "
        f"('band', 'y', 'x'), got an array of shape {x.shape}: {advice}"
    )


def _require_samples(x: Any) -> None:
    if 0 in x.shape:
        raise ValueError(f"X must have at least one sample and feature, got shape {x.shape}")


def _require_numeric_columns(frame: pd.DataFrame) -> None:
    _require_samples(frame)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"X must have each column once, got {twice!r} more than once")
    named = [isinstance(name, str) for name in frame.columns]
    if any(named) and not all(named):
        raise TypeError(
            "X must have columns that are all named by text or all not, got the column "
            f"{frame.columns[named.index(False)]!r}: give X.rename(columns=str)"
        )
    for name, dtype in frame.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype) or isinstance(dtype, pd.SparseDtype):
            raise TypeError(
                f"X must hold real numbers in dense columns, got dtype {dtype} in column {name!r}"
            )


def _real(x: np.ndarray) -> np.ndarray:
    """Return an array of real numbers; objects become float64.

    Errors have the type and contain the text that scikit-learn's estimator checks require.
    """
    if x.dtype.kind == "c":
        raise ValueError(f"X must hold real numbers, got {x.dtype}: Complex data not supported")
    if x.dtype.kind == "O":
        try:
            return x.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"X must hold real numbers, got objects: {error}") from error
    require_real(x, "X")
    return x
