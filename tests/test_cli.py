"""The command satellite-clustering, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from sklearn.metrics import adjusted_rand_score

from cookbook_utils import _samples
from cookbook_utils.cli import points, run_command
from cookbook_utils.cli._clustering import _draw, cluster_scenes
from cookbook_utils.cli._maps import scene_sections, spectra_section
from cookbook_utils.cli._report import Section
from cookbook_utils.cli._results import RECORD, describe_source
from cookbook_utils.cli._sources import name_of
from cookbook_utils.clouds import mask_clouds
from cookbook_utils.datasets import _driver, open_catalog, open_scene
from cookbook_utils.export import read_label_map, write_label_map
from cookbook_utils.interimage import InterImageKMeans
from cookbook_utils.labels import change_map, name_clusters, water_mask
from cookbook_utils.regridding import regrid
from cookbook_utils.scaling import standardize
from cookbook_utils.spectral import NystroemSpectralClustering
from cookbook_utils.stacking import stack_pixels, unstack_labels

from .deliveries import LANDSAT_8, write_landsat
from .factories import make_labels, make_scene

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")


def write_scene(path, name="landsat_8_small", size=90):
    """Write a part of a simulated scene as an archive might: integers, scale, nodata, names."""
    scene = open_catalog()[name].read().isel(y=slice(120, 120 + size), x=slice(100, 100 + size))
    values = np.nan_to_num(scene.values, nan=-9999).astype("int16")
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=6, dtype="int16", nodata=-9999,
        crs=scene.rio.crs, transform=scene.rio.transform(recalc=True),
    ) as file:  # fmt: skip
        file.write(values)
        file.scales = (1e-4,) * 6
        for number, band in enumerate(BANDS, 1):
            file.set_band_description(number, band)
    return str(path)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Return the files of two dates of the lake, as text."""
    folder = tmp_path_factory.mktemp("scenes")
    return [write_scene(folder / f"{n}.tif", n) for n in ("landsat_5_small", "landsat_8_small")]


DATES = ["--date", "1988-10-22", "2017-10-22"]


# -- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["cluster", "change", "points", "data", "check"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_command([command, "--help"])
    assert stopped.value.code == 0
    assert f"satellite-clustering {command}" in capsys.readouterr().out.partition("examples:")[2]


@pytest.mark.parametrize("arguments", [[], ["paint"], ["cluster", "a.tif"], ["change", "a.tif"]])
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        run_command(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cluster"], "give the scenes to cluster, or --search"),
        (["cluster", "--bands", "red", "{scene}"], "scenes come before options that take several"),
        (["cluster", "{scene}", *DATES[:2], "--mask", "clouds"], "--mask must have classes among"),
        (["cluster", "{scene}", *DATES[:2], "--mask", "cloud"], "--mask needs a quality band"),
        (["cluster", "{scene}", *DATES[:2], "--margin", "-1"], "--margin must be at least 0"),
        (["cluster", "{scene}", *DATES[:2], "--sample", "0"], "sample must be .* got 0"),
        (["cluster", "{scene}", "--reference", "{scene}", "--column", "a"], "data must be a file"),
        (
            ["cluster", "--search", "nowhere", "--period", "2020", "--bbox", *"0011"],
            "--search must",
        ),
        (["cluster", "--search", "ustica", "--period", "2020", "--bbox", *"0011"], "--search must"),
        (["cluster", "nowhere.tif"], "nowhere.tif does not exist"),
        (["cluster", "{scene}"], "date must be given"),
        (["cluster", "{scene}", *DATES], "--date must have one date, or one for each of 1 scenes"),
        (["cluster", "{scene}", *DATES[:2], "-k", "0"], "n_clusters must be .* got 0"),
        (["cluster", "{scene}", *DATES[:2], "--bands", "red", "thermal"], "thermal"),
        (["cluster", "{scene}", *DATES[:2], "--reference", "a.gpkg"], "--reference needs --column"),
        (["cluster", "a", "b", "--method", "spectral"], "--method spectral takes one scene, got 2"),
        (["cluster", "--search", "earth_search"], "--search needs --bbox and --period"),
        (["change", "--maps", "{scene}", "{scene}"], "label"),
        (["points", "{scene}"], "damaged, or its content does not match its extension"),
    ],
)
def test_a_failure_is_one_line(arguments, message, scenes, tmp_path, capsys):
    arguments = [text.format(scene=scenes[0]) for text in arguments]
    assert run_command([*arguments, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith(f"satellite-clustering {arguments[0]}: ")
    assert re.search(message, printed[-1])


SPECTRAL = ["--method", "spectral"]
SEARCH = ["--search", "earth_search", "--period", "2024-06", "--bbox", *"0011"]
REFUSED = {
    "cluster": [
        (["-k", "0"], "n_clusters must be an integer from 1 to 65535, got 0"),
        (["-k", "65536"], "n_clusters must be an integer from 1 to 65535, got 65536"),
        (["--random-state", "-1"], "random_state must be .* got -1"),
        (["--max-iter", "0"], "max_iter must be .* got 0"),
        (["--sample", "0"], "sample must be .* got 0"),
        (["--sample", "nan"], "sample must be .* got nan"),
        (["--sample", "1.5"], "sample must be .* got 1.5"),
        (["--bbox", *"3012"], "bbox must be .* with west below east"),
        (["--bbox", "0", "80", "1", "95"], "bbox must be"),
        (["--bbox", "nan", "0", "1", "1"], "bbox must be .* got nan"),
        (["--bands", "red", "red"], "--bands must be distinct names"),
        (["--date", "yesterday"], "--date must be a date"),
        (["--scale", "-1"], "scale must be .* got -1"),
        (["--scale", "inf"], "scale must be .* got inf"),
        (["--offset", "2"], "offset must be .* got 2"),
        (["--nodata", "inf"], "nodata must be .* got inf"),
        (["--mask", "clouds"], "--mask must have classes among"),
        (["--margin", "-1"], "--margin must be at least 0"),
        (["--period", "2024"], "must not have --period, which has no effect there"),
        (["--limit", "3"], "must not have --limit"),
        ([*SPECTRAL, "--sample", "0.5"], "--method spectral must not have --sample"),
        ([*SPECTRAL, "--max-iter", "5"], "--method spectral must not have --max-iter"),
        (["--column", "a"], "--reference needs --column"),
        (["--reference", "nowhere.gpkg", "--column", "a"], "nowhere.gpkg"),
    ],
    "change": [
        (["-k", "0"], "n_clusters must be"),
        (["--bbox", *"3012"], "bbox must be"),
        (["--sample", "2"], "sample must be"),
        (["--date", "x", "y"], "--date must be a date"),
        (["--maps", "-k", "3"], "change --maps must not have --n-clusters"),
        (["--maps", "--bbox", *"0011", "--mask"], "change --maps must not have --bbox, --mask"),
    ],
    "points": [
        (["-k", "0"], "n_clusters must be an integer from 1 to 255, got 0"),
        (["-k", "256"], "n_clusters must be an integer from 1 to 255, got 256"),
        (["--random-state", "-3"], "random_state must be .* got -3"),
    ],
    "search": [
        ([*SEARCH, "--limit", "0"], "limit must be .* got 0"),
        ([*SEARCH, "--cloud-cover", "101"], "max_cloud_cover must be .* got 101"),
        ([*SEARCH, "--bbox", *"3012"], "bbox must be"),
        ([*SEARCH, "--period", "June"], "dates must be a day"),
        ([*SEARCH, "--date", "2024-06-01"], "--date must be left out with --search"),
        (["--search", "https://host/api", *SEARCH[2:]], "--search needs --collection"),
        (["--search", "ftp://host", "--collection", "a", *SEARCH[2:]], "url must be the address"),
    ],
}


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [(command, *case) for command, cases in REFUSED.items() for case in cases],
)
def test_wrong_arguments_are_refused_before_anything_is_opened(
    command, arguments, message, scenes, tmp_path, capsys
):
    """The sources exist and are none, so that opening them would raise another error."""
    sources = {"cluster": 1, "change": 2, "points": 1, "search": 0}[command]
    (tmp_path / "a.tif").write_text("no scene")
    command = "cluster" if command == "search" else command
    full = [command, *[str(tmp_path / "a.tif")] * sources, *arguments]
    assert run_command([*full, "--out", str(tmp_path / "out")]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["cluster", "points"])
def test_a_folder_that_cannot_be_written_is_refused_first(command, tmp_path, capsys):
    for name in ("a.tif", "file"):
        (tmp_path / name).write_text("no scene")
    for out in (tmp_path / "file", tmp_path / "file" / "out", "/proc/out"):
        assert run_command([command, str(tmp_path / "a.tif"), "--out", str(out)]) == 1
        assert "cannot write" in capsys.readouterr().err


def test_more_clusters_than_pixels(tmp_path, capsys):
    path = write_scene(tmp_path / "a.tif", size=3)
    command = ["cluster", path, "--date", "2017-10-22", "--out", str(tmp_path / "out")]
    for method in ([], SPECTRAL):
        assert run_command([*command, "-k", "10", *method, "--overwrite"]) == 1
        error = capsys.readouterr().err
        assert "n_clusters must be at most the number of pixels, 9, got 10" in error


def test_unknown_data_set(capsys):
    assert run_command(["data", "nowhere"]) == 1
    assert "NAME must be among betsiboka, pucallpa" in capsys.readouterr().err


def test_run_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "cookbook_utils", "data", "--list"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert re.search(r"^ustica +1 file$", done.stdout, flags=re.MULTILINE)


# -- cluster -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clustered(scenes, tmp_path_factory):
    """Return the folder of the results of two scenes."""
    out = tmp_path_factory.mktemp("out") / "results"
    assert run_command(["cluster", *scenes, *DATES, "--out", str(out), "-k", "5"]) == 0
    return out


def test_maps_are_those_of_the_package(clustered, scenes):
    opened = [open_scene(p, date=d) for p, d in zip(scenes, DATES[1:], strict=True)]
    model = InterImageKMeans(5, random_state=0).fit(opened)
    for path, expected in zip(scenes, model.labels_, strict=True):
        found = read_label_map(clustered / "labels" / f"{name_of(path)}.tif")
        np.testing.assert_array_equal(found, expected)
        assert found.rio.crs == expected.rio.crs


def test_a_sample_is_read_once_and_the_maps_once(scenes, tmp_path, monkeypatch):
    blocks = []
    read = _driver.BlockReader.read
    monkeypatch.setattr(
        _driver.BlockReader,
        "read",
        lambda self, *a, **k: (blocks.append(1), read(self, *a, **k))[1],
    )
    opened = {name_of(p): open_scene(p, date=d) for p, d in zip(scenes, DATES[1:], strict=True)}
    options = Namespace(n_clusters=5, random_state=0, max_iter=100, sample=0.5)
    maps = cluster_scenes(opened, tmp_path, options)
    assert len(blocks) == 2 * len(scenes) * len(BANDS)
    labels = InterImageKMeans(5, random_state=0, sample=0.5).fit(list(opened.values())).labels_
    for path, expected in zip(maps.values(), labels, strict=True):
        assert (
            adjusted_rand_score(read_label_map(path).values.ravel(), expected.values.ravel()) > 0.8
        )


@pytest.mark.parametrize("random_state", [0, 1])
def test_a_sample_is_of_all_scenes_and_of_valid_pixels(scenes, random_state):
    opened = [open_scene(p, date=d) for p, d in zip(scenes, DATES[1:], strict=True)]
    opened[0] = opened[0].where(opened[0].y > opened[0].y[30])
    options = Namespace(n_clusters=5, random_state=random_state)
    valid = [one.notnull().all("band") for one in opened]
    drawn = _draw(opened, 0.25, options)
    assert drawn.size == pytest.approx(0.25 * 6 * sum(int(each.sum()) for each in valid), rel=0.05)
    assert drawn.band.values.tolist() == list(BANDS) and drawn.attrs["units"] == "1"
    spectra = np.concatenate([one.values.reshape(6, -1).T for one in opened])
    found = {spectrum.tobytes() for spectrum in spectra}
    assert all(spectrum.tobytes() in found for spectrum in np.ascontiguousarray(drawn.values))
    everything = _draw(opened, 1.0, options)
    np.testing.assert_array_equal(everything, spectra[np.isfinite(spectra).all(axis=1)])


def test_spectra_of_many_scenes_take_no_more_pixels_than_of_one(scenes):
    one = open_scene(scenes[0], date=DATES[1]).compute()
    labels = xr.zeros_like(one[0].drop_vars("band"), np.uint8)
    names = "abc"
    section = spectra_section(dict.fromkeys(names, one), dict.fromkeys(names, labels), {})
    ((_, caption),) = section.images
    assert f"of {one[0].size} pixels" in caption


def test_scenes_are_not_read_long_before_they_are_summed(scenes, monkeypatch):
    n_read, ahead = [], []
    read = _driver.BlockReader.read
    monkeypatch.setattr(
        _driver.BlockReader,
        "read",
        lambda self, *a, **k: (n_read.append(1), read(self, *a, **k))[1],
    )
    monkeypatch.setattr("dask.system.CPU_COUNT", 2)

    def summed(labels, values):
        ahead.append(len(n_read) / len(BANDS) - len(ahead))
        return np.ones(1)

    scene = open_scene(scenes[0], date=DATES[1], chunks={"y": 10, "x": 10})
    labels = xr.zeros_like(scene[0].drop_vars("band"), np.uint8)
    n_blocks = _samples.sum_over_blocks(summed, scene, labels)[0]
    assert n_blocks == len(ahead) == 81
    assert max(ahead) <= 2 * _samples.BLOCKS_PER_THREAD


def test_model_labels_scenes_elsewhere(clustered, scenes):
    model = InterImageKMeans.load(clustered / "model.npz")
    found = read_label_map(clustered / "labels" / "landsat_8_small.tif")
    labels = model.predict(open_scene(scenes[1], date="2017-10-22"))
    np.testing.assert_array_equal(labels, found)


def test_tables_hold_areas_and_water(clustered):
    areas = pd.read_csv(clustered / "areas.csv", index_col=0)
    assert list(areas) == ["landsat_5_small", "landsat_8_small"]
    labels = read_label_map(clustered / "labels" / "landsat_8_small.tif")
    pixel = abs(np.prod([labels[dim].diff(dim)[0] for dim in "yx"])) / 1e6
    assert areas["landsat_8_small"].sum() == pytest.approx((labels != 255).sum() * pixel)
    water = pd.read_csv(clustered / "water.csv", index_col=0)
    assert water["water"].sum() == 1


def test_report_stands_alone_and_describes_its_figures(clustered):
    html = (clustered / "report.html").read_text()
    sources = re.findall(r'<img src="([^"]{1,40})[^"]*" alt="([^"]+)"', html)
    assert len(sources) == 3  # spectra, and one for each scene
    assert all(source.startswith("data:image/png;base64,") for source, _ in sources)
    assert "https:" not in html
    assert "Area of each cluster" in html and "10,000" not in html


def test_the_same_command_changes_nothing(clustered, scenes, monkeypatch):
    def times():
        files = [p for p in clustered.rglob("*") if p.suffix in (".tif", ".npz")]
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    assert len(before) == 3
    monkeypatch.setattr(InterImageKMeans, "fit", None)
    assert run_command(["cluster", *scenes, *DATES, "--out", str(clustered), "-k", "5"]) == 0
    assert times() == before


def test_another_command_needs_overwrite(clustered, scenes, capsys, tmp_path):
    command = ["cluster", *scenes, *DATES, "--out", str(clustered), "-k", "6"]
    assert run_command(command) == 1
    assert "results of another run, with other n_clusters" in capsys.readouterr().err
    (tmp_path / "labels").mkdir()
    assert run_command([*command[:-4], "--out", str(tmp_path)]) == 1
    assert f"holds labels, but no {RECORD}" in capsys.readouterr().err


def test_overwrite_keeps_files_of_others(scenes, tmp_path):
    out = tmp_path / "out"
    command = ["cluster", scenes[0], "--date", "1988-10-22", "--out", str(out)]
    assert run_command([*command, "-k", "2"]) == 0
    (out / "notes.txt").write_text("mine")
    assert run_command([*command, "-k", "3", "--overwrite"]) == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / RECORD).read_text())["n_clusters"] == 3
    assert len(np.unique(read_label_map(out / "labels" / "landsat_5_small.tif"))) == 3


@pytest.mark.slow
def test_more_clusters_than_a_byte_holds(scenes, tmp_path):
    out = tmp_path / "out"
    command = ["cluster", scenes[0], "--date", "1988-10-22", "--out", str(out)]
    assert run_command([*command, "-k", "300", "--max-iter", "3"]) == 0
    labels = read_label_map(out / "labels" / "landsat_5_small.tif")
    assert labels.dtype == np.uint16
    assert labels.attrs["_FillValue"] == 65535
    areas = pd.read_csv(out / "areas.csv", index_col=0)
    np.testing.assert_array_equal(areas.index, np.setdiff1d(labels, 65535))
    assert "would hide each other" in (out / "report.html").read_text()


@pytest.mark.parametrize("k", [12, 13, 20, 30, 90, 100, 200])
@pytest.mark.filterwarnings("error:constrained_layout")
def test_legends_fit_the_figures_of_a_report(k, monkeypatch):
    figures = []
    monkeypatch.setattr(Section, "add_figure", lambda self, figure, _: figures.append(figure))
    scene = make_scene(bands=BANDS, ny=20, nx=30)
    labels = make_labels(np.arange(600).reshape(20, 30) % k)
    spectra_section({"a": scene}, {"a": labels}, {})
    list(scene_sections({"a": scene}, {"a": labels}, {}))
    found = []
    for figure in figures:
        figure.draw_without_rendering()
        legends = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
        found.append(bool(legends))
        for text in [text for legend in legends for text in legend.get_texts()]:
            box = text.get_window_extent()
            assert box.y0 >= 0 and box.x1 <= figure.bbox.width
    assert found == ([True, k <= 12] if k <= 100 else [False])


def test_clouds_of_a_delivery_are_nodata(tmp_path):
    folder, out = tmp_path / LANDSAT_8, tmp_path / "out"
    write_landsat(folder)
    command = ["cluster", str(folder), "--out", str(out), "-k", "2", "--bands", *BANDS]
    assert run_command([*command, "--margin", "1"]) == 0
    (path,) = (out / "labels").glob("*.tif")
    scene = mask_clouds(open_scene(folder, bands=BANDS), margin=1)
    expected = scene.isnull().any("band")
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(read_label_map(path) == 255, expected)
    assert run_command([*command, "--overwrite", "--mask"]) == 0
    assert (read_label_map(path) == 255).sum() < expected.sum()


def test_levels_of_processing_are_not_mixed_in_silence(tmp_path, capsys):
    paths = []
    for level in ("L1TP", "L2SP"):
        paths.append(str(tmp_path / LANDSAT_8.replace("L2SP", level)))
        write_landsat(tmp_path / paths[-1], LANDSAT_8.replace("L2SP", level))
    assert run_command(["cluster", *paths, "--out", str(tmp_path / "out"), "-k", "2"]) == 0
    assert "scenes of different processing share no clusters" in capsys.readouterr().err


def test_reference_data_name_the_clusters(scenes, tmp_path, capsys):
    import geopandas
    from shapely.geometry import box

    scene = open_scene(scenes[1], date="2017-10-22")
    x, y = scene.x.values, scene.y.values
    water = open_catalog()["landsat_8_small_truth"].read()["water"].sel(x=x, y=y)
    rows, columns = np.nonzero(water.values == 1)
    inside = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
    at = rows[inside], columns[inside]
    squares = [box(x[c] - 300, y[r] - 300, x[c] + 300, y[r] + 300) for r, c in (at, (85, 3))]
    path = tmp_path / "fields.gpkg"
    frame = geopandas.GeoDataFrame(
        {"kind": ["lake", "desert"]}, geometry=squares, crs=scene.rio.crs
    )
    frame.to_file(path)
    command = ["cluster", scenes[1], "--date", "2017-10-22", "--out", str(tmp_path / "out")]
    assert run_command([*command, "--reference", str(path), "--column", "kind"]) == 0
    table = pd.read_csv(tmp_path / "out" / "accuracy.csv", index_col=0)
    assert set(table.index) == {"lake", "desert"}
    assert "overall accuracy" in capsys.readouterr().err


def test_a_folder_of_rasters_holds_scenes(scenes, tmp_path):
    folder = tmp_path / "größe und lage"
    folder.mkdir()
    for path in scenes:
        shutil.copy(path, folder)
    command = ["cluster", str(folder), *DATES, "--out", str(folder / "out")]
    assert run_command([*command, "-k", "3"]) == 0
    assert sorted(p.name for p in (folder / "out" / "labels").glob("*.tif")) == [
        "landsat_5_small.tif", "landsat_8_small.tif"
    ]  # fmt: skip
    assert run_command([*command, "-k", "3"]) == 0  # its results are no scenes


def test_a_folder_of_bands_says_how_to_stack_them(scenes, tmp_path, capsys):
    for band in ("red", "nir"):
        with rasterio.open(scenes[0]) as file:
            profile, values = file.profile | {"count": 1}, file.read(1)
        with rasterio.open(tmp_path / f"{band}.tif", "w", **profile) as file:
            file.write(values, 1)
    assert run_command(["cluster", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "gdalbuildvrt -separate" in capsys.readouterr().err


def test_relative_paths(scenes, tmp_path, monkeypatch):
    shutil.copy(scenes[0], tmp_path / "a b.tif")
    monkeypatch.chdir(tmp_path)
    for k, source in enumerate(("a b.tif", ".")):
        command = ["cluster", source, "--date", "1988-10-22", "--out", f"out{k}", "-k", "2"]
        assert run_command(command) == 0
        assert (tmp_path / f"out{k}" / "labels" / "a b.tif").exists()


def test_name_of_a_source(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert name_of(".") == tmp_path.name
    assert name_of("https://host/a/b.tif?sig=secret") == "b"


def test_signatures_are_not_recorded():
    assert describe_source("https://host/b.tif?sig=secret") == {"source": "https://host/b.tif"}


def test_scenes_of_different_bands_share_those_of_all(scenes, tmp_path, capsys):
    path = tmp_path / "four.tif"
    with rasterio.open(scenes[1]) as file:
        profile, values, names = file.profile | {"count": 4}, file.read(), file.descriptions
    with rasterio.open(path, "w", **profile) as file:
        file.write(values[[3, 2, 1, 0]])
        file.scales = (1e-4,) * 4
        for number, k in enumerate((3, 2, 1, 0), 1):
            file.set_band_description(number, names[k])
    out = tmp_path / "out"
    assert run_command(["cluster", scenes[0], str(path), *DATES, "--out", str(out), "-k", "3"]) == 0
    assert "left out, because not all scenes have them: swir1, swir2" in capsys.readouterr().err
    assert len(InterImageKMeans.load(out / "model.npz").cluster_centers_[0]) == 4


def test_a_scene_of_nodata_is_no_obstacle(scenes, tmp_path, capsys):
    path = tmp_path / "empty.tif"
    with rasterio.open(scenes[1]) as file:
        profile, names = file.profile, file.descriptions
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.full((6, 90, 90), -9999, "int16"))
        file.scales = (1e-4,) * 6
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
    out = tmp_path / "out"
    assert run_command(["cluster", scenes[0], str(path), *DATES, "--out", str(out), "-k", "2"]) == 0
    assert "No pixel of it is valid" in (out / "report.html").read_text()
    command = ["change", scenes[0], str(path), *DATES, "--out", str(tmp_path / "change")]
    assert run_command([*command, "-k", "2"]) == 1
    assert "BEFORE and AFTER must share valid pixels" in capsys.readouterr().err


def test_tables_have_no_negative_zero():
    section = Section("a")
    section.add_table(pd.DataFrame({"a": [-1e-5, -1.5]}), "b")
    assert "-0.000" not in section.tables[0] and "-1.500" in section.tables[0]


def test_spectral_method(scenes, tmp_path):
    out = tmp_path / "out"
    command = ["cluster", scenes[1], "--date", "2017-10-22", "--out", str(out), "-k", "4"]
    assert run_command([*command, "--method", "spectral"]) == 0
    found = read_label_map(out / "labels" / "landsat_8_small.tif")
    assert not (out / "model.npz").exists()
    scene = open_scene(scenes[1], date="2017-10-22").compute()
    samples = stack_pixels(scene)
    model = NystroemSpectralClustering(4).fit(standardize(samples, per_band=False))
    expected = unstack_labels(model.labels_, samples, scene)
    assert ((found == 255) == (expected == 255)).all()
    assert (found == expected).mean() > 0.999


def write_forever(folder):
    """Return a process that holds a folder of results until it is killed."""
    code = (
        "import sys, time; from cookbook_utils.cli._results import results\n"
        "with results(sys.argv[1], {'command': 'cluster'}, (), overwrite=False):\n"
        "    print('begun', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    return process


def test_a_folder_that_another_process_writes_is_refused(scenes, tmp_path, capsys):
    write_egms(tmp_path / "tile.csv")
    commands = {
        "cluster": ["cluster", scenes[0], *DATES[:2]],
        "change": ["change", *scenes, *DATES],
        "points": ["points", str(tmp_path / "tile.csv")],
    }
    process = write_forever(tmp_path / "out")
    try:
        for command in commands.values():
            assert run_command([*command, "--out", str(tmp_path / "out"), "--overwrite"]) == 1
            error = capsys.readouterr().err
            assert "--out must be a folder that nothing else writes" in error
            assert f"process {process.pid} on " in error and "satellite-clustering cluster" in error
        assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix != ".lock") == [
            ".running", "run.json"
        ]  # fmt: skip
    finally:
        process.kill()
        process.wait()
    assert run_command([*commands["cluster"], "--out", str(tmp_path / "out"), "-k", "2"]) == 0
    assert not (tmp_path / "out" / ".running").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["cluster", "change", "points"])
def test_two_processes_at_once_leave_one_whole_result(command, scenes, tmp_path):
    write_egms(tmp_path / "tile.csv")
    sources = {"cluster": [scenes[0], *DATES[:2]], "change": [*scenes, *DATES],
               "points": [str(tmp_path / "tile.csv")]}[command]  # fmt: skip
    start = [sys.executable, "-m", "cookbook_utils", command, *sources, "-k"]
    both = [
        subprocess.Popen(
            [*start, k, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True
        )
        for k in "23"
    ]
    errors = [process.communicate()[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 1]
    refused = errors[codes.index(1)]
    assert "nothing else writes" in refused or "results of another run" in refused
    k = "23"[codes.index(0)]
    assert json.loads((tmp_path / "out" / RECORD).read_text())["n_clusters"] == int(k)
    assert subprocess.run([*start, k, "--out", str(tmp_path / "alone")]).returncode == 0
    files = [
        {p.relative_to(out).as_posix(): p for p in out.rglob("*") if p.is_file()}
        for out in (tmp_path / "out", tmp_path / "alone")
    ]
    assert sorted(files[0]) == sorted(files[1])
    for name in files[0]:
        if name.endswith((".tif", ".csv", ".parquet")):
            assert files[0][name].read_bytes() == files[1][name].read_bytes()


@pytest.mark.slow
def test_continues_after_a_kill(clustered, scenes, tmp_path):
    out = tmp_path / "out"
    command = ["cluster", *scenes, *DATES, "--out", str(out), "-k", "5"]
    process = subprocess.Popen([sys.executable, "-m", "cookbook_utils", *command])
    deadline = time.monotonic() + 120
    while not list(out.glob("labels/*.tif")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert run_command(command) == 0
    for path in (clustered / "labels").glob("*.tif"):
        np.testing.assert_array_equal(
            read_label_map(out / "labels" / path.name), read_label_map(path)
        )
    assert [p.name for p in out.glob("labels/.*")] == []


# -- change and points -------------------------------------------------------------------------


def test_change_of_water(scenes, tmp_path):
    out = tmp_path / "out"
    assert run_command(["change", *scenes, *DATES, "--out", str(out), "-k", "6"]) == 0
    before = open_scene(scenes[0], date=DATES[1])
    opened = [before, open_scene(scenes[1], date=DATES[2], like=before, resampling="bilinear")]
    model = InterImageKMeans(6, random_state=0).fit(opened)
    expected = change_map(*water_mask(opened, model.labels_))
    found = read_label_map(out / "change.tif")
    np.testing.assert_array_equal(found, expected)
    areas = pd.read_csv(out / "areas.csv", index_col=0)["area_km2"]
    assert areas["lost"] > 5
    item = json.loads((out / "change.tif.json").read_text())
    assert item["properties"]["start_datetime"].startswith("1988-10-22")


def test_change_of_named_maps(tmp_path):
    y, x = 30.0 * np.arange(4)[::-1], 30.0 * np.arange(5)
    values = np.random.default_rng(0).integers(0, 3, (2, 4, 5)).astype("uint8")
    paths, maps = [], []
    for year, one in zip(("2000", "2020"), values, strict=True):
        labels = xr.DataArray(one, {"y": y, "x": x}, ("y", "x")).rio.write_crs("EPSG:32611")
        labels = labels.assign_coords(time=np.datetime64(f"{year}-07-01", "ns"))
        maps.append(name_clusters(labels, {0: "forest", 1: "crops", 2: "town"}))
        paths.append(str(write_label_map(tmp_path / f"{year}.tif", maps[-1])))
    assert run_command(["change", "--maps", *paths, "--out", str(tmp_path / "out")]) == 0
    found = read_label_map(tmp_path / "out" / "change.tif")
    np.testing.assert_array_equal(found, change_map(*maps))
    assert "forest_to_town" in found.attrs["flag_meanings"]


def test_change_of_clusters_that_a_table_names(clustered, tmp_path, capsys):
    maps = sorted(str(path) for path in (clustered / "labels").glob("*.tif"))
    table = pd.read_csv(clustered / "classes.csv", index_col="cluster")["class"]
    water = pd.read_csv(clustered / "water.csv", index_col=0)["water"]
    assert (table == "water").tolist() == water.tolist()
    assert table[~water].tolist() == [f"cluster_{n}" for n in table.index[~water]]

    edited = table.where(table == "water", "land")
    edited.to_csv(tmp_path / "edited.csv")
    command = ["change", "--maps", *maps, "--classes", str(tmp_path / "edited.csv")]
    assert run_command([*command, "--out", str(tmp_path / "out")]) == 0
    first, second = (read_label_map(path) for path in maps)
    second = regrid(second, first, method="nearest")
    named = [name_clusters(labels, edited) for labels in (first, second)]
    found = read_label_map(tmp_path / "out" / "change.tif")
    np.testing.assert_array_equal(found, change_map(*named))
    assert found.attrs["flag_meanings"] == "land water lost gained"

    numbered = table.rename(index=lambda n: table.index.size - 1 - n)  # of another run
    numbered.to_csv(tmp_path / "other.csv")
    command += [str(tmp_path / "other.csv"), "--out", str(tmp_path / "each")]
    assert run_command(command) == 0
    found = read_label_map(tmp_path / "each" / "change.tif")
    named[1] = name_clusters(second, numbered)
    np.testing.assert_array_equal(found, change_map(*named))

    assert run_command(["change", "--maps", *maps, "--out", str(tmp_path / "none")]) == 1
    message = (
        r"\.tif must have names for its classes, got none for \[2, .*: give them with --classes"
    )
    assert re.search(message, capsys.readouterr().err)
    assert run_command([*command, "--overwrite", "--classes", "a", "b", "c"]) == 1
    assert "one file, or one for each map, got 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "classes.csv does not exist"),
        ("", "with the columns cluster and class, .* No columns"),
        ("label,name\n0,water\n", "with the columns cluster and class"),
        ("cluster,class\n0,water\n0,land\n", "each cluster by its number, once"),
        ("cluster,class\na,water\n", "each cluster by its number, once"),
        ("cluster,class\n0,water\n", "classes.csv: names must .* none for .1, 2, 3, 4."),
        ("cluster,class\n0,\n", "classes.csv: names of the cluster 0 must not be blank"),
    ],
)
def test_tables_of_classes_are_checked(text, message, clustered, tmp_path, capsys):
    maps = sorted(str(path) for path in (clustered / "labels").glob("*.tif"))
    path, out = tmp_path / "classes.csv", tmp_path / "out"
    if text is not None:
        path.write_text(text)
    command = ["change", "--maps", *maps, "--classes", str(path), "--out", str(out)]
    assert run_command(command) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (out / "change.tif").exists()


def test_an_edited_table_of_classes_stays(clustered, scenes, tmp_path):
    shutil.copytree(clustered, tmp_path / "out")
    (tmp_path / "out" / "classes.csv").write_text("edited")
    command = ["cluster", *scenes, *DATES, "--out", str(tmp_path / "out"), "-k", "5"]
    assert run_command(command) == 0
    assert (tmp_path / "out" / "classes.csv").read_text() == "edited"


def write_egms(path, n=400):
    """Write an EGMS table of points that sink, rise or stay."""
    rng = np.random.default_rng(0)
    dates = pd.date_range("2020-01-03", periods=60, freq="12D")
    rate = rng.choice([-20.0, 0.0, 15.0], n)
    years = (dates - dates[0]).days.to_numpy() / 365.25
    series = rate[:, None] * years + rng.normal(0, 1, (n, dates.size))
    table = pd.DataFrame(series.round(1), columns=dates.strftime("%Y%m%d"))
    table.insert(0, "pid", [f"p{i:05d}" for i in range(n)])
    table.insert(1, "latitude", 38.7 + rng.uniform(0, 0.01, n))
    table.insert(2, "longitude", 13.18 + rng.uniform(0, 0.01, n))
    table.to_csv(path, index=False)
    return rate


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_points(kind, tmp_path):
    import geopandas

    rate = write_egms(tmp_path / "tile.csv")
    out = tmp_path / "out"
    command = ["points", str(tmp_path / "tile.csv"), "--out", str(out), "-k", "3"]
    assert run_command([*command, "--format", kind]) == 0
    read = geopandas.read_parquet if kind == "parquet" else pd.read_csv
    table = read(out / f"points.{kind}").sort_values("pid")
    assert len(table) == 400
    majority = (
        table.groupby("label")["label"]
        .count()
        .index.map(lambda label: pd.Series(rate[table["label"].to_numpy() == label]).mode()[0])
    )
    assert set(majority) == {-20.0, 0.0, 15.0}
    agree = np.mean([majority[label] == r for label, r in zip(table["label"], rate, strict=True)])
    assert agree > 0.95
    assert len(re.findall("<img ", (out / "report.html").read_text())) == 2
    assert {path.name for path in out.iterdir()} <= {RECORD, *points.RESULTS}


# -- check -------------------------------------------------------------------------------------


def test_check_finds_nothing_to_mend(capsys):
    assert run_command(["check"]) == 0
    printed = capsys.readouterr().out
    assert "equal labels from numpy" in printed and "MEND" not in printed


def test_check_names_what_to_mend(monkeypatch, capsys):
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 2**30)
    monkeypatch.setattr(
        "cookbook_utils.cli.check.metadata.requires", lambda name: ["numpy>=99", "no-such-thing"]
    )
    assert run_command(["check"]) == 1
    printed = capsys.readouterr().out
    assert "MEND memory    1.0 GiB" in printed
    assert "numpy must be >=99, got" in printed and "no-such-thing is not installed" in printed
    assert "pip install" in printed
