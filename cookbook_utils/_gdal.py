"""The size of GDAL's cache in workers of Dask."""

from __future__ import annotations

import sys

GDAL_CACHE_BYTES = 2**26  # in a worker; by default it is 5 % of the memory of the machine


def gdal_cache() -> dict[str, int]:
    """Return the option of GDAL for a small cache in a worker that is a process of its own, or {}.

    Dask cannot release this memory, and a worker that has too much of it stops for ever. In a pass,
    each block is read once, so that the cache is of little use.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return {}
    try:
        is_own_process = distributed.get_worker().nanny is not None
    except ValueError:  # not in a worker
        return {}
    return {"GDAL_CACHEMAX": GDAL_CACHE_BYTES} if is_own_process else {}
