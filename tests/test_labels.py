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

from .factories import make_labels

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
    with pytest.raises(ValueError, match="reference lacks"):
        match_labels(one, one.isel(x=0))
    with pytest.raises(ValueError, match=r"shape \(2,\), the reference \(3,\)"):
        match_labels([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="labels must be integers"):
        match_labels([0.5, 1], [0, 1])
    with pytest.raises(ValueError, match="reference must lie between 0 and 254, found -1 to 1"):
        match_labels([0, 1], [-1, 1])
    with pytest.raises(ValueError, match="no pixel is valid in both"):
        match_labels([0, 255], [255, 0])


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
    with pytest.raises(ValueError, match=r"holds 0, 1 and 255 only, found \[2\]"):
        change_map(mask, make_labels([[0, 1], [2, 1]]))
    with pytest.raises(ValueError, match="after has unexpected"):
        change_map(mask, mask.expand_dims("time"))


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
