"""Maps of more than 255 classes: uint16 labels, whose nodata value is 65535."""

import pickle

import geopandas
import holoviews as hv
import numpy as np
import pandas as pd
import pytest
import rioxarray
import xarray as xr
from matplotlib.figure import Figure
from numpy.testing import assert_array_equal

from cookbook_utils._conventions.labels import as_labels, label_dtype, nodata_label
from cookbook_utils._palette import MOST_COLORS, label_color
from cookbook_utils.accuracy import accuracy_table
from cookbook_utils.areas import area_km2, class_areas
from cookbook_utils.export import read_label_map, write_label_map, write_points, write_polygons
from cookbook_utils.interimage import InterImageKMeans
from cookbook_utils.labels import (
    change_map,
    match_labels,
    name_clusters,
    reference_table,
    rule_table,
    water_mask,
    water_table,
)
from cookbook_utils.metrics import (
    cluster_profiles,
    label_change,
    sampled_silhouette,
    simplified_silhouette,
    transition_matrix,
)
from cookbook_utils.minibatch import displacement_profiles
from cookbook_utils.plotting import plot_labels, plot_points, plot_profiles
from cookbook_utils.regridding import regrid
from cookbook_utils.stacking import stack_pixels, unstack_labels
from cookbook_utils.views import view_labels, view_points, view_transitions

from .factories import make_grid, make_labels, make_points, make_scene

N = 600
BANDS = ("green", "red", "nir", "swir1")


def make_wide(ny=20, nx=40):
    """Return a map in which each of `N` labels and nodata occurs."""
    values = np.full(ny * nx, 65535, np.uint16)
    values[:N] = np.random.default_rng(0).permutation(N)
    template = make_labels(np.zeros((ny, nx)))
    return template.copy(data=values.reshape(ny, nx)).assign_attrs(_FillValue=65535)


def narrow(labels, divisor=3):
    """Return a map of uint8 with the labels divided by a number."""
    values = np.where(labels.values == 65535, 255, labels.values // divisor)
    return labels.copy(data=values.astype(np.uint8)).assign_attrs(_FillValue=255)


@pytest.fixture
def wide():
    return make_wide()


# -- what a map is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_classes", "dtype"), [(1, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16")]
)
def test_dtype_and_nodata_follow_from_the_number_of_classes(n_classes, dtype):
    assert label_dtype(n_classes) == dtype
    assert nodata_label(dtype) >= n_classes


@pytest.mark.parametrize("chunked", [False, True])
def test_the_declared_nodata_value_tells_wide_maps(wide, chunked):
    wide = wide.chunk(x=7) if chunked else wide
    assert as_labels(wide) is wide
    for given in (
        wide.astype("int64"),
        wide.astype(">u2"),
        wide.where(wide != 65535).assign_attrs(_FillValue=65535),
        wide.drop_attrs().rio.write_nodata(65535),
    ):
        found = as_labels(given)
        assert found.dtype == np.uint16
        assert found.attrs["_FillValue"] == 65535
        assert_array_equal(found, wide)


def test_a_label_above_254_needs_the_nodata_value(wide):
    message = "0 to 254, and 255 for nodata, got [0-9]+: labels up to 65534 need a DataArray with"
    for given in (wide.drop_attrs(), wide.drop_attrs().chunk(x=9)):
        with pytest.raises(ValueError, match=message):
            as_labels(given).compute()
    with pytest.raises(ValueError, match="got 300: labels up to 65534 need a DataArray with"):
        match_labels([0, 300], [0, 1])
    with pytest.raises(ValueError, match="from 0 to 65534, and 65535 for nodata, got 70000"):
        as_labels((wide.astype("int32") + 0).where(wide != 3, 70_000).assign_attrs(wide.attrs))


def test_nodata_of_a_narrow_map_stays_nodata_beside_a_wide_one(wide):
    small = narrow(wide)
    assert transition_matrix(small, wide).to_numpy().sum() == N
    assert_array_equal(as_labels(small.drop_attrs(), dtype=np.uint16) == 65535, small == 255)


# -- clustering --------------------------------------------------------------------------------


def make_pixels(seed=0):
    values = np.random.default_rng(seed).integers(1, 4000, (3, 55, 60)).astype(np.uint16)
    values[0, :2] = 0
    return xr.DataArray(values, dims=("band", "y", "x"), attrs={"_FillValue": 0})


def fit(k, scenes, **options):
    init = np.random.default_rng(k).uniform(1, 4000, (k, 3))
    return InterImageKMeans(k, **{"init": init, "max_iter": 4, "tol": 0} | options).fit(scenes)


def assert_same(one, two):
    for labels, expected in zip(one.labels_, two.labels_, strict=True):
        assert labels.dtype == expected.dtype
        assert labels.attrs == expected.attrs
        assert_array_equal(labels, expected)
    for name in ("cluster_centers_", "counts_", "inertia_", "change_fraction_"):
        assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.filterwarnings("ignore:.* clusters are empty")
@pytest.mark.parametrize(
    ("k", "dtype"),
    [
        (300, "uint16"),
        *(
            pytest.param(k, dtype, marks=pytest.mark.slow)  # each compiles other kernels
            for k, dtype in [(255, "uint16"), (256, "float32"), (1000, "uint16"), (5000, "float32")]
        ),
    ],
)
def test_engines_find_the_same_labels_on_both_sides_of_the_limit(k, dtype):
    scenes = [make_pixels(seed=seed).astype(dtype) for seed in (0, 1)]
    reference = fit(k, scenes, engine="numpy")
    nodata = nodata_label(label_dtype(k))
    for labels, scene in zip(reference.labels_, scenes, strict=True):
        assert labels.dtype == label_dtype(k)
        assert labels.attrs["_FillValue"] == nodata
        assert_array_equal(labels == nodata, scene[0] == 0)
    assert_same(fit(k, scenes, engine="numba"), reference)
    lazy = [scene.chunk(x=25) for scene in scenes]
    in_chunks = fit(k, lazy)
    assert_same(in_chunks, reference)
    for labels, expected in zip(in_chunks.predict(lazy), reference.labels_, strict=True):
        assert labels.chunks is not None
        assert labels.dtype == expected.dtype == labels.compute().dtype
        assert_array_equal(labels, expected)


@pytest.mark.filterwarnings("ignore:.* clusters are empty")
def test_a_fit_of_many_clusters_goes_on_and_is_saved(tmp_path):
    scene, path = make_pixels(), tmp_path / "fit.checkpoint"
    whole = fit(300, scene, engine="numpy")
    fit(300, scene, engine="numba", max_iter=2, checkpoint=path)
    resumed = fit(300, scene.chunk(y=20), checkpoint=path)
    assert_same(resumed, whole)
    whole.save(tmp_path / "model.npz")
    loaded = InterImageKMeans.load(tmp_path / "model.npz")
    assert_array_equal(loaded.predict(scene), whole.labels_)
    assert_array_equal(pickle.loads(pickle.dumps(whole)).predict(scene), whole.labels_)


def test_tables_have_labels_above_255_and_go_back_to_the_grid():
    scene = make_scene(bands=BANDS, ny=20, nx=20)
    samples = stack_pixels(scene)
    model = InterImageKMeans(300, n_init=1, random_state=0).fit(samples)
    assert model.labels_.dtype == np.int32
    with pytest.raises(ValueError, match="as a DataArray that declares the nodata value 65535"):
        unstack_labels(model.labels_, samples, scene)
    labels = xr.DataArray(model.labels_, dims="pixel", attrs={"_FillValue": 65535})
    expected = InterImageKMeans(300, n_init=1, random_state=0).fit(scene).labels_
    for given in (labels, labels.chunk()):
        found = unstack_labels(given, samples, scene)
        assert found.dtype == np.uint16
        assert found.attrs["_FillValue"] == 65535
        assert_array_equal(found, expected)


# -- comparison, names, areas ---------------------------------------------------------------------


def test_matching(wide):
    other = wide.copy(data=np.where(wide == 65535, 65535, (wide.values + 7) % N).astype("u2"))
    assert_array_equal(match_labels(other, wide), wide)
    small = narrow(wide, 1000)
    found = match_labels(small, wide)
    assert found.dtype == np.uint16
    assert found.attrs["_FillValue"] == 65535
    assert_array_equal(found == 65535, small == 255)
    assert match_labels(wide, small).dtype == np.uint16
    assert label_change(other, wide) == 1


def test_too_many_pairs_of_labels_are_refused(wide, monkeypatch):
    monkeypatch.setattr("cookbook_utils._samples.MOST_PAIRS", N**2)
    for function in (transition_matrix, match_labels):
        with pytest.raises(ValueError, match=f"at most {N**2} pairs of labels, got {N} and {N}"):
            function(wide, wide)


def test_counts_and_areas(wide):
    table = transition_matrix(wide, narrow(wide))
    assert table.shape == (N, N // 3)
    assert (table.sum(axis=1) == 1).all()
    expected = pd.Series(9e-4, pd.Index(range(N), name="class"), name="area_km2")
    pd.testing.assert_series_equal(class_areas(wide), expected)
    pd.testing.assert_series_equal(class_areas(wide.chunk(x=9)), expected)
    mask = (wide < 10).astype("uint16").where(wide != 65535, 65535).astype("uint16")
    assert area_km2(mask.assign_attrs(_FillValue=65535)) == pytest.approx(9e-3)


def test_names_and_change(wide):
    few = name_clusters(wide, {n: f"c{n % 3}" for n in range(N)})
    assert few.dtype == np.uint8
    assert_array_equal(few, np.where(wide == 65535, 255, wide % 3))
    for given in (wide, wide.chunk(x=9)):
        many = name_clusters(given, {n: f"c{n}" for n in range(N)})
        assert many.dtype == np.uint16
        assert many.attrs["_FillValue"] == 65535
        assert_array_equal(many, wide)
    with pytest.raises(ValueError, match="clusters from 0 to 65534, got 65535"):
        name_clusters(wide, {65535: "sea"})
    with pytest.raises(ValueError, match="got none for"):
        name_clusters(wide, {3: "sea"})

    change = change_map(many, few)
    assert change.dtype == np.uint16
    assert_array_equal(change == 65535, wide == 65535)
    names = np.array(change.attrs["flag_meanings"].split())
    at = tuple(np.argwhere(wide.values == 500)[0])
    assert names[change.values[at]] == "c500_to_c2"
    with pytest.raises(ValueError, match=f"at most 65535 classes of change, got {N**2}"):
        change_map(many, many)


def test_reference_and_accuracy(wide):
    truth = name_clusters(wide, {n: "water" if n < 300 else "land" for n in range(N)})
    table = reference_table(wide, truth)
    assert (table["class"] == np.where(table.index < 300, "water", "land")).all()
    found = accuracy_table(wide, truth)
    assert (found.overall, len(found.clusters)) == (1, N)
    assert accuracy_table(truth, wide * 0 + truth).overall == 1


def test_spectra_of_clusters(wide):
    scene = make_scene(bands=BANDS, ny=20, nx=40)
    profiles = cluster_profiles(scene, wide)
    assert_array_equal(profiles.cluster, np.arange(N))
    lazy = cluster_profiles(scene.chunk(x=7), wide)
    xr.testing.assert_allclose(lazy, profiles)
    table = water_table(scene, wide)
    assert len(table) == N
    mask = water_mask(scene, wide)
    assert mask.dtype == np.uint8
    assert_array_equal(mask == 255, wide == 65535)
    assert_array_equal(np.unique(wide.values[mask == 1]), table.index[table["water"]])
    both = water_table([scene, scene], [wide, narrow(wide)])
    assert both["pixels"].sum() == 2 * N
    assert len(rule_table(scene, wide, {"bright": lambda s: s.sel(band="nir") > 0.3})) == N


def test_silhouettes():
    samples = stack_pixels(make_scene(bands=BANDS, ny=20, nx=40))
    rng = np.random.default_rng(0)
    labels = xr.DataArray(
        rng.integers(0, 2, samples.sizes["pixel"]) * 400, dims="pixel", attrs={"_FillValue": 65535}
    )
    low = labels // 400
    centers = cluster_profiles(samples, labels)["mean"]
    expected = cluster_profiles(samples, low)["mean"]
    assert simplified_silhouette(samples, labels, centers) == simplified_silhouette(
        samples, low, expected
    )
    assert sampled_silhouette(samples, labels) == sampled_silhouette(samples, low)


def test_points():
    points = make_points(20)
    series = xr.DataArray(np.ones((20, 3)), dims=("point", "time")).to_dataset(name="displacement")
    labels = xr.DataArray(
        np.r_[np.arange(19) * 50, 65535], dims="point", attrs={"_FillValue": 65535}
    )
    assert displacement_profiles(series, labels).cluster[-1] == 900
    ax = plot_points(points, labels, ax=Figure().subplots())
    assert ax.get_legend().get_texts()[-2].get_text() == "cluster 900"
    view = hv.render(view_points(points, labels))
    assert view is not None


# -- files -----------------------------------------------------------------------------------------


def test_geotiff(wide, tmp_path):
    path = write_label_map(tmp_path / "map.tif", wide, names={n: f"c{n}" for n in range(N)},
                           time="2020-01-01")  # fmt: skip
    back = read_label_map(path)
    assert back.dtype == np.uint16
    assert back.attrs["_FillValue"] == 65535
    assert_array_equal(back, wide)
    assert back.attrs["flag_values"] == list(range(N))
    assert back.attrs["flag_colors"].split()[400] == label_color(400)
    for masked in (False, True):
        opened = rioxarray.open_rasterio(path, masked=masked).isel(band=0, drop=True)
        assert opened.rio.encoded_nodata == 65535 if masked else opened.rio.nodata == 65535
        assert_array_equal(as_labels(opened), wide)
        assert len(class_areas(opened)) == N


def test_netcdf(wide, tmp_path):
    wide.drop_vars("spatial_ref").to_netcdf(tmp_path / "map.nc")
    with xr.open_dataarray(tmp_path / "map.nc") as opened:
        assert_array_equal(as_labels(opened), wide)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_polygons(wide, tmp_path, suffix):
    path = write_polygons(tmp_path / f"map{suffix}", wide, time="2020-01-01", dissolve=True)
    table = geopandas.read_file(path) if suffix == ".gpkg" else geopandas.read_parquet(path)
    assert_array_equal(np.sort(table["label"]), np.arange(N))
    assert table["area_km2"].sum() == pytest.approx(N * 9e-4)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".gpkg"])
def test_points_in_files(tmp_path, suffix):
    labels = xr.DataArray([0, 255, 300, 65535], dims="point", attrs={"_FillValue": 65535})
    path = write_points(tmp_path / f"points{suffix}", make_points(4), labels, time="2020-01-01")
    read = {".csv": pd.read_csv, ".parquet": geopandas.read_parquet, ".gpkg": geopandas.read_file}
    table = read[suffix](path)
    assert table["label"].dropna().tolist() == [0, 255, 300]
    assert table["class"].dropna().tolist() == ["cluster 0", "cluster 255", "cluster 300"]


# -- regridding and pictures -----------------------------------------------------------------------


def test_regridding(wide):
    grid = make_grid(ny=25, nx=45)
    found = regrid(wide, grid, method="nearest")
    assert found.dtype == np.uint16
    assert_array_equal(found[:20, :40], wide)
    assert (found[20:] == 65535).all()
    masked = wide.where(wide != 65535)
    masked.encoding = {"dtype": np.dtype("uint16"), "_FillValue": 65535}
    with pytest.raises(ValueError, match="got labels, which have no mean"):
        regrid(masked, grid, method="linear")


def test_a_map_of_many_classes_has_no_legend_and_one_of_few_has(wide):
    ax = plot_labels(wide, ax=Figure().subplots())
    assert ax.get_legend() is None
    drawn = ax.get_images()[0].get_array()
    at = tuple(np.argwhere(wide.values == 500)[0])
    assert "#{:02X}{:02X}{:02X}".format(*drawn[at][:3]) == label_color(500)
    few = wide.where(wide.isin([3, 500]), 65535).astype("uint16").assign_attrs(wide.attrs)
    ax = plot_labels(few, names={500: "reef"}, ax=Figure().subplots())
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["cluster 3", "reef", "nodata"]
    with pytest.raises(ValueError, match="from 0 to 65534, got 65535"):
        plot_labels(wide, names={65535: "reef"}, ax=Figure().subplots())


def test_colors_differ_until_they_repeat():
    colors = [label_color(number) for number in range(MOST_COLORS)]
    assert len(set(colors)) == MOST_COLORS
    assert label_color(MOST_COLORS + 300) == colors[300]


def test_views(wide):
    figure = hv.render(view_labels(wide))
    assert not figure.legend
    few = wide.where(wide.isin([3, 500]), 65535).astype("uint16").assign_attrs(wide.attrs)
    figure = hv.render(view_labels(few))
    assert [item.label.value for item in figure.legend[0].items] == [
        "cluster 3", "cluster 500", "nodata",
    ]  # fmt: skip
    other = few.where(few != 500, 3).astype("uint16").assign_attrs(few.attrs)
    assert view_transitions(few, other).array().tolist() == [["cluster 500", "cluster 3 ", 1]]


def test_profiles_of_some_of_many_clusters(wide):
    profiles = cluster_profiles(make_scene(bands=BANDS, ny=20, nx=40), wide)
    with pytest.raises(ValueError, match=f"at most 256 clusters to be drawn, got {N}: select some"):
        plot_profiles(profiles)
    ax = plot_profiles(profiles.sel(cluster=[3, 500]), ax=Figure().subplots())
    assert ax.get_legend().get_texts()[1].get_text() == "cluster 500"
