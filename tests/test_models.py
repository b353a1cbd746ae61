"""Fitted models in files: the same labels, the same refusals, and nothing else is a model."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from cookbook_utils import __version__, _models, _npz
from cookbook_utils.interimage import InterImageKMeans
from cookbook_utils.minibatch import MiniBatchShardKMeans, label_shards
from cookbook_utils.reservoir import ReservoirEmbedding
from cookbook_utils.shards import PointShards, ShardWriter

from .factories import make_scene, without_fsync  # noqa: F401  fixture
from .test_interimage import cupy, engines, make_series  # noqa: F401  the stand-in of CuPy


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Modell für See.npz"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    random = np.random.default_rng(0)
    with ShardWriter(folder, {"dynamic": ["a", "b"], "static": ["höhe"]}) as writer:
        for start in range(0, 900, 300):
            at = np.arange(start, start + 300)
            values = random.normal(size=(300, 2)) + (at % 3)[:, np.newaxis] * 4
            values[0, 0] = np.nan
            writer.append(at, at / 900, at / 900, dynamic=values, static=values[:, :1] * 2)
    return PointShards(folder)


@pytest.fixture(scope="module")
def on_shards(shards):
    kinds = ["dynamic", "static"]
    return MiniBatchShardKMeans(np.int64(3), kinds=kinds, init_size=200).fit(shards)


def fitted(scenes, **options):
    return InterImageKMeans(4, **{"init": "midpoint", **options}).fit(scenes)


def labels_of(maps):
    return [np.asarray(getattr(one.data, "get", lambda one=one: one.data)()) for one in maps]


# -- the same model ----------------------------------------------------------------------------


@pytest.mark.slow
@engines
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_loaded_model_labels_to_the_bit_with_every_engine(engine, dtype, path):
    scenes = make_series(dtype=dtype)
    model = fitted(scenes, engine="numpy", checkpoint=path.with_name("fit.npz"))
    model.save(path)
    loaded = InterImageKMeans.load(path)
    assert (loaded.engine, loaded.checkpoint) == ("auto", None)
    loaded.set_params(engine=engine)
    others = make_series(seed=5, dtype=dtype)
    given = [scene.chunk(y=20) for scene in others] if engine == "dask" else others
    found, expected = labels_of(loaded.predict(given)), labels_of(model.predict(others))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)


def test_everything_of_a_fit_but_its_labels_is_kept(path):
    scenes = make_series()
    init = np.linspace(5000, 40000, 16).reshape(4, 4)
    model = fitted(scenes, init=init, sample=0.5, random_state=3, max_iter=np.int32(7))
    model.save(path)
    loaded = InterImageKMeans.load(path)
    for name, value in vars(model).items():
        if name not in ("labels_", "engine", "checkpoint", "_traits"):
            np.testing.assert_array_equal(getattr(loaded, name), value, err_msg=name)
    assert not hasattr(loaded, "labels_")
    assert loaded._traits == model._traits
    again = clone(loaded).fit(scenes)
    np.testing.assert_array_equal(again.cluster_centers_, model.cluster_centers_)
    loaded.save(path)
    assert InterImageKMeans.load(path)._traits == model._traits


def test_a_loaded_model_refuses_and_warns_as_the_fitted_one(path):
    scene = make_scene()
    model = InterImageKMeans(2, random_state=np.random.RandomState(0)).fit(scene)
    model.save(path)
    numbers = (scene * 1e4).astype("int16").assign_attrs(units="digital number")
    cases = [
        scene.isel(band=[1, 0, 2, 3, 4, 5]),
        scene.isel(band=slice(3)),
        numbers.assign_attrs(scale_factor=1e-4),
        scene.drop_vars(["band", "number", "wavelength"]),
        scene.assign_attrs(units=None),
        scene.values.reshape(6, -1).T,
    ]

    def answer(estimator, given):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = np.asarray(estimator.predict(given)).tolist()
            except ValueError as error:
                found = str(error)
        return found, [str(warning.message) for warning in caught]

    loaded = InterImageKMeans.load(path)
    for given in cases:
        assert answer(loaded, given) == answer(model, given)
    for given in cases[:3]:
        with pytest.raises(ValueError, match="X must "):
            loaded.predict(given)


@pytest.mark.parametrize("kind", ["array", "frame", "numbers as bands"])
def test_models_of_tables_and_of_numbered_bands(kind, path):
    table = np.random.default_rng(0).normal(size=(60, 3))
    given = {
        "array": table,
        "frame": pd.DataFrame(table, columns=["grün", "rot", "nir"]),
        "numbers as bands": xr.DataArray(table, {"band": [4, 3, 2]}, ("pixel", "band")),
    }[kind]
    model = InterImageKMeans(3, random_state=1).fit(given)
    model.save(path)
    loaded = InterImageKMeans.load(path)
    np.testing.assert_array_equal(loaded.predict(given), model.predict(given))
    assert loaded.n_features_in_ == 3
    assert hasattr(loaded, "feature_names_in_") == hasattr(model, "feature_names_in_")


def test_a_loaded_model_of_shards_labels_to_the_bit(shards, on_shards, path):
    on_shards.save(path)
    loaded = MiniBatchShardKMeans.load(path)
    one, two = (label_shards(shards, model, "k") for model in (on_shards, loaded))
    first = shards.read_labels("k").values
    pd.testing.assert_frame_equal(one.counts, two.counts)
    pd.testing.assert_series_equal(one.inertia, two.inertia)
    label_shards(shards, on_shards, "k")
    np.testing.assert_array_equal(shards.read_labels("k").values, first)
    pd.testing.assert_frame_equal(loaded.history_, on_shards.history_)
    for name, value in vars(on_shards).items():
        if name not in ("history_", "kinds"):
            np.testing.assert_array_equal(getattr(loaded, name), value, err_msg=name)
    assert loaded.kinds == ("dynamic", "static")
    with pytest.raises(ValueError, match="X must have the features that the model was fitted on"):
        loaded.predict(pd.DataFrame(np.ones((2, 3)), columns=["a", "b", "c"]))


def test_the_same_model_gives_the_same_bytes(path):
    model = fitted(make_series())
    model.save(path)
    before = path.read_bytes()
    model.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# -- other files -------------------------------------------------------------------------------


@pytest.fixture
def saved(path):
    fitted(make_series()).save(path)
    return path


def rewrite(path, **changes):
    """Change entries of the header, and write a file whose checksum is right."""
    arrays = _npz.load_arrays(path, largest=2**20)
    header = json.loads(str(arrays.pop("model"))) | changes
    _npz.save_arrays(path, {"model": np.asarray(json.dumps(header)), **arrays})
    return header, arrays


def test_the_file_holds_versions_and_no_pickle(saved):
    with np.load(saved, allow_pickle=False) as arrays:
        header = json.loads(str(arrays["model"]))
        assert {arrays[name].dtype.kind for name in arrays} == {"U", "f", "i"}
    assert header["version"] == __version__ and header["format"] == _models.FORMAT
    assert header["facts"]["bands"] == ["blue", "green", "red", "nir"]


def test_a_newer_format_is_refused_by_name(saved):
    rewrite(saved, format=_models.FORMAT + 1, version="2031.1")
    with pytest.raises(ValueError, match=r"path must be .* newer than .*: install version 2031\.1"):
        InterImageKMeans.load(saved)


def test_models_of_another_class_are_refused(shards, on_shards, saved):
    with pytest.raises(ValueError, match="holds a InterImageKMeans: load it with InterImageKMeans"):
        MiniBatchShardKMeans.load(saved)
    on_shards.save(saved)
    with pytest.raises(ValueError, match="holds a MiniBatchShardKMeans: load it with"):
        InterImageKMeans.load(saved)
    ReservoirEmbedding(2).fit(np.random.default_rng(0).normal(size=(9, 20))).save(saved)
    for cls in (InterImageKMeans, MiniBatchShardKMeans):
        with pytest.raises(ValueError, match=rf"path must be a file that {cls.__name__}\.save"):
            cls.load(saved)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"text", pickle.dumps(np.arange(3)), b"\x93NUMPY\x01\x00"],
    ids=["empty", "the start of a zip", "text", "a pickle", "the start of an array"],
)
def test_other_files_are_refused(content, path):
    path.write_bytes(content)
    for cls in (InterImageKMeans, MiniBatchShardKMeans):
        with pytest.raises(ValueError, match=r"path must be .*, which is damaged or something"):
            cls.load(path)


def test_a_pickle_inside_the_archive_is_not_loaded(path):
    np.savez(path, model=np.asarray([{"kind": print}], object), digest=np.asarray("0"))
    with pytest.raises(ValueError, match="which is damaged or something else"):
        InterImageKMeans.load(path)


def test_flipped_bits_and_cut_files_are_refused(saved):
    whole = saved.read_bytes()
    expected = InterImageKMeans.load(saved).cluster_centers_
    random = np.random.default_rng(0)
    for at in random.integers(0, len(whole), 150):
        data = bytearray(whole)
        data[at] ^= 1 << random.integers(8)
        saved.write_bytes(data if at % 3 else whole[:at])
        try:
            loaded = InterImageKMeans.load(saved)
        except ValueError as error:
            assert "path must be a file that InterImageKMeans.save wrote" in str(error)
        else:  # a bit that does not matter, such as a date in the archive
            np.testing.assert_array_equal(loaded.cluster_centers_, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("facts", {}),
        ("facts", []),
        ("format", "new"),
        ("facts", {"parameters": {"n_clusters": -1, "init": "midpoint"}}),
        ("facts", {"parameters": {"n_clusters": 4, "init": "midpoint", "unknown": 3}}),
    ],
)
def test_headers_without_a_model_are_refused(saved, name, value):
    rewrite(saved, **{name: value})
    with pytest.raises(ValueError, match="path must be a file that InterImageKMeans.save wrote"):
        InterImageKMeans.load(saved)


def test_arrays_of_other_shapes_are_refused(saved):
    arrays = _npz.load_arrays(saved, largest=2**20)
    for centers in (np.ones((3, 4)), np.full((4, 4), np.nan), np.ones(4), np.full((4, 4), "a")):
        _npz.save_arrays(saved, arrays | {"centers": centers})
        with pytest.raises(ValueError, match="path must be .* (whose centers|lacks a part)"):
            InterImageKMeans.load(saved)


def test_a_model_too_large_to_be_read_is_not_saved(path, monkeypatch):
    monkeypatch.setattr("cookbook_utils._models.LARGEST_MODEL", 100)
    with pytest.raises(ValueError, match="at most 100 bytes of arrays to be saved, got"):
        fitted(make_series(1)).save(path)
    assert not path.exists()


def test_what_cannot_be_saved_or_found(tmp_path, path):
    for model in (InterImageKMeans(2), MiniBatchShardKMeans(2)):
        with pytest.raises(NotFittedError):
            model.save(path)
        with pytest.raises(FileNotFoundError, match="path must be a file that .* got no file"):
            type(model).load(path)
        with pytest.raises(FileNotFoundError, match="got no file"):
            type(model).load(tmp_path)
    fit = fitted(make_series())
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fit.save(tmp_path / "no" / "model.npz")
    with pytest.raises(OSError, match="cannot write"):
        (tmp_path / "folder").mkdir()
        fit.save(tmp_path / "folder")
    dates = np.array(["2020-01-01", "2020-01-02"], "M8[ns]")
    table = xr.DataArray(np.arange(18.0).reshape(9, 2) ** 2, {"band": dates}, ("pixel", "band"))
    model = InterImageKMeans(2, random_state=0).fit(table)
    try:
        model.save(path)
    except ValueError as error:
        assert "names of bands must be text or numbers" in str(error)
    else:
        assert InterImageKMeans.load(path)._traits == model._traits
