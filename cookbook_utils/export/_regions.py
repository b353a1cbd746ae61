"""Polygons of the connected regions of a label map, strip by strip, in bounded memory.

A region is written when the strip is reached in which it ends. Until it ends, its parts are kept,
with whole numbers of pixels as coordinates, so that they join exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from cookbook_utils.export._blocks import LabelMap, blocks

STRIP_PIXELS = 2**19
"""Pixels of a strip. A strip of noise has half as many polygons, each of about a kilobyte."""


class Region(NamedTuple):
    """Pixels of one label that are connected by their sides, or a part of them."""

    polygons: list[Any]
    """Polygons of shapely, in columns and rows of pixels; one if the region is complete."""
    label: int
    area: float
    """Sum of the areas of its pixels."""


def regions(given: LabelMap, areas: xr.DataArray) -> Iterator[Region]:
    """Yield the regions of a map, in the order in which they end.

    Parameters
    ----------
    given : LabelMap
        The map.
    areas : xarray.DataArray
        Area of a pixel, 0-D, (y) or (y, x), as `pixel_area_km2` returns it.

    Yields
    ------
    Region
        Regions with one polygon each.
    """
    width = given.labels.shape[1]
    unfinished: dict[int, Region] = {}
    # Numbers and labels of the regions in the last row of the strip before; 0 is none.
    above, above_labels = np.zeros(width, np.int64), np.zeros(width, given.labels.dtype)
    n_numbers = 0
    for top, values in strips(given.labels):
        found, numbers = _regions_of_strip(values, top, given.nodata, areas)
        found = {number + n_numbers: region for number, region in found.items()}
        numbers = np.where(numbers > 0, numbers + n_numbers, 0)
        n_numbers += values.size

        touching = (values[0] == above_labels) & (above > 0) & (numbers[0] > 0)
        pairs = np.unique(np.stack([above[touching], numbers[0][touching]], axis=1), axis=0)
        first = _joined(pairs.tolist())
        merged: dict[int, list[Region]] = {}
        for number, region in (*unfinished.items(), *found.items()):
            merged.setdefault(first.get(number, number), []).append(region)

        occurring, inverse = np.unique(numbers[-1], return_inverse=True)
        above = np.array([first.get(number, number) for number in occurring.tolist()])[inverse]
        above_labels, unfinished, going_on = values[-1], {}, set(above.tolist())
        for number, parts in merged.items():
            region = _merged(parts)
            if number in going_on:
                unfinished[number] = region
            else:
                yield _complete(region)
    yield from map(_complete, unfinished.values())


def strips(labels: xr.DataArray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the values of strips over the whole width of a map."""
    height, width = labels.shape
    rows_of_strip = max(1, STRIP_PIXELS // width)
    band: list[np.ndarray] = []
    for rows, columns, values in blocks(labels):
        band.append(values)
        if columns.stop < width:
            continue
        joined = np.concatenate(band, axis=1)
        band = []
        for start in range(0, len(joined), rows_of_strip):
            yield rows.start + start, joined[start : start + rows_of_strip]


def _regions_of_strip(
    values: np.ndarray, top: int, nodata: int, areas: xr.DataArray
) -> tuple[dict[int, Region], np.ndarray]:
    """Return the regions of a strip by number, counted from 1, and the number of each pixel."""
    from rasterio import Affine
    from rasterio.features import shapes

    valid = values != nodata
    options = {"mask": valid, "connectivity": 4, "transform": Affine.translation(0, top)}
    found = list(shapes(np.ascontiguousarray(values), **options))
    numbers = np.where(valid, _components(values).astype(np.int64) + 1, 0)
    if not found:
        return {}, numbers
    polygons, columns, rows = _polygons([geometry["coordinates"] for geometry, _ in found])
    each = np.broadcast_to(_areas_of_strip(areas, top, len(values)), values.shape)
    sums = np.bincount(numbers.ravel(), each.ravel())
    here = numbers[rows - top, columns].tolist()
    return {
        number: Region([polygon], int(label), float(sums[number]))
        for number, polygon, (_, label) in zip(here, polygons, found, strict=True)
    }, numbers


def _components(values: np.ndarray) -> np.ndarray:
    """Return the number, from 0, of the connected pixels of equal value that a pixel is among."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    at = np.arange(values.size, dtype=np.int32).reshape(values.shape)
    across, down = values[:, 1:] == values[:, :-1], values[1:] == values[:-1]
    one = np.concatenate([at[:, :-1][across], at[:-1][down]])
    two = np.concatenate([at[:, 1:][across], at[1:][down]])
    edges = coo_array((np.ones(one.size, np.uint8), (one, two)), shape=(values.size,) * 2)
    return connected_components(edges, directed=False)[1].reshape(values.shape)


def _polygons(geometries: list[list[list[Any]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return polygons of the coordinates of GeoJSON, and the column and row of a pixel of each."""
    import shapely

    rings = [ring for geometry in geometries for ring in geometry]
    flat = chain.from_iterable(chain.from_iterable(rings))
    coordinates = np.fromiter(flat, np.float64).reshape(-1, 2)
    sizes = np.array([len(ring) for ring in rings])
    of_polygon = np.repeat(np.arange(len(geometries)), [len(rings) for rings in geometries])
    outlines = shapely.linearrings(coordinates, indices=np.repeat(np.arange(len(rings)), sizes))
    polygons = shapely.polygons(outlines, indices=of_polygon)
    broken = ~shapely.is_valid(polygons)  # rings that touch themselves
    polygons[broken] = shapely.make_valid(polygons[broken])
    # The pixel below and to the right of the leftmost of the uppermost vertices is inside.
    of_vertex = np.repeat(of_polygon, sizes)
    starts = np.flatnonzero(np.diff(of_vertex, prepend=-1))
    x, y = coordinates.T
    rows = np.minimum.reduceat(y, starts)
    columns = np.minimum.reduceat(np.where(y == rows[of_vertex], x, np.inf), starts)
    return polygons, columns.astype(np.intp), rows.astype(np.intp)


def _areas_of_strip(areas: xr.DataArray, top: int, height: int) -> np.ndarray:
    """Return the areas of the pixels of a strip, in a shape that broadcasts."""
    if areas.ndim == 0:
        return areas.values
    part = areas.isel(y=slice(top, top + height)).values
    return part if part.ndim == 2 else part[:, np.newaxis]


def _joined(pairs: list[list[int]]) -> dict[int, int]:
    """Return the representative of each number in `pairs`, equal for those that pairs connect."""
    parent: dict[int, int] = {}

    def first(number: int) -> int:
        while parent.setdefault(number, number) != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for one, two in pairs:
        parent[first(one)] = first(two)
    return {number: first(number) for number in list(parent)}


def _merged(parts: list[Region]) -> Region:
    if len(parts) == 1:
        return parts[0]
    polygons = [polygon for part in parts for polygon in part.polygons]
    return Region(polygons, parts[0].label, sum(part.area for part in parts))


def _complete(region: Region) -> Region:
    """Return a region with one polygon, without the vertices between its parts."""
    import shapely

    if len(region.polygons) == 1:
        return region
    return region._replace(polygons=[shapely.simplify(shapely.unary_union(region.polygons), 0)])
