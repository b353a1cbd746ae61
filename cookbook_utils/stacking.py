"""From a scene to a table of pixels and back again, with nothing lost on the way."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import as_real_array, require_dims
from cookbook_utils._conventions.grids import GRID_TOLERANCE, crs_of, same_crs
from cookbook_utils._conventions.labels import NODATA_LABEL, align_labels
from cookbook_utils._conventions.nodata import NODATA_KEYS, nodata_values, valid_pixels


def stack_pixels(scene: xr.DataArray) -> xr.DataArray:
    """Flatten one or several scenes to samples, one row for each pixel with all its bands.

    The mask of missing pixels is computed at once, since it sets the number of rows; the values
    stay lazy, in chunks of known size with all bands together.

    Parameters
    ----------
    scene
        Dimensions ``band``, ``y`` and ``x`` in any order and any chunking. Further dimensions
        (``time``) are further scenes. Missing: NaN, and what ``_FillValue``, ``missing_value`` or
        ``nodata`` in the attributes or the encoding, or rioxarray's accessor, name as nodata.

    Returns
    -------
    xarray.DataArray
        Dimensions (pixel, band), the dtype, name, attributes and coordinates of `scene`.
        ``pixel`` is a MultiIndex of (further dimensions, y, x). ``attrs["n_pixels"]`` counts
        the pixels of the scene and ``attrs["n_missing"]`` those left out because a band is
        missing. No sample is missing, so no attribute names a nodata value any more.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray of real numbers, or has a ``numpy.ma`` mask.
    ValueError
        If a dimension is missing or empty, a coordinate is missing (NaN), occurs twice or is a
        MultiIndex, or no pixel has all its bands.

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

    present = valid_pixels(scene).transpose(*pixel_dims).values.ravel()
    n_missing = int(present.size - np.count_nonzero(present))
    if n_missing == present.size:
        raise ValueError(
            f"scene must have a pixel with a value in all {scene.sizes['band']} bands, got none "
            f"of {present.size}"
        )

    if scene.chunks is not None:
        scene = scene.copy(data=scene.data.rechunk({scene.get_axis_num("band"): -1}))
    samples = scene.transpose(*pixel_dims, "band").stack(pixel=pixel_dims).transpose("pixel", ...)
    if n_missing:
        samples = samples.isel(pixel=np.flatnonzero(present))
    samples = samples.assign_attrs(n_pixels=int(present.size), n_missing=n_missing)
    for place in (samples.attrs, samples.encoding):
        for key in NODATA_KEYS:
            place.pop(key, None)
    return samples


def _require_distinct(index: pd.Index, dim: Hashable, what: str) -> None:
    """Raise unless every pixel has a coordinate of its own, by which a label finds it again."""
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


def unstack_labels(labels, samples: xr.DataArray, template: xr.DataArray) -> xr.DataArray:
    """Put one label per sample back onto the grid that the samples came from.

    Parameters
    ----------
    labels
        One whole number from 0 to 254 for each row of `samples`: NumPy array, dask array (the
        map is then lazy) or 1-D DataArray, which is aligned by its ``pixel`` coordinate where it
        has one. NaN, or a nodata value that the DataArray declares, is a label that is missing.
    samples
        (pixel, band) from `stack_pixels`, or some of its rows; only its ``pixel`` index is used.
    template
        The scene (or scenes) that was stacked, or any array on its grid. Coordinates may differ
        by a small fraction of a pixel, as those of a file opened again do.

    Returns
    -------
    xarray.DataArray
        Label map named ``"label"``: uint8, the dimensions of `template` without ``band`` in
        their order, its coordinates and CRS; 255 (``attrs["_FillValue"]``) where there was no
        sample or no label. One byte a pixel, so a lazy map is a single chunk.

    Raises
    ------
    TypeError
        If `samples` or `template` is not a DataArray, or `labels` are not real numbers or have a
        ``numpy.ma`` mask.
    ValueError
        If the number of labels is not that of the samples, labels are not whole numbers from 0 to
        254 (on compute, where they are lazy), the samples do not belong to `template`, or two of
        them are one pixel.

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
    labels = align_labels(_without_missing_label(labels), table).data

    grid = template.isel(band=0, drop=True) if "band" in template.dims else template
    target = _flat_positions(samples, grid)
    shape = grid.shape

    def place(values):
        flat = np.full(np.prod(shape, dtype=int), NODATA_LABEL, np.uint8)
        flat[target] = values
        return flat.reshape(shape)

    if hasattr(labels, "dask"):
        data = labels.rechunk(-1).map_blocks(
            place, drop_axis=0, new_axis=range(len(shape)), chunks=shape, meta=np.empty(0, "u1")
        )
    else:
        data = place(labels)
    result = xr.DataArray(data, coords=grid.coords, dims=grid.dims, name="label")
    return result.assign_attrs(_FillValue=NODATA_LABEL)


def _without_missing_label(labels):
    """Return `labels`, or raise where they hold a 255 that they do not declare: is it a cluster?"""
    values = as_real_array(labels, "labels")
    if isinstance(labels, xr.DataArray) and NODATA_LABEL in nodata_values(labels):
        return labels

    def check(values):
        if (values == NODATA_LABEL).any():
            raise ValueError(
                f"labels must be whole numbers from 0 to {NODATA_LABEL - 1}, got {NODATA_LABEL}, "
                "which marks missing pixels in the map: leave such samples out"
            )
        return values

    lazy = hasattr(values, "dask")
    values = values.map_blocks(check, meta=values._meta) if lazy else check(values)
    return labels.copy(data=values) if isinstance(labels, xr.DataArray) else values


def _flat_positions(samples: xr.DataArray, grid: xr.DataArray) -> np.ndarray:
    """Return the position of every sample in the flattened `grid`, from the index codes."""
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
        raise ValueError("samples must be different pixels, got one of them more than once")
    return target


def _positions_along(values: pd.Index, coordinate: pd.Index) -> np.ndarray:
    """Return where `values` lie in `coordinate`, within a fraction of its step; -1 if nowhere."""
    exact = coordinate.get_indexer(values)
    if (exact >= 0).all() or coordinate.size < 2 or coordinate.dtype.kind not in "iuf":
        return exact
    order = coordinate.argsort()
    step = np.diff(coordinate[order].astype(np.float64)).min()
    near = coordinate[order].get_indexer(values, "nearest", tolerance=GRID_TOLERANCE * step)
    return np.where(near < 0, -1, order[near])
