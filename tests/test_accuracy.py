"""Reference data on the grid of a scene, and accuracies with intervals, against other sources."""

from __future__ import annotations

import builtins
import shutil

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from scipy.stats import binomtest
from shapely.geometry import LineString, MultiPoint, Point, Polygon, box
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from cookbook_utils.accuracy import accuracy_table, rasterize_reference
from cookbook_utils.areas import adjusted_areas, class_areas
from cookbook_utils.labels import name_clusters
from cookbook_utils.metrics import transition_matrix

from .factories import make_grid, make_labels, make_scene

LEFT, TOP = 330_000, 4_300_000
GRID = {"ny": 50, "nx": 60}


def make_fields(**columns):
    """Return three polygons of two classes, of which one has heights."""
    shapes = [
        box(LEFT, TOP - 300, LEFT + 300, TOP),
        box(LEFT + 600, TOP - 900, LEFT + 900, TOP - 300),
        Polygon([(LEFT + 1000, TOP - 1000, 5), (LEFT + 1210, TOP - 1005, 5),
                 (LEFT + 1200, TOP - 1220, 5)]),
    ]  # fmt: skip
    columns = columns or {"cover": ["open water", "Wäldchen", "open water"]}
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs=32611)


def inside(fields, numbers, grid):
    """Rasterize by asking Shapely for every pixel center."""
    x, y = np.meshgrid(grid.x, grid.y)
    result = np.full(x.shape, 255, np.uint8)
    for shape, number in zip(fields.geometry, numbers, strict=True):
        result[shapely.contains_xy(shape, x, y)] = number
    return result


# -- rasterizing -------------------------------------------------------------------------------


def test_polygons_take_the_pixels_whose_centers_they_hold():
    fields, grid = make_fields(), make_grid(**GRID)
    reference = rasterize_reference(fields, grid, "cover")
    np.testing.assert_array_equal(reference, inside(fields, [1, 0, 1], grid))
    assert reference.dtype == np.uint8
    assert reference.name == "reference"
    assert reference.dims == ("y", "x")
    assert reference.rio.crs == grid.rio.crs
    assert reference.attrs["flag_values"] == [0, 1]
    assert reference.attrs["flag_meanings"] == "Wäldchen open_water"
    assert reference.attrs["_FillValue"] == 255
    assert (reference.x == grid.x).all() and (reference.y == grid.y).all()


@pytest.mark.parametrize("flipped", [{"y": slice(None, None, -1)}, {"x": slice(None, None, -1)}])
def test_a_grid_in_another_order_gets_the_same_pixels(flipped):
    fields, grid = make_fields(), make_grid(**GRID)
    expected = rasterize_reference(fields, grid, "cover")
    found = rasterize_reference(fields, grid.isel(flipped), "cover")
    xr.testing.assert_equal(found.sortby("x").sortby("y", ascending=False), expected)
    np.testing.assert_array_equal(found.y, grid.isel(flipped).y)


def test_a_lazy_scene_is_not_read():
    scene = make_scene(chunks=2, **GRID)
    scene.data = scene.data.map_blocks(lambda _: 1 / 0, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    expected = rasterize_reference(make_fields(), make_grid(**GRID), "cover")
    xr.testing.assert_equal(rasterize_reference(make_fields(), scene, "cover"), expected)


@pytest.mark.parametrize("crs", [4326, 3035, 32612, "EPSG:4979"])
def test_data_in_another_crs_are_reprojected(crs):
    grid = make_grid(**GRID)
    expected = rasterize_reference(make_fields(), grid, "cover")
    found = rasterize_reference(make_fields().to_crs(crs), grid, "cover")
    assert (found != expected).mean() < 2e-3
    assert len(np.unique(found)) == 3


def test_a_long_edge_is_straight_in_the_crs_of_the_data():
    """A parallel is curved in UTM: pixels north of it are in the box, to the meter."""
    from pyproj import Transformer

    grid = make_grid(ny=200, nx=300, step=200.0, left=300_000)
    country = geopandas.GeoDataFrame({"name": ["north"]}, geometry=[box(-125, 38.7, -105, 45)])
    reference = rasterize_reference(country.set_crs(4326), grid, "name")
    x, y = np.meshgrid(grid.x, grid.y)
    latitude = Transformer.from_crs(32611, 4326, always_xy=True).transform(x, y)[1]
    np.testing.assert_array_equal(reference == 0, latitude > 38.7)


@pytest.mark.parametrize("name", ["Flächen 1.gpkg", "fields.geojson", "ä b.shp", "f.parquet"])
def test_files_give_what_the_data_give(name, tmp_path):
    fields, grid = make_fields(), make_grid(**GRID)
    path = tmp_path / name
    if path.suffix == ".parquet":
        fields.to_parquet(path)
    else:
        fields.to_crs(4326 if path.suffix == ".geojson" else 32611).to_file(path)
    expected = rasterize_reference(fields, grid, "cover")
    for given in (path, str(path)):
        xr.testing.assert_identical(rasterize_reference(given, grid, "cover"), expected)


def test_a_shapefile_in_a_zip(tmp_path):
    fields, grid = make_fields(), make_grid(**GRID)
    (tmp_path / "fields").mkdir()
    fields.to_file(tmp_path / "fields" / "fields.shp")
    path = shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "fields")
    expected = rasterize_reference(fields, grid, "cover")
    xr.testing.assert_identical(rasterize_reference(path, grid, "cover"), expected)
    (tmp_path / "fields" / "fields.prj").unlink()
    with pytest.raises(ValueError, match="data must have a CRS, got none.*prj"):
        rasterize_reference(tmp_path / "fields" / "fields.shp", grid, "cover")


def test_a_file_of_several_layers_needs_the_name_of_one(tmp_path):
    path, grid = tmp_path / "layers.gpkg", make_grid(**GRID)
    fields = make_fields()
    fields.to_file(path, layer="fields")
    fields.iloc[:2].to_file(path, layer="two")
    with pytest.raises(ValueError, match=r"one of the layers .*\['fields', 'two'\], got None"):
        rasterize_reference(path, grid, "cover")
    with pytest.raises(ValueError, match="got 'three'"):
        rasterize_reference(path, grid, "cover", layer="three")
    found = rasterize_reference(path, grid, "cover", layer="two")
    xr.testing.assert_identical(found, rasterize_reference(fields.iloc[:2], grid, "cover"))


def test_damaged_and_absent_files(tmp_path):
    path, grid = tmp_path / "fields.gpkg", make_grid(**GRID)
    make_fields().to_file(path)
    (tmp_path / "short.gpkg").write_bytes(path.read_bytes()[:3000])
    (tmp_path / "empty.geojson").write_text("{}")
    for name in ("short.gpkg", "empty.geojson"):
        with pytest.raises(OSError, match=f"data must be a file of vector data, got .*{name}"):
            rasterize_reference(tmp_path / name, grid, "cover")
    with pytest.raises(FileNotFoundError, match="data must be the path of a file, got none at"):
        rasterize_reference(tmp_path / "none.shp", grid, "cover")


def test_points_label_the_pixels_that_they_are_in():
    points = geopandas.GeoDataFrame(
        {"kind": [3, 7, 7]}, crs=32611,
        geometry=[Point(LEFT + 5, TOP - 29), Point(LEFT + 45, TOP - 15),
                  MultiPoint([(LEFT + 75, TOP - 15), (LEFT + 75, TOP - 45)])],
    )  # fmt: skip
    grid = make_grid()
    for given in (points, points.to_crs(4326)):
        reference = rasterize_reference(given, grid, "kind")
        np.testing.assert_array_equal(reference[:2, :4], [[3, 7, 7, 255], [255, 255, 7, 255]])
    assert (reference == 255).sum() == 26
    twice = pd.concat([points, points.iloc[:1].assign(kind=7)])
    with pytest.raises(ValueError, match=r"1 pixels with several, .* \(1\) '3' and '7'"):
        rasterize_reference(twice, grid, "kind")


def test_one_pixel_for_each_polygon():
    fields = make_fields()
    points = fields.set_geometry(fields.representative_point())
    reference = rasterize_reference(points, make_grid(**GRID), "cover")
    assert (reference != 255).sum() == 3


def test_overlapping_classes_are_refused_or_left_out():
    shapes = [box(LEFT, TOP - 90, LEFT + 90, TOP), box(LEFT + 60, TOP - 90, LEFT + 150, TOP)]
    fields = geopandas.GeoDataFrame({"cover": ["sea", "land"]}, geometry=shapes, crs=32611)
    grid = make_grid()
    with pytest.raises(ValueError, match=r"got 3 pixels with several, .* \(3\) 'land' and 'sea'"):
        rasterize_reference(fields, grid, "cover")
    found = rasterize_reference(fields, grid, "cover", overlap="nodata")
    np.testing.assert_array_equal(found[0], [1, 1, 255, 0, 0, 255])
    same = rasterize_reference(fields.assign(cover="sea"), grid, "cover")
    np.testing.assert_array_equal(same[0], [0, 0, 0, 0, 0, 255])
    # Polygons that share an edge share no pixel, even where it passes through centers.
    shapes = [box(LEFT, TOP - 90, LEFT + 75, TOP), box(LEFT + 75, TOP - 90, LEFT + 150, TOP)]
    edge = fields.set_geometry(geopandas.GeoSeries(shapes, crs=32611))
    assert (rasterize_reference(edge, grid, "cover")[0] != 255).sum() == 5


@pytest.mark.parametrize(
    ("classes", "values", "names"),
    [
        ([10, 20, 10], [10, 20, 10], "10 20"),
        ([1.0, 0.0, 1.0], [1, 0, 1], "0 1"),
        ([111, 523, 112], [0, 2, 1], "111 112 523"),
        ([-1, 4, 4], [0, 1, 1], "-1 4"),
        (["10", "9", "9"], [0, 1, 1], "10 9"),
        ([" b  c", "a", "b c"], [1, 0, 1], "a b_c"),
        ([True, False, True], [1, 0, 1], "False True"),
        (pd.Categorical(["x", "y", "x"]), [0, 1, 0], "x y"),
        (pd.array([5, 6, 5], "Int64"), [5, 6, 5], "5 6"),
    ],
)
def test_classes_of_every_kind(classes, values, names):
    fields, grid = make_fields(cover=classes), make_grid(**GRID)
    reference = rasterize_reference(fields, grid, "cover")
    np.testing.assert_array_equal(reference, inside(fields, values, grid))
    assert reference.attrs["flag_meanings"] == names
    assert reference.attrs["flag_values"] == sorted(set(values))


def test_data_without_features_are_refused():
    fields = make_fields().iloc[:0]
    with pytest.raises(ValueError, match="data must have at least one feature, got none"):
        rasterize_reference(fields, make_grid(**GRID), "cover")


@pytest.mark.parametrize("classes", [["a", None, "b"], ["a", " ", "b"], [1, np.nan, 2]])
def test_a_feature_without_class_is_refused(classes):
    with pytest.raises(ValueError, match="class, got none in 'cover' for 1 of 3 features"):
        rasterize_reference(make_fields(cover=classes), make_grid(**GRID), "cover")


@pytest.mark.parametrize(
    "classes", [[1.5, 1, 2], pd.to_datetime(["2020", "2021", "2022"]), [1, "a", 2], [1j, 2, 3]]
)
def test_classes_are_text_or_whole_numbers(classes):
    with pytest.raises(TypeError, match="column must hold text or whole numbers, got"):
        rasterize_reference(make_fields(cover=classes), make_grid(**GRID), "cover")


def test_as_many_classes_as_labels():
    columns = [box(LEFT + 30 * i, TOP - 30, LEFT + 30 * i + 30, TOP) for i in range(256)]
    fields = geopandas.GeoDataFrame(
        {"id": [f"k{i:03d}" for i in range(256)]}, geometry=columns, crs=32611
    )
    grid = make_grid(ny=2, nx=256)
    found = rasterize_reference(fields.iloc[:255], grid, "id")
    np.testing.assert_array_equal(found[0], range(256))
    with pytest.raises(ValueError, match="at most 255 classes, got 256 in 'id'"):
        rasterize_reference(fields, grid, "id")


def test_odd_geometries():
    bow = Polygon([(LEFT, TOP), (LEFT + 300, TOP - 300), (LEFT + 300, TOP), (LEFT, TOP - 300)])
    fields = make_fields().set_geometry(geopandas.GeoSeries([bow, None, Polygon()], crs=32611))
    grid = make_grid(**GRID)
    for given in (fields, fields.to_crs(4326)):
        with pytest.warns(UserWarning) as caught:
            reference = rasterize_reference(given, grid, "cover")
        messages = [str(warning.message) for warning in caught]
        assert "2 of 3 features have no geometry and are left out" in messages
        assert any("1 polygons are invalid, such as 0, and are repaired" in m for m in messages)
        assert "1 of 2 classes of data cover no pixel of scene: Wäldchen" in messages
        assert {warning.filename for warning in caught} == {__file__}
        assert 40 <= (reference == 1).sum() <= 60  # two triangles of 25 pixels each
    lines = make_fields().set_geometry(
        geopandas.GeoSeries([LineString([(0, 0), (1, 1)])] * 3, crs=32611)
    )
    with pytest.raises(ValueError, match="points or polygons, got LineString in 3 of 3 features"):
        rasterize_reference(lines, grid, "cover")


def test_polygons_without_a_pixel_center_are_counted():
    shapes = [box(LEFT + x, TOP - 25, LEFT + x + 5, TOP - 5) for x in (1, 12, 20)]
    shapes += [box(LEFT + 60, TOP - 90, LEFT + 150, TOP), box(0, 0, 1, 1), Point(LEFT + 1, TOP - 1)]
    fields = geopandas.GeoDataFrame({"cover": list("aaabba")}, geometry=shapes, crs=32611)
    with pytest.warns(UserWarning, match="^2 of 4 polygons in scene are too small to hold"):
        reference = rasterize_reference(fields, make_grid(), "cover")
    np.testing.assert_array_equal(reference[0], [0, 255, 1, 1, 1, 255])


def test_data_without_geometry_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("cover\nwood\n")
    with pytest.raises(OSError, match="a.csv: it has no layer with geometry"):
        rasterize_reference(tmp_path / "a.csv", make_grid(), "cover")
    with pytest.raises(ValueError, match=r"must have a column of geometries, got \['cover'\]"):
        rasterize_reference(geopandas.GeoDataFrame({"cover": ["a"]}), make_grid(), "cover")


def test_a_class_that_the_map_lacks_is_named():
    labels, reference = sample_maps()
    other = reference.assign_attrs(flag_meanings="Deforestation " + " ".join(CLASSES[1:]))
    with pytest.warns(UserWarning, match="1 classes of reference .* as errors: Deforestation"):
        table = accuracy_table(labels, other)
    assert table.classes.loc["Deforestation", "producers"] == 0


def test_data_elsewhere_name_both_extents():
    fields = make_fields()
    grid = make_grid(**GRID)
    far = fields.set_geometry(fields.translate(1e5, 0))
    for given in (far, far.to_crs(4326)):
        with pytest.raises(ValueError, match=r"over \(430000, .*, scene over \(330000, .*UTM zone"):
            rasterize_reference(given, grid, "cover")
    with pytest.raises(ValueError, match="scene must have a CRS"):
        rasterize_reference(fields, make_grid(crs=None, **GRID), "cover")
    with pytest.raises(ValueError, match=r"column must be one of the columns \['cover'\]"):
        rasterize_reference(fields, grid, "class")


def test_without_geopandas_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "geopandas":
            raise ModuleNotFoundError("No module named 'geopandas'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'satellite-clustering-cookbook\[archives"):
        rasterize_reference("fields.gpkg", make_grid(), "cover")


# -- the example of Olofsson et al. (2014) -----------------------------------------------------

CLASSES = ("deforestation", "forest_gain", "stable_forest", "stable_non_forest")
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])


def sample_maps(counts=COUNTS, classes=CLASSES):
    """Return a map and a reference of one row, with one pixel for each count."""
    rows, columns = (np.repeat(at.ravel(), counts.ravel()) for at in np.indices(counts.shape))
    flags = {"flag_values": list(range(len(classes))), "flag_meanings": " ".join(classes)}
    return [make_labels(values[None]).assign_attrs(flags) for values in (rows, columns)]


def test_the_published_example():
    """Tables 8 and 9 and section 5 of the paper: areas in ha, intervals as half widths."""
    labels, reference = sample_maps()
    table = accuracy_table(labels, reference, areas=dict(zip(CLASSES, PIXELS, strict=True)))
    assert table.estimator == "stratified"
    assert table.clusters is None
    np.testing.assert_array_equal(table.confusion, COUNTS)
    assert round(table.overall, 2) == 0.95
    assert round(1.96 * table.overall_se, 2) == 0.02
    assert table.classes["users"].round(2).tolist() == [0.88, 0.73, 0.93, 0.96]
    assert (1.96 * table.classes["users_se"]).round(2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert table.classes["producers"].round(2).tolist() == [0.75, 0.85, 0.93, 0.96]
    assert round(1.96 * table.classes["producers_se"].iloc[0], 2) == 0.21

    values = np.repeat(np.arange(4, dtype=np.uint8), PIXELS).reshape(2500, 4000)
    whole = make_labels(values, left=200_000).assign_attrs(labels.attrs)
    areas = adjusted_areas(whole, table.confusion)
    assert areas.index.tolist() == list(CLASSES)
    hectares = areas * 100
    assert (areas["adjusted"] / 9e-4).round().iloc[0] == 235_086
    assert hectares["adjusted"].round().tolist() == [21_158, 11_686, 285_770, 581_386]
    half = (hectares["high"] - hectares["low"]) / 2
    assert half.round().tolist() == [6_158, 3_756, 15_510, 16_282]
    np.testing.assert_allclose(areas["mapped"], PIXELS * 9e-4)
    assert areas["adjusted"].sum() == pytest.approx(9000)


def test_standard_errors_are_the_spread_of_repeated_samples():
    rng = np.random.default_rng(0)
    truth = COUNTS / COUNTS.sum(axis=1, keepdims=True)
    sizes, weights = COUNTS.sum(axis=1) * 4, PIXELS / PIXELS.sum()
    joint = np.stack(
        [
            weights[i] * rng.multinomial(sizes[i], truth[i], size=20_000) / sizes[i]
            for i in range(4)
        ],
        axis=1,
    )
    table = accuracy_table(*sample_maps(COUNTS * 4), areas=dict(zip(CLASSES, PIXELS, strict=True)))
    right = np.diagonal(joint, axis1=1, axis2=2)
    assert table.overall_se == pytest.approx(right.sum(axis=1).std(), rel=0.03)
    users = (right / joint.sum(axis=2)).std(axis=0)
    np.testing.assert_allclose(table.classes["users_se"], users, rtol=0.03)
    producers = (right / joint.sum(axis=1)).std(axis=0)
    np.testing.assert_allclose(table.classes["producers_se"], producers, rtol=0.06)


# -- accuracy ----------------------------------------------------------------------------------


def test_without_areas_every_pixel_counts_the_same():
    labels, reference = sample_maps()
    table = accuracy_table(labels, reference)
    one, two = reference.values.ravel(), labels.values.ravel()
    np.testing.assert_array_equal(table.confusion, confusion_matrix(two, one))
    np.testing.assert_array_equal(table.confusion, transition_matrix(labels, reference))
    assert table.estimator == "binomial"
    assert table.kappa == pytest.approx(cohen_kappa_score(one, two))
    right = int(np.trace(COUNTS))
    assert table.overall == right / COUNTS.sum()
    wilson = binomtest(right, int(COUNTS.sum())).proportion_ci(method="wilson")
    np.testing.assert_allclose(table.overall_interval, wilson, atol=1e-5)
    for name, axis in (("users", 1), ("producers", 0)):
        for k, row in enumerate(table.classes.itertuples()):
            n = int(COUNTS.sum(axis=axis)[k])
            wilson = binomtest(int(COUNTS[k, k]), n).proportion_ci(method="wilson")
            found = [getattr(row, f"{name}_low"), getattr(row, f"{name}_high")]
            np.testing.assert_allclose(found, wilson, atol=1e-5)
            assert getattr(row, name) == COUNTS[k, k] / n


def test_classes_are_matched_by_name():
    labels, reference = sample_maps()
    expected = accuracy_table(labels, reference)
    renumbered = reference.copy(data=(9 - reference).astype("uint8"))
    renumbered.attrs |= {"flag_values": [9, 8, 7, 6]}
    for given in (renumbered, renumbered.chunk(x=100)):
        found = accuracy_table(labels.chunk(x=77), given)
        pd.testing.assert_frame_equal(found.confusion, expected.confusion)
        pd.testing.assert_frame_equal(found.classes, expected.classes)
    # Numbers in a reference are those of the map.
    numbers = reference.assign_attrs(flag_meanings="0 1 2 3")
    pd.testing.assert_frame_equal(accuracy_table(labels, numbers).classes, expected.classes)
    plain = reference.drop_attrs(deep=False)
    pd.testing.assert_frame_equal(accuracy_table(labels, plain).classes, expected.classes)
    with pytest.raises(ValueError, match="share the name of a class, got deforestation, .* and a,"):
        accuracy_table(labels, reference.assign_attrs(flag_meanings="a b c d"))


def test_clusters_take_the_class_of_most_of_their_pixels():
    labels = make_labels([[0, 0, 0, 1, 1, 2, 2, 2, 3]])
    reference = make_labels([[0, 0, 1, 0, 0, 1, 1, 255, 255]])
    reference.attrs |= {"flag_values": [0, 1], "flag_meanings": "sea land"}
    table = accuracy_table(labels, reference)
    assert table.clusters["class"].fillna("").tolist() == ["sea", "sea", "land", ""]
    assert table.clusters["pixels"].tolist() == [3, 2, 2, 0]
    assert table.confusion.to_dict("index") == {
        "sea": {"sea": 4, "land": 1}, "land": {"sea": 0, "land": 2}
    }  # fmt: skip
    assert table.overall == 6 / 7
    # Areas by cluster become areas by class; a cluster without reference has to be dealt with.
    known = labels.where(labels != 3, 255).astype("uint8")
    by_cluster = accuracy_table(known, reference, areas={0: 10, 1: 20, 2: 70})
    by_class = accuracy_table(known, reference, areas={"sea": 30, "land": 70})
    assert by_cluster.overall == by_class.overall == pytest.approx(0.3 * 0.8 + 0.7)
    with pytest.raises(ValueError, match="at least 2 reference pixels each, got fewer for cluster"):
        accuracy_table(labels, reference, areas={0: 10, 1: 20, 2: 70, 3: 5})


def test_perfect_single_and_absent_classes():
    one = make_labels([[0, 0, 0, 0]]).assign_attrs(flag_values=[0, 1], flag_meanings="a b")
    table = accuracy_table(one, one)
    assert table.overall == 1
    assert np.isnan(table.kappa)
    assert table.confusion.to_dict() == {"a": {"a": 4}}
    assert table.overall_interval[0] == pytest.approx(4 / (4 + 1.96**2))
    # A class of the reference that the map lacks, and one of the map that the reference lacks.
    other = one.copy(data=np.uint8([[0, 0, 1, 1]]))
    table = accuracy_table(one, other, areas={"a": 8.0})
    assert table.classes.loc["b", "producers"] == 0
    assert np.isnan(table.classes.loc["b", "users"])
    assert table.classes.loc["a", "producers"] == 1
    assert table.overall == 0.5
    table = accuracy_table(other, one)
    assert np.isnan(table.classes.loc["b", ["producers", "producers_low"]].astype(float)).all()
    with pytest.raises(ValueError, match="must share a pixel that is valid in both"):
        accuracy_table(one, one.copy(data=np.full((1, 4), 255, np.uint8)))


def test_strata_need_reference_pixels_and_areas():
    labels, reference = sample_maps()
    areas = dict(zip(CLASSES, PIXELS.astype(float), strict=True))
    with pytest.raises(ValueError, match="got fewer for lake"):
        accuracy_table(labels, reference, areas=areas | {"lake": 1.0})
    with pytest.raises(ValueError, match="got none for forest_gain"):
        accuracy_table(labels, reference, areas=areas | {"forest_gain": 0.0})
    with pytest.raises(ValueError, match="finite, at least 0"):
        accuracy_table(labels, reference, areas=areas | {"forest_gain": np.nan})
    with pytest.raises(ValueError, match="finite, at least 0.* got {'forest_gain': -1.0}"):
        accuracy_table(labels, reference, areas=areas | {"forest_gain": -1.0})
    # The unit does not matter, nor a class without area.
    one = accuracy_table(labels, reference, areas=areas)
    scaled = {name: area / 7 for name, area in areas.items()} | {"lake": 0.0}
    two = accuracy_table(labels, reference, areas=pd.Series(scaled))
    pd.testing.assert_frame_equal(one.classes, two.classes)


def test_areas_adjusted_by_a_perfect_map_are_those_of_the_map():
    labels = name_clusters(make_labels([[0, 1], [1, 1]], step=1000), {0: "a", 1: "open water"})
    counts = pd.DataFrame([[5, 0], [0, 5]], ["open_water", "a"], ["open_water", "a"])
    areas = adjusted_areas(labels, counts)
    assert areas["adjusted"].to_dict() == class_areas(labels)[["open_water", "a"]].to_dict()
    assert (areas["se"] == 0).all()
    with pytest.raises(ValueError, match="labels must have classes with at least 2 .* for a:"):
        adjusted_areas(labels, counts.loc[["open_water"]])
    with pytest.raises(ValueError, match="got rows named 'reference' .*: transpose it"):
        adjusted_areas(labels, counts.rename_axis(index="reference", columns="map"))


def test_from_polygons_to_areas():
    """A researcher's way: clusters, half of the polygons to name them, the others to judge."""
    grid = make_grid(**GRID)
    fields = make_fields(cover=["water", "wood", "water"])
    truth = inside(fields, [0, 1, 0], grid)
    clusters = np.where(truth == 0, np.arange(60) % 2, 2 + (truth == 255))
    labels = make_labels(clusters.astype("uint8"))
    reference = rasterize_reference(fields, labels, "cover")
    table = accuracy_table(labels, reference)
    assert table.overall == 1
    assert table.clusters["class"].dropna().to_dict() == {0: "water", 1: "water", 2: "wood"}
    known = name_clusters(labels, table.clusters["class"], default="other")
    assert known.attrs["flag_meanings"] == "water wood other"
