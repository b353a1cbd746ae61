"""The iterations of a fit: Lloyd steps with a stopping rule, empty clusters and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cookbook_utils.interimage import checkpoints
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores
from cookbook_utils.interimage.engines import Engine
from cookbook_utils.interimage.lloyd import Step, lloyd_steps
from cookbook_utils.interimage.passes import Extent


@dataclass(frozen=True)
class LloydLoop:
    """The iterations of a fit until it ends; fields are parameters of `InterImageKMeans`."""

    criterion: str
    tol: float
    max_iter: int
    empty: str
    checkpoint: Any
    """Path of the checkpoint, or None."""

    def run(
        self,
        engine: Engine,
        n_pixels: int,
        fixed_point: FixedPoint,
        start: np.ndarray,
        extent: Extent,
        problem: dict[str, Any] | None,
    ) -> checkpoints.State:
        """Return the state after the last iteration.

        Parameters
        ----------
        engine : Engine
            The pixels, without labels.
        n_pixels : int
            Number of valid pixels in `engine`.
        fixed_point : FixedPoint
            Conversion of pixels to the integers that are summed.
        start : numpy.ndarray of float64 (k, bands)
            Centers of the first iteration, unless there is a checkpoint.
        extent : Extent
            Range of all pixels, the unit of the criterion "shift".
        problem : dict or None
            Everything that determines the iterations, for the checkpoint; None without one.

        Returns
        -------
        checkpoints.State
            Centers and all iterations.
        """
        state = self._resume(start, problem)
        if self._is_done(state):
            return state
        labeled = None
        if state.iterations:  # restore the labels of the last iteration
            labeled = engine.assign(fixed_point, Scores.of(state.previous_centers, engine.dtype))
        diagonal = float(np.linalg.norm(extent.high - extent.low)) or 1.0
        for step in lloyd_steps(engine, fixed_point, state.centers, labeled):
            refilled = self.empty == "farthest" and _refill(engine, fixed_point, step)
            shift = float(np.linalg.norm(step.centers - step.previous_centers, axis=1).max())
            iteration = checkpoints.Iteration(step.n_changed / n_pixels, shift / diagonal, refilled)
            iterations = [*state.iterations, iteration]
            state = checkpoints.State(step.centers, step.previous_centers, iterations)
            if problem is not None:
                checkpoints.save(self.checkpoint, state, problem)
            if self._is_done(state):
                break
        return state

    def _resume(self, start: np.ndarray, problem: dict[str, Any] | None) -> checkpoints.State:
        """Return the state to continue from: that of the checkpoint, if there is one."""
        stored = None if problem is None else checkpoints.load(self.checkpoint, problem)
        if stored is None:
            return checkpoints.State(start, start, [])
        # If this fit would have ended earlier, it would have found other centers.
        for number, iteration in enumerate(stored.iterations[:-1], start=1):
            if self._ends(number, iteration):
                raise ValueError(
                    "checkpoint must have no more iterations than this fit, which ends after "
                    f"iteration {number} by its max_iter, tol and criterion, got {self.checkpoint} "
                    f"after iteration {len(stored.iterations)}: raise max_iter, lower tol, remove "
                    "the file, or name another file"
                )
        return stored

    def _is_done(self, state: checkpoints.State) -> bool:
        iterations = state.iterations
        return bool(iterations) and self._ends(len(iterations), iterations[-1])

    def _ends(self, number: int, iteration: checkpoints.Iteration) -> bool:
        """Return whether the iteration of this number, from 1, is the last one."""
        value = iteration.changed if self.criterion == "changed" else iteration.shift
        converged = (value < self.tol or iteration.changed == 0) and not iteration.refilled
        return converged or number >= self.max_iter


def _refill(engine: Engine, fixed_point: FixedPoint, step: Step) -> bool:
    """Move the first center without pixels to the farthest pixel; return whether one moved."""
    empty = np.flatnonzero(step.counts == 0)
    if not empty.size:
        return False
    distances = engine.sum_squared_distances(fixed_point, step.centers)
    if distances.largest > 0:
        step.centers[empty[0]] = distances.farthest
    return bool(distances.largest > 0)
