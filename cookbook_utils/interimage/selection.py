"""Selection of the engine that the parameter ``engine`` names."""

from __future__ import annotations

import numpy as np

from cookbook_utils.interimage import numba_kernels, numpy_kernels
from cookbook_utils.interimage.blocks import Scene, array_module
from cookbook_utils.interimage.engines import Engine
from cookbook_utils.interimage.local_engine import LocalEngine
from cookbook_utils.interimage.sampling import Sampling

PIXELS_WORTH_COMPILING = 2**16  # for fewer, compilation takes longer than NumPy
PIXELS_WORTH_A_GPU = 2**23  # in host memory; fewer do not repay start-up and transfer overhead


def make_engine(
    name: str,
    scenes: list[Scene],
    n_clusters: int,
    sampling: Sampling | None = None,
    persist: bool | str = "auto",
) -> Engine:
    """Return the engine that `name` selects, with the pixels of `scenes` or a sample of them.

    Parameters
    ----------
    name : {"auto", "numpy", "numba", "cupy", "dask"}
        The engine, as `InterImageKMeans` describes it.
    scenes : list of Scene
        The pixels.
    n_clusters : int
        Number of centers, which determines the dtype of the labels.
    sampling : Sampling, optional
        Which pixels to hold; by default all.
    persist : {"auto", True, False}
        Whether the pixels of Dask arrays stay in the memory of the workers.

    Returns
    -------
    Engine
        The engine, whose pixels have no labels yet.

    Raises
    ------
    ValueError
        If the engine cannot read CuPy arrays, and there are some.
    """
    lazy = any(hasattr(scene.values, "dask") for scene in scenes)
    if name == "dask" or (lazy and name == "auto"):
        from cookbook_utils.interimage.dask_engine import DaskEngine

        return DaskEngine(scenes, sampling, persist, n_clusters)
    n_pixels = sum(scene.values[0].size for scene in scenes)
    if _uses_gpu(name, scenes, n_pixels):
        from cookbook_utils.interimage.cupy_engine import CupyEngine

        return CupyEngine(scenes, sampling, n_clusters)
    few = n_pixels < PIXELS_WORTH_COMPILING
    in_numpy = name == "numpy" or (name == "auto" and few)
    kernels = numpy_kernels if in_numpy else numba_kernels
    return LocalEngine(scenes, kernels, sampling, n_clusters)


def _uses_gpu(name: str, scenes: list[Scene], n_pixels: int) -> bool:
    if name == "cupy":
        return True
    # The chunks of a Dask array are of the kind of its `_meta`.
    arrays = (getattr(scene.values, "_meta", scene.values) for scene in scenes)
    on_device = any(array_module(array) is not np for array in arrays)
    if on_device and name != "auto":
        raise ValueError(
            f"engine must be 'cupy' or 'auto' for CuPy arrays, got {name!r}; Dask arrays of them "
            "may have 'dask', too"
        )
    if on_device or name != "auto" or n_pixels < PIXELS_WORTH_A_GPU:
        return on_device
    from cookbook_utils.interimage import cupy_kernels

    return cupy_kernels.why_unavailable() is None
