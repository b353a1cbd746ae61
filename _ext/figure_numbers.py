"""Number the figures of each chapter from 1, after the number of the chapter: "Fig. 3.1".

The figures of any other page are numbered from 1, too. Sphinx numbers the figures of the whole book
in one series as long as chapters have no numbers of its own making. The number of a chapter stands
in its title and in the name of its file.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

CHAPTER = re.compile(r"(?:^|/)(\d+)_[^/]*$")


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Replace the numbers that Sphinx has just given; captions and references take them later."""
    for document, kinds in env.toc_fignumbers.items():
        chapter = CHAPTER.search(document)
        before = (int(chapter[1]),) if chapter else ()
        for figures in kinds.values():
            for place, figure in enumerate(sorted(figures, key=figures.get), start=1):
                figures[figure] = (*before, place)
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to the event at which Sphinx numbers figures, after its own handlers."""
    app.connect("env-get-updated", number_by_chapter, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
