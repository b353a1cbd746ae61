"""What every public function says of input that it cannot take, and what it makes of odd input.

`TABLE` holds a valid call of every public function, class and method, with the kind of each of its
arguments. Every valid call is run. `HOSTILE` says what is passed in place of an argument of a kind,
and which error that ends in; `ODD` what is passed in its place and gives the same result. An error
is raised by this package, in one short line that names the parameter, before anything is written.
"""

import functools
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import traceback
import warnings
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import geopandas
import holoviews as hv
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyproj
import pytest
import scipy.sparse
import xarray as xr
from matplotlib.axes import Axes

import cookbook_utils
from cookbook_utils.export import write_label_map
from cookbook_utils.graph import neighbor_graph
from cookbook_utils.indices import dnbr
from cookbook_utils.interimage import InterImageKMeans
from cookbook_utils.labels import change_map, is_water
from cookbook_utils.metrics import cluster_profiles
from cookbook_utils.minibatch import MiniBatchShardKMeans, displacement_profiles
from cookbook_utils.reservoir import ReservoirEmbedding, embed_shards
from cookbook_utils.scaling import standardize
from cookbook_utils.shards import PointShards, ShardWriter
from cookbook_utils.simulate import write_site
from cookbook_utils.spectral import NystroemSpectralClustering
from cookbook_utils.stacking import stack_pixels

from .factories import (
    contents,
    make_grid,
    make_labels,
    make_points,
    make_scene,
    without_fsync,  # noqa: F401
)

PACKAGE = str(Path(cookbook_utils.__file__).parent)
MOST_TEXT = 1000  # characters of an error; the longest one lists all map tiles


def series(n=20):
    """Points with series of displacement."""
    time = np.array("2020-01-03", "M8[ns]") + np.arange(24) * np.timedelta64(12, "D")
    values = np.random.default_rng(0).normal(size=(n, 24)).astype(np.float32)
    points = make_points(n).assign_coords(time=time)
    return points.assign(displacement=(("point", "time"), values, {"units": "mm"}))


SCENE = make_scene()
NUMBERS = (SCENE * 10_000).astype("int16").assign_attrs(scale_factor=1e-4, add_offset=0.0)
NUMBERS.attrs["units"] = "digital number"
CLOUDY = SCENE.assign_coords(
    quality=(("y", "x"), np.full((5, 6), 22280), {"quality_kind": "landsat_qa_pixel"})
)
SAMPLES = stack_pixels(SCENE)
LABELS = make_labels(np.arange(30).reshape(5, 6) % 3)
WIDE = LABELS.astype("uint16").assign_attrs(_FillValue=65535)
AFTER = LABELS.copy(data=(LABELS.values + (LABELS.values == 2)) % 4)
MASK = make_labels(np.arange(30).reshape(5, 6) % 2)
FLAT = np.arange(30) % 3
POINTS = make_points(20)
PLACE = POINTS.longitude.values, POINTS.latitude.values
SERIES = series()
CLASSES = np.arange(20) % 3
GRAPH = neighbor_graph(*PLACE, n_neighbors=3)
EGMS = "pid,latitude,longitude,20200103,20200109\na1,69.6,20.2,0.0,-1.5\n"
LARGE = np.arange(100_000.0).reshape(1000, 100)  # whose repr has many lines
MASKED = np.ma.masked_less(SAMPLES.values, 0.1)
COUNTS = pd.DataFrame([[9, 1, 0], [0, 8, 1], [1, 0, 9]])
FIELDS = geopandas.GeoDataFrame(
    {"crop": ["rice", "maize"]}, crs=32611,
    geometry=geopandas.points_from_xy([330_015, 330_075], [4_299_985] * 2).buffer(20),
)  # fmt: skip


# -- hostile arguments ------------------------------------------------------------------------

NO_ARRAY = [
    ("None", None, TypeError),
    ("text", "scene.tif", TypeError),
    ("a number", 3, TypeError),
    ("a NumPy array", SCENE.values, TypeError),
]
NOT_REAL = [
    ("complex numbers", lambda array: array.astype(complex), TypeError),
    ("text in an array", lambda array: array.astype(str), TypeError),
    ("objects in an array", lambda array: array.astype(object), TypeError),
    ("dates in an array", lambda array: array.astype("M8[ns]"), TypeError),
]


def in_place_of(array, entries):
    """Return entries of a kind with functions of an array replaced by what they make of it."""
    return [
        (words, make(array) if inspect.isfunction(make) else make, error)
        for words, make, error in entries
    ]


NO_NUMBER = [
    ("text", "3", TypeError),
    ("a list", [3], TypeError),
    ("an array", np.array([3]), TypeError),
    ("a large array", LARGE, TypeError),
    ("a boolean", True, TypeError),
    ("a complex number", 1j, TypeError),
    ("a decimal", Decimal(3), TypeError),
    ("a date", np.datetime64("2020-01-03"), TypeError),
    ("a missing value", pd.NA, TypeError),
]
INTEGER = [*NO_NUMBER, ("a float", 2.5, TypeError), ("a negative number", -1, ValueError)]
NUMBER = [*NO_NUMBER, ("beyond float64", -(10**5000), ValueError), ("NaN", np.nan, ValueError),
          ("infinity", np.inf, ValueError), ("a negative number", -1e9, ValueError)]  # fmt: skip
TOO_LARGE = [("more than generators take", 2**40, ValueError),
             ("thousands of digits", 10**5000, ValueError)]  # fmt: skip
NONE = [("None", None, TypeError)]
NO_TEXT = [
    ("a number", 3, TypeError),
    ("bytes", b"linear", TypeError),
    ("a list", ["linear"], TypeError),
    ("an array", np.array(["linear"]), TypeError),
    ("a large array", LARGE, TypeError),
]
LABEL_VALUES = [
    ("fractions", LABELS + 0.5, ValueError),
    ("infinity", LABELS.astype("float32").where(LABELS != 1, np.inf), ValueError),
    ("a negative number", LABELS.astype("int16") - 1, ValueError),
    ("a number above 255", LABELS.astype("int16") + 400, ValueError),
    ("a number above 255 without its nodata", WIDE.drop_attrs() + 400, ValueError),
    ("a number above 65535", WIDE.astype("int32") + 70_000, ValueError),
    ("no pixel", LABELS.isel(x=[]), ValueError),
]
TABLE_VALUES = [
    ("text", "abc", TypeError),
    ("objects", np.array([[None] * 6] * 30), TypeError),
    ("complex numbers", np.ones((30, 6), complex), TypeError),
    ("a masked array", MASKED, TypeError),
    ("one dimension", np.ones(30), ValueError),
    ("three dimensions", np.ones((2, 3, 5)), ValueError),
    ("rows of different lengths", [[1.0, 2.0], [3.0]], ValueError),
]
HOSTILE = {
    "scene": [
        *NO_ARRAY,
        *in_place_of(SCENE, NOT_REAL),
        ("a list", [1, 2], TypeError),
        ("a Dataset", SCENE.to_dataset("band"), TypeError),
        ("no band", SCENE.isel(band=0), ValueError),
        ("no pixel", SCENE.isel(x=[]), ValueError),
        ("no bands", SCENE.isel(band=[]), ValueError),
    ],
    "reflectance": [
        ("digital numbers", NUMBERS.astype("float32"), ValueError),
        ("standardized values", standardize(SCENE), ValueError),
        ("integers", NUMBERS.assign_attrs(units="1"), (TypeError, ValueError)),
        ("no band of that name", SCENE.assign_coords(band=range(6)), ValueError),
        ("a band twice", SCENE.isel(band=[0, 1, 2, 3, 4, 1, 3]), ValueError),
        ("a dump as units", SCENE.assign_attrs(units=LARGE), ValueError),
    ],
    "array": [
        *NO_ARRAY,
        *in_place_of(SCENE, NOT_REAL),
        ("a Dataset", SCENE.to_dataset("band"), TypeError),
        ("no pixel", SCENE.isel(x=[]), ValueError),
    ],
    "samples": [
        *NO_ARRAY,
        *in_place_of(SAMPLES, NOT_REAL[:3]),
        ("a scene", SCENE, ValueError),
        ("no pixel", SAMPLES.isel(pixel=[]), ValueError),
    ],
    "grid": [
        *NO_ARRAY,
        *in_place_of(SCENE, NOT_REAL),
        ("no CRS", make_grid(crs=None), ValueError),
        ("no coordinates", SCENE.drop_vars(["x", "y"]), ValueError),
        ("no pixel", SCENE.isel(x=[]), ValueError),
        ("repeated coordinates", SCENE.isel(x=[0, 0, 1]), ValueError),
    ],
    "pixels": [
        ("None", None, TypeError),
        ("text", "scene.tif", TypeError),
        ("a cube without names", SCENE.values, ValueError),
        ("one dimension", SCENE.values.ravel(), ValueError),
        ("a Dataset", SCENE.to_dataset("band"), TypeError),
        *in_place_of(SCENE, NOT_REAL),
        ("a masked table", MASKED, TypeError),
        ("a table with NaN", np.full((30, 6), np.nan), ValueError),
        ("a table of complex numbers", np.ones((30, 6), complex), (TypeError, ValueError)),
        ("a table of texts", np.full((30, 6), "a"), (TypeError, ValueError)),
        ("latitude and longitude", SCENE.rename(y="latitude", x="longitude"), ValueError),
        ("no band", SCENE.isel(band=0), ValueError),
        ("no pixel", SCENE.isel(x=[]), ValueError),
        ("an empty list", [], ValueError),
        ("a list of a scene and a number", [SCENE, 3], TypeError),
        ("infinity", SCENE.where(SCENE.x > SCENE.x[0], np.inf), ValueError),
    ],
    "map": [
        *NO_ARRAY,
        ("a Dataset", LABELS.to_dataset(name="label"), TypeError),
        *in_place_of(LABELS, NOT_REAL),
        *LABEL_VALUES,
        ("another dimension", LABELS.rename(x="column"), ValueError),
    ],
    "any map": [  # of whatever dimensions
        *NO_ARRAY,
        ("a Dataset", LABELS.to_dataset(name="label"), TypeError),
        *in_place_of(LABELS, NOT_REAL),
        *LABEL_VALUES,
    ],
    "maps": [  # or arrays of labels
        ("None", None, TypeError),
        ("text", "map.tif", TypeError),
        ("a number", 3, ValueError),
        ("a Dataset", LABELS.to_dataset(name="label"), TypeError),
        *in_place_of(LABELS, NOT_REAL),
        *LABEL_VALUES,
        ("a masked array", np.ma.masked_equal(LABELS.values, 1), TypeError),
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
    "ids": [
        ("None", None, TypeError),
        ("text", "abc", TypeError),
        ("fractions", np.arange(20) + 0.5, TypeError),
        ("complex numbers", np.ones(20, complex), TypeError),
        ("a masked array", np.ma.masked_equal(FLAT, 1), TypeError),
        ("too large for int64", np.full(20, 2**64 - 1, np.uint64), ValueError),
    ],
    "table": TABLE_VALUES,
    "centers": [
        ("None", None, TypeError),
        *TABLE_VALUES,
        ("one center", SAMPLES.values[:1], ValueError),
        ("another number of bands", np.eye(3), ValueError),
        ("NaN", np.full((3, 6), np.nan), ValueError),
    ],
    "init": [*TABLE_VALUES[1:], ("an unknown word", "neither", ValueError),
             ("NaN", np.full((2, 6), np.nan), ValueError),
             ("too many centers", np.ones((3, 6)), ValueError), ("None", None, TypeError)],
    "series": [
        ("None", None, TypeError),
        *TABLE_VALUES,
        ("NaN", np.full((30, 6), np.nan), ValueError),
        ("infinity", np.full((30, 6), np.inf), ValueError),
        ("one date", np.ones((30, 1)), ValueError),
    ],
    "dates": [
        ("text", "2020-01-01", TypeError), ("a number", 3, TypeError),
        ("numbers", [1, 2], TypeError),
        ("dates as text", SERIES.time.values.astype(str), TypeError),
        ("too few", SERIES.time.values[:-1], ValueError),
        ("dates that fall", SERIES.time.values[::-1], ValueError),
        ("equal dates", np.repeat(SERIES.time.values[:1], SERIES.sizes["time"]), ValueError),
        ("no dates", np.full(SERIES.sizes["time"], "NaT", "M8[ns]"), ValueError),
    ],
    "displacement": [
        *NO_ARRAY,
        *in_place_of(SERIES.displacement, NOT_REAL),
        ("a Dataset", SERIES, TypeError),
        ("NaN", SERIES.displacement * np.nan, ValueError),
        ("another dimension", SERIES.displacement.rename(point="site"), ValueError),
        ("dates that fall", SERIES.displacement.isel(time=slice(None, None, -1)), ValueError),
        ("no point", SERIES.displacement.isel(point=[]), ValueError),
    ],
    "points": [
        ("None", None, TypeError),
        ("text", "points", TypeError),
        ("an array", np.ones(5), TypeError),
        ("a DataArray", SCENE, (TypeError, ValueError)),
        ("no points", SERIES.isel(point=[]), ValueError),
    ],
    "integer": [*NONE, *INTEGER],
    "optional integer": INTEGER,
    "number": [*NONE, *NUMBER],
    "optional number": NUMBER,
    "seed": [*NONE, *INTEGER, *TOO_LARGE],
    "optional seed": [*INTEGER, *TOO_LARGE],
    "random_state": [*NO_NUMBER[:4], ("a float", 2.5, TypeError), ("a boolean", True, TypeError),
                     ("a negative number", -1, ValueError), *TOO_LARGE],
    "switch": [*NONE, ("text", "yes", TypeError), ("a number", 3, TypeError),
               ("an array", np.array([True]), TypeError), ("a large array", LARGE, TypeError)],
    "choice": [*NONE, *NO_TEXT, ("an unknown word", "neither", ValueError),
               ("nothing", "", ValueError)],
    "optional choice": [*NO_TEXT, ("an unknown word", "neither", ValueError),
                        ("nothing", "", ValueError)],
    "word": [*NONE, *NO_TEXT, ("nothing", "", ValueError), ("a path", "a/b", ValueError)],
    "crs": [*NONE, ("a large array", LARGE, TypeError), ("an array", np.array([1, 2]), TypeError),
            ("a list", [32611], ValueError), ("bytes", b"EPSG:32611", TypeError),
            ("an object", object(), TypeError), ("a float", 32611.0, TypeError),
            ("a boolean", True, TypeError), ("an unknown word", "neither", ValueError),
            ("a long text", "EPSG:" * 1000, ValueError), ("degrees", "EPSG:4326", ValueError),
            ("a negative number", -1, ValueError)],
    "step": [("a number", 6, TypeError), ("a list", ["6D"], TypeError),
             ("a large array", LARGE, TypeError), ("nonsense", "soon", ValueError),
             ("a long text", "soon" * 1000, ValueError), ("nothing", "", ValueError),
             ("zero", "0D", ValueError), ("a span that falls", "-6D", ValueError),
             ("no time", np.timedelta64("NaT"), ValueError),
             ("nanoseconds", "1ns", ValueError)],
    "path": [
        *NONE,
        ("a number", 3, TypeError),
        ("a list", ["a"], TypeError),
        ("bytes", b"a", TypeError),
        ("a large array", LARGE, TypeError),
        ("nothing", "", ValueError),
        ("a null character", "a\0b", ValueError),
    ],
    "paths": [
        *NONE,
        ("a number", 3, TypeError),
        ("a list of numbers", [3], TypeError),
        ("an empty list", [], ValueError),
        ("the same path twice", ["a.csv", "a.csv"], ValueError),
        ("bytes", b"a", TypeError),
        ("a large array", LARGE, TypeError),
        ("nothing", "", ValueError),
        ("a null character", "a\0b", ValueError),
    ],
    "columns": [
        ("text", "height", TypeError),
        ("a number", 3, TypeError),
        ("numbers in a list", [3], TypeError),
        ("an unknown name", ["speed"], ValueError),
    ],
    "pids": [
        ("numbers", np.arange(20), TypeError),
        ("bytes", [b"a"] * 20, TypeError),
        ("text without need", [f"p{k}" for k in range(20)], ValueError),
    ],
    "source": [*NONE, ("a number", 3, TypeError), ("bytes", b"a", TypeError),
               ("a large array", LARGE, TypeError), ("nothing", "", ValueError),
               ("a null character", "a\0b", ValueError), ("no file", "a.tif", OSError),
               ("an empty list", [], ValueError), ("numbers", [1], TypeError)],
    "names of bands": [("a number", 3, TypeError), ("text", "red", TypeError),
                       ("numbers", [1], TypeError), ("two equal ones", ["red"] * 2, ValueError),
                       ("too many", ["red", "nir"], ValueError), ("none", [], ValueError),
                       ("a band beyond", {"red": 2}, ValueError)],
    "day": [("a number", 3, TypeError), ("a list", ["2020"], TypeError),
            ("no date", "June", ValueError), ("a far date", "3020-01-01", ValueError),
            ("NaT", np.datetime64("NaT"), ValueError)],
    "days": [("a number", 3, TypeError), ("text", "2020-01-03", TypeError),
             ("too many", ["2020-01-03"] * 2, ValueError), ("no date", ["June"], ValueError)],
    "nodata": NO_NUMBER,
    "box": [("text", "here", TypeError), ("three numbers", (1, 2, 3), TypeError),
            ("texts", ("a",) * 4, TypeError), ("inside out", (5, 0, 4, 1), ValueError),
            ("elsewhere", (5, 0, 6, 1), ValueError),
             ("beyond the pole", (0, 0, 1, 91), ValueError)],
    "like": [("text", "scene", TypeError), ("an array", LARGE, TypeError),
             ("no grid", xr.DataArray([1.0]), ValueError)],
    "chunks": [("text", "large", TypeError), ("none", 0, ValueError),
               ("a float", 2.5, TypeError), ("of bands", {"band": 1}, ValueError)],
    "options": [("text", "anon", TypeError), ("unknown ones", {"secrets": 1}, ValueError)],
    "text": [("a number", 3, TypeError), ("a list", ["a"], TypeError), ("bytes", b"a", TypeError),
             ("a large array", LARGE, TypeError)],
    "names": [("text", "abc", TypeError), ("a list", ["a"], TypeError),
              ("numbers as text", {"1": "water"}, TypeError), ("no text", {1: 2}, TypeError),
              ("a large array", {1: LARGE}, TypeError),
              ("a number too large", {65535: "a"}, ValueError)],
    "bands": [
        *NONE,
        ("text", "red", TypeError),
        ("a number", 3, TypeError),
        ("an array without dimensions", np.array("red"), TypeError),
        ("a set", {"red", "green", "blue"}, TypeError),
        ("two", ["red", "green"], ValueError),
        ("an unknown word", ["red", "green", "neither"], ValueError),
        ("lists", [["red"], ["green"], ["blue"]], ValueError),
        ("a large array", LARGE, ValueError),
        ("large arrays", [LARGE] * 3, ValueError),
    ],
    "classes": [
        *NONE,
        ("text", "cloud", TypeError),
        ("a number", 3, TypeError),
        ("a set", {"cloud"}, TypeError),
        ("nothing", [], ValueError),
        ("numbers", [3], TypeError),
        ("an unknown word", ["neither"], ValueError),
        ("a large array", LARGE, TypeError),
        ("large arrays", [LARGE], TypeError),
    ],
    "ax": [("text", "axes", TypeError),
           ("a list", [1], TypeError), ("a large array", LARGE, TypeError)],
    "window": [
        ("text", "all", TypeError),
        ("a number", 3, TypeError),
        ("a slice", slice(0, 8), TypeError),
        ("one slice", (slice(0, 8),), ValueError),
        ("many slices", (slice(0, 8),) * 1000, ValueError),
        ("fractions", (slice(0.5, 8.0), slice(0, 8)), TypeError),
        ("a large array", LARGE, TypeError),
        ("large arrays as bounds", (slice(LARGE, LARGE), slice(0, 8)), TypeError),
        ("nothing in it", (slice(8, 8), slice(0, 8)), ValueError),
        ("a step", (slice(0, 8, 2), slice(0, 8)), ValueError),
        ("a step of 0", (slice(0, 8, 0), slice(0, 8)), ValueError),
    ],
    "rows": [
        *NONE,
        ("a number", 3, TypeError),
        ("a list", [0, 1], TypeError),
        ("fractions", slice(0.5, 3), TypeError),
        ("a large array", LARGE, TypeError),
        ("large arrays as bounds", slice(LARGE, LARGE), TypeError),
        ("a step", slice(0, 8, 2), ValueError),
        ("a step of 0", slice(0, 8, 0), ValueError),
    ],
    "progress": [("text", "bar", TypeError), ("a boolean", True, TypeError),
                 ("a large array", LARGE, TypeError)],
    "shards": [*NONE, ("a path", "shards", TypeError), ("a large array", LARGE, TypeError),
               ("a Dataset", SERIES, TypeError)],
    "model": [*NONE, ("text", "model", TypeError), ("centers", LARGE, TypeError),
              ("another estimator", InterImageKMeans(), TypeError)],
    "kinds": [*NONE, ("text", "dynamic", TypeError), ("a number", 3, TypeError),
              ("numbers", [3], TypeError), ("a large array", LARGE, TypeError),
              ("nothing", [], ValueError), ("an unknown kind", ["neither"], ValueError),
              ("a kind twice", ["dynamic", "dynamic"], ValueError),
              ("kinds joined by +", ["dynamic+static"], ValueError)],
    "features": [*NONE, ("text", "dynamic", TypeError), ("a list", ["dynamic"], TypeError),
              ("nothing", {}, ValueError), ("text as names", {"dynamic": "ab"}, TypeError),
              ("no names", {"dynamic": []}, ValueError),
              ("a number as kind", {3: ["a"]}, TypeError),
              ("an array as names", {"dynamic": np.array("a")}, TypeError),
              ("a large array as kind", {tuple(range(1000)): ["a"]}, TypeError),
              ("a long word", {"a b" * 1000: ["a"]}, ValueError),
              ("a coordinate", {"longitude": ["a"]}, ValueError)],
    "attrs": [("text", "abc", TypeError), ("a list", [1], TypeError),
              ("an array in it", {"a": LARGE}, TypeError), ("NaN in it", {"a": np.nan}, TypeError),
              ("numbers beside texts as keys", {(1, 2): 3}, TypeError)],
    "batches": [*NONE, ("a number", 3, TypeError), ("numbers", [1, 2], TypeError),
                ("text", "ab", TypeError), ("a large array", LARGE, TypeError),
                ("one of two", [(np.arange(300),)], TypeError),
                ("texts", [("ab", "cd")], TypeError),
                ("a large label", [(np.arange(300), [300] * 300)], ValueError),
                ("fractions", [(np.arange(300), [0.5] * 300)], ValueError),
                ("a label too few", [(np.arange(300), [0] * 299)], ValueError),
                ("a point too few", [(np.arange(299), [0] * 299)], ValueError),
                ("a point twice", [([*range(299), 0], [0] * 300)], ValueError),
                ("an unknown point", [([*range(299), 999], [0] * 300)], ValueError)],
    "graph": [*NONE, ("an array", np.eye(20), TypeError),
              ("another shape", GRAPH[:5, :5], ValueError),
              ("complex numbers", GRAPH.astype(complex), TypeError),
              ("weights below 0", -GRAPH, ValueError), ("NaN", GRAPH * np.nan, ValueError)],
    "class name": [*NONE, *NO_TEXT, ("nothing", "", ValueError), ("a space", " ", ValueError)],
    "rules": [*NONE, ("text", "abc", TypeError), ("a list", ["a"], TypeError),
              ("nothing", {}, ValueError), ("no function", {"a": 3}, TypeError),
              ("a large array", {"a": LARGE}, TypeError),
              ("a number as name", {3: is_water}, TypeError),
              ("no boolean", {"a": lambda spectra: spectra.isel(band=0)}, ValueError),
              ("one boolean", {"a": lambda spectra: np.bool_(True)}, ValueError)],
    "confusion": [*NONE, ("text", "abc", TypeError), ("an array", COUNTS.values, TypeError),
                  ("texts", COUNTS.astype(str), TypeError),
                  ("objects", COUNTS.astype(object), TypeError),
                  ("complex numbers", COUNTS.astype(complex), TypeError),
                  ("a negative number", COUNTS - 8, ValueError),
                  ("NaN", COUNTS * np.nan, ValueError), ("zeros", COUNTS * 0, ValueError),
                  ("no class", COUNTS.iloc[:0, :0], (TypeError, ValueError)),
                  ("a class twice", COUNTS.rename(index={1: 0}), ValueError)],
    "areas": [("text", "abc", TypeError), ("a list", [1.0, 2.0], TypeError),
              ("a large array", LARGE, TypeError), ("texts", {"0": "large"}, TypeError),
              ("large arrays", {"0": LARGE}, TypeError), ("nothing", {}, ValueError),
              ("a negative number", {"0": -1.0}, ValueError), ("NaN", {"0": np.nan}, ValueError),
              ("a class too few", {"0": 1.0}, ValueError),
              ("an unknown class", {"a": 1.0}, ValueError)],
    "vectors": [*NONE, ("a number", 3, TypeError), ("a list", ["a"], TypeError),
                ("bytes", b"a", TypeError), ("a large array", LARGE, TypeError),
                ("geometries only", FIELDS.geometry, TypeError),
                ("no file", "none.gpkg", OSError), ("nothing", "", ValueError),
                ("a null character", "a\0b", ValueError),
                ("no CRS", FIELDS.set_crs(None, allow_override=True), ValueError),
                ("no feature", FIELDS.iloc[:0], ValueError),
                ("lines", FIELDS.set_geometry(FIELDS.boundary), ValueError),
                ("elsewhere", FIELDS.set_geometry(FIELDS.translate(1e5)), ValueError)],
    "date": [("a number", 3, TypeError), ("bytes", b"2020", TypeError),
             ("a large array", LARGE, TypeError), ("nonsense", "soon", ValueError),
             ("no time", np.datetime64("NaT"), ValueError),
             ("three dates", ["2020", "2021", "2022"], ValueError),
             ("dates that fall", ["2021", "2020"], ValueError)],
    "no kinds": [("text", "dynamic", TypeError), ("a list", ["dynamic"], TypeError)],
    "profiles": [("text", "mean", TypeError), ("an array", np.ones(5), TypeError),
                 ("no means", SERIES, ValueError)],
    "nothing": [],
}  # fmt: skip


# -- odd arguments ----------------------------------------------------------------------------

ARRAYS = {  # of xarray
    "in Fortran order": lambda array: array.copy(data=np.asfortranarray(array.values)),
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "in eight bytes": lambda array: array.astype("f8" if array.dtype.kind == "f" else "i8"),
    "in chunks": lambda array: array.chunk(dict.fromkeys({*array.dims} - {"pixel", "band"}, 3)),
    "with dimensions in reverse": lambda array: array.transpose(*array.dims[::-1]),
}
MAPS = ARRAYS | {"in floats": lambda array: array.where(array != 255, np.nan)}
VALUES = {  # whatever NumPy makes an array of
    "as lists": lambda values: np.asarray(values).tolist(),
    "in eight bytes": lambda values: np.asarray(values, "f8"),
    "big-endian": lambda values: np.asarray(values, ">f8"),
    "in Fortran order": lambda values: np.asfortranarray(values),
    "a view of every other one": lambda values: np.repeat(values, 2, axis=0)[::2],
}
INTEGERS = {"of NumPy": np.int64, "of NumPy without a sign": np.uint32}
CHOICES = {"of NumPy": np.str_}
PATHS = {"as text": str, "as a path": Path}
ODD = {
    "scene": ARRAYS, "scene with values": ARRAYS, "reflectance": ARRAYS, "array": ARRAYS,
    "samples": ARRAYS, "displacement": ARRAYS, "pixels": ARRAYS,
    "map": MAPS, "any map": MAPS, "maps": MAPS,
    "numbers": VALUES, "optional numbers": {}, "table": VALUES, "series": VALUES,
    "series with gaps": VALUES, "centers": VALUES,
    "ids": {"as lists": list, "without a sign": np.uint64,
            "big-endian": lambda values: values.astype(">i4")},
    "integer": INTEGERS, "optional integer": INTEGERS, "block": INTEGERS, "seed": INTEGERS,
    "random_state": INTEGERS,
    "number": {"of NumPy": np.float64}, "optional number": {"of NumPy": np.float64},
    "switch": {"of NumPy": np.bool_},
    "choice": CHOICES, "optional choice": CHOICES, "word": CHOICES, "text": CHOICES,
    "path": PATHS, "optional path": PATHS, "paths": PATHS,
    "optional paths": {}, "columns": {}, "pids": {},
    "bands": {"in a list": list, "in an array": np.array, "in an index": pd.Index},
    "classes": {"in a list": list, "of NumPy": lambda names: [*map(np.str_, names)]},
    "crs": {"a number": lambda crs: int(crs[5:]), "of NumPy": lambda crs: np.int32(crs[5:]),
            "of pyproj": pyproj.CRS, "as WKT": lambda crs: pyproj.CRS(crs).to_wkt()},
    "step": {"of pandas": pd.Timedelta, "of NumPy": lambda _: np.timedelta64(6, "D"),
             "of Python": lambda _: timedelta(6)},
    "window": {"in a list": list,
               "of NumPy": lambda w: tuple(slice(np.int64(s.start), np.uint8(s.stop)) for s in w)},
    "rows": {"of NumPy": lambda rows: slice(np.int64(rows.start), np.uint8(rows.stop))},
    "kinds": {"in a list": list, "in a tuple": tuple,
              "of NumPy": lambda kinds: [*map(np.str_, kinds)]},
    "features": {"with tuples": lambda kinds: {kind: (*names,) for kind, names in kinds.items()},
                 "with arrays": lambda kinds: {kind: np.array(n) for kind, n in kinds.items()}},
    "batches": {"a generator": iter, "lists": lambda batches: [[*batch] for batch in batches]},
    "graph": {"a matrix": scipy.sparse.csr_matrix, "by columns": scipy.sparse.csc_array,
              "as pairs": scipy.sparse.coo_array, "in eight bytes": lambda g: g.astype("f8")},
    "points": {"in chunks": lambda points: points.chunk()},
    "date": {"of pandas": pd.Timestamp, "of NumPy": np.datetime64,
             "twice": lambda date: [date, date]},
}  # fmt: skip


# -- valid calls ------------------------------------------------------------------------------


class Later:
    """Stands for what is made of the folder of a test, just before the call."""

    def __init__(self, make):
        self.make = make


def path_to(name):
    return Later(lambda folder: folder / name)


@functools.cache
def _embedding():
    return ReservoirEmbedding(4).fit(SERIES.displacement.values)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with raw series, shards of features, points as delivered and an embedding."""
    folder = tmp_path_factory.mktemp("given")
    write_site(folder, "insar_lyngen", n_points=300)
    (folder / "insar_lyngen").rename(folder / "raw")
    embed_shards(folder / "raw", folder / "shards", n_features=4)
    (folder / "points.csv").write_text(EGMS)
    _embedding().save(folder / "embedding.npz")
    write_label_map(folder / "map.tif", LABELS, time="2017-10-22")
    MODEL.save(folder / "scenes.npz")
    clustered(folder).save(folder / "shards.npz")
    shutil.copy(Path(PACKAGE).parent / "data" / "catalog.yml", folder)
    NUMBERS.isel(band=[0]).rio.to_raster(folder / "scene.tif")
    return folder


@functools.cache
def clustered(folder):
    return fit_on_shards(PointShards(folder / "shards"))


def fit_on_shards(shards=None, **options):
    """Parameters of an estimator are checked when it is fitted."""
    return MiniBatchShardKMeans(**({"n_clusters": 2, "max_iter": 1} | options)).fit(shards)


def fit_kmeans(X=SCENE, **options):
    """Parameters of an estimator are checked when it is fitted."""
    return InterImageKMeans(**({"random_state": 0, "n_clusters": 2} | options)).fit(X)


def fit_embedding(X=SERIES.displacement.values, **options):
    return ReservoirEmbedding(**options).fit(X)


def fit_spectral(X=SAMPLES, **options):
    return NystroemSpectralClustering(**options).fit(X)


SHARDS = Later(lambda folder: PointShards(folder / "shards"))
WRITER = Later(lambda folder: ShardWriter(folder / "new", {"dynamic": ["a", "b"]}))
APPENDED = {"points": np.arange(20), "longitude": PLACE[0], "latitude": PLACE[1]}
MODEL = InterImageKMeans(2, random_state=0).fit(SCENE)
SPECTRAL = NystroemSpectralClustering(2, n_components=10).fit(SAMPLES)
EMBEDDED = {"n_features": "integer", "representation": "choice", "random_state": "seed"}
LINKS = {"n_neighbors": "integer", "bandwidth": "optional number", "weights": "choice",
         "symmetric": "switch"}  # fmt: skip
SMOOTHING = {"alpha": "number", "hops": "integer", "normalize": "switch"}
OPENED = {"source": "source", "bands": "names of bands", "scale": "optional number",
          "offset": "optional number", "nodata": "nodata", "bbox": "box", "crs": "optional crs",
          "resolution": "optional number", "like": "like", "resampling": "choice",
          "chunks": "chunks", "storage_options": "options"}  # fmt: skip
FIGURE = {"title": "text", "ax": "ax"}
EXPORTED = {"path": "path", "names": "names", "time": "date", "overwrite": "switch"}
TABLE = {
    "stacking.stack_pixels": ({"scene": SCENE}, {"scene": "scene with values"}),
    "stacking.unstack_labels": (
        {"labels": FLAT, "samples": SAMPLES, "template": SCENE},
        {"labels": "numbers", "samples": "samples", "template": "array"},
    ),
    "scaling.to_reflectance": ({"scene": NUMBERS}, {"scene": "array"}),
    "scaling.standardize": ({"data": SCENE}, {"data": "scene", "per_band": "switch"}),
    "scaling.rescale": ({"data": SCENE}, {"data": "scene", "per_band": "switch"}),
    "indices.ndvi": ({"scene": SCENE}, {"scene": "reflectance"}),
    "indices.mndwi": ({"scene": SCENE}, {"scene": "reflectance"}),
    "indices.nbr": ({"scene": SCENE}, {"scene": "reflectance"}),
    "indices.dnbr": (
        {"before": SCENE, "after": make_scene(seed=1)},
        {"before": "reflectance", "after": "reflectance"}),
    "indices.burn_severity": (
        {"difference": dnbr(SCENE, make_scene(seed=1))}, {"difference": "array"}),
    "areas.adjusted_areas": (
        {"labels": LABELS, "confusion": COUNTS}, {"labels": "map", "confusion": "confusion"}),
    "accuracy.rasterize_reference": (
        {"data": FIELDS, "scene": SCENE, "column": "crop"},
        {"data": "vectors", "scene": "grid", "column": "choice", "layer": "text",
         "overlap": "choice"}),
    "accuracy.accuracy_table": (
        {"labels": LABELS, "reference": AFTER},
        {"labels": "any map", "reference": "any map", "areas": "areas"}),
    "clouds.cloud_mask": (
        {"scene": CLOUDY, "classes": ("cloud",), "margin": 1},
        {"scene": "array", "classes": "classes", "margin": "integer"}),
    "clouds.mask_clouds": (
        {"scene": CLOUDY, "classes": ("cloud",), "margin": 1},
        {"scene": "array", "classes": "classes", "margin": "integer"}),
    "areas.pixel_area_km2": ({"template": SCENE}, {"template": "grid"}),
    "areas.area_km2": ({"mask": MASK}, {"mask": "map"}),
    "areas.class_areas": ({"labels": LABELS}, {"labels": "map"}),
    "metrics.intersection_over_union": (
        {"mask": MASK, "reference": MASK}, {"mask": "maps", "reference": "maps"}),
    "metrics.label_change": (
        {"before": LABELS, "after": AFTER}, {"before": "maps", "after": "maps"}),
    "metrics.transition_matrix": (
        {"before": LABELS, "after": AFTER}, {"before": "any map", "after": "any map"}),
    "metrics.cluster_profiles": (
        {"samples": SAMPLES, "labels": FLAT}, {"samples": "samples", "labels": "numbers"}),
    "metrics.simplified_silhouette": (
        {"samples": SAMPLES, "labels": FLAT, "centers": SAMPLES.values[:3]},
        {"samples": "samples", "labels": "numbers", "centers": "centers"}),
    "metrics.sampled_silhouette": (
        {"samples": SAMPLES, "labels": FLAT, "n_samples": 20, "random_state": 1},
        {"samples": "samples", "labels": "numbers", "n_samples": "integer",
         "random_state": "seed"}),
    "simulate.simulate_scene": (
        {"name": "landsat_8_small", "window": (slice(150, 160), slice(9, 20)), "random_state": 1},
        {"name": "choice", "random_state": "seed", "window": "window"}),
    "simulate.write_scene": (
        {"name": "landsat_8_small", "folder": path_to("new"), "random_state": 1, "block": 150},
        {"name": "choice", "folder": "path", "random_state": "seed", "block": "block"}),
    "simulate.simulate_coast": (
        {"name": "coast_series_small", "window": (slice(0, 8), slice(0, 8)), "random_state": 1},
        {"name": "choice", "random_state": "seed", "window": "window"}),
    "simulate.write_coast": (
        {"name": "coast_series_small", "folder": path_to("new"), "random_state": 1, "block": 350},
        {"name": "choice", "folder": "path", "random_state": "seed", "block": "block"}),
    "simulate.simulate_site": (
        {"name": "insar_lyngen", "n_points": 200, "random_state": 1},
        {"name": "choice", "random_state": "seed", "n_points": "optional integer"}),
    "simulate.write_site": (
        {"name": "insar_lyngen", "folder": path_to("new"), "n_points": 200, "shard_size": 100},
        {"name": "choice", "folder": "path", "random_state": "seed", "shard_size": "integer",
         "n_points": "optional integer"}),
    "simulate.site_dates": ({"name": "insar_lyngen"}, {"name": "choice", "random_state": "seed"}),
    "datasets.open_catalog": ({"path": path_to("catalog.yml")}, {"path": "optional path"}),
    "datasets.open_scene": (
        {"source": path_to("scene.tif"), "bands": ["red"], "date": "2020-01-03", "scale": 1e-4,
         "offset": 0.0, "resampling": "nearest"},
        OPENED | {"date": "day"}),
    "datasets.open_scenes": (
        {"source": path_to("scene.tif"), "bands": ["red"], "dates": ["2020-01-03"],
         "scale": 1e-4, "offset": 0.0, "resampling": "nearest"},
        OPENED | {"dates": "days"}),
    "regridding.common_grid": (
        {"longitude": -118.7, "latitude": 38.7, "crs": "EPSG:32611", "buffer": 99.0,
         "resolution": 9.0},
        {"longitude": "number", "latitude": "number", "crs": "crs", "buffer": "number",
         "resolution": "number"}),
    "regridding.regrid": (
        {"scene": SCENE, "grid": make_grid(), "method": "nearest"},
        {"scene": "array", "grid": "grid", "method": "choice"}),
    "spectral.NystroemSpectralClustering": (
        {"n_clusters": 2, "gamma": 0.5, "n_components": 10, "random_state": 1},
        {"n_clusters": "integer", "gamma": "optional number", "n_components": "integer",
         "random_state": "seed"}),
    "spectral.NystroemSpectralClustering.fit": (
        {"self": Later(lambda _: NystroemSpectralClustering(2, n_components=10)), "X": SAMPLES},
        {"X": "table"}),
    "spectral.NystroemSpectralClustering.predict": (
        {"self": SPECTRAL, "X": SAMPLES}, {"X": "table"}),
    "labels.match_labels": (
        {"labels": LABELS, "reference": AFTER}, {"labels": "maps", "reference": "maps"}),
    "labels.water_table": (
        {"scene": SCENE, "labels": LABELS}, {"scene": "reflectance", "labels": "map"}),
    "labels.find_water": (
        {"scene": SCENE, "labels": LABELS}, {"scene": "reflectance", "labels": "map"}),
    "labels.water_mask": (
        {"scene": SCENE, "labels": LABELS}, {"scene": "reflectance", "labels": "map"}),
    "labels.is_water": ({"scene": SCENE}, {"scene": "reflectance"}),
    "labels.rule_table": (
        {"scene": SCENE, "labels": LABELS, "rules": {"water": is_water}},
        {"scene": "reflectance", "labels": "map", "rules": "rules", "default": "class name"}),
    "labels.reference_table": (
        {"labels": LABELS, "reference": AFTER}, {"labels": "any map", "reference": "any map"}),
    "labels.name_clusters": (
        {"labels": LABELS, "names": {0: "sea", 1: "land", 2: "sea"}},
        {"labels": "any map", "names": "names", "default": "text"}),
    "labels.change_map": ({"before": MASK, "after": MASK}, {"before": "map", "after": "map"}),
    "insar.open_points": (
        {"source": path_to("points.csv"), "folder": path_to("new"), "chunks": 100,
         "shard_size": 100},
        {"source": "paths", "folder": "optional path", "static_features": "columns",
         "dates": "choice", "layers": "optional paths", "chunks": "integer",
         "shard_size": "integer", "progress": "progress"}),
    "insar.fill_gaps": (
        {"points": SERIES, "step": "6D"},
        {"points": "points", "method": "choice", "step": "step"}),
    "reservoir.embed_series": (
        {"displacement": SERIES.displacement, "n_features": 4, "random_state": 1},
        {"displacement": "displacement"} | EMBEDDED),
    "reservoir.ReservoirEmbedding": ({"n_features": 4}, EMBEDDED),
    "reservoir.ReservoirEmbedding.fit": (
        {"self": Later(lambda _: ReservoirEmbedding(4)), "X": SERIES.displacement.values},
        {"X": "series", "time": "dates"}),
    "reservoir.ReservoirEmbedding.transform": (
        {"self": Later(lambda _: _embedding()), "X": SERIES.displacement.values},
        {"X": "series with gaps", "time": "dates"}),
    "reservoir.ReservoirEmbedding.save": (
        {"self": Later(lambda _: _embedding()), "path": path_to("new.npz")}, {"path": "path"}),
    "reservoir.ReservoirEmbedding.load": ({"path": path_to("embedding.npz")}, {"path": "path"}),
    "reservoir.embed_shards": (
        {"source_folder": path_to("raw"), "target_folder": path_to("new"), "n_features": 4},
        {"source_folder": "path", "target_folder": "path", "method": "choice", "step": "step",
         "shard_size": "integer", "progress": "progress"} | EMBEDDED),
    "shards.ShardWriter": (
        {"folder": path_to("new"), "features": {"dynamic": ["a"]}, "shard_size": 100},
        {"folder": "path", "features": "features", "shard_size": "integer", "attrs": "attrs",
         "with_pids": "switch"}),
    "shards.ShardWriter.append": (
        {"self": WRITER, "dynamic": np.ones((20, 2))} | APPENDED,
        {"points": "ids", "longitude": "numbers", "latitude": "numbers", "pid": "pids",
         "dynamic": "table"}),
    "shards.ShardWriter.close": ({"self": WRITER}, {}),
    "shards.PointShards": ({"folder": path_to("shards")}, {"folder": "path"}),
    "shards.PointShards.read": (
        {"self": SHARDS, "column": "dynamic", "rows": slice(0, 8)},
        {"column": "choice", "rows": "rows"}),
    "shards.PointShards.batches": (
        {"self": SHARDS, "kinds": ["dynamic", "static"], "batch_size": 100, "split": "train"},
        {"kinds": "kinds", "batch_size": "integer", "split": "optional choice",
         "test_fraction": "number", "shuffle": "switch", "random_state": "seed",
         "epoch": "integer"}),
    "shards.PointShards.digest": ({"self": SHARDS, "kinds": ("dynamic",)}, {"kinds": "kinds"}),
    "shards.PointShards.verify": ({"self": SHARDS}, {}),
    "shards.is_test": (
        {"points": np.arange(30), "test_fraction": 0.5},
        {"points": "ids", "test_fraction": "number", "random_state": "seed"}),
    "shards.PointShards.write_labels": (
        {"self": SHARDS, "name": "a", "batches": [(np.arange(300), [0] * 300)]},
        {"name": "word", "batches": "batches", "attrs": "attrs"}),
    "shards.PointShards.read_labels": (
        {"self": Later(lambda folder: PointShards(folder / "raw")), "name": "regime"},
        {"name": "word"}),
    "minibatch.MiniBatchShardKMeans": (
        {"shards": SHARDS, "n_clusters": 2, "max_iter": 1, "init_size": 100},
        {"n_clusters": "integer", "kinds": "kinds", "batch_size": "integer",
         "init_size": "integer", "max_iter": "integer", "tol": "number",
         "test_fraction": "number", "random_state": "seed"}),
    "minibatch.MiniBatchShardKMeans.fit": (
        {"self": MiniBatchShardKMeans(2, max_iter=1), "shards": SHARDS},
        {"shards": "shards", "progress": "progress"}),
    "minibatch.MiniBatchShardKMeans.predict": (
        {"self": Later(clustered), "X": np.ones((5, 4))}, {"X": "table"}),
    "minibatch.MiniBatchShardKMeans.save": (
        {"self": Later(clustered), "path": path_to("new.npz")}, {"path": "path"}),
    "minibatch.MiniBatchShardKMeans.load": ({"path": path_to("shards.npz")}, {"path": "path"}),
    "minibatch.label_shards": (
        {"shards": SHARDS, "model": Later(clustered), "name": "clusters"},
        {"shards": "shards", "model": "model", "name": "word", "progress": "progress"}),
    "minibatch.displacement_profiles": (
        {"points": SERIES, "labels": CLASSES}, {"points": "points", "labels": "numbers"}),
    "graph.neighbor_graph": (
        {"longitude": PLACE[0], "latitude": PLACE[1], "n_neighbors": 3, "bandwidth": 1000.0},
        {"longitude": "numbers", "latitude": "numbers"} | LINKS),
    "graph.smooth_features": (
        {"features": np.ones((20, 2)), "graph": GRAPH, "alpha": 0.5, "hops": 2},
        {"features": "table", "graph": "graph"} | SMOOTHING),
    "graph.smooth_shards": (
        {"source_folder": path_to("shards"), "target_folder": path_to("new"), "alpha": 0.5,
         "hops": 2, "n_neighbors": 3},
        {"source_folder": "path", "target_folder": "path", "kinds": "kinds",
         "shard_size": "integer"} | SMOOTHING | LINKS),
    "interimage.InterImageKMeans": (
        {"n_clusters": 2, "tol": 0.01},
        {"n_clusters": "integer", "init": "init", "n_init": "integer", "tol": "number",
         "criterion": "choice", "max_iter": "integer", "engine": "choice",
         "sample": "optional number", "sampling": "choice", "empty": "choice",
         "checkpoint": "optional path", "persist": "choice", "random_state": "random_state"}),
    "interimage.InterImageKMeans.fit": (
        {"self": Later(lambda _: InterImageKMeans(2, random_state=0)), "X": SCENE},
        {"X": "pixels"}),
    "interimage.InterImageKMeans.predict": ({"self": MODEL, "X": SCENE}, {"X": "pixels"}),
    "interimage.InterImageKMeans.save": (
        {"self": MODEL, "path": path_to("new.npz")}, {"path": "path"}),
    "interimage.InterImageKMeans.load": ({"path": path_to("scenes.npz")}, {"path": "path"}),
    "export.write_label_map": (
        {"path": path_to("new.tif"), "labels": LABELS, "time": "2017-10-22"},
        {"labels": "map"} | EXPORTED),
    "export.read_label_map": ({"path": path_to("map.tif")}, {"path": "path"}),
    "export.write_polygons": (
        {"path": path_to("new.gpkg"), "labels": LABELS, "time": "2017-10-22"},
        {"labels": "map", "dissolve": "switch"} | EXPORTED),
    "export.write_points": (
        {"path": path_to("new.parquet"), "points": SERIES, "labels": CLASSES},
        {"points": "points", "labels": "numbers", "kinds": "no kinds", "profiles": "profiles"}
        | EXPORTED),
    "plotting.style": ({}, {}),
    "plotting.plot_rgb": ({"scene": SCENE}, {"scene": "scene", "bands": "bands"} | FIGURE),
    "plotting.plot_labels": ({"labels": LABELS}, {"labels": "map", "names": "names"} | FIGURE),
    "plotting.plot_change": ({"change": change_map(MASK, MASK)}, {"change": "map"} | FIGURE),
    "plotting.plot_points": (
        {"points": POINTS, "values": CLASSES},
        {"points": "points", "values": "optional numbers", "names": "names"} | FIGURE),
    "plotting.plot_profiles": (
        {"profiles": cluster_profiles(SAMPLES, FLAT)},
        {"profiles": "points", "names": "names"} | FIGURE),
    "plotting.plot_series": (
        {"profiles": displacement_profiles(SERIES, CLASSES)},
        {"profiles": "points", "names": "names"} | FIGURE),
    "views.view_rgb": ({"scene": SCENE}, {"scene": "scene", "bands": "bands", "title": "text"}),
    "views.view_labels": (
        {"labels": LABELS},
        {"labels": "map", "names": "names", "title": "text", "tiles": "optional choice"}),
    "views.view_transitions": (
        {"before": LABELS, "after": AFTER},
        {"before": "map", "after": "map", "names": "names", "title": "text"}),
    "views.view_points": (
        {"points": POINTS, "labels": CLASSES},
        {"points": "points", "labels": "numbers", "names": "names", "title": "text",
         "tiles": "optional choice"}),
}  # fmt: skip
HOSTILE["reflectance"] = [*HOSTILE["scene"], *HOSTILE["reflectance"]]
HOSTILE["block"] = [*HOSTILE["integer"], ("blocks that take hours", 3, ValueError)]
HOSTILE["scene with values"] = [*HOSTILE["scene"], ("no value", SCENE * np.nan, ValueError)]
HOSTILE["optional crs"] = [
    case for case in HOSTILE["crs"][1:] if case[0] not in ("degrees", "a list")
]
HOSTILE["series with gaps"] = [case for case in HOSTILE["series"] if case[0] != "NaN"]
HOSTILE["optional path"] = HOSTILE["path"][1:]
HOSTILE["optional paths"] = HOSTILE["paths"][1:]
HOSTILE["optional numbers"] = HOSTILE["numbers"][1:]

ELSEWHERE = {  # what has no entry, and why
    "cli.run_command": "test_cli runs it with wrong arguments",
    "datasets.fetch": "test_download serves it files over a local HTTP server",
    "datasets.search_scenes": "test_stac searches a STAC API on the loopback interface",
    "datasets.ScenesReader": "the catalog makes the readers: test_stac",
    "datasets.SearchReader": "the catalog makes the readers: test_stac",
    "datasets.SceneReader": "the catalog makes the readers: test_catalog and test_datasets",
    "datasets.TruthReader": "the catalog makes the readers: test_catalog and test_datasets",
    "insar.PointsReader": "the catalog makes the readers: test_catalog and test_datasets",
    "insar.EGMSReader": "the catalog makes the readers: test_catalog and test_datasets",
    "datasets.SceneCatalog": "open_catalog makes it",
    "datasets.DataUnavailableError": "is an error",
    "datasets.UnknownDatasetError": "is an error",
    "minibatch.LabelCounts": "label_shards makes it",
    "accuracy.AccuracyTable": "accuracy_table makes it",
    "shards.Batch": "batches of PointShards makes it",
}
INSTEAD = {  # what is called instead of a class whose parameters are checked when it is fitted
    "interimage.InterImageKMeans": fit_kmeans,
    "minibatch.MiniBatchShardKMeans": fit_on_shards,
    "reservoir.ReservoirEmbedding": fit_embedding,
    "spectral.NystroemSpectralClustering": fit_spectral,
}


def public_names():
    """Yield the public functions, classes and methods of the package, as ``module.name``."""
    for module in pkgutil.iter_modules(cookbook_utils.__path__):
        if module.name.startswith("_"):
            continue
        found = importlib.import_module(f"cookbook_utils.{module.name}")
        for name, value in vars(found).items():
            here = getattr(value, "__module__", "").startswith(found.__name__)
            if name.startswith("_") or not here or not callable(value):
                continue
            if not (inspect.isfunction(value) or inspect.isclass(value)):
                continue
            yield f"{module.name}.{name}"
            for method, body in vars(value).items() if inspect.isclass(value) else ():
                if method[0] != "_" and (inspect.isfunction(body) or type(body) is classmethod):
                    yield f"{module.name}.{name}.{method}"


def documented(entry):
    """Return the class or function that a user sees."""
    module, *path = entry.split(".")
    return functools.reduce(getattr, path, importlib.import_module(f"cookbook_utils.{module}"))


def function_of(entry):
    return INSTEAD.get(entry) or documented(entry)


def made_in(folder, arguments):
    return {
        name: value.make(folder) if isinstance(value, Later) else value
        for name, value in arguments.items()
    }


def call(entry, arguments):
    """Call a function, and compute what it returns where that is lazy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function_of(entry)(**arguments)
        if entry.endswith(".batches"):
            return list(result)
        return result.compute() if isinstance(result, xr.DataArray | xr.Dataset) else result


@pytest.fixture
def folder(request, tmp_path):
    """An empty folder, or one of files that the test may alter where its entry takes some."""
    arguments = TABLE[request.node.callspec.params["entry"]][0].values()
    if any(isinstance(value, Later) for value in arguments):
        shutil.copytree(request.getfixturevalue("files"), tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def copies(files, tmp_path_factory):
    """A copy of the files that the tests of hostile input share, because they change nothing."""
    return shutil.copytree(files, tmp_path_factory.mktemp("shared") / "files")


@pytest.fixture(autouse=True)
def _leave_matplotlib_as_it_was(request):
    """Restore the options and close the figures of tests that draw some; all others save time."""
    entry = getattr(request.node, "callspec", None) and request.node.callspec.params["entry"]
    if not (entry or "").startswith(("plotting.", "views.")):
        yield
        return
    with matplotlib.rc_context():
        yield
    plt.close("all")


def times(folder):
    """Return the paths below a folder, with the size and the time of change of each file.

    It runs for thousands of tests: ``os.scandir`` takes a fifth of the time of ``Path.rglob``.
    """
    found = {}
    for entry in os.scandir(folder):
        if entry.is_dir():
            found[entry.path] = False
            found |= times(entry.path)
        else:
            status = entry.stat()
            found[entry.path] = status.st_size, status.st_mtime_ns
    return found


SHOWN = (
    "centers cluster_centers_ labels_ components_ mean_ counts n_points features "
    "n_features representation random_state confusion classes overall overall_interval"
).split()


def facts(result):
    """Return what a result says as arrays, to compare it with another."""
    if isinstance(result, dict | list) or result is None:
        return [result]
    if isinstance(result, str | int | float | np.ndarray | np.generic):
        return [np.asarray(result)]
    if isinstance(result, Path):
        return [sorted(path.name for path in result.rglob("*"))]
    if isinstance(result, xr.DataArray):
        return [result.transpose(*sorted(result.dims)).values]
    if isinstance(result, xr.Dataset):
        return [array for name in sorted(result.variables) for array in facts(result[name])]
    if isinstance(result, pd.DataFrame | pd.Series):
        return [np.asarray(result.index), result.to_numpy()]
    if isinstance(result, Axes):
        images = [image.get_array() for image in result.images]
        lines = [line.get_ydata() for line in result.lines]
        return [*images, *lines, *(dots.get_offsets() for dots in result.collections)]
    if isinstance(result, hv.core.Dimensioned):
        found = result.traverse(lambda element: element.columns(), [hv.Element])
        return [values for columns in found for values in columns.values()]
    if isinstance(result, tuple):
        return [array for one in result for array in facts(one)]
    if scipy.sparse.issparse(result):
        return [result.toarray()]
    found = [getattr(result, name) for name in SHOWN if hasattr(result, name)]
    return [array for one in found for array in facts(one)] or [list(result)]


def assert_same(one, two):
    assert len(one) == len(two) > 0
    for a, b in zip(one, two, strict=True):
        if isinstance(a, list | dict) or a is None:
            assert repr(a) == repr(b)
        elif np.asarray(a).dtype.kind in "biuf":
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(a, b)


# -- tests ------------------------------------------------------------------------------------


def test_the_table_has_every_public_function_class_and_method():
    public = set(public_names())
    assert {"interimage.InterImageKMeans.predict", "shards.PointShards.read"} <= public
    assert public == set(TABLE) | set(ELSEWHERE)
    assert not set(TABLE) & set(ELSEWHERE)


@pytest.mark.parametrize("entry", TABLE)
def test_every_parameter_has_hostile_arguments(entry):
    arguments, kinds = TABLE[entry]
    parameters = [
        name
        for name, parameter in inspect.signature(documented(entry)).parameters.items()
        if name not in ("self", "y") and parameter.kind is not parameter.VAR_KEYWORD
    ]
    assert set(parameters) <= set(kinds)
    assert set(kinds) - set(parameters) <= {"dynamic"}  # a kind of features of ShardWriter.append


@pytest.mark.parametrize("entry", TABLE)
def test_a_valid_call_succeeds(folder, entry):
    call(entry, made_in(folder, TABLE[entry][0]))


def fault_of(entry, given, name, error, folder):
    """Return what is wrong with the error that a call raises, None if nothing is."""
    before = times(folder)
    try:
        call(entry, given)
    except error as caught:
        place = traceback.extract_tb(caught.__traceback__)[-1].filename
        message = str(caught).replace(str(folder), "")
    except Exception as caught:
        return f"raises {caught!r}"
    else:
        return "raises nothing"
    if not place.startswith(PACKAGE):
        return f"raises in {place}: {message}"
    if not message or "\n" in message or len(message) >= MOST_TEXT:
        return f"raises no short line: {message}"
    if not re.search(rf"\b{name}\b", message):
        return f"does not name the parameter: {message}"
    if times(folder) != before:
        return "writes before it raises"
    return None


@pytest.mark.parametrize(
    ("entry", "name", "kind"),
    [
        pytest.param(entry, name, kind, id=f"{entry}-{name}")
        for entry, (_, kinds) in TABLE.items()
        for name, kind in kinds.items()
        if HOSTILE[kind]
    ],
)
def test_hostile_input_gets_one_line_of_this_package(copies, files, entry, name, kind):
    """All arguments of a kind in one test: a test for each would take twice as long."""
    faults, whole = {}, times(copies)
    for words, value, error in HOSTILE[kind]:
        given = made_in(copies, TABLE[entry][0]) | {name: value}
        if fault := fault_of(entry, given, name, error, copies):
            faults[words] = fault
        if times(copies) != whole:
            shutil.rmtree(copies)
            shutil.copytree(files, copies)
            whole = times(copies)
    assert faults == {}


def defaults(entry):
    parameters = inspect.signature(documented(entry)).parameters.values()
    return {p.name: p.default for p in parameters if p.default not in (None, p.empty)}


SIMULATED = ("name", "random_state", "n_points")  # go to the functions that simulate in memory, too
DEAR = ("simulate.write_", "simulate.simulate_site", "reservoir.embed_shards",
        "interimage.InterImageKMeans.fit-X-in chunks",
        "interimage.InterImageKMeans.predict-X-in chunks")  # fmt: skip


def marks_of(case):
    return [pytest.mark.slow] if case.startswith(DEAR) else []


def odd_cases():
    """Yield an entry and what to do with its arguments; all numbers and texts of NumPy at once."""
    for entry, (arguments, kinds) in TABLE.items():
        given = defaults(entry) | arguments
        changes = {}
        for name, kind in kinds.items():
            if name in given and not (".write_" in entry and name in SIMULATED):
                for words, make in ODD.get(kind, {}).items():
                    key = words if words.startswith("of NumPy") else f"{name}-{words}"
                    changes.setdefault(key, {})[name] = make
        for words, makes in changes.items():
            case = f"{entry}-{words}"
            yield pytest.param(entry, makes, id=case, marks=marks_of(case))


PLAIN = {}  # the result of each valid call, and the files that are there after it


@pytest.mark.parametrize(("entry", "makes"), [*odd_cases()])
def test_odd_input_gives_the_same_result(folder, tmp_path_factory, entry, makes):
    def called(folder, change=lambda arguments: None):
        arguments = made_in(folder, defaults(entry) | TABLE[entry][0])
        change(arguments)
        return facts(call(entry, arguments)), list(contents(folder))

    if entry not in PLAIN:
        other = tmp_path_factory.mktemp("plain")
        PLAIN[entry] = called(shutil.copytree(folder, other, dirs_exist_ok=True))
    result, files = called(
        folder, lambda given: given.update({name: makes[name](given[name]) for name in makes})
    )
    assert_same(result, PLAIN[entry][0])
    assert files == PLAIN[entry][1]
