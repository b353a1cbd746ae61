"""Figures show the right pixels, in the colors of their classes, with units and names."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import rioxarray  # noqa: F401  registers the accessor
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from cookbook_utils import plotting
from cookbook_utils.plotting import (
    CHANGE_COLORS,
    LABEL_COLORS,
    MISSING_COLOR,
    plot_change,
    plot_labels,
    plot_profiles,
    plot_rgb,
)

matplotlib.use("Agg")

BANDS = ["blue", "green", "red", "nir"]
UTM = "EPSG:32611"


def on_grid(values, dims=("y", "x"), *, crs=UTM, corner=(350_000.0, 4_300_000.0), step=150.0):
    """Return `values` as a map whose upper-left corner and pixel size are given."""
    rows, columns = np.shape(values)[-2:]
    coords = {
        "y": corner[1] - step * (np.arange(rows) + 0.5),
        "x": corner[0] + step * (np.arange(columns) + 0.5),
    }
    array = xr.DataArray(values, dims=dims, coords=coords)
    return array if crs is None else array.rio.write_crs(crs)


@pytest.fixture
def scene():
    values = np.random.default_rng(0).random((4, 12, 10)).astype("float32")
    values[2, 3, 4] = np.nan  # one band is enough to make the pixel missing
    return on_grid(values, ("band", "y", "x")).assign_coords(band=BANDS)


@pytest.fixture
def labels():
    values = np.repeat(np.arange(4, dtype="uint8"), 30).reshape(12, 10)
    values[0, 0] = 255
    return on_grid(values)


@pytest.fixture
def change(labels):
    flags = {"flag_values": [0, 1, 2, 3], "flag_meanings": "land water lost gained"}
    return labels.assign_attrs(flags)


@pytest.fixture
def profiles():
    values = np.linspace(0.1, 0.5, 12).reshape(3, 4)
    mean = xr.DataArray(
        values,
        dims=("cluster", "band"),
        coords={
            "cluster": [0, 2, 5],
            "band": BANDS,
            "wavelength": ("band", [0.48, 0.56, 0.66, 0.83]),
        },
        attrs={"units": "1"},
    )
    return xr.Dataset({"mean": mean, "std": mean / 10})


def new_axes():
    return Figure().subplots()


def legend_of(ax):
    legend = ax.get_legend()
    colors = [patch.get_facecolor() for patch in legend.get_patches()]
    return dict(zip([text.get_text() for text in legend.get_texts()], colors, strict=True))


def rgba8(color):
    return np.round(255 * np.array(to_rgba(color))).astype("uint8")


def test_rgb_has_one_stretch_for_its_bands(scene):
    scene.loc[{"band": "blue"}] *= 0.3  # bands that differ in level stay so
    ax = plot_rgb(scene, ax=new_axes(), title="A scene")
    picture = ax.images[0].get_array()
    valid = scene.notnull().all("band").values
    np.testing.assert_array_equal(picture[..., 3], 255 * valid)
    values = scene.sel(band=["red", "green", "blue"]).values[:, valid].T
    expected = np.clip(values / np.percentile(values, 98), 0, 1)
    np.testing.assert_allclose(picture[valid][:, :3] / 255, expected, atol=0.003)
    assert ax.get_title() == "A scene"


def test_rgb_starts_at_zero_whatever_the_scale(scene):
    """A factor on all bands changes no color; a value below 0 is black."""
    expected = plot_rgb(scene, ax=new_axes()).images[0].get_array()
    found = plot_rgb(10_000 * scene, ax=new_axes()).images[0].get_array()
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)
    scene[:, 5, 5] = -0.1
    assert plot_rgb(scene, ax=new_axes()).images[0].get_array()[5, 5].tolist() == [0, 0, 0, 255]
    assert not plot_rgb(-1 - scene, ax=new_axes()).images[0].get_array()[..., :3].any()


def test_rgb_does_not_mind_order_chunks_or_direction(scene):
    expected = plot_rgb(scene, ax=new_axes()).images[0]
    turned = scene.chunk(y=5).transpose("x", "band", "y").isel(y=slice(None, None, -1))
    found = plot_rgb(turned, ax=new_axes()).images[0]
    np.testing.assert_array_equal(found.get_array(), expected.get_array())
    assert found.get_extent() == expected.get_extent()


def test_rgb_of_integers_leaves_out_their_fill_value():
    values = np.arange(36, dtype="uint16").reshape(3, 3, 4)
    values[:, 0, 0] = 0
    scene = on_grid(values, ("band", "y", "x")).assign_coords(band=BANDS[:3])
    picture = plot_rgb(scene.assign_attrs(_FillValue=0), ax=new_axes()).images[0].get_array()
    assert picture[0, 0, 3] == 0
    assert (picture[..., 3] == 255).sum() == 11


def test_a_constant_band_is_drawn(scene):
    scene.loc[{"band": "red"}] = 0.3
    assert np.ptp(plot_rgb(scene, ax=new_axes()).images[0].get_array()[..., 0]) == 0


def test_axes_have_units(labels):
    ax = plot_labels(labels, ax=new_axes())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Easting (km)", "Northing (km)")
    np.testing.assert_allclose(ax.images[0].get_extent(), (350, 351.5, 4298.2, 4300))
    assert ax.get_aspect() == 1

    feet = labels.drop_vars("spatial_ref").rio.write_crs("EPSG:2225")  # California, US survey foot
    extent = plot_labels(feet, ax=new_axes()).images[0].get_extent()
    assert extent[1] - extent[0] == pytest.approx(1.5 * 1200 / 3937)

    plain = plot_labels(labels.drop_vars("spatial_ref"), ax=new_axes())
    assert (plain.get_xlabel(), plain.get_ylabel()) == ("x", "y")

    degrees = on_grid(labels.values, crs="EPSG:4326", corner=(47.0, 60.06), step=0.01)
    ax = plot_labels(degrees, ax=new_axes())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Longitude (°)", "Latitude (°)")
    assert ax.get_aspect() == pytest.approx(2)  # 1 / cos 60°


@given(arrays("uint8", (3, 4), elements=st.sampled_from([*range(len(LABEL_COLORS)), 255])))
@settings(deadline=None, max_examples=20)
def test_every_pixel_has_the_color_of_its_number(values):
    ax = plot_labels(on_grid(values, crs=None), ax=new_axes())
    colors = dict(enumerate(LABEL_COLORS)) | {255: MISSING_COLOR}
    expected = [[rgba8(colors[number]) for number in row] for row in values.tolist()]
    np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    names = {n: "missing" if n == 255 else f"cluster {n}" for n in np.unique(values).tolist()}
    assert legend_of(ax) == {name: to_rgba(colors[n]) for n, name in names.items()}


def test_label_names_come_from_names_then_flags(labels):
    flagged = labels.assign_attrs(
        flag_values=np.array([0, 1, 2, 3]), flag_meanings="clear_water muddy_water shrub crops"
    )
    ax = plot_labels(flagged, names={2: "bushes"}, ax=new_axes())
    assert list(legend_of(ax)) == ["clear water", "muddy water", "bushes", "crops", "missing"]
    assert legend_of(ax)["muddy water"] == to_rgba(LABEL_COLORS[1])


def test_masks_are_colored_by_meaning(labels):
    mask = labels.where(labels < 2, 255).astype("uint8")
    mask.attrs = {"flag_values": [0, 1], "flag_meanings": "land water"}
    assert legend_of(plot_labels(mask, ax=new_axes())) == {
        "land": to_rgba(CHANGE_COLORS["land"]),
        "water": to_rgba(CHANGE_COLORS["water"]),
        "missing": to_rgba(MISSING_COLOR),
    }


def test_a_figure_is_made_where_no_axes_are_given(labels):
    import matplotlib.pyplot as plt

    ax = plot_labels(labels)
    try:
        ax.figure.canvas.draw()
        legend = ax.get_legend().get_window_extent()
        assert legend.x0 > ax.get_window_extent().x1  # beside the map, inside the figure
        assert legend.x1 <= ax.figure.bbox.x1
    finally:
        plt.close(ax.figure)


def test_large_maps_are_thinned_out_in_place():
    labels = on_grid(np.zeros((4500, 42), dtype="uint8"), step=10.0)
    image = plot_labels(labels, ax=new_axes()).images[0]
    assert image.get_array().shape[:2] == (1500, 42)
    np.testing.assert_allclose(image.get_extent(), (350, 350.42, 4255, 4300), atol=1e-6)


def test_change_lists_every_class_with_its_area(change):
    change = change.where(change != 3, 0).astype("uint8").assign_attrs(change.attrs)
    change.attrs.pop("_FillValue", None)
    legend = legend_of(plot_change(change, ax=new_axes(), title="Change"))
    # 59, 30 and 30 pixels of 150 m × 150 m
    assert list(legend) == [
        "land 1.3 km²",
        "water 0.7 km²",
        "lost 0.7 km²",
        "gained 0.0 km²",
        "missing",
    ]
    assert list(legend.values())[:4] == [to_rgba(color) for color in CHANGE_COLORS.values()]


def test_change_refuses_other_maps(labels, change):
    with pytest.raises(ValueError, match="land water lost gained .*found neither.*change_map"):
        plot_change(labels)
    with pytest.raises(ValueError, match="found {0: 'gained', 1: 'lost'"):
        plot_change(change.assign_attrs(flag_meanings="gained lost water land"))
    with pytest.raises(ValueError, match="with the numbers 0 to 3"):
        plot_change(change.assign_attrs(flag_values=[1, 2, 3, 4]))


def test_profiles_draw_mean_and_spread(profiles):
    ax = plot_profiles(profiles, names={2: "playa"}, ax=new_axes(), title="Profiles")
    assert [line.get_label() for line in ax.lines] == ["cluster 0", "playa", "cluster 5"]
    assert [line.get_color() for line in ax.lines] == [LABEL_COLORS[n] for n in (0, 2, 5)]
    assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 3
    for line, shade, number in zip(ax.lines, ax.collections, (0, 2, 5), strict=True):
        mean, std = (profiles[name].sel(cluster=number).values for name in ("mean", "std"))
        np.testing.assert_allclose(line.get_xdata(), profiles.wavelength)
        np.testing.assert_allclose(line.get_ydata(), mean)
        assert shade.get_paths()[0].get_extents().ymax == pytest.approx((mean + std).max())
        assert shade.get_paths()[0].get_extents().ymin == pytest.approx((mean - std).min())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Wavelength (µm)", "Reflectance")
    assert len(ax.get_legend().get_texts()) == 3


def test_every_color_has_its_own_marker():
    assert len(set(plotting._MARKERS)) == len(plotting._MARKERS) == len(LABEL_COLORS)


@pytest.mark.parametrize(
    ("attrs", "label"),
    [
        ({"units": "digital number"}, "Digital number"),
        ({"units": "1", "scaling": "standardized"}, "Standardized value"),
        ({}, "Value"),
    ],
)
def test_profiles_without_wavelengths_show_band_names(profiles, attrs, label):
    profiles["mean"].attrs = attrs
    ax = plot_profiles(profiles.drop_vars("wavelength"), ax=new_axes())
    assert [tick.get_text() for tick in ax.get_xticklabels()] == BANDS
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Band", label)


def test_profile_errors(profiles):
    with pytest.raises(ValueError, match=r"profiles lack \['std'\].*cluster_profiles"):
        plot_profiles(profiles.drop_vars("std"))
    with pytest.raises(ValueError, match=r"no color for the labels \[40\]"):
        plot_profiles(profiles.assign_coords(cluster=[0, 1, 40]))
    with pytest.raises(ValueError, match=r"lacks \['band'\]"):
        plot_profiles(profiles.isel(band=0))
