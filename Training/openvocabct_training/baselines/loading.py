"""A checkpoint of a baseline becomes a predictor."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch

from openvocabct_training.baselines.fixed_classes import DynUNetSegmentation, SwinUNETRSegmentation
from openvocabct_training.baselines.predictor import ClosedVocabularyPredictor, Predictor, VisualPromptPredictor
from openvocabct_training.baselines.training import KIND, BaselineTraining, ClosedVocabularyTraining
from openvocabct_training.baselines.universal_model import UniversalModelSegmentation
from openvocabct_training.baselines.visual_prompt import VisualPromptSegmentation
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.devices import Precision, choose_compute
from OpenVocabCTLib.models.config import ArchitectureConfig, DecisionConfig, ModelConfig, PreprocessingConfig

BASELINES: Mapping[str, type[BaselineTraining]] = {
    kind.__name__: kind
    for kind in (
        DynUNetSegmentation,
        SwinUNETRSegmentation,
        UniversalModelSegmentation,
        VisualPromptSegmentation,
    )
}

# A checkpoint of a module that Python code made holds it; one that LightningCLI made holds plain dictionaries.
torch.serialization.add_safe_globals([PreprocessingConfig])


def load_baseline(
    checkpoint: Path,
    device: str = "auto",
    precision: Precision = "auto",
    min_volume_ml: float = DecisionConfig.min_volume_ml,
) -> Predictor:
    """Read a checkpoint that ``openvocabct-train fit`` wrote for one of ``BASELINES``.

    Args:
        checkpoint: ``.ckpt`` file; its averaged weights are used.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "fp32" or "low" (16 bits).
        min_volume_ml: masks smaller than this are not found.

    Raises:
        InputError: there is no such file, it is something else, or the device does not exist.
    """
    if not checkpoint.is_file():
        raise InputError(f"there is no checkpoint {checkpoint}", "check the path")
    try:
        content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
        kind = BASELINES[content[KIND]]
        module = kind(**_arguments(kind, content["hyper_parameters"]))
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"])
    except (pickle.UnpicklingError, EOFError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{checkpoint} is no checkpoint of a baseline ({type(error).__name__})",
            f"give a .ckpt file of one of {', '.join(BASELINES)}",
        ) from error
    compute = choose_compute(device, precision)
    module.eval().requires_grad_(False).to(compute.device)
    if isinstance(module, ClosedVocabularyTraining):
        return ClosedVocabularyPredictor(module, compute, min_volume_ml)
    if isinstance(module, VisualPromptSegmentation):
        return VisualPromptPredictor(module, compute, min_volume_ml)
    raise AssertionError(f"{kind.__name__} has no predictor")


def _arguments(kind: type[BaselineTraining], hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the network's class; LightningCLI adds entries of its own."""
    known = inspect.signature(kind).parameters
    arguments = {name: value for name, value in hyperparameters.items() if name in known}
    section = arguments["preprocessing"]
    whole = {"architecture": asdict(ArchitectureConfig())}
    whole["preprocessing"] = asdict(section) if is_dataclass(section) else dict(section)  # type: ignore[arg-type]
    return {**arguments, "preprocessing": ModelConfig.from_dict(whole).preprocessing}
