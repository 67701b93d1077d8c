"""Where DICOM files lie: in folders or inside a zip, listed and opened in the same way."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from OpenVocabCTLib.checks import SUBJECT
from OpenVocabCTLib.errors import InputError

ZIP_SUFFIX = ".zip"
# What operating systems leave beside the images; DICOMDIR only repeats what the images say.
_BYSTANDERS = frozenset({"DICOMDIR", ".DS_STORE", "THUMBS.DB", "DESKTOP.INI"})
_LARGEST_MEMBER_BYTES = 4 * 2**30
_MAGIC_OFFSET, _MAGIC = 128, b"DICM"
# Of the thread that reads; other threads open their own.
_kept_open: ContextVar[dict[Path, zipfile.ZipFile] | None] = ContextVar("archives kept open", default=None)
_OLD_START = b"\x08\x00"  # group 0008, little endian: a data set without the header of PS3.10


@dataclass(frozen=True, order=True)
class Location:
    """One file.

    Attributes:
        path: the file, or the zip that holds it.
        member: name inside the zip; "" for a plain file.
    """

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """Name of the file without its folders."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it for reading; a member of a zip is unpacked into memory.

        Raises:
            InputError: the zip is damaged, encrypted, or holds a member that is too large.
            OSError: it cannot be opened.
        """
        if not self.member:
            with self.path.open("rb") as file:
                yield file
            return
        with _opened(self.path) as archive:
            content = _content(archive, self.member)
        with io.BytesIO(content) as memory:
            yield memory


def list_locations(source: Path) -> tuple[Location, ...]:
    """List the files of a folder and its subfolders, of a zip, or the file itself, sorted by name.

    Links to folders are not followed.

    Raises:
        InputError: the zip is damaged.
    """
    if source.is_dir():
        found = [Location(path) for path in source.rglob("*") if path.is_file()]
    elif source.suffix.lower() == ZIP_SUFFIX:
        with _opened(source) as archive:
            found = [Location(source, member.filename) for member in archive.infolist() if not member.is_dir()]
    else:
        return (Location(source),)
    return tuple(sorted(location for location in found if not is_bystander(location)))


def linked_folders(source: Path) -> int:
    """Count the links to folders below a folder, which `list_locations` does not follow: they can lead in circles."""
    return sum(path.is_symlink() and path.is_dir() for path in source.rglob("*")) if source.is_dir() else 0


def is_dicom_file(path: Path) -> bool:
    """Say whether a file starts as DICOM files do (PS3.10)."""
    with path.open("rb") as file:
        return looks_like_dicom(file) == "part 10"


def looks_like_dicom(file: BinaryIO) -> str:
    """Return "part 10" for a DICOM file, "bare" for a data set without file header, else "". Rewinds the file."""
    start = file.read(_MAGIC_OFFSET + len(_MAGIC))
    file.seek(0)
    if start[_MAGIC_OFFSET:] == _MAGIC:
        return "part 10"
    return "bare" if start.startswith(_OLD_START) else ""


def is_bystander(location: Location) -> bool:
    """Say whether a file is there for the operating system, or only lists the others."""
    name = location.name.upper()
    return name in _BYSTANDERS or name.startswith("._") or location.member.startswith("__MACOSX/")


@contextmanager
def archives_kept_open() -> Iterator[None]:
    """Open each zip once for all that is read from it in the block: opening it reads the list of all its members."""
    if _kept_open.get() is not None:
        yield
        return
    archives: dict[Path, zipfile.ZipFile] = {}
    token = _kept_open.set(archives)
    try:
        yield
    finally:
        _kept_open.reset(token)
        for archive in archives.values():
            archive.close()


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    kept = _kept_open.get()
    archive = None if kept is None else kept.get(path)
    if archive is None:
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise InputError(f"{SUBJECT} is not a zip that can be read", "copy it again, or unpack it") from error
    if kept is not None:
        kept[path] = archive
        yield archive
        return
    with archive:
        yield archive


def _content(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        if archive.getinfo(member).file_size > _LARGEST_MEMBER_BYTES:
            raise InputError(f"{SUBJECT} is a zip with a file of more than 4 GB", "unpack it and give the folder")
        return archive.read(member)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise InputError(f"{SUBJECT} is a zip with a damaged file", "copy it again") from error
    except RuntimeError as error:  # what zipfile says when a password is needed
        raise InputError(f"{SUBJECT} is an encrypted zip", "unpack it and give the folder") from error
