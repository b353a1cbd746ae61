"""Time one iteration of `InterImageKMeans` on a GPU and of its peers on the same pixels.

All k-means start from the same centers. The pixels are in device memory beforehand, in the layout
that each call needs: float32 and uint16 band by band for ours, float32 pixel by pixel for the
others. The published method is implemented from its description: a kernel with one thread for each
pixel that finds its class and whether it changed, a one-hot matrix of pixels × classes, its product
with the pixels, and the sum of the changes copied to the host. A copy of the pixels within device
memory shows the bandwidth of the memory. Rows of whole fits include the range of the bands, the
last labels and inertia, and for pixels in host memory the transfer overhead. Run it from the root
of the repository, on a machine with a GPU:

    python -m benchmarks.interimage_gpu
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import statistics
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks._result import about, write
from benchmarks._timing import in_turn, own_time, seconds_of_each, timed
from benchmarks.interimage import (
    BANDS,
    CLASSES,
    SEED,
    K,
    OurFit,
    Ours,
    ScikitLearn,
    make_pixels,
    midpoints,
)
from cookbook_utils.interimage import cupy_engine, cupy_kernels
from cookbook_utils.interimage.blocks import Scene
from cookbook_utils.interimage.cupy_engine import CupyEngine

PIXELS, ITERATIONS = 40_651_997, 51
OURS = "InterImageKMeans, cupy, float32"
COPY = "copy of the float32 pixels, GPU to GPU"
PUBLISHED = "published method: one thread a pixel, one-hot matrix"
FLASH = "flash-kmeans"
ON_CPU = "scikit-learn KMeans, Lloyd, on the CPU"
TARGETS = {PUBLISHED: 100}
COPY_TARGET = 2
CLASSIFY = r"""
extern "C" __global__ void classify_and_flag(
        const float *pixels, const float *centers, int *labels, int *flags, long long n,
        int bands, int k) {
    long long p = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= n) return;
    int nearest = 0;
    float least = 3.4e38f;
    for (int i = 0; i < k; i++) {
        float squared = 0;
        for (int b = 0; b < bands; b++) {
            float away = pixels[p * bands + b] - centers[i * bands + b];
            squared += away * away;
        }
        if (squared < least) {
            least = squared;
            nearest = i;
        }
    }
    flags[p] = labels[p] != nearest;
    labels[p] = nearest;
}
"""


class OnGpu(Ours):
    """Our iterations on the GPU; each ends with the new centers on the host."""

    def engine(self) -> CupyEngine:
        return CupyEngine([Scene(self.pixels)])


class Streamed(OnGpu):
    """Our iterations on pixels in host memory, as if they did not fit in device memory."""

    def __call__(self, iterations: int) -> list[float]:
        with no_room():
            return super().__call__(iterations)


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Make the engine treat device memory as too small for any pixels."""
    before, cupy_engine.PIXEL_SHARE_OF_MEMORY = cupy_engine.PIXEL_SHARE_OF_MEMORY, 0
    try:
        yield
    finally:
        cupy_engine.PIXEL_SHARE_OF_MEMORY = before


class Published:
    """The published method: labels and flags by a kernel, sums by a one-hot matrix."""

    def __init__(self, table: Any, start: np.ndarray):
        import cupy

        self.table, self.start = table, start.astype(np.float32)
        self.kernel = cupy.RawKernel(CLASSIFY, "classify_and_flag")

    def __call__(self, iterations: int) -> list[float]:
        import cupy

        n = len(self.table)
        labels, flags = cupy.zeros(n, np.int32), cupy.zeros(n, np.int32)
        centers, classes = cupy.asarray(self.start), cupy.arange(K, dtype=np.int32)
        sizes = np.int64(n), np.int32(BANDS), np.int32(K)

        def iterate() -> None:
            nonlocal centers
            arrays = self.table, centers, labels, flags
            self.kernel((-(-n // 256),), (256,), (*arrays, *sizes))
            one_hot = (labels[:, np.newaxis] == classes).astype(np.float32)
            sums = one_hot.T @ self.table
            counts = one_hot.sum(axis=0)
            filled = counts[:, np.newaxis] > 0  # empty clusters would become 0 / 0
            centers = cupy.where(filled, sums / cupy.maximum(counts, 1)[:, np.newaxis], centers)
            int(flags.sum())

        seconds = seconds_of_each(iterate, iterations)
        self.centers = centers.get().astype(np.float64)
        return seconds


class FlashKMeans:
    """One call for all iterations, because flash-kmeans does not time single ones."""

    def __init__(self, table: np.ndarray, start: np.ndarray):
        self.table, self.start = table, start.astype(np.float32)

    def __call__(self, iterations: int) -> list[float]:
        import torch
        from flash_kmeans import batch_kmeans_Euclid

        x = torch.from_numpy(self.table).cuda()[None]
        start = torch.from_numpy(self.start).cuda()[None]

        def fit() -> tuple:
            _, centers, n = batch_kmeans_Euclid(
                x, n_clusters=K, max_iters=iterations, tol=0.0, init_centroids=start
            )
            torch.cuda.synchronize()
            return centers, n

        torch.cuda.synchronize()
        seconds, (centers, n) = timed(fit)
        self.centers = centers[0].cpu().numpy().astype(np.float64)
        return [seconds / n]


class Copy:
    """Copies of the pixels within device memory."""

    def __init__(self, pixels: Any):
        self.pixels = pixels

    def __call__(self, iterations: int) -> list[float]:
        import cupy

        target = self.pixels.copy()

        def copy() -> None:
            target[...] = self.pixels
            cupy.cuda.Device().synchronize()

        cupy.cuda.Device().synchronize()
        return seconds_of_each(copy, iterations)


def gpu() -> dict[str, str]:
    """Return the name of the GPU, and the versions of its driver and of CUDA."""
    import cupy

    runtime = cupy.cuda.runtime
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        driver = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        driver = f"nvidia-smi does not say: {error}"
    versions = {"driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion()}
    return {
        "gpu": runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode(),
        "driver": driver,
        **{f"cuda_of_the_{name}": f"{v // 1000}.{v % 1000 // 10}" for name, v in versions.items()},
    }


def installed() -> list[str]:
    """Return the installed distributions whose versions matter."""
    of_modules = importlib.metadata.packages_distributions()
    names = {*of_modules.get("cupy", []), *of_modules.get("flash_kmeans", [])}
    optional = {"torch", "triton"} & {name for many in of_modules.values() for name in many}
    return sorted({"numpy", "scikit-learn", *names, *optional})


def make_calls(
    pixels: np.ndarray, start: np.ndarray, iterations: int
) -> dict[str, tuple[Callable, int]]:
    """Return all calls and their numbers of iterations."""
    import cupy

    floats = pixels.astype(np.float32)
    table = np.ascontiguousarray(floats.T)
    floats_on_gpu = cupy.asarray(floats)
    return {
        OURS: (OnGpu(floats_on_gpu, start), iterations),
        "InterImageKMeans, cupy, uint16": (OnGpu(cupy.asarray(pixels), start), iterations),
        COPY: (Copy(floats_on_gpu), iterations),
        PUBLISHED: (Published(cupy.asarray(table), start), iterations),
        FLASH: (FlashKMeans(table, start), iterations),
        "InterImageKMeans, cupy, float32 streamed from the host": (Streamed(floats, start), 10),
        "InterImageKMeans, cupy, uint16 streamed from the host": (Streamed(pixels, start), 10),
        "whole fit, float32 of the GPU": (OurFit(floats_on_gpu, start, "cupy"), iterations),
        "whole fit, float32 of the host, there and back": (
            OurFit(floats, start, "cupy"), iterations,
        ),
        "whole fit, uint16 of the host, there and back": (
            OurFit(pixels, start, "cupy"), iterations,
        ),
        ON_CPU: (ScikitLearn(table, start), 2),
    }  # fmt: skip


def time_calls(
    calls: dict[str, tuple[Callable, int]], rounds: int
) -> tuple[dict[str, list[list[float]]], dict[str, str]]:
    """Return the seconds of all iterations of each call, and why other calls have none."""
    import cupy

    seconds: dict[str, list[list[float]]] = {}
    reasons = {}
    for name, (call, times) in calls.items():
        if name == FLASH and importlib.util.find_spec("flash_kmeans") is None:
            reasons[name] = "flash-kmeans is not installed"
            continue
        cupy.get_default_memory_pool().free_all_blocks()
        try:
            if name != ON_CPU:
                call(2)  # so that compilation does not count
            once = {name: functools.partial(call, times)}
            seconds |= in_turn(once, 1 if name == ON_CPU else rounds, own_time)[0]
        except Exception as error:  # that a peer fails is a result, too
            if name.startswith(("InterImage", "whole")):
                raise
            reasons[name] = f"{type(error).__name__}: {str(error)[:300]}"
    return seconds, reasons


def make_row(
    name: str, found: list[list[float]], iterations: int, own: float, n: int
) -> dict[str, Any]:
    """Return the row of a call; `own` is the time of our iteration, and `n` counts the pixels."""
    mean = _median_of_means(found)
    row = {
        "call": name,
        "seconds_per_iteration": [round(statistics.fmean(one), 6) for one in found],
        "median": round(mean, 6),
        "times_as_long_as_ours": round(mean / own, 2),
    }
    if iterations > 2:
        row["seconds_for_all_iterations"] = round(mean * iterations, 4)
    if len(found[0]) > 1:
        row["first_iteration"] = round(statistics.median(one[0] for one in found), 6)
        row["later_iterations"] = round(statistics.median(s for one in found for s in one[1:]), 6)
    float_bytes = 4 * BANDS * n
    if name in TARGETS:
        row |= {"target": TARGETS[name], "met": mean / own >= TARGETS[name]}
    if name == COPY:
        row["gigabytes_per_second"] = round(2 * float_bytes / mean / 1e9, 1)
        row |= {"ours_over_copy": round(own / mean, 2), "target": COPY_TARGET}
        row["met"] = own / mean <= COPY_TARGET
    if name == OURS:
        row["gigabytes_per_second"] = round((float_bytes + n) / mean / 1e9, 1)
    return row


def measure(n: int, rounds: int, iterations: int) -> dict[str, Any]:
    head = about("interimage_gpu", installed()) | gpu()
    pixels = make_pixels(n)
    calls = make_calls(pixels, midpoints(pixels), iterations)
    seconds, reasons = time_calls(calls, rounds)
    own = _median_of_means(seconds[OURS])
    rows = []
    for name, found in seconds.items():
        call, times = calls[name]
        row = make_row(name, found, times, own, n)
        if hasattr(call, "centers") and times == iterations:
            away = np.abs(call.centers - calls[OURS][0].centers).max()
            row["centers_differ_by_at_most"] = float(f"{away:.3g}")
        rows.append(row)
    rows += [{"call": name, "not_run": reason} for name, reason in reasons.items()]
    return {
        **head,
        "load_at_end": round(os.getloadavg()[0], 2),
        "pixels": f"{n} × {BANDS} bands, {CLASSES} classes, seed {SEED}; k = {K}",
        "iterations": iterations,
        "per_iteration": rows,
    }


def _median_of_means(found: list[list[float]]) -> float:
    return statistics.median(statistics.fmean(one) for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each call (default 5)")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="default 51")
    parser.add_argument("--pixels", type=int, default=PIXELS, help="default 40 651 997")
    options = parser.parse_args()
    missing = cupy_kernels.why_unavailable()
    if missing is not None:
        print(f"Nothing is measured: this needs an NVIDIA GPU and CuPy. {missing}.")
        return
    result = measure(options.pixels, options.rounds, options.iterations)
    write("interimage_gpu", result)
    for row in result["per_iteration"]:
        if "not_run" in row:
            print(f"{'not run':>32}  {row['call']}: {row['not_run']}")
        else:
            print(f"{row['median']:10.6f} s  {row['times_as_long_as_ours']:15.2f} ×  {row['call']}")


if __name__ == "__main__":
    main()
