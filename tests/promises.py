"""What the cells of a chapter promise to show: pictures, captions and interactive views."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
# Expressions that make a view, as opposed to settings of HoloViews.
VIEW = re.compile(r"\bview_\w+\(|\.hvplot\.\w+\(|\bhv\.(?!output\b|extension\b)\w+")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells of a notebook that hold code, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cells_of(name: str) -> list[NotebookNode]:
    """Return the code cells of a chapter in the order in which its page shows them."""
    return code_cells(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4))


def alt_text(cell: NotebookNode) -> str:
    """Return the description of the picture that a cell promises, or "" if it promises none."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def caption(cell: NotebookNode) -> str:
    """Return the caption that a cell promises, or ""."""
    return cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")


def promises_view(cell: NotebookNode) -> bool:
    """Return whether a cell ends in an expression that makes an interactive view."""
    lines = [line for line in cell.source.splitlines() if not line.startswith(("%", "!"))]
    statements = ast.parse("\n".join(lines)).body
    shows = bool(statements) and isinstance(statements[-1], ast.Expr)
    return shows and not cell.source.endswith(";") and bool(VIEW.search(cell.source))
