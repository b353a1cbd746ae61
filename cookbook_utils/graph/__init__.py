"""Build graphs of nearest neighbors of points on the Earth, and smooth features over them."""

from cookbook_utils.graph.neighbors import neighbor_graph
from cookbook_utils.graph.smoothing import smooth_features
from cookbook_utils.graph.streaming import smooth_shards

__all__ = ["neighbor_graph", "smooth_features", "smooth_shards"]
