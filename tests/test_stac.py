"""STAC items, catalogs and searches; rasters over HTTP and S3 on the loopback interface."""

from __future__ import annotations

import datetime
import json
import shutil

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from cookbook_utils.datasets import (
    _access,
    _driver,
    open_catalog,
    open_scene,
    open_scenes,
    search_scenes,
)

from .servers import serving

DAYS = ("2025-06-01", "2025-06-11")
BOX = (13.0, 36.0, 15.5, 36.2)
EO, RASTER, PROJ = (
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("eo/v1.1.0", "raster/v1.1.0", "projection/v2.0.0")
)


def write_cog(path, values, *, step=30, nodata=0):
    """Write a cloud-optimized GeoTIFF by GDAL, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_suffix(".plain.tif")
    with rasterio.open(
        plain, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1,
        dtype=values.dtype, crs="EPSG:32633", nodata=nodata,
        transform=from_origin(500_000, 4_000_000, step, step),
    ) as file:  # fmt: skip
        file.write(values, 1)
    rasterio.shutil.copy(plain, path, driver="COG", BLOCKSIZE=128, COMPRESS="DEFLATE")
    plain.unlink()
    return path


def numbers(seed, shape=(300, 400), dtype="uint16"):
    values = np.random.default_rng(seed).integers(1500, 9000, shape).astype(dtype)
    values[:20, :20] = 0
    return values


def expected(path, scale=1e-4, offset=-0.1):
    with rasterio.open(path) as file:
        values, mask = file.read(1), file.read_masks(1)
    result = values.astype("float32") * np.float32(scale) + np.float32(offset)
    return np.where(mask != 0, result, np.float32(np.nan))


def make_item(folder, day, seed, *, href="{}", properties=None, projected=True):
    """Make COGs and the item of a scene with three bands, of which one is coarser, and an SCL."""
    item = pystac.Item(
        f"scene-{day}",
        {"type": "Polygon", "coordinates": [[[13, 36], [15.5, 36], [15.5, 36.2], [13, 36]]]},
        list(BOX),
        datetime.datetime.fromisoformat(day + "T10:00:00+00:00"),
        {"eo:cloud_cover": 10 * seed, "platform": "sentinel-2a", **(properties or {})},
        stac_extensions=[EO, RASTER, PROJ],
    )
    bands = {"B04": ("red", 30), "B08": ("nir", 30), "B11": ("swir16", 60), "scl": (None, 60)}
    for k, (key, (common, step)) in enumerate(bands.items()):
        shape = (300, 400) if step == 30 else (150, 200)
        values = numbers(10 * seed + k, shape)
        if common is None:
            values = (values % 12).astype("uint8")
        path = write_cog(folder / day / f"{key}.tif", values, step=step)
        facts = {"raster:bands": [{"data_type": str(values.dtype), "nodata": 0}]}
        if common:
            facts["raster:bands"][0] |= {"scale": 1e-4, "offset": -0.1}
            facts["eo:bands"] = [{"name": key, "common_name": common, "center_wavelength": k + 0.5}]
        if projected:
            facts |= {"proj:code": "EPSG:32633", "proj:shape": list(shape),
                      "proj:transform": [step, 0, 500_000, 0, -step, 4_000_000]}  # fmt: skip
        where = href.format(path.relative_to(folder)) if "://" in href else str(path)
        media = "image/tiff; application=geotiff; profile=cloud-optimized"
        item.add_asset(key, pystac.Asset(where, key, None, media, ["data"], facts))
    thumbnail = pystac.Asset("t.png", None, None, "image/png", ["thumbnail"])
    item.add_asset("thumbnail", thumbnail)
    return item


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of a folder with a static catalog of two scenes."""
    monkeypatch.setenv("GDAL_HTTP_PROXY", "")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_access, "RETRY_DELAY", 0.01)
    monkeypatch.setattr(_access, "TIMEOUT", 4.0)
    folder = tmp_path / "www"
    with serving(folder) as running:
        catalog = pystac.Catalog("lake", "two scenes")
        for seed, day in enumerate(DAYS, 1):
            catalog.add_item(make_item(folder, day, seed))
        catalog.normalize_hrefs(str(folder))
        catalog.make_all_asset_hrefs_relative()
        catalog.save(pystac.CatalogType.SELF_CONTAINED)
        running.items = []
        for item in catalog.get_items():
            served = item.clone()
            for key, asset in served.assets.items():
                asset.href = f"{running.url}/{item.id[6:]}/{key}.tif"
            served.set_self_href(f"{running.url}/api/{item.id}")
            running.items.append(served.to_dict(include_self_link=True, transform_hrefs=False))
        yield running


def is_right(scene, folder, day=DAYS[0], red="B04"):
    assert list(scene.band.values) == ["red", "nir", "swir1"]
    assert scene.dtype == "float32" and scene.attrs["units"] == "1"
    assert scene.rio.crs == "EPSG:32633"
    for k, key in enumerate((red, "B08")):
        assert np.array_equal(
            scene[k].values, expected(folder / day / f"{key}.tif"), equal_nan=True
        )
    coarse = expected(folder / day / "B11.tif").repeat(2, 0).repeat(2, 1)
    assert np.array_equal(scene[2].values, coarse, equal_nan=True)
    with rasterio.open(folder / day / "scl.tif") as file:
        classes = file.read(1).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(scene.quality.values, classes)
    assert scene.quality.dtype == "uint8"
    assert scene.quality.attrs == {"quality_kind": "sentinel2_scl"}
    assert scene.wavelength.values.tolist() == [0.5, 1.5, 2.5]
    return True


def item_url(server, day=DAYS[0]):
    return f"{server.url}/scene-{day}/scene-{day}.json"


# -- items and catalogs -----------------------------------------------------------------------


def test_items_of_this_machine(tmp_path):
    item = make_item(tmp_path / "Ä b", DAYS[0], 1)
    assert is_right(open_scene(item, chunks=128), tmp_path / "Ä b")
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item.to_dict()))
    assert is_right(open_scene(path), tmp_path / "Ä b")
    path.write_text(json.dumps(pystac.ItemCollection([item]).to_dict()))
    assert is_right(open_scene(path), tmp_path / "Ä b")
    assert is_right(open_scene(json.loads(json.dumps(item.to_dict()))), tmp_path / "Ä b")
    one = open_scene(item, bands=["nir"], bbox=(15.0, 36.1, 15.01, 36.2))
    assert one.dims == ("band", "y", "x") and one.band.values.tolist() == ["nir"]
    assert one.sizes["x"] < 40
    assert one.quality.shape == one.shape[1:]


def test_static_catalog_over_http_reads_parts(server):
    series = open_scenes(f"{server.url}/catalog.json", chunks=128)
    assert not [path for path in server.requests if path.endswith(".tif")]
    assert series.dims == ("time", "band", "y", "x")
    assert series.time.dt.strftime("%Y-%m-%d").values.tolist() == list(DAYS)
    for k, day in enumerate(DAYS):
        assert is_right(series[k], server.folder, day)
    before = server.ranges.total()
    assert before > 0
    assert not [path for path, times in server.wholes.items() if times and path.endswith(".tif")]
    assert is_right(open_scenes(server.folder)[0], server.folder)
    assert server.ranges.total() == before


def test_item_over_http_without_projection(server):
    """What the item leaves out, the headers of the files say."""
    path = server.folder / f"scene-{DAYS[0]}" / f"scene-{DAYS[0]}.json"
    document = json.loads(path.read_text())
    for asset in document["assets"].values():
        for fact in ("proj:code", "proj:shape", "proj:transform"):
            asset.pop(fact, None)
        for band in asset.get("raster:bands", []):
            band.pop("data_type")
    path.write_text(json.dumps(document))
    assert is_right(open_scene(item_url(server)), server.folder)


def test_a_cog_over_http(server):
    url = f"{server.url}/{DAYS[0]}/B04.tif"
    scene = open_scene(url, bands=["red"], date=DAYS[0], scale=1e-4, offset=-0.1)
    assert np.array_equal(scene[0], expected(server.folder / DAYS[0] / "B04.tif"), equal_nan=True)


def test_items_without_scale_or_with_another_offset(tmp_path):
    item = make_item(tmp_path, DAYS[0], 1)
    red = expected(tmp_path / DAYS[0] / "B04.tif")
    for asset in item.assets.values():
        for band in asset.extra_fields.get("raster:bands", []):
            band.pop("scale", None), band.pop("offset", None)
    with pytest.raises(ValueError, match="scale and offset to reflectance must be given.*B04.tif"):
        open_scene(item)
    assert np.array_equal(open_scene(item, scale=1e-4, offset=-0.1)[0], red, equal_nan=True)
    item.collection_id = "sentinel-2-l2a"
    item.properties["s2:processing_baseline"] = "05.09"
    assert np.array_equal(open_scene(item)[0], red, equal_nan=True)
    item.properties["s2:processing_baseline"] = "02.14"
    old = expected(tmp_path / DAYS[0] / "B04.tif", 1e-4, 0)
    assert np.array_equal(open_scene(item)[0], old, equal_nan=True)
    item.properties["s2:processing_baseline"] = "05.09"
    item.properties["earthsearch:boa_offset_applied"] = True
    assert np.array_equal(open_scene(item)[0], old, equal_nan=True)


def test_series_of_items_with_another_scale_each(tmp_path):
    """Before and after Sentinel-2's baseline 04.00: each scene has its own offset."""
    items = [make_item(tmp_path, day, seed) for seed, day in enumerate(DAYS, 1)]
    for asset in items[0].assets.values():
        for band in asset.extra_fields.get("raster:bands", []):
            band["offset"] = 0
    series = open_scenes(items, bands=["red"])
    for k, (day, offset) in enumerate(zip(DAYS, (0, -0.1), strict=True)):
        reference = expected(tmp_path / day / "B04.tif", 1e-4, offset)
        assert np.array_equal(series[k, 0], reference, equal_nan=True)


def change_red(field, value):
    """Return a function that gives the red band of an item a field of another value."""

    def change(item):
        fields = item.assets["B04"].extra_fields
        fields.pop("proj:transform")
        fields[field] = value

    return change


BAD_ITEMS = {
    "no band": (lambda item: item.assets.clear(), "assets of reflectance with common names"),
    "own names": (
        lambda item: [item.assets.pop(key) for key in ("B04", "B08", "B11")],
        "got scl, thumbnail: open its files as a mapping of band names to addresses",
    ),
    "strings": (change_red("eo:bands", ["red"]), "eo:bands of the asset B04 .* list of objects"),
    "an object": (change_red("raster:bands", {"scale": 1}), "raster:bands of .* list of objects"),
    "none": (change_red("raster:bands", [None]), "raster:bands of .* list of objects"),
    "comma": (change_red("raster:bands", [{"scale": "0,1"}]), "scale of .* a number, got '0,1'"),
    "unit": (
        change_red("eo:bands", [{"common_name": "red", "center_wavelength": "665 nm"}]),
        "center_wavelength of the asset B04 of the item scene-.* a number, got '665 nm'",
    ),
    "radiance": (
        change_red("raster:bands", [{"scale": 0.01, "unit": "W⋅sr−1⋅m−2⋅nm−1"}]),
        "must be given, because the item scene-.* states those to radiance for the band red",
    ),
    "pixel size": (change_red("gsd", "30 m"), "the pixel size of the asset B04 .* got '30 m'"),
    "unknown band": (lambda item: item.assets.pop("B04"), "bands must be among those of the item"),
}


@pytest.mark.parametrize("case", BAD_ITEMS)
def test_items_that_are_refused(tmp_path, case):
    change, message = BAD_ITEMS[case]
    item = make_item(tmp_path, DAYS[0], 1)
    change(item)
    with pytest.raises(ValueError, match=message):
        open_scene(item, bands=["red"] if case == "unknown band" else None)


PRODUCT = "S2A_MSIL2A_20250731T131909_{}_R095_T20EPT_20250731T180000"


@pytest.mark.parametrize(
    ("facts", "offset"),
    [
        (
            {"sentinel:product_id": PRODUCT.format("N0214")},
            0,
        ),
        ({"s2:product_uri": PRODUCT.format("N0511") + ".SAFE"}, -0.1),
        ({"id": PRODUCT.format("N0511")}, -0.1),
        ({"sentinel:processing_baseline": "05.11", "sentinel:boa_offset_applied": True}, 0),
        ({"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": False}, -0.1),
    ],
)
def test_items_of_sentinel_2_that_leave_bands_and_scale_to_their_collection(
    tmp_path, facts, offset
):
    item = make_item(tmp_path, DAYS[0], 1, properties={"constellation": "Sentinel 2", **facts})
    item.id = facts.get("id", item.id)
    for asset in item.assets.values():
        asset.extra_fields.pop("eo:bands", None), asset.extra_fields.pop("raster:bands", None)
    with pytest.raises(ValueError, match="scale and offset to reflectance must be given"):
        open_scene(pystac.Item.from_dict({**item.to_dict(), "id": "x", "properties": {
            "datetime": DAYS[0], "platform": "sentinel-2a"}}))  # fmt: skip
    scene = open_scene(item)
    assert scene.band.values.tolist() == ["red", "nir", "swir1"]
    red = expected(tmp_path / DAYS[0] / "B04.tif", 1e-4, offset)
    assert np.array_equal(scene[0], red, equal_nan=True)
    item.properties |= {"constellation": "other", "platform": "other"}
    item.id = "other"
    with pytest.raises(ValueError, match="must have assets of reflectance"):
        open_scene(item)


@pytest.mark.parametrize(
    "fact",
    [{}, {"s2:product_type": "S2MSI1C"}, {"processing:level": "L1"}, {"id": "S2A_MSIL1C_2021_N03"},
     {"id": "LM05_L1GS_039039_20130107_02_T2"}, {"collection": "landsat-c2l1"},
     {"collection": "a-col1-level-1"}],
)  # fmt: skip
def test_the_quantity_of_an_item(tmp_path, fact):
    document = make_item(tmp_path, DAYS[0], 1).to_dict()
    document["properties"] |= {"s2:product_type": "S2MSI2A", "processing:level": "L2A", **fact}
    document |= {"collection": "landsat-col1", **fact}
    quantity = open_scene(document).attrs["quantity"]
    assert quantity == f"{'top-of-atmosphere' if fact else 'surface'} reflectance"


@pytest.mark.parametrize("box", [BOX, (13.0, 36.0, 0.0, 15.5, 36.2, 99.0), None])
@pytest.mark.parametrize(
    "facts", [{"proj:code": "EPSG:3271"}, {"proj:transform": [500_000, 30, 0, 4_000_000, 0, -30]}]
)
def test_the_file_says_where_it_is_if_the_item_cannot_be_right(tmp_path, facts, box):
    item = make_item(tmp_path, DAYS[0], 1)
    item.bbox = None if box is None else list(box)
    for key in ("B04", "B08"):
        item.assets[key].extra_fields |= facts
    assert is_right(open_scene(item), tmp_path)


def test_no_header_is_read_for_a_scale_that_is_known(server):
    """A search finds hundreds of scenes, of each of which a request for each band took minutes."""
    document = server.items[0]
    document["collection"] = "sentinel-2-l2a"
    document["properties"]["s2:processing_baseline"] = "05.10"
    for asset in document["assets"].values():
        asset.pop("raster:bands", None)
    for given in ({}, {"scale": 1e-4, "offset": -0.1}):
        scene = open_scene(document, **given)
        assert not server.requests
        assert is_right(scene, server.folder)
        server.requests.clear()


def test_assets_without_address_are_left_out(server):
    """Planetary Computer lists those that a product may have."""
    server.items[0]["assets"]["ST_B10"] = {"type": "image/tiff", "roles": ["data"]}
    assert is_right(open_scene(server.items[0]), server.folder)
    found = search_scenes(server.url + "/api", "x", max_cloud_cover=15, **PLACE)
    assert is_right(open_scene(found), server.folder)


def test_files_of_this_machine_in_an_item_of_a_server(tmp_path):
    """Their addresses are absolute, or relative to the item that was downloaded with them."""
    document = make_item(tmp_path, DAYS[0], 1).to_dict()
    document["links"] = [{"rel": "self", "href": "https://127.0.0.1:9/item.json"}]
    assert is_right(open_scene(document), tmp_path)
    for asset in document["assets"].values():
        asset["href"] = asset["href"].replace(f"{tmp_path}/", "./")
    (tmp_path / "item.json").write_text(json.dumps(document))
    assert is_right(open_scene(tmp_path / "item.json"), tmp_path)


def relative(document, folder):
    """Return a document whose assets have addresses relative to a folder."""
    assets = {
        key: {**asset, "href": asset["href"].replace(f"{folder}/", "./").replace(" ", "%20")}
        for key, asset in document["assets"].items()
    }
    return {**document, "assets": assets}


@pytest.mark.parametrize(
    "own", [None, "https://127.0.0.1:9/a/item.json", "file:///gone/item.json", "/gone/item.json"]
)
@pytest.mark.parametrize("kind", ["item", "collection"])
def test_files_beside_a_document_are_found_wherever_its_own_link_leads(tmp_path, own, kind):
    folder = tmp_path / "a b"
    document = relative(make_item(folder / "c d", DAYS[0], 1).to_dict(), folder)
    document["links"] = [{"rel": "self", "href": own}] if own else []
    if kind == "collection":
        document = {"type": "FeatureCollection", "features": [document]}
    moved = folder.rename(tmp_path / "moved")
    (moved / "item.json").write_text(json.dumps(document))
    assert is_right(open_scene(moved / "item.json"), moved / "c d")


def test_files_that_are_not_beside_a_document_are_read_from_its_server(server, tmp_path):
    document = relative(make_item(tmp_path, DAYS[0], 1).to_dict(), tmp_path)
    document["links"] = [{"rel": "self", "href": f"{server.url}/item.json"}]
    (tmp_path / "item.json").write_text(json.dumps(document))
    (tmp_path / DAYS[0] / "B08.tif").unlink()
    assert is_right(open_scene(tmp_path / "item.json"), server.folder)
    assert {path for path in server.requests if server.requests[path]} == {f"/{DAYS[0]}/B08.tif"}


@pytest.mark.parametrize("own", ["https://127.0.0.1:9/{}.json", "/gone/{}.json"])
def test_a_catalog_that_was_moved_leads_to_the_files_in_it(server, tmp_path, own):
    """As one that is published: documents name their first place, links are relative."""
    for path in server.folder.rglob("*.json"):
        document = json.loads(path.read_text())
        document["links"].append({"rel": "self", "href": own.format(path.stem)})
        document.get("assets", {})["absent"] = {"type": "image/tiff"}
        path.write_text(json.dumps(document))
    moved = server.folder.rename(tmp_path / "moved")
    for series in (open_scenes(moved), open_scenes(moved / "catalog.json")):
        for k, day in enumerate(DAYS):
            assert is_right(series[k], moved, day)


@pytest.mark.parametrize("own", ["./item.json", "/gone/item.json"])
def test_an_item_of_a_server_that_calls_itself_a_file(server, own):
    path = server.folder / f"scene-{DAYS[0]}" / f"scene-{DAYS[0]}.json"
    document = json.loads(path.read_text())
    document["links"] = [{"rel": "self", "href": own}]
    path.write_text(json.dumps(document))
    assert is_right(open_scene(item_url(server)), server.folder)


@pytest.mark.parametrize(
    ("bands", "names"),
    [
        ({"nir08": 0.75, "nir09": 0.95}, ["nir", "nir08"]),  # MSS, as Landsat's archives name it
        ({"nir08": 0.75, "nir": 0.95}, ["nir", "nir08"]),
        ({"nir08": 0.75}, ["nir08"]),
        ({"nir09": 0.95}, ["nir"]),
        ({"nir08": 0.865}, ["nir"]),  # OLI
        ({"nir08": None}, ["nir"]),
        ({"nir08": 0.833, "nir09": 0.95}, ["nir"]),  # WorldView; nir09 is loaded by name only
    ],
)
def test_the_near_infrared_is_the_band_beyond_the_red_edge(tmp_path, bands, names):
    item = make_item(tmp_path, DAYS[0], 1, properties={"platform": "other"})
    files = [item.assets[key] for key in ("B04", "B08")]
    item.assets = {}
    for (common, wavelength), file in zip(bands.items(), files, strict=False):
        band = {"name": common, "common_name": common, "center_wavelength": wavelength}
        file.extra_fields["eo:bands"] = [band]
        item.add_asset(common, file)
    assert open_scene(item).band.values.tolist() == names
    for name in bands:
        assert open_scene(item, bands=[name]).sizes["band"] == 1


def test_b8a_of_sentinel_2_is_no_nir_where_that_is_absent(tmp_path):
    item = make_item(tmp_path, DAYS[0], 1)
    item.assets["B08"].extra_fields["eo:bands"][0]["common_name"] = "nir08"
    assert open_scene(item).band.values.tolist() == ["red", "nir08", "swir1"]


@pytest.mark.parametrize("kind", [None, "application/x-geotiff"])
def test_rasters_are_known_by_their_ending(tmp_path, kind):
    item = make_item(tmp_path, DAYS[0], 1)
    for asset in item.assets.values():
        asset.media_type = kind
    assert is_right(open_scene(item), tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"type": "Feature"}', '{"type": "Catalog"}', "{" * 9000, '"a"']
)
def test_malformed_documents(tmp_path, text):
    (tmp_path / "item.json").write_text(text)
    with pytest.raises(ValueError, match="item.json must be") as raised:
        open_scene(tmp_path / "item.json")
    assert "\n" not in str(raised.value)


def test_item_of_an_api_and_of_stac_1_1(server):
    """An address without ending, one file of several bands, and the fields of STAC 1.1."""
    folder = server.folder
    values = np.stack([numbers(k) for k in range(2)])
    with rasterio.open(
        folder / "both.tif", "w", driver="GTiff", width=400, height=300, count=2, dtype="uint16",
        crs="EPSG:32633", transform=from_origin(500_000, 4_000_000, 30, 30),
    ) as file:  # fmt: skip
        file.write(values)
    document = {**server.items[0], "stac_version": "1.1.0"}
    document["properties"] = {"datetime": DAYS[0] + "T10:00:00Z", "proj:code": "EPSG:32633"}
    document["assets"] = {
        "image": {
            "href": f"{server.url}/both.tif", "type": "image/tiff", "roles": ["data"],
            "raster:scale": 1e-4, "data_type": "uint16", "nodata": 0,
            "proj:shape": [300, 400], "proj:transform": [30, 0, 500_000, 0, -30, 4_000_000],
            "bands": [
                {"name": "B8", "eo:common_name": "nir08", "eo:center_wavelength": 0.8},
                {"name": "B4", "eo:common_name": "red", "raster:offset": -0.1},
            ],
        }
    }  # fmt: skip
    server.documents["/api/collections/x/items/one"] = document
    scene = open_scene(f"{server.url}/api/collections/x/items/one", bands=["red", "nir08"])
    assert scene.band.values.tolist() == ["red", "nir"]
    for band, raw, offset in zip(scene, values[::-1], (-0.1, 0), strict=True):
        reference = raw.astype("float32") * np.float32(1e-4) + np.float32(offset)
        assert np.array_equal(band, np.where(raw == 0, np.nan, reference), equal_nan=True)


def test_items_of_planetary_computer_are_signed_when_they_are_read(tmp_path, monkeypatch):
    item = make_item(tmp_path, DAYS[0], 1)
    stem = "https://account.blob.core.windows.net/"
    for asset in item.assets.values():
        asset.href = stem + asset.href
    item.add_link(pystac.Link("root", "https://planetarycomputer.microsoft.com/api/stac/v1"))
    signed = []

    def sign(address):
        signed.append(address)
        return address.removeprefix(stem)

    monkeypatch.setattr(_driver, "sign", sign)
    scene = open_scene(item)
    assert not signed
    assert is_right(scene, tmp_path)
    assert len(signed) >= 4


# -- searches -----------------------------------------------------------------------------------

PLACE = {"bbox": BOX, "dates": ("2025-06-01", "2025-06-30")}


def test_search(server):
    items = search_scenes(server.url + "/api", "sentinel-2-l2a", **PLACE)
    assert [item.id for item in items] == [f"scene-{day}" for day in DAYS]
    asked = server.searches[0]
    assert asked["collections"] == ["sentinel-2-l2a"] and asked["bbox"] == list(BOX)
    assert asked["datetime"].startswith("2025-06-01") and "2025-06-30" in asked["datetime"]
    clear = search_scenes(server.url + "/api", "x", max_cloud_cover=15, **PLACE)
    assert [item.id for item in clear] == [f"scene-{DAYS[0]}"]
    assert is_right(open_scene(clear), server.folder)
    with pytest.warns(UserWarning, match="more than 1 scenes"):
        assert len(search_scenes(server.url + "/api", "x", limit=1, **PLACE)) == 1
    with pytest.raises(ValueError, match="select at least one scene of x at .*, got none"):
        search_scenes(server.url + "/api", "x", max_cloud_cover=1, **PLACE)


@pytest.mark.parametrize("classes", [["core", "item-search"], []])
def test_search_without_query_extension(server, classes):
    server.classes = classes
    clear = search_scenes(server.url + "/api", "x", max_cloud_cover=15, **PLACE)
    assert [item.id for item in clear] == [f"scene-{DAYS[0]}"]
    assert "query" not in server.searches[0]


@pytest.mark.parametrize(
    "change", [{"properties": {"datetime": "noon"}}, {"assets": ["red"]}, {"type": "Item"}]
)
def test_malformed_items_of_a_search(server, change):
    server.items[0] |= change
    with pytest.raises(ValueError, match="/api must be a STAC document, got a malformed one"):
        search_scenes(server.url + "/api", "x", **PLACE)


def test_a_catalog_cannot_be_searched(server):
    with pytest.raises(OSError, match=r"catalog.json must be a STAC API that can be searched"):
        search_scenes(server.url + "/catalog.json", "x", **PLACE)


def test_readers_of_the_catalog(server, tmp_path):
    catalog = open_catalog()
    for name in ("earth_search", "planetary_computer"):
        series = catalog[name].read(
            url=server.url + "/api", max_cloud_cover=50, resolution=60, bands=["red"], **PLACE
        )
        assert series.name == name and series.sizes["time"] == 2
        assert series.sizes["x"] < 400 and np.isfinite(series).any()
    with pytest.raises(TypeError, match="the catalog must give bbox, dates, got none"):
        catalog.earth_search.read()
    text = """
version: 2
aliases: {mine: mine}
entries:
  mine:
    reader: cookbook_utils.datasets:ScenesReader
    kwargs: {name: mine, source: "SOURCE"}
"""
    path = server.folder / "own.yml"
    path.write_text(text.replace("SOURCE", "{CATALOG_DIR}/catalog.json"))
    assert is_right(open_catalog(path).mine.read()[0], server.folder)
    for wrong in ("/etc/x.tif", "{CATALOG_DIR}/../x.tif", "/vsicurl/http://x"):
        path.write_text(text.replace("SOURCE", wrong))
        with pytest.raises(ValueError, match="source must begin with {CATALOG_DIR}/, or with http"):
            open_catalog(path)


WRONG = {
    "bbox": ({"bbox": (1, 2, 3)}, TypeError, "bbox must be"),
    "dates": ({"dates": "soon"}, ValueError, "dates must be a day, month, year or interval"),
    "order": ({"dates": ("2025-02-01", "2025-01-01")}, ValueError, "the first and the last day"),
    "clouds": ({"max_cloud_cover": 101}, ValueError, "max_cloud_cover must be a finite number"),
    "limit": ({"limit": 0}, ValueError, "limit must be an integer from 1 to 1000"),
    "query": ({"query": 3}, TypeError, "query must be a mapping"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_of_a_search(case):
    changed, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        search_scenes("http://127.0.0.1:9/api", "x", **PLACE | changed)


def test_items_of_the_geological_survey_before_stac_1(tmp_path):
    """Assets number the bands of the item, keys are endings of files, and no scale is stated."""
    item = make_item(tmp_path, DAYS[0], 1)
    item.id, item.properties["platform"] = "LC08_L2SP_047027_20201204_20210313_02_T1", "LANDSAT_8"
    keys = {"SR_B4.TIF": "B04", "SR_B5.TIF": "B08", "QA_PIXEL.TIF": "scl"}
    bands = [("SR_B4", "red", 0.65), ("SR_B5", "nir08", 0.86)]
    item.properties["eo:bands"] = [
        {"name": name, "common_name": common, "center_wavelength": center}
        for name, common, center in bands
    ]
    media = "image/vnd.stac.geotiff; cloud-optimized=true"
    item.assets = {
        key: pystac.Asset(item.assets[own].href, media_type=media, extra_fields=fields)
        for (key, own), fields in zip(
            keys.items(), ({"eo:bands": [0]}, {"eo:bands": [1]}, {}), strict=True
        )
    }
    scene = open_scene(item, scale=None)
    assert list(scene.band.values) == ["red", "nir"]
    assert scene.wavelength.values.tolist() == [0.65, 0.86]
    reference = expected(tmp_path / DAYS[0] / "B04.tif", 2.75e-5, -0.2)
    assert np.array_equal(scene[0], reference, equal_nan=True)
    assert scene.quality.attrs == {"quality_kind": "landsat_qa_pixel"}


def test_items_of_stac_1_1_with_each_resolution(tmp_path):
    """As in Copernicus' archive: a file of each resolution, and facts beside the bands."""
    item = make_item(tmp_path, DAYS[0], 1)
    facts = {"raster:scale": 1e-4, "raster:offset": -0.1, "data_type": "uint16", "nodata": 0}
    assets = {}
    for own, key, common in (
        ("B11", "B04_60m", "red"),
        ("B04", "B04_10m", "red"),
        ("B08", "B08_10m", "nir"),
        ("scl", "SCL_20m", None),
    ):
        old = item.assets[own]
        fields = {name: old.extra_fields[name] for name in old.extra_fields if "proj" in name}
        if common:
            fields |= facts | {"bands": [{"name": key[:3], "eo:common_name": common}]}
        assets[key] = pystac.Asset(old.href, media_type="image/tiff", extra_fields=fields)
    item.assets = assets
    scene = open_scene(item)
    assert list(scene.band.values) == ["red", "nir"]
    assert np.array_equal(scene[0], expected(tmp_path / DAYS[0] / "B04.tif"), equal_nan=True)
    assert scene.quality.attrs == {"quality_kind": "sentinel2_scl"}


# -- errors of servers ----------------------------------------------------------------------------


def test_a_busy_server_is_asked_again(server):
    path = f"/{DAYS[0]}/B04.tif"
    server.failures = {
        path: (2, 503),
        f"/scene-{DAYS[0]}/scene-{DAYS[0]}.json": (2, 503),
        "/api/search": (2, 503),
        "/api": (1, 502),
    }
    assert is_right(open_scene(item_url(server)), server.folder)
    assert len(search_scenes(server.url + "/api", "x", **PLACE)) == 2
    assert server.failures[path] == (0, 503)


def test_what_a_server_refuses_is_named(server):
    scene = open_scene(item_url(server), bands=["red"])
    path = f"/{DAYS[0]}/B04.tif"
    shutil.move(server.folder / path[1:], server.folder / "away.tif")
    with pytest.raises(OSError, match=r"B04.tif must be .* the server answered 404 in 1 try"):
        scene.compute()
    with pytest.raises(OSError, match=r"none.json must be .* the server answered 404 in 1 try"):
        open_scene(server.url + "/none.json")
    with pytest.raises(OSError, match=r"none.tif must be .* the server answered 404 in 1 try"):
        open_scene(server.url + "/none.tif?sig=secret", bands=["red"], date=DAYS[0])
    server.failures = {path: (99, 503), "/none.json": (99, 503), "/api/search": (99, 503)}
    with pytest.raises(OSError, match=r"B04.tif must be .* the server answered 503 in 4 tries"):
        scene.compute()
    with pytest.raises(OSError, match=r"none.json must be .* the server answered 503 in 4 tries"):
        open_scene(server.url + "/none.json")
    with pytest.raises(OSError, match=r"the server answered 503 in 4 tries"):
        search_scenes(server.url + "/api", "x", **PLACE)
    with pytest.raises(OSError, match=r"must be a STAC API|must answer|answered 404"):
        search_scenes(server.url + "/nothing", "x", **PLACE)


def serve_large(server):
    """Serve a file of several megabytes, and return its path and the arguments that open it."""
    path = f"/{DAYS[0]}/large.tif"
    values = np.random.default_rng(0).integers(1500, 9000, (1500, 1500)).astype("uint16")
    write_cog(server.folder / path[1:], values)
    return path, {"bands": ["red"], "date": DAYS[0], "scale": 1e-4, "chunks": 128}


def test_a_signature_that_expires_while_a_file_is_read_is_named(server):
    path, given = serve_large(server)
    scene = open_scene(f"{server.url}{path}?sig=secret", **given)
    server.lifetimes = {path: server.requests[path] + 3}
    with pytest.raises(OSError, match=r"large.tif must be .* the server answered 403 in 1 try$"):
        scene.compute()
    server.lifetimes = {}
    assert np.isfinite(scene).all()


def test_a_server_that_sends_whole_files_only_is_named(server):
    path, given = serve_large(server)
    server.parts = False
    with pytest.raises(OSError, match=r"tif must be on a server that sends parts .*: download it"):
        open_scene(server.url + path, **given).compute()


def test_a_server_that_sends_other_parts_is_named(server):
    """As a cache that has stored another one; pixels without compression would be wrong."""
    values = numbers(1)[np.newaxis]
    with rasterio.open(
        server.folder / "plain.tif", "w", driver="GTiff", width=400, height=300, count=1,
        dtype="uint16", crs="EPSG:32633", transform=from_origin(500_000, 4_000_000, 30, 30),
    ) as file:  # fmt: skip
        file.write(values)
    server.shift = 8192
    scene = open_scene(f"{server.url}/plain.tif", bands=["red"], date=DAYS[0], scale=1e-4)
    with pytest.raises(OSError, match="plain.tif must be on a server that sends the parts that"):
        scene.compute()


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_PROXY", "")
    monkeypatch.setattr(_access, "RETRY_DELAY", 0.01)
    monkeypatch.setattr(_access, "TIMEOUT", 4.0)
    url = "http://127.0.0.1:9"
    with pytest.raises(OSError, match=r"127.0.0.1:9/a.tif must be a readable file, got: no answer"):
        open_scene(url + "/a.tif", bands=["red"], date=DAYS[0])
    with pytest.raises(OSError, match=r"a.json must be a readable file, got: no answer .* 4 tries"):
        open_scene(url + "/a.json")
    with pytest.raises(OSError, match=r"127.0.0.1:9 must answer the search, got in 4 tries"):
        search_scenes(url, "x", **PLACE)


# -- S3 -----------------------------------------------------------------------------------------


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A bucket in an S3 server, with the options that reach it."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GDAL_HTTP_PROXY", "")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_access, "RETRY_DELAY", 0.01)
    monkeypatch.setattr(_access, "TIMEOUT", 4.0)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s",
                          region_name="us-east-1")  # fmt: skip
    client.create_bucket(Bucket="scenes", ACL="public-read-write")
    yield client, url
    server.stop()


def test_s3(bucket, tmp_path, monkeypatch):
    client, url = bucket
    item = make_item(tmp_path, DAYS[0], 1, href="s3://scenes/{}")
    for path in (tmp_path / DAYS[0]).iterdir():
        client.upload_file(str(path), "scenes", f"{DAYS[0]}/{path.name}", {"ACL": "public-read"})
    body = json.dumps(item.to_dict()).encode()
    client.put_object(Bucket="scenes", Key="item.json", Body=body, ACL="public-read")
    keys = {"key": "k", "secret": "s", "endpoint_url": url}
    for options in (keys, {"anon": True, "endpoint_url": url}):
        scene = open_scene("s3://scenes/item.json", storage_options=options, chunks=128)
        assert is_right(scene, tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    cog = open_scene(f"s3://scenes/{DAYS[0]}/B04.tif", bands=["red"], date=DAYS[0], scale=1e-4,
                     offset=-0.1)  # fmt: skip
    reference = expected(tmp_path / DAYS[0] / "B04.tif")
    assert np.array_equal(cog[0], reference, equal_nan=True)
    with pytest.raises(OSError, match=r"s3://scenes/none.tif must be .* answered 404 in 1 try"):
        open_scene("s3://scenes/none.tif", bands=["red"], date=DAYS[0], scale=1e-4)
    absent = {**keys, "endpoint_url": "http://127.0.0.1:9"}
    with pytest.raises(OSError, match=r"s3://scenes/none.tif must be .* no answer .* connect"):
        open_scene("s3://scenes/none.tif", date=DAYS[0], scale=1e-4, storage_options=absent)
    with pytest.raises(OSError, match=r"s3://scenes/none.json must be a readable file"):
        open_scene("s3://scenes/none.json", storage_options=keys)
    cog.to_dataset(name="red").isel(band=0, drop=True).to_zarr(tmp_path / "a.zarr")
    for path in (tmp_path / "a.zarr").rglob("*"):
        if path.is_file():
            key = str(path.relative_to(tmp_path))
            client.upload_file(str(path), "scenes", key, {"ACL": "public-read"})
    cube = open_scene("s3://scenes/a.zarr")
    assert np.array_equal(cube[0], reference, equal_nan=True)
