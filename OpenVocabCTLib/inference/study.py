"""Study: a scan whose image pass is done, and that answers prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from OpenVocabCTLib.inference.answers import Answer, mean_inside, native_mask, settle
from OpenVocabCTLib.inference.asking import Thresholds, batches, one_for_each
from OpenVocabCTLib.inference.composition import blend, half_of
from OpenVocabCTLib.inference.coverage import landmarks, where_it_would_be
from OpenVocabCTLib.inference.deciding import Deciding, Outcome, decide, is_believed
from OpenVocabCTLib.inference.devices import memory_errors
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import to_native, whole
from OpenVocabCTLib.inference.image_pass import Progress
from OpenVocabCTLib.inference.judging import Judge, Logits, logit
from OpenVocabCTLib.inference.plausibility import doubts
from OpenVocabCTLib.inference.questions import Part, Question
from OpenVocabCTLib.inference.threads import in_threads
from OpenVocabCTLib.models.config import DecisionConfig
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.output.segmentation import Segment, Segmentation, unanswered
from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.parsing import Prompt, PromptSet
from OpenVocabCTLib.volume import CTVolume

if TYPE_CHECKING:
    from OpenVocabCTLib.inference.segmenter import Segmenter

_NO_MIDDLE = "left and right cannot be told apart: the scan cuts the patient off, so that the middle is not known"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Stream:
    """Answers that are still being worked out.

    Attributes:
        notes: what the user should know about them.
        segments: one per prompt, in order; can be gone through once.
    """

    notes: tuple[str, ...]
    segments: Iterator[Segment]


class Study:
    """A scan whose image pass is done; asking it is cheap.

    Attributes:
        volume: the scan.
        embedding: its voxel embedding.
        judge: says how sure it is that structures are in the scan.
        seconds: what the image pass took, when it was done.
    """

    def __init__(self, segmenter: Segmenter, volume: CTVolume, embedding: VoxelEmbedding) -> None:
        self.segmenter, self.volume, self.embedding = segmenter, volume, embedding
        self.seconds = embedding.seconds
        self.judge = Judge(embedding, segmenter.questions, segmenter.config.presence, segmenter.queries)

    def segment(self, prompts: PromptSet | Iterable[str], threshold: Thresholds = None) -> Segmentation:
        """Answer prompts, one segment each, in their order.

        Args:
            prompts: parsed prompts or texts.
            threshold: voxel probability above which a voxel belongs to a structure, for all prompts or one for each;
                None is the model's own, which can differ between structures.

        Raises:
            InputError: a prompt is empty, or a threshold is not between 0 and 1.
        """
        stream = self.stream(prompts, threshold)
        segments = tuple(stream.segments)
        return Segmentation(self.volume.geometry, segments, self.volume, stream.notes, self.segmenter.algorithm)

    def stream(self, prompts: PromptSet | Iterable[str], threshold: Thresholds = None) -> Stream:
        """Answer prompts as `segment` does, but hand the segments over as they are found.

        Who does not keep them needs memory for the masks of a few prompts only, however many are asked.

        Args:
            prompts: as for `segment`.
            threshold: as for `segment`.

        Raises:
            InputError: as for `segment`, before anything is answered.
        """
        prompt_set = prompts if isinstance(prompts, PromptSet) else PromptSet.parse(prompts)
        questions = [
            self._question(prompt).with_threshold(one)
            for prompt, one in zip(prompt_set, one_for_each(threshold, len(prompt_set)), strict=True)
        ]
        notes = (
            *self.volume.notes,
            *self.embedding.notes,
            *(f"{question.prompt.label}: {note}" for question in questions for note in question.notes),
        )
        return Stream(notes, self._segments(unanswered(prompt_set), questions))

    def _question(self, prompt: Prompt) -> Question:
        """What is asked of this scan; nothing about sides where its middle is not known."""
        question = self.segmenter.questions.ask(prompt)
        if question.parts and self._needs_middle(question) and not self._any_embedding().middle_known:
            return Question(prompt, (), _NO_MIDDLE)
        return question

    def _needs_middle(self, question: Question) -> bool:
        """Whether the answer depends on where the patient's middle is."""
        return question.needs_middle

    def _segments(self, blanks: Sequence[Segment], questions: Sequence[Question]) -> Iterator[Segment]:
        done = 0
        for batch in batches(questions):
            began = time.perf_counter()
            segments = self._answered(blanks[done : done + len(batch)], batch)
            share = (time.perf_counter() - began) / len(batch)
            done += len(batch)
            while segments:
                yield replace(segments.pop(0), seconds=share)

    def probabilities(self, prompt: str) -> np.ndarray:
        """Voxel probabilities of one prompt on the native grid, float32 (K, J, I); zero where it cannot be asked.

        Those of an expression are put together as its mask is.
        """
        question = self._question(PromptSet.parse([prompt])[0])
        if not question.parts:
            return np.zeros(self.volume.geometry.shape, np.float32)
        return blend(question.recipe, self._probability_of(question), self._on_side)

    def _probability_of(self, question: Question) -> Callable[[int], np.ndarray]:
        """What gives the probabilities of a question's parts, (K, J, I) float32."""
        answers = self._parts([question], everywhere=True)[0]

        def native(place: int) -> np.ndarray:
            logits, everything = answers[place].logits, whole(self.volume.geometry.shape)
            values = to_native(logits, self.embedding.offset, self.embedding.grid, everything)
            probability: np.ndarray = values.sigmoid_().numpy()
            return probability

        return native

    def _on_side(self, side: Side) -> np.ndarray:
        """(K, J, I) bool: which voxels lie on a side of the patient's middle."""
        embedding = self._any_embedding()
        everything = whole(self.volume.geometry.shape)
        leftness = to_native(embedding.values[-1], embedding.offset, embedding.grid, everything).numpy()
        inside: np.ndarray = leftness * side.sign > 0
        return inside

    def prepare(self, prompts: PromptSet | Iterable[str] | None, progress: Progress | None = None) -> None:
        """Run what prompts need and has not been run, everything for None.

        Nothing here: one image pass serves every prompt.  Models of several networks have more to do.
        """

    def is_ready_for(self, prompts: PromptSet | Iterable[str] | None) -> bool:
        """Whether prompts can be answered without `prepare`."""
        return True

    def _any_embedding(self) -> VoxelEmbedding:
        """An embedding whose last channel is leftness."""
        return self.embedding

    @property
    def _decision(self) -> DecisionConfig:
        return self.segmenter.decision

    def _parts(self, questions: Sequence[Question], everywhere: bool = False) -> list[list[Answer]]:
        """Ask every part of every question in one product with the voxel embedding; rivals are asked with them.

        Args:
            questions: what is asked.
            everywhere: look also for parts whose presence says that they are not in the scan.
        """
        parts = list(dict.fromkeys(part for question in questions for part in question.parts))
        if not parts:
            return [[] for _ in questions]
        with memory_errors():
            logits, heads = self.judge.look(parts, everywhere)
            settled = in_threads(lambda part: self._settled(part, logits, heads[part.wording], everywhere), parts)
            answers = dict(zip(parts, settled, strict=True))
            return [[answers[part] for part in question.parts] for question in questions]

    def _settled(self, part: Part, logits: Logits, head: float, everywhere: bool) -> Answer:
        presence = self.judge.presence(part, logits, head)
        if part.wording not in logits or not (everywhere or is_believed(part, presence)):
            return Answer.absent(presence)
        rival = logits[part.rival] if part.rival else None
        return settle(logits[part.wording], rival, logit(part.threshold), presence, everywhere)

    def _answered(self, blanks: Sequence[Segment], questions: Sequence[Question]) -> list[Segment]:
        """Answer a batch of questions; what several of them ask for is looked for once."""
        every = self._parts(questions)
        masks = self._masks(questions, every)
        scan = Deciding(
            masks.__getitem__,
            lambda found, side: half_of(found, side, self._any_embedding()),
            self._place_of,
            self.volume.geometry.voxel_volume_ml,
            self._decision.min_volume_ml,
        )

        outcomes = self._for_each(lambda one: decide(*one, scan), list(zip(questions, every, strict=True)))
        found = {id(one.mask): one.mask for one in outcomes if one.mask is not None}
        means = self._for_each(lambda mask: mean_inside(self.volume.array, mask), list(found.values()))
        hu = dict(zip(found, means, strict=True))
        return [
            self._complete(blank, question, outcome, hu.get(id(outcome.mask)))
            for blank, question, outcome in zip(blanks, questions, outcomes, strict=True)
        ]

    def _masks(
        self, questions: Sequence[Question], every: Sequence[Sequence[Answer]]
    ) -> dict[Part, CroppedMask | None]:
        """Masks on the native grid of the parts that are believed to be in the scan."""
        believed = {
            part: answer
            for question, answers in zip(questions, every, strict=True)
            for part, answer in zip(question.parts, answers, strict=True)
            if is_believed(part, answer.presence)
        }
        with memory_errors():
            masks = self._for_each(lambda one: self._mask(*one), list(believed.items()))
        return dict(zip(believed, masks, strict=True))

    def _for_each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        return in_threads(work, items) if self._in_numpy else [work(item) for item in items]

    @property
    def _in_numpy(self) -> bool:
        """Whether answers are made without torch, which has threads of its own, once the logits are there."""
        return self.embedding.grid.separable

    def _place_of(self, question: Question) -> str:
        """Say that the scan ends before what was asked for begins, "" where that cannot be known."""
        meant = question.prompt.concept
        if meant is None or meant.level is None:
            return ""
        asked = landmarks(self.segmenter.questions.vocabulary, self.segmenter.questions.answered)
        return where_it_would_be([meant], self._landmarks_found, asked)

    @property
    def _landmarks_found(self) -> tuple[Concept, ...]:
        """Landmarks that are in this scan."""
        with memory_errors():
            return self.judge.landmarks_found

    def _mask(self, part: Part, answer: Answer) -> CroppedMask | None:
        """Mask of one part on the native grid, None without a voxel."""
        if not answer.positive:
            return None
        mask = native_mask(answer, self.embedding, logit(part.threshold))
        return mask if mask.count else None

    def _complete(self, blank: Segment, question: Question, outcome: Outcome, mean_hu: float | None) -> Segment:
        voxel_ml = self.volume.geometry.voxel_volume_ml
        threshold = min((part.threshold for part in question.parts), default=self._decision.threshold)
        answered = blank.answered(outcome.mask, outcome.reason, outcome.presence, voxel_ml, mean_hu)
        named = answered.canonical
        unusual = doubts(answered, self.segmenter.questions.vocabulary.get(named)) if named is not None else ()
        missing = tuple(f"{name} is not in this scan" for name in outcome.missing)
        return replace(answered, threshold=threshold, doubts=(*missing, *unusual))
