"""What a validation of pretraining collects, and the figures that it gives."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from openvocabct_training.pretraining.contrastive import Pairs
from openvocabct_training.pretraining.gather import gathered
from openvocabct_training.pretraining.retrieval import RANKS, chance_at, recall_at, retrieval
from openvocabct_training.pretraining.zero_shot import CT_RATE_LABELS, label_table, probabilities, sentences, zero_shot
from OpenVocabCTLib.output.atomic import replacing

FIGURES = "retrieval.jsonl"


class ValidationFeatures:
    """Features of all validation studies, as the batches come; with several processes, of all of them."""

    def __init__(self) -> None:
        self.studies: list[Tensor] = []
        self.reports: list[Pairs] = []
        self.organs: list[Pairs] = []
        self.places: list[Tensor] = []
        self.labels: list[Tensor] = []

    def add(
        self,
        studies: Tensor,
        reports: Pairs,
        organs: Pairs | None,
        places: Tensor | None,
        labels: Sequence[Mapping[str, int]],
    ) -> None:
        """Add a batch.

        Args:
            studies: (B,) ids.
            reports: (B,) pairs.
            organs: (B*K,) pairs, None where only whole scans are compared.
            places: (B*K,) ids of the organs.
            labels: B times abnormality -> whether it is there.
        """
        self.studies.append(studies)
        self.reports.append(reports)
        self.labels.append(label_table(labels).to(studies.device))
        if organs is not None and places is not None:
            self.organs.append(organs)
            self.places.append(places)

    def figures(self, encode: Callable[[Sequence[str]], Tensor], scale: Tensor) -> dict[str, float]:
        """Retrieval and zero-shot figures of what was collected.

        Args:
            encode: texts -> (N, D) unit length.
            scale: of the similarities.
        """
        if not self.studies:
            return {}
        once = _first_of_each(gathered(torch.cat(self.studies)))
        image, text, words = (
            gathered(torch.cat([pairs[place] for pairs in self.reports]))[once] for place in (0, 1, 3)
        )
        figures = {"studies": float(len(once)), **retrieval(image, text, words, "report")}
        truth = gathered(torch.cat(self.labels))[once]
        if not truth.isnan().all():
            pairs = encode([sentence for label in CT_RATE_LABELS for sentence in sentences(label)]).unflatten(
                0, (-1, 2)
            )
            figures |= zero_shot(probabilities(image, pairs, scale).cpu(), truth.cpu())
        if self.organs:
            per_study = len(self.organs[0].image) // len(self.studies[0])
            rows = (once[:, None] * per_study + torch.arange(per_study, device=once.device)).flatten()
            columns = [torch.cat([part[place] for part in self.organs]) for place in range(4)]
            image, text, valid, words = (
                gathered(column.long() if column.dtype == torch.bool else column)[rows] for column in columns
            )
            figures |= organ_figures(image, text, valid.bool(), words, gathered(torch.cat(self.places))[rows])
        return figures

    @staticmethod
    def write(folder: Path, step: int, figures: Mapping[str, float]) -> None:
        """Add a line to ``retrieval.jsonl`` in the run folder; a validation that is repeated replaces its line."""
        path = folder / FIGURES
        folder.mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in before if json.loads(line)["step"] < step]
        shown = {name: None if math.isnan(value) else round(value, 6) for name, value in figures.items()}
        with replacing(path) as temporary:
            temporary.write_text("\n".join([*kept, json.dumps({"step": step, **shown})]) + "\n", encoding="utf-8")


def organ_figures(image: Tensor, text: Tensor, valid: Tensor, words: Tensor, places: Tensor) -> dict[str, float]:
    """Retrieval of organs among all captions, and among those of the same organ.

    The second leaves out what is easy, telling a lung from a mandible: an organ looks for its own patient.

    Args:
        image: (N, D) unit length.
        text: (N, D) unit length.
        valid: (N,) bool.
        words: (N,) int64, equal for equal captions of the same organ.
        places: (N,) ids of the organs.
    """
    image, text, words, places = image[valid], text[valid], words[valid], places[valid]
    if len(image) == 0:
        return {}
    figures = retrieval(image, text, words, "organ")
    sums: dict[str, float] = {}
    total = 0
    for place in places.unique():
        rows = places == place
        right = words[rows][:, None] == words[rows][None, :]
        count = int(rows.sum())
        found = recall_at(image[rows] @ text[rows].T, right)
        chance = chance_at(right)
        for k in RANKS:
            for name, values in (("image_to_text", found), ("chance", chance)):
                key = f"same_organ/{name}/R@{k}"
                sums[key] = sums.get(key, 0.0) + count * values[k]
        total += count
    return figures | {name: value / total for name, value in sums.items()}


def _first_of_each(ids: Tensor) -> Tensor:
    """Positions at which each id stands first: the sampler of a distributed run repeats some studies at the end."""
    seen: dict[int, int] = {}
    for place, one in enumerate(ids.tolist()):
        seen.setdefault(one, place)
    return torch.tensor(sorted(seen.values()), device=ids.device)
