"""Give cluster numbers a meaning: match two labelings, find water, map what changed."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions import MISSING_LABEL, flags, require_reflectance, require_same_grid
from cookbook_utils.indices import mndwi, ndvi
from cookbook_utils.metrics import cluster_profiles

WATER_MIN_MNDWI = 0.0
"""Water reflects more green than shortwave infrared (Xu 2006)."""
WATER_MAX_NDVI = 0.1
"""Vegetation and flooded vegetation lie above (Zhu and Woodcock 2012)."""
WATER_MAX_NIR = 0.22
"""Reflectance. Mud lifts water to about 0.2; snow and salt are brighter (Hall et al. 1995)."""
WATER_MAX_SWIR1 = 0.1
"""Reflectance. Water absorbs it, with or without mud; clouds, salt and bare soil do not."""

WATER_CLASSES = ("land", "water")
CHANGE_CLASSES = ("land", "water", "lost", "gained")


def match_labels(
    labels: xr.DataArray | np.ndarray, reference: xr.DataArray | np.ndarray
) -> xr.DataArray | np.ndarray:
    """Renumber clusters so that they agree with a reference on as many pixels as possible.

    A clustering numbers its clusters by chance. Each cluster of `labels` takes the number of one
    cluster of `reference`, no two the same, such that the pixels with equal number are most: an
    optimal assignment. Clusters that are left over take the smallest numbers not yet used.

    Parameters
    ----------
    labels, reference
        Label maps on one grid (uint8, 255 missing), or 1-D integers of one length.

    Returns
    -------
    xarray.DataArray or numpy.ndarray
        `labels` with new numbers, of the same type, dtype and coordinates. Pixels that are
        missing in `reference` are renumbered with the rest of their cluster.

    Raises
    ------
    ValueError
        If grids or lengths differ, labels are not integers from 0 to 254, or no pixel is valid
        in both.

    References
    ----------
    Kuhn, H. W. (1955). The Hungarian method for the assignment problem. Naval Research Logistics
    Quarterly 2, 83–97. doi:10.1002/nav.3800020109

    Examples
    --------
    >>> match_labels([2, 2, 0, 1, 1], [0, 0, 1, 2, 2])
    array([0, 0, 1, 2, 2])
    """
    from scipy.optimize import linear_sum_assignment

    arrays = [labels, reference]
    if all(isinstance(array, xr.DataArray) for array in arrays):
        require_dims(reference, labels.dims, "reference")
        if {"x", "y"} <= set(labels.dims):
            require_same_grid(labels, reference)
        arrays[1] = reference.transpose(*labels.dims)
    new, old = (np.asarray(array) for array in arrays)
    if new.shape != old.shape:
        raise ValueError(f"labels have the shape {new.shape}, the reference {old.shape}")
    clusters, targets = _numbers(new, "labels"), _numbers(old, "reference")
    valid = (new != MISSING_LABEL) & (old != MISSING_LABEL)
    if not valid.any():
        raise ValueError(f"no pixel is valid in both labels and reference, of {new.size}")

    pairs = new[valid].astype(np.intp) * 256 + old[valid]
    shared = np.bincount(pairs, minlength=256 * 256).reshape(256, 256)
    rows, columns = linear_sum_assignment(shared[np.ix_(clusters, targets)], maximize=True)
    table = np.full(256, MISSING_LABEL)
    table[clusters[rows]] = targets[columns]
    left_over = np.setdiff1d(clusters, clusters[rows])
    table[left_over] = np.setdiff1d(np.arange(MISSING_LABEL), targets)[: left_over.size]
    table = table.astype(new.dtype)

    if not isinstance(labels, xr.DataArray):
        return table[new]
    result = xr.apply_ufunc(
        table.__getitem__, labels, dask="parallelized", output_dtypes=[new.dtype]
    )
    result.attrs = {k: v for k, v in labels.attrs.items() if not k.startswith("flag_")}
    return result


def _numbers(labels: np.ndarray, what: str) -> np.ndarray:
    """Return the cluster numbers that occur in `labels`."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{what} must be integers from 0 to 254, found dtype {labels.dtype}")
    found = np.unique(labels)
    if found.size and not 0 <= found[0] <= found[-1] <= MISSING_LABEL:
        raise ValueError(f"{what} must lie between 0 and 254, found {found[0]} to {found[-1]}")
    return found[found != MISSING_LABEL].astype(np.intp)


def find_water(labels: xr.DataArray, scene: xr.DataArray) -> list[int]:
    """Return the clusters that are water, clear or muddy, by the spectra of their centroids.

    A cluster is water if its mean reflectance gives MNDWI > `WATER_MIN_MNDWI` and
    NDVI < `WATER_MAX_NDVI`, and is dark in the infrared: NIR < `WATER_MAX_NIR` and
    SWIR1 < `WATER_MAX_SWIR1`. The last two leave out what the indices alone would take for
    water: snow, salt and some clouds. A cluster that mixes water with something else is judged by
    its mean; more clusters part the two. In top-of-atmosphere reflectance the haze over deep
    mountain shadow can look like water: use surface reflectance there.

    Parameters
    ----------
    labels
        Label map (y, x), 255 missing.
    scene
        Reflectance (band, y, x) on the same grid, with the bands green, red, nir and swir1.

    Returns
    -------
    list of int
        Cluster numbers in ascending order; empty if there is no water.

    Raises
    ------
    ValueError
        If the grids differ, `scene` is not reflectance or lacks a band, or no pixel is valid.

    References
    ----------
    Xu, H. (2006). Modification of normalised difference water index (NDWI) to enhance open water
    features in remotely sensed imagery. International Journal of Remote Sensing 27(14),
    3025–3033. doi:10.1080/01431160600589179

    McFeeters, S. K. (1996). The use of the normalized difference water index (NDWI) in the
    delineation of open water features. International Journal of Remote Sensing 17(7), 1425–1432.
    doi:10.1080/01431169608948714

    Hall, D. K., Riggs, G. A., Salomonson, V. V. (1995). Development of methods for mapping global
    snow cover using MODIS data. Remote Sensing of Environment 54(2), 127–140.
    doi:10.1016/0034-4257(95)00137-P

    Zhu, Z., Woodcock, C. E. (2012). Object-based cloud and cloud shadow detection in Landsat
    imagery. Remote Sensing of Environment 118, 83–94. doi:10.1016/j.rse.2011.10.028

    Examples
    --------
    >>> scene = xr.DataArray(
    ...     [[[0.05, 0.12]], [[0.03, 0.15]], [[0.01, 0.2]], [[0.01, 0.25]]],
    ...     coords={"band": ["green", "red", "nir", "swir1"]},
    ...     dims=("band", "y", "x"), attrs={"units": "1"},
    ... )
    >>> find_water(xr.DataArray(np.uint8([[1, 0]]), dims=("y", "x")), scene)
    [1]
    """
    require_dims(labels, ("y", "x"), "labels")
    require_dims(scene, ("band", "y", "x"), "scene")
    require_reflectance(scene, "find_water")
    centroids = cluster_profiles(scene, labels)["mean"]
    if not ((centroids > -0.2) & (centroids < 2)).all():
        raise ValueError(
            f"mean values from {centroids.values.min():.3g} to {centroids.values.max():.3g} are "
            "no reflectance: give the scene as it was before it was standardized"
        )
    # NDVI of very dark water may be undefined (NaN), which speaks against vegetation.
    water = (mndwi(centroids) > WATER_MIN_MNDWI) & ~(ndvi(centroids) >= WATER_MAX_NDVI)
    water &= centroids.sel(band="nir", drop=True) < WATER_MAX_NIR
    water &= centroids.sel(band="swir1", drop=True) < WATER_MAX_SWIR1
    return centroids["cluster"].values[water.values].tolist()


def water_mask(labels: xr.DataArray, scene: xr.DataArray) -> xr.DataArray:
    """Return the mask of the clusters that `find_water` names.

    Parameters
    ----------
    labels, scene
        As for `find_water`.

    Returns
    -------
    xarray.DataArray
        uint8 (y, x) named "water": 0 land, 1 water, 255 missing; all land if there is no water.
        Coordinates and CRS of `labels`, lazy if `labels` is.

    Raises
    ------
    ValueError
        As for `find_water`.

    Examples
    --------
    >>> scene = xr.DataArray(
    ...     [[[0.05, 0.12]], [[0.03, 0.15]], [[0.01, 0.2]], [[0.01, 0.25]]],
    ...     coords={"band": ["green", "red", "nir", "swir1"]},
    ...     dims=("band", "y", "x"), attrs={"units": "1"},
    ... )
    >>> water_mask(xr.DataArray(np.uint8([[1, 0]]), dims=("y", "x")), scene).values
    array([[1, 0]], dtype=uint8)
    """
    water = labels.isin(find_water(labels, scene)).astype("uint8")
    mask = water.where(labels != MISSING_LABEL, np.uint8(MISSING_LABEL)).rename("water")
    mask.attrs = flags("water mask", WATER_CLASSES)
    return mask


def change_map(before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """Compare two water masks, pixel by pixel.

    Parameters
    ----------
    before, after
        Water masks (y, x) on one grid: 0 land, 1 water, 255 missing.

    Returns
    -------
    xarray.DataArray
        uint8 (y, x) named "change": 0 land and 1 water at both dates, 2 lost (water before, land
        after), 3 gained; 255 where either is missing. Coordinates and CRS of `before` without its
        time; lazy if the masks are. `metrics.class_areas` gives the areas.

    Raises
    ------
    ValueError
        If the grids differ, or a mask holds other values (on compute, where it is lazy).

    Examples
    --------
    >>> before = xr.DataArray(np.uint8([[1, 1, 0, 255]]), dims=("y", "x"))
    >>> after = xr.DataArray(np.uint8([[1, 0, 1, 0]]), dims=("y", "x"))
    >>> change_map(before, after).values
    array([[  1,   2,   3, 255]], dtype=uint8)
    """
    for mask, what in ((before, "before"), (after, "after")):
        require_dims(mask, ("y", "x"), what)
    require_same_grid(before, after)
    change = xr.apply_ufunc(
        _compare, before.drop_vars("time", errors="ignore"), after.reset_coords(drop=True),
        dask="parallelized", output_dtypes=[np.uint8],
    ).rename("change")  # fmt: skip
    change.attrs = flags("water change", CHANGE_CLASSES)
    return change


def _compare(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the change class of every pixel."""
    land, water, lost, gained = range(len(CHANGE_CLASSES))
    for mask in (before, after):
        other = np.setdiff1d(mask, (0, 1, MISSING_LABEL))
        if other.size:
            raise ValueError(
                f"a water mask holds 0, 1 and {MISSING_LABEL} only, found {other[:5].tolist()}"
            )
    table = np.full((256, 256), MISSING_LABEL, np.uint8)
    table[:2, :2] = [[land, gained], [lost, water]]
    return table[before.astype(np.uint8), after.astype(np.uint8)]
