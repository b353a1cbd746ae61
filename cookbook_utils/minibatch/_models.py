"""Files of fitted models of mini-batch k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cookbook_utils._models import as_plain, load_model, refused, require_shape, save_model

if TYPE_CHECKING:
    from cookbook_utils.minibatch.estimator import MiniBatchShardKMeans

KIND = "MiniBatchShardKMeans"
_PREFIX = "history_"


def save(model: MiniBatchShardKMeans, path: Any) -> None:
    """Write a fitted model; see `MiniBatchShardKMeans.save`."""
    facts = {
        "parameters": {
            name: as_plain(value, name) for name, value in model.get_params(deep=False).items()
        },
        "features": model.feature_names_in_.tolist(),
        "embedding": model.embedding_,
        "converged": model.converged_,
        "n_train": int(model.n_train_),
        "n_missing": int(model.n_missing_),
        "n_iter": int(model.n_iter_),
        "history": model.history_.columns.tolist(),
    }
    arrays = {"centers": model.cluster_centers_, "mean": model.mean_, "scale": model.scale_}
    history = {_PREFIX + name: column.to_numpy() for name, column in model.history_.items()}
    save_model(path, KIND, facts, arrays | history)


def load(cls: type[MiniBatchShardKMeans], path: Any) -> MiniBatchShardKMeans:
    """Return the model of a file; see `MiniBatchShardKMeans.load`."""
    path, facts, arrays = load_model(path, KIND)
    try:
        parameters = dict(facts["parameters"])
        model = cls(**parameters | {"kinds": tuple(parameters["kinds"])})
        model._check_parameters()
        model.feature_names_in_ = np.asarray(facts["features"], object)
        model.n_features_in_ = len(model.feature_names_in_)
        model.embedding_, model.converged_ = str(facts["embedding"]), bool(facts["converged"])
        model.n_train_, model.n_missing_ = int(facts["n_train"]), int(facts["n_missing"])
        model.n_iter_ = int(facts["n_iter"])
        columns = list(facts["history"])
    except (KeyError, TypeError, ValueError) as error:
        raise refused(path, KIND, f"which lacks a part of a model ({error})") from None
    n_features = model.n_features_in_
    shapes: dict[str, tuple[int, ...]] = {
        "centers": (model.n_clusters, n_features),
        "mean": (n_features,),
        "scale": (n_features,),
    }
    shapes |= {_PREFIX + name: (model.n_iter_,) for name in columns}
    require_shape(path, KIND, arrays, shapes)
    model.cluster_centers_ = arrays["centers"]
    model.mean_, model.scale_ = arrays["mean"], arrays["scale"]
    epochs = pd.RangeIndex(1, model.n_iter_ + 1, name="epoch")
    model.history_ = pd.DataFrame({name: arrays[_PREFIX + name] for name in columns}, epochs)
    return model
