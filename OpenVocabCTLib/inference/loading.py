"""Reading the network of a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from OpenVocabCTLib.errors import ModelError
from OpenVocabCTLib.inference.devices import Compute
from OpenVocabCTLib.models import checkpoints
from OpenVocabCTLib.models.class_table import check_finite
from OpenVocabCTLib.models.config import ModelConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT

BANK_FILE = "text_bank.safetensors"


def load_network(folder: Path, raw: dict[str, Any], compute: Compute) -> tuple[ModelConfig, OpenVocabCT]:
    """Read a network, in evaluation mode on its device.

    Args:
        folder: of the model, whose files were verified.
        raw: its parsed ``config.json``.
        compute: device.

    Raises:
        ModelError: the files do not fit together.
    """
    from safetensors.torch import load_file

    try:
        config = ModelConfig.from_dict(raw)
        # No memory and no random numbers for weights that are replaced; those in the file are mapped, not read.
        with torch.device("meta"):
            model = OpenVocabCT(config.architecture, config.preprocessing)
        state = {name: tensor.float() for name, tensor in load_file(folder / checkpoints.WEIGHTS_FILE).items()}
        for name, tensor in state.items():
            check_finite(name, tensor)
        model.load_state_dict(state, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"the files of model {folder.name!r} do not fit together", "install the model again"
        ) from error
    model.eval().requires_grad_(False)
    model.to(compute.device, memory_format=compute.memory_format)  # type: ignore[call-overload]
    return config, model
