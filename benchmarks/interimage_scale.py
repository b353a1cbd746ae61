"""Time fits of `InterImageKMeans` to convergence, on as many pixels as published runs had.

The pixels are of the simulated coast: those of `bench` are drawn from its small series, those of
`bench-full` from the five scenes of 7000 × 7000 that ``python -m cookbook_utils.simulate
coast_series`` writes, 2.6 GB. The published runs (`published.json`) were made on five Landsat
scenes of as many pixels. Classes of the simulated coast lie far apart, so that few iterations are
needed; fits to classes that overlap are a comparison of their own. The last one clusters whole
scenes from their files.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks._comparison import Call, Comparison
from benchmarks._pixels import CLASSES, SEED, as_scene, draw_centers, make_pixels
from benchmarks.interimage import Broadcast, as_table, whole_fit

PACKAGES = ("dask", "numba", "numpy", "rasterio", "scikit-learn")
K, TOL, LOOSE, SAMPLE = 8, 1e-4, 0.01, 0.2
SMALL_SIDE, SIDE, SCENES = 400, 7000, 5  # of the two series, in pixels
CHUNK_SIDE = 1024  # pixels: whole tiles of the files
PUBLISHED_PIXELS = 40_651_997
START = {"coast.npy": "midpoint", "overlapping.npy": draw_centers(K)}
"""Start of the fits to the pixels of a file; the first one is the published one."""


def files_of(n: int) -> list[list[Path]]:
    """Return the files of each scene of the smallest series that has `n` pixels."""
    from cookbook_utils.datasets import DATA_FOLDER

    name = "coast_series_small" if n <= SCENES * SMALL_SIDE**2 else "coast_series"
    folder = DATA_FOLDER / "simulated" / name
    files = sorted(folder.glob("*_B*.tif"))
    if not files:
        command = f"python -m cookbook_utils.simulate {name}"
        raise FileNotFoundError(f"no scenes in {folder}: write them with `{command}`")
    dates = sorted({file.name.partition("_")[0] for file in files})
    return [[file for file in files if file.name.startswith(date)] for date in dates]


def write_sample(n: int, folder: Path) -> None:
    """Draw evenly spaced valid pixels from all scenes, and store `n` of them band by band."""
    import rasterio

    scenes, parts = files_of(n), []
    for number, files in enumerate(scenes):
        values = []
        for path in files:
            with rasterio.open(path) as file:
                values.append(file.read(1).ravel())
        valid = np.flatnonzero(np.logical_and.reduce([band != 0 for band in values]))
        share = n * (number + 1) // len(scenes) - n * number // len(scenes)
        chosen = valid[np.linspace(0, len(valid) - 1, share).astype(np.int64)]
        parts.append(np.stack([band[chosen] for band in values]))
    np.save(folder / "coast.npy", np.concatenate(parts, axis=1))


def write_overlapping(n: int, folder: Path) -> None:
    np.save(folder / "overlapping.npy", make_pixels(n))


def fit(file: str, engine: str = "numba", *, threads: int | None = None, tol: float = TOL) -> Any:
    """Return how to prepare a fit to convergence."""

    def prepare(n: int, folder: Path) -> Any:
        import numba

        from cookbook_utils.interimage import InterImageKMeans

        numba.config.NUMBA_NUM_THREADS = threads or numba.config.NUMBA_NUM_THREADS
        scene = as_scene(np.load(folder / file))
        if engine == "dask":
            scene = scene.chunk({"x": 2**20})
        model = InterImageKMeans(K, init=START[file], engine=engine, tol=tol)

        def call() -> dict:
            model.fit(scene)
            used = numba.config.NUMBA_NUM_THREADS
            return {"iterations": model.n_iter_, "tol": tol, "threads": used,
                    "result": model.cluster_centers_}  # fmt: skip

        return call

    return prepare


def fit_to_a_sample(n: int, folder: Path) -> Any:
    """Fit to a share of the pixels; all of them are labeled, and compared with the full fit's."""
    from cookbook_utils.interimage import InterImageKMeans

    scene = as_scene(np.load(folder / "coast.npy"))
    options = {"init": "midpoint", "engine": "numba", "tol": TOL, "random_state": SEED}
    labels = InterImageKMeans(K, **options).fit(scene).labels_.values
    model = InterImageKMeans(K, sample=SAMPLE, **options)

    def call() -> dict:
        start = time.perf_counter()
        model.fit(scene)
        seconds = time.perf_counter() - start
        same = round(float((model.labels_.values == labels).mean()), 5)
        return {"seconds": seconds, "iterations": model.n_iter_, "tol": TOL,
                "labels_as_of_the_full_fit": same}  # fmt: skip

    return call


def peers_of(file: str) -> dict[str, Any]:
    """Return peers that start from the same centers and run as many iterations as our fit."""

    def ready(folder: Path) -> tuple[np.ndarray, np.ndarray, int]:
        from cookbook_utils.interimage import InterImageKMeans
        from cookbook_utils.interimage.starts import midpoint_centers

        pixels = np.load(folder / file)
        low, high = (np.asarray(f(axis=1), float) for f in (pixels.min, pixels.max))
        start = midpoint_centers(low, high, K) if file == "coast.npy" else START[file]
        model = InterImageKMeans(K, init=START[file], engine="numba", tol=TOL)
        return as_table(pixels), start, model.fit(as_scene(pixels)).n_iter_

    def vectorized(n: int, folder: Path) -> Any:
        table, start, iterations = ready(folder)

        def call() -> dict:
            run = Broadcast(table, start)
            for _ in range(iterations):
                run.step()
            return {"iterations": iterations, "result": run.centers}

        return call

    def scikit_learn(n: int, folder: Path) -> Any:
        from sklearn.cluster import KMeans

        table, start, iterations = ready(folder)
        options = {"n_init": 1, "algorithm": "lloyd", "tol": 0, "max_iter": iterations}
        return whole_fit(KMeans(K, init=start.astype(np.float32), **options), table)

    return {
        "NumPy, pixel × center × band, float32": Call(vectorized, rounds=1),
        "scikit-learn KMeans, Lloyd": scikit_learn,
    }


def open_scenes(n: int) -> list[xr.DataArray]:
    """Open the first scenes (band, y, x), uint16, of `n` pixels together, chunk by chunk."""
    import rioxarray

    def read(file: Path) -> xr.DataArray:
        chunks = {"band": 1, "y": CHUNK_SIDE, "x": CHUNK_SIDE}
        return rioxarray.open_rasterio(file, chunks=chunks, lock=False).squeeze("band", drop=True)

    scenes = ([read(file) for file in files] for files in scenes_of(n))
    return [xr.concat(bands, "band").assign_attrs(_FillValue=0) for bands in scenes]


def scenes_of(n: int) -> list[list[Path]]:
    side = SMALL_SIDE if n <= SCENES * SMALL_SIDE**2 else SIDE
    return files_of(n)[: max(1, n // side**2)]


def fit_files(n: int, folder: Path) -> Any:
    from cookbook_utils.interimage import InterImageKMeans

    model = InterImageKMeans(K, init="midpoint", engine="dask", tol=TOL)

    def call() -> dict:
        model.fit(open_scenes(n))
        return {"iterations": model.n_iter_, "tol": TOL, "valid_pixels": int(model.counts_.sum())}

    return call


def read_files(n: int, folder: Path) -> Any:
    import rasterio

    def call() -> None:
        for file in (file for files in scenes_of(n) for file in files):
            with rasterio.open(file) as source:
                for _, window in source.block_windows():
                    source.read(1, window=window)

    return call


COMPARISONS = [
    Comparison(
        f"simulated coast to convergence, k = {K}",
        unit="pixels",
        sizes=(50_000, 200_000, 800_000),
        full_sizes=(2_500_000, 10_000_000, PUBLISHED_PIXELS),
        ours={
            "numba, a thread for each core": fit("coast.npy"),
            "numba, one thread": fit("coast.npy", threads=1),
            "dask, threads, from memory": fit("coast.npy", "dask"),
            "numpy": Call(fit("coast.npy", "numpy"), rounds=1),
            f"numba, tolerance {LOOSE}": fit("coast.npy", tol=LOOSE),
            f"numba, fitted to a share of {SAMPLE}": fit_to_a_sample,
        },
        peers=peers_of("coast.npy"),
        warm_up=50_000,
        write=write_sample,
    ),
    Comparison(
        f"{CLASSES} classes that overlap, to convergence, k = {K}",
        unit="pixels",
        sizes=(250_000, 1_000_000, 4_000_000),
        full_sizes=(2_500_000, 10_000_000, PUBLISHED_PIXELS),
        ours={"numba, a thread for each core": fit("overlapping.npy")},
        peers={"scikit-learn KMeans, Lloyd": peers_of("overlapping.npy")[
            "scikit-learn KMeans, Lloyd"
        ]},
        warm_up=20_000,
        write=write_overlapping,
    ),
    Comparison(
        f"scenes from files to convergence, k = {K}",
        unit="pixels",
        sizes=tuple(n * SMALL_SIDE**2 for n in (1, 2, SCENES)),
        full_sizes=tuple(n * SIDE**2 for n in (1, 2, SCENES)),
        ours={"dask, threads": fit_files},
        peers={"rasterio, reading the files once": read_files},
        warm_up=SMALL_SIDE**2,
        rounds=2,
    ),
]  # fmt: skip
