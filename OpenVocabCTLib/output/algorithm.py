"""What made a segmentation, as its files say it."""

from __future__ import annotations

from dataclasses import dataclass

from OpenVocabCTLib import __version__

# Tags of a segment by which Slicer's DICOM plug-ins know who made it: without them they write that a person drew it.
TYPE_TAG, NAME_TAG = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"
PROGRAM = "OpenVocabCT"


@dataclass(frozen=True)
class Algorithm:
    """A model in a version.

    Attributes:
        name: name of the model.
        version: its version.
        weights_sha256: hash of its weights, "" where it is not known.
    """

    name: str = PROGRAM
    version: str = __version__
    weights_sha256: str = ""
