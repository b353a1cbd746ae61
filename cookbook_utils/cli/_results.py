"""The folder of results of one command, which the same command continues after it was stopped."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cookbook_utils import __version__
from cookbook_utils._files import as_path, claim
from cookbook_utils.datasets._access import without_secrets

RECORD = "run.json"
OWNER = ".running"  # names the process that writes the results now


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where the results go."""
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the results")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the results of another run"
    )


def refuse_options(options: argparse.Namespace, names: Sequence[str], where: str) -> None:
    """Raise ValueError if an option is given where it has no effect.

    Parameters
    ----------
    options : argparse.Namespace
        The arguments.
    names : sequence of str
        Names of options that have none there.
    where : str
        The case, for the message.
    """
    given = [name for name in names if getattr(options, name) != options.default_of(name)]
    if given:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{where} must not have {listed}, which has no effect there")


def describe_source(source: str, *, without: str | None = None) -> dict[str, Any]:
    """Return what identifies an input: its address and, of local files, their sizes and times.

    Parameters
    ----------
    source : str
        A local file or folder, or an address.
    without : str, optional
        A folder, such as that of the results, whose files do not count.

    Returns
    -------
    dict
        The absolute path and the size and modification time of each file; of an address, only
        the address, without its query, which may hold a signature.

    Raises
    ------
    FileNotFoundError
        If a local path does not exist.
    """
    if "://" in source:
        return {"source": without_secrets(source)}
    path = as_path(source, "a source").absolute()
    if not path.exists():
        raise FileNotFoundError(f"{source} does not exist")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    own = None if without is None else as_path(without, "--out").resolve()
    files = [file for file in files if file.is_file() and own not in file.resolve().parents]
    stats = [(file.relative_to(path.parent).as_posix(), file.stat()) for file in files]
    return {
        "source": str(path),
        "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
    }


@contextlib.contextmanager
def results(
    folder: str, run: Mapping[str, Any], names: Sequence[str], *, overwrite: bool
) -> Iterator[Path]:
    """Claim a folder for the results of a run, and yield it with the results that it has already.

    Parameters
    ----------
    folder : str
        The folder; it is made if it does not exist.
    run : mapping
        Everything that determines the results, such as the ``command``. It is stored in
        ``run.json``, and must equal what is stored there.
    names : sequence of str
        Names of the files and folders that the run may write.
    overwrite : bool
        Whether to remove the results of another run first.

    Yields
    ------
    pathlib.Path
        The folder.

    Raises
    ------
    FileExistsError
        If it holds the results of another run, or files of the names of results.
    TimeoutError
        If another process is writing there; the message names it and its command.
    """
    path = as_path(folder, "--out")
    wanted = json.loads(json.dumps({"version": __version__, **run}))
    with contextlib.ExitStack() as stack:
        try:
            claimed = stack.enter_context(claim(path / RECORD, wait=0))
        except TimeoutError:
            raise TimeoutError(_who_writes(path)) from None
        (path / OWNER).write_text(_this_process(run["command"]))
        stack.callback((path / OWNER).unlink, missing_ok=True)
        found = _read(path / RECORD)
        present = [name for name in names if (path / name).exists()]
        if found != wanted and present:
            if not overwrite:
                raise FileExistsError(_what_differs(path, found, wanted, present))
            for name in present:
                _remove(path / name)
        if found != wanted:
            with claimed.replacing(path / RECORD) as temporary:
                temporary.write_text(json.dumps(wanted, indent=1) + "\n")
        yield path


def _this_process(command: str) -> str:
    return f"process {os.getpid()} on {platform.node()}, satellite-clustering {command}"


def _who_writes(path: Path) -> str:
    try:
        owner = (path / OWNER).read_text() or "another process"
    except OSError:  # it has just begun, or ended
        owner = "another process"
    return f"--out must be a folder that nothing else writes, got {path}, which {owner} writes now"


def _read(path: Path) -> Any:
    """Return the record of an earlier run, or None if there is no readable one."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _what_differs(path: Path, found: Any, wanted: dict, present: Sequence[str]) -> str:
    advice = "choose another folder, or --overwrite"
    if not isinstance(found, dict):
        return f"{path} holds {', '.join(present)}, but no {RECORD} of a run: {advice}"
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    return f"{path} holds the results of another run, with other {', '.join(differing)}: {advice}"
