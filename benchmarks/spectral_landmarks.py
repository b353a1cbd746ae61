"""Compare the sample that `NystroemSpectralClustering` draws for coverage with a uniform one.

The spectral clustering of a scene rests on a sample of `n_components` pixels, which the size
counts. `NystroemSpectralClustering` draws it as k-means++ draws centers; the other way draws all
pixels with the same probability. Both cluster the same pixels with the same ten random states, and
take about as long; what differs are the scores of each row, means and, in `_least`, those of the
worst random state. The lakes are the simulated ones, thinned to 20 000 pixels.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks._comparison import Comparison, Prepare

PACKAGES = ("dask", "numpy", "scikit-learn", "scipy")
PIXELS, STATES = 20_000, 10
LAKE_1988, LAKE_2017 = "landsat_5_small", "landsat_8_small"
CASES = {
    "lake 1988, 3 clusters": (LAKE_1988, 3),
    "lake 1988, 6 clusters": (LAKE_1988, 6),
    "lake 1988, 8 clusters": (LAKE_1988, 8),
    "lake 2017, 6 clusters": (LAKE_2017, 6),
    "three classes, one of 0.2 %, 3 clusters": (None, 3),
}


def uniform(sample: np.ndarray, n_components: int, gamma: float, random_state: Any) -> tuple:
    """Draw as `_nystroem.draw` does, but every pixel with the same probability."""
    random = np.random.default_rng(random_state)
    rows = random.choice(len(sample), n_components, replace=False)
    return sample[np.sort(rows)], np.full(n_components, 1 / n_components)


def make_samples(scene: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return standardized pixels (pixel, band) and their true classes."""
    random = np.random.default_rng(0)
    if scene is None:
        truth = np.searchsorted([0.6, 0.998], random.uniform(size=PIXELS))
        centers = np.array([[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 2, 2]])
        pixels = centers[truth] + 0.25 * random.normal(size=(len(truth), 4))
        return (pixels - pixels.mean(axis=0)) / pixels.std(), truth
    from cookbook_utils.datasets import open_catalog
    from cookbook_utils.scaling import standardize, to_reflectance
    from cookbook_utils.stacking import stack_pixels

    catalog = open_catalog()
    samples = stack_pixels(to_reflectance(catalog[scene].read()).compute())
    truth = catalog[f"{scene}_truth"].read()["cover"].compute()
    truth = truth.stack(pixel=("y", "x")).sel(pixel=samples.pixel).values
    values = standardize(samples, per_band=False).values.astype(float)
    some = random.choice(len(values), min(PIXELS, len(values)), replace=False)
    return values[some], truth[some]


def rarest_f1(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return the largest F1 score of a cluster for the rarest class."""
    classes, sizes = np.unique(truth, return_counts=True)
    rare = truth == classes[sizes.argmin()]
    inside = np.bincount(labels[rare], minlength=labels.max() + 1)
    return float((2 * inside / (np.bincount(labels) + rare.sum())).max())


def rarest_recall(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of the rarest class in clusters of which it is the majority."""
    classes, sizes = np.unique(truth, return_counts=True)
    table = np.array([np.bincount(labels[truth == one], minlength=labels.max() + 1)
                      for one in classes])  # fmt: skip
    rare = sizes.argmin()
    return float(table[rare, table.argmax(axis=0) == rare].sum() / sizes[rare])


def scores_of(runs: list[np.ndarray], truth: np.ndarray) -> dict[str, float]:
    """Return the mean and the least score of the labels of all random states."""
    from sklearn.metrics import adjusted_rand_score

    scores = {
        "ari_with_truth": [adjusted_rand_score(truth, run) for run in runs],
        "ari_between_states": [
            adjusted_rand_score(a, b) for a, b in itertools.combinations(runs, 2)
        ],
        "rarest_recall": [rarest_recall(truth, run) for run in runs],
        "rarest_f1": [rarest_f1(truth, run) for run in runs],
    }
    means = {name: round(float(np.mean(values)), 3) for name, values in scores.items()}
    least = {f"{name}_least": round(float(np.min(v)), 3) for name, v in scores.items()}
    return means | least


def drawn(scene: str | None, n_clusters: int, draw: Callable | None = None) -> Prepare:
    """Return what prepares fits with all random states; `draw` replaces how samples are drawn."""

    def prepare(n_components: int, folder: Path) -> Any:
        from cookbook_utils import _nystroem
        from cookbook_utils.spectral import NystroemSpectralClustering

        samples, truth = make_samples(scene)
        options = {"n_components": n_components}
        models = [NystroemSpectralClustering(n_clusters, random_state=state, **options)
                  for state in range(STATES)]  # fmt: skip

        def call() -> dict:
            runs, seconds = [], []
            with mock.patch.object(_nystroem, "draw", draw or _nystroem.draw):
                for model in models:
                    start = time.perf_counter()
                    try:
                        runs.append(model.fit_predict(samples))
                    except ValueError:  # pixels without affinity to the sample
                        continue
                    seconds.append(time.perf_counter() - start)
            failed = {"failed": STATES - len(runs)}
            return {"seconds": float(np.mean(seconds))} | failed | scores_of(runs, truth)

        return call

    return prepare


COMPARISONS = [
    Comparison(
        title,
        unit="pixels in the sample",
        sizes=(30, 60, 100),
        full_sizes=(30, 60, 100, 300),
        ours={"drawn for coverage": drawn(*case)},
        peers={"drawn uniformly": drawn(*case, uniform)},
        warm_up=20,
        timed="a fit, the mean of ten",
        rounds=1,
    )
    for title, case in CASES.items()
]
