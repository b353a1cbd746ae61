"""Compare `NystroemSpectralClustering` with dask-ml's SpectralClustering.

dask-ml runs as it does by default, and with scikit-learn's k-means for its embedding. No call has a
client of distributed. `gamma` is 1 / (number of bands) for all. Every row has the adjusted Rand
index (ARI) of the labels with the true classes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._comparison import Call, Comparison

PACKAGES = ("dask", "dask-ml", "numpy", "scikit-learn", "scipy")
BANDS, CLASSES, RANDOM_STATE, PIXELS_PER_CHUNK = 6, 3, 0, 250_000
# Typical surface reflectances of clear water, green vegetation and bare soil, blue to SWIR 2.
SPECTRA = np.array(
    [
        [0.06, 0.05, 0.04, 0.02, 0.01, 0.01],
        [0.03, 0.06, 0.04, 0.40, 0.20, 0.10],
        [0.12, 0.16, 0.20, 0.26, 0.32, 0.28],
    ]
)


def make_samples(n: int) -> tuple[Any, np.ndarray]:
    """Return pixels of three classes (pixel, band), standardized per band, and true classes."""
    import dask.array as da

    rng = np.random.default_rng(RANDOM_STATE)
    truth = rng.integers(CLASSES, size=n, dtype=np.uint8)
    pixels = rng.standard_normal((n, BANDS), dtype=np.float32)
    pixels *= np.float32(0.03)
    for band in range(BANDS):
        pixels[:, band] += SPECTRA[truth, band]
        pixels[:, band] -= pixels[:, band].mean(dtype=np.float64)
        pixels[:, band] /= pixels[:, band].std(dtype=np.float64)
    return da.from_array(pixels, chunks=(min(PIXELS_PER_CHUNK, -(-n // 3)), BANDS)), truth


def fit_of(model: Any, samples: Any, truth: np.ndarray) -> Any:
    """Return a call that times a fit until the labels are in memory, and rates them."""

    def call() -> dict[str, float]:
        from sklearn.metrics import adjusted_rand_score

        start = time.perf_counter()
        labels = np.asarray(model.fit(samples).labels_)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "ari_with_truth": round(adjusted_rand_score(truth, labels), 4)}

    return call


def ours(n: int, folder: Path) -> Any:
    from cookbook_utils.spectral import NystroemSpectralClustering

    model = NystroemSpectralClustering(CLASSES, random_state=RANDOM_STATE)
    return fit_of(model, *make_samples(n))


def dask_ml(*, scikit_learn: bool) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        from dask_ml.cluster import SpectralClustering
        from sklearn.cluster import KMeans

        kmeans = KMeans(CLASSES, n_init=10, random_state=RANDOM_STATE)
        assign = {"assign_labels": kmeans} if scikit_learn else {}
        options = {"gamma": 1 / BANDS, "random_state": RANDOM_STATE}
        return fit_of(SpectralClustering(CLASSES, **options, **assign), *make_samples(n))

    return prepare


LARGEST, WHY = 1_000_000, "its arrays of pixels × components need more memory than the machine has"
COMPARISONS = [
    Comparison(
        f"{CLASSES} classes, {BANDS} bands, 100 components",
        unit="pixels",
        sizes=(10_000, 30_000, 90_000),
        full_sizes=(90_000, 1_000_000, 5_000_000, 49_000_000),
        ours={"NystroemSpectralClustering": ours},
        peers={
            "dask-ml": Call(dask_ml(scikit_learn=False), LARGEST, WHY, rounds=1),
            "dask-ml, k-means of scikit-learn": Call(dask_ml(scikit_learn=True), LARGEST, WHY),
        },
        warm_up=2000,
    )
]
