"""Workers for tests: in a thread of this process, or as a process of their own; always with the fake model."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from OpenVocabCTLib.commands.services import LoadedModel
from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.worker.engine import Engine
from OpenVocabCTLib.worker.process import WorkerProcess
from OpenVocabCTLib.worker.protocol import Address, VolumeHeader, content_key
from OpenVocabCTLib.worker.server import WorkerServer
from OpenVocabCTLib.worker.steps import Progress
from OpenVocabCTLib.worker.studies import Limits, ModelId
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.fake_model import TILES, FakeSegmenter, FakeStudy

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "test-token-0123456789"
SHAPE = (20, 24, 30)
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


class SteppedSegmenter(FakeSegmenter):
    """Waits in every tile until a test lets it go on, so that no test depends on time."""

    def __init__(self) -> None:
        super().__init__()
        self.tiles_begun = 0
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, volume: Any, progress: Callable[[int, int], bool] | None = None) -> FakeStudy:
        for done in range(TILES):
            if progress is not None and not progress(done, TILES):
                raise Cancelled("stopped", "nothing was written")
            self.tiles_begun += 1
            self.begun.set()
            assert self.go_on.wait(20)
        return FakeStudy(volume)


@dataclass
class Running:
    """A server in this process."""

    engine: Engine
    server: WorkerServer
    address: Address


@contextmanager
def running_server(
    segmenter: Any = None,
    limits: Limits | None = None,
    default: ModelId = (None, "auto"),
    idle_seconds: float = 0.0,
    load_model: Callable[[str | None, str], LoadedModel] | None = None,
) -> Iterator[Running]:
    def load(name: str | None, device: str) -> LoadedModel:
        return LoadedModel(name or "fake", device, segmenter or FakeSegmenter())

    engine = Engine(load_model or load, limits, default, idle_seconds)
    server = WorkerServer(engine, TOKEN)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Running(engine, server, Address("127.0.0.1", server.port, TOKEN))
    finally:
        server.shutdown()
        server.server_close()
        engine.stop(1)


def fake_process(tmp_path: Path, tile_seconds: float = 0.0, options: tuple[str, ...] = ()) -> WorkerProcess:
    """Start ``openvocabct serve`` with the fake model as a real process."""
    return WorkerProcess.start(
        sys.executable,
        library_folder=ROOT,
        log=tmp_path / "worker.log",
        extra_environment={"FAKE_TILE_SECONDS": str(tile_seconds)},
        command=("-m", "Testing.openvocabct_lib.fake_model", "serve"),
        options=options,
    )


def ct(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> tuple[VolumeHeader, np.ndarray]:
    array = ct_phantom(shape, seed)
    return VolumeHeader.of(array, Geometry(shape, (1.5, 2.0, 3.0), (-30.0, 12.5, 7.0), OBLIQUE)), array


def keyed_ct(seed: int = 0) -> tuple[str, VolumeHeader, np.ndarray]:
    header, array = ct(seed)
    return content_key(header, array), header, array


class Recorder(list[Progress]):
    """Collects progress; cancels at a stage when told to."""

    def __init__(self, cancel_at: str = "") -> None:
        super().__init__()
        self.cancel_at = cancel_at

    def __call__(self, progress: Progress) -> bool:
        self.append(progress)
        return progress.stage != self.cancel_at

    @property
    def stages(self) -> list[str]:
        return list(dict.fromkeys(progress.stage for progress in self))
