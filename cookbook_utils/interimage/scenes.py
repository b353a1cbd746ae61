"""Convert scenes (band, y, x) from DataArrays to arrays of pixels, and labels back to maps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims, shown
from cookbook_utils._conventions.labels import label_attrs
from cookbook_utils._conventions.nodata import nodata_values
from cookbook_utils.interimage.blocks import Scene, array_module
from cookbook_utils.interimage.traits import Traits, units_text

EXPECTED = "X must be a DataArray (band, y, x), a list of them or a table"


def is_scenes(x: Any) -> bool:
    """Return whether `x` is a scene, a stack of them or a list of them, and not a table.

    Raises
    ------
    TypeError
        If `x` is None, text, a Dataset, or a list of DataArrays and others.
    ValueError
        If `x` is an empty list, or a DataArray that is neither a table nor a scene.
    """
    several = isinstance(x, list | tuple)
    members = list(x) if several else [x]
    arrays = [isinstance(member, xr.DataArray) for member in members]
    if several and not members:
        raise ValueError(f"{EXPECTED}, got an empty list")
    if x is None or isinstance(x, str):
        raise TypeError(f"{EXPECTED}, got {shown(x)}")
    if any(isinstance(member, xr.Dataset) for member in members):
        raise TypeError(
            f"{EXPECTED}, got a Dataset: make its variables the bands of one array with "
            "X.to_dataarray('band')"
        )
    if not any(arrays):
        return False
    if several:
        if not all(arrays):
            kinds = sorted({type(member).__name__ for member in members})
            raise TypeError(f"X must be a list of DataArrays only, got a list of {kinds}")
        return True
    if not {"x", "y"}.isdisjoint(x.dims):
        return True
    if x.ndim == 2:
        return False
    raise ValueError(
        "X must be a scene with the dimensions ('band', 'y', 'x') or a table of two "
        f"dimensions, got {tuple(x.dims)}: rename them, for example "
        "X.rename(latitude='y', longitude='x')"
    )


def read_scenes(x: Any) -> tuple[list[Scene], Traits]:
    """Return the scenes of a DataArray or a list of them, and the traits that they share.

    Parameters
    ----------
    x : xarray.DataArray or list of xarray.DataArray
        Scenes with the dimensions ``band``, ``y`` and ``x``, or stacks with further dimensions.

    Returns
    -------
    scenes : list of Scene
        One for each scene of each stack.
    traits : Traits
        Band names and units, each from the first scene that has them.

    Raises
    ------
    TypeError
        If an array does not hold real numbers.
    ValueError
        If dimensions are missing, or bands or units differ.
    """
    several = isinstance(x, list | tuple)
    scenes, arrays = [], list(x) if several else [x]
    for number, array in enumerate(arrays):
        what = f"scene {number} of X" if several else "X"
        require_dims(array, ("band", "y", "x"), what, allow_extra=True)
        if array.sizes["band"] != arrays[0].sizes["band"]:
            raise ValueError(
                f"{what} must have as many bands as scene 0, {arrays[0].sizes['band']}, "
                f"got {array.sizes['band']}"
            )
        extra = _extra_dims(array)
        values = array.transpose(*extra, "band", "y", "x").data
        nodata = nodata_values(array)
        for at in np.ndindex(values.shape[: len(extra)]):
            name = _name(what, array[dict(zip(extra, at, strict=True))], extra)
            scenes.append(Scene(values[at], nodata, name=name))
    return scenes, _shared_traits(arrays)


def _name(what: str, scene: xr.DataArray, dims: list) -> str:
    """Return a name for a scene, with its date and its place along other dimensions if known."""
    known = [scene.coords[dim] for dim in dict.fromkeys(["time", *dims]) if dim in scene.coords]
    texts = [
        str(each.values)[:10] if each.dtype.kind == "M" else f"{each.name} {each.values}"
        for each in known
        if each.ndim == 0
    ]
    return f"{what} ({', '.join(texts)})" if texts else what


def _shared_traits(arrays: list[xr.DataArray]) -> Traits:
    """Return the traits that scenes share, or raise ValueError if two scenes contradict.

    A scene without band names or units takes those of the others. Scenes of integers and scenes of
    floats contradict each other unless they have the same units.
    """
    traits = [Traits.of(array) for array in arrays]
    bands = next((each.bands for each in traits if each.bands is not None), None)
    units = next((each.units for each in traits if each.units), ())
    shared = Traits(bands, units, traits[0].kind)
    for number, (each, array) in enumerate(zip(traits, arrays, strict=True)):
        what = f"scene {number}"
        each.require(shared, what, "the first of the scenes")
        same_units = bool(units) and each.units == traits[0].units
        if not same_units and each.kind != traits[0].kind:
            raise ValueError(
                f"{what} must hold values of the same kind as scene 0, {arrays[0].dtype}, got "
                f"{array.dtype} and no common units: scenes in different units would be clustered "
                'apart; set attrs["units"] where they are the same'
            )
        if units and not each.units:
            warnings.warn(
                f"{what} has no units or scale in its attributes: those of the others are assumed, "
                f"{units_text(units)}",
                UserWarning,
                stacklevel=6,
            )
    return shared


def as_maps(labels: list, x: Any) -> Any:
    """Return the labels of scenes, each an array (y, x), as maps with the shape of `x`.

    Parameters
    ----------
    labels : list of array (y, x)
        Labels of each scene, NumPy, CuPy or Dask arrays.
    x : xarray.DataArray or list of xarray.DataArray
        The argument of `read_scenes`.

    Returns
    -------
    xarray.DataArray or list of xarray.DataArray
        Maps with the dimensions of `x` without ``band``, with its coordinates and CRS.
    """
    if isinstance(x, list | tuple):
        rest = iter(labels)
        return [as_maps([next(rest) for _ in range(_n_scenes(array))], array) for array in x]
    grid = x.isel(band=0, drop=True)
    extra = _extra_dims(x)
    labels = [compute_unless_lazy(array, x) for array in labels]
    data = labels[0]
    if extra:
        xp = _dask_array() if hasattr(data, "dask") else array_module(data)
        data = xp.stack(labels).reshape([grid.sizes[dim] for dim in [*extra, "y", "x"]])
    result = xr.DataArray(data, dict(grid.coords), [*extra, "y", "x"], "label")
    return result.transpose(*grid.dims).assign_attrs(label_attrs(result.dtype))


def compute_unless_lazy(labels: Any, x: Any) -> Any:
    """Return labels, computed unless `x` holds a Dask array."""
    data = x.variable if isinstance(x, xr.DataArray) else x
    lazy = getattr(data, "chunks", None) is not None
    return labels.compute() if hasattr(labels, "dask") and not lazy else labels


def _extra_dims(array: xr.DataArray) -> list:
    return [dim for dim in array.dims if dim not in ("band", "y", "x")]


def _n_scenes(array: xr.DataArray) -> int:
    return int(np.prod([array.sizes[dim] for dim in _extra_dims(array)]))


def _dask_array():
    import dask.array

    return dask.array
