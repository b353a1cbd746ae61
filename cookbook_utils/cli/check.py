"""The command ``check``: whether this machine has what the package needs."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata

import numpy as np
import xarray as xr

SUMMARY = "check packages, memory, disk, data and a small run, and say what to mend"
EXAMPLES = """\
  satellite-clustering check
"""
DISTRIBUTION = "satellite-clustering-cookbook"
EXTRAS = ("archives", "insar", "plot")
LEAST_MEMORY = 2 * 2**30  # bytes; no chapter needs more
LEAST_DISK = 2**30  # bytes for scenes, results and scratch files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, of which there are none."""


def run(options: argparse.Namespace) -> int:
    """Print the result of each check, and return 1 if one asks for a remedy."""
    status = 0
    for name, check in CHECKS.items():
        try:
            found, remedy = check()
        except Exception as error:  # whatever a broken installation raises is what is asked for
            found, remedy = f"{type(error).__name__}: {error}", "install the environment anew"
        print(f"{'ok  ' if not remedy else 'MEND'} {name:<9} {found}")
        if remedy:
            print(f"     {'':<9} {remedy}")
            status = 1
    return status


def _check_python() -> tuple[str, str]:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}", ""


def _check_packages() -> tuple[str, str]:
    from packaging.requirements import Requirement

    wrong, n = [], 0
    for extra in ("", *EXTRAS):
        for text in metadata.requires(DISTRIBUTION) or ():
            requirement = Requirement(text)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            if not applies or ("extra" in text) != bool(extra):
                continue
            n += 1
            wrong += _unmet(requirement)
    if not wrong:
        return f"{n} packages in the expected versions", ""
    return "; ".join(wrong), f"pip install '{DISTRIBUTION}[{','.join(EXTRAS)}]' in the environment"


def _unmet(requirement) -> list[str]:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return [f"{requirement.name} is not installed"]
    if requirement.specifier.contains(version, prereleases=True):
        return []
    return [f"{requirement.name} must be {requirement.specifier}, got {version}"]


def _check_memory() -> tuple[str, str]:
    from distributed.system import MEMORY_LIMIT

    found = f"{MEMORY_LIMIT / 2**30:.1f} GiB, {os.cpu_count()} cores"
    if MEMORY_LIMIT >= LEAST_MEMORY:
        return found, ""
    return found, "raise the limit of the container to 2 GiB, or cluster smaller regions (--bbox)"


def _check_disk() -> tuple[str, str]:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    return found, "" if free >= LEAST_DISK else "set TMPDIR to a folder with 1 GiB or more"


def _check_data() -> tuple[str, str]:
    from cookbook_utils.datasets.files import DATA_FOLDER, is_at_hand, read_registry

    files = list(read_registry(DATA_FOLDER))
    n = sum(is_at_hand(*file) for file in files)
    found = f"{n} of {len(files)} real files"
    # Nothing fails without them.
    return found + ("" if n == len(files) else "; satellite-clustering data downloads them"), ""


def _check_run() -> tuple[str, str]:
    """Cluster the same small scene with each engine, and compare the labels."""
    from cookbook_utils.interimage import InterImageKMeans

    values = np.random.default_rng(0).normal(0.1, 0.01, (6, 96, 96)).astype("f4")
    values[:, :, 48:] += np.float32(0.2)
    scene = xr.DataArray(values, dims=("band", "y", "x"))
    times, labels = {}, []
    for engine in _engines():
        start = time.perf_counter()
        given = scene.chunk(x=48, y=48) if engine == "dask" else scene
        model = InterImageKMeans(2, engine=engine, random_state=0).fit(given)
        labels.append(model.labels_.values)
        times[engine] = time.perf_counter() - start
    found = ", ".join(f"{engine} {seconds:.1f} s" for engine, seconds in times.items())
    if all((one == labels[0]).all() for one in labels) and len(np.unique(labels[0])) == 2:
        return f"equal labels from {found}", ""
    return f"different labels from {found}", "install the pinned versions of numba and numpy"


def _engines() -> Iterator[str]:
    from cookbook_utils.interimage import cupy_kernels

    yield from ("numpy", "numba", "dask")
    if cupy_kernels.why_unavailable() is None:
        yield "cupy"


def _check_gpu() -> tuple[str, str]:
    from cookbook_utils.interimage import cupy_kernels

    missing = cupy_kernels.why_unavailable()
    return ("one that CuPy can use" if missing is None else f"none, and none needed: {missing}"), ""


CHECKS: dict[str, Callable[[], tuple[str, str]]] = {
    "python": _check_python,
    "packages": _check_packages,
    "memory": _check_memory,
    "disk": _check_disk,
    "data": _check_data,
    "gpu": _check_gpu,
    "run": _check_run,
}
