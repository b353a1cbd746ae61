"""Servers on the loopback interface that several test modules share."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit


class FolderServer(http.server.ThreadingHTTPServer):
    """Serve the files of a folder, parts of them too, and a STAC API at ``/api``.

    ``failures`` holds for a path how often it is answered with which status before it is served.
    ``lifetimes`` holds for a path after how many requests its signature expires; ``parts`` says
    whether parts are served, and ``shift`` how many bytes before those that are asked for.
    ``requests`` counts the requests of each path, ``ranges`` those of a part, ``wholes`` others.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.failures: dict[str, tuple[int, int]] = {}
        self.lifetimes: dict[str, int] = {}
        self.parts = True
        self.shift = 0
        self.requests: Counter[str] = Counter()
        self.ranges: Counter[str] = Counter()
        self.wholes: Counter[str] = Counter()
        self.items: list[dict] = []
        self.documents: dict[str, dict] = {}
        self.searches: list[dict] = []
        self.classes = ["core", "item-search", "item-search#query", "item-search#sort"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FolderServer

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", headers.pop("length", str(len(body))))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # a client that has enough
                self.wfile.write(body)

    def _json(self, document: object) -> None:
        self._answer(200, json.dumps(document).encode(), Content_Type="application/json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests[path] += 1
        times, status = self.server.failures.get(path, (0, 0))
        if times:
            self.server.failures[path] = times - 1, status
            return self._answer(status)
        if self.server.requests[path] > self.server.lifetimes.get(path, float("inf")):
            return self._answer(403)
        if path == "/api":
            return self._json(self._landing())
        if path in self.server.documents:
            return self._json(self.server.documents[path])
        file = self.server.folder / path.lstrip("/")
        if not file.is_file():
            return self._answer(404)
        content = file.read_bytes()
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part is None or not self.server.parts:
            self.server.wholes[path] += self.command == "GET"
            accepted = {"Accept_Ranges": "bytes"} if self.server.parts else {}
            return self._answer(200, content, **accepted)
        self.server.ranges[path] += 1
        first, last = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
        if first >= len(content):
            return self._answer(416)
        first, last = (place - min(first, self.server.shift) for place in (first, last))
        where = f"bytes {first}-{last}/{len(content)}"
        self._answer(206, content[first : last + 1], Content_Range=where, Accept_Ranges="bytes")

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.server.requests[path] += 1
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.searches.append(asked)
        times, status = self.server.failures.get(path, (0, 0))
        if times:
            self.server.failures[path] = times - 1, status
            return self._answer(status)
        found = self.server.items
        most = asked.get("query", {}).get("eo:cloud_cover", {}).get("lte", 100)
        found = [item for item in found if item["properties"].get("eo:cloud_cover", 0) <= most]
        self._json({"type": "FeatureCollection", "features": found[: asked["limit"]], "links": []})

    def _landing(self) -> dict:
        url = self.server.url + "/api"
        stem = "https://api.stacspec.org/v1.0.0/"
        return {
            "type": "Catalog", "stac_version": "1.0.0", "id": "api", "description": "a test",
            "conformsTo": [stem + name for name in self.server.classes],
            "links": [
                {"rel": "self", "href": url}, {"rel": "root", "href": url},
                {"rel": "search", "href": url + "/search", "method": "POST",
                 "type": "application/geo+json"},
            ],
        }  # fmt: skip


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[FolderServer]:
    """Serve a folder until the end of the block."""
    server = FolderServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
