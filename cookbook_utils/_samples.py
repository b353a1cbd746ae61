"""Reductions over labeled samples by cluster, block by block where they are lazy, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import LARGEST
from cookbook_utils._conventions.labels import (
    N_LABELS,
    NODATA_LABEL,
    align_labels,
    as_labels,
    class_names,
    paired_labels,
)
from cookbook_utils._conventions.nodata import mask_and_float, without_nodata


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
    """Return the sum of each of `weights` by label, shape (`NODATA_LABEL`, number of weights)."""
    return np.stack([np.bincount(labels, w, NODATA_LABEL) for w in weights], axis=-1)


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
    return dask.delayed(sum)([dask.delayed(block)(*pair) for pair in pairs]).compute()


def valid_labels(samples: xr.DataArray, labels: Any) -> np.ndarray:
    """Return the labels of samples (pixel, band), `NODATA_LABEL` where a band is missing."""
    labels = align_labels(labels, samples)

    def block(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.where(_valid(labels, values, "samples"), labels, np.uint8(NODATA_LABEL))

    values = mask_and_float(samples)
    if values.chunks is not None:
        values, labels = values.chunk(band=-1), labels.chunk(pixel=values.chunksizes["pixel"])
    return xr.apply_ufunc(
        block, labels, values, input_core_dims=[[], ["band"]],
        dask="parallelized", output_dtypes=[np.uint8],
    ).values  # fmt: skip


def _valid(labels: np.ndarray, values: np.ndarray, what: str) -> np.ndarray:
    """Return where there are a label and all bands, or raise if a value there is infinite."""
    valid = (labels != NODATA_LABEL) & ~np.isnan(values).any(axis=-1)
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
    valid = (one != NODATA_LABEL) & (two != NODATA_LABEL)
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
    counts = _pair_table(*paired_labels(one, two, names))
    rows, columns = (
        class_names(labels, np.flatnonzero(counts.sum(axis=axis)[:NODATA_LABEL]).tolist())
        for labels, axis in ((one, 1), (two, 0))
    )
    valid = counts[:NODATA_LABEL, :NODATA_LABEL]
    _require_shared(valid, one.size)
    return pd.DataFrame(
        valid[np.ix_(list(rows), list(columns))],
        pd.Index(list(rows.values()), name=names[0]),
        pd.Index(list(columns.values()), name=names[1]),
    )


def _pair_table(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the number of pixels of each pair of labels, nodata included, (N_LABELS, N_LABELS)."""
    one, two = one.ravel(), two.ravel()
    counts = np.zeros(N_LABELS**2, int)
    step = 2**20  # pixels at a time, so that the pairs, 8 bytes each, take little memory
    for at in range(0, one.size, step):
        pairs = one[at : at + step].astype(int) * N_LABELS + two[at : at + step]
        counts += np.bincount(pairs, minlength=N_LABELS**2)
    return counts.reshape(N_LABELS, N_LABELS)
