"""Conversion of scenes to tables of samples, and of labels of samples to maps."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import as_real_array, require_dims
from cookbook_utils._conventions.grids import GRID_TOLERANCE, crs_of, same_crs
from cookbook_utils._conventions.labels import (
    MOST_CLASSES,
    NODATA_LABEL,
    align_labels,
    label_attrs,
    map_dtype,
    nodata_label,
)
from cookbook_utils._conventions.nodata import (
    equals_nodata,
    nodata_values,
    valid_pixels,
    without_nodata,
)

PIXELS_PER_CHUNK = 2**20  # at most, of lazy samples
PIXELS_PER_COPY = 2**14  # of samples in memory; they stay in the cache


def stack_pixels(scene: xr.DataArray) -> xr.DataArray:
    """Reshape one or several scenes to samples, one row for each pixel with all bands.

    Use it before clustering with any estimator that takes a table; `unstack_labels` is the
    inverse for labels. The mask of valid pixels is computed at once, since it determines the number
    of rows; the values stay lazy, in chunks of known size that hold all bands and are whole rows of
    the scene. A scene that is read in whole rows, ``chunks={"y": 256, "x": -1}``, has such chunks
    already; others are cut and joined, in the memory of the workers.

    Parameters
    ----------
    scene : xarray.DataArray
        Dimensions ``band``, ``y`` and ``x`` in any order, with any chunks. Further dimensions, such
        as ``time``, stand for further scenes. Nodata is NaN, and the value that ``_FillValue``,
        ``missing_value`` or ``nodata`` in the attributes or the encoding, or rioxarray's
        accessor, declares.

    Returns
    -------
    xarray.DataArray
        Shape (pixel, band) with the dtype, name, attributes and coordinates of `scene`. ``pixel``
        is a MultiIndex of the further dimensions, y and x. ``attrs["n_pixels"]`` is the number of
        pixels of the scene and ``attrs["n_missing"]`` the number of pixels excluded because a band
        is nodata. Attributes that declare a nodata value are removed.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray of real numbers, or has a ``numpy.ma`` mask.
    ValueError
        If a dimension is absent or empty, a coordinate has NaN, duplicates or a MultiIndex, or no
        pixel has all bands.

    Examples
    --------
    >>> scene = xr.DataArray(
    ...     [[[1.0, 2.0], [3.0, np.nan]], [[5.0, 6.0], [7.0, 8.0]]],
    ...     coords={"band": ["red", "nir"], "y": [30.0, 0.0], "x": [0.0, 30.0]},
    ... )
    >>> samples = stack_pixels(scene)
    >>> samples.values
    array([[1., 5.],
           [2., 6.],
           [3., 7.]])
    >>> samples.attrs
    {'n_pixels': 4, 'n_missing': 1}
    """
    require_dims(scene, ("band", "y", "x"), "scene", allow_extra=True)
    further = [dim for dim in scene.dims if dim not in ("band", "y", "x")]
    pixel_dims = [*further, "y", "x"]
    if "pixel" in scene.dims or "pixel" in scene.coords:
        raise ValueError(
            "scene must have no dimension or coordinate named 'pixel', which is the name of the "
            f"new dimension, got {tuple(scene.dims)} with the coordinates {list(scene.coords)}"
        )
    for dim in pixel_dims:
        _require_distinct(scene.get_index(dim), dim, "scene")

    present = valid_pixels(scene).transpose(*pixel_dims).compute()
    n_missing = int(present.size - np.count_nonzero(present))
    if n_missing == present.size:
        raise ValueError(
            f"scene must have a pixel with a value in all {scene.sizes['band']} bands, got none "
            f"of {present.size} pixels"
        )

    # xarray would make its index from lists of Python integers, ten times as large as the pixels.
    index = _pixel_index(scene, pixel_dims, present.values)
    bare = scene.drop_vars(pixel_dims, errors="ignore").transpose(*pixel_dims, "band")
    flat = bare.coords.to_dataset().assign(present=present.drop_vars(present.coords))
    flat = flat.stack(pixel=pixel_dims, create_index=False)
    rows, coords = flat.present.values, flat.drop_vars("present")
    if n_missing and "pixel" in coords.dims:
        coords = coords.isel(pixel=rows)
    table = _lazy_table if scene.chunks is not None else _table
    samples = xr.DataArray(table(bare, rows), coords.coords, ("pixel", "band"), scene.name)
    samples = samples.assign_coords(xr.Coordinates.from_pandas_multiindex(index, "pixel"))
    samples.attrs = without_nodata(scene.attrs) | {
        "n_pixels": int(present.size), "n_missing": n_missing,
    }  # fmt: skip
    samples.encoding = without_nodata(scene.encoding)
    return samples


def _table(scene: xr.DataArray, present: np.ndarray) -> Any:
    """Return the pixels (pixel, band) of a scene (..., y, x, band) that are present."""
    pixels = scene.data.reshape(present.size, -1)
    if present.all():
        return pixels
    table = np.empty_like(pixels, shape=(np.count_nonzero(present), pixels.shape[1]))
    end = 0
    for at in range(0, present.size, PIXELS_PER_COPY):  # positions of all take half a table
        part = slice(at, at + PIXELS_PER_COPY)
        found = pixels[part][present[part]]
        start, end = end, end + len(found)
        table[start:end] = found
    return table


def _lazy_table(scene: xr.DataArray, present: np.ndarray) -> Any:
    """Return the same as `_table` on Dask, in chunks of whole rows of the scene.

    A chunk finds out by itself which of its pixels are present: positions of all of them in the
    graph would be larger than the scene.
    """
    import dask.array as da

    *further, _, n_x, n_bands = scene.shape
    heights, widths = scene.data.chunks[-3:-1]
    most = max(1, min(max(heights) * max(widths), PIXELS_PER_CHUNK) // n_x)  # rows
    rows = np.concatenate([_even_parts(n, most) for n in heights])
    chunks = (tuple(rows.tolist()), n_x, n_bands)
    pixels = da.concatenate(
        [scene.data[i].rechunk(chunks).reshape(-1, n_bands) for i in np.ndindex(*further)]
    )
    starts = np.cumsum((0, *pixels.chunks[0][:-1]))
    counts = np.add.reduceat(present, starts, dtype=int)
    if counts.sum() == present.size:
        return pixels
    nodata = nodata_values(scene)
    pixels = pixels.map_blocks(
        lambda block: block[~equals_nodata(block, nodata).any(axis=1)],
        chunks=(tuple(counts.tolist()), n_bands),
        meta=pixels._meta,
    )
    return pixels.blocks[np.flatnonzero(counts)]


def _even_parts(n: int, most: int) -> np.ndarray:
    """Return the sizes of as few parts of `n` rows as are needed for `most` rows in a part."""
    return np.diff(np.linspace(0, n, -(-n // most) + 1, dtype=int))


def _pixel_index(
    scene: xr.DataArray, pixel_dims: list[Hashable], present: np.ndarray
) -> pd.MultiIndex:
    """Return the index of the pixels that are present, with codes of the smallest dtype."""
    shape = [scene.sizes[dim] for dim in pixel_dims]
    along = np.ix_(*(np.arange(size, dtype=np.min_scalar_type(-size)) for size in shape))
    codes = [np.broadcast_to(each, shape)[present] for each in along]
    levels = [scene.get_index(dim) for dim in pixel_dims]
    return pd.MultiIndex(levels, codes, names=pixel_dims, verify_integrity=False)


def _require_distinct(index: pd.Index, dim: Hashable, what: str) -> None:
    """Raise ValueError unless the coordinate identifies each pixel along `dim`."""
    if isinstance(index, pd.MultiIndex):
        raise ValueError(
            f"{what} must have one coordinate along {dim}, got a MultiIndex of "
            f"{list(index.names)}: undo it with .unstack({dim!r}) or .reset_index({dim!r})"
        )
    if index.hasnans:
        raise ValueError(f"{what} must have a coordinate {dim} without missing values, got NaN")
    if not index.is_unique:
        raise ValueError(
            f"{what} must have a coordinate {dim} in which no value occurs twice, "
            f"got {index[index.duplicated()][0]} more than once"
        )


def unstack_labels(labels: Any, samples: xr.DataArray, template: xr.DataArray) -> xr.DataArray:
    """Map the labels of samples to the grid that the samples come from.

    Use it to turn the result of a clustering into a map; `stack_pixels` makes the samples.

    Parameters
    ----------
    labels : xarray.DataArray or array_like
        Shape (pixel,), a whole number from 0 to 254 for each row of `samples`. A DataArray with a
        ``pixel`` coordinate is aligned by it. For a Dask array the map is lazy. NaN and the nodata
        value that a DataArray declares are nodata; one that declares 65535 has labels from 0 to
        65534.
    samples : xarray.DataArray
        Shape (pixel, band), the result of `stack_pixels` or some of its rows. Only the ``pixel``
        index is used.
    template : xarray.DataArray
        The scene or scenes that were stacked, or any array on their grid. Coordinates may differ by
        a small fraction of a pixel, as they do after an array was written and opened again.

    Returns
    -------
    xarray.DataArray
        Label map named "label": uint8 with the dimensions of `template` except ``band`` in their
        order, its coordinates and CRS; 255 (``attrs["_FillValue"]``) where there is no sample or
        its label is nodata. With labels from 0 to 65534 it is uint16, and 65535. A lazy map is a
        single chunk.

    Raises
    ------
    TypeError
        If `samples` or `template` is not a DataArray, or `labels` are not real numbers or have a
        ``numpy.ma`` mask.
    ValueError
        If the numbers of labels and samples differ, a value is not a label (on compute if
        `labels` is lazy), a sample is not a pixel of `template`, or two samples are the same pixel.

    Examples
    --------
    >>> scene = xr.DataArray(
    ...     [[[1.0, 2.0], [3.0, np.nan]]],
    ...     coords={"band": ["red"], "y": [30.0, 0.0], "x": [0.0, 30.0]},
    ... )
    >>> unstack_labels([0, 1, 1], stack_pixels(scene), scene).values
    array([[  0,   1],
           [  1, 255]], dtype=uint8)
    """
    require_dims(samples, ("pixel",), "samples", allow_extra=True)
    require_dims(template, (), "template", allow_extra=True)
    table = samples if "band" in samples.dims else samples.expand_dims("band", -1)
    labels = align_labels(_require_clusters(labels), table).data

    grid = template.isel(band=0, drop=True) if "band" in template.dims else template
    target = _flat_positions(samples, grid)
    shape = grid.shape

    def place(values: np.ndarray) -> np.ndarray:
        flat = np.full(np.prod(shape, dtype=int), nodata_label(values.dtype), values.dtype)
        flat[target] = values
        return flat.reshape(shape)

    if hasattr(labels, "dask"):
        data = labels.rechunk(-1).map_blocks(
            place,
            drop_axis=0,
            new_axis=range(len(shape)),
            chunks=shape,
            meta=np.empty(0, labels.dtype),
        )
    else:
        data = place(labels)
    result = xr.DataArray(data, coords=grid.coords, dims=grid.dims, name="label")
    return result.assign_attrs(label_attrs(labels.dtype))


def _require_clusters(labels: Any) -> Any:
    """Return `labels`, or raise ValueError if they hold 255 without declaring what is nodata.

    It could be the number of a cluster, which the map would show as nodata. Lazy labels are checked
    on compute.
    """
    values = as_real_array(labels, "labels")
    if isinstance(labels, xr.DataArray) and (
        NODATA_LABEL in nodata_values(labels) or map_dtype(labels) == np.uint16
    ):
        return labels

    def check(values: np.ndarray) -> np.ndarray:
        if (values == NODATA_LABEL).any():
            raise ValueError(
                f"labels must be whole numbers from 0 to {NODATA_LABEL - 1}, got {NODATA_LABEL}, "
                "which is nodata in the map: exclude such samples, or give labels from 0 to "
                f"{MOST_CLASSES - 1} as a DataArray that declares the nodata value {MOST_CLASSES}"
            )
        return values

    lazy = hasattr(values, "dask")
    values = values.map_blocks(check, meta=values._meta) if lazy else check(values)
    return labels.copy(data=values) if isinstance(labels, xr.DataArray) else values


def _flat_positions(samples: xr.DataArray, grid: xr.DataArray) -> np.ndarray:
    """Return the position of each sample in the flattened `grid`, from the codes of its index."""
    index = samples.indexes.get("pixel")
    names = list(getattr(index, "names", []))
    if set(names) != set(grid.dims):
        raise ValueError(
            f"samples must have a pixel index with the dimensions of the template, "
            f"{list(grid.dims)}, got the levels {names}: give the scene that was stacked"
        )
    one, two = crs_of(samples), crs_of(grid)
    if one is not None and two is not None and not same_crs(one, two):
        raise ValueError(
            f"template must have the CRS of the samples, {one.name}, got {two.name}: give the "
            "scene that was stacked"
        )
    positions = []
    for dim in grid.dims:
        level = names.index(dim)
        codes, coordinate = np.asarray(index.codes[level]), grid.get_index(dim)
        _require_distinct(coordinate, dim, "template")
        along = _positions_along(index.levels[level], coordinate)[codes]
        lost = (along < 0) | (codes < 0)
        if lost.any():
            raise ValueError(
                f"template must have the coordinates of all samples, got none for {dim} = "
                f"{index.get_level_values(level)[lost][0]}: give the scene that was stacked"
            )
        positions.append(along)
    target = np.ravel_multi_index(positions, grid.shape)
    taken = np.zeros(grid.size, bool)
    taken[target] = True
    if np.count_nonzero(taken) < target.size:
        raise ValueError("samples must be different pixels, got a pixel more than once")
    return target


def _positions_along(values: pd.Index, coordinate: pd.Index) -> np.ndarray:
    """Return the positions of `values` in `coordinate` to within a fraction of its step, or -1."""
    exact = coordinate.get_indexer(values)
    if (exact >= 0).all() or coordinate.size < 2 or coordinate.dtype.kind not in "iuf":
        return exact
    order = coordinate.argsort()
    step = np.diff(coordinate[order].astype(np.float64)).min()
    near = coordinate[order].get_indexer(values, "nearest", tolerance=GRID_TOLERANCE * step)
    return np.where(near < 0, -1, order[near])
