from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from OpenVocabCTLib.errors import OpenVocabCTError
from OpenVocabCTLib.worker import connecting, exchange
from OpenVocabCTLib.worker.client import WorkerClient
from OpenVocabCTLib.worker.errors import ProtocolError, WorkerLost
from OpenVocabCTLib.worker.protocol import Address, PromptRequest
from OpenVocabCTLib.worker.session import Session
from OpenVocabCTLib.worker.steps import run
from Testing.openvocabct_lib.worker.running import TOKEN, ct, running_server


@contextmanager
def answering_with(respond: Callable[[socket.socket], None]) -> Iterator[Address]:
    """Something that listens and is no worker of ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        respond(connection)
            except OSError:
                return

        threading.Thread(target=listen, daemon=True).start()
        yield Address("127.0.0.1", listener.getsockname()[1], TOKEN)
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", WorkerLost),
        (b"HTTP/1.1 200 OK\r\nContent-Le", WorkerLost),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", WorkerLost),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", ProtocolError),
        (b"\x00" * 100_000, ProtocolError),
        (b"HTTP/1.1 two hundred\r\n\r\n", ProtocolError),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{}", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xff", ProtocolError),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 5\r\n\r\nhello", ProtocolError),
        (b'HTTP/1.1 500 No\r\nContent-Length: 13\r\n\r\n{"error": [1]}'[:-1], ProtocolError),
    ],
)
def test_whatever_answers_there_is_one_sentence(answer: bytes, kind: type[OpenVocabCTError]) -> None:
    with answering_with(lambda connection: connection.sendall(answer)) as address, pytest.raises(kind) as caught:
        WorkerClient(address).status()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_an_answer_in_single_bytes_is_read() -> None:
    def slowly(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b'HTTP/1.1 200 OK\r\ncontent-LENGTH: 8\r\n\r\n{"a": 1}':
            connection.sendall(bytes([byte]))
            time.sleep(0.0005)

    with answering_with(slowly) as address:
        assert WorkerClient(address).status() == {"a": 1}


def test_silence_has_an_end() -> None:
    request = exchange.Request("GET", "/v1/status", silence=0.3)
    with answering_with(lambda connection: time.sleep(2)) as address:
        began = time.monotonic()
        with pytest.raises(WorkerLost, match="has not answered"):
            run(exchange.exchange(address, request))
        assert time.monotonic() - began < 1.5


def test_a_host_by_name_and_one_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server() as worker:
        assert WorkerClient(Address("localhost", worker.server.port, TOKEN)).status()["protocol"] == 1
    with pytest.raises(WorkerLost, match="not known"):
        WorkerClient(Address("no-such-host.invalid", 8765, TOKEN)).status()
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.2)
    with pytest.raises(WorkerLost):  # an address that no one has: no answer, or no route
        WorkerClient(Address("192.0.2.1", 8765, TOKEN)).status()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with the openssl command")
def test_an_encrypted_connection_and_one_that_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with running_server() as worker:
        # As a reverse proxy does it: the worker itself speaks plain HTTP.
        worker.server.socket = context.wrap_socket(worker.server.socket, server_side=True)
        address = Address.parse(f"https://127.0.0.1:{worker.server.port}", TOKEN)
        exchange._tls_context.cache_clear()
        with pytest.raises(WorkerLost, match="encrypted"):
            WorkerClient(address).status()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        exchange._tls_context.cache_clear()
        result = run(Session(address).segment(ct(shape=(32, 128, 160)), [PromptRequest("bones")]))
        assert result.segments[0].found
        with pytest.raises(OpenVocabCTError):  # a client that does not encrypt
            WorkerClient(Address("127.0.0.1", worker.server.port, TOKEN)).status()
    exchange._tls_context.cache_clear()
