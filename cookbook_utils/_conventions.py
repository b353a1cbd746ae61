"""What a scene, a label map and a grid are: missing values, class names, CRS and units."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims

if TYPE_CHECKING:
    import pyproj

MISSING_LABEL = 255
"""Value of a missing pixel in every label map, mask and change map (uint8)."""

NODATA_KEYS = ("_FillValue", "missing_value", "nodata")
"""Attributes, or keys of the encoding, that name the value of a missing pixel."""

SCALE_KEYS = {"scale_factor": 1, "add_offset": 0, "scales": 1, "offsets": 0}
"""Attributes, or keys of the encoding, that give a scale or offset, and what does nothing there.

rioxarray writes the last two, one number for each band, where bands differ.
"""

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
    scaled = (np.asarray(encoding.get(key, plain)) != plain for key, plain in SCALE_KEYS.items())
    if not any(map(np.any, scaled)):
        found += [encoding.get(key) for key in NODATA_KEYS]
    values = {number for value in found for number in _numbers_in(value)}
    if hasattr(array, "rio") and {"x", "y"} <= set(array.dims):  # rioxarray has been imported
        try:
            values.update(_numbers_in(array.rio.nodata))
        # It raises for text, for several values and for one that the dtype cannot hold, all of
        # which have been read above.
        except (TypeError, ValueError, OverflowError):
            pass
    return tuple(sorted(value for value in values if value == value))


def _numbers_in(nodata: Any) -> list[float]:
    """Return the numbers that an attribute names: none, one or several; integers stay exact."""
    try:
        numbers = np.atleast_1d([] if nodata is None else nodata)
        return (numbers if numbers.dtype.kind in "biuf" else numbers.astype(np.float64)).tolist()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the nodata value of an array must be a number, got {nodata!r} in its attributes "
            "or encoding"
        ) from error


def equals_nodata(values: Any, nodata: Sequence[float]) -> Any:
    """Return where `values`, of any array library, are NaN or one of `nodata`: bool."""
    if values.dtype.kind == "f":
        missing = values != values
        wanted = [values.dtype.type(value) for value in nodata]
        if values.dtype == np.float64:  # a file in float32 rounded its nodata value, too
            wanted += [np.float64(np.float32(value)) for value in nodata]
    else:
        missing = values != values
        wanted = [int(value) for value in nodata if _holds(values.dtype, value)]
    for value in wanted:
        missing = missing | (values == value)
    return missing


def _holds(dtype: np.dtype, value: float) -> bool:
    """Return whether an integer of `dtype` can have a value."""
    if dtype.kind not in "iu" or value != np.floor(value):
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

    Integers of 8 and 16 bits become float32, which holds all of them, others float64. Attributes
    are kept but for those that name a nodata value.
    """
    missing = is_missing(array)
    values = array
    if not np.issubdtype(array.dtype, np.floating):
        values = array.astype("float32" if array.dtype.itemsize <= 2 else "float64")
    elif not nodata_values(array):
        return array
    values = values.where(~missing)
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
        Labels from 0 to 254. Missing: NaN, 255, or the nodata value that the array declares.
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
    """Return an array of labels in uint8, 255 where NaN, 255 or nodata, or raise ValueError."""
    missing = equals_nodata(values, (*nodata, MISSING_LABEL))
    present = values[~missing]
    if present.size and not (
        0 <= present.min()
        and present.max() < MISSING_LABEL
        and (present == np.floor(present)).all()
    ):
        wrong = present[(present < 0) | (present >= MISSING_LABEL) | (present != np.floor(present))]
        raise ValueError(
            f"{what} must be whole numbers from 0 to {MISSING_LABEL - 1}, and {MISSING_LABEL} "
            f"where missing, got {wrong.flat[0]}"
        )
    result = np.full(values.shape, MISSING_LABEL, np.uint8)
    result[~missing] = present
    return result


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
            f"flag_values must be whole numbers from 0 to {MISSING_LABEL - 1}, got {values!r}"
        ) from error
    if len(numbers) != len(names):
        raise ValueError(
            f"labels must have one name for each of flag_values, got {len(numbers)} flag_values "
            f"and {len(names)} flag_meanings"
        )
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"flag_values must hold each number once, got {numbers}")
    return dict(zip(numbers, names, strict=True))


# -- grids and units -----------------------------------------------------------------------------


def crs_of(array: xr.DataArray | xr.Dataset) -> pyproj.CRS | None:
    """Return the coordinate reference system that rioxarray finds on `array`, or None.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    import pyproj
    import rasterio.errors
    import rioxarray  # noqa: F401  registers the accessor

    try:
        crs = array.rio.crs
        return None if crs is None else pyproj.CRS.from_user_input(crs)
    except (pyproj.exceptions.CRSError, rasterio.errors.CRSError) as error:
        raise ValueError(
            "spatial_ref must hold a coordinate reference system, got one that cannot be read: "
            "set it with rio.write_crs"
        ) from error


def same_coordinate(one: np.ndarray, two: np.ndarray) -> bool:
    """Return whether two coordinates agree within `GRID_TOLERANCE` of their smallest step."""
    one, two = np.asarray(one), np.asarray(two)
    if one.shape != two.shape:
        return False
    if one.size < 2 or one.dtype.kind not in "iuf":
        return np.array_equal(one, two)
    step = np.abs(np.diff(one.astype(np.float64))).min()
    return bool((np.abs(one.astype(np.float64) - two) <= GRID_TOLERANCE * step).all())


def require_same_grid(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Return `b` with the x and y of `a`, or raise unless both lie on the same grid.

    Coordinates may differ by a small fraction of a pixel, `GRID_TOLERANCE`, as those of an array
    and of the same array saved and opened again do. xarray would align them by their last bit, and
    leave nothing; so the result has those of `a`.

    Raises
    ------
    ValueError
        If the grids differ; the message says in what, and to regrid first.
    """
    cure = "bring both onto one grid with cookbook_utils.regridding.regrid first"
    for dim in ("y", "x"):
        one, two = a.get_index(dim), b.get_index(dim)
        if not same_coordinate(one, two):
            raise ValueError(
                f"the grids differ in {dim}: {_describe(one)} against {_describe(two)}; {cure}"
            )
    if crs_of(a) != crs_of(b):
        names = [crs.name if crs else "none" for crs in (crs_of(a), crs_of(b))]
        raise ValueError(f"the grids differ in CRS: {names[0]} against {names[1]}; {cure}")
    return b.assign_coords({dim: a[dim] for dim in ("y", "x") if dim in a.coords})


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
        raise ValueError(f"{what} needs reflectance, found {scaling} values: give it the scene "
                         "as it was before scaling.standardize or scaling.rescale")  # fmt: skip
    if units != "1":
        raise ValueError(
            f'{what} needs reflectance (attrs["units"] == "1"), found units {units!r}: '
            "call cookbook_utils.scaling.to_reflectance(scene) first"
        )
