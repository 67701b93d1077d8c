"""``openvocabct-train decompose``: files, cache, and what is left after ``kill -9``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openvocabct_training import cli
from openvocabct_training.pretraining.corpus import CAPTIONS, REPORTS, ReportRow, read_decompositions, write_reports
from openvocabct_training.reports.cache import DecompositionCache
from openvocabct_training.reports.decompose import decompose_all
from openvocabct_training.reports.items import Decomposition, Item, report_sha256
from OpenVocabCTLib.errors import InputError

ROOT = Path(__file__).parents[3]
COUNT = 30
# A slow backend in a process of its own, which kills itself in the middle; it writes down what it is asked.
KILLED = """
import os, signal, sys
from pathlib import Path
from openvocabct_training.reports import command
from openvocabct_training.reports.rules import RulesBackend
from openvocabct_training import cli

class Noting(RulesBackend):
    identity = "noting"
    def decompose(self, report):
        with open(sys.argv[2], "a") as stream:
            stream.write(report.splitlines()[0] + "\\n")
        if len(Path(sys.argv[2]).read_text().splitlines()) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decompose(report)

command.backend_of = lambda options: Noting()
cli.main(["decompose", sys.argv[1]])
"""


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    cli.main(["decompose", *arguments])
    result: dict[str, object] = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = [ReportRow(f"toy/{n}", f"toy/{n}", f"The liver has {n} cysts. No pleural effusion.") for n in range(COUNT)]
    write_reports(tmp_path / REPORTS, rows)
    return tmp_path


def test_a_store_is_decomposed_beside_itself(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(str(store), capsys=capsys)
    assert (result["reports"], result["cached"], result["fallbacks"]) == (COUNT, 0, 0)
    found = read_decompositions(store / CAPTIONS)
    assert len(found) == COUNT
    assert {item.organ for one in found.values() for item in one.items} == {"liver", "pleura"}
    assert run(str(store), capsys=capsys)["cached"] == COUNT


def test_kill_9_loses_nothing_and_repeats_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = store / "asked.txt"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "Training")])}
    for stop in ("12", "0"):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(store), str(asked), stop],
            cwd=ROOT, env=environment, check=False, capture_output=True,
        )  # fmt: skip
        if stop == "12":
            assert done.returncode == -signal.SIGKILL
            assert not (store / CAPTIONS).exists()
    assert done.returncode == 0
    # Only the report in whose middle the process died was read twice.
    lines = asked.read_text().splitlines()
    assert len(lines) == COUNT + 1
    assert len(set(lines)) == COUNT
    rows = [json.loads(line)["sha256"] for line in (store / CAPTIONS).read_text().splitlines()]
    assert len(rows) == len(set(rows)) == COUNT


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        (
            "a.csv",
            'VolumeName,Findings_EN,Impressions_EN\nx,"The liver,\nis large.",Not given.\n',
            ["The liver,\nis large."],
        ),
        ("a.csv", "report\nNo ascites.\n", ["No ascites."]),
        ("a.jsonl", '{"report": "No ascites."}\n\n{"report": ""}\n', ["No ascites.", ""]),
        ("a.jsonl", '{"findings": "No ascites.", "impression": "None."}\n', ["No ascites."]),
    ],
)
def test_files_of_reports(
    name: str, content: str, texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    output = tmp_path / "out.jsonl"
    run(str(tmp_path / name), "--output", str(output), capsys=capsys)
    assert set(read_decompositions(output)) == {report_sha256(text) for text in texts}


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        (["a.csv"], "x\n1\n", "there is no place for the result"),
        (["a.csv", "--output", "o.jsonl"], "x\n1\n", "has no report in its rows"),
        (["a.jsonl", "--output", "o.jsonl"], "{", "is no JSON"),
        (["a.jsonl", "--output", "o.jsonl"], "[]", "is no object"),
        (["a.jsonl", "--output", "o.jsonl", "--backend", "openai"], "", "needs a model"),
        (["a.jsonl", "--output", "o.jsonl", "--jobs", "0"], "", "--jobs is 0"),
        (["nowhere.jsonl", "--output", "o.jsonl"], "", "is missing"),
        ([], "", "there are no reports"),
    ],
)
def test_bad_usage(
    arguments: list[str], content: str, message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if arguments and arguments[0] != "nowhere.jsonl":
        Path(arguments[0]).write_text(content)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["decompose", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("o.jsonl").exists()


def test_two_decompositions_do_not_write_one_file(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    with FileLock(store / f".{CAPTIONS}.lock"), pytest.raises(SystemExit):
        cli.main(["decompose", str(store)])
    assert "another program is writing" in capsys.readouterr().err


def test_the_cache_tells_models_and_reports_apart(tmp_path: Path) -> None:
    cache = DecompositionCache(tmp_path / "deep" / "cache.sqlite")
    one = Decomposition((Item("liver", "x", "present", (0, 1)),), "a", 2)
    cache.put(cache.key("report", "a"), one)
    assert cache.get(cache.key("report", "a")) == one
    assert cache.get(cache.key("report", "b")) is None
    assert cache.get(cache.key("report.", "a")) is None
    cache.close()
    (tmp_path / "no.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match="no cache"):
        DecompositionCache(tmp_path / "no.sqlite")


def test_a_fallback_is_asked_again(tmp_path: Path) -> None:
    from openvocabct_training.reports.backends import BackendError

    class Failing:
        name = identity = "failing"
        asked = 0

        def decompose(self, report: str) -> Decomposition:
            self.asked += 1
            raise BackendError("no")

    backend, cache = Failing(), DecompositionCache(tmp_path / "cache.sqlite")
    for _ in range(2):
        assert next(iter(decompose_all(["No ascites."], backend, cache).values())).fallback == "no"
    assert backend.asked == 2
