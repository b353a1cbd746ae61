"""Embeddings equal those of the package, for any blocks, in files and in shards."""

from __future__ import annotations

import re
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import threadpoolctl
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from cookbook_utils import _npz
from cookbook_utils.insar import fill_gaps
from cookbook_utils.reservoir import (
    INPUT_SCALING,
    RIDGE,
    SPECTRAL_RADIUS,
    ReservoirEmbedding,
    embed,
    embed_series,
    embed_shards,
    estimator,
    network,
)
from cookbook_utils.shards import PointShards, ShardWriter
from cookbook_utils.simulate import simulate_site

DATES = np.arange("2020-01-01", "2020-09-01", 6, dtype="datetime64[D]")


def make_series(n):
    random = np.random.default_rng(0)
    velocity = random.choice([0, -0.3, 0.5], n)[:, np.newaxis]
    wave = random.choice([0, 4], n)[:, np.newaxis] * np.sin(np.arange(len(DATES)) / 4)
    return velocity * np.arange(len(DATES)) + wave + random.normal(0, 1, (n, len(DATES)))


def write_raw(folder, series, *, shard_size=50):
    names = {"displacement": DATES.astype(str).tolist(), "static": ["height"]}
    at = np.arange(len(series))
    with ShardWriter(folder, names, shard_size=shard_size, attrs={"site": "here"}) as writer:
        writer.append(at, at / 1000, at / 500, displacement=series, static=at[:, np.newaxis])
    return folder


@pytest.fixture(scope="module")
def series():
    return make_series(130)


@pytest.fixture(scope="module", params=["motion", "curve", "readout", "last"])
def embedding(request, series):
    return ReservoirEmbedding(10, representation=request.param).fit(series)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 130), max_size=5).map(sorted))
def test_same_bits_whatever_the_block(embedding, series, cuts):
    blocks = np.split(series, cuts)
    found = np.concatenate([embedding.transform(block) for block in blocks])
    np.testing.assert_array_equal(found, embedding.transform(series))


def test_same_bits_in_any_order(embedding, series):
    order = np.random.default_rng(1).permutation(len(series))
    np.testing.assert_array_equal(
        embedding.transform(series[order]), embedding.transform(series)[order]
    )


def package_reservoir(random_state):
    from reservoir_computing.reservoir import Reservoir

    np.random.seed(random_state)  # noqa: NPY002  the package draws from the global generator
    return Reservoir(100, spectral_radius=SPECTRAL_RADIUS, input_scaling=INPUT_SCALING)


@pytest.mark.parametrize("random_state", [0, 1, 2**32 - 1])
def test_the_reservoir_is_the_one_that_the_package_draws(series, random_state):
    embedding = ReservoirEmbedding(4, representation="readout", random_state=random_state)
    embedding.fit(series[:8])
    theirs = package_reservoir(random_state)
    states = theirs.get_states(series[:32, :, np.newaxis] / 10, bidir=False)
    np.testing.assert_array_equal(embedding.internal_weights_, theirs._internal_weights)
    np.testing.assert_array_equal(embedding.input_weights_, theirs._input_weights[:, 0])
    found = network.run_reservoir(
        series[:32] / 10, embedding.internal_weights_, embedding.input_weights_
    )
    np.testing.assert_array_equal(found, states)


@pytest.mark.parametrize("ours, theirs", [("readout", "output"), ("last", "last")])
def test_features_are_those_of_the_package(series, ours, theirs):
    from reservoir_computing.modules import RC_model

    embedding = ReservoirEmbedding(8, representation=ours).fit(series)
    model = RC_model(
        reservoir=package_reservoir(0),
        dimred_method="pca",
        n_dim=8 - (ours == "readout"),
        mts_rep=theirs,
        w_ridge_embedding=RIDGE,
        readout_type=None,
    )
    scaled = series - series.mean(axis=1, keepdims=True)
    model.fit(scaled[..., np.newaxis] / embedding.scale_, verbose=False)
    found = embedding.transform(series)
    # The signs of principal components are arbitrary.
    signs = np.sign((found * model.input_repr).sum(axis=0))
    np.testing.assert_allclose(found, model.input_repr * signs, rtol=1e-3, atol=1e-5)


def test_random_state_decides(series):
    one, same, other = (embedded(series, random_state=number) for number in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other, atol=1e-3)


def embedded(series, **options):
    displacement = xr.DataArray(series, dims=("point", "time"))
    return embed_series(displacement, n_features=10, **options).values


def test_it_is_an_estimator_of_scikit_learn(series):
    embedding = clone(ReservoirEmbedding(5, representation="last", random_state=3))
    assert embedding.get_params() == {"n_features": 5, "representation": "last", "random_state": 3}
    expected = embedding.fit(series).transform(series)
    np.testing.assert_array_equal(clone(embedding).fit_transform(series), expected)


def test_global_random_numbers_are_left_alone(series):
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    ReservoirEmbedding(4).fit(series[:8]).transform(series[:2])
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002


@pytest.mark.slow
def test_same_bits_in_threads_while_others_draw_from_the_global_generator(series):
    expected = ReservoirEmbedding(6).fit(series).transform(series)
    before = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    done = threading.Event()

    def disturb():
        while not done.is_set():
            np.random.seed(5)  # noqa: NPY002
            np.random.random(50)  # noqa: NPY002

    other = threading.Thread(target=disturb)
    other.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            embeddings = list(pool.map(lambda _: ReservoirEmbedding(6).fit(series), range(12)))
            found = list(pool.map(lambda e: e.transform(series), embeddings))
    finally:
        done.set()
        other.join()
    for features in found:
        np.testing.assert_array_equal(features, expected)
    assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == before


def test_reference_date_does_not_matter_but_size_does(embedding, series):
    features = embedding.transform(series)
    np.testing.assert_allclose(embedding.transform(series + 12.5), features, atol=1e-5)
    assert np.abs(embedding.transform(3 * series) - features).max() > 0.01


@pytest.mark.parametrize("representation", ["motion", "readout", "last"])
def test_signs_are_fixed(series, representation):
    components = ReservoirEmbedding(6, representation=representation).fit(series).components_
    assert np.all(components.max(axis=1) == np.abs(components).max(axis=1))


def test_embedding_tells_motions_apart():
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    series = make_series(150)
    truth = np.unique(np.random.default_rng(0).choice([0, -0.3, 0.5], 150), return_inverse=True)[
        1
    ]  # the first draw of make_series
    features = embedded(series)
    labels = KMeans(3, n_init=5, random_state=0).fit_predict(features / features.std(axis=0))
    assert adjusted_rand_score(truth, labels) > 0.3


def test_saved_and_loaded(tmp_path, embedding, series):
    embedding.save(tmp_path / "e.npz")
    loaded = ReservoirEmbedding.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(loaded.transform(series), embedding.transform(series))
    assert [p.name for p in tmp_path.iterdir()] == ["e.npz"]
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        assert all(array.dtype != object for array in arrays.values())


def test_loaded_weights_are_the_saved_ones(tmp_path, embedding, series, monkeypatch):
    """Also if another version of NumPy draws other numbers."""
    embedding.save(tmp_path / "e.npz")
    monkeypatch.setattr(estimator, "draw_reservoir", None)
    loaded = ReservoirEmbedding.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(loaded.transform(series), embedding.transform(series))


@pytest.fixture
def saved(tmp_path, series):
    path = tmp_path / "e.npz"
    ReservoirEmbedding(6).fit(series[:20]).save(path)
    return path


def assert_refused(path, *, match=""):
    message = rf"e\.npz is damaged, or not an embedding .*{match}.*; make it again"
    with pytest.raises(ValueError, match=message) as error:
        ReservoirEmbedding.load(path)
    assert "\n" not in str(error.value)


def test_a_file_cut_anywhere_is_refused(saved):
    whole = saved.read_bytes()
    for size in [0, 1, 30, *np.linspace(100, len(whole) - 1, 15, dtype=int)]:
        saved.write_bytes(whole[:size])
        assert_refused(saved)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_that_claims_to_be_packed_in_another_way_is_refused(saved, method):
    whole = bytearray(saved.read_bytes())
    for start, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):  # the method of each header
        for found in re.finditer(re.escape(start), bytes(whole)):
            whole[found.start() + at] = method
    saved.write_bytes(whole)
    assert_refused(saved)


def test_no_flipped_bit_gets_through(saved, series):
    """Every bit is covered by the checksum or, like time stamps of the zip, has no effect."""
    whole = saved.read_bytes()
    expected = ReservoirEmbedding.load(saved).transform(series)
    random, refused = np.random.default_rng(0), 0
    for at in [*range(0, 200, 3), *random.integers(len(whole), size=100)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << random.integers(8)
        saved.write_bytes(damaged)
        try:
            found = ReservoirEmbedding.load(saved).transform(series)
        except ValueError as error:
            assert "is damaged, or not an embedding" in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(found, expected)
    assert refused > 50


def altered(saved, **changes):
    """Replace arrays of a file and keep its digest."""
    with np.load(saved) as archive:
        arrays = dict(archive) | changes
    np.savez(saved, **arrays)
    return saved


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": np.asarray(2.0)}, "checksum does not match its content"),
        ({"random_state": np.asarray(5)}, "checksum does not match its content"),
        ({"mean": np.array([{}], object)}, "allow_pickle"),
        ({"mean": np.zeros(2**18)}, "2[0-9]* bytes, expected at most"),
    ],
)
def test_other_arrays_are_refused(saved, changes, message):
    assert_refused(altered(saved, **changes), match=message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_features", np.asarray(7)),
        ("n_features", np.asarray(2.5)),
        ("representation", np.asarray("mean")),
        ("random_state", np.asarray(-1)),
        ("ridge", np.asarray(1.0)),
        ("mean", np.full(100, np.nan)),
        ("components", np.zeros((3, 100))),
        ("mixing", np.zeros((6, 5))),
        ("coefficient_variances", np.zeros(3)),
        ("coefficient_variances", np.asarray(1.0)),
        ("period", np.array([0, np.inf])),
    ],
)
def test_arrays_that_fit_no_embedding_are_refused(saved, name, value):
    """Also with the right checksum."""
    with np.load(saved) as archive:
        arrays = {key: archive[key] for key in archive if key != "digest"} | {name: value}
    assert_refused(altered(saved, **arrays, digest=np.asarray(_npz.digest_of(arrays))))


def test_files_of_another_kind_are_refused(saved, tmp_path):
    np.save(tmp_path / "e.npy", np.zeros(3))
    (tmp_path / "e.npy").rename(saved)
    assert_refused(saved)
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert_refused(saved, match="digest")
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing.npz"):
        ReservoirEmbedding.load(tmp_path / "nothing.npz")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        ReservoirEmbedding.load(tmp_path)


def test_a_save_that_fails_leaves_the_old_file_and_no_other(saved, series, monkeypatch):
    before = saved.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        ReservoirEmbedding(6).fit(series).save(saved)
    assert saved.read_bytes() == before and [p.name for p in saved.parent.iterdir()] == ["e.npz"]


def test_a_save_into_no_folder_is_refused(tmp_path, series):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nothing to write e.npz to"):
        ReservoirEmbedding(6).fit(series).save(tmp_path / "nothing" / "e.npz")


def test_what_is_not_fitted_neither_embeds_nor_saves(tmp_path, series):
    for call in (lambda e: e.transform(series), lambda e: e.save(tmp_path / "e.npz")):
        with pytest.raises(NotFittedError):
            call(ReservoirEmbedding(4))
    assert not list(tmp_path.iterdir())


def test_coordinates_stay(series):
    displacement = xr.DataArray(
        series.T, {"time": DATES, "pid": ("point", np.arange(130))}, dims=("time", "point")
    )
    features = embed_series(displacement, n_features=np.int64(5))
    assert features.dims == ("point", "feature") and features.dtype == np.float32
    assert "pid" in features.coords and "time" not in features.coords
    embedding = ReservoirEmbedding(5).fit(series, time=DATES)
    np.testing.assert_array_equal(features, embedding.transform(series, time=DATES))


@pytest.mark.parametrize("n", [2049, 5000, 10**7])
def test_fitted_on_a_sample_from_everywhere(n):
    everything = np.arange(n)
    rows = np.concatenate([everything[rows] for rows in embed._sample(n)])
    assert len(rows) == len(np.unique(rows)) == 2048
    assert rows[0] == 0 and n - rows[-1] < n / 20


def test_gaps_are_an_error_unless_the_calendar_drives_the_reservoir(series):
    gappy = series.copy()
    gappy[[3, 5], 4] = np.nan
    with pytest.raises(
        ValueError, match="displacement without gaps, got 2 of 130 .*insar.fill_gaps"
    ):
        embedded(gappy, representation="readout")
    with pytest.raises(ValueError, match="without gaps, got 1 of 4"):
        ReservoirEmbedding(4, representation="last").fit(series).transform(gappy[:4])


def test_bad_options(series):
    with pytest.raises(ValueError, match="n_features must be an integer from 2 to 100, got 101"):
        ReservoirEmbedding(101).fit(series)
    with pytest.raises(ValueError, match="one of 'motion', 'curve', 'readout', 'last', got 'mean'"):
        ReservoirEmbedding(representation="mean").fit(series)
    with pytest.raises(ValueError, match="random_state must be an integer from 0 .*, got -1"):
        ReservoirEmbedding(random_state=-1).fit(series)
    for wrong in (
        {"n_features": 8.0},
        {"n_features": True},
        {"random_state": 1.5},
        {"random_state": None},
    ):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be an integer"):
            ReservoirEmbedding(**wrong).fit(series)
    with pytest.raises(ValueError, match="series that vary, got only constant ones"):
        ReservoirEmbedding(4).fit(np.ones_like(series))
    with pytest.raises(ValueError, match="at least two dates"):
        ReservoirEmbedding(4).fit(series[:, :1])
    with pytest.raises(ValueError, match="at least 100 values"):
        ReservoirEmbedding(4).fit(series[:2, :5])
    with pytest.raises(ValueError, match="displacement must have the dimensions"):
        embed_series(xr.DataArray(series))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda x: x.astype(str), TypeError, "real numbers"),
        (lambda x: x.astype(complex), TypeError, "real numbers"),
        (lambda x: x.astype(object), TypeError, "real numbers"),
        (lambda x: np.ma.masked_array(x, x > 1), TypeError, "without a mask"),
        (lambda x: [[1, 2], [3]], ValueError, "array of numbers"),
        (lambda x: x[0], ValueError, "the shape"),
        (lambda x: x[:0], ValueError, "100 values"),
        (lambda x: np.where(x > 1, np.inf, x), ValueError, "finite, or NaN in gaps"),
        (lambda x: np.full_like(x, np.nan), ValueError, "100 values"),
        (lambda x: x * 1e200, ValueError, "finite in float32"),
        (lambda x: None, TypeError, "real numbers"),
    ],
)
def test_series_that_are_none_are_refused(series, wrong, error, message):
    with pytest.raises(error, match=message):
        ReservoirEmbedding(4).fit(wrong(series))


def test_series_far_larger_than_those_fitted_are_refused(series):
    embedding = ReservoirEmbedding(4).fit(series * 1e-9)
    with pytest.raises(ValueError, match="got 1 of 2 whose features overflow float32"):
        embedding.transform([series[0] * 1e-9, series[1] * 1e36])


@pytest.mark.parametrize(
    ("time", "error", "message"),
    [
        (DATES[::-1].astype("M8[ns]"), ValueError, "must be strictly increasing, got .* after"),
        (np.repeat(DATES[:1], len(DATES)).astype("M8[ns]"), ValueError, "be strictly increasing"),
        (np.where(DATES == DATES[3], np.datetime64("NaT"), DATES).astype("M8[ns]"), ValueError,
         "NaT"),
        (DATES.astype(str), TypeError, "datetime64 without a time zone"),
        (np.arange(len(DATES)), TypeError, "datetime64"),
        (pd.DatetimeIndex(DATES.astype("M8[ns]"), tz="UTC"), TypeError, "without a time zone"),
    ],
)  # fmt: skip
def test_dates_of_series_rise(series, time, error, message):
    displacement = xr.DataArray(series, {"time": time}, dims=("point", "time"))
    with pytest.raises(error, match=message):
        embed_series(displacement)


def test_a_declared_nodata_value_is_a_gap_in_series(series):
    displacement = xr.DataArray(
        np.where(series > 5, -9999, series), dims=("point", "time"), attrs={"nodata": -9999}
    )
    with pytest.raises(ValueError, match="without gaps"):
        embed_series(displacement, representation="readout")
    gappy = displacement.where(displacement != -9999)
    np.testing.assert_array_equal(embed_series(displacement), embed_series(gappy))


# -- motion -----------------------------------------------------------------------------------


def smooth_motions(n, dates):
    """Return a rate, an acceleration or a season for each of `n` series, without noise, in mm."""
    random = np.random.default_rng(4)
    year = (dates - dates[0]) / np.timedelta64(1, "D") / 365.25
    rate, acceleration, season = random.normal(0, [[10], [3], [6]], (3, n))[..., np.newaxis]
    return rate * year + acceleration * year**2 + season * np.cos(2 * np.pi * year)


SIX_YEARS = np.arange("2016-01-04", "2022-01-01", 6, dtype="datetime64[D]")


def is_winter(dates):
    month = dates.astype("datetime64[M]").astype(int) % 12
    return (month < 4) | (month > 9)


def test_series_with_snow_gaps_lie_near_the_complete_ones():
    """The reservoir runs on over winter, while interpolated lines cut off half of each year."""
    complete = smooth_motions(300, SIX_YEARS)
    complete += np.random.default_rng(5).normal(0, 2, complete.shape)
    winter = is_winter(SIX_YEARS)
    gappy = np.where(winter, np.nan, complete)
    filled = fill_gaps(
        xr.Dataset(
            {"displacement": (("point", "time"), gappy)}, {"time": SIX_YEARS.astype("M8[ns]")}
        )
    ).displacement.values
    embedding = ReservoirEmbedding().fit(complete, time=SIX_YEARS)
    expected = embedding.transform(complete, time=SIX_YEARS)
    size = np.linalg.norm(expected - expected.mean(axis=0), axis=1).mean()

    def distance(found):
        return np.linalg.norm(found - expected, axis=1).mean() / size

    seen = distance(embedding.transform(gappy, time=SIX_YEARS))
    assert seen < 0.15
    assert distance(embedding.transform(filled, time=SIX_YEARS)) > 3 * seen
    without = embedding.transform(complete[:, ~winter], time=SIX_YEARS[~winter])
    np.testing.assert_allclose(without, embedding.transform(gappy, time=SIX_YEARS), atol=1e-4)


def test_irregular_dates_are_dates():
    """Every other date, and dates that become rarer, give the motion of all dates."""
    series = smooth_motions(300, SIX_YEARS)
    series += np.random.default_rng(5).normal(0, 1, series.shape)
    embedding = ReservoirEmbedding(16).fit(series, time=SIX_YEARS)
    expected = embedding.transform(series, time=SIX_YEARS)
    half = np.arange(len(SIX_YEARS)) < len(SIX_YEARS) // 2
    for kept in (np.arange(len(SIX_YEARS)) % 2 == 0, half | (np.arange(len(SIX_YEARS)) % 3 == 0)):
        found = embedding.transform(series[:, kept], time=SIX_YEARS[kept])
        assert np.abs(found - expected).mean() < 0.15 * expected.std()


def test_dates_matter_and_lie_within_those_of_the_fit(series):
    embedding = ReservoirEmbedding(6).fit(series, time=DATES)
    features = embedding.transform(series, time=DATES)
    in_ns = embedding.transform(series, time=DATES.astype("datetime64[ns]"))
    np.testing.assert_array_equal(in_ns, features)
    bunched = DATES[0] + (DATES - DATES[0]) // 2
    assert np.abs(embedding.transform(series, time=bunched) - features).max() > 0.1
    with pytest.raises(ValueError, match="2020-01-01 to 2020-08-28, got 2020-01-02 to 2020-08-29"):
        embedding.transform(series, time=DATES + 1)
    for time, error, message in [
        (DATES[:-1], ValueError, r"shape \(41,\), got \(40,\)"),
        (DATES[::-1], ValueError, "strictly increasing"),
        (np.where(DATES == DATES[3], np.datetime64("NaT"), DATES), ValueError, "NaT"),
        (DATES.astype(str), TypeError, "must hold dates"),
        (np.arange(len(DATES)), TypeError, "must hold dates"),
    ]:
        with pytest.raises(error, match=message):
            ReservoirEmbedding(6).fit(series, time=time)


def test_noise_does_not_sort_points_into_clusters():
    """Clusters mix quiet and noisy points with the same motions; those of the readout do not."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score

    is_noisy = np.arange(400) % 2
    motion = np.repeat(smooth_motions(200, SIX_YEARS), 2, axis=0) / 8
    noise = np.random.default_rng(6).normal(0, 1, motion.shape)
    series = motion + noise * np.where(is_noisy, 5, 1)[:, np.newaxis]
    known = {}
    for representation in ("motion", "readout"):
        embedding = ReservoirEmbedding(representation=representation).fit(series, time=SIX_YEARS)
        x = embedding.transform(series, time=SIX_YEARS)
        labels = KMeans(6, n_init=4, random_state=0).fit_predict(x / x.std(axis=0))
        known[representation] = adjusted_mutual_info_score(is_noisy, labels)
    assert known["motion"] < 0.02 < 0.1 < known["readout"]


def test_standardizing_the_features_changes_nothing(series):
    features = ReservoirEmbedding().fit(series, time=DATES).transform(series, time=DATES)
    deviation = features.std(axis=0)
    np.testing.assert_allclose(deviation, deviation.mean(), rtol=0.02)


def test_series_with_few_observations_lie_near_the_mean(series):
    embedding = ReservoirEmbedding(8).fit(series)
    features = embedding.transform(series)
    gappy = np.full((3, len(DATES)), np.nan)
    gappy[0], gappy[1, 4] = series[0], 7
    found = embedding.transform(gappy)
    np.testing.assert_array_equal(found[0], features[0])
    np.testing.assert_allclose(found[1], 0, atol=1e-6)
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize("n_dates", [2, 3, 10])
def test_few_dates_give_few_components_but_all_features(n_dates, tmp_path):
    series = make_series(200)[:, :n_dates]
    embedding = ReservoirEmbedding(12).fit(series, time=DATES[:n_dates])
    features = embedding.transform(series, time=DATES[:n_dates])
    assert np.isfinite(features).all() and (features.std(axis=0) > 0).all()
    assert len(embedding.components_) == min(12, n_dates - 1)
    embedding.save(tmp_path / "e.npz")
    loaded = ReservoirEmbedding.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(loaded.transform(series, time=DATES[:n_dates]), features)


@pytest.mark.slow
@pytest.mark.parametrize("site", ["insar_lyngen", "insar_nordnes", "insar_svalbard"])
def test_clusters_follow_motion_on_the_simulated_sites(site):
    """Clusters explain more of the motion than those of series, and of the noise no more.

    Those of the curve, in which the jumps of snow gaps count, find the regimes.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    points = simulate_site(site, n_points=4000)
    filled = fill_gaps(points).displacement
    attributes = motions_and_noise(points)
    spaces = {
        "motion": embed_series(points.displacement),
        "curve": embed_series(points.displacement, representation="curve"),
        "readout": embed_series(filled, representation="readout"),
        "series": filled - filled.mean("time"),
    }
    score, share = {}, {}
    for name, x in spaces.items():
        x = (x - x.mean("point")) / x.std("point")
        labels = KMeans(6, n_init=10, random_state=0).fit_predict(x.values)
        score[name] = adjusted_rand_score(points.regime, labels)
        means = attributes.groupby(labels).transform("mean")
        share[name] = means.var() / attributes.var()
    gain = share["motion"] - share["series"]
    motions = gain[["velocity", "acceleration", "season"]]
    assert motions.mean() > 0 and motions.min() > -0.08  # random states differ by as much
    assert gain["noise"] < 0.01
    assert score["curve"] > score["readout"] + 0.03
    assert score["curve"] > score["series"] - 0.01


def motions_and_noise(points):
    """Fit velocity, acceleration, amplitude of the season and noise to the observed dates."""
    year = ((points.time - points.time[0]) / np.timedelta64(1, "D")).values / 365.25
    t, angle = year - year.mean(), 2 * np.pi * year
    model = np.stack([t**0, t, t**2, np.cos(angle), np.sin(angle)], axis=1)
    rows = []
    for series in points.displacement.values:
        seen = np.isfinite(series)
        found, *_ = np.linalg.lstsq(model[seen], series[seen])
        left = series[seen] - model[seen] @ found
        rows.append([found[1], found[2], np.hypot(*found[3:]), left.std()])
    return pd.DataFrame(rows, columns=["velocity", "acceleration", "season", "noise"])


def test_jumps_count_less_in_the_motion_than_in_the_curve():
    series = smooth_motions(300, SIX_YEARS)
    series += np.random.default_rng(6).normal(0, 1, series.shape)
    between = (SIX_YEARS > SIX_YEARS[100]) & (SIX_YEARS < SIX_YEARS[250])
    is_late = np.arange(300) % 2
    series += 27.7 * is_late[:, np.newaxis] * between
    share = {}
    for representation in ("motion", "curve"):
        x = ReservoirEmbedding(representation=representation).fit(series, time=SIX_YEARS)
        x = x.transform(series, time=SIX_YEARS)
        among = x[is_late == 1].mean(axis=0) - x[is_late == 0].mean(axis=0)
        share[representation] = (among**2).sum() / x.var(axis=0).sum()
    assert share["motion"] < 0.75 * share["curve"]


# -- shards -----------------------------------------------------------------------------------


@pytest.fixture
def gappy(series):
    values = series.astype(np.float32)
    values[np.random.default_rng(2).random(values.shape) < 0.1] = np.nan
    values[77] = np.nan
    return values


@pytest.mark.parametrize("representation", ["motion", "readout"])
@pytest.mark.parametrize("block, shard_size", [(4096, 65536), (37, 20), (64, 130)])
def test_shards_hold_the_embedding_of_the_series(
    tmp_path, gappy, monkeypatch, representation, block, shard_size
):
    monkeypatch.setattr(embed, "POINTS_PER_BLOCK", block)
    source = write_raw(tmp_path / "raw", gappy)
    options = {"n_features": 6, "representation": representation}
    if representation == "readout":
        options["step"] = "6D"
    target = embed_shards(source, tmp_path / "embedded", shard_size=shard_size, **options)
    found = PointShards(target)
    points = xr.Dataset(
        {"displacement": (("point", "time"), gappy)}, {"time": DATES.astype("M8[ns]")}
    )
    seen = np.arange(130) != 77
    time = points.time.values
    if representation == "readout":
        points = fill_gaps(points, step="6D")
    series = points.displacement.values[seen]
    embedding = ReservoirEmbedding(6, representation=representation).fit(series, time=time)
    expected = embedding.transform(series, time=time)
    dynamic = found.read("dynamic")
    np.testing.assert_array_equal(dynamic[seen], expected)
    assert np.isnan(dynamic[77]).all()
    np.testing.assert_array_equal(found.read("static")[:, 0], np.arange(130))
    np.testing.assert_array_equal(found.read("point"), np.arange(130))
    np.testing.assert_array_equal(found.read("latitude"), np.arange(130) / 500)
    assert found.attrs["site"] == "here" and found.attrs["embedding"]["n_features"] == 6


def test_interrupted_run_goes_on(tmp_path, gappy, monkeypatch):
    monkeypatch.setattr(embed, "POINTS_PER_BLOCK", 16)
    source = write_raw(tmp_path / "raw", gappy)
    options = {"n_features": 6, "shard_size": 25}

    def stop(blocks, **_):
        for number, block in enumerate(blocks):
            if number == 5:
                raise KeyboardInterrupt
            yield block

    with pytest.raises(KeyboardInterrupt):
        embed_shards(source, tmp_path / "a", progress=stop, **options)
    with pytest.raises(ValueError, match="not complete"):
        PointShards(tmp_path / "a")
    monkeypatch.setattr(ReservoirEmbedding, "fit", None)  # what was fitted is loaded
    done = []
    embed_shards(source, tmp_path / "a", progress=lambda b, **_: done.extend(b) or b, **options)
    assert done[0] == 75
    monkeypatch.undo()
    embed_shards(source, tmp_path / "b", **options)
    for path in (tmp_path / "b").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    before = (tmp_path / "b" / "manifest.json").stat().st_mtime_ns
    embed_shards(source, tmp_path / "b", **options)
    assert (tmp_path / "b" / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="other attrs"):
        embed_shards(source, tmp_path / "b", **options, random_state=1)


def test_only_raw_series_are_embedded(tmp_path, gappy):
    source = write_raw(tmp_path / "raw", gappy)
    target = embed_shards(source, tmp_path / "embedded", n_features=4)
    with pytest.raises(ValueError, match="has no features displacement; it has dynamic, static"):
        embed_shards(target, tmp_path / "again")


def stop_after(n):
    def progress(blocks, **_):
        for number, block in enumerate(blocks):
            if number == n:
                raise KeyboardInterrupt
            yield block

    return progress


@pytest.fixture
def interrupted(tmp_path, gappy, monkeypatch):
    """Return a source, and a target with 75 of 130 points."""
    monkeypatch.setattr(embed, "POINTS_PER_BLOCK", 16)
    source, target = write_raw(tmp_path / "raw", gappy), tmp_path / "embedded"
    with pytest.raises(KeyboardInterrupt):
        embed_shards(source, target, n_features=6, shard_size=25, progress=stop_after(5))
    return source, target


def test_a_run_goes_on_with_no_other_embedding(interrupted, series):
    source, target = interrupted
    other = ReservoirEmbedding(6).fit(3 * series)
    other.save(target / "embedding.npz")
    with pytest.raises(ValueError, match="already holds shards with other attrs"):
        embed_shards(source, target, n_features=6, shard_size=25)
    (target / "embedding.npz").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"embedding\.npz is damaged"):
        embed_shards(source, target, n_features=6, shard_size=25)
    # Without it the same one is fitted again.
    (target / "embedding.npz").unlink()
    embed_shards(source, target, n_features=6, shard_size=25)
    whole = embed_shards(source, target.parent / "whole", n_features=6, shard_size=25)
    np.testing.assert_array_equal(PointShards(target).read("dynamic"),
                                  PointShards(whole).read("dynamic"))  # fmt: skip


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_goes_on_with_no_other_series(interrupted, gappy, finished):
    source, target = interrupted
    if finished:
        embed_shards(source, target, n_features=6, shard_size=25)
    changed = gappy.copy()
    changed[-1] = changed[0]  # one series, of as many bytes
    again = write_raw(source.parent / "changed", changed)
    with pytest.raises(ValueError, match="already holds shards with other attrs"):
        embed_shards(again, target, n_features=6, shard_size=25)


def test_options_are_looked_at_before_anything_is_written(tmp_path, gappy):
    source, target = write_raw(tmp_path / "raw", gappy), tmp_path / "embedded"
    for error, options in [
        (TypeError, {"n_features": 6.0}),
        (ValueError, {"n_features": 1}),
        (ValueError, {"representation": "mean"}),
        (ValueError, {"random_state": -1}),
        (ValueError, {"method": "cubic"}),
        (ValueError, {"step": "0D"}),
        (ValueError, {"step": "1ns"}),
        (ValueError, {"step": "6D"}),  # with "motion"
        (TypeError, {"step": 6}),
    ]:
        with pytest.raises(error, match=f"{next(iter(options))} must be"):
            embed_shards(source, target, **options)
    assert not target.exists()


def test_shards_take_a_step_of_any_kind(tmp_path, gappy):
    source = write_raw(tmp_path / "raw", gappy)
    options = {"n_features": 4, "representation": "readout"}
    one = embed_shards(source, tmp_path / "one", step="12D", **options)
    two = embed_shards(source, tmp_path / "two", step=pd.Timedelta("12D"), **options)
    np.testing.assert_array_equal(*(PointShards(f).read("dynamic") for f in (one, two)))


@pytest.mark.parametrize("levels", [[0.1] * 30, np.arange(1, 31) / 10, np.logspace(-8, 8, 30)])
def test_constant_series_whose_mean_is_rounded(levels):
    series = np.repeat(np.asarray(levels)[:, np.newaxis], 61, axis=1)
    with pytest.raises(ValueError, match="series that vary, got only constant ones"):
        ReservoirEmbedding(6).fit(series)
    moving = series.copy()
    moving[:, 1::2] += 1e-6 * series.max()
    ReservoirEmbedding(6).fit(moving)
