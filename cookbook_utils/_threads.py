"""A limit of one BLAS thread that several threads of the process can set at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_active: dict[str, Any] = {"blocks": 0, "limit": None}  # blocks that run, and their common limit


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS and OpenMP to one thread while the block runs.

    Use it for products of small matrices, which more threads make slower, and where a sum must not
    depend on the number of cores. The limit of threadpoolctl holds for the whole process: if blocks
    in two threads each set and restored it, the last to end would restore the limit of the other
    one. Here the first block to start sets it, and the last block to end restores it.
    """
    from threadpoolctl import threadpool_limits

    with _lock:
        if _active["blocks"] == 0:
            _active["limit"] = threadpool_limits(1)
        _active["blocks"] += 1
    try:
        yield
    finally:
        with _lock:
            _active["blocks"] -= 1
            if _active["blocks"] == 0:
                _active["limit"].restore_original_limits()
