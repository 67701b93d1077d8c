"""What the baselines share: the patches, prompts, losses, optimiser and schedule of the text-prompted network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from openvocabct_training.data.dataset import Sample
from openvocabct_training.losses import segmentation_loss
from openvocabct_training.patch_training import PatchTraining, StepResult
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import PreprocessingConfig
from OpenVocabCTLib.models.openvocab import window_hu
from OpenVocabCTLib.models.stunet import SIZES

KIND = "baseline"


class BaselineTraining(PatchTraining):
    """A network that answers the prompts of a patch in its own way; only prompts that have an answer are learned from.

    Args:
        preprocessing: what the network expects of a CT.
        concepts: ids of the concepts that it can answer, in the order of its rows; none if it is not asked by name.
        stride: sides of a patch are multiples of it.
        leftness_input: give the place left or right of the patient's middle as one more input channel.  The
            text-prompted network has it in its head, so a comparison without it would be one of this channel.
        deep_supervision: weights of the losses of the further outputs of ``answers``.
        learning_rate: see ``PatchTraining``.
        weight_decay: see ``PatchTraining``.
        warmup_steps: see ``PatchTraining``.

    Attributes:
        title: what it is called in tables.
    """

    title: ClassVar[str]

    def __init__(
        self,
        preprocessing: PreprocessingConfig,
        concepts: Sequence[str],
        stride: int,
        leftness_input: bool,
        deep_supervision: Sequence[float],
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
    ) -> None:
        super().__init__(preprocessing, tuple(concepts), stride, learning_rate, weight_decay, warmup_steps)
        self.leftness_input, self.deep_supervision = leftness_input, tuple(deep_supervision)

    def _lay_out(self) -> None:
        """Channels last: the fast layout of 3D convolutions in bf16."""
        self.to(memory_format=torch.channels_last_3d)

    @property
    def input_channels(self) -> int:
        """Channels of ``image``."""
        return len(self.preprocessing.hu_windows) + int(self.leftness_input)

    def image(self, hu: Tensor, leftness: Tensor) -> Tensor:
        """(B, D, H, W) HU and leftness to (B, C, D, H, W) network input."""
        windows = window_hu(hu, self.preprocessing.hu_windows)
        return torch.cat((windows, leftness[:, None].to(windows.dtype)), dim=1) if self.leftness_input else windows

    @abstractmethod
    def answers(self, sample: Sample) -> list[Tensor]:
        """(B, P, D, H, W) logits of the prompts of a batch, and those of further outputs that are supervised too."""

    def asked(self, sample: Sample) -> Tensor:
        """(B, P) bool: prompts of a batch that this network can answer."""
        return sample.valid & (sample.concept >= 0)

    def _step(self, sample: Sample) -> StepResult:
        asked = self.asked(sample)
        main, *further = [logits.float() for logits in self.answers(sample)]
        losses = segmentation_loss(main, sample.target, asked)
        loss = losses.bce + losses.dice
        for weight, logits in zip(self.deep_supervision, further, strict=False):
            other = segmentation_loss(logits, sample.target, asked)
            loss = loss + weight * (other.bce + other.dice)
        parts = {"bce": losses.bce, "dice_loss": losses.dice}
        return StepResult(loss, parts, losses.per_prompt_dice, main.detach(), asked)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say which network it is, for ``load_baseline``."""
        checkpoint[KIND] = type(self).__name__


class ClosedVocabularyTraining(BaselineTraining):
    """A baseline that answers a fixed list of concepts.

    Raises:
        InputError: the list is empty.
    """

    closed_vocabulary = True

    def __init__(self, preprocessing: PreprocessingConfig, concepts: Sequence[str], *rest: Any) -> None:
        if not concepts:
            raise InputError("a network with a closed vocabulary has no concepts", "list them in model.init_args")
        super().__init__(preprocessing, concepts, *rest)

    @abstractmethod
    def class_logits(self, image: Tensor) -> Tensor:
        """(B, C_in, D, H, W) network input to (B, C, D, H, W) logits of all concepts."""


def choose_rows(logits: Tensor, rows: Tensor) -> Tensor:
    """(B, C, D, H, W) logits of all concepts and (B, P) rows, -1 for none, to (B, P, D, H, W)."""
    return torch.stack([one[index] for one, index in zip(logits, rows.clamp(min=0), strict=True)])


def check_size(size: str) -> None:
    """Check the name of a STU-Net size.

    Raises:
        InputError: there is none of this name.
    """
    if size not in SIZES:
        raise InputError(f"there is no network size {size!r}", f"choose one of {', '.join(SIZES)}")
