"""What all networks of this package share in training: one step on patches and prompts, one optimiser, one schedule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
from torch import Tensor, nn
from torchmetrics import MeanMetric

from openvocabct_training.data.dataset import Sample
from openvocabct_training.initial_weights import concepts_in
from openvocabct_training.optimisation import adamw_with_warmup
from openvocabct_training.shallow_convolutions import protect_shallow_convolutions
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import PreprocessingConfig

_MEANS = ("loss", "bce", "dice_loss", "presence", "soft_dice")


class StepResult(NamedTuple):
    """What one step gives.

    Attributes:
        loss: what is minimised.
        parts: its parts, by name.
        per_prompt_dice: (B, P) soft Dice of every prompt, NaN where it has none.
        logits: (B, P, D, H, W), detached.
        asked: (B, P) bool, prompts that this network can answer.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    per_prompt_dice: Tensor
    logits: Tensor
    asked: Tensor


class PatchTraining(pl.LightningModule):
    """Base of every trained network, so that all of them are trained by the same steps.

    Args:
        preprocessing: what the network expects of a CT.
        concepts: ids of the concepts that have a row of their own in the network.
        stride: sides of a patch are multiples of it.
        learning_rate: peak of the schedule (linear warm-up, then cosine to zero at the trainer's ``max_steps``).
        weight_decay: of AdamW.
        warmup_steps: length of the warm-up.

    Attributes:
        closed_vocabulary: the network answers ``concepts`` and nothing else.
        learning_rate_factors: see ``adamw_with_warmup``.
    """

    closed_vocabulary = False
    learning_rate_factors: Mapping[str, float] = MappingProxyType({})

    def __init__(
        self,
        preprocessing: PreprocessingConfig,
        concepts: tuple[str, ...],
        stride: int,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
    ) -> None:
        super().__init__()
        self.preprocessing, self.concepts, self.stride = preprocessing, tuple(concepts), stride
        self.learning_rate, self.weight_decay, self.warmup_steps = learning_rate, weight_decay, warmup_steps
        # A mean over the samples of all processes that leaves out those without a value.
        self.validation_means = nn.ModuleDict({name: MeanMetric(nan_strategy="ignore") for name in _MEANS})

    @abstractmethod
    def _step(self, sample: Sample) -> StepResult:
        """Loss of one batch."""

    def on_fit_start(self) -> None:
        """Guard against wrong gradients, see ``protect_shallow_convolutions``."""
        protect_shallow_convolutions(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with a run only with the concepts that it began with: rows of the network are theirs, by place.

        Raises:
            InputError: they are others, or in another order.
        """
        said = checkpoint.get("hyper_parameters", {})
        began = tuple(said["concepts"]) if "concepts" in said else concepts_in(said)
        if began is not None and began != self.concepts:
            raise InputError(
                "the run began with other concepts, or with the same in another order",
                "list them as they were, or start a new run from its checkpoint: model.initial_weights",
            )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """One optimisation step."""
        step = self._step(Sample(*batch))
        values = {"loss": step.loss, **step.parts}
        self.log_dict({f"train/{name}": value.detach() for name, value in values.items()}, prog_bar=True)
        return step.loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> StepResult:  # type: ignore[override]
        """Losses and soft Dice of fixed patches of validation patients."""
        step = self._step(Sample(*batch))
        values = {"loss": step.loss, **step.parts, "soft_dice": step.per_prompt_dice}
        for name, value in values.items():
            mean = cast(MeanMetric, self.validation_means[name])
            mean.update(value.float())
            self.log(f"validation/{name}", mean, on_step=False, on_epoch=True)
        return step

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine, stepped every optimisation step."""
        return adamw_with_warmup(
            self, self.learning_rate, self.weight_decay, self.warmup_steps, self.learning_rate_factors
        )
