"""Sentinel-2 products as STAC items that odc-stac loads."""

from datetime import UTC, datetime

import numpy as np
import odc.stac
import pytest
import rasterio

from cookbook_utils.datasets._landsat import is_landsat
from cookbook_utils.datasets._sentinel2 import is_sentinel2, sentinel2_item

from .deliveries import (
    LANDSAT_8,
    NATIVE,
    SENTINEL_2,
    SUN_ZENITH,
    pack_tar,
    pack_zip,
    sentinel2_stac,
    write_cogs,
    write_landsat,
    write_raster,
    write_safe,
)

BANDS = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05",
    "rededge2": "B06", "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09",
    "swir1": "B11", "swir2": "B12",
}  # fmt: skip
LEVEL_1C = SENTINEL_2.replace("L2A", "L1C")


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    """Return a SAFE folder of Level-2A and its stored numbers; tests must not change it."""
    return write_safe(tmp_path_factory.mktemp("Ångström und mehr"))


def raster_of(item, name):
    return item.assets[name].extra_fields["raster:bands"][0]


def load(item, name):
    """Load the stored numbers of one band as odc-stac does, at its own resolution."""
    return odc.stac.load([item], bands=[name], chunks={})[name].isel(time=0).compute()


def test_level_2a_has_each_band_at_its_finest_resolution(safe):
    folder, pixels = safe
    item = sentinel2_item(folder)
    assert list(item.assets) == [*BANDS, "scl"]
    for name, band in BANDS.items():
        facts, step = raster_of(item, name), NATIVE[band]
        assert facts["scale"] == 1 / 10_000 and facts["offset"] == -1000 / 10_000
        assert facts["nodata"] == 0 and facts["spatial_resolution"] == step
        assert item.assets[name].extra_fields["saturated"] == 65_535
        assert item.assets[name].extra_fields["eo:bands"][0]["common_name"] == name
        loaded = load(item, name)
        assert facts["data_type"] == loaded.dtype == "uint16"
        np.testing.assert_array_equal(loaded, pixels[band, step])
        with rasterio.open(item.assets[name].href) as file:  # JPEG 2000 without loss
            np.testing.assert_array_equal(file.read(1), pixels[band, step])
    np.testing.assert_array_equal(load(item, "scl"), pixels["SCL", 20])
    assert item.properties["quantity"] == "surface reflectance"


def test_level_1c_is_top_of_atmosphere_reflectance(tmp_path):
    folder, pixels = write_safe(tmp_path, LEVEL_1C)
    item = sentinel2_item(folder)
    assert list(item.assets) == list(BANDS)
    for name, band in BANDS.items():
        assert raster_of(item, name)["offset"] == -0.1
        np.testing.assert_array_equal(load(item, name), pixels[band, NATIVE[band]])
    assert item.properties["quantity"] == "top-of-atmosphere reflectance"


def test_the_offset_of_each_band_is_that_of_the_metadata(tmp_path):
    """Number 8 of the list is B8A, not B09."""
    folder, _ = write_safe(tmp_path, offsets=-1000 - np.arange(13), quantification=20_000)
    item = sentinel2_item(folder)
    for name, band in BANDS.items():
        facts = raster_of(item, name)
        assert facts["scale"] == 1 / 20_000
        assert facts["offset"] == (-1000 - list(NATIVE).index(band)) / 20_000


def test_products_before_baseline_4_have_no_offset(tmp_path):
    old = SENTINEL_2.replace("N0400", "N0301")
    item = sentinel2_item(write_safe(tmp_path, old, offsets=None)[0])
    assert {raster_of(item, name)["offset"] for name in BANDS} == {0}
    with pytest.raises(ValueError, match=r"BOA_ADD_OFFSET.* got none in processing baseline 04.00"):
        sentinel2_item(write_safe(tmp_path, offsets=None)[0])


@pytest.mark.parametrize("kind", ["zip", "tar", "metadata", "parent"])
def test_archives_are_read_in_place(safe, tmp_path, kind):
    folder, pixels = safe
    source = {
        "zip": lambda: pack_zip(folder, tmp_path / f"Ö {folder.stem}.zip"),
        "tar": lambda: pack_tar(folder, tmp_path / f"{folder.stem}.tar"),
        "metadata": lambda: folder / "MTD_MSIL2A.xml",
        "parent": lambda: folder.parent,
    }[kind]()
    assert is_sentinel2(source)
    item, expected = sentinel2_item(source), sentinel2_item(folder)
    assert item.properties == expected.properties and item.geometry == expected.geometry
    for name in item.assets:
        assert item.assets[name].extra_fields == expected.assets[name].extra_fields
    for name in ("red", "swir1"):
        np.testing.assert_array_equal(load(item, name), pixels[BANDS[name], NATIVE[BANDS[name]]])


@pytest.mark.parametrize("by", ["OPER", "USER"])
def test_metadata_with_names_of_before_december_2016(tmp_path, by):
    folder, pixels = write_safe(tmp_path)
    product, tile = folder / "MTD_MSIL2A.xml", next(folder.rglob("MTD_TL.xml"))
    product.rename(folder / f"S2A_{by}_MTD_SAFL2A_PDMC_20160101T000000_R022_V20160101T101010.xml")
    tile.rename(tile.with_name(f"S2A_{by}_MTD_L2A_TL_SGS__20160101T000000_A002758_T29UNU.xml"))
    old = folder.rename(tmp_path / "S2A_OPER_PRD_MSIL2A_PDMC_20160101T000000_R022.SAFE")
    item = sentinel2_item(old)
    assert item.properties["view:sun_elevation"] == pytest.approx(90 - SUN_ZENITH)
    np.testing.assert_array_equal(load(item, "red"), pixels["B04", 10])


def test_facts_of_the_item(safe):
    item = sentinel2_item(safe[0])
    assert item.id == SENTINEL_2
    assert item.datetime == datetime(2022, 10, 5, 11, 54, 11, 24_000, UTC)
    assert item.properties["platform"] == "sentinel-2b"
    assert item.properties["sensor"] == "Sentinel-2B MSI"
    assert item.properties["eo:cloud_cover"] == 15.047897
    assert item.properties["view:sun_elevation"] == 90 - SUN_ZENITH
    assert item.properties["s2:processing_baseline"] == "04.00"
    assert item.properties["proj:code"] == "EPSG:32629"
    assert item.properties["proj:shape"] == [72, 72]
    assert item.assets["coastal"].extra_fields["proj:shape"] == [12, 12]
    wavelengths = [asset.extra_fields.get("eo:bands") for asset in item.assets.values()]
    assert wavelengths[0][0]["center_wavelength"] == 0.4423  # of Sentinel-2B


def test_the_item_equals_that_of_stactools_where_it_works(safe):
    """stactools-sentinel2 reads a whole SAFE folder: an independent reading of the same."""
    from stactools.sentinel2.stac import create_item

    theirs, ours = create_item(str(safe[0])), sentinel2_item(safe[0])
    assert ours.datetime == theirs.datetime
    for key in (
        "platform", "eo:cloud_cover", "view:sun_elevation", "view:sun_azimuth", "proj:code",
        "s2:processing_baseline", "grid:code",
    ):  # fmt: skip
        assert ours.properties[key] == theirs.properties[key], key
    np.testing.assert_allclose(ours.bbox, theirs.bbox, atol=1e-6)
    names = {"swir1": "swir16", "swir2": "swir22"}
    for name, asset in ours.assets.items():
        other = theirs.assets[names.get(name, name)]
        assert other.href == asset.href
        for key in ("proj:shape", "proj:transform"):
            assert list(asset.extra_fields[key]) == list(other.extra_fields[key])[:6]
        for key in ("scale", "offset", "nodata", "data_type", "spatial_resolution"):
            if name != "scl" or key in ("nodata", "data_type", "spatial_resolution"):
                assert raster_of(ours, name)[key] == other.extra_fields["raster:bands"][0][key]


# -- COGs ---------------------------------------------------------------------------------------


def test_cogs_with_the_name_of_the_product(safe, tmp_path):
    """The name has the processing baseline, on which the offset depends."""
    folder = write_cogs(safe[0], tmp_path / SENTINEL_2)
    item = sentinel2_item(folder)
    assert list(item.assets) == [*BANDS, "scl"]
    assert {raster_of(item, name)["offset"] for name in BANDS} == {-0.1}
    assert item.datetime == datetime(2022, 10, 5, 11, 54, 11, tzinfo=UTC)
    np.testing.assert_array_equal(load(item, "nir"), safe[1]["B08", 10])
    old = folder.rename(tmp_path / SENTINEL_2.replace("N0400", "N0214"))
    assert {raster_of(sentinel2_item(old), name)["offset"] for name in BANDS} == {0}


@pytest.mark.parametrize(
    ("facts", "offset"),
    [
        ({}, -0.1),
        ({"applied": False}, -0.1),
        ({"applied": True}, 0),
        ({"applied": True, "raster": False}, 0),
        ({"sentinel:boa_offset_applied": True}, 0),
        ({"raster": False, "sentinel:boa_offset_applied": True}, 0),
        ({"raster": False, "s2:processing_baseline": None}, -0.1),  # that of its name
        ({"raster": False}, -0.1),
        ({"raster": False, "product": SENTINEL_2.replace("N0400", "N0301")}, 0),
    ],
)
def test_cogs_with_the_item_of_earth_search(safe, tmp_path, facts, offset):
    """Earth Search names an offset even where it has subtracted it from its files."""
    folder = write_cogs(safe[0], tmp_path / "29UNU", short=True)
    assert not is_sentinel2(folder)
    (folder / "item.json").write_text(sentinel2_stac(**facts))
    assert is_sentinel2(folder)
    item = sentinel2_item(folder)
    assert {raster_of(item, name)["scale"] for name in BANDS} == {0.0001}
    assert {raster_of(item, name)["offset"] for name in BANDS} == {offset}
    assert item.datetime == datetime(2022, 10, 5, 11, 56, 49, 581_000, UTC)
    np.testing.assert_array_equal(load(item, "red"), safe[1]["B04", 10])


def test_cogs_of_which_nothing_says_the_offset_are_refused(safe, tmp_path):
    folder = write_cogs(safe[0], tmp_path / "29UNU", short=True)
    with pytest.raises(ValueError, match="the offset of reflectance depends on"):
        sentinel2_item(folder)
    nothing = {"s2:processing_baseline": None, "s2:product_uri": None}
    (folder / "item.json").write_text(sentinel2_stac(raster=False, **nothing))
    with pytest.raises(ValueError, match="must have scale and offset of B01, got none"):
        sentinel2_item(folder)


# -- what archives and browsers do to files -----------------------------------------------------


def band_file(folder, band, step=None):
    """Return the only file of a band, at one resolution."""
    return next(folder.rglob(f"*_{band}_{step or NATIVE[band]}m.jp2"))


def test_absent_bands_are_named_unless_they_are_not_wanted(tmp_path):
    folder, pixels = write_safe(tmp_path)
    band_file(folder, "B08").unlink()
    with pytest.raises(ValueError, match=r"got none of nir: T29UNU_20221005T115411_B08"):
        sentinel2_item(folder)
    item = sentinel2_item(folder, bands=["red", "nir08"])
    assert list(item.assets) == ["red", "nir08", "scl"]
    with pytest.raises(ValueError, match="bands must be among .* got 'swir16'"):
        sentinel2_item(folder, bands=["swir16"])
    band_file(folder, "B04").unlink()  # it is there with pixels of 20 m, too
    item = sentinel2_item(folder, bands=["red"])
    np.testing.assert_array_equal(load(item, "red"), pixels["B04", 20])


@pytest.mark.parametrize("new", [" (1).jp2", ".jp2.part", "-1.jp2"])
def test_a_file_that_a_browser_renamed_is_named(tmp_path, new):
    folder, _ = write_safe(tmp_path)
    for file in list(folder.rglob("*_B08_10m.jp2")):
        file.rename(file.with_name(file.stem + new))
    with pytest.raises(ValueError, match=r"B08_10m.*: a browser"):
        sentinel2_item(folder)


def test_mixed_scenes_are_named(tmp_path):
    write_safe(tmp_path)
    write_safe(tmp_path, SENTINEL_2.replace("T115411", "T115412"))
    with pytest.raises(ValueError, match="one scene, got files of 2"):
        sentinel2_item(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"</n1:Level-2A_User_Product>": ""}, "must be complete XML"),
        ({"<BOA_QUANTIFICATION_VALUE": "<X", "BOA_QUANTIFICATION_VALUE>": "X>"}, "QUANTIFICATION"),
        ({'"none">10000<': '"none">0<'}, "QUANTIFICATION_VALUE above 0"),
        (
            {'band_id="12"': 'band_id="13"'},
            "band_id of BOA_ADD_OFFSET .* must be 0 to 12, got '13'",
        ),
        ({">-1000<": ">low<"}, "BOA_ADD_OFFSET .* must be a number, got 'low'"),
        ({"<PROCESSING_BASELINE>04.00": "<PROCESSING_BASELINE>four"}, "such as 05.09, got 'four'"),
        ({"Level-2A</PROC": "Level-0</PROC"}, "Level-1C or Level-2A"),
        ({"<PRODUCT_START_TIME>2022-10-05T": "<PRODUCT_START_TIME>at "}, "ISO 8601"),
        ({"PRODUCT_START_TIME": "X"}, "must have PRODUCT_START_TIME, got none"),
    ],
)
def test_damaged_metadata_are_named(tmp_path, changed, message):
    folder, _ = write_safe(tmp_path, **changed)
    with pytest.raises(ValueError, match=message):
        sentinel2_item(folder)
    assert is_sentinel2(folder)


def test_an_angle_of_the_sun_that_is_nan_is_left_out(tmp_path):
    folder, _ = write_safe(tmp_path)
    file = next(folder.rglob("MTD_TL.xml"))
    file.write_text(file.read_text().replace(str(SUN_ZENITH), "NaN"))
    assert "view:sun_elevation" not in sentinel2_item(folder).properties


def test_damaged_files_are_named(safe, tmp_path):
    archive = pack_zip(safe[0], tmp_path / "a.zip")
    archive.write_bytes(archive.read_bytes()[:-5_000])
    with pytest.raises(OSError, match="a.zip must be a complete zip"):
        sentinel2_item(archive)
    folder, _ = write_safe(tmp_path)
    band_file(folder, "B03").write_bytes(b"not found")
    with pytest.raises(OSError, match="B03_10m.jp2 must be a readable raster"):
        sentinel2_item(folder)


def test_bands_without_georeference_are_refused(tmp_path):
    folder, _ = write_safe(tmp_path)
    file = band_file(folder, "B03")
    file.unlink()
    write_raster(file, np.ones((72, 72), "uint16"), crs=None)
    with pytest.raises(ValueError, match="B03_10m.jp2 must have a CRS"):
        sentinel2_item(folder)


def test_other_sources_are_refused(tmp_path, safe):
    write_landsat(tmp_path / "landsat", LANDSAT_8.replace("L2SP", "L1TP"))
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "landsat", tmp_path / "empty", tmp_path / "absent"):
        assert not is_sentinel2(source)
        with pytest.raises((ValueError, FileNotFoundError)):
            sentinel2_item(source)
    assert not is_landsat(safe[0])
    with pytest.raises(TypeError, match="source must be a path"):
        sentinel2_item(5)
    with pytest.raises(TypeError, match="bands must be"):
        sentinel2_item(safe[0], bands="red")
