"""Landsat Collection-2 deliveries as STAC items that odc-stac loads."""

import json
import math
import shutil
import sys
import tarfile
import warnings
from datetime import UTC, datetime

import numpy as np
import odc.stac
import pytest
import rasterio

from cookbook_utils.datasets._landsat import is_landsat, landsat_item

from .deliveries import (
    LANDSAT_8,
    SUN_ELEVATION,
    landsat_groups,
    landsat_stac,
    pack_tar,
    pack_zip,
    write_landsat,
    write_raster,
)

OLI = {
    "coastal": "1", "blue": "2", "green": "3", "red": "4", "nir": "5", "swir1": "6", "swir2": "7"
}  # fmt: skip
TM = {"blue": "1", "green": "2", "red": "3", "nir": "4", "swir1": "5", "swir2": "7"}
LEVEL_1 = LANDSAT_8.replace("L2SP", "L1TP")


@pytest.fixture(params=["folder", "tar", "tar.gz", "zip"])
def packed(request, tmp_path):
    """Return a function that packs a folder in each way in which Landsat may arrive."""

    def pack(folder):
        if request.param == "folder":
            return folder
        path = tmp_path / f"Grönland {folder.name}.{request.param}"
        if request.param == "zip":
            return pack_zip(folder, path)
        return pack_tar(folder, path, {"tar": "w", "tar.gz": "w:gz"}[request.param])

    return pack


def raster_of(item, name):
    return item.assets[name].extra_fields["raster:bands"][0]


def load(item, *names):
    """Load stored numbers as odc-stac does, without resampling."""
    return odc.stac.load([item], bands=list(names), chunks={}).isel(time=0).compute()


@pytest.mark.parametrize(
    ("product", "bands"),
    [
        (LANDSAT_8, OLI),
        (LANDSAT_8.replace("LC08", "LC09"), OLI),
        (LANDSAT_8.replace("LC08", "LE07"), TM),
        (LANDSAT_8.replace("LC08", "LT05"), TM),
        (LANDSAT_8.replace("LC08", "LT04"), TM),
    ],
)
def test_level_2_is_surface_reflectance_of_each_sensor(tmp_path, packed, product, bands):
    pixels = write_landsat(tmp_path / "delivery", product)
    item = landsat_item(packed(tmp_path / "delivery"))
    assert list(item.assets) == [*bands, "qa_pixel"]
    loaded = load(item, *bands, "qa_pixel")
    for name, number in bands.items():
        facts = raster_of(item, name)
        assert facts["scale"] == 2.75e-5 and facts["offset"] == -0.2 and facts["nodata"] == 0
        assert facts["data_type"] == loaded[name].dtype == "uint16"
        np.testing.assert_array_equal(loaded[name], pixels[number])
        assert item.assets[name].extra_fields["eo:bands"][0]["common_name"] == name
    np.testing.assert_array_equal(loaded.qa_pixel, pixels["QA_PIXEL"])
    assert item.properties["quantity"] == "surface reflectance"
    assert item.properties["platform"] == f"landsat-{product[3]}"


MSS = ("green", "red", "nir08", "nir")


@pytest.mark.parametrize(
    ("sensor", "bands"),
    [
        ("LC08", OLI),
        ("LT05", TM),
        ("LE07", TM),
        ("LM05", dict(zip(MSS, "1234", strict=True))),
        ("LM01", dict(zip(MSS, "4567", strict=True))),
    ],
)
def test_level_1_is_top_of_atmosphere_reflectance(tmp_path, sensor, bands):
    """The formula is that of the data format control book: (M * Q + A) / sin(elevation)."""
    product = LEVEL_1.replace("LC08", sensor)
    pixels = write_landsat(tmp_path, product)
    item = landsat_item(tmp_path)
    rescaling = landsat_groups(product)["LEVEL1_RADIOMETRIC_RESCALING"]
    loaded = load(item, *bands)
    for name, number in bands.items():
        times = float(rescaling[f"REFLECTANCE_MULT_BAND_{number}"])
        plus = float(rescaling[f"REFLECTANCE_ADD_BAND_{number}"])
        with rasterio.open(tmp_path / f"{product}_B{number}.TIF") as file:
            stored = file.read(1)
        expected = (times * stored + plus) / math.sin(math.radians(SUN_ELEVATION))
        facts = raster_of(item, name)
        np.testing.assert_array_equal(loaded[name], stored)
        np.testing.assert_array_equal(stored, pixels[number])
        np.testing.assert_allclose(loaded[name] * facts["scale"] + facts["offset"], expected)
    assert item.properties["quantity"] == "top-of-atmosphere reflectance"


@pytest.mark.parametrize("ending", ["txt", "xml", "json"])
def test_every_format_of_the_mtl_says_the_same(tmp_path, ending):
    write_landsat(tmp_path / "all")
    write_landsat(tmp_path / "one", formats=[ending])
    one, other = (landsat_item(tmp_path / name) for name in ("one", "all"))
    assert one.properties == other.properties
    assert one.geometry == other.geometry
    for name in one.assets:
        assert one.assets[name].extra_fields == other.assets[name].extra_fields


def test_the_item_of_the_archive_stands_in_for_an_mtl(tmp_path):
    write_landsat(tmp_path)
    expected = landsat_item(tmp_path)
    for file in tmp_path.glob("*_MTL.*"):
        file.unlink()
    (tmp_path / f"{LANDSAT_8}_SR_stac.json").write_text(json.dumps(landsat_stac()))
    item = landsat_item(tmp_path)
    assert item.properties == expected.properties
    for name, asset in expected.assets.items():
        assert item.assets[name].extra_fields == asset.extra_fields


def test_facts_of_the_item(tmp_path):
    write_landsat(tmp_path)
    item = landsat_item(tmp_path)
    assert item.id == LANDSAT_8
    assert item.datetime == datetime(2017, 10, 22, 18, 27, 55, 123456, UTC)
    assert item.properties["eo:cloud_cover"] == 12.34
    assert item.properties["view:sun_elevation"] == SUN_ELEVATION
    assert item.properties["sensor"] == "Landsat 8 OLI"
    assert item.properties["proj:code"] == "EPSG:32611"
    assert item.properties["proj:shape"] == [40, 50]
    assert item.properties["proj:transform"] == [30, 0, 332_400, 0, -30, 4_305_000]
    west, south, east, north = item.bbox
    assert -118.94 < west < east < -118.91 and 38.86 < south < north < 38.89


def test_the_item_equals_that_of_stactools_where_it_works(tmp_path):
    """stactools-landsat reads Level 2 with an MTL in XML: an independent reading of the same."""
    product = LANDSAT_8.replace("LC08", "LT05")
    write_landsat(tmp_path, product)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
        from stactools.landsat.stac import create_item
    theirs = create_item(str(tmp_path / f"{product}_MTL.xml"), use_usgs_geometry=False)
    ours = landsat_item(tmp_path)
    assert ours.datetime == theirs.datetime
    for key in ("platform", "gsd", "eo:cloud_cover", "view:sun_elevation", "view:sun_azimuth"):
        assert ours.properties[key] == theirs.properties[key]
    for key in ("proj:code", "proj:shape"):
        assert ours.properties[key] == theirs.properties[key]
    np.testing.assert_allclose(ours.bbox, theirs.bbox, atol=1e-4)
    assert theirs.properties["proj:transform"][:6] == ours.properties["proj:transform"]
    names = {"nir": "nir08", "swir1": "swir16", "swir2": "swir22"}
    for name, asset in ours.assets.items():
        if name != "qa_pixel":
            other = theirs.assets[names.get(name, name)]
            assert other.href == asset.href
            for key in ("scale", "offset", "nodata", "data_type"):
                theirs_value = other.extra_fields["raster:bands"][0][key]
                assert raster_of(ours, name)[key] == theirs_value


# -- what archives and browsers do to files -----------------------------------------------------


def test_other_files_and_another_case_of_names_do_no_harm(tmp_path):
    pixels = write_landsat(tmp_path / "Walker Lake Ü")
    folder = tmp_path / "Walker Lake Ü"
    for file in folder.glob("*.TIF"):
        file.rename(file.with_name(file.name.replace(".TIF", ".tif")))
    (folder / f"._{LANDSAT_8}_SR_B4.TIF").write_bytes(b"Mac OS X")
    (folder / f"{LANDSAT_8}_SR_B4.TIF.aux.xml").write_text("<PAMDataset/>")
    (folder / "README.txt").write_text("notes")
    assert is_landsat(folder)
    np.testing.assert_array_equal(load(landsat_item(folder), "red").red, pixels["4"])


@pytest.mark.parametrize("name", ["a (1).tar", "A.TAR.GZ", "b.tgz", "no ending", "x.tar/in.tar"])
def test_tars_of_other_names_and_of_a_folder_are_read(tmp_path, name):
    """``tar -C folder -cf a.tar .`` puts "./" before each name."""
    pixels = write_landsat(tmp_path / "a")
    path = tmp_path / "archives" / name
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz" if "g" in path.suffix.lower() else "w") as tar:
        for file in (tmp_path / "a").iterdir():
            tar.add(file, f"./{file.name}")
    item = landsat_item(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # GDAL wrote nothing
    np.testing.assert_array_equal(load(item, "red").red, pixels["4"])


def test_relative_paths_lead_to_absolute_ones(tmp_path, monkeypatch):
    pixels = write_landsat(tmp_path / "a")
    pack_tar(tmp_path / "a", tmp_path / "a.tar")
    monkeypatch.chdir(tmp_path)
    for source in ("a", "a.tar"):
        np.testing.assert_array_equal(load(landsat_item(source), "red").red, pixels["4"])


@pytest.mark.parametrize("new", [" (1).TIF", "-1.TIF", ".TIF.tif", ".TIF.crdownload"])
def test_a_file_that_a_browser_renamed_is_named(tmp_path, new):
    write_landsat(tmp_path)
    (tmp_path / f"{LANDSAT_8}_SR_B4.TIF").rename(tmp_path / f"{LANDSAT_8}_SR_B4{new}")
    with pytest.raises(ValueError, match=r"SR_B4.* for 'LC08.*_SR_B4.TIF': a browser"):
        landsat_item(tmp_path)


def test_a_renamed_mtl_is_named(tmp_path):
    write_landsat(tmp_path, formats=["txt"])
    (tmp_path / f"{LANDSAT_8}_MTL.txt").rename(tmp_path / f"{LANDSAT_8}_MTL (1).txt")
    with pytest.raises(ValueError, match=r"MTL \(1\).txt' for .* a browser"):
        landsat_item(tmp_path)


def test_absent_bands_are_named_unless_they_are_not_wanted(tmp_path):
    pixels = write_landsat(tmp_path)
    (tmp_path / f"{LANDSAT_8}_SR_B1.TIF").unlink()
    (tmp_path / f"{LANDSAT_8}_SR_B7.TIF").unlink()
    with pytest.raises(ValueError, match=r"got none of coastal, swir2: .*SR_B1.TIF, .*SR_B7"):
        landsat_item(tmp_path)
    item = landsat_item(tmp_path, bands=["red", "nir"])
    assert list(item.assets) == ["red", "nir", "qa_pixel"]
    np.testing.assert_array_equal(load(item, "nir").nir, pixels["5"])
    for bands, found in ((["nir08"], "'nir08'"), ([], "none")):
        with pytest.raises(ValueError, match=f"bands must be among coastal, blue, .* got {found}"):
            landsat_item(tmp_path, bands=bands)


def test_a_delivery_without_quality_band_has_no_such_asset(tmp_path):
    write_landsat(tmp_path)
    (tmp_path / f"{LANDSAT_8}_QA_PIXEL.TIF").unlink()
    assert "qa_pixel" not in landsat_item(tmp_path).assets


def test_mixed_scenes_are_named_and_an_mtl_chooses_one(tmp_path):
    other = LANDSAT_8.replace("20171022", "20171107")
    pixels = write_landsat(tmp_path)
    write_landsat(tmp_path, other)
    with pytest.raises(ValueError, match=f"got files of 2 in .*{LANDSAT_8}, {other}"):
        landsat_item(tmp_path)
    item = landsat_item(tmp_path / f"{LANDSAT_8}_MTL.txt")
    assert item.id == LANDSAT_8
    np.testing.assert_array_equal(load(item, "red").red, pixels["4"])


@pytest.mark.parametrize("ending", ["txt", "xml", "json"])
def test_a_truncated_mtl_is_named_unless_another_is_whole(tmp_path, ending):
    write_landsat(tmp_path)
    expected = landsat_item(tmp_path)
    cut = tmp_path / f"{LANDSAT_8}_MTL.{ending}"
    cut.write_text(cut.read_text()[:-60])
    assert landsat_item(tmp_path).properties == expected.properties
    for file in set(tmp_path.glob("*_MTL.*")) - {cut}:
        file.unlink()
    with pytest.raises(ValueError, match=f"MTL.{ending} of .* must be (a )?complete"):
        landsat_item(tmp_path)


def test_an_mtl_in_which_the_value_is_absent_or_wrong_is_named(tmp_path):
    for value, message in (
        ({"SUN_ELEVATION": -3.5}, "must be above 0"),
        ({"SUN_ELEVATION": "NULL"}, "must be above 0"),
        ({"SUN_ELEVATION": "high"}, "must be a number"),
        ({"REFLECTANCE_MULT_BAND_4": "NULL"}, "REFLECTANCE_MULT_BAND_4"),
        ({"REFLECTANCE_MULT_BAND_4": "0.0"}, "REFLECTANCE_MULT_BAND_4 of .* must be above 0"),
        ({"DATE_ACQUIRED": None}, "IMAGE_ATTRIBUTES/DATE_ACQUIRED"),
        ({"DATE_ACQUIRED": "yesterday"}, "ISO 8601"),
    ):
        folder = tmp_path / next(iter(value)) / str(value)[-9:-2].strip(" ':")
        write_landsat(folder, LEVEL_1, formats=["txt"], **value)
        with pytest.raises(ValueError, match=message):
            landsat_item(folder)


def test_unknown_cloud_cover_is_left_out(tmp_path):
    write_landsat(tmp_path, cloud_cover=-1)
    assert "eo:cloud_cover" not in landsat_item(tmp_path).properties


def test_other_files_of_level_1_are_no_bands(tmp_path):
    """As in the metadata of ETM+: thermal bands of two gains, pan, angles and saturation."""
    product = LEVEL_1.replace("LC08", "LE07").replace("_T1", "_RT")
    write_landsat(tmp_path, product, formats=["txt"])
    mtl = tmp_path / f"{product}_MTL.txt"
    kinds = ("BAND_6_VCID_1", "BAND_6_VCID_2", "BAND_8", "QUALITY_L1_RADIOMETRIC_SATURATION",
             "ANGLE_SENSOR_AZIMUTH_BAND_4", "ANGLE_SOLAR_ZENITH_BAND_4")  # fmt: skip
    lines = "".join(f'\n    FILE_NAME_{kind} = "{product}_{kind}.TIF"' for kind in kinds)
    text = mtl.read_text()
    for group in ("PRODUCT_CONTENTS", "LEVEL1_PROCESSING_RECORD"):
        text = text.replace(f"  GROUP = {group}", f"  GROUP = {group}{lines}", 1)
    mtl.write_text(text)
    assert list(landsat_item(tmp_path).assets) == [*TM, "qa_pixel"]


def test_a_band_that_the_sensor_missed_is_left_out(tmp_path):
    product = LEVEL_1.replace("LC08", "LM01")
    write_landsat(tmp_path, product, formats=["txt"], REFLECTANCE_MULT_BAND_4="NULL")
    mtl = tmp_path / f"{product}_MTL.txt"
    mtl.write_text(
        mtl.read_text().replace(
            "  GROUP = PRODUCT_CONTENTS", '  GROUP = PRODUCT_CONTENTS\n    PRESENT_BAND_4 = "M"', 1
        )
    )
    assert list(landsat_item(tmp_path).assets) == ["red", "nir08", "nir", "qa_pixel"]


def test_other_sensors_and_collection_1_are_refused(tmp_path):
    write_landsat(tmp_path / "tirs", LEVEL_1, SENSOR_ID="TIRS")
    with pytest.raises(ValueError, match="MSS, TM, ETM\\+ or OLI, got TIRS"):
        landsat_item(tmp_path / "tirs")
    write_landsat(tmp_path / "old", formats=["txt"])
    mtl = tmp_path / "old" / f"{LANDSAT_8}_MTL.txt"
    mtl.write_text(mtl.read_text().replace("LANDSAT_METADATA_FILE", "L1_METADATA_FILE"))
    with pytest.raises(ValueError, match="Collection 2"):
        landsat_item(tmp_path / "old")


def test_damaged_files_are_named(tmp_path):
    write_landsat(tmp_path / "a")
    tar = pack_tar(tmp_path / "a", tmp_path / "a.tar")
    tar.write_bytes(tar.read_bytes()[:60_000])
    with pytest.raises(OSError, match="a.tar must be a complete tar"):
        landsat_item(tar)
    gz = pack_tar(tmp_path / "a", tmp_path / "a.tar.gz", "w:gz")
    gz.write_bytes(gz.read_bytes()[:30_000])
    with pytest.raises(OSError, match="a.tar.gz must be a complete tar"):
        landsat_item(gz)
    (tmp_path / "a" / f"{LANDSAT_8}_SR_B4.TIF").write_bytes(b"not found")
    with pytest.raises(OSError, match=r"SR_B4.TIF must be a readable raster"):
        landsat_item(tmp_path / "a")


def test_bands_without_georeference_or_with_two_crs_are_refused(tmp_path):
    write_landsat(tmp_path)
    band = tmp_path / f"{LANDSAT_8}_SR_B4.TIF"
    write_raster(band, np.ones((40, 50), "uint16"), crs=None)
    with pytest.raises(ValueError, match=r"SR_B4.TIF must have a CRS"):
        landsat_item(tmp_path)
    write_raster(band, np.ones((40, 50), "uint16"), crs="EPSG:32612")
    with pytest.raises(ValueError, match=r"must have one CRS, got .*32612.* for red"):
        landsat_item(tmp_path)


def test_other_sources_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    write_landsat(tmp_path / "whole")
    (tmp_path / "file.tif").write_bytes(b"II*\0")
    for source, error, message in (
        (5, TypeError, "source must be a path"),
        ("", ValueError, "source must be a path"),
        (tmp_path / "absent", FileNotFoundError, "absent"),
        (tmp_path / "empty", ValueError, "must be a Landsat Collection-2 delivery"),
        (tmp_path / "file.tif", ValueError, "a folder, a tar"),
    ):
        with pytest.raises(error, match=message):
            landsat_item(source)
        assert error is TypeError or not is_landsat(source)
    with pytest.raises(TypeError, match="bands must be"):
        landsat_item(tmp_path / "whole", bands="red")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    write_landsat(tmp_path)
    monkeypatch.setitem(sys.modules, "pystac", None)
    with pytest.raises(ImportError, match=r"pip install 'satellite-clustering-cookbook\[archives"):
        landsat_item(tmp_path)
    shutil.rmtree(tmp_path)
