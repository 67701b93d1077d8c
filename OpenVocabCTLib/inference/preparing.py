"""Making the network ready while torch is still being imported, which takes seconds and one core.

A preparation can only save time: whatever it could not do, whoever asks for its result does then.
"""

from __future__ import annotations

import logging
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from OpenVocabCTLib.caches import cache_folder
from OpenVocabCTLib.inference.graph_cache import GraphCache
from OpenVocabCTLib.inference.openvino_network import OpenVinoNetwork, import_openvino
from OpenVocabCTLib.models.checkpoints import WEIGHTS_FILE, read_config

_log = logging.getLogger(__name__)

_NVIDIA = Path("/proc/driver/nvidia/version")
_CPU_FLAGS = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_tile"})


class Preparation:
    """Reads and compiles the kept OpenVINO network of a model in a thread; make it with `start`.

    Args:
        weights: sha256 of the model's weights, under which the network is kept.
    """

    def __init__(self, weights: str) -> None:
        self._weights = weights
        self._network: OpenVinoNetwork | None = None
        self._thread = threading.Thread(target=self._prepare, name="preparing the network", daemon=True)
        self._thread.start()

    @classmethod
    def start(cls, folder: Path, device: str) -> Preparation | None:
        """Begin, where the network is going to run through OpenVINO in single precision.

        Args:
            folder: of the model.
            device: as the user gave it.

        Returns:
            None where there is nothing to prepare, or the network would not be used.

        Raises:
            ModelError: the model's configuration cannot be read.
        """
        if "torch" in sys.modules or find_spec("openvino") is None or _runs_elsewhere(device):
            return None
        weights = read_config(folder).get("sha256", {}).get(WEIGHTS_FILE)
        return cls(weights) if isinstance(weights, str) else None

    def network(self, weights: str) -> OpenVinoNetwork | None:
        """Wait for the network; None when it is of other weights or could not be made ready."""
        self._thread.join()
        return self._network if weights == self._weights else None

    def _prepare(self) -> None:
        try:
            openvino = import_openvino()
            core = openvino.Core()
            graph = GraphCache(cache_folder() / "networks", self._weights, openvino.__version__).read(core)
            if graph is not None:
                self._network = OpenVinoNetwork(core, graph, "f32")
                if self._network.threads > 1:
                    self._network.prepare_pairs()
        except (ImportError, RuntimeError) as error:
            _log.debug("the network was not prepared (%s)", error)


def _runs_elsewhere(device: str) -> bool:
    """Whether the network may run on a GPU or in bfloat16; torch, which knows better, is not imported yet."""
    if device not in ("auto", "cpu") or (device == "auto" and _NVIDIA.exists()):
        return True
    try:
        flags = _CPU_FLAGS.read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: what is prepared in vain is not used
        return False
    return not _BF16_FLAGS.isdisjoint(flags.split())
