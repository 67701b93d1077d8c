from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openvocabct_training.evaluation.patient import Patient, click
from openvocabct_training.evaluation.plots import suite_bars
from openvocabct_training.evaluation.suites import accuracy, cost, laterality, negatives, robustness, synonyms
from openvocabct_training.evaluation.wordings import (
    ABSENT_IN_HEAD_AND_NECK,
    CURATED,
    NONSENSE,
    OUT_OF_VIEW,
    PARAPHRASES,
    WRONG_SIDE,
    out_of_view,
    typos,
    wordings,
)
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training.evaluation.scans import (
    GRID,
    LARYNX,
    LEFT,
    RIGHT,
    SHAPES,
    KnownSystem,
    ball,
    cropped,
    patient,
    points_of,
)


def record(name: str, entry: dict[str, Any], case: str = "a", suspect: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"case": case, "patient": case, "suspect": list(suspect), "seconds": 1.0, name: entry}


def scored(dice: float | None, outcome: str = "scored", **changes: Any) -> dict[str, Any]:
    return {
        "outcome": outcome, "dice": dice, "dice_in_extent": dice, "nsd": dice,
        "hd95_mm": 3.0 if outcome == "scored" else None, "reference_ml": 1.0, "answer_ml": 1.0,
        "tolerance_mm": 3.0, "presence": 0.9, "held_out": False, **changes,
    }  # fmt: skip


def test_clicks_lie_deep_inside(tmp_path: Path) -> None:
    mask = cropped()[LEFT]
    point, (first, last) = click(mask, GRID)
    centre = points_of(GRID)[point]
    assert np.linalg.norm(centre - np.array([30, -10, 15])) < 8
    assert all(a <= p <= b for a, p, b in zip(first, point, last, strict=True))
    assert [slice(a, b + 1) for a, b in zip(first, last, strict=True)] == list(mask.box)
    one = patient(tmp_path)
    query = one.query(LEFT)
    assert (query.text, query.point, query.box, query.free) == ("left parotid gland", point, (first, last), False)
    assert one.query("liver").point is None
    assert patient(tmp_path, held_out=(LEFT,)).query(LEFT).free


def test_no_query_is_asked_twice_and_no_scan_encoded_twice(tmp_path: Path) -> None:
    system = KnownSystem()
    one = patient(tmp_path, system, rules_out=("abdomen", "pelvis", "leg"))
    for suite in (accuracy, synonyms, negatives, laterality, accuracy):
        suite.measure(one)
    assert len(system.encoded) == 1
    assert len(system.asked) == len(set(system.asked))


# Accuracy -----------------------------------------------------------------------------------------------------------


def test_accuracy_of_a_known_system(tmp_path: Path) -> None:
    shapes = {LEFT: SHAPES[LEFT], RIGHT: ball(-30, -15, -20, 9)}
    measured = accuracy.measure(patient(tmp_path, KnownSystem(shapes)))
    assert measured[LEFT]["dice"] == measured[LEFT]["nsd"] == 1.0
    assert measured[LEFT]["hd95_mm"] == 0.0
    assert 0.2 < measured[RIGHT]["dice"] < 0.8
    assert measured[RIGHT]["answer_ml"] < measured[RIGHT]["reference_ml"]
    assert (measured[LARYNX]["outcome"], measured[LARYNX]["dice"]) == ("missed", 0.0)
    assert measured[LARYNX]["presence"] == 0.1
    assert measured[LEFT]["tolerance_mm"] == 2.85


def test_summary_is_over_organs_and_leaves_suspect_references_out() -> None:
    records = [
        record("accuracy", {"mandible": scored(0.9), LARYNX: scored(0.5)}, "a"),
        record("accuracy", {"mandible": scored(0.7)}, "b"),
        record("accuracy", {"mandible": scored(0.1), LARYNX: scored(0.0, "missed")}, "c", ("mandible",)),
    ]
    summary = accuracy.summarise(records)
    assert summary["dice"]["mandible"]["mean"] == pytest.approx(0.8)
    assert summary["dice"]["mandible"]["n"] == 2
    assert summary["dice"]["mandible"]["interval"] == [pytest.approx(0.7), pytest.approx(0.9)]
    assert summary["mean_dice_over_organs"] == pytest.approx((0.8 + 0.25) / 2)
    assert summary["mean_dice_over_organs_all_references"] == pytest.approx((1.7 / 3 + 0.25) / 2)
    low, high = summary["mean_dice_over_organs_interval"]
    assert low < summary["mean_dice_over_organs"] < high
    assert summary["missed"] == {"c": [LARYNX]}
    assert summary["accuracy"][LARYNX]["missed"] == 1
    assert summary["accuracy"][LARYNX]["hd95_mm"]["n"] == 1
    assert summary["accuracy"]["mandible"]["suspect"] == 1
    assert "held_out" not in summary


def test_an_answer_in_the_wrong_place_is_not_missed() -> None:
    records = [record("accuracy", {LARYNX: scored(0.0)}, "a"), record("accuracy", {LARYNX: scored(0.0, "missed")}, "b")]
    assert accuracy.summarise(records)["missed"] == {"b": [LARYNX]}


def test_empty_references_are_counted_apart() -> None:
    records = [
        record("accuracy", {LARYNX: scored(0.5)}, "a"),
        record("accuracy", {LARYNX: scored(None, "invented")}, "b"),
        record("accuracy", {LARYNX: scored(None, "empty"), "mandible": scored(None, "empty")}, "c"),
    ]
    summary = accuracy.summarise(records)
    assert summary["dice"] == {LARYNX: {"mean": 0.5, "n": 1, "interval": None, "median": 0.5}}
    assert summary["mean_dice_over_organs"] == 0.5
    assert (
        summary["accuracy"][LARYNX] | {"scored": 1, "missed": 0, "invented": 1, "empty": 1}
        == summary["accuracy"][LARYNX]
    )
    assert summary["drawn_where_reference_is_empty"] == {"b": [LARYNX]}
    assert accuracy.summarise([record("accuracy", {})])["mean_dice_over_organs"] is None


def test_held_out_concepts_are_reported_apart() -> None:
    records = [record("accuracy", {"mandible": scored(0.2, held_out=True), LARYNX: scored(0.8), LEFT: scored(0.6)})]
    held_out = accuracy.summarise(records)["held_out"]
    assert list(held_out["concepts"]) == ["mandible"]
    assert held_out["mean_dice"] == pytest.approx(0.2)
    assert held_out["mean_dice_of_the_others"] == pytest.approx(0.7)


# Synonyms -----------------------------------------------------------------------------------------------------------


def test_the_worst_wording_is_named(tmp_path: Path) -> None:
    system = KnownSystem({**SHAPES, "voice box": ball(0, -30, 0, 9), "Larynx_OAR": ball(0, 60, 0, 9)})
    system.shapes["larynx with the vocal cords"] = SHAPES[LARYNX]
    measured = synonyms.measure(patient(tmp_path, system))
    assert measured[LARYNX]["dice"] == 1.0
    assert 0 < measured[LARYNX]["wordings"]["voice box"]["dice"] < 1
    assert measured[LARYNX]["wordings"]["Larynx_OAR"]["same"] == 0.0
    summary = synonyms.summarise([record("synonyms", measured)])
    assert summary["synonyms"]["worst"] == [LARYNX, "Larynx_OAR"]
    assert summary["synonyms"]["worst_drop"] == 1.0
    assert summary["synonyms"]["mean_drop_by_kind"]["abbreviation"] > 0
    assert summary["synonyms"]["concepts"][LARYNX]["wordings"]["voice box"]["read_as"] == LARYNX
    assert summary["lowest_paraphrase_dice"] == 1.0  # of the left parotid gland, whose wordings all agree


def test_answers_that_are_both_empty_do_not_agree_perfectly(tmp_path: Path) -> None:
    measured = synonyms.measure(patient(tmp_path, KnownSystem({})))
    assert {wording["same"] for wording in measured[LEFT]["wordings"].values()} == {None}
    summary = synonyms.summarise([record("synonyms", measured)])
    assert summary["lowest_paraphrase_dice"] is None
    assert summary["synonyms"]["mean_drop"] == 0.0
    assert synonyms.summarise([record("synonyms", {})])["synonyms"]["worst"] is None


def test_what_a_wording_loses_is_told_by_what_the_name_had(tmp_path: Path) -> None:
    half = {LARYNX: ball(0, -30, 9, 13), **{text: ball(0, 60, 0, 9) for text in ("BStem", "Larynx_OAR", "LARYNX")}}
    summary = synonyms.summarise([record("synonyms", synonyms.measure(patient(tmp_path, KnownSystem(half))))])
    assert 0.0 < summary["synonyms"]["concepts"][LARYNX]["dice_of_the_name"] < 0.9
    bars = suite_bars(summary)
    assert (bars["abbreviations: Dice kept"], bars["typos: Dice kept"]) == (0.0, 1.0)


def test_wordings_are_many_and_of_every_kind() -> None:
    vocabulary = Vocabulary.load()
    for concept_id in CURATED:
        chosen = wordings(vocabulary.get(concept_id), vocabulary)
        assert len({wording.text for wording in chosen}) == len(chosen) >= 9
        assert {"synonym", "abbreviation", "typo", "sentence"} <= {wording.kind for wording in chosen}
        assert set(PARAPHRASES.get(concept_id, ())) <= {vocabulary.get(concept_id).name, *(w.text for w in chosen)}
    liver = wordings(vocabulary.get("liver"), vocabulary)
    assert sum(wording.kind == "synonym" for wording in liver) == 4


def test_paraphrases_are_five_each_and_understood() -> None:
    for concept, texts in PARAPHRASES.items():
        assert len(set(texts)) == 5
        for prompt in PromptSet.parse(texts):
            assert prompt.concept is not None and prompt.concept.id == concept, prompt.text


def test_typos_leave_the_side_alone() -> None:
    for name in ("left parotid gland", "right parotid gland"):
        for wrong in typos(name):
            assert wrong.split()[0] == name.split()[0]
            assert wrong != name
    assert typos("eye") == ()
    assert len(set(typos("mandible"))) == 2


# Negatives ----------------------------------------------------------------------------------------------------------


def test_negatives_of_every_category(tmp_path: Path) -> None:
    system = KnownSystem(
        {**SHAPES, "liver": ball(0, 0, 0, 30), "right spleen": ball(0, 0, 0, 12)}, refused=("prostate",)
    )
    one = patient(tmp_path, system, rules_out=("abdomen", "pelvis", "leg"), absent=("left_lung",))
    measured = negatives.measure(one)
    assert set(measured["absent"]) == {"left_lung"}
    assert set(ABSENT_IN_HEAD_AND_NECK) <= set(measured["out_of_view"])
    assert "heart" not in measured["out_of_view"]
    assert measured["out_of_view"]["liver"]["ml"] == pytest.approx(113, rel=0.2)
    assert set(measured["wrong_side"]) == set(WRONG_SIDE) and set(measured["nonsense"]) == set(NONSENSE)
    summary = negatives.summarise([record("negatives", measured)])
    assert summary["invented"] == {"a": ["liver", "right spleen"]}
    rates = summary["negatives"]["out_of_view"]
    assert (rates["found"], rates["rate"]) == (1, pytest.approx(1 / rates["asked"]))
    organs = rates["asked"] + 1
    assert summary["negatives"]["absent_organs_below_1_ml"] == pytest.approx((organs - 1) / organs)
    assert summary["negatives"]["patients_below_1_ml"] == 0.0
    assert (summary["negatives"]["refused"], summary["negatives"]["judged"]) == (1, organs - 1)
    # Three are found with 0.9; of those that are not there the liver is a tie, the others have 0.1.
    assert summary["negatives"]["presence_auroc"] == pytest.approx((organs - 0.5) / organs)


def test_an_empty_reference_is_an_absent_structure(tmp_path: Path) -> None:
    one = patient(tmp_path, shapes={**SHAPES, "mandible": ball(500, 0, 0, 9)})
    assert set(negatives.measure(one)["absent"]) == {"mandible"}
    summary = negatives.summarise([record("negatives", negatives.measure(patient(tmp_path)))])
    assert summary["negatives"]["presence_auroc"] is None
    assert summary["negatives"]["absent_organs_below_1_ml"] is None


def test_a_doubtful_empty_reference_is_no_absent_structure(tmp_path: Path) -> None:
    system = KnownSystem({**SHAPES, "mandible": SHAPES[LARYNX]})
    measured = negatives.measure(patient(tmp_path, system, shapes={**SHAPES, "mandible": ball(500, 0, 0, 9)}))
    certain, doubtful = (
        negatives.summarise([record("negatives", measured, suspect=suspect)]) for suspect in ((), ("mandible",))
    )
    assert certain["invented"] == {"a": ["mandible"]} and certain["negatives"]["absent"]["found"] == 1
    assert doubtful["invented"] == {} and doubtful["negatives"]["absent"]["asked"] == 0
    assert doubtful["negatives"]["absent_organs_below_1_ml"] is None


def test_negative_prompts_name_what_they_should() -> None:
    vocabulary = Vocabulary.load()
    assert all(concept in vocabulary for concept in OUT_OF_VIEW)
    assert list(out_of_view((), vocabulary)) == []
    head = [concept.id for concept in out_of_view(("head", "neck"), vocabulary)]
    assert "mandible" in head and "liver" not in head
    assert all(prompt.concept is None for prompt in PromptSet.parse((*NONSENSE, *WRONG_SIDE)))


# Laterality ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "swapped"),
    [
        ({LEFT: LEFT, RIGHT: RIGHT}, []),
        ({LEFT: RIGHT, RIGHT: LEFT}, [LEFT, RIGHT]),
        ({LEFT: RIGHT, RIGHT: RIGHT}, [LEFT]),
        ({}, []),
    ],
)
def test_swapped_sides(tmp_path: Path, found: dict[str, str], swapped: list[str]) -> None:
    system = KnownSystem({concept: SHAPES[shape] for concept, shape in found.items()})
    measured = laterality.measure(patient(tmp_path, system))
    assert set(measured) == {LEFT, RIGHT}
    assert [concept for concept in (LEFT, RIGHT) if measured[concept]["swapped"]] == swapped
    summary = laterality.summarise([record("laterality", measured)])
    assert summary["swapped_sides"] == len(swapped)
    assert summary["laterality"]["swap_rate"] == len(swapped) / 2


def test_one_side_is_drawn_and_bears_the_other_name(tmp_path: Path) -> None:
    system = KnownSystem({LEFT: SHAPES[RIGHT]})
    measured = laterality.measure(patient(tmp_path, system, shapes={RIGHT: SHAPES[RIGHT]}))
    assert measured[LEFT]["swapped"] and not measured[RIGHT]["swapped"]
    assert measured[LEFT]["other_ml"] == pytest.approx(4 / 3 * np.pi * 1.4**3, rel=0.25)


@pytest.mark.parametrize("suspect", [(LEFT,), (RIGHT,)])
def test_sides_of_a_doubtful_reference_are_not_counted(tmp_path: Path, suspect: tuple[str, ...]) -> None:
    measured = laterality.measure(patient(tmp_path, KnownSystem({LEFT: SHAPES[RIGHT], RIGHT: SHAPES[LEFT]})))
    summary = laterality.summarise([record("laterality", measured, suspect=suspect)])
    assert (summary["swapped_sides"], summary["laterality"]["asked"]) == (0, 0)
    assert summary["laterality"]["swapped"] == {}


def test_structures_without_a_side_are_not_asked(tmp_path: Path) -> None:
    assert laterality.measure(patient(tmp_path, shapes={LARYNX: SHAPES[LARYNX]})) == {}
    assert laterality.summarise([record("laterality", {})])["laterality"]["swap_rate"] is None


# Robustness and cost ------------------------------------------------------------------------------------------------


def test_a_system_that_answers_in_patient_space_is_robust(tmp_path: Path) -> None:
    system = KnownSystem()
    measured = robustness.measure(patient(tmp_path, system))
    assert len(system.encoded) == 5
    for perturbation in ("orientation", "noise", "crop"):
        dice = [entry["dice"] for entry in measured[perturbation].values() if entry["dice"] is not None]
        assert dice and set(dice) == {1.0}, perturbation
    assert all(entry["dice"] > 0.6 for entry in measured["spacing"].values())
    summary = robustness.summarise([record("robustness", measured)])["robustness"]
    assert summary["orientation"]["mean_drop"] == 0.0
    assert summary["spacing"]["mean_drop"] > 0.0


def test_a_system_that_ignores_the_geometry_is_not(tmp_path: Path) -> None:
    class Blind(KnownSystem):
        """Remembers masks by voxel index, as a program does that drops the header."""

        def encode(self, volume: Any) -> Any:
            scan = super().encode(volume)
            shape = volume.geometry.shape
            scan.points = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"), -1) * 60
            return scan

    measured = robustness.measure(patient(tmp_path, Blind()))
    assert max(entry["dice"] for entry in measured["orientation"].values()) < 0.9


def test_what_was_cut_away_and_found_all_the_same(tmp_path: Path) -> None:
    far = {LARYNX: ball(0, 0, 60, 12), LEFT: SHAPES[LEFT]}
    measured = robustness.measure(patient(tmp_path, KnownSystem({LARYNX: SHAPES[LARYNX]}), shapes=far))
    summary = robustness.summarise([record("robustness", measured)])["robustness"]
    assert (summary["crop"]["cut_away"], summary["crop"]["invented"], summary["crop"]["n"]) == (1, 1, 1)
    assert robustness.summarise([record("robustness", {"unchanged": {}})])["robustness"]["noise"]["mean_dice"] is None


def test_cost_by_number_of_prompts(tmp_path: Path) -> None:
    system = KnownSystem()
    one: Patient = patient(tmp_path, system)
    measured = cost.measure(one)
    assert measured["image_pass_seconds"] == 2.0
    assert list(measured["prompts"]) == ["1", "2", "10", "100"]
    assert len(system.asked) == 1 + 1 + 2 + 10 + 100
    last = system.asked[-100:]
    assert len({query.text for query in last}) == 100
    assert {query.text for query in last[:3]} == {one.concept(concept).name for concept in one.drawn}
    rows = cost.summarise([record("cost", measured)])["cost"]["prompts"]
    assert rows["1"]["first_answer_ratio"] == 1.0
    assert rows["100"]["first_answer_seconds"] > 2.0


def test_peak_memory_sees_what_was_held_for_a_moment() -> None:
    # In a process of its own: this one may have been told to keep freed memory, which would be used again.
    program = (
        "import numpy as np\n"
        "from openvocabct_training.evaluation.suites import cost\n"
        "before = cost.PeakMemory().read()['peak_mb']\n"
        "peak = cost.PeakMemory()\n"
        "held = np.ones(200_000_000, np.uint8)\n"
        "del held\n"
        "found = peak.read()['peak_mb']\n"
        "print(found if found is None else found - before > 150)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == ("True" if sys.platform.startswith("linux") else "None")


def test_masks_that_do_not_fit_are_an_error_and_no_figure() -> None:
    with pytest.raises(ValueError, match="grids of"):
        laterality.shared_voxels(cropped()[LEFT], CroppedMask.from_full(np.ones((4, 4, 4), bool)))
