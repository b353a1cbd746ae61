"""Interactive views of scenes, label maps and points that a web page shows without a server."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils import _bokeh
from cookbook_utils._bokeh import MAX_TILE_LATITUDE, VIEW_PIXELS, VIEW_POINTS
from cookbook_utils._conventions.grids import require_same_grid
from cookbook_utils._conventions.labels import as_labels, nodata_label, without_single_band
from cookbook_utils._maps import (
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
from cookbook_utils._palette import NODATA_COLOR

if TYPE_CHECKING:
    import holoviews as hv

__all__ = [
    "MAX_FLOWS",
    "MAX_TILE_LATITUDE",
    "view_labels",
    "view_points",
    "view_rgb",
    "view_transitions",
]

MAX_FLOWS = 500
"""Largest number of flows of a Sankey diagram; HoloViews would need minutes for more."""


def view_rgb(
    scene: xr.DataArray,
    *,
    bands: Sequence[str] = ("red", "green", "blue"),
    title: str | None = None,
) -> hv.Overlay:
    """Show three bands of a scene as an interactive color image.

    The stretch is that of `plotting.plot_rgb`. The cursor shows coordinates and the values of the
    three bands. Views of the same CRS in one layout zoom and pan together. Larger scenes are
    thinned out to at most 400 rows and columns.

    Parameters
    ----------
    scene : xarray.DataArray
        Scene (band, y, x) of any real dtype and units. Pixels that are nodata, NaN or infinite in
        one of the bands are transparent. Coordinates are evenly spaced, in any order.
    bands : sequence of str, default ("red", "green", "blue")
        Names of the bands shown as red, green and blue.
    title : str, optional
        Title of the view.

    Returns
    -------
    holoviews.Overlay
        The image, and a transparent image with the values that the cursor shows.

    Raises
    ------
    TypeError
        If an argument has the wrong type or the scene does not hold real numbers.
    ValueError
        If a band is absent or duplicated, a dimension is wrong, the coordinates are not evenly
        spaced, or no pixel is valid.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> scene = xr.DataArray(
    ...     np.random.default_rng(0).random((3, 4, 5)), dims=("band", "y", "x"),
    ...     coords={"band": ["red", "green", "blue"], "y": [3, 2, 1, 0], "x": range(5)})
    >>> view_rgb(scene).RGB.I.dimension_values("R", flat=False).shape
    (4, 5)
    """
    check_text(title)
    picture = pick_bands(scene, bands, VIEW_PIXELS)
    axes = axes_of(picture)
    hv = _bokeh.load_holoviews()
    image = hv.RGB(stretch(picture), vdims=[*"RGBA"], bounds=bounds_of(picture), kdims=["x", "y"])
    values, band_rows = _bokeh.band_values(picture)
    rows = _bokeh.hover_rows(axes, band_rows)
    values = values.opts(
        alpha=0,
        **_bokeh.hover_options(rows),
        hooks=[_bokeh.hover_hook(rows), _bokeh.axis_hook(axes)],
        backend="bokeh",
    )
    return (image * values).opts(**_bokeh.map_options(axes, title), backend="bokeh")


def view_labels(
    labels: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    title: str | None = None,
    tiles: str | None = None,
) -> hv.Image | hv.Overlay | hv.HoloMap:
    """Show a label map, or a series of label maps with a slider, as an interactive map.

    Colors and names are those of `plotting.plot_labels`. The cursor shows coordinates and the name
    of the class. Larger maps are thinned out to at most 400 rows and columns.

    Parameters
    ----------
    labels : xarray.DataArray
        Label map (y, x), or a series with one more dimension such as (time, y, x), of which the
        page holds every map. Values are those of `plotting.plot_labels`. Coordinates are evenly
        spaced, in any order.
    names : mapping of int to str, optional
        Name of each label, as in `plotting.plot_labels`.
    title : str, optional
        Title of the view.
    tiles : str, optional
        Name of a GeoViews tile source shown below the map, such as ``"EsriImagery"``. Labels are
        reprojected to Web Mercator by nearest neighbor and drawn slightly transparent. They need a
        CRS, latitudes from -85.06 to 85.06, and must not cross the antimeridian. Without network
        access the background is empty.

    Returns
    -------
    holoviews.Image, holoviews.Overlay or holoviews.HoloMap
        An Image, or an Overlay with `tiles`; a HoloMap of either for a series.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a dimension is wrong, a value is not a label, the coordinates are not evenly spaced, a
        step of the slider is NaN or duplicated, or tiles are unknown or cannot be shown there.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> labels = xr.DataArray(np.uint8([[0, 1], [1, 255]]), dims=("y", "x"),
    ...                       coords={"y": [30, 0], "x": [0, 30]})
    >>> view_labels(labels).dimension_values("label").tolist()
    [1, 0, 255, 1]
    """
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
    hv = _bokeh.load_holoviews()
    if isinstance(steps, pd.DatetimeIndex):
        day = "%Y-%m-%d" if steps.normalize().is_unique else "%Y-%m-%d %H:%M:%S"
        dim = hv.Dimension(str(dim), value_format=lambda time: time.strftime(day))
    return hv.HoloMap(dict(zip(steps, views, strict=True)), kdims=dim)


def _steps_of(labels: xr.DataArray, dim: Hashable) -> pd.Index:
    """Return the steps of a slider along `dim`, or raise unless they are valid and distinct."""
    steps = labels.get_index(dim)
    if isinstance(steps, pd.MultiIndex):
        raise TypeError(
            f"{dim} of labels must hold one value for each map, got the levels {steps.names}"
        )
    if steps.hasnans or not steps.is_unique:
        found = "NaN or NaT" if steps.hasnans else f"{steps[steps.duplicated()][0]} twice"
        raise ValueError(f"{dim} of labels must hold each value once, got {found}")
    return steps


def _label_view(
    shown: xr.DataArray,
    classes: dict[int, tuple[str, str]],
    title: str | None,
    tiles: str | None,
) -> hv.Image | hv.Overlay:
    """Return the view of one label map."""
    hv = _bokeh.load_holoviews()
    if tiles is None:
        axes = axes_of(shown)
        image = hv.Image(shown.values, bounds=bounds_of(shown), vdims="label")
        nodata = {"clipping_colors": {"max": NODATA_COLOR}}
    else:
        axes = _bokeh.TILE_AXES
        background = _bokeh.tile_source(tiles)
        image = _bokeh.web_mercator_image(shown)
        nodata = {"clipping_colors": {"max": "transparent"}, "alpha": 0.75}
        hidden = nodata_label(shown.dtype)
        classes = {number: one for number, one in classes.items() if number != hidden}
    rows = _bokeh.hover_rows(axes, _bokeh.class_row("@image", classes))
    image = image.opts(
        **_bokeh.class_options(classes, shown.dtype),
        **_bokeh.hover_options(rows),
        **nodata,
        hooks=[_bokeh.hover_hook(rows), _bokeh.legend_hook(classes), _bokeh.axis_hook(axes)],
        backend="bokeh",
    )
    view = image if tiles is None else background * image
    return view.opts(**_bokeh.map_options(axes, title), backend="bokeh")


def view_transitions(
    before: xr.DataArray,
    after: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    title: str | None = None,
) -> hv.Sankey:
    """Show the class transitions between two label maps as a Sankey diagram.

    Flows lead from the classes of `before` on the left to those of `after` on the right; their
    width is the number of pixels. Pixels that kept their class are left out. Colors and names are
    those of `plotting.plot_labels`. The cursor shows both classes and the number of pixels.

    Parameters
    ----------
    before : xarray.DataArray
        Label map (y, x) of the first date, as in `view_labels`.
    after : xarray.DataArray
        Label map of the second date, on the same grid.
    names : mapping of int to str, optional
        Name of each label, as in `plotting.plot_labels`. The names of one map must differ.
    title : str, optional
        Title of the view.

    Returns
    -------
    holoviews.Sankey
        The diagram, with the columns before, after and pixels.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the grids differ, a value is not a label, the coordinates are not evenly spaced, two
        classes have one name, no pixel changed, or there are more than `MAX_FLOWS` transitions.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> before = xr.DataArray(np.uint8([[0, 0], [1, 255]]), dims=("y", "x"),
    ...                       coords={"y": [30, 0], "x": [0, 30]})
    >>> after = before.copy(data=np.uint8([[0, 2], [2, 1]]))
    >>> view_transitions(before, after, names={0: "sea"}).array().tolist()
    [['sea', 'cluster 2 ', 1], ['cluster 1', 'cluster 2 ', 1]]
    """
    check_text(title, names)
    before, after = check_labels(before, what="before"), check_labels(after, what="after")
    after = require_same_grid(before, after)
    is_valid = np.logical_and(
        *(labels.values != nodata_label(labels.dtype) for labels in (before, after))
    )
    is_changed = is_valid & (before.values != after.values)
    if not is_changed.any():
        raise ValueError(
            "before and after must differ in a pixel that is valid in both, got none of "
            f"{is_changed.size}"
        )
    # HoloViews merges nodes of the same name, so names on the right end in a blank.
    left, right = _nodes_of(before, names, "before"), _nodes_of(after, names, "after", end=" ")
    pairs = np.stack([labels.values[is_changed] for labels in (before, after)])
    (sources, targets), pixels = np.unique(pairs, axis=1, return_counts=True)
    if len(pixels) > MAX_FLOWS:
        raise ValueError(
            f"before and after must have at most {MAX_FLOWS} different transitions, got "
            f"{len(pixels)}: merge classes, or use metrics.transition_matrix"
        )
    flows = [
        (left[source][0], right[target][0], count)
        for source, target, count in zip(
            sources.tolist(), targets.tolist(), pixels.tolist(), strict=True
        )
    ]
    view = _bokeh.load_holoviews().Sankey(flows, ["before", "after"], "pixels")
    return view.opts(
        cmap=dict([*left.values(), *right.values()]),
        edge_color="before",
        node_color="index",
        label_position="outer",
        node_padding=12,
        node_size=0,
        show_values=False,
        width=640,
        height=360,
        title=_bokeh.escape_title(title),
        backend="bokeh",
    )


def _nodes_of(
    labels: xr.DataArray, names: Mapping[int, str] | None, what: str, end: str = ""
) -> dict[int, tuple[str, str]]:
    """Return the name, with `end` appended, and the color of each class of one map."""
    nodes = {
        n: (name.strip() + end, color) for n, (name, color) in classes_of(labels, names).items()
    }
    titles = [name for name, _ in nodes.values()]
    if duplicates := {name for name in titles if titles.count(name) > 1}:
        raise ValueError(
            f"the classes of {what} must have different names, got {sorted(duplicates)} more than "
            "once"
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
    """Show points, colored by class, as an interactive map.

    Colors and names are those of `plotting.plot_points`. The cursor shows longitude, latitude and
    the name of the class. Of more than 5000 points, 5000 at even steps through their order are
    shown.

    Parameters
    ----------
    points : xarray.Dataset
        Points with the coordinates ``longitude`` and ``latitude`` (point) in degrees.
    labels : xarray.DataArray or array_like
        One label per point, shape (point), as for `plotting.plot_labels`.
    names : mapping of int to str, optional
        Name of each label, as in `plotting.plot_labels`.
    title : str, optional
        Title of the view.
    tiles : str, optional
        Name of a GeoViews tile source shown below the points, such as ``"EsriImagery"``; latitudes
        must lie from -85.06 to 85.06. Without network access the background is empty.

    Returns
    -------
    holoviews.Points or holoviews.Overlay
        The points, over map tiles if `tiles` is given.

    Raises
    ------
    TypeError
        If an argument has the wrong type or the labels are not real numbers.
    ValueError
        If the labels do not match the points, a coordinate is NaN, a value is not a label, or tiles
        are unknown or cannot be shown there.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> points = xr.Dataset(coords={"longitude": ("point", [20.1, 20.2, 20.3]),
    ...                             "latitude": ("point", [69.5, 69.6, 69.5])})
    >>> view_points(points, np.uint8([0, 2, 1])).dimension_values("label").tolist()
    [0, 2, 1]
    """
    check_text(title, names)
    longitude, latitude = degrees_of(points)
    labels = as_labels(match_points(labels, points, "labels"), "labels", ["point"])
    classes = classes_of(labels, names)
    chosen = _choose_points(labels.values)
    columns = {
        "longitude": longitude.values[chosen].astype("float32"),
        "latitude": latitude.values[chosen].astype("float32"),
        "label": labels.values[chosen],
    }
    hv = _bokeh.load_holoviews()
    degrees, limits = degree_axes(latitude), {}
    if tiles is None:
        axes = degrees
        shown = hv.Points(columns, ["longitude", "latitude"], "label")
    else:
        axes = _bokeh.TILE_AXES
        background = _bokeh.tile_source(tiles)
        _bokeh.require_tile_latitudes(float(latitude.min()), float(latitude.max()), "points")
        shown, limits = _bokeh.web_mercator_points(columns)
    row = _bokeh.class_row("@{label}", classes)
    rows = _bokeh.hover_rows(degrees, row, "@{longitude}", "@{latitude}")
    shown = shown.opts(
        # HoloViews would interpret integers that are all equal as the name of a color.
        color=hv.dim("label").astype("float32"),
        size=float(np.clip(150 / np.sqrt(len(chosen)), 2, 8)),
        clipping_colors={"max": NODATA_COLOR},
        **_bokeh.class_options(classes, labels.dtype),
        **_bokeh.hover_options(rows),
        hooks=[_bokeh.hover_hook(rows), _bokeh.legend_hook(classes), _bokeh.axis_hook(axes)],
        backend="bokeh",
    )
    view = shown if tiles is None else background * shown
    return view.opts(**_bokeh.map_options(axes, title), **limits, backend="bokeh")


def _choose_points(labels: np.ndarray) -> np.ndarray:
    """Return the positions of at most `VIEW_POINTS` points, those without a label first."""
    count = min(labels.size, VIEW_POINTS)
    chosen = np.arange(count) * labels.size // count
    is_present = labels[chosen] != nodata_label(labels.dtype)
    return chosen[np.argsort(is_present, kind="stable")]
