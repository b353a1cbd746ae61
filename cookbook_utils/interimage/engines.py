"""Interfaces of engines, which hold all pixels, and of kernels, which work on one block of them.

The parameter ``engine`` of `InterImageKMeans` names an `Engine`:

=========== ============== =================================================
``engine``  class          kernels
=========== ============== =================================================
"numpy"     `LocalEngine`  ``numpy_kernels``
"numba"     `LocalEngine`  ``numba_kernels``
"cupy"      `CupyEngine`   ``cupy_kernels``
"dask"      `DaskEngine`   ``numba_kernels``, or ``cupy_kernels`` for chunks
                           that are CuPy arrays
=========== ============== =================================================
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from cookbook_utils.interimage.arithmetic import FixedPoint, Scores
from cookbook_utils.interimage.bounds import PixelBounds
from cookbook_utils.interimage.passes import Changes, Distances, Extent
from cookbook_utils.interimage.sampling import Sampling


class Engine(Protocol):
    """Hold the pixels and labels of all scenes, or of a sample of them, and run passes over them.

    All engines return the same results to the bit. Pixels have no label before the first `assign`.
    """

    dtype: np.dtype
    """Dtype of the pixels, one of `arithmetic.DTYPES`."""

    def extent(self) -> Extent:
        """Return the range of each band over all valid pixels, and their number."""

    def assign(self, fixed_point: FixedPoint, scores: Scores) -> Changes:
        """Label each valid pixel with its nearest center, and return what that changed."""

    def label(self, scores: Scores) -> None:
        """Label each valid pixel with its nearest center."""

    def sum_squared_distances(self, fixed_point: FixedPoint, centers: np.ndarray) -> Distances:
        """Sum the squared distances of pixels to their centers, and find the farthest pixel."""

    def digest(self) -> int:
        """Return a hash, 64 bits, of all valid pixels and their positions."""

    def cluster_sizes(self, n_clusters: int) -> np.ndarray:
        """Return the number of pixels of each cluster in each scene, int64 (scenes, n_clusters)."""

    def valid_pixels(self, sampling: Sampling | None = None) -> np.ndarray:
        """Return all valid pixels, or a sample, in host memory, (n, bands), in any order."""

    def labels(self) -> list:
        """Return the labels of each scene in its shape, `nodata_label` where invalid."""

    def predict(self, scores: Scores) -> list:
        """Label each valid pixel and return the labels as `labels` does, lazily for Dask arrays."""

    def close(self) -> None:
        """Let go of the pixels; an error that is kept, as in a notebook, refers to the engine."""


class Kernels(Protocol):
    """Functions of a module that work on a part of one block of pixels.

    ``values`` is an array (bands, n) of one of `arithmetic.DTYPES` with contiguous bands, and
    ``labels`` an array (n,), uint8 or uint16 by `label_dtype`, that is `nodata_label` where a pixel
    is invalid. ``part`` is the slice of pixels to work on.
    """

    @staticmethod
    def threads() -> int:
        """Return the number of threads that should call these functions at a time."""

    @staticmethod
    def uses_bounds(n_clusters: int, bands: int) -> bool:
        """Return whether `assign` is faster with bounds that are kept from pass to pass."""

    @staticmethod
    def assign(
        values: Any,
        labels: Any,
        part: slice,
        fixed_point: FixedPoint,
        scores: Scores,
        first: bool,
        bounds: PixelBounds | None = None,
    ) -> Changes:
        """Update ``labels`` in place to the nearest centers, and return what that changed.

        With ``first``, no pixel has a label yet, and all valid pixels count as changed. ``bounds``
        save time if `uses_bounds`, and never change the result.
        """

    @staticmethod
    def sum_squared_distances(
        values: Any,
        labels: Any,
        part: slice,
        fixed_point: FixedPoint,
        centers: np.ndarray,
    ) -> Distances:
        """Sum the squared distances of pixels to their centers, and find the farthest pixel."""
