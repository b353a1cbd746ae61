"""The reference: what it lists, where the chapters use it, and the links of docstrings."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
EXTENSIONS = ROOT / "_ext"
TEXT = (ROOT / "reference.rst").read_text(encoding="utf-8")
GROUPS, MODULES = TEXT.split("\nModules\n-------\n")


@pytest.fixture(scope="module")
def pages():
    """The extension that prepares the pages; Sphinx, too, imports it by this name."""
    yield from imported("package_reference")


@pytest.fixture(scope="module")
def docstrings(pages):
    yield from imported("docstring_references")


def imported(name: str):
    sys.path.insert(0, str(EXTENSIONS))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(EXTENSIONS))


def entries(text: str) -> list[str]:
    return re.findall(r"^   (\w[\w.]*)$", text, flags=re.MULTILINE)


# --- The front page ------------------------------------------------------------------------------


def test_each_public_object_is_in_one_group(pages):
    public = [
        f"{module.removeprefix('cookbook_utils.')}.{name}"
        for module, names in pages.public_objects().items()
        for name in names
    ]
    listed = Counter(entries(GROUPS))
    assert sorted(listed) == sorted(public)
    assert [name for name, count in listed.items() if count > 1] == []


def test_front_page_lists_every_module(pages):
    assert [f"cookbook_utils.{name}" for name in entries(MODULES)] == pages.public_modules()


def test_each_group_says_in_one_sentence_what_it_is_for():
    sections = re.findall(r"^(\w+)\n-+\n\n(.+)\n\n\.\. autosummary::$", TEXT, flags=re.MULTILINE)
    assert len(sections) == len(re.findall(r"^-+$", TEXT, flags=re.MULTILINE))
    assert [name for name, sentence in sections if not re.fullmatch(r"[^.]+\.", sentence)] == []


def test_each_public_constant_has_a_docstring(pages):
    bare = [
        f"{module}.{name}"
        for module, names in pages.public_objects().items()
        for name in names
        if name.isupper() and not pages.docs_of_constant(module, name)
    ]
    assert bare == []


# --- What is public ------------------------------------------------------------------------------


@pytest.fixture
def module(monkeypatch, tmp_path) -> ModuleType:
    """A module with functions of its own and of others, and constants with and without docs."""
    (tmp_path / "stand_in.py").write_text(
        "from os.path import join\n"
        "class Shown: pass\n"
        "def shown(): pass\n"
        "def _hidden(): pass\n"
        "def main(): pass\n"
        "BARE = 1\n"
        'DESCRIBED = 2\n"""A number."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("stand_in")
    del sys.modules["stand_in"]


def test_names_without_underscore_that_the_module_defines_are_public(pages, module):
    assert pages.public_names(module) == ["DESCRIBED", "Shown", "shown"]


def test_all_decides_where_there_is_one(pages, module):
    module.__all__ = ["join", "main", "BARE"]
    assert pages.public_names(module) == ["BARE", "join"]


# --- Used in -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("from cookbook_utils.labels import find_water", "labels.find_water"),
        ("from cookbook_utils.labels import find_water as water", "labels.find_water"),
        ("from cookbook_utils import labels\nlabels.find_water(1, 2)", "labels.find_water"),
        ("from cookbook_utils import labels as la\nla.find_water(1, 2)", "labels.find_water"),
        ("import cookbook_utils.labels as la\nla.find_water(1, 2)", "labels.find_water"),
        ("import cookbook_utils.labels\ncookbook_utils.labels.find_water()", "labels.find_water"),
        ("def f():\n    from cookbook_utils.labels import find_water", "labels.find_water"),
    ],
)
def test_names_used_are_found_by_their_imports(pages, code, name):
    assert f"cookbook_utils.{name}" in pages.names_used(code)


@pytest.mark.parametrize(
    "code", ["import numpy", "from os.path import join", "import cookbook_utils_2", "labels.x()"]
)
def test_other_names_are_not_used(pages, code):
    assert pages.names_used(code) == set()


def test_chapters_are_found_by_what_they_import(pages, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for stem, code in {
        "03_later": ["from cookbook_utils.labels import find_water\n", "find_water()"],
        "01_first": ["%matplotlib inline\n", "!ls\n", "from cookbook_utils.labels import *\n"],
        "02_second": ["from cookbook_utils.labels import find_water"],
    }.items():
        cells = [
            {"cell_type": "markdown", "source": [f"# {int(stem[:2])}. {stem[3:].title()}: more\n"]},
            {"cell_type": "code", "source": ["%%time\n", "not Python"]},
            {"cell_type": "code", "source": code},
        ]
        (folder / f"{stem}.ipynb").write_text(json.dumps({"cells": cells}))
    found = pages.chapters_by_name(folder)["cookbook_utils.labels.find_water"]
    assert found == [
        ("2", "Second", "notebooks/02_second"),
        ("3", "Later", "notebooks/03_later"),
    ]


def test_chapters_of_the_book_use_the_package(pages):
    chapters = pages.chapters_by_name(ROOT / "notebooks")
    public = {f"{m}.{name}" for m, names in pages.public_objects().items() for name in names}
    used = {chapter.number for name in public & set(chapters) for chapter in chapters[name]}
    assert used == {str(int(path.name[:2])) for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}


# --- Docstrings ----------------------------------------------------------------------------------

DOCSTRING = """Open it.

Parameters
----------
name, year : str
    The name
    or year.

    More of it.
folder : str
    The folder.

Returns
-------
int
    A number.
"""


def test_parameters_of_a_reader_are_those_that_a_user_passes(pages):
    kept = pages.keep_parameters(DOCSTRING, ["year"])
    assert kept == DOCSTRING.replace("name, year", "year").replace(
        "folder : str\n    The folder.\n", ""
    )
    _, returns = DOCSTRING.split("The folder.\n\n")
    assert pages.keep_parameters(DOCSTRING, []) == f"Open it.\n\n{returns}"
    assert pages.keep_parameters("Open it.", ["year"]) == "Open it."


def test_arguments_of_users_are_those_of_readers(pages):
    taken = set()
    for name in pages.readers(pages.public_objects()):
        module, _, short = name.rpartition(".")
        reader = getattr(importlib.import_module(module), short)
        parameters = set(inspect.signature(reader._read).parameters)
        taken |= parameters & set(reader.read_arguments)
        assert set(reader.read_arguments) - parameters <= {"year", "chunks"}
    assert {"year", "chunks", "bbox"} <= taken


KNOWN = {
    "cookbook_utils.insar": ["fill_gaps", "same"],
    "cookbook_utils.interimage": ["InterImageKMeans"],
    "cookbook_utils.labels": ["find_water", "same"],
    "cookbook_utils.metrics": ["same"],
}


@pytest.mark.parametrize(
    ("reference", "name", "target"),
    [
        ("find_water", "labels.other", "labels.find_water"),
        ("find_water", "insar.fill_gaps", "labels.find_water"),
        ("insar.fill_gaps", "labels.find_water", "insar.fill_gaps"),
        ("same", "insar.fill_gaps", "insar.same"),
        ("same", "interimage.InterImageKMeans", None),
        ("labels", "insar.fill_gaps", None),
        ("fit", "interimage.InterImageKMeans.predict", "interimage.InterImageKMeans.fit"),
        ("InterImageKMeans.fit", "labels.find_water", "interimage.InterImageKMeans.fit"),
        ("InterImageKMeans.nothing", "labels.find_water", None),
        ("fit", "labels.find_water", None),
    ],
)
def test_names_in_docstrings_are_resolved(docstrings, reference, name, target):
    found = docstrings.find_object(reference, f"cookbook_utils.{name}", KNOWN)
    assert found == (target and f"cookbook_utils.{target}")


def linked(docstrings, text: str) -> str:
    from cookbook_utils.interimage import InterImageKMeans

    lines = text.split("\n")
    name = "cookbook_utils.interimage.InterImageKMeans"
    docstrings.link_names(None, "class", name, InterImageKMeans, None, lines)
    return "\n".join(lines)


def test_names_in_docstrings_become_links_or_code(docstrings):
    assert linked(docstrings, "`init` and `fit`, ``as is`` and :math:`x`, `dask`") == (
        "``init`` and :py:obj:`fit <cookbook_utils.interimage.InterImageKMeans.fit>`, "
        "``as is`` and :math:`x`, ``dask``"
    )


def test_as_for_without_an_object_is_a_warning(docstrings, monkeypatch):
    warnings = []
    monkeypatch.setattr(
        docstrings.logger, "warning", lambda text, *args, **_: warnings.append(text % args)
    )
    linked(docstrings, "As for `fit`. As for `init`.")
    assert warnings == []
    linked(docstrings, "As for `nothing_like_this`.")
    assert len(warnings) == 1 and "`nothing_like_this` is no public object" in warnings[0]
