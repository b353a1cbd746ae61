"""Leave out of interactive figures what no reader sees: scripts that they do not use, and digits.

HoloViews asks for every script of Bokeh. Figures are drawn without WebGL, on a canvas; no page
loads modules of JavaScript into Panel; and in the place of Bokeh's tables stands what Panel needs
of them to start. Images of floating-point numbers are rounded to steps, of which there are `STEPS`
or more between the lowest and the highest value: a screen shows 256.
"""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
from offline_plots import FOLDER
from sphinx.application import Sphinx

STEPS = 4096

SCRIPTS = re.compile(r"const js_urls = \[.*?\];")
UNUSED = re.compile(r'"[^"]*/(?:bokeh-gl|es-module-shims)[^"]*", ')
TABLES = re.compile(r'"[^"]*/bokeh-tables[^"]*"')
NO_TABLES = """\
Bokeh.register_plugin(
  {tables: (require, module, exports) => { exports.TableColumn = class {}; }},
  "tables",
  {"models/widgets/tables/index": "tables"},
);
"""
# What a slider brings is text within text: its quotation marks have backslashes.
IMAGE = re.compile(
    r'(?P<start>\\*"data\\*":\\*")(?P<data>[\w+/=]+)'
    r'(?P<end>\\*"\},\\*"shape\\*":\[\d+,\d+\],\\*"dtype\\*":\\*"(?P<dtype>float\d+)\\*")'
)


def drop_scripts(js_urls: re.Match[str], root: str) -> str:
    """Return the list of the scripts that a page loads without those that it does not use."""
    return TABLES.sub(f'"{root}/no-tables.js"', UNUSED.sub("", js_urls[0]))


def round_image(image: re.Match[str]) -> str:
    """Return the data of an image with as many digits as can be seen."""
    values = np.frombuffer(gzip.decompress(base64.b64decode(image["data"])), image["dtype"])
    spread = float(np.nanmax(values) - np.nanmin(values))
    if not 0 < spread < np.inf:
        return image[0]
    step = 2.0 ** np.floor(np.log2(spread / STEPS))  # of a power of two, few bits remain
    rounded = (np.round(values / step) * step).astype(image["dtype"])
    data = base64.b64encode(gzip.compress(rounded.tobytes(), mtime=0)).decode()
    return image["start"] + data + image["end"]


def lighten(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Leave scripts and digits out of the figures of one page."""
    body = context.get("body")
    if not body or not SCRIPTS.search(body):
        return
    root = "../" * pagename.count("/") + FOLDER
    body = SCRIPTS.sub(lambda js_urls: drop_scripts(js_urls, root), body)
    context["body"] = IMAGE.sub(round_image, body)
    target = Path(app.outdir) / FOLDER / "no-tables.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(NO_TABLES)


def setup(app: Sphinx) -> dict[str, bool]:
    # Before offline_plots, which copies the scripts that remain.
    app.connect("html-page-context", lighten, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
