"""Segmenter of models with class tables, whose networks are read when a prompt first needs them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from OpenVocabCTLib.errors import ModelError
from OpenVocabCTLib.inference.devices import Compute, Precision, choose_compute
from OpenVocabCTLib.inference.embedding import EmbeddingCache
from OpenVocabCTLib.inference.image_pass import Progress
from OpenVocabCTLib.inference.segmenter import BANK_FILE, Segmenter
from OpenVocabCTLib.inference.tables.questions import TableQuestionMaker
from OpenVocabCTLib.inference.tables.study import TableStudy
from OpenVocabCTLib.inference.towers import Backend, ImageTower, choose_tower
from OpenVocabCTLib.models import class_table
from OpenVocabCTLib.models.class_table import BIASES, VECTORS, ClassTable, read_network
from OpenVocabCTLib.models.config import DecisionConfig
from OpenVocabCTLib.models.tables import NetworkConfig, TableConfig
from OpenVocabCTLib.output.algorithm import Algorithm
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.volume import CTVolume


class TableSegmenter(Segmenter):
    """A model with class tables that is ready to answer prompts; its networks are read when they are first needed.

    Args:
        folder: of the model, whose files were verified.
        raw: its parsed ``config.json``.
        compute: device and number format.
        backend: what runs the networks.

    Raises:
        ModelError: the files do not fit together.
    """

    def __init__(self, folder: Path, raw: dict[str, Any], compute: Compute, backend: Backend) -> None:
        try:
            self.table_config = TableConfig.from_dict(raw)
            cases = {concept: _scans(facts["cases"], self.table_config) for concept, facts in raw["concepts"].items()}
            self._hashes = [str(raw["sha256"][network.file]) for network in self.table_config.networks]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"config.json of model {folder.name!r} is malformed", "convert the model again") from error
        self._model_folder, self.compute, self._backend = folder, compute, backend
        self.tables = [_read_table(folder / network.file) for network in self.table_config.networks]
        self.questions: TableQuestionMaker = TableQuestionMaker(
            Vocabulary.load(), EmbeddingBank.read(folder / BANK_FILE), cases, self.table_config, self.tables
        )
        self.cache = EmbeddingCache()
        self.folder = None
        pairs = zip(self._hashes, self.table_config.networks, strict=True)
        self.fingerprint = _digest(_described(weights, network) for weights, network in pairs)
        self.algorithm = Algorithm(
            str(raw.get("name", folder.name)), str(raw.get("version", "")), _digest(self._hashes)
        )
        self._towers: dict[int, ImageTower] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, folder: Path, raw: dict[str, Any], device: str, precision: Precision, backend: Backend
    ) -> TableSegmenter:
        """Make a model ready.

        Args:
            folder: of the model, whose files were verified.
            raw: its parsed ``config.json``.
            device: as for ``Segmenter.from_pretrained``.
            precision: "auto" is what the source framework uses, 32 bits on a CPU; fast models use 16 bits where the
                device is fast at them.
            backend: as for ``Segmenter.from_pretrained``.
        """
        fast = bool(raw.get("fast", False)) or precision != "auto"
        compute = choose_compute(device, precision if fast else "fp32")
        if not fast and compute.device.type == "cuda":
            compute = Compute(compute.device, torch.float16)
        return cls(folder, raw, compute, backend)

    @property
    def decision(self) -> DecisionConfig:
        """Thresholds."""
        return self.table_config.decision

    def network_tower(self, number: int) -> ImageTower:
        """What runs a network; it is read at its first use.

        Raises:
            ModelError: its file does not fit the configuration.
        """
        with self._lock:
            if number not in self._towers:
                config = self.table_config.networks[number]
                network, _ = read_network(self._model_folder / config.file, config)
                network.to(self.compute.device, memory_format=self.compute.memory_format)  # type: ignore[call-overload]
                graph = _graph_name(self._hashes[number], config)
                self._towers[number] = choose_tower(network, self.compute, self._backend, graph)
            return self._towers[number]

    def encode(self, volume: CTVolume, progress: Progress | None = None) -> TableStudy:
        """Do the image pass of a model of one network; with several, each waits for a prompt that needs it."""
        study = TableStudy(self, volume, progress)
        if len(self.table_config.networks) == 1:
            study.prepare(None, progress)
        return study


def _scans(stated: Any, config: TableConfig) -> int:
    """Number of training scans; a source that does not state it is believed to have had enough."""
    return config.decision.minimum_scans if stated is None else int(stated)


def _read_table(path: Path) -> ClassTable:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            return ClassTable(stored.get_tensor(VECTORS), stored.get_tensor(BIASES))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path.name} holds no class table", "convert the model again") from error


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _described(weights: str, network: NetworkConfig) -> str:
    """What a network computes: the same weights give something else in a network of another slope or stride."""
    built = {"family": network.family, "arguments": network.arguments, "folds": network.folds}
    return f"{weights} {json.dumps(built, sort_keys=True)}"


def _graph_name(weights: str, network: NetworkConfig) -> str:
    """Name under which a converted network is kept: it depends on the code that builds it, too."""
    digest = hashlib.sha256(_described(weights, network).encode())
    digest.update(Path(str(class_table.__file__)).read_bytes())
    if network.family in class_table.UNETS:
        digest.update(importlib.metadata.version("dynamic-network-architectures").encode())
    return digest.hexdigest()
