"""The command ``change``: what changed between two dates, as map, areas and report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._conventions.labels import WATER_CLASSES, meanings_of, nodata_label
from cookbook_utils._files import tidy
from cookbook_utils.cli import _maps
from cookbook_utils.cli._clustering import (
    CHECKPOINT,
    LABELS,
    MODEL,
    OPTIONS,
    add_clustering_arguments,
    check_clustering,
    cluster_scenes,
    require_pixels,
)
from cookbook_utils.cli._report import Section, write_report
from cookbook_utils.cli._results import (
    add_result_arguments,
    describe_source,
    refuse_options,
    results,
)
from cookbook_utils.cli._sources import (
    add_source_arguments,
    check_pixels,
    describe,
    limit_memory,
    open_sources,
)

SUMMARY = "map what changed between two dates: of water in two scenes, or of classes in two maps"
EXAMPLES = """\
  satellite-clustering change 1988.tif 2017.tif --out lost-water
  satellite-clustering change 1988.tar 2017.tar --out lake --bbox -118.9 38.5 -118.6 38.8
  satellite-clustering change --maps forest_2000.tif forest_2020.tif --out forest
  satellite-clustering change --maps series/labels/1988.tif series/labels/2017.tif \\
      --classes series/classes.csv --out change
"""
CHANGE = "change.tif"
RESULTS = (
    LABELS, MODEL, CHECKPOINT, CHANGE, f"{CHANGE}.aux.xml", f"{CHANGE}.json", "areas.csv",
    "water.csv", "report.html",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    for name in ("before", "after"):
        parser.add_argument(name, metavar=name.upper(), help="scene, or label map with --maps")
    add_result_arguments(parser)
    parser.add_argument(
        "--maps",
        action="store_true",
        help="BEFORE and AFTER are label maps, whose classes have names or are given by --classes",
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="FILE",
        help="CSV with the columns cluster and class, which `cluster` writes and you may edit: one "
        "for maps of one run of `cluster`, whose labels mean the same, or one for each map",
    )
    add_source_arguments(parser)
    add_clustering_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Map the change, and write the results to the folder that ``--out`` names."""
    if options.maps:
        names = ("bbox", "bands", "date", "scale", "offset", "nodata", "mask", "margin", *OPTIONS)
        refuse_options(options, names, "change --maps")
    else:
        refuse_options(options, ("classes",), "change of scenes, without --maps,")
    if len(options.classes or ()) > 2:
        raise ValueError(
            f"--classes must be one file, or one for each map, got {len(options.classes)}"
        )
    check_pixels(options)
    check_clustering(options)
    limit_memory()
    options.sources = [options.before, options.after]
    what = {"command": "change", **describe(options)}
    what |= {name: getattr(options, name) for name in ("maps", *OPTIONS)}
    what["classes"] = [describe_source(path) for path in options.classes or ()]
    with results(options.out, what, RESULTS, overwrite=options.overwrite) as folder:
        compare = _compare_maps if options.maps else _compare_water
        before, after, sections, tables = compare(folder, options)
        sections += _write_change(before, after, folder, tables)
        for name, table in tables.items():
            _maps.write_csv(folder / f"{'areas' if name == 'change' else name}.csv", table)
        sections.append(_maps.table_section(tables))
        summary = f"From {options.sources[0]} to {options.sources[1]}."
        write_report(folder / "report.html", "Change", summary, sections, options.command_line)
    print(folder / "report.html")
    return 0


def _compare_maps(
    folder: Path, options: argparse.Namespace
) -> tuple[xr.DataArray, xr.DataArray, list[Section], dict[str, Any]]:
    from cookbook_utils.export import read_label_map
    from cookbook_utils.labels import name_clusters
    from cookbook_utils.regridding import regrid

    maps = [read_label_map(source) for source in options.sources]
    if options.classes:
        files = options.classes * 2
        for index, labels in enumerate(maps):
            table = _maps.read_class_table(files[index])
            try:
                maps[index] = name_clusters(labels, table)
            except ValueError as error:
                raise ValueError(f"--classes {files[index]}: {error}") from None
    for source, labels in zip(options.sources, maps, strict=True):
        _require_names(source, labels)
    before, after = maps
    return before, regrid(after, before, method="nearest"), [], {}


def _require_names(source: str, labels: xr.DataArray) -> None:
    """Raise ValueError if a map has no names and is no water mask."""
    other = np.setdiff1d(labels, (*range(len(WATER_CLASSES)), nodata_label(labels.dtype)))
    if other.size and not meanings_of(labels):
        raise ValueError(
            f"{source} must have names for its classes, got none for {other[:5].tolist()}: give "
            "them with --classes"
        )


def _compare_water(
    folder: Path, options: argparse.Namespace
) -> tuple[xr.DataArray, xr.DataArray, list[Section], dict[str, Any]]:
    """Return the water of two scenes on the grid of the first one, clustered together."""
    from cookbook_utils.labels import water_mask, water_table

    scenes = open_sources(options, options.sources, on_first_grid=True)
    if len(scenes) != 2:
        raise ValueError(f"BEFORE and AFTER must be one scene each, got {len(scenes)} scenes")
    require_pixels(scenes, options.n_clusters)
    maps = cluster_scenes(scenes, folder, options)
    labels = {
        name: _maps.open_map(path).assign_coords(time=scenes[name].coords["time"].variable)
        for name, path in maps.items()
    }
    both = [one != nodata_label(one.dtype) for one in labels.values()]
    if not (both[0] & both[1]).any():
        raise ValueError(
            f"BEFORE and AFTER must share valid pixels, got none: {' and '.join(scenes)} may be of "
            "different places"
        )
    pair = list(scenes.values()), list(labels.values())
    table = water_table(*pair)
    before, after = water_mask(*pair)
    sections = _maps.figure_sections(scenes, labels, _maps.water_names(table))
    return before, after, sections, {"water": table}


def _write_change(
    before: xr.DataArray, after: xr.DataArray, folder: Path, tables: dict[str, Any]
) -> list[Section]:
    """Write the map of change unless it is there, and return its table and its figure."""
    from matplotlib.figure import Figure

    from cookbook_utils import plotting
    from cookbook_utils.areas import class_areas
    from cookbook_utils.export import read_label_map, write_label_map
    from cookbook_utils.labels import change_map

    path = folder / CHANGE
    if path.exists():
        tidy(path)
    else:
        times = [one.coords["time"].values for one in (before, after) if "time" in one.coords]
        write_label_map(
            path, change_map(before, after), time=tuple(times) if len(times) == 2 else None
        )
    change = read_label_map(path)
    tables["change"] = class_areas(change).to_frame()
    figure = Figure((_maps.WIDTH, 5), layout="constrained")
    plotting.plot_labels(_maps.thinned(change), ax=figure.subplots())
    section = Section("Change")
    section.add_figure(figure, "Change between the two dates.")
    return [section]
