"""Open scenes lazily: the data sets of the catalog, files of your own, and archives.

``data/catalog.yml`` holds the facts about each data set: bands, wavelengths, scale, nodata value,
dates, sensor and files. ``data/registry.csv`` holds the addresses and hashes of the real files.
``python -m cookbook_utils.datasets`` downloads them. `open_scene` and `open_scenes` open files as
archives deliver them, and STAC items, which `search_scenes` finds.
"""

from cookbook_utils.datasets.catalog import SceneCatalog, UnknownDatasetError, open_catalog
from cookbook_utils.datasets.files import DATA_FOLDER, DataUnavailableError, fetch
from cookbook_utils.datasets.opening import open_scene, open_scenes
from cookbook_utils.datasets.readers import ScenesReader, SearchReader
from cookbook_utils.datasets.scenes import SceneReader, TruthReader
from cookbook_utils.datasets.searching import search_scenes

__all__ = [
    "DATA_FOLDER",
    "DataUnavailableError",
    "SceneCatalog",
    "SceneReader",
    "ScenesReader",
    "SearchReader",
    "TruthReader",
    "UnknownDatasetError",
    "fetch",
    "open_catalog",
    "open_scene",
    "open_scenes",
    "search_scenes",
]
