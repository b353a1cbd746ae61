"""Label maps as polygons."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_bool
from cookbook_utils.areas import pixel_area_km2
from cookbook_utils.export._blocks import LabelMap, as_label_map
from cookbook_utils.export._classes import LabelClass, classes_of, names_and_colors
from cookbook_utils.export._install import checked_path, installing, need
from cookbook_utils.export._regions import Region, regions
from cookbook_utils.export._stac import Content, period_of, write_item
from cookbook_utils.export._tables import MEDIA_TYPES, ROWS, WRITERS

SUFFIXES = (".gpkg", ".parquet", ".geoparquet")
COLUMNS = {"class": "string", "label": "int32", "area_km2": "float64"}


def write_polygons(
    path: str | os.PathLike[str],
    labels: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    time: Any = None,
    dissolve: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the regions of a label map as polygons to a GeoPackage or a GeoParquet file.

    Use it for maps whose regions are measured or edited in a GIS. A region is a set of pixels of
    one label that are connected by their sides, and its outline follows the pixels. Regions are
    found strip by strip, so that maps of any size fit in memory if each of their regions does.
    Beside the file is ``<name>.json``, a STAC item.

    A map of noisy clusters has a region for about every twenty pixels. A million regions take a
    minute of computing, and 400 MB of GeoPackage or 40 MB of GeoParquet. `rasterio.features.sieve`
    removes small ones from the map first, within seconds.

    Parameters
    ----------
    path : str or os.PathLike
        The file, which ends in ``.gpkg``, ``.parquet`` or ``.geoparquet``.
    labels : xarray.DataArray
        As for `write_label_map`.
    names : mapping of int to str, optional
        As for `write_label_map`.
    time : date, str or pair of these, optional
        As for `write_label_map`.
    dissolve : bool, default False
        Whether to write one multipolygon for each class instead of its regions. All polygons must
        then fit in memory: about a kilobyte for each region.
    overwrite : bool, default False
        Whether to replace the file if it exists.

    Returns
    -------
    pathlib.Path
        The file, with the columns ``class`` (name), ``label`` and ``area_km2``, the sum of the
        areas of the pixels by `pixel_area_km2`, in the CRS of `labels`.

    Raises
    ------
    TypeError
        As for `write_label_map`.
    ValueError
        As for `write_label_map`, or if the area of pixels is not defined.
    FileExistsError
        If the file exists, unless `overwrite` is true.
    ImportError
        If a package for the format is not installed.
    OSError
        If the file cannot be written. A file that was there is unchanged.

    Warns
    -----
    UserWarning
        If there is no STAC item, since the time is unknown.

    Examples
    --------
    >>> import tempfile, rioxarray, geopandas
    >>> labels = xr.DataArray(
    ...     np.uint8([[0, 1], [1, 1]]), coords={"y": [1500.0, 500.0], "x": [500.0, 1500.0]},
    ...     dims=("y", "x"), attrs={"flag_values": [0, 1], "flag_meanings": "land water"},
    ... ).rio.write_crs("EPSG:32611")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_polygons(f"{folder}/water.gpkg", labels, time="2017-10-22")
    ...     table = geopandas.read_file(path)
    >>> table[["class", "label", "area_km2"]].values.tolist()
    [['land', 0, 1.0], ['water', 1, 3.0]]
    """
    path = checked_path(path, SUFFIXES, overwrite)
    dissolve = require_bool(dissolve, "dissolve")
    given = as_label_map(labels)
    areas = pixel_area_km2(given.labels)
    names, colors = names_and_colors(given.labels, names)
    period = period_of(labels, time)
    need("shapely")
    found: dict[int, LabelClass] = {}
    with installing(path, overwrite) as target:
        kind = "MultiPolygon" if dissolve else "Polygon"
        stream = _dissolved(regions(given, areas)) if dissolve else regions(given, areas)
        with WRITERS[path.suffix.lower()](target, given.crs, kind, COLUMNS) as writer:
            while batch := list(islice(stream, ROWS)):
                for label in {region.label for region in batch} - set(found):
                    one = classes_of([label], names, colors, given.nodata)
                    found |= {each.number: each for each in one}
                _write(writer, batch, found, given, dissolve)
        classes = sorted(found.values())
        title = str(given.labels.attrs.get("long_name") or given.labels.name or path.stem)
        media_type = MEDIA_TYPES[path.suffix.lower()]
        content = Content(media_type, title, given.crs, given.bounds, period, classes)
        write_item(target, content)
    return path


def _write(
    writer: Any,
    batch: list[Region],
    classes: dict[int, LabelClass],
    given: LabelMap,
    dissolve: bool,
) -> None:
    """Write regions with their outlines in the CRS of the map."""
    import shapely

    a, _, c, _, e, f, *_ = given.transform
    pick = shapely.MultiPolygon if dissolve else (lambda polygons: polygons[0])
    outlines = np.array([pick(region.polygons) for region in batch], object)
    outlines = shapely.transform(outlines, lambda pixels: pixels * [a, e] + [c, f])
    columns = {
        "class": [classes[r.label].name or classes[r.label].title for r in batch],
        "label": np.array([region.label for region in batch], np.int32),
        "area_km2": [region.area for region in batch],
    }
    writer.write(pd.DataFrame(columns), outlines)


def _dissolved(stream: Iterator[Region]) -> Iterator[Region]:
    """Yield one region of all polygons for each label, in ascending order."""
    merged: dict[int, Region] = {}
    for region in stream:
        before = merged.setdefault(region.label, Region([], region.label, 0.0))
        before.polygons.extend(region.polygons)
        merged[region.label] = before._replace(area=before.area + region.area)
    for label in sorted(merged):
        yield merged[label]
