"""Read the metadata of Sentinel-2: product and tile in XML, a STAC item, or the product's name."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cookbook_utils._checks import shown
from cookbook_utils.datasets._delivery import Delivery, base, number_in

PRODUCT = (
    r"(S2[A-D])_MSI(L1C|L2A)_(\d{8}T\d{6})_N(\d{2})(\d{2})_R\d{3}_T(\d{2}[A-Z]{3})_\d{8}T\d{6}"
)
"""Name of a product, with satellite, level, time, processing baseline and tile."""

_OLD = "S2._(OPER|USER)_MTD"
"""Start of the names of metadata before December 2016."""

BAND_IDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"
)  # fmt: skip
"""Bands in the order of ``band_id`` in the metadata."""

OFFSET_BASELINE = (4, 0)
"""First processing baseline whose stored numbers have an offset."""

OFFSET = -1000
"""Offset of all bands in digital numbers, from `OFFSET_BASELINE` on."""

QUANTIFICATION = 10_000
"""Digital number of reflectance 1 in every product."""

SATURATED = 65_535
"""Digital number of a saturated pixel."""


class Facts(NamedTuple):
    """What the metadata say about a product."""

    name: str
    level: str
    platform: str
    when: datetime
    baseline: tuple[int, int] | None
    tile: str | None
    images: tuple[str, ...]  # names of files without their endings; none if they are not listed
    scales: dict[str, tuple[float, float]]  # scale and offset of reflectance by band
    wavelengths: dict[str, float]  # um
    cloud_cover: float | None
    sun_elevation: float | None
    sun_azimuth: float | None


def read_facts(delivery: Delivery) -> Facts | None:
    """Return what the metadata of a product say, or None if there are none.

    Raises
    ------
    ValueError
        If they are damaged, or there are those of several products.
    OSError
        If a file cannot be read.
    """
    if products := delivery.named(rf"(MTD_MSIL1C|MTD_MSIL2A|{_OLD}_SAFL.*|product_metadata)\.xml"):
        _require_one(products, delivery)
        return _facts_of_product(delivery, products[0])
    items = list(_stac_items(delivery))
    if items:
        _require_one([name for name, _ in items], delivery)
        return _facts_of_item(items[0][1], f"{items[0][0]} of {delivery.path}")
    return _facts_of_name(delivery)


def _require_one(names: list[str], delivery: Delivery) -> None:
    if len(names) > 1:
        raise ValueError(
            f"source must be the delivery of one scene, got the metadata {', '.join(names[:4])} in "
            f"{delivery.path}: name the folder of one"
        )


# -- product and tile ---------------------------------------------------------------------------


class _Document(NamedTuple):
    """An XML document, with errors that name the file; namespaces differ by version."""

    root: ElementTree.Element
    what: str

    def text(self, path: str) -> str:
        value = self.optional(path)
        if value is None:
            raise ValueError(f"{self.what} must have {path}, got none")
        return value

    def optional(self, path: str) -> str | None:
        found = self.root.find(f".//{path}")
        return None if found is None or not (found.text or "").strip() else found.text.strip()

    def number(self, path: str) -> float | None:
        """Return a number, or None where there is none or it is NaN, as angles can be."""
        text = self.optional(path)
        if text is None or text.lower() == "nan":
            return None
        return number_in(text, f"{path} in {self.what}")

    def by_band(self, path: str, attribute: str) -> dict[str, ElementTree.Element]:
        """Return the elements of a list by the name of their band."""
        found = {}
        for element in self.root.iterfind(f".//{path}"):
            number = element.get(attribute, "")
            if not number.isdigit() or int(number) >= len(BAND_IDS):
                raise ValueError(
                    f"{attribute} of {path} in {self.what} must be 0 to 12, got {shown(number)}"
                )
            found[BAND_IDS[int(number)]] = element
        return found


def _parse(delivery: Delivery, name: str) -> _Document:
    what = f"{base(name)} of {delivery.path}"
    try:
        return _Document(ElementTree.fromstring(delivery.read(name)), what)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{what} must be complete XML, got: {error}") from None


def _facts_of_product(delivery: Delivery, name: str) -> Facts:
    product = _parse(delivery, name)
    tile = _tile_of(delivery, product.what)
    level = product.text("PROCESSING_LEVEL")
    if not (found := re.search(r"1C|2A", level)):
        raise ValueError(f"{product.what} must be of Level-1C or Level-2A, got {shown(level)}")
    baseline = _baseline_of(product.text("PROCESSING_BASELINE"), product.what)
    uri = product.optional("PRODUCT_URI") or product.text("PRODUCT_URI_2A")
    uri = uri.removesuffix(".SAFE")
    match = re.fullmatch(PRODUCT, uri)
    images = [
        base((element.text or "").strip())
        for path in ("IMAGE_FILE", "IMAGE_FILE_2A")
        for element in product.root.iterfind(f".//{path}")
    ]
    zenith = tile and tile.number("Mean_Sun_Angle/ZENITH_ANGLE")
    return Facts(
        name=uri,
        level=f"L{found[0]}",
        platform=product.text("SPACECRAFT_NAME"),
        when=_time_of(product.text("PRODUCT_START_TIME"), product.what),
        baseline=baseline,
        tile=match and match[6],
        images=tuple(images),
        scales=_scales(product, baseline),
        wavelengths=dict(_wavelengths(product)),
        cloud_cover=product.number("Cloud_Coverage_Assessment"),
        sun_elevation=None if zenith is None else 90 - zenith,
        sun_azimuth=tile and tile.number("Mean_Sun_Angle/AZIMUTH_ANGLE"),
    )


def _tile_of(delivery: Delivery, what: str) -> _Document | None:
    """Return the metadata of the tile, which have the angles of the sun, or None."""
    tiles = delivery.named(rf"(MTD_TL|{_OLD}_L(1C|2A)_TL_.*|granule_metadata)\.xml")
    if len(tiles) > 1:
        raise ValueError(
            f"{what} must be of one tile, got {len(tiles)}: Sentinel-2 products of before 2016 "
            "with several tiles are not read"
        )
    return _parse(delivery, tiles[0]) if tiles else None


def _baseline_of(text: str, what: str) -> tuple[int, int]:
    if not (found := re.fullmatch(r"(\d\d)\.(\d\d)", text)):
        raise ValueError(f"PROCESSING_BASELINE in {what} must be such as 05.09, got {shown(text)}")
    return int(found[1]), int(found[2])


def _scales(product: _Document, baseline: tuple[int, int]) -> dict[str, tuple[float, float]]:
    """Return scale and offset of each band: (number + offset) / quantification."""
    paths = ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
    found = [value for path in paths if (value := product.number(path)) is not None]
    if not found or not found[0] > 0:
        raise ValueError(f"{product.what} must have a QUANTIFICATION_VALUE above 0, got {found}")
    offsets = {
        band: number_in(element.text, f"{path} in {product.what}")
        for path in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
        for band, element in product.by_band(path, "band_id").items()
    }
    if not offsets and baseline >= OFFSET_BASELINE:
        raise ValueError(
            f"{product.what} must have BOA_ADD_OFFSET or RADIO_ADD_OFFSET, got none in processing "
            f"baseline {baseline[0]:02d}.{baseline[1]:02d}"
        )
    return {band: (1 / found[0], offsets.get(band, 0.0) / found[0]) for band in BAND_IDS}


def _wavelengths(product: _Document) -> Iterator[tuple[str, float]]:
    """Yield the center of each band in um, which the satellites differ in."""
    for band, element in product.by_band("Spectral_Information", "bandId").items():
        center = element.findtext("Wavelength/CENTRAL")
        if center is not None:
            yield band, round(number_in(center, f"CENTRAL in {product.what}") / 1000, 6)


def _time_of(text: str, what: str) -> datetime:
    """Return a time in UTC."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"the time in {what} must be in ISO 8601, got {shown(text)}") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


# -- STAC item, and name ------------------------------------------------------------------------


def _stac_items(delivery: Delivery) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the STAC items of Sentinel-2 among the files, which may have others in JSON."""
    for name in delivery.named(r".*\.json"):
        try:
            content = json.loads(delivery.read(name))
        except (ValueError, RecursionError):
            continue
        if not isinstance(content, dict) or not {"assets", "properties"} <= set(content):
            continue
        properties = content["properties"]
        if isinstance(properties, dict) and is_of_sentinel2(
            content.get("id"), content.get("collection"), properties
        ):
            yield name, content


def is_of_sentinel2(name: Any, collection: Any, properties: Mapping[str, Any]) -> bool:
    """Return whether a STAC item is one of Sentinel-2, as archives write it."""
    facts = (name, collection, *map(properties.get, ("constellation", "platform")))
    return any(re.search(r"sentinel[- ]?s?2|\bS2[A-D]_", str(fact), re.I) for fact in facts)


def baseline_of_item(name: str, properties: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the processing baseline, as a property or a name of the product has it."""
    stated = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
    found = [re.match(r"(\d+)\.(\d+)", str(properties.get(key))) for key in stated]
    if match := next(filter(None, found), None):
        return int(match[1]), int(match[2])
    named = (properties.get("s2:product_uri"), properties.get("sentinel:product_id"), name)
    match = next(filter(None, (re.match(PRODUCT, str(one)) for one in named)), None)
    return match and (int(match[4]), int(match[5]))


def has_offset_applied(properties: Mapping[str, Any]) -> bool:
    """Return whether files have the offset applied already, which an item may state nonetheless."""
    archives = ("earthsearch", "sentinel")
    return any(properties.get(f"{one}:boa_offset_applied") is True for one in archives)


def _facts_of_item(item: Mapping[str, Any], what: str) -> Facts:
    properties = item["properties"]
    if not isinstance(item["assets"], dict):
        raise ValueError(f"{what} must be a STAC item, got {shown(list(item))}")
    name = str(item.get("id", "Sentinel-2"))
    uri = str(properties.get("s2:product_uri") or properties.get("sentinel:product_id") or name)
    baseline = baseline_of_item(name, properties)
    optional = {
        key: None if properties.get(key) is None else number_in(properties[key], f"{key} in {what}")
        for key in ("eo:cloud_cover", "view:sun_elevation", "view:sun_azimuth")
    }
    tile = re.search(r"T?(\d{2}[A-Z]{3})", uri)
    return Facts(
        name=name,
        level="L1C" if "L1C" in uri.upper() else "L2A",
        platform=str(properties.get("platform") or f"sentinel-{uri[1:3]}"),
        when=_time_of(str(properties.get("datetime", "")), what),
        baseline=baseline,
        tile=tile and tile[1],
        images=(),
        scales=_scales_of_item(item, baseline, what),
        wavelengths={},
        cloud_cover=optional["eo:cloud_cover"],
        sun_elevation=optional["view:sun_elevation"],
        sun_azimuth=optional["view:sun_azimuth"],
    )


def _scales_of_item(
    item: Mapping[str, Any], baseline: tuple[int, int] | None, what: str
) -> dict[str, tuple[float, float]]:
    """Return scale and offset by band, from ``raster:bands`` or the processing baseline."""
    applied = has_offset_applied(item["properties"])
    scales = {}
    for key, asset in item["assets"].items():
        names = [str(key), base(str(asset.get("href", "")))] if isinstance(asset, dict) else []
        found = [match[1].upper() for name in names if (match := BAND_FILE.fullmatch(name))]
        facts = (asset.get("raster:bands") or [{}])[0] if found else {}
        if "scale" in facts:
            offset = 0.0 if applied else number_in(facts.get("offset", 0), f"offset in {what}")
            scales[found[0]] = (number_in(facts["scale"], f"scale in {what}"), offset)
    if not scales and baseline is not None:
        number = 0 if applied else offset_of(baseline)
        scales = dict.fromkeys(BAND_IDS, (1 / QUANTIFICATION, number / QUANTIFICATION))
    return scales


def offset_of(baseline: tuple[int, int]) -> int:
    """Return the offset in digital numbers of a processing baseline."""
    return OFFSET if baseline >= OFFSET_BASELINE else 0


_BAND = r"(?:.*[_.])?(B(?:0[1-9]|8A|1[0-2])|SCL)(?:_(10|20|60)m)?"

BAND_FILE = re.compile(_BAND + r"(?:\.(?:jp2|tiff?))?", re.IGNORECASE)
"""Name of the file of a band, with its resolution in Level-2A."""

RENAMED_FILE = re.compile(
    _BAND + r"[^a-z0-9_].*\.?(?:jp2|tiff?|part|download|crdownload)", re.IGNORECASE
)
"""Name of the file of a band that a browser has renamed or not finished."""


def _facts_of_name(delivery: Delivery) -> Facts | None:
    """Return what the name of a product says, found in the names of the folder and its files."""
    names = [delivery.path.replace("\\", "/"), *delivery.names]
    found = {match[0]: match for name in names for match in re.finditer(PRODUCT, name)}
    if not found:
        return None
    _require_one(list(found), delivery)
    name, match = next(iter(found.items()))
    baseline = int(match[4]), int(match[5])
    offset = offset_of(baseline) / QUANTIFICATION
    return Facts(
        name=name,
        level=match[2],
        platform=f"Sentinel-{match[1][1:]}",
        when=datetime.strptime(match[3], "%Y%m%dT%H%M%S").replace(tzinfo=UTC),
        baseline=baseline,
        tile=match[6],
        images=(),
        scales=dict.fromkeys(BAND_IDS, (1 / QUANTIFICATION, offset)),
        wavelengths={},
        cloud_cover=None,
        sun_elevation=None,
        sun_azimuth=None,
    )
