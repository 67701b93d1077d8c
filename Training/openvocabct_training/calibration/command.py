"""``openvocabct-train calibrate``: evidence of validation patients in, parameters and reliability diagram out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from openvocabct_training.calibration import fitting
from openvocabct_training.calibration.fitting import Quality, Samples
from openvocabct_training.calibration.model_config import change_decision
from openvocabct_training.calibration.views import View, views
from openvocabct_training.evaluation.cases import EvaluationCase, find_cases
from openvocabct_training.evaluation.plots import write_reliability
from openvocabct_training.evaluation.report import table
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.presence import features
from OpenVocabCTLib.inference.segmenter import Segmenter
from OpenVocabCTLib.models.config import DecisionConfig
from OpenVocabCTLib.output.atomic import probe_folder, replacing

log = logging.getLogger(__name__)

# Validation patients with a reader's or with Hounsfield units' word on what is in them.
DATA_SETS = ("openkbp", "chest", "ibsi_sts")


def calibrate(
    model: Path,
    source: Path,
    output: Path,
    datasets: Sequence[str] = DATA_SETS,
    limit: int | None = None,
    load: Callable[[Path], Segmenter] = Segmenter.from_pretrained,
    find: Callable[[Path, str, str], Sequence[EvaluationCase]] = find_cases,
) -> dict[str, Any]:
    """Fit the probability of presence, write it into the model's ``config.json``, and draw the reliability diagram.

    Args:
        model: model folder; ``presence`` and ``decision.presence_threshold`` of its configuration are replaced.
        source: folder that holds one folder per data set.
        output: folder for ``presence.json`` (figures and samples), ``presence.md`` and ``reliability.png``.
        datasets: names of data sets with validation patients.
        limit: only the first so many patients of each.
        load: loads the model; for tests.
        find: finds the cases of a data set; for tests.

    Returns:
        What ``presence.json`` holds, without the samples.

    Raises:
        InputError: the data cannot be used or are too few, or a folder cannot be written.
        ModelError: there is no such model, or it is damaged.
    """
    segmenter = load(model)
    output.mkdir(parents=True, exist_ok=True)
    probe_folder(output)
    probe_folder(model)
    cases = [case for name in datasets for case in find(source, name, "validation")[:limit]]
    rows = list(_rows(segmenter, cases))
    samples = _samples(rows)
    config = fitting.fit(samples)
    threshold = fitting.choose_threshold(fitting.probabilities(config, samples), samples)
    values, thresholds = fitting.leave_one_out(samples)
    before = fitting.measure(samples.heads, samples, DecisionConfig.presence_threshold)
    after = fitting.measure(values, samples, thresholds)
    change_decision(model, lambda _: {"presence_threshold": threshold}, presence=asdict(config))
    figures = {
        "model": model.resolve().name,
        "presence": asdict(config),
        "threshold": threshold,
        "patients": len(np.unique(samples.patients)),
        "present": int(samples.there.sum()),
        "absent": int((~samples.there).sum()),
        "before": asdict(before),
        "after": asdict(after),
    }
    with replacing(output / "presence.json") as temporary:
        temporary.write_text(json.dumps({**figures, "samples": rows}, indent=1) + "\n", encoding="utf-8")
    text = markdown(figures, before, after)
    with replacing(output / "presence.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_reliability(
        {
            "presence head alone": fitting.reliability(samples.heads, samples.there),
            "calibrated, patient left out": fitting.reliability(values, samples.there),
        },
        output / "reliability.png",
    )
    log.info("%s", text)
    return figures


def _rows(segmenter: Segmenter, cases: Iterable[EvaluationCase]) -> Iterable[dict[str, Any]]:
    """Yield one record a question: view, concept, truth and evidence."""
    vocabulary, answered = segmenter.questions.vocabulary, segmenter.questions.answered
    for case in cases:
        for view in views(case, answered, vocabulary):
            yield from _view_rows(segmenter, view)
        log.info("%s", case.case)


def _view_rows(segmenter: Segmenter, view: View) -> Iterable[dict[str, Any]]:
    if not view.truth:
        return
    vocabulary, minimum_ml = segmenter.questions.vocabulary, segmenter.config.decision.min_volume_ml
    concepts = [vocabulary.get(one) for one in sorted(view.truth)]
    judge = segmenter.encode(view.volume).judge
    for concept, evidence in zip(concepts, judge.evidence(concepts), strict=True):
        yield {
            "patient": view.patient,
            "view": view.name,
            "concept": concept.id,
            "there": view.truth[concept.id],
            **asdict(evidence),
            "features": features(evidence, concept),
            "answered": evidence.answer_ml >= minimum_ml,
        }


def _samples(rows: Sequence[dict[str, Any]]) -> Samples:
    if not rows:
        raise InputError("nothing is known of what is in these scans", "give data sets with references (--dataset)")
    return Samples(
        np.array([row["features"] for row in rows], float),
        expit(np.array([row["head"] for row in rows], float)),
        np.array([row["there"] for row in rows], bool),
        np.array([row["answered"] for row in rows], bool),
        np.array([row["patient"] for row in rows]),
    )


def markdown(figures: dict[str, Any], before: Quality, after: Quality) -> str:
    """Return the paragraph and the table for the model card."""
    rows = [
        ("expected calibration error", f"{before.error:.3f}", f"{after.error:.3f}"),
        ("Brier score", f"{before.brier:.4f}", f"{after.brier:.4f}"),
        ("found though absent", f"{before.false_positives:.1%}", f"{after.false_positives:.1%}"),
        ("missed though present", f"{before.missed:.1%}", f"{after.missed:.1%}"),
    ]
    head = ("", f"presence head at {DecisionConfig.presence_threshold:g}", "calibrated, patient left out")
    return (
        f"Presence: {figures['present']} present and {figures['absent']} absent structures in whole and halved scans "
        f"of {figures['patients']} validation patients. Threshold {figures['threshold']:g}. Each patient is judged by "
        f"a fit, and with a threshold, that never saw the patient.\n\n{table(head, rows)}\n"
    )
