"""Embeddings of displacement series by reservoir computing.

A reservoir is a random recurrent network that is never trained. Driven by a series, its state at
each date is a nonlinear memory of the dates before. The readout is then trained for each series by
itself: a ridge regression that predicts the next displacement from the state. Its coefficients say
how the series moves on, whatever its dates, and are the embedding; the other one is the last state.

References
----------
F. M. Bianchi, S. Scardapane, S. Løkse, R. Jenssen (2021). Reservoir computing approaches for
representation and classification of multivariate time series. IEEE Transactions on Neural Networks
and Learning Systems 32(5), 2169-2179. doi:10.1109/TNNLS.2020.3001377: there the readout is the
output model space. The reservoir is that of its package, reservoir-computing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils.insar import fill_gaps
from cookbook_utils.shards import PointShards, ShardWriter

N_UNITS = 100
SPECTRAL_RADIUS, INPUT_SCALING, RIDGE = 0.99, 0.05, 10.0
"""Of the reservoir and the readout: chosen by how well k-means on the readout, with and without
static features, finds the known regimes of the three simulated sites."""
N_SERIES = 2048  # on which an embedding is fitted
TILE = 32  # series at a time: products of fixed shape round alike wherever a series is
BLOCK = 4096  # points read, filled and embedded at a time

Representation = Literal["readout", "last"]


class ReservoirEmbedding:
    """A reservoir and a reduction of its states, fitted once, that embed any number of series.

    Parameters
    ----------
    n_features : int, default 32
        Size of an embedding, 2 to 100.
    representation : {"readout", "last"}, default "readout"
        The readout: ``n_features - 1`` coefficients of the principal components of the states, and
        the intercept. Or the ``n_features`` principal components of the last state.
    seed : int, default 0
        Of the reservoir.

    Attributes
    ----------
    scale_ : float
        The unit in which the reservoir sees displacement, mm: the standard deviation of all series
        of the sample. Series differ in scale, which tells them apart, so all share one unit.
    mean_, components_ : numpy.ndarray
        The principal components of the states, by falling variance, the largest weight of each
        positive.

    Examples
    --------
    >>> series = np.sin(np.linspace(0, 20, 60) * np.linspace(1, 2, 30)[:, np.newaxis])
    >>> embedding = ReservoirEmbedding(8).fit(series)
    >>> features = embedding.transform(series)
    >>> features.shape, np.array_equal(embedding.transform(series[5:7]), features[5:7])
    ((30, 8), True)
    """

    def __init__(
        self, n_features: int = 32, *, representation: Representation = "readout", seed: int = 0
    ) -> None:
        if representation not in ("readout", "last"):
            raise ValueError(
                f"representation must be 'readout' or 'last', found {representation!r}"
            )
        if not isinstance(n_features, int | np.integer) or not 2 <= n_features <= N_UNITS:
            raise ValueError(f"n_features must be an integer, 2 to {N_UNITS}, found {n_features!r}")
        self.n_features, self.representation, self.seed = n_features, representation, seed

    def fit(self, series: Any) -> ReservoirEmbedding:
        """Draw the reservoir, and find the unit and the principal components of its states.

        Parameters
        ----------
        series : array of float (series, time)
            Displacement, mm, without gaps: a sample of what is to be embedded.

        Returns
        -------
        ReservoirEmbedding
            Itself.

        Raises
        ------
        ValueError
            If values are missing, all series are constant, or there are too few values.
        """
        from threadpoolctl import threadpool_limits

        centered = _centered(series)
        if centered.size < N_UNITS:
            raise ValueError(
                f"an embedding is fitted on at least {N_UNITS} values, found {centered.shape}"
            )
        self.scale_ = float(centered.std())
        if self.scale_ == 0:
            raise ValueError("every series is constant, so there is nothing to embed")
        self._reservoir = _draw_reservoir(self.seed)
        n, total, product = 0, np.zeros(N_UNITS), np.zeros((N_UNITS, N_UNITS))
        with threadpool_limits(1):
            for rows, _, states in self._tiles(centered):
                flat = states[: rows.stop - rows.start].reshape(-1, N_UNITS)
                n, total, product = n + len(flat), total + flat.sum(axis=0), product + flat.T @ flat
            self.mean_ = total / n
            _, vectors = np.linalg.eigh(product / n - np.outer(self.mean_, self.mean_))
        n_components = self.n_features - (self.representation == "readout")
        components = vectors[:, ::-1].T[:n_components]
        largest = np.abs(components).argmax(axis=1)
        signs = np.sign(components[np.arange(n_components), largest])
        self.components_ = components * signs[:, np.newaxis]
        return self

    def transform(self, series: Any) -> np.ndarray:
        """Embed series.

        Parameters
        ----------
        series : array of float (series, time)
            Displacement, mm, without gaps. Its mean over time, which depends on the reference date
            alone, is taken off.

        Returns
        -------
        numpy.ndarray
            float32 (series, n_features). The row of a series does not depend on the others.

        Raises
        ------
        ValueError
            If values are missing, or a series has less than two dates.
        """
        from threadpoolctl import threadpool_limits

        centered = _centered(series)
        features = np.empty((len(centered), self.n_features), np.float32)
        with threadpool_limits(1):  # the products are too small for more
            for rows, tile, states in self._tiles(centered):
                if self.representation == "last":
                    states = states[:, -1]
                reduced = (states - self.mean_) @ self.components_.T
                if self.representation == "readout":
                    reduced = _readout(reduced[:, :-1], tile[:, 1:])
                features[rows] = reduced[: rows.stop - rows.start]
        return features

    def _tiles(self, centered: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield which series, their scaled values (TILE, time) and states (TILE, time, unit)."""
        for start in range(0, len(centered), TILE):
            rows = slice(start, min(start + TILE, len(centered)))
            tile = np.zeros((TILE, centered.shape[1]))
            tile[: rows.stop - start] = centered[rows] / self.scale_
            with _global_seed(0):  # noise of level 0 is drawn all the same
                states = self._reservoir.get_states(tile[..., np.newaxis], bidir=False)
            yield rows, tile, states

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to an .npz of plain arrays, whole or not at all."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp")
        with open(temporary, "wb") as file:
            np.savez(
                file,
                n_features=self.n_features,
                representation=self.representation,
                seed=self.seed,
                scale=self.scale_,
                mean=self.mean_,
                components=self.components_,
                internal_weights=self._reservoir._internal_weights,
                input_weights=self._reservoir._input_weights,
            )
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReservoirEmbedding:
        """Read what `save` wrote; it embeds alike, to the last bit."""
        with np.load(path, allow_pickle=False) as arrays:
            given = dict(arrays)
        embedding = cls(
            int(given["n_features"]),
            representation=str(given["representation"]),
            seed=int(given["seed"]),
        )
        embedding.scale_ = float(given["scale"])
        embedding.mean_, embedding.components_ = given["mean"], given["components"]
        embedding._reservoir = _draw_reservoir(embedding.seed)
        # The same weights were drawn, unless versions of NumPy or SciPy differ.
        embedding._reservoir._internal_weights = given["internal_weights"]
        embedding._reservoir._input_weights = given["input_weights"]
        return embedding


def embed_series(
    displacement: xr.DataArray,
    *,
    n_features: int = 32,
    representation: Representation = "readout",
    seed: int = 0,
) -> xr.DataArray:
    """Embed the series of points that fit in memory.

    Parameters
    ----------
    displacement : xarray.DataArray
        (point, time), mm, without gaps, as `insar.fill_gaps` leaves it.
    n_features, representation, seed
        As for `ReservoirEmbedding`, which is fitted on at most 2048 of the points.

    Returns
    -------
    xarray.DataArray
        float32 (point, feature), with the coordinates of the points.

    Raises
    ------
    TypeError, ValueError
        If `displacement` is not a DataArray with these dimensions, or as `ReservoirEmbedding` says.

    Examples
    --------
    >>> time = np.linspace(0, 5, 100)
    >>> series = xr.DataArray(np.outer([0, -1, -20, -21], time), dims=("point", "time"))
    >>> features = embed_series(series, n_features=8)
    >>> features.dims, features.shape, features.dtype.name
    (('point', 'feature'), (4, 8), 'float32')
    """
    require_dims(displacement, ("point", "time"), "displacement")
    displacement = displacement.transpose("point", "time")
    values = displacement.values
    embedding = ReservoirEmbedding(n_features, representation=representation, seed=seed)
    embedding.fit(np.concatenate([values[rows] for rows in _sample(len(values))]))
    features = displacement.isel(time=0, drop=True).expand_dims(feature=n_features, axis=1)
    features = features.copy(data=embedding.transform(values))
    features.attrs = {"long_name": f"reservoir embedding, {representation}"}
    return features.rename("dynamic")


def embed_shards(
    source_folder: str | os.PathLike[str],
    target_folder: str | os.PathLike[str],
    *,
    n_features: int = 32,
    representation: Representation = "readout",
    seed: int = 0,
    method: Literal["linear", "pchip"] = "linear",
    step: str | None = None,
    shard_size: int = 65536,
    progress: Callable[..., Iterable] | None = None,
) -> Path:
    """Fill and embed raw series in shards, any number of them, into shards of features.

    Parameters
    ----------
    source_folder : path
        Shards with the features ``displacement``, named by date, and perhaps ``static``.
    target_folder : path
        Where the same points go, with the features ``dynamic``, the embeddings, and ``static``;
        its ``attrs`` are those of the source with ``embedding``, the options, added.
    n_features, representation, seed
        As for `ReservoirEmbedding`, which is fitted on 2048 points spread over the folder and saved
        as ``embedding.npz`` in the target.
    method, step
        As for `insar.fill_gaps`.
    shard_size : int, default 65536
        Points in a shard of the target.
    progress : callable, optional
        Such as ``tqdm.auto.tqdm``: wraps what is iterated over, given ``desc`` and ``total``.

    Returns
    -------
    pathlib.Path
        `target_folder`. A complete one with the same options is left as it is; an interrupted run
        leaves whole shards, behind which the next one goes on. A point without any observation has
        NaN as embedding.

    Raises
    ------
    FileNotFoundError, ValueError
        If the source is not whole, holds no series, or the target holds something else.
    """
    source, target = PointShards(source_folder), Path(target_folder)
    if "displacement" not in source.features:
        raise ValueError(
            f"{source.folder} has no features displacement; it has: {', '.join(source.features)}"
        )
    options = {"n_features": n_features, "representation": representation, "seed": seed}
    filling = {"method": method, "step": step}
    n = source.n_points
    kinds = {"dynamic": [f"{representation}_{i:02}" for i in range(n_features)]}
    kinds |= {kind: names for kind, names in source.features.items() if kind == "static"}
    attrs = source.attrs | {"embedding": options | filling | {"n_points": n}}
    embedding = ReservoirEmbedding(**options)
    writer = ShardWriter(target, kinds, shard_size=shard_size, attrs=attrs)
    if writer.complete:
        return target

    def filled(rows: slice) -> np.ndarray:
        time = np.array(source.features["displacement"], "datetime64[ns]")
        series = (("point", "time"), source.read("displacement", rows))
        points = xr.Dataset({"displacement": series}, {"time": time})
        return fill_gaps(points, **filling).displacement.values

    target.mkdir(parents=True, exist_ok=True)
    if writer.n_points:
        embedding = ReservoirEmbedding.load(target / "embedding.npz")
    else:
        sample = np.concatenate([filled(rows) for rows in _sample(n)])
        embedding.fit(sample[~np.isnan(sample).any(axis=1)]).save(target / "embedding.npz")
    blocks = range(writer.n_points, n, BLOCK)
    with writer:
        for start in progress(blocks, desc="embedding", total=len(blocks)) if progress else blocks:
            rows = slice(start, start + BLOCK)
            series = filled(rows)
            seen = ~np.isnan(series).any(axis=1)
            features = {"dynamic": np.full((len(series), n_features), np.nan, np.float32)}
            features["dynamic"][seen] = embedding.transform(series[seen])
            if "static" in kinds:
                features["static"] = source.read("static", rows)
            place = [source.read(key, rows) for key in ("point", "longitude", "latitude")]
            writer.append(*place, **features)
    return target


def _sample(n: int) -> list[slice]:
    """Return `N_SERIES` of `n` points, or all, in runs, since a run is read in one piece."""
    if n <= N_SERIES:
        return [slice(0, n)]
    starts = np.linspace(0, n, 32, endpoint=False, dtype=int)
    return [slice(start, start + N_SERIES // 32) for start in starts.tolist()]


def _centered(series: Any) -> np.ndarray:
    series = np.asarray(series, np.float64)
    if series.ndim != 2 or series.shape[1] < 2:
        raise ValueError(
            f"series needs shape (series, time) with at least two dates, found {series.shape}"
        )
    if missing := np.count_nonzero(~np.isfinite(series).all(axis=1)):
        raise ValueError(
            f"{missing} of {len(series)} series have gaps: fill them with "
            "cookbook_utils.insar.fill_gaps, and leave out those without any observation"
        )
    return series - series.mean(axis=1, keepdims=True)


def _readout(states: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return coefficients and intercept of a ridge regression for each series.

    Parameters
    ----------
    states : numpy.ndarray
        (series, time, component).
    target : numpy.ndarray
        (series, time).

    Returns
    -------
    numpy.ndarray
        (series, component + 1).
    """
    centers, level = states.mean(axis=1), target.mean(axis=1)
    states = states - centers[:, np.newaxis]
    transposed = states.transpose(0, 2, 1)
    gram = transposed @ states
    gram[:, range(gram.shape[1]), range(gram.shape[1])] += RIDGE
    right = transposed @ (target - level[:, np.newaxis])[..., np.newaxis]
    coefficients = np.linalg.solve(gram, right)[..., 0]
    intercept = level - np.einsum("ij,ij->i", centers, coefficients)
    return np.column_stack([coefficients, intercept])


def _draw_reservoir(seed: int) -> Any:
    from reservoir_computing.reservoir import Reservoir

    with _global_seed(seed):
        reservoir = Reservoir(
            N_UNITS, spectral_radius=SPECTRAL_RADIUS, input_scaling=INPUT_SCALING, noise_level=0.0
        )
        reservoir.get_states(np.zeros((1, 1, 1)), bidir=False)  # draws the weights of the input
    return reservoir


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which the package draws from, and leave it as it was."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
