"""Open scenes as archives, servers and colleagues deliver them, as lazy reflectance."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import shown
from cookbook_utils.datasets._access import (
    as_address,
    is_remote,
    require_storage_options,
    without_secrets,
)
from cookbook_utils.datasets._bands import SceneSource
from cookbook_utils.datasets._cubes import is_cube, open_cube
from cookbook_utils.datasets._items import archived_raster, find_items
from cookbook_utils.datasets._loading import load_scenes
from cookbook_utils.datasets._rasters import raster_scene, require_names
from cookbook_utils.datasets._scale import Given, as_time
from cookbook_utils.datasets._stac import item_scene

GDAL_NAME = re.compile(r"/vsi|[A-Z][A-Z0-9_]+:")
"""Start of the names of GDAL for files in archives, and for parts of files."""


def open_scene(
    source: Any,
    *,
    bands: Sequence[str] | Mapping[str, int] | None = None,
    date: Any = None,
    scale: float | Mapping[str, float] | None = None,
    offset: float | Mapping[str, float] | None = None,
    nodata: float | Mapping[str, float] | None = None,
    bbox: Sequence[float] | None = None,
    crs: Any = None,
    resolution: float | None = None,
    like: xr.DataArray | None = None,
    resampling: str = "nearest",
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open the scene of one date lazily as reflectance with named bands.

    Use it for your own data: what the files or their metadata declare is taken from there, what
    they do not declare must be given. Values are those of the file, times its scale plus its
    offset; on a grid of their own they are not resampled. Bands of several resolutions are brought
    to the finest one by their nearest pixel. STAC items of one day, such as tiles side by side,
    become one mosaic, in which the first valid pixel counts.

    Parameters
    ----------
    source : str, path-like, sequence, mapping, pystac.Item or pystac.ItemCollection
        A raster file (GeoTIFF, VRT, JPEG 2000 or anything else that GDAL reads); several files of
        one band each, as a sequence or as a mapping of band names to files; NetCDF; Zarr; a folder,
        tar or zip of Landsat Collection 2 or Sentinel-2 as delivered; a STAC item, items of one
        day, or the JSON of an item, item collection or static catalog. Each may be on this machine,
        or at an address ``https://`` or ``s3://``; of a folder on a web server, which lists none,
        name the metadata: ``..._MTL.txt``, ``MTD_MSIL2A.xml`` or ``manifest.safe``. A relative
        address in a STAC document of this machine leads to the file beside it or, if there is none,
        to the server that the ``self`` link names.
    bands : sequence of str or mapping of str to int, optional
        Names of the bands to open; by default all bands of reflectance. They also name the bands of
        a file that has no names for them: one name for each, or the number of each by its name.
        Names of STAC such as ``"swir16"`` become those of this package, such as ``"swir1"``; the
        first near infrared beyond the red edge, from 0.8 µm on, is ``"nir"``.
    date : str or datetime, optional
        Date of the scene, for files that declare none.
    scale : float or mapping of str to float, optional
        Reflectance = number × scale + offset, one for all bands or one for each by its name. It
        replaces what the file declares; integers without any are refused.
    offset : float or mapping of str to float, optional
        As `scale`; by default 0 where `scale` is given.
    nodata : float or mapping of str to float, optional
        A nodata value besides what the file declares by its value, valid range, mask or alpha band.
    bbox : sequence of float, optional
        West, south, east and north in degrees. Only pixels that this box touches are opened.
    crs : str or CRS, optional
        CRS to open in, with `resolution`; by default that of the files.
    resolution : float, optional
        Size of the pixels in units of the CRS; by default the finest of the bands.
    like : xarray.DataArray, optional
        A scene on whose grid to open.
    resampling : {"nearest", "bilinear", "cubic", "average"}, default "nearest"
        How pixels reach another grid. Quality bands always take the nearest pixel.
    chunks : dict, "auto" or int, optional
        Sizes of the Dask chunks along y and x in pixels; -1 is the whole side. The default is 2048.
    storage_options : mapping, optional
        Options of S3 as s3fs names them: ``anon``, ``key``, ``secret``, ``token``,
        ``endpoint_url``, ``requester_pays``. By default those of the environment (AWS_PROFILE,
        AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL), or anonymous access if there are none.

    Returns
    -------
    xarray.DataArray
        Reflectance, float32 (band, y, x), with NaN for nodata and the coordinates ``band``,
        ``time``, ``spatial_ref`` and, where known, ``wavelength`` in µm. A band QA_PIXEL of Landsat
        or SCL of Sentinel-2 is the coordinate ``quality`` (y, x), whose attribute ``quality_kind``
        says which.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If a name, date, scale or CRS is absent or wrong; if the raster has no grid with a CRS, has
        a palette or complex numbers, or overlaps neither `bbox` nor `like`; if the source has
        several dates; or, when computed, if the scale leads to no reflectance.
    OSError
        If a file cannot be read, now or when it is computed. The message names the file, the reason
        and, for a server, the number of tries.
    ImportError
        If a package of the extra ``archives`` is not installed.

    See Also
    --------
    open_scenes : Open several dates.
    search_scenes : Find items of archives by place and date.
    cookbook_utils.scaling.to_reflectance : Convert scenes of other readers.

    Examples
    --------
    >>> from cookbook_utils.datasets import DATA_FOLDER
    >>> folder = DATA_FOLDER / "simulated" / "landsat_5_small"
    >>> scene = open_scene(
    ...     {"red": folder / "B3.tif", "nir": folder / "B4.tif"}, date="1988-10-22", scale=1e-4
    ... )
    >>> dict(scene.sizes), scene.attrs["units"]
    ({'band': 2, 'y': 300, 'x': 300}, '1')
    """
    series = _open(
        [source], bands, [date], Given(scale, offset, nodata), storage_options,
        bbox=bbox, crs=crs, resolution=resolution, like=like, resampling=resampling, chunks=chunks,
    )  # fmt: skip
    if series.sizes["time"] > 1:
        days = series["time"].dt.strftime("%Y-%m-%d").values
        raise ValueError(
            f"source must have one date, got {len(days)}, from {days[0]} to {days[-1]}: use "
            "open_scenes"
        )
    scene = series.isel(time=0)
    day = str(scene["time"].dt.strftime("%Y-%m-%d").values)
    return scene.assign_attrs(date=day)


def open_scenes(
    source: Any,
    *,
    bands: Sequence[str] | Mapping[str, int] | None = None,
    dates: Sequence[Any] | None = None,
    scale: float | Mapping[str, float] | None = None,
    offset: float | Mapping[str, float] | None = None,
    nodata: float | Mapping[str, float] | None = None,
    bbox: Sequence[float] | None = None,
    crs: Any = None,
    resolution: float | None = None,
    like: xr.DataArray | None = None,
    resampling: str = "nearest",
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Open scenes of several dates lazily as one series of reflectance on one grid.

    The grid is the finest one of the scenes, extended over all of them; scenes in several CRS, such
    as two UTM zones, need a stated `crs` and `resolution`, or `like`. Scenes of one day become one
    mosaic.

    Parameters
    ----------
    source : sequence, str, path-like, pystac.ItemCollection or pystac.Catalog
        Sources as `open_scene` takes them, one for each scene, such as files, folders or STAC
        items; or one that leads to several, such as a catalog, or a folder of deliveries.
    bands : sequence of str or mapping of str to int, optional
        As for `open_scene`.
    dates : sequence of str or datetime, optional
        Date of each source, for files that declare none.
    scale, offset, nodata : float or mapping of str to float, optional
        As for `open_scene`.
    bbox : sequence of float, optional
        As for `open_scene`.
    crs : str or CRS, optional
        As for `open_scene`.
    resolution : float, optional
        As for `open_scene`.
    like : xarray.DataArray, optional
        As for `open_scene`.
    resampling : {"nearest", "bilinear", "cubic", "average"}, default "nearest"
        As for `open_scene`.
    chunks : dict, "auto" or int, optional
        As for `open_scene`.
    storage_options : mapping, optional
        As for `open_scene`.

    Returns
    -------
    xarray.DataArray
        Reflectance, float32 (time, band, y, x), by increasing date; otherwise as `open_scene`
        returns it. ``quality`` is there if all scenes have one of one kind.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        As for `open_scene`; or if the scenes are in several CRS, have different bands, are of
        several levels, or two files of one grid have the same date.
    OSError
        As for `open_scene`.
    ImportError
        If a package of the extra ``archives`` is not installed.

    See Also
    --------
    open_scene : Open one date.
    cookbook_utils.regridding.regrid : Interpolate scenes to another grid.

    Examples
    --------
    >>> from cookbook_utils.datasets import DATA_FOLDER
    >>> folder = DATA_FOLDER / "simulated" / "coast_series_small"
    >>> days = ["2025-04-02", "2025-04-10"]
    >>> series = open_scenes(
    ...     [{"red": folder / f"{day}_B4.tif"} for day in days],
    ...     dates=days, scale=2.75e-5, offset=-0.2,
    ... )
    >>> dict(series.sizes)
    {'time': 2, 'band': 1, 'y': 400, 'x': 400}
    """
    alone = isinstance(source, str | os.PathLike | Mapping) or not isinstance(source, Sequence)
    sources = [source] if alone else list(source)
    if not sources:
        raise ValueError("source must be at least one scene, got none")
    if dates is not None and (isinstance(dates, str) or not hasattr(dates, "__len__")):
        raise TypeError(f"dates must be a sequence of dates, got {shown(dates)}")
    if dates is not None and len(dates) != len(sources):
        raise ValueError(
            f"dates must be one for each of the {len(sources)} sources, got {len(dates)}"
        )
    days = [None] * len(sources) if dates is None else [as_time(day, "dates") for day in dates]
    return _open(
        sources, bands, days, Given(scale, offset, nodata), storage_options,
        bbox=bbox, crs=crs, resolution=resolution, like=like, resampling=resampling, chunks=chunks,
    )  # fmt: skip


def _open(
    sources: Sequence[Any],
    bands: Any,
    dates: Sequence[Any],
    given: Given,
    storage_options: Any,
    **grid: Any,
) -> xr.DataArray:
    options = require_storage_options(storage_options)
    scenes: list[SceneSource] = []
    cubes: list[xr.DataArray] = []
    for source, date in zip(sources, dates, strict=True):
        if cube := _address_of_cube(source):
            how = {"bands": bands, "given": given, "date": date, "options": options}
            cubes.append(open_cube(cube, **how, **grid))
        else:
            scenes += _scenes_of(source, bands, date, given, options)
    if scenes:
        _require_distinct_dates([scene for scene in scenes if scene.from_files])
        loaded = load_scenes(scenes, options=options, **grid).rename(None)
        cubes.append(loaded)
    if len(cubes) == 1:
        return cubes[0]
    try:
        series = xr.concat(cubes, "time", join="exact", combine_attrs="override")
    except ValueError:
        raise ValueError(
            "scenes of NetCDF or Zarr must share their bands and their grid, got others: open them "
            "with the same bands, and with crs and resolution, or like"
        ) from None
    return series.sortby("time")


def _address_of_cube(source: Any) -> str | None:
    if isinstance(source, str | os.PathLike) and is_cube(address := as_address(source)):
        return address
    return None


def _scenes_of(
    source: Any, bands: Any, date: Any, given: Given, options: Mapping[str, Any]
) -> list[SceneSource]:
    if bands is not None:
        require_names(bands, "bands")
    names = None if bands is None or isinstance(bands, Mapping) else list(bands)
    items = find_items(source, options, names)
    if items is not None:
        if isinstance(bands, Mapping):
            raise TypeError("bands must be a sequence of names for STAC items, got a mapping")
        return [item_scene(item, bands, given, options) for item in items]
    if not isinstance(source, str | os.PathLike | Mapping | list | tuple):
        raise TypeError(
            f"source must be a path, an address, files by band, or STAC items, got {shown(source)}"
        )
    files = source.values() if isinstance(source, Mapping) else source
    for file in () if isinstance(source, str | os.PathLike) else files:
        if not isinstance(file, str | os.PathLike):
            raise TypeError(f"source must hold paths or addresses, got {shown(file)}")
    if not isinstance(source, str | os.PathLike) and not len(source):
        raise ValueError("source must have at least one file, got none")
    if isinstance(source, str | os.PathLike):
        source = archived_raster(as_address(source), options)
        if not (is_remote(source) or GDAL_NAME.match(source) or os.path.exists(source)):
            raise FileNotFoundError(
                f"source must lead to a file, a folder or an address, got none at {source}"
            )
    return [raster_scene(source, bands=bands, given=given, date=date, options=options)]


def _require_distinct_dates(scenes: Sequence[SceneSource]) -> None:
    """Refuse two files of one place and day, of which a mosaic would hide one."""
    seen: dict[Any, SceneSource] = {}
    for scene in scenes:
        grid = next(iter(scene.bands.values())).geobox
        key = (np.datetime64(scene.time, "D"), grid)
        if key in seen:
            raise ValueError(
                f"dates must differ between scenes on one grid, got {key[0]} for {seen[key].name} "
                f"and {without_secrets(scene.name)}"
            )
        seen[key] = scene
