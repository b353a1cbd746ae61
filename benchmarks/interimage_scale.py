"""Time `InterImageKMeans` on 40.65 million pixels in memory and on 203 million from disk.

The pixels are those of the simulated coast series at full size, five scenes of 7000 × 7000, which
``python -m cookbook_utils.simulate coast_series`` writes, 2.6 GB. The published runs were made on
five Landsat scenes of Karachi, of the same size. Seconds per iteration can be compared with them;
the number of iterations depends on the scenes. Classes of the simulated coast lie farther apart, so
that fewer iterations are needed; a row of its own is a fit of as many pixels of classes that
overlap.

Each run is a fresh process, whose peak resident memory includes the interpreter, its packages and
the pixels. Run it from the root of the repository:

    python -m benchmarks.interimage_scale
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks._result import about, in_fresh_process, memory, write
from benchmarks._timing import timed
from benchmarks.interimage import BANDS, CLASSES, SEED, Broadcast, K, make_pixels, midpoints
from cookbook_utils._conventions.labels import NODATA_LABEL

SOURCE = (
    "Parallel inter-image k-means: a faster satellite imagery algorithm. Parallel and Distributed "
    "Computing, spring 2025 (slides); five Landsat 8/9 scenes of Karachi, k = 8"
)
PUBLISHED = {  # as given there: iterations and tolerance for some
    "sample": [
        {"call": "sequential", "seconds": 2493.9, "silhouette": 0.48},
        {"call": "four CPU threads", "tol": 0.01, "seconds": 300.9, "iterations": 23,
         "silhouette": 0.47},
        {"call": "Tesla P100", "tol": 1e-4, "seconds": 47.2, "iterations": 51,
         "silhouette": 0.49},
    ],
    "everything": [
        {"call": "sequential", "minutes": 210, "iterations": 2},
        {"call": "four CPU threads", "minutes": 25},
    ],
}  # fmt: skip
SAMPLE_PIXELS, SHARE, TOL = 40_651_997, 0.2, 1e-4
SECONDS_TARGET, MEMORY_TARGET_MB = 47.2 / 2, 1000
CHUNK_SIDE = 1024  # pixels: whole tiles of the files
FROM_DISK = {
    "GDAL_CACHEMAX": "16",  # MB: chunks are whole tiles, which are read once in a pass
    "MALLOC_MMAP_THRESHOLD_": "1000000",  # bytes: glibc returns freed arrays to the system
}
"""Environment variables of the run from disk. By default GDAL caches up to 5 % of the memory."""


def open_scenes(folder: str) -> list[xr.DataArray]:
    """Open scenes (band, y, x), uint16, whose chunks are read on demand."""
    import rioxarray

    def read(file: Path) -> xr.DataArray:
        chunks = {"band": 1, "y": CHUNK_SIDE, "x": CHUNK_SIDE}
        return rioxarray.open_rasterio(file, chunks=chunks, lock=False).squeeze("band", drop=True)

    dates = sorted({file.name.partition("_")[0] for file in Path(folder).glob("*_B*.tif")})
    stacks = ([read(f) for f in sorted(Path(folder).glob(f"{date}_B*.tif"))] for date in dates)
    return [xr.concat(stack, "band").assign_attrs(_FillValue=0) for stack in stacks]


def write_samples(folder: str, file: str) -> None:
    """Draw one of each five pixels of each scene, and store the valid ones (band, n)."""
    from cookbook_utils.interimage.sampling import Sampling

    sampling, parts = Sampling(SHARE, stratified=True, seed=SEED), []
    for number, scene in enumerate(open_scenes(folder)):
        for row in range(0, scene.sizes["y"], CHUNK_SIDE):
            rows = scene[:, row : row + CHUNK_SIDE].values.reshape(BANDS, -1)
            first = row * scene.sizes["x"]
            chosen = sampling.positions(number, first, first + rows.shape[1]) - first
            drawn = rows[:, chosen]
            parts.append(drawn[:, (drawn != 0).all(axis=0)])
    np.save(file, np.ascontiguousarray(np.concatenate(parts, axis=1)))  # band after band


def write_overlapping(file: str, n: int) -> None:
    np.save(file, make_pixels(n))


def as_scene(pixels: np.ndarray) -> xr.DataArray:
    return xr.DataArray(pixels[:, np.newaxis], dims=("band", "y", "x"))


def fit(file: str, engine: str, threads: int, tol: float) -> dict:
    """Fit to convergence, including the range of the bands, the last labels and inertia."""
    import numba
    import sklearn.cluster  # noqa: F401  so that the import does not count

    from cookbook_utils.interimage import InterImageKMeans

    numba.config.NUMBA_NUM_THREADS = threads
    pixels = np.load(file)
    scene = as_scene(pixels)
    if engine == "dask":
        scene = scene.chunk({"x": 2**20})
    model = InterImageKMeans(K, init="midpoint", engine=engine, tol=tol)
    model.fit(scene[..., : 2**17])  # so that compilation and thread start do not count
    with memory() as used:
        seconds, _ = timed(lambda: model.fit(scene))
    return {
        "pixels": pixels.shape[1],
        "tol": tol,
        "seconds": round(seconds, 2),
        "iterations": model.n_iter_,
        "seconds_per_iteration": round(seconds / model.n_iter_, 3),
    } | used


def broadcast(file: str, iterations: int) -> dict:
    """Run Lloyd in vectorized NumPy for a number of iterations: it has no stopping rule."""
    pixels = np.load(file)
    start, n = midpoints(pixels), pixels.shape[1]
    table = np.ascontiguousarray(pixels.T, np.float32)
    del pixels
    with memory() as used:
        seconds = sum(Broadcast(table, start, "float32")(iterations))
    return {
        "pixels": n,
        "seconds": round(seconds, 2),
        "iterations": iterations,
        "seconds_per_iteration": round(seconds / iterations, 3),
    } | used


def quality(file: str, tol: float) -> dict:
    """Return silhouettes of a fit on the pixels of a file."""
    from cookbook_utils.interimage import InterImageKMeans
    from cookbook_utils.metrics import sampled_silhouette, simplified_silhouette

    pixels = np.load(file)
    model = InterImageKMeans(K, init="midpoint", engine="numba", tol=tol).fit(as_scene(pixels))
    labels = np.ravel(model.labels_).astype(np.int64)
    samples = xr.DataArray(pixels.T, dims=("pixel", "band"))
    chunked = samples.chunk({"pixel": 2**20})
    seconds, simplified = timed(
        lambda: simplified_silhouette(chunked, labels, model.cluster_centers_)
    )
    n_samples = 10_000
    sampled = sampled_silhouette(samples, labels, n_samples=n_samples, random_state=SEED)
    return {
        "tol": tol,
        "simplified_silhouette_of_all_pixels": round(simplified, 3),
        "seconds_of_it": round(seconds, 1),
        f"silhouette_of_{n_samples}_stratified_pixels": round(sampled, 3),
    }


def downsampling(folder: str) -> list[dict]:
    """Fit one whole scene on all pixels and on samples; all pixels are labeled in each case."""
    from cookbook_utils.interimage import InterImageKMeans

    scene = open_scenes(folder)[0].compute()
    full, rows = None, []
    InterImageKMeans(K, init="midpoint", engine="numba").fit(scene[:, 3000:3300, 3000:3300])
    for share in (None, 0.2, 0.1):
        model = InterImageKMeans(
            K, init="midpoint", engine="numba", sample=share, random_state=SEED
        )
        seconds, _ = timed(functools.partial(model.fit, scene))
        labels = model.labels_.values
        full = labels if full is None else full
        valid = full != NODATA_LABEL
        rows.append({
            "share_fitted": share or 1.0,
            "valid_pixels": int(valid.sum()),
            "seconds": round(seconds, 2),
            "iterations": model.n_iter_,
            "labels_as_of_the_full_fit": round(float((labels == full)[valid].mean()), 5),
        })  # fmt: skip
    return rows


def everything(folder: str) -> dict:
    """Cluster all scenes from disk, which are read in each pass; only labels stay in memory."""
    from cookbook_utils.interimage import InterImageKMeans

    model = InterImageKMeans(K, init="midpoint", engine="dask", tol=TOL)
    with memory() as used:
        seconds, _ = timed(lambda: model.fit(open_scenes(folder)))
    passes = model.n_iter_ + 3  # the range of the bands, the last labels, inertia
    return {
        "call": "InterImageKMeans, dask, chunks from disk, two threads",
        "scenes": len(model.counts_),
        "valid_pixels": int(model.counts_.sum()),
        "tol": TOL,
        "seconds": round(seconds, 1),
        "iterations": model.n_iter_,
        "passes_over_the_files": passes,
        "seconds_per_pass": round(seconds / passes, 2),
        "changed_by_iteration": [round(share, 6) for share in model.change_fraction_],
    } | used


def from_disk(folder: str) -> dict:
    """Run `everything` in a fresh process with the environment `FROM_DISK`."""
    before = dict(os.environ)
    os.environ.update(FROM_DISK)
    try:
        row = in_fresh_process(everything, folder)
    finally:
        os.environ.clear()
        os.environ.update(before)
    row |= {"environment": FROM_DISK, "memory_target_mb": MEMORY_TARGET_MB}
    return row | {"met": row["peak_memory_mb"] <= MEMORY_TARGET_MB}


def repeated(rounds: int, call: str, function: Callable, *args: Any) -> dict:
    """Return the result with the median time of several runs, each in a fresh process."""
    found = [in_fresh_process(function, *args) for _ in range(rounds)]
    median = statistics.median_low(row["seconds"] for row in found)
    row = next(row for row in found if row["seconds"] == median)
    return {"call": call} | row | {"seconds_of_all_rounds": [row["seconds"] for row in found]}


def measure(folder: str, rounds: int) -> dict:
    head = about("interimage_scale", ("dask", "numba", "numpy", "rasterio", "scikit-learn"))
    with tempfile.TemporaryDirectory() as scratch:
        sample, overlapping = f"{scratch}/sample.npy", f"{scratch}/overlapping.npy"
        in_fresh_process(write_samples, folder, sample)
        in_fresh_process(write_overlapping, overlapping, SAMPLE_PIXELS)
        ours = repeated(rounds, "numba, two threads", fit, sample, "numba", 2, TOL)
        ladder = [
            repeated(1, "NumPy, pixel × center × band, float32", broadcast, sample,
                     ours["iterations"]),
            repeated(1, "numpy", fit, sample, "numpy", 1, TOL),
            repeated(rounds, "numba, one thread", fit, sample, "numba", 1, TOL),
            ours,
            repeated(rounds, "dask, two threads, from memory", fit, sample, "dask", 2, TOL),
        ]  # fmt: skip
        for row in ladder:
            row["speedup"] = round(ladder[0]["seconds"] / row["seconds"], 1)
        loose = repeated(rounds, "numba, two threads", fit, sample, "numba", 2, 0.01)
        other = repeated(rounds, "numba, two threads", fit, overlapping, "numba", 2, TOL)
        scores = in_fresh_process(quality, sample, TOL)
    for row in (ours, other):
        row |= {"target_seconds": SECONDS_TARGET, "met": row["seconds"] <= SECONDS_TARGET}
    other["data"] = f"{CLASSES} normal classes that overlap, seed {SEED}"
    return {
        **head,
        "pixels": f"simulated coast series, {BANDS} bands uint16; k = {K}, midpoint start",
        "sample": f"one pixel drawn from each five of each scene, seed {SEED}",
        "published": {"source": SOURCE} | PUBLISHED,
        "to_convergence": ladder,
        "to_convergence_at_tol_of_the_published_threads": loose,
        "to_convergence_on_classes_that_overlap": other,
        "quality": scores,
        "downsampling_one_scene": in_fresh_process(downsampling, folder),
        "everything_from_disk": from_disk(folder),
        "load_at_end": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", default="data/simulated/coast_series", help="default %(default)s"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the fast runs (default 3)")
    options = parser.parse_args()
    if not list(Path(options.folder).glob("*_B*.tif")):
        parser.error(
            f"no scenes in {options.folder}: write them with "
            "`python -m cookbook_utils.simulate coast_series`, or name their --folder"
        )
    result = measure(options.folder, options.rounds)
    write("interimage_scale", result)
    print(f"{'seconds':>9} {'times':>6} {'per one':>8} {'MB':>6}")
    rows = [*result["to_convergence"], result["to_convergence_on_classes_that_overlap"]]
    for row in rows:
        print(f"{row['seconds']:9.2f} {row['iterations']:6} {row['seconds_per_iteration']:8.3f} "
              f"{row['peak_memory_mb']:6}  {row['call']}")  # fmt: skip
    disk = result["everything_from_disk"]
    print(f"{disk['seconds']:9.2f} {disk['iterations']:6} {disk['seconds_per_pass']:8.3f} "
          f"{disk['peak_memory_mb']:6}  {disk['call']}: {disk['valid_pixels']} pixels")  # fmt: skip


if __name__ == "__main__":
    main()
