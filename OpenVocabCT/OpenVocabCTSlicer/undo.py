"""Undo of whole runs: the segmentation as it was before, kept by Slicer's own segmentation history."""

from __future__ import annotations

from typing import Any

from OpenVocabCTSlicer.volumes import Node

_STATES = 6


class SegmentationUndo:
    """Goes back to the state before a run, for the segmentation that was written to last."""

    def __init__(self) -> None:
        import slicer

        _register_conversions()
        self._history: Any = slicer.vtkSegmentationHistory()
        self._history.SetMaximumNumberOfStates(_STATES)

    def snapshot(self, segmentation_node: Node) -> None:
        """Remember the state of a segmentation; what was remembered of another one is dropped."""
        segmentation = segmentation_node.GetSegmentation()
        if self._history.GetSegmentation() is not segmentation:
            self._history.SetSegmentation(segmentation)
        self._history.SaveState()

    def can_restore(self, segmentation_node: Node | None) -> bool:
        """Say whether there is a state of this segmentation to go back to."""
        return self._is_about(segmentation_node) and bool(self._history.IsRestorePreviousStateAvailable())

    def restore(self, segmentation_node: Node) -> bool:
        """Go back to the state before the last run; False when there is none."""
        return self.can_restore(segmentation_node) and bool(self._history.RestorePreviousState())

    def can_redo(self, segmentation_node: Node | None) -> bool:
        """Say whether something was undone that can be done again."""
        return self._is_about(segmentation_node) and bool(self._history.IsRestoreNextStateAvailable())

    def redo(self, segmentation_node: Node) -> bool:
        """Do again what was undone; False when there is nothing."""
        return self.can_redo(segmentation_node) and bool(self._history.RestoreNextState())

    def forget(self) -> None:
        """Let go of the segmentation and of all states."""
        self._history.SetSegmentation(None)

    def _is_about(self, segmentation_node: Node | None) -> bool:
        return segmentation_node is not None and self._history.GetSegmentation() is segmentation_node.GetSegmentation()


def _register_conversions() -> None:
    """Do what the application does at its start, where there is no application: without it nothing can be copied."""
    import slicer

    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    label_maps = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    if factory.ConstructRepresentationObjectByRepresentation(label_maps) is None:
        factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
