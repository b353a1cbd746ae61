"""Parse a catalog file of intake, and refuse what could run code or lead outside its folder.

A catalog may use only the readers of this package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cookbook_utils.datasets._facts import CHECKS, require_facts, require_kind
from cookbook_utils.datasets._text import did_you_mean

MAX_NODES = 100_000
"""Largest number of values of a catalog after its aliases are expanded."""

READERS = (
    "cookbook_utils.datasets:SceneReader",
    "cookbook_utils.datasets:TruthReader",
    "cookbook_utils.datasets:ScenesReader",
    "cookbook_utils.datasets:SearchReader",
    "cookbook_utils.insar:PointsReader",
    "cookbook_utils.insar:EGMSReader",
)
"""The readers that a catalog may use."""


def parse_catalog(path: Path, text: str) -> dict[str, Any]:
    """Return the content of a catalog of intake, version 2, in YAML.

    Parameters
    ----------
    path : pathlib.Path
        The file of the catalog, for error messages.
    text : str
        Its content.

    Returns
    -------
    dict
        The catalog as ``intake.readers.entry.Catalog.from_dict`` takes it.

    Raises
    ------
    ValueError
        If it is no such catalog, or has an entry that no reader of this package can open.
    """
    catalog = _parse_yaml(path, text)
    try:
        _require_catalog(catalog)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return catalog


# -- YAML ---------------------------------------------------------------------------------------


def _parse_yaml(path: Path, text: str) -> Any:
    import yaml

    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _count_nodes(node, {})
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        reason = re.sub(r"\s+", " ", str(error))
        raise ValueError(
            f"{path} must be a catalog in YAML, got a malformed one: {reason}"
        ) from None
    except RecursionError:
        raise ValueError(f"{path} must be a catalog in YAML, got one nested too deep") from None
    finally:
        if loader is not None:
            loader.dispose()


def _count_nodes(node: Any, counted: dict[int, int]) -> int:
    """Return the number of values below a node of YAML, counting an alias each time it is used.

    This also refuses three things that PyYAML accepts: aliases that expand to more values than fit
    into memory, an alias inside its own anchor, and a key given twice, of which the last one wins.
    """
    import yaml

    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in counted:
        if not counted[id(node)]:
            raise ValueError("an alias is used inside its own anchor")
        return counted[id(node)]
    counted[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) != len(node.value):
            raise ValueError("a key is not a word or a number")
        if len(set(keys)) < len(keys):
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"the key {repeated!r} occurs twice in one mapping")
        children = [value for _, value in node.value]
    else:
        children = node.value
    total = 1 + sum(_count_nodes(child, counted) for child in children)
    if total > MAX_NODES:
        raise ValueError(f"it has more than {MAX_NODES} values after its aliases are expanded")
    counted[id(node)] = total
    return total


# -- entries ------------------------------------------------------------------------------------


def _require_catalog(catalog: Any) -> None:
    require_kind(catalog, dict, "the catalog")
    if catalog.get("version") != 2:
        found = catalog.get("version")
        raise ValueError(f"version must be 2, the current one of intake, got {found!r}")
    for key in ("entries", "aliases", "metadata", "data", "user_parameters"):
        require_kind(catalog.setdefault(key, {}), dict, key)
    for key in ("data", "user_parameters"):
        if catalog[key]:
            raise ValueError(f"{key} must be empty, got {list(catalog[key])[:5]}")
    for name, entry in catalog["entries"].items():
        _require_entry(entry, f"the entry {name!r}")
    for alias, name in catalog["aliases"].items():
        if not isinstance(alias, str) or name not in catalog["entries"]:
            raise ValueError(f"the alias {alias!r} must name an entry, got {name!r}")


def _require_entry(entry: Any, what: str) -> None:
    require_kind(entry, dict, what)
    entry.setdefault("user_parameters", {})
    known = ("reader", "kwargs", "metadata", "output_instance", "user_parameters")
    if unknown := [key for key in entry if key not in known]:
        raise ValueError(f"{what} must have only the keys {', '.join(known)}, got {unknown}")
    if entry.get("reader") not in READERS:
        raise ValueError(
            f"{what}: reader must be one of {', '.join(READERS)}, got {entry.get('reader')!r}"
        )
    for key in ("kwargs", "metadata", "user_parameters"):
        require_kind(entry.setdefault(key, {}), dict, f"{what}: {key}")
    if entry["user_parameters"]:
        raise ValueError(f"{what}: user_parameters must be empty, got {entry['user_parameters']}")
    require_kind(entry.setdefault("output_instance", ""), str, f"{what}: output_instance")
    _refuse_templates([entry["kwargs"], entry["metadata"]], what)
    if unknown := [name for name in entry["kwargs"] if name not in CHECKS]:
        raise ValueError(
            f"{what}: kwargs must be among {', '.join(CHECKS)}, got {unknown[0]!r}"
            f"{did_you_mean(str(unknown[0]), CHECKS)}"
        )
    require_facts(entry["kwargs"], what)


def _refuse_templates(value: Any, what: str) -> None:
    """Raise for text that intake would replace by a variable, data or the result of a function."""
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
