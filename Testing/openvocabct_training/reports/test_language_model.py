"""A real language model behind a real server.  Runs where there is one, and says so where there is none.

OPENVOCABCT_LLM_URL, with OPENVOCABCT_LLM_MODEL: a server that is running.
OPENVOCABCT_LLM_PYTHON: an interpreter in whose environment `gemma_server` finds its packages; this one by default.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openvocabct_training import cli
from openvocabct_training.reports import prompting
from openvocabct_training.reports.backends import BackendError, ModelBackend, OpenAIServer
from openvocabct_training.reports.decompose import decompose_all
from openvocabct_training.reports.grounding import Grounding
from openvocabct_training.reports.items import Counts, Decomposition, report_sha256
from OpenVocabCTLib.errors import InputError
from Testing.openvocabct_training.reports.writing import adversarial

SERVER = Path(__file__).with_name("gemma_server.py")
REPORT = "FINDINGS: The liver is enlarged. No pleural effusion. A cyst in the left kidney."
START_SECONDS = 120.0
MAX_TOKENS = 256
# The others are many times as long and ask the same of the code.
ADVERSARIAL = ("empty", "German", "prompt injection", "HTML", "unicode", "control characters")


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    """A server that answers."""
    url, model = os.environ.get("OPENVOCABCT_LLM_URL"), os.environ.get("OPENVOCABCT_LLM_MODEL", "gemma")
    if url:
        running = OpenAIServer(url, model, max_tokens=MAX_TOKENS)
        running.check()
        yield running
        return
    named = os.environ.get("OPENVOCABCT_LLM_PYTHON")
    python = named or sys.executable
    checked = subprocess.run([python, str(SERVER), "--check"], capture_output=True, text=True, check=False)
    if checked.returncode:
        said = checked.stderr.strip().splitlines()[-1]
        if named:
            pytest.fail(f"OPENVOCABCT_LLM_PYTHON is of no use: {said}")
        pytest.skip(f"did not run, there is no language model: {said}; see PRETRAINING.md for what to install")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [python, str(SERVER), "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        started = OpenAIServer(f"http://127.0.0.1:{port}/v1", model, max_tokens=MAX_TOKENS)
        wait_for(started, process)
        yield started
    finally:
        process.terminate()
        process.wait(30)


def wait_for(server: OpenAIServer, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers; fail if it ends or takes too long."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            server.check()
            return
        except InputError:
            assert process.poll() is None, f"the server ended with {process.returncode}"
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.5)


def test_the_servers_answer_has_the_form_of_the_schema(server: OpenAIServer) -> None:
    (part,) = prompting.parts_of(REPORT)
    try:
        answer = server.ask(prompting.messages(part), prompting.schema(part))
    except BackendError as error:
        assert "cut off" in str(error)  # a model that is too small may repeat itself for ever
        return
    assert 0 < len(prompting.read_answer(answer)) <= prompting.schema(part)["properties"]["items"]["maxItems"]


def test_nothing_ungrounded_is_kept(server: OpenAIServer, capsys: pytest.CaptureFixture[str]) -> None:
    hard = dict(adversarial())
    reports = [REPORT, *(hard[name] for name in ADVERSARIAL)]
    grounding, counts = Grounding(), Counts()
    found = decompose_all(reports, ModelBackend(server.model, server.ask), counts=counts)
    assert counts.reports == len(reports)
    for report in reports:
        decomposition = found[report_sha256(report)]
        again = Decomposition.from_json(json.loads(json.dumps(decomposition.to_json())))
        assert set(again.items) == set(decomposition.items)
        assert all(grounding.holds(report, item) for item in decomposition.items)
        assert decomposition.backend == ("rules" if decomposition.fallback else server.model)
    with capsys.disabled():
        print(f"\n{server.model}: {counts.items} kept, {counts.rejected} rejected, {counts.fallbacks} fallbacks")


def test_the_command(server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second run finds the answers of the first in its cache and asks again only where there was none."""
    source, output = tmp_path / "reports.jsonl", tmp_path / "captions.jsonl"
    source.write_text("".join(json.dumps({"report": text}) + "\n" for text in (REPORT, "No ascites.")))
    options = ["--backend", "openai", "--url", server.url, "--model", server.model, "--max-tokens", str(MAX_TOKENS)]
    runs = []
    for _ in range(2):
        cli.main(["decompose", str(source), "--output", str(output), *options])
        runs.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert [run["reports"] for run in runs] == [2, 2]
    assert [run["cached"] for run in runs] == [0, 2 - runs[0]["fallbacks"]]
    assert len(output.read_text().splitlines()) == 2
