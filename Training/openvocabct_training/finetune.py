"""Text-prompted segmentation as a Lightning module: masked BCE + Dice, deep supervision, presence."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openvocabct_training.data.dataset import Sample
from openvocabct_training.initial_weights import start_from
from openvocabct_training.losses import PRIOR_LOGIT, presence_loss, segmentation_loss
from openvocabct_training.patch_training import PatchTraining, StepResult
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.heads import Queries, presence_logits, voxel_logits
from OpenVocabCTLib.models.openvocab import ImageFeatures, OpenVocabCT
from OpenVocabCTLib.models.stunet import SIZES

# Resuming a run of a module that Python code made needs these; LightningCLI saves plain dictionaries instead.
torch.serialization.add_safe_globals([ArchitectureConfig, PreprocessingConfig])


class TextPromptedSegmentation(PatchTraining):
    """Trains an ``OpenVocabCT`` network; the frozen text encoder's embeddings come with the samples.

    Args:
        architecture: sizes of the network.
        preprocessing: what the network expects of a CT; stored with the exported model.
        learning_rate: peak of the schedule (linear warm-up, then cosine to zero at the trainer's ``max_steps``).
        weight_decay: of AdamW.
        warmup_steps: length of the warm-up.
        deep_supervision: weights of the losses at 1/2, 1/4, ... of full resolution.
        presence_weight: weight of the presence loss.
        initial_weights: checkpoint of another run, a model folder, or a ``.safetensors`` file with the parameters of
            a published STU-Net, to start from; parameters that it lacks keep their own start.
        partial_weights: take from ``initial_weights`` what has the right name and size, queries of concepts by the
            concepts' names, and say what was taken; otherwise whatever does not fit is an error.
        concept_rate: learning rate of the concepts' own corrections of their queries, relative to ``learning_rate``.
            At 1 those of a structure that few patches show are left behind by the image tower and by the MLP, which
            every prompt moves; at 10 a step moves a query by a twentieth of its length, and the tower has to follow.
            See Training/COMPARISON.md.
        init_from: another name of ``initial_weights``; a checkpoint of ``openvocabct-train pretrain`` for example.
        channels_last: lay out voxels with channels last, the fast layout of 3D convolutions in bf16.  The results
            are the same up to rounding; in fp32 on a CPU, or on other hardware, the other layout may be the faster one.

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
        partial_weights: bool = False,
        channels_last: bool = True,
        init_from: str | None = None,
        concept_rate: float = 3.0,
    ) -> None:
        if initial_weights is not None and init_from is not None:
            raise InputError("model.initial_weights and model.init_from are both given", "give one of them")
        if architecture.size not in SIZES:
            raise InputError(f"there is no network size {architecture.size!r}", f"choose one of {', '.join(SIZES)}")
        channels = SIZES[architecture.size].channels
        stride = 2 ** (len(channels) - 1)
        super().__init__(preprocessing, architecture.concepts, stride, learning_rate, weight_decay, warmup_steps)
        self.save_hyperparameters()
        if len(deep_supervision) > len(channels) - 2:
            raise InputError(
                f"deep_supervision has {len(deep_supervision)} weights", f"give at most {len(channels) - 2}"
            )
        self.model = OpenVocabCT(architecture, preprocessing)
        nn.init.constant_(self.model.query_head.voxel.bias[-1:], PRIOR_LOGIT)
        if not architecture.concepts:
            # A distributed run waits for the gradient of every parameter, of an empty one too.
            self.model.concept_queries.requires_grad_(False)
        # Used in training only: coarse voxel embeddings that the same queries are asked of.
        convolutions = [
            nn.Conv3d(channels[level + 1], architecture.embedding_dim, 1) for level in range(len(deep_supervision))
        ]
        for convolution in convolutions:
            # Random features times the large queries of a run that starts from others' weights would drown its loss.
            nn.init.zeros_(convolution.weight)
        self.auxiliary = nn.ModuleList(convolutions)
        self.deep_supervision, self.presence_weight = deep_supervision, presence_weight
        self.learning_rate_factors = {"model.concept_queries": concept_rate}
        start = initial_weights or init_from
        if start is not None:
            start_from(self, Path(start), partial_weights)
        if channels_last:
            self.model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

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

        logits = ask(image.embedding)
        main = segmentation_loss(logits, sample.target, sample.valid)
        loss = main.bce + main.dice
        left = sample.leftness[:, None]
        for level, weight in enumerate(self.deep_supervision):
            left = F.avg_pool3d(left, 2)
            features = self.auxiliary[level](image.decoder[-2 - level].float())
            # The share of each coarse voxel that the structure fills.  A maximum would swell the structure, and the
            # queries, which are those of full resolution, would have to answer for both sizes at once.
            target = F.avg_pool3d(sample.target.float(), 2 ** (level + 1))
            coarse = segmentation_loss(ask(torch.cat((features, left), dim=1)), target, sample.valid)
            loss = loss + weight * (coarse.bce + coarse.dice)
        tokens = image.presence.float()
        asked = torch.stack([presence_logits(token, its) for token, its in zip(tokens, queries, strict=True)])
        presence = presence_loss(asked, sample.target.sum((2, 3, 4)), sample.valid)
        loss = loss + self.presence_weight * presence
        parts = {"bce": main.bce, "dice_loss": main.dice, "presence": presence}
        return StepResult(loss, parts, main.per_prompt_dice, logits.detach(), sample.valid)
