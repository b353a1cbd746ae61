"""Clusters named by hand, by rule and by reference data, and change between named maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cookbook_utils.areas import class_areas
from cookbook_utils.indices import ndvi
from cookbook_utils.labels import (
    change_map,
    is_water,
    name_clusters,
    reference_table,
    rule_table,
    water_mask,
    water_table,
)

from .factories import make_labels, make_scene

label_arrays = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 3, 255]))


def names_at(labels):
    """Return the name of the class of each pixel, None for nodata."""
    names = labels.attrs["flag_meanings"].split()
    lookup = dict(zip(labels.attrs["flag_values"], names, strict=True))
    return np.vectorize(lookup.get, otypes=[object])(labels.values)


def make_named(values, names):
    return name_clusters(make_labels(values), dict(enumerate(names)))


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, 2])
def test_clusters_of_one_name_are_one_class(chunks):
    labels = make_labels([[0, 1, 2], [5, 255, 2]])
    labels = labels if chunks is None else labels.chunk(chunks)
    names = {0: "sea", 1: "bare  soil", 2: "sea", 3: "sea", 5: "crops"}
    for given_names in (names, pd.Series(names)):
        classes = name_clusters(labels, given_names)
        assert (classes.chunks is None) == (chunks is None)
        np.testing.assert_array_equal(classes, [[0, 1, 0], [2, 255, 0]])
        assert classes.dtype == np.uint8
        assert classes.name == "class"
        assert classes.attrs["flag_meanings"] == "sea bare_soil crops"
        assert classes.attrs["flag_values"] == [0, 1, 2]
        assert classes.rio.crs == labels.rio.crs


def test_clusters_without_a_name():
    labels = make_labels([[0, 1, 7], [9, 255, 0]])
    with pytest.raises(ValueError, match=r"must have a class for each cluster .* for \[7, 9\]"):
        name_clusters(labels, {0: "sea", 1: "land"})
    lazy = name_clusters(labels.chunk(x=1), {0: "sea", 1: "land"})
    with pytest.raises(ValueError, match=r"got none for \[[79]\]"):
        lazy.compute()
    names = pd.Series({0: "sea", 1: None, 7: np.nan, 9: "land"})
    classes = name_clusters(labels, names, default="not known")
    np.testing.assert_array_equal(classes, [[0, 2, 2], [1, 255, 0]])
    assert classes.attrs["flag_meanings"] == "sea land not_known"
    same = name_clusters(labels, names, default="land")
    np.testing.assert_array_equal(same, [[0, 1, 1], [1, 255, 0]])
    with pytest.raises(ValueError, match="names must have a name for a cluster, got none"):
        name_clusters(labels, {})


def test_names_are_checked():
    labels = make_labels([[0, 1], [1, 0]])
    for wrong, message in [
        ({0: " "}, "names of the cluster 0 must not be blank"),
        ({-1: "sea"}, "clusters from 0 to 254, got -1"),
        (pd.Series(["a", "b"], [0, 0]), "one class for each cluster, got several for 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            name_clusters(labels, wrong)
    with pytest.raises(TypeError, match="names must map whole numbers to class names, got True"):
        name_clusters(labels, {True: "sea"})


def test_a_series_of_maps_keeps_its_dates():
    labels = xr.concat([make_labels([[0, 1]]), make_labels([[1, 0]])], "time")
    classes = name_clusters(labels, {0: "sea", 1: "land"})
    assert classes.dims == labels.dims
    np.testing.assert_array_equal(classes, labels)


# -- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, 2])
def test_clusters_by_reference(chunks):
    labels = make_labels([[0, 0, 0, 1], [1, 2, 2, 4], [4, 255, 255, 7]])
    reference = make_labels([[6, 6, 3, 3], [6, 3, 255, 3], [6, 3, 255, 255]])
    reference.attrs |= {"flag_values": [6, 3], "flag_meanings": "open_water land"}
    if chunks:
        labels, reference = labels.chunk(chunks), reference.chunk(chunks)
    table = reference_table(labels, reference)
    assert table.index.tolist() == [0, 1, 2, 4, 7]
    assert table.index.name == "cluster"
    # Of equally frequent classes the first one of the reference wins: clusters 1 and 4.
    expected = ["open_water", "open_water", "land", "open_water"]
    assert table["class"].tolist()[:4] == expected
    assert table["class"].isna().tolist() == [False] * 4 + [True]
    assert table["pixels"].tolist() == [3, 2, 1, 2, 0]
    np.testing.assert_allclose(table["share"], [2 / 3, 0.5, 1, 0.5, np.nan])
    # Names in the labels play no part.
    named = labels.assign_attrs(flag_values=[0, 1, 2, 4, 7], flag_meanings="a b c d e")
    pd.testing.assert_frame_equal(reference_table(named, reference), table)


def test_reference_of_two_numbers_for_one_class():
    labels, reference = make_labels([[0] * 5]), make_labels([[0, 1, 1, 2, 2]])
    reference.attrs |= {"flag_values": [0, 1, 2], "flag_meanings": "sea land sea"}
    table = reference_table(labels, reference)
    assert table.loc[0].tolist() == ["sea", 5, 0.6]


def make_cover():
    """Return a scene of water, plants and soil, and a map of four clusters on it."""
    spectra = {  # blue, green, red, nir, swir1, swir2
        "water": [0.05, 0.06, 0.04, 0.02, 0.01, 0.01],
        "plants": [0.03, 0.06, 0.04, 0.40, 0.20, 0.10],
        "soil": [0.10, 0.14, 0.20, 0.28, 0.36, 0.33],
    }
    kinds = np.array([["water", "water", "plants", "soil"], ["plants", "plants", "plants", "soil"]])
    values = np.moveaxis(np.array([[spectra[kind] for kind in row] for row in kinds]), 2, 0)
    values = values + np.random.default_rng(0).normal(0, 0.002, values.shape)
    labels = make_labels([[3, 3, 0, 1], [0, 7, 7, 7]])
    return make_scene(values, ny=2, nx=4), labels


RULES = {"open water": is_water, "plants": lambda spectra: ndvi(spectra) > 0.4}


@pytest.mark.parametrize("chunks", [None, 1])
def test_clusters_by_rule(chunks):
    scene, labels = make_cover()
    if chunks:
        scene, labels = scene.chunk(x=chunks, band=3), labels.chunk(y=chunks)
    table = rule_table(scene, labels, RULES, default="bare soil")
    assert table.index.tolist() == [0, 1, 3, 7]
    assert table["class"].tolist() == ["plants", "bare_soil", "open_water", "plants"]
    assert table["pixels"].tolist() == [2, 1, 2, 3]
    np.testing.assert_allclose(table["share"], [1, 1, 1, 2 / 3])
    classes = name_clusters(labels, table["class"])
    assert classes.attrs["flag_meanings"] == "plants bare_soil open_water"
    # Of two rules that hold, the first one wins.
    rules = {"any": lambda spectra: spectra.isel(band=0) > -1} | RULES
    assert set(rule_table(scene, labels, rules)["class"]) == {"any"}


def test_rules_agree_with_the_water_table():
    scene, labels = make_cover()
    table, water = rule_table(scene, labels, {"water": is_water}), water_table(scene, labels)
    assert ((table["class"] == "water") == water["water"]).all()
    passing = water["share_passing"].where(water["water"], 1 - water["share_passing"])
    np.testing.assert_allclose(table["share"], passing)
    named = name_clusters(labels, table["class"].replace("other", "land"))
    mask = water_mask(scene, labels)
    np.testing.assert_array_equal(names_at(named), names_at(mask))


def test_rules_judge_a_cluster_once_for_all_dates():
    scene, labels = make_cover()
    twice = rule_table([scene, scene.isel(x=[0, 1])], [labels, labels.isel(x=[0, 1])], RULES)
    assert twice["pixels"].tolist() == [3, 1, 4, 4]
    series = xr.concat([scene, scene], "time")
    table = rule_table(series, xr.concat([labels, labels], "time"), RULES)
    assert table["pixels"].tolist() == [4, 2, 4, 6]


def test_rules_are_checked():
    scene, labels = make_cover()
    with pytest.raises(ValueError, match="default must be the name of a class without a rule"):
        rule_table(scene, labels, RULES, default="plants")
    with pytest.raises(ValueError, match="got dtype float32 and the shape .* the rule of 'a'"):
        rule_table(scene, labels, {"a": lambda spectra: ndvi(spectra)})
    with pytest.raises(ValueError, match="scene must hold reflectance, got clusters with mean"):
        rule_table(scene * 100, labels, RULES)


@pytest.mark.parametrize("chunks", [None, 1])
def test_is_water_judges_each_pixel(chunks):
    scene, _ = make_cover()
    given_scene = scene if chunks is None else scene.chunk(chunks)
    water = is_water(given_scene.where(scene.x > scene.x[0]))
    assert (water.chunks is None) == (chunks is None)
    assert water.dims == ("y", "x")
    np.testing.assert_array_equal(water, [[False, True, False, False], [False] * 4])
    with pytest.raises(ValueError, match="must have each of the bands .* got"):
        is_water(scene.drop_sel(band="nir"))
    with pytest.raises(TypeError, match="reflectance as floats, got dtype int64"):
        is_water((scene * 100).astype(int).assign_attrs(units="1"))


# -- change ------------------------------------------------------------------------------------


@given(one=label_arrays, two=label_arrays)
@settings(max_examples=40, deadline=None)
def test_change_says_what_became_of_each_class(one, two):
    before = make_named(one, ["forest", "crops", "sea", "forest"])
    after = make_named(two, ["sea", "built up", "crops", "forest"])
    change = change_map(before, after)
    lazy = change_map(before.chunk(x=2), after.chunk(y=2).transpose())
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), change)
    was, became, found = names_at(before), names_at(after), names_at(change)
    for a, b, c in zip(was.ravel(), became.ravel(), found.ravel(), strict=True):
        expected = None if a is None or b is None else a if a == b else f"{a}_to_{b}"
        assert c == expected
    names = change.attrs["flag_meanings"].split()
    assert names[:3] == ["forest", "crops", "sea"]
    assert len(names) == len(set(names)) == 3 * 4
    assert change.attrs["_FillValue"] == 255


def test_areas_of_change():
    before = name_clusters(make_labels([[0, 0, 1]], step=1000), {0: "forest", 1: "sea"})
    before = xr.concat([before, before], "y").assign_coords(y=[1000.0, 0.0])
    after = name_clusters(before, {0: "crops", 1: "sea"})
    areas = class_areas(change_map(before, after))
    assert areas.to_dict() == {
        "sea": 2.0, "forest_to_crops": 4.0, "forest_to_sea": 0.0, "sea_to_crops": 0.0
    }  # fmt: skip


def test_water_masks_are_a_special_case():
    before, after = make_labels([[0, 0, 1, 1]]), make_labels([[0, 1, 0, 1]])
    masks = [make_named(labels, ["land", "water"]) for labels in (before, after)]
    assert names_at(change_map(*masks)).tolist() == [["land", "gained", "lost", "water"]]
    np.testing.assert_array_equal(change_map(*masks), change_map(before, after))
    np.testing.assert_array_equal(change_map(masks[0], after), change_map(before, after))
    # With a third class at one date they are maps like others.
    cloudy = make_named(after, ["land", "water", "cloud"])
    found = names_at(change_map(masks[0], cloudy))
    assert found.tolist() == [["land", "land_to_water", "water_to_land", "water"]]


def test_change_needs_names_that_tell_the_changes_apart():
    plain = make_labels([[0, 1], [1, 0]])
    named = make_named(plain, ["forest", "crops"])
    with pytest.raises(ValueError, match="after must have the names .* 'forest crops'.*name_clus"):
        change_map(named, plain)
    with pytest.raises(ValueError, match="before must have the names"):
        change_map(plain, named)
    with pytest.raises(ValueError, match=r"before must hold only 0 \(forest\), .* got \[7\]"):
        change_map(named.where(named != 1, 7).astype("uint8").assign_attrs(named.attrs), named)
    one = make_named(plain, ["a_to_b", "a"])
    two = make_named(plain, ["c", "b_to_c"])
    with pytest.raises(ValueError, match="name of its own, got 'a_to_b_to_c' for two changes"):
        change_map(one, two)


@pytest.mark.parametrize("chunks", [None, 5])
def test_change_of_many_classes_takes_two_bytes(chunks):
    values = np.arange(400).reshape(20, 20)
    before = make_named(values // 20, [f"class_{i}" for i in range(20)])
    after = make_named(values % 20, [f"class_{i}" for i in range(20)])
    before = before.where(before.x > before.x[0], 255).astype("uint8").assign_attrs(before.attrs)
    if chunks:
        before, after = before.chunk(chunks), after.chunk(chunks)
    change = change_map(before, after)
    assert change.dtype == np.uint16
    assert change.attrs["_FillValue"] == 65535
    found = names_at(change.compute())
    assert found[3, 3] == "class_3"
    assert found[19, 2] == "class_19_to_class_2"
    assert found[5, 0] is None
    areas = class_areas(change)
    assert len(areas) == 400
    assert areas["class_19_to_class_2"] == pytest.approx(9e-4)
    assert areas.sum() == pytest.approx(380 * 9e-4)


def test_wide_change_maps_come_back_from_files(tmp_path):
    names = [f"class_{i}" for i in range(20)]
    before = make_named(np.arange(400).reshape(20, 20) % 19, names)
    after = make_named(np.arange(400).reshape(20, 20) % 20, names)
    change = change_map(before, after)
    change.rio.to_raster(tmp_path / "change.tif")
    import rioxarray

    for masked in (False, True):
        back = rioxarray.open_rasterio(tmp_path / "change.tif", masked=masked)
        pd.testing.assert_series_equal(class_areas(back), class_areas(change))
