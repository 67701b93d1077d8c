"""Reports: sentences, denials and doubts, and findings with side and structure."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts import Side
from OpenVocabCTLib.reports import Finding, ReportPrompts, read_report, split_sentences
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
        ("-One\n-Two", 2),
        ("\u25aa One \u25aa Two\n\u25cb Three", 3),
        ("(1) One (2) Two", 2),
        ("a) One\nb) Two", 2),
        ("1.One\n2.Two", 2),
        ("1 One\n2 Two", 2),
        ("One line\nAnother line", 2),
        ("One line\rAnother line\r\nA third line\u2029A fourth line\fA fifth line", 5),
        ("FINDINGS\r\nOne line\r\nAnother line", 2),
        ("one line\nanother line\na third line", 3),
        ("No evidence of a\nBosniak III cyst", 1),
        ("No sign of lung\nembolism or of\na thrombus. Normal heart.", 2),
        ("no effusion. small hernia.", 2),
        ("No effusion.Small hernia.", 2),
        ("A cyst of 2 cm. in the liver. No. 3 is not seen.", 2),
        ("? embolism", 1),
        ("Indication: cough. Findings: clear lungs.", 2),
        ("", 0),
        (" \n.\n 12 \n", 0),
    ],
)
def test_where_sentences_end(text: str, count: int) -> None:
    assert len(split_sentences(text)) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "No pneumothorax\nSmall left effusion\nRib fracture",
            [("pneumothorax", "absent"), ("left_pleural_effusion", "present"), ("rib_fracture", "present")],
        ),
        ("Normal right kidney\nRenal cyst on the left", [("left_kidney_cyst", "present")]),
        ("no pneumothorax. small left effusion.", [("pneumothorax", "absent"), ("left_pleural_effusion", "present")]),
        ("Pleural effusion: small, left.", [("left_pleural_effusion", "present")]),
        (
            "FINDINGS:\nPneumothorax: none.\nEffusion: left.",
            [("pneumothorax", "absent"), ("left_pleural_effusion", "present")],
        ),
        (
            "Left: effusion.\nRight: pneumothorax.",
            [("left_pleural_effusion", "present"), ("right_pneumothorax", "present")],
        ),
        ("Right:\nCyst in the left kidney.", [("left_kidney_cyst", "present")]),
        ("? PE", [("pulmonary_embolism", "uncertain")]),
        ("Left basilar atelectasis.", [("left_atelectasis", "present")]),
        ("Mediastinal lymphadenopathy.", [("mediastinal_lymph_nodes", "present")]),
        ("No lymphadenopathy.", [("lymph_node", "absent")]),
        ("No history of cancer.", [("tumor", "absent")]),
        ("Two nodules: 5 mm (RUL), 3 mm (LLL).", [("pulmonary_nodule", "present")]),
        (
            "No pleural effusion on the left, small on the right.",
            [("left_pleural_effusion", "absent"), ("right_pleural_effusion", "uncertain")],
        ),
        (
            "Right effusion resolved, left persists.",
            [("right_pleural_effusion", "absent"), ("left_pleural_effusion", "uncertain")],
        ),
        ("Fracture of vertebra L1.", [("vertebral_fracture", "present")]),
        ("Clinical details: known aneurysm\nReport:\nNo hernia.", [("hernia", "absent")]),
        ("Reason for study: aneurysm", []),
        ("CLINICAL HISTORY\nLung cancer\nFINDINGS\nHernia", [("hernia", "present")]),
        ("Indication: PE? Findings: No PE. Hernia.", [("pulmonary_embolism", "absent"), ("hernia", "present")]),
    ],
)
def test_lines_and_headings_keep_findings_apart(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


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


@pytest.mark.parametrize(
    "text",
    [
        "The nodule is no longer visible.",
        "The nodule is no longer apparent.",
        "The nodule is not visible.",
        "The nodule is not seen on the current study.",
        "The cyst is not currently seen.",
        "No longer seen is the left lung nodule.",
        "Pleural effusion isn't seen.",
        "Pulmonary embolism has been ruled out.",
        "Pulmonary embolism has been excluded.",
        "Pulmonary embolism can be excluded.",
        "Pneumothorax ruled out.",
        "CT ruled out pulmonary embolism.",
        "Pulmonary embolism could not be identified.",
        "Pleural effusion cannot be seen.",
        "Pulmonary embolism has not been demonstrated; however, evaluation is limited.",
        "Effusion has completely resolved.",
        "The effusion has disappeared.",
        "Pneumothorax resolved.",
        "Resolved pneumothorax.",
        "A small effusion, which has resolved.",
        "There is a nodule in the left lung, which is no longer visible.",
        "Pneumothorax has been treated and has resolved.",
        "The pleural effusion that was on the left is gone.",
        "Ascites absent.",
        "Absent pleural effusion.",
        "Pleural effusion - none",
        "Nil ascites.",
        "Endotracheal tube has been removed.",
        "Interval removal of endotracheal tube.",
        "Status post chest tube removal.",
        "The lesion was resected.",
        "No findings suspicious for metastasis.",
        "Not suspicious for metastasis.",
        "Nothing suspicious for metastasis.",
        "No CT evidence suggestive of appendicitis.",
        "Findings do not suggest pneumonia.",
        "No nodule > 4 mm.",
    ],
)
def test_denied_in_other_words(text: str) -> None:
    assert {status for _, status in found(text)} == {"absent"}


@pytest.mark.parametrize(
    "text",
    [
        "No resolution of the pneumothorax.",
        "The pneumothorax has not resolved.",
        "The pneumothorax has nearly completely resolved.",
        "Partial resolution of the pneumothorax.",
        "No evidence of progression of the liver metastases.",
        "No tumor progression.",
        "Without improvement of the pneumonia.",
        "A nodule in the left lung, not seen on the prior CT.",
        "Nodule in the left lung not previously seen.",
        "The tumor should be resected.",
        "A stone that could not be removed.",
        "The aneurysm is excluded from flow.",
        "The left kidney is not involved by the mass.",
    ],
)
def test_present_though_something_is_denied(text: str) -> None:
    assert {status for _, status in found(text)} == {"present"}


@pytest.mark.parametrize(
    "text",
    [
        "PE unlikely.",
        "Metastasis is unlikely.",
        "Metastases are considered unlikely.",
        "Unlikely to represent metastasis.",
        "Pneumonia less likely.",
        "Pulmonary embolism is not ruled out.",
        "Pulmonary embolism has not been excluded.",
        "Metastasis cannot be entirely excluded.",
        "The nodule is not well visualized.",
        "Rule out pulmonary embolism.",
        "r/o PE",
        "Is there a pulmonary embolism?",
        "History of lung cancer.",
        "Probably no metastasis.",
        "Effusion resolved on the left and new on the right.",
        "Doubtful ascites.",
    ],
)
def test_neither_there_nor_denied(text: str) -> None:
    assert {status for _, status in found(text)} == {"uncertain"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No left pleural effusion, small right pleural effusion.", ["absent", "present"]),
        ("No pneumonia, stable nodule in the right lung.", ["absent", "present"]),
        ("No acute findings, liver cyst 3 cm.", ["present"]),
        ("No pneumothorax and a small effusion.", ["absent", "present"]),
        ("No pneumothorax and small effusion.", ["absent", "uncertain"]),
        ("No fracture, hematoma in the left thigh.", ["absent", "uncertain"]),
        ("No left effusion, right effusion.", ["absent", "uncertain"]),
        ("No acute infarct, large mass, or hemorrhage.", ["absent"] * 3),
        ("No effusion, pneumothorax, or consolidation is seen.", ["absent"] * 3),
        ("No effusion, pneumothorax, and consolidation are seen.", ["absent"] * 3),
        ("No ascites, pleural effusion or nodule are seen.", ["absent"] * 3),
        ("No effusion, pneumothorax, consolidation.", ["absent"] * 3),
        ("Masses, effusions and nodules are not seen.", ["absent"] * 3),
        ("Effusions and pneumothorax are absent.", ["absent"] * 2),
        ("The liver has no lesions and stones are seen in the gallbladder.", ["absent", "present"]),
        ("The cyst, seen previously, is not seen.", ["absent"]),
        ("Pleural effusion on the left, not seen on the right.", ["uncertain"]),
        ("No ascites, small bowel mass.", ["absent"] * 2),
        ("Possible pneumonia, no effusion.", ["uncertain", "absent"]),
        ("No pneumonia, likely atelectasis.", ["absent", "uncertain"]),
        ("Effusion is no longer visible, pneumothorax persists.", ["absent", "present"]),
        ("Effusion resolved, pneumothorax persists.", ["absent", "present"]),
        ("Resolved pneumothorax, small effusion.", ["absent", "present"]),
        ("Liver cyst, hemangioma not seen.", ["uncertain", "absent"]),
        ("The mass with calcification is no longer seen.", ["uncertain", "absent"]),
        ("Large effusion after chest tube removal.", ["present", "absent"]),
        ("Negative for pulmonary embolism and positive for pneumonia.", ["absent", "present"]),
        ("No change in the nodule suspicious for metastasis.", ["present", "uncertain"]),
        ("There are no renal calculi, with the exception of a stone in the left kidney.", ["absent", "present"]),
    ],
)
def test_lists_after_a_denial(text: str, expected: list[str]) -> None:
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nodule in the left lower lobe and effusion on the right.", "pulmonary_nodule left, pleural_effusion right"),
        ("Small pleural effusion; nodule in the right lung.", "pleural_effusion none, pulmonary_nodule right"),
        ("Small pleural effusion and a nodule in the right lung.", "pleural_effusion none, pulmonary_nodule right"),
        ("Left greater than right pleural effusions.", "pleural_effusion none"),
        ("Pleural effusions, left greater than right.", "pleural_effusion none"),
        ("L > R pleural effusions.", "pleural_effusion none"),
        ("Small left and moderate right pleural effusion.", "pleural_effusion none"),
        ("Small left and small right effusion.", "pleural_effusion none"),
        ("Right pleural effusion and left pneumothorax.", "pleural_effusion right, pneumothorax left"),
        ("Right pleural effusion and left kidney cyst.", "pleural_effusion right, kidney_cyst left"),
        ("Right kidney cyst and left adrenal mass.", "kidney_cyst right, adrenal_nodule left"),
        ("Nodule in the right upper lobe and left pleural effusion.", "pulmonary_nodule right, pleural_effusion left"),
        ("Right upper lobe nodule and effusion.", "pulmonary_nodule right, pleural_effusion none"),
        ("Left lower lobe pneumonia with effusion.", "pneumonia left, pleural_effusion none"),
        ("Left pneumothorax and effusion.", "pneumothorax left, pleural_effusion none"),
        ("Atelectasis and effusion on the right.", "atelectasis right, pleural_effusion right"),
        ("Atelectasis at the left base, nodule in the right upper lobe.", "atelectasis left, pulmonary_nodule right"),
        ("Effusion left, pneumothorax right.", "pleural_effusion left, pneumothorax right"),
        ("Effusion left and pneumothorax right.", "pleural_effusion left, pneumothorax right"),
        ("On the right a pneumothorax and on the left an effusion.", "pneumothorax right, pleural_effusion left"),
        ("No right effusion; left effusion 3 cm.", "pleural_effusion right, pleural_effusion left"),
        ("Effusion on the left only, with no right-sided effusion.", "pleural_effusion left, pleural_effusion right"),
        ("Pleural effusion on the left, not on the right.", "pleural_effusion left"),
        ("Hip fracture on the right and rib fractures on the left.", "hip_fracture right, rib_fracture left"),
        ("Nodules in the right upper lobe and left lower lobe.", "pulmonary_nodule right, pulmonary_nodule left"),
        ("The left lung is free of nodules, the right lung has two.", "pulmonary_nodule left"),
        ("Mediastinal shift to the right due to large left pleural effusion.", "pleural_effusion left"),
        ("Pleural effusion, in the left thigh a hematoma.", "pleural_effusion none, hematoma none"),
        ("r/o effusion", "pleural_effusion none"),
    ],
)  # fmt: skip
def test_each_finding_has_its_own_side(text: str, expected: str) -> None:
    assert (
        ", ".join(f"{one.concept.id.removeprefix(f'{one.side}_')} {one.side}" for one in read_report(text)) == expected
    )


@pytest.mark.parametrize(
    "text",
    [
        "There is a mass adjacent to the left kidney.",
        "There is a 3 cm mass abutting the liver.",
        "A mass is seen 2 cm below the liver.",
        "The mass lies outside the liver.",
        "Mass posterior to the pancreas.",
        "Mass between the liver and the right kidney.",
        "Mass near the upper pole of the left kidney.",
        "The mass compresses the liver.",
        "Mass sparing the left adrenal gland.",
        "The mass does not involve the left kidney.",
        "Mass without involvement of the liver.",
        "The left kidney is displaced by a mass.",
        "Adjacent to the left kidney, there is a mass.",
        "Mass invading the liver.",
    ],
)
def test_a_landmark_is_not_the_organ(text: str) -> None:
    (mass,) = read_report(text)
    assert (mass.concept.id, mass.side, mass.structures, mass.status) == ("mass", Side.NONE, (), "present")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tumor of the left kidney with thrombus in the inferior vena cava.", ["left_kidney", "inferior_vena_cava"]),
        ("Mass in the stomach displacing the left kidney.", ["stomach"]),
        ("Mass in the right lung, 2 cm from the left hilum.", ["right_lung"]),
        ("Nodule in the mediastinum near the left lung.", ["mediastinum"]),
        ("Lesion near the liver and in the spleen.", ["spleen"]),
        ("Lesion hypodense to the liver in the spleen.", ["spleen"]),
        ("The left kidney is normal; mass in the spleen.", ["spleen"]),
        ("The liver is normal and the spleen shows a cyst.", ["spleen"]),
        ("In the liver, a cyst is seen.", ["liver"]),
        ("The left kidney shows a cyst and a stone.", ["left_kidney", "left_kidney"]),
        ("Mass or focal lesion in the liver.", ["liver", "liver"]),
        ("Nodule with calcification in the left lung.", ["left_lung", "left_lung"]),
        ("Liver lesion, not a cyst.", ["liver", "liver"]),
        ("Right kidney with hydronephrosis, left kidney with stone.", ["right_kidney", "left_kidney"]),
        ("Fracture of the right femur and left hip fracture.", ["right_femur", "left_hip_bone"]),
        ("Cyst 2 cm, left kidney.", ["left_kidney"]),
        ("Cyst 3 cm, left kidney normal.", [""]),
        (
            "Mass of the right parotid gland and left submandibular gland.",
            ["right_parotid_gland", "left_submandibular_gland"],
        ),
        ("Metastases in the liver and both adrenals.", ["liver", "adrenal_glands"]),
        ("Metastases in the liver, spleen and bones.", ["liver", "spleen", "bones"]),
        ("Lesions in the left kidney and the right adrenal gland.", ["left_kidney", "right_adrenal_gland"]),
        ("Cyst in the liver, spleen normal.", ["liver"]),
        ("Lesion in the left kidney, spleen normal.", ["left_kidney"]),
        ("Cyst in the liver and hemangioma in the spleen.", ["liver", "spleen"]),
        ("Mass in the liver along the diaphragm.", ["liver"]),
        ("Nodule in the upper lobe, right lung.", ["upper_lobes_of_lungs"]),
    ],
)
def test_where_a_finding_lies(text: str, expected: list[str]) -> None:
    assert [one.structures[0].id if one.structures else "" for one in read_report(text)] == expected


def test_a_heading_says_where() -> None:
    (lesion,) = read_report("LIVER: There is a lesion of 2 cm.")
    assert (lesion.concept.id, lesion.sentence.section) == ("liver_lesion", "liver")


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    for finding in read_report(text):
        assert finding.phrase in finding.sentence.text


@pytest.mark.parametrize("text", ["no " * 20_000, "nodule " * 20_000, "a.\n" * 20_000, ":" * 60_000, "Aa: " * 15_000,
     "cyst, " * 9000, "no a," * 12_000, "left nodule " * 9000, "left and " * 9000, "stone not in " * 5000,
     "nodule in the liver, likely " * 4000, "is not been " * 5000],
)  # fmt: skip
def test_long_reports_take_bounded_time(text: str) -> None:
    read_report("nodule")
    start = time.process_time()
    read_report(text)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fracture negative", [("fracture", "absent")]),
        ("Fracture: -", [("fracture", "absent")]),
        ("Mass (-)", [("mass", "absent")]),
        ("Breast cancer, triple negative.", [("breast_tumor", "present")]),
        ("Mass no, cyst yes.", [("mass", "absent"), ("cyst", "present")]),
        ("Cyst present and mass absent.", [("cyst", "present"), ("mass", "absent")]),
        ("Pneumothorax no\nEffusion yes", [("pneumothorax", "absent"), ("pleural_effusion", "present")]),
        ("Pneumothorax | no\nEffusion | left", [("pneumothorax", "absent"), ("left_pleural_effusion", "present")]),
        ("There is no\npneumothorax.", [("pneumothorax", "absent")]),
        ("There is no\nPneumothorax.", [("pneumothorax", "absent")]),
        ("Small effusion with no\nPneumothorax.", [("pleural_effusion", "present"), ("pneumothorax", "absent")]),
        ("[x] Effusion\n[ ] Pneumothorax", [("pleural_effusion", "present"), ("pneumothorax", "absent")]),
        ("PE: excluded.", [("pulmonary_embolism", "absent")]),
        ("PE: no longer seen.", [("pulmonary_embolism", "absent")]),
        ("PE: not excluded.", [("pulmonary_embolism", "uncertain")]),
        ("No pneumothorax - small effusion.", [("pneumothorax", "absent"), ("pleural_effusion", "present")]),
        ("No pneumothorax (small effusion).", [("pneumothorax", "absent"), ("pleural_effusion", "present")]),
        ("No mass (or cyst) in the liver.", [("liver_tumor", "absent"), ("liver_cyst", "absent")]),
        ("Not significantly changed aneurysm.", [("aneurysm", "present")]),
        ("Family history of aneurysm.", [("aneurysm", "absent")]),
        ("Her mother had breast cancer.", [("breast_tumor", "absent")]),
        ("Left nephrectomy for cancer.", [("tumor", "absent")]),
        ("Hx of lung cancer.", [("lung_tumor", "uncertain")]),
        ("Ddx: abscess, seroma.", [("abscess", "uncertain"), ("seroma", "uncertain")]),
        ("Differential diagnosis: hematoma, abscess.", [("hematoma", "uncertain"), ("abscess", "uncertain")]),
        ("Should a mass develop, repeat the scan.", [("mass", "uncertain")]),
    ],
)
def test_short_ways_to_deny_and_to_doubt(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Kein Pneumothorax, kein Pleuraerguss.",
        "Kein Anhalt f\u00fcr Thrombus.",
        "Pas de pneumothorax. Absence de fracture.",
        "Sin evidencia de hernia.",
        "No hay edema ni hematoma.",
        "Sem derrame pleural, sem hematoma.",
        "Geen pneumothorax.",
    ],
)
def test_reports_in_other_languages_are_refused(text: str) -> None:
    assert found(text) == []
    with pytest.raises(InputError, match="not in English"):
        ReportPrompts.of(text)


@pytest.mark.parametrize(
    "text",
    [
        "De novo aneurysm.",
        "Stenosis of the RCA, DES in LAD, aneurysm.",
        "Aneurysm seen by Dr. van der Berg.",
        "Los Angeles grade A, aneurysm.",
    ],
)
def test_words_that_only_look_foreign_leave_a_report_in_english(text: str) -> None:
    assert ("aneurysm", "present") in found(text)


@pytest.mark.parametrize(
    "text",
    ["Mass effect on the ventricle.", "Stroke protocol.", "Discussed at the tumor board.", "Prior aneurysm repair."],
)
def test_names_of_findings_in_other_things_are_no_findings(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no effusion period liver cyst period", [("pleural_effusion", "absent"), ("liver_cyst", "present")]),
        ("No fracture Period. Hernia full stop", [("fracture", "absent"), ("hernia", "present")]),
        ("No new hernia in the study period and no fracture.", [("hernia", "absent"), ("fracture", "absent")]),
        ("No hernia over a period of two years or fracture.", [("hernia", "absent"), ("fracture", "absent")]),
    ],
)
def test_a_dictated_full_stop_ends_a_sentence(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Prior CT showed a hernia.", "uncertain"),
        ("Previous chest CT demonstrated a hernia, unchanged.", "present"),
        ("Prior CT showed a hernia which is no longer seen.", "absent"),
        ("Prior CT showed no hernia.", "absent"),
        ("CT showed a hernia.", "present"),
        ("If there is a hernia, repair is advised.", "uncertain"),
    ],
)
def test_what_only_an_older_scan_showed_or_a_condition_names_is_uncertain(text: str, status: str) -> None:
    assert found(text) == [("hernia", status)]
