"""Files that are there whole or not at all, written by one process at a time, and scratch space.

Whoever writes a file or folder claims it first. A claim is a lock file beside it, which the
operating system releases when its holder ends, however it ends. Temporary files bear the name of
what was claimed, so that the next claim finds those of a killed process and removes them.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cookbook_utils._checks import shown

if TYPE_CHECKING:
    from filelock import BaseFileLock

WAIT = 120.0  # s that a process waits for another that writes the same
_PIECE = 2**20  # bytes


def as_path(value: Any, name: str) -> Path:
    """Return `value` as a path.

    Raises
    ------
    TypeError
        If it is neither text nor a path.
    ValueError
        If it is empty or holds characters that no path has.
    OSError
        If it is too long, or lies in a folder that may not be read.
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
        # All others end in a message of whoever reads or writes there.
        if error.errno in (errno.ENAMETOOLONG, errno.EACCES):
            raise OSError(f"{name} {shown(text)} cannot be looked up: {error.strerror}") from None
    return Path(text)


class Claim:
    """The right to write one file or folder, held by one thread of one process at a time.

    Attributes
    ----------
    path : pathlib.Path
        What may be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def temporary(self) -> Path:
        """Return a path beside what was claimed that no other process uses.

        Whatever is there when the claim ends is removed.
        """
        return self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex[:12]}.tmp")

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path; its file takes the place of `path` when the block ends well."""
        temporary = self.temporary()
        with reporting(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)

    def leftovers(self) -> list[Path]:
        """Return the temporary files and folders of what was claimed."""
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
def claim(path: Path, *, wait: float | None = None) -> Iterator[Claim]:
    """Claim a file or folder that is about to be written, and make the folder that it is in.

    A thread that has claimed it may do so again. When the claim ends, its temporary files are
    gone, and so are folders that were made for it and are empty.

    Parameters
    ----------
    path
        What is about to be written.
    wait
        Seconds to wait while another process has it; `WAIT` by default.

    Raises
    ------
    TimeoutError
        If another process still has it then.
    OSError
        If the folder cannot be written.
    """
    if path.name in ("", ".."):
        raise IsADirectoryError(f"{str(path)!r} must name a file or folder to write, got no name")
    claimed = Claim(path)
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with reporting(path):
            lock = _acquired(claimed._lock_file(), WAIT if wait is None else wait)
        try:
            with _outermost(lock, claimed):
                yield claimed
        finally:
            lock.release()
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _outermost(lock: BaseFileLock, claimed: Claim) -> Iterator[None]:
    """Remove temporary files and the lock file, unless the same thread claimed it before."""
    if lock.lock_counter > 1:
        yield
        return
    try:
        claimed._tidy()
        yield
    finally:
        claimed._tidy()
        # While it is held: a process that waits for a file that is gone looks for a new one.
        claimed._lock_file().unlink(missing_ok=True)


def _acquired(path: Path, wait: float) -> BaseFileLock:
    from filelock import FileLock, Timeout

    # Other users may wait for it too, where they share a folder.
    lock = FileLock(path, mode=0o666, is_singleton=True)
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=wait)
            return lock
        except FileNotFoundError:
            continue  # another process has removed the folder that it had made
        except Timeout:
            written = path.name.removeprefix(".").removesuffix(".lock")
            raise TimeoutError(
                f"{path.with_name(written)} is being written by another process, still after "
                f"{wait:g} s; wait until it has ended, or write to another place"
            ) from None
    raise FileNotFoundError(f"the folder {path.parent} is removed again and again")


def tidy(path: Path) -> None:
    """Remove what a killed process left of a file or folder, unless another is writing it now."""
    left = Claim(path)
    with suppress(OSError):
        if left._lock_file().exists() or left.leftovers():
            with claim(path, wait=0):
                pass


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Claim a file, yield a temporary path, and let its file take the place when all went well.

    Raises
    ------
    OSError
        If the file cannot be written, or another process is at it.
    """
    with claim(path) as claimed, claimed.replacing(path) as temporary:
        yield temporary


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into an OSError that says what cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one of our own, which says so
            raise
        reason = error.strerror or str(error)
        raise OSError(f"cannot write {path.name!r} in {path.parent}: {reason}") from error


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk, and learn of an error on the way."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def allocate(file: IO[bytes], size: int, folder: Path) -> None:
    """Reserve `size` bytes of zeros for a scratch file, so that they can be mapped.

    Writing to a mapped file that has holes kills the process when the disk is full.

    Raises
    ------
    OSError
        If there is no space for them in `folder`.
    """
    try:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            # Not every system and file system has it.
            known = (None, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
            if getattr(error, "errno", None) not in known:
                raise
            zeros = bytes(_PIECE)
            for start in range(0, size, _PIECE):
                file.write(zeros[: size - start])
            file.flush()
    except OSError as error:
        raise OSError(
            f"cannot reserve {size} bytes of scratch space in {folder}: {error.strerror}"
        ) from error
