from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from openvocabct_training import evaluation
from openvocabct_training.data.adapters import OPENKBP_CONCEPTS
from openvocabct_training.evaluation import ABSENT_IN_HEAD_AND_NECK, PARAPHRASES, dice, summarise, swapped_sides
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.segmenter import Segmenter
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_training import raw_data

LEFT, RIGHT = "left_parotid_gland", "right_parotid_gland"


def box(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((4, 4, 20), bool)
    mask[..., start:stop] = True
    return mask


def test_dice() -> None:
    assert dice(box(0, 10), box(0, 10)) == 1.0
    assert dice(box(0, 10), box(10, 20)) == 0.0
    assert dice(box(0, 10), box(5, 15)) == 0.5
    assert dice(box(0, 0), box(0, 0)) == 1.0
    assert dice(box(0, 0), box(0, 1)) == 0.0


def test_swapped_sides() -> None:
    labels = box(0, 5) * 3 + box(15, 20) * 4  # right is 3, left is 4
    values = {"RightParotid": 3, "LeftParotid": 4}
    right, left, nothing = box(0, 5), box(15, 20), box(0, 0)
    assert swapped_sides({LEFT: left, RIGHT: right}, labels, values) == []
    assert swapped_sides({LEFT: right, RIGHT: left}, labels, values) == [LEFT, RIGHT]
    assert swapped_sides({LEFT: right | box(17, 20), RIGHT: right}, labels, values) == [LEFT]
    assert swapped_sides({LEFT: nothing, RIGHT: nothing}, labels, values) == []
    # One side is drawn: a mask on it that bears the other side's name is swapped all the same.
    assert swapped_sides({LEFT: right, RIGHT: nothing}, labels, {"RightParotid": 3}) == [LEFT]


def patient(case: str, values: dict[str, float], suspect: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    return {
        "case": case, "seconds": 2.0, "dice": values, "suspect": list(suspect), "presence": {}, "invented": [],
        "swapped": [], "paraphrase_dice": {"mandible": 0.99, "spinal_cord": 1.0}, **changes,
    }  # fmt: skip


def test_summary_is_over_organs_and_leaves_suspect_references_out() -> None:
    summary = summarise(
        [
            patient("a", {"mandible": 0.9, "larynx": 0.5}),
            patient("b", {"mandible": 0.7}, swapped=[LEFT], seconds=4.0),
            patient("c", {"mandible": 0.1, "larynx": 0.0}, suspect=("mandible",), invented=["liver"]),
        ]
    )
    assert summary["dice"]["mandible"] == {"mean": pytest.approx(0.8), "n": 2}
    assert summary["mean_dice_over_organs"] == pytest.approx((0.8 + 0.25) / 2)
    assert summary["mean_dice_over_organs_all_references"] == pytest.approx((1.7 / 3 + 0.25) / 2)
    assert summary["swapped_sides"] == 1
    assert summary["invented"] == {"c": ["liver"]}
    assert summary["missed"] == {"c": ["larynx"]}
    assert summary["lowest_paraphrase_dice"] == 0.99
    assert (summary["patients"], summary["mean_seconds_image_pass"]) == (3, pytest.approx(8 / 3))


def test_paraphrases_are_five_each_and_understood() -> None:
    for concept, texts in PARAPHRASES.items():
        assert len(set(texts)) == 5
        for prompt in PromptSet.parse(texts):
            assert prompt.concept is not None and prompt.concept.id == concept, prompt.text


def test_concepts_are_in_the_vocabulary() -> None:
    assert all(concept in Vocabulary.load() for concept in (*ABSENT_IN_HEAD_AND_NECK, *PARAPHRASES))


class FakeSegmenter:
    """Answers with the slice that the OpenKBP label value numbers, and finds the liver in every patient."""

    def encode(self, volume: CTVolume) -> Any:
        return SimpleNamespace(seconds=1.0, segment=lambda texts: self._segment(texts, volume.geometry.shape))

    def _segment(self, texts: list[str], shape: tuple[int, ...]) -> Any:
        values = {concept: index for index, concept in enumerate(OPENKBP_CONCEPTS.values(), 1)}
        segments = []
        for prompt in PromptSet.parse(texts):
            concept = prompt.concept.id if prompt.concept else ""
            mask = np.zeros(shape, bool)
            mask[values.get(concept, 0)] = True
            found = concept in values or concept == "liver"
            segments.append(SimpleNamespace(found=found, mask=mask, presence=0.9 if found else 0.1))
        return SimpleNamespace(segments=tuple(segments))


def test_patients_are_measured_through_the_segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = {organ: value for value, organ in enumerate(OPENKBP_CONCEPTS, 1)}
    raw_data.write_openkbp(tmp_path / "raw", "validation", "pt_201", {"Brainstem": order["Brainstem"], "Larynx": 8})
    raw_data.write_openkbp(tmp_path / "raw", "validation", "pt_202", order, suspect={"Mandible": ["cut"]})
    monkeypatch.setattr(Segmenter, "from_pretrained", lambda model: FakeSegmenter())
    output = tmp_path / "new" / "figures.json"
    summary = evaluation.evaluate(tmp_path / "raw", None, output)
    written = json.loads(output.read_text())
    assert written["summary"] == summary
    first, second = written["patients"]
    assert first["dice"] == {"brainstem": 1.0, "larynx": 0.0}
    assert set(second["dice"].values()) == {1.0}
    assert second["suspect"] == ["mandible"]
    assert first["invented"] == second["invented"] == ["liver"]
    assert summary["dice"]["larynx"] == {"mean": 0.5, "n": 2}
    assert "mandible" not in summary["dice"]
    assert summary["lowest_paraphrase_dice"] == 1.0
    assert evaluation.evaluate(tmp_path / "raw", None, output, limit=1)["patients"] == 1


def test_no_patients(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no patients"):
        evaluation.evaluate(tmp_path, None, tmp_path / "figures.json")
