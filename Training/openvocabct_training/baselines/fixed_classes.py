"""Networks without text: one output channel for every class, a CNN and a vision transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from monai.networks.blocks.dynunet_block import UnetOutBlock
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.swin_unetr import SwinUNETR
from torch import Tensor, nn

from openvocabct_training.baselines.training import ClosedVocabularyTraining, choose_rows
from openvocabct_training.data.dataset import Sample
from openvocabct_training.losses import PRIOR_LOGIT
from OpenVocabCTLib.models.config import PreprocessingConfig


class DynUNetSegmentation(ClosedVocabularyTraining):
    """A U-Net as nnU-Net builds it (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z), from MONAI.

    Classes may overlap and a case may lack some, so every class has a sigmoid of its own and is learned from where it
    is annotated.

    Args:
        preprocessing: what the network expects of a CT.
        concepts: ids of the classes.
        filters: channels of every stage, finest first.
        residual: residual blocks instead of plain ones.
        deep_supervision: weights of the losses at 1/2, 1/4, ... of full resolution.
        leftness_input: see ``BaselineTraining``.
        learning_rate: see ``PatchTraining``.
        weight_decay: see ``PatchTraining``.
        warmup_steps: see ``PatchTraining``.

    Raises:
        InputError: there are no classes.
    """

    title = "CNN (DynUNet)"

    def __init__(
        self,
        preprocessing: PreprocessingConfig,
        concepts: tuple[str, ...],
        filters: tuple[int, ...] = (32, 64, 128, 256, 320, 320),
        residual: bool = False,
        deep_supervision: tuple[float, ...] = (0.5, 0.25),
        leftness_input: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 100,
    ) -> None:
        super().__init__(
            preprocessing, concepts, 2 ** (len(filters) - 1), leftness_input, deep_supervision,
            learning_rate, weight_decay, warmup_steps,
        )  # fmt: skip
        self.save_hyperparameters()
        stages = len(filters)
        self.network = DynUNet(
            spatial_dims=3,
            in_channels=self.input_channels,
            out_channels=len(self.concepts),
            kernel_size=[3] * stages,
            strides=[1] + [2] * (stages - 1),
            upsample_kernel_size=[2] * (stages - 1),
            filters=list(filters),
            deep_supervision=bool(deep_supervision),
            deep_supr_num=max(1, len(deep_supervision)),
            res_block=residual,
        )
        expect_little(self.network)
        self._lay_out()

    def answers(self, sample: Sample) -> list[Tensor]:
        """See ``BaselineTraining``; further outputs are there in training only."""
        outputs = self.network(self.image(sample.hu, sample.leftness))
        # MONAI stacks the further outputs, upsampled, along one more axis.
        scales = outputs.unbind(1) if outputs.dim() == 6 else [outputs]
        return [choose_rows(scale, sample.concept) for scale in scales]

    def class_logits(self, image: Tensor) -> Tensor:
        """See ``ClosedVocabularyTraining``."""
        logits: Tensor = self.network(image)
        return logits


class SwinUNETRSegmentation(ClosedVocabularyTraining):
    """Swin UNETR (Hatamizadeh et al. 2022, arXiv:2201.01266), from MONAI, with a sigmoid for every class.

    Args:
        preprocessing: what the network expects of a CT.
        concepts: ids of the classes.
        feature_size: channels of the first stage, a multiple of 12.
        depths: transformer blocks of the four stages.
        num_heads: attention heads of the four stages.
        window_size: side of the attention windows, in tokens.
        use_checkpoint: compute activations again instead of keeping them, where memory is short.
        leftness_input: see ``BaselineTraining``.
        learning_rate: see ``PatchTraining``.
        weight_decay: see ``PatchTraining``.
        warmup_steps: see ``PatchTraining``.

    Raises:
        InputError: there are no classes.
    """

    title = "vision transformer (SwinUNETR)"

    def __init__(
        self,
        preprocessing: PreprocessingConfig,
        concepts: tuple[str, ...],
        feature_size: int = 24,
        depths: tuple[int, int, int, int] = (2, 2, 2, 2),
        num_heads: tuple[int, int, int, int] = (3, 6, 12, 24),
        window_size: int = 7,
        use_checkpoint: bool = False,
        leftness_input: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 100,
    ) -> None:
        super().__init__(preprocessing, concepts, 32, leftness_input, (), learning_rate, weight_decay, warmup_steps)
        self.save_hyperparameters()
        self.network = SwinUNETR(
            in_channels=self.input_channels,
            out_channels=len(self.concepts),
            depths=_four(depths),
            num_heads=_four(num_heads),
            window_size=window_size,
            feature_size=feature_size,
            use_checkpoint=use_checkpoint,
        )
        expect_little(self.network)
        self._lay_out()

    def answers(self, sample: Sample) -> list[Tensor]:
        """See ``BaselineTraining``."""
        return [choose_rows(self.class_logits(self.image(sample.hu, sample.leftness)), sample.concept)]

    def class_logits(self, image: Tensor) -> Tensor:
        """See ``ClosedVocabularyTraining``."""
        logits: Tensor = self.network(image)
        return logits


def expect_little(network: nn.Module) -> None:
    """Start the biases of all output channels of a MONAI U-Net, deep supervision's too, at ``PRIOR_LOGIT``."""
    for module in network.modules():
        if isinstance(module, UnetOutBlock):
            nn.init.constant_(cast(nn.Conv3d, module.conv.conv).bias, PRIOR_LOGIT)


def _four(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
