"""A small store with reports and captions, and a configuration of pretraining that takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openvocabct_training.data.store import CaseStore
from openvocabct_training.pretraining.corpus import CAPTIONS, REPORTS, ReportRow, write_decompositions, write_reports
from openvocabct_training.reports.items import report_sha256
from openvocabct_training.reports.rules import RulesBackend
from Testing.openvocabct_training.toys import TEXT_DIM, head_phantom

VIEW = (16, 16, 32)
TRAIN, VALIDATION = 5, 3


def report_of(number: int) -> ReportRow:
    size = ("small", "large", "of medium size")[number % 3]
    findings = f"The left parotid gland is {size}. The spinal cord is normal. No nodule in lung {number}."
    labels = {"Lung nodule": number % 2, "Emphysema": 1}
    return ReportRow(f"toy/{number}_1", f"toy/{number}", findings, f"Number {number}.", labels)


def write_corpus(root: Path) -> CaseStore:
    """Five training and three validation studies; the first has two reconstructions."""
    store, records, rows = CaseStore(root), [], []
    hu, masks = head_phantom()
    for number in range(TRAIN + VALIDATION):
        row = report_of(number)
        cases = [row.case, f"toy/{number}_2"] if number == 0 else [row.case]
        for case in cases:
            records.append(
                store.write_case(
                    (hu + 20 * number).clip(-1000, 3000).astype(np.int16),
                    masks,
                    case=case,
                    dataset="toy",
                    split="train" if number < TRAIN else "validation",
                    licence="none",
                    spacing=(3.0, 3.0, 3.0),
                    absent=(),
                    symmetric=False,
                )
            )
            rows.append(replace(row, case=case))
    store.write_manifest(records)
    write_reports(root / REPORTS, rows)
    rules = RulesBackend()
    write_decompositions(root / CAPTIONS, {report_sha256(row.text): rules.decompose(row.text) for row in rows}.items())
    return store


def configuration(store: CaseStore, folder: Path, max_steps: int, organ_weight: float = 1.0) -> dict[str, Any]:
    checkpoint = {"dirpath": str(folder / "checkpoints"), "save_last": True, "save_top_k": -1, "filename": "{step}"}
    return {
        "seed_everything": 0,
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "precision": "32-true",
            "max_steps": max_steps,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "default_root_dir": str(folder),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "callbacks": [
                {
                    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
                    "init_args": {**checkpoint, "every_n_train_steps": 1},
                }
            ],
        },
        "model": {
            "architecture": {"size": "nano", "embedding_dim": 8, "text_dim": TEXT_DIM},
            "preprocessing": {"spacing_mm": 3.0, "tile": list(VIEW)},
            "dim": 8,
            "organ_weight": organ_weight,
            "warmup_steps": 1,
        },
        "data": {
            "store": str(store.root),
            "batch_size": 2,
            "view": {"size": list(VIEW), "organs": 3, "shift": 1},
            "augmentation": {},
        },
    }
