"""The bands of a scene that is about to be loaded, and the names that bands have here."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

ALIASES = {
    "swir16": "swir1",
    "swir22": "swir2",
    "rededge071": "rededge1",
    "rededge075": "rededge2",
    "rededge078": "rededge3",
}
"""Names of STAC's eo extension that are others in this package."""

REFLECTIVE = (
    "coastal", "blue", "green", "green05", "yellow", "red", "rededge1", "rededge2", "rededge3",
    "nir", "nir08", "swir1", "swir2",
)  # fmt: skip
"""Bands of surface reflectance, by increasing wavelength: those that are loaded by default."""

OTHER = ("pan", "nir09", "cirrus")
"""Bands of reflectance that are loaded only by name."""

QUALITY = {"qa_pixel": "landsat_qa_pixel", "scl": "sentinel2_scl"}
"""The kind of each quality band."""

QUALITY_VALUES = {"landsat_qa_pixel": (1, "uint16"), "sentinel2_scl": (0, "uint8")}
"""Nodata value and dtype of each kind of quality band."""

RED_EDGE = 0.8
"""Wavelength in µm from which vegetation is as bright as it gets: the end of the red edge."""

_RED_EDGES = ((0.72, "rededge1"), (0.76, "rededge2"), (0.82, "rededge3"), (1.0, "nir08"))
SENTINEL_2 = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1",
    "B06": "rededge2", "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09",
    "B10": "cirrus", "B11": "swir1", "B12": "swir2",
}  # fmt: skip
"""Names of the bands of Sentinel-2 by their numbers."""


class BandSource(NamedTuple):
    """A band of a raster: where it is, and what its numbers mean."""

    address: str
    band: int
    geobox: Any
    nodata: float | None
    scale: float = 1.0
    offset: float = 0.0
    wavelength: float = np.nan


class SceneSource(NamedTuple):
    """The bands of one date on one or more grids."""

    name: str
    time: np.datetime64
    bands: dict[str, BandSource]
    quality: BandSource | None = None
    quality_kind: str | None = None
    signed: bool = False
    from_files: bool = False
    attrs: dict[str, Any] = {}  # noqa: RUF012  never changed


def band_name(common: str, key: str = "", wavelength: float = np.nan) -> str:
    """Return the name of a band in this package.

    Parameters
    ----------
    common : str
        Common name in STAC, or any name. Those that are known are lower case here.
    key : str, optional
        Key of the asset.
    wavelength : float, optional
        Center wavelength in µm.
    """
    if common.lower() in (*ALIASES, *REFLECTIVE, *OTHER):
        common = common.lower()
    if common != "rededge":
        return ALIASES.get(common, common)
    if np.isnan(wavelength):
        return SENTINEL_2.get(key[:3].upper(), key if key in REFLECTIVE else common)
    return next((name for most, name in _RED_EDGES if wavelength < most), common)


def in_order(names: Any) -> list[str]:
    """Return the names of bands by wavelength, unknown ones last in their order."""
    order = [*REFLECTIVE, *OTHER]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))
