"""From what the user chose to segments in the scene."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.worker.protocol import PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.belonging import check_belonging
from OpenVocabCTSlicer.guarding import while_present
from OpenVocabCTSlicer.radiology_report import sentence_for
from OpenVocabCTSlicer.rows import ResultRow
from OpenVocabCTSlicer.segment_tags import SegmentTags
from OpenVocabCTSlicer.segments import SegmentWriter, WrittenSegment
from OpenVocabCTSlicer.undo import SegmentationUndo
from OpenVocabCTSlicer.volumes import Node, Scan, scan_of

T = TypeVar("T")

__all__ = ["OpenVocabCTLogic", "Request", "ResultRow", "Results"]


class Asks(Protocol):
    """The part of `worker.session.Session` that is used."""

    def segment(
        self,
        volume: tuple[VolumeHeader, np.ndarray],
        prompts: Sequence[PromptRequest],
        model: str | None = None,
        device: str = "auto",
        revision: Hashable | None = None,
    ) -> Steps[Segmentation]:
        """Answer prompts on a volume."""


@dataclass(frozen=True)
class Request:
    """What to segment.

    Attributes:
        volume: the CT's node.
        segmentation: the node to write to; None for a new one.
        prompts: one segment each.
        model: name or folder, None for the default.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        sentences: what a report says, by the key of the prompt that it gave (see `radiology_report`).
        revision: the content of the CT when this was answered, None before.
    """

    volume: Node
    segmentation: Node | None
    prompts: tuple[str, ...]
    model: str | None = None
    device: str = "auto"
    sentences: Mapping[str, str] = field(default_factory=dict)
    revision: Hashable | None = None


@dataclass(frozen=True)
class Results:
    """What came out.

    Attributes:
        rows: one per prompt, in their order.
        segmentation: the node that was written to; None when nothing was found and none was chosen.
        notes: what the user should know.
        revision: the content of the CT that was answered on.
        edits_replaced: names of the structures whose segments had been edited by hand, which the answers replaced.
    """

    rows: tuple[ResultRow, ...]
    segmentation: Node | None
    notes: tuple[str, ...] = ()
    revision: Hashable | None = None
    edits_replaced: tuple[str, ...] = ()


class OpenVocabCTLogic:
    """Asks the worker and writes its answers into the scene.

    Args:
        session: the connection to the worker, see `worker.session.Session`.
        writer: writes segments.
    """

    def __init__(self, session: Asks, writer: SegmentWriter | None = None) -> None:
        self._session = session
        self._writer = writer or SegmentWriter()

    @property
    def undo(self) -> SegmentationUndo:
        """Takes back runs."""
        return self._writer.undo

    def segment(self, request: Request) -> Steps[Results]:
        """Answer all prompts; nothing in the scene changes before all answers are there.

        Raises:
            InputError: the volume cannot be used or was changed meanwhile, or the segmentation belongs to another CT.
            Cancelled: Cancelled was thrown in, or the volume or the segmentation left the scene.
            OpenVocabCTError: what the worker found wrong.
        """
        prompts = [PromptRequest(text) for text in request.prompts]
        return self._guarded(request, self._segment(request, prompts))

    def rethreshold(self, request: Request, prompt: str, threshold: float) -> Steps[Results]:
        """Answer one prompt again with a threshold of its own; its segment is updated, as a part of that run.

        Args:
            request: the run that the prompt belongs to, with the segmentation that it wrote and the revision.
            prompt: one of its prompts.
            threshold: voxel probability between 0 and 1 that counts as inside.

        Returns:
            What came out, with one row.

        Raises:
            InputError: the threshold is no probability, or the CT was changed since the run; and as for `segment`.
        """
        return self._guarded(request, self._rethreshold(request, prompt, threshold))

    def answer(self, request: Request) -> Steps[Segmentation]:
        """Answer all prompts without touching the scene, for a caller that does something else with the masks.

        Raises:
            InputError, Cancelled, OpenVocabCTError: as for `segment`.
        """
        return self._guarded(request, self._only_answer(request))

    def _only_answer(self, request: Request) -> Steps[Segmentation]:
        segmentation, _ = yield from self._answer(request, [PromptRequest(text) for text in request.prompts])
        return segmentation

    def _guarded(self, request: Request, steps: Steps[T]) -> Steps[T]:
        nodes = [node for node in (request.volume, request.segmentation) if node is not None]
        return while_present(steps, *nodes)

    def _rethreshold(self, request: Request, prompt: str, threshold: float) -> Steps[Results]:
        if not 0.0 < threshold < 1.0:
            raise InputError(f"a threshold of {threshold} is no probability", "give a number between 0 and 1")
        if request.revision is not None and scan_of(request.volume).revision != request.revision:
            raise InputError("the CT has changed since it was segmented", "press Apply")
        return (yield from self._segment(request, [PromptRequest(prompt, threshold)], is_step=False))

    def _segment(self, request: Request, prompts: Sequence[PromptRequest], is_step: bool = True) -> Steps[Results]:
        if request.segmentation is not None:
            check_belonging(request.segmentation, request.volume)  # before minutes are spent
        segmentation, revision = yield from self._answer(request, prompts)
        if request.segmentation is None and not segmentation.found:
            rows = tuple(
                ResultRow.of(answer, None, sentence_for(request.sentences, answer.prompt), segmentation.notes)
                for answer in segmentation
            )
            return Results(rows, None, segmentation.notes, revision)
        node = request.segmentation or new_segmentation_node(request.volume)
        try:
            written = yield from self._writer.write(node, request.volume, segmentation, is_step)
        except BaseException:
            if request.segmentation is None and node.GetScene() is not None:
                node.GetScene().RemoveNode(node)
            raise
        rows = self._rows(request, node, segmentation, written)
        edited = tuple(row.name for row, place in zip(rows, written, strict=True) if place.edits_replaced)
        return Results(rows, node, segmentation.notes, revision, edited)

    def _answer(self, request: Request, prompts: Sequence[PromptRequest]) -> Steps[tuple[Segmentation, Hashable]]:
        if not prompts:
            raise InputError("there is no prompt", 'type the name of a structure, for example "left kidney"')
        scan = scan_of(request.volume)
        segmentation = yield from self._session.segment(
            (scan.header, scan.array), prompts, model=request.model, device=request.device, revision=scan.revision
        )
        _check_unchanged(request.volume, scan)
        return segmentation, scan.revision

    def _rows(
        self, request: Request, node: Node, segmentation: Segmentation, written: Sequence[WrittenSegment]
    ) -> tuple[ResultRow, ...]:
        rows = []
        for answer, place in zip(segmentation, written, strict=True):
            sentence = sentence_for(request.sentences, answer.prompt)
            if sentence and place.segment_id is not None:
                SegmentTags(node.GetSegmentation().GetSegment(place.segment_id)).link(sentence)
            rows.append(ResultRow.of(answer, place.segment_id, sentence, segmentation.notes))
        return tuple(rows)


def new_segmentation_node(volume_node: Node) -> Node:
    """Add a segmentation node for a volume to its scene, named after it and beside it in the subject hierarchy."""
    scene = volume_node.GetScene()
    name = scene.GenerateUniqueName(f"{volume_node.GetName()} segmentation")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    if hierarchy is not None:
        items = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volume_node)
        if all(items):
            hierarchy.SetItemParent(items[0], hierarchy.GetItemParent(items[1]))
    return node


def _check_unchanged(volume_node: Node, scan: Scan) -> None:
    if scan_of(volume_node).revision != scan.revision:
        raise InputError("the volume was changed while it was being segmented", "run again")
