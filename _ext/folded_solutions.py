"""Fold the prose of a solution with its code, so that no answer stands in view below its exercise.

MyST-NB folds code cells with the tag `hide-cell`, and nothing else.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx


def fold_prose(app: Sphinx, document: nodes.document) -> None:
    """Move each paragraph that starts with "Solution." into the folded cell above it."""
    for prose in list(document.findall(nodes.paragraph)):
        if not prose.astext().startswith("Solution."):
            continue
        above = prose.parent[prose.parent.index(prose) - 1]
        if isinstance(above, nodes.container) and above.get("hide_mode") == "all":
            prose.parent.remove(prose)
            above += prose


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", fold_prose)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
