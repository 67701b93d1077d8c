"""The four baselines at their smallest, and a patch to ask them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from openvocabct_training.baselines import (
    DynUNetSegmentation,
    SwinUNETRSegmentation,
    UniversalModelSegmentation,
    VisualPromptSegmentation,
)
from openvocabct_training.baselines.training import BaselineTraining
from openvocabct_training.data.dataset import Sample
from OpenVocabCTLib.models.config import PreprocessingConfig
from Testing.openvocabct_training.toys import TEXT_DIM, head_phantom

CONCEPTS = ("left_parotid_gland", "right_parotid_gland", "spinal_cord")
PATCH = (32, 32, 64)
PREPROCESSING = PreprocessingConfig(tile=PATCH)


def dyn_unet(**changes: Any) -> DynUNetSegmentation:
    return DynUNetSegmentation(PREPROCESSING, CONCEPTS, filters=(4, 4, 8, 8, 8, 8), **changes)


def swin_unetr(**changes: Any) -> SwinUNETRSegmentation:
    return SwinUNETRSegmentation(PREPROCESSING, CONCEPTS, feature_size=12, depths=(1, 1, 1, 1), **changes)


def universal(**changes: Any) -> UniversalModelSegmentation:
    module = UniversalModelSegmentation(PREPROCESSING, CONCEPTS, size="tiny", text_dim=TEXT_DIM, **changes)
    module.class_text = torch.nn.functional.normalize(torch.eye(len(CONCEPTS), TEXT_DIM))
    return module


def visual(**changes: Any) -> VisualPromptSegmentation:
    return VisualPromptSegmentation(PREPROCESSING, size="tiny", **changes)


ALL: dict[str, Callable[..., BaselineTraining]] = {
    "cnn": dyn_unet,
    "vit": swin_unetr,
    "universal": universal,
    "visual": visual,
}


def one_sample(concepts: tuple[int, ...] = (0, 1, -1)) -> Sample:
    """A patch of the head phantom asked for both parotids, and for something that no row is about; one padding."""
    hu, masks = head_phantom()
    window = (slice(0, 32), slice(6, 38))
    image = torch.full((1, *PATCH), -1024.0)
    image[0, ..., :48] = torch.from_numpy(hu[window].astype("float32"))
    target = torch.zeros(1, 4, *PATCH, dtype=torch.bool)
    for index, concept in enumerate(CONCEPTS[:2]):
        target[0, index, ..., :48] = torch.from_numpy(masks[concept][window])
    return Sample(
        hu=image,
        text=torch.zeros(1, 4, TEXT_DIM),
        target=target,
        valid=torch.tensor([[True, True, True, False]]),
        side=torch.zeros(1, 4),
        leftness=torch.linspace(1.0, -1.0, PATCH[2]).expand(1, *PATCH),
        concept=torch.tensor([[*concepts, -1]]),
    )


def save(module: BaselineTraining, path: Path) -> Path:
    """A checkpoint as Lightning writes it, without a run."""
    content: dict[str, Any] = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(content)
    torch.save(content, path)
    return path
