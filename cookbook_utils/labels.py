"""Interpretation of cluster labels: match two labelings, find water, map change."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._change import WATER_CHANGES, classes_of_change, compare, paired_names
from cookbook_utils._conventions.grids import require_same_grid
from cookbook_utils._conventions.labels import (
    MOST_CLASSES,
    NODATA_LABEL,
    WATER_CLASSES,
    as_labels,
    class_text,
    flags,
    label_dtype,
    nodata_label,
    paired_labels,
    without_flags,
)
from cookbook_utils._conventions.times import require_in_order
from cookbook_utils._naming import (
    first_that_holds,
    look_up,
    lookup_table,
    require_class_name,
    require_names,
    require_rules,
    rule_sums,
)
from cookbook_utils._samples import (
    count_pairs,
    occurring,
    pair_counts,
    require_any,
    sum_over_blocks,
)
from cookbook_utils._water import (
    WATER_BANDS,
    WATER_MAX_DISSENT,
    WATER_MAX_EVI2,
    WATER_MAX_NIR,
    WATER_MAX_SWIR1,
    bands_of,
    require_plausible,
    spectral_pairs,
    water_doubts,
    water_rule,
    water_spectra,
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
    "is_water",
    "match_labels",
    "name_clusters",
    "reference_table",
    "rule_table",
    "water_mask",
    "water_table",
]


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
        (255, NaN or the declared nodata value). A DataArray that declares the nodata value 65535
        has labels from 0 to 65534. Two DataArrays are aligned by their coordinates, such as
        ``pixel``; arrays are compared by position.

    Returns
    -------
    xarray.DataArray or numpy.ndarray
        `labels` with new numbers and 255 for nodata, or 65535 if one of the two has it, with the
        same coordinates. The dtype is that of `labels` if it is an integer dtype that can hold
        these numbers, else uint8 or uint16. Pixels that are nodata in `reference` are renumbered
        with the rest of their cluster.

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
    dtype = labels.dtype if is_map else np.asarray(labels).dtype
    if dtype.kind not in "iu" or not np.can_cast(new.dtype, dtype):
        dtype = new.dtype
    table = _assignment(new, old).astype(dtype)
    if not is_map:
        return table[new]
    labels = as_labels(labels, dims=labels.dims, dtype=new.dtype)
    result = xr.apply_ufunc(
        lambda values: table[values], labels, dask="parallelized", output_dtypes=[dtype]
    )
    return without_flags(result.assign_attrs(labels.attrs))


def _assignment(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the lookup table of new labels that maximizes the agreement with `reference`."""
    from scipy.optimize import linear_sum_assignment

    counts = pair_counts(labels, reference, ("labels", "reference"))
    clusters, targets = (np.array(occurring(each), int) for each in (counts, counts.T))
    nodata = counts.index[-1]
    shared = counts.loc[clusters, targets].to_numpy()
    if not shared.any():
        raise ValueError(
            f"labels and reference must share a valid pixel, got none of {labels.size}"
        )
    rows, columns = linear_sum_assignment(shared, maximize=True)
    table = np.full(nodata + 1, nodata)
    table[clusters[rows]] = targets[columns]
    remaining = np.setdiff1d(clusters, clusters[rows])
    table[remaining] = np.setdiff1d(np.arange(nodata), targets)[: remaining.size]
    return table


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
        Label map (y, x) on the grid of `scene`, as for `name_clusters`. For several scenes
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
    pairs = spectral_pairs(scene, labels, WATER_BANDS, "find_water")
    totals = sum(sum_over_blocks(water_sums, *pair, "scene") for pair in pairs)
    found = np.flatnonzero(totals[:, 0])
    if not found.size:
        raise ValueError(
            f"scene and labels must share a pixel with a label and the bands {WATER_BANDS}, "
            "got none"
        )
    _, means, passing = np.split(totals[found] / totals[found, :1], [1, -1], axis=1)
    require_plausible(means)
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
    valid = labels != nodata_label(labels.dtype)
    mask = mask.where(valid, np.uint8(NODATA_LABEL)).rename("water")
    mask.attrs = flags("water mask", WATER_CLASSES)
    return mask


def is_water(scene: xr.DataArray) -> xr.DataArray:
    """Return which spectra are water by the rule of `water_table`.

    Use it as a rule of `rule_table`; for a map of clusters, `water_mask` is less noisy.

    Parameters
    ----------
    scene : xarray.DataArray
        Reflectance with a ``band`` dimension that has green, red, nir and swir1 once each.

    Returns
    -------
    xarray.DataArray
        Boolean, with the dimensions of `scene` except ``band``; lazy if `scene` is. False where a
        band is nodata.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray of real numbers.
    ValueError
        If `scene` is not reflectance, or lacks a band or has it twice.

    Examples
    --------
    >>> spectra = xr.DataArray(
    ...     [[0.05, 0.03, 0.01, 0.01], [0.12, 0.15, 0.2, 0.25]], dims=("pixel", "band"),
    ...     coords={"band": ["green", "red", "nir", "swir1"]}, attrs={"units": "1"},
    ... )
    >>> is_water(spectra).values
    array([ True, False])
    """
    spectra = water_spectra(scene)

    def rule(values: np.ndarray) -> np.ndarray:
        margin = water_rule(values.reshape(-1, values.shape[-1]))["margin"].values
        return (margin > 0).reshape(values.shape[:-1])

    result = xr.apply_ufunc(
        rule, spectra, input_core_dims=[["band"]], dask="parallelized", output_dtypes=[bool],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )  # fmt: skip
    return result.rename("water")


def name_clusters(
    labels: xr.DataArray,
    names: Mapping[int, str] | pd.Series,
    *,
    default: str | None = None,
) -> xr.DataArray:
    """Return a label map of named classes from a map of clusters.

    Use it when the clusters are known by eye, or with the column "class" of `rule_table` or
    `reference_table`. Several clusters may belong to one class.

    Parameters
    ----------
    labels : xarray.DataArray
        Label map, such as (y, x): 0 to 254, and nodata (255, NaN or the declared nodata value); or
        0 to 65534, if it declares the nodata value 65535.
    names : mapping of int to str, or pandas.Series
        Name of the class of each cluster. A missing name (None or NaN) counts as none. Spaces in a
        name become underscores.
    default : str, optional
        Name of the class of clusters without a name. By default they are an error.

    Returns
    -------
    xarray.DataArray
        Named "class", with the dimensions and coordinates of `labels`: classes from 0, in the order
        in which `names` has them first, then `default`; uint8 and 255 for nodata, or uint16 and
        65535 for more than 255 classes. ``flag_meanings`` and ``flag_values`` hold their names. It
        is lazy if `labels` is.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers, or `names` does not map integers to text.
    ValueError
        If a value is not a label, a name is blank, or a cluster has no name and there is no
        `default` (on compute if `labels` is lazy).

    Examples
    --------
    >>> labels = xr.DataArray(np.uint8([[0, 1, 2, 255]]), dims=("y", "x"))
    >>> classes = name_clusters(labels, {0: "sea", 1: "land", 2: "sea"})
    >>> classes.values, classes.attrs["flag_meanings"]
    (array([[  0,   1,   0, 255]], dtype=uint8), 'sea land')
    """
    labels = as_labels(labels, allow_extra=True, dims=())
    nodata = nodata_label(labels.dtype)
    found = require_names(names, nodata)
    if default is not None:
        default = require_class_name(default, "default")
    classes = list(dict.fromkeys([*found.values(), *([] if default is None else [default])]))
    if not classes:
        raise ValueError("names must have a name for a cluster, got none, and no default")
    dtype = label_dtype(len(classes))
    table = lookup_table(found, classes, default, nodata)
    result = xr.apply_ufunc(
        look_up, labels, kwargs={"table": table, "dtype": dtype},
        dask="parallelized", output_dtypes=[dtype],
    ).rename("class")  # fmt: skip
    result.attrs = flags("class", classes)
    return result


def rule_table(
    scene: xr.DataArray | Sequence[xr.DataArray],
    labels: xr.DataArray | Sequence[xr.DataArray],
    rules: Mapping[str, Callable[[xr.DataArray], xr.DataArray]],
    *,
    default: str = "other",
) -> pd.DataFrame:
    """Assign clusters to classes by rules on their mean spectra.

    Use it to name clusters without reference data: `name_clusters` takes the column "class". The
    share shows how far a rule may be trusted: it is near 1 for clusters whose pixels pass it
    individually, too, and low for mixed ones.

    Parameters
    ----------
    scene : xarray.DataArray or sequence of xarray.DataArray
        Reflectance, as for `water_table`, with any bands. All of them must be valid in a pixel that
        counts; select those that the rules need if others have gaps.
    labels : xarray.DataArray or sequence of xarray.DataArray
        As for `water_table`.
    rules : mapping of str to callable
        For each class a function of spectra (pixel, band), such as ``is_water`` or
        ``lambda spectra: ndvi(spectra) > 0.4``, that returns a boolean for each spectrum. The first
        rule that holds wins.
    default : str, default "other"
        Class of clusters for which no rule holds.

    Returns
    -------
    pandas.DataFrame
        One row for each "cluster", in ascending order: "class", "pixels" and "share", the fraction
        of the pixels that get the same class individually.

    Raises
    ------
    TypeError
        If `scene` or `labels` is not a DataArray of numbers, only one of them is a list, or `rules`
        does not map text to functions.
    ValueError
        If grids or times differ, `scene` is not reflectance or has a band twice, a value is not a
        label, no pixel is valid, or a rule does not return one boolean for each spectrum.

    Examples
    --------
    >>> from cookbook_utils.indices import ndvi
    >>> scene = xr.DataArray(
    ...     [[[0.1, 0.1, 0.2]], [[0.5, 0.4, 0.2]]], dims=("band", "y", "x"),
    ...     coords={"band": ["red", "nir"]}, attrs={"units": "1"},
    ... )
    >>> labels = xr.DataArray(np.uint8([[3, 3, 5]]), dims=("y", "x"))
    >>> rule_table(scene, labels, {"plants": lambda spectra: ndvi(spectra) > 0.4})
              class  pixels  share
    cluster
    3        plants       2    1.0
    5         other       1    1.0
    """
    rules = require_rules(rules, default)
    bands = bands_of(scene)
    pairs = spectral_pairs(scene, labels, bands, "rule_table")

    def spectra_of(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(
            values, dims=("pixel", "band"), coords={"band": list(bands)}, attrs={"units": "1"}
        )

    sums = rule_sums(rules, spectra_of)
    totals = sum(sum_over_blocks(sums, *pair, "scene") for pair in pairs)
    require_any(totals[:, 0])
    found = np.flatnonzero(totals[:, 0])
    _, means, votes = np.split(totals[found] / totals[found, :1], [1, 1 + len(bands)], axis=1)
    require_plausible(means)
    classes = first_that_holds(rules, spectra_of(means))
    names = [*rules, require_class_name(default, "default")]
    return pd.DataFrame(
        {
            "class": [names[number] for number in classes],
            "pixels": totals[found, 0].astype(np.int64),
            "share": votes[np.arange(found.size), classes],
        },
        pd.Index(found, name="cluster"),
    )


def reference_table(labels: xr.DataArray, reference: xr.DataArray) -> pd.DataFrame:
    """Assign clusters to classes by the majority of their reference pixels.

    Use it to name clusters by ground data: `name_clusters` takes the column "class". Several
    clusters may belong to one class; for a one-to-one renumbering use `match_labels`. An accuracy
    that is measured with the same reference pixels is too high, the more so the more clusters there
    are for few pixels: keep a part of the reference for `accuracy.accuracy_table`.

    Parameters
    ----------
    labels : xarray.DataArray
        Label map of clusters, as for `name_clusters`. Names of classes in its attributes are
        ignored.
    reference : xarray.DataArray
        Label map of classes on the grid of `labels`, as `accuracy.rasterize_reference` returns it.
        Without ``flag_meanings`` the names of classes are their numbers.

    Returns
    -------
    pandas.DataFrame
        One row for each "cluster" that occurs, in ascending order: "class", missing for a cluster
        without reference pixels, "pixels", the number of its reference pixels, and "share", the
        fraction of them that are of this class. Of equally frequent classes it is the first in the
        order of `reference`.

    Raises
    ------
    TypeError
        If the maps are not DataArrays of real numbers.
    ValueError
        If the grids differ, a value is not a label, or no pixel is valid in both.

    Examples
    --------
    >>> labels = xr.DataArray(np.uint8([[0, 0, 0, 1, 2]]), dims=("y", "x"))
    >>> reference = xr.DataArray(np.uint8([[0, 0, 1, 0, 1]]), dims=("y", "x"),
    ...     attrs={"flag_values": [0, 1], "flag_meanings": "sea land"})
    >>> reference_table(labels, reference).round(2)
            class  pixels  share
    cluster
    0         sea       3   0.67
    1         sea       1   1.00
    2        land       1   1.00
    """
    labels = as_labels(labels, dims=(), allow_extra=True)
    matrix = count_pairs(without_flags(labels), reference, ("labels", "reference"))
    matrix = matrix.T.groupby(level=0, sort=False).sum().T
    pixels = matrix.sum(axis=1)
    classes = matrix.columns.map(class_text)[matrix.to_numpy().argmax(axis=1)]
    return pd.DataFrame(
        {
            "class": np.where(pixels > 0, classes, None),
            "pixels": pixels,
            "share": matrix.max(axis=1) / pixels.where(pixels > 0),
        }
    ).rename_axis("cluster")


def change_map(before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """Map the change between two label maps whose classes have names.

    Use it to see what became of each class; `class_areas` gives the areas. Classes are matched by
    name, whatever their numbers. Of two water masks the changes are called lost and gained.

    Parameters
    ----------
    before, after : xarray.DataArray
        Label maps (y, x) on one grid with ``flag_values`` and ``flag_meanings``, as `name_clusters`
        returns them: classes and nodata as for `name_clusters`.
        Without names they are water masks, 0 land and 1 water.

    Returns
    -------
    xarray.DataArray
        Named "change", (y, x), with the coordinates and CRS of `before` without its time; lazy if
        the maps are. Of water masks: 0 land and 1 water at both dates, 2 lost (water before, land
        after), 3 gained. Of other maps: first the classes that both maps have, for pixels that
        stay the same, then one class for each change that the names allow, such as
        "forest_to_crops". Nodata, where either is nodata, is 255 and the dtype uint8; with more
        than 255 classes of change, 65535 and uint16.

    Raises
    ------
    TypeError
        If a map is not a DataArray of real numbers.
    ValueError
        If the grids differ, the time of `before` is later than that of `after` or cannot be
        compared with it (dates of any calendar, ISO 8601 text and numbers can), only one of the
        maps has names and they are not land and water, two changes would have one name, there are
        more than 65535 classes of change, or a map holds a class without a name (on compute if it
        is lazy).

    Examples
    --------
    >>> before = xr.DataArray(np.uint8([[1, 1, 0, 255]]), dims=("y", "x"))
    >>> after = xr.DataArray(np.uint8([[1, 0, 1, 0]]), dims=("y", "x"))
    >>> change_map(before, after).values
    array([[  1,   2,   3, 255]], dtype=uint8)
    >>> before = name_clusters(before, {0: "forest", 1: "crops"})
    >>> after = name_clusters(after, {0: "forest", 1: "crops"})
    >>> change_map(before, after).attrs["flag_meanings"]
    'forest crops forest_to_crops crops_to_forest'
    """
    maps = [as_labels(labels, what) for labels, what in ((before, "before"), (after, "after"))]
    names = paired_names(before, after)
    before, after = maps[0], require_same_grid(*maps)
    require_in_order(*maps)
    changes = classes_of_change(*names)
    if len(changes) > MOST_CLASSES:
        raise ValueError(
            f"before and after must have names for at most {MOST_CLASSES} classes of change, got "
            f"{len(changes)}: merge classes with cookbook_utils.labels.name_clusters"
        )
    dtype = label_dtype(len(changes))
    change = xr.apply_ufunc(
        compare, before.drop_vars("time", errors="ignore"), after.reset_coords(drop=True),
        kwargs={"names": names, "changes": changes, "dtype": dtype},
        dask="parallelized", output_dtypes=[dtype],
    ).rename("change")  # fmt: skip
    title = "water change" if changes is WATER_CHANGES else "change"
    change.attrs = flags(title, changes.values())
    return change
