"""Describe raster files as the bands of a scene."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from cookbook_utils._checks import shown
from cookbook_utils.datasets._access import as_address, without_secrets
from cookbook_utils.datasets._bands import BandSource, SceneSource, band_name
from cookbook_utils.datasets._headers import Header, read_header
from cookbook_utils.datasets._scale import Given, as_time
from cookbook_utils.datasets._text import did_you_mean


def raster_scene(
    source: Any, *, bands: Any, given: Given, date: Any, options: Mapping[str, Any]
) -> SceneSource:
    """Return the bands of one raster file, or of several files of one band each.

    Parameters
    ----------
    source : str, sequence of str, or mapping
        The file; the files in the order of `bands`; or the file of each band by its name.
    bands : sequence of str, mapping of str to int, or None
        Names of the bands to open, or all. Names are those that the file gives its bands; where it
        gives none, one for each band in their order, or the number of each by its name.
    given : Given
        Scale, offset and nodata value.
    date : Any
        The date; None takes it from the file.
    options : mapping
        Options of S3.

    Returns
    -------
    SceneSource
        The scene.

    Raises
    ------
    TypeError, ValueError
        If names, scale or date are wrong or absent, or a raster is no scene.
    OSError
        If a file cannot be read.
    """
    if isinstance(source, Mapping):
        require_names(source, "the keys of source")
        files = [as_address(file) for file in source.values()]
        headers = [read_header(file, options) for file in files]
        named = {
            band_name(name): (file, header, 0)
            for name, file, header in zip(source, files, headers, strict=True)
        }
    elif isinstance(source, Sequence) and not isinstance(source, str | bytes):
        files = [as_address(file) for file in source]
        headers = [read_header(file, options) for file in files]
        found = [header.names[0] for header in headers]
        named = {
            name: (files[k], headers[k], 0)
            for name, k in _names(bands, found, f"the {len(files)} files").items()
        }
    else:
        files = [as_address(source)]
        headers = [read_header(files[0], options)]
        named = {
            name: (files[0], headers[0], k)
            for name, k in _names(bands, list(headers[0].names), _place(files[0])).items()
        }
    if not isinstance(source, str | os.PathLike):
        _require_single_bands(files, headers)
    if isinstance(source, Mapping) and bands is not None:
        named = {name: named[name] for name in choose_bands(bands, list(named), "source")}
    given.check(list(named))
    dates = [header.date for header in headers if header.date]
    return SceneSource(
        PurePath(without_secrets(files[0])).name,
        as_time(_require_date(date, dates, files[0])),
        {name: _band(name, *where, given) for name, where in named.items()},
        from_files=True,
        attrs={"long_name": "reflectance"},
    )


def _band(name: str, file: str, header: Header, k: int, given: Given) -> BandSource:
    declared = header.scales[k], header.offsets[k]
    scale, offset = given.decide(name, header.dtypes[k], declared, _place(file))
    return BandSource(
        file, header.numbers[k], header.geobox, given.of("nodata", name), scale,
        offset,
    )  # fmt: skip


def _place(file: str) -> str:
    return without_secrets(file)


def _require_date(date: Any, found: Sequence[str], file: str) -> Any:
    if date is not None:
        return date
    if not found:
        raise ValueError(
            f"date must be given, because {_place(file)} declares none: the day of the image, such "
            "as '2025-06-01'"
        )
    return found[0]


def _require_single_bands(files: Sequence[str], headers: Sequence[Header]) -> None:
    for file, header in zip(files, headers, strict=True):
        if len(header.numbers) != 1:
            raise ValueError(
                f"source must be one file, or several of one band each, got {_place(file)} with "
                f"{len(header.numbers)} bands"
            )


def _names(bands: Any, found: Sequence[str | None], place: str) -> dict[str, int]:
    """Return the position of each band to open by its name."""
    named = [band_name(name) if name else None for name in found]
    own = {name: k for k, name in enumerate(named) if name}
    complete = len(own) == len(found)
    if isinstance(bands, Mapping):
        require_names(bands, "the keys of bands")
        for number in bands.values():
            if not isinstance(number, int) or not 1 <= number <= len(found):
                raise ValueError(
                    f"bands must give the number of each band, from 1 to {len(found)}, got "
                    f"{shown(number)}"
                )
        return {band_name(name): number - 1 for name, number in bands.items()}
    if bands is None:
        if not complete:
            raise ValueError(
                f"bands must name the {len(found)} bands of {place}, such as 'red' and 'nir', "
                f"because not all of them have distinct names of their own: got {_listed(found)}"
            )
        return own
    names = require_names(bands, "bands")
    if all(name in own for name in names):
        return {name: own[name] for name in names}
    if len(names) != len(found):
        raise ValueError(
            f"bands must name the {len(found)} bands of {place} or choose among {_listed(found)}, "
            f"got {', '.join(names)}"
        )
    if complete and set(names) & set(own):
        raise ValueError(
            f"bands must choose among {_listed(found)} or rename all of them, got a mixture: "
            f"{', '.join(names)}"
        )
    return {name: k for k, name in enumerate(names)}


def _listed(found: Sequence[str | None]) -> str:
    names = [str(name) for name in found]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def choose_bands(bands: Any, known: Sequence[str], what: str) -> list[str]:
    names = require_names(bands, "bands")
    for name in names:
        if name not in known:
            raise ValueError(
                f"bands must be among those of {what}, {', '.join(known)}, got "
                f"{name!r}{did_you_mean(name, known)}"
            )
    return names


def require_names(names: Any, what: str) -> list[str]:
    """Return distinct names of bands as this package writes them."""
    if isinstance(names, str | bytes) or not hasattr(names, "__iter__"):
        raise TypeError(f"{what} must be a sequence of names, got {shown(names)}")
    names = list(names)
    if wrong := [name for name in names if not isinstance(name, str) or not name]:
        raise TypeError(f"{what} must be names, got {shown(wrong[0])}")
    renamed = [band_name(name) for name in names]
    if not names or len(set(renamed)) < len(names):
        raise ValueError(f"{what} must be distinct names, at least one, got {_listed(names)}")
    return renamed
