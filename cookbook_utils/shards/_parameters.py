"""Checks of the parameters of readers and writers of shards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_utils._checks import as_real_array, shown

COORDINATES = {"point": np.int64, "longitude": np.float64, "latitude": np.float64}
"""Columns of each shard beside the features, with their dtypes."""

PID_BYTES = 32
"""Bytes of the identifier of a point, in UTF-8, with zeros at its end."""

RESERVED = (*COORDINATES, "pid", "points", "self")  # columns and parameters of `ShardWriter.append`


def check_features(features: Any) -> dict[str, list[str]]:
    """Return the kinds of features with the feature names of each, or raise."""
    expected = (
        f"features must be a mapping of kinds (identifiers other than {', '.join(RESERVED)}) to "
        "sequences of one or more unique names"
    )
    if not isinstance(features, Mapping):
        raise TypeError(f"{expected}, got {type(features).__name__}")
    checked = {}
    for kind, names in features.items():
        found = f"got {shown(kind)}: {shown(names)}"
        if not isinstance(kind, str) or isinstance(names, str):
            raise TypeError(f"{expected}, {found}")
        try:
            checked[kind] = list(map(str, names))
        except TypeError as error:
            raise TypeError(f"{expected}, {found}") from error
        is_unique = len(set(checked[kind])) == len(checked[kind])
        if kind in RESERVED or not kind.isidentifier() or not checked[kind] or not is_unique:
            raise ValueError(f"{expected}, {found}")
    if not checked:
        raise ValueError(f"{expected}, got an empty mapping")
    return checked


def check_kinds(kinds: Any, features: Mapping[str, list[str]], folder: Path) -> list[str]:
    """Return the kinds of features to read from a folder as a list, or raise."""
    expected = f"kinds must be a sequence of unique kinds among {', '.join(map(repr, features))}"
    if isinstance(kinds, str) or not isinstance(kinds, Sequence):
        raise TypeError(f"{expected}, got {shown(kinds)}")
    if not all(isinstance(kind, str) for kind in kinds):
        raise TypeError(f"{expected}, got {shown(kinds)}")
    if not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(features):
        raise ValueError(f"{expected}, for the shards in {folder}, got {shown(kinds)}")
    return list(map(str, kinds))


def attributes_as_json(attrs: Any) -> str:
    """Return attributes as JSON, or raise TypeError if JSON cannot represent them."""
    expected = "attrs must be a mapping that JSON can represent"
    if attrs is not None and not isinstance(attrs, Mapping):
        raise TypeError(f"{expected}, got {type(attrs).__name__}")
    try:
        return json.dumps(dict(attrs or {}), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{expected}, got one that it cannot represent: {error}") from error


def as_point_numbers(values: Any, name: str) -> np.ndarray:
    """Return a new int64 array of the numbers of points, or raise."""
    array = np.asarray(as_real_array(values, name))
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be at most 2**63 - 1, got {array.max()}")
    return np.array(array, np.int64)


def as_pids(values: Any, name: str) -> np.ndarray:
    """Return a new array of identifiers in `PID_BYTES` of UTF-8, or raise."""
    array = np.asarray(values)
    if array.dtype.kind not in "UO" or (
        array.dtype.kind == "O" and not all(isinstance(value, str) for value in array.flat)
    ):
        raise TypeError(f"{name} must be text, got dtype {array.dtype}")
    encoded = np.char.encode(array.astype(np.str_), "utf-8")
    longest = np.char.str_len(encoded).max(initial=0)
    if longest > PID_BYTES:
        raise ValueError(f"{name} must have at most {PID_BYTES} bytes each, got one of {longest}")
    return encoded.astype(f"S{PID_BYTES}")


def label_file_name(name: Any) -> str:
    """Return the name of the file that holds the labels `name`, or raise."""
    expected = "name must be one word of letters, digits, _, + and -"
    if not isinstance(name, str):
        raise TypeError(f"{expected}, got {shown(name)}")
    if not re.fullmatch(r"\w[\w+-]*", name):
        raise ValueError(f"{expected}, got {shown(name)}")
    return f"labels-{name}.parquet"
