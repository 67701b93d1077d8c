"""A model folder with real hashes around tiny weights, for tests that need a model but no network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

PARAMETERS = 2 * 3 * 4 + 5


def write_model_folder(folder: Path, **changes: Any) -> Path:
    """Write a small, intact model folder; `changes` replace entries of its configuration."""
    folder.mkdir(parents=True)
    save_file({"a": np.zeros((2, 3, 4), np.float32), "b": np.ones(5, np.float32)}, folder / "model.safetensors")
    save_file({"embeddings": np.eye(3, dtype=np.float32)}, folder / "text_bank.safetensors")
    (folder / "MODEL_CARD.md").write_text("# A test model\n", encoding="utf-8")
    config = {
        "name": folder.name,
        "version": "1.2.3",
        "description": "A model for tests.",
        "licence": "Apache-2.0",
        "architecture": {"size": "tiny"},
        "preprocessing": {"spacing_mm": 3.0},
        "concepts": {"left_lung": {"cases": 7, "dice": 0.91}, "spinal_cord": {"cases": 2, "dice": None}},
        "sha256": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "text_bank.safetensors")
        },
    }
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    return folder
