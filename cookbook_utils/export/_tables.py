"""Tables with geometry that are written batch by batch: GeoParquet, GeoPackage and CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cookbook_utils import __version__
from cookbook_utils.export._install import need

if TYPE_CHECKING:
    import pyproj

MEDIA_TYPES = {
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".geoparquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
}
ROWS = 65_536  # of a batch


class GeoParquet:
    """Context manager that writes a GeoParquet 1.1 file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    crs : pyproj.CRS
        The CRS of the geometries.
    kind : str
        The type of the geometries, such as "Point"; empty if there are several.
    columns : mapping of str to str
        The names of the columns and their types in pandas or NumPy.
    """

    def __init__(self, path: Path, crs: pyproj.CRS, kind: str, columns: Mapping[str, str]) -> None:
        pa, pq = need("pyarrow"), need("pyarrow.parquet")
        types = {"string": pa.string(), "UInt8": pa.uint8(), "UInt16": pa.uint16()}
        fields = [
            (name, types[kind] if kind in types else pa.from_numpy_dtype(np.dtype(kind)))
            for name, kind in columns.items()
        ]
        self._schema = pa.schema([*fields, ("geometry", pa.binary())])
        self._crs, self._kind, self._bounds = crs, kind, np.array([np.inf] * 2 + [-np.inf] * 2)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, table: pd.DataFrame, geometry: np.ndarray) -> None:
        """Append a batch with its geometries."""
        import pyarrow as pa
        import shapely

        if len(geometry):
            bounds = shapely.total_bounds(geometry)
            self._bounds[:2] = np.fmin(self._bounds[:2], bounds[:2])
            self._bounds[2:] = np.fmax(self._bounds[2:], bounds[2:])
        arrays = [
            pa.array(table[field.name], field.type, from_pandas=True) for field in self._schema
            if field.name != "geometry"
        ]  # fmt: skip
        arrays.append(pa.array(shapely.to_wkb(geometry), pa.binary()))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def __enter__(self) -> GeoParquet:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            column: dict[str, Any] = {
                "encoding": "WKB",
                "geometry_types": [self._kind] if self._kind else [],
                "crs": self._crs.to_json_dict(),
            }
            if np.isfinite(self._bounds).all():
                column["bbox"] = self._bounds.tolist()
            geo = {
                "version": "1.1.0",
                "primary_column": "geometry",
                "columns": {"geometry": column},
                "creator": {"library": "cookbook_utils", "version": __version__},
            }
            self._writer.add_key_value_metadata({"geo": json.dumps(geo)})
        self._writer.close()


class GeoPackage:
    """Context manager that writes a GeoPackage with one layer; parameters as for `GeoParquet`."""

    def __init__(self, path: Path, crs: pyproj.CRS, kind: str, columns: Mapping[str, str]) -> None:
        need("pyogrio")
        need("geopandas")
        self._path, self._crs, self._kind = path, crs, kind or "Unknown"
        self.write(pd.DataFrame({name: pd.Series([], dtype=d) for name, d in columns.items()}), [])

    def write(self, table: pd.DataFrame, geometry: Any) -> None:
        """Append a batch with its geometries."""
        import geopandas
        import pyogrio

        frame = geopandas.GeoDataFrame(table, geometry=list(geometry), crs=self._crs)
        try:
            pyogrio.write_dataframe(
                frame, self._path, layer=self._path.stem, driver="GPKG",
                geometry_type=self._kind, append=self._path.exists(),
            )  # fmt: skip
        # pyogrio's errors of data sources, layers and features, and of integers beyond 64 bits
        except (RuntimeError, OverflowError) as error:
            raise OSError(str(error)) from error

    def __enter__(self) -> GeoPackage:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the file, which is closed after each batch."""


class CSV:
    """Context manager that writes a CSV file in UTF-8, without geometry."""

    def __init__(self, path: Path, crs: pyproj.CRS, kind: str, columns: Mapping[str, str]) -> None:
        self._file = open(path, "w", encoding="utf-8", newline="")
        self._file.write(pd.DataFrame(columns=list(columns)).to_csv(index=False))

    def write(self, table: pd.DataFrame, geometry: Any) -> None:
        """Append a batch; floats have the digits that give the same float when read."""
        table.to_csv(self._file, index=False, header=False, lineterminator="\n")

    def __enter__(self) -> CSV:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


WRITERS = {".parquet": GeoParquet, ".geoparquet": GeoParquet, ".gpkg": GeoPackage, ".csv": CSV}
