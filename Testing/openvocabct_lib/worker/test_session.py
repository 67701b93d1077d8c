from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from OpenVocabCTLib.errors import Cancelled, InputError, OpenVocabCTError
from OpenVocabCTLib.prompts import PromptSet
from OpenVocabCTLib.volume import CTVolume
from OpenVocabCTLib.worker.client import WorkerClient
from OpenVocabCTLib.worker.errors import ProtocolError, WorkerLost
from OpenVocabCTLib.worker.process import WorkerProcess
from OpenVocabCTLib.worker.protocol import Address, PromptRequest
from OpenVocabCTLib.worker.session import Session
from OpenVocabCTLib.worker.steps import Progress, Steps, cancel, run
from OpenVocabCTLib.worker.stepwise import StepwiseClient
from OpenVocabCTLib.worker.studies import Limits
from Testing.openvocabct_lib.fake_model import TILES, FakeStudy
from Testing.openvocabct_lib.worker.running import (
    SHAPE,
    TOKEN,
    Recorder,
    Running,
    SteppedSegmenter,
    ct,
    fake_process,
    running_server,
)

BONES, HEART = PromptRequest("bones"), PromptRequest("heart")


def drive_until(steps: Steps[object], stage: str, done: int = 0) -> None:
    """Go on with steps until they report a stage, and so many units done."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        progress = next(steps)
        if progress is not None and progress.stage == stage and progress.done >= done:
            return
        time.sleep(0.001)
    raise AssertionError(f"{stage} was never reached")


def test_a_segmentation_is_that_of_the_library_to_the_voxel() -> None:
    header, array = ct()
    prompts = [BONES, HEART, PromptRequest("body", 0.25), BONES]
    seen = Recorder()
    with running_server() as worker:
        result = run(Session(worker.address).segment((header, array), prompts), seen)
    volume = CTVolume.from_array(array, header.geometry)
    expected = FakeStudy(volume).segment(PromptSet.parse(["bones", "heart", "body", "bones"]), [None, None, 0.25, None])
    for ours, theirs in zip(result, expected, strict=True):
        fields = ("id", "name", "prompt", "canonical", "terminology", "colour", "found", "reason", "presence")
        fields += ("threshold", "volume_ml", "mean_hu", "seconds", "doubts")
        assert {name: getattr(ours, name) for name in fields} == {name: getattr(theirs, name) for name in fields}
        assert (ours.cropped is None) == (theirs.cropped is None)
        assert ours.cropped is None or np.array_equal(ours.mask, theirs.mask)
    assert result.geometry == header.geometry
    assert result.notes == ("a note",)
    assert result.segments[0].terminology is not None
    assert [stage for stage in seen.stages if stage in ("uploading", "answering")] == ["uploading", "answering"]


def test_a_second_prompt_neither_hashes_nor_uploads_nor_encodes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server() as worker:
        session = Session(worker.address)
        run(session.segment(ct(), [BONES], revision=1))
        monkeypatch.setattr("OpenVocabCTLib.worker.session.content_key_steps", None)
        seen = Recorder()
        assert run(session.segment(ct(), [HEART], revision=1), seen).segments[0].name == "heart"
        assert set(seen.stages) <= {"answering", "waiting"}
        with pytest.raises(TypeError):  # another revision is hashed
            run(session.segment(ct(), [HEART], revision=2))


def test_what_the_worker_forgot_is_sent_again() -> None:
    with running_server(limits=Limits(studies=1)) as worker:
        session = Session(worker.address)
        first = run(session.segment(ct(1), [BONES], revision="first"))
        run(session.segment(ct(2), [BONES], revision="second"))
        assert len(worker.engine.studies) == 1
        again = run(session.segment(ct(1), [BONES], revision="first"))
        assert np.array_equal(again.segments[0].mask, first.segments[0].mask)
        run(session.free())
        assert (worker.engine.studies.bytes, worker.engine.models.report()) == (0, None)
        run(session.segment(ct(1), [BONES], revision="first"))


def test_what_another_client_freed_during_the_image_pass_is_sent_again() -> None:
    segmenter = SteppedSegmenter()
    with running_server(segmenter) as worker:
        steps = Session(worker.address).segment(ct(), [BONES])
        drive_until(steps, "encoding")
        assert segmenter.begun.wait(5)
        WorkerClient(worker.address).free()
        segmenter.go_on.set()
        assert run(steps).segments[0].found
        assert segmenter.tiles_begun == 2 * TILES


def test_cancel_stops_the_image_pass_at_the_next_tile() -> None:
    segmenter = SteppedSegmenter()
    with running_server(segmenter) as worker:
        session = Session(worker.address)
        steps = session.segment(ct(), [BONES])
        drive_until(steps, "encoding")
        assert segmenter.begun.wait(5)
        began = time.monotonic()
        with pytest.raises(Cancelled):
            cancel(steps)
        assert time.monotonic() - began < 2
        segmenter.go_on.set()
        deadline = time.monotonic() + 5
        while worker.engine.jobs.busy and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not worker.engine.jobs.busy
        assert segmenter.tiles_begun <= 2
        assert run(session.segment(ct(), [BONES])).segments[0].found  # and it can be asked again


@pytest.mark.parametrize("stage", ["waiting", "uploading", "encoding", "answering"])
def test_cancelling_or_closing_at_any_stage_leaves_a_session_that_works(stage: str) -> None:
    segmenter = SteppedSegmenter()
    with running_server(segmenter) as worker:
        session = Session(worker.address)
        for seed, end in enumerate((cancel, lambda steps: steps.close())):
            # Only a volume that takes some time to hash is ever reported as waiting.
            steps = session.segment(ct(seed, (64, 128, 160) if stage == "waiting" else SHAPE), [BONES])
            if stage == "answering":
                segmenter.go_on.set()
            drive_until(steps, stage)
            with suppress(Cancelled):
                end(steps)
            segmenter.go_on.set()
            while worker.engine.jobs.busy:
                time.sleep(0.01)
            segmenter.go_on.clear()
        segmenter.go_on.set()
        assert run(session.segment(ct(), [BONES])).segments[0].found


def test_closing_the_steps_stops_the_image_pass_too() -> None:
    segmenter = SteppedSegmenter()
    with running_server(segmenter) as worker:
        steps = Session(worker.address).segment(ct(), [BONES])
        drive_until(steps, "encoding")
        assert segmenter.begun.wait(5)
        steps.close()
        deadline = time.monotonic() + 5
        while not all(job.cancelled.is_set() for job in worker.engine.jobs._jobs.values()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        segmenter.go_on.set()


def test_two_clients_at_once_get_their_own_answers() -> None:
    volumes = {seed: ct(seed) for seed in range(4)}
    expected = {
        seed: FakeStudy(CTVolume.from_array(array, header.geometry)).segment(PromptSet.parse(["bones", "body"]))
        for seed, (header, array) in volumes.items()
    }
    failures: list[object] = []

    def client(address: Address, seed: int) -> None:
        try:
            ask(address, seed)
        except OpenVocabCTError as error:
            failures.append(error)

    def ask(address: Address, seed: int) -> None:
        session = Session(address)
        for number in range(6):
            texts = ["bones", "body"] if number % 2 else ["body", "bones"]
            result = run(session.segment(volumes[seed], [PromptRequest(text) for text in texts]))
            for text, segment in zip(texts, result, strict=True):
                if segment.prompt != text or not np.array_equal(segment.mask, expected[seed][text].mask):
                    failures.append((seed, number, text))

    # Fewer places than clients: they push each other's volumes out.
    with running_server(limits=Limits(studies=3)) as worker:
        threads = [threading.Thread(target=client, args=(worker.address, seed)) for seed in volumes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
    assert failures == []


def test_nothing_between_two_yields_takes_long() -> None:
    header, array = ct(shape=(64, 256, 256))
    with running_server() as worker:
        session = Session(worker.address)
        run(session.status())
        longest, steps = 0.0, session.segment((header, array), [BONES, PromptRequest("body")])
        while True:
            began = time.thread_time()
            try:
                progress = next(steps)
            except StopIteration:
                break
            longest = max(longest, time.thread_time() - began)
            if progress is None:
                time.sleep(0.001)
    assert longest < 0.03


# The worker as a process


def test_a_killed_worker_is_reported_once_and_started_anew(tmp_path: Path) -> None:
    workers: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        workers.append(fake_process(tmp_path, tile_seconds=0.3 if not workers else 0.0))
        return workers[-1]

    session = Session(start)
    try:
        steps = session.segment(ct(), [BONES])
        drive_until(steps, "encoding", done=1)
        os.kill(workers[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerLost) as caught:
            run(steps)
        sentence = str(caught.value)
        assert "\n" not in sentence and "signal 9" in sentence and "again" in sentence
        seen = Recorder()
        assert run(session.segment(ct(), [BONES]), seen).segments[0].found
        assert seen.stages[0] == "starting"
        assert len(workers) == 2
    finally:
        session.close(5)
    assert not any(worker.alive for worker in workers)


def test_a_worker_that_died_between_two_calls_is_replaced_without_a_word(tmp_path: Path) -> None:
    workers: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        workers.append(fake_process(tmp_path))
        return workers[-1]

    session = Session(start)
    try:
        assert run(session.status())["pid"] == workers[0].pid
        os.kill(workers[0].pid, signal.SIGKILL)
        while workers[0].alive:
            time.sleep(0.01)
        assert not session.running
        run(session.free())
        assert len(workers) == 1  # nothing is started to be freed
        assert run(session.status())["pid"] == workers[1].pid
    finally:
        session.close(5)


class Child:
    """A worker process as a session sees it, served by a thread."""

    def __init__(self, address: Address) -> None:
        self._address, self.alive, self.stopped = address, True, 0

    def address(self) -> Address:
        return self._address

    def lost(self) -> WorkerLost:
        return WorkerLost("the worker ended", "run again")

    def stop(self, timeout: float = 3.0) -> None:
        self.stopped += 1


def _busy(running: Running, seconds: float) -> None:
    """Make the next status take its time, as while the worker imports torch."""
    status, delays = running.engine.status, [seconds]

    def slow() -> dict[str, object]:
        time.sleep(delays.pop() if delays else 0)
        return status()

    running.engine.status = slow  # type: ignore[method-assign]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that takes longer than this is late."""
    monkeypatch.setattr(StepwiseClient.status, "__defaults__", (0.2,))
    monkeypatch.setattr("OpenVocabCTLib.worker.session.STATUS_SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_is_still_importing_is_waited_for() -> None:
    with running_server() as running:
        child = Child(running.address)
        _busy(running, 0.8)
        assert run(Session(lambda: child).segment(ct(), [BONES])).segments[0].found
        assert not child.stopped
        # Nobody knows whether a worker elsewhere is starting.
        _busy(running, 0.8)
        with pytest.raises(WorkerLost, match="has not answered"):
            run(Session(running.address).status())


@pytest.mark.usefixtures("impatient")
def test_asking_a_busy_worker_for_its_state_does_not_end_it() -> None:
    with running_server() as running:
        child = Child(running.address)
        session = Session(lambda: child)
        run(session.segment(ct(), [BONES], revision=1))
        _busy(running, 0.8)
        with pytest.raises(WorkerLost, match="has not answered"):
            run(session.status())
        assert not child.stopped
        assert session.running
        seen = Recorder()
        assert run(session.segment(ct(), [HEART], revision=1), seen).segments[0].name == "heart"
        assert set(seen.stages) <= {"answering", "waiting"}, "nothing is read again"


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_never_says_what_it_is_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("OpenVocabCTLib.worker.session.START_SECONDS", 0.3)
    with running_server() as running:
        child = Child(running.address)
        _busy(running, 0.9)
        with pytest.raises(WorkerLost, match="has not answered"):
            run(Session(lambda: child).status())
        assert child.stopped == 1


def test_a_worker_that_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    def broken() -> WorkerProcess:
        command = ("-c", "import sys; sys.exit('error: no torch here: install it')")
        return WorkerProcess.start(sys.executable, log=tmp_path / "log", command=command)

    with pytest.raises(WorkerLost, match=r"exit code 1 \(error: no torch here: install it\)") as caught:
        run(Session(broken).status())
    assert "\n" not in str(caught.value)

    def absent() -> WorkerProcess:
        return WorkerProcess.start(str(tmp_path / "no-python"), log=tmp_path / "log")

    with pytest.raises(WorkerLost, match="cannot be started"):
        run(Session(absent).status())


def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("OpenVocabCTLib.worker.engine.PROTOCOL_VERSION", 2)
    with running_server() as worker, pytest.raises(ProtocolError, match=r"version 2 .* version 1"):
        run(Session(worker.address).status())


def test_nobody_at_a_remote_address() -> None:
    with running_server() as worker:
        address = worker.address
    session = Session(address)
    for _ in range(2):
        with pytest.raises(WorkerLost, match=f"no worker answers at 127.0.0.1:{address.port}"):
            run(session.status())


def test_errors_of_the_worker_come_back_as_themselves() -> None:
    header, array = ct()
    with running_server() as worker:
        session = Session(worker.address)
        with pytest.raises(InputError, match="windowed picture"):
            run(session.segment((header, (array > 0).astype(np.int16) * 255), [BONES]))
        with pytest.raises(InputError, match="empty"):
            run(session.segment((header, array), [PromptRequest("  ")]))
        with pytest.raises(InputError, match="probability"):
            run(session.segment((header, array), [PromptRequest("bones", 1.5)]))
        with pytest.raises(InputError, match="number"):
            run(session.segment((header, array), [PromptRequest("bones", float("nan"))]))


def test_run_reports_progress_and_cancels() -> None:
    told = []

    def work() -> Steps[int]:
        try:
            for done in range(10):
                yield Progress("writing", done, 10)
        except Cancelled:
            yield None
            told.append("cancelled")
            raise
        return 5

    assert run(work()) == 5
    with pytest.raises(Cancelled):
        run(work(), lambda progress: progress.done < 3)
    assert told == ["cancelled"]


def test_the_token_never_shows() -> None:
    assert TOKEN not in repr(Address("h", 1, TOKEN))
    assert TILES > 2  # the tests above stop in the middle
