from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import rioxarray
import xarray as xr

from cookbook_utils import _checks
from cookbook_utils._conventions.bands import require_reflectance
from cookbook_utils._conventions.grids import require_same_grid, same_crs
from cookbook_utils._conventions.labels import as_labels, meanings_of
from cookbook_utils._conventions.nodata import is_missing, mask_and_float, numbers_in, valid_pixels

from .factories import make_grid, make_labels, make_scene


def test_require_dims_takes_any_order():
    scene = make_scene().transpose("x", "band", "y")
    _checks.require_dims(scene, ("band", "y", "x"), "scene")
    _checks.require_dims(scene.expand_dims("time"), ("band", "y"), "scene", allow_extra=True)


def test_require_dims_names_what_is_missing_and_what_is_extra():
    scene = make_scene().isel(band=0, drop=True).expand_dims("spectrum")
    with pytest.raises(ValueError, match=r"it lacks \['band'\] and has unexpected \['spectrum'"):
        _checks.require_dims(scene, ("band", "y", "x"), "scene")
    with pytest.raises(TypeError, match="scene must be an xarray.DataArray .* got ndarray"):
        _checks.require_dims(scene.values, ("band", "y", "x"), "scene")


def test_valid_pixels_of_floats_and_integers():
    scene = make_scene()
    scene[2, 1, 3] = np.nan
    expected = np.ones((5, 6), bool)
    expected[1, 3] = False
    np.testing.assert_array_equal(valid_pixels(scene), expected)

    whole = (scene * 10_000).fillna(-9999).astype("int16")
    assert valid_pixels(whole).all()
    for place in (whole.attrs, whole.encoding):
        place["_FillValue"] = -9999
        np.testing.assert_array_equal(valid_pixels(whole), expected)
        place.clear()


def test_valid_pixels_stays_lazy():
    assert valid_pixels(make_scene(chunks=2)).chunks is not None


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32"])
def test_mask_and_float_is_exact(dtype):
    values = xr.DataArray(
        np.array([0, 1, 32767, 5], dtype), dims="x", attrs={"_FillValue": 5, "sensor": "TM"}
    )
    result = mask_and_float(values)
    np.testing.assert_array_equal(result, [0, 1, 32767, np.nan])
    assert result.attrs == {"sensor": "TM"}
    assert values.attrs["_FillValue"] == 5


def test_require_same_grid():
    grid = make_grid()
    require_same_grid(grid, make_scene())
    for other, found in [
        (make_grid(left=330_015.0), "grids must be equal, got different x: 6 from 330015.0"),
        (make_grid(ny=4), "grids must be equal, got different y"),
        (make_grid(crs="EPSG:32612"), "CRS: WGS 84 / UTM zone 11N and WGS 84 / UTM zone 12N"),
        (make_grid(crs=None), "and none"),
    ]:
        with pytest.raises(ValueError, match=found) as error:
            require_same_grid(grid, other)
        assert "regridding.regrid" in str(error.value)


def test_require_reflectance():
    require_reflectance(make_scene(), "ndvi")
    with pytest.raises(
        ValueError,
        match="scene must hold reflectance .* for ndvi, got .*'digital number'.*to_reflectance",
    ):
        require_reflectance(make_scene(units="digital number"), "ndvi")
    with pytest.raises(ValueError, match="got standardized values"):
        require_reflectance(make_scene().assign_attrs(scaling="standardized"), "ndvi")


@pytest.mark.parametrize("place", ["attrs", "encoding"])
@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_one_rule_says_what_is_missing(dtype, key, place):
    values = xr.DataArray(np.array([-9999, 0, 1], dtype), dims="x")
    getattr(values, place)[key] = -9999
    assert is_missing(values).values.tolist() == [True, False, False]
    np.testing.assert_array_equal(mask_and_float(values), [np.nan, 0, 1])


def test_the_nodata_value_of_the_accessor_counts():
    scene = make_scene(np.full((6, 5, 6), 0.5))
    scene[1, 2, 3] = -9999
    assert valid_pixels(scene).all()
    scene = scene.rio.set_nodata(-9999)
    assert np.argwhere(~valid_pixels(scene).values).tolist() == [[2, 3]]


def test_a_scaled_encoding_describes_the_file_and_not_the_values():
    decoded = xr.DataArray([0.0, 1.0, np.nan], dims="x")
    decoded.encoding = {"_FillValue": 0, "scale_factor": 2.75e-5, "add_offset": -0.2}
    assert is_missing(decoded).values.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("scales", "missing"), [((1.0, 1.0), [True, False]), ((2.75e-5, 1e-4), [False, False])]
)
def test_scales_of_the_bands_in_the_encoding_count_too(scales, missing):
    values = xr.DataArray([0.0, 1.0], dims="x")
    values.encoding = {"_FillValue": 0, "scales": scales, "offsets": (0.0, 0.0)}
    assert is_missing(values).values.tolist() == missing


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("int64", 2**63 - 1), ("int64", -(2**63)), ("int64", 2**53 + 1), ("uint64", 2**64 - 1)],
)
def test_large_integers_are_compared_exactly(dtype, nodata):
    values = xr.DataArray(
        np.array([[nodata, nodata - 1 if nodata > 0 else nodata + 1]], dtype),
        dims=("y", "x"), attrs={"_FillValue": np.dtype(dtype).type(nodata)},
    )  # fmt: skip
    assert is_missing(values).values.tolist() == [[True, False]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("dtype", "nodata", "missing"),
    [
        ("float32", -1.7976931348623157e308, [True, False]),  # written by GDAL for float64
        ("int16", np.inf, [False, False]),
        ("int16", 40_000, [False, False]),
        ("int16", [7, -9999], [False, True]),
        ("float32", "7", [False, True]),
    ],
)
def test_nodata_values_that_the_accessor_cannot_read(dtype, nodata, missing):
    values = xr.DataArray(np.array([[0, 7]], dtype), dims=("y", "x"), attrs={"nodata": nodata})
    if dtype == "float32":
        values[0, 0] = -np.inf
    assert is_missing(values).values.tolist() == [missing]


@pytest.mark.parametrize("nodata", ["none", "", "0 1", 1j, {}])
def test_a_nodata_value_that_is_no_number(nodata):
    values = xr.DataArray(np.float32([[0, 7]]), dims=("y", "x"), attrs={"nodata": nodata})
    with pytest.raises(ValueError, match="the nodata value of an array must be a number that"):
        is_missing(values)


def test_a_nodata_value_that_float32_rounds_is_found():
    values = xr.DataArray(np.float32([-9999.9, 1]), dims="x", attrs={"nodata": -9999.9})
    assert is_missing(values).values.tolist() == [True, False]
    assert is_missing(values.astype("f8")).values.tolist() == [True, False]


@pytest.mark.parametrize(
    ("stored", "attrs"),
    [
        (np.uint8([[0, 3, 255]]), {}),
        (np.int64([[0, 3, -1]]), {"_FillValue": -1}),
        (np.float32([[0, 3, np.nan]]), {}),
        (np.float64([[0, 3, 255]]), {"nodata": 255.0}),
    ],
)
@pytest.mark.parametrize("chunks", [None, 1])
def test_labels_are_read_however_they_were_stored(stored, attrs, chunks):
    labels = xr.DataArray(stored, dims=("y", "x"), attrs=attrs)
    labels = labels if chunks is None else labels.chunk(chunks)
    result = as_labels(labels)
    assert result.dtype == np.uint8
    assert result.values.tolist() == [[0, 3, 255]]
    assert result.chunks == labels.chunks


@pytest.mark.parametrize("wrong", [-1, 256, 0.5, np.inf])
def test_what_is_no_label_is_refused(wrong):
    with pytest.raises(ValueError, match="labels must be whole numbers from 0 to 254"):
        as_labels(xr.DataArray([[0.0, wrong]], dims=("y", "x")))


@pytest.mark.parametrize("text", ["[0, 1, 2]", "0 1 2", "0, 1, 2", "0b, 1b, 2b", "[0. 1. 2.]"])
def test_class_numbers_are_read_from_text(text):
    labels = xr.DataArray(
        np.uint8([[0]]), dims=("y", "x"), attrs={"flag_values": text, "flag_meanings": "a b c"}
    )
    assert meanings_of(labels) == {0: "a", 1: "b", 2: "c"}


def test_a_grid_saved_and_opened_again_is_the_same_grid():
    scene = make_scene()
    moved = scene.assign_coords(x=scene.x + 1e-9, y=scene.y - 0.02)
    again = require_same_grid(scene, moved)
    assert (scene + again).sizes == scene.sizes
    with pytest.raises(ValueError, match="grids must be equal, got different x"):
        require_same_grid(scene, scene.assign_coords(x=scene.x + 0.05))


@pytest.mark.parametrize("kind", ["tif", "masked tif", "nc"])
@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"left": 330_000.123, "top": 4_300_000.77, "step": 10.3},
        {"left": 46.1, "top": -15.7, "step": 0.00026949, "crs": "EPSG:4326"},
    ],
)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_map_of_a_file_lies_on_the_grid_of_the_map(tmp_path, kind, grid):
    labels = make_labels(np.arange(200).reshape(10, 20), **grid)
    if kind == "nc":
        labels.astype("int16").to_netcdf(tmp_path / "labels.nc")
        with xr.open_dataset(tmp_path / "labels.nc", decode_coords="all") as stored:
            again = stored["label"].load()
    else:
        labels.rio.to_raster(tmp_path / "labels.tif")
        again = rioxarray.open_rasterio(tmp_path / "labels.tif", masked=kind == "masked tif")[0]
    again = as_labels(require_same_grid(labels, again))
    assert (again == labels).sizes == labels.sizes
    assert (again == labels).all()


def test_rounding_to_float32_is_not_another_grid():
    grid = make_grid(step=10, left=330_003.3, top=4_300_001.7)
    rounded = grid.assign_coords({dim: grid[dim].astype("float32") for dim in ("y", "x")})
    assert (abs(rounded.y.values - grid.y.values) > 0.1).any()
    require_same_grid(grid, rounded)
    require_same_grid(rounded, grid)
    for other in (grid.assign_coords(y=grid.y + 1), rounded.assign_coords(y=rounded.y + 1.5)):
        with pytest.raises(ValueError, match="grids must be equal, got different y"):
            require_same_grid(grid, other)


@pytest.mark.parametrize("size", [{"ny": 1}, {"nx": 1}, {"ny": 1, "nx": 1}])
def test_grids_of_one_row_or_column(size):
    grid = make_grid(**size)
    require_same_grid(grid, grid.assign_coords(x=grid.x + 1e-9, y=grid.y - 1e-9))
    with pytest.raises(ValueError, match="grids must be equal, got different x"):
        require_same_grid(grid, grid.assign_coords(x=grid.x + 3))


def test_the_other_array_keeps_its_own_time():
    one = make_labels([[0, 1]]).assign_coords(time=0)
    again = require_same_grid(one, one.assign_coords(time=1, x=one.x + 1e-9))
    assert again.time == 1
    assert (again.x == one.x).all()


@pytest.mark.parametrize(
    "other",
    ["WKT1_GDAL", "WKT1_ESRI", "WKT2_2015", "+proj=utm +zone=11 +datum=WGS84", "EPSG:32611+5773"],
)
def test_one_crs_in_several_forms(other):
    pyproj = pytest.importorskip("pyproj")
    crs = pyproj.CRS("EPSG:32611")
    other = crs.to_wkt(other) if other.startswith("WKT") else other
    assert same_crs(crs, pyproj.CRS(other))
    # The axis order of a CRS does not affect x and y.
    assert same_crs(pyproj.CRS("EPSG:4326"), pyproj.CRS("OGC:CRS84"))
    for different in ("EPSG:32612", "EPSG:32711", "EPSG:26911", "EPSG:3857", "EPSG:4326"):
        assert not same_crs(crs, pyproj.CRS(different))
    assert not same_crs(crs, None)
    assert same_crs(None, None)


def test_a_nodata_value_that_the_dtype_cannot_hold_is_no_error():
    mask = make_labels([[0, 1]]) == 1
    assert not is_missing(mask.assign_attrs(_FillValue=255)).any()
    assert not is_missing(make_labels([[0, 1]]).assign_attrs(_FillValue=-9999)).any()


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.ma.masked_equal([1, 2], 2), TypeError),
        (da.ma.masked_equal(da.arange(3), 2), TypeError),
        (["a"], TypeError),
        ([1j], TypeError),
        ([None], TypeError),
        (np.array(["2017"], "M8[D]"), TypeError),
        ([[1], [1, 2]], ValueError),
    ],
)
def test_arrays_of_real_numbers(values, error):
    assert _checks.as_real_array([1, 2.5], "X").tolist() == [1, 2.5]
    with pytest.raises(error, match="^X must "):
        _checks.as_real_array(values, "X")


@pytest.mark.parametrize(
    ("check", "value", "error"),
    [
        (lambda v: _checks.require_integer(v, "n", least=1, most=5), 0, ValueError),
        (lambda v: _checks.require_integer(v, "n", least=1), True, TypeError),
        (lambda v: _checks.require_integer(v, "n"), 1.0, TypeError),
        (lambda v: _checks.require_number(v, "n", above=0, most=1), 0, ValueError),
        (lambda v: _checks.require_number(v, "n", above=0), "1", TypeError),
        (lambda v: _checks.require_number(v, "n"), np.nan, ValueError),
        (lambda v: _checks.require_random_state(v, "n"), -1, ValueError),
        (lambda v: _checks.require_random_state(v, "n"), 2**32, ValueError),
        (lambda v: _checks.require_bool(v, "n"), 1, TypeError),
        (lambda v: _checks.require_choice(v, "n", ("a", "b")), "c", ValueError),
        (lambda v: _checks.require_choice(v, "n", ("a", "b")), None, TypeError),
    ],
)
def test_parameters_are_checked_in_one_grammar(check, value, error):
    with pytest.raises(error, match="^n must be .*, got "):
        check(value)


@pytest.mark.parametrize("value", [10**400, [[1], [2, 3]], {"a": 1}, 1j, "metre"])
def test_an_attribute_that_is_no_number(value):
    with pytest.raises(ValueError, match="^the scale of an array must be a number that float64"):
        numbers_in(value, "the scale of an array")


def test_numbers_in_attributes_of_any_shape():
    assert numbers_in([[1, 2], [3, 4]], "it") == [1, 2, 3, 4]
    assert numbers_in("0.5", "it") == [0.5]
    assert numbers_in(None, "it") == []


@pytest.mark.parametrize("value", [10**400, -(10**5000)], ids=["long", "longer"])
def test_integers_that_float64_or_text_cannot_hold(value):
    with pytest.raises(ValueError, match="^n must be an integer from 1 to 5, got int$"):
        _checks.require_integer(value, "n", least=1, most=5)
    with pytest.raises(ValueError, match="^n must be a finite number, got int$"):
        _checks.require_number(value, "n")


def test_sizes_that_are_not_known():
    values = da.from_array(np.random.default_rng(0).random((9, 2)), chunks=3)
    samples = xr.DataArray(values[values[:, 0] > 0.5], dims=("pixel", "band"))
    with pytest.raises(ValueError, match="known size .* none for .'pixel'.: call compute_chunk_si"):
        _checks.require_dims(samples, ("pixel", "band"), "samples")


def test_masked_rows_of_a_list_are_refused():
    rows = [np.ma.masked_less([1.0, -9999.0], 0), np.array([1.0, 2.0])]
    for values in (rows, tuple(rows)):
        with pytest.raises(TypeError, match="^X must be an array without a mask"):
            _checks.as_real_array(values, "X")


def test_reasons_of_an_error_end_with_the_first_one():
    first, second, third = OSError("no file"), ValueError(), RuntimeError("no map")
    third.__cause__, second.__context__ = second, first
    assert _checks.reasons_of(third) == ["no map", "ValueError", "no file"]
    first.__context__ = RuntimeError("no map")
    assert _checks.reasons_of(third) == ["no map", "ValueError", "no file"]
