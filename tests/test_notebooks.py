"""Every chapter: one skeleton, no stored output, and a run without network in less than 2 GB."""

from __future__ import annotations

import copy
import functools
import itertools
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from jupyter_cache import get_cache
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from pybtex.database import parse_file

from workshop.chapters import MemoryWatch

from .promises import alt_text, caption, code_cells, promises_view

ROOT = Path(__file__).parents[1]
CHAPTERS = [
    "00_introduction",
    "01_loading",
    "02_reshaping",
    "03_standardizing",
    "04_spectral_clustering",
    "05_regridding",
    "06_minibatch_kmeans_insar",
    "07_graph_smoothing",
    "08_interimage_kmeans",
    "09_your_own_scenes",
    "10_from_laptop_to_cluster",
]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
REAL_IMAGES = re.compile(r"\b(betsiboka|pucallpa|ustica|walker_lake)\b")
MEMORY_LIMIT = 2e9  # bytes
LONGEST_CELL = 30  # lines

NAMES = sorted({*CHAPTERS, *NOTEBOOKS})
chapter = pytest.mark.parametrize("name", NAMES)
slow = pytest.mark.slow


@functools.cache
def read(name: str) -> NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def is_solution(cell: NotebookNode) -> bool:
    """Return whether a cell is code tagged as a solution, or the prose that explains it."""
    if cell.cell_type == "code":
        return {"solution", "hide-cell"} <= tags(cell)
    return cell.source.startswith("**Solution.**")


def headings(name: str) -> list[tuple[int, str, int]]:
    """Return level, text and number of the cell of every heading, in order."""
    found = []
    for number, cell in enumerate(read(name).cells):
        if cell.cell_type == "markdown":
            prose = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            for marks, text in re.findall(r"^(#+) +(.+?) *$", prose, flags=re.MULTILINE):
                found.append((len(marks), text, number))
    return found


def section(name: str, title: str) -> str:
    """Return the Markdown between one second-level heading and the next."""
    markdown = "\n\n".join(c.source for c in read(name).cells if c.cell_type == "markdown")
    match = re.search(rf"^## {re.escape(title)} *\n(.*?)(?=^## |\Z)", markdown, re.M | re.S)
    assert match, f"no section '## {title}'"
    return match[1]


# --- The file ------------------------------------------------------------------------------------


@chapter
def test_outputs_are_stripped(name):
    nbformat.validate(read(name))
    kept = [i for i, c in enumerate(code_cells(read(name))) if c.outputs or c.execution_count]
    assert kept == [], "run nbstripout: these code cells hold outputs or counts"
    assert read(name).metadata.kernelspec.name == "python3"


@chapter
def test_cells_are_short(name):
    lengths = {i: c.source.count("\n") + 1 for i, c in enumerate(read(name).cells)
               if c.cell_type == "code"}  # fmt: skip
    assert {i: n for i, n in lengths.items() if n > LONGEST_CELL} == {}


@chapter
def test_every_picture_in_the_text_has_alt_text(name):
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"!\[\s*\]\(", cell.source), cell.source
            for image in re.findall(r"<img\b[^>]*>", cell.source):
                assert re.search(r'\balt="[^"]+"', image), image
            for figure in re.findall(r"^```\{(?:image|figure)\}.*?^```", cell.source, re.M | re.S):
                assert re.search(r"^:alt: *\S", figure, re.M), figure


# --- The skeleton --------------------------------------------------------------------------------


@chapter
def test_numbered_title_picture_and_one_title(name):
    first = read(name).cells[0]
    assert first.source.startswith(f"# {int(name[:2])}. "), "the number of the chapter"
    assert [text for level, text, _ in headings(name) if level == 1] == [
        re.match(r"# (.+)", first.source)[1]
    ]
    picture = re.search(r"!\[[^]]+\]\(([^)]+)\)", first.source)
    assert (ROOT / "notebooks" / picture[1]).is_file()


@chapter
def test_opens_with_a_question_and_ends_with_the_answer_as_a_picture(name):
    first = read(name).cells[0].source
    assert re.search(r"^\*\*[^*]+\?\*\*$", first, flags=re.MULTILINE), "a question in bold"
    _, _, objectives = first.partition("After this chapter you can\n\n")
    assert 3 <= len(re.findall(r"^- ", objectives, flags=re.MULTILINE)) <= 5
    figures = {cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
               for cell in code_cells(read(name))}  # fmt: skip
    assert figures & set(re.findall(r"\{numref\}`([^`]+)`", section(name, "Summary")))


@chapter
def test_sections_come_in_order(name):
    titles = [text for level, text, _ in headings(name) if level == 2]
    assert titles[:3] == ["Overview", "Prerequisites", "Imports"]
    assert titles[-4:] == ["Exercises", "Summary", "Quiz", "References"]
    assert len(titles[3:-4]) >= 2, "the body needs sections of its own"
    assert "### What's next?" in section(name, "Summary")


@chapter
def test_overview_mirrors_the_headings(name):
    items = re.findall(r"^(\d+)\. +(.+?) *$", section(name, "Overview"), flags=re.MULTILINE)
    titles = [text for level, text, _ in headings(name) if level == 2][3:-3]
    assert items == [(str(number), title) for number, title in enumerate(titles, start=1)]


@chapter
def test_prerequisites_are_a_table_with_the_time_to_learn(name):
    text = section(name, "Prerequisites")
    header, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "Concepts", "Importance", "Notes",
    ]  # fmt: skip
    assert all(row.split("|")[2].strip() in ("Necessary", "Helpful") for row in rows)
    minutes = re.search(r"\*\*Time to learn\*\*: (\d+) minutes", text)[1]
    front_page = (ROOT / "intro.md").read_text()
    assert re.search(rf"\(notebooks/{name}\.ipynb\) \|.*\| {minutes} \|", front_page)


@chapter
def test_imports_come_first(name):
    """All code stands below "Imports", and the section holds imports."""
    (imports,) = [i for level, text, i in headings(name) if (level, text) == (2, "Imports")]
    first = next(i for i, cell in enumerate(read(name).cells) if cell.cell_type == "code")
    assert first == imports + 1
    assert re.search(r"^(import|from) ", read(name).cells[first].source, flags=re.MULTILINE)


@chapter
def test_every_exercise_has_a_folded_solution(name):
    """Each exercise, in the flow or at the end, is followed by the code cells that solve it."""
    cells = read(name).cells
    starts = [i for i, cell in enumerate(cells)
              if cell.cell_type == "markdown" and "**Exercise " in cell.source]  # fmt: skip
    numbers = [n for i in starts for n in re.findall(r"\*\*Exercise (\d+)\.\*\*", cells[i].source)]
    assert numbers == [str(n + 1) for n in range(max(2, len(starts)))]
    solved = set()
    for start in starts:
        after = itertools.takewhile(lambda i: is_solution(cells[i]), range(start + 1, len(cells)))
        code = [i for i in after if cells[i].cell_type == "code"]
        assert code, cells[start].source
        solved.update(code)
    tagged = {i for i, cell in enumerate(cells) if "solution" in tags(cell)}
    assert tagged == solved, "a solution stands below its exercise"
    headings_at = {text: i for level, text, i in headings(name) if level == 2}
    closing = range(headings_at["Exercises"], headings_at["Summary"])
    assert {i for i in closing if cells[i].cell_type == "code"} <= solved


@chapter
def test_prose_of_a_solution_is_one_paragraph(name):
    """A page folds the paragraph below the code of a solution together with it, and no more."""
    prose = [c.source for c in read(name).cells if c.source.startswith("**Solution.**")]
    assert [text for text in prose if "\n\n" in text.strip()] == []


ANSWER = re.compile(
    r'<details class="quiz">\n<summary>(?P<answer>.+)</summary>\n\n'
    r"\*\*(?P<verdict>Right|Wrong)\.\*\* (?P<reason>.+)\n\n</details>"
)


@chapter
def test_quiz_has_one_right_answer_and_a_reason_for_each(name):
    text, *parts = re.split(
        r"^\*\*Question (\d+)\.\*\* ", section(name, "Quiz"), flags=re.MULTILINE
    )
    numbers, questions = parts[::2], parts[1::2]
    assert numbers == [str(n + 1) for n in range(len(numbers))] and 3 <= len(numbers) <= 5
    assert "Open an answer" in text
    right_places = set()
    for question in questions:
        answers = list(ANSWER.finditer(question))
        assert ANSWER.sub("", question).strip().endswith("?"), "text that is no answer"
        verdicts = [answer["verdict"] for answer in answers]
        assert len(answers) >= 3 and verdicts.count("Right") == 1, question
        right_places.add(verdicts.index("Right"))
        for part in ("answer", "reason"):
            assert len({answer[part] for answer in answers}) == len(answers), question
        assert min(len(answer["reason"].split()) for answer in answers) >= 5, question
    assert len(right_places) > 1, "the right answer always has the same place"


def cited(name: str) -> set[str]:
    """Return the keys of the papers that the prose of a chapter cites."""
    prose = "\n".join(c.source for c in read(name).cells if c.cell_type == "markdown")
    roles = re.findall(r"\{cite:\w+\}`([^`]+)`", prose)
    return {key.strip() for keys in roles for key in keys.split(",")}


@chapter
def test_references_give_sources(name):
    text = section(name, "References")
    assert ("{bibliography}\n:filter: docname in docnames\n" in text) == bool(cited(name))
    assert cited(name) or re.search(r"\]\(https?://[^)]+\)", text)


def test_papers_are_cited_and_can_be_found():
    papers = parse_file(ROOT / "references.bib", bib_format="bibtex").entries
    assert set(papers) == set().union(*map(cited, NAMES))
    assert [key for key, paper in papers.items() if not {"doi", "url"} & set(paper.fields)] == []
    doi = re.compile(r"10\.\d{4,}/\S+")
    assert [key for key, paper in papers.items()
            if not doi.fullmatch(paper.fields.get("doi", "10.0000/none"))] == []  # fmt: skip


# --- The execution -------------------------------------------------------------------------------


class Execution(NamedTuple):
    notebook: NotebookNode
    seconds: float
    peak_memory: int  # bytes, of the kernel and of every process it started
    leftovers: list[str]  # names of what it left in the temporary folder


def execute(notebook: NotebookNode, folder: Path, **environment: str) -> Execution:
    """Run a notebook from top to bottom, as a reader would from its folder."""
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    watch = MemoryWatch(client)
    watch.start()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            client.execute(env=os.environ | {"TMPDIR": temporary} | environment)
        finally:
            watch.stopped.set()
            watch.join()
        leftovers = sorted(os.listdir(temporary))
    return Execution(notebook, time.perf_counter() - start, watch.peak, leftovers)


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    """What a reader has after `git clone` and before `make data`: no real images."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("cookbook_utils", "benchmarks", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    for path in (ROOT / "data").glob("*.*"):
        shutil.copy(path, folder / "data")
    (folder / "data" / "simulated").symlink_to(ROOT / "data" / "simulated")
    return folder


@pytest.fixture(scope="module", params=NAMES)
def run(request, clone) -> Execution:
    """Execute a chapter in a fresh clone without real images, once for all tests."""
    path = os.pathsep.join([str(clone), os.environ["PYTHONPATH"]])
    notebook = copy.deepcopy(read(request.param))
    return execute(notebook, clone / "notebooks", PYTHONPATH=path, COOKBOOK_DATA="")


def printed(notebook: NotebookNode) -> str:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "\n".join(o.get("text", "") or str(o.get("data", {})) for o in outputs)


def names_real_images(notebook: NotebookNode) -> bool:
    return any(REAL_IMAGES.search(cell.source) for cell in code_cells(notebook))


def require_promised_figures(notebook: NotebookNode) -> None:
    """A cell shows the picture that it describes, and describes the picture that it shows.

    An interactive view is drawn, not named: ":Points   [longitude,latitude]" is no figure.
    HoloViews draws nothing in a notebook that has not loaded its scripts by `import hvplot.xarray`.
    """
    wrong = []
    for cell in code_cells(notebook):
        shown = [output.get("data", {}) for output in cell.outputs]
        pictures = sum("image/png" in data for data in shown)
        if pictures != bool(alt_text(cell)) or 0 < len(alt_text(cell).split()) < 4:
            wrong.append(("one picture, described in metadata.mystnb.image.alt", cell.source))
        if caption(cell) and not pictures:
            wrong.append(("a caption without a picture", cell.source))
        is_named = any(data.get("text/plain", "").startswith(":") for data in shown)
        is_drawn = any("data-root-id" in data.get("text/html", "") for data in shown)
        if (is_named or promises_view(cell)) and not is_drawn:
            wrong.append(("a view that is not drawn", cell.source))
    assert wrong == []


def require_taught_errors(notebook: NotebookNode) -> None:
    """A cell tagged raises-exception must raise, and its message must say something."""
    for cell in code_cells(notebook):
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert bool(errors) == ("raises-exception" in tags(cell)), cell.source
        assert all(error.evalue for error in errors)


@slow
def test_chapter_runs_offline_in_less_than_2_gb(run, record_property):
    record_property("seconds", round(run.seconds, 1))
    record_property("peak_memory_mb", round(run.peak_memory / 1e6))
    print(f"{run.seconds:.0f} s, {run.peak_memory / 1e9:.2f} GB")
    assert 0 < run.peak_memory < MEMORY_LIMIT


@slow
def test_chapter_shows_figures_and_errors_as_it_should(run):
    require_promised_figures(run.notebook)
    require_taught_errors(run.notebook)


@slow
def test_chapter_leaves_nothing_in_the_temporary_folder(run):
    assert run.leftovers == []


@slow
def test_chapter_goes_on_without_the_real_images(run):
    """Without network and real files a chapter says what to run, and goes on to its end."""
    assert ("make data" in printed(run.notebook)) == names_real_images(run.notebook)


@slow
@chapter
def test_chapter_of_the_book_shows_the_same_with_the_real_images(name):
    """The book was executed with the real images where they were at hand."""
    cache = ROOT / "_build" / ".jupyter_cache"
    if not cache.is_dir():
        pytest.skip("needs the book: run `make book`")
    # A second build keeps outputs only there, and not in jupyter_execute.
    _, notebook = get_cache(cache).merge_match_into_notebook(read(name))
    require_promised_figures(notebook)
    require_taught_errors(notebook)
    if (ROOT / ".build" / "real-images").read_text().strip():
        assert "make data" not in printed(notebook)


# --- The harness itself --------------------------------------------------------------------------

CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
ASK_A_WORKER = f"""
from dask.distributed import Client, LocalCluster

def connect():
    {CONNECT}

if __name__ == "__main__":
    with LocalCluster(n_workers=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            client.submit(connect).result()
"""


PICTURE = {"image/png": "", "text/plain": "<Figure size 1050x630>"}
NAMED = {"text/plain": ":Points   [longitude,latitude]"}
DESCRIBED = {"image": {"alt": "A line that rises to the right."}}
CAPTIONED = {"figure": {"caption": "A line.", "name": "fig-line"}}


@pytest.mark.parametrize(
    ("source", "promised", "shown"),
    [
        ("plt.plot(x);", {}, [PICTURE]),
        ("plt.plot(x);", DESCRIBED, []),
        ("plt.plot(x);", DESCRIBED, [PICTURE, PICTURE]),
        ("plt.plot(x);", {"image": {"alt": "A line."}}, [PICTURE]),
        ("plt.plot(x);", CAPTIONED, []),
        ("points", {}, [NAMED]),
        ("%matplotlib inline\nx.hvplot.image()", {}, []),
        ("view_points(x)", {}, [NAMED | {"text/html": "<div></div>"}]),
    ],
)
def test_a_figure_that_is_missing_is_noticed(source, promised, shown):
    outputs = [nbformat.v4.new_output("display_data", data) for data in shown]
    cell = nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"mystnb": promised})
    with pytest.raises(AssertionError):
        require_promised_figures(nbformat.v4.new_notebook(cells=[cell]))


@pytest.mark.parametrize(
    ("source", "promised", "shown"),
    [
        ("plt.plot(x);", DESCRIBED | CAPTIONED, [PICTURE]),
        ("view_points(x)", {}, [NAMED | {"text/html": "<div data-root-id='p1'></div>"}]),
        ("def region(x):\n    return hv.Bounds(x)", {}, []),
        ("hv.output(widget_location='bottom')", {}, []),
    ],
)
def test_a_figure_that_is_shown_passes(source, promised, shown):
    outputs = [nbformat.v4.new_output("display_data", data) for data in shown]
    cell = nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"mystnb": promised})
    require_promised_figures(nbformat.v4.new_notebook(cells=[cell]))


@slow
@pytest.mark.parametrize("source", [CONNECT, ASK_A_WORKER], ids=["kernel", "Dask worker"])
def test_network_is_blocked_in(source, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with pytest.raises(CellExecutionError, match="NetworkBlockedError.*192.0.2.1:80"):
        execute(notebook, tmp_path)


@slow
def test_memory_of_child_processes_counts(tmp_path):
    source = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', "
        "'import time; held = bytearray(400_000_000); held[::4096] = bytes(len(held[::4096]));"
        " time.sleep(2)'])"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    assert 400e6 < execute(notebook, tmp_path).peak_memory < 800e6
