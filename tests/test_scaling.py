from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cookbook_utils.scaling import rescale, standardize, to_reflectance
from cookbook_utils.stacking import stack_pixels

from .factories import make_scene

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # xarray silences warnings on empty slices with catch_warnings, which threads undo.
    with dask.config.set(scheduler="synchronous"):
        yield


SCALED = {"units": "digital number", "scale_factor": 0.0001, "add_offset": -0.2}


def digital(**kwargs):
    scene = make_scene(np.arange(180).reshape(6, 5, 6) * 100, **kwargs)
    return scene.assign_attrs(SCALED)


@pytest.mark.parametrize("chunks", [None, 2])
def test_to_reflectance(chunks):
    scene = digital(chunks=chunks)
    result = to_reflectance(scene)
    assert (result.chunks is None) == (chunks is None)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, scene.values * 1e-4 - 0.2, rtol=1e-6, atol=1e-7)
    assert result.attrs == {
        "units": "1", "long_name": "surface reflectance", "sensor": "Landsat 8 OLI"
    }  # fmt: skip
    assert scene.attrs["scale_factor"] == 0.0001
    assert result.rio.crs == scene.rio.crs
    xr.testing.assert_identical(result.coords.to_dataset(), scene.coords.to_dataset())


def test_to_reflectance_names_the_quantity_and_takes_numpy_scalars():
    scene = digital().assign_attrs(
        quantity="top-of-atmosphere reflectance", scale_factor=np.float64(2e-5)
    )
    result = to_reflectance(scene)
    assert result.attrs["long_name"] == "top-of-atmosphere reflectance"
    assert result.dtype == np.float32


def test_to_reflectance_masks_integers():
    scene = digital().astype("int16", keep_attrs=True).assign_attrs(_FillValue=-9999)
    scene[1, 2, 3] = -9999
    result = to_reflectance(scene)
    assert result.dtype == np.float32
    assert "_FillValue" not in result.attrs
    assert np.isnan(result[1, 2, 3]) and result.isnull().sum() == 1


def test_to_reflectance_refuses():
    with pytest.raises(ValueError, match="is reflectance already"):
        to_reflectance(make_scene())
    display = make_scene(units="display value")
    with pytest.raises(ValueError, match="found units 'display value' and the attributes"):
        to_reflectance(display)
    half = make_scene(units="digital number").assign_attrs(scale_factor=0.1)
    with pytest.raises(ValueError, match="add_offset"):
        to_reflectance(half)


def reference(values, axes):
    values = np.asarray(values, np.float64)
    mean, deviation = (
        np.nanmean(values, axes, keepdims=True),
        np.nanstd(values, axes, keepdims=True),
    )
    low, high = np.nanmin(values, axes, keepdims=True), np.nanmax(values, axes, keepdims=True)
    return (values - mean) / deviation, (values - low) / (high - low)


@pytest.mark.parametrize("chunks", [None, (1, 2, 4)])
@pytest.mark.parametrize("per_band", [True, False])
@pytest.mark.parametrize("order", [("band", "y", "x"), ("x", "band", "y")])
def test_against_numpy(chunks, per_band, order):
    scene = make_scene(chunks=chunks)
    scene = scene.where((scene.x != scene.x[2]) | (scene.y < scene.y[1])).transpose(*order)
    axes = tuple(i for i, dim in enumerate(order) if not (per_band and dim == "band"))
    for function, expected, name in zip(
        (standardize, rescale), reference(scene, axes), ("standardized", "rescaled"), strict=True
    ):
        result = function(scene, per_band=per_band)
        assert (result.chunks is None) == (chunks is None)
        assert result.dims == order
        assert result.dtype == np.float32
        assert result.attrs == scene.attrs | {"scaling": name}
        assert result.name == scene.name
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
        xr.testing.assert_identical(result.coords.to_dataset(), scene.coords.to_dataset())


@pytest.mark.parametrize("function", [standardize, rescale])
@pytest.mark.parametrize("per_band", [True, False])
def test_a_scene_and_its_samples_scale_alike(function, per_band):
    scene = make_scene(chunks=3)
    scene = scene.where(scene.x > scene.x[1])
    one = stack_pixels(function(scene, per_band=per_band))
    two = function(stack_pixels(scene), per_band=per_band)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_several_scenes_share_one_scale():
    scenes = xr.concat([make_scene(), make_scene(seed=1) * 2], "time")
    mean = standardize(scenes).mean(["time", "y", "x"])
    np.testing.assert_allclose(mean, 0, atol=1e-6)
    assert not np.allclose(standardize(scenes).isel(time=0).mean(["y", "x"]), 0, atol=1e-2)


@settings(max_examples=50, deadline=None)
@given(
    values=hnp.arrays(
        np.float64, st.tuples(st.integers(2, 20), st.integers(1, 4)),
        elements=st.floats(-1e4, 1e4).map(lambda x: round(x, 3)),
    )
)  # fmt: skip
def test_properties(values):
    values[0], values[1] = 0, 1
    samples = xr.DataArray(values, dims=("pixel", "band"))
    z, unit = standardize(samples), rescale(samples)
    np.testing.assert_allclose(z.mean("pixel"), 0, atol=1e-9)
    np.testing.assert_allclose(z.std("pixel"), 1, atol=1e-9)
    np.testing.assert_array_equal(unit.min("pixel"), 0)
    np.testing.assert_array_equal(unit.max("pixel"), 1)
    # Neither gain nor offset of a sensor shows in the result.
    np.testing.assert_allclose(standardize(samples * 3 + 7), z, atol=1e-9)
    np.testing.assert_allclose(rescale(samples * 3 + 7), unit, atol=1e-9)


@pytest.mark.parametrize("function", [standardize, rescale])
def test_a_constant_band(function):
    # 0.1 has no exact mean: its deviation comes out tiny, not zero.
    values = make_scene().values
    values[2], values[4] = 0.1, 0.3
    with pytest.raises(ValueError, match="cannot scale, constant: red, swir1;"):
        function(make_scene(values))
    lazy = function(make_scene(values, chunks=(1, 2, 2)))
    with pytest.raises(ValueError, match="cannot scale, constant: red, swir1;"):
        lazy.compute()
    assert np.isfinite(function(make_scene(values), per_band=False)).all()
    with pytest.raises(ValueError, match="constant: all bands"):
        function(make_scene(0.1), per_band=False)


@pytest.mark.parametrize("function", [standardize, rescale])
@pytest.mark.parametrize("chunks", [None, 2])
def test_a_missing_band(function, chunks):
    values = make_scene().values
    values[3] = np.nan
    silent = np.errstate(invalid="ignore")  # the mean of nothing
    with silent, pytest.raises(ValueError, match="no valid value: nir;"):
        function(make_scene(values, chunks=chunks)).compute()


def test_a_chunk_without_values_gives_no_warning():
    scene = make_scene(chunks=(6, 2, 2))
    scene = scene.where(scene.x > scene.x[1])
    assert standardize(scene).compute().isnull().sum() == rescale(scene).isnull().sum() == 60


def test_without_band():
    with pytest.raises(ValueError, match=r"data lacks \['band'\]"):
        standardize(make_scene().isel(band=0))
