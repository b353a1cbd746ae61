"""The command ``data``: download the real files of the catalog."""

from __future__ import annotations

import argparse
from collections import Counter

from cookbook_utils.datasets import DATA_FOLDER
from cookbook_utils.datasets.__main__ import main as download
from cookbook_utils.datasets.files import read_registry

SUMMARY = "download the real images and points of the cookbook, each checked against its hash"
EXAMPLES = """\
  satellite-clustering data                 all of them, 19 MB
  satellite-clustering data walker-lake     one data set
  satellite-clustering data --list          what there is
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="a data set; default: all")
    parser.add_argument("--list", action="store_true", help="list the data sets, download nothing")


def run(options: argparse.Namespace) -> int:
    """Download the named data sets, or list all, and return the exit status."""
    counts = Counter(dataset for dataset, _ in read_registry(DATA_FOLDER))
    if unknown := [name for name in options.names if name not in counts]:
        raise ValueError(f"NAME must be among {', '.join(sorted(counts))}, got {unknown[0]!r}")
    if not options.list:
        return download(options.names)
    for dataset, n in sorted(counts.items()):
        print(f"{dataset:<14} {n:>2} file{'s' if n > 1 else ''}")
    return 0
