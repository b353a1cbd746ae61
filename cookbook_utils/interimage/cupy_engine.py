"""The engine for NVIDIA GPUs: one pass over the pixels for distance, label, flag and sums.

The two kernels stand in ``kernels.cu``. Pixels lie band after band, as in the other engines, and
stay on the GPU from one iteration to the next: up go the centers, down come k × (bands + 1)
integers. Pixels of the host that the GPU has no room for are sent anew in each iteration, in
chunks: while the kernel works on one, the next is on its way, from pinned memory. Labels always
stay on the GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.interimage.arithmetic import FARTHEST, FixedPoint, Scores
from cookbook_utils.interimage.blocks import (
    Extent,
    LocalBlocks,
    Sampling,
    Scene,
    add_distances,
    array_module,
    digest,
    extent,
    joint_extent,
    load,
)
from cookbook_utils.interimage.numpy_engine import distance_then_place

THREADS = 256  # of a block; as kernels.cu says, three blocks have the registers of a processor
BLOCKS = 3
IN_REGISTERS = 24  # 32-bit values of pixels that a thread holds
SHARED = 16 * 2**10  # bytes of a block's memory for copies of the sums; three blocks fit in 64 KB
SHARED_AT_MOST = 48 * 2**10  # bytes that a block has on every GPU
ROOM = 0.7  # of the free memory for pixels and labels; the rest is for what works on them
CHUNK = 2**26  # bytes of pixels sent to the GPU, or worked on with temporary arrays, at a time


def missing() -> str | None:
    """Return what this engine lacks on this machine, in words, or None if it can run."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported ({error})"
    try:
        found = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no GPU that it can use ({error})"
    return None if found else "CuPy finds no GPU"


def assign(
    values: Any, labels: Any, part: slice, fixed_point: FixedPoint, scores: Scores, first: bool
) -> tuple[int, np.ndarray, np.ndarray]:
    """Label a part of a block, and count what that changed: as `numpy_engine.assign`.

    `values` and `labels` are CuPy arrays, all else is of the host.
    """
    changes = Changes(fixed_point, scores, first)
    changes.add(values[:, part], labels[part])
    return changes.get()


class Changes:
    """What passes over several arrays of pixels change, added up on the GPU until asked for."""

    def __init__(self, fixed_point: FixedPoint, scores: Scores, first: bool):
        import cupy

        self._k, width = scores.table.shape
        self._offset, self._gain = cupy.asarray(scores.offset), np.float64(scores.gain)
        self._table, self._centers = cupy.asarray(table(scores)), cupy.asarray(scores.centers)
        self._origin, self._unit = cupy.asarray(fixed_point.offset), cupy.asarray(fixed_point.unit)
        self._first = np.int32(first)
        # Last of all is the number of labels that changed.
        self._totals = cupy.zeros(self._k * width + 1, np.uint64)
        self._copies, self._bytes = shared_memory(self._k, width)

    def add(self, values: Any, labels: Any) -> None:
        """Label pixels (bands, n), in the current stream; does not wait for the GPU."""
        kernel = _compiled("assign", values.dtype, len(values), bool(self._copies))
        grid = _grid(labels.size, per_turn(values.dtype, len(values)))
        kernel(
            (grid,), (THREADS,),
            (values, labels, *_layout(values), self._offset, self._gain, self._table,
             self._centers, np.int32(self._k), self._origin, self._unit, self._first,
             np.int32(self._copies), self._totals),
            shared_mem=self._bytes,
        )  # fmt: skip

    def get(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Wait for the GPU and return what `assign` does."""
        totals = self._totals.get().view(np.int64)  # negative ones wrapped around
        sums = totals[:-1].reshape(self._k, -1)
        return int(totals[-1]), sums[:, :-1], sums[:, -1]


def measure(
    values: Any, labels: Any, part: slice, fixed_point: FixedPoint, centers: np.ndarray
) -> tuple[int, float, np.ndarray]:
    """Sum squared distances and find the farthest pixel: as `numpy_engine.measure`."""
    import cupy

    values, labels = values[:, part], labels[part]
    kernel = _compiled("measure", values.dtype, len(values), True)
    grid = _grid(labels.size, 1)
    totals = cupy.zeros(2, np.uint64)
    squared, place = cupy.empty(grid, np.float64), cupy.empty(grid, np.int64)
    kernel(
        (grid,), (THREADS,),
        (values, labels, *_layout(values), cupy.asarray(centers), np.float64(fixed_point.square),
         np.float64(fixed_point.fraction), totals, squared, place),
        shared_mem=THREADS * 4 * 8,
    )  # fmt: skip
    # Each block found its farthest pixel; which of them it is, is decided here.
    squared, place = squared.get(), place.get()
    if squared.max() < 0:
        return 0, -1.0, np.zeros(len(values))
    ties = place[squared == squared.max()]
    pixels = values[:, cupy.asarray(ties)].get().astype(np.float64)
    candidates = [(float(squared.max()), pixel) for pixel in pixels.T]
    total = fixed_point.in_fine_steps(*totals.get().view(np.int64))
    return total, *max(candidates, key=distance_then_place)


def table(scores: Scores) -> np.ndarray:
    """Return what the kernel reads of each center: −c, then ½|c|² − a, b and a, float32.

    The error of a score is at most a + b Σ|x| if b is the largest of those of the bands.
    """
    b, a = scores.slack[:, :-1].max(axis=1), scores.slack[:, -1]
    return np.column_stack([scores.table[:, :-1], scores.table[:, -1] - a, b, a])


def shared_memory(n_clusters: int, width: int) -> tuple[int, int]:
    """Return how many copies of the sums a block of threads holds, and the bytes it needs.

    One copy for each of the 32 lanes of a warp if there is room, else half as many, and so on.
    For so many clusters that there is no room for one, none: sums are added in global memory.
    """
    rows, sums = 4 * n_clusters * (width + 2), 8 * (n_clusters * width + 1)
    for copies in (32, 16, 8, 4, 2):
        if rows + copies * sums <= SHARED:
            return copies, rows + copies * sums
    return (1, rows + sums) if rows + sums <= SHARED_AT_MOST else (0, 0)


def per_turn(dtype: np.dtype, bands: int) -> int:
    """Return how many pixels a thread works on at a time: as many as it has registers for."""
    return max(1, min(4, IN_REGISTERS // (bands * max(1, dtype.itemsize // 4))))


def definitions(dtype: np.dtype, bands: int, in_shared: bool) -> tuple[str, ...]:
    """Return the compiler's options that ``kernels.cu`` names."""
    values = {
        "PIXEL": dtype.name, "WORK": "float64" if dtype == np.float64 else "float32",
        "WHOLE": int(dtype.kind in "ui"), "BANDS": bands, "PER_TURN": per_turn(dtype, bands),
        "IN_SHARED": int(in_shared), "FARTHEST": FARTHEST,
    }  # fmt: skip
    return tuple(f"-D{name}={value}" for name, value in values.items())


@functools.cache
def _compiled(name: str, dtype: np.dtype, bands: int, in_shared: bool) -> Any:
    import cupy

    code = Path(__file__).with_name("kernels.cu").read_text()
    return cupy.RawKernel(code, name, options=definitions(dtype, bands, in_shared))


def _layout(values: Any) -> tuple[np.int64, np.int64]:
    """Return the pixels from one band to the next, and those to work on."""
    if values.shape[1] > 1 and values.strides[1] != values.itemsize:
        raise ValueError("the pixels of a band must lie side by side")
    return np.int64(values.strides[0] // values.itemsize), np.int64(values.shape[1])


def _grid(n: int, in_a_turn: int) -> int:
    """Return how many blocks work on `n` pixels: no more than run at a time."""
    import cupy

    at_a_time = BLOCKS * _processors(cupy.cuda.Device().id)
    return max(1, min(at_a_time, -(-n // (THREADS * in_a_turn))))


@functools.cache
def _processors(device: int) -> int:
    import cupy

    return cupy.cuda.Device(device).attributes["MultiProcessorCount"]


class CupyBlocks(LocalBlocks):
    """Scenes on a GPU, or streamed to it. The methods are those of `LocalBlocks`."""

    def __init__(self, scenes: list[Scene], sampling: Sampling | None = None):
        reason = missing()
        if reason is not None:
            raise RuntimeError(
                f"engine='cupy' needs an NVIDIA GPU and CuPy: {reason}. Install CuPy for the CUDA "
                "of the driver, `pip install 'cupy-cuda12x[ctk]'` or `'cupy-cuda13x[ctk]'`, or use "
                "another engine"
            )
        self._of_host: list[bool] = []  # whether a scene came from there
        self._chunks: _Chunks | None = None
        super().__init__(scenes, None, sampling)

    def _load(self, scene: Scene, chosen: np.ndarray | None) -> tuple[Any, Any]:
        import cupy

        if hasattr(scene.values, "dask"):
            scene = scene._replace(values=scene.values.compute())
        on_host = array_module(scene.values) is np
        self._of_host.append(on_host)
        if not on_host:
            return load(scene, self.dtype, chosen)
        values = scene.values.reshape(len(scene.values), -1)
        if chosen is not None:
            values = values[:, chosen]
        labels = cupy.empty(values.shape[1], np.uint8)
        kept = cupy.empty(values.shape, self.dtype) if self._fits(values) else None

        def keep(chunk: Any, part: slice) -> None:
            chunk, labels[part] = load(scene._replace(values=chunk), self.dtype)
            if kept is not None:
                kept[:, part] = chunk

        self._send(values, keep)
        return (values if kept is None else kept), labels

    def _fits(self, values: np.ndarray) -> bool:
        import cupy

        free, _ = cupy.cuda.Device().mem_info
        free += cupy.get_default_memory_pool().free_bytes()
        return values.size * self.dtype.itemsize <= ROOM * free

    def _send(self, values: np.ndarray, function: Callable[[Any, slice], Any]) -> list:
        """Call ``function(pixels, part)`` for chunk after chunk of the host's, on the GPU."""
        if self._chunks is None:
            self._chunks = _Chunks()
        return self._chunks.each(values, function)

    def _each(self, function: Callable[[Any, Any], Any], *, whole: bool = True) -> list:
        """Call ``function(values, labels)`` for all pixels, on the GPU, and return its results.

        In one call for each scene, if it is there as a whole, or else in chunks.
        """
        results = []
        for values, labels in self._blocks:
            if array_module(values) is np:
                results += self._send(
                    values,
                    lambda chunk, part, labels=labels: function(
                        array_module(chunk).ascontiguousarray(chunk, self.dtype), labels[part]
                    ),
                )
                continue
            size = values.shape[1] if whole else _columns(values)
            for part in _parts(values.shape[1], size):
                results.append(function(values[:, part], labels[part]))
        return results

    def extent(self) -> Extent:
        return joint_extent(self._each(extent, whole=False))

    def assign(self, fixed_point: FixedPoint, scores: Scores) -> tuple:
        first, self._first = self._first, False
        changes = Changes(fixed_point, scores, first)
        self._each(changes.add)
        return changes.get()

    def measure(
        self, fixed_point: FixedPoint, centers: np.ndarray
    ) -> tuple[int, float, np.ndarray]:
        return add_distances(
            self._each(lambda v, k: measure(v, k, slice(0, k.size), fixed_point, centers))
        )

    def digest(self) -> int:
        import cupy

        end = 0

        def one(values: Any, labels: Any) -> int:
            nonlocal end
            start, end = end, end + labels.size
            return digest(values, labels, cupy.arange(start, end))

        return sum(self._each(one, whole=False)) % 2**64

    def pixels(self) -> np.ndarray:
        parts = self._each(lambda values, labels: values[:, labels != NODATA_LABEL].get())
        return np.concatenate(parts, axis=1).T

    def labels(self) -> list:
        """Return the labels of each scene in its shape, on the side that the scene came from."""
        maps = super().labels()
        pairs = zip(maps, self._of_host, strict=True)
        return [labels.get() if of_host else labels for labels, of_host in pairs]


class _Chunks:
    """Two pinned buffers, each with a stream: one is filled while the other is worked on."""

    def __init__(self) -> None:
        import cupy
        import cupyx

        self._streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
        self._pinned = [cupyx.empty_pinned(CHUNK, np.uint8) for _ in self._streams]
        self._device = [cupy.empty(CHUNK, np.uint8) for _ in self._streams]

    def each(self, values: np.ndarray, function: Callable[[Any, slice], Any]) -> list:
        """Call ``function(chunk, part)`` for parts of pixels (bands, n), sent to the GPU."""
        import cupy

        cupy.cuda.get_current_stream().synchronize()  # what the streams will use is there
        try:
            parts = enumerate(_parts(values.shape[1], _columns(values)))
            return [self._one(number % 2, values, part, function) for number, part in parts]
        finally:
            for stream in self._streams:
                stream.synchronize()

    def _one(self, which: int, values: np.ndarray, part: slice, function: Callable) -> Any:
        stream, dtype = self._streams[which], values.dtype.newbyteorder("=")
        shape = len(values), part.stop - part.start
        size = dtype.itemsize * shape[0] * shape[1]
        pinned, device = (
            buffer[:size].view(dtype).reshape(shape)
            for buffer in (self._pinned[which], self._device[which])
        )
        stream.synchronize()  # what was in these buffers has been worked on
        np.copyto(pinned, values[:, part])
        with stream:
            device.set(pinned)
            return function(device, part)


def _columns(values: Any) -> int:
    """Return how many pixels make a chunk."""
    return max(1, CHUNK // (len(values) * values.dtype.itemsize))


def _parts(n: int, size: int):
    for start in range(0, max(n, 1), max(size, 1)):
        yield slice(start, min(start + size, n))
