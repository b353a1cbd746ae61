"""Interpretation of cluster labels: match two labelings, find water, map change."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._conventions.grids import require_same_grid
from cookbook_utils._conventions.labels import (
    N_LABELS,
    NODATA_LABEL,
    as_labels,
    flags,
    meanings_of,
    paired_labels,
)
from cookbook_utils._samples import sum_over_blocks
from cookbook_utils._water import (
    WATER_BANDS,
    WATER_CLASSES,
    WATER_MAX_DISSENT,
    WATER_MAX_EVI2,
    WATER_MAX_NIR,
    WATER_MAX_SWIR1,
    water_doubts,
    water_pairs,
    water_rule,
    water_sums,
)

__all__ = [
    "WATER_BANDS",
    "WATER_MAX_DISSENT",
    "WATER_MAX_EVI2",
    "WATER_MAX_NIR",
    "WATER_MAX_SWIR1",
    "change_map",
    "find_water",
    "match_labels",
    "water_mask",
    "water_table",
]

CHANGE_CLASSES = ("land", "water", "lost", "gained")


def match_labels(
    labels: xr.DataArray | np.ndarray, reference: xr.DataArray | np.ndarray
) -> xr.DataArray | np.ndarray:
    """Renumber clusters to agree with a reference on as many pixels as possible.

    Use it before two clusterings are compared, since the numbers of clusters are arbitrary. Each
    cluster of `labels` gets the number of a different cluster of `reference`, by the assignment
    that maximizes the number of pixels with equal labels (Kuhn 1955). Clusters that remain get the
    smallest unused numbers.

    Parameters
    ----------
    labels, reference : xarray.DataArray or array_like
        Label maps on one grid, or 1-D arrays of one length: whole numbers from 0 to 254, and nodata
        (255, NaN or the declared nodata value). Two DataArrays are aligned by their coordinates,
        such as ``pixel``; arrays are compared by position.

    Returns
    -------
    xarray.DataArray or numpy.ndarray
        `labels` with new numbers and 255 for nodata, with the same coordinates. The dtype is that
        of `labels` if it is an integer dtype that can hold 255, else uint8. Pixels that are nodata
        in `reference` are renumbered with the rest of their cluster.

    Raises
    ------
    TypeError
        If `labels` or `reference` are not real numbers.
    ValueError
        If grids, coordinates or lengths differ, a value is not a label, or no pixel is valid in
        both.

    References
    ----------
    Kuhn, H. W. (1955). The Hungarian method for the assignment problem. Naval Research Logistics
    Quarterly 2, 83–97. doi:10.1002/nav.3800020109

    Examples
    --------
    >>> match_labels([2, 2, 0, 1, 1], [0, 0, 1, 2, 2])
    array([0, 0, 1, 2, 2])
    """
    new, old = paired_labels(labels, reference, ("labels", "reference"))
    is_map = isinstance(labels, xr.DataArray)
    dtype = _label_dtype(labels.dtype if is_map else np.asarray(labels).dtype)
    table = _assignment(new, old).astype(dtype)
    if not is_map:
        return table[new]
    labels = as_labels(labels, dims=labels.dims)
    result = xr.apply_ufunc(
        lambda values: table[values], labels, dask="parallelized", output_dtypes=[dtype]
    )
    result.attrs = {k: v for k, v in labels.attrs.items() if not k.startswith("flag_")}
    return result


def _assignment(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the lookup table of new labels that maximizes the agreement with `reference`."""
    from scipy.optimize import linear_sum_assignment

    valid = (labels != NODATA_LABEL) & (reference != NODATA_LABEL)
    if not valid.any():
        raise ValueError(
            f"labels and reference must share a valid pixel, got none of {labels.size}"
        )
    clusters, targets = (np.setdiff1d(array, NODATA_LABEL) for array in (labels, reference))
    pairs = labels[valid].astype(np.intp) * N_LABELS + reference[valid]
    shared = np.bincount(pairs, minlength=N_LABELS**2).reshape(N_LABELS, N_LABELS)
    rows, columns = linear_sum_assignment(shared[np.ix_(clusters, targets)], maximize=True)
    table = np.full(N_LABELS, NODATA_LABEL)
    table[clusters[rows]] = targets[columns]
    remaining = np.setdiff1d(clusters, clusters[rows])
    table[remaining] = np.setdiff1d(np.arange(NODATA_LABEL), targets)[: remaining.size]
    return table


def _label_dtype(dtype: np.dtype) -> np.dtype:
    """Return `dtype` if it is an integer dtype that can hold `NODATA_LABEL`, else uint8."""
    holds_nodata = dtype.kind in "iu" and np.can_cast(np.uint8, dtype)
    return dtype if holds_nodata else np.dtype(np.uint8)


def water_table(
    scene: xr.DataArray | Sequence[xr.DataArray], labels: xr.DataArray | Sequence[xr.DataArray]
) -> pd.DataFrame:
    """Decide which clusters are water, and tabulate the figures behind each decision.

    Use it to see how certain the results of `find_water` and `water_mask` are. The rule is that of
    Zou et al. (2018), which has no fixed threshold for MNDWI or NDVI. Water has little vegetation,
    EVI2 < `WATER_MAX_EVI2`, and a stronger water signal than vegetation signal, MNDWI > NDVI or
    MNDWI > EVI2. Two more conditions, NIR < `WATER_MAX_NIR` and SWIR1 < `WATER_MAX_SWIR1`, exclude
    snow, salt and clouds. Zou et al. use EVI, which needs a blue band and whose denominator
    approaches 0 over bright blue lagoons; EVI2 (Jiang et al. 2008) replaces it, so that the
    decision does not depend on a blue band. Negative reflectance, an error of atmospheric
    correction, is set to 0.

    A rule on four bands cannot separate water from every dark surface: the shadows of mountains
    and clouds, wet asphalt, mud under a film of water and clear ice can look the same, and so can
    dark ground under haze in top-of-atmosphere reflectance. Zou et al. mask clouds, shadows and
    snow beforehand. Strong sun glint and floating algae are classified as land.

    Parameters
    ----------
    scene : xarray.DataArray or sequence of xarray.DataArray
        Reflectance (band, y, x) with the bands green, red, nir and swir1; or (time, band, y, x), or
        a list of scenes of any sizes. Pixels that are nodata in one of the four are excluded.
    labels : xarray.DataArray or sequence of xarray.DataArray
        Label map (y, x) on the grid of `scene`: 0 to 254, and 255 for nodata. For several scenes
        (time, y, x) or a list of maps, in which labels mean the same on every date. Each cluster is
        then judged once, by its pixels on all dates.

    Returns
    -------
    pandas.DataFrame
        One row for each "cluster", in ascending order, with the columns

        - ``pixels``: number of pixels,
        - ``mndwi``, ``ndvi``, ``evi2``, ``nir``, ``swir1``: from the mean reflectance,
        - ``margin``: smallest distance to the threshold of a condition, in units of the index or
          reflectance. It is positive if all conditions hold, and NaN if the cluster is too dark for
          an MNDWI,
        - ``share_passing``: fraction of the pixels that pass the rule individually,
        - ``water``: the decision, ``margin > 0``.

    Raises
    ------
    TypeError
        If `scene` or `labels` is not a DataArray of numbers, or only one of them is a list.
    ValueError
        If grids or times differ, `scene` is not reflectance or lacks a band or has it twice, a
        value is not a label, or no pixel is valid.

    References
    ----------
    Zou, Z., et al. (2018). Divergent trends of open-surface water body area in the contiguous
    United States from 1984 to 2016. Proceedings of the National Academy of Sciences 115(15),
    3810–3815. doi:10.1073/pnas.1719275115

    Jiang, Z., Huete, A. R., Didan, K., Miura, T. (2008). Development of a two-band enhanced
    vegetation index without a blue band. Remote Sensing of Environment 112(10), 3833–3845.
    doi:10.1016/j.rse.2008.06.006

    Xu, H. (2006). Modification of normalised difference water index (NDWI) to enhance open water
    features in remotely sensed imagery. International Journal of Remote Sensing 27(14),
    3025–3033. doi:10.1080/01431160600589179

    Hall, D. K., Riggs, G. A., Salomonson, V. V. (1995). Development of methods for mapping global
    snow cover using MODIS data. Remote Sensing of Environment 54(2), 127–140.
    doi:10.1016/0034-4257(95)00137-P

    Examples
    --------
    >>> scene = xr.DataArray(
    ...     [[[0.05, 0.12]], [[0.03, 0.15]], [[0.01, 0.2]], [[0.01, 0.25]]],
    ...     coords={"band": ["green", "red", "nir", "swir1"]},
    ...     dims=("band", "y", "x"), attrs={"units": "1"},
    ... )
    >>> table = water_table(scene, xr.DataArray(np.uint8([[1, 0]]), dims=("y", "x")))
    >>> table[["mndwi", "ndvi", "evi2", "margin", "water"]].round(2)
             mndwi  ndvi  evi2  margin  water
    cluster
    0        -0.35  0.14  0.08   -0.43  False
    1         0.67 -0.50 -0.05    0.09   True
    """
    pairs = water_pairs(scene, labels)
    totals = sum(sum_over_blocks(water_sums, *pair, "scene") for pair in pairs)
    found = np.flatnonzero(totals[:, 0])
    if not found.size:
        raise ValueError(
            f"scene and labels must share a pixel with a label and the bands {WATER_BANDS}, "
            "got none"
        )
    _, means, passing = np.split(totals[found] / totals[found, :1], [1, -1], axis=1)
    if not ((means > -0.2) & (means < 2)).all():
        raise ValueError(
            "scene must hold reflectance, got clusters with mean values from "
            f"{means.min():.3g} to {means.max():.3g}: use the scene before it was standardized, or "
            "after scaling.to_reflectance"
        )
    table = water_rule(means).to_dataframe()
    table.index = pd.Index(found, name="cluster")
    table.insert(0, "pixels", totals[found, 0].astype(np.int64))
    return table.assign(share_passing=passing[:, 0], water=table["margin"] > 0)


def find_water(
    scene: xr.DataArray | Sequence[xr.DataArray], labels: xr.DataArray | Sequence[xr.DataArray]
) -> list[int]:
    """Return the clusters that are water, clear or turbid, by their mean spectra.

    Use it to name the clusters of a map. `water_table` documents the rule, its source and its
    limits, and gives the figures behind the decision.

    Parameters
    ----------
    scene, labels : xarray.DataArray or sequence of xarray.DataArray
        As for `water_table`.

    Returns
    -------
    list of int
        Cluster numbers in ascending order; empty if there is no water.

    Raises
    ------
    TypeError, ValueError
        As for `water_table`.

    Warns
    -----
    UserWarning
        If no cluster is water; if a cluster is mixed, which means that more than
        `WATER_MAX_DISSENT` of its pixels are classified differently from their mean (a larger
        number of clusters separates them); or if a cluster is too dark to be judged, with neither
        green nor SWIR1 above 0, and is taken for land.

    Examples
    --------
    >>> scene = xr.DataArray(
    ...     [[[0.05, 0.12]], [[0.03, 0.15]], [[0.01, 0.2]], [[0.01, 0.25]]],
    ...     coords={"band": ["green", "red", "nir", "swir1"]},
    ...     dims=("band", "y", "x"), attrs={"units": "1"},
    ... )
    >>> find_water(scene, xr.DataArray(np.uint8([[1, 0]]), dims=("y", "x")))
    [1]
    """
    return _water_clusters(scene, labels)


def _water_clusters(scene: Any, labels: Any) -> list[int]:
    """Return the clusters that are water, with warnings that point to the caller's caller."""
    table = water_table(scene, labels)
    for doubt in water_doubts(table):
        warnings.warn(f"{doubt}; water_table shows all figures", UserWarning, stacklevel=3)
    return table.index[table["water"]].tolist()


def water_mask(
    scene: xr.DataArray | Sequence[xr.DataArray], labels: xr.DataArray | Sequence[xr.DataArray]
) -> xr.DataArray | list[xr.DataArray]:
    """Return a mask of the clusters that are water by `find_water`.

    Use it to turn a map of clusters into a map of water, whose area `area_km2` measures.

    Parameters
    ----------
    scene, labels : xarray.DataArray or sequence of xarray.DataArray
        As for `water_table`.

    Returns
    -------
    xarray.DataArray or list of xarray.DataArray
        Named "water", uint8 with the dimensions of `labels`: 0 land, 1 water, 255 nodata. The mask
        is all land if there is no water. It has the coordinates and CRS of `labels` and is lazy if
        `labels` is. A list of masks if `labels` is a list.

    Raises
    ------
    TypeError, ValueError
        As for `water_table`.

    Warns
    -----
    UserWarning
        As for `find_water`.

    Examples
    --------
    >>> scene = xr.DataArray(
    ...     [[[0.05, 0.12]], [[0.03, 0.15]], [[0.01, 0.2]], [[0.01, 0.25]]],
    ...     coords={"band": ["green", "red", "nir", "swir1"]},
    ...     dims=("band", "y", "x"), attrs={"units": "1"},
    ... )
    >>> water_mask(scene, xr.DataArray(np.uint8([[1, 0]]), dims=("y", "x"))).values
    array([[1, 0]], dtype=uint8)
    """
    water = _water_clusters(scene, labels)
    if isinstance(labels, list | tuple):
        return [_mask_of(one, water) for one in labels]
    return _mask_of(labels, water)


def _mask_of(labels: xr.DataArray, water: list[int]) -> xr.DataArray:
    """Return the mask of the clusters `water` in a label map."""
    labels = as_labels(labels, allow_extra=True)
    mask = labels.isin(water).astype("uint8")
    mask = mask.where(labels != NODATA_LABEL, np.uint8(NODATA_LABEL)).rename("water")
    mask.attrs = flags("water mask", WATER_CLASSES)
    return mask


def change_map(before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """Map the change between two water masks.

    Use it to see where water was lost and gained; `class_areas` gives the areas.

    Parameters
    ----------
    before, after : xarray.DataArray
        Water masks (y, x) on one grid: 0 land, 1 water, and nodata (255, NaN or the declared
        nodata value). If ``flag_values`` and ``flag_meanings`` assign other numbers to land and
        water, these are used.

    Returns
    -------
    xarray.DataArray
        Named "change", uint8 (y, x): 0 land and 1 water at both dates, 2 lost (water before, land
        after), 3 gained, 255 where either is nodata. It has the coordinates and CRS of `before`
        without its time, and is lazy if the masks are.

    Raises
    ------
    TypeError
        If a mask is not a DataArray of real numbers.
    ValueError
        If the grids differ, the time of `before` is later than that of `after` or cannot be
        compared with it (dates of any calendar, ISO 8601 text and numbers can), the named classes
        of a mask are not land and water, or a mask holds other values (on compute if it is lazy).

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
    _require_in_order(*masks)
    change = xr.apply_ufunc(
        _compare, before.drop_vars("time", errors="ignore"), after.reset_coords(drop=True),
        kwargs={"codes": codes}, dask="parallelized", output_dtypes=[np.uint8],
    ).rename("change")  # fmt: skip
    change.attrs = flags("water change", CHANGE_CLASSES)
    return change


def _require_in_order(before: xr.DataArray, after: xr.DataArray) -> None:
    """Raise ValueError if both masks have a time and that of `before` is later.

    Dates of different calendars are compared by year, month, day and time of day.
    """
    times = [mask.coords.get("time") for mask in (before, after)]
    if any(time is None or time.ndim for time in times):
        return
    one, two = (time.values[()] for time in times)
    try:
        swapped = _moment(one) > _moment(two)
    except (ValueError, TypeError):
        raise ValueError(
            "before and after must have times that can be compared, dates, text of ISO 8601 or "
            f"numbers, got {one} and {two}: drop them with .drop_vars('time')"
        ) from None
    if swapped:
        raise ValueError(
            f"before must not be later than after, got {one} and {two}: are they swapped?"
        )


def _moment(time: Any) -> Any:
    """Return a time as a number or tuple that can be compared; NaT becomes a tuple of NaN."""
    if isinstance(time, str):
        time = pd.to_datetime(time, format="ISO8601", utc=True)
    elif isinstance(time, np.datetime64):
        time = pd.Timestamp(time)
    if not hasattr(time, "year"):
        return time.item() if isinstance(time, np.generic) else time
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return tuple(getattr(time, part, 0) for part in parts)


def _land_and_water(mask: xr.DataArray, what: str) -> tuple[int, int]:
    """Return the numbers of land and water in a mask."""
    numbers = {name: number for number, name in meanings_of(mask).items()}
    if not numbers:
        return 0, 1
    if set(numbers) != set(WATER_CLASSES):
        raise ValueError(
            f"{what} must be a mask of land and water, got flag_meanings "
            f"{' '.join(numbers)!r}: name them land and water, or delete them from the "
            "attributes if 0 is land and 1 is water"
        )
    land, water = (numbers[name] for name in WATER_CLASSES)
    return land, water


def _compare(before: np.ndarray, after: np.ndarray, codes: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the change class of each pixel; `codes` are the numbers of land and water by mask."""
    for mask, what, known in zip((before, after), ("before", "after"), codes, strict=True):
        other = np.setdiff1d(mask, (*known, NODATA_LABEL))
        if other.size:
            raise ValueError(
                f"{what} must hold only {known[0]} (land), {known[1]} (water) and {NODATA_LABEL} "
                f"(nodata), got {other[:5].tolist()}"
            )
    land, water, lost, gained = range(len(CHANGE_CLASSES))
    table = np.full((N_LABELS, N_LABELS), NODATA_LABEL, np.uint8)
    table[np.ix_(*codes)] = [[land, gained], [lost, water]]
    return table[before, after]
