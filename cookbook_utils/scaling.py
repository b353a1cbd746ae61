"""From digital numbers to reflectance, and from reflectance to features of equal weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions import mask_and_float


def to_reflectance(scene: xr.DataArray) -> xr.DataArray:
    """Apply the scale and offset in the attributes of a scene: reflectance = DN × scale + offset.

    Parameters
    ----------
    scene
        Digital numbers with ``attrs["scale_factor"]`` and ``attrs["add_offset"]``.

    Returns
    -------
    xarray.DataArray
        Reflectance, dimensionless (``attrs["units"] == "1"``), lazy if `scene` is; float32 from
        float32 and 16-bit integers. ``long_name`` is ``attrs["quantity"]`` where that is given,
        else "surface reflectance"; scale and offset are taken out, other attributes kept.

    Raises
    ------
    ValueError
        If `scene` is reflectance already, or has no scale and offset.

    References
    ----------
    U.S. Geological Survey, Landsat Collection 2 Level-2 Science Product Guide.

    Examples
    --------
    >>> scene = xr.DataArray([1000, 2500], dims="x", attrs={
    ...     "units": "digital number", "scale_factor": 0.0001, "add_offset": 0.0})
    >>> to_reflectance(scene).values
    array([0.1 , 0.25])
    """
    attrs = dict(scene.attrs)
    units = attrs.get("units")
    if units == "1":
        raise ValueError('the scene is reflectance already (attrs["units"] == "1")')
    if not {"scale_factor", "add_offset"} <= attrs.keys():
        raise ValueError(
            'no scale to reflectance: expected attrs["scale_factor"] and attrs["add_offset"], '
            f"found units {units!r} and the attributes {sorted(attrs)}"
        )
    # Python floats leave float32 as it is, where a NumPy float64 would not.
    scale, offset = float(attrs.pop("scale_factor")), float(attrs.pop("add_offset"))
    attrs.pop("_FillValue", None)
    attrs |= {"units": "1", "long_name": attrs.get("quantity", "surface reflectance")}
    reflectance = mask_and_float(scene) * scale + offset
    reflectance.attrs = attrs
    return reflectance


def standardize(data: xr.DataArray, *, per_band: bool = True) -> xr.DataArray:
    """Return z = (x − mean) / standard deviation, over all dimensions but ``band``.

    Parameters
    ----------
    data
        Scene or samples, with a ``band`` dimension; NaN is skipped.
    per_band
        One mean and deviation for each band, which gives all bands the same weight in a
        distance; if False, one of each for all bands together, which leaves their weights as
        they are.

    Returns
    -------
    xarray.DataArray
        Lazy if `data` is; float32 from float32. Mean and population deviation are taken in
        float64. Attributes are kept and ``attrs["scaling"]`` is "standardized".

    Raises
    ------
    ValueError
        If a band (or, with ``per_band=False``, the whole) is constant or all missing: at once
        where `data` is in memory, on compute where it is lazy.

    Examples
    --------
    >>> samples = xr.DataArray(
    ...     [[1.0, 10.0], [3.0, 30.0]], coords={"band": ["red", "nir"]}, dims=("pixel", "band")
    ... )
    >>> standardize(samples).values
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    data, double, dims = _prepare(data, per_band)
    deviation = _nonzero(double.std(dims), double, dims)
    return _finish((double - double.mean(dims)) / deviation, data, "standardized")


def rescale(data: xr.DataArray, *, per_band: bool = True) -> xr.DataArray:
    """Return (x − min) / (max − min), from 0 to 1, over all dimensions but ``band``.

    Parameters
    ----------
    data
        Scene or samples, with a ``band`` dimension; NaN is skipped.
    per_band
        One minimum and maximum for each band; if False, one of each for all bands together.

    Returns
    -------
    xarray.DataArray
        Lazy if `data` is; float32 from float32. Attributes are kept and ``attrs["scaling"]`` is
        "rescaled".

    Raises
    ------
    ValueError
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
    data, double, dims = _prepare(data, per_band)
    low = double.min(dims)
    extent = _nonzero(double.max(dims) - low, double, dims)
    return _finish((double - low) / extent, data, "rescaled")


def _prepare(data: xr.DataArray, per_band: bool) -> tuple[xr.DataArray, xr.DataArray, list[str]]:
    require_dims(data, ["band"], "data", allow_extra=True)
    data = mask_and_float(data)
    return data, data.astype("float64"), [d for d in data.dims if not (per_band and d == "band")]


def _finish(result: xr.DataArray, data: xr.DataArray, scaling: str) -> xr.DataArray:
    result = result.astype(data.dtype).transpose(*data.dims)
    result.attrs = data.attrs | {"scaling": scaling}
    return result.rename(data.name)


def _nonzero(divisor: xr.DataArray, data: xr.DataArray, dims: list[str]) -> xr.DataArray:
    """Return `divisor`, which raises when it is evaluated where `data` is constant."""
    # Rounding of the mean leaves a constant band a tiny deviation; its extent is exactly zero.
    varies = data.max(dims) > data.min(dims)
    names = [str(name) for name in data["band"].values] if divisor.ndim else ["all bands"]
    if divisor.chunks is not None:
        divisor, varies = divisor.chunk(-1), varies.chunk(-1)
    return xr.apply_ufunc(
        _raise_if_constant, divisor, varies, kwargs={"names": names},
        dask="parallelized", output_dtypes=[divisor.dtype],
    )  # fmt: skip


def _raise_if_constant(divisor: np.ndarray, varies: np.ndarray, names: Sequence[str]) -> np.ndarray:
    divisor, varies = np.asarray(divisor), np.asarray(varies)
    empty = np.atleast_1d(np.isnan(divisor))
    for wrong, why in ((empty, "no valid value"), (~np.atleast_1d(varies), "constant")):
        if wrong.any():
            found = ", ".join(name for name, bad in zip(names, wrong, strict=True) if bad)
            raise ValueError(
                f"cannot scale, {why}: {found}; expected values that differ, leave such bands out"
            )
    return divisor
