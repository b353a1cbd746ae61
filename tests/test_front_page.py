"""The first page of the book and the README say of the chapters what the chapters say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import overview
from .test_notebooks import NAMES, section

ROOT = Path(__file__).parents[1]
chapter = pytest.mark.parametrize("name", NAMES)


@chapter
def test_the_first_page_names_the_chapters_that_a_chapter_needs(name):
    rows = [line for line in section(name, "Prerequisites").splitlines() if "| Necessary |" in line]
    needed = [str(int(number)) for row in rows for number in re.findall(r"\[\]\((\d+)_\w+\)", row)]
    row = rf"\(notebooks/{name}\.ipynb\) \|.*\| {', '.join(needed) or 'none'} \| \d+ \|$"
    assert re.search(row, (ROOT / "intro.md").read_text(), flags=re.MULTILINE)


@chapter
def test_the_readme_lists_the_chapter(name):
    assert f"(notebooks/{name}.ipynb)" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_picture_of_the_readme_is_what_the_chapter_computes(tmp_path):
    """`make overview` draws it anew. A process of its own keeps IPython out of this one."""
    subprocess.run([sys.executable, "-m", "tests.overview", tmp_path], cwd=ROOT, check=True)
    readme = (ROOT / "README.md").read_text()
    for mode in overview.INK:
        name = f"overview-{mode}.png"
        assert overview.difference(tmp_path / name, overview.FOLDER / name) < 0.01
        assert f"_static/{name}" in readme
