"""An Orthanc server with its DICOMweb plug-in, on loopback, started and stopped by a test."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import requests

from Testing.openvocabct_lib.dicom.clinical_series import program

PLUGIN = "libOrthancDicomWeb.so"
USER, PASSWORD = "reader", "secret"
_START_SECONDS = 60


class Orthanc:
    """A server with storage of its own; `stop` and `start` keep what it stores."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._program = program("Orthanc", "orthanc orthanc-dicomweb")
        plugin = next(iter(sorted(Path("/usr/share/orthanc/plugins").glob(f"{PLUGIN}*"))), None)
        if plugin is None:
            program(PLUGIN, "orthanc-dicomweb")
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [str(plugin)],
            "HttpPort": self.port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomServerEnabled": False,
            "HttpBindAddresses": ["127.0.0.1"],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        self._settings = folder / "orthanc.json"
        self._settings.write_text(json.dumps(settings))
        self._log = folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def start(self) -> Orthanc:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, str(self._settings)], stdout=log, stderr=log)
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            try:
                self.ask("/system")
            except requests.exceptions.ConnectionError:
                assert self._process.poll() is None, self._log.read_text()
                time.sleep(0.1)
            else:
                return self
        raise AssertionError(f"Orthanc did not start: {self._log.read_text()}")

    def stop(self, kill: bool = False) -> None:
        # Taken first: another thread may start the server again while this one waits.
        process, self._process = self._process, None
        if process is not None:
            (process.kill if kill else process.terminate)()
            process.wait(30)

    def ask(self, path: str) -> Any:
        address = f"http://127.0.0.1:{self.port}{path}"
        answer = requests.get(address, auth=(USER, PASSWORD), timeout=20)
        answer.raise_for_status()
        return answer.json()

    def upload(self, folder: Path) -> None:
        for file in sorted(folder.iterdir()):
            address = f"http://127.0.0.1:{self.port}/instances"
            requests.post(address, file.read_bytes(), auth=(USER, PASSWORD), timeout=20).raise_for_status()

    def segmentations(self) -> list[bytes]:
        """The SEG files that it stores."""
        found = []
        for instance in self.ask("/instances"):
            if self.ask(f"/instances/{instance}/simplified-tags")["Modality"] == "SEG":
                address = f"http://127.0.0.1:{self.port}/instances/{instance}/file"
                found.append(requests.get(address, auth=(USER, PASSWORD), timeout=20).content)
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
