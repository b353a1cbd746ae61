"""List and read the files of a delivery in a folder, a tar or a zip, which is not extracted."""

from __future__ import annotations

import lzma
import math
import os
import re
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from cookbook_utils._checks import shown
from cookbook_utils._files import as_path

MAX_FILES = 20_000
"""Largest number of files of a delivery; a folder with more is not the delivery of one scene."""

MAX_METADATA_BYTES = 64 * 2**20
"""Largest metadata file that is read; that of a Sentinel-2 tile has less than 1 MB."""

SIDE_CARS = (".aux.xml", ".ovr", ".msk", ".xml", ".txt", ".json", ".jpg", ".jpeg", ".png", ".md5")
"""Endings of files that stand beside a band and are not the band."""


class Delivery(NamedTuple):
    """A folder, tar or zip, and the names of its files relative to it, in order of depth."""

    path: Path
    kind: str
    names: tuple[str, ...]

    def gdal_path(self, name: str) -> str:
        """Return the path by which GDAL opens a file, inside an archive if it is in one."""
        path = self.path.absolute()
        if self.kind == "folder":
            return str(path / name)
        # GDAL takes what braces enclose for the archive, whatever its ending. It drops the "./" of
        # names in a tar that was made of a folder.
        archive = {"tar": path, "tar.gz": f"/vsigzip/{path}", "zip": path}[self.kind]
        return f"/vsi{self.kind[:3]}/{{{archive}}}/{name.removeprefix('./')}"

    def read(self, name: str) -> bytes:
        """Return the bytes of a metadata file, or raise OSError."""
        try:
            data = _READ[self.kind](self.path, name)
        except _ARCHIVE_ERRORS as error:
            raise OSError(f"{name} of {self.path} cannot be read: {error}") from None
        if len(data) > MAX_METADATA_BYTES:
            raise OSError(
                f"{name} of {self.path} must have at most {MAX_METADATA_BYTES} bytes, got more"
            )
        return data

    def named(self, pattern: str) -> list[str]:
        """Return the files whose last part matches a regular expression, in any case."""
        wanted = re.compile(pattern, re.IGNORECASE)
        return [name for name in self.names if wanted.fullmatch(base(name))]

    def find(self, file: str) -> str | None:
        """Return the file of the delivery that metadata call `file`, or None if it is absent.

        Upper and lower case are one, and so are the endings of a TIFF.

        Raises
        ------
        ValueError
            If there is only a file that a browser or file manager has named after it.
        """
        stem, ending = os.path.splitext(file)
        endings = r"\.tiff?" if ending.lower() in (".tif", ".tiff") else re.escape(ending)
        if found := self.named(re.escape(stem) + endings):
            return found[0]
        renamed = [
            name
            for name in self.named(re.escape(stem) + r"[^a-z0-9].*")
            if ending.lower() in SIDE_CARS or not name.lower().endswith(SIDE_CARS)
        ]
        if renamed:
            raise ValueError(
                f"the files of {self.path} must have the names of their archive, got "
                f"{base(renamed[0])!r} for {file!r}: a browser may have renamed it, or not have "
                "finished it. Give it its name back, or download it again"
            )
        return None


def open_delivery(source: str | os.PathLike[str]) -> Delivery:
    """Return the list of files of a folder, tar or zip.

    Parameters
    ----------
    source : path-like
        A folder, a tar (also compressed by gzip) or a zip.

    Returns
    -------
    Delivery
        Files whose names begin with a dot, which macOS adds, are left out.

    Raises
    ------
    TypeError
        If `source` is not a path.
    ValueError
        If `source` is neither a folder, a tar nor a zip, or has too many files.
    OSError
        If it is absent or damaged.
    """
    path = as_path(source, "source")
    if path.is_dir():
        kind, names = "folder", _names_of_folder(path)
    elif not path.is_file():
        raise FileNotFoundError(f"source must be a folder, tar or zip, got no file {path}")
    else:
        kind = _kind_of(path)
        try:
            names = _NAMES[kind](path)
        except _ARCHIVE_ERRORS as error:
            raise OSError(
                f"{path} must be a complete {kind}, got: {error}; download it again"
            ) from None
    if len(names) > MAX_FILES:
        raise ValueError(
            f"source must have at most {MAX_FILES} files, got more in {path}: name the folder of "
            "one scene"
        )
    shown = [name for name in names if not base(name).startswith(".") and "__MACOSX" not in name]
    return Delivery(path, kind, tuple(sorted(shown, key=lambda name: (name.count("/"), name))))


def base(name: str) -> str:
    """Return the last part of the name of a file."""
    return name.rsplit("/", 1)[-1]


def number_in(value: Any, what: str, error: type[ValueError] = ValueError) -> float:
    """Return a number of the metadata, or raise `error` unless it is finite."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise error(f"{what} must be a number, got {shown(value)}")
    return number


def _kind_of(path: Path) -> str:
    """Return "tar", "tar.gz" or "zip", by the first bytes of a file, whatever its ending."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if start[:2] == b"\x1f\x8b":
        return "tar.gz"
    if start[257:262] == b"ustar" or (path.name.lower().endswith(".tar") and start):
        return "tar"
    raise ValueError(
        f"source must be a folder, a tar, a tar.gz or a zip, got the file {path}: extract it"
    )


def _names_of_folder(folder: Path) -> list[str]:
    names: list[str] = []
    for parent, _, files in os.walk(folder, onerror=_raise):
        names += [(Path(parent) / file).relative_to(folder).as_posix() for file in files]
        if len(names) > MAX_FILES:
            break
    return names


def _raise(error: OSError) -> None:
    raise error


def _names_of_tar(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return [member.name for member in tar.getmembers() if member.isfile()]


def _names_of_zip(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as file:
        return [member.filename for member in file.infolist() if not member.is_dir()]


def _read_in_folder(path: Path, name: str) -> bytes:
    with (path / name).open("rb") as file:
        return file.read(MAX_METADATA_BYTES + 1)


def _read_in_tar(path: Path, name: str) -> bytes:
    with tarfile.open(path) as tar:
        return tar.extractfile(name).read(MAX_METADATA_BYTES + 1)


def _read_in_zip(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        return file.read(MAX_METADATA_BYTES + 1)


_ARCHIVE_ERRORS = (
    OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    NotImplementedError, RuntimeError, KeyError, UnicodeError,
)  # fmt: skip
_NAMES = {"tar": _names_of_tar, "tar.gz": _names_of_tar, "zip": _names_of_zip}
_READ = {
    "folder": _read_in_folder, "tar": _read_in_tar, "tar.gz": _read_in_tar, "zip": _read_in_zip
}  # fmt: skip
