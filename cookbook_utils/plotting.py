"""Static figures of scenes, label maps, change, points and profiles, drawn with matplotlib.

`LABEL_COLORS` holds the color of each label number from 0 to 11 and `CHANGE_COLORS` that of each
class of a water mask or change map; every kind of color vision tells them apart. Labels from 12 to
254 have colors, too, which the eye cannot tell apart reliably.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.bands import units_of
from cookbook_utils._conventions.labels import NODATA_LABEL, as_labels, meanings_of
from cookbook_utils._conventions.nodata import mask_and_float
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
    name_and_color,
    pick_bands,
    stretch,
    thin,
)
from cookbook_utils._palette import CHANGE_COLORS, LABEL_COLORS, MISSING_COLOR
from cookbook_utils.areas import class_areas

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
LEGEND_ROWS = 20  # as many as stand beside a map of the usual height

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
        Shape (band, y, x), any numeric dtype and units; pixels that are missing or infinite are
        left transparent. Coordinates in any order, evenly spaced.
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
    TypeError
        If an argument has the wrong type or the scene does not hold real numbers.
    ValueError
        If a band is absent or there twice, a dimension is wrong, coordinates are not evenly spaced,
        or no pixel is valid.

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
    _check_arguments(ax, title)
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

    A label number has the same color in every map (`LABEL_COLORS`); numbers from 12 on have colors
    that the eye cannot tell apart reliably. Water masks and change maps are colored by the names of
    their classes (`CHANGE_COLORS`).

    Parameters
    ----------
    labels
        Shape (y, x) or, as a GeoTIFF is read, (band, y, x) with one band. Whole numbers from 0 to
        254 of any dtype; 255, NaN and the declared nodata value are missing. Coordinates in any
        order, evenly spaced.
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
        If an argument has the wrong type.
    ValueError
        If a dimension is wrong, a value is no label, or coordinates are not evenly spaced.

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
    _check_arguments(ax, title, names)
    labels = check_labels(labels)
    return _draw_labels(labels, classes_of(labels, names), ax, title)


def plot_change(change: xr.DataArray, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw a change map, with the area of each class in its legend.

    Parameters
    ----------
    change
        Shape (y, x), with a CRS, as `labels.change_map` returns it: 0 land, 1 water, 2 lost,
        3 gained, 255 missing; or as it is read back from a file.
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
    TypeError
        If an argument has the wrong type.
    ValueError
        If `change` is not a change map, has no CRS, or coordinates are not evenly spaced.

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
    _check_arguments(ax, title)
    change = check_labels(change, what="change")
    found = meanings_of(change)
    if found != dict(enumerate(CHANGE_COLORS)):
        raise ValueError(
            f"change must have the classes {' '.join(CHANGE_COLORS)} with the numbers 0 to 3 in "
            f"flag_meanings and flag_values, got {found or 'neither'}: make it with "
            "cookbook_utils.labels.change_map"
        )
    areas = class_areas(change)
    classes = {
        number: (f"{name} {areas[name]:,.1f} km²", color)
        for number, (name, color) in enumerate(CHANGE_COLORS.items())
    }
    if NODATA_LABEL in change:
        classes[NODATA_LABEL] = ("missing", MISSING_COLOR)
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
    centered on 0 and darkest there, else it is darkest at its lower end. Labels that were read from
    a file as floats are known by their ``flag_meanings``, or by the uint8 that the file holds.
    Missing points are gray and lie below the others. The fewer points, the larger
    they are.

    Parameters
    ----------
    points
        Coordinates ``longitude`` and ``latitude`` (point), degrees.
    values
        Shape (point): integers, 255 missing, or floats, missing where NaN, infinite or the declared
        nodata value; the color bar bears their ``long_name`` and ``units``. By default all points
        have one color.
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
        If an argument has the wrong type, or values are not real numbers.
    ValueError
        If the values do not match the points, a coordinate or every value is missing, or a label
        is not from 0 to 254.

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
    _check_arguments(ax, title, names)
    place = degrees_of(points)
    if values is None:
        return _draw_points(place, np.full(place[0].size, "0.3"), None, ax, title)
    values = match_points(values, points, "values")
    if _are_labels(values):
        labels = as_labels(values, "values", ["point"])
        classes = classes_of(labels, names)
        colors, present = _color_table(classes)[labels.values], labels.values != NODATA_LABEL
        ax = _draw_points(place, colors, present, ax, title, len(classes))
        _class_legend(ax, classes)
        return ax
    quantity = mask_and_float(values).astype(np.float64)  # float32 overflows between percentiles
    scale, present = _color_scale(quantity), np.isfinite(quantity.values)
    colors = scale.to_rgba(np.ma.masked_where(~present, quantity.values))
    ax = _draw_points(place, colors, present, ax, title)
    label = str(values.attrs.get("long_name", values.name) or "")
    label = label[:1].upper() + label[1:]
    units = units_of(values)
    label += f" ({units})" if units not in (None, "1") else ""
    label += "" if present.all() else "\ngray: missing"
    # An inset is as high as the map, whatever the shape of the map.
    bar = ax.figure.colorbar(scale, cax=ax.inset_axes((1.02, 0, 0.04, 1)))
    bar.set_label(label, parse_math=False)
    return ax


def _are_labels(values: xr.DataArray) -> bool:
    """Return whether values are labels, also where a reader turned their missing ones into NaN."""
    stored = values.encoding.get("dtype", values.dtype)
    return (
        values.dtype.kind in "biu"
        or "flag_meanings" in values.attrs
        or (stored == np.uint8 and "scale_factor" not in values.encoding)
    )


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
        returns them; a line has a gap where a mean is NaN. A ``wavelength`` coordinate is the x
        axis, in its ``units`` (µm by default); without it the band names are.
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
    TypeError
        If an argument has the wrong type.
    ValueError
        If a variable or dimension is missing, clusters are not numbers from 0 to 254, each once, or
        a wavelength is missing.

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
    _check_arguments(ax, title, names)
    profiles, classes = _clusters_of(profiles, {"mean": "band", "std": "band"}, names)
    by_wavelength = "wavelength" in profiles["mean"].coords
    if by_wavelength:
        profiles = profiles.sortby(_wavelength_of(profiles["mean"]))
    mean = profiles["mean"]
    ax = _new_axes(len(classes)) if ax is None else ax
    band_names = [str(name) for name in mean["band"].values]
    if by_wavelength:
        positions = mean["wavelength"].values
        units = units_of(mean["wavelength"]) or "um"
        ax.set_xlabel(f"Wavelength ({units.replace('um', 'µm')})")
        top = ax.secondary_xaxis("top")
        top.set_xticks(positions, band_names, rotation=60, ha="left", rotation_mode="anchor")
        top.tick_params(length=3, pad=2)
    else:
        positions = np.arange(len(band_names))
        ax.set_xticks(positions, band_names)
        ax.set_xlabel("Band")
    for row, (number, (name, color)) in enumerate(classes.items()):
        _draw_spread(ax, positions, number, profiles.isel(cluster=row), color, label=name)
    units, scaling = units_of(mean) or "value", mean.attrs.get("scaling")
    quantity = f"{scaling} value" if scaling else "reflectance" if units == "1" else units
    ax.set_ylabel(quantity.capitalize())
    return _finish_profiles(ax, title)


def _wavelength_of(mean: xr.DataArray) -> xr.DataArray:
    """Return the wavelength of each band, or raise."""
    wavelength = mean["wavelength"]
    require_dims(wavelength, ["band"], "wavelength of the profiles")
    if not np.isfinite(wavelength.values).all():
        raise ValueError(
            f"wavelength of the profiles must be finite, got {wavelength.values.tolist()}: without "
            "it, .drop_vars('wavelength'), the band names are the x axis"
        )
    return wavelength


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
    TypeError
        If an argument has the wrong type, or ``time`` is not datetime64.
    ValueError
        If a variable or dimension is missing, a date is missing or there twice, counts are not
        whole numbers, or clusters are not numbers from 0 to 254, each once.

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
    _check_arguments(ax, title, names)
    wanted = {"mean": "time", "std": "time", "count": None}
    profiles, classes = _clusters_of(profiles, wanted, names)
    _require_dates(profiles["time"])
    counts = profiles["count"].values
    if not (np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))).all():
        raise ValueError(
            f"count of the profiles must be whole numbers of at least 0, got {counts.tolist()}"
        )
    ax = _new_axes(len(classes)) if ax is None else ax
    profiles = profiles.sortby("time")
    for row, (number, (name, color)) in enumerate(classes.items()):
        cluster = profiles.isel(cluster=row).dropna("time", subset=["mean"])
        label = f"{name}, {int(counts[row]):,} points"
        gaps = np.flatnonzero(np.diff(cluster["time"].values) > SERIES_GAP) + 1
        for start, stop in itertools.pairwise([0, *gaps, cluster.sizes["time"]]):
            part, dates = cluster.isel(time=slice(start, stop)), cluster["time"].values[start:stop]
            _draw_spread(ax, dates, number, part, color, label=label, markevery=12, ms=4)
            label = None  # one line in the legend
    units = units_of(profiles["mean"])
    ax.set(xlabel="Date", ylabel="Displacement" + (f" ({units})" if units else ""))
    return _finish_profiles(ax, title)


def _require_dates(time: xr.DataArray) -> None:
    """Raise unless `time` holds dates, each once."""
    # A time zone makes a dtype of pandas.
    if not isinstance(time.dtype, np.dtype) or time.dtype.kind != "M":
        raise TypeError(f"time of the profiles must be dates (datetime64), got {time.dtype}")
    index = time.to_index()
    if index.hasnans or not index.is_unique:
        found = "a missing one" if index.hasnans else f"{index[index.duplicated()][0]} twice"
        raise ValueError(f"time of the profiles must hold each date once, got {found}")
    first, last = index.min(), index.max()
    if first < pd.Timestamp.min or last > pd.Timestamp.max:
        raise ValueError(
            f"time of the profiles must lie in the years 1678 to 2261, got {first} to {last}"
        )


def _clusters_of(
    profiles: xr.Dataset, wanted: Mapping[str, str | None], names: Mapping[int, str] | None
) -> tuple[xr.Dataset, dict[int, tuple[str, str]]]:
    """Return profiles in memory, and the name and color of each of their clusters, or raise.

    `wanted` names the variables, and the dimension that each has beside ``cluster``.
    """
    if not isinstance(profiles, xr.Dataset):
        raise TypeError(
            "profiles must be an xarray.Dataset, as cookbook_utils.metrics.cluster_profiles "
            f"returns it, got {type(profiles).__name__}"
        )
    absent = [name for name in wanted if name not in profiles]
    if absent:
        raise ValueError(
            f"profiles must have the variables {list(wanted)}, as those of "
            f"cookbook_utils.metrics.cluster_profiles, got {list(profiles)} without {absent}"
        )
    for name, along in wanted.items():
        require_dims(profiles[name], ["cluster", *filter(None, [along])], f"{name} of the profiles")
    profiles = profiles[list(wanted)].compute()
    profiles["mean"] = profiles["mean"].where(np.isfinite(profiles["mean"]))
    if profiles["mean"].isnull().all():
        raise ValueError("mean of the profiles must have a value that is not missing, got none")
    clusters = as_labels(profiles["cluster"], "cluster of the profiles", ["cluster"])
    numbers = clusters.values.tolist()
    if NODATA_LABEL in numbers or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"cluster of the profiles must be numbers from 0 to {NODATA_LABEL - 1}, each once, "
            f"got {numbers}"
        )
    return profiles, name_and_color(numbers, meanings_of(clusters), names)


def _draw_spread(
    ax: Axes, positions: np.ndarray, number: int, cluster: xr.Dataset, color: str, **line: Any
) -> None:
    """Draw the mean of one cluster as a line, with a band of one standard deviation around it."""
    mean, std = cluster["mean"].values, cluster["std"].values
    ax.fill_between(positions, mean - std, mean + std, color=color, alpha=0.15, lw=0)
    # The line style moves on with each round of the markers, so that no two clusters share both.
    style = _LINES[(number + number // len(_MARKERS)) % len(_LINES)]
    ax.plot(positions, mean, color=color, marker=_MARKERS[number % len(_MARKERS)],
            linestyle=style, markeredgecolor="0.2", **line)  # fmt: skip


def _finish_profiles(ax: Axes, title: str | None) -> Axes:
    ax.grid(alpha=0.3)
    _legend(ax, [line for line in ax.lines if not line.get_label().startswith("_child")])
    if title is not None:
        ax.set_title(title, parse_math=False)
    return ax


def _check_arguments(ax: Any, title: Any, names: Any = None) -> None:
    """Raise unless the arguments that all figures share have the right types."""
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes or None, got {type(ax).__name__}")
    check_text(title, names)


def _new_axes(entries: int = 0) -> Axes:
    """Return the Axes of a new figure, which is wide enough for the `entries` of a legend."""
    import matplotlib.pyplot as plt

    columns, crowded = _legend_columns(entries)
    width = 7 + (columns - 1) * (0.9 if crowded else 1.4)
    return plt.subplots(figsize=(width, 5), layout="constrained")[1]


def _legend_columns(entries: int) -> tuple[int, bool]:
    """Return how many columns a legend has, and whether its entries are small."""
    crowded = entries > 2 * LEGEND_ROWS
    rows = LEGEND_ROWS * 3 // 2 if crowded else LEGEND_ROWS
    return max(1, -(-entries // rows)), crowded


def _draw_map(
    array: xr.DataArray,
    rgba: np.ndarray,
    ax: Axes | None,
    title: str | None,
    *,
    interpolation: str,
    entries: int = 0,
) -> Axes:
    """Draw `rgba` where `array` lies, with axes in km or degrees and room for a legend."""
    axes = axes_of(array)
    ax = _new_axes(entries) if ax is None else ax
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
    entries: int = 0,
) -> Axes:
    """Draw points in `colors`, those that are not `present` below the others."""
    ax = _new_axes(entries) if ax is None else ax
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
        raise ValueError(f"values must have one that is not missing, got {values.size} missing")
    low, high = np.percentile(finite, (2, 98))
    if finite.max() / 4 - finite.min() / 4 > np.finfo(np.float64).max / 8:
        found = f"{finite.min()} to {finite.max()}"
        raise ValueError(f"values must be numbers from -1e307 to 1e307, got {found}")
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
        ax.set_title(title, parse_math=False)


def _draw_labels(
    labels: xr.DataArray,
    classes: Mapping[int, tuple[str, str]],
    ax: Axes | None,
    title: str | None,
) -> Axes:
    table = (255 * _color_table(classes)).round().astype("uint8")
    shown = thin(labels, FIGURE_PIXELS)
    pixels, entries = table[shown.values], len(classes)
    ax = _draw_map(shown, pixels, ax, title, interpolation="nearest", entries=entries)
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
    _legend(ax, handles)


def _legend(ax: Axes, handles: Sequence[Any]) -> None:
    """Put a legend to the right of the Axes, where it hides nothing, small where it is long."""
    columns, crowded = _legend_columns(len(handles))
    size = {"fontsize": 6, "columnspacing": 1, "handlelength": 1} if crowded else {}
    legend = ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0,
        frameon=False, ncols=columns, **size,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name with two dollar signs is no formula
