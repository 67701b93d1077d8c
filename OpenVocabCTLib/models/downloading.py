"""Downloads that go on where they stopped; a proxy is taken from the environment (HTTPS_PROXY)."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from OpenVocabCTLib.errors import Cancelled, InputError, ModelError
from OpenVocabCTLib.models.checkpoints import sha256_file
from OpenVocabCTLib.output.atomic import os_error

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60.0
_AGAIN = "run the same command again: it goes on where it stopped"

# Called with bytes done and bytes in all (0 while unknown); False stops.
Progress = Callable[[int, int], bool]


# Raises ModelError for a file that is not what it should be.
Check = Callable[[Path], None]


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no server away from https: what comes then could be anybody's."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not is_secure(newurl) or (urlsplit(newurl).scheme != "https" and urlsplit(req.full_url).scheme == "https"):
            raise InputError(f"{req.host} leads to an address that is not https", "download it by hand, or try later")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_secure(url: str) -> bool:
    """Whether an address is https, or http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost"))


def download(
    url: str, target: Path, sha256: str | None, progress: Progress | None = None, check: Check | None = None
) -> None:
    """Fetch a file; what an earlier try left in ``TARGET.part`` is kept and completed.

    Args:
        url: of the file, https (or http on this machine).
        target: where it goes once it is complete and its hash is right.
        sha256: expected, hexadecimal; None where none is published.
        progress: see `Progress`.
        check: looks at the complete file; a sign-in page of the network comes with the name of the file, too.

    Raises:
        InputError: the address or one that it leads to is not secure, the server refuses, or nothing can be written.
        ModelError: the file is not the expected one; it is removed.
        ResourceError: the disk is full.
        Cancelled: ``progress`` returned False.
    """
    if not is_secure(url):
        raise InputError(f"the address of {target.name} is not https", "give an address that is")
    host = urlsplit(url).hostname
    partial = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, partial, progress)
    except urllib.error.HTTPError as error:
        raise InputError(f"{host} refuses {target.name} ({error.code})", "try later, or import it") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"the connection to {host} broke ({reason})", _AGAIN) from error
    except OSError as error:
        raise os_error(error, target) from error
    try:
        if sha256 is not None and sha256_file(partial) != sha256.lower():
            raise ModelError(f"{target.name} is not the expected file (its sha256 differs)", "download it again")
        if check is not None:
            check(partial)
    except ModelError:
        partial.unlink()
        raise
    partial.replace(target)


def _fetch(url: str, partial: Path, progress: Progress | None) -> None:
    done = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        # The scheme was checked, and is checked again wherever the server leads to.
        response = urllib.request.build_opener(_SecureRedirects).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # everything is there already
            return
        raise
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            done = 0
        total = done + int(response.headers.get("Content-Length") or 0)
        with partial.open("ab" if done else "wb") as stream:
            while chunk := response.read(_CHUNK_BYTES):
                stream.write(chunk)
                done += len(chunk)
                if progress is not None and not progress(done, total):
                    raise Cancelled("stopped", _AGAIN)
        if total and done < total:
            raise ConnectionError("the server stopped early")
