"""A session without a worker: it answers from a table, in steps, and notes what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from OpenVocabCTLib.errors import Cancelled, OpenVocabCTError
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.worker.protocol import PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.steps import Progress, Steps
from Testing.openvocabct_lib.output.output_cases import segmentation


class FakeSession:
    """Answers with the masks of a table; a voxel's threshold, where asked for, empties or fills it.

    Args:
        masks: prompt to mask (K, J, I), None for not found.
        error: raised instead of an answer.
    """

    def __init__(self, masks: Mapping[str, np.ndarray | None], error: OpenVocabCTError | None = None) -> None:
        self.masks = dict(masks)
        self.error = error
        self.calls: list[dict[str, Any]] = []
        self.cancelled = 0
        self.closed = False

    def segment(
        self,
        volume: tuple[VolumeHeader, np.ndarray],
        prompts: Sequence[PromptRequest],
        model: str | None = None,
        device: str = "auto",
        revision: Any = None,
    ) -> Steps[Segmentation]:
        header, array = volume
        header.check(array)
        self.calls.append(
            {"header": header, "array": array, "prompts": prompts, "model": model, "device": device, "rev": revision}
        )
        try:
            for tile in range(4):
                yield Progress("encoding", tile, 4)
                yield None
        except Cancelled:
            self.cancelled += 1
            yield None  # telling the worker takes a moment
            raise
        if self.error is not None:
            raise self.error
        masks = {prompt.text: self._mask(prompt) for prompt in prompts}
        answer = segmentation(masks, header.geometry)
        answered = [
            replace(segment, threshold=prompt.threshold or segment.threshold)
            for segment, prompt in zip(answer, prompts, strict=True)
        ]
        return Segmentation(header.geometry, tuple(answered), notes=("a note",))

    def close(self, timeout: float = 0.0) -> None:
        self.closed = True

    def _mask(self, prompt: PromptRequest) -> np.ndarray | None:
        mask = self.masks.get(prompt.text)
        if mask is None or prompt.threshold is None:
            return mask
        # A higher threshold leaves fewer slices.
        kept = mask.copy()
        kept[round((1 - prompt.threshold) * len(mask)) :] = False
        return kept
