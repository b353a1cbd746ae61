"""Nearest-neighbor graphs of points on the Earth, and smoothing of features over them."""

from __future__ import annotations

import functools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import xarray as xr

from cookbook_utils import _files
from cookbook_utils._checks import (
    as_real_array,
    require_bool,
    require_choice,
    require_dims,
    require_integer,
    require_number,
    shown,
)
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._conventions.points import require_places
from cookbook_utils._files import as_path

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from cookbook_utils.shards import PointShards, ShardWriter

_WGS84_AXIS = 6378137.0  # m, semi-major
_WGS84_FLATTENING = 1 / 298.257223563
_QUERY = 2**16  # points whose neighbors are looked up at a time
_ROWS = 4096  # rows that a thread takes at a time
_SAME_PLACE = 1e-6  # m; what rounding leaves between 180 and -180 degrees, or at a pole
_BANDWIDTHS = _SAME_PLACE, 1e8  # m; beyond both ends squares of distances leave float32
_MOST_HOPS = 1000  # long before, neighbors have the same features


def neighbor_graph(
    longitude: Any,
    latitude: Any,
    *,
    k: int = 8,
    bandwidth: float | None = None,
    weights: Literal["gaussian", "uniform"] = "gaussian",
    symmetric: bool = False,
) -> csr_array:
    """Link every point to the `k` points nearest to it on the ground.

    Distances are those of straight lines between positions on the WGS84 ellipsoid, as at height 0:
    true in every direction at every latitude, also across the antimeridian and at the poles.
    They fall short of the geodesic by less than 0.001 % up to 100 km and 0.1 % up to 900 km.

    Parameters
    ----------
    longitude, latitude : array_like of float (n,)
        Degrees, EPSG:4326; longitude from -180 to 360.
    k : int, default 8
        Neighbors of a point, itself never among them; points at the same place are, at distance 0.
        Of points equally far one and the same is always taken, but which one is not defined.
    bandwidth : float, optional
        Meters, for Gaussian weights, a micrometer to 100 000 km. By default the median of all
        distances to neighbors, those of 0 left out.
    weights : {"gaussian", "uniform"}, default "gaussian"
        Weight of a neighbor at distance d: ``exp(-d**2 / (2 * bandwidth**2))``, which in float32 is
        0 beyond 14 bandwidths; or 1.
    symmetric : bool, default False
        Whether two points are linked as soon as one is among the neighbors of the other, which
        gives some points more than `k` of them.

    Returns
    -------
    scipy.sparse.csr_array
        float32 (n, n) with indices in rising order, int32 up to 2 ** 31 links; row i holds the
        weights of the neighbors of point i: 68 bytes a point for k = 8, and about twice as much
        in use while it is made.

    Raises
    ------
    TypeError
        If coordinates are not real numbers, `k` is not an integer, `bandwidth` not a number,
        `weights` no text or `symmetric` not a boolean.
    ValueError
        If the lengths differ, coordinates are missing or out of range, there are no more than `k`
        points, or an option is not as described.

    References
    ----------
    Hofmann-Wellenhof, B., Lichtenegger, H., Wasle, E. (2008). GNSS: Global Navigation Satellite
    Systems, section 8.2.1: ellipsoidal and Cartesian coordinates. Springer.
    doi:10.1007/978-3-211-73017-1

    Examples
    --------
    Three points on a line from west to east, 39 and 58 m apart:

    >>> graph = neighbor_graph([20.0, 20.001, 20.0025], [69.6] * 3, k=1, bandwidth=50)
    >>> graph.toarray().round(2)
    array([[0.  , 0.74, 0.  ],
           [0.74, 0.  , 0.  ],
           [0.  , 0.51, 0.  ]], dtype=float32)
    """
    from scipy.sparse import csr_array

    k, bandwidth, weights, symmetric = _checked_links(k, bandwidth, weights, symmetric).values()
    xyz = _cartesian(*_coordinates(longitude, latitude))
    if k >= len(xyz):
        raise ValueError(
            f"k must be less than the number of points, since none is its own neighbor, got k={k} "
            f"for {len(xyz)} points"
        )
    neighbors, values = _nearest(xyz, k)
    if weights == "uniform":
        values[:] = 1
    else:
        if bandwidth is None:
            apart = values[values > 0]
            # All distances of 0 have weight 1 whatever the bandwidth.
            bandwidth = np.median(apart, overwrite_input=True) if apart.size else 1.0
            del apart
        values /= np.float32(bandwidth)
        np.square(values, out=values)
        values *= np.float32(-0.5)
        np.exp(values, out=values)
    integer = np.int32 if neighbors.size < 2**31 else np.int64
    starts = np.arange(0, neighbors.size + 1, k, dtype=integer)
    graph = csr_array((values.ravel(), neighbors.ravel(), starts), shape=(len(xyz), len(xyz)))
    return graph.maximum(graph.T.tocsr()) if symmetric else graph


def smooth_features(
    features: np.ndarray | xr.DataArray,
    graph: csr_array,
    *,
    alpha: float,
    hops: int,
    normalize: bool = True,
) -> np.ndarray | xr.DataArray:
    r"""Mix the features of every point with those of its neighbors, hop by hop.

    .. math:: x_i^{(h)} = \alpha x_i^{(h-1)} + (1 - \alpha) \sum_j w_{ij} x_j^{(h-1)},
        \qquad h = 1 \dots H

    With `normalize` the weights of each point are first divided by their sum: the mean of its
    neighbors, weighted. Without it they are used as they are: with weights of 1 the published sum,
    which grows with the number of neighbors. A point without neighbors, or with weights of 0 only,
    keeps its features either way.

    Parameters
    ----------
    features : numpy.ndarray or xarray.DataArray
        float32 or float64 (n, features), with dims (point, feature) in any order if a DataArray.
    graph : scipy.sparse.csr_array
        Weights (n, n), none below 0, such as `neighbor_graph` gives.
    alpha : float
        Share that a point keeps in every hop, 0 to 1.
    hops : int
        How many times neighbors are mixed in, 1 to 1000; those h links away have a say after h
        hops.
    normalize : bool, default True
        Weighted mean of the neighbors (True) or weighted sum (False).

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        As `features`: type, dtype, shape, and coordinates and attributes of a DataArray.

    Raises
    ------
    TypeError
        If features are not float32 or float64, `graph` is no sparse matrix of real numbers, `alpha`
        not a number, `hops` not an integer or `normalize` not a boolean.
    ValueError
        If shapes do not match, features are not finite, weights are below 0 or not finite, an
        option is out of range, or a sum of weighted features overflows.

    Notes
    -----
    Every hop is one product of the sparse matrix and the features. Rows are shared among threads
    (``NUMBA_NUM_THREADS``) and each is summed by one of them, its own features first and then its
    neighbors in the order of the graph: the result does not depend on the number of threads.

    References
    ----------
    NORCE, insar-norway-ml: Spatial-Smoothing Clustering, with alpha and H = 3 hops.

    Examples
    --------
    >>> graph = neighbor_graph([20.0, 20.001, 20.002], [69.6] * 3, k=1, weights="uniform")
    >>> smooth_features(np.array([[0.0], [1.0], [0.0]]), graph, alpha=0.5, hops=1).ravel()
    array([0.5, 0.5, 0.5])
    """
    _check_smoothing(alpha, hops, normalize)
    if isinstance(features, xr.DataArray):
        require_dims(features, ("point", "feature"), "features")
        ordered = features.transpose("point", "feature")
        if features.dtype.kind == "f":
            ordered = mask_and_float(ordered)
        values = smooth_features(ordered.values, graph, alpha=alpha, hops=hops, normalize=normalize)
        return ordered.copy(data=values).transpose(*features.dims)
    x = np.asarray(as_real_array(features, "features"))
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        raise TypeError(f"features must be float32 or float64, got dtype {x.dtype}")
    if x.ndim != 2 or not x.size:
        raise ValueError(
            f"features must have the shape (n, features), both at least 1, got {x.shape}"
        )
    graph = _checked_graph(graph, len(x))
    if not np.isfinite(x).all():
        _refuse(np.count_nonzero(~np.isfinite(x).all(axis=1)), len(x))
    x = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    return _smooth(x, graph, *_factors(graph, alpha, normalize), hops)


def smooth_shards(
    source_folder: str | os.PathLike[str],
    target_folder: str | os.PathLike[str],
    *,
    alpha: float,
    hops: int,
    kind: str = "dynamic",
    k: int = 8,
    bandwidth: float | None = None,
    weights: Literal["gaussian", "uniform"] = "gaussian",
    symmetric: bool = False,
    normalize: bool = True,
    shard_size: int = 65536,
    block_size: int = 65536,
) -> Path:
    """Smooth the features of a folder of shards, which need not fit in memory, into another folder.

    The result is that of `smooth_features` on all points at once, to the last bit, whatever
    `shard_size`, `block_size` and the shards of the source.

    Parameters
    ----------
    source_folder : path
        A folder that `shards.PointShards` opens.
    target_folder : path
        Where a `shards.ShardWriter` puts the points with the smoothed kinds of features; its
        ``attrs`` are those of the source with ``smoothing`` added: the options, and a digest of
        what was smoothed.
    alpha, hops, normalize
        As for `smooth_features`.
    kind : str, default "dynamic"
        A kind of features, or several joined by ``+``, such as ``"dynamic+static"``.
    k, bandwidth, weights, symmetric
        As for `neighbor_graph`.
    shard_size : int, default 65536
        Points in a shard of the target.
    block_size : int, default 65536
        Points smoothed at a time.

    Returns
    -------
    pathlib.Path
        `target_folder`. A complete one of the same source and options is left as it is. An
        interrupted run leaves whole shards, behind which the next one goes on writing.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        As the functions and classes named above raise them.
    OSError
        If there is no space for the result or the scratch files, or another process is still
        writing the target after two minutes.

    Notes
    -----
    In memory are the coordinates and the graph of all points, at most about 130 bytes a point for
    k = 8 however many features it has, and the features of one block of points that lie together
    with its halo: all that lies within `hops` links of it. Features wait on disk, in two scratch
    files in the target folder, each the size of the features. Their space is reserved first, and
    they are gone at the end however it comes. There the features are ordered by block, since points
    that lie together may be far apart in the shards.
    """
    from cookbook_utils.shards import PointShards, ShardWriter, _digest_of

    _check_smoothing(alpha, hops, normalize)
    require_integer(block_size, "block_size", least=1)
    require_integer(shard_size, "shard_size", least=1)
    links = _checked_links(k, bandwidth, weights, symmetric)
    if not isinstance(kind, str):
        raise TypeError(f"kind must be text such as 'dynamic+static', got {shown(kind)}")
    target = as_path(target_folder, "target_folder")
    source = PointShards(as_path(source_folder, "source_folder"))
    names = {name: source.features.get(name) for name in kind.split("+")}
    if None in names.values():
        raise ValueError(
            f"kind must be one of {', '.join(source.features)}, or several joined by +, for the "
            f"features in {source.folder}, got {shown(kind)}"
        )
    smoothing = {"alpha": float(alpha), "hops": int(hops), "normalize": bool(normalize)} | links
    # A run that goes on, or finds its result, must be of the same values: else it is refused.
    smoothing["source"] = _digest_of(source, names)
    attrs = source.attrs | {"smoothing": smoothing}

    def write() -> ShardWriter:
        return ShardWriter(target, names, shard_size=shard_size, attrs=attrs)

    if write().complete:
        return target
    graph = neighbor_graph(source.read("longitude"), source.read("latitude"), **links)
    with _files.claim(target / "manifest.json"):
        writer = write()
        if not writer.complete:  # another process wrote it meanwhile
            with writer:
                _smooth_into(writer, source, graph, block_size, smoothing)
    return target


def _smooth_into(
    writer: ShardWriter,
    source: PointShards,
    graph: csr_array,
    block_size: int,
    smoothing: dict[str, Any],
) -> None:
    """Smooth the points of a folder of shards that a writer does not hold yet."""
    from scipy.spatial import cKDTree

    alpha, hops, normalize = (smoothing[key] for key in ("alpha", "hops", "normalize"))
    place = source.read("longitude"), source.read("latitude")
    n, names = source.n_points, list(writer.features)
    widths = [len(writer.features[name]) for name in names]
    pieces = [slice(a, min(a + block_size, n)) for a in range(0, n, block_size)]
    # In the order of the tree's leaves points lie together. Sorted within a block, those of one
    # shard are one run on disk too.
    order = cKDTree(_cartesian(*place), balanced_tree=False, copy_data=False).indices.copy()
    for piece in pieces:
        order[piece].sort()
    position = np.empty(n, np.intp)
    position[order] = np.arange(n)

    with (
        tempfile.TemporaryFile(dir=writer.folder) as raw,
        tempfile.TemporaryFile(dir=writer.folder) as smoothed,
    ):
        for scratch in (raw, smoothed):
            _files.allocate(scratch, 4 * n * sum(widths), writer.folder)
        n_bad = 0
        for piece in pieces:
            x = np.concatenate([source.read(name, piece) for name in names], axis=1)
            n_bad += np.count_nonzero(~np.isfinite(x).all(axis=1))
            _mapped(raw, n, widths)[position[piece]] = x
        if n_bad:
            _refuse(n_bad, n)
        for piece in pieces:
            block = order[piece]
            rows = _with_halo(graph, block, hops)
            here = graph[rows]
            keep, scale = _factors(here, alpha, normalize)
            x = _mapped(raw, n, widths)[position[rows]]
            # Links that leave the halo are cut, which is not felt in the block after `hops` hops.
            x = _smooth(x, here[:, rows], keep, scale, hops)
            _mapped(smoothed, n, widths)[piece] = x[np.searchsorted(rows, block)]
        for start in range(writer.n_points, n, block_size):
            piece = slice(start, start + block_size)
            x = np.split(
                _mapped(smoothed, n, widths)[position[piece]], np.cumsum(widths)[:-1], axis=1
            )
            writer.append(
                source.read("point", piece), place[0][piece], place[1][piece],
                **dict(zip(names, x, strict=True)),
            )  # fmt: skip


# -- places and neighbors ---------------------------------------------------------------------


def _coordinates(longitude: Any, latitude: Any) -> tuple[np.ndarray, np.ndarray]:
    longitude, latitude = (
        np.asarray(as_real_array(values, name), np.float64)
        for name, values in (("longitude", longitude), ("latitude", latitude))
    )
    if longitude.ndim != 1 or longitude.shape != latitude.shape:
        raise ValueError(
            "longitude and latitude must have one value for each point, got the shapes "
            f"{longitude.shape} and {latitude.shape}"
        )
    require_places(longitude, latitude)
    return longitude, latitude


def _cartesian(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Positions on the ellipsoid (n, 3), meters from the center of the Earth."""
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    squeeze = (1 - _WGS84_FLATTENING) ** 2
    normal = _WGS84_AXIS / np.sqrt(1 - (1 - squeeze) * np.sin(latitude) ** 2)
    across = normal * np.cos(latitude)
    up = squeeze * normal * np.sin(latitude)
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), up], axis=1)


def _nearest(xyz: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbors (n, k), int32 and rising in each row, and their distances in meters, float32."""
    from scipy.spatial import cKDTree

    kept, crowded, beside = _crowds(xyz, k)
    places = xyz[kept] if len(crowded) else xyz
    tree = cKDTree(places, balanced_tree=False, copy_data=False)
    neighbors = np.empty((len(xyz), k), np.int32)
    distances = np.empty((len(xyz), k), np.float32)
    for start in range(0, len(kept), _QUERY):
        points = kept[tree.indices[start : start + _QUERY]]  # those together: much faster
        distance, index = tree.query(xyz[points], k + 1, workers=-1)
        index = kept[index]
        drop = index == points[:, np.newaxis]
        drop[~drop.any(axis=1), -1] = True  # more than k others at the very same place
        index, distance = (array[~drop].reshape(-1, k) for array in (index, distance))
        order = np.argsort(index, axis=1)
        neighbors[points] = np.take_along_axis(index, order, axis=1)
        distances[points] = np.take_along_axis(distance, order, axis=1)
    neighbors[crowded], distances[crowded] = beside, 0
    distances[distances < _SAME_PLACE] = 0
    return neighbors, distances


def _crowds(xyz: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin out places with more points than anyone can have as neighbors.

    A tree looks at all points of a place for each of them, which for a million takes hours.

    Returns
    -------
    kept, crowded : numpy.ndarray
        The first k + 1 points of each place, in rising order, and all others.
    beside : numpy.ndarray
        Neighbors (crowded, k) of the others: the first points of their place.
    """
    order = np.lexsort(xyz.T)
    new = np.zeros(len(xyz), bool)
    new[:1] = True
    for coordinate in xyz.T:
        new[1:] |= np.diff(coordinate[order]) != 0
    first = np.maximum.accumulate(np.where(new, np.arange(len(xyz)), 0))
    over = np.arange(len(xyz)) - first > k
    beside = order[first[over][:, np.newaxis] + np.arange(k)]
    return np.sort(order[~over]), order[over], beside


# -- smoothing --------------------------------------------------------------------------------


def _factors(graph: csr_array, alpha: float, normalize: bool) -> tuple[np.ndarray, np.ndarray]:
    """For every row, the factor of a point's own features and that of its neighbors' weights."""
    total = graph @ np.ones(graph.shape[1])
    if normalize and not np.isfinite(total).all():
        raise ValueError(
            "graph must have weights so small that those of a point have a finite sum, got up to "
            f"{graph.data.max():g}"
        )
    lonely = total == 0
    keep = np.where(lonely, 1.0, alpha)
    share = np.full(len(total), 1.0 - alpha)
    return keep, np.divide(share, total, where=~lonely, out=share) if normalize else share


def _smooth(
    x: np.ndarray, graph: csr_array, keep: np.ndarray, scale: np.ndarray, hops: int
) -> np.ndarray:
    import numba

    hop = _compiled()
    keep = keep.astype(x.dtype)
    out, spare = np.empty_like(x), np.empty_like(x) if hops > 1 else None
    starts = range(0, len(x), _ROWS)
    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as pool:
        for _ in range(hops):
            args = graph.indptr, graph.indices, graph.data, keep, scale, x, out
            list(pool.map(lambda start, args=args: hop(*args, start, start + _ROWS), starts))
            x, out, spare = out, spare, out
    if not np.isfinite(x).all():
        raise ValueError(
            f"features must be so small that their weighted sums stay finite in {x.dtype}: "
            "standardize them first"
        )
    return x


@functools.cache
def _compiled():
    import numba

    @numba.njit(nogil=True)
    def hop(indptr, neighbors, weights, keep, scale, x, out, start, stop):
        cast, width = x.dtype.type, x.shape[1]
        for i in range(start, min(stop, len(x))):
            for f in range(width):
                out[i, f] = keep[i] * x[i, f]
            # Four neighbors at a time, so that a sum is loaded and stored once for all of them.
            first, end = indptr[i], indptr[i + 1]
            rest = end - (end - first) % 4
            for e in range(first, rest, 4):
                a, b, c, d = neighbors[e], neighbors[e + 1], neighbors[e + 2], neighbors[e + 3]
                wa, wb = cast(scale[i] * weights[e]), cast(scale[i] * weights[e + 1])
                wc, wd = cast(scale[i] * weights[e + 2]), cast(scale[i] * weights[e + 3])
                for f in range(width):
                    mixed = out[i, f] + wa * x[a, f] + wb * x[b, f]
                    out[i, f] = mixed + wc * x[c, f] + wd * x[d, f]
            for e in range(rest, end):
                a, wa = neighbors[e], cast(scale[i] * weights[e])
                for f in range(width):
                    out[i, f] += wa * x[a, f]

    return hop


def _with_halo(graph: csr_array, block: np.ndarray, hops: int) -> np.ndarray:
    """The points of `block` and all within `hops` links of them, in rising order."""
    inside = np.zeros(graph.shape[0], bool)
    inside[block] = True
    for _ in range(hops):
        inside[graph[np.flatnonzero(inside)].indices] = True
    return np.flatnonzero(inside)


def _mapped(file: Any, n: int, widths: list[int]) -> np.memmap:
    """A scratch file as an array (n, features); mapped anew each time, to let go of memory."""
    return np.memmap(file, np.float32, "r+", shape=(n, sum(widths)))


# -- checks -----------------------------------------------------------------------------------


def _checked_graph(graph: Any, n: int) -> csr_array:
    from scipy.sparse import csr_array, issparse

    wanted = f"graph must be a sparse matrix of the shape ({n}, {n}), for {n} points"
    if not issparse(graph):
        raise TypeError(f"{wanted}, got {type(graph).__name__}")
    if graph.dtype.kind not in "buif":
        raise TypeError(f"{wanted}, with weights that are real numbers, got dtype {graph.dtype}")
    if graph.shape != (n, n):
        raise ValueError(f"{wanted}, got the shape {graph.shape}")
    try:
        if graph.dtype not in (np.float32, np.float64):
            graph = graph.astype(np.float64)  # first: entries of one place are added up below
        graph = csr_array(graph)
        graph.check_format()
    except ValueError as error:
        raise ValueError(f"{wanted}, got one that is damaged: {error}") from None
    if graph.nnz and not 0 <= graph.data.min() <= graph.data.max() < np.inf:
        raise ValueError(
            "graph must have finite weights of 0 or more, got weights from "
            f"{graph.data.min():g} to {graph.data.max():g}"
        )
    return graph


def _checked_links(k: Any, bandwidth: Any, weights: Any, symmetric: Any) -> dict[str, Any]:
    """Return the options of a graph by name, as JSON holds them."""
    require_choice(weights, "weights", ("gaussian", "uniform"))
    if bandwidth is not None:
        least, most = _BANDWIDTHS
        bandwidth = require_number(bandwidth, "bandwidth", least=least, most=most)
        if weights == "uniform":
            raise ValueError(
                f"bandwidth must be None with uniform weights, which have none, got {bandwidth}"
            )
    return {
        "k": require_integer(k, "k", least=1),
        "bandwidth": bandwidth,
        "weights": weights,
        "symmetric": require_bool(symmetric, "symmetric"),
    }


def _check_smoothing(alpha: float, hops: int, normalize: bool) -> None:
    require_number(alpha, "alpha", least=0, most=1)
    require_integer(hops, "hops", least=1, most=_MOST_HOPS)
    require_bool(normalize, "normalize")


def _refuse(n_bad: int, n: int) -> NoReturn:
    raise ValueError(
        f"{n_bad} of {n} points have NaN or infinite features; fill or drop them first, since "
        "smoothing would spread them to their neighbors"
    )
