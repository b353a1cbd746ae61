"""What a scene, a label map and a grid are: missing values, class names, CRS and units."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import as_real_array, require_dims, shown

if TYPE_CHECKING:
    import pyproj

MISSING_LABEL = 255
"""Value of a missing pixel in every label map, mask and change map (uint8)."""

FIRST_DATE = date(1978, 6, 27)
"""No series begins earlier: the launch of Seasat, the first satellite with an imaging radar."""

NODATA_KEYS = ("_FillValue", "missing_value", "nodata")
"""Attributes, or keys of the encoding, that name the value of a missing pixel."""

SCALE_KEYS = {"scale_factor": 1, "add_offset": 0, "scales": 1, "offsets": 0}
"""Attributes, or keys of the encoding, that give a scale or offset, and what does nothing there.

rioxarray writes the last two, one number for each band, where bands differ.
"""

_UNITS = {
    **dict.fromkeys(("m", "metre", "meter"), ("length", 1.0)),
    **dict.fromkeys(("km", "kilometre", "kilometer"), ("length", 1000.0)),
    **dict.fromkeys(("ft", "foot", "feet", "us survey foot", "us ft"), ("length", 0.3048)),
    **dict.fromkeys(("°", "degree", "degree east", "degree north"), ("angle", np.pi / 180)),
    **dict.fromkeys(("degrees east", "degrees north"), ("angle", np.pi / 180)),
    **dict.fromkeys(("grad", "gon"), ("angle", np.pi / 200)),
    **dict.fromkeys(("rad", "radian"), ("angle", 1.0)),
}
"""Units of coordinates, in the singular, in meters or radians; others are not judged."""

GRID_TOLERANCE = 1e-3
"""Fraction of a pixel by which coordinates of equal grids may differ, as files round them."""


# -- what is missing -----------------------------------------------------------------------------


def nodata_values(array: xr.DataArray) -> tuple[float, ...]:
    """Return the values that mark missing pixels in `array`, beside NaN; often none or one.

    They are what ``_FillValue``, ``missing_value`` and ``nodata`` say in the attributes and in the
    encoding, and what rioxarray's accessor holds. An encoding with scale or offset describes the
    numbers of the file, whose missing values are NaN here, and is left out.

    Raises
    ------
    ValueError
        If one of them is not a number.
    """
    found = [array.attrs.get(key) for key in NODATA_KEYS]
    encoding = array.encoding
    scaled = (
        set(numbers_in(encoding.get(key), f"the {key} of an array")) - {plain}
        for key, plain in SCALE_KEYS.items()
    )
    if not any(scaled):
        found += [encoding.get(key) for key in NODATA_KEYS]
    what = "the nodata value of an array"
    values = {number for value in found for number in numbers_in(value, what)}
    if hasattr(array, "rio") and {"x", "y"} <= set(array.dims):  # rioxarray has been imported
        try:
            with np.errstate(over="ignore"):
                values.update(numbers_in(array.rio.nodata, what))
        except (TypeError, ValueError, OverflowError):
            pass  # several values, text, or one that the dtype cannot hold: they were read above
    return tuple(sorted(value for value in values if value == value))


def numbers_in(value: Any, what: str) -> list[float]:
    """Return the numbers that an attribute holds: none, one or several; integers stay exact.

    Raises
    ------
    ValueError
        If it is no number; `what` is its name in the message.
    """
    try:
        numbers = np.ravel([] if value is None else value)
        if numbers.dtype.kind == "c":
            raise TypeError("complex numbers have no order")
        return (numbers if numbers.dtype.kind in "biuf" else numbers.astype(np.float64)).tolist()
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{what} must be a number that float64 can hold, got {shown(value)} in its attributes "
            "or encoding"
        ) from error


def equals_nodata(values: Any, nodata: Sequence[float]) -> Any:
    """Return where `values`, of any array library, are NaN or one of `nodata`: bool."""
    missing = values != values
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what a float32 cannot hold is infinite there
            wanted = [values.dtype.type(value) for value in nodata]
            if values.dtype == np.float64:  # a file in float32 rounded its nodata value, too
                wanted += [np.float64(np.float32(value)) for value in nodata]
    else:
        wanted = [int(value) for value in nodata if _holds(values.dtype, value)]
    for value in wanted:
        missing = missing | (values == value)
    return missing


def _holds(dtype: np.dtype, value: float) -> bool:
    """Return whether an integer of `dtype` can have a value."""
    if dtype.kind not in "iu" or not (isinstance(value, int) or value.is_integer()):
        return False
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def is_missing(array: xr.DataArray) -> xr.DataArray:
    """Return where values of `array` are NaN or nodata: bool, lazy if `array` is."""
    nodata = nodata_values(array)
    missing = xr.apply_ufunc(
        lambda values: equals_nodata(values, nodata), array, dask="allowed", keep_attrs=False
    )
    return missing.rename(None)


def mask_and_float(array: xr.DataArray) -> xr.DataArray:
    """Return `array` in floats with NaN where it is missing.

    Numbers of 8 and 16 bits become float32, which holds all of them, other integers float64.
    Attributes are kept but for those that name a nodata value.
    """
    values = array
    if array.dtype.itemsize <= 2:
        values = array.astype("float32")
    elif array.dtype.kind != "f":
        values = array.astype("float64")
    elif not nodata_values(array):
        return array
    values = values.where(~is_missing(array))
    values.attrs = {key: value for key, value in array.attrs.items() if key not in NODATA_KEYS}
    values.encoding = {}
    return values


def valid_pixels(scene: xr.DataArray) -> xr.DataArray:
    """Return where every band of `scene` is present.

    Parameters
    ----------
    scene
        Array with a ``band`` dimension; `is_missing` says which of its values are missing.

    Returns
    -------
    xarray.DataArray
        bool, the dimensions of `scene` without ``band``; lazy if `scene` is.
    """
    require_dims(scene, ["band"], "scene", allow_extra=True)
    return ~is_missing(scene).any("band")


# -- labels and classes --------------------------------------------------------------------------


def as_labels(
    labels: xr.DataArray,
    what: str = "labels",
    dims: Iterable[Hashable] = ("y", "x"),
    *,
    allow_extra: bool = False,
) -> xr.DataArray:
    """Return a label map in uint8 with 255 where it is missing, however it was stored.

    Integers and booleans of any size are taken, and floats of whole numbers, which is what readers
    make of a file whose nodata value they turn into NaN. `rioxarray.open_rasterio` gives every
    label map a ``band`` of size 1; unless `dims` names it, it is taken out.

    Parameters
    ----------
    labels
        Labels from 0 to 254. Missing: NaN, 255, or the nodata value that the array declares; not
        255 beside another one, which could be a class.
    what
        Name for them in error messages.
    dims, allow_extra
        As for `require_dims`.

    Returns
    -------
    xarray.DataArray
        `labels` itself if it is like that already; lazy if `labels` is. Attributes are kept, with
        ``_FillValue`` 255.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers.
    ValueError
        If a dimension is wrong or a value is no label; on compute where `labels` is lazy.
    """
    dims = tuple(dims)
    if "band" not in dims:
        labels = without_single_band(labels)
    require_dims(labels, dims, what, allow_extra=allow_extra)
    nodata = nodata_values(labels)
    if labels.dtype == np.uint8 and set(nodata) <= {MISSING_LABEL}:
        return labels
    result = xr.apply_ufunc(
        lambda values: labels_of(values, what, nodata),
        labels, dask="parallelized", output_dtypes=[np.uint8],
    )  # fmt: skip
    kept = {key: value for key, value in labels.attrs.items() if key not in NODATA_KEYS}
    result.attrs = kept | {"_FillValue": MISSING_LABEL}
    return result.rename(labels.name)


def without_single_band(labels: Any) -> Any:
    """Return a DataArray without its ``band`` of size 1, which a GeoTIFF of labels brings."""
    if isinstance(labels, xr.DataArray) and labels.sizes.get("band") == 1:
        return labels.isel(band=0, drop=True)
    return labels


def labels_of(values: np.ndarray, what: str, nodata: Sequence[float] = ()) -> np.ndarray:
    """Return an array of labels in uint8, 255 where NaN, 255 or nodata, or raise ValueError.

    A 255 beside another nodata value is no label: it may be a class, which no map can hold.
    """
    if nodata and MISSING_LABEL not in nodata and (values == MISSING_LABEL).any():
        raise ValueError(
            f"{what} must be whole numbers from 0 to {MISSING_LABEL - 1}, got {MISSING_LABEL}, "
            f"while their nodata value is {nodata[0]}: set it to that where missing, or renumber"
        )
    missing = equals_nodata(values, (*nodata, MISSING_LABEL))
    present = values[~missing]
    whole = present.dtype.kind != "f" or (present == np.floor(present)).all()
    if present.size and not (0 <= present.min() and present.max() < MISSING_LABEL and whole):
        wrong = present[(present < 0) | (present >= MISSING_LABEL) | (present != np.floor(present))]
        raise ValueError(
            f"{what} must be whole numbers from 0 to {MISSING_LABEL - 1}, and {MISSING_LABEL} "
            f"where missing, got {wrong.flat[0]}"
        )
    result = np.full(values.shape, MISSING_LABEL, np.uint8)
    result[~missing] = present
    return result


def align_labels(labels: Any, samples: xr.DataArray, what: str = "labels") -> xr.DataArray:
    """Return one label for each pixel of `samples`, in the order of their pixels.

    Parameters
    ----------
    labels
        DataArray with the dimensions of `samples` without ``band``, or a 1-D array of numbers in
        the order of 1-D samples. Values are taken as by `as_labels`.
    samples
        Samples (pixel, band), or a scene (band, y, x).
    what
        Name for the labels in error messages.

    Returns
    -------
    xarray.DataArray
        uint8, 255 where missing; lazy if `labels` is. A DataArray is brought into the order of
        `samples` by its coordinates, never by position where it has some.

    Raises
    ------
    TypeError
        If `labels` are not real numbers, or have a mask.
    ValueError
        If they do not match the samples, or a value is no label (on compute where lazy).
    """
    dims = [dim for dim in samples.dims if dim != "band"]
    if not isinstance(labels, xr.DataArray):
        labels = as_real_array(labels, what)
        if labels.ndim != 1 or len(dims) != 1:
            raise ValueError(
                f"{what} must be 1-D for samples (pixel, band), or a label map (a DataArray) for a "
                f"scene, got the shape {labels.shape} for the dimensions {samples.dims}"
            )
        labels = xr.DataArray(labels, dims=dims)
    labels = as_labels(labels, what, dims).transpose(*dims)
    if {"x", "y"} <= set(dims):
        labels = require_same_grid(samples, labels)
    for dim in dims:
        labels = _in_order_of(samples, labels, dim, what)
    sizes = {dim: samples.sizes[dim] for dim in dims}
    if dict(labels.sizes) != sizes:
        raise ValueError(
            f"{what} must have one value for each pixel of the samples, {sizes}, "
            f"got {dict(labels.sizes)}"
        )
    return labels


def _in_order_of(
    samples: xr.DataArray, labels: xr.DataArray, dim: Hashable, what: str
) -> xr.DataArray:
    """Return `labels` in the order that the coordinate `dim` of `samples` has, if both have one."""
    wanted, given = samples.indexes.get(dim), labels.indexes.get(dim)
    if wanted is None or given is None:
        for name in set(samples.coords) & set(labels.coords):
            one, two = samples[name].variable, labels[name].variable
            if one.dims == two.dims == (dim,) and not one.equals(two):
                raise ValueError(
                    f"{what} must have the coordinate {name} of the samples, got other values"
                )
        return labels
    if sorted(map(str, given.names)) != sorted(map(str, wanted.names)):
        raise ValueError(
            f"{what} must have the {dim} index of the samples, with the levels "
            f"{list(wanted.names)}, got {list(given.names)}"
        )
    if list(given.names) != list(wanted.names):
        given = given.reorder_levels(wanted.names)
    if _same_index(wanted, given):
        return labels
    if not given.is_unique:
        raise ValueError(
            f"{what} must have one value for each {dim}, "
            f"got several for {given[given.duplicated()][0]}"
        )
    order = given.get_indexer(wanted)
    if (order < 0).any():
        raise ValueError(
            f"{what} must have a value for each {dim} of the samples, "
            f"got none for {wanted[order < 0][0]}"
        )
    return labels.isel({dim: order}).drop_vars(set(given.names) | {dim}, errors="ignore")


def flags(long_name: str, classes: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of a label map whose classes have names (CF conventions)."""
    return {
        "long_name": long_name,
        "_FillValue": MISSING_LABEL,
        "flag_values": list(range(len(classes))),
        "flag_meanings": " ".join(classes),
    }


def meanings_of(labels: xr.DataArray) -> dict[int, str]:
    """Return the class names by number out of the CF attributes ``flag_values``, ``flag_meanings``.

    GeoTIFF keeps attributes as text; ``"[0, 1]"`` and ``"0 1"`` are read as the list that they
    were.

    Raises
    ------
    ValueError
        If there are not as many numbers as names, or the numbers are not labels, each once.
    """
    values = labels.attrs.get("flag_values", [])
    if isinstance(values, str):
        values = re.findall(r"(?<![\w.])[-+]?\d+", values)
    names = labels.attrs.get("flag_meanings", "")
    names = names.split() if isinstance(names, str) else np.atleast_1d(names).astype(str).tolist()
    try:
        numbers = labels_of(np.atleast_1d(values).astype(np.float64), "flag_values").tolist()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"flag_values must be whole numbers from 0 to {MISSING_LABEL - 1}, got {shown(values)}"
        ) from error
    if len(numbers) != len(names):
        raise ValueError(
            f"labels must have one name for each of flag_values, got {len(numbers)} flag_values "
            f"and {len(names)} flag_meanings"
        )
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"flag_values must hold each number once, got {numbers}")
    return dict(zip(numbers, names, strict=True))


# -- points ---------------------------------------------------------------------------------------


def require_seen(when: date, what: str) -> None:
    """Raise ValueError unless a radar satellite can have seen the ground on a date."""
    last = datetime.now(UTC).date() + timedelta(days=1)  # time zones are ahead of each other
    if not FIRST_DATE <= when <= last:
        raise ValueError(
            f"{what} must be a date from {FIRST_DATE}, the launch of the first imaging radar "
            f"satellite, to today, got {when}"
        )


def dates_of(names: Sequence[str], what: str) -> np.ndarray:
    """Return the dates of a series, given as text of ISO 8601, or raise.

    Parameters
    ----------
    names
        Of displacements in shards, such as ``["2020-01-03", "2020-01-09"]``.
    what
        Name for them in error messages.

    Returns
    -------
    numpy.ndarray
        datetime64[ns] (time,).

    Raises
    ------
    ValueError
        If a name is no date, the dates do not rise, or no radar satellite can have seen one.
    """
    for name in names:
        try:
            when = datetime.fromisoformat(name)
        except ValueError:
            raise ValueError(f"{what} must be dates such as 2020-01-03, got {name!r}") from None
        if when.tzinfo is not None:
            raise ValueError(f"{what} must be dates without a time zone, got {name!r}")
        require_seen(when.date(), what)
    times = pd.DatetimeIndex([datetime.fromisoformat(name) for name in names])
    if not (times.is_monotonic_increasing and times.is_unique):
        raise ValueError(f"{what} must be dates that rise, each once")
    return times.to_numpy("datetime64[ns]")


def require_places(longitude: np.ndarray, latitude: np.ndarray) -> None:
    """Raise ValueError unless coordinates of points are finite degrees on the Earth."""
    missing = np.count_nonzero(~(np.isfinite(longitude) & np.isfinite(latitude)))
    if missing:
        raise ValueError(
            f"longitude and latitude must be finite, got {missing} of {longitude.size} points "
            "where they are not"
        )
    for name, values, low, high in (
        ("latitude", latitude, -90, 90), ("longitude", longitude, -180, 360)
    ):  # fmt: skip
        if values.size and not low <= values.min() <= values.max() <= high:
            raise ValueError(
                f"{name} must lie between {low} and {high} degrees, got {values.min():g} to "
                f"{values.max():g}: are longitude and latitude swapped, or projected, in meters?"
            )


def step_of(step: str | pd.Timedelta | None) -> pd.Timedelta | None:
    """Return the time between regular dates as `fill_gaps` takes it, or raise.

    Raises
    ------
    TypeError
        If it is neither text nor a span of time; a number would be one of nanoseconds.
    ValueError
        If the text is no span of time, or it is not longer than 0.
    """
    if step is None:
        return None
    wanted = "step must be a span of time such as '6D'"
    if not isinstance(step, str | timedelta | np.timedelta64):
        raise TypeError(f"{wanted}, got {shown(step)}")
    try:
        every = pd.Timedelta(step)
    except ValueError:
        raise ValueError(f"{wanted}, got {shown(step)}") from None
    if not every > pd.Timedelta(0):  # nor NaT
        raise ValueError(f"{wanted} and longer than 0, got {shown(step)}")
    return every


def displacement_of(points: xr.Dataset) -> xr.DataArray:
    """Return ``displacement`` (point, time) of points, NaN where it is missing, or raise.

    Raises
    ------
    TypeError
        If `points` is not a Dataset, or its displacements are no real numbers.
    ValueError
        If it has no displacement, or one of other dimensions.
    """
    if not isinstance(points, xr.Dataset):
        raise TypeError(f"points must be an xarray.Dataset, got {type(points).__name__}")
    if "displacement" not in points:
        raise ValueError(f"points must have displacement (point, time), got {list(points)}")
    require_dims(points.displacement, ("point", "time"), "displacement of points")
    return mask_and_float(points.displacement)


# -- grids and units -----------------------------------------------------------------------------


def crs_of(array: xr.DataArray | xr.Dataset) -> pyproj.CRS | None:
    """Return the coordinate reference system that rioxarray finds on `array`, or None.

    Raises
    ------
    ValueError
        If it cannot be read, or ``units`` of x or y name another unit than that of the CRS, such as
        km for m, or the scan angles of a geostationary satellite.
    """
    import pyproj
    import rasterio.errors
    import rioxarray  # noqa: F401  registers the accessor

    try:
        crs = array.rio.crs
        crs = None if crs is None else pyproj.CRS.from_user_input(crs)
    except (pyproj.exceptions.CRSError, rasterio.errors.CRSError) as error:
        raise ValueError(
            "spatial_ref must hold a coordinate reference system, got one that cannot be read: "
            "set it with rio.write_crs"
        ) from error
    if crs is not None:
        _require_units_of(crs, array)
    return crs


def _require_units_of(crs: pyproj.CRS, array: xr.DataArray | xr.Dataset) -> None:
    """Raise ValueError if x or y say that they are in another unit than `crs` counts in."""
    axes = crs.axis_info
    kind = "angle" if crs.is_geographic else "length" if crs.is_projected else None
    for dim in ("x", "y") if axes and kind else ():
        units = str(array[dim].attrs.get("units", "")) if dim in array.coords else ""
        unit, size = _UNITS.get(units.lower().replace("_", " ").removesuffix("s"), (None, 0))
        # A file may say feet where its CRS has US survey feet, 2 parts in a million longer.
        same_size = abs(size / axes[0].unit_conversion_factor - 1) < 1e-4
        if unit and not (unit == kind and same_size):
            raise ValueError(
                f"the coordinate {dim} must be in the unit of its CRS, {axes[0].unit_name}, got "
                f"{units!r} in its attributes: convert it and set the new units"
            )


def transformer(source: Any, target: Any) -> pyproj.Transformer:
    """Return the transformer between two CRSs, x before y, or raise if there is none.

    Raises
    ------
    ValueError
        If no way leads from one to the other, as from the Moon to the Earth.
    """
    import pyproj

    try:
        return pyproj.Transformer.from_crs(source, target, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        names = [pyproj.CRS.from_user_input(crs).name for crs in (source, target)]
        raise ValueError(
            f"crs must be one of the Earth, got no way between {names[0]} and {names[1]}"
        ) from error


def same_crs(one: pyproj.CRS | None, two: pyproj.CRS | None) -> bool:
    """Return whether two CRSs, or their absence, place pixels alike.

    The order of axes, the name and a vertical part do not matter, which differ between an EPSG
    code and what a file makes of it.
    """
    if one is None or two is None:
        return one is two
    one, two = one.to_2d(), two.to_2d()
    if one.equals(two, ignore_axis_order=True):
        return True
    code = one.to_epsg()
    return code is not None and code == two.to_epsg()


def full_turn(crs: pyproj.CRS | None) -> float | None:
    """Return 360° in the unit of a geographic CRS; None for any other."""
    if crs is None or not crs.is_geographic:
        return None
    return round(2 * np.pi / crs.axis_info[0].unit_conversion_factor, 9)


def grid_tolerance(step: float, *coordinates: np.ndarray) -> float:
    """Return by how much equal coordinates may differ, where pixels are `step` wide.

    It is `GRID_TOLERANCE` of a pixel, or what the dtype of a coordinate rounds away (float32
    holds northings to half a meter), but never more than a tenth of a pixel.
    """
    rounding = [
        float(np.spacing(np.abs(coordinate).max()))
        for coordinate in coordinates
        if coordinate.dtype.kind == "f"
    ]
    return min(max(GRID_TOLERANCE * step, *rounding, 0), 0.1 * step)


def same_coordinate(one: np.ndarray, two: np.ndarray, *, step: float | None = None) -> bool:
    """Return whether two coordinates agree, by position, within `grid_tolerance`.

    `step` is the size of a pixel. By default it is the smallest step of `one`; and that of a
    single pixel, which has none, a millionth of its distance from the origin.
    """
    one, two = np.asarray(one), np.asarray(two)
    if one.shape != two.shape:
        return False
    if one.size == 0 or one.dtype.kind not in "iuf" or two.dtype.kind not in "iuf":
        return np.array_equal(one, two)
    here, there = one.astype(np.float64), two.astype(np.float64)
    if not (np.isfinite(here).all() and np.isfinite(there).all()):
        return False
    if one.size > 1:
        step = np.abs(np.diff(here)).min()
    elif step is None:
        step = 1e-6 * np.abs(here).max()
    return bool((np.abs(here - there) <= grid_tolerance(step, one, two)).all())


def pixel_centers(array: xr.DataArray | xr.Dataset, dim: str, what: str) -> np.ndarray:
    """Return the coordinate of pixels along `dim` in float64, or raise ValueError.

    Raises
    ------
    ValueError
        If it is absent, empty, not numeric, not one-dimensional, not finite, or not distinct.
    """
    wanted = f"the coordinate {dim} of {what} must be 1-D, of finite numbers"
    if dim not in array.coords or dim not in array.dims:
        found = sorted(map(str, array.coords))
        raise ValueError(
            f"{wanted}, got none: it has the dimensions {tuple(array.sizes)} and the coordinates "
            f"{found}; rename those of its grid to y and x"
        )
    values = array[dim].values
    if values.size == 0 or values.dtype.kind not in "iuf":
        raise ValueError(f"{wanted}, got {values.size} of dtype {values.dtype}")
    centers = values.astype(np.float64)
    if not np.isfinite(centers).all():
        raise ValueError(f"{wanted}, got {centers[~np.isfinite(centers)][0]}")
    if np.unique(centers).size != centers.size:
        raise ValueError(f"{wanted}, each one once, got {centers.size} with repeats")
    return centers


def regular_centers(
    array: xr.DataArray | xr.Dataset, dim: str, what: str, turn: float | None = None
) -> tuple[np.ndarray, float]:
    """Return the pixel centers of a raster along `dim`, and the step between them.

    Parameters
    ----------
    array, dim, what
        As for `pixel_centers`.
    turn
        `full_turn` of the CRS where `dim` is a longitude: a raster across the antimeridian, whose
        longitudes jump from 180 to −180 or from 360 to 0, is unrolled.

    Returns
    -------
    centers : numpy.ndarray
        float64, ascending or descending.
    step : float
        Negative where the centers descend.

    Raises
    ------
    ValueError
        If there are fewer than two, or they are not regular: unsorted, doubled, or with a gap.
    """
    centers = pixel_centers(array, dim, what)
    if centers.size < 2:
        raise ValueError(f"{what} must have at least 2 pixels along {dim}, got {centers.size}")
    if turn is not None:
        centers = np.unwrap(centers, period=turn)
    steps = np.diff(centers)
    step = float((centers[-1] - centers[0]) / steps.size)
    if step == 0 or np.abs(steps - step).max() > grid_tolerance(abs(step), array[dim].values):
        raise ValueError(
            f"the coordinate {dim} of {what} must be regular, sorted pixel centers, got steps from "
            f"{steps.min():.6g} to {steps.max():.6g}: sort it with sortby, and fill gaps with "
            "reindex"
        )
    return centers, step


def require_same_grid(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Return `b` with the x and y of `a`, or raise unless both lie on the same grid.

    Coordinates may differ by a small fraction of a pixel, `grid_tolerance`, as those of an array
    and of the same array saved and opened again do. xarray would align them by their last bit, and
    leave nothing; so the result has those of `a`.

    Raises
    ------
    ValueError
        If the grids differ; the message says in what, and to regrid first.
    """
    cure = "bring both onto one grid with cookbook_utils.regridding.regrid first"
    steps = [_smallest_step(a.get_index(dim)) for dim in ("y", "x")]
    for dim, other_step in (("y", steps[1]), ("x", steps[0])):
        one, two = a.get_index(dim), b.get_index(dim)
        if not same_coordinate(one, two, step=other_step):
            raise ValueError(
                f"the grids differ in {dim}: {_describe(one)} against {_describe(two)}; {cure}"
            )
    crs = crs_of(a), crs_of(b)
    if not same_crs(*crs):
        names = [one.name if one else "none" for one in crs]
        raise ValueError(f"the grids differ in CRS: {names[0]} against {names[1]}; {cure}")
    # The variable alone: a coordinate as DataArray would bring the time of `a` along.
    return b.assign_coords({dim: a[dim].variable for dim in ("y", "x") if dim in a.coords})


def _smallest_step(coordinate) -> float | None:
    """Return the smallest step of a numeric coordinate, or None if it has a single pixel."""
    coordinate = np.asarray(coordinate)
    if coordinate.size < 2 or coordinate.dtype.kind not in "iuf":
        return None
    return float(np.abs(np.diff(coordinate.astype(np.float64))).min())


def paired_labels(one: Any, two: Any, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return two labelings of the same pixels in memory, in uint8 with 255 where missing.

    Parameters
    ----------
    one, two
        DataArrays, whose pixels `align_labels` brings into the order of `one`; or arrays or lists
        of one shape. `as_labels` says what is a label.
    names
        Names for them in error messages.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If they are not of the same pixels, or a value is no label.
    """
    one, two = without_single_band(one), without_single_band(two)
    if isinstance(one, xr.DataArray) and isinstance(two, xr.DataArray):
        one = as_labels(one, names[0], one.dims)
        two = align_labels(two, one, names[1])
    labels = []
    for array, name in zip((one, two), names, strict=True):
        values = np.asarray(as_real_array(array, name))
        if values.ndim == 0:
            raise ValueError(f"{name} must be an array of labels, got the single number {values}")
        nodata = nodata_values(array) if isinstance(array, xr.DataArray) else ()
        labels.append(labels_of(values, name, nodata))
    if labels[0].shape != labels[1].shape:
        raise ValueError(
            f"{names[1]} must have the shape of {names[0]}, {labels[0].shape}, "
            f"got {labels[1].shape}"
        )
    return labels[0], labels[1]


def _same_index(one: pd.Index, two: pd.Index) -> bool:
    """Return whether two indexes agree by position, each level within `grid_tolerance`."""
    if not (isinstance(one, pd.MultiIndex) and isinstance(two, pd.MultiIndex)):
        return same_coordinate(one, two)
    if one.names != two.names or len(one) != len(two):
        return False
    one, two = one.remove_unused_levels(), two.remove_unused_levels()
    return all(
        same_coordinate(here, there) and np.array_equal(this, that)
        for here, there, this, that in zip(
            one.levels, two.levels, one.codes, two.codes, strict=True
        )
    )


def _describe(coordinate) -> str:
    size = len(coordinate)
    return f"{size} from {coordinate[0]} to {coordinate[-1]}" if size else "none"


def units_of(array: xr.DataArray) -> str | None:
    """Return the units in the attributes as text, or None; a GeoTIFF has 1 in place of "1"."""
    units = array.attrs.get("units")
    return None if units is None else str(units)


def require_reflectance(scene: xr.DataArray, what: str) -> None:
    """Raise unless `scene` holds reflectance: units ``"1"``, neither standardized nor rescaled.

    Raises
    ------
    ValueError
        If it holds digital numbers, display values or scaled features.
    """
    units, scaling = units_of(scene), scene.attrs.get("scaling")
    if scaling is not None:
        raise ValueError(
            f"scene must hold reflectance for {what}, got {scaling} values: give the scene as it "
            "was before scaling.standardize or scaling.rescale"
        )
    if units != "1":
        raise ValueError(
            f'scene must hold reflectance (attrs["units"] == "1") for {what}, got units '
            f"{shown(units)}: call cookbook_utils.scaling.to_reflectance(scene) first"
        )


def band_coords(
    names: Sequence[str], numbers: Sequence[int], wavelengths: Sequence[float]
) -> dict[str, Any]:
    """Return the coordinates of bands: their names, numbers and center wavelengths (um)."""
    micrometers = {"long_name": "center wavelength", "units": "um"}
    return {
        "band": list(names),
        "number": ("band", list(numbers)),
        "wavelength": ("band", list(wavelengths), micrometers),
    }
