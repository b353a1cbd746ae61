"""Downloads from slow, endless, malformed or absent servers end in one error within seconds."""

from __future__ import annotations

import gzip
import hashlib
import os
import socketserver
import threading

import pytest

from cookbook_utils.datasets import DATA_FOLDER, DataUnavailableError, _download, _online, fetch
from cookbook_utils.datasets.__main__ import main
from cookbook_utils.datasets.files import read_registry

BODY = b"a.tif" * 1000
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 5000\r\n\r\n"


class Handler(socketserver.BaseRequestHandler):
    """Reads a request, then sends the answer that the test defines."""

    def handle(self):
        request = b""
        while b"\r\n\r\n" not in request:
            piece = self.request.recv(65536)
            if not piece:
                return
            request += piece
        self.server.requests.append(request.split()[1].decode())
        try:
            for piece in self.server.answer(request.split()[1].decode()):
                self.request.sendall(piece)
        except OSError:
            pass  # the client closed the connection


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.stop = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def drip(self, data, seconds=0.02):
        """Yield one byte at a time, slowly, until the test ends."""
        for byte in data:
            if self.stop.wait(seconds):
                return
            yield bytes([byte])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("COOKBOOK_DATA", raising=False)
    monkeypatch.setattr(_download, "PATIENCE", 0.4)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.stop.set()
        server.shutdown()


def register(folder, url, body=BODY):
    row = f"lake,a.tif,{len(body)},{hashlib.sha256(body).hexdigest()},{url}\n"
    (folder / "registry.csv").write_text("dataset,file,bytes,sha256,url\n" + row)


def refused(folder, server, message):
    """Assert that a download fails with a one-line error and leaves neither file nor thread."""
    register(folder, f"{server.url}/a.tif")
    with pytest.raises(DataUnavailableError, match=message) as raised:
        fetch("lake", "a.tif", folder=folder)
    assert f"lake/a.tif is not on this machine and could not be downloaded from {server.url}" in (
        text := str(raised.value)
    )
    assert "\n" not in text and "set COOKBOOK_DATA" in text
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert not [path for path in (folder / "downloads").rglob("*") if path.is_file()]
    assert not [thread for thread in threading.enumerate() if thread.name == "download"]


def test_a_whole_file_is_stored(server, tmp_path):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")
    assert fetch("lake", "a.tif", folder=tmp_path).read_bytes() == BODY


def test_a_slow_server_above_the_minimum_rate(server, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "_CHUNK_BYTES", 250)

    def slowly(path):
        yield OK + LENGTH
        for k in range(0, 5000, 500):
            server.stop.wait(0.15)
            yield BODY[k : k + 500]

    server.answer = slowly
    register(tmp_path, f"{server.url}/a.tif")
    assert fetch("lake", "a.tif", folder=tmp_path).read_bytes() == BODY  # takes 1.5 s


SLOW = r"it sent less than 2048 bytes per second for 0\.4 seconds, \d+ of 5000 bytes in all"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda s, path: s.drip(OK + LENGTH + BODY), id="headers"),
        pytest.param(lambda s, path: _then([OK, LENGTH], s.drip(BODY)), id="body"),
        pytest.param(lambda s, path: _then([OK + b"\r\n"], s.drip(BODY)), id="body-unannounced"),
        pytest.param(
            lambda s, path: _then(
                [OK + b"Transfer-Encoding: chunked\r\n\r\n"], s.drip(b"1\r\na\r\n" * 5000)
            ),
            id="chunks",
        ),
        pytest.param(
            lambda s, path: _then([OK], s.drip(b"X-Header: 1\r\n" * 5000)), id="endless-headers"
        ),
        pytest.param(
            lambda s, path: s.drip(b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n"), id="redirect"
        ),
    ],
)
def test_a_server_below_the_minimum_rate(server, tmp_path, answer):
    server.answer = lambda path: answer(server, path)
    refused(tmp_path, server, SLOW)


def _then(first, rest):
    yield from first
    yield from rest


def test_a_silent_server(server, tmp_path):
    server.answer = lambda path: iter(lambda: server.stop.wait(0.1) or b"", True)
    refused(tmp_path, server, f"{SLOW}|ReadTimeout")


def _endless(server, head):
    yield head
    while not server.stop.is_set():
        yield b"x" * 65536


@pytest.mark.parametrize(
    "head",
    [
        OK + b"\r\n",
        OK + b"Content-Length: 1000000000000\r\n\r\n",
    ],
)
def test_an_endless_body_is_aborted(server, tmp_path, head):
    server.answer = lambda path: _endless(server, head)
    refused(tmp_path, server, "it sent more than the expected 5000 bytes")


def test_an_endless_body_of_a_redirect_is_not_read(server, tmp_path):
    """By default, requests reads the whole body of a redirect into memory."""
    head = b"HTTP/1.1 302 Found\r\nLocation: /moved\r\n\r\n"

    def answer(path):
        return [OK, LENGTH, BODY] if path == "/moved" else _endless(server, head)

    server.answer = answer
    register(tmp_path, f"{server.url}/a.tif")
    assert fetch("lake", "a.tif", folder=tmp_path).read_bytes() == BODY
    assert server.requests == ["/a.tif", "/moved"]


def test_a_compression_bomb_is_aborted(server, tmp_path):
    bomb = gzip.compress(bytes(1 << 28))
    server.answer = lambda path: [OK, b"Content-Encoding: gzip\r\n\r\n", bomb]
    refused(tmp_path, server, "it sent more than the expected 5000 bytes")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([OK, b"Content-Length: 0\r\n\r\n"], "it sent 0 bytes instead of 5000"),
        ([OK, LENGTH, BODY[:999]], "IncompleteRead|ChunkedEncodingError|ProtocolError"),
        ([OK, b"\r\n<html>quota exceeded</html>"], "it sent 27 bytes instead of 5000"),
        ([OK, LENGTH, b"wrong" * 1000], "it sent another file of 5000 bytes, whose SHA-256 is not"),
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"], "it answered 503 Service Unavailable"),
        ([b"HTTP/1.1 404 Nicht da\r\n\r\n"], "it answered 404 Nicht da"),
        ([b"HTTP/1.1 302 Found\r\nLocation: /a.tif\r\n\r\n"], "TooManyRedirects"),
        ([b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"], "InvalidSchema"),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://\r\n\r\n"], "TooManyRedirects"),
        (
            [b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n"],
            "it redirected to a malformed",
        ),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://a..b/\r\n\r\n"], "host name|InvalidURL|Error"),
        ([b"HTTP/1.1 302 Found\r\n\r\n"], "it sent 0 bytes"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], "it sent 0 bytes"),
        ([b"nonsense\r\n\r\n"], "ConnectionError"),
        ([OK, b"X: " + b"x" * 100_000 + b"\r\n\r\n"], "ConnectionError|InvalidHeader"),
        ([OK, b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n"], "ChunkedEncodingError|InvalidChunk"),
        ([OK, b"Content-Encoding: gzip\r\n\r\nnot packed"], "ContentDecodingError"),
        ([OK, b"Content-Length: -5\r\n\r\n"], "it sent 0 bytes|InvalidHeader|Error"),
        ([OK, b"Content-Length: many\r\n\r\n"], "it sent 0 bytes|InvalidHeader|Error"),
        ([], "ConnectionError"),
    ],
    ids=lambda value: None if isinstance(value, list) else value[:20],
)
def test_wrong_answers_are_refused(server, tmp_path, answer, message):
    server.answer = lambda path: answer
    refused(tmp_path, server, message)


def test_a_download_is_tried_once(server, tmp_path):
    server.answer = lambda path: []
    refused(tmp_path, server, "ConnectionError")
    assert server.requests == ["/a.tif"]


def test_a_redirect_is_followed(server, tmp_path):
    def answer(path):
        moved = b"HTTP/1.1 301 Moved Permanently\r\nLocation: /moved\r\n\r\n"
        return [OK, LENGTH, BODY] if path == "/moved" else [moved]

    server.answer = answer
    register(tmp_path, f"{server.url}/a.tif")
    assert fetch("lake", "a.tif", folder=tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "127.0.0.1:9", "nonsense://x", "http://"])
def test_a_proxy_that_fails(server, tmp_path, monkeypatch, proxy):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    refused(tmp_path, server, r"\((ProxyError|InvalidProxyURL|InvalidURL|ConnectionError)\)")


def test_a_slow_proxy(server, tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", server.url)
    server.answer = lambda path: server.drip(b"HTTP/1.1 200 Connected\r\n" + b"X: 1\r\n" * 5000)
    register(tmp_path, "https://127.0.0.1:9/a.tif")
    with pytest.raises(DataUnavailableError, match=SLOW):
        fetch("lake", "a.tif", folder=tmp_path)


def test_a_slow_handshake(server, tmp_path):
    class Silent(socketserver.BaseRequestHandler):
        def handle(self):
            for piece in server.drip(b"\x16\x03\x03\x40\x00" + bytes(16384)):
                try:
                    self.request.sendall(piece)
                except OSError:
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as other:
        other.daemon_threads = True
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        register(tmp_path, f"https://127.0.0.1:{other.server_address[1]}/a.tif")
        with pytest.raises(DataUnavailableError, match=f"{SLOW}|ConnectTimeout|ReadTimeout"):
            fetch("lake", "a.tif", folder=tmp_path)
        server.stop.set()
        other.shutdown()


def test_a_full_disk(server, tmp_path, monkeypatch):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")

    class Full:
        def __init__(self, *args):
            self.file = open(*args)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, piece):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(_download, "open", Full, raising=False)
    with pytest.raises(DataUnavailableError, match=r"lake cannot be written .*No space left"):
        fetch("lake", "a.tif", folder=tmp_path)
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


@pytest.mark.parametrize("what", ["folder", "fifo", "file above", "loop above"])
def test_target_is_not_a_regular_file(server, tmp_path, what):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")
    place = tmp_path / "downloads" / "lake" / "a.tif"
    if what.endswith("above"):
        place = place.parent
    place.parent.mkdir(parents=True)
    if what == "folder":
        place.mkdir()
    elif what == "fifo":
        os.mkfifo(place)
    elif what == "file above":
        place.write_text("mine")
    else:
        place.symlink_to(place)
    with pytest.raises(DataUnavailableError, match="cannot be written|link to"):
        fetch("lake", "a.tif", folder=tmp_path)
    assert [path.name for path in (tmp_path / "downloads").rglob("*") if path.is_file()] in (
        [],
        ["lake"],
    )


def test_a_link_does_not_lead_out_of_the_downloads(server, tmp_path):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "lake").symlink_to(elsewhere)
    with pytest.raises(DataUnavailableError, match=r"must be a folder inside .*delete the link"):
        fetch("lake", "a.tif", folder=tmp_path)
    assert not list(elsewhere.iterdir()) and not server.requests


def test_a_link_in_place_of_the_file_is_replaced_and_not_followed(server, tmp_path):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")
    precious = tmp_path / "precious"
    precious.write_text("mine")
    place = tmp_path / "downloads" / "lake" / "a.tif"
    place.parent.mkdir(parents=True)
    place.symlink_to(precious)
    assert fetch("lake", "a.tif", folder=tmp_path).read_bytes() == BODY
    assert precious.read_text() == "mine" and not place.is_symlink()


def test_the_downloads_may_lie_on_another_disk(server, tmp_path):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "downloads").symlink_to(tmp_path / "elsewhere")
    assert fetch("lake", "a.tif", folder=tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("given", ["file", "nothing", "loop"])
def test_cookbook_data_names_no_folder(tmp_path, monkeypatch, given):
    place = tmp_path / "given"
    if given == "file":
        place.write_text("")
    elif given == "loop":
        place.symlink_to(place)
    monkeypatch.setenv("COOKBOOK_DATA", str(place))
    register(tmp_path, "http://127.0.0.1:9/a.tif")
    with pytest.raises(NotADirectoryError, match="COOKBOOK_DATA must name a folder"):
        fetch("lake", "a.tif", folder=tmp_path)


def test_threads_that_fetch_one_file_download_it_once(server, tmp_path):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(fetch("lake", "a.tif", folder=tmp_path)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [BODY] * 8
    assert server.requests == ["/a.tif"]
    assert [path.name for path in paths[0].parent.iterdir()] == ["a.tif"]


def test_progress_is_shown_if_asked_for(server, tmp_path, capfd):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")
    fetch("lake", "a.tif", folder=tmp_path, progressbar=True)
    assert "5.00k" in capfd.readouterr().err


def test_limits_allow_a_modem():
    largest = max(row.size for row in read_registry(DATA_FOLDER).values())
    assert _download.MIN_RATE * 8 < 33_600  # bits per second of a telephone line
    assert largest / _download.MIN_RATE + _download.PATIENCE < 3600


# -- for the book -------------------------------------------------------------------------------


def said(folder, capsys):
    """Return what the command says that the book runs, which never fails."""
    assert main(["--if-online", "--folder", str(folder)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Real files: ") and text.count("\n") == 1
    return text


def test_the_book_downloads_the_files_once(server, tmp_path, capsys):
    server.answer = lambda path: [OK, LENGTH, BODY]
    register(tmp_path, f"{server.url}/a.tif")
    assert "1 downloaded (0.0 MB), each with the expected SHA-256" in said(tmp_path, capsys)
    assert (tmp_path / "downloads" / "lake" / "a.tif").read_bytes() == BODY
    asked = len(server.requests)
    assert "all 1 are in" in said(tmp_path, capsys)
    assert len(server.requests) == asked


def test_the_book_downloads_nothing_beside_given_files(server, tmp_path, capsys, monkeypatch):
    register(tmp_path, f"{server.url}/a.tif")
    monkeypatch.setenv("COOKBOOK_DATA", str(tmp_path))
    assert "which COOKBOOK_DATA names; nothing is downloaded" in said(tmp_path, capsys)
    assert not server.requests


def test_the_book_goes_on_without_a_network(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_online, "PROBE_SECONDS", 0.4)
    monkeypatch.setattr(_download, "IMPATIENT", (50_000, 0.4))
    register(tmp_path, "http://127.0.0.1:9/a.tif")
    assert "1 are missing and 127.0.0.1:9 cannot be reached" in said(tmp_path, capsys)
    register(tmp_path, f"{server.url}/a.tif")
    server.answer = lambda path: iter(lambda: server.stop.wait(0.1) or b"", True)
    assert "cannot be reached" in said(tmp_path, capsys)
    heads = iter([True])  # the first request is answered, the download drips
    server.answer = lambda path: [OK, LENGTH] if next(heads, False) else server.drip(OK + BODY)
    assert "0 of 1 downloaded, then: lake/a.tif is not on this machine" in said(tmp_path, capsys)
    server.answer = lambda path: [OK, LENGTH, b"b" * 5000]
    assert "whose SHA-256 is not" in said(tmp_path, capsys)
    (tmp_path / "registry.csv").write_text("nothing")
    assert "registry.csv" in said(tmp_path, capsys)
    assert _download.PATIENCE == 0.4
