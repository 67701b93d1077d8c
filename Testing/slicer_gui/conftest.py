"""The Qt side of the module on PySide6, drawn without a screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from Testing.pythonqt.modules import application, installed
from Testing.pythonqt.proxies import SLOT_ERRORS

_OURS = ("OpenVocabCTSlicer", "OpenVocabCT", "SegmentEditorOpenVocabCTLib")


def forget_modules() -> None:
    """Forget our modules: those that were imported with ``qt`` must not outlive it, nor the other way round."""
    for name in [name for name in sys.modules if name.split(".")[0] in _OURS]:
        del sys.modules[name]


@pytest.fixture(scope="session", autouse=True)
def _application() -> None:
    application()


@pytest.fixture(autouse=True)
def _no_slot_fails() -> Iterator[None]:
    SLOT_ERRORS.clear()
    yield
    assert not SLOT_ERRORS, "a slot raised, which the user would see as a traceback in the console"


@pytest.fixture
def slicer_gui() -> Iterator[SimpleNamespace]:
    """``qt``, ``ctk`` and the application's parts of ``slicer``, on a new scene."""
    import slicer

    scene = slicer.vtkMRMLScene()
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in _OURS}
    forget_modules()
    with installed(scene) as environment:
        environment.scene = scene
        yield environment
    forget_modules()
    sys.modules.update(kept)
    scene.Clear(True)
