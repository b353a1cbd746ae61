"""Mini-batch k-means on points in shards, as a scikit-learn estimator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from cookbook_utils._checks import (
    as_float32,
    as_real_array,
    progress_bar,
    require_dims,
    require_integer,
    require_number,
    require_random_state,
)
from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._threads import one_blas_thread
from cookbook_utils.minibatch import _arithmetic, _models
from cookbook_utils.minibatch._arithmetic import (
    Statistics,
    compute_statistics,
    nearest,
    scaled,
    start_model,
    with_all_features,
)
from cookbook_utils.minibatch._features import (
    embedding_of,
    names_in,
    names_of,
    require_names,
    require_shards,
)
from cookbook_utils.shards import PointShards
from cookbook_utils.shards.reader import stream_points

Bar = Callable[..., Iterable]


class MiniBatchShardKMeans(BaseEstimator):
    """Find clusters of the train points of a folder of shards by mini-batch k-means.

    Use it for points that do not fit in memory. `fit` standardizes each feature and finds the
    centers; `label_shards` then labels all points of a folder.

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, from 1 to 255.
    kinds : sequence of str, default ("dynamic",)
        Kinds of features to cluster, for example ``("dynamic", "static")``.
    batch_size : int, default 256
        Points in a batch.
    init_size : int, default 25600
        Size of the uniform sample of the train points, at least `n_clusters`. K-means with 10
        starts finds the first centers on it, and `tol` is compared with the change of its labels.
        If there are fewer train points, the sample has all of them.
    max_iter : int, default 20
        Largest number of epochs, which are passes over the train points.
    tol : float, default 0.001
        Stop after an epoch in which the labels of a smaller fraction of the sample change.
    test_fraction : float, default 0.2
        Expected fraction of test points, which `fit` does not read, as `is_test` splits them.
    random_state : int, default 0
        Random seed of the split, the sample, the first centers and the order of the points, from 0
        to 2**32 - 1.

    Attributes
    ----------
    cluster_centers_ : numpy.ndarray of float64 (n_clusters, n_features)
        Centers, in the units of the features.
    n_iter_ : int
        Number of epochs.
    converged_ : bool
        Whether the labels of the sample changed by less than `tol` in the last epoch.
    history_ : pandas.DataFrame
        A row for each epoch: ``label_change``, the fraction of the sample whose label changed;
        ``center_shift``, the largest distance that a center moved, in standard deviations;
        ``inertia``, the mean squared distance of the sample to its centers, in standardized
        features; ``n_reseeded``, the number of clusters that had no point of the sample left and
        were started again.
    mean_ : numpy.ndarray of float64 (n_features,)
        Mean of the train points.
    scale_ : numpy.ndarray of float64 (n_features,)
        Standard deviation of the train points.
    n_train_ : int
        Number of train points with all features.
    n_missing_ : int
        Number of train points that were ignored because a feature is not finite.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : numpy.ndarray of str (n_features,)
        Names of the features.
    embedding_ : str
        Digest of the matrices that made the features ``dynamic``, as `embed_shards` stores it in
        the attributes of the shards; empty if it is not known.

    See Also
    --------
    label_shards : Label all points of a folder by a fitted model.

    Notes
    -----
    The reassignment of scikit-learn, which moves centers with few points to random points, is
    turned off because it loses rare but real clusters. A cluster is started again only if no point
    of the sample is left in it: k-means on the sample then moves it to the point farthest from its
    center.

    References
    ----------
    D. Sculley (2010). Web-scale k-means clustering. Proceedings of the 19th International
    Conference on World Wide Web, 1177-1178. doi:10.1145/1772690.1772862

    Examples
    --------
    >>> import tempfile
    >>> from cookbook_utils.shards import ShardWriter
    >>> at, values = np.arange(100), np.repeat([[1.0, 2.0], [5.0, 3.0]], 50, axis=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ShardWriter(folder, {"dynamic": ["a", "b"]}) as writer:
    ...         writer.append(at, at / 100, at / 100, dynamic=values)
    ...     model = MiniBatchShardKMeans(n_clusters=2).fit(PointShards(folder))
    >>> model.cluster_centers_[model.predict([[1.1, 2.0], [4.8, 3.1]])].round(3).tolist()
    [[1.0, 2.0], [5.0, 3.0]]
    """

    # Neither is metadata to be routed, so scikit-learn must not add a method `set_fit_request`.
    __metadata_request__fit = {"shards": UNUSED, "progress": UNUSED}

    def __init__(
        self,
        n_clusters=8,
        *,
        kinds=("dynamic",),
        batch_size=256,
        init_size=25_600,
        max_iter=20,
        tol=1e-3,
        test_fraction=0.2,
        random_state=0,
    ):
        self.n_clusters = n_clusters
        self.kinds = kinds
        self.batch_size = batch_size
        self.init_size = init_size
        self.max_iter = max_iter
        self.tol = tol
        self.test_fraction = test_fraction
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        # ClusterMixin would set it, too, but has `fit_predict`, which needs all labels in memory.
        tags = super().__sklearn_tags__()
        tags.estimator_type = "clusterer"
        return tags

    def fit(self, shards: PointShards, *, progress: Bar | None = None) -> MiniBatchShardKMeans:
        """Find the centers of the train points of a folder.

        Parameters
        ----------
        shards : PointShards
            Points with features. Points with a feature that is not finite are ignored.
        progress : callable, optional
            Progress bar such as ``tqdm.auto.tqdm``: it is called with an iterable and the keyword
            arguments ``desc`` and ``total``, and returns an iterable.

        Returns
        -------
        MiniBatchShardKMeans
            This model.

        Raises
        ------
        TypeError
            If `shards` is not a PointShards, `progress` is not callable, or a parameter has the
            wrong type.
        ValueError
            If a parameter is out of range, there are no such features, fewer train points than
            clusters, or a feature is constant over the train points.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the sample has fewer distinct points than clusters, so that some clusters are empty.
        """
        self._check_parameters()
        require_shards(shards)
        bar = progress_bar(progress)
        random = np.random.default_rng(self.random_state)
        statistics = self._standardize_sample(shards, random, bar)
        # One thread: batches are too small to gain from more, which would sum in another order.
        # Checks for NaN are skipped, because all values are known to be finite.
        with one_blas_thread(), config_context(assume_finite=True, skip_parameter_validation=True):
            centers, history = self._run_epochs(shards, statistics, random, bar)

        self.mean_, self.scale_ = statistics.mean, statistics.scale
        self.cluster_centers_ = centers * self.scale_ + self.mean_
        self.n_train_, self.n_missing_ = statistics.n, statistics.n_missing
        self.n_iter_ = len(history)
        self.history_ = pd.DataFrame(history, pd.RangeIndex(1, len(history) + 1, name="epoch"))
        self.converged_ = self._is_converged(history[-1])
        self.feature_names_in_ = np.asarray(names_in(shards, self.kinds), object)
        self.n_features_in_ = len(self.feature_names_in_)
        self.embedding_ = embedding_of(shards, self.kinds)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Label points by their nearest center.

        Parameters
        ----------
        X : array_like of float (n, n_features)
            Features as the shards hold them. A DataFrame, or a DataArray (point, feature) with
            names in its coordinate ``feature``, must have the features of `fit`, in this order.

        Returns
        -------
        numpy.ndarray of uint8 (n,)
            Labels; 255 if a feature is not finite. The label of a point does not depend on the
            other points.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        TypeError
            If `X` does not hold real numbers, or is masked.
        ValueError
            If the number or the names of the features are not those of `fit`, or a feature is out
            of the range of float32.
        """
        check_is_fitted(self)
        require_names(names_of(X), self.feature_names_in_.tolist(), "X")
        if isinstance(X, xr.DataArray):
            require_dims(X, ("point", "feature"), "X")
            X = mask_and_float(X).transpose("point", "feature")
        given = np.asarray(as_real_array(X, "X"))
        if given.ndim != 2 or given.shape[1] != self.n_features_in_:
            raise ValueError(f"X must have the shape (n, {self.n_features_in_}), got {given.shape}")
        features = as_float32(given, "X")
        with one_blas_thread():
            return label_features(self, features)[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to an .npz of plain arrays with a checksum, atomically.

        Centers, names and scaling of the features, parameters, the history and the version of this
        package are kept.

        Parameters
        ----------
        path : str or os.PathLike
            The file, in a folder that exists. An existing file is replaced.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        TypeError
            If `path` is not a path.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        _models.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MiniBatchShardKMeans:
        """Read a model that `save` wrote, perhaps on another machine.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        MiniBatchShardKMeans
            The fitted model, whose labels are the same to the bit.

        Raises
        ------
        TypeError
            If `path` is not a path.
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, holds another class of models, has a newer format, or is
            something else.
        """
        return _models.load(cls, path)

    def _check_parameters(self) -> None:
        """Raise unless all parameters but `kinds` are valid; `PointShards.batches` checks kinds."""
        require_integer(self.n_clusters, "n_clusters", least=1, most=NODATA_LABEL)
        require_integer(self.batch_size, "batch_size", least=1)
        require_integer(self.init_size, "init_size", least=self.n_clusters)
        require_integer(self.max_iter, "max_iter", least=1)
        require_number(self.tol, "tol", least=0)
        require_number(self.test_fraction, "test_fraction", least=0, most=1)
        require_random_state(self.random_state)

    # -- fit --------------------------------------------------------------------------------

    def _train_batches(
        self, shards: PointShards, size: int, order: np.random.Generator | None
    ) -> Iterable:
        """Iterate over the train points in batches, in the order of the folder or shuffled."""
        return stream_points(
            shards,
            self.kinds,
            size,
            split="train",
            test_fraction=self.test_fraction,
            random_state=self.random_state,
            order=order,
        )

    def _standardize_sample(
        self, shards: PointShards, random: np.random.Generator, bar: Bar
    ) -> Statistics:
        """Return statistics of the train points and a standardized sample, or raise.

        Raises
        ------
        ValueError
            If there are too few points, or a feature is constant.
        """
        stream = self._train_batches(shards, _arithmetic.POINTS_PER_READ, None)
        found = compute_statistics(bar(stream, desc="scale"), self.init_size, random)
        if found.n < self.n_clusters:
            raise ValueError(
                "n_clusters must be at most the number of train points with all features, got "
                f"n_clusters={self.n_clusters} for {found.n} such points and {found.n_missing} "
                f"without, of the {shards.n_points} points in {shards.folder}"
            )
        is_constant = found.scale <= np.finfo(np.float32).eps * np.abs(found.mean)
        if is_constant.any():
            names = names_in(shards, self.kinds)
            constant = [f"{names[i]} = {found.mean[i]:g}" for i in np.flatnonzero(is_constant)]
            raise ValueError(
                f"features of {shards.folder} must vary over the train points, got constant ones: "
                f"{', '.join(constant[:5])} ({len(constant)} of {len(names)}); leave them out"
            )
        return found._replace(sample=scaled(found.sample, found.mean, found.scale))

    def _run_epochs(
        self, shards: PointShards, statistics: Statistics, random: np.random.Generator, bar: Bar
    ) -> tuple[np.ndarray, list[dict[str, float]]]:
        """Return the centers in standardized features, and the history of the epochs."""
        sample = statistics.sample
        model = start_model(sample, self.n_clusters, "k-means++", self.random_state)
        labels, _ = nearest(sample, model.cluster_centers_)
        n_found = len(np.unique(labels))  # fewer than n_clusters if few points are distinct
        history: list[dict[str, float]] = []
        while len(history) < self.max_iter:
            before = model.cluster_centers_.copy()
            order = np.random.default_rng(int(random.integers(2**32)))
            self._run_epoch(model, shards, statistics, order, bar, f"epoch {len(history) + 1}")
            after, squared = nearest(sample, model.cluster_centers_)
            n_lost = n_found - len(np.unique(after))
            if n_lost:
                model = start_model(
                    sample, self.n_clusters, model.cluster_centers_, self.random_state
                )
                after, squared = nearest(sample, model.cluster_centers_)
            shift = np.linalg.norm(model.cluster_centers_ - before, axis=1).max()
            history.append(
                {
                    "label_change": np.count_nonzero(after != labels) / len(labels),
                    "center_shift": float(shift),
                    "inertia": squared.mean(),
                    "n_reseeded": n_lost,
                }
            )
            labels = after
            if self._is_converged(history[-1]):
                break
        return model.cluster_centers_, history

    def _run_epoch(
        self,
        model: Any,
        shards: PointShards,
        statistics: Statistics,
        order: np.random.Generator,
        bar: Bar,
        desc: str,
    ) -> None:
        """Update the centers of a model with all train points in the given order."""
        batch_size = int(self.batch_size)  # an unsigned NumPy integer would overflow below
        size = batch_size * max(1, _arithmetic.POINTS_PER_READ // batch_size)  # points of a read
        total = -(-(statistics.n + statistics.n_missing) // size)
        for batch in bar(self._train_batches(shards, size, order), desc=desc, total=total):
            features = batch.features
            if statistics.n_missing:
                features = with_all_features(features)
            x = scaled(features, statistics.mean, statistics.scale)
            for start in range(0, len(x), batch_size):
                model.partial_fit(x[start : start + batch_size])

    def _is_converged(self, epoch: dict[str, float]) -> bool:
        """Return whether an entry of the history meets the criterion to stop."""
        return bool(epoch["label_change"] < self.tol and not epoch["n_reseeded"])


# -- features -------------------------------------------------------------------------------


def label_features(
    model: MiniBatchShardKMeans, features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of points by a fitted model, and their squared distances; 0 for nodata."""
    present = np.isfinite(features).all(axis=1)
    centers = ((model.cluster_centers_ - model.mean_) / model.scale_).astype(np.float32)
    found, squared = nearest(scaled(features[present], model.mean_, model.scale_), centers)
    labels = np.full(len(features), NODATA_LABEL, np.uint8)
    distances = np.zeros(len(features))
    labels[present], distances[present] = found, squared
    return labels, distances
