"""Download the wheels of the book's environment for several platforms and versions of Python.

What is downloaded are the versions and hashes of `requirements.lock`, without those packages that
only development needs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.tags import mac_platforms

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
# Installs the package itself, in place.
BUILD_BACKEND = "flit_core>=3.12,<4"


class Platform(NamedTuple):
    """A kind of computer that wheels are made for."""

    title: str
    markers: dict[str, str]
    tags: tuple[str, ...]


PLATFORMS = {
    "linux": Platform(
        "Linux, x86-64, glibc 2.28 or newer",
        {
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_system": "Linux",
            "sys_platform": "linux",
        },
        (*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)), "manylinux2014_x86_64"),
    ),
    "macos": Platform(
        "macOS 15 or newer, Apple silicon",
        {
            "os_name": "posix",
            "platform_machine": "arm64",
            "platform_system": "Darwin",
            "sys_platform": "darwin",
        },
        tuple(mac_platforms((15, 0), "arm64")),
    ),
    "macos-intel": Platform(
        "macOS 15 or newer, Intel",
        {
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_system": "Darwin",
            "sys_platform": "darwin",
        },
        tuple(mac_platforms((15, 0), "x86_64")),
    ),
    "windows": Platform(
        "Windows, x86-64",
        {
            "os_name": "nt",
            "platform_machine": "AMD64",
            "platform_system": "Windows",
            "sys_platform": "win32",
        },
        ("win_amd64",),
    ),
}
"""The platforms, by the names that `make workshop PLATFORMS=…` takes."""


def resolve(target: Path) -> None:
    """Write the part of the lock that the book needs, for all platforms (needs a network)."""
    with tempfile.TemporaryDirectory() as folder:
        backend = Path(folder) / "backend.in"
        backend.write_text(f"{BUILD_BACKEND}\n")
        run(
            "uv", "pip", "compile", ROOT / "pyproject.toml", backend, "--extra", "book",
            "--constraint", LOCK, "--universal", "--generate-hashes", "--no-emit-index-url",
            "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet",
            "--output-file", target,
        )  # fmt: skip


def entries(text: str) -> Iterator[tuple[Requirement, str]]:
    """Yield each requirement of a lock, with its text and hashes."""
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        if not entry.startswith("#"):
            yield Requirement(entry.partition("\\")[0]), entry


def applies(requirement: Requirement, platform: Platform, python: str) -> bool:
    """Return whether a requirement of the lock is one for this platform and Python."""
    environment = platform.markers | {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_full_version": f"{python}.9",
        "python_version": python,
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def download(
    requirements: Path, folder: Path, platforms: Iterable[str], pythons: Iterable[str]
) -> Path:
    """Download the wheels, build those that nobody publishes, and return what pip installs them by.

    Parameters
    ----------
    requirements : pathlib.Path
        What `resolve` has written.
    folder : pathlib.Path
        Where the wheels go.
    platforms : iterable of str
        Keys of `PLATFORMS`.
    pythons : iterable of str
        Versions, such as "3.12".

    Returns
    -------
    pathlib.Path
        A file of requirements in the folder, with the hash of each wheel.
    """
    pythons = list(pythons)
    text = requirements.read_text()
    for name in platforms:
        for python in pythons:
            kept = [e for r, e in entries(text) if applies(r, PLATFORMS[name], python)]
            _download("\n".join(kept), folder, PLATFORMS[name].tags, python)
    return folder
