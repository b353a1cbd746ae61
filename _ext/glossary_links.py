"""Link the first use of each term of the glossary in a chapter to its definition.

A term is found in prose, in any case and in the plural, not in headings, code, formulas, links,
tables, exercises, summaries and references. Terms that share a definition count as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

GLOSSARY = "glossary"
CHAPTER = re.compile(r"notebooks/\d")
SKIPPED_NODES = (
    nodes.title, nodes.literal, nodes.literal_block, nodes.reference, nodes.math, nodes.math_block,
    nodes.table, nodes.caption, nodes.image, nodes.raw, nodes.citation,
)  # fmt: skip
SKIPPED_SECTIONS = {
    "overview", "prerequisites", "imports", "exercises", "summary", "quiz", "references",
}  # fmt: skip


def forms(term: str) -> str:
    """Return a pattern of the singular and the plural of a term."""
    if term.endswith("y"):
        return re.escape(term[:-1]) + "(?:y|ies)"
    return re.escape(term) + "(?:e?s)?"


def terms_of(glossary: nodes.document) -> list[tuple[str, re.Pattern[str]]]:
    """Return the anchor of each definition and the pattern of its terms, the longest first.

    "Surface reflectance" is not the first use of "reflectance".
    """
    found = []
    for item in glossary.findall(nodes.definition_list_item):
        terms = [node for node in item.children if isinstance(node, nodes.term)]
        names = [term.astext() for term in terms]
        pattern = rf"(?<![\w-])(?:{'|'.join(map(forms, names))})(?![\w-])"
        found.append((max(map(len, names)), terms[0]["ids"][0], re.compile(pattern, re.IGNORECASE)))
    return [entry[1:] for entry in sorted(found, key=lambda entry: -entry[0])]


def prose(document: nodes.document) -> Iterator[nodes.Text]:
    """Yield the texts of a chapter in which terms are linked, in order."""
    for text in document.findall(nodes.Text):
        node: Any = text
        while node := node.parent:
            if isinstance(node, SKIPPED_NODES):
                break
            if isinstance(node, nodes.section) and SKIPPED_SECTIONS & set(node["ids"]):
                break
            if isinstance(node, nodes.paragraph) and node.astext().startswith(
                ("Exercise ", "Solution.")
            ):
                break
        else:
            yield text


def link_first_uses(app: Sphinx, document: nodes.document, name: str) -> None:
    """Replace the first use of each term by a link."""
    if not CHAPTER.match(name) or GLOSSARY not in app.env.all_docs:
        return
    for anchor, pattern in terms_of(app.env.get_doctree(GLOSSARY)):
        found = ((text, match) for text in prose(document) if (match := pattern.search(text)))
        if (first := next(found, None)) is None:
            continue
        text, match = first
        link = make_refnode(app.builder, name, GLOSSARY, anchor, nodes.inline("", match[0]))
        link["classes"].append("term")
        parts = [nodes.Text(text[: match.start()]), link, nodes.Text(text[match.end() :])]
        text.parent.replace(text, [part for part in parts if part.astext()])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", link_first_uses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
