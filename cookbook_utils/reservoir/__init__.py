"""Embeddings of displacement series by reservoir computing.

A reservoir is a random recurrent network whose weights are never trained. Driven by a series, its
state at each date is a nonlinear memory of the dates before. The readout is a ridge regression,
fitted for each series, that predicts the next displacement from the state. Its coefficients
describe the dynamics of the series, whatever its dates, and are its embedding. Alternatively, the
embedding is the last state.

References
----------
F. M. Bianchi, S. Scardapane, S. Løkse, R. Jenssen (2021). Reservoir computing approaches for
representation and classification of multivariate time series. IEEE Transactions on Neural Networks
and Learning Systems 32(5), 2169-2179. doi:10.1109/TNNLS.2020.3001377. Their output model space is
the readout here.
"""

from cookbook_utils.reservoir.embed import embed_series, embed_shards
from cookbook_utils.reservoir.estimator import (
    INPUT_SCALING,
    RIDGE,
    SPECTRAL_RADIUS,
    ReservoirEmbedding,
)

__all__ = [
    "INPUT_SCALING",
    "RIDGE",
    "SPECTRAL_RADIUS",
    "ReservoirEmbedding",
    "embed_series",
    "embed_shards",
]
