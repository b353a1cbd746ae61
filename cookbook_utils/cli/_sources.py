"""Open the scenes that a command line names, with their clouds masked."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import xarray as xr

from cookbook_utils.cli._maps import CHUNKS
from cookbook_utils.cli._results import describe_source

MASKED = ("cloud", "cloud_shadow", "snow", "fill")
GDAL_CACHE = "128"  # MB; by default, GDAL takes 5 % of the memory of the machine
ENDINGS = (".gz", ".tar", ".zip", ".safe", ".tif", ".tiff", ".json", ".nc", ".zarr")
RASTER = re.compile(r"\.(tiff?|jp2|img|vrt|nc)")  # endings of the rasters of a folder


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
    """Bound the memory in which GDAL keeps blocks for later use, unless the user has.

    It must be called before GDAL reads the first block. What the C library keeps of freed arrays is
    left to it: less than 100 MB, which save most of the time that the system takes to clear pages.
    """
    os.environ.setdefault("GDAL_CACHEMAX", GDAL_CACHE)


def describe(options: argparse.Namespace) -> dict[str, Any]:
    """Return what determines the pixels of the scenes, for the record of the run."""
    names = ("bbox", "bands", "date", "scale", "offset", "nodata", "mask", "margin")
    names += ("search", "collection", "period", "cloud_cover", "limit")
    found = {name: getattr(options, name, None) for name in names}
    sources = [describe_source(source, without=options.out) for source in options.sources]
    return {"sources": sources, **found}


def check_pixels(options: argparse.Namespace) -> None:
    """Raise TypeError or ValueError if an argument is wrong for any scene, before one is opened."""
    from cookbook_utils.datasets._loading import require_bbox
    from cookbook_utils.datasets._rasters import require_names
    from cookbook_utils.datasets._scale import Given, as_time

    _check_mask(options)
    if options.bbox is not None:
        require_bbox(options.bbox)
    if options.bands is not None:
        require_names(options.bands, "--bands")
    for date in options.date or ():
        as_time(date, "--date")
    Given(options.scale, options.offset, options.nodata).check(())


def search_terms(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `search_scenes`, or raise ValueError if one is absent or wrong."""
    from cookbook_utils import datasets
    from cookbook_utils.datasets.searching import check_terms

    if options.date:
        raise ValueError("--date must be left out with --search, which finds the dates")
    if not options.bbox or not options.period:
        raise ValueError("--search needs --bbox and --period")
    url, collection = options.search, options.collection
    if "://" not in url:
        catalog = datasets.open_catalog()
        archives = {name: catalog[name].kwargs for name in catalog if "url" in catalog[name].kwargs}
        if url not in archives:
            raise ValueError(f"--search must be one of {', '.join(archives)} or a URL, got {url!r}")
        url, collection = archives[url]["url"], collection or archives[url]["collection"]
    if not collection:
        raise ValueError("--search needs --collection for a URL")
    terms = {
        "url": url,
        "collection": collection,
        "bbox": options.bbox,
        "dates": options.period,
        "max_cloud_cover": options.cloud_cover,
        "limit": options.limit,
    }
    check_terms(**terms)
    return terms


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
    found = [one for source in sources for one in _scenes_in(source, options)]
    dates = options.date or [None]
    if len(dates) == 1:
        dates = dates * len(found)
    if len(dates) != len(found):
        raise ValueError(
            f"--date must have one date, or one for each of {len(found)} scenes, got {len(dates)}"
        )
    scenes: dict[str, xr.DataArray] = {}
    for (name, source), date in zip(found, dates, strict=True):
        grid: dict[str, Any] = {"bbox": options.bbox}
        if on_first_grid and scenes:
            grid = {"like": next(iter(scenes.values())), "resampling": "bilinear"}
        for day, scene in _open(source, date, options, grid):
            scenes[unique_name(f"{name}{day}", scenes)] = scene
    _warn_of_quantities(scenes)
    return _with_shared_bands(_without_clouds(scenes, options))


def _warn_of_quantities(scenes: Mapping[str, xr.DataArray]) -> None:
    """Warn if some scenes are corrected for the atmosphere and others are not."""
    quantities = {name: scene.attrs.get("quantity") for name, scene in scenes.items()}
    known = {quantity: name for name, quantity in quantities.items() if quantity}
    if len(known) > 1:
        listed = ", ".join(f"{name} is {quantity}" for quantity, name in known.items())
        warnings.warn(
            f"scenes of different processing share no clusters: {listed}; use one level of all",
            stacklevel=2,
        )


def _check_mask(options: argparse.Namespace) -> None:
    """Raise ValueError if the classes of ``--mask`` or the margin are wrong for any scene."""
    from cookbook_utils.clouds import LANDSAT_BITS, SENTINEL_2_CLASSES

    known = {**LANDSAT_BITS, **SENTINEL_2_CLASSES}
    if wrong := [name for name in options.mask if name not in known]:
        raise ValueError(f"--mask must have classes among {', '.join(known)}, got {wrong[0]!r}")
    if options.margin < 0:
        raise ValueError(f"--margin must be at least 0, got {options.margin}")


def _scenes_in(source: Any, options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield the name and the source of each scene that a source has: items, or rasters."""
    from cookbook_utils.datasets._access import as_address
    from cookbook_utils.datasets._delivery import METADATA
    from cookbook_utils.datasets._items import find_items

    address = as_address(source) if isinstance(source, str) else source
    items = find_items(address, {}, options.bands) or []
    if len(items) > 1:
        yield from ((name_of(item), item) for item in items)
    elif not items and isinstance(address, str) and os.path.isdir(address):
        yield from _rasters_in(Path(address))
    else:
        name = name_of(source)
        if items and METADATA.fullmatch(name):
            name = name_of(items[0])
        yield name, items[0] if items else address


def _rasters_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the path of each raster in a folder, or raise ValueError."""
    import rasterio

    from cookbook_utils.datasets._cubes import is_cube

    if is_cube(str(folder)):
        yield name_of(str(folder)), str(folder)
        return
    files = sorted(path for path in folder.iterdir() if RASTER.fullmatch(path.suffix.lower()))
    if not files:
        raise ValueError(
            f"SCENE must be a raster, a folder of rasters, a delivery of Landsat Collection 2 or "
            f"Sentinel-2, or a STAC item or catalog, got the folder {folder} without any of these"
        )
    for path in files:
        if len(files) > 1 and path.suffix.lower() != ".nc":
            with rasterio.open(path) as file:
                single = file.count == 1
            if single:
                raise ValueError(
                    f"SCENE must be a folder of rasters that have all bands of a scene, got "
                    f"{path} with one band: `gdalbuildvrt -separate scene.vrt BAND...` makes one "
                    "raster of several"
                )
        yield name_of(str(path)), str(path)


def _open(
    source: Any, date: Any, options: argparse.Namespace, grid: Mapping[str, Any]
) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield the scenes of a source, of which NetCDF and Zarr may have several with dates."""
    from cookbook_utils import datasets
    from cookbook_utils.datasets._cubes import is_cube

    how = {name: getattr(options, name) for name in ("bands", "scale", "offset", "nodata")}
    how |= {**grid, "chunks": CHUNKS}
    if not (isinstance(source, str) and is_cube(source)):
        yield "", datasets.open_scene(source, date=date, **how)
        return
    series = datasets.open_scenes([source], dates=None if date is None else [date], **how)
    for k in range(series.sizes["time"]):
        scene = series.isel(time=k)
        day = scene["time"].dt.strftime("-%Y-%m-%d").item()
        yield day if series.sizes["time"] > 1 else "", scene


def _without_clouds(
    scenes: Mapping[str, xr.DataArray], options: argparse.Namespace
) -> dict[str, xr.DataArray]:
    """Return scenes with the classes of ``--mask`` as nodata, or raise if that is impossible."""
    from cookbook_utils import clouds

    if not options.mask:
        return dict(scenes)
    if plain := [name for name, scene in scenes.items() if "quality" not in scene.coords]:
        text = f"{', '.join(plain[:5])}{', ...' if len(plain) > 5 else ''}"
        if options.mask is not MASKED or options.margin:
            raise ValueError(f"--mask needs a quality band (QA_PIXEL or SCL), got none in {text}")
        print(f"no quality band, so no mask of clouds: {text}", file=sys.stderr)
    return {
        name: scene if name in plain
        else clouds.mask_clouds(scene, classes=options.mask, margin=options.margin)
        for name, scene in scenes.items()
    }  # fmt: skip


def _with_shared_bands(scenes: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Return scenes with the bands that all of them have, in the order of the first one."""
    names = {name: [str(band) for band in scene.band.values] for name, scene in scenes.items()}
    first = next(iter(names.values()))
    shared = [band for band in first if all(band in found for found in names.values())]
    if not shared:
        listed = "; ".join(f"{name} has {', '.join(found)}" for name, found in names.items())
        raise ValueError(f"the scenes must share a band, got none: {listed[:300]}")
    if all(found == shared for found in names.values()):
        return dict(scenes)
    left = sorted({band for found in names.values() for band in found} - set(shared))
    if left:
        print(f"left out, because not all scenes have them: {', '.join(left)}", file=sys.stderr)
    return {name: scene.sel(band=shared) for name, scene in scenes.items()}


def name_of(source: Any) -> str:
    """Return the name of a source for files: the id of an item, or the last part of a path."""
    if hasattr(source, "id"):
        name = source.id
    elif "://" in str(source):
        name = PurePosixPath(urlsplit(str(source)).path).name
    else:
        name = os.path.basename(os.path.abspath(source))
    while name.lower().endswith(ENDINGS):
        name = name.rpartition(".")[0]
    return re.sub(r'[/\\:*?"<>|]', "-", name) or "scene"


def unique_name(name: str, taken: Mapping[str, Any]) -> str:
    """Return `name`, with a number after it if it is taken."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}-{number}"
    return unique
