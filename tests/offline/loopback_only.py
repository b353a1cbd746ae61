"""Refuse every connection that leaves this machine, on import.

The tests import it first (see ``conftest.py``); the processes that they start, Jupyter kernels and
Dask workers among them, through the ``sitecustomize`` beside it, which ``PYTHONPATH`` makes Python
import before anything else.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

_connect, _connect_ex, _sendto = (
    socket.socket.connect,
    socket.socket.connect_ex,
    socket.socket.sendto,
)
_getaddrinfo = socket.getaddrinfo


class NetworkBlockedError(OSError):
    """Raised where a test, or what it started, would have used the network."""


def _is_local(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(name).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _require_local(host: object, port: object = None) -> None:
    if not _is_local(host):
        place = host if port is None else f"{host}:{port}"
        raise NetworkBlockedError(
            f"tests may use the loopback interface only, and this one asked for {place}"
        )


def _check(sock: socket.socket, address: Any) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        _require_local(*address[:2])


def connect(self: socket.socket, address: Any) -> None:
    _check(self, address)
    return _connect(self, address)


def connect_ex(self: socket.socket, address: Any) -> int:
    _check(self, address)
    return _connect_ex(self, address)


def sendto(self: socket.socket, data: Any, *flags_and_address: Any) -> int:
    _check(self, flags_and_address[-1])
    return _sendto(self, data, *flags_and_address)


def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
    _require_local(host, port)
    return _getaddrinfo(host, port, *args, **kwargs)


socket.socket.connect = connect
socket.socket.connect_ex = connect_ex
socket.socket.sendto = sendto
socket.getaddrinfo = getaddrinfo

# GDAL and PROJ open their sockets in C: send theirs to a port where nobody listens.
os.environ.update(GDAL_HTTP_PROXY="127.0.0.1:9", PROJ_NETWORK="OFF")
