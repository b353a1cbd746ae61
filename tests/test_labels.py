from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from cookbook_utils.indices import mndwi
from cookbook_utils.labels import change_map, find_water, match_labels, water_mask
from cookbook_utils.metrics import class_areas, intersection_over_union, label_change
from cookbook_utils.regridding import common_grid, regrid
from cookbook_utils.scaling import rescale, standardize, to_reflectance
from cookbook_utils.simulate import simulate_scene
from cookbook_utils.spectral import spectral_clustering
from cookbook_utils.stacking import stack_pixels, unstack_labels

from .factories import make_labels, make_scene

# -- matching ----------------------------------------------------------------------------------

label_arrays = hnp.arrays(np.uint8, 60, elements=st.integers(0, 7))


@given(reference=label_arrays, order=st.permutations(range(255)), holes=hnp.arrays(bool, 60))
@settings(max_examples=60, deadline=None)
def test_any_permutation_is_undone(reference, order, holes):
    permuted = np.asarray([*order, 255], np.uint8)[reference]
    np.testing.assert_array_equal(match_labels(permuted, reference), reference)
    # As maps, with pixels missing in one of the two.
    if not holes.all():
        labels = make_labels(np.where(holes, 255, permuted).reshape(6, 10))
        target = make_labels(reference.reshape(6, 10))
        result = match_labels(labels, target)
        np.testing.assert_array_equal(result, np.where(holes, 255, reference).reshape(6, 10))
        assert result.attrs == labels.attrs
        assert result.dtype == np.uint8


@given(labels=label_arrays, reference=label_arrays)
@settings(max_examples=60, deadline=None)
def test_matching_only_renumbers_and_never_agrees_less(labels, reference):
    result = match_labels(labels, reference)
    assert adjusted_rand_score(labels, result) == 1
    assert label_change(result, reference) <= label_change(labels, reference)


def test_sorting_would_not_do():
    # The best assignment gives up the largest overlap of one cluster for the sake of the sum.
    labels = np.repeat([0, 0, 1, 1], [5, 4, 4, 0])
    reference = np.repeat([0, 1, 0, 1], [5, 4, 4, 0])
    np.testing.assert_array_equal(match_labels(labels, reference), np.repeat([1, 0], [9, 4]))


def test_clusters_left_over_take_free_numbers():
    labels, reference = np.array([4, 4, 4, 1, 1, 0]), np.array([3, 3, 3, 0, 0, 0])
    np.testing.assert_array_equal(match_labels(labels, reference), [3, 3, 3, 0, 0, 1])
    # A cluster seen only where the reference is missing is kept apart, too.
    np.testing.assert_array_equal(match_labels([0, 0, 2, 255], [2, 2, 255, 2]), [2, 2, 0, 255])


def test_fewer_clusters_than_the_reference():
    np.testing.assert_array_equal(match_labels([0, 0, 1], [1, 2, 0]), [1, 1, 0])


def test_matching_lazy_maps_in_another_order():
    reference = make_labels([[0, 1, 2], [2, 255, 1]])
    labels = make_labels([[1, 2, 0], [0, 1, 2]])
    labels.attrs |= {"flag_values": [0, 1, 2], "flag_meanings": "a b c"}
    result = match_labels(labels.chunk(x=1), reference.transpose())
    assert result.chunks is not None
    np.testing.assert_array_equal(result, [[0, 1, 2], [2, 0, 1]])
    assert result.attrs == {"_FillValue": 255}
    assert result.rio.crs == labels.rio.crs


def test_matching_refuses():
    one = make_labels([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="grids differ in x"):
        match_labels(one, make_labels([[0, 1], [1, 0]], left=0))
    with pytest.raises(ValueError, match="reference must .* lacks"):
        match_labels(one, one.isel(x=0))
    with pytest.raises(ValueError, match=r"shape of labels, \(2,\), got \(3,\)"):
        match_labels([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="labels must be whole numbers"):
        match_labels([0.5, 1], [0, 1])
    with pytest.raises(ValueError, match="reference must be whole .* got -1"):
        match_labels([0, 1], [-1, 1])
    with pytest.raises(ValueError, match="no pixel is valid in both"):
        match_labels([0, 255], [255, 0])


@pytest.mark.parametrize("dtype", ["int8", "bool", "float32"])
def test_matching_takes_numbers_that_the_dtype_of_labels_cannot_hold(dtype):
    result = match_labels(np.array([0, 1, 1], dtype), [200, 254, 254])
    np.testing.assert_array_equal(result, [200, 254, 254])
    assert result.dtype == np.uint8


@pytest.mark.parametrize("chunks", [None, 1])
def test_matching_labels_as_files_store_them(chunks):
    labels, reference = make_labels([[0, 1], [255, 2]]), make_labels([[5, 6], [7, 255]])
    expected = match_labels(labels, reference)
    as_floats = labels.where(labels != 255).astype("float32").drop_attrs(deep=False)
    declared = labels.astype("int16").where(labels != 255, -1).astype("int16")
    for stored in (as_floats, declared.assign_attrs(_FillValue=-1)):
        stored = stored if chunks is None else stored.chunk(chunks)
        np.testing.assert_array_equal(match_labels(stored, reference), expected)
        np.testing.assert_array_equal(match_labels(stored, reference.astype(float)), expected)
    with pytest.raises(ValueError, match="labels must be whole numbers .* got -1"):
        match_labels(declared.drop_attrs(deep=False), reference)


def test_matching_follows_the_pixel_coordinate():
    labels = xr.DataArray([0, 0, 1, 2], dims="pixel", coords={"pixel": [3, 5, 7, 9]})
    reference = labels.copy(data=[4, 4, 5, 6])
    for order in ([3, 2, 1, 0], [1, 0, 3, 2]):
        np.testing.assert_array_equal(match_labels(labels, reference[order]), reference)
    with pytest.raises(ValueError, match="reference must have .* pixel"):
        match_labels(labels, reference.assign_coords(pixel=[3, 5, 7, 8]))
    with pytest.raises(ValueError, match="reference must have .* pixel"):
        match_labels(labels, reference.assign_coords(pixel=[3, 5, 9, 9]))
    # Samples of a scene and of the same scene saved and opened again are the same pixels.
    scene = make_scene()
    one, two = (stack_pixels(s).pixel for s in (scene, scene.assign_coords(x=scene.x + 1e-9)))
    numbers = np.arange(30) % 3
    one, two = (xr.DataArray(numbers, dims="pixel", coords={"pixel": p}) for p in (one, two))
    np.testing.assert_array_equal(match_labels(one, two), numbers)


@pytest.mark.parametrize("wrong", [None, "map", [1j], np.array(["a"]), np.ma.masked_equal([1], 1)])
def test_matching_refuses_what_is_no_array_of_numbers(wrong):
    with pytest.raises(TypeError, match="^labels must "):
        match_labels(wrong, [1])
    with pytest.raises(TypeError, match="^reference must "):
        match_labels([1], wrong)


# -- water -------------------------------------------------------------------------------------

# Reflectance in blue, green, red, NIR, SWIR1, SWIR2.
WATER = {
    "clear lake": (0.060, 0.055, 0.026, 0.010, 0.006, 0.004),
    "deep, overcorrected": (0.010, 0.012, 0.004, -0.002, 0.002, 0.001),
    "hazy sea, top of atmosphere": (0.128, 0.130, 0.112, 0.072, 0.051, 0.038),
    "silty river": (0.105, 0.150, 0.125, 0.045, 0.012, 0.008),
    "estuary in flood": (0.121, 0.153, 0.237, 0.187, 0.024, 0.015),
    "lake with algae": (0.030, 0.060, 0.035, 0.040, 0.010, 0.006),
}
LAND = {
    "snow": (0.85, 0.86, 0.84, 0.75, 0.10, 0.08),
    "old snow in shade": (0.32, 0.33, 0.32, 0.28, 0.04, 0.03),
    "cloud": (0.60, 0.60, 0.61, 0.65, 0.62, 0.47),
    "ice cloud": (0.45, 0.45, 0.45, 0.44, 0.25, 0.20),
    "thin cloud over rock": (0.25, 0.26, 0.27, 0.30, 0.28, 0.22),
    "salt flat": (0.34, 0.41, 0.45, 0.48, 0.46, 0.37),
    "wet salt flat": (0.30, 0.35, 0.38, 0.38, 0.15, 0.10),
    "rock in shadow": (0.023, 0.029, 0.036, 0.049, 0.060, 0.051),
    "basalt": (0.06, 0.065, 0.07, 0.08, 0.09, 0.085),
    "forest": (0.03, 0.05, 0.035, 0.32, 0.14, 0.06),
    "flooded vegetation": (0.090, 0.087, 0.088, 0.231, 0.080, 0.030),
    "flooded rice": (0.060, 0.080, 0.050, 0.180, 0.060, 0.030),
    "damp salt crust": (0.160, 0.190, 0.200, 0.190, 0.120, 0.090),
    "mud": (0.10, 0.13, 0.16, 0.20, 0.22, 0.16),
    "city": (0.12, 0.13, 0.14, 0.18, 0.20, 0.18),
}


def scene_of(spectra):
    """Return a scene of one column for each spectrum, and the label map of the columns."""
    columns = np.array(list(spectra)).T
    values = np.broadcast_to(columns[:, None, :], (len(columns), 3, columns.shape[1]))
    noise = np.random.default_rng(0).normal(0, 5e-4, values.shape)
    scene = make_scene(values + noise, ny=3, nx=columns.shape[1])
    labels = make_labels(np.tile(np.arange(columns.shape[1]), (3, 1)))
    return scene, labels


def test_every_water_and_nothing_else():
    spectra = WATER | LAND
    scene, labels = scene_of(spectra.values())
    found = [list(spectra)[number] for number in find_water(labels, scene)]
    assert found == list(WATER)


@given(order=st.permutations(range(len(WATER | LAND))))
@settings(max_examples=10, deadline=None)
def test_cluster_numbers_do_not_matter(order):
    scene, labels = scene_of((WATER | LAND).values())
    renumbered = labels.copy(data=np.asarray(order, np.uint8)[labels.values])
    assert find_water(renumbered, scene) == sorted(order[: len(WATER)])


def test_water_mask():
    scene, labels = scene_of([WATER["clear lake"], LAND["cloud"], WATER["silty river"]])
    labels[1, 0] = 255
    mask = water_mask(labels.chunk(x=1), scene.chunk(x=2).transpose("x", "band", "y"))
    assert mask.chunks is not None
    np.testing.assert_array_equal(mask, [[1, 0, 1], [255, 0, 1], [1, 0, 1]])
    assert mask.dtype == np.uint8
    assert mask.name == "water"
    assert mask.attrs["flag_meanings"] == "land water"
    assert mask.attrs["flag_values"] == [0, 1]
    assert mask.attrs["_FillValue"] == 255
    assert mask.rio.crs == labels.rio.crs


def test_no_water_is_all_land():
    scene, labels = scene_of([LAND["forest"], LAND["snow"]])
    assert find_water(labels, scene) == []
    assert (water_mask(labels, scene) == 0).all()


def test_find_water_refuses():
    scene, labels = scene_of([WATER["clear lake"], LAND["forest"]])
    with pytest.raises(ValueError, match="grids differ in x"):
        find_water(labels.assign_coords(x=labels.x + 30), scene)
    with pytest.raises(ValueError, match="find_water needs reflectance.*to_reflectance"):
        find_water(labels, scene.assign_attrs(units="digital number"))
    with pytest.raises(ValueError, match="found standardized values"):
        find_water(labels, standardize(scene))
    with pytest.raises(ValueError, match="are no reflectance"):
        find_water(labels, standardize(scene).assign_attrs(scaling=None))
    with pytest.raises(ValueError, match=r"mndwi needs .* lacks \['swir1'\]"):
        find_water(labels, scene.drop_sel(band="swir1"))
    with pytest.raises(ValueError, match=r"labels must .* unexpected \['time'\]"):
        find_water(labels.expand_dims("time"), scene)
    with pytest.raises(ValueError, match="has both"):
        find_water(labels, scene.where(False))


# -- change ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, 2])
def test_change_map(chunks):
    before = make_labels([[0, 0, 0], [1, 1, 1], [255, 255, 255]], step=1000)
    after = make_labels([[0, 1, 255]] * 3, step=1000)
    before = before.assign_coords(time=np.datetime64("1988-10-22", "ns"))
    after = after.assign_coords(time=np.datetime64("2017-10-22", "ns"))
    if chunks:
        before, after = before.chunk(chunks), after.chunk(chunks)
    change = change_map(before, after.transpose())
    assert (change.chunks is None) == (chunks is None)
    np.testing.assert_array_equal(change, [[0, 3, 255], [2, 1, 255], [255] * 3])
    assert change.dtype == np.uint8
    assert change.dims == ("y", "x")
    assert set(change.coords) == {"y", "x", "spatial_ref"}
    expected = {"land": 1.0, "water": 1.0, "lost": 1.0, "gained": 1.0}
    assert class_areas(change).to_dict() == expected


def test_change_map_refuses():
    mask = make_labels([[0, 1], [1, 1]])
    with pytest.raises(ValueError, match="grids differ in CRS"):
        change_map(mask, make_labels([[0, 1], [1, 1]], crs="EPSG:32612"))
    with pytest.raises(ValueError, match=r"after must hold 0 .* only, got \[2\]"):
        change_map(mask, make_labels([[0, 1], [2, 1]]))
    with pytest.raises(ValueError, match="after must .* unexpected"):
        change_map(mask, mask.expand_dims("time"))


@pytest.mark.parametrize("numbers", [[0, 1], "[0, 1]", [1, 0], "1 0", [4, 7]])
def test_change_map_reads_the_numbers_of_land_and_water(numbers):
    plain = make_labels([[0, 0, 255], [1, 1, 1]])
    other = make_labels([[0, 1, 0], [0, 1, 255]])
    low, high = [4, 7] if numbers == [4, 7] else [0, 1]
    stored = plain.where(plain != 0, low).where(plain != 1, high).astype("uint8")
    swapped = str(numbers)[-1] == "0" or numbers == [1, 0]
    named = stored.assign_attrs(flag_values=numbers, flag_meanings="land water")
    expected = change_map(1 - plain.where(plain != 255) if swapped else plain, other)
    np.testing.assert_array_equal(change_map(named, other), expected)
    assert change_map(named, other).attrs["flag_meanings"] == "land water lost gained"


def test_change_map_reads_masks_as_files_store_them():
    before, after = make_labels([[0, 1], [255, 1]]), make_labels([[1, 1], [0, 0]])
    expected = change_map(before, after)
    floats = before.where(before != 255).astype("float32").drop_attrs(deep=False)
    np.testing.assert_array_equal(change_map(floats, after == 1), expected)
    moved = after.assign_coords(x=after.x + 1e-9, y=after.y.astype("float32"))
    result = change_map(before, moved)
    np.testing.assert_array_equal(result, expected)
    assert (result.x == before.x).all()


def test_change_map_asks_what_is_water():
    mask = make_labels([[0, 1], [1, 1]]).assign_attrs(flag_values=[0, 1])
    for names, message in [
        ("dry wet", "before must be a mask of land and water, got flag_meanings 'dry wet'"),
        ("land water cloud", "2 flag_values and 3 flag_meanings"),
    ]:
        with pytest.raises(ValueError, match=message):
            change_map(mask.assign_attrs(flag_meanings=names), mask.drop_attrs(deep=False))
    twice = mask.assign_attrs(flag_values=[1, 1], flag_meanings="land water")
    with pytest.raises(ValueError, match=r"flag_values must hold each number once, got \[1, 1\]"):
        change_map(twice, twice)


def test_change_map_knows_what_came_first():
    mask = make_labels([[0, 1], [1, 1]])
    first, last = (mask.assign_coords(time=np.datetime64(date, "ns")) for date in ("1988", "2017"))
    change_map(first, last)
    change_map(first, first)
    with pytest.raises(ValueError, match="before must not be later than after"):
        change_map(last, first)


@pytest.mark.parametrize("wrong", [None, [[0, 1]], "mask", xr.Dataset()])
def test_change_map_refuses_wrong_types(wrong):
    mask = make_labels([[0, 1], [1, 1]])
    with pytest.raises(TypeError, match="^before must be an xarray.DataArray"):
        change_map(wrong, mask)
    with pytest.raises(TypeError, match="^after must be an xarray.DataArray"):
        change_map(mask, wrong)
    with pytest.raises(TypeError, match="^after must hold real numbers"):
        change_map(mask, mask.astype(str))


# -- whole scenes ------------------------------------------------------------------------------


def cluster(scene, n_clusters):
    samples = stack_pixels(scene)
    features = standardize(samples, per_band=False)
    return unstack_labels(spectral_clustering(features, n_clusters), samples, scene)


def test_the_simulated_lake():
    grid = common_grid(-118.7081, 38.6942, crs="EPSG:32611", buffer=15_000, resolution=200)
    scenes, true = [], []
    for name in ("landsat_5_small", "landsat_8_small"):
        scene, truth = simulate_scene(name)
        scenes.append(regrid(to_reflectance(scene), grid).drop_vars(["number", "wavelength"]))
        true.append(regrid(truth.water, grid, method="nearest"))
    labels = cluster(xr.concat(scenes, "time", combine_attrs="override"), 4)
    found = [water_mask(labels[date], scene) for date, scene in enumerate(scenes)]
    for mask, truth in zip(found, true, strict=True):
        assert intersection_over_union(mask, truth) >= 0.97
    lost = class_areas(change_map(*found))["lost"]
    assert lost == pytest.approx(class_areas(change_map(*true))["lost"], rel=0.02)


@pytest.fixture(scope="module", params=[2017, 2020])
def betsiboka(request):
    """Return year, scene and MNDWI mask of the real estuary."""
    folder = os.environ.get("COOKBOOK_DATA")
    if not folder or not (Path(folder) / "betsiboka").is_dir():
        pytest.skip("COOKBOOK_DATA names no folder with the real Betsiboka scenes")
    from cookbook_utils.datasets import open_catalog

    scene = to_reflectance(open_catalog().betsiboka.read(year=request.param)).compute()
    index = mndwi(scene)
    wet = (index > 0.1).astype("uint8").where(scene.notnull().all("band"), 255).astype("uint8")
    return request.param, scene, wet


def test_the_real_estuary(betsiboka):
    year, scene, wet = betsiboka
    mask = water_mask(cluster(scene, 4), scene)
    assert intersection_over_union(mask, wet) >= {2017: 0.90, 2020: 0.85}[year]


@pytest.mark.parametrize("n_clusters", [3, 4, 5, 6])
@pytest.mark.parametrize("scale", [standardize, rescale])
def test_find_water_picks_the_clusters_that_are_mostly_wet(betsiboka, scale, n_clusters):
    _, scene, wet = betsiboka
    samples = stack_pixels(scene)
    model = KMeans(n_clusters, n_init=2, random_state=0)
    labels = unstack_labels(model.fit_predict(scale(samples).values), samples, scene)
    mostly_wet = [
        number for number in range(n_clusters) if wet.values[labels.values == number].mean() > 0.5
    ]
    assert find_water(labels, scene) == mostly_wet
