from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import slicer

from OpenVocabCTLib.errors import Cancelled, InputError
from OpenVocabCTLib.worker.errors import WorkerLost
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.logic import OpenVocabCTLogic, Request
from OpenVocabCTSlicer.rows import rows_from_text, rows_to_text
from Testing.slicer.fake_session import FakeSession
from Testing.slicer.scenes import SHAPE, box_mask, ct_node, ids, mask_of, masks, new_scene, put_under

LIVER = box_mask(SHAPE, (0, 0, 0), (6, 4, 4))
CORD = box_mask(SHAPE, (2, 2, 2), (5, 5, 5))
TABLE = {"liver": LIVER, "spinal cord": CORD, "gallbladder": None}
CLASS = "vtkMRMLSegmentationNode"


class Desk:
    def __init__(self, **options: Any) -> None:
        self.scene = new_scene()
        self.volume = ct_node(self.scene)
        self.session = FakeSession(TABLE, **options)
        self.logic = OpenVocabCTLogic(self.session)

    def request(self, *prompts: str, segmentation: Any = None) -> Request:
        return Request(self.volume, segmentation, prompts, model="big", device="cpu")

    @property
    def segmentations(self) -> int:
        return self.scene.GetNumberOfNodesByClass(CLASS)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_rows_and_segments_belong_together(desk: Desk) -> None:
    results = run(desk.logic.segment(desk.request("gallbladder", "spinal cord", "liver")))
    assert [(row.prompt, row.found, row.segment_id) for row in results.rows] == [
        ("gallbladder", False, None),
        ("spinal cord", True, "spinal_cord"),
        ("liver", True, "liver"),
    ]
    gallbladder, cord, liver = results.rows
    assert gallbladder.reason == "not in this scan"
    assert cord.volume_ml == pytest.approx(CORD.sum() * np.prod(desk.volume.GetSpacing()) / 1000)
    np.testing.assert_array_equal(mask_of(results.segmentation, cord.segment_id or ""), CORD)
    np.testing.assert_array_equal(mask_of(results.segmentation, liver.segment_id or ""), LIVER)
    assert results.notes == ("a note",)
    assert results.segmentation.GetName() == "ct segmentation"
    assert results.segmentation.GetDisplayNode() is not None
    (call,) = desk.session.calls
    assert (call["model"], call["device"]) == ("big", "cpu")
    assert call["rev"] is not None


def test_what_is_noted_of_an_answer_stays_with_its_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # The message that says it goes, the row is kept in the scene and copied into reports.
    said = "liver: only the left lobe", "the CT was read with a correction", "liver, again: x"
    plain = desk.session.segment

    def segment(*arguments: Any, **named: Any) -> Any:
        return replace((yield from plain(*arguments, **named)), notes=said)

    monkeypatch.setattr(desk.session, "segment", segment)
    results = run(desk.logic.segment(desk.request("liver", "spinal cord")))
    assert [row.note for row in results.rows] == ["only the left lobe", ""]
    assert results.notes == said
    assert rows_from_text(rows_to_text(results.rows)) == results.rows
    old = rows_to_text(results.rows).replace(',"note":"only the left lobe"', "").replace(',"note":""', "")
    assert [row.note for row in rows_from_text(old)] == ["", ""]


def test_nothing_found_makes_no_segmentation(desk: Desk) -> None:
    results = run(desk.logic.segment(desk.request("gallbladder")))
    assert results.segmentation is None
    assert desk.segmentations == 0
    assert [row.found for row in results.rows] == [False]


def test_a_new_segmentation_each_time_none_is_chosen(desk: Desk) -> None:
    first = run(desk.logic.segment(desk.request("liver"))).segmentation
    second = run(desk.logic.segment(desk.request("liver"))).segmentation
    assert first is not second
    assert first.GetName() != second.GetName()
    assert ids(first) == ids(second) == ["liver"]


def test_a_threshold_changes_one_segment_only_and_keeps_its_name(desk: Desk) -> None:
    results = run(desk.logic.segment(desk.request("liver", "spinal cord")))
    node = results.segmentation
    node.GetSegmentation().GetSegment("liver").SetName("Hepar")
    request = replace(desk.request("liver", "spinal cord"), segmentation=node)
    (row,) = run(desk.logic.rethreshold(request, "liver", 0.5)).rows
    assert (row.prompt, row.threshold, row.segment_id) == ("liver", 0.5, "liver")
    expected = LIVER.copy()
    expected[3:] = False
    np.testing.assert_array_equal(mask_of(node, "liver"), expected)
    np.testing.assert_array_equal(mask_of(node, "spinal_cord"), CORD)
    assert node.GetSegmentation().GetSegment("liver").GetName() == "Hepar"
    assert desk.logic.undo.restore(node), "undo takes back the slider alone, because of the name that was given before"
    assert node.GetSegmentation().GetSegment("liver").GetName() == "Hepar"
    np.testing.assert_array_equal(mask_of(node, "liver"), LIVER)


def test_undo_takes_back_a_run_with_its_sliders(desk: Desk) -> None:
    node = run(desk.logic.segment(desk.request("liver", "spinal cord"))).segmentation
    request = replace(desk.request("liver", "spinal cord"), segmentation=node)
    for threshold in (0.3, 0.6):
        run(desk.logic.rethreshold(request, "liver", threshold))
    assert not desk.logic.undo.meets_other_work(node)
    assert desk.logic.undo.restore(node)
    assert ids(node) == []


def test_a_ct_that_changed_since_the_run_is_not_read_again_for_a_slider(desk: Desk) -> None:
    results = run(desk.logic.segment(desk.request("liver")))
    request = replace(desk.request("liver"), segmentation=results.segmentation, revision=results.revision)
    assert run(desk.logic.rethreshold(request, "liver", 0.5)).rows[0].found
    slicer.util.arrayFromVolume(desk.volume)[0, 0, 0] = 77
    slicer.util.arrayFromVolumeModified(desk.volume)
    asked = len(desk.session.calls)
    with pytest.raises(InputError, match="CT has changed since it was segmented: press Apply"):
        run(desk.logic.rethreshold(request, "liver", 0.4))
    assert len(desk.session.calls) == asked


def test_a_segmentation_of_another_ct_is_not_written_to(desk: Desk) -> None:
    node = run(desk.logic.segment(desk.request("liver"))).segmentation
    desk.volume = ct_node(desk.scene)
    desk.session.masks["liver"] = CORD
    asked = len(desk.session.calls)
    with pytest.raises(InputError, match="belongs to another CT"):
        run(desk.logic.segment(desk.request("liver", segmentation=node)))
    assert len(desk.session.calls) == asked, "it is said before the CT is read"
    np.testing.assert_array_equal(mask_of(node, "liver"), LIVER)


def test_a_report_that_is_linked_is_no_work_of_the_user(desk: Desk) -> None:
    request = replace(desk.request("liver"), sentences={"liver": "Large liver."})
    node = run(desk.logic.segment(request)).segmentation
    assert not desk.logic.undo.meets_other_work(node)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(desk: Desk, threshold: float) -> None:
    with pytest.raises(InputError, match="no probability"):
        run(desk.logic.rethreshold(desk.request("liver"), "liver", threshold))
    assert not desk.session.calls


def test_answers_without_touching_the_scene(desk: Desk) -> None:
    answer = run(desk.logic.answer(desk.request("liver", "gallbladder")))
    assert [segment.found for segment in answer] == [True, False]
    assert desk.segmentations == 0


def test_no_prompt_is_refused(desk: Desk) -> None:
    with pytest.raises(InputError, match="no prompt"):
        run(desk.logic.segment(desk.request()))


GONE: dict[str, Callable[[Desk, Any], object]] = {
    "volume deleted": lambda desk, _node: desk.scene.RemoveNode(desk.volume),
    "scene closed": lambda desk, _node: desk.scene.Clear(False),
    "scene closed, singletons too": lambda desk, _node: desk.scene.Clear(True),
    "segmentation deleted": lambda desk, node: desk.scene.RemoveNode(node),
}


@pytest.mark.parametrize("after", [0, 1, 2, 5, 8, 9, 11])
@pytest.mark.parametrize("gone", GONE)
def test_what_leaves_the_scene_cancels_cleanly(desk: Desk, gone: str, after: int) -> None:
    node = run(desk.logic.segment(desk.request("liver"))).segmentation
    request = desk.request("spinal cord", "liver", segmentation=node)
    steps = desk.logic.segment(request)
    for _ in range(after):
        next(steps)
    GONE[gone](desk, node)
    with pytest.raises(Cancelled, match="removed"):
        run(steps)
    if 0 < after <= 8:
        assert desk.session.cancelled == 1
    if gone == "volume deleted":
        assert {name: mask.sum() for name, mask in masks(node).items()} == {"liver": LIVER.sum()}
        assert desk.segmentations == 1


@pytest.mark.parametrize("after", range(0, 14, 2))
def test_cancelling_leaves_no_new_segmentation(desk: Desk, after: int) -> None:
    steps = desk.logic.segment(desk.request("spinal cord", "liver"))
    for _ in range(after):
        next(steps)
    with pytest.raises(Cancelled):
        steps.throw(Cancelled("stopped", "start again"))
        run(steps)
    assert desk.segmentations == 0
    # The logic is as good as before.
    assert run(desk.logic.segment(desk.request("liver"))).rows[0].found


def test_closing_the_steps_leaves_no_new_segmentation(desk: Desk) -> None:
    for after in range(12):
        steps = desk.logic.segment(desk.request("spinal cord", "liver"))
        for _ in range(after):
            next(steps)
        steps.close()
        assert desk.segmentations == 0


def test_a_volume_that_changes_meanwhile_is_noticed(desk: Desk) -> None:
    steps = desk.logic.segment(desk.request("liver"))
    next(steps)
    slicer.util.arrayFromVolume(desk.volume)[0, 0, 0] = 77
    slicer.util.arrayFromVolumeModified(desk.volume)
    with pytest.raises(InputError, match="changed while"):
        run(steps)
    assert desk.segmentations == 0


def test_a_worker_that_dies_loses_nothing_in_the_scene() -> None:
    desk = Desk()
    node = run(desk.logic.segment(desk.request("liver"))).segmentation
    desk.session.error = WorkerLost("the worker ended", "run again")
    with pytest.raises(WorkerLost):
        run(desk.logic.segment(desk.request("liver", "spinal cord", segmentation=node)))
    np.testing.assert_array_equal(mask_of(node, "liver"), LIVER)
    desk.session.error = None
    assert run(desk.logic.segment(desk.request("spinal cord", segmentation=node))).rows[0].found


def test_under_a_transform_the_segments_move_with_the_volume(desk: Desk) -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = (10, 20, 30)
    transform = put_under(desk.scene, desk.volume, matrix)
    results = run(desk.logic.segment(desk.request("liver")))
    assert results.segmentation.GetTransformNodeID() == transform.GetID()
    geometry = desk.session.calls[0]["header"].geometry
    ras = geometry.affine_ras()[:3, 3]
    np.testing.assert_allclose(ras, np.add(desk.volume.GetOrigin(), (10, 20, 30)), atol=1e-9)
