"""Conversion of digital numbers to reflectance, and scaling of bands to comparable ranges."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import dask
import numpy as np
import xarray as xr

from cookbook_utils._checks import require_bool, require_dims
from cookbook_utils._conventions.bands import (
    REFLECTANCE_RANGE,
    SCALE_KEYS,
    SHARE_ABOVE,
    SHARE_BELOW,
    units_of,
)
from cookbook_utils._conventions.nodata import mask_and_float, without_nodata

_REMEDY = (
    'set attrs["scale_factor"] and attrs["add_offset"] as the data provider gives them: 2.75e-05 '
    "and -0.2 for Landsat Collection 2 Level-2, 0.0001 and -0.1 for Sentinel-2 Level-2A since "
    "baseline 04.00 (0.0001 and 0 before)"
)


def to_reflectance(scene: xr.DataArray) -> xr.DataArray:
    """Convert digital numbers to reflectance by the scale and offset in the attributes of a scene.

    Use it on a scene as a reader returns it, before any index or comparison of dates: reflectance
    = DN × scale + offset. Implausible scales raise an error, in particular the scale of 1 and
    offset of 0 that rioxarray sets for files without them. Set the right ones first, for example
    ``scene.attrs |= {"scale_factor": 2.75e-05, "add_offset": -0.2}`` for Landsat Collection 2
    Level-2 [1]_, or 0.0001 and −0.1 for Sentinel-2 Level-2A since baseline 04.00 [2]_.

    Parameters
    ----------
    scene : xarray.DataArray
        Digital numbers (DN) with ``attrs["scale_factor"]`` and ``attrs["add_offset"]``, or with
        coordinates of these names along ``band`` if they differ between bands. ``attrs["scales"]``
        and ``attrs["offsets"]``, which rioxarray sets for a file whose bands differ, are used if
        ``band`` numbers the bands of the file from 1. Nodata as for `stack_pixels`.

    Returns
    -------
    xarray.DataArray
        Reflectance, dimensionless (``attrs["units"] == "1"``), with NaN for nodata; lazy if `scene`
        is. float32 from float32 and from integers of 8 and 16 bits, else float64. ``long_name`` is
        ``attrs["quantity"]`` if there is one, else "surface reflectance". Attributes of scale,
        offset and nodata are removed, others kept.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray of real numbers.
    ValueError
        If `scene` is reflectance, standardized or rescaled; if it has no scale and offset, or
        implausible ones; or if, in a band, more than half of the values are above 2 or more than
        5 % below −0.25 (undeclared nodata). Values are checked over the whole scene if it is in
        memory, and block by block on compute if it is lazy.

    References
    ----------
    .. [1] U.S. Geological Survey, Landsat Collection 2 Level-2 Science Product Guide.
    .. [2] European Space Agency, Sentinel-2 Products Specification Document, processing baseline
       04.00, January 2022.

    Examples
    --------
    >>> scene = xr.DataArray([1000, 2500], dims="x", attrs={
    ...     "units": "digital number", "scale_factor": 0.0001, "add_offset": 0.0})
    >>> to_reflectance(scene).values
    array([0.1 , 0.25])
    """
    require_dims(scene, (), "scene", allow_extra=True)
    if scene.dtype.kind == "b":
        raise TypeError("scene must hold digital numbers, got dtype bool")
    if units_of(scene) == "1":
        raise ValueError(
            'scene must hold digital numbers, got reflectance already (attrs["units"] == "1"): '
            "give it another unit if that is not so"
        )
    if (scaling := scene.attrs.get("scaling")) is not None:
        raise ValueError(
            f"scene must hold digital numbers, got {scaling} values: use the scene before "
            "scaling.standardize or scaling.rescale"
        )
    scale, offset = _scale_and_offset(scene)
    attrs = _without_scale(without_nodata(scene.attrs))
    attrs |= {"units": "1", "long_name": attrs.get("quantity", "surface reflectance")}
    numbers = mask_and_float(scene)
    # float64 factors along `band` would promote float32 to float64.
    reflectance = numbers * scale.astype(numbers.dtype) + offset.astype(numbers.dtype)
    reflectance = reflectance.transpose(*scene.dims)
    axis = scene.dims.index("band") if "band" in scene.dims else None
    decoded = float(scale.max()) <= 1e-3  # so small a scale is that of integers, not of percent
    reflectance = xr.apply_ufunc(
        _require_possible, reflectance, numbers, kwargs={"axis": axis, "may_be_decoded": decoded},
        dask="parallelized", output_dtypes=[numbers.dtype],
    )  # fmt: skip
    reflectance.attrs = attrs
    return reflectance.rename(scene.name).drop_vars(SCALE_KEYS, errors="ignore")


def _without_scale(attrs: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Return attributes without those of a scale or offset."""
    return {key: value for key, value in attrs.items() if key not in SCALE_KEYS}


def _scale_and_offset(scene: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the scale and the offset of a scene, 0-D or along ``band``."""
    given = {f'attrs["{key}"]': scene.attrs[key] for key in SCALE_KEYS if key in scene.attrs}
    given |= {f'coords["{key}"]': scene[key] for key in SCALE_KEYS if key in scene.coords}
    scales = [name for name in given if "scale" in name]
    offsets = [name for name in given if "offset" in name]
    if len(scales) != 1 or len(offsets) != 1:
        hint = ""
        if any(key in scene.encoding for key in SCALE_KEYS):
            hint = ', or attrs["units"] = "1" if the reader of the file has applied its scale'
        raise ValueError(
            "scene must have one scale to reflectance and one offset, "
            f"got {', '.join(given) or 'none'} and units {units_of(scene)!r}: "
            f"{_REMEDY}{hint}"
        )
    (scale_name,), (offset_name,) = scales, offsets
    scale = _per_band(scene, scale_name, given[scale_name], 1e-6, 1)
    offset = _per_band(scene, offset_name, given[offset_name], -1, 1)
    # Integers with a scale of 1 would be reflectance of 0 or 1 only.
    if scene.dtype.kind in "iu" and float(scale.max()) > 0.1:
        raise ValueError(
            f"{scale_name} must be at most 0.1 for digital numbers of {scene.dtype}, "
            f"got {float(scale.max()):g}: {_REMEDY}"
        )
    return scale, offset


def _per_band(
    scene: xr.DataArray, name: str, value: Any, least: float, most: float
) -> xr.DataArray:
    """Return the numbers in `value`, each from `least` to `most`: 0-D if equal, else (band)."""
    follows_bands = isinstance(value, xr.DataArray) and value.dims == ("band",)
    try:
        numbers = np.atleast_1d(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if numbers.size == 0 or not ((numbers >= least) & (numbers <= most)).all():
        shown = value.values if isinstance(value, xr.DataArray) else value
        raise ValueError(
            f"{name} must be a number from {least:g} to {most:g}, or one for each band, "
            f"got {shown}: {_REMEDY}"
        )
    if (numbers == numbers.flat[0]).all():
        return xr.DataArray(numbers.flat[0])
    # Selecting or sorting bands reorders coordinates but not attributes.
    in_file_order = "band" in scene.coords and np.array_equal(
        scene["band"], np.arange(1, numbers.size + 1)
    )
    if not (follows_bands or in_file_order):
        bands = scene["band"].values.tolist() if "band" in scene.coords else "none"
        raise ValueError(
            f"{name} must be one number unless the bands are those of the file, numbered from 1 "
            f"to {numbers.size}, got the bands {bands}: call to_reflectance before bands are "
            "selected or renamed, or assign the numbers as coordinates along band, by "
            'scene.assign_coords(scale_factor=("band", ...), add_offset=("band", ...))'
        )
    return xr.DataArray(numbers, dims="band")


def _require_possible(
    reflectance: np.ndarray, numbers: np.ndarray, *, axis: int | None, may_be_decoded: bool
) -> np.ndarray:
    """Return `reflectance`, or raise ValueError if too many values of a band are implausible.

    If `may_be_decoded` is true, fractions near 0 among the `numbers` raise, too: a reader has
    probably converted them to reflectance already.
    """
    low, high = REFLECTANCE_RANGE
    over = None if axis is None else tuple(i for i in range(reflectance.ndim) if i != axis)
    n = np.maximum(np.count_nonzero(reflectance == reflectance, axis=over), 1)
    below = np.max(np.count_nonzero(reflectance < low, axis=over) / n)
    above = np.max(np.count_nonzero(reflectance > high, axis=over) / n)
    if above > SHARE_ABOVE:
        raise ValueError(
            f"attrs must give a scale and offset that lead to reflectance, got {above:.0%} of the "
            f"values of a band above {high:g}: {_REMEDY}"
        )
    if below > SHARE_BELOW:
        raise ValueError(
            f"attrs must give a scale, offset and nodata value that lead to reflectance, got "
            f"{below:.0%} of the values of a band below {low:g}: declare nodata by "
            f"scene.rio.write_nodata(value), or {_REMEDY}"
        )
    if may_be_decoded and numbers.dtype.kind == "f":
        present = numbers[(numbers == numbers) & (numbers != 0)]
        near_zero = np.count_nonzero(np.abs(present) <= high)
        if near_zero > present.size / 2 and (present != np.round(present)).any():
            raise ValueError(
                f"scene must hold digital numbers, got fractions such as {present.min():.3g}: set "
                'attrs["units"] = "1" if they are reflectance already'
            )
    return reflectance


def standardize(data: xr.DataArray, *, per_band: bool = True) -> xr.DataArray:
    """Scale bands to zero mean and unit standard deviation.

    Use it before clustering, so that all bands have the same weight in Euclidean distances. The
    statistics are taken over all dimensions except ``band``, and are computed at once.

    Parameters
    ----------
    data : xarray.DataArray
        Scene or samples with a ``band`` dimension. Nodata, as for `stack_pixels`, is ignored in the
        statistics and becomes NaN.
    per_band : bool, default True
        Whether each band has a mean and standard deviation of its own. If False, all bands share
        one of each, which preserves their relative weights.

    Returns
    -------
    xarray.DataArray
        (x − mean) / standard deviation; lazy if `data` is. float32 from float32 and from integers
        of 8 and 16 bits, else float64. The mean and the standard deviation, that of the population,
        are computed in float64. ``attrs["scaling"]`` is "standardized". Attributes of scale, offset
        and nodata are removed, others kept.

    Raises
    ------
    TypeError
        If `data` is not a DataArray of real numbers.
    ValueError
        If a band, or all bands together with ``per_band=False``, is constant, all nodata or
        infinite somewhere.

    Examples
    --------
    >>> samples = xr.DataArray(
    ...     [[1.0, 10.0], [3.0, 30.0]], coords={"band": ["red", "nir"]}, dims=("pixel", "band")
    ... )
    >>> standardize(samples).values
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    data, unit, dims = _to_unit(data, per_band)
    mean, std = dask.compute(unit.mean(dims), unit.std(dims))
    return _finish((unit - mean) / std, data, "standardized")


def rescale(data: xr.DataArray, *, per_band: bool = True) -> xr.DataArray:
    """Scale bands linearly to the range from 0 to 1.

    Use it in place of `standardize` where a fixed range matters more than equal variance. The
    extremes are taken over all dimensions except ``band``, and are computed at once.

    Parameters
    ----------
    data : xarray.DataArray
        As for `standardize`.
    per_band : bool, default True
        Whether each band has a minimum and maximum of its own. If False, all bands share one of
        each.

    Returns
    -------
    xarray.DataArray
        (x − min) / (max − min). As for `standardize`, with ``attrs["scaling"]`` "rescaled".

    Raises
    ------
    TypeError, ValueError
        As for `standardize`.

    Examples
    --------
    >>> samples = xr.DataArray(
    ...     [[1.0, 10.0], [3.0, 30.0]], coords={"band": ["red", "nir"]}, dims=("pixel", "band")
    ... )
    >>> rescale(samples).values
    array([[0., 0.],
           [1., 1.]])
    """
    data, unit, _ = _to_unit(data, per_band)
    return _finish(unit, data, "rescaled")


def _to_unit(data: xr.DataArray, per_band: bool) -> tuple[xr.DataArray, xr.DataArray, list[str]]:
    """Return `data` as floats, as float64 from 0 to 1, and the dimensions of the statistics.

    `standardize` starts from the unit range, too, so that large offsets do not cancel and the
    squares of large or small values do not over- or underflow.
    """
    require_dims(data, ["band"], "data", allow_extra=True)
    require_bool(per_band, "per_band")
    data = mask_and_float(data)
    dims = [dim for dim in data.dims if not (per_band and dim == "band")]
    double = data.astype("float64")
    names = [str(name) for name in data["band"].values] if per_band else ["all bands"]
    # In one graph with the values, Dask would keep all of them in memory until these are known.
    low, high = dask.compute(double.min(dims), double.max(dims))
    extent = low.copy(data=_extent(low.values, high.values, names))
    return data, (double - low) / extent, dims


def _finish(result: xr.DataArray, data: xr.DataArray, scaling: str) -> xr.DataArray:
    """Return `result` with the dtype, dimension order, name and attributes of `data`."""
    result = result.astype(data.dtype).transpose(*data.dims)
    result.attrs = _without_scale(data.attrs) | {"scaling": scaling}
    return result.rename(data.name)


def _extent(low: np.ndarray, high: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return high − low, or raise ValueError with the names of bands that cannot be scaled."""
    with np.errstate(invalid="ignore", over="ignore"):  # raised below as an error
        extent = high - low
    for wrong, why in (
        (np.isnan(low), "only nodata"),
        (np.isinf(low) | np.isinf(high), "infinite values"),
        (np.isinf(extent), "a range beyond float64"),
        (extent == 0, "a constant"),
    ):
        if wrong.any():
            found = [n for n, bad in zip(names, np.atleast_1d(wrong), strict=True) if bad]
            raise ValueError(
                f"data must hold finite values that differ in every band, got {why} in "
                f"{', '.join(found)}: exclude such bands, or set infinite values to NaN"
            )
    return extent
