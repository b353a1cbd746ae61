"""The two files that say what data there are, read with nothing in them taken on trust.

A catalog may name no other readers than those of this package, and neither a catalog nor a registry
may name a file outside of its folder.
"""

from __future__ import annotations

import csv
import difflib
import os
import re
import string
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cookbook_utils._checks import require_integer, require_number

MOST_BYTES = 1 << 20
"""The largest catalog or registry that is read; those of the project have 15 KB."""

MOST_NODES = 100_000
"""The most values that a catalog may have once all of its aliases are written out."""

READERS = (
    "cookbook_utils.datasets:SceneReader",
    "cookbook_utils.datasets:SeriesReader",
    "cookbook_utils.datasets:TruthReader",
    "cookbook_utils.datasets:SeriesTruthReader",
    "cookbook_utils.insar:PointsReader",
    "cookbook_utils.insar:EGMSReader",
)
_COLUMNS = ["dataset", "file", "bytes", "sha256", "url"]
_NAME = r"(?!\.\.?$)[\w.][\w.()+ -]{0,199}"  # a name of a file or folder, and no way out of it


class Registered(NamedTuple):
    """What the registry says of a file."""

    size: int
    sha256: str
    url: str


def did_you_mean(name: str, known: Iterable[Hashable]) -> str:
    """Return a question after the one of `known` that resembles `name`, or an empty text."""
    close = difflib.get_close_matches(name, [str(k) for k in known], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def read_text(path: Path, what: str, error: type[OSError]) -> str:
    """Return the text of a small file, or raise one error that names it.

    Raises
    ------
    OSError
        If it cannot be read; `error` if there is no such file.
    ValueError
        If it is larger than `MOST_BYTES` or not UTF-8.
    """
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "none"
            raise error(f"there must be {what} at {path}, got {found}")
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except error:
        raise
    except (OSError, ValueError) as reason:  # ValueError: a path with a null character
        raise OSError(f"{what} at {str(path)!r} cannot be read: {reason}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} must be {what} of at most {MOST_BYTES} bytes, got a larger file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise ValueError(f"{path} must be {what} in UTF-8, got other bytes ({reason})") from None


# -- the registry -----------------------------------------------------------------------------


def parse_registry(path: Path, text: str) -> dict[tuple[str, str], Registered]:
    """Return what a registry says of each (dataset, file).

    Raises
    ------
    ValueError
        If a row is not whole, names a file twice or one outside of the download folder.
    """
    rows: dict[tuple[str, str], Registered] = {}
    lines = csv.reader(text.splitlines(), strict=True)
    try:
        for row in lines:
            where = f"{path}, line {lines.line_num}"
            if lines.line_num == 1:
                if row != _COLUMNS:
                    raise ValueError(f"{where} must be {','.join(_COLUMNS)}, got {row}")
            elif row:
                name, entry = _registered(row, where)
                if name in rows:
                    raise ValueError(f"{where} must name a new file, got {'/'.join(name)} again")
                rows[name] = entry
    except csv.Error as error:
        raise ValueError(f"{path}, line {lines.line_num} must be a row of CSV ({error})") from None
    if not rows:
        raise ValueError(f"{path} must be a registry of files, got one without a file")
    return rows


def _registered(row: list[str], where: str) -> tuple[tuple[str, str], Registered]:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"{where} must have {len(_COLUMNS)} columns, got {len(row)}")
    dataset, file, size, sha256, url = row
    for column, pattern, wanted in (
        ("dataset", _NAME, "the name of a folder"),
        ("file", _NAME, "the name of a file"),
        ("bytes", r"[1-9][0-9]{0,14}", "a number of bytes"),
        ("sha256", r"[0-9a-fA-F]{64}", "64 hexadecimal digits"),
        ("url", r"https?://[!-~]+", "an address that begins with http:// or https://"),
    ):
        value = row[_COLUMNS.index(column)]
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{where}: {column} must be {wanted}, got {value[:200]!r}")
    return (dataset, file), Registered(int(size), sha256.lower(), url)


# -- the catalog ------------------------------------------------------------------------------


def parse_catalog(path: Path, text: str) -> dict[str, Any]:
    """Return a catalog of intake, version 2, as it stands in YAML.

    Raises
    ------
    ValueError
        If it is not one, or has an entry that a reader of this package cannot take.
    """
    import yaml

    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _count_nodes(node, {})
        catalog = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        reason = re.sub(r"\s+", " ", str(error))
        raise ValueError(f"{path} must be a catalog in YAML, got a damaged one: {reason}") from None
    except RecursionError:
        raise ValueError(f"{path} must be a catalog in YAML, got one nested too deep") from None
    finally:
        if loader is not None:
            loader.dispose()

    try:
        _require_catalog(catalog)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return catalog


def _require_catalog(catalog: Any) -> None:
    _require_kind(catalog, dict, "the catalog")
    if catalog.get("version") != 2:
        found = catalog.get("version")
        raise ValueError(f"version must be 2, as intake's catalogs have, got {found!r}")
    for key in ("entries", "aliases", "metadata", "data", "user_parameters"):
        _require_kind(catalog.setdefault(key, {}), dict, key)
    for key in ("data", "user_parameters"):
        if catalog[key]:
            raise ValueError(f"{key} must be empty, got {list(catalog[key])[:5]}")
    for name, entry in catalog["entries"].items():
        _require_entry(entry, f"the entry {name!r}")
    for alias, name in catalog["aliases"].items():
        if not isinstance(alias, str) or name not in catalog["entries"]:
            raise ValueError(f"the alias {alias!r} must name an entry, got {name!r}")


def _count_nodes(node: Any, counted: dict[int, int]) -> int:
    """Count the values below a node of YAML, those behind an alias each time.

    PyYAML merges aliases by copying, so a few lines could fill the memory. It takes the last of two
    equal keys in silence, and an alias may hold itself.
    """
    import yaml

    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in counted:
        if not counted[id(node)]:
            raise ValueError("an alias stands inside of what it stands for")
        return counted[id(node)]
    counted[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) != len(node.value):
            raise ValueError("a key is not a word or a number")
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"the key {twice[0]!r} stands twice in one place")
        children = [value for _, value in node.value]
    else:
        children = node.value
    total = 1 + sum(_count_nodes(child, counted) for child in children)
    if total > MOST_NODES:
        raise ValueError(f"it has more than {MOST_NODES} values with its aliases written out")
    counted[id(node)] = total
    return total


def _require_entry(entry: Any, what: str) -> None:
    _require_kind(entry, dict, what)
    entry.setdefault("user_parameters", {})
    known = ("reader", "kwargs", "metadata", "output_instance", "user_parameters")
    if unknown := [key for key in entry if key not in known]:
        raise ValueError(f"{what} must have only the keys {', '.join(known)}, got {unknown}")
    if entry.get("reader") not in READERS:
        raise ValueError(
            f"{what}: reader must be one of {', '.join(READERS)}, got {entry.get('reader')!r}"
        )
    for key in ("kwargs", "metadata", "user_parameters"):
        _require_kind(entry.setdefault(key, {}), dict, f"{what}: {key}")
    if entry["user_parameters"]:
        raise ValueError(f"{what}: user_parameters must be empty, got {entry['user_parameters']}")
    _require_kind(entry.setdefault("output_instance", ""), str, f"{what}: output_instance")
    _refuse_templates([entry["kwargs"], entry["metadata"]], what)
    if unknown := [name for name in entry["kwargs"] if name not in _FACTS]:
        raise ValueError(
            f"{what}: kwargs must be among {', '.join(_FACTS)}, got {unknown[0]!r}"
            f"{did_you_mean(str(unknown[0]), _FACTS)}"
        )
    require_facts(entry["kwargs"], what)


def _refuse_templates(value: Any, what: str) -> None:
    """Raise for text that intake would replace by a variable, a function's result or data."""
    if isinstance(value, str):
        rest = value.replace("{{", "").replace("}}", "").replace("{CATALOG_DIR}", "")
        if re.search(r"[{}]|^(data|env|func)\(", rest):
            raise ValueError(f"{what} must have no template but {{CATALOG_DIR}}, got {value!r}")
    elif isinstance(value, Mapping):
        for pair in value.items():
            _refuse_templates(pair, what)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_templates(item, what)


# -- what a reader is told --------------------------------------------------------------------


def require_facts(facts: Mapping[str, Any], what: str) -> None:
    """Raise unless each argument of a reader has the type and the form that its name stands for.

    Raises
    ------
    TypeError, ValueError
        With `what` and the name of the argument.
    """
    for name, value in facts.items():
        if check := _FACTS.get(name):
            check(value, f"{what}: {name}")


def file_of(files: str, facts: Mapping[str, Any]) -> str:
    """Fill in a pattern of files, such as ``"landsat_5/B{number}.tif"``, from the facts of one.

    Raises
    ------
    ValueError
        If the pattern names other facts, or the result is not ``"folder/file"``.
    """
    try:
        fields = [(f, s, c) for _, f, s, c in string.Formatter().parse(files) if f is not None]
    except ValueError as error:
        raise ValueError(f"files must be a pattern, got {files!r} ({error})") from None
    for field, spec, conversion in fields:
        if field not in facts or conversion or not re.fullmatch(r"(0\d)?d?", spec or ""):
            raise ValueError(
                f"files must name facts of the scene ({', '.join(facts)}), got {files!r}"
            )
    try:
        file = files.format(**facts)
    except ValueError as error:
        raise ValueError(
            f"files must fit the facts of the scene, got {files!r} ({error})"
        ) from None
    if not re.fullmatch(rf"{_NAME}/{_NAME}".replace("$", "(?=/|$)"), file):
        raise ValueError(f"files must lead to 'folder/file', got {file!r}")
    return file


def _require_kind(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind) or (kind is dict and not all(map(_is_key, value))):
        wanted = {dict: "a mapping of names", list: "a list", str: "text"}[kind]
        raise TypeError(f"{what} must be {wanted}, got {_short(value)}")


def _require_name(value: Any, what: str) -> None:
    _require_kind(value, str, what)
    if not re.fullmatch(_NAME, value):
        raise ValueError(f"{what} must be a name of a file or folder, got {_short(value)}")


def _require_attrs(value: Any, what: str) -> None:
    _require_kind(value, dict, what)
    if "date" in value:
        _require_date(value["date"], f"{what}: date")


def _is_key(key: Any) -> bool:
    return isinstance(key, str | int) and not isinstance(key, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else type(value).__name__


def _kind(kind: type) -> Callable[[Any, str], None]:
    return lambda value, what: _require_kind(value, kind, what)


def _require_date(value: Any, what: str) -> None:
    _require_kind(value, str, what)
    try:
        day = np.datetime64(value, "D")
    except ValueError:
        day = np.datetime64("NaT")
    # What lies outside of these years does not fit into nanoseconds, and wraps.
    if not np.datetime64("1678-01-01") <= day <= np.datetime64("2261-12-31"):
        raise ValueError(f"{what} must be a date (ISO 8601) from 1678 to 2261, got {value!r}")


def _require_dates(value: Any, what: str) -> None:
    _require_kind(value, list, what)
    for date in value:
        _require_date(date, what)
    days = np.array(value, "datetime64[D]")
    if not len(days) or not (np.diff(days) > np.timedelta64(0)).all():
        raise ValueError(f"{what} must be dates that rise, at least one, got {_short(value)}")


def _require_bands(value: Any, what: str) -> None:
    _require_kind(value, list, what)
    for band in value:
        _require_kind(band, dict, what)
        if missing := [key for key in ("name", "number", "wavelength") if key not in band]:
            raise ValueError(f"{what} must each have {', '.join(missing)}, got {_short(band)}")
        _require_kind(band["name"], str, f"{what}: name")
        require_integer(band["number"], f"{what}: number", least=1)
        require_number(band["wavelength"], f"{what}: wavelength", above=0)
    names = [band["name"] for band in value]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{what} must have names of their own, at least one, got {names}")


def _require_scenes(value: Any, what: str) -> None:
    _require_kind(value, dict, what)
    if not value:
        raise ValueError(f"{what} must hold at least one scene, got none")
    for year, scene in value.items():
        require_integer(year, f"{what}: year")
        _require_kind(scene, dict, f"{what}, {year}")
        if missing := [key for key in ("date", "sensor", "bands") if key not in scene]:
            raise ValueError(f"{what}, {year} must have {', '.join(missing)}, got {_short(scene)}")
        _require_date(scene["date"], f"{what}, {year}: date")
        _require_kind(scene["sensor"], str, f"{what}, {year}: sensor")
        _require_bands(scene["bands"], f"{what}, {year}: bands")


def _require_maps(value: Any, what: str) -> None:
    _require_kind(value, dict, what)
    if not value:
        raise ValueError(f"{what} must name at least one map, got none")
    for name, attributes in value.items():
        _require_kind(attributes, dict, f"{what}, {name}")


_FACTS: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("name", "dataset", "file"), _require_name),
    **dict.fromkeys(("folder", "files"), _kind(str)),
    "made_by": lambda value, what: value is None or _require_kind(value, str, what),
    "attrs": _require_attrs,
    "scenes": _require_scenes,
    "dates": _require_dates,
    "bands": _require_bands,
    "maps": _require_maps,
    "year": require_integer,
    "fill": require_number,
    "chunks": lambda value, what: None,  # which `open_geotiffs` checks against a file
    "chunk": lambda value, what: require_integer(value, what, least=1),
}


def local_folder(address: str | os.PathLike[str]) -> Path:
    """Return the folder of an address as intake gives it, ``file:///...``, or of a plain path.

    Raises
    ------
    ValueError
        If it is an address on another machine.
    """
    from fsspec.core import split_protocol, strip_protocol

    protocol, _ = split_protocol(address)
    if protocol not in (None, "file", "local"):
        raise ValueError(f"folder must be a folder of this machine, got {address!r}")
    return Path(strip_protocol(address))
