from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from hypothesis import given, settings
from hypothesis import strategies as st

from OpenVocabCTLib.errors import Cancelled, InputError, OpenVocabCTError
from OpenVocabCTLib.geometry import LPS_TO_RAS
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.prompts.terminology import Code, Terminology
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.segments import SegmentWriter, WrittenSegment
from Testing.openvocabct_lib.output.output_cases import rotation
from Testing.slicer.scenes import (
    SHAPE,
    add_volume,
    box_mask,
    ct_node,
    edit,
    grid,
    ids,
    image_affine,
    mask_of,
    masks,
    names,
    new_scene,
    put_under,
    segmentation,
    segmentation_node,
    tag,
)

GRID = grid(shape=SHAPE)
KIDNEY = box_mask(SHAPE, (0, 0, 0), (3, 3, 3))
LIVER = box_mask(SHAPE, (3, 3, 3), (6, 7, 8))
CORD = box_mask(SHAPE, (2, 2, 2), (5, 5, 5))  # overlaps both
SPLEEN = box_mask(SHAPE, (0, 5, 5), (2, 7, 7))
# What Slicer itself gives a segment that says nothing.
SLICER_DEFAULT = Terminology(Code("SCT", "85756007", "Tissue"), Code("SCT", "85756007", "Tissue")).slicer_tag()
ANSWERS = {"left kidney": KIDNEY, "liver": LIVER, "spinal cord": CORD, "gallbladder": None, "a shadow": SPLEEN}


class Desk:
    """A scene with a volume, a segmentation and a writer."""

    def __init__(self) -> None:
        self.scene = new_scene()
        self.volume = ct_node(self.scene)
        self.node = segmentation_node(self.scene)
        self.writer = SegmentWriter()

    @property
    def content(self) -> Any:
        return self.node.GetSegmentation()

    def answer(self, *prompts: str, **others: np.ndarray | None) -> tuple[WrittenSegment, ...]:
        """Write the answers of ANSWERS for these prompts, or the mask given."""
        return self.write({prompt: others.get(prompt.replace(" ", "_"), ANSWERS.get(prompt)) for prompt in prompts})

    def write(self, answers: dict[str, np.ndarray | None]) -> tuple[WrittenSegment, ...]:
        return run(self.writer.write(self.node, self.volume, segmentation(answers, GRID)))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def check(desk: Desk, written: tuple[WrittenSegment, ...], answers: dict[str, np.ndarray | None]) -> None:
    """Every answer has its own segment with its own mask, name, code and prompt; nothing else is there."""
    for one, answer in zip(written, segmentation(answers, GRID), strict=True):
        assert one.prompt == answer.prompt
        if not answer.found:
            assert one == WrittenSegment(None, answer.prompt, "none")
            continue
        assert one.segment_id is not None
        np.testing.assert_array_equal(mask_of(desk.node, one.segment_id), answer.mask)
        segment = desk.content.GetSegment(one.segment_id)
        assert segment.GetName() == answer.name
        np.testing.assert_allclose(segment.GetColor(), np.array(answer.colour) / 255)
        assert tag(desk.node, one.segment_id, "OpenVocabCT.Prompt") == answer.prompt
        expected = answer.terminology.slicer_tag() if answer.terminology else SLICER_DEFAULT
        assert tag(desk.node, one.segment_id, "TerminologyEntry") == expected
    found = [one.segment_id for one in written if one.segment_id]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("order", list(itertools.permutations(ANSWERS))[::7])
def test_prompts_in_any_order(desk: Desk, order: tuple[str, ...]) -> None:
    answers = {prompt: ANSWERS[prompt] for prompt in order}
    written = desk.write(answers)
    check(desk, written, answers)
    assert ids(desk.node) == [one.segment_id for one in written if one.segment_id]
    assert {one.change for one in written} == {"created", "none"}


@given(st.lists(st.permutations(list(ANSWERS)).flatmap(lambda p: st.integers(1, 5).map(lambda n: p[:n])), max_size=4))
@settings(max_examples=20, deadline=None)
def test_any_runs_one_after_the_other(runs: list[list[str]]) -> None:
    desk = Desk()
    asked: dict[str, None] = {}
    for prompts in runs:
        answers = {prompt: ANSWERS[prompt] for prompt in prompts}
        check(desk, desk.write(answers), answers)
        asked |= dict.fromkeys(prompts)
        held = {tag(desk.node, i, "OpenVocabCT.Prompt"): mask for i, mask in masks(desk.node).items()}
        assert set(held) == {prompt for prompt in asked if ANSWERS[prompt] is not None}
        for prompt, mask in held.items():
            np.testing.assert_array_equal(mask, ANSWERS[prompt])
    assert len(ids(desk.node)) == sum(ANSWERS[prompt] is not None for prompt in asked)


def test_an_empty_result_creates_nothing_and_renames_no_neighbour(desk: Desk) -> None:
    desk.answer("liver")
    before = names(desk.node)
    assert desk.answer("gallbladder") == (WrittenSegment(None, "gallbladder", "none"),)
    assert names(desk.node) == before


def test_one_new_among_old(desk: Desk) -> None:
    first = desk.answer("left kidney", "a shadow")
    second = desk.answer("a shadow", "liver", "left kidney")
    assert [one.change for one in second] == ["updated", "created", "updated"]
    assert {one.prompt: one.segment_id for one in first}.items() <= {o.prompt: o.segment_id for o in second}.items()
    check(desk, second, {prompt: ANSWERS[prompt] for prompt in ("a shadow", "liver", "left kidney")})


def duplicates(mask_one: np.ndarray, mask_two: np.ndarray) -> Segmentation:
    from OpenVocabCTLib.output import CroppedMask, unanswered
    from OpenVocabCTLib.prompts import PromptSet

    blanks = unanswered(PromptSet.parse(["liver", "liver"]))
    from dataclasses import replace

    return Segmentation(
        GRID,
        tuple(
            replace(blank, found=True, reason="", cropped=CroppedMask.from_full(mask))
            for blank, mask in zip(blanks, (mask_one, mask_two), strict=True)
        ),
    )


def test_the_same_prompt_twice_stays_two_segments_also_the_next_time(desk: Desk) -> None:
    first = run(desk.writer.write(desk.node, desk.volume, duplicates(LIVER, KIDNEY)))
    again = run(desk.writer.write(desk.node, desk.volume, duplicates(KIDNEY, CORD)))
    assert [one.segment_id for one in first] == [one.segment_id for one in again] == ["liver", "liver_2"]
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), KIDNEY)
    np.testing.assert_array_equal(mask_of(desk.node, "liver_2"), CORD)


@pytest.mark.parametrize("typed", ["Liver", "  LIVER ", "liver"])
def test_case_and_blanks_do_not_make_another_prompt(desk: Desk, typed: str) -> None:
    desk.answer("liver")
    assert desk.write({typed: KIDNEY})[0].change == "updated"
    assert ids(desk.node) == ["liver"]


def test_what_the_user_renamed_and_recoloured_stays_so(desk: Desk) -> None:
    (one,) = desk.answer("liver")
    segment = desk.content.GetSegment(one.segment_id)
    segment.SetName("Hepar")
    segment.SetColor(0.1, 0.2, 0.3)
    segment.SetTag("TerminologyEntry", "mine")
    (again,) = desk.answer("liver", liver=CORD)
    assert again == WrittenSegment(one.segment_id, "liver", "updated")
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), CORD)
    assert (segment.GetName(), segment.GetColor()) == ("Hepar", (0.1, 0.2, 0.3))
    assert tag(desk.node, "liver", "TerminologyEntry") == "mine"


def test_a_segment_renamed_to_another_prompts_name_is_not_taken_for_it(desk: Desk) -> None:
    desk.answer("a shadow")
    desk.content.GetSegment("a_shadow").SetName("Liver")
    (written,) = desk.answer("liver")
    assert written.segment_id == "liver"
    np.testing.assert_array_equal(mask_of(desk.node, "a_shadow"), SPLEEN)


def test_an_id_that_a_foreign_segment_has_is_left_to_it(desk: Desk) -> None:
    foreign = slicer.vtkSegment()
    foreign.SetName("drawn by hand")
    desk.content.AddSegment(foreign, "liver")
    (written,) = desk.answer("liver")
    assert written == WrittenSegment("liver_2", "liver", "created")
    assert names(desk.node)["liver"] == "drawn by hand"
    assert not mask_of(desk.node, "liver").any()
    np.testing.assert_array_equal(mask_of(desk.node, "liver_2"), LIVER)


def test_segments_that_do_not_overlap_share_a_layer_and_others_get_a_new_one(desk: Desk) -> None:
    desk.answer("left kidney", "liver", "spinal cord")
    assert [desk.content.GetLayerIndex(i) for i in ids(desk.node)] == [0, 0, 1]


def test_a_neighbour_in_the_same_layer_keeps_every_voxel(desk: Desk) -> None:
    desk.answer("left kidney", "liver")
    for mask in (CORD, KIDNEY, LIVER, np.ones(SHAPE, bool), KIDNEY):
        desk.write({"left kidney": mask})
        np.testing.assert_array_equal(mask_of(desk.node, "left_kidney"), mask)
        np.testing.assert_array_equal(mask_of(desk.node, "liver"), LIVER)


def test_a_foreign_neighbour_in_a_shared_layer_keeps_every_voxel(desk: Desk) -> None:
    desk.answer("left kidney", "liver")
    desk.content.AddEmptySegment("foreign")
    edit(desk.node, "foreign", SPLEEN)
    desk.content.CollapseBinaryLabelmaps(False)
    assert desk.content.GetNumberOfLayers() == 1
    desk.write({"spinal cord": np.ones(SHAPE, bool), "liver": np.ones(SHAPE, bool)})
    np.testing.assert_array_equal(mask_of(desk.node, "foreign"), SPLEEN)
    np.testing.assert_array_equal(mask_of(desk.node, "left_kidney"), KIDNEY)
    assert mask_of(desk.node, "liver").all()
    assert mask_of(desk.node, "spinal_cord").all()


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_random_masks_in_random_runs_keep_apart(data: st.DataObject) -> None:
    desk = Desk()
    expected: dict[str, np.ndarray] = {}
    prompts = ["liver", "left kidney", "spinal cord"]
    for _ in range(data.draw(st.integers(1, 4))):
        seed = data.draw(st.integers(0, 10**6))
        random = np.random.default_rng(seed)
        chosen = data.draw(st.lists(st.sampled_from(prompts), unique=True, min_size=1))
        answers = {prompt: random.random(SHAPE) < random.choice([0.05, 0.5]) for prompt in chosen}
        written = desk.write(dict(answers))
        expected |= {one.segment_id: answers[one.prompt] for one in written if one.segment_id}
        for segment_id, mask in expected.items():
            np.testing.assert_array_equal(mask_of(desk.node, segment_id), mask)
        if data.draw(st.booleans()):
            desk.content.CollapseBinaryLabelmaps(False)


def test_more_segments_than_a_byte_counts(desk: Desk) -> None:
    answers: dict[str, np.ndarray | None] = {}
    for number in range(300):
        mask = np.zeros(SHAPE, dtype=bool)
        mask.flat[number] = True
        answers[f"shadow {number}"] = mask
    written = desk.write(answers)
    assert desk.content.GetNumberOfLayers() == 1
    for one in (written[0], written[255], written[299]):
        np.testing.assert_array_equal(mask_of(desk.node, one.segment_id or ""), answers[one.prompt])


def test_not_found_any_more_removes_what_only_we_changed(desk: Desk) -> None:
    desk.answer("left kidney", "liver")
    (written,) = desk.write({"liver": None})
    assert written == WrittenSegment(None, "liver", "removed")
    assert ids(desk.node) == ["left_kidney"]
    np.testing.assert_array_equal(mask_of(desk.node, "left_kidney"), KIDNEY)
    # Its voxels are not left behind in the layer.
    desk.write({"liver": CORD})
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), CORD)


@pytest.mark.parametrize("change", ["name", "colour", "voxels", "name, then updated"])
def test_not_found_any_more_keeps_what_the_user_changed(desk: Desk, change: str) -> None:
    desk.answer("left kidney", "liver")
    segment = desk.content.GetSegment("liver")
    expected = LIVER
    if change.startswith("name"):
        segment.SetName("Hepar")
    if change == "name, then updated":
        desk.write({"liver": CORD})
        expected = CORD
    if change == "colour":
        segment.SetColor(0, 0, 1)
    if change == "voxels":
        edit(desk.node, "liver", SPLEEN)
        expected = SPLEEN
    (written,) = desk.write({"liver": None})
    assert written == WrittenSegment("liver", "liver", "kept")
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), expected)


def test_edits_that_an_update_replaces_are_told_and_nothing_else_is(desk: Desk) -> None:
    desk.answer("liver", "left kidney", "spinal cord")
    edit(desk.node, "liver", SPLEEN)
    desk.content.GetSegment("left_kidney").SetName("right kidney")
    assert [one.edits_replaced for one in desk.answer("liver", "left kidney", "spinal cord")] == [True, False, False]
    assert [one.edits_replaced for one in desk.answer("liver", liver=CORD)] == [False], "the voxels were ours again"
    desk.writer.undo.restore(desk.node)
    desk.writer.undo.restore(desk.node)
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), SPLEEN)


def test_the_segmentation_takes_the_volumes_geometry_and_transform() -> None:
    desk = Desk()
    transform = put_under(desk.scene, desk.volume, np.diag([1.0, 1, 1, 1]))
    desk.answer("liver")
    assert desk.node.GetTransformNodeID() == transform.GetID()
    role = desk.node.GetReferenceImageGeometryReferenceRole()
    assert desk.node.GetNodeReference(role) is desk.volume
    reference = slicer.vtkOrientedImageData()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(
        desk.content.GetConversionParameter(name), reference, False
    )
    assert reference.GetExtent() == (0, SHAPE[2] - 1, 0, SHAPE[1] - 1, 0, SHAPE[0] - 1)
    np.testing.assert_allclose(image_affine(desk.node, "liver"), GRID.affine_ras(), rtol=1e-12, atol=1e-12)


def test_a_segmentation_from_the_node_selector_is_seen(desk: Desk) -> None:
    # The selector adds the node and no more.
    desk.node = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    desk.answer("liver", "left kidney")
    display = desk.node.GetDisplayNode()
    assert display.GetVisibility()
    assert all(display.GetSegmentVisibility(segment_id) for segment_id in ("liver", "left_kidney"))
    desk.answer("spinal cord")
    assert desk.node.GetNumberOfDisplayNodes() == 1


def test_a_chosen_segmentation_stays_where_it_is_and_the_mask_lands_on_the_volume(desk: Desk) -> None:
    desk.answer("left kidney")
    turned = np.eye(4)
    turned[:3, :3] = rotation(0.3)
    turned[:3, 3] = (5, -7, 11)
    put_under(desk.scene, desk.volume, turned)
    desk.answer("liver")
    assert desk.node.GetTransformNodeID() is None
    np.testing.assert_allclose(image_affine(desk.node, "left_kidney"), GRID.affine_ras(), atol=1e-9)
    np.testing.assert_allclose(image_affine(desk.node, "liver"), turned @ GRID.affine_ras(), atol=1e-9)
    # The same prompt again: the old segment moves to the volume's new place, its neighbour does not.
    desk.write({"left kidney": CORD})
    np.testing.assert_allclose(image_affine(desk.node, "left_kidney"), turned @ GRID.affine_ras(), atol=1e-9)
    np.testing.assert_array_equal(mask_of(desk.node, "left_kidney"), CORD)
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), LIVER)


def test_axes_that_would_be_sheared_in_the_chosen_segmentation_are_refused(desk: Desk) -> None:
    desk.answer("left kidney")
    shear = np.eye(4)
    shear[0, 1] = 0.5
    put_under(desk.scene, desk.node, shear)
    with pytest.raises(InputError, match="sheared"):
        desk.answer("liver")
    assert ids(desk.node) == ["left_kidney"]


@given(
    codes=st.sampled_from(["LPS", "RAS", "PIR", "SLA", "ARI", "LAS"]),
    turn=st.floats(-0.7, 0.7),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
)
@settings(max_examples=20, deadline=None)
def test_any_grid_keeps_mask_and_place(codes: str, turn: float, spacing: tuple[float, float, float]) -> None:
    geometry = grid(codes, SHAPE, turn, spacing=spacing)
    scene = new_scene()
    volume, node = ct_node(scene, geometry), segmentation_node(scene)
    answers = {"liver": LIVER, "spinal cord": CORD}
    for one in (answers, {"liver": CORD, "spinal cord": LIVER}):
        run(SegmentWriter().write(node, volume, segmentation(one, geometry)))
        for segment_id, prompt in (("liver", "liver"), ("spinal_cord", "spinal cord")):
            np.testing.assert_array_equal(mask_of(node, segment_id), one[prompt])
            np.testing.assert_allclose(image_affine(node, segment_id), geometry.affine_ras(), atol=1e-6)


def test_surfaces_are_refused_and_left_alone(desk: Desk) -> None:
    desk.answer("liver")
    desk.node.CreateClosedSurfaceRepresentation()
    desk.content.SetSourceRepresentationName("Closed surface")
    with pytest.raises(InputError, match="label maps"):
        desk.answer("left kidney")
    assert ids(desk.node) == ["liver"]


def test_shown_surfaces_follow_an_update(desk: Desk) -> None:
    desk.answer("liver")
    desk.node.CreateClosedSurfaceRepresentation()
    before = desk.content.GetSegment("liver").GetRepresentation("Closed surface").GetBounds()
    desk.answer("liver", "left kidney", liver=SPLEEN)
    after = desk.content.GetSegment("liver").GetRepresentation("Closed surface").GetBounds()
    assert before != after
    assert desk.content.GetSegment("left_kidney").GetRepresentation("Closed surface").GetNumberOfPoints() > 0


def test_another_volume_size_is_refused(desk: Desk) -> None:
    other = add_volume(desk.scene, np.zeros((4, 4, 4), np.int16), np.eye(4))
    with pytest.raises(InputError, match="not the one"):
        run(desk.writer.write(desk.node, other, segmentation({"liver": LIVER}, GRID)))


def test_undo_and_redo_of_a_run(desk: Desk) -> None:
    undo = desk.writer.undo
    assert not undo.can_restore(desk.node)
    desk.answer("left kidney", "liver")
    desk.content.GetSegment("liver").SetName("Hepar")
    desk.write({"liver": CORD, "spinal cord": SPLEEN})
    assert undo.restore(desk.node)
    assert names(desk.node) == {"left_kidney": "left kidney", "liver": "Hepar"}
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), LIVER)
    np.testing.assert_array_equal(mask_of(desk.node, "left_kidney"), KIDNEY)
    assert undo.can_redo(desk.node)
    assert undo.redo(desk.node)
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), CORD)
    np.testing.assert_array_equal(mask_of(desk.node, "spinal_cord"), SPLEEN)
    assert undo.restore(desk.node)
    assert undo.restore(desk.node)
    assert ids(desk.node) == []
    assert not undo.can_restore(desk.node)


def test_undo_brings_back_what_was_removed(desk: Desk) -> None:
    desk.answer("left kidney", "liver")
    desk.write({"liver": None})
    assert desk.writer.undo.restore(desk.node)
    assert {k: v.sum() for k, v in masks(desk.node).items()} == LIT
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), LIVER)


LIT = {"left_kidney": KIDNEY.sum(), "liver": LIVER.sum()}


STOPPED: dict[str, dict[str, np.ndarray | None]] = {
    "several": {"liver": CORD, "spinal cord": SPLEEN, "left kidney": None, "a shadow": KIDNEY},
    "new voxels in a layer of its own": {"a shadow": CORD},
    "the same again": {"a shadow": SPLEEN},
    "not found any more": {"a shadow": None},
}


def _everything(desk: Desk) -> dict[str, Any]:
    tags = ("OpenVocabCT.Prompt", "OpenVocabCT.Threshold", "OpenVocabCT.Mask")
    return {
        i: (mask.tobytes(), names(desk.node)[i], [tag(desk.node, i, name) for name in tags])
        for i, mask in masks(desk.node).items()
    }


def _stop(steps: Any, how: str, after: int) -> bool:
    """Stop after so many steps; False when they were done before."""
    try:
        for _ in range(after):
            next(steps)
    except StopIteration:
        return False
    if how == "close":
        steps.close()
    else:
        with pytest.raises(Cancelled):
            steps.throw(Cancelled("stopped", "start again"))
    return True


@pytest.mark.parametrize("how", ["cancel", "close"])
@pytest.mark.parametrize("answers", STOPPED.values(), ids=STOPPED)
def test_a_run_that_is_stopped_anywhere_leaves_everything_as_it_was(
    answers: dict[str, np.ndarray | None], how: str
) -> None:
    after, stopped = 0, True
    while stopped:
        after += 1
        desk = Desk()
        desk.answer("left kidney", "liver")
        desk.answer("a shadow")  # a run of its own, so that its segment shares no layer
        before = _everything(desk)
        stopped = _stop(desk.writer.write(desk.node, desk.volume, segmentation(answers, GRID)), how, after)
        if stopped:
            assert _everything(desk) == before
            # What undo takes back then is the run before.
            assert desk.writer.undo.restore(desk.node)
            assert set(ids(desk.node)) == {"left_kidney", "liver"}
    assert after > 1


@pytest.mark.parametrize("is_step", [True, False])
def test_a_run_that_fails_leaves_everything_as_it_was(
    desk: Desk, is_step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.answer("left kidney", "liver")
    desk.answer("a shadow")
    before = _everything(desk)
    failing = type("Logic", (), {"MODE_REPLACE": 0, "SetBinaryLabelmapToSegment": staticmethod(lambda *_: False)})
    monkeypatch.setattr(slicer, "vtkSlicerSegmentationsModuleLogic", failing)
    for prompt in ("liver", "a shadow"):
        with pytest.raises(OpenVocabCTError, match="cannot be updated"):
            steps = desk.writer.write(desk.node, desk.volume, segmentation({prompt: CORD}, GRID), is_step)
            run(steps)
        assert _everything(desk) == before


def test_an_adjusted_answer_is_whole_or_not_there_and_no_step_of_undo(desk: Desk) -> None:
    desk.answer("left kidney", "liver")
    for number in range(1, 10):
        slider = desk.writer.write(desk.node, desk.volume, segmentation({"liver": CORD}, GRID), is_step=False)
        stopped = _stop(slider, "cancel", number)
        np.testing.assert_array_equal(mask_of(desk.node, "liver"), LIVER if stopped else CORD)
        if not stopped:
            break
    for _ in range(10):
        for mask in (SPLEEN, CORD):
            run(desk.writer.write(desk.node, desk.volume, segmentation({"liver": mask}, GRID), is_step=False))
    assert not desk.writer.undo.meets_other_work(desk.node), "our own changes are not the user's"
    assert desk.writer.undo.restore(desk.node)
    assert ids(desk.node) == []


WORK: dict[str, Any] = {
    "painted": lambda desk: edit(desk.node, "liver", SPLEEN),
    "new segment": lambda desk: desk.content.AddEmptySegment("tumour", "tumour"),
    "removed": lambda desk: desk.content.RemoveSegment("liver"),
    "renamed": lambda desk: desk.content.GetSegment("liver").SetName("Hepar"),
    "recoloured": lambda desk: desk.content.GetSegment("liver").SetColor(0, 0, 1),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_undo_knows_of_work_that_it_would_take_back(desk: Desk, work: Any) -> None:
    undo = desk.writer.undo
    desk.answer("left kidney", "liver")
    desk.content.GetSegment("liver").AddRepresentation("Closed surface", vtk.vtkPolyData())
    desk.node.GetDisplayNode().SetSegmentVisibility("liver", False)
    assert not undo.meets_other_work(desk.node), "showing is no work"
    work(desk)
    assert undo.meets_other_work(desk.node)
    worked = _everything(desk)
    # What a slider or a run overwrites after it can be taken back, and leaves the work.
    for is_step in (False, True):
        new = {"left kidney": CORD, "liver": CORD} if is_step else {"liver": CORD}
        run(desk.writer.write(desk.node, desk.volume, segmentation(new, GRID), is_step))
        assert not undo.meets_other_work(desk.node)
        assert undo.restore(desk.node)
        assert _everything(desk) == worked
        assert undo.meets_other_work(desk.node), "the next one would take the work back"
    assert undo.restore(desk.node)
    assert ids(desk.node) == []


def test_undo_lets_go_of_everything(desk: Desk) -> None:
    desk.answer("left kidney")
    undo = desk.writer.undo
    counted = undo._changes.events
    undo.forget()
    assert not undo.can_restore(desk.node)
    desk.content.GetSegment("left_kidney").SetName("kidney")
    assert undo._changes.events == counted, "nothing is observed any more"
    desk.answer("liver")
    assert desk.writer.undo.restore(desk.node)
    assert ids(desk.node) == ["left_kidney"]


def test_what_the_command_line_wrote_is_recognised(desk: Desk, tmp_path: Any) -> None:
    segmentation({"liver": LIVER, "left kidney": KIDNEY}, GRID).write(tmp_path / "s.seg.nrrd")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    desk.scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "s.seg.nrrd"))
    assert storage.ReadData(desk.node)
    (written,) = desk.write({"liver": CORD})
    assert written == WrittenSegment("liver", "liver", "updated")
    np.testing.assert_array_equal(mask_of(desk.node, "left_kidney"), KIDNEY)
    np.testing.assert_array_equal(mask_of(desk.node, "liver"), CORD)


def test_bars_and_colons_in_a_prompt_survive_the_file(desk: Desk, tmp_path: Any) -> None:
    desk.write({"odd | shadow: here": LIVER})
    storage = slicer.vtkMRMLSegmentationStorageNode()
    desk.scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "s.seg.nrrd"))
    assert storage.WriteData(desk.node)
    other = segmentation_node(desk.scene)
    assert storage.ReadData(other)
    desk.node = other
    assert desk.write({"odd | shadow: here": CORD})[0].change == "updated"
    assert len(ids(other)) == 1


def test_lps_to_ras_of_the_test_agrees_with_slicer(desk: Desk) -> None:
    # The fixtures rely on it.
    np.testing.assert_array_equal(GRID.affine_ras(), LPS_TO_RAS @ GRID.affine_lps())
