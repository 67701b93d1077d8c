"""CLIP-Driven Universal Model (Liu et al. 2023, arXiv:2301.00785), written from the paper's description.

The text embedding of every class and the pooled image feature are joined and give, through an MLP, the parameters of
three 1x1x1 convolutions (8, 8 and 1 channels), which that class's mask is made with.  The vocabulary is closed: the
text says how classes are related, it is not a prompt.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from openvocabct_training.baselines.training import ClosedVocabularyTraining, check_size
from openvocabct_training.data.dataset import Sample
from openvocabct_training.losses import PRIOR_LOGIT
from OpenVocabCTLib.models.config import PreprocessingConfig
from OpenVocabCTLib.models.stunet import SIZES, STUNet
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder

# The paper's wording with the best results.
TEMPLATE = "a computerized tomography of a {}"
_TEXT_KEY = "class_text"
_CLASSES_AT_ONCE = 4


class DynamicHead(nn.Module):
    """Three 1x1x1 convolutions whose parameters are made for every class and every patch.

    Args:
        feature_channels: channels C of the decoder's features.
        pooled_channels: channels of the bottleneck that is pooled to the global image feature.
        text_dim: length of a class's text embedding.
        hidden: length to which text embedding and image feature are brought before they are joined.
        width: channels of the first two dynamic convolutions.
    """

    def __init__(
        self, feature_channels: int, pooled_channels: int, text_dim: int, hidden: int = 256, width: int = 8
    ) -> None:
        super().__init__()
        self.width = width
        self.text = nn.Sequential(nn.Linear(text_dim, hidden), nn.ReLU())
        self.pooled = nn.Sequential(nn.Linear(pooled_channels, hidden), nn.ReLU())
        self.reduce = nn.Conv3d(feature_channels, width, 1)
        self.sizes = (width * width, width, width * width, width, width, 1)
        parameters = nn.Linear(hidden, sum(self.sizes))
        nn.init.constant_(parameters.bias[-1:], PRIOR_LOGIT)
        self.controller = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), parameters)

    def forward(self, features: Tensor, bottleneck: Tensor, text: Tensor) -> Tensor:
        """Make the masks of classes.

        Args:
            features: (B, C, D, H, W) decoder features at full resolution.
            bottleneck: (B, C', d, h, w) coarsest features, pooled here.
            text: (B, P, text_dim) unit-length text embeddings of the classes that are asked of each patch.

        Returns:
            (B, P, D, H, W) logits.
        """
        batch, classes = text.shape[:2]
        pooled = self.pooled(bottleneck.mean((2, 3, 4)))[:, None].expand(-1, classes, -1)
        worded = self.text(text * math.sqrt(text.shape[-1]))  # components of about 1, as the MLP wants them
        parameters = self.controller(torch.cat((worded, pooled), dim=2)).split(self.sizes, dim=2)
        hidden = self.reduce(features).flatten(2)[:, None].expand(-1, classes, -1, -1)
        for weight, bias in (parameters[0:2], parameters[2:4]):
            matrix = weight.reshape(batch, classes, self.width, self.width)
            hidden = torch.relu(matrix @ hidden + bias[..., None])
        logits = parameters[4][:, :, None] @ hidden + parameters[5][..., None]
        return logits.reshape(batch, classes, *features.shape[2:])


class UniversalModelSegmentation(ClosedVocabularyTraining):
    """The CLIP-Driven Universal Model on the STU-Net backbone, with this project's frozen text encoder.

    Args:
        preprocessing: what the network expects of a CT.
        concepts: ids of the classes.
        size: of the STU-Net backbone.
        text_dim: length of the text encoder's embeddings.
        leftness_input: see ``BaselineTraining``.
        learning_rate: see ``PatchTraining``.
        weight_decay: see ``PatchTraining``.
        warmup_steps: see ``PatchTraining``.

    Raises:
        InputError: there are no classes, or no such size.
    """

    title = "CLIP-Driven Universal Model"

    def __init__(
        self,
        preprocessing: PreprocessingConfig,
        concepts: tuple[str, ...],
        size: str = "small16",
        text_dim: int = 384,
        leftness_input: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 100,
    ) -> None:
        check_size(size)
        channels = SIZES[size].channels
        stride = 2 ** (len(channels) - 1)
        super().__init__(preprocessing, concepts, stride, leftness_input, (), learning_rate, weight_decay, warmup_steps)
        self.save_hyperparameters()
        self.backbone = STUNet(channels, SIZES[size].depth, in_channels=self.input_channels)
        self.head = DynamicHead(channels[0], channels[-1], text_dim)
        self._lay_out()
        # No buffer: it is known only when a run begins, after weight averaging has copied the network.
        self.class_text = torch.zeros(len(self.concepts), text_dim)

    def setup(self, stage: Literal["fit", "validate", "test", "predict"]) -> None:  # type: ignore[override]
        """Embed the names of the classes, unless a checkpoint brought them."""
        if not self.class_text.any():
            vocabulary = Vocabulary.load()
            names = [TEMPLATE.format(vocabulary.get(concept).name) for concept in self.concepts]
            self.class_text = torch.from_numpy(HuggingFaceTextEncoder.default().encode(names)).float()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the text embeddings with the weights: the text encoder is not needed again."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[_TEXT_KEY] = self.class_text

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the text embeddings from the checkpoint."""
        super().on_load_checkpoint(checkpoint)
        self.class_text = checkpoint[_TEXT_KEY]

    def answers(self, sample: Sample) -> list[Tensor]:
        """See ``BaselineTraining``; the words of the prompt play no part, only the class does."""
        text = self.class_text.to(sample.hu.device)[sample.concept.clamp(min=0)]
        features, bottleneck = self.backbone(self.image(sample.hu, sample.leftness))
        with torch.autocast(sample.hu.device.type, enabled=False):
            return [self.head(features[-1].float(), bottleneck.float(), text)]

    def class_logits(self, image: Tensor) -> Tensor:
        """See ``ClosedVocabularyTraining``."""
        features, bottleneck = self.backbone(image)
        text = self.class_text.to(image.device).expand(image.shape[0], -1, -1)
        with torch.autocast(image.device.type, enabled=False):
            # A few at a time: every class has its own hidden layers at full resolution.
            parts = [
                self.head(features[-1].float(), bottleneck.float(), some)
                for some in text.split(_CLASSES_AT_ONCE, dim=1)
            ]
        return torch.cat(parts, dim=1)
