"""Refit the queries of known concepts on a finished image tower.

The head is linear in the voxel embedding, so with the image tower frozen this is a small, almost convex problem that
needs seconds a step where training needs minutes: it takes out what is left of the queries' lag behind the tower.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from openvocabct_training.data.dataset import PatchDataset
from openvocabct_training.data.module import PatchDataModule
from openvocabct_training.data.sampling import SamplingConfig
from openvocabct_training.data.store import CaseStore
from openvocabct_training.export import load_checkpoint
from openvocabct_training.losses import segmentation_loss
from openvocabct_training.phrases import PhraseBook
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.devices import choose_compute
from OpenVocabCTLib.models.heads import voxel_logits
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

log = logging.getLogger(__name__)

_PARAMETER = "model.concept_queries"
_ASK_EVERYTHING = {"positives": 14, "negatives": 2, "nonsense_probability": 0.0}


class Encoded(NamedTuple):
    """A patch whose image pass is done: (E, D, H, W) half-precision embedding and the prompts asked of it."""

    embedding: Tensor
    text: Tensor
    side: Tensor
    concept: Tensor
    target: Tensor
    valid: Tensor


def read_sampling(config: Path) -> SamplingConfig:
    """How a run draws patches, asking every structure of a patch and nothing that names none.

    Raises:
        InputError: the file is no configuration of a run.
    """
    try:
        said = yaml.safe_load(config.read_text(encoding="utf-8"))["data"]["sampling"]
        return SamplingConfig(**{**said, **_ASK_EVERYTHING, "patch": tuple(said["patch"])})
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read data.sampling of {config} ({error})", "give the run's configuration") from error


def encode_patches(model: OpenVocabCT, dataset: PatchDataset, count: int) -> list[Encoded]:
    """Do the image pass of ``count`` unaugmented patches, in the number format of inference."""
    compute = choose_compute("cpu")
    patches = []
    for index in range(count):
        sample = dataset[index]
        with torch.no_grad(), compute.autocast():
            embedding = model.encode_image(sample.hu[None], sample.leftness[None]).embedding[0]
        patches.append(Encoded(embedding.half(), sample.text, sample.side, sample.concept, sample.target, sample.valid))
    return patches


def fit_queries(model: OpenVocabCT, patches: list[Encoded], epochs: int, learning_rate: float) -> None:
    """Optimise ``concept_queries`` alone; BCE + Dice, Adam, cosine to zero."""
    model.requires_grad_(False)
    model.concept_queries.requires_grad_(True)
    optimizer = torch.optim.Adam([model.concept_queries], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(patches))
    for epoch in range(epochs):
        losses = []
        for index in torch.randperm(len(patches)).tolist():
            patch = patches[index]
            queries = model.encode_text(patch.text, patch.side, patch.concept)
            logits = voxel_logits(patch.embedding.float(), queries)
            parts = segmentation_loss(logits[None], patch.target[None], patch.valid[None])
            optimizer.zero_grad()
            (parts.bce + parts.dice).backward()
            optimizer.step()
            schedule.step()
            losses.append(float(parts.dice.detach()))
        log.info("epoch %d: Dice loss %.3f", epoch + 1, sum(losses) / len(losses))


def refit(
    checkpoint: Path,
    store: Path,
    output: Path,
    sampling: SamplingConfig,
    patches: int = 80,
    epochs: int = 4,
    learning_rate: float = 5e-3,
    seed: int = 0,
    only: Sequence[str] = (),
) -> None:
    """Write a checkpoint like ``checkpoint`` with refitted concept queries.

    Not every concept gains: compare both checkpoints on training patients, and keep what is better with ``only``.

    Args:
        checkpoint: of a run; its averaged weights are used.
        store: of the run.
        output: checkpoint to write.
        sampling: how patches are drawn; prompts that name nothing known are left out.
        patches: number of training patches.
        epochs: passes over them.
        learning_rate: of Adam.
        seed: of the choice of patches and their order.
        only: concepts that get their new query; all if empty.

    Raises:
        InputError: there is no patch, the checkpoint would be replaced, or the network has no concept queries, or none
            for a concept of ``only``.
    """
    if patches < 1:
        raise InputError(f"{patches} patches are none to fit to", "give --patches 1 or more")
    if output.resolve() == checkpoint.resolve():
        raise InputError(f"{output} would be replaced, and its run could not go on", "give another --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    network = load_checkpoint(checkpoint)
    if not network.config.architecture.concepts:
        raise InputError(f"{checkpoint} has no concept queries", "train with model.architecture.concepts")
    for concept in only:
        if concept not in network.config.architecture.concepts:
            raise InputError(f"{checkpoint} has no query for {concept!r}", "see model.architecture.concepts")
    torch.manual_seed(seed)
    model = OpenVocabCT(network.config.architecture, network.config.preprocessing).eval()
    model.load_state_dict(dict(network.weights))
    vocabulary, cases = Vocabulary.load(), CaseStore(store)
    dataset = PatchDataset(
        store=cases,
        split="train",
        trained=model.concepts,
        phrases=PhraseBook(vocabulary, store / "refit_phrases.safetensors", model.concepts),
        vocabulary=vocabulary,
        sampling=sampling,
        augmentation=None,
        seed=seed,
        epoch=0,
        length=patches,
        concepts=model.concepts,
    )
    fit_queries(model, encode_patches(model, dataset, patches), epochs, learning_rate)
    # weights_only: nothing but tensors and plain containers is read.
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    rows = [model.concept_index(concept) for concept in only or model.concepts]
    content["state_dict"][_PARAMETER][rows] = model.concept_queries.detach()[rows]
    kept = ("state_dict", "hyper_parameters", PatchDataModule.__qualname__)
    with replacing(output) as temporary:
        torch.save({key: content[key] for key in kept if key in content}, temporary)
