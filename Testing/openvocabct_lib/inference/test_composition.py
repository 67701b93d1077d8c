"""Structures put together from others: expressions, parents from children, sides from both, on any grid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTLib.inference.composition import Formula, blend, evaluate, half_of
from OpenVocabCTLib.inference.coverage import where_it_would_be
from OpenVocabCTLib.inference.plausibility import doubts
from OpenVocabCTLib.inference.questions import Question, QuestionMaker
from OpenVocabCTLib.models.config import DecisionConfig
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.prompts import PromptSet, Side, Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from Testing.openvocabct_lib.inference import phantoms, small_model
from Testing.openvocabct_lib.inference.test_segmenter import GRIDS, centroid_lps

VOCABULARY = Vocabulary.load()
SHAPE = (4, 5, 6)


def part(index: int) -> Formula:
    return Formula(None, part=index)


def no_half(mask: CroppedMask, side: Side) -> CroppedMask | None:
    raise AssertionError("no half was asked for")


@given(st.integers(0, 2**32 - 1), st.sampled_from(["union", "minus", "intersection"]), st.integers(2, 4))
def test_masks_combine_as_whole_arrays_do(seed: int, operation: str, count: int) -> None:
    rng = np.random.default_rng(seed)
    full = [rng.random(SHAPE) < rng.choice([0.02, 0.5]) for _ in range(count)]
    masks = [CroppedMask.from_full(one) if one.any() else None for one in full]
    formula = Formula(operation, tuple(part(i) for i in range(count)))  # type: ignore[arg-type]
    expected = full[0].copy()
    for other in full[1:]:
        expected = {"union": expected | other, "minus": expected & ~other, "intersection": expected & other}[operation]
    result = evaluate(formula, masks, no_half)
    assert np.array_equal(np.zeros(SHAPE, bool) if result is None else result.full(), expected)
    assert result is None or result.count


def test_nested_formulas_and_what_can_add_voxels() -> None:
    formula = Formula("minus", (Formula("union", (part(0), part(1))), part(2)))
    assert formula.wanted == {0, 1}
    assert formula.moved(3).wanted == {3, 4}
    masks = [CroppedMask.from_full(np.arange(6).reshape(1, 2, 3) == value) for value in (0, 1, 1)]
    assert evaluate(formula, masks, no_half).full().ravel().tolist() == [True] + [False] * 5
    assert evaluate(formula, [None, None, masks[2]], no_half) is None


def test_an_overlap_is_as_probable_as_its_least_probable_part() -> None:
    one_of_two, overlap = (Formula(operation, (part(0), part(1))) for operation in ("union", "intersection"))
    assert one_of_two.presence([0.9, 0.1, 0.7]) == 0.9
    assert overlap.presence([0.9, 0.1, 0.7]) == 0.1
    assert Formula("minus", (overlap, part(2))).presence([0.9, 0.1, 0.7]) == 0.1
    assert Formula("half", (part(2),), side=Side.LEFT).presence([0.9, 0.1, 0.7]) == 0.7


def makers(trained: dict[str, int], minimum: int = 1) -> QuestionMaker:
    texts = [phrase for name in trained for phrase in VOCABULARY.phrases(VOCABULARY.get(name))]
    bank = EmbeddingBank.build(texts, small_model.HashEncoder())
    return QuestionMaker(VOCABULARY, bank, trained, DecisionConfig(minimum_scans=minimum))


def ask(maker: QuestionMaker, text: str) -> Question:
    return maker.ask(PromptSet.parse([text])[0])


def asked(question: Question) -> list[str]:
    return [one.wording.concept or "" for one in question.parts]


@pytest.mark.parametrize(
    ("trained", "text", "concepts", "note"),
    [
        ({"left_upper_lobe", "left_lower_lobe"}, "left lung", ["left_upper_lobe", "left_lower_lobe"], "from its parts"),
        ({"kidneys"}, "left kidney", ["kidneys"], "the left half of kidneys, cut at the middle"),
        ({"kidneys"}, "kidneys", ["kidneys"], ""),
        ({"kidneys"}, "abdominal organs", ["kidneys", "kidneys"], "only left kidney, right kidney"),
        ({"liver", "spleen"}, "liver and spleen", ["liver", "spleen"], "one segment"),
        ({"liver", "liver_tumor"}, "liver minus tumour", ["liver", "liver_tumor"], "read 'tumour' as liver tumor"),
        ({"left_rib_3", "left_rib_4"}, "left ribs 3-4", ["left_rib_3", "left_rib_4"], "one segment"),
    ],
)
def test_what_is_asked(trained: set[str], text: str, concepts: list[str], note: str) -> None:
    question = ask(makers(dict.fromkeys(trained, 40)), text)
    assert asked(question) == concepts
    assert note in " ".join(question.notes)


@pytest.mark.parametrize(
    ("trained", "text", "refusal"),
    [
        (
            {"liver"},
            "liver minus tumour",
            "this model was not trained on liver tumor, but on liver, which it belongs to",
        ),
        ({"left_upper_lobe"}, "left lung", "this model was not trained on left lung"),
        (
            {"left_ribs"},
            "left 5th rib",
            "this model was not trained on left rib 5, but on left ribs, which it belongs to",
        ),
    ],
)
def test_what_cannot_be_put_together_is_refused(trained: set[str], text: str, refusal: str) -> None:
    question = ask(makers(dict.fromkeys(trained, 40)), text)
    assert (question.parts, question.refusal) == ((), refusal)


def test_rarely_seen_parts_are_not_used() -> None:
    question = ask(makers({"liver": 40, "spleen": 2}, minimum=10), "liver and spleen")
    assert question.parts == ()
    assert "has seen spleen in 2 scans only" in question.refusal
    halves = ask(makers({"kidneys": 2}, minimum=10), "left kidney")
    assert halves.refusal == "this model was not trained on left kidney"


@pytest.mark.parametrize("name", GRIDS)
def test_an_expression_is_made_of_the_answers_to_its_parts(name: str) -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS[name]))
    result = study.segment(
        ["liver", "left kidney", "liver minus left kidney", "overlap of liver and left kidney", "liver and left kidney"]
    )
    liver, kidney, rest, both, either = (segment.mask for segment in result)
    assert np.array_equal(rest, liver & ~kidney)
    assert np.array_equal(both, liver & kidney)
    assert np.array_equal(either, liver | kidney)
    assert (kidney.any(), rest.any()) == (True, True)


@pytest.mark.parametrize("name", GRIDS)
def test_halves_lie_on_the_patients_side_on_every_grid(name: str) -> None:
    geometry = GRIDS[name]
    study = small_model.window_segmenter().encode(phantoms.volume_on(geometry))
    mask = CroppedMask.from_full(np.ones(geometry.shape, bool))
    left, right = (half_of(mask, side, study.embedding) for side in (Side.LEFT, Side.RIGHT))
    assert left is not None and right is not None
    assert not (left.full() & right.full()).any()
    assert centroid_lps(left.full(), geometry)[0] > centroid_lps(right.full(), geometry)[0] + 20  # x grows to the left


def test_what_lies_across_the_middle_is_not_cut() -> None:
    geometry = GRIDS["LPS"]
    study = small_model.window_segmenter().encode(phantoms.volume_on(geometry))
    whole = CroppedMask.from_full(np.ones(geometry.shape, bool))
    left = half_of(whole, Side.LEFT, study.embedding).full()
    edges = np.zeros_like(left)
    edges[:, :, 1:] = left[:, :, 1:] != left[:, :, :-1]  # columns run along x here
    across = CroppedMask.from_full(edges)
    assert half_of(across, Side.LEFT, study.embedding) is None


def test_a_prompt_that_leaves_nothing_says_so() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    (segment,) = study.segment(["left kidney minus liver"])
    assert not segment.found
    assert "nothing of it is left" in segment.reason


@pytest.mark.parametrize("grid", ["LPS", "oblique"])
def test_probabilities_are_put_together_as_masks_are(grid: str) -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS[grid]))
    left, liver = study.probabilities("left kidney"), study.probabilities("liver")
    assert np.array_equal(study.probabilities("left kidney and liver"), np.maximum(left, liver))
    assert np.array_equal(study.probabilities("left kidney minus liver"), np.minimum(left, 1 - liver))
    assert np.array_equal(study.probabilities("overlap of left kidney and liver"), np.minimum(left, liver))
    kidneys, right = study.probabilities("kidneys"), study.probabilities("kidneys minus left kidney")
    assert (kidneys > 0.5)[left > 0.5].all()
    assert not (right > 0.5)[left > 0.5].any()


def test_half_of_probabilities() -> None:
    values = np.full((1, 2, 3), 0.75, np.float32)
    on_left = np.array([[[True, False, False], [True, True, False]]])
    half = Formula("half", (Formula(None, part=0),), side=Side.LEFT)
    on_side = {Side.LEFT: on_left, Side.RIGHT: ~on_left}.__getitem__
    assert np.array_equal(blend(half, lambda _: values.copy(), on_side), np.where(on_left, values, 0))


def test_what_is_not_there_is_said_of_expressions() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    with_gap, overlap, group = study.segment(["liver and spleen", "overlap of liver and spleen", "kidneys"])
    assert with_gap.found
    assert with_gap.doubts[0] == "spleen is not in this scan"
    assert (overlap.found, overlap.reason) == (False, "spleen: not in this scan")
    assert not any("not in this scan" in doubt for doubt in group.doubts)


def concepts(*ids: str) -> list:
    return [VOCABULARY.get(one) for one in ids]


@pytest.mark.parametrize(
    ("missing", "found", "known", "said"),
    [
        ("left_kidney", ["left_lung", "heart"], ["liver", "sacrum"], "the scan ends above the left kidney"),
        ("left_kidney", ["left_lung", "heart", "liver"], ["sacrum"], ""),  # the liver reaches down to the kidneys
        ("left_kidney", ["left_lung", "sacrum"], ["liver"], ""),  # it would lie between them
        ("left_kidney", ["left_lung"], ["sacrum"], ""),  # one landmark may be wrong
        ("left_kidney", ["left_lung", "heart"], [], ""),  # nothing below was looked for
        ("brainstem", ["sacrum", "left_femur"], ["mandible", "brainstem"], "the scan begins below the brainstem"),
        ("urinary_bladder", ["liver", "left_lung"], ["left_femur"], "the scan ends above the urinary bladder"),
        ("body", ["left_lung", "heart"], ["sacrum"], ""),  # has no level
    ],
)
def test_why_it_is_not_there(missing: str, found: list[str], known: list[str], said: str) -> None:
    assert where_it_would_be(concepts(missing), concepts(*found), concepts(*found, *known)) == said


def test_levels_of_the_spine_run_down_the_body() -> None:
    levels = [VOCABULARY.get(f"vertebra_{name}").level for name in ("c1", "c7", "t1", "t12", "l1", "l5", "s1")]
    assert all(above[1] < below[0] for above, below in pairwise(levels))


def test_doubts_name_what_is_unusual() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    result = study.segment(["left kidney", "liver"])
    kidney = result["left kidney"]
    said = doubts(kidney, VOCABULARY.get("left_kidney"))
    assert any("ml is little" in one for one in said)
    assert kidney.doubts == said
    assert doubts(kidney, VOCABULARY.get("thorax")) == ()
