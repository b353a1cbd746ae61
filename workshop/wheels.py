"""Download the wheels of the book's environment for several platforms and versions of Python.

What is downloaded are the versions and hashes of `requirements.lock`, without those packages that
only development needs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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
"""The platforms, by the names that `make workshop PLATFORMS=…` takes.

Several packages of the lock have no wheels for Macs with an Intel processor.
"""


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
    """Yield each requirement of a lock, and its lines without the marker."""
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        if not entry.startswith("#"):
            stated, _, hashes = entry.partition("\\")
            yield Requirement(stated), f"{stated.partition(';')[0].strip()} \\{hashes}"


def applies(requirement: Requirement, platform: Platform, python: str) -> bool:
    """Return whether a requirement of the lock is one for this platform and Python ("3.12.0")."""
    environment = platform.markers | {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def download(requirements: Path, folder: Path, platform: Platform, python: str) -> None:
    """Download the wheels for one platform and Python (needs a network).

    Parameters
    ----------
    requirements : pathlib.Path
        What `resolve` has written. Each wheel must have one of its hashes.
    folder : pathlib.Path
        Where the wheels go.
    platform : Platform
        One of `PLATFORMS`.
    python : str
        A version of Python, such as "3.12".
    """
    # Some packages have another version for the first releases of a Python than for the later ones.
    done: set[str] = set()
    for release in (f"{python}.0", f"{python}.99"):
        # pip evaluates markers for the Python that runs it: it is given none.
        kept = {
            entry
            for requirement, entry in entries(requirements.read_text())
            if applies(requirement, platform, release)
        }
        if new := kept - done:
            _download(sorted(new), folder, platform, release)
        done |= kept


def _download(chosen: list[str], folder: Path, platform: Platform, release: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "requirements.txt"
        file.write_text("\n".join(chosen) + "\n")
        run(
            "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--only-binary", ":all:", "--require-hashes", "--implementation", "cp",
            "--python-version", release, *(f"--platform={tag}" for tag in platform.tags),
            "--dest", folder, "--requirement", file,
        )  # fmt: skip


def run(module: str, *arguments: str | Path) -> None:
    """Run a module of this environment, and end with its message if it fails."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise SystemExit("\n".join([f"{module} failed:", *errors]))
