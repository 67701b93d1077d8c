"""Whole-view Dice of fine-tuned runs on validation patients, the runs compared patient by patient.

python -m Testing.benchmarks.pretraining_transfer STORE none=A/last.ckpt report=B/last.ckpt multi=C/last.ckpt
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from openvocabct_training.data.store import CaseRecord, CaseStore
from openvocabct_training.finetune import TextPromptedSegmentation
from openvocabct_training.phrases import PhraseBook
from openvocabct_training.pretraining.views import view_image, view_masks
from OpenVocabCTLib.inference.midline import leftness, midline
from OpenVocabCTLib.models.heads import voxel_logits
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

_RESAMPLES = 2000


def dice_of_case(
    run: TextPromptedSegmentation, store: CaseStore, record: CaseRecord, phrases: PhraseBook, soft: bool
) -> dict[str, float]:
    """Dice at probability 0.5, or soft Dice, of every structure of the run's list that is drawn in the view."""
    vocabulary, size = Vocabulary.load(), run.preprocessing.tile
    masks = view_masks(store, record, run.concepts, vocabulary, size)
    drawn = [(concept, mask) for concept, mask in zip(run.concepts, masks, strict=True) if mask is not None]
    seen = {concept: torch.from_numpy(mask) for concept, mask in drawn if mask.any()}
    hu = torch.from_numpy(view_image(store, record, size).astype(np.float32))
    position = torch.arange(size[2]).expand(*size).float()
    left = leftness(position, midline(hu), record.spacing[2])
    text = torch.from_numpy(np.stack([phrases.name(concept) for concept in seen]))
    side = torch.tensor([vocabulary.get(concept).side.sign for concept in seen])
    rows = torch.tensor([run.concepts.index(concept) for concept in seen])
    with torch.inference_mode():
        image = run.model.encode_image(hu[None], left[None])
        logits = voxel_logits(image.embedding[0].float(), run.model.encode_text(text, side, rows))
    answers = logits.sigmoid() if soft else (logits > 0).float()
    return {
        concept: float(2 * (mask * answer).sum() / (mask.sum() + answer.sum()).clamp(min=1))
        for (concept, mask), answer in zip(seen.items(), answers, strict=True)
    }


def interval(differences: np.ndarray) -> tuple[float, float]:
    """95% interval of a mean over patients, by resampling patients."""
    generator = np.random.default_rng(0)
    means = [generator.choice(differences, len(differences)).mean() for _ in range(_RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table and, with --output, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("runs", nargs="+", metavar="NAME=CHECKPOINT", help="the first is compared with")
    parser.add_argument("--dataset", default="openkbp")
    parser.add_argument("--soft", action="store_true", help="soft Dice of probabilities instead of that of masks")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    store = CaseStore(options.store)
    records = [record for record in store.records("validation") if record.dataset == options.dataset]
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for named in options.runs:
        name, _, place = named.partition("=")
        run = TextPromptedSegmentation.load_from_checkpoint(place, map_location="cpu", weights_only=True).eval()
        phrases = PhraseBook(Vocabulary.load(), store.root / "phrases.safetensors", run.concepts)
        figures[name] = {record.case: dice_of_case(run, store, record, phrases, options.soft) for record in records}
    first = next(iter(figures))
    concepts = sorted({concept for cases in figures[first].values() for concept in cases})
    print("| run | mean Dice of a patient | difference (95% interval) | " + " | ".join(concepts) + " |")
    print("| --- | --- | --- | " + " | ".join("---" for _ in concepts) + " |")
    for name, cases in figures.items():
        means = np.array([np.mean(list(dice.values())) for dice in cases.values()])
        against = means - np.array([np.mean(list(dice.values())) for dice in figures[first].values()])
        low, high = interval(against)
        each = [np.mean([dice[concept] for dice in cases.values() if concept in dice]) for concept in concepts]
        change = "" if name == first else f"{against.mean():+.3f} ({low:+.3f} to {high:+.3f})"
        print(f"| {name} | {means.mean():.3f} | {change} | " + " | ".join(f"{value:.3f}" for value in each) + " |")
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
