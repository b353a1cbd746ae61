"""Time one iteration of `InterImageKMeans` on a GPU and of its peers, from the same centers.

The pixels are in device memory beforehand, in the layout that each call needs: float32 and uint16
band by band for ours, float32 pixel by pixel for the others. The published method is implemented
from its description: a kernel with one thread for each pixel that finds its class and whether it
changed, a one-hot matrix of pixels × classes, its product with the pixels, and the sum of the
changes copied to the host. A copy of the pixels within device memory shows the bandwidth of the
memory. Whole fits include the range of the bands, the last labels and inertia, and for pixels in
host memory the transfer. It needs an NVIDIA GPU and CuPy:

    python -m benchmarks.interimage_gpu
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._comparison import Call, Comparison
from benchmarks._pixels import BANDS, as_scene, draw_centers, make_pixels
from benchmarks.interimage import as_table, iterate, of_iterations, seconds_of
from cookbook_utils.interimage import cupy_kernels

PACKAGES = sorted(
    {"numpy", "scikit-learn", "torch", "triton"}
    | {
        name
        for module in ("cupy", "flash_kmeans")
        for name in importlib.metadata.packages_distributions().get(module, [])
    }
)
PIXELS, ITERATIONS, MANY = 40_651_997, 51, 160
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

why_not = cupy_kernels.why_unavailable


def device() -> dict[str, str]:
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


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Make the engine treat device memory as too small for any pixels."""
    from cookbook_utils.interimage import cupy_engine

    before, cupy_engine.PIXEL_SHARE_OF_MEMORY = cupy_engine.PIXEL_SHARE_OF_MEMORY, 0
    try:
        yield
    finally:
        cupy_engine.PIXEL_SHARE_OF_MEMORY = before


def ours(k: int, dtype: type, *, streamed: bool = False) -> Any:
    """Return how to prepare iterations on pixels of the device, or of the host."""

    def prepare(n: int, folder: Path) -> Any:
        import cupy

        from cookbook_utils.interimage.blocks import Scene
        from cookbook_utils.interimage.cupy_engine import CupyEngine

        pixels = make_pixels(n).astype(dtype)
        if not streamed:
            pixels = cupy.asarray(pixels)

        def call() -> dict:
            with no_room() if streamed else contextlib.nullcontext():
                engine = CupyEngine([Scene(pixels)])
                return iterate(engine, draw_centers(k), ITERATIONS)

        return call

    return prepare


def our_fit(k: int, dtype: type, *, on_gpu: bool) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        import cupy

        from cookbook_utils.interimage import InterImageKMeans

        pixels = make_pixels(n).astype(dtype)
        scene = as_scene(cupy.asarray(pixels) if on_gpu else pixels)
        options = {"max_iter": ITERATIONS, "tol": 0, "engine": "cupy"}
        model = InterImageKMeans(k, init=draw_centers(k), **options)

        def call() -> dict:
            seconds = seconds_of(lambda: model.fit(scene))
            more = {"iterations": model.n_iter_, "result": model.cluster_centers_}
            return {"seconds": seconds / model.n_iter_} | more

        return call

    return prepare


def published(k: int) -> Any:
    """Return how to prepare the published method: labels and flags by a kernel, one-hot sums."""

    def prepare(n: int, folder: Path) -> Any:
        import cupy

        table = cupy.asarray(as_table(make_pixels(n)))
        kernel = cupy.RawKernel(CLASSIFY, "classify_and_flag")
        sizes = np.int64(n), np.int32(BANDS), np.int32(k)
        classes = cupy.arange(k, dtype=np.int32)

        def call() -> dict:
            labels, flags = cupy.zeros(n, np.int32), cupy.zeros(n, np.int32)
            centers = cupy.asarray(draw_centers(k).astype(np.float32))

            def step() -> None:
                nonlocal centers
                kernel((-(-n // 256),), (256,), (table, centers, labels, flags, *sizes))
                one_hot = (labels[:, np.newaxis] == classes).astype(np.float32)
                sums, counts = one_hot.T @ table, one_hot.sum(axis=0)
                filled = counts[:, np.newaxis] > 0  # empty clusters would become 0 / 0
                means = sums / cupy.maximum(counts, 1)[:, np.newaxis]
                centers = cupy.where(filled, means, centers)
                int(flags.sum())

            seconds = [seconds_of(step) for _ in range(ITERATIONS)]
            return of_iterations(seconds, result=centers.get().astype(np.float64))

        return call

    return prepare


def flash_kmeans(k: int) -> Any:
    """Return how to prepare flash-kmeans, which does not time single iterations."""

    def prepare(n: int, folder: Path) -> Any:
        import torch
        from flash_kmeans import batch_kmeans_Euclid

        x = torch.from_numpy(as_table(make_pixels(n))).cuda()[None]
        start = torch.from_numpy(draw_centers(k).astype(np.float32)).cuda()[None]
        options = {"n_clusters": k, "max_iters": ITERATIONS, "tol": 0.0, "init_centroids": start}

        def fit() -> tuple:
            _, centers, iterations = batch_kmeans_Euclid(x, **options)
            torch.cuda.synchronize()
            return centers[0].cpu().numpy().astype(np.float64), int(iterations)

        def call() -> dict:
            found: list[tuple] = []
            seconds = seconds_of(lambda: found.append(fit()))
            (centers, iterations) = found[0]
            return {"seconds": seconds / iterations, "iterations": iterations, "result": centers}

        return call

    return prepare


def scikit_learn(k: int) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        from sklearn.cluster import KMeans

        table, start = as_table(make_pixels(n)), draw_centers(k).astype(np.float32)

        def fit(iterations: int) -> float:
            model = KMeans(k, init=start, n_init=1, max_iter=iterations, tol=0)
            return seconds_of(lambda: model.fit(table))

        return lambda: {"seconds": max(fit(4) - fit(2), 1e-9) / 2}

    return prepare


def copy(n: int, folder: Path) -> Any:
    import cupy

    pixels = cupy.asarray(make_pixels(n).astype(np.float32))
    target = pixels.copy()

    def step() -> None:
        target[...] = pixels
        cupy.cuda.Device().synchronize()

    def call() -> dict:
        cupy.cuda.Device().synchronize()
        return of_iterations([seconds_of(step) for _ in range(ITERATIONS)])

    return call


def comparison(k: int) -> Comparison:
    """Return the comparison at a number of clusters."""
    name = "InterImageKMeans, cupy"
    return Comparison(
        f"GPU, iterations, k = {k}, {BANDS} bands",
        unit="pixels",
        sizes=(2_000_000, 8_000_000, PIXELS),
        full_sizes=(2_000_000, 8_000_000, PIXELS),
        ours={
            f"{name}, float32": ours(k, np.float32),
            f"{name}, uint16": ours(k, np.uint16),
            f"{name}, float32 streamed from the host": ours(k, np.float32, streamed=True),
            f"{name}, uint16 streamed from the host": ours(k, np.uint16, streamed=True),
            f"{name}, whole fit, float32 of the GPU": our_fit(k, np.float32, on_gpu=True),
            f"{name}, whole fit, float32 of the host": our_fit(k, np.float32, on_gpu=False),
            f"{name}, whole fit, uint16 of the host": our_fit(k, np.uint16, on_gpu=False),
        },
        peers={
            "published method: one thread a pixel, one-hot matrix": published(k),
            "flash-kmeans": flash_kmeans(k),
            "scikit-learn KMeans, Lloyd, on the CPU": Call(scikit_learn(k), rounds=1),
            "copy of the float32 pixels within the GPU": copy,
        },
        warm_up=20_000,
        timed="an iteration",
    )


COMPARISONS = [comparison(k) for k in (8, MANY)]

if __name__ == "__main__":
    from benchmarks.__main__ import main

    raise SystemExit(main(["interimage_gpu"]))
