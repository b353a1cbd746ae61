"""Search archives by place, date and cloud cover."""

from __future__ import annotations

import datetime
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cookbook_utils._checks import needs, require_integer, require_number, shown
from cookbook_utils.datasets._access import TIMEOUT, TRIES, retries, unreachable
from cookbook_utils.datasets._items import read_item
from cookbook_utils.datasets._loading import require_bbox
from cookbook_utils.datasets._scale import as_time

if TYPE_CHECKING:
    import pystac

MAX_ITEMS = 1000
"""Largest number of items that a search may return."""

_CURE = "check the network and the address, and repeat the search"


def search_scenes(
    url: str,
    collection: str,
    *,
    bbox: Sequence[float],
    dates: Any,
    max_cloud_cover: float | None = None,
    query: Mapping[str, Any] | None = None,
    limit: int = 100,
) -> list[pystac.Item]:
    """Search a STAC API for the scenes of a place and a time.

    Requests to a server that is busy or fails are repeated. No pixel is read: pass the items to
    `open_scenes`.

    Parameters
    ----------
    url : str
        Address of the STAC API, such as ``"https://earth-search.aws.element84.com/v1"`` or
        ``"https://planetarycomputer.microsoft.com/api/stac/v1"``.
    collection : str
        Collection to search, such as ``"sentinel-2-l2a"`` or ``"landsat-c2-l2"``.
    bbox : sequence of float
        West, south, east and north in degrees.
    dates : str or sequence of str or datetime
        The first and the last day, such as ``("2025-06-01", "2025-06-30")``; or one day, month or
        year, or an interval, as text of STAC: ``"2025-06"``, ``"2025-06-01/2025-06-30"``.
    max_cloud_cover : float, optional
        Largest cloud cover of a scene in percent, as its property ``eo:cloud_cover`` gives it.
        Scenes without that property are left out.
    query : mapping, optional
        Further conditions of STAC's query extension, such as ``{"platform": {"eq": "landsat-9"}}``.
    limit : int, default 100
        Largest number of items. If there are more, a warning says so, and the latest are returned.

    Returns
    -------
    list of pystac.Item
        The items by increasing date.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is wrong, or no scene is found.
    OSError
        If the server cannot be reached or answers with an error; the message names it, its answer
        and the number of tries.
    ImportError
        If pystac-client is not installed.

    See Also
    --------
    open_scenes : Open the items.

    Examples
    --------
    >>> search_scenes("https://example.org", "sentinel-2-l2a", bbox=(10, 45, 9, 46), dates="2025")
    Traceback (most recent call last):
    ...
    ValueError: bbox must be west, south, east and north in degrees, with west below east and ...
    """
    box, interval, conditions = check_terms(
        url, collection, bbox, dates, query=query, max_cloud_cover=max_cloud_cover, limit=limit
    )
    found = _search(url, limit + 1, collection, box, interval, conditions)
    most = max_cloud_cover
    clear = [item for item in found if most is None or _is_clear(item, most)]
    if not clear:
        clouds = "" if most is None else f", a cloud cover of at most {most:g} %"
        raise ValueError(
            f"bbox, dates and conditions must select at least one scene of {collection} at {url}, "
            f"got none for {box}, {interval}{clouds}"
        )
    if len(clear) > limit:
        warnings.warn(
            f"there are more than {limit} scenes: the {limit} latest were taken; narrow the dates "
            "or raise the limit",
            stacklevel=2,
        )
    return sorted(clear[:limit], key=_moment)


def check_terms(
    url: Any,
    collection: Any,
    bbox: Any,
    dates: Any,
    *,
    query: Any = None,
    max_cloud_cover: Any = None,
    limit: Any,
) -> tuple[tuple[float, ...], str, dict[str, Any]]:
    """Return the box, the interval and the conditions of a search, or raise if one is wrong."""
    for name, value in (("url", url), ("collection", collection)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, got {shown(value)}")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url must be the address of a STAC API, got {shown(url)}")
    box = require_bbox(bbox)
    interval = _interval(dates)
    require_integer(limit, "limit", least=1, most=MAX_ITEMS)
    if query is not None and not isinstance(query, Mapping):
        raise TypeError(f"query must be a mapping, got {shown(query)}")
    conditions = dict(query or {})
    if max_cloud_cover is not None:
        require_number(max_cloud_cover, "max_cloud_cover", least=0, most=100)
        conditions["eo:cloud_cover"] = {"lte": max_cloud_cover}
    return box, interval, conditions


def _search(
    url: str,
    n: int,
    collection: str,
    box: Sequence[float],
    interval: str,
    conditions: Mapping[str, Any],
) -> list[Any]:
    """Return up to `n` items, the latest first where the server can sort."""
    with needs("pystac-client"):
        import pystac_client
        from pystac_client.exceptions import APIError
        from pystac_client.stac_api_io import StacApiIO
        from pystac_client.warnings import DoesNotConformTo

    import pystac
    import requests

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # conformance classes that we do not rely on
            api = pystac_client.Client.open(
                url, stac_io=StacApiIO(max_retries=retries(), timeout=TIMEOUT)
            )
            if api.get_search_link() is not None:  # older servers do not say that they can search
                api.add_conforms_to("ITEM_SEARCH")
            asked = _conditions(api, url, conditions)
            search = api.search(
                collections=[collection], bbox=box, datetime=interval, limit=min(n, 100), **asked
            )
            most = None if asked.get("query") else conditions.get("eo:cloud_cover", {}).get("lte")
            found = search.items_as_dicts()
            items: Iterator[Any] = (read_item(document, url) for document in found)
            if most is not None:
                items = (item for item in items if _is_clear(item, most))
            return list(itertools.islice(items, n))
    except (APIError, requests.RequestException, pystac.errors.STACError) as error:
        raise _failure(url, error) from None
    except (KeyError, AttributeError, TypeError, NotImplementedError, DoesNotConformTo) as error:
        raise OSError(
            f"{url} must be a STAC API that can be searched, got an answer that is none "
            f"({type(error).__name__}: {error})"
        ) from None


def _conditions(api: Any, url: str, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a search that the server understands.

    Without the query extension, the cloud cover is compared here, and others are refused.
    """
    asked: dict[str, Any] = {}
    if conditions and api.conforms_to("QUERY"):
        asked["query"] = conditions
    elif others := [name for name in conditions if name != "eo:cloud_cover"]:
        raise ValueError(
            f"query must be left out, because {url} has no query extension, got {', '.join(others)}"
        )
    if api.conforms_to("SORT"):
        asked["sortby"] = [{"field": "properties.datetime", "direction": "desc"}]
    return asked


def _failure(url: str, error: Exception) -> OSError:
    status = getattr(error, "status_code", None)
    if status is None and (found := re.search(r"too many (\d{3}) error", str(error))):
        status = int(found[1])
    if status:
        return unreachable(url, OSError(f"status {status}"))
    reason = re.sub(r"\s+", " ", str(error))[:200]
    return OSError(f"{url} must answer the search, got in {TRIES} tries: {reason}; {_CURE}")


def _is_clear(item: Any, most: float) -> bool:
    cover = item.properties.get("eo:cloud_cover")
    return isinstance(cover, int | float) and cover <= most


def _moment(item: Any) -> str:
    return str(item.datetime or item.properties.get("start_datetime"))


def _interval(dates: Any) -> str:
    """Return dates as STAC writes an interval."""
    if isinstance(dates, str):
        parts = dates.split("/")
        if len(parts) > 2 or not all(re.match(r"\d{4}(-\d\d){0,2}", part) or part == ".."
                                     for part in parts):  # fmt: skip
            raise ValueError(
                "dates must be a day, month, year or interval such as '2025-06-01/2025-06-30', got "
                f"{shown(dates)}"
            )
        for part in parts:
            if part != "..":
                as_time(part, "dates")
        return dates
    if isinstance(dates, bytes) or not isinstance(dates, Sequence) or len(dates) != 2:
        raise TypeError(f"dates must be the first and the last day, or text, got {shown(dates)}")
    days = []
    for day in dates:
        if not isinstance(day, str | datetime.date):
            raise TypeError(f"dates must be days such as '2025-06-01', got {shown(day)}")
        days.append(as_time(day, "dates"))
    if days[0] > days[1]:
        raise ValueError(f"dates must be the first and the last day, got {shown(tuple(dates))}")
    return "/".join(str(day.astype("M8[D]")) for day in days)
