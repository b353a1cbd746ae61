"""Computations on one batch: scaling, nearest centers, and running statistics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from cookbook_utils.shards import Batch

POINTS_PER_READ = 8192
"""Points that are read and labeled at a time."""

POINTS_PER_PRODUCT = 256
"""Points whose distances scikit-learn computes in one matrix product. BLAS rounds differently for
products of other shapes. Batches are padded to whole products, so that the label of a point does
not depend on the other points."""

N_INIT = 10  # runs of k-means on the sample


class Statistics(NamedTuple):
    """Statistics of points, and a uniform sample of them."""

    n: int
    """Points with all features."""
    n_missing: int
    """Points without some feature."""
    mean: np.ndarray
    """float64 (features,)."""
    scale: np.ndarray
    """Standard deviation, float64 (features,)."""
    sample: np.ndarray
    """float32 (sample, features)."""


def compute_statistics(
    stream: Iterable[Batch], size: int, random: np.random.Generator
) -> Statistics:
    """Compute the statistics of a stream of batches, and draw a sample of `size` points.

    Each point gets a random key, and the sample consists of the points with the smallest keys. If
    there are fewer than `size` points, the sample has all of them.

    References
    ----------
    Means and sums of squares of batches are merged as in T. F. Chan, G. H. Golub, R. J. LeVeque
    (1983), Algorithms for computing the sample variance, The American Statistician 37(3), 242-247.
    """
    n, n_missing, mean, squares = 0, 0, 0.0, 0.0
    keys, sample = np.empty(0), None
    for batch in stream:
        x = with_all_features(batch.features)
        n_missing += len(batch.features) - len(x)
        drawn = random.random(len(x))
        if len(x) == 0:
            continue
        values = x.astype(np.float64)
        shift = values.mean(axis=0) - mean
        values -= mean + shift
        squares += np.einsum("ij,ij->j", values, values) + shift**2 * (n * len(x) / (n + len(x)))
        n += len(x)
        mean = mean + shift * (len(x) / n)

        candidates = drawn < (keys.max() if len(keys) == size else 1)
        if not candidates.any():  # true of most batches, once the sample is full
            continue
        keys = np.concatenate([keys, drawn[candidates]])
        sample = x[candidates] if sample is None else np.concatenate([sample, x[candidates]])
        if len(keys) > size:
            smallest = np.sort(np.argpartition(keys, size)[:size])
            keys, sample = keys[smallest], sample[smallest]
    return Statistics(n, n_missing, mean, np.sqrt(squares / max(n, 1)), sample)


def with_all_features(features: np.ndarray) -> np.ndarray:
    """Return the rows whose features are all finite, without a copy if they all are."""
    present = np.isfinite(features).all(axis=1)
    return features if present.all() else features[present]


def scaled(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return standardized features in float32.

    They are computed in float64, because a difference or a scale may be out of the range of
    float32. The division is in place, because allocating a second array takes longer than it.
    """
    x = features - mean
    x /= scale
    return x.astype(np.float32)


def start_model(sample: np.ndarray, n_clusters: int, init: Any, random_state: int) -> Any:
    """Return a `MiniBatchKMeans` that starts with the centers and counts of k-means on a sample.

    k-means moves a center that has lost all points to the point farthest from its center. The model
    gets a random generator, although it affects no result: without one, the model would draw from
    the global generator of NumPy; given a seed, it would make a new generator in each step.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    n_init = N_INIT if isinstance(init, str) else 1
    start = KMeans(n_clusters, init=init, n_init=n_init, random_state=random_state).fit(sample)
    model = MiniBatchKMeans(
        n_clusters,
        init=start.cluster_centers_,
        n_init=1,
        random_state=np.random.RandomState(random_state),  # noqa: NPY002  what scikit-learn takes
        reassignment_ratio=0,
        compute_labels=False,
    )
    return model.partial_fit(sample)


def nearest(x: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest center of each point and the squared distance to it."""
    from sklearn.metrics import pairwise_distances_argmin_min

    n = len(x)
    size = max(-(-n // POINTS_PER_PRODUCT), 1) * POINTS_PER_PRODUCT
    padded = np.zeros((size, x.shape[1]), np.float32)
    padded[:n] = x
    labels, squared = pairwise_distances_argmin_min(padded, centers, metric="sqeuclidean")
    return labels[:n], squared[:n]
