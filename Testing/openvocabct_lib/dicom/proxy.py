"""A relay between a client and a server that breaks off in the middle of an upload or after it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from Testing.openvocabct_lib.dicom.orthanc import free_port


class Relay:
    """Passes bytes on; at the first POST it calls `at_upload` and, depending on `when`, what follows is lost.

    Args:
        target: port of the server.
        at_upload: for example stopping the server.
        when: "middle" passes half of the request's first bytes on; "answer" passes all of it on and drops the answer.
    """

    def __init__(self, target: int, at_upload: Callable[[], None], when: str) -> None:
        self.port, self._target = free_port(), target
        self._at_upload, self._when = at_upload, when
        self.broken = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        drop = threading.Event()
        back = threading.Thread(target=self._copy_back, args=(server, client, drop), daemon=True)
        back.start()
        try:
            while data := client.recv(65536):
                if data.startswith(b"POST") and not self.broken:
                    self.broken = True
                    if self._when == "middle":
                        server.sendall(data[: len(data) // 2])
                        self._at_upload()
                        return
                    drop.set()
                server.sendall(data)
        except OSError:
            return
        finally:
            if not drop.is_set():
                client.close()
            server.close() if self._when == "middle" and self.broken else None

    def _copy_back(self, server: socket.socket, client: socket.socket, drop: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if drop.is_set():
                    self._at_upload()
                    break
                client.sendall(data)
        except OSError:
            pass
        finally:
            # shutdown, because another thread still waits for the client and would keep the connection open
            for one in (client, server):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
                one.close()
