"""Input from and output to a PACS: where images and results lie in between, so that a run can go on after a failure."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from OpenVocabCTLib.caches import CACHE_VARIABLE, cache_folder
from OpenVocabCTLib.commands.outputs import Written
from OpenVocabCTLib.commands.terminal import Reporter
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.turns import turn

if TYPE_CHECKING:
    from OpenVocabCTLib.output import Segmentation

SOURCE_PREFIX, STOW, STOW_PREFIX = "dicomweb+", "stow", "stow+"
_PRIVATE = 0o700
_WAITING = "waiting for another run with this series"


@dataclass(frozen=True)
class Exchange:
    """What a run fetches and where it stores; images and an unsent result wait in `folder`.

    Attributes:
        source: address of a series, or path.
        target: address of the server that gets the result; None when it goes to a file.
        folder: private to the user, and removed when all is done, because it holds patient data.
    """

    source: str
    target: str | None
    folder: Path

    @classmethod
    def plan(cls, source: str, output: str) -> Exchange:
        """Find out from the words of the command what has to be fetched and stored.

        Raises:
            InputError: an address makes no sense, "stow" without a server, or dicomweb-client is not installed.
        """
        target = None
        if source.startswith(SOURCE_PREFIX):
            from OpenVocabCTLib.dicom.dicomweb import SeriesAddress

            base = SeriesAddress.parse(source).base
            target = base if output == STOW else None
        elif output == STOW:
            raise InputError(
                "-o stow stores on the server of the input, which is a file", f"write {STOW_PREFIX}https://HOST/PATH"
            )
        if output.startswith(STOW_PREFIX):
            from OpenVocabCTLib.dicom.dicomweb import checked_base

            target = checked_base(output.removeprefix(STOW_PREFIX))
        if target is not None or source.startswith(SOURCE_PREFIX):
            from OpenVocabCTLib.dicom.dicomweb import check_library

            check_library()
        # Of two patients in two current folders, both called "ct", each is a CT of its own.
        whole = source if source.startswith(SOURCE_PREFIX) else os.path.abspath(source)
        name = hashlib.sha256(f"{whole}\n{target}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return cls(source, target, cache_folder() / "pacs" / name)

    @property
    def is_remote(self) -> bool:
        """Whether the input is on a server."""
        return self.source.startswith(SOURCE_PREFIX)

    @property
    def images(self) -> Path:
        """Where the input is, or will be."""
        return self.folder / "images" if self.is_remote else Path(self.source)

    def output(self, words: str) -> Path:
        """Return the file that the segmentation is written to."""
        return Path(words) if self.target is None else self._fresh

    @property
    def _fresh(self) -> Path:
        return self.folder / "new.dcm"

    def kept(self, written: Written) -> Written:
        """Leave out of what was written what is only on its way to the server, and the notes about it."""
        if self.target is None:
            return written
        return Written(tuple(path for path in written.files if path != self._fresh))

    @contextmanager
    def open(self, reporter: Reporter) -> Iterator[None]:
        """Keep the folder while the run goes on; it is removed when the run succeeds.

        Another run with the same server and series would find, replace or remove its files: it waits.
        """
        if not self.is_remote and self.target is None:
            yield
            return
        with ExitStack() as stack:
            try:
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(turn(self.folder.with_suffix(".lock"), lambda: reporter.say(_WAITING)))
                for folder in (self.folder, *([self.images] if self.is_remote else [])):
                    folder.mkdir(exist_ok=True)
                    folder.chmod(_PRIVATE)
                # What a run left that ended before it stored its result is no answer to this one.
                self._fresh.unlink(missing_ok=True)
            except OSError as error:
                raise InputError(
                    "the folder for images in transit cannot be made", f"name another one in {CACHE_VARIABLE}"
                ) from error
            yield
            shutil.rmtree(self.folder, ignore_errors=True)

    def fetch(self, reporter: Reporter) -> None:
        """Fetch the images that are missing.

        Raises:
            InputError: the server cannot be reached, refuses, or holds no such series.
        """
        if not self.is_remote:
            return
        from OpenVocabCTLib.dicom.dicomweb import Pacs, SeriesAddress

        address = SeriesAddress.parse(self.source)
        pacs = Pacs(address.base)
        reporter.say(f"fetching the series from {pacs.host}")
        with reporter.progress("images") as progress:
            pacs.fetch(address, self.images, progress)

    def store(self, request: Sequence[object], segmentation: Segmentation, reporter: Reporter) -> bool:
        """Store the segmentation; one that an earlier run of the same request could not store goes in its place.

        The earlier file is sent again as it is, so that a server that has it already is not given a second one. It
        counts only where the CT and the model are the same, too.

        Args:
            request: what was asked for; any values with a repr.
            segmentation: the answer, which `output` holds if anything was found.
            reporter: where to say what happens.

        Returns:
            Whether the server has the result now.

        Raises:
            InputError: the server cannot be reached, refuses, or does not keep the result.
            ResourceError: the server has no room.
        """
        if self.target is None:
            return False
        from OpenVocabCTLib.dicom.dicomweb import Pacs

        if not self._fresh.exists():
            reporter.say("note: nothing was found, which DICOM cannot say: nothing was stored")
            return False
        content = "" if segmentation.ct is None else segmentation.ct.content_hash()
        facts = repr((*request, segmentation.algorithm, content))
        kept = self.folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.dcm"
        if not kept.exists():
            os.replace(self._fresh, kept)
        pacs = Pacs(self.target)
        sent = pacs.store(kept)
        reporter.say(f"stored on {pacs.host}" if sent else f"{pacs.host} has this result already")
        return True
