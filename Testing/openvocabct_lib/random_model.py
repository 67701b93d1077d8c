"""A complete model folder with random weights: everything works, only the answers are meaningless."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from OpenVocabCTLib.models.checkpoints import sha256_file
from OpenVocabCTLib.models.config import ArchitectureConfig, ModelConfig, PreprocessingConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from OpenVocabCTLib.prompts import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder

CONCEPTS = ("left_lung", "right_lung", "spinal_cord")


def write_random_model(folder: Path) -> Path:
    """Write a tiny model "trained" on `CONCEPTS`."""
    folder.mkdir(parents=True)
    config = ModelConfig(
        ArchitectureConfig(size="tiny", embedding_dim=8, query_hidden_dim=16),
        PreprocessingConfig(spacing_mm=4.0, tile=(64, 32, 32)),
    )
    torch.manual_seed(0)
    network = OpenVocabCT(config.architecture, config.preprocessing)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    vocabulary = Vocabulary.load()
    phrases = [phrase for concept in CONCEPTS for phrase in vocabulary.phrases(vocabulary.get(concept))[:3]]
    EmbeddingBank.build(phrases, HuggingFaceTextEncoder.default()).write(folder / "text_bank.safetensors")
    (folder / "MODEL_CARD.md").write_text("# Random weights\n", encoding="utf-8")
    entries = {
        "name": folder.name,
        "version": "0",
        "description": "Random weights.",
        "licence": "Apache-2.0",
        "concepts": {concept: {"cases": 1, "dice": None} for concept in CONCEPTS},
        "sha256": {path.name: sha256_file(path) for path in sorted(folder.glob("*.safetensors"))},
    }
    (folder / "config.json").write_text(json.dumps(config.to_dict() | entries), encoding="utf-8")
    return folder
