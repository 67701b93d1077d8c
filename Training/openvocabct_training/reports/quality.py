"""How well a backend takes reports apart, measured on reports that people annotated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openvocabct_training.reports.backends import Backend
from openvocabct_training.reports.cache import DecompositionCache
from openvocabct_training.reports.decompose import decompose_all
from openvocabct_training.reports.grounding import Grounding
from openvocabct_training.reports.items import Decomposition, Item, Polarity, report_sha256
from openvocabct_training.reports.organs import pair_of
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

ANNOTATED_FILE = Path(__file__).with_name("annotated.jsonl")


@dataclass(frozen=True)
class Annotation:
    """A statement that a person found in a report.

    Attributes:
        organ: id of the closed list; left or right where the report says so.
        polarity: as the person reads it.
        words: of the report that say so; they occur in it once.
    """

    organ: str
    polarity: Polarity
    words: str


@dataclass(frozen=True)
class AnnotatedReport:
    """A report with all its statements."""

    report: str
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True)
class Quality:
    """Figures of one backend; where the rules had to take over, it found nothing.  Shares of nothing are NaN.

    Attributes:
        statements: annotated ones.
        coverage: share of them that the backend found, for the right organ.
        polarity: share of the found ones with the right polarity.
        side: share of the found ones on a side whose side is right.
        unsupported: share of the backend's statements that no annotation supports.
        hallucinated: share of the model's statements that were not grounded and were rejected.
        ungrounded_kept: statements that were kept and are not grounded; has to be 0.
        fallbacks: reports that the rules had to take over.
        agreement: share of the statements found by it and by the rules that have the same polarity.
    """

    statements: int
    coverage: float
    polarity: float
    side: float
    unsupported: float
    hallucinated: float
    ungrounded_kept: int
    fallbacks: int
    agreement: float


def annotated_reports(path: Path = ANNOTATED_FILE) -> list[AnnotatedReport]:
    """Read annotated reports, one JSON object a line: ``{"report", "statements": [[organ, polarity, words]]}``.

    Raises:
        ValueError: words of a statement do not occur once in its report.
    """
    reports = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        annotations = tuple(Annotation(*statement) for statement in row["statements"])
        for annotation in annotations:
            if row["report"].count(annotation.words) != 1:
                raise ValueError(f"{annotation.words!r} does not occur once in {row['report'][:60]!r}")
        reports.append(AnnotatedReport(row["report"], annotations))
    return reports


def measure(
    backend: Backend,
    reports: Sequence[AnnotatedReport],
    rules: Mapping[str, Decomposition],
    cache: DecompositionCache | None = None,
    *,
    jobs: int = 1,
) -> Quality:
    """Compare a backend with the annotations.

    Args:
        backend: takes the reports apart.
        reports: annotated ones.
        rules: sha256 of a report -> what the rules make of it, for the agreement.
        cache: of the backend's answers.
        jobs: reports at the same time.
    """
    vocabulary, grounding = Vocabulary.load(), Grounding()
    found = decompose_all([one.report for one in reports], backend, cache, jobs=jobs)
    hits = right = sided = right_side = supported = kept = rejected = ungrounded = fallbacks = same = both = 0
    for one in reports:
        decomposition = found[report_sha256(one.report)]
        own = () if decomposition.fallback else decomposition.items
        kept += len(own)
        rejected += decomposition.rejected
        fallbacks += bool(decomposition.fallback)
        ungrounded += sum(not grounding.holds(one.report, item) for item in decomposition.items)
        for annotation in one.annotations:
            match = _match(one.report, annotation, own, vocabulary)
            other = _match(one.report, annotation, rules[report_sha256(one.report)].items, vocabulary)
            if match is None:
                continue
            hits += 1
            right += match.polarity == annotation.polarity
            if pair_of(annotation.organ, vocabulary) != annotation.organ:
                sided += 1
                right_side += match.organ == annotation.organ
            if other is not None:
                both += 1
                same += match.polarity == other.polarity
        supported += sum(
            any(_supports(one.report, annotation, item, vocabulary) for annotation in one.annotations) for item in own
        )
    statements = sum(len(one.annotations) for one in reports)
    return Quality(
        statements=statements,
        coverage=_share(hits, statements),
        polarity=_share(right, hits),
        side=_share(right_side, sided),
        unsupported=1.0 - _share(supported, kept) if kept else 0.0,
        hallucinated=_share(rejected, kept + rejected) if rejected else 0.0,
        ungrounded_kept=ungrounded,
        fallbacks=fallbacks,
        agreement=_share(same, both),
    )


def table(figures: Mapping[str, Quality]) -> str:
    """Markdown table of backends."""
    lines = [
        "| backend | statements | coverage | polarity right | side right | unsupported | rejected as ungrounded | "
        "ungrounded kept | fallbacks | polarity as the rules |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in figures.items():
        shares = (one.coverage, one.polarity, one.side, one.unsupported, one.hallucinated)
        cells = [name, str(one.statements), *(_cell(share) for share in shares)]
        cells += [str(one.ungrounded_kept), str(one.fallbacks), _cell(one.agreement)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.3f}"


def _match(report: str, annotation: Annotation, items: Sequence[Item], vocabulary: Vocabulary) -> Item | None:
    """Return the item that makes an annotated statement: same organ, sides apart, at its words; its side first."""
    found = [item for item in items if _supports(report, annotation, item, vocabulary)]
    found.sort(key=lambda item: (item.organ != annotation.organ, item.source_span[1] - item.source_span[0]))
    return found[0] if found else None


def _supports(report: str, annotation: Annotation, item: Item, vocabulary: Vocabulary) -> bool:
    start = report.index(annotation.words)
    end = start + len(annotation.words)
    at_the_words = item.source_span[0] < end and start < item.source_span[1]
    return at_the_words and pair_of(item.organ, vocabulary) == pair_of(annotation.organ, vocabulary)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
