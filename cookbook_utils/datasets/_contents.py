"""List folders and read parts of files, on this machine, on web servers and in S3."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any
from urllib.parse import urlsplit

from cookbook_utils.datasets._access import (
    Unreachable,
    filesystem,
    is_remote,
    is_web,
    open_response,
    open_session,
    s3_errors,
    without_secrets,
)

PART_BYTES = 1 << 16
"""Fewest bytes of a file on a server that are read at once."""

# -- folders --------------------------------------------------------------------------------------


def in_folder(address: str, name: str) -> str:
    """Return the address of a file in a folder, with the query of the folder, if it has one."""
    if not is_remote(address):
        return os.path.join(address, name)
    folder, mark, query = address.partition("?")
    return f"{folder.rstrip('/')}/{name}{mark}{query}"


def is_folder(address: str, options: Mapping[str, Any]) -> bool:
    """Return whether there is a folder on this machine or in S3; web servers have none."""
    if not is_remote(address):
        return os.path.isdir(address)
    if is_web(address) or not address.startswith("s3://"):
        return False
    with s3_errors(address):
        return filesystem(options).isdir(address)


def list_folder(address: str, options: Mapping[str, Any]) -> list[str]:
    """Return the names of the files and folders in a folder on this machine or in S3."""
    if not is_remote(address):
        return sorted(os.listdir(address))
    with s3_errors(address):
        found = filesystem(options).ls(address, detail=False)
    names = {name.rstrip("/").rpartition("/")[2] for name in found}
    return sorted(names - {""})


def list_files(address: str, options: Mapping[str, Any]) -> list[str]:
    """Return the names of all files in a folder of S3, relative to it."""
    files = filesystem(options)
    with s3_errors(address):
        found = files.find(address)
    stem = address.removeprefix("s3://").rstrip("/") + "/"
    return [name.removeprefix(stem) for name in found if name.startswith(stem)]


# -- parts of files -------------------------------------------------------------------------------

_asked: set[str] = set()  # servers that `require_parts` has asked


class OtherPart(Unreachable):
    """A server sent another part of a file than it was asked for."""


def require_parts(address: str) -> None:
    """Raise OtherPart if a web server sends other parts of files than it is asked for.

    As a cache does that has stored the first part. GDAL takes what it gets for what it asked for,
    and no option makes it compare; pixels without compression would be wrong. Each server is asked
    once for one byte of a file that GDAL could read.
    """
    server = urlsplit(address).netloc
    if server in _asked:
        return
    try:
        with open_session() as session:
            _get_part(address, session, 1, 2)
    except OtherPart:
        raise
    except OSError:  # one that sends whole files, which GDAL takes if they are small
        return
    _asked.add(server)


class _Parts(io.RawIOBase):
    """A file of which a function returns the bytes from one place to another."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self.size, self.fetch, self.at = size, fetch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, offset + (0, self.at, self.size)[whence])
        return self.at

    def readinto(self, buffer: Any) -> int:
        stop = min(self.at + len(buffer), self.size)
        content = self.fetch(self.at, stop) if stop > self.at else b""
        buffer[: len(content)] = content
        self.at += len(content)
        return len(content)


@contextlib.contextmanager
def open_parts(address: str, options: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """Yield a file, of which only the parts that are read are transferred.

    Raises
    ------
    OSError
        If it cannot be read, or its server sends no parts.
    """
    if is_web(address):
        with open_session() as session:

            def fetch(start: int, stop: int) -> bytes:
                return _get_part(address, session, start, stop)[0]

            _, size = _get_part(address, session, 0, 1)
            yield io.BufferedReader(_Parts(size, fetch), PART_BYTES)
    elif is_remote(address):
        files = filesystem(options)

        def fetch(start: int, stop: int) -> bytes:
            with s3_errors(address):
                return files.cat_file(address, start=start, end=stop)

        with s3_errors(address):
            size = files.size(address)
        yield io.BufferedReader(_Parts(size, fetch), PART_BYTES)
    else:
        with open(address, "rb") as file:
            yield file


def _get_part(address: str, session: Any, start: int, stop: int) -> tuple[bytes, int]:
    """Return some bytes of a file on a web server, and its size."""
    part = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    with open_response(address, session=session, **part) as response:
        place, found = without_secrets(address), response.headers.get("Content-Range", "")
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", found)
        if response.status_code != 206 or part is None:
            raise Unreachable(
                f"{place} must be on a server that sends parts of files, got one that sends whole "
                "ones only: download it"
            )
        first, last, size = map(int, part.groups())
        content = response.content
        if (first, first + len(content)) != (start, last + 1) or last >= stop:
            raise OtherPart(
                f"{place} must be on a server that sends the parts that are asked for, got "
                f"{len(content)} bytes as {first} to {last} for {start} to {stop - 1}: download it"
            )
        return content, size
