"""Compare `stack_pixels` with xarray's plain stack, the result of which is the same table.

xarray's stack is followed by what `stack_pixels` does as well: pixels without data are dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._comparison import Comparison
from benchmarks._pixels import make_scene

PACKAGES = ("numpy", "pandas", "xarray")


def make_input(n: int) -> Any:
    """Return a scene one pixel in a hundred of which is nodata."""
    scene = make_scene(n)
    scene.values.reshape(6, -1)[:, ::100] = np.nan
    return scene


def ours(n: int, folder: Path) -> Any:
    from cookbook_utils.stacking import stack_pixels

    scene = make_input(n)
    return lambda: {"result": stack_pixels(scene).transpose("pixel", "band").values}


def plain(n: int, folder: Path) -> Any:
    scene = make_input(n)

    def call() -> dict:
        table = scene.stack(pixel=("y", "x")).transpose("pixel", "band").dropna("pixel")
        return {"result": table.values}

    return call


COMPARISONS = [
    Comparison(
        "a scene of 6 bands to a table",
        unit="pixels",
        sizes=(250_000, 1_000_000, 4_000_000),
        full_sizes=(1_000_000, 4_000_000, 49_000_000),
        ours={"stack_pixels": ours},
        peers={"xarray, stack and dropna": plain},
        warm_up=10_000,
    )
]
