"""The evaluation as a whole: cases in, figures, table and pictures out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from openvocabct_training.evaluation.cases import EvaluationCase, find_cases
from openvocabct_training.evaluation.patient import Patient
from openvocabct_training.evaluation.predictors import SEGMENTER, Predictor, load_predictor
from openvocabct_training.evaluation.records import RecordStore, without, write_json
from openvocabct_training.evaluation.suites import DEFAULT_SUITES, SUITES
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.atomic import probe_folder, replacing
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

log = logging.getLogger(__name__)
Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to measure and how.

    Attributes:
        suites: names of `SUITES`, or "all".
        dataset: name of the data set.
        split: of the data set.
        listing: JSON-lines file with cases, instead of a data set.
        limit: only the first so many cases.
        held_out: concepts that the system was not trained on, asked by their words alone and reported apart.
        predictor: ``package.module:function`` that makes the system from its name or folder.
        pictures: how many of the worst answers to draw.
        skip_bad: leave cases out that cannot be read, and list them, instead of stopping.
    """

    suites: tuple[str, ...] = DEFAULT_SUITES
    dataset: str = "openkbp"
    split: str = "validation"
    listing: Path | None = None
    limit: int | None = None
    held_out: tuple[str, ...] = ()
    predictor: str = SEGMENTER
    pictures: int = 4
    skip_bad: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.suites if name not in SUITES and name != "all"]
        if unknown:
            raise InputError(f"there is no suite {unknown[0]!r}", f"choose from {', '.join(SUITES)}, all")
        vocabulary = Vocabulary.load()
        strange = [concept for concept in self.held_out if concept not in vocabulary]
        if strange:
            raise InputError(
                f"the vocabulary has no concept {strange[0]!r}", "give its id, for example left_parotid_gland"
            )
        if self.limit is not None and self.limit < 1:
            raise InputError(f"a limit of {self.limit} leaves no patient", "give 1 or more")

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the suites, in the order of `SUITES`."""
        return tuple(name for name in SUITES if "all" in self.suites or name in self.suites)


@dataclass(frozen=True)
class Output:
    """Where results go: ``FILE.json`` and a folder of the same name beside it, or a folder that holds everything.

    Args:
        path: as the user gave it.
    """

    path: Path

    @property
    def figures(self) -> Path:
        """The JSON file."""
        return self.path if self.path.suffix == ".json" else self.path / "evaluation.json"

    @property
    def folder(self) -> Path:
        """Table, plots, pictures and the records of the patients."""
        return self.path.with_suffix("") if self.path.suffix == ".json" else self.path

    def prepare(self) -> None:
        """Make the folders and see that they can be written: now, not after an hour.

        Raises:
            OSError: they cannot.
        """
        for folder in (self.figures.parent, self.folder):
            folder.mkdir(parents=True, exist_ok=True)
            probe_folder(folder)


def evaluate(
    source: Path,
    model: str | None,
    output: Path,
    limit: int | None = None,
    options: Options | None = None,
    load: Callable[[str, str | None], Predictor] = load_predictor,
) -> dict[str, Any]:
    """Evaluate a model and write figures (JSON), a table (Markdown), plots and pictures of the worst answers (PNG).

    Patients that were measured before with the same system are not measured again.

    Args:
        source: folder that holds one folder per data set.
        model: name or folder; the embedded model if None.
        output: JSON file or folder, see `Output`.
        limit: only the first so many patients; the same as ``options.limit``.
        options: see `Options`.
        load: makes the system under evaluation; for tests.

    Returns:
        The summary that the JSON file holds.

    Raises:
        InputError: there are no patients, a case cannot be read, or the output cannot be written.
        ModelError: there is no such model.
        ResourceError: out of memory or disk.
    """
    options = Options() if options is None else options
    cases = find_cases(source, options.dataset, options.split, options.listing)
    cases = cases[: options.limit if limit is None else limit]
    place = Output(output)
    place.prepare()
    predictor = load(options.predictor, model)
    store = RecordStore(place.folder / "patients", predictor.fingerprint, options.held_out)
    records, skipped = _measure_all(cases, predictor, store, options)
    if not records:
        raise InputError("no case could be read", "see the messages above, and complete the data set")
    summary = summarise(records, options.chosen, skipped)
    result = {
        "system": predictor.name,
        "fingerprint": predictor.fingerprint,
        "dataset": options.dataset if options.listing is None else options.listing.name,
        "split": options.split if options.listing is None else "",
        "suites": list(options.chosen),
        "summary": summary,
        "patients": records,
    }
    write_json(place.figures, result)
    _write_report(result, cases, predictor, place, options)
    return summary


def _measure_all(
    cases: Sequence[EvaluationCase], predictor: Predictor, store: RecordStore, options: Options
) -> tuple[list[Record], dict[str, str]]:
    vocabulary = Vocabulary.load()
    records, skipped = [], {}
    for number, case in enumerate(cases, 1):
        try:
            record, note = _measure(case, predictor, store, options, vocabulary)
        except InputError as error:
            if not options.skip_bad:
                raise
            skipped[case.case] = error.what
            log.warning("%s left out: %s", case.case, error.what)
            continue
        records.append(record)
        log.info("%d of %d: %s %s", number, len(cases), case.case, note)
    return records, skipped


def _measure(
    case: EvaluationCase, predictor: Predictor, store: RecordStore, options: Options, vocabulary: Vocabulary
) -> tuple[Record, str]:
    """Return the record of a case, and a word about it."""
    record = store.read(case)
    missing = [name for name in options.chosen if name not in record]
    if missing:
        patient = Patient(case, predictor, vocabulary, options.held_out)
        record = {
            **without(record, ("key",)),
            "case": case.case,
            "patient": case.patient or case.case,
            "suspect": list(case.suspect),
            "seconds": record.get("seconds", patient.scan.seconds),
            **{name: SUITES[name].measure(patient) for name in missing},
        }
        store.write(case, record)
    # Suites that were asked for in an earlier run stay in the file, but not in these figures.
    others = [name for name in SUITES if name not in options.chosen]
    record = without(record, ("key", *others))
    dice = [entry["dice"] for entry in record.get("accuracy", {}).values() if entry["dice"] is not None]
    note = f"mean Dice {fmean(dice):.2f}" if dice else "done"
    return record, note if missing else f"{note} (measured before)"


def summarise(
    records: Sequence[Record], suites: Sequence[str] = DEFAULT_SUITES, skipped: dict[str, str] | None = None
) -> dict[str, Any]:
    """Summary of all patients: what each suite says, and what they have in common."""
    summary: dict[str, Any] = {"patients": len(records)}
    for name in suites:
        summary |= SUITES[name].summarise(records)
    summary["mean_seconds_image_pass"] = fmean(record["seconds"] for record in records)
    if skipped:
        summary["skipped"] = dict(skipped)
    return summary


def _write_report(
    result: dict[str, Any], cases: Sequence[EvaluationCase], predictor: Predictor, place: Output, options: Options
) -> None:
    from openvocabct_training.evaluation import pictures, plots, report

    text = report.markdown(result)
    with replacing(place.folder / "evaluation.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    log.info("%s", text)
    if "accuracy" in options.chosen:
        plots.write_box_plots(result["patients"], place.folder / "structures.png")
        worst = pictures.worst(result["patients"], options.pictures)
        pictures.write(worst, cases, predictor, options.held_out, place.folder / "worst")
    plots.write_suite_bars(result["summary"], place.folder / "suites.png")
