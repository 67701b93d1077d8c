"""Where this user's caches lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "OPENVOCABCT_CACHE"


def cache_folder() -> Path:
    """Where this user's caches lie: $OPENVOCABCT_CACHE, or the system's place for them."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "openvocabct" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "openvocabct"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openvocabct"
