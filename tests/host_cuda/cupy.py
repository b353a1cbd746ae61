"""Stand-in for CuPy on a machine without a GPU: the part that the project uses, on top of NumPy.

It is as strict as CuPy, or stricter: arrays are never converted to or from NumPy implicitly,
kernels check the types of their arguments, new memory holds garbage, and work in a stream is done
only when the stream is synchronized or other work is queued in it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import re
import subprocess
import threading
import types
from pathlib import Path

import numpy as np
from filelock import FileLock

__version__ = "13.6.0"
HEADER = Path(__file__).with_name("host_cuda.h")
LIBRARIES = Path(__file__).parents[2] / ".build" / "host_cuda"  # make clean removes them
FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-w")
KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\(.*\).*\n)?\s*(\w+)\(')
FREE = 2**34  # bytes of device memory that the stand-in reports


class ndarray:
    __array_priority__ = 100

    def __init__(self, shape, dtype=float, *, _host=None):
        if _host is None:
            _host = np.empty(shape, dtype)
            if _host.ndim:
                _host.view(np.uint8).fill(0xCD)  # new memory of a device is not zero
        if _host.dtype.kind not in "buifc" or not _host.dtype.isnative:
            raise ValueError(f"Unsupported dtype {_host.dtype}")
        self._host = _host

    # -- attributes -----------------------------------------------------------------------------

    dtype = property(lambda self: self._host.dtype)
    shape = property(lambda self: self._host.shape)
    strides = property(lambda self: self._host.strides)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    T = property(lambda self: _new(self._host.T))

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(_read(self))

    # -- from and to the host -------------------------------------------------------------------

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def get(self, stream=None):
        return _read(self, stream).copy()

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype or self.shape != arr.shape:
            raise TypeError(f"{arr.dtype} {arr.shape} cannot be set to {self.dtype} {self.shape}")
        if not (self._host.flags.c_contiguous and arr.flags.c_contiguous):
            raise RuntimeError("Cannot set to or from a non-contiguous array")
        (stream or cuda.get_current_stream())._do(lambda: np.copyto(self._host, arr))

    def item(self):
        return _read(self).item()

    def __bool__(self):
        return bool(_read(self))

    def __int__(self):
        return int(_read(self))

    def __float__(self):
        return float(_read(self))

    def __index__(self):
        return _read(self).__index__()

    # -- views and copies -----------------------------------------------------------------------

    def __getitem__(self, at):
        parts = at if isinstance(at, tuple) else (at,)
        if any(isinstance(part, ndarray) for part in parts):
            return _new(np.asarray(_read(self)[_index(at)]))
        rest = () if ... in parts else (...,)
        return _new(self._host[(*_index(parts), *rest)])  # a view needs no work in a stream

    def __setitem__(self, at, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        _read(self)[_index(at)] = _operand(value)

    def reshape(self, *shape, order="C"):
        host = self._host if self._host.flags.c_contiguous else _read(self)
        return _new(host.reshape(*shape, order=order))

    def transpose(self, *axes):
        return _new(self._host.transpose(*axes))

    def ravel(self):
        return self.reshape(-1)

    def view(self, dtype):
        return _new(self._host.view(dtype))

    def astype(self, dtype, copy=True):
        return _new(_read(self).astype(dtype, copy=copy))

    def copy(self):
        return _new(_read(self).copy())

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or kwargs:
            return NotImplemented
        return _new(np.asarray(ufunc(*(_operand(one) for one in inputs))))

    def __array_function__(self, function, types, args, kwargs):
        here = globals().get(function.__name__)
        if here is None:
            raise TypeError(f"the stand-in of CuPy has no {function.__name__}")
        return here(*args, **kwargs)


ndarray.__module__ = "cupy"


def _new(host):
    return ndarray(None, _host=host)


def _read(array, stream=None):
    (stream or cuda.get_current_stream())._flush()
    return array._host


def _operand(value):
    if isinstance(value, ndarray):
        return _read(value)
    if isinstance(value, bool | int | float | complex | np.generic):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _index(at):
    parts = at if isinstance(at, tuple) else (at,)
    for part in parts:
        if isinstance(part, np.ndarray | list):
            raise TypeError("the stand-in of CuPy takes no index in host memory")
    host = tuple(_read(part) if isinstance(part, ndarray) else part for part in parts)
    return host if isinstance(at, tuple) else host[0]


def _binary(name):
    def method(self, other):
        result = getattr(_read(self), name)(_operand(other))
        return result if result is NotImplemented else _new(np.asarray(result))

    return method


def _unary(name):
    return lambda self: _new(np.asarray(getattr(_read(self), name)()))


_OPERATORS = "eq ne lt le gt ge and or xor rshift add radd sub rsub mul rmul"
for _name in (*_OPERATORS.split(), "truediv", "rtruediv", "floordiv", "matmul"):
    setattr(ndarray, f"__{_name}__", _binary(f"__{_name}__"))
for _name in ("__invert__", "__neg__", "__abs__"):
    setattr(ndarray, _name, _unary(_name))
ndarray.__hash__ = None


def _reduction(name):
    def method(self, axis=None, **kwargs):
        return _new(np.asarray(getattr(_read(self), name)(axis=axis, **kwargs)))

    return method


for _name in ("min", "max", "sum", "any", "all", "argmin", "mean"):
    setattr(ndarray, _name, _reduction(_name))


# -- functions ----------------------------------------------------------------------------------


def _function(function):
    """Return a NumPy function that accepts only arrays in device memory."""

    @functools.wraps(function)
    def on_device(*args, **kwargs):
        def operand(value):
            return [operand(v) for v in value] if isinstance(value, list | tuple) else (
                value if isinstance(value, np.dtype | type | str | None) else _operand(value)
            )  # fmt: skip

        result = function(*(operand(arg) for arg in args), **kwargs)
        return _new(np.asarray(result))

    return on_device


isfinite, isinf, isnan = _function(np.isfinite), _function(np.isinf), _function(np.isnan)
count_nonzero, bincount = _function(np.count_nonzero), _function(np.bincount)
stack, concatenate, take = _function(np.stack), _function(np.concatenate), _function(np.take)
where, maximum = _function(np.where), _function(np.maximum)
tensordot, einsum = _function(np.tensordot), _function(np.einsum)


def empty(shape, dtype=float):
    return ndarray(shape, dtype)


def zeros(shape, dtype=float):
    return asarray(np.zeros(shape, dtype))


def arange(*args, dtype=None):
    return _new(np.arange(*args, dtype=dtype))


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else a.astype(dtype)
    host = np.array(a, dtype, order="C")
    result = ndarray(host.shape, host.dtype)
    cuda.get_current_stream()._do(lambda: np.copyto(result._host, host))
    return result


def ascontiguousarray(a, dtype=None):
    same = isinstance(a, ndarray) and (dtype is None or a.dtype == dtype)
    if same and a._host.flags.c_contiguous:
        return a
    return _new(np.ascontiguousarray(_read(asarray(a)), dtype))


def asnumpy(a):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


class _Pool:
    def free_bytes(self):
        return 0

    def free_all_blocks(self):
        pass


def get_default_memory_pool():
    return _Pool()


# -- streams, devices ---------------------------------------------------------------------------


class CUDARuntimeError(RuntimeError):
    pass


class Stream:
    """Queue of work that runs when the stream is synchronized, or when an array is read in it."""

    _current = threading.local()

    def __init__(self, null=False, non_blocking=False):
        self._waiting, self._lock = [], threading.RLock()

    def _do(self, action):
        with self._lock:
            self._waiting.append(action)

    def _flush(self):
        with self._lock:  # a second thread waits until the work of the first is done
            while self._waiting:
                self._waiting.pop(0)()

    def synchronize(self):
        self._flush()

    def __enter__(self):
        self._before = cuda.get_current_stream()
        Stream._current.stream = self
        return self

    def __exit__(self, *error):
        Stream._current.stream = self._before


class Event:
    def __init__(self, **options):
        pass

    def record(self, stream=None):
        import time

        (stream or cuda.get_current_stream())._flush()
        self._at = time.perf_counter()

    def synchronize(self):
        pass


class Device:
    def __init__(self, device=None):
        self.id = device or 0

    mem_info = property(lambda self: (FREE, FREE))
    attributes = property(lambda self: {"MultiProcessorCount": 1})
    compute_capability = "60"

    def synchronize(self):
        cuda.get_current_stream().synchronize()


cuda = types.ModuleType("cupy.cuda")
cuda.Stream, cuda.Event, cuda.Device = Stream, Event, Device
Stream.null = Stream(null=True)
cuda.get_current_stream = lambda: getattr(Stream._current, "stream", Stream.null)
cuda.get_elapsed_time = lambda start, end: 1000 * (end._at - start._at)
cuda.runtime = types.SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: 1,
    getDeviceProperties=lambda device: {"name": b"stand-in, no GPU", "major": 6, "minor": 0},
    driverGetVersion=lambda: 0,
    runtimeGetVersion=lambda: 0,
)


# -- kernels ------------------------------------------------------------------------------------


class RawKernel:
    def __init__(self, code, name, options=()):
        if not isinstance(options, tuple) or not all(o.startswith("-D") for o in options):
            raise ValueError(f"options must be a tuple of definitions, got {options!r}")
        self._code, self._name, self._options = code, name, options

    def __call__(self, grid, block, args, *, shared_mem=0):
        library = _compile(self._code, self._options)
        types = getattr(library, f"types_{self._name}")
        types.restype = ctypes.c_char_p
        expected, found = types().decode().split(), [_type(arg) for arg in args]
        if expected != found:
            raise TypeError(f"{self._name} must get {expected}, got {found}")
        if not (len(grid) == len(block) == 1 and type(grid[0]) is type(block[0]) is int):
            raise ValueError(f"grid and block must be one int each, got {grid} and {block}")
        launch = getattr(library, f"launch_{self._name}")
        launch.restype = ctypes.c_char_p

        def run():
            values = [
                np.uint64(arg._host.__array_interface__["data"][0])
                if isinstance(arg, ndarray)
                else arg
                for arg in args
            ]
            boxes = [np.array([value]) for value in values]
            pointers = (ctypes.c_void_p * len(boxes))(*(box.ctypes.data for box in boxes))
            with _lock:
                error = launch(grid[0], block[0], shared_mem, pointers)
            if error:
                raise CUDARuntimeError(error.decode())

        cuda.get_current_stream()._do(run)


def _type(argument):
    if isinstance(argument, ndarray):
        return f"*{argument.dtype.kind.replace('b', 'u')}{argument.itemsize}"
    if isinstance(argument, np.generic):
        return f"{argument.dtype.kind}{argument.itemsize}"
    raise TypeError(f"args must be arrays in device memory and NumPy scalars, got {argument!r}")


_lock = threading.Lock()


@functools.cache
def _compiler():
    """Return the version of the compiler, on which the name of a library depends."""
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout


def _library(code, options):
    """Compile `code`, unless another process or an earlier run has, and return the library's path.

    The name of a library is a hash of all its inputs, so that a changed input compiles a new one.
    """
    kernels = "".join(f"\nHOST_KERNEL({name})" for name in KERNEL.findall(code))
    parts = code, kernels, options, FLAGS, HEADER.read_text(), _compiler(), platform.machine()
    library = LIBRARIES / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.so"
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    with FileLock(library.with_suffix(".lock")):
        if not library.exists():
            new = library.with_suffix(".new")
            done = subprocess.run(
                ["g++", *FLAGS, "-include", HEADER, *options, "-x", "c++", "-", "-o", new],
                input=f"{code}{kernels}\n", capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"g++ does not compile the CUDA source:\n{done.stderr}")
            new.rename(library)
    return library


@functools.cache
def _loaded(code, options):
    return ctypes.CDLL(str(_library(code, options)))


def _compile(code, options):
    with _lock:
        return _loaded(code, options)
