"""The workshop kit: learners' copies, their checks, the archive, and the pages for teachers."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import nbformat
import numpy as np
import pytest
import xarray as xr
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from cookbook_utils.cli.check import CHECKS
from workshop import archive, chapters, hub, learner, proof, wheels
from workshop.checks import Check, CheckFailed
from workshop.slicing import needed_cells

ROOT = Path(__file__).parents[1]
CHAPTERS = [path.stem for path in learner.CHAPTERS]
TABLES = sorted(path.stem for path in learner.BLANKS.glob("*.yml"))
FASTEST = ("01_loading", "02_reshaping")

with_blanks = pytest.mark.parametrize("name", TABLES)


def tags(cell):
    return cell.metadata.get("tags", [])


# --- Learners' copies ----------------------------------------------------------------------------


def test_tables_are_of_chapters():
    assert set(TABLES) <= set(CHAPTERS)
    assert TABLES == CHAPTERS[1 : len(TABLES) + 1], "all chapters but the introduction have blanks"


@with_blanks
def test_copy_has_a_check_below_each_blank(name):
    notebook = learner.learner_copy(name)
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    blanks = proof.in_order(name)
    assert len(blanks) == len(learner.read_blanks(name)) >= 3
    for number, blank in enumerate(blanks, 1):
        at = [cell.id for cell in notebook.cells].index(f"learner-blank-{number}")
        above, check = notebook.cells[at : at + 2]
        assert above.source.endswith(f"\n{blank['name']} = ...")
        assert f"# Blank {number}. {blank['task'].split()[0]}" in above.source
        assert max(map(len, above.source.splitlines())) <= 79
        assert "check" in tags(check) and check.metadata["jupyter"]["source_hidden"]
        ast.parse(check.source)


@with_blanks
def test_solved_copy_has_the_code_of_the_chapter(name):
    def code(cells):
        """The code of a notebook without comments, blank lines, checks and magics."""
        sources = [cell.source for cell in cells if cell.cell_type == "code"]
        sources = [re.sub(r"^%.*", "", source, flags=re.MULTILINE) for source in sources]
        lines = "\n".join(ast.unparse(ast.parse(source)) for source in sources).splitlines()
        return [line for line in lines if line]

    copied = learner.learner_copy(name, solved=True).cells
    assert code(cell for cell in copied if "check" not in tags(cell)) == code(
        learner.read_chapter(name).cells
    )


@with_blanks
def test_nothing_gives_the_answer(name):
    """Neither the task nor a message holds the code that is left out."""
    chapter = learner.read_chapter(name)
    for blank in learner.read_blanks(name):
        (cell,) = [cell for cell in chapter.cells if cell.id == blank["cell"]]
        answer = ast.unparse(learner.find_assignment(cell, blank["name"]).value)
        told = [blank["task"], *(check["else"] for check in blank["checks"] if "else" in check)]
        assert not any(answer in text for text in told)
        assert answer not in [ast.unparse(ast.parse(text)) for text in blank["mistakes"]]
        assert blank["checks"] and len(blank["mistakes"]) >= 2


@pytest.mark.parametrize("name", CHAPTERS)
def test_solutions_of_exercises_are_folded(name):
    cells = learner.learner_copy(name).cells
    exercises = 0
    for above, cell in zip(cells, cells[1:], strict=False):
        if "solution" in tags(cell):
            assert cell.metadata["jupyter"] == learner.FOLDED
        if cell.id.startswith("learner-answer-"):
            exercises += 1
            assert f"**Exercise {cell.id.removeprefix('learner-answer-')}.**" in above.source
        assert not cell.source.startswith("**Solution.**")
    assert exercises >= 2


def make_chapter(monkeypatch, source, **blank):
    """Let a chapter be one cell, and its table one blank in it."""
    chapter = new_notebook(cells=[new_markdown_cell("# 1"), new_code_cell(source, id="only")])
    blank = {
        "cell": "only",
        "name": "y",
        "task": "Square it.",
        "checks": [],
        "mistakes": [],
    } | blank
    for module in (learner, proof):
        monkeypatch.setattr(module, "read_blanks", lambda name: [blank])
    monkeypatch.setattr(learner, "read_chapter", lambda name: chapter)


def test_cell_is_cut_below_the_blank(monkeypatch):
    make_chapter(monkeypatch, "x = 3\ny = (\n    x**2\n)\nprint(y)")
    *_, blank, check, rest = learner.learner_copy("any").cells
    assert blank.source == "x = 3\n# Blank 1. Square it.\ny = ..."
    assert check.source.splitlines()[2:] == ['_check = Check("y", y)', "_check.passed()"]
    assert (rest.source, rest.id) == ("print(y)", "only")
    solved = learner.learner_copy("any", solved=True).cells[-3]
    assert solved.source.endswith("y = (\n    x**2\n)")


@pytest.mark.parametrize(
    ("blank", "message"),
    [
        ({"cell": "other"}, r"has no cell \['other'\]"),
        ({"name": "z"}, "must assign `z` once, got 0"),
        ({"name": "x"}, "must assign `x` once, got 2"),
        ({"name": "i"}, "must assign `i` once, got 0"),
    ],
)
def test_table_that_does_not_fit_the_chapter(monkeypatch, blank, message):
    make_chapter(monkeypatch, "x = 3\nx = 4\nfor n in 1, 2:\n    i = n\ny = x", **blank)
    with pytest.raises(ValueError, match=message):
        learner.learner_copy("any")


def test_answers_are_never_overwritten(tmp_path):
    command = [sys.executable, "-m", "workshop.learner", tmp_path / "learner"]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.stdout.startswith(f"{len(CHAPTERS)} chapters in ")
    answered = tmp_path / "learner" / "01_loading.ipynb"
    answered.write_text("mine")
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 2 and "must hold no notebooks" in again.stderr
    assert answered.read_text() == "mine"


# --- Checks --------------------------------------------------------------------------------------

ARRAY = xr.DataArray(np.array([[0.0, 1.0, np.nan]]), dims=("y", "x"))


@pytest.mark.parametrize(
    ("value", "kind", "arguments", "message"),
    [
        ([1], "type", (np.ndarray,), "must be of the type ndarray, but is a list"),
        ("a", "type", ((int, float),), "must be of the type int or float, but is a str"),
        (ARRAY, "shape", ((3, 1),), r"must have the shape \(3, 1\), but has \(1, 3\)"),
        (ARRAY, "dims", ("x", "y"), r"must have the dimensions \('x', 'y'\), but has \('y', 'x'\)"),
        (3, "dims", ("x",), r"but has \(\)"),
        (ARRAY, "dtype", (bool,), "numbers of the type bool, but holds float64"),
        (ARRAY, "between", (0, 0.5), "between 0 and 0.5, but goes from 0 to 1"),
        (np.array([np.nan]), "between", (0, 1), "holds no number"),
        (3, "that", (lambda: False, "it is odd"), "^`x`: it is odd$"),
        (3, "that", (lambda: 1 / 0, "it is odd"), "could not be checked .*ZeroDivisionError"),
    ],
)
def test_check_says_what_is_wrong(value, kind, arguments, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        getattr(Check("x", value), kind)(*arguments)
    assert caught.value._render_traceback_() == [f"Not yet: {caught.value}"]


@pytest.mark.parametrize("value", [..., None])
def test_blank_is_told(value):
    with pytest.raises(CheckFailed, match="^`x` is still blank"):
        Check("x", value)


def test_right_answer_passes(capsys):
    check = Check("x", ARRAY)
    check.type(xr.DataArray)
    check.shape((1, 3))
    check.dims("y", "x")
    check.dtype("float64")
    check.between(0, 1)
    check.that(lambda: True, "never said")
    check.passed()
    assert capsys.readouterr().out == "x: correct\n"


def test_cells_that_others_need():
    sources = {
        "magic": "%matplotlib inline",
        "import": "import numpy as np",
        "a": "a = np.zeros(3)",
        "figure": "np.testing.assert_equal(a, 0)\nfig = draw(a)",
        "item": "a[0] = 1",
        "loop": "for i in 1, 2:\n    a.append(i)",
        "old": "b = 3",
        "function": "def double(x):\n    return 2 * x * factor",
        "factor": "factor = 2",
        "b": "b = double(a)",
    }
    cells = [new_code_cell(source, id=name) for name, source in sources.items()]
    kept = [cell.id for cell in needed_cells(cells, cells[-1:])]
    assert kept == [name for name in sources if name not in ("figure", "old")]


@pytest.mark.slow
def test_proof_finds_a_mistake_that_passes(monkeypatch):
    checks = [{"that": "y > 3", "else": "it is too small"}]
    make_chapter(monkeypatch, "x = 3\ny = x**2", checks=checks, mistakes=["x", "2 * x", "no"])
    told = proof.prove("any")
    assert told["1. y"]["x"] == "told: `y`: it is too small"
    assert [line.split(": ")[1] for line in proof.unnoticed(told)] == ["'2 * x'", "'no'"]


@pytest.mark.slow
@with_blanks
def test_checks_pass_with_solutions_and_fail_with_blanks_and_mistakes(name):
    if name not in FASTEST and not os.environ.get("COOKBOOK_WORKSHOP"):
        pytest.skip("takes minutes for all chapters: COOKBOOK_WORKSHOP=1 asks for it")
    told = proof.prove(name, whole=False)
    assert len(told) == len(learner.read_blanks(name))
    assert proof.unnoticed(told) == []


# --- The archive ---------------------------------------------------------------------------------

LOCK = """\
appnope==1.0.0 ; sys_platform == 'darwin' \\
    --hash=sha256:00
pywinpty==3.1.2 ; os_name == 'nt' \\
    --hash=sha256:01
soupsieve==2.10 ; python_full_version < '3.11.5' \\
    --hash=sha256:02
soupsieve==4.1.1 ; python_full_version >= '3.11.5' \\
    --hash=sha256:03
numpy==2.4.6 \\
    --hash=sha256:04
    --hash=sha256:05
"""


@pytest.mark.parametrize(
    ("platform", "release", "expected"),
    [
        ("linux", "3.11.0", ["soupsieve==2.10", "numpy==2.4.6"]),
        ("macos", "3.12.0", ["appnope==1.0.0", "soupsieve==4.1.1", "numpy==2.4.6"]),
        ("windows", "3.11.99", ["pywinpty==3.1.2", "soupsieve==4.1.1", "numpy==2.4.6"]),
    ],
)
def test_requirements_of_a_platform(platform, release, expected):
    kept = [
        (f"{requirement.name}{requirement.specifier}", entry.count("--hash"))
        for requirement, entry in wheels.entries(LOCK)
        if wheels.applies(requirement, wheels.PLATFORMS[platform], release)
    ]
    assert [name for name, _ in kept] == expected
    assert kept[-1][1] == 2


def test_wheels_for_both_kinds_of_a_python(monkeypatch, tmp_path):
    """Python 3.11.2, which Debian 12 has, needs another version of a package than 3.11.9."""
    asked = []
    monkeypatch.setattr(wheels, "run", lambda *a: asked.append(Path(a[-1]).read_text()))
    (tmp_path / "lock.txt").write_text(LOCK)
    wheels.download(tmp_path / "lock.txt", tmp_path, wheels.PLATFORMS["linux"], "3.11")
    assert not any(";" in text for text in asked), "pip would evaluate markers for its own Python"
    assert [re.findall(r"^\w+==\S+", text, re.M) for text in asked] == [
        ["numpy==2.4.6", "soupsieve==2.10"],
        ["soupsieve==4.1.1"],
    ]


def test_message_of_a_failed_download():
    with pytest.raises(SystemExit, match="(?s)pip failed:\n.*no such option"):
        wheels.run("pip", "download", "--nothing")


@pytest.mark.slow
def test_archive_holds_all_that_a_learner_needs(tmp_path):
    book, found, requirements = tmp_path / "book", tmp_path / "wheels", tmp_path / "lock.txt"
    for folder, name in ((book, "index.html"), (found, "numpy-1-cp312-none-any.whl")):
        folder.mkdir()
        (folder / name).write_text(name)
    requirements.write_text(LOCK)
    target = tmp_path / "workshop.zip"
    size = archive.pack(target, book, found, requirements, ["3.12"])
    assert size == target.stat().st_size
    with ZipFile(target) as packed:
        names = {name.removeprefix(f"{archive.NAME}/") for name in packed.namelist()}
        start = packed.read(f"{archive.NAME}/START.txt").decode()
    assert "Python 3.12)" in start
    expected = {
        f"{folder}/{name}.ipynb" for folder in ("learner", "notebooks") for name in CHAPTERS
    }
    expected |= {"book/index.html", "wheels/numpy-1-cp312-none-any.whl", "requirements.txt"}
    expected |= {"install.py", "pyproject.toml", "README.md", "LICENSE", "learner/checks.py"}
    expected |= {"learner/images/01_loading.svg", "cookbook_utils/__init__.py", "data/catalog.yml"}
    expected |= {"cookbook_utils/interimage/kernels.cu", "data/simulated/landsat_5_small/B1.tif"}
    expected |= {"benchmarks/results/interimage_scale.json"}
    assert expected <= names
    assert not any("__pycache__" in name or name.endswith(".partial") for name in names)


def test_install_refuses_a_python_without_wheels(tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "numpy-2.5.5-cp399-cp399-win_amd64.whl").touch()
    install = tmp_path / "install.py"
    install.write_bytes((ROOT / "workshop" / "install.py").read_bytes())
    done = subprocess.run([sys.executable, install], capture_output=True, text=True)
    assert done.returncode == 1
    assert "The wheels are for Python 3.99; this is Python 3." in done.stdout
    assert not (tmp_path / ".venv").exists()


# --- The pages -----------------------------------------------------------------------------------


def page(name: str) -> str:
    return (ROOT / "workshop" / f"{name}.md").read_text()


def test_plans_of_the_guide_add_up_and_leave_time_to_learn():
    rows = re.findall(r"^\| (\d):(\d\d) \| (\d+) \| (.*) \|$", page("guide"), re.MULTILINE)
    assert len(rows) > 12
    for (hour, minute, length, _), following in zip(rows, rows[1:], strict=False):
        end = int(hour) * 60 + int(minute) + int(length)
        lunch = 60 if (hour, minute) == ("3", "50") else 0
        assert end + lunch == int(following[0]) * 60 + int(following[1])
    for _, _, length, what in rows:
        if chapter := re.search(r"notebooks/(\w+)\.ipynb", what):
            text = "\n".join(cell.source for cell in learner.read_chapter(chapter[1]).cells)
            assert int(length) >= int(re.search(r"Time to learn\*\*: (\d+)", text)[1])
            blanks = what.partition("blank")[2].partition(";")[0]
            last = max(map(int, re.findall(r"\d+", blanks)), default=0)
            assert last <= len(learner.read_blanks(chapter[1]))


def test_setup_page_shows_the_lines_of_the_self_test():
    shown = re.findall(r"^ok   (\w+) ", page("setup"), re.MULTILINE)
    assert shown == list(CHECKS)


MEASURED = {
    "command": "python -m workshop.chapters",
    "date": "2026-11-26",
    "device": "a processor, 2 cores",
    "python": "3.12.1",
    "server_memory_mb": 100,
    "rows": [
        {"chapter": "00_introduction", "cpu_seconds": 12.4, "peak_memory_mb": 400},
        {"chapter": "10_more", "cpu_seconds": 90.0, "peak_memory_mb": 1400},
    ],
}


def test_hub_page_is_filled_with_what_was_measured():
    text = hub.filled(page("hub"), MEASURED)
    assert "| 0 | 12 | 0.40 |\n| 10 | 90 | 1.40 |\n\n" in text
    assert "at once hold 60 GB" in text and "ask for 60 minutes of CPU" in text
    assert "on 16 cores 3.8." in text and "holds another 0.10 GB." in text
    assert hub.filled(text, MEASURED) == text


def test_hub_page_has_the_measured_numbers():
    """After `python -m workshop.chapters`, run `python -m workshop.hub`."""
    if result := chapters.read():
        assert hub.filled(page("hub"), result) == page("hub")
    else:
        assert f"{hub.START}\n{hub.END}\n" in page("hub")
