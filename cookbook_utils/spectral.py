"""Spectral clustering of pixels with Dask, with or without a ``distributed`` client."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from cookbook_utils import _nystroem
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

MOST_FITTED = 500_000
"""Largest number of pixels on which k-means is fitted; of more pixels, it is a random sample."""


class NystroemSpectralClustering(ClusterMixin, BaseEstimator):
    r"""Cluster pixels by the eigenvectors of their affinities, approximated by Nyström's method.

    Use it where clusters are long or bent, with gaps between them that no straight border of
    k-means follows. Without such gaps k-means finds similar clusters at less cost. The affinity of
    two pixels is ``exp(-gamma * d**2)``, with d the Euclidean distance of their spectra. K-means
    finds the clusters in the spectral embedding: the leading eigenvectors of the normalized
    affinity matrix. The matrix of all pairs of pixels is never formed; a sample of `n_components`
    pixels approximates it [1]_ [2]_. It is drawn for coverage, so that small groups of pixels are
    more likely to be part of it [3]_. Scenes of any size are clustered chunk by chunk in bounded
    memory.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, at least 1.
    gamma : float, optional
        Decay of the affinity with the squared distance, above 0. The default is 1 / n_bands. A
        large value gives most pixels no affinity to any pixel of the sample. If labels depend on
        `random_state`, try a smaller one.
    n_components : int, default 100
        Number of pixels in the sample, from `n_clusters` to one less than the number of pixels, at
        most 500 000. A larger sample makes the approximation better and slower.
    random_state : int, default 0
        Random seed of the sample and of the k-means starts. The same seed gives the same labels
        with or without a client, in threads or processes, for any chunks of the input.

    Attributes
    ----------
    labels_ : numpy.ndarray or dask.array.Array of int32 (n_pixels,)
        Cluster of each pixel, from 0 to ``n_clusters - 1``, in the order of the samples; lazy if
        the samples are on Dask. `stacking.unstack_labels` puts them on the grid of the scene.
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
    the sums of their affinities to all pixels, and :math:`w` the number of all :math:`n` pixels
    that each stands for. With :math:`S = \mathrm{diag}(w / d)^{1/2}`, let
    :math:`S A S = U \Lambda U^\top`. A pixel with the affinities :math:`a` to the sample is
    embedded at :math:`v = a^\top S U_k \Lambda_k^{-1/2}`, scaled to length 1, where :math:`k` is
    `n_clusters`. These are the eigenvectors of Nyström's method, each weighted by the square root
    of its eigenvalue [2]_; :math:`\Lambda` estimates the eigenvalues of the matrix of all pixels.
    The degree of the pixel itself is a factor of its row, which the scaling removes. `predict` can
    therefore embed other pixels in the same way.

    `fit` reads the pixels chunk by chunk, in passes. The first one checks them and takes a random
    sample of 500 000, or all if there are not more. The second one sums :math:`d` over all pixels.
    K-means, :class:`sklearn.cluster.KMeans` with the best of ten starts, is fitted on the embedding
    of the sample. A last pass embeds and labels each chunk at once: in `fit` for samples in memory,
    when `labels_` are computed for samples on Dask. Samples on Dask that are read from files are
    therefore read once in each pass, unless there are at most 500 000; persist them if they fit in
    the memory of the workers.

    The `n_components` pixels are drawn from 10 000 of that sample as k-means++ draws its centers,
    with ``1 - affinity`` as squared distance: a pixel is the more likely, the less it resembles
    those drawn before. Each stands for the share of the 10 000 to which it is the nearest. Pixels
    that are drawn uniformly and stand for equal shares give the embedding of
    :class:`dask_ml.cluster.SpectralClustering`. ``benchmarks/spectral_landmarks.py`` compares both:
    labels depend less on `random_state` with pixels drawn for coverage; classes that are large and
    compact can be matched a little better with a uniform sample.

    Samples on Dask are computed on the workers of a ``distributed`` client, if there is one, and
    appear on its dashboard (``client.dashboard_link``). All others are computed in local threads,
    and ``with dask.diagnostics.ProgressBar(minimum=0.1):`` around the call shows the progress.
    K-means runs in the calling process, which needs memory for the sample and the labels. Each task
    needs memory for a few times 32 768 pixels, and ``1e4 * n_components`` bytes.

    References
    ----------
    .. [1] C. Fowlkes, S. Belongie, F. Chung, J. Malik (2004). Spectral grouping using the Nyström
       method. IEEE Transactions on Pattern Analysis and Machine Intelligence 26(2), 214-225.
       doi:10.1109/TPAMI.2004.1262185
    .. [2] W.-Y. Chen, Y. Song, H. Bai, C.-J. Lin, E. Y. Chang (2011). Parallel spectral clustering
       in distributed systems. IEEE Transactions on Pattern Analysis and Machine Intelligence
       33(3), 568-586. doi:10.1109/TPAMI.2010.88
    .. [3] K. Zhang, J. T. Kwok (2010). Clustered Nyström method for large scale manifold learning
       and dimension reduction. IEEE Transactions on Neural Networks 21(10), 1576-1587.
       doi:10.1109/TNN.2010.2064786

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
            `scaling.standardize` them first. Samples on Dask need not fit in memory.
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
            leaves pixels without affinity to the sample (if there are more than 500 000 on Dask,
            those outside k-means' sample are checked when `labels_` are computed), or if fewer than
            `n_clusters` clusters are found.
        """
        pixels, bands, lazy = self._read(X, reset=True)
        gamma = self._check_parameters(*pixels.shape)
        with contextlib.nullcontext() if lazy else _local_threads():
            if len(pixels) <= MOST_FITTED:
                pixels = pixels.persist()  # so that files are read once
            sample = _read_sample(pixels, bands, self.random_state)
            _check_affinity(sample[:: -(-len(sample) // 1000)], gamma)

            self.gamma_ = gamma
            drawn = _nystroem.draw(sample, self.n_components, gamma, self.random_state)
            self.components_, shares = drawn
            self.eigenvalues_, self._projection = _nystroem.eigenvectors(
                pixels, self.components_, shares, gamma, self.n_clusters
            )
            kmeans = _nystroem.fit_kmeans(self._embed(sample), self.n_clusters, self.random_state)
            self._centers = kmeans.cluster_centers_
            if len(pixels) > MOST_FITTED:
                labels = self._label(pixels, bands)
                self.labels_ = labels if lazy else labels.compute()
            else:
                labels = kmeans.labels_
                self.labels_ = da.from_array(labels, PIXELS_PER_CHUNK) if lazy else labels
        return self

    def predict(self, X: Any) -> np.ndarray | da.Array:
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
        numpy.ndarray or dask.array.Array of int32 (n_pixels,)
            Cluster of each pixel, in the order of the samples; lazy if `X` is on Dask.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        TypeError
            If `X` does not hold real numbers or has a ``numpy.ma`` mask.
        ValueError
            If `X` has other bands than the samples of `fit`; or if it is not finite or pixels have
            no affinity to the sample (on compute if `X` is on Dask).
        """
        check_is_fitted(self)
        pixels, bands, lazy = self._read(X, reset=False)
        labels = self._label(pixels, bands)
        if lazy:
            return labels
        with _local_threads():
            found = _compute_chunks(pixels, np.arange(0))
            _check_finite([summary for summary, _ in found], bands, len(pixels))
            return labels.compute()

    def _read(self, X: Any, *, reset: bool) -> tuple[da.Array, list, bool]:
        """Return pixels (pixel, band) as a float64 array in fixed chunks, and names of the bands.

        The third value is whether `X` is on Dask. If `reset` is true, number and names of the bands
        are stored as those of the fit, else they are compared with them.
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
        if np.isnan(values.shape).any():
            raise ValueError(
                f"X must have a known shape, got {values.shape}: call its compute_chunk_sizes() "
                "first"
            )
        if 0 in values.shape:
            raise ValueError(
                f"X must have at least one pixel and band, got 0 sample(s) or "
                f"0 feature(s) (shape={values.shape}) while a minimum of 1 is required."
            )
        named = named if hasattr(named, "columns") else values
        validate_data(self, named, reset=reset, skip_check_array=True)
        bands = list(getattr(named, "columns", range(values.shape[1])))
        lazy = dask.is_dask_collection(values)
        pixels = values.rechunk((PIXELS_PER_CHUNK, -1)) if lazy else _as_dask(values)
        return pixels.astype("float64"), bands, lazy

    def _check_parameters(self, n_pixels: int, n_bands: int) -> float:
        """Return the value of gamma to use, or raise if a parameter is invalid for the pixels."""
        n_clusters = require_integer(self.n_clusters, "n_clusters", least=1)
        if n_pixels <= n_clusters:
            raise ValueError(
                f"X must have more than n_clusters={n_clusters} pixels, got n_samples={n_pixels}"
            )
        require_integer(
            self.n_components, "n_components", least=n_clusters, most=min(n_pixels - 1, MOST_FITTED)
        )
        require_random_state(self.random_state)
        return 1 / n_bands if self.gamma is None else require_number(self.gamma, "gamma", above=0)

    def _embed(self, pixels: np.ndarray) -> np.ndarray:
        """Return the spectral embedding (pixel, n_clusters) of pixels in memory."""
        with _local_threads():
            return (
                _as_dask(pixels)
                .map_blocks(_nystroem.embed_chunk, **self._map(), meta=np.empty((0, 0)))
                .compute()
            )

    def _label(self, pixels: da.Array, bands: list) -> da.Array:
        """Return the lazy labels (pixel,) of lazy pixels, which are checked on compute."""
        return pixels.map_blocks(
            _label_chunk,
            bands,
            **self._map(),
            centers=self._centers,
            drop_axis=1,
            meta=np.empty(0, np.int32),
        )

    def _map(self) -> dict[str, Any]:
        """Return the arguments of `embed_chunk` after the pixels."""
        return {"sample": self.components_, "projection": self._projection, "gamma": self.gamma_}


# -- reading and checks -----------------------------------------------------------------------


@contextlib.contextmanager
def _local_threads() -> Iterator[None]:
    """Let Dask compute what is in memory in this process, even if there is a client."""
    away = dask.config.get("scheduler", None) in ("dask.distributed", "distributed")
    with one_blas_thread(), dask.config.set({"scheduler": "threads"} if away else {}):
        yield


def _as_dask(values: np.ndarray) -> da.Array:
    """Return an array in memory as chunks of rows; `dask.array.from_array` would copy it."""
    name = f"pixels-{uuid.uuid4().hex}"
    starts = range(0, len(values), PIXELS_PER_CHUNK)
    graph = {(name, i, 0): values[at : at + PIXELS_PER_CHUNK] for i, at in enumerate(starts)}
    sizes = tuple(map(len, graph.values()))
    return da.Array(graph, name, (sizes, values.shape[1:]), meta=values[:0])


def _read_sample(pixels: da.Array, bands: list, random_state: int) -> np.ndarray:
    """Check all pixels and return up to `MOST_FITTED` random ones (m, b), in order, in one pass.

    Raises
    ------
    ValueError
        If a pixel is not finite or a band does not vary.
    """
    rows = np.arange(min(len(pixels), MOST_FITTED))
    if len(pixels) > MOST_FITTED:
        random = np.random.default_rng(random_state)
        rows = np.sort(random.choice(len(pixels), MOST_FITTED, replace=False, shuffle=False))
    summaries, taken = zip(*_compute_chunks(pixels, rows), strict=True)
    low, high = _check_finite(summaries, bands, len(pixels))
    constant = [band for band, a, b in zip(bands, low, high, strict=True) if a == b]
    if constant:
        raise ValueError(
            f"X must vary in every band, got a constant in band(s) {_names(constant)}, which do "
            "not distinguish pixels: drop these"
        )
    return np.concatenate(taken)


def _compute_chunks(pixels: da.Array, rows: np.ndarray) -> tuple[tuple, ...]:
    """Return `_summarize` of each chunk, with those of the sorted `rows` that are in the chunk."""
    starts = np.arange(0, len(pixels), PIXELS_PER_CHUNK)
    parts = np.split(rows, np.searchsorted(rows, starts[1:]))
    each = zip(pixels.to_delayed()[:, 0], parts, starts, strict=True)
    read = dask.delayed(_summarize, pure=False)
    return dask.compute(*(read(chunk, part - start) for chunk, part, start in each))


def _summarize(chunk: np.ndarray, rows: np.ndarray) -> tuple[tuple, np.ndarray]:
    """Return what `_check_finite` needs to know of a chunk of pixels (m, b), and some rows of it.

    These are the number of pixels with a value that is not finite and, of each band, the number of
    finite values, their minimum and their maximum.
    """
    values = np.ascontiguousarray(chunk.T)  # (b, m): NumPy reduces the last axis much faster
    finite = np.isfinite(values)
    n_bad = len(chunk) - np.count_nonzero(finite.all(axis=0))
    low = np.where(finite, values, np.inf).min(axis=1)
    high = np.where(finite, values, -np.inf).max(axis=1)
    return (n_bad, np.count_nonzero(finite, axis=1), low, high), chunk[rows]


def _check_finite(
    summaries: Sequence[tuple], bands: list, n_pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the minimum and maximum of each band, or raise unless all pixels are finite."""
    n_bad, n_finite, low, high = map(np.array, zip(*summaries, strict=True))
    empty = [band for band, n in zip(bands, n_finite.sum(axis=0), strict=True) if n == 0]
    if empty:
        raise ValueError(
            f"X must be finite, got no finite value in band(s) {_names(empty)}: "
            "a band that is missing, or constant before it was standardized?"
        )
    if n_bad.any():
        raise ValueError(
            f"X must be finite, got missing or infinite values in {n_bad.sum()} of "
            f"{n_pixels} pixels: stacking.stack_pixels leaves missing ones out"
        )
    low, high = low.min(axis=0), high.max(axis=0)
    largest = max(np.abs(low).max(), np.abs(high).max())
    if largest > LARGEST:
        raise ValueError(f"X must lie within ±{LARGEST:g}, got {largest:g}: scaling.standardize it")
    return low, high


def _check_affinity(some: np.ndarray, gamma: float) -> None:
    """Raise ValueError if the affinities of up to a thousand pixels are all 0 or all 1."""
    affinity = _nystroem.affinity(some, some, gamma)[~np.eye(len(some), dtype=bool)]
    if affinity.max() == 0:
        raise ValueError(
            f"gamma must distinguish the pixels of X, got {gamma:g}, which makes the affinity of "
            f"every two pixels 0: use a smaller gamma {_nystroem.ADVICE}"
        )
    # Closer to 1 the differences between affinities are below the rounding error of float64.
    if affinity.min() > 1 - 1e-12:
        raise ValueError(
            f"gamma must distinguish the pixels of X, got {gamma:g}, which makes the affinity of "
            f"every two pixels 1: use a larger gamma {_nystroem.ADVICE}"
        )


def _names(bands: list) -> str:
    return ", ".join(map(str, bands))


def _label_chunk(chunk: np.ndarray, bands: list, centers: np.ndarray, **options: Any) -> np.ndarray:
    """Return the number of the nearest center (k, k) for each of a chunk of pixels (m, b)."""
    summary, _ = _summarize(chunk, np.arange(0))
    _check_finite([summary], bands, len(chunk))
    with one_blas_thread():
        embedding = _nystroem.embed_chunk(chunk, **options)
        distances = (centers**2).sum(axis=1) - 2 * embedding @ centers.T  # without |embedding|²
    return distances.argmin(axis=1).astype(np.int32)
