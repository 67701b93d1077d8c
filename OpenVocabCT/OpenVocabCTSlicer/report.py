"""The text behind "Copy report": versions, settings and the error; never a patient's name, a path or a prompt."""

from __future__ import annotations

import platform
import re
import sys
import traceback
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from OpenVocabCTLib.errors import OpenVocabCTError

_LOG_LINES = 40
_PACKAGES = ("torch", "transformers", "safetensors", "numpy", "SimpleITK")
# Windows and POSIX paths, and file addresses: they can hold a patient's name, and a name can hold commas, quotes and
# brackets. So a path ends only where the sentence goes on, and where no part of a path follows any more.
_PATHS = re.compile(
    r"(?:file://|[A-Za-z]:[\\/]|\\\\|~/|(?<![\w.])/(?=[\w.])).*?(?=(?:: | cannot | is | was )[^\\/\n]*$|$)",
    re.MULTILINE,
)
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")


def report(error: Exception | None, facts: Mapping[str, str], application: str, log: str = "") -> str:
    """Return lines to paste into an issue.

    Args:
        error: the last error, None when there was none.
        facts: what else helps ("model", "device", "remote"): free of names and paths.
        application: name and version of the application.
        log: what an installation printed; its last lines are added.
    """
    lines = [
        "OpenVocabCT report",
        f"application: {application}",
        f"python: {platform.python_version()}, {platform.system()} {platform.release()} {platform.machine()}",
        *(f"{name}: {_version(name)}" for name in _PACKAGES),
        *(f"{key}: {anonymous(value)}" for key, value in facts.items()),
    ]
    lines.append("error: none" if error is None else f"error: {type(error).__name__}: {anonymous(str(error))}")
    if error is not None and not isinstance(error, OpenVocabCTError):
        lines += _frames(error)
    if log:
        lines += ["installation:", *(f"  {anonymous(line)}" for line in log.splitlines()[-_LOG_LINES:])]
    return "\n".join(lines)


def anonymous(text: str) -> str:
    """Replace paths and quoted words (names, prompts) in a message."""
    return _QUOTED.sub("'...'", _PATHS.sub("<path>", text))


def _frames(error: Exception) -> list[str]:
    """Where it happened: file name, line and function, without folders and without source lines."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"  {Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def application_name(app: object) -> str:
    """Return "Slicer 5.10.0" of ``slicer.app``, or the Python program's name where there is none."""
    name, version = getattr(app, "applicationName", ""), getattr(app, "applicationVersion", "")
    return f"{name} {version}".strip() or Path(sys.executable).name
