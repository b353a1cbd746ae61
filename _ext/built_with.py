"""Say on each page what it was built with, and link its source.

The address of the repository, `repository: url` of `_config.yml`, is the only setting: where it is
not empty, the pages have buttons that open the repository, an issue, the source and, of chapters, a
notebook on Binder, and the commit becomes a link.
"""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

PROJECT = "satellite-clustering-cookbook"
DEPENDENCIES = ["numpy", "xarray", "dask", "scikit-learn", "numba", "rasterio"]
BUTTONS = ["use_repository_button", "use_issues_button", "use_source_button"]


def switch_links(app: Sphinx, config: Config) -> None:
    """Show the links to the repository if its address is known, and none otherwise."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options.update(dict.fromkeys(BUTTONS, True))
    else:
        options.pop("launch_buttons", None)


def commit_of(folder: Path) -> tuple[str, bool] | None:
    """Return the commit of a checkout and whether files differ from it; None outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.resolve():
            return None  # the book lies in the repository of something else
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None


def find_versions(app: Sphinx) -> None:
    """Give the templates the versions, which are the same for all pages."""
    commit, changed = commit_of(Path(app.srcdir)) or ("", False)
    app.config.html_context.update(
        built_from={
            "project": version(PROJECT),
            "commit": commit,
            "changed": changed,
            "repository": app.config.html_theme_options.get("repository_url", "").rstrip("/"),
        },
        built_with=[("Python", platform.python_version())]
        + [(name, version(name)) for name in DEPENDENCIES],
    )


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", switch_links)
    app.connect("builder-inited", find_versions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
