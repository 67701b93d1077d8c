"""One process of a distributed run: two optimisation steps, its losses, and the gradients of the first one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import default_collate

from openvocabct_training.data.augment import AugmentationConfig
from openvocabct_training.data.dataset import PatchDataset, Sample
from openvocabct_training.data.sampling import PatchSampler, SamplingConfig
from openvocabct_training.data.store import CaseStore
from openvocabct_training.finetune import TextPromptedSegmentation
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training.process_group import with_others
from Testing.openvocabct_training.toys import OneHotPhrases

PATCH = (32, 32, 64)
CONCEPTS = (
    "left_parotid_gland",
    "right_parotid_gland",
    "spinal_cord",
    "liver",
    "left_kidney",
    "right_kidney",
    "spleen",
)
STEPS = 2


class Loss(nn.Module):
    """The training loss as the output of a module, as ``DistributedDataParallel`` wants it."""

    def __init__(self, network: TextPromptedSegmentation) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: list[Tensor]) -> Tensor:
        """Loss of a batch."""
        double = (part.double() if part.is_floating_point() else part for part in sample)
        return self.network._step(Sample(*double)).loss


def batches(store: CaseStore, processes: int, rank: int, batch_size: int) -> list[list[Tensor]]:
    """Batches of a process: patches with different numbers of prompts, some with nothing in them."""
    sampling = SamplingConfig(patch=PATCH, dataset_weights="auto", positives=3, negatives=2, nonsense_probability=0.5)
    trained = CONCEPTS[:-1]
    data = PatchDataset(
        store, "train", trained, OneHotPhrases(CONCEPTS), Vocabulary.load(), sampling, AugmentationConfig(),  # type: ignore[arg-type]
        seed=0, epoch=0, length=2 * STEPS, concepts=trained,
    )  # fmt: skip
    indices = list(PatchSampler(data, processes, rank))
    groups = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return [list(default_collate([data[index] for index in group])) for group in groups]


def steps(rank: int, processes: int, root: str, meeting_point: str, output: str) -> None:
    """Train; the first process writes what it has to ``output``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    architecture = ArchitectureConfig(
        size="tiny", embedding_dim=8, text_dim=len(CONCEPTS) + 1, query_hidden_dim=16, concepts=CONCEPTS[:-1]
    )
    # In double precision: normalising the two voxels that are left at the bottom would make much of rounding.
    network = TextPromptedSegmentation(architecture, PreprocessingConfig(tile=PATCH))
    network.model.double()
    data = batches(CaseStore(Path(root)), processes, rank, 2 // processes)

    def work(shared: Callable[[nn.Module], nn.Module]) -> None:
        module = shared(Loss(network))
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
        losses, gradients = [], dict[str, Any]()
        for batch in data:
            optimizer.zero_grad()
            loss = module(batch)
            loss.backward()
            shown = loss.detach().clone()
            if processes > 1:
                dist.all_reduce(shown)
            losses.append(float(shown) / processes)
            gradients = gradients or {name: weight.grad.clone() for name, weight in network.named_parameters()}  # type: ignore[union-attr]
            optimizer.step()
        if rank == 0:
            torch.save({"losses": losses, "gradients": gradients}, output)

    with_others(work, rank, processes, meeting_point)
