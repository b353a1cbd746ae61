"""Make learners' copies of the chapters: with blanks, and a check below each of them.

A table of `workshop/blanks`, one for each chapter, names cells and the variables in them whose
values the learners are to find. The chapters themselves know nothing of it.
"""

from __future__ import annotations

import argparse
import ast
import copy
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BLANKS = Path(__file__).parent / "blanks"

WIDTH = 79  # columns of a line
# JupyterLab folds what has this metadata.
FOLDED = {"source_hidden": True, "outputs_hidden": True}

INTRODUCTION = """\
> **A copy for learners.** {count} Three dots stand in the place of each. Put your code there, run
> the cell, and then the check below it, which says whether the value can be right, and if not, what
> is wrong with it. The complete chapter is `notebooks/{name}.ipynb`.
>
> The solutions of the exercises are folded: a click on the bar opens one."""


def read_blanks(name: str) -> list[dict[str, Any]]:
    """Return the table of a chapter, an empty list if it has none."""
    path = BLANKS / f"{name}.yml"
    return yaml.safe_load(path.read_text()) if path.exists() else []


def read_chapter(name: str) -> NotebookNode:
    """Return a chapter, as it is."""
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def learner_copy(name: str, *, solved: bool = False) -> NotebookNode:
    """Return the learners' copy of a chapter.

    Parameters
    ----------
    name : str
        The chapter, such as "01_loading".
    solved : bool, default False
        Whether the blanks hold the values of the chapter.

    Returns
    -------
    nbformat.NotebookNode
        The copy, in which the cell of a blank ends with it and a check follows.

    Raises
    ------
    ValueError
        If a table names a cell or a variable that the chapter does not have.
    """
    notebook = copy.deepcopy(read_chapter(name))
    blanks = read_blanks(name)
    unknown = {blank["cell"] for blank in blanks} - {cell.id for cell in notebook.cells}
    if unknown:
        raise ValueError(f"chapter {name} has no cell {sorted(unknown)}")
    cells, number = [], 1
    for cell in notebook.cells:
        if here := [blank for blank in blanks if blank["cell"] == cell.id]:
            cells += _with_blanks(cell, here, number, solved)
            number += len(here)
        else:
            cells += _with_folded_solution(cell, cells[-1] if cells else None)
    cells.insert(1, _introduction(name, len(blanks)))
    notebook.cells = cells
    return notebook


def _introduction(name: str, number: int) -> NotebookNode:
    count = f"{number} values are left out." if number else "This chapter has no blanks."
    return new_markdown_cell(INTRODUCTION.format(count=count, name=name), id="learner-copy")


def _with_blanks(
    cell: NotebookNode, blanks: list[dict[str, Any]], first: int, solved: bool
) -> list[NotebookNode]:
    """Cut a cell below each of its blanks, and put the check there; `first` is their number."""
    found = [(find_assignment(cell, blank["name"]), blank) for blank in blanks]
    found.sort(key=lambda pair: pair[0].lineno)
    lines, cells, start = cell.source.splitlines(), [], 0
    for number, (statement, blank) in enumerate(found, first):
        before = lines[start : statement.lineno - 1]
        value = lines[statement.lineno - 1 : statement.end_lineno]
        task = textwrap.wrap(
            f"Blank {number}. {blank['task']}", WIDTH, initial_indent="# ", subsequent_indent="# "
        )
        part = [*before, *task, *(value if solved else [f"{blank['name']} = ..."])]
        cells.append(new_code_cell("\n".join(part).strip("\n"), id=f"learner-blank-{number}"))
        cells.append(new_code_cell(check_source(blank), id=f"learner-check-{number}"))
        cells[-1].metadata = {"tags": ["check"], "jupyter": {"source_hidden": True}}
        start = statement.end_lineno
    if rest := "\n".join(lines[start:]).strip("\n"):
        cells.append(copy.copy(cell))
        cells[-1].source = rest
    return cells


def find_assignment(cell: NotebookNode, name: str) -> ast.Assign:
    """Return the only statement of a cell, outside functions and loops, that assigns a variable."""
    found = [
        node
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]
    ]
    if len(found) != 1:
        raise ValueError(f"cell {cell.id} must assign `{name}` once, got {len(found)} assignments")
    return found[0]


def check_source(blank: dict[str, Any]) -> str:
    """Return the code that checks the value of a blank."""
    name = blank["name"]
    lines = ["from checks import Check", "", f'_check = Check("{name}", {name})']
    for condition in blank["checks"]:
        if "that" in condition:
            otherwise = " ".join(condition["else"].split())
            lines.append(f"_check.that(lambda: {condition['that']}, {otherwise!r})")
        else:
            ((kind, argument),) = condition.items()
            lines.append(f"_check.{kind}({argument})")
    return "\n".join([*lines, "_check.passed()"])


def _with_folded_solution(cell: NotebookNode, above: NotebookNode | None) -> list[NotebookNode]:
    """Fold a solution, and put an empty cell above the first one of an exercise."""
    if cell.cell_type == "markdown" and cell.source.startswith("**Solution.**"):
        text = cell.source.removeprefix("**Solution.**").strip()
        cell.source = f"<details><summary>Solution</summary>\n\n{text}\n\n</details>"
    if "solution" not in cell.metadata.get("tags", []):
        return [cell]
    cell.metadata["jupyter"] = FOLDED
    if above is None or (exercise := re.search(r"\*\*Exercise (\d+)", above.source)) is None:
        return [cell]
    answer = new_code_cell(
        f"# Exercise {exercise[1]}: your code\n", id=f"learner-answer-{exercise[1]}"
    )
    return [answer, cell]


def write_learner_copies(folder: Path) -> list[Path]:
    """Write the copies of all chapters to a folder, with their pictures and the checks."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "notebooks" / "images", folder / "images", dirs_exist_ok=True)
    shutil.copy(Path(__file__).parent / "checks.py", folder)
    written = []
    for chapter in CHAPTERS:
        written.append(folder / chapter.name)
        nbformat.write(learner_copy(chapter.stem), written[-1])
    return written


def main() -> None:
    """Write the copies to the folder that the command line names, which must hold none yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if any(folder.glob("*.ipynb")):
        parser.error(f"{folder} must hold no notebooks, got some: name another folder")
    print(f"{len(write_learner_copies(folder))} chapters in {folder}")


if __name__ == "__main__":
    main()
