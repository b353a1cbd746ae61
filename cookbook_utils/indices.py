"""Normalized differences of two bands."""

from __future__ import annotations

import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.bands import require_reflectance
from cookbook_utils._conventions.nodata import mask_and_float


def ndvi(scene: xr.DataArray) -> xr.DataArray:
    """Return the normalized difference vegetation index, (NIR − red) / (NIR + red).

    Parameters
    ----------
    scene
        Reflectance in floats with a ``band`` dimension that holds "nir" and "red", once each.

    Returns
    -------
    xarray.DataArray
        From −1 to 1, the dimensions of `scene` without ``band``, lazy if `scene` is. Reflectance
        below 0, an error of atmospheric correction, counts as 0. NaN where a band is missing (NaN
        or nodata) or none of the two is above 0.

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
    """Return the modified normalized difference water index, (green − SWIR1) / (green + SWIR1).

    Above 0 over open water, which reflects next to nothing in the shortwave infrared.

    Parameters
    ----------
    scene
        Reflectance in floats with a ``band`` dimension that holds "green" and "swir1", once each.

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
    require_dims(scene, ["band"], "scene", allow_extra=True)
    require_reflectance(scene, name)
    if scene.dtype.kind != "f":
        raise TypeError(
            f"scene must hold reflectance in floats, got dtype {scene.dtype}: "
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
