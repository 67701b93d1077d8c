from __future__ import annotations

import http.client
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from OpenVocabCTLib.commands.services import LoadedModel
from OpenVocabCTLib.errors import Cancelled, InputError, ModelError, ResourceError
from OpenVocabCTLib.worker import routes
from OpenVocabCTLib.worker.client import WorkerClient
from OpenVocabCTLib.worker.errors import NotEncoded, StudyMissing, WorkerRefused
from OpenVocabCTLib.worker.jobs import new_job_id
from OpenVocabCTLib.worker.protocol import PROTOCOL_VERSION, VOLUME_HEADER, Address, PromptRequest, VolumeHeader
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTLib.worker.studies import Limits
from Testing.openvocabct_lib.fake_model import TILES, FakeSegmenter
from Testing.openvocabct_lib.worker.running import (
    TOKEN,
    Recorder,
    Running,
    SteppedSegmenter,
    ct,
    keyed_ct,
    running_server,
)

BONES = PromptRequest("bones")
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def worker() -> Iterator[Running]:
    with running_server() as running:
        yield running


def ask(
    worker: Running, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = AUTHORIZED
) -> tuple[int, Any]:
    """One request through another HTTP implementation than our client's."""
    connection = http.client.HTTPConnection("127.0.0.1", worker.server.port, timeout=20)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        data = response.read()
        binary = response.getheader("Content-Type") == "application/octet-stream"
        return response.status, data if binary else json.loads(data)
    finally:
        connection.close()


def raw(worker: Running, data: bytes, half_close: bool = True) -> bytes:
    """Send bytes as they are; return everything that comes back."""
    with socket.create_connection(("127.0.0.1", worker.server.port), 20) as connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass
    return received


def assert_error(reply: tuple[int, Any], status: int, words: str = "") -> None:
    assert reply[0] == status, reply
    error = reply[1]["error"]
    assert set(error) == {"what", "todo", "exit_code"}
    assert words in error["what"]
    assert "\n" not in error["what"] + error["todo"]


def upload(worker: Running, seed: int = 0) -> str:
    key, header, array = keyed_ct(seed)
    WorkerClient(worker.address).upload(key, header, array)
    return key


# Every answer of the protocol


def test_status_says_who_it_is_and_nothing_of_patients(worker: Running) -> None:
    key = upload(worker)
    status, report = ask(worker, "GET", "/v1/status")
    assert status == 200
    assert (report["protocol"], report["model"]) == (PROTOCOL_VERSION, None)
    assert report["studies"] == [{"key": key, "bytes": 20 * 24 * 30 * 2, "encoded": 0}]
    WorkerClient(worker.address).encode(key)
    report = WorkerClient(worker.address).status()
    assert report["model"] == {"name": "fake", "device": "auto"}
    assert report["bytes"] == report["studies"][0]["bytes"] == 20 * 24 * 30 * 2 + 1000


def test_vocabulary_models_and_prompts(worker: Running) -> None:
    client = WorkerClient(worker.address)
    phrases = {record["phrase"]: record for record in client.vocabulary()}
    assert phrases["left kidney"]["name"] == "left kidney"
    assert phrases["lungs"]["trained"] is True  # both of its members are
    assert not all(record["trained"] for record in phrases.values())
    assert client.models()[0]["name"] == "openvocabct-small"
    assert not any("folder" in model for model in client.models())
    report = client.prompts(["lt kidney", "zxqv"])
    assert [record["canonical"] for record in report["prompts"]] == ["left_kidney", None]
    with pytest.raises(InputError, match="empty"):
        client.prompts([" "])


def test_a_report_is_read(worker: Running, caplog: pytest.LogCaptureFixture) -> None:
    client = WorkerClient(worker.address)
    report = client.report("Cyst in the left kidney of Jane Doe. No pleural effusion.")
    assert report["prompts"][0]["prompt"] == "left kidney cyst"
    assert report["prompts"][0]["sentences"] == ["Cyst in the left kidney of Jane Doe."]
    assert [finding["status"] for finding in report["findings"]] == ["present", "absent"]
    assert "Doe" not in caplog.text
    for text, message in (("No cyst.", "names no finding"), ("a" * 100_001, "more than")):
        with pytest.raises(InputError, match=message):
            client.report(text)


def test_upload_encode_answer(worker: Running) -> None:
    key, header, array = keyed_ct()
    client, seen = WorkerClient(worker.address), Recorder()
    assert not client.has_study(key)
    client.upload(key, header, array, seen)
    assert seen[-1].done == seen[-1].total == array.nbytes
    assert client.study(key) == {"encoded": False, "notes": []}
    with pytest.raises(NotEncoded):
        client.answer(key, header.geometry, [BONES])
    client.encode(key)
    assert client.study(key) == {"encoded": True, "notes": []}
    result = client.answer(key, header.geometry, [BONES, PromptRequest("body", 0.25)])
    assert [segment.threshold for segment in result] == [0.5, 0.25]
    with pytest.raises(NotEncoded):  # another model is another image pass
        client.answer(key, header.geometry, [BONES], model="other")
    client.forget(key)
    assert not client.has_study(key)
    for lost in (lambda: client.forget(key), lambda: client.encode(key)):
        with pytest.raises(StudyMissing):
            lost()
    with pytest.raises(StudyMissing):
        client.answer(key, header.geometry, [BONES])


def test_the_same_volume_twice_is_kept_once(worker: Running) -> None:
    key, header, array = keyed_ct()
    path, headers = f"/v1/studies/{key}", {**AUTHORIZED, VOLUME_HEADER: header.to_json()}
    assert ask(worker, "PUT", path, array.tobytes(), headers)[0] == 201
    assert ask(worker, "PUT", path, array.tobytes(), headers)[0] == 200
    assert len(worker.engine.studies) == 1


def test_a_job_reports_every_tile_and_is_done_at_once_when_cached() -> None:
    segmenter = SteppedSegmenter()
    with running_server(segmenter) as worker:
        key = upload(worker)
        status, job = ask(worker, "POST", f"/v1/studies/{key}/encode", b"{}")
        assert status == 202
        assert segmenter.begun.wait(5)
        report = ask(worker, "GET", f"/v1/jobs/{job['job']}")[1]
        assert (report["state"], report["done"], report["total"]) == ("running", 0, TILES)
        assert report["seconds"] >= 0 and report["error"] is None
        # While a tile is in work everything else is answered.
        began = time.monotonic()
        for path in ("/v1/status", f"/v1/studies/{key}", "/v1/models"):
            assert ask(worker, "GET", path)[0] == 200
        assert time.monotonic() - began < 2
        segmenter.go_on.set()
        WorkerClient(worker.address).encode(key)
        again = ask(worker, "POST", f"/v1/studies/{key}/encode", b"{}")[1]
        assert again["state"] == "done"
        assert ask(worker, "GET", f"/v1/jobs/{again['job']}")[1]["state"] == "done"
        assert segmenter.tiles_begun == TILES


def test_cancelling_jobs_that_run_and_that_wait() -> None:
    segmenter = SteppedSegmenter()
    with running_server(segmenter) as worker:
        keys = [upload(worker, seed) for seed in range(2)]
        jobs = [ask(worker, "POST", f"/v1/studies/{key}/encode", b"{}")[1]["job"] for key in keys]
        assert segmenter.begun.wait(5)
        assert ask(worker, "GET", f"/v1/jobs/{jobs[1]}")[1]["state"] == "queued"
        for job in jobs:
            assert ask(worker, "DELETE", f"/v1/jobs/{job}")[0] == 200
        segmenter.go_on.set()
        while worker.engine.jobs.busy:
            time.sleep(0.01)
        for job in jobs:
            report = ask(worker, "GET", f"/v1/jobs/{job}")[1]
            assert (report["state"], report["error"]["exit_code"]) == ("cancelled", Cancelled.exit_code)
        assert segmenter.tiles_begun == 1
        assert not any(worker.engine.study_report(key)["encoded"] for key in keys)


def test_a_failing_image_pass_tells_the_client_and_the_next_one_works() -> None:
    problems: list[Exception] = [
        ResourceError("out of memory", "crop it"),
        ModelError("the model is damaged", "install it again"),
        MemoryError(),
        ModuleNotFoundError("No module named 'torch'", name="torch"),
        ValueError("secret words of a prompt"),
    ]

    class Failing(FakeSegmenter):
        def encode(self, *args: Any, **kwargs: Any) -> Any:
            if problems:
                raise problems.pop(0)
            return super().encode(*args, **kwargs)

    with running_server(Failing()) as worker:
        client, key = WorkerClient(worker.address), upload(worker)
        for kind, words in (
            (ResourceError, "out of memory: crop it"),
            (ModelError, "is damaged"),
            (ResourceError, "out of memory"),
            (ModelError, "cannot import torch"),
            (Exception, "unexpected ValueError in the worker"),
        ):
            with pytest.raises(kind, match=words) as caught:
                client.encode(key)
            assert "secret" not in str(caught.value)
        client.encode(key)


def test_too_many_jobs_wait_and_ids_are_unique() -> None:
    segmenter = SteppedSegmenter()
    with running_server(segmenter) as worker:
        key, job = upload(worker), new_job_id()
        path = f"/v1/studies/{key}/encode"
        body = json.dumps({"job": job}).encode()
        assert ask(worker, "POST", path, body)[0] == 202
        assert_error(ask(worker, "POST", path, body), 400, "exists already")
        codes = [ask(worker, "POST", path, b"{}")[0] for _ in range(20)]
        assert set(codes) == {202, 429}
        segmenter.go_on.set()
        while worker.engine.jobs.busy:
            time.sleep(0.01)
        assert ask(worker, "POST", path, b"{}")[1]["state"] == "done"


# Limits


def test_the_least_recently_used_volume_goes_first() -> None:
    with running_server(limits=Limits(studies=2)) as worker:
        client = WorkerClient(worker.address)
        first, second = upload(worker, 1), upload(worker, 2)
        assert client.has_study(first)  # now the more recent of the two
        third = upload(worker, 3)
        assert [client.has_study(key) for key in (first, second, third)] == [True, False, True]


def test_the_memory_limit_counts_embeddings_and_a_volume_at_work_stays() -> None:
    one = 20 * 24 * 30 * 2
    segmenter = SteppedSegmenter()
    with running_server(segmenter, Limits(total_bytes=2 * one + 500)) as worker:
        client = WorkerClient(worker.address)
        first = upload(worker, 1)
        job = ask(worker, "POST", f"/v1/studies/{first}/encode", b"{}")[1]["job"]
        assert segmenter.begun.wait(5)
        second, third = upload(worker, 2), upload(worker, 3)
        assert [client.has_study(key) for key in (first, second, third)] == [True, False, True]
        segmenter.go_on.set()
        while worker.engine.jobs.busy:
            time.sleep(0.01)
        assert ask(worker, "GET", f"/v1/jobs/{job}")[1]["state"] == "done"
        assert [client.has_study(key) for key in (first, third)] == [True, False]  # the embedding needed its place
        assert worker.engine.studies.bytes <= 2 * one + 500


def test_only_two_models_are_kept_and_their_image_passes_go_with_them() -> None:
    loaded: list[str | None] = []

    def load(name: str | None, device: str) -> LoadedModel:
        loaded.append(name)
        return LoadedModel(name or "default", device, FakeSegmenter())  # type: ignore[arg-type]

    with running_server(load_model=load, default=(None, "cpu")) as worker:
        client = WorkerClient(worker.address)
        key, header, _ = (upload(worker), *ct())
        for model in ("a", "b", "a", "c"):
            client.encode(key, model)
        assert loaded == ["a", "b", "c"]
        client.answer(key, header.geometry, [BONES], "a", "cpu")  # "auto" was the default device, cpu
        with pytest.raises(NotEncoded):
            client.answer(key, header.geometry, [BONES], "b")


def test_idleness_frees_everything_but_not_while_it_works() -> None:
    segmenter = SteppedSegmenter()
    with running_server(segmenter, idle_seconds=0.2) as worker:
        client, key = WorkerClient(worker.address), upload(worker)
        ask(worker, "POST", f"/v1/studies/{key}/encode", b"{}")
        assert segmenter.begun.wait(5)
        time.sleep(0.5)
        assert len(worker.engine.studies) == 1
        segmenter.go_on.set()
        deadline = time.monotonic() + 10
        while client.status()["studies"]:  # asking for the status is no use of the worker
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert worker.engine.models.report() is None
        upload(worker)


def test_an_oversize_upload_is_refused_before_it_is_read() -> None:
    header, array = ct()
    with running_server(limits=Limits(upload_bytes=array.nbytes - 1)) as worker:
        key = keyed_ct()[0]
        headers = {**AUTHORIZED, VOLUME_HEADER: header.to_json()}
        assert_error(ask(worker, "PUT", f"/v1/studies/{key}", array.tobytes(), headers), 413, "GB")
        with pytest.raises(InputError, match="GB"):
            WorkerClient(worker.address).upload(key, header, array)
        big = VolumeHeader.of(array, header.geometry).to_json().replace("[20,24,30]", "[20000,24000,30000]")
        reply = ask(worker, "PUT", f"/v1/studies/{key}", b"", {**headers, VOLUME_HEADER: big})
        assert_error(reply, 413, "GB")
        assert len(worker.engine.studies) == 0


def test_a_refusal_in_the_middle_of_a_large_upload_reaches_the_client() -> None:
    header, array = ct(shape=(16, 512, 512))
    assert array.nbytes > 8_000_000  # far more than the buffers of a socket
    with running_server(limits=Limits(upload_bytes=1000)) as worker:
        for _ in range(3):
            with pytest.raises(InputError, match="the worker accepts"):
                WorkerClient(worker.address).upload("0" * 64, header, array)


def test_uploads_that_are_wrong_leave_nothing_behind(worker: Running) -> None:
    key, header, array = keyed_ct()
    good, path = header.to_json(), f"/v1/studies/{key}"
    data = array.tobytes()
    changed = bytearray(data)
    changed[1000] ^= 1
    cases: list[tuple[bytes, str, int]] = [
        (bytes(changed), good, 400),
        (data[:-2], good, 400),
        (data + b"00", good, 400),
        (data, "", 400),
        (data, "{}", 400),
        (data, "[" * 5000, 400),
        (data, good.replace("int16", "object"), 400),
        (data, good.replace("int16", "float32"), 400),
        (data, good.replace("1.5", "NaN"), 400),
        (data, good.replace("1.5", "-1.5"), 400),
        (data, good.replace("[20,24,30]", "[30,24,20]"), 400),  # the same bytes on another grid are another volume
        (data, good.replace("[20,24,30]", "[-20,24,-30]"), 400),
        (data, good.replace("[20,24,30]", '["20",24,30]'), 400),
        (data, good.replace("[20,24,30]", "[20,24]"), 400),
    ]
    for body, described, status in cases:
        reply = ask(worker, "PUT", path, body, {**AUTHORIZED, VOLUME_HEADER: described})
        assert_error(reply, status)
    assert len(worker.engine.studies) == 0
    # Not CT: the sentence is that of the library.
    picture = (array > 0).astype(np.int16) * 255
    with pytest.raises(InputError, match="windowed picture"):
        WorkerClient(worker.address).upload(keyed_ct_of(header, picture), header, picture)
    # An upload that breaks off.
    head = f"PUT {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n{VOLUME_HEADER}: {good}\r\n"
    raw(worker, f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:5000])
    assert len(worker.engine.studies) == 0
    assert worker.engine.studies._reserved == 0


def keyed_ct_of(header: VolumeHeader, array: np.ndarray) -> str:
    digest = header.start_key()
    digest.update(array.tobytes())
    return digest.hexdigest()


# Who may ask, and for what


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xff"],
)
@pytest.mark.parametrize("path", ["/v1/status", "/v1/nothing", "/"])
def test_without_the_token_nothing_is_told(worker: Running, authorization: str | None, path: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    assert_error(ask(worker, "GET", path, headers=headers), 401, "token")


def test_a_wrong_token_is_its_own_error(worker: Running) -> None:
    wrong = Address("127.0.0.1", worker.server.port, "another-token")
    with pytest.raises(WorkerRefused):
        WorkerClient(wrong).status()
    key, header, array = keyed_ct()
    with pytest.raises(WorkerRefused):
        WorkerClient(wrong).upload(key, header, array)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1", "/v2/status", "/v1/status/", "/v1/status?x=1", "/v1/../v1/status", "/v1/%73tatus",
        "/v1/studies/../../etc/passwd", "/v1/studies/..%2f..%2fetc%2fpasswd", "/v1/studies/" + "A" * 64,
        "/v1/studies/" + "0" * 63, "/v1/studies/" + "0" * 65, "/v1/studies/" + "0" * 64 + "/encode/x",
        "/v1/jobs/../../x", "/v1/jobs/" + "g" * 32, "http://127.0.0.1/v1/status", "*",
        "/v1/studies/" + "0" * 63 + "\u0660",
    ],
)  # fmt: skip
def test_path_tricks_find_nothing(worker: Running, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    assert raw(worker, head.encode()).startswith(b"HTTP/1.1 404 ")


def test_known_paths_refuse_other_methods(worker: Running) -> None:
    for method, path in (
        ("POST", "/v1/status"),
        ("PUT", "/v1/studies"),
        ("GET", "/v1/studies"),
        ("PUT", "/v1/prompts"),
    ):
        assert_error(ask(worker, method, path, b""), 405, "does not know")
    for method in ("PATCH", "OPTIONS", "TRACE", "BREW"):
        assert_error(ask(worker, method, "/v1/status"), 501)
    assert raw(worker, f"HEAD /v1/status HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())[9:12] == b"501"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/prompts", b"", 400),
        ("/v1/prompts", b"\xff\xfe\x00", 400),
        ("/v1/prompts", b"[]", 400),
        ("/v1/prompts", b"{}", 400),
        ("/v1/prompts", b'{"texts": []}', 400),
        ("/v1/prompts", b'{"texts": "left kidney"}', 400),
        ("/v1/prompts", b'{"texts": [1]}', 400),
        ("/v1/prompts", b'{"texts": ["\\ud800"]}', 400),
        ("/v1/prompts", b'{"texts": ["' + b"x" * 2001 + b'"]}', 400),
        ("/v1/prompts", b'{"texts": [' + b'"a",' * 256 + b'"a"]}', 400),
        ("/v1/prompts", b"[" * 100_000, 400),
        ("/v1/prompts", b'{"texts": [' + b"9" * 10_000 + b"]}", 400),
        ("/v1/prompts", b" " * (routes.MAX_JSON_BYTES + 1), 413),
        ("encode", b'{"model": 5}', 400),
        ("encode", b'{"device": null}', 400),
        ("encode", b'{"job": "../../x"}', 400),
        ("encode", b"nonsense", 400),
        ("answers", b'{"prompts": [{"text": "bones", "threshold": 0}]}', 400),
        ("answers", b'{"prompts": [{"text": "bones", "threshold": true}]}', 400),
        ("answers", b'{"prompts": [{"text": "bones", "threshold": NaN}]}', 400),
        ("answers", b'{"prompts": [{"text": "bones", "threshold": "0.5"}]}', 400),
        ("answers", b'{"prompts": [{"threshold": 0.5}]}', 400),
        ("answers", b'{"prompts": ["bones"]}', 400),
        ("answers", b'{"prompts": [{"text": ""}]}', 400),
    ],
)
def test_garbage_bodies(worker: Running, path: str, body: bytes, status: int) -> None:
    if not path.startswith("/"):
        key = upload(worker)
        WorkerClient(worker.address).encode(key)
        path = f"/v1/studies/{key}/{path}"
    assert_error(ask(worker, "POST", path, body), status)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("", b"411"),
        ("Content-Length: x", b"400"),
        ("Content-Length: -1", b"400"),
        ("Content-Length: 5\r\nContent-Length: 6", b"400"),
        ("Content-Length: \u0665", b"400"),
        ("Content-Length: 99999999999999999999999", b"400"),
        ("Transfer-Encoding: chunked", b"411"),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", b"411"),
    ],
)
def test_bodies_of_unknown_size(worker: Running, lines: str, status: bytes) -> None:
    head = f"POST /v1/prompts HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n{lines}\r\n\r\n"
    assert raw(worker, head.encode() + b"{}")[9:12] == status


def test_a_thousand_fuzzed_requests_leave_the_worker_alive(worker: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Requests that are nearly right, and noise; every answer is well-formed and none is a server error."""
    key = upload(worker)
    WorkerClient(worker.address).encode(key)
    generator = random.Random(20240607)
    body = json.dumps({"prompts": [{"text": "bones", "threshold": 0.5}], "texts": ["bones"]})
    paths = ["/v1/status", "/v1/prompts", "/v1/models", f"/v1/studies/{key}", f"/v1/studies/{key}/encode"]
    paths += [f"/v1/studies/{key}/answers", f"/v1/jobs/{'0' * 32}"]
    head = (
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN + "\r\nContent-Length: {size}\r\n\r\n"
    )
    seen: dict[int, int] = {}
    with caplog.at_level(logging.ERROR):
        for _ in range(1000):
            method = generator.choice(["GET", "POST", "PUT", "DELETE", "POST", "BREW"])
            size = generator.choice([len(body), len(body), 0, len(body) + 3])
            request = bytearray((head.format(method=method, path=generator.choice(paths), size=size) + body).encode())
            for _ in range(generator.choice([0, 1, 1, 2, 8, 40])):
                mutate(request, generator)
            answer = raw(worker, bytes(request))
            if answer:
                first, _, rest = answer.partition(b"\r\n")
                status = int(first.split()[1])
                seen[status] = seen.get(status, 0) + 1
                assert first.startswith(b"HTTP/1.1 ") and status not in (500, 503, 507), (status, request)
                length = int(rest.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                assert len(rest.partition(b"\r\n\r\n")[2]) == length
    assert sum(seen.values()) > 700
    assert {200, 400, 401, 404, 405} <= set(seen)
    assert not caplog.records
    assert WorkerClient(worker.address).status()["protocol"] == PROTOCOL_VERSION
    assert not worker.engine.jobs.busy
    assert threading.active_count() < 20


def mutate(request: bytearray, generator: random.Random) -> None:
    place = generator.randrange(len(request) + 1)
    how = generator.randrange(5)
    if how == 0:
        request[place : place + 1] = bytes([generator.randrange(256)])
    elif how == 1:
        del request[place : place + generator.choice([1, 1, 5, 50])]
    elif how == 2:
        request[place:place] = generator.randbytes(generator.choice([1, 3, 30]))
    elif how == 3:
        request[place:place] = generator.choice([b"\r\n", b"\x00", b"%00", b"../", b"\r\n\r\n", b'"', b"[", b"1e999"])
    else:
        request[place:place] = request[: generator.randrange(50)]
    request[:] = request or b"\r\n"


def test_silent_connections_do_not_stop_others(worker: Running) -> None:
    open_ones = [socket.create_connection(("127.0.0.1", worker.server.port)) for _ in range(40)]
    try:
        assert WorkerClient(worker.address).status()["protocol"] == PROTOCOL_VERSION
        more = [socket.create_connection(("127.0.0.1", worker.server.port), 5) for _ in range(40)]
        open_ones += more
        assert b"503" in more[-1].recv(100)
    finally:
        for connection in open_ones:
            connection.close()
    deadline = time.monotonic() + 10
    while raw(worker, f"GET /v1/status HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())[9:12] != b"200":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_answers_to_clients_that_left_are_given_up() -> None:
    asked: list[str] = []

    class Slow(FakeSegmenter):
        def encode(self, *args: Any, **kwargs: Any) -> Any:
            study = super().encode(*args, **kwargs)
            inner = study._segments

            def segments(*more: Any) -> Iterator[Any]:
                for segment in inner(*more):
                    asked.append(segment.prompt)
                    time.sleep(0.05)
                    yield segment

            study._segments = segments  # type: ignore[method-assign]
            return study

    with running_server(Slow()) as worker:
        key = upload(worker)
        client = WorkerClient(worker.address)
        client.encode(key)
        steps = client.stepwise.answer(key, ct()[0].geometry, [BONES] * 100)
        while not asked:
            next(steps)
            time.sleep(0.001)
        steps.close()
        began = time.monotonic()
        result = run(client.stepwise.answer(key, ct()[0].geometry, [BONES]))
        assert result.segments[0].found
        assert time.monotonic() - began < 2
        assert len(asked) < 50


def answering(payload: bytes) -> Any:
    """Routes that answer everything with the same."""
    return SimpleNamespace(find=lambda *_: lambda _call: (200, payload))


def test_a_slow_link_gets_a_large_answer(worker: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that a client may be silent is no limit for all that it reads."""
    silence, payload = 0.5, bytes(6 << 20)
    monkeypatch.setattr("OpenVocabCTLib.worker.server._Handler.timeout", silence)
    worker.server.routes = answering(payload)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.connect(("127.0.0.1", worker.server.port))
        connection.sendall(f"GET /v1/status HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        began, count = time.monotonic(), 0
        while data := connection.recv(1 << 16):
            count += len(data)
            time.sleep(4 * silence * len(data) / len(payload))
    assert count > len(payload)
    assert time.monotonic() - began > 2 * silence


def test_a_client_that_reads_nothing_is_let_go(worker: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("OpenVocabCTLib.worker.server._Handler.timeout", 0.2)
    worker.server.routes = answering(bytes(64 << 20))
    with socket.create_connection(("127.0.0.1", worker.server.port)) as connection:
        connection.sendall(f"GET /v1/status HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        deadline = time.monotonic() + 10
        while worker.server._slots._value < 64:
            assert time.monotonic() < deadline
            time.sleep(0.02)
