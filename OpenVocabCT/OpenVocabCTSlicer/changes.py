"""Notices that a segmentation's segments change, by whoever: voxels, names, colours, codes, and which there are."""

from __future__ import annotations

from typing import Any

from OpenVocabCTSlicer.segment_tags import tag_of

Content = Any  # vtkSegmentation, known to Slicer's libraries only

_VOXEL_EVENTS = ("SegmentAdded", "SegmentRemoved", "SourceRepresentationModified")
# Slicer also says so of a segment that gets a surface to be shown in 3D.
_LOOK_EVENT = "SegmentModified"


class ChangeCounter:
    """Counts the changes of one vtkSegmentation at a time.

    Attributes:
        events: what Slicer's own history takes for a change, since this was made.
        count: the changes among them that a user would call so.
    """

    def __init__(self) -> None:
        self.events = self.count = 0
        self._content: Content | None = None
        self._observations: list[int] = []
        self._looks: list[tuple[Any, ...]] = []

    def watch(self, content: Content | None) -> None:
        """Count the changes of this segmentation from now on; None lets go of the present one."""
        if self._content is not None:
            for observation in self._observations:
                self._content.RemoveObserver(observation)
        self._content, self._observations = content, []
        if content is not None:
            self._looks = _looks(content)
            self._observations = [content.AddObserver(getattr(content, name), self._changed) for name in _VOXEL_EVENTS]
            self._observations.append(content.AddObserver(getattr(content, _LOOK_EVENT), self._may_have_changed))

    def _changed(self, _caller: Any, _event: str) -> None:
        self.events += 1
        self.count += 1
        self._looks = _looks(self._content)

    def _may_have_changed(self, _caller: Any, _event: str) -> None:
        self.events += 1
        looks = _looks(self._content)
        if looks != self._looks:
            self.count, self._looks = self.count + 1, looks


def _looks(content: Content) -> list[tuple[Any, ...]]:
    segments = (content.GetNthSegment(number) for number in range(content.GetNumberOfSegments()))
    return [(segment.GetName(), segment.GetColor(), _code(segment)) for segment in segments]


def _code(segment: Any) -> str:
    return tag_of(segment, segment.GetTerminologyEntryTagName()) or ""
