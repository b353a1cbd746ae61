"""Checkpoints of inter-image k-means: fits resume with the same result, or raise an error."""

import errno
import io
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from itertools import product

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_utils._checks import LARGEST
from cookbook_utils.interimage import InterImageKMeans, checkpoints, numba_kernels, numpy_kernels
from cookbook_utils.interimage.arithmetic import DTYPES
from cookbook_utils.interimage.blocks import Scene
from cookbook_utils.interimage.dask_engine import DaskEngine
from cookbook_utils.interimage.local_engine import LocalEngine
from cookbook_utils.interimage.scenes import read_scenes

from .test_interimage import (
    assert_same,
    cupy,  # noqa: F401  a fixture, the stand-in of CuPy
    engines,
    make_series,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.npz"


def fit(path=None, scenes=None, k=6, **options):
    options = {"init": "midpoint", **options}
    scenes = make_series() if scenes is None else scenes
    return InterImageKMeans(k, checkpoint=path, **options).fit(scenes)


def stop_after(monkeypatch, iterations):
    """Interrupt each fit after it has stored this number of iterations."""
    save = checkpoints.save

    def save_and_stop(path, state, problem):
        save(path, state, problem)
        if len(state.iterations) == iterations:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", save_and_stop)


def interrupted(path, monkeypatch, scenes=None, iterations=3, **options):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, iterations)
        fit(path, scenes, **options)


# -- resumed fits ---------------------------------------------------------------------------


@pytest.mark.slow
@engines
@pytest.mark.parametrize(
    "options", [{}, {"sample": 0.5, "init": "k-means++"}, {"empty": "farthest"}], ids=str
)
def test_an_interrupted_fit_resumes_with_the_same_result(engine, options, path, monkeypatch):
    scenes = make_series(dtype="float32")
    options = {"engine": engine, "random_state": 4, **options}
    whole = fit(None, scenes, **options)
    interrupted(path, monkeypatch, scenes, **options)
    resumed = fit(path, scenes, **options)
    assert whole.n_iter_ > 3
    assert_same(whole, resumed)
    assert_same(whole, fit(path, scenes, **options))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
@engines
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_a_fit_resumes_in_any_engine_and_chunks(engine, dtype, path, monkeypatch):
    scenes = make_series(dtype=dtype)
    interrupted(path, monkeypatch, scenes, engine="numpy")
    given = [scene.chunk({"band": 1, "y": 9, "x": 23}) for scene in scenes]
    assert_same(fit(None, scenes), fit(path, given if engine == "dask" else scenes, engine=engine))


def test_another_stopping_rule_gives_the_result_without_a_checkpoint_or_an_error(path):
    """Fit twice with one checkpoint, the second time with another stopping rule."""
    scenes = make_series(2, dtype="float32", ny=20, nx=20)
    ends = [{"max_iter": n} for n in (1, 4)] + [
        {"tol": tol, "criterion": criterion}
        for tol, criterion in product((0.1, 0.01, 0.0), ("changed", "shift"))
    ]
    right = [fit(None, scenes, **end) for end in ends]
    resumed = refused = 0
    for (first, end), (second, then) in product(enumerate(ends), repeat=2):
        path.unlink(missing_ok=True)
        fit(path, scenes, **end)
        if right[second].n_iter_ < right[first].n_iter_:
            with pytest.raises(
                ValueError, match="no more iterations than this fit, which ends after"
            ):
                fit(path, scenes, **then)
            refused += 1
        else:
            assert_same(right[second], fit(path, scenes, **then))
            resumed += right[second].n_iter_ > right[first].n_iter_
    assert resumed
    assert refused


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_fit_resumes_after_kills_at_random_moments(path):
    options = {"k": 12, "tol": 0.0, "max_iter": 150, "engine": "numpy"}
    table = np.random.default_rng(0).random((30_000, 3), np.float32)
    code = f"""
        import numpy as np
        from cookbook_utils.interimage import InterImageKMeans
        table = np.random.default_rng(0).random((30_000, 3), np.float32)
        options = {options!r}
        model = InterImageKMeans(
            options.pop("k"), init="midpoint", checkpoint={str(path)!r}, **options
        ).fit(table)
    """
    moments, killed = random.Random(0), 0
    for number in range(4):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
        try:
            before, deadline = stamp(path), time.monotonic() + 60
            while stamp(path) == before and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            if number == 0:
                os.kill(process.pid, signal.SIGSTOP)  # during the fit
                with pytest.raises(OSError, match="another process or thread is writing"):
                    fit(path, table, **options)
                os.kill(process.pid, signal.SIGCONT)
            time.sleep(moments.uniform(0, 0.15))
        finally:
            process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed
    assert_same(fit(None, table, **options), fit(path, table, **options))
    assert list(path.parent.iterdir()) == [path]


def stamp(path):
    return path.stat().st_mtime_ns if path.exists() else None


# -- checkpoints of other fits --------------------------------------------------------------


def change_a_value(scenes):
    scenes[0][1, 5, 5] += np.spacing(scenes[0][1, 5, 5])


def change_signs(scenes):
    scenes[0][1:3, 5, 5] *= -1


def swap_pixels(scenes):
    scenes[1].values[:, 3, 4:6] = scenes[1].values[:, 3, 5:3:-1].copy()


def swap_bands(scenes):
    scenes[:] = [scene.copy(data=scene.values[[0, 2, 1, 3]]) for scene in scenes]


def swap_scenes(scenes):
    scenes.reverse()


def lose_a_pixel(scenes):
    scenes[0][2, 5, 5] = np.nan


def move_a_border(scenes):
    scenes[0] = xr.DataArray(scenes[0].values.reshape(4, 50, 40), dims=("band", "y", "x"))


def rename_a_band(scenes):
    scenes[:] = [scene.assign_coords(band=["a", "b", "c", "d"]) for scene in scenes]


def change_units(scenes):
    scenes[:] = [scene.assign_attrs(units="percent") for scene in scenes]


def change_scale(scenes):
    scenes[:] = [scene.assign_attrs(scale_factor=1e-4) for scene in scenes]


def make_doubles(scenes):
    scenes[:] = [scene.astype("float64") for scene in scenes]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (change_a_value, "pixels"),
        (change_signs, "pixels"),
        (swap_pixels, "pixels"),
        (swap_bands, "pixels"),
        (swap_scenes, "shapes"),
        (lose_a_pixel, "pixels"),
        (move_a_border, "shapes"),
        (rename_a_band, "bands"),
        (change_units, "units"),
        (change_scale, "units"),
        (make_doubles, "dtype"),
    ],
)
def test_other_pixels_are_refused(change, differs, finished, path, monkeypatch):
    start = np.linspace(0, 1, 24).reshape(6, 4)  # given, so that it is the same for other pixels
    scenes = make_series(dtype="float32")
    for scene in scenes:
        scene[:, 3:6, 3:6] = np.arange(1, 37, dtype="float32").reshape(4, 3, 3) / 37
    if finished:
        fit(path, scenes, init=start)
    else:
        interrupted(path, monkeypatch, scenes, init=start)
    content = path.read_bytes()
    change(scenes)
    with pytest.raises(ValueError, match=rf"fit\.npz of another fit: it differs in .*{differs}"):
        fit(path, scenes, init=start)
    assert path.read_bytes() == content


def test_bands_of_other_numbers_are_refused(path):
    numbered = [
        [scene.assign_coords(band=bands) for scene in make_series()]
        for bands in ([1, 2, 3, 4], [4, 3, 2, 1])
    ]
    fit(path, numbered[0])
    with pytest.raises(ValueError, match="another fit: it differs in bands;"):
        fit(path, numbered[1])


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({"k": 5}, "start"),
        ({"init": np.linspace(0, 1, 24).reshape(6, 4)}, "start"),
        ({"init": "k-means++", "random_state": 0}, "start"),
        ({"empty": "farthest"}, "empty"),
        ({"sample": 0.5, "random_state": 0}, "sampling"),
    ],
    ids=str,
)
def test_other_parameters_are_refused(options, differs, path):
    fit(path)
    with pytest.raises(ValueError, match=f"another fit: it differs in {differs};"):
        fit(path, **options)


@pytest.mark.parametrize("other", [{"random_state": 1}, {"sample": 0.4}, {"sampling": "random"}])
def test_another_sample_is_refused(other, path):
    drawn = {"sample": 0.5, "random_state": 0}
    fit(path, **drawn)
    with pytest.raises(ValueError, match="it differs in sampling;"):
        fit(path, **drawn | other)


def test_another_version_is_refused(path, monkeypatch):
    fit(path)
    monkeypatch.setattr("cookbook_utils.interimage.estimator.__version__", "1900.1")
    with pytest.raises(ValueError, match="it differs in version;"):
        fit(path)


@pytest.mark.parametrize("options", [{"sample": 0.5}, {"init": "k-means++"}], ids=str)
def test_random_draws_need_a_random_state(options, path):
    with pytest.raises(ValueError, match="random_state must be an integer where a checkpoint"):
        fit(path, **options)
    assert not path.exists()


# -- the digest -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("chunks", [(4, 31, 43), (1, 40, 59), (2, 100, 100)])
def test_the_digest_is_the_same_in_all_engines_and_chunks(dtype, chunks, monkeypatch):
    scenes = read_scenes(make_series(dtype=dtype, ny=150, nx=200))[0]
    expected = LocalEngine(scenes, numpy_kernels).digest()
    monkeypatch.setattr(numba_kernels, "threads", lambda: 3)
    assert LocalEngine(scenes, numba_kernels).digest() == expected
    lazy = [s._replace(values=da.from_array(s.values, chunks=chunks)) for s in scenes]
    assert DaskEngine(lazy).digest() == expected
    assert LocalEngine(scenes[::-1], numpy_kernels).digest() != expected


@engines
def test_the_digest_does_not_depend_on_values_of_nodata_pixels(engine, path):
    scenes = make_series(2)
    fit(path, scenes, engine="numpy")
    for scene in scenes:
        missing = (scene == 0).any("band")
        scene.values[:, missing] = 0
    assert_same(fit(None, scenes), fit(path, scenes, engine=engine))


@settings(deadline=None, max_examples=200)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), bands=st.integers(1, 3))
def test_different_pixels_have_different_digests(data, dtype, bands):
    """Values are drawn as bits, so that signs and exponents differ, too."""
    size = 6 * bands * dtype.itemsize
    one, two = (
        np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), dtype).reshape(bands, 6)
        for _ in range(2)
    )
    if dtype.kind == "f":
        one, two = (np.where(np.abs(x) <= LARGEST, x, np.copysign(1, x)) for x in (one, two))
        one, two = (x.astype(dtype) for x in (one, two))
    digests = [LocalEngine([Scene(x)], numpy_kernels).digest() for x in (one, two)]
    assert (digests[0] == digests[1]) == (one.tobytes() == two.tobytes())


# -- damage ---------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(ValueError) as caught:
        checkpoints.load(path, {})
    message = str(caught.value)
    return str(path) in message and "damaged or something else: remove it" in message


def test_a_flipped_byte_is_found(path):
    fit(path, max_iter=2)
    content = path.read_bytes()
    assert len(checkpoints.load(path, {}).iterations) == 2
    for at in (*range(0, len(content), 7), *range(len(content) - 60, len(content))):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        assert refused(path), at


def test_a_cut_is_found(path):
    fit(path, max_iter=2)
    content = path.read_bytes()
    for size in (*range(0, len(content), 50), *range(len(content) - 60, len(content))):
        path.write_bytes(content[:size])
        assert refused(path), size
    path.write_bytes(content + b"\n")
    assert refused(path)


def archive():
    stream = io.BytesIO()
    np.savez(stream, centers=np.zeros((2, 2)))
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"\0" * 100, archive()])
def test_other_files_are_refused_and_stay(content, path):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint must be .* got .*fit\.npz, which is damaged"):
        fit(path)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


# -- paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (5, TypeError, "checkpoint must be a path, got int"),
        (b"fit.npz", TypeError, "checkpoint must be a path, got bytes"),
        (True, TypeError, "checkpoint must be a path, got bool"),
        ("", ValueError, "checkpoint must be a path, got ''"),
        ("a\0b", ValueError, "checkpoint must be a path, got 'a"),
        (".", IsADirectoryError, "checkpoint must be the path of a file, got the folder"),
        ("no/fit.npz", FileNotFoundError, "checkpoint must lie in a folder that exists, got"),
        ("file/fit.npz", FileNotFoundError, "checkpoint must lie in a folder that exists, got"),
        ("a" * 300, OSError, "checkpoint .* cannot be looked up: File name too long"),
        (os.devnull, OSError, "checkpoint must be a regular file"),
    ],
)
def test_paths_that_cannot_be_a_file_are_refused_before_any_work(
    name, error, message, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(InterImageKMeans, "_read", None)
    with pytest.raises(error, match=message):
        fit(name)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_symbolic_link_is_kept(tmp_path, path):
    link = tmp_path / "link.npz"
    link.symlink_to(path)
    fit(link, max_iter=2)
    assert link.is_symlink()
    assert_same(fit(None), fit(path))


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_state(broken, path, monkeypatch):
    interrupted(path, monkeypatch, iterations=2)
    content = path.read_bytes()

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(OSError, match=r"fit\.npz cannot be written .No space") as caught:
            fit(path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    assert_same(fit(None), fit(path))


def test_only_temporary_files_of_killed_writers_are_removed(path):
    folder, digits = path.parent, "0123456789ab"
    left = [folder / f".fit.npz-{digits}.tmp", folder / ".fit.npz.lock"]
    others = [
        folder / name
        for name in (f".fit.npz.a-{digits}.tmp", f"fit.npz-{digits}.tmp", ".fit.npz.tmp", "notes")
    ]
    for file in left + others:
        file.touch()
    fit(path)
    assert sorted(folder.iterdir()) == sorted([path, *others])


# -- concurrent fits ------------------------------------------------------------------------


def test_a_second_fit_of_the_same_file_is_refused_at_once(path, tmp_path):
    link = tmp_path / "link.npz"
    link.symlink_to(path)
    for name in (path, link):
        with checkpoints.hold(path):
            with pytest.raises(OSError, match="which another process or thread is writing"):
                fit(name)
            fit(tmp_path / "other.npz")
    assert_same(fit(None), fit(path))


def test_threads_on_one_file_succeed_or_say_that_another_writes(path):
    whole, models, errors = fit(None), [], []

    def run():
        try:
            models.append(fit(path))
        except OSError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(models) + len(errors) == 8
    assert models
    assert all("which another process or thread is writing" in error for error in errors)
    for model in models:
        assert_same(whole, model)
    assert list(path.parent.iterdir()) == [path]
