"""Claims, temporary files, scratch space, and files of the user, which are never overwritten."""

from __future__ import annotations

import errno
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from cookbook_utils import _files
from cookbook_utils._files import as_path, claim, replacing, tidy
from cookbook_utils.shards import PointShards, ShardWriter
from cookbook_utils.simulate import write_scene


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- claims ---------------------------------------------------------------------------------------


def test_a_claim_excludes_others_and_leaves_nothing(tmp_path):
    def other(path):
        with claim(path, wait=0):
            return "claimed"

    path = tmp_path / "new" / "file"
    with ThreadPoolExecutor(1) as pool:
        with claim(path), claim(path):  # the same thread may claim it twice
            message = r"file is being written by another process, still after 0 s"
            with pytest.raises(TimeoutError, match=message):
                pool.submit(other, path).result()
            assert pool.submit(other, path.with_name("else")).result() == "claimed"
        assert pool.submit(other, path).result() == "claimed"
    with claim(path, outermost=True), claim(path):
        with pytest.raises(TimeoutError, match="file is being written by this thread already"):
            with claim(path, outermost=True):
                pass
        with pytest.raises(TimeoutError, match="by another process"):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(other, path).result()
    assert names(tmp_path) == []  # the claim made the folder


def test_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="pipe must be a file or folder to write, got a device or a"):
        with replacing(path):
            pass
    assert path.is_fifo() and names(tmp_path) == ["pipe"]


def test_a_file_is_replaced_atomically(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as temporary:
        temporary.write_text("one")
    with pytest.raises(ZeroDivisionError):
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError
    assert path.read_text() == "one"
    assert names(tmp_path) == ["file"]
    with pytest.raises(OSError, match="cannot write 'file' in .*: No space left") as caught:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "half" not in str(caught.value)
    assert names(tmp_path) == ["file"]


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    kept = [".file-notes", ".file-0123456789ab.tmp.bak", ".other-0123456789ab.tmp", "file"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".file-0123456789ab.tmp").mkdir()
    (tmp_path / ".file-0123456789ab.tmp" / "B1.tif").write_text("half")
    (tmp_path / ".file-ba9876543210.tmp").write_text("half")
    (tmp_path / ".file.lock").write_text("")
    tidy(tmp_path / "file")
    assert names(tmp_path) == sorted(kept)


def test_temporary_files_of_a_running_process_stay(tmp_path):
    with claim(tmp_path / "file") as claimed, ThreadPoolExecutor(1) as pool:
        claimed.temporary().write_text("in use")
        pool.submit(tidy, tmp_path / "file").result()
        assert len(claimed.leftovers()) == 1


@pytest.mark.parametrize(
    ("value", "error"), [(3, TypeError), (None, TypeError), (b"a", TypeError), ("", ValueError),
                         ("a\0b", ValueError)]
)  # fmt: skip
def test_paths_are_checked(value, error):
    with pytest.raises(error, match="folder must be a path, got"):
        as_path(value, "folder")
    with pytest.raises(error, match="folder must be a path, got"):
        write_scene(value, "landsat_5_small")
    with pytest.raises(error, match="folder must be a path, got"):
        PointShards(value)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("x" * 300, OSError, "cannot be looked up: File name too long"),
        ("\ud800", ValueError, "folder must be a path in characters of this system"),
    ],
)
@pytest.mark.parametrize(
    "use", [PointShards, lambda folder: ShardWriter(folder, {"static": ["height"]})]
)
def test_impossible_paths(tmp_path, use, value, error, message):
    with pytest.raises(error, match=message):
        use(f"{tmp_path}/{value}")
    assert not names(tmp_path)


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_paths_without_a_name_cannot_be_written(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IsADirectoryError, match="must name a file or folder to write"):
        with replacing(Path(path)):
            pass
    assert not names(tmp_path)


# -- scratch space ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_scratch_space_without_fallocate(tmp_path, monkeypatch, code):
    def unsupported(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        _files.allocate(file, 3_000_000, tmp_path)
        assert os.fstat(file.fileno()).st_size == 3_000_000
        assert os.fstat(file.fileno()).st_blocks * 512 >= 3_000_000  # no holes


def test_full_disk_for_scratch_space(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        with pytest.raises(OSError, match="cannot reserve 10 bytes of scratch space in .*No space"):
            _files.allocate(file, 10, tmp_path)


# -- scenes -----------------------------------------------------------------------------------


def test_files_of_the_user_in_a_scene_stay(tmp_path):
    target = tmp_path / "landsat_5_small"
    target.mkdir()
    (target / "my_notes.txt").write_text("mine")
    for seed in (0, 1):  # written beside the notes, then replaced
        write_scene(tmp_path, "landsat_5_small", random_state=seed)
        assert (target / "my_notes.txt").read_text() == "mine"
        with rasterio.open(target / "truth.tif") as file:
            assert file.tags()["signature"].endswith(f"seed {seed}")
    assert names(tmp_path) == ["landsat_5_small"]


def test_a_scene_does_not_replace_a_raster_of_the_user(tmp_path):
    path = tmp_path / "landsat_5_small" / "B1.tif"
    path.parent.mkdir()
    with rasterio.open(
        path, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8"
    ) as file:
        file.write(np.ones((1, 2, 2), "uint8"))
    with pytest.raises(FileExistsError, match=r"B1\.tif must be a file that was simulated here"):
        write_scene(tmp_path, "landsat_5_small")
    path.write_text("no raster")
    with pytest.raises(FileExistsError, match=r"B1\.tif must be a file that was simulated here"):
        write_scene(tmp_path, "landsat_5_small")
    assert names(path.parent) == ["B1.tif"]
    assert path.read_text() == "no raster"


def test_pixels_that_gdal_did_not_store_are_detected(tmp_path, monkeypatch):
    """GDAL does not always report a full disk."""
    close = rasterio.io.DatasetWriter.close

    def cut(self):
        close(self)
        if self.name.endswith("B3.tif"):
            os.truncate(self.name, os.path.getsize(self.name) // 2)

    monkeypatch.setattr(rasterio.io.DatasetWriter, "close", cut)
    with pytest.raises(OSError, match="cannot write 'landsat_5_small' in .*: B3.tif does not hold"):
        write_scene(tmp_path, "landsat_5_small")
    assert names(tmp_path) == []


def test_a_complete_scene_needs_no_write_permission(tmp_path, monkeypatch):
    write_scene(tmp_path, "landsat_5_small")
    monkeypatch.setattr(_files, "claim", lambda *_, **__: pytest.fail("claimed"))
    assert write_scene(tmp_path, "landsat_5_small") == tmp_path / "landsat_5_small"


@pytest.mark.slow
def test_a_damaged_file_of_a_scene_is_written_again(tmp_path):
    target = write_scene(tmp_path, "landsat_5_small")
    whole = {path.name: path.read_bytes() for path in target.iterdir()}
    for name in whole:
        data = bytearray(whole[name])
        data[len(data) // 2] ^= 1
        (target / name).write_bytes(data)
        write_scene(tmp_path, "landsat_5_small")
        (target / name).write_bytes(whole[name][:99])
        write_scene(tmp_path, "landsat_5_small")
        assert {path.name: path.read_bytes() for path in target.iterdir()} == whole


# -- shards -----------------------------------------------------------------------------------


def start(folder, n=4):
    writer = ShardWriter(folder, {"dynamic": ["a"]}, shard_size=2)
    at = np.arange(n)
    writer.append(at, at / 10, at / 10, dynamic=at[:, np.newaxis])
    return writer


def test_two_writers_of_one_folder_do_not_mix(tmp_path):
    first, second = (ShardWriter(tmp_path, {"dynamic": ["a"]}, shard_size=2) for _ in range(2))
    block = [[0, 1], [0, 0], [0, 0]]
    first.append(*block, dynamic=[[1], [2]])
    with pytest.raises(OSError, match="is being written by another process"):
        second.append(*block, dynamic=[[3], [4]])
    first.close()
    assert PointShards(tmp_path).read("dynamic").ravel().tolist() == [1, 2]


def test_files_of_the_user_among_shards_stay(tmp_path):
    table = pd.DataFrame({"a": [1.0]})
    table.to_parquet(tmp_path / "shard-00000.parquet")
    with pytest.raises(FileExistsError, match="shard-00000.parquet exists and was not written"):
        ShardWriter(tmp_path, {"dynamic": ["a"]})
    Path(tmp_path / "shard-00000.parquet").unlink()
    start(tmp_path).close()
    table.to_parquet(tmp_path / "labels-k.parquet")
    with pytest.raises(FileExistsError, match="labels-k.parquet exists and was not written"):
        PointShards(tmp_path).write_labels("k", [(np.arange(4), np.zeros(4, int))])
    assert pd.read_parquet(tmp_path / "labels-k.parquet").equals(table)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"points": [4.5, 5.5]}, TypeError, "points must be integers, got dtype float64"),
        ({"points": np.array([1, 2**63], "u8")}, ValueError, "points must be at most"),
        ({"longitude": ["a", "b"]}, TypeError, "longitude must hold real numbers"),
        ({"latitude": [1j, 2j]}, TypeError, "latitude must hold real numbers"),
        ({"dynamic": [[1e300], [0]]}, ValueError, "dynamic must be in the range of float32"),
        ({"dynamic": np.ma.masked_equal([[1.0], [2.0]], 1)}, TypeError, "without a mask"),
        ({"dynamic": [[None], [1]]}, TypeError, "dynamic must hold real numbers"),
    ],
)
def test_append_refuses_types(tmp_path, change, error, message):
    writer = start(tmp_path)
    block = {"points": [5, 6], "longitude": [0, 0], "latitude": [0, 0], "dynamic": [[1], [2]]}
    with pytest.raises(error, match=message):
        writer.append(**(block | change))
    writer.close()
    assert PointShards(tmp_path).n_points == 4


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": ["dynamic"]}, TypeError, "features must be .* got list"),
        ({"features": {"dynamic": "abc"}}, TypeError, "features must be .* got 'dynamic': 'abc'"),
        ({"features": {3: ["a"]}}, TypeError, "features must be"),
        ({"shard_size": 2.0}, TypeError, "shard_size must be an integer of at least 1, got 2.0"),
        ({"shard_size": 0}, ValueError, "shard_size must be an integer of at least 1, got 0"),
        ({"attrs": {"a": object()}}, TypeError, "attrs must be a mapping that JSON can represent"),
        ({"attrs": {"a": np.nan}}, TypeError, "attrs must be a mapping that JSON can represent"),
        ({"attrs": "text"}, TypeError, "attrs must be a mapping that JSON can represent, got str"),
    ],
)
def test_a_writer_refuses_types(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        ShardWriter(tmp_path, **({"features": {"dynamic": ["a"]}} | change))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: p.read(["point"]), TypeError, "column must be one of"),
        (lambda p: p.read("point", 3), TypeError, "rows must be a slice"),
        (lambda p: p.read("point", slice("a", "b")), TypeError, "rows must be a slice"),
        (lambda p: p.batches(None), TypeError, "kinds must be a sequence"),
        (lambda p: p.batches("dynamic"), TypeError, "kinds must be a sequence"),
        (lambda p: p.batches([1]), TypeError, "kinds must be a sequence"),
        (lambda p: p.batches(batch_size=2.5), TypeError, "batch_size must be an integer"),
        (lambda p: p.batches(random_state="a"), TypeError, "random_state must be an integer"),
        (lambda p: p.batches(shuffle=1), TypeError, "shuffle must be True or False"),
        (lambda p: p.batches(split=1), TypeError, "split must be one of"),
        (lambda p: p.write_labels(3, []), TypeError, "name must be one word"),
        (lambda p: p.write_labels("k", 3), TypeError, "batches must be an iterable"),
        (lambda p: p.write_labels("k", [3]), TypeError, "batches must be an iterable"),
        (lambda p: p.write_labels("k", [([0.5], [1])]), TypeError, "points in batches must be int"),
        (
            lambda p: p.write_labels("k", [([0], ["a"])]),
            TypeError,
            "labels in batches must hold real",
        ),
    ],
)
def test_readers_and_labels_refuse_types(tmp_path, call, error, message):
    start(tmp_path).close()
    before = names(tmp_path)
    with pytest.raises(error, match=message):
        call(PointShards(tmp_path))
    assert names(tmp_path) == before
