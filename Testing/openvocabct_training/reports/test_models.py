"""Language models: a server on loopback that speaks OpenAI's protocol, a local one, and what they may not invent."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from openvocabct_training.reports import backends, prompting
from openvocabct_training.reports.backends import BackendError, LocalModel, ModelBackend, OpenAIServer, RateLimit
from openvocabct_training.reports.decompose import decompose_all
from openvocabct_training.reports.grounding import Grounding, locate
from openvocabct_training.reports.items import Counts, report_sha256
from openvocabct_training.reports.organs import organ_ids
from OpenVocabCTLib.errors import InputError
from Testing.openvocabct_training.reports.writing import adversarial

REPORT = "FINDINGS: The liver is enlarged. No pleural effusion. A cyst in the left kidney."
GOOD = [
    {"organ": "liver", "text": "The liver is enlarged", "polarity": "present", "quote": "The liver is enlarged."},
    {"organ": "pleura", "text": "No pleural effusion", "polarity": "absent", "quote": "No pleural effusion."},
]
INVENTED = {"organ": "spleen", "text": "The spleen is enlarged", "polarity": "present", "quote": "spleen is enlarged"}


@dataclass
class Server:
    """What the fake server does: a list of replies, (status, headers, content), the last one for ever."""

    replies: list[tuple[int, dict[str, str], str]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @staticmethod
    def answer(content: str, finish: str = "stop") -> tuple[int, dict[str, str], str]:
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
        return 200, {}, json.dumps({"choices": [choice]})


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start servers on loopback that answer as they are told."""
    monkeypatch.setattr(backends, "_WAIT_SECONDS", 0.01)
    running: list[ThreadingHTTPServer] = []

    def start(*replies: tuple[int, dict[str, str], str]) -> Server:
        state = Server(list(replies))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(200, {}, '{"data": []}')

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                state.requests.append(json.loads(body))
                state.headers.append(dict(self.headers))
                self.reply(*(state.replies.pop(0) if len(state.replies) > 1 else state.replies[0]))

            def reply(self, status: int, headers: dict[str, str], content: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content.encode()))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}/v1"
        return state

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def backend(server: Server) -> ModelBackend:
    client = OpenAIServer(server.url, "toy")
    client.check()
    return ModelBackend("toy", client.ask)


def test_a_server_is_asked_with_a_schema_and_what_it_invents_is_rejected(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(backends.KEY_VARIABLE, "secret")
    server = serve(Server.answer(json.dumps({"items": [*GOOD, INVENTED]})))
    found = backend(server).decompose(REPORT)
    assert [(item.organ, item.polarity, item.text) for item in found.items] == [
        ("liver", "present", "The liver is enlarged"),
        ("pleura", "absent", "No pleural effusion"),
    ]
    assert [REPORT[slice(*item.source_span)] for item in found.items] == [good["quote"] for good in GOOD]
    assert found.rejected == 1
    (request,) = server.requests
    form = request["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["schema"]["properties"]["items"]["items"]["properties"]["organ"]["enum"] == list(
        organ_ids()
    )
    assert request["temperature"] == 0.0
    assert REPORT.partition(": ")[2] in request["messages"][1]["content"].replace("\n", " ")
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_busy_servers_are_asked_again(serve: Callable[..., Server]) -> None:
    server = serve((503, {}, "busy"), (429, {"Retry-After": "0"}, ""), Server.answer(json.dumps({"items": GOOD})))
    assert len(backend(server).decompose(REPORT).items) == 2
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Server.answer("I am sorry, I cannot."), "the answer is no JSON"),
        (Server.answer('{"statements": []}'), "no list of items"),
        (
            Server.answer('{"items": [{"organ": "soul", "text": "x", "polarity": "present", "quote": "x"}]}'),
            "not on the",
        ),
        (Server.answer('{"items": [{"organ": "liver"}]}'), "another form"),
        (Server.answer("[" * 100000), "no JSON"),
        ((200, {}, "<html>"), "no JSON"),
        ((200, {}, '{"choices": []}'), "another form"),
        (Server.answer(json.dumps({"items": GOOD}), "length"), "cut off"),
        ((400, {}, "bad"), "status 400"),
        ((400, {}, '{"error": {"message": "no\\nroom"}}'), "status 400, no room"),
        ((500, {}, "bad"), "status 500"),
    ],
)
def test_a_failed_report_falls_back_to_the_rules(
    serve: Callable[..., Server], reply: tuple[int, dict[str, str], str], reason: str
) -> None:
    server, counts = serve(reply), Counts()
    found = decompose_all([REPORT], backend(server), counts=counts)[report_sha256(REPORT)]
    assert found.backend == "rules"
    assert reason in found.fallback
    assert ("liver", "present") in {(item.organ, item.polarity) for item in found.items}
    assert counts.fallbacks == 1


def test_no_server(serve: Callable[..., Server]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match="no server answers"):
            OpenAIServer(f"http://127.0.0.1:{closed.getsockname()[1]}/v1", "toy").check()


def test_many_reports_at_once_are_each_asked_once(serve: Callable[..., Server]) -> None:
    server = serve(Server.answer(json.dumps({"items": GOOD})))
    reports = [f"{REPORT} Number {number}." for number in range(12)]
    counts = Counts()
    found = decompose_all([*reports, *reports], backend(server), jobs=4, counts=counts)
    assert list(found) == [report_sha256(report) for report in reports]
    assert len(server.requests) == counts.reports == 12


def test_the_rate_is_kept() -> None:
    limit, begin = RateLimit(60.0 * 50), time.monotonic()
    threads = [threading.Thread(target=limit.wait) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin >= 5 / 50 - 1e-3


@pytest.mark.parametrize(("name", "report"), list(adversarial()), ids=lambda value: str(value)[:20])
def test_adversarial_reports_and_an_obedient_model(name: str, report: str) -> None:
    """A model that does whatever a report asks for: nothing of it is kept that the report does not say."""
    grounding, asked = Grounding(), list[str]()

    def ask(messages: backends.Messages, schema: Mapping[str, Any]) -> str:
        asked.append(messages[1]["content"])
        invented = {"organ": "liver", "text": "huge tumor of the liver", "polarity": "present", "quote": "tumor liver"}
        return json.dumps({"items": [invented, {**GOOD[1], "quote": "pleural effusion"}]})

    found = ModelBackend("obedient", ask).decompose(report)
    assert all(grounding.holds(report, item) for item in found.items)
    assert "liver" not in {item.organ for item in found.items}
    for question in asked:
        assert len(question) < prompting.MAX_CHARACTERS + 5000
        assert question.count("<report>") == question.count("</report>") == 1
    assert bool(asked) == any(character.isalpha() for character in report) or name == "headings only"


@pytest.mark.parametrize(
    ("organ", "text", "polarity", "quote", "grounded"),
    [
        ("liver", "The liver is enlarged.", "present", "the LIVER  is enlarged", True),
        ("liver", "Enlarged liver", "present", "The liver is enlarged.", True),
        ("liver", "The liver is cirrhotic", "present", "The liver is enlarged.", False),  # not the quote's word
        ("liver", "The liver is enlarged", "absent", "No pleural effusion", False),  # another quote
        ("pleura", "pleural effusion", "present", "No pleural effusion", False),  # the denial is lost
        ("pleura", "No pleural effusion", "present", "No pleural effusion", False),  # the opposite of what is said
        ("left_kidney", "A cyst in the left kidney", "present", "A cyst in the left kidney", True),
        ("right_kidney", "A cyst in the right kidney", "present", "A cyst in the left kidney", False),
        ("right_kidney", "A cyst", "present", "A cyst in the left kidney", False),
        ("spleen", "A cyst in the left kidney", "present", "A cyst in the left kidney", False),  # another organ
        ("left_kidney", "A 3 cm cyst in the left kidney", "present", "A cyst in the left kidney", False),
        ("liver", "The liver", "present", "li", False),
        ("liver", "  ", "present", "The liver is enlarged.", False),
    ],
)
def test_grounding(organ: str, text: str, polarity: Any, quote: str, grounded: bool) -> None:
    assert (Grounding().item(REPORT, organ, text, polarity, quote) is not None) == grounded


def test_quotes_are_found_with_regex_characters() -> None:
    assert locate("(aa+b)", "see (AA+B).") == (4, 10)
    assert locate("nothing", "see (A+B).") is None


def test_long_reports_are_asked_in_parts_between_sentences() -> None:
    report = "INDICATION: why.\nFINDINGS:\n" + " ".join(f"The liver has {n} cysts." for n in range(800))
    parts = list(prompting.parts_of(report))
    assert len(parts) > 3
    assert all(len(part) <= prompting.MAX_CHARACTERS for part in parts)
    assert "".join(parts).count("cysts.") == 800
    assert all(part.startswith("FINDINGS:") for part in parts)
    assert "why" not in parts[0]


def test_a_local_model_that_talks_nonsense_gives_way_to_the_rules(tmp_path: Path) -> None:
    """A real causal model with random weights through the real path; no weights are downloaded."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[EOS]": 1, "liver": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="[EOS]").save_pretrained(tmp_path)
    GPT2LMHeadModel(GPT2Config(vocab_size=3, n_embd=8, n_layer=1, n_head=1, n_positions=96)).save_pretrained(tmp_path)
    model = ModelBackend("nonsense", LocalModel(tmp_path, max_tokens=8).ask)
    with pytest.raises(BackendError, match="no JSON"):
        model.decompose(REPORT)
    assert decompose_all([REPORT], model)[report_sha256(REPORT)].backend == "rules"
    with pytest.raises(InputError, match="no language model"):
        LocalModel(tmp_path / "nowhere")


def test_the_schema_bounds_what_a_model_that_repeats_itself_can_say() -> None:
    items = prompting.schema("FINDINGS:\nThe liver is enlarged.")["properties"]["items"]
    assert items["maxItems"] == 12
    assert items["items"]["properties"]["quote"]["maxLength"] == 32
    assert prompting.schema("No cyst.\n" * 400)["properties"]["items"]["maxItems"] == prompting.MAX_ITEMS


def test_reports_that_no_utf8_can_hold_are_sent(serve: Callable[..., Server]) -> None:
    server = serve(Server.answer('{"items": []}'))
    assert backend(server).decompose("The liver \ud800 is enlarged.").items == ()
    assert "The liver ? is enlarged." in server.requests[0]["messages"][1]["content"]
