"""What figures and views share: colors that everyone can tell apart, and refusals of bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from cookbook_utils._conventions.labels import meanings_of
from cookbook_utils._palette import label_color
from cookbook_utils.plotting import (
    CLASS_COLORS,
    LABEL_COLORS,
    NODATA_COLOR,
    plot_labels,
    plot_points,
    plot_rgb,
)
from cookbook_utils.views import view_labels, view_points, view_rgb

from .factories import make_labels, make_points, make_scene

# -- palette ----------------------------------------------------------------------------------

# Machado, Oliveira & Fernandes (2009), doi:10.1109/TVCG.2009.113, severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868],
                   [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968],
                     [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779],
                   [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
SRGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375],
                        [0.2126729, 0.7151522, 0.0721750],
                        [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip


def seen_difference(a, b):
    """Return the CIELAB difference (CIE 1976) of two colors for the vision that sees it least."""
    rgb = np.array([to_rgba(a)[:3], to_rgba(b)[:3]])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    differences = []
    for matrix in VISION.values():
        xyz = np.clip(linear @ np.transpose(matrix), 0, 1) @ SRGB_TO_XYZ.T / SRGB_TO_XYZ.sum(1)
        f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
        lab = np.stack(
            [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
        )
        differences.append(np.linalg.norm(lab[0] - lab[1]))
    return min(differences)


def test_seen_difference_knows_the_classic_confusion():
    assert seen_difference("white", "black") == pytest.approx(100, abs=0.1)
    assert seen_difference("#2CA02C", "#D62728") < 8  # a green and a red, alike to deuteranopes


@pytest.mark.parametrize(
    ("colors", "least"),
    [
        # A just noticeable difference is about 2.3; these are at least six times that.
        ([*LABEL_COLORS[:8], NODATA_COLOR], 16),
        ([*LABEL_COLORS, NODATA_COLOR], 16),
        (LABEL_COLORS[:3], 30),
        ([*CLASS_COLORS.values(), NODATA_COLOR], 22),
    ],
    ids=["first-eight", "all", "first-three", "change"],
)
def test_colors_differ_for_every_vision(colors, least):
    closest = min(itertools.combinations(colors, 2), key=lambda pair: seen_difference(*pair))
    assert seen_difference(*closest) >= least, closest


def test_every_label_has_a_color_of_its_own():
    colors = [label_color(number) for number in range(255)]
    assert colors[:12] == list(LABEL_COLORS)
    assert len({*colors, NODATA_COLOR, "#FFFFFF"}) == 257


@pytest.mark.parametrize(("count", "least"), [(20, 13), (30, 11), (60, 7)])
def test_further_colors_are_as_different_as_can_be(count, least):
    """The eye tells some 30 apart side by side; twice as many only where they touch."""
    colors = [*(label_color(number) for number in range(count)), NODATA_COLOR]
    closest = min(itertools.combinations(colors, 2), key=lambda pair: seen_difference(*pair))
    assert seen_difference(*closest) >= least, closest


def test_neighboring_numbers_contrast():
    assert min(itertools.starmap(seen_difference, itertools.pairwise(LABEL_COLORS))) >= 25


# -- bad input --------------------------------------------------------------------------------


@pytest.fixture
def scene():
    return make_scene(bands=("blue", "green", "red", "nir"))


@pytest.fixture
def labels():
    return make_labels(np.repeat(np.arange(4), 3).reshape(3, 4))


@pytest.mark.parametrize("draw", [plot_rgb, view_rgb])
def test_rgb_errors(scene, draw):
    with pytest.raises(ValueError, match=r"three out of .*'nir'.*got \['swir1'"):
        draw(scene, ("swir1", "nir", "red"))
    with pytest.raises(ValueError, match="bands must be three out of"):
        draw(scene, ("nir", "red"))
    with pytest.raises(ValueError, match=r"lacks \['band'\]"):
        draw(scene.isel(band=0))
    with pytest.raises(ValueError, match="must have a pixel that is valid"):
        draw(scene.where(False))
    with pytest.raises(ValueError, match="two pixels or more"):
        draw(scene.isel(x=[0]))
    with pytest.raises(ValueError, match="must have coordinates y and x"):
        draw(scene.drop_vars(["x", "y"]))
    with pytest.raises(TypeError, match="scene must be an xarray.DataArray"):
        draw(scene.values)


@pytest.mark.parametrize("draw", [plot_labels, view_labels])
def test_label_errors(labels, draw):
    with pytest.raises(ValueError, match="whole numbers from 0 to 254, and 255 .*got -1"):
        draw(labels.astype("int64").where(labels != 3, -1))
    with pytest.raises(ValueError, match="whole numbers from 0 to 254, and 255 .*got 300"):
        draw(labels.astype("int64").where(labels != 3, 300))
    with pytest.raises(ValueError, match="whole numbers from 0 to 254, and 255 .*got 0.5"):
        draw(labels + 0.5)
    with pytest.raises(ValueError, match=r"labels .* unexpected .*'month'"):
        draw(labels.expand_dims(["time", "month"]))
    with pytest.raises(ValueError, match="got 1 flag_values and 2 flag_meanings"):
        draw(labels.assign_attrs(flag_values=[0], flag_meanings="land water"))


def test_a_static_map_is_of_one_date(labels):
    with pytest.raises(ValueError, match=r"unexpected \['time'\]"):
        plot_labels(labels.expand_dims("time"))


@pytest.mark.parametrize("draw", [plot_points, view_points])
def test_point_errors(draw):
    points, labels = make_points(4), np.uint8([0, 1, 2, 255])
    with pytest.raises(ValueError, match=r"one for each of 4 points, got 3"):
        draw(points, labels[:3])
    with pytest.raises(ValueError, match=r"lacks \['point'\] and has unexpected \['x'\]"):
        draw(points, xr.DataArray(labels, dims="x"))
    with pytest.raises(ValueError, match="has unexpected"):
        draw(points, np.stack([labels, labels], axis=1))
    with pytest.raises(TypeError, match="must hold real numbers, got dtype <U1"):
        draw(points, np.array(list("abcd")))
    with pytest.raises(ValueError, match="whole numbers from 0 to 254, .*got -1"):
        draw(points, np.array([0, 1, 2, -1]))
    with pytest.raises(ValueError, match=r"must have the coordinates .* latitude \(point\), got"):
        draw(points.drop_vars("latitude"), labels)
    with pytest.raises(ValueError, match="longitude .* from -180 to 180 degrees.*4 points, 1 of"):
        draw(points.assign_coords(longitude=("point", [20, 21, np.nan, 22])), labels)
    with pytest.raises(ValueError, match="latitude .* from -90 to 90 degrees.*4 points, 4 of"):
        draw(points.assign_coords(latitude=points.latitude * 1e5), labels)
    with pytest.raises(ValueError, match="one or more, got 0"):
        draw(points.isel(point=[]), labels[:0])
    with pytest.raises(TypeError, match="points must be an xarray.Dataset .*got DataFrame"):
        draw(points.to_dataframe(), labels)
    with pytest.raises(TypeError, match="latitude of the points must hold real numbers"):
        draw(points.assign_coords(latitude=points.latitude.astype(str)), labels)
    with pytest.raises(ValueError, match=r"\(longitude \+ 180\) % 360 - 180 brings"):
        draw(points.assign_coords(longitude=points.longitude + 200), labels)


MAPS = [plot_labels, view_labels, plot_rgb, view_rgb]


@pytest.mark.parametrize("draw", MAPS)
def test_a_map_needs_coordinates_that_say_where_its_pixels_lie(draw, scene, labels):
    array = scene if draw in (plot_rgb, view_rgb) else labels
    for change, error, message in [
        ({1: np.nan}, ValueError, "x of .* must be finite, got 1 values"),
        ({1: np.inf}, ValueError, "x of .* must be finite, got 1 values"),
        ({1: array.x[0].item()}, ValueError, "x of .* must be evenly spaced, got steps from 0"),
        ({1: array.x[1].item() + 7}, ValueError, "x of .* evenly spaced, got steps from 23 to 37"),
    ]:
        x = array.x.values.copy()
        for position, value in change.items():
            x[position] = value
        with pytest.raises(error, match=message):
            draw(array.assign_coords(x=x))
    for x in (list("abcdef"), np.arange(6).astype("datetime64[D]"), np.arange(6) * 1j):
        with pytest.raises(TypeError, match="x of .* must hold real numbers"):
            draw(array.assign_coords(x=x[: array.sizes["x"]]))


@pytest.mark.parametrize("draw", MAPS)
@pytest.mark.parametrize("title", [5, ["a"], b"a"])
def test_a_title_is_text(draw, scene, labels, title):
    array = scene if draw in (plot_rgb, view_rgb) else labels
    with pytest.raises(TypeError, match="title must be text or None, got"):
        draw(array, title=title)


@pytest.mark.parametrize("draw", [plot_labels, view_labels])
@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a", "b"], TypeError, "names must map label numbers to text, got list"),
        ({"1": "a"}, TypeError, "each number in names must be an integer from 0 to 254, got '1'"),
        ({300: "a"}, ValueError, "each number in names must be .* got 300"),
        ({1: 5}, TypeError, "names must map label numbers to text, got 5 for 1"),
    ],
)
def test_names_map_numbers_to_text(draw, labels, names, error, message):
    with pytest.raises(error, match=message):
        draw(labels, names=names)


@pytest.mark.parametrize("draw", [plot_rgb, view_rgb])
@pytest.mark.parametrize("bands", ["red", None, {"red", "green", "blue"}, 3])
def test_bands_are_a_list(draw, scene, bands):
    with pytest.raises(TypeError, match="bands must be a list of three band names, got"):
        draw(scene, bands)


def test_a_band_may_be_shown_twice_but_not_be_there_twice(scene):
    picture = plot_rgb(scene, ("red", "red", "nir"), ax=Figure().subplots()).images[0].get_array()
    np.testing.assert_array_equal(picture[..., 0], picture[..., 1])
    twice = scene.assign_coords(band=["red", "red", "green", "blue"])
    with pytest.raises(ValueError, match="each band once, got 'red' more than once"):
        plot_rgb(twice)


def test_axes_are_axes(scene, labels):
    import matplotlib.pyplot as plt

    for draw, array in ((plot_rgb, scene), (plot_labels, labels), (plot_points, make_points(3))):
        with pytest.raises(TypeError, match="ax must be matplotlib Axes or None, got Figure"):
            draw(array, ax=Figure())
    assert not plt.get_fignums()  # no refusal leaves an empty figure behind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, 300], "flag_values must be whole numbers from 0 to 254, got"),
        ([0, -1, 2], "flag_values must be whole numbers from 0 to 254, got"),
        ("0, -1, 2", "flag_values must be whole numbers from 0 to 254, got"),
        (["a", "b", "c"], "flag_values must be whole numbers from 0 to 254, got"),
        ([0, 1, 1], "flag_values must hold each number once"),
    ],
)
def test_flags_that_are_no_labels(labels, values, message):
    with pytest.raises(ValueError, match=message):
        plot_labels(labels.assign_attrs(flag_values=values, flag_meanings="a b c"))


@pytest.mark.parametrize("values", [[0, 1, 2, 3], np.arange(4.0), "[0 1 2 3]", "0b, 1b, 2b, 3b"])
@pytest.mark.parametrize("meanings", ["a b c d", list("abcd"), np.array(list("abcd"))])
def test_flags_are_read_however_they_are_written(labels, values, meanings):
    assert meanings_of(labels.assign_attrs(flag_values=values, flag_meanings=meanings)) == {
        0: "a", 1: "b", 2: "c", 3: "d",
    }  # fmt: skip


@pytest.mark.parametrize("draw", [plot_labels, view_labels])
def test_a_nodata_value_that_the_dtype_cannot_hold(labels, draw):
    """rioxarray raises for it, at the first time that it is asked."""
    draw((labels > 1).assign_attrs(_FillValue=255))
    with pytest.raises(
        ValueError, match="nodata value .* must be a number that float64 can hold, got 'none'"
    ):
        draw(labels.assign_attrs(_FillValue="none"))
