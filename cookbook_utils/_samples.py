"""Reductions over labeled samples by cluster, block by block where they are lazy, and counts."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import LARGEST
from cookbook_utils._conventions.labels import (
    align_labels,
    as_labels,
    class_names,
    nodata_label,
    paired_labels,
)
from cookbook_utils._conventions.nodata import mask_and_float, without_nodata

MOST_PAIRS = 2**25
"""Largest number of pairs of labels that are counted, 8 bytes each."""

BLOCKS_PER_THREAD = 4
"""Blocks of lazy samples that are reduced before others are read."""


def profiles_by_label(samples: xr.DataArray, labels: Any, what: str) -> xr.Dataset:
    """Return `metrics.cluster_profiles` of samples that are called `what` in error messages."""

    def sums(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        return sums_by_label(labels, [np.ones(len(labels)), *values.T, *np.abs(values.T)])

    totals = sum_over_blocks(sums, samples, labels, what)
    count = totals[:, :1]
    require_any(count)
    mean, magnitude = np.split(totals[:, 1:] / np.maximum(count, 1), 2, axis=1)
    magnitude[magnitude == 0] = 1

    def squares(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        # Relative to the mean magnitude, since the squares of tiny deviations would underflow.
        deviations = (
            (values[:, band] - mean[labels, band]) / magnitude[labels, band]
            for band in range(mean.shape[1])
        )
        return sums_by_label(labels, (deviation**2 for deviation in deviations))

    variance = sum_over_blocks(squares, samples, labels, what) / np.maximum(count, 1)
    std = np.sqrt(variance) * magnitude
    return _profiles(samples, count[:, 0].astype(np.int64), mean, std)


def _profiles(
    samples: xr.DataArray, count: np.ndarray, mean: np.ndarray, std: np.ndarray
) -> xr.Dataset:
    """Return the statistics of the labels that occur as a Dataset with the bands of `samples`."""
    present = np.flatnonzero(count)
    bands = {
        name: coord.variable for name, coord in samples.coords.items() if coord.dims == ("band",)
    }
    # A mean that equals the nodata value of the samples is not nodata.
    attrs = without_nodata(samples.attrs)
    return xr.Dataset(
        {
            "mean": (("cluster", "band"), mean[present], attrs),
            "std": (("cluster", "band"), std[present], attrs),
            "count": ("cluster", count[present]),
        },
        coords={"cluster": present, **bands},
    )


def sums_by_label(labels: np.ndarray, weights: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sum of each of `weights` by label, shape (`nodata_label`, number of weights)."""
    n_labels = nodata_label(labels.dtype)
    return np.stack([np.bincount(labels, w, n_labels) for w in weights], axis=-1)


def sum_over_blocks(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    samples: xr.DataArray,
    labels: Any,
    what: str = "samples",
) -> np.ndarray:
    """Return the sum of ``function(labels, values)`` over the blocks of `samples`.

    The function gets the labels (n,) and values (n, band) of the valid pixels of one block: those
    with a label and all bands. Error messages call the samples `what`.
    """
    import dask

    labels = align_labels(labels, samples)
    samples = mask_and_float(samples).transpose(*labels.dims, "band")

    def block(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        labels, values = labels.ravel(), values.reshape(-1, values.shape[-1])
        valid = _valid(labels, values, what)
        return function(labels[valid], values[valid])

    if samples.chunks is None:
        return block(labels.values, samples.values)
    samples = samples.data.rechunk({samples.ndim - 1: -1})
    labels = labels.chunk(dict(zip(labels.dims, samples.chunks, strict=False))).data
    pairs = zip(labels.to_delayed().ravel(), samples.to_delayed().ravel(), strict=True)
    parts = [dask.delayed(block)(*pair) for pair in pairs]
    sums, most = 0, _blocks_at_once(len(parts))
    for start in range(0, len(parts), most):
        # One after the other: those of uint16 labels take megabytes.
        sums += functools.reduce(dask.delayed(operator.add), parts[start : start + most]).compute()
    return sums


def _blocks_at_once(n_blocks: int) -> int:
    """Return how many blocks to hand to Dask: all if it holds reads back, as a client's does.

    Threads of this process would read most bands of a large scene before they reduce the first.
    """
    from dask.base import get_scheduler
    from dask.system import CPU_COUNT

    return n_blocks if get_scheduler() else BLOCKS_PER_THREAD * CPU_COUNT


def valid_labels(samples: xr.DataArray, labels: Any) -> np.ndarray:
    """Return the labels of samples (pixel, band), `nodata_label` where a band is missing."""
    labels = align_labels(labels, samples)

    def block(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        nodata = labels.dtype.type(nodata_label(labels.dtype))
        return np.where(_valid(labels, values, "samples"), labels, nodata)

    values = mask_and_float(samples)
    if values.chunks is not None:
        values, labels = values.chunk(band=-1), labels.chunk(pixel=values.chunksizes["pixel"])
    return xr.apply_ufunc(
        block, labels, values, input_core_dims=[[], ["band"]],
        dask="parallelized", output_dtypes=[labels.dtype],
    ).values  # fmt: skip


def _valid(labels: np.ndarray, values: np.ndarray, what: str) -> np.ndarray:
    """Return where there are a label and all bands, or raise if a value there is infinite."""
    valid = (labels != nodata_label(labels.dtype)) & ~np.isnan(values).any(axis=-1)
    require_finite(values[valid], what)
    return valid


def require_finite(values: np.ndarray, what: str) -> None:
    """Raise ValueError unless all values are at most `LARGEST` in magnitude."""
    if values.size and not float(np.abs(values).max()) <= LARGEST:
        wrong = values.flat[np.argmax(~(np.abs(values.astype(np.float64)) <= LARGEST))]
        raise ValueError(f"{what} must be finite and within ±{LARGEST:g}, got {wrong}")


def require_any(count: np.ndarray) -> None:
    """Raise ValueError if no valid pixel was counted."""
    if not count.any():
        raise ValueError(
            "labels and samples must share a pixel that has both a label and all its bands, "
            "got none"
        )


def valid_in_both(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the pixels that are valid in both, each as a 1-D array."""
    nodata = nodata_label(one.dtype)
    valid = (one != nodata) & (two != nodata)
    _require_shared(valid, one.size)
    return one[valid], two[valid]


def _require_shared(valid: np.ndarray, n_pixels: int) -> None:
    """Raise ValueError if no pixel of two maps is valid in both."""
    if not valid.any():
        raise ValueError(
            f"the maps must share a pixel that is valid in both, got none of {n_pixels}"
        )


def count_pairs(one: xr.DataArray, two: xr.DataArray, names: tuple[str, str]) -> pd.DataFrame:
    """Return `metrics.transition_matrix` of two label maps called `names`."""
    one, two = (
        as_labels(labels, what, getattr(labels, "dims", ("y", "x"))).compute()
        for labels, what in zip((one, two), names, strict=True)
    )
    counts = pair_counts(*paired_labels(one, two, names), names)
    rows, columns = (
        class_names(labels, occurring(each)) for labels, each in ((one, counts), (two, counts.T))
    )
    valid = counts.iloc[:-1, :-1]
    _require_shared(valid.to_numpy(), one.size)
    valid = valid.reindex(index=list(rows), columns=list(columns), fill_value=0)
    valid.index = pd.Index(list(rows.values()), name=names[0])
    valid.columns = pd.Index(list(columns.values()), name=names[1])
    return valid


def pair_counts(one: np.ndarray, two: np.ndarray, names: tuple[str, str]) -> pd.DataFrame:
    """Return the number of pixels of each pair of labels of `paired_labels`.

    Rows are the labels of `one` and columns those of `two` that may occur; the last is nodata.

    Raises
    ------
    ValueError
        If there are more than `MOST_PAIRS` pairs. The message calls the labels `names`.
    """
    one, two = one.ravel(), two.ravel()
    rows, columns = _possible(one), _possible(two)
    n_pairs = rows.size * columns.size
    if n_pairs > MOST_PAIRS:
        raise ValueError(
            f"{names[0]} and {names[1]} must have at most {MOST_PAIRS} pairs of labels, got "
            f"{rows.size - 1} and {columns.size - 1} labels: merge some with "
            "cookbook_utils.labels.name_clusters"
        )
    row_of, column_of = np.zeros((2, nodata_label(one.dtype) + 1), int)
    row_of[rows], column_of[columns] = np.arange(rows.size) * columns.size, np.arange(columns.size)
    counts = np.zeros(n_pairs, int)
    step = max(2**20, n_pairs)  # pixels at a time; each takes 8 bytes
    for at in range(0, one.size, step):
        pairs = row_of[one[at : at + step]] + column_of[two[at : at + step]]
        counts += np.bincount(pairs, minlength=n_pairs)
    return pd.DataFrame(counts.reshape(rows.size, columns.size), rows, columns)


def occurring(counts: pd.DataFrame) -> list[int]:
    """Return the labels of the rows of `pair_counts` that have pixels, without nodata."""
    found = counts.index[counts.to_numpy().any(axis=1)].tolist()
    return [label for label in found if label != counts.index[-1]]


def _possible(labels: np.ndarray) -> np.ndarray:
    """Return all labels of uint8, or those of uint16 that occur, ascending, nodata last."""
    n_labels = nodata_label(labels.dtype) + 1
    if labels.dtype == np.uint8:
        return np.arange(n_labels)
    return np.union1d(pd.unique(labels), n_labels - 1).astype(int)
