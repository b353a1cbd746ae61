"""Machine code on disk: other processes load it, and never that of another function."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cookbook_utils import _compiling
from cookbook_utils._compiling import jit

SCRIPT = """
import json, sys
from cookbook_utils._compiling import jit

def make(n):
    @jit
    def inner(x):
        return x * n if x > 0 else x - n

    @jit(cache=True)
    def outer(x):
        return inner(x) + inner(-x)

    return outer

functions = [make(int(n)) for n in sys.argv[1:]]
results = [function(2) for function in functions]
print(json.dumps([[r, f.stats.cache_hits.total()] for r, f in zip(results, functions)]))
"""


def run(folder, *numbers):
    """Compile or load a function for each number in a new process; return results and loads."""
    path = folder / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, path, *map(str, numbers)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.slow  # several processes that import Numba
def test_processes_share_machine_code_and_confuse_none(tmp_path):
    # All functions have the same name, and the processes number them in another order.
    assert run(tmp_path, 1, 2, 3) == [[-1, 0], [0, 0], [1, 0]]
    assert run(tmp_path, 4, 2, 1, 5) == [[2, 0], [0, 1], [-1, 1], [3, 0]]
    assert run(tmp_path, 5, 4, 3, 2) == [[3, 1], [2, 1], [1, 1], [0, 1]]


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"no machine code"])
def test_damaged_files_are_written_anew(tmp_path, content):
    run(tmp_path, 1)
    (path,) = tmp_path.glob("*/*.nbc")
    path.write_bytes(content)
    assert run(tmp_path, 1) == [[-1, 0]]
    assert run(tmp_path, 1) == [[-1, 1]]


def make(n=1, power=2, kind=np.float32):
    """Return a function that calls one with other constants; neither is compiled before a call."""
    half = kind(0.5)

    @jit
    def inner(x):
        return half * x**power

    @jit(cache=True)
    def outer(x):
        return inner(x) + n

    return outer


def name(*args, **kwargs):
    return make(*args, **kwargs).py_func.__qualname__


def test_names_say_what_functions_compute():
    names = [name(), name(n=2), name(n=True), name(n=1.0), name(power=3), name(kind=np.float64)]
    assert len(set(names)) == len(names)
    assert name() == names[0]


def global_factor(x):
    return x * FACTOR


FACTOR = 2


def test_names_say_the_value_of_globals(monkeypatch):
    before = _compiling._digest(global_factor)
    monkeypatch.setitem(globals(), "FACTOR", 3)
    assert _compiling._digest(global_factor) != before


def test_names_depend_on_the_options():
    def function(x):
        return x * x + 1

    digests = [_compiling._digest(function, options) for options in ({}, {"fastmath": True})]
    assert digests[0] != digests[1]


def test_names_depend_on_the_instructions():
    def one(x):
        return x + 1

    def two(x):
        return x + 2

    def three(x):
        return x - 1

    for function in one, two, three:
        function.__qualname__ = "f"
    assert len({_compiling._digest(function) for function in (one, two, three)}) == 3


def test_what_cannot_be_described_is_refused():
    table = np.zeros(3)
    with pytest.raises(TypeError, match="`table`"):

        @jit
        def function(x):
            return table[x]


def test_functions_are_compiled_where_nothing_can_be_stored(monkeypatch):
    from numba.core.caching import CompileResultCacheImpl

    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])
    assert make()(2) == 3


def test_a_full_disk_is_no_error(monkeypatch, tmp_path):
    import numba
    from numba.core.caching import IndexDataCacheFile

    def full(self, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(IndexDataCacheFile, "_save_data", full)
    assert make(n=7)(2) == 9
