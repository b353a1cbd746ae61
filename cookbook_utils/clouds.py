"""Masks of clouds, shadows, snow and fill, from the quality bands of Landsat and Sentinel-2."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isqrt
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_choice, require_dims, require_integer, shown

QUALITY_KINDS = ("landsat_qa_pixel", "sentinel2_scl")
"""Values of the attribute ``quality_kind`` of the coordinate ``quality``."""

LANDSAT_BITS = {
    "fill": 0,
    "dilated_cloud": 1,
    "cirrus": 2,
    "cloud": 3,
    "cloud_shadow": 4,
    "snow": 5,
    "water": 7,
}
"""Bits of QA_PIXEL by the name of their class, of Landsat 4 to 9 in Collection 2.

Only Landsat 8 and 9 set the bit of cirrus.
"""

SENTINEL_2_CLASSES = {
    "fill": (0,),
    "cloud": (8, 9),
    "cloud_shadow": (3,),
    "cirrus": (10,),
    "snow": (11,),
    "water": (6,),
    "no_data": (0,),
    "saturated_or_defective": (1,),
    "dark_area": (2,),
    "vegetation": (4,),
    "not_vegetated": (5,),
    "unclassified": (7,),
    "cloud_medium_probability": (8,),
    "cloud_high_probability": (9,),
    "thin_cirrus": (10,),
}
"""Values of the scene classification (SCL) of Sentinel-2 by class.

The first six classes have the same names as those of Landsat.
"""


def cloud_mask(
    scene: xr.DataArray,
    *,
    classes: Sequence[str] = ("cloud", "cloud_shadow", "snow", "fill"),
    margin: int = 0,
) -> xr.DataArray:
    """Find the pixels of clouds and other classes in the quality band of a scene.

    Use it to see what `mask_clouds` would mask, or to count clear pixels.

    Parameters
    ----------
    scene : xarray.DataArray
        A scene with the coordinate ``quality`` (y, x) or (time, y, x), as `datasets.open_scene`
        returns it. Its attribute ``quality_kind`` is one of `QUALITY_KINDS`.
    classes : sequence of str, default ("cloud", "cloud_shadow", "snow", "fill")
        Names of classes: of `LANDSAT_BITS` for Landsat, of `SENTINEL_2_CLASSES` for Sentinel-2.
    margin : int, default 0
        Pixels within this distance of a pixel of the classes are in the mask, too; the edges of
        clouds and shadows are often missed. Fill has no margin: one around the gaps of
        Landsat 7 would cover most of a scene.

    Returns
    -------
    xarray.DataArray
        True for pixels of the classes, with the dimensions of ``quality``; lazy if that is. Pixels
        without a quality value (NaN) are fill.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If `scene` has no quality band of a known kind, a class is unknown in it, or `margin` is
        negative.

    See Also
    --------
    mask_clouds : Set these pixels to nodata.

    References
    ----------
    Landsat 8-9 Collection 2 Level 2 Science Product Guide, LSDS-1619, table 6-2. U.S. Geological
    Survey.

    Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD. European Space Agency.

    Examples
    --------
    >>> quality = xr.DataArray([[21824, 22280, 1]], dims=("y", "x"))
    >>> quality.attrs["quality_kind"] = "landsat_qa_pixel"
    >>> scene = xr.DataArray(np.ones((1, 3)), dims=("y", "x"), coords={"quality": quality})
    >>> cloud_mask(scene).values
    array([[False,  True,  True]])
    >>> cloud_mask(scene, classes=["cloud"], margin=1).values
    array([[ True,  True,  True]])
    """
    quality = _quality_of(scene)
    kind = quality.attrs["quality_kind"]
    names = _require_classes(classes, kind)
    margin = require_integer(margin, "margin", least=0)
    order = (*(dim for dim in quality.dims if dim not in ("y", "x")), "y", "x")
    mask = xr.apply_ufunc(
        _mask,
        quality.transpose(*order),
        kwargs={"kind": kind, "names": names, "margin": margin},
        dask="allowed",
        keep_attrs=False,
    ).transpose(*quality.dims)
    mask = mask.drop_vars([name for name in ("quality", "cloud_mask") if name in mask.coords])
    mask.attrs = {"long_name": "cloud mask", "classes": " ".join(names), "margin": margin}
    return mask.rename("cloud_mask")


def mask_clouds(
    scene: xr.DataArray,
    *,
    classes: Sequence[str] = ("cloud", "cloud_shadow", "snow", "fill"),
    margin: int = 0,
) -> xr.DataArray:
    """Set the pixels of clouds and other classes to nodata in all bands of a scene.

    Use it before `regridding.regrid`, which drops the quality band, and before clustering, which
    leaves nodata out.

    Parameters
    ----------
    scene : xarray.DataArray
        As for `cloud_mask`, of floats.
    classes : sequence of str, default ("cloud", "cloud_shadow", "snow", "fill")
        As for `cloud_mask`.
    margin : int, default 0
        As for `cloud_mask`.

    Returns
    -------
    xarray.DataArray
        `scene` with NaN for these pixels, and with the mask as coordinate ``cloud_mask``; lazy if
        `scene` is. Where `scene` has that coordinate, pixels of both masks are NaN and the new mask
        has both.

    Raises
    ------
    TypeError
        As for `cloud_mask`, or if `scene` does not hold floats.
    ValueError
        As for `cloud_mask`.

    See Also
    --------
    cloud_mask : Return the mask only.

    Examples
    --------
    >>> quality = xr.DataArray([[4, 9]], dims=("y", "x"), attrs={"quality_kind": "sentinel2_scl"})
    >>> scene = xr.DataArray([[0.1, 0.8]], dims=("y", "x"), coords={"quality": quality})
    >>> clear = mask_clouds(scene)
    >>> clear.values
    array([[0.1, nan]])
    >>> clear.cloud_mask.values
    array([[False,  True]])
    """
    mask = cloud_mask(scene, classes=classes, margin=margin)
    if scene.dtype.kind != "f":
        raise TypeError(f"scene must hold floats, which can be NaN, got dtype {scene.dtype}")
    if "cloud_mask" in scene.coords:
        before = scene.coords["cloud_mask"].reset_coords(drop=True).astype(bool)
        mask = (mask | before).assign_attrs(mask.attrs)
    masked = scene.where(~mask)
    masked.attrs, masked.encoding = dict(scene.attrs), dict(scene.encoding)
    return masked.transpose(*scene.dims).assign_coords(cloud_mask=mask.variable)


def _quality_of(scene: Any) -> xr.DataArray:
    """Return the quality band of a scene, or raise."""
    require_dims(scene, ["y", "x"], "scene", allow_extra=True)
    if "quality" not in scene.coords:
        raise ValueError(
            "scene must have the coordinate quality, the pixel quality of Landsat or the scene "
            f"classification of Sentinel-2, got {list(scene.coords)}"
        )
    quality = scene.coords["quality"]
    require_dims(quality, ["y", "x"], "quality of scene", allow_extra=True)
    kind = quality.attrs.get("quality_kind")
    if kind not in QUALITY_KINDS:
        raise ValueError(
            f"quality of scene must have the attribute quality_kind, one of {QUALITY_KINDS}, got "
            f"{shown(kind)}"
        )
    return quality


def _require_classes(classes: Any, kind: str) -> tuple[str, ...]:
    """Return the names of classes, or raise unless the kind of quality band has all of them."""
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise TypeError(f"classes must be a sequence of names, got {shown(classes)}")
    if not classes:
        raise ValueError("classes must name at least one class, got none")
    known = list(LANDSAT_BITS if kind == "landsat_qa_pixel" else SENTINEL_2_CLASSES)
    for name in classes:
        require_choice(name, "a name in classes", known)
    return tuple(classes)


def _mask(quality: Any, *, kind: str, names: tuple[str, ...], margin: int) -> Any:
    """Return the mask of classes, widened by a margin; `quality` ends in the axes y and x."""
    fill = [name for name in names if name in ("fill", "no_data")]
    others = [name for name in names if name not in fill]
    mask = _widen(_pixels_of(quality, kind, others), margin)
    return mask | _pixels_of(quality, kind, fill)


def _pixels_of(quality: Any, kind: str, names: Sequence[str]) -> Any:
    """Return where a quality band has one of some classes; NaN is fill."""
    if quality.dtype.kind == "f":  # after alignment with pixels that have none
        fill = 1 << LANDSAT_BITS["fill"] if kind == "landsat_qa_pixel" else 0
        quality = np.where(quality != quality, fill, quality).astype(np.int32)
    if kind == "landsat_qa_pixel":
        return (quality & sum(1 << bit for bit in {LANDSAT_BITS[name] for name in names})) != 0
    values = {value for name in names for value in SENTINEL_2_CLASSES[name]}
    return np.isin(quality, sorted(values))


def _widen(mask: Any, margin: int) -> Any:
    """Return a mask with the pixels within `margin` of one of it, across chunks, too."""
    if not margin:
        return mask
    if isinstance(mask, np.ndarray):
        return _widen_block(mask, margin)
    import dask.array as da

    depth = {axis: min(margin, mask.shape[axis]) for axis in (mask.ndim - 2, mask.ndim - 1)}
    widen = partial(_widen_block, margin=margin)
    return da.map_overlap(
        widen, mask, depth=depth, boundary="none", dtype=bool, meta=np.empty(0, bool)
    )


def _widen_block(mask: np.ndarray, margin: int) -> np.ndarray:
    """Widen a block in memory: a disk is a run of pixels in each of its rows."""
    from scipy.ndimage import maximum_filter1d

    widened = mask.copy()
    if not mask.any():
        return widened
    ny, nx = mask.shape[-2:]
    for rows in range(min(margin, ny - 1) + 1):
        half = min(isqrt(margin**2 - rows**2), nx - 1)
        runs = maximum_filter1d(mask, 2 * half + 1, axis=-1, mode="constant")
        widened[..., rows:, :] |= runs[..., : ny - rows, :]
        widened[..., : ny - rows, :] |= runs[..., rows:, :]
    return widened
