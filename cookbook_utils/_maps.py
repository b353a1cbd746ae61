"""What static figures and interactive views share: colors, pixels, points, class names, axes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions import MISSING_LABEL, crs_of, meanings_of, valid_pixels

LABEL_COLORS = (
    "#0072B2", "#F0E442", "#D55E00", "#CC79A7", "#000000", "#56B4E9",
    "#E69F00", "#009E73", "#663333", "#332288", "#666633", "#AA3377",
)  # fmt: skip
"""Color of each label number: 0 to 7 from Okabe & Ito, 8 to 11 from Tol.

Neighbors in number contrast, and all differ under the three kinds of dichromacy.

References
----------
M. Okabe and K. Ito (2008), Color Universal Design, https://jfly.uni-koeln.de/color/
P. Tol (2021), Colour Schemes, SRON/EPS/TN/09-002 issue 3.2, https://personal.sron.nl/~pault/
"""

CHANGE_COLORS = {"land": "#CCBB44", "water": "#0072B2", "lost": "#882255", "gained": "#56B4E9"}
"""Color of each class of a water mask or change map, by its name; the same sources."""

MISSING_COLOR = "#D9D9D9"
"""Color of a missing pixel in a label map."""


def check_labels(labels: xr.DataArray, *further: Hashable) -> xr.DataArray:
    """Return a label map, or a series of them along a `further` dimension, in memory, north up."""
    require_dims(labels, [*further, "y", "x"], "labels")
    require_integers(labels)
    return north_up(labels, "labels").compute()


def require_integers(labels: xr.DataArray) -> None:
    """Raise unless labels are integers."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"labels must be integers with {MISSING_LABEL} where missing, found {labels.dtype}"
        )


def degrees_of(points: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the longitude and latitude of one point or more, or raise."""
    found = {str(name): coord.dims for name, coord in points.coords.items()}
    for name, limit in (("longitude", 180), ("latitude", 90)):
        if found.get(name) != ("point",):
            raise ValueError(f"points need the coordinate {name} (point), found {found}")
        bad = int((~(abs(points[name]) <= limit)).sum())
        if bad or not points.sizes["point"]:
            raise ValueError(
                f"expected one point or more with {name} from {-limit} to {limit} degrees, found "
                f"{points.sizes['point']} points, {bad} of them without"
            )
    return points["longitude"], points["latitude"]


def match_points(values: Any, points: xr.Dataset, what: str) -> xr.DataArray:
    """Return `values`, one for each of `points`, in memory, or raise."""
    if not isinstance(values, xr.DataArray):
        values = np.asarray(values)
        values = xr.DataArray(values, dims=("point", *range(1, values.ndim))[: values.ndim])
    require_dims(values, ["point"], what)
    if values.size != points.sizes["point"]:
        raise ValueError(
            f"expected {what} for {points.sizes['point']} points, found {values.size} of them"
        )
    return values.compute()


def pick_bands(scene: xr.DataArray, bands: Sequence[str], limit: int) -> xr.DataArray:
    """Return three bands in memory, north up, in floats with NaN where one of them is missing."""
    require_dims(scene, ["band", "y", "x"], "scene")
    known = scene.indexes.get("band", [])
    absent = [band for band in bands if band not in known]
    if absent or len(bands) != 3:
        raise ValueError(f"expected three bands out of {list(known)}, found {list(bands)}")
    picture = thin(north_up(scene.sel(band=list(bands)), "scene"), limit).compute()
    valid = valid_pixels(picture)
    if not valid.any():
        raise ValueError(f"no pixel of the scene is valid in all of the bands {list(bands)}")
    return picture.where(valid).transpose("band", "y", "x")


def north_up(array: xr.DataArray, what: str) -> xr.DataArray:
    """Return `array` with y descending and x ascending, its last dimensions."""
    if min(array.sizes[dim] for dim in "yx") < 2 or not {"y", "x"} <= set(array.indexes):
        raise ValueError(
            f"{what} must have coordinates y and x of two pixels or more, found sizes "
            f"{dict(array.sizes)} and coordinates {list(array.coords)}"
        )
    if array.indexes["y"].is_monotonic_increasing:
        array = array.isel(y=slice(None, None, -1))
    if array.indexes["x"].is_monotonic_decreasing:
        array = array.isel(x=slice(None, None, -1))
    return array.transpose(..., "y", "x")


def thin(array: xr.DataArray, limit: int) -> xr.DataArray:
    """Return every n-th pixel, so that at most `limit` rows and columns are left."""
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
    """Return the name and color of each number that occurs in `labels`, missing last."""
    numbers = sorted(pd.unique(labels.values.ravel()).tolist())
    has_missing = MISSING_LABEL in numbers
    classes = name_and_color([n for n in numbers if n != MISSING_LABEL], meanings_of(labels), names)
    return classes | ({MISSING_LABEL: ("missing", MISSING_COLOR)} if has_missing else {})


def name_and_color(
    numbers: Sequence[int], meanings: Mapping[int, str], names: Mapping[int, str] | None
) -> dict[int, tuple[str, str]]:
    """Return the name and color of each of `numbers`."""
    beyond = [n for n in numbers if not 0 <= n < len(LABEL_COLORS)]
    if beyond:
        raise ValueError(
            f"no color for the labels {beyond}: there are {len(LABEL_COLORS)} distinguishable "
            f"colors, for labels 0 to {len(LABEL_COLORS) - 1}; use fewer clusters"
        )
    colors = dict(enumerate(LABEL_COLORS))
    if meanings and set(meanings.values()) <= set(CHANGE_COLORS):
        colors |= {n: CHANGE_COLORS[name] for n, name in meanings.items()}
    called = {n: name.replace("_", " ") for n, name in meanings.items()} | dict(names or {})
    return {n: (called.get(n, f"cluster {n}"), colors[n]) for n in numbers}


class MapAxes(NamedTuple):
    """How the coordinates of a map are called and drawn."""

    x: str = "x"
    y: str = "y"
    unit: str = ""  # along the axes
    scale: float = 1  # turns CRS units into it
    aspect: float = 1  # length of a unit of y on the page, in units of x
    view_unit: str = ""  # under the cursor: that of the CRS
    format: str = "{0.00}"  # under the cursor


def axes_of(array: xr.DataArray) -> MapAxes:
    """Return the axes of a map by its CRS: km, degrees, or none without a CRS."""
    crs = crs_of(array)
    if crs is None:
        return MapAxes()
    if crs.is_geographic:
        return degree_axes(array["y"])
    unit = crs.axis_info[0]
    symbol = {"metre": "m"}.get(unit.unit_name, unit.unit_name)
    km = unit.unit_conversion_factor / 1000
    return MapAxes("Easting", "Northing", " (km)", km, 1, f" ({symbol})", "{0,0}")


def degree_axes(latitude: xr.DataArray) -> MapAxes:
    """Return the axes of a map in degrees, to scale at its mean latitude."""
    aspect = 1 / np.cos(np.deg2rad(latitude.mean().item()))
    return MapAxes("Longitude", "Latitude", " (°)", 1, aspect, " (°)", "{0.0000}")


def bounds_of(array: xr.DataArray) -> tuple[float, float, float, float]:
    """Return the outer edges left, bottom, right, top, in CRS units."""
    x, y = array["x"].values, array["y"].values
    dx, dy = (abs(v[-1] - v[0]) / (v.size - 1) / 2 for v in (x, y))
    return x[0] - dx, y[-1] - dy, x[-1] + dx, y[0] + dy
