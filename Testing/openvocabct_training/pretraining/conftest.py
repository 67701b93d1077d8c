"""Fixtures of pretraining."""

from __future__ import annotations

import pytest

from openvocabct_training.data.store import CaseStore
from Testing.openvocabct_training.pretraining.toy_corpus import write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """A store with reports and captions; read it only."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))
