"""From a pasted radiology report to prompts, each linked to the sentences that ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.errors import ProtocolError
from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.prompts_text import prompt_key
from OpenVocabCTSlicer.strings import _

_LONGEST = 100_000
_JOINT = " / "


class ReadsReports(Protocol):
    """The part of `worker.session.Session` that is used."""

    def report(self, text: str) -> Steps[dict[str, Any]]:
        """Say what a report finds."""


@dataclass(frozen=True)
class Reading:
    """What a report asks to segment.

    Attributes:
        prompts: once each, in the order of the report.
        sentences: key of a prompt (see `prompt_key`) -> the sentences that ask for it.
        denied: findings that the report says are not there; they are not segmented.
    """

    prompts: tuple[str, ...]
    sentences: Mapping[str, str] = field(default_factory=dict)
    denied: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The prompts as the prompt box has them: one a line, in quotes where a comma would part them."""
        return "\n".join(f'"{prompt}"' if {",", ";"} & set(prompt) else prompt for prompt in self.prompts)

    @property
    def summary(self) -> str:
        """One or two sentences for the user."""
        read = _("{count} prompts were read from the report: check them, then press Apply").format(
            count=len(self.prompts)
        )
        if not self.denied:
            return read
        return read + "\n" + _("not there by the report, so left out: {names}").format(names=", ".join(self.denied))


def read_report(session: ReadsReports, text: str) -> Steps[Reading]:
    """Have the engine read a report; the scan is not needed for that.

    Args:
        session: the connection to the engine.
        text: the report.

    Raises:
        InputError: the text is too long, or names no finding that is there.
        OpenVocabCTError: the engine cannot be reached.
    """
    if len(text) > _LONGEST:
        raise InputError(
            _("the text is longer than a report"), _("paste at most {count} letters").format(count=_LONGEST)
        )
    reply = yield from session.report(text)
    return _reading(reply)


def sentence_for(sentences: Mapping[str, str], prompt: str) -> str:
    """Return the sentences of a report that ask for a prompt, "" where none does."""
    return sentences.get(prompt_key(prompt), "")


def _reading(reply: Mapping[str, Any]) -> Reading:
    try:
        pairs = [(str(one["prompt"]), _joined(one["sentences"])) for one in reply["prompts"]]
        denied = [str(one["finding"]) for one in reply["findings"] if one["status"] == "absent"]
    except (KeyError, TypeError) as error:
        raise ProtocolError(_("the engine read the report in a way that is not understood"), _("restart it")) from error
    return Reading(
        tuple(prompt for prompt, _sentence in pairs),
        {prompt_key(prompt): sentence for prompt, sentence in pairs},
        tuple(dict.fromkeys(denied)),
    )


def _joined(sentences: Sequence[str]) -> str:
    return _JOINT.join(str(sentence) for sentence in sentences)
