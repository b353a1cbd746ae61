"""Files of fitted models of inter-image k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cookbook_utils._models import as_plain, load_model, refused, require_shape, save_model
from cookbook_utils.interimage.checks import check_parameters
from cookbook_utils.interimage.traits import Traits

if TYPE_CHECKING:
    from cookbook_utils.interimage.estimator import InterImageKMeans

KIND = "InterImageKMeans"
_PARAMETERS = (
    "n_clusters", "init", "n_init", "tol", "criterion", "max_iter", "sample", "sampling", "empty",
    "random_state",
)  # fmt: skip
"""Parameters of a file: `engine`, `checkpoint` and `persist` belong to the machine."""


def save(model: InterImageKMeans, path: Any) -> None:
    """Write a fitted model; see `InterImageKMeans.save`."""
    parameters = {name: getattr(model, name) for name in _PARAMETERS}
    arrays = {
        "centers": model.cluster_centers_,
        "counts": model.counts_,
        "change_fraction": model.change_fraction_,
    }
    if not isinstance(model.init, str):
        arrays["init"], parameters["init"] = np.asarray(model.init, np.float64), None
    if isinstance(model.random_state, np.random.RandomState):
        parameters["random_state"] = None  # it has been used up
    traits = model._traits
    facts = {
        "parameters": {name: as_plain(value, name) for name, value in parameters.items()},
        "bands": as_plain(traits.bands, "names of bands"),
        "units": as_plain(traits.units, "units"),
        "number_kind": traits.kind,
        "n_iter": int(model.n_iter_),
        "inertia": as_plain(model.inertia_, "inertia_"),
    }
    save_model(path, KIND, facts, arrays)


def load(cls: type[InterImageKMeans], path: Any) -> InterImageKMeans:
    """Return the model of a file; see `InterImageKMeans.load`."""
    path, facts, arrays = load_model(path, KIND)
    try:
        parameters = dict(facts["parameters"])
        if parameters["init"] is None:
            parameters["init"] = arrays["init"]
        model = cls(**parameters)
        check_parameters(model)
        bands = facts["bands"]
        traits = Traits(
            None if bands is None else tuple(bands),
            tuple((str(name), str(value)) for name, value in facts["units"]),
            facts["number_kind"],
        )
        model.n_iter_, model.inertia_ = int(facts["n_iter"]), float(facts["inertia"])
        centers = arrays["centers"]
        n_bands = centers.shape[1] if bands is None else len(bands)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise refused(path, KIND, f"which lacks a part of a model ({error})") from None
    shapes = {
        "centers": (model.n_clusters, n_bands),
        "counts": (len(arrays.get("counts", ())), model.n_clusters),
        "change_fraction": (model.n_iter_,),
    }
    require_shape(path, KIND, arrays, shapes)
    model._store_bands(n_bands, traits)
    model.cluster_centers_ = centers
    model.counts_, model.change_fraction_ = arrays["counts"], arrays["change_fraction"]
    return model
