"""Compare smoothing and neighbor graphs with those of SciPy, NumPy and scikit-learn.

Smoothing runs on points in random order, the worst case for the CPU cache, and on points sorted by
place. The normalized weights that only the peers need are prepared before timing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array

from benchmarks._comparison import Comparison

PACKAGES = ("numba", "numpy", "pyarrow", "scikit-learn", "scipy")
N_FEATURES, N_NEIGHBORS, HOPS, ALPHA, SEED = 64, 8, 3, np.float32(0.5), 0


def make_points(n: int, order: str = "random") -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates of points scattered over a degree of latitude in northern Norway."""
    longitude, latitude = np.random.default_rng(SEED).random((2, n)) * [[3], [1]] + [[19], [69]]
    if order == "along the ground":  # in strips of 0.01 degrees of latitude, from west to east
        first = np.lexsort((longitude, np.floor(latitude * 100)))
        longitude, latitude = longitude[first], latitude[first]
    return longitude, latitude


def make_features(n: int) -> np.ndarray:
    """Return random features (n, `N_FEATURES`)."""
    return np.random.default_rng(SEED + 1).random((n, N_FEATURES), dtype=np.float32)


def make_graph(n: int, order: str) -> Any:
    from cookbook_utils.graph import neighbor_graph

    return neighbor_graph(*make_points(n, order), n_neighbors=N_NEIGHBORS)


def make_mean(n: int, order: str) -> csr_array:
    """Return the graph with weights that sum to 1 for each point."""
    graph = make_graph(n, order)
    total = graph @ np.ones(n)
    mean = csr_array(diags_array(1 / np.where(total, total, 1)) @ graph).astype(np.float32)
    mean.sort_indices()
    return mean


def ours(order: str) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        from cookbook_utils.graph import smooth_features

        features, graph = make_features(n), make_graph(n, order)
        return lambda: {"result": smooth_features(features, graph, alpha=float(ALPHA), hops=HOPS)}

    return prepare


def hops(order: str, step: Any, fold: bool = False) -> Any:
    """Return how to prepare a peer that repeats a step for each hop."""

    def prepare(n: int, folder: Path) -> Any:
        features, mean = make_features(n), make_mean(n, order)
        if fold:
            mean = (ALPHA * eye_array(n, dtype=np.float32) + (1 - ALPHA) * mean).tocsr()

        def call() -> dict:
            found = features
            for _ in range(HOPS):
                found = step(found, mean)
            return {"result": found}

        return call

    return prepare


def formula(features: np.ndarray, mean: csr_array) -> np.ndarray:
    return ALPHA * features + (1 - ALPHA) * (mean @ features)


def folded(features: np.ndarray, mean: csr_array) -> np.ndarray:
    return mean @ features


def gather(features: np.ndarray, mean: csr_array) -> np.ndarray:
    neighbors, weights = mean.indices.reshape(-1, N_NEIGHBORS), mean.data.reshape(-1, N_NEIGHBORS)
    total = np.zeros_like(features)
    for j in range(N_NEIGHBORS):
        total += weights[:, j, np.newaxis] * features[neighbors[:, j]]
    return ALPHA * features + (1 - ALPHA) * total


def our_graph(n: int, folder: Path) -> Any:
    from cookbook_utils.graph import neighbor_graph

    points = make_points(n)

    def call() -> None:
        neighbor_graph(*points, n_neighbors=N_NEIGHBORS)

    return call


def ball_tree(n: int, folder: Path) -> Any:
    from sklearn.neighbors import BallTree

    longitude, latitude = make_points(n)

    def call() -> None:
        place = np.radians(np.stack([latitude, longitude], axis=1))
        BallTree(place, metric="haversine").query(place, N_NEIGHBORS + 1)

    return call


def write_shards(n: int, folder: Path) -> None:
    from cookbook_utils.shards import ShardWriter

    longitude, latitude = make_points(n)
    features, names = make_features(n), [f"f{i}" for i in range(N_FEATURES)]
    with ShardWriter(folder / "source", {"dynamic": names}) as writer:
        for start in range(0, n, 2**16):
            at = np.arange(start, min(start + 2**16, n))
            writer.append(at, longitude[at], latitude[at], dynamic=features[at])


def our_shards(n: int, folder: Path) -> Any:
    from cookbook_utils.graph import smooth_shards

    options = {"alpha": float(ALPHA), "hops": HOPS, "n_neighbors": N_NEIGHBORS}

    def call() -> None:
        smooth_shards(folder / "source", folder / "smoothed", **options)

    return call


def in_memory(n: int, folder: Path) -> Any:
    """The same by SciPy, on arrays that are read before and not written."""
    points = make_points(n)
    features = make_features(n)

    def call() -> None:
        from cookbook_utils.graph import neighbor_graph

        graph = neighbor_graph(*points, n_neighbors=N_NEIGHBORS)
        total = graph @ np.ones(n)
        mean = csr_array(diags_array(1 / np.where(total, total, 1)) @ graph).astype(np.float32)
        found = features
        for _ in range(HOPS):
            found = formula(found, mean)

    return call


SIZES, FULL_SIZES = (30_000, 100_000, 300_000), (100_000, 300_000, 1_000_000)
COMPARISONS = [
    Comparison(
        f"smoothing of {N_FEATURES} features, points {order}",
        unit="points",
        sizes=SIZES,
        full_sizes=FULL_SIZES,
        ours={"smooth_features": ours(order)},
        peers={
            "SciPy, alpha x + (1 - alpha) W @ x": hops(order, formula),
            "SciPy, (alpha I + (1 - alpha) W) @ x": hops(order, folded, fold=True),
            "NumPy, gather neighbor by neighbor": hops(order, gather),
        },
        warm_up=1000,
    )
    for order in ("random", "along the ground")
]
COMPARISONS += [
    Comparison(
        f"graph of {N_NEIGHBORS} neighbors",
        unit="points",
        sizes=(10_000, 30_000, 100_000),
        full_sizes=(10_000, 30_000, 100_000),
        ours={"neighbor_graph": our_graph},
        peers={"scikit-learn, BallTree with haversine": ball_tree},
        warm_up=1000,
    ),
    Comparison(
        "graph and smoothing",
        unit="points",
        sizes=SIZES,
        full_sizes=FULL_SIZES,
        ours={"smooth_shards, from disk to disk": our_shards},
        peers={"neighbor_graph and SciPy, in memory": in_memory},
        warm_up=1000,
        write=write_shards,
    ),
]
