"""List and read the files of a delivery: a folder, tar or zip on this machine or on a server."""

from __future__ import annotations

import lzma
import math
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from cookbook_utils._checks import shown
from cookbook_utils._files import as_path
from cookbook_utils.datasets._access import (
    MAX_TEXT_BYTES,
    Unreachable,
    gdal_name,
    is_remote,
    is_web,
    read_bytes,
    without_secrets,
)
from cookbook_utils.datasets._contents import in_folder, is_folder, list_files, open_parts

MAX_FILES = 20_000
"""Largest number of files of a delivery; a folder with more is not the delivery of one scene."""

SIDE_CARS = (".aux.xml", ".ovr", ".msk", ".xml", ".txt", ".json", ".jpg", ".jpeg", ".png", ".md5")
"""Endings of files that stand beside a band and are not the band."""


METADATA = re.compile(
    r"(.+_MTL\.(txt|xml|json)|MTD_MSI(L1C|L2A)\.xml|manifest\.safe)", re.IGNORECASE
)
"""Names of metadata that list the files of a delivery: the way into a folder of a web server."""


class Delivery(NamedTuple):
    """A folder, tar or zip, and the names of its files relative to it, in order of depth."""

    address: str
    kind: str
    names: tuple[str, ...]
    options: Mapping[str, Any]  # of S3

    @property
    def path(self) -> str:
        """The path or address, as messages name it."""
        return without_secrets(self.address)

    def address_of(self, name: str) -> str:
        """Return the path or address of a file; of one in an archive, the name that GDAL has."""
        if self.kind == "folder":
            return in_folder(self.address, name)
        # GDAL takes what braces enclose for the archive, whatever its ending. It drops the "./" of
        # names in a tar that was made of a folder.
        archive = ("/vsigzip/" if self.kind == "tar.gz" else "") + gdal_name(self.address)
        return f"/vsi{self.kind[:3]}/{{{archive}}}/{name.removeprefix('./')}"

    def read(self, name: str) -> bytes:
        """Return the bytes of a metadata file, or raise OSError."""
        try:
            if self.kind == "folder":
                data = read_bytes(self.address_of(name), self.options)
            else:
                with open_parts(self.address, self.options) as file:
                    data = _READ[self.kind](file, name)
        except Unreachable:
            raise
        except _ARCHIVE_ERRORS as error:
            raise OSError(f"{name} of {self.path} cannot be read: {error}") from None
        if len(data) > MAX_TEXT_BYTES:
            raise OSError(
                f"{name} of {self.path} must have at most {MAX_TEXT_BYTES} bytes, got more"
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


def open_delivery(
    source: str | os.PathLike[str] | Delivery, options: Mapping[str, Any] | None = None
) -> Delivery:
    """Return the list of files of a folder, tar or zip.

    Parameters
    ----------
    source : path-like or Delivery
        A folder, a tar (also compressed by gzip) or a zip; on this machine, in S3 or, unless it is
        a folder, on a web server. Or metadata that list the files beside them.
    options : mapping, optional
        Options of S3.

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
    if isinstance(source, Delivery):
        return source
    options = options or {}
    address = source if isinstance(source, str) and is_remote(source) else _absolute(source)
    if METADATA.fullmatch(base(without_secrets(address))):
        address, kind, names = _of_metadata(address, options)
    elif is_folder(address, options):
        kind = "folder"
        names = list_files(address, options) if is_remote(address) else _names_of_folder(address)
    else:
        kind, names = _of_archive(address, options)
    path = without_secrets(address)
    if len(names) > MAX_FILES:
        raise ValueError(
            f"source must have at most {MAX_FILES} files, got more in {path}: name the folder of "
            "one scene"
        )
    shown = [name for name in names if not base(name).startswith(".") and "__MACOSX" not in name]
    ordered = tuple(sorted(shown, key=lambda name: (name.count("/"), name)))
    return Delivery(address, kind, ordered, options)


def _absolute(source: Any) -> str:
    """Return the absolute path of what is there, or raise."""
    path = as_path(source, "source")
    if not path.exists():
        raise FileNotFoundError(f"source must be a folder, tar or zip, got no file {path}")
    return os.path.abspath(path)


def _of_metadata(address: str, options: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Return the folder of metadata, and the files that are there or that the metadata list."""
    name = base(without_secrets(address))
    folder, mark, query = address.partition("?") if is_web(address) else (address, "", "")
    folder = (folder.removesuffix(name).rstrip("/") or "/") + mark + query
    if not is_web(address):
        found = open_delivery(folder, options)
        if name not in found.names:
            raise Unreachable(f"{address} must be a readable file, got none there")
        return folder, found.kind, list(found.names)
    text = read_bytes(address, options).decode("utf-8", "replace")
    images = {f"{image}.jp2" for image in re.findall(r">\s*(GRANULE/[^<\s]+)\s*</IMAGE_FILE", text)}
    tiles = {f"{image.split('/IMG_DATA/')[0]}/MTD_TL.xml" for image in images}
    listed = re.findall(r'href="(?:\./)?([^":]+)"', text) if name.lower() == "manifest.safe" else []
    product = name.partition("_MTL")[0]
    bands = re.findall(rf"\b{re.escape(product)}_\w+\.[A-Za-z]{{3,4}}\b", text)
    return folder, "folder", sorted({name, *images, *tiles, *listed, *bands})


def _of_archive(address: str, options: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the kind of an archive and the names of its files."""
    kind = "archive"
    try:
        with open_parts(address, options) as file:
            kind = _kind_of(file, without_secrets(address))
            if kind == "tar.gz" and is_remote(address):
                raise ValueError(
                    f"{without_secrets(address)} must be a tar or zip, got a tar.gz, of which no "
                    "part can be read alone: download it"
                )
            file.seek(0)
            return kind, _NAMES[kind](file)
    except Unreachable:
        raise
    except _ARCHIVE_ERRORS as error:
        if isinstance(error.__context__, Unreachable):  # zipfile hides it
            raise error.__context__ from None
        path, reason = without_secrets(address), re.sub(r"\s+", " ", str(error))[:200]
        raise OSError(
            f"{path} must be a complete {kind}, got: {reason}; download it again"
        ) from None


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


def _kind_of(file: IO[bytes], path: str) -> str:
    """Return "tar", "tar.gz" or "zip", by the first bytes of a file, whatever its ending."""
    start = file.read(512)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if start[:2] == b"\x1f\x8b":
        return "tar.gz"
    if start[257:262] == b"ustar" or (path.lower().endswith(".tar") and start):
        return "tar"
    raise ValueError(
        f"source must be a folder, a tar, a tar.gz or a zip, got the file {path}: extract it"
    )


def _names_of_folder(folder: str) -> list[str]:
    names: list[str] = []
    for parent, _, files in os.walk(folder, onerror=_raise):
        names += [(Path(parent) / file).relative_to(folder).as_posix() for file in files]
        if len(names) > MAX_FILES:
            break
    return names


def _raise(error: OSError) -> None:
    raise error


def _names_of_tar(file: IO[bytes]) -> list[str]:
    with tarfile.open(fileobj=file) as tar:
        return [member.name for member in tar.getmembers() if member.isfile()]


def _names_of_zip(file: IO[bytes]) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        return [member.filename for member in archive.infolist() if not member.is_dir()]


def _read_in_tar(file: IO[bytes], name: str) -> bytes:
    with tarfile.open(fileobj=file) as tar:
        return tar.extractfile(name).read(MAX_TEXT_BYTES + 1)


def _read_in_zip(file: IO[bytes], name: str) -> bytes:
    with zipfile.ZipFile(file) as archive, archive.open(name) as content:
        return content.read(MAX_TEXT_BYTES + 1)


_ARCHIVE_ERRORS = (
    OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    NotImplementedError, RuntimeError, KeyError, UnicodeError,
)  # fmt: skip
_NAMES = {"tar": _names_of_tar, "tar.gz": _names_of_tar, "zip": _names_of_zip}
_READ = {"tar": _read_in_tar, "tar.gz": _read_in_tar, "zip": _read_in_zip}
