"""Files of fitted models: parameters, what `fit` found, versions and a checksum, without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_utils import __version__, _npz
from cookbook_utils._files import as_path

FORMAT = 1
"""Version of the files; a change that older versions of the package cannot read increases it."""

LARGEST_MODEL = 2**29  # bytes of arrays: 65 535 centers of 1000 features
LARGEST_FILE = LARGEST_MODEL + 2**20  # bytes, with the facts
_HEADER = "model"
_PLAIN = (str, int, float, bool, type(None))


def save_model(path: Any, kind: str, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a fitted model to an .npz file, atomically.

    Parameters
    ----------
    path : str or os.PathLike
        The file, in a folder that exists.
    kind : str
        Name of the class of the model.
    facts : dict
        Parameters and attributes that JSON can represent.
    arrays : dict of numpy.ndarray
        The other attributes, without objects.

    Raises
    ------
    TypeError
        If `path` is not a path.
    ValueError
        If the model is larger than a file that `load_model` reads.
    OSError
        If the file cannot be written.
    """
    path = as_path(path, "path")
    n_bytes = sum(array.nbytes for array in arrays.values())
    if n_bytes > LARGEST_MODEL:
        raise ValueError(
            f"a model must have at most {LARGEST_MODEL} bytes of arrays to be saved, got {n_bytes}"
        )
    header = {"kind": kind, "format": FORMAT, "version": __version__, "facts": facts}
    text = np.asarray(json.dumps(header, allow_nan=False, sort_keys=True))
    _npz.save_arrays(path, {_HEADER: text, **arrays})


def load_model(path: Any, kind: str) -> tuple[Path, dict[str, Any], dict[str, np.ndarray]]:
    """Return the path, the facts and the arrays of a model that `save_model` wrote.

    Raises
    ------
    TypeError
        If `path` is not a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, of another class, of a newer format, or not a model.
    """
    path = as_path(path, "path")
    if not path.is_file():
        raise FileNotFoundError(f"path must be a file that {kind}.save wrote, got no file {path}")
    try:
        arrays = _npz.load_arrays(path, largest=LARGEST_FILE)
        header = json.loads(str(arrays.pop(_HEADER)))
        found, version = str(header["kind"]), str(header["version"])
        number, facts = int(header["format"]), dict(header["facts"])
    except _npz.DAMAGED as error:
        raise refused(path, kind, f"which is damaged or something else ({error})") from None
    if found != kind:
        raise refused(path, kind, f"which holds a {found}: load it with {found}.load")
    if number > FORMAT:
        raise refused(
            path, kind,
            f"whose format {number} is newer than the format {FORMAT} of this version: install "
            f"version {version} of the package, which wrote it",
        )  # fmt: skip
    return path, facts, arrays


def refused(path: Path, kind: str, found: str) -> ValueError:
    """Return the error for a file that is not a model of this class."""
    return ValueError(f"path must be a file that {kind}.save wrote, got {path}, {found}")


def require_shape(
    path: Path, kind: str, arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Raise ValueError unless arrays have these shapes and hold finite numbers."""
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype.kind not in "biuf":
            raise refused(path, kind, f"whose {name} are not numbers of the shape {shape}")
        if not np.isfinite(array).all():
            raise refused(path, kind, f"whose {name} are not finite")


def as_plain(value: Any, what: str) -> Any:
    """Return a value, or tuples of values, as JSON holds them without loss, or raise ValueError."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [as_plain(item, what) for item in value]
    if not isinstance(value, _PLAIN) or value != value:
        raise ValueError(f"{what} must be text or numbers to be saved, got {type(value).__name__}")
    return value
