"""Read small text files, check names, and suggest the name that a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 20
"""Size of the largest file that is read; the catalog and the registry have less than 15 KB."""

FILE_NAME = r"(?!\.\.?$)[\w.][\w.()+ -]{0,199}"
"""Regular expression of the name of a file or folder; it matches neither a path nor ``..``."""


def did_you_mean(name: str, known: Iterable[Hashable]) -> str:
    """Return " (did you mean ...?)" with the closest of the known names, or an empty string."""
    close = difflib.get_close_matches(name, [str(k) for k in known], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def read_text(path: Path, what: str, error: type[OSError]) -> str:
    """Return the content of a text file of at most `MAX_BYTES`.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    what : str
        What the file must be, for error messages.
    error : type of OSError
        Class of the error if there is no such file.

    Returns
    -------
    str
        The text, without a byte order mark.

    Raises
    ------
    OSError
        If the file cannot be read; `error` if there is no such file.
    ValueError
        If it is larger than `MAX_BYTES` or not UTF-8.
    """
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "none"
            raise error(f"there must be {what} at {path}, got {found}")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except error:
        raise
    except (OSError, ValueError) as reason:  # ValueError: a path with a null character
        raise OSError(f"{what} at {str(path)!r} cannot be read: {reason}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} must be {what} of at most {MAX_BYTES} bytes, got a larger file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise ValueError(f"{path} must be {what} in UTF-8, got other bytes ({reason})") from None


def require_text(value: Any, what: str) -> None:
    """Raise TypeError unless `value` is text."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be text, got {type(value).__name__}")
