"""The readers of scenes and of their truth, for one date or for a series of dates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._conventions.bands import band_coords
from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.datasets._facts import file_of, year_of
from cookbook_utils.datasets._geotiffs import RasterFile, RasterSpec, open_geotiffs
from cookbook_utils.datasets._reader import CheckedReader, local_folder
from cookbook_utils.datasets.files import fetch, simulated_file

BAND_DTYPES = ("uint8", "int8", "uint16", "int16", "float32")  # float32 represents all exactly


class SceneReader(CheckedReader):
    """Reader of satellite scenes from GeoTIFFs with one file per band, or one for all bands.

    The catalog gives most arguments; a user passes ``year`` and ``chunks`` to ``read``.
    """

    imports = {"rioxarray"}
    output_instance = "xarray:DataArray"

    def _read(
        self,
        *,
        name: str,
        folder: str,
        files: str,
        scenes: Sequence[Mapping[str, Any]],
        nodata: float,
        attrs: Mapping[str, Any],
        year: int | None = None,
        chunks: Any,
        made_by: str | None = None,
    ) -> xr.DataArray:
        """Open the scenes of a year, or all scenes, lazily as float32 with NaN for nodata.

        Parameters
        ----------
        name : str
            Name of the DataArray.
        folder : str
            The data folder.
        files : str
            Pattern of the files, with facts of the scene and the band number as fields.
        scenes : sequence of mapping
            The scenes by increasing date: ``date`` (ISO 8601), ``sensor``, ``bands`` (name, number,
            wavelength in µm) and further facts that `files` names.
        nodata : float
            The nodata value, which applies to each band by itself.
        attrs : mapping
            Attributes of the DataArray: units, quantity and scale.
        year : int, optional
            Year of the scenes to open; None opens all scenes.
        chunks : dict, "auto" or int
            Sizes of the Dask chunks along y and x in pixels; -1 is the whole side.
        made_by : str, optional
            The command that writes the files; if None, they are listed in the registry.

        Returns
        -------
        xarray.DataArray
            Digital numbers (band, y, x) of one scene, or (time, band, y, x) of several.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If there is no scene of that year, the scenes do not share bands, grid and CRS, or a
            file has other bands, another dtype or another nodata value.
        DataUnavailableError
            If a file is absent.
        OSError
            If a file is damaged: now if its header shows it, otherwise when the array is computed.
        """
        chosen = _scenes_of_year(name, scenes, year)
        bands = _shared_bands(name, chosen)
        paths = [
            [file_of(files, {**scene, "number": band["number"]}) for band in bands]
            for scene in chosen
        ]
        raw = _open_bands(name, folder, paths, nodata, chunks, made_by)
        n = len(bands)
        arrays = [
            _describe_bands(raw.isel(band=slice(k * n, k * n + n)), bands, nodata)
            for k in range(len(chosen))
        ]
        dates = [scene["date"] for scene in chosen]
        sensors = ", ".join(dict.fromkeys(scene["sensor"] for scene in chosen))
        return (
            _along_time(arrays, dates)
            .assign_attrs(attrs, sensor=sensors, **_date_attribute(dates))
            .rename(name)
        )


class TruthReader(CheckedReader):
    """Reader of the truth of simulated scenes from one GeoTIFF whose bands are label maps.

    The catalog gives most arguments; a user passes ``chunks`` to ``read``.
    """

    imports = {"rioxarray"}
    output_instance = "xarray:Dataset"

    def _read(
        self,
        *,
        folder: str,
        files: str,
        dates: Sequence[str],
        maps: Mapping[Hashable, Mapping[str, Any]],
        attrs: Mapping[str, Any],
        chunks: Any,
        made_by: str,
        tags: Sequence[str] = (),
    ) -> xr.Dataset:
        """Open the label maps lazily as uint8 with 255 for nodata.

        Parameters
        ----------
        folder : str
            The data folder.
        files : str
            The file, as ``"folder/file"``.
        dates : sequence of str
            The increasing dates of the maps (ISO 8601).
        maps : mapping of str to mapping
            Names of the maps in the order of the bands, with the attributes of each. The bands of a
            later date follow those of an earlier one.
        attrs : mapping
            Attributes of the Dataset, such as the sensor.
        chunks : dict, "auto" or int
            Sizes of the Dask chunks along y and x in pixels; -1 is the whole side.
        made_by : str
            The command that writes the file.
        tags : sequence of str, optional
            Tags of the file that become attributes of the Dataset: numbers of at least 0.

        Returns
        -------
        xarray.Dataset
            A variable (y, x) for each map, or (time, y, x) if there are several dates.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If the file has other bands, another dtype or nodata value, or lacks a tag.
        DataUnavailableError
            If the file is absent.
        OSError
            If the file is damaged: now if its header shows it, otherwise when a map is computed.
        """
        file = _locate(folder, file_of(files, {}), made_by)
        n_maps = len(maps)
        spec = RasterSpec(len(dates) * n_maps, ("uint8",), NODATA_LABEL)
        raw = open_geotiffs([file], spec, chunks)
        numbers = {tag: _number_of_tag(file, tag, raw.attrs.get(tag)) for tag in tags}
        raw = raw.drop_attrs(deep=False)
        truth = {}
        for number, (name, flags) in enumerate(maps.items()):
            layers = [raw.isel(band=k * n_maps + number, drop=True) for k in range(len(dates))]
            truth[name] = _along_time(layers, dates).assign_attrs(flags)
        return xr.Dataset(truth, attrs={**attrs, **_date_attribute(dates), **numbers})


# -- scenes -------------------------------------------------------------------------------------


def _scenes_of_year(
    name: str, scenes: Sequence[Mapping[str, Any]], year: int | None
) -> Sequence[Mapping[str, Any]]:
    years = [year_of(scene["date"]) for scene in scenes]
    if year is None:
        return scenes
    if year not in years:
        known = ", ".join(map(str, dict.fromkeys(years)))
        raise ValueError(f"{name}: year must be one of {known}, got {year}")
    return [scene for scene, found in zip(scenes, years, strict=True) if found == year]


def _shared_bands(name: str, scenes: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    bands = scenes[0]["bands"]
    for scene in scenes:
        if scene["bands"] != bands:
            raise ValueError(
                f"{name}: scenes must share their bands, got others on {scene['date']} than on "
                f"{scenes[0]['date']}: open them one by one, by their year"
            )
    return bands


def _open_bands(
    name: str,
    folder: str,
    paths: Sequence[Sequence[str]],
    nodata: float,
    chunks: Any,
    made_by: str | None,
) -> xr.DataArray:
    """Open the bands of scenes, for which `paths` has a file for each scene and band.

    All bands of a scene may be in one file, in their order.
    """
    n_bands = len(paths[0])
    counts = {len(set(of_scene)) for of_scene in paths}
    found = list(dict.fromkeys(path for of_scene in paths for path in of_scene))
    if counts not in ({1}, {n_bands}) or len(found) != len(paths) * min(counts):
        raise ValueError(
            f"{name}: files must lead to one file per scene, or one per scene and band, got "
            f"{len(found)} for {len(paths)} scenes of {n_bands} bands"
        )
    spec = RasterSpec(n_bands // min(counts), BAND_DTYPES, nodata)
    return open_geotiffs([_locate(folder, path, made_by) for path in found], spec, chunks)


def _describe_bands(
    raw: xr.DataArray, bands: Sequence[Mapping[str, Any]], nodata: float
) -> xr.DataArray:
    """Return float32 with NaN for nodata and the coordinates of the bands, without attributes."""
    names, numbers, wavelengths = (
        [band[fact] for band in bands] for fact in ("name", "number", "wavelength")
    )
    coords = band_coords(names, numbers, wavelengths)
    # One task for each chunk, and one copy: `where` and `astype` take five times as long.
    pixels = xr.apply_ufunc(
        _as_floats, raw, kwargs={"nodata": nodata}, dask="parallelized", output_dtypes=["float32"]
    )
    return pixels.drop_attrs(deep=False).assign_coords(coords)


def _as_floats(values: np.ndarray, nodata: float) -> np.ndarray:
    floats = values.astype(np.float32)
    floats[values == nodata] = np.nan
    return floats


# -- scenes and truth ---------------------------------------------------------------------------


def _along_time(arrays: Sequence[xr.DataArray], dates: Sequence[str]) -> xr.DataArray:
    """Concatenate arrays of one grid along time; one array gets a scalar coordinate instead."""
    days = np.array(dates, "datetime64[ns]")
    if len(arrays) == 1:
        return arrays[0].assign_coords(time=days[0])
    time = xr.DataArray(days, dims="time", name="time")
    return xr.concat(arrays, time, coords="minimal", compat="override", join="exact")


def _date_attribute(dates: Sequence[str]) -> dict[str, str]:
    """Return the attribute ``date`` of an array of one date, and no attribute of several."""
    return {"date": dates[0]} if len(dates) == 1 else {}


def _locate(folder: str, file: str, made_by: str | None) -> RasterFile:
    """Return a simulated file, or a file of the registry if no command makes it."""
    data_folder = local_folder(folder)
    if made_by is None:
        return RasterFile(fetch(*file.split("/"), folder=data_folder), "make data")
    return RasterFile(simulated_file(data_folder, file, made_by), made_by)


def _number_of_tag(file: RasterFile, tag: str, text: Any) -> float:
    try:
        if 0 <= (number := float(text)) < float("inf"):
            return number
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"{file.path} must have the tag {tag}, a finite number of at least 0, got {text!r}; "
        f"{file.remedy}"
    )
