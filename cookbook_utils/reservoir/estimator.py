"""The estimator of reservoir embeddings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from cookbook_utils import _npz
from cookbook_utils._checks import require_choice, require_integer, require_random_state
from cookbook_utils._files import as_path
from cookbook_utils._threads import one_blas_thread
from cookbook_utils.reservoir.motion import (
    SERIES_PER_PRODUCT,
    Motion,
    draw_clock_weights,
    fit_motion,
    regress,
    run_clock,
)
from cookbook_utils.reservoir.network import draw_reservoir, ridge_readout, run_reservoir
from cookbook_utils.reservoir.series import as_date, checked_series, days_of, means_of

N_UNITS = 100
CONNECTIVITY = 0.3
SPECTRAL_RADIUS = 0.99
"""Spectral radius of the weights between the units of the reservoir.

For "readout" and "last", this value, `INPUT_SCALING` and `RIDGE` were chosen by how well k-means on
the readout, with and without static features, finds the known regimes of the three simulated sites.
"motion" takes this value, too; nothing else of it was chosen by the regimes.
"""
INPUT_SCALING = 0.05
"""Magnitude of the weights from a standardized series to the units of the reservoir."""
RIDGE = 10.0
"""Penalty of the squared coefficients of the readout."""
LARGEST_FILE = 2**20  # bytes; `ReservoirEmbedding.save` writes up to 0.4 MB

REPRESENTATIONS = ("motion", "curve", "readout", "last")
Representation = Literal["motion", "curve", "readout", "last"]
CLOCKED = ("motion", "curve")  # those for which the calendar drives the reservoir


class ReservoirEmbedding(TransformerMixin, BaseEstimator):
    """Embed displacement series by a reservoir, such that series that move alike are near.

    Fit it once, on a sample; it then embeds any number of series, each independently of the others.
    With "motion" and "curve" it takes series with gaps as they are.

    Parameters
    ----------
    n_features : int, default 32
        Number of features of an embedding, from 2 to 100.
    representation : {"motion", "curve", "readout", "last"}, default "motion"
        With "motion" the calendar drives the reservoir, by the trend of time and the annual cycle.
        The states are smooth functions of time that all series share, and a ridge regression of
        each series on them, at its observed dates, gives its motion: trend, curvature and annual
        cycle count most. See Notes. With "curve" all that is smooth counts, so that points with
        jumps, such as those of snow gaps, may have a cluster, at the expense of the motion.
        With "readout" [1]_ each series drives the reservoir, and a ridge regression predicts the
        next displacement from the state; its ``n_features - 1`` coefficients and its intercept are
        the features. They describe the dynamics of a series, but also its noise, because noise
        decides how well a series predicts itself. With "last" the features are the ``n_features``
        principal components of the last state.
    random_state : int, default 0
        Random seed of the reservoir, from 0 to 2**32 - 1.

    Attributes
    ----------
    scale_ : float
        With "motion" and "curve", the standard deviation in mm of a single date about the motion.
        Otherwise the standard deviation in mm of the series of `fit`, by which all series are
        divided. One divisor for all preserves their relative magnitudes, which distinguish them.
    mean_ : numpy.ndarray of float64 (100,)
        Mean of the states.
    components_ : numpy.ndarray of float64 (n_components, 100)
        Weights from the states to the components; the weight of largest magnitude is positive in
        each. They are the functions of time along which the series of `fit` differ most, with a
        mean square of 1; with "readout" and "last" the principal components of the states.
    internal_weights_ : numpy.ndarray of float64 (100, 100)
        Weights between the units of the reservoir.
    input_weights_ : numpy.ndarray of float64 (100,) or (100, 4)
        Weights to the units from the series, or from trend, cosine and sine of the year, and 1.
    coefficient_means_, coefficient_variances_ : numpy.ndarray of float64 (n_components,)
        Mean in mm and variance in mm² of the coefficients of the motion in the series of `fit`.
    mixing_ : numpy.ndarray of float64 (n_components, n_features)
        Weights from the coefficients of the motion, minus their means, to the features.
    period_ : numpy.ndarray of float64 (2,)
        First and last date of the motion in `fit`, in days since 1970.

    Notes
    -----
    The motion of a series is the expected value of its coefficients, given its observed dates, the
    spread of each coefficient among the series of `fit` and the noise of a date. It has four parts:
    the trend, the curvature that remains, the annual cycle that remains, and the rest, such as
    jumps. A part with the variance v, the sum of those of its coefficients, is multiplied by
    (v + s²)^-0.225, where s is half the noise of a date: beyond s its spread counts by about its
    square root, so that fast creep does not outweigh seasons and accelerations altogether. The rest
    is also multiplied by 1/4. Last, the ``n_features`` principal components of largest variance are
    rotated to features of equal variance. Distances between points remain, and standardizing each
    feature changes nothing.

    No true regimes and no attributes of a delivery took part in this choice. Clusters of embeddings
    and of standardized series were found on every other date: four on Ustica, four and six on each
    simulated site. Velocity, acceleration, amplitude of the season and noise were fitted to the
    *other* dates, and the shares of their variances between clusters compared. The gain of the
    embedding is a larger share of a motion or a smaller one of the noise. The least gain of all
    places and shares is -0.020 for the power 0.225, and -0.031, -0.023, -0.032 and -0.065 for 0.15,
    0.2, 0.25 and 0.3. For 1/8, 1/2 and 1 in place of 1/4 it is -0.021, -0.020 and -0.118.
    Separate weights for curvature and annual cycle, in 300 settings, gained at most 0.008, and one
    step from the best setting lost as much.

    In "curve" each principal component of the coefficients is a part, multiplied by (v + s²)^-1/4,
    and none is the rest, which gave the largest mean share of motions on the other dates.

    References
    ----------
    .. [1] F. M. Bianchi, S. Scardapane, S. Løkse, R. Jenssen (2021). Reservoir computing approaches
       for representation and classification of multivariate time series. IEEE Transactions on
       Neural Networks and Learning Systems 32(5), 2169-2179. doi:10.1109/TNNLS.2020.3001377

    Examples
    --------
    >>> series = np.sin(np.linspace(0, 20, 60) * np.linspace(1, 2, 30)[:, np.newaxis])
    >>> embedding = ReservoirEmbedding(8).fit(series)
    >>> features = embedding.transform(series)
    >>> features.shape, np.array_equal(embedding.transform(series[5:7]), features[5:7])
    ((30, 8), True)
    """

    # Dates belong to the series of one call, so that no meta-estimator routes them.
    __metadata_request__fit = {"time": UNUSED}
    __metadata_request__transform = {"time": UNUSED}

    def __init__(
        self,
        n_features: int = 32,
        *,
        representation: Representation = "motion",
        random_state: int = 0,
    ) -> None:
        self.n_features = n_features
        self.representation = representation
        self.random_state = random_state

    def fit(self, X: Any, y: None = None, *, time: Any = None) -> ReservoirEmbedding:
        """Draw the reservoir, and find the scale of series and their components.

        Parameters
        ----------
        X : array_like of float (n_series, n_dates)
            Displacement in mm: a sample of the series to embed. Gaps are NaN with "motion" and
            "curve", and filled otherwise.
        y : None
            Ignored; present for pipelines.
        time : array_like of datetime64 (n_dates,), optional
            Dates of the displacements, ascending; by default they are 6 days apart, and the season
            of a year begins on the first. Only "motion" and "curve" depend on them.

        Returns
        -------
        ReservoirEmbedding
            The fitted embedding.

        Raises
        ------
        TypeError
            If `X` does not hold real numbers or is masked, `time` does not hold dates, or a
            parameter has the wrong type.
        ValueError
            If values are missing, all series are constant, there are too few values, the dates are
            not ascending, or a parameter is out of its range.
        """
        require_parameters(self)
        series = self._series(X)
        days = days_of(time, series.shape[1])
        centered = series - means_of(series)
        if np.count_nonzero(np.isfinite(centered)) < N_UNITS:
            raise ValueError(
                f"X must have at least {N_UNITS} values to fit, got shape {centered.shape}"
            )
        scale = float(np.nanstd(centered))
        # The mean of equal values is rounded, so that the difference is not exactly 0.
        if scale <= 4 * np.finfo(float).eps * np.nanmax(np.abs(series)):
            raise ValueError("X must hold series that vary, got only constant ones")
        self.scale_ = scale
        self.internal_weights_, self.input_weights_ = draw_reservoir(
            N_UNITS,
            connectivity=CONNECTIVITY,
            spectral_radius=SPECTRAL_RADIUS,
            input_scaling=INPUT_SCALING,
            random_state=self.random_state,
        )
        if self.representation in CLOCKED:
            self.input_weights_ = draw_clock_weights(N_UNITS, self.random_state)
            self.period_ = days[[0, -1]]
            with one_blas_thread():
                states = self._clock_states(days)
                motion = fit_motion(centered, states, days, self.n_features, self.representation)
            self._set_motion(motion)
            return self
        self.mean_, vectors = self._principal_components(centered)
        components = vectors[: self._n_components]
        largest = np.abs(components).argmax(axis=1)
        signs = np.sign(components[np.arange(len(components)), largest])
        self.components_ = components * signs[:, np.newaxis]
        return self

    def transform(self, X: Any, *, time: Any = None) -> np.ndarray:
        """Embed series.

        Parameters
        ----------
        X : array_like of float (n_series, n_dates)
            Displacement in mm; gaps are NaN with "motion" and "curve", and filled otherwise. The
            mean of each series does not matter, because it depends only on the reference date.
        time : array_like of datetime64 (n_dates,), optional
            Dates of the displacements, ascending, from the first to the last date of `fit`; by
            default as for `fit`. Only "motion" and "curve" depend on them.

        Returns
        -------
        numpy.ndarray of float32 (n_series, n_features)
            The embeddings. The row of a series does not depend on the other series. With "motion"
            the fewer dates a series has, the nearer is its embedding to the mean, and a series
            without any observation has NaN.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the embedding is not fitted.
        TypeError
            If `X` does not hold real numbers, or is masked, or `time` does not hold dates.
        ValueError
            If values are missing, there are fewer than two dates, the dates are not ascending or
            beyond those of `fit`, or a feature overflows float32.
        """
        check_is_fitted(self)
        series = self._series(X)
        days = days_of(time, series.shape[1])
        centered = series - means_of(series)
        with one_blas_thread(), np.errstate(over="ignore"):  # refused below
            if self.representation in CLOCKED:
                features = self._motion(centered, days)
            else:
                features = np.empty((len(centered), self.n_features), np.float32)
                for rows, tile, states in self._tiles(centered):
                    features[rows] = self._features(tile, states)[: rows.stop - rows.start]
        seen = np.isfinite(series).any(axis=1)
        if bad := np.count_nonzero(~np.isfinite(features[seen]).all(axis=1)):
            raise ValueError(
                "X must hold series of about the size of those of fit, whose standard deviation is "
                f"{self.scale_:g} mm, got {bad} of {len(features)} whose features overflow float32"
            )
        return features

    def _series(self, X: Any) -> np.ndarray:
        """Return `X` as float64, or raise; "readout" and "last" take no gaps."""
        return checked_series(X, gaps=self.representation in CLOCKED)

    def _clock_states(self, days: np.ndarray) -> np.ndarray:
        """Return the states (day, unit) that the calendar drives, or raise if it does not reach."""
        first, last = self.period_
        if days[0] < first or days[-1] > last:
            span, found = (
                [str(as_date(day)) for day in pair] for pair in (self.period_, days[[0, -1]])
            )
            raise ValueError(
                f"time must lie within the dates of fit, {span[0]} to {span[1]}, got {found[0]} to "
                f"{found[1]}"
            )
        return run_clock(days, self.period_, self.internal_weights_, self.input_weights_)

    def _set_motion(self, motion: Motion) -> None:
        self.scale_ = float(np.sqrt(motion.noise))
        self.mean_, self.components_ = motion.mean_states, motion.functions
        self.coefficient_means_, self.coefficient_variances_ = motion.mean, motion.variance
        self.mixing_ = motion.mixing

    def _motion(self, series: np.ndarray, days: np.ndarray) -> np.ndarray:
        """Return the features (series, feature) of series with gaps at some days."""
        basis = (self._clock_states(days) - self.mean_) @ self.components_.T
        found = regress(
            series,
            basis,
            self.coefficient_means_,
            np.diag(self.coefficient_variances_),
            self.scale_**2,
        )
        away = found.coefficients - self.coefficient_means_
        # One product for each series, so that its result does not depend on the others.
        features = (away[:, np.newaxis] @ self.mixing_)[:, 0].astype(np.float32)
        features[~np.isfinite(series).any(axis=1)] = np.nan
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
            return cls._from_arrays(_npz.load_arrays(path, largest=LARGEST_FILE))
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
        n_components = embedding._n_components
        if embedding.representation in CLOCKED:  # as many as the dates tell apart
            n_components = len(np.atleast_1d(arrays["coefficient_variances"]))
        sizes = {"component": n_components, "feature": embedding.n_features}
        for name, shape in _shapes(embedding.representation).items():
            shape = tuple(sizes.get(size, size) for size in shape)
            array = arrays[name]
            if array.shape != shape or (shape and not np.isfinite(array).all()):
                raise ValueError(
                    f"{name} must be finite numbers of shape {shape}, got shape {array.shape}"
                )
            if shape:
                setattr(embedding, f"{name}_", array)
        embedding.scale_ = arrays["scale"].item()
        return embedding


def require_parameters(embedding: ReservoirEmbedding) -> None:
    """Raise unless the parameters of an embedding are valid."""
    require_integer(embedding.n_features, "n_features", least=2, most=N_UNITS)
    require_choice(embedding.representation, "representation", REPRESENTATIONS)
    require_random_state(embedding.random_state)


def arrays_of(embedding: ReservoirEmbedding) -> dict[str, np.ndarray]:
    """Return everything on which a fitted embedding depends."""
    check_is_fitted(embedding)
    arrays = {
        "n_features": np.asarray(embedding.n_features, np.int64),
        "representation": np.asarray(embedding.representation),
        "random_state": np.asarray(embedding.random_state, np.int64),
        "ridge": np.asarray(RIDGE),
        "scale": np.asarray(embedding.scale_),
    }
    shapes = _shapes(embedding.representation)
    return arrays | {name: getattr(embedding, f"{name}_") for name in shapes if name not in arrays}


def _shapes(representation: Any) -> dict[str, tuple]:
    """Return the shapes of the arrays in a file of an embedding."""
    shapes: dict[str, tuple] = {
        "n_features": (), "representation": (), "random_state": (), "ridge": (), "scale": (),
        "mean": (N_UNITS,), "components": ("component", N_UNITS),
        "internal_weights": (N_UNITS, N_UNITS), "input_weights": (N_UNITS,),
    }  # fmt: skip
    if representation in CLOCKED:
        shapes |= {
            "input_weights": (N_UNITS, 4), "period": (2,), "mixing": ("component", "feature"),
            "coefficient_means": ("component",), "coefficient_variances": ("component",),
        }  # fmt: skip
    return shapes
