"""Fold the prose of a solution with its code, so that no answer stands in view below its exercise.

MyST-NB folds code cells with the tag `hide-cell`, and nothing else. The fold says what it holds.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx


def fold_solutions(app: Sphinx, document: nodes.document) -> None:
    """Name each fold of a solution, and move the paragraph "Solution." below it into it."""
    for cell in list(document.findall(nodes.container)):
        if "tag_solution" not in cell["classes"]:
            continue
        cell["prompt_show"], cell["prompt_hide"] = "Show the solution", "Hide the solution"
        prose = cell.next_node(descend=False, siblings=True)
        if isinstance(prose, nodes.paragraph) and prose.astext().startswith("Solution."):
            prose.parent.remove(prose)
            cell += prose


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", fold_solutions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
