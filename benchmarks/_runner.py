"""Measure the comparisons of a script: each call in a process of its own, all of them in turn."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import pkgutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
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


LARGEST_RESULT = 4_000_000
"""Numbers in a result; larger ones are not compared."""


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
        Sizes to take: those of ``make bench``, of ``make bench-full`` or a tiny one. A trial runs
        in one process, where neither times nor memory mean anything.
    rounds : int, optional
        How often each call is made at most.
    tell : callable, default print
        Takes a line for each row.
    """
    head = about(module.PACKAGES) | getattr(module, "device", dict)() | {"mode": mode}
    others, rows = Others(), []
    for number, comparison in enumerate(module.COMPARISONS):
        with Workers(module, number, apart=mode != "trial") as workers:
            workers.warm_up()
            for size in comparison.sizes_of(mode):
                for row in workers.measure(size, rounds or comparison.rounds):
                    rows.append(row)
                    tell(line(row))
    used = others.cores()
    return head | {"cores_used_by_others": used, "idle": used <= IDLE, "rows": rows}


class Workers:
    """Executors of the calls of a comparison, each with a process of its own if they are apart."""

    def __init__(self, module: ModuleType, number: int, *, apart: bool) -> None:
        self.module, self.number = module.__name__, number
        self.comparison: Comparison = module.COMPARISONS[number]
        self.calls = self.comparison.calls()
        self.reasons: dict[str, str] = {}
        """Why calls are not made, by name."""
        self.executors = {name: process() if apart else Here() for name in self.calls}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.executors):
            self._end(name)

    def warm_up(self) -> None:
        """Make each call once on little data."""
        size = self.comparison.warm_up
        with self._input(size) as folder:
            what = self.module, self.number
            self._ask(self.executors, lambda name: (_warm_up, *what, name, size, folder))

    def measure(self, size: int, rounds: int) -> list[dict[str, Any]]:
        """Make all calls in turn, and return their rows. Sizes come in ascending order."""
        for name, call in self.calls.items():
            if name in self.executors and call.largest is not None and size > call.largest:
                self._end(name, call.why)
        runs: dict[str, list[dict]] = {name: [] for name in self.calls}
        with self._input(size) as folder:
            self._ask(self.executors, lambda name: (_prepare, name, size, folder))
            for turn in range(rounds):
                for name in list(self.executors):
                    if turn < (self.calls[name].rounds or rounds):
                        runs[name] += self._ask([name], lambda name: (_run, name)).values()
        return list(_rows(self.comparison, size, runs, self.reasons))

    @contextmanager
    def _input(self, size: int) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as folder:
            if self.comparison.write:
                self.comparison.write(size, Path(folder))
            yield folder

    def _ask(self, names: Iterable[str], task: Callable[[str], tuple]) -> dict[str, Any]:
        """Give a task to workers, all at once, and return the answers of those that succeed."""
        futures = {name: self.executors[name].submit(*task(name)) for name in names}
        answers = {}
        for name, future in futures.items():
            try:
                answers[name] = future.result()
            except Exception as error:  # that a peer fails is a result, too
                if name in self.comparison.ours:
                    raise
                self._end(name, f"{type(error).__name__}: {str(error)[:200]}")
        return answers

    def _end(self, name: str, reason: str = "") -> None:
        self.executors.pop(name).shutdown()
        self.reasons[name] = reason


def _rows(
    comparison: Comparison, size: int, runs: Mapping[str, list[dict]], reasons: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    first = next(iter(comparison.ours))
    own, expected = min(run["seconds"] for run in runs[first]), runs[first][-1].get("result")
    for name, found in runs.items():
        row = {"comparison": comparison.title, "call": name, "ours": name in comparison.ours,
               "size": size, "unit": comparison.unit, "timed": comparison.timed}  # fmt: skip
        if name in reasons:
            yield row | {"not_run": reasons[name]}
            continue
        results = [run.pop("result", None) for run in found]
        if name != first and expected is not None and results[-1] is not None:
            away = float(np.nanmax(np.abs(results[-1] - expected)))
            row["largest_difference_from_ours"] = float(f"{away:.3g}")
        seconds = [run["seconds"] for run in found]
        best = min(found, key=lambda run: run["seconds"])
        yield (
            row
            | best
            | {
                "seconds": [float(f"{s:.4g}") for s in seconds],
                "best": float(f"{min(seconds):.4g}"),
                "spread": round(max(seconds) / min(seconds), 2),
                "times_as_long_as_ours": float(f"{min(seconds) / own:.3g}"),
                "peak_memory_mb": max(run["peak_memory_mb"] for run in found),
            }
        )


def line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of text."""
    what = f"{row['comparison']}, {row['size']:,} {row['unit']}: {row['call']}"
    if "not_run" in row:
        return f"{'not run':>36}  {what}: {row['not_run']}"
    return (f"{row['best']:10.4g} s {row['times_as_long_as_ours']:8.3g} × "
            f"{row['peak_memory_mb']:10,} MB  {what}")  # fmt: skip


class Here(Executor):
    """An executor that makes its calls at once, in this process."""

    def submit(self, function: Callable, /, *args: Any) -> Future:
        """Call a function, and return its result as one that has arrived."""
        future: Future = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def process() -> ProcessPoolExecutor:
    """Return an executor with one process, a new interpreter."""
    # An executor raises if its process is killed for lack of memory; a pool would wait.
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


# -- within the worker of a call -----------------------------------------------------------------

_prepare_of: dict[str, Callable[[int, Path], Callable[[], Mapping[str, Any] | None]]] = {}
_call_of: dict[str, Callable[[], Mapping[str, Any] | None]] = {}


def _warm_up(module: str, number: int, name: str, size: int, folder: str) -> None:
    """Make a call once, so that imports and compilation are not measured."""
    _prepare_of[name] = importlib.import_module(module).COMPARISONS[number].calls()[name].prepare
    _prepare_of[name](size, Path(folder))()


def _prepare(name: str, size: int, folder: str) -> None:
    """Make the input of the call."""
    _call_of.pop(name, None)  # frees the input of the size before
    gc.collect()
    _call_of[name] = _prepare_of[name](size, Path(folder))


def _run(name: str) -> dict[str, Any]:
    with memory() as used:
        start = time.perf_counter()
        found = dict(_call_of[name]() or {})
        seconds = time.perf_counter() - start
    if np.size(found.get("result")) > LARGEST_RESULT:
        del found["result"]
    return {"seconds": seconds} | found | used
