from __future__ import annotations

import os
from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from cookbook_utils.areas import class_areas
from cookbook_utils.indices import mndwi
from cookbook_utils.labels import change_map, find_water, match_labels, water_mask
from cookbook_utils.metrics import intersection_over_union, label_change
from cookbook_utils.regridding import common_grid, regrid
from cookbook_utils.scaling import rescale, standardize, to_reflectance
from cookbook_utils.simulate import simulate_scene
from cookbook_utils.spectral import NystroemSpectralClustering
from cookbook_utils.stacking import stack_pixels, unstack_labels

from .factories import make_labels, make_scene

# -- matching ----------------------------------------------------------------------------------

label_arrays = hnp.arrays(np.uint8, 60, elements=st.integers(0, 7))


@given(reference=label_arrays, order=st.permutations(range(255)), holes=hnp.arrays(bool, 60))
@settings(max_examples=60, deadline=None)
def test_any_permutation_is_undone(reference, order, holes):
    permuted = np.asarray([*order, 255], np.uint8)[reference]
    np.testing.assert_array_equal(match_labels(permuted, reference), reference)
    # As maps, with nodata in one of the two.
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
    # The optimal assignment does not include the largest overlap of a single cluster.
    labels = np.repeat([0, 0, 1, 1], [5, 4, 4, 0])
    reference = np.repeat([0, 1, 0, 1], [5, 4, 4, 0])
    np.testing.assert_array_equal(match_labels(labels, reference), np.repeat([1, 0], [9, 4]))


def test_clusters_left_over_take_free_numbers():
    labels, reference = np.array([4, 4, 4, 1, 1, 0]), np.array([3, 3, 3, 0, 0, 0])
    np.testing.assert_array_equal(match_labels(labels, reference), [3, 3, 3, 0, 0, 1])
    # A cluster that occurs only where the reference is nodata gets a number of its own, too.
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
    with pytest.raises(ValueError, match="grids must be equal, got different x"):
        match_labels(one, make_labels([[0, 1], [1, 0]], left=0))
    with pytest.raises(ValueError, match="reference must .* lacks"):
        match_labels(one, one.isel(x=0))
    with pytest.raises(ValueError, match=r"shape of labels, \(2,\), got \(3,\)"):
        match_labels([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="labels must be whole numbers"):
        match_labels([0.5, 1], [0, 1])
    with pytest.raises(ValueError, match="reference must be whole .* got -1"):
        match_labels([0, 1], [-1, 1])
    with pytest.raises(ValueError, match="must share a valid pixel, got none"):
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
    # Samples of a scene, and of that scene written to a file and opened again, are aligned.
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
    with pytest.raises(ValueError, match="grids must be equal, got different CRS"):
        change_map(mask, make_labels([[0, 1], [1, 1]], crs="EPSG:32612"))
    with pytest.raises(ValueError, match=r"after must hold only 0 .*, got \[2\]"):
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
        ("dry wet", "after must have the names of its classes .* got none beside 'dry wet'"),
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


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("1988-10-22", "2017-10-22"),
        ("1988", "2017-10"),
        ("2017-10-22T10:00:00+05:00", "2017-10-22T06:00:00Z"),
        (1988, 2017),
        (np.datetime64("1988-10-22", "s"), "2017-10-22T18:00"),
        (cftime.DatetimeNoLeap(1988, 10, 22), cftime.DatetimeNoLeap(2017, 10, 22)),
        (cftime.DatetimeNoLeap(1988, 10, 22), np.datetime64("2017-10-22", "ns")),
    ],
)
def test_change_map_knows_what_came_first_by_any_kind_of_time(one, two):
    mask = make_labels([[0, 1], [1, 1]])
    first, last = mask.assign_coords(time=one), mask.assign_coords(time=two)
    change_map(first, last)
    with pytest.raises(ValueError, match="before must not be later than after, got .* swapped"):
        change_map(last, first)


def test_change_map_refuses_times_that_cannot_be_compared():
    mask = make_labels([[0, 1], [1, 1]]).assign_coords(time=np.datetime64("1988-10-22", "ns"))
    for wrong in ("summer", 2017, b"2017"):
        with pytest.raises(ValueError, match="must have times that can be compared"):
            change_map(mask, mask.assign_coords(time=wrong))
    change_map(mask, mask.drop_vars("time"))
    change_map(mask, mask.assign_coords(time=np.datetime64("NaT", "ns")))


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
    labels = NystroemSpectralClustering(n_clusters).fit_predict(features)
    return unstack_labels(labels, samples, scene)


def test_the_simulated_lake():
    grid = common_grid(-118.7081, 38.6942, crs="EPSG:32611", buffer=15_000, resolution=200)
    scenes, true = [], []
    for name in ("landsat_5_small", "landsat_8_small"):
        scene, truth = simulate_scene(name)
        scenes.append(regrid(to_reflectance(scene), grid).drop_vars(["number", "wavelength"]))
        true.append(regrid(truth.water, grid, method="nearest"))
    labels = cluster(xr.concat(scenes, "time", combine_attrs="override"), 4)
    found = [water_mask(scene, labels[date]) for date, scene in enumerate(scenes)]
    for mask, truth in zip(found, true, strict=True):
        assert intersection_over_union(mask, truth) >= 0.97
    lost = class_areas(change_map(*found))["lost"]
    assert lost == pytest.approx(class_areas(change_map(*true))["lost"], rel=0.02)


@pytest.fixture(scope="module", params=[2017, 2020])
def betsiboka(request):
    """Return the year, scene and MNDWI mask of the real estuary."""
    folder = os.environ.get("COOKBOOK_DATA")
    if not folder or not (Path(folder) / "betsiboka").is_dir():
        pytest.skip("COOKBOOK_DATA names no folder with the real Betsiboka scenes")
    from cookbook_utils.datasets import open_catalog

    scene = to_reflectance(open_catalog().betsiboka.read(year=request.param)).compute()
    index = mndwi(scene)
    wet = (index > 0.1).astype("uint8").where(scene.notnull().all("band"), 255).astype("uint8")
    return request.param, scene, wet


@pytest.mark.slow
def test_the_real_estuary(betsiboka):
    year, scene, wet = betsiboka
    mask = water_mask(scene, cluster(scene, 4))
    assert intersection_over_union(mask, wet) >= {2017: 0.90, 2020: 0.85}[year]


@pytest.mark.slow
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
    assert find_water(scene, labels) == mostly_wet
