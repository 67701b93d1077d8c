"""A segmentation as bytes: a JSON header, then every mask as compressed bits of its bounding box.

Layout: magic, length of the header (4 bytes, little endian), header (JSON), masks one after the other.  The reader
trusts nothing: every size is checked against the volume's grid before memory is taken.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from OpenVocabCTLib.errors import ResourceError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.masks import CroppedMask, Index3
from OpenVocabCTLib.output.segmentation import Segment, Segmentation
from OpenVocabCTLib.prompts.terminology import Code, Terminology
from OpenVocabCTLib.worker.errors import ProtocolError
from OpenVocabCTLib.worker.steps import Progress, Steps, run

MAGIC = b"OVCA\x01\r\n\x00"
_LENGTH_BYTES = 4
_MAX_HEADER_BYTES = 16 << 20
_MAX_SEGMENTS = 1024
# 2 million voxels: a few milliseconds.
_PIECE_BYTES = 1 << 18
_CHUNK_BYTES = 1 << 15
_COMPRESSION_LEVEL = 1
_TEXTS = ("id", "name", "prompt", "reason")
_NUMBERS = ("presence", "threshold", "volume_ml", "seconds")


class Packer:
    """Packs segments as they are found, so that only one uncompressed mask at a time needs memory."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._masks: list[bytes] = []

    def add(self, segment: Segment) -> None:
        """Compress one segment; nothing refers to its mask afterwards."""
        record: dict[str, Any] = {name: getattr(segment, name) for name in (*_TEXTS, *_NUMBERS)}
        record |= {"canonical": segment.canonical, "mean_hu": segment.mean_hu, "colour": list(segment.colour)}
        record["doubts"] = list(segment.doubts)
        record["terminology"] = None if segment.terminology is None else asdict(segment.terminology)
        record["mask"] = None
        if segment.cropped is not None:
            data = _compress(segment.cropped.array)
            size = segment.cropped.size
            record["mask"] = {"start": list(segment.cropped.start), "size": list(size), "bytes": len(data)}
            self._masks.append(data)
        self._records.append(record)

    def finish(self, geometry: Geometry, notes: Iterable[str]) -> bytes:
        """Return everything as one message."""
        header = {"shape": list(geometry.shape), "notes": list(notes), "segments": self._records}
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
        return b"".join((MAGIC, len(text).to_bytes(_LENGTH_BYTES, "little"), text, *self._masks))


def pack_answers(segmentation: Segmentation) -> bytes:
    """Turn a segmentation into bytes; the CT itself is left out."""
    packer = Packer()
    for segment in segmentation:
        packer.add(segment)
    return packer.finish(segmentation.geometry, segmentation.notes)


def unpack_answers(data: bytes, geometry: Geometry) -> Segmentation:
    """Read what `pack_answers` wrote.

    Args:
        data: the message.
        geometry: grid of the volume that was asked about.

    Raises:
        ProtocolError: the message is damaged, or about another grid.
    """
    return run(unpack_steps(data, geometry))


def unpack_steps(data: bytes | bytearray | memoryview, geometry: Geometry) -> Steps[Segmentation]:
    """Read what `pack_answers` wrote, in steps; see `unpack_answers`."""
    try:
        view = memoryview(data)
        header, offset = _read_header(view)
        if header["shape"] != list(geometry.shape):
            raise ValueError("another grid")
        segments = []
        for record in _list_of(header["segments"], dict):
            mask = None
            if record["mask"] is not None:
                size = _natural(record["mask"]["bytes"])
                mask = yield from _mask_steps(record["mask"], view[offset : offset + size], geometry.shape)
                offset += size
            segments.append(_segment(record, mask))
            yield Progress("answering", len(segments), len(header["segments"]))
        if offset != len(view):
            raise ValueError("length")
        notes = tuple(_list_of(header["notes"], str))
        return Segmentation(geometry, tuple(segments), notes=notes)
    except MemoryError as error:
        raise ResourceError("the answer does not fit into memory", "close other programs or ask for less") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, zlib.error) as error:
        raise ProtocolError(
            "the worker's answer cannot be read", "try again, and restart the worker if it stays"
        ) from error


def _compress(mask: np.ndarray) -> bytes:
    """Pack plane by plane, so that no second copy of a large mask is needed."""
    compressor = zlib.compressobj(_COMPRESSION_LEVEL)
    flat = np.ascontiguousarray(mask).reshape(-1)
    piece = _PIECE_BYTES * 8
    parts = [compressor.compress(np.packbits(flat[i : i + piece]).data) for i in range(0, flat.size, piece)]
    return b"".join((*parts, compressor.flush()))


def _mask_steps(record: dict[str, Any], data: memoryview, shape: Index3) -> Steps[CroppedMask]:
    start, size = _index(record["start"]), _index(record["size"])
    if min(size) < 1 or any(a + n > full for a, n, full in zip(start, size, shape, strict=True)):
        raise ValueError("box")
    if len(data) != record["bytes"]:
        raise ValueError("cut off")
    count = math.prod(size)
    flat = np.empty(count, dtype=bool)
    packed, filled = _Inflater(data), 0
    while filled < count:
        # The sizes are known, so a small message can never unfold into more than its box.
        piece = packed.read(min(_PIECE_BYTES, -(-(count - filled) // 8)))
        bits = min(count - filled, len(piece) * 8)
        flat[filled : filled + bits] = np.unpackbits(np.frombuffer(piece, np.uint8), count=bits).view(bool)
        filled += bits
        yield None
    packed.check_end()
    return CroppedMask(start, flat.reshape(size), shape)


class _Inflater:
    """Decompresses a buffer piece by piece; fed in small chunks, because what a chunk leaves over is copied."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._position = data, 0
        self._expander = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        piece = self._expander.decompress(self._next_input(), size)
        while len(piece) < size:
            data = self._next_input()
            if not data or self._expander.eof:
                raise ValueError("too short")
            piece += self._expander.decompress(data, size - len(piece))
        return piece

    def check_end(self) -> None:
        """Refuse anything more."""
        while data := self._next_input():
            if self._expander.eof or self._expander.decompress(data, 1):
                raise ValueError("too long")
        if not self._expander.eof or self._expander.unused_data:
            raise ValueError("end")

    def _next_input(self) -> bytes | memoryview:
        if self._expander.unconsumed_tail:
            return self._expander.unconsumed_tail
        self._position += _CHUNK_BYTES
        return self._data[self._position - _CHUNK_BYTES : self._position]


def _segment(record: dict[str, Any], mask: CroppedMask | None) -> Segment:
    fields: dict[str, Any] = {name: _text(record[name]) for name in _TEXTS}
    fields |= {name: _number(record[name]) for name in _NUMBERS}
    if not (0.0 <= fields["presence"] <= 1.0 and 0.0 < fields["threshold"] < 1.0 and fields["id"]):
        raise ValueError("segment")
    red, green, blue = (_natural(value) for value in record["colour"])
    if max(red, green, blue) > 255:
        raise ValueError("colour")
    return Segment(
        **fields,
        canonical=None if record["canonical"] is None else _text(record["canonical"]),
        terminology=_terminology(record["terminology"]),
        colour=(red, green, blue),
        found=mask is not None,
        mean_hu=None if record["mean_hu"] is None else _number(record["mean_hu"]),
        cropped=mask,
        doubts=tuple(_list_of(record.get("doubts", []), str)),  # earlier versions send none
    )


def _terminology(record: dict[str, Any] | None) -> Terminology | None:
    if record is None:
        return None
    category, kind, *others = (
        None if record[name] is None else Code(*(_text(record[name][part]) for part in ("scheme", "value", "meaning")))
        for name in ("category", "type", "modifier", "region", "region_modifier")
    )
    if category is None or kind is None:
        raise ValueError("terminology")
    return Terminology(category, kind, *others)


def _read_header(view: memoryview) -> tuple[dict[str, Any], int]:
    begin = len(MAGIC) + _LENGTH_BYTES
    length = int.from_bytes(view[len(MAGIC) : begin], "little")
    if view[: len(MAGIC)] != MAGIC or length > min(_MAX_HEADER_BYTES, len(view) - begin):
        raise ValueError("header")
    header = json.loads(bytes(view[begin : begin + length]))
    if not isinstance(header, dict) or len(_list_of(header["segments"], dict)) > _MAX_SEGMENTS:
        raise ValueError("header")
    return header, begin + length


def _list_of(value: object, kind: type) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise TypeError("list")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("number")
    return float(value)


def _natural(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("natural number")
    return value


def _index(value: object) -> Index3:
    k, j, i = (_natural(n) for n in _list_of(value, int))
    return k, j, i
