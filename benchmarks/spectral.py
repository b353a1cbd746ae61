"""Compare `NystroemSpectralClustering` with dask-ml's SpectralClustering: time, memory, labels.

All calls run in one process, in turn, without a `distributed` client, on the same pixels. Peak
memory is measured in further calls, each in a fresh process. Run it from the root of the
repository:

    python -m benchmarks.spectral
"""

from __future__ import annotations

import argparse
import functools
import statistics

import dask.array as da
import numpy as np
from dask_ml.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from benchmarks._result import about, in_fresh_process, memory, write
from benchmarks._timing import in_turn
from cookbook_utils.spectral import NystroemSpectralClustering

N_PIXELS, N_BANDS, N_CLASSES, RANDOM_STATE = 90_000, 6, 3, 0
# Typical surface reflectances of clear water, green vegetation and bare soil, blue to SWIR 2.
SPECTRA = np.array(
    [
        [0.06, 0.05, 0.04, 0.02, 0.01, 0.01],
        [0.03, 0.06, 0.04, 0.40, 0.20, 0.10],
        [0.12, 0.16, 0.20, 0.26, 0.32, 0.28],
    ]
)


def make_samples() -> tuple[da.Array, np.ndarray]:
    """Return pixels of three classes (pixel, band), standardized per band, and true classes."""
    rng = np.random.default_rng(RANDOM_STATE)
    truth = rng.integers(N_CLASSES, size=N_PIXELS)
    pixels = SPECTRA[truth] + 0.03 * rng.normal(size=(N_PIXELS, N_BANDS))
    pixels = (pixels - pixels.mean(axis=0)) / pixels.std(axis=0)
    return da.from_array(pixels, chunks=(N_PIXELS // 3, N_BANDS)), truth


def fit_peer(samples, **options):
    model = SpectralClustering(n_clusters=N_CLASSES, random_state=RANDOM_STATE, **options)
    return model.fit(samples).labels_.compute()


def fit_ours(samples, **options):
    model = NystroemSpectralClustering(N_CLASSES, random_state=RANDOM_STATE, **options)
    return model.fit(samples).labels_


# The default of gamma is 1 in dask-ml and None, 1 / n_bands, here.
PEER = "dask-ml, gamma=1"
CALLS = {
    PEER: (fit_peer, {"gamma": 1.0}),
    "dask-ml, gamma=1, persist_embedding=True": (
        fit_peer,
        {"gamma": 1.0, "persist_embedding": True},
    ),
    "dask-ml, gamma=None": (fit_peer, {"gamma": None}),
    "NystroemSpectralClustering, gamma=1": (fit_ours, {"gamma": 1.0}),
    "NystroemSpectralClustering, gamma=None": (fit_ours, {"gamma": None}),
}


def memory_of(name: str) -> dict[str, int]:
    samples, _ = make_samples()
    function, options = CALLS[name]
    with memory() as used:
        function(samples, **options)
    return used


def measure(repeats: int) -> dict:
    header = about("spectral", ("dask", "dask-ml", "numpy", "scikit-learn", "scipy"))
    samples, truth = make_samples()
    fit_ours(samples[:1000])  # imports and costs of the first call are not measured
    calls = {
        name: functools.partial(function, samples, **options)
        for name, (function, options) in CALLS.items()
    }
    seconds, labels = in_turn(calls, repeats)
    rows = []
    for name, (_, options) in CALLS.items():
        median = statistics.median(seconds[name])
        same_gamma = labels[PEER if options["gamma"] else "dask-ml, gamma=None"]
        rows.append(
            {
                "call": name,
                "seconds": [round(value, 3) for value in seconds[name]],
                "median_seconds": round(median, 3),
                "times_faster": round(statistics.median(seconds[PEER]) / median, 1),
                "ari_with_dask_ml": round(adjusted_rand_score(labels[PEER], labels[name]), 4),
                "ari_with_dask_ml_same_gamma": round(
                    adjusted_rand_score(same_gamma, labels[name]), 4
                ),
                "ari_with_truth": round(adjusted_rand_score(truth, labels[name]), 4),
            }
            | in_fresh_process(memory_of, name)
        )
    return header | {
        "samples": f"{N_PIXELS} pixels, {N_BANDS} bands, {N_CLASSES} classes, seed {RANDOM_STATE}",
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds of all calls (default 5)")
    result = measure(parser.parse_args().repeats)
    write("spectral", result)
    for row in result["rows"]:
        print("{median_seconds:8.2f} s {times_faster:6.1f} × {call}".format_map(row))


if __name__ == "__main__":
    main()
