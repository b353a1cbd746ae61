"""Measure the package beside its peers, and write the results, a table and a figure.

python -m benchmarks                      all scripts, as `make bench` does
python -m benchmarks --full               at larger sizes, as `make bench-full` does
python -m benchmarks regrid --rounds 5    one of them
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

from benchmarks import _report, _runner
from benchmarks._machine import IDLE, cores_in_use


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("scripts", nargs="*", metavar="script",
                        help=f"default all: {', '.join(_runner.NAMES)}")  # fmt: skip
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--full", dest="mode", action="store_const", const="full", default="bench",
                      help="take the sizes of bench-full")  # fmt: skip
    mode.add_argument("--trial", dest="mode", action="store_const", const="trial",
                      help="take a tiny size, which shows that it runs")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="how often each call is made at most")
    parser.add_argument("--busy", action="store_true", help="measure on a busy machine, too")
    options = parser.parse_args(arguments)
    if unknown := set(options.scripts) - set(_runner.NAMES):
        there_are = f"there are {', '.join(_runner.NAMES)}"
        parser.error(f"no script {', '.join(sorted(unknown))}: {there_are}")
    if not options.busy and (used := cores_in_use()) > IDLE:
        print(f"Others use {used} cores of this machine. Wait until it is idle, or add --busy, "
              "which marks the results.", file=sys.stderr)  # fmt: skip
        return 1
    for name in options.scripts or _runner.NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        if reason := getattr(module, "why_not", lambda: None)():
            print(f"{name} is not measured: {reason}")
            continue
        start = time.perf_counter()
        result = _runner.measure(module, mode=options.mode, rounds=options.rounds)
        path = _report.write(name, result)
        print(f"{path}: {time.perf_counter() - start:.0f} s", flush=True)
    _report.write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
