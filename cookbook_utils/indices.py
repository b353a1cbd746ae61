"""Normalized differences of two bands."""

from __future__ import annotations

import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions import require_reflectance


def ndvi(scene: xr.DataArray) -> xr.DataArray:
    """Return the normalized difference vegetation index, (NIR − red) / (NIR + red).

    Parameters
    ----------
    scene
        Reflectance with a ``band`` dimension that holds "nir" and "red".

    Returns
    -------
    xarray.DataArray
        Dimensionless, the dimensions of `scene` without ``band``, lazy if `scene` is. NaN where
        a band is missing or the two do not sum to more than 0 (reflectance below 0 over dark
        water, where the index means nothing).

    Raises
    ------
    ValueError
        If `scene` is not reflectance, or lacks a band.

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
        Reflectance with a ``band`` dimension that holds "green" and "swir1".

    Returns
    -------
    xarray.DataArray
        As for `ndvi`.

    Raises
    ------
    ValueError
        If `scene` is not reflectance, or lacks a band.

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
    index = scene.get_index("band")
    missing = [band for band in (plus, minus) if band not in index]
    if missing:
        raise ValueError(
            f"{name} needs the bands {plus!r} and {minus!r}; the scene lacks {missing}, "
            f"it has {list(index)}"
        )
    one, other = (scene.isel(band=index.get_loc(band), drop=True) for band in (plus, minus))
    total = one + other
    result = ((one - other) / total.where(total > 0)).rename(name)
    result.attrs = {"long_name": long_name, "units": "1"}
    return result
