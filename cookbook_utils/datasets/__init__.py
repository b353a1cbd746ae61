"""Open the data sets of the catalog lazily, and fetch real files by their names and hashes.

``data/catalog.yml`` holds the facts about each data set: bands, wavelengths, scale, nodata value,
dates, sensor and files. ``data/registry.csv`` holds the addresses and hashes of the real files.
``python -m cookbook_utils.datasets`` downloads them.
"""

from cookbook_utils.datasets.catalog import SceneCatalog, UnknownDatasetError, open_catalog
from cookbook_utils.datasets.files import DATA_FOLDER, DataUnavailableError, fetch
from cookbook_utils.datasets.scenes import SceneReader, TruthReader

__all__ = [
    "DATA_FOLDER",
    "DataUnavailableError",
    "SceneCatalog",
    "SceneReader",
    "TruthReader",
    "UnknownDatasetError",
    "fetch",
    "open_catalog",
]
