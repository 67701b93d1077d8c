"""Ask a worker: `StepwiseClient` for interfaces, `WorkerClient` for scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.worker.protocol import Address, PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.steps import Progress, run
from OpenVocabCTLib.worker.stepwise import StepwiseClient

__all__ = ["StepwiseClient", "WorkerClient"]

ProgressHandler = Callable[[Progress], object]


class WorkerClient:
    """Asks a worker and waits for the answer; see `StepwiseClient` for what the methods do and raise.

    Args:
        address: where the worker listens.
    """

    def __init__(self, address: Address) -> None:
        self.stepwise = StepwiseClient(address)

    def status(self) -> dict[str, Any]:
        """Protocol, version, process, model and memory of the worker."""
        return run(self.stepwise.status())

    def vocabulary(self) -> list[dict[str, Any]]:
        """Every phrase that is understood."""
        return run(self.stepwise.vocabulary())

    def models(self) -> list[dict[str, Any]]:
        """The models that the worker can load."""
        return run(self.stepwise.models())

    def prompts(self, texts: Sequence[str]) -> dict[str, Any]:
        """How texts are understood."""
        return run(self.stepwise.prompts(texts))

    def report(self, text: str) -> dict[str, Any]:
        """What a radiology report finds, and what to segment to see it."""
        return run(self.stepwise.report(text))

    def study(self, key: str) -> dict[str, Any] | None:
        """What the worker knows of a volume."""
        return run(self.stepwise.study(key))

    def has_study(self, key: str) -> bool:
        """Whether the worker keeps a volume."""
        return run(self.stepwise.has_study(key))

    def upload(
        self, key: str, header: VolumeHeader, array: np.ndarray, on_progress: ProgressHandler | None = None
    ) -> None:
        """Send a volume."""
        run(self.stepwise.upload(key, header, array), on_progress)

    def encode(
        self, key: str, model: str | None = None, device: str = "auto", on_progress: ProgressHandler | None = None
    ) -> None:
        """Have the image pass done; ``on_progress`` returning False cancels it."""
        run(self.stepwise.encode(key, model, device), on_progress)

    def answer(
        self,
        key: str,
        geometry: Geometry,
        prompts: Sequence[PromptRequest],
        model: str | None = None,
        device: str = "auto",
    ) -> Segmentation:
        """Answer prompts on an encoded volume."""
        return run(self.stepwise.answer(key, geometry, prompts, model, device))

    def forget(self, key: str) -> None:
        """Have one volume dropped."""
        run(self.stepwise.forget(key))

    def free(self) -> None:
        """Have all memory freed."""
        run(self.stepwise.free())
