"""Compare mini-batch k-means on shards with scikit-learn's on an array in memory.

All calls standardize, cluster and label the same raw features, on disk or in memory; ours stores
the labels, too. All take the same number of steps with the same batch size and the same number of
clusters. The peers have their array in memory before the time starts. Every row has the mean
squared distance of the points to their centers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks._comparison import Call, Comparison

PACKAGES = ("numpy", "pyarrow", "scikit-learn")
N_FEATURES, N_CLUSTERS, BATCH_SIZE, EPOCHS, SEED = 64, 8, 256, 2, 0
POINTS_PER_BLOCK = 65536  # made, written or rated at a time


def make_features(n: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield features of overlapping clusters, one block of points at a time."""
    centers = np.random.default_rng(SEED).normal(0, 0.6, (N_CLUSTERS, N_FEATURES))
    for start in range(0, n, POINTS_PER_BLOCK):
        random = np.random.default_rng([SEED, start])
        size = min(POINTS_PER_BLOCK, n - start)
        truth = random.integers(N_CLUSTERS, size=size)
        noise = random.standard_normal((size, N_FEATURES), dtype=np.float32)
        yield start, noise + centers[truth].astype(np.float32)


def make_array(n: int) -> np.ndarray:
    x = np.empty((n, N_FEATURES), np.float32)
    for start, features in make_features(n):
        x[start : start + len(features)] = features
    return x


def write_shards(n: int, folder: Path) -> None:
    from cookbook_utils.shards import ShardWriter

    with ShardWriter(
        folder / "shards", {"dynamic": [f"f{i}" for i in range(N_FEATURES)]}
    ) as writer:
        for start, features in make_features(n):
            at = np.arange(start, start + len(features))
            writer.append(at, at * 0.0, at * 0.0, dynamic=features)


def ours(n: int, folder: Path) -> Any:
    import sklearn.cluster  # noqa: F401  so that the import does not count

    from cookbook_utils.minibatch import MiniBatchShardKMeans, label_shards
    from cookbook_utils.shards import PointShards

    options = {"batch_size": BATCH_SIZE, "max_iter": EPOCHS, "tol": 0, "test_fraction": 0}

    def call() -> dict:
        shards = PointShards(folder / "shards")
        model = MiniBatchShardKMeans(N_CLUSTERS, random_state=SEED, **options).fit(shards)
        counted = label_shards(shards, model, "benchmark")
        return {"inertia_per_point": round(float(counted.inertia.sum()) / n, 4)}

    return call


def in_memory(fit: Callable[[np.ndarray], Any], threads: int | None) -> Any:
    """Return how to prepare a call that standardizes, fits and labels an array."""

    def prepare(n: int, folder: Path) -> Any:
        from sklearn.preprocessing import StandardScaler

        def call() -> dict:
            x = make_array(n)
            with threadpool_limits(threads):
                start = time.perf_counter()
                x = StandardScaler(copy=False).fit_transform(x)
                model = fit(x)
                labels = model.predict(x)
                seconds = time.perf_counter() - start
            return {"seconds": seconds, "inertia_per_point": inertia(x, labels, model)}

        return call

    return prepare


def fit_at_once(x: np.ndarray) -> Any:
    from sklearn.cluster import MiniBatchKMeans

    options = {"max_no_improvement": None, "compute_labels": False, "random_state": SEED}
    return MiniBatchKMeans(N_CLUSTERS, batch_size=BATCH_SIZE, max_iter=EPOCHS, **options).fit(x)


def fit_in_steps(x: np.ndarray) -> Any:
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(N_CLUSTERS, compute_labels=False, random_state=SEED).fit(x[:25_600])
    for _ in range(EPOCHS):
        for start in range(0, len(x), BATCH_SIZE):
            model.partial_fit(x[start : start + BATCH_SIZE])
    return model


def inertia(x: np.ndarray, labels: np.ndarray, model: Any) -> float:
    parts = [slice(at, at + POINTS_PER_BLOCK) for at in range(0, len(x), POINTS_PER_BLOCK)]
    centers = model.cluster_centers_
    total = sum(float(((x[part] - centers[labels[part]]) ** 2).sum()) for part in parts)
    return round(total / len(x), 4)


COMPARISONS = [
    Comparison(
        f"{N_FEATURES} features, {N_CLUSTERS} clusters, {EPOCHS} epochs",
        unit="points",
        sizes=(50_000, 150_000, 500_000),
        full_sizes=(300_000, 1_000_000, 10_000_000),
        ours={"MiniBatchShardKMeans.fit and label_shards, from shards": ours},
        peers={
            "scikit-learn, MiniBatchKMeans, one thread": in_memory(fit_at_once, 1),
            "scikit-learn, MiniBatchKMeans.partial_fit in a loop": in_memory(fit_in_steps, 1),
            "scikit-learn, MiniBatchKMeans, a thread for each core": Call(
                in_memory(fit_at_once, None), 150_000, "its threads contend for minutes", rounds=1
            ),
        },
        warm_up=3000,
        write=write_shards,
    )
]
