"""Write result files of benchmarks, describe the machine, and measure the memory of a call."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def about(name: str, packages: Iterable[str]) -> dict[str, Any]:
    """Return command, date, machine, versions and the load of the machine, the head of a result.

    Call it before anything is measured.

    Parameters
    ----------
    name : str
        Module of the benchmark in this folder, such as "graph".
    packages : iterable of str
        Distributions whose installed versions matter.
    """
    return {
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "device": f"{cpu_model()}, {os.cpu_count()} cores",
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def in_fresh_process(function: Callable, *args: Any) -> Any:
    """Return ``function(*args)``, called in a new interpreter that ends afterwards."""
    # An executor raises if the process is killed for lack of memory; Pool.apply would never return.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(function, *args).result()


@contextmanager
def memory() -> Iterator[dict[str, int]]:
    """Yield a dict that holds the memory of this process, in MB, after the block.

    ``peak_memory_mb`` is the peak resident memory within the block, and
    ``of_which_before_the_call_mb`` the resident memory at its start. Linux only.
    """
    # The peak of getrusage includes memory from before the block, even of the parent process.
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        message = f"peak memory needs Linux's /proc/self/clear_refs; this is {platform.system()}"
        raise OSError(f"{message}: {error}") from error
    used: dict[str, int] = {}
    before = _resident("VmRSS")
    yield used
    used |= {"peak_memory_mb": _resident("VmHWM"), "of_which_before_the_call_mb": before}


def _resident(mark: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{mark}:"))
    return round(int(kibibytes) * 1024 / 1e6)


def read(name: str) -> dict[str, Any]:
    """Return the result of an earlier run, or an empty dict if there is none."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def write(name: str, result: dict[str, Any]) -> None:
    """Replace the result file atomically."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    unfinished = file.with_suffix(".partial")
    unfinished.write_text(json.dumps(result, indent=2) + "\n")
    unfinished.replace(file)
