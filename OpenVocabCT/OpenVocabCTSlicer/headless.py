"""Segmenting many CTs without an interface, in Slicer or under plain Python, with the engine of the module.

Exit codes: 0 done; 2 bad usage, or a CT that cannot be used; 3 model or weights problem; 4 out of memory or disk;
130 cancelled; 1 anything unexpected. A CT that fails is reported and the next one follows; a model problem or a full
disk would meet every CT, and ends the batch.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from OpenVocabCTLib.errors import Cancelled, InputError, ModelError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.files import IMAGE_IO
from OpenVocabCTLib.output.atomic import make_folder
from OpenVocabCTLib.output.segmentation import Segmentation
from OpenVocabCTLib.worker.errors import WorkerLost
from OpenVocabCTLib.worker.protocol import PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.session import Session
from OpenVocabCTLib.worker.steps import Progress, run
from OpenVocabCTSlicer.batch_inputs import Case, check_same_source, find_cases
from OpenVocabCTSlicer.batch_options import Options, parse
from OpenVocabCTSlicer.batch_summary import FILE_NAME, Summary
from OpenVocabCTSlicer.logic import Asks

_LOST_IN_A_ROW = 2
_QUARTERS = 4
_CLOSE_SECONDS = 5.0


@dataclass
class Outcome:
    """How a batch ended."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    exit_codes: list[int] = field(default_factory=list)


def main(arguments: Sequence[str], open_session: Callable[[Path], Asks] | None = None) -> int:
    """Run a batch from a command line.

    Args:
        arguments: words after the script's name.
        open_session: makes the connection to the worker, given a folder for its log.

    Returns:
        The exit code.
    """
    try:
        options = parse(arguments)
        # Windows does not remove the log of a worker that is still ending.
        with tempfile.TemporaryDirectory(prefix="openvocabct-", ignore_cleanup_errors=True) as folder:
            session = (open_session or start_session)(Path(folder))
            try:
                outcome = Batch(options, session).run()
            finally:
                close = getattr(session, "close", None)
                if close is not None:
                    close(_CLOSE_SECONDS)
    except KeyboardInterrupt:
        return _complain(Cancelled("stopped", "run again with --resume to go on"))
    except OpenVocabCTError as error:
        return _complain(error)
    counts = f"{outcome.done} done, {outcome.skipped} finished before, {outcome.failed} failed"
    print(f"{counts}: {options.output / FILE_NAME}", flush=True)
    return max(outcome.exit_codes, default=0)


class Batch:
    """One run over many CTs.

    Args:
        options: what to do.
        session: the connection to the worker.
    """

    def __init__(self, options: Options, session: Asks) -> None:
        self._options, self._session = options, session
        self._summary = Summary(options.output / FILE_NAME)

    def run(self) -> Outcome:
        """Do all CTs.

        Raises:
            InputError: the input holds no CT, a result would replace that of another CT, or the output folder cannot be
                written.
            ModelError, ResourceError, WorkerLost: what would meet every further CT.
        """
        options = self._options
        _check_reading()
        cases = find_cases(options.inputs, options.output, options.suffix, _say)
        self._summary.check()
        make_folder(options.output)
        self._load_summary()
        sources = self._summary.sources_of(map(self._output_name, cases))
        for source, case in zip(sources, cases, strict=True):
            check_same_source(source, case)
        outcome, lost = Outcome(), 0
        for number, case in enumerate(cases, start=1):
            title = f"[{number}/{len(cases)}] {_one_line(case.name)}"
            settings = options.settings_of(case)
            if options.resume and case.output.is_file() and self._summary.is_done(case.name, settings):
                outcome.skipped += 1
                _say(f"{title}: finished before")
                continue
            try:
                self._do(case, title, settings)
            except (Cancelled, ModelError):
                raise
            except OpenVocabCTError as error:
                lost = lost + 1 if isinstance(error, WorkerLost) else 0
                self._report(case, title, error, outcome)
                if lost >= _LOST_IN_A_ROW:
                    raise
            else:
                lost = 0
                outcome.done += 1
        return outcome

    def _load_summary(self) -> None:
        """Keep what earlier runs noted; only --resume needs it, and says so where it cannot be read."""
        try:
            self._summary.load()
        except InputError:
            if self._options.resume:
                raise

    def _output_name(self, case: Case) -> str:
        return case.output.relative_to(self._options.output).as_posix()

    def _do(self, case: Case, title: str, settings: str) -> None:
        from OpenVocabCTLib.volume import CTVolume

        _say(f"{title}: reading")
        _check_dicom(case.source)
        volume = CTVolume.read(case.source)
        prompts = [PromptRequest(text, self._options.threshold) for text in self._options.prompts]
        steps = self._session.segment(
            (VolumeHeader.of(volume.array, volume.geometry), volume.array),
            prompts,
            model=self._options.model,
            device=self._options.device,
        )
        segmentation = run(steps, _ProgressLines(title))
        notes = tuple(dict.fromkeys((*volume.notes, *segmentation.notes)))
        for note in notes:
            _say(f"{title}: note: {note}")
        self._write(case, segmentation)
        self._summary.add_done(case.name, case.source, self._output_name(case), settings, segmentation, notes)
        _say(f"{title}: found {len(segmentation.found)} of {len(segmentation)}, wrote {case.output.name}")

    def _write(self, case: Case, segmentation: Segmentation) -> None:
        make_folder(case.output.parent)
        try:
            segmentation.write(case.output, overlap=self._options.overlap)
        except ResourceError as error:
            raise _DiskFull(error.what, error.todo) from error

    def _report(self, case: Case, title: str, error: OpenVocabCTError, outcome: Outcome) -> None:
        if isinstance(error, _DiskFull):
            raise error
        outcome.failed += 1
        outcome.exit_codes.append(error.exit_code)
        _say(f"{title}: error: {error}")
        self._summary.add_failed(case.name, str(error))


class _DiskFull(ResourceError):
    """Nothing more can be written, while out of memory may be about one large CT only."""


class _ProgressLines:
    """Prints a line when a stage begins, and at its quarters where it is counted."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last: tuple[str, int] = ("", 0)

    def __call__(self, progress: Progress) -> bool:
        quarter = _QUARTERS * progress.done // progress.total if progress.total else 0
        now = (progress.stage, quarter)
        if progress.stage != "waiting" and (now[0] != self._last[0] or quarter > self._last[1]):
            self._last = now
            counted = f" {100 * quarter // _QUARTERS}%" if progress.total else ""
            _say(f"{self._title}: {progress.stage}{counted}")
        return True


def start_session(folder: Path) -> Session:
    """Return a session that starts its worker with this Python, inside Slicer with PythonSlicer.

    Args:
        folder: for the worker's log.
    """
    import OpenVocabCTLib
    from OpenVocabCTLib.worker.process import WorkerProcess

    library = Path(OpenVocabCTLib.__file__).resolve().parent.parent
    python = (shutil.which("PythonSlicer") if inside_slicer() else None) or sys.executable
    if not python:
        raise InputError("the Python to start the worker with was not found", "start Slicer by its own launcher")
    return Session(lambda: WorkerProcess.start(python, library_folder=library, log=folder / "worker.log"))


def inside_slicer() -> bool:
    """Say whether this is the application, not only its libraries."""
    return hasattr(sys.modules.get("slicer"), "app")


def _check_reading() -> None:
    if importlib.util.find_spec("SimpleITK") is None:
        raise InputError("the package SimpleITK, which reads CTs, is missing", "install it with pip")


def _check_dicom(source: Path) -> None:
    """Check that DICOM can be read: Slicer 5.10 brings an older pydicom, which its own modules are built for.

    Raises:
        InputError: it cannot, and the CT is no volume file.
    """
    if source.is_file() and source.name.lower().endswith(tuple(IMAGE_IO)):
        return
    if importlib.util.find_spec("pydicom") is None or importlib.util.find_spec("pydicom.pixels") is None:
        raise InputError(
            "DICOM is read with pydicom 3, which this Python does not have",
            "use Slicer 5.12 or newer, or save the CT as a volume file",
        )


def _complain(error: OpenVocabCTError) -> int:
    _say(f"error: {error}")
    return error.exit_code


def _say(text: str) -> None:
    print(_one_line(text), file=sys.stderr, flush=True)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
