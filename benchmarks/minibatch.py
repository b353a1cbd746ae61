"""Compare mini-batch k-means on shards with scikit-learn's on an array in memory.

All calls standardize, cluster and label the same raw features, on disk or in memory;
`label_shards` also stores the labels. All take the same number of steps with the same batch size
and the same number of clusters. Each call runs in a new process, so that its peak memory can be
measured. Run it from the root of the repository:

    python -m benchmarks.minibatch
    python -m benchmarks.minibatch --points 10000000 --memory

The second command adds a run of ours alone, on that many points, to the results.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks._result import about, in_fresh_process, memory, read, write
from benchmarks._timing import in_turn, own_time

N_FEATURES, N_CLUSTERS, BATCH_SIZE, EPOCHS, SEED = 64, 8, 256, 2, 0
POINTS_PER_BLOCK = 65536  # made or written at a time
SITES = ("insar_lyngen", "insar_nordnes", "insar_svalbard")


def make_features(n: int):
    """Yield features of overlapping clusters, one block of points at a time."""
    centers = np.random.default_rng(SEED).normal(0, 0.6, (N_CLUSTERS, N_FEATURES))
    for start in range(0, n, POINTS_PER_BLOCK):
        random = np.random.default_rng([SEED, start])
        size = min(POINTS_PER_BLOCK, n - start)
        truth = random.integers(N_CLUSTERS, size=size)
        noise = random.standard_normal((size, N_FEATURES), dtype=np.float32)
        yield start, noise + centers[truth].astype(np.float32)


def write_source(folder: str, n: int) -> None:
    from cookbook_utils.shards import ShardWriter

    with ShardWriter(folder, {"dynamic": [f"f{i}" for i in range(N_FEATURES)]}) as writer:
        for start, features in make_features(n):
            at = np.arange(start, start + len(features))
            writer.append(at, at * 0.0, at * 0.0, dynamic=features)


def make_array(n: int) -> np.ndarray:
    x = np.empty((n, N_FEATURES), np.float32)
    for start, features in make_features(n):
        x[start : start + len(features)] = features
    return x


def ours(folder: str, n: int) -> dict:
    import sklearn.cluster  # noqa: F401  not measured: the import

    from cookbook_utils.minibatch import MiniBatchShardKMeans, label_shards
    from cookbook_utils.shards import PointShards

    shards = PointShards(folder)
    options = {"batch_size": BATCH_SIZE, "max_iter": EPOCHS, "tol": 0, "test_fraction": 0}
    model = MiniBatchShardKMeans(N_CLUSTERS, random_state=SEED, **options)
    with memory() as used:
        start = time.perf_counter()
        model.fit(shards)
        fitted = time.perf_counter()
        counted = label_shards(shards, model, "benchmark")
        seconds = time.perf_counter() - start
    fit = {"fit_seconds": round(fitted - start, 2)}
    return measurement(seconds, used, float(counted.inertia.sum()) / n) | fit


def in_memory(folder: str, n: int, threads: int | None = None) -> dict:
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.preprocessing import StandardScaler

    x = make_array(n)
    options = {"max_no_improvement": None, "compute_labels": False, "random_state": SEED}
    model = MiniBatchKMeans(N_CLUSTERS, batch_size=BATCH_SIZE, max_iter=EPOCHS, **options)
    with memory() as used, threadpool_limits(threads):
        start = time.perf_counter()
        x = StandardScaler(copy=False).fit_transform(x)
        labels = model.fit(x).predict(x)
        seconds = time.perf_counter() - start
    return measurement(seconds, used, inertia(x, labels, model))


def in_memory_one_thread(folder: str, n: int) -> dict:
    return in_memory(folder, n, threads=1)


def in_memory_steps(folder: str, n: int) -> dict:
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.preprocessing import StandardScaler

    x = make_array(n)
    model = MiniBatchKMeans(N_CLUSTERS, compute_labels=False, random_state=SEED)
    with memory() as used, threadpool_limits(1):
        start = time.perf_counter()
        x = StandardScaler(copy=False).fit_transform(x)
        model.fit(x[:25_600])
        for _ in range(EPOCHS):
            for i in range(0, n, BATCH_SIZE):
                model.partial_fit(x[i : i + BATCH_SIZE])
        labels = model.predict(x)
        seconds = time.perf_counter() - start
    return measurement(seconds, used, inertia(x, labels, model))


ALL_THREADS = "scikit-learn, MiniBatchKMeans.fit and predict, as many threads as cores"
CALLS = {
    "MiniBatchShardKMeans.fit and label_shards, from shards": ours,
    "scikit-learn, MiniBatchKMeans.fit and predict, one thread": in_memory_one_thread,
    "scikit-learn, MiniBatchKMeans.partial_fit in a loop and predict, one thread": in_memory_steps,
    ALL_THREADS: in_memory,
}


def inertia(x, labels, model) -> float:
    pieces = range(0, len(x), POINTS_PER_BLOCK)
    centers = model.cluster_centers_
    return sum(
        float(
            ((x[i : i + POINTS_PER_BLOCK] - centers[labels[i : i + POINTS_PER_BLOCK]]) ** 2).sum()
        )
        for i in pieces
    ) / len(x)


def measurement(seconds: float, used: dict[str, int], inertia: float) -> dict:
    return {"seconds": round(seconds, 2), "inertia_per_point": round(inertia, 4)} | used


def measure_speed(n: int, repeats: int) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        write_source(folder, n)
        calls = {
            name: functools.partial(in_fresh_process, function, folder, n)
            for name, function in CALLS.items()
        }
        slowest = {ALL_THREADS: calls.pop(ALL_THREADS)}  # its threads contend: called once
        rounds = in_turn(calls, repeats, own_time)[0] | in_turn(slowest, 1, own_time)[0]
    own = statistics.median(r["seconds"] for r in rounds[next(iter(CALLS))])
    rows = []
    for name, found in rounds.items():
        median = statistics.median(r["seconds"] for r in found)
        spent = {"seconds": [r["seconds"] for r in found], "median_seconds": median}
        ratio = {"time_of_ours_over_its": round(own / median, 3)}
        peak = {"peak_memory_mb": max(r["peak_memory_mb"] for r in found)}
        rows.append({"call": name, "points": n} | found[0] | spent | ratio | peak)
    return rows


def measure_memory(n: int) -> dict:
    name = next(iter(CALLS))
    with tempfile.TemporaryDirectory() as folder:
        write_source(folder, n)
        disk = sum(p.stat().st_size for p in Path(folder).iterdir())
        found = in_fresh_process(CALLS[name], folder, n)
    return {"call": name, "points": n} | found | {"shards_mb": round(disk / 1e6)}


def measure_quality() -> list[dict]:
    """Rate mini-batch k-means and k-means on all points at once by the true regimes."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    from cookbook_utils.minibatch import MiniBatchShardKMeans, label_shards
    from cookbook_utils.reservoir import embed_shards
    from cookbook_utils.shards import PointShards
    from cookbook_utils.simulate import write_site

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for site in SITES:
            raw = write_site(folder, site)
            truth = PointShards(raw).read_labels("regime").values
            shards = PointShards(embed_shards(raw, f"{folder}/{site}-features"))
            for kinds in (("dynamic",), ("dynamic", "static")):
                x = np.concatenate([shards.read(kind) for kind in kinds], axis=1)
                x = (x - x.mean(axis=0)) / x.std(axis=0)
                full = KMeans(6, n_init=10, random_state=SEED).fit_predict(x)
                model = MiniBatchShardKMeans(6, kinds=kinds, random_state=SEED).fit(shards)
                label_shards(shards, model, "batched")
                found = shards.read_labels("batched").values
                row = {"site": site, "points": len(x), "features": "+".join(kinds)}
                row["ari_full_batch"] = round(adjusted_rand_score(truth, full), 3)
                row["ari_mini_batch"] = round(adjusted_rand_score(truth, found), 3)
                row["ari_of_both_with_each_other"] = round(adjusted_rand_score(full, found), 3)
                rows.append(row | {"epochs": model.n_iter_})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="rounds of all calls (default 3)")
    parser.add_argument("--points", type=int, default=1_000_000, help="default 1 000 000")
    parser.add_argument("--memory", action="store_true", help="measure ours alone")
    options = parser.parse_args()
    result = read("minibatch")
    header = about("minibatch", ("numpy", "pyarrow", "reservoir-computing", "scikit-learn"))
    header["samples"] = (
        f"{N_FEATURES} features float32, {N_CLUSTERS} clusters, batches of {BATCH_SIZE}, "
        f"{EPOCHS} epochs, seed {SEED}"
    )
    if options.memory:
        result["memory"] = header | measure_memory(options.points)
        print(json.dumps(result["memory"], indent=2))
    else:
        speed = measure_speed(options.points, options.repeats)
        kept = {"memory": result["memory"]} if "memory" in result else {}
        result = header | {"speed": speed, "quality": measure_quality()} | kept
        print(json.dumps(result, indent=2))
    write("minibatch", result)


if __name__ == "__main__":
    main()
