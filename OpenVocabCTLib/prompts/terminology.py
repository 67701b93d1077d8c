"""Coded names of structures, as DICOM and 3D Slicer write them."""

from __future__ import annotations

from dataclasses import dataclass

SLICER_TYPE_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
SLICER_REGION_CONTEXT = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Code:
    """One coded concept.

    Attributes:
        scheme: coding scheme designator, for example "SCT" (SNOMED CT).
        value: code value, kept as text.
        meaning: human-readable meaning in that scheme.
    """

    scheme: str
    value: str
    meaning: str

    def slicer_text(self) -> str:
        """Return "scheme^value^meaning", the form inside a Slicer terminology entry."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


_NO_CODE = Code("", "", "")


@dataclass(frozen=True)
class Terminology:
    """What a segment is, in DICOM's segmentation terms.

    Attributes:
        category: segmented property category, for example "Anatomical Structure".
        type: segmented property type, for example "Kidney".
        modifier: type modifier, for example "Left".
        region: anatomic region of a finding, for example "Kidney" for a cyst; None when the type says it.
        region_modifier: side of that region.
    """

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    def slicer_tag(self) -> str:
        """Return the value of Slicer's segment tag "TerminologyEntry".

        Seven fields separated by "~": type context, category, type, its modifier, region context, region, its modifier.
        Source: vtkSlicerTerminologiesModuleLogic::SerializeTerminologyEntry.
        """
        type_codes = (self.category, self.type, self.modifier)
        region_codes = (self.region, self.region_modifier)
        return "~".join(
            (
                SLICER_TYPE_CONTEXT,
                *((code or _NO_CODE).slicer_text() for code in type_codes),
                SLICER_REGION_CONTEXT,
                *((code or _NO_CODE).slicer_text() for code in region_codes),
            )
        )
