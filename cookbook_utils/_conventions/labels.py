"""What a label map is: uint8, 255 for nodata, names of the classes, and how two maps are paired."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import as_real_array, require_dims, shown
from cookbook_utils._conventions.grids import require_same_grid, same_coordinate
from cookbook_utils._conventions.nodata import NODATA_KEYS, equals_nodata, nodata_values

NODATA_LABEL = 255
"""Value of a missing pixel in every label map, mask and change map (uint8)."""


def as_labels(
    labels: xr.DataArray,
    what: str = "labels",
    dims: Iterable[Hashable] = ("y", "x"),
    *,
    allow_extra: bool = False,
) -> xr.DataArray:
    """Return a label map in uint8 with 255 where it is missing, however it was stored.

    Integers and booleans of any size are taken, and floats of whole numbers, which is what readers
    make of a file whose nodata value they turn into NaN. `rioxarray.open_rasterio` gives every
    label map a ``band`` of size 1; unless `dims` names it, it is taken out.

    Parameters
    ----------
    labels
        Labels from 0 to 254. Missing: NaN, 255, or the nodata value that the array declares; not
        255 beside another one, which could be a class.
    what
        Name for them in error messages.
    dims, allow_extra
        As for `require_dims`.

    Returns
    -------
    xarray.DataArray
        `labels` itself if it is like that already; lazy if `labels` is. Attributes are kept, with
        ``_FillValue`` 255.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers.
    ValueError
        If a dimension is wrong or a value is no label; on compute where `labels` is lazy.
    """
    dims = tuple(dims)
    if "band" not in dims:
        labels = without_single_band(labels)
    require_dims(labels, dims, what, allow_extra=allow_extra)
    nodata = nodata_values(labels)
    if labels.dtype == np.uint8 and set(nodata) <= {NODATA_LABEL}:
        return labels
    result = xr.apply_ufunc(
        lambda values: labels_of(values, what, nodata),
        labels, dask="parallelized", output_dtypes=[np.uint8],
    )  # fmt: skip
    kept = {key: value for key, value in labels.attrs.items() if key not in NODATA_KEYS}
    result.attrs = kept | {"_FillValue": NODATA_LABEL}
    return result.rename(labels.name)


def without_single_band(labels: Any) -> Any:
    """Return a DataArray without its ``band`` of size 1, which a GeoTIFF of labels brings."""
    if isinstance(labels, xr.DataArray) and labels.sizes.get("band") == 1:
        return labels.isel(band=0, drop=True)
    return labels


def labels_of(values: np.ndarray, what: str, nodata: Sequence[float] = ()) -> np.ndarray:
    """Return an array of labels in uint8, 255 where NaN, 255 or nodata, or raise ValueError.

    A 255 beside another nodata value is no label: it may be a class, which no map can hold.
    """
    if nodata and NODATA_LABEL not in nodata and (values == NODATA_LABEL).any():
        raise ValueError(
            f"{what} must be whole numbers from 0 to {NODATA_LABEL - 1}, got {NODATA_LABEL}, "
            f"while their nodata value is {nodata[0]}: set it to that where missing, or renumber"
        )
    missing = equals_nodata(values, (*nodata, NODATA_LABEL))
    present = values[~missing]
    whole = present.dtype.kind != "f" or (present == np.floor(present)).all()
    if present.size and not (0 <= present.min() and present.max() < NODATA_LABEL and whole):
        wrong = present[(present < 0) | (present >= NODATA_LABEL) | (present != np.floor(present))]
        raise ValueError(
            f"{what} must be whole numbers from 0 to {NODATA_LABEL - 1}, and {NODATA_LABEL} "
            f"where missing, got {wrong.flat[0]}"
        )
    result = np.full(values.shape, NODATA_LABEL, np.uint8)
    result[~missing] = present
    return result


def align_labels(labels: Any, samples: xr.DataArray, what: str = "labels") -> xr.DataArray:
    """Return one label for each pixel of `samples`, in the order of their pixels.

    Parameters
    ----------
    labels
        DataArray with the dimensions of `samples` without ``band``, or a 1-D array of numbers in
        the order of 1-D samples. Values are taken as by `as_labels`.
    samples
        Samples (pixel, band), or a scene (band, y, x).
    what
        Name for the labels in error messages.

    Returns
    -------
    xarray.DataArray
        uint8, 255 where missing; lazy if `labels` is. A DataArray is brought into the order of
        `samples` by its coordinates, never by position where it has some.

    Raises
    ------
    TypeError
        If `labels` are not real numbers, or have a mask.
    ValueError
        If they do not match the samples, or a value is no label (on compute where lazy).
    """
    dims = [dim for dim in samples.dims if dim != "band"]
    if not isinstance(labels, xr.DataArray):
        labels = as_real_array(labels, what)
        if labels.ndim != 1 or len(dims) != 1:
            raise ValueError(
                f"{what} must be 1-D for samples (pixel, band), or a label map (a DataArray) for a "
                f"scene, got the shape {labels.shape} for the dimensions {samples.dims}"
            )
        labels = xr.DataArray(labels, dims=dims)
    labels = as_labels(labels, what, dims).transpose(*dims)
    if {"x", "y"} <= set(dims):
        labels = require_same_grid(samples, labels)
    for dim in dims:
        labels = _in_order_of(samples, labels, dim, what)
    sizes = {dim: samples.sizes[dim] for dim in dims}
    if dict(labels.sizes) != sizes:
        raise ValueError(
            f"{what} must have one value for each pixel of the samples, {sizes}, "
            f"got {dict(labels.sizes)}"
        )
    return labels


def _in_order_of(
    samples: xr.DataArray, labels: xr.DataArray, dim: Hashable, what: str
) -> xr.DataArray:
    """Return `labels` in the order that the coordinate `dim` of `samples` has, if both have one."""
    wanted, given = samples.indexes.get(dim), labels.indexes.get(dim)
    if wanted is None or given is None:
        for name in set(samples.coords) & set(labels.coords):
            one, two = samples[name].variable, labels[name].variable
            if one.dims == two.dims == (dim,) and not one.equals(two):
                raise ValueError(
                    f"{what} must have the coordinate {name} of the samples, got other values"
                )
        return labels
    if sorted(map(str, given.names)) != sorted(map(str, wanted.names)):
        raise ValueError(
            f"{what} must have the {dim} index of the samples, with the levels "
            f"{list(wanted.names)}, got {list(given.names)}"
        )
    if list(given.names) != list(wanted.names):
        given = given.reorder_levels(wanted.names)
    if _same_index(wanted, given):
        return labels
    if not given.is_unique:
        raise ValueError(
            f"{what} must have one value for each {dim}, "
            f"got several for {given[given.duplicated()][0]}"
        )
    order = given.get_indexer(wanted)
    if (order < 0).any():
        raise ValueError(
            f"{what} must have a value for each {dim} of the samples, "
            f"got none for {wanted[order < 0][0]}"
        )
    return labels.isel({dim: order}).drop_vars(set(given.names) | {dim}, errors="ignore")


def flags(long_name: str, classes: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of a label map whose classes have names (CF conventions)."""
    return {
        "long_name": long_name,
        "_FillValue": NODATA_LABEL,
        "flag_values": list(range(len(classes))),
        "flag_meanings": " ".join(classes),
    }


def meanings_of(labels: xr.DataArray) -> dict[int, str]:
    """Return the class names by number out of the CF attributes ``flag_values``, ``flag_meanings``.

    GeoTIFF keeps attributes as text; ``"[0, 1]"`` and ``"0 1"`` are read as the list that they
    were.

    Raises
    ------
    ValueError
        If there are not as many numbers as names, or the numbers are not labels, each once.
    """
    values = labels.attrs.get("flag_values", [])
    if isinstance(values, str):
        values = re.findall(r"(?<![\w.])[-+]?\d+", values)
    names = labels.attrs.get("flag_meanings", "")
    names = names.split() if isinstance(names, str) else np.atleast_1d(names).astype(str).tolist()
    try:
        numbers = labels_of(np.atleast_1d(values).astype(np.float64), "flag_values").tolist()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"flag_values must be whole numbers from 0 to {NODATA_LABEL - 1}, got {shown(values)}"
        ) from error
    if len(numbers) != len(names):
        raise ValueError(
            f"labels must have one name for each of flag_values, got {len(numbers)} flag_values "
            f"and {len(names)} flag_meanings"
        )
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"flag_values must hold each number once, got {numbers}")
    return dict(zip(numbers, names, strict=True))


def paired_labels(one: Any, two: Any, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return two labelings of the same pixels in memory, in uint8 with 255 where missing.

    Parameters
    ----------
    one, two
        DataArrays, whose pixels `align_labels` brings into the order of `one`; or arrays or lists
        of one shape. `as_labels` says what is a label.
    names
        Names for them in error messages.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If they are not of the same pixels, or a value is no label.
    """
    one, two = without_single_band(one), without_single_band(two)
    if isinstance(one, xr.DataArray) and isinstance(two, xr.DataArray):
        one = as_labels(one, names[0], one.dims)
        two = align_labels(two, one, names[1])
    labels = []
    for array, name in zip((one, two), names, strict=True):
        values = np.asarray(as_real_array(array, name))
        if values.ndim == 0:
            raise ValueError(f"{name} must be an array of labels, got the single number {values}")
        nodata = nodata_values(array) if isinstance(array, xr.DataArray) else ()
        labels.append(labels_of(values, name, nodata))
    if labels[0].shape != labels[1].shape:
        raise ValueError(
            f"{names[1]} must have the shape of {names[0]}, {labels[0].shape}, "
            f"got {labels[1].shape}"
        )
    return labels[0], labels[1]


def _same_index(one: pd.Index, two: pd.Index) -> bool:
    """Return whether two indexes agree by position, each level within `grid_tolerance`."""
    if not (isinstance(one, pd.MultiIndex) and isinstance(two, pd.MultiIndex)):
        return same_coordinate(one, two)
    if one.names != two.names or len(one) != len(two):
        return False
    one, two = one.remove_unused_levels(), two.remove_unused_levels()
    return all(
        same_coordinate(here, there) and np.array_equal(this, that)
        for here, there, this, that in zip(
            one.levels, two.levels, one.codes, two.codes, strict=True
        )
    )
