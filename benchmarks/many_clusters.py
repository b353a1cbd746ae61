"""Compare whole fits with many clusters and bands: `InterImageKMeans`, faiss and scikit-learn.

All fits start from the same centers. One of ours runs until no more than one label in 10 000
changes, 100 iterations at most; the peers get as many. scikit-learn's tolerance is 0, so that it
cannot stop earlier unless no label changes. The pixels are of overlapping classes: uint16 band by
band for ours, float32 pixel by pixel for the peers. Whole fits are timed, with all that they
prepare and the last labels; `seconds_per_iteration` is the fit divided by its iterations.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._comparison import Comparison, Prepare
from benchmarks._pixels import as_scene, draw_centers, make_pixels

PACKAGES = ("faiss-cpu", "numba", "numpy", "scikit-learn")
CLUSTERS, BANDS = (8, 32, 160), (6, 16)
TOL, MOST_ITERATIONS = 1e-4, 100
ITERATIONS = "iterations.txt"


def our_model(k: int, bands: int) -> Any:
    from cookbook_utils.interimage import InterImageKMeans

    options = {"tol": TOL, "max_iter": MOST_ITERATIONS, "engine": "numba"}
    return InterImageKMeans(k, init=draw_centers(k, bands), **options)


def write_iterations(k: int, bands: int) -> Callable[[int, Path], None]:
    """Return a function that stores how many iterations a fit of ours takes."""

    def write(n: int, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as for the fits that are timed
            model = our_model(k, bands).fit(as_scene(make_pixels(n, bands)))
        (folder / ITERATIONS).write_text(str(model.n_iter_))

    return write


def timed_fit(fit: Callable[[], tuple[int, np.ndarray]]) -> Callable[[], dict]:
    """Return a call that times a fit, which returns its iterations and centers."""

    def call() -> dict:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge, or that clusters are empty
            iterations, centers = fit()
        seconds = time.perf_counter() - start
        each = float(f"{seconds / iterations:.4g}")
        return {"seconds": seconds, "iterations": int(iterations),
                "seconds_per_iteration": each, "result": centers}  # fmt: skip

    return call


def ours(k: int, bands: int) -> Prepare:
    def prepare(n: int, folder: Path) -> Any:
        model, scene = our_model(k, bands), as_scene(make_pixels(n, bands))

        def fit() -> tuple[int, np.ndarray]:
            model.fit(scene)
            return model.n_iter_, model.cluster_centers_

        return timed_fit(fit)

    return prepare


def peer_input(n: int, folder: Path, k: int, bands: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return pixels (n, bands) and the first centers (k, bands), float32, and the iterations."""
    table = np.ascontiguousarray(make_pixels(n, bands).T, np.float32)
    return table, draw_centers(k, bands).astype(np.float32), int((folder / ITERATIONS).read_text())


def scikit_learn(k: int, bands: int, algorithm: str) -> Prepare:
    def prepare(n: int, folder: Path) -> Any:
        from sklearn.cluster import KMeans

        table, start, iterations = peer_input(n, folder, k, bands)
        options = {"algorithm": algorithm, "max_iter": iterations, "tol": 0, "n_init": 1}
        model = KMeans(k, init=start, **options)

        def fit() -> tuple[int, np.ndarray]:
            model.fit(table)
            return model.n_iter_, model.cluster_centers_

        return timed_fit(fit)

    return prepare


def faiss(k: int, bands: int) -> Prepare:
    def prepare(n: int, folder: Path) -> Any:
        import faiss

        table, start, iterations = peer_input(n, folder, k, bands)

        def fit() -> tuple[int, np.ndarray]:
            options = {"min_points_per_centroid": 1, "max_points_per_centroid": n}
            model = faiss.Kmeans(bands, k, niter=iterations, **options)
            model.train(table, init_centroids=start)
            return len(model.iteration_stats), model.centroids

        return timed_fit(fit)

    return prepare


def compare(k: int, bands: int) -> Comparison:
    return Comparison(
        f"{k} clusters, {bands} bands",
        unit="pixels",
        sizes=(10_000, 100_000, 1_000_000),
        full_sizes=(100_000, 1_000_000, 3_000_000),
        ours={"InterImageKMeans, numba": ours(k, bands)},
        peers={
            "faiss Kmeans": faiss(k, bands),
            "scikit-learn KMeans, Lloyd": scikit_learn(k, bands, "lloyd"),
            "scikit-learn KMeans, Elkan": scikit_learn(k, bands, "elkan"),
        },
        warm_up=2000,
        rounds=2,
        write=write_iterations(k, bands),
    )


COMPARISONS = [compare(k, bands) for k in CLUSTERS for bands in BANDS]
