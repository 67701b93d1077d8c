"""What a second prompt costs, against the first answer on the same CT.

Usage: python -m Testing.benchmarks.prompt_cost [CT|KxJxI ...] [--json FILE]

Without a CT, the sample CT of the demo is used.  The first answer is reading, image pass and one prompt; the model is
loaded and the text encoder is not needed, as in a session that has already answered something.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.commands.sample import Sample
from OpenVocabCTLib.inference.embedding import EmbeddingCache
from OpenVocabCTLib.inference.questions import QuestionMaker
from OpenVocabCTLib.inference.segmenter import Study
from Testing.benchmarks.phantom_ct import ct_file

# Scans that the model is said to have learned a structure from: enough to be asked for any.
MANY_SCANS = 1000
FIRST, SECOND = "left lung", ("right lung", "spinal cord", "bones", "adipose tissue", "body")
NUMBERS = (1, 2, 10, 100)
REACH_SECOND, REACH_HUNDRED = 0.02, 1.3


def different(segmenter: Segmenter, study: Study, number: int = NUMBERS[-1]) -> float:
    """Seconds of as many prompts, no two of which ask for the same, and all of which are looked for.

    The model knows a few structures only. Here it is asked for any, and believes that each is in the scan: what it then
    shows means nothing, but costs what so many known structures would cost. Their names are encoded before.
    """
    known, anything = segmenter.questions, copy(segmenter)
    trained = {concept.id: MANY_SCANS for concept in known.vocabulary}
    decision = replace(known.decision, presence_threshold=1e-9, concept_presence_thresholds={})
    anything.questions = QuestionMaker(known.vocabulary, known.bank, trained, decision)
    names = [concept.name for concept in known.vocabulary if not concept.members and not concept.parts][:number]
    other = Study(anything, study.volume, study.embedding)
    other.segment(names)
    began = time.perf_counter()
    other.segment(names)
    return time.perf_counter() - began


def measure(path: Path, segmenter: Segmenter) -> dict[str, Any]:
    """Seconds and ratios on one CT."""
    segmenter.cache = EmbeddingCache()
    began = time.perf_counter()
    study = segmenter.encode(CTVolume.read(path))
    study.segment([FIRST])
    first = time.perf_counter() - began
    seconds = []
    for prompt in SECOND:
        began = time.perf_counter()
        study.segment([prompt])
        seconds.append(time.perf_counter() - began)
    questions = segmenter.questions
    trained = (concept for concept in questions.vocabulary if concept.id in questions.trained)
    concepts = [concept.name for concept in trained if questions.is_answered(concept)]
    many = {}
    for number in NUMBERS:
        texts = (concepts * (number // len(concepts) + 1))[:number]
        began = time.perf_counter()
        study.segment(texts)
        many[number] = time.perf_counter() - began
    return {
        "ct": path.name,
        "voxels": list(study.volume.geometry.shape),
        "tiles": len(study.embedding.tile_starts),
        "first_answer_s": first,
        "image_pass_s": study.seconds,
        "second_prompt_s": dict(zip(SECOND, seconds, strict=True)),
        "second_to_first_median": statistics.median(seconds) / first,
        "second_to_first_max": max(seconds) / first,
        "prompts_s": many,
        "different_s": different(segmenter, study),
        "hundred_to_one": (first - study.segment([FIRST]).segments[0].seconds + many[100]) / first,
    }


def main() -> None:
    """Print one line a CT; write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ct", nargs="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    segmenter = Segmenter.from_pretrained()
    with tempfile.TemporaryDirectory() as folder:
        paths = [ct_file(source, Path(folder)) for source in options.ct or [str(Sample.find().ct)]]
        segmenter.encode(CTVolume.read(paths[0])).segment([FIRST])  # warm up
        rows = [measure(path, segmenter) for path in paths]
    report = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "results": rows}
    for row in rows:
        print(
            f"{row['ct']}: first answer {row['first_answer_s']:.2f} s ({row['tiles']} tiles); second prompt "
            f"{row['second_to_first_median']:.1%} of it (median; reach {REACH_SECOND:.0%}), worst "
            f"{row['second_to_first_max']:.1%}; 100 prompts {row['hundred_to_one']:.2f}x (reach {REACH_HUNDRED}x), "
            f"100 different ones {row['different_s']:.2f} s"
        )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
