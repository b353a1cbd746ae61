"""Read the metadata of a Landsat Collection-2 delivery: an MTL in any format, or a STAC item."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cookbook_utils._checks import shown
from cookbook_utils.datasets._delivery import Delivery, base, number_in

PRODUCT = r"L[A-Z]\d\d_L[12][A-Z]{2}_\d{6}_\d{8}_\d{8}_\d\d_[A-Z][A-Z0-9]"
"""Product identifier, with which the names of all files of a delivery begin."""

SURFACE_SCALE, SURFACE_OFFSET = 2.75e-5, -0.2
"""Scale and offset of surface reflectance in Collection 2, for metadata that do not have them."""

Groups = Mapping[str, Mapping[str, str]]
"""The values of an MTL by group and key: a key such as REFLECTANCE_MULT_BAND_1 is in two groups."""


class Facts(NamedTuple):
    """What the metadata say about a delivery."""

    product: str
    level: int
    satellite: int
    sensor: str
    when: datetime
    files: dict[str, str]  # by number of the band, and "QA_PIXEL"
    rescaling: dict[str, tuple[float, float]]  # multiplicative and additive term by band
    cloud_cover: float | None
    sun_elevation: float | None
    sun_azimuth: float | None
    path_row: tuple[int, int] | None


class _MetadataError(ValueError):
    """A metadata file is incomplete or of another kind."""


def read_facts(delivery: Delivery, product: str) -> Facts:
    """Return what the first complete metadata file of a product says.

    Raises
    ------
    ValueError
        If there is none. The message says what is wrong with the first one.
    OSError
        If one cannot be read.
    """
    kinds = (
        (r"_MTL\.txt", _read_odl, _facts_of_mtl),
        (r"_MTL\.xml", _read_xml, _facts_of_mtl),
        (r"_MTL\.json", _read_json, _facts_of_mtl),
        (r"(_SR|_ST)?_stac\.json", _read_stac, _facts_of_stac),
    )
    faults = []
    for pattern, parse, facts_of in kinds:
        for name in delivery.named(re.escape(product) + pattern):
            what = f"{base(name)} of {delivery.path}"
            try:
                return facts_of(parse(delivery.read(name), what), product, what)
            except _MetadataError as error:
                faults.append(error)
    if faults:
        raise ValueError(str(faults[0])) from None
    for file in (f"{product}_MTL{ending}" for ending in (".txt", ".xml", ".json")):
        delivery.find(file)  # raises if a browser has renamed it
    raise ValueError(
        f"{delivery.path} must have the metadata {product}_MTL.txt (or .xml, or .json), got none: "
        "download it from the archive, too"
    )


# -- formats ------------------------------------------------------------------------------------


def _read_odl(data: bytes, what: str) -> Groups:
    """Parse the text of an MTL, which is complete when its outermost group is closed."""
    groups: dict[str, dict[str, str]] = {}
    open_groups: list[str] = []
    for line in data.decode("utf-8", "replace").splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            open_groups.append(value)
            groups.setdefault(value, {})
        elif key == "END_GROUP":
            if not open_groups or open_groups.pop() != value:
                break
            if not open_groups:
                return _require_collection_2(groups, what)
        elif equals and open_groups:
            groups[open_groups[-1]][key] = value.strip('"')
    raise _MetadataError(
        f"{what} must be a complete MTL, got {len(data)} bytes that do not close all groups: "
        "download it again"
    )


def _read_xml(data: bytes, what: str) -> Groups:
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _MetadataError(f"{what} must be complete XML, got: {error}") from None
    groups = {group.tag: {key.tag: (key.text or "").strip() for key in group} for group in root}
    return _require_collection_2({root.tag: {}, **groups}, what)


def _read_json(data: bytes, what: str) -> Groups:
    content = _load_json(data, what)
    name, groups = next(iter(content.items()), ("", {}))
    if not isinstance(groups, dict):
        groups = {}
    found = {key: group for key, group in groups.items() if isinstance(group, dict)}
    text = {
        group: {key: str(value) for key, value in values.items()} for group, values in found.items()
    }
    return _require_collection_2({name: {}, **text}, what)


def _read_stac(data: bytes, what: str) -> dict[str, Any]:
    content = _load_json(data, what)
    if not isinstance(content.get("properties"), dict):
        raise _MetadataError(f"{what} must be a STAC item, got {shown(list(content))}")
    return content


def _load_json(data: bytes, what: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _MetadataError(f"{what} must be complete JSON, got: {error}") from None
    if not isinstance(content, dict):
        raise _MetadataError(f"{what} must be a JSON object, got {shown(content)}")
    return content


def _require_collection_2(groups: Groups, what: str) -> Groups:
    if "LANDSAT_METADATA_FILE" not in groups:
        raise _MetadataError(
            f"{what} must be an MTL of Landsat Collection 2, which begins with "
            f"LANDSAT_METADATA_FILE, got {shown(list(groups)[:1])}"
        )
    return groups


# -- facts --------------------------------------------------------------------------------------


class _Values(NamedTuple):
    """The values of an MTL, with errors that name the file."""

    groups: Groups
    what: str

    def text(self, group: str, key: str) -> str:
        value = self.groups.get(group, {}).get(key, "")
        if not value:
            raise _MetadataError(f"{self.what} must have {group}/{key}, got none")
        return value

    def number(self, group: str, key: str) -> float:
        return number_in(self.text(group, key), f"{key} in {self.what}", _MetadataError)

    def optional(self, group: str, key: str) -> float | None:
        """Return a number, or None where the MTL has none: it writes NULL where a sensor failed."""
        value = self.groups.get(group, {}).get(key, "")
        return (
            None
            if value in ("", "NULL")
            else number_in(value, f"{key} in {self.what}", _MetadataError)
        )


def _facts_of_mtl(groups: Groups, product: str, what: str) -> Facts:
    values = _Values(groups, what)
    contents, image = "PRODUCT_CONTENTS", "IMAGE_ATTRIBUTES"
    own = values.text(contents, "LANDSAT_PRODUCT_ID")
    if own.upper() != product:
        raise _MetadataError(f"{what} must be the MTL of {product}, got that of {own}")
    when = f"{values.text(image, 'DATE_ACQUIRED')}T{values.text(image, 'SCENE_CENTER_TIME')}"
    files = {
        key.removeprefix("FILE_NAME_BAND_"): file
        for key, file in groups[contents].items()
        if key.startswith("FILE_NAME_BAND_")
        and groups[contents].get(key.replace("FILE_NAME", "PRESENT"), "Y") == "Y"  # M is missing
    }
    if quality := groups[contents].get("FILE_NAME_QUALITY_L1_PIXEL"):
        files["QA_PIXEL"] = quality
    path, row = (values.optional(image, f"WRS_{name}") for name in ("PATH", "ROW"))
    level = _level_of(product)
    return Facts(
        product=product,
        level=level,
        satellite=_satellite_of(values.text(image, "SPACECRAFT_ID"), what),
        sensor=values.text(image, "SENSOR_ID"),
        when=_time_of(when, what),
        files=files,
        rescaling=dict(_rescaling(values, level, files)),
        cloud_cover=_percentage(values.optional(image, "CLOUD_COVER")),
        sun_elevation=values.optional(image, "SUN_ELEVATION"),
        sun_azimuth=values.optional(image, "SUN_AZIMUTH"),
        path_row=None if path is None or row is None else (int(path), int(row)),
    )


def _rescaling(
    values: _Values, level: int, bands: Mapping[str, str]
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the multiplicative and additive term of each band that has both."""
    group = ("LEVEL1_RADIOMETRIC_RESCALING", "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS")[level - 1]
    for band in bands:
        terms = [
            values.optional(group, f"REFLECTANCE_{term}_BAND_{band}") for term in ("MULT", "ADD")
        ]
        if None not in terms:
            yield band, (terms[0], terms[1])
        elif level == 2:
            yield band, (SURFACE_SCALE, SURFACE_OFFSET)


def _facts_of_stac(content: Mapping[str, Any], product: str, what: str) -> Facts:
    """Return the facts of the item that the U.S. Geological Survey delivers beside the bands.

    It has no rescaling, which Level 1 needs.
    """
    if _level_of(product) == 1:
        raise _MetadataError(
            f"{what} must come with {product}_MTL.txt, got no scale of reflectance in it"
        )
    properties = content["properties"]
    own = str(content.get("id", "")).upper()
    if not own.startswith(product):
        raise _MetadataError(f"{what} must be the item of {product}, got that of {shown(own)}")
    numbers = [str(number) for number in range(1, 8)]
    return Facts(
        product=product,
        level=2,
        satellite=int(product[2:4]),
        sensor={"C": "OLI_TIRS", "O": "OLI", "E": "ETM", "T": "TM"}.get(product[1], product[:2]),
        when=_time_of(str(properties.get("datetime", "")), what),
        files={
            **{number: f"{product}_SR_B{number}.TIF" for number in numbers},
            "QA_PIXEL": f"{product}_QA_PIXEL.TIF",
        },
        rescaling=dict.fromkeys(numbers, (SURFACE_SCALE, SURFACE_OFFSET)),
        cloud_cover=_percentage(_stac_number(properties, "eo:cloud_cover", what)),
        sun_elevation=_stac_number(properties, "sun_elevation", what),
        sun_azimuth=_stac_number(properties, "sun_azimuth", what),
        path_row=(int(product[10:13]), int(product[13:16])),
    )


def _stac_number(properties: Mapping[str, Any], key: str, what: str) -> float | None:
    """Return a number of a STAC item; angles of the sun had the prefix eo before STAC 1.0."""
    for name in (key, f"view:{key}", f"eo:{key}"):
        if properties.get(name) is not None:
            return number_in(properties[name], f"{name} in {what}", _MetadataError)
    return None


def _level_of(product: str) -> int:
    return int(product[6])


def _satellite_of(name: str, what: str) -> int:
    found = re.fullmatch(r"LANDSAT_(\d)", name)
    if not found:
        raise _MetadataError(f"SPACECRAFT_ID in {what} must be LANDSAT_4 to 9, got {name!r}")
    return int(found[1])


def _percentage(value: float | None) -> float | None:
    """Return a percentage, or None for -1, which stands for one that was not computed."""
    return None if value is None or value < 0 else value


def _time_of(text: str, what: str) -> datetime:
    """Return a time in UTC."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise _MetadataError(f"the time in {what} must be in ISO 8601, got {text!r}") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
