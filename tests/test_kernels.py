"""Kernels on disk: another process reads what one has compiled, and nothing else."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from cookbook_utils import _kernels
from cookbook_utils._kernels import keep_on_disk


def adder(step, *, twice=False):
    """Return a kernel that calls another one, which closes over `step`."""

    @numba.njit
    def add(value):
        return value + step + step if twice else value + step

    @keep_on_disk
    @numba.njit(nogil=True)
    def kernel(values):
        for i in range(len(values)):
            values[i] = add(values[i])

    return kernel


def call(kernel, dtype="f8"):
    values = np.zeros(3, dtype)
    kernel(values)
    return values.tolist(), bool(kernel.stats.cache_hits)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


def test_kernel_is_compiled_once_for_each_value_that_it_closes_over_and_each_dtype(folder):
    assert call(adder(1)) == ([1, 1, 1], False)
    assert call(adder(1)) == ([1, 1, 1], True)
    assert call(adder(2)) == ([2, 2, 2], False)
    assert call(adder(1, twice=True)) == ([2, 2, 2], False)
    assert call(adder(1), "i4") == ([1, 1, 1], False)
    assert len(list(folder.iterdir())) == 4


def test_damaged_file_is_compiled_anew(folder):
    call(adder(3))
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert call(adder(3)) == ([3, 3, 3], False)
    assert call(adder(3)) == ([3, 3, 3], True)


def test_kernel_without_a_folder_that_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "kernels"))
    assert call(adder(4)) == ([4, 4, 4], False)


def test_files_that_no_process_read_for_long_are_removed(folder):
    call(adder(5))
    (old,) = folder.iterdir()
    os.utime(old, (0, 0))
    call(adder(6))
    assert not old.exists()
    assert len(list(folder.iterdir())) == 1


@pytest.mark.slow
def test_digest_is_the_same_in_another_process_with_other_hashes():
    code = "from tests.test_kernels import adder, _kernels; print(_kernels._digest(adder(1)))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in "12"
    }
    assert found == {_kernels._digest(adder(1))}


PROBE = """
import numpy as np, xarray as xr
from cookbook_utils.interimage import InterImageKMeans, numba_bounds, numba_kernels
pixels = np.random.default_rng(0).uniform(0, 1, (3, 40, 50)).astype("f4")
scene = xr.DataArray(pixels, dims=("band", "y", "x"))
model = InterImageKMeans(4, engine="numba", random_state=0).fit(scene)
kernel = numba_kernels.assign_kernel(3, False, True)
print(len(kernel.overloads), len(kernel.stats.cache_hits), hash(model.labels_.values.tobytes()))
"""


@pytest.mark.slow
def test_second_process_compiles_no_kernel_and_finds_the_same_labels(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": "0"}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    )
    assert first[:2] == ["1", "0"]
    assert second == ["1", "1", first[2]]
