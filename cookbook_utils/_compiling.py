"""Functions compiled by Numba once for all processes of a machine: workers, notebooks, commands.

Numba's own cache cannot hold the kernels of this package. They call other compiled functions, which
it pickles into its keys with an identity that is new in each process; and it does not see that a
function called in another file has changed. Machine code from its files also keeps the symbols of
the process that wrote it, so that a kernel for 5 bands that is loaded could take the place of one
for 6 bands that is compiled. Here the name of a function contains a digest of all that determines
its code: options, instructions and constants of the function and of those that it calls.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np


def jit(function: Callable | None = None, *, cache: bool = False, **options: Any) -> Any:
    """Compile a function by Numba, as `numba.njit` does.

    Parameters
    ----------
    function : callable, optional
        The function. Without it, a decorator is returned.
    cache : bool, default False
        Whether to store the machine code on disk, in the folder that ``NUMBA_CACHE_DIR`` names, in
        ``__pycache__`` beside the source or in the cache of the user. Only functions that Python
        calls need it, because their code contains that of the functions they call.
    **options
        Other options of `numba.njit`.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
        The compiled function.
    """
    import numba

    if function is None:
        return functools.partial(jit, cache=cache, **options)
    function.__qualname__ += f"_{_digest(function, options)}"
    compiled = numba.njit(**options)(function)
    if cache:
        with contextlib.suppress(RuntimeError):  # no folder can be written
            compiled._cache = _cache_class()(function)
    return compiled


def _digest(function: types.FunctionType, options: Mapping[str, Any] | None = None) -> str:
    """Return the digest of the code of a function, and of all that its names refer to."""
    code, module = function.__code__, function.__globals__
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    content, names = _content(code)
    refers_to = {name: module[name] for name in names if name in module}
    refers_to |= dict(zip(code.co_freevars, cells, strict=True))
    described = [(name, _describe(name, value)) for name, value in sorted(refers_to.items())]
    whole = function.__qualname__, sorted((options or {}).items()), content, described
    return sha256(repr(whole).encode()).hexdigest()[:16]


def _content(code: types.CodeType) -> tuple[list, set[str]]:
    """Return instructions and constants of a function and of those defined in it, and all names."""
    content, names = [code.co_code, code.co_names, code.co_varnames], set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            constant, more = _content(constant)
            names |= more
        content.append(constant)
    return content, names


def _describe(name: str, value: Any) -> str:
    """Return a text of the value of a name, which is the same in every process."""
    from llvmlite import ir
    from numba.core.dispatcher import Dispatcher
    from numba.extending import _Intrinsic

    if isinstance(value, Dispatcher):
        return value.py_func.__qualname__
    if isinstance(value, _Intrinsic):
        return _digest(value._defn)
    if isinstance(value, types.FunctionType):
        return _digest(value)
    if isinstance(value, types.ModuleType | type):
        return value.__name__
    if isinstance(value, bool | int | float | str | np.generic | ir.Type):
        return f"{type(value).__name__} {value!r}"
    kinds = "numbers, strings, modules, types and functions"
    raise TypeError(f"a compiled function may refer to {kinds}, got `{name}` of {type(value)}")


@functools.cache
def _cache_class() -> type:
    """Return the class of Numba's cache, with a file for each function and signature."""
    import numba
    from numba.core.caching import FunctionCache

    class Cache(FunctionCache):
        """Machine code of functions that their names identify.

        Numba numbers its files, and two processes that write at a time can give both the same
        number. These files have the digest of their key in their names.
        """

        def _load_overload(self, signature, target_context):
            name = self._file_name(signature, target_context.codegen())
            try:
                return self._impl.rebuild(target_context, self._cache_file._load_data(name))
            except Exception:  # of any kind if the file is damaged; it is compiled and written anew
                return None

        def _save_overload(self, signature, data):
            if self._impl.check_cachable(data):
                name = self._file_name(signature, data.codegen)
                with contextlib.suppress(OSError):  # the disk is full
                    self._cache_file._save_data(name, self._impl.reduce(data))

        def _file_name(self, signature, codegen):
            key = numba.__version__, signature, codegen.magic_tuple()  # which names the processor
            return f"{self._impl.filename_base}.{sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    return Cache
