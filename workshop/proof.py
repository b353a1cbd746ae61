"""Prove the checks of the learners' copies: right answers pass, blanks and mistakes do not.

Each chapter is executed with the values of the chapter in its blanks. Below each check, the blank
and the mistakes of the table take the place of the value, one after the other.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from workshop.learner import CHAPTERS, check_source, learner_copy, read_blanks, write_learner_copies
from workshop.slicing import needed_cells

BLANK = "..."
PROBE = """\
import checks as _checks

_right, _told = {name}, {{}}
for _text in {answers!r}:
    try:
        {name} = eval(_text)
        exec({check!r})
        _told[_text] = "it passes"
    except _checks.CheckFailed as _error:
        _told[_text] = f"told: {{_error}}"
    except Exception as _error:
        _told[_text] = f"{{type(_error).__name__}}: {{_error}}"
    {name} = _right
import json as _json
print(_json.dumps(_told))"""


def with_probes(name: str) -> NotebookNode:
    """Return the solved copy of a chapter, with a probe below each check."""
    notebook, cells = learner_copy(name, solved=True), []
    blanks = {check_source(blank): blank for blank in read_blanks(name)}
    for cell in notebook.cells:
        cells.append(cell)
        if blank := blanks.get(cell.source):
            answers = [BLANK, *blank["mistakes"]]
            probe = PROBE.format(name=blank["name"], answers=answers, check=cell.source)
            cells.append(new_code_cell(probe, id=f"probe-{len(cells)}"))
            cells[-1].metadata = {"tags": ["probe"]}
    notebook.cells = cells
    return notebook


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def prove(name: str, *, whole: bool = True, environment: dict[str, str] | None = None) -> dict:
    """Execute a chapter with right answers, probe each check, and return what is wrong.

    Parameters
    ----------
    name : str
        The chapter.
    whole : bool, default True
        Whether all cells are executed, or only those that the checks need.
    environment : dict, optional
        Environment variables of the kernel; those of this process by default.

    Returns
    -------
    dict
        The messages of each check for the blank and for each mistake, by the name of the variable.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails: the chapter or a check of a right answer.
    """
    notebook = with_probes(name)
    if not whole:
        wanted = [cell for cell in notebook.cells if {"check", "probe"} & set(tags(cell))]
        notebook.cells = needed_cells(notebook.cells, wanted)
    with tempfile.TemporaryDirectory() as folder:
        write_learner_copies(Path(folder))
        client = NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute(**({} if environment is None else {"env": environment}))
    probes = [cell for cell in notebook.cells if "probe" in tags(cell)]
    # A wrong answer that passes prints a line of its own before. Others may warn of divisions by 0.
    told = [json.loads(printed(cell).splitlines()[-1]) for cell in probes]
    return {
        f"{number}. {blank['name']}": answers
        for number, (blank, answers) in enumerate(zip(in_order(name), told, strict=True), start=1)
    }


def printed(cell: NotebookNode) -> str:
    """Return what a cell printed, without warnings."""
    return "".join(each["text"] for each in cell.outputs if each.get("name") == "stdout")


def in_order(name: str) -> list[dict[str, Any]]:
    """Return the blanks of a chapter in the order of their checks."""
    blanks = {check_source(blank): blank for blank in read_blanks(name)}
    sources = [cell.source for cell in learner_copy(name).cells]
    return [blanks[source] for source in sources if source in blanks]


def unnoticed(told: dict[str, dict[str, str]]) -> list[str]:
    """Return the blanks and mistakes that no check has told."""
    return [
        f"{variable}: {answer!r}: {message}"
        for variable, answers in told.items()
        for answer, message in answers.items()
        if not message.startswith("told: ")
    ]


def main() -> int:
    """Prove the checks of the chapters that the command line names, or of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [path.stem for path in CHAPTERS]
    parser.add_argument("chapters", nargs="*", default=names, metavar="chapter")
    parser.add_argument("--checks", action="store_true", help="only the cells that checks need")
    options = parser.parse_args()
    failed = 0
    for name in options.chapters:
        start = time.perf_counter()
        told = prove(name, whole=not options.checks)
        print(f"{name}: {len(told)} checks, {time.perf_counter() - start:.0f} s", flush=True)
        for variable, answers in told.items():
            for answer, message in answers.items():
                print(
                    f"  {variable} = {answer}\n      {message.removeprefix('told: ')}", flush=True
                )
        for line in unnoticed(told):
            failed = 1
            print(f"  NOT NOTICED {line}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
