"""The engine for scenes in host memory: each scene is a block, and threads work on parts of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL, label_dtype
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores, native_dtype
from cookbook_utils.interimage.blocks import (
    PIXELS_PER_HASH,
    Scene,
    array_module,
    digest,
    extent,
    is_labeled,
    label_counts,
    load,
    to_host,
)
from cookbook_utils.interimage.bounds import Bounds, PixelBounds
from cookbook_utils.interimage.engines import Kernels
from cookbook_utils.interimage.passes import (
    Changes,
    Distances,
    Extent,
    merge_changes,
    merge_distances,
    merge_extents,
)
from cookbook_utils.interimage.sampling import Sampling

PARTS_PER_THREAD = 2  # so that a thread that ends early takes over a part of another
LEAST_PIXELS_PER_PART = 2**16  # to hand on smaller ones takes longer than to work on them


class LocalEngine:
    """Engine for scenes in host memory; methods are described in `engines.Engine`.

    Parameters
    ----------
    scenes : list of Scene
        The pixels of each scene. Arrays of a native dtype with contiguous bands are not copied.
    kernels : Kernels
        Module with the functions for one block.
    sampling : Sampling, optional
        Which pixels to hold; by default all.
    n_clusters : int, default 255
        Largest number of centers, which determines the dtype of the labels.
    """

    def __init__(
        self,
        scenes: list[Scene],
        kernels: Kernels,
        sampling: Sampling | None = None,
        n_clusters: int = NODATA_LABEL,
    ):
        self._kernels, self._first = kernels, True
        self._bounds: Bounds | None = None
        self._pool: ThreadPoolExecutor | None = None  # its threads end when the engine is deleted
        self._shapes = [scene.values.shape[1:] for scene in scenes]
        self.dtype = native_dtype(np.result_type(*(scene.values.dtype for scene in scenes)))
        self._label_dtype = label_dtype(n_clusters)
        self._blocks = []
        for index, (scene, shape) in enumerate(zip(scenes, self._shapes, strict=True)):
            chosen = None
            if sampling is not None:
                chosen = sampling.positions(index, 0, int(np.prod(shape)))
            self._blocks.append(self._load(scene, chosen))

    def _load(self, scene: Scene, chosen: np.ndarray | None) -> tuple[Any, Any]:
        scene = scene._replace(values=np.asarray(scene.values))
        return load(scene, self.dtype, self._label_dtype, chosen)

    def extent(self) -> Extent:
        return merge_extents(extent(*block) for block in self._blocks)

    def assign(self, fixed_point: FixedPoint, scores: Scores) -> Changes:
        first, self._first = self._first, False
        bounds: list[PixelBounds | None] = [None] * len(self._blocks)
        if not first and self._kernels.uses_bounds(*scores.centers.shape):
            self._bounds = self._bounds or Bounds([labels.size for _, labels in self._blocks])
            bounds = self._bounds.moved(scores)

        def of_part(index: int, part: slice) -> Changes:
            block = self._blocks[index]
            return self._kernels.assign(*block, part, fixed_point, scores, first, bounds[index])

        return merge_changes(self._over_parts(of_part))

    def label(self, scores: Scores) -> None:
        # Sums are not needed, and could overflow for pixels outside of the range of a fit.
        self.assign(FixedPoint.without_sums(scores.centers.shape[1]), scores)

    def sum_squared_distances(self, fixed_point: FixedPoint, centers: np.ndarray) -> Distances:
        def of_part(index: int, part: slice) -> Distances:
            block = self._blocks[index]
            return self._kernels.sum_squared_distances(*block, part, fixed_point, centers)

        return merge_distances(self._over_parts(of_part))

    def digest(self) -> int:
        parts = list(self._cut(-(-self._size() // PIXELS_PER_HASH)))
        ends = np.cumsum([at.stop - at.start for _, at in parts])

        def of_part(part: tuple[int, slice], end: int) -> int:
            (values, labels), at = self._blocks[part[0]], part[1]
            position = np.arange(end - (at.stop - at.start), end)
            return digest(values[:, at], labels[at], position)

        return sum(self._map(of_part, parts, ends)) % 2**64

    def cluster_sizes(self, n_clusters: int) -> np.ndarray:
        return np.stack([label_counts(labels) for _, labels in self._blocks])[:, :n_clusters]

    def valid_pixels(self, sampling: Sampling | None = None) -> np.ndarray:
        pixels = []
        for scene, (values, labels) in enumerate(self._blocks):
            if sampling is not None:
                drawn = sampling.positions(scene, 0, labels.size)
                values = values[:, array_module(values).asarray(drawn)]
                labels = labels[array_module(labels).asarray(drawn)]
            valid = array_module(values).asarray(to_host(is_labeled(labels)))
            pixels.append(to_host(values[:, valid]).astype(self.dtype, copy=False))
        return np.concatenate(pixels, axis=1).T

    def labels(self) -> list:
        return [
            labels.reshape(shape)
            for (_, labels), shape in zip(self._blocks, self._shapes, strict=True)
        ]

    def predict(self, scores: Scores) -> list:
        self.label(scores)
        return self.labels()

    def close(self) -> None:
        self._blocks, self._bounds = [], None

    def _over_parts(self, function: Callable[[int, slice], Any]) -> list:
        """Call ``function(index, part)`` for parts of all blocks, in threads."""
        n_threads = self._kernels.threads()
        parts = list(self._cut(PARTS_PER_THREAD * n_threads if n_threads > 1 else 1))
        return self._map(lambda part: function(*part), parts)

    def _map(self, function: Callable, first: list, *others: Any) -> list:
        n_threads = self._kernels.threads()
        if n_threads == 1 or len(first) == 1:
            return list(map(function, first, *others))
        if self._pool is None:  # kept, because starting threads takes 5 % of an iteration
            self._pool = ThreadPoolExecutor(n_threads)
        return list(self._pool.map(function, first, *others))

    def _size(self) -> int:
        return sum(labels.size for _, labels in self._blocks)

    def _cut(self, n_parts: int) -> Iterator[tuple[int, slice]]:
        """Yield about `n_parts` parts of similar size, at least one per block, with its index."""
        size = max(LEAST_PIXELS_PER_PART, -(-self._size() // max(n_parts, 1)))
        for index, (_, labels) in enumerate(self._blocks):
            for start in range(0, max(labels.size, 1), size):
                yield index, slice(start, min(start + size, labels.size))
