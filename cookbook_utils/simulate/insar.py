"""Ground motion at three Arctic sites, seen by InSAR: points whose deformation regimes are known.

A site is a mountain of fractal terrain beside a fjord. Persistent scatterers are dense on outcrops
and buildings, sparse on vegetated slopes, and absent from water and glaciers. Regimes form zones
that follow the terrain: rockslides creep or accelerate on steep slopes; moist flats heave and
settle with freeze and thaw [1]_; high ground loses phase cycles under snow. The displacement of a
point is the sum of the motion of its regime, a phase screen of the atmosphere for each date [2]_,
and noise that grows as coherence falls. What a processor would derive (velocity, coherence, day of
the seasonal maximum) is fitted to the series, not copied from the truth.

Points are made in blocks of fixed size, each with random streams of its own. A point is therefore
the same however many points are made and however they are written. `SITES` lists the sites.

References
----------
.. [1] L. Rouyet et al. (2019). Seasonal dynamics of a permafrost landscape, Adventdalen, Svalbard,
   investigated by InSAR. Remote Sensing of Environment 231, 111236.
.. [2] R. F. Hanssen (2001). Radar Interferometry: Data Interpretation and Error Analysis. Kluwer.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils import _files
from cookbook_utils._checks import require_choice, require_integer, require_random_state
from cookbook_utils._files import as_path
from cookbook_utils.shards import PointShards, ShardWriter
from cookbook_utils.shards._manifest import MANIFEST
from cookbook_utils.simulate._displacement import DATES, move_points, place_points, random_stream
from cookbook_utils.simulate._sites import ATTRIBUTES, REGIMES, SITES, WAVELENGTH, Site

__all__ = ["REGIMES", "SITES", "WAVELENGTH", "simulate_site", "site_dates", "write_site"]

GENERATOR = 3  # increased when values or attributes change: older points are made again
POINTS_PER_BLOCK = 4096
MAX_IN_MEMORY = 2_000_000  # points, which take 3 GB
MAX_ON_DISK = 1_000_000_000  # points, which take 0.6 TB


def simulate_site(name: str, *, n_points: int | None = None, random_state: int = 0) -> xr.Dataset:
    """Simulate the points of a site, their displacement over time and their true regimes.

    Use `write_site` for more points than fit into memory.

    Parameters
    ----------
    name : {"insar_lyngen", "insar_nordnes", "insar_svalbard"}
        A key of `SITES`.
    n_points : int, optional
        Number of points, at most 2 000 000; by default that of the site, 7000 to 10 000. A larger
        number appends points on the same ground, which then lie more densely.
    random_state : int, default 0
        Seed of the terrain and the points, from 0 to 2**32 - 1.

    Returns
    -------
    xarray.Dataset
        ``displacement`` (point, time) float32 in mm toward the satellite, NaN where missing; the
        static features (point) float32, whose names are in ``attrs["static_features"]``, separated
        by spaces; ``regime`` (point) uint8 with CF flags; coordinates ``pid``, ``longitude``,
        ``latitude`` (point) and ``time``.

    Raises
    ------
    TypeError
        If `name` is not a string, or `n_points` or `random_state` not an integer.
    ValueError
        If there is no such site, or `n_points` or `random_state` is out of range.

    See Also
    --------
    write_site : Write the points of a site to shards.
    site_dates : Return the dates on which a site was observed.

    Examples
    --------
    >>> points = simulate_site("insar_nordnes", n_points=500)
    >>> points.displacement.dims, points.regime.attrs["flag_meanings"]
    (('point', 'time'), 'stable creep accelerating seasonal snow_gaps noise')
    >>> creep = points.mean_velocity.where(points.regime == 1).median()
    >>> bool(creep < -10)
    True
    """
    site, n_points, seed = _require_site(name, n_points, random_state, MAX_IN_MEMORY)
    blocks = list(_blocks(name, 0, n_points, seed))
    columns = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    coords = {
        "pid": ("point", columns["point"], {"long_name": "number of the point"}),
        "longitude": ("point", columns["longitude"], {"units": "degrees_east"}),
        "latitude": ("point", columns["latitude"], {"units": "degrees_north"}),
        "time": ("time", site_dates(name, random_state=seed)),
    }
    data = {"displacement": (("point", "time"), columns["displacement"])}
    data |= {key: ("point", columns["static"][:, k]) for k, key in enumerate(site.statics)}
    data["regime"] = ("point", columns["regime"])
    points = xr.Dataset(data, coords, _attrs(site, seed))
    for key in points.data_vars:
        points[key].attrs = dict(ATTRIBUTES[key])
    return points


def write_site(
    folder: str | os.PathLike[str],
    name: str,
    *,
    n_points: int | None = None,
    random_state: int = 0,
    shard_size: int = 65536,
) -> Path:
    """Write the points of a site to shards, in memory that does not depend on their number.

    An interrupted call is resumed by the next one, and a folder that holds these points is left as
    it is. Points that an older version of this module wrote are replaced. If several processes
    write the same site, one does so and the others wait.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder in which the folder `name` is created.
    name : {"insar_lyngen", "insar_nordnes", "insar_svalbard"}
        A key of `SITES`.
    n_points : int, optional
        Number of points, at most 1 000 000 000; by default that of the site, 7000 to 10 000.
    random_state : int, default 0
        Seed of the terrain and the points, from 0 to 2**32 - 1.
    shard_size : int, default 65536
        Number of points in a shard.

    Returns
    -------
    pathlib.Path
        The folder ``folder/name``: shards with the feature kinds ``displacement``, with a column
        for each date, and ``static``, and with the labels ``regime``. The values are those of
        `simulate_site`.

    Raises
    ------
    TypeError
        If `folder` is not a path, `name` not a string, or another parameter not an integer.
    ValueError
        If there is no such site, a number is out of range, or the folder holds other points.
    OSError
        If the folder cannot be written, or another process is still writing it after two minutes.

    See Also
    --------
    simulate_site : Simulate the points of a site in memory.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     folder = write_site(folder, "insar_lyngen", n_points=100)
    ...     sorted(file.name for file in folder.iterdir())
    ['labels-regime.parquet', 'manifest.json', 'shard-00000.parquet']
    """
    site, n_points, seed = _require_site(name, n_points, random_state, MAX_ON_DISK)
    folder = as_path(folder, "folder") / name
    dates = np.datetime_as_string(site_dates(name, random_state=seed), unit="D").tolist()
    features = {"displacement": dates, "static": list(site.statics)}
    attrs = _attrs(site, seed) | {"site": name, "n_points": n_points, "generator": GENERATOR}
    attrs["static_features"] = list(site.statics)  # JSON can hold a list, NetCDF cannot
    attrs["variables"] = {key: ATTRIBUTES[key] for key in ("displacement", *site.statics)}
    with _files.claim(folder / MANIFEST):
        if _is_outdated(folder, name):
            _remove_points(folder)
        with ShardWriter(folder, features, shard_size=shard_size, attrs=attrs) as writer:
            for block in _blocks(name, writer.n_points, n_points, seed):
                del block["regime"]
                writer.append(block.pop("point"), **block)
        shards = PointShards(folder)
        try:
            shards.read_labels("regime")
        except FileNotFoundError:
            truth = _blocks(name, 0, n_points, seed, with_motion=False)
            labels = ((block["point"], block["regime"]) for block in truth)
            shards.write_labels("regime", labels, attrs=ATTRIBUTES["regime"])
        else:
            _files.tidy(folder / "labels-regime.parquet")  # after a process that was killed
    return folder


def site_dates(name: str, *, random_state: int = 0) -> np.ndarray:
    """Return the dates on which a site was observed.

    Images are 12 days apart, and 6 days from October 2016 on; there are none in winter, and some
    are lost.

    Parameters
    ----------
    name : {"insar_lyngen", "insar_nordnes", "insar_svalbard"}
        A key of `SITES`.
    random_state : int, default 0
        Seed of the site, from 0 to 2**32 - 1.

    Returns
    -------
    numpy.ndarray
        Increasing dates of the years 2016 to 2021, datetime64[ns].

    Raises
    ------
    TypeError
        If `name` is not a string or `random_state` not an integer.
    ValueError
        If there is no such site or `random_state` is out of range.

    See Also
    --------
    simulate_site : Simulate the points of a site in memory.

    Examples
    --------
    >>> dates = site_dates("insar_nordnes")
    >>> dates[:2].astype("datetime64[D]")
    array(['2016-04-11', '2016-04-23'], dtype='datetime64[D]')
    """
    site, _, seed = _require_site(name, None, random_state, MAX_ON_DISK)
    random = random_stream(name, seed, DATES)
    passes = pd.date_range("2016-01-06", "2021-12-30", freq="6D")
    both = passes >= "2016-10-03"  # two satellites are in orbit
    taken = both | (np.arange(len(passes)) % 2 == 0)
    taken &= random.random(len(passes)) > 0.07
    last, first = site.winter
    early, late = random.integers(-10, 11, (2, 7))  # days by which winters differ between years
    year, day = passes.year - 2016, passes.day_of_year
    snow = (day >= last + early[year]) | (day <= first + late[year])
    return passes[taken & ~snow].to_numpy("datetime64[ns]")


def _require_site(
    name: str, n_points: int | None, random_state: int, most: int
) -> tuple[Site, int, int]:
    """Return a site, the number of its points and its seed, or raise if one is not valid."""
    site = SITES[require_choice(name, "name", list(SITES))]
    n_points = site.n_points if n_points is None else n_points
    n_points = require_integer(n_points, "n_points", least=1, most=most)
    return site, n_points, require_random_state(random_state)


def _attrs(site: Site, seed: int) -> dict[str, Any]:
    return {
        "title": f"Simulated InSAR points, {site.title}",
        "source": f"simulated by cookbook_utils.simulate, random_state {seed}",
        "static_features": " ".join(site.statics),
        "crs": "EPSG:4326",
    }


def _blocks(
    name: str, start: int, stop: int, seed: int, *, with_motion: bool = True
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the columns of points `start` to `stop`, a block at a time."""
    if start == stop:
        return
    time = site_dates(name, random_state=seed)
    for number in range(start // POINTS_PER_BLOCK, -(-stop // POINTS_PER_BLOCK)):
        first = number * POINTS_PER_BLOCK
        ground = place_points(name, seed, number, POINTS_PER_BLOCK)
        columns = {
            "point": np.arange(first, first + POINTS_PER_BLOCK),
            "longitude": ground.longitude,
            "latitude": ground.latitude,
            "regime": ground.regime,
        }
        if with_motion:
            displacement, statics = move_points(name, seed, number, ground, time)
            columns |= {"displacement": displacement, "static": statics}
        yield {key: c[max(start - first, 0) : stop - first] for key, c in columns.items()}


def _is_outdated(folder: Path, name: str) -> bool:
    """Return whether a folder holds points of a site that an older version of this module wrote."""
    try:
        attrs = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["attrs"]
        return attrs["site"] == name and attrs["generator"] != GENERATOR
    except (OSError, ValueError, KeyError, TypeError):
        return False  # ShardWriter reports what is wrong, if the folder exists


def _remove_points(folder: Path) -> None:
    """Remove the files that `write_site` writes, the manifest first, and no others."""
    (folder / MANIFEST).unlink()
    for path in folder.iterdir():
        if re.fullmatch(r"shard-\d{5}\.parquet|labels-regime\.parquet", path.name):
            path.unlink()
