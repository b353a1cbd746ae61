"""The environment, the import rules of the package, and the commands of the Makefile."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "cookbook_utils").rglob("*.py")
)

# A module imports only from floors below its own; the parts of one subpackage from each other too.
FLOORS = [
    {"_checks", "_command", "_compiling", "_gdal", "_hashing", "_threads"},
    {"_files"},
    {"_conventions", "_npz"},
    {
        "_change",
        "_gaps",
        "_models",
        "_nystroem",
        "_palette",
        "_resampling",
        "_samples",
        "_stratified",
        "_vectors",
        "clouds",
        "stacking",
        "scaling",
        "indices",
        "shards",
    },
    {
        "_deliveries",
        "_maps",
        "_naming",
        "areas",
        "datasets",
        "regridding",
        "spectral",
        "_water",
        "metrics",
        "simulate",
        "graph",
        "interimage",
    },
    {"_bokeh", "_figures", "export", "insar", "labels", "minibatch"},
    {"accuracy", "plotting", "reservoir", "views"},
    {"cli"},
    {"__main__"},
]
# Imported inside the function that needs them, so that a reader without them can use the rest.
ON_DEMAND = [
    "IPython", "bokeh", "cartopy", "cupy", "cupyx", "dask_ml", "geopandas", "geoviews", "holoviews",
    "hvplot", "matplotlib", "panel", "pyogrio", "pystac", "rasterio", "requests", "rioxarray",
    "shapely", "sklearn",
]  # fmt: skip


# Modules of estimators, which inherit from scikit-learn when they are imported.
ESTIMATORS = ("interimage", "minibatch", "reservoir", "spectral")


def is_estimator(module: str) -> bool:
    return module.split(".")[1:2] in [[name] for name in ESTIMATORS]


def marker_environment(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": "",
    }


def locked(python: str) -> dict[str, str]:
    """Return what the lock pins for one Python: name to version."""
    pins: dict[str, str] = {}
    for line in re.findall(r"^[A-Za-z0-9][^\\\n]*", LOCK, flags=re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(marker_environment(python)):
            name = canonicalize_name(requirement.name)
            assert name not in pins, f"the lock pins {name} twice for Python {python}"
            pins[name] = str(requirement.specifier).removeprefix("==")
    return pins


def stated(python: str, *extras: str) -> dict[str, Requirement]:
    """Return what pyproject.toml asks for one Python, in its own groups and these extras."""
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in extras)]
    requirements = [Requirement(text) for group in groups for text in group]
    return {
        canonicalize_name(r.name): r
        for r in requirements
        if r.marker is None or r.marker.evaluate(marker_environment(python))
    }


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_lock_fulfills_the_ranges_of_pyproject(python):
    pins = locked(python)
    asked = stated(python, "archives", "plot", "insar", "book", "dev")
    asked.pop(canonicalize_name(PROJECT["name"]))
    outside = {
        name: f"{pins.get(name)} is not {requirement.specifier}"
        for name, requirement in asked.items()
        if name not in pins or pins[name] not in requirement.specifier
    }
    assert outside == {}


def test_lock_names_no_index_and_hashes_everything():
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", strip_comments(LOCK))
    entries = re.split(r"\n(?=[A-Za-z0-9])", strip_comments(LOCK).strip())
    assert len(entries) > 100
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def strip_comments(text: str) -> str:
    return re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)


def test_environment_yml_has_the_versions_of_the_lock():
    conda = dict((*line.split("="), "")[:2] for line in ENVIRONMENT if isinstance(line, str))
    (pip,) = (item["pip"] for item in ENVIRONMENT if isinstance(item, dict))
    assert "-e ." in pip
    python = conda.pop("python")
    assert conda.pop("pip") == ""
    pinned = conda | dict(line.split("==") for line in pip if line != "-e .")

    pins = locked(python)
    names = set(stated(python, "archives", "cluster", "plot", "insar", "book")) | {"distributed"}
    names.discard(canonicalize_name(PROJECT["name"]))
    assert pinned == {name: pins[name] for name in names}


def test_binder_has_the_versions_of_environment_yml():
    """It lies one folder below, from where pip finds the package."""
    expected = (ROOT / "environment.yml").read_text().replace("- -e .\n", "- -e ..\n")
    assert (ROOT / ".binder" / "environment.yml").read_text() == expected


def test_environment_gpu_adds_the_cupy_of_the_extras():
    added = yaml.safe_load((ROOT / "environment-gpu.yml").read_text())
    base = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert (added["name"], added["channels"]) == (base["name"], base["channels"])
    cupy, cuda = added["dependencies"]
    extras = {f"cuda{n}": PROJECT["optional-dependencies"][f"cuda{n}"] for n in (12, 13)}
    asked = {str(Requirement(text).specifier) for extra in extras.values() for text in extra}
    assert {cupy} == {f"cupy{specifier}" for specifier in asked}
    assert f"cuda{cuda.removeprefix('cuda-version=')}" in extras


def test_colab_gets_the_locked_versions(tmp_path):
    """The command of the page turns the lock into constraints, which have no hashes."""
    page = (ROOT / "workshop" / "hub.md").read_text()
    command = re.search(r"^!(sed .*) > locked\.txt$", page, flags=re.MULTILINE)[1]
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    constraints = [Requirement(line) for line in done.stdout.splitlines()]
    assert len(constraints) == len(re.findall(r"^[A-Za-z0-9]", LOCK, flags=re.MULTILINE))
    assert all(re.fullmatch("==[^,*]+", str(each.specifier)) for each in constraints)


def test_supported_pythons_are_the_same_everywhere():
    classifiers = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    assert PROJECT["requires-python"] == f">={classifiers[0]}"
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == classifiers


def test_cupy_is_optional():
    assert {"cuda12", "cuda13"} <= set(PROJECT["optional-dependencies"])
    assert not any("cupy" in name for name in locked("3.12"))


def test_import_loads_nothing_heavy():
    """Import all modules one after the other; estimators, which inherit from scikit-learn, last."""
    modules = sorted(MODULES, key=is_estimator)
    code = f"""
import importlib, sys
heavy = set({ON_DEMAND})
estimators = {list(filter(is_estimator, MODULES))}
for module in {modules}:
    importlib.import_module(module)
    heavy -= {{"sklearn"}} if module in estimators else set()
    if loaded := heavy & sys.modules.keys():
        sys.exit(f"{{module}} loads {{loaded}}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [name for name in MODULES if "." in name])
def test_module_imports_only_from_floors_below(module):
    top = module.split(".")[1]
    floors = [floor for floor, names in enumerate(FLOORS) if top in names]
    assert floors, f"{top} stands on no floor: add it to FLOORS"
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    used = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            above = [*path.relative_to(ROOT).parent.parts, ""][: -node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        used.update(name.split(".")[1] for name in names if name.startswith("cookbook_utils."))
    assert used <= set().union({top}, {"__version__"}, *FLOORS[: floors[0]])


def test_make_help_lists_every_target_that_the_readme_names():
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    code = re.findall(r"^```\n.*?^```|`[^`\n]+`", text, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(code)))
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^make ([a-z]+) ", done.stdout, flags=re.MULTILINE))
    assert {"env", "check", "book", "test"} <= named
    assert named <= listed


def test_make_refuses_an_old_python(tmp_path):
    """A Python below 3.11 ends the first step with one clear message and no environment."""
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.4"\nexit 1\n')
    old.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["make", "book", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.10.4" in done.stderr
    assert not (tmp_path / ".venv").exists()
