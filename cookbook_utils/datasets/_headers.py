"""Read the header of any raster that GDAL reads, and refuse what is no scene on a grid."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from cookbook_utils.datasets._access import (
    gdal_environment,
    gdal_name,
    raster_error,
    without_secrets,
)
from cookbook_utils.datasets._bands import OTHER, REFLECTIVE, band_name
from cookbook_utils.datasets._geotiffs import require_georeference, require_sizes


class Header(NamedTuple):
    """What a raster says of its grid and of each band; alpha bands are left out."""

    geobox: Any
    numbers: tuple[int, ...]
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    names: tuple[str | None, ...]
    date: str | None


def read_header(address: str, options: Mapping[str, Any]) -> Header:
    """Return the header of a raster on this machine, on a web server or in S3.

    Parameters
    ----------
    address : str
        Path or address.
    options : mapping
        Options of S3.

    Returns
    -------
    Header
        Grid and bands.

    Raises
    ------
    ValueError
        If the raster has no CRS, no upright grid, or other bands than ones of real numbers.
    OSError
        If it cannot be read.
    """
    import rasterio
    from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings(), gdal_environment(address, options):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # our own error follows
            with rasterio.open(gdal_name(address), sharing=False) as file:
                return _header_of(without_secrets(address), file)
    except (RasterioError, CRSError, OSError, UnicodeDecodeError) as error:
        raise raster_error(address, error, options) from None


def _header_of(place: str, file: Any) -> Header:
    from odc.geo.converters import rio_geobox
    from rasterio.enums import ColorInterp

    if file.subdatasets and not file.count:
        names = ", ".join(file.subdatasets[:5])
        raise ValueError(f"{place} must be one raster, got one with parts: open one of {names}")
    if ColorInterp.palette in file.colorinterp:
        raise ValueError(
            f"{place} must hold measured values, got indices into a palette: it is a map of "
            "classes or a picture, and no scene"
        )
    if file.transform.is_identity and (file.gcps[0] or file.rpcs):
        found = "ground control points" if file.gcps[0] else "rational polynomials (RPC)"
        raise ValueError(
            f"{place} must be on a grid with a CRS, got {found} only: warp it first, by "
            "`gdalwarp` or `rio warp`"
        )
    require_georeference(place, file)
    require_sizes(place, file)
    chosen = [k for k, use in enumerate(file.colorinterp) if use != ColorInterp.alpha]
    _require_plain_alpha(place, file)
    numbers = tuple(k + 1 for k in chosen)
    if wrong := [file.dtypes[k] for k in chosen if file.dtypes[k].startswith("complex")]:
        raise ValueError(f"{place} must hold real numbers, got {wrong[0]}")
    if not numbers:
        raise ValueError(f"{place} must have at least one band, got none")
    return Header(
        rio_geobox(file),
        numbers,
        *(
            tuple(values[k] for k in chosen)
            for values in (
                file.dtypes, file.nodatavals, file.scales, file.offsets, file.descriptions,
            )
        ),
        file.tags(ns="IMAGERY").get("ACQUISITIONDATETIME"),
    )  # fmt: skip


def _require_plain_alpha(place: str, file: Any) -> None:
    """Refuse an alpha band with the name of a band: GDAL makes one of four bands of bytes."""
    from rasterio.enums import ColorInterp

    for number, use, name in zip(file.indexes, file.colorinterp, file.descriptions, strict=True):
        if use == ColorInterp.alpha and name and band_name(name) in (*REFLECTIVE, *OTHER):
            raise ValueError(
                f"{place} must have {name!r} as a band of values, got band {number} as alpha band, "
                f"which masks the others: change it by `gdal_edit.py -colorinterp_{number} "
                "undefined`"
            )
