"""Inter-image k-means of the scenes of a command, which continues after it was stopped."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import xarray as xr

from cookbook_utils.cli import _maps

LABELS, MODEL, CHECKPOINT = "labels", "model.npz", "fit.checkpoint"
OPTIONS = ("n_clusters", "random_state", "max_iter", "sample")
PIXELS_OF_FIT = 5_000_000  # of all scenes together, on which the centers are found by default


def add_clustering_arguments(parser: argparse.ArgumentParser) -> Any:
    """Add the arguments of `OPTIONS`, and return their group."""
    group = parser.add_argument_group("clustering")
    group.add_argument("-k", "--n-clusters", type=int, default=8, help="default: %(default)s")
    group.add_argument("--random-state", type=int, default=0, help="default: %(default)s")
    group.add_argument("--max-iter", type=int, default=100, help="default: %(default)s")
    group.add_argument(
        "--sample",
        type=float,
        metavar="SHARE",
        help="share of the pixels on which the centers are found; default: one that gives about "
        f"{PIXELS_OF_FIT:,} pixels",
    )
    return group


def check_clustering(options: argparse.Namespace) -> None:
    """Raise TypeError or ValueError unless the arguments of `OPTIONS` are valid."""
    from cookbook_utils.interimage import InterImageKMeans
    from cookbook_utils.interimage.checks import check_parameters

    check_parameters(InterImageKMeans(**{name: getattr(options, name) for name in OPTIONS}))


def require_pixels(scenes: Mapping[str, xr.DataArray], n_clusters: int) -> None:
    """Raise ValueError if scenes have fewer pixels than there are clusters."""
    n_pixels = sum(scene[0].size for scene in scenes.values())
    if n_pixels < n_clusters:
        raise ValueError(
            f"n_clusters must be at most the number of pixels, {n_pixels}, got {n_clusters}"
        )


def cluster_scenes(
    scenes: Mapping[str, xr.DataArray], folder: Path, options: argparse.Namespace
) -> dict[str, Path]:
    """Fit centers that all scenes share, and write the label map of each scene.

    Parameters
    ----------
    scenes : mapping of str to xarray.DataArray
        Scenes (band, y, x) by their names.
    folder : pathlib.Path
        Folder of the results. A model or maps that it holds are not made again, and the checkpoint
        of a fit that was stopped is continued.
    options : argparse.Namespace
        The arguments of `add_clustering_arguments`.

    Returns
    -------
    dict of str to pathlib.Path
        The label maps by the names of the scenes.
    """
    from cookbook_utils.interimage import InterImageKMeans

    path = folder / MODEL
    if not path.exists():
        n_pixels = sum(scene[0].size for scene in scenes.values())
        share = PIXELS_OF_FIT / n_pixels
        if options.sample is not None:
            share = options.sample
        elif share >= 1:
            share = None
        model = InterImageKMeans(
            options.n_clusters,
            max_iter=options.max_iter,
            random_state=options.random_state,
            checkpoint=folder / CHECKPOINT,
        )
        with _maps.progress_of_dask("centers"):
            pixels = list(scenes.values())
            model.fit(pixels if share is None else _draw(pixels, share, options))
        model.save(path)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    model = InterImageKMeans.load(path)  # without the labels of the fit, which fill memory
    return _maps.write_all(folder / LABELS, scenes, model.predict)


def _draw(
    scenes: Sequence[xr.DataArray], share: float, options: argparse.Namespace
) -> xr.DataArray:
    """Return a share of the valid pixels of all scenes in memory, as a table (pixel, band).

    Each file is read once. A fit of the scenes themselves with `sample` also computes their range,
    digest, labels and distances, for which it reads all files again, or holds all pixels in memory.
    """
    from cookbook_utils.interimage.sampling import Sampling
    from cookbook_utils.interimage.scenes import read_scenes
    from cookbook_utils.interimage.selection import make_engine

    sampling = Sampling(share, stratified=True, seed=options.random_state)
    found, _ = read_scenes(list(scenes))
    with closing(make_engine("auto", found, options.n_clusters, sampling)) as engine:
        pixels = engine.valid_pixels()
    band = {"band": scenes[0]["band"].values}
    return xr.DataArray(pixels, band, ("pixel", "band"), attrs=scenes[0].attrs)
