"""A training checkpoint becomes a model folder: half-precision weights, configuration, embeddings of known phrases."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from safetensors.torch import save
from torch import Tensor

from openvocabct_training.data.module import PatchDataModule
from openvocabct_training.data.sampling import count_concepts
from openvocabct_training.data.store import CaseStore
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.segmenter import BANK_FILE
from OpenVocabCTLib.models.checkpoints import CONFIG_FILE, WEIGHTS_FILE, sha256_file, verify
from OpenVocabCTLib.models.config import ArchitectureConfig, DecisionConfig, ModelConfig, PreprocessingConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder, TextEncoder

_PREFIX = "model."

# A checkpoint of a module that Python code made holds these; one that LightningCLI made holds plain dictionaries.
torch.serialization.add_safe_globals([ArchitectureConfig, PreprocessingConfig])


@dataclass(frozen=True)
class TrainedNetwork:
    """What a checkpoint holds that a model folder needs.

    Attributes:
        config: sizes and preprocessing, with default decisions.
        weights: averaged fp32 weights of the ``OpenVocabCT`` network, by name.
        concepts: concept id -> number of training cases that show it; ``None`` in checkpoints that do not say.
    """

    config: ModelConfig
    weights: Mapping[str, Tensor]
    concepts: Mapping[str, int] | None


def load_checkpoint(path: Path) -> TrainedNetwork:
    """Read a Lightning checkpoint of ``TextPromptedSegmentation`` without unpickling arbitrary classes.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}", "check the path")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        config = _config(checkpoint["hyper_parameters"])
        # The weight-averaging callback puts the averaged weights here, and the current ones elsewhere.
        state = checkpoint["state_dict"]
        weights = {key.removeprefix(_PREFIX): tensor for key, tensor in state.items() if key.startswith(_PREFIX)}
        OpenVocabCT(config.architecture, config.preprocessing).load_state_dict(weights)
    except (pickle.UnpicklingError, EOFError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no checkpoint of this training ({type(error).__name__})",
            "give a .ckpt file that `openvocabct-train fit` wrote",
        ) from error
    return TrainedNetwork(config, weights, checkpoint.get(PatchDataModule.__qualname__, {}).get("trained_concepts"))


def _config(hyperparameters: Mapping[str, Any]) -> ModelConfig:
    sections = {name: hyperparameters[name] for name in ("architecture", "preprocessing")}
    return ModelConfig.from_dict(
        {name: section if isinstance(section, dict) else asdict(section) for name, section in sections.items()}
    )


def read_decision(path: Path) -> DecisionConfig:
    """Read thresholds from a YAML file with the fields of ``DecisionConfig``.

    Raises:
        InputError: the file is missing or has other fields.
    """
    try:
        return DecisionConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read thresholds from {path} ({error})", "see Training/configs") from error


def export_checkpoint(
    checkpoint: Path,
    store: Path,
    output: Path,
    name: str,
    version: str,
    decision: DecisionConfig | None = None,
    encoder: TextEncoder | None = None,
) -> None:
    """Write a model folder; the model card is written by a person.

    Args:
        checkpoint: ``.ckpt`` of a run; its averaged weights are exported.
        store: the store that the run was trained on.
        output: folder to write.
        name: of the model.
        version: of the model.
        decision: thresholds that a person chose on validation patients; the defaults if None.
        encoder: the text encoder of the run; the default one if None.

    Raises:
        InputError: the checkpoint or the store cannot be used, or the folder cannot be written.
    """
    network = load_checkpoint(checkpoint)
    concepts = network.concepts
    if concepts is None:
        concepts = count_concepts(CaseStore(store).records("train"))
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / WEIGHTS_FILE) as temporary:
        # Not save_file, which makes the file private to the user.
        temporary.write_bytes(save({key: tensor.half().contiguous() for key, tensor in network.weights.items()}))
    vocabulary = Vocabulary.load()
    texts = [phrase for concept in concepts for phrase in vocabulary.phrases(vocabulary.get(concept))]
    with replacing(output / BANK_FILE) as temporary:
        EmbeddingBank.build(texts, encoder or HuggingFaceTextEncoder.default()).write(temporary)
    config = network.config if decision is None else replace(network.config, decision=decision)
    write_config(output, config, concepts, name, version)
    verify(output)


def write_config(
    output: Path, config: ModelConfig, concepts: Mapping[str, int], name: str, version: str, **extra: Any
) -> None:
    """Write ``config.json`` with the hashes of the files beside it.

    Args:
        output: the model folder.
        config: sizes, preprocessing and decisions.
        concepts: concept id -> number of training cases that show it.
        name: of the model.
        version: of the model.
        **extra: further entries.
    """
    description = {
        "name": name,
        "version": version,
        "description": "Text-prompted CT segmentation: STU-Net image tower, frozen text encoder, late fusion",
        "licence": "Apache-2.0",
        **config.to_dict(),
        "concepts": {concept: {"cases": cases} for concept, cases in concepts.items()},
        "sha256": {file: sha256_file(output / file) for file in (WEIGHTS_FILE, BANK_FILE)},
        **extra,
    }
    with replacing(output / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
