"""What the module keeps in the scene, so that saving and loading the scene brings it back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from OpenVocabCTSlicer.rows import ResultRow, rows_from_text, rows_to_text
from OpenVocabCTSlicer.volumes import Node

MODULE = "OpenVocabCT"
_PROMPTS, _ROWS, _SENTENCES = "prompts", "results", "sentences"
_VOLUME, _SEGMENTATION = "volume", "segmentation"


@dataclass(frozen=True)
class Parameters:
    """The choices of one scene. Model, device and server are the user's and not the scene's: see `settings`.

    Attributes:
        prompts: the text of the prompt box.
        volume: the CT's node, None where none is chosen.
        segmentation: the node to write to, None for a new one.
        rows: the table of the last results.
        sentences: what a report says, by the key of the prompt that it gave (see `radiology_report`).
    """

    prompts: str = ""
    volume: Node | None = None
    segmentation: Node | None = None
    rows: tuple[ResultRow, ...] = ()
    sentences: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, parameter_node: Node) -> Parameters:
        """Read what `write` wrote into a vtkMRMLScriptedModuleNode; what is not there is as in a new scene."""
        return cls(
            _decoded(parameter_node.GetParameter(_PROMPTS)),
            parameter_node.GetNodeReference(_VOLUME),
            parameter_node.GetNodeReference(_SEGMENTATION),
            rows_from_text(parameter_node.GetParameter(_ROWS)),
            _texts_by_key(parameter_node.GetParameter(_SENTENCES)),
        )

    def write(self, parameter_node: Node) -> None:
        """Write everything as one change of the node; nothing happens where nothing differs."""
        with _one_change(parameter_node):
            parameter_node.SetParameter(_PROMPTS, json.dumps(self.prompts))
            parameter_node.SetParameter(_ROWS, rows_to_text(self.rows))
            parameter_node.SetParameter(_SENTENCES, json.dumps(dict(self.sentences)))
            for role, node in ((_VOLUME, self.volume), (_SEGMENTATION, self.segmentation)):
                parameter_node.SetNodeReferenceID(role, None if node is None else node.GetID())


def parameter_node(scene: Node) -> Node:
    """Return the scene's one parameter node of this module, made when there is none; it survives closing the scene."""
    import slicer

    node = scene.GetSingletonNode(MODULE, "vtkMRMLScriptedModuleNode")
    if node is not None:
        return node
    node = slicer.vtkMRMLScriptedModuleNode()
    node.SetSingletonTag(MODULE)
    node.SetModuleName(MODULE)
    node.SetName(MODULE)
    return scene.AddNode(node)


def _decoded(text: str) -> str:
    """Read a text that was kept as JSON: the scene's XML loses tabs and cannot hold control characters."""
    value = _json(text)
    return value if isinstance(value, str) else ""


def _texts_by_key(text: str) -> dict[str, str]:
    value = _json(text)
    pairs = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in pairs if isinstance(text, str)}


def _json(text: str) -> object:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


@contextmanager
def _one_change(node: Node) -> Iterator[None]:
    was = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(was)
