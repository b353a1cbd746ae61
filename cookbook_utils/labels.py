"""Give cluster numbers a meaning: match two labelings, find water, map what changed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.bands import require_reflectance
from cookbook_utils._conventions.grids import require_same_grid, same_coordinate
from cookbook_utils._conventions.labels import (
    NODATA_LABEL,
    as_labels,
    flags,
    meanings_of,
    paired_labels,
)
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils.indices import mndwi, ndvi
from cookbook_utils.metrics import _sum_over_blocks

WATER_BANDS = ("green", "red", "nir", "swir1")
"""Bands that the rule for water needs."""
WATER_MAX_EVI2 = 0.1
"""Plants lie above, on dry and on flooded ground (Zou et al. 2018)."""
WATER_MAX_NIR = 0.22
"""Reflectance. Mud lifts water to about 0.2; snow and salt are brighter (Hall et al. 1995)."""
WATER_MAX_SWIR1 = 0.1
"""Reflectance. Water absorbs it, with or without mud; clouds, salt and bare soil do not."""
WATER_MAX_DISSENT = 0.2
"""Share of a cluster's pixels that the rule may judge unlike the cluster before one is warned.
Noise and shores make up a few percent; a mask that is wrong in a fifth of a cluster is no map."""

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
    valid = (new != NODATA_LABEL) & (old != NODATA_LABEL)
    if not valid.any():
        raise ValueError(f"no pixel is valid in both labels and reference, of {new.size}")

    clusters, targets = (np.setdiff1d(array, NODATA_LABEL) for array in (new, old))
    pairs = new[valid].astype(np.intp) * 256 + old[valid]
    shared = np.bincount(pairs, minlength=256 * 256).reshape(256, 256)
    rows, columns = linear_sum_assignment(shared[np.ix_(clusters, targets)], maximize=True)
    table = np.full(256, NODATA_LABEL)
    table[clusters[rows]] = targets[columns]
    left_over = np.setdiff1d(clusters, clusters[rows])
    table[left_over] = np.setdiff1d(np.arange(NODATA_LABEL), targets)[: left_over.size]

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


def water_table(
    labels: xr.DataArray | Sequence[xr.DataArray], scene: xr.DataArray | Sequence[xr.DataArray]
) -> pd.DataFrame:
    """Judge which clusters are water, and return the figures behind each decision.

    Use it to see how sure `find_water` and `water_mask` can be. The rule is that of Zou et al.
    (2018), which has no fixed limit for MNDWI or NDVI: few plants, EVI2 < `WATER_MAX_EVI2`, and a
    stronger sign of water than of plants, MNDWI > NDVI or MNDWI > EVI2. Added are
    NIR < `WATER_MAX_NIR` and SWIR1 < `WATER_MAX_SWIR1`, which leave out snow, salt and clouds.
    Zou et al. use EVI, which needs a blue band and whose denominator falls to 0 over bright blue
    lagoons. EVI2 (Jiang et al. 2008) is its stand-in without blue, so that a cluster is judged
    alike with and without that band. Reflectance below 0, an error of atmospheric correction,
    counts as 0.

    A rule on four bands cannot tell water from everything as dark: the shade of mountains and
    clouds, wet asphalt, mud under a film of water and clear ice can look the same, also in
    top-of-atmosphere reflectance the haze over dark ground. Zou et al. mask clouds, shadows and
    snow beforehand. Strong sun glint and floating algae are taken for land.

    Parameters
    ----------
    labels
        Label map (y, x), 0 to 254, 255 missing; or (time, y, x), or a list of maps of any sizes,
        whose labels mean the same on every date. A cluster is then judged once, by all dates.
    scene
        Reflectance (band, y, x) on the grid of `labels`, with the bands green, red, nir and swir1;
        (time, band, y, x) or a list of scenes where `labels` are so. Pixels with one of the four
        missing are left out.

    Returns
    -------
    pandas.DataFrame
        One row for each "cluster", in ascending order, with the columns

        - ``pixels``: their number,
        - ``mndwi``, ``ndvi``, ``evi2``, ``nir``, ``swir1``: of the mean reflectance,
        - ``margin``: the smallest distance to the limit of a condition, in units of the index or
          reflectance; above 0 if all hold. NaN if the cluster is too dark for an MNDWI,
        - ``share_passing``: the share of the pixels that pass the rule by themselves, from 0 to 1,
        - ``water``: the decision, ``margin > 0``.

    Raises
    ------
    TypeError
        If `labels` or `scene` is not a DataArray of numbers, or only one of the two is a list.
    ValueError
        If grids or times differ, `scene` is not reflectance or has a band missing or twice, a
        value is no label, or no pixel is valid.

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
    >>> table = water_table(xr.DataArray(np.uint8([[1, 0]]), dims=("y", "x")), scene)
    >>> table[["mndwi", "ndvi", "evi2", "margin", "water"]].round(2)
             mndwi  ndvi  evi2  margin  water
    cluster
    0        -0.35  0.14  0.08   -0.43  False
    1         0.67 -0.50 -0.05    0.09   True
    """

    def sums(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return pixels, sums of the bands and pixels that pass, for every label."""
        if not labels.size:
            return np.zeros((NODATA_LABEL, len(WATER_BANDS) + 2))
        pieces = np.array_split(values, len(values) // 500_000 + 1)  # few indices at a time
        passing = np.concatenate([_water_rule(piece)["margin"].values > 0 for piece in pieces])
        weights = [np.ones(len(labels)), *values.T, passing]
        return np.stack([np.bincount(labels, w, NODATA_LABEL) for w in weights], axis=-1)

    totals = sum(_sum_over_blocks(sums, *pair, "scene") for pair in _water_pairs(labels, scene))
    found = np.flatnonzero(totals[:, 0])
    if not found.size:
        raise ValueError(
            f"labels and scene must share a pixel with a label and the bands {WATER_BANDS}, "
            "got none"
        )
    _, means, passing = np.split(totals[found] / totals[found, :1], [1, -1], axis=1)
    if not ((means > -0.2) & (means < 2)).all():
        raise ValueError(
            "scene must hold reflectance, got clusters with mean values from "
            f"{means.min():.3g} to {means.max():.3g}: give the scene as it was before it was "
            "standardized, or after scaling.to_reflectance"
        )
    table = _water_rule(means).to_dataframe()
    table.index = pd.Index(found, name="cluster")
    table.insert(0, "pixels", totals[found, 0].astype(np.int64))
    return table.assign(share_passing=passing[:, 0], water=table["margin"] > 0)


def _water_rule(reflectance: np.ndarray) -> xr.Dataset:
    """Return the indices of spectra (n, `WATER_BANDS`), and how far inside the rule they lie."""
    spectra = xr.DataArray(
        reflectance.clip(0), dims=("cluster", "band"), coords={"band": list(WATER_BANDS)},
        attrs={"units": "1"},
    )  # fmt: skip
    # Pixels may be absurd; the mean of their cluster is refused.
    with np.errstate(over="ignore", invalid="ignore"):
        red, nir, swir1 = (spectra.sel(band=band, drop=True) for band in WATER_BANDS[1:])
        table = xr.Dataset({"mndwi": mndwi(spectra), "ndvi": ndvi(spectra)})
        table["evi2"] = 2.5 * (nir - red) / (nir + 2.4 * red + 1)
        table["nir"], table["swir1"] = nir, swir1
        conditions = [
            WATER_MAX_EVI2 - table["evi2"],
            # Above one of the two is above the lower one. NDVI may be undefined over dark water.
            table["mndwi"] - np.fmin(table["ndvi"], table["evi2"]),
            WATER_MAX_NIR - nir,
            WATER_MAX_SWIR1 - swir1,
        ]
        table["margin"] = "cluster", np.minimum.reduce([c.values for c in conditions])
    return table


def _water_pairs(labels, scene) -> list[tuple[xr.DataArray, xr.DataArray]]:
    """Return label maps in uint8 with their scenes of `WATER_BANDS`, checked, without coordinates.

    What fits has been decided by the coordinates here; from then on position counts.
    """
    is_list = [isinstance(given, list | tuple) for given in (labels, scene)]
    if any(is_list):
        if not all(is_list):
            raise TypeError(
                "labels and scene must be both an xarray.DataArray or both a list, got "
                f"{type(labels).__name__} and {type(scene).__name__}"
            )
        if len(labels) != len(scene) or not len(labels):
            raise ValueError(
                "labels and scene must be lists of one length, at least 1, got "
                f"{len(labels)} and {len(scene)}"
            )
        maps, names = zip(labels, scene, strict=True), [f"[{i}]" for i in range(len(labels))]
    else:
        maps, names = [(labels, scene)], [""]
    return [
        _water_pair(*pair, f"labels{name}", f"scene{name}")
        for pair, name in zip(maps, names, strict=True)
    ]


def _water_pair(labels, scene, labels_name: str, scene_name: str):
    labels = as_labels(labels, labels_name, allow_extra=True)
    if "band" in labels.dims:
        raise ValueError(f"{labels_name} must have no dimension 'band', got {labels.dims}")
    require_dims(scene, (*labels.dims, "band"), scene_name)
    require_reflectance(scene, "find_water")
    bands = scene.get_index("band")
    numbers = [np.flatnonzero(bands == band) for band in WATER_BANDS]
    if any(len(found) != 1 for found in numbers):
        raise ValueError(
            f"{scene_name} must have each of the bands {WATER_BANDS} once, got {list(bands)}"
        )
    scene = require_same_grid(labels, mask_and_float(scene.isel(band=np.concatenate(numbers))))
    for dim in (set(labels.dims) - {"y", "x"}) & set(labels.coords) & set(scene.coords):
        one, two = labels[dim].values, scene[dim].values
        if not same_coordinate(one, two):
            raise ValueError(
                f"{labels_name} and {scene_name} must have the same {dim}, got "
                f"{one.astype(str).tolist()} and {two.astype(str).tolist()}"
            )
    return labels.drop_vars(labels.coords), scene.drop_vars(scene.coords)


def find_water(
    labels: xr.DataArray | Sequence[xr.DataArray], scene: xr.DataArray | Sequence[xr.DataArray]
) -> list[int]:
    """Return the clusters that are water, clear or muddy, by the spectra of their means.

    Use it to name the clusters of a map. `water_table` states the rule, its source and what it
    cannot tell apart, and gives the figures behind the decision.

    Parameters
    ----------
    labels, scene
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
        If no cluster is water; if a cluster is mixed, which is if the rule judges more than
        `WATER_MAX_DISSENT` of its pixels unlike their mean (more clusters part the two); or if
        one is too dark to be judged, with neither green nor SWIR1 above 0, and so counts as land.

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
    return _water_clusters(labels, scene)


def _water_clusters(labels, scene) -> list[int]:
    """Return the clusters that are water, and warn the caller's caller of doubts."""
    table = water_table(labels, scene)
    for doubt in _water_doubts(table):
        warnings.warn(f"{doubt}; water_table shows all figures", UserWarning, stacklevel=3)
    return table.index[table["water"]].tolist()


def _water_doubts(table: pd.DataFrame) -> list[str]:
    """Return what speaks against trusting the decisions of a `water_table`."""
    doubts = []
    if not table["water"].any():
        doubt = f"no cluster of {len(table)} is water"
        if table["margin"].notna().any():
            nearest = table["margin"].idxmax()
            figures = table.loc[nearest, "mndwi":"margin"]
            named = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            doubt += f": cluster {nearest} comes nearest, with {named}"
        doubts.append(doubt)
    dissent = table["share_passing"].where(~table["water"], 1 - table["share_passing"])
    for cluster, row in table[dissent > WATER_MAX_DISSENT].iterrows():
        doubts.append(
            f"cluster {cluster} is mixed: it counts as {WATER_CLASSES[row['water']]}, and "
            f"{row['share_passing']:.1%} of its {row['pixels']} pixels are water by themselves"
        )
    for cluster, row in table[table["margin"].isna()].iterrows():
        doubts.append(
            f"cluster {cluster} is too dark to be judged and counts as land: the mean of its "
            f"{row['pixels']} pixels is above 0 in neither green nor SWIR1"
        )
    return doubts


def water_mask(
    labels: xr.DataArray | Sequence[xr.DataArray], scene: xr.DataArray | Sequence[xr.DataArray]
) -> xr.DataArray | list[xr.DataArray]:
    """Return the mask of the clusters that `find_water` names.

    Use it to go from a map of clusters to one of water, whose area `metrics.area_km2` gives.

    Parameters
    ----------
    labels, scene
        As for `water_table`.

    Returns
    -------
    xarray.DataArray or list of them
        uint8, the dimensions of `labels`, named "water": 0 land, 1 water, 255 missing; all land if
        there is no water. Coordinates and CRS of `labels`, lazy if `labels` is. A list of masks
        if `labels` is a list.

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
    >>> water_mask(xr.DataArray(np.uint8([[1, 0]]), dims=("y", "x")), scene).values
    array([[1, 0]], dtype=uint8)
    """
    water = _water_clusters(labels, scene)
    if isinstance(labels, list | tuple):
        return [_mask_of(one, water) for one in labels]
    return _mask_of(labels, water)


def _mask_of(labels: xr.DataArray, water: list[int]) -> xr.DataArray:
    labels = as_labels(labels, allow_extra=True)
    mask = labels.isin(water).astype("uint8")
    mask = mask.where(labels != NODATA_LABEL, np.uint8(NODATA_LABEL)).rename("water")
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
        If the grids differ, `before` has a later time than `after` or one that cannot be compared
        with it (dates of any calendar, text of ISO 8601 and numbers can), the classes of a mask
        are named but not land and water, or a mask holds other values (on compute, where it is
        lazy).

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
    """Raise ValueError unless the time of `before` is that of `after` or earlier, where both tell.

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
    """Return a time as what can be compared: NaN, above and below nothing, for NaT."""
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
            "attributes if 0 is land and 1 water"
        )
    land, water = (numbers[name] for name in WATER_CLASSES)
    return land, water


def _compare(before: np.ndarray, after: np.ndarray, codes: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the change class of every pixel; `codes` are land and water in each mask."""
    for mask, what, known in zip((before, after), ("before", "after"), codes, strict=True):
        other = np.setdiff1d(mask, (*known, NODATA_LABEL))
        if other.size:
            raise ValueError(
                f"{what} must hold {known[0]} (land), {known[1]} (water) and {NODATA_LABEL} "
                f"(missing) only, got {other[:5].tolist()}"
            )
    land, water, lost, gained = range(len(CHANGE_CLASSES))
    table = np.full((256, 256), NODATA_LABEL, np.uint8)
    table[np.ix_(*codes)] = [[land, gained], [lost, water]]
    return table[before, after]
