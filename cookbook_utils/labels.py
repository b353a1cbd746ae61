"""Give cluster numbers a meaning: match two labelings, find water, map what changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions import (
    MISSING_LABEL,
    as_labels,
    flags,
    meanings_of,
    paired_labels,
    require_reflectance,
    require_same_grid,
)
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
        Label maps on one grid, or 1-D arrays of one length: whole numbers from 0 to 254; missing
        are 255, NaN and the nodata value that a DataArray declares. Two DataArrays are compared
        pixel by pixel of their coordinate (``pixel``, say), in any order; arrays by position.

    Returns
    -------
    xarray.DataArray or numpy.ndarray
        `labels` with new numbers, of the same type and coordinates, 255 where it is missing; the
        same dtype where that can hold 255, else uint8. Pixels that are missing in `reference` are
        renumbered with the rest of their cluster.

    Raises
    ------
    TypeError
        If `labels` or `reference` are not real numbers.
    ValueError
        If grids, coordinates or lengths differ, labels are not whole numbers from 0 to 254, or no
        pixel is valid in both.

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

    new, old = paired_labels(labels, reference, ("labels", "reference"))
    valid = (new != MISSING_LABEL) & (old != MISSING_LABEL)
    if not valid.any():
        raise ValueError(f"no pixel is valid in both labels and reference, of {new.size}")

    clusters, targets = (np.setdiff1d(array, MISSING_LABEL) for array in (new, old))
    pairs = new[valid].astype(np.intp) * 256 + old[valid]
    shared = np.bincount(pairs, minlength=256 * 256).reshape(256, 256)
    rows, columns = linear_sum_assignment(shared[np.ix_(clusters, targets)], maximize=True)
    table = np.full(256, MISSING_LABEL)
    table[clusters[rows]] = targets[columns]
    left_over = np.setdiff1d(clusters, clusters[rows])
    table[left_over] = np.setdiff1d(np.arange(MISSING_LABEL), targets)[: left_over.size]

    if not isinstance(labels, xr.DataArray):
        return table.astype(_wide(np.asarray(labels).dtype))[new]
    dtype = _wide(labels.dtype)
    labels = as_labels(labels, dims=labels.dims)
    result = xr.apply_ufunc(
        table.astype(dtype).__getitem__, labels, dask="parallelized", output_dtypes=[dtype]
    )
    result.attrs = {k: v for k, v in labels.attrs.items() if not k.startswith("flag_")}
    return result


def _wide(dtype: np.dtype) -> np.dtype:
    """Return `dtype` if it is one of integers that can hold 255, else uint8."""
    wide = dtype.kind in "iu" and np.can_cast(np.uint8, dtype)
    return dtype if wide else np.dtype(np.uint8)


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
        Water masks (y, x) on one grid: 0 land, 1 water, and missing as in any label map. Where
        ``flag_values`` and ``flag_meanings`` give other numbers to land and water, those count.

    Returns
    -------
    xarray.DataArray
        uint8 (y, x) named "change": 0 land and 1 water at both dates, 2 lost (water before, land
        after), 3 gained; 255 where either is missing. Coordinates and CRS of `before` without its
        time; lazy if the masks are. `metrics.class_areas` gives the areas.

    Raises
    ------
    TypeError
        If a mask is not a DataArray of real numbers.
    ValueError
        If the grids differ, `before` has a later time than `after`, the classes of a mask are
        named but not land and water, or a mask holds other values (on compute, where it is lazy).

    Examples
    --------
    >>> before = xr.DataArray(np.uint8([[1, 1, 0, 255]]), dims=("y", "x"))
    >>> after = xr.DataArray(np.uint8([[1, 0, 1, 0]]), dims=("y", "x"))
    >>> change_map(before, after).values
    array([[  1,   2,   3, 255]], dtype=uint8)
    """
    masks, codes = [], []
    for mask, what in ((before, "before"), (after, "after")):
        masks.append(as_labels(mask, what))
        codes.append(_land_and_water(mask, what))
    before, after = masks[0], require_same_grid(*masks)
    dates = [mask.coords.get("time") for mask in masks]
    if all(date is not None and date.dtype.kind == "M" for date in dates) and dates[0] > dates[1]:
        raise ValueError(
            f"before must not be later than after, got {dates[0].values} and {dates[1].values}: "
            "are they swapped?"
        )
    change = xr.apply_ufunc(
        _compare, before.drop_vars("time", errors="ignore"), after.reset_coords(drop=True),
        kwargs={"codes": codes}, dask="parallelized", output_dtypes=[np.uint8],
    ).rename("change")  # fmt: skip
    change.attrs = flags("water change", CHANGE_CLASSES)
    return change


def _land_and_water(mask: xr.DataArray, what: str) -> tuple[int, int]:
    """Return the numbers of land and water in a mask."""
    numbers = {name: number for number, name in meanings_of(mask).items()}
    if not numbers:
        return 0, 1
    if set(numbers) != set(WATER_CLASSES):
        raise ValueError(
            f"{what} must be a mask of land and water, got flag_meanings "
            f"{' '.join(numbers)!r}: name them land and water, or delete them from the "
            "attributes if 0 is land and 1 water"
        )
    land, water = (numbers[name] for name in WATER_CLASSES)
    return land, water


def _compare(before: np.ndarray, after: np.ndarray, codes: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the change class of every pixel; `codes` are land and water in each mask."""
    for mask, what, known in zip((before, after), ("before", "after"), codes, strict=True):
        other = np.setdiff1d(mask, (*known, MISSING_LABEL))
        if other.size:
            raise ValueError(
                f"{what} must hold {known[0]} (land), {known[1]} (water) and {MISSING_LABEL} "
                f"(missing) only, got {other[:5].tolist()}"
            )
    land, water, lost, gained = range(len(CHANGE_CLASSES))
    table = np.full((256, 256), MISSING_LABEL, np.uint8)
    table[np.ix_(*codes)] = [[land, gained], [lost, water]]
    return table[before, after]
