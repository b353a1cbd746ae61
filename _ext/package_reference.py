"""Prepare the pages of the reference: what is public, and which chapters use it.

``reference.rst`` groups the objects of the package by hand. `sphinx.ext.autosummary` writes one
page for each module and one for each object from ``_templates/autosummary``; the templates take the
names of the objects and of the chapters from this extension. The pages exist only while the book is
built.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.ext.napoleon import NumpyDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

logger = logging.getLogger(__name__)

PACKAGE = "cookbook_utils"
FOLDER = "reference"  # of the pages that autosummary writes, below the source folder

LONGEST_VALUE = 200  # characters of a constant that its page shows


class Chapter(NamedTuple):
    """A chapter of the book."""

    number: str
    title: str
    document: str
    """Path from the source folder, without suffix."""


# --- What is public ------------------------------------------------------------------------------


def public_modules(package: str = PACKAGE) -> list[str]:
    """Return the full names of the modules of a package that have no leading underscore."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [f"{package}.{module.name}" for module in found if not module.name.startswith("_")]


def public_names(module: ModuleType) -> list[str]:
    """Return the names of the public objects of a module.

    These are the names in ``__all__`` where there is one, else the functions and classes defined in
    the module and its documented constants. ``main`` belongs to the command line and is left out.
    """
    if hasattr(module, "__all__"):
        names = list(module.__all__)
    else:
        documented = constant_docs(module)
        names = [
            name
            for name, value in vars(module).items()
            if name in documented or getattr(value, "__module__", None) == module.__name__
        ]
    return sorted(name for name in names if not name.startswith("_") and name != "main")


def constant_docs(module: ModuleType) -> dict[str, list[str]]:
    """Return the lines of the docstring of each constant that a module documents."""
    documented = ModuleAnalyzer.for_module(module.__name__).find_attr_docs()
    return {name: lines for (owner, name), lines in documented.items() if not owner}


@functools.cache
def public_objects(package: str = PACKAGE) -> dict[str, list[str]]:
    """Return the names of the public objects of each public module of a package."""
    return {name: public_names(importlib.import_module(name)) for name in public_modules(package)}


# --- Which chapters use it -----------------------------------------------------------------------


def names_used(code: str, package: str = PACKAGE) -> set[str]:
    """Return the full names of everything that Python code imports from a package.

    A name that is reached through an imported module counts, too: ``areas.area_km2`` after
    ``from cookbook_utils import areas``.
    """
    tree = ast.parse(code)
    names, aliases = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported = [(f"{node.module}.{a.name}", a.asname or a.name) for a in node.names]
        elif isinstance(node, ast.Import):
            imported = [(a.name, a.asname or a.name) for a in node.names]
        else:
            continue
        ours = {local: full for full, local in imported if f"{full}.".startswith(f"{package}.")}
        names.update(ours.values())
        aliases.update(ours)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            start, _, attribute = ast.unparse(node).rpartition(".")
            if start in aliases:
                names.add(f"{aliases[start]}.{attribute}")
    return names


def code_of_notebook(notebook: dict[str, Any]) -> str:
    """Return the code of all cells of a notebook, without IPython's magics and shell commands."""
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join(cell for cell in cells if not cell.startswith("%%")).split("\n")
    return "\n".join(line for line in lines if not re.match(r"\s*[%!]", line))


def title_of_notebook(notebook: dict[str, Any]) -> str:
    """Return the first heading of a notebook, without its number and as far as its colon."""
    text = "".join(notebook["cells"][0]["source"])
    return re.search(r"^# (?:\d+\. )?([^:\n]+)", text, flags=re.MULTILINE)[1].strip()


def chapters_by_name(folder: Path) -> dict[str, list[Chapter]]:
    """Return, for each name that notebooks import from the package, the chapters that do so.

    Parameters
    ----------
    folder : Path
        The folder of the notebooks, which are named ``<number>_<name>.ipynb``.
    """
    found: dict[str, list[Chapter]] = {}
    for path in sorted(folder.glob("[0-9]*_*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        number = str(int(path.stem.partition("_")[0]))
        chapter = Chapter(number, title_of_notebook(notebook), f"{folder.name}/{path.stem}")
        for name in names_used(code_of_notebook(notebook)):
            found.setdefault(name, []).append(chapter)
    return found


# --- Constants that a module takes from a private one --------------------------------------------


def docs_of_constant(module: str, name: str) -> list[str] | None:
    """Return the lines of the docstring of a constant, from the module that defines it."""
    value = getattr(sys.modules[module], name)
    ours = [found for key, found in sys.modules.items() if key.startswith(f"{PACKAGE}.")]
    for found in [sys.modules[module], *ours]:
        docs = constant_docs(found)
        if name in docs and getattr(found, name, None) is value:
            return docs[name]
    return None


def describe_constant(
    app: Sphinx, what: str, name: str, obj: Any, options: object, lines: list[str]
) -> None:
    """Take the docstring of a constant from the module that defines it.

    The docstring of a constant belongs to its assignment. `sphinx.ext.autodoc` does not find it
    where the constant is imported, and shows that of the type instead.
    """
    module, _, short = name.rpartition(".")
    if what != "data" or not module.startswith(PACKAGE):
        return
    docs = docs_of_constant(module, short)
    if docs is None:
        logger.warning("%s has no docstring below its assignment", name, location=name)
    lines[:] = docs or []


def constants_without_value(objects: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the full names of the public objects whose values a page does not show.

    These are values that are too long, and paths, which differ between machines.
    """
    return {
        f"{module}.{name}"
        for module, names in objects.items()
        for name in names
        if isinstance(value := getattr(sys.modules[module], name), Path)
        or len(repr(value)) > LONGEST_VALUE
    }


def render_attributes(app: Sphinx) -> None:
    """Render the docstrings of attributes and constants as those of functions.

    Napoleon takes what stands before a colon in their first line for a type.
    """
    rendered: dict[str, str] = {}

    def before_napoleon(app: Sphinx, what: str, name: str, *args: Any) -> None:
        if what in ("attribute", "data", "property"):
            rendered[name] = str(NumpyDocstring(args[-1], app.config, app))

    def after_napoleon(app: Sphinx, what: str, name: str, *args: Any) -> None:
        if name in rendered:
            args[-1][:] = rendered.pop(name).split("\n")

    app.connect("autodoc-process-docstring", before_napoleon, priority=450)
    app.connect("autodoc-process-docstring", after_napoleon, priority=550)


# --- The readers of the catalog, which users never construct -------------------------------------


def is_reader(obj: Any) -> bool:
    """Return whether an object is a reader of intake."""
    from intake.readers.readers import BaseReader

    return inspect.isclass(obj) and issubclass(obj, BaseReader)


def readers(objects: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the full names of the readers among public objects."""
    return {
        f"{module}.{name}"
        for module, names in objects.items()
        for name in names
        if is_reader(getattr(importlib.import_module(module), name))
    }


def describe_reader(
    app: Sphinx, what: str, name: str, obj: Any, options: object, lines: list[str]
) -> None:
    """Document ``read`` of a reader with the arguments that a user passes, and no others."""
    if what != "class" or not is_reader(obj) or "_read" not in vars(obj):
        return
    passed = [key for key in inspect.signature(obj._read).parameters if key in obj.read_arguments]
    text = keep_parameters(inspect.getdoc(obj._read), passed)
    described = str(NumpyDocstring(text, app.config, app, "method", f"{name}.read")).split("\n")
    signature = ", ".join(["*", *passed]) if passed else ""
    lines += ["", f".. py:method:: read({signature})", ""]
    lines += [f"   {line}" if line else "" for line in described] + [""]


def keep_parameters(docstring: str, names: Sequence[str]) -> str:
    """Return a NumPy-style docstring whose section Parameters has only these names."""
    before, underlined, rest = docstring.partition("Parameters\n----------\n")
    if not underlined:
        return docstring
    section, *after = re.split(r"\n\n(?=\w[\w ]*\n-+\n)", rest, maxsplit=1)
    kept = []
    for entry in re.split(r"\n(?=\S)", section):
        head, _, description = entry.partition("\n")
        listed, separator, kind = head.partition(" : ")
        if found := [name for name in listed.split(", ") if name in names]:
            kept.append(f"{', '.join(found)}{separator}{kind}\n{description}")
    parameters = [underlined + "\n".join(kept)] if kept else []
    return before + "\n\n".join([*parameters, *after])


def hide_inherited_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: object, signature: Any, annotation: Any
) -> tuple[str, Any] | None:
    """Show no arguments of a constructor that a class inherits from another package."""
    if not inspect.isclass(obj):
        return None
    ours = (base for base in obj.__mro__ if f"{base.__module__}.".startswith(f"{PACKAGE}."))
    if any({"__init__", "__new__"} & set(vars(base)) for base in ours):
        return None
    return "", annotation


# --- The pages -----------------------------------------------------------------------------------


def _pages(app: Sphinx) -> Iterator[Path]:
    return Path(app.srcdir, FOLDER).glob(f"{PACKAGE}.*.rst")


def remove_pages(app: Sphinx, *_: Any) -> None:
    """Remove the pages of this build, or those that an interrupted one has left."""
    for path in _pages(app):
        path.unlink()
    folder = Path(app.srcdir, FOLDER)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def prepare(app: Sphinx, config: Config) -> None:
    """Give the templates the public objects and the chapters that use them."""
    remove_pages(app)
    if not Path(app.srcdir, f"{FOLDER}.rst").is_file():
        return  # a book without a reference need not import the package
    config.autosummary_context = {
        "public_objects": public_objects(),
        "readers": readers(public_objects()),
        "constants_without_value": constants_without_value(public_objects()),
        "chapters": chapters_by_name(Path(app.srcdir, "notebooks")),
    }


def setup(app: Sphinx) -> dict[str, bool]:
    # Before sphinx_external_toc excludes the files that _toc.yml does not list.
    app.connect("config-inited", prepare, priority=100)
    app.connect("build-finished", remove_pages)
    app.connect("autodoc-process-docstring", describe_constant, priority=400)
    render_attributes(app)
    app.connect("autodoc-process-docstring", describe_reader)
    app.connect("autodoc-process-signature", hide_inherited_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
