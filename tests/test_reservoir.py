"""Embeddings are those of the package, the same in any block, and leave no trace behind."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_utils import reservoir as module
from cookbook_utils.insar import fill_gaps
from cookbook_utils.reservoir import ReservoirEmbedding, embed_series, embed_shards
from cookbook_utils.shards import PointShards, ShardWriter

DATES = np.arange("2020-01-01", "2020-09-01", 6, dtype="datetime64[D]")


def make_series(n, *, seed=0):
    random = np.random.default_rng(seed)
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


@pytest.fixture(scope="module", params=["readout", "last"])
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


@pytest.mark.parametrize("ours, theirs", [("readout", "output"), ("last", "last")])
def test_features_are_those_of_the_package(series, ours, theirs):
    from reservoir_computing.modules import RC_model

    embedding = ReservoirEmbedding(8, representation=ours).fit(series)
    model = RC_model(
        reservoir=module._draw_reservoir(0),
        dimred_method="pca",
        n_dim=8 - (ours == "readout"),
        mts_rep=theirs,
        w_ridge_embedding=module.RIDGE,
        readout_type=None,
    )
    scaled = series - series.mean(axis=1, keepdims=True)
    model.fit(scaled[..., np.newaxis] / embedding.scale_, verbose=False)
    found = embedding.transform(series)
    # The signs of principal components are arbitrary.
    signs = np.sign((found * model.input_repr).sum(axis=0))
    np.testing.assert_allclose(found, model.input_repr * signs, rtol=1e-3, atol=1e-5)


def test_seed_decides(series):
    one, same, other = (embed(series, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other, atol=1e-3)


def embed(series, **options):
    displacement = xr.DataArray(series, dims=("point", "time"))
    return embed_series(displacement, n_features=10, **options).values


def test_global_random_numbers_are_left_alone(series):
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    ReservoirEmbedding(4).fit(series[:8]).transform(series[:2])
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002


def test_reference_date_does_not_matter_but_size_does(embedding, series):
    features = embedding.transform(series)
    np.testing.assert_allclose(embedding.transform(series + 12.5), features, atol=1e-5)
    assert np.abs(embedding.transform(3 * series) - features).max() > 0.01


@pytest.mark.parametrize("representation", ["readout", "last"])
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
    features = embed(series)
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
    """Even where the package would draw others."""
    embedding.save(tmp_path / "e.npz")
    draw = module._draw_reservoir
    monkeypatch.setattr(module, "_draw_reservoir", lambda seed: draw(seed + 1))
    loaded = ReservoirEmbedding.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(loaded.transform(series), embedding.transform(series))


def test_coordinates_stay(series):
    displacement = xr.DataArray(
        series.T, {"time": DATES, "pid": ("point", np.arange(130))}, dims=("time", "point")
    )
    features = embed_series(displacement, n_features=5)
    assert features.dims == ("point", "feature") and features.dtype == np.float32
    assert "pid" in features.coords and "time" not in features.coords
    np.testing.assert_array_equal(features, ReservoirEmbedding(5).fit(series).transform(series))


@pytest.mark.parametrize("n", [2049, 5000, 10**7])
def test_fitted_on_a_sample_from_everywhere(n):
    sample = module._sample(n)
    rows = np.concatenate([np.arange(n)[rows] for rows in sample])
    assert len(rows) == len(np.unique(rows)) == 2048
    assert rows[0] == 0 and n - rows[-1] < n / 20


def test_gaps_are_an_error(series):
    gappy = series.copy()
    gappy[[3, 5], 4] = np.nan
    with pytest.raises(ValueError, match="2 of 130 series have gaps: .*insar.fill_gaps"):
        embed(gappy)
    with pytest.raises(ValueError, match="1 of 4 series have gaps"):
        ReservoirEmbedding(4).fit(series).transform(gappy[:4])


def test_bad_options(series):
    with pytest.raises(ValueError, match="n_features must be an integer, 2 to 100, found 101"):
        ReservoirEmbedding(101)
    with pytest.raises(ValueError, match="'readout' or 'last', found 'mean'"):
        ReservoirEmbedding(representation="mean")
    with pytest.raises(ValueError, match="every series is constant"):
        ReservoirEmbedding(4).fit(np.ones_like(series))
    with pytest.raises(ValueError, match="at least two dates"):
        ReservoirEmbedding(4).fit(series[:, :1])
    with pytest.raises(ValueError, match="at least 100 values"):
        ReservoirEmbedding(4).fit(series[:2, :5])
    with pytest.raises(ValueError, match="displacement lacks"):
        embed_series(xr.DataArray(series))


# -- shards -----------------------------------------------------------------------------------


@pytest.fixture
def gappy(series):
    values = series.astype(np.float32)
    values[np.random.default_rng(2).random(values.shape) < 0.1] = np.nan
    values[77] = np.nan
    return values


@pytest.mark.parametrize("block, shard_size", [(4096, 65536), (37, 20), (64, 130)])
def test_shards_hold_the_embedding_of_the_filled_series(
    tmp_path, gappy, monkeypatch, block, shard_size
):
    monkeypatch.setattr(module, "BLOCK", block)
    source = write_raw(tmp_path / "raw", gappy)
    target = embed_shards(
        source, tmp_path / "embedded", n_features=6, step="6D", shard_size=shard_size
    )
    found = PointShards(target)
    points = xr.Dataset(
        {"displacement": (("point", "time"), gappy)}, {"time": DATES.astype("M8[ns]")}
    )
    filled = fill_gaps(points, step="6D").displacement.values
    seen = np.arange(130) != 77
    expected = ReservoirEmbedding(6).fit(filled[seen]).transform(filled[seen])
    dynamic = found.read("dynamic")
    np.testing.assert_array_equal(dynamic[seen], expected)
    assert np.isnan(dynamic[77]).all()
    np.testing.assert_array_equal(found.read("static")[:, 0], np.arange(130))
    np.testing.assert_array_equal(found.read("point"), np.arange(130))
    np.testing.assert_array_equal(found.read("latitude"), np.arange(130) / 500)
    assert found.attrs["site"] == "here" and found.attrs["embedding"]["n_features"] == 6


def test_interrupted_run_goes_on(tmp_path, gappy, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 16)
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
        embed_shards(source, tmp_path / "b", **options, seed=1)


def test_only_raw_series_are_embedded(tmp_path, gappy):
    source = write_raw(tmp_path / "raw", gappy)
    target = embed_shards(source, tmp_path / "embedded", n_features=4)
    with pytest.raises(ValueError, match="has no features displacement; it has: dynamic, static"):
        embed_shards(target, tmp_path / "again")
