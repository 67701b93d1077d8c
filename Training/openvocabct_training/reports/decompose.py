"""Taking many reports apart: concurrently, with a cache, and with the rules where a model fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from openvocabct_training.reports.backends import Backend, BackendError
from openvocabct_training.reports.cache import DecompositionCache
from openvocabct_training.reports.items import Counts, Decomposition, report_sha256
from openvocabct_training.reports.rules import RulesBackend

log = logging.getLogger(__name__)

_AHEAD = 4
_TOLD_EVERY = 500


def decompose_all(
    reports: Iterable[str],
    backend: Backend,
    cache: DecompositionCache | None = None,
    *,
    jobs: int = 1,
    rules: RulesBackend | None = None,
    counts: Counts | None = None,
) -> dict[str, Decomposition]:
    """Take every report apart; equal reports once.

    Answers of the backend are kept in the cache as they come.  Where it fails, the rules' answer stands in, marked with
    the reason; it is not kept, so that a later run asks again.

    Args:
        reports: texts.
        backend: takes them apart.
        cache: of answers.
        jobs: reports at the same time.
        rules: what stands in.
        counts: is told what happened.

    Returns:
        sha256 of a report -> what it says, in the order of the reports.
    """
    rules = rules or RulesBackend()
    counts = counts if counts is not None else Counts()
    unique: dict[str, str] = {}
    for report in reports:
        unique.setdefault(report_sha256(report), report)
    found: dict[str, Decomposition] = {}
    todo: list[str] = []
    for sha256, report in unique.items():
        known = cache.get(cache.key(report, backend.identity)) if cache else None
        if known is None:
            todo.append(sha256)
        else:
            found[sha256] = known
            counts.add(known, cached=True)

    def work(sha256: str) -> Decomposition:
        try:
            return backend.decompose(unique[sha256])
        except BackendError as error:
            return replace(rules.decompose(unique[sha256]), fallback=str(error))

    for number, (sha256, decomposition) in enumerate(_each(work, todo, jobs), start=1):
        if cache and not decomposition.fallback:
            cache.put(cache.key(unique[sha256], backend.identity), decomposition)
        found[sha256] = decomposition
        counts.add(decomposition, cached=False)
        if number % _TOLD_EVERY == 0:
            log.info("%d of %d reports", number, len(todo))
    return {sha256: found[sha256] for sha256 in unique}


def _each(work: Callable[[str], Decomposition], todo: list[str], jobs: int) -> Iterator[tuple[str, Decomposition]]:
    """Yield what was done as it is done; only a few more than ``jobs`` wait in the queue."""
    if jobs <= 1:
        for sha256 in todo:
            yield sha256, work(sha256)
        return
    waiting = iter(todo)
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[Decomposition], str] = {}
        try:
            for sha256 in waiting:
                running[pool.submit(work, sha256)] = sha256
                if len(running) >= _AHEAD * jobs:
                    yield from _finished(running)
            while running:
                yield from _finished(running)
        finally:
            for future in running:
                future.cancel()


def _finished(running: dict[Future[Decomposition], str]) -> list[tuple[str, Decomposition]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    return [(running.pop(future), future.result()) for future in done]
