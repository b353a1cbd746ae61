"""Replace files atomically, one process at a time, and allocate scratch space.

A writer claims a file or folder first. A claim holds a lock file beside it, which the operating
system releases when the process ends, even if it is killed. Temporary files have the name of the
claimed file in theirs, so that the next claim finds and removes those of a killed process.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cookbook_utils._checks import shown

if TYPE_CHECKING:
    from filelock import BaseFileLock

WAIT = 120.0  # s to wait for another process that writes the same file
_CHUNK_BYTES = 2**20  # read or written at a time

CHECKSUMS = "checksums.json"
"""File that holds the size and CRC-32 of every file of its folder, see `size_and_crc32`."""


def as_path(value: Any, name: str) -> Path:
    """Return `value` as a path.

    Parameters
    ----------
    value : Any
        The argument of a user.
    name : str
        Its name, for error messages.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    TypeError
        If `value` is neither text nor a path.
    ValueError
        If it is empty or has characters that a path cannot have.
    OSError
        If it is too long, or lies in a folder without read permission.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} must be a path, got {type(value).__name__}")
    text = os.fspath(value)
    if not text or "\0" in text:
        raise ValueError(f"{name} must be a path, got {shown(text)}")
    try:
        os.stat(text)
    except UnicodeError:
        raise ValueError(
            f"{name} must be a path in characters of this system, got {shown(text)}"
        ) from None
    except OSError as error:
        # Other errors are reported by the function that reads or writes the file.
        if error.errno in (errno.ENAMETOOLONG, errno.EACCES):
            raise OSError(f"{name} {shown(text)} cannot be looked up: {error.strerror}") from None
    return Path(text)


class Claim:
    """The exclusive right to write one file or folder, held by one thread of one process.

    `claim` grants it.

    Parameters
    ----------
    path : pathlib.Path
        The file or folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def temporary(self) -> Path:
        """Return a new path beside the claimed one.

        The file or folder that is written there is removed when the claim ends.
        """
        return self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex[:12]}.tmp")

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path, and replace `path` by its file if the block raises no error."""
        temporary = self.temporary()
        with reporting(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)

    def leftovers(self) -> list[Path]:
        """Return the temporary files and folders of the claimed path."""
        name = re.compile(rf"\.{re.escape(self.path.name)}-[0-9a-f]{{12}}\.tmp")
        with os.scandir(self.path.parent) as entries:
            return [Path(entry.path) for entry in entries if name.fullmatch(entry.name)]

    def _tidy(self) -> None:
        for path in self.leftovers():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _lock_file(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")


@contextmanager
def claim(path: Path, *, wait: float | None = None, outermost: bool = False) -> Iterator[Claim]:
    """Claim a file or folder before writing it, and make its parent folders.

    The same thread may claim it again unless `outermost` is true. When the claim ends, its
    temporary files and the folders that were made for it and are empty are removed.

    Parameters
    ----------
    path : pathlib.Path
        The file or folder.
    wait : float, optional
        Seconds to wait while another process holds the claim; `WAIT` by default.
    outermost : bool, default False
        Whether the claim is refused if this thread holds it already.

    Yields
    ------
    Claim
        The claim, which ends with the block.

    Raises
    ------
    TimeoutError
        If another process still holds the claim after that time, or this thread does where the
        claim must be the outermost one.
    OSError
        If the folder cannot be written.
    """
    if path.name in ("", ".."):
        raise IsADirectoryError(f"{str(path)!r} must name a file or folder to write, got no name")
    claimed = Claim(path)
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with reporting(path):
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise OSError(f"{path} must be a file or folder to write, got a device or a pipe")
            lock = _acquired(claimed._lock_file(), WAIT if wait is None else wait)
        try:
            if outermost and lock.lock_counter > 1:
                raise TimeoutError(f"{path} is being written by this thread already")
            with _tidying(lock, claimed):
                yield claimed
        finally:
            lock.release()
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _tidying(lock: BaseFileLock, claimed: Claim) -> Iterator[None]:
    """Remove temporary files and the lock file, unless the thread has an outer claim."""
    if lock.lock_counter > 1:
        yield
        return
    try:
        claimed._tidy()
        yield
    finally:
        claimed._tidy()
        # Before the release: a process that waits for a removed lock file opens a new one. Windows
        # cannot remove an open file; a lock file that is left over does no harm.
        with suppress(PermissionError):
            claimed._lock_file().unlink(missing_ok=True)


def _acquired(path: Path, wait: float) -> BaseFileLock:
    from filelock import FileLock, Timeout

    # Other users of a shared folder must be able to open the lock file, too.
    lock = FileLock(path, mode=0o666, is_singleton=True)
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=wait)
            return lock
        except FileNotFoundError:
            continue  # another process made the folder, too, and has removed it
        except Timeout:
            written = path.name.removeprefix(".").removesuffix(".lock")
            raise TimeoutError(
                f"{path.with_name(written)} is being written by another process, still after "
                f"{wait:g} s; wait until it has ended, or write to another place"
            ) from None
    raise FileNotFoundError(f"the folder {path.parent} is removed again and again")


def tidy(path: Path) -> None:
    """Remove temporary files of killed processes, unless a process is writing `path` now."""
    left = Claim(path)
    with suppress(OSError):
        if left._lock_file().exists() or left.leftovers():
            with claim(path, wait=0):
                pass


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Claim a file, yield a temporary path, and replace the file if the block raises no error.

    Parameters
    ----------
    path : pathlib.Path
        The file to write or replace.

    Yields
    ------
    pathlib.Path
        Where to write the new content.

    Raises
    ------
    OSError
        If the file cannot be written, or another process is writing it.
    """
    with claim(path) as claimed, claimed.replacing(path) as temporary:
        yield temporary


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Convert an error of the operating system to an OSError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by this package, with a complete message
            raise
        reason = error.strerror or str(error)
        raise OSError(f"cannot write {path.name!r} in {path.parent}: {reason}") from error


def gdal_errors() -> tuple[type[Exception], ...]:
    """Return the errors that rasterio raises for files, some of which it passes on from GDAL."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError, RasterioError

    return RasterioError, CRSError, CPLE_BaseError


@contextmanager
def reporting_gdal(path: Path) -> Iterator[None]:
    """Convert an error of GDAL or of the operating system to an OSError that names the file."""
    try:
        yield
    except (OSError, *gdal_errors()) as error:
        # GDAL does not report why a write failed.
        full = path.parent.is_dir() and shutil.disk_usage(path.parent).free < 2**20
        reason = os.strerror(errno.ENOSPC) if full else getattr(error, "strerror", None) or error
        raise OSError(f"cannot write {path.name!r} in {path.parent}: {reason}") from error


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk; raise OSError if that fails."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_and_crc32(path: Path) -> list[int]:
    """Return the size of a file in bytes and the CRC-32 (ISO 3309) of its content."""
    checksum = size = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum, size = zlib.crc32(chunk, checksum), size + len(chunk)
    return [size, checksum]


def allocate(file: IO[bytes], size: int, folder: Path) -> None:
    """Allocate disk space for a scratch file and fill it with zeros, before it is memory-mapped.

    If the disk is full, writing to a hole of a mapped file kills the process.

    Parameters
    ----------
    file : file object
        An empty file, open for writing.
    size : int
        Bytes to allocate.
    folder : pathlib.Path
        The folder of the file, for error messages.

    Raises
    ------
    OSError
        If `folder` lacks the space.
    """
    try:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            # Not every operating system and file system supports it.
            known = (None, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
            if getattr(error, "errno", None) not in known:
                raise
            zeros = bytes(_CHUNK_BYTES)
            for start in range(0, size, _CHUNK_BYTES):
                file.write(zeros[: size - start])
            file.flush()
    except OSError as error:
        raise OSError(
            f"cannot reserve {size} bytes of scratch space in {folder}: {error.strerror}"
        ) from error
