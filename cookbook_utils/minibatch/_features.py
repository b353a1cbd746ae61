"""Names of features, and the check of the argument that holds them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

from cookbook_utils.shards import PointShards


def require_shards(shards: Any) -> None:
    """Raise TypeError unless `shards` is a PointShards."""
    if not isinstance(shards, PointShards):
        raise TypeError(f"shards must be a PointShards, got {type(shards).__name__}")


def names_of(X: Any) -> list[str] | None:
    """Return the names of the columns of a table or of the features of an array, if it has any."""
    if isinstance(X, pd.DataFrame):
        names = X.columns
    elif isinstance(X, xr.DataArray) and "feature" in X.coords:
        names = X["feature"].to_index()
    else:
        return None
    return list(names) if all(isinstance(name, str) for name in names) else None
