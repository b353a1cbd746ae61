"""What a script in this folder declares: comparisons of our calls with those of its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Prepare = Callable[[int, Path], Callable[[], Mapping[str, Any] | None]]
"""Make the input of a size, which is not timed, and return the call that is.

It is given the size and the folder that the comparison has written to. The call may return
numbers that are stored in its row. Of these, "seconds" replaces the wall-clock time, for calls that
time themselves, and "result" is an array, which is compared with that of our first call."""


@dataclass(frozen=True)
class Call:
    """A call that cannot be made at every size, or not as often as the others."""

    prepare: Prepare
    largest: int | None = None
    """Size above which the call is not made."""
    why: str = ""
    """Why it is not made there."""
    rounds: int | None = None
    """How often it is made at most."""


@dataclass(frozen=True)
class Comparison:
    """The same task done by us and by others, at three sizes or more."""

    title: str
    unit: str
    """What the size counts, such as "pixels"."""
    sizes: Sequence[int]
    """Sizes of `make bench`, ascending."""
    full_sizes: Sequence[int]
    """Sizes of `make bench-full`, ascending."""
    ours: Mapping[str, Prepare | Call]
    """Our calls by name; ratios are to the first one."""
    peers: Mapping[str, Prepare | Call]
    warm_up: int
    """Size at which each process makes its call once before it measures: imports, compilation."""
    timed: str = "a call"
    """What the seconds are of, such as "an iteration"."""
    rounds: int = 3
    write: Callable[[int, Path], None] | None = None
    """Write the input files of a size to a folder, once for all calls."""

    def sizes_of(self, mode: str) -> Sequence[int]:
        """Return the sizes of a mode: "bench", "full" or "trial"."""
        return {"bench": self.sizes, "full": self.full_sizes, "trial": (self.warm_up,)}[mode]

    def calls(self) -> dict[str, Call]:
        """Return all calls by name, ours first."""
        calls = {**self.ours, **self.peers}
        return {name: c if isinstance(c, Call) else Call(c) for name, c in calls.items()}
