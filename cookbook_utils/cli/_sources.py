"""Open the scenes that a command line names, with their clouds masked."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import xarray as xr

from cookbook_utils.cli._maps import CHUNKS
from cookbook_utils.cli._results import describe_source

MASKED = ("cloud", "cloud_shadow", "snow", "fill")
GDAL_CACHE = "128"  # MB; by default, GDAL takes 5 % of the memory of the machine
M_MMAP_THRESHOLD = -3  # a constant of malloc.h
ENDINGS = (".gz", ".tar", ".zip", ".safe", ".tif", ".tiff", ".json", ".nc", ".zarr")


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what of the scenes is opened."""
    group = parser.add_argument_group("pixels")
    group.add_argument(
        "--bbox",
        nargs=4,
        type=float,
        metavar=("WEST", "SOUTH", "EAST", "NORTH"),
        help="region in degrees of longitude and latitude; default: whole scenes",
    )
    group.add_argument("--bands", nargs="+", metavar="BAND", help="default: all of reflectance")
    group.add_argument(
        "--date",
        nargs="+",
        metavar="DATE",
        help="date of each SCENE, or of all, if their files do not say",
    )
    group.add_argument(
        "--scale", type=float, help="reflectance = number x scale + offset, if files do not say"
    )
    group.add_argument("--offset", type=float, help="default: 0, if --scale is given")
    group.add_argument("--nodata", type=float, help="value of pixels without data, if undeclared")
    group.add_argument(
        "--mask",
        nargs="*",
        default=MASKED,
        metavar="CLASS",
        help="classes of the quality band that become nodata, if the scene has such a band; none "
        f"if no CLASS follows; default: {' '.join(MASKED)}",
    )
    group.add_argument(
        "--margin", type=int, default=0, metavar="PIXELS", help="mask so much around them, too"
    )


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a search in an archive."""
    group = parser.add_argument_group("search, instead of SCENE; it needs --bbox and --period")
    group.add_argument("--search", metavar="ARCHIVE", help="an archive of the catalog, or a URL")
    group.add_argument("--collection", help="of the archive, if ARCHIVE is a URL")
    group.add_argument("--period", metavar="FROM/TO", help="first and last date")
    group.add_argument("--cloud-cover", type=float, metavar="PERCENT", help="at most so much")
    group.add_argument("--limit", type=int, default=20, help="of scenes; default: %(default)s")


def limit_memory() -> None:
    """Bound the memory that GDAL and the C library keep for later use, unless the user has.

    It must be called before GDAL reads the first block. glibc returns arrays of 1 MB or more to the
    system when they are freed, instead of keeping up to 32 MB each for every thread.
    """
    os.environ.setdefault("GDAL_CACHEMAX", GDAL_CACHE)
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, 1_000_000)


def describe(options: argparse.Namespace) -> dict[str, Any]:
    """Return what determines the pixels of the scenes, for the record of the run."""
    names = ("bbox", "bands", "date", "scale", "offset", "nodata", "mask", "margin")
    names += ("search", "collection", "period", "cloud_cover", "limit")
    found = {name: getattr(options, name, None) for name in names}
    return {"sources": [describe_source(source) for source in options.sources], **found}


def search(options: argparse.Namespace) -> list[Any]:
    """Return the STAC items that a search finds, or raise ValueError if there are none."""
    from cookbook_utils import datasets

    if not options.bbox or not options.period:
        raise ValueError("--search needs --bbox and --period")
    url, collection = options.search, options.collection
    if "://" not in url:
        entry = datasets.open_catalog()[url]
        url, collection = entry.kwargs["url"], collection or entry.kwargs["collection"]
    if not collection:
        raise ValueError("--search needs --collection for a URL")
    items = datasets.search_scenes(
        url,
        collection,
        bbox=options.bbox,
        dates=options.period,
        max_cloud_cover=options.cloud_cover,
        limit=options.limit,
    )
    if not items:
        raise ValueError(
            f"{options.search} has no scene of {collection} from {options.period} in the box"
        )
    return items


def open_sources(
    options: argparse.Namespace, sources: Sequence[Any], *, on_first_grid: bool = False
) -> dict[str, xr.DataArray]:
    """Open scenes lazily, with the classes of ``--mask`` as nodata.

    Parameters
    ----------
    options : argparse.Namespace
        The arguments of `add_source_arguments`.
    sources : sequence
        Files, folders, addresses or STAC items.
    on_first_grid : bool, default False
        Whether all scenes are brought to the grid of the first one, by bilinear interpolation.

    Returns
    -------
    dict of str to xarray.DataArray
        The scenes (band, y, x) of reflectance by their names, in the order of the sources.
    """
    from cookbook_utils import clouds, datasets

    scenes: dict[str, xr.DataArray] = {}
    dates = options.date or [None]
    if len(dates) == 1:
        dates = dates * len(sources)
    if len(dates) != len(sources):
        raise ValueError(
            f"--date must have one date, or one for each of {len(sources)} scenes, got {len(dates)}"
        )
    for source, date in zip(sources, dates, strict=True):
        grid: dict[str, Any] = {"bbox": options.bbox}
        if on_first_grid and scenes:
            grid = {"like": next(iter(scenes.values())), "resampling": "bilinear"}
        scene = datasets.open_scene(
            source,
            **grid,
            bands=options.bands,
            date=date,
            scale=options.scale,
            offset=options.offset,
            nodata=options.nodata,
            chunks=CHUNKS,
        )
        if "quality" in scene.coords and options.mask:
            scene = clouds.mask_clouds(scene, classes=options.mask, margin=options.margin)
        scenes[unique_name(name_of(source), scenes)] = scene
    return scenes


def name_of(source: Any) -> str:
    """Return the name of a source: the id of an item, or the last part of a path."""
    if hasattr(source, "id"):
        return source.id
    name = PurePosixPath(str(source).rstrip("/")).name
    while name.lower().endswith(ENDINGS):
        name = name.rpartition(".")[0]
    return name


def unique_name(name: str, taken: Mapping[str, Any]) -> str:
    """Return `name`, with a number after it if it is taken."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}-{number}"
    return unique
