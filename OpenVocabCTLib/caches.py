"""Where this user's caches and models lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from OpenVocabCTLib.errors import InputError

CACHE_VARIABLE = "OPENVOCABCT_CACHE"
MODELS_VARIABLE = "OPENVOCABCT_MODELS"


def cache_folder() -> Path:
    """Where this user's caches lie: $OPENVOCABCT_CACHE, or the system's place for them.

    Raises:
        InputError: nobody knows this user's home folder, as in a container without an entry for the user.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return expanded(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local") / "openvocabct" / "cache"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "openvocabct"
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "openvocabct"


def models_folder() -> Path:
    """Where this user's models are put: the first folder of $OPENVOCABCT_MODELS, or the system's place for data.

    Who chose a folder for the caches finds the models there too.

    Raises:
        InputError: as for `cache_folder`.
    """
    chosen = os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)[0]
    if chosen:
        return expanded(chosen)
    if os.environ.get(CACHE_VARIABLE):
        return cache_folder() / "models"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local") / "openvocabct" / "models"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "openvocabct" / "models"
    return Path(os.environ.get("XDG_DATA_HOME") or _home() / ".local" / "share") / "openvocabct" / "models"


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` written out.

    Raises:
        InputError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"the home folder in {path} is not known", "give the whole path") from error


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise InputError("this user has no home folder", f"set {CACHE_VARIABLE} to a folder of yours") from error
