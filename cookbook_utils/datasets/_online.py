"""Fetch the real files for the book where there is a network, and wait nowhere else."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

from cookbook_utils.datasets._download import impatient
from cookbook_utils.datasets.files import DataUnavailableError, fetch, is_downloaded, read_registry

PROBE_SECONDS = 6.0
"""Seconds after which a server that has not answered counts as out of reach."""


def fetch_if_online(folder: str | os.PathLike[str]) -> str:
    """Download the real files that are absent, and return a sentence that says what was done.

    Parameters
    ----------
    folder : str or path-like
        The data folder.

    Returns
    -------
    str
        What was done. Nothing is downloaded if COOKBOOK_DATA names a folder, and no failure is
        raised: the chapters run without these files.
    """
    if given := os.environ.get("COOKBOOK_DATA"):
        return f"Real files: those in {given}, which COOKBOOK_DATA names; nothing is downloaded."
    registry = read_registry(Path(folder))
    absent = [name for name, entry in registry.items() if not is_downloaded(folder, *name, entry)]
    if not absent:
        return f"Real files: all {len(registry)} are in {Path(folder) / 'downloads'}."
    without = "the book shows the simulated data only where they are missing"
    host = urlsplit(registry[absent[0]].url).netloc
    if not _answers(registry[absent[0]].url):
        return f"Real files: {len(absent)} are missing and {host} cannot be reached; {without}."
    done = 0
    try:
        with impatient():
            for name in absent:
                fetch(*name, folder=folder)
                done += 1
    except (DataUnavailableError, OSError) as error:
        return f"Real files: {done} of {len(absent)} downloaded, then: {error}; {without}."
    size = sum(registry[name].size for name in absent) / 1e6
    return f"Real files: {done} downloaded ({size:.1f} MB), each with the expected SHA-256."


def _answers(url: str) -> bool:
    """Return whether the server of an address answers, or its proxy, within `PROBE_SECONDS`.

    A thread asks, because the time limits of a request do not cover the look-up of its name.
    """
    import requests

    answered = threading.Event()

    def ask() -> None:
        try:
            requests.head(url, timeout=PROBE_SECONDS / 2, allow_redirects=False)
        except (OSError, ValueError):  # RequestException is an OSError
            return
        answered.set()

    thread = threading.Thread(target=ask, name="probe", daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answered.is_set()
