"""Trained baselines as systems under evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from openvocabct_training import baselines
from openvocabct_training.baselines.predictor import BaselineStudy
from openvocabct_training.evaluation.predictors import Answer, Query, answer_of
from OpenVocabCTLib import __version__
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import COMPILED_FILE
from OpenVocabCTLib.volume import CTVolume


def baseline(model: str | None) -> BaselineSystem:
    """Load a checkpoint of a baseline; a factory for ``evaluate --predictor``.

    Args:
        model: ``.ckpt`` file that ``openvocabct-train fit`` wrote.

    Raises:
        InputError: there is none, or it is something else.
    """
    if model is None:
        raise InputError(
            "no baseline comes with the program", "give a checkpoint of `openvocabct-train fit`: --model FILE"
        )
    checkpoint = Path(model)
    predictor = baselines.load_baseline(checkpoint)
    digest = hashlib.sha256(repr((__version__, predictor.compute, predictor.module.preprocessing)).encode())
    for file in (checkpoint, COMPILED_FILE):
        digest.update(file.read_bytes())
    return BaselineSystem(predictor, predictor.module.title, digest.hexdigest())


class BaselineSystem:
    """A baseline's predictor, asked by queries.

    A closed vocabulary has no answer to other words, whether a query is free or not; a network that is asked by clicks
    gets the query's point.

    Args:
        predictor: the baseline.
        name: shown in tables.
        fingerprint: see ``evaluation.predictors.Predictor``.
    """

    def __init__(self, predictor: baselines.Predictor, name: str, fingerprint: str) -> None:
        self.predictor, self.name, self.fingerprint = predictor, name, fingerprint

    def encode(self, volume: CTVolume) -> _Scan:
        """Do the image pass."""
        return _Scan(self.predictor.encode(volume))


class _Scan:
    def __init__(self, study: BaselineStudy) -> None:
        self.study, self.seconds = study, study.seconds

    def segment(self, queries: Sequence[Query]) -> list[Answer]:
        answered = self.study.segment([query.text for query in queries], [query.point for query in queries])
        return [answer_of(segment) for segment in answered.segments]
