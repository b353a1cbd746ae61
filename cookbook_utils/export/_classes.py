"""Names and colors of the classes of a label map, from its attributes and from the caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import xarray as xr

from cookbook_utils._checks import require_integer, shown
from cookbook_utils._conventions.labels import meanings_of
from cookbook_utils._palette import NODATA_COLOR, colors_of


class LabelClass(NamedTuple):
    """A class of a map."""

    number: int
    name: str
    """As given: words may be joined by underscores. Empty if the class has no name."""
    color: str
    """Hexadecimal, such as "#0072B2"."""

    @property
    def title(self) -> str:
        """The name for a legend."""
        return self.name.replace("_", " ") or f"cluster {self.number}"

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The color as three numbers from 0 to 255."""
        return tuple(int(self.color[i : i + 2], 16) for i in (1, 3, 5))


def names_and_colors(labels: xr.DataArray, names: Any) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of classes, and the colors that the attributes give, by number.

    Raises
    ------
    TypeError
        If `names` is not a mapping of numbers to text.
    ValueError
        If a number is out of range, a name blank, or the flags in the attributes are not valid.
    """
    largest = int(np.iinfo(labels.dtype).max)
    # The nodata value says that flags may be as large as the dtype allows.
    found = meanings_of(labels.assign_attrs(_FillValue=largest))
    named = found | _checked(names, largest)
    for number, name in named.items():
        if not name.strip() or not name.isprintable():  # XML cannot hold all other characters
            raise ValueError(
                f"names of classes must be printable text, got {shown(name)} for {number}"
            )
    return named, _flag_colors(labels, list(found))


def _checked(names: Any, largest: int) -> dict[int, str]:
    """Return the argument `names` of the caller, or raise."""
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        raise TypeError(f"names must map label numbers to text, got {type(names).__name__}")
    checked = {}
    for number, name in names.items():
        number = require_integer(number, "each number in names", least=0, most=largest - 1)
        if not isinstance(name, str):
            raise TypeError(f"names must map label numbers to text, got {shown(name)} for {number}")
        checked[number] = str(name)
    return checked


def _flag_colors(labels: xr.DataArray, numbers: list[int]) -> dict[int, str]:
    """Return ``flag_colors`` of the attributes by number; empty if there are none."""
    colors = labels.attrs.get("flag_colors", [])
    colors = re.findall(r"[^\s,;'\"\[\]]+", colors) if isinstance(colors, str) else list(colors)
    if not colors:
        return {}
    valid = all(re.fullmatch("#[0-9A-Fa-f]{6}", str(color)) for color in colors)
    if not valid or len(colors) != len(numbers):
        raise ValueError(
            "flag_colors must be one color such as #0072B2 for each of flag_values, got "
            f"{shown(labels.attrs['flag_colors'])} for {len(numbers)} flag_values"
        )
    return {n: str(color).upper() for n, color in zip(numbers, colors, strict=True)}


def classes_of(
    found: Iterable[int], names: Mapping[int, str], colors: Mapping[int, str], nodata: int
) -> list[LabelClass]:
    """Return the classes of a map in ascending order: those with names, or those that occur.

    Parameters
    ----------
    found : iterable of int
        Numbers that occur.
    names, colors : mapping of int to str
        As `names_and_colors` returns them.
    nodata : int
        Nodata value, which is a class only if it has a name.

    Raises
    ------
    ValueError
        If classes have names, and another number occurs.
    """
    unnamed = sorted(set(found) - set(names) - {nodata})
    if names and unnamed:
        raise ValueError(
            f"labels must hold only numbers with a name, {shown(sorted(names))}, got "
            f"{unnamed[:5]}: name them in `names`, or in flag_values and flag_meanings"
        )
    numbers = sorted(names) or unnamed
    colors = {**colors_of(numbers, names), nodata: NODATA_COLOR, **colors}
    return [LabelClass(n, names.get(n, ""), colors[n]) for n in numbers]


def pam_xml(classes: list[LabelClass], counts: Mapping[int, int]) -> str:
    """Return auxiliary metadata of GDAL: category names, and a raster attribute table.

    The TIFF format has no place for names of classes, which QGIS and ``gdalinfo`` read from here.
    """
    titles = {one.number: one.title for one in classes}
    category = "\n".join(
        f"      <Category>{escape(titles.get(n, ''))}</Category>"
        for n in range(max(titles, default=-1) + 1)
    )
    columns = [  # name, type (0 integer, 2 text), usage, both as GDAL numbers them
        ("Value", 0, 5), ("Count", 0, 1), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7),
        ("Blue", 0, 8),
    ]  # fmt: skip
    fields = "\n".join(
        f'      <FieldDefn index="{i}"><Name>{name}</Name><Type>{kind}</Type>'
        f"<Usage>{usage}</Usage></FieldDefn>"
        for i, (name, kind, usage) in enumerate(columns)
    )
    rows = "\n".join(
        f'      <Row index="{i}">'
        + "".join(
            f"<F>{escape(str(value))}</F>"
            for value in (one.number, counts.get(one.number, 0), one.title, *one.rgb)
        )
        + "</Row>"
        for i, one in enumerate(classes)
    )
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n'
        f"    <CategoryNames>\n{category}\n    </CategoryNames>\n"
        f'    <GDALRasterAttributeTable tableType="thematic">\n{fields}\n{rows}\n'
        "    </GDALRasterAttributeTable>\n  </PAMRasterBand>\n</PAMDataset>\n"
    )


def flag_attrs(classes: Iterable[LabelClass]) -> dict[str, Any]:
    """Return ``flag_values``, ``flag_meanings`` and ``flag_colors`` of classes with names."""
    named = [one for one in classes if one.name]
    if not named:
        return {}
    names = [one.name for one in named]
    plain = not any(re.search(r"\s", name) for name in names)
    return {
        "flag_values": [one.number for one in named],
        "flag_meanings": " ".join(names) if plain else names,
        "flag_colors": " ".join(one.color for one in named),
    }


def counts_of(totals: np.ndarray) -> dict[int, int]:
    """Return the number of pixels of each number that occurs."""
    return {int(n): int(totals[n]) for n in np.flatnonzero(totals)}
