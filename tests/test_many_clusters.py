"""Passes over many clusters skip centers and pixels; labels must be those of the reference."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cookbook_utils.interimage import local_engine, numba_kernels, numpy_kernels
from cookbook_utils.interimage.arithmetic import DTYPES, FixedPoint, Scores
from cookbook_utils.interimage.blocks import Scene
from cookbook_utils.interimage.bounds import Bounds, near_movements
from cookbook_utils.interimage.lloyd import lloyd_steps
from cookbook_utils.interimage.local_engine import LocalEngine

SHAPES = ["normal", "ties", "equal", "apart", "outliers", "far from 0"]


def make_pixels(shape, bands, n, dtype, seed):
    """Return pixels (bands, n) of `dtype` that are hard for bounds in the way `shape` names."""
    rng = np.random.default_rng(seed)
    values = 100 + 30 * rng.normal(size=(bands, n))
    if shape == "ties":
        values = 40 * np.round(values / 40)
    elif shape == "equal":
        values[:, : n // 2] = values[:, :1]
    elif shape == "apart":
        values = values / 10 + 25 * rng.integers(0, 9, n)
    elif shape == "outliers":
        values[0, :3] = 255 if np.dtype(dtype).kind in "ui" else (1e6, -1e15, 1e20)
    elif shape == "far from 0":
        values += 0 if np.dtype(dtype).kind in "ui" else 1e6
    if np.dtype(dtype).kind in "ui":
        return values.clip(0, 255).round().astype(dtype)
    values[-1, rng.random(n) < 0.05] = np.nan
    return values.astype(dtype)


def draw_centers(pixels, k, seed):
    """Return valid pixels as centers (k, bands), some of them equal."""
    rng = np.random.default_rng(seed)
    valid = pixels[:, np.isfinite(pixels.astype(float)).all(axis=0)]
    centers = valid[:, rng.integers(0, valid.shape[1], k)].T.astype(float)
    centers[rng.integers(0, k, 5)] = centers[0]
    return centers


def run(kernels, scenes, centers, steps, jump=None):
    """Return changes, counts, centers and labels of each step; `jump` moves centers between."""
    engine = LocalEngine([Scene(values, nodata) for values, nodata in scenes], kernels)
    low, high, n_pixels = engine.extent()
    fixed_point = FixedPoint.of(low, high, engine.dtype, n_pixels)
    found = []
    iterations = lloyd_steps(engine, fixed_point, centers.copy())
    for number, step in zip(range(steps), iterations, strict=False):
        labels = np.concatenate([one.ravel() for one in engine.labels()])
        found.append((step.n_changed, step.counts, step.centers.copy(), labels))
        if jump is not None:
            jump(number, step.centers)
    return found


def assert_same_steps(one, two):
    for results in zip(one, two, strict=True):
        for a, b in zip(*results, strict=True):
            assert_array_equal(a, b)


def jump(number, centers):
    """Move a center onto another one, and all of them to another unit, as no iteration does."""
    if number == 2:
        centers[1] = centers[3]
    if number == 4:
        centers *= 0.25


def check(shape, bands, k, n, dtype, seed, monkeypatch, n_threads=1):
    pixels = make_pixels(shape, bands, n, dtype, seed)
    nodata = (float(pixels[0, 0]),) if seed % 2 else ()
    scenes = [(pixels[:, : n // 3], nodata), (pixels[:, n // 3 :], nodata)]
    centers = draw_centers(pixels, k, seed)
    monkeypatch.setattr(numba_kernels, "uses_bounds", lambda k, bands: True)
    monkeypatch.setattr(numba_kernels, "threads", lambda: n_threads)
    monkeypatch.setattr(local_engine, "LEAST_PIXELS_PER_PART", 2**8)
    reference = run(numpy_kernels, scenes, centers, 8, jump)
    assert_same_steps(reference, run(numba_kernels, scenes, centers, 8, jump))


@pytest.mark.parametrize("shape", SHAPES)
def test_skipping_changes_no_label(shape, monkeypatch):
    check(shape, 3, 120, 4000, "float32", 0, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bands", [1, 16, 32])
def test_skipping_changes_no_label_for_any_dtype(shape, dtype, bands, monkeypatch):
    for seed, k in enumerate((16, 17, 160, 255)):
        check(shape, bands, k, 3000, dtype, seed, monkeypatch, n_threads=1 + 2 * (seed % 2))


def test_labels_suffice_without_bounds(monkeypatch):
    """A pass that keeps no bounds, as on chunks of Dask arrays, finds the same labels."""
    pixels = make_pixels("normal", 3, 5000, "float32", 1)
    centers = draw_centers(pixels, 40, 1)
    scenes = [(pixels, ())]
    reference = run(numpy_kernels, scenes, centers, 5)

    monkeypatch.setattr(numba_kernels, "uses_bounds", lambda k, bands: True)
    forgetful = SimpleNamespace(
        threads=lambda: 1, assign=numba_kernels.assign, uses_bounds=lambda k, bands: False
    )
    assert_same_steps(reference, run(forgetful, scenes, centers, 5))


def test_bounds_are_kept_only_where_they_are_worth_it():
    assert not numba_kernels.uses_bounds(8, 300)
    assert not numba_kernels.uses_bounds(32, 6)
    assert numba_kernels.uses_bounds(160, 16)
    engine = LocalEngine([Scene(np.zeros((1, 4), np.uint8))], numba_kernels)
    engine.assign(FixedPoint.without_sums(1), Scores.of(np.zeros((8, 1)), engine.dtype))
    engine.assign(FixedPoint.without_sums(1), Scores.of(np.ones((8, 1)), engine.dtype))
    assert engine._bounds is None


def test_movements_near_to_a_center_and_distances_beyond():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(50, 4))
    centers[7] = centers[3]
    scores = Scores.of(centers, np.dtype("float64"))
    moved, radius = rng.random((2, 50), np.float32)
    radius[:2] = 0, 100
    distances, others, beyond = near_movements(scores, moved, radius)
    others, beyond = others[:50], beyond[:50]
    exact = np.linalg.norm(centers[:, np.newaxis] - centers, axis=2) * scores.scale
    assert (distances <= exact).all()
    assert (distances >= exact * (1 - 1e-5) - 1e-11).all()
    np.fill_diagonal(exact, np.inf)
    near = exact < 2 * radius[:, np.newaxis]
    assert_array_equal(others, np.where(near, moved, 0).max(axis=1))
    least = np.where(near, np.inf, exact).min(axis=1)
    assert (beyond <= least).all()
    assert (beyond >= least * (1 - 1e-5) - 1e-11)[np.isfinite(least)].all()
    assert others[0] == 0 and np.isinf(beyond[1])


def test_movements_bound_those_of_the_centers_and_forget_another_unit():
    before = np.random.default_rng(0).uniform(1, 1.9, size=(20, 3))
    after = before.copy()
    after[4] += 0.01
    bounds = Bounds([6])
    dtype = np.dtype("float64")
    assert np.isinf(bounds.moved(Scores.of(before, dtype))[0].own[:20]).all()
    scores = Scores.of(after, dtype)
    (moved,) = bounds.moved(scores)
    step = np.linalg.norm(after - before, axis=1) * scores.scale
    assert (moved.own[:20] >= step).all()
    assert_array_equal(moved.own[:20] > 0, step > 0)
    assert (moved.others == 0).all()  # nothing is near as long as no distance has been seen
    moved.seen[:] = 100
    (moved,) = bounds.moved(Scores.of(before, dtype))
    assert_array_equal(moved.others[:20] > 0, np.arange(20) != 4)
    assert np.isinf(bounds.moved(Scores.of(after * 64, dtype))[0].own[:20]).all()
