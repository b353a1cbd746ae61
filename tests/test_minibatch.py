"""Mini-batch k-means: repeatable for any shards, as good as full-batch k-means, complete."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import threadpoolctl
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone, is_clusterer
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.minibatch import (
    MiniBatchShardKMeans,
    _arithmetic,
    displacement_profiles,
    label_shards,
)
from cookbook_utils.shards import Batch, PointShards, ShardWriter, _tables, is_test

from .factories import without_fsync  # noqa: F401

CENTERS = np.random.default_rng(5).normal(0, 2, (4, 3))


def make_clusters(n, *, seed=0, spread=0.7):
    """Return points around four centers, one of them rare, with features of different scales."""
    random = np.random.default_rng(seed)
    truth = random.choice(4, n, p=[0.5, 0.3, 0.17, 0.03])
    x = CENTERS[truth] + random.normal(0, spread, (n, 3))
    return truth, (x * [1, 1000, 0.01] + [0, 500, 7]).astype(np.float32)


def write(folder, x, *, shard_size=65536, points=None):
    at = np.arange(len(x)) if points is None else points
    with ShardWriter(folder, {"dynamic": ["a", "b"], "static": ["c"]}, shard_size=shard_size) as w:
        w.append(at, at * 0.0, at * 0.0, dynamic=x[:, :2], static=x[:, 2:])
    return PointShards(folder)


def fit(shards, n_clusters=4, *, progress=None, **options):
    model = MiniBatchShardKMeans(n_clusters, **{"kinds": ("dynamic", "static")} | options)
    return model.fit(shards, progress=progress)


def labeled(shards, model, name="found"):
    counted = label_shards(shards, model, name)
    return shards.read_labels(name).values, counted


@pytest.fixture(scope="module")
def clusters():
    return make_clusters(6000)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, clusters):
    return write(tmp_path_factory.mktemp("points") / "a", clusters[1])


# -- the same whatever the storage ------------------------------------------------------------


def test_random_state_decides(shards):
    one, same, other = (fit(shards, random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.cluster_centers_, same.cluster_centers_)
    assert one.history_.equals(same.history_)
    assert not np.array_equal(one.mean_, other.mean_)  # another split


def test_estimator_has_parameters_and_a_state(shards):
    model = MiniBatchShardKMeans(3, kinds=["static"], max_iter=1)
    assert clone(model).get_params() == model.get_params()
    assert is_clusterer(model) and model.set_params(n_clusters=2).n_clusters == 2
    with pytest.raises(NotFittedError):
        model.predict([[1.0]])
    with pytest.raises(NotFittedError):
        label_shards(shards, model, "found")
    assert model.fit(shards) is model
    assert model.cluster_centers_.shape == (2, 1) and model.n_features_in_ == 1
    assert model.feature_names_in_.tolist() == ["c"]


@settings(max_examples=12, deadline=None)
@given(
    shard_size=st.integers(1, 400).map(lambda n: max(n, 17)),
    batch_size=st.sampled_from([1, 50, 256, 9000]),
    test_fraction=st.sampled_from([0.0, 0.3]),
)
def test_same_bits_whatever_the_shards(shard_size, batch_size, test_fraction):
    _, x = make_clusters(300, seed=1)
    options = {"batch_size": batch_size, "test_fraction": test_fraction, "max_iter": 2}
    with tempfile.TemporaryDirectory() as folder:
        one = write(Path(folder) / "one", x)
        many = write(Path(folder) / "many", x, shard_size=shard_size)
        models = fit(one, **options), fit(many, **options)
        np.testing.assert_array_equal(models[0].cluster_centers_, models[1].cluster_centers_)
        labels = [labeled(*pair)[0] for pair in zip((one, many), models, strict=True)]
        np.testing.assert_array_equal(*labels)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=4).map(sorted), seed=st.integers(0, 9))
def test_label_does_not_depend_on_the_batch(cuts, seed):
    """Half of the points have the same distance to two centers, but for rounding."""
    random = np.random.default_rng(seed)
    centers = random.normal(0, 1, (5, 8))
    pairs = random.integers(5, size=(3000, 2))
    x = centers[pairs].mean(axis=1) + random.normal(0, 1e-8, (3000, 8))
    x[::2] += random.normal(0, 1, (1500, 8))
    x = x.astype(np.float32)
    model = make_model(centers)
    expected = model.predict(x)
    order = random.permutation(3000)
    found = np.empty(3000, np.uint8)
    for rows in np.split(order, cuts):
        found[rows] = model.predict(x[rows])
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) == 5


def make_model(centers):
    """Return a model as if fitted on standardized features."""
    model = MiniBatchShardKMeans(len(centers))
    model.cluster_centers_, model.n_features_in_ = centers, centers.shape[1]
    model.feature_names_in_ = np.array([f"f{i}" for i in range(centers.shape[1])], object)
    model.mean_, model.scale_ = np.zeros(centers.shape[1]), np.ones(centers.shape[1])
    return model


def test_labels_do_not_depend_on_the_size_of_a_read(shards, monkeypatch):
    model = fit(shards, max_iter=1)
    expected, counted = labeled(shards, model)
    for size in (1000, 6000, 77):
        monkeypatch.setattr(_arithmetic, "POINTS_PER_READ", size)
        found, again = labeled(shards, model)
        np.testing.assert_array_equal(found, expected)
        assert again.counts.equals(counted.counts)
        np.testing.assert_allclose(again.inertia, counted.inertia)


def test_labels_do_not_depend_on_the_order(shards):
    model = fit(shards, max_iter=1)
    expected, _ = labeled(shards, model)
    stream = shards.batches(("dynamic", "static"), batch_size=100, shuffle=True)
    shards.write_labels("mixed", ((b.points, model.predict(b.features)) for b in stream))
    np.testing.assert_array_equal(shards.read_labels("mixed"), expected)


def test_number_of_threads_does_not_matter(shards):
    from threadpoolctl import threadpool_limits

    expected = fit(shards)
    with threadpool_limits(1):
        np.testing.assert_array_equal(fit(shards).cluster_centers_, expected.cluster_centers_)
    found = []
    worker = threading.Thread(target=lambda: found.append(fit(shards)))
    worker.start()
    worker.join()
    np.testing.assert_array_equal(found[0].cluster_centers_, expected.cluster_centers_)


# -- as good as k-means -----------------------------------------------------------------------


@pytest.mark.parametrize("init_size", [25_600, 600])
def test_as_good_as_full_batch(shards, clusters, init_size):
    truth, x = clusters
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    full = KMeans(4, n_init=10, random_state=0).fit(scaled)
    model = fit(shards, init_size=init_size)
    found, counted = labeled(shards, model)
    expected = adjusted_rand_score(truth, full.labels_)
    assert 0.5 < expected < 0.99  # the clusters overlap, but can be told apart
    assert abs(adjusted_rand_score(truth, found) - expected) < 0.02
    ours = KMeans(
        4, init=(model.cluster_centers_ - x.mean(axis=0)) / x.std(axis=0), n_init=1, max_iter=1
    )
    assert -ours.fit(scaled).score(scaled) < 1.01 * full.inertia_
    assert counted.inertia.sum() < 1.02 * full.inertia_


def test_centers_are_in_the_units_of_the_features(shards, clusters):
    truth, x = clusters
    found, _ = labeled(shards, model := fit(shards))
    for cluster, center in enumerate(model.cluster_centers_):
        members = x[found == cluster]
        assert np.all(np.abs(center - members.mean(axis=0)) < 0.1 * members.std(axis=0))


def test_stops_when_labels_stand_still(shards):
    model = fit(shards, init_size=300, tol=0.02, max_iter=30)
    change = model.history_.label_change
    assert model.converged_ and model.n_iter_ == len(change) < 30
    assert change.iloc[-1] < 0.02 and (change.iloc[:-1] >= 0.02).all()
    assert model.history_.index.tolist() == list(range(1, model.n_iter_ + 1))
    never = fit(shards, tol=0, max_iter=3)
    assert not never.converged_ and never.n_iter_ == 3


def test_one_epoch_is_partial_fit_over_the_stream(shards):
    """Computed step by step, with all points in the sample."""
    model = fit(shards, max_iter=1, tol=0, batch_size=100, test_fraction=0)
    x = np.concatenate([shards.read("dynamic"), shards.read("static")], axis=1)
    mean, scale = x.mean(axis=0, dtype=float), x.std(axis=0, dtype=float)
    np.testing.assert_allclose(model.mean_, mean)
    np.testing.assert_allclose(model.scale_, scale)
    random = np.random.default_rng(0)
    random.random(len(x))  # the keys of the sample
    order = {"shuffle": True, "random_state": int(random.integers(2**32))}
    stream = shards.batches(("dynamic", "static"), batch_size=100, **order)
    scaled = ((x - mean) / scale).astype(np.float32)
    warm = KMeans(4, n_init=10, random_state=0).fit(scaled)
    expected = MiniBatchKMeans(4, init=warm.cluster_centers_, n_init=1, reassignment_ratio=0)
    expected.partial_fit(scaled)
    for batch in stream:
        expected.partial_fit(((batch.features - mean) / scale).astype(np.float32))
    np.testing.assert_allclose(
        model.cluster_centers_, expected.cluster_centers_ * scale + mean, rtol=1e-3, atol=1e-3
    )


# -- scale and sample -------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    blocks=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any),
    size=st.integers(1, 60),
    offset=st.sampled_from([0.0, 1000.0]),
)
def test_statistics_equal_those_of_all_points_at_once(blocks, size, offset):
    n = sum(blocks)
    x = np.random.default_rng(n).normal(offset, [1, 30], (n, 2)).astype(np.float32)
    parts = np.split(x, np.cumsum(blocks)[:-1])
    stream = [Batch(np.arange(len(part)), part) for part in parts]
    found = _arithmetic.compute_statistics(stream, size, np.random.default_rng(0))
    assert found[:2] == (n, 0)
    np.testing.assert_allclose(found[2], x.mean(axis=0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(found[3], x.std(axis=0, dtype=float), rtol=1e-9, atol=1e-12)
    chosen = np.sort(np.argsort(np.random.default_rng(0).random(n))[:size])
    np.testing.assert_array_equal(found[4], x[chosen])


def test_scale_and_centers_come_from_train_points_alone(tmp_path, clusters):
    x = clusters[1].copy()
    test = is_test(np.arange(len(x)), test_fraction=0.2, random_state=0)
    x[test] += 1e6
    spoilt = fit(write(tmp_path / "a", x))
    np.testing.assert_allclose(spoilt.mean_, x[~test].mean(axis=0, dtype=float))
    assert spoilt.n_train_ == np.count_nonzero(~test)
    assert np.abs(spoilt.cluster_centers_).max() < 1e5


def test_constant_feature_is_named(tmp_path, clusters):
    x = clusters[1].copy()
    x[:, 2] = 0.1
    shards = write(tmp_path / "a", x)
    with pytest.raises(ValueError, match=r"must vary .* constant ones: c = 0.1 \(1 of 3\); leave"):
        fit(shards)
    assert fit(shards, kinds=["dynamic"]).cluster_centers_.shape == (4, 2)


# -- labels --------------------------------------------------------------------------------


def test_every_point_of_train_and_test_has_a_label(tmp_path, clusters):
    """The numbers of the points have gaps, and the last batch is smaller."""
    points = np.arange(777) * 3 + 5
    shards = write(tmp_path / "a", clusters[1][:777], shard_size=100, points=points)
    model = fit(shards, test_fraction=0.3)
    found, counted = labeled(shards, model)
    assert found.shape == (777,) and found.max() == 3
    test = is_test(points, test_fraction=0.3, random_state=0)
    for side, chosen in {"train": ~test, "test": test}.items():
        np.testing.assert_array_equal(counted.counts[side], np.bincount(found[chosen]))
    x = np.concatenate([shards.read("dynamic"), shards.read("static")], axis=1)
    squared = (((x - model.cluster_centers_[found]) / model.scale_) ** 2).sum(axis=1)
    np.testing.assert_allclose(counted.inertia["test"], squared[test].sum(), rtol=1e-4)
    np.testing.assert_allclose(counted.inertia["train"], squared[~test].sum(), rtol=1e-4)
    assert counted.empty_clusters == [] and counted.n_missing == 0


def test_labels_have_attributes(shards):
    label_shards(shards, fit(shards, max_iter=1, random_state=2), "found")
    attrs = shards.read_labels("found").attrs
    assert attrs["kinds"] == "dynamic static"
    assert attrs["n_clusters"] == 4 and attrs["random_state"] == 2


def test_points_without_a_feature_get_no_label(tmp_path, clusters):
    x = clusters[1].copy()
    x[100:120, 1] = np.nan
    x[300, 2] = np.inf
    shards = write(tmp_path / "a", x)
    model = fit(shards)
    found, counted = labeled(shards, model)
    missing = ~np.isfinite(x).all(axis=1)
    np.testing.assert_array_equal(found == NODATA_LABEL, missing)
    train = ~is_test(np.arange(len(x)), random_state=0)
    assert model.n_missing_ == np.count_nonzero(missing & train)
    assert counted.n_missing == 21 and counted.counts.to_numpy().sum() == len(x) - 21
    np.testing.assert_allclose(model.mean_, x[train & ~missing].mean(axis=0, dtype=float))
    alone = fit(write(tmp_path / "b", x[~missing], points=np.flatnonzero(~missing)))
    np.testing.assert_allclose(model.scale_, alone.scale_)


def test_points_elsewhere_are_labeled_by_the_same_centers(tmp_path, shards):
    model = fit(shards)
    truth, x = make_clusters(500, seed=9)
    found, _ = labeled(write(tmp_path / "a", x), model)
    np.testing.assert_array_equal(found, model.predict(x))
    assert adjusted_rand_score(truth, found) > 0.5
    other = write(tmp_path / "b", x)
    with pytest.raises(ValueError, match="b must have the features .* a, b, c, .* got a, b$"):
        label_shards(other, model.set_params(kinds=("dynamic",)), "found")
    with pytest.raises(ValueError, match=r"X must have the shape \(n, 3\), got \(5, 2\)"):
        model.predict(np.zeros((5, 2)))


# -- empty clusters ---------------------------------------------------------------------------


def test_lost_cluster_is_started_again(shards, clusters, monkeypatch):
    step, calls = MiniBatchKMeans.partial_fit, []

    def lose(self, x, *args):
        step(self, x, *args)
        calls.append(len(x))
        if len(calls) == 3:  # a batch of the first epoch
            self.cluster_centers_[1] = 1e4
        return self

    monkeypatch.setattr(MiniBatchKMeans, "partial_fit", lose)
    model = fit(shards)
    assert model.history_.n_reseeded.tolist()[0] == 1 and model.history_.n_reseeded.sum() == 1
    assert model.n_iter_ > 1 and model.converged_
    found, counted = labeled(shards, model)
    assert counted.empty_clusters == []
    assert adjusted_rand_score(clusters[0], found) > 0.5


def test_rare_cluster_is_kept(tmp_path):
    """It has less than 1 % of the largest cluster; scikit-learn would reassign its center."""
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (8000, 3))
    x[4000:] += 8
    x[::400] = random.normal([50, -50, 50], 1, (20, 3))
    model = fit(write(tmp_path / "a", x), 3, max_iter=5, tol=0)
    counts = label_shards(PointShards(tmp_path / "a"), model, "found").counts.sum(axis=1)
    assert counts.min() == 20


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_more_clusters_than_distinct_points_are_empty(tmp_path):
    x = np.repeat([[0, 0, 0], [1, 5, 2], [9, 1, 1]], 40, axis=0)
    shards = write(tmp_path / "a", x)
    model = fit(shards, 5)
    _, counted = labeled(shards, model)
    assert len(counted.empty_clusters) == 2
    assert model.converged_ and model.history_.n_reseeded.sum() == 0


# -- streaming --------------------------------------------------------------------------------


def test_no_more_than_a_window_is_read_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(_tables, "POINTS_PER_GROUP", 64)
    monkeypatch.setattr(_arithmetic, "POINTS_PER_READ", 128)
    _, x = make_clusters(5000)
    folder = write(tmp_path / "a", x, shard_size=700)
    read, sizes = _tables.ShardTable.read, []

    def counting(self, columns, rows):
        found = read(self, columns, rows)
        sizes.append(len(found[0]))
        return found

    monkeypatch.setattr(_tables.ShardTable, "read", counting)
    model = fit(folder, max_iter=2, tol=0, init_size=200, batch_size=32)
    features = sum(sizes)
    label_shards(folder, model, "found")
    assert features == 5000 * 3  # statistics and two epochs
    assert max(sizes) <= 700  # the numbers of a shard; 512 points with features


def test_progress_bars_show_passes_and_totals(shards):
    seen = []

    def bar(iterable, *, desc, total=None):
        count = 0
        for item in iterable:
            count += 1
            yield item
        seen.append((desc, total, count))

    model = fit(shards, max_iter=2, tol=0, progress=bar)
    label_shards(shards, model, "found", progress=bar)
    assert [desc for desc, *_ in seen] == ["scale", "epoch 1", "epoch 2", "label"]
    assert all(total in (None, count) for _, total, count in seen)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_clusters": 0}, "n_clusters must be an integer from 1 to 255, got 0"),
        ({"n_clusters": 256}, "from 1 to 255, got 256"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"init_size": 3}, "init_size must be an integer of at least 4, got 3"),
        ({"max_iter": 0}, "max_iter must be an integer of at least 1"),
        ({"kinds": ["velocity"]}, "kinds must be .* 'dynamic', 'static', .* got .'velocity'"),
        ({"kinds": ["dynamic", "dynamic"]}, "sequence of unique kinds"),
        ({"tol": -1}, "tol must be a finite number of at least 0, got -1"),
        ({"tol": np.nan}, "tol must be a finite number"),
        ({"random_state": -1}, "random_state must be an integer from 0"),
        ({"random_state": 2**32}, "random_state must be an integer from 0"),
        ({"test_fraction": 2}, "test_fraction must be a finite number from 0 to 1"),
        ({"test_fraction": np.nan}, "test_fraction must be a finite number from 0 to 1"),
        (
            {"test_fraction": 1.0},
            "n_clusters must be at most the number of train points .* for 0 such",
        ),
    ],
)
def test_bad_options(shards, options, message):
    with pytest.raises(ValueError, match=message):
        fit(shards, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"n_clusters": 2.5},
        {"n_clusters": True},
        {"batch_size": "256"},
        {"init_size": 1e4},
        {"max_iter": None},
        {"tol": "small"},
        {"test_fraction": True},
        {"random_state": 1.0},
        {"kinds": "dynamic"},
        {"progress": "bar"},
        {"shards": "folder"},
    ],
)
def test_bad_types(shards, options):
    with pytest.raises(TypeError, match=f"{next(iter(options))} must be"):
        fit(**({"shards": shards} | options))


def test_labeling_refuses_types(shards):
    model = fit(shards, max_iter=1)
    for wrong, message in [
        (("folder", model, "found"), "shards must be a PointShards, got str"),
        ((shards, vars(model), "found"), "model must be a MiniBatchShardKMeans, got dict"),
    ]:
        with pytest.raises(TypeError, match=message):
            label_shards(*wrong)


def test_global_random_generator_and_threads_are_unchanged(shards):
    before = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    label_shards(shards, fit(shards, max_iter=2), "found")
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002
    assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == before


# -- names of features --------------------------------------------------------------------------


def test_features_in_another_order_or_by_other_names_are_refused(tmp_path, shards, clusters):
    model = fit(shards)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    x = clusters[1][:50]
    expected = model.predict(x)
    table = pd.DataFrame(x, columns=["a", "b", "c"])
    array = xr.DataArray(x, {"feature": ["a", "b", "c"]}, dims=("point", "feature"))
    for same in (table, array, array.T, array.drop_vars("feature"), x.tolist()):
        np.testing.assert_array_equal(model.predict(same), expected)
    for other in (table[["b", "a", "c"]], array.isel(feature=[1, 0, 2]), array.isel(feature=[0])):
        with pytest.raises(ValueError, match="X must have the features .* a, b, c, in this order"):
            model.predict(other)
    swapped = {"dynamic": ["b", "a"], "static": ["c"]}
    with ShardWriter(tmp_path / "swapped", swapped) as writer:
        writer.append([0], [0], [0], dynamic=x[:1, [1, 0]], static=x[:1, 2:])
    with pytest.raises(
        ValueError, match="swapped must have the features .* a, b, c, .* got b, a, c"
    ):
        label_shards(PointShards(tmp_path / "swapped"), model, "found")


def test_features_of_another_embedding_are_refused(tmp_path, clusters):
    """They have the same names and number, but centers have no meaning in them."""
    x = clusters[1][:500, :2]

    def write_embedded(name, digest):
        attrs = {"embedding": {"matrices": digest}}
        with ShardWriter(tmp_path / name, {"dynamic": ["a", "b"]}, attrs=attrs) as writer:
            writer.append(np.arange(500), np.zeros(500), np.zeros(500), dynamic=x)
        return PointShards(tmp_path / name)

    one, same, other = (write_embedded(*pair) for pair in [("a", "x"), ("b", "x"), ("c", "y")])
    model = MiniBatchShardKMeans(3).fit(one)
    label_shards(same, model, "found")
    with pytest.raises(ValueError, match="c must have features of the embedding that the model"):
        label_shards(other, model, "found")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda x: x.astype(str), TypeError, "real numbers"),
        (lambda x: x.astype(complex), TypeError, "real numbers"),
        (lambda x: x.astype(object), TypeError, "real numbers"),
        (lambda x: np.ma.masked_array(x, x > 1), TypeError, "without a mask"),
        (lambda x: x[0], ValueError, "must have the shape"),
        (lambda x: np.where(x > 1, 1e300, x), ValueError, "range of float32, got 1e.300"),
        (lambda x: xr.DataArray(x, dims=("pixel", "band")), ValueError, "dimensions"),
    ],
)
def test_predict_refuses_what_is_not_features(shards, clusters, wrong, error, message):
    with pytest.raises(error, match=message):
        fit(shards, max_iter=1).predict(wrong(clusters[1][:50].astype(float)))


# -- profiles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
def test_profiles_are_mean_and_deviation_over_time(lazy):
    values = np.random.default_rng(0).normal(0, 5, (50, 7)).astype(np.float32)
    labels = np.random.default_rng(1).choice([0, 2, 255], 50).astype(np.uint8)
    dates = np.arange("2020-01-01", "2020-02-12", 6, dtype="M8[D]").astype("M8[ns]")
    displacement = da.from_array(values, (13, 3)) if lazy else values
    points = xr.Dataset(
        {"displacement": (("point", "time"), displacement, {"units": "mm"})}, {"time": dates}
    )
    profiles = displacement_profiles(points, xr.DataArray(labels, dims="point"))
    assert profiles["mean"].dims == ("cluster", "time") and profiles["mean"].units == "mm"
    assert profiles.cluster.values.tolist() == [0, 2]
    np.testing.assert_array_equal(profiles.time, dates)
    for cluster in (0, 2):
        members = values[labels == cluster].astype(float)
        profile = profiles.sel(cluster=cluster)
        np.testing.assert_allclose(profile["mean"], members.mean(axis=0))
        np.testing.assert_allclose(profile["std"], members.std(axis=0))
        assert profile["count"] == len(members)


def test_profiles_need_filled_series():
    values = np.ones((4, 3))
    values[1, 2] = np.nan
    points = xr.Dataset({"displacement": (("point", "time"), values)})
    with pytest.raises(
        ValueError, match="labeled points must have no gaps, got 1 of 4 with gaps.*fill_gaps"
    ):
        displacement_profiles(points, [0, 0, 1, 1])
    assert displacement_profiles(points, [0, 255, 1, 1])["count"].values.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "labels", "error", "message"),
    [
        ({}, [0, 1], ValueError, "labels must have one value for each pixel"),
        ({}, [[0, 1, 1]], ValueError, "labels must be 1-D"),
        ({}, [0, 1, 1.5], ValueError, "labels must be whole numbers from 0 to 254"),
        ({}, [0, 1, -1], ValueError, "labels must be whole numbers from 0 to 254"),
        ({}, ["a", "b", "c"], TypeError, "labels must hold real numbers"),
        ({}, np.ma.masked_array([0, 1, 1], [0, 0, 1]), TypeError, "without a mask"),
        ({}, xr.DataArray([0, 1, 1], dims="x"), ValueError, "labels must have the dimensions"),
        ({}, xr.DataArray([0, 1, 1], {"point": [4, 2, 1]}, dims="point"), ValueError,
         "labels must have a value for each point of the samples, got none for 3"),
        ({"time": ("time", np.array(["2020-01-07", "2020-01-01"], "M8[ns]"))}, [0, 1, 1],
         ValueError, "times of points must be strictly increasing"),
        ({"time": ["20200101", "20200107"]}, [0, 1, 1], TypeError, "datetime64"),
    ],
)  # fmt: skip
def test_profiles_refuse(change, labels, error, message):
    coords = {"point": [1, 2, 3]} | change
    points = xr.Dataset({"displacement": (("point", "time"), np.ones((3, 2)))}, coords)
    with pytest.raises(error, match=message):
        displacement_profiles(points, labels)


def test_labels_follow_the_points_in_any_order():
    values = np.arange(6.0).reshape(3, 2)
    points = xr.Dataset({"displacement": (("point", "time"), values)}, {"point": [1, 2, 3]})
    labels = xr.DataArray([0, 1, 1], {"point": [3, 2, 1]}, dims="point")
    assert displacement_profiles(points, labels)["mean"].values.tolist() == [[4, 5], [1, 2]]


def test_profiles_of_infinite_displacement_are_refused():
    points = xr.Dataset({"displacement": (("point", "time"), [[1, np.inf], [1, 2]])})
    with pytest.raises(ValueError, match="displacement of labeled points must be finite"):
        displacement_profiles(points, [0, 0])
    with pytest.raises(TypeError, match="points must be an xarray.Dataset, got DataArray"):
        displacement_profiles(points.displacement, [0, 0])


def test_labels_in_floats_with_nan_are_taken():
    named = {"pid": ("point", ["a", "b", "c"])}
    points = xr.Dataset({"displacement": (("point", "time"), np.ones((3, 2)))}, named)
    for labels in ([0, np.nan, 1.0], xr.DataArray([0.0, np.nan, 1.0], dims="point")):
        assert displacement_profiles(points, labels)["count"].values.tolist() == [1, 1]


def test_scale_may_be_out_of_the_range_of_float32(tmp_path):
    """The standard deviation of a rare feature near the smallest float32 underflows float32."""
    x = np.zeros((4000, 1), np.float32)
    x[::500] = np.finfo(np.float32).smallest_subnormal
    shards = write(tmp_path, np.repeat(x, 3, axis=1))
    model = fit(shards, 2)
    assert 0 < model.scale_[0] < np.finfo(np.float32).smallest_subnormal
    found, _ = labeled(shards, model)
    assert np.unique(found[::500]).size == 1
    assert adjusted_rand_score(x[:, 0] > 0, found) == 1


def test_centers_far_from_zero_have_the_precision_of_float64(tmp_path):
    x = np.repeat(np.array([[1e9], [1e9 + 1024]], np.float32), 400, axis=0)
    model = fit(write(tmp_path, np.repeat(x, 3, axis=1)), 2)
    np.testing.assert_allclose(
        np.sort(model.cluster_centers_[:, 0]), x[[0, -1], 0], rtol=0, atol=0.1
    )
