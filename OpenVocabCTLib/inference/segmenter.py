"""Segmenter and Study: the two objects that every caller of the library uses."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from OpenVocabCTLib.errors import InputError, ModelError
from OpenVocabCTLib.inference.answers import Answer, native_mask, settle
from OpenVocabCTLib.inference.composition import Formula, evaluate, half_of
from OpenVocabCTLib.inference.coverage import landmarks, where_it_would_be
from OpenVocabCTLib.inference.devices import Compute, Precision, choose_compute, memory_errors
from OpenVocabCTLib.inference.embedding import EmbeddingCache, VoxelEmbedding
from OpenVocabCTLib.inference.embedding_folder import EmbeddingFolder
from OpenVocabCTLib.inference.grid import to_native, whole, working_grid
from OpenVocabCTLib.inference.image_pass import Progress, encode_volume
from OpenVocabCTLib.inference.judging import Judge, Logits, logit, wordings_of
from OpenVocabCTLib.inference.preparing import Preparation
from OpenVocabCTLib.inference.questions import Part, Question, QuestionMaker, Wording
from OpenVocabCTLib.inference.towers import Backend, ImageTower, TorchTower, choose_tower
from OpenVocabCTLib.models import checkpoints
from OpenVocabCTLib.models.config import DecisionConfig, ModelConfig
from OpenVocabCTLib.models.heads import Queries
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from OpenVocabCTLib.models.tables import KIND as CLASS_TABLE
from OpenVocabCTLib.output.algorithm import Algorithm
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.output.segmentation import Segment, Segmentation, unanswered
from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.volume import CTVolume

BANK_FILE = "text_bank.safetensors"
_WORDINGS_AT_ONCE = 8
# One voxel threshold for all prompts, one for each, or those of the model.
Thresholds = float | Sequence[float | None] | None


class Segmenter:
    """A model that is ready to answer prompts.

    Args:
        model: the network, in evaluation mode on ``compute.device``.
        config: preprocessing and decisions.
        questions: decides what can be asked.
        compute: device and number format.
        cache: keeps the embeddings of the last scans.
        fingerprint: identifies the weights in the cache.
        tower: what runs the image tower; torch if None.
        algorithm: what results are signed with.

    Attributes:
        folder: keeps the embeddings on disk too, for other processes and other days; None if they are not kept.
    """

    def __init__(
        self,
        model: OpenVocabCT,
        config: ModelConfig,
        questions: QuestionMaker,
        compute: Compute,
        cache: EmbeddingCache | None = None,
        fingerprint: str = "",
        tower: ImageTower | None = None,
        algorithm: Algorithm | None = None,
    ) -> None:
        self.model, self.config, self.questions, self.compute = model, config, questions, compute
        self.cache = EmbeddingCache() if cache is None else cache
        self.folder: EmbeddingFolder | None = None
        self.fingerprint = fingerprint
        self.algorithm = algorithm
        self.tower = TorchTower(model, compute) if tower is None else tower

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        backend: Backend = "auto",
        preparation: Preparation | None = None,
    ) -> Segmenter:
        """Load a model.

        Args:
            name_or_dir: a name that ``openvocabct models list`` shows, or a model folder; the embedded one if None.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            precision: "auto", "fp32" or "low" (16 bits).
            backend: "auto" (OpenVINO on a CPU where it is installed), "torch" or "openvino".
            preparation: what was begun before torch was imported, to save time.

        Raises:
            ModelError: the model is missing, damaged, or its files do not fit together.
            InputError: the device or the backend does not exist.
        """
        compute = choose_compute(device, precision)
        folder = checkpoints.resolve(name_or_dir)
        checkpoints.verify(folder)
        raw = checkpoints.read_config(folder)
        if raw.get("kind") == CLASS_TABLE:
            from OpenVocabCTLib.inference.tables.segmenter import TableSegmenter

            return TableSegmenter.open(folder, raw, device, precision, backend)
        config, model = _load_network(folder, raw, compute)
        vocabulary = Vocabulary.load()
        questions = QuestionMaker(
            vocabulary,
            EmbeddingBank.read(folder / BANK_FILE),
            {concept: int(facts["cases"]) for concept, facts in raw["concepts"].items()},
            config.decision,
        )
        fingerprint = raw["sha256"][checkpoints.WEIGHTS_FILE]
        algorithm = Algorithm(str(raw.get("name", folder.name)), str(raw.get("version", "")), fingerprint)
        tower = choose_tower(model, compute, backend, fingerprint, preparation)
        return cls(model, config, questions, compute, None, fingerprint, tower, algorithm)

    def encode(self, volume: CTVolume, progress: Progress | None = None) -> Study:
        """Do the image pass, or take it from the cache when this model has seen this scan on this grid.

        Args:
            volume: the scan.
            progress: called as ``progress(tiles done, tiles in all)``; returning False stops.

        Raises:
            Cancelled: ``progress`` returned False.
            ResourceError: out of memory.
        """
        key = (volume.content_hash(), self.fingerprint, self.config.preprocessing, self.tower.name)
        embedding = self.cache.get(key)
        if embedding is None and self.folder is not None:
            embedding = self.folder.get(key, working_grid(volume.geometry, self.config.preprocessing.voxel_mm))
        if embedding is None:
            embedding = encode_volume(volume, self.tower, self.config.preprocessing, progress)
            if self.folder is not None:
                self.folder.put(key, embedding)
        self.cache.put(key, embedding)
        return Study(self, volume, embedding)

    @property
    def decision(self) -> DecisionConfig:
        """Thresholds."""
        return self.config.decision

    def queries(self, wordings: Sequence[Wording]) -> Queries:
        """Wordings to queries, on the CPU."""
        text = torch.from_numpy(self.questions.bank.embed([wording.text for wording in wordings]))
        side = torch.tensor([wording.side.sign for wording in wordings])
        concept = torch.tensor([self.model.concept_index(wording.concept) for wording in wordings])
        with torch.inference_mode():
            queries = self.model.encode_text(*(part.to(self.compute.device) for part in (text, side, concept)))
            return Queries(*(part.float().cpu() for part in queries))


def _load_network(folder: Path, raw: dict[str, Any], compute: Compute) -> tuple[ModelConfig, OpenVocabCT]:
    from safetensors.torch import load_file

    try:
        config = ModelConfig.from_dict(raw)
        # No memory and no random numbers for weights that are replaced; those in the file are mapped, not read.
        with torch.device("meta"):
            model = OpenVocabCT(config.architecture, config.preprocessing)
        state = {name: tensor.float() for name, tensor in load_file(folder / checkpoints.WEIGHTS_FILE).items()}
        model.load_state_dict(state, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"the files of model {folder.name!r} do not fit together", "install the model again"
        ) from error
    model.eval().requires_grad_(False)
    model.to(compute.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return config, model


@dataclass(frozen=True)
class _Outcome:
    """What was decided for one question."""

    presence: float
    reason: str
    mask: CroppedMask | None


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
            self.segmenter.questions.ask(prompt).with_threshold(one)
            for prompt, one in zip(prompt_set, _one_for_each(threshold, len(prompt_set)), strict=True)
        ]
        notes = (
            *self.volume.notes,
            *self.embedding.notes,
            *(f"{question.prompt.label}: {note}" for question in questions for note in question.notes),
        )
        return Stream(notes, self._segments(unanswered(prompt_set), questions))

    def _segments(self, blanks: Sequence[Segment], questions: Sequence[Question]) -> Iterator[Segment]:
        done = 0
        for batch in _batches(questions):
            began = time.perf_counter()
            segments = [
                self._complete(blank, question, outcome)
                for blank, question, outcome in zip(blanks[done:], batch, self._answer(batch), strict=False)
            ]
            share = (time.perf_counter() - began) / len(batch)
            done += len(batch)
            while segments:
                yield replace(segments.pop(0), seconds=share)

    def probabilities(self, prompt: str) -> np.ndarray:
        """Voxel probabilities of one prompt on the native grid, float32 (K, J, I); zero where it cannot be asked."""
        question = self.segmenter.questions.ask(PromptSet.parse([prompt])[0])
        result = np.zeros(self.volume.geometry.shape, np.float32)
        everything = whole(self.volume.geometry.shape)
        for place, answer in enumerate(self._parts([question], everywhere=True)[0]):
            if question.formula is not None and place not in question.formula.wanted:
                continue
            values = to_native(answer.logits, self.embedding.offset, self.embedding.grid, everything)
            np.maximum(result, values.sigmoid().numpy(), out=result)
        return result

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
        parts = [part for question in questions for part in question.parts]
        if not parts:
            return [[] for _ in questions]
        with memory_errors():
            logits, heads = self.judge.look(parts, everywhere)
            return [
                [self._settled(part, logits, heads[part.wording]) for part in question.parts] for question in questions
            ]

    def _settled(self, part: Part, logits: Logits, head: float) -> Answer:
        presence = self.judge.presence(part, logits, head)
        if part.wording not in logits:
            return Answer.absent(presence)
        rival = logits[part.rival] if part.rival else None
        return settle(logits[part.wording], rival, logit(part.threshold), presence)

    def _answer(self, questions: Sequence[Question]) -> list[_Outcome]:
        every = self._parts(questions)
        return [self._decide(question, answers) for question, answers in zip(questions, every, strict=True)]

    def _decide(self, question: Question, answers: Sequence[Answer]) -> _Outcome:
        if question.refusal:
            return _Outcome(0.0, question.refusal, None)
        formula = question.formula or Formula("union", tuple(Formula(None, part=i) for i in range(len(answers))))
        wanted = formula.wanted
        presence = max(answers[place].presence for place in wanted)
        believed = [
            answer.presence >= part.presence_threshold for part, answer in zip(question.parts, answers, strict=True)
        ]
        if not any(believed[place] for place in wanted):
            needed = min(question.parts[place].presence_threshold for place in wanted)
            reason = f"not in this scan (presence {presence:.0%}, {needed:.0%} needed)"
            place = self._place_of(question)
            return _Outcome(presence, f"{place}: {reason}" if place else reason, None)
        with memory_errors():
            masks = [
                self._mask(part, answer) if sure else None
                for part, answer, sure in zip(question.parts, answers, believed, strict=True)
            ]
            if not any(masks[place] is not None for place in wanted):
                return _Outcome(presence, "no voxel is above the threshold", None)
            mask = evaluate(formula, masks, lambda found, side: half_of(found, side, self._any_embedding()))
        if mask is None:
            return _Outcome(presence, "found, but nothing of it is left by what was asked", None)
        volume_ml = mask.count * self.volume.geometry.voxel_volume_ml
        if volume_ml < self._decision.min_volume_ml:
            return _Outcome(presence, f"only {volume_ml:.2f} ml, too little to be sure of", None)
        return _Outcome(presence, "", mask)

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

    def _complete(self, blank: Segment, question: Question, outcome: _Outcome) -> Segment:
        mask = outcome.mask
        return replace(
            blank,
            found=mask is not None,
            reason=outcome.reason,
            presence=outcome.presence,
            threshold=min((part.threshold for part in question.parts), default=self._decision.threshold),
            volume_ml=0.0 if mask is None else mask.count * self.volume.geometry.voxel_volume_ml,
            mean_hu=None if mask is None else float(self.volume.array[mask.box][mask.array].mean()),
            cropped=mask,
        )


def _batches(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Consecutive questions that together have few wordings, so that the memory for their logits stays bounded."""
    batch: list[Question] = []
    for question in questions:
        parts = (part for one in (*batch, question) for part in one.parts)
        if batch and len(wordings_of(parts)) > _WORDINGS_AT_ONCE:
            yield batch
            batch = []
        batch.append(question)
    if batch:
        yield batch


def _one_for_each(threshold: Thresholds, count: int) -> Sequence[float | None]:
    every = [threshold] * count if threshold is None or isinstance(threshold, int | float) else list(threshold)
    if len(every) != count:
        raise InputError(f"there are {len(every)} thresholds for {count} prompts", "give one for each, or one for all")
    for one in every:
        if one is not None:
            _check_threshold(one)
    return every


def _check_threshold(threshold: float) -> None:
    if not 0.0 < threshold < 1.0:
        raise InputError(f"a threshold of {threshold} is no probability", "give a number between 0 and 1")
