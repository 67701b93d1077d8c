"""Read many hostile and damaged prompts and reports: nothing may crash, and each takes bounded time.

    python -m Testing.benchmarks.fuzzed_prompts [--count 100000] [--seed 0]

Prints the slowest prompt and the memory that reading all of them took.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import time
from collections.abc import Iterator

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts import PromptSet, Vocabulary
from OpenVocabCTLib.reports import read_report

PIECES = (
    *("left", "right", "L", "both", "minus", "and", "without", "except", "C2-C5", "ribs 3 to 6", "T12", "segment IV"),
    *("liver", "kidney", "lungs", "tumour", "(", ")", "[", "]", ",", ";", "+", "&", "-", "/", "|", "\\", '"', "'"),
    *("'; DROP TABLE patients; --", "<script>alert(1)</script>", "{{7*7}}", "${jndi:x}", "../../etc/passwd", "%00"),
    *(
        "\x00",
        "\x1b[31m",
        "\x1b]0;x\x07",
        "\u202e",
        "\u200b",
        "\ufeff",
        "\ud800",
        "e\u0301" * 5,
        "\ufdfa",
        "肝臓",
        "печень",
    ),
    *(
        "🙂",
        "\U0001f468\u200d\U0001f469",
        "²³",
        "Ⅳ",
        "½",
        "١٢",
        "ﬁ",
        "ß",
        "İ",
        "0" * 30,
        "9" * 12,
        "-" * 20,
        "no",
        "not",
    ),
)


def fuzzed(count: int, seed: int) -> Iterator[str]:
    """Yield damaged phrases of the vocabulary, mixtures of the pieces, and noise."""
    rng = random.Random(seed)
    vocabulary = Vocabulary.load()
    phrases = [phrase for concept in vocabulary for phrase in vocabulary.phrases(concept)]
    for _ in range(count):
        kind = rng.random()
        if kind < 0.4:
            letters = list(rng.choice(phrases))
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(len(letters) + 1)
                letters[place : place + rng.randint(0, 2)] = rng.choice(("", " ", "-", "x", "é", "L", "1", "\u0301"))
            yield "".join(letters)
        elif kind < 0.8:
            yield rng.choice((" ", "", ", ")).join(
                rng.choice((*PIECES, rng.choice(phrases))) for _ in range(rng.randint(1, 9))
            )
        else:
            yield "".join(
                chr(rng.choice((rng.randrange(128), rng.randrange(0x3000), rng.randrange(0x110000)))) for _ in range(40)
            )


def hostile(size: int) -> Iterator[str]:
    """Yield texts of about `size` characters, one of each kind that makes careless readers slow."""
    for piece in (
        "left ",
        "a",
        "l",
        "(",
        "and ",
        "liver, ",
        "liver and ",
        "liver minus ",
        "C1-C7 ",
        "rib 1-",
        "\x1b[",
        "ﷺ",
    ):
        yield piece * (size // len(piece))


def slowest(texts: Iterator[str]) -> tuple[float, str]:
    """Read every text as a prompt and as a report; return the longest time in seconds and its text."""
    worst = (0.0, "")
    for text in texts:
        began = time.process_time()
        with contextlib.suppress(InputError):  # nothing but blanks
            PromptSet.parse([text])
        read_report(text[:2000])
        worst = max(worst, (time.process_time() - began, text[:80]))
    return worst


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    PromptSet.parse(["liver"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    seconds, text = slowest(fuzzed(arguments.count, arguments.seed))
    print(
        f"{arguments.count} prompts in {time.perf_counter() - began:.0f} s, slowest {1000 * seconds:.0f} ms: {text!r}"
    )
    seconds, text = slowest(hostile(1_000_000))
    print(f"texts of 1 MB: slowest {1000 * seconds:.0f} ms: {text[:20]!r}")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"memory grew by {grown / 1024:.0f} MB")


if __name__ == "__main__":
    main()
