"""CUDA without a GPU: kernels compiled for the host, and a stand-in for CuPy that launches them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from cookbook_utils.interimage import cupy_kernels

HAS_GPU = cupy_kernels.why_unavailable() is None
"""Whether there are CuPy and a GPU, which are then used instead of the stand-in."""

NO_STAND_IN = (
    None
    if shutil.which("g++") and sys.platform == "linux"
    else "needs g++ on Linux, which compiles the CUDA source for the host"
)
"""Why there is no stand-in for CuPy here, or None."""

NO_CUPY = None if HAS_GPU else NO_STAND_IN
"""Why there is neither CuPy with a GPU nor its stand-in here, or None."""


@contextmanager
def stand_in() -> Iterator[ModuleType | None]:
    """Make ``import cupy`` import the stand-in, unless there is a GPU with CuPy; yield the module.

    Where neither can be used, yield None and change nothing.
    """
    if NO_CUPY:
        yield None
        return
    if HAS_GPU:
        import cupy

        yield cupy
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
