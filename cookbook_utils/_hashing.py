"""The hash function by which the package draws pixels and points independently of their order."""

from __future__ import annotations

from typing import Any

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio; its multiples are spread evenly over the 64-bit integers."""


def splitmix64(z: Any) -> Any:
    """Mix the bits of each integer of a uint64 array, so that the results look random.

    This is the output function of SplitMix64: G. L. Steele, D. Lea, C. H. Flood (2014), Fast
    splittable pseudorandom number generators, doi:10.1145/2660193.2660195.
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
