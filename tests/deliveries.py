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
    "LM01": ("LANDSAT_1", "MSS", "4567"),
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
    eight_bits = product[6] == "1" and product[:2] in ("LT", "LE", "LM")
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


# -- Sentinel-2 ---------------------------------------------------------------------------------

SENTINEL_2 = "S2B_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454"
NATIVE = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10,
    "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20,
}  # fmt: skip
CENTERS = (
    442.3, 492.3, 558.9, 665.0, 703.8, 739.1, 779.7, 833.0, 864.0, 943.2, 1376.9, 1610.4, 2185.7
)  # fmt: skip
ULX, ULY, SIDE = 499_980, 5_900_040, 720  # m
SUN_ZENITH = 57.820574357679


def sentinel2_product_xml(product=SENTINEL_2, *, offsets=-1000, quantification=10_000, **changed):
    """Return MTD_MSIL1C.xml or MTD_MSIL2A.xml by the product specification document, version 14.

    `offsets` is None for products without the list of offsets, or a number, or one for each band.
    """
    satellite, kind, start, baseline, _, tile, created = product.split("_")
    level = kind[-2:]
    images = "".join(
        f"<IMAGE_FILE>{name.rsplit('.', 1)[0]}</IMAGE_FILE>" for name in _image_files(product)
    )
    number = f"{baseline[1:3]}.{baseline[3:]}"
    if level == "2A":
        scale = (
            f'<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">{quantification}'
            '</BOA_QUANTIFICATION_VALUE><AOT_QUANTIFICATION_VALUE unit="none">1000.0'
            '</AOT_QUANTIFICATION_VALUE><WVP_QUANTIFICATION_VALUE unit="cm">1000.0'
            "</WVP_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>"
        )
        tag, container = "BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST"
    else:
        scale = f'<QUANTIFICATION_VALUE unit="none">{quantification}</QUANTIFICATION_VALUE>'
        tag, container = "RADIO_ADD_OFFSET", "Radiometric_Offset_List"
    if offsets is None:
        shift = ""
    else:
        values = np.broadcast_to(offsets, 13)
        rows = "".join(f'<{tag} band_id="{b}">{value}</{tag}>' for b, value in enumerate(values))
        shift = f"<{container}>{rows}</{container}>"
    spectrum = "".join(
        f'<Spectral_Information bandId="{b}" physicalBand="{band}"><RESOLUTION>{NATIVE[band]}'
        f'</RESOLUTION><Wavelength><CENTRAL unit="nm">{center}</CENTRAL></Wavelength>'
        "</Spectral_Information>"
        for b, (band, center) in enumerate(zip(NATIVE, CENTERS, strict=True))
    )
    day = f"{start[:4]}-{start[4:6]}-{start[6:11]}:{start[11:13]}:{start[13:15]}.024Z"
    text = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>{day}</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>{day}</PRODUCT_STOP_TIME>
<PRODUCT_URI>{product}.SAFE</PRODUCT_URI>
<PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE>
<PROCESSING_BASELINE>{number}</PROCESSING_BASELINE>
<GENERATION_TIME>2022-10-05T16:44:54.000000Z</GENERATION_TIME>
<Datatake datatakeIdentifier="G{satellite}_{start}_038058_N{number}">
<SPACECRAFT_NAME>Sentinel-{satellite[1:]}</SPACECRAFT_NAME>
<DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
<SENSING_ORBIT_NUMBER>23</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION></Datatake>
<Product_Organisation><Granule_List>
<Granule datastripIdentifier="{satellite}_OPER_MSI_L{level}_DS_ATOS_{created}_S{start}_N{number}"
 granuleIdentifier="{satellite}_OPER_MSI_L{level}_TL_ATOS_{created}_A038058_{tile}_N{number}"
 imageFormat="JPEG2000">{images}</Granule></Granule_List></Product_Organisation></Product_Info>
<Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
<Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
{scale}{shift}
<Reflectance_Conversion><U>0.998456468000941</U></Reflectance_Conversion>
<Spectral_Information_List>{spectrum}</Spectral_Information_List>
</Product_Image_Characteristics></n1:General_Info>
<n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint>
<EXT_POS_LIST>{_footprint()}</EXT_POS_LIST>
</Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
<n1:Quality_Indicators_Info>
<Cloud_Coverage_Assessment>15.047897</Cloud_Coverage_Assessment></n1:Quality_Indicators_Info>
</n1:Level-{level}_User_Product>
"""
    for old, new in changed.items():
        text = text.replace(old, new)
    return text


def _footprint():
    to_degrees = Transformer.from_crs("EPSG:32629", "EPSG:4326")
    corners = ((0, 0), (0, SIDE), (SIDE, SIDE), (SIDE, 0), (0, 0))
    return " ".join(
        f"{value:.12f}" for x, y in corners for value in to_degrees.transform(ULX + x, ULY - y)
    )


def sentinel2_tile_xml(product=SENTINEL_2, *, zenith=SUN_ZENITH):
    """Return MTD_TL.xml."""
    satellite, kind, start, baseline, _, tile, created = product.split("_")
    level = kind[-2:]
    identifier = f"{satellite}_OPER_MSI_L{level}_TL_ATOS_{created}_A038058_{tile}"
    sizes = "".join(
        f'<Size resolution="{step}"><NROWS>{SIDE // step}</NROWS>'
        f"<NCOLS>{SIDE // step}</NCOLS></Size>"
        for step in (10, 20, 60)
    ) + "".join(
        f'<Geoposition resolution="{step}"><ULX>{ULX}</ULX><ULY>{ULY}</ULY><XDIM>{step}</XDIM>'
        f"<YDIM>-{step}</YDIM></Geoposition>"
        for step in (10, 20, 60)
    )
    views = "".join(
        f'<Mean_Viewing_Incidence_Angle bandId="{b}"><ZENITH_ANGLE unit="deg">5.5</ZENITH_ANGLE>'
        '<AZIMUTH_ANGLE unit="deg">281.3</AZIMUTH_ANGLE></Mean_Viewing_Incidence_Angle>'
        for b in range(13)
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{level}_Tile_Metadata.xsd">
<n1:General_Info>
<TILE_ID metadataLevel="Brief">{identifier}_N{baseline[1:3]}.{baseline[3:]}</TILE_ID>
<SENSING_TIME metadataLevel="Standard">2022-10-05T11:56:49.581767Z</SENSING_TIME></n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
<HORIZONTAL_CS_NAME>WGS84 / UTM zone 29N</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>EPSG:32629</HORIZONTAL_CS_CODE>{sizes}</Tile_Geocoding>
<Tile_Angles metadataLevel="Standard"><Mean_Sun_Angle>
<ZENITH_ANGLE unit="deg">{zenith}</ZENITH_ANGLE>
<AZIMUTH_ANGLE unit="deg">172.840206897213</AZIMUTH_ANGLE></Mean_Sun_Angle>
<Mean_Viewing_Incidence_Angle_List>{views}</Mean_Viewing_Incidence_Angle_List>
</Tile_Angles></n1:Geometric_Info>
<n1:Quality_Indicators_Info metadataLevel="Standard"><Image_Content_QI>
<CLOUDY_PIXEL_PERCENTAGE>15.047897</CLOUDY_PIXEL_PERCENTAGE>
<SNOW_ICE_PERCENTAGE>0.25</SNOW_ICE_PERCENTAGE>
</Image_Content_QI></n1:Quality_Indicators_Info>
</n1:Level-{level}_Tile_ID>
"""


def _granule(product):
    _, kind, start, _, _, tile, _ = product.split("_")
    return f"GRANULE/L{kind[-2:]}_{tile}_A038058_{start}"


def _image_files(product):
    """Return the images of a product: Level-2A has them at each resolution that is not finer."""
    _, kind, start, _, _, tile, _ = product.split("_")
    folder = f"{_granule(product)}/IMG_DATA"
    if kind[-2:] == "1C":
        return [f"{folder}/{tile}_{start}_{band}.jp2" for band in NATIVE]
    return [
        f"{folder}/R{step}m/{tile}_{start}_{band}_{step}m.jp2"
        for step in (10, 20, 60)
        for band in (*NATIVE, "SCL")
        if band != "B10" and step >= NATIVE.get(band, 20) and (band != "B08" or step == 10)
    ]


def _manifest(product):
    level = product.split("_")[1][-2:]
    files = {
        f"S2_Level-{level}_Product_Metadata": f"./MTD_MSIL{level}.xml",
        f"S2_Level-{level}_Tile1_Metadata": f"./{_granule(product)}/MTD_TL.xml",
        f"S2_Level-{level}_Datastrip1_Metadata": "./DATASTRIP/DS/MTD_DS.xml",
        "INSPIRE_Metadata": "./INSPIRE.xml",
    }
    objects = "".join(
        f'<dataObject ID="{name}"><byteStream><fileLocation href="{href}"/></byteStream>'
        "</dataObject>"
        for name, href in files.items()
    )
    return f"<xfdu><dataObjectSection>{objects}</dataObjectSection></xfdu>"


def write_safe(parent, product=SENTINEL_2, **metadata):
    """Write a SAFE folder and return it, and its stored numbers by band and resolution."""
    folder = Path(parent) / f"{product}.SAFE"
    granule = folder / _granule(product)
    (granule / "QI_DATA").mkdir(parents=True)
    level = product.split("_")[1][-2:]
    (folder / f"MTD_MSIL{level}.xml").write_text(
        sentinel2_product_xml(product, **metadata), encoding="utf-8"
    )
    (granule / "MTD_TL.xml").write_text(sentinel2_tile_xml(product))
    (folder / "manifest.safe").write_text(_manifest(product))
    (folder / "INSPIRE.xml").write_text("<gmd/>")
    grid = {"left": ULX, "top": ULY, "crs": "EPSG:32629"}
    pixels = {}
    for name in _image_files(product):
        parts = Path(name).stem.split("_")
        band, step = parts[2], int(parts[3][:-1]) if len(parts) > 3 else NATIVE[parts[2]]
        shape = (SIDE // step, SIDE // step)
        if band == "SCL":
            values = make_pixels(shape, step, "uint8", 12)
        else:
            values = make_pixels(shape, len(pixels), high=20_000)
            values[-1, -1] = 65_535
        pixels[band, step] = values
        write_raster(folder / name, values, step=step, **grid)
    mask = np.zeros((SIDE // 10, SIDE // 10), np.uint8)
    write_raster(granule / "QI_DATA" / "MSK_DETFOO_B02.jp2", mask, step=10, **grid)
    return folder, pixels


def write_cogs(safe, folder, *, short=False):
    """Convert the finest bands of a SAFE folder to COGs, ``B02.tif`` if `short`."""
    folder.mkdir(parents=True)
    for name in _image_files(safe.stem):
        parts = Path(name).stem.split("_")
        if len(parts) > 3 and int(parts[3][:-1]) != NATIVE.get(parts[2], 20):
            continue
        with rasterio.open(safe / name) as file:
            profile = {**file.profile, "driver": "COG", "nodata": 0}
            for key in ("blockxsize", "blockysize", "tiled"):
                profile.pop(key, None)
            file_name = f"{parts[2]}.tif" if short else f"{Path(name).stem}.tif"
            with rasterio.open(folder / file_name, "w", **profile) as copy:
                copy.write(file.read())
    return folder


def sentinel2_stac(product=SENTINEL_2, *, applied=None, raster=True, **properties):
    """Return the item that Earth Search has beside its COGs."""
    satellite, _, _, baseline, _, tile, _ = product.split("_")
    keys = (
        "coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08",
        "nir09", "cirrus", "swir16", "swir22", "scl",
    )  # fmt: skip
    bands = dict(zip(keys, [*NATIVE, "SCL"], strict=True))
    facts = {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"{satellite}_{tile[1:]}_20221005_0_L2A",
        "geometry": None,
        "links": [],
        "properties": {
            "datetime": "2022-10-05T11:56:49.581000Z",
            "platform": f"sentinel-{satellite[1:].lower()}",
            "constellation": "sentinel-2",
            "eo:cloud_cover": 15.05,
            "s2:processing_baseline": f"{baseline[1:3]}.{baseline[3:]}",
            "s2:product_uri": f"{product}.SAFE",
            **({} if applied is None else {"earthsearch:boa_offset_applied": applied}),
            **properties,
        },
        "assets": {
            key: {
                "href": f"https://sentinel-cogs.s3.us-west-2.amazonaws.com/29/U/NU/{band}.tif",
                **({"raster:bands": [facts]} if raster and band != "SCL" else {}),
            }
            for key, band in bands.items()
        },
    }
    return json.dumps(item)
