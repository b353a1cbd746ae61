"""Checks of what learners fill in: they say what is wrong, and not what is right.

The learners' copies of the chapters import this module from the folder in which they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class CheckFailed(Exception):
    """What is wrong with an answer. A notebook shows the message, without the way to it."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


class Check:
    """Check one answer, condition by condition.

    Parameters
    ----------
    name : str
        Variable that the learner has assigned.
    value : object
        What it holds.

    Raises
    ------
    CheckFailed
        If the blank has not been filled in.
    """

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value
        if value is ... or value is None:
            self._fail("is still blank: put your code in the place of the three dots")

    def type(self, expected: type | tuple[type, ...]) -> None:
        """Check the type."""
        if not isinstance(self.value, expected):
            types = expected if isinstance(expected, tuple) else (expected,)
            names = " or ".join(each.__name__ for each in types)
            self._fail(f"must be of the type {names}, but is a {type(self.value).__name__}")

    def shape(self, expected: Sequence[int]) -> None:
        """Check the shape of an array."""
        if (found := np.shape(self.value)) != tuple(expected):
            self._fail(f"must have the shape {tuple(expected)}, but has {found}")

    def dims(self, *expected: str) -> None:
        """Check the names of the dimensions, and their order."""
        if (found := getattr(self.value, "dims", ())) != expected:
            self._fail(f"must have the dimensions {expected}, but has {found}")

    def dtype(self, expected: Any) -> None:
        """Check the type of the numbers in an array or table."""
        if (found := np.asarray(self.value).dtype) != np.dtype(expected):
            self._fail(f"must hold numbers of the type {np.dtype(expected)}, but holds {found}")

    def between(self, low: float, high: float) -> None:
        """Check the range of the numbers, of which some may be NaN."""
        numbers = np.asarray(self.value, dtype="float64")
        if np.isnan(numbers).all():
            self._fail("holds no number, only NaN")
        least, largest = np.nanmin(numbers), np.nanmax(numbers)
        if not (low <= least and largest <= high):
            self._fail(
                f"must lie between {low:g} and {high:g}, but goes from {least:g} to {largest:g}"
            )

    def that(self, condition: Callable[[], Any], otherwise: str) -> None:
        """Check a condition, and say what is wrong where it does not hold."""
        try:
            holds = bool(condition())
        except Exception as error:
            self._fail(f"could not be checked ({type(error).__name__}: {error}): {otherwise}")
        if not holds:
            self._fail(otherwise)

    def passed(self) -> None:
        """Say that all conditions hold."""
        print(f"{self.name}: correct")

    def _fail(self, reason: str) -> None:
        separator = " " if reason.split()[0] in VERBS else ": "
        raise CheckFailed(f"`{self.name}`{separator}{reason}") from None


VERBS = ("could", "has", "holds", "is", "lies", "must")
"""First words of a reason that continues the sentence which the name of the variable begins."""
