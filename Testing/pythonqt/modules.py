"""The modules ``qt``, ``ctk`` and the parts of ``slicer`` that only the application has, made from PySide6."""

from __future__ import annotations

import contextlib
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from Testing.pythonqt import widgets
from Testing.pythonqt.proxies import proxy_class, unwrap, wrap


class QtModule(types.ModuleType):
    """``qt``: every class of QtCore, QtGui and QtWidgets, in one module as in Slicer."""

    def __getattr__(self, name: str) -> Any:
        if name == "QUiLoader":
            return UiLoader
        for module in (QtCore, QtGui, QtWidgets):
            value = getattr(module, name, None)
            if value is not None:
                break
        else:
            raise AttributeError(name)
        if isinstance(value, type) and issubclass(value, QtCore.QObject) and name != "QFile":
            value = proxy_class(value)
            if name == "QTimer":
                value.singleShot = staticmethod(_single_shot)
        setattr(self, name, value)
        return value


class UiLoader:
    """QUiLoader that knows our stand-ins; other custom widgets in a .ui file fail, as a misspelt class should."""

    def __init__(self) -> None:
        self._loader = QtUiTools.QUiLoader()
        for widget in widgets.WIDGETS:
            self._loader.registerCustomWidget(widget)

    def load(self, file: QtCore.QFile) -> Any:
        widget = self._loader.load(file)
        if widget is None:
            raise RuntimeError(self._loader.errorString())
        for child in [widget, *widget.findChildren(QtCore.QObject)]:
            wrap(child)
        return wrap(widget)


class Clipboard:
    """Keeps text; the real clipboard belongs to the person at the machine."""

    def __init__(self) -> None:
        self._text = ""

    def setText(self, text: str) -> None:
        self._text = text

    def text(self) -> str:
        return self._text


class Application:
    """``slicer.app``, as far as used."""

    def __init__(self) -> None:
        self.applicationName, self.applicationVersion = "Slicer", "5.10.0"
        self.majorVersion, self.minorVersion = 5, 10
        self._clipboard = Clipboard()
        self.connections: list[tuple[str, Any]] = []
        self.connections_of_manager: list[tuple[str, Any]] = []

    def clipboard(self) -> Clipboard:
        return self._clipboard

    def connect(self, signal: str, slot: Any) -> bool:
        self.connections.append((signal, slot))
        return True

    def moduleManager(self) -> Any:
        return types.SimpleNamespace(
            connect=lambda *args: self.connections_of_manager.append(args), disconnect=lambda *args: None
        )

    def processEvents(self) -> None:
        application().processEvents()


def application() -> QtWidgets.QApplication:
    """The QApplication of this process, drawn without a screen."""
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication(["tests"])


@contextlib.contextmanager
def installed(scene: Any = None, tr: Any = None) -> Iterator[types.SimpleNamespace]:
    """Put ``qt`` and ``ctk`` and the application's parts of ``slicer`` in place, and take them away again.

    Args:
        scene: becomes ``slicer.mrmlScene``.
        tr: the translator that ``slicer.i18n`` has; without it there is no ``slicer.i18n``.
    """
    import slicer

    application()
    qt = QtModule("qt")
    ctk = types.ModuleType("ctk")
    ctk.ctkCollapsibleButton = proxy_class(widgets.ctkCollapsibleButton)  # type: ignore[attr-defined]
    modules = {"qt": qt, "ctk": ctk, "slicer.ScriptedLoadableModule": _scripted_loadable_module()}
    if tr is not None:
        i18n = types.ModuleType("slicer.i18n")
        i18n.tr, i18n.translate = tr, lambda context, text: tr(text)  # type: ignore[attr-defined]
        modules["slicer.i18n"] = i18n
    before = {name: sys.modules.get(name) for name in modules}
    attributes = {name: slicer.__dict__.get(name) for name in ("app", "mrmlScene", "modules")}
    sys.modules.update(modules)
    app = Application()
    slicer.app, slicer.mrmlScene, slicer.modules = app, scene, types.SimpleNamespace()
    for widget in widgets.WIDGETS:
        setattr(slicer, widget.__name__, proxy_class(widget))
    try:
        yield types.SimpleNamespace(qt=qt, ctk=ctk, app=app)
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
        for name, value in attributes.items():
            if value is None:
                slicer.__dict__.pop(name, None)
            else:
                setattr(slicer, name, value)
        for widget in widgets.WIDGETS:
            slicer.__dict__.pop(widget.__name__, None)


def _single_shot(milliseconds: int, slot: Any) -> None:
    QtCore.QTimer.singleShot(milliseconds, unwrap(slot))


def _scripted_loadable_module() -> types.ModuleType:
    """The base classes a scripted module derives from, with the members that ours uses."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")

    class ScriptedLoadableModule:
        def __init__(self, parent: Any) -> None:
            self.parent, self.moduleName = parent, type(self).__name__

        def resourcePath(self, filename: str) -> str:
            return str(Path(self.parent.path).parent / "Resources" / filename)

        def getDefaultModuleDocumentationLink(self) -> str:
            return ""

    class ScriptedLoadableModuleWidget:
        def __init__(self, parent: Any = None) -> None:
            super().__init__()
            self.moduleName = type(self).__name__.removesuffix("Widget")
            self.developerMode = False
            self.parent = parent
            self.layout = parent.layout()

        def setup(self) -> None:
            pass

        def resourcePath(self, filename: str) -> str:
            return str(Path(sys.modules[type(self).__module__].__file__ or "").parent / "Resources" / filename)

    class ScriptedLoadableModuleLogic:
        def __init__(self, parent: Any = None) -> None:
            super().__init__()
            self.moduleName = type(self).__name__.removesuffix("Logic")
            self.isSingletonParameterNode = True

        def getParameterNode(self) -> Any:
            import slicer

            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is None:
                node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
                node.UnRegister(None)
                node.SetSingletonTag(self.moduleName)
                node.SetModuleName(self.moduleName)
                node = slicer.mrmlScene.AddNode(node)
            return node

    class ScriptedLoadableModuleTest:
        def delayDisplay(self, message: str, msec: int = 0) -> None:
            pass

    for item in (
        ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest
    ):  # fmt: skip
        setattr(module, item.__name__, item)
    module.__all__ = ["ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest",  # type: ignore[attr-defined]
                      "ScriptedLoadableModuleWidget"]  # fmt: skip
    return module
