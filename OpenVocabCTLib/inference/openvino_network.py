"""A network that OpenVINO has compiled for this CPU. Imports no torch, so that both can be made ready at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

OpenVinoPrecision = Literal["f32", "bf16"]


class OpenVinoNetwork:
    """An image tower, compiled once for tiles of every shape; safe to use from several threads.

    Compiling for each shape anew would cost half a second a scan and is no faster afterwards.

    Args:
        core: ``openvino.Core``.
        graph: ``openvino.Model`` with the inputs (1, D, H, W) HU and (1, D, H, W) leftness, sides unknown, and the
            outputs (1, E, D, H, W) voxel embedding and (1, T) presence token.
        precision: number format of the convolutions.
        threads: CPU threads; OpenVINO's choice, which is the physical cores, if None.

    Raises:
        RuntimeError: OpenVINO cannot compile it.
    """

    def __init__(self, core: Any, graph: Any, precision: OpenVinoPrecision, threads: int | None = None) -> None:
        self._options: dict[str, str] = {"INFERENCE_PRECISION_HINT": precision}
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = str(threads)
        graph.reshape({index: [1, -1, -1, -1] for index in range(2)})
        self._core, self._graph = core, graph
        compiled = core.compile_model(graph, "CPU", {**self._options, "PERFORMANCE_HINT": "LATENCY"})
        self.precision = precision
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        # An inference request has one set of buffers.
        self._request = compiled.create_infer_request()
        self._pair: list[Any] = []
        self._lock = threading.Lock()

    def prepare_pairs(self) -> None:
        """Compile for two tiles at a time, each with half of the threads; the first pair does it otherwise."""
        with self._lock:
            if not self._pair:
                compiled = self._core.compile_model(self._graph, "CPU", {**self._options, "NUM_STREAMS": "2"})
                self._pair = [compiled.create_infer_request() for _ in range(2)]

    def __call__(self, hu: np.ndarray, leftness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode a tile: (D, H, W) float32 HU and leftness -> (E, D, H, W) and (T,) float32, the caller's own."""
        with self._lock:
            self._request.infer(_inputs(hu, leftness))
            return _outputs(self._request)

    def pair(self, tiles: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Encode two tiles of one shape; the threads wait less for each other than with one after the other."""
        self.prepare_pairs()
        with self._lock:
            for request, tile in zip(self._pair, tiles, strict=True):
                request.start_async(_inputs(*tile))
            for request in self._pair:
                request.wait()
            return [_outputs(request) for request in self._pair]


def _inputs(hu: np.ndarray, leftness: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(part[None], dtype=np.float32) for part in (hu, leftness)]


def _outputs(request: Any) -> tuple[np.ndarray, np.ndarray]:
    # Copies: the request writes its next result into the same buffers.
    embedding, presence = (np.array(request.get_output_tensor(index).data[0]) for index in range(2))
    return embedding, presence


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which reports to a server as soon as it is imported.

    Raises:
        ImportError: it is not installed or does not load.
    """
    if "openvino" not in sys.modules:
        # With None as its module, importing openvino_telemetry fails, and OpenVINO goes on with its own stub.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
