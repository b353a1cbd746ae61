"""Spectral clustering: agreement with dask-ml, prediction, clients, and invalid input."""

import gc
import io
import time
import tracemalloc
from unittest import mock

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.callbacks import Callback
from dask.diagnostics import ProgressBar
from dask_ml.cluster import SpectralClustering
from distributed import Client, LocalCluster, get_task_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from cookbook_utils import _nystroem, spectral
from cookbook_utils.scaling import standardize
from cookbook_utils.spectral import NystroemSpectralClustering
from cookbook_utils.stacking import stack_pixels, unstack_labels


def cluster(samples, n_clusters, **options):
    """Return the labels of a model fitted on samples, in memory."""
    return np.asarray(NystroemSpectralClustering(n_clusters, **options).fit_predict(samples))


def draw_as_dask_ml(sample, n_components, gamma, random_state):
    """Return the pixels that dask-ml draws for the same random state, which stand for the same."""
    random = np.random.RandomState(random_state)  # noqa: NPY002  the generator of dask-ml
    random.randint(np.iinfo("i4").max)  # the seed of its k-means comes first
    drawn = random.choice(len(sample), n_components, replace=False)
    return sample[np.sort(drawn)], np.full(n_components, 1 / n_components)


def make_classes(n_pixels, n_bands, n_classes, *, spread=0.4, seed=0):
    """Return pixels of well-separated classes in random order, with band means of 0, and truth."""
    rng = np.random.default_rng(seed)
    # Corners of a cube of side 2: no two centers are nearer than that, whatever the seed.
    corners = rng.choice(2**n_bands, n_classes, replace=False)
    centers = 2.0 * (corners[:, np.newaxis] >> np.arange(n_bands) & 1)
    truth = rng.permutation(np.arange(n_pixels) % n_classes)
    pixels = centers[truth] + spread * rng.normal(size=(n_pixels, n_bands))
    return pixels - pixels.mean(axis=0), truth


@pytest.fixture(scope="module")
def classes():
    return make_classes(20_000, 6, 4)


@pytest.fixture(scope="module")
def labels(classes):
    return cluster(classes[0], 4)


@pytest.fixture(scope="module")
def samples(classes):
    return xr.DataArray(
        classes[0],
        dims=("pixel", "band"),
        coords={"band": ["blue", "green", "red", "nir", "swir1", "swir2"]},
    )


@pytest.fixture(params=["threads", "processes"])
def client(request):
    processes = request.param == "processes"
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=processes,
            host="127.0.0.1" if processes else None,
            # Worker threads count the memory of this whole process, and would pause at the limit.
            memory_limit="700MiB" if processes else 0,
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_finds_the_classes(classes, labels):
    assert labels.shape == (20_000,)
    assert labels.dtype == np.int32
    assert adjusted_rand_score(classes[1], labels) > 0.99


@pytest.mark.slow
def test_agrees_with_dask_ml(classes, labels):
    model = SpectralClustering(n_clusters=4, random_state=0)
    plain = model.fit(da.from_array(classes[0], chunks=(5000, 6))).labels_.compute()
    assert adjusted_rand_score(plain, labels) >= 0.99
    same_gamma = cluster(classes[0], 4, gamma=model.gamma)
    assert adjusted_rand_score(plain, same_gamma) >= 0.99


@pytest.mark.parametrize("chunks", [(20_000, 6), (3000, 6), (7000, 2), ((1, 12_345, 7654), 1)])
def test_chunks_make_no_difference(samples, labels, chunks):
    assert_array_equal(cluster(da.from_array(samples.values, chunks), 4), labels)


def test_any_two_dimensional_input(samples, labels):
    lazy = samples.chunk(pixel=4096)
    flipped = lazy.transpose("band", "pixel")
    for same in (samples, lazy, flipped):
        assert_array_equal(cluster(same, 4), labels)


@pytest.mark.slow
def test_with_a_client(client, samples):
    with dask.config.set(scheduler="threads"):
        expected = cluster(samples, 4, n_components=40)
    with get_task_stream(client) as stream:
        for same in (samples.values, samples.chunk(pixel=9000, band=2).persist()):
            found = cluster(same, 4, n_components=40)
            gc.collect()
            time.sleep(0.5)  # until released futures, were there any, are forgotten
            assert_array_equal(found, expected)
    ran = {str(task["key"]) for task in stream.data}
    assert any("summarize" in key for key in ran), "the kernel did not run on the client"


@pytest.mark.slow
def test_errors_reach_the_caller_through_a_client(client, samples):
    with pytest.raises(ValueError, match="constant in band.s. red"):
        cluster(samples.where(samples.band != "red", 1).chunk(pixel=5000), 4)
    with pytest.raises(ValueError, match="got 300, which leaves"):
        cluster(samples.chunk(pixel=5000), 4, gamma=300, n_components=40)


def test_progress_bar_shows_the_work(samples):
    shown, tasks = io.StringIO(), []
    with ProgressBar(out=shown), Callback(posttask=lambda key, *_: tasks.append(key)):
        cluster(samples.chunk(pixel=5000), 4)
    assert "100% Completed" in shown.getvalue()
    assert len(tasks) > 5


def test_random_state_decides(samples, labels):
    overlapping, _ = make_classes(2000, 3, 3, spread=3)
    one, again, other = (cluster(overlapping, 3, random_state=seed) for seed in (1, 1, 2))
    assert_array_equal(one, again)
    assert (one != other).any()


def test_input_is_left_alone(samples):
    before = samples.copy(deep=True)
    cluster(samples, 4)
    xr.testing.assert_identical(samples, before)


@settings(deadline=None, max_examples=10)
@given(
    n_pixels=st.integers(60, 200),
    n_bands=st.integers(2, 5),
    n_classes=st.integers(2, 4),
    chunk=st.integers(1, 200),
    seed=st.integers(0, 1000),
)
def test_order_of_pixels_and_bands_makes_no_difference(n_pixels, n_bands, n_classes, chunk, seed):
    pixels, truth = make_classes(n_pixels, n_bands, n_classes, spread=0.05, seed=seed)
    order = np.random.default_rng(seed).permutation(n_pixels)
    shuffled = da.from_array(pixels[order][:, ::-1], chunks=(chunk, 1))
    for found in (
        cluster(pixels, n_classes, n_components=40)[order],
        cluster(shuffled, n_classes, n_components=40),
    ):
        assert found.shape == (n_pixels,)
        assert_array_equal(np.unique(found), np.arange(n_classes))
        assert adjusted_rand_score(truth[order], found) == 1


def test_from_scene_to_label_map():
    pixels, truth = make_classes(30 * 20, 4, 3, spread=0.1)
    scene = xr.DataArray(
        pixels.T.reshape(4, 30, 20),
        dims=("band", "y", "x"),
        coords={"band": list("abcd"), "y": np.arange(30.0)[::-1], "x": np.arange(20.0)},
    ).chunk(y=7)
    scene = scene.where((scene.x > 0) | (scene.band != "c"))  # a column with one band missing
    stacked = stack_pixels(scene)
    found = cluster(standardize(stacked, per_band=False), 3)
    label_map = unstack_labels(found, stacked, scene)
    assert (label_map.isel(x=0) == 255).all()
    seen = label_map.isel(x=slice(1, None)).values.ravel()
    assert adjusted_rand_score(truth.reshape(30, 20)[:, 1:].ravel(), seen) == 1


# -- more pixels than k-means is fitted on ------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch):
    """Treat 20 000 pixels as a scene that is too large for k-means and for one chunk."""
    monkeypatch.setattr(spectral, "MOST_FITTED", 3000)
    monkeypatch.setattr(spectral, "PIXELS_PER_CHUNK", 4096)


def test_labels_of_a_large_scene_are_those_of_the_whole(classes, labels, small_chunks):
    pixels, truth = classes
    found = cluster(pixels, 4)
    assert found.shape == (20_000,)
    assert found.dtype == np.int32
    assert adjusted_rand_score(labels, found) >= 0.99
    assert adjusted_rand_score(truth, found) > 0.99


@pytest.mark.slow
def test_a_large_scene_agrees_with_dask_ml(classes, small_chunks):
    plain = SpectralClustering(n_clusters=4, random_state=0, gamma=1 / 6)
    plain = plain.fit(da.from_array(classes[0], chunks=(5000, 6))).labels_.compute()
    assert adjusted_rand_score(plain, cluster(classes[0], 4)) >= 0.99


@pytest.mark.parametrize("chunks", [(20_000, 6), (3000, 6), ((1, 12_345, 7654), 1)])
def test_chunks_of_a_large_scene_make_no_difference(classes, small_chunks, chunks):
    model = NystroemSpectralClustering(4).fit(classes[0])
    lazy = NystroemSpectralClustering(4).fit(da.from_array(classes[0], chunks))
    assert isinstance(lazy.labels_, da.Array)
    assert lazy.labels_.dtype == np.int32
    assert lazy.labels_.shape == (20_000,)
    assert_array_equal(lazy.labels_.compute(), model.labels_)
    assert_array_equal(lazy.eigenvalues_, model.eigenvalues_)
    assert_array_equal(lazy.components_, model.components_)
    assert_array_equal(lazy.predict(classes[0]), model.labels_)


def test_degrees_are_those_of_all_pixels(classes, small_chunks):
    """And not of the sample of k-means."""
    with mock.patch.object(_nystroem, "draw", draw_as_dask_ml):
        model = NystroemSpectralClustering(4, n_components=50).fit(classes[0])
    drawn = model.components_
    assert (drawn[:, np.newaxis] == classes[0]).all(axis=2).any(axis=1).all()
    to_all = np.exp(-((drawn[:, np.newaxis] - classes[0]) ** 2).sum(axis=2) / 6)
    scale = 1 / np.sqrt(to_all.sum(axis=1))
    affinity = np.exp(-((drawn[:, np.newaxis] - drawn) ** 2).sum(axis=2) / 6)
    values = np.linalg.eigvalsh(scale[:, np.newaxis] * affinity * scale)[::-1]
    np.testing.assert_allclose(model.eigenvalues_[:4], 20_000 / 50 * values[:4])


@pytest.mark.parametrize("seed", range(10))
def test_a_small_group_is_part_of_the_sample(seed):
    """As in scenes with little water: 30 of 20 000 pixels, of which 100 uniform ones have none."""
    pixels, _ = make_classes(20_000, 4, 3, spread=0.1)
    pixels[::667] += 6
    rare = np.arange(20_000) % 667 == 0
    drawn, shares = _nystroem.draw(pixels, 100, 1 / 3, seed)
    assert shares.sum() == pytest.approx(1)
    (inside,) = np.nonzero((drawn > 3).all(axis=1))
    assert inside.size and (pixels[:, np.newaxis] == drawn[inside]).all(axis=2).any(axis=0).all()
    found = cluster(pixels, 4, random_state=seed)
    assert len(np.unique(found[rare])) == 1
    assert (found[~rare] != found[rare][0]).all()


def test_pixels_stand_for_those_that_are_nearest():
    pixels = np.repeat([[0.0, 0], [5, 0], [0, 9]], [700, 200, 100], axis=0)
    pixels = pixels + np.random.default_rng(0).normal(0, 0.01, pixels.shape)
    drawn, shares = _nystroem.draw(pixels, 3, 0.5, 0)
    assert sorted(shares) == [0.1, 0.2, 0.7]


def test_more_components_than_distinct_pixels():
    drawn, shares = _nystroem.draw(np.repeat([[0.0, 1], [2, 3]], 50, axis=0), 4, 0.5, 0)
    assert len(drawn) == 4 and sorted(shares) == [0, 0, 0.5, 0.5]


def test_pixels_far_from_all_others_are_drawn_no_more_often_the_farther_they_are():
    """With distances of the bands, they would take most of the sample of some real scenes."""
    pixels, _ = make_classes(20_000, 4, 3, spread=0.3)
    samples = []
    for distance in (30, 3000):
        pixels[::500] = distance * np.random.default_rng(0).normal(0, 1, (40, 4))
        drawn, _ = _nystroem.draw(pixels, 100, 1 / 4, 0)
        samples.append(np.abs(drawn).max(axis=1) > 12)
    assert_array_equal(*samples)


@pytest.mark.slow
def test_a_large_scene_with_a_client(client, classes, small_chunks):
    with dask.config.set(scheduler="threads"):
        expected = cluster(classes[0], 4, n_components=40)
    lazy = da.from_array(classes[0], chunks=(9000, 2))
    assert_array_equal(cluster(lazy, 4, n_components=40), expected)
    assert_array_equal(cluster(classes[0], 4, n_components=40), expected)


def test_values_outside_the_sample_are_checked(samples, small_chunks):
    bad = spoil(samples, np.nan, pixels=[5, 17, 19_999], band=2)
    for same in (bad, bad.chunk(pixel=3000)):
        with pytest.raises(ValueError, match="missing or infinite values in 3 of 20000 pixels"):
            cluster(same, 4)


def test_pixels_without_affinity_are_refused_on_compute(samples, small_chunks):
    drawn = NystroemSpectralClustering(4).fit(samples).components_
    (free,) = np.flatnonzero(~(samples.values[:, np.newaxis] == drawn).all(axis=2).any(axis=1))[:1]
    far = spoil(samples, 1e3, pixels=free)
    with pytest.raises(ValueError, match="which leaves 1 of .* without"):
        cluster(far, 4)
    with pytest.raises(ValueError, match="which leaves 1 of .* without"):
        NystroemSpectralClustering(4).fit(far.chunk(pixel=3000)).labels_.compute()


def test_labels_on_dask_are_lazy(samples, labels):
    model = NystroemSpectralClustering(4)
    read = []

    def touch(values):
        read.append(len(values))
        return values

    lazy = samples.copy(
        data=samples.chunk(pixel=5000).data.map_blocks(touch, meta=np.empty((0, 0)))
    )
    assert isinstance(model.fit(lazy).labels_, da.Array)
    assert len(read) == 4, "files are read once, if k-means is fitted on all pixels"
    assert_array_equal(model.labels_.compute(), labels)
    found = model.predict(lazy)
    assert isinstance(found, da.Array)
    assert len(read) == 4
    assert_array_equal(found.compute(), labels)
    bad = spoil(samples, np.inf, pixels=4).chunk(pixel=5000)
    with pytest.raises(ValueError, match="missing or infinite values in 1 of"):
        model.predict(bad).compute()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(small_chunks):
    """300 000 pixels take 14 MB as float64, and their affinities to 60 pixels 144 MB."""

    def make(block_info=None):
        (start, stop), _ = block_info[None]["array-location"]
        random = np.random.default_rng(start)
        return random.normal(size=(stop - start, 6)) + 9 * random.integers(
            2, size=(stop - start, 1)
        )

    lazy = da.map_blocks(make, chunks=((10_000,) * 30, (6,)), meta=np.empty((0, 0)))
    peaks = []
    for n_pixels in (30_000, 300_000):
        gc.collect()
        tracemalloc.start()
        with dask.config.set(scheduler="sync"):
            labels = NystroemSpectralClustering(2, n_components=60).fit(lazy[:n_pixels]).labels_
            sizes = [len(np.unique(block.compute())) for block in labels.blocks]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert set(sizes) == {2}
    assert peaks[1] < peaks[0] + 5e6


# -- attributes and prediction ----------------------------------------------------------------


def test_fitted_attributes(samples, labels):
    model = NystroemSpectralClustering(4)
    assert model.fit(samples) is model
    assert_array_equal(model.labels_, labels)
    assert model.gamma is None and model.gamma_ == 1 / 6
    assert model.n_features_in_ == 6
    assert_array_equal(model.feature_names_in_, samples.band)
    assert model.components_.shape == (100, 6)
    assert (model.components_[:, np.newaxis] == samples.values).all(axis=2).any(axis=1).all()
    assert model.eigenvalues_.shape == (100,)
    assert (np.diff(model.eigenvalues_) <= 0).all()
    model.fit(samples.values[:500])
    assert not hasattr(model, "feature_names_in_")


def test_eigenvalues_are_those_of_the_complete_matrix():
    """With all pixels but one in the sample."""
    pixels, _ = make_classes(150, 3, 3)
    affinity = np.exp(-((pixels[:, np.newaxis] - pixels) ** 2).sum(axis=2) / 3)
    degree = affinity.sum(axis=1)
    expected = np.linalg.eigvalsh(affinity / np.sqrt(np.outer(degree, degree)))[::-1]
    model = NystroemSpectralClustering(3, n_components=149).fit(pixels)
    np.testing.assert_allclose(model.eigenvalues_[:5], expected[:5], atol=0.01)


def test_the_embedding_is_that_of_dask_ml(classes):
    """Up to the signs of eigenvectors."""
    pixels = classes[0][:3000]

    class Keep(KMeans):
        def fit(self, embedding):
            self.embedding_ = np.asarray(embedding)
            self.labels_ = None
            return self

    rng = np.random.RandomState(3)  # noqa: NPY002  the generator of dask-ml
    rng.randint(np.iinfo("i4").max)  # `draw_as_dask_ml` does, too
    options = {"n_components": 50, "gamma": 0.5, "random_state": rng, "assign_labels": Keep(4)}
    theirs = SpectralClustering(4, **options).fit(da.from_array(pixels, chunks=(1000, 6)))
    expected = theirs.assign_labels_.embedding_
    with mock.patch.object(_nystroem, "draw", draw_as_dask_ml):
        model = NystroemSpectralClustering(4, gamma=0.5, n_components=50, random_state=3)
        found = model.fit(pixels)._embed(pixels)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-6)
    eigenvalues = theirs.eigenvalues_.compute() * len(pixels) / 50
    np.testing.assert_allclose(model.eigenvalues_[:4], eigenvalues)


@settings(deadline=None, max_examples=10)
@given(
    n_classes=st.integers(2, 4),
    spread=st.floats(0.05, 2),
    n_components=st.integers(10, 60),
    seed=st.integers(0, 1000),
)
def test_pixels_of_the_fit_keep_their_labels(n_classes, spread, n_components, seed):
    pixels, _ = make_classes(200, 3, n_classes, spread=spread, seed=seed)
    model = NystroemSpectralClustering(
        n_classes, n_components=n_components, random_state=seed, gamma=0.1
    ).fit(pixels)
    assert_array_equal(model.predict(pixels), model.labels_)
    # A label does not depend on the other pixels.
    assert_array_equal(model.predict(pixels[::3]), model.labels_[::3])
    assert_array_equal(model.predict(pixels[:1]), model.labels_[:1])


def test_other_pixels_get_the_label_of_their_class():
    pixels, truth = make_classes(2000, 4, 4)
    model = NystroemSpectralClustering(4, n_components=50).fit(pixels[:1000])
    for other in (pixels[1000:], da.from_array(pixels[1000:], chunks=(77, 3))):
        found = model.predict(other)
        assert found.dtype == np.int32
        assert adjusted_rand_score(truth[1000:], found) > 0.99


def test_prediction_with_named_bands(samples, labels):
    model = NystroemSpectralClustering(4).fit(samples)
    assert_array_equal(model.predict(samples.T.chunk(pixel=3000)), labels)
    frame = pd.DataFrame(samples.values, columns=samples.band.values)
    assert_array_equal(model.predict(frame), labels)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(samples.isel(band=slice(None, None, -1)))
    with pytest.raises(ValueError, match="X has 5 features, but .* is expecting 6"):
        model.predict(samples.drop_vars("band").isel(band=slice(5)))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert_array_equal(model.predict(samples.values), labels)


def test_prediction_refuses_what_it_cannot_label(samples):
    model = NystroemSpectralClustering(4).fit(samples)
    with pytest.raises(ValueError, match="infinite values in 1 of 20000 pixels"):
        model.predict(spoil(samples, np.nan, pixels=5, band=2))
    with pytest.raises(ValueError, match="which leaves 1 of 20000 without"):
        model.predict(spoil(samples, 1e3, pixels=5))
    with pytest.raises(NotFittedError):
        NystroemSpectralClustering(4).predict(samples)


REFUSED = "the package raises TypeError for anything but real numbers"
UNFIT = {
    "check_complex_data": REFUSED,
    "check_dtype_object": REFUSED,
    "check_methods_sample_order_invariance": "it sets n_components below n_clusters",
}


@parametrize_with_checks(
    [NystroemSpectralClustering(2, n_components=5)],
    expected_failed_checks=lambda _: UNFIT,
)
def test_scikit_learn_takes_it_for_an_estimator(estimator, check):
    check(estimator)


# -- invalid input ----------------------------------------------------------------------------


def spoil(samples, value, pixels=slice(None), band=slice(None)):
    samples = samples.copy(deep=True)
    samples[{"pixel": pixels, "band": band}] = value
    return samples


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(value=np.nan, pixels=[5, 17, 900], band=2),
            "missing or infinite values in 3 of 20000 pixels",
        ),
        (
            dict(value=-np.inf, pixels=[5], band=2),
            "missing or infinite values in 1 of 20000 pixels",
        ),
        (dict(value=np.nan, band=[1, 3]), r"no finite value in band\(s\) green, nir"),
        (dict(value=0.25, band=[4]), r"constant in band\(s\) swir1"),
    ],
)
def test_bad_values(samples, change, message, lazy):
    bad = spoil(samples, **change)
    with pytest.raises(ValueError, match=message):
        cluster(bad.chunk(pixel=3000) if lazy else bad, 4)


def test_bands_without_names_are_numbered(samples):
    with pytest.raises(ValueError, match=r"constant in band\(s\) 4, which"):
        cluster(spoil(samples, 0.25, band=4).values, 4)


@pytest.mark.parametrize("gamma", [0, -1.0, np.nan, np.inf])
def test_gamma_must_be_positive(samples, gamma):
    with pytest.raises(ValueError, match="gamma must be a finite number greater than 0, got"):
        cluster(samples, 4, gamma=gamma)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("gamma", "message"),
    [
        (1e6, "got 1e.06, which makes the affinity of every two pixels 0: use a smaller gamma"),
        (300.0, r"got 300, which leaves \d+ of 20000 without: use a smaller gamma"),
        (1e-18, "got 1e-18, which makes the affinity of every two pixels 1: use a larger gamma"),
    ],
)
def test_gamma_that_distinguishes_nothing(samples, gamma, message):
    with pytest.raises(ValueError, match=message):
        cluster(samples, 4, gamma=gamma)


def test_scale_that_zeroes_the_default_kernel(samples):
    with pytest.raises(ValueError, match=r"scaling\.standardize"):
        cluster((10_000 * samples).astype("int16"), 4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(n_clusters=0), ValueError, "n_clusters must be an integer of at least 1, got 0"),
        (dict(n_clusters=2.0), TypeError, "n_clusters must be an integer of at least 1, got 2.0"),
        (dict(n_clusters=True), TypeError, "n_clusters must be an integer of at least 1, got True"),
        (
            dict(n_clusters=51),
            ValueError,
            "X must have more than n_clusters=51 pixels, got n_samples=50",
        ),
        (dict(n_clusters=4), ValueError, "n_components must be an integer from 4 to 49, got 100"),
        (
            dict(n_clusters=4, n_components=50),
            ValueError,
            "n_components must be an integer from 4 to 49",
        ),
        (
            dict(n_clusters=4, n_components=3),
            ValueError,
            "n_components must be an integer from 4 to 49",
        ),
        (dict(n_clusters=4, n_components="9"), TypeError, "n_components must be an integer from 4"),
        (
            dict(n_clusters=4, n_components=9, gamma="1"),
            TypeError,
            "gamma must be a finite number greater than 0, got '1'",
        ),
    ],
)
def test_bad_options(samples, options, error, message):
    with pytest.raises(error, match=message):
        cluster(samples[:50], **options)


def test_as_many_clusters_as_components():
    pixels, truth = make_classes(60, 3, 3, spread=0.01)
    for n_components in (3, 59):
        assert len(cluster(pixels, 3, n_components=n_components)) == 60


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(10), "X must have two dimensions, .* got 1"),
        (da.zeros((6, 10, 10)), "X must have two dimensions, .* got 3"),
        (
            xr.DataArray(np.zeros((2, 3, 4)), dims=("band", "y", "x")),
            r"X must .* it lacks \['pixel'\]",
        ),
        (np.zeros((0, 6)), r"X must have at least one pixel and band, got .*\(0, 6\)"),
        (
            da.ones((9, 2))[da.ones(9) > 0],
            r"X must have a known shape, .* compute_chunk_sizes\(\)",
        ),
        (np.full((9, 2), "a"), "X must hold real numbers, got dtype <U1"),
    ],
)
def test_bad_shapes(samples, message):
    with pytest.raises((TypeError, ValueError), match=message):
        cluster(samples, 2)


@pytest.mark.filterwarnings("error")
def test_too_few_distinct_pixels():
    pixels = np.repeat([[0.0, 1.0], [1.0, 0.0]], 100, axis=0)
    with pytest.raises(ValueError, match="n_clusters must be .* got 3 where 2 were found"):
        cluster(pixels, 3, n_components=20)


def test_checks_come_before_the_long_work(samples, monkeypatch):
    def begin(*_):
        raise AssertionError("the long work has begun")

    monkeypatch.setattr(_nystroem, "eigenvectors", begin)
    for bad, gamma in ((spoil(samples, np.nan, pixels=3), None), (samples, 1e6)):
        with (
            pytest.raises(ValueError, match="X must|gamma must"),
            dask.config.set(scheduler="sync"),
        ):
            cluster(bad, 4, gamma=gamma)


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_declared_nodata_value_is_missing(key, dtype):
    pixels, _ = make_classes(60, 3, 3)
    samples = xr.DataArray((100 * pixels).astype(dtype), dims=("pixel", "band"), attrs={key: -9999})
    samples[[4, 7], 1] = -9999
    with pytest.raises(ValueError, match="missing or infinite values in 2 of 60 pixels"):
        cluster(samples, 3, n_components=20)


@pytest.mark.parametrize(
    "samples",
    [
        np.ma.masked_less(np.eye(9), 0.5),
        da.ma.masked_less(da.eye(9, chunks=3), 0.5),
        np.eye(9).astype(object),
        np.eye(9) * 1j,
        xr.Dataset({"a": (("pixel", "band"), np.eye(9))}),
    ],
)
def test_what_holds_no_real_numbers(samples):
    with pytest.raises(TypeError, match="^X must "):
        cluster(samples, 2, n_components=4)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, None, "1", np.random.default_rng(0)])
def test_random_state_must_be_a_seed(seed):
    with pytest.raises((TypeError, ValueError), match="random_state must be an integer from 0"):
        cluster(make_classes(60, 3, 3)[0], 3, n_components=20, random_state=seed)


@pytest.mark.parametrize("scale", [1e20, 1e140, 1e-20])
def test_a_scale_of_any_size_with_its_gamma(scale):
    pixels, truth = make_classes(90, 3, 3, spread=0.05)
    found = cluster(pixels * scale, 3, n_components=30, gamma=1 / 3 / scale / scale)
    assert adjusted_rand_score(truth, found) == 1
    with pytest.raises(ValueError, match="affinity of every two pixels"):
        cluster(pixels * scale, 3, n_components=30)


def test_a_common_offset_does_not_drown_the_distances():
    pixels, truth = make_classes(90, 3, 3, spread=0.05)
    found = cluster(pixels + 1e9, 3, n_components=30)
    assert adjusted_rand_score(truth, found) == 1


def test_values_whose_squares_overflow():
    pixels, _ = make_classes(60, 3, 3)
    with pytest.raises(ValueError, match="X must lie within .1e.150, got .*e.160"):
        cluster(pixels * 1e160, 3, n_components=20, gamma=1e-300)


@pytest.mark.parametrize("distance", [1e8, 1e9])
def test_groups_far_apart_keep_what_tells_pixels_apart_within_them(distance):
    """The formula x² − 2xy + y² cancels at distances of 1 between values of 1e9."""
    pixels, truth = make_classes(200, 3, 4, spread=0.05)
    truth = 2 * truth + np.arange(200) % 2
    pixels += distance * (np.arange(200) % 2)[:, np.newaxis]
    found = cluster(pixels, len(np.unique(truth)), n_components=60)
    assert adjusted_rand_score(truth, found) == 1
