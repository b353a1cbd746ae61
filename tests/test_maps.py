"""Colors, and errors that static figures and interactive views have in common."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from cookbook_utils._change import CHANGE_CLASSES
from cookbook_utils._conventions.labels import meanings_of
from cookbook_utils._figures import draw_spread
from cookbook_utils._palette import class_color, colors_of, contrast_on_white, label_color
from cookbook_utils.plotting import (
    CLASS_COLORS,
    LABEL_COLORS,
    NODATA_COLOR,
    plot_labels,
    plot_points,
    plot_rgb,
    style,
)
from cookbook_utils.simulate import REGIMES, coast, lake
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


def seen(color):
    """Return a color in CIELAB as each kind of vision sees it, shape (4, 3)."""
    rgb = np.array(to_rgba(color)[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(np.stack(list(VISION.values())) @ linear, 0, 1) @ SRGB_TO_XYZ.T
    xyz /= SRGB_TO_XYZ.sum(1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def seen_difference(a, b):
    """Return the smallest CIELAB difference (CIE 1976) of two colors over the kinds of vision."""
    return np.linalg.norm(seen(a) - seen(b), axis=1).min()


def ciede2000(lab_1, lab_2):
    """Return the CIEDE2000 difference of two colors in CIELAB.

    Sharma, Wu & Dalal (2005), doi:10.1002/col.20070; equation numbers are theirs.
    """
    (l_1, a_1, b_1), (l_2, a_2, b_2) = lab_1, lab_2
    c_7 = ((np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(c_7 / (c_7 + 25**7)))  # 4
    c_1, c_2 = np.hypot((1 + g) * a_1, b_1), np.hypot((1 + g) * a_2, b_2)  # 6
    h_1, h_2 = (np.degrees(np.arctan2(b, (1 + g) * a)) for a, b in ((a_1, b_1), (a_2, b_2)))  # 7
    step = (h_2 - h_1 + 180) % 360 - 180 if c_1 * c_2 else 0  # 10
    dh = 2 * np.sqrt(c_1 * c_2) * np.sin(np.radians(step / 2))  # 11
    l_mean, c_mean = (l_1 + l_2) / 2, (c_1 + c_2) / 2  # 12, 13
    h_mean = h_1 + step / 2 if c_1 * c_2 else h_1 + h_2  # 14
    terms = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    t = 1 + sum(w * np.cos(np.radians(n * h_mean + shift)) for w, n, shift in terms)  # 15
    s_l = 1 + 0.015 * (l_mean - 50) ** 2 / np.sqrt(20 + (l_mean - 50) ** 2)  # 18
    s_c, s_h = 1 + 0.045 * c_mean, 1 + 0.015 * c_mean * t  # 19, 20
    turn = 60 * np.exp(-((((h_mean % 360) - 275) / 25) ** 2))  # 16
    r_t = -2 * np.sqrt(c_mean**7 / (c_mean**7 + 25**7)) * np.sin(np.radians(turn))  # 17, 21
    dl, dc, dh = (l_2 - l_1) / s_l, (c_2 - c_1) / s_c, dh / s_h
    return np.sqrt(dl**2 + dc**2 + dh**2 + r_t * dc * dh)  # 22


@pytest.mark.parametrize(
    ("lab_1", "lab_2", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000_gives_the_published_differences(lab_1, lab_2, expected):
    assert ciede2000(lab_1, lab_2) == pytest.approx(expected, abs=1e-4)


def test_red_and_green_are_similar_to_deuteranopes():
    assert seen_difference("white", "black") == pytest.approx(100, abs=0.1)
    assert seen_difference("#2CA02C", "#D62728") < 8


@pytest.mark.parametrize(
    ("colors", "least"),
    [
        # A just noticeable difference is about 2.3.
        ([*LABEL_COLORS[:8], NODATA_COLOR], 16),
        ([*LABEL_COLORS, NODATA_COLOR], 16),
        (LABEL_COLORS[:3], 30),
    ],
    ids=["first-eight", "all", "first-three"],
)
def test_colors_differ_for_every_vision(colors, least):
    closest = min(itertools.combinations(colors, 2), key=lambda pair: seen_difference(*pair))
    assert seen_difference(*closest) >= least, closest


MAP_CLASSES = {
    "change": CHANGE_CLASSES,
    "lake": lake.COVERS,
    "coast": coast.COVERS,
    "regimes": REGIMES,
}


@pytest.mark.parametrize("classes", [*MAP_CLASSES, "ten clusters"])
def test_colors_of_one_map_differ_by_ciede2000(classes):
    """No two colors of a map are closer than 10 for any kind of vision."""
    colors = [CLASS_COLORS[name] for name in MAP_CLASSES.get(classes, ())] or LABEL_COLORS[:10]
    pairs = itertools.combinations([*colors, NODATA_COLOR], 2)
    least = {(a, b): min(map(ciede2000, seen(a), seen(b))) for a, b in pairs}
    closest = min(least, key=least.get)
    assert least[closest] >= 10, closest


def test_lines_stand_out_from_white():
    """Lines, drawn on white in light and dark pages, have a contrast of 3 : 1 or a dark edge."""
    assert contrast_on_white("#FFFFFF") == pytest.approx(1)
    assert contrast_on_white("#000000") == pytest.approx(21)
    assert contrast_on_white("#767676") == pytest.approx(4.54, abs=0.005)
    with matplotlib.rc_context():
        style()
        cycle = [entry["color"] for entry in matplotlib.rcParams["axes.prop_cycle"]]
    assert len(cycle) >= 8
    assert min(map(contrast_on_white, cycle)) >= 3
    colors = [*LABEL_COLORS, *CLASS_COLORS.values()]
    for color in colors:
        axes = Figure().subplots()
        profile = xr.Dataset({"mean": ("band", [0.0, 1]), "std": ("band", [0.0, 1])})
        draw_spread(axes, np.arange(2), 0, profile, color)
        (line,) = axes.lines
        assert contrast_on_white(color) >= 3 or line.get_path_effects()


def test_every_class_of_the_simulations_has_a_color():
    assert {name for classes in MAP_CLASSES.values() for name in classes} == set(CLASS_COLORS)


@pytest.mark.parametrize("name", ["water", "sea", "clear_water", "muddy_water", "gained"])
def test_water_is_blue(name):
    red, green, blue = to_rgba(CLASS_COLORS[name])[:3]
    assert red < green < blue


@pytest.mark.parametrize(
    "name", ["bare soil", "bare_soil", "Bare soil", "3 bare soil", "bare_soil 12"]
)
def test_a_class_has_its_color_however_it_is_written(name):
    assert class_color(name) == CLASS_COLORS["bare_soil"]


def test_other_names_have_no_color():
    assert [class_color(name) for name in ("bare", "soil bare", "3", "sea-ice", "_")] == [None] * 5


@given(st.dictionaries(st.integers(0, 254), st.sampled_from([*CLASS_COLORS, "dune"]), max_size=12))
@settings(deadline=None, max_examples=50)
def test_no_cluster_looks_like_a_known_class(names):
    """Known classes have their colors, and all other numbers have distinct ones."""
    colors = colors_of(range(255), names)
    known = {n: name for n, name in names.items() if name != "dune"}
    assert {n: colors[n] for n in known} == {n: CLASS_COLORS[name] for n, name in known.items()}
    others = [colors[n] for n in range(255) if n not in known]
    assert len({*others}) == len(others)
    assert not {*others[: 12 - len(known)]} & {CLASS_COLORS[name] for name in known.values()}


def test_a_number_has_one_color_in_all_maps_of_a_series():
    names = {2: "water", 5: "crops"}
    colors = colors_of(range(8), names)
    assert [colors_of([n], names)[n] for n in range(8)] == list(colors.values())
    assert colors[0] == LABEL_COLORS[2]  # the color of number 0 is that of water


def test_every_label_has_a_color_of_its_own():
    colors = [label_color(number) for number in range(255)]
    assert colors[:12] == list(LABEL_COLORS)
    assert len({*colors, NODATA_COLOR, "#FFFFFF"}) == 257


@pytest.mark.parametrize(("count", "least"), [(20, 13), (30, 11), (60, 7)])
def test_further_colors_differ(count, least):
    """About 30 colors can be told apart at a distance; 60 only if they are adjacent."""
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
        draw(scene, bands=("swir1", "nir", "red"))
    with pytest.raises(ValueError, match="bands must be three out of"):
        draw(scene, bands=("nir", "red"))
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
    with pytest.raises(ValueError, match=r"one value for each of 4 points, got 3"):
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
    with pytest.raises(ValueError, match="longitude .* from -180 to 180 degrees, got 1 of 4"):
        draw(points.assign_coords(longitude=("point", [20, 21, np.nan, 22])), labels)
    with pytest.raises(ValueError, match="latitude .* from -90 to 90 degrees, got 4 of 4"):
        draw(points.assign_coords(latitude=points.latitude * 1e5), labels)
    with pytest.raises(ValueError, match="one or more, got 0"):
        draw(points.isel(point=[]), labels[:0])
    with pytest.raises(TypeError, match="points must be an xarray.Dataset .*got DataFrame"):
        draw(points.to_dataframe(), labels)
    with pytest.raises(TypeError, match="latitude of the points must hold real numbers"):
        draw(points.assign_coords(latitude=points.latitude.astype(str)), labels)
    with pytest.raises(ValueError, match=r"by \(longitude \+ 180\) % 360 - 180"):
        draw(points.assign_coords(longitude=points.longitude + 200), labels)


MAPS = [plot_labels, view_labels, plot_rgb, view_rgb]


@pytest.mark.parametrize("draw", MAPS)
def test_coordinates_must_be_finite_and_evenly_spaced(draw, scene, labels):
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
        ({"1": "a"}, TypeError, "each number in names must be an integer from 0 to .*, got '1'"),
        ({300: "a"}, ValueError, "each number in names must be .* from 0 to 254, got 300"),
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
        draw(scene, bands=bands)


def test_a_band_may_be_drawn_twice_but_not_duplicated_in_the_scene(scene):
    picture = (
        plot_rgb(scene, bands=("red", "red", "nir"), ax=Figure().subplots()).images[0].get_array()
    )
    np.testing.assert_array_equal(picture[..., 0], picture[..., 1])
    twice = scene.assign_coords(band=["red", "red", "green", "blue"])
    with pytest.raises(
        ValueError, match=r"each of the bands 'red', 'green', 'blue' once, got \['red', 'red'"
    ):
        plot_rgb(twice)


def test_axes_are_axes(scene, labels):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    for draw, array in ((plot_rgb, scene), (plot_labels, labels), (plot_points, make_points(3))):
        with pytest.raises(TypeError, match="ax must be matplotlib Axes or None, got Figure"):
            draw(array, ax=Figure())
    assert plt.get_fignums() == before  # an error leaves no empty figure behind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, 255], "flag_values must be whole numbers from 0 to 254, got"),
        ([0, 1, np.nan], "flag_values must be whole numbers from 0 to 254, got"),
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
    """A nodata value outside the range of the dtype is ignored; text is an error."""
    draw((labels > 1).assign_attrs(_FillValue=255))
    with pytest.raises(ValueError, match="nodata value .* must be a number .* got 'none'"):
        draw(labels.assign_attrs(_FillValue="none"))
