from __future__ import annotations

import cloudpickle
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import rioxarray
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_utils.stacking import stack_pixels, unstack_labels

from .factories import make_scene

pytestmark = [
    pytest.mark.filterwarnings("error::FutureWarning"),
    pytest.mark.filterwarnings("error::DeprecationWarning", "ignore:Use .@. matmul"),
]


@st.composite
def scenes(draw):
    """Draw scenes of any shape, order, chunks and fraction of nodata, with a valid pixel."""
    ny, nx, n_bands = (draw(st.integers(1, 5)) for _ in range(3))
    scene = make_scene(
        ny=ny, nx=nx, bands=("blue", "green", "red", "nir", "swir1")[:n_bands],
        step=draw(st.sampled_from([30.0, 0.1, 1 / 3])), seed=draw(st.integers(0, 99)),
        crs=draw(st.sampled_from(["EPSG:32611", None])),
    )  # fmt: skip
    if draw(st.booleans()):
        scene = scene.isel(y=slice(None, None, -1))
    if draw(st.booleans()):
        scene = scene.isel(x=slice(None, None, -1))
    kind = draw(st.sampled_from(["one", "without time", "times", "no coordinate"]))
    if kind == "without time":
        scene = scene.drop_vars("time")
    elif kind != "one":
        n = draw(st.integers(1, 3))
        scene = xr.concat([scene * (i + 1) for i in range(n)], "time")
        dates = np.datetime64("1988-10-22", "ns") + np.arange(n) * np.timedelta64(16, "D")
        scene = scene.assign_coords(time=dates)
        if kind == "no coordinate":
            scene = scene.drop_vars("time").rename(time="scene")
    missing = draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in scene.shape)), max_size=8))
    values = scene.values.copy()
    for position in missing:
        values[position] = np.nan
    scene = scene.copy(data=values)
    if not scene.notnull().all("band").any():
        scene = scene.fillna(0)
    scene = scene.transpose(*draw(st.permutations(scene.dims)))
    if draw(st.booleans()):
        scene = scene.chunk({dim: draw(st.integers(1, 3)) for dim in scene.dims})
    return scene


@settings(max_examples=30, deadline=None)
@given(scene=scenes(), lazy=st.booleans(), data=st.data())
def test_round_trip_is_exact(scene, lazy, data):
    samples = stack_pixels(scene)
    present = scene.notnull().all("band").compute()
    n = int(present.sum())

    assert samples.dims == ("pixel", "band")
    assert samples.shape == (n, scene.sizes["band"])
    assert samples.dtype == scene.dtype
    assert samples.attrs == scene.attrs | {
        "n_pixels": present.size, "n_missing": present.size - n
    }  # fmt: skip
    assert not samples.isnull().any()

    # Each sample has the values of the pixel at its index.
    row = data.draw(st.integers(0, n - 1))
    where = dict(zip(samples.indexes["pixel"].names, samples.indexes["pixel"][row], strict=True))
    pixel = scene.compute().sel(where)
    np.testing.assert_array_equal(samples.isel(pixel=row), pixel)

    labels = np.arange(n) % 255
    numbers = da.from_array(labels, chunks=max(1, n // 2)) if lazy else labels
    result = unstack_labels(numbers, samples, scene)
    assert result.dims == tuple(dim for dim in scene.dims if dim != "band")
    assert result.dtype == np.uint8
    assert (result.chunks is not None) == lazy
    assert set(result.coords) == set(scene.coords) - {"band", "number", "wavelength"}
    for name in result.coords:
        xr.testing.assert_identical(result[name], scene[name].drop_vars("band", errors="ignore"))
    np.testing.assert_array_equal(result == 255, ~present.transpose(*result.dims))
    again = result.stack(pixel=samples.indexes["pixel"].names).values
    np.testing.assert_array_equal(again[again != 255], labels)


def test_a_value_comes_back_to_its_own_pixel():
    scene = make_scene(np.arange(60).reshape(1, 6, 10), bands=("red",), ny=6, nx=10)
    scene = scene.where(scene % 7 != 0)
    samples = stack_pixels(scene.transpose("x", "band", "y"))
    result = unstack_labels(samples.sel(band="red").values.astype(int), samples, scene)
    expected = scene.isel(band=0).fillna(255).astype(int)
    np.testing.assert_array_equal(result, expected)


def test_stacking_reads_only_the_mask_and_knows_its_chunks():
    scene = make_scene(ny=40, nx=50, chunks=(1, 16, 16))
    scene = scene.where(scene.x > scene.x[3])
    samples = stack_pixels(scene)
    assert samples.chunks is not None
    assert not np.isnan(samples.chunks[0]).any()
    assert samples.chunks[1] == (6,)
    assert samples["number"].chunks is None


def test_lazy_samples_are_small_chunks_that_know_their_pixels():
    """Positions of the valid pixels in the graph would be 2 MB, a chunk of a date 3 MB."""

    def value(time, band, y, x):
        return np.where((x > 3) & (y >= 30), time + band + y * x, np.nan)

    shape = (3, 6, 300, 400)
    series = xr.DataArray(
        da.fromfunction(value, shape=shape, chunks=(1, 1, 64, 64), dtype="f8"),
        {"x": np.arange(400.0), "month": ("time", [4, 5, 6])},
        ("time", "band", "y", "x"),
        "digital",
        {"nodata": 0},
    )
    for lazy in (series, series.isel(time=1).transpose("x", "band", "y")):
        samples = stack_pixels(lazy)
        assert 0 < min(samples.chunks[0]) <= max(samples.chunks[0]) <= 64 * 64
        assert len(cloudpickle.dumps(dict(samples.data.dask))) < 1e6
        xr.testing.assert_identical(samples.compute(), stack_pixels(lazy.compute()))


def test_integers_are_masked_by_their_fill_value():
    scene = (make_scene() * 10_000).astype("int16").assign_attrs(_FillValue=-9999)
    scene[0, 2, 2] = -9999
    samples = stack_pixels(scene)
    assert samples.dtype == np.int16
    assert samples.attrs["n_missing"] == 1
    assert (samples != -9999).all()


def test_part_of_the_samples_can_be_put_back():
    scene = make_scene()
    samples = stack_pixels(scene)[::3]
    result = unstack_labels(np.ones(len(samples), int), samples, scene)
    expected = np.where(np.arange(30).reshape(5, 6) % 3 == 0, 1, 255)
    np.testing.assert_array_equal(result, expected)


def test_label_map_contract():
    scene = make_scene()
    scene.encoding = {"dtype": "int16", "_FillValue": -9999}
    samples = stack_pixels(scene)
    labels = xr.DataArray(np.zeros(30, int), dims="pixel")
    result = unstack_labels(labels, samples, scene)
    assert result.name == "label"
    assert result.attrs == {"_FillValue": 255}
    assert "_FillValue" not in result.encoding
    assert result.rio.crs == "EPSG:32611"
    assert result.time == scene.time
    xr.testing.assert_identical(result, unstack_labels(labels, samples, result))


def test_a_lazy_map_can_travel_to_a_worker():
    scene = make_scene(chunks=2)
    samples = stack_pixels(scene)
    labels = (samples.sel(band="nir") > 0.3).astype("int32").data
    result = unstack_labels(labels, samples, scene)
    there = cloudpickle.loads(cloudpickle.dumps(result))
    np.testing.assert_array_equal(there, scene.sel(band="nir") > 0.3)


@pytest.mark.parametrize("dim", ["band", "y", "x"])
def test_scene_without_a_dimension(dim):
    with pytest.raises(ValueError, match=rf"scene must .* it lacks \['{dim}'\]"):
        stack_pixels(make_scene().isel({dim: 0}))


def test_stack_pixels_refuses_arrays_without_names():
    with pytest.raises(TypeError, match="must be an xarray.DataArray"):
        stack_pixels(make_scene().values)


def test_all_missing():
    with pytest.raises(
        ValueError, match="scene must have a pixel with a value in all 6 bands, got none of 30"
    ):
        stack_pixels(make_scene(np.nan, chunks=2))


@pytest.mark.parametrize("dim", ["y", "x", "time"])
def test_duplicated_coordinates(dim):
    scene = xr.concat([make_scene(), make_scene(seed=1)], "time")
    if dim != "time":
        dates = np.array(["1988-10-22", "2017-10-22"], "datetime64[ns]")
        twice = xr.concat([scene[dim][:2], scene[dim][1:-1]], dim).values
        scene = scene.assign_coords({"time": dates, dim: twice})
    with pytest.raises(ValueError, match=f"scene must have a coordinate {dim} .* more than once"):
        stack_pixels(scene)


def test_wrong_number_of_labels():
    scene = make_scene()
    with pytest.raises(ValueError, match=r"one value for each pixel .* got \{\'pixel\': 29\}"):
        unstack_labels(np.zeros(29, int), stack_pixels(scene), scene)


@pytest.mark.parametrize("bad", [-1, 255, 70_000])
def test_labels_out_of_range(bad):
    scene = make_scene()
    samples = stack_pixels(scene)
    labels = np.zeros(30, int)
    labels[7] = bad
    with pytest.raises(ValueError, match="whole numbers from 0 to 254"):
        unstack_labels(labels, samples, scene)
    lazy = unstack_labels(da.from_array(labels, chunks=10), samples, scene)
    with pytest.raises(ValueError, match="whole numbers from 0 to 254"):
        lazy.compute()


def test_labels_must_be_whole_numbers():
    scene = make_scene()
    samples = stack_pixels(scene)
    labels = np.arange(30.0)
    labels[4] = np.nan  # as from a reader that masks nodata
    result = unstack_labels(labels, samples, scene)
    np.testing.assert_array_equal(result.values.ravel(), np.where(labels == labels, labels, 255))
    with pytest.raises(ValueError, match="whole numbers from 0 to 254, .* got 0.5"):
        unstack_labels(np.full(30, 0.5), samples, scene)


def test_samples_of_another_scene():
    scene = make_scene()
    samples = stack_pixels(scene)
    with pytest.raises(ValueError, match="template must have .* got none for x = 330015.0"):
        unstack_labels(np.zeros(30, int), samples, make_scene(left=330_015.0))
    with pytest.raises(ValueError, match=r"\['time', 'y', 'x'\], got the levels \['y', 'x'\]"):
        unstack_labels(np.zeros(30, int), samples, scene.expand_dims("time"))
    with pytest.raises(ValueError, match=r"levels \[None\]|levels \[\]"):
        unstack_labels(np.zeros(30, int), samples.drop_vars(["pixel", "y", "x"]), scene)


@pytest.mark.parametrize("options", [{}, {"masked": True}, {"mask_and_scale": True}, {"chunks": 3}])
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 0), ("uint8", 255), ("uint16", 0), ("int16", -9999), ("float32", -9999),
     ("float32", -3.4e38), ("float32", np.nan), ("float64", -9999)],
)  # fmt: skip
def test_nodata_of_a_file_is_left_out_however_it_is_opened(tmp_path, dtype, nodata, options):
    scene = (make_scene() * 100 + 1).astype(dtype)
    scene[:, 0] = nodata
    scene[3, 2, 4] = nodata
    scene.drop_vars("band").rio.write_nodata(nodata).rio.to_raster(tmp_path / "scene.tif")
    opened = rioxarray.open_rasterio(tmp_path / "scene.tif", **options)
    samples = stack_pixels(opened)
    assert samples.attrs["n_missing"] == 7
    assert not {"_FillValue", "missing_value", "nodata"} & {*samples.attrs, *samples.encoding}
    expected = stack_pixels((make_scene() * 100 + 1).astype(dtype)).values
    np.testing.assert_array_equal(samples, np.delete(expected, [*range(6), 16], axis=0))
    opened.close()


@pytest.mark.parametrize("nodata", [[-1, -9999], (-9999.0, 0.0), "-9999", np.float32(-9999)])
@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
def test_several_nodata_values_and_text(key, nodata):
    scene = make_scene()
    scene[1, 1, 1] = -9999
    assert stack_pixels(scene.assign_attrs({key: nodata})).attrs["n_missing"] == 1
    with pytest.raises(
        ValueError,
        match="nodata value of an array must be a number .* got 'none'",
    ):
        stack_pixels(scene.assign_attrs({key: "none"}))


def test_a_mask_is_honored():
    values = make_scene().values
    mask = np.zeros(values.shape, bool)
    mask[2, 3, 3] = True
    for masked in (np.ma.masked_array(values, mask), da.ma.masked_array(values, mask)):
        assert stack_pixels(make_scene().copy(data=masked)).attrs["n_missing"] == 1


@pytest.mark.parametrize("dim", ["y", "x", "time"])
def test_a_coordinate_that_is_missing(dim):
    scene = make_scene().expand_dims(time=np.array(["2017-10-22"], "M8[ns]"))
    values = scene[dim].values.copy()
    values[-1] = "NaT" if dim == "time" else np.nan
    with pytest.raises(ValueError, match=f"scene must have a coordinate {dim} without missing"):
        stack_pixels(scene.assign_coords({dim: values}))
    if dim != "time":
        with pytest.raises(ValueError, match=f"template must have a coordinate {dim} without"):
            samples = stack_pixels(scene)
            unstack_labels(np.zeros(30, int), samples, scene.assign_coords({dim: values}))


def test_a_dimension_named_pixel():
    for scene in (make_scene().expand_dims("pixel"), make_scene().assign_coords(pixel=3)):
        with pytest.raises(ValueError, match="no dimension or coordinate named 'pixel'"):
            stack_pixels(scene)


@pytest.fixture
def stacked():
    scene = make_scene()
    samples = stack_pixels(scene)
    labels = xr.DataArray(
        np.arange(30), dims="pixel", coords=xr.Coordinates.from_pandas_multiindex(
            samples.indexes["pixel"], "pixel"
        ),
    )  # fmt: skip
    return scene, samples, labels


@pytest.mark.parametrize("chunks", [None, 7])
def test_labels_are_aligned_by_their_pixel_coordinate(stacked, chunks):
    scene, samples, labels = stacked
    expected = np.arange(30).reshape(5, 6)
    shuffled = labels[np.random.default_rng(0).permutation(30)]
    shuffled = shuffled if chunks is None else shuffled.chunk(chunks)
    np.testing.assert_array_equal(unstack_labels(shuffled, samples, scene), expected)
    some = unstack_labels(shuffled, samples[::2], scene)
    np.testing.assert_array_equal(some.values.ravel()[::2], np.arange(0, 30, 2))
    turned = pd.MultiIndex.from_product([scene.x.values, scene.y.values], names=["x", "y"])
    by_column = xr.DataArray(expected.T.ravel(), dims="pixel").assign_coords(
        xr.Coordinates.from_pandas_multiindex(turned, "pixel")
    )
    np.testing.assert_array_equal(unstack_labels(by_column, samples, scene), expected)


def test_labels_that_cannot_be_aligned(stacked):
    scene, samples, labels = stacked
    for wrong, message in [
        (labels[::2], "must have a value for each pixel of the samples, got none for"),
        (labels[[0, 0, *range(2, 30)]], "must have one value for each pixel, got several for"),
        (labels[::-1].reset_index("pixel"), "must have the coordinate . of the samples"),
        (
            labels.drop_vars(["pixel", "y", "x"]).assign_coords(pixel=range(30)),
            "must have the pixel index .* with the levels",
        ),
    ]:
        with pytest.raises(ValueError, match=f"labels {message}"):
            unstack_labels(wrong, samples, scene)


def test_a_template_that_was_saved_and_opened_again():
    scene = make_scene()
    samples = stack_pixels(scene)
    again = scene.assign_coords(x=scene.x + 1e-9, y=scene.y * (1 + 1e-15)).isel(
        x=slice(None, None, -1)
    )
    result = unstack_labels(np.arange(30), samples, again)
    np.testing.assert_array_equal(result.values[:, ::-1].ravel(), np.arange(30))
    np.testing.assert_array_equal(result.x, again.x)


def test_templates_that_do_not_fit():
    scene = make_scene()
    samples = stack_pixels(scene)
    twice = scene.x.values.copy()
    twice[1] = twice[0]
    for wrong, message in [
        (scene.assign_coords(x=scene.x + 0.1), "must have the coordinates of all samples"),
        (scene.isel(x=slice(4)), "must have the coordinates of all samples, got none for x"),
        (make_scene(crs="EPSG:32612"), "must have the CRS of the samples"),
        (scene.assign_coords(x=twice), "must have a coordinate x in which no value occurs twice"),
    ]:
        with pytest.raises(ValueError, match=f"^template {message}"):
            unstack_labels(np.zeros(30, int), samples, wrong)
    for wrong in (scene.values, scene.to_dataset(name="scene"), None):
        with pytest.raises(TypeError, match="^template must be an xarray.DataArray, got"):
            unstack_labels(np.zeros(30, int), samples, wrong)


def test_one_pixel_twice_among_the_samples():
    scene = make_scene()
    with pytest.raises(ValueError, match="samples must be different pixels"):
        unstack_labels([0, 1, 2], stack_pixels(scene)[[0, 0, 1]], scene)


@pytest.mark.parametrize(
    "labels",
    [
        np.ma.masked_equal(np.arange(30), 3),
        da.ma.masked_equal(da.arange(30), 3),
        np.arange(30).astype(object),
        np.arange(30).astype(str),
        np.arange(30) * 1j,
        np.arange(30).astype("M8[s]"),
    ],
)
def test_labels_that_are_no_real_numbers(labels):
    scene = make_scene()
    with pytest.raises(TypeError, match="^labels must "):
        unstack_labels(labels, stack_pixels(scene), scene)


@pytest.mark.parametrize("nodata", [255, -1])
def test_labels_that_declare_their_nodata_value(nodata):
    scene = make_scene()
    labels = xr.DataArray([nodata, *range(29)], dims="pixel", attrs={"_FillValue": nodata})
    result = unstack_labels(labels, stack_pixels(scene), scene)
    assert result.values.ravel().tolist() == [255, *range(29)]


def test_the_template_may_write_its_crs_otherwise():
    scene = make_scene()
    template = scene.rio.write_crs("EPSG:32611+5773")  # with a vertical component
    samples = stack_pixels(scene)
    labels = np.arange(samples.sizes["pixel"])
    np.testing.assert_array_equal(unstack_labels(labels, samples, template).values.ravel(), labels)


def test_a_multiindex_along_time_is_refused():
    runs = pd.MultiIndex.from_tuples([("OLI", 1), ("OLI", 2)], names=["sensor", "run"])
    scenes = xr.concat([make_scene().drop_vars("time")] * 2, "time")
    scenes = scenes.assign_coords(xr.Coordinates.from_pandas_multiindex(runs, "time"))
    with pytest.raises(ValueError, match="one coordinate along time, got a MultiIndex of .'sensor"):
        stack_pixels(scenes)
    assert stack_pixels(scenes.reset_index("time")).sizes["pixel"] == 60
