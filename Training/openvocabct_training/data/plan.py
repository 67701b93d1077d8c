"""What there is to prepare: which cases, whether their files are there, and what each will be made from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from openvocabct_training.data.adapters import ADAPTERS, Adapter, RawCase
from openvocabct_training.data.store import check_case_id
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

log = logging.getLogger(__name__)

# Raise it when the same files would give other voxels or records, so that cases are made again.
PREPARATION = 1


def found_cases(source: Path, adapters: Mapping[str, Adapter] = ADAPTERS) -> list[RawCase]:
    """List every case of every data set under ``source``; only the adapters' own tables are read.

    Raises:
        InputError: a folder is laid out in another way, or two cases have the same name.
    """
    cases = [case for adapter in adapters.values() for case in adapter(source)]
    seen: dict[str, RawCase] = {}
    for case in cases:
        check_case_id(case.id)
        if case.id in seen:
            raise InputError(f"{case.ct} and {seen[case.id].ct} are both called {case.id}", "remove or rename one")
        seen[case.id] = case
    return cases


def missing_file(case: RawCase) -> Path | None:
    """Return the first file of a case that is not there."""
    return next((path for path in case.files if not path.is_file()), None)


def raw_cases(source: Path, adapters: Mapping[str, Adapter] = ADAPTERS) -> list[RawCase]:
    """List every case of every data set under ``source``; no voxel is read yet.

    Raises:
        InputError: a file is missing, or the folder is laid out in another way.
    """
    cases = found_cases(source, adapters)
    for case in cases:
        missing = missing_file(case)
        if missing is not None:
            raise InputError(f"{missing} is missing", f"complete the data set {case.dataset}, or give another folder")
    return cases


def ruled_out(vocabulary: Vocabulary, regions: Iterable[str]) -> tuple[str, ...]:
    """Concepts that lie only in ``regions``."""
    outside = set(regions)
    return tuple(concept.id for concept in vocabulary if concept.region and set(concept.region) <= outside)


def known_concepts_only(cases: Iterable[RawCase], vocabulary: Vocabulary) -> list[RawCase]:
    """Leave out labels of concepts that the vocabulary does not have, and say so once for every data set."""
    known: list[RawCase] = []
    told: set[tuple[str, str]] = set()
    for case in cases:
        unknown = [concept for concept in case.labels.concepts if concept not in vocabulary] if case.labels else []
        for concept in unknown:
            if (case.dataset, concept) not in told:
                log.info("%s: the vocabulary has no concept %r; its labels are left out", case.dataset, concept)
                told.add((case.dataset, concept))
        labels = case.labels.without(unknown) if case.labels and unknown else case.labels
        absent = tuple(concept for concept in case.absent if concept in vocabulary)
        known.append(replace(case, labels=labels, absent=absent))
    return known


def fingerprint(case: RawCase, vocabulary: Vocabulary, spacing_mm: float | Sequence[float]) -> str:
    """Return a hash of all that a prepared case depends on.

    Files count by name, size and time of change: to read terabytes in order to find out that nothing has to be done
    would defeat the purpose.  The folder that they lie in does not count.

    Raises:
        OSError: a file is not there.
    """
    stats = [(path.name, path.stat()) for path in case.files]
    description = {
        "preparation": PREPARATION,
        "spacing": spacing_mm if isinstance(spacing_mm, (int, float)) else list(spacing_mm),
        "case": [case.case, case.dataset, case.split, case.licence, case.patient, case.symmetric],
        "absent": sorted({*case.absent, *ruled_out(vocabulary, case.rules_out)}),
        "physics": list(case.physics),
        "labels": None if case.labels is None else case.labels.meaning(),
        "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
    }
    if case.header is not None:
        description["header"] = case.header.meaning()
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
