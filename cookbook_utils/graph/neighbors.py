"""Graphs of the nearest neighbors of points on the Earth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cookbook_utils._checks import (
    as_real_array,
    require_bool,
    require_choice,
    require_integer,
    require_number,
)
from cookbook_utils._conventions.points import require_coordinates

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_WGS84_AXIS = 6378137.0  # m, semi-major axis
_WGS84_FLATTENING = 1 / 298.257223563
_POINTS_PER_QUERY = 2**16  # points whose neighbors are looked up in one query
_SAME_PLACE = 1e-6  # m; larger than rounding errors between 180 and -180 degrees, or at a pole
_BANDWIDTHS = _SAME_PLACE, 1e8  # m; beyond them squared distances overflow or underflow float32


def neighbor_graph(
    longitude: Any,
    latitude: Any,
    *,
    n_neighbors: int = 8,
    bandwidth: float | None = None,
    weights: Literal["gaussian", "uniform"] = "gaussian",
    symmetric: bool = False,
) -> csr_array:
    """Link every point to its nearest neighbors on the ground.

    Use it before `smooth_features`, or wherever the neighborhood of points matters. Distances are
    Euclidean distances between positions on the WGS84 ellipsoid, at height 0. They are valid in all
    directions and at all latitudes, also across the antimeridian and at the poles. They are shorter
    than the geodesic by about 0.001 % over 100 km and 0.1 % over 1000 km.

    Parameters
    ----------
    longitude : array_like of float (n,)
        Longitude in degrees, EPSG:4326, from -180 to 360.
    latitude : array_like of float (n,)
        Latitude in degrees, EPSG:4326.
    n_neighbors : int, default 8
        Number of neighbors of a point. A point is not its own neighbor, but other points at the
        same place are, at distance 0. Which of several equidistant points is taken is not defined,
        but it is always the same.
    bandwidth : float, optional
        Bandwidth of Gaussian weights in meters, from 1e-6 to 1e8; by default the median of all
        distances to neighbors greater than 0.
    weights : {"gaussian", "uniform"}, default "gaussian"
        Weight of a neighbor at distance d: ``exp(-d**2 / (2 * bandwidth**2))``, which underflows
        float32 beyond 14 bandwidths; or 1.
    symmetric : bool, default False
        Whether to link two points if either one is among the nearest neighbors of the other. Points
        may then have more than `n_neighbors` neighbors.

    Returns
    -------
    scipy.sparse.csr_array
        Weights (n, n), float32, whose row i holds those of the neighbors of point i. Indices are
        sorted, and int32 for up to 2**31 links. With 8 neighbors it takes 68 bytes for each point,
        and about twice as much while it is built.

    Raises
    ------
    TypeError
        If coordinates are not real numbers, or another parameter has the wrong type.
    ValueError
        If the lengths of the coordinates differ, coordinates are missing or out of range, there are
        not more than `n_neighbors` points, or another parameter is out of range.

    See Also
    --------
    smooth_features : Smooth features over a graph.

    References
    ----------
    Hofmann-Wellenhof, B., Lichtenegger, H., Wasle, E. (2008). GNSS: Global Navigation Satellite
    Systems, section 8.2.1: ellipsoidal and Cartesian coordinates. Springer.
    doi:10.1007/978-3-211-73017-1

    Examples
    --------
    Three points from west to east, 39 and 58 m apart:

    >>> longitude, latitude = [20.0, 20.001, 20.0025], [69.6, 69.6, 69.6]
    >>> graph = neighbor_graph(longitude, latitude, n_neighbors=1, bandwidth=50)
    >>> graph.toarray().round(2)
    array([[0.  , 0.74, 0.  ],
           [0.74, 0.  , 0.  ],
           [0.  , 0.51, 0.  ]], dtype=float32)
    """
    from scipy.sparse import csr_array

    links = check_links(n_neighbors, bandwidth, weights, symmetric)
    positions = cartesian(*_checked_coordinates(longitude, latitude))
    n = len(positions)
    if links["n_neighbors"] >= n:
        raise ValueError(
            "n_neighbors must be less than the number of points, since no point is its own "
            f"neighbor, got n_neighbors={n_neighbors} for {n} points"
        )
    neighbors, values = _nearest(positions, links["n_neighbors"])
    if weights == "uniform":
        values[:] = 1
    else:
        _to_gaussian_weights(values, links["bandwidth"])
    integer = np.int32 if neighbors.size < 2**31 else np.int64
    starts = np.arange(0, neighbors.size + 1, links["n_neighbors"], dtype=integer)
    graph = csr_array((values.ravel(), neighbors.ravel(), starts), shape=(n, n))
    return graph.maximum(graph.T.tocsr()) if symmetric else graph


def check_links(n_neighbors: Any, bandwidth: Any, weights: Any, symmetric: Any) -> dict[str, Any]:
    """Return the parameters that define the links of a graph as JSON holds them, or raise."""
    require_choice(weights, "weights", ("gaussian", "uniform"))
    if bandwidth is not None:
        least, most = _BANDWIDTHS
        bandwidth = require_number(bandwidth, "bandwidth", least=least, most=most)
        if weights == "uniform":
            raise ValueError(f"bandwidth must be None for uniform weights, got {bandwidth}")
    return {
        "n_neighbors": require_integer(n_neighbors, "n_neighbors", least=1),
        "bandwidth": bandwidth,
        "weights": str(weights),
        "symmetric": require_bool(symmetric, "symmetric"),
    }


def cartesian(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return geocentric positions (n, 3) on the WGS84 ellipsoid, in meters, float64."""
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    axis_ratio_squared = (1 - _WGS84_FLATTENING) ** 2  # (b / a)² = 1 − e²
    # Radius of curvature in the prime vertical, N = a / sqrt(1 − e² sin² φ)
    radius = _WGS84_AXIS / np.sqrt(1 - (1 - axis_ratio_squared) * np.sin(latitude) ** 2)
    from_axis = radius * np.cos(latitude)
    z = axis_ratio_squared * radius * np.sin(latitude)
    return np.stack([from_axis * np.cos(longitude), from_axis * np.sin(longitude), z], axis=1)


def _checked_coordinates(longitude: Any, latitude: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates as float64, or raise unless they are those of points on the Earth."""
    longitude, latitude = (
        np.asarray(as_real_array(values, name), np.float64)
        for name, values in (("longitude", longitude), ("latitude", latitude))
    )
    if longitude.ndim != 1 or longitude.shape != latitude.shape:
        raise ValueError(
            "longitude and latitude must have one value for each point, got the shapes "
            f"{longitude.shape} and {latitude.shape}"
        )
    require_coordinates(longitude, latitude, east=360)
    return longitude, latitude


def _to_gaussian_weights(distances: np.ndarray, bandwidth: float | None) -> None:
    """Replace distances in place by their Gaussian weights."""
    if bandwidth is None:
        apart = distances[distances > 0]
        # If all distances are 0, all weights are 1 for any bandwidth.
        bandwidth = np.median(apart, overwrite_input=True) if apart.size else 1.0
        del apart
    distances /= np.float32(bandwidth)
    np.square(distances, out=distances)
    distances *= np.float32(-0.5)
    np.exp(distances, out=distances)


def _nearest(positions: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest neighbors of points.

    Parameters
    ----------
    positions
        Geocentric positions (n, 3) in meters.
    n_neighbors
        Number of neighbors of a point.

    Returns
    -------
    neighbors : numpy.ndarray of int32 (n, n_neighbors)
        Indices, sorted in each row.
    distances : numpy.ndarray of float32 (n, n_neighbors)
        Distances in meters.
    """
    from scipy.spatial import cKDTree

    kept, surplus, surplus_neighbors = _thin_out(positions, n_neighbors)
    queried = positions[kept] if len(surplus) else positions
    tree = cKDTree(queried, balanced_tree=False, copy_data=False)
    neighbors = np.empty((len(positions), n_neighbors), np.int32)
    distances = np.empty((len(positions), n_neighbors), np.float32)
    for start in range(0, len(kept), _POINTS_PER_QUERY):
        # In the order of the tree, queries that follow each other find their data in the cache.
        points = tree.indices[start : start + _POINTS_PER_QUERY]
        distance, index = tree.query(queried[points], n_neighbors + 1, workers=-1)
        if len(surplus):
            points, index = kept[points], kept[index]
        drop = index == points[:, np.newaxis]
        # With enough points at its own place, a point may not be among its neighbors.
        drop[~drop.any(axis=1), -1] = True
        index, distance = (array[~drop].reshape(-1, n_neighbors) for array in (index, distance))
        order = np.argsort(index, axis=1)
        neighbors[points] = np.take_along_axis(index, order, axis=1)
        distances[points] = np.take_along_axis(distance, order, axis=1)
    neighbors[surplus], distances[surplus] = surplus_neighbors, 0
    distances[distances < _SAME_PLACE] = 0
    return neighbors, distances


def _thin_out(positions: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Separate the points of each place that no query needs.

    A k-d tree compares all points of a place with each other, which takes hours for a million.

    Returns
    -------
    kept : numpy.ndarray of int (n - surplus,)
        The first ``n_neighbors + 1`` points of each place, sorted.
    surplus : numpy.ndarray of int (surplus,)
        All other points.
    surplus_neighbors : numpy.ndarray of int (surplus, n_neighbors)
        Their neighbors: the first points of their place.
    """
    n = len(positions)
    # Most points have a place of their own, and then a sort of one coordinate shows it.
    x = np.sort(positions[:, 0])
    if not np.any(x[n_neighbors + 1 :] == x[: -(n_neighbors + 1)]):
        return np.arange(n), np.empty(0, np.intp), np.empty((0, n_neighbors), np.intp)
    order = np.lexsort(positions.T)
    is_first = np.zeros(n, bool)
    is_first[:1] = True
    for coordinate in positions.T:
        is_first[1:] |= np.diff(coordinate[order]) != 0
    first_of_place = np.maximum.accumulate(np.where(is_first, np.arange(n), 0))
    is_surplus = np.arange(n) - first_of_place > n_neighbors
    neighbors = order[first_of_place[is_surplus][:, np.newaxis] + np.arange(n_neighbors)]
    return np.sort(order[~is_surplus]), order[is_surplus], neighbors
