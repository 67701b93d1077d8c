"""Where this user's caches and models lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "OPENVOCABCT_CACHE"
MODELS_VARIABLE = "OPENVOCABCT_MODELS"


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


def models_folder() -> Path:
    """Where this user's models are put: the first folder of $OPENVOCABCT_MODELS, or the system's place for data.

    Who chose a folder for the caches finds the models there too.
    """
    chosen = os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)[0]
    if chosen:
        return Path(chosen).expanduser()
    if os.environ.get(CACHE_VARIABLE):
        return cache_folder() / "models"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "openvocabct" / "models"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "openvocabct" / "models"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "openvocabct" / "models"
