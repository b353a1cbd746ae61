from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_utils.regridding import common_grid, regrid

from .factories import make_grid, make_labels, make_scene

pytestmark = pytest.mark.filterwarnings("error", "ignore::PendingDeprecationWarning")

LAKE = {"longitude": -118.7081, "latitude": 38.6942}
ROI = {"crs": "EPSG:32611", "buffer": 15_000, "resolution": 200}


def plane(**kwargs):
    """Return a scene that is linear in x and y, so that bilinear interpolation is exact."""
    scene = make_scene(crs="EPSG:32611", **kwargs)
    values = 1e-3 * (scene.x - 330_000) - 2e-3 * (scene.y - 4_300_000)
    return (scene * 0 + values.astype("float32")).assign_attrs(scene.attrs)


# -- the grid ----------------------------------------------------------------------------------


def test_common_grid():
    grid = common_grid(**LAKE, **ROI)
    assert dict(grid.sizes) == {"y": 150, "x": 150}
    np.testing.assert_allclose(grid.x.diff("x"), 200)
    np.testing.assert_allclose(grid.y.diff("y"), -200)
    assert grid.rio.crs == "EPSG:32611"
    assert not grid.data_vars


def test_common_grid_is_where_cartopy_puts_it():
    ccrs = pytest.importorskip("cartopy.crs", reason="cartopy belongs to the plot extra")
    x, y = ccrs.UTM(11).transform_point(LAKE["longitude"], LAKE["latitude"], ccrs.PlateCarree())
    grid = common_grid(**LAKE, **ROI)
    np.testing.assert_allclose(grid.x, np.arange(x - 15_000, x + 15_000, 200), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        grid.y[::-1], np.arange(y - 15_000, y + 15_000, 200), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"longitude": 38.6942, "latitude": -118.7081},
            "latitude must be from -90 to 90 degrees, got -118.7081: are .* swapped",
        ),
        ({"longitude": 190}, "longitude must be from -180 to 180"),
        ({"longitude": np.nan}, "longitude must be a finite number, got nan"),
        ({"crs": "EPSG:4326"}, "crs must be projected.*got WGS 84"),
        ({"buffer": 0}, "buffer must be a finite number greater than 0, got 0"),
        ({"resolution": -1}, "resolution must be .* greater than 0, got -1"),
        ({"resolution": 20_000}, "resolution=20000.0, buffer=15000.0"),
        ({"crs": "EPSG:0"}, "crs must be a projected CRS .* got 'EPSG:0'"),
        ({"resolution": 0.5}, "at most 500000000 pixels, got 60000 x 60000"),
        ({"buffer": 1e300, "resolution": 1e-300}, "got inf x inf"),
        (
            {"longitude": 10.0, "latitude": 50.0},
            "of the area of use of WGS 84 / UTM zone 11N",
        ),
        ({"longitude": -105.0}, "longitude -120 to -114"),
        ({"crs": "+proj=utm +zone=33 +datum=WGS84"}, "longitude 12 to 18"),
        ({"crs": "EPSG:3413"}, "latitude 60 to 90"),
    ],
)
def test_common_grid_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        common_grid(**(LAKE | ROI | change))


@pytest.mark.parametrize("name", ["longitude", "latitude", "buffer", "resolution"])
@pytest.mark.parametrize("value", [True, "1", None, 1j, [1.0]])
def test_common_grid_takes_numbers(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be a finite number"):
        common_grid(**(LAKE | ROI | {name: value}))


@settings(max_examples=100, deadline=None)
@given(longitude=st.floats(-119, -115), latitude=st.floats(30, 45))
def test_every_center_gets_the_same_number_of_pixels(longitude, latitude):
    assert dict(common_grid(longitude, latitude, **ROI).sizes) == {"y": 150, "x": 150}


@pytest.mark.parametrize(("buffer", "resolution", "size"), [(0.3, 0.1, 6), (1, 1, 2), (10, 7, 3)])
def test_the_number_of_pixels_is_rounded_up(buffer, resolution, size):
    grid = common_grid(**LAKE, crs="EPSG:32611", buffer=buffer, resolution=resolution)
    assert dict(grid.sizes) == {"y": size, "x": size}


@pytest.mark.parametrize(
    ("crs", "longitude", "latitude"),
    [
        ("EPSG:32612", *LAKE.values()),  # the neighboring zone
        ("EPSG:32601", 179.0, 10.0),  # across the antimeridian
        ("EPSG:32638", 46.2, -15.9),  # Landsat products use northern zones in the south
        ("EPSG:3857", *LAKE.values()),
    ],
)
def test_common_grid_beside_the_area_of_use(crs, longitude, latitude):
    assert common_grid(longitude, latitude, **(ROI | {"crs": crs})).rio.crs == crs


# -- interpolation -----------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    order=st.permutations(["band", "y", "x"]), chunks=st.sampled_from([None, (1, 2, 3), (2, 5, 6)]),
    # In decimeters, since centers closer than 3 cm, a thousandth of a pixel, are equal.
    dx=st.integers(-600, 600), dy=st.integers(-600, 600), step=st.sampled_from([7.0, 30.0, 55.0]),
    up=st.booleans(),
)  # fmt: skip
def test_linear_is_exact_on_a_plane(order, chunks, dx, dy, step, up):
    scene = plane(chunks=chunks)
    scene = scene.isel(y=slice(None, None, -1)) if up else scene
    scene = scene.transpose(*order)
    grid = make_grid(left=330_057 + dx / 10, top=4_299_955 + dy / 10, step=step)
    result = regrid(scene, grid)
    inside = (
        (grid.x >= scene.x.min()) & (grid.x <= scene.x.max())
        & (grid.y >= scene.y.min()) & (grid.y <= scene.y.max())
    )  # fmt: skip
    expected = (1e-3 * (grid.x - 330_000) - 2e-3 * (grid.y - 4_300_000)).where(inside)

    assert result.dims == scene.dims
    assert result.dtype == np.float32
    assert (result.chunks is None) == (chunks is None)
    assert result.attrs == scene.attrs
    assert result.time == scene.time
    assert list(result.band.values) == list(scene.band.values)
    assert result.rio.crs == "EPSG:32611"
    values = result.isel(band=3).transpose("y", "x")
    np.testing.assert_array_equal(values.isnull(), ~inside.transpose("y", "x"))
    np.testing.assert_allclose(values, expected.transpose("y", "x"), atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_its_own_grid_changes_nothing(method):
    scene = make_scene()
    result = regrid(scene, scene, method=method)
    np.testing.assert_allclose(result, scene, rtol=1e-6, atol=1e-7)
    xr.testing.assert_identical(result.copy(data=scene.values), scene)


def test_a_missing_pixel_spreads_no_further_than_its_neighbors():
    scene = plane()
    scene[:, 2, 2] = np.nan
    fine = make_grid(ny=20, nx=24, step=7.5)
    missing = regrid(scene, fine).isel(band=0).isnull()
    around = (abs(fine.x - scene.x[2]) < 30) & (abs(fine.y - scene.y[2]) < 30)
    inside = (
        (fine.x >= scene.x.min()) & (fine.x <= scene.x.max())
        & (fine.y >= scene.y.min()) & (fine.y <= scene.y.max())
    )  # fmt: skip
    np.testing.assert_array_equal(missing, (around | ~inside).transpose("y", "x"))


def test_nearest_takes_the_nearest_pixel():
    scene = make_scene()
    grid = make_grid(ny=12, nx=15, step=10, left=330_017, top=4_299_981)
    expected = scene.sel(x=grid.x, y=grid.y, method="nearest")
    np.testing.assert_array_equal(regrid(scene, grid, method="nearest"), expected)


@pytest.mark.parametrize("chunks", [None, 1])
def test_label_maps(chunks):
    labels = make_labels([[0, 1, 255], [2, 254, 1]])
    grid = make_grid(ny=2, nx=5, left=330_003)
    result = regrid(labels if chunks is None else labels.chunk(chunks), grid, method="nearest")
    # The last pixel reaches 15 m beyond its center.
    np.testing.assert_array_equal(result, [[0, 1, 255, 255, 255], [2, 254, 1, 255, 255]])
    assert result.dtype == np.uint8
    assert result.attrs == labels.attrs
    assert result.name == "label"
    with pytest.raises(ValueError, match="method='nearest'"):
        regrid(labels, grid)
    with pytest.raises(ValueError, match="_FillValue that uint8 can hold.*got none"):
        regrid(labels.drop_attrs(deep=False), grid, method="nearest")


def test_digital_numbers_keep_their_fill_value():
    scene = (make_scene() * 10_000).astype("int16").assign_attrs(_FillValue=-9999)
    scene[:, 0, 0] = -9999
    result = regrid(scene, make_grid(left=330_029), method="nearest")
    assert result.dtype == np.int16
    assert (result[:, 0, 0] == scene[:, 0, 1]).all() and (result[:, :, -1] == -9999).all()
    np.testing.assert_array_equal(result[:, :, :-1], scene[:, :, 1:])


def test_two_sensors_meet_on_one_grid():
    one, two = plane(ny=40, nx=40, step=150), plane(ny=40, nx=40, step=160, left=330_050)
    grid = make_grid(ny=20, nx=20, step=200, left=331_000, top=4_299_000)
    xr.testing.assert_allclose(regrid(one, grid), regrid(two, grid), rtol=1e-5)


def test_the_geotransform_of_the_scene_does_not_stay():
    scene = make_scene().rio.write_transform()
    grid = make_grid(step=20, left=330_020, top=4_299_990)
    result = regrid(scene, grid)
    assert result.rio.transform() == grid.rio.transform()
    assert "GeoTransform" not in result.spatial_ref.attrs


def test_regrid_refuses():
    scene, grid = make_scene(), make_grid(left=330_015)
    for given_scene, given_grid, message in [
        (scene, make_grid(crs="EPSG:32612"), "UTM zone 11N and .* 12N: .*rio.reproject"),
        (make_scene(crs=None), grid, "scene must have a CRS, got none"),
        (scene, make_grid(crs=None), "grid must have a CRS, got none"),
        (scene, make_grid(left=0), "grid must overlap the scene, got x from 15.0"),
        (scene.isel(y=[0]), grid, "at least 2 pixels along y, got 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            regrid(given_scene, given_grid)
    with pytest.raises(ValueError, match="'linear', 'nearest', 'average', got 'cubic'"):
        regrid(scene, grid, method="cubic")


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("shift", [1e-9, -1e-9, 0.02, "float32"])
@pytest.mark.parametrize("chunks", [None, 2])
def test_a_grid_that_rounding_moved_changes_nothing(method, shift, chunks):
    scene = make_scene(chunks=chunks)
    scene[:, 2, 3] = np.nan
    if shift == "float32":
        grid = make_grid().assign_coords({d: scene[d].astype("float32") for d in ("y", "x")})
    else:
        grid = make_grid().assign_coords(x=scene.x + shift, y=scene.y - shift)
    for one, other in [(scene, grid), (scene.assign_coords(grid.coords), make_grid())]:
        np.testing.assert_array_equal(regrid(one, other, method=method), scene)


def test_nearest_ends_at_the_edges_of_pixels():
    labels = make_labels([[0, 1], [2, 3]])
    grid = make_grid(ny=8, nx=8, step=10, left=329_990, top=4_300_010)
    inside = (
        (grid.x > 330_000) & (grid.x < 330_060) & (grid.y < 4_300_000) & (grid.y > 4_299_940)
    ).transpose("y", "x")
    result = regrid(labels, grid, method="nearest")
    np.testing.assert_array_equal(result != 255, inside)
    np.testing.assert_array_equal(result[1:7, 1:7], np.kron(labels, np.ones((3, 3))))


def test_nearest_skips_no_pixel_halfway():
    labels = make_labels(np.arange(40).reshape(2, 20))
    for rounding in (-1e-9, 0, 1e-9):
        result = regrid(labels, make_grid(ny=2, nx=19, left=330_015 + rounding), method="nearest")
        np.testing.assert_array_equal(result, labels[:, 1:])


@pytest.mark.parametrize("place", ["attrs", "encoding"])
@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_nodata_of_floats_is_not_averaged(place, method):
    scene = plane()
    expected = regrid(scene.where(scene.x > scene.x[0]), make_grid(step=20), method=method)
    scene[:, :, 0] = -9999
    scene[:, 0, 0] = -1
    getattr(scene, place).update(_FillValue=-9999, missing_value=-1)
    result = regrid(scene, make_grid(step=20), method=method)
    np.testing.assert_array_equal(result, expected)
    assert "_FillValue" not in result.attrs


@pytest.mark.parametrize("fill", [np.nan, 300, -1, 1.5, np.inf])
def test_a_fill_value_that_the_dtype_cannot_hold(fill):
    labels = make_labels([[0, 1], [2, 3]]).assign_attrs(_FillValue=fill)
    with pytest.raises(ValueError, match="a _FillValue that uint8 can hold"):
        regrid(labels, make_grid(left=330_015), method="nearest")


def test_the_fill_value_of_the_encoding_stays_known():
    labels = make_labels([[0, 1], [2, 3]]).drop_attrs(deep=False)
    labels.encoding["_FillValue"] = 255
    result = regrid(labels, make_grid(ny=2, nx=2, left=330_030), method="nearest")
    np.testing.assert_array_equal(result, [[1, 255], [3, 255]])
    assert result.attrs == {"_FillValue": 255}


def degrees(x, rows=3):
    """Return a scene in degrees whose values are the column numbers."""
    values = np.tile(np.arange(len(x), dtype="float32"), (rows, 1))
    coords = {"y": np.arange(rows)[::-1] - 1.0, "x": np.asarray(x, float)}
    return xr.DataArray(values, coords, ("y", "x")).rio.write_crs("EPSG:4326")


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_the_antimeridian(method):
    across = degrees([178.5, 179.5, -179.5, -178.5])
    for grid in (across, degrees([178.5, 179.5, 180.5, 181.5])):
        np.testing.assert_array_equal(regrid(across, grid, method=method), across)
    between = regrid(across, degrees([179.75, -179.75]), method=method)[0]
    np.testing.assert_array_equal(between, [1.25, 1.75] if method == "linear" else [1, 2])
    with pytest.raises(ValueError, match="grid must overlap the scene"):
        regrid(across, degrees([0, 1]), method=method)


def test_longitudes_from_0_to_360_meet_those_from_minus_180():
    globe = degrees(np.arange(0.5, 360))
    result = regrid(globe, degrees([-0.5, 0.5, -179.5, 359.5, -179.75]))[0]
    np.testing.assert_array_equal(result, [359, 0, 180, 359, 179.75])
    # The pixels reach the seam, but their centers do not.
    assert np.isnan(regrid(globe, degrees([0, 1]))[0, 0])
    assert regrid(globe, degrees([0, 1]), method="nearest")[0, 0] == 0


def test_coordinates_along_the_grid_are_not_carried_over():
    scene = make_scene().assign_coords(row=("y", np.arange(5)), depth=(("y", "x"), np.ones((5, 6))))
    assert {"row", "depth"}.isdisjoint(regrid(scene, make_grid(left=330_015)).coords)


@pytest.mark.parametrize("dim", ["y", "x"])
@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_coordinates_that_are_no_grid_are_refused(dim, method):
    scene, grid = make_scene(), make_grid()
    holes = grid[dim].where(grid[dim] != grid[dim][1])
    for given_scene, given_grid, message in [
        (scene.isel({dim: [1, 0, 2, 3]}), grid, f"the coordinate {dim} of scene must be regular"),
        (scene.isel({dim: [0, 1, 3]}), grid, f"the coordinate {dim} of scene must be regular"),
        (scene.isel({dim: [0, 1, 1]}), grid, f"{dim} of scene must be .* got 3 with duplicates"),
        (scene.assign_coords({dim: holes}), grid, f"{dim} of scene must be .* got nan"),
        (scene, grid.assign_coords({dim: holes}), f"{dim} of grid must be .* got nan"),
        (scene, grid.isel({dim: [0, 1, 1]}), f"{dim} of grid must be .* got 3 with duplicates"),
        (scene, grid.isel({dim: []}), f"{dim} of grid must be .* got 0"),
        (scene.drop_vars(dim), grid, f"{dim} of scene must be .* got none"),
        (scene, grid.rename({dim: "lon"}), f"{dim} of grid must be .* got none"),
        (scene.rename({dim: "lon"}), grid, "scene must have the dimensions"),
        (scene, grid.rename(x="y", y="x"), "grid must overlap the scene"),
    ]:
        with pytest.raises(ValueError, match=message):
            regrid(given_scene, given_grid, method=method)


def test_regrid_refuses_wrong_types():
    scene, grid = make_scene(), make_grid()
    for given_scene, given_grid, method, message in [
        (scene.values, grid, "linear", "scene must be an xarray.DataArray"),
        (scene.to_dataset(), grid, "linear", "scene must be an xarray.DataArray"),
        (scene.astype(complex), grid, "linear", "scene must hold real numbers"),
        (scene.astype(str), grid, "linear", "scene must hold real numbers"),
        (scene > 0, grid, "nearest", "scene must hold floats or integers, got bool"),
        (scene, scene.values, "linear", "grid must be an xarray.DataArray or Dataset"),
        (scene, None, "linear", "grid must be an xarray.DataArray or Dataset"),
        (scene, grid, None, "method must be one of"),
    ]:
        with pytest.raises(TypeError, match=message):
            regrid(given_scene, given_grid, method=method)


def test_a_grid_too_large_for_memory_is_refused_before_it_is_taken():
    grid = make_grid(ny=30_000, nx=30_000, step=0.005)
    with pytest.raises(ValueError, match="at most 500000000 pixels, got 30000 x 30000"):
        regrid(make_scene(), grid)


# -- labels as floats, large values, tiny pixels ------------------------------------------------


@pytest.mark.parametrize("mark", ["flags", "encoding"])
def test_labels_in_floats_are_not_averaged(mark):
    labels = make_labels([[0, 2, 255], [2, 0, 1]])
    masked = labels.where(labels != 255).drop_attrs(deep=False)
    if mark == "flags":
        masked.attrs = {"flag_values": [0, 1, 2], "flag_meanings": "land water snow"}
    else:
        masked.encoding = {"dtype": np.dtype("uint8"), "_FillValue": 255}
    grid = make_grid(ny=2, nx=3, left=330_015)
    with pytest.raises(ValueError, match="got labels, which have no mean: use method='nearest'"):
        regrid(masked, grid)
    assert set(np.unique(regrid(masked, grid, method="nearest").fillna(255))) <= {0, 1, 2, 255}


def test_a_byte_image_in_floats_is_averaged():
    scene = plane().drop_attrs(deep=False)
    scene.encoding = {"dtype": np.dtype("uint8"), "_FillValue": 255}
    one = scene.isel(band=0)
    one.encoding = scene.encoding | {"scale_factor": 0.01}
    for image in (scene, one):
        assert regrid(image, make_grid(left=330_015)).notnull().any()


def test_linear_does_not_overflow():
    coords = {"y": [30.0, 0.0], "x": [0.0, 100.0]}
    scene = xr.DataArray([[1.6e308, -1.6e308]] * 2, coords, ("y", "x")).rio.write_crs(32611)
    grid = xr.Dataset(coords={"y": [0.0], "x": [25.0, 50.0, 75.0]}).rio.write_crs(32611)
    np.testing.assert_allclose(regrid(scene, grid)[0], [0.8e308, 0, -0.8e308])


def test_pixels_too_small_for_their_coordinates():
    with pytest.raises(ValueError, match="resolution must be at least .*, got 1e-09"):
        common_grid(**LAKE, crs="EPSG:32611", buffer=1e-8, resolution=1e-9)


def test_no_grid_on_another_planet():
    with pytest.raises(ValueError, match="crs must be a CRS of the Earth, got no transformation"):
        common_grid(**LAKE, crs="+proj=eqc +R=1737400", buffer=10, resolution=1)


@pytest.mark.parametrize("units", ["km", "kilometres", "degrees_east", "rad"])
def test_coordinates_in_another_unit_than_their_crs(units):
    scene, grid = make_scene(), make_grid(left=330_015)
    scene.x.attrs["units"] = units
    for one, other in [(scene, grid), (grid.x * grid.y, scene)]:
        with pytest.raises(ValueError, match=f"x must be in the unit .* metre, got {units!r}"):
            regrid(one, other)


@pytest.mark.parametrize(
    ("crs", "units"),
    [(32611, "m"), (32611, "Metres"), (2229, "US survey foot"), (2229, "ft"),
     (4326, "degrees_north"), (32611, "furlong"), (32611, "")],
)  # fmt: skip
def test_units_that_fit_their_crs_or_are_unknown(crs, units):
    scene = make_scene(crs=crs, step=0.1, left=10, top=50)
    scene.y.attrs["units"] = units
    np.testing.assert_array_equal(regrid(scene, scene), scene)


def raster(values):
    """Return a raster (y, x) with pixels of 30 m and a CRS."""
    values = np.asarray(values, np.float64)
    y, x = (30.0 * np.arange(n) for n in values.shape)
    return xr.DataArray(values, {"y": -y, "x": x}, ("y", "x")).rio.write_crs("EPSG:32611")


def test_average_is_the_mean_of_the_pixels_that_a_coarse_pixel_covers():
    scene = raster(np.arange(64.0).reshape(8, 8))
    coarse = scene.coarsen(y=4, x=4).mean()
    np.testing.assert_allclose(regrid(scene, coarse, method="average"), coarse)


def test_average_weights_pixels_by_the_area_that_they_share():
    scene = raster(np.arange(16.0).reshape(4, 4))
    grid = raster(np.zeros((2, 2))).assign_coords(y=[-22.5, -67.5], x=[22.5, 67.5])
    rows = (2 * scene[0] + scene[1]) / 3, (scene[1] + 2 * scene[2]) / 3
    expected = [[(2 * row[0] + row[1]) / 3, (row[1] + 2 * row[2]) / 3] for row in rows]
    result = regrid(scene, grid.assign_coords(y=[-7.5, -52.5], x=[7.5, 52.5]), method="average")
    np.testing.assert_allclose(result, expected)


def test_average_is_nodata_where_less_than_half_has_data():
    scene = raster(np.ones((4, 4)))
    coarse = scene.coarsen(y=2, x=2).mean()
    scene[0, :3] = scene[1, 0] = np.nan  # three of the first four pixels, one of the next four
    averaged = regrid(scene, coarse, method="average")
    np.testing.assert_array_equal(averaged, [[np.nan, 1.0], [1.0, 1.0]])


@pytest.mark.parametrize("method", ["linear", "nearest", "average"])
@pytest.mark.parametrize("chunks", [{"y": 7, "x": 5}, {"y": -1, "x": 1}, {"y": 40, "x": 40}])
def test_windows_and_chunks_do_not_change_the_result(method, chunks, monkeypatch):
    rng = np.random.default_rng(0)
    scene = raster(rng.normal(size=(40, 40)))
    scene = scene.where(rng.random(scene.shape) > 0.1).expand_dims(band=["nir"]).copy()
    grid = scene[0, 3:33:3, 2:38:3]
    grid = grid.assign_coords(y=grid.y - 7, x=grid.x + 11)
    whole = regrid(scene, grid, method=method)
    assert whole.notnull().mean() > 0.2
    lazy = regrid(scene.chunk(chunks), grid, method=method)
    monkeypatch.setattr("cookbook_utils._resampling.SIDE", 4)
    xr.testing.assert_identical(regrid(scene, grid, method=method), whole)
    xr.testing.assert_identical(lazy.compute(), whole)
