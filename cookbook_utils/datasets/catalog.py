"""Open the catalog of data sets."""

from __future__ import annotations

import os
from pathlib import Path

from intake.readers.entry import Catalog
from intake.readers.readers import BaseReader

from cookbook_utils._files import as_path
from cookbook_utils.datasets._catalog_file import parse_catalog
from cookbook_utils.datasets._text import did_you_mean, read_text, require_text
from cookbook_utils.datasets.files import DATA_FOLDER, DataUnavailableError


class UnknownDatasetError(AttributeError, KeyError):
    """The catalog has no data set of the name in ``cat.name`` or ``cat["name"]``."""

    def __str__(self) -> str:  # KeyError would quote the message
        return str(self.args[0])


class SceneCatalog(Catalog):
    """An intake catalog that lists its names if it is asked for an unknown one.

    `open_catalog` opens it.
    """

    def __getitem__(self, name: str) -> BaseReader:
        require_text(name, "the name of a data set")
        if name not in self.aliases:
            raise UnknownDatasetError(
                f"the catalog has no data set {name!r}{did_you_mean(name, self.aliases)}; "
                f"it has: {', '.join(self.aliases)}"
            )
        return super().__getitem__(name)

    def __getattr__(self, name: str) -> BaseReader:
        if name.startswith("_"):  # attributes that Python and IPython look up on any object
            raise AttributeError(name)
        return self[name]


def open_catalog(path: str | os.PathLike[str] | None = None) -> SceneCatalog:
    """Open the catalog of data sets.

    Parameters
    ----------
    path : str or path-like, optional
        A catalog file; by default ``data/catalog.yml`` of the project.

    Returns
    -------
    SceneCatalog
        ``list(cat)`` returns the names of the data sets, ``cat.name.metadata`` describes one, and
        ``cat.name.read()`` opens it lazily: a scene as a float32 DataArray (band, y, x) with NaN
        for nodata, a series as one (time, band, y, x), a truth as a Dataset of uint8 maps (y, x) or
        (time, y, x).

    Raises
    ------
    DataUnavailableError
        If there is no such file.
    TypeError
        If `path` is not a path.
    ValueError
        If the file is not a catalog, or has an entry that no reader of this package can open. Other
        readers, and templates of intake that call functions, are refused.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> cat = open_catalog()
    >>> "landsat_5_small" in list(cat)
    True
    >>> cat.betsiboka.metadata["years"]
    [2017, 2020]
    """
    path = DATA_FOLDER / "catalog.yml" if path is None else as_path(path, "path")
    path = Path(os.path.abspath(path))
    what = "a catalog, such as the project's data/catalog.yml,"
    catalog = parse_catalog(path, read_text(path, what, DataUnavailableError))
    plain = Catalog.from_dict(catalog)
    folder = {"CATALOG_DIR": f"file://{path.parent}"}
    return SceneCatalog(plain.entries, plain.aliases, None, folder, metadata=plain.metadata)
