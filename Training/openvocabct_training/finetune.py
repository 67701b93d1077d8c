"""Text-prompted segmentation as a Lightning module: masked BCE + Dice, deep supervision, presence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from openvocabct_training.data.dataset import Sample
from openvocabct_training.losses import presence_loss, segmentation_loss
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.checkpoints import WEIGHTS_FILE
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.heads import Queries, presence_logits, voxel_logits
from OpenVocabCTLib.models.openvocab import ImageFeatures, OpenVocabCT
from OpenVocabCTLib.models.stunet import SIZES


class StepResult(NamedTuple):
    """The loss, its parts, and the (B, P) soft Dice of every prompt (NaN where it has none)."""

    loss: Tensor
    parts: dict[str, Tensor]
    per_prompt_dice: Tensor


# Resuming a run of a module that Python code made needs these; LightningCLI saves plain dictionaries instead.
torch.serialization.add_safe_globals([ArchitectureConfig, PreprocessingConfig])


def _read_state(place: Path) -> dict[str, Tensor]:
    """Parameters by name, as this module has them, of a checkpoint or of a model folder.

    Raises:
        InputError: there is neither.
    """
    weights = place / WEIGHTS_FILE
    if weights.is_file():
        return {f"model.{name}": tensor.float() for name, tensor in load_file(weights).items()}
    if not place.is_file():
        raise InputError(f"there is no checkpoint or model folder {place}", "check model.initial_weights")
    state: dict[str, Tensor] = torch.load(place, map_location="cpu", weights_only=True)["state_dict"]
    return state


class TextPromptedSegmentation(pl.LightningModule):
    """Trains an ``OpenVocabCT`` network; the frozen text encoder's embeddings come with the samples.

    Args:
        architecture: sizes of the network.
        preprocessing: what the network expects of a CT; stored with the exported model.
        learning_rate: peak of the schedule (linear warm-up, then cosine to zero at the trainer's ``max_steps``).
        weight_decay: of AdamW.
        warmup_steps: length of the warm-up.
        deep_supervision: weights of the losses at 1/2, 1/4, ... of full resolution.
        presence_weight: weight of the presence loss.
        initial_weights: checkpoint of another run, or a model folder, to start from; parameters that it lacks keep
            their own start.

    Raises:
        InputError: the network has no such size, or fewer scales than ``deep_supervision``.
    """

    def __init__(
        self,
        architecture: ArchitectureConfig,
        preprocessing: PreprocessingConfig,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 100,
        deep_supervision: tuple[float, ...] = (0.5, 0.25),
        presence_weight: float = 0.3,
        initial_weights: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if architecture.size not in SIZES:
            raise InputError(f"there is no network size {architecture.size!r}", f"choose one of {', '.join(SIZES)}")
        channels = SIZES[architecture.size].channels
        if len(deep_supervision) > len(channels) - 2:
            raise InputError(
                f"deep_supervision has {len(deep_supervision)} weights", f"give at most {len(channels) - 2}"
            )
        self.preprocessing = preprocessing
        self.model = OpenVocabCT(architecture, preprocessing)
        # Used in training only: coarse voxel embeddings that the same queries are asked of.
        self.auxiliary = nn.ModuleList(
            nn.Conv3d(channels[level + 1], architecture.embedding_dim, 1) for level in range(len(deep_supervision))
        )
        for convolution in self.auxiliary:
            # Random features times the large queries of a run that starts from others' weights would drown its loss.
            nn.init.zeros_(convolution.weight)
        self.learning_rate, self.weight_decay, self.warmup_steps = learning_rate, weight_decay, warmup_steps
        self.deep_supervision, self.presence_weight = deep_supervision, presence_weight
        if initial_weights is not None:
            self._start_from(Path(initial_weights))
        # The fast layout for 3D convolutions in bf16, on CPU and on GPU.
        self.model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def _start_from(self, checkpoint: Path) -> None:
        state = _read_state(checkpoint)
        try:
            unknown = self.load_state_dict(state, strict=False).unexpected_keys
        except RuntimeError as error:
            raise InputError(f"{checkpoint} has weights of other sizes", "choose another checkpoint") from error
        if unknown:
            raise InputError(f"{checkpoint} has weights of another network ({unknown[0]})", "choose another checkpoint")

    def _step(self, sample: Sample) -> StepResult:
        image = self.model.encode_image(sample.hu, sample.leftness)
        # The heads are cheap and run in fp32, as they do at inference, whatever the image tower runs in.
        with torch.autocast(sample.hu.device.type, enabled=False):
            return self._losses(image, sample)

    def _losses(self, image: ImageFeatures, sample: Sample) -> StepResult:
        batch, prompts = sample.text.shape[:2]
        flat = self.model.encode_text(sample.text.flatten(0, 1), sample.side.flatten(), sample.concept.flatten())
        queries = [Queries(*(part.unflatten(0, (batch, prompts))[index] for part in flat)) for index in range(batch)]

        def ask(embedding: Tensor) -> Tensor:
            """(B, E, D, H, W) -> (B, P, D, H, W): every patch is asked its own prompts."""
            return torch.stack([voxel_logits(one, its) for one, its in zip(embedding.float(), queries, strict=True)])

        main = segmentation_loss(ask(image.embedding), sample.target, sample.valid)
        loss = main.bce + main.dice
        left = sample.leftness[:, None]
        for level, weight in enumerate(self.deep_supervision):
            left = F.avg_pool3d(left, 2)
            features = self.auxiliary[level](image.decoder[-2 - level].float())
            target = F.max_pool3d(sample.target.float(), 2 ** (level + 1))
            coarse = segmentation_loss(ask(torch.cat((features, left), dim=1)), target, sample.valid)
            loss = loss + weight * (coarse.bce + coarse.dice)
        tokens = image.presence.float()
        asked = torch.stack([presence_logits(token, its) for token, its in zip(tokens, queries, strict=True)])
        presence = presence_loss(asked, sample.target.sum((2, 3, 4)), sample.valid)
        loss = loss + self.presence_weight * presence
        parts = {"bce": main.bce, "dice_loss": main.dice, "presence": presence}
        return StepResult(loss, parts, main.per_prompt_dice)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """One optimisation step."""
        loss, parts, _ = self._step(Sample(*batch))
        self.log_dict({f"train/{name}": value for name, value in {"loss": loss, **parts}.items()}, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Losses and soft Dice of fixed patches of validation patients."""
        sample = Sample(*batch)
        loss, parts, dice = self._step(sample)
        values = {"loss": loss, **parts, "soft_dice": dice.nanmean()}
        self.log_dict(
            {f"validation/{name}": value for name, value in values.items() if torch.isfinite(value)},
            batch_size=sample.hu.shape[0],
        )

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine, stepped every optimisation step."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        total = max(1, int(self.trainer.estimated_stepping_batches))

        def factor(step: int) -> float:
            if step < self.warmup_steps:
                return (step + 1) / self.warmup_steps
            progress = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
