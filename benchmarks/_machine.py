"""The machine: what it is, whether others use it, and how much memory processes take."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

IDLE = 0.25
"""Cores that others may use while a machine still counts as idle."""


def about(packages: Iterable[str]) -> dict[str, Any]:
    """Return command, commit, date, machine and versions, the head of a result.

    Parameters
    ----------
    packages : iterable of str
        Distributions whose versions matter; those that are not installed are left out.
    """
    program = Path(sys.argv[0])
    package = program.parent.name
    module = package if program.stem == "__main__" else f"{package}.{program.stem}"
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "device": f"{cpu_model()}, {os.cpu_count()} cores",
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "versions": versions(packages),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit that is checked out, and whether the code differs from it."""
    root = Path(__file__).parents[1]
    code = ["--", "cookbook_utils", "benchmarks", ":!benchmarks/results"]
    try:
        head = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], cwd=root)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", *code], cwd=root).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.decode().strip() + (" with changes" if changed else "")


def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Others:
    """Count the cores that other processes use from here on."""

    def __init__(self) -> None:
        self.start = self._clocks()

    @staticmethod
    def _clocks() -> tuple[float, float, float]:
        spent, own = psutil.cpu_times(), os.times()
        busy = sum(spent) - spent.idle - getattr(spent, "iowait", 0)
        busy -= getattr(spent, "guest", 0) + getattr(spent, "guest_nice", 0)  # counted as user, too
        return time.perf_counter(), busy, sum(own[:4])

    def cores(self) -> float:
        """Return the mean number of cores in use by others; own processes must have ended."""
        seconds, busy, own = (b - a for a, b in zip(self.start, self._clocks(), strict=True))
        return round(max(0.0, (busy - own) / seconds), 2)


def cores_in_use(seconds: float = 2) -> float:
    """Return how many cores others use now, as seen over some seconds."""
    others = Others()
    time.sleep(seconds)
    return others.cores()


@contextmanager
def memory() -> Iterator[dict[str, int]]:
    """Yield a dict that holds the memory of this process and its children, in MB, after the block.

    ``peak_memory_mb`` is the peak resident memory within the block, that of children added, and
    ``memory_before_mb`` the resident memory at its start. Linux only.
    """
    # The peak of getrusage includes memory from before the block, even of the parent process.
    try:
        for pid in _family():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError as error:
        message = f"peak memory needs Linux's /proc/self/clear_refs; this is {platform.system()}"
        raise OSError(f"{message}: {error}") from error
    used: dict[str, int] = {}
    before = _resident("VmRSS")
    yield used
    used |= {"peak_memory_mb": _resident("VmHWM"), "memory_before_mb": before}


def _family() -> list[int]:
    me = psutil.Process()
    return [me.pid, *(child.pid for child in me.children(recursive=True))]


def _resident(mark: str) -> int:
    total = 0
    for pid in _family():
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{mark}:"))
    return round(total * 1024 / 1e6)
