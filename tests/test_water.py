"""Classification of water: spectra, warnings about doubtful clusters, and several dates."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cookbook_utils.interimage import InterImageKMeans
from cookbook_utils.labels import find_water, water_mask, water_table
from cookbook_utils.scaling import standardize

from .factories import BANDS, make_labels, make_scene

# Reflectance in blue, green, red, NIR, SWIR1, SWIR2. Except for the two reported cases these are
# typical values set by hand, none a measurement: rounded, in the shape and range that spectral
# libraries (Kokaly et al. 2017, USGS Spectral Library Version 7, doi:10.3133/ds1035; Meerdink et
# al. 2019, ECOSTRESS library, doi:10.1016/j.rse.2019.05.015) and Landsat scenes show.
WATER = {
    "reported: dropped for its NDVI of 0.10": (0.045, 0.058, 0.036, 0.0442, 0.014, 0.009),
    "clear lake": (0.060, 0.055, 0.026, 0.010, 0.006, 0.004),
    "humic lake": (0.015, 0.018, 0.015, 0.012, 0.006, 0.004),
    "deep, overcorrected": (0.010, 0.012, 0.004, -0.002, 0.002, 0.001),
    "dark, most bands below 0": (0.005, 0.004, -0.001, -0.002, -0.001, -0.001),
    "hazy sea, top of atmosphere": (0.128, 0.130, 0.112, 0.072, 0.051, 0.038),
    "silty river": (0.105, 0.150, 0.125, 0.045, 0.012, 0.008),
    "estuary in flood": (0.121, 0.153, 0.237, 0.187, 0.024, 0.015),
    "mud up to NIR 0.2": (0.120, 0.160, 0.200, 0.200, 0.030, 0.020),
    "mud, brightest in NIR": (0.100, 0.130, 0.150, 0.200, 0.050, 0.030),
    "lake with algae": (0.030, 0.060, 0.035, 0.040, 0.010, 0.006),
    "eutrophic lake": (0.030, 0.070, 0.035, 0.055, 0.015, 0.010),
    "shallow lagoon over sand": (0.150, 0.180, 0.090, 0.020, 0.010, 0.006),
    "weak sun glint": (0.110, 0.105, 0.080, 0.065, 0.055, 0.045),
}
# The denominator of EVI is negative: with the blue band this would be land.
LAGOON = {"bright lagoon, top of atmosphere": (0.250, 0.220, 0.080, 0.030, 0.010, 0.006)}
LAND = {
    "reported: a burn scar": (0.060, 0.0715, 0.0627, 0.0754, 0.0704, 0.080),
    "burn scar": (0.040, 0.050, 0.055, 0.070, 0.120, 0.140),
    "snow": (0.85, 0.86, 0.84, 0.75, 0.10, 0.08),
    "old snow in shade": (0.32, 0.33, 0.32, 0.28, 0.04, 0.03),
    "lake ice": (0.40, 0.42, 0.38, 0.28, 0.05, 0.03),
    "cloud": (0.60, 0.60, 0.61, 0.65, 0.62, 0.47),
    "ice cloud": (0.45, 0.45, 0.45, 0.44, 0.25, 0.20),
    "thin cloud over rock": (0.25, 0.26, 0.27, 0.30, 0.28, 0.22),
    "salt flat": (0.34, 0.41, 0.45, 0.48, 0.46, 0.37),
    "wet salt flat": (0.30, 0.35, 0.38, 0.38, 0.15, 0.10),
    "damp salt crust": (0.160, 0.190, 0.200, 0.190, 0.120, 0.090),
    "cloud shadow on forest": (0.020, 0.025, 0.018, 0.080, 0.040, 0.020),
    "cloud shadow on soil": (0.040, 0.050, 0.055, 0.070, 0.080, 0.070),
    "rock in shadow": (0.023, 0.029, 0.036, 0.049, 0.060, 0.051),
    "basalt": (0.06, 0.065, 0.07, 0.08, 0.09, 0.085),
    "dark lava": (0.045, 0.050, 0.055, 0.060, 0.062, 0.060),
    "coal": (0.035, 0.035, 0.036, 0.038, 0.045, 0.048),
    "new asphalt": (0.050, 0.055, 0.058, 0.060, 0.062, 0.060),
    "old asphalt": (0.08, 0.09, 0.10, 0.11, 0.12, 0.12),
    "blue metal roof": (0.25, 0.22, 0.18, 0.18, 0.19, 0.18),
    "city": (0.12, 0.13, 0.14, 0.18, 0.20, 0.18),
    "mud": (0.10, 0.13, 0.16, 0.20, 0.22, 0.16),
    "wet soil": (0.05, 0.07, 0.09, 0.12, 0.13, 0.09),
    "dry sand": (0.15, 0.22, 0.30, 0.38, 0.45, 0.42),
    "crops": (0.04, 0.08, 0.05, 0.40, 0.20, 0.10),
    "forest": (0.03, 0.05, 0.035, 0.32, 0.14, 0.06),
    "mangrove": (0.03, 0.05, 0.03, 0.22, 0.08, 0.03),
    "flooded vegetation": (0.090, 0.087, 0.088, 0.231, 0.080, 0.030),
    "flooded rice": (0.060, 0.080, 0.050, 0.180, 0.060, 0.030),
}
# Surfaces that four bands cannot separate from water, as the docstring says.
TAKEN_FOR_WATER = {
    "mountain shadow under blue sky": (0.030, 0.025, 0.020, 0.025, 0.015, 0.010),
    "street in the shade": (0.060, 0.055, 0.050, 0.060, 0.050, 0.045),
    "wet asphalt": (0.060, 0.060, 0.060, 0.055, 0.050, 0.045),
    "mud under a film of water": (0.08, 0.10, 0.12, 0.13, 0.09, 0.05),
    "clear ice": (0.10, 0.10, 0.08, 0.05, 0.01, 0.01),
    "snow in deep shade": (0.12, 0.11, 0.10, 0.09, 0.015, 0.01),
}
TAKEN_FOR_LAND = {
    "strong sun glint": (0.20, 0.19, 0.17, 0.16, 0.14, 0.12),
    "floating algae": (0.04, 0.08, 0.05, 0.15, 0.03, 0.02),
}
EVERY_WATER, EVERY_LAND = WATER | LAGOON | TAKEN_FOR_WATER, LAND | TAKEN_FOR_LAND


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def scene_of(spectra, noise=1e-4):
    """Return a scene with a column for each spectrum, and a label map of the columns."""
    columns = np.array(list(spectra)).T
    values = np.broadcast_to(columns[:, None, :], (len(columns), 3, columns.shape[1]))
    values = values + np.random.default_rng(0).normal(0, noise, values.shape)
    scene = make_scene(values, ny=3, nx=columns.shape[1])
    labels = make_labels(np.tile(np.arange(columns.shape[1]), (3, 1)))
    return scene, labels


def test_every_water_and_nothing_else():
    spectra = EVERY_WATER | EVERY_LAND
    scene, labels = scene_of(spectra.values())
    found = [list(spectra)[number] for number in find_water(scene, labels)]
    assert found == list(EVERY_WATER)


@given(order=st.permutations(range(len(WATER | LAND))))
@settings(max_examples=10, deadline=None)
def test_cluster_numbers_do_not_matter(order):
    scene, labels = scene_of((WATER | LAND).values())
    renumbered = labels.copy(data=np.asarray(order, np.uint8)[labels.values])
    assert find_water(scene, renumbered) == sorted(order[: len(WATER)])


# -- the rule and its figures ------------------------------------------------------------------


def published_rule(spectra, vegetation):
    """Return which spectra are water by Zou et al. (2018) and the limits of NIR and SWIR1."""
    _, green, red, nir, swir1, _ = np.maximum(spectra, 0)
    with np.errstate(invalid="ignore"):
        mndwi = (green - swir1) / (green + swir1)
        ndvi = (nir - red) / (nir + red)
    water = (vegetation < 0.1) & ((mndwi > ndvi) | (mndwi > vegetation))
    return water & (nir < 0.22) & (swir1 < 0.1)


def evi2(spectra):
    _, _, red, nir, _, _ = np.maximum(spectra, 0)
    return 2.5 * (nir - red) / (nir + 2.4 * red + 1)


spectra_of_clusters = hnp.arrays(np.float64, (6, 60), elements=st.floats(-0.02, 0.4))


@given(spectra=spectra_of_clusters)
@settings(max_examples=20, deadline=None)
def test_the_table_against_the_published_rule(spectra):
    scene, labels = scene_of(spectra.T, noise=0)
    table = water_table(scene, labels)
    values = scene.values[:, 0].astype(np.float64)
    expected = published_rule(values, evi2(values))
    clear = ~(table["margin"].abs() < 1e-6).values  # excludes ties within rounding
    np.testing.assert_array_equal(table["water"].values[clear], expected[clear])
    np.testing.assert_array_equal(table["share_passing"].values[clear], expected[clear])
    np.testing.assert_array_equal(table["water"], table["margin"] > 0)
    np.testing.assert_allclose(table["evi2"], evi2(values), atol=1e-6)


def test_the_blue_band_decides_nothing_but_bright_lagoons():
    for spectra in (WATER | LAND, LAGOON):
        values = np.array(list(spectra.values())).T
        blue, _, red, nir, _, _ = np.maximum(values, 0)
        evi = 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)
        scene, labels = scene_of(spectra.values())
        without = water_table(scene.drop_sel(band="blue"), labels)
        xr.testing.assert_equal(without.to_xarray(), water_table(scene, labels).to_xarray())
        differ = published_rule(values, evi) != without["water"].values
        assert differ.all() if spectra is LAGOON else not differ.any()


def test_the_margin_is_the_nearest_border():
    spectra = {"clear lake": WATER["clear lake"], "snow": LAND["snow"], "crops": LAND["crops"]}
    scene, labels = scene_of(spectra.values(), noise=0)
    table = water_table(scene, labels)
    assert table.index.name == "cluster"
    np.testing.assert_allclose(table["margin"], [0.1 - 0.006, 0.22 - 0.75, -3 / 7 - 0.5762], 1e-3)
    np.testing.assert_allclose(table["nir"], [0.01, 0.75, 0.4], rtol=1e-5)
    assert table["pixels"].tolist() == [3, 3, 3]


def test_the_share_of_pixels_that_pass():
    scene, _ = scene_of([WATER["clear lake"]] * 3 + [LAND["crops"]])
    labels = make_labels([[0, 0, 0, 0], [0, 0, 1, 255], [2, 2, 2, 2]])
    table = water_table(scene, labels)
    assert table["share_passing"].tolist() == [5 / 6, 1, 3 / 4]
    assert table["pixels"].tolist() == [6, 1, 4]


# -- warnings ----------------------------------------------------------------------------------


def test_no_water_is_all_land_and_a_warning():
    scene, labels = scene_of([LAND["forest"], LAND["snow"]], noise=0)
    for function in (find_water, water_mask):
        with pytest.warns(UserWarning, match=r"no cluster of 2 is water: cluster 1.* nir 0.750"):
            found = function(scene, labels)
    assert (found == 0).all()
    with pytest.warns(UserWarning) as caught:
        assert find_water(scene, labels) == []
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("wet", "message"),
    [
        (7, "mixed: it counts as water, and 70.0% of its 10 pixels"),
        (3, "mixed: it counts as land, and 30.0% of its 10 pixels"),
    ],
)
def test_a_mixed_cluster_is_warned_of(wet, message):
    lake, bank = WATER["silty river"], LAND["mud"]
    scene, _ = scene_of([lake] * wet + [bank] * (10 - wet) + [WATER["clear lake"]])
    labels = make_labels([[4] * 10 + [0]] * 3)[:1]
    with pytest.warns(UserWarning, match=f"cluster 4 is {message}"):
        found = find_water(scene.isel(y=slice(1)), labels)
    assert found == ([0, 4] if wet == 7 else [0])


def test_a_land_cluster_of_many_water_pixels_is_warned_of():
    # A few bright pixels raise the mean above the limits, so 90% of the pixels would be lost.
    scene, labels = scene_of([WATER["clear lake"]] * 9 + [np.full(6, 1.4)] + [WATER["humic lake"]])
    labels = labels.where(labels == 10, 0).astype("uint8")
    with pytest.warns(UserWarning, match="counts as land, and 90.0% of its 30 pixels are water"):
        assert find_water(scene, labels) == [10]


def test_a_black_cluster_is_not_judged_in_silence():
    black = np.full(6, -0.001)
    scene, labels = scene_of([WATER["clear lake"], black], noise=0)
    with pytest.warns(UserWarning, match="cluster 1 is too dark to be judged and counts as land"):
        assert find_water(scene, labels) == [0]
    table = water_table(scene, labels)
    assert np.isnan(table.loc[1, "margin"])
    scene, labels = scene_of([black], noise=0)
    with pytest.warns(UserWarning) as caught:
        assert find_water(scene, labels) == []
    assert len(caught) == 2


# -- the mask ----------------------------------------------------------------------------------


def test_water_mask():
    scene, labels = scene_of([WATER["clear lake"], LAND["cloud"], WATER["silty river"]])
    labels[1, 0] = 255
    mask = water_mask(scene.chunk(x=2).transpose("x", "band", "y"), labels.chunk(x=1))
    assert mask.chunks is not None
    np.testing.assert_array_equal(mask, [[1, 0, 1], [255, 0, 1], [1, 0, 1]])
    assert mask.dtype == np.uint8
    assert mask.name == "water"
    assert mask.attrs["flag_meanings"] == "land water"
    assert mask.attrs["flag_values"] == [0, 1]
    assert mask.attrs["_FillValue"] == 255
    assert mask.rio.crs == labels.rio.crs


def test_lazy_and_computed_tables_are_equal():
    scene, labels = scene_of((WATER | LAND).values())
    scene = scene.where(np.random.default_rng(0).uniform(size=scene.shape) > 0.05)
    table = water_table(scene, labels)
    lazy = water_table(scene.chunk(band=1, y=1, x=7), labels.chunk(y=2))
    xr.testing.assert_allclose(lazy.to_xarray(), table.to_xarray())


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float32"])
def test_labels_of_other_dtypes(dtype):
    scene, labels = scene_of([WATER["clear lake"], LAND["cloud"], WATER["silty river"]])
    labels[1, 0] = 255
    other = labels.astype(dtype)
    if dtype == "float32":  # as from a reader that masks nodata
        other = other.where(labels != 255)
    xr.testing.assert_identical(water_mask(scene, other), water_mask(scene, labels))


@pytest.mark.parametrize("key", ["_FillValue", "nodata", "missing_value"])
def test_nodata_is_no_reflectance(key):
    scene, labels = scene_of([WATER["clear lake"], LAND["forest"]])
    holes = scene.where(scene.y > scene.y[-1])
    filled = holes.fillna(-9999).assign_attrs({key: -9999.0})
    expected = water_table(holes, labels)
    xr.testing.assert_identical(water_table(filled, labels).to_xarray(), expected.to_xarray())
    assert expected["pixels"].tolist() == [2, 2]


# -- several dates -----------------------------------------------------------------------------


def two_dates():
    """Return two scenes and label maps in which cluster 0 is water by its pixels of both dates."""
    first, _ = scene_of([WATER["silty river"], LAND["forest"]])
    second, _ = scene_of([LAND["wet soil"], LAND["crops"]])
    scenes = [first, second.assign_coords(time=np.datetime64("2018-10-22", "ns"))]
    labels = make_labels([[0, 1], [0, 1], [0, 1]])
    maps = [labels.copy().assign_coords(time=scene.time) for scene in scenes]
    maps[1][:2] = 1
    return scenes, maps


def joined(arrays):
    return xr.concat(arrays, "time", coords="minimal", compat="override", combine_attrs="override")


@pytest.mark.filterwarnings("ignore:cluster 0 is mixed")
def test_a_cluster_is_judged_once_over_all_dates():
    scenes, maps = two_dates()
    table = water_table(joined(scenes), joined(maps))
    assert table["pixels"].tolist() == [4, 8]
    assert table["share_passing"].tolist() == [0.75, 0]
    assert table["water"].tolist() == [True, False]
    xr.testing.assert_allclose(water_table(scenes, maps).to_xarray(), table.to_xarray())
    assert not water_table(scenes[1], maps[1])["water"].any()  # by that date alone

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        series = water_mask(joined(scenes).transpose("y", "x", "band", "time"), joined(maps))
        masks = water_mask(scenes, maps)
    assert series.dims == ("time", "y", "x")
    np.testing.assert_array_equal(series.time, joined(scenes).time)
    np.testing.assert_array_equal(series, joined(maps) == 0)
    for mask, one in zip(masks, series, strict=True):
        xr.testing.assert_identical(mask, one)


def test_scenes_of_different_sizes_one_of_them_missing():
    scene, _ = scene_of([WATER["clear lake"], LAND["forest"]] * 4)
    model = InterImageKMeans(2).fit([scene, scene.isel(x=slice(2))])
    masks = water_mask([scene, scene.isel(x=slice(2))], model.labels_)
    assert [mask.shape for mask in masks] == [(3, 8), (3, 2)]
    np.testing.assert_array_equal(masks[0], [[1, 0] * 4] * 3)
    hidden = [model.labels_[0], xr.full_like(model.labels_[1], 255)]
    table = water_table([scene, scene.isel(x=slice(2)).where(False)], hidden)
    assert table["pixels"].tolist() == [12, 12]


def test_dates_that_do_not_fit():
    scenes, maps = two_dates()
    labels, series = joined(maps), joined(scenes)
    with pytest.raises(ValueError, match="scene.* and labels must have the same time, got .*2017"):
        find_water(series, labels.isel(time=[1, 0]))
    with pytest.raises(ValueError, match=r"scene .* unexpected \['time'\]"):
        find_water(series, maps[0])
    with pytest.raises(ValueError, match=r"scene .* lacks \['time'\]"):
        find_water(scenes[0], labels)
    with pytest.raises(TypeError, match="both a list, got DataArray and list"):
        find_water(series, maps)
    with pytest.raises(ValueError, match="lists of one length, at least 1, got 1 and 2"):
        find_water(scenes[:1], maps)
    with pytest.raises(ValueError, match="at least 1, got 0 and 0"):
        find_water([], [])
    with pytest.raises(TypeError, match=r"labels\[1\] must be an xarray.DataArray"):
        find_water(scenes, [maps[0], maps[1].values])
    with pytest.raises(ValueError, match=r"scene\[1\] must have each of the bands"):
        find_water([scenes[0], scenes[1].drop_sel(band="nir")], maps)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("function", [water_table, find_water, water_mask])
def test_refusals(function):
    scene, labels = scene_of([WATER["clear lake"], LAND["forest"]])
    with pytest.raises(ValueError, match="grids must be equal, got different x"):
        function(scene, labels.assign_coords(x=labels.x + 30))
    with pytest.raises(ValueError, match="scene must hold reflectance .*to_reflectance"):
        function(scene.assign_attrs(units="digital number"), labels)
    with pytest.raises(ValueError, match="standardized values"):
        function(standardize(scene), labels)
    with pytest.raises(ValueError, match="must hold reflectance, got .* mean values from"):
        function(standardize(scene).assign_attrs(scaling=None), labels)
    with pytest.raises(ValueError, match="scene must be finite .* got inf"):
        function(scene.where(scene.y < scene.y[0], np.inf), labels)
    with pytest.raises(ValueError, match="each of the bands .* once, got .*'nir', 'swir2'"):
        function(scene.drop_sel(band="swir1"), labels)
    twice = [*BANDS[:5], "green"]
    with pytest.raises(ValueError, match="each of the bands .* once, got .*'swir1', 'green'"):
        function(scene.assign_coords(band=twice), labels)
    with pytest.raises(ValueError, match="each of the bands .* once"):
        function(scene.drop_vars("band"), labels)
    with pytest.raises(ValueError, match="must share a pixel with a label .* got none"):
        function(scene.where(False), labels)
    with pytest.raises(ValueError, match="size of at least 1"):
        function(scene.isel(x=slice(0)), labels.isel(x=slice(0)))
    with pytest.raises(ValueError, match="labels must be whole numbers .* got -1"):
        function(scene, labels.astype("int16") - 1)
    with pytest.raises(ValueError, match="no dimension 'band'"):
        function(scene, labels.expand_dims(band=2))
    with pytest.raises(TypeError, match="scene must be an xarray.DataArray"):
        function(scene.values, labels)
