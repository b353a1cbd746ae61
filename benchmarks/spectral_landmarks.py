"""Compare pixels drawn for coverage with pixels drawn uniformly, in spectral clustering.

The spectral clustering of a scene rests on a sample of `n_components` pixels.
`NystroemSpectralClustering` draws it as k-means++ draws centers; the other way draws all pixels
with the same probability. Both cluster the same scenes with the same ten random states. Run it from
the root of the repository; it needs the simulated scenes:

    python -m benchmarks.spectral_landmarks
"""

from __future__ import annotations

import argparse
import itertools
from unittest import mock

import numpy as np
from benchmarks._result import about, write
from sklearn.metrics import adjusted_rand_score

from cookbook_utils import _nystroem
from cookbook_utils.datasets import open_catalog
from cookbook_utils.scaling import standardize, to_reflectance
from cookbook_utils.spectral import NystroemSpectralClustering
from cookbook_utils.stacking import stack_pixels

SCENES = {
    "lake 1988": ("landsat_5_small", "cover"),
    "lake 2017": ("landsat_8_small", "cover"),
    "three classes, one of 0.2 %": None,
}
CASES = ((5, 100), (6, 100), (8, 100), (6, 30), (3, 30))  # clusters, size of the sample


def uniform(sample, n_components, random_state):
    """Draw as `_nystroem.draw` does, but every pixel with the same probability."""
    random = np.random.default_rng(random_state)
    rows = random.choice(len(sample), n_components, replace=False)
    return sample[np.sort(rows)], np.full(n_components, 1 / n_components)


def make_samples(scene: tuple[str, str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return standardized pixels (pixel, band) and their true classes."""
    if scene is None:
        random = np.random.default_rng(0)
        truth = np.searchsorted([0.6, 0.998], random.uniform(size=60_000))
        centers = np.array([[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 2, 2]])
        pixels = centers[truth] + 0.25 * random.normal(size=(len(truth), 4))
        return (pixels - pixels.mean(axis=0)) / pixels.std(), truth
    catalog = open_catalog()
    pixels = to_reflectance(catalog[scene[0]].read()).compute()
    samples = stack_pixels(pixels)
    truth = catalog[f"{scene[0]}_truth"].read()[scene[1]].compute()
    truth = truth.stack(pixel=("y", "x")).sel(pixel=samples.pixel).values
    return standardize(samples, per_band=False).values.astype(float), truth


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


def compare(samples, truth, n_clusters, n_components, states) -> list[dict]:
    rows = []
    for name, draw in (("uniform", uniform), ("coverage", _nystroem.draw)):
        runs = []
        for state in range(states):
            model = NystroemSpectralClustering(
                n_clusters, n_components=n_components, random_state=state
            )
            with mock.patch.object(_nystroem, "draw", draw):
                try:
                    runs.append(model.fit_predict(samples))
                except ValueError:  # pixels without affinity to the sample
                    continue
        row = {"draw": name, "n_clusters": n_clusters, "n_components": n_components,
               "failed": states - len(runs)}  # fmt: skip
        pairs = [adjusted_rand_score(a, b) for a, b in itertools.combinations(runs, 2)]
        scores = {
            "ari_with_truth": [adjusted_rand_score(truth, run) for run in runs],
            "rarest_recall": [rarest_recall(truth, run) for run in runs],
            "rarest_f1": [rarest_f1(truth, run) for run in runs],
            "ari_between_states": pairs,
        }
        for key, values in scores.items():
            row[key] = [round(float(np.mean(values)), 3), round(float(np.min(values)), 3)]
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=10, help="random states (default 10)")
    states = parser.parse_args().states
    rows = []
    for name, scene in SCENES.items():
        samples, truth = make_samples(scene)
        print(name, samples.shape, np.bincount(truth), flush=True)
        for n_clusters, n_components in CASES:
            found = compare(samples, truth, n_clusters, n_components, states)
            rows += [{"scene": name, **row} for row in found]
    header = about("spectral_landmarks", ("dask", "numpy", "scikit-learn", "scipy"))
    write("spectral_landmarks", header | {"scores": "mean and least of the states", "rows": rows})


if __name__ == "__main__":
    main()
