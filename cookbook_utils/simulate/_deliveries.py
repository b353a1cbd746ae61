"""Scenes of the lake as the U.S. Geological Survey delivers them: Landsat Collection 2, Level 2.

A delivery has one GeoTIFF per band, the pixel quality and the metadata (MTL) as text and as XML.
Names, scale, offset and bits are those of the Collection 2 Level 2 science product guides LSDS-1618
(Landsat 4 to 7) and LSDS-1619 (Landsat 8 and 9). Bands that `BANDS` lacks are not delivered.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from cookbook_utils._files import as_path
from cookbook_utils.simulate import _rasters
from cookbook_utils.simulate._landsat import SENSORS
from cookbook_utils.simulate.lake import SCENES, SceneSpec, observe

GENERATOR = 1  # increased when values change: files with another number are made again
SCALE, OFFSET = 2.75e-5, -0.2  # reflectance = digital number x scale + offset
NODATA, FILL = 0, 1  # of the bands, and of the pixel quality
FOLDER = "landsat_deliveries"
DELIVERIES = {
    "LT05_L2SP_042033_19881022_20200917_02_T1": ("landsat_5_small", "18:02:14.5160750Z"),
    "LC08_L2SP_042033_20171022_20200903_02_T1": ("landsat_8_small", "18:34:02.8430790Z"),
}
"""The scene of each product, and the time at which it was taken."""

CLOUD, SHADOW, CLEAR, WATER = (1 << bit for bit in (3, 4, 6, 7))
LOW, HIGH = 1, 3  # confidence
CONFIDENCES = {"cloud": 8, "shadow": 10, "snow": 12, "cirrus": 14}
"""The lower of the two bits of each confidence."""

Groups = Mapping[str, Mapping[str, str | int | float]]


def write_deliveries(
    folder: str | os.PathLike[str], name: str = FOLDER, *, random_state: int = 0
) -> Path:
    """Write the deliveries of both dates of the lake, unless they are there.

    Parameters
    ----------
    folder : path-like
        Folder in which the folder `name` is created.
    name : str
        A folder of deliveries.
    random_state : int
        As for `write_scene`.

    Returns
    -------
    pathlib.Path
        The folder ``folder/name``, which has a folder for each product of `DELIVERIES`.
    """
    target = as_path(folder, "folder") / name
    for product, (scene, time) in DELIVERIES.items():
        spec, seed = _rasters.require_world(SCENES, scene, random_state)
        signature = f"generator {GENERATOR}, seed {seed}"
        write = partial(
            _write_files, product=product, spec=spec, time=time, seed=seed, signature=signature
        )
        _rasters.write_once(target / product, _files_of(product, spec), signature, write)
    return target


def _files_of(product: str, spec: SceneSpec) -> list[str]:
    quality = [f"{product}_QA_PIXEL.TIF", f"{product}_MTL.txt", f"{product}_MTL.xml"]
    return [*_band_files(product, spec).values(), *quality]


def _band_files(product: str, spec: SceneSpec) -> dict[int, str]:
    return {n: f"{product}_SR_B{n}.TIF" for n in SENSORS[spec.sensor].numbers}


def _write_files(
    folder: Path, product: str, spec: SceneSpec, time: str, seed: int, signature: str
) -> None:
    """Compute a scene and write its delivery into a folder."""
    bands, quality = _band_files(product, spec), f"{product}_QA_PIXEL.TIF"
    options = spec.grid.profile() | _rasters.DEFLATE | {"dtype": "uint16"}
    tags = {"signature": signature}
    n_cloudy = n_valid = 0
    with _rasters.RasterWriter(folder) as files:
        for file in bands.values():
            files.create(file, tags=tags, bands=[""], nodata=NODATA, **options)
        files.create(quality, tags=tags, bands=[""], nodata=FILL, **options)
        rows, cols = _rasters.cut(spec.size, None)
        blocks = _rasters.compute_blocks(lambda i, j: _block(spec, i, j, seed), rows, cols, 512)
        for i, j, (numbers, bits) in blocks:
            for file, plane in zip(bands.values(), numbers, strict=True):
                files.write(file, i, j, plane[np.newaxis])
            files.write(quality, i, j, bits[np.newaxis])
            n_cloudy += np.count_nonzero(bits & CLOUD)
            n_valid += np.count_nonzero(bits != FILL)
    groups = _metadata(product, spec, time, cloud_cover=round(100 * n_cloudy / n_valid, 2))
    (folder / f"{product}_MTL.txt").write_text(_as_odl(groups), encoding="utf-8")
    (folder / f"{product}_MTL.xml").write_text(_as_xml(groups), encoding="utf-8")


def _block(spec: SceneSpec, rows: range, cols: range, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute digital numbers (band, y, x) and the pixel quality (y, x), uint16."""
    seen = observe(spec, rows, cols, seed)
    numbers = np.clip(np.rint((seen.reflectance - OFFSET) / SCALE), 1, 65455).astype("u2")
    bits = np.full(seen.cloud.shape, sum(LOW << bit for bit in CONFIDENCES.values()), "u2")
    if spec.sensor == "Landsat 5 TM":  # has no band for cirrus
        bits -= LOW << CONFIDENCES["cirrus"]
    for there, flag, kind in ((seen.cloud, CLOUD, "cloud"), (seen.shadow, SHADOW, "shadow")):
        bits[there] += flag + ((HIGH - LOW) << CONFIDENCES[kind])
    bits[~seen.cloud] += CLEAR
    bits[(seen.water == 1) & ~seen.cloud] += WATER
    numbers[:, seen.outside], bits[seen.outside] = NODATA, FILL
    return numbers, bits


def _metadata(product: str, spec: SceneSpec, time: str, cloud_cover: float) -> Groups:
    """Return the groups of the MTL."""
    satellite, sensor = {"LT05": (5, "TM"), "LC08": (8, "OLI_TIRS")}[product[:4]]
    bands = _band_files(product, spec)
    path, row = product[10:13], product[13:16]
    return {
        "PRODUCT_CONTENTS": {
            "ORIGIN": "Simulated by cookbook_utils.simulate, no image of a satellite",
            "LANDSAT_PRODUCT_ID": product,
            "PROCESSING_LEVEL": product[5:9],
            "COLLECTION_NUMBER": product[35:37],
            "COLLECTION_CATEGORY": product[38:40],
            "OUTPUT_FORMAT": "GEOTIFF",
            **{f"FILE_NAME_BAND_{n}": file for n, file in bands.items()},
            "FILE_NAME_QUALITY_L1_PIXEL": f"{product}_QA_PIXEL.TIF",
            "FILE_NAME_METADATA_ODL": f"{product}_MTL.txt",
            "FILE_NAME_METADATA_XML": f"{product}_MTL.xml",
            **{f"DATA_TYPE_BAND_{n}": "UINT16" for n in bands},
            "DATA_TYPE_QUALITY_L1_PIXEL": "UINT16",
        },
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": f"LANDSAT_{satellite}",
            "SENSOR_ID": sensor,
            "WRS_TYPE": 2,
            "WRS_PATH": int(path),
            "WRS_ROW": int(row),
            "DATE_ACQUIRED": spec.date,
            "SCENE_CENTER_TIME": time,
            "CLOUD_COVER": cloud_cover,
            "SUN_AZIMUTH": spec.sun[0],
            "SUN_ELEVATION": spec.sun[1],
        },
        "PROJECTION_ATTRIBUTES": {
            "MAP_PROJECTION": "UTM",
            "DATUM": "WGS84",
            "ELLIPSOID": "WGS84",
            "UTM_ZONE": 11,
            "GRID_CELL_SIZE_REFLECTIVE": float(spec.step),
            "REFLECTIVE_LINES": spec.size,
            "REFLECTIVE_SAMPLES": spec.size,
            "ORIENTATION": "NORTH_UP",
        },
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            **{f"REFLECTANCE_MULT_BAND_{n}": SCALE for n in bands},
            **{f"REFLECTANCE_ADD_BAND_{n}": OFFSET for n in bands},
        },
    }


def _as_odl(groups: Groups) -> str:
    """Return metadata in the object description language; dates and numbers have no quotes."""
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for name, group in groups.items():
        lines.append(f"  GROUP = {name}")
        for key, value in group.items():
            quoted = isinstance(value, str) and not key.startswith("DATE_")
            lines.append(f'    {key} = "{value}"' if quoted else f"    {key} = {value}")
        lines.append(f"  END_GROUP = {name}")
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def _as_xml(groups: Groups) -> str:
    """Return metadata in XML."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<LANDSAT_METADATA_FILE>"]
    for name, group in groups.items():
        values = [f"    <{key}>{value}</{key}>" for key, value in group.items()]
        lines += [f"  <{name}>", *values, f"  </{name}>"]
    return "\n".join([*lines, "</LANDSAT_METADATA_FILE>", ""])
