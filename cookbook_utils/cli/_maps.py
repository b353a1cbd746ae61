"""Label maps of several scenes: written one by one, and described by tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._conventions.labels import label_attrs
from cookbook_utils._files import replacing, tidy
from cookbook_utils.cli._report import Section

CHUNKS = {"y": 1024, "x": 1024}  # pixels
SIDE = 700  # pixels along a side, at most, of what is drawn; the others are skipped
CLASSES = "classes.csv"  # the table of `class_table`
WIDTH = 7.0  # inches of a figure
SPECTRA = 100  # whose names fit beside their figure
ENTRIES = 12  # of the legend of a map that fit beside it
TRUE_COLOR = ("red", "green", "blue")
FALSE_COLOR = ("nir", "red", "green")


@contextmanager
def progress_of_dask(what: str) -> Iterator[None]:
    """Show a bar for each computation of Dask within the block, on a terminal."""
    import sys

    from tqdm.dask import TqdmCallback

    with TqdmCallback(desc=what, leave=False, disable=not sys.stderr.isatty(), miniters=1):
        yield


def write_all(
    folder: Path,
    scenes: Mapping[str, xr.DataArray],
    label: Callable[[xr.DataArray], xr.DataArray],
) -> dict[str, Path]:
    """Write the label map of each scene, unless it is there already.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the maps.
    scenes : mapping of str to xarray.DataArray
        The scenes by their names.
    label : callable
        Returns the label map of a scene, which may be lazy.

    Returns
    -------
    dict of str to pathlib.Path
        The files by the names of the scenes.
    """
    from cookbook_utils.export import write_label_map

    maps = {}
    for name, scene in scenes.items():
        maps[name] = folder / f"{name}.tif"
        if maps[name].exists():  # only if it is complete
            tidy(maps[name])
        else:
            folder.mkdir(exist_ok=True)
            with progress_of_dask(name):
                write_label_map(maps[name], label(scene))
    return maps


def areas_of(labels: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """Return the area of each class in km², one column for each map."""
    from cookbook_utils.areas import class_areas

    table = pd.DataFrame({name: class_areas(one) for name, one in labels.items()})
    return table.fillna(0.0).rename_axis("class").rename_axis("area in km²", axis="columns")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table, and replace the file only when it is complete."""
    with replacing(path) as temporary:
        table.to_csv(temporary)


def class_table(names: Mapping[int, str], n_clusters: int) -> pd.DataFrame:
    """Return the class of each cluster: its name, or its number where it has none."""
    classes = [names.get(number, f"cluster_{number}") for number in range(n_clusters)]
    return pd.DataFrame({"class": classes}, pd.RangeIndex(n_clusters, name="cluster"))


def read_class_table(path: str) -> pd.Series:
    """Return the class of each cluster from a CSV file as `class_table` gives it, or raise."""
    try:
        table = pd.read_csv(path, dtype={"class": str}, keep_default_na=False)
        classes = table.set_index("cluster")["class"]
    except (OSError, ValueError, KeyError) as error:  # no file, no table, or no such column
        raise ValueError(
            f"--classes must be a CSV file with the columns cluster and class, got {path}: {error}"
        ) from None
    if not pd.api.types.is_integer_dtype(classes.index) or classes.index.has_duplicates:
        raise ValueError(f"--classes must give each cluster by its number, once, got {path}")
    return classes


def open_map(path: Path) -> xr.DataArray:
    """Open a label map that `write_all` wrote lazily, so that many need not fit in memory."""
    import rioxarray

    labels = rioxarray.open_rasterio(path, chunks=CHUNKS, lock=False)
    return labels.squeeze("band", drop=True)


def thinned(array: xr.DataArray) -> xr.DataArray:
    """Compute every nth row and column, so that there are at most `SIDE` of each."""
    steps = {dim: -(-array.sizes[dim] // SIDE) for dim in ("y", "x")}
    return array.isel({dim: slice(step // 2, None, step) for dim, step in steps.items()}).compute()


def figure_sections(
    scenes: Mapping[str, xr.DataArray], labels: Mapping[str, xr.DataArray], names: Mapping[int, str]
) -> list[Section]:
    """Return the spectra of the clusters, then the image and the map of each scene."""
    thin = [{name: thinned(one) for name, one in each.items()} for each in (scenes, labels)]
    return [spectra_section(*thin, names), *scene_sections(*thin, names)]


def water_names(table: pd.DataFrame) -> dict[int, str]:
    """Return the name of each cluster that is water in the result of `water_table`."""
    return {int(number): "water" for number in table.index[table["water"]]}


def spectra_section(
    scenes: Mapping[str, xr.DataArray], labels: Mapping[str, xr.DataArray], names: Mapping[int, str]
) -> Section:
    """Return the mean spectrum of each cluster, of the pixels of thinned scenes."""
    from matplotlib.figure import Figure

    from cookbook_utils import plotting
    from cookbook_utils.metrics import cluster_profiles
    from cookbook_utils.stacking import stack_pixels

    samples, numbers = [], []
    for name, pixels in scenes.items():
        if pixels.notnull().all("band").any():
            table = stack_pixels(pixels)[:: len(scenes)]  # as many of all scenes as of one
            flat = labels[name].stack(pixel=("y", "x")).sel(pixel=table.indexes["pixel"])
            samples.append(table.reset_index("pixel", drop=True))
            numbers.append(flat.values)
    section = Section("Spectra")
    if not samples:
        section.paragraphs.append("No valid pixel is on the lattice from which spectra are taken.")
        return section
    together = xr.concat(samples, "pixel", coords="minimal", compat="override")
    values = np.concatenate(numbers)
    flat = xr.DataArray(values, dims="pixel", attrs=label_attrs(values.dtype))
    profiles = cluster_profiles(together, flat)
    if profiles.sizes["cluster"] > SPECTRA:
        section.paragraphs.append(
            f"The spectra of more than {SPECTRA} clusters would hide each other."
        )
        return section
    figure = Figure((WIDTH, 5), layout="constrained")  # the height of a column of its legend
    plotting.plot_profiles(profiles, names=_all_names(profiles, names), ax=figure.subplots())
    section.add_figure(
        figure,
        f"Mean reflectance of each cluster and one standard deviation, of {together.sizes['pixel']}"
        " pixels on a regular lattice over all scenes.",
    )
    return section


def _all_names(profiles: xr.Dataset, names: Mapping[int, str]) -> dict[int, str]:
    return {int(n): f"{names[int(n)]} {n}" for n in profiles.cluster.values if int(n) in names}


def scene_sections(
    scenes: Mapping[str, xr.DataArray], labels: Mapping[str, xr.DataArray], names: Mapping[int, str]
) -> Iterator[Section]:
    """Yield the image and the label map of each thinned scene, side by side."""
    from matplotlib.figure import Figure

    from cookbook_utils import plotting

    for name, scene in scenes.items():
        section = Section(name)
        bands = next(
            (c for c in (TRUE_COLOR, FALSE_COLOR) if set(c) <= set(scene.band.values)), None
        )
        if bands is None:
            bands, title = tuple(scene.band.values[[0, 0, 0]]), str(scene.band.values[0])
        else:
            title = "True color" if bands == TRUE_COLOR else "False color"
        if not scene.sel(band=list(dict.fromkeys(bands))).notnull().all("band").any():
            section.paragraphs.append("No pixel of it is valid, of those that a figure would show.")
            yield section
            continue
        figure = Figure((WIDTH, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        plotting.plot_rgb(scene, bands=bands, ax=left, title=title)
        plotting.plot_labels(labels[name], names=names, ax=right, title="Clusters")
        if (legend := right.get_legend()) and len(legend.get_texts()) > ENTRIES:
            legend.remove()  # the colors are those of the spectra
        day = scene.coords["time"].dt.strftime("%Y-%m-%d").item() if "time" in scene.coords else ""
        section.add_figure(figure, f"{name}{', ' + day if day else ''}: {title.lower()}, clusters.")
        yield section


def table_section(tables: Mapping[str, Any]) -> Section:
    """Return all tables with their captions."""
    captions = {
        "areas": "Area of each cluster in km².",
        "water": "Which clusters are water by the rule of Zou et al. (2018).",
        "accuracy": "Accuracy of each class, with intervals at the level of 95 %.",
        "change": "Area of each change in km².",
    }
    section = Section("Tables")
    for name, table in tables.items():
        section.add_table(table, captions[name])
    return section
