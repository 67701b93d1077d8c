"""Segmenter: a model that is ready; with Study, a scan that is ready, one of the two objects every caller uses."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import torch

from OpenVocabCTLib.inference.asking import Thresholds
from OpenVocabCTLib.inference.centring import centred
from OpenVocabCTLib.inference.devices import Compute, Precision, choose_compute
from OpenVocabCTLib.inference.embedding import EmbeddingCache, VoxelEmbedding
from OpenVocabCTLib.inference.embedding_folder import EmbeddingFolder
from OpenVocabCTLib.inference.grid import WorkingGrid, working_grid
from OpenVocabCTLib.inference.image_pass import Progress, encode_volume
from OpenVocabCTLib.inference.judging import Judge
from OpenVocabCTLib.inference.loading import BANK_FILE, load_network
from OpenVocabCTLib.inference.midline import cut_sides
from OpenVocabCTLib.inference.preparing import Preparation
from OpenVocabCTLib.inference.questions import QuestionMaker, Wording
from OpenVocabCTLib.inference.study import Stream, Study
from OpenVocabCTLib.inference.towers import Backend, ImageTower, TorchTower, choose_tower
from OpenVocabCTLib.models import checkpoints
from OpenVocabCTLib.models.config import DecisionConfig, ModelConfig
from OpenVocabCTLib.models.heads import Queries
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from OpenVocabCTLib.models.tables import KIND as CLASS_TABLE
from OpenVocabCTLib.output.algorithm import Algorithm
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.volume import CTVolume

__all__ = ["BANK_FILE", "Segmenter", "Stream", "Study", "Thresholds"]


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
        config, model = load_network(folder, raw, compute)
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
        embedding = self.kept(
            (volume.content_hash(), self.fingerprint, self.config.preprocessing, self.tower.name),
            lambda: working_grid(volume.geometry, self.config.preprocessing.voxel_mm),
            lambda: self._encoded(volume, progress),
        )
        return Study(self, volume, embedding)

    def _encoded(self, volume: CTVolume, progress: Progress | None) -> VoxelEmbedding:
        embedding = encode_volume(volume, self.tower, self.config.preprocessing, progress)
        cut = cut_sides(volume)
        if not cut:
            return embedding
        judge = Judge(embedding, self.questions, self.config.presence, self.queries)
        return centred(embedding, cut, judge, self.questions)

    def kept(
        self, key: Hashable, grid: Callable[[], WorkingGrid], encode: Callable[[], VoxelEmbedding]
    ) -> VoxelEmbedding:
        """Take an embedding from memory or from the folder, or make it and keep it in both.

        Args:
            key: identifies scan, weights, options and what runs the network.
            grid: makes the working grid of the scan, which the folder does not hold.
            encode: makes the embedding.
        """
        embedding = self.cache.get(key)
        if embedding is None and self.folder is not None:
            embedding = self.folder.get(key, grid())
        if embedding is None:
            embedding = encode()
            if self.folder is not None:
                self.folder.put(key, embedding)
        self.cache.put(key, embedding)
        return embedding

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
