"""Stand-ins for the CTK and Slicer widgets that our .ui files use, with the properties, slots and signals used here.

Names and meanings are those of the real headers (ctkCollapsibleButton.h, qMRMLNodeComboBox.h, ...): what is not
here fails, so that a call of something unknown does not go unnoticed.
"""

from __future__ import annotations

from typing import Any, ClassVar

import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

_HEADER = 26


class qMRMLWidget(QtWidgets.QWidget):  # noqa: N801
    """Knows the scene and tells its children, as the real one does through the connections of the .ui file."""

    def setMRMLScene(self, scene: Any) -> None:
        for child in self.findChildren(QtWidgets.QWidget):
            if hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)


class ctkCollapsibleButton(QtWidgets.QWidget):  # noqa: N801
    """A titled section that folds its children away."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self._hidden: set[QtWidgets.QWidget] = set()
        self.setContentsMargins(0, _HEADER, 0, 0)

    def _widgets(self) -> list[QtWidgets.QWidget]:
        return [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]

    def _get_text(self) -> str:
        return self._text

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed and not self._collapsed:
            # What is hidden for a reason of its own stays hidden afterwards.
            self._hidden = {child for child in self._widgets() if child.isHidden()}
        self._collapsed = collapsed
        for child in self._widgets():
            child.setVisible(not collapsed and child not in self._hidden)
        self.setMaximumHeight(_HEADER if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    text = Property(str, _get_text, _set_text)
    collapsed = Property(bool, _get_collapsed, _set_collapsed)

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        if self._collapsed:
            self._set_collapsed(True)
        super().showEvent(event)

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(super().sizeHint().width(), _HEADER) if self._collapsed else super().sizeHint()

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(80, _HEADER) if self._collapsed else super().minimumSizeHint()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() < _HEADER:
            self._set_collapsed(not self._collapsed)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), _HEADER - 4)
        option.features = QtWidgets.QStyleOptionButton.ButtonFeature.None_
        option.state |= QtWidgets.QStyle.StateFlag.State_Raised
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, 6, 10, 10)
        kind = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(kind.PE_IndicatorArrowRight if self._collapsed else kind.PE_IndicatorArrowDown, arrow)
        painter.drawText(option.rect.adjusted(26, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, self._text)


class qMRMLNodeComboBox(QtWidgets.QWidget):  # noqa: N801
    """Chooses a node of the scene; follows nodes that come and go."""

    nodeChanged = Signal(object)
    SIGNALS: ClassVar[dict[str, str]] = {"currentNodeChanged(vtkMRMLNode*)": "nodeChanged"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._values: dict[str, Any] = {"nodeTypes": [], "noneEnabled": False, "noneDisplay": "Select a node"}
        self._scene: Any = None
        self._nodes: list[Any] = []
        self._current: Any = None
        self._tags: list[int] = []
        self._box.activated.connect(self._activated)

    def setMRMLScene(self, scene: Any) -> None:
        if self._scene is not None:
            for tag in self._tags:
                self._scene.RemoveObserver(tag)
        self._scene = scene
        self._tags = []
        if scene is not None:
            # As qMRMLSceneModel: nodes that come in an import or go in a close are noticed at its end, all at once.
            observers = (
                (scene.NodeAddedEvent, self._node_added, 10.0),
                (scene.NodeAboutToBeRemovedEvent, self._node_about_to_go, -10.0),
                (scene.EndCloseEvent, self._scene_changed, 0.0),
                (scene.EndImportEvent, self._scene_changed, 0.0),
            )
            self._tags = [scene.AddObserver(*observer) for observer in observers]
        self._refresh()

    def _node_added(self, *_: Any) -> None:
        if not self._scene.IsImporting():
            self._refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_about_to_go(self, _scene: Any, _event: str, node: Any) -> None:
        if self._scene.IsClosing() or node not in self._nodes:
            return
        index = self._nodes.index(node)
        self._nodes.remove(node)
        # The row before it, as QComboBox chooses: that may be another node.
        before = self._nodes[index - 1] if index > 0 else None
        self._choose(before if node is self._current else self._current)

    def _scene_changed(self, *_: Any) -> None:
        # All rows go and come anew, so that nothing is chosen any more.
        self._nodes = []
        self._choose(None)
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        self._choose(self._scene.GetNodeByID(node) if isinstance(node, str) and self._scene else node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self.setCurrentNode(node_id)

    def addNode(self, node_type: str = "") -> Any:
        node = self._scene.AddNewNodeByClass(node_type or self._values["nodeTypes"][0])
        self._choose(node)
        return node

    def nodeCount(self) -> int:
        return len(self._nodes)

    def addAttribute(self, *_: Any) -> None:
        pass

    def _refresh(self) -> None:
        if self._scene is None:
            self._nodes = []
        else:
            names = self._values["nodeTypes"]
            nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
            self._nodes = [n for n in nodes if n.GetClassName() in names and not n.GetHideFromEditors()]
        keep = self._current if self._current in self._nodes else None
        if keep is None and self._nodes and not self._values["noneEnabled"]:
            keep = self._nodes[0]
        self._choose(keep)

    def _choose(self, node: Any) -> None:
        if node is not None and node not in self._nodes:
            self._nodes.append(node)
        self._box.clear()
        none = [self._values["noneDisplay"]] if self._values["noneEnabled"] or not self._nodes else []
        self._box.addItems(none + [n.GetName() or "" for n in self._nodes])
        self._box.setCurrentIndex(self._nodes.index(node) + len(none) if node is not None else 0)
        changed = node is not self._current
        self._current = node
        if changed:
            self.nodeChanged.emit(node)

    def _activated(self, index: int) -> None:
        none = self._box.count() - len(self._nodes)
        self._choose(self._nodes[index - none] if index >= none else None)

    def _value(name: str, kind: Any) -> Any:  # type: ignore[misc]  # noqa: N805
        def read(self: Any) -> Any:
            if name == "currentNodeID":
                return "" if self._current is None else self._current.GetID()
            return self._values.get(name, kind())

        def write(self: Any, value: Any) -> None:
            if name == "currentNodeID":
                self.setCurrentNode(value)
                return
            self._values[name] = value
            self._refresh()

        return Property("QStringList" if kind is list else kind, read, write)

    currentNodeID = _value("currentNodeID", str)
    nodeTypes = _value("nodeTypes", list)
    noneEnabled = _value("noneEnabled", bool)
    noneDisplay = _value("noneDisplay", str)
    baseName = _value("baseName", str)
    addEnabled = _value("addEnabled", bool)
    removeEnabled = _value("removeEnabled", bool)
    renameEnabled = _value("renameEnabled", bool)
    editEnabled = _value("editEnabled", bool)
    showHidden = _value("showHidden", bool)
    showChildNodeTypes = _value("showChildNodeTypes", bool)
    hideChildNodeTypes = _value("hideChildNodeTypes", list)
    selectNodeUponCreation = _value("selectNodeUponCreation", bool)
    interactionNodeSingletonTag = _value("interactionNodeSingletonTag", str)


class qMRMLSegmentationShow3DButton(QtWidgets.QToolButton):  # noqa: N801
    """Shows a segmentation in 3D."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.segmentation_node: Any = None

    def setSegmentationNode(self, node: Any) -> None:
        self.segmentation_node = node


WIDGETS = (qMRMLWidget, ctkCollapsibleButton, qMRMLNodeComboBox, qMRMLSegmentationShow3DButton)
