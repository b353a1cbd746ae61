"""Mini-batch k-means over points that never fit in memory, read from shards.

Four passes or more over the shards, of which at most some ten thousand points are in memory at a
time: one measures the scale of the features and draws a uniform sample of the train points, on
which the centers start; each further one is an epoch of `sklearn.cluster.MiniBatchKMeans`'s
``partial_fit``, until the labels of that sample stand still; the last, `sweep`, labels every point,
train and test. Everything is counted in points and computed by one thread in pieces of fixed
shape: the same seed gives the same labels, whatever the shards and the number of threads.

References
----------
D. Sculley (2010). Web-scale k-means clustering. Proceedings of the 19th International Conference on
World Wide Web, 1177-1178. doi:10.1145/1772690.1772862.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import (
    as_real_array,
    progress_bar,
    require_dims,
    require_integer,
    require_number,
    require_random_state,
    require_rising_time,
    shown,
)
from cookbook_utils._conventions.labels import NODATA_LABEL, align_labels
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._conventions.points import displacement_of
from cookbook_utils._samples import profiles_by_label
from cookbook_utils._threads import one_blas_thread
from cookbook_utils.shards import Batch, PointShards, is_test, write_labels

BLOCK = 8192  # points read at a time
TILE = 256  # points labeled at a time: a product of fixed shape rounds alike wherever a point is
N_STARTS = 10  # of k-means on the sample

Progress = Callable[..., Iterable]
"""A progress bar: called with an iterable and ``desc`` and ``total``, as tqdm is."""


@dataclass(frozen=True)
class MiniBatchResult:
    """Centers found by `fit_minibatch`, and how they were found."""

    features: str
    """The kinds of features, such as ``"dynamic+static"``."""
    centers: np.ndarray
    """(cluster, feature) float64, in the units of the features."""
    mean: np.ndarray
    """(feature,) float64, of the train points."""
    scale: np.ndarray
    """(feature,) float64, standard deviation of the train points."""
    history: pd.DataFrame
    """A row for each epoch: ``label_change``, the share of the sample whose label changed;
    ``center_shift``, the largest move of a center, in standard deviations; ``inertia``, the mean
    squared distance of the sample to its centers, in scaled units; ``n_reseeded``, the clusters
    that had lost all of the sample and were started anew."""
    converged: bool
    """Whether the last ``label_change`` was below ``tol``."""
    n_train: int
    """Train points with all features."""
    n_missing: int
    """Train points left out for want of a feature."""
    test_fraction: float
    seed: int
    feature_names: tuple[str, ...] = ()
    """Of each feature, in order; empty if they are not known."""
    embedding: str = ""
    """Digest of the matrices that made the features ``dynamic``, as `reservoir.embed_shards` leaves
    it in the shards; empty if it is not known."""

    @property
    def n_epochs(self) -> int:
        return len(self.history)

    def predict(self, features: Any) -> np.ndarray:
        """Label points by their nearest center.

        Parameters
        ----------
        features : array of float (point, feature)
            Unscaled, as the shards hold them. A table with named columns, or a DataArray with names
            as its coordinate ``feature``, must have the names of `feature_names`, in this order.

        Returns
        -------
        numpy.ndarray
            uint8 (point,), 255 where a feature is missing. The label of a point does not depend on
            the points given with it.

        Raises
        ------
        TypeError
            If `features` does not hold real numbers, or is masked.
        ValueError
            If number or names of the features are not those of the centers, or a feature is beyond
            the range of float32.
        """
        self._require_names(_names_of(features), "features")
        if isinstance(features, xr.DataArray):
            require_dims(features, ("point", "feature"), "features")
            features = mask_and_float(features).transpose("point", "feature")
        given = np.asarray(as_real_array(features, "features"))
        if given.ndim != 2 or given.shape[1] != len(self.mean):
            raise ValueError(
                f"features must have the shape (points, {len(self.mean)}), got {given.shape}"
            )
        with np.errstate(over="ignore"):
            features = given.astype(np.float32)
        if (np.isinf(features) & np.isfinite(given)).any():
            raise ValueError(
                f"features must be in the range of float32, got {np.nanmax(np.abs(given)):g}"
            )
        with one_blas_thread():
            return self._assign(features)[0]

    def _require_names(self, names: list[str] | None, what: str) -> None:
        """Raise ValueError if names are known of features and centers, and differ."""
        if names is not None and self.feature_names and tuple(names) != self.feature_names:
            raise ValueError(
                f"{what} must have the features {', '.join(self.feature_names)}, in this order, as "
                f"were clustered, got {', '.join(names)}"
            )

    def _assign(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels of points and their squared distances, 0 where missing."""
        present = np.isfinite(features).all(axis=1)
        centers = ((self.centers - self.mean) / self.scale).astype(np.float32)
        found, squared = _nearest(_scaled(features[present], self.mean, self.scale), centers)
        labels = np.full(len(features), NODATA_LABEL, np.uint8)
        distances = np.zeros(len(features))
        labels[present], distances[present] = found, squared
        return labels, distances


@dataclass(frozen=True)
class Sweep:
    """What `sweep` counted while it labeled all points."""

    counts: pd.DataFrame
    """Points in each cluster (rows) of ``train`` and ``test`` (columns)."""
    inertia: pd.Series
    """Sum of squared distances to the centers, in scaled units, for ``train`` and ``test``."""
    n_missing: int
    """Points labeled 255 for want of a feature."""

    @property
    def empty(self) -> list[int]:
        """Clusters without any point."""
        return self.counts.index[self.counts.sum(axis=1) == 0].tolist()


def fit_minibatch(
    shards: PointShards,
    n_clusters: int,
    *,
    features: str = "dynamic",
    batch_size: int = 256,
    warm_start: int = 25_600,
    max_epochs: int = 20,
    tol: float = 1e-3,
    test_fraction: float = 0.2,
    seed: int = 0,
    progress: Progress | None = None,
) -> MiniBatchResult:
    """Find centers by mini-batch k-means over the train points of shards.

    Parameters
    ----------
    shards : PointShards
        Points with features. Those with a feature that is not finite are left out and counted.
    n_clusters : int
        1 to 255.
    features : str, default "dynamic"
        A kind of features, or several joined by ``+``. Each feature is standardized.
    batch_size : int, default 256
        Points in a batch of ``partial_fit``; every epoch draws its batches in another order.
    warm_start : int, default 25600
        Size of the uniform sample of the train points on which k-means (10 starts) finds the first
        centers, and by which stability is measured; all train points if there are fewer.
    max_epochs : int, default 20
        Passes over the train points, at most.
    tol : float, default 0.001
        Stop when an epoch changes the labels of less than this share of the sample.
    test_fraction : float, default 0.2
        Share of the points that only `sweep` looks at, chosen by `shards.is_test` with `seed`.
    seed : int, default 0
        Of the split, the sample, the start and the order.
    progress : callable, optional
        Such as ``tqdm.auto.tqdm``: wraps what is iterated over, given ``desc`` and ``total``.

    Returns
    -------
    MiniBatchResult
        Centers, scale and history.

    Raises
    ------
    TypeError
        If `shards` is no PointShards, or an option of another type than described.
    ValueError
        If an option is not as described, there are fewer train points than clusters, or a feature
        is constant over the train points.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the sample has fewer distinct points than clusters are asked for: some stay empty.

    Notes
    -----
    scikit-learn's own reassignment moves centers with few points to random ones, which hunts down
    rare but real clusters; it is off. A cluster is started anew only when no point of the sample is
    left in it: k-means on the sample puts it at the point farthest from its center.

    Examples
    --------
    >>> import tempfile
    >>> from cookbook_utils.shards import ShardWriter
    >>> at, values = np.arange(100), np.repeat([[1.0, 2.0], [5.0, 3.0]], 50, axis=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ShardWriter(folder, {"dynamic": ["a", "b"]}) as writer:
    ...         writer.append(at, at / 100, at / 100, dynamic=values)
    ...     result = fit_minibatch(PointShards(folder), 2)
    >>> result.centers[np.argsort(result.centers[:, 0])].round(3).tolist()
    [[1.0, 2.0], [5.0, 3.0]]
    """
    from sklearn import config_context

    n_clusters = require_integer(n_clusters, "n_clusters", least=1, most=NODATA_LABEL)
    batch_size = require_integer(batch_size, "batch_size", least=1)
    warm_start = require_integer(warm_start, "warm_start", least=n_clusters)
    max_epochs = require_integer(max_epochs, "max_epochs", least=1)
    tol = require_number(tol, "tol", least=0)
    test_fraction = require_number(test_fraction, "test_fraction", least=0, most=1)
    seed = require_random_state(seed, "seed")
    _require_shards(shards)
    bar = progress_bar(progress)
    names = _names_in(shards, features)
    random = np.random.default_rng(seed)
    train = {"split": "train", "test_fraction": test_fraction, "seed": seed}

    stream = shards.batches(features, batch_size=BLOCK, **train)
    n, n_missing, mean, scale, sample = _measure(bar(stream, desc="scale"), warm_start, random)
    _require_clusterable(shards, n, n_missing, n_clusters, mean, scale, names)
    sample = _scaled(sample, mean, scale)

    size = batch_size * max(1, BLOCK // batch_size)
    total = -(-(n + n_missing) // size)
    history, change = [], 1.0
    # One thread: sums would be added in another order by more, and batches are too small for them.
    # What is read was found finite, or left out.
    with one_blas_thread(), config_context(assume_finite=True, skip_parameter_validation=True):
        model = _start(sample, n_clusters, "k-means++", seed)
        labels, _ = _nearest(sample, model.cluster_centers_)
        n_found = len(np.unique(labels))  # less than n_clusters if there are few distinct points
        for epoch in range(max_epochs):
            before = model.cluster_centers_.copy()
            order = int(random.integers(2**32))
            stream = shards.batches(features, batch_size=size, shuffle=order, **train)
            for batch in bar(stream, desc=f"epoch {epoch + 1}", total=total):
                x = _scaled(_present(batch, n_missing), mean, scale)
                for start in range(0, len(x), batch_size):
                    model.partial_fit(x[start : start + batch_size])
            after, squared = _nearest(sample, model.cluster_centers_)
            lost = n_found - len(np.unique(after))
            if lost:
                model = _start(sample, n_clusters, model.cluster_centers_, seed)
                after, squared = _nearest(sample, model.cluster_centers_)
            change = np.count_nonzero(after != labels) / len(labels)
            labels = after
            shift = np.linalg.norm(model.cluster_centers_ - before, axis=1).max()
            history.append((change, float(shift), squared.mean(), lost))
            if change < tol and not lost:
                break
    columns = ["label_change", "center_shift", "inertia", "n_reseeded"]
    index = pd.RangeIndex(1, len(history) + 1, name="epoch")
    return MiniBatchResult(
        features=features,
        centers=model.cluster_centers_ * scale + mean,
        mean=mean,
        scale=scale,
        history=pd.DataFrame(history, index, columns),
        converged=bool(change < tol and not lost),
        n_train=n,
        n_missing=n_missing,
        test_fraction=test_fraction,
        seed=seed,
        feature_names=tuple(names),
        embedding=_embedding_of(shards, features),
    )


def sweep(
    shards: PointShards, result: MiniBatchResult, name: str, *, progress: Progress | None = None
) -> Sweep:
    """Label every point, train and test, and store the labels next to the points.

    Parameters
    ----------
    shards : PointShards
        The points that were clustered, or others with the same features.
    result : MiniBatchResult
        The centers.
    name : str
        A word, under which `shards.read_labels` finds the labels; 255 where a feature is missing.
    progress : callable, optional
        As for `fit_minibatch`.

    Returns
    -------
    Sweep
        Counts and inertia of train and test, and which clusters are empty.

    Raises
    ------
    TypeError
        If `shards` is no PointShards, `result` no MiniBatchResult or `name` no text.
    ValueError
        If the shards have other features, or features of the same names that another embedding
        made.
    """
    _require_shards(shards)
    if not isinstance(result, MiniBatchResult):
        raise TypeError(f"result must be a MiniBatchResult, got {type(result).__name__}")
    bar = progress_bar(progress)
    k = len(result.centers)
    names = _names_in(shards, result.features)
    if len(names) != len(result.mean):
        raise ValueError(
            f"{shards.folder} must have {len(result.mean)} features of the kinds "
            f"{result.features}, as were clustered, got {len(names)}"
        )
    result._require_names(names, str(shards.folder))
    if result.embedding and _embedding_of(shards, result.features) not in ("", result.embedding):
        raise ValueError(
            f"{shards.folder} must hold features of the embedding that was clustered, got those of "
            "another one, in which the centers mean nothing"
        )
    counts, inertia = np.zeros((2, NODATA_LABEL + 1), np.int64), np.zeros(2)

    def labeled() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        stream = shards.batches(result.features, batch_size=BLOCK)
        for batch in bar(stream, desc="sweep", total=-(-shards.n_points // BLOCK)):
            labels, squared = result._assign(batch.features)
            test = is_test(batch.points, test_fraction=result.test_fraction, seed=result.seed)
            for side, chosen in enumerate((~test, test)):
                counts[side] += np.bincount(labels[chosen], minlength=NODATA_LABEL + 1)
                inertia[side] += squared[chosen].sum()
            yield batch.points, labels

    attrs = {"long_name": "cluster", "features": result.features, "n_clusters": k}
    with one_blas_thread():
        write_labels(shards.folder, name, labeled(), attrs=attrs | {"seed": result.seed})
    sides = ["train", "test"]
    table = pd.DataFrame(counts[:, :k].T, pd.RangeIndex(k, name="cluster"), sides)
    return Sweep(table, pd.Series(inertia, sides), int(counts[:, NODATA_LABEL].sum()))


def displacement_profiles(points: xr.Dataset, labels: Any) -> xr.Dataset:
    """Return the mean and standard deviation of the displacement of each cluster over time.

    Parameters
    ----------
    points : xarray.Dataset
        Points whose ``displacement`` (point, time) has no gaps, as `insar.fill_gaps` leaves it; in
        memory, or lazy and then computed chunk by chunk.
    labels : array of int (point,)
        As `shards.read_labels` returns them; points that are missing (255, NaN) are left out. A
        DataArray is aligned by its coordinates.

    Returns
    -------
    xarray.Dataset
        As `metrics.cluster_profiles` returns it: ``mean`` and ``std`` (cluster, time), in mm, and
        ``count`` (cluster).

    Raises
    ------
    TypeError
        If `points` is not a Dataset, or displacements or labels are no real numbers.
    ValueError
        If labels and points do not match, a labeled point has a gap or an infinite displacement, a
        label is none, or the dates are no dates or do not rise.

    Examples
    --------
    >>> series = xr.DataArray([[0.0, 1.0], [0.0, 3.0], [0.0, -9.0]], dims=("point", "time"))
    >>> profiles = displacement_profiles(series.to_dataset(name="displacement"), [0, 0, 1])
    >>> profiles["mean"].values.tolist(), profiles["std"].values.tolist()
    ([[0.0, 2.0], [0.0, -9.0]], [[0.0, 1.0], [0.0, 0.0]])
    """
    displacement = displacement_of(points)
    if "time" in points.coords:
        require_rising_time(points, "points")
    labels = align_labels(labels, displacement.isel(time=0, drop=True)).values
    samples = displacement.rename(point="pixel", time="band")
    profiles = profiles_by_label(samples, labels, "the displacement of labeled points")
    labeled, counted = np.count_nonzero(labels != NODATA_LABEL), int(profiles["count"].sum())
    if counted < labeled:
        raise ValueError(
            f"{labeled - counted} of {labeled} labeled points have gaps in their displacement; "
            "fill them with cookbook_utils.insar.fill_gaps"
        )
    return profiles.rename(band="time")


# -- one pass ---------------------------------------------------------------------------------


def _measure(
    stream: Iterable[Batch], size: int, random: np.random.Generator
) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray]:
    """Return number, missing, mean, standard deviation and a uniform sample of points.

    Means and squared deviations of blocks are merged as by Chan, Golub & LeVeque (1983), Algorithms
    for computing the sample variance, The American Statistician 37(3), 242-247. The sample is the
    points with the `size` smallest of random keys.
    """
    n, n_missing, mean, squares = 0, 0, 0.0, 0.0
    keys, sample = np.empty(0), None
    for batch in stream:
        x = _present(batch, 1)
        n_missing += len(batch.features) - len(x)
        drawn = random.random(len(x))
        if len(x) == 0:
            continue
        block = x.astype(np.float64)
        shift = block.mean(axis=0) - mean
        block -= mean + shift
        squares += np.einsum("ij,ij->j", block, block) + shift**2 * (n * len(x) / (n + len(x)))
        n += len(x)
        mean = mean + shift * (len(x) / n)

        few = drawn < (keys.max() if len(keys) == size else 1)
        keys = np.concatenate([keys, drawn[few]])
        sample = x[few] if sample is None else np.concatenate([sample, x[few]])
        if len(keys) > size:
            kept = np.sort(np.argpartition(keys, size)[:size])
            keys, sample = keys[kept], sample[kept]
    return n, n_missing, mean, np.sqrt(squares / max(n, 1)), sample


def _present(batch: Batch, n_missing: int) -> np.ndarray:
    """Return the features of the points that have them all."""
    if not n_missing:
        return batch.features
    present = np.isfinite(batch.features).all(axis=1)
    return batch.features if present.all() else batch.features[present]


def _scaled(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    # In float64: a difference or a scale may lie beyond the range of float32.
    return ((features - mean) / scale).astype(np.float32)


def _start(sample: np.ndarray, n_clusters: int, init: Any, seed: int) -> Any:
    """Return a MiniBatchKMeans whose centers and counts are those of k-means on the sample.

    k-means itself puts a center without points at the point farthest from its own. The model gets
    a generator of its own, once: what it draws decides nothing, but without one it draws from
    NumPy's global generator, and a seed would make a new one at every step.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    n_init = N_STARTS if isinstance(init, str) else 1
    warm = KMeans(n_clusters, init=init, n_init=n_init, random_state=seed).fit(sample)
    model = MiniBatchKMeans(
        n_clusters,
        init=warm.cluster_centers_,
        n_init=1,
        random_state=np.random.RandomState(seed),  # noqa: NPY002  scikit-learn takes no other
        reassignment_ratio=0,
        compute_labels=False,
    )
    return model.partial_fit(sample)


def _nearest(x: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest center of each point and the squared distance to it."""
    from sklearn.metrics import pairwise_distances_argmin_min

    n = len(x)
    padded = np.zeros((max(-(-n // TILE), 1) * TILE, x.shape[1]), np.float32)
    padded[:n] = x
    labels, squared = pairwise_distances_argmin_min(padded, centers, metric="sqeuclidean")
    return labels[:n], squared[:n]


def _require_shards(shards: Any) -> None:
    if not isinstance(shards, PointShards):
        raise TypeError(f"shards must be a PointShards, got {type(shards).__name__}")


def _names_in(shards: PointShards, features: Any) -> list[str]:
    """Return the names of the features of several kinds, or raise."""
    wanted = f"features must be one of {', '.join(shards.features)}, or several joined by +"
    if not isinstance(features, str):
        raise TypeError(f"{wanted}, got {shown(features)}")
    kinds = features.split("+")
    if unknown := [kind for kind in kinds if kind not in shards.features]:
        raise ValueError(
            f"{wanted}, got {shown(features)}: {shards.folder} has no {shown(unknown[0])}"
        )
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"{wanted}, got {shown(features)}, which counts features twice")
    return [name for kind in kinds for name in shards.features[kind]]


def _embedding_of(shards: PointShards, features: str) -> str:
    """Return the digest of the matrices that made the features, "" if it is not known."""
    made = shards.attrs.get("embedding")
    if "dynamic" not in features.split("+") or not isinstance(made, dict):
        return ""
    return str(made.get("matrices", ""))


def _names_of(features: Any) -> list[str] | None:
    """Return the names of the columns of a table or of the features of an array, if it has any."""
    if isinstance(features, pd.DataFrame):
        names = features.columns
    elif isinstance(features, xr.DataArray) and "feature" in features.coords:
        names = features["feature"].to_index()
    else:
        return None
    return list(names) if all(isinstance(name, str) for name in names) else None


def _require_clusterable(shards, n, n_missing, n_clusters, mean, scale, names) -> None:
    if n < n_clusters:
        raise ValueError(
            f"{n_clusters} clusters need as many train points, found {n} with all features and "
            f"{n_missing} without, of {shards.n_points} points in {shards.folder}"
        )
    constant = scale <= np.finfo(np.float32).eps * np.abs(mean)
    if constant.any():
        found = [
            f"{name} = {value:g}"
            for name, value, same in zip(names, mean, constant, strict=True)
            if same
        ]
        raise ValueError(
            f"features of {shards.folder} are constant over the train points and cannot be "
            f"scaled: {', '.join(found[:5])} ({len(found)} of {len(names)}); leave them out"
        )
