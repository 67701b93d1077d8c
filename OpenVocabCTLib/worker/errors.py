"""What can go wrong between a client and its worker."""

from __future__ import annotations

from OpenVocabCTLib.errors import InputError, OpenVocabCTError


class WorkerLost(OpenVocabCTError):
    """The worker ended, cannot be reached or fell silent; the next call starts or finds it again."""


class WorkerRefused(InputError):
    """The worker does not accept this client's token."""


class ProtocolError(OpenVocabCTError):
    """What came back is not what this version of the protocol says."""


class StudyMissing(OpenVocabCTError):
    """The worker does not keep this volume (any more): upload it again."""


class NotEncoded(OpenVocabCTError):
    """The worker keeps the volume, but has no image pass of it with this model (any more)."""
