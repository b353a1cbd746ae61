"""Label maps as cloud-optimized GeoTIFF."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cookbook_utils._conventions.labels import labels_of, meanings_of, nodata_label
from cookbook_utils._conventions.nodata import equals_nodata, without_nodata
from cookbook_utils._files import as_path
from cookbook_utils.export import _geotiff
from cookbook_utils.export._blocks import as_label_map
from cookbook_utils.export._classes import (
    LabelClass,
    classes_of,
    counts_of,
    flag_attrs,
    names_and_colors,
    pam_xml,
)
from cookbook_utils.export._install import PAM, checked_path, installing
from cookbook_utils.export._stac import Content, period_of, write_item

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
SUFFIXES = (".tif", ".tiff")


def write_label_map(
    path: str | os.PathLike[str],
    labels: xr.DataArray,
    *,
    names: Mapping[int, str] | None = None,
    time: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write a map of labels or of change to a cloud-optimized GeoTIFF.

    Use it to open a map in QGIS or another program, with the colors of `plot_labels`. The file has
    nodata, a color table, class names and overviews, in which a pixel has the most frequent label
    of those it covers. The color table of a map of uint16 takes 0.4 MB. Beside it are
    ``<name>.aux.xml``, from which GDAL reads the names of classes, and ``<name>.json``, a STAC
    item. Lazy maps are computed block by block.

    Parameters
    ----------
    path : str or os.PathLike
        The file, which ends in ``.tif``.
    labels : xarray.DataArray
        Label map (y, x) with a CRS: 0 to 254, and nodata (255, NaN or the declared nodata value).
        Maps of uint16 have labels from 0 to 65534, or nodata as they declare it. ``flag_values``,
        ``flag_meanings`` and ``flag_colors`` (such as "#0072B2") in the attributes name and color
        the classes.
    names : mapping of int to str, optional
        Names of classes, which precede those of the attributes.
    time : date, str or pair of these, optional
        When the map was observed, or the first and the last date of a change; by default the
        coordinate ``time`` of `labels`. Without any there is no STAC item.
    overwrite : bool, default False
        Whether to replace the file if it exists.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    TypeError
        If `labels` is not a DataArray of real numbers, or another argument has the wrong type.
    ValueError
        If `labels` has several dates or no CRS, its grid is not regular, a value is not a label or
        has no name where others have, or GeoTIFF cannot represent the CRS.
    FileExistsError
        If the file exists, unless `overwrite` is true.
    ImportError
        If the package pystac, for the item, is not installed.
    OSError
        If the file cannot be written. A file that was there is unchanged.

    Warns
    -----
    UserWarning
        If there is no STAC item, since the time is unknown.

    See Also
    --------
    read_label_map : Read the map with its names and colors.

    Examples
    --------
    >>> import tempfile, rioxarray
    >>> labels = xr.DataArray(
    ...     np.uint8([[0, 1], [1, 255]]),
    ...     coords={"y": [15.0, 5.0], "x": [5.0, 15.0], "time": np.datetime64("2017-10-22", "ns")},
    ...     dims=("y", "x"), attrs={"flag_values": [0, 1], "flag_meanings": "land water"},
    ... ).rio.write_crs("EPSG:32611")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_label_map(f"{folder}/water.tif", labels)
    ...     back = read_label_map(path)
    >>> back.values.tolist(), back.attrs["flag_meanings"], back.attrs["flag_colors"]
    ([[0, 1], [1, 255]], 'land water', '#CCBB44 #0072B2')
    """
    path = checked_path(path, SUFFIXES, overwrite)
    given = as_label_map(labels)
    named, colors = names_and_colors(given.labels, names)
    period = period_of(labels, time)
    with installing(path, overwrite) as target, _geotiff.gdal():
        raw = target.with_name("pixels.tif")
        checksum, totals = _geotiff.write_pixels(raw, given)
        counts = counts_of(totals)
        classes = classes_of(counts, named, colors, given.nodata)
        facts = _facts(given.labels, classes, given.nodata)
        _geotiff.finish(raw, target, given, facts, classes, _tags(facts, classes, period), checksum)
        target.with_name(target.name + PAM).write_text(pam_xml(classes, counts), encoding="utf-8")
        content = Content(
            COG, facts["attrs"].get("long_name") or facts["name"] or path.stem, given.crs,
            given.bounds, period, classes, given.nodata, given.labels.shape, given.transform,
            given.labels.dtype.name,
        )  # fmt: skip
        write_item(target, content)
    return path


def _facts(labels: xr.DataArray, classes: list[LabelClass], nodata: int) -> dict[str, Any]:
    """Return what the file says of a map: everything that JSON can represent."""
    time = labels.coords.get("time")
    moment = None
    if time is not None and time.ndim == 0 and time.dtype.kind == "M" and not np.isnat(time.values):
        moment = str(time.values)
    return {
        "format": _geotiff.FORMAT,
        "name": "" if labels.name is None else str(labels.name),
        "classes": [[one.number, one.name, one.color] for one in classes],
        "nodata": nodata,
        "time": moment,
        "attrs": _plain_attrs(labels.attrs),
    }


def _plain_attrs(attrs: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return the attributes that are text or numbers, without those of nodata and classes."""
    kept = {}
    for key, value in without_nodata(attrs).items():
        if isinstance(value, np.generic | np.ndarray):
            value = value.tolist()
        items = value if isinstance(value, list | tuple) else [value]
        plain = all(isinstance(item, str | int | float) and item == item for item in items)
        if isinstance(key, str) and not key.startswith("flag_") and plain:
            kept[key] = list(value) if isinstance(value, tuple) else value
    return kept


def _tags(facts: dict[str, Any], classes: list[LabelClass], period: Any) -> dict[str, str]:
    """Return tags that rioxarray, GDAL and the other functions of this package understand."""
    tags = {"long_name": str(facts["attrs"].get("long_name", facts["name"] or "label"))}
    flags = flag_attrs(classes)
    if flags:
        names = flags["flag_meanings"]
        names = names if isinstance(names, str) else " ".join(n.replace(" ", "_") for n in names)
        tags |= {"flag_values": str(flags["flag_values"]), "flag_meanings": names}
    if period is not None and period[0] == period[1]:
        tags["TIFFTAG_DATETIME"] = period[0].strftime("%Y:%m:%d %H:%M:%S")
    return tags


def read_label_map(path: str | os.PathLike[str]) -> xr.DataArray:
    """Read a label map with its classes, from a GeoTIFF that `write_label_map` wrote or another.

    Files of `write_label_map` have a checksum of pixels, classes and grid, which is compared.

    Parameters
    ----------
    path : str or os.PathLike
        A GeoTIFF with one band and a CRS. Whole numbers of another dtype than uint8 and uint16
        become labels of these, and their nodata value becomes 255 or 65535.

    Returns
    -------
    xarray.DataArray
        Labels (y, x) in memory, with CRS, transform and, if known, ``time``. The attributes have
        ``_FillValue`` and, if the classes have names, ``flag_values``, ``flag_meanings`` and
        ``flag_colors``. Of other GeoTIFFs, names are read from the tags ``flag_values`` and
        ``flag_meanings``, and colors from the color table.

    Raises
    ------
    TypeError
        If `path` is not a path.
    ValueError
        If the file does not hold labels, is rotated, has no CRS, or has a newer format.
    FileNotFoundError
        If there is no such file.
    OSError
        If it is damaged or not a GeoTIFF.

    See Also
    --------
    write_label_map : Write a map.

    Examples
    --------
    >>> import tempfile, rioxarray
    >>> labels = xr.DataArray(
    ...     np.uint8([[0, 3], [3, 255]]), coords={"y": [15.0, 5.0], "x": [5.0, 15.0]},
    ...     dims=("y", "x"), name="label",
    ... ).rio.write_crs("EPSG:32611")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_label_map(f"{folder}/map.tif", labels, time="2017-10-22")
    ...     back = read_label_map(path)
    >>> back.values.tolist(), back.rio.crs.to_epsg()
    ([[0, 3], [3, 255]], 32611)
    """
    path = Path(os.path.abspath(as_path(path, "path")))
    if not path.is_file():
        raise FileNotFoundError(f"path must be a GeoTIFF, got no file {path}")
    labels, facts, colors = _geotiff.read(path)
    nodata = labels.attrs.pop("nodata")
    if "tags" in facts:
        return _foreign(path, labels, facts["tags"], colors, nodata)
    classes = [LabelClass(number, name, color) for number, name, color in facts["classes"]]
    labels.attrs = facts["attrs"] | {"_FillValue": int(nodata)} | flag_attrs(classes)
    if facts["time"] is not None:
        labels = labels.assign_coords(time=np.datetime64(facts["time"], "ns"))
    return labels.rename(facts["name"] or None)


def _foreign(
    path: Path,
    labels: xr.DataArray,
    tags: dict[str, str],
    colors: dict[int, tuple[int, ...]],
    nodata: float | None,
) -> xr.DataArray:
    """Return the map of a file of another origin with what its tags say of classes."""
    if labels.dtype not in (np.uint8, np.uint16):
        labels = _narrowed(path, labels, nodata)
        nodata = float(nodata_label(labels.dtype))
    largest = np.iinfo(labels.dtype).max
    if nodata is not None:
        if not (0 <= nodata <= largest and nodata == int(nodata)):
            raise ValueError(f"path must have a nodata value that is a label, got {nodata}: {path}")
        labels.attrs["_FillValue"] = int(nodata)
    labels.attrs |= {key: tags[key] for key in ("long_name",) if key in tags}
    flags = {key: tags[key] for key in ("flag_values", "flag_meanings") if key in tags}
    try:
        names = meanings_of(labels.assign_attrs(flags, _FillValue=int(largest)))
    except ValueError as error:
        raise ValueError(
            f"path must be a map whose flags belong together, got {path}: {error}"
        ) from None
    classes = [
        LabelClass(n, name, "#{:02X}{:02X}{:02X}".format(*colors.get(n, (0, 0, 0))[:3]))
        for n, name in names.items()
    ]
    flags = flag_attrs(classes)
    if not colors:
        flags.pop("flag_colors", None)
    labels.attrs |= flags
    return labels


def _narrowed(path: Path, labels: xr.DataArray, nodata: float | None) -> xr.DataArray:
    """Return the map of another dtype, such as int16 or float32, as labels of uint8 or uint16."""
    declared = () if nodata is None else (nodata,)
    present = labels.values[~equals_nodata(labels.values, declared)]
    # Without a nodata value, 255 is the one of this package, as in a map of uint8.
    wide = present.size and present.max() > (254 if declared else 255)
    values = labels_of(labels.values, str(path), declared, np.uint16 if wide else np.uint8)
    return labels.copy(data=values)
