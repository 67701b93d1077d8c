"""The vocabulary among the terminologies of Slicer's own logic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import slicer

from OpenVocabCTLib.prompts.slicer_terminology import CONTEXT_NAME
from OpenVocabCTSlicer.suggestions import terminology_suggestions
from OpenVocabCTSlicer.terminologies import FILE, loaded_terminologies, offer_vocabulary


@pytest.fixture
def logic() -> Any:
    application, scene = slicer.vtkSlicerApplicationLogic(), slicer.vtkMRMLScene()
    application.SetMRMLScene(scene)
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    return logic


def test_slicer_offers_the_vocabulary(logic: Any) -> None:
    assert offer_vocabulary(logic) == CONTEXT_NAME
    assert loaded_terminologies(logic).count(CONTEXT_NAME) == 1
    phrases = {suggestion.phrase for suggestion in terminology_suggestions(logic, CONTEXT_NAME)}
    assert {"parotid gland", "left parotid gland", "spinal cord", "liver"} <= phrases
    assert len(phrases) > 300


def test_it_is_loaded_once_and_what_the_user_loaded_stays(logic: Any) -> None:
    offer_vocabulary(logic)
    assert offer_vocabulary(logic, Path("/nowhere")) == CONTEXT_NAME
    assert loaded_terminologies(logic).count(CONTEXT_NAME) == 1


def test_a_file_that_cannot_be_read_is_only_logged(
    logic: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.term.json"
    broken.write_text(FILE.read_text(encoding="utf-8")[:5000], encoding="utf-8")
    assert offer_vocabulary(logic, broken) == ""
    assert "could not be loaded" in caplog.text
    assert str(tmp_path) not in caplog.text
