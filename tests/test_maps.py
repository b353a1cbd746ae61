"""What figures and views share: colors that everyone can tell apart, and refusals of bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba

from cookbook_utils.plotting import (
    CHANGE_COLORS,
    LABEL_COLORS,
    MISSING_COLOR,
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
        ([*LABEL_COLORS[:8], MISSING_COLOR], 16),
        ([*LABEL_COLORS, MISSING_COLOR], 16),
        (LABEL_COLORS[:3], 30),
        ([*CHANGE_COLORS.values(), MISSING_COLOR], 22),
    ],
    ids=["first-eight", "all", "first-three", "change"],
)
def test_colors_differ_for_every_vision(colors, least):
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
    with pytest.raises(ValueError, match=r"three bands out of .*'nir'.*found \['swir1'"):
        draw(scene, ("swir1", "nir", "red"))
    with pytest.raises(ValueError, match="expected three bands"):
        draw(scene, ("nir", "red"))
    with pytest.raises(ValueError, match=r"lacks \['band'\]"):
        draw(scene.isel(band=0))
    with pytest.raises(ValueError, match="no pixel of the scene is valid"):
        draw(scene.where(False))
    with pytest.raises(ValueError, match="two pixels or more"):
        draw(scene.isel(x=[0]))
    with pytest.raises(ValueError, match="must have coordinates y and x"):
        draw(scene.drop_vars(["x", "y"]))
    with pytest.raises(TypeError, match="scene must be an xarray.DataArray"):
        draw(scene.values)


@pytest.mark.parametrize("draw", [plot_labels, view_labels])
def test_label_errors(labels, draw):
    with pytest.raises(ValueError, match=r"no color for the labels \[12\].*12 distinguishable"):
        draw(labels.where(labels != 3, 12).astype("uint8"))
    with pytest.raises(ValueError, match=r"no color for the labels \[-1\]"):
        draw(labels.astype("int64").where(labels != 3, -1))
    with pytest.raises(TypeError, match="integers with 255 where missing, found float64"):
        draw(labels.astype("float64"))
    with pytest.raises(ValueError, match=r"labels .* unexpected .*'month'"):
        draw(labels.expand_dims(["time", "month"]))
    with pytest.raises(ValueError, match="1 flag_values for 2 flag_meanings"):
        draw(labels.assign_attrs(flag_values=[0], flag_meanings="land water"))


def test_a_static_map_is_of_one_date(labels):
    with pytest.raises(ValueError, match=r"unexpected \['time'\]"):
        plot_labels(labels.expand_dims("time"))


@pytest.mark.parametrize("draw", [plot_points, view_points])
def test_point_errors(draw):
    points, labels = make_points(4), np.uint8([0, 1, 2, 255])
    with pytest.raises(ValueError, match=r"for 4 points, found 3 of them"):
        draw(points, labels[:3])
    with pytest.raises(ValueError, match=r"lacks \['point'\] and has unexpected \['x'\]"):
        draw(points, xr.DataArray(labels, dims="x"))
    with pytest.raises(ValueError, match="has unexpected"):
        draw(points, np.stack([labels, labels], axis=1))
    with pytest.raises(TypeError, match="integers .* found <U1"):
        draw(points, np.array(list("abcd")))
    with pytest.raises(ValueError, match=r"no color for the labels \[-1\]"):
        draw(points, np.array([0, 1, 2, -1]))
    with pytest.raises(ValueError, match=r"need the coordinate latitude \(point\), found"):
        draw(points.drop_vars("latitude"), labels)
    with pytest.raises(ValueError, match="longitude from -180 to 180 degrees.*4 points, 1 of"):
        draw(points.assign_coords(longitude=("point", [20, 21, np.nan, 22])), labels)
    with pytest.raises(ValueError, match="latitude from -90 to 90 degrees.*4 points, 4 of"):
        draw(points.assign_coords(latitude=points.latitude * 1e5), labels)
    with pytest.raises(ValueError, match="expected one point or more .*found 0 points"):
        draw(points.isel(point=[]), labels[:0])
