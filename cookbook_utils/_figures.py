"""Axes, legends, color scales and checks of the static figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.bands import units_of
from cookbook_utils._conventions.labels import MOST_CLASSES, labels_of, meanings_of
from cookbook_utils._maps import (
    LEGEND_ENTRIES,
    LEGEND_ROWS,
    MapAxes,
    axes_of,
    bounds_of,
    check_text,
    degree_axes,
    name_and_color,
    thin,
)
from cookbook_utils._palette import LEAST_CONTRAST, NODATA_COLOR, contrast_on_white

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

FIGURE_PIXELS = 1500
"""Largest number of rows or columns of a static figure; larger maps are thinned out."""

WIDTH = 7.0
"""Width of a figure in inches: the text column of a page."""

SERIES_GAP = np.timedelta64(60, "D")
"""Longest time between two dates that a line connects."""

MARKERS = "osD^vP*Xd<>p"
_LINES = ("-", "--", "-.", ":")


def check_arguments(ax: Any, title: Any, names: Any = None) -> None:
    """Raise unless the arguments that all figures share have the right types."""
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes or None, got {type(ax).__name__}")
    check_text(title, names)


# -- Axes and legends -----------------------------------------------------------------------------


def new_axes(entries: int = 0) -> Axes:
    """Return the Axes of a new figure, wide enough for a legend with that many entries."""
    import matplotlib.pyplot as plt

    columns, is_crowded = _legend_columns(entries if entries <= LEGEND_ENTRIES else 0)
    width = WIDTH + (columns - 1) * (0.9 if is_crowded else 1.4)
    return plt.subplots(figsize=(width, 5), layout="constrained")[1]


def _legend_columns(entries: int) -> tuple[int, bool]:
    """Return the number of columns of a legend, and whether its text must be small."""
    is_crowded = entries > 2 * LEGEND_ROWS
    rows = LEGEND_ROWS * 3 // 2 if is_crowded else LEGEND_ROWS
    return max(1, -(-entries // rows)), is_crowded


def set_title(ax: Axes, title: str | None) -> None:
    if title is not None:
        ax.set_title(title, parse_math=False)


def _name_map_axes(ax: Axes, axes: MapAxes, title: str | None) -> None:
    ax.set(xlabel=axes.x_label, ylabel=axes.y_label)
    ax.locator_params(nbins=5)
    ax.ticklabel_format(useOffset=False, style="plain")
    set_title(ax, title)


def add_legend(ax: Axes, handles: Sequence[Any]) -> None:
    """Add a legend to the right of the Axes, with small text if it is long."""
    columns, is_crowded = _legend_columns(len(handles))
    size = {"fontsize": 6, "columnspacing": 1, "handlelength": 1} if is_crowded else {}
    legend = ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0,
        frameon=False, ncols=columns, **size,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may contain dollar signs


def add_class_legend(ax: Axes, classes: Mapping[int, tuple[str, str]]) -> None:
    """Add a legend with one patch per class; numbers with the same name and color share one.

    There is none for more than `LEGEND_ENTRIES` classes.
    """
    from matplotlib.patches import Patch

    entries = dict.fromkeys(classes.values())
    if len(entries) > LEGEND_ENTRIES:
        return
    add_legend(ax, [Patch(fc=color, ec="0.4", lw=0.5, label=name) for name, color in entries])


# -- Maps and points ------------------------------------------------------------------------------


def draw_map(
    array: xr.DataArray,
    rgba: np.ndarray,
    ax: Axes | None,
    title: str | None,
    *,
    interpolation: str,
    entries: int = 0,
) -> Axes:
    """Draw `rgba` at the coordinates of `array`; new Axes leave room for a legend of `entries`."""
    axes = axes_of(array)
    ax = new_axes(entries) if ax is None else ax
    left, bottom, right, top = (axes.scale * edge for edge in bounds_of(array))
    ax.imshow(
        rgba, extent=(left, right, bottom, top), aspect=axes.aspect, interpolation=interpolation
    )
    _name_map_axes(ax, axes, title)
    return ax


def draw_labels(
    labels: xr.DataArray,
    classes: Mapping[int, tuple[str, str]],
    ax: Axes | None,
    title: str | None,
) -> Axes:
    """Draw a label map in the colors of its classes, with a legend."""
    table = (255 * color_table(classes)).round().astype("uint8")
    shown = thin(labels, FIGURE_PIXELS)
    ax = draw_map(
        shown, table[shown.values], ax, title, interpolation="nearest", entries=len(classes)
    )
    add_class_legend(ax, classes)
    return ax


def color_table(classes: Mapping[int, tuple[str, str]]) -> np.ndarray:
    """Return the color of each label number up to the largest, (labels, RGBA), from 0 to 1."""
    from matplotlib.colors import to_rgba_array

    table = np.zeros((max(classes) + 1, 4))
    table[list(classes)] = to_rgba_array([color for _, color in classes.values()])
    return table


def draw_points(
    place: tuple[xr.DataArray, xr.DataArray],
    colors: np.ndarray,
    is_present: np.ndarray,
    ax: Axes | None,
    title: str | None,
    *,
    entries: int = 0,
) -> Axes:
    """Draw points at (longitude, latitude); points without data lie below the others."""
    ax = new_axes(entries) if ax is None else ax
    order = np.argsort(is_present, kind="stable")
    longitude, latitude = (degrees.values[order] for degrees in place)
    box = ax.get_window_extent()
    area = box.width * box.height / ax.figure.dpi**2  # square inches
    size = np.clip(2000 * area / longitude.size, 0.5, 40)  # square points
    ax.scatter(longitude, latitude, s=size, c=colors[order], linewidth=0, rasterized=True)
    axes = degree_axes(place[1])
    ax.set_aspect(axes.aspect)
    _name_map_axes(ax, axes, title)
    return ax


def are_labels(values: xr.DataArray) -> bool:
    """Return whether values are labels, even if a reader converted them to floats with NaN."""
    stored = values.encoding.get("dtype", values.dtype)
    return (
        values.dtype.kind in "biu"
        or "flag_meanings" in values.attrs
        or (stored == np.uint8 and "scale_factor" not in values.encoding)
    )


def color_scale(values: xr.DataArray) -> ScalarMappable:
    """Return a color scale from the 2nd to the 98th percentile, centered on 0 if signs differ."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = values.values[np.isfinite(values.values)]
    if not finite.size:
        raise ValueError(
            f"values must hold a finite value, got {values.size} that are nodata, NaN or infinite"
        )
    low, high = np.percentile(finite, (2, 98))
    if finite.max() / 4 - finite.min() / 4 > np.finfo(np.float64).max / 8:
        found = f"{finite.min()} to {finite.max()}"
        raise ValueError(f"values must be numbers from -1e307 to 1e307, got {found}")
    is_centered = low < 0 < high
    if is_centered:
        high = max(-low, high)
        low = -high
    colors = colormaps["managua" if is_centered else "cividis"].with_extremes(bad=NODATA_COLOR)
    extends = {
        (False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both",
    }  # fmt: skip
    colors.colorbar_extend = extends[bool(finite.min() < low), bool(finite.max() > high)]
    return ScalarMappable(Normalize(low, high), colors)


def add_color_bar(ax: Axes, scale: ScalarMappable, values: xr.DataArray, has_nodata: bool) -> None:
    """Add a color bar with the ``long_name`` and units of `values`."""
    label = str(values.attrs.get("long_name", values.name) or "")
    label = label[:1].upper() + label[1:]
    units = units_of(values)
    if units not in (None, "1"):
        label += f" ({units})"
    label = textwrap.fill(label, 34)  # no longer than the map is high
    if has_nodata:
        label += "\ngray: nodata"
    # An inset is as high as the map, whatever the shape of the map.
    bar = ax.figure.colorbar(scale, cax=ax.inset_axes((1.02, 0, 0.04, 1)))
    bar.set_label(label, parse_math=False)


# -- Profiles and series --------------------------------------------------------------------------


def clusters_of(
    profiles: xr.Dataset, wanted: Mapping[str, Sequence[str]], names: Mapping[int, str] | None
) -> tuple[xr.Dataset, dict[int, tuple[str, str]]]:
    """Return profiles in memory, and the name and color of each of their clusters, or raise.

    `wanted` maps the names of the variables to their dimensions.
    """
    if not isinstance(profiles, xr.Dataset):
        raise TypeError(
            f"profiles must be an xarray.Dataset with the variables {list(wanted)}, got "
            f"{type(profiles).__name__}"
        )
    absent = [name for name in wanted if name not in profiles]
    if absent:
        raise ValueError(
            f"profiles must have the variables {list(wanted)}, got {list(profiles)}, without "
            f"{absent}"
        )
    for name, dims in wanted.items():
        require_dims(profiles[name], dims, f"{name} of the profiles")
    profiles = profiles[list(wanted)].compute()
    profiles["mean"] = profiles["mean"].where(np.isfinite(profiles["mean"]))
    if profiles["mean"].isnull().all():
        raise ValueError("mean of the profiles must hold a finite value, got none")
    what, clusters = "cluster of the profiles", profiles["cluster"]
    require_dims(clusters, ["cluster"], what)
    numbers = labels_of(clusters.values, what, dtype=np.uint16).tolist()
    if MOST_CLASSES in numbers or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"{what} must be numbers from 0 to {MOST_CLASSES - 1}, each once, got {numbers}"
        )
    if len(numbers) > LEGEND_ENTRIES:
        raise ValueError(
            f"profiles must have at most {LEGEND_ENTRIES} clusters to be drawn, got "
            f"{len(numbers)}: select some with profiles.sel(cluster=[...])"
        )
    return profiles, name_and_color(numbers, meanings_of(clusters), names)


def require_dates(time: xr.DataArray) -> None:
    """Raise unless `time` holds dates, each once."""
    # Times with a time zone have a dtype of pandas.
    if not isinstance(time.dtype, np.dtype) or time.dtype.kind != "M":
        raise TypeError(f"time of the profiles must be dates (datetime64), got {time.dtype}")
    index = time.to_index()
    if index.hasnans or not index.is_unique:
        found = "NaT" if index.hasnans else f"{index[index.duplicated()][0]} twice"
        raise ValueError(f"time of the profiles must hold each date once, got {found}")
    first, last = index.min(), index.max()
    if first < pd.Timestamp.min or last > pd.Timestamp.max:
        raise ValueError(
            f"time of the profiles must lie in the years 1678 to 2261, got {first} to {last}"
        )


def require_counts(counts: np.ndarray) -> None:
    """Raise unless the numbers of points are whole and at least 0."""
    if not (np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))).all():
        raise ValueError(
            f"count of the profiles must be whole numbers of at least 0, got {counts.tolist()}"
        )


def draw_band_axis(ax: Axes, mean: xr.DataArray) -> np.ndarray:
    """Label the x axis with wavelengths if there are any, else with band names.

    Returns
    -------
    numpy.ndarray
        Position of each band along x.
    """
    bands = [str(band) for band in mean["band"].values]
    if "wavelength" not in mean.coords:
        positions = np.arange(len(bands))
        ax.set_xticks(positions, bands)
        ax.set_xlabel("Band")
        return positions
    positions = mean["wavelength"].values
    units = units_of(mean["wavelength"]) or "um"
    ax.set_xlabel(f"Wavelength ({units.replace('um', 'µm')})")
    top = ax.secondary_xaxis("top")
    top.set_xticks(positions, bands, rotation=60, ha="left", rotation_mode="anchor")
    top.tick_params(length=3, pad=2)
    return positions


def sorted_by_wavelength(profiles: xr.Dataset) -> xr.Dataset:
    """Return the profiles sorted by wavelength if they have any, or raise if one is not finite."""
    if "wavelength" not in profiles["mean"].coords:
        return profiles
    wavelength = profiles["mean"]["wavelength"]
    require_dims(wavelength, ["band"], "wavelength of the profiles")
    if not np.isfinite(wavelength.values).all():
        raise ValueError(
            f"wavelength of the profiles must be finite, got {wavelength.values.tolist()}: drop "
            "it with .drop_vars('wavelength') to draw the bands by name"
        )
    return profiles.sortby(wavelength)


def parts_between_gaps(time: np.ndarray) -> Iterator[slice]:
    """Yield the slices of `time` in which no two consecutive dates lie over `SERIES_GAP` apart."""
    starts = [0, *np.flatnonzero(np.diff(time) > SERIES_GAP) + 1]
    yield from map(slice, starts, [*starts[1:], len(time)])


def draw_spread(
    ax: Axes, positions: np.ndarray, number: int, cluster: xr.Dataset, color: str, **line: Any
) -> None:
    """Draw the mean of one cluster as a line, with one standard deviation shaded around it."""
    from matplotlib.patheffects import withStroke

    mean, std = cluster["mean"].values, cluster["std"].values
    ax.fill_between(positions, mean - std, mean + std, color=color, alpha=0.15, lw=0)
    # The line style shifts with each cycle of the markers: no two clusters share both.
    style = _LINES[(number + number // len(MARKERS)) % len(_LINES)]
    if contrast_on_white(color) < LEAST_CONTRAST:
        line["path_effects"] = [withStroke(linewidth=2.2, foreground="0.2")]
    ax.plot(positions, mean, color=color, marker=MARKERS[number % len(MARKERS)],
            linestyle=style, markeredgecolor="0.2", **line)  # fmt: skip


def finish_lines(ax: Axes, title: str | None) -> Axes:
    """Add grid lines, the title and a legend of all lines that have a label."""
    ax.grid(alpha=0.3)
    add_legend(ax, [line for line in ax.lines if not line.get_label().startswith("_child")])
    set_title(ax, title)
    return ax
