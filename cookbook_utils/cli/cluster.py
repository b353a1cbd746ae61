"""The command ``cluster``: labels that many scenes share, as maps, tables and a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._conventions.labels import label_attrs, label_dtype, nodata_label
from cookbook_utils._vectors import classes_in, read_vectors
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
from cookbook_utils.cli._report import write_report
from cookbook_utils.cli._results import (
    add_result_arguments,
    describe_source,
    refuse_options,
    results,
)
from cookbook_utils.cli._sources import (
    add_search_arguments,
    add_source_arguments,
    check_pixels,
    describe,
    limit_memory,
    open_sources,
    search_terms,
)

SUMMARY = "cluster scenes with labels that all of them share, and write maps, tables and a report"
EXAMPLES = """\
  satellite-clustering cluster LC08_L2SP_042033_20171022.tar --out walker
  satellite-clustering cluster scenes/*.tif --out series --n-clusters 6
  satellite-clustering cluster S2B_MSIL2A_20240601.SAFE --out lake --bbox 11.0 47.9 11.2 48.1
  satellite-clustering cluster scene.tif --out lake --reference fields.gpkg --column crop
  satellite-clustering cluster --search earth_search --bbox 11.0 47.9 11.2 48.1 \\
      --period 2024-06-01/2024-08-31 --cloud-cover 10 --out lake
"""
RESULTS = (
    LABELS, MODEL, CHECKPOINT, "areas.csv", "water.csv", "accuracy.csv", _maps.CLASSES,
    "report.html",
)  # fmt: skip
SEARCH_TERMS = ("collection", "period", "cloud_cover", "limit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SCENE",
        help="a raster, a folder of them, a folder or archive as USGS or ESA delivers it, a STAC "
        "item or catalog, here or at https:// or s3:// (of a folder on a web server, its MTL or "
        "MTD_MSI file); or --search",
    )
    add_result_arguments(parser)
    add_source_arguments(parser)
    add_search_arguments(parser)
    group = add_clustering_arguments(parser)
    group.add_argument(
        "--method",
        choices=("interimage", "spectral"),
        default="interimage",
        help="k-means over all scenes, or spectral clustering of one; default: %(default)s",
    )
    group = parser.add_argument_group("accuracy")
    group.add_argument(
        "--reference",
        metavar="FILE",
        help="polygons or points of known classes at the date of the first scene; they name the "
        "clusters, and the accuracy is that of the same pixels",
    )
    group.add_argument("--column", help="the column of the reference that has the class")


def run(options: argparse.Namespace) -> int:
    """Cluster the scenes, and write the results to the folder that ``--out`` names."""
    from cookbook_utils.datasets import search_scenes

    _check(options)
    terms = search_terms(options) if options.search else None
    limit_memory()
    with results(options.out, _what(options), RESULTS, overwrite=options.overwrite) as folder:
        sources = search_scenes(**terms) if terms else options.sources
        scenes = open_sources(options, sources)
        require_pixels(scenes, options.n_clusters)
        if options.method == "spectral":
            _require_one(len(scenes))
        number = f"{len(scenes)} {'scene' if len(scenes) == 1 else 'scenes'}"
        print(f"{number} of {', '.join(_bands(scenes))}", file=sys.stderr)
        cluster = _cluster_spectral if options.method == "spectral" else cluster_scenes
        maps = cluster(scenes, folder, options)
        _summarize(scenes, maps, folder, options)
    print(f"{folder / 'report.html'}")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError if arguments contradict each other."""
    if options.sources and options.search:
        raise ValueError("give the scenes to cluster or --search, and not both")
    if not options.sources and not options.search:
        raise ValueError(
            "give the scenes to cluster, or --search; scenes come before options that take several "
            "values, such as --bands"
        )
    if not options.search:
        refuse_options(options, SEARCH_TERMS, "scenes that are named, not found by --search,")
    check_pixels(options)
    check_clustering(options)
    if bool(options.reference) != bool(options.column):
        raise ValueError("--reference needs --column, the name of the column with the class")
    if options.reference:
        classes_in(read_vectors(options.reference, None), options.column)
    if options.method == "spectral":
        refuse_options(options, ("sample", "max_iter"), "--method spectral")
        if len(options.sources) != 1:
            _require_one(len(options.sources) or "a search")


def _require_one(found: Any) -> None:
    """Raise ValueError if there is not one scene for spectral clustering."""
    if found != 1:
        raise ValueError(
            f"--method spectral takes one scene, got {found}: its labels of one scene mean nothing "
            "in another"
        )


def _what(options: argparse.Namespace) -> dict[str, Any]:
    """Return everything that determines the results."""
    reference = describe_source(options.reference) if options.reference else None
    return {
        "command": "cluster",
        **describe(options),
        **{name: getattr(options, name) for name in ("method", "column", *OPTIONS)},
        "reference": reference,
    }


def _bands(scenes: Mapping[str, xr.DataArray]) -> list[str]:
    return [str(band) for band in next(iter(scenes.values())).band.values]


def _cluster_spectral(
    scenes: Mapping[str, xr.DataArray], folder: Path, options: argparse.Namespace
) -> dict[str, Path]:
    """Cluster one scene spectrally, all bands on one scale, and label it block by block."""
    from cookbook_utils.spectral import NystroemSpectralClustering

    def label(scene: xr.DataArray) -> xr.DataArray:
        blocks = scene.data.rechunk({scene.get_axis_num("band"): -1})
        with _maps.progress_of_dask("scale"):
            pixels, mean, spread = _valid_pixels(blocks)
        model = NystroemSpectralClustering(options.n_clusters, random_state=options.random_state)
        with _maps.progress_of_dask("clusters"):
            model.fit((pixels - mean) / spread)
        data = blocks.map_blocks(
            _label_block, model, mean, spread,
            drop_axis=scene.get_axis_num("band"),
            meta=np.empty((0, 0), label_dtype(options.n_clusters)),
        )  # fmt: skip
        grid = scene.isel(band=0, drop=True)
        return grid.copy(data=data).rename("label").assign_attrs(label_attrs(data.dtype))

    return _maps.write_all(folder / LABELS, scenes, label)


def _valid_pixels(blocks: da.Array) -> tuple[da.Array, float, float]:
    """Return the pixels (pixel, band) that have all bands, lazy, their mean and their spread."""
    delayed = blocks.to_delayed().ravel()
    sums = np.array(dask.compute(*map(dask.delayed(_sums_of), delayed)))
    sizes = sums[:, 0].astype(int)
    if not sizes.any():
        raise ValueError("SCENE must have a pixel with a value in all bands, got none")
    n_values = sizes.sum() * len(blocks)
    mean = float(sums[:, 1].sum() / n_values)
    spread = float(np.sqrt(sums[:, 2].sum() / n_values - mean**2))
    pixels = [
        da.from_delayed(dask.delayed(_pixels_of)(block), (size, len(blocks)), blocks.dtype)
        for block, size in zip(delayed, sizes, strict=True)
        if size
    ]
    return da.concatenate(pixels), mean, spread


def _pixels_of(block: np.ndarray) -> np.ndarray:
    """Return the pixels (pixel, band) of a block of a scene (band, y, x) that have all bands."""
    pixels = block.reshape(len(block), -1).T
    return pixels[np.isfinite(pixels).all(axis=1)]


def _sums_of(block: np.ndarray) -> tuple[int, float, float]:
    """Return the number of valid pixels, the sum of their values, and that of the squares."""
    pixels = _pixels_of(block)
    return len(pixels), pixels.sum(dtype="f8"), np.square(pixels, dtype="f8").sum()


def _label_block(block: np.ndarray, model: Any, mean: float, spread: float) -> np.ndarray:
    """Return the labels (y, x) of a block of a scene (band, y, x)."""
    present = np.isfinite(block).all(axis=0)
    dtype = label_dtype(model.n_clusters)
    labels = np.full(block.shape[1:], nodata_label(dtype), dtype)
    if present.any():
        labels[present] = model.predict((_pixels_of(block) - mean) / spread)
    return labels


def _summarize(
    scenes: Mapping[str, xr.DataArray],
    maps: Mapping[str, Path],
    folder: Path,
    options: argparse.Namespace,
) -> None:
    """Write the tables and the report of the label maps."""
    from cookbook_utils.labels import WATER_BANDS, water_table

    labels = {name: _maps.open_map(path) for name, path in maps.items()}
    tables = {"areas": _maps.areas_of(labels)}
    names: dict[int, str] = {}
    if set(WATER_BANDS) <= set(_bands(scenes)):
        water = water_table(list(scenes.values()), list(labels.values()))
        tables["water"] = water
        names = _maps.water_names(water)
    if options.reference:
        tables["accuracy"], names = _accuracy(next(iter(maps.values())), options)
    for name, table in tables.items():
        _maps.write_csv(folder / f"{name}.csv", table)
    if not (folder / _maps.CLASSES).exists():  # it may have been edited since
        _maps.write_csv(folder / _maps.CLASSES, _maps.class_table(names, options.n_clusters))
    sections = [*_maps.figure_sections(scenes, labels, names), _maps.table_section(tables)]
    n_pixels = sum(int((one != nodata_label(one.dtype)).sum()) for one in labels.values())
    summary = (
        f"{len(scenes)} {'scene' if len(scenes) == 1 else 'scenes'}, {n_pixels:,} valid pixels, "
        f"{options.n_clusters} clusters of the bands {', '.join(_bands(scenes))}."
    )
    write_report(folder / "report.html", "Clusters", summary, sections, options.command_line)


def _accuracy(path: Path, options: argparse.Namespace) -> tuple[pd.DataFrame, dict[int, str]]:
    """Compare a map with the reference data, and name its clusters by them."""
    from cookbook_utils.accuracy import accuracy_table, rasterize_reference
    from cookbook_utils.export import read_label_map

    labels = read_label_map(path)
    table = accuracy_table(labels, rasterize_reference(options.reference, labels, options.column))
    clusters = table.clusters["class"].dropna()
    print(
        f"overall accuracy {table.overall:.3f}, 95 % interval "
        f"{table.overall_interval[0]:.3f} to {table.overall_interval[1]:.3f}",
        file=sys.stderr,
    )
    return table.classes, {int(number): str(name) for number, name in clusters.items()}
