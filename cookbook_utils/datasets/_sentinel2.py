"""Make a STAC item of a Sentinel-2 product: a SAFE folder, its zip, or a folder of COGs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cookbook_utils.datasets._access import Unreachable
from cookbook_utils.datasets._band_assets import (
    Band,
    band_asset,
    choose_bands,
    make_item,
    quality_asset,
    require_files,
)
from cookbook_utils.datasets._bands import SENTINEL_2
from cookbook_utils.datasets._delivery import Delivery, base, open_delivery
from cookbook_utils.datasets._sentinel2_metadata import (
    BAND_FILE,
    RENAMED_FILE,
    SATURATED,
    Facts,
    read_facts,
)

if TYPE_CHECKING:
    import pystac

# Centers of Sentinel-2A, for metadata that do not have them.
_CENTERS = {
    "B01": 0.4427, "B02": 0.4927, "B03": 0.5598, "B04": 0.6646, "B05": 0.7041,
    "B06": 0.7405, "B07": 0.7828, "B08": 0.8328, "B8A": 0.8647, "B09": 0.9451,
    "B11": 1.6137, "B12": 2.2024,
}  # fmt: skip
BANDS = tuple(Band(number, SENTINEL_2[number], center) for number, center in _CENTERS.items())
"""Bands of the surface; B10 sees cirrus clouds only."""

QUANTITIES = {"L1C": "top-of-atmosphere reflectance", "L2A": "surface reflectance"}


def is_sentinel2(
    source: str | os.PathLike[str] | Delivery, options: Mapping[str, Any] | None = None
) -> bool:
    """Return whether a folder or archive has the file names of Sentinel-2, or its metadata.

    Names of files are not enough: many archives call bands B02.
    """
    try:
        delivery = open_delivery(source, options)
    except Unreachable:
        raise
    except (ValueError, OSError):
        return False
    try:
        return read_facts(delivery) is not None
    except Unreachable:
        raise
    except (ValueError, OSError):
        return True  # the metadata are there, and `sentinel2_item` says what is wrong with them


def sentinel2_item(
    source: str | os.PathLike[str] | Delivery,
    *,
    bands: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> pystac.Item:
    """Return the STAC item of a Sentinel-2 product of Level-1C or Level-2A.

    Parameters
    ----------
    source : path-like or Delivery
        The SAFE folder, its metadata ``MTD_MSI*.xml`` or ``manifest.safe``, its zip, which is read
        in place, or a folder of COGs with metadata, with the STAC item of an archive, or with the
        product in their names. On a web server, the metadata list the files.
    bands : sequence of str, optional
        Names of the bands that must be there, such as ``["red", "nir"]``. By default all that the
        metadata list, or else all that are there.
    options : mapping, optional
        Options of S3.

    Returns
    -------
    pystac.Item
        An asset for each band but cirrus under its name, at its finest resolution, and ``scl`` if
        it is there. Scale and offset, with that of processing baseline 04.00 and later, lead to
        reflectance. The asset field ``saturated`` is the stored number of a saturated pixel.

    Raises
    ------
    TypeError
        If `source` is not a path.
    ValueError
        If the files are of several scenes, renamed or incomplete, or nothing says the offset.
    OSError
        If a file cannot be read.
    """
    # stactools-sentinel2 is not used: it reads no zip and no COGs, and takes the scale for granted,
    # and for Level-1C the offset, too. A test checks that items are the same where it works.
    delivery = open_delivery(source, options)
    files = _files_by_band(delivery)
    facts = read_facts(delivery)
    if facts is None:
        raise ValueError(
            f"{delivery.path} must have MTD_MSIL1C.xml or MTD_MSIL2A.xml, a STAC item, or names "
            "such as S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454, got "
            f"{len(delivery.names)} files without: the offset of reflectance depends on the "
            "processing baseline"
        )
    _require_names_of_archive(delivery, files)
    assets = _band_assets(delivery, facts, files, bands)
    if "SCL" in files:
        assets["scl"] = quality_asset(
            files["SCL"], title="scene classification", nodata=0, options=delivery.options
        )
    return make_item(facts.name, facts.when, assets, _properties(facts))


def _files_by_band(delivery: Delivery) -> dict[str, str]:
    """Return the finest file of each band as a path for GDAL.

    Raises
    ------
    ValueError
        If the files are of several tiles or times.
    """
    found: dict[str, tuple[int, str]] = {}
    scenes = set()
    for name in delivery.names:
        match = BAND_FILE.fullmatch(base(name))
        if not match or base(name).startswith("MSK_") or "." not in base(name):
            continue
        scenes.update(re.findall(r"T\d{2}[A-Z]{3}(?:_\d{8}T\d{6})?", base(name)))
        choice = int(match[2] or 0), name
        band = match[1].upper()
        found[band] = min(found.get(band, choice), choice)
    if len(scenes) > 1:
        raise ValueError(
            f"source must be the delivery of one scene, got files of {len(scenes)} in "
            f"{delivery.path}: {', '.join(sorted(scenes)[:5])}"
        )
    return {band: delivery.address_of(name) for band, (_, name) in found.items()}


def _require_names_of_archive(delivery: Delivery, files: dict[str, str]) -> None:
    """Raise where the only file of a band has a name that a browser gave it."""
    for name in delivery.names:
        match = RENAMED_FILE.fullmatch(base(name))
        if match and match[1].upper() not in files and not base(name).startswith("MSK_"):
            raise ValueError(
                f"the files of {delivery.path} must have the names of their archive, got "
                f"{base(name)!r}: a browser may have renamed it, or not have finished it. Give it "
                "its name back, or download it again"
            )


def _band_assets(
    delivery: Delivery, facts: Facts, files: dict[str, str], bands: Sequence[str] | None
) -> dict[str, pystac.Asset]:
    """Return the assets of the bands that are there, or raise if one of `bands` is not."""
    listed = {
        match[1].upper(): name for name in facts.images if (match := BAND_FILE.fullmatch(name))
    }
    known = [band for band in BANDS if band.number in (listed or files)]
    wanted = choose_bands(known, bands, delivery.path)
    absent = {band.name: listed[band.number] for band in wanted if band.number not in files}
    require_files(absent, delivery.path)
    return {band.name: _asset(files[band.number], band, facts, delivery.options) for band in wanted}


def _asset(href: str, band: Band, facts: Facts, options: Mapping[str, Any]) -> pystac.Asset:
    if band.number not in facts.scales:
        raise ValueError(
            f"the metadata of {facts.name} must have scale and offset of {band.number}, got none"
        )
    scale, offset = facts.scales[band.number]
    wavelength = facts.wavelengths.get(band.number, band.wavelength)
    asset = band_asset(
        href,
        band._replace(wavelength=wavelength),
        scale=scale,
        offset=offset,
        quantity=QUANTITIES[facts.level],
        options=options,
    )
    asset.extra_fields["saturated"] = SATURATED
    return asset


def _properties(facts: Facts) -> dict[str, Any]:
    baseline = facts.baseline
    properties = {
        "platform": facts.platform.lower(),
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "sensor": f"{facts.platform[:-1].capitalize()}{facts.platform[-1].upper()} MSI",
        "quantity": QUANTITIES[facts.level],
        "gsd": 10,
        "eo:cloud_cover": facts.cloud_cover,
        "view:sun_elevation": facts.sun_elevation,
        "view:sun_azimuth": facts.sun_azimuth,
        "s2:processing_baseline": baseline and f"{baseline[0]:02d}.{baseline[1]:02d}",
        "grid:code": facts.tile and f"MGRS-{facts.tile}",
    }
    return {key: value for key, value in properties.items() if value is not None}
