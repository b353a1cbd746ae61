"""Spectral clustering of pixels with Dask, with or without a ``distributed`` client."""

from __future__ import annotations

import warnings

import dask
import dask.array as da
import numpy as np
import xarray as xr

from cookbook_utils._checks import (
    LARGEST,
    as_real_array,
    require_dims,
    require_integer,
    require_number,
    require_random_state,
)
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._threads import one_blas_thread

# Rows per chunk. Always the same, so that the input's own chunking cannot change a result.
_CHUNK = 2**15

_ADVICE = "(default: 1 / n_bands) or samples on comparable scales (scaling.standardize)"


def spectral_clustering(
    samples: xr.DataArray | np.ndarray | da.Array,
    n_clusters: int,
    *,
    gamma: float | None = None,
    n_components: int = 100,
    random_state: int = 0,
) -> np.ndarray:
    r"""Group pixels by spectral clustering, approximated by Nyström's method.

    The affinity of two pixels is ``exp(-gamma * d**2)``, with d the Euclidean distance of their
    spectra. The leading eigenvectors of the normalized affinity matrix, one row per pixel scaled
    to length one, are the embedding, in which k-means finds the clusters. The matrix of all pairs
    is never formed: `n_components` pixels drawn at random stand for it [1]_ [2]_.

    The embedding comes from :class:`dask_ml.cluster.SpectralClustering`; k-means is
    :class:`sklearn.cluster.KMeans`, the best of ten starts, on one thread. The pixels drawn are
    those that dask-ml draws for the same `random_state`.

    Parameters
    ----------
    samples : xarray.DataArray, numpy.ndarray or dask.array.Array
        Pixels, dims (pixel, band) in any order, or a two-dimensional array of shape
        (n_pixels, n_bands). Lazy or not, in any chunks. No value missing (NaN, or the nodata value
        that a DataArray declares) or infinite; on comparable scales:
        :func:`cookbook_utils.scaling.standardize` them first.
    n_clusters : int
        Number of clusters, at least 2.
    gamma : float, optional
        How fast affinity falls with distance, per squared unit of `samples`, above 0. The default
        is 1 / n_bands, as in dask-ml with ``gamma=None`` (its own default, 1, is often too large
        for standardized bands: few pixels are then near any pixel drawn). Where labels differ
        from seed to seed, try a smaller one.
    n_components : int, default 100
        Number of pixels drawn, from `n_clusters` to one less than the number of pixels. More of
        them make the approximation better and slower.
    random_state : int, default 0
        Seed of the pixels drawn and of the k-means starts. The same seed gives the same labels,
        with or without a client, in threads or processes, whatever the chunks.

    Returns
    -------
    numpy.ndarray
        Cluster of each pixel, shape (n_pixels,), int32, from 0 to ``n_clusters - 1``, in the order
        of `samples`: ready for :func:`cookbook_utils.stacking.unstack_labels`.

    Raises
    ------
    TypeError
        If `samples` are not real numbers or have a ``numpy.ma`` mask, `n_clusters`,
        `n_components` or `random_state` is not an integer, or `gamma` not a number.
    ValueError
        If `samples` is not two-dimensional, not finite or has a constant band; if
        there are fewer pixels than `n_clusters`, or no more than `n_components`; if `gamma` makes
        every affinity 0 or 1, or leaves pixels without affinity to any pixel drawn; if
        fewer than `n_clusters` clusters are found.

    Notes
    -----
    With a ``distributed`` client active everything up to the embedding runs on its workers and is
    seen on its dashboard (``client.dashboard_link``). Without one it runs in local threads, and
    ``with dask.diagnostics.ProgressBar(minimum=0.1):`` around the call shows the progress. The
    k-means step, the shorter part, runs in the calling process. The workers together need
    about ``30 * n_pixels * n_components`` bytes.

    References
    ----------
    .. [1] C. Fowlkes, S. Belongie, F. Chung, J. Malik (2004). Spectral grouping using the Nyström
       method. IEEE Transactions on Pattern Analysis and Machine Intelligence 26(2), 214-225.
       doi:10.1109/TPAMI.2004.1262185
    .. [2] W.-Y. Chen, Y. Song, H. Bai, C.-J. Lin, E. Y. Chang (2011). Parallel spectral clustering
       in distributed systems. IEEE Transactions on Pattern Analysis and Machine Intelligence
       33(3), 568-586. doi:10.1109/TPAMI.2010.88

    Examples
    --------
    Two kinds of pixel, dark and bright:

    >>> import numpy as np
    >>> brightness = np.repeat([0.1, 0.9], 20)[:, np.newaxis]
    >>> samples = brightness + 0.01 * np.random.default_rng(0).normal(size=(40, 3))
    >>> labels = spectral_clustering(samples, 2, n_components=10)
    >>> len(set(labels[:20])), len(set(labels[20:])), labels[0] == labels[-1]
    (1, 1, np.False_)
    """
    pixels, bands = _as_dask(samples)
    _check_counts(len(pixels), n_clusters, n_components)
    random_state = require_random_state(random_state)
    gamma = 1 / len(bands) if gamma is None else require_number(gamma, "gamma", above=0)
    # In memory, the workers' or this process's, so that a file is read only once.
    pixels = pixels.persist()
    _check_values(pixels, bands)
    some = pixels[:: -(-len(pixels) // 1000)].compute()
    _check_affinity(some, gamma)
    embedding = _embed(pixels, n_clusters, gamma, n_components, random_state)
    _check_embedding(embedding, gamma, n_components)
    return _cluster(embedding, n_clusters, random_state)


def _as_dask(samples) -> tuple[da.Array, list]:
    """Pixels as one float64 Dask array (pixel, band) in fixed chunks, and the bands' names."""
    if isinstance(samples, xr.DataArray):
        require_dims(samples, ("pixel", "band"), "samples")
        samples = mask_and_float(samples).transpose("pixel", "band")
        bands = list(samples["band"].values) if "band" in samples.coords else None
        samples = samples.data
    else:
        bands = None
        samples = as_real_array(samples, "samples")
        if samples.ndim != 2:
            raise ValueError(
                "samples must have two dimensions, (n_pixels, n_bands), as from "
                f"stacking.stack_pixels, got {samples.ndim}"
            )
    pixels = da.asarray(samples)
    if np.isnan(pixels.shape).any():
        raise ValueError(
            f"samples must have a known shape, got {pixels.shape}: call their "
            "compute_chunk_sizes() first"
        )
    if 0 in pixels.shape:
        raise ValueError(f"samples must have at least one pixel and band, got {pixels.shape}")
    if bands is None:
        bands = list(range(pixels.shape[1]))
    return pixels.rechunk((_CHUNK, -1)).astype("float64"), bands


def _check_counts(n_pixels: int, n_clusters: int, n_components: int) -> None:
    require_integer(n_clusters, "n_clusters", least=2)
    if n_pixels < n_clusters:
        raise ValueError(
            f"samples must have at least n_clusters = {n_clusters} pixels, got {n_pixels}"
        )
    if n_pixels == n_clusters:
        raise ValueError(
            f"samples must have more than n_clusters = {n_clusters} pixels, got {n_pixels}"
        )
    require_integer(n_components, "n_components", least=n_clusters, most=n_pixels - 1)


def _check_values(pixels: da.Array, bands: list) -> None:
    finite = da.isfinite(pixels)
    n_bad, n_finite, low, high = dask.compute(
        (~finite.all(axis=1)).sum(),
        finite.sum(axis=0),
        da.where(finite, pixels, np.inf).min(axis=0),
        da.where(finite, pixels, -np.inf).max(axis=0),
    )
    empty = [band for band, n in zip(bands, n_finite, strict=True) if n == 0]
    if empty:
        raise ValueError(
            f"samples must be finite, got no finite value in band(s) {_names(empty)}: "
            "a band that is missing, or constant before it was standardized?"
        )
    if n_bad:
        raise ValueError(
            f"samples must be finite, got missing or infinite values in {n_bad} of {len(pixels)} "
            "pixels: stacking.stack_pixels leaves missing ones out"
        )
    largest = max(np.abs(low).max(), np.abs(high).max())
    if largest > LARGEST:
        raise ValueError(
            f"samples must lie within ±{LARGEST:g}, got {largest:g}: scaling.standardize them"
        )
    constant = [band for band, a, b in zip(bands, low, high, strict=True) if a == b]
    if constant:
        raise ValueError(
            f"samples must vary in every band, got a constant in band(s) {_names(constant)}, "
            "which tell no pixels apart: drop these"
        )


def _check_affinity(some: np.ndarray, gamma: float) -> None:
    """Refuse a kernel that is all zeros or all ones on up to a thousand pixels spread evenly."""
    affinity = _affinity(some, some, gamma)[~np.eye(len(some), dtype=bool)]
    if affinity.max() == 0:
        raise ValueError(
            f"gamma must tell pixels apart, got {gamma:g}, which makes the affinity of every two "
            f"pixels 0: use a smaller gamma {_ADVICE}"
        )
    # Closer to one, the differences between affinities drown in the rounding of float64.
    if affinity.min() > 1 - 1e-12:
        raise ValueError(
            f"gamma must tell pixels apart, got {gamma:g}, which makes the affinity of every two "
            f"pixels 1: use a larger gamma {_ADVICE}"
        )


def _affinity(some: np.ndarray, others: np.ndarray, gamma: float) -> np.ndarray:
    """Return the affinity of every one of `some` pixels to every one of `others`.

    Distances are sums of squared differences. The kernel of dask-ml has x² − 2xy + y², which loses
    small ones where others are large.
    """
    from scipy.spatial.distance import cdist

    squared = cdist(some, others, "sqeuclidean")
    return np.exp(np.multiply(squared, -gamma, out=squared), out=squared)


def _lazy_affinity(
    some: da.Array, others: da.Array | None = None, *, gamma: float, **_: float
) -> da.Array:
    """Return `_affinity` of Dask arrays, as dask-ml calls a kernel, with more than it needs."""
    others = some if others is None else others
    return da.blockwise(
        _affinity, "ij", some, "ib", others, "jb", gamma=gamma, dtype=np.float64, concatenate=True
    )


def _embed(
    pixels: da.Array, n_clusters: int, gamma: float, n_components: int, random_state: int
) -> np.ndarray:
    """Spectral embedding (pixel, n_clusters) by dask-ml, computed on the active scheduler.

    dask-ml would hand the lazy embedding to its own k-means, which computes it over and over, in
    some two hundred chunks, and fails with a client once the futures it rests on are released.
    Computed here, in one go and while they are held, it outlives them.
    """
    from dask_ml.cluster import SpectralClustering
    from sklearn.base import BaseEstimator
    from sklearn.utils import check_random_state

    class Compute(BaseEstimator):
        """Stands where dask-ml expects the k-means estimator."""

        labels_ = None

        def fit(self, embedding):
            self.embedding_ = np.asarray(embedding)
            return self

    rng = check_random_state(random_state)
    rng.randint(np.iinfo("i4").max)  # dask-ml takes the seed of its k-means first
    model = SpectralClustering(
        n_clusters=n_clusters,
        affinity=_lazy_affinity,
        gamma=gamma,
        n_components=n_components,
        random_state=rng,
        assign_labels=Compute(),
    )
    with warnings.catch_warnings():
        # Rows without affinity divide by zero; they are counted and refused afterwards.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="dask")
        return model.fit(pixels).assign_labels_.embedding_


def _check_embedding(embedding: np.ndarray, gamma: float, n_components: int) -> None:
    n_lost = np.count_nonzero(~np.isfinite(embedding).all(axis=1))
    if n_lost:
        raise ValueError(
            f"gamma must leave every pixel some affinity to the n_components={n_components} pixels "
            f"drawn, got {gamma:g}, which leaves {n_lost} of {len(embedding)} without: use a "
            f"smaller gamma {_ADVICE}"
        )


def _cluster(embedding: np.ndarray, n_clusters: int, random_state: int) -> np.ndarray:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # One thread adds in one order: no label depends on the number of cores.
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of too few clusters, refused below
        labels = KMeans(n_clusters, n_init=10, random_state=random_state).fit_predict(embedding)
    n_found = len(np.unique(labels))
    if n_found < n_clusters:
        raise ValueError(
            f"n_clusters must be at most the number of groups in the samples, got {n_clusters} "
            f"where {n_found} were found: the samples hold too few distinct pixels"
        )
    return labels


def _names(bands: list) -> str:
    return ", ".join(map(str, bands))
