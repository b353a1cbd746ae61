"""A report as one HTML file that opens anywhere: figures and tables are part of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cookbook_utils import __version__
from cookbook_utils._files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; background: #fff; }
figure { margin: 1rem 0; }
div.table { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8886; }
caption { text-align: left; padding: .5rem 0; }
pre { white-space: pre-wrap; }
</style>
<h1>{{ title }}</h1>
<p>{{ summary }}</p>
{% for section in sections %}
<h2>{{ section.title }}</h2>
{% for text in section.paragraphs %}<p>{{ text }}</p>{% endfor %}
{% for image, caption in section.images %}
<figure><img src="data:image/png;base64,{{ image }}" alt="{{ caption }}">
<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
{% for table in section.tables %}<div class="table">{{ table | safe }}</div>{% endfor %}
{% endfor %}
<h2>How it was made</h2>
<pre>{{ command }}</pre>
<p>cookbook_utils {{ version }}</p>
</html>
"""


@dataclass
class Section:
    """One section of a report; figures and tables are converted when they are added."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def add_figure(self, figure: Figure, caption: str) -> None:
        """Add a figure as PNG, and its caption, which is its alternative text as well."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
        self.images.append((base64.b64encode(buffer.getvalue()).decode(), caption))

    def add_table(self, table: pd.DataFrame, caption: str) -> None:
        """Add a table with a caption; names of rows stand in the first column."""
        from html import escape

        html = table.to_html(border=0, float_format=_format, na_rep="–")
        self.tables.append(html.replace("<thead>", f"<caption>{escape(caption)}</caption><thead>"))


def _format(number: float) -> str:
    """Return a number with three decimals, and without the sign of a zero."""
    text = f"{number:,.3f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def write_report(
    path: Path, title: str, summary: str, sections: Sequence[Section], command: str
) -> None:
    """Write a report, and replace the file only when it is complete.

    Parameters
    ----------
    path : pathlib.Path
        The HTML file.
    title, summary : str
        Heading, and a sentence that says what was found.
    sections : sequence of Section
        The body.
    command : str
        The command that made the report.
    """
    import jinja2

    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE)
    html = template.render(
        title=title, summary=summary, sections=sections, command=command, version=__version__
    )
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
