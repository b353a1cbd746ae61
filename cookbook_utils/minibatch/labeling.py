"""Labels of all points of a folder by the centers of a fitted model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from cookbook_utils._checks import progress_bar
from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils._threads import one_blas_thread
from cookbook_utils.minibatch import _arithmetic
from cookbook_utils.minibatch._features import require_same_features, require_shards
from cookbook_utils.minibatch.estimator import MiniBatchShardKMeans, label_features
from cookbook_utils.shards import PointShards, is_test


@dataclass(frozen=True)
class LabelCounts:
    """Numbers of points in each cluster, and their inertia, as `label_shards` returns them.

    Parameters
    ----------
    counts : pandas.DataFrame
        Points in each cluster (rows) of ``train`` and ``test`` (columns).
    inertia : pandas.Series
        Sum of the squared distances of the points of ``train`` and ``test`` to their centers, in
        standardized features.
    n_missing : int
        Points without a label, because a feature is missing.

    Examples
    --------
    >>> counts = pd.DataFrame({"train": [40, 0], "test": [10, 0]})
    >>> LabelCounts(counts, pd.Series({"train": 2.0, "test": 0.5}), n_missing=0).empty_clusters
    [1]
    """

    counts: pd.DataFrame
    inertia: pd.Series
    n_missing: int

    @property
    def empty_clusters(self) -> list[int]:
        """Clusters without any point."""
        return self.counts.index[self.counts.sum(axis=1) == 0].tolist()


def label_shards(
    shards: PointShards,
    model: MiniBatchShardKMeans,
    name: str,
    *,
    progress: Callable[..., Iterable] | None = None,
) -> LabelCounts:
    """Label every point of a folder, train and test, and store the labels beside the points.

    Use it after `MiniBatchShardKMeans.fit`. `PointShards.read_labels` reads the labels.

    Parameters
    ----------
    shards : PointShards
        The points that the model was fitted on, or others with the same features.
    model : MiniBatchShardKMeans
        A fitted model.
    name : str
        Name of the labels, as for `PointShards.write_labels`. A point that lacks a feature gets the
        label 255.
    progress : callable, optional
        Progress bar such as ``tqdm.auto.tqdm``: it is called with an iterable and the keyword
        arguments ``desc`` and ``total``, and returns an iterable.

    Returns
    -------
    LabelCounts
        Numbers of points in each cluster, and inertia, of train and test points.

    Raises
    ------
    TypeError
        If `shards` is not a PointShards, `model` not a MiniBatchShardKMeans, `name` not a string or
        `progress` not callable.
    ValueError
        If the shards have other features, or features of the same names from another embedding, or
        `name` is not a word.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    OSError
        If the labels cannot be written.

    See Also
    --------
    MiniBatchShardKMeans : Find the centers.

    Examples
    --------
    >>> import tempfile
    >>> from cookbook_utils.shards import ShardWriter
    >>> at, values = np.arange(100), np.repeat([[1.0, 2.0], [5.0, 3.0]], 50, axis=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ShardWriter(folder, {"dynamic": ["a", "b"]}) as writer:
    ...         writer.append(at, at / 100, at / 100, dynamic=values)
    ...     shards = PointShards(folder)
    ...     counted = label_shards(shards, MiniBatchShardKMeans(2).fit(shards), "motion")
    ...     labels = shards.read_labels("motion")
    >>> counted.counts.sum(axis=1).tolist(), np.bincount(labels).tolist()
    ([50, 50], [50, 50])
    """
    require_shards(shards)
    if not isinstance(model, MiniBatchShardKMeans):
        raise TypeError(f"model must be a MiniBatchShardKMeans, got {type(model).__name__}")
    check_is_fitted(model)
    bar = progress_bar(progress)
    stream = shards.batches(model.kinds, batch_size=_arithmetic.POINTS_PER_READ)
    require_same_features(model, shards)
    split = {"test_fraction": model.test_fraction, "random_state": model.random_state}
    counts, inertia = np.zeros((2, NODATA_LABEL + 1), np.int64), np.zeros(2)

    def labeled() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        total = -(-shards.n_points // _arithmetic.POINTS_PER_READ)
        for batch in bar(stream, desc="label", total=total):
            labels, squared = label_features(model, batch.features)
            test = is_test(batch.points, **split)
            for side, chosen in enumerate((~test, test)):
                counts[side] += np.bincount(labels[chosen], minlength=NODATA_LABEL + 1)
                inertia[side] += squared[chosen].sum()
            yield batch.points, labels

    n_clusters = len(model.cluster_centers_)
    attrs: dict[str, Any] = {
        "long_name": "cluster",
        "kinds": " ".join(model.kinds),
        "n_clusters": n_clusters,
        "random_state": int(model.random_state),
    }
    with one_blas_thread():
        shards.write_labels(name, labeled(), attrs=attrs)
    sides, clusters = ["train", "test"], pd.RangeIndex(n_clusters, name="cluster")
    return LabelCounts(
        counts=pd.DataFrame(counts[:, :n_clusters].T, clusters, sides),
        inertia=pd.Series(inertia, sides),
        n_missing=int(counts[:, NODATA_LABEL].sum()),
    )
