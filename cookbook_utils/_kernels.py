"""Keep kernels that Numba compiled on disk, so that other processes do not compile them again.

Numba's own cache cannot hold a closure over other kernels: it tells them apart by random numbers.
Here a kernel is found by all that it is compiled from: its code, that of the functions that it
calls, the values that they close over, the types of the arguments, the processor, and the versions
of Python, Numba and LLVM. Each kernel is a file of its own that never changes, so that processes
can read and write them at the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

DAYS_UNUSED = 90  # after which a file is removed


def keep_on_disk(kernel: Any) -> Any:
    """Return a function compiled by Numba, which is read from disk if it was compiled before.

    Parameters
    ----------
    kernel : callable
        What ``numba.njit`` returns.

    Returns
    -------
    callable
        The same object. Without a folder that can be written, it is compiled in each process.
    """
    from numba.core.dispatcher import Dispatcher

    if isinstance(kernel, Dispatcher):  # with NUMBA_DISABLE_JIT it is a plain function
        kernel._cache = KernelFiles(_digest(kernel))
    return kernel


class KernelFiles:
    """The files of one kernel; the methods are those of Numba's caches.

    Parameters
    ----------
    digest : str
        Identifies all that the kernel is compiled from, but for the types of its arguments.
    """

    def __init__(self, digest: str) -> None:
        self._digest, self._enabled = digest, True

    @property
    def cache_path(self) -> str:
        """The folder: ``NUMBA_CACHE_DIR`` if it is set, else one of the user."""
        import numba
        from numba.misc.appdirs import user_cache_dir

        return numba.config.CACHE_DIR or user_cache_dir("cookbook_utils", False)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kernel for the types of a signature, or None if there is no sound file."""
        from numba.core.compiler import CompileResult

        target_context.refresh()
        if not self._enabled:
            return None
        path = self._path(sig, target_context.codegen())
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(content[32:]))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled kernel, unless it holds addresses of this process."""
        from numba.core.serialize import dumps

        if not self._enabled or data.library.has_dynamic_globals or data.lifted:
            return
        path, content = self._path(sig, data.codegen), dumps(data._reduce())
        with contextlib.suppress(OSError):  # the next process compiles it again
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(file.name, path)
            _remove_unused(path.parent)

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Do nothing: no file is ever out of date."""

    def _path(self, sig: Any, codegen: Any) -> Path:
        facts = repr((sig, codegen.magic_tuple(), self._digest)).encode()
        return Path(self.cache_path, f"{hashlib.sha256(facts).hexdigest()}.kernel")


def _remove_unused(folder: Path) -> None:
    oldest = time.time() - DAYS_UNUSED * 86_400
    for path in folder.glob("*.kernel"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _digest(kernel: Any) -> str:
    """Return a hash of what a kernel is compiled from."""
    import llvmlite
    import numba

    facts = [sys.version, numba.__version__, llvmlite.__version__, *_sources(kernel, set())]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _sources(value: Any, seen: set[int]) -> Iterator[str]:
    """Yield texts that differ if a function, or anything that it refers to, differs."""
    options = getattr(value, "targetoptions", {})  # of a function compiled by Numba
    yield repr(sorted(options.items(), key=str))
    function = getattr(value, "py_func", getattr(value, "_defn", value))  # or of an intrinsic
    if isinstance(function, ModuleType):
        yield function.__name__
    elif not isinstance(function, FunctionType):
        yield repr(function)  # an address in it would only make the file useless
    elif id(function) not in seen:
        seen.add(id(function))
        names: list[str] = []
        yield from _code(function.__code__, names)
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        found = [function.__globals__[name] for name in names if name in function.__globals__]
        for other in [*cells, *found, *(function.__defaults__ or ())]:
            yield from _sources(other, seen)


def _code(code: CodeType, names: list[str]) -> Iterator[str]:
    """Yield a text of code and of code in it, and append the names that it looks up."""
    names += code.co_names
    constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
    yield repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant, names)
