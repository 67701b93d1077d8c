"""HTTP around the engine: the token, limits on what is read, one thread per request, one request per connection.

========  ==========================  ==================================================================
method    path                        what it does
========  ==========================  ==================================================================
GET       /v1/status                  version, process, model, memory
GET       /v1/vocabulary              every phrase that is understood
GET       /v1/models                  models that can be loaded
POST      /v1/prompts                 {texts}: how they are understood
POST      /v1/reports                 {report}: its findings, and what to segment to see them
PUT       /v1/studies/KEY             raw voxels, header X-OpenVocabCT-Volume: 201 kept, 200 known already
GET       /v1/studies/KEY             {encoded, notes}
DELETE    /v1/studies/KEY             forget one volume
DELETE    /v1/studies                 free all memory
POST      /v1/studies/KEY/encode      {model, device, job}: 202 and a job
POST      /v1/studies/KEY/answers     {prompts, model, device}: packed segmentation
GET       /v1/jobs/ID                 state of an image pass
DELETE    /v1/jobs/ID                 stop it after the tile in work
========  ==========================  ==================================================================

All need ``Authorization: Bearer TOKEN``.  Errors are ``{"error": {"what", "todo", "exit_code"}}``.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import select
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from OpenVocabCTLib.errors import InputError, OpenVocabCTError
from OpenVocabCTLib.worker.engine import Engine
from OpenVocabCTLib.worker.errors import WorkerRefused
from OpenVocabCTLib.worker.failures import BAD_REQUEST, BUSY, LENGTH_REQUIRED, Refusal, as_record, refusal
from OpenVocabCTLib.worker.routes import Reply, Routes

SILENCE_SECONDS = 30.0
_MAX_CONNECTIONS = 64
_DRAIN_SECONDS = 2.0
_SLAB_BYTES = 1 << 20
# A slow link gets this much through within SILENCE_SECONDS.
_SENT_BYTES = 1 << 16

_log = logging.getLogger(__name__)


class WorkerServer(ThreadingHTTPServer):
    """Listens as soon as it is made; `serve_forever` answers.

    Args:
        engine: does the work.
        token: what clients must send.
        host: address to bind.
        port: 0 for any that is free.

    Raises:
        OSError: the port is taken or the address is not of this machine.
    """

    daemon_threads = True
    block_on_close = False
    # On Windows this option would let another program take the port over.
    allow_reuse_address = os.name == "posix"
    request_queue_size = 128

    def __init__(self, engine: Engine, token: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.routes, self.token = Routes(engine), token.encode()
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without looking up the machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or turn the client away when there are too many."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.settimeout(0.1)
            request.sendall(_BUSY_RESPONSE)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what escaped from a handler by its name only; clients that hang up are nothing to log."""
        kind = sys.exc_info()[0]
        if kind is not None and not issubclass(kind, ConnectionError | TimeoutError):
            _log.error("a request ended with %s", kind.__name__)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: WorkerServer
    protocol_version = "HTTP/1.1"
    timeout = SILENCE_SECONDS
    _unread = 0

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def header(self, name: str) -> str:
        """A header, "" where it is missing."""
        return str(self.headers.get(name, ""))

    def body_size(self) -> int:
        """Declared size of the body.

        Raises:
            Refusal: it is missing, no number, or the body comes in chunks.
        """
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") is not None or not lengths:
            raise Refusal(LENGTH_REQUIRED, InputError("the size of the request is not said", "send Content-Length"))
        text = lengths[0].strip()
        if len(lengths) > 1 or not (text.isascii() and text.isdigit() and len(text) < 16):
            raise Refusal(BAD_REQUEST, InputError("the size of the request is no number", "send Content-Length"))
        self._unread = int(text)
        return self._unread

    def read_into(self, buffer: memoryview) -> None:
        """Fill a buffer from the body.

        Raises:
            ConnectionError: the client ended it early.
        """
        while buffer:
            count = self.rfile.readinto(buffer[:_SLAB_BYTES])
            if not count:
                raise ConnectionError("the request ended early")
            self._unread -= count
            buffer = buffer[count:]

    def still_there(self) -> bool:
        """Whether the client still waits: one that gave up has closed its side."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return not readable or bool(self.connection.recv(1, socket.MSG_PEEK))
        except (OSError, ValueError):  # a file number that select cannot take tells nothing
            return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the base class could not read, in our own words."""
        del message, explain
        self._send(int(code), _error_body(InputError("the request cannot be read", "see the protocol")))

    def version_string(self) -> str:
        """Say what this is, not what it runs on."""
        return "OpenVocabCT"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing of a request: texts and paths could tell about patients."""

    def _answer(self) -> None:
        self.close_connection = True
        try:
            # Nothing is told to who has no token, not even which paths there are.
            self._check_token()
            status, body = self._route()(self)
        except (ConnectionError, TimeoutError):  # there is nobody to tell
            raise
        except Exception as error:  # noqa: BLE001 the client is told; the worker must live
            refused = refusal(error)
            status, body = refused.status, _error_body(refused.error)
        self._send(status, body)

    def _route(self) -> Callable[..., Reply]:
        return self.server.routes.find(self.command, self.path)

    def _check_token(self) -> None:
        kind, _, token = self.header("Authorization").partition(" ")
        sent = token.strip().encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(sent, self.server.token) or kind.lower() != "bearer":
            raise WorkerRefused("the worker does not accept this token", "give the token that the worker printed")

    def _send(self, status: int, body: dict[str, Any] | bytes) -> None:
        self.close_connection = True
        self.request_version = self.protocol_version  # what could not be read is answered like the rest
        binary = isinstance(body, bytes)
        data = body if isinstance(body, bytes) else json.dumps(body, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if binary else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self._write(memoryview(data))
        self._let_client_read()

    def _write(self, data: memoryview) -> None:
        """Send in slabs: the time that a client may be silent is the socket's for each call, however much it sends."""
        for start in range(0, len(data), _SENT_BYTES):
            self.wfile.write(data[start : start + _SENT_BYTES])

    def _let_client_read(self) -> None:
        """Read on for a moment: closing a connection with unread input would destroy the answer on its way."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.2)
            end = time.monotonic() + _DRAIN_SECONDS
            while time.monotonic() < end and self.connection.recv(1 << 16):
                pass


def _error_body(error: OpenVocabCTError) -> dict[str, Any]:
    return {"error": as_record(error)}


def _busy_response() -> bytes:
    body = json.dumps(_error_body(OpenVocabCTError("the worker has too many requests at once", "try again"))).encode()
    head = f"HTTP/1.1 {BUSY} Busy\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


_BUSY_RESPONSE = _busy_response()
