"""Embedding of the series of points, in memory or from one folder of shards to another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from cookbook_utils._checks import (
    progress_bar,
    require_choice,
    require_dims,
    require_integer,
    require_rising_time,
    shown,
)
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._conventions.points import dates_of, step_of
from cookbook_utils._files import as_path
from cookbook_utils._npz import digest_of
from cookbook_utils.insar import fill_gaps
from cookbook_utils.reservoir.estimator import (
    CLOCKED,
    Representation,
    ReservoirEmbedding,
    arrays_of,
    require_parameters,
)
from cookbook_utils.shards import PointShards, ShardWriter
from cookbook_utils.shards._manifest import MANIFEST
from cookbook_utils.shards.writer import write_once

SERIES_OF_FIT = 2048  # series on which an embedding is fitted
POINTS_PER_BLOCK = 4096  # points that are read, filled and embedded at a time


def embed_series(
    displacement: xr.DataArray,
    *,
    n_features: int = 32,
    representation: Representation = "motion",
    random_state: int = 0,
) -> xr.DataArray:
    """Embed the displacement series of points that fit in memory.

    Use it before clustering points by their motion. `embed_shards` embeds points in shards.

    Parameters
    ----------
    displacement : xarray.DataArray
        Displacement (point, time) in mm. With "motion" and "curve" it has gaps as they were
        delivered, and the coordinate ``time``, without which the dates are 6 days apart; otherwise
        the gaps are filled, as by `insar.fill_gaps`.
    n_features : int, default 32
        As for `ReservoirEmbedding`, which is fitted on at most 2048 of the points.
    representation : {"motion", "curve", "readout", "last"}, default "motion"
        As for `ReservoirEmbedding`.
    random_state : int, default 0
        As for `ReservoirEmbedding`.

    Returns
    -------
    xarray.DataArray
        Embeddings (point, feature), float32, with the coordinates of the points; NaN for a point
        without any observation.

    Raises
    ------
    TypeError
        If `displacement` is not a DataArray of real numbers, its times are not dates, or an option
        has the wrong type.
    ValueError
        If `displacement` has other dimensions, dates that are not ascending, or gaps where none may
        be, or as for `ReservoirEmbedding.fit`.

    Examples
    --------
    >>> time = np.linspace(0, 5, 100)
    >>> series = xr.DataArray(np.outer([0, -1, -20, -21], time), dims=("point", "time"))
    >>> features = embed_series(series, n_features=8)
    >>> features.dims, features.shape, features.dtype.name
    (('point', 'feature'), (4, 8), 'float32')
    """
    embedding = ReservoirEmbedding(
        n_features,
        representation=representation,
        random_state=random_state,
    )
    require_parameters(embedding)
    require_dims(displacement, ("point", "time"), "displacement")
    if "time" in displacement.coords:
        require_rising_time(displacement, "displacement")
    displacement = mask_and_float(displacement).transpose("point", "time")
    values = displacement.values
    if values.size and np.isnan(values).all():
        raise ValueError("displacement must have observations, got only missing values")
    time = displacement["time"].values if "time" in displacement.coords else None
    embedding.fit(np.concatenate([values[rows] for rows in _sample(len(values))]), time=time)
    features = displacement.isel(time=0, drop=True).expand_dims(feature=int(n_features), axis=1)
    features = features.copy(data=embedding.transform(values, time=time))
    features.attrs = {"long_name": f"reservoir embedding, {representation}"}
    return features.rename("dynamic")


def embed_shards(
    source_folder: str | os.PathLike[str],
    target_folder: str | os.PathLike[str],
    *,
    n_features: int = 32,
    representation: Representation = "motion",
    random_state: int = 0,
    method: Literal["linear", "pchip"] = "linear",
    step: str | None = None,
    shard_size: int = 65536,
    progress: Callable[..., Iterable] | None = None,
) -> Path:
    """Embed the series in a folder of shards into another folder.

    Use it in place of `embed_series` where the series do not fit in memory. An interrupted run
    leaves complete shards, and the next run continues after them.

    Parameters
    ----------
    source_folder : str or os.PathLike
        Shards with the features ``displacement``, named by date, and optionally ``static``.
    target_folder : str or os.PathLike
        Folder for the shards of the same points with the features ``dynamic``, the embeddings, and
        ``static``. Their ``attrs`` are those of the source with ``embedding`` added: the options,
        and digests of the series and of the fitted embedding.
    n_features : int, default 32
        As for `ReservoirEmbedding`, which is fitted on 2048 points spread over the folder and saved
        as ``embedding.npz`` in the target.
    representation : {"motion", "curve", "readout", "last"}, default "motion"
        As for `ReservoirEmbedding`.
    random_state : int, default 0
        As for `ReservoirEmbedding`.
    method : {"linear", "pchip"}, default "linear"
        As for `insar.fill_gaps`, by which gaps are filled for "readout" and "last".
    step : str, optional
        As for `insar.fill_gaps`. With "motion" and "curve", which need no regular dates, it must be
        None.
    shard_size : int, default 65536
        Number of points in a shard of the target.
    progress : callable, optional
        Progress bar such as ``tqdm.auto.tqdm``: it is called with an iterable and the keyword
        arguments ``desc`` and ``total``, and returns an iterable.

    Returns
    -------
    pathlib.Path
        `target_folder`. If it already holds all shards of the same source, options and embedding,
        it is unchanged. A point without any observation has the embedding NaN.

    Raises
    ------
    TypeError
        If an option has the wrong type.
    FileNotFoundError
        If there are no shards in the source.
    ValueError
        If the source is damaged or incomplete, or has no displacement series with ascending dates;
        if the target holds something else, such as features of other series or of another
        embedding; or if an option is invalid.
    OSError
        If the target cannot be written, or another process is still writing it after two minutes.

    Examples
    --------
    >>> import tempfile
    >>> from cookbook_utils.simulate import write_site
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     raw = write_site(folder, "insar_lyngen", n_points=200)
    ...     shards = PointShards(embed_shards(raw, Path(folder) / "features", n_features=4))
    ...     shards.n_points, shards.features["dynamic"]
    (200, ['motion_00', 'motion_01', 'motion_02', 'motion_03'])
    """
    embedding = ReservoirEmbedding(
        n_features,
        representation=representation,
        random_state=random_state,
    )
    require_parameters(embedding)
    require_integer(shard_size, "shard_size", least=1)
    bar = progress_bar(progress)
    target = as_path(target_folder, "target_folder")
    source = _Series.open(as_path(source_folder, "source_folder"), representation, method, step)

    saved = target / "embedding.npz"
    if (target / MANIFEST).is_file() and saved.is_file():
        embedding = ReservoirEmbedding.load(saved)
    else:
        sample = np.concatenate([source.read(rows) for rows in _sample(source.shards.n_points)])
        embedding.fit(sample[~np.isnan(sample).all(axis=1)], time=source.dates)

    features = {"dynamic": [f"{representation}_{i:02}" for i in range(n_features)]}
    features |= {kind: source.shards.features[kind] for kind in source.kinds[1:]}
    options = {
        "n_features": int(n_features),
        "representation": representation,
        "random_state": int(random_state),
    }
    attrs = source.shards.attrs | {"embedding": options | source.description(embedding)}

    def write(writer: ShardWriter) -> None:
        if saved.is_file():
            ReservoirEmbedding.load(saved)  # raises if the file is not an embedding
        if not (writer.n_points and saved.is_file()):
            embedding.save(saved)
        _append_embedded(writer, source, embedding, bar)

    write_once(target, features, write, shard_size=shard_size, attrs=attrs)
    return target


class _Series(NamedTuple):
    """Displacement series in shards, with their gaps filled as they are read, if need be."""

    shards: PointShards
    time: np.ndarray
    """Dates of the displacements."""
    filling: dict[str, Any]
    """Options of `insar.fill_gaps`, or nothing if gaps are left as they are."""

    @classmethod
    def open(cls, folder: Path, representation: str, method: str, step: Any) -> _Series:
        require_choice(method, "method", ("linear", "pchip"))
        step_of(step)
        if representation in CLOCKED and step is not None:
            raise ValueError(
                f"step must be None for the representation {representation!r}, which takes the "
                f"dates as they are, got {shown(step)}"
            )
        shards = PointShards(folder)
        if "displacement" not in shards.features:
            raise ValueError(
                f"{shards.folder} has no features displacement; it has {', '.join(shards.features)}"
            )
        names = shards.features["displacement"]
        time = dates_of(names, f"{shards.folder}: the names of displacement")
        if representation in CLOCKED:
            return cls(shards, time, {})
        return cls(shards, time, {"method": method, "step": step if step is None else str(step)})

    @property
    def dates(self) -> np.ndarray | None:
        """The dates of the series, if the embedding depends on them; None where gaps are filled."""
        return None if self.filling else self.time

    @property
    def kinds(self) -> list[str]:
        """The kinds of features that are read: displacement, and static if there is one."""
        return [kind for kind in ("displacement", "static") if kind in self.shards.features]

    def read(self, rows: slice) -> np.ndarray:
        """Return series (point, time); filled ones are NaN only without any observation."""
        if not self.filling:
            return self.shards.read("displacement", rows)
        series = (("point", "time"), self.shards.read("displacement", rows))
        points = xr.Dataset({"displacement": series}, {"time": self.time})
        return fill_gaps(points, **self.filling).displacement.values

    def description(self, embedding: ReservoirEmbedding) -> dict[str, Any]:
        """Return what an interrupted run must have in common with the one that continues it."""
        return self.filling | {
            "n_points": self.shards.n_points,
            "source": self.shards.digest(self.kinds),
            "matrices": digest_of(arrays_of(embedding)),
        }


def _append_embedded(
    writer: ShardWriter,
    source: _Series,
    embedding: ReservoirEmbedding,
    bar: Callable[..., Iterable],
) -> None:
    """Embed the points that the writer does not have yet, block by block."""
    blocks = range(writer.n_points, source.shards.n_points, POINTS_PER_BLOCK)
    for start in bar(blocks, desc="embedding", total=len(blocks)):
        rows = slice(start, start + POINTS_PER_BLOCK)
        series = source.read(rows)
        seen = ~np.isnan(series).all(axis=1)
        dynamic = np.full((len(series), embedding.n_features), np.nan, np.float32)
        dynamic[seen] = embedding.transform(series[seen], time=source.dates)
        features = {kind: source.shards.read(kind, rows) for kind in source.kinds[1:]}
        place = [source.shards.read(key, rows) for key in ("point", "longitude", "latitude")]
        writer.append(*place, dynamic=dynamic, **features)


def _sample(n: int) -> list[slice]:
    """Return 32 evenly spaced slices with `SERIES_OF_FIT` of `n` points, or one slice of all."""
    if n <= SERIES_OF_FIT:
        return [slice(0, n)]
    starts = np.linspace(0, n, 32, endpoint=False, dtype=int)
    return [slice(start, start + SERIES_OF_FIT // 32) for start in starts.tolist()]
