"""Spectral clustering of pixels with Dask, with or without a ``distributed`` client."""

from __future__ import annotations

import warnings
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, validate_data

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

PIXELS_PER_CHUNK = 2**15  # constant, so that the chunks of the input cannot change a result

_ADVICE = "(default: 1 / n_bands) or samples on comparable scales (scaling.standardize)"


class NystroemSpectralClustering(ClusterMixin, BaseEstimator):
    r"""Cluster pixels by the eigenvectors of their affinities, approximated by Nyström's method.

    Use it where clusters are long, bent or of different size, so that the straight borders of
    k-means do not suit them. The affinity of two pixels is ``exp(-gamma * d**2)``, with d the
    Euclidean distance of their spectra. K-means finds the clusters in the spectral embedding: the
    leading eigenvectors of the normalized affinity matrix. The matrix of all pairs of pixels is
    never formed; a random sample of `n_components` pixels approximates it [1]_ [2]_.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, at least 1.
    gamma : float, optional
        Decay of the affinity with the squared distance, above 0. The default is 1 / n_bands. A
        large value gives most pixels no affinity to any pixel of the sample. If labels depend on
        `random_state`, try a smaller one.
    n_components : int, default 100
        Number of pixels in the sample, from `n_clusters` to one less than the number of pixels. A
        larger sample makes the approximation better and slower.
    random_state : int, default 0
        Random seed of the sample and of the k-means starts. The same seed gives the same labels
        with or without a client, in threads or processes, for any chunks of the input.

    Attributes
    ----------
    labels_ : numpy.ndarray of int32 (n_pixels,)
        Cluster of each pixel, from 0 to ``n_clusters - 1``, in the order of the samples.
        `stacking.unstack_labels` puts them on the grid of the scene.
    gamma_ : float
        The value of `gamma` that was used.
    eigenvalues_ : numpy.ndarray of float64 (n_components,)
        Eigenvalues of the normalized affinity matrix, in descending order, as estimated from the
        sample. The largest one of the complete matrix is 1; how far its estimate is from 1 shows
        how rough the approximation is.
    components_ : numpy.ndarray of float64 (n_components, n_bands)
        The pixels in the sample.
    n_features_in_ : int
        Number of bands.
    feature_names_in_ : numpy.ndarray of str (n_bands,)
        Names of the bands, if they have names.

    Notes
    -----
    Let :math:`A` be the affinities of the :math:`l` pixels in the sample to each other, :math:`d`
    the sums of their affinities to all pixels, and
    :math:`D^{-1/2} A D^{-1/2} = U \Lambda U^\top` with :math:`D = \mathrm{diag}(d)`. A pixel
    with the affinities :math:`a` to the sample is embedded at
    :math:`v = a^\top D^{-1/2} U_k \Lambda_k^{-1/2}`, scaled to length 1, where :math:`k` is
    `n_clusters`. These are the eigenvectors of Nyström's method, each weighted by the square root
    of its eigenvalue [2]_; the eigenvalues of all :math:`n` pixels are estimated as
    :math:`\frac{n}{l} \Lambda`. The degree of the pixel itself is a factor of its row, which the
    scaling removes. `predict` can therefore embed other pixels in the same way.

    The sample is the one that :class:`dask_ml.cluster.SpectralClustering` draws for the same
    `random_state`. K-means is :class:`sklearn.cluster.KMeans`, the best of ten starts.

    With a ``distributed`` client the affinities are computed on its workers and appear on its
    dashboard (``client.dashboard_link``). Without one they are computed in local threads, and
    ``with dask.diagnostics.ProgressBar(minimum=0.1):`` around the call shows the progress. K-means
    runs in the calling process. Each task needs about ``5e5 * n_components`` bytes, and the
    pixels are held in memory once.

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
    >>> model = NystroemSpectralClustering(2, n_components=10).fit(samples)
    >>> labels = model.labels_
    >>> len(set(labels[:20])), len(set(labels[20:])), labels[0] == labels[-1]
    (1, 1, np.False_)
    >>> bool(model.predict([[0.12, 0.1, 0.11]])[0] == labels[0])
    True
    """

    def __init__(self, n_clusters=8, *, gamma=None, n_components=100, random_state=0):
        self.n_clusters = n_clusters
        self.gamma = gamma
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: Any, y: None = None) -> NystroemSpectralClustering:
        """Find the clusters of pixels and label the pixels.

        Parameters
        ----------
        X : xarray.DataArray, numpy.ndarray, dask.array.Array or pandas.DataFrame
            Samples with the dimensions (pixel, band) in any order, or of shape (n_pixels, n_bands),
            in any chunks. No value may be missing (NaN, or the nodata value that a DataArray
            declares) or infinite. The bands should have comparable scales:
            `scaling.standardize` them first.
        y : None
            Ignored; present for pipelines.

        Returns
        -------
        NystroemSpectralClustering
            The fitted model.

        Raises
        ------
        TypeError
            If `X` does not hold real numbers or has a ``numpy.ma`` mask, or if a parameter has the
            wrong type.
        ValueError
            If `X` is not two-dimensional, not finite or has a constant band, if it has too few
            pixels for `n_clusters` or `n_components`, if `gamma` makes every affinity 0 or 1 or
            leaves pixels without affinity to the sample, or if fewer than `n_clusters` clusters
            are found.
        """
        pixels, bands = self._read(X, reset=True)
        gamma = self._check_parameters(*pixels.shape)
        # Persisted in the memory of the workers or of this process, so that files are read once.
        pixels = pixels.persist()
        _check_values(pixels, bands)
        _check_affinity(pixels[:: -(-len(pixels) // 1000)].compute(), gamma)

        self.gamma_ = gamma
        self.components_ = _draw(pixels, self.n_components, self.random_state)
        self.eigenvalues_, self._projection = _eigenvectors(
            pixels, self.components_, gamma, self.n_clusters
        )
        embedding = self._embed(pixels)
        self._kmeans = _fit_kmeans(embedding, self.n_clusters, self.random_state)
        self.labels_ = self._kmeans.labels_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Label pixels with the nearest cluster in the spectral embedding that `fit` found.

        Use it for pixels that were not part of the fit, for example those of another date. The
        pixels of `fit` get the labels that they have, except where a pixel is equally far from two
        centers up to rounding.

        Parameters
        ----------
        X : xarray.DataArray, numpy.ndarray, dask.array.Array or pandas.DataFrame
            As for `fit`, with the same bands, scaled in the same way.

        Returns
        -------
        numpy.ndarray of int32 (n_pixels,)
            Cluster of each pixel, in the order of the samples.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        TypeError
            If `X` does not hold real numbers or has a ``numpy.ma`` mask.
        ValueError
            If `X` is not finite or has other bands than the samples of `fit`, or if pixels have no
            affinity to the sample.
        """
        check_is_fitted(self)
        pixels, bands = self._read(X, reset=False)
        pixels = pixels.persist()
        _check_finite(pixels, bands)
        embedding = self._embed(pixels)
        with one_blas_thread():
            return self._kmeans.predict(embedding)

    def _read(self, X: Any, *, reset: bool) -> tuple[da.Array, list]:
        """Return pixels (pixel, band) as a float64 array in fixed chunks, and names of the bands.

        If `reset` is true, number and names of the bands are stored as those of the fit, else they
        are compared with them.
        """
        named = X
        if isinstance(X, xr.DataArray):
            require_dims(X, ("pixel", "band"), "X")
            X = mask_and_float(X).transpose("pixel", "band")
            named = X.data
            if "band" in X.coords:
                named = pd.DataFrame(columns=X.indexes["band"].tolist())
            values = X.data
        else:
            if hasattr(X, "tocsr"):
                raise TypeError(f"X must be a dense array, got a sparse {type(X).__name__}")
            values = as_real_array(X, "X")
            if values.ndim != 2:
                raise ValueError(
                    "X must have two dimensions, (n_pixels, n_bands), as from "
                    f"stacking.stack_pixels, got {values.ndim}. Reshape your data"
                )
        # scikit-learn's check_estimator looks for some of its own words in these messages.
        pixels = da.asarray(values)
        if np.isnan(pixels.shape).any():
            raise ValueError(
                f"X must have a known shape, got {pixels.shape}: call its compute_chunk_sizes() "
                "first"
            )
        if 0 in pixels.shape:
            raise ValueError(
                f"X must have at least one pixel and band, got 0 sample(s) or "
                f"0 feature(s) (shape={pixels.shape}) while a minimum of 1 is required."
            )
        named = named if hasattr(named, "columns") else values
        validate_data(self, named, reset=reset, skip_check_array=True)
        bands = list(getattr(named, "columns", range(pixels.shape[1])))
        return pixels.rechunk((PIXELS_PER_CHUNK, -1)).astype("float64"), bands

    def _check_parameters(self, n_pixels: int, n_bands: int) -> float:
        """Return the value of gamma to use, or raise if a parameter is invalid for the pixels."""
        n_clusters = require_integer(self.n_clusters, "n_clusters", least=1)
        if n_pixels <= n_clusters:
            raise ValueError(
                f"X must have more than n_clusters={n_clusters} pixels, got n_samples={n_pixels}"
            )
        require_integer(self.n_components, "n_components", least=n_clusters, most=n_pixels - 1)
        require_random_state(self.random_state)
        return 1 / n_bands if self.gamma is None else require_number(self.gamma, "gamma", above=0)

    def _embed(self, pixels: da.Array) -> np.ndarray:
        """Return the spectral embedding (pixel, n_clusters), computed on the active scheduler."""
        embedding = pixels.map_blocks(
            _embed_chunk,
            self.components_,
            self._projection,
            self.gamma_,
            chunks=(pixels.chunks[0], self._projection.shape[1]),
            dtype=np.float64,
        ).compute()
        n_lost = np.count_nonzero(~np.isfinite(embedding).all(axis=1))
        if n_lost:
            raise ValueError(
                "gamma must leave every pixel of X some affinity to the "
                f"n_components={len(self.components_)} pixels of the sample, got {self.gamma_:g}, "
                f"which leaves {n_lost} of {len(embedding)} without: use a smaller gamma {_ADVICE}"
            )
        return embedding


# -- checks -----------------------------------------------------------------------------------


def _check_values(pixels: da.Array, bands: list) -> None:
    """Raise ValueError unless all pixels are finite and every band varies."""
    low, high = _check_finite(pixels, bands)
    constant = [band for band, a, b in zip(bands, low, high, strict=True) if a == b]
    if constant:
        raise ValueError(
            f"X must vary in every band, got a constant in band(s) {_names(constant)}, which do "
            "not distinguish pixels: drop these"
        )


def _check_finite(pixels: da.Array, bands: list) -> tuple[np.ndarray, np.ndarray]:
    """Return the minimum and maximum of each band, or raise unless all pixels are finite."""
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
            f"X must be finite, got no finite value in band(s) {_names(empty)}: "
            "a band that is missing, or constant before it was standardized?"
        )
    if n_bad:
        raise ValueError(
            f"X must be finite, got missing or infinite values in {n_bad} of "
            f"{len(pixels)} pixels: stacking.stack_pixels leaves missing ones out"
        )
    largest = max(np.abs(low).max(), np.abs(high).max())
    if largest > LARGEST:
        raise ValueError(f"X must lie within ±{LARGEST:g}, got {largest:g}: scaling.standardize it")
    return low, high


def _check_affinity(some: np.ndarray, gamma: float) -> None:
    """Raise ValueError if the affinities of up to a thousand pixels are all 0 or all 1."""
    affinity = _affinity(some, some, gamma)[~np.eye(len(some), dtype=bool)]
    if affinity.max() == 0:
        raise ValueError(
            f"gamma must distinguish the pixels of X, got {gamma:g}, which makes the affinity of "
            f"every two pixels 0: use a smaller gamma {_ADVICE}"
        )
    # Closer to 1 the differences between affinities are below the rounding error of float64.
    if affinity.min() > 1 - 1e-12:
        raise ValueError(
            f"gamma must distinguish the pixels of X, got {gamma:g}, which makes the affinity of "
            f"every two pixels 1: use a larger gamma {_ADVICE}"
        )


def _names(bands: list) -> str:
    return ", ".join(map(str, bands))


# -- Nyström's method -------------------------------------------------------------------------
# Shapes: n pixels, m of them in a chunk, b bands, l = n_components, k = n_clusters.


def _affinity(some: np.ndarray, others: np.ndarray, gamma: float) -> np.ndarray:
    """Return the affinity of each pixel of `some` to each of `others`.

    Distances are sums of squared differences. The kernel of dask-ml computes x² − 2xy + y², which
    cancels where distances are small beside the values.
    """
    from scipy.spatial.distance import cdist

    squared = cdist(some, others, "sqeuclidean")
    return np.exp(np.multiply(squared, -gamma, out=squared), out=squared)


def _draw(pixels: da.Array, n_components: int, random_state: int) -> np.ndarray:
    """Return the sample of pixels (l, b), the one that dask-ml draws for the same seed."""
    random = np.random.RandomState(random_state)  # noqa: NPY002  the generator of dask-ml
    random.randint(np.iinfo("i4").max)  # dask-ml draws the seed of its k-means first
    drawn = random.choice(len(pixels), n_components, replace=False)
    return pixels[np.sort(drawn)].compute()


def _eigenvectors(
    pixels: da.Array, sample: np.ndarray, gamma: float, n_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (l,) and the matrix (l, k) that maps affinities to the embedding."""
    degrees = pixels.map_blocks(  # (l,)
        _sum_affinities,
        sample,
        gamma,
        chunks=((1,) * pixels.numblocks[0], len(sample)),
        dtype=np.float64,
    ).sum(axis=0)
    scale = 1 / np.sqrt(degrees.compute())  # the diagonal of D^(-1/2), (l,)
    normalized = scale[:, np.newaxis] * _affinity(sample, sample, gamma) * scale  # (l, l)
    with one_blas_thread():
        vectors, values, _ = np.linalg.svd(normalized)  # (l, l), (l,)
    projection = scale[:, np.newaxis] * vectors[:, :n_clusters] / np.sqrt(values[:n_clusters])
    return len(pixels) / len(sample) * values, projection


def _sum_affinities(chunk: np.ndarray, sample: np.ndarray, gamma: float) -> np.ndarray:
    """Return the sums (1, l) of the affinities of the sample (l, b) to a chunk of pixels (m, b)."""
    return _affinity(sample, chunk, gamma).sum(axis=1)[np.newaxis]


def _embed_chunk(
    chunk: np.ndarray, sample: np.ndarray, projection: np.ndarray, gamma: float
) -> np.ndarray:
    """Return the embedding (m, k) of a chunk of pixels (m, b); NaN for those without affinity."""
    vectors = _affinity(chunk, sample, gamma) @ projection  # (m, l) @ (l, k)
    with np.errstate(divide="ignore", invalid="ignore"):
        return vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))


def _fit_kmeans(embedding: np.ndarray, n_clusters: int, random_state: int) -> Any:
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
