"""Stops work when the nodes that it is about leave the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.worker.steps import Progress, Steps
from OpenVocabCTSlicer.volumes import Node

T = TypeVar("T")


def while_present(steps: Steps[T], *nodes: Node) -> Steps[T]:
    """Do the steps as long as all nodes are in their scene; otherwise cancel them.

    Raises:
        Cancelled: a node was deleted or its scene closed.
    """
    return _guarded(steps, lambda: all(is_present(node) for node in nodes))


def is_present(node: Node) -> bool:
    """Say whether a node is in a scene that is not being closed."""
    scene = node.GetScene()
    return scene is not None and not scene.IsClosing()


def _guarded(steps: Steps[T], goes_on: Callable[[], bool]) -> Steps[T]:
    gone: Cancelled | None = None
    thrown: BaseException | None = None
    while True:
        if gone is None and not goes_on():
            gone = thrown = Cancelled("the volume or the segmentation was removed", "choose another and run again")
        try:
            progress = _advance(steps, thrown)
        except StopIteration as stop:
            if gone is not None:
                raise gone from None
            return stop.value
        thrown = None
        try:
            yield progress
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as error:  # noqa: BLE001 whatever the driver throws goes on to the steps
            thrown = error


def _advance(steps: Steps[T], thrown: BaseException | None) -> Progress | None:
    return next(steps) if thrown is None else steps.throw(thrown)
