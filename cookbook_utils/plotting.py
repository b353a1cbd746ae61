"""Static figures of scenes, label maps, change, points and profiles, drawn with matplotlib.

`LABEL_COLORS` holds the color of each label number and `CHANGE_COLORS` that of each class of a
water mask or change map; every kind of color vision tells them apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions import MISSING_LABEL, meanings_of
from cookbook_utils._maps import (
    CHANGE_COLORS,
    LABEL_COLORS,
    MISSING_COLOR,
    MapAxes,
    axes_of,
    bounds_of,
    check_labels,
    classes_of,
    degree_axes,
    degrees_of,
    match_points,
    name_and_color,
    pick_bands,
    stretch,
    thin,
)
from cookbook_utils.metrics import class_areas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

__all__ = [
    "CHANGE_COLORS",
    "LABEL_COLORS",
    "MISSING_COLOR",
    "plot_change",
    "plot_labels",
    "plot_points",
    "plot_profiles",
    "plot_rgb",
    "plot_series",
]

FIGURE_PIXELS = 1500  # more rows or columns than a static figure shows are thinned out
SERIES_GAP = np.timedelta64(60, "D")  # no line crosses a longer time without dates

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
    picture = pick_bands(scene, bands, FIGURE_PIXELS)
    return _draw_map(picture, stretch(picture), ax, title, interpolation="antialiased")


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
    labels = check_labels(labels)
    return _draw_labels(labels, classes_of(labels, names), ax, title)


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
    change = check_labels(change)
    found = meanings_of(change)
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


def plot_points(
    points: xr.Dataset,
    values: xr.DataArray | np.ndarray | None = None,
    *,
    names: Mapping[int, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw points on a map, colored by cluster or regime, or by a quantity.

    Integers are labels: they have the colors of `plot_labels` and a legend. Floats are a quantity:
    they have a color bar from the 2nd to the 98th percentile. If the two differ in sign, it is
    centered on 0 and darkest there, else it is darkest at its lower end. Missing points are gray
    and lie below the others. The fewer points, the larger they are.

    Parameters
    ----------
    points
        Coordinates ``longitude`` and ``latitude`` (point), degrees.
    values
        Shape (point): integers, 255 missing, or floats, NaN missing; the color bar bears their
        ``long_name`` and ``units``. By default all points have one color.
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

    Raises
    ------
    TypeError
        If the values are neither integers nor floats.
    ValueError
        If the values do not match the points, a coordinate or every value is missing, or a label
        has no color.

    References
    ----------
    F. Crameri, G. E. Shephard, P. J. Heron (2020). The misuse of colour in science communication.
    Nature Communications 11, 5444. doi:10.1038/s41467-020-19160-7 (the color map managua)

    J. R. Nuñez, C. R. Anderton, R. S. Renslow (2018). Optimizing colormaps with consideration for
    color vision deficiency to enable accurate interpretation of scientific data. PLoS ONE 13(7),
    e0199239. doi:10.1371/journal.pone.0199239 (the color map cividis)

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from matplotlib.figure import Figure
    >>> points = xr.Dataset(coords={"longitude": ("point", [20.1, 20.2, 20.3]),
    ...                             "latitude": ("point", [69.5, 69.6, 69.5])})
    >>> ax = plot_points(points, np.uint8([0, 2, 255]), names={2: "creep"}, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['cluster 0', 'creep', 'missing']
    """
    place = degrees_of(points)
    if values is None:
        return _draw_points(place, np.full(place[0].size, "0.3"), None, ax, title)
    values = match_points(values, points, "values")
    if np.issubdtype(values.dtype, np.integer):
        classes = classes_of(values, names)
        colors, present = _color_table(classes)[values.values], values.values != MISSING_LABEL
        ax = _draw_points(place, colors, present, ax, title)
        _class_legend(ax, classes)
    elif np.issubdtype(values.dtype, np.floating):
        scale, present = _color_scale(values), np.isfinite(values.values)
        colors = scale.to_rgba(np.ma.masked_where(~present, values.values))
        ax = _draw_points(place, colors, present, ax, title)
        label = values.attrs.get("long_name", values.name) or ""
        label = label[:1].upper() + label[1:]
        units = values.attrs.get("units", "1")
        label += f" ({units})" if units != "1" else ""
        label += "" if present.all() else "\ngray: missing"
        # An inset is as high as the map, whatever the shape of the map.
        ax.figure.colorbar(scale, cax=ax.inset_axes((1.02, 0, 0.04, 1)), label=label)
    else:
        raise TypeError(f"values must be integers (labels) or floats, found {values.dtype}")
    return ax


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
        Name of each cluster for the legend. By default the names in ``flag_meanings`` of
        ``cluster``, and "cluster 0", "cluster 1", … where there are none.
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
    classes = _clusters_of(profiles, ["mean", "std"], "band", names)
    mean = profiles["mean"]
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
        _draw_spread(ax, positions, profiles.sel(cluster=number), color, label=name)
    units, scaling = mean.attrs.get("units", "value"), mean.attrs.get("scaling")
    quantity = f"{scaling} value" if scaling else "reflectance" if units == "1" else units
    ax.set_ylabel(quantity.capitalize())
    return _finish_profiles(ax, title)


def plot_series(
    profiles: xr.Dataset,
    *,
    names: Mapping[int, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw each cluster's mean displacement over time, one standard deviation around it.

    A line ends where there is no date for more than 60 days, such as a winter under snow, and
    starts anew after it.

    Parameters
    ----------
    profiles
        Variables ``mean`` and ``std`` of shape (cluster, time) and ``count`` (cluster), as
        `metrics.cluster_profiles` returns them; NaN where a cluster has no mean on a date.
    names
        Name of each cluster for the legend. By default the names in ``flag_meanings`` of
        ``cluster``, and "cluster 0", "cluster 1", … where there are none.
    ax
        Axes to draw on; a new figure by default.
    title
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The legend gives the number of points of each cluster. Colors, markers and line styles are
        those of `plot_profiles`; a cluster has a line for each part between gaps.

    Raises
    ------
    ValueError
        If a variable or dimension is missing, ``time`` holds no dates, or a cluster has no color.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from matplotlib.figure import Figure
    >>> time = np.array(["2020-10-01", "2020-10-13", "2021-05-05"], "datetime64[ns]")
    >>> mean = xr.DataArray([[0.0, -2.0, -9.0]], dims=("cluster", "time"),
    ...                     coords={"cluster": [1], "time": time}, attrs={"units": "mm"})
    >>> profiles = xr.Dataset({"mean": mean, "std": mean / 5, "count": ("cluster", [1200])})
    >>> ax = plot_series(profiles, names={1: "creep"}, ax=Figure().subplots())
    >>> ax.get_legend().get_texts()[0].get_text(), len(ax.lines)
    ('creep, 1,200 points', 2)
    """
    classes = _clusters_of(profiles, ["mean", "std", "count"], "time", names)
    if not np.issubdtype(profiles["time"].dtype, np.datetime64):
        raise ValueError(
            f"expected dates (datetime64) in time of the profiles, found {profiles['time'].dtype}"
        )
    ax = _new_axes() if ax is None else ax
    for number, (name, color) in classes.items():
        cluster = profiles.sel(cluster=number).sortby("time").dropna("time", subset=["mean"])
        label = f"{name}, {cluster['count'].item():,} points"
        gaps = np.flatnonzero(np.diff(cluster["time"].values) > SERIES_GAP) + 1
        for start, stop in itertools.pairwise([0, *gaps, cluster.sizes["time"]]):
            part = cluster.isel(time=slice(start, stop))
            _draw_spread(ax, part["time"].values, part, color, label=label, markevery=12, ms=4)
            label = None  # one line in the legend
    units = profiles["mean"].attrs.get("units", "mm")
    ax.set(xlabel="Date", ylabel=f"Displacement ({units})")
    return _finish_profiles(ax, title)


def _clusters_of(
    profiles: xr.Dataset, variables: list[str], along: str, names: Mapping[int, str] | None
) -> dict[int, tuple[str, str]]:
    """Return the name and color of each cluster of profiles, or raise."""
    absent = [name for name in variables if name not in profiles]
    if absent:
        raise ValueError(f"profiles lack {absent}: found the variables {list(profiles)}, "
                         "expected those of cookbook_utils.metrics.cluster_profiles")  # fmt: skip
    require_dims(profiles["mean"], ["cluster", along], "mean of the profiles")
    clusters = profiles["cluster"]
    return name_and_color(clusters.values.tolist(), meanings_of(clusters), names)


def _draw_spread(
    ax: Axes, positions: np.ndarray, cluster: xr.Dataset, color: str, **line: Any
) -> None:
    """Draw the mean of one cluster as a line, with a band of one standard deviation around it."""
    number, mean, std = cluster["cluster"].item(), cluster["mean"].values, cluster["std"].values
    ax.fill_between(positions, mean - std, mean + std, color=color, alpha=0.15, lw=0)
    ax.plot(positions, mean, color=color, marker=_MARKERS[number],
            linestyle=_LINES[number % len(_LINES)], markeredgecolor="0.2", **line)  # fmt: skip


def _finish_profiles(ax: Axes, title: str | None) -> Axes:
    ax.grid(alpha=0.3)
    _legend(ax)
    if title is not None:
        ax.set_title(title)
    return ax


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7, 5), layout="constrained")[1]


def _draw_map(
    array: xr.DataArray, rgba: np.ndarray, ax: Axes | None, title: str | None, *, interpolation: str
) -> Axes:
    """Draw `rgba` where `array` lies, with axes in km or degrees."""
    ax = _new_axes() if ax is None else ax
    axes = axes_of(array)
    left, bottom, right, top = (axes.scale * edge for edge in bounds_of(array))
    ax.imshow(
        rgba, extent=(left, right, bottom, top), aspect=axes.aspect, interpolation=interpolation
    )
    _name_axes(ax, axes, title)
    return ax


def _draw_points(
    place: tuple[xr.DataArray, xr.DataArray],
    colors: np.ndarray,
    present: np.ndarray | None,
    ax: Axes | None,
    title: str | None,
) -> Axes:
    """Draw points in `colors`, those that are not `present` below the others."""
    ax = _new_axes() if ax is None else ax
    order = slice(None) if present is None else np.argsort(present, kind="stable")
    longitude, latitude = (degrees.values[order] for degrees in place)
    size = np.clip(40_000 / longitude.size, 0.5, 40)
    ax.scatter(longitude, latitude, s=size, c=colors[order], linewidth=0, rasterized=True)
    axes = degree_axes(place[1])
    ax.set_aspect(axes.aspect)
    _name_axes(ax, axes, title)
    return ax


def _color_scale(values: xr.DataArray) -> ScalarMappable:
    """Return the scale that gives each value a color, from the 2nd to the 98th percentile."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = values.values[np.isfinite(values.values)]
    if not finite.size:
        raise ValueError(f"all {values.size} values are missing: there is nothing to color by")
    low, high = np.percentile(finite, (2, 98))
    centered = low < 0 < high
    if centered:
        high = max(-low, high)
        low = -high
    colors = colormaps["managua" if centered else "cividis"].with_extremes(bad=MISSING_COLOR)
    beyond = (finite.min() < low) + 2 * (finite.max() > high)
    colors.colorbar_extend = ("neither", "min", "max", "both")[beyond]
    return ScalarMappable(Normalize(low, high), colors)


def _name_axes(ax: Axes, axes: MapAxes, title: str | None) -> None:
    ax.set(xlabel=f"{axes.x}{axes.unit}", ylabel=f"{axes.y}{axes.unit}")
    ax.locator_params(nbins=5)
    ax.ticklabel_format(useOffset=False, style="plain")
    if title is not None:
        ax.set_title(title)


def _draw_labels(
    labels: xr.DataArray,
    classes: Mapping[int, tuple[str, str]],
    ax: Axes | None,
    title: str | None,
) -> Axes:
    table = (255 * _color_table(classes)).round().astype("uint8")
    shown = thin(labels, FIGURE_PIXELS)
    ax = _draw_map(shown, table[shown.values], ax, title, interpolation="nearest")
    _class_legend(ax, classes)
    return ax


def _color_table(classes: Mapping[int, tuple[str, str]]) -> np.ndarray:
    """Return the color of every label number, shape (256, RGBA), from 0 to 1."""
    from matplotlib.colors import to_rgba_array

    table = np.zeros((256, 4))
    table[list(classes)] = to_rgba_array([color for _, color in classes.values()])
    return table


def _class_legend(ax: Axes, classes: Mapping[int, tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(fc=color, ec="0.4", lw=0.5, label=name) for name, color in classes.values()]
    _legend(ax, handles=handles)


def _legend(ax: Axes, **options: Any) -> None:
    """Put a legend to the right of the Axes, where it hides nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, **options)
