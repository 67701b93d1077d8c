"""The registry, downloads that are interrupted, and imports from files."""

from __future__ import annotations

import http.server
import io
import json
import os
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from OpenVocabCTLib.cli import main
from OpenVocabCTLib.errors import Cancelled, InputError, ModelError
from OpenVocabCTLib.models import registry as registry_module
from OpenVocabCTLib.models.checkpoints import DEFAULT_MODEL, MODELS_VARIABLE, sha256_file
from OpenVocabCTLib.models.downloading import _SecureRedirects, download
from OpenVocabCTLib.models.importing import import_model
from OpenVocabCTLib.models.registry import Entry, RemoteFile, registry
from Testing.openvocabct_lib.model_folder import write_model_folder
from Testing.openvocabct_lib.tables.results_folders import write_results
from Testing.openvocabct_lib.tables.words import BagOfWords


class Files(http.server.BaseHTTPRequestHandler):
    """Serves one content; answers ranges, and breaks off once when told to."""

    content = b""
    break_at: int | None = None
    ranges: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        Files.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        body = self.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if Files.break_at is not None:
            body, Files.break_at = body[: Files.break_at], None
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Files.break_at, Files.ranges = None, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv("OPENVOCABCT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("OpenVocabCTLib.models.converting.writing.HuggingFaceTextEncoder.default", BagOfWords)


def run(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_info:
        main(["models", *map(str, words)])
    captured = capsys.readouterr()
    return int(exit_info.value.code or 0), captured.out, captured.err


def test_a_broken_download_goes_on_where_it_stopped(server: str, tmp_path: Path) -> None:
    Files.content, Files.break_at = bytes(range(256)) * 20, 1000
    target, right = tmp_path / "a.zip", tmp_path / "right"
    right.write_bytes(Files.content)
    with pytest.raises(InputError, match="goes on where it stopped"):
        download(f"{server}/a.zip", target, None)
    assert not target.exists()
    download(f"{server}/a.zip", target, sha256_file(right))
    assert target.read_bytes() == Files.content and Files.ranges == [None, "bytes=1000-"]
    with pytest.raises(ModelError, match="sha256 differs"):
        download(f"{server}/b.zip", tmp_path / "b.zip", "0" * 64)
    with pytest.raises(Cancelled):
        download(f"{server}/c.zip", tmp_path / "c.zip", None, lambda done, total: False)
    with pytest.raises(InputError, match="not https"):
        download("http://example.org/d.zip", tmp_path / "d.zip", None)
    assert not any((tmp_path / name).exists() for name in ("b.zip", "b.zip.part", "c.zip", "d.zip"))


class Redirects(http.server.BaseHTTPRequestHandler):
    """Leads to an address."""

    location = ""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.location)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_redirect_does_not_lead_away_from_https(server: str, tmp_path: Path, scheme: str) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirects) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}/a.zip"
        # Another name of this machine stands for another machine.
        Redirects.location = f"{scheme}://127.0.0.2{server.removeprefix('http://127.0.0.1')}/a.zip"
        with pytest.raises(InputError, match="leads to an address that is not https"):
            download(address, tmp_path / "a.zip", None)
        Redirects.location = f"{server}/a.zip"
        download(address, tmp_path / "a.zip", None)
        running.shutdown()
    assert (tmp_path / "a.zip").read_bytes() == Files.content


def test_https_does_not_lead_to_http_on_this_machine(tmp_path: Path) -> None:
    request = urllib.request.Request("https://example.org/a.zip")
    with pytest.raises(InputError, match=r"example\.org leads to an address that is not https"):
        _SecureRedirects().redirect_request(request, io.BytesIO(), 302, "", Message(), "http://127.0.0.1/a.zip")  # type: ignore[arg-type]


def zipped(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as stream:
        for path in folder.rglob("*"):
            stream.write(path, Path("Dataset1") / path.relative_to(folder))
    return archive


def entry(**changes: Any) -> Entry:
    return Entry(
        **({"name": "public", "segments": "things", "framework": "nnunet", "spacing_mm": 3.0, "megabytes": 1,
            "licence": "Apache-2.0", "permissive": True, "page": "https://example.org/models", "files": (),
            "memory_gb": 1, "cpu_minutes": 1} | changes)
    )  # fmt: skip


def test_download_converts_and_lists(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "results")
    Files.content = zipped(tmp_path / "results").read_bytes()
    known = entry(files=(RemoteFile(f"{server}/results.zip", None),))
    monkeypatch.setattr(registry_module, "registry", lambda: (known,))
    code, out, err = run("download", "public", capsys=capsys)
    assert code == 0 and "licence Apache-2.0" in err and out.startswith("installed ")
    card = (tmp_path / "models" / "public" / "MODEL_CARD.md").read_text()
    assert "https://example.org/models" in card and "sha256" in card
    code, out, _ = run("list", "--json", capsys=capsys)
    assert {"public", "openvocabct-small"} <= {one["name"] for one in json.loads(out)["models"]}
    assert json.loads(out)["public"] == []
    _, out, _ = run("list", capsys=capsys)
    assert all(f"{title}*" in out for title in ("size", "memory", "CPU time")) and "* estimates: " in out
    assert run("download", "public", capsys=capsys)[0] == 2
    assert run("verify", "public", capsys=capsys)[0] == 0


def test_a_sign_in_page_does_not_block_later_downloads(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = entry(files=(RemoteFile(f"{server}/results.zip", None),))
    monkeypatch.setattr(registry_module, "registry", lambda: (known,))
    kept = tmp_path / "cache" / "downloads" / "results.zip"
    write_results(tmp_path / "results")
    good = zipped(tmp_path / "results").read_bytes()
    (tmp_path / "empty").mkdir()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 0xFF
    for content, words in (
        (b"<html>please sign in</html>", "is no zip"),
        (bytes(damaged), "is damaged"),
        (zipped(tmp_path / "empty").read_bytes(), "holds no model"),
    ):
        Files.content = content
        code, _, error = run("download", "public", capsys=capsys)
        assert code == 3 and words in error and len(error.splitlines()) == 2
        assert not kept.exists() and not list(kept.parent.iterdir())
    kept.write_bytes(b"<html>an earlier version kept it</html>")
    Files.content = good
    assert run("download", "public", capsys=capsys)[0] == 0


def test_licences_are_accepted_first_and_hand_downloads_say_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        registry_module, "registry", lambda: (entry(), entry(name="other", licence="no trade", permissive=False))
    )
    for words in (("download", "other"), ("import", tmp_path, "--as", "other")):
        code, _, error = run(*words, capsys=capsys)
        assert code == 2 and "no trade" in error and "--accept-licence" in error
    code, _, error = run("download", "public", capsys=capsys)
    assert code == 2 and "models import FILE --as public" in error
    assert run("download", "nothing", capsys=capsys)[0] == 2


def test_import_of_folders_checkpoints_and_zips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model_folder(tmp_path / "from_a_colleague")
    assert run("import", folder, capsys=capsys)[0] == 0
    assert (tmp_path / "models" / "from_a_colleague" / "config.json").is_file()
    assert run("import", folder, capsys=capsys)[0] == 2  # already there
    write_results(tmp_path / "results")
    code, _, _ = run("import", zipped(tmp_path / "results"), "--name", "mine", "--licence", "MIT", capsys=capsys)
    assert code == 0 and json.loads((tmp_path / "models" / "mine" / "config.json").read_text())["licence"] == "MIT"
    assert not list((tmp_path / "models").glob(".*"))


def test_a_name_that_another_model_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model_folder(tmp_path / DEFAULT_MODEL)
    code, _, error = run("import", folder, capsys=capsys)
    assert code == 2 and error == f"error: a model '{DEFAULT_MODEL}' comes with the program: choose another --name\n"
    write_results(tmp_path / "results")
    code, _, error = run("convert", "nnunet", tmp_path / "results", "--name", DEFAULT_MODEL, capsys=capsys)
    assert code == 2 and "comes with the program" in error
    write_model_folder(tmp_path / "shared" / "theirs")
    monkeypatch.setenv(MODELS_VARIABLE, os.pathsep.join((str(tmp_path / "models"), str(tmp_path / "shared"))))
    code, _, error = run("import", folder, "--name", "theirs", capsys=capsys)
    assert code == 2 and "is already installed" in error
    assert run("import", folder, "--name", "mine", capsys=capsys)[0] == 0
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["mine"]


def test_bad_archives(tmp_path: Path) -> None:
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as stream:
        stream.writestr("../outside/config.json", "{}")
    with pytest.raises(ModelError, match="outside of its folder"):
        import_model([evil], tmp_path / "new")
    evil.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(ModelError, match="damaged or cut off"):
        import_model([evil], tmp_path / "new")
    with pytest.raises(InputError, match="holds no model"):
        import_model([tmp_path], tmp_path / "new")
    with pytest.raises(InputError, match="there is no"):
        import_model([tmp_path / "none.zip"], tmp_path / "new")
    damaged = write_model_folder(tmp_path / "damaged", sha256={"model.safetensors": "0" * 64})
    with pytest.raises(ModelError):
        import_model([damaged], tmp_path / "new")
    assert not (tmp_path / "new").exists() and not (tmp_path.parent / "outside").exists()


def test_the_registry_says_what_matters() -> None:
    entries = registry()
    assert len({one.name for one in entries}) == len(entries) >= 6
    for one in entries:
        assert one.licence and one.page.startswith("https://") and one.memory_gb > 0 and one.cpu_minutes > 0
        assert all(file.url.startswith("https://") for file in one.files)
        # Nobody measured these numbers, and whoever reads them is told so.
        assert {"megabytes", "memory_gb", "cpu_minutes"} == set(one.record()["estimates"])
