"""Segments in DICOM's words: codes, colour, algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.output.dicom_common import MANUFACTURER, label_of
from OpenVocabCTLib.prompts.terminology import Code, Terminology

if TYPE_CHECKING:
    from OpenVocabCTLib.output.algorithm import Algorithm
    from OpenVocabCTLib.output.segmentation import Segment

_TISSUE = Code("SCT", "85756007", "Tissue")
# What is said of a structure that no list of codes names: as 3D Slicer does, no more than that it is tissue.
UNCODED = Terminology(_TISSUE, _TISSUE)


def segment_description(segment: Segment, number: int, algorithm: Any, instance_uid: str, index: int) -> Any:
    """Describe a segment (Segment Description macro, PS3.3 C.8.20.4).

    Args:
        segment: what to describe.
        number: its number in the file.
        algorithm: what `algorithm_sequence` gave.
        instance_uid: UID of the file, which the segment's own UID is made from.
        index: its number among all segments.
    """
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sequence import Sequence as Items
    from pydicom.uid import generate_uid

    terminology = segment.terminology or UNCODED
    description = SegmentDescription(
        segment_number=number,
        segment_label=label_of(segment),
        segmented_property_category=_coded(terminology.category),
        segmented_property_type=_coded(terminology.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_id=segment.id[:64],
        tracking_uid=generate_uid(prefix="2.25.", entropy_srcs=[instance_uid, str(index)])[:64],
        anatomic_regions=None if terminology.region is None else [_coded(terminology.region)],
        display_color=CIELabColor.from_rgb(*segment.colour),
    )
    description.SegmentDescription = _safe(f"prompt: {segment.prompt}")
    if terminology.modifier is not None:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = Items([_coded(terminology.modifier)])
    if terminology.region is not None and terminology.region_modifier is not None:
        region = description.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = Items([_coded(terminology.region_modifier)])
    return description


def algorithm_sequence(algorithm: Algorithm, segment: Segment) -> Any:
    """Say which model with which weights made a segment, and with which threshold."""
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    parameters = {"threshold": f"{segment.threshold:.4g}"}
    if algorithm.weights_sha256:
        parameters["weights_sha256"] = algorithm.weights_sha256
    return AlgorithmIdentificationSequence(
        name=_safe(algorithm.name),
        family=codes.cid7162.ArtificialIntelligence,
        version=_safe(algorithm.version),
        source=MANUFACTURER,
        parameters=parameters,
    )


def _coded(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning[:64])


def _safe(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text).replace("\\", "/")
    return printable.encode("utf-8", "replace").decode()[:64].strip()
