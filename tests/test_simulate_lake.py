"""The simulated scenes: one world for every grid and block, and a truth that the scene shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (the accessor)
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_utils.simulate import (
    BANDS,
    SCENES,
    SENSORS,
    _rasters,
    lake,
    simulate_scene,
    write_scene,
)
from cookbook_utils.simulate._terrain import SPECTRA

from .factories import walker_lake_pixels

SMALL = ("landsat_5_small", "landsat_8_small")


@pytest.fixture(scope="module")
def pair() -> dict[str, tuple[xr.DataArray, xr.Dataset]]:
    return {name: simulate_scene(name) for name in SMALL}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_scene(tmp_path_factory.mktemp("simulated"), "landsat_5_small")


def normalized(scene: xr.DataArray, a: str, b: str) -> xr.DataArray:
    a, b = scene.sel(band=a), scene.sel(band=b)
    return (a - b) / (a + b)


# -- what a scene is ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_scene_is_as_every_reader_gives_it(pair, name):
    scene, truth = pair[name]
    spec = SCENES[name]
    assert scene.dims == ("band", "y", "x")
    assert scene.shape == (6, 300, 300)
    assert scene.dtype == np.float32
    assert list(scene.band.values) == list(BANDS)
    assert list(scene.number.values) == list(SENSORS[spec.sensor].numbers)
    assert (np.diff(scene.wavelength) > 0).all()
    assert scene.wavelength.attrs["units"] == "um"
    assert scene.time.dtype == "datetime64[ns]"
    assert str(scene.time.values)[:10] == spec.date == scene.attrs["date"]
    assert scene.attrs["units"] == "digital number"
    assert scene.attrs["scale_factor"] == 1e-4
    assert scene.rio.crs.to_epsg() == 32611
    assert scene.x[0] == spec.corner[0] + spec.step / 2
    assert scene.y[0] == spec.corner[1] - spec.step / 2
    assert (np.diff(scene.x) == spec.step).all()
    assert (np.diff(scene.y) == -spec.step).all()
    for layer in truth.values():
        assert layer.dtype == np.uint8
        assert layer.dims == ("y", "x")
        assert len(layer.flag_values) == len(layer.flag_meanings.split())


@pytest.mark.parametrize("name", SMALL)
def test_footprint_leaves_a_border_without_data_and_keeps_the_region(pair, name):
    scene, truth = pair[name]
    missing = scene.isnull()
    assert (missing.all("band") == missing.any("band")).all()
    missing = missing.any("band")
    assert missing.values[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert 0.05 < missing.mean() < 0.3
    for layer in truth.values():
        assert ((layer == 255) == missing).all()
    x, y = lake.CENTER
    region = missing.sel(x=slice(x - 15e3, x + 15e3), y=slice(y + 15e3, y - 15e3))
    assert not region.any()


def test_covers_follow_pixels_of_the_real_place(real_data):
    """Compare `SPECTRA` with both published scenes of Walker Lake, as its comment states."""
    pixels = walker_lake_pixels(BANDS)
    for cover, spectrum in SPECTRA.items():
        distances = np.sqrt(((pixels - np.array(spectrum)) ** 2).mean(axis=1))
        assert distances.min() <= 0.02, cover


# -- one world ------------------------------------------------------------------------------------


def test_random_state_selects_the_world(pair):
    window = (slice(60, 160), slice(90, 190))
    scene, truth = simulate_scene("landsat_5_small", window=window)
    cut = pair["landsat_5_small"][0][:, *window]
    xr.testing.assert_equal(scene, cut)
    assert scene.attrs == cut.attrs
    assert scene.rio.transform() == cut.rio.transform(recalc=True)
    other, _ = simulate_scene("landsat_5_small", random_state=1, window=window)
    assert (other != scene).mean() > 0.9
    assert truth.cover.equals(pair["landsat_5_small"][1].cover[*window])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 6960), st.integers(0, 6960), st.integers(9, 31), st.sampled_from([0, 7]))
def test_a_block_does_not_depend_on_how_the_scene_is_cut(row, col, cut, seed):
    spec = SCENES["landsat_8"]
    rows, cols = range(row, row + 40), range(col, col + 40)
    whole = lake._block(spec, rows, cols, seed)
    for i, j in _rasters.blocks(rows, cols, cut):
        at = np.s_[:, i.start - row : i.stop - row, j.start - col : j.stop - col]
        for part, all_ in zip(lake._block(spec, i, j, seed), whole, strict=True):
            np.testing.assert_array_equal(part, all_[at])


@pytest.mark.slow
@pytest.mark.parametrize(("small", "full"), [(name, name.removesuffix("_small")) for name in SMALL])
def test_small_and_full_scene_show_the_same_lake(small, full, pair):
    _, coarse = pair[small]
    spec = SCENES[full]
    top = int((spec.corner[1] - lake.CENTER[1] - 15e3) / spec.step)
    left = int((lake.CENTER[0] - 15e3 - spec.corner[0]) / spec.step)
    window = (slice(top + 50, top + 930), slice(left + 310, left + 690))
    _, fine = simulate_scene(full, window=window)
    assert fine.lake_area_km2 == pytest.approx(coarse.lake_area_km2, rel=0.01)


@pytest.mark.parametrize("seed", [0, 5])
def test_the_only_water_is_one_lake_in_the_region(seed):
    from scipy.ndimage import label

    areas = []
    for name in ("landsat_5", "landsat_8"):
        spec = dataclasses.replace(SCENES[name], size=420, step=500)
        _, truth = lake._block(spec, range(420), range(420), seed)
        water = truth[1] == 1
        numbered, _ = label(water, np.ones((3, 3)))
        assert np.bincount(numbered.ravel())[1:].max() / water.sum() > 0.99
        rows, cols = np.nonzero(water)
        assert abs(spec.corner[0] + (cols + 0.5) * 500 - lake.CENTER[0]).max() < 14.5e3
        assert abs(spec.corner[1] - (rows + 0.5) * 500 - lake.CENTER[1]).max() < 14.5e3
        areas.append(water.sum() * 0.25)
    assert 150 < areas[0] < 200
    assert 0.2 < 1 - areas[1] / areas[0] < 0.3


# -- the truth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_water_of_the_truth_is_water_by_its_spectrum(pair, name):
    scene, truth = pair[name]
    water = truth.water == 1
    index = normalized(scene, "green", "swir1") > 0
    assert (index & water).sum() / (index | water).sum() > 0.95
    assert (truth.cover.where(water, 0) <= 1).all()
    assert (truth.cover.where(truth.water == 0, 2) >= 2).all()


@pytest.mark.parametrize("name", SMALL)
def test_covers_have_the_indices_of_their_kind(pair, name):
    scene, truth = pair[name]
    for number, cover in enumerate(lake.COVERS):
        here = (truth.cover == number) & (truth.cloud == 0)
        assert here.sum() > 50, cover
        mean = scene.where(here).mean(("y", "x"))
        mndwi, ndvi = normalized(mean, "green", "swir1"), normalized(mean, "nir", "red")
        if number < 2:
            assert mndwi > 0.3
            assert ndvi < 0
            assert mean.sel(band="nir") < mean.sel(band="green")
        else:
            assert mndwi < 0
        if cover == "crops":
            assert ndvi > 0.3
    cloud = scene.where(truth.cloud == 1).mean(("y", "x"))
    assert (cloud > scene.where(truth.cloud == 0).mean(("y", "x"))).all()


@pytest.mark.parametrize("name", SMALL)
def test_clouds_are_few_and_off_the_lake(pair, name):
    from scipy.ndimage import distance_transform_edt

    _, truth = pair[name]
    assert 0.005 < (truth.cloud == 1).mean() < 0.06
    off = distance_transform_edt((truth.water != 1).values) * SCENES[name].step
    assert off[(truth.cloud == 1).values].min() > 1500


def test_lake_is_lower_in_the_second_year():
    window = (slice(3500, 3700), slice(3200, 3500))  # of landsat_5; landsat_8 is on another corner
    shift = (slice(3500 - 10, 3700 - 10), slice(3200 - 14, 3500 - 14))
    before = simulate_scene("landsat_5", window=window)[1].water
    spec = dataclasses.replace(SCENES["landsat_8"], corner=(249825 + 420, 4391775 - 300))
    after = lake._block(spec, *(range(7000)[s] for s in shift), 0)[1][1]
    assert (after == 1).any()
    assert ((before.values == 1) >= (after == 1)).all()
    assert (before.values == 1).sum() > (after == 1).sum()


def test_land_pixels_differ_between_dates_by_gain_offset_and_sun(pair):
    medians = [
        scene.where(truth.cover == 3).median(("y", "x")).values for scene, truth in pair.values()
    ]
    assert (np.abs(medians[0] / medians[1] - 1) > 0.01).all()


# -- on disk --------------------------------------------------------------------------------------


def test_files_hold_the_scene(written, pair):
    scene, truth = pair["landsat_5_small"]
    for number, plane in zip(scene.number.values, scene, strict=True):
        with rasterio.open(written / f"B{number}.tif") as file:
            assert file.dtypes == ("int16",)
            assert file.nodata == -9999
            assert file.crs.to_epsg() == 32611
            assert file.transform[:6] == (150, 0, 332325, 0, -150, 4309275)
            assert file.descriptions == (str(plane.band.values),)
            assert file.scales == (1e-4,)
            assert file.profile["tiled"]
            assert file.compression.value == "DEFLATE"
            values = file.read(1)
        assert values[0, 0] == -9999
        np.testing.assert_array_equal(values, plane.fillna(-9999).astype("int16"))
    with rasterio.open(written / "truth.tif") as file:
        assert file.descriptions == ("cover", "water", "cloud")
        assert file.nodata == 255
        assert file.dtypes == ("uint8",) * 3
        assert file.tags()["cover"].split() == list(lake.COVERS)
        assert float(file.tags()["lake_area_km2"]) == pytest.approx(truth.lake_area_km2)
        np.testing.assert_array_equal(file.read(), truth.to_dataarray())


def test_block_size_changes_no_file(written, tmp_path):
    again = write_scene(tmp_path, "landsat_5_small", block=128)
    for file in sorted(written.glob("*.tif")):
        with rasterio.open(file) as a, rasterio.open(again / file.name) as b:
            np.testing.assert_array_equal(a.read(), b.read())


def test_complete_scene_is_made_again_only_for_another_random_state(written, monkeypatch, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in written.iterdir()}
    monkeypatch.setattr(lake, "_write_files", lambda *_, **__: pytest.fail("written again"))
    assert write_scene(written.parent, "landsat_5_small") == written
    assert {file: file.stat().st_mtime_ns for file in written.iterdir()} == before
    monkeypatch.undo()
    target = write_scene(tmp_path, "landsat_8_small")
    old = rasterio.open(target / "truth.tif").tags()["signature"]
    write_scene(tmp_path, "landsat_8_small", random_state=3)
    assert rasterio.open(target / "truth.tif").tags()["signature"] != old


def test_damaged_or_incomplete_scene_is_made_again(tmp_path):
    target = write_scene(tmp_path, "landsat_8_small")
    (target / "B4.tif").unlink()
    (target / "truth.tif").write_bytes(b"II*\x00")
    write_scene(tmp_path, "landsat_8_small")
    assert (target / "B4.tif").is_file()
    with rasterio.open(target / "truth.tif") as file:
        assert file.count == 3


@pytest.mark.parametrize("failure", [RuntimeError("stop"), KeyboardInterrupt()])
def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch, failure):
    real, calls = lake._block, []

    def block(*args):
        calls.append(args)
        if len(calls) > 2:
            raise failure
        return real(*args)

    monkeypatch.setattr(lake, "_block", block)
    with pytest.raises(type(failure)):
        write_scene(tmp_path, "landsat_5_small", block=128)
    assert list(tmp_path.iterdir()) == []


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [simulate_scene, lambda name: write_scene("anywhere", name)])
def test_unknown_name(make):
    with pytest.raises(ValueError, match="name must be one of 'landsat_5_small', .*'landsat_9'"):
        make("landsat_9")


@pytest.mark.parametrize(
    ("random_state", "error"),
    [(-1, ValueError), (2**32, ValueError), (0.5, TypeError), ("0", TypeError), (None, TypeError)],
)
def test_bad_random_state(random_state, error):
    with pytest.raises(error, match="random_state must be an integer from 0 to 16777215, got"):
        simulate_scene("landsat_5_small", random_state=random_state)


@pytest.mark.parametrize("rows", [slice(300, 400), slice(10, 10), slice(0, 10, 2)])
def test_bad_window(rows):
    with pytest.raises(ValueError, match="at least one pixel, in steps of one, out of 300 x 300"):
        simulate_scene("landsat_5_small", window=(rows, slice(None)))


def test_bad_block(tmp_path):
    with pytest.raises(ValueError, match="block must be an integer from 32 to 1024, got 0"):
        write_scene(tmp_path, "landsat_5_small", block=0)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write 'landsat_5_small' in .*file"):
        write_scene(tmp_path / "file", "landsat_5_small")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_a_numpy_integer_is_a_random_state(dtype):
    window = (slice(140, 144), slice(150, 154))
    expected, _ = simulate_scene("landsat_5_small", random_state=100, window=window)
    scene, _ = simulate_scene(
        "landsat_5_small", random_state=np.dtype(dtype).type(100), window=window
    )
    xr.testing.assert_identical(scene, expected)


def test_random_states_and_blocks_have_a_maximum(tmp_path):
    with pytest.raises(
        ValueError, match="random_state must be an integer from 0 to 16777215, got 16777216"
    ):
        simulate_scene("landsat_5_small", random_state=2**24)  # its hashes would repeat those of 0
    with pytest.raises(ValueError, match="block must be an integer from 32 to 1024, got 7000"):
        write_scene(tmp_path, "landsat_5", block=7000)
    assert not list(tmp_path.iterdir())
