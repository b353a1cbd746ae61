"""Bring scenes of different grids onto a common one."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cookbook_utils._conventions import MISSING_LABEL, crs_of, mask_and_float, nodata_values


def common_grid(
    lon: float, lat: float, *, crs: str, buffer: float, resolution: float
) -> xr.Dataset:
    """Return a grid of square pixels around a point on the ground.

    Parameters
    ----------
    lon, lat
        The center, in degrees (WGS 84).
    crs
        Projected CRS of the grid, in any form that pyproj takes, such as ``"EPSG:32611"``.
    buffer
        Distance from the center to each side, in the units of `crs` (m for UTM).
    resolution
        Step between pixel centers, in the same units.

    Returns
    -------
    xarray.Dataset
        No variables; the coordinates ``x`` (from center − buffer up to, and without,
        center + buffer, ascending), ``y`` (the same, descending: north is up) and
        ``spatial_ref``.

    Raises
    ------
    ValueError
        If `lon` or `lat` is out of range (as when they are swapped), `crs` is not projected, or
        `buffer` and `resolution` are not positive with resolution ≤ buffer.

    Examples
    --------
    >>> grid = common_grid(-118.7081, 38.6942, crs="EPSG:32611", buffer=15_000, resolution=200)
    >>> dict(grid.sizes)
    {'y': 150, 'x': 150}
    """
    import pyproj
    import rioxarray  # noqa: F401  registers the accessor

    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(
            f"expected lon from -180 to 180 and lat from -90 to 90, found lon={lon}, lat={lat}: "
            "are they swapped?"
        )
    target = pyproj.CRS.from_user_input(crs)
    if not target.is_projected:
        raise ValueError(
            f"a grid needs a projected CRS, since buffer and resolution are lengths in its units; "
            f"found {target.name}"
        )
    if not 0 < resolution <= buffer:
        raise ValueError(
            f"expected 0 < resolution <= buffer, found resolution={resolution}, buffer={buffer}"
        )
    x, y = pyproj.Transformer.from_crs("EPSG:4326", target, always_xy=True).transform(lon, lat)
    if not np.isfinite([x, y]).all():
        raise ValueError(f"lon={lon}, lat={lat} lies outside of what {target.name} can show")
    coords = {
        "y": np.arange(y - buffer, y + buffer, resolution)[::-1],
        "x": np.arange(x - buffer, x + buffer, resolution),
    }
    return xr.Dataset(coords=coords).rio.write_crs(target).rio.write_coordinate_system()


def regrid(
    scene: xr.DataArray, grid: xr.DataArray | xr.Dataset, *, method: str = "linear"
) -> xr.DataArray:
    """Interpolate a scene to the pixel centers of another grid in the same CRS.

    Parameters
    ----------
    scene
        Floats with dimensions ``y`` and ``x`` and any others; or, with ``method="nearest"``,
        integers that have a ``_FillValue``, such as a label map.
    grid
        From `common_grid`, or any array on the grid wanted.
    method
        "linear" (between the four pixels around; missing if one of them is missing) or "nearest"
        (the pixel whose center is nearest; the only one for labels, which have no mean).

    Returns
    -------
    xarray.DataArray
        On `grid`, with dtype, dimension order, attributes and other coordinates of `scene`; lazy
        if `scene` is. Outside of the pixel centers of `scene`, and where it is missing: NaN in
        floats, the ``_FillValue`` in integers (255 in label maps).

    Raises
    ------
    ValueError
        If the CRSs differ or are absent, the two do not overlap, `scene` has fewer than two
        pixels along a side, or integers would be interpolated linearly or have no value for
        missing pixels.

    Examples
    --------
    >>> import rioxarray
    >>> coords = {"y": [100.0, 0.0], "x": [0.0, 100.0]}
    >>> scene = xr.DataArray([[1.0, 3.0], [5.0, 7.0]], coords=coords, dims=("y", "x"))
    >>> grid = xr.Dataset(coords={"y": [50.0], "x": [50.0, 75.0, 125.0]})
    >>> regrid(scene.rio.write_crs(32611), grid.rio.write_crs(32611)).values
    array([[4. , 4.5, nan]])
    """
    if method not in ("linear", "nearest"):
        raise ValueError(f"method must be 'linear' or 'nearest', found {method!r}")
    _check_overlap(scene, grid)
    integers = not np.issubdtype(scene.dtype, np.floating)
    fill = next(iter(nodata_values(scene)), None)
    if integers and method != "nearest":
        raise ValueError(
            f"{scene.dtype} values cannot be averaged if they are labels or hold a fill value: "
            "use method='nearest', or scaling.to_reflectance first"
        )
    if integers and fill is None:
        raise ValueError(
            f"{scene.dtype} values without _FillValue cannot mark missing pixels "
            f"(label maps: {MISSING_LABEL}); set attrs['_FillValue']"
        )

    result = mask_and_float(scene).interp(x=grid["x"], y=grid["y"], method=method)
    result = result.transpose(*scene.dims)
    result = (result.fillna(fill) if integers else result).astype(scene.dtype)
    result.attrs = scene.attrs
    # The scene's own spatial_ref may carry its GeoTransform, which no longer holds.
    result = result.drop_vars(scene.rio.grid_mapping).rio.write_crs(scene.rio.crs)
    return result.rename(scene.name)


def _check_overlap(scene: xr.DataArray, grid: xr.DataArray | xr.Dataset) -> None:
    from_crs, to_crs = crs_of(scene), crs_of(grid)
    if from_crs is None or to_crs is None:
        which = "scene" if from_crs is None else "grid"
        raise ValueError(f"the {which} has no CRS: set it with rio.write_crs")
    if from_crs != to_crs:
        raise ValueError(
            f"the scene is in {from_crs.name}, the grid in {to_crs.name}: reproject the scene "
            "with rioxarray (scene.rio.reproject) first"
        )
    for dim in ("y", "x"):
        here, there = scene[dim].values, grid[dim].values
        if here.size < 2:
            raise ValueError(f"the scene needs at least 2 pixels along {dim}, found {here.size}")
        if there.max() < here.min() or there.min() > here.max():
            raise ValueError(
                f"the grid does not overlap the scene: {dim} from {there.min()} to {there.max()} "
                f"against {here.min()} to {here.max()}"
            )
