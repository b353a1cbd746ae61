"""Draw pixels by a hash of their position, so that all engines and chunks draw the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cookbook_utils._hashing import GOLDEN, splitmix64

POSITIONS_PER_PASS = 2**16  # so that temporary arrays stay in the processor's cache


@dataclass(frozen=True)
class Sampling:
    """A random sample of the pixels of all scenes.

    References
    ----------
    Steele, G. L., Lea, D., Flood, C. H. (2014). Fast splittable pseudorandom number generators.
    OOPSLA 2014, 453-472 (the mixing function). doi:10.1145/2660193.2660195
    """

    share: float
    """Share of the pixels that is drawn, above 0 and at most 1."""
    stratified: bool
    """Whether one pixel is drawn from each stratum, a run of 1 / share pixels of a scene.

    Otherwise each pixel is drawn independently with probability `share`."""
    seed: int
    """Random seed."""

    def positions(self, scene: int, start: int, stop: int) -> np.ndarray:
        """Return the flat positions in a scene, from `start` up to `stop`, that are drawn.

        Parameters
        ----------
        scene : int
            Index of the scene.
        start, stop : int
            Range of flat positions in the scene; `stop` is excluded.

        Returns
        -------
        numpy.ndarray of int64
            Flat positions in increasing order.
        """
        # The hash of a stratum's number says which of its pixels is drawn; without strata, the hash
        # of a pixel's number says whether it is drawn.
        first, last = start, stop
        if self.stratified:
            first, last = np.floor(start * self.share), np.floor((stop - 1) * self.share) + 1
        numbers = np.arange(first, last)
        drawn = [
            self._drawn(scene, numbers[at : at + POSITIONS_PER_PASS])
            for at in range(0, len(numbers), POSITIONS_PER_PASS)
        ]
        position = np.concatenate([np.empty(0, np.int64), *drawn])
        return position[(start <= position) & (position < stop)]

    def _drawn(self, scene: int, number: np.ndarray) -> np.ndarray:
        """Return the positions that are drawn from strata, or from pixels, of these numbers."""
        if not self.stratified:
            return number[self._uniform(scene, number) < self.share]
        begin, end = self._start_of(number), self._start_of(number + 1)
        return (begin + np.floor(self._uniform(scene, number) * (end - begin))).astype(np.int64)

    def _start_of(self, stratum: np.ndarray) -> np.ndarray:
        """Return the least position whose ``floor(position * share)``, in float64, is `stratum`."""
        first = np.ceil(stratum / self.share)
        first += np.floor(first * self.share) < stratum
        first -= np.floor((first - 1) * self.share) >= stratum
        return first

    def _uniform(self, scene: int, number: np.ndarray) -> np.ndarray:
        """Return a hash of each number, uniform in [0, 1)."""
        z = number.astype(np.uint64)
        for key in (self.seed, scene):
            z = splitmix64((z + np.uint64(key + 1)) * GOLDEN)
        return (z >> np.uint64(11)) * 2.0**-53
