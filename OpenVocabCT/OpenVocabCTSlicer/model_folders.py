"""Models that are here or can be had, folders that the user brings along, and what an engine says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.checkpoints import DEFAULT_MODEL, available_models
from OpenVocabCTLib.models.registry import find, registry
from OpenVocabCTSlicer.strings import _

_MODEL_FILES = ("config.json", "model.safetensors")
_GIGABYTE = 1024**3
_MEGABYTE = 1024**2


def check_model_folder(folder: Path) -> None:
    """Check that a folder looks like a model; its hashes are verified when it is loaded.

    Raises:
        InputError: a file is missing or config.json is not JSON.
    """
    missing = [name for name in _MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            _("the folder has no {files}").format(files=", ".join(missing)), _("choose the folder of a model")
        )
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(_("the model's config.json cannot be read"), _("copy the model's folder again")) from error


def installed_models() -> dict[str, str]:
    """Return folder -> name of the models that are installed on this machine, the default one left out."""
    return {str(info.folder): info.name for info in available_models() if info.name != DEFAULT_MODEL}


def public_models() -> dict[str, str]:
    """Return name -> label of the public models that are not installed."""
    here = set(installed_models().values())
    label = _("{name} (about {size} MB, not installed)")
    return {one.name: label.format(name=one.name, size=one.megabytes) for one in registry() if one.name not in here}


def how_to_install(name: str) -> str:
    """Say what a public model segments, its licence, and how it gets here."""
    entry = find(name)
    way = f"openvocabct models download {name}"
    if not entry.files:
        way = _("get it from {page}, then openvocabct models import FILE --as {name}").format(
            page=entry.page, name=name
        )
    return _("{name}: {segments}. Licence: {licence}. To install it: {way}").format(
        name=name, segments=entry.segments, licence=entry.licence, way=way
    )


def status_text(status: dict[str, Any]) -> str:
    """Return "version 0.1.0, model openvocabct-small on cuda"."""
    model = status.get("model")
    loaded = _("no model loaded yet")
    if isinstance(model, dict):
        loaded = _("model {name} on {device}").format(name=model.get("name", "?"), device=model.get("device", "?"))
    return _("version {version}, {model}").format(version=status.get("version", "?"), model=loaded)


def memory_text(status: dict[str, Any]) -> str:
    """Return "2 CTs, 512 MB in the engine's memory"."""
    size = int(status.get("bytes", 0))
    amount = f"{size / _GIGABYTE:.1f} GB" if size >= _GIGABYTE else f"{size / _MEGABYTE:.0f} MB"
    return _("{count} CTs, {amount} in the engine's memory, nothing on disk").format(
        count=len(status.get("studies", ())), amount=amount
    )
