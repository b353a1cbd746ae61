"""Vector data for `accuracy.rasterize_reference`: read, checked, reprojected and rasterized."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import needs, require_dims, shown
from cookbook_utils._conventions.grids import crs_of, regular_centers, same_crs, transformer
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
    with needs("geopandas and pyogrio"):
        import geopandas
        import pyogrio  # noqa: F401  geopandas reads files by it
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
        if data.active_geometry_name is None:
            raise ValueError(
                f"data must have a column of geometries, got {list(data.columns)}: name it with "
                "data.set_geometry"
            )
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
    if not found:
        raise OSError("it has no layer with geometry")
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
    if data.empty:
        raise ValueError("data must have at least one feature, got none")
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


def coordinates(scene: xr.DataArray | xr.Dataset) -> xr.Dataset:
    """Return the x and y of a scene without anything else."""
    return xr.Dataset(coords={dim: scene[dim].variable for dim in ("y", "x")})


def north_up_grid(
    scene: xr.DataArray | xr.Dataset,
) -> tuple[xr.Dataset, tuple[float, float, float, float]]:
    """Return the grid of a scene with y descending and x ascending, and its outer edges."""
    if not isinstance(scene, xr.DataArray | xr.Dataset):
        raise TypeError(
            "scene must be an xarray.DataArray or Dataset with x, y and a CRS, got "
            f"{type(scene).__name__}"
        )
    if isinstance(scene, xr.DataArray):
        require_dims(scene, (), "scene", allow_extra=True)
    crs = crs_of(scene)
    if crs is None:
        raise ValueError("scene must have a CRS, got none: set it with rio.write_crs")
    (x, dx), (y, dy) = (regular_centers(scene, dim, "scene") for dim in ("x", "y"))
    grid = coordinates(scene).rio.write_crs(crs)
    grid = grid.isel(
        x=slice(None, None, -1 if dx < 0 else 1), y=slice(None, None, -1 if dy > 0 else 1)
    )
    half = abs(dx) / 2, abs(dy) / 2
    return grid, (x.min() - half[0], y.min() - half[1], x.max() + half[0], y.max() + half[1])


def burned(
    geometry: geopandas.GeoSeries,
    labels: np.ndarray,
    grid: xr.Dataset,
    bounds: tuple[float, float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest label of the features of each pixel, or nodata."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    shape = grid.sizes["y"], grid.sizes["x"]
    if not len(geometry):
        return (np.full(shape, NODATA_LABEL, np.uint8),) * 2
    left, bottom, right, top = bounds
    transform = Affine((right - left) / shape[1], 0, left, 0, (bottom - top) / shape[0], top)
    order = np.argsort(labels, kind="stable")
    return tuple(
        rasterize(
            zip(geometry.iloc[of], labels[of].tolist(), strict=True), shape, NODATA_LABEL,
            transform=transform, dtype="uint8",
        )
        for of in (order[::-1], order)  # the last one that is burned wins
    )  # fmt: skip


def extent(bounds: np.ndarray | tuple) -> str:
    """Describe the edges of an extent."""
    return "(" + ", ".join(f"{edge:.6g}" for edge in bounds) + ")"


def require_no_overlap(lowest: np.ndarray, highest: np.ndarray, names: dict[int, str]) -> None:
    """Raise ValueError if features of different classes claim one pixel."""
    claimed = lowest != highest
    if not claimed.any():
        return
    pairs = np.stack([lowest[claimed], highest[claimed]])
    (one, two), counts = (found for found in np.unique(pairs, axis=1, return_counts=True))
    most = counts.argmax()
    raise ValueError(
        f"data must give each pixel one class, got {int(claimed.sum())} pixels with several, most "
        f"of them ({counts[most]}) {names[int(one[most])]!r} and {names[int(two[most])]!r}: "
        'correct the features, or pass overlap="nodata" to leave these pixels out'
    )


def warn_of_lost(
    values: np.ndarray,
    names: dict[int, str],
    geometry: geopandas.GeoSeries,
    bounds: tuple[float, float, float, float],
) -> None:
    """Warn of classes that cover no pixel, and of polygons that hold no center of a pixel."""
    found = np.unique(values)
    if absent := [name for number, name in names.items() if number not in found]:
        warnings.warn(
            f"{len(absent)} of {len(names)} classes of data cover no pixel of scene: "
            f"{', '.join(absent[:5])}",
            UserWarning, stacklevel=3,
        )  # fmt: skip
    edges = geometry[geometry.geom_type.str.endswith("Polygon")].bounds.to_numpy().T
    low, high, origin, end = edges[:2], edges[2:], np.array(bounds[:2]), np.array(bounds[2:])
    step = (end - origin) / np.array(values.shape[::-1])
    first, last = ((edge.T - origin) / step - 0.5 for edge in (low, high))
    inside = ((high.T > origin) & (low.T < end)).all(axis=1)
    small = (np.ceil(first) > np.floor(last)).any(axis=1) & inside
    if small.any():
        warnings.warn(
            f"{small.sum()} of {inside.sum()} polygons in scene are too small to hold the center "
            "of a pixel and are left out: pass their data.representative_point() instead",
            UserWarning, stacklevel=3,
        )  # fmt: skip
