"""Labels are the nearest centers by definition in float64, for any pixels; invalid input."""

import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.utils.estimator_checks import parametrize_with_checks

from cookbook_utils.interimage import InterImageKMeans, numba_kernels, numpy_kernels
from cookbook_utils.interimage.arithmetic import DTYPES, FixedPoint, Scores
from cookbook_utils.stacking import stack_pixels

from .factories import BANDS, make_scene


def nearest_by_definition(pixels, centers):
    """Return labels of pixels (bands, n) for `centers` (k, bands), by a plain loop."""
    labels = []
    for pixel in pixels.T.astype(np.float64).tolist():
        squared = []
        for center in centers.tolist():
            total = 0.0
            for x, c in zip(pixel, center, strict=True):
                total += (x - c) * (x - c)
            squared.append(total)
        labels.append(squared.index(min(squared)))
    return np.array(labels, np.uint8)


def labels_of(kernels, pixels, centers):
    labels = np.zeros(pixels.shape[1], np.uint8)
    fixed_point = FixedPoint.without_sums(len(pixels))
    scores = Scores.of(centers, pixels.dtype)
    kernels.assign(pixels, labels, slice(0, labels.size), fixed_point, scores, True)
    return labels


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_labels_are_the_nearest_centers(data):
    """Any dtype, offset and scale, outliers, and centers that are equal or nearly equal."""
    dtype = data.draw(st.sampled_from(DTYPES))
    bands = 2 if dtype in ("uint8", "float64") else 6  # each pair of both is compiled
    k = data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n = 800
    base = rng.uniform(0, 1, (bands, n))
    if dtype.kind == "f":
        offset = data.draw(st.sampled_from([0, 0, 1, -1e3, 1e7]))
        scales = [1, 1e-4, 1e-30, 1e30] + [1e60, 1e140, 1e-150] * (dtype == np.float64)
        pixels = ((base + offset) * data.draw(st.sampled_from(scales))).astype(dtype)
        outlier = data.draw(st.sampled_from([1, 5, 100, 1e3, 1e6]))
    else:
        limits = np.iinfo(dtype)
        width = data.draw(st.sampled_from([3, 100, limits.max - limits.min]))
        start = data.draw(st.integers(limits.min, limits.max - width))
        pixels = (start + base * width).astype(dtype)
        outlier = 1
        pixels[:, :2] = data.draw(st.sampled_from([limits.min, limits.max, start]))
    pixels[rng.integers(bands), rng.integers(0, n, 5)] *= dtype.type(outlier)
    centers = pixels[:, rng.integers(0, n, k)].T.astype(np.float64)
    if data.draw(st.booleans()):  # centers between pixels, at equal distance from both
        centers = centers / 2 + pixels[:, rng.integers(0, n, k)].T.astype(np.float64) / 2
    if data.draw(st.booleans()):  # some differ in the last digits
        centers = np.where(rng.random(centers.shape) < 0.5, centers[:1], centers)
        centers *= 1 + rng.integers(-3, 4, centers.shape) * 2.0**-52
    expected = nearest_by_definition(pixels, centers)
    assert_array_equal(labels_of(numpy_kernels, pixels, centers), expected)
    assert_array_equal(labels_of(numba_kernels, pixels, centers), expected)


def reflectance(n=40_000, seed=0, bands=6):
    """Return a table (n, bands) float32 of six covers near 0.2, as in scenes of a coast."""
    rng = np.random.default_rng(seed)
    covers = rng.uniform(0.02, 0.35, (6, bands))
    return (covers[rng.integers(0, 6, n)] + rng.normal(0, 0.02, (n, bands))).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("outlier", [5, 20, 100, 1000, 1e6])
@pytest.mark.parametrize("engine", ["numpy", "numba", "dask"])
def test_one_outlier_leaves_the_other_labels_right(engine, outlier):
    table = reflectance()
    table[77] = outlier
    model = InterImageKMeans(12, engine=engine, random_state=0).fit(table)
    assert_array_equal(model.labels_, nearest_by_definition(table.T, model.cluster_centers_))
    squared = (table.astype(np.float64) - model.cluster_centers_[model.labels_]) ** 2
    assert_allclose(model.inertia_, squared.sum(), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e60, 1e-150, 1e-30])
def test_pixels_of_any_scale_are_clustered_alike(scale):
    table = reflectance(5000).astype(np.float64)
    expected = InterImageKMeans(6, random_state=0).fit(table)
    found = InterImageKMeans(6, random_state=0).fit(table * scale)
    assert np.mean(found.labels_ == expected.labels_) > 0.999
    assert_allclose(found.inertia_, expected.inertia_ * scale**2, rtol=1e-6)


@pytest.mark.parametrize("value", [1e151, -1e200, np.inf])
def test_values_that_float64_cannot_square_are_refused(value):
    scene = make_scene().astype(np.float64)
    scene[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"pixels of X \(2.* must be finite numbers of at most 1e"):
        InterImageKMeans(2, random_state=0).fit(scene)
    with pytest.raises(ValueError, match="pixels must have a band with a range of at least 1e-153"):
        InterImageKMeans(2, random_state=0).fit(make_scene().astype(np.float64) * 1e-160)


@pytest.mark.parametrize("engine", ["numpy", "dask"])
def test_the_scene_with_an_infinite_pixel_is_named(engine):
    days = np.array(["2020-06-01", "2021-06-01"], "M8[ns]")
    series = xr.concat([make_scene(), make_scene()], xr.Variable("time", days)).astype(np.float32)
    series[1, 1, 2, 3] = np.inf
    model = InterImageKMeans(2, random_state=0, engine=engine)
    with pytest.raises(ValueError, match=r"^pixels of X \(2021-06-01\) must be .*, got inf$"):
        model.fit(series)
    with pytest.raises(ValueError, match=r"^pixels of scene 1 of X \(2021-06-01\) must be "):
        model.fit(list(series))
    with pytest.raises(ValueError, match=r"^pixels of scene 1 of X must be "):
        model.fit(list(series.drop_vars("time")))


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@pytest.mark.parametrize("engine", ["numpy", "numba", "dask"])
def test_integers_that_float64_rounds_are_refused(engine, dtype):
    rng = np.random.default_rng(0)
    scene = xr.DataArray(rng.integers(0, 9, (2, 20, 30)).astype(dtype), dims=("band", "y", "x"))
    model = InterImageKMeans(3, engine=engine, random_state=0).fit(scene)
    for X in (scene + 2**60, scene.values.reshape(2, -1).T + np.array(2**60, dtype)):
        with pytest.raises(ValueError, match=r"at most 2\*\*53 in size, or nodata, got 11529215"):
            model.fit(X)
    marked = scene.copy()
    marked[:, 3, 4] = 2**63 - 1
    model.fit(marked.assign_attrs(_FillValue=2**63 - 1))
    assert model.labels_[3, 4] == 255


@pytest.mark.parametrize("init", ["k-means++", "midpoint"])
def test_an_outlier_beside_which_others_are_equal_is_refused(init):
    """An example is the fill value of NetCDF, 9.96921e36, if no attribute declares it."""
    scene = make_scene(bands=BANDS[:4], ny=200, nx=200)
    scene[:, 3, 4] = 9.96921e36
    with pytest.raises(
        ValueError, match="must be free of outliers so large .* declare them as nodata"
    ):
        InterImageKMeans(3, init=init, random_state=0).fit(scene)
    model = InterImageKMeans(3, init=init, n_init=1, max_iter=2, random_state=0)
    model.fit(scene.assign_attrs(_FillValue=9.96921e36))


# -- the start ------------------------------------------------------------------------------


def test_the_default_start_is_robust_to_an_outlier():
    table = reflectance()
    table[5, 2] = 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = InterImageKMeans(8, random_state=0).fit(table)
    peer = KMeans(8, n_init=4, random_state=0).fit(table)
    assert model.inertia_ <= 1.05 * peer.inertia_
    with pytest.warns(UserWarning, match=r"[67] of 8 clusters are empty"):
        InterImageKMeans(8, init="midpoint").fit(table)


def test_more_starts_are_no_worse():
    table = reflectance(seed=3)
    inertia = [InterImageKMeans(9, n_init=n, random_state=0).fit(table).inertia_ for n in (1, 10)]
    assert inertia[1] <= inertia[0] * 1.001


def test_the_start_does_not_depend_on_engine_or_chunks():
    rng = np.random.default_rng(1)
    values = rng.normal(0.2, 0.05, (4, 200, 310))
    scene = make_scene(values, bands=BANDS[:4], ny=200, nx=310)
    options = {"n_init": 3, "max_iter": 20, "random_state": 3}
    expected = InterImageKMeans(7, engine="numpy", **options).fit(scene)
    for engine, pixels in (("numba", scene), ("dask", scene.chunk(band=2, y=100, x=77))):
        found = InterImageKMeans(7, engine=engine, **options).fit(pixels)
        assert_array_equal(found.cluster_centers_, expected.cluster_centers_)
        assert_array_equal(found.labels_, expected.labels_)


def test_the_start_finds_groups_within_groups_far_apart():
    rng = np.random.default_rng(0)
    near = np.concatenate([rng.normal(i, 0.05, (500, 2)) for i in range(6)])
    table = np.concatenate([near, near + 1e9])
    for seed in range(5):
        model = InterImageKMeans(12, n_init=1, max_iter=1, random_state=seed).fit(table)
        assert_array_equal(model.counts_, np.full((1, 12), 500))


# -- nodata, bands and units ----------------------------------------------------------------


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
def test_nodata_values_of_floats_are_nodata(key):
    scene = make_scene()
    expected = InterImageKMeans(3, random_state=0).fit(scene.where(scene.x > scene.x[1]))
    marked = scene.where(scene.x > scene.x[1], -9999).assign_attrs({key: -9999.0})
    found = InterImageKMeans(3, random_state=0).fit(marked)
    assert_array_equal(found.labels_, expected.labels_)
    assert_array_equal(found.cluster_centers_, expected.cluster_centers_)


def test_nodata_in_a_table_is_refused():
    values = [[0.0, 0], [1, 1], [9, 9], [-9999, -9999]]
    table = xr.DataArray(values, dims=("pixel", "band"), attrs={"_FillValue": -9999})
    for X in (table, table.chunk(pixel=2)):
        with pytest.raises(ValueError, match="X must be a table without NaN and nodata"):
            InterImageKMeans(2, random_state=0).fit(X)


def test_an_infinite_value_in_a_nodata_pixel_is_nodata_in_any_order_of_bands():
    for bands in ([0, 1], [1, 0]):
        scene = make_scene()
        scene[bands[0], 0, 0], scene[bands[1], 0, 0] = np.nan, np.inf
        assert InterImageKMeans(2, random_state=0).fit(scene).labels_[0, 0] == 255


def test_integers_after_a_fit_of_floats_give_a_warning():
    scene = make_scene().drop_attrs()
    model = InterImageKMeans(2, random_state=0).fit(scene)
    with pytest.warns(UserWarning, match="holds integers"):
        model.predict((scene * 10_000).astype("uint16"))


def test_bands_must_have_the_names_and_order_of_the_fit():
    scene = make_scene()
    model = InterImageKMeans(3, random_state=0).fit(scene.assign_coords(band=range(6)))
    assert not hasattr(model, "feature_names_in_")
    with pytest.raises(ValueError, match="must have the bands of the pixels of fit in their order"):
        model.predict(scene.assign_coords(band=range(6)).isel(band=slice(None, None, -1)))
    with pytest.warns(UserWarning, match="X has no names of its bands"):
        model.predict(scene.drop_vars("band"))


def test_columns_must_have_the_names_and_order_of_the_fit():
    table = pd.DataFrame(reflectance(200), columns=[2, 3, 4, 5, 6, 7])
    model = InterImageKMeans(3, random_state=0).fit(table)
    assert_array_equal(model.predict(table), model.labels_)
    with pytest.raises(ValueError, match="bands of the pixels of fit in their order"):
        model.predict(table[[3, 2, 4, 5, 6, 7]])
    named = table.set_axis(list("abcdef"), axis=1)
    model.fit(named)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(named[list("bacdef")])
    samples = xr.DataArray(table.values, dims=("pixel", "band"), coords={"band": list("abcdef")})
    with pytest.raises(ValueError, match="bands of the pixels of fit in their order"):
        model.predict(samples.assign_coords(band=list("bacdef")))
    model.fit(table.values)
    assert not hasattr(model, "feature_names_in_")


def test_scenes_in_different_units_are_refused():
    one = make_scene()
    numbers = (one * 10_000).astype("uint16").assign_attrs(units="digital number")
    for other in (numbers, numbers.assign_attrs(units="1", scale_factor=1e-4)):
        with pytest.raises(ValueError, match="scene 1 must hold values of the same kind"):
            InterImageKMeans(3, random_state=0).fit([one, other])
    bare = [array.drop_attrs() for array in (one, numbers)]
    with pytest.raises(ValueError, match="scene 1 must hold values of the same kind as scene 0"):
        InterImageKMeans(3, random_state=0).fit(bare)
    model = InterImageKMeans(3, random_state=0).fit(one)
    with pytest.raises(ValueError, match="same kind as the pixels of fit, units=1"):
        model.predict(numbers)
    with pytest.warns(UserWarning, match="no units or scale"):
        model.predict(one.drop_attrs())
    with pytest.warns(UserWarning, match=r"scenes \[0\] lie in one cluster each"):
        InterImageKMeans(2, random_state=0).fit([one.drop_attrs(), one.drop_attrs() * 1e4])


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (make_scene().to_dataset("band"), TypeError, "got a Dataset.*to_dataarray"),
        ([make_scene().to_dataset("band")], TypeError, "got a Dataset"),
        ([make_scene(), make_scene().values], TypeError, "a list of DataArrays only"),
        (make_scene().values, ValueError, "got an array of shape"),
        (make_scene().rename(y="latitude", x="longitude"), ValueError, "rename"),
        (make_scene().isel(band=[]), ValueError, "size of at least 1"),
        (make_scene().expand_dims("time").isel(time=[]), ValueError, "size of at least 1"),
        (make_scene().isel(band=0), ValueError, "lacks"),
        (make_scene().astype(complex), TypeError, "real numbers"),
        (make_scene().astype(str), TypeError, "real numbers"),
        (np.ma.masked_less(reflectance(50), 0.1), TypeError, "without a mask"),
    ],
)
def test_input_that_is_no_scene_or_table_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        InterImageKMeans(2, random_state=0).fit(X)


def test_dask_gives_numpy_labels_for_numpy_pixels():
    model = InterImageKMeans(3, engine="dask", random_state=0).fit(reflectance(300))
    assert isinstance(model.labels_, np.ndarray)
    assert isinstance(model.predict(reflectance(300)), np.ndarray)
    assert isinstance(model.fit(make_scene()).labels_.data, np.ndarray)


@pytest.mark.slow
@parametrize_with_checks(
    [
        InterImageKMeans(engine="dask"),
        InterImageKMeans(engine="numba", n_init=1),
        InterImageKMeans(init="midpoint", criterion="shift", empty="farthest"),
        InterImageKMeans(sample=0.9, sampling="random"),
    ]
)
def test_is_a_scikit_learn_estimator_in_all_configurations(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("chunks", [None, 7])
def test_predict_accepts_named_samples_without_a_warning(chunks):
    samples = stack_pixels(make_scene())
    samples = samples if chunks is None else samples.chunk(pixel=chunks)
    model = InterImageKMeans(2, random_state=0).fit(samples)
    assert_array_equal(model.feature_names_in_, samples.band)
    assert_array_equal(model.predict(samples), model.labels_)


@pytest.mark.parametrize("columns", [list("abcdef"), range(6)])
def test_arrays_without_names_give_one_warning(columns):
    table = reflectance(200)
    model = InterImageKMeans(3, random_state=0).fit(pd.DataFrame(table, columns=columns))
    with pytest.warns(UserWarning) as warned:
        assert_array_equal(model.predict(table), model.labels_)
    assert len(warned) == 1


TABLE = reflectance(60)
CUBE = make_scene().values
LAZY = da.from_array(TABLE, chunks=20)
OBJECTS = np.array([["x"], [None]], object)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([], ValueError, "got an empty list"),
        ([CUBE, CUBE], ValueError, "got a list of ndarray with 3 dimensions: xarray.DataArray"),
        ((CUBE, CUBE[:, :3]), ValueError, "got a list of ndarray with 3 dimensions"),
        ([TABLE, TABLE], ValueError, "got a list of ndarray with 2 dimensions"),
        ([[1, 2], [3]], ValueError, r"X must be an array of numbers, got \[\[1, 2\], \[3\]\]"),
        ([1, 2, 3], ValueError, r"got an array of shape \(3,\): Reshape your data"),
        ([["a"], ["b"]], TypeError, "X must hold real numbers, got dtype <U1"),
        (np.array([["2020"], ["2021"]], "M8[D]"), TypeError, "real numbers, got dtype datetime64"),
        (OBJECTS, ValueError, "X must hold real numbers, got objects: could not convert"),
        (LAZY[LAZY[:, 0] > 0.1], ValueError, r"X must have a known shape.*compute_chunk_sizes\(\)"),
        (pd.DataFrame({"a": ["1", "2"]}), TypeError, "X must hold real numbers .* in column 'a'"),
        (pd.DataFrame(TABLE[:, :2], columns=["a", "a"]), ValueError, "each column once, got 'a'"),
        (pd.DataFrame(), ValueError, r"at least one sample and feature, got shape \(0, 0\)"),
        (np.array([[1.0], [np.inf]]), ValueError, "pixels of X must be finite numbers .* got inf"),
        (np.array([[1.0], [np.nan]]), ValueError, "X must be a table without NaN and nodata"),
        (np.matrix([[1.0], [2.0]]), TypeError, "X must be a dense array, got a matrix: give X.A"),
        (csr_array(TABLE), TypeError, r"got a sparse array: give X.toarray\(\)"),
        (pd.DataFrame(TABLE[:, :2], columns=["a", 1]), TypeError, "or all not, got the column 1"),
    ],
)
def test_input_that_is_no_table_is_refused(X, error, message):
    with pytest.raises(error, match=message) as refused:
        InterImageKMeans(2, random_state=0).fit(X)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("seed", [-1, 2**40, "a", True, 1.5, np.random.default_rng(0)])
def test_the_random_state_is_checked(seed):
    for options in ({}, {"init": "midpoint"}):
        with pytest.raises((TypeError, ValueError), match="^random_state must be an integer from"):
            InterImageKMeans(2, random_state=seed, **options).fit(TABLE)


def test_the_random_state_may_be_a_generator():
    fits = [InterImageKMeans(4, random_state=np.random.RandomState(3)) for _ in range(2)]  # noqa: NPY002
    assert_array_equal(fits[0].fit_predict(TABLE), fits[1].fit_predict(TABLE))


def test_the_number_of_starts_is_limited():
    with pytest.raises(ValueError, match="n_init must be an integer from 1 to 1000"):
        InterImageKMeans(2, n_init=10**9, random_state=0).fit(TABLE)


@pytest.mark.parametrize("value", [10**400, [[1], [2, 3]], {"a": 1}])
@pytest.mark.parametrize("key", ["_FillValue", "scale_factor"])
def test_attributes_that_are_not_numbers_are_refused(key, value):
    with pytest.raises(ValueError, match="of an array must be a number that float64 can hold"):
        InterImageKMeans(2, random_state=0).fit(make_scene().assign_attrs({key: value}))
