"""``openvocabct-train``: ``fit`` through LightningCLI, and the steps before and after it."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from openvocabct_training.reports.options import add_arguments as add_decompose
from OpenVocabCTLib.commands.failures import as_user_error
from OpenVocabCTLib.errors import Cancelled, OpenVocabCTError
from OpenVocabCTLib.memory import keep_freed_memory

DEBUG = "--debug"


def fit(arguments: Sequence[str]) -> None:
    """``openvocabct-train fit --config FILE.yaml [--ckpt_path last] ...`` (PyTorch Lightning's own options)."""
    from openvocabct_training.lightning_cli import TrainingCLI

    TrainingCLI.with_arguments(["fit", *arguments])


def pretrain(arguments: Sequence[str]) -> None:
    """``openvocabct-train pretrain [fit|validate] --config FILE.yaml ...`` (PyTorch Lightning's own options)."""
    from openvocabct_training.pretraining.command import pretrain as run

    run(arguments)


def prepare_ct_rate(arguments: Sequence[str]) -> None:
    """``openvocabct-train prepare ct-rate --source DIR|hf ...``."""
    from openvocabct_training.data import ct_rate

    parser = argparse.ArgumentParser(prog=f"openvocabct-train prepare {ct_rate.COMMAND}", description=ct_rate.NOTICE)
    ct_rate.add_arguments(parser)
    ct_rate.prepare(parser.parse_args(arguments))


def describe(options: argparse.Namespace) -> None:
    """Reports of what is measured."""
    from openvocabct_training.data.store import CaseStore
    from openvocabct_training.pretraining.measured import describe_store

    print(f"{describe_store(CaseStore(options.store), options.view, options.output)} reports")


def decompose(options: argparse.Namespace) -> None:
    """Reports to organ-level statements."""
    from openvocabct_training.reports.command import decompose as run

    run(options)


def prepare(options: argparse.Namespace) -> None:
    """Raw data sets to the store."""
    from openvocabct_training.data.adapters import ADAPTERS, adapters_named
    from openvocabct_training.data.prepare import prepare as run
    from openvocabct_training.data.store import SKIPPED, CaseStore

    spacing = options.spacing[0] if len(options.spacing) == 1 else options.spacing
    adapters = adapters_named(options.dataset) if options.dataset else ADAPTERS
    store = CaseStore(options.store)
    records = run(options.source, store, spacing, adapters, jobs=options.jobs, on_error=options.on_error)
    skipped = [case for case in store.skipped() if case.dataset in adapters]
    for case in skipped:
        print(f"skipped {case.case}: {case.reason}", file=sys.stderr)
    also = f", {len(skipped)} skipped (see {options.store / SKIPPED})" if skipped else ""
    print(f"{len(records)} cases in {options.store}{also}")


def export(options: argparse.Namespace) -> None:
    """Checkpoint to model folder."""
    from openvocabct_training.export import export_checkpoint, read_decision

    decision = read_decision(options.decision) if options.decision else None
    export_checkpoint(options.checkpoint, options.store, options.output, options.name, options.version, decision)
    print(options.output)


def refit(options: argparse.Namespace) -> None:
    """Queries of known concepts on a finished image tower."""
    from openvocabct_training.refit import read_sampling
    from openvocabct_training.refit import refit as run

    sampling = read_sampling(options.config)
    run(options.checkpoint, options.store, options.output, sampling, options.patches, only=options.only)
    print(options.output)


def thresholds(options: argparse.Namespace) -> None:
    """Voxel thresholds of a finished model."""
    from openvocabct_training.calibration.thresholds import choose_thresholds, markdown

    print(markdown(choose_thresholds(options.model, options.source, options.dataset, options.patients)), end="")


def calibrate(options: argparse.Namespace) -> None:
    """Probability of presence of a finished model."""
    from openvocabct_training.calibration import calibrate as run

    run(options.model, options.source, options.output, options.dataset, options.limit)
    print(options.output)


def evaluate(options: argparse.Namespace) -> None:
    """Accuracy, open vocabulary, robustness and cost of a model."""
    from openvocabct_training.evaluation import Options
    from openvocabct_training.evaluation import evaluate as run

    names = {field.name for field in dataclasses.fields(Options)}
    chosen = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(options).items()
        if name in names
    }
    run(options.source, options.model, options.output, options=Options(**chosen))


def compare(options: argparse.Namespace) -> None:
    """Several evaluations in one table."""
    from openvocabct_training.evaluation import compare as run

    print(run(options.evaluations, options.output), end="")


def curves(options: argparse.Namespace) -> None:
    """Learning curves of several runs."""
    from openvocabct_training.evaluation import curves as run

    run(options.runs, options.output, options.value, options.span)
    print(options.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="openvocabct-train", description="Prepare, train, export, evaluate.")
    parser.add_argument(DEBUG, action="store_true", help="show where an error comes from (works anywhere)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fit", help="train (PyTorch Lightning; see `openvocabct-train fit --help`)", add_help=False)

    commands.add_parser("pretrain", help="pretrain on scans with reports (see Training/PRETRAINING.md)", add_help=False)
    step = commands.add_parser("prepare", help="raw data sets to the training store; `prepare ct-rate` for CT-RATE")
    step.add_argument("source", type=Path, help="folder that holds one folder per data set")
    step.add_argument("--store", type=Path, default=Path("runs/store"), help="folder to write (%(default)s)")
    step.add_argument(
        "--spacing", type=float, nargs="+", default=[2.5, 3.9, 3.9], metavar="MM",
        help="working voxel size: one number, or one along each of the patient's S, A and R axes (2.5 3.9 3.9)",
    )  # fmt: skip
    step.add_argument(
        "--dataset", nargs="+", default=(), metavar="NAME",
        help="data sets to prepare (see Training/DATA.md), or nnunet:FOLDER, folder:FOLDER for your own; "
        "those of the shipped weights if not given",
    )  # fmt: skip
    step.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="cases to prepare at the same time (%(default)s)"
    )
    step.add_argument(
        "--on-error", choices=("stop", "skip"), default="stop", help="what to do about an unusable case (%(default)s)"
    )
    step.set_defaults(run=prepare)

    step = commands.add_parser("describe", help="write reports of what is measured in the cases of a store")
    step.add_argument("store", type=Path, help="folder written by `prepare`")
    step.add_argument("--view", type=int, nargs=3, required=True, metavar="N", help="voxels along S, A, R")
    step.add_argument(
        "--output", type=Path, default=None, help="file to write; reports.jsonl of the store if not given"
    )
    step.set_defaults(run=describe)

    step = commands.add_parser("decompose", help="take reports apart into statements about organs")
    add_decompose(step)
    step.set_defaults(run=decompose)

    step = commands.add_parser("refit", help="refit the queries of known concepts on a finished image tower")
    step.add_argument("checkpoint", type=Path, help=".ckpt file of a run")
    step.add_argument("--config", type=Path, required=True, help="configuration of that run")
    step.add_argument("--store", type=Path, default=Path("runs/store"), help="store of that run (%(default)s)")
    step.add_argument("--output", type=Path, required=True, help="checkpoint to write")
    step.add_argument("--patches", type=int, default=80, help="training patches (%(default)s)")
    step.add_argument("--only", nargs="+", default=(), metavar="CONCEPT", help="keep the new queries of these only")
    step.set_defaults(run=refit)

    step = commands.add_parser("export", help="checkpoint to a model folder")
    step.add_argument("checkpoint", type=Path, help=".ckpt file of a run")
    step.add_argument("--store", type=Path, default=Path("runs/store"), help="store of that run (%(default)s)")
    step.add_argument("--output", type=Path, required=True, help="model folder to write")
    step.add_argument("--name", default="openvocabct-small", help="of the model (%(default)s)")
    step.add_argument("--version", default="0.1.0", help="of the model (%(default)s)")
    step.add_argument("--decision", type=Path, help="YAML file with thresholds, for example small16_decision.yaml")
    step.set_defaults(run=export)

    step = commands.add_parser("thresholds", help="choose voxel thresholds of the structures, on training patients")
    step.add_argument("model", type=Path, help="model folder; its config.json gets the thresholds")
    step.add_argument("source", type=Path, help="folder that holds one folder per data set")
    step.add_argument("--dataset", default="openkbp", help="data set of SOURCE (%(default)s)")
    step.add_argument("--patients", type=int, default=24, metavar="N", help="training patients (%(default)s)")
    step.set_defaults(run=thresholds)

    step = commands.add_parser("calibrate", help="fit the probability that a structure is in the scan, on validation")
    step.add_argument("model", type=Path, help="model folder; its config.json gets the parameters")
    step.add_argument("source", type=Path, help="folder that holds one folder per data set")
    step.add_argument("--output", type=Path, required=True, help="folder for figures and reliability diagram")
    step.add_argument(
        "--dataset", nargs="+", default=("openkbp", "chest", "ibsi_sts"), metavar="NAME",
        help="data sets of SOURCE whose validation patients are used (openkbp chest ibsi_sts)",
    )  # fmt: skip
    step.add_argument("--limit", type=int, default=None, help="only the first N patients of each")
    step.set_defaults(run=calibrate)

    _add_evaluate(commands.add_parser("evaluate", help="measure a model: accuracy, open vocabulary, robustness, cost"))
    step = commands.add_parser("compare", help="several evaluations in one Markdown table")
    step.add_argument("evaluations", type=Path, nargs="+", help="JSON files of `evaluate`; the first is compared with")
    step.add_argument(
        "--output", type=Path, default=None, help="Markdown file to write, besides printing it; and a PNG of its name"
    )
    step.set_defaults(run=compare)

    step = commands.add_parser("curves", help="learning curves of several runs of `fit` in one picture")
    step.add_argument("runs", type=Path, nargs="+", help="run folders with TensorBoard logs")
    step.add_argument("--output", type=Path, required=True, help="PNG file to write")
    step.add_argument("--value", default="train/dice_loss", help="what to draw (%(default)s)")
    step.add_argument("--span", type=int, default=50, help="steps of the running mean (%(default)s)")
    step.set_defaults(run=curves)
    return parser


def _add_evaluate(step: argparse.ArgumentParser) -> None:
    suites = ("accuracy", "synonyms", "negatives", "laterality", "robustness", "cost", "all")
    step.add_argument("source", type=Path, help="folder that holds one folder per data set")
    step.add_argument("--model", default=None, help="model name or folder; the embedded one if not given")
    step.add_argument(
        "--output", type=Path, required=True,
        help="JSON file for the figures (the rest goes to a folder of the same name), or a folder for everything",
    )  # fmt: skip
    step.add_argument(
        "--suite", dest="suites", nargs="+", choices=suites, default=list(suites[:4]), metavar="SUITE",
        help=f"what to measure: {', '.join(suites)} (accuracy synonyms negatives laterality: one image pass a scan)",
    )  # fmt: skip
    step.add_argument("--limit", type=int, default=None, help="only the first N patients")
    step.add_argument("--dataset", default="openkbp", help="data set of SOURCE (%(default)s)")
    step.add_argument("--split", choices=("train", "validation"), default="validation", help="(%(default)s)")
    step.add_argument("--cases", dest="listing", type=Path, default=None, help="JSON-lines file of cases, see README")
    step.add_argument(
        "--held-out", nargs="+", default=[], metavar="CONCEPT",
        help="ids of concepts that the model was not trained on: asked by their words alone and reported apart",
    )  # fmt: skip
    step.add_argument(
        "--predictor", default="openvocabct_training.evaluation.predictors:segmenter", metavar="MODULE:FUNCTION",
        help="makes the system from --model (a text-prompted model folder)",
    )  # fmt: skip
    step.add_argument("--pictures", type=int, default=4, help="of the worst answers (%(default)s)")
    step.add_argument("--skip-bad", action="store_true", help="leave out and list cases that cannot be read")
    step.set_defaults(run=evaluate)


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["fit"]:
        fit(arguments[1:])
        return
    if arguments[:1] == ["pretrain"]:
        pretrain(arguments[1:])
        return
    if list(arguments[:2]) == ["prepare", "ct-rate"]:
        prepare_ct_rate(arguments[2:])
        return
    options = _parser().parse_args(arguments)
    options.run(options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; what the user can mend is one line on stderr, and every other exception shows its traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    keep_freed_memory()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = DEBUG in arguments
    try:
        _run([argument for argument in arguments if argument != DEBUG])
    except (OpenVocabCTError, OSError, MemoryError, KeyboardInterrupt) as error:
        if debug:
            raise
        known = Cancelled("stopped", "run the command again") if isinstance(error, KeyboardInterrupt) else error
        user_error = as_user_error(known)
        print(f"error: {user_error}", file=sys.stderr)
        raise SystemExit(user_error.exit_code) from error


if __name__ == "__main__":
    main()
