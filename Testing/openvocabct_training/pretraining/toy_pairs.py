"""Pairs with all that the losses know: repeated texts, normal captions, opposites, padding; and two processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openvocabct_training.pretraining.contrastive import ContrastiveLoss, Pairs
from openvocabct_training.pretraining.network import ContrastiveNetwork
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from Testing.openvocabct_training.process_group import with_others

VIEW = (8, 8, 16)
ORGANS = 2
TEXT_DIM = 12


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double), dim=-1)


def toy_pairs(count: int = 6, dim: int = 5) -> Pairs:
    """Texts 0 and 3 are the same; 1 and 4 call the same organ normal; 5 is padding; 0 and 2 have an opposite."""
    return Pairs(
        image=unit(count, dim, seed=1),
        text=unit(count, dim, seed=2),
        valid=torch.arange(count) != 5,
        words=torch.tensor([7, 1, 2, 7, 4, 9])[:count],
        normal=torch.tensor([-1, 30, -1, -1, 30, 30])[:count],
        opposite=unit(count, dim, seed=3),
        opposed=torch.tensor([True, False, True, False, False, True])[:count],
    )


class Step(nn.Module):
    """Loss of whole scans (SigLIP) and organs (InfoNCE) as the output of a module, for ``DistributedDataParallel``."""

    def __init__(self, chunk: int = 0) -> None:
        super().__init__()
        architecture = ArchitectureConfig(size="nano", embedding_dim=4, text_dim=TEXT_DIM)
        self.network = ContrastiveNetwork(architecture, PreprocessingConfig(tile=VIEW), 8, organs=True, chunk=chunk)
        self.report_loss, self.organ_loss = ContrastiveLoss("siglip", 0.5), ContrastiveLoss("infonce", 0.5)

    def forward(self, batch: list[Tensor]) -> Tensor:
        hu, masks, drawn, names, reports, captions, opposites, words, valid = batch
        scans = self.network.encode_scans(hu, masks, drawn, names)
        nothing = torch.zeros(len(hu), dtype=torch.bool)
        text = self.network.encode_reports(reports)
        group = torch.full((len(hu),), -1)
        loss: Tensor = self.report_loss(Pairs(scans.scan, text, ~nothing, words[:, 0], group, text * 0, nothing))
        assert scans.organ is not None
        encode = self.network.encode_captions
        organs = Pairs(
            scans.organ.flatten(0, 1),
            encode(captions.flatten(0, 1)),
            valid.flatten(),
            words.flatten(),
            torch.where(words.flatten() % 2 == 0, 5, -1),
            encode(opposites.flatten(0, 1)),
            valid.flatten(),
        )
        added: Tensor = loss + self.organ_loss(organs)
        return added


def toy_batch(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    hu = torch.randn(count, *VIEW, generator=generator) * 300
    masks = torch.rand(count, ORGANS, *VIEW, generator=generator) < 0.01
    drawn = torch.rand(count, ORGANS, generator=generator) < 0.5
    names, captions, opposites = (
        F.normalize(torch.randn(count, ORGANS, TEXT_DIM, generator=generator), dim=-1) for _ in range(3)
    )
    reports = F.normalize(torch.randn(count, TEXT_DIM, generator=generator), dim=-1)
    words = torch.arange(count * ORGANS).reshape(count, ORGANS)
    valid = torch.ones(count, ORGANS, dtype=torch.bool)
    valid[0, 1] = False
    return [hu, masks, drawn, names, reports, captions, opposites, words, valid]


def gradients(rank: int, processes: int, chunk: int, meeting_point: str, output: str) -> None:
    """Loss and gradients of a batch of four, dealt out to the processes; the first one writes them."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = Step(chunk)
    size = 4 // processes
    batch = [part[rank * size : (rank + 1) * size] for part in toy_batch(4)]

    def work(shared: Callable[[nn.Module], nn.Module]) -> None:
        module = shared(step)
        loss = module(batch)
        loss.backward()  # with the module alive: it adds up the gradients of the processes
        if rank == 0:
            found: dict[str, Any] = {n: w.grad.clone() for n, w in step.named_parameters() if w.grad is not None}
            torch.save({"loss": float(loss.detach()), "gradients": found}, output)

    with_others(work, rank, processes, meeting_point)


def result(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content
