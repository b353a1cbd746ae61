"""The command ``satellite-clustering``: cluster scenes, map change, cluster points, check."""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Sequence

from cookbook_utils import __version__
from cookbook_utils.cli import change, check, cluster, data, points
from cookbook_utils.datasets._access import without_secrets

__all__ = ["run_command"]

COMMANDS = (cluster, change, points, data, check)
INTERRUPTED = 130  # exit status of a process that was stopped from the keyboard


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name.

    Use it through the entry point ``satellite-clustering``, or ``python -m cookbook_utils``.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments of the command; by default those of the process.

    Returns
    -------
    int
        Exit status: 0 if all is done, 1 if it failed, 130 if it was interrupted. Wrong usage exits
        with status 2.

    Examples
    --------
    >>> run_command(["data", "--list"])
    betsiboka      12 files
    pucallpa        8 files
    ustica          1 file
    walker-lake    13 files
    0
    """
    parser = _make_parser()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(arguments)
    options.command_line = shlex.join([parser.prog, *map(without_secrets, arguments)])
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return options.run(options)
    except KeyboardInterrupt:
        print("interrupted; the same command continues from here", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError, TypeError, ImportError, MemoryError) as error:
        print(f"{parser.prog} {options.command}: {error}", file=sys.stderr)
        return 1


def _make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="satellite-clustering",
        description="Cluster satellite scenes and radar points, and write maps that a GIS opens.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = commands.add_parser(
            module.__name__.rpartition(".")[2],
            help=module.SUMMARY,
            description=module.SUMMARY[0].upper() + module.SUMMARY[1:] + ".",
            epilog="examples:\n" + module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, default_of=command.get_default)
    return parser


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Print a warning as one line, without the place in the source."""
    print(f"warning: {message}", file=sys.stderr)
