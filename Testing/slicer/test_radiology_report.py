from __future__ import annotations

from typing import Any

import pytest

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.errors import ProtocolError
from OpenVocabCTLib.worker.knowledge import findings_report
from OpenVocabCTLib.worker.steps import Steps, run
from OpenVocabCTSlicer.logic import OpenVocabCTLogic, Request
from OpenVocabCTSlicer.parameters import Parameters, parameter_node
from OpenVocabCTSlicer.prompts_text import split_prompts
from OpenVocabCTSlicer.radiology_report import Reading, read_report, sentence_for
from OpenVocabCTSlicer.segment_tags import SegmentTags
from Testing.slicer.fake_session import FakeSession
from Testing.slicer.scenes import SHAPE, box_mask, ct_node, new_scene

REPORT = (
    "FINDINGS: 2 cm cyst in the left kidney | lower pole. No pleural effusion. Spleen normal.\nIMPRESSION: Renal cyst."
)
CYST = "2 cm cyst in the left kidney | lower pole."


class Engine:
    """Reads reports as the worker does."""

    def __init__(self, reply: Any = None) -> None:
        self.reply = reply

    def report(self, text: str) -> Steps[dict[str, Any]]:
        yield None
        return findings_report(text) if self.reply is None else self.reply


def test_findings_become_prompts_with_their_sentences() -> None:
    reading = run(read_report(Engine(), REPORT))
    assert reading.prompts[:2] == ("left kidney cyst", "left kidney")
    assert split_prompts(reading.text) == reading.prompts
    assert sentence_for(reading.sentences, "Left  kidney") == CYST
    assert not any("effusion" in prompt for prompt in reading.prompts)
    assert reading.denied == ("pleural effusion",)
    assert "pleural effusion" in reading.summary
    assert sentence_for(reading.sentences, "spleen") == ""


def test_a_prompt_with_a_comma_stays_one() -> None:
    reading = Reading(("liver, right lobe", "spleen"))
    assert split_prompts(reading.text) == reading.prompts


def test_what_is_no_report() -> None:
    for text, message in (
        ("No pneumothorax.", "only denies"),
        ("hello", "names no finding"),
        ("a" * 200_000, "longer"),
    ):
        with pytest.raises(InputError, match=message):
            run(read_report(Engine(), text))


@pytest.mark.parametrize("reply", [{}, {"prompts": [1], "findings": []}, {"prompts": [{}], "findings": []}])
def test_an_engine_that_answers_something_else(reply: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        run(read_report(Engine(reply), REPORT))


def test_every_segment_is_linked_to_its_sentence_and_others_are_not() -> None:
    scene = new_scene()
    masks = {"left kidney cyst": box_mask(SHAPE, (0, 0, 0), (3, 3, 3)), "left kidney": None}
    masks["spleen"] = box_mask(SHAPE, (3, 3, 3), (5, 5, 5))
    sentences = run(read_report(Engine(), REPORT)).sentences
    request = Request(ct_node(scene), None, tuple(masks), sentences=sentences)
    results = run(OpenVocabCTLogic(FakeSession(masks)).segment(request))
    said = {row.prompt: row.sentence for row in results.rows}
    assert said == {
        "left kidney cyst": CYST,
        "left kidney": CYST,
        "spleen": "",
    }
    content = results.segmentation.GetSegmentation()
    tags = {row.prompt: SegmentTags(content.GetSegment(row.segment_id)).sentence for row in results.rows if row.found}
    # "|" would end the tag in the file.
    assert tags == {"left kidney cyst": said["left kidney cyst"].replace("|", "/"), "spleen": ""}


def test_sentences_are_kept_in_the_scene() -> None:
    node = parameter_node(new_scene())
    chosen = Parameters("left kidney", sentences={"left kidney": 'a "cyst"\nof 2 cm \N{GREEK SMALL LETTER ALPHA}'})
    chosen.write(node)
    assert Parameters.read(node) == chosen
    for text in ("[1]", "nonsense", '{"a": 1}'):
        node.SetParameter("sentences", text)
        assert Parameters.read(node).sentences == {}
