"""Names of features, and checks of the shards that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from cookbook_utils.shards import PointShards

if TYPE_CHECKING:
    from cookbook_utils.minibatch.estimator import MiniBatchShardKMeans


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


def names_in(shards: PointShards, kinds: Sequence[str]) -> list[str]:
    """Return the names of the features of all kinds, in order."""
    return [name for kind in kinds for name in shards.features[kind]]


def require_names(names: list[str] | None, expected: list[str], what: str) -> None:
    """Raise ValueError if the names of features are known and are not the expected ones."""
    if names is not None and names != expected:
        raise ValueError(
            f"{what} must have the features that the model was fitted on, "
            f"{', '.join(expected)}, in this order, got {', '.join(names)}"
        )


def require_same_features(model: MiniBatchShardKMeans, shards: PointShards) -> None:
    """Raise ValueError if shards have other features than those that a model was fitted on."""
    expected = model.feature_names_in_.tolist()
    require_names(names_in(shards, model.kinds), expected, str(shards.folder))
    embedding = embedding_of(shards, model.kinds)
    if model.embedding_ and embedding and embedding != model.embedding_:
        raise ValueError(
            f"{shards.folder} must have features of the embedding that the model was fitted "
            "on, got those of another embedding, in which the centers have no meaning"
        )


def embedding_of(shards: PointShards, kinds: Sequence[str]) -> str:
    """Return the digest of the matrices that made the features, "" if it is not known."""
    embedding = shards.attrs.get("embedding")
    if "dynamic" not in kinds or not isinstance(embedding, dict):
        return ""
    return str(embedding.get("matrices", ""))
