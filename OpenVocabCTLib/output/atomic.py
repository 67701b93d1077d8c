"""Output files that are either complete or not there."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from OpenVocabCTLib.errors import InputError, OpenVocabCTError, ResourceError

# What a full disk, a full quota and a file size limit look like.
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_STEM_LENGTH = 40


@contextmanager
def replacing(path: Path, suffix: str | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` when the block ends without an exception.

    The temporary file lies in the folder of `path`, so that the final step is one rename, and ends with the same
    suffix, because many writers choose the format by it. A link is followed: what it points to is replaced.

    Args:
        path: where the finished file goes; an existing file there is replaced.
        suffix: ending of the temporary name, for example ".nii.gz"; the last suffix of `path` by default.

    Raises:
        InputError: when the folder cannot be written.
        ResourceError: when the disk is full. Nothing is left behind in either case, nor on any other exception.
    """
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        temporary = _create_beside(target, target.suffix if suffix is None else suffix)
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, target)
        flush_folder(target.parent)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise os_error(error, path) from error
        raise


def probe_folder(folder: Path) -> None:
    """Create and remove a file in a folder: permissions alone do not tell on read-only and network disks.

    Raises:
        OSError: when that is not possible.
    """
    _create_beside(folder / "probe", ".tmp").unlink()


def os_error(error: OSError, path: Path) -> OpenVocabCTError:
    """Return what to tell the user about a failed write."""
    while error.errno is None and isinstance(error.__cause__, OSError):  # pydicom puts it into one without its number
        error = error.__cause__
    if error.errno in _FULL:
        return ResourceError(
            f"the disk of {path.name} is full or limits the size of a file", "free some disk space or write elsewhere"
        )
    reason = error.strerror or type(error).__name__
    return InputError(f"{path.name} cannot be written ({reason})", "check the folder's permissions or write elsewhere")


def _create_beside(target: Path, suffix: str) -> Path:
    name = f".{target.name[:_STEM_LENGTH]}.{secrets.token_hex(6)}.part{suffix}"
    temporary = target.with_name(name)
    # Not tempfile.mkstemp: its files are private to the user, and colleagues should be able to read results.
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return temporary


def _flush_to_disk(path: Path) -> None:
    # Windows flushes only files that are open for writing.
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Make a rename within a folder durable, on systems where folders can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse this; the file is complete and in place all the same.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, its parents too, and see that it can be written.

    Args:
        folder: may exist already.
        mode: of the folder, if it is made here; the process's mask applies.

    Raises:
        OpenVocabCTError: it cannot be made or written.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        probe_folder(folder)
    except OSError as error:
        raise os_error(error, folder) from error
