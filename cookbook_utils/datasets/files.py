"""Find the files of the data folder: simulated ones by their path, real ones by the registry."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from cookbook_utils._checks import require_bool
from cookbook_utils._files import CHECKSUMS, as_path, claim, size_and_crc32
from cookbook_utils.datasets._download import DownloadError, download
from cookbook_utils.datasets._registry import RegistryEntry, parse_registry
from cookbook_utils.datasets._text import did_you_mean, read_text, require_text

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"
"""The data folder of the project: catalog, registry, simulated files and downloads."""


class DataUnavailableError(FileNotFoundError):
    """A data file is not on this machine; the message names the command that makes or fetches it.

    See Also
    --------
    fetch : Return the path of a real file, which is downloaded if necessary.
    """


def fetch(
    dataset: str,
    file: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    progressbar: bool = False,
) -> Path:
    """Return the path of a real data file with the expected SHA-256, downloaded if necessary.

    The file is looked for as ``<dataset>/<file>`` in the folder that the environment variable
    COOKBOOK_DATA names, then in ``downloads`` of the data folder. If it is in neither, it is
    downloaded there. A download is aborted if the server sends less than 2 kB per second for 30
    seconds, or more bytes than the registry states.

    Parameters
    ----------
    dataset : str
        Name of a data set in the registry, such as ``"pucallpa"``.
    file : str
        Name of one of its files, such as ``"1985.tif"``.
    folder : str or path-like, optional
        The data folder, which holds ``registry.csv``; by default ``data`` of the project.
    progressbar : bool, default False
        Whether to show a progress bar while downloading (needs tqdm).

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DataUnavailableError
        If the file is absent and cannot be downloaded or stored, or there is no registry.
    TypeError
        If an argument has a wrong type.
    ValueError
        If the registry does not list the file or is malformed, or the file in the folder of
        COOKBOOK_DATA has another SHA-256.
    OSError
        If COOKBOOK_DATA names no folder, or the file cannot be read.

    Examples
    --------
    >>> fetch("pucallpa", "1984.tif")
    Traceback (most recent call last):
    ...
    ValueError: the registry has no file pucallpa/1984.tif (did you mean '1985.tif'?); it has: ...
    """
    require_text(dataset, "dataset")
    require_text(file, "file")
    require_bool(progressbar, "progressbar")
    folder = DATA_FOLDER if folder is None else as_path(folder, "folder")
    entry = _find_entry(folder, dataset, file)
    if (given := _given_folder()) and is_file(path := given / dataset / file):
        if (found := _sha256(path)) != entry.sha256:
            raise ValueError(
                f"{path}, in the folder named by COOKBOOK_DATA, must have the SHA-256 "
                f"{entry.sha256}, got {found}: it was not used; delete it"
            )
        return path
    downloads = folder / "downloads"
    path = downloads / dataset / file
    if not os.path.realpath(path.parent).startswith(os.path.realpath(downloads) + os.sep):
        raise DataUnavailableError(
            f"{path.parent} must be a folder inside {downloads}, got a link to "
            f"{os.path.realpath(path.parent)}; delete the link"
        )
    if not _has_hash(path, entry.sha256):
        _download(entry, path, progressbar)
    return path


def is_at_hand(dataset: str, file: str) -> bool:
    """Return whether a real file is on this machine; its content is not checked."""
    folders = [DATA_FOLDER / "downloads"]
    if given := _given_folder():
        folders.insert(0, given)
    return any(is_file(folder / dataset / file) for folder in folders)


def read_registry(folder: Path) -> dict[tuple[str, str], RegistryEntry]:
    """Return the entries of ``registry.csv`` in a data folder by (dataset, file)."""
    path = folder / "registry.csv"
    what = "a registry, such as the project's data/registry.csv,"
    return parse_registry(path, read_text(path, what, DataUnavailableError))


def simulated_file(folder: Path, file: str, made_by: str) -> Path:
    """Return the path of a simulated file after comparing it with its checksum, if there is one.

    Parameters
    ----------
    folder : pathlib.Path
        The data folder.
    file : str
        ``"folder/file"`` below ``simulated``.
    made_by : str
        The command that writes the file, for error messages.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DataUnavailableError
        If there is no such file.
    OSError
        If the file or the list of checksums is damaged.
    """
    path = folder / "simulated" / file
    if not is_file(path):
        raise DataUnavailableError(f"there is no file {path}; run `{made_by}` to make it")
    _require_checksum(path, made_by)
    return path


def is_file(path: Path) -> bool:
    """Return whether there is a regular file, or raise OSError if that cannot be determined."""
    try:
        return path.is_file()
    except OSError as error:
        raise OSError(f"{path} cannot be looked up: {error.strerror}") from None


def is_downloaded(
    folder: str | os.PathLike[str], dataset: str, file: str, entry: RegistryEntry
) -> bool:
    """Return whether a real file is among the downloads, with the SHA-256 of the registry."""
    return _has_hash(Path(folder) / "downloads" / dataset / file, entry.sha256)


def _find_entry(folder: Path, dataset: str, file: str) -> RegistryEntry:
    registry = read_registry(folder)
    if (dataset, file) in registry:
        return registry[dataset, file]
    known = [f for d, f in registry if d == dataset]
    sought, known = (file, known) if known else (dataset, sorted({d for d, _ in registry}))
    raise ValueError(
        f"the registry has no file {dataset}/{file}{did_you_mean(sought, known)}; "
        f"it has: {', '.join(known)}"
    )


def _given_folder() -> Path | None:
    """Return the folder that COOKBOOK_DATA names, or None if it is not set."""
    given = os.environ.get("COOKBOOK_DATA")
    if not given:
        return None
    if not os.path.isdir(given):
        raise NotADirectoryError(
            f"COOKBOOK_DATA must name a folder of real data, got {given!r}, which is none; "
            "unset it to use the downloads"
        )
    return Path(given)


def _download(entry: RegistryEntry, path: Path, progressbar: bool) -> None:
    """Download a file, or raise DataUnavailableError with advice."""
    dataset, file = path.parts[-2:]
    absent = f"{dataset}/{file} is not on this machine and"
    advice = (
        "run `make data` with a network, or set COOKBOOK_DATA to a folder that holds "
        f"{dataset}/{file}"
    )
    try:
        with claim(path):
            if path.exists() and not path.is_file():
                raise OSError(f"{path} is not a file")
            if not _has_hash(path, entry.sha256):  # another process may have downloaded it
                download(
                    entry.url,
                    path,
                    sha256=entry.sha256,
                    size=entry.size,
                    progressbar=progressbar,
                )
    except DownloadError as error:
        raise DataUnavailableError(
            f"{absent} could not be downloaded from {entry.url} ({error}); {advice}"
        ) from None
    except OSError as error:
        raise DataUnavailableError(
            f"{absent} {path.parent} cannot be written ({error}); make that folder writable, or "
            f"{advice}"
        ) from None


def _has_hash(path: Path, sha256: str) -> bool:
    return is_file(path) and _sha256(path) == sha256


def _sha256(path: Path) -> str:
    """Return the hash of a file, uncached: equal size and time do not prove equal content."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from None


def _require_checksum(path: Path, made_by: str) -> None:
    """Compare a simulated file with the checksums in its folder, if there are any.

    GDAL does not detect a changed byte in a compressed block, which it decodes to other pixels.
    """
    sums = path.with_name(CHECKSUMS)
    if not is_file(sums):
        return
    remedy = f"delete {path.parent} and run `{made_by}`"
    try:
        expected = json.loads(read_text(sums, "checksums", OSError))["files"][path.name]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise OSError(f"{sums} must hold the checksum of {path.name}, got none; {remedy}") from None
    try:
        found = size_and_crc32(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from None
    if found != expected:
        raise OSError(
            f"{path} must have the size and CRC-32 {expected}, got {found}: it is damaged; {remedy}"
        )
