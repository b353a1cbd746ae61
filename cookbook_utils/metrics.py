"""Areas, agreement of label maps, and the quality of a clustering."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import (
    LARGEST,
    as_real_array,
    require_dims,
    require_integer,
    require_random_state,
)
from cookbook_utils._conventions.grids import crs_of, full_turn, regular_centers
from cookbook_utils._conventions.labels import (
    NODATA_LABEL,
    align_labels,
    as_labels,
    labels_of,
    meanings_of,
    paired_labels,
)
from cookbook_utils._conventions.nodata import NODATA_KEYS, mask_and_float

if TYPE_CHECKING:
    import pyproj

AREA_TOLERANCE = 0.01
"""Relative error of areas up to which a CRS counts as keeping them; 0.002 in a UTM zone."""


def pixel_area_km2(template: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the area on the ground of a pixel of a grid, in km².

    Parameters
    ----------
    template
        Any array on the grid: regular ``x`` and ``y`` pixel centers and a CRS. Coordinates of a
        projected CRS may be in any unit of length. Longitudes may cross the antimeridian.

    Returns
    -------
    xarray.DataArray
        In a projected CRS that keeps areas to within `AREA_TOLERANCE` all over the grid, as UTM
        does, one number, ``|dx · dy|``. In any other one for each pixel (y, x), NaN where the
        projection is not defined: Web Mercator shows 4 km² for 1 km² at 60° N. In a geographic
        CRS one for each row (y), since pixels shrink toward the poles: the area between its two
        parallels on the CRS's ellipsoid, without what would lie beyond a pole.

    Raises
    ------
    TypeError
        If `template` is not a DataArray of real numbers or a Dataset.
    ValueError
        If there is no CRS, it is neither projected nor geographic, a latitude is beyond 90°, the
        longitudes span more than 360°, or the coordinates are fewer than two, not regular, or in
        another unit than the CRS.

    References
    ----------
    Snyder, J. P. (1987). Map projections: a working manual. US Geological Survey Professional
    Paper 1395, equation 3-12. doi:10.3133/pp1395

    Examples
    --------
    >>> import rioxarray
    >>> grid = xr.Dataset(coords={"y": [60.0, 30.0, 0.0], "x": [0.0, 30.0]})
    >>> float(pixel_area_km2(grid.rio.write_crs("EPSG:32611")))
    0.0009
    """
    return _pixel_area(template, "template")


def _pixel_area(template: xr.DataArray | xr.Dataset, what: str) -> xr.DataArray:
    if not isinstance(template, xr.DataArray | xr.Dataset):
        raise TypeError(
            f"{what} must be an xarray.DataArray or Dataset with x, y and a CRS, "
            f"got {type(template).__name__}"
        )
    if isinstance(template, xr.DataArray):
        require_dims(template, (), what, allow_extra=True)
    crs = crs_of(template)
    if crs is None:
        raise ValueError(f"{what} must have a CRS, got none: set it with rio.write_crs")
    turn = full_turn(crs)
    x, dx = regular_centers(template, "x", what, turn)
    y, dy = regular_centers(template, "y", what)
    coords = {dim: template[dim].variable for dim in ("y", "x")}
    attrs = {"long_name": "pixel area", "units": "km2"}
    if crs.is_projected:
        area = abs(dx * dy) * crs.axis_info[0].unit_conversion_factor ** 2 / 1e6
        # A lattice over the grid shows whether the projection keeps areas.
        lattice = np.meshgrid(np.linspace(x[0], x[-1], 9), np.linspace(y[0], y[-1], 9))
        scale = _ground_per_map(crs, *lattice)
        if np.isfinite(scale).all() and np.abs(scale - 1).max() <= AREA_TOLERANCE:
            return xr.DataArray(area, attrs=attrs)
        areas = [area * _ground_per_map(crs, x, np.full(x.size, row)) for row in y]
        return xr.DataArray(areas, coords=coords, dims=("y", "x"), attrs=attrs)
    if turn is None or crs.is_derived:
        raise ValueError(f"{what} must have a projected or geographic CRS, got {crs.name}")

    degrees = 360 / turn
    if x.size * abs(dx) > turn * (1 + 1e-6):
        raise ValueError(
            f"the longitudes of {what} must span 360 degrees at most, got {x.size} pixels of "
            f"{abs(dx) * degrees:g} degrees, which show some ground twice: leave out those beyond"
        )
    if np.abs(y * degrees).max() > 90 + 1e-9:
        raise ValueError(
            f"the latitudes of {what} must lie from -90 to 90 degrees, got "
            f"{(y * degrees).min():g} to {(y * degrees).max():g}"
        )
    south, north = (np.clip((y + side * abs(dy) / 2) * degrees, -90, 90) for side in (-1, 1))
    zone = _area_from_equator(crs, north) - _area_from_equator(crs, south)
    areas = zone * (abs(dx) / turn) / 1e6
    return xr.DataArray(areas, coords={"y": coords["y"]}, dims="y", attrs=attrs)


def _area_from_equator(crs: pyproj.CRS, latitude: np.ndarray) -> np.ndarray:
    """Return the area in m² of an ellipsoid between the equator and latitudes in degrees."""
    b, e = crs.ellipsoid.semi_minor_metre, _eccentricity(crs)
    sine = np.sin(np.radians(latitude))
    arc = np.arctanh(e * sine) / e if e > 0 else sine
    return np.pi * b**2 * (sine / (1 - (e * sine) ** 2) + arc)


def _ground_per_map(crs: pyproj.CRS, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the area on the ground of one unit of area of a projected CRS, at points; or NaN.

    Two crossing lines of 1 km on the map are measured in space, on the ellipsoid of the CRS.
    """
    import pyproj

    to_geodetic = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    radians = crs.geodetic_crs.axis_info[0].unit_conversion_factor  # some count in grads
    a, e = crs.ellipsoid.semi_major_metre, _eccentricity(crs)
    half = 500 / crs.axis_info[0].unit_conversion_factor

    def place(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        lon, lat = radians * np.asarray(to_geodetic.transform(x, y))
        normal = a / np.sqrt(1 - (e * np.sin(lat)) ** 2)
        equatorial = normal * np.cos(lat)
        return np.stack(
            [equatorial * np.cos(lon), equatorial * np.sin(lon), normal * (1 - e**2) * np.sin(lat)],
            axis=-1,
        )

    with np.errstate(invalid="ignore"):  # infinite where the projection is not defined
        along_x = place(x + half, y) - place(x - half, y)
        along_y = place(x, y + half) - place(x, y - half)
        area = np.linalg.norm(np.cross(along_x, along_y), axis=-1)
    return area / 1000**2


def _eccentricity(crs: pyproj.CRS) -> float:
    axes = crs.ellipsoid.semi_minor_metre, crs.ellipsoid.semi_major_metre
    return float(np.sqrt(1 - (axes[0] / axes[1]) ** 2))


def area_km2(mask: xr.DataArray) -> float:
    """Return the area of the pixels that are 1 in a mask, in km².

    Parameters
    ----------
    mask
        (y, x) with a CRS: bool, or 0, 1 and missing as in any label map, which counts as not 1.

    Returns
    -------
    float
        km², each pixel with its own area (`pixel_area_km2`).

    Raises
    ------
    TypeError
        If `mask` is not a DataArray of real numbers.
    ValueError
        If `mask` holds other values, its grid is none that `pixel_area_km2` takes, or a pixel that
        is 1 lies where the projection is not defined.

    Examples
    --------
    >>> import rioxarray
    >>> mask = xr.DataArray(
    ...     [[True, False], [True, True]], coords={"y": [1000.0, 0.0], "x": [0.0, 1000.0]},
    ...     dims=("y", "x"),
    ... ).rio.write_crs("EPSG:32611")
    >>> area_km2(mask)
    3.0
    """
    mask = as_labels(mask, "mask").compute()
    _require_mask(mask.values, "mask")
    water = mask == 1
    return float((water * _area_under(water, "mask")).sum())


def class_areas(labels: xr.DataArray) -> pd.Series:
    """Return the area of every class of a label map, in km².

    Parameters
    ----------
    labels
        (y, x) with a CRS: whole numbers from 0 to 254; missing (255, NaN or the nodata value of
        the map) is not counted. With ``flag_values`` and ``flag_meanings`` the classes are those,
        by name, also where a class has no pixel.

    Returns
    -------
    pandas.Series
        "area_km2", indexed by "class": names where the map has them, else numbers.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers.
    ValueError
        If `labels` are not whole numbers, hold one that is not among the flags, their grid is none
        that `pixel_area_km2` takes, or a pixel of a class lies where the projection is not defined.

    Examples
    --------
    >>> import rioxarray
    >>> labels = xr.DataArray(
    ...     np.uint8([[0, 2], [2, 255]]), coords={"y": [1000.0, 0.0], "x": [0.0, 1000.0]},
    ...     dims=("y", "x"),
    ... ).rio.write_crs("EPSG:32611")
    >>> class_areas(labels).to_dict()
    {0: 1.0, 2: 2.0}
    """
    labels = as_labels(labels).compute()
    names = _class_names(labels)
    area = _area_under(labels != NODATA_LABEL, "labels")
    areas = [float(((labels == number) * area).sum()) for number in names]
    return pd.Series(areas, pd.Index(list(names.values()), name="class"), name="area_km2")


def _area_under(counted: xr.DataArray, what: str) -> xr.DataArray:
    """Return `_pixel_area`, or raise if one of the pixels that are `counted` has none."""
    area = _pixel_area(counted, what)
    if beyond := int((counted & area.isnull()).sum()):
        raise ValueError(
            f"{what} must lie where the CRS is defined, got {beyond} pixels beyond, which have no "
            "area: set them to missing, or give the right CRS with rio.write_crs"
        )
    return area


def _class_names(labels: xr.DataArray) -> dict[int, str | int]:
    """Return number → name of the classes of `as_labels`: its flags, or else the numbers in it."""
    found = np.setdiff1d(labels.values, NODATA_LABEL).tolist()
    names = meanings_of(labels)
    if unknown := [number for number in found if names and number not in names]:
        raise ValueError(
            f"labels must hold only the flag_values {list(names)} of their attributes, "
            f"got {unknown}"
        )
    return names or {number: number for number in found}


def _require_mask(values: np.ndarray, what: str) -> None:
    if not np.isin(values, (0, 1, NODATA_LABEL)).all():
        other = np.setdiff1d(values, (0, 1, NODATA_LABEL))
        raise ValueError(
            f"{what} must hold 0, 1 and {NODATA_LABEL} (missing) only, got {other[:5].tolist()}"
        )


def intersection_over_union(mask: xr.DataArray, reference: xr.DataArray) -> float:
    """Return the pixels that are 1 in both masks over those that are 1 in at least one.

    Parameters
    ----------
    mask, reference
        bool, or 0, 1 and missing as in any label map, on one grid. A pixel missing in either is
        left out.

    Returns
    -------
    float
        The Jaccard index, 0 (nothing shared) to 1 (the same).

    Raises
    ------
    TypeError
        If a mask does not hold real numbers.
    ValueError
        If the grids differ, a mask holds other values, or neither holds a 1 among the pixels
        valid in both, which leaves the ratio undefined.

    References
    ----------
    Jaccard, P. (1912). The distribution of the flora in the alpine zone. New Phytologist 11,
    37–50. doi:10.1111/j.1469-8137.1912.tb05611.x

    Examples
    --------
    >>> one = xr.DataArray([[True, True, False]], dims=("y", "x"))
    >>> two = xr.DataArray([[False, True, False]], dims=("y", "x"))
    >>> intersection_over_union(one, two)
    0.5
    """
    names = ("mask", "reference")
    masks = paired_labels(mask, reference, names)
    for values, what in zip(masks, names, strict=True):
        _require_mask(values, what)
    a, b = _valid_in_both(*masks)
    union = np.count_nonzero((a == 1) | (b == 1))
    if union == 0:
        raise ValueError(
            f"intersection over union is undefined: neither mask has a 1 among {a.size} "
            "pixels valid in both"
        )
    return float(np.count_nonzero((a == 1) & (b == 1)) / union)


def _valid_in_both(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of both, flat, where neither is missing."""
    valid = (one != NODATA_LABEL) & (two != NODATA_LABEL)
    if not valid.any():
        raise ValueError(
            f"both maps must share a pixel that is valid in both, got none of {one.size}"
        )
    return one[valid], two[valid]


def label_change(before, after) -> float:
    """Return the share of pixels whose label changed, among those valid in both.

    Parameters
    ----------
    before, after
        Label maps on one grid, or arrays of one shape: whole numbers from 0 to 254. Missing: NaN,
        255, or the nodata value that a map declares. Two maps are aligned by their coordinates,
        samples by ``pixel``; all others are compared by position.

    Returns
    -------
    float
        From 0 to 1. Labels are compared as they are: use `labels.match_labels` first where two
        clusterings number their clusters differently.

    Raises
    ------
    TypeError
        If labels are not real numbers, or have a ``numpy.ma`` mask.
    ValueError
        If grids, pixels or shapes differ, a value is no label, or no pixel is valid in both.

    Examples
    --------
    >>> label_change([0, 1, 1, 255], [0, 1, 2, 0])
    0.3333333333333333
    """
    one, two = _valid_in_both(*paired_labels(before, after, ("before", "after")))
    return float(np.count_nonzero(one != two) / one.size)


def transition_matrix(before: xr.DataArray, after: xr.DataArray) -> pd.DataFrame:
    """Count the pixels that went from each class to each other one.

    Parameters
    ----------
    before, after
        Label maps on one grid, as for `label_change`.

    Returns
    -------
    pandas.DataFrame
        Pixel counts; rows are the classes of `before`, columns those of `after`, by name where
        a map has ``flag_meanings``. A pixel missing in either is not counted.

    Raises
    ------
    TypeError
        If the maps are not DataArrays of real numbers.
    ValueError
        If grids or coordinates differ, a map holds a number that is not among its flags, or no
        pixel is valid in both.

    Examples
    --------
    >>> before = xr.DataArray([[0, 0, 1]], dims=("y", "x"))
    >>> after = xr.DataArray([[0, 1, 1]], dims=("y", "x"))
    >>> transition_matrix(before, after).values
    array([[1, 1],
           [0, 1]])
    """
    before, after = (
        as_labels(labels, what, getattr(labels, "dims", ("y", "x"))).compute()
        for labels, what in ((before, "before"), (after, "after"))
    )
    rows, columns = _class_names(before), _class_names(after)
    both = _valid_in_both(*paired_labels(before, after, ("before", "after")))
    pairs, counts = np.unique(np.stack(both), axis=1, return_counts=True)
    matrix = pd.DataFrame(0, list(rows), list(columns))
    for one, two, count in zip(*pairs, counts, strict=True):
        matrix.loc[one, two] = count
    matrix.index = pd.Index(list(rows.values()), name="before")
    matrix.columns = pd.Index(list(columns.values()), name="after")
    return matrix


def cluster_profiles(samples: xr.DataArray, labels) -> xr.Dataset:
    """Return the mean, standard deviation and number of pixels of every cluster.

    Parameters
    ----------
    samples
        (pixel, band), or a scene (band, y, x); NumPy or dask.
    labels
        One whole number from 0 to 254 for each sample (any 1-D array), or the label map of the
        scene. A DataArray is aligned by its coordinates. Pixels whose label is missing (NaN, 255
        or a declared nodata value) or which miss a band are left out.

    Returns
    -------
    xarray.Dataset
        ``mean`` and ``std`` (population; dimensions cluster, band; float64, in the units of
        `samples`) and ``count`` (cluster). ``cluster`` holds the labels that occur. Computed in
        two passes (mean, then deviations from it), block by block where `samples` is lazy.

    Raises
    ------
    TypeError
        If `samples` is not a DataArray, or samples or labels are not real numbers.
    ValueError
        If labels and samples do not match, a value is no label or infinite, or no pixel is valid.

    Examples
    --------
    >>> samples = xr.DataArray([[0.1], [0.3], [0.6]], dims=("pixel", "band"))
    >>> profiles = cluster_profiles(samples, [0, 0, 1])
    >>> profiles["mean"].values.round(3).tolist(), profiles["count"].values.tolist()
    ([[0.2], [0.6]], [2, 1])
    """
    require_dims(samples, ["band"], "samples", allow_extra=True)
    return profiles_of(samples, labels, "samples")


def profiles_of(samples: xr.DataArray, labels: Any, what: str) -> xr.Dataset:
    """Return what `cluster_profiles` does; `what` is the name of `samples` in error messages."""

    def sums(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        weights = [np.ones(len(labels)), *values.T, *np.abs(values.T)]
        return np.stack([np.bincount(labels, w, NODATA_LABEL) for w in weights], axis=-1)

    totals = _sum_over_blocks(sums, labels, samples, what)
    count = totals[:, :1]
    if not count.any():
        raise ValueError(_NONE_VALID)
    mean, size = np.split(totals[:, 1:] / np.maximum(count, 1), 2, axis=1)
    size[size == 0] = 1

    def squares(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        # In units of the size of the values: the squares of tiny ones would vanish.
        away = ((values[:, b] - mean[labels, b]) / size[labels, b] for b in range(mean.shape[1]))
        return np.stack([np.bincount(labels, d**2, NODATA_LABEL) for d in away], axis=-1)

    variance = _sum_over_blocks(squares, labels, samples, what) / np.maximum(count, 1)
    present = np.flatnonzero(count)
    band = {
        name: coord.variable for name, coord in samples.coords.items() if coord.dims == ("band",)
    }
    # Means and deviations are not missing where they equal the nodata value of the samples.
    attrs = {key: value for key, value in samples.attrs.items() if key not in NODATA_KEYS}
    return xr.Dataset(
        {
            "mean": (("cluster", "band"), mean[present], attrs),
            "std": (("cluster", "band"), (np.sqrt(variance) * size)[present], attrs),
            "count": ("cluster", count[present, 0].astype(np.int64)),
        },
        coords={"cluster": present, **band},
    )


_NONE_VALID = (
    "labels and samples must share a pixel that has both a label and all its bands, got none"
)


def simplified_silhouette(samples: xr.DataArray, labels, centers) -> float:
    """Return the mean silhouette with distances to cluster centers in place of those to pixels.

    A pixel at distance a from its own center and b from the nearest other one scores
    (b − a) / max(a, b), and 0 if it is alone in its cluster. The cost grows with the number of
    pixels, not its square.

    Parameters
    ----------
    samples
        (pixel, band), NumPy or dask (read once, block by block).
    labels
        As for `cluster_profiles`: for each sample the row of its center, or its ``cluster``.
    centers
        (cluster, band), at least two. Of a DataArray, such as ``mean`` of `cluster_profiles`, the
        ``cluster`` coordinate gives the labels, and ``band`` must be that of `samples`.

    Returns
    -------
    float
        From −1 to 1; near 1 for compact clusters far from one another.

    Raises
    ------
    TypeError
        If `samples` is not a DataArray, or samples, labels or centers are not real numbers.
    ValueError
        If labels, samples and centers do not match, a value is no label or infinite, or there are
        fewer than two centers.

    References
    ----------
    Hruschka, E. R., de Castro, L. N., Campello, R. J. G. B. (2004). Evolutionary algorithms for
    clustering gene-expression data. Fourth IEEE International Conference on Data Mining, 403–406.

    Vendramin, L., Campello, R. J. G. B., Hruschka, E. R. (2010). Relative clustering validity
    criteria: a comparative overview. Statistical Analysis and Data Mining 3(4), 209–235.
    doi:10.1002/sam.10080

    Examples
    --------
    >>> samples = xr.DataArray([[0.0], [1.0], [9.0], [10.0]], dims=("pixel", "band"))
    >>> round(simplified_silhouette(samples, [0, 0, 1, 1], [[0.5], [9.5]]), 3)
    0.944
    """
    require_dims(samples, ("pixel", "band"), "samples")
    numbers, centers = _centers(centers, samples)

    def scores(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        if not (known := np.isin(labels, numbers)).all():
            raise ValueError(
                f"labels must each have a row among the {len(numbers)} centers, "
                f"got {labels[~known][0]}"
            )
        own, other = np.zeros(len(labels)), np.full(len(labels), np.inf)
        for number, center in zip(numbers, centers, strict=True):  # no pixel × cluster array
            distance = np.hypot.reduce(values - center, axis=1)  # no square ends at 0 or infinity
            mine = labels == number
            own[mine] = distance[mine]
            np.minimum(other, distance, out=other, where=~mine)
        larger = np.maximum(own, other)
        score = np.divide(other - own, larger, out=np.zeros_like(own), where=larger > 0)
        weights = (np.ones_like(own), score)
        return np.stack([np.bincount(labels, w, NODATA_LABEL) for w in weights])

    count, total = _sum_over_blocks(scores, labels, samples)
    if not count.any():
        raise ValueError(_NONE_VALID)
    return float(total[count > 1].sum() / count.sum())


def _centers(centers: Any, samples: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the label of each center, and the centers in float64."""
    numbers = None
    if isinstance(centers, xr.DataArray):
        require_dims(centers, ("cluster", "band"), "centers")
        centers = centers.transpose("cluster", "band")
        one, two = (array.indexes.get("band") for array in (centers, samples))
        if one is not None and two is not None and not one.equals(two):
            raise ValueError(
                f"centers must have the bands of the samples, {list(two)}, got {list(one)}"
            )
        if "cluster" in centers.coords:
            numbers = labels_of(as_real_array(centers["cluster"], "clusters"), "clusters")
            if len(np.unique(numbers)) < len(numbers):
                raise ValueError(f"clusters must have one center each, got {numbers.tolist()}")
    centers = np.asarray(as_real_array(centers, "centers"), np.float64)
    if centers.ndim != 2 or len(centers) < 2 or centers.shape[1] != samples.sizes["band"]:
        raise ValueError(
            "centers must have a shape of (at least 2 clusters, "
            f"{samples.sizes['band']} bands), got {centers.shape}"
        )
    _require_finite(centers, "centers")
    return (np.arange(len(centers)) if numbers is None else numbers), centers


def sampled_silhouette(
    samples: xr.DataArray, labels, *, n_samples: int = 5000, random_state: int = 0
) -> float:
    """Estimate the silhouette from a sample in which every cluster has its share.

    The full silhouette needs the distance of every pixel to every other, and a plain random
    sample misses small clusters. Here each cluster gives pixels in proportion to its size, but at
    least two, and counts by its true size.

    Parameters
    ----------
    samples
        (pixel, band), NumPy or dask (only the chosen pixels are kept).
    labels
        As for `cluster_profiles`, which leaves out the same pixels; at least two clusters, one of
        them with two pixels.
    n_samples
        Pixels to draw, at least two for each cluster. Memory and time grow with its square.
    random_state
        Seed of the draw.

    Returns
    -------
    float
        From −1 to 1. If `n_samples` is at least the number of valid pixels it is exact.

    Raises
    ------
    TypeError
        If `samples` is not a DataArray, samples or labels are not real numbers, or `n_samples` or
        `random_state` is not an integer.
    ValueError
        If labels and samples do not match, a value is no label or infinite, there are fewer than
        two clusters, or `n_samples` is too small.

    References
    ----------
    Rousseeuw, P. J. (1987). Silhouettes: a graphical aid to the interpretation and validation of
    cluster analysis. Journal of Computational and Applied Mathematics 20, 53–65.
    doi:10.1016/0377-0427(87)90125-7

    Examples
    --------
    >>> samples = xr.DataArray([[0.0], [1.0], [9.0], [10.0]], dims=("pixel", "band"))
    >>> round(sampled_silhouette(samples, [0, 0, 1, 1]), 3)
    0.889
    """
    from sklearn.metrics import silhouette_samples

    require_dims(samples, ("pixel", "band"), "samples")
    require_integer(n_samples, "n_samples", least=4)
    rng = np.random.default_rng(require_random_state(random_state))
    labels = _valid_labels(labels, samples)
    numbers, sizes = np.unique(labels[labels != NODATA_LABEL], return_counts=True)
    if len(numbers) < 2 or sizes.max() < 2:
        raise ValueError(
            "labels must have at least 2 clusters, one of them of 2 pixels or more, got "
            f"{len(numbers)} with {sizes.sum()} valid pixels"
        )
    require_integer(n_samples, f"n_samples for {len(numbers)} clusters", least=2 * len(numbers))
    share = min(1.0, n_samples / sizes.sum())
    draws = np.minimum(sizes, np.maximum(2, np.round(share * sizes).astype(int)))
    chosen = np.sort(np.concatenate([
        rng.choice(np.flatnonzero(labels == number), draw, replace=False)
        for number, draw in zip(numbers, draws, strict=True)
    ]))  # fmt: skip
    labels = labels[chosen]
    values = samples.isel(pixel=chosen).transpose("pixel", "band").values.astype(np.float64)
    values -= np.median(values, axis=0)
    values /= np.abs(values).max() or 1  # squares of huge values would overflow
    # "euclidean" would be x² − 2xy + y² there, which loses small distances within clusters that are
    # far from one another; "minkowski" is SciPy's, by differences.
    scores = silhouette_samples(values, labels, metric="minkowski", p=2)
    means = [scores[labels == number].mean() for number in numbers]
    return float(np.average(means, weights=sizes))


def _valid_labels(labels: Any, samples: xr.DataArray) -> np.ndarray:
    """Return the labels of `samples` (pixel, band), 255 also where a band is missing."""
    labels = align_labels(labels, samples)

    def block(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        valid = _valid(labels, values)
        return np.where(valid, labels, np.uint8(NODATA_LABEL))

    values = mask_and_float(samples)
    if values.chunks is not None:
        values, labels = values.chunk(band=-1), labels.chunk(pixel=values.chunksizes["pixel"])
    return xr.apply_ufunc(
        block, labels, values, input_core_dims=[[], ["band"]],
        dask="parallelized", output_dtypes=[np.uint8],
    ).values  # fmt: skip


def _valid(labels: np.ndarray, values: np.ndarray, what: str = "samples") -> np.ndarray:
    """Return where there are a label and all bands, or raise where a value there is infinite."""
    valid = (labels != NODATA_LABEL) & ~np.isnan(values).any(axis=-1)
    _require_finite(values[valid], what)
    return valid


def _require_finite(values: np.ndarray, what: str) -> None:
    if values.size and not float(np.abs(values).max()) <= LARGEST:
        wrong = values.flat[np.argmax(~(np.abs(values.astype(np.float64)) <= LARGEST))]
        raise ValueError(f"{what} must be finite and within ±{LARGEST:g}, got {wrong}")


def _sum_over_blocks(
    function: Callable, labels, samples: xr.DataArray, what: str = "samples"
) -> np.ndarray:
    """Return the sum over the blocks of `samples` of ``function(labels, values)``.

    `function` gets the labels (n) and values (n, band) of the valid pixels of one block; `what` is
    the name of `samples` in error messages.
    """
    import dask

    labels = align_labels(labels, samples)
    samples = mask_and_float(samples).transpose(*labels.dims, "band")

    def block(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        labels, values = labels.ravel(), values.reshape(-1, values.shape[-1])
        valid = _valid(labels, values, what)
        return function(labels[valid], values[valid])

    if samples.chunks is None:
        return block(labels.values, samples.values)
    samples = samples.data.rechunk({samples.ndim - 1: -1})
    labels = labels.chunk(dict(zip(labels.dims, samples.chunks, strict=False))).data
    pairs = zip(labels.to_delayed().ravel(), samples.to_delayed().ravel(), strict=True)
    return dask.delayed(sum)([dask.delayed(block)(*pair) for pair in pairs]).compute()
