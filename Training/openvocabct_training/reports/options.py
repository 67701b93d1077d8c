"""Options of ``openvocabct-train decompose``, apart from what they need, so that help is shown at once."""

from __future__ import annotations

import argparse
from pathlib import Path

BACKENDS = ("rules", "openai", "transformers")
CACHE = "decompositions.sqlite"


def add_arguments(step: argparse.ArgumentParser) -> None:
    """Options of the command."""
    step.add_argument(
        "source",
        type=Path,
        nargs="?",
        default=None,
        help="store with reports.jsonl, or a .jsonl or .csv file of reports",
    )
    step.add_argument(
        "--output", type=Path, default=None, help="file to write; captions.jsonl of the store if not given"
    )
    step.add_argument("--backend", choices=BACKENDS, default="rules", help="what reads the reports (%(default)s)")
    step.add_argument("--url", default="http://127.0.0.1:8000/v1", help="of an OpenAI-compatible server (%(default)s)")
    step.add_argument("--model", default="", help="as the server calls it; or the folder of a transformers model")
    step.add_argument("--jobs", type=int, default=1, metavar="N", help="reports at the same time (%(default)s)")
    step.add_argument("--rate", type=float, default=0.0, metavar="N", help="requests a minute at most; 0: no limit")
    step.add_argument(
        "--max-tokens", type=int, default=4096, metavar="N", help="longest answer of a model, per part (%(default)s)"
    )
    step.add_argument("--device", default="cpu", help="of a transformers model (%(default)s)")
    step.add_argument(
        "--cache",
        type=Path,
        default=None,
        help=f"file of answers; {CACHE} beside the output if not given, none with --quality",
    )
    step.add_argument(
        "--quality", action="store_true", help="measure the backend against the rules on the annotated reports instead"
    )
