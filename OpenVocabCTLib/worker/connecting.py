"""Open a TCP connection without blocking."""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from typing import Any

from OpenVocabCTLib.worker.errors import WorkerLost
from OpenVocabCTLib.worker.steps import Steps

CONNECT_SECONDS = 10.0
_UNDER_WAY = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)})

# Family and address, as `socket.getaddrinfo` gives them.
_Target = tuple[int, Any]


def connect(host: str, port: int) -> Steps[socket.socket]:
    """Connect, trying every address of the host in turn.

    Returns:
        A connected, non-blocking socket; the caller closes it.

    Raises:
        WorkerLost: the host is unknown, or nobody listens there.
    """
    problem = "no address"
    for family, target in (yield from _resolve(host, port)):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            problem = yield from _establish(connection, target)
            if not problem:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
    raise WorkerLost(f"no worker answers at {host}:{port} ({problem})", "check that it runs, its address and its port")


def _establish(connection: socket.socket, target: Any) -> Steps[str]:
    """Connect one socket; return "" or what went wrong."""
    try:
        code = connection.connect_ex(target)
        if code not in _UNDER_WAY:
            return _reason(code)
        # Not select.select, which fails for file numbers beyond 1024.
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_WRITE)
            end = time.monotonic() + CONNECT_SECONDS
            while not selector.select(0):
                if time.monotonic() > end:
                    return "no answer"
                yield None
        return _reason(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()


def _reason(code: int) -> str:
    return "" if code == 0 else errno.errorcode.get(code, str(code)).removeprefix("E").lower()


def _resolve(host: str, port: int) -> Steps[list[_Target]]:
    """Look up a host; a number at once, a name in a thread, because nothing else looks up names without blocking."""
    try:
        return _lookup(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        pass
    found: list[list[_Target]] = []

    def look() -> None:
        try:
            found.append(_lookup(host, port, 0))
        except (OSError, UnicodeError):
            found.append([])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    end = time.monotonic() + CONNECT_SECONDS
    while not found and time.monotonic() < end:
        thread.join(0.001)  # hands the interpreter over: in 3D Slicer threads get it only when the main thread waits
        yield None
    if not found or not found[0]:
        raise WorkerLost(f"the host {host!r} is not known", "check the address")
    return found[0]


def _lookup(host: str, port: int, flags: int) -> list[_Target]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, target) for family, _, _, _, target in found]
