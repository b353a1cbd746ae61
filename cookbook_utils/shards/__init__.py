"""Store features of millions of points in Parquet files, and read them in batches.

Use it for points that do not fit in memory. A folder holds ``manifest.json`` and the shards
``shard-00000.parquet``, ``shard-00001.parquet`` and so on. A shard has the columns ``point``
(int64, strictly increasing), ``longitude`` and ``latitude`` (float64, degrees), optionally ``pid``
(UTF-8 in 32 bytes, with zeros at its end), and one column for each kind of features, such as
``dynamic`` and ``static``. The features of a point are one
fixed-size binary value of little-endian float32 numbers, which Parquet reads about five times as
fast as a list of floats. Parquet was chosen over Zarr because one file holds points and features
together with its schema, its number of rows and checksums of its values. The manifest and the
label files hold a digest of their own content. Data are compared with the checksums when they are
read, and an error names the file that is damaged.

The number of points that are read and shuffled together does not depend on the shard size, nor do
batches, splits and labels.
"""

from cookbook_utils.shards.reader import Batch, PointShards
from cookbook_utils.shards.split import is_test
from cookbook_utils.shards.writer import ShardWriter

__all__ = ["Batch", "PointShards", "ShardWriter", "is_test"]
