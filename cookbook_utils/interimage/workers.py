"""Where Dask computes: the workers of a client or the threads of this process, and their memory."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dask
import dask.threaded
from dask.base import DaskMethodsMixin, get_scheduler

from cookbook_utils import __version__
from cookbook_utils.interimage.chunks import Chunk

BYTES_OF_A_WORKER = 400e6  # the interpreter, the packages and compiled kernels
CHUNKS_PER_THREAD = 3  # in memory at a time: bands as they are read, together, and converted
SHARE_BEFORE_PAUSE = 0.8  # of a worker's memory: beyond it, Dask starts no task
SHARE_BEFORE_SPILLING = 0.6  # of a worker's memory: beyond it, Dask moves results to its disk
SHARE_OF_THIS_MACHINE = 0.25  # of the available memory, if threads of this process compute
SECONDS_WITHOUT_WORKERS = 300.0  # after which a fit ends, unless Dask's configuration says another
SECONDS_BETWEEN_CHECKS = 2.0


class Tasks(DaskMethodsMixin):
    """Some tasks of a graph, as a Dask collection."""

    __dask_scheduler__ = staticmethod(dask.threaded.get)
    __dask_optimize__ = None  # each task is needed as it is

    def __init__(self, graph: dict[Any, Any], keys: list):
        self.graph, self.keys = graph, keys

    def __dask_graph__(self) -> dict[Any, Any]:
        return self.graph

    def __dask_keys__(self) -> list:
        return self.keys

    def __dask_postcompute__(self) -> tuple[Callable, tuple]:
        return list, ()

    def __dask_postpersist__(self) -> tuple[Callable, tuple]:
        return Tasks, (self.keys,)


class Workers:
    """The workers of the default client, or the threads of this process if there is none."""

    def __init__(self) -> None:
        self._client = _default_client()
        self._infos: list[dict] = []
        if self._client is not None:
            self._address = self._client.scheduler.address
            self._wait_for_workers()
            self._require_package()
            self._infos = list(self._running().values())

    @property
    def n_threads(self) -> int:
        """Number of threads that compute."""
        import dask.system

        return sum(info["nthreads"] for info in self._infos) or dask.system.CPU_COUNT

    def require_memory(self, chunks: list[Chunk], bytes_per_pixel: int) -> None:
        """Raise ValueError if a worker could not read the largest of the chunks.

        Dask would stop such a worker for ever, without an error.
        """
        limits = [(i["memory_limit"], i["nthreads"]) for i in self._infos if i["memory_limit"]]
        if not limits:
            return
        limit, n_threads = min(limits, key=lambda each: _bytes_per_chunk(*each))
        most = _bytes_per_chunk(limit, n_threads)
        largest = max(chunks, key=lambda chunk: chunk.n_pixels)
        found = largest.n_pixels * bytes_per_pixel
        if found > most:
            smaller = _smaller(largest.place.shape, most / 2 / bytes_per_pixel)
            raise ValueError(
                f"chunks of X must hold at most {most / 1e6:.0f} MB of pixels, because each thread "
                f"of a worker (threads: {n_threads}, memory: {limit / 1e6:.0f} MB) holds up to "
                f"{CHUNKS_PER_THREAD} of them, got {found / 1e6:.0f} MB in {largest.place}: open "
                f"the scenes with {smaller}, or give the workers more memory or fewer threads"
            )

    def have_room_for(self, n_bytes: float, bytes_per_task: float) -> bool:
        """Return whether pixels of `n_bytes` fit in memory beside what tasks need meanwhile."""
        if self._client is None:
            import psutil

            return n_bytes <= SHARE_OF_THIS_MACHINE * psutil.virtual_memory().available
        room = 0.0
        for info in self._infos:
            if not info["memory_limit"]:
                return False  # unknown
            managed = info["metrics"].get("managed_bytes", 0)
            used = BYTES_OF_A_WORKER + managed + 2 * info["nthreads"] * bytes_per_task
            room += max(SHARE_BEFORE_SPILLING * info["memory_limit"] - used, 0)
        return n_bytes <= room

    def holders(self, graph: dict) -> dict[Any, str]:
        """Return a worker that holds each of the futures in a graph, unless none does.

        Raises
        ------
        RuntimeError
            If there are futures, and no client that could reach them.
        """
        if "distributed" not in sys.modules:
            return {}
        from distributed import Future

        keys = [key for key, node in graph.items() if isinstance(node, Future)]
        if not keys:
            return {}
        if self._client is None:
            raise RuntimeError(
                "chunks of X that were persisted on a Dask cluster must be computed by its client, "
                "got none, or another scheduler in Dask's configuration: fit while the client is "
                "the default one, or persist them without a client"
            )
        with _without_thread():
            for key in keys:
                if key in self._client.futures:  # or another client holds it
                    self._wait_for(Future(key, self._client))
        workers = self._client.sync(self._client.scheduler.who_has, keys=keys)
        return {key: workers[key][0] for key in keys if workers.get(key)}

    def persist(self, tasks: Tasks) -> Tasks:
        """Start tasks whose results stay where they are computed."""
        if self._client is not None:
            return tasks.persist()
        return Tasks(dict(zip(tasks.keys, _compute_here(tasks), strict=True)), tasks.keys)

    def release(self, tasks: Tasks) -> None:
        """Let workers forget the results of tasks that `persist` started, and end the tasks."""
        if self._client is not None:
            from distributed import futures_of

            for future in futures_of(tasks):
                future.release()

    def compute(self, graph: dict, key: Any, place_of: Callable[[Any], str | None]) -> Any:
        """Return the result of one task.

        Parameters
        ----------
        graph : dict
            The graph.
        key : hashable
            Key of the task.
        place_of : callable
            Says for the key of a task, as text, which chunks it works on, or None.

        Raises
        ------
        TimeoutError
            If there has been no worker for a time.
        RuntimeError
            If several workers died one after the other while they did the same task, or if the
            cluster lost tasks.
        """
        if self._client is None:
            return _compute_here(Tasks(graph, [key]))[0]
        from distributed import CancelledError, KilledWorker, futures_of

        (future,) = futures_of(Tasks(graph, [key]).persist())
        try:
            with _without_thread():
                self._wait_for(future)
            return future.result()
        except KilledWorker as error:
            place = place_of(error.task) or f"the task {error.task}"
            raise RuntimeError(
                f"workers must survive {place}, got {error.allowed_failures + 1} that died there, "
                "often because their memory was full: use smaller chunks, fewer threads or more "
                "memory for each worker; a fit with `checkpoint` goes on where it ended"
            ) from error
        except CancelledError as error:
            raise self._lost("tasks that were cancelled") from error
        finally:
            future.release()  # an error that is kept, as in a notebook, refers to it

    def _wait_for(self, future: Any) -> None:
        """Wait until a task ends or no worker is left."""
        from distributed import wait

        while not future.done():
            try:
                wait(future, timeout=SECONDS_BETWEEN_CHECKS)
            except TimeoutError:
                if not self._running():
                    self._wait_for_workers()

    def _lost(self, found: str) -> RuntimeError:
        return RuntimeError(
            f"the Dask cluster {self._address} must keep the tasks of a fit, got "
            f"{found}: its scheduler or the client was closed or restarted, or chunks that were "
            "persisted or scattered died with their worker or belong to another client; a fit with "
            "`checkpoint` goes on where it ended"
        )

    def _running(self) -> dict[str, dict]:
        return self._client.scheduler_info(n_workers=-1)["workers"]

    def _require_package(self) -> None:
        """Raise RuntimeError unless all workers have this version of the package.

        A worker that cannot unpack a task says so in its log only, and Dask waits for it for ever.
        """
        # A function of this package could not be sent, either.
        version = f"__import__({__name__!r}).__version__"
        for worker, found in self._client.run(eval, version, on_error="return").items():
            if found != __version__ and not isinstance(found, OSError):  # it has just died
                raise RuntimeError(
                    f"workers must have cookbook_utils {__version__} and all that it imports, got "
                    f"{found!r} on {worker}: install the same packages on the client, the "
                    "scheduler and all workers"
                )

    def _wait_for_workers(self) -> None:
        configured = dask.config.get("distributed.scheduler.no-workers-timeout", None)
        seconds = SECONDS_WITHOUT_WORKERS
        if configured is not None:
            seconds = dask.utils.parse_timedelta(configured, "s")
        try:
            self._client.wait_for_workers(1, timeout=seconds)
        except TimeoutError:
            raise TimeoutError(
                f"the Dask cluster {self._address} must have a worker, got none "
                f"for {seconds:g} s: start workers, or raise "
                "`distributed.scheduler.no-workers-timeout` in Dask's configuration; a fit with "
                "`checkpoint` goes on where it ended"
            ) from None
        except OSError as error:
            raise self._lost("no answer") from error


def _compute_here(tasks: Tasks) -> list:
    """Return the results of tasks from Dask's scheduler for this machine.

    It is called directly: `dask.compute` would hash all pixels in the graph, in each pass.
    """
    with dask.config.set({} if _is_chosen() else {"scheduler": "threads"}):
        schedule = get_scheduler(collections=[tasks])
    return list(schedule(tasks.graph, tasks.keys))


@contextmanager
def _without_thread() -> Iterator[None]:
    """Give the thread of a worker, if a task runs here, to other tasks, for which it waits."""
    from distributed import rejoin, secede

    try:
        secede()
    except (ValueError, KeyError):  # not in a task, or its thread was given away before
        yield
        return
    try:
        yield
    finally:
        rejoin()


def _is_chosen() -> bool:
    """Return whether Dask's configuration names a scheduler other than the default client."""
    return dask.config.get("scheduler", None) not in (None, "distributed", "dask.distributed")


def _default_client() -> Any:
    """Return the default client, or None if there is none that can wait for results."""
    distributed = sys.modules.get("distributed")  # without this import there is no client
    if distributed is None or _is_chosen():
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    return None if client.asynchronous else client


def _bytes_per_chunk(limit: float, n_threads: int) -> float:
    """Return the size of the largest chunk that a worker with this memory can read."""
    room = SHARE_BEFORE_PAUSE * limit - BYTES_OF_A_WORKER
    return max(room, 0) / (n_threads * CHUNKS_PER_THREAD)


def _smaller(shape: tuple[int, ...], n_pixels: float) -> str:
    """Return the sizes of chunks of at most `n_pixels`, as an argument of a function."""
    if len(shape) == 1:
        return f"chunks=({int(n_pixels)}, -1)"
    side = math.sqrt(n_pixels)
    side = max(int(side) // 256 * 256, min(int(side), 256), 1)
    return f"chunks={{'y': {side}, 'x': {side}}}"
