"""K-means over all pixels of many scenes at once, so that a label means the same in all of them.

`InterImageKMeans` is the estimator. An *engine* holds the pixels and labels of all scenes and runs
passes over them; *kernels* are the functions that an engine applies to one block of pixels. Both
interfaces are described in ``engines.py``.
"""

from cookbook_utils.interimage.estimator import InterImageKMeans

__all__ = ["InterImageKMeans"]
