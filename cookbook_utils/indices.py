"""Spectral indices: normalized differences of two bands, and what they say of fire."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.bands import positions_of, require_reflectance
from cookbook_utils._conventions.grids import require_same_grid
from cookbook_utils._conventions.labels import NODATA_LABEL, flags
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._conventions.times import require_in_order

BURN_THRESHOLDS = (-0.25, -0.1, 0.1, 0.27, 0.44, 0.66)
"""Smallest dNBR of each class of `burn_severity` but the first (Key & Benson 2006, table LA-2)."""
BURN_LIMITS = (-0.55, 1.35)
"""Range of dNBR outside which Key & Benson (2006) take a value for an artifact, such as a cloud."""

_BURN_CLASSES = (
    "high_regrowth",
    "low_regrowth",
    "unburned",
    "low_severity",
    "moderate_low_severity",
    "moderate_high_severity",
    "high_severity",
)


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

    Use it to detect open water, which absorbs shortwave infrared, so that the index is positive
    over most water. It is positive over snow and some clouds and salt, too.

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


def nbr(scene: xr.DataArray) -> xr.DataArray:
    """Compute the normalized burn ratio, (NIR − SWIR2) / (NIR + SWIR2).

    Use it to map burned ground: fire lowers near infrared, which leaves reflect, and raises
    shortwave infrared, which their water absorbs. `dnbr` compares two dates.

    Parameters
    ----------
    scene : xarray.DataArray
        Reflectance as floats with a ``band`` dimension that contains "nir" and "swir2" once each.

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
    Key, C. H., Benson, N. C. (2006). Landscape assessment. In: FIREMON, fire effects monitoring and
    inventory system. USDA Forest Service, RMRS-GTR-164-CD, LA-1 to LA-55. doi:10.2737/RMRS-GTR-164

    Examples
    --------
    >>> scene = xr.DataArray([0.3, 0.1], coords={"band": ["nir", "swir2"]}, attrs={"units": "1"})
    >>> round(float(nbr(scene)), 3)
    0.5
    """
    return _normalized_difference(scene, "nir", "swir2", "nbr", "normalized burn ratio")


def dnbr(before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """Compute the difference of the normalized burn ratio, before minus after.

    Use it to see how severely vegetation burned between two dates, which should be of one season,
    free of clouds and equally corrected for the atmosphere; `burn_severity` makes classes of it.

    Parameters
    ----------
    before, after : xarray.DataArray
        Reflectance on one grid, as for `nbr`.

    Returns
    -------
    xarray.DataArray
        Named "dnbr", from −2 to 2 and positive where vegetation was lost, with the dimensions of
        `nbr`, and the coordinates of `before` without its time; lazy if the scenes are. NaN where
        either is.

    Raises
    ------
    TypeError
        If a scene is not a DataArray of floats.
    ValueError
        If a scene is not one that `nbr` takes, the grids differ, or the time of `before` is later
        than that of `after` or cannot be compared with it.

    References
    ----------
    Key, C. H., Benson, N. C. (2006). Landscape assessment. In: FIREMON, fire effects monitoring and
    inventory system. USDA Forest Service, RMRS-GTR-164-CD, LA-1 to LA-55. doi:10.2737/RMRS-GTR-164

    Examples
    --------
    >>> scene = xr.DataArray(
    ...     [[[0.3]], [[0.1]]], coords={"band": ["nir", "swir2"]}, dims=("band", "y", "x"),
    ...     attrs={"units": "1"},
    ... )
    >>> round(dnbr(scene, scene[::-1].assign_coords(band=["nir", "swir2"])).item(), 3)
    1.0
    """
    ratios = []
    for scene, what in ((before, "before"), (after, "after")):
        require_dims(scene, ["band", "y", "x"], what, allow_extra=True)
        ratios.append(_normalized_difference(scene, "nir", "swir2", "nbr", "", what))
    require_in_order(before, after)
    one, two = ratios[0], require_same_grid(*ratios)
    difference = one.drop_vars("time", errors="ignore") - two.reset_coords(drop=True)
    difference = difference.transpose(*one.dims).rename("dnbr")
    difference.attrs = {"long_name": "difference of the normalized burn ratio", "units": "1"}
    return difference


def burn_severity(difference: xr.DataArray) -> xr.DataArray:
    """Classify a difference of the normalized burn ratio by severity.

    Use it for a first map of a fire. The thresholds, `BURN_THRESHOLDS`, are those that the US
    Geological Survey published for forests of the western United States; elsewhere, and for other
    dates after a fire, they may shift by 0.1 or more and need plots on the ground. Harvest, drought
    and snow look like fire, since only the change is seen.

    Parameters
    ----------
    difference : xarray.DataArray
        The result of `dnbr`, in floats, not multiplied by 1000.

    Returns
    -------
    xarray.DataArray
        Named "severity", uint8: 0 high regrowth, 1 low regrowth, 2 unburned, 3 low, 4 moderate-low,
        5 moderate-high and 6 high severity, with names in ``flag_meanings``. Nodata, 255, where
        `difference` is NaN or outside `BURN_LIMITS`. It is lazy if `difference` is.

    Raises
    ------
    TypeError
        If `difference` is not a DataArray of floats.
    ValueError
        If a value is outside −2 to 2 (on compute if it is lazy).

    References
    ----------
    Key, C. H., Benson, N. C. (2006). Landscape assessment. In: FIREMON, fire effects monitoring and
    inventory system. USDA Forest Service, RMRS-GTR-164-CD, LA-1 to LA-55. doi:10.2737/RMRS-GTR-164

    Examples
    --------
    >>> burn_severity(xr.DataArray([-0.3, 0.0, 0.1, 0.5, 0.7, 1.5], dims="x")).values
    array([  0,   2,   3,   5,   6, 255], dtype=uint8)
    """
    require_dims(difference, (), "difference", allow_extra=True)
    if difference.dtype.kind != "f":
        raise TypeError(f"difference must hold floats, got dtype {difference.dtype}")
    severity = xr.apply_ufunc(
        _severity, mask_and_float(difference), dask="parallelized", output_dtypes=[np.uint8]
    ).rename("severity")
    severity.attrs = flags("burn severity", _BURN_CLASSES)
    return severity


def _severity(values: np.ndarray) -> np.ndarray:
    """Return the class of burn severity of each value."""
    largest = np.nanmax(np.abs(values), initial=0)
    if not largest <= 2 + 1e-6:
        raise ValueError(
            f"difference must be from -2 to 2, as dnbr returns it, got {largest:g}: divide values "
            "that were multiplied by 1000"
        )
    # float32 of a threshold counts as the threshold, which a class includes.
    classes = np.digitize(values, np.asarray(BURN_THRESHOLDS, values.dtype)).astype(np.uint8)
    low, high = BURN_LIMITS
    return np.where((values >= low) & (values <= high), classes, np.uint8(NODATA_LABEL))


def _normalized_difference(
    scene: xr.DataArray, plus: str, minus: str, name: str, long_name: str, what: str = "scene"
) -> xr.DataArray:
    """Return (plus − minus) / (plus + minus) for two bands, called `name`."""
    require_dims(scene, ["band"], what, allow_extra=True)
    require_reflectance(scene, name, what)
    if scene.dtype.kind != "f":
        raise TypeError(
            f"{what} must hold reflectance as floats, got dtype {scene.dtype}: "
            f"call cookbook_utils.scaling.to_reflectance({what}) first"
        )
    positions = positions_of(scene, (plus, minus), f"{what} for {name}")
    scene = mask_and_float(scene)
    one, other = (scene.isel(band=at, drop=True).clip(min=0) for at in positions)
    total = one + other
    result = ((one - other) / total.where(total > 0)).rename(name)
    result.attrs = {"long_name": long_name, "units": "1"}
    return result
