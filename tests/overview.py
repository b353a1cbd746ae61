"""Draw the picture of the README, for light and for dark pages, from what Chapter 5 computes.

``make overview`` runs this file; `tests/test_front_page.py` runs it elsewhere and compares.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from cookbook_utils.plotting import plot_change, plot_rgb, style

from .promises import cells_of

CHAPTER, FIGURE = "05_regridding", "fig-regrid-change"
FOLDER = Path(__file__).parents[1] / "_static"
INK = {"light": "#1f2328", "dark": "#e6edf3"}


def computed() -> dict[str, Any]:
    """Return the variables of the chapter where it draws the map of change."""
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    for cell in cells_of(CHAPTER):
        with contextlib.redirect_stdout(io.StringIO()):
            result = shell.run_cell(cell.source)
        if "raises-exception" not in cell.metadata.get("tags", []):
            result.raise_error()
        plt.close("all")
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == FIGURE:
            return shell.user_ns
    raise LookupError(f"{CHAPTER} has no figure {FIGURE}")


def draw(found: dict[str, Any], mode: str, path: Path) -> None:
    """Draw both dates and what was lost, on no background."""
    with matplotlib.rc_context():
        style()
        for name in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color",
                     "ytick.color"):  # fmt: skip
            matplotlib.rcParams[name] = INK[mode]
        fig, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained", sharey=True)
        plot_rgb(found["lake_1988"], ax=axes[0], title="1988")
        plot_rgb(found["lake_2017"], ax=axes[1], title="2017")
        plot_change(found["changed"], ax=axes[2], title="What was lost")
        legend = axes[2].get_legend()
        texts = [text.get_text() for text in legend.get_texts()]
        legend.remove()
        fig.legend(legend.legend_handles, texts, ncols=4, loc="outside lower center")
        for ax in axes:
            ax.label_outer()
        fig.savefig(path, dpi=110, transparent=True, metadata={"Software": None})
        plt.close(fig)


def difference(one: Path, other: Path) -> float:
    """Return the share of the pixels of two pictures that differ visibly."""
    a, b = plt.imread(one), plt.imread(other)
    return np.mean(np.abs(a - b).max(axis=-1) > 0.1) if a.shape == b.shape else 1.0


if __name__ == "__main__":
    matplotlib.use("agg")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    variables = computed()
    for each in INK:
        draw(variables, each, folder / f"overview-{each}.png")
