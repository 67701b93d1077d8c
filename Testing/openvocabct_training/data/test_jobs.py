"""Jobs in processes of their own."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from openvocabct_training.data.jobs import in_order
from OpenVocabCTLib.errors import InputError, ModelError, OpenVocabCTError, ResourceError

ROOT = Path(__file__).parents[3]
WAITING = """
import sys, time
from functools import partial
from pathlib import Path
from openvocabct_training.data.jobs import in_order

def main():
    jobs = [partial(print, "working", flush=True)] * 2 + [partial(time.sleep, 600)] * 2
    for _ in in_order(jobs, 2):
        pass

if __name__ == "__main__":
    main()
"""


def full() -> int:
    raise ResourceError("the disk is full", "free some space")


def test_here_and_elsewhere_results_come_in_order_and_errors_come_whole() -> None:
    jobs = [*(partial(pow, number, 2) for number in range(5)), full]
    for processes in (1, 2):
        results = in_order(jobs, processes)
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        with pytest.raises(ResourceError) as failed:
            next(results)
        assert (failed.value.what, failed.value.todo) == ("the disk is full", "free some space")


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(ResourceError, match="died, perhaps for want of memory"):
        list(in_order([partial(os._exit, 1), partial(time.sleep, 0)], 2))


@pytest.mark.parametrize("kind", [OpenVocabCTError, InputError, ModelError, ResourceError])
def test_errors_keep_both_parts_between_processes(kind: type[OpenVocabCTError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("what: is wrong", "what: to do")))  # noqa: S301
    assert type(copy) is kind
    assert (copy.what, copy.todo, str(copy)) == ("what: is wrong", "what: to do", "what: is wrong: what: to do")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "Training")))}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["working\n"] * 2
        children = [
            int(p) for t in Path(f"/proc/{parent.pid}/task").iterdir() for p in (t / "children").read_text().split()
        ]
        assert len(children) >= 2
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 60
    while any(running(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not any(running(child) for child in children)


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
