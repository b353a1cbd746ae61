"""Inject faults: kill writers, run many at once, fill the disk, and damage files before reading.

Each fault is injected at a random point, a few times by default, which takes less than two minutes
in all; ``COOKBOOK_FAULT_MINUTES=30`` repeats them for 30 minutes. A failed test prints
``COOKBOOK_FAULT_SEED=<number>``, which reproduces it.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest

from cookbook_utils import _files
from cookbook_utils._deliveries import egms
from cookbook_utils.export import write_label_map, write_points, write_polygons
from cookbook_utils.graph import smooth_shards, streaming
from cookbook_utils.insar import open_points
from cookbook_utils.reservoir import embed_shards
from cookbook_utils.shards import PointShards, ShardWriter
from cookbook_utils.simulate import SCENES, SERIES, insar, write_coast, write_scene, write_site
from cookbook_utils.simulate._deliveries import DELIVERIES, write_deliveries

from .factories import contents, make_labels

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cookbook_utils"
SEED = int(os.environ.get("COOKBOOK_FAULT_SEED", time.time_ns() % 2**32))
MINUTES = float(os.environ.get("COOKBOOK_FAULT_MINUTES", 0))
TIMEOUT = 240  # s after which a process is taken to hang
CROWD = 20  # processes at once

# -- writers ------------------------------------------------------------------------------------


def smaller(specs, name, **changes):
    """Reduce the size of a scene or series in this process, and return its name."""
    specs[name] = dataclasses.replace(specs[name], **changes)
    return name


def scene(folder):
    name = smaller(SCENES, "landsat_5_small", size=90, step=500)
    write_scene(folder, name, block=32)


def landsat(folder):
    name = smaller(SCENES, "landsat_8_small", size=90, step=500)
    DELIVERIES.clear()
    DELIVERIES["LC08_L2SP_042033_20171022_20200903_02_T1"] = name, "18:34:02Z"
    write_deliveries(folder)


def coast(folder):
    name = smaller(SERIES, "coast_series_small", size=64, step=750)
    write_coast(folder, name, block=32)


def site(folder):
    insar.POINTS_PER_BLOCK = 64
    write_site(folder, "insar_nordnes", n_points=240, shard_size=50)


def shards(folder):
    kinds = {"dynamic": list("abcdefgh"), "static": ["height"]}
    with ShardWriter(folder / "points", kinds, shard_size=500, attrs={"seed": 1}) as writer:
        for start in range(writer.n_points, 5000, 250):
            at = np.arange(start, start + 250)
            values = np.sin(np.outer(at, np.arange(1, 9)))
            place = 20 + np.sin(at) / 10, 69.5 + np.cos(at) / 10
            writer.append(at, *place, dynamic=values, static=at[:, np.newaxis] / 7)


def labels(folder):
    at = np.arange(5000)
    batches = ((part, part % 7) for part in np.array_split(at, 9))
    PointShards(folder / "points").write_labels("k", batches, attrs={"n_clusters": 7})


def smoothed(folder):
    streaming.POINTS_PER_BLOCK = 1000
    smooth_shards(folder / "points", folder / "smoothed", alpha=0.5, hops=2, shard_size=900)


def embedded(folder):
    embed_shards(folder / "insar_nordnes", folder / "embedded", n_features=8, shard_size=70)


def tile(folder):
    """Write a tile of points as the European Ground Motion Service delivers it."""
    dates = ",".join(f"2020{month:02}01" for month in range(1, 13))
    series = [f",{k / 7:.1f}" * 12 for k in range(240)]
    rows = [f"p{k},{k + 4.6e6:.1f},{k + 1.7e6:.1f},{k}{series[k]}" for k in range(240)]
    with _files.replacing(folder / "tiles" / "points.csv") as temporary:
        temporary.write_text("\n".join([f"pid,easting,northing,height,{dates}", *rows]))


def delivered(folder):
    egms.BYTES_PER_BATCH = 4096
    open_points(folder / "tiles" / "points.csv", folder=folder / "points", shard_size=50)


def label_map():
    y, x = np.ogrid[:600, :300]
    values = ((x // 7 + y // 5) % 4).astype(np.uint8)
    return make_labels(values).assign_coords(time=np.datetime64("2017-10-22", "ns")).chunk(200)


def exported_map(folder):
    write_label_map(folder / "maps" / "map.tif", label_map(), overwrite=True)


def exported_polygons(folder):
    write_polygons(folder / "maps" / "map.parquet", label_map()[:200, :200], overwrite=True)


def exported_points(folder):
    path, points = folder / "table" / "points.csv", PointShards(folder / "points")
    write_points(path, points, "k", time="2020-01-03", overwrite=True)


WRITERS = (
    scene, landsat, coast, site, shards, labels, smoothed, embedded, tile, delivered,
    exported_map, exported_polygons, exported_points,
)  # fmt: skip
INPUTS = {  # the writer of the input
    labels: shards, smoothed: shards, embedded: site, delivered: tile, exported_points: labels,
}  # fmt: skip


# -- processes ----------------------------------------------------------------------------------

NEVER = sys.maxsize
CALLS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}

# The fork server imports the packages once; its children import this module by name.
sys.path.append(str(ROOT))
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        __name__,
        "tests.warm_up",
        "distributed",
        "filelock",
        "pyarrow.parquet",
        "pystac.extensions.projection",
        "rasterio.features",
        "rasterio.shutil",
        "rioxarray",
        "scipy.sparse.csgraph",
        "shapely",
    ]
)


def _child(pipe, function, arguments, kill_at, most_bytes):
    """Run a function until a given number of file operations, or with a limit of the file size."""
    calls = 0

    def count(event, _):
        nonlocal calls
        if event in CALLS:
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    pipe.send("ready")
    try:
        outcome = ("ended", function(*arguments), calls)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        outcome = ("raised", type(error), str(error), Path(last).is_relative_to(PACKAGE))
    pipe.send(outcome)


class Child:
    """A process that runs a function and sends its outcome."""

    def __init__(self, function, *arguments, kill_at=NEVER, most_bytes=None):
        self.pipe, there = context.Pipe()
        arguments = (there, function, arguments, kill_at, most_bytes)
        self.process = context.Process(target=_child, args=arguments)
        self.process.start()
        there.close()
        assert self.pipe.recv() == "ready"

    def wait(self):
        """Return ("ended", result, calls), ("raised", type, message, package) or ("killed", n)."""
        assert self.pipe.poll(TIMEOUT), "the process hangs"
        try:
            outcome = self.pipe.recv()
        except EOFError:
            outcome = None
        self.process.join(TIMEOUT)
        return outcome or ("killed", -self.process.exitcode)


def run(function, *arguments, **options):
    return Child(function, *arguments, **options).wait()


def strikes(test, least):
    """Yield random generators: at least `least`, and more until the time is over."""
    print(f"COOKBOOK_FAULT_SEED={SEED}")
    end = time.monotonic() + 60 * MINUTES / N_TESTS
    number = 0
    while number < least or time.monotonic() < end:
        yield random.Random(f"{SEED} {test} {number}")
        number += 1


def hidden(folder):
    return [path.name for path in folder.rglob(".*")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folders before and after each writer ran, its file operations and its duration."""
    found = {}
    for writer in WRITERS:
        folder = tmp_path_factory.mktemp(writer.__name__)
        if writer in INPUTS:
            shutil.copytree(found[INPUTS[writer]]["after"], folder, dirs_exist_ok=True)
        before = tmp_path_factory.mktemp("before")
        shutil.copytree(folder, before, dirs_exist_ok=True)
        start = time.monotonic()
        outcome = run(writer, folder)
        assert outcome[0] == "ended", outcome
        assert hidden(folder) == []
        found[writer] = {
            "before": before,
            "after": folder,
            "contents": contents(folder),
            "calls": outcome[2],
            "seconds": time.monotonic() - start,
        }
    return found


every_writer = pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)


# -- kills --------------------------------------------------------------------------------------


@every_writer
def test_the_next_run_recovers_from_a_killed_writer(writer, written, tmp_path):
    facts = written[writer]
    for number, draw in enumerate(strikes(f"kill {writer.__name__}", 3)):
        folder = tmp_path / f"{number}"
        shutil.copytree(facts["before"], folder)
        killed = 0
        for _ in range(draw.randint(1, 3)):
            if draw.random() < 0.7:
                outcome = run(writer, folder, kill_at=draw.randint(1, facts["calls"]))
            else:
                child = Child(writer, folder)
                time.sleep(draw.uniform(0, facts["seconds"]))
                child.process.kill()
                outcome = child.wait()
            killed += outcome == ("killed", signal.SIGKILL)
            assert outcome[0] in ("killed", "ended"), outcome
        assert run(writer, folder)[0] == "ended"
        assert contents(folder) == facts["contents"], f"after {killed} kills"
        shutil.rmtree(folder)


# -- concurrency --------------------------------------------------------------------------------


@every_writer
def test_concurrent_writers_succeed_or_report_another_process(writer, written, tmp_path):
    facts = written[writer]
    for number, _ in enumerate(strikes(f"crowd {writer.__name__}", 1)):
        folder = tmp_path / f"{number}"
        shutil.copytree(facts["before"], folder)
        outcomes = [child.wait() for child in [Child(writer, folder) for _ in range(CROWD)]]
        refused = [outcome for outcome in outcomes if outcome[0] != "ended"]
        assert len(refused) < CROWD, refused
        for outcome in refused:
            assert outcome[0] == "raised" and issubclass(outcome[1], OSError), outcome
            assert "by another process" in outcome[2], outcome
        assert contents(folder) == facts["contents"]
        shutil.rmtree(folder)


# -- out of space -------------------------------------------------------------------------------


def require_refusal(writer, outcome, folder):
    """Assert that a writer raised an OSError of the package and left no incomplete file."""
    assert outcome[0] == "raised" and outcome[1] is OSError, outcome
    assert outcome[3] and str(folder) in outcome[2], outcome
    assert outcome[2].startswith("cannot "), outcome
    assert hidden(folder) == []
    for path in folder.rglob("manifest.json"):
        n = len(json.loads(path.read_text())["shards"])
        names = sorted(shard.name for shard in path.parent.glob("shard-*"))
        assert names == [f"shard-{number:05}.parquet" for number in range(n)]
    if writer in (scene, coast, exported_map, exported_polygons):
        assert contents(folder) == {}


@pytest.fixture
def disk(tmp_path):
    """A small file system, and a function that changes its size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "none"]
        return subprocess.run([*command, str(folder)], capture_output=True, text=True)

    try:
        made = resize(2**20)
    except FileNotFoundError:
        pytest.skip("needs a small file system, and there is no command mount")
    if made.returncode:
        pytest.skip(f"needs a small file system, which only root may mount: {made.stderr.strip()}")
    try:
        yield folder, lambda size: resize(size, "remount")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@every_writer
def test_a_full_disk_ends_in_one_error_and_leaves_nothing(writer, written, disk):
    facts, (folder, resize) = written[writer], disk
    size = {
        name: sum(len(file) + 4096 for file in contents(facts[name]).values() if file)
        for name in ("before", "after")
    }
    for draw in strikes(f"disk {writer.__name__}", 3):
        resize(2**28)
        for path in folder.iterdir():
            shutil.rmtree(path)
        shutil.copytree(facts["before"], folder, dirs_exist_ok=True)
        resize(draw.randint(size["before"] + 4096, size["after"] + 4096))
        outcome = run(writer, folder)
        if outcome[0] != "ended":
            require_refusal(writer, outcome, folder)
            resize(2**28)
            assert run(writer, folder)[0] == "ended"
        assert contents(folder) == facts["contents"]


@every_writer
def test_a_limit_of_the_file_size_ends_in_one_error_and_leaves_nothing(writer, written, tmp_path):
    facts = written[writer]
    new = [name for name in facts["contents"] if name not in contents(facts["before"])]
    largest = max(len(facts["contents"][name] or b"") for name in new)
    for number, draw in enumerate(strikes(f"limit {writer.__name__}", 2)):
        folder = tmp_path / f"{number}"
        shutil.copytree(facts["before"], folder)
        outcome = run(writer, folder, most_bytes=draw.randint(1, largest - 1))
        require_refusal(writer, outcome, folder)
        assert run(writer, folder)[0] == "ended"
        assert contents(folder) == facts["contents"]
        shutil.rmtree(folder)


# -- damage -------------------------------------------------------------------------------------


def damage(path, draw):
    """Flip bits, cut, overwrite, lengthen or empty a file at a random place."""
    data = bytearray(path.read_bytes())
    how = draw.choice(["flip", "flip", "flip", "flips", "cut", "zeros", "longer", "noise"])
    at = draw.randrange(len(data))
    if how == "flip":
        data[at] ^= 1 << draw.randrange(8)
    elif how == "flips":
        for _ in range(20):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del data[at:]
    elif how == "longer":
        data += draw.randbytes(draw.randint(1, 100))
    else:
        n = len(data[at : at + 64])
        data[at : at + n] = bytes(n) if how == "zeros" else draw.randbytes(n)
    path.write_bytes(data)
    return how, at


def read_points(folder):
    points = PointShards(folder)
    columns = ("point", "longitude", "latitude", *points.features)
    read = {column: points.read(column).tobytes() for column in columns}
    found = points.read_labels("k")
    points.verify()
    return read, found.values.tobytes(), found.attrs, points.features, points.attrs


def damage_and_read(folder, seeds):
    """Damage a random file for each seed, and return the cases that were read without an error.

    An error must be raised by the package and name the file; any other error is returned, too.
    """
    expected, wrong = read_points(folder), []
    for seed in seeds:
        draw = random.Random(seed)
        path = draw.choice(sorted(folder.iterdir()))
        whole = path.read_bytes()
        what = seed, path.name, damage(path, draw)
        try:
            if read_points(folder) != expected:
                wrong.append((what, "read other values"))
        except (ValueError, OSError) as error:
            ours = "cookbook_utils" in traceback.extract_tb(error.__traceback__)[-1].filename
            if not ours or path.name not in str(error):
                wrong.append((what, repr(error)))
        except Exception as error:
            wrong.append((what, repr(error)))
        path.write_bytes(whole)
    return wrong


def test_damaged_points_are_refused_or_read_as_they_were(written, tmp_path):
    folder = tmp_path / "points"
    shutil.copytree(written[labels]["after"] / "points", folder)
    for draw in strikes("points", 1):
        outcome = run(damage_and_read, folder, [draw.random() for _ in range(300)])
        assert outcome[:2] == ("ended", []), outcome


@pytest.mark.parametrize("writer", [scene, coast], ids=["scene", "coast"])
def test_damaged_scenes_are_written_again_or_refused(writer, written, tmp_path):
    facts, folder = written[writer], tmp_path / "copy"
    for draw in strikes(f"damage {writer.__name__}", 3):
        shutil.copytree(facts["after"], folder)
        what = []
        for path in draw.sample(sorted(folder.glob("*/*")), draw.randint(1, 3)):
            what.append((path.name, damage(path, draw)))
        outcome = run(writer, folder)
        if outcome[0] == "raised":  # a raster without a signature may belong to the user
            assert outcome[1] is FileExistsError and outcome[3], outcome
            assert any(name in outcome[2] for name, _ in what), outcome
        else:
            assert contents(folder) == facts["contents"], what
        shutil.rmtree(folder)


N_TESTS = 4 * len(WRITERS) + 3
