"""The command ``points``: clusters of radar points by their motion, as files and a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_integer, require_random_state
from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils._files import tidy
from cookbook_utils.cli import _maps
from cookbook_utils.cli._report import Section, write_report
from cookbook_utils.cli._results import add_result_arguments, describe_source, results

SUMMARY = "cluster displacement series of EGMS or MintPy by their motion"
EXAMPLES = """\
  satellite-clustering points EGMS_L2b_022_0845_IW2_VV_2020_2024_1.zip --out ustica -k 4
  satellite-clustering points egms/*.zip --out coast --format csv
  satellite-clustering points timeseries.h5 --out volcano
"""
FORMATS = ("parquet", "csv", "gpkg")
RESULTS = (
    "series", "features", *(f"points.{kind}" for kind in FORMATS),
    *(f"points.{kind}.json" for kind in FORMATS), "profiles.csv", "report.html",
)  # fmt: skip
NAME = "cluster"  # of the labels beside the features
POINTS_OF_PROFILES = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "sources", nargs="+", metavar="FILE", help="CSV or zip of EGMS, or HDF5 of MintPy"
    )
    add_result_arguments(parser)
    parser.add_argument("--format", choices=FORMATS, default="parquet", help="of the points")
    parser.add_argument(
        "--dates",
        choices=("same", "common", "all"),
        default="same",
        help="what to do if files have different dates: fail, keep common ones, or leave gaps",
    )
    parser.add_argument("-k", "--n-clusters", type=int, default=6, help="default: %(default)s")
    parser.add_argument("--random-state", type=int, default=0, help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Cluster the points, and write the results to the folder that ``--out`` names."""
    from cookbook_utils.export import write_points

    require_integer(options.n_clusters, "n_clusters", least=1, most=NODATA_LABEL)
    require_random_state(options.random_state)
    what = {"sources": [describe_source(source) for source in options.sources]}
    names = ("command", "format", "dates", "n_clusters", "random_state")
    what |= {name: getattr(options, name) for name in names}
    with results(options.out, what, RESULTS, overwrite=options.overwrite) as folder:
        points, shards = _label(folder, options)
        labels = shards.read_labels(NAME)
        profiles = _profiles(points, labels)
        path = folder / f"points.{options.format}"
        if path.exists():
            tidy(path)
        else:
            write_points(path, points, labels, profiles=profiles)
        _summarize(points, labels, profiles, folder, options.command_line)
    print(folder / "report.html")
    return 0


def _bar(iterable: Any = None, **options: Any) -> Any:
    """Return a progress bar on a terminal, and nothing but the items elsewhere."""
    from tqdm import tqdm

    return tqdm(iterable, disable=not sys.stderr.isatty(), **options)


def _label(folder: Path, options: argparse.Namespace) -> tuple[xr.Dataset, Any]:
    """Return the points, and the shards of their features with labels, made as far as needed."""
    from cookbook_utils.insar import open_points
    from cookbook_utils.minibatch import MiniBatchShardKMeans, label_shards
    from cookbook_utils.reservoir import embed_shards
    from cookbook_utils.shards import PointShards

    series, features = folder / "series", folder / "features"
    points = open_points(options.sources, folder=series, dates=options.dates, progress=_bar)
    if points.sizes["point"] < options.n_clusters:
        raise ValueError(
            f"n_clusters must be at most the number of points, {points.sizes['point']}, got "
            f"{options.n_clusters}"
        )
    embed_shards(series, features, progress=_bar)
    shards = PointShards(features)
    labels = features / f"labels-{NAME}.parquet"
    if labels.exists():
        tidy(labels)
    else:
        model = MiniBatchShardKMeans(options.n_clusters, random_state=options.random_state)
        label_shards(shards, model.fit(shards, progress=_bar), NAME, progress=_bar)
    return points, shards


def _profiles(points: xr.Dataset, labels: np.ndarray) -> xr.Dataset:
    """Return the mean motion of each cluster, of points spread evenly over all."""
    from cookbook_utils.insar import fill_gaps
    from cookbook_utils.minibatch import displacement_profiles

    chosen = np.arange(0, labels.size, -(-labels.size // POINTS_OF_PROFILES))
    some = fill_gaps(points[["displacement"]].isel(point=chosen).compute())
    return displacement_profiles(some, labels[chosen])


def _summarize(
    points: xr.Dataset, labels: np.ndarray, profiles: xr.Dataset, folder: Path, command: str
) -> None:
    """Write the profiles and the report."""
    from matplotlib.figure import Figure

    from cookbook_utils import plotting

    table = profiles["mean"].to_pandas()
    _maps.write_csv(folder / "profiles.csv", table)
    places = Section("Map and motion")
    figure = Figure((_maps.WIDTH, 5), layout="constrained")
    coords = {name: points.coords[name] for name in ("longitude", "latitude")}
    plotting.plot_points(xr.Dataset(coords=coords), labels, ax=figure.subplots())
    places.add_figure(figure, "Points, colored by cluster.")
    figure = Figure((_maps.WIDTH, 4), layout="constrained")
    plotting.plot_series(profiles, ax=figure.subplots())
    places.add_figure(figure, "Mean displacement of each cluster and one standard deviation.")
    counts = pd.Series(np.bincount(labels, minlength=256)[:255], name="points")
    counts = counts[counts > 0].rename_axis("cluster").to_frame()
    places.add_table(counts, "Number of points of each cluster.")
    dates = points["time"].dt.strftime("%Y-%m-%d").values
    summary = f"{labels.size:,} points, {dates.size} dates from {dates[0]} to {dates[-1]}."
    write_report(folder / "report.html", "Moving points", summary, [places], command)
