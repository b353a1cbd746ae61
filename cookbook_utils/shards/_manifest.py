"""The manifest of a folder of shards: its layout, its digest, and the digests of its shards."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cookbook_utils._checks import require_integer
from cookbook_utils.shards._parameters import check_features

VERSION = 2  # of the layout on disk
MANIFEST = "manifest.json"  # name of the file
PIDS = "pids"  # key of a manifest whose shards have the identifiers of points
_KEYS = {"version", "features", "shard_size", "attrs", "shards", "complete"}


def read_bytes(path: Path) -> bytes | None:
    """Return the content of a file, or None if it does not exist."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder, without its digest, or raise if there is none or it is wrong.

    Raises
    ------
    FileNotFoundError
        If there is no manifest.
    ValueError
        If it has another version, differs from its digest, or an entry is missing or invalid.
    """
    path = folder / MANIFEST
    content = read_bytes(path)
    if content is None:
        raise FileNotFoundError(
            f"{folder} must be a folder of shards, got none: it has no {MANIFEST}"
        )
    remedy = "write to another folder, or delete this one and write it again"
    try:
        manifest = json.loads(content)
        version = manifest["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is not the manifest of a folder of shards; {remedy}") from None
    if version != VERSION:
        raise ValueError(f"{path} must have the version {VERSION}, got {version!r}; {remedy}")
    if manifest.pop("digest", None) != _sha256(manifest):
        raise ValueError(f"{path} was altered: it differs from its digest; {remedy}")
    if not _is_consistent(manifest):
        raise ValueError(f"{path} was altered: an entry is missing or invalid; {remedy}")
    return manifest


def _is_consistent(manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest has all entries, each valid, and its shards are in order."""
    try:
        shards, size = manifest["shards"], manifest["shard_size"]
        return (
            set(manifest) - {PIDS} == _KEYS
            and manifest.get(PIDS, True) is True
            and check_features(manifest["features"]) == manifest["features"]
            and require_integer(size, "shard_size", least=1) == size
            and isinstance(manifest["attrs"], dict)
            and isinstance(manifest["complete"], bool)
            and isinstance(shards, list)
            and _are_in_order(shards)
        )
    except (KeyError, TypeError, ValueError):
        return False


def _are_in_order(shards: list[Mapping[str, Any]]) -> bool:
    """Return whether entries of shards are valid, and their point numbers int64 and increasing."""
    previous = -math.inf
    for shard in shards:
        points, first, last, size = facts = [
            shard[key] for key in ("points", "first", "last", "bytes")
        ]
        if any(type(fact) is not int for fact in facts) or size < 1:
            return False
        if not isinstance(shard["sums"], str):
            return False
        # From the first to the last number there are at least as many integers as points.
        if not (previous < first and 0 < points <= last - first + 1):
            return False
        previous = last
    return not shards or (-(2**63) <= shards[0]["first"] and previous < 2**63)


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return a manifest with its digest as it is written to disk."""
    return json.dumps(manifest | {"digest": _sha256(manifest)}, indent=1).encode()


def fingerprint(manifest: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of the parameters of the writer of a folder, in hexadecimal digits."""
    keys = ("version", "features", "shard_size", "attrs", PIDS)
    facts = {key: manifest[key] for key in keys if key in manifest}
    return _sha256(facts).encode()


def digest_of_values(manifest: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of the entries of all shards, which have checksums of their values.

    File sizes are left out, because they depend on the version of Parquet.
    """
    facts = [{key: shard[key] for key in shard if key != "bytes"} for shard in manifest["shards"]]
    return _sha256(facts).encode()


def _sha256(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
