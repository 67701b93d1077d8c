"""``openvocabct-train decompose``: reports to organ-level statements."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openvocabct_training.pretraining.corpus import CAPTIONS, write_decompositions
from openvocabct_training.reports.backends import Backend, LocalModel, ModelBackend, OpenAIServer
from openvocabct_training.reports.cache import DecompositionCache
from openvocabct_training.reports.decompose import decompose_all
from openvocabct_training.reports.items import Counts
from openvocabct_training.reports.options import CACHE
from openvocabct_training.reports.quality import annotated_reports, measure, table
from openvocabct_training.reports.reading import reports_from
from openvocabct_training.reports.rules import RulesBackend
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.atomic import replacing


def backend_of(options: argparse.Namespace) -> Backend:
    """Make the backend that the options choose.

    Raises:
        InputError: the model is not named, or not there.
    """
    if options.backend == "rules":
        return RulesBackend()
    if not options.model:
        raise InputError(f"--backend {options.backend} needs a model", "give --model")
    if options.backend == "openai":
        server = OpenAIServer(options.url, options.model, options.rate, max_tokens=options.max_tokens)
        server.check()
        return ModelBackend(options.model, server.ask)
    local = LocalModel(Path(options.model), options.device, options.max_tokens)
    return ModelBackend(Path(options.model).name, local.ask)


def decompose(options: argparse.Namespace) -> None:
    """Reports to statements, or the quality report."""
    if options.jobs < 1:
        raise InputError(f"--jobs is {options.jobs}", "give 1 or more")
    if options.max_tokens < 1:
        raise InputError(f"--max-tokens is {options.max_tokens}", "give 1 or more")
    if options.quality:
        _quality(options)
        return
    if options.source is None:
        raise InputError("there are no reports to decompose", "give a store, or a .jsonl or .csv file")
    output = options.output or (options.source / CAPTIONS if options.source.is_dir() else None)
    if output is None:
        raise InputError("there is no place for the result", "give --output FILE.jsonl")
    reports, backend, counts = reports_from(options.source), backend_of(options), Counts()
    with _only_writer(output):
        cache = DecompositionCache(options.cache or output.with_name(CACHE))
        try:
            found = decompose_all(reports, backend, cache, jobs=options.jobs, counts=counts)
            write_decompositions(output, found.items())
        finally:
            cache.close()
    print(json.dumps({"output": str(output), "backend": backend.name, **dataclasses.asdict(counts)}))


def _quality(options: argparse.Namespace) -> None:
    reports, rules = annotated_reports(), RulesBackend()
    by_rules = decompose_all([one.report for one in reports], rules)
    figures = {rules.name: measure(rules, reports, by_rules)}
    backend = backend_of(options)
    if backend.name != rules.name:
        cache = DecompositionCache(options.cache) if options.cache else None
        figures[backend.name] = measure(backend, reports, by_rules, cache, jobs=options.jobs)
    print(table(figures), end="")
    if options.output:
        with replacing(options.output) as temporary:
            rows = {name: _without_nan(dataclasses.asdict(one)) for name, one in figures.items()}
            temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _without_nan(row: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in row.items()}


@contextmanager
def _only_writer(output: Path) -> Iterator[None]:
    """Keep a second decomposition away from the same file; a killed process holds no lock."""
    from filelock import FileLock, Timeout

    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output.with_name(f".{output.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"another program is writing {output.name}", "wait for it, or give another --output"
        ) from error
