"""Maps and points in files that other programs open: equal to the pixel, with names and colors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import dask.array as da
import geopandas
import numpy as np
import pandas as pd
import pyproj
import pystac
import pytest
import rasterio
import rioxarray
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pystac.extensions.projection import ProjectionExtension
from rasterio.features import shapes
from rio_cogeo.cogeo import cog_validate

from cookbook_utils._conventions.labels import flags, meanings_of
from cookbook_utils.areas import class_areas
from cookbook_utils.export import (
    _blocks,
    _install,
    _regions,
    read_label_map,
    write_label_map,
    write_points,
    write_polygons,
)
from cookbook_utils.labels import change_map, match_labels
from cookbook_utils.minibatch import displacement_profiles
from cookbook_utils.plotting import CLASS_COLORS, LABEL_COLORS
from cookbook_utils.shards import PointShards, ShardWriter

from .factories import make_grid, make_labels, without_fsync  # noqa: F401  fixture

GDALINFO = shutil.which("gdalinfo")
DAY = np.datetime64("2017-10-22T18:30:00.123456789", "ns")
NAMES = ("sea", "Größe ä", "bare_soil", "wood & <water>")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Karte für #1 %20.tif"


def make_map(ny=40, nx=50, *, k=4, seed=0, dtype="uint8", **grid):
    """Return a map with nodata and a time, and without names."""
    values = np.random.default_rng(seed).integers(0, k, (ny, nx)).astype(dtype)
    nodata = np.iinfo(dtype).max
    values[2:7, 3:9] = nodata
    labels = make_labels(np.zeros((ny, nx)), **grid).copy(data=values)
    return labels.assign_attrs(_FillValue=int(nodata)).assign_coords(time=DAY)


def named(labels, names=NAMES):
    attrs = {"flag_values": [*range(len(names))], "flag_meanings": list(names)}
    return labels.assign_attrs(attrs, long_name="Bedeckung")


def item_of(path):
    return pystac.Item.from_dict(json.loads(Path(f"{path}.json").read_text(encoding="utf-8")))


# -- maps: back as they were -------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, 13, (40, 7), (9, 50), -1], ids=str)
def test_a_map_comes_back_equal_to_the_pixel(chunks, path):
    labels = named(make_map())
    written = write_label_map(path, labels if chunks is None else labels.chunk(chunks))
    back = read_label_map(written)
    xr.testing.assert_equal(back, labels)
    assert back.dtype == np.uint8 and back.name == labels.name
    assert back.rio.transform() == labels.rio.transform()
    assert back.rio.crs == labels.rio.crs
    assert back.time.values == DAY
    assert meanings_of(back) == dict(enumerate(NAMES))
    assert back.attrs["long_name"] == "Bedeckung" and back.attrs["_FillValue"] == 255
    assert back.attrs["flag_colors"].split()[0] == CLASS_COLORS["sea"]
    assert back.attrs["flag_colors"].split()[2] == CLASS_COLORS["bare_soil"]
    again = write_label_map(path, back, overwrite=True)
    assert read_label_map(again).identical(back)


def test_other_readers_see_the_same_map(path):
    labels = named(make_map(1200, 700))
    write_label_map(path, labels)
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), labels)
        assert (file.nodata, file.crs.to_epsg(), file.dtypes) == (255, 32611, ("uint8",))
        assert file.transform == labels.rio.transform()
        assert file.overviews(1) == [2, 4]
        colors = file.colormap(1)
        assert colors[0] == (0, 114, 178, 255) and colors[255] == (217, 217, 217, 0)
        assert file.tags()["TIFFTAG_DATETIME"] == "2017:10:22 18:30:00"
        tags = file.tags()
    assert tags["flag_meanings"] == "sea Größe_ä bare_soil wood_&_<water>"
    opened = rioxarray.open_rasterio(path).squeeze("band", drop=True)
    assert meanings_of(opened)[0] == "sea"
    assert not list(path.parent.glob("*.ovr")) and len(list(path.parent.iterdir())) == 3


@pytest.mark.skipif(GDALINFO is None, reason="needs gdalinfo of GDAL, which is not on the path")
def test_gdalinfo_lists_names_and_colors(path):
    write_label_map(path, named(make_map()))
    done = subprocess.run([GDALINFO, "-json", path], capture_output=True, text=True, check=True)
    band = json.loads(done.stdout)["bands"][0]
    assert band["categories"] == ["sea", "Größe ä", "bare soil", "wood & <water>"]
    assert band["noDataValue"] == 255
    assert band["colorTable"]["entries"][0] == [0, 114, 178, 255]
    done = subprocess.run([GDALINFO, path], capture_output=True, text=True, check=True)
    assert "GDALRasterAttributeTable" in done.stdout and "<F>Größe ä</F>" in done.stdout


def test_a_new_map_is_there_only_when_its_companions_are(path, monkeypatch):
    installed = []

    def replace(source, target):
        installed.append(Path(target).name)
        rename(source, target)

    rename = os.replace
    monkeypatch.setattr("os.replace", replace)
    labels = make_labels([[0, 1], [1, 255]]).assign_coords(time=np.datetime64("2017-10-22", "ns"))
    write_label_map(path, labels)
    assert len(installed) == 3 and installed[-1] == path.name
    installed.clear()
    write_label_map(path, labels, overwrite=True)
    assert installed[0] == path.name


def test_overviews_hold_labels_that_occur_and_never_averages(path):
    values = np.where(np.arange(1100) % 3 == 0, 0, 200)[None, :] * np.ones((1100, 1))
    values[:, 550:] = 255
    write_label_map(path, make_labels(values), time="2020")
    with rasterio.open(path, overview_level=0) as file:
        overview = file.read(1)
    assert set(np.unique(overview)) == {0, 200, 255}
    assert (overview[:, 280:] == 255).all() and (overview[:, :270] != 255).all()


@pytest.mark.parametrize("nodata", [65535, 0, None], ids=str)
def test_maps_of_uint16(nodata, path):
    values = np.random.default_rng(0).integers(1, 600, (40, 30)).astype(np.uint16)
    values[3:6] = 65535 if nodata is None else nodata
    labels = make_labels(np.zeros((40, 30))).copy(data=values)
    labels.attrs = {} if nodata is None else {"_FillValue": nodata}
    write_label_map(path, labels, time="2020-01-01")
    back = read_label_map(path)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, values)
    assert back.attrs["_FillValue"] == (65535 if nodata is None else nodata)
    assert cog_validate(path, strict=True) == (True, [], [])
    names = {int(n): f"class {n}" for n in np.unique(values)[:-1]} | {599: "last"}
    names.pop(0, None)
    write_label_map(path, labels, names=names, time="2020-01-01", overwrite=True)
    back = read_label_map(path).assign_attrs(_FillValue=65535)
    assert meanings_of(back) == names


def test_a_change_map_and_its_period(path):
    before = make_labels(np.random.default_rng(0).integers(0, 2, (9, 8)))
    after = before.copy(data=1 - before.values)
    change = change_map(before.assign_coords(time=DAY), after)
    write_label_map(path, change, time=("1988-10-22", "2017-10-22"))
    back = read_label_map(path)
    xr.testing.assert_equal(back, change)
    assert back.attrs["flag_meanings"] == change.attrs["flag_meanings"]
    assert back.attrs["flag_values"] == change.attrs["flag_values"]
    item = item_of(path)
    assert item.datetime is None
    assert item.common_metadata.start_datetime.year == 1988
    assert item.common_metadata.end_datetime.year == 2017
    pd.testing.assert_series_equal(class_areas(back), class_areas(change))


def test_names_of_the_call_and_colors_of_the_attributes(path):
    labels = make_map().assign_attrs(flags("cover", ("sea", "b", "c", "d")))
    colors = ["#010203", "#0a0B0c", "#FFFFFF", "#000000"]
    write_label_map(path, labels.assign_attrs(flag_colors=colors), names={1: "watt"})
    back = read_label_map(path)
    assert back.attrs["flag_colors"] == "#010203 #0A0B0C #FFFFFF #000000"
    assert back.attrs["flag_meanings"] == "sea watt c d"
    with pytest.raises(ValueError, match="flag_colors must be one color such as #0072B2"):
        write_label_map(path, labels.assign_attrs(flag_colors="red"), overwrite=True)


def test_unnamed_clusters_stay_unnamed_and_have_the_colors_of_figures(path):
    labels = make_map()
    write_label_map(path, labels)
    back = read_label_map(path)
    assert meanings_of(back) == {}
    with rasterio.open(path) as file:
        colors = [file.colormap(1)[n][:3] for n in range(4)]
    assert ["#{:02X}{:02X}{:02X}".format(*rgb) for rgb in colors] == list(LABEL_COLORS[:4])
    assert "<Category>cluster 3</Category>" in Path(f"{path}.aux.xml").read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.isel(y=slice(None, None, -1)),
        lambda a: a.isel(x=slice(None, None, -1)),
        lambda a: a.isel(y=slice(3, 20, 2), x=slice(5, 40, 2)),  # the stored transform is stale
        lambda a: a.assign_coords(x=a.x.astype("f4"), y=a.y.astype("f4")),
        lambda a: a.transpose("x", "y"),
        lambda a: a.expand_dims(band=[1]),
        lambda a: a.expand_dims("time"),
        lambda a: a.where(a != 255),
        lambda a: a.where(a != 255, 9).astype("int64").assign_attrs(_FillValue=9),
        lambda a: a.astype(">u2").astype("i2"),
    ],
    ids=["south up", "west first", "sliced", "float32", "transposed", "band", "time", "NaN",
         "other nodata", "int16"],
)  # fmt: skip
def test_maps_as_they_come(change, path):
    labels = make_map()
    given = change(labels)
    write_label_map(path, given)
    back = read_label_map(path)
    expected = given.squeeze().transpose("y", "x")
    values = expected.fillna(255).astype("uint8").values
    values[values == 9] = 255
    np.testing.assert_array_equal(back, values)
    for dim in ("x", "y"):
        np.testing.assert_allclose(back[dim], expected[dim], rtol=0, atol=0.5)
    assert cog_validate(path, strict=True)[0]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3413", "EPSG:2154", "ESRI:54009"])
def test_every_crs_and_its_footprint(crs, path):
    step = 0.01 if crs == "EPSG:4326" else 100.0
    place = {"left": 11.0, "top": 47.0} if crs == "EPSG:4326" else {"left": 6e5, "top": 5e6}
    labels = make_map(crs=crs, step=step, **place)
    write_label_map(path, labels)
    assert pyproj.CRS(read_label_map(path).rio.crs) == pyproj.CRS(crs)
    item = item_of(path)
    west, south, east, north = item.bbox
    assert -180 <= west < east <= 180 and -90 <= south < north <= 90
    assert shapely.geometry.shape(item.geometry).is_valid


def test_the_antimeridian(path):
    labels = make_map(crs="EPSG:32601", left=200_000.0, top=0.0 + 7e6, step=5000.0)
    write_label_map(path, labels)
    item = item_of(path)
    assert item.bbox[0] > item.bbox[2]
    assert item.geometry["type"] == "MultiPolygon"


@pytest.mark.parametrize(
    ("left", "step", "bounds", "kind"),
    [
        (0, 7.2, [-180, 180], "Polygon"), (-180, 7.2, [-180, 180], "Polygon"),
        (200, 0.4, [-160, -140], "Polygon"), (350, 0.4, [-10, 10], "Polygon"),
        (170, 0.4, [170, -170], "MultiPolygon"), (-190, 0.4, [170, -170], "MultiPolygon"),
    ],
)  # fmt: skip
def test_items_of_longitudes_beyond_180(left, step, bounds, kind, path):
    labels = make_map(ny=9, crs="EPSG:4326", left=left, top=30.0, step=step)
    write_label_map(path, labels)
    item = item_of(path)
    np.testing.assert_allclose([item.bbox[0], item.bbox[2]], bounds)
    assert item.geometry["type"] == kind
    west, _, east, _ = shapely.geometry.shape(item.geometry).bounds
    assert -180 <= west < east <= 180


def test_the_item_of_a_map(path):
    write_label_map(path, named(make_map()))
    item = item_of(path)
    assert item.datetime.isoformat() == "2017-10-22T18:30:00.123456+00:00"
    projection = ProjectionExtension.ext(item)
    assert projection.epsg == 32611 and projection.shape == [40, 50]
    asset = item.assets["data"]
    assert asset.href == f"./{path.name}" and "cloud-optimized" in asset.media_type
    classes = asset.extra_fields["classification:classes"]
    assert [one["value"] for one in classes] == [0, 1, 2, 3]
    assert [one["title"] for one in classes] == [name.replace("_", " ") for name in NAMES]
    assert len({one["name"] for one in classes}) == 4
    assert all(one["name"].isascii() and " " not in one["name"] for one in classes)
    assert classes[0]["color_hint"] == "0072B2"


def test_names_of_classes_in_an_item_are_distinct(path):
    write_label_map(path, named(make_map(), ("a_2", "a", "a", "b")))
    classes = item_of(path).assets["data"].extra_fields["classification:classes"]
    assert len({one["name"] for one in classes}) == 4


def test_without_a_time_there_is_no_item(path):
    labels = make_map()
    write_label_map(path, labels)
    undated = labels.assign_coords(time=np.datetime64("NaT", "ns"))
    for one in (labels.drop_vars("time"), undated):
        with pytest.warns(UserWarning, match="gets no STAC item.*pass `time`") as caught:
            write_label_map(path, one, overwrite=True)
        assert caught[0].filename == __file__
        assert not Path(f"{path}.json").exists()
        assert "time" not in read_label_map(path).coords


def test_files_are_replaced_only_on_request(path):
    labels = make_map()
    write_label_map(path, labels)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(FileExistsError, match="path must be a new file.*overwrite=True"):
        write_label_map(path, labels)
    with pytest.raises(ValueError, match="labels must be whole numbers"):
        bad = labels.astype("int16").copy(data=np.full(labels.shape, 300)).chunk(9)
        write_label_map(path, bad, overwrite=True)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    write_label_map(path, labels, overwrite=True)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.drop_vars("spatial_ref"), "labels must have a CRS, got none"),
        (lambda a: xr.concat([a, a], "time"), "labels must be a map of one date, got 2"),
        (lambda a: a.assign_coords(x=a.x**2), "the coordinate x of labels must be regular"),
        (lambda a: a.assign_attrs(flag_values=[0], flag_meanings="sea"), "only numbers with a na"),
        (lambda a: a.drop_vars(["x", "y"]), "the coordinate [xy] of labels must be"),
        (lambda a: named(a, ("a", "", "b", "c")), "must be printable text, got '' for 1"),
        (lambda a: named(a, ("a", "b", "\x01", "c")), r"printable text, got '\\x01' for 2"),
    ],
)
@pytest.mark.parametrize("write", [write_label_map, write_polygons])
def test_maps_that_are_refused(write, change, message, path):
    path = path.with_suffix(".tif" if write is write_label_map else ".gpkg")
    labels = make_map()
    labels["spatial_ref"].attrs.pop("GeoTransform", None)
    with pytest.raises(ValueError, match=message):
        write(path, change(labels))
    assert not list(path.parent.iterdir())


def test_wrong_names_of_files(tmp_path):
    for write, name in ((write_label_map, "a.png"), (write_polygons, "a.shp")):
        with pytest.raises(ValueError, match="path must end in"):
            write(tmp_path / name, make_map())
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(OSError, match="path must be a new file|cannot write"):
        write_label_map(tmp_path / "folder.tif", make_map())
    with pytest.raises(OSError, match="cannot write"):
        write_label_map(tmp_path / "folder.tif", make_map(), overwrite=True)


# -- maps: damage, other files, memory ---------------------------------------------------------


def test_damaged_maps_are_refused_or_read_as_they_were(path):
    labels = named(make_map(90, 80))
    write_label_map(path, labels)
    whole, expected = path.read_bytes(), read_label_map(path)
    random = np.random.default_rng(0)
    for number, at in enumerate(random.integers(0, len(whole), 200)):
        data = bytearray(whole)
        data[at] ^= 1 << random.integers(8)
        path.write_bytes(data if number % 4 else whole[:at])
        try:
            found = read_label_map(path)
        except (OSError, ValueError) as error:
            assert path.name in str(error)
        else:
            assert found.identical(expected), at


def test_a_part_of_a_map_needs_no_tags(path, tmp_path):
    write_label_map(path, named(make_map()))
    part = rioxarray.open_rasterio(path).isel(y=slice(5), x=slice(5))
    part.rio.to_raster(tmp_path / "part.tif")  # keeps tags, and with them the checksum of the whole
    with pytest.raises(OSError, match="another program changed it and kept its tags.* -nomd"):
        read_label_map(tmp_path / "part.tif")
    part.drop_attrs(deep=False).rio.to_raster(tmp_path / "bare.tif")
    np.testing.assert_array_equal(read_label_map(tmp_path / "bare.tif"), part[0])


def test_maps_of_other_programs(path):
    labels = make_map().drop_vars("time")
    labels.rio.to_raster(path)
    back = read_label_map(path)
    np.testing.assert_array_equal(back, labels)
    assert back.attrs["_FillValue"] == 255 and meanings_of(back) == {}
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (1, 2, 3, 255), 1: (4, 5, 6, 255)})
        file.update_tags(flag_values="0 1", flag_meanings="land water")
    back = read_label_map(path)
    assert meanings_of(back) == {0: "land", 1: "water"}
    assert back.attrs["flag_colors"] == "#010203 #040506"


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32", "int64", "float32", "float64"])
@pytest.mark.parametrize("nodata", [0, -9999, None])
@pytest.mark.parametrize("largest", [3, 254, 300])
def test_maps_of_another_dtype(path, dtype, nodata, largest):
    """As other programs write them."""
    if dtype == "uint32" and nodata == -9999:
        nodata = 4_294_967_295
    values = np.array([[1, 2, 3], [largest, 1, 2]], dtype)
    if nodata is not None:
        values[0, 0] = nodata
    with rasterio.open(
        path, "w", driver="GTiff", width=3, height=2, count=1, dtype=dtype, nodata=nodata,
        crs="EPSG:32611", transform=(30, 0, 330_000, 0, -30, 4_300_000),
    ) as file:  # fmt: skip
        file.write(values, 1)
        file.update_tags(flag_values="1 2", flag_meanings="land water")
    back = read_label_map(path)
    fill = 65_535 if largest == 300 else 255
    assert back.dtype == ("uint16" if largest == 300 else "uint8")
    assert back.attrs["_FillValue"] == fill and meanings_of(back) == {1: "land", 2: "water"}
    np.testing.assert_array_equal(back == fill, values == nodata)
    np.testing.assert_array_equal(back.values[values != nodata], values[values != nodata])


def test_files_that_are_no_maps(path):
    with pytest.raises(FileNotFoundError, match="path must be a GeoTIFF, got no file"):
        read_label_map(path)
    for content in (b"", b"II*\0", b"text"):
        path.write_bytes(content)
        with pytest.raises(OSError, match="must be a readable GeoTIFF"):
            read_label_map(path)
    make_map().expand_dims(band=2).rio.to_raster(path)
    with pytest.raises(ValueError, match="one band of numbers, got .* with 2 bands of uint8"):
        read_label_map(path)
    for values, wrong in ((make_map() * 0.5, r"\d\.5"), (make_map().astype("int16") - 1, "-1")):
        values.rio.write_nodata(None).rio.to_raster(path)
        with pytest.raises(ValueError, match=f"tif must be whole numbers .* got {wrong}"):
            read_label_map(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_map().drop_vars("spatial_ref").rio.to_raster(path)
    with pytest.raises(ValueError, match="with a CRS, got .* without one"):
        read_label_map(path)


def test_chunks_are_computed_once_and_one_after_the_other(path, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_PIXELS", 600)
    calls = []

    def block(block_info=None):
        at = tuple(block_info[None]["chunk-location"])
        calls.append(at)
        return np.full(block_info[None]["chunk-shape"], at[0] % 3, np.uint8)

    values = da.map_blocks(block, chunks=((10,) * 9, (20,) * 6), dtype=np.uint8)
    grid = make_grid(ny=90, nx=120)
    labels = xr.DataArray(values, grid.coords, ("y", "x")).assign_coords(time=DAY)
    write_label_map(path, labels)
    assert sorted(calls) == [(i, j) for i in range(9) for j in range(6)]
    np.testing.assert_array_equal(read_label_map(path)[:, 0], np.repeat(np.arange(9) % 3, 10))


@pytest.mark.slow
def test_a_large_lazy_map_is_written_in_bounded_memory(tmp_path):
    code = f"""
import re
from pathlib import Path
import dask.array as da, numpy as np, xarray as xr, rioxarray, rasterio
from cookbook_utils.export import write_label_map
def peak():  # unlike ru_maxrss, not that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
side = 24_000
values = da.map_blocks(
    lambda block_info=None: np.add.outer(*map(np.arange, block_info[None]["chunk-shape"]))
    .astype("u1") // 64, chunks=((2000,) * 12, (2000,) * 12), dtype="u1")
at = np.arange(side) + 0.5
labels = xr.DataArray(values, dict(y=5e6 - at, x=3e5 + at), ("y", "x")).rio.write_crs(32611)
import cookbook_utils.export._geotiff
before = peak()
with rasterio.Env(GDAL_CACHEMAX=64):
    write_label_map({str(tmp_path / "map.tif")!r}, labels, time="2020-01-01")
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 350_000  # KiB, where the map has 576 MB


# -- polygons ----------------------------------------------------------------------------------


def read_table(path):
    reader = {".gpkg": geopandas.read_file, ".csv": pd.read_csv}
    return reader.get(path.suffix, geopandas.read_parquet)(path)


def sorted_shapes(geometries, labels):
    pairs = [(int(n), shapely.normalize(one)) for n, one in zip(labels, geometries, strict=True)]
    return sorted(pairs, key=lambda pair: (pair[0], pair[1].wkt))


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_polygons_are_those_of_rasterio_with_names_and_areas(suffix, tmp_path):
    labels = named(make_map())
    path = write_polygons(tmp_path / f"Flächen{suffix}", labels.chunk(11))
    table = read_table(path)
    assert pyproj.CRS(table.crs) == pyproj.CRS(32611)
    pixels, transform = labels.values, labels.rio.transform()
    found = shapes(pixels, mask=pixels != 255, connectivity=4, transform=transform)
    geometries, numbers = zip(*found, strict=True)
    expected = sorted_shapes(map(shapely.geometry.shape, geometries), numbers)
    assert sorted_shapes(table.geometry, table["label"]) == expected
    assert set(zip(table["label"], table["class"], strict=True)) == set(enumerate(NAMES))
    np.testing.assert_allclose(table["area_km2"], table.area / 1e6)
    assert item_of(path).assets["data"].extra_fields["classification:classes"][0]["name"] == "sea"


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4),
    st.integers(1, 40),
)  # fmt: skip
def test_strips_join_to_the_polygons_of_the_whole(seed, ny, nx, k, strip):
    random = np.random.default_rng(seed)
    values = random.integers(0, k, (ny, nx)).astype(np.uint8)
    values[random.random(values.shape) < 0.15] = 255
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_regions, "STRIP_PIXELS", strip)
        areas = xr.DataArray(np.arange(1.0, ny + 1), dims="y")
        given = _blocks.LabelMap(xr.DataArray(values, dims=("y", "x")), 255, None, None)
        found = list(_regions.regions(given, areas))
    whole = list(shapes(values, mask=values != 255, connectivity=4))
    expected = sorted_shapes([shapely.geometry.shape(g) for g, _ in whole], [n for _, n in whole])
    got = sorted_shapes([one.polygons[0] for one in found], [one.label for one in found])
    assert len(got) == len(expected)
    assert all(one.polygons[0].geom_type == "Polygon" for one in found)
    for (n, one), (m, two) in zip(
        sorted(got, key=lambda p: (p[0], p[1].bounds, p[1].area)),
        sorted(expected, key=lambda p: (p[0], p[1].bounds, p[1].area)),
        strict=True,
    ):
        assert n == m and one.area == two.area and one.bounds == two.bounds
    rows = np.arange(1, ny + 1)[:, None] * np.ones(nx)
    np.testing.assert_allclose(sum(one.area for one in found), rows[values != 255].sum())


def test_dissolved_polygons_and_areas_in_degrees(tmp_path):
    labels = named(make_map(crs="EPSG:4326", step=0.01, left=11.0, top=65.0))
    table = read_table(write_polygons(tmp_path / "a.gpkg", labels, dissolve=True))
    assert table["label"].tolist() == [0, 1, 2, 3] and table.is_valid.all()
    areas = class_areas(labels)
    np.testing.assert_allclose(table["area_km2"], areas.to_numpy()[:4])


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_a_map_without_labels_gives_a_table_without_rows(suffix, tmp_path):
    empty = make_map().copy(data=np.full((40, 50), 255, np.uint8))
    table = read_table(write_polygons(tmp_path / f"a{suffix}", empty))
    assert len(table) == 0 and {"class", "label", "area_km2", "geometry"} <= set(table.columns)
    write_label_map(tmp_path / "a.tif", empty)
    assert (read_label_map(tmp_path / "a.tif") == 255).all()


# -- points ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    random = np.random.default_rng(0)
    dates = [f"2020-01-{day:02}" for day in range(1, 13)]
    with ShardWriter(folder, {"dynamic": dates, "static": ["höhe", "label"]}) as writer:
        for start in range(0, 600, 200):
            at = np.arange(start, start + 200) * 3
            values = random.normal(size=(200, 12)).astype(np.float32)
            values[0, 0] = np.nan
            place = 20 + at / 7000, 69 + at / 9000
            writer.append(at, *place, dynamic=values, static=values[:, :2])
    points = PointShards(folder)
    at = points.read("point")
    labels = np.where(at % 50 == 0, 255, at % 3)
    attrs = flags("Bewegung", ("stable", "creep", "größer"))
    points.write_labels("k", [(at, labels)], attrs=attrs)
    return points


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".gpkg"])
def test_points_in_shards_come_back_with_all_values(suffix, shards, tmp_path, monkeypatch):
    monkeypatch.setattr("cookbook_utils.export.points.ROWS", 130)
    path = write_points(tmp_path / f"Punkte ü{suffix}", shards, "k")
    table = read_table(path)
    np.testing.assert_array_equal(table["pid"], shards.read("point"))
    for name in ("longitude", "latitude"):
        np.testing.assert_array_equal(table[name], shards.read(name))
    names = [*shards.features["dynamic"], "höhe", "static_label"]
    values = np.concatenate([shards.read("dynamic"), shards.read("static")], axis=1)
    np.testing.assert_array_equal(table[names].to_numpy("f4"), values)
    labels = shards.read_labels("k").values
    np.testing.assert_array_equal(table["label"].fillna(255).astype(int), labels)
    words = np.array(["stable", "creep", "größer"])
    assert table["class"][labels != 255].tolist() == words[labels[labels != 255]].tolist()
    assert table["class"][labels == 255].isna().all()
    if suffix != ".csv":
        np.testing.assert_array_equal(table.geometry.x, shards.read("longitude"))
        assert table.crs.is_geographic
    item = item_of(path)
    assert item.common_metadata.start_datetime.isoformat()[:10] == "2020-01-01"
    assert item.common_metadata.end_datetime.isoformat()[:10] == "2020-01-12"


def test_points_in_memory_with_profiles(tmp_path):
    time = pd.date_range("2020-01-03", periods=4, freq="6D")
    values = np.arange(20.0).reshape(5, 4)
    points = xr.Dataset(
        {"displacement": (("point", "time"), values), "height": ("point", np.arange(5.0))},
        coords={
            "pid": ("point", np.array(["a1", "ü2", "c3", "d,4", 'e"5'])),
            "longitude": ("point", np.linspace(20, 21, 5)),
            "latitude": ("point", np.linspace(69, 70, 5)),
            "time": time,
        },
    )
    labels = [0, 2, 0, 2, 255]
    profiles = displacement_profiles(points, labels)
    for suffix in (".csv", ".parquet"):
        path = write_points(tmp_path / f"a{suffix}", points.chunk(), labels, profiles=profiles)
        table = read_table(path)
        assert table["pid"].tolist() == points.pid.values.tolist()
        dates = time.strftime("%Y-%m-%d")
        np.testing.assert_array_equal(table[[f"displacement_{d}" for d in dates]], values)
        means = table[[f"profile_{d}" for d in dates]].to_numpy()
        np.testing.assert_allclose(means[[0, 1]], profiles["mean"].values)
        assert np.isnan(means[4]).all()
        assert table["class"].tolist()[:2] == ["cluster 0", "cluster 2"]
    with pytest.raises(ValueError, match=r"profiles must have every cluster .* got none for \[1\]"):
        write_points(tmp_path / "b.csv", points, [0, 1, 2, 0, 0], profiles=profiles)


def make_points(**variables):
    coords = {"longitude": ("point", [20.0, 21.0]), "latitude": ("point", [69.0, 69.5])}
    time = pd.to_datetime(["2020-01-03", "2020-01-09"])
    return xr.Dataset(variables, coords=coords | {"time": time})


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".gpkg"])
def test_no_column_of_points_hides_another(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    series = ("point", "time"), np.arange(4.0).reshape(2, 2)
    one = "point", [7.0, 8.0]
    names = ("geometry", "geom", "fid", "Label")
    table = read_table(write_points(path, make_points(**dict.fromkeys(names, one)), [0, 1]))
    for name in names:
        assert table[f"value_{name}"].tolist() == one[1]
    profiles = xr.Dataset(
        {"mean": (("cluster", "band"), np.eye(2))}, {"cluster": [0, 1], "band": ["a", "b"]}
    )
    points = make_points(d=series)
    for wrong_points, name in [
        (points.assign({"d_2020-01-09": one}), "d_2020-01-09"),
        (points.isel(time=[1, 1]), "d_2020-01-09"),
        (points.assign(label=one, value_label=one), "value_label"),
        (points.assign(profile_b=one), "profile_b"),
    ]:
        with pytest.raises(ValueError, match=f"a name of its own, got several for '{name}'"):
            write_points(tmp_path / f"b{suffix}", wrong_points, [0, 1], profiles=profiles)
    assert not list(tmp_path.glob("b*"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".gpkg"])
def test_dates_of_points_are_text(suffix, tmp_path):
    days = np.array(["2020-01-03T10:00", "NaT"], "M8[ns]")
    path = write_points(tmp_path / f"a{suffix}", make_points(seen=("point", days)), [0, 1])
    seen = read_table(path)["seen"]
    assert seen[0] == "2020-01-03T10:00:00" and pd.isna(seen[1])


def test_integers_that_a_geopackage_cannot_hold(tmp_path):
    points = make_points(number=("point", np.full(2, 2**63, "u8")))
    with pytest.raises(OSError, match="cannot write 'a.gpkg'"):
        write_points(tmp_path / "a.gpkg", points, [0, 1])
    assert not list(tmp_path.iterdir())


def test_points_that_are_refused(shards, tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(FileNotFoundError, match="has no labels 'other'"):
        write_points(path, shards, "other")
    with pytest.raises(ValueError, match="labels must be one for each of 600 points, got 3"):
        write_points(path, shards, [0, 1, 2])
    with pytest.raises(ValueError, match="kinds must"):
        write_points(path, shards, "k", kinds=["other"])
    frame = read_table(write_points(path, shards, "k", kinds=[], time="2020-01-01"))
    assert list(frame.columns) == ["pid", "longitude", "latitude", "label", "class"]
    points = xr.Dataset(coords={"longitude": ("point", [600_000.0]), "latitude": ("point", [7e6])})
    with pytest.raises(ValueError, match="are longitude and latitude swapped, or projected"):
        write_points(tmp_path / "b.csv", points, [0])
    with pytest.raises(TypeError, match="labels must be numbers where points are a Dataset"):
        write_points(tmp_path / "b.csv", points, "k")


def test_labels_of_points_in_another_order_are_refused(tmp_path):
    index = {"point": [0, 1, 2]}
    points = xr.Dataset(
        coords=index | {"longitude": ("point", [1.0, 2, 3]), "latitude": ("point", [1.0, 2, 3])}
    )
    labels = xr.DataArray([0, 1, 2], {"point": [2, 1, 0]}, ("point",))
    with pytest.raises(ValueError, match="labels must have the coordinate point of the points"):
        write_points(tmp_path / "a.csv", points, labels)


def test_a_missing_package_is_named():
    with pytest.raises(
        ImportError, match=r"pip install 'satellite-clustering-cookbook\[archives\]"
    ):
        _install.need("no_such_package")


def test_a_map_that_was_read_is_used_as_before(path):
    labels = named(make_map())
    write_label_map(path, labels)
    back = read_label_map(path)
    xr.testing.assert_equal(match_labels(back, labels), labels)


def test_change_between_many_classes(tmp_path):
    labels = [make_map(k=20, seed=seed).drop_vars("time") for seed in (0, 1)]
    names = [f"c{number}" for number in range(20)]
    change = change_map(*(one.assign_attrs(flags("cover", names)) for one in labels))
    assert change.dtype == np.uint16
    back = read_label_map(write_label_map(tmp_path / "a.tif", change, time=("2020", "2021")))
    xr.testing.assert_equal(back, change)
    assert meanings_of(back) == meanings_of(change)
    table = read_table(write_polygons(tmp_path / "a.parquet", change, time=("2020", "2021")))
    assert set(table["class"]) <= set(meanings_of(change).values())


def test_polygons_of_a_map_with_south_up(tmp_path):
    labels = make_map()
    tables = [
        read_table(write_polygons(tmp_path / f"{number}.gpkg", one, dissolve=True))
        for number, one in enumerate((labels, labels.isel(y=slice(None, None, -1))))
    ]
    assert tables[0].geom_equals(tables[1]).all()
    assert tables[0].area.tolist() == tables[1].area.tolist()


def test_identifiers_of_points_in_shards(tmp_path):
    at = np.arange(3)
    with ShardWriter(tmp_path / "points", {"static": ["a"]}, with_pids=True) as writer:
        values = at[:, np.newaxis] / 2
        writer.append(at, at / 3, at / 3, pid=["10ü", "10b", "10c"], static=values)
    points = PointShards(tmp_path / "points")
    path = write_points(tmp_path / "a.parquet", points, [0, 1, 0], time="2020")
    assert read_table(path)["pid"].tolist() == ["10ü", "10b", "10c"]
