"""Areas of pixels, masks and classes on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import dask
import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils import _stratified
from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.grids import crs_of, full_turn, regular_centers
from cookbook_utils._conventions.labels import (
    as_labels,
    class_names,
    require_binary,
)

if TYPE_CHECKING:
    import pyproj

AREA_TOLERANCE = 0.01
"""Relative error of area up to which a projection counts as equal-area; it is 0.002 in UTM."""

_AREA_ATTRS = {"long_name": "pixel area", "units": "km2"}


def pixel_area_km2(template: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Compute the area of the pixels of a grid on the ground, in km².

    Use it to weight pixels by their area; `area_km2` and `class_areas` sum the areas of pixels.

    Parameters
    ----------
    template : xarray.DataArray or xarray.Dataset
        Any array on the grid: regular ``x`` and ``y`` pixel centers and a CRS. Coordinates of a
        projected CRS may be in any unit of length. Longitudes may cross the antimeridian.

    Returns
    -------
    xarray.DataArray
        0-D, the product of the pixel spacings, in a projected CRS that preserves areas to within
        `AREA_TOLERANCE` everywhere on the grid, as UTM does. (y, x) in any other projected CRS,
        with NaN where the projection is not defined: 1 km² at 60° N covers 4 km² of a Web
        Mercator map. (y) in a geographic CRS: the area of the ellipsoid between the two parallels
        of each row, clipped at the poles.

    Raises
    ------
    TypeError
        If `template` is neither a DataArray of real numbers nor a Dataset.
    ValueError
        If there is no CRS, it is neither projected nor geographic, a latitude is beyond 90°, the
        longitudes span more than 360°, or the coordinates are fewer than two, irregular, or not in
        the unit of the CRS.

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
    """Return `pixel_area_km2` of `template`, called `what` in error messages."""
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
    if crs.is_projected:
        return _projected_area(template, what, crs)
    if not crs.is_geographic or crs.is_derived:
        raise ValueError(f"{what} must have a projected or geographic CRS, got {crs.name}")
    return _geographic_area(template, what, crs)


def _projected_area(
    template: xr.DataArray | xr.Dataset, what: str, crs: pyproj.CRS
) -> xr.DataArray:
    """Return the area of pixels in a projected CRS: 0-D if it preserves areas, else (y, x)."""
    x, dx = regular_centers(template, "x", what)
    y, dy = regular_centers(template, "y", what)
    on_map = abs(dx * dy) * crs.axis_info[0].unit_conversion_factor ** 2 / 1e6
    # Areal scale on a lattice of 9 x 9 points over the grid.
    lattice = np.meshgrid(np.linspace(x[0], x[-1], 9), np.linspace(y[0], y[-1], 9))
    scale = _ground_per_map(crs, *lattice)
    if np.isfinite(scale).all() and np.abs(scale - 1).max() <= AREA_TOLERANCE:
        return xr.DataArray(on_map, attrs=_AREA_ATTRS)
    areas = [on_map * _ground_per_map(crs, x, np.full(x.size, row)) for row in y]
    coords = {dim: template[dim].variable for dim in ("y", "x")}
    return xr.DataArray(areas, coords=coords, dims=("y", "x"), attrs=_AREA_ATTRS)


def _geographic_area(
    template: xr.DataArray | xr.Dataset, what: str, crs: pyproj.CRS
) -> xr.DataArray:
    """Return the area of pixels in a geographic CRS, (y): a share of the zone of each row."""
    turn = full_turn(crs)
    x, dx = regular_centers(template, "x", what, turn)
    y, dy = regular_centers(template, "y", what)
    degrees = 360 / turn
    if x.size * abs(dx) > turn * (1 + 1e-6):
        raise ValueError(
            f"the longitudes of {what} must span at most 360 degrees, got {x.size} pixels of "
            f"{abs(dx) * degrees:g} degrees: remove the columns that cover the same ground twice"
        )
    if np.abs(y * degrees).max() > 90 + 1e-9:
        raise ValueError(
            f"the latitudes of {what} must be from -90 to 90 degrees, got "
            f"{(y * degrees).min():g} to {(y * degrees).max():g}"
        )
    south, north = (np.clip((y + side * abs(dy) / 2) * degrees, -90, 90) for side in (-1, 1))
    zone = _area_from_equator(crs, north) - _area_from_equator(crs, south)
    areas = zone * (abs(dx) / turn) / 1e6
    return xr.DataArray(areas, coords={"y": template["y"].variable}, dims="y", attrs=_AREA_ATTRS)


def _area_from_equator(crs: pyproj.CRS, latitude: np.ndarray) -> np.ndarray:
    """Return the area in m² of an ellipsoid between the equator and latitudes in degrees.

    Equation 3-12 of Snyder (1987) gives the authalic latitude, of which this is the integral.
    """
    b, e = crs.ellipsoid.semi_minor_metre, _eccentricity(crs)
    sine = np.sin(np.radians(latitude))
    arc = np.arctanh(e * sine) / e if e > 0 else sine
    return np.pi * b**2 * (sine / (1 - (e * sine) ** 2) + arc)


def _ground_per_map(crs: pyproj.CRS, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the ground area per map area of a projected CRS at points; NaN where undefined.

    The ground area is that of the parallelogram spanned by two perpendicular map segments of 1 km
    around each point, in geocentric coordinates.
    """
    import pyproj

    to_geodetic = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    radians = crs.geodetic_crs.axis_info[0].unit_conversion_factor  # some CRSs count in grads
    a, e = crs.ellipsoid.semi_major_metre, _eccentricity(crs)
    half = 500 / crs.axis_info[0].unit_conversion_factor

    def geocentric(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return geocentric coordinates in m, shape (..., 3), of points of the map."""
        longitude, latitude = radians * np.asarray(to_geodetic.transform(x, y))
        normal = a / np.sqrt(1 - (e * np.sin(latitude)) ** 2)
        equatorial = normal * np.cos(latitude)
        return np.stack(
            [
                equatorial * np.cos(longitude),
                equatorial * np.sin(longitude),
                normal * (1 - e**2) * np.sin(latitude),
            ],
            axis=-1,
        )

    with np.errstate(invalid="ignore"):  # the transformer returns infinity where undefined
        along_x = geocentric(x + half, y) - geocentric(x - half, y)
        along_y = geocentric(x, y + half) - geocentric(x, y - half)
        area = np.linalg.norm(np.cross(along_x, along_y), axis=-1)
    return area / 1000**2


def _eccentricity(crs: pyproj.CRS) -> float:
    """Return the first eccentricity of the ellipsoid of a CRS."""
    axes = crs.ellipsoid.semi_minor_metre, crs.ellipsoid.semi_major_metre
    return float(np.sqrt(1 - (axes[0] / axes[1]) ** 2))


def area_km2(mask: xr.DataArray) -> float:
    """Compute the area of the pixels of a mask that are 1, in km².

    Use it for the area of water in the mask that `water_mask` returns; `class_areas` measures
    every class of a map.

    Parameters
    ----------
    mask : xarray.DataArray
        Shape (y, x) with a CRS: boolean, or 0, 1 and nodata (255, NaN or the declared nodata
        value), which does not count as 1.

    Returns
    -------
    float
        Sum of the areas of the pixels, each by `pixel_area_km2`.

    Raises
    ------
    TypeError
        If `mask` is not a DataArray of real numbers.
    ValueError
        If `mask` holds other values, `pixel_area_km2` does not support its grid, or a pixel that
        is 1 is where the projection is not defined.

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
    sums = _sum_by_label(as_labels(mask, "mask", dtype=np.uint8), "mask")
    require_binary(np.flatnonzero(sums.n_pixels), "mask")
    _require_area(sums, [1], "mask")
    return float(sums.area[1])


def class_areas(labels: xr.DataArray) -> pd.Series:
    """Compute the area of every class of a label map, in km².

    Use it to sum up a map of clusters or the result of `change_map`. Lazy maps are read chunk by
    chunk.

    Parameters
    ----------
    labels : xarray.DataArray
        Shape (y, x) with a CRS: whole numbers from 0 to 254, and nodata (255, NaN or the declared
        nodata value), which is not counted; or from 0 to 65534, if the map declares the nodata
        value 65535.

    Returns
    -------
    pandas.Series
        Named "area_km2" with the index "class". If the map has ``flag_values`` and
        ``flag_meanings``, the index holds the names of all classes, also of those without pixels;
        otherwise the labels that occur.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers.
    ValueError
        If `labels` are not whole numbers or are not among the flags, `pixel_area_km2` does not
        support the grid, or a labeled pixel is where the projection is not defined.

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
    labels = as_labels(labels)
    sums = _sum_by_label(labels, "labels")
    found = np.flatnonzero(sums.n_pixels[:-1]).tolist()
    names = class_names(labels, found)
    _require_area(sums, found, "labels")
    areas = sums.area[list(names)]
    return pd.Series(areas, pd.Index(list(names.values()), name="class"), name="area_km2")


def adjusted_areas(labels: xr.DataArray, confusion: pd.DataFrame) -> pd.DataFrame:
    """Estimate the area of every class from a map and its confusion matrix, with its uncertainty.

    Use it for areas that are reported: the areas that are counted on a map are biased, since a map
    takes pixels of one class for another. The reference pixels of `confusion` must be a probability
    sample, drawn at random from the whole map or from each of its classes. The pixels of a polygon
    resemble each other, and their number makes the interval too narrow: take one of each polygon,
    as `accuracy.accuracy_table` says.

    Parameters
    ----------
    labels : xarray.DataArray
        Label map (y, x) with a CRS and the names of its classes, as for `class_areas`.
    confusion : pandas.DataFrame
        Number of reference pixels for each class of the map (rows) and of the reference (columns),
        such as ``accuracy_table(labels, reference).confusion``.

    Returns
    -------
    pandas.DataFrame
        One row for each "class" of the map or the reference, in km²: "mapped", as for
        `class_areas`; "adjusted", the stratified estimate; "se", its standard error; and "low" and
        "high", its interval at the level of 95 %.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers, or `confusion` not a DataFrame of them.
    ValueError
        If `class_areas` does not support the map, a count is negative, or a class of the map has
        fewer than two reference pixels.

    References
    ----------
    Olofsson, P., et al. (2014). Good practices for estimating area and assessing accuracy of land
    change. Remote Sensing of Environment 148, 42–57, equations 9 to 11.
    doi:10.1016/j.rse.2014.02.015

    Examples
    --------
    >>> import rioxarray
    >>> labels = xr.DataArray(
    ...     np.uint8([[0, 1], [1, 1]]), coords={"y": [1000.0, 0.0], "x": [0.0, 1000.0]},
    ...     dims=("y", "x"), attrs={"flag_values": [0, 1], "flag_meanings": "land water"},
    ... ).rio.write_crs("EPSG:32611")
    >>> counts = pd.DataFrame([[40, 10], [0, 50]], ["land", "water"], ["land", "water"])
    >>> adjusted_areas(labels, counts).round(2)
           mapped  adjusted    se  low  high
    class
    land      1.0       0.8  0.06  0.69  0.91
    water     3.0       3.2  0.06  3.09  3.31
    """
    confusion = _stratified.require_confusion(confusion)
    areas = _stratified.require_areas(class_areas(labels), confusion, "labels")
    total = areas.sum()
    found = _stratified.stratified(confusion, areas)
    adjusted, error = total * found.shares, total * found.shares_se
    return pd.DataFrame(
        {
            "mapped": areas,
            "adjusted": adjusted,
            "se": error,
            "low": (adjusted - _stratified.Z * error).clip(0),
            "high": (adjusted + _stratified.Z * error).clip(max=total),
        },
        pd.Index(confusion.index, name="class"),
    )


class _Sums(NamedTuple):
    """Sums over the pixels of each label, each of shape (n_labels,), the last label nodata."""

    n_pixels: np.ndarray
    n_outside: np.ndarray
    area: np.ndarray


def _sum_by_label(labels: xr.DataArray, what: str) -> _Sums:
    """Return the sums of a map that `as_labels` returned, chunk by chunk if it is lazy."""
    area = _pixel_area(labels, what).values
    data = labels.transpose("y", "x").data
    if dask.is_dask_collection(data):
        blocks = data.to_delayed()
        y, x = (np.cumsum((0, *sizes)) for sizes in data.chunks)
        read = dask.delayed(_sum_block, pure=False)
        parts = dask.compute(
            *(
                read(blocks[i, j], area[(slice(*y[i : i + 2]), slice(*x[j : j + 2]))[: area.ndim]])
                for i, j in np.ndindex(blocks.shape)
            )
        )
        sums = _Sums(*(np.sum(each, axis=0) for each in zip(*parts, strict=True)))
    else:
        sums = _sum_block(data, area)
    return sums if area.ndim else sums._replace(area=sums.n_pixels * area)


def _sum_block(labels: np.ndarray, area: np.ndarray) -> _Sums:
    """Return the sums of a block of a map (y, x), given the area of its pixels (), (y) or (y, x).

    Pixels of one area are counted, and the number multiplied, so that no rounding errors add up.
    The sum of areas is left to the caller if all pixels have one area.
    """
    n_labels = int(np.iinfo(labels.dtype).max) + 1
    sums = _Sums(np.zeros(n_labels, int), np.zeros(n_labels, int), np.zeros(n_labels))
    for i, row in enumerate(labels):
        n_pixels = np.bincount(row, minlength=n_labels)
        sums.n_pixels[:] += n_pixels
        if area.ndim == 1:
            sums.area[:] += n_pixels * area[i]
        elif area.ndim == 2:
            outside = np.isnan(area[i])
            sums.n_outside[:] += np.bincount(row[outside], minlength=n_labels)
            sums.area[:] += np.bincount(row[~outside], area[i, ~outside], n_labels)
    return sums


def _require_area(sums: _Sums, numbers: Sequence[int], what: str) -> None:
    """Raise ValueError if the projection is not defined at a pixel with one of the labels."""
    if n_outside := int(sums.n_outside[numbers].sum()):
        raise ValueError(
            f"{what} must be inside the domain of the CRS, got {n_outside} pixels outside: set "
            "them to nodata, or correct the CRS with rio.write_crs"
        )
