"""Writing answers into a segmentation node: every segment by its id, never by its position or name.

New segments come into layers of their own run, so what was there before is not touched. A segment of the same prompt
is updated in place and keeps the name, the colour and the code that it has; it leaves a layer that it shares before its
voxels change, so that its neighbours keep every one of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from OpenVocabCTLib.errors import InputError, OpenVocabCTError
from OpenVocabCTLib.geometry import LPS_TO_RAS, Geometry
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.output.segmentation import Segment, Segmentation
from OpenVocabCTLib.worker.steps import Progress, Steps
from OpenVocabCTSlicer.belonging import check_belonging, reference_of
from OpenVocabCTSlicer.label_images import StoredMask, image_of, label_image, same_lattice
from OpenVocabCTSlicer.new_segments import digest_of, new_segments
from OpenVocabCTSlicer.segment_tags import SegmentTags, stored_key
from OpenVocabCTSlicer.undo import SegmentationUndo
from OpenVocabCTSlicer.volumes import Node, ijk_to_parent_of

Change = Literal["created", "updated", "removed", "kept", "none"]


@dataclass(frozen=True)
class WrittenSegment:
    """What became of one answer.

    Attributes:
        segment_id: id in the segmentation node, None where there is no segment for this prompt.
        prompt: the prompt's label.
        change: "created"; "updated", also when the same voxels came out; "none" for what was not found and had no
            segment. What was not found any more is "removed" when only we had changed that segment, else "kept".
        edits_replaced: whether the update replaced voxels that somebody else had edited since we wrote them.
    """

    segment_id: str | None
    prompt: str
    change: Change
    edits_replaced: bool = False


@dataclass(frozen=True)
class _Task:
    """One answer and the segment that it belongs to: an existing one, or a new id."""

    answer: Segment
    segment_id: str
    exists: bool


class SegmentWriter:
    """Writes segmentations into segmentation nodes, each run as one step that can be undone.

    Args:
        undo: remembers the state before a run.
    """

    def __init__(self, undo: SegmentationUndo | None = None) -> None:
        self.undo = undo or SegmentationUndo()

    def write(
        self, segmentation_node: Node, volume_node: Node, segmentation: Segmentation, is_step: bool = True
    ) -> Steps[tuple[WrittenSegment, ...]]:
        """Write answers; when it is stopped or fails, the segmentation is as before.

        Args:
            segmentation_node: where to; an empty one takes over the volume's geometry and parent transform.
            volume_node: the volume that was segmented.
            segmentation: the answers, on the volume's voxels.
            is_step: whether Undo takes it back by itself; else it is one answer, which adjusts the run before.

        Returns:
            One entry per answer, in their order.

        Raises:
            InputError: the segmentation belongs to another CT or is made of surfaces, or the volume's axes would be
                sheared in it.
        """
        check_belonging(segmentation_node, volume_node)
        if reference_of(segmentation_node) not in (None, volume_node):
            self.undo.forget()  # it was emptied, and what was in it is of another CT
        _take_over(segmentation_node, volume_node)
        matrix = _checked_matrix(segmentation_node, volume_node, segmentation.geometry)
        tasks = _assign(segmentation_node.GetSegmentation(), segmentation.segments)
        new = yield from new_segments([(task.segment_id, task.answer) for task in tasks if not task.exists], matrix)
        is_step = self.undo.begin(segmentation_node, is_step)
        run = _Run(segmentation_node, matrix, new)
        written = []
        try:
            for number, task in enumerate(tasks):
                # Before the change and not after it: one answer by itself is written whole or not at all.
                yield Progress("writing", number, len(tasks))
                written.append((yield from run.carry_out(task)))
        except BaseException:
            if is_step:
                self.undo.roll_back(segmentation_node)
            raise
        finally:
            self.undo.end(segmentation_node)
        return tuple(written)


class _Run:
    """The changes of one run, one segment at a time; a segment is looked at in steps and changed in one."""

    def __init__(self, node: Node, matrix: np.ndarray, new: dict[str, Any]) -> None:
        self._node, self._content, self._matrix, self._new = node, node.GetSegmentation(), matrix, new

    def carry_out(self, task: _Task) -> Steps[WrittenSegment]:
        change: Change
        edited = False
        if task.answer.cropped is None:
            change = (yield from self._settle_not_found(task.segment_id)) if task.exists else "none"
        elif task.exists:
            edited = yield from self._update(task.segment_id, task.answer, task.answer.cropped)
            change = "updated"
        else:
            self._create(task.segment_id)
            change = "created"
        gone = change in ("none", "removed")
        return WrittenSegment(None if gone else task.segment_id, task.answer.prompt, change, edited)

    def _create(self, segment_id: str) -> None:
        if not self._content.AddSegment(self._new[segment_id], segment_id):
            raise OpenVocabCTError("a segment cannot be added", "choose a new segmentation")

    def _update(self, segment_id: str, answer: Segment, mask: CroppedMask) -> Steps[bool]:
        """Give a segment the voxels of an answer; say whether that replaced somebody else's work."""
        image = label_image(self._node, segment_id)
        now = yield from StoredMask.of(self._node, segment_id)
        before, digest = (yield from now.digest()), (yield from digest_of(mask))
        tags = SegmentTags(self._content.GetSegment(segment_id))
        edited = False
        if image is None or not same_lattice(image, self._matrix) or not now.equals(mask):
            edited = tags.was_edited(before)
            self._replace(segment_id, mask)
        tags.sign(answer.prompt, answer.threshold, digest)
        return edited

    def _replace(self, segment_id: str, mask: CroppedMask) -> None:
        import slicer

        image = image_of(mask, self._matrix)
        self._content.SeparateSegmentLabelmap(segment_id)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        if not logic.SetBinaryLabelmapToSegment(image, self._node, segment_id, logic.MODE_REPLACE):
            raise OpenVocabCTError("a segment cannot be updated", "choose a new segmentation")

    def _settle_not_found(self, segment_id: str) -> Steps[Change]:
        tags = SegmentTags(self._content.GetSegment(segment_id))
        now = yield from StoredMask.of(self._node, segment_id)
        if not tags.is_unchanged((yield from now.digest())):
            return "kept"
        # A removed segment would leave its voxels behind in a layer that it shares.
        self._content.SeparateSegmentLabelmap(segment_id)
        self._content.RemoveSegment(segment_id)
        return "removed"


def own_masks(segmentation_node: Node) -> Steps[dict[str, str]]:
    """Return, by the ids of the segments that we wrote, the digests of the voxels that they have now."""
    content, digests = segmentation_node.GetSegmentation(), {}
    for segment_id in content.GetSegmentIDs():
        if SegmentTags(content.GetSegment(segment_id)).prompt_key is not None:
            now = yield from StoredMask.of(segmentation_node, segment_id)
            digests[segment_id] = yield from now.digest()
    return digests


def edited_since(segmentation_node: Node) -> Steps[frozenset[str]]:
    """Return the ids of the segments whose voxels somebody else has changed since we wrote them."""
    content, digests = segmentation_node.GetSegmentation(), (yield from own_masks(segmentation_node))
    return frozenset(one for one, now in digests.items() if SegmentTags(content.GetSegment(one)).was_edited(now))


def _take_over(segmentation_node: Node, volume_node: Node) -> None:
    """Let a segmentation be seen, and give an empty one the volume's place; others keep theirs, or they would move."""
    import slicer

    # One that was made with the node selector has none, and would not be seen.
    segmentation_node.CreateDefaultDisplayNodes()
    content = segmentation_node.GetSegmentation()
    label_maps = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    if content.GetNumberOfSegments() == 0:
        content.SetSourceRepresentationName(label_maps)
        segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    elif content.GetSourceRepresentationName() != label_maps:
        raise InputError(
            "the chosen segmentation is not made of label maps",
            "choose a new one, or make Binary labelmap its source representation in the Segmentations module",
        )
    elif reference_of(segmentation_node) is None:
        segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)


def _checked_matrix(segmentation_node: Node, volume_node: Node, geometry: Geometry) -> np.ndarray:
    image = volume_node.GetImageData()
    if image is None or image.GetDimensions() != geometry.shape[::-1]:
        raise InputError("the volume is not the one that was segmented", "run it again")
    matrix = ijk_to_parent_of(volume_node, segmentation_node)
    try:
        Geometry.from_affine_lps(LPS_TO_RAS @ matrix, geometry.shape)
    except InputError as error:
        raise InputError(f"in the chosen segmentation {error.what}", "choose a new segmentation") from error
    return matrix


def _assign(content: Any, answers: Sequence[Segment]) -> list[_Task]:
    """Find for every answer the segment of the same prompt that no earlier answer has, or a new id."""
    taken = list(content.GetSegmentIDs())
    waiting: dict[str, list[str]] = {}
    for segment_id in taken:
        key = SegmentTags(content.GetSegment(segment_id)).prompt_key
        if key is not None:
            waiting.setdefault(key, []).append(segment_id)
    tasks = []
    for answer in answers:
        same = waiting.get(stored_key(answer.prompt))
        if same:
            tasks.append(_Task(answer, same.pop(0), exists=True))
        else:
            taken.append(_fresh_id(answer.id, taken.__contains__))
            tasks.append(_Task(answer, taken[-1], exists=False))
    return tasks


def _fresh_id(wanted: str, is_taken: Callable[[str], bool]) -> str:
    number, candidate = 1, wanted
    while is_taken(candidate):
        number += 1
        candidate = f"{wanted}_{number}"
    return candidate
