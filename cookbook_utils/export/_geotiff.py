"""Cloud-optimized GeoTIFFs of label maps: written block by block, and read back with checks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cookbook_utils import __version__
from cookbook_utils._conventions.grids import same_crs
from cookbook_utils._files import gdal_errors
from cookbook_utils.export._blocks import LabelMap, blocks
from cookbook_utils.export._classes import LabelClass

if TYPE_CHECKING:
    import pyproj

TAG = "COOKBOOK_UTILS"
"""Tag that holds, as JSON, what a label map is; its checksum covers the pixels."""

FORMAT = 1
SOFTWARE = "cookbook_utils"
TILE = 512  # pixels on a side of a tile
_ROWS_PIXELS = 2**22  # read at a time


@contextmanager
def gdal() -> Iterator[None]:
    """Neither read nor write auxiliary files, and do not list the folder of a file."""
    import rasterio

    with rasterio.Env(GDAL_PAM_ENABLED=False, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        yield


class Checksum:
    """CRC-32 of a map, computed from blocks in row-major order, however they are cut.

    Parameters
    ----------
    height : int
        Number of rows.
    """

    def __init__(self, height: int) -> None:
        self._rows = [0] * height

    def add(self, first: int, values: np.ndarray) -> None:
        """Add a block whose first row has the number `first`."""
        values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        for row, pixels in enumerate(values, first):
            self._rows[row] = zlib.crc32(pixels, self._rows[row])

    def of(self, facts: Any) -> str:
        """Return the checksum of all pixels and of facts that JSON can represent."""
        pixels = np.asarray(self._rows, "<u4").tobytes()
        return f"{zlib.crc32(json.dumps(facts, sort_keys=True).encode(), zlib.crc32(pixels)):08x}"


# -- writing ------------------------------------------------------------------------------------


def write_pixels(path: Path, given: LabelMap) -> tuple[Checksum, np.ndarray]:
    """Write the pixels of a map to a tiled GeoTIFF, and return their checksum and counts."""
    import rasterio
    from rasterio.windows import Window

    height, width = given.labels.shape
    checksum = Checksum(height)
    totals = np.zeros(np.iinfo(given.labels.dtype).max + 1, np.int64)
    options = {
        "driver": "GTiff", "dtype": given.labels.dtype.name, "count": 1, "height": height,
        "width": width, "crs": rasterio.crs.CRS.from_wkt(given.crs.to_wkt()),
        "transform": given.transform, "nodata": given.nodata, "tiled": True, "blockxsize": TILE,
        "blockysize": TILE, "compress": "deflate", "zlevel": 1, "bigtiff": "if_safer",
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as file:
        for rows, columns, values in blocks(given.labels):
            checksum.add(rows.start, values)
            totals += np.bincount(values.ravel(), minlength=totals.size)
            file.write(values, 1, window=Window.from_slices(rows, columns))
    return checksum, totals


def finish(
    source: Path,
    target: Path,
    given: LabelMap,
    facts: dict[str, Any],
    classes: list[LabelClass],
    tags: dict[str, str],
    checksum: Checksum,
) -> None:
    """Add names, colors and tags to a GeoTIFF, convert it to a COG, and compare what that holds.

    Raises
    ------
    OSError
        If the file does not hold what was written: GDAL does not always report a full disk.
    ValueError
        If GeoTIFF cannot represent the CRS.
    """
    import rasterio
    import rasterio.shutil

    with rasterio.open(source) as file:
        if not same_crs(given.crs, _crs_of(file)):
            raise ValueError(
                f"labels must have a CRS that GeoTIFF can represent, got {given.crs.name}"
            )
        facts = facts | {"transform": list(file.transform)[:6], "crs": given.crs.to_wkt()}
    text = json.dumps(facts | {"checksum": checksum.of(facts)}, ensure_ascii=False, sort_keys=True)
    colors = {one.number: (*one.rgb, 255) for one in classes}
    colors[given.nodata] = (*colors.get(given.nodata, (217, 217, 217))[:3], 0)
    with rasterio.open(source, "r+") as file:
        file.write_colormap(1, colors)
        file.update_tags(**tags, **{TAG: text}, TIFFTAG_SOFTWARE=f"{SOFTWARE} {__version__}")
        file.set_band_description(1, facts["name"] or "label")
    rasterio.shutil.copy(
        source, target, driver="COG", blocksize=TILE, compress="DEFLATE",
        overview_resampling="MODE", overview_compress="DEFLATE", bigtiff="IF_SAFER",
    )  # fmt: skip
    with rasterio.open(target, driver="GTiff") as file:
        if file.tags().get(TAG) != text or _checksum_of(file).of(facts) != checksum.of(facts):
            raise OSError(f"{target.name} does not hold what was written to it")


def _crs_of(file: Any) -> pyproj.CRS | None:
    import pyproj

    return None if file.crs is None else pyproj.CRS.from_wkt(file.crs.to_wkt())


# -- reading ------------------------------------------------------------------------------------


def _strips(file: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the values of strips of whole tiles."""
    from rasterio.windows import Window

    rows = max(1, _ROWS_PIXELS // file.width // TILE) * TILE
    for top in range(0, file.height, rows):
        window = Window(0, top, file.width, min(rows, file.height - top))
        yield top, file.read(1, window=window)


def _checksum_of(file: Any) -> Checksum:
    checksum = Checksum(file.height)
    for top, values in _strips(file):
        checksum.add(top, values)
    return checksum


def read(path: Path) -> tuple[xr.DataArray, dict[str, Any], dict[int, tuple[int, ...]]]:
    """Return the map of a GeoTIFF in memory, the facts of its tag, and its color table.

    Raises
    ------
    ValueError
        If the file does not hold labels, or has no CRS.
    OSError
        If it is damaged or not a GeoTIFF.
    """
    import rasterio

    try:
        with gdal(), rasterio.open(path, driver="GTiff") as file:
            facts = _facts_of(path, file)
            _require_labels(path, file)
            values, checksum = np.empty(file.shape, file.dtypes[0]), Checksum(file.height)
            for top, strip in _strips(file):
                values[top : top + len(strip)] = strip
                checksum.add(top, strip)
            _require_undamaged(path, file, facts, checksum)
            labels = _with_grid(values, file)
            colors = file.colormap(1) if file.colorinterp[0].name == "palette" else {}
            tags = {key: value for key, value in file.tags().items() if key != TAG}
            nodata = file.nodata
    except (*gdal_errors(), UnicodeDecodeError) as error:
        raise OSError(f"{path} must be a readable GeoTIFF, got: {error}") from None
    return labels.assign_attrs(nodata=nodata), facts or {"tags": tags}, colors


def _facts_of(path: Path, file: Any) -> dict[str, Any]:
    """Return what the tag of this package holds, or nothing for a file of another origin."""
    tags = file.tags()
    text = tags.get(TAG)
    if text is None:
        if tags.get("TIFFTAG_SOFTWARE", "").startswith(SOFTWARE):
            raise _damaged(path)
        return {}
    try:
        facts = json.loads(text)
        number = int(facts["format"])
    except (ValueError, KeyError, TypeError):
        raise _damaged(path) from None
    if number > FORMAT:
        raise ValueError(
            f"path must be a map of format {FORMAT} or older, got {path} of format {number}: "
            "install a newer version of this package"
        )
    return facts


def _require_undamaged(path: Path, file: Any, facts: dict[str, Any], checksum: Checksum) -> None:
    """Raise OSError if pixels, tag, transform or CRS are not those that were written."""
    import pyproj

    if not facts:
        return
    stated = {name: value for name, value in facts.items() if name != "checksum"}
    try:
        crs = pyproj.CRS.from_wkt(stated["crs"])
        same = (
            checksum.of(stated) == facts["checksum"]
            and stated["transform"] == list(file.transform)[:6]
            and stated["nodata"] == file.nodata
            and same_crs(crs, _crs_of(file))
        )
    except (KeyError, TypeError, pyproj.exceptions.CRSError):
        same = False
    if not same:
        raise _damaged(path)


def _damaged(path: Path) -> OSError:
    return OSError(
        f"{path} differs from its checksum: it is damaged, or another program changed it and kept "
        "its tags; write it again, or without tags, as `gdalwarp -nomd` does"
    )


def _require_labels(path: Path, file: Any) -> None:
    if file.count != 1 or np.dtype(file.dtypes[0]).kind not in "iuf":
        raise ValueError(
            f"path must be a label map, one band of numbers, got {path} with {file.count} bands of "
            f"{file.dtypes[0]}"
        )
    if file.crs is None:
        raise ValueError(f"path must be a label map with a CRS, got {path} without one")
    a, b, _, d, e, _ = tuple(file.transform)[:6]
    if b or d or not a or not e:
        raise ValueError(f"path must be a map without rotation, got {path} with {file.transform}")


def _with_grid(values: np.ndarray, file: Any) -> xr.DataArray:
    """Return labels with coordinates, CRS and transform."""
    import rioxarray  # noqa: F401  registers the accessor
    from rioxarray.rioxarray import affine_to_coords

    coords = affine_to_coords(file.transform, file.width, file.height)
    array = xr.DataArray(values, {"y": coords["y"], "x": coords["x"]}, ("y", "x"))
    return array.rio.write_crs(file.crs).rio.write_transform(file.transform)
