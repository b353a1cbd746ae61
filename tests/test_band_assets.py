"""STAC items of bands: projection and footprint of each grid, as odc-stac reads them."""

import json
from datetime import UTC, datetime

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import shapely

from cookbook_utils.datasets._band_assets import Band, band_asset, make_item

from .deliveries import write_raster

WHEN = datetime(2020, 1, 3, tzinfo=UTC)
RED = Band("B4", "red", 0.655)


def make(path, *, pixels=None, **grid):
    pixels = np.arange(3600, dtype="int16").reshape(60, 60) if pixels is None else pixels
    href = str(write_raster(path, pixels, **grid))
    asset = band_asset(href, RED, scale=2e-5, offset=-0.1, quantity="reflectance")
    return make_item("scene", WHEN, {"red": asset}, {"platform": "landsat-8"})


@pytest.mark.parametrize(
    ("crs", "left", "top", "step", "center", "crosses"),
    [
        ("EPSG:32611", 332_400, 4_305_000, 30, (-118.92, 38.87), False),
        ("EPSG:32711", 332_400, 9_900_000, 30, (-118.50, -0.91), False),
        ("EPSG:32601", 199_980, 6_000_000, 1830, (179.29, 53.6), True),
        ("EPSG:32660", 700_000, 6_000_000, 1830, (-179.14, 53.6), True),
        ("+proj=laea +lat_0=70 +lon_0=180 +datum=WGS84", -90_000, 90_000, 3000, (180, 70), True),
    ],
)
def test_the_footprint_is_right_across_the_antimeridian(
    tmp_path, crs, left, top, step, center, crosses
):
    item = make(tmp_path / "a.tif", crs=crs, left=left, top=top, step=step)
    west, south, east, north = item.bbox
    assert (west > east) == crosses and south < center[1] < north
    shape = shapely.geometry.shape(item.geometry)
    assert shape.is_valid and (shape.geom_type == "MultiPolygon") == crosses
    assert shape.distance(shapely.Point(center)) < 0.01
    assert shape.area < 10 and -180 <= shape.bounds[0] < shape.bounds[2] <= 180


def test_the_footprint_around_a_pole_is_a_cap(tmp_path):
    item = make(tmp_path / "a.tif", crs="EPSG:3031", left=-90_000, top=90_000, step=3000)
    west, south, east, north = item.bbox
    assert (west, south, east) == (-180, -90, 180) and -89 < north < -88
    assert make(tmp_path / "b.tif", crs="EPSG:3995", left=-9e4, top=9e4, step=3e3).bbox[3] == 90


@pytest.mark.parametrize("crs", ["EPSG:32611", "+proj=laea +lat_0=70 +lon_0=20 +datum=WGS84"])
def test_an_item_that_was_written_as_json_loads_the_same(tmp_path, crs):
    item = make(tmp_path / "Grönland 1.tif", crs=crs)
    again = pystac.Item.from_dict(json.loads(json.dumps(item.to_dict())))
    for one in (item, again):
        loaded = odc.stac.load([one], bands=["red"], chunks={}).red.isel(time=0)
        np.testing.assert_array_equal(loaded, np.arange(3600).reshape(60, 60))
        assert loaded.dtype == "int16" and loaded.odc.geobox.shape == (60, 60)


def test_a_raster_of_several_bands_or_outside_its_crs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be within its CRS, got x from"):
        make(tmp_path / "a.tif", left=1e30)
    path = tmp_path / "b.tif"
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=3, height=2, width=2):
        pass
    with pytest.raises(ValueError, match="b.tif must have one band, got 3"):
        band_asset(str(path), RED, scale=1, offset=0, quantity="reflectance")
