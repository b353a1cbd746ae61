"""Docstrings of the public API in the style of numpydoc, and modules of a length one can read."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import ERROR_MSGS, Validator, validate

import cookbook_utils

# The checks of numpydoc that are left out:
LEFT_OUT = {
    "GL01": "a summary starts on the line of the opening quotes",
    "GL02": "a docstring of one line closes on that line",
    "ES01": "a summary that says all needs no second paragraph",
    "RT02": "a returned value may have a name",
    "SA01": "not every object has a relative",
}
CODES = set(ERROR_MSGS) - set(LEFT_OUT)

LONGEST_MODULE = 450  # lines, unless half of them are docstrings
ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "cookbook_utils").rglob("*.py"))


PUBLIC_MODULES = sorted(
    name
    for _, name, _ in pkgutil.iter_modules(cookbook_utils.__path__, "cookbook_utils.")
    if not name.split(".")[1].startswith("_")
)


def members(owner: ModuleType | type) -> Iterator[object]:
    """Yield the public classes and functions that a module, subpackage or class defines."""
    module = owner.__name__ if isinstance(owner, ModuleType) else owner.__module__
    for name, member in vars(owner).items():
        member = getattr(member, "__func__", member)  # of class methods and static methods
        code = inspect.unwrap(member.fget if isinstance(member, property) else member)
        is_code = inspect.isfunction(code) or inspect.isclass(code)
        if not name.startswith("_") and is_code:
            if code.__module__ == module or code.__module__.startswith(f"{module}."):
                yield member


def public_objects(module: ModuleType) -> Iterator[object]:
    """Yield a module, its functions and classes, and the methods and properties of these."""
    yield module
    for member in members(module):
        yield member
        if inspect.isclass(member):
            yield from members(member)


class ObjectValidator(Validator):
    """A validator of an object at hand; numpydoc's own wants its name and the line of a ``def``."""

    source_file_def_line = None

    def __init__(self, obj_name: object) -> None:
        super().__init__(get_doc_object(obj_name))


def codes_for(thing: object) -> set[str]:
    """Return the checks that apply to an object."""
    if inspect.isclass(thing):
        constructor = next(c for c in thing.__mro__ if {"__init__", "__new__"} & vars(c).keys())
        if not constructor.__module__.startswith("cookbook_utils."):
            return CODES - {"EX01", "PR01"}  # an error, or a reader that the catalog constructs
    elif not inspect.isfunction(thing) or thing.__qualname__ != thing.__name__:
        return CODES - {"EX01"}  # the example of a class shows its methods and properties
    return CODES


def faults(thing: object) -> list[str]:
    """Return what numpydoc finds wrong with the docstring of an object."""
    named = thing.fget if isinstance(thing, property) else thing
    name = getattr(named, "__qualname__", named.__name__)
    found = validate(thing, validator_cls=ObjectValidator)["errors"]
    return [f"{name}: {code} {message}" for code, message in found if code in codes_for(thing)]


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_docstrings_conform_to_numpydoc(name):
    things = public_objects(importlib.import_module(name))
    found = [fault for thing in things for fault in faults(thing)]
    assert not found, "\n".join(found)


def test_faults_of_a_docstring_are_found():
    """A function with one fault of each common kind."""

    def scale(values):
        """Scales values.

        Parameters
        ----------
        value
            The values

        Examples
        --------
        >>> scale(1)
        1
        """
        return values

    found = " ".join(faults(scale))
    assert all(code in found for code in ("SS05", "PR01", "PR02", "PR04", "PR09", "RT01"))


# --- The length of modules -----------------------------------------------------------------------


def docstring_lines(source: str) -> int:
    """Count the lines of a module that docstrings take up."""
    scopes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    total = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, scopes) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            total += text.end_lineno - text.lineno + 1
    return total


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_are_short(path):
    source = path.read_text()
    lines = source.count("\n")
    is_short = lines <= LONGEST_MODULE or 2 * docstring_lines(source) >= lines
    assert is_short, f"{lines} lines, {docstring_lines(source)} of them in docstrings"
