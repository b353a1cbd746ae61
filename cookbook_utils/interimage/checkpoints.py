"""The state of a fit, on disk after each iteration.

A file holds the state, what the fit is about, and last a checksum of its own bytes, so that a
damaged one is told from a whole one before anything of it is read. A lock beside it gives it to one
fit at a time; the operating system releases the lock of a process that dies.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from cookbook_utils._files import as_path

MARK = b"\ninter-image k-means\n"
"""Last bytes of a checkpoint, after the SHA-256 of all that stands before it."""


class Step(NamedTuple):
    """What an iteration did, and all that `criterion`, `tol` and `max_iter` are held against."""

    changed: float
    """Share of the pixels whose label changed."""
    shift: float
    """The longest way a center moved ÷ the diagonal of the box that holds all pixels."""
    moved: bool
    """Whether a center without pixels was moved."""


class State(NamedTuple):
    """What the next iteration needs."""

    centers: np.ndarray
    """(k, bands) float64, after the last iteration."""
    labeled_by: np.ndarray
    """(k, bands) float64, the centers that the labels are of: one iteration older."""
    steps: list[Step]
    """Those of all iterations."""


@contextmanager
def hold(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Keep the file for one fit: check what is there, and refuse it to other fits meanwhile.

    Parameters
    ----------
    path
        The checkpoint, there or not; with None nothing is done.

    Raises
    ------
    TypeError
        If `path` is no path.
    ValueError
        If its file is no checkpoint, or a damaged one.
    OSError
        If it cannot be a file, its folder is not there, or another fit holds it.
    """
    if path is None:
        yield
        return
    file = _checked(path)
    beside = file.with_name(f".{file.name}.lock")
    lock = FileLock(beside, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OSError(
            f"checkpoint must be a file that no other fit writes, got {file}, which another "
            "process or thread is writing: wait for its end, or name another file"
        ) from None
    except OSError as error:
        raise _failed(file, "locked", error) from error
    try:
        _remove_leftovers(file)
        _stored(file)
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file; what stays there does not block
            beside.unlink()
        lock.release()


def save(path: str | os.PathLike[str], state: State, problem: dict[str, Any]) -> None:
    """Write `state` whole or not at all, with what the fit is about.

    Raises
    ------
    OSError
        If it cannot be written; the file that was there is as it was.
    """
    file = _file(path)
    content = io.BytesIO()
    np.savez(content, **state._asdict(), **_described(problem))
    archive = content.getvalue()
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(unfinished, "xb") as stream:
            stream.write(archive + hashlib.sha256(archive).digest() + MARK)
            stream.flush()
            os.fsync(stream.fileno())  # else a power cut could leave the name without the content
        os.replace(unfinished, file)
    except OSError as error:
        raise _failed(file, "written", error) from error
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], problem: dict[str, Any]) -> State | None:
    """Return the state that is stored, or None if there is no file.

    Raises
    ------
    ValueError
        If the file is no whole checkpoint, or one of another fit than `problem` describes.
    OSError
        If it cannot be read.
    """
    file = _file(path)
    stored = _stored(file)
    if stored is None:
        return None
    described = _described(problem)
    other = [
        name.removeprefix("problem_")
        for name in described
        if name not in stored or not np.array_equal(stored[name], described[name])
    ]
    if other:
        raise ValueError(
            f"checkpoint must be one of this fit, got {file} of another fit: it differs in "
            f"{', '.join(other)}; remove it, or name another file"
        )
    steps = [Step(*numbers, bool(moved)) for *numbers, moved in stored["steps"].tolist()]
    return State(stored["centers"], stored["labeled_by"], steps)


def _checked(path: Any) -> Path:
    """Return where the checkpoint is, or raise if there can be none."""
    file = _file(as_path(path, "checkpoint"))
    if os.path.isdir(file):
        raise IsADirectoryError(f"checkpoint must be the path of a file, got the folder {file}")
    if not os.path.isdir(file.parent):
        raise FileNotFoundError(
            f"checkpoint must lie in a folder that exists, got {file}: make {file.parent} first"
        )
    if os.path.exists(file) and not os.path.isfile(file):
        raise OSError(f"checkpoint must be a regular file, got {file}, a device or a pipe")
    return file


def _file(path: str | os.PathLike[str]) -> Path:
    """Return a path without links: all names of a file then share one lock, and links stay."""
    return Path(os.path.realpath(path))


def _stored(file: Path) -> dict[str, np.ndarray] | None:
    """Return what a file holds, or None if there is no file."""
    try:
        with open(file, "rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - len(MARK)))
            content = b""
            if stream.read() == MARK:  # do not read a large file of somebody else's
                stream.seek(0)
                content = stream.read().removesuffix(MARK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(file, "read", error) from error
    size = hashlib.sha256().digest_size
    archive, checksum = content[:-size], content[-size:]
    if hashlib.sha256(archive).digest() != checksum:
        raise ValueError(
            f"checkpoint must be a file that a fit of this version wrote, got {file}, which is "
            "damaged or something else: remove it, or name another file"
        )
    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        return dict(arrays)


def _remove_leftovers(file: Path) -> None:
    """Remove what writers that were killed left: nobody else writes while the lock is held."""
    leftover = re.compile(rf"\.{re.escape(file.name)}\.[0-9a-f]{{16}}\.tmp")
    try:
        for other in file.parent.iterdir():
            if leftover.fullmatch(other.name):
                other.unlink(missing_ok=True)
    except OSError as error:
        raise _failed(file, "written", error) from error


def _described(problem: dict[str, Any]) -> dict[str, np.ndarray]:
    plain = (int, float, np.ndarray)
    return {
        f"problem_{name}": np.asarray(value if isinstance(value, plain) else str(value))
        for name, value in problem.items()
    }


def _failed(file: Path, what: str, error: OSError) -> OSError:
    """Return the error of the disk as one of ours, of the same class."""
    return OSError(
        error.errno,
        f"checkpoint {file} cannot be {what} ({error.strerror or error}); what it held before is "
        "still there: free space or check the permissions, or name another file",
    )
