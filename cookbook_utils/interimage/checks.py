"""Checks of the parameters of inter-image k-means, and warnings about its clusters."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from cookbook_utils._checks import (
    require_choice,
    require_integer,
    require_number,
    require_random_state,
)
from cookbook_utils._conventions.labels import MOST_CLASSES

if TYPE_CHECKING:
    from cookbook_utils.interimage.estimator import InterImageKMeans


def check_parameters(model: InterImageKMeans) -> None:
    """Raise TypeError or ValueError unless all parameters of a model are valid."""
    require_integer(model.n_clusters, "n_clusters", least=1, most=MOST_CLASSES)
    require_integer(model.n_init, "n_init", least=1, most=1000)
    require_integer(model.max_iter, "max_iter", least=1)
    require_number(model.tol, "tol", least=0)
    if model.sample is not None:
        require_number(model.sample, "sample", above=0, most=1)
    require_choice(model.criterion, "criterion", ("changed", "shift"))
    require_choice(model.engine, "engine", ("auto", "numpy", "numba", "cupy", "dask"))
    require_choice(model.sampling, "sampling", ("stratified", "random"))
    require_choice(model.empty, "empty", ("keep", "farthest"))
    if not isinstance(model.persist, bool):
        require_choice(model.persist, "persist", ("auto", True, False))
    if isinstance(model.init, str):
        require_choice(model.init, "init", ("k-means++", "midpoint"))
    if not (model.random_state is None or isinstance(model.random_state, np.random.RandomState)):
        require_random_state(model.random_state)
    drawn = model.sample is not None or model._draws_start()
    if model.checkpoint is not None and model.random_state is None and drawn:
        raise ValueError(
            "random_state must be an integer where a checkpoint is kept and `init` or `sample` "
            "draws at random, got None: another fit could not resume from the checkpoint"
        )


def warn_of_clusters(counts: np.ndarray) -> None:
    """Warn of clusters without pixels, and of scenes whose pixels all have one label."""
    empty = np.flatnonzero(counts.sum(axis=0) == 0)
    if empty.size:
        warnings.warn(
            f"{empty.size} of {counts.shape[1]} clusters are empty, {empty.tolist()}: use "
            "fewer clusters, another init, or empty='farthest'",
            UserWarning,
            stacklevel=4,
        )
    single = np.flatnonzero((counts > 0).sum(axis=1) == 1)
    if counts.shape[1] > 1 and len(counts) > 1 and single.size:
        warnings.warn(
            f"scenes {single.tolist()} lie in one cluster each: check that all scenes hold the "
            "same bands in the same units",
            UserWarning,
            stacklevel=4,
        )
