"""Download real files that are not on this machine: ``python -m cookbook_utils.datasets``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cookbook_utils._command import parser_of_names, require_names, run_each
from cookbook_utils.datasets._online import fetch_if_online
from cookbook_utils.datasets.files import DATA_FOLDER, fetch, read_registry


def main(arguments: Sequence[str] | None = None) -> int:
    """Download the data sets that the command line names, or all, and return the exit status."""
    parser = parser_of_names(
        "cookbook_utils.datasets",
        "Download real files, unless they are there, and check their hashes.",
        "a data set in registry.csv; default: all",
        DATA_FOLDER,
    )
    parser.add_argument(
        "--if-online", action="store_true",
        help="download all that are absent if the server answers at once, and never fail",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.if_online:
        print(_said(fetch_if_online, options.folder), flush=True)
        return 0
    try:
        files = list(read_registry(Path(options.folder)))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    require_names(parser, options.names, dict.fromkeys(dataset for dataset, _ in files))
    return run_each(
        partial(fetch, dataset, file, folder=options.folder)
        for dataset, file in files
        if not options.names or dataset in options.names
    )


def _said(task: Callable[[str], str], folder: str) -> str:
    """Return what a task says, or its error."""
    try:
        return task(folder)
    except (OSError, ValueError) as error:
        return f"Real files: {error}"


if __name__ == "__main__":
    sys.exit(main())
