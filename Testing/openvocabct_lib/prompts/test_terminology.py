"""Slicer terminology strings, read back with Slicer's own terminologies logic."""

from __future__ import annotations

from typing import Any

import pytest

from OpenVocabCTLib.prompts import Code, Terminology, Vocabulary


@pytest.fixture(scope="module")
def slicer_logic() -> Any:
    import slicer

    application, scene = slicer.vtkSlicerApplicationLogic(), slicer.vtkMRMLScene()
    application.SetMRMLScene(scene)
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    return logic


def test_tag_has_the_seven_fields_that_slicer_writes() -> None:
    terminology = Terminology(
        Code("SCT", "123037004", "Anatomical Structure"),
        Code("SCT", "64033007", "Kidney"),
        Code("SCT", "7771000", "Left"),
    )
    assert terminology.slicer_tag() == (
        "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
        "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
    )


def test_slicer_reads_every_tag_and_writes_it_back_unchanged(slicer_logic: Any) -> None:
    import slicer

    tagged = [concept for concept in Vocabulary.load() if concept.terminology is not None]
    assert len(tagged) > 300
    for concept in tagged:
        entry = slicer.vtkSlicerTerminologyEntry()
        tag = concept.terminology.slicer_tag()
        assert slicer_logic.DeserializeTerminologyEntry(tag, entry), concept.id
        assert entry.GetTypeObject().GetCodeValue() == concept.terminology.type.value
        assert entry.GetTypeObject().GetCodeMeaning() == concept.terminology.type.meaning
        assert slicer_logic.SerializeTerminologyEntry(entry) == tag


def test_slicer_sees_the_side_of_a_finding_on_its_region(slicer_logic: Any) -> None:
    import slicer

    entry = slicer.vtkSlicerTerminologyEntry()
    tag = Vocabulary.load().get("right_kidney_cyst").terminology.slicer_tag()
    assert slicer_logic.DeserializeTerminologyEntry(tag, entry)
    assert entry.GetRegionObject().GetCodeMeaning() == "Kidney"
    assert entry.GetRegionModifierObject().GetCodeMeaning() == "Right"
    assert entry.GetTypeModifierObject().GetCodeMeaning() is None


def test_no_code_holds_a_separator_of_the_tag() -> None:
    for concept in Vocabulary.load():
        if concept.terminology is not None:
            assert concept.terminology.slicer_tag().count("~") == 6
            assert concept.terminology.slicer_tag().count("^") == 10
