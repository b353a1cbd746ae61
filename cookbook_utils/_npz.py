"""Named arrays in an .npz file with a checksum, written atomically and read without pickle."""

from __future__ import annotations

import hashlib
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cookbook_utils import _files

DAMAGED = (
    ValueError, TypeError, KeyError, EOFError, SyntaxError, NotImplementedError, RuntimeError,
    MemoryError, OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip
"""Errors that NumPy and zipfile raise for files with altered bytes."""


def digest_of(arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays, their names, dtypes and shapes."""
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays and their digest, atomically.

    Raises
    ------
    OSError
        If the file cannot be written; a file that was there is unchanged.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    with _files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays, digest=np.asarray(digest_of(arrays)))


def load_arrays(
    path: Path, names: Iterable[str] | None = None, *, largest: int
) -> dict[str, np.ndarray]:
    """Read arrays from a file of at most `largest` bytes, or raise one of `DAMAGED`.

    The digest must be that of the arrays `names`; by default of all, in their order in the file.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > largest:
        raise ValueError(f"it holds {size} bytes, expected at most {largest}")
    with np.load(path, allow_pickle=False) as archive:
        wanted = [name for name in archive if name != "digest"] if names is None else names
        arrays = {name: archive[name] for name in wanted}
        if str(archive["digest"]) != digest_of(arrays):
            raise ValueError("its checksum does not match its content")
    return arrays
