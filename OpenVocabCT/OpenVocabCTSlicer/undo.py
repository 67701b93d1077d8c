"""Undo of whole runs: the segmentation as it was before, kept by Slicer's own segmentation history.

A write is bracketed by `begin` and `end`; what changes outside of the two is the user's work. Undo goes back over such
work too, so that it can be asked first whether it would.
"""

from __future__ import annotations

from typing import Any

from OpenVocabCTSlicer.changes import ChangeCounter
from OpenVocabCTSlicer.volumes import Node

_STATES = 6


class SegmentationUndo:
    """Goes back to the state before a run, for the segmentation that was written to last."""

    def __init__(self) -> None:
        import slicer

        _register_conversions()
        self._history: Any = slicer.vtkSegmentationHistory()
        self._history.SetMaximumNumberOfStates(_STATES)
        self._changes = ChangeCounter()
        # How many events there were when a write began, and how many changes when it ended, to notice the user's.
        self._begun = self._seen = 0
        # How many runs undo can take back before it meets the user's work; None where there is none.
        self._clear_runs: int | None = None

    def begin(self, segmentation_node: Node, is_step: bool = True) -> bool:
        """Say that a write begins.

        Args:
            segmentation_node: what is written to.
            is_step: whether undo is to come back to here, which drops what was remembered of another segmentation;
                without it the write belongs to the run before.

        Returns:
            Whether undo comes back to here: also where the user's work would else be overwritten for good.
        """
        if self._is_about(segmentation_node) and self._has_changed():
            self._clear_runs, is_step = 0, True
        if is_step:
            self._save(segmentation_node)
        self._begun = self._changes.events
        return is_step

    def end(self, segmentation_node: Node) -> None:
        """Say that the write is over: what changes from now on is the user's work."""
        if self._is_about(segmentation_node):
            self._seen = self._changes.count

    def roll_back(self, segmentation_node: Node) -> None:
        """Go back to the `begin` of a step. Where nothing has changed since, the history would go one too far."""
        if self._is_about(segmentation_node):
            if self._changes.events != self._begun:
                self._history.RestorePreviousState()
            self._step_down()

    def can_restore(self, segmentation_node: Node | None) -> bool:
        """Say whether there is a state of this segmentation to go back to."""
        return self._is_about(segmentation_node) and bool(self._history.IsRestorePreviousStateAvailable())

    def meets_other_work(self, segmentation_node: Node | None) -> bool:
        """Say whether undo would also take back what others have changed since our runs."""
        return self._is_about(segmentation_node) and (self._clear_runs == 0 or self._has_changed())

    def restore(self, segmentation_node: Node) -> bool:
        """Go back to the state before the last run; False when there is none."""
        if not self.can_restore(segmentation_node) or not self._history.RestorePreviousState():
            return False
        self._step_down()
        return True

    def can_redo(self, segmentation_node: Node | None) -> bool:
        """Say whether something was undone that can be done again."""
        return self._is_about(segmentation_node) and bool(self._history.IsRestoreNextStateAvailable())

    def redo(self, segmentation_node: Node) -> bool:
        """Do again what was undone; False when there is nothing."""
        if not self.can_redo(segmentation_node) or not self._history.RestoreNextState():
            return False
        # Others' work that was undone with a run comes back with it.
        self._seen, self._clear_runs = self._changes.count, 0
        return True

    def forget(self) -> None:
        """Let go of the segmentation and of all states."""
        self._look_at(None)

    def _save(self, segmentation_node: Node) -> None:
        if not self._is_about(segmentation_node):
            self._look_at(segmentation_node.GetSegmentation())
        self._history.SaveState()
        if self._clear_runs is not None:
            self._clear_runs += 1

    def _step_down(self) -> None:
        """Note that we are one run further down."""
        self._seen = self._changes.count
        if self._clear_runs:
            self._clear_runs -= 1

    def _has_changed(self) -> bool:
        return self._changes.count != self._seen

    def _look_at(self, content: Any) -> None:
        self._history.SetSegmentation(content)
        self._changes.watch(content)
        self._seen, self._clear_runs = self._changes.count, None

    def _is_about(self, segmentation_node: Node | None) -> bool:
        return segmentation_node is not None and self._history.GetSegmentation() is segmentation_node.GetSegmentation()


def _register_conversions() -> None:
    """Do what the application does at its start, where there is no application: without it nothing can be copied."""
    import slicer

    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    label_maps = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    if factory.ConstructRepresentationObjectByRepresentation(label_maps) is None:
        factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
