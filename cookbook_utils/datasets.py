"""The catalog of scenes, the readers that open them lazily, and the real files by address and hash.

What is known of a data set (bands, wavelengths, scale, fill value, dates, sensor, files) stands in
``data/catalog.yml``; addresses and hashes of the real files stand in ``data/registry.csv``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
import zlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from intake.readers.entry import Catalog
from intake.readers.readers import BaseReader

from cookbook_utils._catalog import (
    Registered,
    did_you_mean,
    file_of,
    local_folder,
    parse_catalog,
    parse_registry,
    read_text,
    require_facts,
)
from cookbook_utils._checks import require_bool
from cookbook_utils._conventions.bands import band_coords
from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils._download import DownloadError, download
from cookbook_utils._files import as_path
from cookbook_utils._geotiffs import File, Kind, open_geotiffs

DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"


class DataUnavailableError(FileNotFoundError):
    """A data file is not on this machine; the message says which command brings it."""


class UnknownDatasetError(AttributeError, KeyError):
    """The catalog has no data set of this name; raised by ``cat.name`` and ``cat["name"]``."""

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0])


class SceneCatalog(Catalog):
    """An intake catalog that answers an unknown name with the names it has."""

    def __getitem__(self, name: str) -> BaseReader:
        _require_text(name, "the name of a data set")
        if name not in self.aliases:
            raise UnknownDatasetError(
                f"the catalog has no data set {name!r}{did_you_mean(name, self.aliases)}; "
                f"it has: {', '.join(self.aliases)}"
            )
        return super().__getitem__(name)

    def __getattr__(self, name: str) -> BaseReader:
        if name.startswith("_"):  # what Python and IPython ask any object for
            raise AttributeError(name)
        return self[name]


def open_catalog(path: str | os.PathLike[str] | None = None) -> SceneCatalog:
    """Open the catalog of data sets.

    Parameters
    ----------
    path : path, optional
        A catalog file. The default is ``data/catalog.yml`` of the project this package is in.

    Returns
    -------
    SceneCatalog
        ``list(cat)`` names the data sets, ``cat.name.metadata`` describes one, and
        ``cat.name.read()`` opens it lazily: a scene as a float32 DataArray (band, y, x) with NaN
        where data are missing, a series as one (time, band, y, x), a truth as a Dataset of uint8
        maps (y, x) or (time, y, x).

    Raises
    ------
    DataUnavailableError
        If there is no such file.
    TypeError
        If `path` is no path.
    ValueError
        If the file is no catalog, or has an entry that a reader of this package cannot take. Other
        readers, and templates of intake that call functions, are refused.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> cat = open_catalog()
    >>> "landsat_5_small" in list(cat)
    True
    >>> cat.betsiboka.metadata["years"]
    [2017, 2020]
    """
    path = DATA_FOLDER / "catalog.yml" if path is None else as_path(path, "path")
    path = Path(os.path.abspath(path))
    what = "a catalog, such as the project's data/catalog.yml,"
    catalog = parse_catalog(path, read_text(path, what, DataUnavailableError))
    plain = Catalog.from_dict(catalog)
    folder = {"CATALOG_DIR": f"file://{path.parent}"}
    return SceneCatalog(plain.entries, plain.aliases, None, folder, metadata=plain.metadata)


def fetch(
    dataset: str,
    file: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    progressbar: bool = False,
) -> Path:
    """Return the path of a real data file whose SHA-256 was checked, downloading it if need be.

    The file is looked for as ``<dataset>/<file>`` in the folder named by the environment variable
    COOKBOOK_DATA, then in ``downloads`` of the data folder; then pooch downloads it there. A server
    that sends less than 2 kB a second for half a minute, or more than the registry says, is given
    up.

    Parameters
    ----------
    dataset, file : str
        A row of the registry, such as ``"pucallpa", "1985.tif"``.
    folder : path, optional
        The data folder, which holds ``registry.csv``; the default is the project's ``data``.
    progressbar : bool, default False
        Show a progress bar while downloading (needs tqdm).

    Returns
    -------
    pathlib.Path
        The file, whole and unaltered.

    Raises
    ------
    DataUnavailableError
        If the file is not here and cannot be downloaded or stored, or there is no registry.
    TypeError
        If an argument has another type.
    ValueError
        If the registry has no such file or a row that is not whole, or the file in the folder of
        COOKBOOK_DATA does not match its hash.
    OSError
        If COOKBOOK_DATA names no folder, or a file that is here cannot be read.

    Examples
    --------
    >>> fetch("pucallpa", "1984.tif")
    Traceback (most recent call last):
    ...
    ValueError: the registry has no file pucallpa/1984.tif (did you mean '1985.tif'?); it has: ...
    """
    _require_text(dataset, "dataset")
    _require_text(file, "file")
    require_bool(progressbar, "progressbar")
    folder = DATA_FOLDER if folder is None else as_path(folder, "folder")
    registry = _registry(folder)
    if (dataset, file) not in registry:
        known = [f for d, f in registry if d == dataset]
        sought, known = (file, known) if known else (dataset, sorted({d for d, _ in registry}))
        raise ValueError(
            f"the registry has no file {dataset}/{file}{did_you_mean(sought, known)}; "
            f"it has: {', '.join(known)}"
        )
    expected = registry[dataset, file]

    if (given := _given_folder()) and _is_file(path := given / dataset / file):
        if (found := _sha256(path)) != expected.sha256:
            raise ValueError(
                f"{path} (in the folder named by COOKBOOK_DATA) is not the file it should be "
                f"and was not used: its SHA-256 is {found}, expected {expected.sha256}; delete it"
            )
        return path
    downloads = folder / "downloads"
    path = downloads / dataset / file
    if not os.path.realpath(path.parent).startswith(os.path.realpath(downloads) + os.sep):
        raise DataUnavailableError(
            f"{path.parent} must be a folder inside of {downloads}, got a link to "
            f"{os.path.realpath(path.parent)}; delete the link"
        )
    if not (_is_file(path) and _sha256(path) == expected.sha256):
        _download(expected, path, progressbar)
    return path


def _download(expected: Registered, path: Path, progressbar: bool) -> None:
    """Bring a file to `path`, where its last two parts are data set and file."""
    dataset, file = path.parts[-2:]
    absent = f"{dataset}/{file} is not on this machine and"
    advice = (
        "run `make data` with a network, or set COOKBOOK_DATA to a folder that holds "
        f"{dataset}/{file}"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OSError(f"{path} is not a file")
        download(
            expected.url,
            path,
            sha256=expected.sha256,
            size=expected.size,
            progressbar=progressbar,
        )
    except DownloadError as error:
        raise DataUnavailableError(
            f"{absent} could not be downloaded from {expected.url} ({error}); {advice}"
        ) from None
    except OSError as error:
        raise DataUnavailableError(
            f"{absent} {path.parent} cannot be written ({error}); make that folder writable, or "
            f"{advice}"
        ) from None


def _registry(folder: Path) -> dict[tuple[str, str], Registered]:
    """Return what ``registry.csv`` says of each (dataset, file)."""
    path = folder / "registry.csv"
    what = "a registry, such as the project's data/registry.csv,"
    return parse_registry(path, read_text(path, what, DataUnavailableError))


def _given_folder() -> Path | None:
    """Return the folder that COOKBOOK_DATA names, or None where it is not set."""
    given = os.environ.get("COOKBOOK_DATA")
    if not given:
        return None
    if not os.path.isdir(given):
        raise NotADirectoryError(
            f"COOKBOOK_DATA must name a folder of real data, got {given!r}, which is none; "
            "unset it to use the downloads"
        )
    return Path(given)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise OSError(f"{path} cannot be looked up: {error.strerror}") from None


def _sha256(path: Path) -> str:
    """Hash a file, each time anew: equal size and time do not tell that it is unchanged."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from None


def _require_text(value: Any, what: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be text, got {type(value).__name__}")


class CheckedReader(BaseReader):
    """A reader that says in one line which of its arguments is wrong."""

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read the data set; arguments replace those of the catalog.

        Raises
        ------
        TypeError, ValueError
            If an argument is unknown, missing or wrong.
        """
        what = self.kwargs.get("name") or f"a {type(self).__name__}"
        if args:
            raise TypeError(f"{what}: the arguments of read must be named, got {args[0]!r}")
        arguments = {**self.kwargs, **kwargs}
        parameters = inspect.signature(self._read).parameters
        if unknown := [name for name in arguments if name not in parameters]:
            raise TypeError(
                f"{what}: the arguments of read must be among {', '.join(parameters)}, "
                f"got {unknown[0]!r}{did_you_mean(unknown[0], parameters)}"
            )
        if missing := [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty and name not in arguments
        ]:
            raise TypeError(f"{what}: the catalog must give {', '.join(missing)}, got none")
        require_facts(arguments, what)
        return super().read(**kwargs)


class SceneReader(CheckedReader):
    """One satellite scene from GeoTIFFs, one file per band or one file with all bands.

    The arguments come from the catalog; a caller gives ``read`` the ``year`` and, if need be, the
    ``chunks``.
    """

    imports = {"rioxarray"}
    output_instance = "xarray:DataArray"

    def _read(
        self,
        *,
        name: str,
        folder: str,
        files: str,
        scenes: Mapping[int, Mapping[str, Any]],
        year: int,
        fill: int,
        attrs: Mapping[str, Any],
        chunks: Any,
        made_by: str | None = None,
    ) -> xr.DataArray:
        """Open a scene lazily as float32 (band, y, x), NaN where a band holds its fill value.

        Parameters
        ----------
        name : str
            Name of the DataArray.
        folder : str
            The data folder.
        files : str
            Pattern of the files, filled in from the facts of the scene and the band number.
        scenes : mapping of int to mapping
            By year: date, sensor, bands (name, number, wavelength in µm) and what `files` names.
        year : int
            Which scene.
        fill : int
            The value that means missing, in each band by itself.
        attrs : mapping
            Attributes of the DataArray: units, quantity, scale.
        chunks : dict, "auto" or int
            Dask chunks along y and x.
        made_by : str, optional
            The command that makes the files; without it they are those of the registry.

        Returns
        -------
        xarray.DataArray
            The scene in digital numbers.

        Raises
        ------
        ValueError
            If there is no scene of that year, its bands do not share one grid and CRS, or a file
            holds another number of bands, another kind of numbers or another nodata value.
        DataUnavailableError
            If a file is absent.
        OSError
            If a file is damaged: here, or on compute where only its pixels show it.
        """
        if year not in scenes:
            years = ", ".join(map(str, scenes))
            raise ValueError(f"{name} has no scene of the year {year!r}; its years are: {years}")
        scene, bands = scenes[year], scenes[year]["bands"]
        paths = [file_of(files, {**scene, "number": band["number"]}) for band in bands]
        raw = _open_bands(name, folder, paths, fill, chunks, made_by)
        return (
            _as_bands(raw, bands, fill)
            .assign_coords(time=np.datetime64(scene["date"], "ns"))
            .assign_attrs(attrs, sensor=scene["sensor"], date=scene["date"])
            .rename(name)
        )


class SeriesReader(CheckedReader):
    """Scenes of one place and one kind of sensor, on one grid: a GeoTIFF per date and band."""

    imports = {"rioxarray"}
    output_instance = "xarray:DataArray"

    def _read(
        self,
        *,
        name: str,
        folder: str,
        files: str,
        dates: Sequence[str],
        bands: Sequence[Mapping[str, Any]],
        fill: int,
        attrs: Mapping[str, Any],
        chunks: Any,
        made_by: str,
    ) -> xr.DataArray:
        """Open the scenes lazily as float32 (time, band, y, x), NaN where a band holds its fill.

        Parameters
        ----------
        name, folder, fill, chunks, made_by
            As for a scene.
        files : str
            Pattern of the files, filled in from the date and the band number.
        dates : sequence of str
            The dates (ISO 8601), rising.
        bands : sequence of mapping
            The bands, each with name, number and wavelength in µm.
        attrs : mapping
            Attributes of the DataArray: sensor, units, quantity, scale.

        Returns
        -------
        xarray.DataArray
            The scenes in digital numbers.

        Raises
        ------
        ValueError
            If bands or dates do not share one grid and CRS, or a file holds another number of
            bands, another kind of numbers or another nodata value.
        DataUnavailableError
            If a file is absent.
        OSError
            If a file is damaged: here, or on compute where only its pixels show it.
        """
        paths = [
            file_of(files, {"date": date, "number": band["number"]})
            for date in dates
            for band in bands
        ]
        raw = _open_bands(name, folder, paths, fill, chunks, made_by)
        n = len(bands)
        scenes = [
            _as_bands(raw.isel(band=slice(n * k, n * k + n)), bands, fill)
            for k in range(len(dates))
        ]
        return _along_time(scenes, dates).assign_attrs(attrs).rename(name)


class TruthReader(CheckedReader):
    """The truth of a simulated scene: one GeoTIFF whose bands are label maps."""

    imports = {"rioxarray"}
    output_instance = "xarray:Dataset"

    def _read(
        self,
        *,
        folder: str,
        files: str,
        maps: Mapping[Hashable, Mapping[str, Any]],
        attrs: Mapping[str, Any],
        chunks: Any,
        made_by: str,
    ) -> xr.Dataset:
        """Open the label maps lazily as a Dataset of uint8 (y, x), 255 where missing.

        Parameters
        ----------
        folder, files, chunks, made_by
            As for a scene.
        maps : mapping of str to mapping
            Names of the maps in the order of the file's bands, with the attributes of each.
        attrs : mapping
            Attributes of the Dataset: sensor and date (ISO 8601).

        Returns
        -------
        xarray.Dataset
            One variable for each map; ``attrs["lake_area_km2"]`` is the true area of the lake.

        Raises
        ------
        DataUnavailableError
            If the file is absent.
        OSError
            If the file is damaged: here, or on compute where only its pixels show it.
        """
        if "date" not in attrs:
            raise ValueError(f"attrs must have the date of the truth, got {attrs}")
        path = _find(folder, file_of(files, {}), made_by)
        raw = open_geotiffs([path], _labels(len(maps)), chunks)
        area = _area(path, raw.attrs.get("lake_area_km2"))  # a tag of the file
        raw = raw.assign_coords(time=np.datetime64(attrs["date"], "ns")).drop_attrs(deep=False)
        truth = {
            name: raw.isel(band=number, drop=True).assign_attrs(flags)
            for number, (name, flags) in enumerate(maps.items())
        }
        return xr.Dataset(truth, attrs={**attrs, "lake_area_km2": area})


class SeriesTruthReader(CheckedReader):
    """The truth of a simulated series: one GeoTIFF with a label map for each date."""

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
    ) -> xr.Dataset:
        """Open the label maps lazily as a Dataset of one variable, uint8 (time, y, x).

        Parameters
        ----------
        folder, files, chunks, made_by
            As for a scene.
        dates : sequence of str
            The dates (ISO 8601) in the order of the file's bands.
        maps : mapping of str to mapping
            The name of the variable, with its attributes.
        attrs : mapping
            Attributes of the Dataset: sensor.

        Returns
        -------
        xarray.Dataset
            The label maps, 255 where missing.

        Raises
        ------
        ValueError
            If the file has not one band of uint8 for each date.
        DataUnavailableError
            If the file is absent.
        OSError
            If the file is damaged: here, or on compute where only its pixels show it.
        """
        if len(maps) != 1:
            raise ValueError(f"maps must name one variable for all dates, got {list(maps)}")
        ((name, flags),) = maps.items()
        path = _find(folder, file_of(files, {}), made_by)
        raw = open_geotiffs([path], _labels(len(dates)), chunks).drop_attrs(deep=False)
        layers = [raw.isel(band=k, drop=True) for k in range(len(dates))]
        labels = _along_time(layers, dates).assign_attrs(flags)
        return xr.Dataset({name: labels}, attrs=dict(attrs))


def _as_bands(raw: xr.DataArray, bands: Sequence[Mapping[str, Any]], fill: int) -> xr.DataArray:
    """Return float32 with NaN for `fill`, its bands named, without attributes."""
    names, numbers, wavelengths = (
        [band[fact] for band in bands] for fact in ("name", "number", "wavelength")
    )
    coords = band_coords(names, numbers, wavelengths)
    return raw.where(raw != fill).astype("float32").drop_attrs(deep=False).assign_coords(coords)


def _along_time(arrays: Sequence[xr.DataArray], dates: Sequence[str]) -> xr.DataArray:
    """Put arrays of one grid behind one another."""
    time = xr.DataArray(np.array(dates, "datetime64[ns]"), dims="time", name="time")
    return xr.concat(arrays, time, coords="minimal", compat="override", join="exact")


def _open_bands(
    name: str, folder: str, paths: Sequence[str], fill: float, chunks: Any, made_by: str | None
) -> xr.DataArray:
    """Open the files of bands: one for each band, or one that holds all of them."""
    found = list(dict.fromkeys(paths))
    if len(found) not in (1, len(paths)):
        raise ValueError(
            f"{name}: files must lead to one file for all bands or one for each, got {len(found)} "
            f"for {len(paths)} bands"
        )
    kind = Kind(len(paths) // len(found), ("uint8", "int8", "uint16", "int16", "float32"), fill)
    return open_geotiffs([_find(folder, path, made_by) for path in found], kind, chunks)


def _labels(n_maps: int) -> Kind:
    return Kind(n_maps, ("uint8",), NODATA_LABEL)


def _area(file: File, text: Any) -> float:
    try:
        if 0 <= (area := float(text)) < float("inf"):
            return area
    except (TypeError, ValueError):
        pass
    raise OSError(
        f"{file.path} must have the tag lake_area_km2, an area, got {text!r}; {file.cure}"
    )


def _find(folder: str, file: str, made_by: str | None) -> File:
    """Return a simulated file by its place, or a registered one, fetched."""
    data_folder = local_folder(folder)
    if made_by is None:
        return File(fetch(*file.split("/"), folder=data_folder), "make data")
    if not _is_file(path := data_folder / "simulated" / file):
        raise DataUnavailableError(f"there is no file {path}; run `{made_by}` to make it")
    _require_undamaged(path, made_by)
    return File(path, made_by)


def _require_undamaged(path: Path, made_by: str) -> None:
    """Compare a simulated file with the checksums in its folder, if there are any.

    GDAL does not: where a byte of a compressed block has changed, it decodes other pixels.
    """
    sums = path.with_name("checksums.json")
    if not _is_file(sums):
        return
    cure = f"delete {path.parent} and run `{made_by}`"
    try:
        expected = json.loads(read_text(sums, "checksums", OSError))["files"][path.name]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise OSError(f"{sums} must hold the checksum of {path.name}, got none; {cure}") from None
    found, size = 0, 0
    try:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                found, size = zlib.crc32(piece, found), size + len(piece)
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from None
    if [size, found] != expected:
        raise OSError(
            f"{path} is damaged: its size and CRC-32 must be {expected}, got {[size, found]}; "
            + cure
        )


def main() -> int:
    """Bring every real file here, checked; return the number of files that failed."""
    files = list(_registry(DATA_FOLDER))
    failed = 0
    for dataset, file in files:
        try:
            fetch(dataset, file)
        except (OSError, ValueError) as error:
            failed += 1
            sys.stderr.write(f"{error}\n")
    sys.stdout.write(f"{len(files) - failed} of {len(files)} real files are here and whole\n")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
