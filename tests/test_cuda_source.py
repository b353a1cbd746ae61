"""The CUDA source without a GPU: compiled by NVRTC, and run on the host under sanitizers."""

import ctypes
import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

from cookbook_utils.interimage import cupy_kernels
from cookbook_utils.interimage.arithmetic import DTYPES

from . import host_cuda

KERNELS = Path(cupy_kernels.__file__).with_name("kernels.cu")
SOURCE = KERNELS.read_text()
HOST = Path(host_cuda.__file__).parent
ARCHITECTURES = [60, 70, 75, 80, 90]  # one of each generation


@pytest.fixture(scope="module")
def nvrtc():
    """Return NVRTC, the compiler of NVIDIA, from its wheel; skip tests without that package."""
    package = importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cuda_nvrtc")
    if not package:
        pytest.skip("nvidia-cuda-nvrtc-cu12 is not installed: it exists for Linux on x86-64")
    (folder,) = package.submodule_search_locations
    return ctypes.CDLL(str(Path(folder) / "lib" / "libnvrtc.so.12"))


def compile_cuda(nvrtc, source, options):
    """Return the log of NVRTC and the PTX, or raise RuntimeError with the log."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), given)

        def text(name):
            getattr(nvrtc, f"nvrtcGet{name}Size")(program, ctypes.byref(size))
            buffer = ctypes.create_string_buffer(size.value)
            getattr(nvrtc, f"nvrtcGet{name}")(program, buffer)
            return buffer.value.decode()

        log = text("ProgramLog")
        if status:
            raise RuntimeError(log)
        return log, text("PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def options(dtype, bands, in_shared=True, architecture=60, label_dtype=DTYPES[0]):
    """Return the options that CuPy passes to NVRTC for the architecture of a GPU."""
    given = cupy_kernels.definitions(dtype, label_dtype, bands, in_shared)
    return [*given, f"-arch=sm_{architecture}", "-std=c++17", "--ptxas-options=-v"]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("label_dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_compiles_and_keeps_pixels_in_registers(nvrtc, dtype, label_dtype, architecture):
    given = options(dtype, 6, architecture=architecture, label_dtype=label_dtype)
    log, ptx = compile_cuda(nvrtc, SOURCE, given)
    assert ".entry assign" in ptx and ".entry sum_squared_distances" in ptx
    assert ".local" not in ptx
    assert re.findall(r"(\d+) bytes spill stores", log) == ["0", "0"]
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", log)]
    # All thread blocks of a multiprocessor share its 65 536 registers.
    threads = cupy_kernels.THREADS_PER_BLOCK * cupy_kernels.BLOCKS_PER_MULTIPROCESSOR
    assert max(registers) * threads <= 2**16


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [ARCHITECTURES[0], ARCHITECTURES[-1]])
@pytest.mark.parametrize(
    ("dtype", "bands", "in_shared"), [(DTYPES[0], 1, True), (DTYPES[4], 1, True),
                                      (DTYPES[3], 6, False), (DTYPES[1], 40, True)],
)  # fmt: skip
def test_compiles_for_one_band_and_many_and_without_shared_sums(
    nvrtc, architecture, dtype, bands, in_shared
):
    compile_cuda(nvrtc, SOURCE, options(dtype, bands, in_shared, architecture))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("least[j] = score, ", "least[j] = score "), ("float score =", "flaot score =")],
)
def test_a_broken_source_does_not_compile(nvrtc, right, wrong):
    assert right in SOURCE
    with pytest.raises(RuntimeError, match="error"):
        compile_cuda(nvrtc, SOURCE.replace(right, wrong), options(DTYPES[3], 6))


@pytest.mark.parametrize("dtype", [DTYPES[1], DTYPES[4]], ids=str)
def test_float64_distances_are_not_fused(nvrtc, dtype):
    _, ptx = compile_cuda(nvrtc, SOURCE, options(dtype, 6))
    assert "fma.rn.f32" in ptx  # scores, whose error is bounded, may be fused
    assert "fma.rn.f64" not in ptx
    rounded = "__dadd_rn(squared, __dmul_rn(difference, difference))"
    assert rounded in SOURCE
    plain = SOURCE.replace(rounded, "squared + difference * difference")
    _, ptx = compile_cuda(nvrtc, plain, options(dtype, 6))
    assert "fma.rn.f64" in ptx


def test_copies_of_the_sums_fit_in_shared_memory():
    assert cupy_kernels.shared_memory(8, 7)[0] == 32
    for k in (*range(1, 256), 300, 1000, 65535):
        for width in (2, 7, 20, 300):
            copies, size = cupy_kernels.shared_memory(k, width)
            if copies:
                coefficients = 4 * k * (width + 2)
                assert size == coefficients + copies * 8 * (k * width + 1) <= 48 * 1024
                assert copies == 1 or size * cupy_kernels.BLOCKS_PER_MULTIPROCESSOR <= 48 * 1024
            else:
                assert 4 * k * (width + 2) + 8 * (k * width + 1) > 48 * 1024


# -- on the host, with operating-system threads ---------------------------------------------


@pytest.mark.skipif(host_cuda.NO_STAND_IN is not None, reason=str(host_cuda.NO_STAND_IN))
@pytest.mark.skipif(host_cuda.HAS_GPU, reason="CuPy takes the place of its stand-in")
def test_the_stand_in_compiles_a_source_once_and_a_changed_one_anew(tmp_path, monkeypatch):
    with host_cuda.stand_in() as cupy:
        monkeypatch.setattr(cupy, "LIBRARIES", tmp_path / "libraries")
        source = 'extern "C" int answer() { return ANSWER; }'
        first = cupy._library(source, ("-DANSWER=1",))
        made = first.stat().st_mtime_ns
        assert cupy._library(source, ("-DANSWER=1",)) == first
        assert first.stat().st_mtime_ns == made
        others = [
            cupy._library(source, ("-DANSWER=2",)),
            cupy._library(source.replace("ANSWER;", "ANSWER + 2;"), ("-DANSWER=1",)),
        ]
        (tmp_path / "host_cuda.h").write_text("#define ANSWER 4\n")
        monkeypatch.setattr(cupy, "HEADER", tmp_path / "host_cuda.h")
        others.append(cupy._library(source, ()))
        assert [ctypes.CDLL(str(one)).answer() for one in (first, *others)] == [1, 2, 3, 4]
        with pytest.raises(RuntimeError, match="g\\+\\+ does not compile"):
            cupy._library("no source", ())


def run_sanitized(tmp_path, source, sanitizer):
    if host_cuda.NO_STAND_IN:
        pytest.skip(host_cuda.NO_STAND_IN)
    (tmp_path / "kernels.cu").write_text(source)
    program = tmp_path / "program"
    built = subprocess.run(
        ["g++", "-std=c++17", "-O1", "-g", "-w", f"-fsanitize={sanitizer}", "-pthread",
         "-DHOST_CUDA_THREADS", *cupy_kernels.definitions(DTYPES[1], DTYPES[0], 3, True),
         "-include", HOST / "host_cuda.h", "-include", tmp_path / "kernels.cu",
         HOST / "sanitized.cpp", "-o", program],
        capture_output=True, text=True,
    )  # fmt: skip
    if "cannot find" in built.stderr and "san" in built.stderr:
        pytest.skip(f"g++ has no {sanitizer} sanitizer here")
    assert built.returncode == 0, built.stderr
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([program], capture_output=True, text=True, env=environment)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("the thread sanitizer does not run on this kernel's memory layout")
    return done


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["thread", "address"])
def test_sanitizers_find_nothing(tmp_path, sanitizer):
    done = run_sanitized(tmp_path, SOURCE, sanitizer)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("990 pixels")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sanitizer", "right", "wrong"),
    [
        ("thread", "__syncthreads();", ""),
        ("thread", "atomicAdd(low, lower)", "(*low += lower) - lower"),
        ("thread", "if (me == 0) {", "if (me <= 1) {"),
        ("address", "at = min(at, n - 1);", ""),
        ("address", "at < n ? labels[at] : NODATA_LABEL", "labels[at]"),
        ("address", "i < k * N_COEFFICIENTS", "i <= k * N_COEFFICIENTS"),
    ],
)
def test_sanitizers_find_broken_kernels(tmp_path, sanitizer, right, wrong):
    assert right in SOURCE
    done = run_sanitized(tmp_path, SOURCE.replace(right, wrong), sanitizer)
    assert done.returncode != 0
    assert "Sanitizer" in done.stderr
