"""A PACS: addresses, a round trip through Orthanc, and what happens when it fails in the middle."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import highdicom
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner, Result

from OpenVocabCTLib.caches import CACHE_VARIABLE
from OpenVocabCTLib.cli import app
from OpenVocabCTLib.commands.pacs import Exchange
from OpenVocabCTLib.commands.terminal import Reporter
from OpenVocabCTLib.dicom import dicomweb
from OpenVocabCTLib.dicom.dicomweb import Pacs, SeriesAddress
from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.output import statistics
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.dicom.clinical_series import PATIENT, write_clinical
from Testing.openvocabct_lib.dicom.orthanc import PASSWORD, USER, Orthanc, free_port
from Testing.openvocabct_lib.dicom.proxy import Relay
from Testing.openvocabct_lib.dicom_series import SERIES
from Testing.openvocabct_lib.fake_model import fake_services

PATH = f"/studies/{PATIENT['StudyInstanceUID']}/series/{SERIES}"


# --- addresses --------------------------------------------------------------------------------------------------------


def test_an_address_in_its_parts() -> None:
    address = SeriesAddress.parse("dicomweb+https://pacs.example/orthanc/dicom-web/studies/1.2/series/3.4")
    assert address == SeriesAddress("https://pacs.example/orthanc/dicom-web", "1.2", "3.4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dicomweb+https://pacs.example/studies/1.2", "names no series"),
        ("dicomweb+https://pacs.example/studies/1.2/series/../x", "names no series"),
        ("dicomweb+https://pacs.example/studies/a/series/1", "names no series"),
        ("dicomweb+ftp://pacs.example/studies/1/series/1", "makes no sense"),
        ("dicomweb+https:///studies/1/series/1", "makes no sense"),
        ("dicomweb+https://pacs.example:99999999/studies/1/series/1", "makes no sense"),
        ("dicomweb+https://me:secret@pacs.example/studies/1/series/1", "holds a user or password"),
    ],
)
def test_addresses_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        SeriesAddress.parse(text)
    assert "secret" not in str(caught.value)


def test_a_token_goes_before_user_and_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    netrc = tmp_path / "netrc"
    netrc.write_text("machine pacs.example login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))

    def header(environment: dict[str, str]) -> str:
        session = dicomweb._session(environment)
        request = session.prepare_request(requests.Request("GET", "https://pacs.example/x"))
        assert session.verify is True
        return str(request.headers["Authorization"])

    assert header({dicomweb.TOKEN: "t", dicomweb.USER: "u"}) == "Bearer t"
    assert header({dicomweb.USER: "u", dicomweb.PASSWORD: "p"}) == "Basic dTpw"
    assert header({}) == "Basic YTpi"


# --- a server ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct")
    write_clinical(folder)
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    server.upload(images)
    yield server
    server.stop()


@pytest.fixture
def server(running: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Orthanc:
    monkeypatch.setenv(dicomweb.USER, USER)
    monkeypatch.setenv(dicomweb.PASSWORD, PASSWORD)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return running


def segment(base: str, output: str | Path = "stow", *words: str, prompts: tuple[str, ...] = ("bones",)) -> Result:
    source = f"dicomweb+{base}{PATH}"
    asked = [word for prompt in prompts for word in ("-p", prompt)]
    return CliRunner().invoke(app, ["segment", source, *asked, "-o", str(output), *words], obj=fake_services())


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_round_trip(server: Orthanc, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    before = len(server.segmentations())
    result = segment(server.base, prompts=("bones", "body"))
    assert result.exit_code == 0, result.output
    assert f"stored on 127.0.0.1:{server.port}" in result.stderr
    (stored,) = server.segmentations()[before:]
    local = CliRunner().invoke(
        app, ["segment", str(images), "-p", "bones", "-p", "body", "-o", str(tmp_path / "x.dcm")], obj=fake_services()
    )
    assert local.exit_code == 0, local.output
    seg, reference = highdicom.seg.segread(io.BytesIO(stored)), highdicom.seg.segread(tmp_path / "x.dcm")
    assert seg.SOPInstanceUID == reference.SOPInstanceUID
    np.testing.assert_array_equal(seg.pixel_array, reference.pixel_array)
    assert seg.StudyInstanceUID == PATIENT["StudyInstanceUID"]
    assert kept(tmp_path) == []  # nothing of the patient stays here
    # Nothing of the patient is in what was said or logged; urllib3 and requests log paths with UIDs at DEBUG only.
    said = result.output + "".join(record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG)
    for private in (PATIENT["PatientName"], PATIENT["PatientID"], PATIENT["PatientBirthDate"], SERIES):
        assert str(private) not in said


def test_the_same_again_stores_nothing(server: Orthanc) -> None:
    assert segment(server.base).exit_code == 0
    before = len(server.segmentations())
    again = segment(server.base)
    assert again.exit_code == 0
    assert "has this result already" in again.stderr
    assert len(server.segmentations()) == before


def test_into_a_file_and_from_a_file(server: Orthanc, images: Path, tmp_path: Path) -> None:
    result = segment(server.base, tmp_path / "out.seg.nrrd")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.seg.nrrd").exists()
    assert kept(tmp_path) == []
    before = len(server.segmentations())
    words = ["segment", str(images), "-p", "body", "-o", f"stow+{server.base}"]
    result = CliRunner().invoke(app, words, obj=fake_services())
    assert result.exit_code == 0, result.output
    assert len(server.segmentations()) == before + 1


def test_nothing_found_stores_nothing(server: Orthanc) -> None:
    before = len(server.segmentations())
    result = segment(server.base, prompts=("heart",))
    assert result.exit_code == 0, result.output
    assert len(server.segmentations()) == before


class Recorder:
    """In place of a server: keeps the labels of the segments that it is given, or fails."""

    stored: ClassVar[list[list[str]]] = []
    works = True

    def __init__(self, base: str) -> None:
        self.host = base

    def store(self, file: Path) -> bool:
        if not Recorder.works:
            raise InputError("the connection failed", "run again")
        Recorder.stored.append([str(one.SegmentLabel) for one in pydicom.dcmread(file).SegmentSequence])
        return True


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Recorder]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(dicomweb, "Pacs", Recorder)
    monkeypatch.setattr(Recorder, "stored", [])
    return Recorder


def to_recorder(images: Path, prompt: str, *words: str) -> Result:
    asked = ["segment", str(images), "-p", prompt, "-o", "stow+https://pacs.example/x", *words]
    return CliRunner().invoke(app, asked, obj=fake_services())


def test_an_answer_of_an_earlier_run_is_not_stored_for_another_question(
    recorder: type[Recorder], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run ends between its segmentation and its table; the second one finds nothing."""

    def full(*_: object) -> None:
        raise ResourceError("the disk is full", "free some")

    with monkeypatch.context() as patch:
        patch.setattr(statistics, "write_statistics", full)
        assert to_recorder(images, "bones", "--stats", str(tmp_path / "s.csv")).exit_code == 4
    result = to_recorder(images, "heart", "--json")
    assert result.exit_code == 0, result.output
    assert "nothing was stored" in result.stderr
    assert "new.dcm" not in result.output
    answer = json.loads(result.stdout)
    assert (answer["output"], answer["written"]) == (None, [])
    assert recorder.stored == []
    assert json.loads(to_recorder(images, "body", "--json").stdout)["output"] == "stow+https://pacs.example/x"
    assert recorder.stored == [["body"]]


def test_a_result_that_waits_is_for_the_same_images_only(
    recorder: type[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the first run is given other images before the command is run again."""
    write_clinical(tmp_path / "ct")
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "works", False)
        assert to_recorder(tmp_path / "ct", "bones").exit_code == 2
    (first,) = kept(tmp_path)
    volume = CTVolume.read(tmp_path / "ct")
    write_clinical(tmp_path / "ct", "flipped order")
    assert CTVolume.read(tmp_path / "ct").content_hash() != volume.content_hash()
    before, sent = first.read_bytes(), []
    monkeypatch.setattr(recorder, "store", lambda _, file: sent.append(file.read_bytes()) or True)
    assert to_recorder(tmp_path / "ct", "bones").exit_code == 0
    assert len(sent) == 1 and sent[0] != before


# --- failures ---------------------------------------------------------------------------------------------------------


def check_refusal(result: Result, message: str) -> None:
    assert result.exit_code == 2, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert SERIES not in result.output
    assert "Traceback" not in result.output


def test_a_server_killed_in_the_middle_of_the_upload(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(dicomweb.USER, USER)
    monkeypatch.setenv(dicomweb.PASSWORD, PASSWORD)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    server = Orthanc(tmp_path / "orthanc").start()
    try:
        server.upload(images)
        relay = Relay(server.port, lambda: server.stop(kill=True), "middle")
        base = f"http://127.0.0.1:{relay.port}/dicom-web"
        check_refusal(segment(base), "failed while storing the result: run the same command again")
        assert len(kept(tmp_path)) == 10  # nine images, one result
        server.start()
        assert server.segmentations() == []
        result = segment(base)
        assert result.exit_code == 0, result.output
        assert len(server.segmentations()) == 1
        assert kept(tmp_path) == []
        relay.close()
    finally:
        server.stop()


def test_an_answer_that_is_lost_does_not_make_a_duplicate(server: Orthanc, tmp_path: Path) -> None:
    """The server has stored the result, but the client does not know."""
    before = len(server.segmentations())
    relay = Relay(server.port, lambda: None, "answer")
    base = f"http://127.0.0.1:{relay.port}/dicom-web"
    check_refusal(segment(base, prompts=("body", "bones")), "failed while storing the result")
    assert len(server.segmentations()) == before + 1
    (result_file,) = [path for path in kept(tmp_path) if path.parent.name != "images"]
    uid = pydicom.dcmread(result_file).SOPInstanceUID
    again = segment(base, prompts=("body", "bones"))
    assert again.exit_code == 0, again.output
    assert "has this result already" in again.stderr
    assert len(server.segmentations()) == before + 1
    assert uid in {pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID for content in server.segmentations()}
    relay.close()


def test_two_runs_with_one_series_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each would remove the images of the other, and store the other's answer as its own."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    source, done = "dicomweb+http://127.0.0.1:1/studies/1.2/series/3.4", threading.Event()

    def other_run() -> None:
        with Exchange.plan(source, "stow").open(Reporter()):
            done.set()

    exchange = Exchange.plan(source, "stow")
    other = threading.Thread(target=other_run)
    with exchange.open(Reporter()):
        other.start()
        assert not done.wait(0.5)
        (exchange.images / "1.dcm").write_bytes(b"an image")
        with Exchange.plan(source.replace("3.4", "3.5"), "stow").open(Reporter()):
            pass  # another series has its own folder
        assert (exchange.images / "1.dcm").exists()
    other.join(10)
    assert done.is_set()
    assert capsys.readouterr().err.count("waiting for another run with this series") == 1
    assert kept(tmp_path) == []


def test_the_same_relative_path_elsewhere_is_another_ct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = set()
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        monkeypatch.chdir(tmp_path / patient)
        folders |= {Exchange.plan(source, "stow+http://127.0.0.1:1/x").folder for source in ("ct", "./ct")}
    assert len(folders) == 2


def test_only_missing_images_are_fetched(server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = SeriesAddress(server.base, str(PATIENT["StudyInstanceUID"]), SERIES)
    (tmp_path / "images").mkdir()
    pacs = Pacs(server.base)
    fetched = pacs.fetch(address, tmp_path / "images")
    assert len(fetched) == 9
    fetched[4].unlink()
    asked: list[str] = []
    real = pacs._client.retrieve_instance
    monkeypatch.setattr(pacs._client, "retrieve_instance", lambda *a, **k: (asked.append(a[2]), real(*a, **k))[1])
    assert pacs.fetch(address, tmp_path / "images") == fetched
    assert asked == [fetched[4].stem]


def test_a_wrong_password(server: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dicomweb.PASSWORD, "wrong")
    check_refusal(segment(server.base), "refuses access (401)")


def test_a_series_that_is_not_there(server: Orthanc) -> None:
    with pytest.raises(InputError, match="no such"):
        Pacs(server.base).fetch(SeriesAddress(server.base, "1.2", "1.2.3"), Path("."))


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    check_refusal(segment(f"http://127.0.0.1:{free_port()}/dicom-web"), "failed while asking for the series")


def test_a_server_that_is_no_dicomweb(server: Orthanc) -> None:
    check_refusal(segment(f"http://127.0.0.1:{server.port}/nowhere"), "(404): check the address")


def test_stow_of_a_file_needs_a_server(images: Path) -> None:
    result = CliRunner().invoke(app, ["segment", str(images), "-p", "bones", "-o", "stow"], obj=fake_services())
    check_refusal(result, "write stow+https://HOST/PATH")
