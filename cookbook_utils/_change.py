"""The classes of `labels.change_map`: which pair of classes becomes which class of change."""

from __future__ import annotations

from collections import Counter

import numpy as np
import xarray as xr

from cookbook_utils._conventions.labels import (
    WATER_CLASSES,
    class_text,
    meanings_of,
    nodata_label,
)

WATER_CHANGES = {
    ("land", "land"): "land",
    ("water", "water"): "water",
    ("water", "land"): "lost",
    ("land", "water"): "gained",
}
"""Class of change for each pair of a class before and a class after, of water masks."""

CHANGE_CLASSES = tuple(WATER_CHANGES.values())
"""Classes of the change of water, by their numbers."""

CHANGE_WORD = "_to_"
"""Text between the two classes in the name of a change."""


def paired_names(before: xr.DataArray, after: xr.DataArray) -> list[dict[int, str]]:
    """Return the names of the classes of two maps by number.

    A map without names is a water mask, 0 land and 1 water, if the other one is a water mask or has
    no names either.

    Raises
    ------
    ValueError
        If one map has names other than land and water and the other has none.
    """
    names = [
        {number: class_text(name) for number, name in meanings_of(labels).items()}
        for labels in (before, after)
    ]
    for one, other, what in ((*names, "after"), (*names[::-1], "before")):
        if not other and one and set(one.values()) != set(WATER_CLASSES):
            raise ValueError(
                f"{what} must have the names of its classes in flag_meanings, as the other map "
                f"has, got none beside {' '.join(one.values())!r}: set them with "
                "cookbook_utils.labels.name_clusters"
            )
    return [found or dict(enumerate(WATER_CLASSES)) for found in names]


def classes_of_change(before: dict[int, str], after: dict[int, str]) -> dict[tuple[str, str], str]:
    """Return the class of change for each pair of names, in the order of their numbers.

    Unchanged classes come first, in the order of `before`, and keep their name. Of land and water,
    the changes are called lost and gained.

    Raises
    ------
    ValueError
        If two classes of change would have the same name.
    """
    one, two = dict.fromkeys(before.values()), dict.fromkeys(after.values())
    if set(one) == set(two) == set(WATER_CLASSES):
        return WATER_CHANGES
    same = {(name, name): name for name in one if name in two}
    changes = same | {(a, b): a + CHANGE_WORD + b for a in one for b in two if a != b}
    twice = [name for name, count in Counter(changes.values()).items() if count > 1]
    if twice:
        raise ValueError(
            "the names of the classes of before and after must give each change a name of its "
            f"own, got {twice[0]!r} for two changes: rename the classes"
        )
    return changes


def compare(
    before: np.ndarray,
    after: np.ndarray,
    names: list[dict[int, str]],
    changes: dict[tuple[str, str], str],
    dtype: np.dtype,
) -> np.ndarray:
    """Return the number of the change of each pixel, and the largest of `dtype` for nodata."""
    places = []  # of each label among the names of its map; after them nodata
    for labels, what, known in zip((before, after), ("before", "after"), names, strict=True):
        nodata = nodata_label(labels.dtype)
        other = np.setdiff1d(labels, (*known, nodata))
        if other.size:
            listed = ", ".join(f"{number} ({name})" for number, name in known.items())
            raise ValueError(
                f"{what} must hold only {listed} and {nodata} (nodata), got "
                f"{other[:5].tolist()}: name the clusters with "
                "cookbook_utils.labels.name_clusters"
            )
        place = np.full(nodata + 1, len(known))
        place[list(known)] = np.arange(len(known))
        places.append(place[labels])
    numbers = {pair: number for number, pair in enumerate(changes)}
    table = np.full([len(known) + 1 for known in names], nodata_label(dtype), dtype)
    for row, one in enumerate(names[0].values()):
        for column, two in enumerate(names[1].values()):
            table[row, column] = numbers[one, two]
    return table[tuple(places)]
