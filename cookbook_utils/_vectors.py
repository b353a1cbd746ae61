"""Vector data for `accuracy.rasterize_reference`: read, checked and brought to a CRS."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cookbook_utils._checks import shown
from cookbook_utils._conventions.grids import same_crs, transformer
from cookbook_utils._conventions.labels import NODATA_LABEL, class_text
from cookbook_utils._files import as_path

if TYPE_CHECKING:
    import geopandas
    import pyproj

GEOMETRIES = ("Point", "MultiPoint", "Polygon", "MultiPolygon")
"""Types of geometry that reference data may have."""

EDGE_PARTS = 200
"""Number of parts in which an edge as long as a scene is reprojected, since it may be curved."""


def import_geopandas() -> Any:
    """Import and return geopandas, or raise ImportError that says how to install it."""
    try:
        import geopandas
        import pyogrio  # noqa: F401  geopandas reads files by it
    except ImportError as error:
        raise ImportError(
            f"reference data need geopandas and pyogrio, which cannot be imported ({error}): "
            "pip install 'satellite-clustering-cookbook[archives]'"
        ) from error
    return geopandas


def read_vectors(data: Any, layer: Any) -> geopandas.GeoDataFrame:
    """Return vector data as a GeoDataFrame, read if `data` is a path, or raise.

    Raises
    ------
    TypeError
        If `data` is neither a path nor a GeoDataFrame, or `layer` is not text.
    ValueError
        If the file has several layers and `layer` does not name one of them.
    OSError
        If the file is absent or cannot be read.
    """
    geopandas = import_geopandas()
    if layer is not None and not isinstance(layer, str):
        raise TypeError(f"layer must be the name of a layer, got {shown(layer)}")
    if isinstance(data, geopandas.GeoDataFrame):
        if layer is not None:
            raise ValueError(f"layer must be None for a GeoDataFrame, got {layer!r}")
        return data
    if not isinstance(data, str | os.PathLike):
        raise TypeError(
            "data must be a geopandas.GeoDataFrame or the path of a file, got "
            f"{type(data).__name__}"
        )
    path = str(data)
    is_remote = "://" in path or path.startswith("/vsi")
    if not is_remote and not as_path(data, "data").exists():
        raise FileNotFoundError(f"data must be the path of a file, got none at {path}")
    try:
        if Path(path).suffix.lower() in (".parquet", ".geoparquet"):
            return geopandas.read_parquet(path)
        return geopandas.read_file(path, layer=_layer_of(path, layer))
    except (ValueError, TypeError) as error:
        if str(error).startswith("layer must"):
            raise
        raise _unreadable(path, error) from error
    except Exception as error:  # of pyogrio, pyarrow or fsspec
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> OSError:
    """Return the error for a file that cannot be read, on one line."""
    reason = " ".join(str(error).split())
    return OSError(f"data must be a file of vector data, got {path}: {reason[:300]}")


def _layer_of(path: str, layer: str | None) -> str:
    """Return the name of the layer with geometry in a file, or `layer` if the file has it."""
    import pyogrio

    found = [str(name) for name, geometry in pyogrio.list_layers(path) if geometry is not None]
    if layer is None and len(found) == 1:
        return found[0]
    if layer not in found:
        raise ValueError(
            f"layer must be one of the layers with geometry, {found}, got {shown(layer)}"
        )
    return layer


def classes_in(data: geopandas.GeoDataFrame, column: Any) -> tuple[np.ndarray, dict[int, str]]:
    """Return the label of each feature, and the name of each label.

    Whole numbers from 0 to 254 are labels, other classes are numbered in ascending order.

    Raises
    ------
    TypeError
        If the classes are neither text nor whole numbers.
    ValueError
        If there is no such column, a feature has no class, or there are more than 255 classes.
    """
    columns = [name for name in data.columns if name != data.geometry.name]
    if not isinstance(column, str) and (not np.isscalar(column) or column not in columns):
        raise TypeError(f"column must be the name of a column, got {shown(column)}")
    if columns.count(column) != 1:
        raise ValueError(f"column must be one of the columns {columns}, got {shown(column)}")
    values = data[column].infer_objects()
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype if values.notna().all() else object)
    missing = values.isna() | values.map(lambda value: isinstance(value, str) and not value.strip())
    if missing.any():
        raise ValueError(
            f"column must give each feature a class, got none in {column!r} for "
            f"{int(missing.sum())} of {len(data)} features: delete them with "
            f"data.dropna(subset=[{column!r}])"
        )
    if pd.api.types.is_any_real_numeric_dtype(values):
        numbers = values.to_numpy(np.float64)
        if not (np.isfinite(numbers) & (numbers == np.floor(numbers))).all():
            raise TypeError(f"column must hold text or whole numbers, got fractions in {column!r}")
        names = sorted(set(numbers.astype(np.int64).tolist()))
        own = 0 <= names[0] and names[-1] < NODATA_LABEL
        table = {name: name if own else number for number, name in enumerate(names)}
        labels = [table[int(number)] for number in numbers]
    elif values.map(lambda value: isinstance(value, str | bool | np.bool_)).all():
        texts = values.map(class_text)
        table = {name: number for number, name in enumerate(sorted(set(texts)))}
        labels = [table[text] for text in texts]
    else:
        raise TypeError(
            f"column must hold text or whole numbers, got dtype {values.dtype} in {column!r}"
        )
    if len(table) > NODATA_LABEL:
        raise ValueError(
            f"column must have at most {NODATA_LABEL} classes, got {len(table)} in {column!r}"
        )
    return np.asarray(labels, np.uint8), {number: str(name) for name, number in table.items()}


def geometries_in(
    data: geopandas.GeoDataFrame, crs: pyproj.CRS, bounds: tuple[float, float, float, float]
) -> geopandas.GeoSeries:
    """Return valid geometries in `crs`, empty for features without geometry.

    Edges between `bounds`, in units of `crs`, are divided before they are reprojected, since a
    line that is straight in one CRS is curved in another.

    Raises
    ------
    ValueError
        If the data have no CRS, no feature, or lines.

    Warns
    -----
    UserWarning
        If features have no geometry, polygons are invalid and are repaired, or features cannot be
        reprojected.
    """
    if data.crs is None:
        raise ValueError(
            "data must have a CRS, got none: set it with data.set_crs, or add the .prj file that "
            "belongs to a shapefile"
        )
    if not len(data):
        raise ValueError("data must have features, got none")
    geometry = data.geometry
    kinds = geometry.geom_type.dropna()
    if wrong := sorted(set(kinds) - set(GEOMETRIES)):
        raise ValueError(
            f"data must hold points or polygons, got {wrong[0]} in "
            f"{int((kinds == wrong[0]).sum())} of {len(data)} features: draw polygons with "
            "data.buffer, or delete the lines"
        )
    if absent := int((~is_present(geometry)).sum()):
        warnings.warn(
            f"{absent} of {len(data)} features have no geometry and are left out",
            UserWarning, stacklevel=3,
        )  # fmt: skip
    geometry = _reprojected(_repaired(geometry), crs, bounds)
    edges = geometry.bounds.to_numpy()
    if lost := int(np.isinf(edges).any(axis=1).sum()):
        warnings.warn(
            f"{lost} of {len(data)} features are beyond the domain of {crs.name}, the CRS of "
            "scene, and are left out",
            UserWarning, stacklevel=3,
        )  # fmt: skip
    return geometry.where(~np.isinf(edges).any(axis=1))


def is_present(geometry: geopandas.GeoSeries) -> np.ndarray:
    """Return which geometries are neither missing nor empty."""
    return ~(geometry.isna() | geometry.is_empty).to_numpy()


def _repaired(geometry: geopandas.GeoSeries) -> geopandas.GeoSeries:
    """Return geometries with invalid ones replaced by the polygons that they enclose."""
    import shapely

    invalid = ~geometry.is_valid & is_present(geometry)
    if not invalid.any():
        return geometry
    warnings.warn(
        f"{int(invalid.sum())} polygons are invalid, such as {geometry[invalid].index[0]!r}, and "
        "are repaired: look at them in a GIS",
        UserWarning, stacklevel=4,
    )  # fmt: skip
    geometry = geometry.copy()
    fixed = shapely.make_valid(geometry[invalid].to_numpy())
    geometry[invalid] = [
        shapely.union_all([part for part in shapely.get_parts(one) if part.area > 0])
        for one in fixed
    ]
    return geometry


def _reprojected(
    geometry: geopandas.GeoSeries, crs: pyproj.CRS, bounds: tuple[float, float, float, float]
) -> geopandas.GeoSeries:
    """Return geometries in `crs`, cut to a margin around `bounds`, with their edges divided."""
    import pyproj

    if same_crs(pyproj.CRS.from_user_input(geometry.crs), crs):
        return geometry
    to_data = transformer(crs, geometry.crs)
    left, bottom, right, top = to_data.transform_bounds(*bounds)
    if np.isfinite([left, bottom, right, top]).all() and left < right and bottom < top:
        margin = max(right - left, top - bottom) / 10
        geometry = geometry.clip_by_rect(
            left - margin, bottom - margin, right + margin, top + margin
        )
        geometry = geometry.segmentize(max(right - left, top - bottom) / EDGE_PARTS)
    return geometry.to_crs(crs)
