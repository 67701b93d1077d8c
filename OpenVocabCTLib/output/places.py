"""Whether two names mean the same file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

Identity = tuple[int, int] | str


def identity(path: Path) -> Identity:
    """Return what all names of a file share, be they links or, on some disks, the same in other letter case.

    Args:
        path: of a file or folder; where there is none yet, its resolved path tells.
    """
    try:
        found = path.stat()
    except OSError:
        found = None
    if found is None or not found.st_ino:  # some disks do not number their files
        real = os.path.normcase(os.path.realpath(path))
        return real.casefold() if sys.platform == "darwin" else real
    return found.st_dev, found.st_ino
