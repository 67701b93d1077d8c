"""What is asked of each CT of a batch: the same of all, or what a job file says."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from OpenVocabCTLib.batch.inputs import Case, Say, check_inputs_stay, find_cases, one_case
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.formats import LABEL_MAP_SUFFIXES, SEG_NRRD, output_suffix
from OpenVocabCTLib.output.places import Identity, identity
from OpenVocabCTLib.output.segmentation import Overlap

FORMATS = (SEG_NRRD, *LABEL_MAP_SUFFIXES)
JOB_FILES = (".csv", ".jsonl")
_FIELDS = frozenset({"input", "output", "prompts", "threshold"})
_EXAMPLE = 'each needs an "input", and may have "prompts" (in .csv with ; between them), "output" and "threshold"'


@dataclass(frozen=True)
class Job:
    """One CT and what is asked of it.

    Attributes:
        case: the CT, its name in reports, and the file to write.
        prompts: texts, one segment each.
        threshold: voxel probability that counts as inside; None is the model's own.
    """

    case: Case
    prompts: tuple[str, ...]
    threshold: float | None = None

    def settings(self, model: str, overlap: Overlap) -> str:
        """Return a short text that changes with everything that the result depends on.

        Args:
            model: identifies the weights.
            overlap: who gets a voxel of a label map that two segments claim.
        """
        facts = [self.prompts, self.threshold, self.case.output.name, model, overlap, self.case.fingerprint()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def jobs_for(
    inputs: Iterable[Path],
    output: Path,
    suffix: str,
    prompts: Sequence[str],
    threshold: float | None = None,
    say: Say | None = None,
) -> tuple[Job, ...]:
    """Ask the same of every CT under files and folders, see `find_cases`.

    Raises:
        InputError: there is no CT or no prompt, or two results would be written to the same file.
    """
    cases = find_cases(inputs, output, suffix, say)
    return tuple(Job(case, _checked(prompts, case.name), threshold) for case in cases)


def read_jobs(
    path: Path, output: Path, suffix: str, prompts: Sequence[str] = (), threshold: float | None = None
) -> tuple[Job, ...]:
    """Read a job file, one CT a row (.csv) or a line (.jsonl).

    Args:
        path: the file; relative inputs in it are relative to its folder.
        output: folder of the results; outputs in the file are relative to it and stay in it.
        suffix: of results whose name the file does not give.
        prompts: for rows without prompts of their own.
        threshold: for rows without one.

    Raises:
        InputError: the file cannot be read, or a row makes no sense.
    """
    jobs = [
        _job(row, f"{path.name}, {where}", path.parent, output, suffix, prompts, threshold)
        for where, row in _rows(path)
    ]
    if not jobs:
        raise InputError(f"{path.name} has no job", _EXAMPLE)
    return tuple(jobs)


def check_distinct(jobs: Iterable[Job]) -> None:
    """Refuse two jobs with the same result, and results that would replace an input of any job.

    Raises:
        InputError: there are some.
    """
    cases = tuple(job.case for job in jobs)
    taken: set[Identity] = set()
    for case in cases:
        if identity(case.output) in taken:
            raise InputError(f"two jobs would both be written to {case.output.name}", "give each an output of its own")
        taken.add(identity(case.output))
    check_inputs_stay(cases)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix.lower() not in JOB_FILES:
        raise InputError(f"{path.name} is no job file", f"give one that ends with {' or '.join(JOB_FILES)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror})", "check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not in UTF-8", "save it in UTF-8") from error
    if path.suffix.lower() == ".csv":
        yield from _table(path.name, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path.name}, line {number} is not JSON", _EXAMPLE) from error
        if not isinstance(row, dict):
            raise InputError(f"{path.name}, line {number} is no object", _EXAMPLE)
        yield f"line {number}", row


def _table(name: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a .csv; in a cell with several lines, as spreadsheets allow, each line is a prompt."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        # Spreadsheets end lines with the commas of empty columns.
        twice = [column for column, count in Counter(columns).items() if column and count > 1]
        if twice:
            raise InputError(f"{name} has two columns {twice[0]!r}", "join them; prompts have ; between them")
        for number, row in enumerate(reader, start=2):
            fields = {str(key).strip(): (value or "").strip() for key, value in row.items() if key is not None}
            if None in row:
                raise InputError(f"{name}, row {number} has more fields than columns", "quote fields with commas")
            lines = fields.get("prompts", "").replace(";", "\n").splitlines()
            prompts = [prompt.strip() for prompt in lines if prompt.strip()]
            yield f"row {number}", {key: value for key, value in fields.items() if value} | {"prompts": prompts}
    except csv.Error as error:
        raise InputError(f"{name} is no proper table ({error})", "check that every quote has its other one") from error


def _job(
    row: dict[str, Any],
    where: str,
    folder: Path,
    output: Path,
    suffix: str,
    prompts: Sequence[str],
    threshold: float | None,
) -> Job:
    unknown = sorted(row.keys() - _FIELDS)
    if unknown:
        raise InputError(f"{where} has an unknown field {unknown[0]!r}", _EXAMPLE)
    source = row.get("input")
    if not isinstance(source, str) or not source:
        raise InputError(f"{where} names no input", _EXAMPLE)
    case = _one_case(folder / source, source, where, output, suffix)
    if row.get("output") not in (None, ""):
        case = replace(case, output=_inside(output, row["output"], where))
    own = row.get("prompts") or prompts
    return Job(
        case,
        _checked([own] if isinstance(own, str) else own, where),
        threshold if row.get("threshold") in (None, "") else _threshold(row["threshold"], where),
    )


def _one_case(path: Path, name: str, where: str, output: Path, suffix: str) -> Case:
    try:
        return one_case(path, name, output, suffix)
    except InputError as error:
        raise InputError(f"{where}: {error.what}", error.todo) from error


def _inside(output: Path, name: object, where: str) -> Path:
    """Return a path in the output folder; what leads out of it is refused."""
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{where} has an output outside of the output folder", "give a path within it")
    if not name.lower().endswith(FORMATS):
        raise InputError(f"{where} has an output of unknown format", f"end it with {', '.join(FORMATS)}")
    output_suffix(Path(name), FORMATS)
    return output / name


def _checked(prompts: Any, where: str) -> tuple[str, ...]:
    texts = tuple(prompts) if isinstance(prompts, list | tuple) else ()
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{where} asks for nothing", 'name a structure, for example "left kidney"')
    return texts


def _threshold(value: object, where: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0.0 < number < 1.0:
        raise InputError(f"{where} has a threshold that is no probability", "give a number between 0 and 1")
    return number
