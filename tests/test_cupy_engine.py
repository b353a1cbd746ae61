"""The CuPy engine: scenes in host and device memory, streaming, Dask chunks, and errors."""

import builtins
import importlib.util
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from cookbook_utils.interimage import (
    InterImageKMeans,
    cupy_engine,
    cupy_kernels,
    numpy_kernels,
    selection,
)
from cookbook_utils.interimage.arithmetic import DTYPES, FixedPoint, Scores
from cookbook_utils.interimage.scenes import read_scenes
from cookbook_utils.stacking import stack_pixels

from . import host_cuda
from .test_interimage import assert_same, make_series


@pytest.fixture(scope="module", autouse=True)
def cupy():
    """Return CuPy where there is a GPU, otherwise its stand-in."""
    with host_cuda.stand_in() as module:
        if module is None:
            pytest.skip(host_cuda.NO_CUPY)
        yield module


@pytest.fixture
def streamed(monkeypatch):
    """Leave no device memory for pixels of the host, cut small chunks, and return transfers."""
    monkeypatch.setattr(cupy_engine, "PIXEL_SHARE_OF_MEMORY", 0)
    monkeypatch.setattr(cupy_engine, "BYTES_PER_CHUNK", 5000)
    sent = []
    one = cupy_engine._ChunkStream._apply

    def count(self, which, values, part, function):
        sent.append((which, part))
        return one(self, which, values, part, function)

    monkeypatch.setattr(cupy_engine._ChunkStream, "_apply", count)
    return sent


@pytest.fixture
def change_kernels(monkeypatch):
    """Return a function that replaces text in the source of the kernels."""
    read = Path.read_text

    def change(right, wrong):
        assert right in read(Path(cupy_kernels.__file__).with_name("kernels.cu"))
        monkeypatch.setattr(Path, "read_text", lambda path: read(path).replace(right, wrong))
        cupy_kernels._compiled.cache_clear()

    yield change
    cupy_kernels._compiled.cache_clear()


def on_gpu(cupy, scene):
    return scene.copy(data=cupy.asarray(scene.values))


def on_host(labels):
    if isinstance(labels, list):
        return [on_host(one) for one in labels]
    values = labels.data if isinstance(labels, xr.DataArray) else labels
    return values.get()


def kmeans(n_clusters, **options):
    """Return the estimator with a random seed, so that all engines start alike."""
    return InterImageKMeans(n_clusters, **{"random_state": 0, **options})


def reference(scenes, k, **options):
    return kmeans(k, engine="numpy", **options).fit(scenes)


def assert_equal_fits(cupy, expected, model):
    """Do as `assert_same`, with labels in device memory."""
    model.labels_ = on_host(model.labels_)
    assert_same(expected, model)


@pytest.mark.filterwarnings("ignore:.* clusters are empty")
@pytest.mark.parametrize("k", [255, 300, 1000])
def test_labels_of_many_clusters(cupy, k, streamed):
    scene = make_series(1)[0]
    options = {"init": np.random.default_rng(k).uniform(4000, 40000, (k, 4)), "max_iter": 3}
    expected = reference(scene, k, tol=0, **options)
    assert expected.labels_.dtype == ("uint8" if k == 255 else "uint16")
    there = on_gpu(cupy, scene)
    assert_same(expected, kmeans(k, engine="cupy", tol=0, **options).fit(scene))  # in chunks
    model = kmeans(k, tol=0, **options).fit(there)
    assert model.labels_.dtype == expected.labels_.dtype
    assert_equal_fits(cupy, expected, model)
    assert_array_equal(on_host(model.predict(there)), expected.labels_)


# -- scenes in device memory ----------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "cupy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scenes_in_device_memory_stay_there(cupy, dtype, engine):
    scenes = make_series(dtype=dtype)
    given = [on_gpu(cupy, scene) for scene in scenes]
    model = kmeans(5, engine=engine).fit(given)
    for labels, scene in zip(model.labels_, scenes, strict=True):
        assert isinstance(labels.data, cupy.ndarray)
        assert labels.dtype == np.uint8
        assert labels.name == "label"
        xr.testing.assert_equal(
            labels.coords.to_dataset(), scene.isel(band=0, drop=True).coords.to_dataset()
        )
    assert isinstance(model.cluster_centers_, np.ndarray)
    assert isinstance(model.counts_, np.ndarray)
    predicted = model.predict(given)
    expected = reference(scenes, 5)
    assert_equal_fits(cupy, expected, model)
    for labels, right in zip(on_host(predicted), expected.labels_, strict=True):
        assert_array_equal(labels, right)


@pytest.mark.parametrize(
    "options",
    [{"sample": 0.3}, {"sample": 0.3, "sampling": "random"}, {"init": "midpoint"},
     {"empty": "farthest", "n_clusters": 30}, {"n_clusters": 1}, {"criterion": "shift"}],
    ids=str,
)  # fmt: skip
def test_options_on_the_gpu(cupy, options):
    scenes = make_series(dtype="float32", seed=1)
    options = {"n_clusters": 6, "random_state": 3, **options}
    expected = kmeans(engine="numpy", **options).fit(scenes)
    model = kmeans(**options).fit([on_gpu(cupy, scene) for scene in scenes])
    assert_equal_fits(cupy, expected, model)


def test_pixels_in_device_memory_are_read_in_place(cupy):
    values = cupy.asarray(np.arange(40, dtype="uint16").reshape(2, 4, 5))
    scene = xr.DataArray(values, dims=("band", "y", "x"))
    blocks = cupy_engine.CupyEngine(read_scenes(scene)[0])
    before = blocks._blocks[0][0].get()
    values[0, 0, 0] = 999
    assert before[0, 0] == 0
    assert blocks._blocks[0][0].get()[0, 0] == 999


@pytest.mark.parametrize(
    "dtype", ["int32", "bool", pytest.param("float16", marks=pytest.mark.slow)]
)
def test_other_dtypes_are_converted_on_the_gpu(cupy, dtype, streamed):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2 if dtype == "bool" else 200, (3, 60, 50)).astype(dtype)
    scene = xr.DataArray(values, dims=("band", "y", "x"))
    if dtype == "int32":
        scene = scene.assign_attrs(_FillValue=7)
    expected = reference(scene, 3)
    assert_same(expected, kmeans(3, engine="cupy").fit(scene))
    assert_equal_fits(cupy, expected, kmeans(3).fit(on_gpu(cupy, scene)))


def test_a_nodata_value_that_the_dtype_cannot_hold_marks_nothing(cupy):
    values = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    scene = xr.DataArray(values, dims=("band", "y", "x"), attrs={"_FillValue": -9999})
    labels = kmeans(2).fit(on_gpu(cupy, scene)).labels_
    assert (on_host(labels) != 255).all()


def test_a_stack_of_scenes_and_a_list_in_both_memories(cupy):
    scenes = [scene.isel(y=slice(40), x=slice(48)) for scene in make_series(3)]
    expected = reference(scenes, 4)
    bare = [scene.drop_vars(["time", "y", "x"]) for scene in scenes]
    stack = xr.concat(bare, "time").transpose("y", "band", "time", "x")
    labels = kmeans(4).fit(on_gpu(cupy, stack)).labels_
    assert labels.dims == ("y", "time", "x")
    assert isinstance(labels.data, cupy.ndarray)
    for number in range(3):
        assert_array_equal(labels.data.get()[:, number], expected.labels_[number])

    mixed = kmeans(4).fit([scenes[0], on_gpu(cupy, scenes[1]), scenes[2]]).labels_
    assert isinstance(mixed[0].data, np.ndarray)
    assert isinstance(mixed[1].data, cupy.ndarray)
    assert_array_equal(mixed[1].data.get(), expected.labels_[1])
    assert_array_equal(mixed[2], expected.labels_[2])


def test_tables_in_device_memory(cupy):
    table = stack_pixels(make_series(1)[0]).values
    model = kmeans(4).fit(cupy.asarray(table))
    assert isinstance(model.labels_, cupy.ndarray)
    assert model.labels_.dtype == np.int32
    assert_array_equal(model.labels_.get(), reference(table, 4).labels_)
    assert_array_equal(model.predict(cupy.asarray(table)).get(), model.labels_.get())
    assert_array_equal(model.predict(table), model.labels_.get())


def test_bad_input_in_device_memory_is_refused(cupy):
    model = kmeans(2)
    with pytest.raises(NotFittedError):
        model.predict(cupy.asarray(np.ones((3, 2))))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(cupy.asarray(np.array([[1.0], [np.nan], [2.0]])))
    with pytest.raises(ValueError, match="finite numbers .* got inf"):
        model.fit(cupy.asarray(np.array([[1.0], [np.inf], [2.0]])))
    with pytest.raises(ValueError, match=r"X must be a table .* got an array of shape \(3,\)"):
        model.fit(cupy.asarray(np.array([1.0, 2.0, 3.0])))
    with pytest.raises(ValueError, match="at least n_clusters=2 valid pixels, got n_samples=1"):
        model.fit(cupy.asarray(np.array([[1.0]])))
    with pytest.raises(
        ValueError, match=r"X must have at least one sample and feature, got shape \(0, 2\)"
    ):
        model.fit(cupy.asarray(np.ones((0, 2))))
    with pytest.raises(TypeError, match="real numbers, got dtype complex64"):
        model.fit(cupy.asarray(np.ones((3, 2), "complex64")))
    model.fit(cupy.asarray(np.arange(12.0).reshape(6, 2)))
    with pytest.raises(
        ValueError, match="X must have the 2 bands that the model was fitted on, got 3"
    ):
        model.predict(cupy.asarray(np.ones((3, 3))))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_host_engines_refuse_pixels_in_device_memory(cupy, engine):
    table = cupy.asarray(np.ones((3, 2)))
    with pytest.raises(ValueError, match=f"'cupy' or 'auto' for CuPy arrays, got '{engine}'"):
        kmeans(2, engine=engine).fit(table)


# -- streaming ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"sample": 0.4}, {"init": "midpoint"}, {"k": 30}])
def test_streaming_does_not_change_a_bit(dtype, options, streamed):
    scenes = make_series(dtype=dtype)
    options = {"random_state": 2, "empty": "farthest", "max_iter": 9, **options}
    k = options.pop("k", 6)
    model = kmeans(k, engine="cupy", **options).fit(scenes)
    assert all(isinstance(labels.data, np.ndarray) for labels in model.labels_)
    assert {which for which, _ in streamed} == {0, 1}
    assert_same(reference(scenes, k, **options), model)
    for one, two in zip(model.predict(scenes), model.labels_, strict=True):
        assert_array_equal(one, two)


def test_only_pixels_that_do_not_fit_are_transferred_again(streamed):
    scenes = make_series()
    fit = {"max_iter": 4, "tol": 0, "engine": "cupy", "init": "midpoint"}
    kmeans(6, **fit).fit(scenes)
    again = len(streamed)
    streamed.clear()
    cupy_engine.PIXEL_SHARE_OF_MEMORY = 0.5  # the fixture restores it
    kmeans(6, **fit).fit(scenes)
    chunks = len(streamed)
    # Once for loading, for the range, for each of four iterations, for the last labels and for
    # their distances.
    assert again == (1 + 1 + 4 + 1 + 1) * chunks


def test_any_memory_layout_of_the_host_is_transferred(streamed):
    scene = make_series(1, dtype="float32")[0]
    expected = reference(scene, 5)
    rows = scene.transpose("y", "x", "band")
    rows = rows.copy(data=np.ascontiguousarray(rows.values)).transpose("band", "y", "x")
    swapped = scene.astype(">f4")
    read_only = scene.copy()
    read_only.values.setflags(write=False)
    for other in (rows, swapped, read_only):
        assert_same(expected, kmeans(5, engine="cupy").fit(other))


def test_infinity_in_a_late_chunk_is_refused(streamed):
    scene = make_series(1, dtype="float32")[0]
    scene[3, -1, -1] = np.inf
    with pytest.raises(ValueError, match="finite numbers .* got inf"):
        kmeans(3, engine="cupy").fit(scene)


# -- kernels --------------------------------------------------------------------------------


def fixed_point_of(values, labels):
    valid = values[:, labels != 255].astype(np.float64)
    return FixedPoint.of(valid.min(axis=1), valid.max(axis=1), values.dtype, valid.shape[1])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("k", "bands", "copies"), [(3, 6, 32), (60, 2, 8), (200, 2, 2), (255, 8, 1), (255, 20, 0)]
)
def test_kernels_agree_with_the_reference(cupy, dtype, k, bands, copies):
    assert cupy_kernels.shared_memory(k, bands + 1)[0] == copies
    rng = np.random.default_rng(k)
    values = rng.integers(0, 250, (bands, 4001)).astype(dtype)
    if dtype.kind == "f":
        values += rng.random(values.shape).astype(dtype)
    labels = np.where(rng.random(4001) < 0.1, 255, 0).astype(np.uint8)
    fixed_point = fixed_point_of(values, labels)
    there, theirs = cupy.asarray(values), cupy.asarray(labels)
    part = slice(13, 3990)
    # If centers lie close together, float64 decides which is the nearest.
    for step, spread in enumerate((125, 125, 1e-4)):
        centers = rng.uniform(125 - spread, 125 + spread, (k, bands))
        args = part, fixed_point, Scores.of(centers, dtype), step == 0
        expected = numpy_kernels.assign(values, labels, *args)
        found = cupy_kernels.assign(there, theirs, *args)
        assert found[0] == expected[0] > 0
        assert_array_equal(found[1], expected[1])
        assert_array_equal(found[2], expected[2])
        assert_array_equal(theirs.get(), labels)
        args = part, fixed_point, centers
        expected = numpy_kernels.sum_squared_distances(values, labels, *args)
        found = cupy_kernels.sum_squared_distances(there, theirs, *args)
        assert found[:2] == expected[:2]
        assert_array_equal(found.farthest, expected.farthest)


def test_of_equally_far_pixels_the_least_is_taken(cupy):
    values = np.zeros((2, 5000))
    values[:, 100], values[:, 2000], values[:, 4900] = (3, -4), (-3, 4), (-3, -4)
    labels = np.zeros(5000, np.uint8)
    fixed_point = fixed_point_of(values, labels)
    args = slice(0, 5000), fixed_point, np.zeros((1, 2))
    there = cupy.asarray(values)
    found = cupy_kernels.sum_squared_distances(there, cupy.asarray(labels), *args)
    assert fixed_point.squared_units(found.total) == 75
    assert (found.largest, found.farthest.tolist()) == (25, [-3, -4])
    nodata = cupy.asarray(np.full(5000, 255, np.uint8))
    found = cupy_kernels.sum_squared_distances(there, nodata, *args)
    assert (found.total, found.largest) == (0, -1)


def by_definition(values, labels, centers):
    """Return labels, sums and counts by definition, and the squared distance of each pixel."""
    squared = np.zeros((len(centers), labels.size))
    for band, at in zip(values.astype(np.float64), centers.T, strict=True):
        squared += (band - at[:, np.newaxis]) ** 2
    valid = labels != 255
    own = np.where(valid, squared.argmin(axis=0), 255).astype(np.uint8)
    fixed = np.zeros(values.shape, np.int64)
    fixed[:, valid] = fixed_point_of(values, labels).of_pixels(values[:, valid])
    sums = [[int(band[own == i].sum()) for band in fixed] for i in range(len(centers))]
    counts = np.bincount(own[valid], minlength=len(centers))
    return own, np.array(sums), counts, np.where(valid, squared.min(axis=0), -1)


def assert_by_definition(cupy, values, labels, centers):
    """Compare kernels with the reference and the definition, for two orders of the centers."""
    part, fixed_point = slice(0, labels.size), fixed_point_of(values, labels)
    there, theirs, ours = cupy.asarray(values), cupy.asarray(labels), labels.copy()
    sums = counts = 0
    for step in range(2):
        centers = np.roll(centers, 2 * step, axis=0)
        args = part, fixed_point, Scores.of(centers, values.dtype), step == 0
        found = cupy_kernels.assign(there, theirs, *args)
        expected = numpy_kernels.assign(values, ours, *args)
        for one, two in zip(found, expected, strict=True):
            assert_array_equal(one, two)
        sums, counts = sums + found[1], counts + found[2]
        own, own_sums, own_counts, squared = by_definition(values, labels, centers)
        for one, two in [(theirs.get(), own), (ours, own), (sums, own_sums), (counts, own_counts)]:
            assert_array_equal(one, two)
    args = part, fixed_point, centers
    found = cupy_kernels.sum_squared_distances(there, theirs, *args)
    expected = numpy_kernels.sum_squared_distances(values, ours, *args)
    assert found[:2] == expected[:2]
    assert_array_equal(found.farthest, expected.farthest)
    assert found.total == fixed_point.sum_of_squares(squared[squared >= 0])
    assert found.largest == squared.max()


def make_table(dtype, *, middle=0.2, spread=0.05, bands=5, n=3001, k=9, seed=0):
    """Return pixels around `middle`, some of them nodata, and the first `k` as centers."""
    rng = np.random.default_rng(seed)
    values = rng.normal(middle, spread, (bands, n)).astype(dtype)
    labels = np.where(rng.random(n) < 0.1, 255, 0).astype(np.uint8)
    labels[:k] = 0
    return values, labels, values[:, :k].T.astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outlier", [5, -20, 100, 1000, 1e6, 3e38])
def test_an_outlier_does_not_change_the_labels_of_others(cupy, dtype, outlier):
    values, labels, centers = make_table(dtype)
    values[2, [17, 2000]] = outlier
    labels[[17, 2000]] = 0
    assert_by_definition(cupy, values, labels, centers)  # far from all centers
    centers[4] = values[:, 17]
    assert_by_definition(cupy, values, labels, centers)  # one center is the outlier


def test_for_far_pixels_close_centers_are_equal_in_float64(cupy, change_kernels):
    """Scores differ, but distances in float64 are equal, so that the first center is taken."""
    values, labels, centers = make_table("float64", spread=1e-13)
    values[0, 100:200] = np.linspace(5, 100, 100)
    labels[100:200] = 0
    most = centers[:, 0].argmax()
    centers[0] = centers[most]
    centers[0, 0] = np.nextafter(centers[0, 0], 0)
    assert most > 0
    assert_by_definition(cupy, values, labels, centers)
    change_kernels(" && reach[j] <= (float)FARTHEST", "")
    with pytest.raises(AssertionError):
        assert_by_definition(cupy, values, labels, centers)


@pytest.mark.parametrize(
    ("dtype", "middle", "spread", "outlier"),
    [("uint8", 40, 5, 255), ("uint16", 700, 30, 65535), ("uint16", 65000, 99, 0),
     ("int16", -32000, 90, 32767), ("int16", 30, 9, -32768)],
)  # fmt: skip
def test_an_outlier_among_integers(cupy, dtype, middle, spread, outlier):
    values, labels, centers = make_table(dtype, middle=middle, spread=spread)
    values[:, 50] = outlier
    labels[50] = 0
    assert_by_definition(cupy, values, labels, centers)
    centers[0] = outlier
    assert_by_definition(cupy, values, labels, centers + 0.375)


@pytest.mark.parametrize(
    ("dtype", "middle", "spread"),
    [("float64", 2e59, 1e60), ("float64", -1e149, 1e149), ("float64", 0, 1e-150),
     ("float64", 0, 1e-160), ("float64", 0, 1e-165), ("float64", 1e-300, 1e-300),
     ("float32", 0, 5e37), ("float32", 0, 1e-38), ("float32", 0, 2e-44),
     ("float64", 1e15, 1), ("float64", -1e9, 1e-6), ("float32", 2e4, 0.5), ("float32", 1e30, 1e24)],
)  # fmt: skip
def test_any_scale_and_offset(cupy, dtype, middle, spread):
    assert_by_definition(cupy, *make_table(dtype, middle=middle, spread=spread))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("k", [1, 2, 255])
def test_one_center_and_255(cupy, dtype, k):
    assert_by_definition(cupy, *make_table(dtype, middle=90, spread=25, k=k))


def make_near_ties(dtype):
    """Return pixels halfway between two centers, or a few roundings away from it."""
    values, labels, centers = make_table(dtype, middle=3, spread=1, bands=3)
    halfway = (centers[1:] + centers[:-1]) / 2
    near = np.repeat(halfway, 300, axis=0).T.astype(dtype)
    steps = np.random.default_rng(1).integers(-3, 4, near.shape)
    values[:, 100 : 100 + near.shape[1]] = near + steps * np.spacing(near)
    return values, labels, centers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float64_decides_near_ties(cupy, dtype, change_kernels):
    values, labels, centers = make_near_ties(dtype)
    assert_by_definition(cupy, values, labels, centers)
    change_kernels("nearest_in_float64(values, stride, at, centers, k);", "nearest[j];")
    with pytest.raises(AssertionError):
        assert_by_definition(cupy, values, labels, centers)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_float32_decides_for_nearly_all_pixels(cupy, dtype, change_kernels):
    values, labels, centers = make_table(dtype, middle=120, spread=30)
    centers += 0.25
    centers = np.concatenate([centers, centers[:3]])  # copies take no pixels
    change_kernels("return nearest;", "return k - 1;")
    there, theirs = cupy.asarray(values), cupy.asarray(labels)
    scores = Scores.of(centers, values.dtype)
    args = slice(0, labels.size), fixed_point_of(values, labels), scores, True
    cupy_kernels.assign(there, theirs, *args)
    found, expected = theirs.get(), by_definition(values, labels, centers)[0]
    by_float32 = found != len(centers) - 1
    assert by_float32.mean() > 0.99
    assert_array_equal(found[by_float32], expected[by_float32])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_of_equal_centers_the_first_takes_the_pixels(cupy, dtype):
    values, labels, centers = make_table(dtype, middle=90, spread=25, k=6)
    assert_by_definition(cupy, values, labels, np.repeat(centers, 2, axis=0))
    assert_by_definition(cupy, values, labels, np.tile(centers, (3, 1)))
    assert_by_definition(cupy, values, labels, np.tile(centers[:1], (4, 1)))
    bits = -0.0, 0.0  # equal, but not in their bits
    assert_by_definition(cupy, values, labels, np.array([[bit] * 5 for bit in bits]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("held", [np.nan, np.inf, -9999, 3e38])
def test_values_of_nodata_pixels_do_not_count(cupy, dtype, held):
    values, labels, centers = make_table(dtype)
    values[:, labels == 255] = held
    assert_by_definition(cupy, values, labels, centers)
    values[1:, labels == 255] = 0.2
    assert_by_definition(cupy, values, labels, centers)


# -- Dask -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "float64"])
def test_chunks_in_device_memory(cupy, dtype):
    scenes = make_series(2, dtype=dtype)
    lazy = [
        scene.copy(data=da.from_array(scene.values, (2, 15, 20)).map_blocks(cupy.asarray))
        for scene in scenes
    ]
    options = {"sample": 0.5, "random_state": 1, "empty": "farthest"}
    model = kmeans(5, **options).fit(lazy)
    expected = reference(scenes, 5, **options)
    predicted = model.predict(lazy)[1].data.compute()
    model.labels_ = [labels.data.compute() for labels in model.labels_]
    assert isinstance(predicted, cupy.ndarray)
    assert_equal_fits(cupy, expected, model)
    assert_array_equal(predicted.get(), expected.labels_[1])


def test_dask_arrays_are_computed_for_the_gpu_if_asked(cupy):
    scene = make_series(1)[0]
    expected = reference(scene, 4)
    host = scene.chunk({"y": 13})
    assert_same(expected, kmeans(4, engine="cupy").fit(host))
    there = scene.copy(data=host.data.map_blocks(cupy.asarray))
    assert_equal_fits(cupy, expected, kmeans(4, engine="cupy").fit(there))
    for engine in ("numpy", "numba"):
        with pytest.raises(ValueError, match="engine must be 'cupy' or 'auto' for CuPy arrays"):
            kmeans(4, engine=engine).fit(there)


# -- which engine ---------------------------------------------------------------------------


def test_auto_takes_a_gpu_for_many_pixels(cupy, monkeypatch):
    scene = make_series(1)[0]
    used = []
    made = cupy_engine.CupyEngine.__init__
    monkeypatch.setattr(
        cupy_engine.CupyEngine, "__init__", lambda *args: used.append(1) or made(*args)
    )
    kmeans(3).fit(scene)
    assert not used
    monkeypatch.setattr(selection, "PIXELS_WORTH_A_GPU", scene[0].size)
    kmeans(3).fit(scene)
    assert used
    used.clear()
    monkeypatch.setattr(cupy_kernels, "why_unavailable", lambda: "no GPU")
    kmeans(3).fit(scene)
    assert not used


def test_without_cupy_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    real = builtins.__import__

    def fail(name, *args, **kwargs):
        if name.partition(".")[0] == "cupy":
            raise ImportError("No module named 'cupy'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(RuntimeError, match=r"No module named 'cupy'.*cupy-cuda12x\[ctk\]"):
        kmeans(2, engine="cupy").fit(np.ones((3, 2)))


def test_without_a_gpu_the_error_says_so(cupy, monkeypatch):
    def fail():
        raise cupy.cuda.runtime.CUDARuntimeError(100)

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", fail)
    with pytest.raises(RuntimeError, match="finds no GPU that it can use"):
        kmeans(2, engine="cupy").fit(np.ones((3, 2)))


def test_many_features_of_a_table(cupy):
    table = np.random.default_rng(0).normal(size=(700, 50)).astype("float32")
    expected = reference(table, 6)
    assert_array_equal(kmeans(6, engine="cupy").fit(table).labels_, expected.labels_)


# -- benchmark ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["k = 8", "k = 160"])
def test_the_calls_of_the_benchmark_find_the_same_centers(cupy, monkeypatch, number, tmp_path):
    from benchmarks import interimage_gpu

    assert interimage_gpu.device()["gpu"]
    monkeypatch.setattr(interimage_gpu, "ITERATIONS", 4)
    calls = interimage_gpu.COMPARISONS[number].calls()
    if importlib.util.find_spec("flash_kmeans") is None:
        with pytest.raises(ImportError):
            calls.pop("flash-kmeans").prepare(20_000, tmp_path)
    rows = {name: call.prepare(20_000, tmp_path)() for name, call in calls.items()}
    assert len(rows) >= 10
    assert all(row["seconds"] > 0 for row in rows.values())
    centers = {name: row["result"] for name, row in rows.items() if "result" in row}
    assert len(centers) >= 8
    ours = next(iter(centers.values()))
    for found in centers.values():
        assert np.abs(found - ours).max() < 0.5
