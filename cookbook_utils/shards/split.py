"""The split of points into train and test points."""

from __future__ import annotations

from typing import Any

import numpy as np

from cookbook_utils._checks import require_number, require_random_state
from cookbook_utils._hashing import GOLDEN, splitmix64
from cookbook_utils.shards._parameters import as_point_numbers

_INCREMENT = np.uint64(0x632BE59BD9B4E019)  # any odd number, so that 0 is not hashed to 0


def is_test(points: Any, *, test_fraction: float = 0.2, random_state: int = 0) -> np.ndarray:
    """Return which points are test points, by a hash of their numbers and a random seed.

    A point stays a test point whatever other points there are and however they are stored.

    Parameters
    ----------
    points : array_like of int
        Numbers of points.
    test_fraction : float, default 0.2
        Expected fraction of test points, from 0 to 1.
    random_state : int, default 0
        Random seed of the split, from 0 to 2**32 - 1.

    Returns
    -------
    numpy.ndarray of bool
        Whether each point is a test point, in the shape of `points`.

    Raises
    ------
    TypeError
        If `points` or `random_state` are not integers, or `test_fraction` is not a number.
    ValueError
        If `test_fraction` or `random_state` is out of range.

    See Also
    --------
    PointShards.batches : Iterate over the points of a split.

    References
    ----------
    The hash is the output function of SplitMix64: G. L. Steele, D. Lea, C. H. Flood (2014), Fast
    splittable pseudorandom number generators, doi:10.1145/2660193.2660195.

    Examples
    --------
    >>> round(float(is_test(np.arange(100_000), test_fraction=0.25).mean()), 2)
    0.25
    """
    test_fraction = require_number(test_fraction, "test_fraction", least=0, most=1)
    random_state = require_random_state(random_state)
    hashed = as_point_numbers(points, "points").astype(np.uint64)
    with np.errstate(over="ignore"):
        for word in (np.uint64(random_state), np.uint64(0)):
            hashed = splitmix64(hashed + word * GOLDEN + _INCREMENT)
    return (hashed >> np.uint64(11)) * 2.0**-53 < test_fraction
