"""Open NetCDF and Zarr as reflectance, on the grid that their coordinates describe."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import needs, require_choice
from cookbook_utils._conventions.grids import crs_of, regular_centers
from cookbook_utils.datasets._access import (
    filesystem,
    is_remote,
    require_storage_options,
    s3_errors,
    s3fs_options,
    save_document,
    without_secrets,
)
from cookbook_utils.datasets._bands import (
    OTHER,
    QUALITY,
    QUALITY_VALUES,
    REFLECTIVE,
    BandSource,
    band_name,
    in_order,
)
from cookbook_utils.datasets._driver import require_possible
from cookbook_utils.datasets._geotiffs import chunk_sizes
from cookbook_utils.datasets._loading import (
    CHUNKS,
    RESAMPLINGS,
    crop_slices,
    on_grid,
    other_grid,
    require_longitudes,
    require_place,
)
from cookbook_utils.datasets._rasters import choose_bands
from cookbook_utils.datasets._scale import Given, as_time

_X = ("x", "lon", "longitude", "easting", "X")
_Y = ("y", "lat", "latitude", "northing", "Y")
_NETCDF = (".nc", ".nc4", ".cdf", ".netcdf")


def is_cube(address: str) -> bool:
    """Return whether a path or address is one of NetCDF or Zarr."""
    bare = without_secrets(address).rstrip("/").lower()
    if bare.endswith((*_NETCDF, ".zarr", ".zarr.zip")):
        return True
    marks = (".zgroup", ".zmetadata", "zarr.json")
    return any(os.path.isfile(os.path.join(address, mark)) for mark in marks)


def open_cube(
    address: str,
    *,
    bands: Any,
    given: Given,
    date: Any,
    options: Mapping[str, Any],
    bbox: Any = None,
    crs: Any = None,
    resolution: Any = None,
    like: Any = None,
    resampling: str = "nearest",
    chunks: Any = None,
) -> xr.DataArray:
    """Open NetCDF or Zarr lazily as reflectance (time, band, y, x).

    The bands are variables, or one variable with a dimension ``band``. Arguments and result as for
    `open_scenes`.
    """
    place = without_secrets(address)
    data = _with_times(_upright(_open(address, options), place), date, place)
    require_place(_geobox(data, place).crs, place)
    if bbox is not None:
        data = data.isel(crop_slices(_geobox(data, place), bbox))
    sizes = chunk_sizes(CHUNKS if chunks is None else chunks, (1, data.sizes["y"], data.sizes["x"]))
    data = data.chunk({"y": sizes[1], "x": sizes[2]})
    series = _bands_of(data, bands, given, place).transpose("time", "band", "y", "x")
    grid = _geobox(data, place)
    series, quality = on_grid(series, grid), _quality_of(data)
    if crs is not None or resolution is not None or like is not None:
        require_choice(resampling, "resampling", RESAMPLINGS)
        target = other_grid(grid, crs=crs, resolution=resolution, like=like)
        require_longitudes(grid, target, place)
        series = _moved(series, target, resampling, np.nan, sizes)
        if quality is not None:
            nodata, _ = QUALITY_VALUES[quality.attrs["quality_kind"]]
            quality = _moved(on_grid(quality, grid), target, "nearest", nodata, sizes)
    if quality is None:
        return series
    quality = quality.drop_vars("spatial_ref").broadcast_like(series.isel(band=0, drop=True))
    return series.assign_coords(quality=quality)


# -- files --------------------------------------------------------------------------------------


def _open(address: str, options: Mapping[str, Any]) -> xr.Dataset:
    """Open a file lazily with nodata as NaN, and with scale and offset left to `Given`."""
    place = without_secrets(address)
    zarr = not place.lower().endswith(_NETCDF)
    try:
        raw = _open_zarr(address, options) if zarr else _open_netcdf(address, options)
    except ImportError:
        raise
    except Exception as error:  # zarr, netCDF4, fsspec and botocore have no common base class
        if isinstance(error, OSError) and place in str(error) and "must be" in str(error):
            raise
        reason = re.sub(r"\s+", " ", str(error))[:300] or type(error).__name__
        raise OSError(
            f"{place} must be a readable {'Zarr' if zarr else 'NetCDF'} file, got: {reason}"
        ) from None
    factors = {}
    for name, variable in raw.variables.items():
        if name not in raw.coords and name not in raw.dims:
            factors[name] = {
                fact: variable.attrs.pop(key, None)
                for fact, key in (("scale", "scale_factor"), ("offset", "add_offset"))
            } | {"dtype": str(variable.dtype)}
            factors[name]["limits"] = _limits_of(variable, factors[name])
    decoded = xr.decode_cf(raw, decode_coords="all")
    for name, facts in factors.items():
        if name in decoded.variables:
            decoded[name].attrs["declared"] = facts
    return decoded


def _open_netcdf(address: str, options: Mapping[str, Any]) -> xr.Dataset:
    path = address
    if is_remote(address):  # its library reads files of this machine only
        folder = Path(tempfile.mkdtemp(prefix="scene-"))
        path = str(folder / "scene.nc")
        if address.startswith("s3://"):
            with s3_errors(address):
                filesystem(options).get_file(address, path)
        else:
            save_document(address, path)
    data = xr.open_dataset(path, engine="netcdf4", decode_cf=False, chunks={})
    if path != address:
        weakref.finalize(data, shutil.rmtree, Path(path).parent, ignore_errors=True)
    return data


def _open_zarr(address: str, options: Mapping[str, Any]) -> xr.Dataset:
    with needs("zarr"):
        import zarr

    if not is_remote(address) and not os.path.exists(address):
        raise FileNotFoundError(f"{address} must be a readable Zarr file, got none there")
    store: Any = address
    if address.lower().endswith(".zip"):
        store = zarr.storage.ZipStore(address, mode="r")
    own = s3fs_options(require_storage_options(options)) if address.startswith("s3://") else None
    return xr.open_dataset(
        store, engine="zarr", decode_cf=False, chunks={}, backend_kwargs={"storage_options": own}
    )


def _limits_of(variable: xr.Variable, facts: Mapping[str, Any]) -> tuple[float, float]:
    """Return the least and the largest stored number that is valid by the attributes of CF.

    Limits in floats of packed integers are those of unpacked values.
    """
    attrs = variable.attrs
    found = np.ravel(attrs.get("valid_range", ()))
    if len(found) != 2:
        found = attrs.get("valid_min"), attrs.get("valid_max")
    limits = []
    for value, unlimited in zip(found, (-np.inf, np.inf), strict=True):
        limit = np.asarray(value)
        if limit.size != 1 or limit.dtype.kind not in "iuf":
            limit = np.asarray(unlimited)
        if limit.dtype.kind == "i" and attrs.get("_Unsigned") == "true":
            limit = limit.view(f"u{limit.itemsize}")
        number = float(limit.item())
        if limit.dtype.kind == "f" and variable.dtype.kind != "f" and facts["scale"] is not None:
            number = round((number - (facts["offset"] or 0)) / facts["scale"], 3)
        limits.append(number)
    return limits[0], limits[1]


# -- grids --------------------------------------------------------------------------------------


def _upright(data: xr.Dataset, place: str) -> xr.Dataset:
    """Return a Dataset with the dimensions y and x and a CRS, or raise."""
    import odc.geo.xr  # noqa: F401  registers the accessor
    import rioxarray  # noqa: F401

    for wanted, names in (("x", _X), ("y", _Y)):
        found = [name for name in names if name in data.dims and name in data.coords]
        standard = [
            name for name in data.dims
            if name in data.coords and str(data[name].attrs.get("standard_name", ""))
            in (f"projection_{wanted}_coordinate", {"x": "longitude", "y": "latitude"}[wanted])
        ]  # fmt: skip
        if not (standard or found):
            raise ValueError(
                f"{place} must be on a grid with 1-D coordinates y and x, got the dimensions "
                f"{tuple(data.dims)} and the coordinates {tuple(data.coords)}"
            )
        name = (standard or found)[0]
        data = data if name == wanted else data.rename({name: wanted})
    data = _with_grid_mapping(data)
    crs = crs_of(data)
    if crs is None and str(data["x"].attrs.get("units", "")).startswith("degree"):
        crs = "EPSG:4326"
    if crs is None:
        raise ValueError(f"{place} must have a CRS (a grid mapping of CF), got none")
    for dim in ("y", "x"):
        regular_centers(data, dim, place)
    if data["x"].values[0] > data["x"].values[-1]:
        data = data.isel(x=slice(None, None, -1))
    mapping = next(iter(_grid_mappings(data.coords)), "spatial_ref")
    data = data.drop_vars(mapping) if mapping != "spatial_ref" else data
    for variable in data.variables.values():
        variable.encoding.pop("grid_mapping", None)
        variable.attrs.pop("grid_mapping", None)
    return data.rio.write_crs(crs)


def _with_grid_mapping(data: xr.Dataset) -> xr.Dataset:
    """Link the only grid mapping to the variables: writers with an encoding lose the link."""
    found = _grid_mappings(data.variables)
    if data.rio.crs is not None or len(found) != 1:
        return data
    return data.set_coords(found).rio.write_grid_mapping(found[0])


def _grid_mappings(variables: Mapping[Any, Any]) -> list[Any]:
    marks = {"crs_wkt", "grid_mapping_name"}
    return [name for name, variable in variables.items() if marks & set(variable.attrs)]


def _moved(
    array: xr.DataArray, grid: Any, resampling: str, nodata: float, sizes: Any
) -> xr.DataArray:
    """Return an array on another grid, of its own dtype."""
    chunks = (sizes[1][0], sizes[2][0])
    moved = array.odc.reproject(grid, resampling=resampling, dst_nodata=nodata, chunks=chunks)
    moved = moved.rename(dict(zip(grid.dimensions, ("y", "x"), strict=True)))
    return on_grid(moved.drop_attrs().assign_attrs(array.attrs), grid)


def _geobox(data: xr.Dataset, place: str) -> Any:
    from odc.geo.geobox import GeoBox
    from rasterio.transform import Affine

    (y, dy), (x, dx) = (regular_centers(data, dim, place) for dim in ("y", "x"))
    affine = Affine(dx, 0, x[0] - dx / 2, 0, dy, y[0] - dy / 2)
    return GeoBox((y.size, x.size), affine, crs_of(data).to_wkt())


# -- bands --------------------------------------------------------------------------------------


def _bands_of(data: xr.Dataset, bands: Any, given: Given, place: str) -> xr.DataArray:
    maps = _maps_of(data, place)
    if not maps:
        found = (f"{key} {variable.dims}" for key, variable in data.data_vars.items())
        raise ValueError(
            f"{place} must have variables of numbers along y and x, and time and band at most, got "
            f"{', '.join(found) or 'none'}"
        )
    known = in_order(name for name in maps if name in REFLECTIVE or name in OTHER)
    if bands is not None:
        names = choose_bands(bands, list(maps), place)
    else:
        names = [name for name in known if name in REFLECTIVE] or list(maps)
    given.check(names)
    arrays = []
    for name in names:
        array = maps[name]
        facts = array.attrs["declared"]
        factors = given.decide(name, facts["dtype"], (facts["scale"], facts["offset"]), place)
        source = BandSource(place, 1, None, given.of("nodata", name), *factors)
        arrays.append(
            xr.apply_ufunc(
                _reflectance, array.drop_attrs(), dask="parallelized", output_dtypes=[np.float32],
                kwargs={"source": source, "limits": facts.get("limits")},
            )
        )  # fmt: skip
    series = xr.concat(
        arrays, xr.DataArray(names, dims="band", name="band"), coords="minimal", compat="override"
    )
    waves = [_wavelength(maps[name]) for name in names]
    if not np.isnan(waves).all():
        units = {"long_name": "center wavelength", "units": "um"}
        series = series.assign_coords(wavelength=("band", waves, units))
    return series.assign_attrs(long_name="reflectance", units="1").rename(None)


def _maps_of(data: xr.Dataset, place: str) -> dict[str, xr.DataArray]:
    """Return the variables along y and x by name, those along ``band`` divided."""
    found: list[tuple[str, xr.DataArray]] = []
    for key, variable in data.data_vars.items():
        if not {"y", "x"} <= set(variable.dims) or variable.dtype.kind not in "iuf":
            continue
        if str(key).lower() in QUALITY:
            continue
        extra = set(variable.dims) - {"time", "band", "y", "x"}
        if extra:
            continue
        variable.attrs.setdefault("declared", {"scale": None, "offset": None, "dtype": "float32"})
        if "band" in variable.dims:
            n_bands = variable.sizes["band"]
            labels = variable["band"].values if "band" in variable.coords else range(1, n_bands + 1)
            found += [(str(labels[k]), variable.isel(band=k, drop=True)) for k in range(n_bands)]
        else:
            found.append((str(key), variable.drop_vars("band", errors="ignore")))
    maps = {band_name(name): variable for name, variable in found}
    if len(maps) < len(found):
        names = ", ".join(name for name, _ in found)
        raise ValueError(f"{place} must have bands of distinct names, got {names[:300]}")
    return maps


def _reflectance(
    values: np.ndarray, *, source: BandSource, limits: tuple[float, float] | None
) -> np.ndarray:
    """Return reflectance with NaN for nodata; of a block, or of nothing when Dask asks."""
    exact = np.float32 if np.can_cast(values.dtype, np.float32) else np.float64
    numbers = values.astype(exact)
    if source.nodata is not None:
        numbers = np.where(numbers == exact(source.nodata), exact(np.nan), numbers)
    if limits is not None:
        numbers[(numbers < exact(limits[0])) | (numbers > exact(limits[1]))] = np.nan
    reflectance = (numbers * exact(source.scale) + exact(source.offset)).astype(np.float32)
    require_possible(reflectance, source)
    return reflectance


def _wavelength(array: xr.DataArray) -> float:
    """Return the wavelength in µm that an attribute of a variable gives, or NaN."""
    try:
        value = float(array.attrs.get("radiation_wavelength", array.attrs.get("wavelength", "nan")))
    except (TypeError, ValueError):
        return float("nan")
    return value / 1000 if value > 100 else value


def _quality_of(data: xr.Dataset) -> xr.DataArray | None:
    for key in data.data_vars:
        if (kind := QUALITY.get(str(key).lower())) and {"y", "x"} <= set(data[key].dims):
            nodata, dtype = QUALITY_VALUES[kind]
            raw = data[key].fillna(nodata) if data[key].dtype.kind == "f" else data[key]
            return raw.astype(dtype).drop_attrs().assign_attrs(quality_kind=kind)
    return None


def _with_times(data: xr.Dataset, date: Any, place: str) -> xr.Dataset:
    """Return a Dataset along ``time`` by increasing date, or raise if its times are no dates."""
    if data.sizes.get("time", 1) == 1:
        when = _time_of(data, date, place)
        data = data.isel(time=0) if "time" in data.dims else data
        return data.drop_vars("time", errors="ignore").expand_dims(time=[when])
    found = data["time"].values if "time" in data.coords else range(data.sizes["time"])
    times = np.array([_as_time(time, place) for time in found])
    if len(np.unique(times)) < len(times):
        raise ValueError(f"{place} must hold each time once, got one more than once")
    return data.assign_coords(time=times).sortby("time")


def _time_of(data: xr.Dataset, date: Any, place: str) -> np.datetime64:
    """Return the date of the only scene."""
    if date is not None:
        return as_time(date)
    if "time" in data.coords:
        return _as_time(data["time"].values.reshape(-1)[0], place)
    if found := data.attrs.get("time_coverage_start"):
        return as_time(str(found), f"time_coverage_start of {place}")
    raise ValueError(
        f"date must be given, because {place} declares none: the day of the image, such as "
        "'2025-06-01'"
    )


def _as_time(time: Any, place: str) -> np.datetime64:
    """Return a time as xarray decodes it; plain numbers and other calendars are refused."""
    try:
        return as_time(time)
    except (TypeError, ValueError):
        raise ValueError(
            f"{place} must have times that are dates of the standard calendar, got {time}"
        ) from None
