"""Scans that cut the patient off at a side: left and right come from the spinal cord, or are not told."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.devices import choose_compute
from OpenVocabCTLib.inference.embedding import EmbeddingCache
from OpenVocabCTLib.inference.embedding_folder import EmbeddingFolder
from OpenVocabCTLib.inference.grid import to_native, whole
from OpenVocabCTLib.inference.questions import QuestionMaker
from OpenVocabCTLib.inference.study import Study
from OpenVocabCTLib.models.config import DecisionConfig
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.inference import small_model

CORD_HU, FAT = 700, -100
SIDED = ("left kidney", "left half of the mandible", "spinal cord minus left kidney", "kidneys minus left kidney")
WITHOUT_SIDES = (
    "liver",
    "kidneys",
    "left kidney and right kidney",
    "liver and kidneys",
    "overlap of liver and kidneys",
)


class CordSegmenter(small_model.WindowSegmenter):
    """Takes what is denser than 500 HU for the spinal cord."""

    LIMITS: ClassVar = small_model.WindowSegmenter.LIMITS | {
        "left kidney": (0, -5.0),
        "mandible": (0, -5.0),
        "spinal cord": (0, 5.0),
    }


def segmenter() -> CordSegmenter:
    vocabulary = Vocabulary.load()
    trained = dict.fromkeys(("left_kidney", "right_kidney", "liver", "mandible", "spinal_cord"), 40)
    texts = [phrase for name in trained for phrase in vocabulary.phrases(vocabulary.get(name))]
    questions = QuestionMaker(
        vocabulary, EmbeddingBank.build(texts, small_model.HashEncoder()), trained, DecisionConfig()
    )
    compute = choose_compute("cpu", "fp32")
    return CordSegmenter(small_model.WindowModel(), small_model.CONFIG, questions, compute, fingerprint="cord")


def patient_from(first_mm: float, cord_mm: float = 14.0) -> CTVolume:
    """A round patient in the middle of which, at 0 mm, a dense ball lies, cut off on the right at ``first_mm``."""
    x = np.arange(first_mm, 90.0, 2.0)
    y, z = np.arange(-90.0, 90.0, 2.0), np.arange(-40.0, 40.0, 2.0)
    at_z, at_y, at_x = np.meshgrid(z, y, x, indexing="ij")
    hu = np.where(at_x**2 + at_y**2 < 80**2, FAT, -1000).astype(np.int16)
    hu[at_x**2 + (at_y - 30) ** 2 + at_z**2 < cord_mm**2] = CORD_HU
    geometry = Geometry(hu.shape, (2.0, 2.0, 2.0), (first_mm, -90.0, -40.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    return CTVolume.from_array(hu, geometry)


def middle_mm(study: Study) -> float:
    """Where along the patient's left the leftness of a study passes zero."""
    embedding, geometry = study.embedding, study.volume.geometry
    leftness = to_native(embedding.values[-1], embedding.offset, embedding.grid, whole(geometry.shape)).numpy()
    x = geometry.origin[0] + 2.0 * np.arange(geometry.shape[2])
    return float(np.interp(0.0, leftness[20, 45], x))


def test_a_whole_patient_has_the_middle_of_the_outline() -> None:
    study = segmenter().encode(patient_from(-90.0))
    assert middle_mm(study) == pytest.approx(0.0, abs=3.0)
    assert not study.segment(["liver"]).notes


@pytest.mark.parametrize("first_mm", [-40.0, -20.0, -6.0])
def test_a_patient_who_is_cut_off_has_the_middle_of_the_spinal_cord(first_mm: float) -> None:
    study = segmenter().encode(patient_from(first_mm))
    assert middle_mm(study) == pytest.approx(0.0, abs=5.0), "the middle of what is in view is elsewhere"
    result = study.segment([*SIDED, *WITHOUT_SIDES])
    assert result.notes[0] == "the scan cuts the patient off on the right: sides are told by the spinal cord"
    assert not any("told apart" in segment.reason for segment in result)


@pytest.mark.parametrize("volume", [patient_from(20.0), patient_from(-20.0, cord_mm=6.0)], ids=["no cord", "a speck"])
def test_without_a_spinal_cord_no_side_is_told(volume: CTVolume) -> None:
    study = segmenter().encode(volume)
    result = study.segment([*SIDED, *WITHOUT_SIDES])
    for segment in result.segments[: len(SIDED)]:
        assert not segment.found
        assert segment.reason.startswith("left and right cannot be told apart")
        assert not study.probabilities(segment.prompt).any()
    assert all(segment.found for segment in result.segments[len(SIDED) :])


def test_a_model_that_knows_no_spinal_cord_tells_no_side_either() -> None:
    result = small_model.window_segmenter().encode(patient_from(-20.0)).segment(["left kidney"])
    assert result.segments[0].reason.startswith("left and right cannot be told apart")


@pytest.mark.parametrize("first_mm", [20.0, -20.0], ids=["no cord", "cord"])
def test_an_embedding_from_disk_answers_the_same(first_mm: float, tmp_path: Path) -> None:
    model, volume = segmenter(), patient_from(first_mm)
    model.folder = EmbeddingFolder(tmp_path)
    first = model.encode(volume).segment([*SIDED, *WITHOUT_SIDES])
    model.cache = EmbeddingCache()
    calls = model.model.calls
    second = model.encode(volume).segment([*SIDED, *WITHOUT_SIDES])
    assert model.model.calls == calls
    assert second.notes == first.notes
    for ours, theirs in zip(second, first, strict=True):
        assert (ours.found, ours.reason, ours.volume_ml) == (theirs.found, theirs.reason, theirs.volume_ml)
