"""Find, describe and verify model folders, with the standard library only.

A model folder holds ``model.safetensors``, ``config.json``, ``MODEL_CARD.md`` and, when the model ships one,
``text_bank.safetensors``.  ``config.json`` lists the sha256 of every ``.safetensors`` file beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenVocabCTLib.caches import MODELS_VARIABLE, expanded, models_folder
from OpenVocabCTLib.errors import InputError, ModelError
from OpenVocabCTLib.models.config import answered_concepts, voxel_size

DEFAULT_MODEL = "openvocabct-small"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "weights"

_CHUNK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInfo:
    """What a model's folder says about it.

    Attributes:
        name: name of the folder; what ``--model`` takes.
        folder: where it is.
        version: the model's own version.
        description: one sentence.
        licence: licence of the weights.
        spacing_mm: size of the voxels that the network works on, along (S, A, R).
        parameters: number of weights in ``model.safetensors``, and in the files of further networks.
        concepts: ids of the vocabulary's concepts that it was trained on.
        answered: ids of those that it answers for, see ``config.answered_concepts``.
    """

    name: str
    folder: Path
    version: str
    description: str
    licence: str
    spacing_mm: tuple[float, float, float]
    parameters: int
    concepts: tuple[str, ...]
    answered: tuple[str, ...]


def available_models() -> tuple[ModelInfo, ...]:
    """Describe every readable model: the embedded, those in the folders of $OPENVOCABCT_MODELS, then the user's.

    A folder that cannot be read is logged and left out, so that one damaged model does not hide the others.
    """
    models = []
    for folder in _model_folders():
        try:
            models.append(describe(folder))
        except ModelError as error:
            _log.warning("model folder %s is left out: %s", folder, error)
    return tuple(models)


def resolve(name_or_dir: str | Path | None = None) -> Path:
    """Find the folder of a model.

    Args:
        name_or_dir: a name that ``available_models`` lists, or a folder; None is the embedded default.

    Raises:
        ModelError: there is no such model.
        InputError: a home folder is not known.
    """
    wanted = DEFAULT_MODEL if name_or_dir is None else name_or_dir
    folders = _model_folders()
    for folder in folders:
        if isinstance(wanted, str) and folder.name == wanted:
            return folder
    folder = expanded(wanted)
    if (folder / CONFIG_FILE).is_file():
        return folder
    if folder.is_dir():
        raise ModelError(f"{folder} has no {CONFIG_FILE}", "give a folder that holds a model")
    names = ", ".join(dict.fromkeys(f.name for f in folders))
    todo = f"choose one of {names}, or give a folder" if names else "install openvocabct again, or give a folder"
    raise ModelError(f"there is no model {str(wanted)!r}", todo)


def check_name(name: str) -> None:
    """Refuse a name for a new model that another one has: it would hide the new one.

    Raises:
        InputError: it is taken.
    """
    other = next((folder for folder in _model_folders() if folder.name == name), None)
    if other is not None:
        owner = "comes with the program" if other.parent == EMBEDDED_FOLDER else "is already installed"
        raise InputError(f"a model {name!r} {owner}", "choose another --name")


def read_config(folder: Path) -> dict[str, Any]:
    """Read a model's ``config.json``.

    Raises:
        ModelError: it is missing, unreadable or not a JSON object, or what it says of its concepts is malformed.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror})", "install the model again") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON, or nested thousands of times
        raise ModelError(f"{path} is not valid JSON", "install the model again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} does not hold a JSON object", "install the model again")
    try:
        _concept_ids(config.get("concepts", {}))
    except TypeError as error:
        raise ModelError(f"{path} is malformed ({error})", "install the model again") from error
    return config


def describe(folder: Path) -> ModelInfo:
    """Read what a model says about itself; nothing is hashed.

    Raises:
        ModelError: a file is missing or unreadable, or the configuration lacks an entry.
    """
    config = read_config(folder)
    try:
        return ModelInfo(
            name=folder.resolve().name,
            folder=folder,
            version=str(config["version"]),
            description=str(config["description"]),
            licence=str(config["licence"]),
            spacing_mm=voxel_size(config["preprocessing"]["spacing_mm"]),
            parameters=sum(count_parameters(folder / name) for name in weights_files(config)),
            concepts=_concept_ids(config["concepts"]),
            answered=tuple(answered_concepts(config)),
        )
    except KeyError as error:
        raise ModelError(f"{folder / CONFIG_FILE} has no entry {error}", "install the model again") from error
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG_FILE} is malformed ({error})", "install the model again") from error


def weights_files(config: dict[str, Any]) -> tuple[str, ...]:
    """Files of a parsed ``config.json`` that hold networks."""
    networks = config.get("networks")
    if not isinstance(networks, list):
        return (WEIGHTS_FILE,)
    return tuple(Path(str(network["file"])).name for network in networks)


def verify(folder: Path) -> None:
    """Compare every weights file of a model with the sha256 in its configuration.

    Raises:
        ModelError: a file is missing, differs or is not listed, or the configuration is unreadable.
    """
    expected = _expected_hashes(folder)
    unlisted = sorted({path.name for path in folder.glob("*.safetensors")} - expected.keys())
    if unlisted:
        raise ModelError(f"{folder / unlisted[0]} has no sha256 in {CONFIG_FILE}", "install the model again")
    for name, digest in expected.items():
        path = folder / name
        try:
            actual = sha256_file(path)
        except OSError as error:
            raise ModelError(f"cannot read {path} ({error.strerror})", "install the model again") from error
        if actual != digest.lower():
            raise ModelError(
                f"{path} is damaged or was changed (its sha256 differs from {CONFIG_FILE})", "install the model again"
            )


def sha256_file(path: Path) -> str:
    """Hash a file piece by piece; hexadecimal, lower case."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def count_parameters(path: Path) -> int:
    """Count the numbers in a safetensors file from its header (8 bytes of length, then JSON).

    Raises:
        ModelError: the file is missing or its header is not that of a safetensors file.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise ValueError("header too long")
            header = json.loads(stream.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        count = sum(math.prod(entry["shape"]) for entry in tensors)
        if count > 8 * path.stat().st_size:
            raise ValueError("more numbers than bits")
        return count
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror})", "install the model again") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is not a safetensors file", "install the model again") from error


def _model_folders() -> tuple[Path, ...]:
    roots = [EMBEDDED_FOLDER]
    roots += [expanded(entry) for entry in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if entry]
    roots += [models_folder()] if models_folder() not in roots else []
    # What begins with a dot was being written when its program was killed.
    return tuple(config.parent for root in roots for config in sorted(root.glob(f"[!.]*/{CONFIG_FILE}")))


def _concept_ids(concepts: object) -> tuple[str, ...]:
    if not isinstance(concepts, dict) or not all(isinstance(facts, dict) for facts in concepts.values()):
        raise TypeError("concepts must be an object of objects")
    if not all(facts.get("cases") is None or type(facts["cases"]) is int for facts in concepts.values()):
        raise TypeError("the cases of a concept must be a number of scans")
    return tuple(concepts)


def _expected_hashes(folder: Path) -> dict[str, str]:
    hashes = read_config(folder).get("sha256")
    path = folder / CONFIG_FILE
    if not isinstance(hashes, dict) or not all(isinstance(digest, str) for digest in hashes.values()):
        raise ModelError(f"{path} has no sha256 entries", "install the model again")
    if WEIGHTS_FILE not in hashes:
        raise ModelError(f"{path} has no sha256 of {WEIGHTS_FILE}", "install the model again")
    for name in hashes:
        if Path(name).name != name:
            raise ModelError(f"{path} lists {name!r}, which is not a file beside it", "install the model again")
    return hashes
