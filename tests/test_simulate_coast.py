"""The simulated series: one world for every grid and block, and what clustering finds in it."""

from __future__ import annotations

import dataclasses
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (the accessor)
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_utils.interimage import InterImageKMeans
from cookbook_utils.labels import match_labels
from cookbook_utils.metrics import label_change
from cookbook_utils.scaling import to_reflectance
from cookbook_utils.simulate import BANDS, SERIES, _rasters, simulate_coast, write_coast
from cookbook_utils.simulate import coast as module
from cookbook_utils.simulate.coast import ACQUISITIONS, COVERS, GROUND

from .factories import walker_lake_pixels

SMALL, FULL = SERIES
SEA, MANGROVE, CROPLAND, BUILT_UP, BARE_SOIL, SAND = range(6)
PUBLISHED = 203_197_885  # valid pixels of the five scenes of the published runs


@pytest.fixture(scope="module")
def made() -> tuple[xr.DataArray, xr.Dataset]:
    return simulate_coast()


@pytest.fixture(scope="module")
def cover(made) -> xr.DataArray:
    return made[1].cover


@pytest.fixture(scope="module")
def reflectance(made) -> xr.DataArray:
    return to_reflectance(made[0])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_coast(tmp_path_factory.mktemp("simulated"), SMALL)


# -- what a series is ---------------------------------------------------------------------------


def test_series_is_as_every_reader_gives_it(made):
    series, truth = made
    spec = SERIES[SMALL]
    assert series.dims == ("time", "band", "y", "x")
    assert series.shape == (5, 6, 400, 400)
    assert series.dtype == np.float32
    assert list(series.band.values) == list(BANDS)
    assert series.number.values.tolist() == [2, 3, 4, 5, 6, 7]
    assert series.wavelength.attrs["units"] == "um"
    assert series.time.dtype == "datetime64[ns]"
    assert series.time.dt.strftime("%Y-%m").values.tolist() == ["2025-04"] * 5
    assert (np.diff(series.time) > np.timedelta64(0)).all()
    assert series.attrs["units"] == "digital number"
    assert series.rio.crs.to_epsg() == 32642
    assert series.x[0] == spec.corner[0] + spec.step / 2
    assert series.y[0] == spec.corner[1] - spec.step / 2
    assert (np.diff(series.x) == spec.step).all() and (np.diff(series.y) == -spec.step).all()
    assert list(truth) == ["cover"]
    assert truth.cover.dims == ("time", "y", "x")
    assert truth.cover.dtype == np.uint8
    assert truth.cover.flag_meanings.split() == list(COVERS)
    assert truth.cover.flag_values == list(range(6))
    longitude, latitude = (
        rasterio.warp.transform("EPSG:32642", "EPSG:4326", *[[v] for v in module.CENTER])[k][0]
        for k in (0, 1)
    )
    assert (longitude, latitude) == (pytest.approx(67.01, abs=0.01), pytest.approx(24.82, abs=0.01))


def test_pixels_outside_of_the_footprint_are_missing_on_every_date(made):
    series, truth = made
    missing = series.isnull()
    assert (missing.all(("time", "band")) == missing.any(("time", "band"))).all()
    missing = missing.any(("time", "band"))
    assert missing.values[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert ((truth.cover == 255) == missing).all()
    assert float(1 - missing.mean()) == pytest.approx(0.829, abs=1e-3)


def test_full_series_has_as_many_valid_pixels_as_the_published_one():
    spec = SERIES[FULL]
    everything = range(spec.size)
    strips = [everything[i : i + 500] for i in range(0, spec.size, 500)]
    inside = sum(np.count_nonzero(~spec.grid.outside(s, everything)) for s in strips)
    assert spec.size == 7000 and spec.step == 30
    assert len(ACQUISITIONS) * inside == pytest.approx(PUBLISHED, rel=1e-5)


def test_numbers_are_those_of_collection_2(made):
    series, _ = made
    assert series.attrs["scale_factor"] == 0.0000275
    assert series.attrs["add_offset"] == -0.2
    values = series.values[np.isfinite(series.values)]
    assert (values == np.rint(values)).all()
    assert values.min() >= 1 and values.max() <= 65535


# -- one world ----------------------------------------------------------------------------------


def test_random_state_selects_the_world(made):
    window = (slice(60, 160), slice(90, 190))
    series, truth = simulate_coast(window=window)
    cut = made[0][..., *window]
    xr.testing.assert_equal(series, cut)
    assert series.attrs == cut.attrs
    assert series.rio.transform() == cut.rio.transform(recalc=True)
    assert truth.cover.equals(made[1].cover[:, *window])
    other, _ = simulate_coast(random_state=1, window=window)
    assert (other != series).mean() > 0.9


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 6960), st.integers(0, 6960), st.integers(9, 31), st.sampled_from([0, 7]))
def test_a_block_does_not_depend_on_how_the_series_is_cut(row, col, cut, seed):
    rows, cols = range(row, row + 40), range(col, col + 40)
    whole = module._block(SERIES[FULL], rows, cols, seed)
    for i, j in _rasters.blocks(rows, cols, cut):
        at = np.s_[..., i.start - row : i.stop - row, j.start - col : j.stop - col]
        for part, all_ in zip(module._block(SERIES[FULL], i, j, seed), whole, strict=True):
            np.testing.assert_array_equal(part, all_[at])


def test_small_and_full_series_show_the_same_place(cover):
    """Where the small series has one cover all around, the full one has it too."""
    # Pixel (r, c) of 120 m begins at pixel (2700 + 4 r, 2700 + 4 c) of 30 m.
    coarse = cover[:, 150:250, 200:300]
    window = (slice(2700 + 4 * 150, 2700 + 4 * 250), slice(2700 + 4 * 200, 2700 + 4 * 300))
    _, fine = simulate_coast(FULL, window=window)
    assert fine.x[0] - 15 == coarse.x[0] - 60
    assert fine.y[0] + 15 == coarse.y[0] + 60
    middle = fine.cover.values[:, 2::4, 2::4]
    assert (middle == coarse.values).mean() > 0.97


# -- the truth ----------------------------------------------------------------------------------


def test_every_cover_is_there_on_every_date(cover):
    for labels in cover.values:
        shares = np.bincount(labels[labels != 255], minlength=6) / np.count_nonzero(labels != 255)
        assert (shares > 0.02).all(), dict(zip(COVERS, shares, strict=True))


def test_a_few_per_cent_change_and_only_as_covers_do(cover):
    valid = cover[0] != 255
    changed = (cover != cover[0]).any("time").where(valid)
    assert 0.02 < float(changed.mean()) < 0.06
    happened = set()
    for before, after in pairwise(cover.values):
        moved = before != after
        happened |= {(int(a), int(b)) for a, b in zip(before[moved], after[moved], strict=True)}
    tide = {(SEA, SAND), (SAND, SEA)}
    work = {(CROPLAND, BARE_SOIL), (BARE_SOIL, BUILT_UP), (MANGROVE, BARE_SOIL)}
    assert happened == tide | work


def test_sea_rises_and_falls_with_the_tide(cover):
    order = np.argsort([taken.tide for taken in ACQUISITIONS])
    floods = [(cover[k] == SEA).values for k in order]
    for lower, higher in pairwise(floods):
        assert (lower <= higher).all()
        assert lower.sum() < higher.sum()


def test_what_is_harvested_cleared_or_built_stays_so(cover):
    for kind, grows in ((CROPLAND, False), (BUILT_UP, True)):
        for before, after in pairwise((cover == kind).values):
            assert (before <= after if grows else after <= before).all()
            assert (before != after).any()


def test_mangrove_is_cleared_in_one_patch(cover):
    from scipy.ndimage import label

    cleared = (cover[0] == MANGROVE) & (cover[-1] == BARE_SOIL)
    pieces, _ = label(cleared.values, np.ones((3, 3)))
    assert np.bincount(pieces.ravel())[1:].max() > 0.9 * cleared.sum()


# -- what the sensor sees -----------------------------------------------------------------------


def test_reflectance_of_each_cover_is_that_of_its_kind(reflectance, cover):
    for date in range(len(ACQUISITIONS)):
        labels, scene = cover[date], reflectance[date]
        means = {
            name: scene.where(labels == k).mean(("y", "x")).to_series()
            for k, name in enumerate(COVERS)
        }
        sea, mangrove, crops = means["sea"], means["mangrove"], means["cropland"]
        assert sea.max() < 0.12 and sea["swir1"] < 0.03 < sea["blue"]
        for plants in (mangrove, crops):
            assert plants["nir"] > 3 * plants["red"]
        assert crops["nir"] > mangrove["nir"] > 0.15
        city, soil, sand = means["built_up"], means["bare_soil"], means["sand"]
        assert city.max() - city.min() < 0.12  # gray
        for ground in (soil, sand):
            assert (np.diff(ground[list(BANDS[:5])]) > 0).all()  # up to SWIR1
        assert (sand > soil).all()
    assert float(reflectance.min()) > -0.01
    assert float(reflectance.max()) < 0.65


def test_kinds_of_ground_are_like_pixels_of_published_scenes(real_data):
    """Compare `GROUND` with both published scenes of Walker Lake, as its comment states."""
    pixels = walker_lake_pixels(BANDS)
    for kind, (spectrum, _) in GROUND.items():
        distances = np.sqrt(((pixels - np.array(spectrum)) ** 2).mean(axis=1))
        assert distances.min() <= 0.025, kind


def test_dates_differ_by_haze_gain_sun_and_glint(reflectance, cover):
    always = (cover == cover[0]).all("time")
    seen = reflectance.where(always)
    # Over the sea, whose own light is little, blue rises by the haze.
    sea = seen.where(cover[0] == SEA).median(("y", "x")).sel(band=["blue", "swir2"]).values
    haze = [taken.haze for taken in ACQUISITIONS]
    assert np.corrcoef(sea[:, 0], haze)[0, 1] > 0.99
    assert np.ptp(sea[:, 0]) > 10 * np.ptp(sea[:, 1])
    # Of land, most is gain.
    soil = seen.where(cover[0] == BARE_SOIL).median(("y", "x")).sel(band="swir2").values
    assert np.corrcoef(soil, [taken.gain for taken in ACQUISITIONS])[0, 1] > 0.95
    # A city loses more light to shadow than soil does, the more the lower the sun.
    city = seen.where(cover[0] == BUILT_UP).median(("y", "x")).sel(band="swir2").values
    assert np.corrcoef(city / soil, [taken.sun for taken in ACQUISITIONS])[0, 1] > 0.95
    # The brightest pixel of a scene, and so the range of its bands, is a roof that flashes.
    gain = [taken.gain for taken in ACQUISITIONS]
    brightest = reflectance.max(("y", "x")).sel(band="red").values / gain
    assert np.corrcoef(brightest, [taken.glint for taken in ACQUISITIONS])[0, 1] > 0.95


def test_dates_differ_no_more_than_scenes_do():
    for taken in ACQUISITIONS:
        assert 0 < taken.haze < 0.02
        assert abs(taken.gain - 1) < 0.03
        assert 58 < taken.sun < 66
        assert taken.glint <= 0.3


# -- what clustering finds ----------------------------------------------------------------------


def agreement(maps: list[xr.DataArray], unchanged: xr.DataArray) -> float:
    """Mean share of equal labels over all pairs of dates, where the true cover is always one."""
    maps = [labels.where(unchanged, 255).astype("uint8") for labels in maps]
    return 1 - np.mean([label_change(a, b) for a, b in combinations(maps, 2)])


@pytest.fixture(scope="module")
def unchanged(cover) -> xr.DataArray:
    return ((cover == cover[0]) & (cover != 255)).all("time")


@pytest.fixture(scope="module")
def joint(reflectance) -> InterImageKMeans:
    return InterImageKMeans(8, random_state=0).fit(reflectance)


def test_joint_labels_of_unchanged_pixels_agree(joint, made, unchanged):
    maps = [labels.drop_vars("time") for labels in joint.labels_]
    assert agreement(maps, unchanged) >= 0.98
    digital = InterImageKMeans(8, random_state=0).fit(made[0])
    # Half of a float32 step decides a handful of pixels.
    assert label_change(digital.labels_.values.ravel(), joint.labels_.values.ravel()) < 1e-3


def test_clusters_are_covers(joint, cover):
    pairs = np.zeros((6, 8), int)
    valid = (cover != 255).values
    np.add.at(pairs, (cover.values[valid], joint.labels_.values[valid]), 1)
    shares = pairs.sum(axis=0) / pairs.sum()
    assert (shares > 0.002).all()
    assert set(pairs.argmax(axis=0)) == set(range(6))
    assert pairs.max(axis=0).sum() / pairs.sum() > 0.95


def test_independent_labels_agree_less(reflectance, unchanged, joint):
    together = agreement([labels.drop_vars("time") for labels in joint.labels_], unchanged)
    for init in ("midpoint", "k-means++"):
        maps = [
            InterImageKMeans(8, init=init, random_state=k).fit(scene).labels_.drop_vars("time")
            for k, scene in enumerate(reflectance)
        ]
        matched = [maps[0], *(match_labels(labels, maps[0]) for labels in maps[1:])]
        assert agreement(maps, unchanged) < together - 0.1, init
        assert agreement(matched, unchanged) < together - 0.05, init


@pytest.mark.parametrize("random_state", [1, 2])
def test_other_worlds_cluster_alike(random_state):
    series, truth = simulate_coast(
        random_state=random_state, window=(slice(100, 300), slice(150, 350))
    )
    always = (truth.cover == truth.cover[0]).all("time")
    labels = InterImageKMeans(8, random_state=0).fit(series).labels_
    assert agreement([one.drop_vars("time") for one in labels], always) >= 0.98


@pytest.mark.slow
def test_a_part_of_the_full_series_clusters_alike():
    spec = dataclasses.replace(SERIES[FULL], size=240, step=875)  # all of its 210 km, thinned
    numbers, cover = _rasters.assemble(
        lambda i, j: module._block(spec, i, j, 0), range(240), range(240)
    )
    dims = ("time", "band", "y", "x")
    series = xr.DataArray(numbers, dims=dims, attrs={"_FillValue": 0})
    always = xr.DataArray((cover == cover[0]).all(axis=0), dims=("y", "x"))
    # The published start: k-means++ finds less inertia, and spends a spare cluster on the haze.
    labels = InterImageKMeans(8, init="midpoint").fit(series).labels_
    assert agreement(list(labels), always) >= 0.98


# -- on disk ------------------------------------------------------------------------------------


def test_files_hold_the_series(written, made):
    series, truth = made
    assert len(list(written.glob("*.tif"))) == 31
    for scene in series:
        date = str(scene.time.dt.strftime("%Y-%m-%d").values)
        for number, plane in zip(scene.number.values, scene, strict=True):
            with rasterio.open(written / f"{date}_B{number}.tif") as file:
                assert file.dtypes == ("uint16",)
                assert file.nodata == 0
                assert file.crs.to_epsg() == 32642
                assert file.transform[:6] == (120, 0, 275010, 0, -120, 2770980)
                assert file.descriptions == (str(plane.band.values),)
                assert (file.scales, file.offsets) == ((0.0000275,), (-0.2,))
                assert file.tags()["date"] == date
                assert file.profile["tiled"]
                assert file.compression.value == "DEFLATE"
                np.testing.assert_array_equal(file.read(1), plane.fillna(0))
    with rasterio.open(written / "truth.tif") as file:
        assert file.descriptions == tuple(taken.date for taken in ACQUISITIONS)
        assert file.nodata == 255
        assert file.tags()["cover"].split() == list(COVERS)
        np.testing.assert_array_equal(file.read(), truth.cover)


def test_block_size_changes_no_file(written, tmp_path):
    again = write_coast(tmp_path, SMALL, block=150)
    for file in sorted(written.glob("*.tif")):
        with rasterio.open(file) as a, rasterio.open(again / file.name) as b:
            np.testing.assert_array_equal(a.read(), b.read())


def test_full_series_is_tiled_and_not_compressed(tmp_path, monkeypatch):
    spec = dataclasses.replace(SERIES[FULL], size=300)
    monkeypatch.setitem(module.SERIES, FULL, spec)
    with rasterio.open(write_coast(tmp_path, FULL) / "2025-04-02_B2.tif") as file:
        assert file.compression is None
        assert file.block_shapes == [(256, 256)]
        assert Path(file.name).stat().st_size >= 300 * 300 * 2


def test_complete_series_is_made_again_only_for_another_random_state(
    written, monkeypatch, tmp_path
):
    before = {file: file.stat().st_mtime_ns for file in written.iterdir()}
    monkeypatch.setattr(module, "_write_files", lambda *_, **__: pytest.fail("written again"))
    assert write_coast(written.parent, SMALL) == written
    assert {file: file.stat().st_mtime_ns for file in written.iterdir()} == before
    monkeypatch.undo()
    monkeypatch.setitem(module.SERIES, SMALL, dataclasses.replace(SERIES[SMALL], size=50, step=960))
    target = write_coast(tmp_path, SMALL)
    old = rasterio.open(target / "truth.tif").tags()["signature"]
    write_coast(tmp_path, SMALL, random_state=3)
    assert rasterio.open(target / "truth.tif").tags()["signature"] != old
    (target / "2025-04-10_B4.tif").unlink()
    write_coast(tmp_path, SMALL, random_state=3)
    assert (target / "2025-04-10_B4.tif").is_file()


@pytest.mark.parametrize("failure", [RuntimeError("stop"), KeyboardInterrupt()])
def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch, failure):
    real, calls = module._block, []

    def block(*args):
        calls.append(args)
        if len(calls) > 2:
            raise failure
        return real(*args)

    monkeypatch.setattr(module, "_block", block)
    with pytest.raises(type(failure)):
        write_coast(tmp_path, SMALL, block=128)
    assert list(tmp_path.iterdir()) == []


# -- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [simulate_coast, lambda name: write_coast("anywhere", name)])
def test_unknown_name(make):
    with pytest.raises(ValueError, match="name must be one of 'coast_series_small', .*'coast'"):
        make("coast")


@pytest.mark.parametrize(
    ("random_state", "error"),
    [(-1, ValueError), (2**32, ValueError), (0.5, TypeError), ("0", TypeError), (None, TypeError)],
)
def test_bad_random_state(random_state, error):
    with pytest.raises(error, match="random_state must be an integer from 0 to 16777215, got"):
        simulate_coast(random_state=random_state)


@pytest.mark.parametrize("rows", [slice(400, 500), slice(10, 10), slice(0, 10, 2)])
def test_bad_window(rows):
    with pytest.raises(ValueError, match="at least one pixel, in steps of one, out of 400 x 400"):
        simulate_coast(window=(rows, slice(None)))


def test_bad_block(tmp_path):
    with pytest.raises(ValueError, match="block must be an integer from 32 to 1024, got 0"):
        write_coast(tmp_path, SMALL, block=0)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write 'coast_series_small' in .*file"):
        write_coast(tmp_path / "file", SMALL)
