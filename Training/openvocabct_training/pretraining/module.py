"""Multi-granular contrastive pretraining as a Lightning module."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from openvocabct_training.initial_weights import start_from
from openvocabct_training.optimisation import adamw_with_warmup
from openvocabct_training.pretraining.contrastive import NO_GROUP, ContrastiveLoss, Pairs, Variant
from openvocabct_training.pretraining.dataset import ScanBatch
from openvocabct_training.pretraining.network import ContrastiveNetwork, ScanFeatures
from openvocabct_training.pretraining.text import FrozenText, TrainableText, embed_reports
from openvocabct_training.pretraining.validation import ValidationFeatures
from openvocabct_training.reports.organs import pair_of
from openvocabct_training.shallow_convolutions import protect_shallow_convolutions
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.stunet import SIZES
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder

# Resuming a run of a module that Python code made needs these; LightningCLI saves plain dictionaries instead.
torch.serialization.add_safe_globals([ArchitectureConfig, PreprocessingConfig])


class ContrastivePretraining(pl.LightningModule):
    """Loss = report_weight * (scan, report) + organ_weight * (organ, caption), see `contrastive`.

    Args:
        architecture: of the image tower that fine-tuning will take; only its size, E and text_dim count.
        preprocessing: what the network expects of a CT.
        dim: D, of the space in which images and texts are compared.
        variant: which loss.
        report_weight: of the loss of whole scans.
        organ_weight: of the loss of organs; with 0 the decoder is neither run nor trained.
        normal_weight: how much two captions that call the same organ normal are true of each other's organs.
        opposites: give every organ the opposite of its caption as a negative of its own.
        chunk: scans that go through the image tower at a time, see ``ContrastiveNetwork``.
        text_encoder: folder of a Hugging Face encoder; the default one if None.
        text_layers: how many of its last layers learn; 0: it stays frozen.
        learning_rate: peak of the schedule.
        weight_decay: of AdamW.
        warmup_steps: length of the warm-up.
        initial_weights: where the image tower starts from, for example a published STU-Net; see ``start_from``.
        channels_last: lay out voxels with channels last, the fast layout of 3D convolutions in bf16.

    Raises:
        InputError: the network has no such size, or there is nothing to learn.
    """

    def __init__(
        self,
        architecture: ArchitectureConfig,
        preprocessing: PreprocessingConfig,
        dim: int = 128,
        variant: Variant = "infonce",
        report_weight: float = 1.0,
        organ_weight: float = 1.0,
        normal_weight: float = 0.5,
        opposites: bool = True,
        chunk: int = 0,
        text_encoder: str | None = None,
        text_layers: int = 0,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 100,
        initial_weights: str | None = None,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        if architecture.size not in SIZES:
            raise InputError(f"there is no network size {architecture.size!r}", f"choose one of {', '.join(SIZES)}")
        if report_weight < 0 or organ_weight < 0 or report_weight + organ_weight == 0:
            raise InputError("there is no loss", "give model.report_weight or model.organ_weight above 0")
        self.save_hyperparameters()
        self.preprocessing, self.stride = preprocessing, 2 ** (len(SIZES[architecture.size].channels) - 1)
        self.report_weight, self.organ_weight, self.opposites = report_weight, organ_weight, opposites
        self.learning_rate, self.weight_decay, self.warmup_steps = learning_rate, weight_decay, warmup_steps
        self.network = ContrastiveNetwork(architecture, preprocessing, dim, organ_weight > 0, chunk)
        self.report_loss = ContrastiveLoss(variant, normal_weight)
        self.organ_loss = ContrastiveLoss(variant, normal_weight) if organ_weight > 0 else None
        if report_weight == 0:
            for part in (self.network.scan_head, self.network.report_head, self.report_loss):
                part.requires_grad_(False)
        folder = Path(text_encoder) if text_encoder else None
        self.text: nn.Module
        if text_layers:
            self.text = TrainableText(folder, text_layers)
        else:
            self.text = FrozenText(HuggingFaceTextEncoder(folder) if folder else None)
        self._vocabulary = Vocabulary.load()
        self._validation = ValidationFeatures()
        if initial_weights is not None:
            start_from(nn.ModuleDict({"model": self.network.tower}), Path(initial_weights), partial=True)
        if channels_last:
            self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def transfer_batch_to_device(self, batch: ScanBatch, device: torch.device, dataloader_idx: int) -> ScanBatch:
        """Move the tensors; texts stay."""
        return ScanBatch(*(part.to(device) if isinstance(part, Tensor) else part for part in batch))

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (N, text_dim) unit length, on the device of the network."""
        rows: Tensor = self.text(texts)
        return rows.to(self.device)

    def features(self, batch: ScanBatch) -> ScanFeatures:
        """Features of the scans of a batch and of their organs."""
        names = [self._name(caption.organ) if caption else "" for row in batch.captions for caption in row]
        with torch.no_grad():
            embedded = self.embed(names).unflatten(0, (len(batch.reports), -1))
        return self.network.encode_scans(batch.hu, batch.masks, batch.drawn, embedded)

    def training_step(self, batch: ScanBatch, batch_idx: int) -> Tensor:
        """One optimisation step."""
        loss, parts = self.losses(batch)
        self.log_dict({f"train/{name}": part for name, part in parts.items()}, batch_size=len(batch.reports))
        return loss

    def losses(self, batch: ScanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the batches of all processes, and its parts."""
        scans = self.features(batch)
        with torch.autocast(batch.hu.device.type, enabled=False):
            loss = torch.zeros((), device=batch.hu.device)
            parts: dict[str, Tensor] = {}
            if self.report_weight:
                parts["report"] = self.report_loss(self.report_pairs(batch, scans.scan))
                loss = loss + self.report_weight * parts["report"]
            if self.organ_loss is not None and scans.organ is not None:
                parts["organ"] = self.organ_loss(self.organ_pairs(batch, scans.organ))
                loss = loss + self.organ_weight * parts["organ"]
        shown = {name: part.detach() for name, part in parts.items()}
        return loss, {"loss": loss.detach(), **shown, "scale": self.report_loss.scale.detach()}

    def report_pairs(self, batch: ScanBatch, scans: Tensor) -> Pairs:
        """(B,) pairs of scans (B, D) and reports."""
        text = self.network.encode_reports(embed_reports(self.embed, batch.reports))
        count, device = len(batch.reports), scans.device
        nothing = torch.zeros(count, dtype=torch.bool, device=device)
        group = torch.full((count,), NO_GROUP, device=device)
        return Pairs(scans, text, ~nothing, _ids(batch.reports, device), group, torch.zeros_like(text), nothing)

    def organ_pairs(self, batch: ScanBatch, organs: Tensor) -> Pairs:
        """(B*K,) pairs of organs (B, K, D) and captions."""
        captions = [caption for row in batch.captions for caption in row]
        device = organs.device
        texts = [caption.text if caption else "" for caption in captions]
        opposites = [caption.opposite if caption and self.opposites else "" for caption in captions]
        features = self.network.encode_captions(self.embed([*texts, *opposites]))
        text, opposite = features.split(len(captions))
        normal = [
            _id(pair_of(caption.organ, self._vocabulary)) if caption and caption.normal else NO_GROUP
            for caption in captions
        ]
        return Pairs(
            organs.flatten(0, 1),
            text,
            torch.tensor([caption is not None for caption in captions], device=device),
            _ids([f"{caption.organ}: {caption.text}" if caption else "" for caption in captions], device),
            torch.tensor(normal, device=device),
            opposite,
            torch.tensor([bool(one) for one in opposites], device=device),
        )

    def validation_step(self, batch: ScanBatch, batch_idx: int) -> None:
        """Collect features; an epoch of validation is one retrieval among all studies."""
        scans = self.features(batch)
        reports = self.report_pairs(batch, scans.scan)
        organs, places = None, None
        if scans.organ is not None:
            organs = self.organ_pairs(batch, scans.organ)
            places = _ids([caption.organ if caption else "" for row in batch.captions for caption in row], self.device)
        self._validation.add(_ids(batch.studies, self.device), reports, organs, places, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Retrieval both ways, of organs too, and zero-shot abnormalities where they are labelled."""

        def encode(texts: Sequence[str]) -> Tensor:
            return self.network.encode_reports(self.embed(texts))

        with torch.no_grad():
            figures = self._validation.figures(encode, self.report_loss.scale)
        self._validation = ValidationFeatures()
        self.log_dict({f"validation/{name}": value for name, value in figures.items()})
        if self.trainer.is_global_zero and not self.trainer.sanity_checking:
            ValidationFeatures.write(Path(self.trainer.default_root_dir), self.trainer.global_step, figures)

    def on_fit_start(self) -> None:
        """Guard against wrong gradients, see ``protect_shallow_convolutions``."""
        protect_shallow_convolutions(self)

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine."""
        return adamw_with_warmup(self, self.learning_rate, self.weight_decay, self.warmup_steps)

    def _name(self, organ: str) -> str:
        return self._vocabulary.get(organ).name


def _id(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def _ids(texts: Sequence[str], device: torch.device) -> Tensor:
    """(N,) int64, equal for equal texts, in every process."""
    return torch.tensor([_id(text) for text in texts], device=device)
