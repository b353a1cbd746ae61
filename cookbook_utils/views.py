"""Interactive views of scenes, label maps and points, which a web page shows without a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_choice
from cookbook_utils._conventions.grids import crs_of, require_same_grid, transformer
from cookbook_utils._conventions.labels import NODATA_LABEL, as_labels, without_single_band
from cookbook_utils._maps import (
    MapAxes,
    axes_of,
    bounds_of,
    check_labels,
    check_text,
    classes_of,
    degree_axes,
    degrees_of,
    match_points,
    pick_bands,
    stretch,
    thin,
)
from cookbook_utils._palette import MISSING_COLOR

if TYPE_CHECKING:
    import holoviews as hv

VIEW_PIXELS = 400  # an interactive view carries its pixels in the page, so it carries fewer
VIEW_POINTS = 5000
LEGEND_ROWS = 20  # as many as stand beside a map

MAX_FLOWS = 500
"""Bands of a Sankey diagram, more than which no eye follows and HoloViews needs minutes for."""

MAX_TILE_LATITUDE = 85.06
"""Degrees: Web Mercator shows nothing nearer to a pole (EPSG:3857)."""

# GeoViews writes the coordinates of Web Mercator as degrees by itself.
_TILE_AXES = MapAxes("Longitude", "Latitude", " (°)", view_unit=" (°)", format="")


def view_rgb(
    scene: xr.DataArray,
    bands: Sequence[str] = ("red", "green", "blue"),
    *,
    title: str | None = None,
) -> hv.Overlay:
    """Show three bands of a scene as an interactive color image.

    Stretched as in `plotting.plot_rgb`; the cursor shows coordinates and the values of the three
    bands. Views of the same CRS in one layout zoom and pan together. At most 400 rows and columns
    are shown.

    Parameters
    ----------
    scene
        Shape (band, y, x); pixels that are missing or infinite are left transparent. Coordinates in
        any order, evenly spaced.
    bands
        Names of the bands shown as red, green and blue.
    title
        Title of the view.

    Returns
    -------
    holoviews.Overlay
        The image, and an invisible layer with the values that the cursor shows.

    Raises
    ------
    TypeError
        If an argument has the wrong type or the scene does not hold real numbers.
    ValueError
        If a band is absent or there twice, a dimension is wrong, coordinates are not evenly spaced,
        or no pixel is valid.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> scene = xr.DataArray(
    ...     np.random.default_rng(0).random((3, 4, 5)), dims=("band", "y", "x"),
    ...     coords={"band": ["red", "green", "blue"], "y": [3, 2, 1, 0], "x": range(5)})
    >>> view_rgb(scene).RGB.I.dimension_values("R", flat=False).shape
    (4, 5)
    """
    import holoviews as hv
    import holoviews.plotting.bokeh  # noqa: F401  registers the options

    check_text(title)
    picture = pick_bands(scene, bands, VIEW_PIXELS)
    axes = axes_of(picture)
    place = {"bounds": bounds_of(picture), "kdims": ["x", "y"]}
    image = hv.RGB(stretch(picture), vdims=[*"RGBA"], **place)

    # Two bytes a value: 65535 is missing, the rest count steps from the minimum to the maximum.
    numbers = picture.astype("float64")
    low, high = numbers.min(("y", "x")).values, numbers.max(("y", "x")).values
    step = high / 65534 - low / 65534
    step = np.where(step > 0, step, 1)  # of a constant band, any will do
    codes = (numbers.values / step[:, None, None] - (low / step)[:, None, None]).round()
    codes = np.where(np.isnan(codes), 65535, codes).astype("uint16")
    fields = {"first": "@image", "second": "@{second}", "third": "@{third}"}  # as Bokeh calls them
    values = hv.Image(np.dstack(codes), vdims=list(fields), **place)
    scripts = {
        field: f"return value == 65535 ? 'missing' : ({lo} + value * {st}).toPrecision(4)"
        for field, lo, st in zip(fields.values(), low.tolist(), step.tolist(), strict=True)
    }
    called = [str(band) for band in picture["band"].values]
    tooltips = [(b, field + "{custom}") for b, field in zip(called, fields.values(), strict=True)]
    hooks = [_hover_hook(scripts), _axis_hook(axes)]
    values = values.opts(alpha=0, hooks=hooks, **_hover(axes, tooltips), backend="bokeh")
    return (image * values).opts(**_frame(axes, title), backend="bokeh")


def view_labels(
    labels: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    title: str | None = None,
    tiles: str | None = None,
) -> hv.Image | hv.Overlay | hv.HoloMap:
    """Show a label map, water mask or change map, or a series of them, as an interactive map.

    Colors and names are those of `plotting.plot_labels`; the cursor shows the coordinates and the
    name of the class. At most 400 rows and columns are shown.

    Parameters
    ----------
    labels
        Shape (y, x). Whole numbers from 0 to 254 of any dtype; 255, NaN and the declared nodata
        value are missing. Coordinates in any order, evenly spaced. With one dimension more, such as
        (time, y, x), a slider goes through its values, in their order; the page then carries all
        the maps.
    names
        Name of each label number, as in `plotting.plot_labels`.
    title
        Title of the view.
    tiles
        Name of a GeoViews tile source to lay the map over, such as ``"EsriImagery"``. The labels
        are then brought to Web Mercator once, each pixel keeping the label nearest to it, and
        drawn a little transparent; they need a CRS, and must lie between latitudes -85.06 and 85.06
        on one side of the antimeridian. Without a network the background is plain.

    Returns
    -------
    holoviews.Image, holoviews.Overlay or holoviews.HoloMap
        An overlay where `tiles` is given; a HoloMap of either for a series.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a dimension is wrong, a value is no label, coordinates are not evenly spaced, a step of
        the slider is missing or there twice, or map tiles are unknown or cannot lie below the map.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> labels = xr.DataArray(np.uint8([[0, 1], [1, 255]]), dims=("y", "x"),
    ...                       coords={"y": [30, 0], "x": [0, 30]})
    >>> view_labels(labels).dimension_values("label").tolist()
    [1, 0, 255, 1]
    """
    import holoviews as hv

    check_text(title, names)
    labels = without_single_band(labels)
    further = [dim for dim in getattr(labels, "dims", ()) if dim not in ("y", "x")][:1]
    labels = check_labels(labels, *further)
    classes = classes_of(labels, names)
    shown = thin(labels, VIEW_PIXELS)
    if not further:
        return _label_view(shown, classes, title, tiles)
    (dim,) = further
    steps = _steps_of(labels, dim)
    views = [_label_view(one, classes, title, tiles) for one in shown.transpose(dim, ...)]
    if isinstance(steps, pd.DatetimeIndex):
        day = "%Y-%m-%d" if steps.normalize().is_unique else "%Y-%m-%d %H:%M:%S"
        dim = hv.Dimension(str(dim), value_format=lambda time: time.strftime(day))
    return hv.HoloMap(dict(zip(steps, views, strict=True)), kdims=dim)


def _steps_of(labels: xr.DataArray, dim: Hashable) -> pd.Index:
    """Return the steps of a slider along `dim`, each of which must be there once."""
    steps = labels.get_index(dim)
    if isinstance(steps, pd.MultiIndex):
        raise TypeError(f"{dim} of labels must hold one value a map, got the levels {steps.names}")
    if steps.hasnans or not steps.is_unique:
        found = "a missing one" if steps.hasnans else f"{steps[steps.duplicated()][0]} twice"
        raise ValueError(
            f"{dim} of labels must hold each value once and none that is missing, got {found}: a "
            "slider would not show every map"
        )
    return steps


def _label_view(
    shown: xr.DataArray,
    classes: dict[int, tuple[str, str]],
    title: str | None,
    tiles: str | None,
) -> hv.Image | hv.Overlay:
    import holoviews as hv
    import holoviews.plotting.bokeh  # noqa: F401  registers the options

    if tiles is None:
        axes = axes_of(shown)
        image = hv.Image(shown.values, bounds=bounds_of(shown), vdims="label")
        beyond = {"clipping_colors": {"max": MISSING_COLOR}}
    else:
        axes = _TILE_AXES
        background = _tiles(tiles)
        image = _web_mercator_image(shown)
        beyond = {"clipping_colors": {"max": "transparent"}, "alpha": 0.75}
        classes = {number: one for number, one in classes.items() if number != NODATA_LABEL}

    image = image.opts(
        **_classes("@image", classes, axes),
        **beyond,
        **_hover(axes, [("class", "@image{custom}")]),
        backend="bokeh",
    )
    view = image if tiles is None else background * image
    return view.opts(**_frame(axes, title), backend="bokeh")


def view_transitions(
    before: xr.DataArray,
    after: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    title: str | None = None,
) -> hv.Sankey:
    """Show which classes the pixels that changed came from and went to, as a Sankey diagram.

    Bands run from the classes of `before`, left, to those of `after`, right, each as wide as its
    number of pixels. Pixels that kept their class are left out. Colors and names are those of
    `plotting.plot_labels`; the cursor shows both classes and the number of pixels.

    Parameters
    ----------
    before, after
        Label maps (y, x) on one grid, as in `view_labels`.
    names
        Name of each label number, as in `plotting.plot_labels`; no two of one map the same.
    title
        Title of the view.

    Returns
    -------
    holoviews.Sankey

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the grids differ, a value is no label, coordinates are not evenly spaced, two classes
        have one name, no pixel changed, or there are more than `MAX_FLOWS` kinds of change.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> before = xr.DataArray(np.uint8([[0, 0], [1, 255]]), dims=("y", "x"),
    ...                       coords={"y": [30, 0], "x": [0, 30]})
    >>> after = before.copy(data=np.uint8([[0, 2], [2, 1]]))
    >>> view_transitions(before, after, names={0: "sea"}).array().tolist()
    [['sea', 'cluster 2 ', 1], ['cluster 1', 'cluster 2 ', 1]]
    """
    import holoviews as hv
    import holoviews.plotting.bokeh  # noqa: F401  registers the options

    check_text(title, names)
    before, after = check_labels(before, what="before"), check_labels(after, what="after")
    after = require_same_grid(before, after)
    valid = (before.values != NODATA_LABEL) & (after.values != NODATA_LABEL)
    changed = valid & (before.values != after.values)
    if not changed.any():
        raise ValueError(
            "before and after must differ in a pixel that is valid in both, got none of "
            f"{changed.size}"
        )
    # A blank keeps a class on the right apart from the same on the left.
    left, right = _nodes_of(before, names, "before", ""), _nodes_of(after, names, "after", " ")
    pairs = np.stack([labels.values[changed] for labels in (before, after)])
    (ones, twos), pixels = np.unique(pairs, axis=1, return_counts=True)
    if len(pixels) > MAX_FLOWS:
        raise ValueError(
            f"before and after must have at most {MAX_FLOWS} kinds of change to be drawn, got "
            f"{len(pixels)}: merge classes, or count with metrics.transition_matrix"
        )
    flows = [
        (left[one][0], right[two][0], count)
        for one, two, count in zip(ones.tolist(), twos.tolist(), pixels.tolist(), strict=True)
    ]
    colors = dict([*left.values(), *right.values()])
    view = hv.Sankey(flows, ["before", "after"], "pixels")
    return view.opts(
        cmap=colors, edge_color="before", node_color="index", label_position="outer",
        node_padding=12, node_size=0, show_values=False, width=640, height=360, title=_title(title),
        backend="bokeh",
    )  # fmt: skip


def _nodes_of(
    labels: xr.DataArray, names: Mapping[int, str] | None, what: str, end: str
) -> dict[int, tuple[str, str]]:
    """Return the name, with `end` after it, and the color of each class of one side."""
    nodes = {
        n: (name.strip() + end, color) for n, (name, color) in classes_of(labels, names).items()
    }
    called = [name for name, _ in nodes.values()]
    if twice := {name for name in called if called.count(name) > 1}:
        raise ValueError(
            f"the classes of {what} must have different names, got {sorted(twice)} more than once: "
            "their bands would be drawn as one"
        )
    return nodes


def view_points(
    points: xr.Dataset,
    labels: xr.DataArray | np.ndarray,
    *,
    names: Mapping[int, str] | None = None,
    title: str | None = None,
    tiles: str | None = None,
) -> hv.Points | hv.Overlay:
    """Show points, colored by cluster or regime, as an interactive map.

    Colors and names are those of `plotting.plot_points`; the cursor shows longitude, latitude and
    the name of the class. Of more than 5000 points, 5000 are shown, picked at even steps through
    their order.

    Parameters
    ----------
    points
        Coordinates ``longitude`` and ``latitude`` (point), degrees.
    labels
        Shape (point). Whole numbers from 0 to 254 of any dtype; 255, NaN and the declared nodata
        value are missing.
    names
        Name of each label number, as in `plotting.plot_points`.
    title
        Title of the view.
    tiles
        Name of a GeoViews tile source to lay the points over, such as ``"EsriImagery"``; they must
        lie between latitudes -85.06 and 85.06. Without a network the background is plain.

    Returns
    -------
    holoviews.Points or holoviews.Overlay
        An overlay where `tiles` is given.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or labels are not real numbers.
    ValueError
        If the labels do not match the points, a coordinate is missing, a value is no label, or map
        tiles are unknown or cannot lie below the points.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> points = xr.Dataset(coords={"longitude": ("point", [20.1, 20.2, 20.3]),
    ...                             "latitude": ("point", [69.5, 69.6, 69.5])})
    >>> view_points(points, np.uint8([0, 2, 1])).dimension_values("label").tolist()
    [0, 2, 1]
    """
    import holoviews as hv
    import holoviews.plotting.bokeh  # noqa: F401  registers the options

    check_text(title, names)
    longitude, latitude = degrees_of(points)
    labels = as_labels(match_points(labels, points, "labels"), "labels", ["point"])
    classes = classes_of(labels, names)
    count = min(labels.size, VIEW_POINTS)
    chosen = np.arange(count) * labels.size // count
    chosen = chosen[np.argsort(labels.values[chosen] != NODATA_LABEL, kind="stable")]
    place = {"longitude": longitude.values[chosen], "latitude": latitude.values[chosen]}
    degrees, limits = degree_axes(latitude), {}
    if tiles is None:
        axes, element, kdims, options = degrees, hv.Points, list(place), {}
    else:
        import geoviews as gv
        from cartopy.crs import GOOGLE_MERCATOR

        background = _tiles(tiles)
        _require_tiles_at(float(latitude.min()), float(latitude.max()), "points")
        mercator = transformer("EPSG:4326", "EPSG:3857")
        place["x"], place["y"] = mercator.transform(*place.values())
        axes, element, kdims = _TILE_AXES, gv.Points, ["x", "y"]
        options = {"crs": GOOGLE_MERCATOR}
        if np.ptp(place["x"]) == 0 or np.ptp(place["y"]) == 0:  # no extent, so no zoom of the tiles
            limits = {f"{k}lim": (place[k].min() - 1000, place[k].max() + 1000) for k in "xy"}
    columns = {name: values.astype("float32") for name, values in place.items()}
    columns["label"] = labels.values[chosen]
    shown = element(columns, kdims, [name for name in columns if name not in kdims], **options)
    shown = shown.opts(
        # As integers, the labels of a single class would be taken for one color code.
        color=hv.dim("label").astype("float32"),
        size=float(np.clip(150 / np.sqrt(count), 2, 8)),
        **_classes("@{label}", classes, axes),
        clipping_colors={"max": MISSING_COLOR},
        **_hover(degrees, [("class", "@{label}{custom}")], "@longitude", "@latitude"),
        backend="bokeh",
    )
    view = shown if tiles is None else background * shown
    return view.opts(**_frame(axes, title), **limits, backend="bokeh")


def _classes(field: str, classes: Mapping[int, tuple[str, str]], axes: MapAxes) -> dict[str, Any]:
    """Return the options that color the label numbers in `field` and say their names."""
    called = {number: name for number, (name, _) in classes.items()}
    scripts = {field: f"return {json.dumps(called)}[value] ?? 'missing'"}
    # Bokeh draws the numbers above those with a color, which are the missing, as "max".
    top = max((n for n in classes if n != NODATA_LABEL), default=0)
    return {
        "cmap": [classes[n][1] if n in classes else MISSING_COLOR for n in range(top + 1)],
        "clim": (-0.5, top + 0.5),
        "hooks": [_hover_hook(scripts), _legend_hook(classes.values()), _axis_hook(axes)],
    }


def _tiles(name: str) -> hv.Element:
    """Return a GeoViews tile source by its name."""
    import geoviews as gv

    sources = gv.tile_sources.tile_sources
    return sources[require_choice(name, "tiles", list(sources))]


def _require_tiles_at(south: float, north: float, what: str) -> None:
    """Raise ValueError unless latitudes are such as Web Mercator shows."""
    if not -MAX_TILE_LATITUDE <= south <= north <= MAX_TILE_LATITUDE:
        raise ValueError(
            f"{what} must lie between the latitudes {-MAX_TILE_LATITUDE} and {MAX_TILE_LATITUDE} "
            f"to be laid over map tiles, got {south:.4f} to {north:.4f}: show them without tiles"
        )


def _web_mercator_image(labels: xr.DataArray) -> hv.Image:
    """Return `labels` reprojected to Web Mercator by nearest neighbor, 255 outside."""
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
    degrees = transformer(crs, "EPSG:4326")
    west, south, east, north = degrees.transform_bounds(*bounds_of(labels))
    _require_tiles_at(south, north, "labels")
    if not west < east or west < -180 < east or west < 180 < east:
        raise ValueError(
            "labels must lie on one side of the antimeridian to be laid over map tiles, got "
            f"longitudes from {west:.4f} to {east:.4f}: show them without tiles"
        )
    # GDAL would choose square pixels, and lose columns or rows of a map whose own are not square.
    bounds = transformer(crs, "EPSG:3857").transform_bounds(*bounds_of(labels))
    ny, nx = (min(2 * labels.sizes[dim], VIEW_PIXELS) for dim in ("y", "x"))
    labels = labels.rio.reproject(
        "EPSG:3857", shape=(ny, nx), transform=from_bounds(*bounds, nx, ny),
        resampling=Resampling.nearest, nodata=NODATA_LABEL,
    )  # fmt: skip
    return gv.Image(labels.values, bounds=bounds, vdims="label", crs=GOOGLE_MERCATOR)


# The hooks below run at each drawing and make new models: Bokeh lets no two documents share one.


def _hover_hook(scripts: Mapping[str, str]) -> Callable:
    """Return the hook that formats fields under the cursor by JavaScript."""

    def hook(plot, element):
        from bokeh.models import CustomJSHover

        hover = plot.handles["hover"]
        custom = {field: CustomJSHover(code=code) for field, code in scripts.items()}
        hover.formatters = hover.formatters | custom

    return hook


def _legend_hook(entries: Iterable[tuple[str, str]]) -> Callable:
    """Return the hook that puts a legend of names and colors to the right of a view."""
    entries = list(entries)

    def hook(plot, element):
        from bokeh.models import Legend, LegendItem

        if not entries or plot.state.legend:  # a slider draws the same figure again and again
            return

        def patches(colors):
            nowhere = np.full(len(colors), np.nan)
            return plot.state.scatter(nowhere, nowhere, marker="square", size=14, color=colors)

        # A page with hundreds of glyphs takes half a minute to open, so one glyph has all patches.
        # But HoloViews takes entries that share a glyph out of the legend of an overlay.
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
        columns = -(-len(items) // LEGEND_ROWS)
        size = {"label_text_font_size": "8px", "spacing": 0, "label_height": 12, "glyph_height": 12}
        legend = Legend(
            items=items, ncols=columns, border_line_color=None, padding=0,
            **(size if columns > 2 else {}),
        )  # fmt: skip
        plot.state.add_layout(legend, "right")

    return hook


def _axis_hook(axes: MapAxes) -> Callable:
    """Return the hook that writes ticks in the units of the static figures."""

    def hook(plot, element):
        from bokeh.models import CustomJSTickFormatter

        code = f"return +(tick * {axes.scale}).toPrecision(6)"
        for axis in plot.state.axis if axes.scale != 1 else ():
            axis.formatter = CustomJSTickFormatter(code=code)

    return hook


def _hover(
    axes: MapAxes, tooltips: list[tuple[str, str]], x: str = "$x", y: str = "$y"
) -> dict[str, Any]:
    """Return the options that show the fields `x` and `y` and `tooltips` under the cursor."""
    place = [
        (axes.x + axes.view_unit, x + axes.format),
        (axes.y + axes.view_unit, y + axes.format),
    ]
    return {"tools": ["hover"], "hover_tooltips": place + tooltips}


def _frame(axes: MapAxes, title: str | None) -> dict[str, Any]:
    """Return the options for the size, shape and axes of an interactive map."""
    return {
        "frame_width": 240,
        "data_aspect": axes.aspect,
        "xlabel": axes.x + axes.unit,
        "ylabel": axes.y + axes.unit,
        "xticks": 4,
        "title": _title(title),
    }


def _title(title: str | None) -> str:
    """Return a title in which HoloViews takes no braces for fields of its own."""
    return (title or "").replace("{", "{{").replace("}", "}}")
