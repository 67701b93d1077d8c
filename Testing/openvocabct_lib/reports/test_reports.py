"""Reports: sentences, denials and doubts, and findings with side and structure."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTLib.prompts import Side
from OpenVocabCTLib.reports import Finding, read_report, split_sentences
from OpenVocabCTLib.reports.scopes import find_scopes

REPORT = """INDICATION: Rule out pulmonary embolism.
TECHNIQUE: CT of the chest with i.v. contrast, slice thickness 1.0 mm.

FINDINGS:
There is a 1.2 cm nodule in the right upper lobe. Small left pleural effusion, no pneumothorax.
Heart size is normal. No evidence of pericardial effusion or pulmonary embolism.
Two hypodense lesions in the liver, possibly cysts.
The kidneys are unremarkable without hydronephrosis; a stone is seen in the left kidney.
- Old fracture of the right 5th rib, unchanged.

IMPRESSION:
1. Pulmonary nodule, suspicious for lung cancer.
2. Metastasis cannot be excluded.
"""


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.concept.id, finding.status) for finding in read_report(text)]


def test_sentences_of_a_report() -> None:
    sentences = split_sentences(REPORT)
    texts = [sentence.text for sentence in sentences if sentence.section == "findings"]
    assert texts == [
        "There is a 1.2 cm nodule in the right upper lobe.",
        "Small left pleural effusion, no pneumothorax.",
        "Heart size is normal.",
        "No evidence of pericardial effusion or pulmonary embolism.",
        "Two hypodense lesions in the liver, possibly cysts.",
        "The kidneys are unremarkable without hydronephrosis; a stone is seen in the left kidney.",
        "Old fracture of the right 5th rib, unchanged.",
    ]
    for sentence in sentences:
        assert " ".join(REPORT[sentence.start : sentence.end].split()) == sentence.text
    assert {sentence.section for sentence in sentences if sentence.is_background} == {"indication", "technique"}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Compared by Dr. Smith. No change.", 2),
        ("Lesion of 1.5 cm. Second of 2 cm.", 2),
        ("Wrapped\nline without an end", 1),
        ("first\n\nsecond", 2),
        ("- one\n- two\n- three", 3),
        ("", 0),
        (" \n.\n 12 \n", 0),
    ],
)
def test_where_sentences_end(text: str, count: int) -> None:
    assert len(split_sentences(text)) == count


def test_findings_of_a_report() -> None:
    by_concept = {finding.concept.id: finding for finding in read_report(REPORT)}

    def facts(finding: Finding) -> tuple[str, str, str]:
        return finding.status, finding.side.value, finding.structures[0].id if finding.structures else ""

    nodule, effusion = read_report(REPORT)[:2]
    assert (nodule.concept.id, facts(nodule)) == ("pulmonary_nodule", ("present", "right", "right_upper_lobe"))
    assert (effusion.concept.id, facts(effusion)) == ("left_pleural_effusion", ("present", "left", ""))
    assert by_concept["pericardial_effusion"].status == "absent"
    assert by_concept["pulmonary_embolism"].status == "absent"  # and not what the indication asks
    assert by_concept["liver_lesion"].status == "present"
    assert by_concept["liver_cyst"].status == "uncertain"
    assert facts(by_concept["left_kidney_stone"]) == ("present", "left", "left_kidney")
    assert facts(by_concept["rib_fracture"]) == ("present", "right", "right_rib_5")
    assert by_concept["lung_tumor"].status == "uncertain"
    assert by_concept["metastasis"].status == "uncertain"


def test_prompts_of_findings() -> None:
    nodule = read_report("A nodule is seen in the right upper lobe.")[0]
    assert nodule.prompts == ("right pulmonary nodule", "right upper lobe of lung")
    (lesion,) = read_report("Lesion in the right lobe of the liver.")
    assert lesion.prompts == ("liver lesion", "right lobe of the liver")
    assert read_report("A hepatic cyst.")[0].prompts == ("liver cyst", "liver")
    (absent,) = read_report("No pneumothorax.")
    assert absent.prompts == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No effusion, pneumothorax, or consolidation.", ["absent"] * 3),
        ("No effusion but a pneumothorax.", ["absent", "present"]),
        ("Pneumothorax is not seen.", ["absent"]),
        ("Ascites has resolved.", ["absent"]),
        ("The effusion is unchanged.", ["present"]),
        ("No change of the pleural effusion.", ["present"]),
        ("No significant interval increase of the aneurysm.", ["present"]),
        ("Possible pneumonia.", ["uncertain"]),
        ("Pneumonia cannot be excluded.", ["uncertain"]),
        ("Cannot exclude pulmonary embolism.", ["uncertain"]),
        ("Consolidation, likely atelectasis.", ["present", "uncertain"]),
        ("Negative for fracture.", ["absent"]),
        ("Without ascites or abscess.", ["absent", "absent"]),
        ("There is ascites without abscess.", ["present", "absent"]),
        ("No ascites; pleural effusion.", ["absent", "present"]),
        ("The liver has no lesions and there is a stone in the gallbladder.", ["absent", "present"]),
        ("Not only emphysema but also bronchiectasis.", ["present", "present"]),
    ],
)
def test_denials_and_doubts(text: str, expected: list[str]) -> None:
    assert [status for _, status in found(text)] == expected


def test_scopes_end_where_the_clause_ends() -> None:
    text = "no effusion however nodule"
    scopes = find_scopes(text)
    assert scopes.status(3, 11) == "absent"
    assert scopes.status(20, 26) == "present"


@pytest.mark.parametrize(
    ("text", "concept", "side"),
    [
        ("Effusion on the left.", "left_pleural_effusion", Side.LEFT),
        ("Right-sided pneumothorax.", "right_pneumothorax", Side.RIGHT),
        ("Bilateral pleural effusions.", "pleural_effusion", Side.NONE),
        ("Left renal cyst.", "left_kidney_cyst", Side.LEFT),
        ("Cyst in the right kidney.", "right_kidney_cyst", Side.RIGHT),
        ("Left upper lobe nodule and right pleural effusion.", "right_pleural_effusion", Side.RIGHT),
        ("Liver metastases, larger on the right.", "liver_metastasis", Side.NONE),
    ],
)
def test_sides_of_findings(text: str, concept: str, side: Side) -> None:
    finding = next(one for one in read_report(text) if one.concept.id == concept)
    assert finding.side is side


def test_a_heading_says_where() -> None:
    (lesion,) = read_report("LIVER: There is a lesion of 2 cm.")
    assert (lesion.concept.id, lesion.sentence.section) == ("liver_lesion", "liver")


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    for finding in read_report(text):
        assert finding.phrase in finding.sentence.text


@pytest.mark.parametrize("text", ["no " * 20_000, "nodule " * 20_000, "a.\n" * 20_000, ":" * 60_000, "Aa: " * 15_000])
def test_long_reports_take_bounded_time(text: str) -> None:
    read_report("nodule")
    start = time.process_time()
    read_report(text)
    assert time.process_time() - start < 10
