"""A user's own pip settings: what leads to the packages is kept, what leads them elsewhere is not.

An environment variable beats ``pip.conf``, but an empty one does not count: a folder that is set there cannot be unset.
Then the files are left out altogether, and all else that they say is handed on as variables.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

# Switches that can be turned off.
_OFF = {"user": "0", "require-virtualenv": "0", "dry-run": "0"}
# Folders where Slicer does not look.
_ELSEWHERE = frozenset({"target", "prefix", "root"})
_SECTIONS = ("global", "install")


def read_settings(lines: Iterable[str]) -> dict[str, str]:
    """Read what ``pip config list`` prints; only what counts for an installation, and no variables."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in lines:
        name, _, value = line.partition("=")
        section, _, key = name.strip().partition(".")
        if section in found:
            with suppress(ValueError, SyntaxError):
                found[section][key] = str(ast.literal_eval(value))
    return found["global"] | found["install"]


def is_misled(environ: Mapping[str, str], settings: Mapping[str, str]) -> bool:
    """Whether pip, left alone, would not put packages where Slicer looks for them."""
    harmful = _OFF.keys() | _ELSEWHERE
    return not harmful.isdisjoint(settings) or any(_variable(key) in map(str.upper, environ) for key in harmful)


def harmless(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which pip installs where Slicer looks.

    Args:
        environ: environment to start from.
        settings: of pip's configuration files, see `read_settings`.
    """
    dropped = {_variable(key) for key in _ELSEWHERE}
    kept = {name: value for name, value in environ.items() if name.upper() not in dropped}
    if not _ELSEWHERE.isdisjoint(settings):
        others = {_variable(key): value for key, value in settings.items() if key not in _ELSEWHERE}
        kept = others | kept | {"PIP_CONFIG_FILE": os.devnull}
    off = {_variable(key): value for key, value in _OFF.items()}
    return {name: value for name, value in kept.items() if name.upper() not in off} | off


def _variable(key: str) -> str:
    return "PIP_" + key.upper().replace("-", "_")
