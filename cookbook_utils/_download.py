"""Downloads that end: bounded in size, time and redirects, and whole or not there at all."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEAST_RATE = 2048
"""Bytes a second that a server must send, on average over `PATIENCE`; a slow modem brings more."""

PATIENCE = 30.0
"""Seconds after which a download that brings less than `LEAST_RATE` is given up."""

MOST_REDIRECTS = 5
_CONNECT = 10.0  # s to connect to one address
_PIECE = 4096  # bytes read at a time: small, so that what a slow server sends is counted soon


class DownloadError(OSError):
    """A server did not deliver the file that it should; the message says what it did."""


def download(url: str, path: Path, *, sha256: str, size: int, progressbar: bool = False) -> None:
    """Bring the file of `size` bytes from `url` to `path`, whole or not at all.

    Raises
    ------
    DownloadError
        If the server cannot be reached, is slower than `LEAST_RATE`, or sends another file.
    OSError
        If the file cannot be written.
    """
    with warnings.catch_warnings():
        # tqdm, which pooch imports, warns in a notebook without ipywidgets.
        warnings.filterwarnings("ignore", "IProgress not found")
        import pooch

    def bring(url: str, output_file: str, pooch: Any) -> None:
        pieces = _pieces(url, size, progressbar)
        with open(output_file, "wb") as file, contextlib.closing(pieces):
            for piece in pieces:
                file.write(piece)

    pooch.get_logger().setLevel("WARNING")  # by default it announces each download on stderr
    try:
        pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=bring)
    except ValueError:  # pooch's word for another hash
        raise DownloadError(
            f"it sent another file of {size} bytes, whose SHA-256 is not {sha256}"
        ) from None


def _pieces(url: str, size: int, progressbar: bool) -> Iterator[bytes]:
    """Yield what `url` sends, `size` bytes in all, or raise DownloadError."""
    import requests
    from urllib3.exceptions import HTTPError

    received = 0
    with _Watch() as watch, _session(watch) as session, _progress(size, progressbar) as progress:
        try:
            response = session.get(
                url,
                stream=True,
                timeout=(_CONNECT, PATIENCE),
                headers={"Accept-Encoding": "identity"},
            )
            response.raise_for_status()
            for piece in response.iter_content(_PIECE):
                received += len(piece)
                if received > size:
                    raise DownloadError(f"it sent more than the {size} bytes that are expected")
                watch.received = received
                progress(len(piece))
                yield piece
        except (requests.RequestException, HTTPError, http.client.HTTPException) as error:
            if not watch.stalled:
                raise DownloadError(_reason(error)) from None
        except ValueError:  # what Python says of some addresses that a redirect may lead to
            raise DownloadError("it led to an address that is none") from None
        if watch.stalled:
            raise DownloadError(
                f"it sent less than {LEAST_RATE} bytes a second for {PATIENCE:g} seconds, "
                f"{received} of {size} bytes in all"
            )
    if received < size:
        raise DownloadError(f"it sent {received} bytes, and {size} are expected")


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None and response.status_code >= 400:
        return f"it answered {response.status_code} {response.reason}"
    return type(error).__name__


@contextlib.contextmanager
def _progress(size: int, shown: bool) -> Iterator[Any]:
    if not shown:
        yield lambda n: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=size, unit="B", unit_scale=True) as bar:
        yield bar.update


class _Watch:
    """Cuts the connections of a download on which too little comes.

    The time limits of sockets hold for one call of the system each, so a server that sends a byte
    now and then, of the headers or of the body, meets all of them.
    """

    def __init__(self) -> None:
        self.received = 0
        self.stalled = False
        self._sockets: list[socket.socket] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download", daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        for connection in self._sockets:
            connection.close()

    def add(self, connection: socket.socket) -> None:
        # A copy: TLS takes the socket itself away. To shut down either ends the connection.
        self._sockets.append(connection.dup())

    def _run(self) -> None:
        before = 0
        while not self._done.wait(PATIENCE):
            received = self.received
            if received - before < LEAST_RATE * PATIENCE:
                self.stalled = True
                for connection in list(self._sockets):
                    with contextlib.suppress(OSError):  # it has ended by itself
                        connection.shutdown(socket.SHUT_RDWR)
            before = received


def _session(watch: _Watch) -> Any:
    """Return a session of requests whose connections are watched."""
    import requests

    class Adapter(requests.adapters.HTTPAdapter):
        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
            pool = super().get_connection_with_tls_context(*args, **kwargs)

            class Connection(pool.ConnectionCls):
                def _new_conn(self) -> socket.socket:
                    connection = super()._new_conn()
                    watch.add(connection)
                    return connection

            pool.ConnectionCls = Connection
            return pool

    def drop_body(response: Any, **_: Any) -> None:
        if response.is_redirect:  # requests would read all of its body into memory
            response.close()

    session = requests.Session()
    session.max_redirects = MOST_REDIRECTS
    session.hooks["response"].append(drop_body)
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session
