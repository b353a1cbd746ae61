"""The simulated sites: points that do not depend on how they are made, in regimes that differ."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from cookbook_utils.insar import fill_gaps, open_points
from cookbook_utils.shards import PointShards
from cookbook_utils.simulate import (
    REGIMES,
    SITES,
    WAVELENGTH,
    insar,
    simulate_site,
    site_dates,
    write_site,
)

NAMES = list(SITES)
SVALBARD = ["ELEVATION", "MAXDISP", "COHERENCE", "DEMERR", "SLOPE", "DOYMAX"]
MAINLAND = ["height", "mean_velocity", "temporal_coherence", "amplitude_dispersion"]


@pytest.fixture
def small_blocks(monkeypatch):
    """Simulate few points at a time, of which the tests below need no more."""
    monkeypatch.setattr(insar, "POINTS_PER_BLOCK", 256)


@pytest.fixture(scope="module", params=NAMES)
def site(request):
    return request.param, simulate_site(request.param)


def features_of(points):
    """Return trend, curvature, yearly wave and roughness of each series."""
    series = fill_gaps(points).displacement.values
    series = series - series.mean(axis=1, keepdims=True)
    years = (points.time - points.time[0]).values / np.timedelta64(1, "D") / 365.25
    t, turn = years - years.mean(), 2 * np.pi * points.time.dt.dayofyear.values / 365.25
    design = np.stack([t**0, t, t**2, np.cos(turn), np.sin(turn)], axis=1)
    found = np.linalg.lstsq(design, series.T)[0]
    rest = (series.T - design @ found).T
    _, trend, bend, cosine, sine = found
    columns = [
        np.sign(trend) * np.log1p(np.abs(trend) / 3),
        np.sign(bend) * np.log1p(np.abs(bend) / 2),
        np.log(np.hypot(cosine, sine) + 0.5),
        np.log(rest.std(axis=1)),
        np.log(np.abs(np.diff(rest, axis=1)).mean(axis=1)),
    ]
    features = np.stack(columns, axis=1)
    return (features - features.mean(axis=0)) / features.std(axis=0)


def neighbor_weights(points, n_neighbors=8):
    north = points.latitude.values
    east = points.longitude.values * np.cos(np.radians(north.mean()))
    distance, index = (
        NearestNeighbors(n_neighbors=n_neighbors + 1).fit(np.c_[east, north]).kneighbors()
    )
    weights = np.exp(-distance / distance.mean())
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(index)), weights.shape[1])
    return csr_array((weights.ravel(), (rows, index.ravel())), shape=2 * (len(index),))


def test_a_site_is_described(site):
    name, points = site
    statics = SVALBARD if name == "insar_svalbard" else MAINLAND
    assert points.attrs["static_features"].split() == statics
    assert points.attrs["crs"] == "EPSG:4326"
    assert points.sizes["point"] == SITES[name].n_points
    assert points.displacement.dtype == np.float32
    assert points.regime.dtype == np.uint8
    assert points.regime.attrs["flag_meanings"].split() == list(REGIMES)
    assert {points[s].dtype for s in statics} == {np.dtype("f4")}
    assert all(points[s].attrs["units"] and points[s].attrs["long_name"] for s in statics)
    assert not any(points[s].isnull().any() for s in statics)
    # about where the real place is
    assert abs(points.longitude - SITES[name].longitude).max() < 0.2
    assert abs(points.latitude - SITES[name].latitude).max() < 0.05


def test_every_regime_is_there_in_contiguous_zones(site):
    _, points = site
    share = np.bincount(points.regime, minlength=6) / points.sizes["point"]
    assert share.min() > 0.02
    assert share.max() < 0.6
    own = neighbor_weights(points) @ np.eye(6)[points.regime.values]
    assert own[np.arange(len(own)), points.regime.values].mean() > 0.8


def test_no_point_lies_in_the_fjord_or_twice(site):
    name, points = site
    height = points["ELEVATION" if name == "insar_svalbard" else "height"]
    assert height.min() > (-8 if name == "insar_svalbard" else 0)  # Svalbard's has an error of 2 m
    assert height.max() > 400
    assert len(np.unique(np.c_[points.longitude, points.latitude], axis=0)) == len(height)


def test_dates_are_irregular_with_winter_gaps(site):
    name, points = site
    steps = np.diff(points.time.values) / np.timedelta64(1, "D")
    np.testing.assert_array_equal(points.time, site_dates(name))
    assert np.all(steps % 6 == 0)
    assert {6, 12} <= set(steps)
    assert np.count_nonzero(steps > 90) == 5  # the winters of 2016 to 2021
    assert points.time.dt.year.values[[0, -1]].tolist() == [2016, 2021]
    missing = points.displacement.isnull().mean("time")
    assert 0 < missing.min() and missing.max() < 0.7
    assert missing.where(points.regime == 4).mean() > missing.where(points.regime == 0).mean()


def test_regimes_move_as_their_names_say(site):
    name, points = site
    filled = fill_gaps(points).displacement
    years = ((points.time - points.time[0]) / np.timedelta64(1, "D")).values / 365.25
    slope, level = np.polyfit(years, filled.values.T, 1)
    series = {regime: filled.values[points.regime == k] for k, regime in enumerate(REGIMES)}
    trend = {regime: slope[points.regime == k] for k, regime in enumerate(REGIMES)}

    assert abs(np.median(trend["stable"])) < 1
    assert np.percentile(trend["creep"], 99) < -1
    assert -70 < np.percentile(trend["creep"], 1) < -30
    early, late = years < 2.5, years > years[-1] - 2.5
    for regime, ratio in (("creep", (0.7, 1.4)), ("accelerating", (3, 40))):
        pace = [
            np.median(np.polyfit(years[w], series[regime][:, w].T, 1)[0]) for w in (early, late)
        ]
        assert ratio[0] < pace[1] / pace[0] < ratio[1]

    # freeze and thaw: high in spring, low in autumn
    month = points.time.dt.month.values
    spring, autumn = np.isin(month, [5, 6]), np.isin(month, [9, 10])
    for regime, low, high in (("seasonal", 4, 30), ("stable", -2, 3)):
        swing = series[regime][:, spring].mean(axis=1) - series[regime][:, autumn].mean(axis=1)
        assert low < np.median(swing) < high

    # cycle slips: from year to year the level mostly changes by half a wavelength, or not at all
    year = points.time.dt.year.values
    level = np.stack([series["snow_gaps"][:, year == y].mean(axis=1) for y in np.unique(year)])
    jump = np.abs(np.diff(level, axis=0))
    assert np.median(jump) == pytest.approx(WAVELENGTH / 2, rel=0.15)
    assert np.mean((jump > 11) & (jump < 17)) < 0.15  # few are halfway
    roughness = {regime: np.median(np.abs(np.diff(s, axis=1))) for regime, s in series.items()}
    assert roughness["noise"] > 1.5 * roughness["stable"]


def test_static_features_follow_the_series(site):
    name, points = site
    coherence = points["COHERENCE" if name == "insar_svalbard" else "temporal_coherence"]
    assert 0 <= coherence.min() and coherence.max() <= 1
    assert coherence[points.regime == 5].median() < coherence[points.regime == 0].median() - 0.2
    # a whole cycle leaves the phase as it is
    assert (
        abs(coherence[points.regime == 4].median() - coherence[points.regime == 0].median()) < 0.2
    )
    if name == "insar_svalbard":
        peak = points.DOYMAX[points.regime == 3]
        assert abs(peak.median() - SITES[name].peak) < 25
        moving = points.regime.isin([1, 2])
        assert points.MAXDISP[moving].median() > 5 * points.MAXDISP[points.regime == 0].median()
        assert points.SLOPE.min() >= 0 and points.SLOPE.max() < 80
    else:
        filled = fill_gaps(points).displacement.values
        years = (points.time - points.time[0]).values / np.timedelta64(1, "D") / 365.25
        velocity = np.polyfit(years, filled.T, 1)[0]
        assert np.median(np.abs(velocity - points.mean_velocity)) < 0.5
        assert np.corrcoef(coherence, points.amplitude_dispersion)[0, 1] < -0.5


def test_atmosphere_is_smooth_in_space_and_new_at_each_date(site):
    _, points = site
    stable = points.isel(point=np.flatnonzero(points.regime == 0))
    series = fill_gaps(stable).displacement.values
    series = series - series.mean(axis=1, keepdims=True)
    near = np.mean(series * (neighbor_weights(stable) @ series))
    far = np.mean(series * np.random.default_rng(0).permutation(series))
    assert near > 0.3
    assert near > 1.5 * abs(far)


def test_smoothing_over_neighbors_finds_the_regimes_better(site):
    _, points = site
    plain = smooth = features_of(points)
    weights = neighbor_weights(points)
    for _ in range(3):
        smooth = 0.5 * smooth + 0.5 * (weights @ smooth)
    agreement = [
        adjusted_rand_score(points.regime, KMeans(6, n_init=3, random_state=0).fit_predict(x))
        for x in (plain, smooth)
    ]
    assert agreement[0] > 0.4
    assert agreement[1] > agreement[0] + 0.05


# -- the same points, however they are made -------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
def test_the_first_points_do_not_depend_on_how_many_there_are():
    many = simulate_site("insar_nordnes", n_points=300)  # more than one block
    few = simulate_site("insar_nordnes", n_points=100)
    xr.testing.assert_identical(few, many.isel(point=slice(100)))


@pytest.mark.usefixtures("small_blocks")
def test_random_states_differ():
    one, same, other = (
        simulate_site("insar_nordnes", n_points=50, random_state=s) for s in (1, 1, 2)
    )
    xr.testing.assert_identical(one, same)
    assert not np.any(one.longitude == other.longitude)
    assert not np.array_equal(one.time, other.time)


@pytest.mark.slow
def test_shards_of_any_size_hold_the_same_points(tmp_path):
    expected = simulate_site("insar_svalbard", n_points=4200)  # more than one block
    for size in (1000, 4096, 9000):
        folder = write_site(tmp_path / f"{size}", "insar_svalbard", n_points=4200, shard_size=size)
        assert folder == tmp_path / f"{size}" / "insar_svalbard"
        xr.testing.assert_equal(open_points(folder).compute(), expected)


@pytest.mark.usefixtures("small_blocks")
def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    whole = write_site(tmp_path / "whole", "insar_nordnes", n_points=600, shard_size=100)
    move_points, calls = insar.move_points, []

    def failing(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return move_points(*args)

    monkeypatch.setattr(insar, "move_points", failing)
    with pytest.raises(KeyboardInterrupt):
        write_site(tmp_path / "resumed", "insar_nordnes", n_points=600, shard_size=100)
    resumed = write_site(tmp_path / "resumed", "insar_nordnes", n_points=600, shard_size=100)
    files = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in (whole, resumed)]
    assert files[0] == files[1]


@pytest.mark.usefixtures("small_blocks")
def test_a_folder_that_is_there_is_kept_unless_it_is_of_an_older_version(tmp_path):
    folder = write_site(tmp_path, "insar_nordnes", n_points=60)
    times = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    write_site(tmp_path, "insar_nordnes", n_points=60)
    assert times == {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    with pytest.raises(ValueError, match="already holds shards with other attrs"):
        write_site(tmp_path, "insar_nordnes", n_points=61)

    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["attrs"]["generator"] -= 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "my_notes.txt").write_text("mine")
    write_site(tmp_path, "insar_nordnes", n_points=61)
    assert PointShards(folder).n_points == 61
    assert (folder / "my_notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"attrs": 3}', '{"attrs": {"site": "x"}}'])
def test_a_damaged_manifest_is_named(tmp_path, text):
    folder = write_site(tmp_path, "insar_nordnes", n_points=60)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json "):
        write_site(tmp_path, "insar_nordnes", n_points=60)


@pytest.mark.parametrize("make", [simulate_site, lambda *a, **k: write_site("x", *a, **k)])
@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("insar_oslo", {}, ValueError, "name must be one of 'insar_lyngen', .*, got 'insar_oslo'"),
        (["insar_lyngen"], {}, TypeError, "name must be one of"),
        ("insar_lyngen", {"n_points": 0}, ValueError, "n_points must be .* from 1 .*, got 0"),
        ("insar_lyngen", {"n_points": 10**12}, ValueError, "n_points must be .*, got 10000000000"),
        ("insar_lyngen", {"n_points": 5.0}, TypeError, "n_points must be an integer"),
        ("insar_lyngen", {"n_points": True}, TypeError, "n_points must be an integer"),
        (
            "insar_lyngen",
            {"random_state": -1},
            ValueError,
            "random_state must be an integer from 0",
        ),
        (
            "insar_lyngen",
            {"random_state": 1.0},
            TypeError,
            "random_state must be an integer from 0",
        ),
        (
            "insar_lyngen",
            {"random_state": None},
            TypeError,
            "random_state must be an integer from 0",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused(make, name, options, error, message):
    with pytest.raises(error, match=message):
        make(name, **options)


def test_dates_of_unknown_sites_are_refused():
    with pytest.raises(ValueError, match="name must be one of"):
        site_dates("insar_oslo")
    with pytest.raises(ValueError, match="random_state must be an integer"):
        site_dates("insar_lyngen", random_state=-1)
