from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from OpenVocabCTLib.cli import app
from OpenVocabCTLib.commands.services import LoadedModel
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.announcing import Announcement
from OpenVocabCTLib.worker.client import WorkerClient
from OpenVocabCTLib.worker.engine import Engine
from OpenVocabCTLib.worker.errors import ProtocolError, WorkerLost
from OpenVocabCTLib.worker.process import WorkerProcess
from OpenVocabCTLib.worker.protocol import TOKEN_VARIABLE
from OpenVocabCTLib.worker.serving import ServeOptions, directions, is_loopback, serve
from Testing.openvocabct_lib.fake_model import FakeSegmenter, fake_services
from Testing.openvocabct_lib.worker.running import ROOT, fake_process, keyed_ct

LONG_TOKEN = "a-token-that-a-person-chose"


def wait_for_end(pid: int, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        assert time.monotonic() < end, "the worker outlived its parent"
        time.sleep(0.05)


# As a process


def command_of(worker: WorkerProcess) -> list[str]:
    """Its command line, once the new process has become the worker's program."""
    end = time.monotonic() + 10
    while "--announce" not in (command := Path(f"/proc/{worker.pid}/cmdline").read_bytes().decode().split("\0")):
        assert time.monotonic() < end
        time.sleep(0.005)
    return command


def test_a_worker_starts_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    worker = fake_process(tmp_path)
    try:
        command = command_of(worker)
        announce = Path(command[command.index("--announce") + 1])
        end = time.monotonic() + 60
        while not announce.exists():
            assert time.monotonic() < end and worker.alive
            time.sleep(0.02)
        assert stat.S_IMODE(announce.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(announce.stat().st_mode) == 0o600
        announced = announce.read_text()
        address = worker.address()
        assert address is not None and (address.host, address.tls) == ("127.0.0.1", False)
        # Neither the command line nor the announcement holds the token.
        assert address.token not in "".join(command) and address.token not in announced
        assert not announce.parent.exists()
        assert worker.address() == address
        status = WorkerClient(address).status()
        assert status["pid"] == worker.pid
    finally:
        worker.stop()
    assert not worker.alive
    assert address.token not in worker.log.read_text()
    with pytest.raises(WorkerLost, match="ended with exit code 0"):
        worker.address()
    worker.stop()


def test_a_worker_ends_when_its_parent_is_killed_even_in_an_image_pass(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTLib.worker.stepwise import StepwiseClient
from Testing.openvocabct_lib.worker.running import fake_process, keyed_ct
worker = fake_process(Path(sys.argv[1]), tile_seconds=5)
while worker.address() is None:
    time.sleep(0.02)
client = StepwiseClient(worker.address())
key, header, array = keyed_ct()
run(client.upload(key, header, array))
run(client.encode(key), lambda progress: print(worker.pid, flush=True) if progress.stage == "encoding" else None)
"""
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
        wait_for_end(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_a_worker_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    announce = tmp_path / "worker.json"
    words = [sys.executable, "-m", "Testing.openvocabct_lib.fake_model", "serve", "--announce", str(announce)]
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    with subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        end = time.monotonic() + 60
        while (announcement := Announcement.read(announce)) is None:
            assert time.monotonic() < end and worker.poll() is None
            time.sleep(0.02)
        assert stat.S_IMODE(announce.stat().st_mode) == 0o600
        assert announcement.token is not None and len(announcement.token) > 40
        assert WorkerClient(announcement.address()).status()["pid"] == worker.pid
        worker.send_signal(number)
        try:
            _, said = worker.communicate(timeout=20)
        finally:
            worker.kill()  # else the end of the block would wait for ever
        assert worker.returncode == 0
    assert not announce.exists()
    assert f"ssh -N -L {announcement.port}:127.0.0.1:{announcement.port} " in said
    assert announcement.token not in said and "Traceback" not in said


# In this process


def load_nothing(name: str | None, device: str) -> LoadedModel:
    return LoadedModel(name or "fake", device, FakeSegmenter())  # type: ignore[arg-type]


def in_thread(options: ServeOptions) -> tuple[threading.Thread, threading.Event, list[str]]:
    stop, said = threading.Event(), list[str]()
    thread = threading.Thread(target=serve, args=(options, load_nothing, said.append, stop))
    thread.start()
    return thread, stop, said


def test_the_default_model_is_loaded_in_advance_and_a_given_token_is_not_announced(tmp_path: Path) -> None:
    announce = tmp_path / "worker.json"
    options = ServeOptions(announce=announce, model="mine", device="cpu", token=LONG_TOKEN)
    thread, stop, said = in_thread(options)
    try:
        end = time.monotonic() + 20
        while (announcement := Announcement.read(announce)) is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert announcement.token is None and LONG_TOKEN not in announce.read_text()
        with pytest.raises(ProtocolError, match="token"):
            announcement.address()
        client = WorkerClient(announcement.address(LONG_TOKEN))
        while (model := client.status()["model"]) is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert model == {"name": "mine", "device": "cpu"}
        key, header, array = keyed_ct()
        client.upload(key, header, array)
        client.encode(key)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive() and not announce.exists()
    assert not any(LONG_TOKEN in line for line in said)


def test_an_announcement_of_another_worker_is_left_alone(tmp_path: Path) -> None:
    announce = tmp_path / "worker.json"
    thread, stop, _ = in_thread(ServeOptions(announce=announce))
    end = time.monotonic() + 20
    while not announce.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    Announcement("127.0.0.1", 1, os.getpid() + 1).write(announce)
    stop.set()
    thread.join(10)
    assert announce.exists()


def test_an_announcement_takes_an_empty_file(tmp_path: Path) -> None:
    announcement, path = Announcement("127.0.0.1", 1, 1), tmp_path / "made by mktemp"
    path.touch()
    announcement.write(path)
    assert Announcement.read(path) == announcement


def test_an_announcement_replaces_and_removes_no_other_file(tmp_path: Path) -> None:
    scan = tmp_path / "ct.nii.gz"
    scan.write_bytes(b"a scan")
    stop = threading.Event()
    stop.set()
    with pytest.raises(InputError, match=r"ct\.nii\.gz is there and does not say where a worker listens"):
        serve(ServeOptions(announce=scan), load_nothing, print, stop)
    assert scan.read_bytes() == b"a scan" and list(tmp_path.iterdir()) == [scan]
    announce = tmp_path / "worker.json"
    announce.write_text('{"protocol": 1, "host": "127.0.0.1", "port": 1, "pid": 1}')  # of a worker that was killed
    thread, stop, _ = in_thread(ServeOptions(announce=announce))
    end = time.monotonic() + 20
    while Announcement.read(announce).pid != os.getpid():  # type: ignore[union-attr]
        assert time.monotonic() < end
        time.sleep(0.01)
    announce.write_bytes(b"mine now")
    stop.set()
    thread.join(10)
    assert not thread.is_alive() and announce.read_bytes() == b"mine now"


def test_a_worker_that_is_still_loading_has_not_ended() -> None:
    """Who takes the interpreter down under a thread that loads a network aborts."""
    loading, go_on = threading.Event(), threading.Event()

    def load(name: str | None, device: str) -> LoadedModel:
        loading.set()
        assert go_on.wait(20)
        return load_nothing(name, device)

    engine = Engine(load)
    engine.preload()
    assert loading.wait(20) and not engine.stop(1)
    go_on.set()
    end = time.monotonic() + 20
    while not engine.stop(1):
        assert time.monotonic() < end


@pytest.mark.parametrize(
    ("words", "token", "sentence"),
    [
        ((), None, "clients could not know the token"),
        (("--host", "0.0.0.0"), None, "other machines could reach 0.0.0.0"),
        (("--host", "0.0.0.0", "--announce", "FILE"), None, "other machines could reach 0.0.0.0"),
        (("--host", "::", "--announce", "FILE"), None, "other machines could reach ::"),
        (("--host", "192.0.2.7"), None, "other machines could reach"),
        (("--host", "some.name"), None, "other machines could reach"),
        (("--host", "192.0.2.7"), LONG_TOKEN, "cannot listen on 192.0.2.7:0"),
        ((), "short", "has only 5 characters"),
        ((), "with blanks in the token", "blanks or special"),
        (("--announce", "absent/FILE"), None, "cannot be written"),
        (("--device", "tpu"), LONG_TOKEN, "no device"),
        (("--max-studies", "0"), LONG_TOKEN, "max-studies"),
        (("--port", "65536"), LONG_TOKEN, "port"),
    ],
)
def test_what_is_unsafe_or_impossible_is_refused_in_one_line(
    words: tuple[str, ...], token: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    if token is not None:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    words = tuple(word.replace("FILE", str(tmp_path / "w.json")).replace("absent/", "") for word in words)
    if sentence == "cannot be written":
        words = ("--announce", str(tmp_path / "absent" / "w.json"))
    result = CliRunner().invoke(app, ["serve", *words], obj=fake_services())
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr and len(result.stderr.splitlines()) == 1
    assert token is None or token not in result.stderr
    assert not (tmp_path / "w.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [(("--model", "nosuch"), 3, "there is no model 'nosuch'"), (("--device", "cuda:99"), 2, "no device 'cuda:99'")],
)
def test_a_model_or_device_that_is_not_there_is_refused_at_once(
    words: tuple[str, ...], code: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, LONG_TOKEN)
    result = CliRunner().invoke(app, ["serve", *words], obj=fake_services())
    assert result.exit_code == code, result.output
    assert sentence in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_port_that_is_taken() -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        options = ServeOptions(port=other.getsockname()[1], token=LONG_TOKEN)
        with pytest.raises(InputError, match="cannot listen"):
            serve(options, lambda name, device: None, print)  # type: ignore[arg-type, return-value]


def test_the_directions_fit_the_binding() -> None:
    private = directions(ServeOptions(token=LONG_TOKEN), 8765)
    assert "ssh -N -L 8765:127.0.0.1:8765 USER@" in private[1]
    assert not any("encrypted" in line for line in private)
    assert any("not encrypted" in line for line in directions(ServeOptions("0.0.0.0", token=LONG_TOKEN), 8765))
    assert directions(ServeOptions(watch_stdin=True), 8765) == []


def test_which_addresses_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "", "192.168.1.1", "localhost.example.com", "10.0.0.1")))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "nonsense", "{}", '{"protocol": 1}', '{"protocol": true, "host": "h", "port": 1, "pid": 1}'],
)
def test_damaged_announcements_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "worker.json"
    assert Announcement.read(path) is None
    path.write_text(text)
    with pytest.raises(ProtocolError):
        Announcement.read(path)


def test_an_announcement_of_another_protocol_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "worker.json"
    Announcement("127.0.0.1", 8765, 1, "token", protocol=99).write(path)
    announcement = Announcement.read(path)
    assert announcement is not None
    with pytest.raises(ProtocolError, match="version 99"):
        announcement.address()
    assert json.loads(path.read_text())["protocol"] == 99


def test_freed_memory_goes_back_to_the_system() -> None:
    """The command line keeps freed memory for the next image pass; freeing on request must undo that."""
    code = """
import numpy as np
from OpenVocabCTLib.memory import keep_freed_memory
from OpenVocabCTLib.worker.loading import give_back_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

print(keep_freed_memory())
arrays = [np.ones(50_000_000, np.uint8) for _ in range(4)]
last = np.ones(1000)
full = resident()
del arrays
kept = resident()
give_back_memory()
print(full - kept, full - resident())
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("about the C library of Linux")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    changed, freed = done.stdout.splitlines()
    if changed == "False":
        pytest.skip("not glibc")
    assert int(freed.split()[1]) > 150_000_000
