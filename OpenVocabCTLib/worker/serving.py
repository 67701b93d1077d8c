"""Run a worker from start to end: bind, announce, wait for a reason to end, clean up."""

from __future__ import annotations

import ipaddress
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.announcing import Announcement
from OpenVocabCTLib.worker.engine import Engine
from OpenVocabCTLib.worker.errors import ProtocolError
from OpenVocabCTLib.worker.protocol import TOKEN_VARIABLE, check_token
from OpenVocabCTLib.worker.server import WorkerServer
from OpenVocabCTLib.worker.studies import Limits

if TYPE_CHECKING:
    from OpenVocabCTLib.commands.services import LoadedModel

_TOKEN_LENGTH = 16
_STOP_SECONDS = 2.0
_EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@dataclass(frozen=True)
class ServeOptions:
    """How a worker is run.

    Attributes:
        host: address to bind.
        port: 0 for any that is free.
        announce: file in which to say where it listens.
        model: default model, name or folder; None is the embedded one.
        device: default device.
        limits: how much it keeps.
        idle_seconds: after so long without a request all memory is freed; never if 0.
        watch_stdin: end when standard input ends.
        token: what clients must send; made at random if None.
    """

    host: str = "127.0.0.1"
    port: int = 0
    announce: Path | None = None
    model: str | None = None
    device: str = "auto"
    limits: Limits = field(default_factory=Limits)
    idle_seconds: float = 0.0
    watch_stdin: bool = False
    token: str | None = None

    def check(self) -> None:
        """Refuse what would be unsafe or could not be reached.

        Raises:
            InputError: there is no token and no file to announce one, it is too short, or the worker would be open to
                other machines without a token that a person chose.
        """
        if self.token is None:
            if not is_loopback(self.host):
                raise InputError(
                    f"other machines could reach {self.host}, but there is no token",
                    f"set the environment variable {TOKEN_VARIABLE} to a long random text, or use --host 127.0.0.1",
                )
            if self.announce is None:
                raise InputError(
                    "clients could not know the token",
                    f"set the environment variable {TOKEN_VARIABLE} to a long random text, or give --announce FILE",
                )
            return
        check_token(self.token)
        if len(self.token) < _TOKEN_LENGTH:
            raise InputError(
                f"the token in {TOKEN_VARIABLE} has only {len(self.token)} characters",
                f"use at least {_TOKEN_LENGTH}, for example the output of openssl rand -hex 32",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    options: ServeOptions,
    load_model: Callable[[str | None, str], LoadedModel],
    say: Callable[[str], None],
    stop: threading.Event | None = None,
) -> bool:
    """Serve until told to stop: by a signal, by the end of standard input, or by the event.

    Args:
        options: how.
        load_model: loads a model by name or folder on a device.
        say: prints one line for the person who started this.
        stop: ends it when set.

    Returns:
        Whether everything ended; False when an image pass is still in its tile, or a model is still being loaded, which
        only the end of the process ends.

    Raises:
        InputError: the options are unsafe, the address cannot be bound or the announcement not be written.
    """
    options.check()
    stop = threading.Event() if stop is None else stop
    token = options.token or secrets.token_urlsafe(32)
    engine = Engine(load_model, options.limits, (options.model, options.device), options.idle_seconds)
    server = _bind(engine, token, options)
    threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True).start()
    try:
        with _announced(options, server.port, token), _stopping_on_signals(stop):
            if options.watch_stdin:
                _watch_stdin(stop)
            for line in directions(options, server.port):
                say(line)
            engine.preload()
            while not stop.wait(0.5):  # a wait without end could not be interrupted on Windows
                pass
    finally:
        server.shutdown()
        server.server_close()
        ended = engine.stop(_STOP_SECONDS)
    return ended


def directions(options: ServeOptions, port: int) -> list[str]:
    """Say how to reach a worker; nothing for one whose parent knows."""
    if options.watch_stdin:
        return []
    lines = [
        f"listening on {options.host}:{port}",
        f"from another machine: ssh -N -L {port}:127.0.0.1:{port} USER@THIS_MACHINE, then connect to 127.0.0.1:{port}",
    ]
    if options.token is None:
        lines.append(f"the token is in {options.announce}")
    if not is_loopback(options.host):
        lines.append("the connection is not encrypted: prefer the tunnel, or put a reverse proxy with TLS before it")
    return lines


def _bind(engine: Engine, token: str, options: ServeOptions) -> WorkerServer:
    try:
        return WorkerServer(engine, token, options.host, options.port)
    except (OSError, OverflowError) as error:
        engine.stop(0)
        reason = getattr(error, "strerror", None) or "no such port"
        raise InputError(
            f"cannot listen on {options.host}:{options.port} ({reason})", "choose another --host or --port"
        ) from error


@contextmanager
def _announced(options: ServeOptions, port: int, token: str) -> Iterator[None]:
    """Write the announcement, and remove it at the end unless another worker has replaced it."""
    path = options.announce
    if path is None:
        yield
        return
    host = _EVERY_INTERFACE.get(options.host, options.host)
    Announcement(host, port, os.getpid(), token if options.token is None else None).write(path)
    try:
        yield
    finally:
        if _is_ours(path):
            path.unlink(missing_ok=True)


def _is_ours(announcement: Path) -> bool:
    try:
        written = Announcement.read(announcement) if announcement.is_file() else None
    except ProtocolError:  # it holds something else by now
        return False
    return written is not None and written.pid == os.getpid()


@contextmanager
def _stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM, SIGINT and SIGHUP end the worker cleanly; only the main thread may ask for signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    numbers = [signal.SIGTERM, signal.SIGINT]
    # The end of a terminal or of an SSH session, unless `nohup` was to keep that from us; Windows has no such signal.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch_stdin(stop: threading.Event) -> None:
    """End when standard input does: the parent holds its other side, and lets go of it even when it is killed."""
    if sys.stdin is None:
        raise InputError("there is no standard input to watch", "leave --watch-stdin out")
    descriptor = sys.stdin.fileno()

    def watch() -> None:
        try:
            # Not sys.stdin.read, whose lock would be held when the interpreter shuts down.
            while os.read(descriptor, 4096):
                pass
        except OSError:
            pass
        stop.set()

    threading.Thread(target=watch, name="standard input", daemon=True).start()
