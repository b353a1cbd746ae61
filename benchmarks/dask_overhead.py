"""Compare `InterImageKMeans` on Dask with itself on Numba in memory and with what Dask must do.

Every time is that of an iteration: the difference between a long and a short fit from the same
centers, divided by the iterations between; where their starts differ by more than that, it is the
long fit divided by its iterations, which is too much. The client has a worker process with one
thread for each core. Pixels stay in the memory of the workers (`persist=True`), or are read from
GeoTIFFs again in each iteration (`persist=False`).

- *Small chunks* show the overhead: the size counts chunks, of 10 000 pixels each. The same number
  of tasks that do nothing is the least that the client can take.
- *Persisted chunks* of a million pixels show what processes cost where there is enough to compute.
- *GeoTIFFs*, six of one band each, are compared with reading all of their pixels by rasterio, chunk
  by chunk on the same client, and dropping them. This opens the files again for each chunk, so that
  an iteration from files that stay open may take less.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._comparison import Comparison
from benchmarks._pixels import as_scene, draw_centers, make_pixels, write_geotiff
from benchmarks.opening import OFFSET, SCALE, files

PACKAGES = ("dask", "distributed", "numba", "numpy", "rasterio", "xarray")
K, SHORT, LONG = 8, 2, 22
PIXELS_PER_CHUNK, SMALL_CHUNK, SIDE = 1_000_000, 10_000, 1024


def start_client() -> Any:
    """Return a client with a worker process for each core, one in each process of the runner."""
    from distributed import Client, default_client

    with contextlib.suppress(ValueError):  # there is none yet
        return default_client()
    client = Client(n_workers=os.cpu_count(), threads_per_worker=1, dashboard_address=":0")
    atexit.register(client.shutdown)
    return client


def iterations(
    scene: Any, engine: str, start: np.ndarray | None = None, *, persist: bool = True
) -> Callable[[], dict]:
    """Return a call that measures the seconds of an iteration of a fit from given centers."""
    from cookbook_utils.interimage import InterImageKMeans

    init = draw_centers(K) if start is None else start

    def fit(n: int) -> float:
        options = {"max_iter": n, "tol": 0, "engine": engine, "persist": persist}
        model = InterImageKMeans(K, init=init, **options)
        before = time.perf_counter()
        model.fit(scene)
        seconds = time.perf_counter() - before
        if model.n_iter_ != n:
            raise RuntimeError(f"a fit must run {n} iterations, got {model.n_iter_}: add pixels")
        return seconds

    def call() -> dict:
        # Of two each, since one that was disturbed would hide iterations or add to them.
        short, whole = (min(fit(n), fit(n)) for n in (SHORT, LONG))
        if whole <= short:  # their starts differ by more than the iterations take
            return {"seconds": whole / LONG, "seconds_of_a_fit": whole}
        return {"seconds": (whole - short) / (LONG - SHORT), "seconds_of_a_fit": whole}

    return call


def in_memory(pixels_per_size: int = 1) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        return iterations(as_scene(make_pixels(n * pixels_per_size)), "numba")

    return prepare


def on_dask(pixels_per_chunk: int, *, client: bool, pixels_per_size: int = 1) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        from distributed import wait

        scene = as_scene(make_pixels(n * pixels_per_size)).chunk({"x": pixels_per_chunk})
        if not client:
            return iterations(scene, "dask")
        start_client()
        scene = scene.persist()
        wait(scene)
        return iterations(scene, "dask")

    return prepare


def empty_tasks(n: int, folder: Path) -> Any:
    client = start_client()

    def call() -> dict:
        client.gather(client.map(abs, range(n), pure=False))
        return {}

    return call


def open_lazily(folder: Path) -> Any:
    from cookbook_utils.datasets import open_scene

    options = {"date": "2020-06-01", "scale": SCALE, "offset": OFFSET}
    return open_scene(files(folder), chunks={"y": SIDE, "x": SIDE}, **options)


def from_files(n: int, folder: Path) -> Any:
    start_client()
    start = draw_centers(K) * SCALE + OFFSET
    return iterations(open_lazily(folder), "dask", start, persist=False)


def files_in_memory(n: int, folder: Path) -> Any:
    start = draw_centers(K) * SCALE + OFFSET
    return iterations(open_lazily(folder).compute(), "numba", start)


def read_window(paths: list[str], row: int, column: int) -> int:
    """Read a window of all files, and return its number of bytes."""
    import rasterio
    from rasterio.windows import Window

    total = 0
    for path in paths:
        with rasterio.open(path) as file:
            total += file.read(1, window=Window(column, row, SIDE, SIDE)).nbytes
    return total


def reading_alone(n: int, folder: Path) -> Any:
    client = start_client()
    paths = list(files(folder).values())
    side = round(n**0.5)
    places = [(row, column) for row in range(0, side, SIDE) for column in range(0, side, SIDE)]
    rows, columns = zip(*places, strict=True)

    def call() -> dict:
        read = client.map(read_window, [paths] * len(places), rows, columns, pure=False)
        return {"bytes_read": int(np.sum(client.gather(read)))}

    return call


def geotiffs(title: str, write: Callable[[int, Path], None]) -> Comparison:
    return Comparison(
        title,
        unit="pixels",
        sizes=(1_000_000, 4_000_000, 9_000_000),
        full_sizes=(4_000_000, 16_000_000, 49_000_000),
        ours={"dask, worker processes, from GeoTIFFs": from_files},
        peers={
            "numba, in memory": files_in_memory,
            "rasterio, reading alone, worker processes": reading_alone,
        },
        warm_up=100_000,
        timed="an iteration",
        rounds=2,
        write=write,
    )


COMPARISONS = [
    Comparison(
        "small chunks",
        unit="chunks",
        sizes=(100, 300, 1000),
        full_sizes=(100, 300, 1000, 3000),
        ours={
            "dask, worker processes, persisted": on_dask(
                SMALL_CHUNK, client=True, pixels_per_size=SMALL_CHUNK
            ),
            "dask, threads": on_dask(SMALL_CHUNK, client=False, pixels_per_size=SMALL_CHUNK),
        },
        peers={
            "numba, in memory": in_memory(SMALL_CHUNK),
            "distributed, as many tasks that do nothing": empty_tasks,
        },
        warm_up=10,
        timed="an iteration",
        rounds=2,
    ),
    Comparison(
        "persisted chunks",
        unit="pixels",
        sizes=(6_000_000, 20_000_000, 60_000_000),
        full_sizes=(6_000_000, 20_000_000, 60_000_000),
        ours={
            "dask, worker processes, persisted": on_dask(PIXELS_PER_CHUNK, client=True),
            "dask, threads": on_dask(PIXELS_PER_CHUNK, client=False),
        },
        peers={"numba, in memory": in_memory()},
        warm_up=100_000,
        timed="an iteration",
        rounds=2,
    ),
    geotiffs("GeoTIFFs, deflated", write_geotiff),
    geotiffs("GeoTIFFs, not compressed", functools.partial(write_geotiff, compress="none")),
]
