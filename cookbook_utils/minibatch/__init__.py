"""Cluster points that do not fit in memory by mini-batch k-means, and label them on disk.

With the default parameters, fewer than a hundred thousand points are in memory at a time.
`MiniBatchShardKMeans` reads the train points several times: one pass computes mean and standard
deviation of the features and draws a uniform sample, on which k-means finds the first centers; each
further pass, an epoch, updates the centers by ``partial_fit`` of `sklearn.cluster.MiniBatchKMeans`,
until almost no label of the sample changes. `label_shards` reads all points once more and labels
them. One thread computes all batches, whose size does not depend on the shards. The labels of a
random seed are therefore the same whatever the shard size and the number of cores.

References
----------
D. Sculley (2010). Web-scale k-means clustering. Proceedings of the 19th International Conference on
World Wide Web, 1177-1178. doi:10.1145/1772690.1772862.
"""

from cookbook_utils.minibatch.estimator import MiniBatchShardKMeans
from cookbook_utils.minibatch.labeling import LabelCounts, label_shards
from cookbook_utils.minibatch.profiles import displacement_profiles

__all__ = ["LabelCounts", "MiniBatchShardKMeans", "displacement_profiles", "label_shards"]
