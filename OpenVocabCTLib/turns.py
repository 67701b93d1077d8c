"""Runs that share files take turns."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_SECONDS = 0.2


@contextmanager
def turn(lock: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Keep every other process out of its own block with the same lock while this one lasts.

    The system gives the lock back when a process ends, however it ends.

    Args:
        lock: a file that is made, and removed at the end.
        wait: called once if another process has its turn.

    Raises:
        OSError: the file cannot be made.
    """
    told = False
    while (descriptor := _taken(lock)) is None:
        if not told:
            wait()
            told = True
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows keeps what is open
            lock.unlink(missing_ok=True)
        os.close(descriptor)


def _taken(lock: Path) -> int | None:
    """Return the descriptor that holds the lock, None while another one does."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    # Who had it before may have removed the file between the two steps: then the lock is on nothing.
    with suppress(FileNotFoundError):
        if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), lock.stat()):
            return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks: runs are then told apart by nothing
        return True
    return True
