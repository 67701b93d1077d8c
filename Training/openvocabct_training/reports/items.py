"""What a report says of every organ: the data, its JSON form, and the checks that every backend's answer passes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from openvocabct_training.reports.organs import organ_ids

Polarity = Literal["present", "absent", "uncertain"]
POLARITIES: tuple[Polarity, ...] = get_args(Polarity)


@dataclass(frozen=True)
class Item:
    """One statement about one organ.

    Attributes:
        organ: id of the closed list, see `organs.organ_ids`.
        text: the statement, as a caption.
        polarity: whether what it speaks of is there.
        source_span: where the report says so, first and last+1 character.
    """

    organ: str
    text: str
    polarity: Polarity
    source_span: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """The form that the files have, without the organ, which is the key."""
        return {"text": self.text, "polarity": self.polarity, "source_span": list(self.source_span)}


@dataclass(frozen=True)
class Decomposition:
    """All statements of one report.

    Attributes:
        items: in the order of the report.
        backend: what made them: "rules", or the name of a model.
        rejected: answers of a model that were not grounded in the report, and were left out.
        fallback: why a model's answer was replaced by that of the rules; empty if it was not.
        dropped: findings of the rules without an organ of the list.
    """

    items: tuple[Item, ...]
    backend: str
    rejected: int = 0
    fallback: str = ""
    dropped: int = 0

    def organs(self) -> dict[str, list[dict[str, Any]]]:
        """Organ -> its statements, ready for JSON."""
        organs: dict[str, list[dict[str, Any]]] = {}
        for item in self.items:
            organs.setdefault(item.organ, []).append(item.to_json())
        return organs

    def to_json(self) -> dict[str, Any]:
        """The form that the files have."""
        row: dict[str, Any] = {"organs": self.organs(), "backend": self.backend, "rejected": self.rejected}
        return row | {"fallback": self.fallback, "dropped": self.dropped}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Decomposition:
        """Read the form that the files have.

        Raises:
            ValueError, KeyError, TypeError: it has another form.
        """
        items = tuple(read_items(row["organs"]))
        return cls(items, row["backend"], int(row["rejected"]), row["fallback"], int(row.get("dropped", 0)))


def read_items(organs: Mapping[str, Any]) -> Iterator[Item]:
    """Yield the statements of ``{organ: [{text, polarity, source_span}]}``.

    Raises:
        ValueError: an organ is not on the list, or a statement has another form.
    """
    for organ, statements in organs.items():
        if organ not in organ_ids():
            raise ValueError(f"{organ!r} is not on the list of organs")
        for statement in statements:
            start, end = statement["source_span"]
            if statement["polarity"] not in POLARITIES or not str(statement["text"]).strip() or not 0 <= start < end:
                raise ValueError(f"{statement!r} is no statement")
            yield Item(organ, str(statement["text"]), statement["polarity"], (int(start), int(end)))


def report_sha256(report: str) -> str:
    """Identifies the text of a report."""
    return hashlib.sha256(report.encode("utf-8", "surrogatepass")).hexdigest()


def without_repeats(items: Iterable[Item]) -> tuple[Item, ...]:
    """Leave out what says the same of the same organ again."""
    kept: dict[tuple[str, str, str], Item] = {}
    for item in items:
        kept.setdefault((item.organ, " ".join(item.text.lower().split()), item.polarity), item)
    return tuple(kept.values())


@dataclass
class Counts:
    """What happened to the reports of a run.

    Attributes:
        reports: all.
        items: statements that were kept.
        rejected: statements of a model that were not grounded.
        fallbacks: reports that fell back to the rules.
        cached: reports whose answer was known.
        polarities: statements by polarity.
    """

    reports: int = 0
    items: int = 0
    rejected: int = 0
    fallbacks: int = 0
    cached: int = 0
    polarities: dict[str, int] = field(default_factory=lambda: dict.fromkeys(POLARITIES, 0))

    def add(self, decomposition: Decomposition, cached: bool) -> None:
        """Count one report."""
        self.reports += 1
        self.items += len(decomposition.items)
        self.rejected += decomposition.rejected
        self.fallbacks += bool(decomposition.fallback)
        self.cached += cached
        for item in decomposition.items:
            self.polarities[item.polarity] += 1
