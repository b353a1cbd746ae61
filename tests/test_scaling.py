from __future__ import annotations

import dask
import numpy as np
import pytest
import rioxarray
import xarray as xr
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cookbook_utils._conventions.nodata import NODATA_KEYS, nodata_values
from cookbook_utils.scaling import rescale, standardize, to_reflectance
from cookbook_utils.stacking import stack_pixels

from .factories import make_scene

pytestmark = pytest.mark.filterwarnings(
    "error", "ignore:Use .@. matmul", "ignore:Scales differ across bands"
)  # the last two come from affine and rioxarray


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # xarray silences warnings of empty slices by catch_warnings, which is not thread-safe.
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
    with pytest.raises(ValueError, match="got reflectance already"):
        to_reflectance(make_scene())
    display = make_scene(units="display value")
    with pytest.raises(ValueError, match="got none and units 'display value'"):
        to_reflectance(display)
    half = make_scene(units="digital number").assign_attrs(scale_factor=0.1)
    with pytest.raises(ValueError, match=r'got attrs\["scale_factor"\] and .*2.75e-05 and -0.2'):
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
    # The result does not depend on the gain and offset of a sensor.
    np.testing.assert_allclose(standardize(samples * 3 + 7), z, atol=1e-9)
    np.testing.assert_allclose(rescale(samples * 3 + 7), unit, atol=1e-9)


@pytest.mark.parametrize("function", [standardize, rescale])
def test_a_constant_band(function):
    # The mean of 0.1 is rounded, so the standard deviation is tiny but not zero.
    values = make_scene().values
    values[2], values[4] = 0.1, 0.3
    with pytest.raises(ValueError, match="got a constant in red, swir1:"):
        function(make_scene(values))
    with pytest.raises(ValueError, match="got a constant in red, swir1:"):
        function(make_scene(values, chunks=(1, 2, 2)))
    assert np.isfinite(function(make_scene(values), per_band=False)).all()
    with pytest.raises(ValueError, match="a constant in all bands"):
        function(make_scene(0.1), per_band=False)


@pytest.mark.parametrize("function", [standardize, rescale])
@pytest.mark.parametrize("chunks", [None, 2])
def test_a_missing_band(function, chunks):
    values = make_scene().values
    values[3] = np.nan
    silent = np.errstate(invalid="ignore")  # mean of an empty slice
    with silent, pytest.raises(ValueError, match="only nodata in nir:"):
        function(make_scene(values, chunks=chunks))


@pytest.mark.parametrize("function", [standardize, rescale])
def test_chunks_are_not_kept_until_the_statistics_are_known(function):
    """A chunk has 16 kB. One graph of statistics and values would keep all of them in memory."""
    held = []

    def count(_key, _result, _graph, state, _worker):
        held.append(sum(getattr(value, "nbytes", 0) > 10_000 for value in state["cache"].values()))

    values = dask.array.random.default_rng(0).random((1, 2000, 50), chunks=(1, 40, 50))
    with Callback(posttask=count), dask.config.set(scheduler="sync"):
        function(xr.DataArray(values, {"band": ["red"]}, ("band", "y", "x"))).sum().compute()
    assert max(held) < 15


def test_a_chunk_without_values_gives_no_warning():
    scene = make_scene(chunks=(6, 2, 2))
    scene = scene.where(scene.x > scene.x[1])
    assert standardize(scene).compute().isnull().sum() == rescale(scene).isnull().sum() == 60


def test_without_band():
    with pytest.raises(ValueError, match=r"data must .* it lacks \['band'\]"):
        standardize(make_scene().isel(band=0))


def landsat(*, dtype="uint16", chunks=None, scale=2.75e-5, offset=-0.2):
    """Return digital numbers from 8000 to 29 000, as in Landsat Collection 2."""
    scene = ((make_scene() + 0.2) / 2.75e-5).round().astype(dtype)
    scene.attrs = {"scale_factor": scale, "add_offset": offset}
    return scene if chunks is None else scene.chunk(chunks)


def assert_no_nodata(array):
    assert not nodata_values(array)
    assert array.rio.nodata is None
    assert not set(NODATA_KEYS) & {*array.attrs, *array.encoding}
    assert not {"scale_factor", "add_offset", "scales", "offsets"} & {*array.attrs, *array.encoding}


@pytest.mark.parametrize("options", [{}, {"masked": True}, {"chunks": 3}])
@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 0), ("float32", -9999), ("int32", -9999)])
def test_a_file_with_nodata_through_every_function(tmp_path, dtype, nodata, options):
    scene = landsat(dtype=dtype)
    scene[1, 2, 3] = nodata
    scene.drop_vars("band").rio.write_nodata(nodata).rio.to_raster(tmp_path / "scene.tif")
    opened = rioxarray.open_rasterio(tmp_path / "scene.tif", **options)
    opened.attrs |= {"scale_factor": 2.75e-5, "add_offset": -0.2}
    valid = np.ones(scene.shape, bool)
    valid[1, 2, 3] = False
    digital = np.where(valid, landsat(dtype="f8"), np.nan)
    z, unit = reference(digital, (1, 2))
    for result, expected in [
        (to_reflectance(opened), digital * 2.75e-5 - 0.2),
        (standardize(opened), z),
        (rescale(opened), unit),
    ]:
        assert_no_nodata(result)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    opened.close()


@pytest.mark.parametrize("key", NODATA_KEYS)
@pytest.mark.parametrize("nodata", [-9999, "-9999", [-9999, 0]])
@pytest.mark.parametrize("function", [to_reflectance, standardize, rescale])
def test_nodata_in_floats_is_missing_and_not_named_any_more(key, nodata, function):
    scene = landsat(dtype="float32").assign_attrs({key: nodata})
    scene[1, 2, 3] = -9999
    result = function(scene)
    assert np.argwhere(result.isnull().values).tolist() == [[1, 2, 3]]
    assert_no_nodata(result)


@pytest.mark.parametrize("chunks", [None, 3])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_the_scale_of_1_that_rioxarray_writes_is_refused(tmp_path, dtype, chunks):
    scene = (landsat(dtype="f8") / (200 if dtype == "uint8" else 2)).astype(dtype)
    scene.drop_vars("band").drop_attrs().rio.to_raster(tmp_path / "scene.tif")
    opened = rioxarray.open_rasterio(tmp_path / "scene.tif", chunks=chunks)
    assert opened.attrs["scale_factor"] == 1
    with pytest.raises(
        ValueError, match="2.75e-05 and -0.2 for Landsat .* 0.0001 and -0.1 for Sen"
    ):
        to_reflectance(opened).compute()
    opened.close()


def test_a_scale_of_1_is_right_where_a_file_holds_reflectance():
    scene = make_scene(units=None).assign_attrs(scale_factor=1.0, add_offset=0.0)
    np.testing.assert_array_equal(to_reflectance(scene), scene)


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(np.nan, 0), (np.inf, 0), (0, 0), (-1e-4, 0), (1e-9, 0), (2, 0), ("x", 0), (None, 0), (1j, 0),
     ([], []), (1e-4, np.nan), (1e-4, -np.inf), (1e-4, 50), (True, 0)],
)  # fmt: skip
def test_a_scale_or_offset_that_cannot_be(scale, offset):
    with pytest.raises(ValueError, match=r'^attrs\["(scale_factor|add_offset)"\] must be .*, got '):
        to_reflectance(landsat(scale=scale, offset=offset))


@pytest.mark.parametrize("chunks", [None, 3])
def test_reflectance_that_cannot_be(chunks):
    floats = landsat(dtype="f4", chunks=chunks)
    with pytest.raises(ValueError, match="lead to reflectance, got 100% .* above 2"):
        to_reflectance(floats.assign_attrs(scale_factor=1.0, add_offset=0.0)).compute()
    undeclared = floats.where(floats.x > floats.x[1], -9999).assign_attrs(floats.attrs)
    with pytest.raises(ValueError, match="below -0.25: declare nodata by scene.rio.write_nodata"):
        to_reflectance(undeclared).compute()
    decoded = make_scene(chunks=chunks, units=None).assign_attrs(floats.attrs)
    with pytest.raises(ValueError, match="fractions such as .* reflectance already"):
        to_reflectance(decoded).compute()


def test_one_band_that_cannot_be():
    scene = landsat(dtype="f4")
    scene[3] *= 1e4
    with pytest.raises(ValueError, match="of the values of a band above 2"):
        to_reflectance(scene)


def test_reflectance_that_was_saved_as_geotiff_is_reflectance(tmp_path):
    to_reflectance(landsat()).drop_vars("band").rio.to_raster(tmp_path / "scene.tif")
    with (
        rioxarray.open_rasterio(tmp_path / "scene.tif") as opened,
        pytest.raises(ValueError, match="got reflectance already"),
    ):
        to_reflectance(opened)


def test_outliers_do_not_refuse_a_scene():
    scene = landsat()
    scene[:, 1:3] = 65_535  # saturated: 1.6
    scene[0, 0, 0] = 1
    result = to_reflectance(scene)
    assert float(result.max()) == pytest.approx(1.602, abs=1e-3)
    bright = landsat(dtype="f4")
    bright[:, 0] = 1e6
    assert (to_reflectance(bright) > 2).mean() == 0.2
    dark = landsat(scale=1e-4, offset=-0.1)
    dark[:] = 900  # noise over deep water: -0.01
    assert (to_reflectance(dark) < 0).all()


@pytest.mark.parametrize("chunks", [None, 2])
def test_one_scale_for_each_band(chunks):
    scene = landsat(chunks=chunks)
    scales, offsets = np.linspace(1e-5, 3e-5, 6), np.linspace(0, -0.2, 6)
    expected = scene.values * scales[:, None, None] + offsets[:, None, None]
    scene = scene.drop_attrs().assign_coords(
        scale_factor=("band", scales), add_offset=("band", offsets)
    )
    result = to_reflectance(scene.transpose("y", "band", "x"))
    assert result.dims == ("y", "band", "x")
    assert result.dtype == np.float32
    assert not {"scale_factor", "add_offset"} & set(result.coords)
    np.testing.assert_allclose(result.transpose("band", "y", "x"), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(to_reflectance(scene[::-2]), expected[::-2], rtol=1e-4, atol=1e-6)
    # Attributes are not reordered with bands, so the band of each number is unknown.
    with pytest.raises(ValueError, match="must be one number unless the bands are those of the fi"):
        to_reflectance(landsat(scale=scales.tolist(), offset=offsets)[::-1])


def test_one_scale_for_each_band_of_a_file(tmp_path):
    scales, offsets = np.linspace(1e-5, 3e-5, 6), np.zeros(6)
    scene = landsat().drop_vars("band").drop_attrs()
    scene.assign_attrs(scales=scales, offsets=offsets).rio.to_raster(tmp_path / "scene.tif")
    with rioxarray.open_rasterio(tmp_path / "scene.tif") as opened:
        assert len(opened.attrs["scales"]) == 6
        expected = scene.values * scales[:, None, None]
        np.testing.assert_allclose(to_reflectance(opened), expected, rtol=1e-4)
        for wrong, message in [
            (opened[::-1], r"bands \[6, 5, 4, 3, 2, 1\]: call to_reflectance before"),
            (opened[:2], r"numbered from 1 to 6, got the bands \[1, 2\]"),
            (opened[2], "numbered from 1 to 6, got the bands 3"),
            (opened.assign_coords(band=list("abcdef")), r"got the bands \['a', 'b'"),
        ]:
            with pytest.raises(ValueError, match=message):
                to_reflectance(wrong)
        with pytest.raises(
            ValueError,
            match=r'got attrs\["scale_factor"\], attrs\["add_offset"\], attrs\["scales"\]',
        ):
            to_reflectance(opened.assign_attrs(scale_factor=1e-4, add_offset=0))
    with rioxarray.open_rasterio(tmp_path / "scene.tif", mask_and_scale=True) as decoded:
        with pytest.raises(ValueError, match='units"] = "1" if the reader of the file has'):
            to_reflectance(decoded)


def test_scaled_features_are_no_digital_numbers():
    for function in (standardize, rescale):
        with pytest.raises(ValueError, match="scene must hold digital numbers, got .*d values"):
            to_reflectance(function(landsat()).assign_attrs(scale_factor=1e-4, add_offset=0))


@pytest.mark.parametrize("function", [to_reflectance, standardize, rescale])
def test_what_is_no_scene(function):
    scene = landsat()
    for wrong in (
        None, "scene", scene.values, scene.to_dataset(name="scene"), [scene],
        scene.astype(object), scene.astype(str), scene.astype(complex),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="^(scene|data) must "):
            function(wrong)
    for empty in (scene[:0], scene[:, :0]):
        with pytest.raises(ValueError, match="a size of at least 1"):
            function(empty)


@pytest.mark.parametrize("function", [to_reflectance, standardize, rescale])
def test_a_mask_is_honored(function):
    scene = landsat()
    masked = np.ma.masked_less(scene.values, 10_000)
    result = function(scene.copy(data=masked))
    np.testing.assert_array_equal(result.isnull(), masked.mask)
    assert masked.mask.any()
    lazy = dask.array.ma.masked_less(dask.array.from_array(scene.values, chunks=3), 10_000)
    xr.testing.assert_allclose(function(scene.copy(data=lazy)).compute(), result)


@pytest.mark.parametrize("dtype", ["float16", ">i2", ">f4"])
def test_short_and_foreign_numbers_keep_their_digits(dtype):
    scene = landsat(dtype="f4") / 2
    scene = scene.astype(dtype).assign_attrs(scale_factor=5.5e-5, add_offset=-0.2)
    result = to_reflectance(scene)
    np.testing.assert_allclose(result, scene.astype("f8") * 5.5e-5 - 0.2, rtol=1e-5, atol=1e-6)
    assert standardize(scene).dtype.itemsize == 4


@pytest.mark.parametrize("function", [standardize, rescale])
@pytest.mark.parametrize("chunks", [None, 2])
def test_infinite_values(function, chunks):
    scene = make_scene()
    scene[1, 2, 3] = np.inf
    scene[4, 2, 3] = -np.inf
    scene = scene if chunks is None else scene.chunk(chunks)
    with pytest.raises(ValueError, match="got infinite values in green, swir1"):
        function(scene)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
@pytest.mark.parametrize("function", [standardize, rescale])
def test_a_scale_of_any_size(function, scale):
    scene = make_scene().astype("f8")
    np.testing.assert_allclose(function(scene * scale), function(scene), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="a range beyond float64 in blue, green"):
        function((scene - 0.3) * 1e308 * 6)


@pytest.mark.parametrize("function", [standardize, rescale])
def test_what_was_scaled_is_taken_as_it_is(function):
    once = function(make_scene())
    np.testing.assert_allclose(function(once), once, atol=1e-6)
    np.testing.assert_allclose(function(standardize(make_scene())), once, atol=1e-6)


@pytest.mark.parametrize("function", [standardize, rescale])
def test_a_band_must_vary_and_per_band_be_bool(function):
    with pytest.raises(ValueError, match="a constant in 0, 1, 2, 3, 4, 5"):
        function(make_scene(ny=1, nx=1).drop_vars("band"))
    with pytest.raises(TypeError, match="per_band must be True or False, got 'no'"):
        function(make_scene(), per_band="no")
