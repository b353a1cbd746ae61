"""Time one iteration of `InterImageKMeans` and of its peers on the same pixels.

All calls run in one process, in turn, round after round, and every k-means starts from the same
centers. The pixels are prepared beforehand in the layout that each call needs: uint16 band by band
for ours and for the copy, float32 pixel by pixel for the peers. In rows of their own, scikit-learn
gets uint16, which it converts to float64, and ours gets float32 reflectance. scikit-learn does not
time its iterations: they are the difference between a short and a long fit. Whole fits, of 20
iterations and of two, are rows of their own for scikit-learn and for ours. Our iterations get
faster as fewer labels change. Ratios are therefore given to the mean of all iterations and to the
median of all but the first. Run it from the root of the repository:

    python -m benchmarks.interimage
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from benchmarks._result import about, write
from benchmarks._timing import in_turn, own_time, seconds_of_each, timed
from cookbook_utils.interimage import InterImageKMeans, numba_kernels
from cookbook_utils.interimage.arithmetic import FixedPoint
from cookbook_utils.interimage.blocks import Scene
from cookbook_utils.interimage.engines import Engine
from cookbook_utils.interimage.lloyd import lloyd_steps
from cookbook_utils.interimage.local_engine import LocalEngine
from cookbook_utils.interimage.starts import midpoint_centers

BANDS, K, CLASSES, SEED = 6, 8, 12, 0
OURS = "InterImageKMeans, numba"
TARGETS = {
    "scikit-learn KMeans, Lloyd": 25,
    "scikit-learn KMeans, Lloyd, uint16 as they are": 25,
    "faiss Kmeans": 25,
    "NumPy, pixel × center × band, float32": 150,
    "NumPy, pixel × center × band, float64": 150,
}
COPY_TARGET = 2.5
REFLECTANCE_SCALE = np.float32(2.75e-5)  # of a digital number; the offset is left out
PIXELS_PER_PASS = 100_000  # of the broadcast method, so that its arrays stay in the cache


def make_pixels(n: int) -> np.ndarray:
    """Return pixels (bands, n) uint16 of overlapping classes, so that labels keep changing."""
    rng = np.random.default_rng(SEED)
    centers = rng.integers(7000, 25_000, (CLASSES, BANDS))
    truth = rng.integers(0, CLASSES, n)
    pixels = np.empty((BANDS, n), np.uint16)
    for band, center in zip(pixels, centers.T, strict=True):
        band[:] = (center[truth] + rng.normal(0, 2000, n)).clip(1, 65_535)
    return pixels


def midpoints(pixels: np.ndarray) -> np.ndarray:
    """Return the centers (K, bands) that all calls start from."""
    return midpoint_centers(pixels.min(axis=1).astype(float), pixels.max(axis=1).astype(float), K)


# An instance of a class below is called with a number of iterations, and returns the seconds of
# each, or their mean in a list of one. Afterwards those of k-means have the attribute ``centers``.


class Ours:
    """Single iterations; the first takes longer, because all labels are new."""

    def __init__(self, pixels: Any, start: np.ndarray):
        self.pixels, self.start = pixels, start

    def engine(self) -> Engine:
        return LocalEngine([Scene(self.pixels)], numba_kernels)

    def __call__(self, iterations: int) -> list[float]:
        engine = self.engine()
        low, high, n_pixels = engine.extent()
        fixed_point = FixedPoint.of(low, high, engine.dtype, n_pixels)
        steps = lloyd_steps(engine, fixed_point, self.start)

        def step() -> None:
            self.centers = next(steps).centers

        return seconds_of_each(step, iterations)


class OurFit:
    """Whole fits, with the range of the bands, the last labels and inertia."""

    def __init__(self, pixels: Any, start: np.ndarray, engine: str):
        self.scene = xr.DataArray(pixels.reshape(BANDS, 1, -1), dims=("band", "y", "x"))
        self.start, self.engine = start, engine

    def __call__(self, iterations: int) -> list[float]:
        model = InterImageKMeans(K, init=self.start, max_iter=iterations, tol=0, engine=self.engine)
        seconds, _ = timed(lambda: model.fit(self.scene))
        require_iterations(model.n_iter_, iterations)
        self.centers = model.cluster_centers_
        return [seconds / iterations]


class ScikitLearn:
    """Iterations of Lloyd's algorithm, or a whole fit."""

    def __init__(self, table: np.ndarray, start: np.ndarray, whole_fit: bool = False):
        self.table, self.whole_fit = table, whole_fit
        self.start = start.astype(np.float32 if table.dtype == np.float32 else np.float64)

    def __call__(self, iterations: int) -> list[float]:
        if self.whole_fit:
            return [self._fit(iterations) / iterations]
        return [(self._fit(2 + iterations) - self._fit(2)) / iterations]

    def _fit(self, n: int) -> float:
        from sklearn.cluster import KMeans

        model = KMeans(K, init=self.start, n_init=1, algorithm="lloyd", max_iter=n, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge, as intended
            seconds, _ = timed(lambda: model.fit(self.table))
        require_iterations(model.n_iter_, n)
        self.centers = model.cluster_centers_
        return seconds


def require_iterations(n: int, expected: int) -> None:
    if n != expected:
        raise RuntimeError(f"a fit must run {expected} iterations, got {n}: add classes")


class Faiss:
    """Single iterations, which faiss times itself."""

    def __init__(self, table: np.ndarray, start: np.ndarray):
        self.table, self.start = table, start.astype(np.float32)

    def __call__(self, iterations: int) -> list[float]:
        import faiss

        model = faiss.Kmeans(BANDS, K, niter=iterations, max_points_per_centroid=len(self.table))
        model.train(self.table, init_centroids=self.start)
        times = [stats["time"] for stats in model.iteration_stats]  # since the first began
        self.centers = model.centroids
        return np.diff([0.0, *times]).tolist()


class Broadcast:
    """Lloyd in vectorized NumPy: differences of all pixels to all centers, in blocks."""

    def __init__(self, table: np.ndarray, start: np.ndarray, dtype: str):
        self.table, self.start, self.dtype = table, start.astype(dtype), dtype

    def __call__(self, iterations: int) -> list[float]:
        self.centers, self.labels = self.start, np.full(len(self.table), -1)
        return seconds_of_each(self._iterate, iterations)

    def _iterate(self) -> None:
        sums, counts = np.zeros((K, BANDS)), np.zeros(K)
        for first in range(0, len(self.table), PIXELS_PER_PASS):
            x = self.table[first : first + PIXELS_PER_PASS]
            old = self.labels[first : first + PIXELS_PER_PASS]
            squared = ((x[:, np.newaxis] - self.centers) ** 2).sum(axis=2)  # pixel × center
            new = squared.argmin(axis=1)
            np.count_nonzero(new != old)  # part of the method, for its stopping rule
            old[:] = new
            one_hot = new[:, np.newaxis] == np.arange(K)
            sums += one_hot.T.astype(np.float32) @ x
            counts += one_hot.sum(axis=0)
        means = sums / np.maximum(counts, 1)[:, np.newaxis]
        filled = counts[:, np.newaxis] > 0
        self.centers = np.where(filled, means, self.centers).astype(self.dtype)


class Copy:
    """New copies of the pixels by `numpy.ndarray.copy`."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def __call__(self, iterations: int) -> list[float]:
        return seconds_of_each(self.pixels.copy, iterations)


class CopyInPlace(Copy):
    """Copies of the pixels into memory that is already allocated."""

    def __call__(self, iterations: int) -> list[float]:
        target = self.pixels.copy()
        return seconds_of_each(lambda: np.copyto(target, self.pixels), iterations)


def vector_registers() -> dict[str, int]:
    """Return how often the compiled kernel names vector registers of each width, in bits."""
    kernel = numba_kernels.assign_kernel(BANDS, True)
    code = "".join(kernel.inspect_asm().values())
    return {"128": code.count("%xmm"), "256": code.count("%ymm"), "512": code.count("%zmm")}


def cost_of_the_start(pixels: np.ndarray, start: np.ndarray, rounds: int) -> dict:
    """Time fits of one iteration on five times the pixels, from k-means++ and given centers."""
    many = np.concatenate([pixels] * 5, axis=1)
    scene = xr.DataArray(many.reshape(BANDS, 1, -1), dims=("band", "y", "x"))
    starts = {"k-means++": "k-means++", "given centers": start}
    models = {
        name: InterImageKMeans(K, init=init, max_iter=1, engine="numba", random_state=SEED)
        for name, init in starts.items()
    }
    fits = {name: functools.partial(model.fit, scene) for name, model in models.items()}
    seconds, _ = in_turn(fits, rounds)
    one = statistics.median(Ours(many, start)(6)[1:])
    extra = statistics.median(seconds["k-means++"]) - statistics.median(seconds["given centers"])
    return {
        "pixels": many.shape[1],
        "seconds_of_fits_of_one_iteration": {
            name: [round(s, 3) for s in times] for name, times in seconds.items()
        },
        "seconds_of_the_start": round(extra, 3),
        "seconds_of_an_iteration": round(one, 4),
        "start_in_iterations": round(extra / one, 2),
    }


def make_calls(
    pixels: np.ndarray, start: np.ndarray, iterations: int
) -> dict[str, tuple[Callable, int]]:
    """Return all calls and their numbers of iterations, after a first call that compiles."""
    table = np.ascontiguousarray(pixels.T, np.float32)
    digital_numbers = np.ascontiguousarray(pixels.T)
    reflectance, reflectance_start = pixels * REFLECTANCE_SCALE, start * REFLECTANCE_SCALE
    Ours(pixels[:, :10_000].copy(), start)(2)
    Ours(reflectance[:, :10_000].copy(), reflectance_start)(2)
    ScikitLearn(table, start)(1)
    Faiss(table[:10_000], start)(1)
    return {
        OURS: (Ours(pixels, start), iterations),
        f"{OURS}, float32": (Ours(reflectance, reflectance_start), iterations),
        "copy of the pixels": (Copy(pixels), iterations),
        "copy of the pixels into memory at hand": (CopyInPlace(pixels), iterations),
        "scikit-learn KMeans, Lloyd": (ScikitLearn(table, start), 30),
        "scikit-learn KMeans, Lloyd, uint16 as they are": (ScikitLearn(digital_numbers, start), 30),
        "faiss Kmeans": (Faiss(table, start), 3),
        "NumPy, pixel × center × band, float32": (Broadcast(table, start, "float32"), 1),
        "NumPy, pixel × center × band, float64": (Broadcast(table, start, "float64"), 1),
        "scikit-learn KMeans, Lloyd, whole fit of two iterations": (
            ScikitLearn(table, start, whole_fit=True), 2,
        ),
        f"{OURS}, whole fit of two iterations": (OurFit(pixels, start, "numba"), 2),
        f"{OURS}, whole fit": (OurFit(pixels, start, "numba"), iterations),
        "scikit-learn KMeans, Lloyd, whole fit": (
            ScikitLearn(table, start, whole_fit=True), iterations,
        ),
    }  # fmt: skip


def make_rows(seconds: dict[str, list[list[float]]]) -> list[dict[str, Any]]:
    """Return one row for each call, with ratios to ours, from the seconds of all iterations."""
    later = statistics.median(s for one in seconds[OURS] for s in one[1:])
    own = statistics.median(statistics.fmean(one) for one in seconds[OURS])
    rows = []
    for name, found in seconds.items():
        each = [statistics.fmean(one) for one in found]
        median = statistics.median(each)
        row = {"call": name, "seconds_per_iteration": [round(s, 4) for s in each]}
        row["median"] = round(median, 4)
        row["best"] = round(min(map(min, found)), 4)
        row["times_as_long_as_ours"] = round(median / own, 2)
        row["times_as_long_as_our_later_iterations"] = round(median / later, 2)
        if name in TARGETS:
            row |= {"target": TARGETS[name], "met": median / own >= TARGETS[name]}
        elif name.startswith("copy"):
            row |= {"ours_over_copy": round(own / median, 2), "target": COPY_TARGET}
            row["met"] = own / median <= COPY_TARGET
        elif name == OURS:
            row["first_iteration"] = round(statistics.median(one[0] for one in found), 4)
            row["later_iterations"] = round(later, 4)
        rows.append(row)
    return rows


def measure(n: int, rounds: int, iterations: int) -> dict:
    head = about("interimage", ("faiss-cpu", "llvmlite", "numba", "numpy", "scikit-learn"))
    pixels = make_pixels(n)
    start = midpoints(pixels)
    calls = make_calls(pixels, start, iterations)
    seconds, _ = in_turn(
        {name: functools.partial(call, times) for name, (call, times) in calls.items()},
        rounds,
        own_time,
    )
    return {
        **head,
        "load_at_end": round(os.getloadavg()[0], 2),
        "pixels": f"{n} × {BANDS} bands uint16, {CLASSES} classes, seed {SEED}; k = {K}",
        "iterations_of_ours": iterations,
        "threads": numba_kernels.threads(),
        "vector_registers_named_in_the_kernel": vector_registers(),
        "per_iteration": make_rows(seconds),
        "start": cost_of_the_start(pixels, start, rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all calls (default 5)")
    parser.add_argument("--iterations", type=int, default=20, help="of ours (default 20)")
    parser.add_argument("--pixels", type=int, default=8_000_000, help="default 8 000 000")
    options = parser.parse_args()
    result = measure(options.pixels, options.rounds, options.iterations)
    write("interimage", result)
    for row in result["per_iteration"]:
        print(f"{row['median']:8.4f} s  {row['times_as_long_as_ours']:8.2f} ×  {row['call']}")
    start = result["start"]
    print(f"a start by k-means++ takes {start['start_in_iterations']} iterations of all pixels")


if __name__ == "__main__":
    main()
