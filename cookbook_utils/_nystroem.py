"""Nyström's method: affinities to a sample, eigenvectors, the embedding, and k-means in it."""

from __future__ import annotations

import warnings
from typing import Any

import dask.array as da
import numpy as np

from cookbook_utils._threads import one_blas_thread

ADVICE = "(default: 1 / n_bands) or samples on comparable scales (scaling.standardize)"
"""What to do about a `gamma` that does not suit the pixels, for error messages."""

MOST_DRAWN_FROM = 10_000
"""Number of pixels from which those of the sample are drawn, unless that sample is larger."""

PIXELS_PER_PART = 1024
"""Number of pixels whose affinities are in memory at once, in each thread."""

# Shapes: n pixels, m of them in a chunk, b bands, l = n_components, k = n_clusters.


def affinity(some: np.ndarray, others: np.ndarray, gamma: float) -> np.ndarray:
    """Return the affinity of each pixel of `some` to each of `others`.

    Distances are sums of squared differences. The kernel of dask-ml computes x² − 2xy + y², which
    cancels where distances are small beside the values.
    """
    from scipy.spatial.distance import cdist

    squared = cdist(some, others, "sqeuclidean")
    return np.exp(np.multiply(squared, -gamma, out=squared), out=squared)


def draw(
    sample: np.ndarray, n_components: int, gamma: float, random_state: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels that cover the sample (l, b), and the share of it that each stands for (l,).

    They are drawn from up to `MOST_DRAWN_FROM` pixels as k-means++ draws its centers, with a
    probability in proportion to the squared distance to those drawn before, so that small groups
    get one, too. It is the distance in the space of the kernel, 1 - affinity, which is at most 1:
    by distances of the bands, the few pixels that are far from all others would be drawn first, and
    each of them would become a cluster. A pixel stands for those that are nearest to it.
    """
    from scipy.spatial.distance import cdist

    random = np.random.default_rng(random_state)
    most = max(MOST_DRAWN_FROM, 20 * n_components)
    if len(sample) > most:
        sample = sample[np.sort(random.choice(len(sample), most, replace=False, shuffle=False))]
    rows, owner = [], np.zeros(len(sample), np.int64)
    nearest = np.full(len(sample), np.inf)  # squared distance to the nearest of those drawn
    for number in range(n_components):
        weights = -np.expm1(-gamma * nearest)
        total = weights.sum()  # 0 if each pixel equals one that is drawn
        row = random.choice(len(sample), p=weights / total if total > 0 else None)
        squared = cdist(sample, sample[row : row + 1], "sqeuclidean")[:, 0]
        owner[squared < nearest] = number
        nearest = np.minimum(nearest, squared)
        rows.append(row)
    return sample[rows], np.bincount(owner, minlength=n_components) / len(sample)


def eigenvectors(
    pixels: da.Array, sample: np.ndarray, shares: np.ndarray, gamma: float, n_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (l,) and the matrix (l, k) that maps affinities to the embedding.

    A pixel of the sample counts as many times as it stands for others, by `shares`.
    """
    degrees = pixels.map_blocks(  # (l,)
        sum_affinities,
        sample,
        gamma,
        chunks=((1,) * pixels.numblocks[0], len(sample)),
        dtype=np.float64,
    ).sum(axis=0)
    scale = np.sqrt(len(pixels) * shares / degrees.compute())  # (l,)
    normalized = scale[:, np.newaxis] * affinity(sample, sample, gamma) * scale  # (l, l)
    with one_blas_thread():
        vectors, values, _ = np.linalg.svd(normalized)  # (l, l), (l,)
    # Where there are fewer distinct pixels than clusters, eigenvalues are 0.
    largest = np.maximum(values[:n_clusters], np.finfo(float).eps)
    return values, scale[:, np.newaxis] * vectors[:, :n_clusters] / np.sqrt(largest)


def sum_affinities(chunk: np.ndarray, sample: np.ndarray, gamma: float) -> np.ndarray:
    """Return the sums (1, l) of the affinities of the sample (l, b) to a chunk of pixels (m, b)."""
    return sum(affinity(sample, part, gamma).sum(axis=1) for part in _parts(chunk))[np.newaxis]


def _parts(chunk: np.ndarray) -> list[np.ndarray]:
    """Return parts of a chunk of pixels whose affinities stay in the cache of a core."""
    return [chunk[at : at + PIXELS_PER_PART] for at in range(0, len(chunk), PIXELS_PER_PART)]


def embed_chunk(
    chunk: np.ndarray, sample: np.ndarray, projection: np.ndarray, gamma: float
) -> np.ndarray:
    """Return the embedding (m, k) of a chunk of pixels (m, b).

    Raises
    ------
    ValueError
        If a pixel has no affinity to the sample.
    """
    with one_blas_thread():
        vectors = np.concatenate(  # (m, l) @ (l, k)
            [affinity(part, sample, gamma) @ projection for part in _parts(chunk)]
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        vectors /= np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    n_lost = np.count_nonzero(~np.isfinite(vectors).all(axis=1))
    if n_lost:
        raise ValueError(
            "gamma must leave every pixel of X some affinity to the "
            f"n_components={len(sample)} pixels of the sample, got {gamma:g}, which leaves "
            f"{n_lost} of {len(chunk)} without: use a smaller gamma {ADVICE}"
        )
    return vectors


def fit_kmeans(embedding: np.ndarray, n_clusters: int, random_state: int) -> Any:
    """Return k-means fitted on the embedding, or raise if it finds fewer clusters."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # One thread adds in one order, so that no label depends on the number of cores.
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # too few clusters are refused below
        kmeans = KMeans(n_clusters, n_init=10, random_state=random_state).fit(embedding)
    n_found = len(np.unique(kmeans.labels_))
    if n_found < n_clusters:
        raise ValueError(
            f"n_clusters must be at most the number of groups in X, got {n_clusters} where "
            f"{n_found} were found: X holds too few distinct pixels"
        )
    return kmeans
