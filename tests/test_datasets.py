"""The catalog, the readers and the checked real files."""

from __future__ import annotations

import functools
import hashlib
import http.server
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
from rasterio.transform import from_origin

from cookbook_utils import datasets
from cookbook_utils.datasets import (
    DataUnavailableError,
    UnknownDatasetError,
    fetch,
    open_catalog,
)
from cookbook_utils.scaling import to_reflectance
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
    """Write bands (band, y, x) to a compressed GeoTIFF with its header first."""
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
    """A data folder elsewhere: the project's catalog and registry, and a tiny simulated scene."""
    monkeypatch.delenv("COOKBOOK_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for file in ("catalog.yml", "registry.csv"):
        shutil.copy(datasets.DATA_FOLDER / file, tmp_path)
    monkeypatch.setattr(datasets, "DATA_FOLDER", tmp_path)
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
    rasters = [name for name in CATALOG if {"fill", "maps"} & set(CATALOG[name].kwargs)]
    made = [[*names, *(f"{name}_truth" for name in names)] for names in (SIMULATED, SERIES)]
    assert rasters == [*made[0], *made[1], *REAL]
    assert set(CATALOG) == set(CATALOG.entries)
    for name in CATALOG:
        reader = CATALOG[name]
        assert len(reader.metadata["description"]) > 30
        assert {"source", "license"} <= set(reader.metadata)
        assert name not in rasters or "years" in reader.metadata
        if "scenes" in reader.kwargs:
            assert reader.metadata["years"] == list(reader.kwargs["scenes"])
            assert reader.kwargs["year"] in reader.kwargs["scenes"]
        assert reader.kwargs.get("name", name) == name


def test_catalog_states_what_simulate_makes():
    from cookbook_utils import simulate

    for name in SIMULATED:
        spec, kwargs = simulate.SCENES[name], CATALOG[name].kwargs
        (scene,) = kwargs["scenes"].values()
        assert (scene["date"], scene["sensor"]) == (spec.date, spec.sensor)
        assert [band["name"] for band in scene["bands"]] == list(simulate.BANDS)
        assert [band["number"] for band in scene["bands"]] == list(simulate.SENSORS[spec.sensor][0])
        wavelengths = [band["wavelength"] for band in scene["bands"]]
        assert wavelengths == list(simulate.SENSORS[spec.sensor][1])
        assert kwargs["fill"] == simulate.NODATA
        truth = CATALOG[f"{name}_truth"].kwargs
        assert truth["attrs"] == {"sensor": spec.sensor, "date": spec.date}
        assert truth["maps"]["cover"]["flag_meanings"].split() == list(simulate.COVER)
        assert truth["maps"]["cover"]["flag_values"] == list(range(len(simulate.COVER)))


def test_catalog_states_what_simulate_coast_makes():
    from cookbook_utils import simulate_coast as coast

    assert tuple(coast.SERIES) == SERIES
    for name in SERIES:
        series, truth = CATALOG[name].kwargs, CATALOG[f"{name}_truth"].kwargs
        assert series["dates"] == truth["dates"] == [date.date for date in coast.DATES]
        assert [band["name"] for band in series["bands"]] == list(coast.BANDS)
        assert series["fill"] == coast.NODATA
        assert series["attrs"]["sensor"] == truth["attrs"]["sensor"] == coast.SENSOR
        assert series["attrs"]["scale_factor"] == coast.SCALE
        assert series["attrs"]["add_offset"] == coast.OFFSET
        assert truth["maps"]["cover"]["flag_meanings"].split() == list(coast.COVERS)
        assert truth["maps"]["cover"]["flag_values"] == list(range(len(coast.COVERS)))


def test_registry_holds_the_files_of_the_catalog_and_no_other():
    named = {
        tuple(kwargs["files"].format(**scene, number=band["number"]).split("/"))
        for kwargs in (CATALOG[name].kwargs for name in REAL)
        for scene in kwargs["scenes"].values()
        for band in scene["bands"]
    }
    # Points come as one file, which the entry names; without an entry, `fetch` is given the name.
    named |= {
        (kwargs["dataset"], kwargs["file"])
        for kwargs in (CATALOG[name].kwargs for name in CATALOG)
        if {"dataset", "file"} <= set(kwargs)
    }
    registered = set(datasets._registry(datasets.DATA_FOLDER))
    if "ustica" not in CATALOG:
        registered.remove(("ustica", "EGMS_L2b_022_0845_IW2_VV_2020_2024_1.zip"))
    assert named == registered


@pytest.mark.parametrize("look_up", [lambda cat: cat.landsat_6, lambda cat: cat["landsat_6"]])
@pytest.mark.parametrize("error", [UnknownDatasetError, KeyError, AttributeError])
def test_unknown_name(look_up, error):
    with pytest.raises(error, match="^the catalog has no data set 'landsat_6'; it has: landsat_5_"):
        look_up(CATALOG)
    assert not hasattr(CATALOG, "landsat_6")


def test_no_catalog(tmp_path):
    with pytest.raises(DataUnavailableError, match="no catalog at .*pass open_catalog the path"):
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


def test_truth_is_label_maps(data):
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
    """Values, names, coordinates, CRS and attributes, all alike: either may be used."""
    from cookbook_utils.simulate import simulate_scene, write_scene

    write_scene(name, data / "simulated")
    scene, truth = simulate_scene(name)
    cat = open_catalog()
    xr.testing.assert_identical(cat[name].read().compute(), scene)
    xr.testing.assert_identical(cat[f"{name}_truth"].read().compute(), truth)


@pytest.fixture(scope="module")
def coast(tmp_path_factory):
    """The small series as it is written, once; tests that damage it copy it."""
    from cookbook_utils.simulate_coast import write_coast

    return write_coast("coast_series_small", tmp_path_factory.mktemp("simulated"))


@pytest.fixture
def coast_folder(data, coast):
    return Path(shutil.copytree(coast, data / "simulated" / coast.name))


def test_catalog_opens_the_series_that_simulate_coast_writes(coast_folder):
    from cookbook_utils.simulate_coast import simulate_coast

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


def test_series_opens_a_date_and_a_band_at_a_time(coast_folder):
    (coast_folder / "2025-04-17_B5.tif").write_bytes(
        (coast_folder / "2025-04-02_B2.tif").read_bytes()
    )
    series = open_catalog().coast_series_small.read(chunks={"y": 100, "x": 400})
    assert series.chunks == ((1,) * 5, (1,) * 6, (100,) * 4, (400,))
    same = series.sel(time="2025-04-17", band="nir") == series.sel(time="2025-04-02", band="blue")
    assert float(same.mean()) == pytest.approx(0.829, abs=1e-3)  # NaN equals nothing


def test_series_without_a_file(coast_folder):
    (coast_folder / "2025-04-17_B5.tif").unlink()
    message = r"no file .*2025-04-17_B5\.tif; run `python -m cookbook_utils\.simulate_coast` "
    with pytest.raises(DataUnavailableError, match=message):
        open_catalog().coast_series_small.read()
    (coast_folder / "truth.tif").unlink()
    with pytest.raises(DataUnavailableError, match=r"no file .*truth\.tif; run `python -m"):
        open_catalog().coast_series_small_truth.read()


@pytest.mark.parametrize("name", [SERIES[1], f"{SERIES[1]}_truth"])
def test_full_size_series_says_how_to_make_it(data, name):
    with pytest.raises(DataUnavailableError, match=r"`python -m .*simulate_coast --full`"):
        open_catalog()[name].read()


def test_series_whose_dates_lie_on_two_grids(coast_folder):
    write_tiff(
        coast_folder / "2025-04-26_B7.tif",
        np.zeros((1, 400, 400), "uint16"),
        crs="EPSG:32642",
        transform=from_origin(275010 + 120, 2770980, 120, 120),
    )
    with pytest.raises(ValueError, match=r"share one grid, but .*26_B7\.tif has .*02_B2\.tif has"):
        open_catalog().coast_series_small.read()


def test_series_truth_with_a_date_too_few(coast_folder):
    grid = from_origin(275010, 2770980, 120, 120)
    maps = np.zeros((4, 400, 400), "uint8")
    write_tiff(coast_folder / "truth.tif", maps, crs="EPSG:32642", transform=grid)
    with pytest.raises(ValueError, match=r"truth\.tif: found 4 bands, expected 5"):
        open_catalog().coast_series_small_truth.read()


def test_reading_touches_headers_only(band_file):
    """Values that cannot be decoded are met on compute, not before."""
    with rasterio.open(band_file) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = band_file.read_bytes()
    band_file.write_bytes(content[:start] + bytes(len(content) - start))
    scene = open_catalog().landsat_5_small.read()
    assert scene.chunks is not None
    scene.sel(band="red").compute()
    with pytest.raises(rasterio.errors.RasterioIOError):
        scene.sel(band="nir").compute()


def test_chunks_are_an_argument_of_read(data):
    scene = open_catalog().landsat_5_small.read(chunks={"y": 16, "x": 30})
    assert scene.chunks == ((1,) * 6, (16, 16, 8), (30,))
    xr.testing.assert_identical(scene.compute(), open_catalog().landsat_5_small.read().compute())


def test_year_out_of_the_catalog():
    with pytest.raises(ValueError, match=r"^betsiboka has no scene of the year 2018; .*2017, 2020"):
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
    facts = kwargs["scenes"][year]
    for number, band in zip(scene.number.values, values, strict=True):
        with rasterio.open(real_data / kwargs["files"].format(**facts, number=number)) as file:
            raw = file.read(int(number) if file.count > 1 else 1)
            assert file.nodata in (None, kwargs["fill"])
        np.testing.assert_array_equal(band, np.where(raw == kwargs["fill"], np.nan, raw))
    assert {"long_name", "units", "quantity", "sensor", "date"} <= scene.attrs.keys()


def test_default_years_are_the_last(real_data):
    cat = open_catalog()
    assert [cat[name].read().attrs["date"] for name in REAL] == ["2020-01-27", "2020", "2017-10-22"]


def test_real_scenes_become_reflectance_or_refuse(real_data):
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
    """The shares that the data card gives for MNDWI > 0.1, which prove bands and fill right."""
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
    with pytest.raises(DataUnavailableError, match=r"`python -m cookbook_utils\.simulate --full`"):
        open_catalog().landsat_5.read()


@pytest.mark.parametrize("kept", [0.95, 0.5])
def test_truncated_file(band_file, kept):
    content = band_file.read_bytes()
    band_file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(OSError, match=r"B4\.tif is cut short: it has \d+ bytes, expected at least"):
        open_catalog().landsat_5_small.read()


@pytest.mark.parametrize("content", [b"", b"II*\0", b"<html>not found</html>"])
def test_file_that_is_no_geotiff(band_file, content):
    band_file.write_bytes(content)
    with pytest.raises(OSError, match=r"B4\.tif is not a readable GeoTIFF .*delete it and run"):
        open_catalog().landsat_5_small.read()


def test_two_crs(band_file):
    write_tiff(band_file, np.ones((1, 40, 30), "int16"), crs="EPSG:32612")
    with pytest.raises(ValueError, match=r"share one CRS, but .*B4\.tif is in EPSG:32612 .*32611"):
        open_catalog().landsat_5_small.read()


@pytest.mark.parametrize(
    ("shape", "transform"), [((1, 40, 29), GRID), ((1, 40, 30), from_origin(0, 9000, 150, 150))]
)
def test_two_grids(band_file, shape, transform):
    write_tiff(band_file, np.ones(shape, "int16"), transform=transform)
    with pytest.raises(ValueError, match=r"share one grid, but .*B4\.tif has .*B1\.tif has"):
        open_catalog().landsat_5_small.read()


def test_wrong_number_of_bands(band_file):
    write_tiff(band_file.with_name("truth.tif"), np.ones((2, 40, 30), "uint8"))
    with pytest.raises(ValueError, match=r"truth\.tif: found 2 bands, expected 3"):
        open_catalog().landsat_5_small_truth.read()


def test_scene_that_is_all_nodata(band_file):
    for path in band_file.parent.glob("B*.tif"):
        write_tiff(path, np.full((1, 40, 30), -9999, "int16"))
    with pytest.raises(ValueError, match="every pixel is missing"):
        stack_pixels(open_catalog().landsat_5_small.read())


# -- real files by address and hash -----------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on loopback and counts what it was asked for."""

    def __init__(self, folder):
        self.requests = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=folder))


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requests.append(self.path)


@pytest.fixture
def server(data):
    """A data folder whose registry has two files, which a server on loopback offers."""
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
    with pytest.raises(ValueError, match="(?s)hash of downloaded file .*does not match"):
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
    with pytest.raises(ValueError, match=r"a\.tif .*was not used: its SHA-256 is .*, expected "):
        fetch("lake", "a.tif")


def test_file_is_hashed_once_until_it_changes(server, data, monkeypatch):
    path = fetch("lake", "a.tif")
    hashed = []
    original = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: hashed.append(a) or original(*a))
    for _ in range(3):
        fetch("lake", "a.tif")
    assert len(hashed) == 1
    os.utime(path, ns=(0, 0))
    fetch("lake", "a.tif")
    assert len(hashed) == 2


def run_in_notebook(code):
    """Run code where tqdm takes the process for a notebook kernel without ipywidgets."""
    kernel = "import sys, ipykernel.zmqshell; sys.modules['ipywidgets'] = None\n"
    command = [sys.executable, "-W", "default", "-c", kernel + code]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_fetch_is_silent_in_a_notebook(server, data):
    assert "IProgress not found" in run_in_notebook("import pooch").stderr
    code = f"""
from pathlib import Path
from cookbook_utils.datasets import fetch
fetch("lake", "a.tif", folder=Path({str(data)!r}))
print("pooch" in sys.modules)
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


def test_fetch_of_a_file_that_is_gone(server, data):
    (data / "offered" / "a.tif").unlink()
    with pytest.raises(DataUnavailableError, match=r"could not be downloaded .*\(HTTPError\)"):
        fetch("lake", "a.tif")


def test_absent_real_scene_offline(data):
    registry = (data / "registry.csv").read_text()
    (data / "registry.csv").write_text(re.sub("https://[^/]+", "http://127.0.0.1:9", registry))
    with pytest.raises(DataUnavailableError, match="betsiboka_2020-01-27_B02.tiff is not on this"):
        open_catalog().betsiboka.read()


@pytest.mark.parametrize(
    ("name", "known"), [(("lake", "c.tif"), r"a\.tif, b\.tif"), (("sea", "a.tif"), "lake$")]
)
def test_fetch_of_what_the_registry_does_not_have(server, name, known):
    with pytest.raises(ValueError, match=f"registry has no file {'/'.join(name)}; it has: {known}"):
        fetch(*name)


@pytest.fixture
def read_only(server, data):
    """A data folder that this process cannot write, also where the tests run as root."""
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


def test_main_brings_every_file(server, data, capsys):
    assert datasets.main() == 0
    assert datasets.main() == 0
    assert sorted(server.requests) == ["/a.tif", "/b.tif"]
    assert capsys.readouterr().out == "2 of 2 real files are here and whole\n" * 2


def test_main_counts_what_failed_and_goes_on(server, data, capsys):
    (data / "offered" / "a.tif").unlink()
    assert datasets.main() == 1
    out, err = capsys.readouterr()
    assert out == "1 of 2 real files are here and whole\n"
    assert "lake/a.tif is not on this machine" in err
    assert (data / "downloads" / "lake" / "b.tif").is_file()
