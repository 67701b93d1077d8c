"""What is unusual about an answer and worth a second look; an answer is never changed by it."""

from __future__ import annotations

from OpenVocabCTLib.output.segmentation import Segment
from OpenVocabCTLib.prompts.concepts import Concept


def doubts(segment: Segment, concept: Concept) -> tuple[str, ...]:
    """Compare an answer with the usual range of volume in ml and mean intensity in HU of its structure.

    Args:
        segment: the answer.
        concept: what it shows; its ranges are wide, those of a whole organ in an adult.
    """
    if not segment.found:
        return ()
    found = []
    if concept.volume_ml is not None:
        low, high = concept.volume_ml
        usual = f"{low:g} to {high:g} ml are usual"
        if segment.volume_ml < low:
            found.append(f"{segment.volume_ml:.1f} ml is little ({usual}): is all of it in the scan?")
        elif segment.volume_ml > high:
            found.append(f"{segment.volume_ml:.0f} ml is much ({usual}): check the result")
    if concept.hu is not None and segment.mean_hu is not None:
        low, high = concept.hu
        if not low <= segment.mean_hu <= high:
            found.append(f"a mean of {segment.mean_hu:.0f} HU is unusual ({low:g} to {high:g} HU): check the result")
    return tuple(found)
