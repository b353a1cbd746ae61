"""What holds for every test, doctests included: no network, and real images if there are any."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

OFFLINE = Path(__file__).parent / "tests" / "offline"
sys.path.insert(0, str(OFFLINE))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(OFFLINE), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# Threads of OpenMP that wait for others sleep, and leave the core to another process of the tests.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import loopback_only  # noqa: E402, F401


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images that ``COOKBOOK_DATA`` names; without one the test is skipped."""
    folder = os.environ.get("COOKBOOK_DATA")
    if not folder:
        pytest.skip("needs the real images: COOKBOOK_DATA names no folder")
    if not Path(folder).is_dir():
        pytest.fail(f"COOKBOOK_DATA names {folder!r}, which is not a folder")
    return Path(folder)


# Modules and tests live to the end of the run: the garbage collector need not look at them, neither
# while they are imported nor after that.
gc.disable()


def pytest_configure(config: pytest.Config) -> None:
    """Let `make check` try fewer examples of a property than `make test`."""
    if config.option.markexpr == "not slow":
        settings.register_profile("check", max_examples=30)
        settings.load_profile("check")


def pytest_collection_finish() -> None:
    """Collect the garbage of tests, but of nothing that was there before them."""
    gc.freeze()
    gc.enable()


LONGEST = (
    "test_notebooks.py", "test_faults.py", "test_interimage.py", "test_datasets.py", "test_cli.py",
    "test_hostile.py", "test_nearest.py", "test_cupy_engine.py", "test_checkpoints.py",
    "test_simulate_insar.py", "test_simulate_coast.py", "test_views.py",
)  # fmt: skip
"""Files of tests that take longest, in the order in which they begin."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that processes of xdist end together."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
