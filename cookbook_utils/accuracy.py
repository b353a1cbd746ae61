"""Accuracy of label maps: reference data on the grid of a scene, and tables with confidence."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils import _stratified
from cookbook_utils._checks import require_choice
from cookbook_utils._conventions.grids import crs_of
from cookbook_utils._conventions.labels import (
    NODATA_LABEL,
    as_labels,
    class_text,
    label_attrs,
    meanings_of,
    nodata_label,
)
from cookbook_utils._samples import count_pairs
from cookbook_utils._vectors import (
    burned,
    classes_in,
    coordinates,
    extent,
    geometries_in,
    is_present,
    north_up_grid,
    read_vectors,
    require_no_overlap,
    warn_of_lost,
)
from cookbook_utils.labels import name_clusters, reference_table

if TYPE_CHECKING:
    import geopandas

__all__ = ["AccuracyTable", "accuracy_table", "rasterize_reference"]

OVERLAPS = ("raise", "nodata")


def rasterize_reference(
    data: geopandas.GeoDataFrame | str | PathLike,
    scene: xr.DataArray | xr.Dataset,
    column: str,
    *,
    layer: str | None = None,
    overlap: str = "raise",
) -> xr.DataArray:
    """Rasterize polygons or points of known class to the grid of a scene.

    Use it to bring ground data to a label map; `accuracy_table` compares both. A pixel gets the
    class of the polygon that its center is in, or of the points that are in the pixel. The pixels
    of one polygon are no independent samples. For one pixel of each polygon, pass
    ``data.set_geometry(data.representative_point())``.

    Parameters
    ----------
    data : geopandas.GeoDataFrame, str or path-like
        Features with a CRS, which are reprojected to that of `scene`, or a file of them:
        GeoPackage, GeoJSON, shapefile, GeoParquet, or any other that GDAL reads, on disk, in a ZIP
        or at an address. Invalid polygons are repaired, with a warning.
    scene : xarray.DataArray or xarray.Dataset
        Any array on the grid: regular ``x`` and ``y`` pixel centers and a CRS.
    column : str
        Name of the column with the class of each feature: text or whole numbers.
    layer : str, optional
        Name of the layer of a file that has several.
    overlap : {"raise", "nodata"}, default "raise"
        What becomes of pixels that features of different classes claim: an error that names the
        classes, or nodata.

    Returns
    -------
    xarray.DataArray
        Named "reference", uint8 (y, x) in memory, with the CRS of `scene`: 255 where there is no
        reference, and the names of the classes in ``flag_values`` and ``flag_meanings``, where
        underscores replace spaces. Whole numbers from 0 to 254 stay as they are and are their own
        names; other classes are numbered from 0 in ascending order.

    Raises
    ------
    TypeError
        If `data`, `scene` or `column` has the wrong type, or the classes are fractions or dates.
    ValueError
        If a CRS is absent, the grid is irregular, there is no such column or layer, a feature has
        no class, there are more than 255 classes, lines, or overlaps of classes, or no feature
        covers the center of a pixel of `scene`.
    OSError
        If the file is absent or cannot be read.
    ImportError
        If geopandas or pyogrio is not installed.

    Warns
    -----
    UserWarning
        If features have no geometry, polygons are repaired or too small to hold the center of a
        pixel, or a class covers no pixel.

    Examples
    --------
    >>> import geopandas, rioxarray
    >>> from shapely.geometry import box
    >>> grid = xr.Dataset(coords={"y": [45.0, 15.0], "x": [15.0, 45.0]}).rio.write_crs(32611)
    >>> fields = geopandas.GeoDataFrame(
    ...     {"crop": ["maize", "rice"]}, geometry=[box(0, 0, 30, 60), box(30, 0, 60, 30)], crs=32611
    ... )
    >>> reference = rasterize_reference(fields, grid, "crop")
    >>> reference.values, reference.attrs["flag_meanings"]
    (array([[  0, 255],
           [  0,   1]], dtype=uint8), 'maize rice')
    """
    require_choice(overlap, "overlap", OVERLAPS)
    template, bounds = north_up_grid(scene)
    crs = crs_of(template)
    data = read_vectors(data, layer)
    labels, names = classes_in(data, column)
    geometry = geometries_in(data, crs, bounds)
    present = is_present(geometry)
    lowest, highest = burned(geometry[present], labels[present], template, bounds)
    values = np.where(lowest == highest, lowest, np.uint8(NODATA_LABEL))
    if (lowest == NODATA_LABEL).all():
        raise ValueError(
            "data must cover the center of a pixel of scene, got none: data extend over "
            f"{extent(data.to_crs(crs).total_bounds)}, scene over {extent(bounds)} (left, "
            f"bottom, right, top) in {crs.name}"
        )
    if overlap == "raise":
        require_no_overlap(lowest, highest, names)
    warn_of_lost(values, names, geometry[present], bounds)
    result = xr.DataArray(values, template.coords, ("y", "x"), "reference")
    result = result.reindex_like(coordinates(scene))
    result.attrs = {
        "long_name": "reference class",
        **label_attrs(result.dtype),
        "flag_values": list(names),
        "flag_meanings": " ".join(names.values()),
    }
    return result


@dataclass(frozen=True)
class AccuracyTable:
    """Accuracy of a label map with confidence intervals, as `accuracy_table` returns it.

    Parameters
    ----------
    confusion : pandas.DataFrame
        Number of reference pixels for each class of the map (rows, "map") and of the reference
        (columns, "reference").
    classes : pandas.DataFrame
        One row for each "class" with the columns "users", "producers", and for both of them "_se",
        the standard error, and "_low" and "_high", the interval. User's accuracy is the fraction of
        the pixels mapped as a class that are of it, producer's accuracy the fraction of the pixels
        of a class that are mapped as such. NaN where there are no pixels.
    overall : float
        Fraction of the pixels whose class is right.
    overall_se : float
        Standard error of `overall`.
    overall_interval : tuple of float
        Bounds of `overall` at the level of 95 %.
    kappa : float
        Cohen's kappa. NaN where chance alone agrees everywhere.
    estimator : str
        "stratified", or "binomial" with Wilson's interval.
    clusters : pandas.DataFrame, optional
        `reference_table` of a map of clusters, by which they got their classes; None if the classes
        had names.

    Examples
    --------
    >>> labels = xr.DataArray(np.uint8([[0, 0, 1, 1]]), dims=("y", "x"))
    >>> accuracy_table(labels, labels).overall
    1.0
    """

    confusion: pd.DataFrame
    classes: pd.DataFrame
    overall: float
    overall_se: float
    overall_interval: tuple[float, float]
    kappa: float
    estimator: str
    clusters: pd.DataFrame | None = None


def accuracy_table(
    labels: xr.DataArray,
    reference: xr.DataArray,
    *,
    areas: Mapping[str, float] | pd.Series | None = None,
) -> AccuracyTable:
    """Compare a label map with reference data, and estimate its accuracy with confidence.

    Use it to say how far a map may be trusted. Which interval is right depends on how the reference
    pixels were chosen. With `areas`, the accuracies are weighted by the area of each class of the
    map, its stratum (Olofsson et al. 2014). This is right for pixels drawn at random from each
    class of the map, in any number, or from the whole map. Without, each reference pixel counts the
    same, with the interval of Wilson (1927). This is right for accuracies of a simple random
    sample; it keeps its level for few pixels and for accuracies near 1, where the stratified
    interval, a normal one, is too narrow and has no width if all pixels of a class are right.

    Both take reference pixels for independent. The pixels of one polygon are not: they resemble
    each other, and the interval is too narrow, often several times. Take one pixel of each polygon,
    as `rasterize_reference` shows. Where polygons were drawn at places that are easy to recognize,
    the accuracy itself is too high, and no interval says so.

    Kappa is given because it is asked for; Olofsson et al. advise against it.

    Parameters
    ----------
    labels : xarray.DataArray
        Label map of classes, matched to those of `reference` by name. If it has no
        ``flag_meanings``, it is a map of clusters, each of which gets the class of the majority of
        its reference pixels, by `reference_table`; the accuracy is then too high, since the same
        pixels choose the classes and judge them.
    reference : xarray.DataArray
        Label map on the grid of `labels`, as returned by `rasterize_reference`. Classes whose names
        are numbers, or that have no names, take the names of the same numbers in `labels`.
    areas : mapping of str to float, or pandas.Series, optional
        Area of each class of the map in any unit, such as ``class_areas(labels)``.

    Returns
    -------
    AccuracyTable
        Confusion matrix, accuracies, intervals at the level of 95 %, and kappa.

    Raises
    ------
    TypeError
        If the maps are not DataArrays of real numbers, or `areas` does not map classes to numbers.
    ValueError
        If grids differ, a value is not a label or not among the flags, no pixel is valid in both,
        no class has the same name in both, an area is negative, or a class with an area has fewer
        than two reference pixels.

    Warns
    -----
    UserWarning
        If `reference` has a class that `labels` does not have.

    References
    ----------
    Olofsson, P., et al. (2014). Good practices for estimating area and assessing accuracy of land
    change. Remote Sensing of Environment 148, 42–57, equations 1 to 7.
    doi:10.1016/j.rse.2014.02.015

    Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference.
    Journal of the American Statistical Association 22, 209–212.
    doi:10.1080/01621459.1927.10502953

    Cohen, J. (1960). A coefficient of agreement for nominal scales. Educational and Psychological
    Measurement 20, 37–46. doi:10.1177/001316446002000104

    Examples
    --------
    >>> labels = xr.DataArray(np.uint8([[0, 0, 0, 1, 1]]), dims=("y", "x"),
    ...     attrs={"flag_values": [0, 1], "flag_meanings": "land water"})
    >>> reference = labels.copy(data=np.uint8([[0, 0, 1, 1, 1]]))
    >>> table = accuracy_table(labels, reference)
    >>> table.overall, [round(float(bound), 2) for bound in table.overall_interval]
    (0.8, [0.38, 0.96])
    >>> table.classes[["users", "producers"]].round(2)
           users  producers
    class
    land    0.67       1.00
    water   1.00       0.67
    """
    labels, reference, clusters = _named(labels, reference)
    if areas is not None:
        areas = _stratified.as_areas(areas, "areas")
        if clusters is not None:
            areas = _areas_of_classes(areas, clusters)
    confusion = _confusion(labels, reference)
    if areas is None:
        estimator, found = "binomial", _stratified.unweighted(confusion)
        sizes = {
            "overall": confusion.to_numpy().sum(),
            "users": confusion.sum(axis=1).to_numpy(),
            "producers": confusion.sum(axis=0).to_numpy(),
        }

        def interval(name: str) -> tuple[np.ndarray, np.ndarray]:
            return _stratified.wilson_interval(getattr(found, name), sizes[name])
    else:
        estimator = "stratified"
        found = _stratified.stratified(
            confusion, _stratified.require_areas(areas, confusion, "areas")
        )

        def interval(name: str) -> tuple[np.ndarray, np.ndarray]:
            return _stratified.normal_interval(getattr(found, name), getattr(found, f"{name}_se"))

    columns = {}
    for name in ("users", "producers"):
        low, high = interval(name)
        columns |= {
            name: getattr(found, name), f"{name}_se": getattr(found, f"{name}_se"),
            f"{name}_low": low, f"{name}_high": high,
        }  # fmt: skip
    return AccuracyTable(
        confusion=confusion,
        classes=pd.DataFrame(columns, pd.Index(confusion.index, name="class")),
        overall=found.overall,
        overall_se=found.overall_se,
        overall_interval=tuple(float(bound) for bound in interval("overall")),
        kappa=found.kappa,
        estimator=estimator,
        clusters=clusters,
    )


def _named(
    labels: xr.DataArray, reference: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray, pd.DataFrame | None]:
    """Return both maps with names of classes, and the classes of clusters if `labels` had none."""
    labels = as_labels(labels, "labels", getattr(labels, "dims", ("y", "x")))
    reference = as_labels(reference, "reference", getattr(reference, "dims", ("y", "x")))
    names, known = meanings_of(labels), meanings_of(reference)
    if not names:
        clusters = reference_table(labels, reference)
        return name_clusters(labels, clusters["class"], default="unknown"), reference, clusters
    if all(name == str(number) for number, name in known.items()):
        numbers = known or np.setdiff1d(reference.values, nodata_label(reference.dtype)).tolist()
        if set(numbers) <= set(names):
            reference = reference.assign_attrs(
                flag_values=list(names), flag_meanings=list(names.values())
            )
    return labels, reference, None


def _areas_of_classes(areas: pd.Series, clusters: pd.DataFrame) -> pd.Series:
    """Return areas by class, from areas by cluster or by class."""
    classes = clusters["class"].dropna()
    if not areas.index.isin(clusters.index).all():
        return areas
    return areas.groupby(lambda cluster: classes.get(cluster, f"cluster {cluster}")).sum()


def _confusion(labels: xr.DataArray, reference: xr.DataArray) -> pd.DataFrame:
    """Return the confusion matrix, by names of classes, of those that either map has."""
    counts = count_pairs(labels, reference, ("labels", "reference"))
    for _ in range(2):  # classes of the same name are one
        counts = counts.rename(index=class_text).groupby(level=0, sort=False).sum().T
    if not set(counts.index) & set(counts.columns):
        raise ValueError(
            "labels and reference must share the name of a class, got "
            f"{', '.join(counts.index[:5])} and {', '.join(counts.columns[:5])}: rename classes "
            "with cookbook_utils.labels.name_clusters"
        )
    known = {class_text(name) for name in meanings_of(labels).values()}
    if alien := [name for name in counts.columns[counts.sum() > 0] if name not in known]:
        warnings.warn(
            f"{len(alien)} classes of reference are no classes of labels, and all of their pixels "
            f"count as errors: {', '.join(alien[:5])}",
            UserWarning, stacklevel=3,
        )  # fmt: skip
    counts = _stratified.require_confusion(counts)
    found = counts.index[(counts.sum(axis=0) + counts.sum(axis=1)) > 0]
    return counts.loc[found, found].rename_axis(index="map", columns="reference")
