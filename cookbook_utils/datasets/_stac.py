"""Describe STAC items as the bands of a scene: those of archives, catalogs and searches."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cookbook_utils._checks import shown
from cookbook_utils.datasets._access import as_address, without_secrets
from cookbook_utils.datasets._bands import (
    OTHER,
    QUALITY,
    RED_EDGE,
    REFLECTIVE,
    SENTINEL_2,
    BandSource,
    SceneSource,
    band_name,
    in_order,
)
from cookbook_utils.datasets._headers import Header, read_header
from cookbook_utils.datasets._landsat_metadata import SURFACE_OFFSET, SURFACE_SCALE
from cookbook_utils.datasets._rasters import choose_bands
from cookbook_utils.datasets._scale import LARGEST_SCALE, Given, as_time
from cookbook_utils.datasets._sentinel2_metadata import (
    QUANTIFICATION,
    baseline_of_item,
    has_offset_applied,
    is_of_sentinel2,
    offset_of,
)

_NOT_DATA = {"thumbnail", "overview", "visual", "metadata"}
"""Roles of assets that are no measurements."""

_LANDSAT = re.compile(r"L[A-Z]\d\d_L2S[PR]_\d{6}_\d{8}_(\d{8}_)?02_")
"""Items of Landsat Collection 2, Level 2; those of the U.S. Geological Survey state no scale."""

_LEVELS = ("s2:product_type", "product:type", "processing:level")
_LEVEL_1 = re.compile(r"(?<![a-hj-z])L1[A-Z]{0,2}(?![A-Z0-9])|S2MSI1C|level-?1", re.IGNORECASE)
"""Properties that state the level of a product, and how archives write the first."""

_RADIANCE = re.compile(r"W.*(sr|steradian)", re.IGNORECASE)
"""Units of radiance."""

_RASTER = re.compile(r"\.(tiff?|jp2|img|vrt)$", re.IGNORECASE)


class _Candidate(NamedTuple):
    """A band of an asset that may be loaded under a name."""

    name: str
    key: str
    asset: Any
    index: int
    facts: dict[str, Any]
    preference: tuple[Any, ...]


def item_scene(item: Any, bands: Any, given: Given, options: Mapping[str, Any]) -> SceneSource:
    """Return the bands of one item, and its quality band.

    What an item does not say of a band, the header of its file does.

    Parameters
    ----------
    item : pystac.Item
        The item.
    bands : sequence of str or None
        Names of the bands; by default all bands of reflectance but pan, cirrus and water vapor.
    given : Given
        Scale, offset and nodata value in place of those of the item.
    options : mapping
        Options of S3.

    Returns
    -------
    SceneSource
        The scene, which `load_scenes` loads.

    Raises
    ------
    ValueError
        If the item lacks a band, a date or a scale, or its rasters are no scene.
    OSError
        If a file cannot be read.
    """
    candidates = _candidates(item)
    by_name: dict[str, _Candidate] = {}
    for candidate in sorted(candidates, key=lambda one: one.preference):
        by_name.setdefault(candidate.name, candidate)
    if near := _near_infrared(item, by_name):
        by_name = {"nir" if name == near else name: one for name, one in by_name.items()}
        bands = ["nir" if name == near else name for name in bands] if bands else bands
    known = in_order(name for name in by_name if name in REFLECTIVE or name in OTHER)
    if bands is None:
        names = [name for name in known if name in REFLECTIVE]
    else:
        names = choose_bands(bands, known or ["none"], f"the item {item.id}")
    if not names:
        raise ValueError(
            f"the item {item.id} must have assets of reflectance with common names such as 'red', "
            f"got {', '.join(list(item.assets)[:12]) or 'none'}: open its files as a mapping of "
            "band names to addresses, with date, scale and offset"
        )
    given.check(names)
    headers: dict[str, Header] = {}
    sources = {name: _source(item, name, by_name[name], given, options, headers) for name in names}
    quality = next((by_name[name] for name in by_name if name in QUALITY), None)
    if quality is not None:
        kind = QUALITY[quality.name]
        quality = _source(item, quality.name, quality, None, options, headers)
    return SceneSource(
        item.id,
        as_time(_date_of(item), f"the date of the item {item.id}"),
        sources,
        quality,
        kind if quality is not None else None,
        _needs_signature(item),
        attrs=_attrs(item),
    )


def _near_infrared(item: Any, found: Mapping[str, _Candidate]) -> str | None:
    """Return the band that is `nir` here where an item has none of that name, or None.

    It is the first one beyond the red edge: nir08 of Landsat 8 and 9, but nir09 of MSS, whose nir08
    lies on the edge. Sentinel-2 has a `nir`, for which B8A does not stand in where it is absent.
    """
    if "nir" in found or _is_sentinel2(item):
        return None
    names = (name for name in ("nir08", "nir09") if name in found)
    beyond = (name for name in names if not found[name].facts["center_wavelength"] < RED_EDGE)
    return next(beyond, None)


def _attrs(item: Any) -> dict[str, Any]:
    """Return attributes of a scene: its quantity, and its sensor where the item names it."""
    quantity = item.properties.get("quantity")
    if quantity is None:
        facts = (item.collection_id, item.id, *map(item.properties.get, _LEVELS))
        level_1 = any(_LEVEL_1.search(str(fact)) for fact in facts)
        quantity = f"{'top-of-atmosphere' if level_1 else 'surface'} reflectance"
    attrs = {"long_name": quantity, "quantity": quantity}
    if sensor := item.properties.get("sensor") or item.properties.get("platform"):
        attrs["sensor"] = str(sensor)
    return attrs


def _date_of(item: Any) -> Any:
    date = item.datetime or item.common_metadata.start_datetime
    if date is None:
        raise ValueError(f"the item {item.id} must have a datetime, got none")
    return date


def _needs_signature(item: Any) -> bool:
    """Return whether the item is one of Planetary Computer, whose files need a signature."""
    links = " ".join(str(link.target) for link in item.links if isinstance(link.target, str))
    return "planetarycomputer.microsoft.com" in links and any(
        ".blob.core.windows.net/" in asset.href and "sig=" not in asset.href
        for asset in item.assets.values()
    )


# -- the bands of an item -------------------------------------------------------------------------


def _candidates(item: Any) -> Iterator[_Candidate]:
    """Yield every band of every raster of an item that has a name of reflectance or quality."""
    for key, asset in item.assets.items():
        kind = (asset.media_type or "").lower()
        if set(asset.roles or []) & _NOT_DATA - {"metadata"} or key in ("visual", "preview"):
            continue
        if not (kind.startswith("image/") or _RASTER.search(without_secrets(asset.href))):
            continue
        place = f"the asset {key} of the item {item.id}"
        described = _described(item, asset, place) or [{}]
        raster = _objects(asset.extra_fields, "raster:bands", place)
        for index, band in enumerate(described):
            facts = {
                **{fact: asset.extra_fields.get(fact) for fact in _FACTS},
                **{fact: asset.extra_fields.get(f"raster:{fact}") for fact in ("scale", "offset")
                   if asset.extra_fields.get(f"raster:{fact}") is not None},
                **(raster[index] if index < len(raster) else {}),
                **{name.removeprefix("raster:").removeprefix("eo:"): value
                   for name, value in band.items()},
            }  # fmt: skip
            wavelength = _number(facts.get("center_wavelength"), f"center_wavelength of {place}")
            facts["center_wavelength"] = wavelength or np.nan
            if name := _name_of(item, key, facts, single=len(described) == 1):
                for fact in ("scale", "offset", "nodata"):
                    facts[fact] = _number(facts.get(fact), f"{fact} of {place}")
                step = _step(item, asset, facts, place)
                preference = (len(described), kind == "image/jp2" or "jp2" in key, step, key)
                yield _Candidate(name, key, asset, index + 1, facts, preference)


def _described(item: Any, asset: Any, place: str) -> list[dict[str, Any]]:
    """Return what an item says of each band of an asset; before STAC 1.0, by numbers."""
    numbers = asset.extra_fields.get("eo:bands")
    if isinstance(numbers, list) and numbers and all(isinstance(number, int) for number in numbers):
        listed = _objects(item.properties, "eo:bands", f"the item {item.id}")
        return [listed[number] for number in numbers if number < len(listed)]
    return _objects(asset.extra_fields, "bands", place) or _objects(
        asset.extra_fields, "eo:bands", place
    )


def _objects(fields: Mapping[str, Any], name: str, place: str) -> list[dict[str, Any]]:
    """Return a field that is a list of objects, empty if it is absent."""
    found = fields.get(name) or []
    if not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
        raise ValueError(f"{name} of {place} must be a list of objects, got {shown(found)}")
    return found


_FACTS = ("scale", "offset", "nodata", "data_type", "unit")


def _name_of(item: Any, key: str, facts: Mapping[str, Any], *, single: bool) -> str | None:
    """Return the name of a band in this package, or None if it has none here."""
    plain = re.sub(r"_(10|20|60)m$", "", key.lower().split(".")[0])
    if single and plain in QUALITY:
        return plain
    own = str(facts.get("name") or key)
    named = [(facts.get("common_name"), own), (plain if single else own, key)]
    if _is_sentinel2(item):  # archives leave common names to the collection
        named += [(SENTINEL_2.get(number.upper()), own) for number in (own, plain)]
    for common, asked in named:
        if common:
            name = band_name(str(common), asked, facts["center_wavelength"])
            if name in REFLECTIVE or name in OTHER:
                return name
    return None


def _step(item: Any, asset: Any, facts: Mapping[str, Any], place: str) -> float:
    """Return the size of the pixels as far as the item gives it, to prefer the finest."""
    transform = asset.extra_fields.get("proj:transform")
    found = (
        transform[0] if isinstance(transform, list) and transform
        else asset.extra_fields.get("gsd") or facts.get("spatial_resolution")
        or item.properties.get("gsd")
    )  # fmt: skip
    return abs(_number(found or np.inf, f"the pixel size of {place}"))


def _source(
    item: Any,
    name: str,
    candidate: _Candidate,
    given: Given | None,
    options: Mapping[str, Any],
    headers: dict[str, Header],
) -> BandSource:
    """Return one band, completed from the header of its file where the item says too little."""
    address = _address(item, candidate.asset)
    facts = candidate.facts
    if given is not None and given.of("scale", name) is None:
        _require_no_radiance(item, name, facts)
    scale, offset, nodata = (facts[fact] for fact in ("scale", "offset", "nodata"))
    scale, offset, nodata = _of_collection(item, scale, offset, nodata)
    if given is not None and scale is None and _LANDSAT.match(item.id):
        scale, offset, nodata = SURFACE_SCALE, SURFACE_OFFSET, 0.0
    geobox = _geobox(item, candidate.asset)
    dtype = facts.get("data_type")
    if geobox is None or not (given is None or _is_scaled(given.of("scale", name), scale, dtype)):
        if address not in headers:
            signed = _signed(address) if _needs_signature(item) else address
            headers[address] = read_header(signed, options)
        header = headers[address]
        if candidate.index not in header.numbers:
            raise ValueError(
                f"{without_secrets(address)} must have a band {candidate.index}, got "
                f"{len(header.numbers)}"
            )
        k = header.numbers.index(candidate.index)
        geobox, dtype = header.geobox, header.dtypes[k]
        if scale is None and (header.scales[k], header.offsets[k]) != (1, 0):
            scale, offset = header.scales[k], header.offsets[k]
    if given is None:
        return BandSource(address, candidate.index, geobox, nodata)
    nodata = nodata if given.of("nodata", name) is None else given.of("nodata", name)
    factors = given.decide(name, dtype or "uint16", (scale, offset), without_secrets(address))
    return BandSource(
        address, candidate.index, geobox, nodata, *factors, facts["center_wavelength"]
    )


def _is_scaled(given: float | None, stated: float | None, dtype: str | None) -> bool:
    """Return whether the scale of a band is known, so that its file need not be asked for more."""
    scale = stated if given is None else given
    return scale is not None and (dtype is not None or scale <= LARGEST_SCALE)


def _require_no_radiance(item: Any, name: str, facts: Mapping[str, Any]) -> None:
    """Refuse a stated scale that leads to radiance; that of Level 1 is often plausible."""
    unit = str(facts.get("unit"))
    if facts["scale"] is not None and _RADIANCE.search(unit):
        raise ValueError(
            f"scale and offset to reflectance must be given, because the item {item.id} states "
            f"those to radiance for the band {name}, in {unit}; of Landsat, open the ..._MTL.txt, "
            "which has them"
        )


def _signed(address: str) -> str:
    from cookbook_utils.datasets._driver import sign

    return sign(address)


def _address(item: Any, asset: Any) -> str:
    href = asset.href
    here = os.path.isabs(href) and os.path.exists(href)  # in an item of a web server, too
    if not here and not href.startswith("/vsi") and "://" not in href:
        href = asset.get_absolute_href() or href
    return as_address(href)


def _number(value: Any, what: str) -> float | None:
    """Return a number of an item, which writes NaN and infinity as text, or None for none."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be a number, got {shown(value)}") from None


def _is_sentinel2(item: Any) -> bool:
    return is_of_sentinel2(item.id, item.collection_id, item.properties)


def _of_collection(
    item: Any, scale: float | None, offset: float | None, nodata: float | None
) -> tuple[float | None, float | None, float | None]:
    """Correct what collections leave out: Sentinel-2's offset since baseline 04.00."""
    if not _is_sentinel2(item):
        return scale, offset, nodata
    if has_offset_applied(item.properties):
        offset = 0.0
    if scale is None and (baseline := baseline_of_item(item.id, item.properties)):
        scale, nodata = 1 / QUANTIFICATION, 0.0 if nodata is None else nodata
        offset = offset_of(baseline) / QUANTIFICATION if offset is None else offset
    return scale, offset, nodata


def _geobox(item: Any, asset: Any) -> Any:
    """Return the grid that the projection extension gives an asset, or None if that cannot be."""
    from odc.geo import CRS
    from odc.geo.geobox import GeoBox
    from rasterio.transform import Affine

    def fact(name: str) -> Any:
        found = asset.extra_fields.get(f"proj:{name}")
        return item.properties.get(f"proj:{name}") if found is None else found

    shape, transform = fact("shape"), fact("transform")
    code = fact("code") or fact("epsg") or fact("wkt2") or fact("projjson")
    if not (shape and transform and code):
        return None
    try:
        if isinstance(code, dict):
            code = json.dumps(code)
        elif isinstance(code, int):
            code = f"EPSG:{code}"
        height, width = (int(side) for side in shape)
        affine = Affine(*map(float, transform[:6]))
        grid = GeoBox((height, width), affine, CRS(code))
        upright = affine.a > 0 and affine.e and not (affine.b or affine.d)
        return grid if upright and _is_near(grid, _box_of(item)) else None
    except Exception as error:  # pyproj, TypeError, ValueError: the header of the file will tell
        del error
        return None


def _box_of(item: Any) -> tuple[float, ...] | None:
    """Return west, south, east and north of an item, or None if it does not say where it is."""
    if item.bbox:
        half = len(item.bbox) // 2  # 3 with heights
        return (*item.bbox[:2], *item.bbox[half : half + 2])
    if item.geometry is None:
        return None
    from shapely.geometry import shape

    return shape(item.geometry).bounds


@functools.lru_cache(maxsize=4096)
def _is_near(grid: Any, box: tuple[float, ...] | None) -> bool:
    """Return whether a grid lies where its item does: some items state the code of another CRS."""
    from odc.geo import CRS

    if box is None:
        return True
    west, south, east, north = box
    along = np.linspace(0, 1, 5)
    longitude = west + along * ((east - west) % 360 or 360)  # also across the antimeridian
    points = np.meshgrid(longitude, south + along * (north - south))
    x, y = CRS("EPSG:4326").transformer_to_crs(grid.crs)(*points)
    for positions, size in zip(~grid.affine * (x, y), grid.shape[::-1], strict=True):
        found = positions[np.isfinite(positions)]
        if not (found.size and found.min() < 2 * size and found.max() > -size):
            return False
    return True
