"""Results of passes over the pixels, and how the results for parts of them are merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Extent(NamedTuple):
    """The range of each band and the number of valid pixels."""

    low: np.ndarray
    """(bands,) float64; 0 if there are no valid pixels."""
    high: np.ndarray
    """(bands,) float64; 0 if there are no valid pixels."""
    n_pixels: int
    """Number of valid pixels."""


class Changes(NamedTuple):
    """What a pass that assigns labels has changed."""

    n_changed: int
    """Number of pixels whose label changed."""
    sums: np.ndarray
    """(k, bands) int64, change of the sum of each cluster, in fixed point."""
    counts: np.ndarray
    """(k,) int64, change of the number of pixels of each cluster."""


class Distances(NamedTuple):
    """Squared distances of pixels to the centers of their labels."""

    total: int
    """Their sum, in fine steps of `FixedPoint`."""
    largest: float
    """The largest of them; -1 if there are no valid pixels."""
    farthest: np.ndarray
    """(bands,) float64, the pixel with the largest distance, as `farthest_pixel` chooses it."""


def merge_extents(parts: Iterable[Extent]) -> Extent:
    """Return the extent of several parts together."""
    parts = list(parts)
    # A part without valid pixels has the range 0 to 0, which must not count.
    lows, highs, numbers = zip(*([p for p in parts if p.n_pixels] or parts), strict=True)
    return Extent(np.min(lows, axis=0), np.max(highs, axis=0), int(sum(numbers)))


def merge_changes(parts: Iterable[Changes]) -> Changes:
    """Return the sum of the changes of several parts."""
    return Changes(*(sum(numbers) for numbers in zip(*parts, strict=True)))


def merge_distances(parts: Iterable[Distances]) -> Distances:
    """Return the distances of several parts together."""
    totals, *candidates = zip(*parts, strict=True)
    return Distances(sum(totals), *farthest_pixel(zip(*candidates, strict=True)))


def farthest_pixel(candidates: Iterable[tuple[float, np.ndarray]]) -> tuple[float, np.ndarray]:
    """Return the candidate (squared distance, pixel) with the largest distance.

    Of equally far pixels it is the one with the smaller value in the first band that differs. The
    choice therefore does not depend on the order of the candidates.
    """
    return max(candidates, key=lambda candidate: (candidate[0], tuple(-candidate[1])))
