"""What a run folder says about its run: code, data, seeds, versions; one line for every start and resumption."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

import OpenVocabCTLib
from openvocabct_training.data.module import PatchDataModule
from OpenVocabCTLib.output.atomic import replacing

RECORD = "run.jsonl"
_GIT_SECONDS = 10


def code_version() -> dict[str, str | bool | None]:
    """Version of the library, and commit of the checkout where there is one; ``changed``: not as committed."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {"version": OpenVocabCTLib.__version__, "commit": commit or None, "changed": bool(status)}


def _git(*arguments: str) -> str:
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""  # installed without git or without its repository
    return done.stdout.strip()


class RunRecord(pl.Callback):
    """Adds a line to ``run.jsonl`` in the run folder whenever training starts or goes on."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the line, in one process."""
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        line: dict[str, Any] = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "resumed_from": str(trainer.ckpt_path) if trainer.ckpt_path else None,
            "code": code_version(),
            "seed_everything": _seed(),
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
            "device": str(trainer.strategy.root_device),
            "libraries": {name: version(name) for name in ("torch", "pytorch-lightning", "numpy", "monai")},
            "python": platform.python_version(),
            "cpu_threads": torch.get_num_threads(),
        }
        if isinstance(data, PatchDataModule):
            line |= {"store": str(data.store.root), "manifest_sha256": data.manifest_sha256(), "data_seed": data.seed}
        path = Path(trainer.default_root_dir) / RECORD
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        with replacing(path) as temporary:
            temporary.write_text(before + json.dumps(line) + "\n", encoding="utf-8")


def _seed() -> int | None:
    said = os.environ.get("PL_GLOBAL_SEED")
    return int(said) if said else None
