"""Static figures of scenes, label maps, change and cluster profiles, drawn with matplotlib.

`LABEL_COLORS` holds the color of each label number and `CHANGE_COLORS` that of each class of a
water mask or change map; every kind of color vision tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import MISSING_LABEL, require_dims
from cookbook_utils._maps import (
    CHANGE_COLORS,
    LABEL_COLORS,
    MISSING_COLOR,
    axes_of,
    bounds_of,
    check_labels,
    classes_of,
    meanings_of,
    name_and_color,
    pick_bands,
    stretch,
    thin,
)
from cookbook_utils.metrics import class_areas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CHANGE_COLORS",
    "LABEL_COLORS",
    "MISSING_COLOR",
    "plot_change",
    "plot_labels",
    "plot_profiles",
    "plot_rgb",
]

FIGURE_PIXELS = 1500  # more rows or columns than a static figure shows are thinned out

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
    classes = name_and_color(mean["cluster"].values.tolist(), {}, names)

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
    shown = thin(labels, FIGURE_PIXELS)
    ax = _draw_map(shown, table[shown.values], ax, title, interpolation="nearest")
    handles = [Patch(fc=color, ec="0.4", lw=0.5, label=name) for name, color in classes.values()]
    _legend(ax, handles=handles)
    return ax


def _legend(ax: Axes, **options: Any) -> None:
    """Put a legend to the right of the Axes, where it hides nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, **options)
