"""Figures of scenes, label maps, cluster profiles and change, static and interactive.

The static functions draw with matplotlib on an Axes; those that begin with ``view_`` return
HoloViews objects that need no running server, so that they stay interactive on a web page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import MISSING_LABEL, crs_of, require_dims, valid_pixels
from cookbook_utils.metrics import class_areas

if TYPE_CHECKING:
    import holoviews as hv
    from matplotlib.axes import Axes

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

FIGURE_PIXELS = 1500  # more rows or columns than a static figure shows are thinned out
VIEW_PIXELS = 400  # an interactive view carries its pixels in the page, so it carries fewer

_MARKERS = "osD^vP*Xd<>p"
_LINES = ("-", "--", "-.", ":")


def plot_rgb(
    scene: xr.DataArray,
    bands: Sequence[str] = ("red", "green", "blue"),
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw three bands of a scene as a color image.

    One stretch serves all three bands, which keeps their hue: 0 is black, and the 98th percentile
    of the valid values of the three bands together is full color.

    Parameters
    ----------
    scene
        Shape (band, y, x), any numeric dtype and units; missing pixels are left transparent.
    bands
        Names of the bands shown as red, green and blue; ``("nir", "red", "green")`` is the usual
        false color.
    ax
        Axes to draw on; a new figure by default.
    title
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a band is absent, a dimension is wrong, or no pixel is valid.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from matplotlib.figure import Figure
    >>> scene = xr.DataArray(
    ...     np.random.default_rng(0).random((3, 4, 5)), dims=("band", "y", "x"),
    ...     coords={"band": ["red", "green", "blue"], "y": [3, 2, 1, 0], "x": range(5)})
    >>> ax = plot_rgb(scene, ax=Figure().subplots())
    >>> ax.images[0].get_array().shape
    (4, 5, 4)
    """
    picture = _pick_bands(scene, bands, FIGURE_PIXELS)
    return _draw_map(picture, _stretch(picture), ax, title, interpolation="antialiased")


def plot_labels(
    labels: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a label map with a legend beside it.

    A label number has the same color in every map (`LABEL_COLORS`). Water masks and change maps
    are colored by the names of their classes (`CHANGE_COLORS`).

    Parameters
    ----------
    labels
        Shape (y, x), integers; 255 is missing.
    names
        Name of each label number for the legend. By default the names in ``flag_meanings``, and
        "cluster 0", "cluster 1", … where there are none.
    ax
        Axes to draw on; a new figure by default.
    title
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The legend names the labels that occur, and "missing" where a pixel is missing.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If a dimension is wrong or a label has no color.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from matplotlib.figure import Figure
    >>> labels = xr.DataArray(np.uint8([[0, 1], [1, 255]]), dims=("y", "x"),
    ...                       coords={"y": [30, 0], "x": [0, 30]})
    >>> ax = plot_labels(labels, names={1: "water"}, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['cluster 0', 'water', 'missing']
    """
    labels = _check_labels(labels)
    return _draw_labels(labels, _classes(labels, names), ax, title)


def plot_change(change: xr.DataArray, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw a change map, with the area of each class in its legend.

    Parameters
    ----------
    change
        Shape (y, x), uint8, with a CRS, as `labels.change_map` returns it: 0 land, 1 water, 2 lost,
        3 gained, 255 missing.
    ax
        Axes to draw on; a new figure by default.
    title
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The legend holds all four classes, with areas in km².

    Raises
    ------
    ValueError
        If `change` is not a change map.

    Examples
    --------
    >>> import numpy as np, rioxarray, xarray as xr
    >>> from matplotlib.figure import Figure
    >>> change = xr.DataArray(
    ...     np.uint8([[0, 2], [1, 2]]), dims=("y", "x"),
    ...     coords={"y": [1500, 500], "x": [500, 1500]},
    ...     attrs={"flag_values": [0, 1, 2, 3], "flag_meanings": "land water lost gained"})
    >>> ax = plot_change(change.rio.write_crs(32611), ax=Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['land 1.0 km²', 'water 1.0 km²', 'lost 2.0 km²', 'gained 0.0 km²']
    """
    change = _check_labels(change)
    found = _meanings(change)
    if found != dict(enumerate(CHANGE_COLORS)):
        raise ValueError(
            f"a change map has the classes {' '.join(CHANGE_COLORS)} with the numbers 0 to 3 in "
            f"flag_meanings and flag_values, found {found or 'neither'}: make it with "
            "cookbook_utils.labels.change_map"
        )
    areas = class_areas(change)
    classes = {
        number: (f"{name} {areas[name]:,.1f} km²", color)
        for number, (name, color) in enumerate(CHANGE_COLORS.items())
    }
    if MISSING_LABEL in change:
        classes[MISSING_LABEL] = ("missing", MISSING_COLOR)
    return _draw_labels(change, classes, ax, title)


def plot_profiles(
    profiles: xr.Dataset,
    *,
    names: Mapping[int, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw each cluster's mean per band, with a band of one standard deviation around it.

    Parameters
    ----------
    profiles
        Variables ``mean`` and ``std`` of shape (cluster, band), as `metrics.cluster_profiles`
        returns them. With a ``wavelength`` coordinate (µm) it is the x axis, else the band names.
    names
        Name of each cluster for the legend; "cluster 0", … by default.
    ax
        Axes to draw on; a new figure by default.
    title
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        Clusters differ in marker and line style too, not in color alone.

    Raises
    ------
    ValueError
        If a variable or dimension is missing or a cluster has no color.

    Examples
    --------
    >>> import xarray as xr
    >>> from matplotlib.figure import Figure
    >>> mean = xr.DataArray([[0.04, 0.02], [0.2, 0.3]], dims=("cluster", "band"),
    ...                     coords={"cluster": [0, 1], "band": ["red", "nir"]})
    >>> ax = plot_profiles(xr.Dataset({"mean": mean, "std": mean / 5}), ax=Figure().subplots())
    >>> [line.get_label() for line in ax.lines]
    ['cluster 0', 'cluster 1']
    """
    absent = [name for name in ("mean", "std") if name not in profiles]
    if absent:
        raise ValueError(f"profiles lack {absent}: found the variables {list(profiles)}, "
                         "expected those of cookbook_utils.metrics.cluster_profiles")  # fmt: skip
    mean, std = (profiles[name] for name in ("mean", "std"))
    require_dims(mean, ["cluster", "band"], "mean of the profiles")
    classes = _name_and_color(mean["cluster"].values.tolist(), {}, names)

    ax = _new_axes() if ax is None else ax
    band_names = [str(name) for name in mean["band"].values]
    if "wavelength" in mean.coords:
        positions = mean["wavelength"].values
        ax.set_xlabel("Wavelength (µm)")
        top = ax.secondary_xaxis("top")
        top.set_xticks(positions, band_names, rotation=60, ha="left", rotation_mode="anchor")
        top.tick_params(length=3, pad=2)
    else:
        positions = np.arange(len(band_names))
        ax.set_xticks(positions, band_names)
        ax.set_xlabel("Band")
    for number, (name, color) in classes.items():
        center, spread = (v.sel(cluster=number).values for v in (mean, std))
        ax.fill_between(positions, center - spread, center + spread, color=color, alpha=0.15, lw=0)
        ax.plot(positions, center, color=color, label=name, marker=_MARKERS[number],
                linestyle=_LINES[number % len(_LINES)], markeredgecolor="0.2")  # fmt: skip
    units, scaling = mean.attrs.get("units", "value"), mean.attrs.get("scaling")
    quantity = f"{scaling} value" if scaling else "reflectance" if units == "1" else units
    ax.set_ylabel(quantity.capitalize())
    ax.grid(alpha=0.3)
    _legend(ax)
    if title is not None:
        ax.set_title(title)
    return ax


def view_rgb(
    scene: xr.DataArray,
    bands: Sequence[str] = ("red", "green", "blue"),
    *,
    title: str | None = None,
) -> hv.Overlay:
    """Show three bands of a scene as an interactive color image.

    Stretched as in `plot_rgb`; the cursor shows coordinates and the values of the three bands.
    Views of the same CRS in one layout zoom and pan together. At most 400 rows and columns are
    shown.

    Parameters
    ----------
    scene
        Shape (band, y, x); missing pixels are left transparent.
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
    ValueError
        If a band is absent, a dimension is wrong, or no pixel is valid.

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

    picture = _pick_bands(scene, bands, VIEW_PIXELS)
    place = {"bounds": _bounds(picture), "kdims": ["x", "y"]}
    image = hv.RGB(_stretch(picture), vdims=[*"RGBA"], **place)

    # Two bytes a value: 65535 is missing, the rest count steps from the minimum to the maximum.
    low = picture.min(("y", "x")).values
    step = np.maximum((picture.max(("y", "x")).values - low) / 65534, np.finfo("float32").tiny)
    codes = ((picture.values - low[:, None, None]) / step[:, None, None]).round()
    codes = np.where(np.isnan(codes), 65535, codes).astype("uint16")
    fields = {"first": "@image", "second": "@{second}", "third": "@{third}"}  # as Bokeh calls them
    values = hv.Image(np.dstack(codes), vdims=list(fields), **place)
    scripts = {
        field: f"return value == 65535 ? 'missing' : ({lo} + value * {st}).toPrecision(4)"
        for field, lo, st in zip(fields.values(), low.tolist(), step.tolist(), strict=True)
    }
    tooltips = [(b, field + "{custom}") for b, field in zip(bands, fields.values(), strict=True)]
    axes = _axes_of(picture)
    hooks = [_hover_hook(scripts), _axis_hook(axes)]
    values = values.opts(alpha=0, hooks=hooks, **_hover(axes, tooltips), backend="bokeh")
    return (image * values).opts(**_frame(axes, title), backend="bokeh")


def view_labels(
    labels: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    title: str | None = None,
    tiles: str | None = None,
) -> hv.Image | hv.Overlay:
    """Show a label map, water mask or change map as an interactive map.

    Colors and names are those of `plot_labels`; the cursor shows the coordinates and the name of
    the class. At most 400 rows and columns are shown.

    Parameters
    ----------
    labels
        Shape (y, x), integers; 255 is missing.
    names
        Name of each label number, as in `plot_labels`.
    title
        Title of the view.
    tiles
        Name of a GeoViews tile source to lay the map over, such as ``"EsriImagery"``. The labels
        are then brought to Web Mercator once, each pixel keeping the label nearest to it, and
        drawn a little transparent; they need a CRS. Without a network the background is plain.

    Returns
    -------
    holoviews.Image or holoviews.Overlay
        An overlay where `tiles` is given.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If a dimension is wrong, a label has no color, or the tile source is unknown.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> labels = xr.DataArray(np.uint8([[0, 1], [1, 255]]), dims=("y", "x"),
    ...                       coords={"y": [30, 0], "x": [0, 30]})
    >>> view_labels(labels).dimension_values("label").tolist()
    [1, 0, 255, 1]
    """
    import holoviews as hv
    import holoviews.plotting.bokeh  # noqa: F401  registers the options

    labels = _check_labels(labels)
    classes = _classes(labels, names)
    shown = _thin(labels, VIEW_PIXELS).astype("uint8")
    if tiles is None:
        axes = _axes_of(shown)
        image = hv.Image(shown.values, bounds=_bounds(shown), vdims="label")
        beyond = {"clipping_colors": {"max": MISSING_COLOR}}
    else:
        axes = _TILE_AXES
        background = _tiles(tiles)
        image = _web_mercator_image(shown)
        beyond = {"clipping_colors": {"max": "transparent"}, "alpha": 0.75}
        classes.pop(MISSING_LABEL, None)

    called = {number: name for number, (name, _) in classes.items()}
    scripts = {"@image": f"return {json.dumps(called)}[value] ?? 'missing'"}
    # Bokeh draws the numbers above those with a color, which are the missing, as "max".
    top = max((n for n in classes if n != MISSING_LABEL), default=0)
    colors = [classes[n][1] if n in classes else MISSING_COLOR for n in range(top + 1)]
    image = image.opts(
        cmap=colors,
        clim=(-0.5, top + 0.5),
        hooks=[_hover_hook(scripts), _legend_hook(classes.values()), _axis_hook(axes)],
        **beyond,
        **_hover(axes, [("class", "@image{custom}")]),
        backend="bokeh",
    )
    view = image if tiles is None else background * image
    return view.opts(**_frame(axes, title), backend="bokeh")


def _check_labels(labels: xr.DataArray) -> xr.DataArray:
    """Return a label map in memory, north up, or raise."""
    require_dims(labels, ["y", "x"], "labels")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"labels must be integers with {MISSING_LABEL} where missing, found {labels.dtype}"
        )
    return _north_up(labels, "labels").compute()


def _pick_bands(scene: xr.DataArray, bands: Sequence[str], limit: int) -> xr.DataArray:
    """Return three bands in memory, north up, in floats with NaN where one of them is missing."""
    require_dims(scene, ["band", "y", "x"], "scene")
    known = scene.indexes.get("band", [])
    absent = [band for band in bands if band not in known]
    if absent or len(bands) != 3:
        raise ValueError(f"expected three bands out of {list(known)}, found {list(bands)}")
    picture = _thin(_north_up(scene.sel(band=list(bands)), "scene"), limit).compute()
    valid = valid_pixels(picture)
    if not valid.any():
        raise ValueError(f"no pixel of the scene is valid in all of the bands {list(bands)}")
    return picture.where(valid).transpose("band", "y", "x")


def _north_up(array: xr.DataArray, what: str) -> xr.DataArray:
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


def _thin(array: xr.DataArray, limit: int) -> xr.DataArray:
    """Return every n-th pixel, so that at most `limit` rows and columns are left."""
    steps = {dim: -(-array.sizes[dim] // limit) for dim in ("y", "x")}
    return array.isel({dim: slice(step // 2, None, step) for dim, step in steps.items()})


def _stretch(picture: xr.DataArray) -> np.ndarray:
    """Return (y, x, RGBA) in uint8: 0 is black, the 98th percentile of all bands full color."""
    full = picture.quantile(0.98).item()
    scaled = picture.values / (full if full > 0 else 1)
    alpha = picture.isel(band=0).notnull().values
    rgb = np.nan_to_num(scaled.clip(0, 1))
    return (np.dstack([*rgb, alpha]) * 255).round().astype("uint8")


def _tiles(name: str) -> hv.Element:
    """Return a GeoViews tile source by its name."""
    import geoviews as gv

    sources = gv.tile_sources.tile_sources
    if name not in sources:
        raise ValueError(f"unknown tile source {name!r}: expected one of {', '.join(sources)}")
    return sources[name]


def _web_mercator_image(labels: xr.DataArray) -> hv.Image:
    """Return `labels` reprojected to Web Mercator by nearest neighbor, 255 outside."""
    import geoviews as gv
    from cartopy.crs import GOOGLE_MERCATOR
    from rasterio.enums import Resampling

    if crs_of(labels) is None:
        raise ValueError("labels need a CRS to be laid over map tiles, found none: "
                         "set it with labels.rio.write_crs")  # fmt: skip
    labels = labels.rio.reproject("EPSG:3857", resampling=Resampling.nearest, nodata=MISSING_LABEL)
    return gv.Image(labels.values, bounds=_bounds(labels), vdims="label", crs=GOOGLE_MERCATOR)


def _meanings(labels: xr.DataArray) -> dict[int, str]:
    """Return the class names by number out of the CF attributes."""
    values = np.atleast_1d(labels.attrs.get("flag_values", [])).tolist()
    meanings = labels.attrs.get("flag_meanings", "").split()
    if len(values) != len(meanings):
        raise ValueError(f"labels have {len(values)} flag_values for {len(meanings)} flag_meanings")
    return dict(zip(values, meanings, strict=True))


def _classes(labels: xr.DataArray, names: Mapping[int, str] | None) -> dict[int, tuple[str, str]]:
    """Return the name and color of each number that occurs in `labels`, missing last."""
    numbers = sorted(pd.unique(labels.values.ravel()).tolist())
    has_missing = MISSING_LABEL in numbers
    classes = _name_and_color([n for n in numbers if n != MISSING_LABEL], _meanings(labels), names)
    return classes | ({MISSING_LABEL: ("missing", MISSING_COLOR)} if has_missing else {})


def _name_and_color(
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


class _MapAxes(NamedTuple):
    """How the coordinates of a map are called and drawn."""

    x: str = "x"
    y: str = "y"
    unit: str = ""  # along the axes
    scale: float = 1  # turns CRS units into it
    aspect: float = 1  # length of a unit of y on the page, in units of x
    view_unit: str = ""  # under the cursor: that of the CRS
    format: str = "{0.00}"  # under the cursor


# GeoViews writes the coordinates of Web Mercator as degrees by itself.
_TILE_AXES = _MapAxes("Longitude", "Latitude", " (°)", view_unit=" (°)", format="")


def _axes_of(array: xr.DataArray) -> _MapAxes:
    crs = crs_of(array)
    if crs is None:
        return _MapAxes()
    if crs.is_geographic:
        aspect = 1 / np.cos(np.deg2rad(array["y"].mean().item()))
        return _MapAxes("Longitude", "Latitude", " (°)", 1, aspect, " (°)", "{0.0000}")
    unit = crs.axis_info[0]
    symbol = {"metre": "m"}.get(unit.unit_name, unit.unit_name)
    km = unit.unit_conversion_factor / 1000
    return _MapAxes("Easting", "Northing", " (km)", km, 1, f" ({symbol})", "{0,0}")


def _bounds(array: xr.DataArray) -> tuple[float, float, float, float]:
    """Return the outer edges left, bottom, right, top, in CRS units."""
    x, y = array["x"].values, array["y"].values
    dx, dy = (abs(v[-1] - v[0]) / (v.size - 1) / 2 for v in (x, y))
    return x[0] - dx, y[-1] - dy, x[-1] + dx, y[0] + dy


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7, 5), layout="constrained")[1]


def _draw_map(
    array: xr.DataArray, rgba: np.ndarray, ax: Axes | None, title: str | None, *, interpolation: str
) -> Axes:
    """Draw `rgba` where `array` lies, with axes in km or degrees."""
    ax = _new_axes() if ax is None else ax
    axes = _axes_of(array)
    left, bottom, right, top = (axes.scale * edge for edge in _bounds(array))
    ax.imshow(
        rgba, extent=(left, right, bottom, top), aspect=axes.aspect, interpolation=interpolation
    )
    ax.set(xlabel=f"{axes.x}{axes.unit}", ylabel=f"{axes.y}{axes.unit}")
    ax.locator_params(nbins=5)
    ax.ticklabel_format(useOffset=False, style="plain")
    if title is not None:
        ax.set_title(title)
    return ax


def _draw_labels(
    labels: xr.DataArray,
    classes: Mapping[int, tuple[str, str]],
    ax: Axes | None,
    title: str | None,
) -> Axes:
    from matplotlib.colors import to_rgba_array
    from matplotlib.patches import Patch

    table = np.zeros((256, 4), dtype="uint8")
    table[list(classes)] = (255 * to_rgba_array([color for _, color in classes.values()])).round()
    shown = _thin(labels, FIGURE_PIXELS)
    ax = _draw_map(shown, table[shown.values], ax, title, interpolation="nearest")
    handles = [Patch(fc=color, ec="0.4", lw=0.5, label=name) for name, color in classes.values()]
    _legend(ax, handles=handles)
    return ax


def _legend(ax: Axes, **options: Any) -> None:
    """Put a legend to the right of the Axes, where it hides nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, **options)


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
        from bokeh.models import Legend

        def patch(color):
            return plot.state.scatter([np.nan], [np.nan], marker="square", size=14, color=color)

        items = [(name, [patch(color)]) for name, color in entries]
        plot.state.add_layout(Legend(items=items, border_line_color=None, padding=0), "right")

    return hook


def _axis_hook(axes: _MapAxes) -> Callable:
    """Return the hook that writes ticks in the units of the static figures."""

    def hook(plot, element):
        from bokeh.models import CustomJSTickFormatter

        code = f"return +(tick * {axes.scale}).toPrecision(6)"
        for axis in plot.state.axis if axes.scale != 1 else ():
            axis.formatter = CustomJSTickFormatter(code=code)

    return hook


def _hover(axes: _MapAxes, tooltips: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the options that show the coordinates and `tooltips` under the cursor."""
    place = [
        (axes.x + axes.view_unit, f"$x{axes.format}"),
        (axes.y + axes.view_unit, f"$y{axes.format}"),
    ]
    return {"tools": ["hover"], "hover_tooltips": place + tooltips}


def _frame(axes: _MapAxes, title: str | None) -> dict[str, Any]:
    """Return the options for the size, shape and axes of an interactive map."""
    return {
        "frame_width": 300,
        "data_aspect": axes.aspect,
        "xlabel": axes.x + axes.unit,
        "ylabel": axes.y + axes.unit,
        "xticks": 4,
        "title": title or "",
    }
