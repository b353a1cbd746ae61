from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_utils.regridding import common_grid, regrid

from .factories import make_grid, make_labels, make_scene

pytestmark = pytest.mark.filterwarnings("error", "ignore::PendingDeprecationWarning")

LAKE = {"lon": -118.7081, "lat": 38.6942}
ROI = {"crs": "EPSG:32611", "buffer": 15_000, "resolution": 200}


def plane(**kwargs):
    """Return a scene whose value is a linear function of position: interpolation is exact."""
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
    x, y = ccrs.UTM(11).transform_point(LAKE["lon"], LAKE["lat"], ccrs.PlateCarree())
    grid = common_grid(**LAKE, **ROI)
    np.testing.assert_allclose(grid.x, np.arange(x - 15_000, x + 15_000, 200), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        grid.y[::-1], np.arange(y - 15_000, y + 15_000, 200), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lon": 38.6942, "lat": -118.7081}, "lon=38.6942, lat=-118.7081: are they swapped"),
        ({"lon": 190}, "lon must be from -180 to 180"),
        ({"lon": np.nan}, "lon must be a finite number, got nan"),
        ({"crs": "EPSG:4326"}, "crs must be projected.*got WGS 84"),
        ({"buffer": 0}, "buffer must be a finite number greater than 0, got 0"),
        ({"resolution": -1}, "resolution must be .* greater than 0, got -1"),
        ({"resolution": 20_000}, "resolution=20000.0, buffer=15000.0"),
    ],
)
def test_common_grid_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        common_grid(**(LAKE | ROI | change))


# -- interpolation -----------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    order=st.permutations(["band", "y", "x"]), chunks=st.sampled_from([None, (1, 2, 3), (2, 5, 6)]),
    dx=st.floats(-60, 60), dy=st.floats(-60, 60), step=st.sampled_from([7.0, 30.0, 55.0]),
    up=st.booleans(),
)  # fmt: skip
def test_linear_is_exact_on_a_plane(order, chunks, dx, dy, step, up):
    scene = plane(chunks=chunks)
    scene = scene.isel(y=slice(None, None, -1)) if up else scene
    scene = scene.transpose(*order)
    grid = make_grid(left=330_057 + dx, top=4_299_955 + dy, step=step)
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
    with pytest.raises(ValueError, match="'linear', 'nearest', got 'cubic'"):
        regrid(scene, grid, method="cubic")
