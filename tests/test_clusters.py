"""Inter-image k-means on a cluster of real processes that die, lose files and run out of memory."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from distributed import Client, LocalCluster, get_client
from numpy.testing import assert_array_equal

from cookbook_utils.interimage import InterImageKMeans, checkpoints, dask_engine
from cookbook_utils.interimage.blocks import Scene
from cookbook_utils.interimage.dask_engine import DaskEngine

pytestmark = pytest.mark.slow


def make_cluster(**options):
    return LocalCluster(
        threads_per_worker=1, processes=True, dashboard_address=None, scheduler_port=0, **options
    )


@contextlib.contextmanager
def two_workers(allowed_failures=3):
    """Yield a client of two workers, which are started again when they die.

    No two tests share them: a worker that dies while it starts is not started again.
    """
    settings = {
        "distributed.scheduler.allowed-failures": allowed_failures,
        "distributed.nanny.pre-spawn-environ": {},
    }
    with (
        dask.config.set(settings),
        make_cluster(n_workers=2, memory_limit="1GB") as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=120)
        yield client


@pytest.fixture
def client():
    with two_workers() as client:
        yield client


SHAPE, CHUNK = (3, 120, 160), 40


def make_values(seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(2000, 40000, (6, SHAPE[0]))
    pixels = centers[rng.integers(0, 6, SHAPE[1:])] + rng.normal(0, 4000, (*SHAPE[1:], SHAPE[0]))
    return np.moveaxis(pixels, -1, 0).clip(1, 65535).astype(np.uint16)


def lazy_scene(values, function=None):
    """Return a scene whose chunks `function` returns when they are read."""
    array = da.from_array(values, chunks=(-1, CHUNK, CHUNK))
    data = array if function is None else array.map_blocks(function, dtype=array.dtype)
    return xr.DataArray(data, dims=("band", "y", "x"))


def kmeans(**options):
    return InterImageKMeans(
        6, **{"init": "midpoint", "tol": 0, "max_iter": 12, "persist": True} | options
    )


@pytest.fixture(scope="module")
def reference():
    return kmeans(engine="numpy").fit(lazy_scene(make_values()).compute())


def assert_same(model, reference):
    assert_array_equal(model.labels_.values, reference.labels_.values)
    assert_array_equal(model.cluster_centers_, reference.cluster_centers_)
    assert model.n_iter_ == reference.n_iter_ and model.inertia_ == reference.inertia_


@pytest.fixture
def at_iteration(monkeypatch, tmp_path):
    """Return a function that has another one called after an iteration of the next fit."""
    save = checkpoints.save

    def at_iteration(number, function):
        def save_and_call(path, state, problem):
            save(path, state, problem)
            if len(state.iterations) == number:
                function()

        monkeypatch.setattr(checkpoints, "save", save_and_call)
        return tmp_path / f"checkpoint-{time.monotonic_ns()}"

    return at_iteration


def kill(client, n_workers):
    for pid in list(client.run(os.getpid).values())[:n_workers]:
        os.kill(pid, signal.SIGKILL)


# -- workers that die -----------------------------------------------------------------------


@pytest.mark.parametrize("attempt", range(10))
def test_killed_workers_change_no_pixel(client, reference, at_iteration, attempt):
    """One of two workers or both die; their pixels are kept or are read again."""
    n_killed, persist = 1 + attempt // 2 % 2, attempt % 2 == 0
    checkpoint = at_iteration(1 + attempt % 4, lambda: kill(client, n_killed))
    model = kmeans(checkpoint=checkpoint, persist=persist).fit(lazy_scene(make_values()))
    assert_same(model, reference)


def test_persisted_chunks_share_tasks_where_they_lie(client, monkeypatch):
    """One worker holds every second row of chunks, and the other one those between."""
    monkeypatch.setattr(dask_engine, "BYTES_WORTH_SENDING", 0)
    monkeypatch.setattr(dask_engine, "PIECES_PER_THREAD", 0.5)  # a piece may hold all chunks
    workers, scene = list(client.scheduler_info()["workers"]), lazy_scene(make_values())
    rows = [
        client.persist(scene.data.blocks[:, row], workers=[workers[row % 2]])
        for row in range(scene.data.numblocks[1])
    ]
    scene = scene.copy(data=da.concatenate(rows, axis=1))
    engine = DaskEngine([Scene(scene.data)])
    per_row = scene.data.numblocks[2]
    assert engine._groups == [
        [i for i in range(scene.data.npartitions) if i // per_row % 2 == parity]
        for parity in range(2)
    ]
    for options in {}, {"init": "k-means++", "random_state": 0}, {"sample": 0.5, "random_state": 0}:
        model = kmeans(persist=False, **options)
        assert_same(model.fit(scene), kmeans(engine="numpy", **options).fit(scene.compute()))


def test_a_killed_worker_costs_its_chunks_once(client, reference, at_iteration, tmp_path):
    log = tmp_path / "reads"

    def read(block):
        if block.size:  # Dask calls it with an empty block to learn its type
            with open(log, "a") as file:
                file.write("x")
        return block

    scene = lazy_scene(make_values(), read)
    n_chunks = scene.data.npartitions
    checkpoint = at_iteration(3, lambda: kill(client, 1))
    assert_same(kmeans(checkpoint=checkpoint).fit(scene), reference)
    assert n_chunks <= log.stat().st_size <= 2 * n_chunks


def test_workers_die_in_the_middle_of_a_task(client, reference, tmp_path):
    reads, death = tmp_path / "reads", tmp_path / "death"

    def read(block):
        if block.size:
            with open(reads, "a") as file:
                file.write("x")
            if reads.stat().st_size >= 3:
                with contextlib.suppress(FileExistsError):
                    death.touch(exist_ok=False)  # one worker can, and dies
                    os.kill(os.getpid(), signal.SIGKILL)
        return block

    assert_same(kmeans().fit(lazy_scene(make_values(), read)), reference)
    assert death.exists()


def test_chunks_that_kill_workers_are_named():
    def read(block):
        if block.size and block[0, 0, 0] == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    values = make_values()
    values[0, 40, 80] = 7
    message = r"workers must survive .*scene 0, rows .*, got 2 that died there"
    with two_workers(allowed_failures=1), pytest.raises(RuntimeError, match=message):
        kmeans(persist=False).fit(lazy_scene(values, read))


def test_worker_beyond_its_memory_ends_in_an_error():
    def read(block):
        if block.size and block[0, 0, 0] == 7:
            hog = np.ones(200_000_000)  # 1.6 GB
            time.sleep(hog[0] * 5)
        return block

    values = make_values()
    values[0, 0, 0] = 7
    message = "often because their memory was full"
    with two_workers(allowed_failures=1), pytest.raises(RuntimeError, match=message):
        kmeans(persist=False).fit(lazy_scene(values, read))


def test_fit_ends_if_no_worker_is_left_and_goes_on_from_its_checkpoint(reference, at_iteration):
    scene = lazy_scene(make_values())
    with (
        make_cluster(n_workers=1, memory_limit="1GB") as cluster,
        Client(cluster),
        dask.config.set({"distributed.scheduler.no-workers-timeout": "1s"}),
    ):
        checkpoint = at_iteration(2, lambda: cluster.scale(0))
        with pytest.raises(TimeoutError, match="must have a worker, got none for 1 s"):
            kmeans(checkpoint=checkpoint).fit(scene)
        cluster.scale(1)
        cluster.wait_for_workers(1, timeout=60)
        assert_same(kmeans(checkpoint=checkpoint).fit(scene), reference)


FIT_AND_DIE = """
import os, signal, sys
from distributed import Client
from cookbook_utils.interimage import checkpoints
from tests.test_clusters import kmeans, lazy_scene, make_values

if __name__ == "__main__":
    save = checkpoints.save

    def save_and_die(path, state, problem):
        save(path, state, problem)
        if len(state.iterations) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.save = save_and_die
    Client(sys.argv[1])
    kmeans(checkpoint=sys.argv[2]).fit(lazy_scene(make_values()))
"""


def test_fit_of_a_client_that_died_goes_on_from_its_checkpoint(client, reference, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    arguments = [client.scheduler.address, str(checkpoint)]
    died = subprocess.run([sys.executable, "-c", FIT_AND_DIE, *arguments], check=False)
    assert died.returncode == -signal.SIGKILL and checkpoint.exists()
    assert_same(kmeans(checkpoint=checkpoint).fit(lazy_scene(make_values())), reference)


# -- other clients --------------------------------------------------------------------------


@contextlib.contextmanager
def one_thread():
    """Yield a client of a cluster in this process whose only worker has one thread."""
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with (
        LocalCluster(**options, dashboard_address=None, scheduler_port=0) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_a_task_that_fits_gives_its_thread_to_the_tasks_of_the_fit(reference):
    def fit():
        get_client()  # the client of the worker becomes the default
        return kmeans().fit(lazy_scene(make_values())).labels_.compute()

    with one_thread() as client:
        labels = client.submit(fit).result(timeout=300)  # the tasks waited for their thread
    assert_array_equal(labels, reference.labels_)


def test_chunks_that_another_cluster_holds_are_refused():
    message = "must keep the tasks of a fit, got tasks that were cancelled: .* another client"
    with one_thread():
        scene = lazy_scene(make_values()).persist()
        with one_thread(), pytest.raises(RuntimeError, match=message):
            kmeans().fit(scene)


def test_chunks_of_a_cluster_are_refused_without_its_client():
    message = "persisted on a Dask cluster must be computed by its client"
    with one_thread():
        scene = lazy_scene(make_values()).persist()
        with dask.config.set(scheduler="threads"), pytest.raises(RuntimeError, match=message):
            kmeans().fit(scene)
    with pytest.raises(RuntimeError, match=message):
        kmeans().fit(scene)


def test_workers_without_this_version_of_the_package_are_named(client):
    worker = next(iter(client.scheduler_info()["workers"]))
    for statement, found in [
        ("import cookbook_utils; cookbook_utils.__version__ = '0.0'", "'0.0'"),
        ("import sys; sys.modules['cookbook_utils.interimage.workers'] = None", "ModuleNotFound"),
    ]:
        client.run(exec, statement, workers=[worker])
        with pytest.raises(RuntimeError, match=f"workers must have .*, got {found}.* on {worker}"):
            kmeans().fit(lazy_scene(make_values()))


def test_an_error_that_is_kept_leaves_no_pixels_on_the_workers(monkeypatch):
    """A notebook keeps the last error, and with it the state of all functions that it left."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(DaskEngine, "assign", interrupt)
    with one_thread() as client, pytest.raises(KeyboardInterrupt) as kept:
        try:
            kmeans(sample=0.5, random_state=0).fit(lazy_scene(make_values()))
        finally:
            client.ncores()  # futures are released in the order of the client's event loop
            held = set(client.futures)
    assert kept.value.__traceback__ is not None and not held


# -- files and memory -----------------------------------------------------------------------


@pytest.fixture
def bands(tmp_path):
    """Return the bands of a scene as files."""
    values = make_values()
    paths = []
    for number, band in enumerate(values):
        paths.append(tmp_path / f"band_{number}.tif")
        options = {"dtype": "uint16", "count": 1, "width": SHAPE[2], "height": SHAPE[1]}
        tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "crs": "EPSG:32633"}
        transform = rasterio.transform.from_origin(0, 0, 30, 30)
        with rasterio.open(paths[-1], "w", transform=transform, **options, **tiles) as file:
            file.write(band, 1)
    return paths


def open_bands(paths):
    chunks = {"y": CHUNK, "x": CHUNK}
    arrays = [rioxarray.open_rasterio(path, chunks=chunks, cache=False) for path in paths]
    return xr.concat(arrays, "band").drop_vars("band")


def test_file_cut_in_mid_fit_is_named(client, bands, reference, at_iteration):
    content = bands[1].read_bytes()

    def cut():
        os.truncate(bands[1], len(content) // 2)
        kill(client, 2)  # because GDAL has the blocks of so small a file in its cache

    message = (
        r"scene 0, rows \d+ to \d+, columns \d+ to \d+ of X cannot be read: "
        r".*band_1.tif, band 1: IReadBlock failed"
    )
    checkpoint = at_iteration(2, cut)
    with pytest.raises(OSError, match=message):
        kmeans(checkpoint=checkpoint, persist=False).fit(open_bands(bands))
    bands[1].write_bytes(content)
    assert_same(kmeans(checkpoint=checkpoint, persist=False).fit(open_bands(bands)), reference)


def test_chunks_too_large_for_a_worker_are_refused(client):
    data = da.zeros((6, 7000, 7000), chunks=-1, dtype=np.uint16)
    message = (
        r"at most 133 MB .* worker \(threads: 1, memory: 1000 MB\) .*, got 588 MB in scene 0, "
        r"rows 0 to 6999, columns 0 to 6999: open the scenes with chunks=\{'y': 2304, 'x': 2304\}"
    )
    with pytest.raises(ValueError, match=message):
        kmeans().fit(xr.DataArray(data, dims=("band", "y", "x")))


def test_errors_of_other_kinds_say_which_chunk_it_was(client):
    def read(block):
        if block.size and block[0, 0, 0] == 7:
            raise ZeroDivisionError("no gain")
        return block

    values = make_values()
    values[0, 40, 80] = 7
    with pytest.raises(ZeroDivisionError, match="no gain") as caught:
        kmeans().fit(lazy_scene(values, read))
    assert "scene 0, rows 40 to 79, columns 80 to 119" in caught.value.__notes__[0]


# -- tasks ----------------------------------------------------------------------------------


def test_scheduler_knows_no_more_tasks_after_more_iterations(client, at_iteration):
    counts = {}

    def count():
        """Return how many tasks are left when those of the last pass are forgotten."""
        gc.collect()  # futures of the last pass
        found = []
        for _ in range(20):
            time.sleep(0.1)
            found.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
        return min(found)

    for number in (2, 8):
        checkpoint = at_iteration(number, lambda number=number: counts.update({number: count()}))
        kmeans(checkpoint=checkpoint).fit(lazy_scene(make_values()))
    assert counts[8] == counts[2]


def test_persisted_chunks_are_used_where_they_are(client, reference):
    scene = lazy_scene(make_values()).persist()
    assert_same(kmeans(persist="auto").fit(scene), reference)
    assert_same(kmeans().fit(scene.isel(y=slice(None))), reference)


def test_workers_of_gdal_cache_few_blocks(client, bands):
    from rasterio._env import get_gdal_config

    def read(block):
        return np.full_like(block, get_gdal_config("GDAL_CACHEMAX") == 2**26)

    scene = open_bands(bands)
    scene = scene.copy(data=scene.data.map_blocks(read, dtype=np.uint16))
    assert_array_equal(InterImageKMeans(1, random_state=0).fit(scene).cluster_centers_, 1)
