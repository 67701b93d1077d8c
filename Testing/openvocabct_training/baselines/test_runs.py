"""Baselines through the same command line as the text-prompted network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openvocabct_training.baselines import UniversalModelSegmentation, load_baseline
from openvocabct_training.baselines.predictor import ClosedVocabularyPredictor
from openvocabct_training.data.store import CaseStore
from Testing.openvocabct_training.tiny_run import PATCH, configuration, fit, write_configuration
from Testing.openvocabct_training.toys import TEXT_DIM, HashEncoder

CONCEPTS = ["left_parotid_gland", "right_parotid_gland", "liver"]


def test_a_run_from_its_configuration_to_a_predictor(store: CaseStore, tmp_path: Path, encoder: HashEncoder) -> None:
    config = configuration(store, tmp_path, 2)
    config["model"] = {
        "class_path": "openvocabct_training.baselines.UniversalModelSegmentation",
        "init_args": {
            "concepts": CONCEPTS,
            "preprocessing": {"spacing_mm": 3.0, "tile": PATCH},
            "size": "tiny",
            "text_dim": TEXT_DIM,
            "warmup_steps": 1,
        },
    }
    fit(write_configuration(tmp_path / "input.yaml", config))
    assert len(list((tmp_path / "previews").iterdir())) == 1
    predictor = load_baseline(tmp_path / "checkpoints" / "last.ckpt", "cpu")
    assert isinstance(predictor, ClosedVocabularyPredictor)
    module = predictor.module
    assert isinstance(module, UniversalModelSegmentation)
    assert module.concepts == tuple(CONCEPTS) and module.preprocessing.tile == tuple(PATCH)
    averaged = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(weight, averaged[name]) for name, weight in module.state_dict().items())
    expected = encoder.encode(["a computerized tomography of a liver"])[0]
    assert module.class_text[2].numpy() == pytest.approx(expected)
