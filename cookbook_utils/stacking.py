"""From a scene to a table of pixels and back again, with nothing lost on the way."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions import MISSING_LABEL, valid_pixels


def stack_pixels(scene: xr.DataArray) -> xr.DataArray:
    """Flatten one or several scenes to samples, one row for each pixel with all its bands.

    The mask of missing pixels is computed at once, since it sets the number of rows; the values
    stay lazy, in chunks of known size with all bands together.

    Parameters
    ----------
    scene
        Dimensions ``band``, ``y`` and ``x`` in any order and any chunking. Further dimensions
        (``time``) are further scenes. Missing: NaN in floats, ``_FillValue`` in integers.

    Returns
    -------
    xarray.DataArray
        Dimensions (pixel, band), the dtype, name, attributes and coordinates of `scene`.
        ``pixel`` is a MultiIndex of (further dimensions, y, x). ``attrs["n_pixels"]`` counts
        the pixels of the scene and ``attrs["n_missing"]`` those left out because a band is
        missing.

    Raises
    ------
    TypeError
        If `scene` is not a DataArray.
    ValueError
        If a dimension is missing, a coordinate occurs twice, or no pixel has all its bands.

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
    for dim in pixel_dims:
        index = scene.get_index(dim)
        if not index.is_unique:
            twice = index[index.duplicated()][0]
            raise ValueError(
                f"the coordinate {dim} of the scene holds {twice} more than once; "
                "labels could not be put back onto such pixels"
            )

    present = valid_pixels(scene).transpose(*pixel_dims).values.ravel()
    n_missing = int(present.size - np.count_nonzero(present))
    if n_missing == present.size:
        raise ValueError(
            f"every pixel is missing: none of {present.size} has a value in all "
            f"{scene.sizes['band']} bands"
        )

    if scene.chunks is not None:
        scene = scene.copy(data=scene.data.rechunk({scene.get_axis_num("band"): -1}))
    samples = scene.transpose(*pixel_dims, "band").stack(pixel=pixel_dims).transpose("pixel", ...)
    if n_missing:
        samples = samples.isel(pixel=np.flatnonzero(present))
    return samples.assign_attrs(n_pixels=int(present.size), n_missing=n_missing)


def unstack_labels(labels, samples: xr.DataArray, template: xr.DataArray) -> xr.DataArray:
    """Put one label per sample back onto the grid that the samples came from.

    Parameters
    ----------
    labels
        n integers from 0 to 254, one for each row of `samples`: NumPy array, dask array (the
        map is then lazy) or 1-D DataArray.
    samples
        (pixel, band) from `stack_pixels`; only its ``pixel`` index is used.
    template
        The scene (or scenes) that was stacked, or any array on its grid.

    Returns
    -------
    xarray.DataArray
        Label map named ``"label"``: uint8, the dimensions of `template` without ``band`` in
        their order, its coordinates and CRS; 255 (``attrs["_FillValue"]``) where there was no
        sample. One byte a pixel, so a lazy map is a single chunk.

    Raises
    ------
    ValueError
        If the number of labels is not that of the samples, labels are not integers from 0 to 254
        (on compute, where they are lazy), or the samples do not belong to `template`.

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
    labels = labels.data if isinstance(labels, xr.DataArray) else labels
    lazy = hasattr(labels, "dask")
    labels = labels if lazy else np.asarray(labels)
    n = samples.sizes["pixel"]
    if labels.shape != (n,):
        raise ValueError(f"expected one label for each of {n} samples, found shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers from 0 to 254, found dtype {labels.dtype}")

    grid = template.isel(band=0, drop=True) if "band" in template.dims else template
    target = _flat_positions(samples, grid)
    shape = grid.shape

    def place(values):
        if values.size and not 0 <= values.min() <= values.max() < MISSING_LABEL:
            raise ValueError(
                f"labels must lie between 0 and 254, found {values.min()} to {values.max()}; "
                f"{MISSING_LABEL} marks missing pixels"
            )
        flat = np.full(np.prod(shape, dtype=int), MISSING_LABEL, np.uint8)
        flat[target] = values
        return flat.reshape(shape)

    if lazy:
        data = labels.rechunk(-1).map_blocks(
            place, drop_axis=0, new_axis=range(len(shape)), chunks=shape, meta=np.empty(0, "u1")
        )
    else:
        data = place(labels)
    result = xr.DataArray(data, coords=grid.coords, dims=grid.dims, name="label")
    return result.assign_attrs(_FillValue=MISSING_LABEL)


def _flat_positions(samples: xr.DataArray, grid: xr.DataArray) -> np.ndarray:
    """Return the position of every sample in the flattened `grid`, from the index codes."""
    index = samples.indexes.get("pixel")
    names = list(getattr(index, "names", []))
    if set(names) != set(grid.dims):
        raise ValueError(
            f"the pixel index of the samples has levels {names}, "
            f"the template has dimensions {list(grid.dims)}: these samples are not from it"
        )
    positions = []
    for dim in grid.dims:
        level = names.index(dim)
        along = grid.get_index(dim).get_indexer(index.levels[level])[index.codes[level]]
        if (along < 0).any():
            raise ValueError(
                f"samples have {dim} = {index.get_level_values(level)[along < 0][0]}, which the "
                "template has not: give the scene that was stacked"
            )
        positions.append(along)
    return np.ravel_multi_index(positions, grid.shape)
