"""The command that writes the simulated data sets."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from cookbook_utils.shards import PointShards
from cookbook_utils.simulate import SCENES, SERIES, SITES
from cookbook_utils.simulate.__main__ import FULL, SMALL, main
from cookbook_utils.simulate._deliveries import FOLDER


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_small_and_full_data_sets_are_all_that_there_are():
    assert {*SMALL, *FULL} == {*SCENES, *SERIES, *SITES, FOLDER}
    assert len(SMALL) + len(FULL) == len(SCENES) + len(SERIES) + len(SITES) + 1


@pytest.mark.slow
def test_command_writes_all_small_data_sets(tmp_path):
    command = [sys.executable, "-m", "cookbook_utils.simulate", "--points", "20"]
    folder = tmp_path / "new"
    done = subprocess.run(
        [*command, "--folder", str(folder)], capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(folder / name) for name in SMALL]
    assert sorted(path.name for path in folder.iterdir()) == sorted(SMALL)
    assert {PointShards(folder / name).n_points for name in SITES} == {20}


def test_command_writes_what_is_named(tmp_path, capsys):
    assert run("insar_nordnes", "--points", 30, "--folder", tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'insar_nordnes'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["insar_nordnes"]


def test_full_means_the_scenes_of_full_size(tmp_path, monkeypatch):
    written = []
    for writer in ("write_scene", "write_coast"):
        monkeypatch.setattr(
            f"cookbook_utils.simulate.__main__.{writer}", lambda *args: written.append(args)
        )
    run("--full", "--folder", tmp_path)
    assert written == [(str(tmp_path), name) for name in ("landsat_5", "landsat_8", "coast_series")]


def test_command_continues_after_a_failure(tmp_path, capsys):
    (tmp_path / "insar_lyngen").write_text("no folder")
    assert run("insar_lyngen", "insar_nordnes", "--points", 30, "--folder", tmp_path) == 1
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'insar_nordnes'}\n"
    assert "insar_lyngen" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["landsat_9"], "names must be among landsat_5_small, .*, got landsat_9"),
        (["landsat_5", "--full"], "--full must be given without names"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run(*arguments, "--folder", tmp_path)
    assert re.search(message, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
