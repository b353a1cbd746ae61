"""CUDA without a GPU: kernels compiled for the host, and a stand-in for CuPy that launches them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from cookbook_utils.interimage import cupy_kernels

NO_STAND_IN = (
    None
    if shutil.which("g++") and sys.platform == "linux"
    else "no g++ on Linux, which compiles the CUDA source for the stand-in of a GPU"
)
"""Why there is no stand-in here, or None."""


@contextmanager
def stand_in() -> Iterator[ModuleType | None]:
    """Let ``import cupy`` give the stand-in; give None, and change nothing, if there is none."""
    if NO_STAND_IN:
        yield None
        return
    from . import cupy, cupyx

    names = {"cupy": cupy, "cupy.cuda": cupy.cuda, "cupyx": cupyx}
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.modules.update(names)
    cupy_kernels._compiled.cache_clear()
    try:
        yield cupy
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)
        cupy_kernels._compiled.cache_clear()
