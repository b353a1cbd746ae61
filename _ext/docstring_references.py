"""Make the references of docstrings work: names become links, and numbered sources a list.

In docstrings, a name in single backticks is a parameter or an object of the package. An object
becomes a link to its page, anything else code. ``As for `name`.`` in place of a description
promises a link, so that a name without a page is a warning there.

The numbers of sources begin at 1 in every docstring. As footnotes they would collide on a page that
shows several docstrings, so ``[1]_`` becomes plain text and the entries become an enumerated list.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from package_reference import PACKAGE, public_objects
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

NAME = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])")


def number_references(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn the footnotes of a docstring into an enumerated list."""
    text = re.sub(r"^( *)\.\. \[(\d+)\] ", r"\1\2. ", "\n".join(lines), flags=re.MULTILINE)
    lines[:] = re.sub(r"\[(\d+)\]_", r"[\1]", text).split("\n")


def link_names(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn each name in single backticks into a link or into code."""
    if not f"{name}.".startswith(f"{PACKAGE}."):
        return
    arguments = _arguments(obj)
    known = public_objects()

    def link(match: re.Match[str]) -> str:
        if match[1] in arguments:
            return f"``{match[1]}``"
        if target := find_object(match[1], name, known):
            return f":py:obj:`{match[1]} <{target}>`"
        if re.search(r"\bAs for $", match.string[: match.start()]):
            logger.warning("%s: `%s` is no public object", name, match[1], location=name)
        return f"``{match[1]}``"

    lines[:] = NAME.sub(link, "\n".join(lines)).split("\n")


def find_object(reference: str, name: str, known: dict[str, list[str]]) -> str | None:
    """Return the full name of the public object that a docstring refers to.

    Parameters
    ----------
    reference : str
        As in the docstring: ``name``, ``module.name`` or, of the same class, ``method``.
    name : str
        Full name of the object that the docstring belongs to.
    known : dict of str to list of str
        The names of the public objects of each module.

    Returns
    -------
    str or None
        The object of the same class or module where there is one, else the only object of this
        name in another module.
    """
    objects = {f"{module}.{short}": module for module, names in known.items() for short in names}
    if (full := f"{PACKAGE}.{reference}") in objects:
        return full
    own = next((full for full in objects if f"{name}.".startswith(f"{full}.")), None)
    if own and _has_method(own, reference):
        return f"{own}.{reference}"
    short, _, method = reference.partition(".")
    named = [full for full in objects if full.rpartition(".")[2] == short]
    nearest = [full for full in named if name.startswith(f"{objects[full]}.")] or named
    if len(nearest) != 1 or (method and not _has_method(nearest[0], method)):
        return None
    return f"{nearest[0]}.{method}" if method else nearest[0]


def _has_method(name: str, method: str) -> bool:
    """Return whether a public class defines and documents a method."""
    module, _, short = name.rpartition(".")
    defined = getattr(importlib.import_module(module), short, None)
    if not inspect.isclass(defined):
        return False
    return bool(getattr(vars(defined).get(method), "__doc__", None)) and method[:1] != "_"


def _arguments(obj: Any) -> set[str]:
    """Return the names of the parameters of a function or class."""
    try:
        return set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        return set()


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", number_references)
    # After napoleon and package_reference, which read the docstring as it was written.
    app.connect("autodoc-process-docstring", link_names, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
