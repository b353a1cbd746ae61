"""Interactive views: pixels, names, values under the cursor, map tiles, and errors."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cookbook_utils import _bokeh
from cookbook_utils._palette import label_color
from cookbook_utils.plotting import CLASS_COLORS, LABEL_COLORS, NODATA_COLOR
from cookbook_utils.views import view_labels, view_points, view_rgb, view_transitions

from .factories import make_labels, make_points, make_scene

UTM = "EPSG:32611"


@pytest.fixture
def scene():
    scene = make_scene(bands=("blue", "green", "red", "nir"), ny=12, nx=10)
    scene[2, 3, 4] = np.nan  # nodata in one band
    return scene


def render(view, capfd):
    """Return the Bokeh figure of `view`; any warning, raised or printed, is an error.

    No extension is loaded first: that is the notebook's part.
    """
    import holoviews as hv
    from bokeh.embed import json_item

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # affine, inside rasterio
        figure = hv.render(view, backend="bokeh")
        json_item(figure)
    assert capfd.readouterr().err == ""
    return figure


def hover_of(figure):
    from bokeh.models import HoverTool

    (hover,) = figure.select(HoverTool)
    for _, field in hover.tooltips:
        if field.endswith("{custom}"):  # a field without its script shows its raw value
            assert field.removesuffix("{custom}") in hover.formatters
    return dict(hover.tooltips), hover.formatters


def bokeh_legend(figure):
    (legend,) = figure.legend
    colors = {}
    for item in legend.items:
        (patches,) = item.renderers
        column = patches.data_source.data[patches.glyph.fill_color]
        colors[item.label.value] = column[item.index]
    return colors


def test_view_labels_keeps_values_and_names(labels, capfd):
    view = view_labels(labels, names={1: "O'Neill's \"water\""}, title="Clusters")
    figure = render(view, capfd)
    assert figure.title.text == "Clusters"
    (image,) = (r for r in figure.renderers if r.glyph.__class__.__name__ == "Image")
    shown = image.data_source.data["image"][0]
    assert shown.dtype == "uint8"
    np.testing.assert_array_equal(shown, labels.values[::-1])
    mapper = image.glyph.color_mapper
    assert mapper.palette == list(LABEL_COLORS[:4])
    assert (mapper.low, mapper.high, mapper.high_color) == (-0.5, 3.5, NODATA_COLOR)
    tooltips, formatters = hover_of(figure)
    assert list(tooltips) == ["Easting (km)", "Northing (km)", "class"]
    assert r"O'Neill's \"water\"" in formatters["@image"].code
    assert list(bokeh_legend(figure)) == [
        "cluster 0", "O'Neill's \"water\"", "cluster 2", "cluster 3", "nodata",
    ]  # fmt: skip


def hover_in_javascript(formatter, value):
    """Return what the script of a coordinate writes: ``return (value * scale).toFixed(digits)``."""
    scale, digits = re.fullmatch(
        r"return \(value \* ([\d.e-]+)\)\.toFixed\((\d+)\)", formatter.code
    ).groups()
    return f"{value * float(scale):.{digits}f}"


@pytest.mark.parametrize(
    ("crs", "titles", "value", "text"),
    [
        (UTM, ["Easting (km)", "Northing (km)"], 4_284_227.4, "4284.227"),
        ("EPSG:2225", ["Easting (km)", "Northing (km)"], 3937, "1.200"),  # US survey foot
        ("EPSG:4326", ["Longitude (°)", "Latitude (°)"], 38.694231, "38.6942"),
        ("EPSG:4807", ["Longitude (°)", "Latitude (°)"], 50.0, "45.0000"),  # grads
        (None, ["x", "y"], 12.345, "12.35"),
    ],
)
def test_cursor_and_axes_have_the_same_units(crs, titles, value, text, capfd):
    labels = make_labels([[0, 1], [1, 2]], left=40, top=50, step=0.1, crs=crs)
    scene = make_scene(ny=2, nx=2, left=40, top=50, step=0.1, crs=crs)
    for view in (view_labels(labels), view_rgb(scene)):
        figure = render(view, capfd)
        tooltips, formatters = hover_of(figure)
        assert [figure.xaxis.axis_label, figure.yaxis.axis_label] == list(tooltips)[:2] == titles
        for title, field in zip(titles, ("$x", "$y"), strict=True):
            assert tooltips[title] == field + "{custom}"
            assert float(hover_in_javascript(formatters[field], value)) == pytest.approx(
                float(text), abs=0.01
            )
            assert len(hover_in_javascript(formatters[field], value)) == len(text)


def test_view_draws_twice(labels, scene, capfd):
    for view in (view_labels(labels), view_rgb(scene)):
        assert render(view, capfd) is not render(view, capfd)
        render(view + view, capfd)


def test_a_series_of_maps_has_a_slider_and_one_legend(labels, capfd):
    """Each step of the slider shows its map with the same colors and one legend."""
    import holoviews as hv

    later = labels.where(labels != 3, 5).astype("uint8").assign_attrs(labels.attrs)
    series = xr.concat([labels, later], "year").assign_coords(year=[1985, 2020])
    view = view_labels(series.transpose("y", "year", "x"), names={5: "sand"})
    assert [dim.name for dim in view.kdims] == ["year"]
    assert list(view.keys()) == [1985, 2020]
    plot = hv.renderer("bokeh").get_plot(view)
    for step, shown in ((0, labels), (1, later), (0, labels)):
        plot.update(step)
        (image,) = (r for r in plot.state.renderers if type(r.glyph).__name__ == "Image")
        np.testing.assert_array_equal(image.data_source.data["image"][0], shown.values[::-1])
        assert image.glyph.color_mapper.palette[5] == CLASS_COLORS["sand"]
        assert list(bokeh_legend(plot.state)) == [
            *(f"cluster {number}" for number in range(4)), "sand", "nodata",
        ]  # fmt: skip
    assert capfd.readouterr().err == ""


def test_the_slider_shows_dates(labels):
    times = np.array(["2025-04-03", "2025-04-11"], "datetime64[ns]")
    series = xr.concat([labels, labels], "time").assign_coords(time=times)
    (time,) = view_labels(series).kdims
    assert time.pprint_value(series.indexes["time"][1]) == "2025-04-11"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (np.array(["2025-04-03", "2025-04-03"], "datetime64[ns]"), "got 2025-04-03 .* twice"),
        (np.array(["2025-04-03", "NaT"], "datetime64[ns]"), "got NaN or NaT"),
        ([1, 1], "got 1 twice"),
        ([1.0, np.nan], "got NaN or NaT"),
    ],
)
def test_steps_of_a_slider_are_valid_and_distinct(labels, steps, message):
    series = xr.concat([labels, labels], "time").assign_coords(time=steps)
    with pytest.raises(ValueError, match=f"time of labels must hold each value once.*{message}"):
        view_labels(series)


def test_the_slider_shows_times_of_maps_of_one_day(labels):
    times = np.array(["2025-04-03T10:00", "2025-04-03T22:00"], "datetime64[ns]")
    view = view_labels(xr.concat([labels, labels], "time").assign_coords(time=times))
    (time,) = view.kdims
    assert [time.pprint_value(key) for key in view.keys()] == [
        "2025-04-03 10:00:00", "2025-04-03 22:00:00",
    ]  # fmt: skip


def test_a_slider_does_not_take_a_multiindex(labels):
    levels = pd.MultiIndex.from_product([[1], [1, 2]], names=["path", "row"])
    coords = xr.Coordinates.from_pandas_multiindex(levels, "scene")
    series = xr.concat([labels, labels], "scene").assign_coords(coords)
    with pytest.raises(
        TypeError, match=r"one value for each map, got the levels \['path', 'row'\]"
    ):
        view_labels(series)


def test_a_series_has_one_further_dimension(labels):
    with pytest.raises(ValueError, match="labels.*unexpected.*month"):
        view_labels(labels.expand_dims(year=[1985], month=[4]))
    with pytest.raises(TypeError, match="must be an xarray.DataArray .*got ndarray"):
        view_labels(labels.values)


def test_view_transitions_shows_what_changed(labels, capfd):
    after = labels.copy()
    after[:3], after[11, 9] = 2, 255  # all pixels of cluster 0 and one of cluster 3 change
    view = view_transitions(labels, after, names={0: "sea", 2: "sand"}, title="1985 to 2020")
    flows = {tuple(flow[:2]): int(flow[2]) for flow in view.array().tolist()}
    assert flows == {("sea", "sand "): 29}
    figure = render(view, capfd)
    assert figure.title.text == "1985 to 2020"
    (graph,) = (r for r in figure.renderers if type(r).__name__ == "GraphRenderer")
    for drawn, field in ((graph.node_renderer, "node_color"), (graph.edge_renderer, "edge_color")):
        mapper = drawn.glyph.fill_color.transform
        color = dict(zip(mapper.factors, mapper.palette, strict=True))
        for name in drawn.data_source.data[field]:
            assert color[name] == CLASS_COLORS[name.strip()]


def test_view_transitions_refuses_what_cannot_be_compared(labels):
    with pytest.raises(ValueError, match="must differ in a pixel .*none of 120"):
        view_transitions(labels, labels)
    with pytest.raises(ValueError, match="grids must be equal, got different x"):
        view_transitions(labels, labels.assign_coords(x=labels.x + 1))
    with pytest.raises(ValueError, match="after must be whole numbers .*5"):
        view_transitions(labels, labels + 0.5)
    with pytest.raises(ValueError, match=r"before must have different names, got \['sea'\]"):
        view_transitions(labels, labels[::-1].assign_coords(y=labels.y), names={0: "sea", 2: "sea"})


def test_classes_of_transitions_are_those_of_their_own_map(labels):
    """A number may have different names in the two maps."""
    one = labels.assign_attrs(flag_values=range(4), flag_meanings="sea sand crops town")
    two = labels.copy(data=np.where(labels == 255, 255, (labels + 1) % 4).astype("uint8"))
    two = two.assign_attrs(flag_values=range(4), flag_meanings="a b c d")
    flows = view_transitions(one, two).array().tolist()
    assert {tuple(flow[:2]) for flow in flows} == {
        ("sea", "b "), ("sand", "c "), ("crops", "d "), ("town", "a "),
    }  # fmt: skip


def test_transitions_of_equal_grids_that_a_file_rounded(labels):
    after = labels.copy(data=np.roll(labels.values, 30)).assign_coords(x=labels.x + 1e-9)
    assert len(view_transitions(labels, after).array()) == len(
        view_transitions(labels, after.assign_coords(x=labels.x)).array()
    )


def test_many_clusters_have_a_quick_legend(capfd):
    figure = render(view_labels(make_labels(np.arange(255).reshape(15, 17))), capfd)
    legend = bokeh_legend(figure)
    assert legend == {f"cluster {n}": label_color(n) for n in range(255)}
    assert figure.legend[0].ncols == 13
    assert len(figure.renderers) < 5  # one glyph per class would take half a minute to open


def test_view_of_a_change_map_has_the_static_colors(change, capfd):
    colors = {name: CLASS_COLORS[name] for name in ("land", "water", "lost", "gained")}
    found = bokeh_legend(render(view_labels(change), capfd))
    assert found == colors | {"nodata": NODATA_COLOR}


def test_view_over_tiles_keeps_label_values(capfd):
    from pyproj import Transformer

    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 5, (6, 5)), np.ones((8, 8))).astype("uint8")
    labels = make_labels(blocks, step=150, left=350_000)
    view = view_labels(labels, tiles="EsriImagery")
    image = view.Image.I
    x, y = (image.dimension_values(i, expanded=False) for i in (0, 1))
    shown = image.dimension_values(2, flat=False)
    back = Transformer.from_crs("EPSG:3857", UTM, always_xy=True)
    easting, northing = back.transform(*np.meshgrid(x, y))
    at = {"x": xr.DataArray(easting, dims=("i", "j")), "y": xr.DataArray(northing, dims=("i", "j"))}
    inside = (abs(easting - 353_000) < 2700) & (abs(northing - 4_296_400) < 3300)
    nearest = labels.sel(at, method="nearest").values
    assert inside.sum() > 1000
    assert (shown == nearest)[
        inside
    ].mean() > 0.98  # GDAL approximates coordinates to an eighth of a pixel
    assert set(np.unique(shown)) <= {*np.unique(blocks), 255}

    figure = render(view, capfd)
    (source,) = (r.data_source for r in figure.renderers if hasattr(r, "data_source")
                 and "image" in r.data_source.data)  # fmt: skip
    np.testing.assert_array_equal(source.data["image"][0], shown)  # not projected again
    tooltips, _ = hover_of(figure)
    assert list(tooltips) == ["Longitude (°)", "Latitude (°)", "class"]
    assert type(figure.renderers[0]).__name__ == "TileRenderer"


def test_view_over_tiles_errors(labels):
    with pytest.raises(ValueError, match="tiles must be one of .*'OSM'.*, got 'Mars'"):
        view_labels(labels, tiles="Mars")
    with pytest.raises(ValueError, match="must have a geographic or projected CRS .*got none"):
        view_labels(labels.drop_vars("spatial_ref"), tiles="OSM")


def test_maps_that_cannot_be_shown_over_tiles(labels):
    def geographic(left, top):
        values = np.zeros((5, 6))
        return make_labels(values, step=0.1, left=left, top=top, crs="EPSG:4326")

    for top in (86, -84.9):
        with pytest.raises(ValueError, match="labels must lie between the latitudes -85.06 and"):
            view_labels(geographic(20, top), tiles="OSM")
    for left in (179.8, -180.2):
        with pytest.raises(ValueError, match="on one side of the antimeridian"):
            view_labels(geographic(left, 50), tiles="OSM")
    utm = make_labels(np.zeros((5, 6)), step=30_000, left=600_000, top=5_000_000, crs="EPSG:32660")
    with pytest.raises(ValueError, match="on one side of the antimeridian"):
        view_labels(utm, tiles="OSM")
    local = labels.drop_vars("spatial_ref").rio.write_crs('LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(ValueError, match="must have a geographic or projected CRS .*got site"):
        view_labels(local, tiles="OSM")
    view_labels(local)  # without tiles it is a map like any other
    pole = make_points(3).assign_coords(latitude=("point", [70.0, 80, 86]))
    with pytest.raises(ValueError, match="points must lie between the latitudes -85.06 and"):
        view_points(pole, [0, 1, 2], tiles="OSM")


def test_longitudes_of_0_to_360_lie_in_place_over_tiles(capfd):
    west, east = (
        make_labels(np.arange(30).reshape(5, 6), step=0.1, left=left, top=50, crs="EPSG:4326")
        for left in (-120, 240)
    )
    bounds = [view_labels(one, tiles="OSM").Image.I.bounds.lbrt() for one in (west, east)]
    np.testing.assert_allclose(*bounds)


def test_points_at_one_place_are_shown_over_tiles(capfd):
    points = make_points(3).assign_coords(
        longitude=("point", np.full(3, 20.0)), latitude=("point", np.full(3, 69.0))
    )
    figure = render(view_points(points, [0, 1, 2], tiles="OSM"), capfd)
    assert figure.x_range.start < figure.x_range.end


def test_view_rgb_names_numbered_bands_and_spans_any_range(scene, capfd):
    numbered = scene.assign_coords(band=[1, 2, 3, 4]).astype("float32") * 3e38
    tooltips, _ = hover_of(render(view_rgb(numbered, bands=(3, 2, 1)), capfd))
    assert list(tooltips)[2:] == ["3", "2", "1"]


def test_view_rgb_shows_values_under_the_cursor(scene, capfd):
    figure = render(view_rgb(scene, bands=("nir", "red", "green"), title="False color"), capfd)
    picture, values = (renderer.data_source.data for renderer in figure.renderers)
    assert picture["image"][0].shape == (12, 10)
    tooltips, formatters = hover_of(figure)
    assert list(tooltips)[2:] == ["nir", "red", "green"]
    for band, column in zip(("nir", "red", "green"), ("image", "second", "third"), strict=True):
        codes = values[column][0][::-1]
        assert codes.dtype == "uint16"
        script = formatters[tooltips[band].removesuffix("{custom}")].code
        low, step = script.split(": (")[1].split(")")[0].split(" + value * ")
        expected = scene.sel(band=band).where(scene.notnull().all("band")).values
        np.testing.assert_array_equal(codes == 65535, np.isnan(expected))
        found = np.where(codes == 65535, np.nan, float(low) + codes * float(step))
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_views_in_one_layout_move_together(scene, labels, capfd):
    from bokeh.models import Plot

    first, second = render(view_rgb(scene) + view_labels(labels), capfd).select({"type": Plot})
    assert first.x_range is second.x_range
    assert first.y_range is second.y_range


def test_views_are_light(capfd):
    from bokeh.core.json_encoder import serialize_json
    from bokeh.embed import json_item

    labels = make_labels(np.zeros((1500, 1000)))
    image = view_labels(labels)
    assert max(image.dimension_values("label", flat=False).shape) <= _bokeh.VIEW_PIXELS
    assert len(serialize_json(json_item(render(image, capfd)))) < 250_000


def columns_of(figure):
    """Return the columns of the points of a figure, and their color mapper."""
    (drawn,) = (r for r in figure.renderers
                if hasattr(r, "data_source") and "label" in r.data_source.data)  # fmt: skip
    color = drawn.glyph.fill_color
    np.testing.assert_array_equal(
        drawn.data_source.data[color.field], drawn.data_source.data["label"]
    )
    return drawn.data_source.data, color.transform


@pytest.mark.parametrize("tiles", [None, "EsriImagery"])
def test_view_points_keeps_places_colors_and_names(tiles, capfd):
    points = make_points(60)
    flags = {"flag_values": [0, 1, 2, 3], "flag_meanings": "stable creep noise snow_gaps"}
    regime = xr.DataArray(np.arange(60, dtype="uint8") % 4, dims="point", attrs=flags)
    regime[7] = 255
    view = view_points(points, regime, names={2: "O'Neill's"}, title="Regimes", tiles=tiles)
    figure = render(view, capfd)
    assert figure.title.text == "Regimes"
    columns, mapper = columns_of(figure)
    order = [7, *range(7), *range(8, 60)]  # nodata is drawn first, below the others
    np.testing.assert_array_equal(columns["label"], regime[order])
    for name in ("longitude", "latitude"):
        np.testing.assert_allclose(columns[name], points[name][order], atol=1e-5)
    assert mapper.palette == [
        CLASS_COLORS[name] for name in ("stable", "creep", "noise", "snow_gaps")
    ]
    assert (mapper.low, mapper.high, mapper.high_color) == (-0.5, 3.5, NODATA_COLOR)
    tooltips, formatters = hover_of(figure)
    assert list(tooltips) == ["Longitude (°)", "Latitude (°)", "class"]
    assert [tooltips[name].split("}")[0] for name in tooltips] == [
        "@{longitude", "@{latitude", "@{label",
    ]  # fmt: skip
    assert '"3": "snow gaps"' in formatters["@{label}"].code
    assert list(bokeh_legend(figure)) == ["stable", "creep", "O'Neill's", "snow gaps", "nodata"]
    assert (figure.xaxis.axis_label, figure.yaxis.axis_label) == ("Longitude (°)", "Latitude (°)")


def test_points_lie_in_place_over_tiles(capfd):
    from pyproj import Transformer

    points = make_points(60)
    figure = render(view_points(points, np.zeros(60, int), tiles="EsriImagery"), capfd)
    assert type(figure.renderers[0]).__name__ == "TileRenderer"
    columns, _ = columns_of(figure)
    back = Transformer.from_crs("EPSG:3857", "EPSG:4326", always_xy=True)
    longitude, latitude = back.transform(columns["x"], columns["y"])
    np.testing.assert_allclose(longitude, points.longitude, atol=2e-5)
    np.testing.assert_allclose(latitude, points.latitude, atol=2e-5)
    with pytest.raises(ValueError, match="tiles must be one of .*got 'Mars'"):
        view_points(points, np.zeros(60, int), tiles="Mars")


@pytest.mark.parametrize("number", [0, 2, 11, 255])
def test_points_of_a_single_class_have_its_color(number, capfd):
    view = view_points(make_points(), np.full(50, number))
    _, mapper = columns_of(render(view, capfd))
    if number == 255:
        assert mapper.high < 255 and mapper.high_color == NODATA_COLOR
    else:
        assert mapper.palette[number] == LABEL_COLORS[number]
        assert (mapper.low, mapper.high) == (-0.5, number + 0.5)


def test_maps_of_points_are_to_scale(capfd):
    figure = render(view_points(make_points(500), np.zeros(500, int)), capfd)
    width = figure.x_range.end - figure.x_range.start
    height = figure.y_range.end - figure.y_range.start
    found = (figure.frame_height / height) / (figure.frame_width / width)
    assert found == pytest.approx(1 / np.cos(np.deg2rad(69.6)), rel=0.02)


@pytest.mark.parametrize("count", [1, 4999, 5000, 5001, 12_000])
def test_many_points_are_thinned_evenly_and_lightly(count, capfd):
    from bokeh.core.json_encoder import serialize_json
    from bokeh.embed import json_item

    longitude = np.linspace(10, 20, count, dtype="float32")
    points = make_points(count).assign_coords(longitude=("point", longitude))
    labels = np.zeros(count, int)
    labels[-1] = 3  # in the legend, drawn or not
    view = view_points(points, labels)
    shown = view.dimension_values("longitude")
    assert len(shown) == min(count, _bokeh.VIEW_POINTS)
    at = longitude.searchsorted(shown)
    np.testing.assert_array_equal(longitude[at], shown)
    assert np.diff(at, prepend=-1).max() <= max(1, -(-count // _bokeh.VIEW_POINTS))
    figure = render(view, capfd)
    assert "cluster 3" in bokeh_legend(figure)
    assert len(serialize_json(json_item(figure))) < 100_000


def test_views_of_points_draw_twice_and_move_together(capfd):
    from bokeh.models import Plot

    view = view_points(make_points(), np.arange(50) % 3)
    assert render(view, capfd) is not render(view, capfd)
    first, second = render(view + view, capfd).select({"type": Plot})
    assert first.x_range is second.x_range


# -- titles, names and edge cases ----------------------------------------------------------------


@pytest.mark.parametrize("title", ["{b}", "a {0}", "{", "}}"])
def test_a_title_is_shown_as_it_is(labels, title, capfd):
    assert render(view_labels(labels, title=title), capfd).title.text == title


def test_every_view_shows_its_title_as_it_is(scene, labels, capfd):
    title = "{label} of {dimensions}"
    series = xr.concat([labels, labels], "year").assign_coords(year=[2017, 2022])
    for view in (view_rgb(scene, title=title), view_labels(labels, title=title),
                 view_labels(series, title=title),
                 view_transitions(labels, (labels + 1) % 4, title=title)):  # fmt: skip
        assert render(view, capfd).title.text == title


def test_names_are_not_blank(labels):
    for view in (view_labels, lambda labels, names: view_transitions(labels, labels, names=names)):
        with pytest.raises(ValueError, match="names must not be blank, got ' ' for 2"):
            view(labels, names={0: "sea", 2: " "})


def test_transitions_are_limited_in_number():
    before = make_labels(np.repeat(np.arange(30), 30).reshape(30, 30))
    with pytest.raises(ValueError, match="at most 500 different transitions, got 870"):
        view_transitions(before, before.copy(data=before.values.T))


def test_a_constant_band_of_large_values_is_not_missing(scene, capfd):
    band = xr.where(scene.band == "red", 1e300, scene.astype("float64")).transpose(*scene.dims)
    figure = render(view_rgb(band.assign_coords(scene.coords)), capfd)
    _, scripts = hover_of(figure)
    assert any("(1e+300 + value" in script.code for script in scripts.values())
    codes = figure.renderers[1].data_source.data["image"][0]
    assert set(np.unique(codes)) == {0}


def test_a_map_without_a_class_over_tiles(labels, capfd):
    render(view_labels(xr.full_like(labels, 255), tiles="OSM"), capfd)


@pytest.mark.parametrize("tall", [20, 0.05])
def test_no_row_or_column_of_oblong_pixels_is_lost_over_tiles(tall):
    values = np.add.outer(np.arange(12) * 10, np.arange(10))
    labels = make_labels(values)
    labels = labels.assign_coords(y=4_200_000 - 30 * tall * np.arange(12))
    view = view_labels(labels, tiles="OSM")
    assert set(np.unique(view.Image.I.dimension_values("label"))) - {255} == set(values.ravel())


def test_a_map_of_the_moon_over_tiles_of_the_earth():
    labels = make_labels([[0, 1], [2, 3]], crs="+proj=longlat +R=1737400", left=1, top=50, step=1)
    with pytest.raises(ValueError, match="crs must be a CRS of the Earth, got no transformation"):
        view_labels(labels, tiles="OSM")
