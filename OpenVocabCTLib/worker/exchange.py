"""One HTTP request over a socket that never blocks, as steps; standard library only.

Every exchange has its own connection, so that a cancelled one leaves nothing behind.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from OpenVocabCTLib.worker.connecting import connect
from OpenVocabCTLib.worker.errors import ProtocolError, WorkerLost
from OpenVocabCTLib.worker.protocol import Address
from OpenVocabCTLib.worker.steps import Progress, Steps

SILENCE_SECONDS = 60.0
TRY_AGAIN = "try again; the worker is started anew where that is possible"

_CHUNK_BYTES = 1 << 18
_MAX_HEAD_BYTES = 1 << 16
_MAX_BODY_BYTES = 1 << 31
# What a socket says when it would block; the encrypted kind says it in two ways.
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: "GET", "PUT", "POST" or "DELETE".
        path: absolute path, already quoted.
        headers: more headers, ASCII.
        body: what to send, in pieces that are sent one after the other.
        body_size: bytes of all pieces.
        on_sent: makes a progress of the number of bytes sent.
        silence: seconds without a byte after which the worker counts as lost.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Iterator[bytes | memoryview] = field(default_factory=lambda: iter(()))
    body_size: int = 0
    on_sent: Callable[[int], Progress] | None = None
    silence: float = SILENCE_SECONDS


@dataclass(frozen=True)
class Response:
    """What came back.

    Attributes:
        status: HTTP status code.
        headers: lower-case names.
        body: the whole body.
    """

    status: int
    headers: dict[str, str]
    body: bytearray


def exchange(address: Address, request: Request) -> Steps[Response]:
    """Send a request and collect its response.

    Raises:
        WorkerLost: nobody answers there, the connection broke, or nothing came for too long.
        ProtocolError: what answers does not speak HTTP, or an unreasonable amount of it.
    """
    plain = yield from connect(address.host, address.port)
    connection = plain
    try:
        if address.tls:
            connection = _tls_context().wrap_socket(plain, server_hostname=address.host, do_handshake_on_connect=False)
            yield from _handshake(connection, request.silence)
        yield from _send(connection, address, request)
        return (yield from _receive(connection, request.silence))
    except ssl.SSLError as error:
        reason = error.reason or type(error).__name__
        raise WorkerLost(f"no encrypted connection to the worker ({reason})", "check the address") from error
    except OSError as error:
        raise WorkerLost("the connection to the worker broke", TRY_AGAIN) from error
    finally:
        connection.close()


class _Silence:
    """Notices when nothing moves for too long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.moved()

    def moved(self) -> None:
        """Something was sent or came in."""
        self._end = time.monotonic() + self._seconds

    def check(self) -> None:
        """Raise `WorkerLost` when the time is up."""
        if time.monotonic() > self._end:
            raise WorkerLost(f"the worker has not answered for {self._seconds:.0f} s", TRY_AGAIN)


def _handshake(connection: ssl.SSLSocket, seconds: float) -> Steps[None]:
    silence = _Silence(seconds)
    while True:
        try:
            connection.do_handshake()
            return
        except _NOT_NOW:
            silence.check()
            yield None


def _send(connection: socket.socket, address: Address, request: Request) -> Steps[None]:
    """Send everything, unless the worker answers before the end: then it has refused."""
    silence = _Silence(request.silence)
    yield from _send_piece(connection, _head(address, request), silence)
    sent = 0
    for piece in request.body:
        if _has_answered(connection) or not (yield from _send_piece(connection, piece, silence)):
            return
        sent += len(piece)
        if request.on_sent is not None:
            yield request.on_sent(sent)


def _send_piece(connection: socket.socket, piece: bytes | memoryview, silence: _Silence) -> Steps[bool]:
    """Send all of a piece; False when the worker stopped listening."""
    rest = memoryview(piece)
    while rest:
        try:
            count = connection.send(rest[:_CHUNK_BYTES])
        except _NOT_NOW:
            silence.check()
            if _has_answered(connection):
                return False
            yield None
            continue
        except (BrokenPipeError, ConnectionResetError):
            return False  # the answer may be there all the same
        rest = rest[count:]
        silence.moved()
    return True


def _head(address: Address, request: Request) -> bytes:
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: {host}:{address.port}",
        f"Authorization: Bearer {address.token}",
        "Connection: close",
        f"Content-Length: {request.body_size}",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


def _has_answered(connection: socket.socket) -> bool:
    if isinstance(connection, ssl.SSLSocket):
        return connection.pending() > 0
    try:
        connection.recv(1, socket.MSG_PEEK)
    except _NOT_NOW:
        return False
    return True


def _receive(connection: socket.socket, seconds: float) -> Steps[Response]:
    silence = _Silence(seconds)
    data = bytearray()
    head: tuple[int, dict[str, str]] | None = None
    missing = math.inf
    while missing > 0:
        try:
            chunk = connection.recv(_CHUNK_BYTES)
        except _NOT_NOW:
            silence.check()
            yield None
            continue
        if not chunk:
            raise WorkerLost("the worker ended before it had answered", TRY_AGAIN)
        silence.moved()
        data += chunk
        if head is None:
            end = data.find(b"\r\n\r\n")
            if end < 0 and len(data) <= _MAX_HEAD_BYTES:
                continue
            head = _parse_head(bytes(data[: max(end, 0)]))
            del data[: end + 4]
            missing = _body_size(head[1])
            missing -= len(data)
        else:
            missing -= len(chunk)
        if missing > 0:
            yield None
    if head is None or missing < 0:
        raise _not_ours()
    return Response(*head, data)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    try:
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        if not version.startswith("HTTP/1."):
            raise ValueError(version)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status), headers
    except ValueError as error:
        raise _not_ours() from error


def _body_size(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 16  # Python refuses to read thousands of digits
    if not is_number or int(text) > _MAX_BODY_BYTES or "transfer-encoding" in headers:
        raise _not_ours()
    return int(text)


def _not_ours() -> ProtocolError:
    return ProtocolError("what answers at this address is no OpenVocabCT worker", "check the address and the port")


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()
