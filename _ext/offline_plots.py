"""Serve the scripts of interactive plots from the book itself, so that it works without a network.

Bokeh, Panel and GeoViews write the addresses of their content delivery networks into every notebook
that they run in. Here each such address is replaced by a relative one, and the file behind it is
copied once from the installed package to ``_static/plots``. A file that the package does not hold
is a warning, hence an error in a build that treats warnings as errors.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import bokeh
import geoviews
import panel
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

FOLDER = "_static/plots"

# address -> (folder in the book, folder in the installed package)
SOURCES = {
    "https://cdn.bokeh.org/bokeh/release/": (
        "bokeh",
        Path(bokeh.__file__).parent / "server" / "static" / "js",
    ),
    f"https://cdn.holoviz.org/panel/{panel.__version__}/dist/": (
        "panel",
        Path(panel.__file__).parent / "dist",
    ),
    f"https://cdn.jsdelivr.net/npm/@holoviz/geoviews@{geoviews.__version__}/dist/": (
        "geoviews",
        Path(geoviews.__file__).parent / "dist",
    ),
}
ADDRESS = re.compile("(" + "|".join(map(re.escape, SOURCES)) + r")([^\"'`\s<>)\\&]+)")


def local_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Replace the addresses in one page and copy the files that they name."""
    root = "../" * pagename.count("/") + FOLDER

    def replace(match: re.Match[str]) -> str:
        folder, package = SOURCES[match[1]]
        name = match[2].partition("?")[0]
        # The network's copy of bokeh.min.js is called bokeh-3.9.2.min.js.
        source = package / name.replace(f"-{bokeh.__version__}.min", ".min")
        if not source.is_file():
            logger.warning("%s: no local copy of %s (looked for %s)", pagename, match[0], source)
            return match[0]
        target = Path(app.outdir) / FOLDER / folder / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        return f"{root}/{folder}/{name}"

    if body := context.get("body"):
        context["body"] = ADDRESS.sub(replace, body)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", local_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
