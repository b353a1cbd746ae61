"""Load the parts of MathJax that the pages use, in place of one script with all of them.

Formulas are written in TeX, set by fonts and style sheets, and repeated in MathML for screen
readers. The menu of MathJax is left out.
"""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.config import Config

PARTS = ["core", "input/tex", "output/chtml", "a11y/assistive-mml"]


def load_parts(app: Sphinx, config: Config) -> None:
    """Replace the script that sphinx-mathjax-offline has chosen."""
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config = {"loader": {"load": PARTS}}


def setup(app: Sphinx) -> dict[str, bool]:
    # Before myst_parser, which adds its own options.
    app.connect("config-inited", load_parts, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
