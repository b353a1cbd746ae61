"""Measure memory and CPU time of each chapter, and the memory of a JupyterLab server beside it.

What it writes, `chapters.json`, goes into the page about servers by ``python -m workshop.hub``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient

from benchmarks._machine import about
from cookbook_utils._files import replacing
from cookbook_utils.datasets import DATA_FOLDER
from cookbook_utils.datasets.files import is_at_hand, read_registry
from workshop.learner import CHAPTERS

RESULT = Path(__file__).parent / "chapters.json"
# The kernel and the processes that it has waited for.
CPU_SECONDS = "import os; print(sum(os.times()[:4]))"


def memory(root: psutil.Process) -> int:
    """Return the bytes that a process and its descendants hold, shared ones divided."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            info = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(info, "pss", info.uss)
    return total


class MemoryWatch(threading.Thread):
    """Follow the memory of a kernel and of every process that it starts, until told to stop."""

    def __init__(self, client: NotebookClient) -> None:
        super().__init__(daemon=True)
        self.client, self.peak, self.stopped = client, 0, threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.2):
            if (pid := getattr(getattr(self.client.km, "provisioner", None), "pid", None)) is None:
                continue
            try:
                self.peak = max(self.peak, memory(psutil.Process(pid)))
            except psutil.NoSuchProcess:
                continue


def measure_chapter(path: Path) -> dict:
    """Execute a chapter, and return its CPU seconds and peak memory."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(CPU_SECONDS))
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    watch = MemoryWatch(client)
    watch.start()
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as nothing_compiled:
            client.execute(env={**os.environ, "NUMBA_CACHE_DIR": nothing_compiled})
    finally:
        watch.stopped.set()
        watch.join()
    return {
        "chapter": path.stem,
        "cpu_seconds": round(float(notebook.cells[-1].outputs[0]["text"]), 1),
        "wall_seconds": round(time.perf_counter() - start, 1),
        "peak_memory_mb": round(watch.peak / 1e6),
    }


def measure_server() -> int:
    """Return the MB that a JupyterLab server holds, ten seconds after its start."""
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--allow-root"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(10)
        return round(memory(psutil.Process(server.pid)) / 1e6)
    finally:
        server.terminate()
        server.wait(30)


def read() -> dict[str, Any] | None:
    """Return what was measured last, or None if nothing was."""
    return json.loads(RESULT.read_text()) if RESULT.exists() else None


def main() -> None:
    """Measure the chapters, and store the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", type=Path, default=CHAPTERS, help="notebooks")
    options = parser.parse_args()
    result = about(("dask", "numpy", "scikit-learn", "xarray"))
    real = all(is_at_hand(dataset, file) for dataset, file in read_registry(DATA_FOLDER))
    result |= {"real_images": real, "rows": []}
    for path in options.chapters:
        row = measure_chapter(path)
        print("{cpu_seconds:7.1f} s of CPU, {peak_memory_mb:5d} MB, {chapter}".format_map(row))
        result["rows"].append(row)
    result["server_memory_mb"] = measure_server()
    with replacing(RESULT) as unfinished:
        unfinished.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
