"""The rules of `labels.rule_table`, and the lookup table of `labels.name_clusters`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import shown
from cookbook_utils._conventions.labels import class_text, label_dtype, nodata_label
from cookbook_utils._samples import sums_by_label

Rules = Mapping[str, Callable[[xr.DataArray], Any]]


def require_class_name(name: Any, what: str) -> str:
    """Return the name of a class as one word, or raise unless it is text that is not blank."""
    if not isinstance(name, str):
        raise TypeError(f"{what} must be text, got {shown(name)}")
    if not name.strip():
        raise ValueError(f"{what} must not be blank, got {shown(name)}")
    return class_text(name)


def require_names(names: Any, nodata: int) -> dict[int, str]:
    """Return class names by cluster, below `nodata`, without the clusters whose name is missing.

    Raises
    ------
    TypeError
        If `names` is not a mapping or Series of whole numbers to text.
    ValueError
        If a number is not from 0 to the one before `nodata`, or a name is blank.
    """
    if not isinstance(names, Mapping | pd.Series):
        raise TypeError(
            "names must map clusters to class names, as a dict or pandas.Series, got "
            f"{type(names).__name__}"
        )
    if isinstance(names, pd.Series) and not names.index.is_unique:
        raise ValueError(
            "names must have one class for each cluster, got several for "
            f"{names.index[names.index.duplicated()][0]}"
        )
    found = {}
    for number, name in names.items():
        if isinstance(number, bool | np.bool_) or not isinstance(number, int | np.integer):
            raise TypeError(f"names must map whole numbers to class names, got {shown(number)}")
        if not 0 <= number < nodata:
            raise ValueError(
                f"names must be of clusters from 0 to {nodata - 1}, got {shown(number)}"
            )
        if name is None or name is pd.NA or (isinstance(name, float) and np.isnan(name)):
            continue
        found[int(number)] = require_class_name(name, f"names of the cluster {number}")
    return found


def lookup_table(
    names: dict[int, str], classes: list[str], default: str | None, nodata: int
) -> np.ndarray:
    """Return the number of the class of each cluster; -1 for one without a name.

    The table ends with `nodata`, which has the number of `nodata_label` for so many classes.
    """
    number_of = {name: number for number, name in enumerate(classes)}
    table = np.full(nodata + 1, -1 if default is None else number_of[default])
    table[nodata] = nodata_label(label_dtype(len(classes)))
    for number, name in names.items():
        table[number] = number_of[name]
    return table


def look_up(labels: np.ndarray, table: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the classes of clusters in a dtype, or raise ValueError if one has no name."""
    classes = table[labels]
    if (classes < 0).any():
        raise ValueError(
            "names must have a class for each cluster of labels, got none for "
            f"{np.unique(labels[classes < 0]).tolist()}: name them, or pass a default"
        )
    return classes.astype(dtype)


def require_rules(rules: Any, default: Any) -> dict[str, Callable[[xr.DataArray], Any]]:
    """Return rules by the name of their class, as one word, or raise unless they are functions."""
    if not isinstance(rules, Mapping):
        raise TypeError(f"rules must map class names to functions of spectra, got {shown(rules)}")
    if not rules:
        raise ValueError("rules must have a rule for a class, got none")
    found = {}
    for name, rule in rules.items():
        name = require_class_name(name, "rules' class names")
        if not callable(rule):
            raise TypeError(f"rules must map {name!r} to a function of spectra, got {shown(rule)}")
        found[name] = rule
    if require_class_name(default, "default") in found:
        raise ValueError(f"default must be the name of a class without a rule, got {default!r}")
    return found


def first_that_holds(rules: Rules, spectra: xr.DataArray) -> np.ndarray:
    """Return the number of the first rule that holds for each spectrum, or that of the default."""
    result = np.full(spectra.sizes["pixel"], len(rules))
    for number, (name, rule) in reversed(list(enumerate(rules.items()))):
        holds = np.asarray(rule(spectra))
        if holds.dtype != bool or holds.shape != result.shape:
            raise ValueError(
                f"rules must return one boolean for each spectrum, got dtype {holds.dtype} and the "
                f"shape {holds.shape} for {result.size} spectra from the rule of {name!r}"
            )
        result[holds] = number
    return result


def rule_sums(rules: Rules, spectra_of: Callable[[np.ndarray], xr.DataArray]) -> Callable:
    """Return a function that sums, by label, the pixels, their bands, and the pixels by class."""

    def sums(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
        if not labels.size:
            return np.zeros((nodata_label(labels.dtype), 1 + values.shape[1] + len(rules) + 1))
        pieces = np.array_split(values, len(values) // 500_000 + 1)  # bounds memory for the rules
        found = np.concatenate([first_that_holds(rules, spectra_of(piece)) for piece in pieces])
        votes = (found == number for number in range(len(rules) + 1))
        return sums_by_label(labels, [np.ones(len(labels)), *values.T, *votes])

    return sums
