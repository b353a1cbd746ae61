"""Spectral indices: normalized differences of two bands."""

from __future__ import annotations

import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.bands import require_reflectance
from cookbook_utils._conventions.nodata import mask_and_float


def ndvi(scene: xr.DataArray) -> xr.DataArray:
    """Compute the normalized difference vegetation index, (NIR − red) / (NIR + red).

    Use it to see how green the vegetation is: bare soil is near 0.1, dense vegetation near 0.9.

    Parameters
    ----------
    scene : xarray.DataArray
        Reflectance as floats with a ``band`` dimension that contains "nir" and "red" once each.

    Returns
    -------
    xarray.DataArray
        From −1 to 1, with the dimensions of `scene` except ``band``; lazy if `scene` is. Negative
        reflectance, an error of atmospheric correction, is set to 0. NaN where a band is nodata or
        both are 0.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray of floats.
    ValueError
        If `scene` is not reflectance, or lacks a band or has it twice.

    References
    ----------
    Rouse, J. W., et al. (1974). Monitoring vegetation systems in the Great Plains with ERTS.
    Third ERTS Symposium, NASA SP-351, 309–317.

    Examples
    --------
    >>> scene = xr.DataArray([0.1, 0.3], coords={"band": ["red", "nir"]}, attrs={"units": "1"})
    >>> round(float(ndvi(scene)), 3)
    0.5
    """
    return _normalized_difference(
        scene, "nir", "red", "ndvi", "normalized difference vegetation index"
    )


def mndwi(scene: xr.DataArray) -> xr.DataArray:
    """Compute the modified normalized difference water index, (green − SWIR1) / (green + SWIR1).

    Use it to detect open water, which absorbs shortwave infrared: the index is positive there.

    Parameters
    ----------
    scene : xarray.DataArray
        Reflectance as floats with a ``band`` dimension that contains "green" and "swir1" once each.

    Returns
    -------
    xarray.DataArray
        As for `ndvi`.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray of floats.
    ValueError
        If `scene` is not reflectance, or lacks a band or has it twice.

    References
    ----------
    Xu, H. (2006). Modification of normalised difference water index (NDWI) to enhance open water
    features in remotely sensed imagery. International Journal of Remote Sensing 27(14),
    3025–3033. doi:10.1080/01431160600589179

    Examples
    --------
    >>> scene = xr.DataArray([0.3, 0.1], coords={"band": ["green", "swir1"]}, attrs={"units": "1"})
    >>> round(float(mndwi(scene)), 3)
    0.5
    """
    return _normalized_difference(
        scene, "green", "swir1", "mndwi", "modified normalized difference water index"
    )


def _normalized_difference(
    scene: xr.DataArray, plus: str, minus: str, name: str, long_name: str
) -> xr.DataArray:
    """Return (plus − minus) / (plus + minus) for two bands, called `name`."""
    require_dims(scene, ["band"], "scene", allow_extra=True)
    require_reflectance(scene, name)
    if scene.dtype.kind != "f":
        raise TypeError(
            f"scene must hold reflectance as floats, got dtype {scene.dtype}: "
            "call cookbook_utils.scaling.to_reflectance(scene) first"
        )
    bands = scene.get_index("band").tolist()
    if not bands.count(plus) == bands.count(minus) == 1:
        raise ValueError(
            f"scene must have the bands {plus!r} and {minus!r} once each for {name}, got {bands}"
        )
    scene = mask_and_float(scene)
    one, other = (
        scene.isel(band=bands.index(band), drop=True).clip(min=0) for band in (plus, minus)
    )
    total = one + other
    result = ((one - other) / total.where(total > 0)).rename(name)
    result.attrs = {"long_name": long_name, "units": "1"}
    return result
