"""What every public function says of input that it cannot take: a table of calls and their errors.

`VALID` holds one call of each public function, with the kind of each argument replaced. Some
name folders and files that are not there: only what is checked before them is tested. `HOSTILE`
says what is passed in place of an argument of a kind, and which error that ends in. Each pair of
the two is a case: the error is raised by this package, in one line, before anything is written.
"""

import importlib
import inspect
import os
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

import cookbook_utils
from cookbook_utils.datasets import fetch, open_catalog
from cookbook_utils.graph import neighbor_graph, smooth_features, smooth_shards
from cookbook_utils.indices import mndwi, ndvi
from cookbook_utils.insar import fill_gaps, open_points, read_egms
from cookbook_utils.interimage import InterImageKMeans
from cookbook_utils.labels import change_map, find_water, match_labels, water_mask, water_table
from cookbook_utils.metrics import (
    area_km2,
    class_areas,
    cluster_profiles,
    intersection_over_union,
    label_change,
    pixel_area_km2,
    sampled_silhouette,
    simplified_silhouette,
    transition_matrix,
)
from cookbook_utils.minibatch import displacement_profiles, fit_minibatch, sweep
from cookbook_utils.plotting import (
    plot_change,
    plot_labels,
    plot_points,
    plot_profiles,
    plot_rgb,
    plot_series,
)
from cookbook_utils.regridding import common_grid, regrid
from cookbook_utils.reservoir import ReservoirEmbedding, embed_series, embed_shards
from cookbook_utils.scaling import rescale, standardize, to_reflectance
from cookbook_utils.shards import PointShards, ShardWriter, is_test, read_labels, write_labels
from cookbook_utils.simulate import (
    simulate_coast,
    simulate_scene,
    simulate_site,
    site_dates,
    write_coast,
    write_scene,
    write_site,
)
from cookbook_utils.spectral import spectral_clustering
from cookbook_utils.stacking import stack_pixels, unstack_labels
from cookbook_utils.views import view_labels, view_points, view_rgb, view_transitions

from .factories import make_grid, make_labels, make_points, make_scene

PACKAGE = str(Path(cookbook_utils.__file__).parent)
SCENE = make_scene()
NUMBERS = (SCENE * 10_000).astype("int16").assign_attrs(scale_factor=1e-4, add_offset=0.0)
NUMBERS.attrs["units"] = "digital number"
SAMPLES = stack_pixels(SCENE)
LABELS = make_labels(np.arange(30).reshape(5, 6) % 3)
MASK = make_labels(np.arange(30).reshape(5, 6) % 2)
FLAT = np.arange(30) % 3
POINTS = make_points(20)
PLACE = POINTS.longitude.values, POINTS.latitude.values
WINDOW = slice(0, 8), slice(0, 8)


def series(n=6):
    """Points with series of displacement."""
    time = np.array("2020-01-03", "M8[ns]") + np.arange(24) * np.timedelta64(12, "D")
    values = np.random.default_rng(0).normal(size=(n, 24)).astype(np.float32)
    points = make_points(n)
    return points.assign(displacement=(("point", "time"), values, {"units": "mm"})).assign_coords(
        time=time
    )


SERIES = series()
EMPTY = SCENE.isel(x=[])
HOSTILE = {
    "scene": [
        ("None", None, TypeError),
        ("text", "scene.tif", TypeError),
        ("a list", [1, 2], TypeError),
        ("a NumPy array", SCENE.values, TypeError),
        ("a Dataset", SCENE.to_dataset("band"), TypeError),
        ("complex numbers", SCENE.astype(complex), TypeError),
        ("text in an array", SCENE.astype(str), TypeError),
        ("objects in an array", SCENE.astype(object), TypeError),
        ("no band", SCENE.isel(band=0), ValueError),
        ("no pixel", EMPTY, ValueError),
        ("no bands", SCENE.isel(band=[]), ValueError),
    ],
    "pixels": [
        ("None", None, TypeError),
        ("text", "scene.tif", TypeError),
        ("a cube without names", SCENE.values, ValueError),
        ("a Dataset", SCENE.to_dataset("band"), TypeError),
        ("complex numbers", SCENE.astype(complex), TypeError),
        ("objects in an array", SCENE.astype(object), TypeError),
        ("a masked table", np.ma.masked_less(SAMPLES.values, 0.1), TypeError),
        ("latitude and longitude", SCENE.rename(y="latitude", x="longitude"), ValueError),
        ("no band", SCENE.isel(band=0), ValueError),
        ("no pixel", EMPTY, ValueError),
    ],
    "map": [
        ("None", None, TypeError),
        ("text", "map.tif", TypeError),
        ("a Dataset", LABELS.to_dataset(name="label"), TypeError),
        ("complex numbers", LABELS.astype(complex), TypeError),
        ("text in an array", LABELS.astype(str), TypeError),
        ("objects in an array", LABELS.astype(object), TypeError),
        ("fractions", LABELS + 0.5, ValueError),
        ("a negative number", LABELS.astype("int16") - 1, ValueError),
        ("a number above 255", LABELS.astype("int16") + 400, ValueError),
        ("no pixel", LABELS.isel(x=[]), ValueError),
        ("another dimension", LABELS.rename(x="column"), ValueError),
    ],
    "numbers": [
        ("None", None, (TypeError, ValueError)),
        ("text", "abc", TypeError),
        ("texts", ["a"] * 30, TypeError),
        ("objects", np.array([None] * 30), TypeError),
        ("complex numbers", np.ones(30, complex), TypeError),
        ("a masked array", np.ma.masked_equal(FLAT, 1), TypeError),
        ("nothing", np.empty(0), ValueError),
        ("three dimensions", np.ones((2, 3, 5)), ValueError),
    ],
    "points": [
        ("None", None, TypeError),
        ("text", "points", TypeError),
        ("an array", np.ones(5), TypeError),
        ("a DataArray", SCENE, (TypeError, ValueError)),
        ("no points", SERIES.isel(point=[]), ValueError),
    ],
    "integer": [
        ("None", None, TypeError),
        ("text", "3", TypeError),
        ("a float", 2.5, TypeError),
        ("a boolean", True, TypeError),
        ("a negative number", -1, ValueError),
    ],
    "number": [
        ("None", None, TypeError),
        ("text", "3", TypeError),
        ("a complex number", 1j, TypeError),
        ("NaN", np.nan, ValueError),
        ("infinity", np.inf, ValueError),
        ("a negative number", -1e9, ValueError),
    ],
    "seed": [
        ("None", None, TypeError),
        ("text", "0", TypeError),
        ("a float", 1.5, TypeError),
        ("a boolean", True, TypeError),
        ("a negative number", -1, ValueError),
        ("more than generators take", 2**40, ValueError),
    ],
    "switch": [("None", None, TypeError), ("text", "yes", TypeError), ("a number", 3, TypeError)],
    "choice": [
        ("None", None, (TypeError, ValueError)),
        ("a number", 3, (TypeError, ValueError)),
        ("an unknown word", "neither", (ValueError, KeyError, OSError)),
    ],
    "path": [
        ("a number", 3, TypeError),
        ("a list", ["a"], TypeError),
        ("nothing", "", (ValueError, OSError)),
        ("a null character", "a\0b", ValueError),
    ],
    "title": [("a number", 3, TypeError), ("a list", ["a"], TypeError)],
}  # fmt: skip


class Folder:
    """Stands for a path below the temporary folder of a test."""

    def __init__(self, name):
        self.name = name


def shards_of(folder):
    write_site(folder, "insar_lyngen", n_points=300)
    return PointShards(folder / "insar_lyngen")


KMEANS = {"n_clusters": "integer", "n_init": "integer", "max_iter": "integer", "tol": "number",
          "criterion": "choice", "engine": "choice", "sampling": "choice", "empty": "choice",
          "sample": "number", "init": "choice", "checkpoint": "path"}  # fmt: skip


def fit_kmeans(X=SCENE, **options):
    return InterImageKMeans(**({"random_state": 0, "n_clusters": 2} | options)).fit(X)


VALID = [
    (stack_pixels, {"scene": SCENE}, {"scene": "scene"}),
    (unstack_labels, {"labels": FLAT, "samples": SAMPLES, "template": SCENE},
     {"labels": "numbers"}),
    (to_reflectance, {"scene": NUMBERS}, {}),
    (standardize, {"data": SCENE}, {"data": "scene", "per_band": "switch"}),
    (rescale, {"data": SCENE}, {"data": "scene", "per_band": "switch"}),
    (ndvi, {"scene": SCENE}, {"scene": "scene"}),
    (mndwi, {"scene": SCENE}, {"scene": "scene"}),
    (pixel_area_km2, {"template": SCENE}, {}),
    (area_km2, {"mask": MASK}, {"mask": "map"}),
    (class_areas, {"labels": LABELS}, {"labels": "map"}),
    (intersection_over_union, {"mask": MASK, "reference": MASK},
     {"mask": "map", "reference": "map"}),
    (label_change, {"before": LABELS, "after": LABELS}, {"before": "map", "after": "map"}),
    (transition_matrix, {"before": LABELS, "after": LABELS}, {"before": "map", "after": "map"}),
    (cluster_profiles, {"samples": SAMPLES, "labels": FLAT}, {"labels": "numbers"}),
    (simplified_silhouette, {"samples": SAMPLES, "labels": FLAT,
                             "centers": SAMPLES.values[:3]}, {"labels": "numbers"}),
    (sampled_silhouette, {"samples": SAMPLES, "labels": FLAT},
     {"labels": "numbers", "n_samples": "integer", "random_state": "seed"}),
    (simulate_scene, {"name": "landsat_8_small", "window": WINDOW},
     {"name": "choice", "random_state": "seed"}),
    (write_scene, {"name": "landsat_8_small", "folder": Folder("scenes")},
     {"name": "choice", "folder": "path", "random_state": "seed", "block": "integer"}),
    (simulate_coast, {"window": WINDOW}, {"name": "choice", "random_state": "seed"}),
    (write_coast, {"name": "coast_series_small", "folder": Folder("coast")},
     {"name": "choice", "folder": "path", "random_state": "seed", "block": "integer"}),
    (simulate_site, {"name": "insar_lyngen", "n_points": 200},
     {"name": "choice", "random_state": "seed"}),
    (write_site, {"name": "insar_lyngen", "folder": Folder("site"), "n_points": 200},
     {"name": "choice", "folder": "path", "random_state": "seed", "shard_size": "integer"}),
    (site_dates, {"name": "insar_lyngen"}, {"name": "choice", "random_state": "seed"}),
    (open_catalog, {}, {"path": "path"}),
    (fetch, {"dataset": "ustica", "file": "none.csv"}, {"dataset": "choice", "file": "choice"}),
    (common_grid, {"lon": -118.7, "lat": 38.7, "crs": "EPSG:32611", "buffer": 99, "resolution": 9},
     {"lon": "number", "lat": "number", "buffer": "number", "resolution": "number",
      "crs": "choice"}),
    (regrid, {"scene": SCENE, "grid": make_grid()}, {"method": "choice"}),
    (spectral_clustering, {"samples": SAMPLES, "n_clusters": 2, "n_components": 10},
     {"n_clusters": "integer", "n_components": "integer", "random_state": "seed"}),
    (match_labels, {"labels": LABELS, "reference": LABELS}, {"labels": "map", "reference": "map"}),
    (water_table, {"labels": LABELS, "scene": SCENE}, {"labels": "map", "scene": "scene"}),
    (find_water, {"labels": LABELS, "scene": SCENE}, {"labels": "map", "scene": "scene"}),
    (water_mask, {"labels": LABELS, "scene": SCENE}, {"labels": "map", "scene": "scene"}),
    (change_map, {"before": MASK, "after": MASK}, {"before": "map", "after": "map"}),
    (read_egms, {"path": Folder("egms.csv")}, {"path": "path"}),
    (open_points, {"folder": Folder("points")}, {"folder": "path"}),
    (fill_gaps, {"points": SERIES}, {"points": "points", "method": "choice"}),
    (embed_series, {"displacement": SERIES.displacement, "n_features": 4},
     {"n_features": "integer", "seed": "seed", "representation": "choice"}),
    (ReservoirEmbedding, {}, {}),
    (embed_shards, {"source_folder": Folder("source"), "target_folder": Folder("target")},
     {"source_folder": "path", "target_folder": "path"}),
    (ShardWriter, {}, {}),
    (PointShards, {"folder": Folder("shards")}, {"folder": "path"}),
    (is_test, {"points": np.arange(30)},
     {"test_fraction": "number", "seed": "seed"}),
    (write_labels, {"folder": Folder("shards"), "name": "a", "batches": []}, {"folder": "path"}),
    (read_labels, {"folder": Folder("shards"), "name": "a"}, {"folder": "path"}),
    (fit_minibatch, {"shards": shards_of, "n_clusters": 2},
     {"n_clusters": "integer", "batch_size": "integer", "max_epochs": "integer", "tol": "number",
      "test_fraction": "number", "seed": "seed", "features": "choice"}),
    (sweep, {}, {}),
    (displacement_profiles, {"points": SERIES, "labels": np.arange(6) % 2}, {"points": "points"}),
    (neighbor_graph, {"longitude": PLACE[0], "latitude": PLACE[1], "k": 3},
     {"longitude": "numbers", "latitude": "numbers", "k": "integer", "weights": "choice",
      "symmetric": "switch"}),
    (smooth_features, {"features": np.ones((20, 2)), "graph": neighbor_graph(*PLACE, k=3),
                       "alpha": 0.5, "hops": 2},
     {"alpha": "number", "hops": "integer", "normalize": "switch"}),
    (smooth_shards, {"source_folder": Folder("source"), "target_folder": Folder("smooth"),
                     "alpha": 0.5, "hops": 2},
     {"source_folder": "path", "target_folder": "path", "alpha": "number", "hops": "integer"}),
    (fit_kmeans, {}, {"X": "pixels"} | KMEANS),
    (InterImageKMeans, {}, {}),
    (plot_rgb, {"scene": SCENE}, {"scene": "scene", "title": "title"}),
    (plot_labels, {"labels": LABELS}, {"labels": "map", "title": "title"}),
    (plot_change, {"change": change_map(MASK, MASK)}, {"change": "map", "title": "title"}),
    (plot_points, {"points": POINTS, "values": np.arange(20) % 3},
     {"points": "points", "title": "title"}),
    (plot_profiles, {"profiles": cluster_profiles(SAMPLES, FLAT)},
     {"profiles": "points", "title": "title"}),
    (plot_series, {"profiles": displacement_profiles(SERIES, np.arange(6) % 2)},
     {"profiles": "points", "title": "title"}),
    (view_rgb, {"scene": SCENE}, {"scene": "scene", "title": "title"}),
    (view_labels, {"labels": LABELS}, {"labels": "map", "title": "title"}),
    (view_transitions, {"before": LABELS, "after": LABELS},
     {"before": "map", "after": "map", "title": "title"}),
    (view_points, {"points": POINTS, "labels": np.arange(20) % 3},
     {"points": "points", "title": "title"}),
]  # fmt: skip

FINE = {("fit_kmeans", "sample", "None")}  # by default there is no sample

CASES = [
    pytest.param(function, arguments, name, value, error, id=f"{function.__name__}-{name}-{words}")
    for function, arguments, kinds in VALID
    for name, kind in kinds.items()
    for words, value, error in HOSTILE[kind]
    if (function.__name__, name, words) not in FINE
]


def test_the_table_has_every_public_function():
    modules = (
        "stacking scaling indices metrics simulate.lake simulate.coast simulate.insar datasets "
    )
    modules += "regridding spectral labels insar reservoir shards minibatch graph plotting views"
    named = {function.__name__ for function, *_ in VALID} | {"main", "profiles_of"}
    for name in modules.split():
        module = importlib.import_module(f"cookbook_utils.{name}")
        public = {
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value)
            and value.__module__ == module.__name__
            and not key.startswith("_")
        }
        assert public <= named, f"{name}: not in the table: {public - named}"
    assert len(CASES) >= 300


@pytest.mark.parametrize(("function", "arguments", "name", "value", "error"), CASES)
def test_hostile_input_gets_one_line_of_this_package(
    tmp_path, function, arguments, name, value, error
):
    given = {}
    for key, argument in arguments.items():
        argument = tmp_path / argument.name if isinstance(argument, Folder) else argument
        given[key] = argument(tmp_path) if argument is shards_of else argument
    given[name] = value
    before = sorted(os.listdir(tmp_path))
    with warnings.catch_warnings(), pytest.raises(error) as caught:
        warnings.simplefilter("ignore")
        result = function(**given)
        for lazy in result if isinstance(result, tuple | list) else [result]:
            getattr(lazy, "compute", lambda: None)()
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert frame.filename.startswith(PACKAGE), f"raised in {frame.filename}: {caught.value}"
    message = str(caught.value).strip()
    assert message and "\n" not in message
    assert sorted(os.listdir(tmp_path)) == before
