"""K-means over all pixels of many scenes at once, so that a label means the same in all of them.

`InterImageKMeans` does the work; the engines that it runs on are one file each. Two functions are
an engine: ``assign`` gives the pixels of a block their nearest centers and ``measure`` sums their
distances. A block is an array (bands, pixels), band after band in memory, with one label a pixel.
"""

from cookbook_utils.interimage.estimator import InterImageKMeans

__all__ = ["InterImageKMeans"]
