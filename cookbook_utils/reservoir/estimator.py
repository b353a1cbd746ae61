"""The estimator of reservoir embeddings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from cookbook_utils import _npz
from cookbook_utils._checks import (
    as_real_array,
    require_choice,
    require_integer,
    require_random_state,
)
from cookbook_utils._files import as_path
from cookbook_utils._threads import one_blas_thread
from cookbook_utils.reservoir.network import draw_reservoir, ridge_readout, run_reservoir

N_UNITS = 100
CONNECTIVITY = 0.3
SPECTRAL_RADIUS = 0.99
"""Spectral radius of the weights between the units of the reservoir.

This value, `INPUT_SCALING` and `RIDGE` were chosen by how well k-means on the readout, with and
without static features, finds the known regimes of the three simulated sites.
"""
INPUT_SCALING = 0.05
"""Magnitude of the weights from a standardized series to the units of the reservoir."""
RIDGE = 10.0
"""Penalty of the squared coefficients of the readout."""

SERIES_PER_PRODUCT = 32  # series in a matrix product; products of one shape round all series alike
LARGEST_FILE = 2**20  # bytes; `ReservoirEmbedding.save` writes up to 0.2 MB

REPRESENTATIONS = ("readout", "last")
Representation = Literal["readout", "last"]


class ReservoirEmbedding(TransformerMixin, BaseEstimator):
    """Embed displacement series by the states of a reservoir, reduced to principal components.

    Fit it once, on a sample of the series; it then embeds any number of series, of any dates, each
    independently of the others.

    Parameters
    ----------
    n_features : int, default 32
        Number of features of an embedding, from 2 to 100.
    representation : {"readout", "last"}, default "readout"
        With "readout" the features are the ``n_features - 1`` coefficients of the principal
        components of the states, and the intercept. With "last" they are the ``n_features``
        principal components of the last state.
    random_state : int, default 0
        Random seed of the reservoir, from 0 to 2**32 - 1.

    Attributes
    ----------
    scale_ : float
        Standard deviation in mm of the series of `fit`, by which all series are divided. One
        divisor for all preserves their relative magnitudes, which distinguish them.
    mean_ : numpy.ndarray of float64 (100,)
        Mean of the states.
    components_ : numpy.ndarray of float64 (n_components, 100)
        Principal components of the states, in descending order of variance; the weight of largest
        magnitude is positive in each.
    internal_weights_ : numpy.ndarray of float64 (100, 100)
        Weights between the units of the reservoir.
    input_weights_ : numpy.ndarray of float64 (100,)
        Weights from the series to the units.

    Examples
    --------
    >>> series = np.sin(np.linspace(0, 20, 60) * np.linspace(1, 2, 30)[:, np.newaxis])
    >>> embedding = ReservoirEmbedding(8).fit(series)
    >>> features = embedding.transform(series)
    >>> features.shape, np.array_equal(embedding.transform(series[5:7]), features[5:7])
    ((30, 8), True)
    """

    def __init__(
        self,
        n_features: int = 32,
        *,
        representation: Representation = "readout",
        random_state: int = 0,
    ) -> None:
        self.n_features = n_features
        self.representation = representation
        self.random_state = random_state

    def fit(self, X: Any, y: None = None) -> ReservoirEmbedding:
        """Draw the reservoir, and find the scale of series and the components of its states.

        Parameters
        ----------
        X : array_like of float (n_series, n_dates)
            Displacement in mm without gaps: a sample of the series to embed.
        y : None
            Ignored; present for pipelines.

        Returns
        -------
        ReservoirEmbedding
            The fitted embedding.

        Raises
        ------
        TypeError
            If `X` does not hold real numbers or is masked, or if a parameter has the wrong type.
        ValueError
            If values are missing, all series are constant, there are too few values, or a parameter
            is out of its range.
        """
        require_parameters(self)
        centered = _centered(X)
        if centered.size < N_UNITS:
            raise ValueError(
                f"X must have at least {N_UNITS} values to fit an embedding, got shape "
                f"{centered.shape}"
            )
        scale = float(centered.std())
        # The mean of equal values is rounded, so that the difference is not exactly 0.
        if scale <= 4 * np.finfo(float).eps * np.abs(np.asarray(X)).max():
            raise ValueError("X must hold series that vary, got only constant ones")
        self.scale_ = scale
        self.internal_weights_, self.input_weights_ = draw_reservoir(
            N_UNITS,
            connectivity=CONNECTIVITY,
            spectral_radius=SPECTRAL_RADIUS,
            input_scaling=INPUT_SCALING,
            random_state=self.random_state,
        )
        self.mean_, vectors = self._principal_components(centered)
        components = vectors[: self._n_components]
        largest = np.abs(components).argmax(axis=1)
        signs = np.sign(components[np.arange(len(components)), largest])
        self.components_ = components * signs[:, np.newaxis]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed series.

        Parameters
        ----------
        X : array_like of float (n_series, n_dates)
            Displacement in mm without gaps. The mean of each series over time is subtracted,
            because it depends only on the reference date.

        Returns
        -------
        numpy.ndarray of float32 (n_series, n_features)
            The embeddings. The row of a series does not depend on the other series.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the embedding is not fitted.
        TypeError
            If `X` does not hold real numbers, or is masked.
        ValueError
            If values are missing, there are fewer than two dates, or a feature overflows float32.
        """
        check_is_fitted(self)
        centered = _centered(X)
        features = np.empty((len(centered), self.n_features), np.float32)
        with one_blas_thread():  # the matrices are too small for more threads
            for rows, tile, states in self._tiles(centered):
                with np.errstate(over="ignore"):  # refused below
                    features[rows] = self._features(tile, states)[: rows.stop - rows.start]
        if bad := np.count_nonzero(~np.isfinite(features).all(axis=1)):
            raise ValueError(
                "X must hold series of about the size of those of fit, whose standard deviation is "
                f"{self.scale_:g} mm, got {bad} of {len(features)} whose features overflow float32"
            )
        return features

    def _principal_components(self, centered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean (unit,) of the states and their components (unit, unit) in rows."""
        n, total, product = 0, np.zeros(N_UNITS), np.zeros((N_UNITS, N_UNITS))
        with one_blas_thread():
            for rows, _, states in self._tiles(centered):
                flat = states[: rows.stop - rows.start].reshape(-1, N_UNITS)
                n, total, product = n + len(flat), total + flat.sum(axis=0), product + flat.T @ flat
            mean = total / n
            _, vectors = np.linalg.eigh(product / n - np.outer(mean, mean))  # ascending variance
        return mean, vectors[:, ::-1].T

    def _tiles(self, centered: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield rows, their series (32, time), scaled and padded, and states (32, time, unit)."""
        for start in range(0, len(centered), SERIES_PER_PRODUCT):
            rows = slice(start, min(start + SERIES_PER_PRODUCT, len(centered)))
            tile = np.zeros((SERIES_PER_PRODUCT, centered.shape[1]))
            tile[: rows.stop - start] = centered[rows] / self.scale_
            yield rows, tile, run_reservoir(tile, self.internal_weights_, self.input_weights_)

    def _features(self, tile: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the features (32, feature) of series (32, time) and states (32, time, unit)."""
        if self.representation == "last":
            return (states[:, -1] - self.mean_) @ self.components_.T
        reduced = (states - self.mean_) @ self.components_.T  # (32, time, component)
        return ridge_readout(reduced[:, :-1], tile[:, 1:], RIDGE)

    @property
    def _n_components(self) -> int:
        """The number of principal components; the intercept is the last feature of a readout."""
        return self.n_features - (1 if self.representation == "readout" else 0)

    # -- files ------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted embedding to an .npz of plain arrays with a checksum, atomically.

        Parameters
        ----------
        path : str or os.PathLike
            The file, in a folder that exists.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the embedding is not fitted.
        TypeError
            If `path` is not a path.
        OSError
            If the file cannot be written.
        """
        _npz.save_arrays(as_path(path, "path"), arrays_of(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReservoirEmbedding:
        """Read an embedding that `save` wrote; its features are the same to the bit.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        ReservoirEmbedding
            The fitted embedding.

        Raises
        ------
        TypeError
            If `path` is not a path.
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged or `save` did not write it.
        """
        path = as_path(path, "path")
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        try:
            return cls._from_arrays(_npz.load_arrays(path, _SHAPES, largest=LARGEST_FILE))
        except _npz.DAMAGED as error:
            raise ValueError(
                f"{path} is damaged, or not an embedding that ReservoirEmbedding.save wrote: "
                f"{error}; make it again"
            ) from None

    @classmethod
    def _from_arrays(cls, arrays: dict[str, np.ndarray]) -> ReservoirEmbedding:
        """Return the embedding that has the given result of `arrays_of`, or raise ValueError."""
        if float(arrays["ridge"]) != RIDGE:
            raise ValueError(f"its ridge must be {RIDGE}, got {arrays['ridge']}")
        embedding = cls(
            arrays["n_features"].item(),
            representation=arrays["representation"].item(),
            random_state=arrays["random_state"].item(),
        )
        require_parameters(embedding)
        for name, shape in _SHAPES.items():
            shape = tuple(embedding._n_components if size is None else size for size in shape)
            array = arrays[name]
            if array.shape != shape or (shape and not np.isfinite(array).all()):
                raise ValueError(
                    f"{name} must be finite numbers of shape {shape}, got shape {array.shape}"
                )
        embedding.scale_ = arrays["scale"].item()
        embedding.mean_, embedding.components_ = arrays["mean"], arrays["components"]
        embedding.internal_weights_ = arrays["internal_weights"]
        embedding.input_weights_ = arrays["input_weights"]
        return embedding


def require_parameters(embedding: ReservoirEmbedding) -> None:
    """Raise unless the parameters of an embedding are valid."""
    require_integer(embedding.n_features, "n_features", least=2, most=N_UNITS)
    require_choice(embedding.representation, "representation", REPRESENTATIONS)
    require_random_state(embedding.random_state)


def arrays_of(embedding: ReservoirEmbedding) -> dict[str, np.ndarray]:
    """Return everything on which a fitted embedding depends."""
    check_is_fitted(embedding)
    return {
        "n_features": np.asarray(embedding.n_features, np.int64),
        "representation": np.asarray(embedding.representation),
        "random_state": np.asarray(embedding.random_state, np.int64),
        "ridge": np.asarray(RIDGE),
        "scale": np.asarray(embedding.scale_),
        "mean": embedding.mean_,
        "components": embedding.components_,
        "internal_weights": embedding.internal_weights_,
        "input_weights": embedding.input_weights_,
    }


_SHAPES = {  # of the arrays in a file; None is the number of principal components
    "n_features": (), "representation": (), "random_state": (), "ridge": (), "scale": (),
    "mean": (N_UNITS,), "components": (None, N_UNITS),
    "internal_weights": (N_UNITS, N_UNITS), "input_weights": (N_UNITS,),
}  # fmt: skip


def _centered(X: Any) -> np.ndarray:
    """Return series (series, time) in float64 minus their means, or raise if they have gaps."""
    series = np.asarray(as_real_array(X, "X"), np.float64)
    if series.ndim != 2 or series.shape[1] < 2:
        raise ValueError(
            f"X must have the shape (series, time) with at least two dates, got {series.shape}"
        )
    if missing := np.count_nonzero(~np.isfinite(series).all(axis=1)):
        raise ValueError(
            f"X must hold series of displacement without gaps, got {missing} of {len(series)} with "
            "gaps: fill them with cookbook_utils.insar.fill_gaps, and leave out those without any "
            "observation"
        )
    if series.size and np.abs(series).max() > np.finfo(np.float32).max:
        raise ValueError(f"X must be finite in float32, got {np.abs(series).max():g}")
    return series - series.mean(axis=1, keepdims=True)
