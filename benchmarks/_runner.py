"""Measure the comparisons of a script: each call in a process of its own, all of them in turn."""

from __future__ import annotations

import importlib
import multiprocessing
import pkgutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks._comparison import Comparison
from benchmarks._machine import IDLE, Others, about, memory

NAMES = sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])
               if not m.name.startswith("_"))  # fmt: skip
"""The scripts of this folder.

A script defines ``COMPARISONS`` and the ``PACKAGES`` whose versions matter. It may define
``why_not()``, which returns what it needs and this machine lacks, and ``device()``, which returns
more about the machine.
"""


def measure(
    module: ModuleType,
    *,
    mode: str = "bench",
    rounds: int | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure all comparisons of a script, and return the content of its result file.

    Parameters
    ----------
    module : module
        A script.
    mode : {"bench", "full", "trial"}, default "bench"
        Sizes to take: those of ``make bench``, of ``make bench-full`` or a tiny one.
    rounds : int, optional
        How often each call is made at most.
    tell : callable, default print
        Takes a line for each row.
    """
    head = about(module.PACKAGES) | getattr(module, "device", dict)() | {"mode": mode}
    others, rows = Others(), []
    for number, comparison in enumerate(module.COMPARISONS):
        for size in comparison.sizes_of(mode):
            check = not rows or rows[-1]["comparison"] != comparison.title
            for row in measure_size(module, number, size, rounds, check):
                rows.append(row)
                tell(line(row))
    used = others.cores()
    return head | {"cores_used_by_others": used, "idle": used <= IDLE, "rows": rows}


def measure_size(
    module: ModuleType, number: int, size: int, rounds: int | None, check: bool
) -> list[dict[str, Any]]:
    """Measure one comparison at one size; with `check`, compare the results, too."""
    comparison: Comparison = module.COMPARISONS[number]
    name = module.__name__
    rounds = rounds or comparison.rounds
    runs: dict[str, list[dict]] = {}
    reasons: dict[str, str] = {}
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if comparison.write:
            with fresh_process() as process:
                process(_write, name, number, size, folder)
        processes = {}
        for call_name, call in comparison.calls().items():
            if call.largest is not None and size > call.largest:
                reasons[call_name] = call.why
                continue
            process = stack.enter_context(fresh_process())
            try:
                process(_prepare, name, number, call_name, size, folder)
            except Exception as error:  # that a peer fails is a result, too
                if call_name in comparison.ours:
                    raise
                reasons[call_name] = f"{type(error).__name__}: {str(error)[:200]}"
                continue
            processes[call_name] = process
            runs[call_name] = []
        for turn in range(rounds):
            for call_name, process in processes.items():
                if turn < (comparison.calls()[call_name].rounds or rounds):
                    run = process(_run, check)
                    results[call_name] = run.pop("result", None)
                    runs[call_name].append(run)
    return list(_rows(comparison, size, runs, reasons, results))


def _rows(
    comparison: Comparison,
    size: int,
    runs: Mapping[str, list[dict]],
    reasons: Mapping[str, str],
    results: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    first = next(iter(comparison.ours))
    own = min(run["seconds"] for run in runs[first])
    for name in comparison.calls():
        row = {"comparison": comparison.title, "call": name, "ours": name in comparison.ours,
               "size": size, "unit": comparison.unit, "timed": comparison.timed}  # fmt: skip
        if name in reasons:
            yield row | {"not_run": reasons[name]}
            continue
        seconds = [run["seconds"] for run in runs[name]]
        best = min(runs[name], key=lambda run: run["seconds"])
        if (result := results.get(name)) is not None and name != first:
            away = np.nanmax(np.abs(result - results[first]))
            row["largest_difference_from_ours"] = float(f"{away:.3g}")
        yield (
            row
            | best
            | {
                "seconds": [float(f"{s:.4g}") for s in seconds],
                "best": float(f"{min(seconds):.4g}"),
                "spread": round(max(seconds) / min(seconds), 2),
                "times_as_long_as_ours": float(f"{min(seconds) / own:.3g}"),
                "peak_memory_mb": max(run["peak_memory_mb"] for run in runs[name]),
            }
        )


def line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of text."""
    what = f"{row['comparison']}, {row['size']:,} {row['unit']}: {row['call']}"
    if "not_run" in row:
        return f"{'not run':>36}  {what}: {row['not_run']}"
    return (f"{row['best']:10.4g} s {row['times_as_long_as_ours']:8.3g} × "
            f"{row['peak_memory_mb']:10,} MB  {what}")  # fmt: skip


@contextmanager
def fresh_process() -> Iterator[Callable[..., Any]]:
    """Yield a function that makes calls in a new interpreter, which ends after the block."""
    # An executor raises if the process is killed for lack of memory; Pool.apply would never return.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        yield lambda function, *args: executor.submit(function, *args).result()


# -- within the process of a call ----------------------------------------------------------------

_call: Callable[[], Mapping[str, Any] | None]


def _write(name: str, number: int, size: int, folder: str) -> None:
    importlib.import_module(name).COMPARISONS[number].write(size, Path(folder))


def _prepare(name: str, number: int, call_name: str, size: int, folder: str) -> None:
    """Make the call once on little data, then make its input."""
    global _call
    comparison = importlib.import_module(name).COMPARISONS[number]
    prepare = comparison.calls()[call_name].prepare
    with tempfile.TemporaryDirectory() as small:
        if comparison.write:
            comparison.write(comparison.warm_up, Path(small))
        prepare(comparison.warm_up, Path(small))()
    _call = prepare(size, Path(folder))


def _run(with_result: bool) -> dict[str, Any]:
    with memory() as used:
        start = time.perf_counter()
        found = dict(_call() or {})
        seconds = time.perf_counter() - start
    if not with_result:
        found.pop("result", None)
    return {"seconds": seconds} | found | used
