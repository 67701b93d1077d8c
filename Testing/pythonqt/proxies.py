"""PySide6 objects that behave as PythonQt shows them inside 3D Slicer.

What PythonQt does and PySide6 does not, as far as the module relies on it:

- a Qt property is an attribute: ``label.text`` is a str, ``label.text = "x"`` writes it, ``label.text()`` fails;
- ``name`` is the object name;
- signals are connected by signature: ``button.connect("clicked(bool)", slot)``; an unknown signature fails;
- a slot gets at most as many arguments as it takes;
- setting an attribute that is not there fails, except on Python subclasses;
- a Python subclass overrides virtual methods (``eventFilter``).
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

_MODULES = (QtCore, QtGui, QtWidgets)
_classes: dict[type, type[Proxy]] = {}
_owners: weakref.WeakKeyDictionary[QtCore.QObject, Proxy] = weakref.WeakKeyDictionary()
_KEEP: list[Any] = []
SLOT_ERRORS: list[Exception] = []


class Proxy:
    """A Qt object as PythonQt shows it; the PySide6 object is in ``_q``."""

    _q: QtCore.QObject
    _type: type = QtCore.QObject

    def __init__(self, *args: Any) -> None:
        real = _real_type(type(self))
        object.__setattr__(self, "_connections", {})
        object.__setattr__(self, "_q", real(*[unwrap(argument) for argument in args]))
        _owners[self._q] = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_q":
            raise AttributeError(name)
        prop = _property(self._q, name)
        if prop is not None:
            return wrap(prop.read(self._q))
        # PythonQt calls the slots that are Python's words `raise_` and `exec_`.
        value = getattr(self._q, {"raise_": "raise_", "exec_": "exec"}.get(name, name))
        return _call(value) if callable(value) else wrap(value)

    def __setattr__(self, name: str, value: Any) -> None:
        prop = _property(self._q, name)
        if prop is not None:
            if not prop.isWritable():
                raise AttributeError(f"{name} cannot be written")
            self._q.setProperty(prop.name(), unwrap(value))
        elif type(self).__dict__.get("_pure_wrapper"):
            raise AttributeError(f"{self._q.metaObject().className()} has no attribute {name}")
        else:
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and other._q is self._q

    def __hash__(self) -> int:
        return hash(self._q)

    def connect(self, signal: str, slot: Callable[..., Any]) -> bool:
        """Connect a signal given by its C++ signature, as "clicked(bool)"."""
        bound = _signal(self._q, signal)
        target = _with_arguments(_trimmed(slot), signal)
        bound.connect(target)
        self._connections.setdefault((signal.replace(" ", ""), slot), []).append((bound, target))
        return True

    def disconnect(self, signal: str, slot: Callable[..., Any]) -> bool:
        """Undo `connect`; False when there was no such connection."""
        entries = self._connections.get((signal.replace(" ", ""), slot), [])
        if not entries:
            return False
        bound, target = entries.pop()
        bound.disconnect(target)
        return True

    def connection_count(self) -> int:
        """Connections made through this object that are still there: for tests only."""
        return sum(len(entries) for entries in self._connections.values())

    def className(self) -> str:
        """The C++ class name."""
        return self._q.metaObject().className()


def wrap(value: Any) -> Any:
    """Return what PythonQt would hand out for a PySide6 value."""
    if isinstance(value, QtCore.QObject):
        owner = _owners.get(value)
        if owner is None:
            owner = object.__new__(proxy_class(type(value)))
            object.__setattr__(owner, "_connections", {})
            object.__setattr__(owner, "_q", value)
            _owners[value] = owner
            # PySide6 may drop its own wrapper of an object that C++ owns, and with it the connections kept here.
            _KEEP.append(owner)
        return owner
    if isinstance(value, list | tuple):
        return type(value)(wrap(item) for item in value) if type(value) in (list, tuple) else value
    return value


def unwrap(value: Any) -> Any:
    """Return the PySide6 value behind what `wrap` handed out."""
    if isinstance(value, Proxy):
        return value._q
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(unwrap(item) for item in value)
    return value


def proxy_class(real: type) -> type[Proxy]:
    """Return the proxy class of a PySide6 class; enums and static methods are on it."""
    if real not in _classes:
        _classes[real] = _ProxyMeta(real.__name__, (Proxy,), {"_type": real, "_pure_wrapper": True})
    return _classes[real]


class _ProxyMeta(type):
    """Finds enums and static methods of the real class: ``qt.QMessageBox.Ok``, ``qt.QFileDialog.getOpenFileName``."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(cls._type, name)
        return _call(value) if callable(value) and not isinstance(value, type) else value


def _real_type(cls: type[Proxy]) -> type:
    """Return the PySide6 class to make: with the overrides of a Python subclass, as PythonQt's shells have."""
    real = cls._type
    overrides = {}
    for name in ("eventFilter", "keyPressEvent", "closeEvent"):
        if any(name in base.__dict__ for base in cls.__mro__[:-1] if not base.__dict__.get("_pure_wrapper")):

            def override(self: QtCore.QObject, *args: Any, _name: str = name) -> Any:
                owner = _owners.get(self)
                return False if owner is None else getattr(owner, _name)(*[wrap(argument) for argument in args])

            overrides[name] = override
    return type(real.__name__, (real,), overrides) if overrides else real


def _property(q: QtCore.QObject, name: str) -> QtCore.QMetaProperty | None:
    meta = q.metaObject()
    index = meta.indexOfProperty("objectName" if name == "name" else name)
    return meta.property(index) if index >= 0 else None


def _signal(q: QtCore.QObject, signature: str) -> Any:
    alias = getattr(type(q), "SIGNALS", {}).get(signature)
    if alias is not None:
        return getattr(q, alias)
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    if q.metaObject().indexOfSignal(normal) < 0:
        raise ValueError(f"{q.metaObject().className()} has no signal {signature}")
    name, arguments = normal.rstrip(")").split("(")
    bound = getattr(q, name)
    return bound[arguments] if f"{name}()" != normal and _overloaded(q, name) else bound


def _overloaded(q: QtCore.QObject, name: str) -> bool:
    meta = q.metaObject()
    arguments = {
        bytes(meta.method(i).methodSignature().data()).decode()
        for i in range(meta.methodCount())
        if bytes(meta.method(i).name().data()).decode() == name
        and meta.method(i).methodType() == QtCore.QMetaMethod.MethodType.Signal
    }
    return len(arguments - {f"{name}()"}) > 1


def _call(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrap(function(*[unwrap(a) for a in args], **{key: unwrap(value) for key, value in kwargs.items()}))

    return call


def _with_arguments(target: Callable[..., Any], signal: str) -> Callable[..., Any]:
    """PySide6 looks at how many arguments a slot names: name as many as the signature has."""
    arguments = signal.partition("(")[2].rstrip(")").strip()
    count = len(arguments.split(",")) if arguments else 0

    def none() -> Any:
        return target()

    def one(a: Any) -> Any:
        return target(a)

    def two(a: Any, b: Any) -> Any:
        return target(a, b)

    return (none, one, two)[count]


def _trimmed(slot: Callable[..., Any]) -> Callable[..., Any]:
    slot = slot if not isinstance(slot, Proxy) else slot.__call__
    try:
        parameters = list(inspect.signature(slot).parameters.values())
    except ValueError:  # written in C: all arguments, as PythonQt gives them
        parameters = [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    unlimited = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    limit = sum(parameter.kind in kinds for parameter in parameters)

    def target(*args: Any) -> Any:
        given = args if unlimited else args[:limit]
        try:
            return slot(*[wrap(argument) for argument in given])
        except Exception as error:
            # Qt prints it and goes on; a test must know.
            SLOT_ERRORS.append(error)
            raise

    return target
