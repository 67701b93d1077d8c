"""The panel on the real logic and Slicer's own scene: what it shows belongs together, and nobody's work is lost."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest
import slicer

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.steps import Progress
from Testing.slicer.fake_session import FakeSession
from Testing.slicer.scenes import SHAPE, box_mask, ct_node, edit, masks
from Testing.slicer_gui.fakes import FakeDialogs, FakeLogic
from Testing.slicer_gui.gui import click, events, press, wait_until
from Testing.slicer_gui.panels import Bench

LIVER = box_mask(SHAPE, (3, 3, 3), (6, 7, 8))
SPLEEN = box_mask(SHAPE, (0, 0, 0), (2, 2, 2))
CLASS = "vtkMRMLSegmentationNode"


class Session(FakeSession):
    """A session that also offers phrases; slow, or unable to answer a prompt, when a test says so."""

    running = False
    slow = False
    failing = ""

    def vocabulary(self) -> Generator[None, None, list[Any]]:
        yield None
        return []

    def segment(self, *args: Any, **options: Any) -> Generator[Progress | None, None, Any]:
        number = 0
        while self.slow:
            number += 1
            yield Progress("encoding", min(number, 99), 100)
            yield None
        if self.failing in [prompt.text for prompt in args[1]]:
            raise InputError("it cannot be answered", "try again")
        return (yield from _from_cache(FakeSession.segment(self, *args, **options)))


def _from_cache(steps: Any) -> Generator[Progress | None, None, Any]:
    """Answer without a word of an image pass, as when it was done before."""
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            return stop.value
        yield None if step is not None and step.stage == "encoding" else step


class Desk:
    """A shown panel with the CTs of two patients, the first one chosen."""

    def __init__(self, environment: Any, **changes: Any) -> None:
        from OpenVocabCTSlicer.logic import OpenVocabCTLogic
        from OpenVocabCTSlicer.segments import SegmentWriter
        from OpenVocabCTSlicer.undo import SegmentationUndo

        self.session, self.undo = Session({"liver": LIVER, "spleen": SPLEEN}), SegmentationUndo()
        values: dict[str, Any] = {
            "make_session": lambda _settings: self.session,
            "make_logic": lambda session: OpenVocabCTLogic(session, SegmentWriter(self.undo)),
            "undo": self.undo,
        }
        self.bench = Bench(environment, FakeLogic(segmentation=True), volume=False, **(values | changes))
        self.scene, self.ui, self.panel = self.bench.scene, self.bench.ui, self.bench.panel
        self.first, self.second = ct_node(self.scene), ct_node(self.scene)
        self.ui.volumeSelector.setCurrentNode(self.first)

    def apply(self, text: str) -> Any:
        self.ui.promptEdit.setPlainText(text)
        click(self.ui.applyButton)
        wait_until(lambda: not self.panel.runner.running)
        return self.chosen

    def move(self, prompt: str, value: int) -> None:
        self.panel.table._sliders[prompt][0].value = value

    def slider(self, prompt: str) -> int:
        return int(self.panel.table._sliders[prompt][0].value)

    def wait_for_answer(self) -> None:
        queue = self.panel.thresholds
        wait_until(lambda: not self.panel.table._timer.isActive() and not queue._runner.running)

    @property
    def chosen(self) -> Any:
        return self.ui.segmentationSelector.currentNode()

    @property
    def message(self) -> str:
        return self.bench.message

    @property
    def prompts(self) -> list[str]:
        return [row.prompt for row in self.panel.table.rows]


def rest(seconds: float) -> None:
    """Give a slider's answer the time to come."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end)


def voxels(node: Any) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks(node).items()}


@pytest.fixture
def make(slicer_gui: Any) -> Iterator[Any]:
    desks: list[Desk] = []

    def make_desk(**changes: Any) -> Desk:
        desks.append(Desk(slicer_gui, **changes))
        return desks[-1]

    yield make_desk
    for desk in desks:
        desk.panel.dispose()
        desk.undo.forget()
        desk.bench.widget.deleteLater()
    events()


@pytest.fixture
def desk(make: Any) -> Desk:
    made: Desk = make()
    return made


def paint(node: Any) -> None:
    """Add a segment, as the user does in the Segment Editor."""
    node.GetSegmentation().AddEmptySegment("tumour", "tumour")
    image = slicer.vtkOrientedImageData()
    image.DeepCopy(node.GetSegmentation().GetSegment("liver").GetRepresentation("Binary labelmap"))
    assert slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, "tumour", 0)


# Two patients


def test_another_ct_gets_a_segmentation_of_its_own(desk: Desk) -> None:
    first = desk.apply("liver")
    desk.session.masks["liver"] = SPLEEN
    desk.ui.volumeSelector.setCurrentNode(desk.second)
    assert desk.chosen is None
    assert desk.prompts == [], "the rows are of the first CT"
    assert desk.message == f"{first.GetName()} belongs to another CT: the next answer goes into a new segmentation"
    second = desk.apply("liver")
    assert second is not first
    assert voxels(first) == {"liver": LIVER.sum()}
    assert voxels(second) == {"liver": SPLEEN.sum()}


def test_a_segmentation_of_another_ct_cannot_be_chosen(desk: Desk) -> None:
    first = desk.apply("liver")
    desk.ui.volumeSelector.setCurrentNode(desk.second)
    desk.ui.segmentationSelector.setCurrentNode(first)
    assert desk.chosen is None
    assert "belongs to another CT" in desk.message


def test_a_scene_that_was_saved_with_both_does_not_mix_them(desk: Desk) -> None:
    from OpenVocabCTSlicer.parameters import Parameters, parameter_node

    first = desk.apply("liver")
    rows = desk.panel.table.rows
    Parameters("liver", desk.second, first, rows).write(parameter_node(desk.scene))
    desk.panel.load_parameters()
    assert desk.chosen is None
    assert desk.prompts == []


def test_rows_stay_while_the_choice_stays_and_go_with_it(desk: Desk) -> None:
    node = desk.apply("liver")
    desk.panel.enter()
    assert desk.prompts == ["liver"]
    desk.move("liver", 30)
    desk.wait_for_answer()
    assert desk.panel.table.rows[0].threshold == 0.3
    desk.ui.segmentationSelector.setCurrentNode(None)
    assert desk.prompts == []
    desk.ui.segmentationSelector.setCurrentNode(node)
    assert desk.prompts == []
    desk.apply("spleen")
    assert voxels(node).keys() == {"liver", "spleen"}


def test_rows_of_an_imported_scene_do_not_answer_for_an_earlier_run(desk: Desk) -> None:
    from OpenVocabCTSlicer.parameters import Parameters, parameter_node

    node = desk.apply("liver, spleen")
    before = voxels(node)
    imported = desk.scene.AddNewNodeByClass(CLASS, "imported")
    spleen = desk.panel.table.rows[1:]
    Parameters("spleen", desk.second, imported, spleen).write(parameter_node(desk.scene))
    desk.panel.load_parameters()
    assert desk.prompts == ["spleen"]
    asked = len(desk.session.calls)
    desk.move("spleen", 90)
    wait_until(lambda: "another session" in desk.message)
    assert len(desk.session.calls) == asked
    assert voxels(node) == before
    assert desk.slider("spleen") == round(100 * spleen[0].threshold), "the slider says what holds"


def test_a_scene_that_is_loaded_during_a_run_does_not_mix_with_its_rows(desk: Desk) -> None:
    from OpenVocabCTSlicer.parameters import Parameters, parameter_node

    desk.session.slow = True
    desk.ui.promptEdit.setPlainText("liver")
    click(desk.ui.applyButton)
    imported = desk.scene.AddNewNodeByClass(CLASS, "imported")
    Parameters("spleen", desk.second, imported).write(parameter_node(desk.scene))
    desk.panel.load_parameters()
    desk.session.slow = False
    wait_until(lambda: not desk.panel.runner.running)
    assert desk.prompts == ["liver"]
    assert desk.ui.volumeSelector.currentNode() is desk.first
    assert desk.chosen is not imported
    desk.move("liver", 30)
    wait_until(lambda: desk.panel.table.rows[0].threshold == 0.3)
    assert voxels(imported) == {}


# Undo


def test_undo_takes_back_the_run_and_not_its_sliders(desk: Desk) -> None:
    node = desk.apply("liver")
    for value in range(30, 38):
        desk.move("liver", value)
        desk.wait_for_answer()
    assert len(desk.session.calls) == 9
    click(desk.ui.undoButton)
    assert voxels(node) == {}
    assert desk.prompts == []
    assert desk.message == "taken back: the segmentation is as it was before"
    assert not desk.ui.undoButton.enabled


def test_undo_ends_an_answer_under_way(desk: Desk) -> None:
    node = desk.apply("liver")
    desk.move("liver", 40)
    wait_until(lambda: desk.panel.thresholds._runner.running)
    click(desk.ui.undoButton)
    assert not desk.panel.thresholds._runner.running
    rest(0.4)
    assert voxels(node) == {}


@pytest.mark.parametrize("agree", [True, False])
def test_undo_asks_before_it_takes_work_back(make: Any, agree: bool) -> None:
    desk = make(dialogs=FakeDialogs(agree=agree))
    node = desk.apply("liver")
    paint(node)
    before = voxels(node)
    click(desk.ui.undoButton)
    assert desk.bench.tools.dialogs.questions == [
        "The segmentation was also changed by hand. Undo takes these changes back too."
    ]
    assert voxels(node) == ({} if agree else before)
    assert desk.prompts == ([] if agree else ["liver"])
    assert ("taken back" in desk.message) is agree


def test_no_answer_comes_while_undo_asks(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = make()
    node = desk.apply("liver")
    paint(node)
    before = voxels(node)
    seen: list[dict[str, int]] = []

    def consent(*_: Any) -> bool:
        rest(0.4)  # a dialog lets events happen
        seen.append(voxels(node))
        return False

    monkeypatch.setattr(desk.bench.tools.dialogs, "consent", consent)
    desk.move("liver", 40)
    wait_until(lambda: desk.panel.thresholds._runner.running)
    click(desk.ui.undoButton)
    assert seen == [before]
    assert desk.slider("liver") == 50


def test_undo_does_not_ask_without_need(desk: Desk) -> None:
    node = desk.apply("liver")
    edit(node, "liver", SPLEEN)
    desk.apply("spleen")
    click(desk.ui.undoButton)
    assert not desk.bench.tools.dialogs.questions
    assert voxels(node) == {"liver": SPLEEN.sum()}


def test_undo_brings_back_what_a_slider_overwrote(desk: Desk) -> None:
    node = desk.apply("liver")
    edit(node, "liver", SPLEEN)
    desk.move("liver", 40)
    desk.wait_for_answer()
    assert voxels(node) != {"liver": SPLEEN.sum()}
    assert desk.message == "edited by hand before, and replaced by this answer: liver. Undo brings it back"
    click(desk.ui.undoButton)
    assert not desk.bench.tools.dialogs.questions
    np.testing.assert_array_equal(masks(node)["liver"], SPLEEN)
    click(desk.ui.undoButton)
    assert desk.bench.tools.dialogs.questions
    assert voxels(node) == {}


def test_a_run_says_whose_edits_it_replaced(desk: Desk) -> None:
    node = desk.apply("liver")
    edit(node, "liver", SPLEEN)
    desk.apply("liver, spleen")
    assert "edited by hand before, and replaced by this answer: liver. Undo brings it back" in desk.message
    click(desk.ui.undoButton)
    assert voxels(node) == {"liver": SPLEEN.sum()}
    desk.apply("spleen")
    assert "edited by hand" not in desk.message


def test_a_copied_table_says_which_numbers_are_of_before(desk: Desk) -> None:
    node = desk.apply("liver, spleen")
    edit(node, "liver", SPLEEN)
    click(desk.ui.copyTableButton)
    wait_until(lambda: not desk.panel.runner.running)
    _header, liver, spleen = desk.bench.app.clipboard().text().splitlines()
    assert liver.endswith("\tedited since: the numbers are of before")
    assert spleen.endswith("\t")
    assert desk.message == "edited by hand since, so that the copied numbers are of before: liver"
    assert desk.ui.applyButton.text == "Apply"
    desk.apply("liver, spleen")
    click(desk.ui.copyTableButton)
    wait_until(lambda: not desk.panel.runner.running)
    assert "edited" not in desk.bench.app.clipboard().text()


def test_closing_the_scene_lets_go_of_what_undo_holds(desk: Desk) -> None:
    desk.apply("liver")
    desk.panel.scene_closes()
    assert desk.undo._history.GetSegmentation() is None
    assert desk.undo._history.GetNumberOfStates() == 0
    desk.scene.Clear(False)
    desk.panel.load_parameters()
    assert not desk.ui.undoButton.enabled


def test_another_server_keeps_undo_and_its_errors_are_said(make: Any) -> None:
    from OpenVocabCTSlicer.sessions import session_for

    local: list[Any] = []
    desk = make(make_session=lambda settings: session_for(settings) if settings.remote else local[0])
    local.append(desk.session)
    node = desk.apply("liver")
    desk.panel.thresholds.ask(desk.panel._request, "liver", 0.4)
    desk.ui.remoteCheckBox.checked = True
    assert not desk.panel.thresholds._runner.running, "it was asked of the other engine"
    desk.move("liver", 40)
    wait_until(lambda: "another session" in desk.message)
    request = _request(desk, node)
    desk.panel.thresholds.ask(request, "liver", 0.4)
    assert "token is missing" in desk.message
    assert desk.ui.undoButton.enabled
    click(desk.ui.undoButton)
    assert voxels(node) == {}


def _request(desk: Desk, node: Any) -> Any:
    from OpenVocabCTSlicer.logic import Request

    return Request(desk.first, node, ("liver",))


# Sliders


def test_a_slider_that_reads_the_ct_again_shows_it_and_can_be_cancelled(desk: Desk) -> None:
    node = desk.apply("liver")
    before = voxels(node)
    desk.session.slow = True
    desk.move("liver", 40)
    wait_until(lambda: desk.ui.progressPanel.visible)
    assert desk.ui.applyButton.text == "Cancel"
    assert not desk.ui.volumeSelector.enabled
    wait_until(lambda: "Reading the CT" in desk.ui.progressLabel.text)
    press(desk.ui.promptEdit, "Ctrl+Return")
    assert desk.panel.thresholds.slow, "Ctrl+Enter runs and does not cancel"
    click(desk.ui.applyButton)
    wait_until(lambda: not desk.panel.thresholds.slow)
    assert desk.ui.applyButton.text == "Apply"
    assert not desk.ui.progressPanel.visible
    assert desk.ui.volumeSelector.enabled
    assert desk.message.startswith("stopped")
    assert voxels(node) == before
    assert desk.slider("liver") == 50, "the slider says what holds"


def test_a_slow_answer_arrives_and_the_panel_is_free_again(desk: Desk) -> None:
    desk.apply("liver")
    desk.session.slow = True
    desk.move("liver", 40)
    wait_until(lambda: desk.panel.thresholds.slow)
    desk.session.slow = False
    wait_until(lambda: desk.panel.table.rows[0].threshold == 0.4)
    assert desk.ui.applyButton.text == "Apply"
    assert not desk.ui.progressPanel.visible


def test_a_quick_answer_shows_no_progress(desk: Desk) -> None:
    desk.apply("liver")
    desk.move("liver", 40)
    wait_until(lambda: desk.panel.thresholds._runner.running)
    while desk.panel.thresholds._runner.running:
        assert not desk.panel.thresholds.slow
        desk.panel.thresholds._runner.tick()
    assert desk.panel.table.rows[0].threshold == 0.4


def test_a_ct_that_changed_is_not_read_for_a_slider(desk: Desk) -> None:
    node = desk.apply("liver")
    before = voxels(node)
    slicer.util.arrayFromVolume(desk.first)[0, 0, 0] = 77
    slicer.util.arrayFromVolumeModified(desk.first)
    desk.move("liver", 40)
    wait_until(lambda: desk.message == "the CT has changed since it was segmented: press Apply")
    assert len(desk.session.calls) == 1
    assert voxels(node) == before
    assert desk.slider("liver") == 50


def test_an_answer_that_fails_puts_the_slider_back(desk: Desk) -> None:
    desk.apply("liver")
    desk.session.failing = "liver"
    desk.move("liver", 40)
    wait_until(lambda: desk.message == "it cannot be answered: try again")
    assert desk.slider("liver") == 50


@pytest.mark.parametrize("under_way", [True, False])
def test_a_run_ends_what_sliders_asked_before(desk: Desk, under_way: bool) -> None:
    node = desk.apply("liver")
    paint(node)
    before = voxels(node)
    desk.move("liver", 40)
    if under_way:
        wait_until(lambda: desk.panel.thresholds._runner.running)
    asked = len(desk.session.calls)
    desk.session.failing = "spleen"
    desk.apply("spleen")
    rest(0.4)
    assert len(desk.session.calls) == asked
    assert voxels(node) == before
    assert desk.prompts == ["liver"], "the rows of the run before are still true"
    assert desk.slider("liver") == 50
    desk.session.failing = ""
    desk.move("liver", 30)
    wait_until(lambda: desk.panel.table.rows[0].threshold == 0.3)


def test_what_a_threshold_asks_while_a_run_goes_on_is_not_answered(desk: Desk) -> None:
    desk.apply("liver")
    desk.session.slow = True
    desk.ui.promptEdit.setPlainText("spleen")
    click(desk.ui.applyButton)
    assert desk.panel.runner.running
    desk.panel._on_threshold("liver", 0.4)
    assert not desk.panel.thresholds._runner.running
    desk.session.slow = False
    wait_until(lambda: not desk.panel.runner.running)


def test_removing_the_ct_clears_what_was_said_of_it(desk: Desk) -> None:
    node = desk.apply("liver")
    desk.scene.RemoveNode(desk.first)
    events()
    assert desk.prompts == []
    np.testing.assert_array_equal(masks(node)["liver"], LIVER)
