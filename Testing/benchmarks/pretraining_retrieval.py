"""Retrieval of pretraining runs: their last validation; mean and range of the last ones, which show how noisy it is.

python -m Testing.benchmarks.pretraining_retrieval report=runs/A multi=runs/B
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from openvocabct_training.pretraining.validation import FIGURES

_ROWS = [
    (f"{what}, R@{k}", f"{key}/R@{k}", f"{group}/chance/R@{k}")
    for group, directions in (
        ("report", (("scan to report", "report/image_to_text"), ("report to scan", "report/text_to_image"))),
        ("organ", (("organ to caption", "organ/image_to_text"), ("caption to organ", "organ/text_to_image"))),
        ("same_organ", (("organ to caption among the same organ", "same_organ/image_to_text"),)),
    )
    for k in (1, 5, 10)
    for what, key in directions
]
Figures = Mapping[str, float | None]


def read(run: Path) -> list[Figures]:
    """Validations of a run, in order."""
    return [json.loads(line) for line in (run / FIGURES).read_text(encoding="utf-8").splitlines()]


def cell(validations: Sequence[Figures], key: str) -> str:
    """Last value, mean and range."""
    values = [value for one in validations if (value := one.get(key)) is not None]
    if not values:
        return "-"
    return f"{values[-1]:.3f}; {sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument(
        "--last", type=int, default=10, metavar="N", help="validations of the mean and the range (%(default)s)"
    )
    options = parser.parse_args(arguments)
    runs = {name: read(Path(place)) for name, _, place in (run.partition("=") for run in options.runs)}
    print("| | chance | " + " | ".join(f"{name}, step {int(runs[name][-1]['step'] or 0)}" for name in runs) + " |")
    print("| --- | --- | " + " | ".join("---" for _ in runs) + " |")
    for what, key, chance in _ROWS:
        known = next((one[chance] for found in runs.values() for one in found if one.get(chance) is not None), None)
        if known is not None:
            cells = [cell(found[-options.last :], key) for found in runs.values()]
            print(f"| {what} | {known:.3f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
