"""Static figures: pixels, colors, legends, axes with units, and errors."""

from __future__ import annotations

import io
import itertools

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
from matplotlib.text import Text

from cookbook_utils import _figures
from cookbook_utils._palette import label_color
from cookbook_utils.labels import change_map, name_clusters
from cookbook_utils.metrics import cluster_profiles
from cookbook_utils.plotting import (
    CLASS_COLORS,
    LABEL_COLORS,
    NODATA_COLOR,
    plot_change,
    plot_labels,
    plot_points,
    plot_profiles,
    plot_rgb,
    plot_series,
    style,
)

from .factories import make_points

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
    values[2, 3, 4] = np.nan  # nodata in one band
    return on_grid(values, ("band", "y", "x")).assign_coords(band=BANDS)


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


@pytest.fixture
def points():
    return make_points()


@pytest.fixture
def series():
    """Return profiles of two clusters in two summers; cluster 3 subsides."""
    time = np.concatenate([
        np.arange("2019-05-01", "2019-11-01", 12, dtype="datetime64[D]"),
        np.arange("2020-05-01", "2020-11-01", 12, dtype="datetime64[D]"),
    ]).astype("datetime64[ns]")  # fmt: skip
    days = (time - time[0]) / np.timedelta64(1, "D")
    mean = xr.DataArray(
        np.stack([0 * days, -days / 10]),
        dims=("cluster", "time"),
        coords={"cluster": [0, 3], "time": time},
        attrs={"units": "mm"},
    )
    return xr.Dataset({"mean": mean, "std": 1 + abs(mean) / 8, "count": ("cluster", [1500, 12])})


def new_axes():
    return Figure().subplots()


def legend_of(ax):
    legend = ax.get_legend()
    colors = [patch.get_facecolor() for patch in legend.get_patches()]
    return dict(zip([text.get_text() for text in legend.get_texts()], colors, strict=True))


def rgba8(color):
    return np.round(255 * np.array(to_rgba(color))).astype("uint8")


# -- style ------------------------------------------------------------------------------------


def test_style_makes_figures_for_the_page(scene, labels):
    """A figure is 7 inches wide, has text of at least 9 points and 150 pixels per inch."""
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        assert style() is None
        figure, axes = plt.subplots(1, 2)
        plot_rgb(scene, ax=axes[0], title="A scene")
        plot_labels(labels, ax=axes[1], title="Clusters")
        lines = plot_rgb(scene)
        try:
            file = io.BytesIO()
            figure.savefig(file)
            texts = [text for text in figure.findobj(Text) if text.get_text()]
            colors = [line["color"] for line in matplotlib.rcParams["axes.prop_cycle"]]
            assert tuple(figure.get_size_inches())[0] == lines.figure.get_size_inches()[0] == 7
        finally:
            plt.close(figure)
            plt.close(lines.figure)
    assert plt.imread(io.BytesIO(file.getvalue())).shape[1] == 1050
    assert len(texts) > 12
    assert min(text.get_fontsize() for text in texts) >= 9
    assert set(colors) < set(LABEL_COLORS)


def test_figures_in_the_style_have_room_for_text(labels):
    """The legend lies inside the figure, and no two texts overlap."""
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        style()
        ax = plot_labels(labels, names={0: "clear water"}, title="A rather long title of a map")
        try:
            ax.figure.canvas.draw()
            texts = [t for t in ax.findobj(Text) if t.get_text() and t.get_visible()]
            boxes = [text.get_window_extent() for text in texts]
            assert all(ax.figure.bbox.x0 <= b.x0 and b.x1 <= ax.figure.bbox.x1 for b in boxes)
            pairs = itertools.combinations(boxes, 2)
            assert not any(a.overlaps(b) for a, b in pairs)
        finally:
            plt.close(ax.figure)


# -- maps -------------------------------------------------------------------------------------


def test_rgb_has_one_stretch_for_its_bands(scene):
    scene.loc[{"band": "blue"}] *= 0.3  # levels differ between bands, and must after the stretch
    ax = plot_rgb(scene, ax=new_axes(), title="A scene")
    picture = ax.images[0].get_array()
    valid = scene.notnull().all("band").values
    np.testing.assert_array_equal(picture[..., 3], 255 * valid)
    values = scene.sel(band=["red", "green", "blue"]).values[:, valid].T
    expected = np.clip(values / np.percentile(values, 98), 0, 1)
    np.testing.assert_allclose(picture[valid][:, :3] / 255, expected, atol=0.003)
    assert ax.get_title() == "A scene"


def test_rgb_starts_at_zero_whatever_the_scale(scene):
    """Scaling all bands does not change the image; negative values are black."""
    expected = plot_rgb(scene, ax=new_axes()).images[0].get_array()
    found = plot_rgb(10_000 * scene, ax=new_axes()).images[0].get_array()
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)
    scene[:, 5, 5] = -0.1
    assert plot_rgb(scene, ax=new_axes()).images[0].get_array()[5, 5].tolist() == [0, 0, 0, 255]
    assert not plot_rgb(-1 - scene, ax=new_axes()).images[0].get_array()[..., :3].any()


def test_rgb_is_independent_of_dimension_order_and_chunks(scene):
    expected = plot_rgb(scene, ax=new_axes()).images[0]
    turned = scene.chunk(y=5).transpose("x", "band", "y").isel(y=slice(None, None, -1))
    found = plot_rgb(turned, ax=new_axes()).images[0]
    np.testing.assert_array_equal(found.get_array(), expected.get_array())
    assert found.get_extent() == expected.get_extent()


def test_nodata_of_integers_is_transparent():
    values = np.arange(36, dtype="uint16").reshape(3, 3, 4)
    values[:, 0, 0] = 0
    scene = on_grid(values, ("band", "y", "x")).assign_coords(band=BANDS[:3])
    picture = plot_rgb(scene.assign_attrs(_FillValue=0), ax=new_axes()).images[0].get_array()
    assert picture[0, 0, 3] == 0
    assert (picture[..., 3] == 255).sum() == 11


def test_nodata_and_infinite_values_of_floats_are_transparent(scene):
    """The nodata value of a file in floats is transparent and does not affect the stretch."""
    wrong = scene.copy()
    wrong[0, 5, 5], wrong[2, 6, 6] = -9999, np.inf
    wrong = wrong.assign_attrs(nodata=-9999)
    holes = scene.copy()
    holes[:, 5, 5], holes[:, 6, 6] = np.nan, np.nan
    found, expected = (plot_rgb(one, bands=BANDS[:3], ax=new_axes()) for one in (wrong, holes))
    np.testing.assert_array_equal(found.images[0].get_array(), expected.images[0].get_array())


def test_rgb_of_any_dtype(scene):
    expected = plot_rgb(100 * scene.fillna(0), ax=new_axes()).images[0].get_array()
    for dtype in ("int8", "uint64", "float16", "longdouble"):
        found = plot_rgb((100 * scene.fillna(0)).astype(dtype), ax=new_axes())
        np.testing.assert_allclose(found.images[0].get_array().astype(int), expected, atol=4)
    assert plot_rgb(scene > 0.5, ax=new_axes()).images[0].get_array()[..., 3].all()


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


def test_grads_are_converted_to_degrees(labels):
    """The unit of EPSG:4807 is the grad: 100 grads are 90 degrees."""
    grads = on_grid(labels.values, crs="EPSG:4807", corner=(40.0, 50.06), step=0.01)
    left, right, bottom, top = plot_labels(grads, ax=new_axes()).images[0].get_extent()
    np.testing.assert_allclose((left, right, top), (36, 36.09, 45.054))


def test_coordinates_must_fit_the_crs(labels):
    with pytest.raises(ValueError, match="y of a map in WGS 84 must lie from -90 to 90 degrees"):
        plot_labels(labels.drop_vars("spatial_ref").rio.write_crs("EPSG:4326"))
    broken = labels.assign_coords(spatial_ref=((), 0, {"crs_wkt": "nonsense"}))
    with pytest.raises(ValueError, match="spatial_ref must hold .* got one that cannot be read"):
        plot_labels(broken)


@given(st.permutations(range(12)), st.permutations(range(10)))
@settings(deadline=None, max_examples=20)
def test_the_order_of_coordinates_does_not_matter(rows, columns):
    labels = on_grid(np.random.default_rng(0).integers(0, 6, (12, 10), "uint8"))
    image, expected = (
        plot_labels(one, ax=new_axes()).images[0] for one in (labels[rows, columns], labels)
    )
    np.testing.assert_array_equal(image.get_array(), expected.get_array())
    assert image.get_extent() == expected.get_extent()


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint32"])
def test_coordinates_of_any_dtype(labels, dtype):
    """Northings in float32 are rounded to 0.5 m; differences of unsigned integers wrap around."""
    rounded = labels.assign_coords(x=labels.x.astype(dtype), y=labels.y.astype(dtype))
    extents = [plot_labels(one, ax=new_axes()).images[0].get_extent() for one in (rounded, labels)]
    np.testing.assert_allclose(*extents, atol=0.001)


@given(arrays("uint8", (3, 4), elements=st.integers(0, 255)))
@settings(deadline=None, max_examples=20)
def test_every_pixel_has_the_color_of_its_number(values):
    ax = plot_labels(on_grid(values, crs=None), ax=new_axes())
    colors = {n: label_color(n) for n in range(255)} | {255: NODATA_COLOR}
    expected = [[rgba8(colors[number]) for number in row] for row in values.tolist()]
    np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    names = {n: "nodata" if n == 255 else f"cluster {n}" for n in np.unique(values).tolist()}
    assert legend_of(ax) == {name: to_rgba(colors[n]) for n, name in names.items()}


def test_label_names_come_from_names_then_flags(labels):
    flagged = labels.assign_attrs(
        flag_values=np.array([0, 1, 2, 3]), flag_meanings="clear_water muddy_water shrub crops"
    )
    ax = plot_labels(flagged, names={2: "bushes"}, ax=new_axes())
    assert list(legend_of(ax)) == ["clear water", "muddy water", "bushes", "crops", "nodata"]
    assert legend_of(ax)["muddy water"] == to_rgba(CLASS_COLORS["muddy_water"])
    assert legend_of(ax)["bushes"] == to_rgba(CLASS_COLORS["shrub"])  # the class is the same


def test_names_are_plain_text(labels, profiles):
    """Names may contain dollar signs and start with an underscore."""
    names = {0: r"$\frac$", 2: "_hidden"}
    for ax in (
        plot_labels(labels, names=names, title="$x", ax=new_axes()),
        plot_profiles(profiles, names=names, title=r"$\alpha", ax=new_axes()),
    ):
        texts = ax.get_legend().get_texts()
        assert set(names.values()) <= {text.get_text() for text in texts}
        assert not any(text.get_parse_math() for text in [*texts, ax.title])


@pytest.mark.parametrize(("count", "columns"), [(12, 1), (30, 2), (60, 2), (254, 9)])
def test_long_legends_fit_beside_the_map(count, columns):
    import matplotlib.pyplot as plt

    ax = plot_labels(on_grid(np.arange(30 * 30).reshape(30, 30) % count))
    try:
        ax.figure.canvas.draw()
        legend, figure = ax.get_legend(), ax.figure.bbox
        box = legend.get_window_extent()
        assert len(legend.get_texts()) == count
        assert len({round(text.get_window_extent().x0) for text in legend.get_texts()}) == columns
        assert ax.get_window_extent().x1 < box.x0 < box.x1 <= figure.x1
        assert figure.y0 <= box.y0
    finally:
        plt.close(ax.figure)


def test_clusters_of_one_class_share_color_and_entry(labels):
    names = {0: "sea", 1: "sea", 2: "sea 2", 3: "ship"}
    legend = legend_of(plot_labels(labels, names=names, ax=new_axes()))
    sea = to_rgba(CLASS_COLORS["sea"])
    assert list(legend) == ["sea", "sea 2", "ship", "nodata"]
    assert legend["sea"] == legend["sea 2"] == sea
    assert legend["ship"] == to_rgba(LABEL_COLORS[3])


def test_masks_are_colored_by_meaning(labels):
    mask = labels.where(labels < 2, 255).astype("uint8")
    mask.attrs = {"flag_values": [0, 1], "flag_meanings": "land water"}
    assert legend_of(plot_labels(mask, ax=new_axes())) == {
        "land": to_rgba(CLASS_COLORS["land"]),
        "water": to_rgba(CLASS_COLORS["water"]),
        "nodata": to_rgba(NODATA_COLOR),
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
        "nodata",
    ]
    classes = ("land", "water", "lost", "gained")
    assert list(legend.values())[:4] == [to_rgba(CLASS_COLORS[name]) for name in classes]


def test_change_of_other_classes_lists_those_that_occur(labels):
    named = {0: "forest", 1: "crops", 2: "crops", 3: "built up", 5: "crops", 7: "forest"}
    before = name_clusters(labels, named, default="forest")
    after = before.copy(data=np.where(before == 0, 1, before))
    change = change_map(before, after)
    legend = list(legend_of(plot_change(change, ax=new_axes())))
    assert any(entry.startswith("forest to crops ") for entry in legend)
    assert all(entry == "nodata" or entry.endswith(" km²") for entry in legend)
    assert not any(entry.startswith("crops to") for entry in legend)


def test_change_refuses_other_maps(labels, change):
    with pytest.raises(ValueError, match="land water lost gained .*got neither.*change_map"):
        plot_change(labels)
    with pytest.raises(ValueError, match="got {0: 'gained', 1: 'lost'"):
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
    assert len(set(_figures.MARKERS)) == len(_figures.MARKERS) == len(LABEL_COLORS)


def test_profiles_of_many_clusters_differ_in_marker_or_line(profiles):
    many = profiles.isel(cluster=np.zeros(48, int)).assign_coords(cluster=range(48))
    ax = plot_profiles(many, ax=new_axes())
    assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 48
    assert len(ax.get_legend().get_texts()) == 48


def test_profiles_are_drawn_by_wavelength_in_its_unit(profiles):
    nanometers = 1000 * profiles.wavelength
    turned = profiles.assign_coords(wavelength=nanometers.assign_attrs(units="nm"))
    ax = plot_profiles(turned.isel(band=[2, 0, 3, 1]), ax=new_axes())
    assert ax.get_xlabel() == "Wavelength (nm)"
    for found, expected in zip(ax.lines, plot_profiles(profiles, ax=new_axes()).lines, strict=True):
        np.testing.assert_allclose(found.get_xdata(), 1000 * expected.get_xdata())
        np.testing.assert_array_equal(found.get_ydata(), expected.get_ydata())


def test_infinite_means_leave_a_gap(profiles):
    profiles["mean"][1, 2] = np.inf
    ax = plot_profiles(profiles, ax=new_axes())
    assert np.isnan(ax.lines[1].get_ydata()).tolist() == [False, False, True, False]


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
    with pytest.raises(ValueError, match=r"variables .*without \['std'\]"):
        plot_profiles(profiles.drop_vars("std"))
    with pytest.raises(ValueError, match="whole numbers from 0 to 65534, .*got 70000"):
        plot_profiles(profiles.assign_coords(cluster=[0, 1, 70000]))
    with pytest.raises(ValueError, match="at most 256 clusters to be drawn, got 257"):
        plot_profiles(profiles.isel(cluster=[0] * 257).assign_coords(cluster=range(257)))
    with pytest.raises(ValueError, match=r"each once, got \[0, 1, 1\]"):
        plot_profiles(profiles.assign_coords(cluster=[0, 1, 1]))
    with pytest.raises(TypeError, match="xarray.Dataset.*got DataArray"):
        plot_profiles(profiles["mean"])
    with pytest.raises(TypeError, match="std of the profiles must hold real numbers, got .* <U"):
        plot_profiles(profiles.assign(std=profiles["std"].astype(str)))
    with pytest.raises(ValueError, match=r"std of the profiles .* lacks \['cluster'\]"):
        plot_profiles(profiles.assign(std=profiles["std"].isel(cluster=0)))
    with pytest.raises(ValueError, match="wavelength of the profiles must be finite, .*nan"):
        plot_profiles(profiles.assign_coords(wavelength=("band", [0.48, np.nan, 0.66, 0.83])))
    with pytest.raises(ValueError, match="must hold a finite value, got none"):
        plot_profiles(profiles.assign(mean=profiles["mean"].where(False)))
    with pytest.raises(ValueError, match=r"lacks \['band'\]"):
        plot_profiles(profiles.isel(band=0))


# -- points -----------------------------------------------------------------------------------


def drawn_points(ax):
    """Return the color of each point by its longitude and latitude."""
    (collection,) = ax.collections
    places = np.asarray(collection.get_offsets()).tolist()
    colors = collection.get_facecolors()
    colors = np.broadcast_to(colors, (len(places), 4))
    return {tuple(place): tuple(color) for place, color in zip(places, colors, strict=True)}


def places_of(points):
    return list(zip(points.longitude.values.tolist(), points.latitude.values.tolist(), strict=True))


@given(arrays("uint8", 50, elements=st.integers(0, 255)))
@settings(deadline=None, max_examples=20)
def test_every_point_has_the_color_of_its_number(values):
    points = make_points()
    ax = plot_points(points, values, ax=new_axes())
    colors = {n: label_color(n) for n in range(255)} | {255: NODATA_COLOR}
    expected = [to_rgba(colors[number]) for number in values.tolist()]
    assert drawn_points(ax) == dict(zip(places_of(points), expected, strict=True))
    names = {n: "nodata" if n == 255 else f"cluster {n}" for n in np.unique(values).tolist()}
    assert legend_of(ax) == {name: to_rgba(colors[n]) for n, name in names.items()}


def test_points_are_named_by_their_flags_and_lie_in_degrees(points):
    flags = {"flag_values": [0, 1, 2], "flag_meanings": "stable creep snow_gaps"}
    regime = xr.DataArray(np.arange(50) % 3, dims="point", attrs=flags)
    ax = plot_points(points, regime, names={1: "slide"}, ax=new_axes(), title="Regimes")
    assert list(legend_of(ax)) == ["stable", "slide", "snow gaps"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Longitude (°)", "Latitude (°)")
    assert ax.get_title() == "Regimes"
    assert ax.get_aspect() == pytest.approx(1 / np.cos(np.deg2rad(points.latitude.values.mean())))
    assert ax.collections[0].get_rasterized()


def test_points_without_data_lie_below_the_others(points):
    labels = np.tile(np.uint8([4, 255]), 25)
    for values in (labels, np.where(labels == 255, np.nan, 0.5)):
        colors = plot_points(points, values, ax=new_axes()).collections[0].get_facecolors()
        gray = (colors == to_rgba(NODATA_COLOR)).all(axis=1)
        assert gray[:25].all() and not gray[25:].any()


def test_points_without_values_have_one_color_and_no_legend(points):
    ax = plot_points(points, ax=new_axes())
    assert len(drawn_points(ax)) == 50
    assert len(set(drawn_points(ax).values())) == 1
    assert ax.get_legend() is None


def test_many_points_are_drawn_smaller():
    few, more, many = (
        plot_points(make_points(n), ax=new_axes()).collections[0].get_sizes()[0]
        for n in (3, 8000, 100_000)
    )
    assert few > more > many > 0
    panel = Figure().subplots(2, 3)[0, 0]
    assert plot_points(make_points(8000), ax=panel).collections[0].get_sizes()[0] < more


def color_bar(ax):
    (inset,) = ax.child_axes
    return inset


@pytest.mark.parametrize(
    ("low", "high", "name", "limits"),
    [(-30, 10, "managua", (-30, 30)), (-5, 8, "managua", (-8, 8)), (200, 900, "cividis", None)],
)
def test_a_quantity_has_a_color_bar(points, low, high, name, limits):
    attrs = {"units": "mm/yr", "long_name": "mean velocity of the LOS"}
    velocity = xr.DataArray(np.linspace(low, high, 50), dims="point", attrs=attrs)
    velocity[0], velocity[-1] = low, high
    velocity[1:4], velocity[-4:-1] = low, high  # the percentiles are then the limits
    ax = plot_points(points, velocity, ax=new_axes())
    bar = color_bar(ax)
    assert bar.get_ylabel() == "Mean velocity of the LOS (mm/yr)"
    limits = limits or (low, high)
    np.testing.assert_allclose(bar.get_ylim(), limits)
    share = (velocity.values - limits[0]) / (limits[1] - limits[0])
    expected = dict(zip(places_of(points), matplotlib.colormaps[name](share), strict=True))
    found = drawn_points(ax)
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), atol=0.02)
    assert ax.get_legend() is None


def test_outliers_and_nodata_do_not_affect_the_color_bar():
    points = make_points(1000)
    height = np.linspace(0, 100, 1000, dtype="float32")
    height[[0, 500, 999]] = -4000, np.nan, 1e6
    ax = plot_points(points, xr.DataArray(height, dims="point", name="height"), ax=new_axes())
    bar = color_bar(ax)
    assert bar.get_ylabel() == "Height\ngray: nodata"
    np.testing.assert_allclose(bar.get_ylim(), (2, 98), atol=0.3)
    assert drawn_points(ax)[places_of(points)[500]] == to_rgba(NODATA_COLOR)


def test_nodata_of_points_is_gray(points):
    velocity = np.linspace(-3, 5, 50)
    velocity[7] = -9999
    marked = xr.DataArray(velocity, dims="point", attrs={"_FillValue": -9999.0})
    colors = drawn_points(plot_points(points, marked, ax=new_axes()))
    assert colors[places_of(points)[7]] == to_rgba(NODATA_COLOR)
    assert (np.array(list(colors.values())) == to_rgba(NODATA_COLOR)).all(axis=1).sum() == 1


def test_values_of_other_points_are_refused(points):
    points = points.assign_coords(point=np.arange(50))
    labels = xr.DataArray(np.arange(50) % 3, dims="point", coords={"point": points.point})
    expected = drawn_points(plot_points(points, labels, ax=new_axes()))
    with pytest.raises(ValueError, match="must have the coordinate point of the points"):
        plot_points(points, labels[::-1])
    chosen = labels[::-1].sel(point=points.point)
    assert drawn_points(plot_points(points, chosen, ax=new_axes())) == expected


def test_points_at_a_pole_have_a_finite_aspect(points):
    pole = points.assign_coords(latitude=("point", np.full(50, 90.0)))
    assert plot_points(pole, ax=new_axes()).get_aspect() < 60


def test_attributes_of_any_type_label_the_color_bar(points):
    attrs = {"long_name": ("velocity", "LOS"), "units": 1}  # as rasterio and GDAL keep them
    values = xr.DataArray(np.arange(50.0), dims="point", attrs=attrs)
    assert color_bar(plot_points(points, values, ax=new_axes())).get_ylabel() == (
        "('velocity', 'LOS')"
    )


def test_point_values_errors(points):
    with pytest.raises(ValueError, match="must hold a finite value, got 50 that are nodata"):
        plot_points(points, np.full(50, np.nan))
    with pytest.raises(ValueError, match="must hold a finite value, got 50 that are nodata"):
        plot_points(points, np.full(50, np.inf))
    with pytest.raises(ValueError, match="numbers from -1e307 to 1e307"):
        plot_points(points, np.where(np.arange(50) % 2, 1e308, -1e308))
    with pytest.raises(TypeError, match="without a mask"):
        plot_points(points, np.ma.masked_less(np.arange(50.0), 5))


# -- series -----------------------------------------------------------------------------------


def test_lines_are_interrupted_in_winter(series):
    ax = plot_series(series, names={3: "creep"}, ax=new_axes(), title="Series")
    assert len(ax.lines) == len(ax.collections) == 4  # two clusters, two summers
    for number, color in {0: LABEL_COLORS[0], 3: CLASS_COLORS["creep"]}.items():
        lines = [line for line in ax.lines if line.get_color() == color]
        dates = [line.get_xdata() for line in lines]
        assert all(np.diff(d).max() <= np.timedelta64(60, "D") for d in dates)
        np.testing.assert_array_equal(np.concatenate(dates), series.time)
        mean = series["mean"].sel(cluster=number)
        np.testing.assert_array_equal(np.concatenate([x.get_ydata() for x in lines]), mean)
    assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 2
    lowest = min(shade.get_paths()[0].get_extents().ymin for shade in ax.collections)
    assert lowest == pytest.approx((series["mean"] - series["std"]).min().item())
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["cluster 0, 1,500 points", "creep, 12 points"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Date", "Displacement (mm)")


def test_lines_connect_dates_across_short_gaps_only(series):
    series["mean"][0, 3] = np.nan  # one date: the line goes on
    series["mean"][1, 2:10] = np.nan  # 108 days
    ax = plot_series(series, ax=new_axes())
    sizes = [line.get_xdata().size for line in ax.lines]
    assert sizes == [15, 16, 2, 6, 16]
    assert not any(np.isnan(line.get_ydata()).any() for line in ax.lines)


def test_series_are_sorted_by_date(series):
    expected = plot_series(series, ax=new_axes()).lines
    turned = series.isel(time=slice(None, None, -1)).transpose("time", "cluster")
    for found, line in zip(plot_series(turned, ax=new_axes()).lines, expected, strict=True):
        np.testing.assert_array_equal(found.get_xydata(), line.get_xydata())


def test_series_of_cluster_profiles(series):
    """The profiles of `metrics.cluster_profiles` can be drawn."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    samples = xr.DataArray(
        rng.normal(10 * labels[:, None], 2, (40, series.sizes["time"])).astype("float32"),
        dims=("pixel", "band"),
        coords={"band": series.time.values},
        attrs={"units": "mm"},
    )
    profiles = cluster_profiles(samples, labels).rename(band="time")
    profiles["cluster"].attrs = {"flag_values": [0, 1], "flag_meanings": "stable snow_gaps"}
    ax = plot_series(profiles, ax=new_axes())
    expected = samples.values[labels == 1].mean(axis=0)
    found = np.concatenate([line.get_ydata() for line in ax.lines[2:]])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["stable, 20 points", "snow gaps, 20 points"]


def test_series_without_units_have_no_unit_on_the_axis(series):
    series["mean"].attrs = {}
    assert plot_series(series, ax=new_axes()).get_ylabel() == "Displacement"


def test_series_errors(series):
    with pytest.raises(ValueError, match=r"variables .*without \['count'\]"):
        plot_series(series.drop_vars("count"))
    with pytest.raises(ValueError, match=r"lacks \['time'\]"):
        plot_series(series.rename(time="band"))
    with pytest.raises(TypeError, match=r"dates \(datetime64\), got int64"):
        plot_series(series.drop_vars("time"))
    with pytest.raises(TypeError, match=r"dates \(datetime64\), got .*UTC"):
        plot_series(series.assign_coords(time=series.indexes["time"].tz_localize("UTC")))
    dates = series.time.values.copy()
    dates[4] = dates[3]
    with pytest.raises(ValueError, match="each date once, got 2019-06-06 .* twice"):
        plot_series(series.assign_coords(time=dates))
    dates[4] = np.datetime64("NaT")
    with pytest.raises(ValueError, match="each date once, got NaT"):
        plot_series(series.assign_coords(time=dates))
    with pytest.raises(ValueError, match="years 1678 to 2261, got 1500"):
        plot_series(series.assign_coords(time=series.time.values.astype("M8[s]")
                                         - np.timedelta64(519 * 365, "D")))  # fmt: skip
    for count in (np.nan, np.inf, 1.5, -1):
        with pytest.raises(ValueError, match="count of the profiles must be whole numbers"):
            plot_series(series.assign(count=("cluster", [1500, count])))


def test_the_range_of_float32_does_not_overflow():
    values = np.linspace(-3e38, 3e38, 50).astype("float32")
    ax = plot_points(make_points(50), values, ax=Figure().subplots())
    assert len({tuple(color) for color in ax.collections[0].get_facecolors()}) > 40
