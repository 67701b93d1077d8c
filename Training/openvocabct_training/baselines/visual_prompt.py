"""A network that is asked with a click instead of words, as the Segment Anything models are."""

from __future__ import annotations

import torch
from torch import Tensor

from openvocabct_training.baselines.click_heads import CLICK_HEADS, ClickHeadName
from openvocabct_training.baselines.training import BaselineTraining, check_size
from openvocabct_training.clicks import centre_most_voxel
from openvocabct_training.data.dataset import Sample
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import PreprocessingConfig
from OpenVocabCTLib.models.stunet import SIZES, STUNet


class VisualPromptSegmentation(BaselineTraining):
    """STU-Net backbone and a head that is asked with clicks.

    Every prompt is one click inside of its structure: a random voxel in training, the centre-most one in validation.
    A structure that is not there cannot be clicked on, so what is absent teaches nothing.

    Args:
        preprocessing: what the network expects of a CT.
        size: of the STU-Net backbone.
        head: "query", which learns soon, or "vista3d", whose attention needs far more steps: see ``click_heads``.
        leftness_input: see ``BaselineTraining``.
        learning_rate: see ``PatchTraining``.
        weight_decay: see ``PatchTraining``.
        warmup_steps: see ``PatchTraining``.

    Raises:
        InputError: there is no such size, or no such head.
    """

    title = "visual prompt (one click)"

    def __init__(
        self,
        preprocessing: PreprocessingConfig,
        size: str = "small16",
        head: ClickHeadName = "query",
        leftness_input: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 100,
    ) -> None:
        check_size(size)
        if head not in CLICK_HEADS:
            raise InputError(f"there is no head {head!r}", f"choose one of {', '.join(CLICK_HEADS)}")
        channels = SIZES[size].channels
        stride = 2 ** (len(channels) - 1)
        super().__init__(preprocessing, (), stride, leftness_input, (), learning_rate, weight_decay, warmup_steps)
        self.save_hyperparameters()
        self.backbone = STUNet(channels, SIZES[size].depth, in_channels=self.input_channels)
        self.head = CLICK_HEADS[head](channels[0], preprocessing.voxel_mm)
        self._lay_out()

    def asked(self, sample: Sample) -> Tensor:
        """See ``BaselineTraining``: structures that are in the patch."""
        return sample.valid & sample.target.flatten(2).any(2)

    def answers(self, sample: Sample) -> list[Tensor]:
        """See ``BaselineTraining``."""
        features, _ = self.backbone(self.image(sample.hu, sample.leftness))
        asked = self.asked(sample)
        with torch.autocast(sample.hu.device.type, enabled=False):
            patches = [
                self._answer_patch(features[-1][index : index + 1].float(), sample.target[index], asked[index])
                for index in range(len(asked))
            ]
        return [torch.stack(patches)]

    def click(self, features: Tensor, clicks: Tensor) -> Tensor:
        """(1, C, D, H, W) features and (n, 3) voxel indices inside of n structures to (n, D, H, W) logits."""
        logits: Tensor = self.head(features, clicks)
        return logits

    def _answer_patch(self, features: Tensor, target: Tensor, asked: Tensor) -> Tensor:
        prompts = torch.nonzero(asked).flatten()
        nothing = features.new_zeros(target.shape)
        if not len(prompts):
            # The head takes part in every step all the same, as a distributed run expects; its answer counts nothing.
            return nothing + 0.0 * self.click(features, torch.zeros(1, 3, dtype=torch.long))
        clicks = torch.tensor([self._choose_click(target[index]) for index in prompts])
        return nothing.index_copy(0, prompts, self.click(features, clicks))

    def _choose_click(self, mask: Tensor) -> tuple[int, int, int]:
        if not self.training:
            return centre_most_voxel(mask.cpu().numpy(), self.preprocessing.voxel_mm)
        voxels = torch.nonzero(mask)
        # A function of step, process and mask only, so that a resumed run clicks where the first one would have.
        seed = (self.global_step * 1009 + self.global_rank) * 100_003 + len(voxels)
        chosen = torch.randint(len(voxels), (1,), generator=torch.Generator().manual_seed(seed))
        first, second, third = voxels[int(chosen)].tolist()
        return first, second, third
