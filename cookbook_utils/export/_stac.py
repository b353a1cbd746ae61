"""STAC items beside exported files: where, when, and which classes."""

from __future__ import annotations

import json
import re
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils import __version__
from cookbook_utils._checks import shown
from cookbook_utils._conventions.grids import transformer
from cookbook_utils.export._classes import LabelClass
from cookbook_utils.export._install import ITEM, need

if TYPE_CHECKING:
    import pyproj

CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
Period = tuple[datetime, datetime] | None
"""First and last time; equal for one moment, None if unknown."""


class Content(NamedTuple):
    """What an item says of a file."""

    media_type: str
    title: str
    crs: pyproj.CRS
    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top, in the CRS."""
    period: Period
    classes: list[LabelClass]
    nodata: int | None = None
    shape: tuple[int, int] | None = None
    transform: Any = None
    dtype: str | None = None


# -- time ---------------------------------------------------------------------------------------


def period_of(data: xr.DataArray | xr.Dataset | None, time: Any) -> Period:
    """Return the period of the argument `time`, or of the coordinate ``time`` if it is None.

    Raises
    ------
    TypeError
        If `time` is neither a date, text, nor a pair of them.
    ValueError
        If a text is not a date, or the second one is earlier than the first.
    ImportError
        If there is a period, and no package for the item.
    """
    period = _period_of_coordinate(data) if time is None else _period_of_argument(time)
    if period is not None:
        need("pystac")  # before anything is computed
    return period


def _period_of_argument(time: Any) -> Period:
    pair = time if isinstance(time, tuple | list) else (time, time)
    if len(pair) != 2:
        raise ValueError(f"time must be a date, or the first and the last one, got {shown(time)}")
    first, last = (_moment(value) for value in pair)
    if last < first:
        raise ValueError(f"time must be two dates in their order, got {first} and {last}")
    return first, last


def _period_of_coordinate(data: xr.DataArray | xr.Dataset | None) -> Period:
    if data is None or "time" not in data.coords:
        return None
    times = np.ravel(data["time"].values)
    if times.dtype.kind not in "MOU" or not times.size or pd.isna(times).any():
        return None
    moments = [_moment(times[at] if times.dtype.kind == "M" else str(times[at])) for at in (0, -1)]
    return min(moments), max(moments)


def _moment(value: Any) -> datetime:
    """Return a date as a datetime in UTC, which is assumed where there is no time zone."""
    wanted = "time must be a date such as 2020-01-03, or two"
    if not isinstance(value, str | datetime | np.datetime64) and not hasattr(value, "isoformat"):
        raise TypeError(f"{wanted}, got {shown(value)}")
    try:
        moment = pd.Timestamp(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{wanted}, got {shown(value)}") from None
    if pd.isna(moment):
        raise ValueError(f"{wanted}, got {shown(value)}")
    moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    return moment.floor("us").to_pydatetime().replace(tzinfo=UTC)


# -- items --------------------------------------------------------------------------------------


def write_item(path: Path, content: Content) -> None:
    """Write the STAC item of a file beside it, or warn if the time, which it needs, is unknown."""
    if content.period is None:
        warnings.warn(
            f"{path.name} gets no STAC item, which needs a time: pass `time`, or give the data the "
            "coordinate time",
            UserWarning,
            stacklevel=3,
        )
        return
    text = json.dumps(_item(path, content), indent=1, ensure_ascii=False)
    path.with_name(path.name + ITEM).write_text(text + "\n", encoding="utf-8")


def _item(path: Path, content: Content) -> dict[str, Any]:
    """Return the item of a file as a dictionary."""
    import pystac
    from pystac.extensions.projection import ProjectionExtension

    first, last = content.period
    bbox, geometry = footprint(content.crs, content.bounds)
    item = pystac.Item(
        path.name,
        geometry,
        bbox,
        first if first == last else None,
        {"title": content.title, "cookbook_utils:version": __version__},
        **({} if first == last else {"start_datetime": first, "end_datetime": last}),
    )
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    code = content.crs.to_epsg()
    projection.apply(
        epsg=code,
        wkt2=None if code else content.crs.to_wkt(),
        bbox=list(content.bounds),
        shape=None if content.shape is None else list(content.shape),
        transform=None if content.transform is None else list(content.transform)[:6],
    )
    fields: dict[str, Any] = {}
    if content.classes:
        item.stac_extensions.append(CLASSIFICATION)
        fields["classification:classes"] = stac_classes(content.classes, content.nodata)
    if content.dtype is not None:
        fields |= {"data_type": content.dtype, "nodata": content.nodata}
    item.add_asset(
        "data",
        pystac.Asset(
            f"./{path.name}", content.title, None, content.media_type, ["data"],
            extra_fields=fields,
        ),
    )  # fmt: skip
    return item.to_dict(include_self_link=False)


def stac_classes(classes: list[LabelClass], nodata: int | None) -> list[dict[str, Any]]:
    """Return classes as the classification extension describes them.

    A name there has only letters of ASCII, digits, ``-`` and ``_``; the title is as given.
    """
    result, taken = [], set()
    for one in classes:
        name = re.sub(r"[^0-9A-Za-z_-]+", "_", one.title.strip())
        while name.strip("_") == "" or name in taken:
            name = f"{name}_{one.number}"
        taken.add(name)
        entry = {"value": one.number, "name": name, "title": one.title}
        result.append(entry | {"description": one.title, "color_hint": one.color[1:].upper()})
        if one.number == nodata:
            result[-1]["nodata"] = True
    return result


def footprint(
    crs: pyproj.CRS, bounds: tuple[float, float, float, float]
) -> tuple[list[float], dict[str, Any]]:
    """Return the bounding box in longitude and latitude, and the outline as GeoJSON.

    The sides of the box are curves there, and are drawn with 21 points each. An area across the
    antimeridian has two parts. Longitudes are from -180 to 180, also where those of the map are
    from 0 to 360.
    """
    left, bottom, right, top = bounds
    to_degrees = transformer(crs, "OGC:CRS84")
    west, south, east, north = to_degrees.transform_bounds(left, bottom, right, top, densify_pts=21)
    if not np.isfinite([west, south, east, north]).all():
        raise ValueError(
            "labels must lie where their CRS can be converted to longitude and latitude, got the "
            f"bounds {bounds} in {crs.name}"
        )
    turns = 0.0
    if east - west >= 360:
        west, east = -180.0, 180.0
    elif east > 180 or west < -180:  # only in a geographic CRS, which is not transformed
        turns = 360 * np.floor((west + 180) / 360)
        west, east = west - turns, east - turns
        east -= 360 * (east > 180)
    bbox = [float(value) for value in (west, south, east, north)]
    if west > east:
        parts = [[box(west, south, 180, north)], [box(-180, south, east, north)]]
        return bbox, {"type": "MultiPolygon", "coordinates": parts}
    share = np.linspace(0, 1, 21)
    x = np.concatenate([left + (right - left) * share, np.full(20, right),
                        right + (left - right) * share[1:], np.full(20, left)])  # fmt: skip
    y = np.concatenate([np.full(21, bottom), bottom + (top - bottom) * share[1:],
                        np.full(20, top), top + (bottom - top) * share[1:]])  # fmt: skip
    longitude, latitude = to_degrees.transform(x, y)
    ring = np.stack([longitude - turns, latitude], axis=1)
    if not np.isfinite(ring).all() or np.ptp(longitude) > 180:
        return bbox, {"type": "Polygon", "coordinates": [box(*bbox)]}
    ring[-1] = ring[0]
    return bbox, {"type": "Polygon", "coordinates": [ring.tolist()]}


def box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    """Return a rectangle as a closed ring, counterclockwise."""
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]
