"""Find STAC items: objects, JSON documents, static catalogs, and deliveries of archives."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cookbook_utils._checks import needs, shown
from cookbook_utils.datasets._access import (
    as_address,
    is_json,
    is_remote,
    read_document,
    without_secrets,
)

MAX_ITEMS = 10_000
"""Largest number of items that a static catalog may lead to."""


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
    if address.startswith(("http://", "https://")) and not _FILE.search(bare):
        return _of_date(_read_json(address, options)) if is_json(address) else None
    if is_remote(address) or not os.path.exists(address):
        return None
    if os.path.isdir(address):
        documents = [os.path.join(address, name) for name in ("catalog.json", "collection.json")]
        if found := next(filter(os.path.isfile, documents), None):
            return _of_date(_read_json(found, options))
    if deliveries := _deliveries(address):
        return _of_date([item_of(path, bands=bands) for item_of, path in deliveries])
    return None


def _deliveries(path: str) -> list[tuple[Callable[..., Any], str]]:
    """Return the deliveries of Landsat and Sentinel-2 that a path is, or that a folder holds."""
    if found := _delivery(path):
        return found
    if os.path.isdir(path):
        inside = (os.path.join(path, name) for name in sorted(os.listdir(path)))
        likely = (name for name in inside if os.path.isdir(name) or _is_archive(name))
        if found := [one for name in likely for one in _delivery(name)]:
            return found
    elif not _is_archive(path):
        return []
    from cookbook_utils.datasets._landsat import is_landsat, landsat_item
    from cookbook_utils.datasets._sentinel2 import is_sentinel2, sentinel2_item

    if is_landsat(path):
        return [(landsat_item, path)]
    return [(sentinel2_item, path)] if is_sentinel2(path) else []


def _delivery(path: str) -> list[tuple[Callable[..., Any], str]]:
    """Return the deliveries whose metadata lie at a path itself, not below it."""
    names = _names_in(path)
    if any(os.path.basename(name).startswith("MTD_MSI") for name in names):
        from cookbook_utils.datasets._sentinel2 import sentinel2_item

        return [(sentinel2_item, path)]
    metadata = sorted(name for name in names if re.search(r"_MTL\.(txt|xml|json)$", name))
    products = {re.sub(r"_MTL\.\w+$", "", name): name for name in metadata}
    if not products:
        return []
    from cookbook_utils.datasets._landsat import landsat_item

    if len(products) == 1 or not os.path.isdir(path):
        return [(landsat_item, path)]
    return [(landsat_item, os.path.join(path, name)) for name in products.values()]


def _is_archive(path: str) -> bool:
    return path.lower().endswith((".tar", ".tar.gz", ".tgz", ".zip"))


def _names_in(path: str) -> list[str]:
    """Return names of the files in a folder, or in an archive, of which few are read."""
    import tarfile
    import zipfile

    lower = path.lower()
    try:
        if os.path.isdir(path):
            return os.listdir(path)
        if lower.endswith((".tar", ".tar.gz", ".tgz")):
            with tarfile.open(path) as archive:
                return archive.getnames()
        if lower.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                return archive.namelist()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:200]
        raise OSError(f"{path} must be a complete archive, got a damaged one ({reason})") from None
    return [os.path.basename(path)]


def archived_raster(path: str) -> str:
    """Return the only raster in a zip or tar as GDAL names it, or another path as it is."""
    if is_remote(path) or not _is_archive(path) or not os.path.isfile(path):
        if os.path.isdir(path):
            raise ValueError(
                f"source must be a file, or a folder with a delivery of Landsat Collection 2 or "
                f"Sentinel-2 or with the catalog.json of a static catalog, got the folder {path}"
            )
        return path
    rasters = [name for name in _names_in(path) if re.search(r"\.(tiff?|jp2|img)$", name, re.I)]
    if len(rasters) != 1:
        raise ValueError(
            f"{path} must have one raster, or a delivery of Landsat or Sentinel-2, got "
            f"{len(rasters)} rasters: extract it"
        )
    kind = "zip" if path.lower().endswith(".zip") else "tar"
    return f"/vsi{kind}/{{{os.path.abspath(path)}}}/{rasters[0]}"


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
            return [_item(document, address)]
        if kind == "FeatureCollection":
            found = (_item(feature, address) for feature in document.get("features", []))
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


def _item(document: dict[str, Any], address: str) -> Any:
    import pystac

    item = pystac.Item.from_dict(document, href=None, preserve_dict=True)
    own = item.get_self_href()
    if own is None or (not is_remote(address) and "://" not in own):
        item.set_self_href(address if "://" in address else os.path.abspath(address))
    return item


def _stac_io(options: Mapping[str, Any]) -> Any:
    """Return the reader of the documents of a catalog, which retries and names errors."""
    import pystac

    class Documents(pystac.stac_io.DefaultStacIO):
        def read_text_from_href(self, href: str) -> str:
            return read_document(href, options)

    return Documents()
