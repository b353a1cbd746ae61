"""The catalog, its readers, and real files by address and hash."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio._env import get_gdal_config
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin

from cookbook_utils._files import size_and_crc32
from cookbook_utils.datasets import (
    DATA_FOLDER,
    DataUnavailableError,
    UnknownDatasetError,
    _geotiffs,
    catalog,
    fetch,
    files,
    open_catalog,
)
from cookbook_utils.datasets.__main__ import main
from cookbook_utils.datasets._geotiffs import RasterFile, RasterSpec, open_geotiffs
from cookbook_utils.datasets._open_rasters import opened
from cookbook_utils.datasets.files import read_registry
from cookbook_utils.scaling import to_reflectance
from cookbook_utils.simulate import (
    BANDS,
    SENSORS,
    coast,
    lake,
    simulate_coast,
    simulate_scene,
    write_coast,
    write_scene,
)
from cookbook_utils.stacking import stack_pixels

CATALOG = open_catalog()
REAL = ("betsiboka", "pucallpa", "walker_lake")
SIMULATED = ("landsat_5_small", "landsat_8_small", "landsat_5", "landsat_8")
SERIES = ("coast_series_small", "coast_series")
SCENES = [(name, year) for name in REAL for year in CATALOG[name].metadata["years"]]
SHAPES = {
    ("betsiboka", 2017): (6, 602, 676),
    ("betsiboka", 2020): (6, 602, 676),
    ("walker_lake", 1988): (6, 72, 80),
    ("walker_lake", 2017): (7, 79, 78),
} | {("pucallpa", year): (4, 377, 697) for year in range(1985, 2021, 5)}
GRID = from_origin(332325, 4309275, 150, 150)


def write_tiff(path, values, *, crs="EPSG:32611", transform=GRID, nodata=None, tags=()):
    """Write an array (band, y, x) to a compressed GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype,
        crs=crs, transform=transform, nodata=nodata, compress="deflate",
    ) as file:  # fmt: skip
        file.update_tags(**dict(tags))
        file.write(values)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A temporary data folder with the catalog and registry of the project, and a tiny scene."""
    monkeypatch.delenv("COOKBOOK_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for file in ("catalog.yml", "registry.csv"):
        shutil.copy(DATA_FOLDER / file, tmp_path)
    for module in (catalog, files):
        monkeypatch.setattr(module, "DATA_FOLDER", tmp_path)
    values = np.random.default_rng(0).integers(-50, 9000, (6, 40, 30)).astype("int16")
    values[:, 0, :] = -9999
    values[3, 1, 1] = -9999
    folder = tmp_path / "simulated" / "landsat_5_small"
    for number, band in zip((1, 2, 3, 4, 5, 7), values, strict=True):
        write_tiff(folder / f"B{number}.tif", band[None], nodata=-9999)
    maps = np.stack([values[0] % 7, values[0] % 2, values[1] % 2]).astype("uint8")
    maps[:, 0, :] = 255
    write_tiff(folder / "truth.tif", maps, nodata=255, tags={"lake_area_km2": 12.5})
    return tmp_path


@pytest.fixture
def band_file(data):
    return data / "simulated" / "landsat_5_small" / "B4.tif"


# -- the catalog ------------------------------------------------------------------------------


def test_every_dataset_is_listed_and_described():
    rasters = [name for name in CATALOG if {"nodata", "maps"} & set(CATALOG[name].kwargs)]
    made = [[*names, *(f"{name}_truth" for name in names)] for names in (SIMULATED, SERIES)]
    assert rasters == [*made[0], *made[1], *REAL]
    assert set(CATALOG) == set(CATALOG.entries)
    for name in CATALOG:
        reader = CATALOG[name]
        assert len(reader.metadata["description"]) > 30
        assert {"source", "license"} <= set(reader.metadata)
        assert name not in rasters or "years" in reader.metadata
        if "scenes" in reader.kwargs:
            years = [int(scene["date"][:4]) for scene in reader.kwargs["scenes"]]
            assert reader.metadata["years"] == list(dict.fromkeys(years))
            assert reader.kwargs.get("year", years[-1]) == years[-1]
        assert reader.kwargs.get("name", name) == name


def test_catalog_states_what_the_lake_is():
    for name in SIMULATED:
        spec, kwargs = lake.SCENES[name], CATALOG[name].kwargs
        sensor = SENSORS[spec.sensor]
        (scene,) = kwargs["scenes"]
        assert (scene["date"], scene["sensor"]) == (spec.date, spec.sensor)
        assert [band["name"] for band in scene["bands"]] == list(BANDS)
        assert [band["number"] for band in scene["bands"]] == list(sensor.numbers)
        wavelengths = [band["wavelength"] for band in scene["bands"]]
        assert wavelengths == list(sensor.wavelengths)
        assert kwargs["nodata"] == lake.NODATA
        truth = CATALOG[f"{name}_truth"].kwargs
        assert (truth["attrs"], truth["dates"]) == ({"sensor": spec.sensor}, [spec.date])
        assert truth["maps"]["cover"]["flag_meanings"].split() == list(lake.COVERS)
        assert truth["maps"]["cover"]["flag_values"] == list(range(len(lake.COVERS)))


def test_catalog_states_what_the_coast_is():
    assert tuple(coast.SERIES) == SERIES
    for name in SERIES:
        series, truth = CATALOG[name].kwargs, CATALOG[f"{name}_truth"].kwargs
        assert [scene["date"] for scene in series["scenes"]] == truth["dates"]
        assert truth["dates"] == [acquisition.date for acquisition in coast.ACQUISITIONS]
        for scene in series["scenes"]:
            assert [band["name"] for band in scene["bands"]] == list(BANDS)
            assert scene["sensor"] == truth["attrs"]["sensor"] == coast.SENSOR
        assert series["nodata"] == coast.NODATA
        assert series["attrs"]["scale_factor"] == coast.SCALE
        assert series["attrs"]["add_offset"] == coast.OFFSET
        assert truth["maps"]["cover"]["flag_meanings"].split() == list(coast.COVERS)
        assert truth["maps"]["cover"]["flag_values"] == list(range(len(coast.COVERS)))


def test_registry_holds_the_files_of_the_catalog_and_no_other():
    named = {
        tuple(kwargs["files"].format(**scene, number=band["number"]).split("/"))
        for kwargs in (CATALOG[name].kwargs for name in REAL)
        for scene in kwargs["scenes"]
        for band in scene["bands"]
    }
    # Points come as one file, which the entry names; without an entry, `fetch` is given the name.
    named |= {
        (kwargs["dataset"], kwargs["file"])
        for kwargs in (CATALOG[name].kwargs for name in CATALOG)
        if {"dataset", "file"} <= set(kwargs)
    }
    registered = set(read_registry(DATA_FOLDER))
    if "ustica" not in CATALOG:
        registered.remove(("ustica", "EGMS_L2b_022_0845_IW2_VV_2020_2024_1.zip"))
    assert named == registered


@pytest.mark.parametrize("look_up", [lambda cat: cat.landsat_6, lambda cat: cat["landsat_6"]])
@pytest.mark.parametrize("error", [UnknownDatasetError, KeyError, AttributeError])
def test_unknown_name(look_up, error):
    with pytest.raises(
        error, match="^the catalog has no data set 'landsat_6' .did you mean 'landsat_.'.*; it has"
    ):
        look_up(CATALOG)
    assert not hasattr(CATALOG, "landsat_6")


def test_absent_catalog(tmp_path):
    with pytest.raises(
        DataUnavailableError, match=r"must be a catalog, .* at .*catalog\.yml, got none"
    ):
        open_catalog(tmp_path / "catalog.yml")


# -- scenes -----------------------------------------------------------------------------------


def test_scene_is_as_the_catalog_says(data):
    scene = open_catalog(data / "catalog.yml").landsat_5_small.read()
    assert scene.dims == ("band", "y", "x")
    assert (scene.dtype, scene.name) == (np.float32, "landsat_5_small")
    assert list(scene.band.values) == ["blue", "green", "red", "nir", "swir1", "swir2"]
    assert scene.number.values.tolist() == [1, 2, 3, 4, 5, 7]
    assert scene.wavelength.attrs["units"] == "um"
    assert scene.sel(band="nir").wavelength == 0.83
    assert scene.time.values == np.datetime64("1988-10-22")
    assert scene.time.dtype == "datetime64[ns]"
    assert scene.rio.crs.to_epsg() == 32611
    assert scene.x.values[[0, -1]].tolist() == [332400, 332400 + 29 * 150]  # centers
    assert scene.y.values[[0, -1]].tolist() == [4309200, 4309200 - 39 * 150]
    assert scene.attrs == {
        "long_name": "surface reflectance",
        "quantity": "surface reflectance",
        "units": "digital number",
        "scale_factor": 0.0001,
        "add_offset": 0.0,
        "sensor": "Landsat 5 TM",
        "date": "1988-10-22",
    }
    for number, band in zip(scene.number.values, scene.values, strict=True):
        with rasterio.open(data / "simulated" / "landsat_5_small" / f"B{number}.tif") as file:
            raw = file.read(1)
        np.testing.assert_array_equal(np.isnan(band), raw == -9999)
        np.testing.assert_array_equal(band[raw != -9999], raw[raw != -9999])
    assert int(scene.isnull().sum()) == 6 * 30 + 1


def test_truth_opens_as_label_maps(data):
    truth = open_catalog(data / "catalog.yml").landsat_5_small_truth.read()
    assert list(truth) == ["cover", "water", "cloud"]
    with rasterio.open(data / "simulated" / "landsat_5_small" / "truth.tif") as file:
        raw = file.read()
    for number, variable in enumerate(truth.values()):
        assert (variable.dims, variable.dtype) == (("y", "x"), np.uint8)
        assert variable.chunks is not None
        assert variable.attrs["_FillValue"] == 255
        assert len(variable.attrs["flag_values"]) == len(variable.attrs["flag_meanings"].split())
        np.testing.assert_array_equal(variable.values, raw[number])
    assert truth.water.attrs["flag_meanings"] == "land water"
    assert truth.attrs == {"sensor": "Landsat 5 TM", "date": "1988-10-22", "lake_area_km2": 12.5}
    assert truth.rio.crs.to_epsg() == 32611
    assert truth.time.values == np.datetime64("1988-10-22")


@pytest.mark.parametrize("name", SIMULATED[:2])
def test_catalog_opens_what_simulate_writes(data, name):
    """Both have the same values, names, coordinates, CRS and attributes."""
    shutil.rmtree(data / "simulated")
    write_scene(data / "simulated", name)
    scene, truth = simulate_scene(name)
    cat = open_catalog()
    xr.testing.assert_identical(cat[name].read().compute(), scene)
    xr.testing.assert_identical(cat[f"{name}_truth"].read().compute(), truth)


@pytest.fixture(scope="module")
def written_coast(tmp_path_factory):
    """The small series, written once; tests that damage it use a copy."""
    return write_coast(tmp_path_factory.mktemp("simulated"), "coast_series_small")


@pytest.fixture
def coast_folder(data, written_coast):
    files = shutil.ignore_patterns("checksums.json")  # the tests change files as they like
    return Path(
        shutil.copytree(written_coast, data / "simulated" / written_coast.name, ignore=files)
    )


def test_catalog_opens_the_series_that_simulate_writes(coast_folder):
    series, truth = simulate_coast()
    cat = open_catalog()
    lazy = cat.coast_series_small.read()
    assert lazy.dims == ("time", "band", "y", "x")
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), series)
    xr.testing.assert_identical(cat.coast_series_small_truth.read().compute(), truth)


def test_series_becomes_reflectance(coast_folder):
    series = open_catalog().coast_series_small.read()
    reflectance = to_reflectance(series)
    assert reflectance.attrs["units"] == "1"
    assert (reflectance.dims, reflectance.dtype) == (series.dims, np.float32)
    expected = series.values.astype("f8") * 0.0000275 - 0.2  # Landsat Collection 2, Level 2
    np.testing.assert_allclose(reflectance.values, expected, atol=1e-6)


def test_series_has_a_chunk_for_each_date_and_band(coast_folder):
    (coast_folder / "2025-04-17_B5.tif").write_bytes(
        (coast_folder / "2025-04-02_B2.tif").read_bytes()
    )
    series = open_catalog().coast_series_small.read(chunks={"y": 100, "x": 400})
    assert series.chunks == ((1,) * 5, (1,) * 6, (100,) * 4, (400,))
    same = series.sel(time="2025-04-17", band="nir") == series.sel(time="2025-04-02", band="blue")
    assert float(same.mean()) == pytest.approx(0.829, abs=1e-3)  # NaN equals nothing


def test_series_without_a_file(coast_folder):
    (coast_folder / "2025-04-17_B5.tif").unlink()
    message = r"no file .*2025-04-17_B5\.tif; run `python -m cookbook_utils\.simulate` "
    with pytest.raises(DataUnavailableError, match=message):
        open_catalog().coast_series_small.read()
    (coast_folder / "truth.tif").unlink()
    with pytest.raises(DataUnavailableError, match=r"no file .*truth\.tif; run `python -m"):
        open_catalog().coast_series_small_truth.read()


@pytest.mark.parametrize("name", [SERIES[1], f"{SERIES[1]}_truth"])
def test_full_size_series_says_how_to_make_it(data, name):
    with pytest.raises(DataUnavailableError, match=r"`python -m .*simulate coast_series`"):
        open_catalog()[name].read()


def test_series_whose_dates_lie_on_two_grids(coast_folder):
    write_tiff(
        coast_folder / "2025-04-26_B7.tif",
        np.zeros((1, 400, 400), "uint16"),
        crs="EPSG:32642",
        transform=from_origin(275010 + 120, 2770980, 120, 120),
    )
    with pytest.raises(ValueError, match=r"share one grid .*26_B7\.tif and .* in .*02_B2\.tif"):
        open_catalog().coast_series_small.read()


def test_series_truth_lacks_a_date(coast_folder):
    grid = from_origin(275010, 2770980, 120, 120)
    maps = np.zeros((4, 400, 400), "uint8")
    write_tiff(coast_folder / "truth.tif", maps, crs="EPSG:32642", transform=grid)
    with pytest.raises(ValueError, match=r"truth\.tif must have 5 bands, got 4"):
        open_catalog().coast_series_small_truth.read()


def test_read_decodes_no_pixels(band_file):
    """Pixels that cannot be decoded raise an error when they are computed."""
    with rasterio.open(band_file) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = band_file.read_bytes()
    band_file.write_bytes(content[:start] + bytes(len(content) - start))
    scene = open_catalog().landsat_5_small.read()
    assert scene.chunks is not None
    scene.sel(band="red").compute()
    message = r"B4\.tif cannot be read in rows 0 to 40.*; delete it and run `python -m cookbook"
    for scheduler in ("synchronous", "threads"):
        with pytest.raises(OSError, match=message) as raised:
            scene.sel(band="nir").compute(scheduler=scheduler)
        assert type(raised.value) is OSError  # no error of rasterio


def test_chunks_are_an_argument_of_read(data):
    scene = open_catalog().landsat_5_small.read(chunks={"y": 16, "x": 30})
    assert scene.chunks == ((1,) * 6, (16, 16, 8), (30,))
    xr.testing.assert_identical(scene.compute(), open_catalog().landsat_5_small.read().compute())


def test_scenes_of_an_entry_open_as_a_series(real_data):
    cat = open_catalog()
    series = cat.betsiboka.read(year=None)
    assert series.dims == ("time", "band", "y", "x")
    assert "date" not in series.attrs
    for year in (2017, 2020):
        scene = cat.betsiboka.read(year=year)
        of_year = series.sel(time=scene.time)
        xr.testing.assert_equal(of_year.compute(), scene.compute())


def test_scenes_with_different_bands_do_not_open_as_a_series():
    message = "walker_lake: scenes must share their bands, got others on 2017-10-22 than on 1988"
    with pytest.raises(ValueError, match=message):
        CATALOG.walker_lake.read(year=None)


def test_year_without_a_scene():
    with pytest.raises(ValueError, match="^betsiboka: year must be one of 2017, 2020, got 2018$"):
        CATALOG.betsiboka.read(year=2018)


def test_scene_computes_in_other_processes(data):
    from distributed import Client

    scene = open_catalog().landsat_5_small.read()
    expected = scene.compute(scheduler="synchronous")
    with Client(
        processes=True, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as client:
        there = client.compute(scene).result(timeout=60)
    xr.testing.assert_identical(there, expected)


# -- the real scenes --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "year"), SCENES)
def test_real_scene(real_data, name, year):
    reader = open_catalog()[name]
    scene = reader.read(year=year)
    assert scene.dims == ("band", "y", "x")
    assert (scene.dtype, scene.shape, scene.name) == (np.float32, SHAPES[name, year], name)
    assert scene.chunks is not None
    assert scene.time.dt.year == year
    assert (np.diff(scene.y) < 0).all() and (np.diff(scene.x) > 0).all()
    assert scene.rio.crs.to_epsg() == (32611 if name == "walker_lake" else 4326)
    values = scene.values
    kwargs = reader.kwargs
    (facts,) = [scene for scene in kwargs["scenes"] if scene["date"].startswith(str(year))]
    for number, band in zip(scene.number.values, values, strict=True):
        with rasterio.open(real_data / kwargs["files"].format(**facts, number=number)) as file:
            raw = file.read(int(number) if file.count > 1 else 1)
            assert file.nodata in (None, kwargs["nodata"])
        np.testing.assert_array_equal(band, np.where(raw == kwargs["nodata"], np.nan, raw))
    assert {"long_name", "units", "quantity", "sensor", "date"} <= scene.attrs.keys()


def test_default_years_are_the_last(real_data):
    cat = open_catalog()
    assert [cat[name].read().attrs["date"] for name in REAL] == ["2020-01-27", "2020", "2017-10-22"]


def test_real_scenes_with_a_scale_become_reflectance(real_data):
    cat = open_catalog()
    estuary = to_reflectance(cat.betsiboka.read())
    assert estuary.attrs["long_name"] == "top-of-atmosphere reflectance"
    assert 0 < float(estuary.min()) < float(estuary.max()) < 1
    lake = to_reflectance(cat.walker_lake.read())
    assert lake.attrs["long_name"] == "surface reflectance"
    assert -0.1 < float(lake.min()) < float(lake.max()) < 1
    with pytest.raises(ValueError, match="one scale to reflectance"):
        to_reflectance(cat.pucallpa.read())


@pytest.mark.parametrize(("year", "share"), [(2017, 0.337), (2020, 0.448)])
def test_water_share_of_betsiboka(real_data, year, share):
    """The shares of MNDWI > 0.1 are those of the data card, which confirms bands and nodata."""
    scene = open_catalog().betsiboka.read(year=year).compute()
    green, swir = scene.sel(band="green"), scene.sel(band="swir1")
    index = ((green - swir) / (green + swir)).values
    assert np.mean(index[~np.isnan(index)] > 0.1) == pytest.approx(share, abs=5e-4)


# -- what is wrong with a file ----------------------------------------------------------------


def test_missing_band_file(band_file):
    band_file.unlink()
    with pytest.raises(
        DataUnavailableError, match=r"no file .*B4\.tif; run `python -m cookbook_utils\.simulate` "
    ):
        open_catalog().landsat_5_small.read()


def test_full_size_scene_says_how_to_make_it(data):
    with pytest.raises(
        DataUnavailableError, match=r"`python -m cookbook_utils\.simulate landsat_5`"
    ):
        open_catalog().landsat_5.read()


@pytest.mark.parametrize("kept", [0.95, 0.5])
def test_truncated_file(band_file, kept):
    content = band_file.read_bytes()
    band_file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(OSError, match=r"B4\.tif must have at least \d+ bytes, got \d+: it is cut"):
        open_catalog().landsat_5_small.read()


@pytest.mark.parametrize("content", [b"", b"II*\0", b"<html>not found</html>"])
def test_file_is_not_a_geotiff(band_file, content):
    band_file.write_bytes(content)
    with pytest.raises(OSError, match=r"B4\.tif must be a readable GeoTIFF, .*delete it and run"):
        open_catalog().landsat_5_small.read()


@pytest.fixture
def checksums(band_file):
    measured = {path.name: size_and_crc32(path) for path in band_file.parent.glob("*.tif")}
    path = band_file.with_name("checksums.json")
    path.write_text(json.dumps({"signature": "none", "files": measured}))
    return path


def test_checksums_detect_damaged_bytes(band_file, checksums):
    """GDAL decodes some of them to other pixels without an error."""
    whole = open_catalog().landsat_5_small.read().compute()
    content = band_file.read_bytes()
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 1
        band_file.write_bytes(damaged)
        with pytest.raises(OSError, match=r"B4\.tif must have the size and CRC-32 \["):
            open_catalog().landsat_5_small.read()
    band_file.write_bytes(content)
    xr.testing.assert_identical(open_catalog().landsat_5_small.read().compute(), whole)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {}}', '{"files": []}', "[" * 9999])
def test_damaged_checksums(checksums, text):
    checksums.write_text(text)
    with pytest.raises(
        OSError, match=r"checksums\.json must hold the checksum of B1\.tif, got none"
    ):
        open_catalog().landsat_5_small.read()


def test_two_crs(band_file):
    write_tiff(band_file, np.ones((1, 40, 30), "int16"), crs="EPSG:32612")
    with pytest.raises(ValueError, match=r"share one CRS, got EPSG:32612 in .*B4\.tif and .*32611"):
        open_catalog().landsat_5_small.read()


@pytest.mark.parametrize(
    ("shape", "transform"), [((1, 40, 29), GRID), ((1, 40, 30), from_origin(0, 9000, 150, 150))]
)
def test_two_grids(band_file, shape, transform):
    write_tiff(band_file, np.ones(shape, "int16"), transform=transform)
    with pytest.raises(ValueError, match=r"share one grid .* in .*B4\.tif and .* in .*B1\.tif"):
        open_catalog().landsat_5_small.read()


def test_wrong_number_of_bands(band_file):
    write_tiff(band_file.with_name("truth.tif"), np.ones((2, 40, 30), "uint8"))
    with pytest.raises(ValueError, match=r"truth\.tif must have 3 bands, got 2"):
        open_catalog().landsat_5_small_truth.read()


def every_band(band_file, values, **options):
    for path in band_file.parent.glob("B*.tif"):
        write_tiff(path, values, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crs": None}, "must be georeferenced, .* got the CRS None"),
        ({"crs": None, "transform": Affine.identity()}, "must be georeferenced"),
        ({"transform": GRID @ Affine.rotation(10)}, "must be georeferenced"),
        ({"transform": Affine(-150, 0, 9e5, 0, -150, 9e5)}, "must be georeferenced"),
        ({"transform": Affine(np.nan, 0, 9e5, 0, -150, 9e5)}, "must be georeferenced"),
        ({"nodata": 0}, "must have the nodata value of the catalog, -9999, got 0"),
        ({"transform": Affine(1e307, 0, 9e5, 0, -1e307, 9e5)}, "must have a grid of finite"),
        ({"transform": Affine(1e-300, 0, 9e5, 0, -150, 9e5)}, "must have a grid of .* differ"),
        ({"transform": Affine(150, 0, 9e5, 0, -1e-10, 9e5)}, "must have a grid of .* differ"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_wrong_georeference_or_nodata(band_file, options, message):
    every_band(band_file, np.ones((1, 40, 30), "int16"), **options)
    with pytest.raises(ValueError, match=rf"B1\.tif {message}"):
        open_catalog().landsat_5_small.read()


def with_palette(file):
    file.write_colormap(1, {0: (0, 0, 0), 1: (255, 255, 255)})


def with_mask(file):
    file.write_mask(np.eye(40, 30, dtype=bool))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (with_palette, {"photometric": "palette"}, "got indices into a palette"),
        (with_mask, {}, "must mark missing pixels by the nodata value, got a mask"),
    ],
)
@pytest.mark.parametrize("internal", [True, False])
def test_palettes_and_masks_are_refused(band_file, change, options, message, internal):
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(
            band_file, "w", driver="GTiff", count=1, height=40, width=30, dtype="uint8",
            crs="EPSG:32611", transform=GRID, **options,
        ) as file,
    ):  # fmt: skip
        file.write(np.ones((1, 40, 30), "uint8"))
        change(file)
    with pytest.raises(ValueError, match=message):
        open_geotiffs([RasterFile(band_file, "make it")], RasterSpec(1, ("uint8",), 255), -1)


def test_alpha_band_is_refused(band_file):
    write_tiff(band_file, np.ones((2, 40, 30), "uint8"))
    with rasterio.open(band_file, "r+") as file:
        file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    with pytest.raises(ValueError, match="got a mask or an alpha band"):
        open_geotiffs([RasterFile(band_file, "make it")], RasterSpec(2, ("uint8",), 255), -1)


def test_tags_of_netcdf_add_no_dimension(band_file):
    """rioxarray makes a coordinate of the tags of a file that was converted from NetCDF."""
    values = np.ones((1, 40, 30), "int16")
    tags = {"NETCDF_DIM_EXTRA": "{time}", "NETCDF_DIM_time_VALUES": "{5}",
            "NETCDF_DIM_time_DEF": "{1,6}"}  # fmt: skip
    every_band(band_file, values, tags=tags)
    scene = open_catalog().landsat_5_small.read()
    assert scene.dims == ("band", "y", "x") and scene.shape == (6, 40, 30)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "float64", "complex64"])
def test_dtypes_that_float32_cannot_represent(band_file, dtype):
    every_band(band_file, np.ones((1, 40, 30), dtype))
    with pytest.raises(ValueError, match=rf"B1\.tif must hold uint8 .*float32, got {dtype}"):
        open_catalog().landsat_5_small.read()


def test_two_dtypes(band_file):
    write_tiff(band_file, np.ones((1, 40, 30), "float32"))
    with pytest.raises(ValueError, match=r"dtype float32 in .*B4\.tif and int16 in .*B1\.tif"):
        open_catalog().landsat_5_small.read()


def test_floats_with_nan_for_nodata(band_file):
    values = np.where(np.eye(40, 30, dtype=bool), np.nan, 0.5)[None].astype("float32")
    every_band(band_file, values, nodata=np.nan)
    scene = open_catalog().landsat_5_small.read()
    np.testing.assert_array_equal(scene.values, np.broadcast_to(values, scene.shape))


def test_rows_from_south_to_north(band_file):
    values = np.arange(1200, dtype="int16").reshape(1, 40, 30)
    every_band(band_file, values, transform=Affine(150, 0, 332325, 0, 150, 4303275))
    scene = open_catalog().landsat_5_small.read()
    assert scene.y.values[[0, -1]].tolist() == [4303350, 4303350 + 39 * 150]
    np.testing.assert_array_equal(scene.sel(band="red").values, values[0])


@pytest.mark.parametrize(
    ("dtype", "options", "message"),
    [
        ("float32", {}, "must hold uint8, got float32"),
        ("int16", {}, "must hold uint8, got int16"),
        ("uint8", {"nodata": 0}, "must have the nodata value of the catalog, 255, got 0"),
        ("uint8", {}, "must have the tag lake_area_km2, .* got None"),
        (
            "uint8",
            {"tags": {"lake_area_km2": "wide"}},
            "lake_area_km2, a finite number .* got 'wide'",
        ),
        (
            "uint8",
            {"tags": {"lake_area_km2": "nan"}},
            "lake_area_km2, a finite number .* got",
        ),
        (
            "uint8",
            {"tags": {"lake_area_km2": "-1"}},
            "lake_area_km2, a finite number .* got",
        ),
        (
            "uint8",
            {"tags": {"lake_area_km2": "inf"}},
            "lake_area_km2, a finite number .* got",
        ),
    ],
)
def test_truth_with_a_wrong_dtype_nodata_or_tag(band_file, dtype, options, message):
    write_tiff(band_file.with_name("truth.tif"), np.ones((3, 40, 30), dtype), **options)
    with pytest.raises((OSError, ValueError), match=rf"truth\.tif .*{message}"):
        open_catalog().landsat_5_small_truth.read()


def claim(path, width, height, *, count=1, dtype="int16", **options):
    """Write a GeoTIFF with a header and no pixels."""
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=dtype,
        crs="EPSG:32611", transform=GRID, sparse_ok=True, bigtiff="yes", **options,
    ):  # fmt: skip
        pass


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        ((200_000, 200_000), {"tiled": True}, "hold all of its blocks, got none in row 0"),
        ((200_000, 200_000), {}, "hold all of its blocks, got none in row 0"),
        ((40_000, 40_000), {"tiled": True, "blockxsize": 16, "blockysize": 16}, "at most 1000000"),
        ((2**31 - 1, 1), {"dtype": "uint8"}, "must have at most 1000000 pixels along a side"),
        ((50_000, 50_000), {"tiled": True, "blockxsize": 32768, "blockysize": 32768}, "blocks of"),
        ((10, 10), {"count": 65535, "dtype": "uint8"}, "must have 1 bands, got 65535"),
        ((30, 40), {}, "hold all of its blocks, got none in row 0, column 0 of band 1"),
    ],
)
def test_header_claims_a_huge_or_unwritten_raster(band_file, size, options, message):
    for path in band_file.parent.glob("B*.tif"):
        claim(path, *size, **options)
    with pytest.raises((OSError, ValueError), match=rf"B1\.tif .*{message}"):
        open_catalog().landsat_5_small.read()


def test_large_raster_stays_lazy(band_file):
    """A small, complete file may decompress to more than the host memory; it is read in chunks."""
    claim(
        band_file, 20_000, 20_000, dtype="uint8", tiled=True, blockxsize=4096, blockysize=4096,
        compress="deflate",
    )  # fmt: skip
    with rasterio.open(band_file, "r+") as file:
        for _, window in file.block_windows(1):
            file.write(np.ones((int(window.height), int(window.width)), "uint8"), 1, window=window)
    kind = RasterSpec(1, ("uint8",), 0)
    raster = open_geotiffs([RasterFile(band_file, "make it")], kind, {"y": 2048, "x": 2048})
    assert raster.shape == (1, 20_000, 20_000)
    assert raster.chunks == ((1,), (2048,) * 9 + (1568,), (2048,) * 9 + (1568,))
    assert raster[0, 10_000, 10_000].compute() == 1
    with pytest.raises(ValueError, match="chunks must have at most 1073741824 bytes in float32"):
        open_geotiffs([RasterFile(band_file, "make it")], kind, -1)


def test_vrt_is_not_opened(band_file):
    """GDAL opens a VRT with any file name, and a VRT may refer to any file or address."""
    band_file.write_text(
        '<VRTDataset rasterXSize="30" rasterYSize="40"><VRTRasterBand dataType="Int16" band="1">'
        f"<SimpleSource><SourceFilename>{band_file.parent}/B1.tif</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(OSError, match=r"B4\.tif must be a readable GeoTIFF"):
        open_catalog().landsat_5_small.read()


@pytest.mark.parametrize("kind", ["folder", "loop", "fifo", "device"])
def test_path_is_not_a_regular_file(band_file, kind):
    band_file.unlink()
    if kind == "folder":
        band_file.mkdir()
    elif kind == "fifo":
        os.mkfifo(band_file)
    else:
        band_file.symlink_to(band_file if kind == "loop" else "/dev/zero")
    with pytest.raises(DataUnavailableError, match=r"no file .*B4\.tif; run `python -m"):
        open_catalog().landsat_5_small.read()


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_file_changes_while_it_is_open(band_file, scheduler):
    scene = open_catalog().landsat_5_small.read()
    write_tiff(band_file, np.ones((1, 40, 30), "int16"), nodata=-9999)
    with pytest.raises(OSError, match=r"B4\.tif must not change .*: open the data set again"):
        scene.compute(scheduler=scheduler)
    scene = open_catalog().landsat_5_small.read()
    band_file.unlink()
    with pytest.raises(OSError, match=r"B4\.tif cannot be read in rows 0 to 40, .*No such file"):
        scene.compute(scheduler=scheduler)


@pytest.mark.parametrize(
    ("chunks", "error", "message"),
    [
        (None, TypeError, 'numbers of pixels, -1 for all, or "auto", got None'),
        (1.5, TypeError, "numbers of pixels"),
        (True, TypeError, "numbers of pixels"),
        ("large", TypeError, "numbers of pixels"),
        ((1, 2), TypeError, "numbers of pixels"),
        ({"y": "x"}, TypeError, "numbers of pixels"),
        (0, ValueError, "at least 1 pixel wide, or -1 for all, got 0"),
        (-2, ValueError, "at least 1 pixel wide"),
        ({"band": 1}, ValueError, r"of y and x, got \['band'\]"),
        ({3: 1}, ValueError, "of y and x, got"),
    ],
)
def test_invalid_chunks(data, chunks, error, message):
    with pytest.raises(error, match=f"chunks must be .*{message}"):
        open_catalog().landsat_5_small.read(chunks=chunks)


@pytest.mark.parametrize("chunks", ["auto", -1, 10**30, {"y": 7}, {}])
def test_valid_chunks(data, chunks):
    scene = open_catalog().landsat_5_small.read(chunks=chunks)
    assert scene.chunks is not None
    xr.testing.assert_identical(scene.compute(), open_catalog().landsat_5_small.read().compute())


def test_too_many_chunks(band_file):
    every_band(band_file, np.ones((1, 200, 200), "int16"))
    with pytest.raises(ValueError, match="chunks must be at most 20000 of a file, got 40000"):
        open_catalog().landsat_5_small.read(chunks=1)


def test_scene_that_is_all_nodata(band_file):
    for path in band_file.parent.glob("B*.tif"):
        write_tiff(path, np.full((1, 40, 30), -9999, "int16"))
    with pytest.raises(ValueError, match="scene must have a pixel with a value"):
        stack_pixels(open_catalog().landsat_5_small.read())


# -- real files by address and hash -----------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on the loopback interface and records the requests."""

    def __init__(self, folder):
        self.requests = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=folder))


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requests.append(self.path)


@pytest.fixture
def server(data):
    """A server of the two files in the registry of the data folder."""
    offered = data / "offered"
    offered.mkdir()
    with Server(offered) as server:
        rows = ["dataset,file,bytes,sha256,url"]
        for name in ("a.tif", "b.tif"):
            (offered / name).write_bytes(name.encode() * 1000)
            sha256 = hashlib.sha256(name.encode() * 1000).hexdigest()
            rows.append(f"lake,{name},5000,{sha256},http://127.0.0.1:{server.server_port}/{name}")
        (data / "registry.csv").write_text("\n".join(rows))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_fetch_downloads_once(server, data, capfd):
    path = fetch("lake", "a.tif")
    assert path == data / "downloads" / "lake" / "a.tif"
    assert path.read_bytes() == b"a.tif" * 1000
    assert fetch("lake", "a.tif") == path
    assert server.requests == ["/a.tif"]
    assert [p.name for p in path.parent.iterdir()] == ["a.tif"]  # and no temporary file
    assert capfd.readouterr() == ("", "")


def test_fetch_replaces_a_damaged_download(server, data):
    path = fetch("lake", "a.tif")
    path.write_bytes(b"damaged")
    assert fetch("lake", "a.tif").read_bytes() == b"a.tif" * 1000


def test_fetch_refuses_a_download_of_another_hash(server, data):
    (data / "offered" / "a.tif").write_bytes(b"another file")
    with pytest.raises(DataUnavailableError, match=r"it sent 12 bytes instead of 5000"):
        fetch("lake", "a.tif")
    (data / "offered" / "a.tif").write_bytes(b"wrong" * 1000)
    with pytest.raises(DataUnavailableError, match="it sent another file of 5000 bytes, whose SHA"):
        fetch("lake", "a.tif")
    assert not list((data / "downloads").rglob("*.tif"))


def test_fetch_uses_the_given_folder_first(server, data, monkeypatch):
    given = data / "given" / "lake" / "a.tif"
    given.parent.mkdir(parents=True)
    shutil.copy(data / "offered" / "a.tif", given)
    downloaded = fetch("lake", "a.tif")
    monkeypatch.setenv("COOKBOOK_DATA", str(data / "given"))
    assert fetch("lake", "a.tif") == given
    assert fetch("lake", "b.tif").parent == downloaded.parent  # which the folder does not hold


def test_fetch_refuses_a_file_of_another_hash_in_the_given_folder(server, data, monkeypatch):
    fetch("lake", "a.tif")
    given = data / "given" / "lake" / "a.tif"
    given.parent.mkdir(parents=True)
    given.write_bytes(b"another file")
    monkeypatch.setenv("COOKBOOK_DATA", str(data / "given"))
    with pytest.raises(ValueError, match=r"a\.tif, .* must have the SHA-256 .*: it was not used"):
        fetch("lake", "a.tif")


@pytest.mark.parametrize("given", [False, True])
def test_fetch_detects_a_change_that_keeps_size_and_time(server, data, monkeypatch, given):
    path = fetch("lake", "a.tif")
    if given:
        path = Path(shutil.copytree(path.parent, data / "given" / "lake")) / "a.tif"
        monkeypatch.setenv("COOKBOOK_DATA", str(data / "given"))
    fetch("lake", "a.tif")
    status = path.stat()
    path.write_bytes(b"wrong" * 1000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if given:
        with pytest.raises(ValueError, match="must have the SHA-256 .*, got .*: it was not used"):
            fetch("lake", "a.tif")
    else:
        assert fetch("lake", "a.tif").read_bytes() == b"a.tif" * 1000


def run_in_notebook(code):
    """Run code in a process that tqdm takes for a notebook kernel without ipywidgets."""
    kernel = "import sys, ipykernel.zmqshell; sys.modules['ipywidgets'] = None\n"
    command = [sys.executable, "-W", "default", "-c", kernel + code]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.slow
def test_fetch_is_silent_in_a_notebook(server, data):
    assert "IProgress not found" in run_in_notebook("import tqdm.auto").stderr
    code = f"""
from pathlib import Path
from cookbook_utils.datasets import fetch
fetch("lake", "a.tif", folder=Path({str(data)!r}))
print("requests" in sys.modules)
"""
    downloaded, found = run_in_notebook(code), run_in_notebook(code)
    assert (downloaded.stdout, downloaded.stderr) == ("True\n", "")
    assert (found.stdout, found.stderr) == ("False\n", "")  # reads no more than it needs


def test_fetch_offline(server, data):
    server.shutdown()
    server.server_close()
    with pytest.raises(
        DataUnavailableError,
        match=r"lake/a\.tif is not on this machine and could not be downloaded from http.*"
        r"run `make data` .*set COOKBOOK_DATA",
    ):
        fetch("lake", "a.tif")
    assert not list((data / "downloads").rglob("*.tif"))


def test_fetch_of_a_file_that_the_server_lacks(server, data):
    (data / "offered" / "a.tif").unlink()
    with pytest.raises(DataUnavailableError, match=r"could not be downloaded .*\(it answered 404 "):
        fetch("lake", "a.tif")


def test_absent_real_scene_offline(data):
    registry = (data / "registry.csv").read_text()
    (data / "registry.csv").write_text(re.sub("https://[^/]+", "http://127.0.0.1:9", registry))
    with pytest.raises(DataUnavailableError, match="betsiboka_2020-01-27_B02.tiff is not on this"):
        open_catalog().betsiboka.read()


@pytest.mark.parametrize(
    ("name", "known"), [(("lake", "c.tif"), r"a\.tif, b\.tif"), (("sea", "a.tif"), "lake$")]
)
def test_fetch_of_an_unregistered_file(server, name, known):
    with pytest.raises(
        ValueError, match=f"registry has no file {'/'.join(name)}.*; it has: {known}"
    ):
        fetch(*name)


@pytest.fixture
def read_only(server, data):
    """A data folder that this process cannot write, even if the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(data / "registry.csv", folder)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            if os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                pytest.skip("this system lets the process write a folder that is read-only")
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_fetch_into_a_read_only_folder(read_only, server):
    with pytest.raises(
        DataUnavailableError,
        match=r"lake cannot be written .*make that folder writable, or .*set COOKBOOK_DATA",
    ):
        fetch("lake", "a.tif", folder=read_only)
    assert server.requests == []


def test_command_downloads_every_file(server, data, capsys):
    for _ in range(2):
        assert main(["--folder", str(data)]) == 0
        paths = [str(data / "downloads" / "lake" / name) for name in ("a.tif", "b.tif")]
        assert capsys.readouterr().out.split() == paths
    assert sorted(server.requests) == ["/a.tif", "/b.tif"]


def test_command_continues_after_a_failure(server, data, capsys):
    (data / "offered" / "a.tif").unlink()
    assert main(["--folder", str(data)]) == 1
    out, err = capsys.readouterr()
    assert out.split() == [str(data / "downloads" / "lake" / "b.tif")]
    assert "lake/a.tif is not on this machine" in err


def test_command_downloads_what_is_named(server, data, capsys):
    rows = (data / "registry.csv").read_text()
    (data / "registry.csv").write_text(rows + f"\nsea,c.tif,5,{'0' * 64},http://127.0.0.1:9/c")
    assert main(["lake", "--folder", str(data)]) == 0
    assert len(capsys.readouterr().out.split()) == 2
    with pytest.raises(SystemExit):
        main(["river", "--folder", str(data)])
    assert "names must be among lake, sea, got river" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--folder", str(data / "nowhere")])
    assert "there must be a registry" in capsys.readouterr().err


def test_a_worker_of_dask_caches_few_blocks(band_file, monkeypatch):
    """5 % of the memory of the machine can be more than a worker has, and Dask cannot free it."""
    limits = []

    def record(path):
        limits.append(get_gdal_config("GDAL_CACHEMAX"))
        return opened(path)

    monkeypatch.setattr(_geotiffs, "gdal_cache", lambda: {"GDAL_CACHEMAX": 2**26})
    monkeypatch.setattr(_geotiffs, "opened", record)
    kind = RasterSpec(1, ("int16",), -9999)
    open_geotiffs([RasterFile(band_file, "make it")], kind, -1).compute(scheduler="sync")
    assert limits == [2**26]
