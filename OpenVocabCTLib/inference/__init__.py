"""Image pass, voxel embedding and its cache, and the Segmenter that puts them together."""

from OpenVocabCTLib.inference.segmenter import Segmenter, Study

__all__ = ["Segmenter", "Study"]
