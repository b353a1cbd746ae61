"""On a real GPU: every test of the engines and of the engine for GPUs, and what only one can show.

The other modules run the same tests on a stand-in.
"""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal

from cookbook_utils.interimage import InterImageKMeans, cupy_engine, cupy_kernels

from . import test_checkpoints, test_cupy_engine, test_interimage
from .test_checkpoints import path  # noqa: F401  a fixture of its tests
from .test_cupy_engine import change_kernels, streamed  # noqa: F401  fixtures of its tests
from .test_interimage import assert_same

MISSING = cupy_kernels.missing()
if MISSING:
    pytest.skip(f"needs an NVIDIA GPU: {MISSING}", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def cupy():
    """CuPy itself, where the other modules have its stand-in."""
    import cupy

    cupy_kernels._compiled.cache_clear()
    return cupy


def over_engines(test):
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "parametrize" and mark.args[0] == "engine" for mark in marks)


tests = {name: test for name, test in vars(test_cupy_engine).items() if name.startswith("test_")}
for module in (test_interimage, test_checkpoints):
    tests |= {name: test for name, test in vars(module).items() if over_engines(test)}
globals().update(tests)


def make_large_scene():
    """16 million pixels of 6 bands: four chunks of the size that they are sent in."""
    rng = np.random.default_rng(0)
    centers = rng.integers(7000, 25_000, (9, 6))
    truth = rng.integers(0, 9, (4000, 4000))
    values = np.empty((6, *truth.shape), np.uint16)
    for band, center in zip(values, centers.T, strict=True):
        band[:] = center[truth] + rng.normal(0, 2000, truth.shape)
    values[2, ::97] = 0
    return xr.DataArray(values, dims=("band", "y", "x"), attrs={"_FillValue": 0})


def test_a_large_scene_streamed_resident_and_on_the_cpu(cupy, monkeypatch):
    scene = make_large_scene()
    assert scene.nbytes > 2 * cupy_engine.BYTES_PER_CHUNK
    options = {"max_iter": 6, "tol": 0}
    expected = InterImageKMeans(8, engine="numba", **options).fit(scene)
    resident = InterImageKMeans(8, engine="cupy", **options).fit(scene)
    assert_same(expected, resident)
    monkeypatch.setattr(cupy_engine, "PIXEL_SHARE_OF_MEMORY", 0)
    for _ in range(3):
        assert_same(expected, InterImageKMeans(8, engine="cupy", **options).fit(scene))


def test_in_a_stream_of_the_caller(cupy):
    scene = test_interimage.make_series(1)[0]
    expected = InterImageKMeans(5, engine="numpy").fit(scene)
    with cupy.cuda.Stream(non_blocking=True):
        there = scene.copy(data=cupy.asarray(scene.values))
        model = InterImageKMeans(5).fit(there)
        assert_array_equal(model.labels_.data.get(), expected.labels_)
