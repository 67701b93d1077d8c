from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from OpenVocabCTLib.errors import Cancelled, InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference import study as study_module
from OpenVocabCTLib.inference.answers import Answer, study_logits
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import AIR_HU
from OpenVocabCTLib.inference.image_pass import body_region, encode_volume
from OpenVocabCTLib.inference.midline import leftness, midline
from OpenVocabCTLib.inference.questions import QuestionMaker, Wording
from OpenVocabCTLib.inference.tiling import blending_weight, padded_size, tile_regions, tile_size
from OpenVocabCTLib.models.heads import voxel_logits
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.prompts import PromptSet
from OpenVocabCTLib.prompts.parsing import Prompt
from OpenVocabCTLib.prompts.vocabulary import Side
from OpenVocabCTLib.text.bank import EmbeddingBank
from Testing.openvocabct_lib.inference import phantoms, small_model

GRIDS = {
    "RAS": phantoms.axis_geometry((0, 1, 2), (-1, -1, 1)),
    "LPS": phantoms.axis_geometry((0, 1, 2), (1, 1, 1)),
    "LAS": phantoms.axis_geometry((0, 1, 2), (1, -1, 1)),
    "flipped slices": phantoms.axis_geometry((0, 1, 2), (1, 1, -1)),
    "sagittal": phantoms.axis_geometry((1, 2, 0), (1, -1, 1)),
    "coronal": phantoms.axis_geometry((0, 2, 1), (-1, -1, 1)),
    "oblique": phantoms.oblique_geometry((12, -8, 15)),
    "oblique and flipped": phantoms.oblique_geometry((-10, 20, 5), (-1, 1, -1)),
}


def wordings(*texts: str) -> list[Wording]:
    return [Wording(text, Side.NONE) for text in texts]


def centroid_lps(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    k, j, i = np.argwhere(mask).mean(0)
    return (np.asarray(geometry.affine_lps()) @ np.array([i, j, k, 1.0]))[:3]


@pytest.mark.parametrize("name", GRIDS)
def test_left_stays_left_on_every_grid(name: str) -> None:
    geometry = GRIDS[name]
    volume = phantoms.volume_on(geometry)
    result = small_model.window_segmenter().encode(volume).segment(["left kidney", "right kidney", "liver"])
    assert [segment.found for segment in result] == [True] * 3
    left, right = (result[name].mask for name in ("left kidney", "right kidney"))
    assert np.allclose(centroid_lps(left, geometry), (30, -10, 15), atol=1.5)
    assert centroid_lps(right, geometry)[0] < -5
    truth = volume.array > 350
    assert 2 * (left & truth).sum() / (left.sum() + truth.sum()) > 0.8


def test_the_two_sides_never_share_a_voxel() -> None:
    result = (
        small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"])).segment(["left kidney", "right kidney"])
    )
    assert not result["left kidney"].cropped.overlaps(result["right kidney"].cropped)


def test_a_group_is_the_union_of_its_members() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["RAS"]))
    result = study.segment(["left kidney", "right kidney", "kidneys"])
    both = result["left kidney"].mask | result["right kidney"].mask
    assert np.array_equal(result["kidneys"].mask, both)


def test_what_several_prompts_ask_for_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    native_mask = study_module.native_mask

    def counted(answer: Answer, embedding: VoxelEmbedding, threshold: float) -> CroppedMask:
        parts.append(answer.box)
        return native_mask(answer, embedding, threshold)

    monkeypatch.setattr(study_module, "native_mask", counted)
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["RAS"]))
    result = study.segment(["kidneys", "left kidney", "right kidney", "left kidney", "spleen"])
    assert len(parts) == len(set(map(str, parts))) == 2
    assert np.array_equal(result.segments[1].mask, result.segments[3].mask)


def test_blending_embeddings_equals_blending_logits() -> None:
    """The decision that the design rests on, through the real image pass with a random network."""
    segmenter = small_model.random_segmenter()
    volume = phantoms.volume_on(GRIDS["LPS"])
    embedding = encode_volume(volume, segmenter.tower, segmenter.config.preprocessing, store_dtype=torch.float32)
    queries = segmenter.queries(wordings("left kidney", "liver", "spleen"))
    ours = study_logits(embedding, queries)

    from OpenVocabCTLib.inference.grid import to_working

    hu = to_working(volume.array, embedding.grid)
    region = body_region(hu)
    sides = leftness(torch.arange(hu.shape[2]), midline(hu), embedding.grid.spacing[2])[region[2]]
    hu = hu[region]
    tile, padded = tile_size(hu.shape, (64, 32, 32), 32), padded_size(hu.shape, (64, 32, 32), 32)
    canvas, left = torch.full(padded, AIR_HU), torch.zeros(padded)
    canvas[: hu.shape[0], : hu.shape[1], : hu.shape[2]] = hu
    left[..., : hu.shape[2]] = sides
    regions = tile_regions(padded, tile, 0.5)
    assert len(regions) > 3
    total, weights = torch.zeros(3, *padded), torch.zeros(padded)
    for region in regions:
        with torch.inference_mode():
            logits = voxel_logits(
                segmenter.model.encode_image(canvas[region][None], left[region][None]).embedding, queries
            )[0]
        total[(slice(None), *region)] += blending_weight(tile) * logits
        weights[region] += blending_weight(tile)
    expected = (total / weights)[:, : hu.shape[0], : hu.shape[1], : hu.shape[2]]
    assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_half_precision_storage_keeps_the_masks() -> None:
    segmenter = small_model.random_segmenter()
    volume = phantoms.volume_on(GRIDS["LPS"])
    queries = segmenter.queries(wordings("liver", "spleen"))
    exact, stored = (
        study_logits(
            encode_volume(volume, segmenter.tower, segmenter.config.preprocessing, store_dtype=d),
            queries,
        )
        for d in (torch.float32, torch.float16)
    )
    middle = exact.flatten(1).median(1).values[:, None, None, None]
    a, b = exact > middle, stored > middle
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.995


def test_many_prompts_cost_one_image_pass() -> None:
    segmenter = small_model.window_segmenter()
    volume = phantoms.volume_on(GRIDS["LPS"])
    study = segmenter.encode(volume)
    calls = segmenter.model.calls
    study.segment(["liver"])
    study.segment(["left kidney", "right kidney", "spleen"] * 5)
    segmenter.encode(volume).segment(["kidneys"])
    assert segmenter.model.calls == calls


def test_the_cache_tells_grids_apart() -> None:
    segmenter = small_model.window_segmenter()
    volume = phantoms.volume_on(GRIDS["LPS"])
    mirrored = type(volume).from_array(volume.array, GRIDS["LAS"])
    segmenter.encode(volume)
    calls = segmenter.model.calls
    segmenter.encode(mirrored)
    assert segmenter.model.calls > calls
    assert len(segmenter.cache) == 2


def test_absent_structures_are_answers() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    result = study.segment(["spleen", "uterus", "zxqv wvut", "12345", "liver"])
    spleen, uterus, nonsense, digits, liver = result.segments
    assert not spleen.found and "not in this scan" in spleen.reason
    assert not uterus.found and "not trained" in uterus.reason
    assert not nonsense.found and nonsense.reason
    assert not digits.found and digits.reason
    assert liver.found and liver.reason == ""
    with pytest.raises(InputError):
        _ = spleen.mask


def test_order_and_identity_of_segments_follow_the_prompts() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    texts = ["spleen", "left kidney", "uterus", "liver", "left kidney"]
    result = study.segment(texts)
    assert [segment.prompt for segment in result] == texts
    assert len({segment.id for segment in result}) == len(texts)
    backwards = study.segment(texts[::-1])
    for one, other in zip(result, reversed(backwards.segments), strict=True):
        assert (one.name, one.found, one.volume_ml) == (other.name, other.found, other.volume_ml)


def test_volume_and_mean_hu_are_those_of_the_mask() -> None:
    volume = phantoms.volume_on(GRIDS["coronal"])
    segment = small_model.window_segmenter().encode(volume).segment(["left kidney"]).segments[0]
    assert segment.volume_ml == pytest.approx(segment.mask.sum() * volume.geometry.voxel_volume_ml)
    assert segment.mean_hu == pytest.approx(float(volume.array[segment.mask].mean()), abs=0.5)


def test_probabilities_agree_with_the_mask() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["oblique"]))
    mask = study.segment(["liver"]).segments[0].mask
    probability = study.probabilities("liver")
    assert probability.shape == mask.shape
    assert probability.min() >= 0.0 and probability.max() <= 1.0
    assert (mask == (probability > 0.5)).mean() > 0.999


def test_stopping_between_tiles() -> None:
    segmenter = small_model.window_segmenter()
    seen = []

    def stop_at_two(done: int, total: int) -> bool:
        seen.append((done, total))
        return done < 2

    with pytest.raises(Cancelled):
        segmenter.encode(phantoms.volume_on(GRIDS["LPS"]), stop_at_two)
    assert [done for done, _ in seen] == [0, 1, 2]
    assert segmenter.model.calls == 2
    assert len(segmenter.cache) == 0


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_an_impossible_threshold_is_refused(threshold: float) -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    with pytest.raises(InputError, match="threshold"):
        study.segment(["liver"], threshold)


def test_a_higher_threshold_gives_a_smaller_mask() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    low, high = (study.segment(["liver"], threshold).segments[0].volume_ml for threshold in (0.3, 0.9))
    assert high < low


def test_what_was_learned_from_few_scans_says_so() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    notes = study.segment(["spleen", "liver"]).notes
    assert any(note.startswith("spleen: learned from 1 scan only") for note in notes)
    assert not any(note.startswith("liver") for note in notes)


def test_what_too_few_scans_showed_is_not_answered() -> None:
    segmenter = small_model.window_segmenter()
    segmenter.questions.decision = replace(segmenter.questions.decision, minimum_scans=10)
    volume = phantoms.volume_on(GRIDS["LPS"])
    spleen, liver = segmenter.encode(volume).segment(["spleen", "liver"])
    assert (spleen.found, spleen.reason) == (False, "this model has seen spleen in 1 scan only, too few to answer")
    assert liver.found


def put_near(questions: QuestionMaker, prompt: Prompt, name: str) -> None:
    """Let the text encoder find that a free text is as good as the name of a structure."""
    assert prompt.free_text is not None
    known = {**questions.bank._embeddings, prompt.free_text: questions.bank.embed([name])[0]}
    questions.bank = EmbeddingBank(known, questions.bank.encoder)


def test_what_the_model_is_not_allowed_to_find_is_not_said_to_be_absent() -> None:
    segmenter = small_model.window_segmenter()
    never = replace(segmenter.questions.decision, concept_presence_thresholds={"liver": 1.0})
    segmenter.questions.decision = never
    liver, kidney = segmenter.encode(phantoms.volume_on(GRIDS["LPS"])).segment(["liver", "left kidney"])
    assert not liver.found
    assert liver.reason == "this model does not answer for liver, which it finds where there is none"
    assert kidney.found


def test_free_text_about_what_too_few_scans_showed_is_not_answered() -> None:
    segmenter = small_model.window_segmenter()
    questions = segmenter.questions
    (prompt,) = PromptSet.parse(["something red and soft"])
    put_near(questions, prompt, "spleen")
    assert "nearest to spleen" in questions.ask(prompt).note
    questions.decision = replace(questions.decision, minimum_scans=10)
    question = questions.ask(prompt)
    assert question.parts == ()
    assert question.refusal.startswith("this model has seen spleen in 1 scan only")


def test_free_text_near_a_structure_of_one_side_is_not_answered_without_a_side() -> None:
    questions = small_model.question_maker(similarity=-0.9)
    (prompt,) = PromptSet.parse(["pulmao dir"])
    for name, refused in (("left kidney", True), ("liver", False)):
        put_near(questions, prompt, name)
        question = questions.ask(prompt)
        assert bool(question.refusal) is refused, question
        assert f"{name} " in question.refusal + question.note


def test_free_text_about_another_kind_of_thing_is_not_answered() -> None:
    questions = small_model.question_maker(similarity=-0.9)
    muscle, thing = PromptSet.parse(["muscle of something", "something"])
    assert questions.ask(muscle).parts == ()
    assert questions.ask(muscle).refusal.startswith("'muscle' tells it from ")
    put_near(questions, thing, "liver")
    assert questions.ask(thing).parts


def test_free_text_that_names_a_side_is_not_answered() -> None:
    """Leftness outweighs a query that was not learned with it: half of all that the scan shows would be "found"."""
    questions = small_model.question_maker(similarity=-1.0)
    one_sided, both, none = PromptSet.parse(["left something", "something on both sides", "something"])
    assert one_sided.free_text is not None
    question = questions.ask(one_sided)
    assert question.parts == ()
    assert question.refusal.startswith("no structure that this model knows; ")
    for prompt in (both, none):
        put_near(questions, prompt, "liver")
        (part,) = questions.ask(prompt).parts
        assert part.wording.side is Side.NONE


def test_every_prompt_can_have_its_own_threshold() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    low, own, high = study.segment(["liver", "liver", "liver"], [0.3, None, 0.9])
    assert [low.threshold, high.threshold] == [0.3, 0.9]
    for segment, threshold in ((low, 0.3), (own, None), (high, 0.9)):
        alone = study.segment(["liver"], threshold).segments[0]
        assert segment.threshold == alone.threshold
        assert np.array_equal(segment.mask, alone.mask)
    assert low.volume_ml > high.volume_ml


@pytest.mark.parametrize("thresholds", [[0.5], [0.5, 0.5, 0.5], [], [0.5, 1.5], [0.5, float("nan")]])
def test_wrong_lists_of_thresholds_are_refused(thresholds: list[float]) -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    with pytest.raises(InputError, match="threshold"):
        study.segment(["liver", "left kidney"], thresholds)


def test_a_stream_gives_the_segments_of_segment_one_by_one() -> None:
    study = small_model.window_segmenter().encode(phantoms.volume_on(GRIDS["LPS"]))
    texts = ["liver", "left kidney", "spleen", "liver", "zxqv wvut"] * 4
    whole_answer, stream = study.segment(texts), study.stream(texts)
    assert stream.notes == whole_answer.notes
    first = next(stream.segments)
    for one, other in zip([first, *stream.segments], whole_answer, strict=True):
        assert (one.id, one.prompt, one.found, one.colour) == (other.id, other.prompt, other.found, other.colour)
        assert one.cropped is None or np.array_equal(one.mask, other.mask)
    with pytest.raises(InputError):  # at once, not when the first segment is asked for
        study.stream(["liver", " "])
