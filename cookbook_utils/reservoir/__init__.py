"""Embeddings of displacement series by reservoir computing.

A reservoir is a random recurrent network whose weights are never trained. By default it is driven
by the calendar, and its states are smooth functions of time. The readout, a ridge regression for
each series, represents the observed displacements by the states of their dates. Its coefficients
describe the motion, with gaps or without, and are the embedding.

The published way is to drive the reservoir by the series, and to predict the next displacement from
its state. The coefficients then describe the dynamics of the series, and its noise.

References
----------
F. M. Bianchi, S. Scardapane, S. Løkse, R. Jenssen (2021). Reservoir computing approaches for
representation and classification of multivariate time series. IEEE Transactions on Neural Networks
and Learning Systems 32(5), 2169-2179. doi:10.1109/TNNLS.2020.3001377. Their output model space is
"readout" here.
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
