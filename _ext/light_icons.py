"""Keep, of the two thousand icons that the theme brings, those that the pages show.

The theme's style sheet has a rule for each icon of Font Awesome, and its fonts have a glyph. The
rules of icons that no page and no script names are removed, and the fonts keep the glyphs that a
rule is left for.
"""

from __future__ import annotations

import re
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

STYLES = "_static/styles/pydata-sphinx-theme.css"
FONTS = "_static/vendor/fontawesome/webfonts"

ICON = re.compile(r"\bfa-([a-z0-9-]+)")
# Names may share a glyph: .fa-circle-info:before,.fa-info-circle:before{content:"\f05a"}
RULE = re.compile(r'((?:\.fa-[a-z0-9-]+:+before,?)+)\{content:"\\[0-9a-f]+ ?"\}')
SOURCES = re.compile(r'\.woff2\) format\("woff2"\),url\([^)]*\.ttf\) format\("truetype"\)')
# Written as "\f05a", or as the character itself, which is for private use.
GLYPH = re.compile(r'(?<="\\)f[0-9a-f]{3}(?=")|[\ue000-\uf8ff]')


def named_icons(folder: Path) -> set[str]:
    """Return the names of the icons in the pages and scripts of a book."""
    scripts = [*folder.glob("_static/*.js"), folder / "_static/scripts/pydata-sphinx-theme.js"]
    files = [*folder.rglob("*.html"), *scripts]
    return {name for file in files for name in ICON.findall(file.read_text("utf-8"))}


def keep_glyphs(font: Path, glyphs: set[int]) -> None:
    """Replace the files of a font by one of these glyphs: WOFF, which needs no further library."""
    with TTFont(font) as reduced:
        subsetter = Subsetter(Options(drop_tables=["FFTM"]))
        subsetter.populate(unicodes=glyphs)
        subsetter.subset(reduced)
        reduced.flavor = "woff"
        reduced.save(font.with_suffix(".woff"))
    font.unlink()
    font.with_suffix(".woff2").unlink()


def reduce_icons(app: Sphinx, exception: Exception | None) -> None:
    """Remove the rules and glyphs of unused icons from a book that has been built."""
    folder = Path(app.outdir)
    styles = folder / STYLES
    if exception or not styles.is_file():
        return
    named = named_icons(folder)
    text = RULE.sub(
        lambda rule: rule[0] if named & set(ICON.findall(rule[1])) else "",
        styles.read_text("utf-8"),
    )
    text = SOURCES.sub('.woff) format("woff")', text)
    styles.write_text(text, "utf-8")
    sheets = [*folder.glob("_static/*.css"), *folder.glob("_static/styles/*.css")]
    found = {glyph for sheet in sheets for glyph in GLYPH.findall(sheet.read_text("utf-8"))}
    for font in (folder / FONTS).glob("*.ttf"):
        keep_glyphs(font, {ord(one) if len(one) == 1 else int(one, 16) for one in found})


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", reduce_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
