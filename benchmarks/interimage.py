"""Time of one iteration of `InterImageKMeans` beside its peers, on the same pixels.

All calls run in one process, in turn, round after round, and every k-means starts from the same
centers. What each needs its pixels in is made beforehand: uint16 band by band for ours and for the
copy, float32 pixel by pixel for the peers. scikit-learn is also given the pixels as they are, which
makes it convert them to float64; and ours float32 reflectance. scikit-learn does not time its
iterations: they are the difference between a short and a long fit, and whole fits, of 20 iterations
and of two, are rows of their own, for it and for ours.
Our iterations get faster as fewer labels change: ratios are to their mean over a fit, and beside it
to the median of all but the first. From the project's root:

    python -m benchmarks.interimage
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from benchmarks._result import about, write
from cookbook_utils.interimage import InterImageKMeans, numba_engine
from cookbook_utils.interimage.arithmetic import FixedPoint
from cookbook_utils.interimage.blocks import LocalBlocks, Scene
from cookbook_utils.interimage.lloyd import lloyd_steps

BANDS, K, CLASSES, SEED = 6, 8, 12, 0
TARGETS = {
    "scikit-learn KMeans, Lloyd": 25,
    "scikit-learn KMeans, Lloyd, uint16 as they are": 25,
    "faiss Kmeans": 25,
    "NumPy, pixel × center × band, float32": 150,
    "NumPy, pixel × center × band, float64": 150,
}
COPY_TARGET = 2.5
SCALE = np.float32(2.75e-5)  # reflectance of a digital number, but for the offset
BLOCK = 100_000  # pixels that the broadcast method takes at a time: its arrays stay in the cache


def make_pixels(n: int) -> np.ndarray:
    """Pixels (bands, n) uint16 of classes that overlap, so that labels go on changing."""
    rng = np.random.default_rng(SEED)
    centers = rng.integers(7000, 25_000, (CLASSES, BANDS))
    truth = rng.integers(0, CLASSES, n)
    pixels = np.empty((BANDS, n), np.uint16)
    for band, center in zip(pixels, centers.T, strict=True):
        band[:] = (center[truth] + rng.normal(0, 2000, n)).clip(1, 65_535)
    return pixels


def midpoints(pixels: np.ndarray) -> np.ndarray:
    low, high = pixels.min(axis=1).astype(float), pixels.max(axis=1).astype(float)
    return low + (np.arange(K)[:, np.newaxis] + 0.5) / K * (high - low)


class Ours:
    """Iterations one by one: all labels are new in the first, which takes longer."""

    def __init__(self, pixels: np.ndarray, start: np.ndarray):
        self.pixels, self.start = pixels, start

    def blocks(self) -> LocalBlocks:
        return LocalBlocks([Scene(self.pixels)], numba_engine)

    def __call__(self, iterations: int) -> list[float]:
        blocks = self.blocks()
        extent = blocks.extent()
        fixed_point = FixedPoint.of(*extent[:2], blocks.dtype, extent.n_pixels)
        steps, seconds = lloyd_steps(blocks, fixed_point, self.start), []
        for _ in range(iterations):
            begin = time.perf_counter()
            step = next(steps)
            seconds.append(time.perf_counter() - begin)
        self.centers = step.centers
        return seconds


class OurFit:
    """Whole fits, with the range of the bands, the last labels and inertia, by iterations."""

    def __init__(self, pixels: Any, start: np.ndarray, engine: str):
        self.scene = xr.DataArray(pixels.reshape(BANDS, 1, -1), dims=("band", "y", "x"))
        self.start, self.engine = start, engine

    def __call__(self, iterations: int) -> list[float]:
        options = {"init": self.start, "max_iter": iterations, "tol": 0, "engine": self.engine}
        begin = time.perf_counter()
        model = InterImageKMeans(K, **options).fit(self.scene)
        seconds = time.perf_counter() - begin
        if model.n_iter_ != iterations:
            raise RuntimeError(f"{model.n_iter_} iterations, expected {iterations}: more classes")
        self.centers = model.cluster_centers_
        return [seconds / iterations]


class ScikitLearn:
    def __init__(self, table: np.ndarray, start: np.ndarray, whole: bool = False):
        self.table, self.whole = table, whole
        self.start = start.astype(np.float32 if table.dtype == np.float32 else np.float64)

    def __call__(self, iterations: int) -> list[float]:
        if self.whole:
            return [self._fit(iterations) / iterations]
        return [(self._fit(2 + iterations) - self._fit(2)) / iterations]

    def _fit(self, n: int) -> float:
        import warnings

        from sklearn.cluster import KMeans

        model = KMeans(K, init=self.start, n_init=1, algorithm="lloyd", max_iter=n, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge, as intended
            begin = time.perf_counter()
            model.fit(self.table)
            seconds = time.perf_counter() - begin
        if model.n_iter_ != n:
            raise RuntimeError(f"scikit-learn ran {model.n_iter_} iterations, expected {n}")
        self.centers = model.cluster_centers_
        return seconds


class Faiss:
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
    """The published NumPy method: differences of all pixels to all centers, in blocks."""

    def __init__(self, table: np.ndarray, start: np.ndarray, dtype: str):
        self.table, self.start, self.dtype = table, start.astype(dtype), dtype

    def __call__(self, iterations: int) -> list[float]:
        centers, seconds = self.start, []
        labels = np.full(len(self.table), -1)
        for _ in range(iterations):
            begin = time.perf_counter()
            sums, counts = np.zeros((K, BANDS)), np.zeros(K)
            for first in range(0, len(self.table), BLOCK):
                x = self.table[first : first + BLOCK]
                new = ((x[:, np.newaxis] - centers) ** 2).sum(axis=2).argmin(axis=1)
                np.count_nonzero(new != labels[first : first + BLOCK])
                labels[first : first + BLOCK] = new
                one_hot = new[:, np.newaxis] == np.arange(K)
                sums += one_hot.T.astype(np.float32) @ x
                counts += one_hot.sum(axis=0)
            centers = np.where(counts[:, np.newaxis] > 0, sums / np.maximum(counts, 1)[:, None],
                               centers).astype(self.dtype)  # fmt: skip
            seconds.append(time.perf_counter() - begin)
        self.centers = centers
        return seconds


class Copy:
    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def __call__(self, iterations: int) -> list[float]:
        """Time new copies: as `numpy.ndarray.copy` gives them."""
        seconds = []
        for _ in range(iterations):
            begin = time.perf_counter()
            self.pixels.copy()
            seconds.append(time.perf_counter() - begin)
        return seconds


class CopyInPlace(Copy):
    def __call__(self, iterations: int) -> list[float]:
        """Time copies into memory that is there already."""
        target, seconds = self.pixels.copy(), []
        for _ in range(iterations):
            begin = time.perf_counter()
            np.copyto(target, self.pixels)
            seconds.append(time.perf_counter() - begin)
        return seconds


def vector_registers() -> dict[str, int]:
    """Return how often the compiled kernel names vector registers of each width, in bits."""
    kernel = numba_engine._assign_kernel(BANDS, True)
    code = "".join(kernel.inspect_asm().values())
    return {"128": code.count("%xmm"), "256": code.count("%ymm"), "512": code.count("%zmm")}


def cost_of_the_start(pixels: np.ndarray, start: np.ndarray, rounds: int) -> dict:
    """Time fits of one iteration on five times the pixels, from ten k-means++ draws and without."""
    many = np.concatenate([pixels] * 5, axis=1)
    scene = xr.DataArray(many.reshape(BANDS, 1, -1), dims=("band", "y", "x"))
    seconds: dict[str, list[float]] = {"k-means++": [], "given centers": []}
    for _ in range(rounds):
        for name, init in (("k-means++", "k-means++"), ("given centers", start)):
            model = InterImageKMeans(K, init=init, max_iter=1, engine="numba", random_state=SEED)
            begin = time.perf_counter()
            model.fit(scene)
            seconds[name].append(time.perf_counter() - begin)
    one = statistics.median(Ours(many, start)(6)[1:])
    extra = statistics.median(seconds["k-means++"]) - statistics.median(seconds["given centers"])
    return {
        "pixels": many.shape[1],
        "seconds_of_fits_of_one_iteration": {
            k: [round(s, 3) for s in v] for k, v in seconds.items()
        },
        "seconds_of_the_start": round(extra, 3),
        "seconds_of_an_iteration": round(one, 4),
        "start_in_iterations": round(extra / one, 2),
    }


def measure(n: int, rounds: int, iterations: int) -> dict:
    head = about("interimage", ("faiss-cpu", "llvmlite", "numba", "numpy", "scikit-learn"))
    pixels = make_pixels(n)
    start = midpoints(pixels)
    table = np.ascontiguousarray(pixels.T, np.float32)
    whole = np.ascontiguousarray(pixels.T)
    few = table[:10_000], start  # compiling, and starting threads, is nobody's
    Ours(pixels[:, :10_000].copy(), start)(2)
    Ours(pixels[:, :10_000] * SCALE, start * SCALE)(2)
    ScikitLearn(table, start)(1)
    Faiss(*few)(1)
    calls: dict[str, tuple[Callable, int]] = {
        "InterImageKMeans, numba": (Ours(pixels, start), iterations),
        "InterImageKMeans, numba, float32": (Ours(pixels * SCALE, start * SCALE), iterations),
        "copy of the pixels": (Copy(pixels), iterations),
        "copy of the pixels into memory at hand": (CopyInPlace(pixels), iterations),
        "scikit-learn KMeans, Lloyd": (ScikitLearn(table, start), 30),
        "scikit-learn KMeans, Lloyd, uint16 as they are": (ScikitLearn(whole, start), 30),
        "faiss Kmeans": (Faiss(table, start), 3),
        "NumPy, pixel × center × band, float32": (Broadcast(table, start, "float32"), 1),
        "NumPy, pixel × center × band, float64": (Broadcast(table, start, "float64"), 1),
    }
    calls["scikit-learn KMeans, Lloyd, whole fit of two iterations"] = (
        ScikitLearn(table, start, True),
        2,
    )
    calls["InterImageKMeans, numba, whole fit of two iterations"] = (
        OurFit(pixels, start, "numba"),
        2,
    )
    calls["InterImageKMeans, numba, whole fit"] = OurFit(pixels, start, "numba"), iterations
    calls["scikit-learn KMeans, Lloyd, whole fit"] = ScikitLearn(table, start, True), iterations
    seconds: dict[str, list[list[float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (call, times) in calls.items():
            seconds[name].append(call(times))
    ours = "InterImageKMeans, numba"
    later = statistics.median(s for one in seconds[ours] for s in one[1:])
    own = statistics.median(statistics.fmean(one) for one in seconds[ours])
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
        elif name == ours:
            row["first_iteration"] = round(statistics.median(one[0] for one in found), 4)
            row["later_iterations"] = round(later, 4)
        rows.append(row)
    return {
        **head,
        "load_at_end": round(os.getloadavg()[0], 2),
        "pixels": f"{n} × {BANDS} bands uint16, {CLASSES} classes, seed {SEED}; k = {K}",
        "iterations_of_ours": iterations,
        "threads": numba_engine.threads(),
        "vector_registers_named_in_the_kernel": vector_registers(),
        "per_iteration": rows,
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
