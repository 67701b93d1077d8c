"""A small piece of a real chest CT, and the real model in this process behind the interface of a session."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from OpenVocabCTLib.commands.sample import Sample
from OpenVocabCTLib.inference import Segmenter
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.volume import CTVolume
from OpenVocabCTLib.worker.protocol import PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.steps import Progress, Steps

# Both lungs, heart, spine and gas around the body: the reader takes it for the CT that it is.
_CROP = (slice(10, 24), slice(24, 108), slice(16, 112))
PROMPTS = ("left lung", "heart", "gallbladder", "spinal cord", "lungs", "right lung")


def write_crop(path: Path) -> Path:
    """Write the piece, of about 110,000 voxels, with its place in the patient."""
    import SimpleITK as sitk

    image = CTVolume.read(Sample.find().ct).to_sitk()
    k, j, i = _CROP
    sitk.WriteImage(image[i, j, k], os.fspath(path))
    return path


@cache
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


class EngineSession:
    """What the worker does with a volume and prompts, without the process between."""

    def segment(
        self,
        volume: tuple[VolumeHeader, np.ndarray],
        prompts: Sequence[PromptRequest],
        model: str | None = None,
        device: str = "auto",
        revision: Any = None,
    ) -> Steps[Segmentation]:
        header, array = volume
        yield Progress("encoding", 0, 1)
        study = segmenter().encode(CTVolume.from_array(array, header.geometry))
        thresholds = {prompt.threshold for prompt in prompts}
        assert len(thresholds) == 1
        return study.segment([prompt.text for prompt in prompts], thresholds.pop())
