"""What is remembered between runs of the application, in its settings file."""

from __future__ import annotations

import json

from OpenVocabCTSlicer.history import Store

PREFIX = "OpenVocabCT"
DEVICES = ("auto", "cpu", "cuda", "mps")


class UserSettings:
    """Model, device and server that the user chose.

    The server's token stays in memory: the settings file is readable by other programs.

    Args:
        store: QSettings or the like.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.token = ""

    @property
    def model(self) -> str | None:
        """Name or folder of the model, None for the default."""
        return self._text("model") or None

    @model.setter
    def model(self, value: str | None) -> None:
        self._write("model", value or "")

    @property
    def device(self) -> str:
        """One of `DEVICES`."""
        value = self._text("device")
        return value if value in DEVICES else DEVICES[0]

    @device.setter
    def device(self, value: str) -> None:
        self._write("device", value if value in DEVICES else DEVICES[0])

    @property
    def remote(self) -> bool:
        """Whether the work is done on a server."""
        return self._text("remote") == "yes"

    @remote.setter
    def remote(self, value: bool) -> None:
        # A word: QSettings gives back "true" or True, depending on where it stores.
        self._write("remote", "yes" if value else "no")

    @property
    def server(self) -> str:
        """The server as host:port."""
        return self._text("server")

    @server.setter
    def server(self, value: str) -> None:
        self._write("server", value.strip())

    @property
    def model_folders(self) -> tuple[str, ...]:
        """Model folders that the user added, oldest first."""
        try:
            folders = json.loads(self._text("modelFolders") or "[]")
        except ValueError:
            return ()
        return tuple(item for item in folders if isinstance(item, str)) if isinstance(folders, list) else ()

    def add_model_folder(self, folder: str) -> None:
        """Remember a model folder."""
        folders = [item for item in self.model_folders if item != folder]
        self._write("modelFolders", json.dumps([*folders, folder]))

    def _text(self, key: str) -> str:
        value = self._store.value(f"{PREFIX}/{key}", "")
        return value if isinstance(value, str) else ""

    def _write(self, key: str, value: str) -> None:
        self._store.setValue(f"{PREFIX}/{key}", value)
