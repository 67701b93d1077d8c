"""Slicer terminology strings, read back with Slicer's own terminologies logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from OpenVocabCTLib.prompts import Code, Terminology, Vocabulary
from OpenVocabCTLib.prompts.slicer_terminology import CONTEXT_NAME, as_text, terminology_context

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "OpenVocabCT" / "Resources" / "SegmentationCategoryTypeModifier-OpenVocabCT.term.json"


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


CODE_KEYS = {"CodingSchemeDesignator", "CodeValue", "CodeMeaning"}
OPTIONAL_KEYS = {"recommendedDisplayRGBValue", "3dSlicerLabel", "cid", "contextGroupName", "SNOMEDCTConceptID"}


def assert_coded(entry: dict[str, Any], more: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """What dcmqi's segment-context-schema asks of every code: short strings, and no other keys."""
    assert CODE_KEYS <= set(entry) <= CODE_KEYS | OPTIONAL_KEYS | more
    assert all(isinstance(entry[key], str) and entry[key] for key in CODE_KEYS)
    assert len(entry["CodeValue"]) <= 16 and len(entry["CodingSchemeDesignator"]) <= 16  # SH
    assert len(entry["CodeMeaning"]) <= 64  # LO
    colour = entry.get("recommendedDisplayRGBValue", [0, 0, 0])
    assert len(colour) == 3 and all(isinstance(value, int) and 0 <= value <= 255 for value in colour)


def test_the_terminology_file_follows_the_schema() -> None:
    content = terminology_context(Vocabulary.load())
    assert set(content) == {"SegmentationCategoryTypeContextName", "@schema", "SegmentationCodes"}
    assert set(content["SegmentationCodes"]) == {"Category"}
    for category in content["SegmentationCodes"]["Category"]:
        assert_coded(category, {"Type", "showAnatomy"})
        assert isinstance(category["showAnatomy"], bool) and category["Type"]
        values = [(one["CodingSchemeDesignator"], one["CodeValue"]) for one in category["Type"]]
        assert len(values) == len(set(values)), "a code stands twice in a category"
        for one in category["Type"]:
            assert_coded(one, {"Modifier"})
            assert "Modifier" not in one or one["Modifier"]
            for modifier in one.get("Modifier", ()):
                assert_coded(modifier)


def test_the_terminology_file_is_that_of_the_vocabulary() -> None:
    assert FILE.read_text(encoding="utf-8") == as_text(Vocabulary.load())
    assert json.loads(as_text(Vocabulary.load())) == terminology_context(Vocabulary.load())


def test_slicer_loads_the_terminology_file(slicer_logic: Any) -> None:
    import slicer

    assert slicer_logic.LoadTerminologyFromFile(str(FILE)) == CONTEXT_NAME
    content = terminology_context(Vocabulary.load())["SegmentationCodes"]["Category"]
    assert slicer_logic.GetNumberOfCategoriesInTerminology(CONTEXT_NAME) == len(content)
    anatomy = slicer.vtkSlicerTerminologyCategory()
    assert slicer_logic.GetNthCategoryInTerminology(CONTEXT_NAME, 0, anatomy)
    types = slicer_logic.GetNumberOfTypesInTerminologyCategory(CONTEXT_NAME, anatomy)
    assert types == len(content[0]["Type"]) > 200
    place = next(n for n, one in enumerate(content[0]["Type"]) if one["CodeMeaning"] == "Kidney")
    kidney = slicer.vtkSlicerTerminologyType()
    assert slicer_logic.GetNthTypeInTerminologyCategory(CONTEXT_NAME, anatomy, place, kidney)
    assert (kidney.GetCodeValue(), kidney.GetHasModifiers()) == ("64033007", True)
    assert slicer_logic.GetNumberOfTypeModifiersInTerminologyType(CONTEXT_NAME, anatomy, kidney) == 2
