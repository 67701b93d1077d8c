from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openvocabct_training.reports.backends import BackendError
from openvocabct_training.reports.decompose import decompose_all
from openvocabct_training.reports.grounding import Grounding
from openvocabct_training.reports.items import Decomposition, Item, read_items, report_sha256
from openvocabct_training.reports.organs import organ_ids, organ_of, pair_of
from openvocabct_training.reports.quality import annotated_reports, measure, table
from openvocabct_training.reports.rules import RulesBackend
from OpenVocabCTLib.prompts.concepts import Side
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training.reports.writing import adversarial, written_report

RULES = RulesBackend()


def said(report: str) -> list[tuple[str, str, str]]:
    return [(item.organ, item.polarity, item.text) for item in RULES.decompose(report).items]


def test_the_closed_list_is_part_of_the_vocabulary() -> None:
    vocabulary = Vocabulary.load()
    assert all(organ in vocabulary for organ in organ_ids())
    assert {"lungs", "left_lung", "right_kidney", "liver"} <= set(organ_ids())
    assert len(set(organ_ids())) == len(organ_ids())


@pytest.mark.parametrize(
    ("concept", "side", "organ"),
    [
        ("right_upper_lobe", Side.RIGHT, "right_lung"),
        ("pleural_effusion", Side.LEFT, "pleura"),
        ("left_kidney", Side.NONE, "left_kidney"),
        ("kidneys", Side.NONE, "kidneys"),
        ("coronary_arteries", Side.NONE, "heart"),
        ("liver_tumor", Side.NONE, "liver"),
    ],
)
def test_organs_of_concepts(concept: str, side: Side, organ: str) -> None:
    vocabulary = Vocabulary.load()
    assert organ_of(vocabulary.get(concept), side, vocabulary) == organ
    assert pair_of("left_kidney", vocabulary) == "kidneys"


def test_a_sentence_is_cut_where_its_polarity_changes() -> None:
    assert said("Small left pleural effusion, no pneumothorax.") == [
        ("pleura", "present", "Small left pleural effusion"),
        ("pleura", "absent", "no pneumothorax."),
    ]
    assert said("The kidneys are unremarkable without hydronephrosis; a stone is seen in the left kidney.") == [
        ("kidneys", "absent", "The kidneys are unremarkable without hydronephrosis"),
        ("left_kidney", "present", "a stone is seen in the left kidney."),
    ]


def test_a_list_of_organs_is_said_of_all() -> None:
    found = {
        organ: polarity for organ, polarity, _ in said("No focal lesion in the spleen, pancreas or adrenal glands.")
    }
    assert found == {"spleen": "absent", "pancreas": "absent", "adrenal_glands": "absent"}


def test_background_says_nothing_of_this_scan() -> None:
    assert said("INDICATION: liver metastasis?\nCOMPARISON: pleural effusion before.\n") == []


def test_spans_survive_wrapped_lines() -> None:
    report = "FINDINGS:\n  No evidence of   pericardial\n    effusion. The liver\tis enlarged."
    for item in RULES.decompose(report).items:
        start, end = item.source_span
        assert " ".join(report[start:end].split()) == item.text


def test_a_thousand_reports_give_valid_json_and_nothing_ungrounded() -> None:
    """Generated and annotated reports: 100% valid JSON, no ungrounded item, and what the grammar said is found."""
    generator, grounding = np.random.default_rng(0), Grounding()
    written = [written_report(generator) for _ in range(970)]
    reports = [report for report, _ in written] + [one.report for one in annotated_reports()]
    found = decompose_all(reports, RULES)
    assert len(reports) == 1000
    for report in reports:
        again = Decomposition.from_json(json.loads(json.dumps(found[report_sha256(report)].to_json())))
        assert set(again.items) == set(found[report_sha256(report)].items)
        assert all(grounding.holds(report, item) for item in again.items)
    asked = right = 0
    for report, statements in written:
        items = found[report_sha256(report)].items
        for sentence, organ, polarity in statements:
            asked += 1
            right += any(
                item.organ == organ and item.polarity == polarity and item.text.strip(".") in sentence for item in items
            )
    assert right / asked >= 0.95, right / asked


def test_quality_on_the_annotated_set() -> None:
    reports = annotated_reports()
    rules = decompose_all([one.report for one in reports], RULES)
    figures = measure(RULES, reports, rules)
    assert figures.statements >= 100
    assert figures.polarity >= 0.95
    assert figures.coverage >= 0.95
    assert figures.ungrounded_kept == 0
    assert figures.agreement == 1.0
    assert "| rules | " in table({"rules": figures})


def test_the_quality_report_sees_a_bad_backend() -> None:
    """One that denies everything, and one that says things of organs that the report does not name."""

    class Denier:
        name = identity = "denier"

        def decompose(self, report: str) -> Decomposition:
            items = RULES.decompose(report).items
            bad = Item("appendix", "huge tumor", "present", (0, 5))
            return Decomposition((*(Item(i.organ, i.text, "absent", i.source_span) for i in items), bad), self.name, 3)

    reports = annotated_reports()
    figures = measure(Denier(), reports, decompose_all([one.report for one in reports], RULES))
    assert figures.polarity < 0.6
    assert figures.agreement < 0.6
    assert figures.ungrounded_kept == len(reports)
    assert figures.hallucinated > 0.1
    assert figures.unsupported > 0.1


def test_the_rules_answers_are_not_counted_as_those_of_a_model_that_failed() -> None:
    class Failing:
        name = identity = "failing"

        def decompose(self, report: str) -> Decomposition:
            raise BackendError("no answer")

    reports = annotated_reports()
    figures = measure(Failing(), reports, decompose_all([one.report for one in reports], RULES))
    assert figures.fallbacks == len(reports)
    assert figures.coverage == 0.0
    assert figures.ungrounded_kept == 0
    assert table({"failing": figures}).endswith("| failing | 106 | 0.000 | - | - | 0.000 | 0.000 | 0 | 30 | - |\n")


@pytest.mark.parametrize(("name", "report"), list(adversarial()), ids=lambda value: str(value)[:20])
def test_adversarial_reports(name: str, report: str) -> None:
    grounding = Grounding()
    decomposition = RULES.decompose(report)
    again = Decomposition.from_json(json.loads(json.dumps(decomposition.to_json())))
    assert set(again.items) == set(decomposition.items)
    assert all(grounding.holds(report, item) for item in decomposition.items)
    if name in ("empty", "white space", "Chinese", "headings only", "numbers"):
        assert decomposition.items == ()
    if name == "50 pages":
        assert {item.organ for item in decomposition.items} == {"liver", "heart"}  # once each, however often said


@settings(max_examples=10, deadline=None)
@given(st.text(max_size=300))
@example("\x1fT1")
@example("\u2003- Liver cyst.\x1f")
def test_any_text_gives_grounded_items(report: str) -> None:
    grounding = Grounding()
    assert all(grounding.holds(report, item) for item in RULES.decompose(report).items)


@pytest.mark.parametrize(
    "organs",
    [
        {"nose hair": [{"text": "x", "polarity": "present", "source_span": [0, 1]}]},
        {"liver": [{"text": "x", "polarity": "maybe", "source_span": [0, 1]}]},
        {"liver": [{"text": " ", "polarity": "absent", "source_span": [0, 1]}]},
        {"liver": [{"text": "x", "polarity": "absent", "source_span": [3, 1]}]},
    ],
)
def test_other_forms_are_refused(organs: dict[str, list[dict[str, object]]]) -> None:
    with pytest.raises(ValueError, match=r"is not on the list|is no statement"):
        list(read_items(organs))
