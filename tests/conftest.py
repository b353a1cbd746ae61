"""Fixtures that tests share: maps for figures and views, and the browser for the book."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr

from .factories import make_labels

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]


@pytest.fixture
def labels() -> xr.DataArray:
    """Return a map of four classes in stripes, with one pixel that is nodata."""
    values = np.repeat(np.arange(4), 30).reshape(12, 10)
    values[0, 0] = 255
    return make_labels(values, step=150.0, left=350_000.0)


@pytest.fixture
def change(labels: xr.DataArray) -> xr.DataArray:
    """Return the map with the classes of `change_map`."""
    flags = {"flag_values": [0, 1, 2, 3], "flag_meanings": "land water lost gained"}
    return labels.assign_attrs(flags)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without network. Only for one module: its event loop would get in others' way."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        message = f"no browser found: none of {', '.join(BROWSERS)} is on the path"
        if os.environ.get("COOKBOOK_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    flags = ["--host-resolver-rules=MAP * ~NOTFOUND"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=flags)
        yield chromium
        chromium.close()
