from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.commands.sample import Sample
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.worker.process import WorkerProcess
from OpenVocabCTLib.worker.protocol import PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.session import Session
from OpenVocabCTLib.worker.steps import run
from Testing.openvocabct_lib.worker.running import ROOT

PROMPTS = ("left lung", "heart", "spinal cord", "both lungs", "uterus", "left lung", "the quick brown fox")
THRESHOLDS = (None, 0.3, None, None, None, 0.9, None)


@pytest.mark.slow
def test_the_embedded_model_answers_through_the_worker_as_in_the_library(tmp_path: Path) -> None:
    """A crop of a real CT, the embedded weights, a real process: the same segments to the voxel."""
    whole = CTVolume.read(Sample.find().ct)
    part = tuple(slice(n // 4, n // 4 + min(n // 2, 96)) for n in whole.geometry.shape)
    array = np.ascontiguousarray(whole.array[part])
    geometry = Geometry(array.shape, whole.geometry.spacing, whole.geometry.origin, whole.geometry.direction)
    expected = Segmenter.from_pretrained(device="cpu").encode(CTVolume.from_array(array, geometry))
    segments = expected.segment(PROMPTS, THRESHOLDS)
    session = Session(lambda: WorkerProcess.start(sys.executable, library_folder=ROOT, log=tmp_path / "log"))
    try:
        requests = [PromptRequest(text, threshold) for text, threshold in zip(PROMPTS, THRESHOLDS, strict=True)]
        volume = VolumeHeader.of(array, geometry), array
        result = run(session.segment(volume, requests, device="cpu"))
        assert result.notes == segments.notes
        assert any(segment.found for segment in segments)
        for ours, theirs in zip(result, segments, strict=True):
            assert (ours.id, ours.found, ours.reason, ours.colour) == (
                theirs.id,
                theirs.found,
                theirs.reason,
                theirs.colour,
            )
            assert ours.cropped is None or np.array_equal(ours.mask, theirs.mask)
        assert {record["name"] for record in run(session.models())} >= {"openvocabct-small"}
    finally:
        session.close(5)
