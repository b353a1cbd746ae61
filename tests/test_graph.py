"""Graphs of neighbors beside geodesic distances, and smoothing beside its formula."""

from __future__ import annotations

import numba
import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

from cookbook_utils.graph import (
    neighbor_graph,
    neighbors,
    smooth_features,
    smooth_shards,
    smoothing,
    streaming,
)
from cookbook_utils.shards import PointShards, ShardWriter

GEOD = pyproj.Geod(ellps="WGS84")


def site(n, longitude=20.2, latitude=69.6, size=3000.0, seed=0):
    """Return coordinates of points scattered over a circle of `size` meters around a center."""
    rng = np.random.default_rng(seed)
    azimuth, distance = rng.uniform(0, 360, n), size * np.sqrt(rng.random(n))
    center = np.full(n, longitude), np.full(n, latitude)
    return GEOD.fwd(*center, azimuth, distance)[:2]


def geodesics(longitude, latitude):
    """Return distances in meters between all points (n, n), infinite from a point to itself."""
    n = len(longitude)
    i, j = (index.ravel() for index in np.indices((n, n)))
    longitude, latitude = np.asarray(longitude), np.asarray(latitude)
    distance = GEOD.inv(longitude[i], latitude[i], longitude[j], latitude[j])[2].reshape(n, n)
    np.fill_diagonal(distance, np.inf)
    return distance


def brute_force(features, weights, alpha, hops, normalize):
    """Compute the formula for each point and each neighbor, in float64."""
    x = [[float(value) for value in row] for row in features]
    for _ in range(hops):
        new = []
        for i, row in enumerate(weights):
            links = [(j, float(w)) for j, w in enumerate(row) if w > 0]
            if not links:
                new.append(x[i])
                continue
            total = sum(w for _, w in links) if normalize else 1.0
            new.append(
                [
                    alpha * own + (1 - alpha) * sum(w / total * x[j][f] for j, w in links)
                    for f, own in enumerate(x[i])
                ]
            )
        x = new
    return np.array(x)


# -- the graph --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("longitude", "latitude"),
    [(20.2, 69.6), (15.6, 78.2), (180.0, -16.5), (0.0, 0.0), (30.0, 90.0), (13.2, 38.7)],
    ids=["Lyngen", "Svalbard", "antimeridian", "equator", "pole", "Ustica"],
)
def test_neighbors_are_the_nearest_by_geodesic(longitude, latitude):
    place = site(150, longitude, latitude)
    distance = geodesics(*place)
    graph = neighbor_graph(*place, n_neighbors=6, weights="uniform")
    linked = np.where(graph.toarray() > 0, distance, 0)
    nearest = np.sort(distance, axis=1)[:, :6]
    np.testing.assert_allclose(np.sort(linked, axis=1)[:, -6:], nearest, rtol=1e-4)


@pytest.mark.parametrize(
    ("place", "size"), [((15.6, 78.2), 2e3), ((179.99, 0), 3e4), ((5, 45), 5e5)]
)
def test_distances_are_geodesic(place, size):
    place = site(60, *place, size=size)
    graph = neighbor_graph(*place, n_neighbors=5, bandwidth=size)
    rows, columns = graph.nonzero()
    found = size * np.sqrt(-2 * np.log(graph.data.astype(float)))
    expected = geodesics(*place)[rows, columns]
    # Weights of smaller distances are rounded to 1 in float32.
    far = expected > size / 20
    assert far.sum() > 50
    np.testing.assert_allclose(found[far], expected[far], rtol=1e-3)


def test_distances_to_a_micrometer_at_the_scale_of_neighbors():
    place = site(500, 15.6, 78.2, size=200)
    positions = neighbors.cartesian(*map(np.array, place))
    indices, distances = neighbors._nearest(positions, 8)
    expected = np.take_along_axis(geodesics(*place), indices, axis=1)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


def test_graph_is_in_canonical_csr_format():
    graph = neighbor_graph(*site(300), n_neighbors=8)
    assert isinstance(graph, csr_array) and graph.shape == (300, 300)
    assert graph.dtype == np.float32 and graph.indices.dtype == graph.indptr.dtype == np.int32
    assert np.all(np.diff(graph.indptr) == 8)
    assert np.all(np.diff(graph.indices.reshape(300, 8), axis=1) > 0)
    assert np.all(graph.diagonal() == 0)


def test_gaussian_weights_fall_with_distance_and_default_to_the_median_distance():
    place = site(200)
    graph, distance = neighbor_graph(*place, n_neighbors=7), geodesics(*place)
    near = distance[graph.nonzero()]
    expected = np.exp(-(near**2) / (2 * np.median(near) ** 2))
    np.testing.assert_allclose(graph.data, expected, rtol=1e-4)
    order = np.argsort(near)
    assert np.all(np.diff(graph.data[order]) <= 0)
    narrow = neighbor_graph(*place, n_neighbors=7, bandwidth=np.median(near) / 2)
    np.testing.assert_allclose(narrow.data, expected**4, rtol=1e-3, atol=1e-30)


def test_uniform_weights_are_one():
    assert set(neighbor_graph(*site(50), weights="uniform").data) == {1}


def test_symmetric_is_the_union():
    place = site(200)
    graph = neighbor_graph(*place, n_neighbors=4).toarray()
    both = neighbor_graph(*place, n_neighbors=4, symmetric=True)
    assert not np.array_equal(graph, graph.T)
    np.testing.assert_array_equal(both.toarray(), np.maximum(graph, graph.T))
    assert isinstance(both, csr_array) and both.has_sorted_indices
    assert both.dtype == np.float32 and both.indices.dtype == np.int32


def test_points_at_the_same_place_are_neighbors_at_distance_zero():
    longitude, latitude = np.array([20.0, 20.01, 20.02, 20.0]), np.full(4, 69.6)
    graph = neighbor_graph(longitude, latitude, n_neighbors=1)
    assert graph.indices.tolist()[0] == 3 and graph.indices.tolist()[3] == 0
    assert graph.data[0] == graph.data[3] == 1
    # The bandwidth is the median of the distances that are not 0.
    np.testing.assert_allclose(graph.data[[1, 2]], np.exp(-0.5), rtol=1e-3)


def test_more_points_at_one_place_than_neighbors():
    longitude = np.repeat([20.0, 20.1], [12, 3])
    graph = neighbor_graph(longitude, np.full(15, 69.6), n_neighbors=4)
    assert np.all(graph.diagonal() == 0)
    assert np.all(np.diff(graph.indptr) == 4)
    rows = np.repeat(np.arange(15), 4)
    assert np.all(graph.indices[rows < 12] < 12) and np.all(graph.data[rows < 12] == 1)
    everywhere = neighbor_graph(np.full(9, 20.0), np.full(9, 69.6), n_neighbors=3)
    assert np.all(everywhere.data == 1) and np.all(everywhere.diagonal() == 0)


def test_longitudes_to_180_and_to_360_are_the_same():
    longitude, latitude = map(np.array, site(100, 180.0, 65.0))
    assert longitude.min() < 0 < longitude.max()
    a = neighbor_graph(longitude, latitude, bandwidth=100)
    b = neighbor_graph(longitude % 360, latitude, bandwidth=100)
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_allclose(a.data, b.data, rtol=1e-4)


def test_neighbors_do_not_depend_on_the_size_of_a_query(monkeypatch):
    place = site(300)
    whole = neighbor_graph(*place)
    monkeypatch.setattr(neighbors, "_POINTS_PER_QUERY", 7)
    pieces = neighbor_graph(*place)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(whole, part), getattr(pieces, part))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"longitude": [1.0, 2.0]}, r"one value for each point, got the shapes \(2,\) and \(4,\)"),
        ({"longitude": [[1.0, 2.0, 3.0, 4.0]]}, "one value for each point"),
        (
            {"longitude": [1.0, np.nan, 3.0, np.inf]},
            r"longitude must be from -180 to 360 degrees, got 2 of 4 .* nan$",
        ),
        (
            {"latitude": [1.0, 2.0, 3.0, 120.0]},
            "latitude must be .* got 1 of 4 .* 120.0: are .* swapped",
        ),
        ({"longitude": [1.0, 2.0, 3.0, 5e5]}, "longitude must be .* 500000.0: .* meters"),
        (
            {"n_neighbors": 4},
            "n_neighbors must be less than .* points, .* got n_neighbors=4 for 4 points",
        ),
        ({"n_neighbors": 0}, "n_neighbors must be an integer of at least 1, got 0"),
        ({"weights": "inverse"}, "weights must be one of 'gaussian', 'uniform', got 'inverse'"),
        ({"bandwidth": 0}, "bandwidth must be a finite number from 1e-06 to .*, got 0"),
        ({"bandwidth": 1e-50}, "bandwidth must be a finite number from 1e-06"),
        ({"bandwidth": 1e39}, "bandwidth must be a finite number from 1e-06"),
        ({"bandwidth": np.nan}, "bandwidth must be a finite number"),
        ({"bandwidth": 5, "weights": "uniform"}, "bandwidth must be None for uniform weights"),
        ({"longitude": 1.0, "latitude": 2.0}, "one value for each point"),
        ({"longitude": [], "latitude": []}, "got n_neighbors=2 for 0 points"),
    ],
)
def test_graph_refuses(change, message):
    options = {
        "longitude": [1.0, 2.0, 3.0, 4.0],
        "latitude": [1.0, 2.0, 3.0, 4.0],
        "n_neighbors": 2,
    }
    with pytest.raises(ValueError, match=message):
        neighbor_graph(**options | change)


@pytest.mark.parametrize(
    "change",
    [
        {"n_neighbors": 2.0},
        {"n_neighbors": True},
        {"bandwidth": "10"},
        {"bandwidth": True},
        {"weights": None},
        {"symmetric": 1},
    ],
)
def test_graph_refuses_types(change):
    with pytest.raises(TypeError, match=f"{next(iter(change))} must be"):
        neighbor_graph([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], **{"n_neighbors": 1} | change)


@pytest.mark.parametrize(
    "wrong",
    [
        ["a", "b", "c"],
        [1j, 2j, 3j],
        np.array([1, 2, 3], object),
        np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]),
        np.array(["2020-01-01"] * 3, "M8[D]"),
        None,
    ],
)
def test_coordinates_that_are_no_numbers_are_refused(wrong):
    for place in ((wrong, [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], wrong)):
        with pytest.raises(TypeError, match="itude must (hold real numbers|be an array without)"):
            neighbor_graph(*place, n_neighbors=1)


def test_neighbors_across_the_antimeridian_and_the_pole():
    """Longitudes on either side of 180 degrees, and opposite longitudes beside a pole."""
    fiji = neighbor_graph([179.9999, -179.9999, 179.99, -179.99], [-17.0] * 4, n_neighbors=1)
    assert fiji.indices.tolist() == [1, 0, 0, 1]
    pole = neighbor_graph([0.0, 180.0, 90.0, 91.0], [89.9999, 89.9999, 89.0, 89.0], n_neighbors=1)
    assert pole.indices.tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize(
    ("longitude", "latitude"), [([180.0, -180.0, 0, 0], [5.0] * 4), ([7, 99, 0, 1], [90.0] * 4)]
)
def test_two_coordinates_of_one_place_are_at_distance_zero(longitude, latitude):
    """Rounding leaves a nanometer, which must not become the bandwidth of the others."""
    longitude = np.append(longitude, [10.0, 10.0001])
    latitude = np.append(latitude, [5.0, 5.0])
    graph = neighbor_graph(longitude, latitude, n_neighbors=1)
    assert np.all(graph.data[:4] == 1)
    np.testing.assert_allclose(graph.data[4:], np.exp(-0.5), rtol=1e-6)


# -- smoothing --------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"weights": "uniform"}, {"symmetric": True}], ids=["gaussian", "sum", "union"]
)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_smoothing_is_the_formula(normalize, options, dtype, rtol):
    graph = neighbor_graph(*site(60), n_neighbors=5, **options)
    x = np.random.default_rng(1).random((60, 3)).astype(dtype)
    given = x.copy()
    found = smooth_features(x, graph, alpha=0.3, hops=3, normalize=normalize)
    expected = brute_force(x, graph.toarray(), 0.3, 3, normalize)
    np.testing.assert_allclose(found, expected, rtol=rtol)
    assert found.dtype == dtype
    np.testing.assert_array_equal(x, given)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    n=st.integers(1, 8),
    alpha=st.floats(0, 1),
    hops=st.integers(1, 4),
    normalize=st.booleans(),
)
def test_smoothing_is_the_formula_on_any_graph(data, n, alpha, hops, normalize):
    weight = st.sampled_from([0, 0, 1, 0.25]) | st.floats(2.0**-120, 8, width=32)
    weights = data.draw(arrays(np.float32, (n, n), elements=weight))
    x = data.draw(arrays(np.float64, (n, 2), elements=st.floats(-1e3, 1e3)))
    found = smooth_features(x, csr_array(weights), alpha=alpha, hops=hops, normalize=normalize)
    expected = brute_force(x, weights, alpha, hops, normalize)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(x).max(initial=0))


def test_the_sum_grows_with_the_number_of_neighbors_and_the_mean_does_not():
    x = np.ones((100, 2), np.float32)
    for n_neighbors in (3, 9):
        graph = neighbor_graph(*site(100), n_neighbors=n_neighbors, weights="uniform")
        total = smooth_features(x, graph, alpha=0.5, hops=2, normalize=False)
        np.testing.assert_allclose(total, (0.5 + 0.5 * n_neighbors) ** 2, rtol=1e-6)
        np.testing.assert_allclose(smooth_features(x, graph, alpha=0.5, hops=2), 1, rtol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_point_without_neighbors_keeps_its_features(normalize):
    weights = np.zeros((3, 3), np.float32)
    weights[0, 1] = 1
    x = np.array([[1.0], [2.0], [3.0]], np.float32)
    found = smooth_features(x, csr_array(weights), alpha=0.25, hops=2, normalize=normalize)
    assert found[1:].ravel().tolist() == [2, 3]


def test_a_point_many_bandwidths_away_keeps_its_features():
    graph = neighbor_graph([20.0, 20.001, 20.002, 20.5], [69.6] * 4, n_neighbors=1)
    x = np.array([[1.0], [2.0], [3.0], [100.0]], np.float32)
    assert smooth_features(x, graph, alpha=0.5, hops=3)[3] == 100


def test_weights_near_the_smallest_float_still_give_a_mean():
    tiny = np.array([[0, 1e-45, 1e-45], [0, 0, 1e-40], [1e-38, 0, 0]], np.float32)
    x = np.array([[1.0], [2.0], [4.0]], np.float32)
    found = smooth_features(x, csr_array(tiny), alpha=0.0, hops=1)
    np.testing.assert_allclose(found.ravel(), [3, 4, 1], rtol=1e-6)


def test_alpha_one_changes_nothing():
    x = np.random.default_rng(0).random((40, 2))
    found = smooth_features(x, neighbor_graph(*site(40)), alpha=1, hops=3)
    np.testing.assert_array_equal(found, x)


def test_same_bits_for_any_number_of_threads(monkeypatch):
    n = 3 * smoothing._POINTS_PER_TASK + 5
    graph = neighbor_graph(*site(n))
    x = np.random.default_rng(0).random((n, 7), dtype=np.float32)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        results.append(smooth_features(x, graph, alpha=0.4, hops=3))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_data_array_comes_back_as_one():
    graph = neighbor_graph(*site(30))
    x = xr.DataArray(
        np.random.default_rng(0).random((30, 2), dtype=np.float32),
        dims=("point", "feature"),
        coords={"pid": ("point", np.arange(30)), "feature": ["a", "b"]},
        attrs={"source": "test"},
        name="embedding",
    )
    found = smooth_features(x, graph, alpha=0.5, hops=2)
    xr.testing.assert_identical(found.copy(data=x.values), x)
    np.testing.assert_array_equal(found, smooth_features(x.values, graph, alpha=0.5, hops=2))
    turned = smooth_features(x.transpose("feature", "point"), graph, alpha=0.5, hops=2)
    xr.testing.assert_identical(turned, found.transpose("feature", "point"))
    lazy = smooth_features(x.chunk(point=7), graph, alpha=0.5, hops=2)
    xr.testing.assert_identical(lazy, found)


def test_arrays_of_any_layout_and_byte_order():
    graph = neighbor_graph(*site(30))
    x = np.random.default_rng(0).random((30, 4), dtype=np.float32)
    expected = smooth_features(x, graph, alpha=0.5, hops=2)
    frozen = x.copy()
    frozen.flags.writeable = False
    for same in (np.asfortranarray(x), x.astype(">f4"), np.repeat(x, 2, axis=1)[:, ::2], frozen):
        np.testing.assert_array_equal(smooth_features(same, graph, alpha=0.5, hops=2), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": -0.1}, "alpha must be a finite number from 0 to 1, got -0.1"),
        ({"alpha": 1.1}, "alpha must be a finite number from 0 to 1, got 1.1"),
        ({"alpha": np.nan}, "alpha must be a finite number from 0 to 1, got nan"),
        ({"hops": 0}, "hops must be an integer from 1 to 1000, got 0"),
        ({"hops": 10**9}, "hops must be an integer from 1 to 1000, got"),
        ({"features": np.ones((4, 2))}, r"\(4, 4\), for 4 points, got the shape \(3, 3\)"),
        ({"features": np.ones(3)}, r"the shape \(n, features\), .* got \(3,\)"),
        ({"features": np.ones((0, 3))}, r"the shape \(n, features\), .* got \(0, 3\)"),
        ({"features": np.ones((3, 0))}, r"the shape \(n, features\), .* got \(3, 0\)"),
        (
            {"features": np.array([[np.nan], [1], [np.inf]])},
            "features must be finite, got 2 of 3 points with NaN",
        ),
        (
            {
                "features": np.full((3, 1), 3e38, "f4"),
                "normalize": False,
                "alpha": 0.9,
                "graph": csr_array(np.full((3, 3), 9.0)),
            },
            "finite in float32, got sums that overflow: standardize",
        ),
        ({"graph": csr_array(-np.eye(3))}, "finite weights of 0 or more, got weights from -1 to"),
        ({"graph": csr_array(np.diag([1, np.nan, 1]))}, "weights from nan to nan"),
    ],
)
def test_smoothing_refuses(change, message):
    graph = neighbor_graph([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], n_neighbors=1)
    options = {"features": np.ones((3, 2)), "graph": graph, "alpha": 0.5, "hops": 1}
    with pytest.raises(ValueError, match=message):
        smooth_features(**options | change)


def test_smoothing_refuses_a_graph_that_points_outside():
    graph = neighbor_graph([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], n_neighbors=1)
    graph.indices[0] = 7
    with pytest.raises(ValueError, match="indices"):
        smooth_features(np.ones((3, 2)), graph, alpha=0.5, hops=1)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": "0.5"},
        {"alpha": True},
        {"hops": 1.0},
        {"hops": True},
        {"normalize": "yes"},
        {"features": np.ones((3, 2), int)},
        {"features": np.ones((3, 2), np.float16)},
        {"features": np.ones((3, 2), np.longdouble)},
        {"features": np.ones((3, 2), complex)},
        {"features": np.ones((3, 2), object)},
        {"features": np.ma.masked_array(np.ones((3, 2)), np.eye(3, 2))},
        {"features": [["a", "b"]] * 3},
        {"graph": np.eye(3)},
        {"graph": csr_array(1j * np.eye(3))},
    ],
)
def test_smoothing_refuses_types(change):
    graph = neighbor_graph([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], n_neighbors=1)
    with pytest.raises(TypeError, match=f"{next(iter(change))} must"):
        options = {"features": np.ones((3, 2)), "graph": graph, "alpha": 0.5, "hops": 1}
        smooth_features(**options | change)


def test_smoothing_refuses_other_dimensions():
    graph = neighbor_graph([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], n_neighbors=1)
    with pytest.raises(ValueError, match=r"features must have .* lacks \['feature'\]"):
        smooth_features(
            xr.DataArray(np.ones((3, 2)), dims=("point", "time")), graph, alpha=1, hops=1
        )


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, np.longdouble])
def test_weights_of_any_dtype(dtype):
    x, weights = np.arange(6.0).reshape(3, 2), np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype)
    found = smooth_features(x, csr_array(weights.astype(float)).astype(dtype), alpha=0.5, hops=2)
    np.testing.assert_array_equal(found, brute_force(x, weights, 0.5, 2, True))


def test_features_with_a_declared_nodata_value_are_refused():
    graph = neighbor_graph([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], n_neighbors=1)
    x = xr.DataArray([[1.0], [-9999.0], [2.0]], dims=("point", "feature"), attrs={"nodata": -9999})
    with pytest.raises(ValueError, match="1 of 3 points with NaN"):
        smooth_features(x, graph, alpha=0.5, hops=1)


# -- shards -----------------------------------------------------------------------------------

N = 2000


@pytest.fixture(scope="module")
def points():
    """Return points in random order with features of two kinds; some are at the same place."""
    longitude, latitude = map(np.array, site(N))
    longitude[1000:1010], latitude[1000:1010] = longitude[:10], latitude[:10]
    rng = np.random.default_rng(5)
    dynamic = rng.normal(size=(N, 6)).astype(np.float32)
    return longitude, latitude, dynamic, rng.normal(size=(N, 2)).astype(np.float32)


def write(folder, points, shard_size=300):
    longitude, latitude, dynamic, static = points
    names = {"dynamic": list("abcdef"), "static": ["height", "coherence"]}
    with ShardWriter(folder, names, shard_size=shard_size, attrs={"seed": 5}) as writer:
        numbers = 3 * np.arange(N)
        writer.append(numbers, longitude, latitude, dynamic=dynamic, static=static)
    return folder


@pytest.mark.parametrize("points_per_block", [16, 777, 10**6])
@pytest.mark.parametrize("shard_size", [130, N])
def test_shards_give_the_same_bits_as_memory(
    tmp_path, points, shard_size, points_per_block, monkeypatch
):
    monkeypatch.setattr(streaming, "POINTS_PER_BLOCK", points_per_block)
    longitude, latitude, dynamic, _ = points
    expected = smooth_features(dynamic, neighbor_graph(longitude, latitude), alpha=0.5, hops=3)
    source = write(tmp_path / "source", points, shard_size)
    target = smooth_shards(source, tmp_path / "target", alpha=0.5, hops=3, shard_size=450)
    found = PointShards(target)
    np.testing.assert_array_equal(found.read("dynamic"), expected)
    for column in ("point", "longitude", "latitude"):
        np.testing.assert_array_equal(found.read(column), PointShards(source).read(column))


@pytest.mark.parametrize(
    "options",
    [
        {"symmetric": True, "n_neighbors": 5},
        {"weights": "uniform", "normalize": False},
        {"bandwidth": 12.5, "symmetric": True, "normalize": False},
    ],
)
def test_shards_with_every_option_and_two_kinds(tmp_path, points, options, monkeypatch):
    monkeypatch.setattr(streaming, "POINTS_PER_BLOCK", 150)
    longitude, latitude, dynamic, static = points
    links = {key: value for key, value in options.items() if key != "normalize"}
    graph = neighbor_graph(longitude, latitude, **links)
    both = np.concatenate([dynamic, static], axis=1)
    normalize = options.get("normalize", True)
    expected = smooth_features(both, graph, alpha=0.25, hops=2, normalize=normalize)
    source = write(tmp_path / "source", points)
    target = tmp_path / "target"
    smooth_shards(source, target, kinds=("dynamic", "static"), alpha=0.25, hops=2, **options)
    found = PointShards(target)
    assert found.features == {"dynamic": list("abcdef"), "static": ["height", "coherence"]}
    assert found.attrs["seed"] == 5 and found.attrs["smoothing"]["alpha"] == 0.25
    np.testing.assert_array_equal(found.read("dynamic"), expected[:, :6])
    np.testing.assert_array_equal(found.read("static"), expected[:, 6:])
    assert sorted(p.name for p in target.iterdir()) == ["manifest.json", "shard-00000.parquet"]


def test_interrupted_shards_are_resumed_and_complete_ones_are_unchanged(
    tmp_path, points, monkeypatch
):
    source, target = write(tmp_path / "source", points), tmp_path / "target"
    monkeypatch.setattr(streaming, "POINTS_PER_BLOCK", 500)
    options = {"alpha": 0.5, "hops": 2, "shard_size": 400}
    whole = smooth_shards(source, tmp_path / "whole", **options)
    append, calls = ShardWriter.append, []

    def interrupted(self, *args, **kwargs):
        calls.append(len(args[0]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, *args, **kwargs)

    monkeypatch.setattr(ShardWriter, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        smooth_shards(source, target, **options)
    names = sorted(p.name for p in target.iterdir())
    assert names == ["manifest.json", "shard-00000.parquet", "shard-00001.parquet"]
    smooth_shards(source, target, **options)
    np.testing.assert_array_equal(
        PointShards(target).read("dynamic"), PointShards(whole).read("dynamic")
    )
    n_calls = len(calls)
    smooth_shards(source, target, **options)
    assert len(calls) == n_calls
    with pytest.raises(ValueError, match="already holds shards with other attrs"):
        smooth_shards(source, target, **options | {"alpha": 0.6})


def test_shards_refuse(tmp_path, points):
    longitude, latitude, dynamic, static = points
    source, target = write(tmp_path / "source", points), tmp_path / "target"
    with pytest.raises(ValueError, match="kinds must be .* 'dynamic', 'static', .* got .'disp"):
        smooth_shards(source, target, kinds=["displacement"], alpha=0.5, hops=1)
    with pytest.raises(TypeError, match="kinds must be a sequence .* got 'dynamic'"):
        smooth_shards(source, target, kinds="dynamic", alpha=0.5, hops=1)
    with pytest.raises(ValueError, match="alpha must be a finite number from 0 to 1, got 2"):
        smooth_shards(source, target, alpha=2, hops=1)
    with pytest.raises(ValueError, match="shard_size must be an integer of at least 1"):
        smooth_shards(source, target, alpha=0.5, hops=1, shard_size=0)
    with pytest.raises(ValueError, match="n_neighbors=2000 for 2000 points"):
        smooth_shards(source, target, alpha=0.5, hops=1, n_neighbors=2000)
    assert not target.exists()
    dynamic = dynamic.copy()
    dynamic[[3, 1500], 2] = np.nan
    gaps = write(tmp_path / "gaps", (longitude, latitude, dynamic, static))
    with pytest.raises(ValueError, match="2 of 2000 points with NaN"):
        smooth_shards(gaps, target, alpha=0.5, hops=1)
    with pytest.raises(FileNotFoundError, match="must be a folder of shards"):
        smooth_shards(tmp_path / "nothing", target, alpha=0.5, hops=1)


def test_a_target_of_other_features_is_refused(tmp_path):
    options = {"alpha": 0.5, "hops": 1, "n_neighbors": 2}
    for seed in (0, 1):
        source = tmp_path / f"source {seed}"
        with ShardWriter(source, {"dynamic": ["a"]}) as writer:
            at = np.arange(9)
            features = np.random.default_rng(seed).normal(size=(9, 1))
            writer.append(at, at / 1000, at / 1000, dynamic=features)
    target = smooth_shards(tmp_path / "source 0", tmp_path / "target", **options)
    assert smooth_shards(tmp_path / "source 0", target, **options) == target
    with pytest.raises(ValueError, match="already holds shards with other attrs"):
        smooth_shards(tmp_path / "source 1", target, **options)


def test_a_query_takes_few_points_of_each_place(monkeypatch):
    """Otherwise all points of a place are compared in pairs, which takes hours for a million."""
    in_trees = []

    class Counting(cKDTree):
        def __init__(self, places, **options):
            in_trees.append(len(places))
            super().__init__(places, **options)

    monkeypatch.setattr("scipy.spatial.cKDTree", Counting)
    longitude = np.random.default_rng(0).permutation(np.repeat([20.0, 20.1, 20.2], [500, 3, 1]))
    graph = neighbor_graph(longitude, np.full(504, 69.6), n_neighbors=4, bandwidth=1e8)
    assert in_trees == [5 + 3 + 1]
    assert np.all(graph.diagonal() == 0) and np.all(np.diff(graph.indptr) == 4)
    assert np.all(np.diff(graph.indices.reshape(-1, 4), axis=1) > 0)
    found = np.sort(np.abs(longitude[graph.indices.reshape(-1, 4)] - longitude[:, None]), axis=1)
    expected = np.sort(np.abs(longitude - longitude[:, None]), axis=1)[:, 1:5]
    np.testing.assert_array_equal(found, expected)


def test_duplicate_weights_in_int8_are_added_without_overflow():
    twice = coo_array((np.array([100, 100, 1], np.int8), ([0, 0, 1], [1, 1, 0])), (2, 2))
    smoothed = smooth_features(np.eye(2), twice, alpha=0, hops=1, normalize=False)
    np.testing.assert_array_equal(smoothed, [[0, 200], [1, 0]])


def test_weights_whose_sum_is_not_finite_are_refused():
    graph = csr_array(np.array([[0, 1e308, 1e308], [1, 0, 0], [1, 0, 0]]))
    with pytest.raises(ValueError, match="have a finite sum, got weights up to 1e"):
        smooth_features(np.eye(3), graph, alpha=0.5, hops=1)
