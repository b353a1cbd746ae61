"""Shards: every point is read once, whatever the shard size, and damage is always found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cookbook_utils._conventions.labels import NODATA_LABEL
from cookbook_utils.shards import PointShards, ShardWriter, _batches, _tables, is_test

from .factories import contents, without_fsync  # noqa: F401

FEATURES = {"dynamic": ["a", "b", "c"], "static": ["height"]}


def make_values(points):
    """Return features that depend on the number of the point."""
    points = np.asarray(points, float)
    dynamic = np.stack([points, points + 0.25, -points], axis=1)
    return {"dynamic": dynamic, "static": points[:, None] + 0.5}


def write(folder, n, *, shard_size=7, step=1, block=None, attrs=None, stop=None):
    """Write `n` points in blocks, or only up to `stop`, resuming where an earlier run ended."""
    writer = ShardWriter(folder, FEATURES, shard_size=shard_size, attrs=attrs)
    for start in range(writer.n_points, n if stop is None else stop, block or n):
        ids = np.arange(start, min(start + (block or n), n)) * step
        writer.append(ids, ids / 1000, -ids / 1000, **make_values(ids))
    if stop is None:
        writer.close()
    return folder


def collect(batches):
    batches = list(batches)
    if not batches:
        return np.empty(0, int), np.empty((0, 0))
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


@pytest.fixture
def small_windows(monkeypatch):
    """Make row groups so small that a few points fill several windows."""
    monkeypatch.setattr(_tables, "POINTS_PER_GROUP", 5)
    monkeypatch.setattr(_batches, "GROUPS_IN_MEMORY", 3)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "points", 30)


SIZES = dict(
    n=st.integers(0, 70),
    shard_size=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    fraction=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    epoch=st.none() | st.integers(0, 5),
    step=st.sampled_from([1, 3]),
)


@settings(max_examples=30, deadline=None)
@given(**SIZES)
def test_batches_give_every_point_of_a_split_once(n, shard_size, batch_size, fraction, epoch, step):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(_tables, "POINTS_PER_GROUP", 5)
        patch.setattr(_batches, "GROUPS_IN_MEMORY", 3)
        shards = PointShards(write(folder, n, shard_size=shard_size, step=step, block=11))
        expected = np.arange(n) * step
        seen = []
        for split in (None, "train", "test"):
            batches = list(
                shards.batches(
                    ["dynamic", "static"],
                    batch_size=batch_size,
                    split=split,
                    test_fraction=fraction,
                    shuffle=epoch is not None,
                    random_state=4,
                    epoch=epoch or 0,
                )
            )
            assert all(len(batch.points) == batch_size for batch in batches[:-1])
            assert all(0 < len(batch.points) <= batch_size for batch in batches[-1:])
            for batch in batches:
                values = make_values(batch.points)
                assert batch.features.dtype == np.float32
                np.testing.assert_array_equal(
                    batch.features, np.hstack([values["dynamic"], values["static"]])
                )
            points = collect(batches)[0]
            if epoch is None:
                assert np.all(np.diff(points) > 0)
            seen.append(np.sort(points))
        np.testing.assert_array_equal(seen[0], expected)
        test = is_test(expected, test_fraction=fraction, random_state=4)
        np.testing.assert_array_equal(seen[1], expected[~test])
        np.testing.assert_array_equal(seen[2], expected[test])


@settings(max_examples=12, deadline=None)
@given(one=st.integers(1, 90), two=st.integers(1, 90), shuffle=st.booleans())
def test_batches_do_not_depend_on_the_shard_size(one, two, shuffle):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(_tables, "POINTS_PER_GROUP", 5)
        patch.setattr(_batches, "GROUPS_IN_MEMORY", 3)
        results = []
        for name, size in (("one", one), ("two", two)):
            shards = PointShards(write(Path(folder) / name, 80, shard_size=size))
            results.append(
                list(shards.batches(batch_size=9, split="train", shuffle=shuffle, random_state=1))
            )
        assert len(results[0]) == len(results[1])
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a.points, b.points)
            np.testing.assert_array_equal(a.features, b.features)


def test_order_depends_on_random_state_and_epoch(folder, small_windows):
    shards = PointShards(write(folder.with_name("other"), 60))

    def order(random_state, epoch):
        options = {"shuffle": True, "random_state": random_state, "epoch": epoch}
        return collect(shards.batches(**options))[0].tolist()

    orders = [order(*pair) for pair in [(1, 0), (0, 1), (1, 1), (2, 0)]]
    assert order(1, 0) == orders[0] != sorted(orders[0])
    assert len(set(map(tuple, orders))) == 4


def test_split_is_the_same_in_every_epoch(folder):
    options = {"split": "test", "test_fraction": 0.5, "shuffle": True, "random_state": 3}
    epochs = [collect(PointShards(folder).batches(epoch=epoch, **options))[0] for epoch in (0, 1)]
    np.testing.assert_array_equal(*map(np.sort, epochs))


def test_batches_larger_than_a_window_are_filled_up(folder, small_windows):
    shards = PointShards(write(folder.with_name("other"), 100))
    sizes = [len(batch.points) for batch in shards.batches(batch_size=40)]
    assert sizes == [40, 40, 20]


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 60), size=st.integers(1, 30), data=st.data())
def test_read_returns_any_rows(n, size, data):
    a, b = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(_tables, "POINTS_PER_GROUP", 5)
        shards = PointShards(write(folder, n, shard_size=size, step=2))
        ids = np.arange(n)[a:b] * 2
        np.testing.assert_array_equal(shards.read("point", slice(a, b)), ids)
        np.testing.assert_array_equal(shards.read("latitude", slice(a, b)), -ids / 1000)
        np.testing.assert_array_equal(
            shards.read("dynamic", slice(a, b)), make_values(ids)["dynamic"].astype("f4")
        )


def test_folder_is_described_and_arrays_are_read_only(folder):
    shards = PointShards(folder)
    assert (shards.n_points, shards.features, shards.attrs) == (30, FEATURES, {})
    assert shards.read("static").shape == (30, 1)
    assert shards.read("static").dtype == np.float32
    for batch in shards.batches(batch_size=8, split="train"):
        with pytest.raises(ValueError, match="read-only"):
            batch.features[0, 0] = 1


# -- the split ---------------------------------------------------------------------------------


def test_split_is_uniform_and_changes_with_the_random_state():
    points = np.arange(20_000)
    one, two = is_test(points, random_state=0), is_test(points, random_state=1)
    for test in (one, two):
        assert test.mean() == pytest.approx(0.2, abs=0.01)
    assert np.mean(one & two) == pytest.approx(0.04, abs=0.006)
    np.testing.assert_array_equal(is_test(points[::-7]), one[::-7])
    # Neighbors and multiples of a power of two are split independently, too.
    assert np.mean(one[1:] & one[:-1]) == pytest.approx(0.04, abs=0.006)
    assert is_test(points * 65536).mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_split_needs_a_fraction(fraction, folder):
    with pytest.raises(ValueError, match="test_fraction must be a finite number from 0 to 1"):
        is_test([1], test_fraction=fraction)
    with pytest.raises(ValueError, match="test_fraction must be a finite number from 0 to 1"):
        PointShards(folder).batches(test_fraction=fraction)


# -- writing ------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 60), size=st.integers(1, 20), stop=st.integers(0, 60), block=st.integers(1, 70)
)
def test_a_resumed_run_writes_the_same_bytes(n, size, stop, block):
    with tempfile.TemporaryDirectory() as folder:
        whole, resumed = Path(folder) / "whole", Path(folder) / "resumed"
        write(whole, n, shard_size=size)
        write(resumed, n, shard_size=size, block=block, stop=min(stop, n))
        write(resumed, n, shard_size=size, block=block)
        assert contents(whole) == contents(resumed)


@pytest.mark.slow
def test_a_killed_process_leaves_only_complete_shards(tmp_path):
    script = """
        import os, signal, sys
        import numpy as np
        from cookbook_utils.shards import ShardWriter
        replace, calls = os.replace, []
        def kill_before(source, target):
            calls.append(target)
            if len(calls) == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
        os.replace = kill_before
        with ShardWriter(sys.argv[1], {"dynamic": ["a"]}, shard_size=4) as writer:
            for i in range(writer.n_points, 10):
                writer.append([i], [0], [0], dynamic=[[i]])
    """

    def run(folder, kill_at):
        command = [sys.executable, "-c", textwrap.dedent(script), str(folder), str(kill_at)]
        return subprocess.run(command, timeout=60).returncode

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole, 99) == 0
    # before the first shard, before its entry in the manifest, before the second shard's
    for kill_at in (1, 2, 4):
        assert run(killed, kill_at) == -signal.SIGKILL
        with pytest.raises((ValueError, FileNotFoundError), match="not complete|no manifest"):
            PointShards(killed)
    assert run(killed, 99) == 0
    assert contents(whole) == {k: v for k, v in contents(killed).items() if k[0] != "."}


def test_an_error_in_the_block_leaves_the_folder_incomplete(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with ShardWriter(tmp_path, {"dynamic": ["a"]}, shard_size=2) as writer:
            writer.append([0, 1, 2], np.zeros(3), np.zeros(3), dynamic=np.zeros((3, 1)))
            raise ZeroDivisionError
    with pytest.raises(ValueError, match="is not complete, it holds 1 shards with 2 points"):
        PointShards(tmp_path)


def test_a_complete_folder_is_left_as_it_is(folder):
    before = contents(folder)
    write(folder, 30)  # resumes behind the last point: there is nothing to do
    assert contents(folder) == before
    writer = ShardWriter(folder, FEATURES, shard_size=7)
    assert writer.complete and writer.n_points == 30
    with pytest.raises(ValueError, match="complete with 30 points, and no more can be added"):
        writer.append([99], [0], [0], **make_values([99]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard_size": 8}, "other shard_size: it must be 8, got 7"),
        ({"attrs": {"seed": 1}}, "other attrs"),
    ],
)
def test_a_folder_of_something_else_is_not_continued(folder, change, message):
    with pytest.raises(ValueError, match=message):
        write(folder, 30, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [0, 0]}, "strictly increasing"),
        ({"points": [1, 0]}, "strictly increasing"),
        ({"longitude": [0]}, r"longitude must have the shape \(2,\), got \(1,\)"),
        ({"dynamic": np.zeros((2, 4))}, r"dynamic must have the shape \(2, 3\), got \(2, 4\)"),
        ({"extra": np.zeros((2, 4))}, "features must be of the kinds .*got .*extra"),
    ],
)
def test_append_refuses_what_does_not_fit(tmp_path, change, message):
    block = {"points": [0, 1], "longitude": [0, 0], "latitude": [0, 0], **make_values([0, 1])}
    writer = ShardWriter(tmp_path, FEATURES)
    with pytest.raises(ValueError, match=message):
        writer.append(**(block | change))


def test_append_refuses_numbers_that_decrease_between_calls(tmp_path):
    writer = ShardWriter(tmp_path, FEATURES, shard_size=2)
    writer.append([5, 6], [0, 0], [0, 0], **make_values([5, 6]))
    with pytest.raises(ValueError, match=r"strictly increasing.*got \[6\]... after 6"):
        writer.append([6], [0], [0], **make_values([6]))
    again = ShardWriter(tmp_path, FEATURES, shard_size=2)
    with pytest.raises(ValueError, match="strictly increasing"):
        again.append([6], [0], [0], **make_values([6]))


@pytest.mark.parametrize("features", [{}, {"point": ["a"]}, {"dynamic": []}, {"a+b": ["a"]}])
def test_writer_needs_kinds_with_names(tmp_path, features):
    with pytest.raises(ValueError, match="kind"):
        ShardWriter(tmp_path, features)


# -- damage -------------------------------------------------------------------------------------


def cut_short(path, folder):
    path.write_bytes(path.read_bytes()[:-10])


def remove(path, folder):
    path.unlink()


def garble_footer(path, folder):
    data = bytearray(path.read_bytes())
    data[-8:] = b"nonsense"
    path.write_bytes(data)


def replace_by_another_table(path, folder):
    size = path.stat().st_size
    pq.write_table(pa.table({"x": np.random.default_rng(0).random(2 * size)}), path)


def swap_with_another_shard(path, folder):
    shutil.copy(folder / "shard-00002.parquet", path)


def take_from_another_folder(path, folder):
    other = write(folder.with_name("other"), 30, attrs={"seed": 1})
    shutil.copy(other / path.name, path)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (cut_short, ValueError, "truncated"),
        (remove, FileNotFoundError, "missing"),
        (garble_footer, ValueError, "not a readable shard"),
        (replace_by_another_table, ValueError, "foreign file: .* got x"),
        (swap_with_another_shard, ValueError, "foreign file: .* another place"),
        (take_from_another_folder, ValueError, "foreign file: .* another place"),
    ],
)
def test_a_damaged_shard_is_named(folder, damage, error, message):
    opened = PointShards(folder)
    damage(folder / "shard-00001.parquet", folder)
    with pytest.raises(error, match=rf"shard-00001\.parquet.*{message}"):
        PointShards(folder)
    with pytest.raises(error, match=rf"shard-00001\.parquet.*{message}"):
        list(opened.batches())  # damaged after the folder was opened
    with pytest.raises(error, match=rf"shard-00001\.parquet.*{message}"):
        ShardWriter(folder, FEATURES, shard_size=7)


def test_verify_finds_an_altered_value(folder):
    PointShards(folder).verify()
    path = folder / "shard-00003.parquet"
    data = bytearray(path.read_bytes())
    at = data.find(np.float32(21.25).tobytes())  # feature b of the first point of the shard
    data[at : at + 4] = np.float32(99).tobytes()
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard-00003\.parquet was altered"):
        PointShards(folder).verify()


def test_a_folder_without_a_good_manifest_is_refused(folder):
    with pytest.raises(FileNotFoundError, match="has no manifest.json"):
        PointShards(folder / "nowhere")
    (folder / "manifest.json").write_text('{"version": 99}')
    with pytest.raises(ValueError, match="must have the version 2, got 99"):
        PointShards(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="not the manifest"):
        PointShards(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["other"]}, "kinds must be .* 'dynamic', 'static', for .* got .'other'."),
        ({"kinds": ["dynamic", "dynamic"]}, "sequence of unique kinds"),
        ({"kinds": []}, "sequence of unique kinds"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"split": "validation"}, "split must be one of 'train', 'test'"),
        ({"epoch": -1}, "epoch must be an integer of at least 0"),
    ],
)
def test_batches_refuse_options_at_once(folder, options, message):
    with pytest.raises(ValueError, match=message):
        PointShards(folder).batches(**options)


def test_read_refuses_other_columns_and_steps(folder):
    with pytest.raises(ValueError, match="column must be one of 'point', .*got 'height'"):
        PointShards(folder).read("height")
    with pytest.raises(ValueError, match="rows must be .* step of 1"):
        PointShards(folder).read("point", slice(0, 9, 2))


# -- labels -------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 50), size=st.integers(1, 20), step=st.sampled_from([1, 3]), data=st.data())
def test_labels_come_back_in_the_order_of_the_folder(n, size, step, data):
    order = np.array(data.draw(st.permutations(range(n)))) * step
    with tempfile.TemporaryDirectory() as folder:
        write(folder, n, shard_size=size, step=step)
        parts = np.array_split(order, 3)
        shards = PointShards(folder)
        shards.write_labels("k", ((ids, ids % 256) for ids in parts), attrs={"n": 3})
        labels = shards.read_labels("k")
    np.testing.assert_array_equal(labels, np.arange(n) * step % 256)
    assert labels.dtype == np.uint8
    assert labels.dims == ("point",)
    assert labels.attrs == {"n": 3, "_FillValue": NODATA_LABEL}


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (
            [(np.arange(29), np.zeros(29, int))],
            "label for each of 30 points, got none for 1 of them",
        ),
        ([(np.arange(30), np.zeros(30, int)), ([3], [1])], "several labels"),
        ([([3, 3], [1, 1])], "several labels"),
        ([([30], [1])], r"got \[30\], which it does not have \(1 of 1 given\)"),
        ([([-1], [1])], r"got \[-1\], which"),
        ([([1], [256])], "whole numbers from 0 to 254, .* got 256"),
        ([([1], [0.5])], "whole numbers from 0 to 254, .* got 0.5"),
        ([([1, 2], [0])], "one label for each point"),
    ],
)
def test_wrong_labels_change_nothing(folder, batches, message):
    PointShards(folder).write_labels("k", [(np.arange(30), np.full(30, 5))])
    before = contents(folder)
    with pytest.raises(ValueError, match=message):
        PointShards(folder).write_labels("k", batches)
    assert contents(folder) == before


def test_labels_of_unknown_points_between_known_ones_are_refused(tmp_path):
    write(tmp_path, 10, step=3)
    with pytest.raises(ValueError, match=r"got \[4\], which"):
        PointShards(tmp_path).write_labels("k", [([3, 4], [0, 0])])


def test_labels_are_replaced_named_and_checked(folder):
    with pytest.raises(FileNotFoundError, match="no labels 'k'; it has: none"):
        PointShards(folder).read_labels("k")
    for value in (1, 2):
        path = PointShards(folder).write_labels("k", [(np.arange(30), np.full(30, value))])
    assert np.all(PointShards(folder).read_labels("k") == 2)
    with pytest.raises(FileNotFoundError, match="no labels 'x'; it has: k"):
        PointShards(folder).read_labels("x")
    with pytest.raises(ValueError, match="one word"):
        PointShards(folder).write_labels("../k", [])

    other = write(folder.with_name("other"), 30, attrs={"seed": 1})
    shutil.copy(path, other)
    with pytest.raises(
        ValueError, match="must hold labels of the 30 points of this folder, got those of 30 other"
    ):
        PointShards(other).read_labels("k")
    cut_short(path, folder)
    with pytest.raises(ValueError, match="labels-k.parquet cannot be read"):
        PointShards(folder).read_labels("k")


def test_nothing_temporary_is_left(folder):
    PointShards(folder).write_labels("k", [(np.arange(30), np.zeros(30, int))])
    names = sorted(os.listdir(folder))
    assert names == [
        "labels-k.parquet",
        "manifest.json",
        *(f"shard-0000{i}.parquet" for i in range(5)),
    ]


# -- another run of the same size -------------------------------------------------------------


def write_other(folder):
    """Write points with the numbers and coordinates of `write`, but with other features."""
    with ShardWriter(folder, FEATURES, shard_size=7) as writer:
        ids = np.arange(30)
        writer.append(ids, ids / 1000, -ids / 1000, **make_values(ids + 1))
    return folder


def test_labels_of_an_earlier_folder_of_the_same_name_are_refused(folder):
    PointShards(folder).write_labels("found", [(np.arange(30), np.arange(30))])
    for path in [*folder.glob("shard-*"), folder / "manifest.json"]:
        path.unlink()
    write_other(folder)
    with pytest.raises(ValueError, match="with other features"):
        PointShards(folder).read_labels("found")
    for path in [*folder.glob("shard-*"), folder / "manifest.json"]:
        path.unlink()
    write(folder, 30)
    assert PointShards(folder).read_labels("found").values.tolist() == list(range(30))


@pytest.mark.parametrize("key", [b"digest", b"shards"])
def test_labels_without_a_digest_are_refused(folder, key):
    path = PointShards(folder).write_labels("found", [(np.arange(30), np.arange(30))])
    table = pq.read_table(path)
    meta = {name: value for name, value in table.schema.metadata.items() if name != key}
    pq.write_table(table.replace_schema_metadata(meta), path)
    with pytest.raises(ValueError, match="was altered|must hold labels of the 30 points"):
        PointShards(folder).read_labels("found")


@pytest.mark.parametrize("entry", ["digest", "sums"])
def test_a_manifest_without_a_digest_is_refused(folder, entry):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    for part in [content, *content["shards"]]:
        part.pop(entry, None)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="manifest.json was altered"):
        PointShards(folder)


def test_a_shard_of_another_run_is_refused(folder, tmp_path):
    other = write_other(tmp_path / "other")
    shutil.copy(other / "shard-00001.parquet", folder)
    with pytest.raises(ValueError, match="shard-00001.parquet was altered.* another run"):
        PointShards(folder)


def test_shards_that_are_replaced_while_they_are_open_are_refused(folder):
    shards = PointShards(folder)
    shutil.rmtree(folder)
    write_other(folder)
    with pytest.raises(ValueError, match="was altered.* another run"):
        shards.read("dynamic")


@pytest.mark.parametrize("key", ["points", "first", "last", "bytes"])
@pytest.mark.parametrize("value", [-1, 2.5, "1", None, 10**30])
def test_a_manifest_without_a_digest_and_with_wrong_numbers_is_refused(folder, key, value):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["digest"]
    manifest["shards"][1][key] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="manifest.json was altered|is truncated"):
        PointShards(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"features": {"dynamic": "abc"}}, {"features": 5}, {"shard_size": "7"}, {"attrs": []},
        {"shards": [{}]}, {"shards": 5}, {"complete": 1},
    ],
)  # fmt: skip
def test_a_manifest_without_a_digest_and_with_wrong_types_is_refused(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["digest"]
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    for call in (PointShards, lambda path: ShardWriter(path, FEATURES, shard_size=7)):
        with pytest.raises(ValueError, match="manifest.json was altered"):
            call(folder)


# -- what cannot be written -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["points", "self"])
def test_kinds_named_like_parameters_of_append_are_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=f"identifiers other than .*{kind}"):
        ShardWriter(tmp_path, {kind: ["a"]})


def test_two_features_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unique names"):
        ShardWriter(tmp_path, {"static": ["height", "height"]})


def test_numbers_whose_difference_overflows_are_compared(tmp_path):
    writer = ShardWriter(tmp_path, {"static": ["height"]})
    with pytest.raises(ValueError, match="must be strictly increasing"):
        writer.append([2**63 - 1, -(2**63)], [0, 0], [0, 0], static=[[0], [0]])
    with writer:
        writer.append([-(2**63), 2**63 - 1], [0, 0], [0, 0], static=[[0], [0]])
    assert PointShards(tmp_path).read("point").tolist() == [-(2**63), 2**63 - 1]


@pytest.mark.parametrize("place", [(np.nan, 0), (0, np.inf), (1e9, 0), (0, 91), (-181, 0)])
def test_coordinates_out_of_range_are_refused(tmp_path, place):
    writer = ShardWriter(tmp_path / "new", {"static": ["height"]})
    longitude, latitude = place
    with pytest.raises(ValueError, match="(longitude|latitude) must be from .* degrees, got"):
        writer.append([0], [longitude], [latitude], static=[[0]])
    assert not (tmp_path / "new").exists()


def test_labels_for_a_folder_without_points_are_refused(tmp_path):
    with ShardWriter(tmp_path, FEATURES):
        pass
    with pytest.raises(ValueError, match="which has no points"):
        PointShards(tmp_path).write_labels("found", [([1], [0])])
    assert not list(tmp_path.glob("labels-*"))
