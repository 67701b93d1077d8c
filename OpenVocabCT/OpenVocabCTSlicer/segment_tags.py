"""What a segment knows about its origin: tags that Slicer saves with the segmentation."""

from __future__ import annotations

import hashlib
from typing import Any

import vtk

from OpenVocabCTLib.output.algorithm import NAME_TAG, PROGRAM, TYPE_TAG
from OpenVocabCTSlicer.prompts_text import prompt_key

PROMPT = "OpenVocabCT.Prompt"
THRESHOLD = "OpenVocabCT.Threshold"
# The sentence of a radiology report that the segment shows.
SENTENCE = "OpenVocabCT.Sentence"
# The voxels as we wrote them last, and name and colour as we gave them: whether the user changed them since.
MASK = "OpenVocabCT.Mask"
LOOK = "OpenVocabCT.Look"


def tag_of(segment: Any, name: str) -> str | None:
    """Return a tag of a vtkSegment, None where it has none of that name."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else None


class SegmentTags:
    """The tags of one vtkSegment."""

    def __init__(self, segment: Any) -> None:
        self._segment = segment

    @property
    def prompt_key(self) -> str | None:
        """The key of the prompt that the segment answers, None for a segment that is not ours."""
        prompt = self._get(PROMPT)
        return None if prompt is None else stored_key(prompt)

    @property
    def threshold(self) -> float | None:
        """The voxel probability that counted as inside, None where unknown."""
        try:
            return float(self._get(THRESHOLD) or "")
        except ValueError:
            return None

    def sign(self, prompt: str, threshold: float, mask_digest: str) -> None:
        """Note what was asked and which voxels were written."""
        self._segment.SetTag(PROMPT, _storable(prompt))
        self._segment.SetTag(THRESHOLD, f"{threshold:.4g}")
        self._segment.SetTag(MASK, mask_digest)
        self.tell_maker(with_help=False)

    def tell_maker(self, with_help: bool) -> None:
        """Note for DICOM that the segment was computed, and whether a person had a hand in its voxels."""
        kind = "SEMIAUTOMATIC" if with_help else "AUTOMATIC"
        for name, value in ((TYPE_TAG, kind), (NAME_TAG, PROGRAM)):
            if self._get(name) != value:
                self._segment.SetTag(name, value)

    @property
    def sentence(self) -> str:
        """The sentence of a report that the segment was made for, "" where there is none."""
        return self._get(SENTENCE) or ""

    def link(self, sentence: str) -> None:
        """Note the sentence of a report that the segment was made for."""
        self._segment.SetTag(SENTENCE, _storable(sentence))

    def remember_look(self) -> None:
        """Note the name and the colour that a new segment was given."""
        self._segment.SetTag(LOOK, self._look())

    def is_unchanged(self, mask_digest: str) -> bool:
        """Say whether voxels, name and colour are as we made them; False where that is not known."""
        return self.has_mask(mask_digest) and self._get(LOOK) == self._look()

    def has_mask(self, mask_digest: str) -> bool:
        """Say whether the voxels are those that we wrote last; False where that is not known."""
        return self._get(MASK) == mask_digest

    def was_edited(self, mask_digest: str) -> bool:
        """Say whether somebody else changed the voxels since we wrote them; False where that is not known."""
        return self._get(MASK) not in (None, mask_digest)

    def _look(self) -> str:
        colour = tuple(round(255 * channel) for channel in self._segment.GetColor())
        return hashlib.blake2b(repr((self._segment.GetName(), colour)).encode(), digest_size=8).hexdigest()

    def _get(self, name: str) -> str | None:
        return tag_of(self._segment, name)


def stored_key(prompt: str) -> str:
    """Return the key under which the segment of a prompt is found."""
    return prompt_key(_storable(prompt))


def _storable(text: str) -> str:
    # "|" ends a tag in the file, and Slicer knows no way to escape it.
    return text.replace("|", "/")
