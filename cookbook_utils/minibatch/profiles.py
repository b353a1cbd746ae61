"""The motion of clusters of points over time."""

from __future__ import annotations

from typing import Any

import xarray as xr

from cookbook_utils._checks import require_rising_time
from cookbook_utils._conventions.labels import align_labels, label_attrs, nodata_label
from cookbook_utils._conventions.points import displacement_of
from cookbook_utils._samples import profiles_by_label


def displacement_profiles(points: xr.Dataset, labels: Any) -> xr.Dataset:
    """Return the mean and standard deviation of the displacement of each cluster over time.

    Use it to see how the points of a cluster move. The result is drawn by `plot_series`.

    Parameters
    ----------
    points : xarray.Dataset
        Points whose ``displacement`` (point, time) has no gaps, as `fill_gaps` returns them. Dask
        arrays are computed chunk by chunk.
    labels : array_like of int (n,)
        Labels as `PointShards.read_labels` returns them; points with nodata (255 or NaN) are
        ignored. A DataArray is aligned by its coordinates.

    Returns
    -------
    xarray.Dataset
        ``mean`` and ``std`` (cluster, time) in mm, and ``count`` (cluster), as
        `cluster_profiles` returns them.

    Raises
    ------
    TypeError
        If `points` is not a Dataset, or displacements or labels are not real numbers.
    ValueError
        If labels and points do not match, a labeled point has a gap or an infinite displacement, a
        label is out of range, or the times are not dates in increasing order.

    Examples
    --------
    >>> series = xr.DataArray([[0.0, 1.0], [0.0, 3.0], [0.0, -9.0]], dims=("point", "time"))
    >>> profiles = displacement_profiles(series.to_dataset(name="displacement"), [0, 0, 1])
    >>> profiles["mean"].values.tolist(), profiles["std"].values.tolist()
    ([[0.0, 2.0], [0.0, -9.0]], [[0.0, 1.0], [0.0, 0.0]])
    """
    displacement = displacement_of(points)
    if "time" in points.coords:
        require_rising_time(points, "points")
    labels = align_labels(labels, displacement.isel(time=0, drop=True))
    labels = xr.DataArray(labels.values, dims="pixel", attrs=label_attrs(labels.dtype))
    samples = displacement.rename(point="pixel", time="band")
    profiles = profiles_by_label(samples, labels, "the displacement of labeled points")
    labeled, counted = (
        int((labels != nodata_label(labels.dtype)).sum()),
        int(profiles["count"].sum()),
    )
    if counted < labeled:
        raise ValueError(
            "displacement of labeled points must have no gaps, got "
            f"{labeled - counted} of {labeled} with gaps: fill them with "
            "cookbook_utils.insar.fill_gaps"
        )
    return profiles.rename(band="time")
