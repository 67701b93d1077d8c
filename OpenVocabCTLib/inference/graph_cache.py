"""Converted networks on disk: tracing a network takes longer than reading what came out of it the last time."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from OpenVocabCTLib import __version__
from OpenVocabCTLib.errors import OpenVocabCTError
from OpenVocabCTLib.models.checkpoints import sha256_file
from OpenVocabCTLib.output.atomic import replacing

# The graph is made by these modules: when they change, so may the graph, whatever the version says.
NETWORK_CODE = tuple(Path(__file__).parents[1] / "models" / name for name in ("stunet.py", "heads.py", "openvocab.py"))

_log = logging.getLogger(__name__)


class GraphCache:
    """Keeps the OpenVINO graph of one network; a damaged or missing entry only costs the time to make it again.

    Args:
        folder: where entries are written.
        weights: sha256 of the network's weights.
        engine: version of OpenVINO, whose files may change between versions.
    """

    def __init__(self, folder: Path, weights: str, engine: str) -> None:
        self.folder = folder
        digest = hashlib.sha256(f"{__version__} {engine} {weights}".encode())
        for module in NETWORK_CODE:
            digest.update(module.read_bytes())
        self.name = digest.hexdigest()[:32]

    def read(self, core: Any) -> Any | None:
        """The graph (``openvino.Model``), or None when there is none that can be trusted.

        Args:
            core: ``openvino.Core``.
        """
        structure, values, seal = self._files()
        try:
            if not seal.is_file() or seal.read_text(encoding="ascii").split() != _digests(structure, values):
                return None
            return core.read_model(str(structure), str(values))
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            _log.warning("the kept network %s is damaged (%s): it is made again", self.name, error)
            return None

    def write(self, graph: Any) -> None:
        """Keep a graph; a folder that cannot be written is said in the log and nothing else.

        Args:
            graph: ``openvino.Model`` of any shape.
        """
        from openvino import serialize

        structure, values, seal = self._files()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(structure) as new_structure, replacing(values) as new_values:
                serialize(graph, str(new_structure), str(new_values))
            # Last: an entry without its seal, or of two writers mixed, is not read.
            with replacing(seal) as new_seal:
                new_seal.write_text("\n".join(_digests(structure, values)), encoding="ascii")
        except (OSError, RuntimeError, OpenVocabCTError) as error:
            _log.info("the converted network is not kept for the next time (%s)", error)

    def _files(self) -> tuple[Path, Path, Path]:
        structure, values, seal = (self.folder / f"{self.name}{suffix}" for suffix in (".xml", ".bin", ".sha256"))
        return structure, values, seal


def _digests(*files: Path) -> list[str]:
    return [sha256_file(file) for file in files]
