"""The benchmarks: the runner on tiny sizes, the form of the committed results, and what cites them."""

from __future__ import annotations

import inspect
import json
import re
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import _machine, _report, _runner
from benchmarks.__main__ import main
from benchmarks._comparison import Call, Comparison

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
result = pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
script = pytest.mark.parametrize("name", _runner.NAMES)


# -- the scripts ----------------------------------------------------------------------------------


@script
def test_a_script_declares_comparisons_of_ours_with_peers_at_three_sizes(name):
    module = _runner.script(name)
    assert inspect.getdoc(module) and module.PACKAGES
    titles = [comparison.title for comparison in module.COMPARISONS]
    assert titles and len(set(titles)) == len(titles)
    for comparison in module.COMPARISONS:
        assert comparison.ours and comparison.peers
        assert not set(comparison.ours) & set(comparison.peers)
        for sizes in (comparison.sizes, comparison.full_sizes):
            assert len(sizes) >= 3 and list(sizes) == sorted(set(sizes))
        for call in comparison.calls().values():
            assert (call.largest is None) == (call.why == "")


def test_the_readme_lists_every_script():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) == set(_runner.NAMES)


# -- the runner -----------------------------------------------------------------------------------
# Its processes import this module as they import a script.


def double(n: int, folder: Path):
    number = int((folder / "input.txt").read_text())
    return lambda: {"result": np.full(3, 2.0 * number), "iterations": 2}


def wrong(n: int, folder: Path):
    return lambda: {"result": np.full(3, 2.0 * n + 1), "seconds": 1e6}


def absent(n: int, folder: Path):
    raise ImportError("no module named peer")


def never(n: int, folder: Path):
    raise AssertionError("called at a size above its largest")


def write_number(n: int, folder: Path) -> None:
    (folder / "input.txt").write_text(str(n))


def allocate(n: int, folder: Path):
    return lambda: {"bytes": np.ones(n, np.uint8).nbytes}


PACKAGES = ("numpy", "a-package-that-is-not-installed")
COMPARISONS = [
    Comparison(
        "numbers",
        unit="numbers",
        sizes=(1, 20, 300),
        full_sizes=(10, 200, 3000),
        ours={"double": double},
        peers={
            "wrong": Call(wrong, rounds=1),
            "absent": absent,
            "never": Call(never, largest=-1, why="too large"),
        },
        warm_up=-1,
        write=write_number,
        rounds=2,
    ),
    Comparison(
        "bytes",
        unit="bytes",
        sizes=(1, 2, 3),
        full_sizes=(10_000_000, 50_000_000, 90_000_000),
        ours={"allocate": allocate},
        peers={"allocate again": allocate},
        warm_up=1,
        rounds=1,
    ),
]


@pytest.fixture
def as_script(monkeypatch):
    """Let the runner and its processes take this module for the script "example"."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}", prepend=":")
    monkeypatch.setattr(_runner, "script", script_or_example)
    monkeypatch.setattr(_runner, "NAMES", ["example"])
    monkeypatch.setattr(_machine, "commit", lambda: "0123456789ab")


def script_or_example(name: str) -> types.ModuleType:
    import tests.test_benchmarks as module

    return module


@pytest.fixture(scope="module")
def rows(tmp_path_factory): ...
