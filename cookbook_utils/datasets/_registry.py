"""Parse the registry, which lists the size, the SHA-256 and the address of each real file."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

from cookbook_utils.datasets._text import FILE_NAME

_COLUMNS = {
    "dataset": (FILE_NAME, "the name of a folder"),
    "file": (FILE_NAME, "the name of a file"),
    "bytes": (r"[1-9][0-9]{0,14}", "a number of bytes"),
    "sha256": (r"[0-9a-fA-F]{64}", "64 hexadecimal digits"),
    "url": (r"https?://[!-~]+", "an address that begins with http:// or https://"),
}


class RegistryEntry(NamedTuple):
    """Size in bytes, SHA-256 and address of a file."""

    size: int
    sha256: str
    url: str


def parse_registry(path: Path, text: str) -> dict[tuple[str, str], RegistryEntry]:
    """Return the entry of each (dataset, file) of a registry in CSV.

    Parameters
    ----------
    path : pathlib.Path
        The file of the registry, for error messages.
    text : str
        Its content.

    Returns
    -------
    dict
        ``RegistryEntry`` by (dataset, file).

    Raises
    ------
    ValueError
        If a row is malformed, repeats a file, or names one outside the download folder.
    """
    rows: dict[tuple[str, str], RegistryEntry] = {}
    lines = csv.reader(text.splitlines(), strict=True)
    try:
        for row in lines:
            where = f"{path}, line {lines.line_num}"
            if lines.line_num == 1:
                if row != list(_COLUMNS):
                    raise ValueError(f"{where} must be {','.join(_COLUMNS)}, got {row}")
            elif row:
                name, entry = _parse_row(row, where)
                if name in rows:
                    raise ValueError(f"{where} must name a new file, got {'/'.join(name)} again")
                rows[name] = entry
    except csv.Error as error:
        raise ValueError(f"{path}, line {lines.line_num} must be a row of CSV ({error})") from None
    if not rows:
        raise ValueError(f"{path} must be a registry of files, got one without a file")
    return rows


def _parse_row(row: list[str], where: str) -> tuple[tuple[str, str], RegistryEntry]:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"{where} must have {len(_COLUMNS)} columns, got {len(row)}")
    for value, (column, (pattern, expected)) in zip(row, _COLUMNS.items(), strict=True):
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{where}: {column} must be {expected}, got {value[:200]!r}")
    dataset, file, size, sha256, url = row
    return (dataset, file), RegistryEntry(int(size), sha256.lower(), url)
