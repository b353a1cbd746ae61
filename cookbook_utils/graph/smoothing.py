"""Smoothing of features over a graph, in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cookbook_utils._checks import (
    as_real_array,
    require_bool,
    require_dims,
    require_integer,
    require_number,
)
from cookbook_utils._compiling import jit
from cookbook_utils._conventions.nodata import mask_and_float

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_POINTS_PER_TASK = 4096  # points that a thread smooths at a time
_MAX_HOPS = 1000  # after far fewer, all connected points have almost the same features


def smooth_features(
    features: np.ndarray | xr.DataArray,
    graph: csr_array,
    *,
    alpha: float,
    hops: int,
    normalize: bool = True,
) -> np.ndarray | xr.DataArray:
    r"""Average the features of every point with those of its neighbors in a graph.

    Use it before clustering, if neighboring points should get the same label more often. With the
    features :math:`x_i` of point i, the weights :math:`w_{ij}` of its neighbors and H hops:

    .. math:: x_i^{(h)} = \alpha x_i^{(h-1)} + (1 - \alpha) \sum_j w_{ij} x_j^{(h-1)},
        \qquad h = 1 \dots H

    If `normalize` is true, the weights of each point are first divided by their sum, so that the
    sum over j is a weighted mean. Otherwise it is the published weighted sum, which grows with the
    number of neighbors. A point without neighbors, or whose weights are all 0, keeps its features.

    Parameters
    ----------
    features : numpy.ndarray or xarray.DataArray
        Features (n, features), float32 or float64; a DataArray has the dimensions point and
        feature, in any order.
    graph : scipy.sparse.csr_array
        Weights (n, n), not negative, as from `neighbor_graph`.
    alpha : float
        Weight of a point's own features in every hop, from 0 to 1.
    hops : int
        Number of hops, from 1 to 1000. After h hops, the features of a point depend on all points
        up to h links away.
    normalize : bool, default True
        Whether to take the weighted mean of the neighbors instead of their weighted sum.

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        Smoothed features, with the type, dtype and shape of `features`; a DataArray keeps its
        coordinates and attributes.

    Raises
    ------
    TypeError
        If features are not float32 or float64, `graph` is not a sparse matrix of real numbers, or
        another parameter has the wrong type.
    ValueError
        If shapes do not match, features are not finite, weights are negative or not finite, a
        parameter is out of range, or a weighted sum of features overflows.

    See Also
    --------
    smooth_shards : Smooth features that do not fit in memory.

    Notes
    -----
    Every hop is a product of the sparse matrix and the features. The points are distributed among
    ``NUMBA_NUM_THREADS`` threads. One thread computes each point, in a fixed order: its own
    features first, then its neighbors in the order of the graph. The result therefore does not
    depend on the number of threads.

    References
    ----------
    NORCE, insar-norway-ml: Spatial-Smoothing Clustering, with alpha and H = 3 hops.

    Examples
    --------
    >>> from cookbook_utils.graph import neighbor_graph
    >>> longitude, latitude = [20.0, 20.001, 20.002], [69.6, 69.6, 69.6]
    >>> graph = neighbor_graph(longitude, latitude, n_neighbors=1, weights="uniform")
    >>> smooth_features(np.array([[0.0], [1.0], [0.0]]), graph, alpha=0.5, hops=1).ravel()
    array([0.5, 0.5, 0.5])
    """
    check_smoothing(alpha, hops, normalize)
    if isinstance(features, xr.DataArray):
        require_dims(features, ("point", "feature"), "features")
        ordered = features.transpose("point", "feature")
        if features.dtype.kind == "f":
            ordered = mask_and_float(ordered)
        values = smooth_features(ordered.values, graph, alpha=alpha, hops=hops, normalize=normalize)
        return ordered.copy(data=values).transpose(*features.dims)
    x = _checked_features(features)
    graph = _checked_graph(graph, len(x))
    require_finite(np.count_nonzero(~np.isfinite(x).all(axis=1)), len(x))
    return smooth(x, graph, *factors(graph, alpha, normalize), hops)


def check_smoothing(alpha: Any, hops: Any, normalize: Any) -> dict[str, Any]:
    """Return the parameters of smoothing as JSON holds them, or raise."""
    return {
        "alpha": require_number(alpha, "alpha", least=0, most=1),
        "hops": require_integer(hops, "hops", least=1, most=_MAX_HOPS),
        "normalize": require_bool(normalize, "normalize"),
    }


def require_finite(n_wrong: int, n: int) -> None:
    """Raise ValueError if some points have features that are not finite."""
    if n_wrong:
        raise ValueError(
            f"features must be finite, got {n_wrong} of {n} points with NaN or infinite features: "
            "fill or drop them first, because smoothing would spread them to their neighbors"
        )


def factors(graph: csr_array, alpha: float, normalize: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the factors by which each row multiplies its own features and those of its neighbors.

    Returns
    -------
    own : numpy.ndarray of float64 (rows,)
        alpha; 1 for a point whose weights sum to 0.
    others : numpy.ndarray of float64 (rows,)
        Factor of the weights: 1 − alpha, divided by their sum if `normalize` is true.
    """
    total = graph @ np.ones(graph.shape[1])
    if normalize and not np.isfinite(total).all():
        raise ValueError(
            "graph must have weights so small that those of a point have a finite sum, got weights "
            f"up to {graph.data.max():g}"
        )
    is_isolated = total == 0
    own = np.where(is_isolated, 1.0, alpha)
    others = np.full(len(total), 1.0 - alpha)
    if normalize:
        np.divide(others, total, where=~is_isolated, out=others)
    return own, others


def smooth(
    x: np.ndarray, graph: csr_array, own: np.ndarray, others: np.ndarray, hops: int
) -> np.ndarray:
    """Smooth features (n, features) over a graph with the factors of its rows."""
    import numba

    hop = _compiled_hop()
    own = own.astype(x.dtype)
    out, spare = np.empty_like(x), np.empty_like(x) if hops > 1 else None
    starts = range(0, len(x), _POINTS_PER_TASK)
    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as pool:
        for _ in range(hops):
            arguments = graph.indptr, graph.indices, graph.data, own, others, x, out

            def task(start: int, arguments: tuple = arguments) -> None:
                hop(*arguments, start, start + _POINTS_PER_TASK)

            list(pool.map(task, starts))
            x, out, spare = out, spare, out
    if not np.isfinite(x).all():
        raise ValueError(
            f"features must be so small that their weighted sums are finite in {x.dtype}, got "
            "sums that overflow: standardize them first"
        )
    return x


@functools.cache
def _compiled_hop() -> Callable[..., None]:
    """Return one hop of smoothing of the points from `start` to `stop`, compiled by Numba."""

    @jit(cache=True, nogil=True)
    def hop(indptr, neighbors, weights, own, others, x, out, start, stop):
        cast, width = x.dtype.type, x.shape[1]
        for i in range(start, min(stop, len(x))):
            for f in range(width):
                out[i, f] = own[i] * x[i, f]
            # Four neighbors at a time, so that each sum is loaded and stored once for the four.
            first, end = indptr[i], indptr[i + 1]
            rest = end - (end - first) % 4
            for e in range(first, rest, 4):
                a, b, c, d = neighbors[e], neighbors[e + 1], neighbors[e + 2], neighbors[e + 3]
                wa, wb = cast(others[i] * weights[e]), cast(others[i] * weights[e + 1])
                wc, wd = cast(others[i] * weights[e + 2]), cast(others[i] * weights[e + 3])
                for f in range(width):
                    total = out[i, f] + wa * x[a, f] + wb * x[b, f]
                    out[i, f] = total + wc * x[c, f] + wd * x[d, f]
            for e in range(rest, end):
                a, wa = neighbors[e], cast(others[i] * weights[e])
                for f in range(width):
                    out[i, f] += wa * x[a, f]

    return hop


def _checked_features(features: Any) -> np.ndarray:
    """Return features (n, features) as a contiguous array in native byte order, or raise."""
    x = np.asarray(as_real_array(features, "features"))
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        raise TypeError(f"features must be float32 or float64, got dtype {x.dtype}")
    if x.ndim != 2 or not x.size:
        raise ValueError(
            f"features must have the shape (n, features), both at least 1, got {x.shape}"
        )
    return np.ascontiguousarray(x, x.dtype.newbyteorder("="))


def _checked_graph(graph: Any, n: int) -> csr_array:
    """Return a graph of `n` points in CSR format with weights in float, or raise."""
    from scipy.sparse import csr_array, issparse

    expected = f"graph must be a sparse matrix of the shape ({n}, {n}), for {n} points"
    if not issparse(graph):
        raise TypeError(f"{expected}, got {type(graph).__name__}")
    if graph.dtype.kind not in "buif":
        raise TypeError(f"{expected}, with weights that are real numbers, got dtype {graph.dtype}")
    if graph.shape != (n, n):
        raise ValueError(f"{expected}, got the shape {graph.shape}")
    try:
        if graph.dtype not in (np.float32, np.float64):
            graph = graph.astype(np.float64)  # before duplicate entries are summed
        graph = csr_array(graph)
        graph.check_format()
    except ValueError as error:
        raise ValueError(f"{expected}, got an invalid one: {error}") from None
    if graph.nnz and not 0 <= graph.data.min() <= graph.data.max() < np.inf:
        raise ValueError(
            "graph must have finite weights of 0 or more, got weights from "
            f"{graph.data.min():g} to {graph.data.max():g}"
        )
    return graph
