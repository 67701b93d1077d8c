"""What the header of a volume file says, checked before ITK reads the file.

ITK 5.4 reads silently, and wrongly: a truncated NIfTI (the rest of the voxels is garbage), a voxel size of zero or NaN
(it becomes 1 mm), NaN in a NIfTI (it becomes 0 HU, water), a damaged compressed MetaImage or NRRD, and a NIfTI whose
sform and pixdim disagree. Hence this module and nifti.py.
Formats: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h, https://teem.sourceforge.net/nrrd/format.html,
https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from OpenVocabCTLib.checks import NOT_FINITE, SUBJECT
from OpenVocabCTLib.errors import InputError

CHUNK = 1 << 16
MAXIMUM_HEADER = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
SAVE_AGAIN = "save or copy it again"
WRONG_NAME = "check the file, its content does not fit its name"

META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_NRRD_MM = {"", "???", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}
_META_MM = {"", "?", "mm"}
_META_LPS = {"", "???", "RAI"}  # from right, anterior and inferior: the axes that ITK takes where there is no direction
_META_SCALE = {"Slope": 1.0, "Offset": 0.0}
# Spaces with named anatomical axes; "scanner-xyz" or "space dimension: 3" do not say where left is.
NRRD_SPACES = {
    "right-anterior-superior", "ras", "left-anterior-superior", "las", "left-posterior-superior", "lps",
}  # fmt: skip


@dataclass(frozen=True)
class Payload:
    """Where a file keeps its voxels.

    Attributes:
        path: the file.
        start: byte where the (compressed) stream begins.
        size: bytes that the stream must have, after decompression.
        compressed: whether it is a gzip or zlib stream.
        float_type: numpy type of floating-point voxels that must be checked here for NaN, else "".
        header: bytes of the stream before the voxels.
    """

    path: Path
    start: int
    size: int
    compressed: bool
    float_type: str = ""
    header: int = 0

    def check(self) -> None:
        """Read through the stream: its length, its check sum, and NaN in floating-point voxels.

        Raises:
            InputError: the file is missing, cut off or damaged, or has voxels that are not finite.
        """
        if not self.path.is_file():
            raise InputError(f"{SUBJECT} lacks its data file", "put the data file beside the header")
        if self.compressed or self.float_type:
            found = self._read_through()
        else:
            found = max(0, self.path.stat().st_size - self.start)
        if found < self.size:
            raise InputError(f"{SUBJECT} is cut off ({found} of {self.size} bytes)", SAVE_AGAIN)

    def _read_through(self) -> int:
        """Return the number of bytes in the stream."""
        found, rest = 0, b""
        with self.path.open("rb") as stream:
            stream.seek(self.start)
            for block in decompress(stream) if self.compressed else iter(partial(stream.read, CHUNK), b""):
                if self.float_type:
                    voxels = block[max(0, self.header - found) : max(0, self.size - found)]
                    rest = _check_finite(rest + voxels, np.dtype(self.float_type))
                found += len(block)
        return found


def _check_finite(content: bytes, dtype: np.dtype[Any]) -> bytes:
    """Check whole voxels and return the bytes of the last, incomplete one."""
    whole = len(content) // dtype.itemsize
    if not np.isfinite(np.frombuffer(content, dtype, whole)).all():
        raise InputError(*NOT_FINITE)
    return content[whole * dtype.itemsize :]


def decompress(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the decompressed blocks of a gzip (one or more members) or zlib stream, verifying its check sums.

    Raises:
        InputError: the stream is damaged or cut off.
    """
    try:
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        while chunk := stream.read(CHUNK):
            yield decoder.decompress(chunk)
            while decoder.eof and decoder.unused_data.startswith(GZIP_MAGIC):
                rest, decoder = decoder.unused_data, zlib.decompressobj(zlib.MAX_WBITS | 32)
                yield decoder.decompress(rest)
    except zlib.error as error:
        raise InputError(f"{SUBJECT} is damaged (its compressed data does not decode)", SAVE_AGAIN) from error
    if not decoder.eof:
        raise InputError(f"{SUBJECT} is cut off in its compressed data", SAVE_AGAIN)


def check_spacing(spacing: Iterable[float]) -> None:
    """Refuse voxel sizes (mm) that are not positive numbers; ITK would take them as 1 mm or flip the axis.

    Raises:
        InputError: zero, negative, infinite or NaN.
    """
    values = list(spacing)
    if not all(math.isfinite(x) and x > 0 for x in values):
        sizes = " x ".join(f"{x:g}" for x in values)
        raise InputError(f"{SUBJECT} has a voxel size of {sizes} mm", "write it again with its true voxel size")


def check_nrrd(path: Path) -> Payload | None:
    """Check that a NRRD header describes a 3D image with voxel size and orientation.

    Returns:
        Where the voxels are (None when they are spread over files or begin later); ITK verifies their number itself,
        but no check sum.

    Raises:
        InputError: not a NRRD file, not 3D, or voxel size or orientation is missing.
    """
    text, end = _text_header(path, rb"\r?\n\r?\n|\Z")
    if not text.startswith("NRRD000"):
        raise InputError(f"{SUBJECT} is not a NRRD file", WRONG_NAME)
    fields: dict[str, str] = dict(re.findall(r"(?m)^([a-z ]+): *(.*?)\s*$", text))
    sizes = fields.get("sizes", "").split()
    if len(sizes) - sizes.count("1") > 3 or len(sizes) < 3:
        raise InputError(f"{SUBJECT} is not one 3D image ({' x '.join(sizes)})", "give one 3D CT")
    if fields.get("space", "").lower() not in NRRD_SPACES:
        raise InputError(
            f"{SUBJECT} does not say which way is left",
            "write it again with a named space such as left-posterior-superior",
        )
    vectors = re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))
    if len(vectors) != 3:
        raise InputError(f"{SUBJECT} does not say how large its voxels are", "write it again with 'space directions'")
    check_spacing(math.hypot(*map(float, vector.split(","))) for vector in vectors)
    units = re.findall(r'"([^"]*)"|(\S+)', fields.get("space units", ""))
    other = sorted({(quoted or bare).strip().lower() for quoted, bare in units} - _NRRD_MM)
    if other:  # ITK takes every number for millimetres
        raise InputError(f"{SUBJECT} is measured in {other[0][:16]}, not in mm", "write it again with its sizes in mm")
    compressed = fields.get("encoding", "").lower() in ("gzip", "gz")
    data_file = fields.get("data file") or fields.get("datafile")
    if data_file is None:
        return Payload(path, end, 0, compressed)
    if re.search(r"%|^LIST|\s\d", data_file) or {"byte skip", "line skip"} & fields.keys():
        return None
    return Payload(path.parent / data_file, 0, 0, compressed)


def check_metaimage(path: Path) -> tuple[Payload | None, tuple[str, ...]]:
    """Check that a MetaImage header gives the voxel size.

    Returns:
        Where the voxels are (None when they are text or spread over files), and notes for the user.

    Raises:
        InputError: not a MetaImage file, or the voxel size is missing.
    """
    text, end = _text_header(path, rb"(?m)^ElementDataFile\s*=.*\n?")
    fields: dict[str, str] = dict(re.findall(r"(?m)^(\w+) *= *(.*?)\s*$", text))
    if "ElementDataFile" not in fields or "DimSize" not in fields:
        raise InputError(f"{SUBJECT} is not a MetaImage file", WRONG_NAME)
    spacing = fields.get("ElementSpacing", fields.get("ElementSize", "")).split()
    if len(spacing) < len(fields["DimSize"].split()):
        raise InputError(f"{SUBJECT} does not say how large its voxels are", "write it again with 'ElementSpacing'")
    check_spacing(map(float, spacing))
    scale = [float(fields.get(f"ElementToIntensityFunction{word}", usual)) for word, usual in _META_SCALE.items()]
    if scale != list(_META_SCALE.values()):  # ITK leaves the voxels as they are stored
        raise InputError(
            f"{SUBJECT} stores its voxels with a slope of {scale[0]:g} and an offset of {scale[1]:g}",
            "write it again with the Hounsfield units themselves",
        )
    unit = fields.get("DistanceUnits", "").lower()
    if unit not in _META_MM:  # ITK takes every number for millimetres
        raise InputError(f"{SUBJECT} is measured in {unit[:16]}, not in mm", "write it again with its sizes in mm")
    notes: tuple[str, ...] = ()
    if not fields.keys() & {"TransformMatrix", "Rotation", "Orientation"}:
        letters = fields.get("AnatomicalOrientation", "")
        if letters.upper() not in _META_LPS:  # ITK does not read them
            raise InputError(
                f"{SUBJECT} gives its orientation in letters only ({letters[:16]})",
                "write it again with a 'TransformMatrix'",
            )
        notes = ("the header has no direction: axes taken as left, posterior, superior",)
    element = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")
    size = META_BYTES.get(element, 0) * math.prod(int(n) for n in re.findall(r"-?\d+", fields["DimSize"]))
    size *= int(fields.get("ElementNumberOfChannels", "1"))
    data_file, skip = fields["ElementDataFile"], int(fields.get("HeaderSize", "0"))
    compressed = fields.get("CompressedData", "False").lower().startswith("t")
    if fields.get("BinaryData", "True").lower().startswith("f") or re.search(r"%|^LIST|\s\d", data_file):
        return None, notes
    if data_file.upper() == "LOCAL":
        return Payload(path, end, size, compressed), notes
    return Payload(path.parent / data_file, max(skip, 0), size, compressed), notes


def _text_header(path: Path, end: bytes) -> tuple[str, int]:
    """Return the header up to and with the pattern `end`, and where the bytes after it begin."""
    with path.open("rb") as stream:
        head = stream.read(MAXIMUM_HEADER)
    match = re.search(end, head)
    stop = match.end() if match else len(head)
    return head[:stop].decode("latin-1"), stop
