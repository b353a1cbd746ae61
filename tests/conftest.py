"""Fixtures that the tests of static figures and of interactive views share."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from .factories import make_labels


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
