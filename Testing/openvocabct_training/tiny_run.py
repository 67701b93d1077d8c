"""A real training run that takes seconds: configuration, command line, checkpoints."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml

from openvocabct_training import cli
from openvocabct_training.data.store import CaseStore
from Testing.openvocabct_training.toys import TEXT_DIM

PATCH = [32, 32, 64]
CONCEPTS = ("left_parotid_gland", "right_parotid_gland", "spinal_cord", "liver")  # those with a query of their own
SAMPLES_PER_EPOCH = 2


def configuration(store: CaseStore, folder: Path, max_steps: int) -> dict[str, Any]:
    """The shipped configuration's structure at the smallest size, in fp32; a checkpoint of every epoch is kept."""
    checkpoint = {"dirpath": str(folder / "checkpoints"), "save_last": True, "save_top_k": -1, "every_n_epochs": 1}
    return {
        "seed_everything": 0,
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "precision": "32-true",
            "max_steps": max_steps,
            "gradient_clip_val": 1.0,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "default_root_dir": str(folder),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "callbacks": [
                {
                    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
                    "init_args": {**checkpoint, "save_on_train_epoch_end": True},
                },
                {"class_path": "pytorch_lightning.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}},
            ],
        },
        "model": {
            "architecture": {
                "size": "tiny",
                "embedding_dim": 8,
                "text_dim": TEXT_DIM,
                "query_hidden_dim": 16,
                "concepts": list(CONCEPTS),
            },
            "preprocessing": {"spacing_mm": 3.0, "tile": PATCH},
            "warmup_steps": 1,
        },
        "data": {
            "store": str(store.root),
            "batch_size": 1,
            "samples_per_epoch": SAMPLES_PER_EPOCH,
            "validation_samples": 1,
            "sampling": {
                "patch": PATCH,
                "dataset_weights": {"openkbp": 0.7, "totalsegmentator": 0.3},
                "positives": 3,
                "negatives": 1,
            },
            "augmentation": {},
        },
    }


def write_configuration(path: Path, configuration: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    return path


def train(store: CaseStore, folder: Path, *arguments: str, max_steps: int = 2 * SAMPLES_PER_EPOCH) -> Path:
    """Train through the command line; gives the folder of the checkpoints."""
    fit(write_configuration(folder / "input" / "config.yaml", configuration(store, folder, max_steps)), *arguments)
    return folder / "checkpoints"


def fit(path: Path, *arguments: str) -> None:
    """``openvocabct-train fit`` with a configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises more workers and a logger
        cli.main(["fit", "--config", str(path), *arguments])


class KillAt(pl.Callback):
    """``kill -9`` of the own process before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
