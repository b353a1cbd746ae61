from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import confusion_matrix, jaccard_score, silhouette_score

from cookbook_utils import metrics
from cookbook_utils.stacking import stack_pixels, unstack_labels

from .factories import make_labels, make_scene

pytestmark = pytest.mark.filterwarnings("error")

# -- agreement ---------------------------------------------------------------------------------

maps = st.lists(st.sampled_from([0, 1, 255]), min_size=12, max_size=12).map(
    lambda values: make_labels(np.reshape(values, (3, 4)))
)


@given(maps, maps)
@settings(max_examples=50, deadline=None)
def test_intersection_over_union_against_sklearn(mask, reference):
    valid = ((mask != 255) & (reference != 255)).values
    a, b = mask.values[valid], reference.values[valid]
    if not valid.any():
        with pytest.raises(ValueError, match="valid in both, got none"):
            metrics.intersection_over_union(mask, reference)
    elif not (a.any() or b.any()):
        with pytest.raises(ValueError, match=f"have a 1 among the {a.size} pixels valid in both"):
            metrics.intersection_over_union(mask, reference)
    else:
        result = metrics.intersection_over_union(mask, reference.transpose())
        assert result == pytest.approx(jaccard_score(a, b))


def test_agreement_needs_one_grid():
    one, two = make_labels([[0, 1], [1, 1]]), make_labels([[0, 1], [1, 1]], left=0)
    for function in (
        metrics.intersection_over_union, metrics.label_change, metrics.transition_matrix
    ):  # fmt: skip
        with pytest.raises(ValueError, match="grids must be equal, got different x.*regrid"):
            function(one, two)
    with pytest.raises(ValueError, match="after must have the shape of before"):
        metrics.label_change([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="after must have the dimensions"):
        metrics.label_change(one, one.isel(x=0))


AGREEMENT = [metrics.intersection_over_union, metrics.label_change, metrics.transition_matrix]


@pytest.mark.parametrize("function", AGREEMENT)
@pytest.mark.parametrize("chunks", [None, 1])
def test_agreement_of_maps_as_files_store_them(function, chunks):
    one, two = make_labels([[0, 1, 1], [255, 1, 0]]), make_labels([[0, 1, 0], [1, 1, 255]])
    floats = two.where(two != 255).astype("float32").drop_attrs(deep=False)
    moved = floats.assign_coords(x=two.x + 1e-9, y=two.y.astype("float32")).transpose()
    declared = two.astype("int16").where(two != 255, -9).assign_attrs(_FillValue=-9)
    for other in (floats, moved, declared):
        other = other if chunks is None else other.chunk(chunks)
        assert np.array_equal(function(one, other), function(one, two))
        assert np.array_equal(function(other, one), function(two, one))


@pytest.mark.parametrize("function", AGREEMENT)
def test_agreement_follows_the_pixel_coordinate(function):
    one = xr.DataArray([0, 0, 1, 1], dims="pixel", coords={"pixel": [2, 4, 6, 8]})
    two = one.copy(data=[0, 1, 1, 1])
    assert np.array_equal(function(one, two[[3, 1, 0, 2]]), function(one, two))
    with pytest.raises(ValueError, match="must have .* pixel"):
        function(one, two.assign_coords(pixel=[2, 4, 6, 9]))
    with pytest.raises(ValueError, match="must have .* pixel"):
        function(one, two[:3])


@pytest.mark.parametrize("function", AGREEMENT)
def test_agreement_refuses_wrong_types(function):
    labels = make_labels([[0, 1], [1, 0]])
    for wrong in (None, "map", labels.astype(str), labels * 1j, np.ma.masked_equal([[0, 1]], 1)):
        with pytest.raises(TypeError, match=" must "):
            function(labels, wrong)
        with pytest.raises(TypeError, match=" must "):
            function(wrong, labels)
    with pytest.raises(ValueError, match=" must be whole numbers .* got -1"):
        function(labels, labels.astype(int) - 1)


def test_label_change():
    assert metrics.label_change([0, 1, 2, 2], [0, 2, 2, 1]) == 0.5
    assert metrics.label_change(np.array([3, 255]), np.array([3, 1])) == 0
    one, two = make_labels([[0, 1], [2, 255]]), make_labels([[1, 1], [2, 2]])
    assert metrics.label_change(one.chunk(1), two) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="valid in both, got none of 2"):
        metrics.label_change([255, 0], [0, 255])
    assert metrics.label_change([0.0, np.nan, 2.0], [1.0, 1.0, 2.0]) == 0.5
    with pytest.raises(ValueError, match="before must be whole numbers from 0 to 254.* got 0.5"):
        metrics.label_change([0.5], [1.0])


def test_label_change_aligns_samples_by_their_pixels():
    samples = stack_pixels(make_scene())
    labels = samples.isel(band=0, drop=True).copy(data=np.arange(30))
    assert metrics.label_change(labels, labels[::-1]) == 0
    assert metrics.label_change(labels[::2], labels) == 0
    with pytest.raises(ValueError, match="after must have a value for each pixel"):
        metrics.label_change(labels, labels[::2])


def test_label_change_of_maps_however_they_were_stored():
    one = make_labels([[0, 1], [2, 255]])
    as_floats = one.astype("f4").where(one != 255).assign_coords(x=one.x + 1e-9)
    other = one.astype("i8").where(one != 255, -1).assign_attrs(_FillValue=-1)
    assert metrics.label_change(one, as_floats) == metrics.label_change(other, one) == 0
    assert metrics.label_change(other, one.values) == 0
    dates = np.array(["2017", "2018"], "M8[ns]")
    series = xr.concat([one, (one + 1).astype("u1").where(one != 255, 255)], "time").assign_coords(
        time=dates
    )
    assert metrics.label_change(series, series[::-1]) == 0
    with pytest.raises(ValueError, match="after must have a value for each time"):
        metrics.label_change(series, series.assign_coords(time=dates + np.timedelta64(1, "D")))


@pytest.mark.parametrize(
    "wrong",
    [np.ma.masked_equal([0, 1], 1), da.ma.masked_equal(da.arange(2), 1), ["a", "b"], [1j, 0], None,
     np.array([0, 1], object), make_labels([[0, 1]]).to_dataset()],
)  # fmt: skip
def test_label_change_of_what_is_no_number(wrong):
    with pytest.raises(TypeError, match="^before must "):
        metrics.label_change(wrong, [0, 1])
    with pytest.raises(TypeError, match="^after must "):
        metrics.label_change([0, 1], wrong)


def test_transition_matrix():
    rng = np.random.default_rng(0)
    before = make_labels(rng.choice([0, 2, 5, 255], (20, 30)))
    after = make_labels(rng.choice([1, 2, 255], (20, 30)))
    after.attrs |= {"flag_values": [0, 1, 2], "flag_meanings": "sand water crops"}
    result = metrics.transition_matrix(before, after)
    assert list(result.index) == [0, 2, 5]
    assert list(result.columns) == ["sand", "water", "crops"]
    valid = ((before != 255) & (after != 255)).values
    full = confusion_matrix(before.values[valid], after.values[valid], labels=range(6))
    np.testing.assert_array_equal(result, full[[0, 2, 5]][:, :3])


# -- clusters ----------------------------------------------------------------------------------


@pytest.fixture
def clustered():
    """Return samples of four clusters of very different size, their labels and centers."""
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(i, 0.3, (n, 3)) for i, n in enumerate([300, 80, 15, 5])]
    ).astype("float32")
    rng.shuffle(values)
    model = KMeans(4, n_init=5, random_state=0).fit(values)
    samples = xr.DataArray(
        values, dims=("pixel", "band"), coords={"band": ["red", "nir", "swir1"]},
        attrs={"units": "1"},
    ).assign_coords(wavelength=("band", [0.65, 0.86, 1.6]))  # fmt: skip
    return samples, model.labels_, model.cluster_centers_


@pytest.mark.parametrize("chunks", [None, {"pixel": 37, "band": 1}])
def test_cluster_profiles_against_pandas(clustered, chunks):
    samples, labels, _ = clustered
    samples = samples if chunks is None else samples.chunk(chunks)
    groups = pd.DataFrame(samples.values.astype(float)).groupby(labels)
    for numbers in (labels, da.from_array(labels, chunks=11), xr.DataArray(labels, dims="pixel")):
        profiles = metrics.cluster_profiles(samples, numbers)
        np.testing.assert_allclose(profiles["mean"], groups.mean(), rtol=1e-10)
        np.testing.assert_allclose(profiles["std"], groups.std(ddof=0), rtol=1e-10)
        np.testing.assert_array_equal(profiles["count"], groups.size())
        assert profiles["mean"].dims == ("cluster", "band")
        assert profiles["mean"].attrs == {"units": "1"}
        np.testing.assert_array_equal(profiles["wavelength"], samples["wavelength"])


def test_cluster_profiles_keep_small_deviations():
    values = 60_000 + np.random.default_rng(0).normal(0, 1e-3, (1000, 1))
    profile = metrics.cluster_profiles(xr.DataArray(values, dims=("pixel", "band")), [7] * 1000)
    assert profile["cluster"].item() == 7
    assert profile["std"].item() == pytest.approx(values.std(), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e140])
def test_cluster_profiles_know_no_unit(clustered, scale):
    samples, labels, _ = clustered
    samples = samples.astype("f8") - samples.mean("pixel")
    expected = metrics.cluster_profiles(samples, labels) * scale
    beside = xr.concat([samples * scale, samples], "pixel")  # clusters differ in magnitude
    found = metrics.cluster_profiles(beside, np.concatenate([labels, labels + 4]))
    for name in ("mean", "std"):
        np.testing.assert_allclose(found[name][:4], expected[name], rtol=1e-9)


@pytest.mark.parametrize("chunks", [None, 2])
def test_cluster_profiles_of_a_scene_are_those_of_its_samples(chunks):
    scene = make_scene(chunks=chunks)
    scene = scene.where(scene.x > scene.x[1])
    samples = stack_pixels(scene)
    labels = np.arange(samples.sizes["pixel"]) % 3
    of_samples = metrics.cluster_profiles(samples, labels)
    of_scene = metrics.cluster_profiles(
        scene.transpose("x", "band", "y"), unstack_labels(labels, samples, scene)
    )
    for name in ("mean", "std"):
        np.testing.assert_allclose(of_scene[name], of_samples[name], rtol=1e-12)
    np.testing.assert_array_equal(of_scene["count"], of_samples["count"])


def test_cluster_profiles_refuse():
    scene = make_scene()
    samples = stack_pixels(scene)
    with pytest.raises(ValueError, match=r"samples, \{'pixel': 30\}, got \{'pixel': 29\}"):
        metrics.cluster_profiles(samples, np.zeros(29, int))
    with pytest.raises(ValueError, match="from 0 to 254, and 255 for nodata, got -1"):
        metrics.cluster_profiles(samples, np.array([-1] + [0] * 29))
    with pytest.raises(ValueError, match="labels must be 1-D for samples"):
        metrics.cluster_profiles(scene, np.zeros(30, int))
    with pytest.raises(ValueError, match="labels must have the dimensions"):
        metrics.cluster_profiles(samples, make_labels(np.zeros((5, 6))))
    with pytest.raises(ValueError, match="grids must be equal"):
        metrics.cluster_profiles(scene, make_labels(np.zeros((5, 6)), left=0))
    with pytest.raises(ValueError, match="labels must be whole numbers"):
        metrics.cluster_profiles(samples, np.full(30, 0.5))
    with pytest.raises(ValueError, match="has both a label and all its bands"):
        metrics.cluster_profiles(samples, np.full(30, 255))


@pytest.mark.parametrize("chunks", [None, {"pixel": 37, "band": 1}])
def test_simplified_silhouette_against_the_formula(clustered, chunks):
    samples, labels, centers = clustered
    distances = np.linalg.norm(samples.values[:, None] - centers, axis=2)
    own = distances[np.arange(len(labels)), labels]
    distances[np.arange(len(labels)), labels] = np.inf
    other = distances.min(axis=1)
    expected = np.mean((other - own) / np.maximum(own, other))
    samples = samples if chunks is None else samples.chunk(chunks)
    result = metrics.simplified_silhouette(samples, labels, centers)
    assert result == pytest.approx(expected, abs=1e-6)


def test_simplified_silhouette_edges():
    samples = xr.DataArray([[0.0], [1.0], [5.0]], dims=("pixel", "band"))
    # A cluster of one pixel scores 0, not 1 as a = 0 would give.
    first, second = (5 - 0.5) / 5, (4 - 0.5) / 4
    assert metrics.simplified_silhouette(samples, [0, 0, 1], [[0.5], [5.0]]) == pytest.approx(
        (first + second) / 3
    )
    # Coincident centers do not cause a division of zero by zero.
    assert metrics.simplified_silhouette(samples[:2] * 0, [0, 0], [[0.0], [0.0]]) == 0


def test_simplified_silhouette_refuses(clustered):
    samples, labels, centers = clustered
    with pytest.raises(ValueError, match=r"at least 2 clusters, 3 bands\), got \(1, 3\)"):
        metrics.simplified_silhouette(samples, labels, centers[:1])
    with pytest.raises(ValueError, match=r"got \(4, 2\)"):
        metrics.simplified_silhouette(samples, labels, centers[:, :2])
    with pytest.raises(ValueError, match="a row among the 3 centers, got 3"):
        metrics.simplified_silhouette(samples, labels, centers[:3])
    with pytest.raises(ValueError, match="has both a label and all its bands"):
        metrics.simplified_silhouette(samples, labels * 0 + 255, centers)


@pytest.mark.parametrize("chunks", [None, {"pixel": 37, "band": 1}])
def test_sampled_silhouette_is_exact_when_all_are_drawn(clustered, chunks):
    samples, labels, _ = clustered
    chunked = samples if chunks is None else samples.chunk(chunks)
    expected = silhouette_score(samples.values, labels)
    assert metrics.sampled_silhouette(chunked, labels, n_samples=400) == pytest.approx(expected)


def test_sampled_silhouette_keeps_small_clusters_and_weighs_them_rightly(clustered):
    samples, labels, _ = clustered
    expected = silhouette_score(samples.values, labels)
    estimates = [
        metrics.sampled_silhouette(samples, labels, n_samples=100, random_state=seed)
        for seed in range(20)
    ]
    assert np.mean(estimates) == pytest.approx(expected, abs=0.03)
    assert np.std(estimates) < 0.05
    assert estimates[3] == metrics.sampled_silhouette(
        samples, labels, n_samples=100, random_state=3
    )


def test_sampled_silhouette_refuses(clustered):
    samples, labels, _ = clustered
    with pytest.raises(
        ValueError, match="n_samples for 4 clusters must be an integer of at least 8"
    ):
        metrics.sampled_silhouette(samples, labels, n_samples=7)
    with pytest.raises(ValueError, match="at least 2 clusters, .* got 1 with 400"):
        metrics.sampled_silhouette(samples, labels * 0)


@pytest.fixture
def measures(clustered):
    """Return every function of samples and labels with these two as its only parameters."""
    samples, labels, centers = clustered
    return [
        lambda x, y: metrics.cluster_profiles(x, y)["mean"].values,
        lambda x, y: metrics.simplified_silhouette(x, y, centers),
        lambda x, y: metrics.sampled_silhouette(x, y, n_samples=1000),
    ]


@pytest.mark.parametrize("chunks", [None, {"pixel": 37, "band": 1}])
def test_missing_samples_and_labels_are_left_out(clustered, measures, chunks):
    samples, labels, _ = clustered
    gone = labels == 1
    floats = np.where(gone, np.nan, labels)
    integers = np.where(gone, 255, labels)
    declared = xr.DataArray(np.where(gone, -1, labels), dims="pixel", attrs={"nodata": -1})
    lacking = samples.copy(deep=True).assign_attrs(missing_value=-9999)
    lacking[gone, 2] = -9999
    for measure in measures:
        expected = measure(samples[~gone], labels[~gone])
        for x, y in [
            (samples, floats), (samples, integers), (samples, declared), (lacking, labels),
            (samples.where(~xr.DataArray(gone, dims="pixel")), labels),
        ]:  # fmt: skip
            x = x if chunks is None else x.chunk(chunks)
            np.testing.assert_allclose(measure(x, y), expected, rtol=1e-6)


@pytest.mark.parametrize("chunks", [None, {"pixel": 37, "band": 1}])
def test_labels_are_matched_to_samples_by_coordinates(clustered, measures, chunks):
    samples, labels, _ = clustered
    samples = samples.assign_coords(pixel=np.random.default_rng(1).permutation(400))
    named = xr.DataArray(labels, dims="pixel", coords={"pixel": samples["pixel"]})
    x = samples if chunks is None else samples.chunk(chunks)
    for measure in measures:
        np.testing.assert_allclose(measure(x, named.sortby("pixel")), measure(x, labels))
        with pytest.raises(ValueError, match="labels must have a value for each pixel"):
            measure(x, named[1:])


@pytest.mark.parametrize("chunks", [None, {"pixel": 37, "band": 1}])
def test_infinite_samples_and_wrong_labels(clustered, measures, chunks):
    samples, labels, _ = clustered
    infinite = samples.copy(deep=True)
    infinite[7, 1] = np.inf
    infinite = infinite if chunks is None else infinite.chunk(chunks)
    huge = samples.astype("f8") * 1e160
    for measure in measures:
        with pytest.raises(ValueError, match="samples must be finite and within .*, got inf"):
            measure(infinite, labels)
        with pytest.raises(ValueError, match="samples must be finite and within .*, got .*1"):
            measure(huge, labels)
        for wrong, found in [(labels - 1, "-1"), (labels + 0.5, r"\d\.5"), (labels + 300, "30")]:
            with pytest.raises(ValueError, match=f"labels must be whole numbers .* got {found}"):
                measure(samples, wrong)
        for wrong in (labels.astype(str), labels.astype(object), labels * 1j, None,
                      np.ma.masked_equal(labels, 1)):  # fmt: skip
            with pytest.raises(TypeError, match="^labels must "):
                measure(samples, wrong)
        for wrong in (samples.values, samples.to_dataset(name="a"), samples.astype(object), None):
            with pytest.raises(TypeError, match="^samples must "):
                measure(wrong, labels)
        with pytest.raises(ValueError, match="samples must have a size of at least 1"):
            measure(samples[:, :0], labels)


def test_profiles_carry_no_nodata_value(clustered):
    samples, labels, _ = clustered
    samples = samples.assign_attrs(_FillValue=0, nodata=-9999)
    for name in ("mean", "std"):
        assert metrics.cluster_profiles(samples, labels)[name].attrs == {"units": "1"}


def test_series_of_label_maps_are_matched_to_scenes_by_time():
    dates = np.array(["2017", "2018"], "M8[ns]")
    scenes = xr.concat([make_scene(), make_scene(seed=1)], "time").assign_coords(time=dates)
    one = make_labels(np.arange(30).reshape(5, 6) % 3)
    maps = xr.concat([one, (one + 1).astype("u1")], "time").assign_coords(time=dates)
    expected = metrics.cluster_profiles(scenes, maps)
    xr.testing.assert_identical(metrics.cluster_profiles(scenes, maps[::-1]), expected)
    again = maps.assign_coords(x=maps.x + 1e-9)
    xr.testing.assert_allclose(metrics.cluster_profiles(scenes.chunk(2), again), expected)
    with pytest.raises(ValueError, match="labels must have a value for each time"):
        metrics.cluster_profiles(scenes, maps[:1])


def test_centers_are_matched_to_labels_by_cluster(clustered):
    samples, labels, _ = clustered
    numbers = labels * 10 + 3
    means = metrics.cluster_profiles(samples, numbers)["mean"]
    expected = metrics.simplified_silhouette(samples, labels, means.values)
    for centers in (means, means.T, means[::-1]):
        assert metrics.simplified_silhouette(samples, numbers, centers) == pytest.approx(expected)
    for wrong, message in [
        (means[:, ::-1], "centers must have the bands of the samples"),
        (means[:2], "labels must each have a row among the 2 centers, got"),
        (means.assign_coords(cluster=[3, 3, 13, 23]), "clusters must have one center each"),
        (means * np.nan, "centers must be finite and within .* got nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            metrics.simplified_silhouette(samples, numbers, wrong)
    for wrong in (None, "x", np.ma.masked_less(means.values, 0.5), means.astype(complex),
                  means.assign_coords(cluster=list("abcd"))):  # fmt: skip
        with pytest.raises(TypeError, match="^(centers|clusters) must "):
            metrics.simplified_silhouette(samples, numbers, wrong)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e140])
def test_silhouettes_know_no_unit(clustered, scale):
    samples, labels, centers = clustered
    samples, centers = samples.astype("f8"), centers.astype("f8")
    assert metrics.sampled_silhouette(samples * scale, labels) == pytest.approx(
        metrics.sampled_silhouette(samples, labels)
    )
    assert metrics.simplified_silhouette(samples * scale, labels, centers * scale) == pytest.approx(
        metrics.simplified_silhouette(samples, labels, centers)
    )


def test_simplified_silhouette_of_values_far_larger_than_the_centers():
    samples = xr.DataArray([[0.0], [1e-200], [1e150]], dims=("pixel", "band"))
    score = metrics.simplified_silhouette(samples, [0, 1, 1], [[0], [1e-200]])
    assert score == pytest.approx(1 / 3)


def test_a_common_offset_leaves_the_silhouette_as_it_is(clustered):
    samples, labels, _ = clustered
    samples = samples.astype("f8")
    assert metrics.sampled_silhouette(samples + 1e9, labels) == pytest.approx(
        metrics.sampled_silhouette(samples, labels), abs=1e-6
    )


def test_sampled_silhouette_without_a_cluster_of_two(clustered):
    samples, _, _ = clustered
    with pytest.raises(ValueError, match="one of them of 2 pixels or more, got 9 with 9 valid"):
        metrics.sampled_silhouette(samples[:9], np.arange(9))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (dict(n_samples=5.0), TypeError),
        (dict(n_samples="9"), TypeError),
        (dict(n_samples=0), ValueError),
        (dict(random_state=-1), ValueError),
        (dict(random_state=None), TypeError),
        (dict(random_state="a"), TypeError),
    ],
)
def test_sampled_silhouette_checks_its_options(clustered, options, error):
    samples, labels, _ = clustered
    with pytest.raises(error, match="^(n_samples|random_state) must be an integer"):
        metrics.sampled_silhouette(samples, labels, **options)


def test_clusters_far_apart_keep_their_silhouette():
    """Distances of 1 at an offset of 1e9 would cancel in x² − 2xy + y²."""
    rng = np.random.default_rng(0)
    near = np.concatenate([rng.normal(0, 0.1, (50, 2)), rng.normal(1, 0.1, (50, 2))])
    values, labels = np.concatenate([near, near + 1e9]), np.repeat([0, 1, 2, 3], 50)
    samples = xr.DataArray(values, dims=("pixel", "band"))
    alone = metrics.sampled_silhouette(samples[:100], labels[:100])
    assert metrics.sampled_silhouette(samples, labels) == pytest.approx(alone, abs=1e-5)
