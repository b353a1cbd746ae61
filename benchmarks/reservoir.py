"""Compare `ReservoirEmbedding` with the model of the reservoir-computing package.

The peer is `RC_model` with the same reservoir, the same number of principal components and the same
readout, on the same series. All use one thread for linear algebra. The package has nothing like our
default, the motion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks._comparison import Comparison

PACKAGES = ("numpy", "reservoir-computing", "scikit-learn", "scipy")
SITE, N_FEATURES = "insar_lyngen", 32


def make_series(n: int) -> np.ndarray:
    """Return displacement series (point, date) without gaps."""
    from cookbook_utils.insar import fill_gaps
    from cookbook_utils.simulate import simulate_site

    return fill_gaps(simulate_site(SITE, n_points=n)).displacement.values.astype(float)


def fitted(representation: str, series: np.ndarray) -> Any:
    from cookbook_utils.reservoir import ReservoirEmbedding

    return ReservoirEmbedding(N_FEATURES, representation=representation).fit(series[:512])


def ours(representation: str) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        series = make_series(n)
        embedding = fitted(representation, series)

        def call() -> None:
            with threadpool_limits(1):
                embedding.transform(series)

        return call

    return prepare


def peer(representation: str) -> Any:
    def prepare(n: int, folder: Path) -> Any:
        series = make_series(n)
        centered = series - series.mean(axis=1, keepdims=True)
        samples = centered[..., np.newaxis] / fitted(representation, series).scale_

        def call() -> None:
            with threadpool_limits(1):
                make_model(representation).fit(samples, verbose=False)

        return call

    return prepare


def make_model(representation: str) -> Any:
    """Return the model of the package that computes the representation."""
    from reservoir_computing.modules import RC_model
    from reservoir_computing.reservoir import Reservoir

    from cookbook_utils.reservoir import INPUT_SCALING, RIDGE, SPECTRAL_RADIUS
    from cookbook_utils.reservoir.estimator import CONNECTIVITY, N_UNITS

    np.random.seed(0)  # noqa: NPY002  the package draws from the global generator
    reservoir = Reservoir(
        N_UNITS,
        spectral_radius=SPECTRAL_RADIUS,
        connectivity=CONNECTIVITY,
        input_scaling=INPUT_SCALING,
    )
    readout = representation == "readout"
    return RC_model(
        reservoir=reservoir,
        dimred_method="pca",
        n_dim=N_FEATURES - 1 if readout else N_FEATURES,
        mts_rep="output" if readout else "last",
        w_ridge_embedding=RIDGE,
        readout_type=None,
    )


COMPARISONS = [
    Comparison(
        f"{representation} of series, {N_FEATURES} features",
        unit="series",
        sizes=(600, 1500, 3000),
        full_sizes=(1000, 3000, 10_000),
        ours={f"ReservoirEmbedding.transform, {name}": ours(name) for name in names},
        peers={"reservoir-computing, RC_model.fit": peer(representation)},
        warm_up=600,
        rounds=2,
    )
    for representation, names in {"readout": ("readout", "motion"), "last": ("last",)}.items()
]
