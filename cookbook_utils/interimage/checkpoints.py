"""The state of a fit, on disk after each iteration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class State(NamedTuple):
    """What the next iteration needs."""

    centers: np.ndarray
    """(k, bands) float64, after the last iteration."""
    labeled_by: np.ndarray
    """(k, bands) float64, the centers that the labels are of: one iteration older."""
    sums: np.ndarray
    """(k, bands) int64, sum of the pixels of each label, in fixed point."""
    counts: np.ndarray
    """(k,) int64, their number."""
    changed: list[float]
    """Share of the pixels that changed, for each iteration."""
    criterion: float
    """What is held against ``tol``."""


def save(path: str | os.PathLike[str], state: State, problem: dict[str, Any]) -> None:
    """Write `state` whole or not at all, with what the fit is about."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.tmp")
    with open(unfinished, "wb") as file:
        np.savez(file, **state._asdict(), **_described(problem))
    os.replace(unfinished, path)


def load(path: str | os.PathLike[str], problem: dict[str, Any]) -> State:
    """Read a state, or raise ValueError if the file is none or not of the same fit."""
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = dict(file)
        state = State(*(stored.pop(name) for name in State._fields))
    except (ValueError, KeyError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a checkpoint of inter-image k-means: {error}") from error
    described = _described(problem)
    other = [
        name.removeprefix("problem_")
        for name in described
        if name not in stored or not np.array_equal(stored[name], described[name])
    ]
    if other:
        raise ValueError(
            f"{path} is the checkpoint of another fit: it differs in {', '.join(other)}; "
            "remove it, or name another file"
        )
    return state._replace(changed=state.changed.tolist(), criterion=float(state.criterion))


def _described(problem: dict[str, Any]) -> dict[str, np.ndarray]:
    plain = (int, float, np.ndarray)
    return {
        f"problem_{name}": np.asarray(value if isinstance(value, plain) else str(value))
        for name, value in problem.items()
    }
