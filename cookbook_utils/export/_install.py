"""Write a file and those beside it into a temporary folder, and move all of them into place."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from cookbook_utils import _files
from cookbook_utils._checks import needs, require_bool

ITEM = ".json"
"""What is appended to the name of a file for that of its STAC item."""

PAM = ".aux.xml"
"""What GDAL appends to the name of a raster for that of its auxiliary metadata."""


def need(module: str) -> ModuleType:
    """Import and return an optional module, or raise ImportError that says how to install it."""
    with needs(module.partition(".")[0]):
        return importlib.import_module(module)


def checked_path(path: Any, suffixes: Sequence[str], overwrite: Any) -> Path:
    """Return the path of a file to write, absolute, or raise.

    Raises
    ------
    TypeError
        If it is not a path, or `overwrite` not a boolean.
    ValueError
        If the name has none of the suffixes, which are in lower case.
    FileExistsError
        If the file exists, unless `overwrite` is true.
    """
    # GDAL would take a relative path such as "s3:labels.tif" for an address.
    path = Path(os.path.abspath(_files.as_path(path, "path")))
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"path must end in {' or '.join(suffixes)}, got {path.name!r}")
    if not require_bool(overwrite, "overwrite"):
        _require_new(path)
    return path


def _require_new(path: Path) -> None:
    if path.exists():
        raise FileExistsError(
            f"path must be a new file, got {path}, which exists: pass overwrite=True to replace it"
        )


@contextmanager
def installing(path: Path, overwrite: bool) -> Iterator[Path]:
    """Claim a file and yield a temporary folder, whose files replace it if no error is raised.

    The folder holds a file of the same name and, perhaps, others whose names begin with it. Old
    files beside it are removed before the file is replaced, so that no reader finds the names of
    one map beside the pixels of another.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    overwrite : bool
        Whether it may exist.

    Yields
    ------
    pathlib.Path
        Where to write a file of this name.

    Raises
    ------
    FileExistsError
        If it exists and may not.
    OSError
        If it cannot be written, or another process writes it.
    """
    with _files.claim(path) as claimed:
        if not overwrite:
            _require_new(path)
        with _files.reporting_gdal(path):
            folder = claimed.temporary()
            folder.mkdir()
            yield folder / path.name
            beside = [path.name + suffix for suffix in (PAM, ITEM)]
            written = [name for name in (path.name, *beside) if (folder / name).exists()]
            for name in written:
                _files.sync(folder / name)
            if path.is_dir():
                raise IsADirectoryError(21, os.strerror(21))
            for name in beside:
                path.with_name(name).unlink(missing_ok=True)
            if not path.exists():  # a new file is there only when those beside it are
                written.reverse()
            for name in written:
                os.replace(folder / name, path.with_name(name))
            _files.sync(path.parent)
