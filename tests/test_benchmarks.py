"""The benchmarks: the runner on tiny sizes, the form of the committed results, and their page."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import __main__ as command
from benchmarks import _machine, _report, _runner, interimage_gpu

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
result = pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
script = pytest.mark.parametrize("name", _runner.NAMES)

EXAMPLE = '''
"""An example."""

import numpy as np

from benchmarks._comparison import Call, Comparison


def double(n, folder):
    number = int((folder / "input.txt").read_text())
    return lambda: {"result": np.full(3, 2.0 * number), "iterations": 2}


def slow(n, folder):
    return lambda: {"result": np.full(3, 2.0 * n + 1), "seconds": 1e6}


def absent(n, folder):
    raise ImportError("no module named peer")


def small(n, folder):
    assert n == 5, "called above its largest size"
    return lambda: {}


def allocate(times):
    return lambda n, folder: lambda: {"bytes": np.ones(times * n, np.uint8).nbytes}


PACKAGES = ("numpy", "a-package-that-is-not-installed")
COMPARISONS = [
    Comparison(
        "numbers",
        unit="numbers",
        sizes=(1, 20, 300),
        full_sizes=(10, 200, 3000),
        ours={"double": double},
        peers={
            "slow": Call(slow, rounds=1),
            "absent": absent,
            "small": Call(small, largest=0, why="too large"),
        },
        warm_up=5,
        rounds=2,
        write=lambda n, folder: (folder / "input.txt").write_text(str(n)),
    ),
    Comparison(
        "bytes",
        unit="bytes",
        sizes=(20_000_000, 50_000_000, 100_000_000),
        full_sizes=(1, 2, 3),
        ours={"allocate": allocate(1)},
        peers={"allocate twice": allocate(2)},
        warm_up=1,
        rounds=1,
    ),
]
'''


# -- the scripts ----------------------------------------------------------------------------------


@script
def test_a_script_declares_comparisons_of_ours_with_peers_at_three_sizes(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert inspect.getdoc(module) and module.PACKAGES
    titles = [comparison.title for comparison in module.COMPARISONS]
    assert titles and len(set(titles)) == len(titles)
    for comparison in module.COMPARISONS:
        assert comparison.ours and comparison.peers
        assert not set(comparison.ours) & set(comparison.peers)
        for mode in ("bench", "full"):
            sizes = comparison.sizes_of(mode)
            assert len(sizes) >= 3 and list(sizes) == sorted(set(sizes))
        for call in comparison.calls().values():
            assert (call.largest is None) == (call.why == "")


def test_the_readme_lists_every_script():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert sorted(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) == _runner.NAMES


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["graph", "interimage", "interimage_scale", "opening", "regrid", "stacking"]
)
def test_ours_and_peers_find_the_same(name, tmp_path):
    """The results of the calls agree at the size at which each process warms up."""
    for number, comparison in enumerate(importlib.import_module(f"benchmarks.{name}").COMPARISONS):
        folder = tmp_path / str(number)
        folder.mkdir()
        if comparison.write:
            comparison.write(comparison.warm_up, folder)
        found = {}
        for call_name, call in comparison.calls().items():
            row = call.prepare(comparison.warm_up, folder)() or {}
            found[call_name, str(row.get("iterations"))] = row.get("result")
        compare_results(found)


def compare_results(found: dict) -> None:
    """Compare those results that are of the same scale, after the same number of iterations."""
    (_, iterations), first = next(iter(found.items()))
    for (_, others), values in found.items():
        if first is None or values is None or iterations != others:
            continue
        assert np.shape(values) == np.shape(first)
        if np.nanmax(np.abs(values)) > np.nanmax(np.abs(first)) / 2:  # not reflectance
            np.testing.assert_allclose(values, first, rtol=1e-3, atol=1e-5)


def test_a_gpu_is_never_needed(monkeypatch, capsys):
    monkeypatch.setattr(interimage_gpu, "why_not", lambda: "CuPy finds no GPU")
    monkeypatch.setattr(_report, "write_report", lambda: None)
    assert command.main(["interimage_gpu", "--busy"]) == 0
    assert capsys.readouterr().out == "interimage_gpu is not measured: CuPy finds no GPU\n"


# -- the runner -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict:
    """The result of an example, each call of which has a process of its own."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "example.py").write_text(EXAMPLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield _runner.measure(importlib.import_module("example"), tell=lambda line: None)


@pytest.fixture
def rows(measured) -> pd.DataFrame:
    return pd.DataFrame(measured["rows"]).set_index(["comparison", "call", "size"])


def test_a_result_says_where_and_how_it_was_measured(measured):
    require_schema(measured)
    assert measured["mode"] == "bench"
    assert measured["versions"] == {"numpy": np.__version__}
    assert re.fullmatch(r"[0-9a-f]{12}( with changes)?|unknown", measured["commit"])


def test_calls_take_turns_and_the_least_time_counts(rows):
    ours = rows.loc["numbers", "double"]
    assert (ours["seconds"].map(len) == 2).all()
    assert (ours["best"] <= ours["seconds"].map(min) * 1.001).all()
    assert (ours["times_as_long_as_ours"] == 1).all() and (ours["spread"] >= 1).all()
    assert (rows.loc["numbers", "slow"]["seconds"].map(len) == 1).all()


def test_a_call_may_time_itself_and_report_numbers(rows):
    assert (rows.loc["numbers", "slow"]["best"] == 1e6).all()
    assert (rows.loc["numbers", "double"]["iterations"] == 2).all()
    assert "result" not in rows


def test_results_are_compared_with_ours(rows):
    assert (rows.loc["numbers", "slow"]["largest_difference_from_ours"] == 1).all()


def test_a_call_that_is_not_made_gives_the_reason(rows):
    assert set(rows.loc["numbers", "absent"]["not_run"]) == {"ImportError: no module named peer"}
    assert set(rows.loc["numbers", "small"]["not_run"]) == {"too large"}


def test_peak_memory_is_that_of_the_call(rows):
    once, twice = rows.loc["bytes", "allocate"], rows.loc["bytes", "allocate twice"]
    used = once["peak_memory_mb"] - once["memory_before_mb"]
    assert used.tolist() == pytest.approx([20, 50, 100], abs=10)
    used = twice["peak_memory_mb"] - twice["memory_before_mb"]
    assert used.tolist() == pytest.approx([40, 100, 200], abs=10)


def test_our_own_failure_stops_the_measurement(tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text(EXAMPLE.replace("ours={\"double\": double}",
                                                         "ours={\"double\": absent}"))  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="no module named peer"):
        _runner.measure(importlib.import_module("failing"), tell=lambda line: None)


def test_a_busy_machine_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(command, "cores_in_use", lambda: 1.5)
    assert command.main(["regrid"]) == 1
    assert "Others use 1.5 cores of this machine" in capsys.readouterr().err


def test_an_unknown_script_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    assert "no script nothing: there are" in capsys.readouterr().err


def test_cores_of_others_leave_out_our_own():
    others = _machine.Others()
    others.start = (others.start[0] - 10, others.start[1] - 8, others.start[2] - 3)
    assert others.cores() == pytest.approx(0.5, abs=0.1)


def test_growth_of_time_and_memory(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(_report, "RESULTS", tmp_path)
    rows = [{"comparison": "c", "call": call, "ours": call == "a", "size": n, "unit": "pixels",
             "timed": "a call", "seconds": [t], "best": t, "spread": 1.0, "memory_before_mb": 1,
             "times_as_long_as_ours": t / n, "peak_memory_mb": 100 + 8 * n // 1_000_000}
            for call, power in (("a", 1), ("b", 2)) for n in (10**6, 10**7)
            for t in [float(n) ** power]]  # fmt: skip
    _report.write("example", measured | {"rows": rows})
    table = _report.table().set_index(["call", "size"])
    assert table["time_growth"].tolist() == [1, 1, 2, 2]
    assert table["bytes_per_unit"].tolist() == [8, 8, 8, 8]
    assert _report.ratios().to_numpy().tolist() == [[10**6, 10**7]]
    assert _report.figure().axes


# -- the committed results ------------------------------------------------------------------------


def require_schema(content: dict) -> None:
    assert {key: type(content[key]) for key in _report.HEAD} == _report.HEAD
    assert content["mode"] in ("bench", "full", "trial")
    assert content["idle"] == (content["cores_used_by_others"] <= _machine.IDLE)
    for row in content["rows"]:
        assert {key: type(row[key]) for key in _report.ROW} == _report.ROW
        if "not_run" in row:
            assert row["not_run"] and not row["ours"]
        else:
            assert {key: type(row[key]) for key in _report.MEASURED} == _report.MEASURED


@result
def test_a_committed_result_has_the_schema_and_covers_its_script(path):
    content = json.loads(path.read_text())
    require_schema(content)
    name = path.stem.removesuffix("_full")
    assert (content["mode"] == "full") == path.stem.endswith("_full")
    expected = {
        (comparison.title, call, size)
        for comparison in importlib.import_module(f"benchmarks.{name}").COMPARISONS
        for call in comparison.calls()
        for size in comparison.sizes_of(content["mode"])
    }
    assert {(r["comparison"], r["call"], r["size"]) for r in content["rows"]} == expected


def test_every_script_that_needs_no_gpu_has_a_result():
    assert set(_runner.NAMES) - {"interimage_gpu"} <= set(_report.measured())


def test_the_table_is_that_of_the_results():
    stored = pd.read_csv(_report.RESULTS / "table.csv")
    pd.testing.assert_frame_equal(stored, _report.table(), check_dtype=False)
    assert (_report.RESULTS / "figure.png").stat().st_size > 10_000


def test_the_page_states_no_number_of_its_own():
    """Times, ratios and memory stand in what its cells show, not in its prose."""
    page = (ROOT / "performance.md").read_text().split("---", 2)[2]
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    numbers = re.findall(r"\d+", prose)
    assert set(numbers) <= {"1", "2"}, "the exponent of linear growth is all that prose may name"


def test_the_page_shows_every_result(capsys, monkeypatch):
    page = (ROOT / "performance.md").read_text()
    cells = re.findall(
        r"^```\{code-cell\} ipython3\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL
    )
    code = [re.sub(r"\A(?:---\n(?:.*\n)*?---\n|(?::\w+:.*\n)+)", "", cell)
            for cell in cells]  # fmt: skip
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    exec("\n".join(code), {})
    tables = [one for one in shown if isinstance(one, pd.DataFrame)]
    assert len(tables) == len(_report.measured())
    assert sum(map(len, tables)) == len(_report.table())
