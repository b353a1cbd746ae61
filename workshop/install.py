"""Install what the chapters need from the wheels beside this file, without a network.

It needs Python alone: python install.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
MADE_FOR = "Linux on x86-64, macOS 15 or newer on Apple silicon, and Windows on x86-64"


def versions_with_wheels() -> list[tuple[int, int]]:
    """Return the versions of Python that the wheels are for."""
    names = "\n".join(path.name for path in HERE.glob("wheels/numpy-*.whl"))
    return sorted({(3, int(minor)) for minor in re.findall(r"-cp3(\d+)-", names)})


def run(*command: str | Path) -> int:
    """Run a program of the new environment, without the settings of this computer for pip."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    variables |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run([str(part) for part in command], cwd=HERE, env=variables).returncode


def main() -> int:
    """Make the environment, check it, and say how to go on."""
    found = versions_with_wheels()
    if sys.version_info[:2] not in found:
        wanted = ", ".join(f"{major}.{minor}" for major, minor in found)
        print(f"The wheels are for Python {wanted}; this is Python {sys.version.split()[0]}.")
        print("Install one of these versions, and run this file with it.")
        return 1
    folder = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
    python = folder / ("python.exe" if os.name == "nt" else "python")
    print("Installing into .venv: a few minutes, 2 GB. No network is needed.", flush=True)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-index"]
    wheels = [*pip, "--find-links", "wheels", "--require-hashes", "--requirement"]
    if run(*wheels, "requirements.txt"):
        print(f"The wheels do not fit this computer: they are for {MADE_FOR}.")
        return 1
    if run(*pip, "--no-deps", "--no-build-isolation", "--editable", "."):
        return 1
    if run(folder / "satellite-clustering", "check"):
        return 1
    print("\nReady. To begin with the first chapter, run:")
    print(f"  {python.relative_to(HERE)} -m jupyterlab learner/00_introduction.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
