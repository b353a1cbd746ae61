"""The engine for GPUs: scenes on both sides, streaming, Dask chunks, and what it refuses."""

import builtins
import sys

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from cookbook_utils.interimage import InterImageKMeans, cupy_engine, estimator, numpy_engine
from cookbook_utils.interimage.arithmetic import DTYPES, Arithmetic
from cookbook_utils.stacking import stack_pixels

from . import host_cuda
from .test_interimage import assert_same, make_series


@pytest.fixture(scope="module", autouse=True)
def cupy():
    """The stand-in; `test_gpu` puts CuPy in its place."""
    with host_cuda.stand_in() as module:
        if module is None:
            pytest.skip(host_cuda.NO_STAND_IN)
        yield module


@pytest.fixture
def streamed(monkeypatch):
    """A GPU that has no room for pixels of the host, and small chunks; return those sent."""
    monkeypatch.setattr(cupy_engine, "ROOM", 0)
    monkeypatch.setattr(cupy_engine, "CHUNK", 5000)
    sent = []
    one = cupy_engine._Chunks._one

    def count(self, which, values, part, function):
        sent.append((which, part))
        return one(self, which, values, part, function)

    monkeypatch.setattr(cupy_engine._Chunks, "_one", count)
    return sent


def on_gpu(cupy, scene):
    return scene.copy(data=cupy.asarray(scene.values))


def on_host(labels):
    if isinstance(labels, list):
        return [on_host(one) for one in labels]
    values = labels.data if isinstance(labels, xr.DataArray) else labels
    return values.get()


def reference(scenes, k, **options):
    return InterImageKMeans(k, engine="numpy", **options).fit(scenes)


def assert_equal_fits(cupy, expected, model):
    """As `assert_same`, with labels of the GPU."""
    model.labels_ = on_host(model.labels_)
    assert_same(expected, model)


# -- scenes of the GPU ------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "cupy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scenes_of_the_gpu_stay_there(cupy, dtype, engine):
    scenes = make_series(dtype=dtype)
    given = [on_gpu(cupy, scene) for scene in scenes]
    model = InterImageKMeans(5, engine=engine).fit(given)
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
    [{"sample": 0.3}, {"sample": 0.3, "sampling": "random"}, {"init": "k-means++"},
     {"empty": "farthest", "n_clusters": 30}, {"n_clusters": 1}, {"criterion": "shift"}],
    ids=str,
)  # fmt: skip
def test_options_on_the_gpu(cupy, options):
    scenes = make_series(dtype="float32", seed=1)
    options = {"n_clusters": 6, "random_state": 3, **options}
    expected = InterImageKMeans(engine="numpy", **options).fit(scenes)
    model = InterImageKMeans(**options).fit([on_gpu(cupy, scene) for scene in scenes])
    assert_equal_fits(cupy, expected, model)


def test_pixels_of_the_gpu_are_read_in_place(cupy):
    values = cupy.asarray(np.arange(40, dtype="uint16").reshape(2, 4, 5))
    scene = xr.DataArray(values, dims=("band", "y", "x"))
    from cookbook_utils.interimage.blocks import read_scenes

    blocks = cupy_engine.CupyBlocks(read_scenes(scene)[0])
    before = blocks._blocks[0][0].get()
    values[0, 0, 0] = 999
    assert before[0, 0] == 0
    assert blocks._blocks[0][0].get()[0, 0] == 999


@pytest.mark.parametrize("dtype", ["int32", "bool", "float16"])
def test_other_dtypes_are_converted_on_the_gpu(cupy, dtype, streamed):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2 if dtype == "bool" else 200, (3, 60, 50)).astype(dtype)
    scene = xr.DataArray(values, dims=("band", "y", "x"))
    if dtype == "int32":
        scene = scene.assign_attrs(_FillValue=7)
    expected = reference(scene, 3)
    assert_same(expected, InterImageKMeans(3, engine="cupy").fit(scene))
    assert_equal_fits(cupy, expected, InterImageKMeans(3).fit(on_gpu(cupy, scene)))


def test_a_fill_value_that_the_dtype_cannot_hold_marks_nothing(cupy):
    values = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    scene = xr.DataArray(values, dims=("band", "y", "x"), attrs={"_FillValue": -9999})
    labels = InterImageKMeans(2).fit(on_gpu(cupy, scene)).labels_
    assert (on_host(labels) != 255).all()


def test_a_stack_of_scenes_and_a_list_of_both_sides(cupy):
    scenes = [scene.isel(y=slice(40), x=slice(48)) for scene in make_series(3)]
    expected = reference(scenes, 4)
    bare = [scene.drop_vars(["time", "y", "x"]) for scene in scenes]
    stack = xr.concat(bare, "time").transpose("y", "band", "time", "x")
    labels = InterImageKMeans(4).fit(on_gpu(cupy, stack)).labels_
    assert labels.dims == ("y", "time", "x")
    assert isinstance(labels.data, cupy.ndarray)
    for number in range(3):
        assert_array_equal(labels.data.get()[:, number], expected.labels_[number])

    mixed = InterImageKMeans(4).fit([scenes[0], on_gpu(cupy, scenes[1]), scenes[2]]).labels_
    assert isinstance(mixed[0].data, np.ndarray)
    assert isinstance(mixed[1].data, cupy.ndarray)
    assert_array_equal(mixed[1].data.get(), expected.labels_[1])
    assert_array_equal(mixed[2], expected.labels_[2])


def test_tables_of_the_gpu(cupy):
    table = stack_pixels(make_series(1)[0]).values
    model = InterImageKMeans(4).fit(cupy.asarray(table))
    assert isinstance(model.labels_, cupy.ndarray)
    assert model.labels_.dtype == np.int32
    assert_array_equal(model.labels_.get(), reference(table, 4).labels_)
    assert_array_equal(model.predict(cupy.asarray(table)).get(), model.labels_.get())
    assert_array_equal(model.predict(table), model.labels_.get())


def test_bad_input_of_the_gpu_is_refused(cupy):
    model = InterImageKMeans(2)
    with pytest.raises(NotFittedError):
        model.predict(cupy.asarray(np.ones((3, 2))))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(cupy.asarray(np.array([[1.0], [np.nan], [2.0]])))
    with pytest.raises(ValueError, match="infinity"):
        model.fit(cupy.asarray(np.array([[1.0], [np.inf], [2.0]])))
    with pytest.raises(ValueError, match=r"expected a table .* found shape \(3,\)"):
        model.fit(cupy.asarray(np.array([1.0, 2.0, 3.0])))
    with pytest.raises(ValueError, match="n_samples=1 valid pixels: too few for n_clusters=2"):
        model.fit(cupy.asarray(np.array([[1.0]])))
    with pytest.raises(ValueError, match="n_samples=0 valid pixels"):
        model.fit(cupy.asarray(np.ones((0, 2))))
    with pytest.raises(ValueError, match="real numbers, found dtype complex64"):
        model.fit(cupy.asarray(np.ones((3, 2), "complex64")))
    model.fit(cupy.asarray(np.arange(12.0).reshape(6, 2)))
    with pytest.raises(ValueError, match="X has 3 features, the model was fitted on 2"):
        model.predict(cupy.asarray(np.ones((3, 3))))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_engines_of_the_host_say_that_they_cannot_read_the_gpu(cupy, engine):
    table = cupy.asarray(np.ones((3, 2)))
    with pytest.raises(ValueError, match=f"engine='{engine}' reads NumPy arrays, found CuPy"):
        InterImageKMeans(2, engine=engine).fit(table)


# -- pixels that do not fit -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"sample": 0.4}, {"init": "k-means++"}, {"k": 30}])
def test_streaming_does_not_change_a_bit(dtype, options, streamed):
    scenes = make_series(dtype=dtype)
    options = {"random_state": 2, "empty": "farthest", "max_iter": 9, **options}
    k = options.pop("k", 6)
    model = InterImageKMeans(k, engine="cupy", **options).fit(scenes)
    assert all(isinstance(labels.data, np.ndarray) for labels in model.labels_)
    assert {which for which, _ in streamed} == {0, 1}
    assert_same(reference(scenes, k, **options), model)
    for one, two in zip(model.predict(scenes), model.labels_, strict=True):
        assert_array_equal(one, two)


def test_only_pixels_that_do_not_fit_are_sent_again(streamed):
    scenes = make_series()
    fit = {"max_iter": 4, "tol": 0, "engine": "cupy"}
    InterImageKMeans(6, **fit).fit(scenes)
    again = len(streamed)
    streamed.clear()
    cupy_engine.ROOM = 0.5  # the fixture puts back what was there
    InterImageKMeans(6, **fit).fit(scenes)
    chunks = len(streamed)
    # To be read, for their range, in four iterations, for the last labels and their distances.
    assert again == (1 + 1 + 4 + 1 + 1) * chunks


def test_any_memory_layout_of_the_host_is_sent(streamed):
    scene = make_series(1, dtype="float32")[0]
    expected = reference(scene, 5)
    rows = scene.transpose("y", "x", "band")
    rows = rows.copy(data=np.ascontiguousarray(rows.values)).transpose("band", "y", "x")
    swapped = scene.astype(">f4")
    read_only = scene.copy()
    read_only.values.setflags(write=False)
    for other in (rows, swapped, read_only):
        assert_same(expected, InterImageKMeans(5, engine="cupy").fit(other))


def test_infinity_in_a_late_chunk_is_refused(streamed):
    scene = make_series(1, dtype="float32")[0]
    scene[3, -1, -1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        InterImageKMeans(3, engine="cupy").fit(scene)


# -- kernels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("k", "bands", "copies"), [(3, 6, 32), (60, 2, 8), (255, 2, 2), (255, 8, 1), (255, 20, 0)]
)
def test_kernels_do_what_the_reference_does(cupy, dtype, k, bands, copies):
    assert cupy_engine.shared_memory(k, bands + 1)[0] == copies
    rng = np.random.default_rng(k)
    values = rng.integers(0, 250, (bands, 4001)).astype(dtype)
    if dtype.kind == "f":
        values += rng.random(values.shape).astype(dtype)
    labels = np.where(rng.random(4001) < 0.1, 255, 0).astype(np.uint8)
    wide = values.astype(np.float64)
    arithmetic = Arithmetic.of(wide.min(axis=1), wide.max(axis=1), dtype, 4001)
    there, theirs = cupy.asarray(values), cupy.asarray(labels)
    part = slice(13, 3990)
    # Of centers that lie close together, the last bit of every step decides which is nearest.
    for step, spread in enumerate((125, 125, 1e-4)):
        centers = rng.uniform(125 - spread, 125 + spread, (k, bands))
        args = part, arithmetic, arithmetic.weights(centers), step == 0
        expected = numpy_engine.assign(values, labels, *args)
        found = cupy_engine.assign(there, theirs, *args)
        assert found[0] == expected[0] > 0
        assert_array_equal(found[1], expected[1])
        assert_array_equal(found[2], expected[2])
        assert_array_equal(theirs.get(), labels)
        total, squared, pixel = numpy_engine.measure(values, labels, part, arithmetic, centers)
        found = cupy_engine.measure(there, theirs, part, arithmetic, centers)
        assert found[:2] == (total, squared)
        assert_array_equal(found[2], pixel)


def test_of_equally_far_pixels_the_least_is_taken(cupy):
    values = np.zeros((2, 5000))
    values[:, 100], values[:, 2000], values[:, 4900] = (3, -4), (-3, 4), (-3, -4)
    labels = np.zeros(5000, np.uint8)
    arithmetic = Arithmetic.of(np.full(2, -4.0), np.full(2, 4.0), values.dtype, 5000)
    args = slice(0, 5000), arithmetic, np.zeros((1, 2))
    total, squared, pixel = cupy_engine.measure(cupy.asarray(values), cupy.asarray(labels), *args)
    assert (total / arithmetic.square, squared, pixel.tolist()) == (75, 25, [-3, -4])
    missing = cupy.asarray(np.full(5000, 255, np.uint8))
    total, squared, _ = cupy_engine.measure(cupy.asarray(values), missing, *args)
    assert (total, squared) == (0, -1)


def test_equal_centers_and_denormal_scores(cupy):
    """The first of equal centers wins, and numbers too small for a normal float32 still count."""
    values = np.array([[1e-38, -1e-38, 3e-39, 0, 2.0]], np.float32)
    arithmetic = Arithmetic(np.zeros(1), 1.0, np.ones(1), 1.0)
    weights = np.array([[-1, 1e-40], [-1, 1e-40], [1, 0]], np.float32)
    labels = cupy.zeros(5, np.uint8)
    cupy_engine.assign(cupy.asarray(values), labels, slice(0, 5), arithmetic, weights, True)
    expected = numpy_engine.nearest(values, arithmetic, weights)
    assert_array_equal(labels.get(), expected)
    assert expected.tolist() == [0, 2, 0, 2, 0]


# -- Dask -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "float64"])
def test_chunks_of_the_gpu(cupy, dtype):
    scenes = make_series(2, dtype=dtype)
    lazy = [
        scene.copy(data=da.from_array(scene.values, (2, 15, 20)).map_blocks(cupy.asarray))
        for scene in scenes
    ]
    options = {"sample": 0.5, "random_state": 1, "empty": "farthest"}
    model = InterImageKMeans(5, **options).fit(lazy)
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
    assert_same(expected, InterImageKMeans(4, engine="cupy").fit(host))
    there = scene.copy(data=host.data.map_blocks(cupy.asarray))
    assert_equal_fits(cupy, expected, InterImageKMeans(4, engine="cupy").fit(there))


# -- which engine -----------------------------------------------------------------------------


def test_auto_takes_a_gpu_for_many_pixels(cupy, monkeypatch):
    scene = make_series(1)[0]
    used = []
    made = cupy_engine.CupyBlocks.__init__
    monkeypatch.setattr(
        cupy_engine.CupyBlocks, "__init__", lambda *args: used.append(1) or made(*args)
    )
    InterImageKMeans(3).fit(scene)
    assert not used
    monkeypatch.setattr(estimator, "LARGE", scene[0].size)
    InterImageKMeans(3).fit(scene)
    assert used
    used.clear()
    monkeypatch.setattr(cupy_engine, "missing", lambda: "no GPU")
    InterImageKMeans(3).fit(scene)
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
        InterImageKMeans(2, engine="cupy").fit(np.ones((3, 2)))


def test_without_a_gpu_the_error_says_so(cupy, monkeypatch):
    def fail():
        raise cupy.cuda.runtime.CUDARuntimeError(100)

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", fail)
    with pytest.raises(RuntimeError, match="finds no GPU that it can use"):
        InterImageKMeans(2, engine="cupy").fit(np.ones((3, 2)))


def test_many_features_of_a_table(cupy):
    table = np.random.default_rng(0).normal(size=(700, 50)).astype("float32")
    expected = reference(table, 6)
    assert_array_equal(InterImageKMeans(6, engine="cupy").fit(table).labels_, expected.labels_)


# -- benchmark --------------------------------------------------------------------------------


def test_the_benchmark_measures_the_same_clusters(cupy):
    from benchmarks import interimage_gpu

    result = interimage_gpu.measure(20_000, rounds=1, iterations=4)
    rows = {row["call"]: row for row in result["per_iteration"]}
    assert result["gpu"]
    assert len(rows) == 11
    assert all("median" in row for name, row in rows.items() if name != "flash-kmeans")
    apart = [
        row["centers_differ_by_at_most"]
        for name, row in rows.items()
        if name.startswith(("published", "whole", "InterImage")) and "streamed" not in name
    ]
    assert len(apart) == 6
    assert max(apart) < 0.5


def test_the_benchmark_measures_nothing_without_a_gpu(monkeypatch, capsys):
    from benchmarks import interimage_gpu

    monkeypatch.setattr(cupy_engine, "missing", lambda: "CuPy finds no GPU")
    monkeypatch.setattr(sys, "argv", ["interimage_gpu"])
    interimage_gpu.main()
    assert capsys.readouterr().out.startswith("Nothing is measured")
