"""Serve the pictures of the book as WebP, a third of their size as PNG.

A picture of few colors is compressed without loss. Where that leaves more than `LOSSLESS_BYTES`, as
in satellite images, it is compressed at quality 90 if that is smaller.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms.images import BaseImageConverter

LOSSLESS_BYTES = 100_000


def webp(png: bytes) -> bytes:
    """Return a PNG picture as WebP."""
    picture = Image.open(BytesIO(png)).convert("RGBA")

    def encoded(**options: bool | int) -> bytes:
        file = BytesIO()
        picture.save(file, "WEBP", **options)
        return file.getvalue()

    lossless = encoded(lossless=True, quality=80)
    if len(lossless) <= LOSSLESS_BYTES:
        return lossless
    return min(lossless, encoded(quality=90), key=len)


class WebPConverter(BaseImageConverter):
    """Replace each PNG picture of a page by the same picture as WebP."""

    default_priority = 200  # that of Sphinx's own converters

    def match(self, node: nodes.image) -> bool:
        """Return whether this is a PNG picture of the book, for its HTML pages."""
        is_local = "://" not in node["uri"] and node["uri"].endswith(".png")
        return is_local and self.app.builder.format == "html"

    def handle(self, node: nodes.image) -> None:
        """Write the picture, unless an earlier build has, and refer to it."""
        png = Path(self.app.srcdir, node["uri"]).read_bytes()
        name = f"{Path(node['uri']).stem[:24]}-{hashlib.sha256(png).hexdigest()[:16]}.webp"
        target = Path(self.imagedir, name)
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(webp(png))
        node["candidates"], node["uri"] = {"*": str(target)}, str(target)
        self.env.images.add_file(self.env.docname, str(target))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(WebPConverter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
