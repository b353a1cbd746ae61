"""Static figures of scenes, label maps, change, points and profiles, drawn with matplotlib.

`CLASS_COLORS` holds the color of each class that the chapters name, so that water is blue in every
figure, and `LABEL_COLORS` the colors of clusters without a known name. Call `style` once before
drawing figures for a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from cookbook_utils import _figures
from cookbook_utils._change import CHANGE_CLASSES, CHANGE_WORD
from cookbook_utils._conventions.bands import units_of
from cookbook_utils._conventions.labels import as_labels, meanings_of, nodata_label
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._maps import (
    check_labels,
    classes_of,
    degrees_of,
    match_points,
    pick_bands,
    stretch,
)
from cookbook_utils._palette import (
    CLASS_COLORS,
    LABEL_COLORS,
    LEAST_CONTRAST,
    NODATA_COLOR,
    contrast_on_white,
)
from cookbook_utils.areas import class_areas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CLASS_COLORS",
    "LABEL_COLORS",
    "NODATA_COLOR",
    "plot_change",
    "plot_labels",
    "plot_points",
    "plot_profiles",
    "plot_rgb",
    "plot_series",
    "style",
]

_STYLE = {
    "figure.figsize": (_figures.WIDTH, 4.2),
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 10,
    "savefig.dpi": "figure",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "lines.markeredgewidth": 0.5,
    "patch.linewidth": 0.5,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.3,
    "image.cmap": "cividis",
}
# Yellow, light blue and orange are hard to see as lines on white.
_LINE_COLORS = [c for c in LABEL_COLORS if contrast_on_white(c) >= LEAST_CONTRAST]


def style() -> None:
    """Set matplotlib's defaults to the style of the cookbook.

    Call it once before drawing. A figure 7.0 inches wide, which a page shows at about 690 pixels,
    then has text of at least 9 points, thin lines and legends without a frame; its PNG has 150
    pixels per inch. Lines take those colors of `LABEL_COLORS` whose contrast on white is 3 : 1 or
    more. The defaults apply to all figures of the process until ``matplotlib.rcdefaults()``.

    Examples
    --------
    >>> import matplotlib
    >>> with matplotlib.rc_context():
    ...     style()
    ...     matplotlib.rcParams["font.size"]
    9.0
    """
    import matplotlib

    matplotlib.rcParams.update(_STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=_LINE_COLORS)


def plot_rgb(
    scene: xr.DataArray,
    *,
    bands: Sequence[str] = ("red", "green", "blue"),
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw three bands of a scene as a color image.

    The three bands share one linear stretch, which preserves hue: 0 is black, and the 98th
    percentile of all valid values is full intensity.

    Parameters
    ----------
    scene : xarray.DataArray
        Scene (band, y, x) of any real dtype and units. Pixels that are nodata, NaN or infinite in
        one of the bands are transparent. Coordinates are evenly spaced, in any order.
    bands : sequence of str, default ("red", "green", "blue")
        Names of the bands shown as red, green and blue. ``("nir", "red", "green")`` is the common
        false-color composite.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. By default a new figure is made.
    title : str, optional
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the image. A projected CRS is drawn in km, a geographic one in degrees.

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
    >>> from matplotlib.figure import Figure
    >>> scene = xr.DataArray(
    ...     np.random.default_rng(0).random((3, 4, 5)), dims=("band", "y", "x"),
    ...     coords={"band": ["red", "green", "blue"], "y": [3, 2, 1, 0], "x": range(5)})
    >>> ax = plot_rgb(scene, ax=Figure().subplots())
    >>> ax.images[0].get_array().shape
    (4, 5, 4)
    """
    _figures.check_arguments(ax, title)
    picture = pick_bands(scene, bands, _figures.FIGURE_PIXELS)
    return _figures.draw_map(picture, stretch(picture), ax, title, interpolation="antialiased")


def plot_labels(
    labels: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a label map with a legend beside it.

    A class has the color of its name in `CLASS_COLORS`, and any other label the color of its number
    in `LABEL_COLORS`. Labels from 12 on have colors that the eye cannot tell apart reliably, and
    maps of more than 255 classes have no legend.

    Parameters
    ----------
    labels : xarray.DataArray
        Label map (y, x), or (band, y, x) with one band as read from a GeoTIFF. Whole numbers from 0
        to 254 of any dtype; 255, NaN and the declared nodata value are nodata. A map that declares
        the nodata value 65535 has numbers to 65534. Coordinates are evenly spaced, in any order.
    names : mapping of int to str, optional
        Name of each label. By default the names in ``flag_meanings``, and "cluster 0", "cluster 1",
        … for labels without one. A number in a name does not change its color: "sea 2" is blue.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. By default a new figure is made.
    title : str, optional
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the map. Its legend lists the classes that occur, and "nodata" if any pixel
        is; labels with the same name and color share an entry.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a dimension is wrong, a value is not a label, or the coordinates are not evenly spaced.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from matplotlib.figure import Figure
    >>> labels = xr.DataArray(np.uint8([[0, 1], [1, 255]]), dims=("y", "x"),
    ...                       coords={"y": [30, 0], "x": [0, 30]})
    >>> ax = plot_labels(labels, names={1: "water"}, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['cluster 0', 'water', 'nodata']
    """
    _figures.check_arguments(ax, title, names)
    labels = check_labels(labels)
    return _figures.draw_labels(labels, classes_of(labels, names), ax, title)


def plot_change(change: xr.DataArray, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw a change map, with the area of each class in its legend.

    Parameters
    ----------
    change : xarray.DataArray
        Change map (y, x) with a CRS, as returned by `labels.change_map`: 0 land, 1 water, 2 lost,
        3 gained, 255 nodata; or classes of other changes.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. By default a new figure is made.
    title : str, optional
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the map. Its legend has the areas in km² of all four classes, or of the
        classes of other changes that occur.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `change` is not a change map or has no CRS, or the coordinates are not evenly spaced.

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
    _figures.check_arguments(ax, title)
    change = check_labels(change, what="change")
    found = meanings_of(change)
    if found == dict(enumerate(CHANGE_CLASSES)):
        classes = {number: (name, CLASS_COLORS[name]) for number, name in found.items()}
    elif any(CHANGE_WORD in name for name in found.values()):
        classes = classes_of(change, None)
    else:
        raise ValueError(
            f"change must have the classes {' '.join(CHANGE_CLASSES)} with the numbers 0 to 3, or "
            "classes such as forest_to_crops, in flag_meanings and flag_values, got "
            f"{found or 'neither'}: make it with cookbook_utils.labels.change_map"
        )
    areas, nodata = class_areas(change), nodata_label(change.dtype)
    classes = {
        number: (f"{name} {areas[found[number]]:,.1f} km²", color)
        for number, (name, color) in classes.items()
        if number != nodata
    }
    if nodata in change:
        classes[nodata] = ("nodata", NODATA_COLOR)
    return _figures.draw_labels(change, classes, ax, title)


def plot_points(
    points: xr.Dataset,
    values: xr.DataArray | np.ndarray | None = None,
    *,
    names: Mapping[int, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw points on a map, colored by class or by a quantity.

    Integers are labels and have the colors of `plot_labels` and a legend. Floats are a quantity and
    have a color bar from the 2nd to the 98th percentile, centered on 0 if these differ in sign.
    Floats with ``flag_meanings``, or read from a file of uint8, are labels. Points without data are
    gray and lie below the others. Many points, and points in small Axes, are drawn smaller.

    Parameters
    ----------
    points : xarray.Dataset
        Points with the coordinates ``longitude`` and ``latitude`` (point) in degrees.
    values : xarray.DataArray or array_like, optional
        One value per point, shape (point): labels as for `plot_labels`, or floats, of which NaN,
        infinite values and the declared nodata value are nodata. The color bar shows their
        ``long_name`` and ``units``. By default all points have one color.
    names : mapping of int to str, optional
        Name of each label, as in `plot_labels`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. By default a new figure is made.
    title : str, optional
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the points, true to scale at their mean latitude.

    Raises
    ------
    TypeError
        If an argument has the wrong type or the values are not real numbers.
    ValueError
        If the values do not match the points, a coordinate is NaN, no value is valid, or a label is
        out of range.

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
    ['cluster 0', 'creep', 'nodata']
    """
    _figures.check_arguments(ax, title, names)
    place = degrees_of(points)
    if values is None:
        n = place[0].size
        return _figures.draw_points(place, np.full(n, "0.3"), np.ones(n, bool), ax, title)
    values = match_points(values, points, "values")
    if _figures.are_labels(values):
        labels = as_labels(values, "values", ["point"])
        classes = classes_of(labels, names)
        colors = _figures.color_table(classes)[labels.values]
        is_present = labels.values != nodata_label(labels.dtype)
        ax = _figures.draw_points(place, colors, is_present, ax, title, entries=len(classes))
        _figures.add_class_legend(ax, classes)
        return ax
    quantity = mask_and_float(values).astype(np.float64)  # float32 overflows between percentiles
    scale, is_present = _figures.color_scale(quantity), np.isfinite(quantity.values)
    colors = scale.to_rgba(np.ma.masked_where(~is_present, quantity.values))
    ax = _figures.draw_points(place, colors, is_present, ax, title)
    _figures.add_color_bar(ax, scale, values, has_nodata=not is_present.all())
    return ax


def plot_profiles(
    profiles: xr.Dataset,
    *,
    names: Mapping[int, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the mean of each cluster per band, with one standard deviation shaded around it.

    Clusters have the colors of `plot_labels` and differ in marker and line style, too. Light lines
    have a dark edge.

    Parameters
    ----------
    profiles : xarray.Dataset
        Variables ``mean`` and ``std`` of shape (cluster, band), as returned by
        `metrics.cluster_profiles`. A line has a gap where a mean is NaN. If there is a
        ``wavelength`` coordinate, it is the x axis, in its ``units`` (µm by default); otherwise the
        band names are.
    names : mapping of int to str, optional
        Name of each cluster, as in `plot_labels`. By default the names in ``flag_meanings`` of
        ``cluster``.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. By default a new figure is made.
    title : str, optional
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with one line per cluster and a legend.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a variable or dimension is absent, clusters are not distinct labels or more than 256, or
        a wavelength is not finite.

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
    _figures.check_arguments(ax, title, names)
    dims = ("cluster", "band")
    profiles, classes = _figures.clusters_of(profiles, {"mean": dims, "std": dims}, names)
    profiles = _figures.sorted_by_wavelength(profiles)
    mean = profiles["mean"]
    ax = _figures.new_axes(len(classes)) if ax is None else ax
    positions = _figures.draw_band_axis(ax, mean)
    for row, (number, (name, color)) in enumerate(classes.items()):
        cluster = profiles.isel(cluster=row)
        _figures.draw_spread(ax, positions, number, cluster, color, label=name)
    units, scaling = units_of(mean) or "value", mean.attrs.get("scaling")
    quantity = f"{scaling} value" if scaling else "reflectance" if units == "1" else units
    ax.set_ylabel(quantity.capitalize())
    return _figures.finish_lines(ax, title)


def plot_series(
    profiles: xr.Dataset,
    *,
    names: Mapping[int, str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the mean displacement of each cluster over time, with its standard deviation shaded.

    A line is interrupted where consecutive dates are more than 60 days apart, such as in a winter
    with snow. Clusters have the colors, markers and line styles of `plot_profiles`.

    Parameters
    ----------
    profiles : xarray.Dataset
        Variables ``mean`` and ``std`` of shape (cluster, time) and ``count`` (cluster), as returned
        by `minibatch.displacement_profiles`. NaN where a cluster has no mean on a date.
    names : mapping of int to str, optional
        Name of each cluster, as in `plot_labels`. By default the names in ``flag_meanings`` of
        ``cluster``.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. By default a new figure is made.
    title : str, optional
        Title of the Axes.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with one line for each part of a series between two gaps. Its legend states the
        number of points of each cluster.

    Raises
    ------
    TypeError
        If an argument has the wrong type or ``time`` is not datetime64.
    ValueError
        If a variable or dimension is absent, a date is NaT or duplicated, counts are not whole
        numbers, or clusters are not distinct labels or more than 256.

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
    _figures.check_arguments(ax, title, names)
    wanted = {"mean": ("cluster", "time"), "std": ("cluster", "time"), "count": ("cluster",)}
    profiles, classes = _figures.clusters_of(profiles, wanted, names)
    _figures.require_dates(profiles["time"])
    counts = profiles["count"].values
    _figures.require_counts(counts)
    ax = _figures.new_axes(len(classes)) if ax is None else ax
    profiles = profiles.sortby("time")
    for row, (number, (name, color)) in enumerate(classes.items()):
        cluster = profiles.isel(cluster=row).dropna("time", subset=["mean"])
        label = f"{name}, {int(counts[row]):,} points"
        for part in _figures.parts_between_gaps(cluster["time"].values):
            piece = cluster.isel(time=part)
            _figures.draw_spread(
                ax, piece["time"].values, number, piece, color, label=label, markevery=12, ms=4
            )
            label = None  # one legend entry per cluster
    units = units_of(profiles["mean"])
    ax.set(xlabel="Date", ylabel="Displacement" + (f" ({units})" if units else ""))
    return _figures.finish_lines(ax, title)
