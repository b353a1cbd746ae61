"""Find STAC items: objects, JSON documents, static catalogs, and deliveries of archives."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from cookbook_utils._checks import needs, shown
from cookbook_utils.datasets._access import (
    as_address,
    is_json,
    is_remote,
    is_web,
    read_document,
    without_secrets,
)
from cookbook_utils.datasets._contents import in_folder, is_folder, list_folder
from cookbook_utils.datasets._delivery import Delivery, base, open_delivery

MAX_ITEMS = 10_000
"""Largest number of items that a static catalog may lead to."""


_DELIVERED = re.compile(r"\.SAFE/?$|/L[A-Z]\d\d_L[12][A-Z]{2}_\d{6}_\d{8}_[^/.]*/?$")
"""The address of a folder as ESA and USGS name it."""

_DOCUMENTS = ("catalog.json", "collection.json")

_FILE = re.compile(r"\.[a-z][a-z0-9]{1,4}$", re.IGNORECASE)
"""The ending of a file; items of an API have addresses without one."""


def find_items(
    source: Any, options: Mapping[str, Any], bands: Sequence[str] | None = None
) -> list[Any] | None:
    """Return the STAC items that a source is or leads to, or None if it is something else.

    Parameters
    ----------
    source : pystac.Item, pystac.ItemCollection, pystac.Catalog, sequence of items, str or path
        Items, a JSON document of STAC (item, item collection, catalog, collection), or a folder,
        archive or ``.SAFE`` as Landsat and Sentinel-2 deliver them.
    options : mapping
        Options of S3.
    bands : sequence of str, optional
        Names of the bands that a delivery must have; by default all.

    Returns
    -------
    list of pystac.Item or None
        The items by date; None for paths of other files.
    """
    with needs("pystac"):
        import pystac

    if isinstance(source, pystac.Item):
        return [source]
    if isinstance(source, pystac.Catalog):
        return _of_date(_require_few(source.get_items(recursive=True), "source"))
    if isinstance(source, pystac.ItemCollection):
        return _of_date(_require_few(iter(source), "source"))
    if isinstance(source, dict) and "type" in source and "stac_version" in source:
        return _of_date(_parse(source, "source", options))
    if isinstance(source, list | tuple) and source:
        inside = [isinstance(one, pystac.Item) for one in source]
        if all(inside):
            return _of_date(list(source))
        if any(inside):
            raise TypeError("source must be STAC items or files, got both in one sequence")
    if isinstance(source, str | os.PathLike):
        return _of_address(as_address(source), options, bands)
    return None


def _of_date(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: str(item.datetime or item.properties))


def _require_few(items: Iterator[Any], place: str) -> list[Any]:
    found = []
    for item in items:
        found.append(item)
        if len(found) > MAX_ITEMS:
            raise ValueError(f"{place} must lead to at most {MAX_ITEMS} items, got more")
    if not found:
        raise ValueError(f"{place} must lead to at least one STAC item, got none")
    return found


def _of_address(
    address: str, options: Mapping[str, Any], bands: Sequence[str] | None
) -> list[Any] | None:
    bare = without_secrets(address)
    if bare.endswith((".json", ".geojson")) and not bare.endswith("_MTL.json"):
        return _of_date(_read_json(address, options))
    if is_web(address) and _is_folder_name(bare):
        if not _DELIVERED.search(bare) and is_json(address):
            return _of_date(_read_json(address, options))
        _refuse_web_folder(bare)
        return None
    if not (is_remote(address) or os.path.exists(address)):
        return None
    if _is_folder(address, options):
        names = list_folder(address, options)
        if found := next((name for name in _DOCUMENTS if name in names), None):
            return _of_date(_read_json(in_folder(address, found), options))
    if deliveries := _deliveries(address, options):
        items = [item_of(place, bands=bands, options=options) for item_of, place in deliveries]
        return _of_date(items)
    return None


def _is_folder_name(bare: str) -> bool:
    """Return whether an address may be that of a folder: it has no ending of a file."""
    safe = bare.lower().endswith(".safe") and base(bare) != "manifest.safe"
    return safe or not _FILE.search(bare)


def _is_folder(address: str, options: Mapping[str, Any]) -> bool:
    remote = is_remote(address)
    return (not remote or _is_folder_name(address)) and is_folder(address, options)


def _refuse_web_folder(bare: str) -> None:
    """Raise ValueError for the address of a folder of a web server."""
    if bare.endswith("/") or _DELIVERED.search(bare):
        raise ValueError(
            f"source must be a file on a web server, which lists no folders, got {bare}: name the "
            "metadata of the delivery in it, such as ..._MTL.txt, MTD_MSIL2A.xml or manifest.safe"
        )


def _deliveries(
    address: str, options: Mapping[str, Any]
) -> list[tuple[Callable[..., Any], str | Delivery]]:
    """Return the deliveries of Landsat and Sentinel-2 that an address is, or a folder holds."""
    archive = open_delivery(address, options) if _is_archive(address) else None
    if found := _delivery(address, options, archive):
        return found
    if _is_folder(address, options):
        inside = (in_folder(address, name) for name in list_folder(address, options))
        likely = (name for name in inside if _is_folder(name, options) or _is_archive(name))
        if found := [one for name in likely for one in _delivery(name, options, None)]:
            return found
    elif archive is None:
        return []
    from cookbook_utils.datasets._landsat import is_landsat, landsat_item
    from cookbook_utils.datasets._sentinel2 import is_sentinel2, sentinel2_item

    place = archive or address
    if is_landsat(place, options):
        return [(landsat_item, place)]
    return [(sentinel2_item, place)] if is_sentinel2(place, options) else []


def _delivery(
    address: str, options: Mapping[str, Any], archive: Delivery | None
) -> list[tuple[Callable[..., Any], str | Delivery]]:
    """Return the deliveries whose metadata lie at an address itself, not below it."""
    if archive is None and _is_archive(address):
        archive = open_delivery(address, options)
    folder = archive is None and _is_folder(address, options)
    if archive is not None:
        names = list(archive.names)
    else:
        bare = without_secrets(address).replace(os.sep, "/")
        names = list_folder(address, options) if folder else [base(bare)]
    place = archive or address
    if any(re.match(r"MTD_MSI|manifest\.safe$", base(name)) for name in names):
        from cookbook_utils.datasets._sentinel2 import sentinel2_item

        return [(sentinel2_item, place)]
    metadata = sorted(name for name in names if re.search(r"_MTL\.(txt|xml|json)$", name))
    products = {re.sub(r"_MTL\.\w+$", "", name): name for name in metadata}
    if not products:
        return []
    from cookbook_utils.datasets._landsat import landsat_item

    if len(products) == 1 or not folder:
        return [(landsat_item, place)]
    return [(landsat_item, in_folder(address, name)) for name in products.values()]


def _is_archive(address: str) -> bool:
    return without_secrets(address).lower().endswith((".tar", ".tar.gz", ".tgz", ".zip"))


def archived_raster(address: str, options: Mapping[str, Any]) -> str:
    """Return the only raster in a zip or tar as GDAL names it, or another address as it is."""
    if _is_folder(address, options):
        raise ValueError(
            f"source must be a file, or a folder with a delivery of Landsat Collection 2 or "
            f"Sentinel-2 or with the catalog.json of a static catalog, got the folder {address}"
        )
    if not _is_archive(address) or not (is_remote(address) or os.path.isfile(address)):
        return address
    archive = open_delivery(address, options)
    rasters = archive.named(r".*\.(tiff?|jp2|img)")
    if len(rasters) != 1:
        raise ValueError(
            f"{archive.path} must have one raster, or a delivery of Landsat or Sentinel-2, got "
            f"{len(rasters)} rasters: extract it"
        )
    return archive.address_of(rasters[0])


# -- documents ----------------------------------------------------------------------------------


def _read_json(address: str, options: Mapping[str, Any]) -> list[Any]:
    place = without_secrets(address)
    try:
        document = json.loads(read_document(address, options))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{place} must be JSON, got another text ({error})") from None
    if not isinstance(document, dict):
        raise ValueError(f"{place} must be a STAC document, got {type(document).__name__}")
    return _parse(document, address, options)


def _parse(document: dict[str, Any], address: str, options: Mapping[str, Any]) -> list[Any]:
    import pystac

    place = without_secrets(address)
    kind = document.get("type")
    try:
        if kind == "Feature":
            return [read_item(document, address)]
        if kind == "FeatureCollection":
            found = (read_item(feature, address) for feature in document.get("features", []))
            return _require_few(found, place)
        if kind in ("Catalog", "Collection"):
            catalog = pystac.read_dict(document, href=address, stac_io=_stac_io(options))
            return _require_few(catalog.get_items(recursive=True), place)
    except pystac.STACTypeError as error:  # no subclass of STACError
        raise _malformed(place, error) from None
    except (KeyError, AttributeError, TypeError, ValueError, pystac.STACError) as error:
        if isinstance(error, ValueError) and " must " in str(error):  # our own
            raise
        raise _malformed(place, error) from None
    raise ValueError(
        f"{place} must be a STAC item, item collection, catalog or collection, got the type "
        f"{shown(kind)}"
    )


def _malformed(place: str, error: Exception) -> ValueError:
    reason = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]
    return ValueError(f"{place} must be a STAC document, got a malformed one ({reason})")


def read_item(document: dict[str, Any], address: str) -> Any:
    """Return the item of a document, without assets that lead nowhere: some archives list them.

    A relative address leads to the file beside a document of this machine, if there is one. Others
    go by the `self` link where it leads to a server, from which the document may be a copy, and
    otherwise by the place of the document.

    Raises
    ------
    ValueError
        If the document is malformed.
    """
    import pystac

    try:
        assets = {key: one for key, one in document.get("assets", {}).items() if "href" in one}
        item = pystac.Item.from_dict({**document, "assets": assets}, href=None, preserve_dict=True)
    except Exception as error:  # of pystac, dateutil and Python, without a common base class
        raise _malformed(without_secrets(address), error) from None
    if not is_remote(item.get_self_href() or ""):
        item.remove_links("self")  # from which pystac would rewrite relative addresses
        item.set_self_href(address if is_remote(address) else os.path.abspath(address))
    if not is_remote(address):
        _find_beside(item, os.path.dirname(os.path.abspath(address)))
    return item


def _find_beside(item: Any, folder: str) -> None:
    """Lead assets to the files that lie beside their document, wherever its `self` link leads."""
    for asset in item.assets.values():
        paths = (os.path.join(folder, name) for name in (asset.href, unquote(asset.href)))
        asset.href = next(filter(os.path.exists, paths), asset.href)


def _stac_io(options: Mapping[str, Any]) -> Any:
    """Return the reader of the documents of a catalog, which retries and names errors."""
    import pystac

    class Documents(pystac.stac_io.DefaultStacIO):
        def read_text_from_href(self, href: str) -> str:
            return read_document(href, options)

        def stac_object_from_dict(self, d: Any, href: Any = None, *args: Any, **kwargs: Any) -> Any:
            if d.get("type") == "Feature":
                return read_item(d, href)
            return super().stac_object_from_dict(d, href, *args, **kwargs)

    return Documents()
