"""Several systems in one table, measured on the same patients."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openvocabct_training.evaluation.intervals import grand_mean, interval, resampled_means
from openvocabct_training.evaluation.plots import write_system_boxes
from openvocabct_training.evaluation.report import NOT_KNOWN, number, table, with_interval
from openvocabct_training.evaluation.suites import SUITES
from openvocabct_training.evaluation.suites import accuracy as accuracy_suite
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.atomic import replacing

_HEAD = (
    "system", "Dice", "Dice minus the first's", "NSD", "HD95 mm", "missed", "worst wording's drop", "swapped sides",
    "absent organs below 1 ml", "presence AUROC", "image pass s",
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """What was measured of one system.

    Attributes:
        name: shown in the table.
        records: of its patients, by case id.
        suites: that were measured.
    """

    name: str
    records: dict[str, dict[str, Any]]
    suites: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> System:
        """Read the JSON file of an evaluation, or the folder that holds it.

        Raises:
            InputError: it is none, or it has no accuracy suite.
        """
        file = path / "evaluation.json" if path.is_dir() else path
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            records = {record["case"]: record for record in content["patients"]}
            found = cls(str(content["system"]), records, tuple(content["suites"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file} holds no evaluation", "give what `openvocabct-train evaluate` wrote") from error
        if "accuracy" not in found.suites:
            raise InputError(f"{file} was made without the accuracy suite", "run `evaluate` with --suite accuracy")
        return found


def compare(paths: Sequence[Path], output: Path | None = None) -> str:
    """Return a Markdown table with one row per system, and write it and a box plot.

    Only patients that all systems were measured on count. The difference to the first system has a paired bootstrap
    interval: both are drawn with the same patients.

    Args:
        paths: JSON files of evaluations, or their folders; the first is the one to compare with.
        output: Markdown file to write; a PNG of the same name gets the Dice of every structure and system.

    Raises:
        InputError: a file is no evaluation, two evaluations have no patient in common or different references of one,
            or the output cannot be written.
        ResourceError: the disk is full.
    """
    if not paths:
        raise InputError("there is nothing to compare", "give the JSON files of evaluations")
    systems = _told_apart([System.read(path) for path in paths], paths)
    common = [case for case in systems[0].records if all(case in system.records for system in systems)]
    if not common:
        raise InputError("these systems have no patient in common", "evaluate them on the same cases")
    per_system = [[system.records[case] for case in common] for system in systems]
    _check_references(per_system)
    concepts = _asked_of_all(per_system)
    text = _page(systems, common, per_system, concepts)
    if output is not None:
        with replacing(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
        dice = {
            system.name: _dice_of_patients(records, concepts)
            for system, records in zip(systems, per_system, strict=True)
        }
        write_system_boxes(dice, output.with_suffix(".png"))
    return text


def _check_references(per_system: Sequence[Sequence[dict[str, Any]]]) -> None:
    """Refuse cases that share no more than their name: other scans, or other references of the same."""
    for records in per_system[1:]:
        for one, other in zip(per_system[0], records, strict=True):
            for concept, entry in one["accuracy"].items():
                volumes = entry["reference_ml"], other["accuracy"].get(concept, entry)["reference_ml"]
                if not math.isclose(*volumes, rel_tol=1e-6):
                    raise InputError(
                        f"the reference of {concept} in case {one['case']} has {volumes[0]:.3f} ml in one evaluation"
                        f" and {volumes[1]:.3f} ml in another",
                        "evaluate all systems on the same scans with the same references",
                    )


def _asked_of_all(per_system: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """A structure counts where every system was asked for it, and a reference is doubtful for all or for none."""
    asked = [set(accuracy_suite.concepts_of(records)) for records in per_system]
    return sorted(set.intersection(*asked))


def _dice_of_patients(records: Sequence[dict[str, Any]], concepts: Sequence[str]) -> dict[str, list[float]]:
    columns = accuracy_suite.table(records, "dice", concepts).T
    return {
        concept.replace("_", " "): column[~np.isnan(column)].tolist()
        for concept, column in zip(concepts, columns, strict=True)
    }


def _told_apart(systems: Sequence[System], paths: Sequence[Path]) -> list[System]:
    """Systems of the same name are told apart by their files, and by a number where that is not enough."""
    names = [system.name for system in systems]
    several = [
        f"{name} ({path.stem})" if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)
    ]
    shown = [
        f"{name} {several[: place + 1].count(name)}" if several.count(name) > 1 else name
        for place, name in enumerate(several)
    ]
    return [replace(system, name=name) for system, name in zip(systems, shown, strict=True)]


def _page(
    systems: Sequence[System],
    common: Sequence[str],
    per_system: Sequence[Sequence[dict[str, Any]]],
    concepts: Sequence[str],
) -> str:
    first = accuracy_suite.table(per_system[0], "dice", concepts)
    distances = _distances(per_system, concepts)
    rows = [
        _row(system, records, concepts, None if system is systems[0] else first, distance)
        for system, records, distance in zip(systems, per_system, distances, strict=True)
    ]
    structures = [
        [
            concept.replace("_", " "),
            *(number(accuracy_suite.grand_mean_of(records, "dice", [concept])) for records in per_system),
        ]
        for concept in concepts
    ]
    left_out = sorted({case for system in systems for case in system.records} - set(common))
    notes = (
        f"{len(common)} patients that all systems were measured on; 95 % bootstrap intervals by patient. A structure"
        " that was missed counts as Dice 0 and NSD 0; HD95 is over what every system found."
    )
    if left_out:
        notes += f" Left out, because not all were: {', '.join(left_out)}."
    dice = table(("mean Dice", *(system.name for system in systems)), structures)
    return "\n\n".join([table(_HEAD, rows), notes, dice]) + "\n"


def _distances(per_system: Sequence[Sequence[dict[str, Any]]], concepts: Sequence[str]) -> list[float | None]:
    """Mean HD95 of every system, over the answers that all of them have.

    What was missed has no distance, so otherwise a system would gain by missing what is hard.
    """
    tables = [accuracy_suite.table(records, "hd95_mm", concepts) for records in per_system]
    missing = np.isnan(tables).any(axis=0)
    means = [grand_mean(np.where(missing, np.nan, distances)) for distances in tables]
    return [None if np.isnan(mean) else mean for mean in means]


def _row(
    system: System,
    records: Sequence[dict[str, Any]],
    concepts: Sequence[str],
    first: np.ndarray | None,
    distance: float | None,
) -> list[str]:
    patients = [record["patient"] for record in records]
    values = accuracy_suite.table(records, "dice", concepts)
    summary: dict[str, Any] = {}
    for name in system.suites:
        if name in ("synonyms", "negatives", "laterality"):
            summary |= SUITES[name].summarise(records)
    missed = sum(
        record["accuracy"].get(concept, {}).get("outcome") == "missed" and concept not in record["suspect"]
        for record in records
        for concept in concepts
    )
    seconds = float(np.mean([record["seconds"] for record in records]))
    return [
        system.name,
        _mean(records, "dice", concepts, patients),
        NOT_KNOWN if first is None else _difference(values, first, patients),
        _mean(records, "nsd", concepts, patients),
        number(distance, 1),
        str(missed),
        number(summary.get("synonyms", {}).get("worst_drop")),
        f"{summary['swapped_sides']} of {summary['laterality']['asked']}" if "laterality" in summary else NOT_KNOWN,
        number(summary.get("negatives", {}).get("absent_organs_below_1_ml")),
        number(summary.get("negatives", {}).get("presence_auroc")),
        number(seconds, 2),
    ]


def _mean(records: Sequence[dict[str, Any]], metric: str, concepts: Sequence[str], patients: Sequence[str]) -> str:
    value = accuracy_suite.grand_mean_of(records, metric, concepts)
    several = len(set(patients)) > 1
    found = interval(resampled_means(accuracy_suite.table(records, metric, concepts), patients)) if several else None
    return with_interval(value, found)


def _difference(values: np.ndarray, first: np.ndarray, patients: Sequence[str]) -> str:
    difference = grand_mean(values) - grand_mean(first)
    if np.isnan(difference):
        return NOT_KNOWN
    several = len(set(patients)) > 1
    found = interval(resampled_means(values, patients) - resampled_means(first, patients)) if several else None
    return with_interval(difference, found)
