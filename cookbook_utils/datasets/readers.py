"""The readers of the catalog for scenes in files of any format, and for searches of archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from cookbook_utils.datasets._reader import CheckedReader
from cookbook_utils.datasets.opening import open_scenes
from cookbook_utils.datasets.searching import search_scenes


class ScenesReader(CheckedReader):
    """Reader of scenes in files of any format, folders of deliveries, or STAC documents.

    Use it to name your own data in a catalog of your own. All arguments may stand in the catalog.
    """

    imports = {"odc"}
    output_instance = "xarray:DataArray"
    read_arguments = ("bands", "bbox", "crs", "resolution", "resampling", "chunks")
    checked_later = ("name", "source", "dates", "nodata")

    def _read(
        self,
        *,
        source: Any,
        name: str | None = None,
        bands: Sequence[str] | Mapping[str, int] | None = None,
        dates: Sequence[str] | None = None,
        scale: float | Mapping[str, float] | None = None,
        offset: float | Mapping[str, float] | None = None,
        nodata: float | None = None,
        bbox: Sequence[float] | None = None,
        crs: str | None = None,
        resolution: float | None = None,
        resampling: str = "nearest",
        chunks: Any = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.DataArray:
        """Open the scenes lazily as reflectance.

        Parameters
        ----------
        source : str, sequence or mapping
            As for `open_scenes`; paths begin with ``{CATALOG_DIR}``, or are addresses.
        name : str, optional
            Name of the DataArray.
        bands : sequence of str or mapping of str to int, optional
            As for `open_scenes`.
        dates : sequence of str, optional
            As for `open_scenes`.
        scale : float or mapping of str to float, optional
            As for `open_scenes`.
        offset : float or mapping of str to float, optional
            As for `open_scenes`.
        nodata : float, optional
            As for `open_scenes`.
        bbox : sequence of float, optional
            West, south, east and north in degrees.
        crs : str, optional
            CRS to open in, with `resolution`.
        resolution : float, optional
            Size of the pixels in units of the CRS.
        resampling : {"nearest", "bilinear", "cubic", "average"}, default "nearest"
            How pixels reach another grid.
        chunks : dict, "auto" or int, optional
            Sizes of the Dask chunks along y and x in pixels; -1 is the whole side.
        storage_options : mapping, optional
            As for `open_scenes`.

        Returns
        -------
        xarray.DataArray
            Reflectance (time, band, y, x).

        Raises
        ------
        TypeError, ValueError, OSError
            As `open_scenes` raises them.
        """
        series = open_scenes(
            source, bands=bands, dates=dates, scale=scale, offset=offset, nodata=nodata, bbox=bbox,
            crs=crs, resolution=resolution, resampling=resampling, chunks=chunks,
            storage_options=storage_options,
        )  # fmt: skip
        return series.rename(name)


class SearchReader(CheckedReader):
    """Reader of scenes that a STAC API finds by place, date and cloud cover.

    The catalog gives the API and the collection; a user passes the other arguments to ``read``.
    """

    imports = {"odc", "pystac_client"}
    output_instance = "xarray:DataArray"
    read_arguments = ("bbox", "dates", "query", "max_cloud_cover", "limit", "bands", "crs",
                      "resolution", "resampling", "chunks")  # fmt: skip
    checked_later = ("dates",)

    def _read(
        self,
        *,
        name: str,
        url: str,
        collection: str,
        bbox: Sequence[float],
        dates: str | Sequence[str],
        query: Mapping[str, Any] | None = None,
        max_cloud_cover: float | None = None,
        limit: int = 100,
        bands: Sequence[str] | None = None,
        crs: str | None = None,
        resolution: float | None = None,
        resampling: str = "nearest",
        chunks: Any = None,
    ) -> xr.DataArray:
        """Search scenes, and open them lazily as one series of reflectance.

        Parameters
        ----------
        name : str
            Name of the DataArray.
        url : str
            Address of the STAC API.
        collection : str
            Collection to search.
        bbox : sequence of float
            West, south, east and north in degrees: the region to search and to open.
        dates : str or sequence of str
            The first and the last day, or one day, month or year.
        query : mapping, optional
            Further conditions, as for `search_scenes`.
        max_cloud_cover : float, optional
            Largest cloud cover of a scene in percent.
        limit : int, default 100
            Largest number of items.
        bands : sequence of str, optional
            Names of the bands to open; by default all bands of reflectance.
        crs : str, optional
            CRS to open in, with `resolution`; needed where scenes lie in two UTM zones.
        resolution : float, optional
            Size of the pixels in units of the CRS.
        resampling : {"nearest", "bilinear", "cubic", "average"}, default "nearest"
            How pixels reach another grid.
        chunks : dict, "auto" or int, optional
            Sizes of the Dask chunks along y and x in pixels; -1 is the whole side.

        Returns
        -------
        xarray.DataArray
            Reflectance (time, band, y, x) with the quality band as coordinate ``quality``.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is wrong, or no scene is found.
        OSError
            If the server or a file cannot be read.
        """
        items = search_scenes(
            url, collection, bbox=bbox, dates=dates, max_cloud_cover=max_cloud_cover, query=query,
            limit=limit,
        )  # fmt: skip
        series = open_scenes(
            items, bands=bands, bbox=bbox, crs=crs, resolution=resolution, resampling=resampling,
            chunks=chunks,
        )  # fmt: skip
        return series.rename(name)
