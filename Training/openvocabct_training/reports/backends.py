"""Language models that take reports apart: any server that speaks OpenAI's protocol, or a model on this machine."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from openvocabct_training.reports import prompting
from openvocabct_training.reports.grounding import Grounding
from openvocabct_training.reports.items import Decomposition, Item, without_repeats
from OpenVocabCTLib.errors import InputError

KEY_VARIABLE = "OPENAI_API_KEY"
_TRIES = 4
_WAIT_SECONDS = 1.0
_LONGEST_WAIT = 60.0
MAX_TOKENS = 4096
_SHOWN = 120

Messages = list[dict[str, str]]
# Chat messages and the JSON schema of the answer -> the text of the answer; raises BackendError.
Ask = Callable[[Messages, Mapping[str, Any]], str]


class Backend(Protocol):
    """Takes reports apart."""

    @property
    def name(self) -> str:
        """Identifies the model in files."""
        ...

    @property
    def identity(self) -> str:
        """Identifies in caches all that an answer depends on, apart from the report and the question."""
        ...

    def decompose(self, report: str) -> Decomposition:
        """Take a report apart.

        Raises:
            BackendError: the model gave no usable answer.
        """
        ...


class BackendError(Exception):
    """A model gave no usable answer to this report; the rules will have to do."""


class ModelBackend:
    """What all models share: parts of a report, answers read and checked, ungrounded statements counted.

    Args:
        name: of the model.
        ask: the model.
        grounding: checks every statement.
    """

    def __init__(self, name: str, ask: Ask, grounding: Grounding | None = None) -> None:
        self.name, self.identity, self._ask = name, name, ask
        self._grounding = grounding or Grounding()

    def decompose(self, report: str) -> Decomposition:
        """Take a report apart.

        Raises:
            BackendError: a part of it got no usable answer.
        """
        items: list[Item] = []
        rejected = 0
        for part in prompting.parts_of(report):
            try:
                answer = prompting.read_answer(self._ask(prompting.messages(part), prompting.schema(part)))
            except prompting.BadAnswerError as error:
                raise BackendError(str(error)) from error
            for raw in answer:
                item = self._grounding.item(report, raw.organ, raw.text, raw.polarity, raw.quote)
                if item is None:
                    rejected += 1
                else:
                    items.append(item)
        return Decomposition(without_repeats(items), self.name, rejected)


class RateLimit:
    """Lets at most so many requests a minute begin, evenly spaced, from any number of threads.

    Args:
        per_minute: requests; 0: as many as come.
    """

    def __init__(self, per_minute: float) -> None:
        self._gap = 60.0 / per_minute if per_minute > 0 else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait for one's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._gap
        if turn > now:
            time.sleep(turn - now)


class OpenAIServer:
    """Asks a server that speaks OpenAI's chat protocol, with decoding constrained by a JSON schema.

    vLLM, llama.cpp, and most others do.  Busy servers (429, 5xx) and broken connections are asked again.

    Args:
        url: base address, for example http://127.0.0.1:8000/v1.
        model: as the server calls it.
        rate: requests a minute, 0: no limit.
        timeout_s: for one answer.
        max_tokens: longest answer; a longer one is cut off, and is no answer.
        key_variable: environment variable that holds the key, if the server wants one.
    """

    def __init__(
        self,
        url: str,
        model: str,
        rate: float = 0.0,
        timeout_s: float = 300.0,
        max_tokens: int = MAX_TOKENS,
        key_variable: str = KEY_VARIABLE,
    ) -> None:
        import httpx

        key = os.environ.get(key_variable)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url, self.model, self.max_tokens = url.rstrip("/"), model, max_tokens
        self._limit = RateLimit(rate)
        try:
            self._client = httpx.Client(headers=headers, timeout=timeout_s)
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise InputError(f"{url} is no address", "give for example --url http://127.0.0.1:8000/v1") from error

    def check(self) -> None:
        """Ask for the list of models, to find a wrong address before the first report.

        Raises:
            InputError: nobody answers there.
        """
        import httpx

        try:
            self._client.get(f"{self.url}/models", timeout=30.0)
        except httpx.HTTPError as error:
            raise InputError(
                f"no server answers at {self.url} ({type(error).__name__})", "start it, or check --url"
            ) from error

    def ask(self, messages: Messages, schema: Mapping[str, Any]) -> str:
        """Return the answer to chat messages.

        Raises:
            BackendError: there is none, or no whole one.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "decomposition", "strict": True, "schema": schema},
            },
        }
        answer = self._post(body)
        try:
            choice = answer["choices"][0]
            content = choice["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise BackendError("the server's answer has another form") from error
        if not isinstance(content, str):
            raise BackendError("the server's answer has no text")
        if choice.get("finish_reason") == "length":
            raise BackendError("the answer was cut off at the largest number of tokens")
        return content

    def _post(self, body: dict[str, Any]) -> Any:
        import httpx

        problem, wait = "", 0.0
        for attempt in range(_TRIES):
            time.sleep(min(_LONGEST_WAIT, wait))
            wait = _WAIT_SECONDS * 2.0**attempt
            self._limit.wait()
            try:
                reply = self._client.post(f"{self.url}/chat/completions", json=body)
            except httpx.HTTPError as error:
                problem = type(error).__name__
                continue
            if reply.status_code == 200:
                try:
                    return reply.json()
                except ValueError as error:
                    raise BackendError("the server's answer is no JSON") from error
            problem = f"status {reply.status_code}{_said(reply.text)}"
            if reply.status_code != 429 and reply.status_code < 500:
                break
            asked = reply.headers.get("Retry-After", "")
            wait = float(asked) if asked.isdigit() else wait
        raise BackendError(f"the server does not answer ({problem})")


def _said(text: str) -> str:
    """What a server says of its refusal, on one line, if it says it in OpenAI's form."""
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f", {' '.join(str(message).split())[:_SHOWN]}"


class LocalModel:
    """A chat model of ``transformers`` in a folder on this machine; one question at a time.

    Its decoding is not constrained: an answer that is no JSON of the wanted form is no answer.

    Args:
        folder: with ``config.json``, tokenizer files and safetensors.
        device: of torch.
        max_tokens: longest answer.

    Raises:
        InputError: the folder holds no such model.
    """

    def __init__(self, folder: Path, device: str = "cpu", max_tokens: int = MAX_TOKENS) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} holds no language model", "give a folder with a causal model") from error
        self._model: Any = model.to(device).eval()
        self._max_tokens = max_tokens
        self._lock = threading.Lock()

    def ask(self, messages: Messages, schema: Mapping[str, Any]) -> str:
        """Return the answer to chat messages; the schema constrains nothing here."""
        import torch

        tokenizer = self._tokenizer
        if tokenizer.chat_template:
            prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            prompt = "\n\n".join(message["content"] for message in messages) + "\n\n"
        with self._lock, torch.inference_mode():
            room = getattr(self._model.config, "max_position_embeddings", None) or 32768
            tokens = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=max(1, room - 64))
            tokens = tokens.to(self._model.device)
            length = tokens["input_ids"].shape[1]
            done = self._model.generate(
                **tokens,
                max_new_tokens=min(self._max_tokens, room - length),
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            )
        answer: str = tokenizer.decode(done[0, length:], skip_special_tokens=True)
        return answer
