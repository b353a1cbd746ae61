"""What only a real GPU can show.

Where there is a GPU, ``tests/test_cupy_engine.py``, ``tests/test_interimage.py`` and
``tests/test_checkpoints.py`` run on it, too, instead of on the stand-in for CuPy.
"""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal

from cookbook_utils.interimage import InterImageKMeans, cupy_engine, cupy_kernels

from .test_interimage import assert_same, make_series

MISSING = cupy_kernels.why_unavailable()
if MISSING:
    pytest.skip(f"needs an NVIDIA GPU: {MISSING}", allow_module_level=True)


def make_large_scene():
    """Return a scene of 16 million pixels of 6 bands, which is transferred in several chunks."""
    rng = np.random.default_rng(0)
    centers = rng.integers(7000, 25_000, (9, 6))
    truth = rng.integers(0, 9, (4000, 4000))
    values = np.empty((6, *truth.shape), np.uint16)
    for band, center in zip(values, centers.T, strict=True):
        band[:] = center[truth] + rng.normal(0, 2000, truth.shape)
    values[2, ::97] = 0
    return xr.DataArray(values, dims=("band", "y", "x"), attrs={"_FillValue": 0})


def test_a_large_scene_streamed_resident_and_on_the_cpu(monkeypatch):
    scene = make_large_scene()
    assert scene.nbytes > 2 * cupy_engine.BYTES_PER_CHUNK
    options = {"max_iter": 6, "tol": 0, "random_state": 0}
    expected = InterImageKMeans(8, engine="numba", **options).fit(scene)
    resident = InterImageKMeans(8, engine="cupy", **options).fit(scene)
    assert_same(expected, resident)
    monkeypatch.setattr(cupy_engine, "PIXEL_SHARE_OF_MEMORY", 0)
    for _ in range(3):
        assert_same(expected, InterImageKMeans(8, engine="cupy", **options).fit(scene))


def test_in_a_stream_of_the_caller():
    import cupy

    scene = make_series(1)[0]
    expected = InterImageKMeans(5, engine="numpy", random_state=0).fit(scene)
    with cupy.cuda.Stream(non_blocking=True):
        there = scene.copy(data=cupy.asarray(scene.values))
        model = InterImageKMeans(5, random_state=0).fit(there)
        assert_array_equal(model.labels_.data.get(), expected.labels_)
