"""Write maps and points to files that other programs open: GeoTIFF, GeoPackage, Parquet, CSV.

Every file is replaced as a whole, and a STAC item beside it, ``<name>.json``, says what it holds.
"""

from cookbook_utils.export.maps import read_label_map, write_label_map
from cookbook_utils.export.points import write_points
from cookbook_utils.export.polygons import write_polygons

__all__ = ["read_label_map", "write_label_map", "write_points", "write_polygons"]
