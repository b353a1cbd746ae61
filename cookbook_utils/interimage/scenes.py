"""From the scenes and tables that a user has to arrays of pixels, and from labels back to maps."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import as_real_array, require_dims, require_real, shown
from cookbook_utils._conventions.bands import SCALE_KEYS, units_of
from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils._conventions.nodata import nodata_values, numbers_in
from cookbook_utils.interimage.blocks import Scene, array_module


class Traits(NamedTuple):
    """What pixels are besides their values: it must be the same in all scenes of a model."""

    bands: tuple | None
    """The names of the bands, in their order, if they have names."""
    measure: tuple[tuple[str, str], ...]
    """Units, scale and scaling, as far as the attributes tell."""
    kind: str | None = None
    """Whether values are integers or floats, where that is known."""

    @classmethod
    def of(cls, array: xr.DataArray) -> Traits:
        """Return the traits of an array with a ``band`` dimension."""
        bands = tuple(array["band"].values.tolist()) if "band" in array.coords else None
        told = {"units": units_of(array), "scaling": array.attrs.get("scaling")}
        for name, plain in SCALE_KEYS.items():  # readers set plain ones on every raster
            scales = set(numbers_in(array.attrs.get(name), f"the {name} of an array"))
            told[name] = sorted(scales) if scales - {plain} else None
        measure = ((name, str(value)) for name, value in told.items() if value is not None)
        return cls(bands, tuple(measure), "floats" if array.dtype.kind == "f" else "integers")

    def require(self, expected: Traits, what: str, other: str) -> None:
        """Raise ValueError unless bands and measure are as `expected`, as far as both are known."""
        if None not in (self.bands, expected.bands) and self.bands != expected.bands:
            raise ValueError(
                f"{what} must have the bands of {other} in their order, {list(expected.bands)}, "
                f"got {list(self.bands)}"
            )
        if self.measure and expected.measure and self.measure != expected.measure:
            raise ValueError(
                f"{what} must hold values of the same kind as {other}, {_told(expected.measure)}, "
                f"got {_told(self.measure)}: bring both to reflectance with "
                "cookbook_utils.scaling.to_reflectance"
            )

    def warn_if_less(self, expected: Traits) -> None:
        """Warn if nothing tells that pixels are as those that a model was fitted on."""
        lacking = []
        if expected.bands is not None and self.bands is None:
            lacking.append(f"names of its bands (fitted: {list(expected.bands)})")
        if expected.measure and not self.measure:
            lacking.append(f"units or scale in its attributes (fitted: {_told(expected.measure)})")
        if not expected.measure and None not in (self.kind, expected.kind):
            if self.kind != expected.kind:
                lacking.append(f"units, and holds {self.kind} (fitted: {expected.kind})")
        if lacking:
            warnings.warn(
                f"X has no {' and no '.join(lacking)}: it is taken to be like the pixels of fit",
                UserWarning,
                stacklevel=4,
            )


def _told(measure: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in measure)


def is_scenes(x: Any) -> bool:
    """Return whether `x` is a scene, a stack of them or a list of them, and not a table.

    Raises
    ------
    TypeError
        If `x` is a Dataset, or a list of DataArrays and others.
    ValueError
        If `x` is an empty list, or a DataArray that is neither a table nor a scene.
    """
    several = isinstance(x, list | tuple)
    members = list(x) if several else [x]
    arrays = [isinstance(member, xr.DataArray) for member in members]
    if several and not members:
        raise ValueError(
            "X must be a DataArray (band, y, x), a list of them or a table, got an empty list"
        )
    if x is None or isinstance(x, str):
        raise TypeError(
            f"X must be a DataArray (band, y, x), a list of them or a table, got {shown(x)}"
        )
    for member in members:
        if isinstance(member, xr.Dataset):
            raise TypeError(
                "X must be a DataArray (band, y, x), a list of them or a table, got a Dataset: "
                "make its variables the bands of one array with X.to_dataarray('band')"
            )
    if several and any(arrays):
        if not all(arrays):
            kinds = sorted({type(member).__name__ for member in members})
            raise TypeError(f"X must be a list of DataArrays only, got a list of {kinds}")
        return True
    if any(arrays):
        if not {"x", "y"}.isdisjoint(x.dims):
            return True
        if x.ndim == 2:
            return False
        raise ValueError(
            "X must be a scene with the dimensions ('band', 'y', 'x') or a table of two "
            f"dimensions, got {tuple(x.dims)}: rename them, for example "
            "X.rename(latitude='y', longitude='x')"
        )
    return False


def as_table(x: Any) -> Any:
    """Return an array or data frame (n_samples, n_features), which lists of rows become, or raise.

    What is left is a matter of scikit-learn: sparse matrices, names of columns.

    Raises
    ------
    TypeError
        If it holds no real numbers, or is lazy but no array.
    ValueError
        If it has other dimensions, or a length that is not known, or holds complex numbers.
    """
    names = "xarray.DataArray(X, dims=('band', 'y', 'x')) names those of a scene"
    if isinstance(x, list | tuple) and getattr(x[0], "ndim", 1) > 1:
        raise ValueError(
            "X must be a table (n_samples, n_features), a DataArray or a list of DataArrays, got a "
            f"list of {type(x[0]).__name__} with {x[0].ndim} dimensions: {names}"
        )
    if isinstance(x, np.ma.MaskedArray) or not (hasattr(x, "ndim") or hasattr(x, "__array__")):
        x = as_real_array(x, "X")
    lazy = hasattr(x, "dask")
    if lazy and hasattr(x, "to_dask_array"):
        raise TypeError(
            "X must be an array, a DataArray or a pandas.DataFrame, got a lazy "
            f"{type(x).__name__}: give X.to_dask_array(lengths=True)"
        )
    if getattr(x, "ndim", 2) != 2:
        cures = {1: "Reshape your data with X.reshape(-1, 1) if each sample is one number"}
        raise ValueError(
            "X must be a table (n_samples, n_features) or a DataArray with the dimensions "
            f"('band', 'y', 'x'), got an array of shape {x.shape}: {cures.get(x.ndim, names)}"
        )
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
        if 0 in x.shape:
            raise ValueError(f"X must have at least one sample and feature, got shape {x.shape}")
    return x


def _require_numeric_columns(frame: pd.DataFrame) -> None:
    if 0 in frame.shape:
        raise ValueError(f"X must have at least one sample and feature, got shape {frame.shape}")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"X must have each column once, got {twice!r} more than once")
    for name, dtype in frame.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype) or isinstance(dtype, pd.SparseDtype):
            raise TypeError(
                f"X must hold real numbers in dense columns, got dtype {dtype} in column {name!r}"
            )


def _real(x: np.ndarray) -> np.ndarray:
    """Return an array of numbers, which objects may be, or raise as scikit-learn wants it."""
    if x.dtype.kind == "c":
        raise ValueError(f"X must hold real numbers, got {x.dtype}: Complex data not supported")
    if x.dtype.kind == "O":
        try:
            return x.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"X must hold real numbers, got objects: {error}") from error
    require_real(x, "X")
    return x


def read_scenes(x: Any) -> tuple[list[Scene], Traits]:
    """Return the scenes of a DataArray or a list of them, and the traits that they share."""
    scenes, arrays = [], list(x) if isinstance(x, list | tuple) else [x]
    for number, array in enumerate(arrays):
        what = f"scene {number} of X" if isinstance(x, list | tuple) else "X"
        require_dims(array, ("band", "y", "x"), what, allow_extra=True)
        if array.sizes["band"] != arrays[0].sizes["band"]:
            raise ValueError(
                f"{what} must have as many bands as scene 0, {arrays[0].sizes['band']}, "
                f"got {array.sizes['band']}"
            )
        further = [dim for dim in array.dims if dim not in ("band", "y", "x")]
        values = array.transpose(*further, "band", "y", "x").data
        nodata = nodata_values(array)
        scenes += [Scene(values[at], nodata) for at in np.ndindex(values.shape[: len(further)])]
    return scenes, _shared_traits(arrays)


def _shared_traits(arrays: list[xr.DataArray]) -> Traits:
    """Return what is known of all scenes, or raise ValueError if two of them contradict.

    Integers beside floats contradict, too, unless both say that they are in the same units.
    """
    traits = [Traits.of(array) for array in arrays]
    bands = next((each.bands for each in traits if each.bands is not None), None)
    measure = next((each.measure for each in traits if each.measure), ())
    shared = Traits(bands, measure, traits[0].kind)
    for number, (each, array) in enumerate(zip(traits, arrays, strict=True)):
        what = f"scene {number}"
        each.require(shared, what, "the first of the scenes")
        silent = each.measure != traits[0].measure or not measure
        if silent and (array.dtype.kind == "f") != (arrays[0].dtype.kind == "f"):
            raise ValueError(
                f"{what} must hold values of the same kind as scene 0, {arrays[0].dtype}, got "
                f"{array.dtype} and no common units: scenes in different units would be clustered "
                'apart; set attrs["units"] where they are the same'
            )
        if measure and not each.measure:
            warnings.warn(
                f"{what} has no units or scale in its attributes: it is taken to be in those of "
                f"the others, {_told(measure)}",
                UserWarning,
                stacklevel=6,
            )
    return shared


def as_maps(labels: list, x: Any) -> Any:
    """Return labels, one array (y, x) for each scene, as maps like the scenes `x`."""
    if isinstance(x, list | tuple):
        rest = iter(labels)
        return [as_maps([next(rest) for _ in range(_n_scenes(array))], array) for array in x]
    grid = x.isel(band=0, drop=True)
    further = [dim for dim in grid.dims if dim not in ("y", "x")]
    labels = [as_lazy_as(array, x) for array in labels]
    if further:
        xp = _dask() if hasattr(labels[0], "dask") else array_module(labels[0])
        stack = xp.stack(labels)
        data = stack.reshape([grid.sizes[dim] for dim in [*further, "y", "x"]])
    else:
        data = labels[0]
    dims = [*further, "y", "x"]
    result = xr.DataArray(data, {name: c for name, c in grid.coords.items()}, dims, "label")
    return result.transpose(*grid.dims).assign_attrs(_FillValue=NODATA_LABEL)


def as_lazy_as(labels: Any, x: Any) -> Any:
    """Return labels in memory unless the pixels `x` are a Dask array."""
    data = x.variable if isinstance(x, xr.DataArray) else x
    lazy = getattr(data, "chunks", None) is not None
    return labels.compute() if hasattr(labels, "dask") and not lazy else labels


def _n_scenes(array: xr.DataArray) -> int:
    return int(np.prod([n for dim, n in array.sizes.items() if dim not in ("band", "y", "x")]))


def _dask():
    import dask.array

    return dask.array
