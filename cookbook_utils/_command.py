"""Parse arguments and run tasks for the commands ``python -m cookbook_utils.<module>``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def parser_of_names(
    module: str, description: str, names: str, folder: str | os.PathLike[str]
) -> argparse.ArgumentParser:
    """Return a parser for names of data sets and the option ``--folder``.

    Parameters
    ----------
    module : str
        The module that ``python -m`` runs.
    description : str
        What the command does.
    names : str
        Which names the user may give, and the default.
    folder : str or path-like
        Default of ``--folder``.

    Returns
    -------
    argparse.ArgumentParser
        The parser, to which further options may be added.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    parser.add_argument("--folder", default=folder, help="default: %(default)s")
    return parser


def require_names(
    parser: argparse.ArgumentParser, names: Sequence[str], known: Iterable[str]
) -> None:
    """Exit with a usage error unless all names are known."""
    known = list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"names must be among {', '.join(known)}, got {', '.join(unknown)}")


def run_each(tasks: Iterable[Callable[[], Path]]) -> int:
    """Run all tasks, and print the path that each returns or its error.

    Parameters
    ----------
    tasks : iterable of callable
        Functions that write a file or folder and return its path.

    Returns
    -------
    int
        The exit status: 1 if a task failed, else 0.
    """
    status = 0
    for task in tasks:
        try:
            print(task(), flush=True)
        except (OSError, ValueError) as error:
            status = 1
            print(error, file=sys.stderr)
    return status
