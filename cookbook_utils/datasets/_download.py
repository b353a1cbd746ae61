"""Download files with limits on size, duration and redirects."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cookbook_utils._files import replacing

MIN_RATE = 2048
"""Bytes per second that a server must send, on average over `PATIENCE`; a slow modem is faster."""

PATIENCE = 30.0
"""Seconds after which a download slower than `MIN_RATE` is aborted."""

MAX_REDIRECTS = 5
"""Largest number of redirects that are followed."""

IMPATIENT = 50_000, 10.0
"""`MIN_RATE` and `PATIENCE` where the files are wanted but not needed."""

_CONNECT_TIMEOUT = 10.0  # s to connect to one address
_CHUNK_BYTES = 4096  # read at a time: small, so that the bytes of a slow server are counted soon


class DownloadError(OSError):
    """A server did not deliver the expected file; the message says what it did."""


def download(url: str, path: Path, *, sha256: str, size: int, progressbar: bool = False) -> None:
    """Download a file and replace `path` by it once its size and hash are correct.

    Parameters
    ----------
    url : str
        Address of the file.
    path : pathlib.Path
        Where to store it.
    sha256 : str
        Expected SHA-256 in hexadecimal digits.
    size : int
        Expected size in bytes.
    progressbar : bool, default False
        Whether to show a progress bar.

    Raises
    ------
    DownloadError
        If the server cannot be reached, is slower than `MIN_RATE`, or sends another file.
    OSError
        If the file cannot be written.
    """
    digest = hashlib.sha256()
    received = _receive(url, size, progressbar)
    with replacing(path) as temporary, open(temporary, "wb") as file, contextlib.closing(received):
        for chunk in received:
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != sha256:
            raise DownloadError(
                f"it sent another file of {size} bytes, whose SHA-256 is not {sha256}"
            )


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Abort slow downloads of this process within the block earlier, by `IMPATIENT`."""
    global MIN_RATE, PATIENCE
    before = MIN_RATE, PATIENCE
    MIN_RATE, PATIENCE = IMPATIENT
    try:
        yield
    finally:
        MIN_RATE, PATIENCE = before


def _receive(url: str, size: int, progressbar: bool) -> Iterator[bytes]:
    """Yield the content of `url` in chunks, or raise DownloadError unless it has `size` bytes."""
    import requests
    from urllib3.exceptions import HTTPError

    received = 0
    with (
        _Watchdog() as watchdog,
        _session(watchdog) as session,
        _progress(size, progressbar) as add,
    ):
        try:
            response = session.get(
                url,
                stream=True,
                timeout=(_CONNECT_TIMEOUT, PATIENCE),
                headers={"Accept-Encoding": "identity"},
            )
            response.raise_for_status()
            for chunk in response.iter_content(_CHUNK_BYTES):
                received += len(chunk)
                if received > size:
                    raise DownloadError(f"it sent more than the expected {size} bytes")
                watchdog.received = received
                add(len(chunk))
                yield chunk
        except (requests.RequestException, HTTPError, http.client.HTTPException) as error:
            if not watchdog.stalled:
                raise DownloadError(_reason(error)) from None
        except ValueError:  # raised by Python for some malformed addresses of redirects
            raise DownloadError("it redirected to a malformed address") from None
        if watchdog.stalled:
            raise DownloadError(
                f"it sent less than {MIN_RATE} bytes per second for {PATIENCE:g} seconds, "
                f"{received} of {size} bytes in all"
            )
    if received < size:
        raise DownloadError(f"it sent {received} bytes instead of {size}")


def _reason(error: Exception) -> str:
    """Return the HTTP status of an error response, or the type of another error."""
    response = getattr(error, "response", None)
    if response is not None and response.status_code >= 400:
        return f"it answered {response.status_code} {response.reason}"
    return type(error).__name__


@contextlib.contextmanager
def _progress(size: int, shown: bool) -> Iterator[Callable[[int], Any]]:
    """Yield a function that adds to the count of a progress bar, or that does nothing."""
    if not shown:
        yield lambda n: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=size, unit="B", unit_scale=True) as bar:
        yield bar.update


class _Watchdog:
    """Thread that shuts down the connections of a download slower than `MIN_RATE`.

    The timeouts of a socket apply to each system call, so a server that sends one byte now and then
    never exceeds them.
    """

    def __init__(self) -> None:
        self.received = 0
        self.stalled = False
        self._sockets: list[socket.socket] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download", daemon=True)

    def __enter__(self) -> _Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        for connection in self._sockets:
            connection.close()

    def add(self, connection: socket.socket) -> None:
        """Watch a connection."""
        # TLS detaches the original socket; shutting down a duplicate ends the connection as well.
        self._sockets.append(connection.dup())

    def _run(self) -> None:
        before = 0
        while not self._done.wait(PATIENCE):
            received = self.received
            if received - before < MIN_RATE * PATIENCE:
                self.stalled = True
                for connection in list(self._sockets):
                    with contextlib.suppress(OSError):  # it is closed already
                        connection.shutdown(socket.SHUT_RDWR)
            before = received


def _session(watchdog: _Watchdog) -> Any:
    """Return a session of requests whose connections are watched."""
    import requests

    class Adapter(requests.adapters.HTTPAdapter):
        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
            pool = super().get_connection_with_tls_context(*args, **kwargs)

            class Connection(pool.ConnectionCls):
                def _new_conn(self) -> socket.socket:
                    connection = super()._new_conn()
                    watchdog.add(connection)
                    return connection

            pool.ConnectionCls = Connection
            return pool

    def drop_body(response: Any, **_: Any) -> None:
        if response.is_redirect:  # requests would read its whole body into memory
            response.close()

    session = requests.Session()
    session.max_redirects = MAX_REDIRECTS
    session.hooks["response"].append(drop_body)
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session
