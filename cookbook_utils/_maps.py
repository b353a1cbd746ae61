"""Checks, pixels, class names and axes that static figures and interactive views share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import (
    as_real_array,
    require_dims,
    require_integer,
    require_real,
    shown,
)
from cookbook_utils._conventions.bands import positions_of
from cookbook_utils._conventions.grids import crs_of
from cookbook_utils._conventions.labels import MOST_CLASSES, as_labels, meanings_of, nodata_label
from cookbook_utils._conventions.nodata import mask_and_float, valid_pixels
from cookbook_utils._conventions.points import require_coordinates
from cookbook_utils._palette import NODATA_COLOR, class_color, colors_of

MAX_UNEVEN = 0.1
"""Fraction of a pixel by which a coordinate may deviate from an even grid, as float32 may do."""

LEGEND_ROWS = 20
"""Number of entries in one column of a legend beside a map."""

LEGEND_ENTRIES = 256
"""Largest number of entries of a legend, and of profiles in a figure; maps of more classes have no
legend."""


def check_text(title: Any, names: Any = None) -> None:
    """Raise unless `title` is text or None and `names` maps label numbers to text or is None."""
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title must be text or None, got {shown(title)}")
    if names is None:
        return
    if not isinstance(names, Mapping):
        raise TypeError(f"names must map label numbers to text, got {type(names).__name__}")
    for number, name in names.items():
        require_integer(number, "each number in names", least=0, most=MOST_CLASSES - 1)
        if not isinstance(name, str):
            raise TypeError(f"names must map label numbers to text, got {shown(name)} for {number}")
        if not name.strip():
            raise ValueError(f"names must not be blank, got {shown(name)} for {number}")


def check_labels(labels: xr.DataArray, *further: Hashable, what: str = "labels") -> xr.DataArray:
    """Return a label map, or a series along a `further` dimension, in memory and north up."""
    return north_up(as_labels(labels, what, [*further, "y", "x"]), what).compute()


def degrees_of(points: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the longitude and latitude of points in memory, or raise."""
    if not isinstance(points, xr.Dataset | xr.DataArray):
        raise TypeError(
            "points must be an xarray.Dataset with the coordinates longitude and latitude, got "
            f"{type(points).__name__}"
        )
    found = {str(name): coord.dims for name, coord in points.coords.items()}
    for name in ("longitude", "latitude"):
        if found.get(name) != ("point",):
            raise ValueError(
                "points must have the coordinates longitude (point) and latitude (point), got "
                f"{found}"
            )
    if not points["longitude"].size:
        raise ValueError("points must be one or more, got 0")
    for name in ("longitude", "latitude"):
        require_real(points[name].variable, f"{name} of the points")
    longitude, latitude = (
        points[name].compute().astype("float64") for name in ("longitude", "latitude")
    )
    require_coordinates(longitude.values, latitude.values)
    return longitude, latitude


def match_points(values: Any, points: xr.Dataset, what: str) -> xr.DataArray:
    """Return `values`, one real number per point, in memory, or raise."""
    if not isinstance(values, xr.DataArray):
        values = as_real_array(values, what)
        values = xr.DataArray(values, dims=("point", *range(1, values.ndim))[: values.ndim])
    require_dims(values, ["point"], what)
    if values.size != points.sizes["point"]:
        raise ValueError(
            f"{what} must hold one value for each of {points.sizes['point']} points, got "
            f"{values.size}"
        )
    indexes = [array.indexes.get("point") for array in (values, points)]
    if all(index is not None for index in indexes) and not indexes[0].equals(indexes[1]):
        raise ValueError(
            f"{what} must have the coordinate point of the points in the same order, got another: "
            f"select them with {what}.sel(point=points.point)"
        )
    return values.compute()


def pick_bands(scene: xr.DataArray, bands: Sequence[str], limit: int) -> xr.DataArray:
    """Return three bands in memory, north up, as floats that are NaN where any band is nodata."""
    require_dims(scene, ["band", "y", "x"], "scene")
    wanted = _three_bands(bands, scene.indexes.get("band", pd.Index([])).tolist())
    scene = scene.isel(band=positions_of(scene, wanted))
    picture = thin(north_up(scene, "scene"), limit).compute()
    picture = mask_and_float(picture).where(valid_pixels(picture))
    valid = np.isfinite(picture).all("band")
    if not valid.any():
        raise ValueError(f"scene must have a pixel that is valid in all of {wanted}, got none")
    return picture.where(valid).transpose("band", "y", "x")


def _three_bands(bands: Any, known: list) -> list:
    """Return three names of bands as a list, or raise unless all are `known`."""
    is_array = isinstance(bands, np.ndarray) and bands.ndim > 0
    is_list = isinstance(bands, Sequence | pd.Index) and not isinstance(bands, str | bytes)
    if not (is_array or is_list):
        raise TypeError(f"bands must be a list of three band names, got {type(bands).__name__}")
    wanted = list(bands)
    if len(wanted) != 3 or any(np.ndim(band) or band not in known for band in wanted):
        raise ValueError(
            f"bands must be three out of {known}, got {shown(wanted)}: name the bands of a "
            "scene with scene.assign_coords(band=[...])"
        )
    return wanted


def north_up(array: xr.DataArray, what: str) -> xr.DataArray:
    """Return `array` with y descending and x ascending, its last dimensions, or raise.

    Images have pixels of one size, so the coordinates must be evenly spaced. They may be in any
    order.
    """
    if min(array.sizes[dim] for dim in "yx") < 2 or not {"y", "x"} <= set(array.indexes):
        raise ValueError(
            f"{what} must have coordinates y and x of two pixels or more, got the sizes "
            f"{dict(array.sizes)} and the coordinates {list(array.coords)}"
        )
    for dim in ("y", "x"):
        if array[dim].dtype.kind not in "iuf":
            raise TypeError(f"{dim} of {what} must hold real numbers, got {array[dim].dtype}")
        values = array[dim].values.astype(np.float64)
        order = np.argsort(values)  # NaN comes last
        _require_even(values[order], dim, what)
        order = order[::-1] if dim == "y" else order
        if (np.diff(order) != 1).any():
            array = array.isel({dim: _as_slice(order)})
    return array.transpose(..., "y", "x")


def _require_even(values: np.ndarray, dim: str, what: str) -> None:
    """Raise ValueError unless ascending `values` are finite and evenly spaced."""
    if not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"{dim} of {what} must be finite, got {bad} values that are NaN or inf")
    steps = np.diff(values)
    even = np.linspace(values[0], values[-1], values.size)
    if not (np.abs(values - even) <= MAX_UNEVEN * (even[1] - even[0])).all() or not steps.min() > 0:
        raise ValueError(
            f"{dim} of {what} must be evenly spaced, got steps from {steps.min():.6g} to "
            f"{steps.max():.6g}: bring it onto a regular grid first, with "
            "cookbook_utils.regridding.regrid"
        )


def _as_slice(order: np.ndarray) -> slice | np.ndarray:
    """Return a slice, which copies nothing, for an `order` that is reversed throughout."""
    return slice(None, None, -1) if (np.diff(order) == -1).all() else order


def thin(array: xr.DataArray, limit: int) -> xr.DataArray:
    """Return every n-th pixel such that at most `limit` rows and columns are left."""
    steps = {dim: -(-array.sizes[dim] // limit) for dim in ("y", "x")}
    return array.isel({dim: slice(step // 2, None, step) for dim, step in steps.items()})


def stretch(picture: xr.DataArray) -> np.ndarray:
    """Return (y, x, RGBA) in uint8: 0 is black, the 98th percentile of all bands full color."""
    full = picture.quantile(0.98).item()
    scaled = picture.values / (full if full > 0 else 1)
    alpha = picture.isel(band=0).notnull().values
    rgb = np.nan_to_num(scaled.clip(0, 1))
    return (np.dstack([*rgb, alpha]) * 255).round().astype("uint8")


def classes_of(labels: xr.DataArray, names: Mapping[int, str] | None) -> dict[int, tuple[str, str]]:
    """Return the name and color of each number that occurs in `labels`, nodata last.

    Raises
    ------
    ValueError
        If a number in `names` cannot be a label.
    """
    numbers, nodata = sorted(pd.unique(labels.values.ravel()).tolist()), nodata_label(labels.dtype)
    for number in names or ():
        require_integer(number, "each number in names", least=0, most=nodata - 1)
    classes = name_and_color([n for n in numbers if n != nodata], meanings_of(labels), names)
    if nodata in numbers:
        classes[nodata] = ("nodata", NODATA_COLOR)
    return classes


def name_and_color(
    numbers: Sequence[int], meanings: Mapping[int, str], names: Mapping[int, str] | None
) -> dict[int, tuple[str, str]]:
    """Return the name and color of each of `numbers`.

    A class that `names` renames keeps its color, unless the new name is that of a known class.
    """
    names = names or {}
    classes = {**meanings, **{n: name for n, name in names.items() if class_color(name)}}
    colors = colors_of(numbers, classes)
    titles = {n: meaning.replace("_", " ") for n, meaning in meanings.items()} | dict(names)
    return {n: (titles.get(n, f"cluster {n}"), colors[n]) for n in numbers}


class MapAxes(NamedTuple):
    """Names, unit and scale of the axes of a map."""

    x: str = "x"
    y: str = "y"
    unit: str = ""
    scale: float = 1  # number of these units in one unit of the coordinates
    aspect: float = 1  # length of one unit of y on the page, relative to x
    decimals: int | None = 2  # of coordinates under the cursor; None if Bokeh formats them

    @property
    def x_label(self) -> str:
        return self.x + self.unit

    @property
    def y_label(self) -> str:
        return self.y + self.unit


def axes_of(array: xr.DataArray) -> MapAxes:
    """Return the axes of a map: km, degrees, or coordinates as they are where there is no CRS."""
    crs = crs_of(array)
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return MapAxes()
    factor = crs.axis_info[0].unit_conversion_factor  # m or radians per unit
    if crs.is_projected:
        return MapAxes("Easting", "Northing", " (km)", factor / 1000, 1, 3)
    scale = round(np.degrees(factor), 12)
    for dim, limit in (("y", 90), ("x", 360)):
        beyond = float(abs(array[dim]).max()) * scale
        if beyond > limit:
            raise ValueError(
                f"{dim} of a map in {crs.name} must lie from {-limit} to {limit} degrees, got "
                f"{beyond:.6g}: is this its CRS?"
            )
    return degree_axes(array["y"] * scale)._replace(scale=scale)


def degree_axes(latitude: xr.DataArray) -> MapAxes:
    """Return the axes of a map in degrees, true to scale at its mean latitude, at most 89."""
    aspect = 1 / np.cos(np.deg2rad(np.clip(latitude.mean().item(), -89, 89)))
    return MapAxes("Longitude", "Latitude", " (°)", 1, aspect, 4)


def bounds_of(array: xr.DataArray) -> tuple[float, float, float, float]:
    """Return the outer edges left, bottom, right, top, in CRS units."""
    x, y = (array[dim].values.astype(np.float64) for dim in ("x", "y"))
    dx, dy = (abs(v[-1] - v[0]) / (v.size - 1) / 2 for v in (x, y))
    return x[0] - dx, y[-1] - dy, x[-1] + dx, y[0] + dy
