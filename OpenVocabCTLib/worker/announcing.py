"""The small file in which a worker says where it listens; only its owner can read it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.errors import ProtocolError
from OpenVocabCTLib.worker.protocol import PROTOCOL_VERSION, Address, check_token

_MAX_BYTES = 65536


@dataclass(frozen=True)
class Announcement:
    """Where a worker listens.

    Attributes:
        host: address to connect to.
        port: TCP port.
        pid: process id of the worker.
        token: its token, None when whoever started it knows it already.
        protocol: version that it speaks.
    """

    host: str
    port: int
    pid: int
    token: str | None = None
    protocol: int = PROTOCOL_VERSION

    def write(self, path: Path) -> None:
        """Write the file at once and for the owner only (0600), replacing an older announcement or an empty file.

        Raises:
            InputError: it cannot be written, or something else has its name.
        """
        _check_replaceable(path)
        record: Mapping[str, Any] = {"protocol": self.protocol, "host": self.host, "port": self.port, "pid": self.pid}
        if self.token is not None:
            record = {**record, "token": self.token}
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
        try:
            # Created private: changing the mode afterwards would leave a moment in which others can open it.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                json.dump(record, stream)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise InputError(
                f"{path.name} cannot be written ({error.strerror or type(error).__name__})",
                "give --announce a file in a folder of yours",
            ) from error

    @classmethod
    def read(cls, path: Path) -> Announcement | None:
        """Read the file; None when it is not there yet.

        Raises:
            ProtocolError: it holds something else, or speaks of another version of the protocol.
        """
        try:
            with path.open("rb") as stream:
                data = stream.read(_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ProtocolError(f"{path.name} cannot be read ({error.strerror})", "start the worker again") from error
        try:
            raw = json.loads(data)
            protocol, host, port, pid, token = (raw.get(name) for name in ("protocol", "host", "port", "pid", "token"))
            if not (type(protocol) is type(port) is type(pid) is int and isinstance(host, str)):
                raise TypeError("types")
            if token is not None:
                check_token(token)
        except (ValueError, TypeError, AttributeError, InputError) as error:
            raise ProtocolError(f"{path.name} does not say where a worker listens", "start the worker again") from error
        return cls(host, port, pid, token, protocol)

    def address(self, token: str | None = None) -> Address:
        """Return where to connect.

        Args:
            token: the token that the worker was given; the announced one if None.

        Raises:
            ProtocolError: the worker speaks another version of the protocol, or no token is known.
        """
        check_protocol(self.protocol)
        known = self.token if token is None else token
        if known is None:
            raise ProtocolError("the worker's token is not known", "start the worker again")
        return Address(self.host, self.port, known)


def _check_replaceable(path: Path) -> None:
    if path.is_file() and not path.stat().st_size:  # as `mktemp` makes it
        return
    try:
        Announcement.read(path)
    except ProtocolError as error:
        raise InputError(
            f"{path.name} is there and does not say where a worker listens", "give --announce another file"
        ) from error


def check_protocol(version: object) -> None:
    """Refuse a worker that speaks another version of the protocol.

    Raises:
        ProtocolError: it does.
    """
    if version != PROTOCOL_VERSION:
        shown = version if isinstance(version, int) else "none"
        raise ProtocolError(
            f"the worker speaks version {shown} of the protocol, this program version {PROTOCOL_VERSION}",
            "install the same version of OpenVocabCT on both sides",
        )
