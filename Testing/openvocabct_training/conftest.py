"""Fixtures of the training suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from openvocabct_training.data.store import CaseStore
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder
from Testing.openvocabct_training.tiny_run import train
from Testing.openvocabct_training.toys import HashEncoder, write_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """A store of toy cases; read it only."""
    return write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> HashEncoder:
    """Takes the place of the default text encoder."""
    encoder = HashEncoder()
    monkeypatch.setattr(HuggingFaceTextEncoder, "default", lambda: encoder)
    return encoder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, store: CaseStore) -> Path:
    """The checkpoints of a run of two tiny epochs; read them only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HuggingFaceTextEncoder, "default", HashEncoder)
        return train(store, tmp_path_factory.mktemp("run"))
