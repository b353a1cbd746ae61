"""One thread for products of small matrices, whoever else computes at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_open: dict[str, Any] = {"blocks": 0, "limit": None}


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread while the block runs, in any thread of this process.

    The limit of threadpoolctl is one of the whole process. If two blocks in two threads set it by
    themselves, the one that ends last restores what it found: the limit of the other, for good. So
    the first block that opens sets it, and the last one that ends restores it.
    """
    from threadpoolctl import threadpool_limits

    with _lock:
        if _open["blocks"] == 0:
            _open["limit"] = threadpool_limits(1)
        _open["blocks"] += 1
    try:
        yield
    finally:
        with _lock:
            _open["blocks"] -= 1
            if _open["blocks"] == 0:
                _open["limit"].restore_original_limits()
