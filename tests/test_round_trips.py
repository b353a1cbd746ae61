"""Every product of the package can be written to a file, read back and used as before."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import rioxarray
import xarray as xr
from matplotlib.figure import Figure

from cookbook_utils._conventions.labels import as_labels, flags, meanings_of
from cookbook_utils.areas import area_km2, class_areas
from cookbook_utils.indices import ndvi
from cookbook_utils.labels import change_map, find_water, match_labels, water_mask
from cookbook_utils.metrics import (
    cluster_profiles,
    intersection_over_union,
    label_change,
    transition_matrix,
)
from cookbook_utils.plotting import (
    plot_change,
    plot_labels,
    plot_points,
    plot_profiles,
    plot_rgb,
    plot_series,
)
from cookbook_utils.regridding import common_grid, regrid
from cookbook_utils.scaling import rescale, standardize
from cookbook_utils.simulate import simulate_site
from cookbook_utils.stacking import stack_pixels, unstack_labels
from cookbook_utils.views import view_labels, view_points, view_transitions

from .factories import make_points, make_scene

GRID = {"ny": 6, "nx": 7}


# -- files -----------------------------------------------------------------------------------------


def geotiff(array, path, **options):
    array.rio.to_raster(path / "array.tif")
    return rioxarray.open_rasterio(path / "array.tif", **options).load()


def netcdf(array, path, engine="scipy", **options):
    array.to_netcdf(path / "array.nc", engine=engine)
    open_file = xr.open_dataset if isinstance(array, xr.Dataset) else xr.open_dataarray
    with open_file(path / "array.nc", engine=engine, **options) as back:
        return back.load()


def netcdf3(array, path, **options):
    """Write label maps as 16-bit integers, since NetCDF 3 has no unsigned bytes."""
    if not isinstance(array, xr.Dataset) and array.dtype == np.uint8:
        array = array.astype("int16")
    return netcdf(array, path, **options)


def netcdf4(array, path, **options):
    return netcdf(array, path, "netcdf4", **options)


ROUTES = {
    "GeoTIFF": geotiff,
    "GeoTIFF, masked": lambda array, path: geotiff(array, path, masked=True),
    "GeoTIFF, scaled": lambda array, path: geotiff(array, path, mask_and_scale=True),
    "GeoTIFF, lazy": lambda array, path: geotiff(array, path, masked=True).chunk(y=2),
    "NetCDF 3": netcdf3,
    "NetCDF 3, raw": lambda array, path: netcdf3(array, path, mask_and_scale=False),
    "NetCDF 4": netcdf4,
    "NetCDF 4, raw": lambda array, path: netcdf4(array, path, mask_and_scale=False),
    "GeoTIFF, then NetCDF 3": lambda array, path: netcdf3(
        as_labels(geotiff(array, path, masked=True)), path
    ),
    "NetCDF 3, then GeoTIFF": lambda array, path: geotiff(netcdf3(array, path), path),
}


@pytest.fixture(params=ROUTES)
def through_file(request, tmp_path):
    return lambda array: ROUTES[request.param](array, tmp_path)


# -- products --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene():
    """A scene with water on the left, sand on the right, one nodata pixel and no equal pixels."""
    water, sand = [0.06, 0.05, 0.04, 0.02, 0.01, 0.01], [0.1, 0.15, 0.2, 0.25, 0.3, 0.3]
    spectra = np.where(np.arange(7)[:, None] < 4, water, sand).T[:, None, :]
    scene = make_scene(spectra + np.linspace(0, 0.01, 42).reshape(6, 7), **GRID)
    scene[2, 1, 1] = np.nan
    return scene


@pytest.fixture(scope="module")
def labels(scene):
    samples = stack_pixels(scene)
    dark = samples.sel(band="nir").values < 0.1
    return unstack_labels(np.where(dark, np.arange(dark.size) % 2, 2), samples, scene)


@pytest.fixture(scope="module")
def later(labels):
    return labels.copy(data=np.where(labels == 255, 255, np.roll(labels.values, 1, axis=1) % 255))


@pytest.fixture(scope="module")
def masks(labels):
    """Masks of two dates, with water that is lost and water that is gained."""
    before = (labels < 2).astype("uint8").where(labels != 255, 255).astype("uint8")
    after = before.copy(data=np.where(before == 255, 255, np.roll(before.values, 2, axis=1) % 255))
    after[3, 3] = 255
    return [mask.assign_attrs(flags("water mask", ("land", "water"))) for mask in (before, after)]


@pytest.fixture(scope="module")
def change(masks):
    return change_map(*masks)


def comparable(result):
    """Convert a result to a form that can be compared by ``==`` or NumPy."""
    if isinstance(result, xr.Dataset):
        return {name: variable.values.tolist() for name, variable in result.data_vars.items()}
    if isinstance(result, xr.DataArray):
        return as_labels(result).transpose("y", "x").values.tolist()
    if isinstance(result, pd.DataFrame | pd.Series):
        return result.to_dict()
    if hasattr(result, "get_legend"):
        texts = [text.get_text() for text in result.get_legend().get_texts()]
        return texts, [image.get_array().tolist() for image in result.images]
    if hasattr(result, "dimension_values"):
        return [result.dimension_values(dim).tolist() for dim in result.dimensions()]
    return result


def axes():
    return Figure().subplots()


OF_LABELS = {
    "plot_labels": lambda labels, *_: plot_labels(labels, ax=axes()),
    "view_labels": lambda labels, *_: view_labels(labels),
    "view_transitions": lambda labels, later, _: view_transitions(labels, later),
    "class_areas": lambda labels, *_: class_areas(labels),
    "match_labels": lambda labels, later, _: match_labels(labels, later),
    "match_labels, reference": lambda labels, later, _: match_labels(later, labels),
    "label_change": lambda labels, later, _: label_change(labels, later),
    "transition_matrix": lambda labels, later, _: transition_matrix(labels, later),
    "cluster_profiles": lambda labels, _, scene: cluster_profiles(scene, labels),
    "find_water": lambda labels, _, scene: find_water(scene, labels),
    "water_mask": lambda labels, _, scene: water_mask(scene, labels),
    "regrid": lambda labels, later, _: regrid(as_labels(labels), later, method="nearest"),
    "unstack_labels": lambda labels, _, scene: unstack_labels(
        np.arange(41), stack_pixels(scene), labels
    ),
}
OF_MASKS = {
    "plot_labels": lambda before, after: plot_labels(before, ax=axes()),
    "view_labels": lambda before, after: view_labels(before),
    "area_km2": lambda before, after: area_km2(before),
    "class_areas": lambda before, after: class_areas(before),
    "change_map": change_map,
    "change_map, after": lambda before, after: change_map(after, before),
    "intersection_over_union": intersection_over_union,
    "transition_matrix": transition_matrix,
}
OF_CHANGE = {
    "plot_change": lambda change: plot_change(change, ax=axes()),
    "plot_labels": lambda change: plot_labels(change, ax=axes()),
    "view_labels": view_labels,
    "class_areas": class_areas,
}


@pytest.fixture(scope="module")
def results(labels, later, scene, masks, change):
    """The result of each function before its label map goes through a file."""
    return {
        **{name: comparable(OF_LABELS[name](labels, later, scene)) for name in OF_LABELS},
        **{f"mask, {name}": comparable(OF_MASKS[name](*masks)) for name in OF_MASKS},
        **{f"change, {name}": comparable(OF_CHANGE[name](change)) for name in OF_CHANGE},
    }


def test_label_maps_serve_as_before(labels, later, scene, results, through_file):
    back = through_file(labels)
    for name, function in OF_LABELS.items():
        assert comparable(function(back, later, scene)) == results[name], name


def test_water_masks_serve_as_before(masks, results, through_file):
    before, after = masks
    back = through_file(before)
    for name, function in OF_MASKS.items():
        assert comparable(function(back, after)) == results[f"mask, {name}"], name


def test_change_maps_serve_as_before(change, results, through_file):
    back = through_file(change)
    assert meanings_of(back) == dict(enumerate(("land", "water", "lost", "gained")))
    for name, function in OF_CHANGE.items():
        assert comparable(function(back)) == results[f"change, {name}"], name


@pytest.mark.parametrize("route", ["NetCDF 3", "NetCDF 3, raw", "NetCDF 4"])
def test_series_of_label_maps_keep_their_dates(labels, later, route, tmp_path):
    dates = np.array(["1988-06-01", "2017-06-01"], "datetime64[ns]")
    series = xr.concat([labels, later], xr.Variable("time", dates)).assign_attrs(labels.attrs)
    view = view_labels(ROUTES[route](series, tmp_path))
    assert [pd.Timestamp(date) for date in view.keys()] == list(pd.DatetimeIndex(dates))
    for found, one in zip(view, (labels, later), strict=True):
        shown = found.dimension_values("label", flat=False)
        np.testing.assert_array_equal(shown, one.values[::-1])


def test_a_series_in_a_geotiff_becomes_bands(labels, later, tmp_path):
    """A GeoTIFF has no dates, but the order of the maps is kept."""
    series = xr.concat([labels, later], "time").assign_attrs(labels.attrs)
    view = view_labels(geotiff(series, tmp_path, masked=True))
    assert [dim.name for dim in view.kdims] == ["band"]
    assert list(view.keys()) == [1, 2]


@pytest.mark.parametrize("route", ["NetCDF 3", "NetCDF 3, raw", "NetCDF 4"])
def test_labels_of_points_stay_labels(route, tmp_path):
    points = make_points(40)
    regime = xr.DataArray(np.arange(40, dtype="uint8") % 3, dims="point")
    regime[5] = 255
    regime.attrs = flags("regime", ("stable", "creep", "snow_gaps"))
    back = ROUTES[route](regime, tmp_path)
    expected, found = (plot_points(points, values, ax=axes()) for values in (regime, back))
    assert comparable(found) == comparable(expected)
    colors = [ax.collections[0].get_facecolors() for ax in (found, expected)]
    np.testing.assert_array_equal(*colors)
    assert comparable(view_points(points, back)) == comparable(view_points(points, regime))


def test_labels_of_points_without_names_stay_labels(tmp_path):
    points, values = make_points(4), xr.DataArray(np.uint8([0, 1, 255, 3]), dims="point")
    back = netcdf4(values.assign_attrs(_FillValue=255), tmp_path)
    assert back.dtype == "float32"
    expected, found = (plot_points(points, one, ax=axes()) for one in (values, back))
    assert comparable(found) == comparable(expected)


# -- scenes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [name for name in ROUTES if "then" not in name])
def test_reflectance_stays_reflectance(scene, route, tmp_path):
    back = ROUTES[route](scene, tmp_path).assign_coords(band=scene.band.values)
    np.testing.assert_array_equal(ndvi(back), ndvi(scene))
    np.testing.assert_array_equal(stack_pixels(back), stack_pixels(scene))
    pictures = [plot_rgb(one, ax=axes()).images[0].get_array() for one in (back, scene)]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("scale", [standardize, rescale])
@pytest.mark.parametrize("route", ["GeoTIFF", "GeoTIFF, masked", "NetCDF 3"])
def test_scaled_scenes_are_still_no_reflectance(scene, scale, route, tmp_path):
    scaled = scale(scene)
    back = ROUTES[route](scaled, tmp_path).assign_coords(band=scene.band.values)
    np.testing.assert_array_equal(stack_pixels(back), stack_pixels(scaled))
    with pytest.raises(ValueError, match=r"reflectance.*(standardized|rescaled)"):
        ndvi(back)


def test_a_geotiff_says_that_its_bands_have_no_names(scene, tmp_path):
    with pytest.raises(ValueError, match=r"three out of \[1, 2, .*assign_coords\(band="):
        plot_rgb(geotiff(scene, tmp_path))


@pytest.mark.parametrize("route", ["NetCDF 3", "NetCDF 4"])
def test_a_common_grid_is_still_one(scene, route, tmp_path):
    grid = common_grid(-118.9573, 38.8317, crs="EPSG:32611", buffer=90, resolution=20)
    back = ROUTES[route](grid, tmp_path)
    xr.testing.assert_equal(regrid(scene, back), regrid(scene, grid))


def test_samples_come_back_by_their_levels(scene, tmp_path):
    """xarray cannot write a MultiIndex, so its levels are written and combined again."""
    samples = stack_pixels(scene)
    back = netcdf3(samples.reset_index("pixel"), tmp_path).set_index(pixel=["y", "x"])
    numbers = np.arange(samples.sizes["pixel"])
    xr.testing.assert_equal(
        unstack_labels(numbers, back, scene), unstack_labels(numbers, samples, scene)
    )


@pytest.mark.parametrize("route", ["NetCDF 3", "NetCDF 4"])
def test_profiles_are_drawn_as_before(scene, labels, route, tmp_path):
    profiles = cluster_profiles(scene, labels)
    drawn = [plot_profiles(one, ax=axes()) for one in (ROUTES[route](profiles, tmp_path), profiles)]
    assert drawn[0].get_ylabel() == drawn[1].get_ylabel() == "Reflectance"
    for found, expected in zip(*[ax.lines for ax in drawn], strict=True):
        np.testing.assert_array_equal(found.get_xydata(), expected.get_xydata())


@pytest.mark.parametrize("route", ["NetCDF 3", "NetCDF 4"])
def test_series_are_drawn_as_before(route, tmp_path):
    dates = np.array(["2020-05-01", "2020-05-13", "2020-10-01"], "datetime64[ns]")
    mean = xr.DataArray(
        [[0.0, -2.0, np.nan], [1.0, 2.0, 3.0]],
        coords={"cluster": [0, 4], "time": dates}, dims=("cluster", "time"), attrs={"units": "mm"},
    )  # fmt: skip
    profiles = xr.Dataset({"mean": mean, "std": 1 + 0 * mean, "count": ("cluster", [1200, 3])})
    drawn = [plot_series(one, ax=axes()) for one in (ROUTES[route](profiles, tmp_path), profiles)]
    texts = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in drawn]
    assert texts[0] == texts[1] == ["cluster 0, 1,200 points", "cluster 4, 3 points"]
    for found, expected in zip(*[ax.lines for ax in drawn], strict=True):
        np.testing.assert_array_equal(found.get_xydata(), expected.get_xydata())


@pytest.mark.parametrize("route", ["NetCDF 3", "NetCDF 4"])
def test_points_come_back(route, tmp_path):
    points = simulate_site("insar_nordnes", n_points=20)
    back = ROUTES[route](points, tmp_path)
    xr.testing.assert_allclose(back, points)
    assert back.attrs["static_features"] == points.attrs["static_features"]
