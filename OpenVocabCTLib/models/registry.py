"""Public models that are not part of the program: what they segment, under which licence, where they are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from OpenVocabCTLib.errors import InputError

FILE = Path(__file__).with_name("registry.json")
ESTIMATES = ("megabytes", "memory_gb", "cpu_minutes")


@dataclass(frozen=True)
class RemoteFile:
    """One file of a model: a zip with an nnU-Net results folder.

    Attributes:
        url: where it is.
        sha256: as its publisher states it, None where none is stated.
    """

    url: str
    sha256: str | None


@dataclass(frozen=True)
class Entry:
    """One public model.

    Attributes:
        name: what it is called, here and once it is installed.
        segments: what it segments, in words.
        framework: what its checkpoint was written by.
        spacing_mm: voxels that it works on.
        megabytes: of the converted weights, estimated from the published number of parameters.
        licence: of the weights.
        permissive: whether the licence asks nothing of the user; others have to be accepted.
        page: where people read about it, and get it when it cannot be downloaded by program.
        files: what is downloaded; none when it has to be fetched by hand.
        memory_gb, cpu_minutes: estimates for a CT of 512 x 512 x 600 voxels with all networks.
    """

    name: str
    segments: str
    framework: Literal["nnunet", "stunet"]
    spacing_mm: float
    megabytes: int
    licence: str
    permissive: bool
    page: str
    files: tuple[RemoteFile, ...]
    memory_gb: int
    cpu_minutes: int

    def record(self) -> dict[str, Any]:
        """Describe it for ``--json``."""
        return asdict(self) | {"downloadable": bool(self.files), "estimates": list(ESTIMATES)}


@lru_cache(maxsize=1)
def registry() -> tuple[Entry, ...]:
    """Return all entries."""
    models = json.loads(FILE.read_text(encoding="utf-8"))["models"]
    return tuple(Entry(**(one | {"files": tuple(RemoteFile(**file) for file in one["files"])})) for one in models)


def find(name: str) -> Entry:
    """Return an entry.

    Raises:
        InputError: there is none of this name.
    """
    for entry in registry():
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in registry())
    raise InputError(f"the registry has no model {name!r}", f"choose one of {names}")


def check_accepted(entry: Entry, accepted: bool) -> None:
    """Refuse a model whose licence has to be accepted first.

    Raises:
        InputError: it was not accepted.
    """
    if not entry.permissive and not accepted:
        raise InputError(
            f"{entry.name} has the licence: {entry.licence.replace(':', ',')}",
            f"read {entry.page} and add --accept-licence if you may use it",
        )
