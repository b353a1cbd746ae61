"""Compare the speed of `ReservoirEmbedding` and `embed_shards` with reservoir-computing.

The peer is `RC_model` of reservoir-computing with the same reservoir, the same number of principal
components and the same readout, on the same series. All use one thread for linear algebra. Run it
from the root of the repository:

    python -m benchmarks.reservoir
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks._result import about, write
from benchmarks._timing import in_turn, timed
from cookbook_utils.insar import fill_gaps
from cookbook_utils.reservoir import (
    INPUT_SCALING,
    RIDGE,
    SPECTRAL_RADIUS,
    ReservoirEmbedding,
    embed_shards,
)
from cookbook_utils.reservoir.estimator import CONNECTIVITY, N_UNITS
from cookbook_utils.simulate import simulate_site, write_site

SITE = "insar_lyngen"


def fit_peer(representation: str, n_features: int, series: np.ndarray, scale: float):
    from reservoir_computing.modules import RC_model
    from reservoir_computing.reservoir import Reservoir

    np.random.seed(0)  # noqa: NPY002  the package draws from the global generator
    reservoir = Reservoir(
        N_UNITS,
        spectral_radius=SPECTRAL_RADIUS,
        connectivity=CONNECTIVITY,
        input_scaling=INPUT_SCALING,
    )
    readout = representation == "readout"
    model = RC_model(
        reservoir=reservoir,
        dimred_method="pca",
        n_dim=n_features - 1 if readout else n_features,
        mts_rep="output" if readout else "last",
        w_ridge_embedding=RIDGE,
        readout_type=None,
    )
    centered = series - series.mean(axis=1, keepdims=True)
    with threadpool_limits(1):
        model.fit(centered[..., np.newaxis] / scale, verbose=False)
    return model.input_repr


def measure(n: int, repeats: int) -> dict:
    header = about("reservoir", ("numpy", "reservoir-computing", "scikit-learn", "scipy"))
    header["device"] += ", one thread used"
    filled = fill_gaps(simulate_site(SITE, n_points=n)).displacement.values.astype(float)
    rows = []
    for representation in ("motion", "readout", "last"):
        for n_features in (32, 64):
            embedding = ReservoirEmbedding(n_features, representation=representation)
            embedding.fit(filled[:512])
            calls = {"ReservoirEmbedding.transform": lambda e=embedding: e.transform(filled)}
            if representation != "motion":  # the package has nothing like it
                calls["reservoir-computing, RC_model.fit"] = lambda e=embedding: fit_peer(
                    e.representation, e.n_features, filled, e.scale_
                )
            seconds, _ = in_turn(calls, repeats)
            rows += [
                row(name, n, found, representation=representation, n_features=n_features)
                for name, found in seconds.items()
            ]
    with tempfile.TemporaryDirectory() as folder:
        raw = write_site(folder, SITE, n_points=n)
        for representation in ("motion", "readout"):
            seconds, _ = timed(
                lambda r=representation: embed_shards(raw, f"{folder}/{r}", representation=r)
            )
            name = "embed_shards, from fit to disk"
            rows.append(row(name, n, [seconds], representation=representation))
    return header | {
        "samples": f"{n} series of {filled.shape[1]} dates of {SITE}, {N_UNITS} units",
        "calls": rows,
    }


def row(name: str, n: int, seconds: list[float], **more) -> dict:
    median = statistics.median(seconds)
    spent = {"seconds": [round(s, 2) for s in seconds], "series_per_second": round(n / median)}
    return {"call": name} | more | spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="rounds of all calls (default 3)")
    parser.add_argument("--points", type=int, default=3000, help="default 3000")
    options = parser.parse_args()
    result = measure(options.points, options.repeats)
    print(json.dumps(result["calls"], indent=2))
    write("reservoir", result)


if __name__ == "__main__":
    main()
