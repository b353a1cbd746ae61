"""Checkpoints: files that hold the state of a fit after its last iteration.

A file holds the state, a description of the fit, and a checksum at its end, which is verified
before anything else is read. A fit claims the file, so that no other fit uses it meanwhile.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cookbook_utils import _files
from cookbook_utils._files import as_path

MARK = b"\ninter-image k-means\n"
"""Last bytes of a checkpoint, after the SHA-256 of all bytes before."""


class Iteration(NamedTuple):
    """What the stopping rule needs to know of one iteration."""

    changed: float
    """Share of the pixels whose label changed."""
    shift: float
    """Largest distance that a center moved ÷ diagonal of the bounding box of all pixels."""
    refilled: bool
    """Whether a center without pixels was moved to the farthest pixel."""


class State(NamedTuple):
    """What the next iteration needs."""

    centers: np.ndarray
    """(k, bands) float64, after the last iteration."""
    previous_centers: np.ndarray
    """(k, bands) float64, before the last iteration: the labels refer to them."""
    iterations: list[Iteration]
    """All iterations so far."""


@contextmanager
def hold(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Verify a checkpoint, if it exists, and lock it for the duration of a fit.

    Parameters
    ----------
    path : path or None
        The checkpoint, which need not exist; None does nothing.

    Raises
    ------
    TypeError
        If `path` is not a path.
    ValueError
        If the file is not a checkpoint, or a damaged one.
    OSError
        If the path cannot be a file, its folder does not exist, or another fit has locked it.
    """
    if path is None:
        yield
        return
    file = _checked(path)
    with ExitStack() as stack:
        try:
            stack.enter_context(_files.claim(file, wait=0, outermost=True))
        except TimeoutError:
            raise OSError(
                f"checkpoint must be a file that no other fit writes, got {file}, which another "
                "process or thread is writing: wait until it ends, or name another file"
            ) from None
        except OSError as error:
            raise _failed(file, "locked", error) from error
        _stored(file)
        yield


def save(path: str | os.PathLike[str], state: State, problem: dict[str, Any]) -> None:
    """Replace the content of the checkpoint by `state` atomically.

    Parameters
    ----------
    path : path
        The checkpoint, which `hold` has locked.
    state : State
        The state after the last iteration.
    problem : dict
        Name and value of everything that determines the iterations.

    Raises
    ------
    OSError
        If it cannot be written; the previous file is then unchanged.
    """
    file = _file(path)
    content = io.BytesIO()
    np.savez(content, **state._asdict(), **_described(problem))
    archive = content.getvalue()
    try:
        with _files.replacing(file) as temporary:
            temporary.write_bytes(archive + hashlib.sha256(archive).digest() + MARK)
    except OSError as error:
        raise _failed(file, "written", error) from error


def load(path: str | os.PathLike[str], problem: dict[str, Any]) -> State | None:
    """Return the stored state, or None if there is no file.

    Parameters
    ----------
    path : path
        The checkpoint.
    problem : dict
        As for `save`.

    Returns
    -------
    State or None
        The state after the last iteration.

    Raises
    ------
    ValueError
        If the file is damaged, not a checkpoint, or of a fit with another `problem`.
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
    rows = stored["iterations"].tolist()
    iterations = [Iteration(changed, shift, bool(refilled)) for changed, shift, refilled in rows]
    return State(stored["centers"], stored["previous_centers"], iterations)


def _checked(path: Any) -> Path:
    """Return the path of the checkpoint, or raise if no file can be there."""
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
    """Return a path with links resolved, so that all names of a file share one lock."""
    return Path(os.path.realpath(path))


def _stored(file: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays in a checkpoint, or None if there is no file."""
    try:
        with open(file, "rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - len(MARK)))
            content = b""
            if stream.read() == MARK:  # other files, which may be large, are not read
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


def _described(problem: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return `problem` as arrays; values that are neither numbers nor arrays become text."""
    plain = (int, float, np.ndarray)
    return {
        f"problem_{name}": np.asarray(value if isinstance(value, plain) else str(value))
        for name, value in problem.items()
    }


def _failed(file: Path, what: str, error: OSError) -> OSError:
    """Return an error of the file system with the name of the checkpoint, of the same class."""
    # `_files` raises an error without errno from that of the operating system.
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return OSError(
        cause.errno,
        f"checkpoint {file} cannot be {what} ({cause.strerror or cause}); its previous content "
        "is kept: free space or check the permissions, or name another file",
    )
