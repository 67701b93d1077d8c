"""Pictures of what a network says about validation patches: CT, reference, answer."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from openvocabct_training.data.dataset import Sample
from openvocabct_training.patch_training import StepResult
from OpenVocabCTLib.output.atomic import replacing

FOLDER = "previews"
_WINDOW = (-160.0, 240.0)
_OPACITY = 0.5
_GAP = 2


class PatchPreviews(pl.Callback):
    """Writes ``previews/step_*.png`` in the run folder after every validation.

    Args:
        patches: how many of the fixed validation patches are shown, one row each.
    """

    def __init__(self, patches: int = 4) -> None:
        self.patches = patches
        self._rows: list[np.ndarray] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last validation."""
        self._rows = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: StepResult,  # type: ignore[override]
        batch: list[Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first patches, in one process."""
        if not trainer.is_global_zero:
            return
        sample = Sample(*batch)
        for index in range(min(len(sample.hu), self.patches - len(self._rows))):
            parts = (sample.hu[index], sample.target[index], outputs.logits[index] > 0.0, outputs.asked[index])
            self._rows.append(draw(*(part.detach().cpu() for part in parts)))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the picture."""
        if not self._rows or trainer.sanity_checking:
            return
        folder = Path(trainer.default_root_dir) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"step_{trainer.global_step:07d}.png") as temporary:
            matplotlib.image.imsave(temporary, np.concatenate(self._rows), format="png")


def draw(hu: Tensor, reference: Tensor, answer: Tensor, asked: Tensor) -> np.ndarray:
    """One row: the axial slice that shows most of the structures, plain, with the reference, with the answer.

    Args:
        hu: (D, H, W) along (S, A, R).
        reference: (P, D, H, W) bool.
        answer: (P, D, H, W) bool.
        asked: (P,) bool, prompts that are shown.

    Returns:
        (H + gap, 3 * W + 2 * gap, 3) uint8, the patient's front at the top and the right on the left-hand side, as
        radiologists look at a CT.
    """
    shown = [reference[asked].bool(), answer[asked].bool()]
    filled = shown[0].sum((0, 2, 3))
    level = int(filled.argmax()) if filled.any() else hu.shape[0] // 2
    grey = ((hu[level].float() - _WINDOW[0]) / (_WINDOW[1] - _WINDOW[0])).clamp(0.0, 1.0)
    plain = grey[..., None].expand(*grey.shape, 3)
    panels = [plain, *(_tinted(plain, masks[:, level]) for masks in shown)]
    # Front is at the high end of A, the patient's right at the high end of R.
    upright = [np.pad(panel.flip(0, 1).numpy(), ((0, _GAP), (0, _GAP), (0, 0))) for panel in panels]
    return (np.concatenate(upright, axis=1)[:, :-_GAP] * 255.0).round().astype(np.uint8)


def _tinted(plain: Tensor, masks: Tensor) -> Tensor:
    """(H, W, 3) with every one of (P, H, W) masks in a colour of its own."""
    palette = torch.tensor(matplotlib.colormaps["tab10"].colors)  # type: ignore[attr-defined]
    picture = plain.clone()
    for index, mask in enumerate(masks):
        colour = palette[index % len(palette)].float()
        picture[mask] = (1.0 - _OPACITY) * picture[mask] + _OPACITY * colour
    return picture
