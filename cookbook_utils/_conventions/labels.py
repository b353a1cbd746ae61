"""Label maps: dtype, nodata, names of the classes, and the alignment of labels with pixels.

Values that are not real numbers raise TypeError. Real numbers that are not labels, such as
fractions and negative numbers, raise ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import as_real_array, require_dims, shown
from cookbook_utils._conventions.bands import SCALE_KEYS
from cookbook_utils._conventions.grids import require_same_grid, same_coordinate
from cookbook_utils._conventions.nodata import equals_nodata, nodata_values, without_nodata

NODATA_LABEL = 255
"""Nodata value of masks, and of label maps of up to 255 classes (uint8)."""

MOST_CLASSES = 2**16 - 1
"""Largest number of classes of a label map, and the nodata value of maps of more than 255 classes
(uint16)."""

HINT = (
    f": labels up to {MOST_CLASSES - 1} need a DataArray with the nodata value {MOST_CLASSES}, "
    f"such as labels.assign_attrs(_FillValue={MOST_CLASSES})"
)
"""End of the message about labels that are too large for uint8."""

WATER_CLASSES = ("land", "water")
"""Classes of a water mask, by their numbers."""


def label_dtype(n_classes: int) -> np.dtype:
    """Return the dtype of labels of that many classes: uint8 for up to 255, otherwise uint16.

    The largest number of either dtype is nodata; see `nodata_label`.
    """
    return np.dtype(np.uint8 if n_classes <= NODATA_LABEL else np.uint16)


def nodata_label(dtype: type | np.dtype) -> int:
    """Return the nodata value of labels of a dtype, its largest number: 255 or 65535."""
    return int(np.iinfo(dtype).max)


def map_dtype(labels: Any) -> np.dtype:
    """Return the dtype of the labels of a map: uint16 if it declares the nodata value 65535.

    Without declared nodata, 255 is nodata, whatever the dtype of the map.
    """
    is_wide = isinstance(labels, xr.DataArray) and MOST_CLASSES in nodata_values(labels)
    return label_dtype(MOST_CLASSES if is_wide else NODATA_LABEL)


def label_attrs(dtype: type | np.dtype) -> dict[str, Any]:
    """Return the attributes of every label map of a dtype."""
    return {"_FillValue": nodata_label(dtype)}


def as_labels(
    labels: xr.DataArray,
    what: str = "labels",
    dims: Iterable[Hashable] = ("y", "x"),
    *,
    allow_extra: bool = False,
    dtype: type | np.dtype | None = None,
) -> xr.DataArray:
    """Convert a label map to uint8 or uint16 with `nodata_label` for nodata.

    Integers of any size, booleans and floats that are whole numbers are accepted: readers that
    mask nodata return floats. A ``band`` dimension of size 1, which `rioxarray.open_rasterio`
    adds, is removed unless `dims` names it.

    Parameters
    ----------
    labels : xarray.DataArray
        Labels from 0 to 254. NaN, 255 and the declared nodata value are nodata. Where another
        nodata value is declared, 255 is an error, since it could be a class. A map that declares
        the nodata value 65535 has labels from 0 to 65534.
    what : str, default "labels"
        Name of the map in error messages.
    dims : iterable of hashable, default ("y", "x")
        Required dimensions.
    allow_extra : bool, default False
        Whether the map may have further dimensions.
    dtype : type or numpy.dtype, optional
        uint8 or uint16; by default that of `map_dtype`.

    Returns
    -------
    xarray.DataArray
        `labels` itself if no conversion is needed; lazy if `labels` is. Attributes are kept, except
        that ``_FillValue`` is the nodata value of the dtype.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers.
    ValueError
        If the dimensions are wrong, or a value is not a label (on compute if `labels` is lazy).
    """
    dims = tuple(dims)
    if "band" not in dims:
        labels = without_single_band(labels)
    require_dims(labels, dims, what, allow_extra=allow_extra)
    own = map_dtype(labels)
    dtype = own if dtype is None else np.dtype(dtype)
    nodata, narrower = nodata_values(labels), min(own, dtype, key=nodata_label)
    if labels.dtype == dtype == narrower and set(nodata) <= {nodata_label(dtype)}:
        return labels
    result = xr.apply_ufunc(
        lambda values: converted(labels_of(values, what, nodata, narrower, HINT), dtype),
        labels, dask="parallelized", output_dtypes=[dtype],
    )  # fmt: skip
    result.attrs = without_nodata(labels.attrs) | label_attrs(dtype)
    return result.rename(labels.name)


def converted(labels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return labels of uint8 or uint16 in a dtype that is as wide or wider, nodata included."""
    if labels.dtype == dtype:
        return labels
    result = labels.astype(dtype)
    result[labels == nodata_label(labels.dtype)] = nodata_label(dtype)
    return result


def without_single_band(labels: Any) -> Any:
    """Return a DataArray without a ``band`` dimension of size 1, as read from a GeoTIFF."""
    if isinstance(labels, xr.DataArray) and labels.sizes.get("band") == 1:
        return labels.isel(band=0, drop=True)
    return labels


def labels_of(
    values: np.ndarray,
    what: str,
    nodata: Sequence[float] = (),
    dtype: type | np.dtype = np.uint8,
    hint: str = "",
) -> np.ndarray:
    """Return labels as uint8 with `NODATA_LABEL` where `values` are NaN, 255 or `nodata`.

    With uint16 as the `dtype`, 65535 stands for nodata instead of 255. An array that is so already
    is returned itself. A label above 254 is an error to which `hint` is added.

    Raises
    ------
    ValueError
        If a value is not a whole number from 0 to 254, or 255 occurs beside another nodata value.
    """
    largest = nodata_label(dtype)
    if values.dtype == dtype and set(nodata) <= {largest}:
        return values
    if nodata and largest not in nodata and (values == largest).any():
        raise ValueError(
            f"{what} must be whole numbers from 0 to {largest - 1}, got {largest}, "
            f"while their nodata value is {nodata[0]}: replace it by the nodata value, or renumber "
            "the classes"
        )
    missing = equals_nodata(values, (*nodata, largest))
    present = values[~missing]
    whole = present.dtype.kind != "f" or (present == np.floor(present)).all()
    if present.size and not (0 <= present.min() and present.max() < largest and whole):
        wrong = present[(present < 0) | (present >= largest) | (present != np.floor(present))][0]
        raise ValueError(
            f"{what} must be whole numbers from 0 to {largest - 1}, and {largest} "
            f"for nodata, got {wrong}{hint if largest < wrong < MOST_CLASSES else ''}"
        )
    result = np.full(values.shape, largest, dtype)
    result[~missing] = present
    return result


def align_labels(labels: Any, samples: xr.DataArray, what: str = "labels") -> xr.DataArray:
    """Return one label for each pixel of `samples`, in the order of the pixels.

    Parameters
    ----------
    labels : xarray.DataArray or array_like
        A DataArray with the dimensions of `samples` except ``band``, or a 1-D array in the order
        of samples (pixel, band). `as_labels` converts the values.
    samples : xarray.DataArray
        Samples (pixel, band) or a scene (band, y, x).
    what : str, default "labels"
        Name of the labels in error messages.

    Returns
    -------
    xarray.DataArray
        As `as_labels` returns them; lazy if `labels` is. A DataArray with coordinates is aligned
        with `samples` by them, otherwise by position.

    Raises
    ------
    TypeError
        If `labels` are not real numbers, or have a mask.
    ValueError
        If `labels` do not match `samples`, or a value is not a label (on compute if lazy).
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
    """Return `labels` in the order of the index `dim` of `samples`, if both have that index."""
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
    """Return the attributes of a label map with named classes, by the CF conventions."""
    return {
        "long_name": long_name,
        **label_attrs(label_dtype(len(classes))),
        "flag_values": list(range(len(classes))),
        "flag_meanings": " ".join(map(class_text, classes)),
    }


def class_text(name: Any) -> str:
    """Return the name of a class as one word, as ``flag_meanings`` needs it: "open_water"."""
    return "_".join(str(name).split())


def without_flags(labels: xr.DataArray) -> xr.DataArray:
    """Return a label map without the names of its classes."""
    return labels.drop_attrs(deep=False).assign_attrs(
        {key: value for key, value in labels.attrs.items() if not str(key).startswith("flag_")}
    )


def meanings_of(labels: xr.DataArray) -> dict[int, str]:
    """Return the names of classes by number, from ``flag_values`` and ``flag_meanings``.

    GeoTIFF stores attributes as text, so ``"[0, 1]"`` and ``"0 1"`` are parsed as lists.

    Raises
    ------
    ValueError
        If the numbers of values and names differ, or the values are not distinct labels.
    """
    values = labels.attrs.get("flag_values", [])
    values = re.findall(r"(?<![\w.])[-+]?\d+", values) if isinstance(values, str) else values
    names = labels.attrs.get("flag_meanings", "")
    names = names.split() if isinstance(names, str) else np.atleast_1d(names).astype(str).tolist()
    dtype = map_dtype(labels)
    nodata = nodata_label(dtype)
    try:
        numbers = np.atleast_1d(values).astype(np.float64)
        numbers = labels_of(numbers, "flag_values", dtype=dtype).tolist()
    except (TypeError, ValueError):
        numbers = [nodata]
    if nodata in numbers:
        raise ValueError(
            f"flag_values must be whole numbers from 0 to {nodata - 1}, got {shown(values)}"
        )
    if len(numbers) != len(names):
        raise ValueError(
            f"labels must have one name for each of flag_values, got {len(numbers)} flag_values "
            f"and {len(names)} flag_meanings"
        )
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"flag_values must hold each number once, got {numbers}")
    return dict(zip(numbers, names, strict=True))


def class_names(labels: xr.DataArray, found: Sequence[int]) -> dict[int, str | int]:
    """Return the names of classes by number, or the labels that occur if classes have no names.

    Parameters
    ----------
    labels : xarray.DataArray
        A label map, of which only the attributes are read.
    found : sequence of int
        The labels that occur in the map, in ascending order, without nodata.

    Returns
    -------
    dict of int to str or int
        All classes that have names; without names the labels `found`.

    Raises
    ------
    ValueError
        If classes have names and another number is `found`.
    """
    names = meanings_of(labels)
    if unknown := [number for number in found if names and number not in names]:
        raise ValueError(
            f"labels must hold only the flag_values {list(names)} of their attributes, "
            f"got {unknown}"
        )
    return names or {number: number for number in found}


def holds_labels(array: xr.DataArray) -> bool:
    """Return whether floats are labels in which a reader replaced nodata by NaN."""
    encoding = array.encoding
    stored_as_labels = (
        (encoding.get("dtype"), encoding.get("_FillValue"))
        in ((np.uint8, NODATA_LABEL), (np.uint16, MOST_CLASSES))
        and not any(key in encoding for key in SCALE_KEYS)
        and array.sizes.get("band", 1) == 1
    )
    return "flag_meanings" in array.attrs or "flag_values" in array.attrs or stored_as_labels


def require_binary(values: np.ndarray, what: str) -> None:
    """Raise ValueError unless a mask, converted by `as_labels`, holds only 0, 1 and nodata."""
    if not np.isin(values, (0, 1, NODATA_LABEL)).all():
        other = np.setdiff1d(values, (0, 1, NODATA_LABEL))
        raise ValueError(
            f"{what} must hold only 0, 1 and {NODATA_LABEL} (nodata), got {other[:5].tolist()}"
        )


def paired_labels(one: Any, two: Any, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return two labelings of the same pixels as arrays of one dtype in memory.

    Parameters
    ----------
    one, two : xarray.DataArray or array_like
        DataArrays, of which `align_labels` aligns the second with the first, or arrays of one
        shape. `as_labels` says which values are labels and which are nodata.
    names : tuple of str
        Names of the two in error messages.

    Returns
    -------
    tuple of numpy.ndarray
        Both of the wider dtype of the two, uint8 or uint16, with its `nodata_label` for nodata.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If they do not have the same pixels, or a value is not a label.
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
        labels.append(labels_of(values, name, nodata, map_dtype(array), HINT))
    if labels[0].shape != labels[1].shape:
        raise ValueError(
            f"{names[1]} must have the shape of {names[0]}, {labels[0].shape}, "
            f"got {labels[1].shape}"
        )
    dtype = np.result_type(*labels)
    return converted(labels[0], dtype), converted(labels[1], dtype)


def _same_index(one: pd.Index, two: pd.Index) -> bool:
    """Return whether two indexes agree element by element, each level within `grid_tolerance`."""
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
