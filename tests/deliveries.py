"""Deliveries of archives in the formats that the archives publish, with small rasters in them."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.transform import from_origin

LANDSAT_8 = "LC08_L2SP_042033_20171022_20200903_02_T1"
ACQUIRED = "2017-10-22", "18:27:55.1234560Z"
SUN_ELEVATION = 36.12345678
SENSORS = {
    "LC08": ("LANDSAT_8", "OLI_TIRS", "1234567"),
    "LC09": ("LANDSAT_9", "OLI_TIRS", "1234567"),
    "LO08": ("LANDSAT_8", "OLI", "1234567"),
    "LE07": ("LANDSAT_7", "ETM", "123457"),
    "LT05": ("LANDSAT_5", "TM", "123457"),
    "LT04": ("LANDSAT_4", "TM", "123457"),
    "LM05": ("LANDSAT_5", "MSS", "1234"),
}


# -- rasters ------------------------------------------------------------------------------------


def make_pixels(shape, seed, dtype="uint16", high=40_000):
    """Return stored numbers with nodata, 0, in a corner."""
    pixels = np.random.default_rng(seed).integers(1, high, shape).astype(dtype)
    pixels[:3, :4] = 0
    return pixels


def write_raster(path, pixels, *, step=30.0, left=332_400.0, top=4_305_000.0, crs="EPSG:32611"):
    """Write a raster of one band, a JPEG 2000 without loss if its name ends in jp2."""
    profile = {"count": 1, "height": pixels.shape[0], "width": pixels.shape[1]}
    profile |= {"dtype": pixels.dtype, "crs": crs}
    if crs is not None:
        profile["transform"] = from_origin(left, top, step, step)
    if str(path).endswith(".jp2"):
        profile |= {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    else:
        profile |= {"driver": "GTiff", "compress": "deflate"}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
    return Path(path)


# -- Landsat ------------------------------------------------------------------------------------


def landsat_groups(product=LANDSAT_8, *, sun_elevation=SUN_ELEVATION, cloud_cover=12.34, **changed):
    """Return the groups of an MTL by the data format control books of Collection 2.

    `changed` replaces values by their key, in every group that has it; None removes the key.
    """
    spacecraft, sensor, bands = SENSORS[product[:4]]
    level, level_2 = product[5:9], product[6] == "2"
    file = f"{product}_SR_B{{}}.TIF" if level_2 else f"{product}_B{{}}.TIF"
    terms = [2.0e-5 * (1 + int(band) / 10) for band in bands]
    level_1 = {f"REFLECTANCE_MULT_BAND_{b}": f"{m:.4E}" for b, m in zip(bands, terms, strict=True)}
    level_1 |= {f"REFLECTANCE_ADD_BAND_{b}": f"{-0.1 - int(b) / 1000:.6f}" for b in bands}
    groups = {
        "PRODUCT_CONTENTS": {
            "ORIGIN": "Image courtesy of the U.S. Geological Survey",
            "DIGITAL_OBJECT_IDENTIFIER": "https://doi.org/10.5066/P9OGBGM6",
            "LANDSAT_PRODUCT_ID": product,
            "PROCESSING_LEVEL": level,
            "COLLECTION_NUMBER": "02",
            "COLLECTION_CATEGORY": product[-2:],
            "OUTPUT_FORMAT": "GEOTIFF",
            **{f"FILE_NAME_BAND_{b}": file.format(b) for b in bands},
            **({"FILE_NAME_BAND_ST_B10": f"{product}_ST_B10.TIF"} if level_2 else {}),
            "FILE_NAME_QUALITY_L1_PIXEL": f"{product}_QA_PIXEL.TIF",
            "FILE_NAME_ANGLE_COEFFICIENT": f"{product}_ANG.txt",
            "FILE_NAME_METADATA_ODL": f"{product}_MTL.txt",
            **{f"DATA_TYPE_BAND_{b}": "UINT16" for b in bands},
        },
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": spacecraft,
            "SENSOR_ID": sensor,
            "WRS_TYPE": 2,
            "WRS_PATH": 42,
            "WRS_ROW": 33,
            "DATE_ACQUIRED": ACQUIRED[0],
            "SCENE_CENTER_TIME": ACQUIRED[1],
            "STATION_ID": "LGN",
            "CLOUD_COVER": cloud_cover,
            "CLOUD_COVER_LAND": cloud_cover,
            "SUN_AZIMUTH": 157.98765432,
            "SUN_ELEVATION": sun_elevation,
            "EARTH_SUN_DISTANCE": 0.9951762,
        },
        "PROJECTION_ATTRIBUTES": {
            "MAP_PROJECTION": "UTM",
            "DATUM": "WGS84",
            "ELLIPSOID": "WGS84",
            "UTM_ZONE": 11,
            "GRID_CELL_SIZE_REFLECTIVE": "30.00",
            "REFLECTIVE_LINES": 40,
            "REFLECTIVE_SAMPLES": 50,
            "ORIENTATION": "NORTH_UP",
            **_corners(),
        },
        "LEVEL2_PROCESSING_RECORD": {"DATE_PRODUCT_GENERATED": "2020-09-03T11:12:13Z"},
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            **{f"REFLECTANCE_MULT_BAND_{b}": "2.75e-05" for b in bands},
            **{f"REFLECTANCE_ADD_BAND_{b}": "-0.2" for b in bands},
        },
        "LEVEL1_PROCESSING_RECORD": {
            "LANDSAT_SCENE_ID": f"{product[0:2]}80420332017295LGN00",
            "LANDSAT_PRODUCT_ID": product.replace("L2SP", "L1TP"),
            "FILE_NAME_BAND_1": f"{product.replace('L2SP', 'L1TP')}_B1.TIF",
        },
        "LEVEL1_RADIOMETRIC_RESCALING": {
            **{f"RADIANCE_MULT_BAND_{b}": "1.2979E-02" for b in bands},
            **{f"RADIANCE_ADD_BAND_{b}": "-64.89477" for b in bands},
            **level_1,
        },
        "LEVEL1_PROJECTION_PARAMETERS": {
            "MAP_PROJECTION": "UTM",
            "UTM_ZONE": 11,
            "GRID_CELL_SIZE_REFLECTIVE": "30.00",
        },
    }
    if not level_2:
        groups = {name: group for name, group in groups.items() if not name.startswith("LEVEL2")}
    return {
        name: {
            key: changed.get(key, value)
            for key, value in group.items()
            if changed.get(key, value) is not None
        }
        for name, group in groups.items()
    }


def _corners():
    """Return the centers of the corner pixels, in degrees and in meters."""
    to_degrees = Transformer.from_crs("EPSG:32611", "EPSG:4326", always_xy=True)
    values = {}
    for name, x, y in (
        ("UL", 332_415, 4_304_985), ("UR", 333_885, 4_304_985),
        ("LL", 332_415, 4_303_815), ("LR", 333_885, 4_303_815),
    ):  # fmt: skip
        longitude, latitude = to_degrees.transform(x, y)
        values |= {f"CORNER_{name}_LAT_PRODUCT": f"{latitude:.5f}"}
        values |= {f"CORNER_{name}_LON_PRODUCT": f"{longitude:.5f}"}
        values |= {f"CORNER_{name}_PROJECTION_X_PRODUCT": f"{x:.3f}"}
        values |= {f"CORNER_{name}_PROJECTION_Y_PRODUCT": f"{y:.3f}"}
    return values


def as_odl(groups):
    """Return the text of an MTL, in which text has quotes, and numbers and dates have none."""
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for name, group in groups.items():
        lines.append(f"  GROUP = {name}")
        for key, value in group.items():
            bare = not isinstance(value, str) or key.startswith(("DATE_", "REFLECTANCE", "CORNER"))
            lines.append(f"    {key} = {value}" if bare else f'    {key} = "{value}"')
        lines.append(f"  END_GROUP = {name}")
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def as_xml(groups):
    """Return an MTL in XML."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<LANDSAT_METADATA_FILE>"]
    for name, group in groups.items():
        values = [f"    <{key}>{value}</{key}>" for key, value in group.items()]
        lines += [f"  <{name}>", *values, f"  </{name}>"]
    return "\n".join([*lines, "</LANDSAT_METADATA_FILE>", ""])


def as_json(groups):
    """Return an MTL in JSON, in which all values are text."""
    text = {
        name: {key: str(value) for key, value in group.items()} for name, group in groups.items()
    }
    return json.dumps({"LANDSAT_METADATA_FILE": text}, indent=2)


MTL_FORMATS = {"txt": as_odl, "xml": as_xml, "json": as_json}


def landsat_stac(product=LANDSAT_8):
    """Return the STAC item that the archive delivers beside the bands of Level 2."""
    base = f"https://landsatlook.usgs.gov/data/collection02/level-2/standard/{product}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/view/v1.0.0/schema.json"],
        "id": f"{product}_SR",
        "geometry": None,
        "properties": {
            "datetime": f"{ACQUIRED[0]}T{ACQUIRED[1]}",
            "eo:cloud_cover": 12.34,
            "view:sun_elevation": SUN_ELEVATION,
            "view:sun_azimuth": 157.98765432,
            "platform": "LANDSAT_8",
            "instruments": ["OLI", "TIRS"],
        },
        "assets": {
            "red": {"href": f"{base}/{product}_SR_B4.TIF", "type": "image/vnd.stac.geotiff"}
        },
        "links": [],
    }


def write_landsat(folder, product=LANDSAT_8, *, formats=("txt", "xml", "json"), **changed):
    """Write a delivery of Landsat and return its stored numbers by band, and the quality band."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    groups = landsat_groups(product, **changed)
    for ending in formats:
        (folder / f"{product}_MTL.{ending}").write_text(MTL_FORMATS[ending](groups))
    (folder / f"{product}_ANG.txt").write_text(
        "GROUP = FILE_HEADER\nEND_GROUP = FILE_HEADER\nEND\n"
    )
    eight_bits = product[6] == "1" and product[:2] in ("LT", "LE")
    kind = {"dtype": "uint8", "high": 256} if eight_bits else {}
    pixels = {}
    for key, file in groups["PRODUCT_CONTENTS"].items():
        if key.startswith("FILE_NAME_BAND_"):
            band = key.removeprefix("FILE_NAME_BAND_")
            pixels[band] = make_pixels((40, 50), len(pixels), **kind)
            write_raster(folder / file, pixels[band])
    quality = np.full((40, 50), 21824, np.uint16)  # clear
    quality[:3, :4] = 1
    quality[10:14, 20:26] = 22280  # cloud, with high confidence
    pixels["QA_PIXEL"] = quality
    write_raster(folder / f"{product}_QA_PIXEL.TIF", quality)
    return pixels


# -- archives -----------------------------------------------------------------------------------


def pack_tar(folder, path, mode="w"):
    """Write a tar of the files of a folder, without a folder in it, as Landsat is delivered."""
    with tarfile.open(path, mode) as tar:
        for file in sorted(Path(folder).iterdir()):
            tar.add(file, file.name)
    return Path(path)


def pack_zip(folder, path):
    """Write a zip of a folder, with the folder in it, as Sentinel-2 is delivered."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(Path(folder).rglob("*")):
            archive.write(file, file.relative_to(Path(folder).parent))
    return Path(path)
