"""Kernels for NVIDIA GPUs, launched through CuPy; their CUDA source is ``kernels.cu``.

Pixels lie band after band, as for the other kernels. A pass that assigns labels copies the centers
to the GPU, and sums, counts and the number of changes back: k × (bands + 1) + 1 integers.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from cookbook_utils.interimage.arithmetic import FARTHEST, FixedPoint, Scores
from cookbook_utils.interimage.bounds import PixelBounds
from cookbook_utils.interimage.passes import Changes, Distances, farthest_pixel

THREADS_PER_BLOCK = 256
BLOCKS_PER_MULTIPROCESSOR = 3  # at a time, as the launch bounds in kernels.cu ensure
VALUES_PER_THREAD = 24  # 32-bit values of pixels that a thread holds in registers
SHARED_BYTES_PER_BLOCK = 16 * 2**10  # for copies of the sums; three blocks fit in 64 KB
MOST_SHARED_BYTES_PER_BLOCK = 48 * 2**10  # the limit on any GPU


def why_unavailable() -> str | None:
    """Return why these kernels cannot run on this machine, or None if they can."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported ({error})"
    try:
        found = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no GPU that it can use ({error})"
    return None if found else "CuPy finds no GPU"


def threads() -> int:
    """Return the number of host threads that should call these functions at a time."""
    return 1


def uses_bounds(n_clusters: int, bands: int) -> bool:
    """Return False: a GPU scores all centers."""
    return False


def assign(
    values: Any,
    labels: Any,
    part: slice,
    fixed_point: FixedPoint,
    scores: Scores,
    first: bool,
    bounds: PixelBounds | None = None,
) -> Changes:
    """Label a part of a block of pixels, as `numpy_kernels.assign` does, with CuPy arrays."""
    changes = DeviceChanges(fixed_point, scores, first)
    changes.add(values[:, part], labels[part])
    return changes.get()


class DeviceChanges:
    """Changes of labels by one or more launches, summed in device memory until they are read."""

    def __init__(self, fixed_point: FixedPoint, scores: Scores, first: bool):
        import cupy

        self._k, width = scores.coefficients.shape
        self._offset, self._scale = cupy.asarray(scores.offset), np.float64(scores.scale)
        self._coefficients = cupy.asarray(device_coefficients(scores))
        self._centers = cupy.asarray(scores.centers)
        self._fixed_offset = cupy.asarray(fixed_point.offset)
        self._steps_per_unit = cupy.asarray(fixed_point.steps_per_unit)
        self._first = np.int32(first)
        # (k, bands + 1) sums and counts, then the number of labels that changed.
        self._totals = cupy.zeros(self._k * width + 1, np.uint64)
        self._copies, self._shared_bytes = shared_memory(self._k, width)

    def add(self, values: Any, labels: Any) -> None:
        """Label pixels (bands, n) in the current stream, without waiting for the GPU."""
        kernel = _compiled("assign", values.dtype, labels.dtype, len(values), bool(self._copies))
        grid = _blocks_per_grid(labels.size, pixels_per_thread(values.dtype, len(values)))
        kernel(
            (grid,), (THREADS_PER_BLOCK,),
            (values, labels, *_layout(values), self._offset, self._scale, self._coefficients,
             self._centers, np.int32(self._k), self._fixed_offset, self._steps_per_unit,
             self._first, np.int32(self._copies), self._totals),
            shared_mem=self._shared_bytes,
        )  # fmt: skip

    def get(self) -> Changes:
        """Wait for the GPU and return the changes."""
        totals = self._totals.get().view(np.int64)  # negative sums wrapped around
        sums = totals[:-1].reshape(self._k, -1)
        return Changes(int(totals[-1]), sums[:, :-1], sums[:, -1])


def sum_squared_distances(
    values: Any, labels: Any, part: slice, fixed_point: FixedPoint, centers: np.ndarray
) -> Distances:
    """Sum squared distances and find the farthest pixel, as the function of `numpy_kernels`."""
    import cupy

    values, labels = values[:, part], labels[part]
    kernel = _compiled("sum_squared_distances", values.dtype, labels.dtype, len(values), True)
    grid = _blocks_per_grid(labels.size, 1)
    totals = cupy.zeros(2, np.uint64)
    largest, position = cupy.empty(grid, np.float64), cupy.empty(grid, np.int64)
    kernel(
        (grid,), (THREADS_PER_BLOCK,),
        (values, labels, *_layout(values), cupy.asarray(centers),
         np.float64(fixed_point.steps_per_squared_unit),
         np.float64(fixed_point.fine_steps_per_coarse), totals, largest, position),
        shared_mem=THREADS_PER_BLOCK * 4 * 8,  # four arrays of 8-byte numbers
    )  # fmt: skip
    # Each thread block found its farthest pixel. The farthest of these is found on the host.
    largest, position = largest.get(), position.get()
    most = float(largest.max())
    if most < 0:
        return Distances(0, -1.0, np.zeros(len(values)))
    ties = cupy.asarray(position[largest == most])
    pixels = values[:, ties].get().astype(np.float64)
    total = fixed_point.in_fine_steps(*totals.get().view(np.int64))
    return Distances(total, *farthest_pixel((most, pixel) for pixel in pixels.T))


def device_coefficients(scores: Scores) -> np.ndarray:
    """Return what the kernel reads for each center: −c, then ½|c|² − a, b and a, float32.

    With the largest b of all bands, the error of a score is at most a + b Σ|x|.
    """
    b, a = scores.error_coefficients[:, :-1].max(axis=1), scores.error_coefficients[:, -1]
    minus_c, half_square = scores.coefficients[:, :-1], scores.coefficients[:, -1]
    return np.column_stack([minus_c, half_square - a, b, a])


def shared_memory(n_clusters: int, width: int) -> tuple[int, int]:
    """Return how many copies of the sums a thread block holds, and the bytes that it needs.

    There is one copy for each of the 32 lanes of a warp if they fit in shared memory, else half as
    many, and so on. Without room for a single copy, there is none: sums are added in global memory.
    """
    coefficient_bytes = 4 * n_clusters * (width + 2)
    sum_bytes = 8 * (n_clusters * width + 1)
    for copies in (32, 16, 8, 4, 2):
        if coefficient_bytes + copies * sum_bytes <= SHARED_BYTES_PER_BLOCK:
            return copies, coefficient_bytes + copies * sum_bytes
    fits = coefficient_bytes + sum_bytes <= MOST_SHARED_BYTES_PER_BLOCK
    return (1, coefficient_bytes + sum_bytes) if fits else (0, 0)


def pixels_per_thread(dtype: np.dtype, bands: int) -> int:
    """Return how many pixels a thread works on at a time: as many as it has registers for."""
    return max(1, min(4, VALUES_PER_THREAD // (bands * max(1, dtype.itemsize // 4))))


def definitions(
    dtype: np.dtype, label_dtype: np.dtype, bands: int, in_shared: bool
) -> tuple[str, ...]:
    """Return the compiler options that ``kernels.cu`` describes."""
    values = {
        "PIXEL": dtype.name,
        "LABEL": label_dtype.name,
        "WORK": "float64" if dtype == np.float64 else "float32",
        "INTEGER_PIXELS": int(dtype.kind in "ui"),
        "BANDS": bands,
        "PIXELS_PER_THREAD": pixels_per_thread(dtype, bands),
        "IN_SHARED": int(in_shared),
        "FARTHEST": FARTHEST,
    }
    return tuple(f"-D{name}={value}" for name, value in values.items())


@functools.cache
def _compiled(
    name: str, dtype: np.dtype, label_dtype: np.dtype, bands: int, in_shared: bool
) -> Any:
    import cupy

    code = Path(__file__).with_name("kernels.cu").read_text()
    options = definitions(dtype, label_dtype, bands, in_shared)
    return cupy.RawKernel(code, name, options=options)


def _layout(values: Any) -> tuple[np.int64, np.int64]:
    """Return the stride from one band to the next, counted in values, and the number of pixels."""
    if values.shape[1] > 1 and values.strides[1] != values.itemsize:
        raise ValueError(f"bands must be contiguous, got the strides {values.strides}")
    return np.int64(values.strides[0] // values.itemsize), np.int64(values.shape[1])


def _blocks_per_grid(n: int, pixels_per_thread: int) -> int:
    """Return how many thread blocks work on `n` pixels: no more than run at the same time."""
    import cupy

    at_a_time = BLOCKS_PER_MULTIPROCESSOR * _multiprocessors(cupy.cuda.Device().id)
    return max(1, min(at_a_time, -(-n // (THREADS_PER_BLOCK * pixels_per_thread))))


@functools.cache
def _multiprocessors(device: int) -> int:
    import cupy

    return cupy.cuda.Device(device).attributes["MultiProcessorCount"]
