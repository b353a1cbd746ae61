"""The engine for NVIDIA GPUs, with pixels in device memory or streamed to it.

Pixels and labels stay in device memory from one iteration to the next. Pixels of the host that do
not fit are transferred again in each pass, in chunks from pinned memory, so that the kernel works
on one chunk during the transfer of the next. Labels always stay on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.interimage import cupy_kernels
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores
from cookbook_utils.interimage.blocks import Scene, array_module, digest, extent, load, to_host
from cookbook_utils.interimage.local_engine import LocalEngine
from cookbook_utils.interimage.passes import (
    Changes,
    Distances,
    Extent,
    merge_distances,
    merge_extents,
)
from cookbook_utils.interimage.sampling import Sampling

PIXEL_SHARE_OF_MEMORY = 0.7  # of free device memory; the rest is for temporary arrays
BYTES_PER_CHUNK = 2**26  # transferred, or worked on with temporary arrays, at a time


class CupyEngine(LocalEngine):
    """Engine for scenes in device memory or streamed to it; methods are those of `Engine`.

    Parameters
    ----------
    scenes : list of Scene
        The pixels of each scene, NumPy, CuPy or Dask arrays; Dask arrays are computed first.
    sampling : Sampling, optional
        Which pixels to hold; by default all.
    n_clusters : int, default 255
        Largest number of centers, which determines the dtype of the labels.
    """

    def __init__(
        self,
        scenes: list[Scene],
        sampling: Sampling | None = None,
        n_clusters: int = NODATA_LABEL,
    ):
        reason = cupy_kernels.why_unavailable()
        if reason is not None:
            raise RuntimeError(
                f"engine='cupy' needs an NVIDIA GPU and CuPy: {reason}. Install CuPy for the CUDA "
                "of the driver, `pip install 'cupy-cuda12x[ctk]'` or `'cupy-cuda13x[ctk]'`, or use "
                "another engine"
            )
        self._from_host: list[bool] = []  # whether each scene came from host memory
        self._stream: _ChunkStream | None = None
        super().__init__(scenes, cupy_kernels, sampling, n_clusters)

    def _load(self, scene: Scene, chosen: np.ndarray | None) -> tuple[Any, Any]:
        import cupy

        if hasattr(scene.values, "dask"):
            scene = scene._replace(values=scene.values.compute())
        from_host = array_module(scene.values) is np
        self._from_host.append(from_host)
        if not from_host:
            return load(scene, self.dtype, self._label_dtype, chosen)
        values = scene.values.reshape(len(scene.values), -1)
        if chosen is not None:
            values = values[:, chosen]
        labels = cupy.empty(values.shape[1], self._label_dtype)
        resident = cupy.empty(values.shape, self.dtype) if self._fits(values) else None

        def keep(chunk: Any, part: slice) -> None:
            scene_part = scene._replace(values=chunk)
            chunk, labels[part] = load(scene_part, self.dtype, self._label_dtype)
            if resident is not None:
                resident[:, part] = chunk

        self._transfer(values, keep)
        return (values if resident is None else resident), labels

    def _fits(self, values: np.ndarray) -> bool:
        import cupy

        free, _ = cupy.cuda.Device().mem_info
        free += cupy.get_default_memory_pool().free_bytes()
        return values.size * self.dtype.itemsize <= PIXEL_SHARE_OF_MEMORY * free

    def _transfer(self, values: np.ndarray, function: Callable[[Any, slice], Any]) -> list:
        """Call ``function(chunk, part)`` on the device for each chunk of pixels in host memory."""
        if self._stream is None:
            self._stream = _ChunkStream()
        return self._stream.map(function, values)

    def _each(self, function: Callable[[Any, Any], Any], *, in_chunks: bool = False) -> list:
        """Call ``function(values, labels)`` on the device for all pixels, and return its results.

        Pixels in host memory come in chunks, and resident pixels scene by scene unless `in_chunks`.
        """
        results = []
        for values, labels in self._blocks:
            if array_module(values) is np:
                results += self._transfer(
                    values,
                    lambda chunk, part, labels=labels: function(
                        array_module(chunk).ascontiguousarray(chunk, self.dtype), labels[part]
                    ),
                )
                continue
            size = _pixels_per_chunk(values) if in_chunks else values.shape[1]
            for part in _parts(values.shape[1], size):
                results.append(function(values[:, part], labels[part]))
        return results

    def extent(self) -> Extent:
        return merge_extents(self._each(extent, in_chunks=True))

    def assign(self, fixed_point: FixedPoint, scores: Scores) -> Changes:
        first, self._first = self._first, False
        changes = cupy_kernels.DeviceChanges(fixed_point, scores, first)
        self._each(changes.add)
        return changes.get()

    def sum_squared_distances(self, fixed_point: FixedPoint, centers: np.ndarray) -> Distances:
        def of_block(values: Any, labels: Any) -> Distances:
            everything = slice(0, labels.size)
            return cupy_kernels.sum_squared_distances(
                values, labels, everything, fixed_point, centers
            )

        return merge_distances(self._each(of_block))

    def digest(self) -> int:
        import cupy

        end = 0

        def of_block(values: Any, labels: Any) -> int:
            nonlocal end
            start, end = end, end + labels.size
            return digest(values, labels, cupy.arange(start, end))

        return sum(self._each(of_block, in_chunks=True)) % 2**64

    def labels(self) -> list:
        """Return the labels of each scene in its shape, on the host or device of its pixels."""
        pairs = zip(super().labels(), self._from_host, strict=True)
        return [to_host(labels) if from_host else labels for labels, from_host in pairs]


class _ChunkStream:
    """Transfer of chunks through two pinned buffers, each with a CUDA stream of its own.

    One buffer is filled while the kernel works on the other.
    """

    def __init__(self) -> None:
        import cupy
        import cupyx

        self._streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
        self._pinned = [cupyx.empty_pinned(BYTES_PER_CHUNK, np.uint8) for _ in self._streams]
        self._device = [cupy.empty(BYTES_PER_CHUNK, np.uint8) for _ in self._streams]

    def map(self, function: Callable[[Any, slice], Any], values: np.ndarray) -> list:
        """Call ``function(chunk, part)`` on the device for all chunks of pixels (bands, n)."""
        import cupy

        cupy.cuda.get_current_stream().synchronize()  # arrays that the function uses are ready
        try:
            parts = enumerate(_parts(values.shape[1], _pixels_per_chunk(values)))
            return [self._apply(number % 2, values, part, function) for number, part in parts]
        finally:
            for stream in self._streams:
                stream.synchronize()

    def _apply(self, buffer: int, values: np.ndarray, part: slice, function: Callable) -> Any:
        stream, dtype = self._streams[buffer], values.dtype.newbyteorder("=")
        shape = len(values), part.stop - part.start
        size = dtype.itemsize * shape[0] * shape[1]
        pinned, device = (
            memory[:size].view(dtype).reshape(shape)
            for memory in (self._pinned[buffer], self._device[buffer])
        )
        stream.synchronize()  # the previous chunk in these buffers is done
        np.copyto(pinned, values[:, part])
        with stream:
            device.set(pinned)
            return function(device, part)


def _pixels_per_chunk(values: Any) -> int:
    return max(1, BYTES_PER_CHUNK // (len(values) * values.dtype.itemsize))


def _parts(n: int, size: int) -> Iterator[slice]:
    """Yield slices of `size` that cover `n` pixels, at least one slice."""
    for start in range(0, max(n, 1), max(size, 1)):
        yield slice(start, min(start + size, n))
