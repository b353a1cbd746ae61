"""Agreement of label maps, change between them, and the quality of a clustering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import (
    as_real_array,
    require_dims,
    require_integer,
    require_random_state,
)
from cookbook_utils._conventions.labels import (
    labels_of,
    nodata_label,
    paired_labels,
    require_binary,
)
from cookbook_utils._samples import (
    count_pairs,
    profiles_by_label,
    require_any,
    require_finite,
    sum_over_blocks,
    sums_by_label,
    valid_in_both,
    valid_labels,
)


def intersection_over_union(mask: xr.DataArray, reference: xr.DataArray) -> float:
    """Compute the Jaccard index of two masks: the pixels in both over those in at least one.

    Use it to compare a mask of water with the truth. Unlike accuracy, it is not raised by the many
    pixels of land that are easy to classify.

    Parameters
    ----------
    mask, reference : xarray.DataArray or array_like
        Masks on one grid: boolean, or 0, 1 and nodata (255, NaN or the declared nodata value).
        Pixels that are nodata in either are excluded.

    Returns
    -------
    float
        From 0 (disjoint) to 1 (equal).

    Raises
    ------
    TypeError
        If a mask does not hold real numbers.
    ValueError
        If the grids differ, a mask holds other values, or neither has a 1 among the pixels that are
        valid in both.

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
        require_binary(values, what)
    a, b = valid_in_both(*masks)
    union = np.count_nonzero((a == 1) | (b == 1))
    if union == 0:
        raise ValueError(
            f"mask or reference must have a 1 among the {a.size} pixels valid in both, got none: "
            "intersection over union is undefined"
        )
    return float(np.count_nonzero((a == 1) & (b == 1)) / union)


def label_change(before: Any, after: Any) -> float:
    """Compute the fraction of pixels whose label changed, among those valid in both maps.

    Use it to see how much two clusterings differ. The labels are compared as they are: call
    `match_labels` first if the numbering of the clusters differs.

    Parameters
    ----------
    before, after : xarray.DataArray or array_like
        Label maps on one grid or arrays of one shape: whole numbers from 0 to 254, and nodata (255,
        NaN or the declared nodata value). A DataArray that declares the nodata value 65535 has
        labels from 0 to 65534. Two DataArrays are aligned by their coordinates, in the case of
        samples by ``pixel``; arrays are compared by position.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    TypeError
        If the labels are not real numbers, or have a ``numpy.ma`` mask.
    ValueError
        If grids, pixels or shapes differ, a value is not a label, or no pixel is valid in both.

    Examples
    --------
    >>> label_change([0, 1, 1, 255], [0, 1, 2, 0])
    0.3333333333333333
    """
    one, two = valid_in_both(*paired_labels(before, after, ("before", "after")))
    return float(np.count_nonzero(one != two) / one.size)


def transition_matrix(before: xr.DataArray, after: xr.DataArray) -> pd.DataFrame:
    """Count the pixels of each pair of classes in two label maps.

    Use it as a change matrix for two dates, or as a confusion matrix for a map and its truth.

    Parameters
    ----------
    before, after : xarray.DataArray
        Label maps on one grid, of any dimensions. As for `label_change`.

    Returns
    -------
    pandas.DataFrame
        Numbers of pixels. Rows are the classes of `before`, columns those of `after`, by name
        if a map has ``flag_meanings``. Pixels that are nodata in either are not counted.

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
    return count_pairs(before, after, ("before", "after"))


def cluster_profiles(samples: xr.DataArray, labels: Any) -> xr.Dataset:
    """Compute the mean, standard deviation and number of pixels of every cluster.

    Use it to see what the clusters are: in each band, how bright they are and how much they vary.

    Parameters
    ----------
    samples : xarray.DataArray
        Samples (pixel, band) or a scene (band, y, x), in memory or lazy. Lazy samples are read
        block by block, in two passes: one for the means, one for the deviations from them.
    labels : xarray.DataArray or array_like
        Shape (pixel,) or the label map of the scene: whole numbers from 0 to 254, and nodata (255,
        NaN or the declared nodata value). A DataArray that declares the nodata value 65535 has
        labels from 0 to 65534. A DataArray is aligned by its coordinates. Pixels that are nodata in
        `labels` or in a band are excluded.

    Returns
    -------
    xarray.Dataset
        ``mean`` and ``std`` (cluster, band), float64 in the units of `samples`, and ``count``
        (cluster). The standard deviation is that of the population. The coordinate ``cluster``
        holds the labels that occur.

    Raises
    ------
    TypeError
        If `samples` is not a DataArray, or samples or labels are not real numbers.
    ValueError
        If labels and samples do not match, a value is not a label or is infinite, or no pixel is
        valid.

    Examples
    --------
    >>> samples = xr.DataArray([[0.1], [0.3], [0.6]], dims=("pixel", "band"))
    >>> profiles = cluster_profiles(samples, [0, 0, 1])
    >>> profiles["mean"].values.round(3).tolist(), profiles["count"].values.tolist()
    ([[0.2], [0.6]], [2, 1])
    """
    require_dims(samples, ["band"], "samples", allow_extra=True)
    return profiles_by_label(samples, labels, "samples")


def simplified_silhouette(samples: xr.DataArray, labels: Any, centers: Any) -> float:
    """Compute the mean silhouette from distances to cluster centers instead of to all pixels.

    Use it for large images, since its cost is linear in the number of pixels. A pixel at distance
    a from the center of its cluster and b from the nearest other center scores
    (b − a) / max(a, b), or 0 if it is alone in its cluster.

    Parameters
    ----------
    samples : xarray.DataArray
        Shape (pixel, band), in memory or lazy. Lazy samples are read once, block by block.
    labels : xarray.DataArray or array_like
        As for `cluster_profiles`. A label is the row of its center in `centers`, or the value of
        the coordinate ``cluster`` there.
    centers : xarray.DataArray or array_like
        Shape (cluster, band), at least two. For a DataArray, such as the ``mean`` of
        `cluster_profiles`, the coordinate ``cluster`` gives the labels, and ``band`` must equal
        that of `samples`.

    Returns
    -------
    float
        From −1 to 1; near 1 for compact clusters that are far apart.

    Raises
    ------
    TypeError
        If `samples` is not a DataArray, or samples, labels or centers are not real numbers.
    ValueError
        If labels, samples and centers do not match, a value is not a label or is infinite, or
        there are fewer than two centers.

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

    def sums(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        scores = _silhouettes(labels, values, numbers, centers)
        return sums_by_label(labels, [np.ones_like(scores), scores])

    count, total = sum_over_blocks(sums, samples, labels).T
    require_any(count)
    return float(total[count > 1].sum() / count.sum())


def _silhouettes(
    labels: np.ndarray, values: np.ndarray, numbers: np.ndarray, centers: np.ndarray
) -> np.ndarray:
    """Return the simplified silhouette of each pixel; `numbers` are the labels of `centers`."""
    if not (known := np.isin(labels, numbers)).all():
        raise ValueError(
            f"labels must each have a row among the {len(numbers)} centers, got {labels[~known][0]}"
        )
    own, other = np.zeros(len(labels)), np.full(len(labels), np.inf)
    for number, center in zip(numbers, centers, strict=True):  # avoids a pixel × cluster array
        distance = np.hypot.reduce(values - center, axis=1)  # squares could over- or underflow
        mine = labels == number
        own[mine] = distance[mine]
        np.minimum(other, distance, out=other, where=~mine)
    larger = np.maximum(own, other)
    return np.divide(other - own, larger, out=np.zeros_like(own), where=larger > 0)


def _centers(centers: Any, samples: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the centers, and the centers as float64."""
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
            numbers = labels_of(
                as_real_array(centers["cluster"], "clusters"), "clusters", dtype=np.uint16
            )
            if len(np.unique(numbers)) < len(numbers):
                raise ValueError(f"clusters must have one center each, got {numbers.tolist()}")
    centers = np.asarray(as_real_array(centers, "centers"), np.float64)
    if centers.ndim != 2 or len(centers) < 2 or centers.shape[1] != samples.sizes["band"]:
        raise ValueError(
            "centers must have a shape of (at least 2 clusters, "
            f"{samples.sizes['band']} bands), got {centers.shape}"
        )
    require_finite(centers, "centers")
    return (np.arange(len(centers)) if numbers is None else numbers), centers


def sampled_silhouette(
    samples: xr.DataArray, labels: Any, *, n_samples: int = 5000, random_state: int = 0
) -> float:
    """Estimate the mean silhouette from a stratified sample of the pixels.

    Use it where the exact silhouette, which needs the distances between all pixels, is too
    expensive. Each cluster contributes pixels in proportion to its size, but at least two, so that
    small clusters are represented; the scores are weighted by the true sizes.

    Parameters
    ----------
    samples : xarray.DataArray
        Shape (pixel, band), in memory or lazy. Only the sampled pixels are kept in memory.
    labels : xarray.DataArray or array_like
        As for `cluster_profiles`. There must be at least two clusters, one of them with at least
        two pixels.
    n_samples : int, default 5000
        Number of pixels to draw, at least two for each cluster. Memory and time grow with its
        square.
    random_state : int, default 0
        Random seed of the sample, from 0 to 2**32 - 1.

    Returns
    -------
    float
        From −1 to 1. It is exact if `n_samples` is at least the number of valid pixels.

    Raises
    ------
    TypeError
        If `samples` is not a DataArray, samples or labels are not real numbers, or `n_samples` or
        `random_state` is not an integer.
    ValueError
        If labels and samples do not match, a value is not a label or is infinite, there are fewer
        than two clusters, or `n_samples` is too small.

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
    labels = valid_labels(samples, labels)
    valid = labels != nodata_label(labels.dtype)
    numbers, sizes = np.unique(labels[valid], return_counts=True)
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
    # scikit-learn's "euclidean" expands (x − y)² to x² − 2xy + y², which cancels within clusters
    # that are far from the origin. SciPy's "minkowski" subtracts first.
    scores = silhouette_samples(values, labels, metric="minkowski", p=2)
    means = [scores[labels == number].mean() for number in numbers]
    return float(np.average(means, weights=sizes))
