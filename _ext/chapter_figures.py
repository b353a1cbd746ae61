"""Show a figure of a chapter on another page, as the chapter has drawn it when the book was built.

``{chapter-figure} notebooks/05_regridding fig-regrid-change`` is replaced by the picture of this
name, with its description, as a link to where it is made. A name that no figure of the chapter has
is a warning, hence an error in a build that treats warnings as errors.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)


class chapter_figure(nodes.General, nodes.Element):
    """The place of a figure that is known when all chapters have been read."""


class ChapterFigure(SphinxDirective):
    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        node = chapter_figure(chapter=self.arguments[0], figure=self.arguments[1])
        self.set_source_info(node)
        return [node]


class ShowChapterFigures(SphinxPostTransform):
    """Replace the places of figures on a page by the figures."""

    default_priority = 100  # before the pictures are converted

    def run(self, **kwargs: object) -> None:
        for place in list(self.document.findall(chapter_figure)):
            self._show(place)

    def _show(self, place: chapter_figure) -> None:
        chapter, wanted = place["chapter"], place["figure"]
        found = [
            figure
            for figure in self.env.get_doctree(chapter).findall(nodes.figure)
            if wanted in figure["ids"]
        ]
        if not found:
            logger.warning("%s has no figure %s", chapter, wanted, location=place)
            place.parent.remove(place)
            return
        address = self.app.builder.get_relative_uri(self.env.docname, chapter)
        link = nodes.reference("", "", refuri=f"{address}#{wanted}", internal=True)
        link += next(found[0].findall(nodes.image)).deepcopy()
        place.replace_self(nodes.paragraph("", "", link))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(chapter_figure)
    app.add_directive("chapter-figure", ChapterFigure)
    app.add_post_transform(ShowChapterFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
