"""The random recurrent network and the ridge regression of reservoir embeddings, in NumPy.

The network is the one that the package reservoir-computing draws for the same seed, bit for bit,
but from a generator of its own: the package uses NumPy's global generator, which other threads
draw from, too.
"""

from __future__ import annotations

import numpy as np

from cookbook_utils._threads import one_blas_thread


def draw_reservoir(
    n_units: int,
    *,
    connectivity: float,
    spectral_radius: float,
    input_scaling: float,
    random_state: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (n_units, n_units) between units and those of the input (n_units,).

    Random numbers are drawn in the order of the package: the places of the weights, their values,
    then the signs of the input.
    """
    random = np.random.RandomState(random_state)  # noqa: NPY002  the generator of the package
    weights = np.zeros(n_units**2)
    places = random.choice(n_units**2, round(connectivity * n_units**2), replace=False)
    weights[places] = random.uniform(size=len(places)) - 0.5
    weights = np.ascontiguousarray(weights.reshape(n_units, n_units).T)  # drawn column by column
    with one_blas_thread():
        largest = np.abs(np.linalg.eig(weights)[0]).max()
    signs = 2.0 * random.binomial(1, 0.5, n_units) - 1.0
    return weights / (largest / spectral_radius), signs * input_scaling


def run_reservoir(series: np.ndarray, weights: np.ndarray, input_weights: np.ndarray) -> np.ndarray:
    """Return the states (series, time, unit) of a reservoir driven by series (series, time).

    h(t) = tanh(W h(t-1) + w u(t)) with h = 0 before the first date (Bianchi et al. 2021).
    """
    state = np.zeros((len(series), len(weights)))
    states = np.empty((*series.shape, len(weights)))
    column = input_weights[:, np.newaxis]  # (unit, 1)
    for t in range(series.shape[1]):
        state = np.tanh(weights @ state.T + column @ series[:, t : t + 1].T).T
        states[:, t] = state
    return states


def ridge_readout(states: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    """Return coefficients and intercept of one ridge regression for each series.

    Parameters
    ----------
    states : numpy.ndarray (series, time, component)
        Predictors.
    target : numpy.ndarray (series, time)
        Values to predict.
    ridge : float
        Penalty of the squared coefficients.

    Returns
    -------
    numpy.ndarray (series, component + 1)
        b = (S' S + ridge I)⁻¹ S' y of centered states S and target y, and the intercept.
    """
    mean_state, mean_target = states.mean(axis=1), target.mean(axis=1)
    states = states - mean_state[:, np.newaxis]
    transposed = states.transpose(0, 2, 1)
    gram = transposed @ states  # (series, component, component)
    diagonal = range(gram.shape[1])
    gram[:, diagonal, diagonal] += ridge
    moment = transposed @ (target - mean_target[:, np.newaxis])[..., np.newaxis]
    coefficients = np.linalg.solve(gram, moment)[..., 0]  # (series, component)
    intercept = mean_target - np.einsum("ij,ij->i", mean_state, coefficients)
    return np.column_stack([coefficients, intercept])
