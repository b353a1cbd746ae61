"""Estimators of accuracy and area from a confusion matrix, after Olofsson et al. (2014).

Rows of a confusion matrix are the classes of the map, which are the strata, columns those of the
reference. Intervals are at the level of 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cookbook_utils._checks import shown
from cookbook_utils._conventions.labels import class_text

Z = 1.96
"""Standard normal quantile of an interval at the level of 95 %."""


class Estimates(NamedTuple):
    """Estimates and their standard errors; arrays are in the order of the classes."""

    overall: float
    overall_se: float
    users: np.ndarray
    users_se: np.ndarray
    producers: np.ndarray
    producers_se: np.ndarray
    shares: np.ndarray
    shares_se: np.ndarray
    kappa: float


def require_confusion(confusion: Any) -> pd.DataFrame:
    """Return a confusion matrix with the same classes as rows and columns, those of rows first.

    Classes become text of one word, as in ``flag_meanings``.

    Raises
    ------
    TypeError
        If it is not a DataFrame of real numbers.
    ValueError
        If rows are named as the reference or columns as the map, a class has two rows or columns,
        or a count is negative or not finite.
    """
    if not isinstance(confusion, pd.DataFrame):
        raise TypeError(f"confusion must be a pandas.DataFrame, got {type(confusion).__name__}")
    if confusion.index.name == "reference" or confusion.columns.name == "map":
        raise ValueError(
            "confusion must have the classes of the map as rows and those of the reference as "
            f"columns, got rows named {confusion.index.name!r} and columns named "
            f"{confusion.columns.name!r}: transpose it"
        )
    if any(getattr(dtype, "kind", "O") not in "iuf" for dtype in confusion.dtypes):
        raise TypeError(
            "confusion must hold real numbers, got the dtypes "
            f"{sorted({str(dtype) for dtype in confusion.dtypes})}"
        )
    for names, what in ((confusion.index, "rows"), (confusion.columns, "columns")):
        if not names.is_unique:
            raise ValueError(
                f"confusion must have one of its {what} for each class, got several for "
                f"{names[names.duplicated()][0]}"
            )
    values = confusion.to_numpy(np.float64)
    if not values.size or not (np.isfinite(values) & (values >= 0)).all() or not values.any():
        raise ValueError(
            "confusion must hold counts of at least 0, one of them above 0, got "
            f"{shown(confusion.to_numpy().tolist())}"
        )
    confusion = confusion.rename(index=class_text, columns=class_text)
    classes = list(dict.fromkeys([*confusion.index, *confusion.columns]))
    return confusion.reindex(index=classes, columns=classes, fill_value=0)


def as_areas(areas: Any, what: str) -> pd.Series:
    """Return areas by class as floats, or raise TypeError; error messages call them `what`."""
    if not isinstance(areas, Mapping | pd.Series):
        raise TypeError(
            f"{what} must be a pandas.Series or dict of areas by class, got {shown(areas)}"
        )
    try:
        return pd.Series(areas).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must hold real numbers, got {shown(areas)}") from error


def require_areas(areas: pd.Series, confusion: pd.DataFrame, what: str) -> np.ndarray:
    """Return the area of each class of `confusion`, 0 for a class that only the reference has.

    Error messages call the argument that the areas come from `what`.

    Raises
    ------
    ValueError
        If an area is negative or not finite, all are 0, a class that has an area has fewer than
        two reference pixels, from which its variance cannot be estimated, or one that has
        reference pixels has no area.
    """
    areas = areas.groupby(class_text, sort=False).sum(min_count=1)
    valid = np.isfinite(areas) & (areas >= 0)
    if not valid.all() or not (areas > 0).any():
        wrong = areas[~valid] if not valid.all() else areas
        raise ValueError(
            f"{what} must have areas that are finite, at least 0, and one of them above 0, got "
            f"{shown(wrong[:3].to_dict())}"
        )
    counts = confusion.sum(axis=1).reindex(areas.index, fill_value=0)
    if few := [name for name in areas.index[(areas > 0) & (counts < 2)]]:
        raise ValueError(
            f"{what} must have classes with at least 2 reference pixels each, got fewer for "
            f"{', '.join(map(str, few[:5]))}: add reference data, or merge classes of the map with "
            "cookbook_utils.labels.name_clusters"
        )
    found = areas.reindex(confusion.index, fill_value=0.0)
    if lost := [name for name in found.index[(found == 0) & (confusion.sum(axis=1) > 0)]]:
        raise ValueError(
            f"{what} must have an area for each class of the map with reference pixels, got none "
            f"for {', '.join(map(str, lost[:5]))}"
        )
    return found.to_numpy()


def stratified(confusion: pd.DataFrame, areas: np.ndarray) -> Estimates:
    """Return the estimates for strata of known `areas`: equations 1 to 11 of Olofsson et al."""
    counts = confusion.to_numpy(np.float64)
    weights = areas / areas.sum()
    totals = counts.sum(axis=1)
    within = counts / np.maximum(totals, 1)[:, None]
    joint = weights[:, None] * within  # equation 4
    # Variance of each cell of `joint`, of which equations 5, 7 and 10 are sums.
    spread = within * (1 - within) / np.maximum(totals - 1, 1)[:, None]
    variance = weights[:, None] ** 2 * spread
    users = _ratio(np.diag(counts), totals)
    shares = joint.sum(axis=0)
    producers = _ratio(np.diag(joint), shares)
    own, other = np.diag(variance), variance.sum(axis=0) - np.diag(variance)
    spent = (1 - producers) ** 2 * own + producers**2 * np.maximum(other, 0)
    return Estimates(
        overall=float(np.trace(joint)),
        overall_se=float(np.sqrt(own.sum())),
        users=users,
        users_se=np.where(totals > 0, np.sqrt(np.diag(spread)), np.nan),
        producers=producers,
        producers_se=_ratio(np.sqrt(spent), shares),
        shares=shares,
        shares_se=np.sqrt(variance.sum(axis=0)),
        kappa=cohens_kappa(joint),
    )


def unweighted(confusion: pd.DataFrame) -> Estimates:
    """Return the proportions of a confusion matrix with the standard errors of a binomial."""
    counts = confusion.to_numpy(np.float64)
    correct, total = np.diag(counts), counts.sum()
    overall = correct.sum() / total
    of_map, of_reference = counts.sum(axis=1), counts.sum(axis=0)
    shares = of_reference / total
    users, producers = _ratio(correct, of_map), _ratio(correct, of_reference)
    return Estimates(
        overall=float(overall),
        overall_se=float(_binomial_se(overall, total)),
        users=users,
        users_se=_binomial_se(users, of_map),
        producers=producers,
        producers_se=_binomial_se(producers, of_reference),
        shares=shares,
        shares_se=_binomial_se(shares, total),
        kappa=cohens_kappa(counts / total),
    )


def cohens_kappa(joint: np.ndarray) -> float:
    """Return Cohen's kappa of a matrix of proportions, NaN where chance agrees everywhere."""
    chance = float(joint.sum(axis=1) @ joint.sum(axis=0))
    return (float(np.trace(joint)) - chance) / (1 - chance) if chance < 1 - 1e-12 else np.nan


def normal_interval(estimate: Any, error: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the normal interval of proportions, clipped to 0 and 1."""
    return np.clip(estimate - Z * error, 0, 1), np.clip(estimate + Z * error, 0, 1)


def wilson_interval(proportion: Any, n: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of Wilson's score interval of proportions of `n`, NaN where `n` is 0."""
    p, n = np.asarray(proportion, np.float64), np.asarray(n, np.float64)
    n = np.where(n > 0, n, np.nan)
    center = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return np.clip(center - half, 0, 1), np.clip(center + half, 0, 1)


def _binomial_se(proportion: Any, n: Any) -> np.ndarray:
    """Return the standard error of proportions of `n`, NaN where `n` is 0."""
    return np.sqrt(_ratio(proportion * (1 - proportion), n))


def _ratio(one: Any, other: Any) -> np.ndarray:
    """Return ``one / other``, NaN where `other` is 0."""
    one, other = np.broadcast_arrays(np.asarray(one, np.float64), np.asarray(other, np.float64))
    return np.divide(one, other, out=np.full(one.shape, np.nan), where=other > 0)
