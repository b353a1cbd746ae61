"""Find the cells of a notebook that some of its last cells depend on."""

from __future__ import annotations

import ast
import dis
import re
from collections.abc import Iterator
from types import CodeType

from nbformat import NotebookNode

# Statements that replace what a variable held before.
ASSIGNING = (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def needed_cells(cells: list[NotebookNode], wanted: list[NotebookNode]) -> list[NotebookNode]:
    """Return the cells that the wanted ones need, and these, in their order.

    A cell is needed if it assigns or changes a variable that a later needed cell reads before it is
    assigned again. Cells with magics are always needed.

    Parameters
    ----------
    cells : list of NotebookNode
        All cells.
    wanted : list of NotebookNode
        Some of them.
    """
    code = [cell for cell in cells if cell.cell_type == "code"]
    parsed = [ast.parse(re.sub("^%.*", "", cell.source, flags=re.MULTILINE)) for cell in code]
    # A call such as np.testing.assert_equal(…) does not change a module.
    modules = {
        (alias.asname or alias.name).partition(".")[0]
        for tree in parsed
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    # A function reads variables when it is called, perhaps from cells after its own.
    functions = {
        statement.name: names(statement, "LOAD_GLOBAL")
        for tree in parsed
        for statement in tree.body
        if isinstance(statement, ast.FunctionDef)
    }
    kept, live = [], set()
    for cell, tree in zip(reversed(code), reversed(parsed), strict=True):
        gives = set().union(*map(assigned, tree.body))
        changes = set().union(*map(changed, tree.body)) - modules
        if cell in wanted or live & (gives | changes) or cell.source.startswith("%"):
            kept.append(cell)
            for statement in reversed(tree.body):
                if isinstance(statement, ASSIGNING):
                    live -= assigned(statement)
                read = names(statement, "LOAD_NAME", "LOAD_GLOBAL")
                live |= read.union(*(functions.get(name, ()) for name in read))
    return kept[::-1]


def assigned(statement: ast.stmt) -> set[str]:
    """Return the variables that a statement assigns."""
    return names(statement, "STORE_NAME")


def changed(statement: ast.stmt) -> set[str]:
    """Return the variables that a statement calls a method or sets an item of."""
    bases = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            bases.add(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            bases.add(node.value.func)
    return {name for base in bases for name in base_name(base)}


def base_name(node: ast.expr) -> Iterator[str]:
    """Yield the variable of an expression such as ``x[0].y``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Name):
            yield node.id


def names(statement: ast.stmt, *operations: str) -> set[str]:
    """Return the variables of the notebook that a statement reads or assigns."""

    def within(code: CodeType) -> set[str]:
        found = {i.argval for i in dis.get_instructions(code) if i.opname in operations}
        inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
        return found.union(*map(within, inner))

    return within(compile(ast.Module([statement], []), "<cell>", "exec"))
