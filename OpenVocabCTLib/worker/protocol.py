"""What client and worker agree on: addresses, the header and the key of a volume, prompts; importable inside Slicer.

The key of a volume is the sha256 of its header and its voxels, so equal volumes have equal keys, whoever sends them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.worker.packing import pack_answers, unpack_answers, unpack_steps
from OpenVocabCTLib.worker.steps import Progress, Steps, run

__all__ = [
    "PROTOCOL_VERSION",
    "TOKEN_VARIABLE",
    "Address",
    "PromptRequest",
    "VolumeHeader",
    "content_key",
    "content_key_steps",
    "pack_answers",
    "slabs",
    "unpack_answers",
    "unpack_steps",
]

PROTOCOL_VERSION = 1
TOKEN_VARIABLE = "OPENVOCABCT_TOKEN"
VOLUME_HEADER = "X-OpenVocabCT-Volume"
# Small enough to be hashed or copied well within ten milliseconds.
SLAB_BYTES = 1 << 20
MAX_PROMPTS = 256
MAX_PROMPT_LENGTH = 2000
MAX_REPORT_LENGTH = 100_000

DTYPES = frozenset(
    {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"},
)


@dataclass(frozen=True)
class Address:
    """Where a worker listens, and the token that opens it.

    Attributes:
        host: name or number.
        port: TCP port.
        token: bearer token; never shown in a representation, so that it does not end up in logs.
        tls: whether the connection is encrypted (a reverse proxy before a remote worker).
    """

    host: str
    port: int
    token: str = field(repr=False)
    tls: bool = False

    @classmethod
    def parse(cls, text: str, token: str) -> Self:
        """Read what a person typed: "host:port", "http://host:port" or "https://host[:port]".

        Raises:
            InputError: it is none of these, or the token cannot be a token.
        """
        example = "give it as 127.0.0.1:8765 or https://host"
        try:
            parts = urlsplit(text.strip() if "//" in text else f"//{text.strip()}", scheme="http")
            port = parts.port
        except ValueError as error:
            raise InputError(f"{text!r} is no address", example) from error
        tls = parts.scheme == "https"
        port = 443 if tls and port is None else port
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not port or parts.path.strip("/"):
            raise InputError(f"{text!r} is no address", example)
        if not host or "@" in parts.netloc or any(character.isspace() for character in host):
            raise InputError(f"{text!r} is no address", example)
        return cls(host, port, check_token(token.strip()), tls)


def check_token(token: str) -> str:
    """Return the token if it can travel in an HTTP header.

    Raises:
        InputError: it is empty or has characters other than visible ASCII.
    """
    if not token or not all("!" <= character <= "~" for character in token):
        raise InputError("the token is empty or has blanks or special characters", "copy it again from the server")
    return token


@dataclass(frozen=True)
class PromptRequest:
    """One prompt to be answered.

    Attributes:
        text: as typed.
        threshold: voxel probability between 0 and 1 that counts as inside; None is the model's own.
    """

    text: str
    threshold: float | None = None


@dataclass(frozen=True)
class VolumeHeader:
    """What the voxels that follow are.

    Attributes:
        dtype: numpy name of the voxel type, one of `DTYPES`; on the wire they are little endian, in C order (K, J, I).
        geometry: the grid, LPS mm.

    Raises:
        InputError: the type is not one of `DTYPES`.
    """

    dtype: str
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"the volume has voxels of type {self.dtype}", "give a CT with one real number per voxel")

    @classmethod
    def of(cls, array: np.ndarray, geometry: Geometry) -> Self:
        """Describe an array (K, J, I) on a grid."""
        return cls(array.dtype.name, geometry)

    @property
    def nbytes(self) -> int:
        """Size of the voxels on the wire."""
        return math.prod(self.geometry.shape) * self.wire_dtype.itemsize

    @property
    def wire_dtype(self) -> np.dtype[Any]:
        """Voxel type on the wire."""
        return np.dtype(self.dtype).newbyteorder("<")

    def to_json(self) -> str:
        """Return one line of ASCII; equal headers give equal lines."""
        grid = self.geometry
        return json.dumps(
            {
                "dtype": self.dtype,
                "shape": grid.shape,
                "spacing": grid.spacing,
                "origin": grid.origin,
                "direction": grid.direction,
            },
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InputError: it is malformed, or describes no grid of a CT.
        """
        try:
            raw = json.loads(text)
            dtype, shape = raw["dtype"], raw["shape"]
            if not isinstance(dtype, str) or not all(type(n) is int for n in shape):
                raise TypeError("voxel type or shape")
            numbers = [tuple(float(x) for x in raw[name]) for name in ("spacing", "origin", "direction")]
            spacing, origin, direction = numbers
            geometry = Geometry(tuple(shape), spacing, origin, direction)  # type: ignore[arg-type]
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise InputError("the header of the volume cannot be read", "send it as the protocol says") from error
        return cls(dtype, geometry)

    def check(self, array: np.ndarray) -> None:
        """Refuse an array that this header does not describe.

        Raises:
            InputError: shape or voxel type differ.
        """
        if tuple(array.shape) != self.geometry.shape or array.dtype.name != self.dtype:
            raise InputError(
                f"the array has {array.shape} voxels of {array.dtype.name}, its header {self.geometry.shape} of "
                f"{self.dtype}",
                "give the header that belongs to the array",
            )

    def start_key(self) -> hashlib._Hash:
        """Return the hash into which all voxels are to be fed, slab by slab, to get the key."""
        return hashlib.sha256(self.to_json().encode() + b"\n")


def slabs(header: VolumeHeader, array: np.ndarray) -> Iterator[memoryview]:
    """Yield the voxels as they go over the wire, at most `SLAB_BYTES` at a time; copies only where it must.

    Args:
        header: describes the array.
        array: voxels (K, J, I), any memory layout and byte order.
    """
    header.check(array)
    for plane in array:
        voxels: Any = np.ascontiguousarray(plane, dtype=header.wire_dtype)
        data = memoryview(voxels).cast("B")
        for start in range(0, len(data), SLAB_BYTES):
            yield data[start : start + SLAB_BYTES]


def content_key_steps(header: VolumeHeader, array: np.ndarray) -> Steps[str]:
    """Compute the key of a volume without blocking; 64 hexadecimal digits."""
    digest = header.start_key()
    done = reported = 0
    for slab in slabs(header, array):
        digest.update(slab)
        done += len(slab)
        if done - reported >= SLAB_BYTES:
            reported = done
            yield Progress("waiting", done, header.nbytes)
    return digest.hexdigest()


def content_key(header: VolumeHeader, array: np.ndarray) -> str:
    """Compute the key of a volume."""
    return run(content_key_steps(header, array))
