"""The steps from a file and prompts to a segmentation, shared by ``segment`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from OpenVocabCTLib.commands.services import LoadedModel, Services
from OpenVocabCTLib.commands.terminal import Reporter, Stopwatch

if TYPE_CHECKING:
    from OpenVocabCTLib.inference import Study
    from OpenVocabCTLib.output import Segmentation
    from OpenVocabCTLib.prompts import PromptSet
    from OpenVocabCTLib.volume import CTVolume


@dataclass(frozen=True)
class Answer:
    """What a run gave, and the model that gave it."""

    model: LoadedModel
    study: Study
    segmentation: Segmentation


@dataclass(frozen=True)
class Run:
    """Segment one CT; the model is loaded before the CT is read, because a wrong model is the cheaper failure.

    Attributes:
        services: how to load models and read volumes.
        reporter: where to say what is going on.
        clock: books the seconds of every stage.
    """

    services: Services
    reporter: Reporter
    clock: Stopwatch

    def answer(
        self,
        source: Path,
        prompts: PromptSet,
        model: str | None = None,
        device: str = "auto",
        threshold: float | None = None,
        check: Callable[[CTVolume], None] | None = None,
    ) -> Answer:
        """Load, read, encode, segment.

        Args:
            source: a volume file or a DICOM folder.
            prompts: what to segment.
            model: name or folder; None is the embedded default.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            threshold: voxel probability that counts as inside, between 0 and 1; None is the model's own.
            check: looks at the CT before the long image pass; what it raises ends the run.
        """
        self.clock.lap("checks")
        self.reporter.say("loading the model")
        loaded = self.services.load_model(model, device)
        self.clock.lap("model")
        self.reporter.say(f"reading {source.name}")
        volume = self.services.read_volume(source)
        if check is not None:
            check(volume)
        self.clock.lap("read")
        with self.reporter.progress("image pass") as progress:
            study = loaded.segmenter.encode(volume, progress=progress)
            study.prepare(prompts, progress)
        self.clock.lap("image_pass")
        segmentation = study.segment(prompts, threshold)
        self.clock.lap("prompts")
        doubts = (f"{segment.prompt}: {doubt}" for segment in segmentation for doubt in segment.doubts)
        for note in (*segmentation.notes, *doubts):
            self.reporter.say(f"note: {note}")
        return Answer(loaded, study, segmentation)
