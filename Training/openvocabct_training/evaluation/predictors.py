"""What is evaluated against: anything that encodes a scan once and then answers queries about it."""

from __future__ import annotations

import copy
import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from OpenVocabCTLib import __version__
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.masks import CroppedMask, Index3
from OpenVocabCTLib.output.segmentation import Segment
from OpenVocabCTLib.prompts.normalise import make_label
from OpenVocabCTLib.prompts.parsing import Prompt, PromptSet
from OpenVocabCTLib.prompts.vocabulary import COMPILED_FILE
from OpenVocabCTLib.volume import CTVolume

if TYPE_CHECKING:
    from OpenVocabCTLib.inference.segmenter import Segmenter, Study

SEGMENTER = "openvocabct_training.evaluation.predictors:segmenter"


@dataclass(frozen=True)
class Query:
    """What is asked for: words, and for systems that need one a click or a box.

    Attributes:
        text: the prompt as a person would type it.
        point: (k, j, i) of the voxel that lies deepest inside the reference; None where there is no reference.
        box: first and last (k, j, i) of the reference's bounding box; None where there is no reference.
        free: answer from the words alone, also for a structure that the system was not trained on and would refuse.
    """

    text: str
    point: Index3 | None = None
    box: tuple[Index3, Index3] | None = None
    free: bool = False


@dataclass(frozen=True, eq=False)
class Answer:
    """What a system answered.

    Attributes:
        mask: the mask on the scan's grid, None where nothing was found.
        presence: probability that the structure is in the scan; None where the system did not judge it.
    """

    mask: CroppedMask | None
    presence: float | None = None

    @property
    def found(self) -> bool:
        """Whether there is a voxel in the answer."""
        return self.mask is not None and self.mask.count > 0


class EncodedScan(Protocol):
    """A scan whose image pass is done."""

    @property
    def seconds(self) -> float:
        """What the image pass took."""
        ...

    def segment(self, queries: Sequence[Query]) -> Sequence[Answer]:
        """Answer the queries, one answer each, in their order."""
        ...


class Predictor(Protocol):
    """A system under evaluation."""

    @property
    def name(self) -> str:
        """Shown in tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with everything that changes answers: weights, thresholds, vocabulary, device."""
        ...

    def encode(self, volume: CTVolume) -> EncodedScan:
        """Do the image pass."""
        ...


class SegmenterPredictor:
    """A `Segmenter`, or anything with the same ``encode`` and ``segment``, as a predictor.

    Args:
        segmenter: answers texts with segments.
        name: shown in tables.
        fingerprint: see `Predictor`.
    """

    def __init__(self, segmenter: Segmenter, name: str, fingerprint: str) -> None:
        self.segmenter, self.name, self.fingerprint = segmenter, name, fingerprint

    def encode(self, volume: CTVolume) -> EncodedScan:
        """Do the image pass."""
        return _SegmenterScan(self.segmenter.encode(volume))


class _SegmenterScan:
    def __init__(self, study: Study) -> None:
        self.study = study
        self.seconds = study.seconds
        self._unguarded: Study | None = None

    def segment(self, queries: Sequence[Query]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        for free in (False, True):
            chosen = [index for index, query in enumerate(queries) if query.free is free]
            if chosen:
                texts = [queries[index].text for index in chosen]
                answers.update(zip(chosen, self._free(texts) if free else self._known(texts), strict=True))
        return [answers[index] for index in range(len(queries))]

    def _known(self, texts: Sequence[str]) -> list[Answer]:
        return [answer_of(segment) for segment in self.study.segment(texts).segments]

    def _free(self, texts: Sequence[str]) -> list[Answer]:
        if self._unguarded is None:
            self._unguarded = _unguarded(self.study)
        prompts = PromptSet(Prompt(text, make_label(text), None, "free", text, "") for text in texts)
        return [answer_of(segment) for segment in self._unguarded.segment(prompts).segments]


def answer_of(segment: Segment) -> Answer:
    """What a segment says, as the suites want it."""
    # A refused prompt is never asked and has presence 0, which no sigmoid gives.
    judged = segment.found or segment.presence > 0.0
    return Answer(segment.cropped if segment.found else None, float(segment.presence) if judged else None)


def _unguarded(study: Study) -> Study:
    """The same scan, asked without the refusals that protect users from structures the model never learned."""
    from OpenVocabCTLib.inference.questions import QuestionMaker
    from OpenVocabCTLib.inference.segmenter import Study

    guarded = study.segmenter.questions
    segmenter = copy.copy(study.segmenter)
    segmenter.questions = QuestionMaker(
        guarded.vocabulary, guarded.bank, guarded.trained, guarded.decision, guarded=False
    )
    return Study(segmenter, study.volume, study.embedding)


def segmenter(model: str | None) -> Predictor:
    """Load a model folder, or a model by its name, as users do.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    from OpenVocabCTLib.inference.segmenter import Segmenter
    from OpenVocabCTLib.models import checkpoints

    loaded = Segmenter.from_pretrained(model)
    trained = sorted(loaded.questions.trained.items())
    parts = (__version__, loaded.fingerprint, loaded.config, trained, loaded.tower.name, loaded.compute)
    digest = hashlib.sha256(repr(parts).encode())
    digest.update(COMPILED_FILE.read_bytes())
    return SegmenterPredictor(loaded, checkpoints.resolve(model).name, digest.hexdigest())


def load_predictor(factory: str, model: str | None) -> Predictor:
    """Make the predictor that ``package.module:function`` returns for a model.

    Args:
        factory: where the function is; it gets the model's name or folder, or None.
        model: name or folder.

    Raises:
        InputError: there is no such function.
        ModelError: as the function.
    """
    module, colon, name = factory.partition(":")
    try:
        make: Callable[[str | None], Predictor] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"there is no predictor {factory!r} ({error})", "give it as package.module:function, or leave it out"
        ) from error
    if not colon:
        raise InputError(f"{factory!r} names no function", "give the predictor as package.module:function")
    return make(model)
