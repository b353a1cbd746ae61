"""All engines of inter-image k-means, compared with each other and with a plain loop."""

import inspect
import warnings
from fractions import Fraction

import dask.array as da
import dask.system
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cookbook_utils.interimage import (
    InterImageKMeans,
    cupy_kernels,
    local_engine,
    numba_kernels,
    numpy_kernels,
    selection,
)
from cookbook_utils.interimage.arithmetic import DTYPES, NEVER, FixedPoint, Scores, native_dtype
from cookbook_utils.interimage.blocks import Scene
from cookbook_utils.interimage.chunks import read_chunks
from cookbook_utils.interimage.cupy_engine import CupyEngine
from cookbook_utils.interimage.dask_engine import DaskEngine
from cookbook_utils.interimage.engines import Engine, Kernels
from cookbook_utils.interimage.local_engine import LocalEngine
from cookbook_utils.interimage.sampling import Sampling
from cookbook_utils.interimage.scenes import read_scenes
from cookbook_utils.interimage.workers import Workers
from cookbook_utils.metrics import simplified_silhouette
from cookbook_utils.stacking import stack_pixels

from . import host_cuda
from .factories import BANDS, make_scene
from .host_cuda import NO_CUPY

ENGINES = ["numpy", "numba", "dask", "cupy"]
engines = pytest.mark.parametrize(
    "engine",
    [
        *ENGINES[:-1],
        pytest.param("cupy", marks=pytest.mark.skipif(bool(NO_CUPY), reason=str(NO_CUPY))),
    ],
)


@pytest.fixture(autouse=True, scope="module")
def cupy():
    """Let `import cupy` give CuPy where there is a GPU, otherwise its stand-in on the host."""
    with host_cuda.stand_in() as module:
        yield module


def kmeans(n_clusters=8, **options):
    """Return a model with the published start, which needs no random numbers, and `options`."""
    return InterImageKMeans(n_clusters, **({"init": "midpoint"} | options))


def make_series(n_scenes=3, *, ny=40, nx=50, n_bands=4, n_classes=5, dtype="uint16", seed=0):
    """Return scenes (band, y, x) of different sizes with overlapping clusters and nodata."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(4000, 40000, (n_classes, n_bands))
    scenes = []
    for number in range(n_scenes):
        truth = rng.integers(0, n_classes, (ny + number, nx - number))
        noise = rng.normal(0, 2500, (*truth.shape, n_bands))
        values = np.moveaxis(centers[truth] + noise, -1, 0).clip(1, 60000)
        missing = rng.random(truth.shape) < 0.05
        grid = {"bands": BANDS[:n_bands], "ny": truth.shape[0], "nx": truth.shape[1]}
        scene = make_scene(0.0, **grid, left=330_000.0 + 500 * number)
        if np.dtype(dtype).kind == "f":
            values = values / 60000
            values[:, missing] = np.nan
            scene = scene.copy(data=values.astype(dtype))
        else:
            values = values / (300 if dtype == "uint8" else 2 if dtype == "int16" else 1)
            values[0, missing] = 0
            scene = scene.copy(data=values.astype(dtype)).assign_attrs(_FillValue=0)
        scenes.append(scene)
    return scenes


def naive(scenes, k, *, tol=1e-4, max_iter=100):
    """Run the algorithm in float64 as it is defined, with all distances in one array."""
    x = np.concatenate([stack_pixels(scene).values for scene in scenes]).astype(np.float64)
    low, high = x.min(axis=0), x.max(axis=0)
    centers = low + (np.arange(k)[:, np.newaxis] + 0.5) / k * (high - low)
    labels, history = np.full(len(x), -1), []

    def nearest():
        return ((x[:, np.newaxis] - centers) ** 2).sum(axis=2).argmin(axis=1)

    while len(history) < max_iter and (not history or history[-1] >= tol):
        new = nearest()
        history.append((new != labels).mean())
        labels = new
        for i in range(k):
            if (labels == i).any():
                centers[i] = x[labels == i].mean(axis=0)
    labels = nearest()
    return centers, labels, history, ((x - centers[labels]) ** 2).sum()


def flat(labels):
    """Return all valid labels of maps, in order."""
    values = np.concatenate([np.asarray(one).ravel() for one in labels])
    return values[values != 255]


def state(model):
    """Return all results of a fit, to be compared bit for bit."""
    labels = model.labels_ if isinstance(model.labels_, list) else [model.labels_]
    return [
        model.cluster_centers_, model.change_fraction_, model.counts_, np.array(model.inertia_),
        *(np.asarray(one) for one in labels),
    ]  # fmt: skip


def assert_same(one, two):
    for a, b in zip(state(one), state(two), strict=True):
        assert_array_equal(a, b)


# -- the algorithm --------------------------------------------------------------------------


@engines
@pytest.mark.parametrize(
    "dtype",
    [d if d in ("uint16", "float32") else pytest.param(d, marks=pytest.mark.slow) for d in DTYPES],
    ids=str,
)
def test_engines_agree_with_a_plain_loop(engine, dtype):
    scenes = make_series(dtype=dtype)
    model = kmeans(5, engine=engine).fit(scenes)
    centers, labels, history, inertia = naive(scenes, 5)
    assert_array_equal(flat(model.labels_), labels)
    assert_allclose(model.cluster_centers_, centers, rtol=1e-6)
    assert_allclose(model.change_fraction_, history, rtol=1e-12)
    assert model.n_iter_ == len(history) > 3
    assert_allclose(model.inertia_, inertia, rtol=1e-6)
    assert_array_equal(model.counts_.sum(axis=0), np.bincount(labels, minlength=5))
    assert model.counts_.shape == (3, 5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", [{"sample": 0.3}, {"init": "k-means++"}, {"empty": "farthest"}])
def test_engines_agree_bit_for_bit(dtype, options):
    scenes = make_series(dtype=dtype, seed=1)
    options = {"random_state": 3, **options}
    reference = kmeans(12, engine="numpy", **options).fit(scenes)
    predicted = reference.predict(scenes)
    for engine in ENGINES[1:] if NO_CUPY is None else ENGINES[1:-1]:
        model = kmeans(12, engine=engine, **options).fit(scenes)
        assert_same(reference, model)
        for one, two in zip(predicted, model.predict(scenes), strict=True):
            assert_array_equal(one, two)


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    shape=st.tuples(st.sampled_from([1, 4]), st.integers(1, 60)),  # each number of bands compiles
    k=st.integers(1, 12),
    empty=st.sampled_from(["keep", "farthest"]),
)
def test_engines_agree_on_ties_and_empty_clusters(data, shape, k, empty):
    n = shape[0] * shape[1]
    values = data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    table = np.array(values, "uint16").reshape(shape).T
    if len(table) < k:
        with pytest.raises(ValueError, match="X must have at least n_clusters"):
            kmeans(k).fit(table)
        return
    model, other = (
        kmeans(k, engine=engine, empty=empty).fit(table) for engine in ("numpy", "numba")
    )
    assert_same(model, other)
    assert np.isfinite(model.cluster_centers_).all()
    squared = ((table[:, np.newaxis] - model.cluster_centers_) ** 2).sum(axis=2)
    chosen = np.take_along_axis(squared, model.labels_[:, np.newaxis], axis=1)[:, 0]
    assert_allclose(chosen, squared.min(axis=1), atol=1e-4)
    assert_allclose(model.inertia_, chosen.sum(), rtol=1e-9, atol=1e-9)


@engines
def test_labels_are_those_of_the_centers_without_convergence(engine):
    scenes = make_series()
    model = kmeans(6, max_iter=2, engine=engine).fit(scenes)
    assert model.n_iter_ == 2
    for labels, predicted in zip(model.labels_, model.predict(scenes), strict=True):
        assert_array_equal(labels, predicted)


def test_midpoint_start_spans_each_band_over_all_scenes():
    scenes = make_series(2, dtype="float64")
    model = kmeans(3, max_iter=1)
    x = np.concatenate([stack_pixels(scene).values for scene in scenes])
    low, high = x.min(axis=0), x.max(axis=0)
    given = np.stack([low + (high - low) * share for share in (1 / 6, 3 / 6, 5 / 6)])
    assert_same(model.fit(scenes), kmeans(3, max_iter=1, init=given).fit(scenes))


def test_kmeans_plus_plus_finds_separate_clusters():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 3000)
    table = 10 * np.array([[0, 1], [1, 0], [0, 0], [1, 1]])[truth] + rng.normal(0, 0.5, (3000, 2))
    model = kmeans(4, init="k-means++", random_state=0).fit(table)
    assert adjusted_rand_score(model.labels_, truth) == 1


def test_stops_by_shift_of_the_centers():
    scenes = make_series()
    loose, strict = (kmeans(6, criterion="shift", tol=tol).fit(scenes) for tol in (1e-2, 1e-3))
    assert 1 < loose.n_iter_ < strict.n_iter_ < 100


def test_stops_when_no_label_changes():
    table = np.array([[0.0], [1.0], [9.0], [10.0]])
    model = kmeans(2, tol=0).fit(table)
    assert model.n_iter_ == 2
    assert_array_equal(model.change_fraction_, [1, 0])
    assert_array_equal(model.cluster_centers_, [[0.5], [9.5]])
    assert model.inertia_ == 1
    assert_array_equal(model.counts_, [[2, 2]])


# -- interfaces -----------------------------------------------------------------------------


def signature_of(function):
    """Names, kinds and defaults of all parameters but ``self``."""
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters if p.name != "self"]


@pytest.mark.parametrize("engine", [LocalEngine, DaskEngine, CupyEngine])
def test_engines_have_the_methods_of_the_protocol(engine):
    for name, method in inspect.getmembers(Engine, inspect.isfunction):
        if not name.startswith("_"):
            assert signature_of(getattr(engine, name)) == signature_of(method), name
    assert hasattr(make_engine_of(engine), "dtype")


def make_engine_of(engine):
    scenes = [Scene(np.zeros((1, 2, 2)))]
    return engine(scenes, numpy_kernels) if engine is LocalEngine else engine(scenes)


@pytest.mark.parametrize("kernels", [numpy_kernels, numba_kernels, cupy_kernels])
def test_kernels_have_the_functions_of_the_protocol(kernels):
    for name, function in inspect.getmembers(Kernels, inspect.isfunction):
        if not name.startswith("_"):
            assert signature_of(getattr(kernels, name)) == signature_of(function), name


# -- reproducible ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(dtype, n_threads, monkeypatch):
    scenes = make_series(ny=150, nx=200, dtype=dtype)
    reference = kmeans(6, max_iter=6, engine="numpy").fit(scenes)
    monkeypatch.setattr(numba_kernels, "threads", lambda: n_threads)
    monkeypatch.setattr(local_engine, "LEAST_PIXELS_PER_PART", 2**12)
    assert_same(reference, kmeans(6, max_iter=6, engine="numba").fit(scenes))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("chunks", [{"band": 1, "y": 7, "x": 11}, {"band": 4, "y": 40, "x": 9}])
@pytest.mark.parametrize("options", [{}, {"init": "k-means++", "sample": 0.2, "random_state": 1}])
def test_chunks_do_not_change_a_bit(dtype, chunks, options):
    scenes = make_series(2, dtype=dtype)
    options = {"max_iter": 5, **options}
    reference = kmeans(6, engine="numpy", **options).fit(scenes)
    model = kmeans(6, **options).fit([scene.chunk(chunks) for scene in scenes])
    assert all(labels.chunks is not None for labels in model.labels_)
    assert_same(reference, model)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_workers_do_not_change_a_bit(processes, monkeypatch):
    monkeypatch.setattr(dask.system, "CPU_COUNT", 7)  # of this machine, not of the workers
    assert Workers().n_threads == 7
    scenes = make_series(2, dtype="float32")
    reference = kmeans(5, max_iter=4).fit(scenes)
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=processes,
            dashboard_address=None,
            scheduler_port=0,
        ) as cluster,
        Client(cluster),
    ):
        assert Workers().n_threads == 2
        chunked = [scene.chunk({"y": 25}) for scene in scenes]
        model = kmeans(5, max_iter=4).fit(chunked)
        assert_same(reference, model)
        assert_array_equal(model.predict(chunked)[1], reference.labels_[1])


def test_predict_from_dask_is_lazy():
    scenes = make_series(1)
    model = kmeans(4).fit(scenes)
    reads = []

    def read(block):
        reads.append(block.shape)
        return block

    data = da.from_array(scenes[0].values, chunks=(4, 20, 50))
    lazy = scenes[0].copy(data=data.map_blocks(read, meta=data._meta))
    labels = model.predict(lazy)
    assert reads == []
    assert labels.chunks == ((20, 20), (50,))
    assert_array_equal(labels, model.labels_[0])
    assert len(reads) == 2


# -- input and output -----------------------------------------------------------------------


@engines
def test_maps_keep_grid_crs_and_nodata(engine):
    scene = make_series(1)[0]
    labels = kmeans(3, engine=engine).fit(scene).labels_
    assert labels.dtype == np.uint8
    assert labels.name == "label"
    assert labels.attrs == {"_FillValue": 255}
    assert labels.rio.crs == scene.rio.crs
    xr.testing.assert_equal(
        labels.coords.to_dataset(), scene.isel(band=0, drop=True).coords.to_dataset()
    )
    assert_array_equal(labels == 255, (scene == 0).any("band"))


@engines
def test_stack_of_scenes_is_a_list_of_scenes(engine):
    scenes = [scene.isel(y=slice(40), x=slice(48)) for scene in make_series(3)]
    bare = [scene.drop_vars(["time", "y", "x"]) for scene in scenes]
    stack = xr.concat(bare, "time").assign_coords(time=[10, 20, 30])
    stack = stack.transpose("y", "band", "time", "x")
    if engine == "dask":
        stack = stack.chunk({"y": 13})
    model = kmeans(4, engine=engine).fit(stack)
    reference = kmeans(4).fit(scenes)
    assert model.labels_.dims == ("y", "time", "x")
    assert_array_equal(model.labels_.time, [10, 20, 30])
    for number in range(3):
        assert_array_equal(model.labels_.isel(time=number), reference.labels_[number])
    assert_array_equal(model.counts_, reference.counts_)


def test_joint_labels_mean_the_same_where_separate_ones_drift():
    rng = np.random.default_rng(0)
    classes = np.repeat([0.1, 0.3, 0.6], 300)
    values = [
        np.append(classes, extra) + rng.normal(0, 0.01, 1000)
        for extra in ([0.6] * 100, [0.95] * 100)
    ]
    scenes = [xr.DataArray(v.reshape(1, 20, 50), dims=("band", "y", "x")) for v in values]
    joint = kmeans(3).fit(scenes).labels_
    apart = [kmeans(3).fit(scene).labels_ for scene in scenes]
    same = [(np.ravel(one)[:900] == np.ravel(two)[:900]).mean() for one, two in (joint, apart)]
    assert same[0] == 1
    assert same[1] < 0.7


@pytest.mark.parametrize("attribute", ["_FillValue", "nodata"])
def test_nodata_values_of_integers_are_nodata(attribute):
    values = np.array([[[-9999, 1, 2, 50]], [[3, -9999, 4, 60]]], np.int16)
    scene = xr.DataArray(values, dims=("band", "y", "x"), attrs={attribute: -9999})
    model = kmeans(2).fit(scene)
    assert_array_equal(model.labels_, [[255, 255, 0, 1]])
    assert_array_equal(model.cluster_centers_, [[2, 4], [50, 60]])
    encoded = scene.drop_attrs()
    encoded.encoding["_FillValue"] = -9999
    assert_array_equal(model.predict(encoded), model.labels_)


def test_tables_give_tables():
    samples = stack_pixels(make_series(1)[0])
    model = kmeans(4).fit(samples)
    assert model.labels_.dtype == np.int32
    for table in (samples.values, samples.transpose("band", "pixel"), samples.values.tolist()):
        assert_array_equal(kmeans(4).fit(table).labels_, model.labels_)
    lazy = kmeans(4).fit(da.from_array(samples.values, chunks=(500, 2)))
    assert isinstance(lazy.labels_, da.Array)
    assert_array_equal(lazy.labels_, model.labels_)
    assert simplified_silhouette(samples, model.labels_, model.cluster_centers_) > 0.3


def test_scenes_are_read_in_place():
    values = np.random.default_rng(0).integers(0, 9, (2, 30, 30)).astype("uint16")
    blocks = LocalEngine([Scene(values, None)], numba_kernels)
    assert np.shares_memory(blocks._blocks[0][0], values)


@pytest.mark.parametrize(
    ("given", "native"),
    [("bool", "uint8"), ("int8", "int16"), ("int32", "float64"), (">u2", "uint16"),
     ("float16", "float32"), (">f8", "float64"), ("uint64", "float64")],
)  # fmt: skip
def test_other_dtypes_are_converted(given, native):
    assert native_dtype(np.dtype(given)) == native
    table = np.array([[0, 1], [1, 1], [1, 0]]).astype(given)
    expected = kmeans(2).fit(table.astype("float64")).labels_
    assert_array_equal(kmeans(2).fit(table).labels_, expected)


@engines
@pytest.mark.parametrize("magnitude", [1e-30, 1e-3, 1e12, 1e30])
def test_floats_of_any_magnitude(engine, magnitude):
    rng = np.random.default_rng(0)
    table = np.concatenate([rng.normal(c, 0.1, (50, 2)) for c in (0, 3, 9)]) * magnitude
    model = kmeans(3, engine=engine).fit(table)
    assert_array_equal(model.labels_, np.repeat([0, 1, 2], 50))
    means = table.reshape(3, 50, 2).mean(axis=1)
    assert_allclose(model.cluster_centers_, means, rtol=1e-9, atol=1e-9 * magnitude)


# -- sampling -------------------------------------------------------------------------------


def test_a_stratified_sample_takes_one_pixel_from_every_run():
    drawn = Sampling(0.2, stratified=True, seed=5).positions(0, 0, 1000)
    assert_array_equal(drawn // 5, np.arange(200))
    assert set(drawn % 5) == set(range(5))
    assert np.any(drawn != Sampling(0.2, True, 5).positions(1, 0, 1000))
    assert np.any(drawn != Sampling(0.2, True, 6).positions(0, 0, 1000))


@settings(max_examples=50, deadline=None)
@given(
    share=st.floats(0.001, 1), stratified=st.booleans(), seed=st.integers(0, 2**31 - 1),
    start=st.integers(0, 5000), size=st.integers(1, 3000),
)  # fmt: skip
@example(share=0.7, stratified=True, seed=0, start=7, size=10)  # strata that end between two floats
def test_the_sample_of_a_part_is_a_part_of_the_sample(share, stratified, seed, start, size):
    sampling = Sampling(share, stratified, seed)
    everywhere, stop = sampling.positions(3, 0, 8000), start + size
    expected = everywhere[(everywhere >= start) & (everywhere < stop)]
    assert_array_equal(sampling.positions(3, start, stop), expected)


@settings(max_examples=50, deadline=None)
@given(share=st.floats(0.001, 1), stratified=st.booleans(), seed=st.integers(0, 2**31 - 1))
@example(share=0.7, stratified=True, seed=0)  # strata that end between two floats
def test_a_sample_has_its_share(share, stratified, seed):
    n = 50_000
    drawn = Sampling(share, stratified, seed).positions(2, 0, n).size
    spread = 2 if stratified else 6 * np.sqrt(n * share * (1 - share)) + 1
    assert abs(drawn - share * n) <= spread


@pytest.mark.parametrize("sampling", ["stratified", "random"])
def test_a_sample_finds_nearly_the_same_centers(sampling):
    scenes = make_series(ny=200, nx=200, n_classes=4, n_bands=2)
    options = {"tol": 1e-6, "engine": "numpy"}
    everything = kmeans(4, **options).fit(scenes)
    drawn = {"sample": 0.2, "sampling": sampling, "random_state": 0}
    model = kmeans(4, **options, **drawn).fit(scenes)
    assert 0 < np.abs(model.cluster_centers_ - everything.cluster_centers_).max() < 200
    agreement = np.mean(flat(model.labels_) == flat(everything.labels_))
    assert 0.99 < agreement < 1
    assert model.counts_.sum() == everything.counts_.sum()


# -- empty clusters and edges ---------------------------------------------------------------


@engines
def test_empty_cluster_is_kept_or_moved(engine):
    table = np.array([[0.0, 1.0], [0.1, 1.0], [0.2, 1.0], [10.0, 1.0]])
    init = [[0.0, 1.0], [50.0, 1.0], [60.0, 1.0]]
    kept = kmeans(3, init=init, engine=engine).fit(table)
    assert_allclose(kept.cluster_centers_, [[2.575, 1.0], [50.0, 1.0], [60.0, 1.0]])
    moved = kmeans(3, init=init, engine=engine, empty="farthest").fit(table)
    assert_allclose(np.sort(moved.cluster_centers_[:, 0]), [0.05, 0.2, 10], atol=0.051)
    assert_array_equal(np.unique(moved.labels_), [0, 1, 2])


@engines
@pytest.mark.parametrize("empty", ["keep", "farthest"])
def test_constant_bands_and_too_few_distinct_pixels(engine, empty):
    scene = xr.DataArray(np.full((4, 3, 3), 7, "uint16"), dims=("band", "y", "x"))
    model = kmeans(3, engine=engine, empty=empty).fit(scene)
    assert_array_equal(model.cluster_centers_, np.full((3, 4), 7))
    assert_array_equal(model.labels_, np.zeros((3, 3)))
    assert model.inertia_ == 0


@engines
def test_one_cluster_is_the_mean(engine):
    scenes = make_series(2, dtype="float32")
    x = np.concatenate([stack_pixels(scene).values for scene in scenes]).astype(np.float64)
    model = kmeans(1, engine=engine).fit(scenes)
    assert_allclose(model.cluster_centers_[0], x.mean(axis=0), rtol=1e-12)


@engines
def test_255_clusters(engine):
    table = np.repeat(np.arange(255, dtype="uint16"), 2)[:, np.newaxis]
    model = kmeans(255, engine=engine, empty="farthest", tol=0, max_iter=300).fit(table)
    assert model.inertia_ == 0
    assert_array_equal(np.sort(model.cluster_centers_[:, 0]), np.arange(255))


# -- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_clusters": 0}, ValueError, "n_clusters must be .* from 1 to 65535, got 0"),
        ({"n_clusters": 65536}, ValueError, "n_clusters must be .* from 1 to 65535, got 65536"),
        ({"n_clusters": 2.0}, TypeError, "n_clusters must be an integer .* got 2.0"),
        ({"max_iter": 0}, ValueError, "max_iter must be an integer of at least 1, got 0"),
        ({"tol": -1}, ValueError, "tol must be a finite number of at least 0, got -1"),
        ({"tol": np.nan}, ValueError, "tol must be a finite number of at least 0, got nan"),
        ({"criterion": "inertia"}, ValueError, "criterion must be one of"),
        ({"engine": "gpu"}, ValueError, "engine must be one of .* got 'gpu'"),
        ({"sampling": "grid"}, ValueError, "sampling must be one of"),
        ({"empty": "drop"}, ValueError, "empty must be one of"),
        ({"init": "random"}, ValueError, "init must be one of .* got 'random'"),
        ({"init": [[1.0], [2.0]]}, ValueError, r"init must be 8 centers of 4 .* shape \(2, 1\)"),
        ({"sample": 0}, ValueError, "sample must be .* greater than 0 and at most 1, got 0"),
        ({"sample": 1.2}, ValueError, "sample must be .* greater than 0 and at most 1, got 1.2"),
        (
            {"sample": 0.001},
            ValueError,
            "n_clusters=8 valid pixels, got .*, 1 of them drawn",
        ),
    ],
)
def test_parameters_are_checked(options, error, message):
    scenes = make_series(1, ny=30, nx=40)
    with pytest.raises(error, match=message):
        kmeans(**{"random_state": 0} | options).fit(scenes)


@engines
def test_bad_pixels_are_refused(engine):
    model = kmeans(2, engine=engine)
    scene = make_series(1, dtype="float32")[0]
    with pytest.raises(ValueError, match="must be finite numbers .* got inf"):
        model.fit(scene.where(scene != scene.max(), np.inf))
    with pytest.raises(ValueError, match="valid pixels, got n_samples=0"):
        model.fit(scene.where(False))
    with pytest.raises(TypeError, match="real numbers, got dtype complex"):
        model.fit(scene.astype("complex64"))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.array([[1.0], [np.nan], [2.0]]))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(da.from_array(np.array([[1.0], [np.nan], [2.0]])))


def test_scenes_must_have_the_bands_of_the_fit():
    scenes = make_series()
    model = kmeans(3)
    with pytest.raises(NotFittedError):
        model.predict(scenes)
    with pytest.raises(
        ValueError, match="scene 1 of X must have as many bands as scene 0, 4, got 3"
    ):
        model.fit([scenes[0].drop_vars("band"), scenes[1].isel(band=slice(3)).drop_vars("band")])
    with pytest.raises(ValueError, match="scene 1 must have the bands .* got .*'red', 'green'"):
        model.fit([scenes[0], scenes[1].isel(band=[0, 2, 1, 3])])
    with pytest.raises(ValueError, match="lacks .*'band'"):
        model.fit(scenes[0].isel(band=0))
    model.fit(scenes)
    assert model.n_features_in_ == 4
    assert_array_equal(model.feature_names_in_, BANDS[:4])
    with pytest.raises(ValueError, match="X must have the 4 bands .* got 3"):
        model.predict(scenes[0].isel(band=slice(3)))
    with pytest.raises(ValueError, match="of fit in their order, .'blue', 'green', 'red', 'nir'"):
        model.predict(scenes[0].isel(band=[3, 2, 1, 0]))
    with pytest.raises(ValueError, match="3 features"):
        model.predict(da.zeros((5, 3)))


# -- scikit-learn ---------------------------------------------------------------------------


@parametrize_with_checks([InterImageKMeans()])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def test_in_a_pipeline():
    table = stack_pixels(make_series(1)[0]).values
    model = make_pipeline(StandardScaler(), kmeans(5))
    labels = model.fit_predict(table)
    assert_array_equal(model.predict(table), labels)
    assert adjusted_rand_score(labels, kmeans(5).fit_predict(table)) > 0.5


def test_auto_takes_numba_for_many_pixels(monkeypatch):
    table = np.random.default_rng(0).random((500, 2))
    seen = []
    kernel = numba_kernels.assign_kernel
    monkeypatch.setattr(
        numba_kernels, "assign_kernel", lambda *key: seen.append(key) or kernel(*key)
    )
    kmeans(2).fit(table)
    assert not seen
    monkeypatch.setattr(selection, "PIXELS_WORTH_COMPILING", 400)
    kmeans(2).fit(table)
    assert seen


# -- arithmetic -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scores_lie_within_their_bound(dtype):
    """Exact scores, as fractions, differ from float32 scores by at most a + Σ b |x|."""
    rng = np.random.default_rng(0)
    centers = rng.uniform(0, 200, (7, 4)) + (20_000 if dtype.kind == "f" else 0)
    pixels = np.round(centers[rng.integers(0, 7, 30)] + rng.uniform(-9, 9, (30, 4)))
    pixels = pixels.clip(0, 255 if dtype == "uint8" else None).astype(dtype)
    scores = Scores.of(centers, dtype)
    work = np.float64 if dtype == np.float64 else np.float32
    shifted = (pixels.astype(work) - scores.offset.astype(work)) * work(scores.scale)
    scale = Fraction(scores.scale)
    for pixel, x in zip(pixels.tolist(), shifted.astype(np.float32), strict=True):
        for number, center in enumerate(centers.tolist()):
            score = scores.coefficients[number, -1]
            for minus_c, of_band in zip(scores.coefficients[number], x, strict=False):
                score += minus_c * of_band
            exact = Fraction(0)
            for at, c, offset in zip(pixel, center, scores.offset.tolist(), strict=True):
                at, c = ((Fraction(v) - Fraction(offset)) * scale for v in (at, c))
                exact += c * c / 2 - at * c
            *b, a = scores.error_coefficients[number]
            bound = a + np.array(b) @ np.abs(x)
            assert abs(Fraction(float(score)) - exact) <= Fraction(float(bound)) < Fraction(1, 1000)


def test_scores_are_counted_from_the_median_of_the_centers():
    """20 000 ± 1 is as exact as 0 ± 1, and an outlier does not cost the others digits."""
    centers = np.array([[20_000.0], [20_001.5], [20_002.0], [1e9], [20_001.5]])
    scores = Scores.of(centers, np.dtype("float64"))
    assert scores.offset == 20_001.5
    assert np.frexp(scores.scale)[0] == 0.5
    assert 0.5 <= (1e9 - 20_001.5) * scores.scale <= 1
    away = -(centers[:4] - 20_001.5) * scores.scale
    expected = np.column_stack([away, away**2 / 2]).astype(np.float32)
    assert_array_equal(scores.coefficients[:4], expected)
    assert scores.coefficients[4].tolist() == [0, np.float32(NEVER)]


def test_fixed_point_takes_integers_as_they_are_and_floats_to_52_bits():
    low, high = np.array([-3.0, 5.0]), np.array([5.0, 5.0])
    integers = FixedPoint.of(low, high, np.dtype("int16"), 100)
    assert_array_equal(integers.of_pixels(np.array([[-3], [5]], "int16")), [[-3], [5]])
    floats = FixedPoint.of(low, high, np.dtype("float64"), 100)
    x = np.array([[-3.0, 5.0, 1 + 2.0**-50, 1 + 2.0**-51], [5.0] * 4])
    assert_array_equal(floats.of_pixels(x), [[-(2**52), 2**52, 1, 0], [0, 0, 0, 0]])
    sums = floats.of_pixels(x[:, :2]).sum(axis=1)[np.newaxis]
    assert_array_equal(floats.means(sums, np.array([2]), x[:, :1].T), [[1, 5]])


def test_fixed_point_keeps_small_squares_beside_a_large_one():
    squared = np.array([1e12, 1e-6, 1e-6])
    fixed_point = FixedPoint.of(np.zeros(1), np.full(1, 1e6), np.dtype("float64"), 3)
    total = fixed_point.sum_of_squares(squared)
    rest = total - fixed_point.sum_of_squares(squared[:1])
    assert_allclose(fixed_point.squared_units(rest), 2e-6, rtol=1e-9)
    assert fixed_point.squared_units(total) == 1e12
    assert fixed_point.in_fine_steps(3, -1) == 3 * int(fixed_point.fine_steps_per_coarse) - 1


def test_integers_that_claim_to_be_reflectance_are_warned_of():
    values = np.random.default_rng(0).uniform(0.02, 0.6, (2, 20, 20)).astype("f4")
    scene = xr.DataArray(values, dims=("band", "y", "x"), attrs={"units": "1"})
    model = InterImageKMeans(2, random_state=0).fit(scene)
    with pytest.warns(UserWarning, match="digital numbers are no reflectance"):
        model.predict((scene * 1e4).astype("uint16").assign_attrs(units="1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(scene + np.float32(0.1))


def test_bands_in_chunks_of_their_own_are_put_together_in_their_order():
    scene = xr.DataArray(np.arange(6 * 8 * 9, dtype="u2").reshape(6, 8, 9), dims=("band", "y", "x"))
    lazy = scene.chunk({"band": (1, 2, 3), "y": 4, "x": 5})
    lazy = xr.concat([lazy.isel(band=[i]) + np.uint16(0) for i in range(6)], "band") * np.uint16(2)
    scenes, _ = read_scenes(lazy)
    for chunk in read_chunks(scenes).chunks:
        rows, columns = (
            slice(start, start + size)
            for start, size in zip(chunk.place.corner, chunk.place.shape, strict=True)
        )
        pixels = chunk.read({})
        assert pixels.dtype == scene.dtype
        np.testing.assert_array_equal(pixels, 2 * scene.values[:, rows, columns])


@pytest.mark.parametrize("rows", [(0, 40), (15, 0, 25), (40, 0)])
def test_chunks_without_pixels_change_nothing(rows):
    scene = make_series(1)[0]
    data = da.from_array(scene.values, chunks=(4, rows, 20))
    assert_same(kmeans(4).fit([scene]), kmeans(4).fit([scene.copy(data=data)]))


@pytest.mark.parametrize("n_parts", [1, 2])
@pytest.mark.parametrize(
    "function, error, message",
    [
        (lambda block: block * 0.5, TypeError, "declares, uint16, got float64"),
        (lambda block: block.astype("i4"), TypeError, "declares, uint16, got int32"),
        (lambda block: block.tolist(), TypeError, "declares, uint16, got list"),
        (lambda block: block[:1], ValueError, r"here \(2, 10, 25\), got \(1, 10, 25\)"),
        (lambda block: block[:, :-1], ValueError, r"here \(2, 10, 25\), got \(2, 9, 25\)"),
        (lambda block: block.swapaxes(1, 2), ValueError, r"here \(2, 10, 25\), got \(2, 25, 10\)"),
    ],
)
def test_chunks_that_are_not_as_declared_are_refused(function, error, message, n_parts):
    """They would give other centers, or labels in other places, than their pixels."""
    data = da.from_array(make_series(1, n_bands=2)[0].values, chunks=(2, 10, 25))
    data = da.concatenate([data.map_blocks(function, meta=data._meta)] * n_parts)
    with pytest.raises(error, match=message) as caught:
        kmeans(4).fit(xr.DataArray(data, dims=("band", "y", "x")))
    assert "scene 0, rows " in caught.value.__notes__[0]


def test_floats_of_more_bits_than_declared_are_rounded():
    scene = make_series(1, dtype="float32")[0]
    data = da.from_array(scene.values, chunks=(4, 10, 25)).map_blocks(
        lambda block: block.astype("f8"), meta=scene.values[:0, :0, :0]
    )
    assert_same(kmeans(4).fit([scene]), kmeans(4).fit([scene.copy(data=data)]))


def test_tasks_name_the_chunks_that_they_serve():
    """Also those that read what several chunks share, such as a file."""
    values = make_series(1)[0].values
    whole = da.from_array(values, chunks=-1).map_blocks(np.negative, dtype=values.dtype)
    engine = DaskEngine([Scene(whole.rechunk((4, 10, 25)))])
    shared = [key for piece in engine._pieces for key in piece.inputs]
    assert shared
    for key in [*shared, *engine._persisted.keys, ("assign", 0)]:
        assert "scene 0, rows " in engine._place_of(key, "assign")
    assert engine._place_of(("array", 99), "assign") is None
