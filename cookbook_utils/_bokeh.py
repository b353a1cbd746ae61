"""Options, hooks, legends and map tiles of the interactive views, drawn by HoloViews with Bokeh.

Hooks run each time a view is drawn and make new models then, since a Bokeh model belongs to one
document only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_choice
from cookbook_utils._conventions.grids import crs_of, transformer
from cookbook_utils._conventions.labels import nodata_label
from cookbook_utils._maps import LEGEND_ENTRIES, LEGEND_ROWS, MapAxes, bounds_of
from cookbook_utils._palette import NODATA_COLOR

if TYPE_CHECKING:
    import holoviews as hv

VIEW_PIXELS = 400
"""Largest number of rows or columns of an interactive view, whose pixels are part of the page."""

VIEW_POINTS = 5000
"""Largest number of points of an interactive view."""

MAX_TILE_LATITUDE = 85.06
"""Northern and southern limit of Web Mercator (EPSG:3857), in degrees."""

FRAME_WIDTH = 240
"""Width of a map in pixels: with its axis it fits a phone, and two of them a page."""

LETTER_WIDTH, PATCH_WIDTH = 7, 30
"""Approximate widths in a legend of a letter, and of a patch with the space around, in pixels."""

N_TICKS = 4
"""Number of ticks to aim at along each axis."""

TILE_AXES = MapAxes("Longitude", "Latitude", " (°)", decimals=None)
"""Axes of a view over map tiles, whose coordinates GeoViews converts to degrees."""

_NODATA_CODE = 65535


def load_holoviews() -> ModuleType:
    """Return HoloViews with the options of Bokeh registered."""
    import holoviews
    import holoviews.plotting.bokeh  # noqa: F401

    return holoviews


# -- Options --------------------------------------------------------------------------------------


def map_options(axes: MapAxes, title: str | None) -> dict[str, Any]:
    """Return the options for the size, shape, axes and title of a map."""
    return {
        "frame_width": FRAME_WIDTH,
        "data_aspect": axes.aspect,
        "xlabel": axes.x_label,
        "ylabel": axes.y_label,
        "title": escape_title(title),
    }


def escape_title(title: str | None) -> str:
    """Return a title in which HoloViews does not format braces."""
    return (title or "").replace("{", "{{").replace("}", "}}")


def hover_rows(
    axes: MapAxes, values: Mapping[str, tuple[str, str]], x: str = "$x", y: str = "$y"
) -> dict[str, tuple[str, str]]:
    """Return the rows that the cursor shows: for each title a field and its JavaScript.

    Parameters
    ----------
    axes
        Axes that name and scale the coordinates.
    values
        Further rows.
    x, y
        Fields of the coordinates: the position of the cursor, or columns of the data.
    """
    script = ""  # Bokeh formats the coordinates
    if axes.decimals is not None:
        script = f"return (value * {axes.scale}).toFixed({axes.decimals})"
    return {axes.x_label: (x, script), axes.y_label: (y, script), **values}


def hover_options(rows: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the options that show `rows` under the cursor; `hover_hook` formats them."""
    tooltips = [
        (title, field + "{custom}" if script else field) for title, (field, script) in rows.items()
    ]
    return {"tools": ["hover"], "hover_tooltips": tooltips}


def class_options(classes: Mapping[int, tuple[str, str]], dtype: np.dtype) -> dict[str, Any]:
    """Return the options that color label numbers of a dtype."""
    # Bokeh draws numbers above the last color, which is only nodata, as "max".
    top = max((n for n in classes if n != nodata_label(dtype)), default=0)
    return {
        "cmap": [classes[n][1] if n in classes else NODATA_COLOR for n in range(top + 1)],
        "clim": (-0.5, top + 0.5),
    }


def class_row(field: str, classes: Mapping[int, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Return the row under the cursor that names the label number in `field`."""
    names = {number: name for number, (name, _) in classes.items()}
    return {"class": (field, f"return {json.dumps(names)}[value] ?? 'nodata'")}


# -- Hooks ----------------------------------------------------------------------------------------


def hover_hook(rows: Mapping[str, tuple[str, str]]) -> Callable:
    """Return the hook that formats the fields of `rows` by their JavaScript."""

    def hook(plot, element):
        from bokeh.models import CustomJSHover

        hover = plot.handles["hover"]
        custom = {field: CustomJSHover(code=code) for field, code in rows.values() if code}
        hover.formatters = hover.formatters | custom

    return hook


def axis_hook(axes: MapAxes) -> Callable:
    """Return the hook that labels about `N_TICKS` ticks in the unit of the axes."""

    def hook(plot, element):
        from bokeh.models import CustomJSTickFormatter

        code = f"return +(tick * {axes.scale}).toPrecision(6)"
        for axis in plot.state.axis:
            axis.ticker.desired_num_ticks = N_TICKS  # GeoViews replaces the ticker of HoloViews
            if axes.scale != 1:
                axis.formatter = CustomJSTickFormatter(code=code)

    return hook


def legend_hook(classes: Mapping[int, tuple[str, str]]) -> Callable:
    """Return the hook that adds a legend of the classes below a view, or a long one beside it.

    It adds none for more than `LEGEND_ENTRIES` classes.
    """
    entries = list(dict.fromkeys(classes.values()))

    def hook(plot, element):
        few = 0 < len(entries) <= LEGEND_ENTRIES
        if few and not plot.state.legend:  # each step of a slider redraws the same figure
            _add_legend(plot, entries)

    return hook


def _add_legend(plot: Any, entries: list[tuple[str, str]]) -> None:
    from bokeh.models import Legend, LegendItem

    def patches(colors):
        nowhere = np.full(len(colors), np.nan)
        return plot.state.scatter(nowhere, nowhere, marker="square", size=14, color=colors)

    # One glyph holds all patches, because a page with hundreds of glyphs takes half a minute to
    # open. In an overlay each patch needs its own: HoloViews drops entries that share a glyph.
    colors = [color for _, color in entries]
    if plot.overlaid:
        glyphs = [(patches([color]), 0) for color in colors]
    else:
        shared = patches(colors)
        glyphs = [(shared, index) for index in range(len(colors))]
    items = [
        LegendItem(label={"value": name}, renderers=[glyph], index=index)
        for (name, _), (glyph, index) in zip(entries, glyphs, strict=True)
    ]
    place, columns = "right", -(-len(items) // LEGEND_ROWS)
    if columns == 1:  # a phone, or two views side by side, have no room at the right
        longest = max(len(name) for name, _ in entries)
        place, columns = "below", max(1, FRAME_WIDTH // (LETTER_WIDTH * longest + PATCH_WIDTH))
    small = {"label_text_font_size": "8px", "spacing": 0, "label_height": 12, "glyph_height": 12}
    legend = Legend(
        items=items, ncols=columns, border_line_color=None, padding=0,
        **(small if columns > 2 else {}),
    )  # fmt: skip
    plot.state.add_layout(legend, place)


# -- Values under the cursor ----------------------------------------------------------------------


def band_values(picture: xr.DataArray) -> tuple[hv.Image, dict[str, tuple[str, str]]]:
    """Return an image with the values of three bands, and the rows that the cursor shows.

    A value takes two bytes: 65535 is nodata, and the other codes are steps from the minimum to the
    maximum of the band.
    """
    numbers = picture.astype("float64")
    low, high = numbers.min(("y", "x")).values, numbers.max(("y", "x")).values
    step = high / 65534 - low / 65534
    step = np.where(step > 0, step, 1)  # any step serves a constant band
    codes = (numbers.values / step[:, None, None] - (low / step)[:, None, None]).round()
    codes = np.where(np.isnan(codes), _NODATA_CODE, codes).astype("uint16")
    fields = {"first": "@image", "second": "@{second}", "third": "@{third}"}  # names in Bokeh
    image = load_holoviews().Image(
        np.dstack(codes), vdims=list(fields), bounds=bounds_of(picture), kdims=["x", "y"]
    )
    bands = [str(band) for band in picture["band"].values]
    rows = {}
    for band, field, lo, st in zip(
        bands, fields.values(), low.tolist(), step.tolist(), strict=True
    ):
        code = f"value == {_NODATA_CODE} ? 'nodata' : ({lo} + value * {st}).toPrecision(4)"
        rows[band] = (field, f"return {code}")
    return image, rows


# -- Map tiles ------------------------------------------------------------------------------------


def tile_source(name: str) -> hv.Element:
    """Return a GeoViews tile source by its name."""
    import geoviews as gv

    sources = gv.tile_sources.tile_sources
    return sources[require_choice(name, "tiles", list(sources))]


def require_tile_latitudes(south: float, north: float, what: str) -> None:
    """Raise ValueError unless latitudes lie within the limits of Web Mercator."""
    if not -MAX_TILE_LATITUDE <= south <= north <= MAX_TILE_LATITUDE:
        raise ValueError(
            f"{what} must lie between the latitudes {-MAX_TILE_LATITUDE} and {MAX_TILE_LATITUDE} "
            f"to be laid over map tiles, got {south:.4f} to {north:.4f}: show them without tiles"
        )


def web_mercator_image(labels: xr.DataArray) -> hv.Image:
    """Return `labels` reprojected to Web Mercator by nearest neighbor, nodata outside."""
    import geoviews as gv
    from cartopy.crs import GOOGLE_MERCATOR
    from rasterio.enums import Resampling
    from rasterio.transform import from_bounds

    crs = crs_of(labels)
    if crs is None or not (crs.is_geographic or crs.is_projected):
        raise ValueError(
            "labels must have a geographic or projected CRS to be laid over map tiles, got "
            f"{crs.name if crs else 'none'}: set it with labels.rio.write_crs"
        )
    west, south, east, north = transformer(crs, "EPSG:4326").transform_bounds(*bounds_of(labels))
    require_tile_latitudes(south, north, "labels")
    if not west < east or west < -180 < east or west < 180 < east:
        raise ValueError(
            "labels must lie on one side of the antimeridian to be laid over map tiles, got "
            f"longitudes from {west:.4f} to {east:.4f}: show them without tiles"
        )
    # By default GDAL makes square pixels, which loses rows or columns of oblong ones.
    bounds = transformer(crs, "EPSG:3857").transform_bounds(*bounds_of(labels))
    ny, nx = (min(2 * labels.sizes[dim], VIEW_PIXELS) for dim in ("y", "x"))
    labels = labels.rio.reproject(
        "EPSG:3857", shape=(ny, nx), transform=from_bounds(*bounds, nx, ny),
        resampling=Resampling.nearest, nodata=nodata_label(labels.dtype),
    )  # fmt: skip
    return gv.Image(labels.values, bounds=bounds, vdims="label", crs=GOOGLE_MERCATOR)


def web_mercator_points(
    columns: Mapping[str, np.ndarray],
) -> tuple[hv.Points, dict[str, tuple[float, float]]]:
    """Return points in Web Mercator, and the axis limits for points without an extent."""
    import geoviews as gv
    from cartopy.crs import GOOGLE_MERCATOR

    mercator = transformer("EPSG:4326", "EPSG:3857")
    x, y = mercator.transform(columns["longitude"], columns["latitude"])
    limits = {}
    if np.ptp(x) == 0 or np.ptp(y) == 0:  # without an extent tiles have no zoom level
        limits = {
            "xlim": (x.min() - 1000, x.max() + 1000),
            "ylim": (y.min() - 1000, y.max() + 1000),
        }
    place = {"x": x.astype("float32"), "y": y.astype("float32")}
    points = gv.Points({**place, **columns}, ["x", "y"], list(columns), crs=GOOGLE_MERCATOR)
    return points, limits
