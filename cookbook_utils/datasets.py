"""The catalog of scenes, the readers that open them lazily, and the real files by address and hash.

What is known of a data set (bands, wavelengths, scale, fill value, dates, sensor, files) stands in
``data/catalog.yml``; addresses and hashes of the real files stand in ``data/registry.csv``.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import sys
import warnings
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from intake.readers.entry import Catalog
from intake.readers.readers import BaseReader

from cookbook_utils._rasters import band_coords

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
        if name not in self.aliases:
            raise UnknownDatasetError(
                f"the catalog has no data set {name!r}; it has: {', '.join(self.aliases)}"
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

    Examples
    --------
    >>> cat = open_catalog()
    >>> "landsat_5_small" in list(cat)
    True
    >>> cat.betsiboka.metadata["years"]
    [2017, 2020]
    """
    path = DATA_FOLDER / "catalog.yml" if path is None else Path(path).resolve()
    if not path.is_file():
        raise DataUnavailableError(
            f"there is no catalog at {path}; pass open_catalog the path of the project's "
            "data/catalog.yml"
        )
    plain = Catalog.from_yaml_file(str(path))
    return SceneCatalog(
        plain.entries, plain.aliases, plain.data, plain.user_parameters, metadata=plain.metadata
    )


def fetch(
    dataset: str,
    file: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    progressbar: bool = False,
) -> Path:
    """Return the path of a real data file whose SHA-256 was checked, downloading it if need be.

    The file is looked for as ``<dataset>/<file>`` in the folder named by the environment variable
    COOKBOOK_DATA, then in ``downloads`` of the data folder; then pooch downloads it there.

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
        If the file is not here and cannot be downloaded or stored.
    ValueError
        If the registry has no such file, or a file does not match its hash.

    Examples
    --------
    >>> fetch("pucallpa", "1984.tif")
    Traceback (most recent call last):
    ...
    ValueError: the registry has no file pucallpa/1984.tif; it has: 1985.tif, 1990.tif, ...
    """
    folder = DATA_FOLDER if folder is None else Path(folder)
    registry = _registry(folder)
    if (dataset, file) not in registry:
        known = [f for d, f in registry if d == dataset] or sorted({d for d, _ in registry})
        raise ValueError(f"the registry has no file {dataset}/{file}; it has: {', '.join(known)}")
    sha256, url = registry[dataset, file]

    if given := os.environ.get("COOKBOOK_DATA"):
        path = Path(given) / dataset / file
        if path.is_file():
            if (found := _sha256(path)) != sha256:
                raise ValueError(
                    f"{path} (in the folder named by COOKBOOK_DATA) is not the file it should be "
                    f"and was not used: its SHA-256 is {found}, expected {sha256}; delete it"
                )
            return path
    path = folder / "downloads" / dataset / file
    if path.is_file() and _sha256(path) == sha256:
        return path

    _download(url, sha256, path, progressbar)
    return path


def _download(url: str, sha256: str, path: Path, progressbar: bool) -> None:
    """Bring the file from `url` to `path`, where its last two parts are data set and file."""
    from requests.exceptions import RequestException

    with warnings.catch_warnings():
        # tqdm, which pooch imports, warns in a notebook without ipywidgets.
        warnings.filterwarnings("ignore", "IProgress not found")
        import pooch

    dataset, file = path.parts[-2:]
    advice = (
        "run `make data` with a network, or set COOKBOOK_DATA to a folder that holds "
        f"{dataset}/{file}"
    )
    pooch.get_logger().setLevel("WARNING")  # by default it announces each download on stderr
    try:
        pooch.retrieve(url, f"sha256:{sha256}", file, path.parent, progressbar=progressbar)
    except RequestException as error:
        raise DataUnavailableError(
            f"{dataset}/{file} is not on this machine and could not be downloaded from {url} "
            f"({type(error).__name__}); {advice}"
        ) from None
    except OSError as error:
        raise DataUnavailableError(
            f"{dataset}/{file} is not on this machine and {path.parent} cannot be written "
            f"({error}); make that folder writable, or {advice}"
        ) from None


def _registry(folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Return SHA-256 and address of each (dataset, file) of ``registry.csv``."""
    with open(folder / "registry.csv", newline="", encoding="utf-8") as lines:
        return {(r["dataset"], r["file"]): (r["sha256"], r["url"]) for r in csv.DictReader(lines)}


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_once(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.cache
def _sha256_once(path: Path, size: int, mtime_ns: int) -> str:
    """Hash a file once in a process; a changed size or time makes it another file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SceneReader(BaseReader):
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
            If there is no scene of that year, or its bands do not share one grid and CRS.
        DataUnavailableError
            If a file is absent.
        OSError
            If a file is not a whole GeoTIFF.
        """
        if year not in scenes:
            years = ", ".join(map(str, scenes))
            raise ValueError(f"{name} has no scene of the year {year!r}; its years are: {years}")
        scene, bands = scenes[year], scenes[year]["bands"]
        paths = [files.format(**scene, number=band["number"]) for band in bands]
        raw = _open_geotiffs(folder, list(dict.fromkeys(paths)), len(bands), chunks, made_by)
        return (
            _as_bands(raw, bands, fill)
            .assign_coords(time=np.datetime64(scene["date"], "ns"))
            .assign_attrs(attrs, sensor=scene["sensor"], date=scene["date"])
            .rename(name)
        )


class SeriesReader(BaseReader):
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
            If bands or dates do not share one grid and CRS.
        DataUnavailableError
            If a file is absent.
        OSError
            If a file is not a whole GeoTIFF.
        """
        paths = [files.format(date=date, number=band["number"]) for date in dates for band in bands]
        raw = _open_geotiffs(folder, paths, len(paths), chunks, made_by)
        n = len(bands)
        scenes = [
            _as_bands(raw.isel(band=slice(n * k, n * k + n)), bands, fill)
            for k in range(len(dates))
        ]
        return _along_time(scenes, dates).assign_attrs(attrs).rename(name)


class TruthReader(BaseReader):
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
            If the file is not a whole GeoTIFF.
        """
        raw = _open_geotiffs(folder, [files], len(maps), chunks, made_by)
        area = float(raw.attrs["lake_area_km2"])  # a tag of the file
        raw = raw.assign_coords(time=np.datetime64(attrs["date"], "ns")).drop_attrs(deep=False)
        truth = {
            name: raw.isel(band=number, drop=True).assign_attrs(flags)
            for number, (name, flags) in enumerate(maps.items())
        }
        return xr.Dataset(truth, attrs={**attrs, "lake_area_km2": area})


class SeriesTruthReader(BaseReader):
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
            If the file has not one band for each date.
        DataUnavailableError
            If the file is absent.
        OSError
            If the file is not a whole GeoTIFF.
        """
        raw = _open_geotiffs(folder, [files], len(dates), chunks, made_by).drop_attrs(deep=False)
        layers = [raw.isel(band=k, drop=True) for k in range(len(dates))]
        ((name, flags),) = maps.items()
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


def _open_geotiffs(
    folder: str, files: Sequence[str], n_bands: int, chunks: Any, made_by: str | None
) -> xr.DataArray:
    """Open GeoTIFFs that share one grid as one lazy array (band, y, x) of their own values."""
    import fsspec
    import rasterio
    import rioxarray

    # intake gives the folder of the catalog as an address, file:///…
    data_folder = Path(fsspec.core.strip_protocol(folder))
    opened: list[xr.DataArray] = []
    for file in files:
        if made_by is None:
            path = fetch(*file.split("/"), folder=data_folder)
        elif not (path := data_folder / "simulated" / file).is_file():
            raise DataUnavailableError(f"there is no file {path}; run `{made_by}` to make it")
        _require_whole(path, made_by or "make data")
        with rasterio.Env():  # sends GDAL's warnings to the log, not to stderr
            array = rioxarray.open_rasterio(path, chunks=chunks)
        _require_one_grid(file, array, files[0], opened[0] if opened else array)
        opened.append(array)
    bands = xr.concat(
        opened, "band", coords="minimal", compat="override", join="exact", combine_attrs="override"
    )
    if bands.sizes["band"] != n_bands:
        raise ValueError(
            f"{', '.join(files)}: found {bands.sizes['band']} bands, expected {n_bands}"
        )
    return bands


def _require_whole(path: Path, made_by: str) -> None:
    """Refuse a file that cannot be opened or ends before its last block, reading its header only.

    GDAL tells where each block lies in a TIFF by the metadata items BLOCK_OFFSET and BLOCK_SIZE.
    """
    import rasterio

    cure = f"delete it and run `{made_by}`"
    try:
        with rasterio.open(path) as file:
            ends = [
                int(file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) or 0)
                + int(file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band) or 0)
                for band in file.indexes
                for (row, column), _ in file.block_windows(band)
            ]
    except rasterio.errors.RasterioError as error:
        raise OSError(f"{path} is not a readable GeoTIFF ({error}); {cure}") from None
    if (size := path.stat().st_size) < max(ends):
        raise OSError(
            f"{path} is cut short: it has {size} bytes, expected at least {max(ends)}; {cure}"
        )


def _require_one_grid(file: str, array: xr.DataArray, first: str, expected: xr.DataArray) -> None:
    if array.rio.crs != expected.rio.crs:
        raise ValueError(
            f"all files must share one CRS, but {file} is in {array.rio.crs} and "
            f"{first} in {expected.rio.crs}"
        )
    grid, expected_grid = (
        {"shape": a.rio.shape, "transform": tuple(a.rio.transform())[:6]} for a in (array, expected)
    )
    if grid != expected_grid:
        raise ValueError(
            f"all files must share one grid, but {file} has {grid} and {first} has {expected_grid}"
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
