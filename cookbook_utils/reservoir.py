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
output model space. The reservoir is that of its package, reservoir-computing, drawn from a
generator of its own: the package draws from NumPy's global one, which other threads draw from too.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from cookbook_utils import _files
from cookbook_utils._checks import (
    as_real_array,
    progress_bar,
    require_choice,
    require_dims,
    require_integer,
    require_random_state,
    require_rising_time,
)
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._conventions.points import dates_of, step_of
from cookbook_utils._files import as_path
from cookbook_utils._threads import one_blas_thread
from cookbook_utils.insar import fill_gaps
from cookbook_utils.shards import PointShards, ShardWriter

N_UNITS, CONNECTIVITY = 100, 0.3
SPECTRAL_RADIUS, INPUT_SCALING, RIDGE = 0.99, 0.05, 10.0
"""Of the reservoir and the readout: chosen by how well k-means on the readout, with and without
static features, finds the known regimes of the three simulated sites."""
N_SERIES = 2048  # on which an embedding is fitted
TILE = 32  # series at a time: products of fixed shape round alike wherever a series is
BLOCK = 4096  # points read, filled and embedded at a time
MOST_BYTES = 2**20  # of a file that `save` wrote, the largest of which has 0.2 MB

REPRESENTATIONS = ("readout", "last")
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
    internal_weights_, input_weights_ : numpy.ndarray
        The reservoir: (100, 100) from unit to unit, and (100,) from the series to each unit.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as described.

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
        self.n_features = require_integer(n_features, "n_features", least=2, most=N_UNITS)
        self.representation = require_choice(representation, "representation", REPRESENTATIONS)
        self.seed = require_random_state(seed, "seed")

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
        TypeError
            If `series` does not hold real numbers, or is masked.
        ValueError
            If values are missing, all series are constant, or there are too few values.
        """
        centered = _centered(series)
        if centered.size < N_UNITS:
            raise ValueError(
                f"series must have at least {N_UNITS} values to fit an embedding on, got shape "
                f"{centered.shape}"
            )
        scale = float(centered.std())
        # The mean of equal values is rounded, which leaves a little of them.
        if scale <= 4 * np.finfo(float).eps * np.abs(np.asarray(series)).max():
            raise ValueError("every series is constant, so there is nothing to embed")
        self.scale_ = scale
        self.internal_weights_, self.input_weights_ = _draw_reservoir(self.seed)
        n, total, product = 0, np.zeros(N_UNITS), np.zeros((N_UNITS, N_UNITS))
        with one_blas_thread():
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
        TypeError
            If `series` does not hold real numbers, or is masked.
        ValueError
            If values are missing, a series has less than two dates, a feature overflows float32, or
            the embedding has not been fitted.
        """
        self._require_fitted()
        centered = _centered(series)
        features = np.empty((len(centered), self.n_features), np.float32)
        with one_blas_thread():  # the products are too small for more
            for rows, tile, states in self._tiles(centered):
                if self.representation == "last":
                    states = states[:, -1]
                reduced = (states - self.mean_) @ self.components_.T
                if self.representation == "readout":
                    reduced = _readout(reduced[:, :-1], tile[:, 1:])
                with np.errstate(over="ignore"):  # raised below
                    features[rows] = reduced[: rows.stop - rows.start]
        if bad := np.count_nonzero(~np.isfinite(features).all(axis=1)):
            raise ValueError(
                f"series must be of the size of those that the embedding was fitted on, whose "
                f"standard deviation is {self.scale_:g} mm: the features of {bad} of "
                f"{len(features)} overflow float32"
            )
        return features

    def _tiles(self, centered: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield which series, their scaled values (TILE, time) and states (TILE, time, unit)."""
        for start in range(0, len(centered), TILE):
            rows = slice(start, min(start + TILE, len(centered)))
            tile = np.zeros((TILE, centered.shape[1]))
            tile[: rows.stop - start] = centered[rows] / self.scale_
            yield rows, tile, self._states(tile)

    def _states(self, series: np.ndarray) -> np.ndarray:
        """Return the states (n, time, unit) of the reservoir driven by series (n, time)."""
        state = np.zeros((len(series), N_UNITS))
        states = np.empty((*series.shape, N_UNITS))
        weights = self.input_weights_[:, np.newaxis]
        for t in range(series.shape[1]):
            state = np.tanh(self.internal_weights_ @ state.T + weights @ series[:, t : t + 1].T).T
            states[:, t] = state
        return states

    def _require_fitted(self) -> None:
        if not hasattr(self, "components_"):
            raise ValueError("this ReservoirEmbedding is not fitted yet: call fit(series) first")

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return everything that an embedding depends on."""
        self._require_fitted()
        return {
            "n_features": np.asarray(self.n_features, np.int64),
            "representation": np.asarray(self.representation),
            "seed": np.asarray(self.seed, np.int64),
            "ridge": np.asarray(RIDGE),
            "scale": np.asarray(self.scale_),
            "mean": self.mean_,
            "components": self.components_,
            "internal_weights": self.internal_weights_,
            "input_weights": self.input_weights_,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to an .npz of plain arrays with a checksum, whole or not at all.

        Raises
        ------
        ValueError
            If the embedding has not been fitted.
        OSError
            If the file cannot be written.
        """
        path, arrays = as_path(path, "path"), self._arrays()
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
        with _files.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays, digest=np.asarray(_digest(arrays)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReservoirEmbedding:
        """Read what `save` wrote; it embeds alike, to the last bit.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged, or not one that `save` wrote.
        """
        path = as_path(path, "path")
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"it holds {size} bytes, expected at most {MOST_BYTES}")
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in _SHAPES}
                if str(archive["digest"]) != _digest(arrays):
                    raise ValueError("its checksum is that of other values")
            return cls._from_arrays(arrays)
        except (
            ValueError, TypeError, KeyError, EOFError, SyntaxError, NotImplementedError,
            RuntimeError, MemoryError, OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
            struct.error,
        ) as error:  # fmt: skip
            raise ValueError(
                f"{path} is damaged, or not an embedding that ReservoirEmbedding.save wrote: "
                f"{error}; make it again"
            ) from None

    @classmethod
    def _from_arrays(cls, arrays: dict[str, np.ndarray]) -> ReservoirEmbedding:
        if float(arrays["ridge"]) != RIDGE:
            raise ValueError(f"its readout has the ridge {arrays['ridge']}, expected {RIDGE}")
        embedding = cls(
            arrays["n_features"].item(),
            representation=arrays["representation"].item(),
            seed=arrays["seed"].item(),
        )
        n = embedding.n_features - (embedding.representation == "readout")
        for name, shape in _SHAPES.items():
            shape = tuple(n if size is None else size for size in shape)
            array = arrays[name]
            if array.shape != shape or (shape and not np.isfinite(array).all()):
                raise ValueError(f"{name} must be finite numbers {shape}, got shape {array.shape}")
        embedding.scale_ = arrays["scale"].item()
        embedding.mean_, embedding.components_ = arrays["mean"], arrays["components"]
        embedding.internal_weights_ = arrays["internal_weights"]
        embedding.input_weights_ = arrays["input_weights"]
        return embedding


_SHAPES = {  # of what `save` writes; None: the number of principal components
    "n_features": (), "representation": (), "seed": (), "ridge": (), "scale": (),
    "mean": (N_UNITS,), "components": (None, N_UNITS),
    "internal_weights": (N_UNITS, N_UNITS), "input_weights": (N_UNITS,),
}  # fmt: skip


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays, their names, types and shapes."""
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


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
        If `displacement` is not a DataArray with these dimensions, its dates are no dates or do not
        rise, or as `ReservoirEmbedding` says.

    Examples
    --------
    >>> time = np.linspace(0, 5, 100)
    >>> series = xr.DataArray(np.outer([0, -1, -20, -21], time), dims=("point", "time"))
    >>> features = embed_series(series, n_features=8)
    >>> features.dims, features.shape, features.dtype.name
    (('point', 'feature'), (4, 8), 'float32')
    """
    embedding = ReservoirEmbedding(n_features, representation=representation, seed=seed)
    require_dims(displacement, ("point", "time"), "displacement")
    if "time" in displacement.coords:
        require_rising_time(displacement, "displacement")
    displacement = mask_and_float(displacement).transpose("point", "time")
    values = displacement.values
    embedding.fit(np.concatenate([values[rows] for rows in _sample(len(values))]))
    features = displacement.isel(time=0, drop=True).expand_dims(
        feature=embedding.n_features, axis=1
    )
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
        its ``attrs`` are those of the source with ``embedding`` added: the options, and digests of
        what was embedded and by which matrices.
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
        `target_folder`. A complete one of the same source, options and embedding is left as it is;
        an interrupted run leaves whole shards, behind which the next one goes on. A point without
        any observation has NaN as embedding.

    Raises
    ------
    TypeError
        If an option is of another type than described.
    FileNotFoundError, ValueError
        If the source is not whole, holds no series, or one whose dates do not rise; if the target
        holds something else, such as features of other values or by another embedding; or if an
        option is not as described.
    OSError
        If the target cannot be written, or another process is still writing it after two minutes.
    """
    embedding = ReservoirEmbedding(n_features, representation=representation, seed=seed)
    require_choice(method, "method", ("linear", "pchip"))
    step_of(step)
    require_integer(shard_size, "shard_size", least=1)
    bar = progress_bar(progress)
    target = as_path(target_folder, "target_folder")
    source = PointShards(as_path(source_folder, "source_folder"))
    if "displacement" not in source.features:
        raise ValueError(
            f"{source.folder} has no features displacement; it has: {', '.join(source.features)}"
        )
    filling = {"method": method, "step": step if step is None else str(step)}
    n = source.n_points
    time = dates_of(source.features["displacement"], f"{source.folder}: the names of displacement")

    def filled(rows: slice) -> np.ndarray:
        series = (("point", "time"), source.read("displacement", rows))
        points = xr.Dataset({"displacement": series}, {"time": time})
        return fill_gaps(points, **filling).displacement.values

    options = {
        "n_features": embedding.n_features,
        "representation": embedding.representation,
        "seed": embedding.seed,
    }
    kept, begun = target / "embedding.npz", (target / "manifest.json").is_file()
    if begun and kept.is_file():
        embedding = ReservoirEmbedding.load(kept)
    else:
        sample = np.concatenate([filled(rows) for rows in _sample(n)])
        embedding.fit(sample[~np.isnan(sample).any(axis=1)])
    # A run that goes on must be of the same values by the same matrices: else it is refused here.
    embedded = [kind for kind in ("displacement", "static") if kind in source.features]
    digests = {
        "source": source.digest(embedded),
        "matrices": _digest(embedding._arrays()),
    }
    kinds = {"dynamic": [f"{representation}_{i:02}" for i in range(n_features)]}
    kinds |= {kind: names for kind, names in source.features.items() if kind == "static"}
    attrs = source.attrs | {"embedding": options | filling | {"n_points": n} | digests}

    def write() -> ShardWriter:
        return ShardWriter(target, kinds, shard_size=shard_size, attrs=attrs)

    if write().complete:
        return target
    with _files.claim(target / "manifest.json"):
        writer = write()
        if writer.complete:  # another process wrote it meanwhile
            return target
        if kept.is_file():
            ReservoirEmbedding.load(kept)  # raises if it is a file of the user's
        if not (writer.n_points and kept.is_file()):
            embedding.save(kept)
        blocks = range(writer.n_points, n, BLOCK)
        with writer:
            for start in bar(blocks, desc="embedding", total=len(blocks)):
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
    series = np.asarray(as_real_array(series, "series"), np.float64)
    if series.ndim != 2 or series.shape[1] < 2:
        raise ValueError(
            f"series must have the shape (series, time) with at least two dates, got {series.shape}"
        )
    if missing := np.count_nonzero(~np.isfinite(series).all(axis=1)):
        raise ValueError(
            f"the series of displacement must have no gaps, got {missing} of {len(series)} with "
            "some: fill them with cookbook_utils.insar.fill_gaps, and leave out those without any "
            "observation"
        )
    if series.size and np.abs(series).max() > np.finfo(np.float32).max:
        raise ValueError(f"series must be finite in float32, got {np.abs(series).max():g}")
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


def _draw_reservoir(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (unit, unit) and of the input (unit,) that the package draws for a seed.

    A generator of its own, in the order of the package: where the weights are, how large, then the
    signs of the input.
    """
    random = np.random.RandomState(seed)  # noqa: NPY002  the package's distribution, bit for bit
    weights = np.zeros(N_UNITS**2)
    places = random.choice(N_UNITS**2, round(CONNECTIVITY * N_UNITS**2), replace=False)
    weights[places] = random.uniform(size=len(places)) - 0.5
    weights = np.ascontiguousarray(weights.reshape(N_UNITS, N_UNITS).T)  # columns come first
    with one_blas_thread():
        largest = np.abs(np.linalg.eig(weights)[0]).max()
    signs = 2.0 * random.binomial(1, 0.5, N_UNITS) - 1.0
    return weights / (largest / SPECTRAL_RADIUS), signs * INPUT_SCALING
