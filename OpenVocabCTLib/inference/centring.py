"""The patient's middle in a scan that does not show the patient's whole width.

``inference.midline`` takes the middle between the outermost tissue, which in a scan of one half of the chest is the
middle of a lung: one part of it would be left, the other right. What lies in the middle of every patient is found
without knowing sides, and says where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from OpenVocabCTLib.inference.answers import settle
from OpenVocabCTLib.inference.deciding import is_believed
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.judging import Judge, logit
from OpenVocabCTLib.inference.midline import leftness
from OpenVocabCTLib.inference.questions import Part, QuestionMaker

_IN_THE_MIDDLE = ("spinal_cord", "brainstem")
_ENOUGH_ML = 5.0  # the cut edge of a vessel or muscle is taken for less of a spinal cord


def centred(embedding: VoxelEmbedding, cut: Sequence[str], judge: Judge, questions: QuestionMaker) -> VoxelEmbedding:
    """Give a voxel embedding its leftness from what lies in the middle of the patient.

    Args:
        embedding: of a scan that cuts the patient off; its leftness is overwritten.
        cut: sides on which it does, see ``midline.cut_sides``.
        judge: of the embedding; useless afterwards, because it may remember what it found by the old leftness.
        questions: what the model can be asked.

    Returns:
        The embedding with a note, or marked as one whose middle is not known.
    """
    for name in _IN_THE_MIDDLE:
        if name not in questions.answered:
            continue
        concept = questions.vocabulary.get(name)
        middle = _middle_of(questions.part(concept), embedding, judge)
        if middle is not None:
            _set_leftness(embedding, middle)
            note = f"the scan cuts the patient off on the {' and '.join(cut)}: sides are told by the {concept.name}"
            return replace(embedding, notes=(*embedding.notes, note))
    return replace(embedding, middle_known=False)


def _middle_of(part: Part, embedding: VoxelEmbedding, judge: Judge) -> float | None:
    """Index along R of the working grid that halves a structure, None where it is not surely there."""
    logits, heads = judge.look([part], everywhere=True)
    presence, limit = judge.presence(part, logits, heads[part.wording]), logit(part.threshold)
    answer = settle(logits[part.wording], None, limit, presence)
    enough = answer.voxels * float(np.prod(embedding.grid.spacing)) >= _ENOUGH_ML * 1000.0
    if not (enough and is_believed(part, presence)):
        return None
    voxels = np.cumsum((answer.logits.numpy() > limit).sum((0, 1)))
    return float(embedding.offset[2] + answer.start[2] + np.searchsorted(voxels, voxels[-1] / 2.0))


def _set_leftness(embedding: VoxelEmbedding, middle: float) -> None:
    position = torch.arange(embedding.values.shape[3]) + embedding.offset[2]
    with torch.inference_mode():  # where the values were made
        embedding.values[-1] = leftness(position, middle, embedding.grid.spacing[2])
