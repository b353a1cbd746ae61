"""Pack the workshop: the book, the chapters, learners' copies, the data and wheels, in one file.

Nothing of it needs a network on the learners' computers; packing it does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from cookbook_utils.datasets import DATA_FOLDER, fetch
from cookbook_utils.datasets.files import is_at_hand, read_registry
from workshop.learner import write_learner_copies
from workshop.wheels import PLATFORMS, ROOT, download, resolve

NAME = "satellite-clustering-workshop"
PYTHON = "3.12"
"""The version of `environment.yml`."""

SOURCES = (
    "benchmarks",
    "cookbook_utils",
    "notebooks",
    "CITATION.cff",
    "LICENSE",
    "LICENSE-TEXT",
    "README.md",
    "pyproject.toml",
)
"""What the archive takes from the repository as it is."""

NOT_PACKED = {"__pycache__", ".ipynb_checkpoints", ".complete", "coast_series", ".buildinfo"}
PACKED_ALREADY = {".whl", ".zip", ".png", ".parquet"}

START = """\
Clustering Satellite Data: the workshop

1. Open book/index.html in a browser: the book, which needs no network.
2. In a terminal in this folder:

     python install.py

   (on some computers python3, or py on Windows; Python {pythons})
   It installs the packages into the folder .venv, without a network, and tests them.
3. Start JupyterLab with the command that it prints. The copies for learners, with blanks and
   checks, are in the folder learner; the complete chapters are in the folder notebooks.
   Each chapter starts by itself: no other one has to be run before it.

The page "Setting up" of the book says what to do where a step fails.
"""


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of the folders in it, in order."""
    for path in sorted(folder.iterdir()):
        if path.name in NOT_PACKED:
            continue
        if path.is_dir():
            yield from files_below(path)
        else:
            yield path


def real_files() -> Iterator[tuple[Path, str]]:
    """Yield the real images that are on this machine, each with its name in the archive."""
    for dataset, file in sorted(read_registry(DATA_FOLDER)):
        if is_at_hand(dataset, file):
            yield fetch(dataset, file), f"data/downloads/{dataset}/{file}"


def members(book: Path, wheels: Path, requirements: Path, learner: Path) -> Iterator:
    """Yield what the archive holds: each file, and its name there.

    Parameters
    ----------
    book : pathlib.Path
        The rendered book.
    wheels : pathlib.Path
        A folder of wheels.
    requirements : pathlib.Path
        What pip is to install of them.
    learner : pathlib.Path
        The learners' copies.
    """
    for name in SOURCES:
        path = ROOT / name
        for file in files_below(path) if path.is_dir() else [path]:
            yield file, file.relative_to(ROOT).as_posix()
    for path in sorted(DATA_FOLDER.glob("*.*")):
        yield path, f"data/{path.name}"
    folders = {
        "data/simulated": DATA_FOLDER / "simulated",
        "book": book,
        "learner": learner,
        "wheels": wheels,
    }
    for place, folder in folders.items():
        for file in files_below(folder):
            yield file, f"{place}/{file.relative_to(folder).as_posix()}"
    yield from real_files()
    yield requirements, "requirements.txt"
    yield Path(__file__).parent / "install.py", "install.py"


def pack(target: Path, book: Path, wheels: Path, requirements: Path, pythons: list[str]) -> int:
    """Write the archive, and return its size in bytes.

    Parameters
    ----------
    target : pathlib.Path
        The file to write or replace.
    book, wheels, requirements : pathlib.Path
        As for `members`.
    pythons : list of str
        The versions that the wheels are for.
    """
    unfinished = target.with_suffix(".partial")
    with tempfile.TemporaryDirectory() as folder, ZipFile(unfinished, "w") as archive:
        learner = Path(folder)
        write_learner_copies(learner)
        archive.writestr(f"{NAME}/START.txt", START.format(pythons=" or ".join(pythons)))
        for file, name in members(book, wheels, requirements, learner):
            method = ZIP_STORED if file.suffix in PACKED_ALREADY else ZIP_DEFLATED
            archive.write(file, f"{NAME}/{name}", method)
    os.replace(unfinished, target)
    return target.stat().st_size


def main() -> None:
    """Download the wheels and pack the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="+", default=[PYTHON], help="versions of Python")
    parser.add_argument("--platforms", nargs="+", choices=PLATFORMS, default=list(PLATFORMS))
    parser.add_argument("--book", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=ROOT / ".build" / f"{NAME}.zip")
    options = parser.parse_args()
    if not (options.book / "index.html").is_file():
        parser.error(f"{options.book} must hold the book; run `make book`")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.parent) as folder:
        wheels, requirements = Path(folder) / "wheels", Path(folder) / "requirements.txt"
        wheels.mkdir()
        resolve(requirements)
        for name in options.platforms:
            for python in options.pythons:
                start = time.perf_counter()
                download(requirements, wheels, PLATFORMS[name], python)
                size = sum(path.stat().st_size for path in wheels.iterdir()) / 1e6
                seconds = time.perf_counter() - start
                print(f"{name}, Python {python}: {size:.0f} MB so far, {seconds:.0f} s", flush=True)
        size = pack(options.out, options.book, wheels, requirements, options.pythons)
    print(f"{options.out}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
