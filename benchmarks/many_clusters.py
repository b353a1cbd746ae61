"""Time k-means with many clusters and bands: `InterImageKMeans`, faiss and scikit-learn.

All fits start from the same centers, drawn among the pixels, and run in one process, in turn, round
after round. A fit of ours runs until no more than one label in 10 000 changes; then the peers get
as many iterations. scikit-learn's tolerance is 0, so that it cannot stop earlier unless no label
changes. The pixels are of overlapping classes: uint16 band by band for ours, float32 pixel by pixel
for the peers. Times are those of the clock, and of the processor, which other programs of a busy
machine change less; the ratios are to ours, by the clock. Whole fits are timed, with all that they
prepare and the last labels; the time of an iteration is the fit divided by their number. Labels of
every row of ours are compared with those of the engine "numpy" on part of the pixels. Run it from
the root of the repository:

    python -m benchmarks.many_clusters
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from benchmarks._result import about, write
from benchmarks._timing import in_turn

from cookbook_utils.interimage import InterImageKMeans, numba_kernels

CLASSES, SEED = 12, 0
GRID = [(8, 6), (32, 6), (160, 6), (32, 16), (160, 16)]  # clusters, bands
TOL, MOST_ITERATIONS = 1e-4, 300
PIXELS_TO_COMPARE = 20_000
OURS, FAISS = "InterImageKMeans, numba", "faiss Kmeans"
LLOYD, ELKAN = "scikit-learn KMeans, Lloyd", "scikit-learn KMeans, Elkan"
TARGETS = {FAISS: 8, LLOYD: 10, ELKAN: 10}  # of whole fits with the most clusters and bands


def make_pixels(n: int, bands: int) -> np.ndarray:
    """Return pixels (bands, n) uint16 of overlapping classes, as `benchmarks.interimage` does."""
    rng = np.random.default_rng(SEED)
    centers = rng.integers(7000, 25_000, (CLASSES, bands))
    truth = rng.integers(0, CLASSES, n)
    pixels = np.empty((bands, n), np.uint16)
    for band, center in zip(pixels, centers.T, strict=True):
        band[:] = (center[truth] + rng.normal(0, 2000, n)).clip(1, 65_535)
    return pixels


def draw_start(pixels: np.ndarray, k: int) -> np.ndarray:
    """Return different pixels (k, bands), the centers that all fits start from."""
    different = np.unique(pixels[:, : 100 * k], axis=1)
    drawn = np.random.default_rng(SEED).choice(different.shape[1], k, replace=False)
    return different[:, drawn].T.astype(np.float64)


def fit_ours(
    pixels: np.ndarray, start: np.ndarray, engine: str = "numba", max_iter: int = MOST_ITERATIONS
) -> InterImageKMeans:
    scene = xr.DataArray(pixels[:, np.newaxis], dims=("band", "y", "x"))
    model = InterImageKMeans(len(start), init=start, tol=TOL, max_iter=max_iter, engine=engine)
    return model.fit(scene)


def fit_scikit_learn(table: np.ndarray, start: np.ndarray, iterations: int, algorithm: str) -> int:
    """Return the number of iterations that the fit took."""
    from sklearn.cluster import KMeans

    options = {"algorithm": algorithm, "max_iter": iterations, "tol": 0, "n_init": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge
        return KMeans(len(start), init=start.astype(np.float32), **options).fit(table).n_iter_


def fit_faiss(table: np.ndarray, start: np.ndarray, iterations: int) -> int:
    """Return the number of iterations that the fit took."""
    import faiss

    model = faiss.Kmeans(
        table.shape[1], len(start), niter=iterations, max_points_per_centroid=len(table)
    )
    model.train(table, init_centroids=start.astype(np.float32))
    return len(model.iteration_stats)


def clocks(call: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Return the seconds of a call by the clock and of the processor, and its result."""
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return (time.perf_counter() - wall, time.process_time() - processor), result


def require_same_labels(pixels: np.ndarray, start: np.ndarray) -> None:
    """Raise RuntimeError if labels differ from those of the reference; this compiles, too."""
    some = np.ascontiguousarray(pixels[:, :PIXELS_TO_COMPARE])
    one, two = (fit_ours(some, start, engine, 5) for engine in ("numpy", "numba"))
    if not np.array_equal(one.labels_, two.labels_):
        raise RuntimeError(f"labels of {len(start)} clusters must be those of the engine 'numpy'")


def measure_fits(pixels: np.ndarray, k: int, rounds: int) -> list[dict[str, Any]]:
    """Return one row for each library, for fits of `k` clusters."""
    start, table = draw_start(pixels, k), np.ascontiguousarray(pixels.T, np.float32)
    require_same_labels(pixels, start)
    iterations = fit_ours(pixels, start).n_iter_
    calls = {
        OURS: lambda: fit_ours(pixels, start).n_iter_,
        FAISS: functools.partial(fit_faiss, table, start, iterations),
        LLOYD: functools.partial(fit_scikit_learn, table, start, iterations, "lloyd"),
        ELKAN: functools.partial(fit_scikit_learn, table, start, iterations, "elkan"),
    }
    times, counts = in_turn(calls, rounds, clocks)
    own = statistics.median(wall for wall, _ in times[OURS])
    rows = []
    for name, found in times.items():
        wall, processor = (statistics.median(column) for column in zip(*found, strict=True))
        row = {
            "call": name,
            "clusters": k,
            "bands": len(pixels),
            "iterations": int(counts[name]),
            "seconds_of_fits": [round(seconds, 3) for seconds, _ in found],
            "seconds_per_iteration": round(wall / counts[name], 4),
            "processor_seconds": round(processor, 3),
            "fit_in_times_of_ours": round(wall / own, 2),
        }
        if (k, len(pixels)) == GRID[-1] and name in TARGETS:
            row |= {"target": TARGETS[name], "met": wall / own >= TARGETS[name]}
        rows.append(row)
    return rows


def measure(n: int, rounds: int) -> dict[str, Any]:
    head = about("many_clusters", ("faiss-cpu", "numba", "numpy", "scikit-learn"))
    rows = []
    for k, bands in GRID:
        rows += measure_fits(make_pixels(n, bands), k, rounds)
    return {
        **head,
        "load_at_end": round(os.getloadavg()[0], 2),
        "pixels": f"{n} uint16, {CLASSES} classes, seed {SEED}",
        "threads": numba_kernels.threads(),
        "fits": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all fits (default 3)")
    parser.add_argument("--pixels", type=int, default=1_000_000, help="default 1 000 000")
    parser.add_argument(
        "--quick", action="store_true", help="one round of 50 000 pixels, not written to a file"
    )
    options = parser.parse_args()
    n, rounds = (50_000, 1) if options.quick else (options.pixels, options.rounds)
    result = measure(n, rounds)
    if not options.quick:
        write("many_clusters", result)
    for row in result["fits"]:
        print(
            f"{row['clusters']:4d} clusters {row['bands']:3d} bands {row['iterations']:4d} "
            f"iterations {row['seconds_per_iteration']:8.4f} s each "
            f"{row['fit_in_times_of_ours']:6.2f} × {row['call']}"
        )


if __name__ == "__main__":
    main()
