"""The parts of the library that the commands stand on; a test hands in its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from OpenVocabCTLib.inference import Segmenter
    from OpenVocabCTLib.volume import CTVolume


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready, with the words that reports call it by."""

    name: str
    device: str
    segmenter: Segmenter


def _load_model(name_or_dir: str | None, device: str) -> LoadedModel:
    from OpenVocabCTLib.inference.preparing import Preparation
    from OpenVocabCTLib.models.checkpoints import resolve, verify

    # Segmenter checks the same again; here it happens before the seconds that importing torch takes.
    folder = resolve(name_or_dir)
    verify(folder)
    preparation = Preparation.start(folder, device)
    from OpenVocabCTLib.inference.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(folder, device=device, preparation=preparation)
    return LoadedModel(folder.resolve().name, str(segmenter.compute.device), segmenter)


def _read_volume(path: Path) -> CTVolume:
    from OpenVocabCTLib.volume import CTVolume

    return CTVolume.read(path)


@dataclass(frozen=True)
class Services:
    """How a command gets a model, from a name or folder and a device, and how it gets a CT."""

    load_model: Callable[[str | None, str], LoadedModel] = _load_model
    read_volume: Callable[[Path], CTVolume] = _read_volume


def with_embedding_folder(services: Services, folder: Path | None) -> Services:
    """Return services whose models keep voxel embeddings in a folder; the same services where there is none.

    Raises:
        InputError: the folder cannot be made or written.
    """
    if folder is None:
        return services
    from OpenVocabCTLib.output.atomic import make_folder

    folder = Path(os.path.abspath(folder))  # a worker of a Ray cluster runs in a folder of its own
    make_folder(folder, mode=0o700)
    return replace(services, load_model=partial(_load_with_folder, services.load_model, folder))


def _load_with_folder(
    load_model: Callable[[str | None, str], LoadedModel], folder: Path, name_or_dir: str | None, device: str
) -> LoadedModel:
    loaded = load_model(name_or_dir, device)
    from OpenVocabCTLib.inference.embedding_folder import EmbeddingFolder

    loaded.segmenter.folder = EmbeddingFolder(folder)
    return loaded


def services_of(context: typer.Context) -> Services:
    """Return the services that the command was started with."""
    return context.find_object(Services) or Services()
