"""What a segmentation is, and the files it can be written to."""

from __future__ import annotations

from OpenVocabCTLib.output.formats import check_output
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.output.segmentation import Segment, Segmentation, segment_ids, unanswered

__all__ = ["CroppedMask", "Segment", "Segmentation", "check_output", "segment_ids", "unanswered"]
