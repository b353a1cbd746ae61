"""Check the facts that a catalog entry gives its reader, such as bands, dates and files."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cookbook_utils._checks import require_integer, require_number, shown
from cookbook_utils.datasets._text import FILE_NAME


def require_facts(facts: Mapping[str, Any], what: str) -> None:
    """Raise unless each argument of a reader has the type and form that belong to its name.

    Parameters
    ----------
    facts : mapping
        Arguments by name; those with another name than `CHECKS` has are ignored.
    what : str
        Name of the entry, for error messages.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; the message begins with `what` and the name of the argument.
    """
    for name, value in facts.items():
        if check := CHECKS.get(name):
            check(value, f"{what}: {name}")


def file_of(files: str, facts: Mapping[str, Any]) -> str:
    """Return the file that a pattern such as ``"landsat_5/B{number}.tif"`` names.

    Parameters
    ----------
    files : str
        Pattern in the syntax of ``str.format``, with integers in the format ``d`` or ``02d``.
    facts : mapping
        Values of the fields of the pattern.

    Returns
    -------
    str
        ``"folder/file"``.

    Raises
    ------
    ValueError
        If the pattern has other fields, or the result is not ``"folder/file"``.
    """
    try:
        fields = [(f, s, c) for _, f, s, c in string.Formatter().parse(files) if f is not None]
    except ValueError as error:
        raise ValueError(f"files must be a pattern, got {files!r} ({error})") from None
    for field, spec, conversion in fields:
        if field not in facts or conversion or not re.fullmatch(r"(0\d)?d?", spec or ""):
            raise ValueError(f"files must have only the fields {', '.join(facts)}, got {files!r}")
    try:
        file = files.format(**facts)
    except ValueError as error:
        raise ValueError(
            f"files must fit the facts of the scene, got {files!r} ({error})"
        ) from None
    parts = file.split("/")
    if len(parts) != 2 or not all(re.fullmatch(FILE_NAME, part) for part in parts):
        raise ValueError(f"files must lead to 'folder/file', got {file!r}")
    return file


def year_of(date: str) -> int:
    """Return the year of a date in ISO 8601."""
    return int(np.datetime64(date, "Y").astype(str))


def require_kind(value: Any, kind: type, what: str) -> None:
    """Raise TypeError unless `value` is text, a list, or a mapping whose keys are names."""
    if not isinstance(value, kind) or (kind is dict and not all(map(_is_key, value))):
        expected = {dict: "a mapping of names", list: "a list", str: "text"}[kind]
        raise TypeError(f"{what} must be {expected}, got {shown(value)}")


def _is_key(key: Any) -> bool:
    return isinstance(key, str | int) and not isinstance(key, bool)


def _is_a(kind: type) -> Callable[[Any, str], None]:
    return lambda value, what: require_kind(value, kind, what)


def _optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, what: None if value is None else check(value, what)


def _require_name(value: Any, what: str) -> None:
    require_kind(value, str, what)
    if not re.fullmatch(FILE_NAME, value):
        raise ValueError(f"{what} must be a name of a file or folder, got {shown(value)}")


def _require_date(value: Any, what: str) -> None:
    require_kind(value, str, what)
    try:
        day = np.datetime64(value, "D")
    except ValueError:
        day = np.datetime64("NaT")
    # datetime64[ns] wraps around outside these years.
    if not np.datetime64("1678-01-01") <= day <= np.datetime64("2261-12-31"):
        raise ValueError(f"{what} must be a date (ISO 8601) from 1678 to 2261, got {value!r}")


def _require_dates(value: Any, what: str) -> None:
    require_kind(value, list, what)
    for date in value:
        _require_date(date, what)
    days = np.array(value, "datetime64[D]")
    if not len(days) or not (np.diff(days) > np.timedelta64(0)).all():
        raise ValueError(f"{what} must be increasing dates, at least one, got {shown(value)}")


def _require_bands(value: Any, what: str) -> None:
    require_kind(value, list, what)
    for band in value:
        _require_keys(band, ("name", "number", "wavelength"), what)
        require_kind(band["name"], str, f"{what}: name")
        require_integer(band["number"], f"{what}: number", least=1)
        require_number(band["wavelength"], f"{what}: wavelength", above=0)
    names = [band["name"] for band in value]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{what} must have distinct names, at least one, got {names}")


def _require_scenes(value: Any, what: str) -> None:
    require_kind(value, list, what)
    for number, scene in enumerate(value):
        item = f"{what}[{number}]"
        _require_keys(scene, ("date", "sensor", "bands"), item)
        _require_date(scene["date"], f"{item}: date")
        require_kind(scene["sensor"], str, f"{item}: sensor")
        _require_bands(scene["bands"], f"{item}: bands")
    _require_dates([scene["date"] for scene in value], f"{what}: date")


def _require_keys(value: Any, keys: tuple[str, ...], what: str) -> None:
    require_kind(value, dict, what)
    if missing := [key for key in keys if key not in value]:
        raise ValueError(f"{what} must have {', '.join(missing)}, got {shown(value)}")


def _require_maps(value: Any, what: str) -> None:
    require_kind(value, dict, what)
    if not value:
        raise ValueError(f"{what} must name at least one map, got none")
    for name, attributes in value.items():
        require_kind(attributes, dict, f"{what}, {name}")


def _require_tags(value: Any, what: str) -> None:
    require_kind(value, list, what)
    for tag in value:
        require_kind(tag, str, what)


def _require_source(value: Any, what: str) -> None:
    """Require files in the folder of the catalog or addresses: a catalog leads nowhere else."""
    files = list(value.values()) if isinstance(value, dict) else value
    for file in files if isinstance(files, list) and files else [files]:
        if isinstance(file, list | dict):
            _require_source(file, what)
            continue
        require_kind(file, str, what)
        inside = file.startswith("{CATALOG_DIR}/") and ".." not in file.split("/")
        if not (inside or re.match(r"(https?|s3)://", file)):
            raise ValueError(
                f"{what} must begin with {{CATALOG_DIR}}/, or with https://, http:// or s3://, got "
                f"{shown(file)}"
            )


def _require_url(value: Any, what: str) -> None:
    require_kind(value, str, what)
    if not re.fullmatch(r"https?://[!-~]+", value):
        raise ValueError(f"{what} must begin with https:// or http://, got {shown(value)}")


CHECKS: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("name", "dataset", "file"), _require_name),
    **dict.fromkeys(("folder", "files", "sensor"), _is_a(str)),
    "made_by": _optional(_is_a(str)),
    "attrs": _is_a(dict),
    "scenes": _require_scenes,
    "dates": _require_dates,
    "maps": _require_maps,
    "tags": _require_tags,
    "year": _optional(require_integer),
    "nodata": require_number,
    "source": _require_source,
    "url": _require_url,
    "collection": _is_a(str),
    # Checked by the readers, which know the data, or by the functions behind them.
    **dict.fromkeys(
        (
            "chunks",
            "bands",
            "scale",
            "offset",
            "bbox",
            "crs",
            "resolution",
            "resampling",
            "query",
            "max_cloud_cover",
            "limit",
            "storage_options",
        ),
        lambda value, what: None,
    ),
}
"""The check of each argument that a reader may have."""
