"""The timing loop that all benchmarks share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall-clock seconds of a call, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def own_time(call: Callable[[], Any]) -> tuple[Any, None]:
    """Return what a call measured itself, such as the seconds of each iteration, and no result."""
    return call(), None


def seconds_of_each(call: Callable[[], Any], n: int) -> list[float]:
    """Return the wall-clock seconds of each of `n` calls."""
    return [timed(call)[0] for _ in range(n)]


def in_turn(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    measure: Callable[[Callable[[], Any]], tuple[Any, Any]] = timed,
) -> tuple[dict[str, list], dict[str, Any]]:
    """Make all calls in turn, round after round, so that a change of load affects all of them.

    Parameters
    ----------
    calls : mapping of str to callable
        The calls, by name.
    rounds : int
        How often each call is made.
    measure : callable, default timed
        Makes a call, and returns its time and its result.

    Returns
    -------
    times : dict of str to list
        The time of each call in each round.
    results : dict of str to object
        The result of each call in the last round.
    """
    times: dict[str, list] = {name: [] for name in calls}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, call in calls.items():
            results.pop(name, None)  # frees the memory before the next call
            spent, results[name] = measure(call)
            times[name].append(spent)
    return times, results
