"""Show the numbered references of docstrings as lists.

The numbers begin at 1 in every docstring. As footnotes they would collide on a page that shows many
docstrings, so ``[1]_`` becomes plain text and the entries become an enumerated list.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx


def number_references(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    text = re.sub(r"^( *)\.\. \[(\d+)\] ", r"\1\2. ", "\n".join(lines), flags=re.MULTILINE)
    lines[:] = re.sub(r"\[(\d+)\]_", r"[\1]", text).split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", number_references)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
