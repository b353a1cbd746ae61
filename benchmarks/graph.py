"""Compare time and memory of smoothing and of neighbor graphs with those of other libraries.

Ours are `smooth_features`, `neighbor_graph` and `smooth_shards`; the others are functions of SciPy,
NumPy and scikit-learn.

Smoothing runs on points in random order, the worst case for the CPU cache, and on points sorted by
place. All calls take turns in one process, on the same points; normalized weights and other inputs
that only the compared calls need are prepared before timing. Peak memory is measured in another
run, each call in a new process. Run it from the root of the repository:

    python -m benchmarks.graph
"""

from __future__ import annotations

import argparse
import statistics
import tempfile

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array

from benchmarks._result import about, in_fresh_process, memory, write
from benchmarks._timing import in_turn, timed
from cookbook_utils.graph import neighbor_graph, smooth_features, smooth_shards
from cookbook_utils.shards import PointShards, ShardWriter

N_FEATURES, N_NEIGHBORS, HOPS, ALPHA, SEED = 64, 8, 3, np.float32(0.5), 0
ORDERS = ("random", "along the ground")


def make_points(n: int, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates of points scattered over a degree of latitude in northern Norway."""
    longitude, latitude = np.random.default_rng(SEED).random((2, n)) * [[3], [1]] + [[19], [69]]
    if order == "along the ground":  # in strips of 0.01 degrees of latitude, from west to east
        first = np.lexsort((longitude, np.floor(latitude * 100)))
        longitude, latitude = longitude[first], latitude[first]
    return longitude, latitude


def make_features(n: int) -> np.ndarray:
    """Return random features (n, `N_FEATURES`)."""
    return np.random.default_rng(SEED + 1).random((n, N_FEATURES), dtype=np.float32)


def make_inputs(n: int, order: str) -> dict:
    """Return the features, the graph, and the matrices that the calls of other libraries need."""
    graph = neighbor_graph(*make_points(n, order), n_neighbors=N_NEIGHBORS)
    total = graph @ np.ones(n)
    mean = csr_array(diags_array(1 / np.where(total, total, 1)) @ graph).astype(np.float32)
    mean.sort_indices()
    inputs = {"graph": graph, "mean": mean, "features": make_features(n)}
    inputs["folded"] = (ALPHA * eye_array(n, dtype=np.float32) + (1 - ALPHA) * mean).tocsr()
    return inputs


def ours(features, graph, **_):
    return smooth_features(features, graph, alpha=float(ALPHA), hops=HOPS)


def csr_formula(features, mean, **_):
    for _ in range(HOPS):
        features = ALPHA * features + (1 - ALPHA) * (mean @ features)
    return features


def csr_folded(features, folded, **_):
    for _ in range(HOPS):
        features = folded @ features
    return features


def csr_product_alone(features, mean, **_):
    for _ in range(HOPS):
        features = mean @ features
    return features


def numpy_gather(features, mean, **_):
    neighbors, weights = mean.indices.reshape(-1, N_NEIGHBORS), mean.data.reshape(-1, N_NEIGHBORS)
    for _ in range(HOPS):
        total = np.zeros_like(features)
        for j in range(N_NEIGHBORS):
            total += weights[:, j, np.newaxis] * features[neighbors[:, j]]
        features = ALPHA * features + (1 - ALPHA) * total
    return features


CALLS = {
    "smooth_features": ours,
    "scipy, alpha x + (1 - alpha) W @ x": csr_formula,
    "scipy, (alpha I + (1 - alpha) W) @ x": csr_folded,
    "scipy, W @ x alone, which is not the formula": csr_product_alone,
    "NumPy, gather neighbor by neighbor": numpy_gather,
}
GRAPH_OF_CALL = {ours: "graph", csr_folded: "folded"}  # the others take "mean"


def row(name: str, seconds: list[float], **more) -> dict:
    """Return the row of a call in the result file."""
    spent = {"seconds": [round(s, 3) for s in seconds]}
    return {"call": name} | spent | {"median_seconds": round(statistics.median(seconds), 3)} | more


def memory_of_smoothing(name: str, n: int) -> dict[str, int]:
    CALLS[name](**make_inputs(1000, "random"))
    inputs = make_inputs(n, "random")
    inputs = {key: inputs[key] for key in ("features", GRAPH_OF_CALL.get(CALLS[name], "mean"))}
    with memory() as used:
        CALLS[name](**inputs)
    return used


def memory_of_graph(n: int) -> dict[str, int]:
    points = make_points(n, "random")
    with memory() as used:
        neighbor_graph(*points, n_neighbors=N_NEIGHBORS)
    return used


def memory_of_shards(folder: str) -> dict[str, int]:
    ours(**make_inputs(1000, "random"))
    with memory() as used:
        smooth(folder, "again")
    return used


def measure_smoothing(n: int, repeats: int, order: str) -> list[dict]:
    inputs = make_inputs(n, order)
    calls = {name: lambda call=call: call(**inputs) for name, call in CALLS.items()}
    seconds, results = in_turn(calls, repeats)
    formula = results["scipy, alpha x + (1 - alpha) W @ x"]
    own = statistics.median(seconds["smooth_features"])
    rows = []
    for name in CALLS:
        times = statistics.median(seconds[name]) / own
        more = {"order": order, "times_as_long_as_smooth_features": round(times, 2)}
        if "alone" not in name:
            more["largest_difference_from_formula"] = float(np.abs(results[name] - formula).max())
        rows.append(row(name, seconds[name], **more))
    return rows


def measure_graph(n: int, repeats: int) -> list[dict]:
    from sklearn.neighbors import BallTree

    longitude, latitude = make_points(n, "random")

    def ball_tree():
        place = np.radians(np.stack([latitude, longitude], axis=1))
        return BallTree(place, metric="haversine").query(place, N_NEIGHBORS + 1)

    calls = {"neighbor_graph": lambda: neighbor_graph(longitude, latitude, n_neighbors=N_NEIGHBORS)}
    calls["scikit-learn, BallTree with haversine"] = ball_tree
    seconds, _ = in_turn(calls, repeats)
    return [row(name, seconds[name], points=n) for name in calls]


def write_source(folder: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    points, names = make_points(n, "random"), [f"f{i}" for i in range(N_FEATURES)]
    features = make_features(n)
    with ShardWriter(f"{folder}/source", {"dynamic": names}) as writer:
        for start in range(0, n, 2**16):
            at = np.arange(start, min(start + 2**16, n))
            writer.append(at, points[0][at], points[1][at], dynamic=features[at])
    return points


def smooth(folder: str, name: str) -> None:
    options = {"alpha": float(ALPHA), "hops": HOPS, "n_neighbors": N_NEIGHBORS}
    smooth_shards(f"{folder}/source", f"{folder}/{name}", **options)


def measure_shards(n: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        points = write_source(folder, n)
        seconds, _ = timed(lambda: smooth(folder, "target"))
        peak = in_fresh_process(memory_of_shards, folder)
        found = PointShards(f"{folder}/target").read("dynamic")
        expected = ours(make_features(n), neighbor_graph(*points, n_neighbors=N_NEIGHBORS))
        same = bool(np.array_equal(found, expected))
    return row("smooth_shards", [seconds], points=n, same_bits_as_in_memory=same, **peak)


def measure(n: int, repeats: int) -> dict:
    header = about("graph", ("numba", "numpy", "pyarrow", "scikit-learn", "scipy"))
    small = make_inputs(1000, "random")
    for call in CALLS.values():  # not measured: imports and compilation
        call(**small)
    smoothing = [r for order in ORDERS for r in measure_smoothing(n, repeats, order)]
    for r in smoothing[: len(CALLS)]:  # the rows of the first order; memory does not depend on it
        r.update(in_fresh_process(memory_of_smoothing, r["call"], n))
    graph = measure_graph(n // 10, repeats)
    points = make_points(n, "random")
    seconds, _ = in_turn(
        {"neighbor_graph": lambda: neighbor_graph(*points, n_neighbors=N_NEIGHBORS)}, repeats
    )
    peak = in_fresh_process(memory_of_graph, n)
    graph += [row("neighbor_graph", *seconds.values(), points=n, **peak)]
    return header | {
        "samples": f"{n} points, {N_FEATURES} features float32, n_neighbors={N_NEIGHBORS}, "
        f"{HOPS} hops, seed {SEED}",
        "smoothing": smoothing,
        "graph": graph,
        "shards": [measure_shards(n)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds of all calls (default 5)")
    parser.add_argument("--points", type=int, default=1_000_000, help="default 1 000 000")
    options = parser.parse_args()
    result = measure(options.points, options.repeats)
    write("graph", result)
    for part in ("smoothing", "graph", "shards"):
        for r in result[part]:
            print(f"{r['median_seconds']:8.2f} s  {r['call']} {r.get('order', '')}")


if __name__ == "__main__":
    main()
