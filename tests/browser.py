"""A real browser without network, and the pages of the built book opened in it from disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "_build" / "html"
PAGES = sorted(
    path.relative_to(BOOK).as_posix()
    for path in BOOK.rglob("*.html")
    if not {"_static", "_sources", "_modules", "reference"} & set(path.relative_to(BOOK).parts)
    and path != BOOK / "index.html"  # only sends on to the first page
)
# The only hosts that a page may ask, and for images only.
TILE_HOSTS = re.compile(
    r"(server|services)\.arcgisonline\.com|([abc]\.)?tile\.openstreetmap\.org"
    r"|([abcd]\.)?basemaps\.cartocdn\.com"
)


# Walks into the shadow roots that Bokeh draws its figures in.
DEEP = """
const deep = (node, test) => [
  ...(test(node) ? [node] : []),
  ...(node.shadowRoot ? [...node.shadowRoot.children] : []).flatMap(child => deep(child, test)),
  ...[...node.children].flatMap(child => deep(child, test)),
];
const shown = node => {
  const box = node.getBoundingClientRect();
  return box.width > 0 && box.height > 0;
};
"""
READY = f"""ids => {{ {DEEP}
  const drawn = id => {{
    const root = document.querySelector(`[data-root-id="${{id}}"]`);
    return root && deep(root, n => n.tagName === 'CANVAS').length > 0;
  }};
  return ids.every(drawn) && document.readyState === 'complete'
    && [...document.querySelectorAll('.math')].every(m => m.querySelector('mjx-container'));
}}"""


class Visit:
    """One page, opened from disk: what it asked for, complained of and shows."""

    def __init__(self, browser: Any, address: str, roots: list[str], *, width: int = 1400) -> None:
        from playwright.sync_api import TimeoutError

        self.context = browser.new_context(viewport={"width": width, "height": 1000})
        self.context.route(re.compile("^(?!file:|data:|blob:)"), lambda route: route.abort())
        self.page = self.context.new_page()
        self.requests: list[tuple[str, str]] = []
        self.missing: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda r: self.requests.append((r.resource_type, r.url)))
        self.page.on("requestfailed", self._failed)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.goto(address, timeout=60_000)
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        try:
            self.page.wait_for_function(READY, arg=roots, timeout=30_000)
        except TimeoutError:
            self.errors.append("after 30 s not every plot and formula was drawn")
        self.page.wait_for_timeout(500)

    def _failed(self, request: Any) -> None:
        if request.url.startswith("file:"):
            self.missing.append(request.url)

    def _console(self, message: Any) -> None:
        host = urlsplit(message.location.get("url", "")).netloc
        if message.type == "error" and not TILE_HOSTS.fullmatch(host):
            self.errors.append(message.text)


def roots_in(html: str) -> list[str]:
    """Return the ids of the Bokeh roots embedded in a page that have something to draw."""
    ids = []
    for items in re.findall(r"render_items = (\[.*?\]);", html):
        for item in json.loads(items):
            ids.extend(item.get("root_ids", item["roots"]))
    silent = re.findall(
        r'"name":"panel\.models\.(?:browser\.BrowserInfo|comm_manager\.CommManager)","id":"([^"]+)"',
        html,
    )
    return [id for id in ids if id not in silent]
