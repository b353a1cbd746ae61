"""Ground motion at three Arctic sites, seen by InSAR: points whose deformation regimes are known.

A site is a fjord-side mountain of fractal terrain. Persistent scatterers lie densely on outcrops
and buildings, thinly on vegetated slopes, and not at all on water and glaciers. Regimes form zones
that follow the terrain: rockslides creep or accelerate on steep slopes, moist flats heave and
settle with freeze and thaw [1]_, high ground loses phase cycles under the snow. The displacement of
a point is that of its regime, a phase screen of the atmosphere for each date [2]_, and noise that
grows as coherence falls. What a processor would derive (velocity, coherence, day of the seasonal
maximum) is fitted to the series, not copied from the truth.

Points come in blocks of fixed size, each with random numbers of its own: point i is the same
however many points are made and however they are written.

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
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils import _files
from cookbook_utils._checks import require_choice, require_integer, require_seed
from cookbook_utils._files import as_path
from cookbook_utils._world import fractal, ramp

GENERATOR = 1  # raised when the world changes, so that points written before are made again
WAVELENGTH = 55.466  # mm, of Sentinel-1
BLOCK = 4096  # points made together
MOST_IN_MEMORY = 2_000_000  # points, which are made in 3 GB
MOST_ON_DISK = 1_000_000_000  # points, which take 0.6 TB
REGIMES = ("stable", "creep", "accelerating", "seasonal", "snow_gaps", "noise")
ATTRIBUTES = {  # of the variables, by name
    "displacement": {"units": "mm", "long_name": "displacement toward the satellite"},
    "height": {"units": "m", "long_name": "height above sea level"},
    "mean_velocity": {"units": "mm/yr", "long_name": "mean velocity toward the satellite"},
    "temporal_coherence": {"units": "1", "long_name": "temporal coherence"},
    "amplitude_dispersion": {"units": "1", "long_name": "amplitude dispersion"},
    "ELEVATION": {"units": "m", "long_name": "height above sea level"},
    "MAXDISP": {"units": "mm", "long_name": "largest displacement from the mean, fitted"},
    "COHERENCE": {"units": "1", "long_name": "temporal coherence"},
    "DEMERR": {"units": "m", "long_name": "error of the elevation model"},
    "SLOPE": {"units": "degrees", "long_name": "slope of the terrain"},
    "DOYMAX": {"units": "1", "long_name": "day of the year of the seasonal maximum, fitted"},
    "regime": {
        "long_name": "true deformation regime",
        "_FillValue": 255,
        "flag_values": list(range(len(REGIMES))),
        "flag_meanings": " ".join(REGIMES),
    },
}
_MAINLAND = ("height", "mean_velocity", "temporal_coherence", "amplitude_dispersion")
_SVALBARD = ("ELEVATION", "MAXDISP", "COHERENCE", "DEMERR", "SLOPE", "DOYMAX")


@dataclass(frozen=True)
class Site:
    """Where a site is, what its ground looks like and when it lies under snow."""

    title: str
    longitude: float  # of the center, degrees
    latitude: float
    size: float  # m on a side
    inland: float  # azimuth from the fjord to the mountains, degrees
    shore: float  # m from the center to the shoreline, toward the fjord
    relief: float  # m
    glacier: float  # height above which flat ground is ice, m
    winter: tuple[int, int]  # first and last day of the year without images
    peak: float  # day of the year on which frost heave is largest
    statics: tuple[str, ...]
    n_points: int  # by default


SITES = {
    "insar_lyngen": Site(
        title="Lyngen", longitude=20.2, latitude=69.6, size=6500, inland=270, shore=2400,
        relief=1150, glacier=900, winter=(339, 112), peak=100, statics=_MAINLAND, n_points=10000,
    ),
    "insar_nordnes": Site(
        title="Nordnes", longitude=20.4, latitude=69.55, size=5000, inland=75, shore=1900,
        relief=850, glacier=1500, winter=(345, 105), peak=95, statics=_MAINLAND, n_points=7000,
    ),
    "insar_svalbard": Site(
        title="Longyearbyen, Svalbard", longitude=15.6, latitude=78.2, size=6000, inland=190,
        shore=2100, relief=620, glacier=480, winter=(318, 130), peak=140, statics=_SVALBARD,
        n_points=8000,
    ),
}  # fmt: skip


def simulate_site(name: str, *, n_points: int | None = None, seed: int = 0) -> xr.Dataset:
    """Return the points of a site, their displacement over time and their true regimes.

    Parameters
    ----------
    name : str
        A name in `SITES`: insar_lyngen, insar_nordnes or insar_svalbard.
    n_points : int, optional
        Number of points, at most `MOST_IN_MEMORY`; the default is the site's, 7000 to 10 000. More
        points lie more densely on the same ground, and the first ones stay the same.
    seed : int, default 0
        Another seed is another terrain with other points.

    Returns
    -------
    xarray.Dataset
        ``displacement`` (point, time) float32 in mm toward the satellite, NaN where missing; the
        static features (point) float32, whose names ``attrs["static_features"]`` holds as one
        text; ``regime`` (point) uint8 with CF flags; coordinates ``pid``, ``longitude``,
        ``latitude`` (point) and ``time``.

    Raises
    ------
    TypeError
        If `name` is no text, or `n_points` or `seed` no integer.
    ValueError
        If there is no such site, fewer than one point or too many are asked for, or `seed` is not
        from 0 to 2**32 - 1.

    Examples
    --------
    >>> points = simulate_site("insar_nordnes", n_points=500)
    >>> points.displacement.dims, points.regime.attrs["flag_meanings"]
    (('point', 'time'), 'stable creep accelerating seasonal snow_gaps noise')
    >>> creep = points.mean_velocity.where(points.regime == 1).median()
    >>> bool(creep < -10)
    True
    """
    site, n_points, seed = _known(name, n_points, seed, MOST_IN_MEMORY)
    blocks = list(_blocks(name, 0, n_points, seed))
    columns = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    coords = {
        "pid": ("point", columns["point"], {"long_name": "number of the point"}),
        "longitude": ("point", columns["longitude"], {"units": "degrees_east"}),
        "latitude": ("point", columns["latitude"], {"units": "degrees_north"}),
        "time": ("time", dates(name, seed=seed)),
    }
    data = {"displacement": (("point", "time"), columns["displacement"])}
    data |= {key: ("point", columns["static"][:, k]) for k, key in enumerate(site.statics)}
    data["regime"] = ("point", columns["regime"])
    points = xr.Dataset(data, coords, _attrs(site, seed))
    for key in points.data_vars:
        points[key].attrs = dict(ATTRIBUTES[key])
    return points


def write_site(
    name: str,
    folder: str | os.PathLike[str],
    *,
    n_points: int | None = None,
    seed: int = 0,
    shard_size: int = 65536,
) -> Path:
    """Write the points of a site into shards, any number of them, in constant memory.

    An interrupted run is continued; a folder that holds these points already is left as it is. The
    shards and regimes that an older version of this module wrote are made again. Of several
    processes that write the same site one does so, and the others wait for it.

    Parameters
    ----------
    name, n_points, seed
        As for `simulate_site`, whose values are written; but at most `MOST_ON_DISK` points.
    folder : path
        The shards go to the folder ``<folder>/<name>``.
    shard_size : int, default 65536
        Points in a shard.

    Returns
    -------
    pathlib.Path
        The folder: shards with the features ``displacement`` (named by date) and ``static``, and
        the labels ``regime``.

    Raises
    ------
    TypeError, ValueError
        As for `simulate_site`, or if the folder holds other points.
    OSError
        If the folder cannot be written, or another process is still writing it after two minutes.
    """
    from .shards import ShardWriter, read_labels, write_labels

    site, n_points, seed = _known(name, n_points, seed, MOST_ON_DISK)
    folder = as_path(folder, "folder") / name
    time = np.datetime_as_string(dates(name, seed=seed), unit="D").tolist()
    features = {"displacement": time, "static": list(site.statics)}
    attrs = _attrs(site, seed) | {"site": name, "n_points": n_points, "generator": GENERATOR}
    attrs["static_features"] = list(site.statics)  # as JSON can, and attributes in NetCDF cannot
    attrs["variables"] = {key: ATTRIBUTES[key] for key in ("displacement", *site.statics)}
    with _files.claim(folder / "manifest.json"):
        if _is_outdated(folder, name):
            _remove_points(folder)
        with ShardWriter(folder, features, shard_size=shard_size, attrs=attrs) as writer:
            for block in _blocks(name, writer.n_points, n_points, seed):
                del block["regime"]
                writer.append(block.pop("point"), **block)
        try:
            read_labels(folder, "regime")
        except FileNotFoundError:
            truth = _blocks(name, 0, n_points, seed, series=False)
            labels = ((block["point"], block["regime"]) for block in truth)
            write_labels(folder, "regime", labels, attrs=ATTRIBUTES["regime"])
    return folder


def dates(name: str, *, seed: int = 0) -> np.ndarray:
    """Return when a site was seen: every 12 and then 6 days, not in winter, and with losses.

    Parameters
    ----------
    name, seed
        As for `simulate_site`.

    Returns
    -------
    numpy.ndarray
        datetime64[ns], rising, 2016 to 2021.

    Raises
    ------
    TypeError, ValueError
        As for `simulate_site`.
    """
    _, _, seed = _known(name, None, seed, MOST_ON_DISK)
    site = SITES[name]
    random = _random(name, seed, 0)
    every = pd.date_range("2016-01-06", "2021-12-30", freq="6D")
    pair = every >= "2016-10-03"  # the second satellite halves the interval
    taken = (pair | (np.arange(len(every)) % 2 == 0)) & (random.random(len(every)) > 0.07)
    last, first = site.winter
    early, late = random.integers(-10, 11, (2, 7))  # winters differ from year to year
    year = every.year - 2016
    snow = (every.day_of_year >= last + early[year]) | (every.day_of_year <= first + late[year])
    return every[taken & ~snow].to_numpy("datetime64[ns]")


# -- points -----------------------------------------------------------------------------------


def _known(name: str, n_points: int | None, seed: int, most: int) -> tuple[Site, int, int]:
    """Return a site, the number of its points and a seed, or raise."""
    site = SITES[require_choice(name, "name", list(SITES))]
    n_points = site.n_points if n_points is None else n_points
    return site, require_integer(n_points, "n_points", least=1, most=most), require_seed(seed)


def _is_outdated(folder: Path, name: str) -> bool:
    """Return whether a folder holds points of a site that an older version of this module wrote."""
    try:
        attrs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["attrs"]
        return attrs["site"] == name and attrs["generator"] != GENERATOR
    except (OSError, ValueError, KeyError, TypeError):
        return False  # there is none, or it is none of ours, of which ShardWriter says more


def _remove_points(folder: Path) -> None:
    """Remove the files that `write_site` writes, and no others; first the one that names them."""
    (folder / "manifest.json").unlink()
    for path in folder.iterdir():
        if re.fullmatch(r"shard-\d{5}\.parquet|labels-regime\.parquet", path.name):
            path.unlink()


def _attrs(site: Site, seed: int) -> dict:
    return {
        "title": f"Simulated InSAR points, {site.title}",
        "source": f"simulated by cookbook_utils.simulate_insar, seed {seed}",
        "static_features": " ".join(site.statics),
        "crs": "EPSG:4326",
    }


def _number(name: str, seed: int) -> int:
    """A number for the noise functions that differs between sites and seeds."""
    return (zlib.crc32(name.encode()) + 7919 * seed) % 2**20


def _random(name: str, seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), seed, *stream])


def _blocks(
    name: str, start: int, stop: int, seed: int, *, series: bool = True
) -> Iterator[dict[str, np.ndarray]]:
    """Columns of the points `start` to `stop`, block by block; without `series` but the regimes."""
    time = dates(name, seed=seed)
    for number in range(start // BLOCK, -(-stop // BLOCK)) if start < stop else ():
        first = number * BLOCK
        ground = _ground(name, number, seed)
        columns = {
            "point": np.arange(first, first + BLOCK),
            "longitude": ground["longitude"],
            "latitude": ground["latitude"],
            "regime": ground["regime"],
        }
        if series:
            columns |= _motion(name, number, seed, ground, time)
        yield {key: c[max(start - first, 0) : stop - first] for key, c in columns.items()}


def _terrain(site: Site, e: np.ndarray, n: np.ndarray, seed: int) -> np.ndarray:
    """Height (m) at meters east and north of the center; below 0 in the fjord."""
    azimuth = np.radians(site.inland)
    shore = site.shore + 500 * fractal(e, n, seed + 1, scale=3000, step=20, octaves=5)
    inland = e * np.sin(azimuth) + n * np.cos(azimuth) + shore  # m from the shoreline
    crest = fractal(e, n, seed + 2, scale=2600, step=20, ridged=True)
    rough = fractal(e, n, seed + 3, scale=900, step=20)
    up = ramp(inland, 100, 0.95 * site.size)
    return 0.06 * inland + site.relief * up * (0.6 + 0.3 * crest) + (4 + 70 * up) * rough


def _ground(name: str, number: int, seed: int) -> dict[str, np.ndarray]:
    """Where the points of one block lie, and their regimes."""
    site, world, random = SITES[name], _number(name, seed), _random(name, seed, 1, number)
    e, n = np.empty((2, BLOCK))
    density = np.full(BLOCK, -1.0)
    wanted = np.arange(BLOCK)
    for _ in range(64):  # draw places until each point has one where scatterers are
        places = (random.random((2, BLOCK)) - 0.5) * site.size
        chance = random.random(BLOCK)
        found = _land(site, *places[:, wanted], world)["density"]
        rejected = found < chance[wanted]
        take = ~rejected | (found > density[wanted])  # at worst, the best place seen
        e[wanted[take]], n[wanted[take]] = places[:, wanted[take]]
        density[wanted[take]] = found[take]
        wanted = wanted[rejected]
        if not len(wanted):
            break
    land = _land(site, e, n, world)
    spread = 111_320.0  # m per degree of latitude
    return land | {
        "e": e,
        "n": n,
        "longitude": site.longitude + e / (spread * np.cos(np.radians(site.latitude))),
        "latitude": site.latitude + n / spread,
        "regime": _regimes(e, n, land, world),
    }


def _land(site: Site, e: np.ndarray, n: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Height, slope and cover of places, and how likely a scatterer is there."""
    step = 20.0
    height = _terrain(site, e, n, seed)
    rise = [_terrain(site, e + step, n, seed), _terrain(site, e, n + step, seed)]
    slope = np.degrees(np.arctan(np.hypot(*(r - height for r in rise)) / step))
    bare = fractal(e, n, seed + 4, scale=1200, step=20, octaves=6)
    rock = ramp(bare + slope / 60 + height / 5000, 0.25, 0.75)
    town = ramp(fractal(e, n, seed + 5, scale=1800, step=20, octaves=4), 0.1, 0.3)
    town = town * ramp(-height, -90, -50)
    ice = (height > site.glacier) & (slope < 22 + 25 * bare)
    density = np.where((height < 1) | ice, 0, np.maximum(0.06 + 0.9 * rock, 0.95 * town))
    return {"height": height, "slope": slope, "rock": rock, "town": town, "density": density}


def _regimes(e, n, land: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """The regime of each place: the one that its zone and terrain favor most."""
    steep = ramp(land["slope"], 14, 30)
    flat = ramp(-land["slope"], -16, -6)
    high = ramp(land["height"], 200, 600)
    favor = {
        "stable": 0.20 + 0.15 * land["rock"] + 0.8 * land["town"],
        "creep": 0.24 * steep - 0.05 * high,
        "accelerating": 0.22 * steep - 0.05 * high,
        "seasonal": 0.10 + 0.25 * flat - 0.1 * high,
        "snow_gaps": -0.02 + 0.24 * high,
        "noise": 0.02 + 0.15 * (1 - land["rock"]),
    }
    zones = [
        favor[name] + 0.9 * fractal(e, n, seed + 10 + k, scale=1900, step=60, octaves=4)
        for k, name in enumerate(REGIMES)
    ]
    return np.argmax(zones, axis=0).astype(np.uint8)


# -- series -----------------------------------------------------------------------------------


def _motion(name: str, number: int, seed: int, ground: dict[str, np.ndarray], time: np.ndarray):
    """Displacement (mm) and static features of one block."""
    site, world, random = SITES[name], _number(name, seed), _random(name, seed, 2, number)
    e, n, height = ground["e"], ground["n"], ground["height"]
    regime = [ground["regime"] == k for k in range(len(REGIMES))]
    _, creep, accelerating, seasonal, gaps, noisy = regime
    years = (time - time[0]) / np.timedelta64(1, "D") / 365.25
    day = pd.DatetimeIndex(time).day_of_year.to_numpy()

    def field(k, scale=1500):  # smooth, about 0 to 1
        return np.clip(0.5 + 0.9 * fractal(e, n, world + 30 + k, scale=scale, step=60), 0, 1)

    # Ground of every kind moves a little, each point in its own way.
    velocity = random.normal(0, 1.3, BLOCK)
    pace = np.exp(random.normal(0, 0.3, BLOCK))  # blocks of a slide do not move as one
    velocity -= creep * np.clip(5 + 48 * field(0) * pace, 5, 60)
    total = accelerating * (45 + 110 * field(1)) * pace
    onset = np.exp((years - years[-1]) / 1.3)
    amplitude = np.abs(random.normal(0, 0.8, BLOCK))
    amplitude += seasonal * np.clip((3 + 12 * field(2)) * pace, 3, 15)  # rises with moisture
    peak = site.peak + 12 * (field(3) - 0.5) + random.normal(0, 8, BLOCK)
    wave = np.cos(2 * np.pi * (day - peak[:, None]) / 365.25)
    motion = velocity[:, None] * years - total[:, None] * onset + amplitude[:, None] * wave

    # Under snow a cycle of phase is lost or gained; a winter treats most of the zone alike.
    winter = pd.DatetimeIndex(time).year.to_numpy() - 2016
    signs = np.append(0, _random(name, seed, 3).permutation([1, 1, -1, 1, -1]))
    struck = random.random((BLOCK, len(signs))) < 0.8
    level = np.cumsum(struck * signs, axis=1) * (WAVELENGTH / 2)
    slips = np.where(gaps[:, None], level[:, winter], 0)
    motion += slips

    # Noise: white and a random walk, both larger where coherence is low.
    quality = np.exp(random.normal(0, 0.45, BLOCK)) * (1.25 - 0.35 * ground["rock"])
    quality *= np.where(noisy, 2.2, 1.0)
    white, steps = random.normal(0, 1, (2, BLOCK, len(time))).astype("f4")
    gap = np.sqrt(np.diff(years, prepend=years[0])).astype("f4")
    walk = np.cumsum(steps * gap, axis=1)
    motion += (2.6 * white + 3.2 * walk) * quality[:, None]
    motion += _atmosphere(name, seed, e, n, height, len(time))

    # Snow hides a point longer the higher it lies, and there are losses here and there.
    longer = 5 + height / 40 + 25 * gaps + random.normal(0, 6, BLOCK)
    last, first = site.winter
    missing = (day > last - longer[:, None] / 2) | (day < first + longer[:, None])
    missing |= random.random((BLOCK, len(time))) < 0.02 + 0.05 * noisy[:, None]
    motion = np.where(missing, np.nan, motion).astype("f4")
    # Whole cycles leave the phase, and so the coherence, as it is.
    coherence = _fitted(motion - slips, years, day)["temporal_coherence"]
    static = _fitted(motion, years, day) | {
        "temporal_coherence": coherence,
        "COHERENCE": coherence,
        "height": height,
        "ELEVATION": height + random.normal(0, 2, BLOCK),
        "SLOPE": ground["slope"],
        "DEMERR": random.normal(0, 1, BLOCK) * (1.5 + ground["slope"] / 12),
    }
    spread = 0.58 - 0.32 * coherence + random.normal(0, 0.05, BLOCK)
    static["amplitude_dispersion"] = np.clip(spread, 0.05, None)
    columns = np.stack([static[key] for key in site.statics], axis=1)
    return {"displacement": motion, "static": columns.astype("f4")}


def _atmosphere(name, seed, e, n, height, n_dates: int) -> np.ndarray:
    """Phase screens (point, time) in mm: waves of many lengths, and a part that follows height.

    Amplitudes fall with the wavenumber k so that the power spectrum in two dimensions is that of
    turbulence, k to the power -8/3, at the lengths that a site shows.
    """
    random = _random(name, seed, 4)
    waves = 48
    length = np.exp(random.uniform(np.log(700), np.log(12000), waves))
    angle, phase = random.uniform(0, 2 * np.pi, (2, waves))
    k = 2 * np.pi / length
    modes = np.cos(np.outer(e, k * np.cos(angle)) + np.outer(n, k * np.sin(angle)) + phase)
    modes *= (length / 12000) ** (1 / 3)
    screens = random.normal(0, 1.3 / np.sqrt(waves / 4), (waves, n_dates))
    return modes @ screens + np.outer(height / 1000, random.normal(0, 1.2, n_dates))


def _fitted(motion: np.ndarray, years: np.ndarray, day: np.ndarray) -> dict[str, np.ndarray]:
    """What a processor derives from the series by least squares: a cubic and a yearly wave."""
    turn = 2 * np.pi * day / 365.25
    t = years - years.mean()
    design = np.stack([t**0, t, t**2, t**3, np.cos(turn), np.sin(turn)], axis=1)
    present = np.isfinite(motion)
    products = design[:, :, None] * design[:, None, :]
    normal = (present @ products.reshape(len(t), -1)).reshape(-1, 6, 6)
    normal += 0.5 * np.diag([0, 0, 0, 0, 1, 1])  # the wave is poorly known without winters
    filled = np.where(present, motion, 0)
    found = np.linalg.solve(normal, (filled @ design)[:, :, None])[:, :, 0]
    model = found @ design.T
    phase = 4 * np.pi / WAVELENGTH * (motion - model)
    coherence = np.abs(np.nanmean(np.exp(1j * phase), axis=1))
    smooth = model - model.mean(axis=1, keepdims=True)
    return {
        "mean_velocity": model @ t / (t @ t),
        "temporal_coherence": coherence,
        "MAXDISP": np.abs(smooth).max(axis=1),
        "DOYMAX": np.arctan2(found[:, 5], found[:, 4]) / (2 * np.pi) * 365.25 % 365.25,
    }


def main() -> None:
    """Write the three sites."""
    import argparse

    parser = argparse.ArgumentParser(description="Write the simulated InSAR sites.")
    parser.add_argument("--points", type=int, help="points of each site; default: the site's own")
    parser.add_argument("--folder", default="data/simulated", help="default: %(default)s")
    options = parser.parse_args()
    for name in SITES:
        print(write_site(name, options.folder, n_points=options.points))


if __name__ == "__main__":
    main()
