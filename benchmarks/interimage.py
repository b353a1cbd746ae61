"""Time one iteration of `InterImageKMeans` and of its peers, and whole fits, from the same centers.

The pixels are of classes that overlap, so that labels go on changing. They are prepared beforehand
in the layout that each call needs: uint16 band by band for ours and for the copy, float32 pixel by
pixel for the peers. scikit-learn does not time its iterations: they are the difference between a
long and a short fit, so that they do not pay for its checks and copies, which whole fits pay for.
Our iterations get faster as fewer labels change; the time is the mean of them, the first included.
A copy of the pixels shows what memory allows.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._comparison import Comparison
from benchmarks._pixels import BANDS, SEED, as_scene, draw_centers, make_pixels

PACKAGES = ("faiss-cpu", "llvmlite", "numba", "numpy", "scikit-learn")
K, ITERATIONS = 8, 20
PIXELS_PER_PASS = 100_000  # of the broadcast method, so that its arrays stay in the cache
REFLECTANCE_SCALE = np.float32(2.75e-5)  # of a digital number; the offset is left out


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the wall-clock seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def of_iterations(seconds: list[float], **more: Any) -> dict[str, Any]:
    """Return the mean of the seconds of iterations, and those of the first and of the others."""
    found = {"seconds": statistics.fmean(seconds), "iterations": len(seconds)}
    if len(seconds) > 1:
        found["first_iteration"] = round(seconds[0], 6)
        found["later_iterations"] = round(statistics.median(seconds[1:]), 6)
    return found | more


def as_table(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (n, bands) float32, as the peers take them."""
    return np.ascontiguousarray(pixels.T, np.float32)


def iterate(engine: Any, start: np.ndarray, iterations: int) -> dict[str, Any]:
    """Make Lloyd steps on an engine, and return their times and the centers."""
    from cookbook_utils.interimage.arithmetic import FixedPoint
    from cookbook_utils.interimage.lloyd import lloyd_steps

    low, high, n_pixels = engine.extent()
    fixed_point = FixedPoint.of(low, high, engine.dtype, n_pixels)
    steps = lloyd_steps(engine, fixed_point, start)
    centers = start

    def step() -> None:
        nonlocal centers
        centers = next(steps).centers

    seconds = [seconds_of(step) for _ in range(iterations)]
    return of_iterations(seconds, result=centers)


def ours(scale: np.float32 | None = None) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        from cookbook_utils.interimage import numba_kernels
        from cookbook_utils.interimage.blocks import Scene
        from cookbook_utils.interimage.local_engine import LocalEngine

        pixels, start = make_pixels(n), draw_centers(K)
        if scale is not None:
            pixels, start = pixels * scale, start * scale
        return lambda: iterate(LocalEngine([Scene(pixels)], numba_kernels), start, ITERATIONS)

    return prepare


def our_fit(iterations: int, init: str | None = None) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        from cookbook_utils.interimage import InterImageKMeans

        start = draw_centers(K) if init is None else init
        options = {"max_iter": iterations, "tol": 0, "engine": "numba", "random_state": SEED}
        return whole_fit(InterImageKMeans(K, init=start, **options), as_scene(make_pixels(n)))

    return prepare


def scikit_learn(iterations: int, init: str | None = None) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        return whole_fit(lloyd(iterations, init), as_table(make_pixels(n)))

    return prepare


def lloyd(iterations: int, init: str | None = None) -> Any:
    """Return scikit-learn's Lloyd from the common centers, which runs so many iterations."""
    from sklearn.cluster import KMeans

    start = draw_centers(K).astype(np.float32) if init is None else init
    options = {"n_init": 1, "algorithm": "lloyd", "tol": 0, "random_state": SEED}
    return KMeans(K, init=start, max_iter=iterations, **options)


def whole_fit(model: Any, pixels: Any) -> Callable[[], dict]:
    """Return a call that fits a model and reports its centers."""

    def call() -> dict:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge, as intended
            model.fit(pixels)
        centers = model.cluster_centers_ if not isinstance(model.init, str) else None
        return {"iterations": int(model.n_iter_), "result": centers}

    return call


def scikit_learn_iterations(dtype: type) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        table = make_pixels(n).T.astype(dtype, order="C")
        short, long = (whole_fit(lloyd(m), table) for m in (2, 2 + ITERATIONS))

        def call() -> dict:
            spent = [seconds_of(fit) for fit in (short, long)]
            return {"seconds": max(spent[1] - spent[0], 1e-9) / ITERATIONS}

        return call

    return prepare


def faiss_iterations(n: int, folder: Path) -> Any:
    import faiss

    table, start, times = as_table(make_pixels(n)), draw_centers(K).astype(np.float32), 3

    def call() -> dict:
        model = faiss.Kmeans(BANDS, K, niter=times, max_points_per_centroid=n)
        model.train(table, init_centroids=start)
        since_the_first = [stats["time"] for stats in model.iteration_stats]
        return of_iterations(np.diff([0.0, *since_the_first]).tolist())

    return call


class Broadcast:
    """Lloyd in vectorized NumPy: differences of all pixels to all centers, in blocks."""

    def __init__(self, table: np.ndarray, start: np.ndarray):
        self.table, self.centers = table, start.astype(np.float32)
        self.labels = np.full(len(table), -1)

    def step(self) -> None:
        k = len(self.centers)
        sums, counts = np.zeros(self.centers.shape), np.zeros(k)
        for first in range(0, len(self.table), PIXELS_PER_PASS):
            x = self.table[first : first + PIXELS_PER_PASS]
            old = self.labels[first : first + PIXELS_PER_PASS]
            squared = ((x[:, np.newaxis] - self.centers) ** 2).sum(axis=2)  # pixel × center
            new = squared.argmin(axis=1)
            np.count_nonzero(new != old)  # part of the method, for its stopping rule
            old[:] = new
            one_hot = new[:, np.newaxis] == np.arange(k)
            sums += one_hot.T.astype(np.float32) @ x
            counts += one_hot.sum(axis=0)
        means = sums / np.maximum(counts, 1)[:, np.newaxis]
        filled = counts[:, np.newaxis] > 0
        self.centers = np.where(filled, means, self.centers).astype(np.float32)


def broadcast(n: int, folder: Path) -> Any:
    table, start = as_table(make_pixels(n)), draw_centers(K)
    return lambda: of_iterations([seconds_of(Broadcast(table, start).step)])


def copy(n: int, folder: Path) -> Any:
    pixels = make_pixels(n)
    target = pixels.copy()
    return lambda: of_iterations(
        [seconds_of(lambda: np.copyto(target, pixels)) for _ in range(ITERATIONS)]
    )


SIZES, FULL_SIZES = (250_000, 1_000_000, 4_000_000), (2_000_000, 8_000_000, 40_000_000)
CASE = f"k = {K}, {BANDS} bands"
COMPARISONS = [
    Comparison(
        f"iterations, {CASE}",
        unit="pixels",
        sizes=SIZES,
        full_sizes=FULL_SIZES,
        ours={
            "InterImageKMeans, numba, uint16": ours(),
            "InterImageKMeans, numba, float32": ours(REFLECTANCE_SCALE),
        },
        peers={
            "scikit-learn KMeans, Lloyd, float32": scikit_learn_iterations(np.float32),
            "scikit-learn KMeans, Lloyd, uint16": scikit_learn_iterations(np.uint16),
            "faiss Kmeans": faiss_iterations,
            "NumPy, pixel × center × band, float32": broadcast,
            "NumPy, copy of the uint16 pixels": copy,
        },
        warm_up=20_000,
        timed="an iteration",
    ),
    Comparison(
        f"whole fits of {ITERATIONS} iterations, {CASE}",
        unit="pixels",
        sizes=SIZES,
        full_sizes=FULL_SIZES,
        ours={"InterImageKMeans, numba": our_fit(ITERATIONS)},
        peers={"scikit-learn KMeans, Lloyd": scikit_learn(ITERATIONS)},
        warm_up=20_000,
    ),
    Comparison(
        f"a k-means++ start and one iteration, {CASE}",
        unit="pixels",
        sizes=SIZES,
        full_sizes=FULL_SIZES,
        ours={"InterImageKMeans, numba": our_fit(1, "k-means++")},
        peers={"scikit-learn KMeans": scikit_learn(1, "k-means++")},
        warm_up=20_000,
    ),
]
