"""A PACS over DICOMweb (PS3.18): series are fetched with WADO-RS, results stored with STOW-RS.

Credentials come from the environment (OPENVOCABCT_DICOMWEB_TOKEN, or OPENVOCABCT_DICOMWEB_USER and
OPENVOCABCT_DICOMWEB_PASSWORD) or from ~/.netrc, never from the address. TLS is always verified; a hospital's own
certificate authority is named by REQUESTS_CA_BUNDLE. Messages name the server and nothing of the patient.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from OpenVocabCTLib.errors import Cancelled, InputError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.output.atomic import replacing

if TYPE_CHECKING:
    import requests
    from dicomweb_client.web import DICOMwebClient

SOURCE_PREFIX, TARGET_PREFIX = "dicomweb+", "stow+"
TOKEN, USER, PASSWORD = (f"OPENVOCABCT_DICOMWEB_{name}" for name in ("TOKEN", "USER", "PASSWORD"))
RUN_AGAIN = "run the same command again: it goes on where it stopped"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_SERIES = re.compile(r"(?P<base>.*)/studies/(?P<study>[^/]+)/series/(?P<series>[^/]+)/?")
_TIMEOUT_S = (10.0, 120.0)  # to connect, and between two bytes
_ONE_REQUEST_BYTES = 2**30  # dicomweb-client cuts larger ones up, and cannot repeat those
_FORBIDDEN, _MISSING, _FULL = (401, 403), 404, (413, 507)

Progress = Callable[[int, int], bool]


@dataclass(frozen=True)
class SeriesAddress:
    """A series on a server.

    Attributes:
        base: address of the DICOMweb service.
        study_uid, series_uid: unique identifiers.
    """

    base: str
    study_uid: str
    series_uid: str

    @classmethod
    def parse(cls, text: str) -> SeriesAddress:
        """Read "dicomweb+https://HOST/PATH/studies/UID/series/UID".

        Raises:
            InputError: it does not have this form, or holds a password.
        """
        match = _SERIES.fullmatch(text.removeprefix(SOURCE_PREFIX))
        if match is None or not all(_is_uid(match[part]) for part in ("study", "series")):
            raise InputError(
                "the address names no series", f"write {SOURCE_PREFIX}https://HOST/PATH/studies/UID/series/UID"
            )
        return cls(checked_base(match["base"]), match["study"], match["series"])


def checked_base(base: str) -> str:
    """Return the address of a service after checking its form.

    Raises:
        InputError: it is no http or https address, or holds a password.
    """
    try:
        parts = urlsplit(base)
        bad = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        raise InputError("the server's address makes no sense", "write https://HOST/PATH") from None
    if bad or parts.query or parts.fragment:
        raise InputError("the server's address makes no sense", "write https://HOST/PATH")
    if parts.username or parts.password:
        raise InputError(
            "the address holds a user or password", f"put them into ~/.netrc, or into {USER} and {PASSWORD}"
        )
    return base.rstrip("/")


def check_library() -> None:
    """Find out whether a PACS can be reached at all.

    Raises:
        InputError: dicomweb-client is not installed.
    """
    if find_spec("dicomweb_client") is None:
        raise InputError("a PACS needs dicomweb-client", "pip install 'openvocabct[pacs]'")


class Pacs:
    """A DICOMweb server.

    Args:
        base: address of the service, without credentials.
        environment: where credentials are looked up.
        timeout: seconds to connect, and between two bytes.

    Raises:
        InputError: dicomweb-client is not installed.
    """

    def __init__(
        self, base: str, environment: dict[str, str] | None = None, timeout: tuple[float, float] = _TIMEOUT_S
    ) -> None:
        check_library()
        from dicomweb_client.web import DICOMwebClient

        # It logs addresses and identifiers.
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
        self.host = urlsplit(base).netloc
        session = _session(dict(os.environ) if environment is None else environment)
        self._client: DICOMwebClient = DICOMwebClient(
            checked_base(base), session=session, chunk_size=_ONE_REQUEST_BYTES, timeout=timeout
        )
        self._client.set_http_retry_params(retry=False)

    def fetch(self, address: SeriesAddress, folder: Path, progress: Progress | None = None) -> list[Path]:
        """Fetch the images of a series that are not in a folder yet.

        Args:
            address: the series.
            folder: where they go; every file there is complete.
            progress: called as ``progress(images done, images in all)``; returning False stops.

        Returns:
            All files of the series.

        Raises:
            InputError: the server cannot be reached, refuses, or holds no such series.
            Cancelled: ``progress`` returned False.
        """
        uids = self._instances(address)
        files = [folder / f"{uid}.dcm" for uid in uids]
        for done, (uid, file) in enumerate(zip(uids, files, strict=True), start=1):
            if not file.exists():
                with self._explained("fetching"):
                    dataset = self._client.retrieve_instance(
                        address.study_uid, address.series_uid, uid, media_types=(("application/dicom", "*"),)
                    )
                with replacing(file) as temporary:
                    dataset.save_as(temporary, enforce_file_format=True)
            if progress is not None and not progress(done, len(files)):
                raise Cancelled("cancelled", RUN_AGAIN)
        return files

    def _instances(self, address: SeriesAddress) -> list[str]:
        with self._explained("asking for the series"):
            found = self._client.search_for_instances(address.study_uid, address.series_uid, get_remaining=True)
        uids = sorted({_value(item, "00080018") for item in found})
        if not uids:
            raise InputError(f"{self.host} holds no such series", "check the study and series UID in the address")
        if not all(map(_is_uid, uids)):
            raise InputError(f"{self.host} answers with something that is no UID", "check the address")
        return uids

    def holds(self, study_uid: str, series_uid: str, instance_uid: str) -> bool:
        """Ask whether an instance is on the server.

        Raises:
            InputError: the server cannot be reached or refuses.
        """
        with self._explained("asking for the result"):
            found = self._client.search_for_instances(
                study_uid, series_uid, search_filters={"SOPInstanceUID": instance_uid}
            )
        return any(_value(item, "00080018") == instance_uid for item in found)

    def store(self, file: Path) -> bool:
        """Store a DICOM file unless the server has it already, and make sure that it has it then.

        Returns:
            Whether it had to be sent.

        Raises:
            InputError: the server cannot be reached, refuses, or does not keep it.
            ResourceError: the server has no room.
        """
        import pydicom

        dataset = pydicom.dcmread(file)
        where = (str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID))
        if self._knows(where):
            return False
        with self._explained("storing the result"):
            answer = self._client.store_instances([dataset])
        if getattr(answer, "FailedSOPSequence", None) or not self._knows(where):
            raise InputError(f"{self.host} did not keep the result", "ask its administrator which objects it accepts")
        return True

    def _knows(self, where: tuple[str, str, str]) -> bool:
        """As `holds`, for a series that may not be there at all, which some servers answer with 404."""
        try:
            return self.holds(*where)
        except _NotThere:
            return False

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turn what requests raises into one sentence; its own text holds the address with UIDs."""
        import requests

        try:
            yield
        except requests.exceptions.SSLError as error:
            raise InputError(
                f"the certificate of {self.host} cannot be verified", "name its authority in REQUESTS_CA_BUNDLE"
            ) from error
        except requests.exceptions.HTTPError as error:
            raise self._refused(error.response, doing) from error
        except requests.exceptions.Timeout as error:
            raise InputError(f"{self.host} did not answer in time while {doing}", RUN_AGAIN) from error
        except (requests.exceptions.RequestException, ConnectionError) as error:
            raise InputError(f"the connection to {self.host} failed while {doing}", RUN_AGAIN) from error
        except (AttributeError, KeyError, TypeError, ValueError, EOFError) as error:
            raise InputError(
                f"{self.host} gave an answer that is no DICOMweb while {doing}", "check the address of the service"
            ) from error

    def _refused(self, response: requests.Response | None, doing: str) -> OpenVocabCTError:
        code = 0 if response is None else response.status_code
        if code in _FORBIDDEN:
            return InputError(
                f"{self.host} refuses access ({code}) while {doing}", f"set {USER} and {PASSWORD}, {TOKEN}, or ~/.netrc"
            )
        if code == _MISSING:
            return _NotThere(f"{self.host} knows no such address or series (404)", "check the address")
        if code in _FULL:
            return ResourceError(f"{self.host} has no room for the result ({code})", "ask its administrator")
        return InputError(f"{self.host} failed ({code}) while {doing}", f"ask its administrator, or {RUN_AGAIN}")


class _NotThere(InputError):
    """What 404 means."""


def _session(environment: dict[str, str]) -> requests.Session:
    import requests

    session = requests.Session()  # reads ~/.netrc where nothing else is set
    if environment.get(TOKEN):
        session.auth = _Bearer(environment[TOKEN])
    elif environment.get(USER):
        session.auth = (environment[USER], environment.get(PASSWORD, ""))
    return session


class _Bearer:
    """Puts a token into a request; as `auth`, because otherwise requests lets ~/.netrc replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _is_uid(text: str) -> bool:
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _value(item: dict[str, Any], tag: str) -> str:
    """Return the first value of an attribute in DICOM JSON."""
    return str(item[tag]["Value"][0])
