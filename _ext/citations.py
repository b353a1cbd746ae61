"""Cite papers by author and year, "(Lloyd, 1982)" and "Lloyd (1982)", in round brackets.

sphinxcontrib-bibtex writes square ones. The entries of a bibliography then need no labels:
``_static/learning.css`` hides them. They are the items of a list, which docutils calls
bibliography entries, a role that readers of screens no longer know and do not expect in a list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sphinx.application import Sphinx
from sphinxcontrib.bibtex.plugin import register_plugin
from sphinxcontrib.bibtex.style.referencing import BracketStyle, PersonStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle


def round_brackets() -> BracketStyle:
    return BracketStyle(left="(", right=")", sep="; ")


@dataclass
class RoundReferenceStyle(AuthorYearReferenceStyle):
    """Author and year in round brackets; more than two authors become "et al."."""

    bracket_parenthetical: BracketStyle = field(default_factory=round_brackets)
    bracket_textual: BracketStyle = field(default_factory=round_brackets)
    person: PersonStyle = field(default_factory=lambda: PersonStyle(sep2=" and "))


def call_entries_items(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Give the entries of a bibliography the role that fits into a list."""
    if body := context.get("body"):
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Sphinx) -> dict[str, bool]:
    register_plugin(
        "sphinxcontrib.bibtex.style.referencing", "author_year_round", RoundReferenceStyle
    )
    app.connect("html-page-context", call_entries_items)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
