"""Make a STAC item of a Landsat Collection-2 delivery, as the U.S. Geological Survey packs it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cookbook_utils.datasets._access import Unreachable, as_address, without_secrets
from cookbook_utils.datasets._band_assets import (
    Band,
    band_asset,
    choose_bands,
    make_item,
    quality_asset,
    require_files,
)
from cookbook_utils.datasets._delivery import Delivery, base, open_delivery
from cookbook_utils.datasets._landsat_metadata import PRODUCT, Facts, read_facts

if TYPE_CHECKING:
    import pystac

# Centers from "What are the band designations for the Landsat satellites?", U.S. Geological Survey.
TM = (
    Band("1", "blue", 0.485),
    Band("2", "green", 0.56),
    Band("3", "red", 0.66),
    Band("4", "nir", 0.83),
    Band("5", "swir1", 1.65),
    Band("7", "swir2", 2.215),
)
ETM = (*TM[:3], Band("4", "nir", 0.835), TM[4], Band("7", "swir2", 2.22))
OLI = (
    Band("1", "coastal", 0.443),
    Band("2", "blue", 0.482),
    Band("3", "green", 0.561),
    Band("4", "red", 0.655),
    Band("5", "nir", 0.865),
    Band("6", "swir1", 1.609),
    Band("7", "swir2", 2.201),
)
# As of the other sensors, `nir` is the band where vegetation is brightest, beyond the red edge. The
# band at 0.75 um lies on the edge itself; nir08 is the name that STAC has for it.
MSS = tuple(
    Band(number, name, wavelength)
    for numbers in ("1234", "4567")  # of Landsat 4 and 5, and of 1 to 3, whose files have no 1 to 3
    for number, name, wavelength in zip(
        numbers, ("green", "red", "nir08", "nir"), (0.55, 0.65, 0.75, 0.95), strict=True
    )
)
SENSORS = {"MSS": MSS, "TM": TM, "ETM": ETM, "OLI_TIRS": OLI, "OLI": OLI}
"""Reflective bands but pan and cirrus by the SENSOR_ID of the metadata."""

NAMES = {"MSS": "MSS", "TM": "TM", "ETM": "ETM+", "OLI_TIRS": "OLI", "OLI": "OLI"}
"""Names of the sensors, as the catalog has them."""


def is_landsat(
    source: str | os.PathLike[str] | Delivery, options: Mapping[str, Any] | None = None
) -> bool:
    """Return whether a folder, tar or MTL has the file names of Landsat Collection 2."""
    try:
        return bool(_products(open_delivery(source, options)))
    except Unreachable:
        raise
    except (ValueError, OSError):
        return False


def landsat_item(
    source: str | os.PathLike[str] | Delivery,
    *,
    bands: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> pystac.Item:
    """Return the STAC item of a Landsat Collection-2 delivery of Level 1 or 2.

    Parameters
    ----------
    source : path-like or Delivery
        The folder, or the tar, which is read in place; or an MTL, where the deliveries of several
        scenes lie in one folder, or the folder is on a web server.
    bands : sequence of str, optional
        Names of the bands that must be there, such as ``["red", "nir"]``; all that the metadata
        name by default.
    options : mapping, optional
        Options of S3.

    Returns
    -------
    pystac.Item
        An asset for each reflective band under its name, but pan and cirrus, and ``qa_pixel`` if it
        is there. Scale and offset lead to surface reflectance for Level 2, and to top-of-atmosphere
        reflectance, with the sun as at the center of the scene, for Level 1. The property
        ``quantity`` says which.

    Raises
    ------
    TypeError
        If `source` is not a path.
    ValueError
        If the files are of several scenes, of another sensor or collection, renamed, or incomplete.
    OSError
        If a file cannot be read.
    """
    # stactools-landsat is not used. Of these deliveries it reads Level 2 with an MTL in XML in a
    # folder only; it makes assets for files that are absent, with a scale that is not from the MTL,
    # and takes the footprint from the network or from a further file. A test checks that items are
    # the same where it works.
    delivery = open_delivery(source, options)
    facts = read_facts(delivery, _product_of(source) or _one_product(delivery))
    assets = _band_assets(delivery, facts, bands)
    if (quality := facts.files.get("QA_PIXEL")) and (file := delivery.find(quality)):
        assets["qa_pixel"] = quality_asset(
            delivery.address_of(file),
            title="pixel quality, bits",
            nodata=1,
            options=delivery.options,
        )
    return make_item(facts.product, facts.when, assets, _properties(facts))


def _product_of(source: Any) -> str | None:
    """Return the product if `source` is an MTL."""
    if isinstance(source, Delivery):
        return None
    name = base(without_secrets(as_address(source)).replace(os.sep, "/"))
    found = re.fullmatch(rf"({PRODUCT})_MTL\.(txt|xml|json)", name, re.IGNORECASE)
    return found and found[1].upper()


def _products(delivery: Delivery) -> list[str]:
    """Return the product identifiers with which the names of files begin."""
    found = (re.match(PRODUCT, base(name), re.IGNORECASE) for name in delivery.names)
    return sorted({match[0].upper() for match in found if match})


def _one_product(delivery: Delivery) -> str:
    products = _products(delivery)
    if not products:
        raise ValueError(
            f"source must be a Landsat Collection-2 delivery, with files such as "
            f"LC08_L2SP_042033_20171022_20200903_02_T1_MTL.txt, got {len(delivery.names)} others "
            f"in {delivery.path}"
        )
    if len(products) > 1:
        raise ValueError(
            f"source must be the delivery of one scene, got files of {len(products)} in "
            f"{delivery.path}: {', '.join(products[:5])}. Name the MTL of one"
        )
    return products[0]


def _band_assets(
    delivery: Delivery, facts: Facts, bands: Sequence[str] | None
) -> dict[str, pystac.Asset]:
    """Return the assets of the bands that are there, or raise if one of `bands` is not."""
    known = [band for band in _designations(facts, delivery) if band.number in facts.files]
    if facts.sensor == "MSS":  # the number 4 is green or near infrared
        known = [band for band in known if (band in MSS[:4]) == (facts.satellite > 3)]
    files = {
        band: delivery.find(facts.files[band.number])
        for band in choose_bands(known, bands, delivery.path)
    }
    absent = {band.name: facts.files[band.number] for band, file in files.items() if file is None}
    require_files(absent, delivery.path)
    return {
        band.name: band_asset(
            delivery.address_of(file),
            band,
            quantity=_quantity(facts),
            options=delivery.options,
            **_scale(facts, band),
        )
        for band, file in files.items()
    }


def _designations(facts: Facts, delivery: Delivery) -> tuple[Band, ...]:
    try:
        return SENSORS[facts.sensor]
    except KeyError:
        raise ValueError(
            f"source must be a delivery of Landsat MSS, TM, ETM+ or OLI, got {facts.sensor} in "
            f"{delivery.path}"
        ) from None


def _quantity(facts: Facts) -> str:
    return ("top-of-atmosphere reflectance", "surface reflectance")[facts.level - 1]


def _scale(facts: Facts, band: Band) -> dict[str, float]:
    """Return scale and offset of a band.

    Top-of-atmosphere reflectance is (M * Q + A) / sin(elevation of the sun), by the Landsat 8-9
    Collection 2 Level 1 Data Format Control Book.
    """
    if band.number not in facts.rescaling:
        raise ValueError(
            f"the metadata of {facts.product} must have REFLECTANCE_MULT_BAND_{band.number} and "
            f"REFLECTANCE_ADD_BAND_{band.number}, got none: a night scene has no reflectance"
        )
    scale, offset = facts.rescaling[band.number]
    if not scale > 0:
        raise ValueError(
            f"REFLECTANCE_MULT_BAND_{band.number} of {facts.product} must be above 0, got {scale}"
        )
    if facts.level == 2:
        return {"scale": scale, "offset": offset}
    if facts.sun_elevation is None or not 0 < facts.sun_elevation <= 90:
        raise ValueError(
            f"SUN_ELEVATION of {facts.product} must be above 0 for reflectance, got "
            f"{facts.sun_elevation}"
        )
    sine = math.sin(math.radians(facts.sun_elevation))
    return {"scale": scale / sine, "offset": offset / sine}


def _properties(facts: Facts) -> dict[str, Any]:
    instruments = {"OLI_TIRS": ["oli", "tirs"]}.get(facts.sensor, [facts.sensor.lower()])
    azimuth = facts.sun_azimuth
    properties = {
        "platform": f"landsat-{facts.satellite}",
        "instruments": instruments,
        "sensor": f"Landsat {facts.satellite} {NAMES[facts.sensor]}",
        "quantity": _quantity(facts),
        "gsd": 60 if facts.sensor == "MSS" else 30,
        "eo:cloud_cover": facts.cloud_cover,
        "view:sun_elevation": facts.sun_elevation,
        "view:sun_azimuth": None if azimuth is None else azimuth % 360,
        "landsat:wrs_path": facts.path_row and f"{facts.path_row[0]:03d}",
        "landsat:wrs_row": facts.path_row and f"{facts.path_row[1]:03d}",
    }
    return {key: value for key, value in properties.items() if value is not None}
