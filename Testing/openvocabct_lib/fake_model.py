"""A model without a network for tests of the command line: it answers from the HU alone.

Run as a script it is ``openvocabct`` with this model; FAKE_TILE_SECONDS makes its image pass slow enough to interrupt.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import SimpleITK as sitk

from OpenVocabCTLib.commands.services import LoadedModel, Services
from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.output import CroppedMask, Segment, Segmentation, unanswered
from OpenVocabCTLib.prompts import PromptSet
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.ct_phantoms import ct_phantom

TILES = 8
# Concept -> lowest and highest HU; "bones" lie inside "body" and so overlap with it.
HU_RANGES = {"body": (-300, 3000), "bones": (300, 3000), "left_lung": (-930, -500), "right_lung": (-930, -500)}


class FakeSegmenter:
    def __init__(self) -> None:
        self.cache = SimpleNamespace(max_bytes=1)

    def encode(self, volume: CTVolume, progress: Callable[[int, int], bool] | None = None) -> FakeStudy:
        for done in range(TILES + 1):
            if progress is not None and not progress(done, TILES):
                raise Cancelled("cancelled", "nothing was written")
            time.sleep(float(os.environ.get("FAKE_TILE_SECONDS", "0")))
        return FakeStudy(volume)


class FakeStudy:
    seconds = 0.5

    def __init__(self, volume: CTVolume) -> None:
        self.volume = volume

        self.embedding = SimpleNamespace(bytes=1000)

    def prepare(self, prompts: Any, progress: Any = None) -> None:
        """There is nothing more to run."""

    def is_ready_for(self, prompts: Any) -> bool:
        return True

    def segment(self, prompts: PromptSet, threshold: float | Sequence[float | None] | None = None) -> Segmentation:
        stream = self.stream(prompts, threshold)
        return Segmentation(self.volume.geometry, tuple(stream.segments), self.volume, stream.notes)

    def stream(self, prompts: PromptSet, threshold: float | Sequence[float | None] | None = None) -> SimpleNamespace:
        thresholds = threshold if isinstance(threshold, Sequence) else [threshold] * len(prompts)
        return SimpleNamespace(notes=("a note",), segments=self._segments(prompts, thresholds))

    def _segments(self, prompts: PromptSet, thresholds: Sequence[float | None]) -> Iterator[Segment]:
        for blank, prompt, threshold in zip(unanswered(prompts), prompts, thresholds, strict=True):
            mask = CroppedMask.from_full(self.probabilities(prompt.text) > 0.5)
            answered = replace(blank, reason="not in this scan", presence=0.125, threshold=threshold or 0.5)
            if mask.count:
                volume_ml = mask.count * self.volume.geometry.voxel_volume_ml
                hu = float(self.volume.array[mask.box][mask.array].mean())
                answered = replace(
                    answered, found=True, reason="", presence=0.875, volume_ml=volume_ml, mean_hu=hu, cropped=mask
                )
            yield answered

    def probabilities(self, prompt: str) -> np.ndarray:
        concept = PromptSet.parse([prompt])[0].concept
        low, high = HU_RANGES.get(concept.id if concept else "", (np.inf, np.inf))
        inside = (self.volume.array >= low) & (self.volume.array <= high)
        half = inside.shape[2] // 2  # in the sample of the demo columns run from left to right
        if concept is not None and concept.id.startswith("left"):
            inside[:, :, half:] = False
        elif concept is not None and concept.id.startswith("right"):
            inside[:, :, :half] = False
        return inside.astype(np.float32)


def fake_services(**changes: Any) -> Services:
    """Real reading of volumes, fake model; `changes` replace one or the other."""
    services: Any = {"load_model": lambda name, device: LoadedModel(name or "fake", device, FakeSegmenter())}
    return Services(**(services | changes))


def write_ct(path: Path, shape: tuple[int, int, int] = (20, 24, 30)) -> Path:
    """Write a CT that passes every check, on an anisotropic, oblique, shifted grid."""
    image = sitk.GetImageFromArray(ct_phantom(shape))
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((-30.0, 12.5, 7.0))
    angle = 0.2
    image.SetDirection((np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return path


if __name__ == "__main__":
    from OpenVocabCTLib.cli import main

    # In the background of a shell SIGINT is ignored, under nohup SIGHUP, and every child inherits that: tests could not
    # interrupt it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    main(sys.argv[1:], fake_services())
